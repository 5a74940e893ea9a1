"""Recurrent layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lazynet as ln

N_IN, N = 3, 4
RNG = np.random.default_rng(7)
XS = RNG.standard_normal((5, N_IN))
RAGGED = [RNG.standard_normal((length, N_IN)) for length in (1, 4, 2, 7, 3)]


def new_model() -> ln.Model:
    return ln.Model(seed=3, dtype="float64")


def shake(model: ln.Model) -> None:
    """Biases and gains start at 0 and 1, where mistakes in them would not show."""
    rng = np.random.default_rng(11)
    for p in model.parameters():
        p.array = p.array + 0.3 * rng.standard_normal(p.shape)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def normed(x: Any, gain: Any, bias: Any) -> Any:
    return gain * (x - x.mean()) / np.sqrt(x.var() + 1e-5) + bias


# One step of each cell in NumPy, one gate after the other: params, x, state -> state


def rnn_step(p: dict[str, Any], x: Any, state: Any) -> Any:
    return (np.tanh(p["W"] @ x + p["U"] @ state[0] + p["b"]),)


def gru_step(p: dict[str, Any], x: Any, state: Any) -> Any:
    (h,) = state
    W, b, U = p["W"].reshape(3, N, N_IN), p["b"].reshape(3, N), p["U"].reshape(2, N, N)
    r = sigmoid(W[0] @ x + U[0] @ h + b[0])
    z = sigmoid(W[1] @ x + U[1] @ h + b[1])
    g = np.tanh(W[2] @ x + p["U_candidate"] @ (r * h) + b[2])
    return (z * h + (1 - z) * g,)


def gru_after_step(p: dict[str, Any], x: Any, state: Any) -> Any:
    (h,) = state
    W, b = p["W"].reshape(3, N, N_IN), p["b"].reshape(3, N)
    U, c = p["U"].reshape(3, N, N), p["b_recurrent"].reshape(3, N)
    r = sigmoid(W[0] @ x + U[0] @ h + b[0] + c[0])
    z = sigmoid(W[1] @ x + U[1] @ h + b[1] + c[1])
    g = np.tanh(W[2] @ x + b[2] + r * (U[2] @ h + c[2]))
    return (z * h + (1 - z) * g,)


def lstm_step(p: dict[str, Any], x: Any, state: Any) -> Any:
    h, c = state
    W, U, b = p["W"].reshape(4, N, N_IN), p["U"].reshape(4, N, N), p["b"].reshape(4, N)
    i, f, o = (sigmoid(W[k] @ x + U[k] @ h + b[k]) for k in range(3))
    c = f * c + i * np.tanh(W[3] @ x + U[3] @ h + b[3])
    return o * np.tanh(c), c


def normed_lstm_step(p: dict[str, Any], x: Any, state: Any) -> Any:
    h, c = state
    a = normed(p["W"] @ x, p["W_gain"], p["b"]) + normed(p["U"] @ h, p["U_gain"], p["U_bias"])
    i, f, o, g = a[:N], a[N : 2 * N], a[2 * N : 3 * N], a[3 * N :]
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(normed(c, p["c_gain"], p["c_bias"])), c


Layer = Callable[..., Any]
CASES: dict[str, tuple[Layer, dict[str, Any], Any, int]] = {
    "rnn": (ln.nn.RNN, {}, rnn_step, 1),
    "gru": (ln.nn.GRU, {}, gru_step, 1),
    "gru after": (ln.nn.GRU, {"reset_after": True}, gru_after_step, 1),
    "lstm": (ln.nn.LSTM, {}, lstm_step, 2),
    "lstm norm": (ln.nn.LSTM, {"layer_norm": True}, normed_lstm_step, 2),
}
each = pytest.mark.parametrize("case", CASES)


def make(case: str, **more: Any) -> tuple[ln.Model, Any]:
    model = new_model()
    kind, options, _, _ = CASES[case]
    layer = kind(model, N_IN, N, **options, **more)
    shake(model)
    return model, layer


def batched(xs: Any) -> ln.Expression:
    return ln.constant(xs, batched=True)


def flat(state: Any) -> list[ln.Expression]:
    if isinstance(state, (tuple, list)):
        return [v for s in state for v in flat(s)]
    return [state]


def same(a: Any, b: Any) -> None:
    for x, y in zip(flat(a), flat(b), strict=True):
        np.testing.assert_allclose(x.value(), y.value(), rtol=1e-10, atol=1e-12)


@each
def test_recurrent_layer_equals_numpy(case: str) -> None:
    _, layer = make(case)
    _, _, step, size = CASES[case]
    params = {name.rpartition("/")[2]: p.array for name, p in layer.model.items()}
    state = (np.zeros(N),) * size
    expected = []
    for x in XS:
        state = step(params, x, state)
        expected.append(state[0])
    ys, last = layer(batched(XS))
    assert ys.batch == len(XS)
    np.testing.assert_allclose(ys.value(), expected, atol=1e-12)
    np.testing.assert_allclose([v.value() for v in flat(last)], state, atol=1e-12)


@each
def test_recurrent_gradients(case: str) -> None:
    model, layer = make(case, layers=2)
    ln.gradcheck(lambda xs: layer(xs)[0], [batched(XS[:3])], model.parameters())


@each
@pytest.mark.parametrize("layers", [1, 2])
def test_list_batch_array_and_steps_agree(case: str, layers: int) -> None:
    _, layer = make(case, layers=layers)
    ys, state = layer(batched(XS))
    listed, state_of_list = layer([ln.constant(x) for x in XS])
    assert isinstance(listed, list)
    same(ln.rebatch(listed), ys)
    same(state_of_list, state)
    same(layer(XS), (ys, state))
    current, outputs = None, []
    for x in XS:
        y, current = layer.step(x, current)
        outputs.append(y)
    same(ln.rebatch(outputs), ys)
    same(current, state)


@each
@pytest.mark.parametrize("layers", [1, 2])
def test_two_halves_equal_one_run(case: str, layers: int) -> None:
    _, layer = make(case, layers=layers)
    ys, state = layer(batched(XS))
    head, middle = layer(batched(XS[:2]))
    tail, end = layer(batched(XS[2:]), middle)
    same(ln.rebatch([head, tail]), ys)
    same(end, state)


@each
@pytest.mark.parametrize("layers", [1, 2])
def test_no_positions(case: str, layers: int) -> None:
    _, layer = make(case, layers=layers)
    ys, state = layer(batched(np.zeros((0, N_IN))))
    assert (ys.batch, ys.shape, ys.value().shape) == (0, (N,), (0, N))
    same(state, layer.initial_state())
    assert not any(v.value().any() for v in flat(state))
    given = layer(batched(XS))[1]
    none, after = layer([], given)
    assert none == []
    same(after, given)


@each
def test_ragged_batch_equals_node_by_node(case: str) -> None:
    model, layer = make(case)
    results = []
    for autobatch in (True, False):
        model.zero_gradients()
        outputs = [ln.sum_batch(layer(batched(xs))[0]).sum() for xs in RAGGED]
        loss = ln.sum([y * y for y in outputs])
        if autobatch:
            loss.backward()
        else:
            with ln.no_autobatch():
                loss.backward()
        results.append([loss.value(), *[p.gradient() for p in model.parameters()]])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@each
def test_a_list_of_minibatches(case: str) -> None:
    _, layer = make(case, layers=2)
    steps = RNG.standard_normal((5, 2, N_IN))  # position, sequence
    ys, state = layer([batched(x) for x in steps])
    for k in range(2):
        one, last = layer(batched(steps[:, k]))
        np.testing.assert_allclose([y.value()[k] for y in ys], one.value(), atol=1e-12)
        np.testing.assert_allclose(
            [v.value()[k] for v in flat(state)], [v.value() for v in flat(last)], atol=1e-12
        )


@each
def test_reverse(case: str) -> None:
    _, layer = make(case, layers=2)
    ys, state = layer(batched(XS), reverse=True)
    turned, last = layer(batched(XS[::-1].copy()))
    np.testing.assert_allclose(ys.value(), turned.value()[::-1], atol=1e-12)
    same(state, last)


def test_number_of_batches_does_not_grow_with_the_number_of_sequences() -> None:
    _, lstm = make("lstm")

    def batches(sequences: list[Any]) -> int:
        plan = ln.plan([lstm(batched(xs))[1][0] for xs in sequences])
        assert len(plan) == plan.lower_bound
        return len(plan)

    longest = max(RAGGED, key=len)
    assert batches(RAGGED) == batches(RAGGED * 5) == batches([longest])


def test_a_step_of_an_lstm_is_few_nodes() -> None:
    _, lstm = make("lstm")
    short, long = (ln.plan(lstm(batched(np.zeros((n, N_IN))))[0]).nodes for n in (10, 11))
    assert long - short <= 10


def test_the_two_directions_share_batches() -> None:
    model = new_model()
    both = ln.nn.Bidirectional(ln.nn.LSTM(model, N_IN, N), ln.nn.LSTM(model, N_IN, N))
    one = len(ln.plan(both.forward(batched(XS))[0]))
    plan = ln.plan(both(batched(XS))[0])
    # of the ten nodes of a step only the product with U is another one in the other direction
    assert len(plan) == plan.lower_bound
    assert len(plan) <= one + len(XS) + 5


@pytest.mark.parametrize("listed", [False, True])
def test_bidirectional(listed: bool) -> None:
    model = new_model()
    both = ln.nn.Bidirectional(ln.nn.LSTM(model, N_IN, N), ln.nn.GRU(model, N_IN, 2))
    xs = [ln.constant(x) for x in XS] if listed else batched(XS)
    ys, (after, before) = both(xs)
    assert isinstance(ys, list) == listed
    forward, end = both.forward(batched(XS))
    backward, start = both.backward(batched(XS[::-1].copy()))
    expected = np.concatenate([forward.value(), backward.value()[::-1]], axis=1)
    got = np.array([y.value() for y in ys]) if listed else ys.value()
    np.testing.assert_allclose(got, expected, atol=1e-12)
    same((after, before), (end, start))
    assert both.n_hidden == N + 2


def test_bidirectional_takes_states_minibatches_and_nothing() -> None:
    model = new_model()
    both = ln.nn.Bidirectional(ln.nn.LSTM(model, N_IN, N), ln.nn.LSTM(model, N_IN, N))
    _, state = both(batched(XS))
    ys, _ = both(batched(XS), state)
    forward = both.forward(batched(XS), state[0])[0]
    np.testing.assert_allclose(ys.value()[:, :N], forward.value(), atol=1e-12)
    steps = RNG.standard_normal((5, 2, N_IN))
    minibatch, _ = both([batched(x) for x in steps])
    np.testing.assert_allclose(
        [y.value()[1] for y in minibatch], both(batched(steps[:, 1]))[0].value(), atol=1e-12
    )
    none, after = both(batched(np.zeros((0, N_IN))), state)
    assert none.value().shape == (0, 2 * N)
    same(after, state)
    assert both([])[0] == []


# Settings


def test_forget_bias_lies_in_b() -> None:
    model = new_model()
    lstm = ln.nn.LSTM(model, N_IN, N, forget_bias=2.5)
    b = model["/lstm/b"].array.reshape(4, N)
    assert (b[1] == 2.5).all()
    assert not b[[0, 2, 3]].any()
    assert lstm.cells[0].n_hidden == N


def test_gates_are_initialised_one_by_one() -> None:
    model = ln.Model(seed=0)
    ln.nn.LSTM(model, 30, 20, recurrent_init="orthogonal")
    W = model["/lstm/W"].array
    limit = np.sqrt(6 / (30 + 20))
    assert 0.97 * limit < abs(W).max() <= limit
    for block in model["/lstm/U"].array.reshape(4, 20, 20):
        np.testing.assert_allclose(block @ block.T, np.eye(20), atol=1e-5)


def test_names_of_parameters() -> None:
    model = new_model()
    ln.nn.LSTM(model, N_IN, N, layers=2)
    ln.nn.GRU(model, N_IN, N)
    assert [name for name, _ in model.items()] == [
        *[f"/lstm/layer_{k}/{p}" for k in range(2) for p in ("W", "U", "b")],
        *[f"/gru/{p}" for p in ("W", "U", "U_candidate", "b")],
    ]


@each
def test_dropout_has_one_mask_for_all_steps(case: str) -> None:
    _, layer = make(case, layers=2, dropout=0.5)
    ln.seed(4)
    ys, state = layer(batched(XS))
    ln.seed(4)
    masks = layer.masks()
    current, outputs = None, []
    for x in XS:
        y, current = layer.step(x, current, masks)
        outputs.append(y)
    same(ln.rebatch(outputs), ys)
    same(current, state)
    for pair in masks:
        for m in pair:
            assert m is not None
            assert set(m.value().tolist()) <= {0.0, 2.0}
    other, _ = layer(batched(XS))
    assert not np.allclose(other.value(), ys.value())
    with ln.training(False):
        plain, _ = layer(batched(XS))
        assert layer.masks() == [(None, None)] * 2
    layer.dropout = 0.0
    same(layer(batched(XS))[0], plain)


def test_dropout_drops_the_same_inputs_and_hidden_units_throughout() -> None:
    _, rnn = make("rnn", dropout=0.5)
    x_mask, h_mask = (m.value() for m in rnn.masks()[0])
    assert x_mask.shape == (N_IN,) and h_mask.shape == (N,)
    ln.seed(9)
    ys, _ = rnn(batched(XS))
    ln.seed(9)
    x_mask, h_mask = (m.value() for m in rnn.masks()[0])
    p = {name.rpartition("/")[2]: v.array for name, v in rnn.model.items()}
    h = np.zeros(N)
    for x, y in zip(XS, ys.value()):
        h = np.tanh(p["W"] @ (x * x_mask) + p["U"] @ (h * h_mask) + p["b"])
        np.testing.assert_allclose(y, h, atol=1e-12)


def test_each_row_of_a_minibatch_has_its_own_mask() -> None:
    _, lstm = make("lstm", dropout=0.5)
    x = np.tile(XS[0], (20, 1))
    ys, _ = lstm([batched(x)])
    assert len(np.unique(ys[0].value().round(9), axis=0)) > 1


# Bad input


@pytest.mark.parametrize(
    ("xs", "error"),
    [
        (ln.constant(np.zeros(N_IN)), ln.ShapeError),
        (ln.constant(np.zeros((4, N_IN + 1)), batched=True), ln.ShapeError),
        ([np.zeros(N_IN), np.zeros(N_IN + 1)], ln.ShapeError),
        (None, ln.ArgumentError),
        ("abc", ln.ArgumentError),
        ([None], ln.ArgumentError),
    ],
)
def test_bad_sequences(xs: Any, error: type[Exception]) -> None:
    _, lstm = make("lstm")
    both = ln.nn.Bidirectional(lstm, lstm)
    for layer in (lstm, both):
        with pytest.raises(error, match=type(layer).__name__):
            layer(xs)


@pytest.mark.parametrize("state", [3, (1, 2, 3), np.zeros(N), (np.zeros(N), np.zeros(N + 1))])
def test_bad_states(state: Any) -> None:
    _, lstm = make("lstm")
    with pytest.raises((ln.ArgumentError, ln.ShapeError), match="LSTM"):
        lstm(batched(XS), state)
    with pytest.raises((ln.ArgumentError, ln.ShapeError), match="LSTM"):
        lstm.step(XS[0], state)
