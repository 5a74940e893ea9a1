"""Scans: one node that does what a cell does step by step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from fusing import Recorded, check, ops_of, outcome
from hypothesis import given, settings
from hypothesis import strategies as st

import lazynet as ln

N_IN, N = 3, 4
RNG = np.random.default_rng(0)
RAGGED = [RNG.standard_normal((length, N_IN)) for length in (5, 1, 3, 7, 3)]
WIDE = [RNG.standard_normal((length, N)) for length in (3, 5, 2)]
INITIAL = RNG.standard_normal((5, N)) * 0.3

Cell = Callable[..., Any]


class Weights:
    """Parameters that cells share."""

    def __init__(self, dtype: str = "float64") -> None:
        self.model = ln.Model(seed=0, dtype=dtype)
        self.W = self.model.parameter((N, N_IN))
        self.U = self.model.parameter((N, N))
        self.V = self.model.parameter((N, N))
        self.b = self.model.parameter(N, init=0.1)
        self.gain = self.model.parameter(N, init=1.3)
        self.start = self.model.parameter(N, init=0.3)


@pytest.fixture
def p() -> Weights:
    return Weights()


def elman(p: Weights) -> Cell:
    def cell(x: Any, h: Any) -> Any:
        h = ln.tanh(ln.affine(p.b, p.W, x, p.U, h))
        return h, h

    return cell


def wide(p: Weights) -> Cell:
    """A cell that runs along its own outputs."""

    def cell(x: Any, h: Any) -> Any:
        h = ln.tanh(ln.affine(p.b, p.V, x, p.U, h))
        return h, h

    return cell


def flat(x: Any) -> list[Any]:
    return [x] if isinstance(x, ln.Expression) else [y for part in x for y in flat(part)]


def rows(array: Any, dtype: str = "float64") -> Any:
    return ln.constant(np.asarray(array, dtype), batched=True)


def vector(array: Any, dtype: str = "float64") -> Any:
    return ln.constant(np.asarray(array, dtype))


def along(
    cell: Cell,
    states: int = 1,
    sequences: Sequence[Any] = RAGGED,
    reverse: bool = False,
    reach: Sequence[int] | None = None,
    constants: Sequence[Any] = (),
) -> Callable[[], Recorded]:
    """Records a scan over every sequence; results are the outputs and the state of each in turn."""

    def build() -> Recorded:
        outputs, inputs = [], []
        fixed = [vector(c) for c in constants]
        for k, sequence in enumerate(sequences):
            x = rows(sequence)
            init = [vector(INITIAL[(k + j) % 5]) for j in range(states)]
            ys, state = ln.scan(cell, x, init[0] if states == 1 else tuple(init), reverse, fixed)
            outputs += [*flat(ys), *flat(state)]
            inputs += [x, *init]
        return Recorded(outputs, [*inputs, *fixed], reach)

    return build


REACHES: list[Any] = [None, [0], [1], [3, 5], [6, 1], [9]]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("reach", REACHES)
def test_ragged_sequences(p: Weights, reverse: bool, reach: Any) -> None:
    """Also where the loss reads only some sequences, only ys, only final states."""
    check(along(elman(p), reverse=reverse, reach=reach), p.model)


def stacked(cell: Cell, depth: int, reach: Any) -> Recorded:
    """The same cell several times above itself, once more in the second sequence."""
    outputs = []
    for k, sequence in enumerate(WIDE):
        x = rows(sequence)
        for _ in range(depth + (k == 1)):
            x, h = ln.scan(cell, x, np.zeros(N))
        outputs += [x, h]
    return Recorded(outputs, [], reach)


@pytest.mark.parametrize("reach", [None, [0], [1, 4], [5]])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_one_cell_above_itself(p: Weights, depth: int, reach: Any) -> None:
    """Several batches of one kind, of which the lowest needs no gradient of its inputs."""
    cell = wide(p)
    outputs = stacked(cell, depth, reach).outputs
    assert len(ops_of(*outputs)) == depth + 1
    check(lambda: stacked(cell, depth, reach), p.model)


@pytest.mark.parametrize("reach", [None, [1], [2], [5], [0, 6]])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_recurrence_inside_opaque_operations(p: Weights, reverse: bool, reach: Any) -> None:
    """Layer norm and softmax between the steps, a loss of the outputs after them."""

    def cell(x: Any, h: Any) -> Any:
        h = ln.layer_norm(ln.affine(p.b, p.W, x, p.U, h), p.gain, p.b)
        h = h * ln.softmax(h) + ln.max([h, ln.tanh(h)])
        return ln.cross_entropy(p.V @ h, 2), ln.tanh(h)

    check(along(cell, reverse=reverse, reach=reach), p.model)


def passed_through(p: Weights) -> Cell:
    def cell(x: Any, state: Any) -> Any:
        h, k = state
        return (h + k, x), (ln.tanh(p.W @ x + p.U @ h + k), k)

    return cell


def one_twice(p: Weights) -> Cell:
    def cell(x: Any, state: Any) -> Any:
        h, k = state
        new = ln.tanh(p.W @ x + p.U @ h + p.V @ k)
        return new + h, (new, new)

    return cell


def swapped(p: Weights) -> Cell:
    def cell(x: Any, state: Any) -> Any:
        h, k = state
        return h * k, (k, ln.tanh(p.W @ x + p.U @ h))

    return cell


def lstm_like(p: Weights) -> Cell:
    """Gates from matrices of their own, and the same expression as output and state."""

    def cell(x: Any, state: Any) -> Any:
        h, c = state
        f, i = (
            ln.sigmoid(ln.affine(p.b, p.W, x, p.U, h)),
            ln.sigmoid(ln.affine(p.b, p.W, x, p.V, h)),
        )
        c = f * c + i * ln.tanh(p.U @ h)
        h = ln.tanh(c)
        return h, (h, c)

    return cell


@pytest.mark.parametrize("make", [passed_through, one_twice, swapped, lstm_like])
@pytest.mark.parametrize("reach", [None, [0], [1], [2], [-1]])
def test_two_states(p: Weights, make: Any, reach: Any) -> None:
    build = along(make(p), states=2, sequences=RAGGED[:3])
    count = len(build().outputs)
    chosen = None if reach is None else [r % count for r in reach]
    check(along(make(p), states=2, sequences=RAGGED[:3], reach=chosen), p.model)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: lambda x, h: (x, h),
        lambda p: lambda x, h: (p.W @ x, ln.tanh(h)),
        lambda p: lambda x, h: (p.W @ x + h, ln.tanh(p.b)),
        lambda p: lambda x, h: ((p.b * 2.0, ln.sum(h), ln.sum(x)), h * 0.5),
        lambda p: lambda x, h: (h, p.W @ x),
        lambda p: lambda x, h: (ln.constant([1.0, 2.0], dtype="float64") + ln.sum(x), h + 1.0),
        lambda p: lambda x, h: ((h, (h, h + p.b)), h * ln.sigmoid(p.W @ x)),
    ],
    ids=["nothing computed", "no recurrence", "state of parameters", "scalars", "x to state",
         "constants inside", "the old state thrice"],
)  # fmt: skip
@pytest.mark.parametrize("reach", [None, [0], [1]])
def test_odd_cells(p: Weights, make: Any, reach: Any) -> None:
    check(along(make(p), sequences=RAGGED[:3], reach=reach), p.model)


def test_nested_states_keep_their_form(p: Weights) -> None:
    def cell(x: Any, state: Any) -> Any:
        (a, (b,)), k = state
        h = ln.tanh(p.W @ x + p.U @ a + b * k)
        return h, ((h, (a,)), k)

    def build() -> Recorded:
        x, (a, b, k) = rows(RAGGED[0]), (vector(v) for v in INITIAL[:3])
        y, ((c, (d,)), e) = ln.scan(cell, x, ((a, (b,)), k))
        return Recorded([y, c, d, e], [x, a, b, k])

    check(build, p.model)


@pytest.mark.parametrize("reverse", [False, True])
def test_tuples_of_lists_and_batches(p: Weights, reverse: bool) -> None:
    def cell(xz: Any, h: Any) -> Any:
        x, z = xz
        h = ln.tanh(p.W @ x + p.U @ h + z)
        return (h, x * 2.0), h

    def build() -> Recorded:
        h = vector(INITIAL[0])
        xs, zs = [vector(r) for r in RAGGED[2]], [vector(r) for r in WIDE[0]]
        pairs, last = ln.scan(cell, (xs, zs), h, reverse)
        assert [len(pair) for pair in pairs] == [2, 2, 2]
        X, Z = rows(RAGGED[2]), rows(WIDE[0])
        (ys, doubled), end = ln.scan(cell, (X, Z), h, reverse)
        assert ys.batch == doubled.batch == 3
        outputs = [y for pair in pairs for y in pair]
        return Recorded([*outputs, last, ys, doubled, end], [*xs, *zs, X, Z, h])

    found = check(build, p.model)
    np.testing.assert_allclose(found.values[0], found.values[7][0])


@pytest.mark.parametrize("length", [1, 4])
def test_a_list_gives_a_list(p: Weights, length: int) -> None:
    xs = [vector(RNG.standard_normal(N_IN)) for _ in range(length)]
    ys, h = ln.scan(elman(p), xs, np.zeros(N))
    assert isinstance(ys, list) and len(ys) == length
    assert np.array_equal(ys[-1].value(), h.value())


def test_constants_masks_and_parameters(p: Weights) -> None:
    def cell(x: Any, h: Any, mask: Any, scale: Any) -> Any:
        h = ln.tanh(p.W @ x + p.U @ (h * mask) * scale)
        return h * 2.0, h

    check(along(cell, constants=[[0.5, 0, 2, 1], 0.7]), p.model)
    check(along(cell, constants=[[0.5, 0, 2, 1], 0.7], reach=[3], reverse=True), p.model)

    def build() -> Recorded:
        x, h, scale = rows(RAGGED[0]), vector(INITIAL[0]), vector(0.3)
        ys, last = ln.scan(cell, x, h, constants=[p.b, scale])
        zs, _ = ln.scan(cell, x, h, constants=[p.gain, scale])
        return Recorded([ys, last, zs], [x, h, scale])

    check(build, p.model)

    def turned(x: Any, h: Any, matrix: Any) -> Any:
        h = ln.tanh(p.W @ x + matrix @ h)
        return h, h

    def given_matrix() -> Recorded:
        x, h = rows(RAGGED[0]), vector(INITIAL[0])
        outputs = [ln.scan(turned, x, h, constants=[m])[0] for m in (p.U, p.V, p.U.T)]
        return Recorded(outputs, [x, h])

    check(given_matrix, p.model)


def test_initial_states_shared_and_parameters(p: Weights) -> None:
    def build() -> Recorded:
        h, outputs, inputs = vector(INITIAL[0]), [], []
        for k, sequence in enumerate(RAGGED):
            x = rows(sequence)
            start: Any = (h, p.start, p.U[1])[k % 3]
            outputs += ln.scan(elman(p), x, start)
            inputs.append(x)
        return Recorded(outputs, [h, *inputs])

    check(build, p.model)


def test_two_layers_and_both_directions(p: Weights) -> None:
    first, second = elman(p), wide(p)

    def build() -> Recorded:
        outputs, inputs = [], []
        for sequence in RAGGED:
            x = rows(sequence)
            ys, h = ln.scan(first, x, np.zeros(N))
            zs, g = ln.scan(second, ys, h, reverse=True)
            both, _ = ln.scan(second, ys + zs, g)
            outputs += [zs, g, both]
            inputs.append(x)
        return Recorded(outputs, inputs)

    with ln.debug():
        assert len(ops_of(*build().outputs)) == 4  # and the sum of two
    check(build, p.model)


def dropping(p: Weights) -> Cell:
    def cell(x: Any, h: Any) -> Any:
        h = ln.tanh(p.W @ ln.dropout(x, 0.4) + p.U @ ln.dropout(h, 0.5))
        return ln.dropout(h, 0.2), h

    return cell


@pytest.mark.parametrize("reverse", [False, True])
def test_random_numbers_are_those_of_the_single_steps(p: Weights, reverse: bool) -> None:
    """Also what is drawn after a scan; and where only some sequences reach the loss."""

    def build(reach: Any = None) -> Recorded:
        recorded = along(dropping(p), reverse=reverse, reach=reach)()
        after = ln.dropout(vector(np.ones(30)), 0.5)
        return Recorded([*recorded.outputs, after], recorded.inputs, reach)

    for reach in (None, [4], [1, 7]):
        found = check(lambda reach=reach: build(reach), p.model)  # type: ignore[misc]
    with ln.no_fuse():
        plain = outcome(build, p.model)
    assert np.array_equal(found.values[-1], plain.values[-1])
    zeros = [np.array(v) == 0 for v in found.values]
    assert all(np.array_equal(a, np.array(b) == 0) for a, b in zip(zeros, plain.values))


# Lengths


def test_sequences_of_no_steps(p: Weights) -> None:
    """Alone, among others, and above each other: the state comes back, its gradient too."""
    empty = np.zeros((0, N_IN))
    h = vector(INITIAL[0])
    ys, last = ln.scan(elman(p), rows(empty), h)
    assert ys.batch == 0 and ys.shape == (N,) and ys.value().shape == (0, N)
    loss = ln.sum(last)
    loss.backward()
    np.testing.assert_array_equal(h.gradient(), np.ones(N))

    def build(sequences: Sequence[Any]) -> list[Any]:
        return list(along(elman(p), sequences=sequences)().outputs)

    mixed = build([empty, RAGGED[0], empty, RAGGED[2]])
    ln.seed(0)
    alone = along(elman(p), sequences=[INITIAL[:0, :N_IN], RAGGED[0]])().outputs
    np.testing.assert_allclose(mixed[2].value(), alone[2].value())
    ln.sum(mixed[3] + mixed[1] + mixed[7]).backward()

    cell, outputs = wide(p), []
    for k, sequence in enumerate([WIDE[0][:0], WIDE[0], WIDE[1][:0], WIDE[1]]):
        x = rows(sequence)
        for _ in range(1 + k):
            x, h = ln.scan(cell, x, np.zeros(N))
        outputs += [x, h]
    ln.backward([ln.sum(y) if y.batch is None else ln.sum_batch(ln.sum(y)) for y in outputs])
    assert p.U.has_gradient()


def test_all_sequences_are_one_node(p: Weights) -> None:
    outputs = along(elman(p))().outputs
    assert ops_of(*outputs) == ["elman.cell"]
    table = ln.plan(list(outputs))
    scans = [b for b in table.batches if b.op == "elman.cell"]
    assert scans[0].nodes == len(RAGGED) and scans[0].rows == sum(map(len, RAGGED))


def test_a_cell_is_traced_once(p: Weights) -> None:
    calls = [0]

    def cell(x: Any, h: Any) -> Any:
        calls[0] += 1
        return h, ln.tanh(p.W @ x + h)

    for _ in range(3):
        along(cell)()
    assert calls == [1]
    along(cell, reverse=True)()
    with ln.training(False):
        along(cell)()
    assert calls[0] == 3


# The cell


class Layer:
    def __init__(self, p: Weights, factor: float = 1.0) -> None:
        self.p, self.factor = p, factor

    def plain(self, x: Any, h: Any) -> Any:
        h = ln.tanh(self.p.W @ x + self.p.U @ h) * self.factor
        return h, h

    @ln.fuse
    def step(self, x: Any, h: Any) -> Any:
        return self.plain(x, h)


def test_methods_fused_or_not(p: Weights) -> None:
    one, other = Layer(p), Layer(p, 0.5)

    def build() -> Recorded:
        x, h = rows(RAGGED[0]), vector(INITIAL[0])
        cells = [one.plain, other.plain, one.step, other.step, Layer.plain.__get__(one)]
        return Recorded([ln.scan(cell, x, h)[0] for cell in cells], [x, h])

    found = check(build, p.model)
    np.testing.assert_allclose(found.values[0], found.values[2])
    assert not np.allclose(found.values[0], found.values[1])


def test_a_wrapped_cell_is_a_cell_of_its_own(p: Weights) -> None:
    cell = elman(p)
    x, h = rows(RAGGED[0]), np.zeros(N)
    ys, _ = ln.scan(cell, x, h)

    @functools.wraps(cell)
    def doubled(x: Any, h: Any) -> Any:
        y, h = cell(x, h)
        return y * 2.0, h

    np.testing.assert_allclose(ln.scan(doubled, x, h)[0].value(), 2.0 * ys.value())
    partial = functools.partial(cell)
    np.testing.assert_allclose(ln.scan(partial, x, h)[0].value(), ys.value())


def test_frozen_parameters_and_no_grad(p: Weights) -> None:
    for frozen in (p.W, p.U, p.b):
        frozen.trainable = False
        check(along(elman(p)), p.model)
        frozen.trainable = True
    for frozen in (p.W, p.U, p.b):
        frozen.trainable = False
    check(along(elman(p)), p.model)

    def build() -> Recorded:
        x = rows(RAGGED[0])
        with ln.no_grad():
            ys, h = ln.scan(elman(p), x, p.start)
        zs, g = ln.scan(wide(p), ys, h)
        return Recorded([ys, h, zs, g], [x])

    check(build, p.model)


def test_no_grad_inside(p: Weights) -> None:
    def cell(x: Any, h: Any) -> Any:
        with ln.no_grad():
            kept = ln.tanh(p.U @ h)
        h = ln.tanh(p.W @ x + kept + p.V @ h)
        return h, h

    check(along(cell), p.model)


def test_arguments_on_sealed_tapes(p: Weights) -> None:
    def build() -> Recorded:
        x, h = rows(RAGGED[0]) * 1.0, vector(INITIAL[0]) * 1.0
        x.value()
        h.value()
        ys, last = ln.scan(elman(p), x, h)
        ys.value()
        zs, end = ln.scan(wide(p), ys, last)
        return Recorded([zs, end], [x, h])

    check(build, p.model)


def test_gradients_twice_and_a_changed_parameter(p: Weights) -> None:
    ys, _ = ln.scan(elman(p), rows(RAGGED[0]), np.zeros(N))
    loss = ln.sum_batch(ln.sum(ys))
    loss.backward()
    once = p.U.gradient()
    loss.backward()
    np.testing.assert_allclose(p.U.gradient(), 2 * once)
    p.U.array = p.U.array * 2.0
    with pytest.raises(ln.GradientError, match=r"was changed after elman\.cell"):
        loss.backward()


def test_float32(p: Weights) -> None:
    small = Weights("float32")

    def build() -> Recorded:
        x, h = rows(RAGGED[0], "float32"), vector(INITIAL[0], "float32")
        ys, last = ln.scan(elman(small), x, h)
        assert ys.dtype == last.dtype == np.float32
        zs, _ = ln.scan(elman(small), x, np.zeros(N))  # takes the dtype of the inputs
        assert zs.dtype == np.float32
        return Recorded([ys, last, zs], [x, h])

    check(build, small.model, 1e-5)


def test_inputs_stay_as_they_are(p: Weights) -> None:
    array, start = RAGGED[0].copy(), INITIAL[0].copy()
    x, h = rows(array), vector(start)
    ys, last = ln.scan(elman(p), x, h)
    before = ys.value()
    ln.backward([ln.sum_batch(ln.sum(ys * ys)), ln.sum(last)])
    np.testing.assert_array_equal(x.value(), RAGGED[0])
    np.testing.assert_array_equal(h.value(), INITIAL[0])
    np.testing.assert_array_equal(ys.value(), before)


def test_a_sequence_off_the_loss_spoils_nothing(p: Weights) -> None:
    def cell(x: Any, h: Any) -> Any:
        h = ln.log(ln.square(p.W @ x + p.U @ h))
        return h, h

    x, bad = rows(RAGGED[0]), rows(np.full((2, N_IN), np.inf))
    with np.errstate(all="ignore"):
        ys, _ = ln.scan(cell, x, INITIAL[0])
        zs, _ = ln.scan(cell, bad, np.zeros(N))
        ln.values([ys, zs])
        ln.sum_batch(ln.sum(ys)).backward()
    assert np.isfinite(p.W.gradient()).all() and np.isfinite(p.U.gradient()).all()


# Bad input


def bad(cell: Cell, xs: Any, init: Any, **more: Any) -> Callable[[], Any]:
    return lambda: ln.scan(cell, xs, init, **more)


def test_cells_that_return_something_else(p: Weights) -> None:
    x, h = rows(RAGGED[0]), np.zeros(N)
    for result, message in (
        (lambda x, h: h, r"a cell returns \(y, state\)"),
        (lambda x, h: (h, h, h), r"a cell returns \(y, state\)"),
        (lambda x, h: (h, (h, h)), r"\(y, an expression\) belongs"),
        (lambda x, h: (h, None), "returned NoneType"),
        (lambda x, h: (h, 3.0), "returned float"),
    ):
        with pytest.raises(ln.FuseError, match=message):
            ln.scan(result, x, h)
    with pytest.raises(ln.ShapeError, match=r"state 0 has shape \(4,\).*before.*\(3,\)"):
        ln.scan(lambda x, h: (h, x), x, h)
    with pytest.raises(ln.FuseError, match=r"\(an expression, an expression\)\) belongs"):
        ln.scan(lambda x, s: (s[0], s[0]), x, (h, h))


def test_inputs_that_are_no_sequence(p: Weights) -> None:
    cell, h = elman(p), np.zeros(N)
    with pytest.raises(ln.ShapeError, match="single expression"):
        ln.scan(cell, vector(np.zeros(N_IN)), h)
    with pytest.raises(ln.ShapeError, match="single expression"):
        ln.scan(cell, p.start, h)
    with pytest.raises(ln.ArgumentError, match="empty list"):
        ln.scan(cell, [], h)
    with pytest.raises(ln.ArgumentError, match="empty tuple"):
        ln.scan(cell, (), h)
    with pytest.raises(ln.ArgumentError, match="got int as xs"):
        ln.scan(cell, 3, h)
    with pytest.raises(ln.ShapeError, match="5, 3 steps"):
        ln.scan(cell, (rows(RAGGED[0]), rows(RAGGED[2])), h)
    with pytest.raises(ln.ShapeError, match="entry of xs with a batch"):
        ln.scan(cell, [rows(RAGGED[0])], h)
    with pytest.raises(ln.ShapeError, match="init with a batch"):
        ln.scan(cell, rows(RAGGED[0]), rows(WIDE[0]))
    with pytest.raises(ln.ShapeError, match="constants with a batch"):
        ln.scan(lambda x, h, k: (h, h), rows(RAGGED[0]), h, constants=[rows(WIDE[0])])
    with pytest.raises(ln.ArgumentError, match="as cell"):
        ln.scan(3, rows(RAGGED[0]), h)  # type: ignore[arg-type]


def test_what_a_cell_may_not_do(p: Weights) -> None:
    x, h = rows(RAGGED[0]), np.zeros(N)
    outside = vector(np.ones(N))
    for cell, message in (
        (lambda x, h: (h, h + outside), "comes from outside"),
        (lambda x, h: (h, h * float(ln.sum(h))), r"value of"),
        (lambda x, h: (h, h if x.batch else h * 2.0), "batch of"),
        (lambda x, h: (h, ln.scan(elman(p), [x], h)[1]), "inside a fused function"),
        (lambda x, h: (h, ln.sum_batch(h)), "rows of a batch"),
    ):
        with pytest.raises(ln.FuseError, match=message) as caught:
            ln.scan(cell, x, h)
        assert "test_scan.py" in str(caught.value) or "inside a fused" in message
    assert ops_of(ln.scan(elman(p), x, h)[0]) == ["elman.cell"]  # and nothing is left behind


def test_debug_traces_again(p: Weights) -> None:
    factor = [1.0]

    def cell(x: Any, h: Any) -> Any:
        h = ln.tanh(p.W @ x + h) * factor[0]
        return h, h

    x, h = rows(RAGGED[0]), np.zeros(N)
    ln.scan(cell, x, h)
    with ln.debug():
        ln.scan(cell, x, h)
        factor[0] = 2.0
        with pytest.raises(ln.FuseError, match=r"traced again.*2\.0"):
            ln.scan(cell, x, h)


# Random cells


@settings(max_examples=25)
@given(
    steps=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 7)), min_size=1, max_size=8),
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    reverse=st.booleans(),
    reach=st.lists(st.integers(0, 11), min_size=1, max_size=3),
)
def test_random_cells(
    steps: list[tuple[int, int]], lengths: list[int], reverse: bool, reach: list[int]
) -> None:
    p = Weights()
    T = p.model.parameter((2 * N, N))

    def step(what: int, a: Any, b: Any, mask: Any) -> list[Any]:
        choices: list[Callable[[], list[Any]]] = [
            lambda: [ln.tanh(a), b],
            lambda: [ln.sigmoid(p.U @ a)],
            lambda: [ln.affine(p.b, p.U, a, p.V, b)],
            lambda: list(ln.split(ln.sigmoid(T @ a), 2)),
            lambda: [ln.tanh(a + b), a * 0.5],
            lambda: [ln.tanh(a) * ln.sigmoid(b)],
            lambda: [ln.softmax(a)],
            lambda: [ln.layer_norm(a, p.gain, p.b, 0.1)],
            lambda: [ln.dropout(a, 0.3)],
            lambda: [a * mask],
            lambda: [ln.concatenate([a[2:], b[:2]])],
            lambda: [ln.tanh(ln.affine(a, p.U, b))],
        ]
        return choices[what]()

    def cell(x: Any, state: Any, mask: Any) -> Any:
        h, c = state
        pool = [h, c, p.W @ x, x[:1] * h]
        for what, k in steps:
            pool += step(what, pool[-1 - k % len(pool)], pool[-1 - (k + 1) % len(pool)], mask)
        return (pool[-1], ln.cross_entropy(pool[-2], 1)), (ln.tanh(pool[-1]), ln.tanh(pool[-3]))

    count = 4 * len(lengths)
    build = along(
        cell,
        states=2,
        sequences=[RAGGED[3][:n] for n in lengths],
        reverse=reverse,
        reach=sorted({r % count for r in reach}),
        constants=[[1.0, 0.0, 2.0, 1.0]],
    )
    check(build, p.model)
