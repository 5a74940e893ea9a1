"""Fused functions: one node that computes what its operations compute."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from contract import draw
from fusing import TOLERANCES, Recorded, check, close, ops_of, outcome
from test_ops_contract import Case

import lazynet as ln
from lazynet.tape import LOCAL, NO_TAPE, tape_count

N_IN, N = 3, 4
RNG = np.random.default_rng(0)


class Weights:
    """Parameters that the functions close over."""

    def __init__(self, dtype: str = "float64") -> None:
        self.model = ln.Model(seed=0, dtype=dtype)
        self.W = self.model.parameter((N, N_IN), name="W")
        self.U = self.model.parameter((N, N), name="U")
        self.V = self.model.parameter((N, N), name="V")
        self.T = self.model.parameter((2 * N, N), name="T")
        self.b = self.model.parameter(N, init=0.1, name="b")
        self.table = self.model.lookup(5, N, name="table")


@pytest.fixture
def p() -> Weights:
    return Weights()


def vector(values: Any, dtype: str = "float64") -> Any:
    return ln.constant(np.asarray(values, dtype))


def rows(values: Any, dtype: str = "float64") -> Any:
    return ln.constant(np.asarray(values, dtype), batched=True)


def normal(*shape: int) -> Any:
    return np.random.default_rng(shape).standard_normal(shape)


def same(function: Callable[..., Any], *arguments: Any, model: Any = None) -> Any:
    """The function on constants of these arrays, fused and not, several times and as a batch."""
    fused = ln.fuse(function)

    def build() -> Recorded:
        outputs: list[Any] = []
        inputs: list[Any] = []
        for factor in (1.0, 0.5, -1.0):
            xs = [vector(a * factor) for a in arguments]
            outputs += flat(fused(*xs))
            inputs += xs
        xs = [rows(np.stack([a, -a])) for a in arguments]
        found = flat(fused(*xs))
        outputs += [y if y.batch == 2 else y + rows(np.zeros((2, *y.shape))) for y in found]
        return Recorded(outputs, [*inputs, *xs])

    check(build, model)
    return fused


def flat(x: Any) -> list[Any]:
    return [x] if isinstance(x, ln.Expression) else [y for part in x for y in flat(part)]


# What is recorded


def test_a_call_is_one_node_and_all_calls_are_one_batch(p: Weights) -> None:
    @ln.fuse
    def cell(x: Any, h: Any) -> Any:
        i, g = ln.split(p.T @ h, 2)
        h = ln.sigmoid(i) * ln.tanh(g) + ln.affine(p.b, p.W, x)
        return h, (ln.tanh(h), x)

    h: Any = vector(np.ones(N))
    nodes = []
    for k in range(4):
        y, (h, x) = cell(vector(np.ones(N_IN) * k), h)
        nodes += [y, h, x]
        assert [e.shape for e in (y, h, x)] == [(N,), (N,), (N_IN,)]
    others = [cell(vector(np.ones(N_IN)), vector(np.zeros(N)))[0] for _ in range(5)]
    assert len(ops_of(*nodes, *others)) == 4
    assert len({y.kind for y in others}) == 1
    assert others[0].kind.op.name.endswith("cell")


def test_traced_once_for_each_kind_of_call(p: Weights) -> None:
    calls = [0]

    @ln.fuse
    def f(x: Any, k: int = 0) -> Any:
        calls[0] += 1
        return ln.dropout(x, 0.5) * 2.0

    def traced(*args: Any) -> int:
        before = calls[0]
        f(*args)
        f(*args)
        return calls[0] - before

    x = vector(np.ones(3))
    assert traced(x) == 1
    assert traced(vector(np.zeros(3))) == 0
    assert traced(vector(np.ones(4))) == 1
    assert traced(rows(np.ones((2, 3)))) == 1
    assert traced(rows(np.ones((5, 3)))) == 0
    assert traced(vector(np.ones(3), "float32")) == 1
    assert traced(x, 1) == 1
    assert traced(x, 2) == 0  # which nothing looks at
    assert traced(x, "name") == 1
    assert traced(x, None) == 1
    assert traced(x, 2.5) == 1
    assert traced(x, True) == 1
    with ln.training(False):
        assert traced(x) == 1
        assert traced(x) == 0
    with ln.no_grad(), ln.no_autobatch():
        assert traced(x) == 0
    with ln.no_fuse():
        assert traced(x) == 2
        assert f(x).kind.op.name == "multiply_number"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_have_the_dtype_of_the_arguments(dtype: str) -> None:
    f = ln.fuse(lambda x, y: ln.tanh(x) * y + 0.5)
    x = vector(np.ones(3), dtype)
    for other in (x, np.ones(3), np.ones(3, np.float32), ln.tanh(x)):
        assert f(x, other).dtype == f(other, x).dtype == dtype
        assert f(x * 2.0, other).value().dtype == dtype


def sources(y: Any) -> list[str]:
    """The code of a fused node, forward first."""
    return [v.source for v in y.kind.op.compiled.values() if hasattr(v, "source")]


def test_products_of_the_same_inputs_are_one(p: Weights) -> None:
    """Also in the gates of an LSTM from matrices of their own; gradients of weights come later."""
    f = ln.fuse(
        lambda x, h: (
            ln.sigmoid(ln.affine(p.b, p.W, x, p.U, h))
            * ln.tanh(ln.affine(p.b, p.W, x, p.V, h))
            * ln.sigmoid(ln.affine(p.b, p.W, x, p.U.T, h))
        )
    )
    y = f(vector(np.ones(N_IN)), ln.tanh(p.b * vector(np.ones(N))))
    ln.sum(y).backward()
    forward, backward = sources(y)
    assert forward.count("matmul(") == 2 and forward.count("tanh(") <= 2
    assert backward.count("matmul(") == 1  # for h; x is a constant

    def cell(x: Any, h: Any) -> Any:
        h = ln.tanh(p.W @ x + p.U @ h) * ln.sigmoid(p.W @ x + p.V @ h)
        return h, h

    ys, _ = ln.scan(cell, rows(normal(3, N_IN)), np.zeros(N))
    ys.value()
    before, loop = sources(ys)[0].split("for t,")
    assert before.count("matmul(") == loop.count("matmul(") == 1


def test_chains_need_no_temporaries(p: Weights) -> None:
    f = ln.fuse(lambda x: ln.exp(-(ln.tanh(x * 2.0 + 1.0) * 0.5 - 3.0)) * 2.0)
    with ln.no_grad():
        y = f(vector(np.ones(N)))
        y.value()
    assert len(y.kind.op.compiled["forward"].names.scratch) <= 1


# The same numbers


def test_each_value_keeps_its_own_dtype() -> None:
    """In a function that mixes them, also where an argument takes the dtype of what it meets."""

    def mixed(x: Any, W: Any, b: Any, k: int) -> Any:
        h = ln.tanh(x) * x + ln.sum(x)
        g = h.astype("float32")
        z = W @ g + b[k]
        y = ln.concatenate([z, g]).astype("float64") * 2.0
        return y * x[0], z, (y[1:3] * h[:2]).astype("float32")

    def run(function: Any) -> list[Any]:
        model = ln.Model(seed=0)
        W, b = model.parameter((2, 3)), model.parameter((3, 2))
        xs = [ln.constant(normal(3)) for _ in range(3)]
        found = [y for x in xs for y in function(x * 1.0, W, b, 1)]
        ln.sum([ln.squared_norm(y).astype("float64") for y in found]).backward()
        return [*ln.values(found), *[x.gradient() for x in xs], W.gradient(), b.gradient()]

    for got, expected in zip(run(ln.fuse(mixed)), run(mixed), strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, 1e-5, 1e-5)
    w = ln.Model(seed=0).parameter((3, 2))
    y = ln.fuse(lambda x: x + w[1])(ln.constant(np.zeros(2)))
    assert y.dtype == y.value().dtype == np.float32
    assert (y.value() == w.array[1]).all()


BLOCKS: dict[str, Callable[[Weights], Callable[..., Any]]] = {
    "chain": lambda p: lambda x: 0.5 * ln.tanh(-x * 3.0 + 1.0) ** 2 / (1.0 + ln.exp(x)),
    "half a product": lambda p: lambda x: (p.U @ x) * 0.5,
    "half a product, and the whole": lambda p: lambda x: ((p.U @ x) * 0.5, p.V @ x),
    "two gates returned": lambda p: lambda x: (ln.sigmoid(p.U @ x), ln.sigmoid(p.V @ x)),
    "gates from one matrix": lambda p: lambda x: tuple(ln.split(ln.sigmoid(p.T @ x), 2)),
    "gates by slices": lambda p: lambda x: ln.sigmoid((p.T @ x)[:N]) * ln.tanh((p.T @ x)[N:]),
    "parts of a gate": lambda p: lambda x: (ln.sigmoid(p.T @ x)[1:3], (p.T @ x)[2:7]),
    "overlapping slices": lambda p: lambda x: x[:3] * x[1:] + x[0] * x[-1],
    "both orders": lambda p: lambda x: p.U @ x + x @ p.U + p.U.T @ (x @ p.V),
    "products of one input": lambda p: lambda x: ln.tanh(p.U @ x) * (p.V @ x) + p.T[:N] @ x,
    "one product twice": lambda p: lambda x: ln.sigmoid(p.U @ x) + ln.tanh(p.U @ x),
    "one expression twice": lambda p: lambda x: (ln.tanh(x), ln.tanh(x), x, x),
    "an argument": lambda p: lambda x: x,
    "a parameter": lambda p: lambda x: (p.b, x),
    "only parameters": lambda p: lambda x: (p.U @ p.b, ln.sum(p.b) * x, x),
    "computed matrices": lambda p: (
        lambda x: ln.concatenate([p.U, p.V]) @ x + ln.concatenate([p.b, p.b]) + (p.T @ p.U.T) @ x
    ),
    "a parameter of size 1": lambda p: lambda x: x * p.b[0] + p.b[1] * p.b[2],
    "scalars": lambda p: lambda x: (ln.sum(x) * x + ln.max(x) - ln.mean(x), ln.sum(x) * ln.sum(x)),
    "softmax and loss": lambda p: (
        lambda x: (ln.softmax(p.T @ x), ln.cross_entropy(p.T @ x, 3), ln.log_softmax(x))
    ),
    "concatenation": lambda p: lambda x: ln.tanh(p.T.T @ ln.concatenate([x, ln.tanh(x)])),
    "uneven concatenation": lambda p: (
        lambda x: ln.split(ln.tanh(ln.concatenate([x[:1], x, x[1:]])), 2)[0] * p.b
    ),
    "lists": lambda p: lambda x: ln.sum([x, ln.tanh(x), p.b]) + ln.mean([x, x]) + ln.max([x, -x]),
    "matrices": lambda p: lambda x: ln.sum(x.reshape(2, 2) @ x.reshape(2, 2).T, axis=0),
    "layer norm": lambda p: lambda x: ln.layer_norm(p.U @ x, p.b, p.b) * ln.tanh(x),
    "a constant": lambda p: lambda x: x * np.arange(4.0) + ln.constant(2.0, dtype="float64"),
    "where": lambda p: lambda x: ln.where(ln.less(x, 0.0), x * 2.0, ln.sigmoid(x)),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_same_values_and_gradients(p: Weights, name: str) -> None:
    same(BLOCKS[name](p), normal(N), model=p.model)


@pytest.mark.parametrize("name", BLOCKS)
def test_gradients_are_derivatives(p: Weights, name: str) -> None:
    """float64 directional derivatives; and any number of rows gives what each gives alone."""
    fused = ln.fuse(BLOCKS[name](p))
    x = normal(N)
    ln.gradcheck(lambda x: fused(x), [x], [p.U, p.T, p.b])
    case = Case(name, fused, [(N,)], None)
    for count in (1, 2, 3, N):
        examples = [draw(case, row)[0] for row in range(count)]
        copies = [e.copy() for e in examples]
        alone = [flat(fused(vector(e))) for e in examples]
        batch = flat(fused(rows(np.stack(examples))))
        for k, y in enumerate(batch):
            expected = np.stack([ys[k].value() for ys in alone])
            np.testing.assert_allclose(y.value(), expected, 1e-10, 1e-12)
        for e, c in zip(examples, copies):
            np.testing.assert_array_equal(e, c)


def test_two_arguments_shared_and_mixed(p: Weights) -> None:
    f = ln.fuse(lambda x, y: ln.tanh(ln.affine(p.b, p.U, x, p.V, y)) * x + y)

    def build() -> Recorded:
        x, y, X = vector(normal(N)), vector(normal(1, N)[0]), rows(normal(3, N))
        shared = p.T[:N] @ p.b
        outputs = [f(x, x), f(x, y), f(X, y), f(x, X), f(X, X), f(p.b, x), f(x, p.b), f(X, p.b)]
        outputs += [f(shared, x), f(X, shared), f(f(x, y), f(X, y)), f(x, f(x, x))]
        return Recorded(outputs, [x, y, X])

    check(build, p.model)


def test_a_matrix_as_argument(p: Weights) -> None:
    f = ln.fuse(lambda M, x: ln.tanh(M @ x) + M @ x)

    def build() -> Recorded:
        x, X, M = vector(normal(N)), rows(normal(2, N)), vector(normal(N, N))
        outputs = [f(m, x) for m in (p.U, p.V, p.U.T, p.U @ p.V, M)] + [f(p.U.T, X), f(M, X)]
        return Recorded(outputs, [x, X, M])

    check(build, p.model)


def test_batches_of_no_rows(p: Weights) -> None:
    f = ln.fuse(lambda x: ln.tanh(p.U @ x))
    for order in ([0, 2], [2, 0], [0]):
        batches = [rows(normal(n, N)[:n]) for n in order]
        deep = [f(f(b)) for b in batches] + [f(batches[0])]
        assert [y.value().shape for y in deep] == [(n, N) for n in [*order, order[0]]]
        ln.backward([ln.sum_batch(ln.sum(y)) for y in deep])
        assert f(f(rows(np.zeros((0, N))))).batch == 0


def test_only_some_calls_reach_the_loss(p: Weights) -> None:
    f = ln.fuse(lambda x: (ln.softmax(ln.tanh(p.U @ x)), ln.dropout(p.V @ x, 0.3)))

    def build(reach: list[int]) -> Recorded:
        xs = [vector(normal(N) * k) for k in range(4)] + [rows(normal(3, N))]
        outputs = [y for x in xs for y in f(x)] + list(f(f(xs[1])[0]))
        return Recorded(outputs, xs, reach)

    for reach in ([0], [3, 4], [8], [9, 1], [10], [1, 11]):
        check(lambda reach=reach: build(reach), p.model)  # type: ignore[misc]


@pytest.mark.parametrize("bad", [np.inf, np.nan, 0.0])
def test_calls_off_the_loss_spoil_nothing(p: Weights, bad: float) -> None:
    f = ln.fuse(lambda x: ln.log(ln.square(p.U @ x)))
    x, worse = vector(normal(N)), vector(np.full(N, bad))
    with np.errstate(all="ignore"):
        ys = [f(x), f(worse), f(x)]
        ln.values(ys)
        ln.sum(ys[0] + ys[2]).backward()
        assert np.isfinite(p.U.gradient()).all()
        p.model.zero_gradients()
        good, _, _ = ln.unbatch(f(rows([normal(N), np.full(N, bad), np.full(N, bad)])))
        ln.sum(good).backward()
    assert np.isfinite(p.U.gradient()).all()


def test_batches_with_other_needs(p: Weights) -> None:
    """The lower of two calls needs no gradient of its argument, the upper one does."""
    f = ln.fuse(lambda x, y: ln.tanh(p.U @ x) * ln.sigmoid(p.V @ y))

    def run() -> list[Any]:
        outputs = []
        for k in range(3):
            x = vector(normal(N) + k)
            for _ in range(k + 1):
                x = f(x, vector(normal(N)))
            outputs.append(ln.sum(f(vector(normal(N)), x)))
        ln.backward(outputs)
        found = [p.U.gradient(), p.V.gradient()]
        p.model.zero_gradients()
        return found

    fused = run()
    with ln.no_fuse():
        close(fused, run(), 1e-10)


def test_frozen_parameters(p: Weights) -> None:
    f = ln.fuse(lambda x: ln.affine(p.b, p.U, x, p.V, ln.tanh(p.U @ x)))

    def build() -> Recorded:
        x = vector(normal(N))
        return Recorded([f(x), f(f(x))], [x])

    for frozen in ([p.U], [p.V], [p.b], [p.U, p.b], [p.U, p.V, p.b]):
        for q in frozen:
            q.trainable = False
        check(build, p.model)
        for q in frozen:
            q.trainable = True


def test_no_grad_around_and_inside(p: Weights) -> None:
    f = ln.fuse(lambda x: ln.tanh(p.U @ x))

    def around() -> Recorded:
        x = vector(normal(N))
        with ln.no_grad():
            y = f(x)
        return Recorded([y, f(x), f(y)], [x])

    check(around, p.model)

    def inside(x: Any) -> Any:
        with ln.no_grad():
            kept = ln.tanh(p.U @ x)
            equal = ln.tanh(x)
        return p.V @ kept + ln.tanh(p.U @ x), p.U @ equal, p.V @ ln.tanh(x)

    same(inside, normal(N), model=p.model)


def test_arguments_on_sealed_tapes(p: Weights) -> None:
    f = ln.fuse(lambda x, y: ln.tanh(p.U @ x) * y)

    def build() -> Recorded:
        x = vector(normal(N))
        u = x * 2.0
        u.value()
        z = f(u, vector(np.ones(N)))
        z.value()
        v = f(x, f(u, z))
        v.value()
        return Recorded([z, v, f(v, z)], [x, u, z])

    check(build, p.model)


def test_backward_twice_and_gradients_inside(p: Weights) -> None:
    f = ln.fuse(lambda x: ln.tanh(p.U @ x))
    x = vector(normal(N))
    y = f(x)
    loss = ln.sum(f(y))
    loss.backward()
    once, inner, outer = p.U.gradient(), y.gradient(), x.gradient()
    loss.backward()
    np.testing.assert_allclose(p.U.gradient(), 2 * once)
    np.testing.assert_allclose(y.gradient(), inner)
    np.testing.assert_allclose(x.gradient(), outer)
    p.U.array = p.U.array * 1.5
    with pytest.raises(ln.GradientError, match=r"parameter '/U' was changed after"):
        loss.backward()


def test_rows_of_tables_stay_sparse(p: Weights) -> None:
    f = ln.fuse(lambda c, x: ln.tanh(p.table[c]) * x)
    g = ln.fuse(lambda c: p.table[c] + ln.layer_norm(p.table[c], p.b, p.b))
    x = vector(np.ones(N))
    ln.backward([ln.sum(f(c, x)) for c in (1, 3, 1, -1)])
    assert p.table.pending is None
    assert sorted(p.table.coalesced()[0].tolist()) == [1, 3, 4]
    ln.backward([ln.sum(g(2)), ln.sum_batch(ln.sum(g([0, 2])))])
    assert p.table.pending is None
    assert p.table.coalesced()[0].tolist() == [0, 1, 2, 3, 4]


def test_dropout_draws_the_numbers_of_the_operations(p: Weights) -> None:
    f = ln.fuse(lambda x: (ln.dropout(x, 0.5) + ln.dropout(p.b * x, 0.3), ln.dropout(p.b, 0.5)))
    both = []
    for fusing in (True, False):
        ln.seed(7)
        found = []
        for _ in range(2):
            x = vector(np.ones(N))
            if fusing:
                found += [*f(x), *f(x), *f(rows(np.ones((3, N))))[:1], ln.dropout(x, 0.5)]
            else:
                with ln.no_fuse():
                    found += [*f(x), *f(x), *f(rows(np.ones((3, N))))[:1], ln.dropout(x, 0.5)]
        with ln.training(False):
            found += f(vector(np.ones(N)))
        found.append(ln.dropout(vector(np.ones(30)), 0.5))
        both.append(ln.values(found))
    for a, b in zip(*both):
        np.testing.assert_array_equal(a, b)


# Arguments


def test_whole_numbers_are_payload(p: Weights) -> None:
    f = ln.fuse(lambda x, c: ln.cross_entropy(p.T @ x, c) + ln.sum(p.table[c] * x))

    def build() -> Recorded:
        x, X = vector(normal(N)), rows(normal(3, N))
        outputs = [f(x, c) for c in (0, 3, 4, np.int64(2), np.int32(1))]
        outputs += [f(X, 1), f(X, [0, 4, 2]), f(X, np.array([1, 1, 3])), f(x, [0, 1])]
        return Recorded(outputs, [x, X])

    check(build, p.model)
    assert len(ops_of(*[f(vector(normal(N)), c) for c in range(5)])) == 1


def test_negative_rows_of_tables(p: Weights) -> None:
    f = ln.fuse(lambda c: ln.tanh(p.table[c]) + ln.tanh(p.table)[0])
    values = p.table.array
    for c in (0, -1, 4, -5):
        np.testing.assert_allclose(f(c).value(), np.tanh(values[c]) + np.tanh(values[0]))
    np.testing.assert_allclose(f([-1, 2]).value(), np.tanh(values[[-1, 2]]) + np.tanh(values[0]))


def test_numbers_out_of_range_fail_at_the_call(p: Weights) -> None:
    loss = ln.fuse(lambda x, c: ln.cross_entropy(p.U @ x, c))
    row = ln.fuse(lambda c: p.table[c] * 2.0)
    entry = ln.fuse(lambda x, c: x[c] * 2.0)
    x, X = vector(np.ones(N)), rows(np.ones((2, N)))
    for good in (None, 0, 1):  # also when the program is known
        if good is not None:
            loss(x, good), row(good), entry(x, good), loss(X, [0, good])
        for call in (
            lambda: loss(x, N), lambda: loss(x, -1), lambda: row(5), lambda: row(-6),
            lambda: loss(X, [0, N]), lambda: entry(x, N), lambda: row([0, 7]),
        ):  # fmt: skip
            with pytest.raises(ln.RangeError):
                call()
    for wrong in ([0.0, 1.0], [0, True], [0], [0, 1, 2], []):
        with pytest.raises(ln.LazynetError):
            loss(X, wrong)
    with ln.no_fuse(), pytest.raises(ln.RangeError):
        loss(x, N)


def test_numbers_that_are_looked_at_are_static(p: Weights) -> None:
    xs = [vector(np.ones(N) * k) for k in range(3)]

    @ln.fuse
    def f(x: Any, k: int, others: list[Any]) -> Any:
        y = x * float(k + 1)
        for _ in range(k):
            y = ln.tanh(y)
        if k == 1:
            y = -y
        return y + others[k] + k

    for _ in range(2):
        for k in range(3):
            with ln.no_fuse():
                expected = f(xs[1], k, xs).value()
            np.testing.assert_allclose(f(xs[1], k, xs).value(), expected)


@pytest.mark.parametrize(
    "look",
    [
        lambda x, k: x * (k - 1), lambda x, k: x * (2 * k), lambda x, k: x / (k + 3),
        lambda x, k: x if k > 1 else -x, lambda x, k: x if k else -x, lambda x, k: x + int(k),
        lambda x, k: x + {0: 1.0, 1: 2.0, 2: 3.0}[k], lambda x, k: x + len(f"{k:3d}") + k,
        lambda x, k: x[:k + 1], lambda x, k: x * k ** 2 + k % 2 - k // 2 + abs(-k),
        lambda x, k: x + max(k, 1), lambda x, k: x * np.arange(4.0)[k], lambda x, k: x + k.real,
        lambda x, k: ln.concatenate([x] * (k + 1)),
        lambda x, k: x + (9 if isinstance(k, bool) else k),
    ],
)  # fmt: skip
def test_ways_to_look_at_a_number(look: Callable[..., Any]) -> None:
    f = ln.fuse(look)
    x = vector(np.arange(4.0))
    for _ in range(2):
        for k in (0, 1, 2, np.int64(1)):
            np.testing.assert_array_equal(f(x, k).value(), look(x, k).value())


def test_lists_that_are_looked_at_are_no_batch() -> None:
    cut = ln.fuse(lambda x, sizes: tuple(ln.split(x, sizes)))
    total = ln.fuse(lambda x, children: ln.sum([x, *children]) if children else x * 2.0)
    x = vector(np.arange(4.0))
    for sizes in ([1, 3], [2, 2], [1, 3]):
        parts = cut(x, sizes)
        assert [(y.batch, y.shape[0]) for y in parts] == [(None, n) for n in sizes]
    for children in ([], [x], [x, x], []):
        y = total(x, children)
        assert y.batch is None
        np.testing.assert_array_equal(y.value(), x.value() * (1 + max(len(children), 1)))


def test_keywords_defaults_and_structures(p: Weights) -> None:
    @ln.fuse
    def f(x: Any, k: int = 2, *more: Any, scale: float = 1.0, other: Any = None) -> Any:
        y = x * scale * float(k)
        for m in more:
            y = y + m
        return y if other is None else y + other["a"] * other["b"][1][0]

    x, y = vector([1.0, 2.0]), vector([10.0, 20.0])

    def each() -> list[Any]:
        return [
            f(x), f(x, 3), f(x, k=3), f(x=x), f(x, 3, y, y), f(x, scale=0.5), f(k=1, x=y),
            f(x, other={"a": x, "b": (0, [y])}), f(x, other={"b": ("s", [x]), "a": y}),
            f(x, 1, *[rows([[1.0, 2.0], [3.0, 4.0]])], other={"a": x, "b": (None, [x])}),
        ]  # fmt: skip

    with ln.no_fuse():
        expected = ln.values(each())
    for _ in range(2):
        found = each()
        assert len(ops_of(*found)) >= 8
        close(ln.values(found), expected, 1e-12)


def test_arguments_that_cannot_be_part_of_a_program() -> None:
    f = ln.fuse(lambda x, s: x * 1.0)
    with pytest.raises(ln.ArgumentError, match=r"got the argument \{1, 2\}.*can be hashed"):
        f(vector([1.0]), {1, 2})
    with pytest.raises(ln.ArgumentError, match=r"put @ln\.fuse below"):
        ln.fuse(staticmethod(lambda x: x))
    with pytest.raises(ln.ArgumentError, match="takes a function or method"):
        ln.fuse(int)
    with pytest.raises(ln.ArgumentError, match="fuse: got 3"):
        ln.fuse(3)  # type: ignore[arg-type]


def test_batches_of_other_sizes_are_refused() -> None:
    f = ln.fuse(lambda x, y: x + y)
    two, three = rows(np.ones((2, 3))), rows(np.ones((3, 3)))
    for _ in range(2):
        with pytest.raises(ln.ArgumentError, match="batches of 2 and 3 rows"):
            f(two, three)
        f(two, two)


# Methods


class Layer:
    def __init__(self, model: ln.Model, n: int = 3) -> None:
        self.W = model.parameter((n, n))
        self.factor = 1.0

    @ln.fuse
    def step(self, x: Any, k: int = 1) -> Any:
        return ln.tanh(self.W @ x) * float(k)

    @ln.fuse
    def twice(self, x: Any) -> Any:
        return self.step(self.step(x))

    @staticmethod
    @ln.fuse
    def double(x: Any) -> Any:
        return x * 2.0

    @classmethod
    @ln.fuse
    def triple(cls, x: Any) -> Any:
        return x * 3.0


class Wider(Layer):
    @ln.fuse
    def step(self, x: Any, k: int = 1) -> Any:
        return super().step(x, k) + 1.0


def test_each_object_has_its_own_programs() -> None:
    model = ln.Model(seed=0, dtype="float64")
    one, other, wider = Layer(model), Layer(model), Wider(model)
    x = vector([1.0, 2.0, 3.0])
    for layer in (one, other):
        inner = np.tanh(layer.W.array @ x.value())
        np.testing.assert_allclose(layer.step(x).value(), inner)
        np.testing.assert_allclose(layer.twice(x).value(), np.tanh(layer.W.array @ inner))
        np.testing.assert_allclose(Layer.step(layer, x, 2).value(), 2 * inner)
    expected = np.tanh(wider.W.array @ x.value()) + 1.0
    np.testing.assert_allclose(wider.step(x).value(), expected)
    assert ops_of(one.twice(x)) == ["Layer.twice"]
    for owner in (one, Layer):
        assert owner.double(x).value().tolist() == [2.0, 4.0, 6.0]
        assert owner.triple(x).value().tolist() == [3.0, 6.0, 9.0]


def make(name: str) -> tuple[Any, Callable[[Any], Any]]:
    """A layer, and what to compute with it from an (5, 3) batch."""
    model = ln.Model(seed=0, dtype="float64")
    if name == "own":
        return Layer(model), lambda layer: lambda X: layer.step(X)
    if name in ("LSTM", "GRU", "RNN"):
        return getattr(ln.nn, name)(model, 3, 4), lambda layer: lambda X: layer(X)[0]
    if name == "MLP":
        return ln.nn.MLP(model, [3, 4, 2]), lambda layer: layer

    def root(layer: Any) -> Any:
        def run(X: Any) -> Any:
            x, y, z, *_ = ln.unbatch(X)
            return layer(z, [layer(x), layer(y, [layer(x)])])[0]

        return run

    return getattr(ln.nn, name)(model, 3, 4), root


LAYERS = ["own", "LSTM", "GRU", "RNN", "MLP", "NaryTreeLSTM", "ChildSumTreeLSTM"]


@pytest.mark.parametrize("name", LAYERS)
def test_copies_compute_with_their_own_parameters(name: str) -> None:
    layer, run = make(name)
    X = rows(normal(5, 3))
    before = run(layer)(X).value()
    twin = copy.deepcopy(layer)
    np.testing.assert_allclose(run(twin)(X).value(), before)
    parameters = twin.model.parameters() if hasattr(twin, "model") else [twin.W]
    for q in parameters:
        q.array = q.array * 0.0
    assert not np.any(run(twin)(X).value())
    assert not np.any(run(twin)(X * 2.0).value())
    np.testing.assert_allclose(run(layer)(X).value(), before)


@pytest.mark.parametrize("name", LAYERS)
def test_objects_are_freed_at_once(name: str) -> None:
    layer, run = make(name)
    run(layer)(rows(normal(5, 3))).value()
    gone = weakref.ref(layer)
    gc.collect()
    gc.disable()
    try:
        del layer
        assert gone() is None
    finally:
        gc.enable()


def test_objects_without_weak_references() -> None:
    class Slotted:
        __slots__ = ()

        @ln.fuse
        def step(self, x: Any) -> Any:
            return x

    with pytest.raises(ln.ArgumentError, match="__weakref__"):
        Slotted().step(vector([1.0]))


def test_tapes_are_freed(p: Weights) -> None:
    f = ln.fuse(lambda x: ln.tanh(p.U @ x))
    f(vector(np.ones(N))).value()
    LOCAL.tape = NO_TAPE
    gc.collect()
    before = tape_count()
    gc.disable()
    try:
        loss = ln.sum(f(f(vector(np.ones(N)))))
        loss.backward()
        del loss
        assert tape_count() == before
    finally:
        gc.enable()


def test_parameters_of_dropped_models_are_freed() -> None:
    """Also where the layouts of small graphs are remembered."""

    def parameters() -> int:
        LOCAL.tape = NO_TAPE
        gc.collect()
        return sum(isinstance(o, ln.Parameter) for o in gc.get_objects())

    def use() -> None:
        W = ln.Model(seed=0, dtype="float64").parameter((N, N))
        f = ln.fuse(lambda x: ln.tanh(W @ x))
        _, h = ln.scan(lambda x, h: (h, ln.tanh(W @ h + x)), rows(normal(2, N)), normal(N))
        ln.sum(f(h)).backward()

    before = parameters()
    for _ in range(3):
        use()
    assert parameters() == before


def test_floats_and_computed_rows(p: Weights, device: str) -> None:
    f = ln.fuse(lambda x, s: x / s)
    x = vector([1.0])
    with np.errstate(all="ignore"):
        assert f(x, 0.0).value() == np.inf and f(x, -0.0).value() == -np.inf
    g = ln.fuse(lambda i: p.table[i] * 2.0)
    y = g(ln.constant(7, dtype="int64"))
    if device != "cpu":  # it does not wait for the index
        assert np.isnan(y.value()).all()
        return
    for _ in range(2):  # a failed evaluation leaves nothing behind
        with pytest.raises(ln.RangeError, match=r"computed index 7.*5 rows"):
            y.value()
        good = g(ln.constant(2, dtype="int64"))
        np.testing.assert_array_equal(good.value(), 2.0 * p.table.array[2])


def test_threads(p: Weights) -> None:
    f = ln.fuse(lambda x, k: ln.tanh(p.U @ x) * float(k))
    found: dict[int, Any] = {}
    failed: list[BaseException] = []

    def work(k: int) -> None:
        try:
            for n in range(10):
                found[k] = f(vector(np.full(N, k + 1.0)), k).value()
                f(rows(np.ones((n + 1, N))), n).value()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    for k, value in found.items():
        np.testing.assert_allclose(value, np.tanh(p.U.array @ np.full(N, k + 1.0)) * k)


# What a fused function may not do


OUTSIDE = ln.constant(np.ones(N))
KEPT: list[Any] = []
LINE = "test_fuse.py:"


def refused() -> dict[str, tuple[Callable[..., Any], str]]:
    return {
        "value": (lambda x: x * x.value(), "the value of .* was asked for"),
        "float": (lambda x: x * float(ln.sum(x)), "the value of .* was asked for"),
        "array": (lambda x: x * np.asarray(x), "the value of .* was asked for"),
        "detach": (lambda x: x.detach(), "the value of .* was asked for"),
        "bool": (lambda x: x if x else -x, "the value of .*ln.where"),
        "comparison": (lambda x: x if x > 0 else -x, "the value of .* was asked for"),
        "closure": (lambda x: x + OUTSIDE, "comes from outside.*only parameters"),
        "batch": (lambda x: x if x.batch else -x, r"\.batch of .* was read"),
        "sum_batch": (lambda x: ln.sum_batch(x), "rows of a batch"),
        "unbatch": (lambda x: ln.unbatch(x)[0], r"\.batch of"),
        "rebatch": (lambda x: ln.rebatch([x, x]), r"\.batch of"),
        "fixed batch": (lambda x: x + ln.constant(np.ones((2, N)), batched=True), "batch"),
    }


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("name", refused())
def test_refused_at_the_line_of_the_user(name: str, batched: bool) -> None:
    function, message = refused()[name]
    x = rows(np.ones((2, N)), "float32") if batched else vector(np.ones(N), "float32")
    for _ in range(2):
        with pytest.raises(ln.FuseError, match=message) as caught:
            ln.fuse(function)(x)
        assert f"{LINE}{function.__code__.co_firstlineno}" in str(caught.value)
    assert (x * 2.0).tape.trace is None  # recording goes on as before


def test_results_that_are_none(p: Weights) -> None:
    x = vector(np.ones(N))
    for result, message in (
        (lambda x: None, "returned NoneType"),
        (lambda x: (x, 3), "returned int 3"),
        (lambda x: {"a": x}, "returned dict"),
        (lambda x: (), "returned no expression"),
        (lambda x: OUTSIDE, "which it did not compute"),
    ):
        with pytest.raises(ln.FuseError, match=message):
            ln.fuse(result)(x)


def test_an_expression_that_escapes() -> None:
    def keeping(x: Any) -> Any:
        KEPT.append(x * 2.0)
        return x * 1.0

    ln.fuse(keeping)(vector(np.ones(N)))
    with pytest.raises(ln.FuseError, match="return it from the function"):
        KEPT[-1] * 2.0
    with pytest.raises(ln.FuseError, match="value of"):
        KEPT.pop().value()


def test_another_number_of_results() -> None:
    count = [2]
    f = ln.fuse(lambda x: (x * 1.0, x * 2.0)[: count[0]])
    f(vector([1.0]))
    count[0] = 1
    with pytest.raises(ln.FuseError, match="returned 1 expressions, and 2"):
        f(vector([1.0, 2.0]))


def test_a_failed_trace_leaves_nothing_behind(p: Weights) -> None:
    fails = [True]

    @ln.fuse
    def f(x: Any) -> Any:
        y = p.U @ x
        if fails[0]:
            raise ZeroDivisionError
        return y

    x = vector(np.ones(N))
    with pytest.raises(ZeroDivisionError):
        f(x)
    fails[0] = False
    np.testing.assert_allclose(f(x).value(), p.U.array @ np.ones(N))


def test_errors_inside_come_from_their_line(p: Weights) -> None:
    f = ln.fuse(lambda x: p.W @ x)
    with pytest.raises(ln.ShapeError, match="matmul"):
        f(vector(np.ones(N)))


def test_debug_traces_again_and_reports_the_first_difference(p: Weights) -> None:
    factor, array, long, q, which = [2.0], np.ones(2), np.ones(300), [p.U, p.V], [ln.tanh]
    functions = [
        (
            ln.fuse(lambda x: x * factor[0]),
            2,
            lambda: factor.__setitem__(0, 3.0),
            r" 2\.0 .* 3\.0 ",
        ),
        (ln.fuse(lambda x: x + array), 2, lambda: array.__setitem__(1, 7.0), r"\[1\. 7\.\]"),
        (ln.fuse(lambda x: x + long), 300, lambda: long.__setitem__(299, 7.0), "checksum"),
        (ln.fuse(lambda x: q[0] @ x), N, q.reverse, "parameter /U .* parameter /V "),
        (ln.fuse(lambda x: which[0](x)), 2, lambda: which.__setitem__(0, ln.exp), "Tanh.*Exp"),
    ]
    for f, n, change, message in functions:
        x = vector(np.ones(n))
        f(x)
        with ln.debug():
            f(x)
            change()
            with pytest.raises(ln.FuseError, match=f"traced again.*{message}") as caught:
                f(x)
        assert LINE in str(caught.value)
    f(x)  # without debug nobody notices


# The layers


def lstm_inputs() -> list[Any]:
    return [rows(normal(n, 3)) for n in (4, 1, 6)]


LAYER_RUNS: dict[str, tuple[Callable[[ln.Model], Any], int]] = {
    "RNN": (lambda m: ln.nn.RNN(m, 3, 4), 1),
    "GRU": (lambda m: ln.nn.GRU(m, 3, 4, layers=2), 2),
    "GRU after": (lambda m: ln.nn.GRU(m, 3, 5, reset_after=True), 1),
    "LSTM": (lambda m: ln.nn.LSTM(m, 3, 4, layers=2, dropout=0.3), 2),
    "LSTM narrow": (lambda m: ln.nn.LSTM(m, 3, 2), 1),
    "LSTM norm": (lambda m: ln.nn.LSTM(m, 3, 4, layer_norm=True), 1),
    "both": (lambda m: ln.nn.Bidirectional(ln.nn.LSTM(m, 3, 4), ln.nn.GRU(m, 3, 4)), 2),
}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", LAYER_RUNS)
def test_recurrent_layers(name: str, dtype: str) -> None:
    """One scan for each layer and direction; steps are one node each."""
    model = ln.Model(seed=0, dtype=dtype)
    layer, scans = LAYER_RUNS[name][0](model), LAYER_RUNS[name][1]
    for q in model.parameters():
        q.array = q.array + 0.2 * np.random.default_rng(q.size).standard_normal(q.shape)

    def build() -> Recorded:
        xs = [rows(normal(n, 3), dtype) for n in (4, 1, 6)]
        outputs = [y for x in xs for y in flat(layer(x))]
        return Recorded(outputs, xs)

    check(build, model, TOLERANCES[dtype])
    recorded = ops_of(*build().outputs)
    assert sum("step" in op for op in recorded) == scans
    if hasattr(layer, "step"):
        y, state = layer.step(vector(normal(3), dtype))
        y, _ = layer.step(vector(normal(3), dtype), state)
        with ln.training(False):
            y, _ = layer.step(vector(normal(3), dtype))
            assert len(ops_of(y)) == scans

    def steps() -> Recorded:
        x, state, ys = vector(normal(3), dtype), None, []
        for k in range(3):
            y, state = layer.step(x * float(k), state)
            ys.append(y)
        return Recorded([*ys, *flat(state)], [x])

    if hasattr(layer, "step"):
        check(steps, model, TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("kind", ["NaryTreeLSTM", "ChildSumTreeLSTM"])
def test_tree_layers(kind: str, dtype: str) -> None:
    model = ln.Model(seed=0, dtype=dtype)
    cell = getattr(ln.nn, kind)(model, 3, 4)
    for q in model.parameters():
        q.array = q.array + 0.2 * np.random.default_rng(q.size).standard_normal(q.shape)

    def build() -> Recorded:
        xs = [vector(normal(k + 1, 3)[k], dtype) for k in range(4)]
        leaves = [cell(x) for x in xs]
        pair = cell(None, leaves[:2])
        one = cell(xs[0], [leaves[2]])
        root = cell(xs[3], [pair, one])
        partial = cell(xs[1], [None, root]) if kind == "NaryTreeLSTM" else cell(xs[1], [root])
        return Recorded([*pair, *one, *root, *partial], xs)

    check(build, model, TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_layers_without_memory(dtype: str) -> None:
    model = ln.Model(seed=0, dtype=dtype)
    mlp = ln.nn.MLP(model, [3, 8, 5, 2], "relu", dropout=0.2)
    words = ln.nn.ClassFactoredSoftmax(model, 3, [0, 1, 1, 0, 2, 0])

    def build() -> Recorded:
        x, X = vector(normal(3), dtype), rows(normal(4, 3), dtype)
        outputs = [mlp(x), mlp(X), mlp(x * 2.0)]
        outputs += [words.loss(x, w) for w in range(6)] + [words.loss(X, [0, 5, 4, 1])]
        outputs.append(words.log_probabilities(x))
        return Recorded(outputs, [x, X])

    check(build, model, TOLERANCES[dtype])
    x = vector(normal(3), dtype)
    assert len(ops_of(mlp(x), mlp(x))) == 1


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_attention_and_convolution(dtype: str) -> None:
    model = ln.Model(seed=0, dtype=dtype)
    layers = [
        ln.nn.DotAttention(4),
        ln.nn.BilinearAttention(model, 4, 4),
        ln.nn.AdditiveAttention(model, 4, 4, 5),
        ln.nn.MultiHeadAttention(model, 4, 2),
    ]
    conv = ln.nn.Conv1d(model, 4, 3, 2)

    def build() -> Recorded:
        outputs, inputs = [], []
        for length in (5, 1, 3):
            q, K = vector(normal(4), dtype), rows(normal(length, 4), dtype)
            for layer in layers:
                outputs += flat(layer(q, K))
            if length > 1:
                outputs += flat(conv(K))
            inputs += [q, K]
        return Recorded(outputs, inputs)

    check(build, model, TOLERANCES[dtype])


def test_outcomes_are_compared_at_all(p: Weights) -> None:
    """The comparison of this file rejects an error of a thousandth."""
    factor = [1.0]

    def build() -> Recorded:
        x = vector(normal(N))
        return Recorded([ln.tanh(p.U @ x) * factor[0]], [x])

    expected = outcome(build, p.model)
    factor[0] = 1.001
    found = outcome(build, p.model)
    with pytest.raises(AssertionError):
        close(found.values, expected.values, 1e-10)
    with pytest.raises(AssertionError):
        close(found.gradients, expected.gradients, 1e-10)


# What is made of weights, shared by evaluations that are alive


@pytest.mark.parametrize("change", ["whole", "view", "update", "load"])
def test_weights_made_ready_are_those_of_the_moment(change: str, tmp_path: Any) -> None:
    model = ln.Model(seed=0)
    W, V = [model.parameter((4, 4), name=name) for name in "WV"]

    @ln.fuse
    def step(x: Any, h: Any) -> Any:
        return ln.tanh(W @ x + V @ h) * ln.sigmoid(W @ h)

    xs = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    model.save(tmp_path / "model")
    states = [ln.constant(x) for x in xs]
    expected = xs
    for k in range(4):
        states = [step(x, h) for x, h in zip(xs, states)]
        w, v = W.array, V.array
        gate = 1 / (1 + np.exp(-expected @ w.T))
        expected = np.tanh(xs @ w.T + expected @ v.T) * gate
        np.testing.assert_allclose(ln.values(states), expected, rtol=1e-4, atol=1e-6)
        if change == "whole":
            W.array = W.array + 0.5
        elif change == "view":
            if V.array.flags.writeable:  # on a GPU it is a copy
                V.array[k] += 1.0
            else:
                V.array = V.array + 1.0
        elif change == "update":
            optimizer = ln.optim.SGD(model, lr=0.5)
            ln.sum([step(x, x).sum() for x in xs]).backward()
            optimizer.step()
        else:
            V.array = np.full((4, 4), k, np.float32)
            model.load(tmp_path / "model")
