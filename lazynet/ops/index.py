"""Parts of an example: ``x[...]``, slice, pick and pick_rows.

Where a part begins only changes values, so it is payload: ``x[3]`` and ``x[5]`` are one batch, and
so are ``x[2:4]`` and ``x[5:7]``. How long it is, and with which steps, is static.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from lazynet.backend import module_of, scatter_add
from lazynet.backend.kernels import into
from lazynet.deferred import TRACED_ROWS, Deferred, Integer, is_deferred
from lazynet.errors import ArgumentError, RangeError, SettingError, ShapeError
from lazynet.graph import Expression, record, unary
from lazynet.inputs import as_expression
from lazynet.kinds import HOOKS, INT64, Array, Call, Shape
from lazynet.ops import cuda_windows
from lazynet.ops.elementwise import ready
from lazynet.ops.shape import Rearrangement, one_axis, reshape, whole_number

Span = tuple[int, int]
"""What is taken of one axis: (number of entries, step); (-1, 1) is one entry, whose axis goes."""


def in_range(value: Any, n: int, role: str) -> int:
    """One index into an axis of length n, counted from the front.

    Raises:
        ArgumentError: If it is no integer.
        RangeError: If it lies outside.
    """
    i = whole_number(value, role)
    if not -n <= i < n:
        raise _outside(i, n, role)
    return i + n if i < 0 else i


def _outside(i: Any, n: int, role: str) -> RangeError:
    valid = f"valid are 0 to {n - 1}, or -{n} to -1 from the end" if n else "there are no entries"
    return RangeError(f"{role}: got index {i} for {n} entries; {valid}")


def all_in_range(values: Any, n: int, role: str, ndim: int = 1) -> Array:
    """Several indices into an axis of length n, counted from the front: a new int64 array.

    Raises:
        ArgumentError: If they are not integers.
        ShapeError: If they have not `ndim` axes.
        RangeError: If one lies outside.
    """
    if isinstance(values, (list, tuple, range)) and ndim == 1:
        if not set(map(type, values)) <= {int}:  # NumPy would turn True into 1
            values = [whole_number(v, role) for v in values]
        if not values:
            return np.zeros(0, INT64)
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError) as error:
        raise ArgumentError(
            f"{role}: got a ragged list; the indices must form an array of integers"
        ) from error
    if array.ndim == 1 and (
        array.dtype.kind == "O" or (array.dtype.kind == "f" and isinstance(values, (list, tuple)))
    ):  # integers beyond 64 bits, or that have no 64-bit type in common, or no integers
        for v in values:
            in_range(v, n, role)
    if array.dtype.kind not in "iu":
        raise ArgumentError(
            f"{role}: got indices of dtype {array.dtype}; they must be integers; convert them with "
            ".astype(int) if they are whole"
        )
    if array.ndim != ndim:
        raise ShapeError(
            f"{role}: got indices of shape {array.shape}; it takes an array with {ndim} "
            f"{'axis' if ndim == 1 else 'axes'}"
        )
    if array.size:
        low, high = array.min(), array.max()
        if low < -n or high >= n:
            raise _outside(low if low < -n else high, n, role)
        if low < 0:
            return np.where(array < 0, array + n, array).astype(INT64)
    return array.astype(INT64)


# A window of every row


@dataclass(frozen=True)
class Window(Rearrangement):
    """y = x[start, start + step, ...] along the leading axes; the payload is where y[0] lies in x.

    The starts of all axes are one number, the position of the first element in the flattened
    example: that is all a window needs, since its strides are static.
    """

    source: Shape
    spans: tuple[Span, ...]
    payload = "int"
    shares = True
    pieces = True

    def piece(self, payload: Any) -> tuple[int, Array] | None:
        *singles, (count, step) = self.spans
        if step != 1 or any(n != -1 for n, _ in singles):
            return None
        size = max(1, count) * prod(self.source[len(self.spans) :])
        if size == 0 or count == 0 or prod(self.source) % size or (payload % size).any():
            return None
        return size, payload // size

    def shape(self, x: Shape) -> Shape:
        kept = tuple(count for count, _ in self.spans if count != -1)
        return kept + self.source[len(self.spans) :]

    def _block(self) -> int:
        """Length of y if it lies in x in one piece and at a multiple of its length, else 0."""
        whole = all(count == -1 for count, _ in self.spans)
        return prod(self.source[len(self.spans) :]) if whole else 0

    def _windows(self, x: Array, rows: bool) -> Array:
        """Every place of x as the beginning of a window: (rows, places, *shape of y).

        Only places that leave room for the window may be read; a payload is always one.
        """
        stride = x.itemsize
        strides: list[int] = []
        for n in reversed(self.source):
            strides.append(stride)
            stride *= n
        strides.reverse()
        shape: list[int] = [prod(self.source)]
        steps: list[int] = [x.itemsize]
        for (count, step), s in zip(self.spans, strides):
            if count != -1:
                shape.append(count)
                steps.append(step * s)
        shape += self.source[len(self.spans) :]
        steps += strides[len(self.spans) :]
        if rows:
            shape.insert(0, len(x))
            steps.insert(0, x.strides[0])
        return as_strided(x, shape, steps)

    def _axes(self) -> cuda_windows.Axes:
        """Length of each axis of y, and the distance of its entries in x."""
        axes = []
        distance = prod(self.source)
        for k, n in enumerate(self.source):
            distance //= max(1, n)
            count, step = self.spans[k] if k < len(self.spans) else (n, 1)
            if count != -1:
                axes.append((count, step * distance))
        return tuple(axes)

    def forward(self, call: Call, x: Array) -> Array:
        at, rows, shared = call.payload, call.rows, call.shared[0]
        shape = (rows, *self.shape(self.source))
        if type(x) is not np.ndarray:
            if not shared and rows > 1 and x.strides[0] == 0:
                x, shared = x[0], True
            width = 0 if shared else prod(self.source)
            out = into(call.out, shape, x.dtype)
            return cuda_windows.window(x, at, width, self._axes(), out)
        if not prod(shape):
            return np.zeros(shape, x.dtype)
        if not shared and rows > 1 and x.strides[0] == 0:
            x, shared = x[0], True
        x = np.ascontiguousarray(x)
        width, block = prod(self.source), self._block()
        if block:
            pieces = at // block if block > 1 else at
            if not shared:
                pieces = pieces + np.arange(rows) * (width // block)
            y: Array = x.reshape(x.size // block, block).take(pieces, 0)
            return y.reshape(shape)
        windows = self._windows(x, not shared)
        if shared:
            y = windows[at]
            return y
        first = at[0]
        y = windows[:, first] if (at == first).all() else windows[np.arange(rows), at]
        return y

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        at, rows = call.payload, len(dy)
        if type(dy) is not np.ndarray:
            shared = call.shared[0]
            dx = module_of(dy).zeros((*(() if shared else (rows,)), *self.source), dy.dtype)
            width = 0 if shared else prod(self.source)
            return cuda_windows.add_window(dy, at, width, self._axes(), dx)
        block, width = self._block(), prod(self.source)
        if call.shared[0]:
            dx = np.zeros(self.source, dy.dtype)
            if not dy.size:
                return dx
            if block:
                pieces = dx.reshape(width // block, block)
                scatter_add(pieces, at // block, dy.reshape(rows, block))
                return dx
            windows = self._windows(dx, False)
            order = np.argsort(at, kind="stable")
            places, firsts = np.unique(at[order], return_index=True)
            sums = np.add.reduceat(dy[order], firsts, axis=0)
            for place, total in zip(places, sums):  # windows of different rows may overlap
                windows[place] += total
            return dx
        dx = np.zeros((rows, *self.source), dy.dtype)
        if dy.size:
            first = at[0]
            windows = self._windows(dx, True)
            if (at == first).all():
                windows[:, first] = dy
            else:
                windows[np.arange(rows), at] = dy
        return dx


@dataclass(frozen=True)
class FixedWindow(Rearrangement):
    """y = x[start, start + step, ...] of a shared x: a part of a weight, itself shared."""

    source: Shape
    slices: tuple[tuple[int, int, int], ...]
    """Per leading axis: first entry, number of entries (-1: one, whose axis goes), step."""

    def shape(self, x: Shape) -> Shape:
        kept = tuple(count for _, count, _ in self.slices if count != -1)
        return kept + self.source[len(self.slices) :]

    def _index(self) -> tuple[Any, ...]:
        index: list[Any] = [builtins.slice(None)]
        for start, count, step in self.slices:
            if count == -1:
                index.append(start)
            else:
                stop: int | None = start + count * step
                index.append(builtins.slice(start, None if stop < 0 else stop, step))  # type: ignore[operator]
        return tuple(index)

    def forward(self, call: Call, x: Array) -> Array:
        y: Array = x[self._index()]
        return y

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        dx: Array = module_of(dy).zeros((len(dy), *self.source), dy.dtype)
        dx[self._index()] = dy
        return dx


@lru_cache(maxsize=4096)
def window_op(source: Shape, spans: tuple[Span, ...]) -> Window:
    """The op of a window of these spans of the leading axes."""
    return ready(Window(source, spans))


@lru_cache(maxsize=4096)
def _fixed_window_op(source: Shape, slices: tuple[tuple[int, int, int], ...]) -> FixedWindow:
    return ready(FixedWindow(source, slices))


def window(x: Expression, starts: list[int], spans: list[Span]) -> Expression:
    """Record the window of x that begins at `starts` of the leading axes."""
    source = x.shape
    while spans and spans[-1] == (source[len(spans) - 1], 1):
        spans.pop()
        starts.pop()
    if not spans:
        return x
    kept = sum(1 for count, _ in spans if count != -1) + len(source) - len(spans)
    if x.type.shared and (kept > 1 or all(count != -1 for count, _ in spans)):
        # a part of a weight that stands for a weight itself: shared by the batch, so no payload
        slices = tuple((s, count, step) for s, (count, step) in zip(starts, spans))
        return unary(_fixed_window_op(source, slices), x)
    place = 0
    for k, n in enumerate(source):
        place = place * n + (starts[k] if k < len(starts) else 0)
    return record(window_op(source, tuple(spans)), (x,), place)


def _span(s: builtins.slice, n: int, role: str) -> tuple[int, Span]:
    for bound in (s.start, s.stop, s.step):
        if bound is not None:
            whole_number(bound, f"{role}: bounds of a slice")
    if s.step is not None and whole_number(s.step, role) == 0:
        raise SettingError(f"{role}: got a slice with step 0; steps are positive or negative")
    chosen = range(*s.indices(n))
    if not chosen:
        return 0, (0, 1)
    return chosen[0], (len(chosen), chosen.step if len(chosen) > 1 else 1)


def index_expression(x: Expression, index: Any) -> Expression:
    """``x[index]`` on the axes of one example, by NumPy's rules.

    Args:
        x: The expression; its batch is not an axis.
        index: Integers, slices, ``...``, None (a new axis), a tuple of these, and in place of one
            slice a list or array of integers.

    Returns:
        The part. Integers and the starts of slices are payload: parts of equal lengths batch.

    Raises:
        RangeError: If an integer is out of range, or there are too many.
        ArgumentError: For booleans, floats, strings and expressions.
    """
    shape = x.shape
    if type(index) is int and shape and not x.type.shared:
        n = shape[0]
        if -n <= index < n:
            if index < 0:
                index += n
            op = window_op(shape, ((-1, 1),))
            return record(op, (x,), index * (x.type.width // n))
    if type(index) is Integer and shape and not x.type.shared:
        return _deferred_entry(x, index, "x[...]: axis 0")
    entries = list(index) if isinstance(index, tuple) else [index]
    role = "x[...]"
    taken = sum(1 for e in entries if e is not None and e is not Ellipsis)
    if taken > len(shape):
        raise RangeError(
            f"{role}: got {taken} indices for an example of shape {shape}; it has {len(shape)} "
            "axes; the batch is not counted: use ln.unbatch(x) for its rows"
        )
    dots = [k for k, e in enumerate(entries) if e is Ellipsis]
    if len(dots) > 1:
        raise ArgumentError(f"{role}: got {len(dots)} ellipses; one can be resolved; write slices")
    if dots:
        entries[dots[0] : dots[0] + 1] = [builtins.slice(None)] * (len(shape) - taken)
    starts: list[int] = []
    spans: list[Span] = []
    new_axes: list[int] = []
    rows: tuple[int, Any] | None = None
    kept = 0  # axes of the result so far
    for e in entries:
        k = len(spans)
        if e is None:
            new_axes.append(kept + len(new_axes))
            continue
        if isinstance(e, builtins.slice):
            start, span = _span(e, shape[k], role)
        elif isinstance(e, (list, np.ndarray, range)) and not _is_scalar(e):
            if rows is not None:
                raise ArgumentError(
                    f"{role}: got several lists of indices; one is taken; index in several steps"
                )
            rows = kept, e
            start, span = 0, (shape[k], 1)
        elif isinstance(e, Expression):
            raise ArgumentError(
                f"{role}: got an expression as index; its value is not known when the node is "
                "recorded; use a lookup table, a one-hot product, or await/.value() it first"
            )
        else:
            value = e.item() if isinstance(e, np.ndarray) and e.dtype.kind in "iu" else e
            start, span = in_range(value, shape[k], f"{role}: axis {k}"), (-1, 1)
        starts.append(start)
        spans.append(span)
        kept += span[0] != -1
    if rows is not None and any(count == -1 for count, _ in spans):
        raise ArgumentError(
            f"{role}: got integers beside a list of indices; NumPy's rules for that surprise, so "
            "it is not taken; index in two steps, as in x[0][[1, 2]]"
        )
    result = window(x, starts, spans)
    if rows is not None:
        result = pick_rows(result, rows[1], rows[0])
    if new_axes:
        target = list(result.shape)
        for at in new_axes:
            target.insert(at, 1)
        result = reshape(result, target)
    return result


def _deferred_entry(x: Expression, index: Deferred, role: str) -> Expression:
    """Entry `index` of the first axis, where that becomes known when a fused function is called."""
    n = x.shape[0]
    slot = index.slot(n, lambda v: in_range(v, n, role), x.type.width // n)
    return record(window_op(x.shape, ((-1, 1),)), (x,), slot)


def _is_scalar(e: Any) -> bool:
    return isinstance(e, np.ndarray) and e.ndim == 0


def slice(
    x: Any, start: int | None, stop: int | None, step: int | None = 1, axis: int = 0
) -> Expression:
    """Entries start, start + step, ... before stop along one axis: ``x[start:stop:step]``.

    Args:
        x: At least one axis.
        start: First entry; negative counts from the end, None is the beginning.
        stop: Entry before which to stop; None is the end.
        step: Distance of entries, not 0; negative goes backwards.
        axis: The axis of one example.

    Returns:
        An expression that is shorter along that axis. Slices of equal lengths batch wherever
        they start.

    Raises:
        RangeError: If there is no such axis.
        ArgumentError: If a bound is no integer.

    >>> import lazynet as ln
    >>> ln.slice(ln.constant([1, 2, 3, 4]), 1, 3).value().tolist()
    [2.0, 3.0]
    """
    x = as_expression(x, "slice")
    k = one_axis(axis, x.ndim, "slice")
    begin, span = _span(builtins.slice(start, stop, step), x.shape[k], "slice")
    return window(x, [0] * k + [begin], [(n, 1) for n in x.shape[:k]] + [span])


def pick(x: Any, index: int | Sequence[int], axis: int = 0) -> Expression:
    """One entry along an axis, which goes.

    Args:
        x: At least one axis.
        index: The entry; negative counts from the end. A list or array picks one for each row of
            the batch (a single `x` is repeated for each).
        axis: The axis of one example.

    Returns:
        An expression with one axis less. Picks along one axis batch whatever the index.

    Raises:
        RangeError: If an index is out of range.
        ArgumentError: If it is no integer.
        ShapeError: If there are not as many as rows.

    >>> import lazynet as ln
    >>> x = ln.constant([[1, 2, 3], [4, 5, 6]], batched=True)
    >>> ln.pick(x, [0, 2]).value().tolist()
    [1.0, 6.0]
    """
    x = as_expression(x, "pick")
    k = one_axis(axis, x.ndim, "pick")
    n = x.shape[k]
    spans: list[Span] = [(m, 1) for m in x.shape[:k]] + [(-1, 1)]
    if is_deferred(index) and k == 0 and not x.type.shared:
        entries: Any = index
        if type(entries) is Integer:
            return _deferred_entry(x, entries, "pick")
        slot = entries.slot(n, lambda v: all_in_range(v, n, "pick"), prod(x.shape[1:]))
        return record(window_op(x.shape, tuple(spans)), (x,), slot, TRACED_ROWS)
    if not isinstance(index, (list, tuple, np.ndarray, range)) or _is_scalar(index):
        number = index.item() if isinstance(index, np.ndarray) else index
        return window(x, [0] * k + [in_range(number, n, "pick")], spans)
    places = all_in_range(index, n, "pick")
    if x.batch is not None and x.batch != len(places):
        raise ShapeError(
            f"pick: got {len(places)} indices for a batch of {x.batch} rows; give one index, or "
            "as many as rows; for several per row use ln.pick_rows"
        )
    places *= prod(x.shape[k + 1 :])
    op = window_op(x.shape, tuple(spans))
    return record(op, (x,), places, len(places))


def blocks(x: Expression, numbers: Array, size: int) -> Expression:
    """A batch of blocks of this size of a vector, a single row; payload is where each begins."""
    return record(window_op(x.shape, ((size, 1),)), (x,), numbers * size, len(numbers))


# Several entries along an axis


@dataclass(frozen=True)
class PickRows(Rearrangement):
    """y_k = x_(index k) along one axis; the indices are the payload."""

    source: Shape
    axis: int
    count: int
    payload = "ints"
    shares = True

    def shape(self, x: Shape) -> Shape:
        return (*x[: self.axis], self.count, *x[self.axis + 1 :])

    def _flat_index(self, at: Array, shared: bool) -> Array:
        """Where the picked pieces lie in x, seen as one long list of pieces: (rows, before, k)."""
        n = self.source[self.axis]
        before = prod(self.source[: self.axis])
        flat: Array = at[:, None, :] + (np.arange(before) * n)[None, :, None]
        if not shared:
            flat = flat + (np.arange(len(at)) * (before * n))[:, None, None]
        return flat

    def forward(self, call: Call, x: Array) -> Array:
        shape = (call.rows, *self.shape(self.source))
        if type(x) is not np.ndarray:
            y = into(call.out, shape, x.dtype)
            given = (call.payload, call.shared[0], self.source, self.axis)
            return cuda_windows.pick(x, *given, y)
        if not prod(shape):
            return np.zeros(shape, x.dtype)
        shared = call.shared[0]
        if not shared and call.rows > 1 and x.strides[0] == 0:
            x, shared = x[0], True
        after = prod(self.source[self.axis + 1 :])
        flat = self._flat_index(call.payload, shared)
        return np.reshape(x, (x.size // after, after)).take(flat.ravel(), 0).reshape(shape)

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        shared = call.shared[0]
        if type(dy) is not np.ndarray:
            lead = () if shared else (len(dy),)
            dx = module_of(dy).zeros((*lead, *self.source), dy.dtype)
            given = (call.payload, shared, self.source, self.axis)
            return cuda_windows.add_picked(dy, *given, dx)
        dx = np.zeros(self.source if shared else (len(dy), *self.source), dy.dtype)
        if dy.size:
            after = prod(self.source[self.axis + 1 :])
            flat = self._flat_index(call.payload, shared).ravel()
            scatter_add(dx.reshape(dx.size // after, after), flat, dy.reshape(len(flat), after))
        return dx


def pick_rows(x: Any, indices: Sequence[int], axis: int = 0) -> Expression:
    """Several entries along an axis, in any order, repeated or not.

    Args:
        x: At least one axis.
        indices: Their numbers; negative ones count from the end. For a batch also an array
            ``(rows, k)``: those of each row.
        axis: The axis of one example.

    Returns:
        An expression of length k along that axis. Gradients of repeated entries add up. Picks of
        equally many entries batch.

    Raises:
        RangeError: If an index is out of range.
        ArgumentError: If one is no integer.

    >>> import lazynet as ln
    >>> ln.pick_rows(ln.constant([[1, 2], [3, 4]]), [1, 0, 1]).value().tolist()
    [[3.0, 4.0], [1.0, 2.0], [3.0, 4.0]]
    """
    x = as_expression(x, "pick_rows")
    k = one_axis(axis, x.ndim, "pick_rows")
    if not isinstance(indices, (list, tuple, np.ndarray, range)):
        raise ArgumentError(
            f"pick_rows: got indices {indices!r}; it takes a list or array of integers; for one "
            "entry use ln.pick"
        )
    per_row = isinstance(indices, np.ndarray) and indices.ndim == 2 and x.batch is not None
    at = all_in_range(indices, x.shape[k], "pick_rows", 2 if per_row else 1)
    if per_row and len(at) != x.batch:
        raise ShapeError(
            f"pick_rows: got indices for {len(at)} rows and a batch of {x.batch}; give one list "
            "for all, or one per row"
        )
    if not at.shape[-1]:
        return window(x, [0] * (k + 1), [*((n, 1) for n in x.shape[:k]), (0, 1)])
    return record(PickRows(x.shape, k, at.shape[-1]), (x,), at)


HOOKS.part = index_expression

__all__ = ["pick", "pick_rows", "slice"]
