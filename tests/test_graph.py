"""Recording: what expressions look like, their operators, and errors at the line that records."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import lazynet as ln
from lazynet import kinds
from lazynet.graph import record
from lazynet.tape import LOCAL

OPERATORS = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
    "pow": operator.pow,
}


def positive(*shape: int) -> Any:
    return np.random.default_rng(len(shape)).uniform(0.5, 2.0, shape)


def test_attributes() -> None:
    x = ln.constant(np.zeros((4, 2, 3)), batched=True)
    assert (x.shape, x.batch, x.dtype, x.ndim, x.size) == ((2, 3), 4, np.float64, 2, 6)
    y = ln.constant([1, 2])
    assert (y.shape, y.batch, y.dtype) == ((2,), None, np.float32)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("shapes", [((3,), (3,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2, 3))])
def test_operators_broadcast_as_numpy_does(name: str, shapes: Any) -> None:
    a, b = positive(*shapes[0]), positive(*shapes[1]) + 0.25
    function = OPERATORS[name]
    expected = function(a, b)
    x, y = ln.constant(a), ln.constant(b)
    np.testing.assert_allclose(function(x, y).value(), expected, rtol=1e-12)
    np.testing.assert_allclose(function(x, b).value(), expected, rtol=1e-12)
    np.testing.assert_allclose(function(a, y).value(), expected, rtol=1e-12)
    assert function(x, y).shape == np.shape(expected)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("number", [2, 1.5, np.float32(3), np.int64(2), True])
def test_operators_take_numbers_on_either_side(name: str, number: Any) -> None:
    a = positive(2, 3)
    function = OPERATORS[name]
    x = ln.constant(a)
    np.testing.assert_allclose(function(x, number).value(), function(a, float(number)))
    np.testing.assert_allclose(function(number, x).value(), function(float(number), a))
    assert function(x, number).dtype == np.float64


def test_unary_operators() -> None:
    x = ln.constant([-1.0, 2.0])
    assert (-x).value().tolist() == [1.0, -2.0]
    assert abs(x).value().tolist() == [1.0, 2.0]
    assert +x is x


@pytest.mark.parametrize(
    ("left", "right"), [((2, 3), (3,)), ((2, 3), (3, 4)), ((3,), (3, 4)), ((3,), (3,))]
)
def test_matmul_on_either_side(left: Any, right: Any) -> None:
    a, b = positive(*left), positive(*right)
    for x, y in [(ln.constant(a), ln.constant(b)), (ln.constant(a), b), (a, ln.constant(b))]:
        np.testing.assert_allclose((x @ y).value(), a @ b, rtol=1e-12)


@pytest.mark.parametrize(
    "index",
    [
        1,
        -1,
        np.int64(0),
        slice(1, 3),
        slice(None, None, 2),
        slice(None, None, -1),
        slice(-2, None),
        ...,
        (0, 1),
        (slice(None), 2),
        (..., -1),
        (1, slice(0, 4, 3), slice(1, None)),
        (slice(2, 2),),
        (),
    ],
)
@pytest.mark.parametrize("batched", [False, True])
def test_indexing(index: Any, batched: bool) -> None:
    a = positive(2, 3, 4, 5)
    if batched:
        x = ln.constant(a, batched=True)
        expected = np.stack([row[index] for row in a])
    else:
        x = ln.constant(a[0])
        expected = a[0][index]
    y = x[index]
    assert y.shape == expected.shape[int(batched) :]
    np.testing.assert_array_equal(y.value(), expected)


def test_len_iteration_transpose_reshape_reductions() -> None:
    a = positive(2, 3)
    x = ln.constant(a)
    assert len(x) == 2
    assert [row.value().tolist() for row in x] == a.tolist()
    np.testing.assert_array_equal(x.T.value(), a.T)
    np.testing.assert_array_equal(x.reshape(3, 2).value(), a.reshape(3, 2))
    np.testing.assert_array_equal(x.reshape((-1,)).value(), a.reshape(-1))
    for axis in (None, 0, -1):
        np.testing.assert_allclose(x.sum(axis).value(), a.sum(axis))
        np.testing.assert_allclose(x.mean(axis).value(), a.mean(axis))
        np.testing.assert_allclose(x.max(axis).value(), a.max(axis))
    with pytest.raises(ln.ArgumentError, match="scalar"):
        len(x.sum())


def test_repr_shows_op_shape_and_state_and_computes_nothing() -> None:
    x = ln.constant(np.zeros((2, 3), np.float32), batched=True)
    y = ln.tanh(x)
    assert repr(y) == "<tanh shape=(3,), batch=2 float32, not evaluated>"
    assert y.tape.sealed == 0
    y.value()
    assert repr(y) == "<tanh shape=(3,), batch=2 float32, evaluated>"
    assert "W" in repr(ln.Model().parameter(3, name="W"))


def test_unbatch_and_rebatch() -> None:
    a = positive(3, 2)
    rows = ln.unbatch(ln.constant(a, batched=True))
    assert [r.batch for r in rows] == [None] * 3
    back = ln.rebatch([rows[2], ln.constant(a, batched=True), rows[0]])
    assert back.batch == 5
    np.testing.assert_array_equal(back.value(), np.concatenate([a[2:], a, a[:1]]))
    single = ln.constant([1.0])
    assert ln.unbatch(single) == [single]


# Errors at the recording line


def message(excinfo: pytest.ExceptionInfo[Exception]) -> str:
    return str(excinfo.value)


def test_shape_error_names_op_arguments_rule_and_remedy() -> None:
    x, y = ln.constant([1.0, 2.0]), ln.constant([1.0, 2.0, 3.0])
    with pytest.raises(ln.ShapeError, match=r"add: .*\(2,\).*\(3,\).*;.*;"):
        x + y
    with pytest.raises(ln.ShapeError, match=r"matmul: .*\(2,\).*\(3,\)"):
        x @ y
    with pytest.raises(ln.ShapeError, match="reshape"):
        x.reshape(3)


def test_batches_that_differ_are_an_error() -> None:
    x = ln.constant(np.zeros((2, 3)), batched=True)
    y = ln.constant(np.zeros((4, 3)), batched=True)
    with pytest.raises(ln.ShapeError, match=r"add: got batches \(2, 4\)"):
        x + y


def test_dtype_error_names_both() -> None:
    x = ln.Model(dtype="float32").parameter(3) * 1
    y = ln.Model(dtype="float64").parameter(3) * 1
    with pytest.raises(ln.DtypeError, match=r"float32.*float64"):
        x + y


@pytest.mark.parametrize("index", [2, -3, (0, 1), (..., ...), 1.5, "a"])
def test_bad_indices(index: Any) -> None:
    with pytest.raises(ln.LazynetError):
        ln.constant([1.0, 2.0])[index]


def test_comparisons_and_truth_values_are_refused() -> None:
    x = ln.constant(1.0)
    for compare in (operator.lt, operator.gt, operator.le, operator.ge):
        with pytest.raises(ln.ArgumentError, match="no value yet"):
            compare(x, 0)
    with pytest.raises(ln.ArgumentError, match="truth value"):
        bool(x)
    assert x == x and x != ln.constant(1.0)  # identity, so that lists and sets work


def test_a_failed_recording_leaves_no_trace() -> None:
    x = ln.constant([1.0, 2.0])
    y = x * 3.0
    nodes = len(LOCAL.tape)
    for _ in range(3):
        with pytest.raises(ln.ShapeError):
            y[0:1] @ x
    assert len(LOCAL.tape) <= nodes + 3
    assert (x + y).value().tolist() == [4.0, 8.0]


def test_constants_take_the_dtype_they_meet() -> None:
    w = ln.Model(dtype="float64").parameter(2, init=1.0)
    assert (w * ln.constant([1, 2])).dtype == np.float64
    assert (w * [1, 2]).dtype == np.float64
    w32 = ln.Model().parameter(2, init=1.0)
    assert (w32 * np.array([1.0, 2.0])).dtype == np.float32
    assert (w32 + 1.0).dtype == np.float32


def test_constant_copies_its_array() -> None:
    a = np.ones(2, np.float32)
    x = ln.constant(a)
    a[:] = 7
    assert x.value().tolist() == [1.0, 1.0]


def test_a_failure_in_forward_shows_the_line_that_recorded_it() -> None:
    class Fails(ln.Op):
        def shape(self, *shapes: Any) -> Any:
            return shapes[0]

        def forward(self, call: Any, *args: Any) -> Any:
            raise ZeroDivisionError("no luck")

    y = Fails()(ln.constant([1.0]))
    with pytest.raises(ln.EvaluationError, match=r"fails.*test_graph\.py:\d+.*no luck") as info:
        y.value()
    assert isinstance(info.value.__cause__, ZeroDivisionError)


def test_debug_shows_the_line_of_the_very_node() -> None:
    class Fails(ln.Op):
        def shape(self, *shapes: Any) -> Any:
            return shapes[0]

        def forward(self, call: Any, *args: Any) -> Any:
            raise ZeroDivisionError("no luck")

    op = Fails()
    op(ln.constant([1.0]))
    with ln.debug():
        y = op(ln.constant([2.0]))
    line = int(y.tape.lines[y.index].rpartition(":")[2])
    assert line > int(y.kind.line.rpartition(":")[2])
    with pytest.raises(ln.EvaluationError, match=rf"test_graph\.py:{line}\b"):
        y.value()


@dataclass(frozen=True)
class Scaled(ln.Op):
    """y = k x"""

    factor: float

    def shape(self, *shapes: Any) -> Any:
        return shapes[0]

    def forward(self, call: Any, *args: Any) -> Any:
        return args[0] * self.factor


def test_static_attributes_are_part_of_the_kind() -> None:
    x = ln.constant([1.0])
    a, b, c = Scaled(2.0)(x), Scaled(3.0)(x), Scaled(2.0)(x)
    assert a.kind is c.kind and a.kind is not b.kind
    assert ln.values([a, b, c]) == [2.0, 3.0, 2.0]


def test_payload_is_not_part_of_the_kind() -> None:
    x = ln.constant([1.0, 2.0, 3.0, 4.0])
    assert (x / 7).kind is (x / 9).kind
    assert x[3].kind is x[1].kind


def test_tables_that_start_anew_change_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ln.Model(seed=0)
    early = [ln.constant([float(k)]) * 2.0 for k in range(3)]
    monkeypatch.setattr(kinds, "TABLE_LIMIT", 4)
    for n in range(1, 12):
        w = model.parameter((n, n), init=1.0)
        assert (w.T @ np.ones(n)).value().tolist() == [float(n)] * n
    late = [ln.constant([float(k)]) * 2.0 for k in range(3)]
    assert ln.sum([*early, *late]).value().tolist() == [12.0]
    assert ln.stack([early[1], late[1]]).value().tolist() == [[2.0], [2.0]]


def test_record_lifts_numbers_and_arrays() -> None:
    x = ln.constant([1.0, 2.0])
    y = record(Scaled(2.0), (np.array([3.0, 4.0]),))
    assert (x + y).value().tolist() == [7.0, 10.0]
