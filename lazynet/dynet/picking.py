"""Parts of an expression: picks, ranges, rows and columns, examples of a batch, and ``x[...]``.

Where a part begins is payload: picks along one axis are one batch whatever the index.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import Any

from lazynet.dynet.arguments import natural, place, places, whole
from lazynet.dynet.expression import (
    HOOKS,
    Expression,
    append,
    apply,
    checked,
    compute_at_once,
    short,
    show,
    type_of,
    wrap,
)
from lazynet.dynet.graph import STATE, invalidate
from lazynet.graph import Expression as Node
from lazynet.graph import record, unary
from lazynet.kinds import Op, Type, derived_table
from lazynet.leaves import TAKE_ROWS, UNBATCH
from lazynet.native import mypyc_attr
from lazynet.ops.elementwise import ready
from lazynet.ops.index import PickRows, Span, Window, window, window_op
from lazynet.revise import replace
from lazynet.tape import LOCAL


class Found:
    """How to pick along an axis.

    Attributes:
        op: The op.
        n: Length of the axis.
        stride: How far its entries lie apart.
    """

    __slots__ = ("n", "op", "stride")

    def __init__(self, op: Op, n: int, stride: int) -> None:
        self.op = op
        self.n = n
        self.stride = stride


_ENTRIES: dict[Type, Found] = derived_table()
_PICKS: dict[tuple[Type, int], Found] = derived_table()
_RANGES: dict[tuple[Type, int, int], tuple[Op, int]] = derived_table()
_ROWS: dict[tuple[Type, int, int], PickRows] = derived_table()


@mypyc_attr(allow_interpreted_subclasses=True)
class _pickerExpression(Expression):
    """A picked entry, whose index can be changed."""

    __slots__ = ()

    def set_index(self, i: int | Any) -> None:
        """Pick another entry; what was computed from it is computed anew when asked for.

        Raises:
            ValueError: If there is no such entry.
        """
        node, n, stride = _picked(self)
        replace(node, place(i, n, "set_index") * stride)
        invalidate()


@mypyc_attr(allow_interpreted_subclasses=True)
class _pickerBatchExpression(Expression):
    """A picked entry for each example, whose indices can be changed."""

    __slots__ = ()

    def set_index(self, i: list[int] | Any) -> None:
        """Pick other entries, one for each example; they take effect as `set_index` of a pick does.

        Raises:
            ValueError: If there are not as many as examples, or one is out of range.
        """
        node, n, stride = _picked(self)
        numbers = _each(i, n, node.batch, "set_index")
        replace(node, numbers * stride if len(numbers) > 1 else int(numbers[0]) * stride)
        invalidate()


def _picked(x: Expression) -> tuple[Node, int, int]:
    """The node of a pick, the length of the axis, and how far its entries lie apart."""
    node = checked(x, "set_index").node
    op = node.kind.op
    assert isinstance(op, Window)
    axis = len(op.spans) - 1
    return node, op.source[axis], prod(op.source[axis + 1 :])


def _find(t: Type, dim: int, name: str) -> Found:
    """How to pick along an axis of expressions of this type."""
    known = _PICKS.get((t, dim))
    if known is not None:
        return known
    shape = t.shape
    if dim >= len(shape):
        raise ValueError(
            f"{name}: got dimension {dim} of an expression of {len(shape)} dimensions; they count "
            "from 0"
        )
    spans: list[Span] = [(m, 1) for m in shape[:dim]]
    spans.append((-1, 1) if len(shape) > 1 else (1, 1))  # what is left of a vector is {1}
    found = Found(window_op(shape, tuple(spans)), shape[dim], prod(shape[dim + 1 :]))
    _PICKS[t, dim] = found
    if dim == 0:
        _ENTRIES[t] = found
    return found


def _taken(e: Expression, found: Found, index: int) -> _pickerExpression:
    """Record a pick."""
    tape = e.tape
    payload = index * found.stride
    if e.graph.direct and tape is LOCAL.tape and tape.sealed == 0:
        kind = found.op._kinds.get(tape.kinds[e.at].type)
        if kind is not None and not kind.shared:
            return _pickerExpression(None, e.graph, tape, append(tape, kind, e.at, payload))
    picked = unary(found.op, e.node, payload)
    stretch = STATE.stretch
    if stretch.immediate:
        compute_at_once(picked, stretch)
    return _pickerExpression(picked, stretch)


def pick(e: Expression | Any, index: int | Any = 0, dim: int | Any = 0) -> _pickerExpression:
    """One entry along a dimension, which goes.

    Args:
        e: Any expression.
        index: Number of the entry, from 0.
        dim: The dimension.

    Returns:
        An expression with one dimension less (a scalar, of a vector). Its ``set_index(i)`` picks
        another entry.

    Raises:
        ValueError: If there is no such entry or dimension.
        OverflowError: If the index is negative.
        TypeError: If it is no number.
    """
    t = type_of(checked(e, "pick"))
    if type(dim) is not int or dim < 0:
        dim = natural(dim, "pick", "dimension")
    found = _ENTRIES.get(t) if dim == 0 else None
    if found is None:
        found = _find(t, dim, "pick")
    if type(index) is not int or not 0 <= index < found.n:
        index = place(index, found.n, "pick")
    return _taken(e, found, index)


def pick_batch(
    e: Expression | Any, indices: list[int] | Any, dim: int | Any = 0
) -> _pickerBatchExpression:
    """For each example another entry along a dimension, which goes.

    Args:
        e: Any expression; a single example is repeated for each index.
        indices: Numbers of the entries, from 0, one for each example.
        dim: The dimension.

    Returns:
        An expression with one dimension less. Its ``set_index(list)`` picks other entries.

    Raises:
        ValueError: If there are not as many as examples, or no such entry or dimension.
        OverflowError: If an index is negative.
        TypeError: If they are no list of numbers.
    """
    node = checked(e, "pick_batch").node
    dim = natural(dim, "pick_batch", "dimension")
    found = _find(node.type, dim, "pick_batch")
    op = found.op
    batch = node.batch
    numbers = _each(indices, found.n, batch, "pick_batch")
    numbers *= found.stride
    if batch is None and len(numbers) == 1:
        picked = unary(op, node, int(numbers[0]))
    else:
        picked = record(op, (node,), numbers, len(numbers))
    stretch = STATE.stretch
    if stretch.immediate:
        compute_at_once(picked, stretch)
    return _pickerBatchExpression(picked, stretch)


def _each(indices: Any, n: int, batch: int | None, name: str) -> Any:
    """One index for each example."""
    numbers = places(indices, n, name)
    if not len(numbers) or (batch is not None and batch != len(numbers)):
        raise ValueError(
            f"{name}: got {len(numbers)} indices for a batch of {batch or 1}; it takes one for "
            "each example"
        )
    return numbers


# Ranges


def pick_range(x: Expression | Any, s: int | Any, e: int | Any, d: int | Any = 0) -> Expression:
    """Entries s, s + 1, ..., e - 1 along a dimension.

    Args:
        x: Any expression.
        s: The first entry, from 0.
        e: The entry before which to stop.
        d: The dimension.

    Returns:
        An expression that is shorter along that dimension. Ranges of one length are one batch.

    Raises:
        ValueError: If the range is empty or too long, or there is no such dimension.
        OverflowError: If a number is negative.
    """
    shape = type_of(checked(x, "pick_range")).shape
    if type(s) is not int or s < 0:
        s = natural(s, "pick_range", "start of the range")
    if type(e) is not int or e < 0:
        e = natural(e, "pick_range", "end of the range")
    if type(d) is not int or d < 0:
        d = natural(d, "pick_range", "dimension")
    if d >= len(shape) or not s < e <= shape[d]:
        raise ValueError(
            f"pick_range: got the range ({s}, {e}) along dimension {d} of {show(x)}; it must hold "
            "at least one entry and end within the dimension"
        )
    return _range_of(x, s, e, d)


def _range_of(x: Expression, s: int, e: int, d: int) -> Expression:
    """Entries s to e - 1 along a dimension, which has them."""
    t = type_of(x)
    found = _RANGES.get((t, d, e - s))
    if found is not None:
        return apply(found[0], x, "pick_range", s * found[1])
    shape = t.shape
    spans: list[Span] = [(m, 1) for m in shape[:d]]
    spans.append((e - s, 1))
    if e - s < shape[d] and not t.shared:  # else there is nothing to record, or no payload
        _RANGES[t, d, e - s] = window_op(shape, tuple(spans)), prod(shape[d + 1 :])
    return wrap(_window(x.node, [0] * d + [s], spans))


def pickrange(x: Expression | Any, s: int | Any, e: int | Any) -> Expression:
    """Entries s to e - 1 along the first dimension: an older name of `pick_range`."""
    return pick_range(x, s, e)


def _window(node: Node, starts: list[int], spans: list[Span]) -> Node:
    """A part of every example, the first dimensions being restricted."""
    t = node.type
    shape = t.shape
    if t.shared:  # parts of parameters are shared like these
        return window(node, starts, spans)
    while spans and spans[-1] == (shape[len(spans) - 1], 1):
        spans.pop()
    if not spans:
        return node
    at = 0
    for k, n in enumerate(shape):
        at = at * n + (starts[k] if k < len(spans) else 0)
    return unary(window_op(shape, tuple(spans)), node, at)


def strided_select(
    x: Expression | Any,
    strides: list[int] | Any,
    range_from: list[int] | Any,
    range_to: list[int] | Any,
) -> Expression:
    """Every n-th entry of a range, along several dimensions: ``x[from:to:stride, ...]``.

    Args:
        x: Any expression.
        strides: Distance of the entries along each dimension, 1 or more. The batch may stand as
            one more dimension, at the end, in all three; what is missing is taken whole.
        range_from: The first entry along each, from 0.
        range_to: The entry before which to stop along each.

    Returns:
        The part. Parts of equal lengths and strides are one batch.

    Raises:
        ValueError: If a range is empty, or leaves its dimension.
        TypeError: If an argument is no list of numbers.
    """
    node = checked(x, "strided_select").node
    lists = []
    for given, role in (
        (strides, "strides"), (range_from, "range_from"), (range_to, "range_to"),
    ):  # fmt: skip
        if isinstance(given, (str, bytes)) or not hasattr(given, "__iter__"):
            raise TypeError(f"strided_select: got {short(given)} for {role}; it takes a list")
        lists.append([whole(v, "strided_select", role) for v in given])
    steps, begins, ends = lists
    count = max(len(v) for v in lists)
    lengths = (*node.shape, node.batch or 1)
    if count > len(lengths):
        raise ValueError(
            f"strided_select: got numbers for {count} dimensions of {show(x)}; there can be at "
            "most one more than dimensions, for the batch"
        )
    ranges = []
    for k, n in enumerate(lengths[:count]):
        step = steps[k] if k < len(steps) else 1
        begin = begins[k] if k < len(begins) else 0
        end = ends[k] if k < len(ends) else n
        if not 1 <= step < 1 << 32 or not 0 <= begin < end <= n:
            raise ValueError(
                f"strided_select: got entries {begin} to {end} with stride {step} along dimension "
                f"{k} of {show(x)}; it takes 0 <= from < to <= {n} and a stride of 1 or more"
            )
        ranges.append(range(begin, end, step))
    return wrap(_parts(node, ranges))


def _parts(node: Node, ranges: Sequence[range | int]) -> Node:
    """A part of an expression: entries along each dimension, of which the batch is the last one.

    A number in place of a range is one entry, whose dimension goes.
    """
    dims = node.ndim
    if len(ranges) > dims:
        rows = ranges[dims]
        node = _examples(node, [rows] if isinstance(rows, int) else list(rows))
        ranges = ranges[:dims]
    starts: list[int] = []
    spans: list[Span] = []
    for r in ranges:
        if isinstance(r, int):
            starts.append(r)
            spans.append((-1, 1))
        else:
            starts.append(r[0])
            spans.append((len(r), r.step if len(r) > 1 else 1))
    if len(spans) == dims and all(n == -1 for n, _ in spans):
        spans[-1] = (1, 1)  # a scalar is {1}
    return _window(node, starts, spans) if spans else node


# Rows, columns and examples


def select_rows(x: Expression | Any, rs: list[int] | Any) -> Expression:
    """Some entries along the first dimension, in any order, repeated or not.

    Args:
        x: Any expression.
        rs: Numbers of the entries, from 0.

    Returns:
        An expression of ``len(rs)`` entries along that dimension. Selections of equally many are
        one batch.

    Raises:
        ValueError: If there is no such entry.
        OverflowError: If a number is negative.
        TypeError: If they are no list of numbers.
    """
    return _select(checked(x, "select_rows").node, rs, 0, "select_rows")


def select_cols(x: Expression | Any, cs: list[int] | Any) -> Expression:
    """Some columns of a matrix, in any order, repeated or not.

    Args:
        x: A matrix.
        cs: Numbers of the columns, from 0.

    Returns:
        A matrix of ``len(cs)`` columns. Selections of equally many are one batch.

    Raises:
        ValueError: If x is no matrix, or there is no such column.
        OverflowError: If a number is negative.
        TypeError: If they are no list of numbers.
    """
    node = checked(x, "select_cols").node
    if node.ndim != 2:
        raise ValueError(
            f"select_cols: got an expression of dimensions {show(x)}; it takes a matrix"
        )
    return _select(node, cs, 1, "select_cols")


def _select(node: Node, numbers: Any, axis: int, name: str) -> Expression:
    t = node.type
    at = places(numbers, t.shape[axis], name)
    count = len(at)
    op = _ROWS.get((t, axis, count))
    if op is None:
        if count == 0:
            spans: list[Span] = [(n, 1) for n in t.shape[:axis]]
            return wrap(_window(node, [0] * (axis + 1), [*spans, (0, 1)]))
        op = _ROWS[t, axis, count] = ready(PickRows(t.shape, axis, count))
    return wrap(unary(op, node, at))


def pick_batch_elem(x: Expression | Any, v: int | Any) -> Expression:
    """One example of a batch.

    Args:
        x: Any expression; without a batch it is example 0 itself.
        v: Number of the example, from 0.

    Returns:
        A single example. Nothing is copied: it is the example itself, and so is its `gradient`.

    Raises:
        ValueError: If there is no such example.
        OverflowError: If the number is negative.
        TypeError: If it is no number.
    """
    node = checked(x, "pick_batch_elem").node
    batch = node.batch
    n = 1 if batch is None else batch
    if type(v) is not int or not 0 <= v < n:
        v = place(v, n, "pick_batch_elem", "example")
    return wrap(node if batch is None else record(UNBATCH, (node,), v, -1))


def pick_batch_elems(x: Expression | Any, vs: list[int] | Any) -> Expression:
    """Examples of a batch, in any order, repeated or not.

    Args:
        x: Any expression; without a batch it is example 0 itself.
        vs: Numbers of the examples, from 0, at least one.

    Returns:
        A batch of ``len(vs)`` examples. Nothing is copied: they are the examples themselves, and so
        are their gradients.

    Raises:
        ValueError: If there is no such example, or the list is empty.
        OverflowError: If a number is negative.
        TypeError: If they are no list of numbers.
    """
    node = checked(x, "pick_batch_elems").node
    n = node.batch or 1
    numbers: Any = vs
    if type(vs) is not list or any([type(k) is not int or not 0 <= k < n for k in vs]):
        numbers = places(vs, n, "pick_batch_elems", "example").tolist()
    if not numbers:
        raise ValueError("pick_batch_elems: got an empty list; it takes at least one example")
    return wrap(_examples(node, numbers))


def _examples(node: Node, numbers: list[int]) -> Node:
    if len(numbers) == 1:
        return node if node.batch is None else record(UNBATCH, (node,), numbers[0], -1)
    return record(TAKE_ROWS, (node,), tuple(numbers), len(numbers))


# x[...]


@mypyc_attr(native_class=False)
class _KeyTypeError(TypeError, AssertionError):
    """A wrong type of index: DyNet raises AssertionError, Python's sequences TypeError."""


def index(x: Expression, key: Any) -> Expression:
    """``x[key]``: an entry along the first dimension, or a part by slices.

    Args:
        x: Any expression.
        key: A whole number (negative ones count from the end), a slice, or a tuple of these, one
            for each dimension and at last one for the batch. Steps and bounds of slices may be
            negative as Python's, but have to lie within the dimension.

    Raises:
        IndexError: If a number is out of range, or there are too many.
        ValueError: If a slice is empty or leaves its dimension.
        TypeError: For anything else.
    """
    if type(key) is int:
        t = type_of(x)
        found = _ENTRIES.get(t)
        if found is None:
            found = _find(t, 0, "expression[...]")
        return _taken(x, found, key if 0 <= key < found.n else _entry(key, found.n))
    if type(key) is slice and key.step is None:
        begin, end = key.start, key.stop
        n = type_of(x).shape[0]
        if begin is None:
            begin = 0
        if end is None:
            end = n
        if type(begin) is int and type(end) is int and 0 <= begin < end <= n:
            return _range_of(x, begin, end, 0)
    node = x.node
    if isinstance(key, slice):
        return wrap(_parts(node, [_range(key, node.shape[0], x)]))
    if isinstance(key, tuple):
        lengths = (*node.shape, node.batch or 1)
        if len(key) > len(lengths):
            raise IndexError(
                f"expression[...]: got {len(key)} indices for {show(x)}; there can be at most one "
                "more than dimensions, for the batch"
            )
        return wrap(
            _parts(
                node,
                [
                    _range(k, n, x) if isinstance(k, slice) else _entry(_number(k), n)
                    for k, n in zip(key, lengths)
                ],
            )
        )
    return index(x, _number(key))


def _number(key: Any) -> int:
    try:
        return int(operator.index(key))
    except TypeError:
        raise _KeyTypeError(
            f"expression[...]: got {short(key)}; it takes an integer, a slice, or a tuple of these"
        ) from None


def _entry(i: int, n: int) -> int:
    if 0 <= i < n:
        return i
    if -n <= i < 0:
        return i + n
    raise IndexError(
        f"expression[...]: got index {i}; valid are 0 to {n - 1}, or -{n} to -1 from the end"
    )


def _range(s: slice, n: int, x: Expression) -> range:
    """The entries that a slice takes of a dimension."""
    try:
        chosen = range(*s.indices(n))
    except TypeError:
        raise _KeyTypeError(f"expression[...]: got {s}; the bounds must be integers") from None
    except ValueError:
        raise ValueError(f"expression[...]: got {s}; the step cannot be 0") from None
    inside = all(bound is None or -n <= bound <= n for bound in (s.start, s.stop))
    if not inside or not chosen:
        raise ValueError(
            f"expression[...]: got {s} for {n} entries of {show(x)}; it must lie within them and "
            "take at least one"
        )
    return chosen


HOOKS["index"] = index
