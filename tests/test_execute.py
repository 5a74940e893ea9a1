"""Evaluation: forms of values, what is computed and when, and what an interruption leaves."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import lazynet as ln
import lazynet.collect
from lazynet.collect import collect
from lazynet.layout import SAME, SHARED, SLICE, TAKE, layout_of

LOG: list[tuple[str, str, int]] = []
FAIL: dict[str, BaseException] = {}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    LOG.clear()
    FAIL.clear()
    yield
    FAIL.clear()


@dataclass(frozen=True)
class Probe(ln.Op):
    """y = 2 x, with a log of what is run; raises on demand."""

    tag: str = "probe"

    def shape(self, *shapes: Any) -> Any:
        return shapes[0]

    def forward(self, call: ln.Call, *args: Any) -> Any:
        LOG.append(("forward", self.tag, call.rows))
        if "forward" in FAIL:
            raise FAIL["forward"]
        return 2 * args[0]

    def backward(self, call: ln.Call, dy: Any, y: Any, *args: Any) -> Any:
        LOG.append(("backward", self.tag, call.rows))
        if "backward" in FAIL:
            raise FAIL["backward"]
        return 2 * dy


# Forms of values


def test_a_single_scalar_is_a_float() -> None:
    value = ln.constant(2.5).value()
    assert type(value) is float and value == 2.5
    assert type(ln.constant([1.0, 2.0]).sum().value()) is float


def test_an_integer_scalar_is_an_int() -> None:
    value = ln.argmax(ln.constant([1.0, 3.0])).value()
    assert type(value) is int and value == 1


@pytest.mark.parametrize("batch", [None, 0, 1, 3])
@pytest.mark.parametrize("shape", [(), (2,), (2, 3), (0,)])
def test_batch_axis_exactly_where_batch_is_not_none(batch: Any, shape: Any) -> None:
    if batch is None:
        x = ln.constant(np.ones(shape), batched=False)
    else:
        x = ln.constant(np.ones((batch, *shape)), batched=True)
    y = ln.tanh(x) + 1.0
    assert y.batch == batch and y.shape == shape
    if batch is None and not shape:
        assert isinstance(y.value(), float)
    else:
        assert y.value().shape == (shape if batch is None else (batch, *shape))


def test_values_are_the_callers_own() -> None:
    w = ln.Model().parameter(2, init=1.0)
    for x in (w, w * 2.0, ln.constant([1.0, 1.0]), w.reshape(1, 2)):
        a = x.value()
        expected = a.copy()
        a[...] = 9.0
        np.testing.assert_array_equal(x.value(), expected)


def test_asarray_float_item() -> None:
    x = ln.constant([[1.0, 2.0]])
    assert np.asarray(x).tolist() == [[1.0, 2.0]]
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert np.asarray(ln.constant(2.0)).dtype == np.float32
    assert float(x.sum()) == 3.0 and x.sum().item() == 3.0
    assert ln.constant([[4.0]]).item() == 4.0
    assert float(ln.constant([[4.0]], batched=True)) == 4.0
    with pytest.raises(ln.ShapeError, match="2 elements"):
        x.item()
    with pytest.raises(ln.ShapeError, match="2 elements"):
        float(x)
    assert np.add(np.array([1.0, 2.0]), np.asarray(x)[0]).tolist() == [2.0, 4.0]


def test_single_rows_broadcast_against_batches() -> None:
    x = ln.constant([[1.0, 2.0], [3.0, 4.0]], batched=True)
    y = x + ln.constant([10.0, 20.0])
    assert y.batch == 2 and y.value().tolist() == [[11.0, 22.0], [13.0, 24.0]]


def test_values_runs_once() -> None:
    x = ln.constant([1.0, 2.0])
    a, b = Probe()(x), Probe()(x * 3.0)
    found = ln.values([a, b, a, 5.0, np.ones(2)])
    assert [np.asarray(v).tolist() for v in found] == [
        [2.0, 4.0],
        [6.0, 12.0],
        [2.0, 4.0],
        5.0,
        [1.0, 1.0],
    ]
    assert LOG == [("forward", "probe", 2)]
    assert ln.values([]) == []


# What is computed


def test_each_node_is_evaluated_once_and_only_what_is_needed() -> None:
    x = ln.constant([1.0])
    a = Probe("a")(x)
    b = Probe("b")(a)
    Probe("unused")(a)
    c = Probe("c")(a)
    b.value()
    b.value()
    assert LOG == [("forward", "a", 1), ("forward", "b", 1)]
    LOG.clear()
    c.value()
    assert LOG == [("forward", "c", 1)]
    LOG.clear()
    (b + c).value()
    assert LOG == []


def test_unused_rows_of_a_kind_are_not_computed() -> None:
    xs = [Probe()(ln.constant([float(k)])) for k in range(10)]
    assert ln.sum(xs[:4]).value().tolist() == [12.0]
    assert LOG == [("forward", "probe", 4)]


def test_only_what_is_needed_on_a_large_tape() -> None:
    xs = [ln.constant([float(k)]) for k in range(3_000)]
    first = [Probe("first")(x) for x in xs]
    second = [Probe("second")(x) for x in first]
    assert ln.sum(second[1_000:2_000]).value().tolist() == [4.0 * sum(range(1_000, 2_000))]
    assert LOG == [("forward", "first", 1_000), ("forward", "second", 1_000)]
    LOG.clear()
    assert ln.sum(second).value().tolist() == [4.0 * sum(range(3_000))]
    assert LOG == [("forward", "first", 2_000), ("forward", "second", 2_000)]


def test_value_in_mid_construction() -> None:
    w = ln.Model(seed=1).parameter((3, 3))
    x = ln.constant([1.0, 0.5, -1.0])
    h = x
    plain = x.value()
    array = w.value()
    for k in range(6):
        h = ln.tanh(w @ h)
        plain = np.tanh(array @ plain)
        if k % 2:
            np.testing.assert_allclose(h.value(), plain, rtol=1e-5)
    loss = h.sum()
    loss.backward()
    incremental = w.gradient()
    w.clear_gradient()
    h = x
    for _ in range(6):
        h = ln.tanh(w @ h)
    h.sum().backward()
    np.testing.assert_allclose(w.gradient(), incremental, rtol=1e-5)


def test_evaluated_rows_are_copied_in_not_computed_again() -> None:
    x = ln.constant(np.arange(6.0).reshape(3, 2), batched=True)
    y = Probe()(x)
    y.value()
    rows = ln.unbatch(y)
    assert (rows[2] + rows[0]).value().tolist() == [8.0, 12.0]
    assert ln.rebatch([rows[1], rows[1]]).value().tolist() == [[4.0, 6.0]] * 2
    assert ln.take_rows(y, [1, -1, 1]).value().tolist() == [[4.0, 6.0], [8.0, 10.0], [4.0, 6.0]]
    assert LOG == [("forward", "probe", 3)]


def test_rows_taken_are_only_pointed_at() -> None:
    x = ln.constant(np.arange(6, dtype=np.float32).reshape(3, 2), batched=True)
    w = ln.Model().parameter(2, init=1.0)
    taken = ln.take_rows(x * w, [2, 0, 2])
    again = ln.take_rows(taken, [0, 1, 1, 0])
    row = ln.unbatch(again)[2]
    y = ln.rebatch([again, row, taken])
    assert [b.op for b in ln.plan(ln.sum_batch(y)).batches] == ["input", "multiply", "sum_batch"]
    order = [2, 0, 0, 2, 0, 2, 0, 2]
    assert y.value().tolist() == np.arange(6.0).reshape(3, 2)[order].tolist()
    loss = ln.sum(ln.sum_batch(y))
    loss.backward()
    assert x.gradient().tolist() == [[4.0, 4.0], [0.0, 0.0], [4.0, 4.0]]
    assert w.gradient().tolist() == [16.0, 24.0]
    assert ln.take_rows(w, [0, 0]).value().tolist() == [[1.0, 1.0]] * 2
    assert ln.take_rows(x, []).batch == 0
    with ln.no_grad():
        stopped = ln.take_rows(x, [1])
    loss = ln.sum(ln.sum_batch(ln.rebatch([stopped, x])))
    loss.backward()
    assert x.gradient().tolist() == [[1.0, 1.0]] * 3
    for rows, error in (([3], IndexError), ([-4], IndexError), ([0.5], TypeError)):
        with pytest.raises(error, match="take_rows"):
            ln.take_rows(x, rows)
    with pytest.raises(TypeError, match="take_rows"):
        ln.take_rows([1.0], [0])


def test_parameters_are_read_when_evaluated() -> None:
    w = ln.Model().parameter(1, init=1.0)
    y = w * 2.0
    w.array = [5.0]
    assert y.value().tolist() == [10.0]
    w.array = [7.0]
    assert y.value().tolist() == [10.0]
    assert (w * 2.0).value().tolist() == [14.0]


def test_old_and_new_values_of_a_shared_op_side_by_side() -> None:
    w = ln.Model().parameter((1, 1), init=1.0)
    old = w.T
    old.value()
    w.array = [[5.0]]
    new = w.T * 1.0
    x = ln.constant([1.0])
    total = (old @ x) * 100.0 + new @ x
    assert total.value().tolist() == [105.0]


# Where arguments lie


def modes_of(root: Any, name: str) -> list[list[int]]:
    layout = layout_of(collect([root], seal=False), True)
    return [[a.mode for a in step.args] for step in layout.steps if step.op.name == name]


def test_no_copy_where_rows_are_contiguous() -> None:
    xs = [ln.constant([float(k), 1.0]) for k in range(8)]
    first = [Probe("a")(x) for x in xs]
    second = [Probe("b")(x) for x in first]
    assert modes_of(ln.sum(second), "probe") == [[SLICE], [SLICE]]
    assert modes_of(ln.sum(second), "sum_list") in ([[SLICE]], [])


def test_rows_in_another_order_are_one_take() -> None:
    xs = [ln.constant([float(k), 1.0]) for k in range(8)]
    first = [Probe("a")(x) for x in xs]
    second = [Probe("b")(x) for x in first[::-1]]
    assert modes_of(ln.sum(second), "probe") == [[SLICE], [TAKE]]


def test_a_row_that_all_share_and_a_parameter() -> None:
    w = ln.Model().parameter((2, 2))
    x = ln.constant([1.0, 2.0])
    ys = [x * ln.constant([float(k), 1.0]) for k in range(4)]
    zs = [w @ y for y in ys]
    root = ln.sum(zs)
    assert modes_of(root, "multiply") == [[SAME, SLICE]]
    assert modes_of(root, "matmul") == [[SHARED, SLICE]]


def test_unbatch_and_rebatch_copy_nothing_of_their_own() -> None:
    x = ln.constant(np.ones((4, 2)), batched=True)
    y = Probe("a")(x)
    z = Probe("b")(ln.rebatch(ln.unbatch(y)))
    plan = ln.plan([z])
    assert [b.op for b in plan.batches] == ["input", "probe", "probe"]
    assert modes_of(z, "probe") == [[SLICE], [SLICE]]


def test_no_autobatch_runs_node_by_node() -> None:
    xs = [ln.constant([float(k)]) for k in range(4)]
    with ln.no_autobatch():
        ys = [Probe()(x) for x in xs]
        assert ln.sum(ys).value().tolist() == [12.0]
    assert LOG == [("forward", "probe", 1)] * 4


# Exceptions and interrupts


@pytest.mark.parametrize("error", [ZeroDivisionError("bad luck"), KeyboardInterrupt()])
def test_a_failed_evaluation_can_be_repeated(error: BaseException) -> None:
    w = ln.Model().parameter(2, init=3.0)
    x = ln.constant([1.0, 2.0])
    before = w * x
    y = Probe()(before)
    loss = y.sum()
    FAIL["forward"] = error
    kind = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else ln.EvaluationError
    with pytest.raises(kind):
        loss.backward()
    assert "not evaluated" in repr(before) and "not evaluated" in repr(y)
    assert not w.has_gradient()
    fresh = (x * 2.0).value()
    assert fresh.tolist() == [2.0, 4.0]
    FAIL.clear()
    loss.backward()
    assert w.gradient().tolist() == [2.0, 4.0]


@pytest.mark.parametrize("error", [ZeroDivisionError("bad luck"), KeyboardInterrupt()])
def test_a_failed_backward_changes_no_gradient(error: BaseException) -> None:
    model = ln.Model()
    w = model.parameter(2, init=3.0)
    b = model.parameter(2, init=0.0)
    x = ln.constant([1.0, 2.0])
    inner = w * x
    loss = (Probe()(inner) + b).sum()
    b_only = b.sum()
    b_only.backward()
    FAIL["backward"] = error
    shown = ln.EvaluationError if isinstance(error, Exception) else type(error)
    with pytest.raises(shown) as info:
        loss.backward()
    assert info.value is error or info.value.__cause__ is error
    assert not w.has_gradient()
    assert b.gradient().tolist() == [1.0, 1.0]
    with pytest.raises(ln.GradientError):
        inner.gradient()
    FAIL.clear()
    loss.backward()
    assert w.gradient().tolist() == [2.0, 4.0]
    assert b.gradient().tolist() == [2.0, 2.0]
    assert inner.gradient().tolist() == [2.0, 2.0]


def test_an_interrupt_in_a_later_evaluation_leaves_the_earlier_one() -> None:
    x = ln.constant([1.0])
    a = Probe("a")(x)
    a.value()
    b = Probe("b")(a)
    FAIL["forward"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        b.value()
    FAIL.clear()
    assert a.value().tolist() == [2.0]
    assert b.value().tolist() == [4.0]


def test_a_wrong_shape_from_a_users_forward_is_an_error() -> None:
    class Wrong(ln.Op):
        def shape(self, *shapes: Any) -> Any:
            return shapes[0]

        def forward(self, call: ln.Call, *args: Any) -> Any:
            return np.ones((call.rows, 7))

    with pytest.raises(ln.EvaluationError, match="wrong"):
        Wrong()(ln.constant([1.0, 2.0])).value()


# Threads


def test_two_threads_train_two_graphs_of_one_model() -> None:
    model = ln.Model(seed=0, dtype="float64")
    w, b = model.parameter((4, 4)), model.parameter(4, init=0.0)
    data = np.random.default_rng(0).standard_normal((2, 40, 4))

    def losses(rows: Any) -> Any:
        total = []
        for row in rows:
            h = ln.constant(row)
            for _ in range(3):
                h = ln.tanh(w @ h + b)
            total.append((h * h).sum())
        return ln.sum(total)

    for rows in data:
        losses(rows).backward()
    expected = [p.gradient() for p in model]
    model.zero_gradients()
    errors: list[BaseException] = []
    start = threading.Barrier(2)

    def work(rows: Any) -> None:
        try:
            start.wait()
            for part in np.split(rows, 10):
                losses(part).backward()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(rows,)) for rows in data]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for p, gradient in zip(model, expected):
        np.testing.assert_allclose(p.gradient(), gradient, rtol=1e-10)


def test_two_threads_with_an_optimiser_each_step() -> None:
    """A step of one thread may come between the recording and the backward of the other."""
    model = ln.Model(seed=0)
    w = model.parameter(4, init=1.0)
    opt = ln.optim.SGD(model, lr=1e-4)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(100):
                loss = (w * w).sum()
                loss.backward()
                try:
                    opt.step()
                except ln.GradientError as error:
                    assert "no trainable parameter" in str(error)  # the other one took it along
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert w.value().max() < 1.0


def test_an_expression_of_another_threads_open_tape_is_an_error() -> None:
    x = ln.constant([1.0])
    y = x * 2.0
    found: list[str] = []

    def work() -> None:
        for use in (lambda: y + 1.0, lambda: y.value(), lambda: ln.constant([1.0]) * y):
            try:
                use()
            except ln.GraphError as error:
                found.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(found) == 3 and all("another thread" in text for text in found)
    assert y.value().tolist() == [2.0]

    def use_it() -> None:
        found.append((y + 1.0).value().tolist())

    thread = threading.Thread(target=use_it)
    thread.start()
    thread.join()
    assert found[-1] == [3.0]


# Many tapes


def test_collecting_from_many_small_evaluations_takes_linear_time() -> None:
    def seconds(count: int) -> float:
        parts = []
        for k in range(count):
            x = ln.constant(np.full(2, k, np.float32)) + 1.0
            x.value()
            parts.append(x)
        total = ln.sum(parts)
        best = math.inf
        for _ in range(3):
            began = time.thread_time()
            assert len(collect([total], seal=False).externals) == count
            best = min(best, time.thread_time() - began)
        return best

    assert seconds(5000) < 9 * seconds(1250)  # the square would be 16 times as much


def test_rows_of_one_tape_that_several_evaluations_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    given = rng.standard_normal((12, 3)).astype(np.float32)
    xs = [ln.constant(row) for row in given]
    ys = [x * 2.0 for x in xs]
    wide = [ln.concatenate([x, x]) for x in xs]
    for chosen in ([0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]):
        ln.values([ys[k] for k in chosen] + [wide[k] for k in chosen])
    monkeypatch.setattr(lazynet.collect, "_SMALL", -1)
    order = rng.permutation(12).tolist()
    found = ln.values([ys[k] + wide[k][1:4] for k in order])
    for y, k in zip(found, order):
        np.testing.assert_allclose(y, given[k] * 2 + np.tile(given[k], 2)[1:4], rtol=1e-6)


@pytest.mark.parametrize("asked", [10, 40])
def test_few_of_many_nodes(asked: int) -> None:
    xs = [ln.constant([float(k), 1.0]) for k in range(400)]
    ys = [x + 1.0 for x in xs]
    chosen = ys[::10][:asked]
    graph = collect(chosen, seal=False)
    assert isinstance(graph.code, list) and len(graph) == 2 * asked
    ((_, indices, numbers),) = graph.tapes
    assert {type(i) for i in [*indices, *numbers]} == {int}  # compiled code takes nothing else
    found = [y.tolist() for y in ln.values(chosen)]
    assert found == [[10.0 * k + 1.0, 2.0] for k in range(asked)]
