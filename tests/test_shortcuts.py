"""Calls that were met before are recorded in few steps: the same nodes, values and errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from typing import Any

import numpy as np
import pytest

import lazynet as ln
from lazynet import kinds, shortcuts
from lazynet.graph import Expression
from lazynet.tape import LOCAL, Tape

_widths = count(301)
"""Of vectors: in each test others than before, so that its kinds were not met."""


class Scene:
    """A model, and inputs of a new width."""

    def __init__(self, dtype: str = "float32", batch: int | None = None) -> None:
        self.n = next(_widths)
        model = ln.Model(seed=0, dtype=dtype)
        self.W = model.parameter((self.n, self.n))
        self.V = model.parameter((self.n, self.n))
        self.b = model.parameter(self.n)
        self.table = model.lookup(7, self.n)
        self.dtype = np.dtype(dtype)
        self.batch = batch

    def inputs(self) -> list[Expression]:
        rng = np.random.default_rng(1)
        shape = (self.n,) if self.batch is None else (self.batch, self.n)
        return [
            ln.constant(rng.standard_normal(shape).astype(self.dtype), self.batch is not None)
            for _ in range(3)
        ]


def operators(s: Scene, x: Any, y: Any, z: Any) -> Any:
    yield from (x + y, x - y, x * y, x / y, -x, s.W @ x, s.b + x, x * s.b, s.W @ s.V @ x)
    yield from (x * 2.0, 2 * x, x + 1, 1 - x, x / 3, 1.5 / x, x**2, x - np.float32(0.5), x * True)


def functions(s: Scene, x: Any, y: Any, z: Any) -> Any:
    yield from (ln.tanh(x), ln.sigmoid(s.b + y), ln.exp(s.b), ln.softmax(z), ln.dot(x, y))
    yield from (ln.affine(s.b, s.W, x), ln.affine(s.b, s.W, x, s.V, y), ln.affine(x, s.W, y))
    yield from (ln.matmul(s.W, y), ln.cross_entropy(x, 3), ln.hinge(z, 2), ln.affine(s.b, s.W, s.b))


def parts(s: Scene, x: Any, y: Any, z: Any) -> Any:
    n = s.n
    yield from (*ln.split(x, [1, n - 1]), *ln.split(y, (2, n - 3, 1)), *ln.split(z, [n]))
    yield from (x[0], x[-1], x[3:9], x[:4], x[-4:], x[::2], x[::-1], x[2:2], x[:], x[4:1:-1])
    m = ln.reshape(ln.concatenate([x, y]), (2, n))
    yield from (m[1], m[1, 2], m[:, 3], m[0][1:3], m[1:, :2], m[None], m[..., 1], s.W[2], s.b[1:3])
    yield from (ln.split(m, 2)[1], ln.split(m, [1, n - 1], axis=1)[0], ln.split(m, 2, -2)[0])
    yield from (x[np.int64(3)], x[[1, 2]])


def lists(s: Scene, x: Any, y: Any, z: Any) -> Any:
    yield from (ln.sum([x, y, z]), ln.sum([x]), ln.mean([x, y]), ln.max([z, y]), ln.min([x, x]))
    yield from (ln.sum([x, s.b]), ln.sum([x, s.b * s.b, 1.0 * x]), ln.sum((x, y)), ln.sum([x], 0)
                if False else x)  # fmt: skip
    yield from (ln.concatenate([x, y]), ln.concatenate([x, s.b, z]), ln.concatenate([x]))
    yield from (ln.concatenate((y, x)), ln.stack([x, y]), ln.stack([x, s.b], axis=1))
    yield from (ln.stack([x, y], -1), ln.concatenate([ln.stack([x, y]), s.W], axis=0))
    yield ln.concatenate([x, np.ones(2, s.dtype)])


def rows(s: Scene, x: Any, y: Any, z: Any) -> Any:
    yield from (s.table[0], s.table[3], s.table[-1], s.table[[1, 2, 3]], s.table[[]])
    yield from (ln.constant(np.ones(s.n)), ln.constant([1.0, 2.0]), ln.constant(3.0))
    yield from (ln.constant(np.ones((2, s.n), s.dtype)), ln.constant(np.ones(2), dtype="float32"))
    yield ln.constant(np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    yield ln.constant(np.arange(6.0)[::2])


def batches(s: Scene, x: Any, y: Any, z: Any) -> Any:
    together = ln.rebatch([x, y, ln.tanh(z), x])
    yield from (
        together,
        *ln.unbatch(together),
        *ln.unbatch(s.W @ together),
        ln.sum_batch(together),
    )
    yield from (together + x, together * 2, *ln.split(together, [1, s.n - 1]), together[2:4])
    yield from (ln.cross_entropy(together, 1), ln.cross_entropy(together, [0, 1, 2, 3]))
    yield ln.sum([together, x])


Recording = Callable[[Scene, Any, Any, Any], Iterator[Any]]
RECORDINGS: list[Recording] = [operators, functions, parts, lists, rows, batches]


def described(tape: Tape) -> list[Any]:
    """All that a tape holds, parameters by name."""
    nodes = []
    for i, kind in enumerate(tape.kinds):
        p = tape.payloads[i]
        payload = p.tolist() if isinstance(p, np.ndarray) else p
        marks = (i in tape.unrecorded, tape.lines.get(i))
        nodes.append((kind.id, tape.arguments(i), tape.rows[i], payload, marks))
    return nodes


def recorded(recording: Recording, s: Scene) -> tuple[list[Any], list[Any]]:
    """What a recording leaves on a fresh tape, and its values."""
    LOCAL.tape = Tape()
    inputs = s.inputs()
    results = list(recording(s, *inputs))
    tape = inputs[0].tape
    assert all(isinstance(r, ln.Parameter) or r.tape is tape for r in results)
    found = [*described(tape), [r.index for r in results]]
    return found, ln.values(results)


MODES: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "plain": nullcontext,
    "no_grad": ln.no_grad,
    "debug": ln.debug,
    "evaluation": lambda: ln.training(False),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda r: r.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_second_time_the_same_nodes_are_recorded(
    recording: Recording, dtype: str, mode: str
) -> None:
    s = Scene(dtype)
    with MODES[mode]():
        first, values = recorded(recording, s)
        for _ in range(2):
            again, same = recorded(recording, s)
            assert again == first
            for a, b in zip(values, same):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("recording", RECORDINGS[:3], ids=lambda r: r.__name__)
def test_the_same_calls_on_batches(recording: Recording) -> None:
    s = Scene()
    single, expected = recorded(recording, s)
    s.batch = 4
    first, values = recorded(recording, s)
    again, same = recorded(recording, s)
    assert again == first
    assert any(row[2] == 4 for row in first[:-1])
    for a, b in zip(values, same):
        np.testing.assert_array_equal(a, b)
    s.batch = None
    assert recorded(recording, s)[0] == single
    assert len(values) == len(expected)


def test_gradients_after_marked_and_unmarked_recordings() -> None:
    s = Scene()

    def loss(x: Any) -> Any:
        a, b = ln.split(ln.affine(s.b, s.W, x), [1, s.n - 1])
        return ln.sum(ln.concatenate([a, b])) * 2 + ln.cross_entropy(s.table[3], 1) + x[2]

    def gradient() -> Any:
        s.W.clear_gradient()
        loss(s.inputs()[0]).backward()
        return s.W.gradient()

    first = gradient()
    with ln.no_grad():
        unmarked = loss(s.inputs()[0])
    with pytest.raises(ln.GradientError):
        unmarked.backward()
    np.testing.assert_array_equal(gradient(), first)


# What is unusual is refused as before


WRONG: list[tuple[Callable[[Scene, Any], Any], type[Exception], str]] = [
    (lambda s, x: ln.split(x, [True, s.n - 1]), ln.ArgumentError, "sections"),
    (lambda s, x: ln.split(x, [1.0, s.n - 1]), ln.ArgumentError, "sections"),
    (lambda s, x: ln.split(x, [1, s.n]), ln.ShapeError, "add up"),
    (lambda s, x: ln.split(x, [1, s.n - 1], True), ln.ArgumentError, "axis"),
    (lambda s, x: ln.split(x, [1, s.n - 1], 1), ln.RangeError, "axis"),
    (lambda s, x: x[True], ln.ArgumentError, "integer"),
    (lambda s, x: x[1.0], ln.ArgumentError, "integer"),
    (lambda s, x: x[0:True], ln.ArgumentError, "slice"),
    (lambda s, x: x[0:1:0], ln.SettingError, "step"),
    (lambda s, x: x[s.n], ln.RangeError, "index"),
    (lambda s, x: x[1, 1], ln.RangeError, "indices"),
    (lambda s, x: s.table[7], ln.RangeError, "index 7"),
    (lambda s, x: s.table[-8], ln.RangeError, "index -8"),
    (lambda s, x: s.table[True], ln.ArgumentError, "integer"),
    (lambda s, x: s.table[1.0], ln.ArgumentError, "integer"),
    (lambda s, x: s.table[1, 1], ln.ShapeError, "tuple"),
    (lambda s, x: ln.cross_entropy(x, s.n), ln.RangeError, "class"),
    (lambda s, x: ln.cross_entropy(x, -1), ln.RangeError, "class"),
    (lambda s, x: ln.cross_entropy(x, True), ln.ArgumentError, "class"),
    (lambda s, x: ln.cross_entropy(x, 1.0), ln.ArgumentError, "class"),
    (lambda s, x: ln.sum([]), ln.ArgumentError, "empty"),
    (lambda s, x: ln.sum([x, x[:3]]), ln.ShapeError, "same shape"),
    (lambda s, x: ln.sum([x, x], 0), ln.ArgumentError, "axis"),
    (lambda s, x: ln.concatenate([x, x], True), ln.ArgumentError, "axis"),
    (lambda s, x: ln.concatenate([x, x], 1), ln.RangeError, "axis"),
    (lambda s, x: ln.concatenate([x, s.W]), ln.ShapeError, "shapes"),
    (lambda s, x: ln.concatenate([x[0], x[1]]), ln.ShapeError, "scalars"),
    (lambda s, x: ln.stack([x, x[:3]]), ln.ShapeError, "equal"),
    (lambda s, x: ln.affine(s.b, s.W), ln.ArgumentError, "pairs"),
    (lambda s, x: ln.affine(s.b, s.W, x[:3]), ln.ShapeError, "axis"),
    (lambda s, x: ln.affine(s.b, 2.0, x), ln.ArgumentError, "number"),
    (lambda s, x: s.W @ x[:3], ln.ShapeError, "axis"),
    (lambda s, x: s.W @ 2, ln.ArgumentError, "number"),
    (lambda s, x: x * 1j, ln.ArgumentError, "real"),
    (lambda s, x: x + x[:3], ln.ShapeError, "add"),
]


def test_what_is_wrong_is_refused_after_the_like_was_recorded() -> None:
    s = Scene()
    for _ in range(2):
        for recording in (operators, functions, parts, lists, rows):
            recorded(recording, s)
        x = s.inputs()[0]
        nodes = len(x.tape)
        for call, error, text in WRONG:
            with pytest.raises(error, match=text):
                call(s, x)
        assert x.tape is LOCAL.tape
        assert all(k.op.name in ("window", "parameter_leaf") for k in x.tape.kinds[nodes:])


def test_batches_that_do_not_agree() -> None:
    s = Scene()
    s.batch = 4
    x = s.inputs()[0]
    s.batch = 5
    y = s.inputs()[0]
    for _ in range(2):
        for use in (lambda: x + y, lambda: ln.sum([x, y]), lambda: ln.concatenate([x, y])):
            with pytest.raises(ln.ShapeError, match="batches"):
                use()


# Tapes, threads, dtypes


def test_arguments_on_other_tapes() -> None:
    s = Scene()
    for recording in (operators, functions, parts, lists):
        expected = recorded(recording, s)[1]
        inputs = s.inputs()
        ln.values(inputs[:1])  # seals the tape
        ln.tanh(inputs[1]).value()
        later = list(recording(s, *inputs))
        for a, b in zip(expected, ln.values(later)):
            np.testing.assert_array_equal(a, b)
        assert inputs[0].tape.sealed > 0
        mixed = s.inputs()[0]
        later = list(recording(s, inputs[0], mixed, inputs[2]))
        assert 1 <= len(mixed.tape.imports) <= 2
        assert len(ln.values(later)) == len(expected)


def test_an_open_tape_of_another_thread() -> None:
    s = Scene()
    x = s.inputs()[0]
    recorded(lists, s)
    errors: list[Exception] = []

    def use() -> None:
        own = s.inputs()[0]
        calls: list[Callable[[], Any]] = [
            lambda: own + x,
            lambda: s.W @ x,
            lambda: x * 2.0,
            lambda: x[3],
            lambda: ln.split(x, [1, s.n - 1]),
            lambda: ln.sum([own, x]),
            lambda: ln.concatenate([own, x]),
            lambda: ln.affine(s.b, s.W, x, s.V, own),
            lambda: ln.cross_entropy(x, 1),
            lambda: ln.tanh(x),
        ]
        for call in calls:
            try:
                call()
            except ln.GraphError as error:
                errors.append(error)

    x = s.inputs()[0]
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(errors) == 10


def test_rows_of_a_table_alone_grow_no_tape() -> None:
    s = Scene()
    LOCAL.tape = Tape()
    for _ in range(50):
        s.table[1]
        ln.constant(np.ones(s.n))
    assert len(LOCAL.tape) < 4
    kept = [s.table[1] for _ in range(50)]
    assert len(LOCAL.tape) == len(kept[0].tape) > 50


def test_dtypes_are_aligned_each_time() -> None:
    s = Scene("float64")
    for _ in range(3):
        LOCAL.tape = Tape()
        c = ln.constant(np.ones(s.n, np.float32))
        ys = (s.W @ c, s.b + c, ln.affine(s.b, s.W, c), ln.concatenate([s.b * 1.0, c]), c * s.b)
        assert [y.dtype for y in ys] == [np.float64] * 5
        assert sum(k.op.name == "as_type" for k in c.tape.kinds) == 5
        firm = c * 1.0
        for use in (s.W.__matmul__, s.b.__add__, lambda x: ln.concatenate([s.b, x])):
            with pytest.raises(ln.DtypeError):
                use(firm)


def test_an_input_is_a_copy() -> None:
    for _ in range(2):
        array = np.arange(5.0)
        x = ln.constant(array)
        array[:] = 7
        assert x.value().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_subclass_of_arrays_and_foreign_byte_order() -> None:
    ln.constant(np.ones((2, 3)))
    ln.constant(np.ones((2, 3)))
    assert ln.constant(np.ones((2, 3)).view(np.matrix)).shape == (2, 3)
    assert ln.constant(np.ones((2, 3), ">f8")).dtype == np.float32  # as ever
    assert ln.constant(np.ones((2, 3), np.float16)).dtype == np.float16


# Fused functions


def test_the_same_calls_inside_fused_functions() -> None:
    s = Scene()

    def body(x: Any, y: Any, k: int) -> Any:
        a, b = ln.split(ln.affine(s.b, s.W, x, s.V, y), [1, s.n - 1])
        c = ln.concatenate([a * 2.0, ln.tanh(b)]) + ln.sum([x, y]) + s.table[k]
        return ln.cross_entropy(c, k) + c[k] + c[2:5].sum() + (s.W @ c)[1]

    fused = ln.fuse(body)
    for k in (1, 2, 1):
        x, y, _ = s.inputs()
        expected = body(x, y, k)
        found = fused(x, y, k)
        assert type(found.kind.op).__name__ == "FusedRows"
        np.testing.assert_allclose(found.value(), expected.value(), rtol=1e-4)
        with ln.debug():
            np.testing.assert_allclose(fused(x, y, k).value(), expected.value(), rtol=1e-4)


def test_refusals_inside_fused_functions() -> None:
    s = Scene()
    recorded(batches, s)
    outside = s.inputs()[0]
    for body in (
        lambda x: ln.sum_batch(x),
        lambda x: ln.rebatch([x, x]),
        lambda x: x + outside,
        lambda x: ln.sum([x, outside]),
        lambda x: ln.concatenate([x, outside]),
        lambda x: ln.affine(s.b, s.W, x, s.V, outside),
        lambda x: x[float(x)],
    ):
        for _ in range(2):
            with pytest.raises(ln.FuseError):
                ln.fuse(body)(s.inputs()[0])


# Tables


def test_tables_start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    s = Scene()
    before = [recorded(r, s) for r in RECORDINGS]
    monkeypatch.setattr(kinds, "TABLE_LIMIT", 5)
    for _ in range(3):
        for recording, (nodes, values) in zip(RECORDINGS, before):
            again, same = recorded(recording, s)
            assert [row[1:4] for row in again[:-1]] == [row[1:4] for row in nodes[:-1]]
            for a, b in zip(values, same):
                np.testing.assert_array_equal(a, b)
    x = s.inputs()[0]
    entries = [x[k] for k in range(20)]
    assert [e.value() for e in entries] == x.value()[:20].tolist()
    assert len(shortcuts._parts) <= 5


def test_kinds_forgotten_by_their_op_are_forgotten_here(monkeypatch: pytest.MonkeyPatch) -> None:
    s = Scene()
    x, y, _ = s.inputs()
    old = [ln.concatenate([x, y]).kind, x[3:5].kind, ln.split(x, [1, s.n - 1])[0].kind]
    monkeypatch.setattr(kinds, "TABLE_LIMIT", 0)
    ln.tanh(ln.stack([x, y, y]))  # kinds of new signatures: every table starts anew
    monkeypatch.undo()
    assert not shortcuts._parts and not shortcuts._splits
    new = [ln.concatenate([x, y]).kind, x[3:5].kind, ln.split(x, [1, s.n - 1])[0].kind]
    again = [ln.concatenate([x, y]).kind, x[3:5].kind, ln.split(x, [1, s.n - 1])[0].kind]
    assert all(a is b for a, b in zip(new, again))
    assert [str(k) for k in old] == [str(k) for k in new]
