"""Linear layers, tree-LSTMs, and the settings of all layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lazynet as ln

N_IN, N = 3, 4
RNG = np.random.default_rng(5)


@pytest.fixture
def model() -> ln.Model:
    return ln.Model(seed=3, dtype="float64")


def shake(model: ln.Model) -> None:
    """Biases and gains start at 0 and 1, where mistakes in them would not show."""
    rng = np.random.default_rng(11)
    for p in model.parameters():
        p.array = p.array + 0.3 * rng.standard_normal(p.shape)


def batched(xs: Any) -> ln.Expression:
    return ln.constant(xs, batched=True)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def close(x: Any, y: Any) -> None:
    x = x.value() if isinstance(x, ln.Expression) else x
    y = y.value() if isinstance(y, ln.Expression) else y
    np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12)


# Linear, MLP, LayerNorm, Dropout


@pytest.mark.parametrize("bias", [True, False])
def test_linear(model: ln.Model, bias: bool) -> None:
    layer = ln.nn.Linear(model, N_IN, N, bias=bias)
    shake(model)
    assert [name for name, _ in model.items()] == ["/linear/W", "/linear/b"][: 1 + bias]
    x = RNG.standard_normal(N_IN)
    close(layer(x), layer.W.array @ x + (layer.b.array if layer.b is not None else 0))
    rows = RNG.standard_normal((2, N_IN))
    close(layer(batched(rows)), [layer(r).value() for r in rows])
    close(layer(rows.T), layer(batched(rows)).value().T)
    ln.gradcheck(layer, [x], model.parameters())


def test_linear_checks_its_input(model: ln.Model) -> None:
    layer = ln.nn.Linear(model, N_IN, N)
    for x in (np.zeros(N_IN + 1), np.zeros((2, N_IN)), 1.0):
        with pytest.raises(ln.ShapeError, match="Linear"):
            layer(x)
    with pytest.raises(ln.ArgumentError, match="Linear"):
        layer(None)


@pytest.mark.parametrize("activation", ["relu", "tanh", lambda x: x * x])
def test_mlp(model: ln.Model, activation: Any) -> None:
    mlp = ln.nn.MLP(model, [N_IN, 5, 6, 2], activation=activation, dropout=0.4)
    shake(model)
    x = RNG.standard_normal(N_IN)
    functions = {"relu": lambda v: np.maximum(v, 0), "tanh": np.tanh}
    y = x
    for k, linear in enumerate(mlp.linears):
        y = linear.W.array @ y + linear.b.array
        if k < 2:
            y = functions.get(activation, activation)(y)
    with ln.training(False):
        close(mlp(x), y)
        ln.gradcheck(mlp, [x], model.parameters())
    assert len({float(mlp(x).value()[0]) for _ in range(20)}) > 1


def test_layer_norm(model: ln.Model) -> None:
    layer = ln.nn.LayerNorm(model, N, eps=0.1)
    shake(model)
    x = RNG.standard_normal((2, N))
    z = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 0.1)
    close(layer(x), layer.gain.array * z + layer.bias.array)
    close(layer(batched(x)), layer(x))


def test_dropout() -> None:
    drop = ln.nn.Dropout(0.25)
    y = drop(np.ones(1000)).value()
    assert set(y.round(6).tolist()) == {0.0, round(4 / 3, 6)}
    with ln.training(False):
        close(drop(np.ones(3)), np.ones(3))


# Tree-LSTMs


def tree_parameters(layer: Any) -> dict[str, Any]:
    return {name.rpartition("/")[2]: p.array for name, p in layer.model.items()}


def child_sum(p: dict[str, Any], x: Any, states: Any) -> Any:
    x = np.zeros(N_IN) if x is None else x
    total = np.sum([h for h, _ in states], axis=0) if states else np.zeros(N)
    i, o, g = (p["W"] @ x + p["U"] @ total + p["b"]).reshape(3, N)
    c = sigmoid(i) * np.tanh(g)
    for h, memory in states:
        f = p["W_forget"] @ x + p["U_forget"] @ h + p["b_forget"]
        c = c + sigmoid(f) * memory
    return sigmoid(o) * np.tanh(c), c


def n_ary(p: dict[str, Any], x: Any, states: Any) -> Any:
    arity = sum(name.startswith("U_") for name in p)
    x = np.zeros(N_IN) if x is None else x
    a = np.zeros((arity + 3, N))
    for k, state in enumerate(states):
        if state is not None:
            a += (p[f"U_{k}"] @ state[0]).reshape(arity + 3, N)
    a[arity:] += (p["W"] @ x + p["b"]).reshape(3, N)
    a[:arity] += p["W_forget"] @ x + p["b_forget"]
    i, o, g = a[arity:]
    c = sigmoid(i) * np.tanh(g)
    for k, state in enumerate(states):
        if state is not None:
            c = c + sigmoid(a[k]) * state[1]
    return sigmoid(o) * np.tanh(c), c


X = RNG.standard_normal((4, N_IN))


def binary_tree(cell: Any) -> Any:
    left = cell(X[0], [])
    right = cell(None, [cell(X[1], []), cell(X[2], [])])
    return cell(X[3], [left, right])


def wide_tree(cell: Any) -> Any:
    inner = cell(X[1], [cell(X[k], []) for k in (0, 2, 3)])
    return cell(None, [cell(X[3], [inner]), inner])


def gappy_tree(cell: Any) -> Any:
    return cell(None, [None, cell(X[0], [cell(X[1], [])])])


TREES = {
    "child sum, binary": (ln.nn.ChildSumTreeLSTM, {}, child_sum, binary_tree),
    "child sum, wide": (ln.nn.ChildSumTreeLSTM, {"forget_bias": 0.5}, child_sum, wide_tree),
    "binary": (ln.nn.NaryTreeLSTM, {}, n_ary, binary_tree),
    "ternary": (ln.nn.NaryTreeLSTM, {"arity": 3}, n_ary, wide_tree),
    "gaps": (ln.nn.NaryTreeLSTM, {"arity": 2}, n_ary, gappy_tree),
}


@pytest.mark.parametrize("case", TREES)
def test_tree_lstm(model: ln.Model, case: str) -> None:
    kind, options, reference, tree = TREES[case]
    cell = kind(model, N_IN, N, **options)
    assert (cell.b_forget.array == options.get("forget_bias", 1.0)).all()
    shake(model)
    p = tree_parameters(cell)
    expected = tree(lambda x, states: reference(p, x, states))
    for got, right in zip(tree(cell), expected, strict=True):
        close(got, right)
    leaf = ln.constant(X[0])
    ln.gradcheck(
        lambda x: cell(x, [tree(cell), cell(x * 2)]), [leaf], model.parameters(), tolerance=1e-5
    )


@pytest.mark.parametrize("case", ["child sum, wide", "binary"])
def test_trees_batch(model: ln.Model, case: str) -> None:
    kind, options, _, tree = TREES[case]
    cell = kind(model, N_IN, N, **options)
    many = ln.plan([tree(cell)[0] for _ in range(10)])
    assert len(many) == len(ln.plan(tree(cell)[0]))
    assert len(many) <= 1.1 * many.lower_bound
    losses = []
    for _ in range(2):
        model.zero_gradients()
        loss = ln.sum([tree(cell)[k].sum() for k in (0, 1)])
        if losses:
            with ln.no_autobatch():
                loss.backward()
        else:
            loss.backward()
        losses.append([loss.value(), *[p.gradient() for p in model if p.has_gradient()]])
    for a, b in zip(*losses, strict=True):
        close(a, b)


@pytest.mark.parametrize("kind", [ln.nn.ChildSumTreeLSTM, ln.nn.NaryTreeLSTM])
def test_bad_tree_nodes(model: ln.Model, kind: Any) -> None:
    cell = kind(model, N_IN, N)
    h, c = cell(X[0])
    for children in ([h], h, 3, [(h, c, c)]):
        with pytest.raises(ln.ArgumentError, match="TreeLSTM"):
            cell(None, children)
    with pytest.raises(ln.ArgumentError, match="leaf"):
        cell()
    with pytest.raises(ln.ShapeError, match="TreeLSTM"):
        cell(None, [(h, np.zeros(N + 1))])
    with pytest.raises(ln.ShapeError, match="TreeLSTM"):
        cell(None, [(h, c)] * 3) if kind is ln.nn.NaryTreeLSTM else cell(
            None, [(batched(np.zeros((2, N))), c)]
        )


# Settings


@pytest.mark.parametrize(
    "build",
    [
        lambda m: ln.nn.LSTM(m, 0, 4),
        lambda m: ln.nn.LSTM(m, 3, 4, layers=0),
        lambda m: ln.nn.LSTM(m, 3, 4, dropout=1.0),
        lambda m: ln.nn.LSTM(m, 3, 4, forget_bias=float("nan")),
        lambda m: ln.nn.LSTM(m, 3, "4"),
        lambda m: ln.nn.LSTM(None, 3, 4),
        lambda m: ln.nn.RNN(m, 3, 4, activation="tahn"),
        lambda m: ln.nn.RNN(m, 3, 4, activation=3),
        lambda m: ln.nn.Bidirectional(ln.nn.LSTM(m, 3, 4), ln.nn.LSTM(m, 2, 4)),
        lambda m: ln.nn.Bidirectional(ln.nn.LSTM(m, 3, 4), None),
        lambda m: ln.nn.Linear(m, 3, -1),
        lambda m: ln.nn.MLP(m, [3]),
        lambda m: ln.nn.MLP(m, 3),
        lambda m: ln.nn.Dropout(1.5),
    ],
)
def test_bad_settings(model: ln.Model, build: Callable[[ln.Model], Any]) -> None:
    with pytest.raises(ln.LazynetError):
        build(model)
