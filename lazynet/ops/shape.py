"""Rearranging the axes of one example: reshape, transpose, concatenate, split and their kin."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from operator import index as as_index
from typing import Any

import numpy as np

from lazynet.errors import ArgumentError, DtypeError, RangeError, SettingError, ShapeError
from lazynet.graph import Expression, record, record_several
from lazynet.inputs import as_expression, expression_list
from lazynet.kinds import FLOAT64, FLOATS, HOOKS, Array, Call, Op, RowRule, Shape
from lazynet.ops.cuda_windows import MOST, can_split, concatenate_rows, split_rows
from lazynet.shortcuts import Lists, cut, learn_cut


def whole_number(value: Any, role: str) -> int:
    """value as a Python int, if it is one and not merely something that could be converted.

    Raises:
        ArgumentError: For booleans, floats, strings, None and anything else.
    """
    if type(value) is int:
        return value
    if not isinstance(value, (bool, np.bool_, np.ndarray, Expression)):
        try:
            return as_index(value)
        except TypeError:
            pass
    raise ArgumentError(
        f"{role}: got {value!r} ({type(value).__name__}); it must be an integer; convert it with "
        "int() if that is meant"
    )


def one_axis(axis: Any, ndim: int, role: str) -> int:
    """An axis of one example, counted from the front.

    Raises:
        RangeError: If there is no such axis.
    """
    i = whole_number(axis, f"{role}: axis")
    if not -ndim <= i < ndim:
        raise RangeError(
            f"{role}: got axis {i} for an example with {ndim} axes; it must lie in "
            f"[{-ndim}, {ndim}); the batch is not counted among the axes"
        )
    return i % ndim


def same_dtype_expressions(xs: Sequence[Any], role: str) -> list[Expression]:
    """Arguments as expressions; arrays and numbers in the floating-point dtype of the others."""
    floats = [x.dtype for x in xs if isinstance(x, Expression) and x.dtype in FLOATS]
    dtype = None if not floats else FLOAT64 if FLOAT64 in floats else floats[0]
    return [as_expression(x, role, dtype) for x in xs]


class Rearrangement(Op):
    """An op that moves values without looking at them, so the dtype is any."""

    reads_args = False
    reads_y = False

    def dtype(self, *dtypes: np.dtype[Any]) -> np.dtype[Any]:
        if any(d is not dtypes[0] for d in dtypes):
            listing = ", ".join(str(d) for d in dtypes)
            raise DtypeError(
                f"{self.name}: got dtypes ({listing}); all arguments must have one dtype; convert "
                "with x.astype('float32')"
            )
        return dtypes[0]


@dataclass(frozen=True)
class Reshape(Rearrangement):
    """The same elements in another shape."""

    source: Shape
    target: Shape

    def shape(self, x: Shape) -> Shape:
        return self.target

    def forward(self, call: Call, x: Array) -> Array:
        return x.reshape(len(x), *self.target)

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        return dy.reshape(len(dy), *self.source)


def reshape(x: Any, shape: int | Sequence[int]) -> Expression:
    """Another shape with the same number of elements, in the same order.

    Args:
        x: Any shape.
        shape: Shape of one example of the result, an int or a sequence; one entry may be -1 and
            stands for what is left.

    Returns:
        An expression of that shape.

    Raises:
        ShapeError: If the number of elements differs.

    >>> import lazynet as ln
    >>> ln.reshape(ln.constant([1, 2, 3, 4]), (2, -1)).value().tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    whole = as_expression(x, "reshape")
    entries = _sizes(shape, "reshape")
    known = prod(n for n in entries if n != -1)
    target = entries
    if entries.count(-1) == 1 and known:
        target = tuple(whole.size // known if n == -1 else n for n in entries)
    if -1 in target or prod(target) != whole.size:
        raise ShapeError(
            f"reshape: got {whole.shape} and the target {entries}; both must have {whole.size} "
            "elements, and at most one entry may be -1; the batch is not part of the shape"
        )
    if target == whole.shape:
        return whole
    return record(Reshape(whole.shape, target), (whole,))


def _sizes(shape: Any, role: str) -> Shape:
    if isinstance(shape, (tuple, list, np.ndarray)):
        entries = tuple(whole_number(n, f"{role}: shape") for n in shape)
    else:
        entries = (whole_number(shape, f"{role}: shape"),)
    if any(n < -1 for n in entries):
        raise ShapeError(f"{role}: got the shape {entries}; lengths of axes cannot be negative")
    return entries


def squeeze(x: Any, axis: int | None = None) -> Expression:
    """Drop axes of length 1.

    Args:
        x: Any shape.
        axis: The axis to drop; None drops all that have length 1.

    Returns:
        An expression with fewer axes.

    Raises:
        ShapeError: If that axis is longer.

    >>> import lazynet as ln
    >>> ln.squeeze(ln.constant([[1, 2]])).shape
    (2,)
    """
    x = as_expression(x, "squeeze")
    if axis is None:
        return reshape(x, tuple(n for n in x.shape if n != 1))
    i = one_axis(axis, x.ndim, "squeeze")
    if x.shape[i] != 1:
        raise ShapeError(
            f"squeeze: got {x.shape} and axis {i}; only an axis of length 1 can be dropped; use "
            "x[...] or ln.sum to get rid of longer ones"
        )
    return reshape(x, x.shape[:i] + x.shape[i + 1 :])


def expand_dims(x: Any, axis: int) -> Expression:
    """Insert an axis of length 1.

    Args:
        x: Any shape.
        axis: Where the new axis is in the result; negative counts from the end.

    Returns:
        An expression with one more axis.

    Raises:
        RangeError: If the result has no such axis.

    >>> import lazynet as ln
    >>> ln.expand_dims(ln.constant([1, 2]), 0).shape
    (1, 2)
    """
    x = as_expression(x, "expand_dims")
    i = one_axis(axis, x.ndim + 1, "expand_dims")
    return reshape(x, (*x.shape[:i], 1, *x.shape[i:]))


@dataclass(frozen=True)
class Transpose(Rearrangement):
    """y's axis k is x's axis axes[k]."""

    axes: tuple[int, ...]

    def shape(self, x: Shape) -> Shape:
        return tuple(x[i] for i in self.axes)

    def forward(self, call: Call, x: Array) -> Array:
        return x.transpose(0, *[i + 1 for i in self.axes])

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        back = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        return dy.transpose(0, *[i + 1 for i in back])


def transpose(x: Any, axes: Sequence[int] | None = None) -> Expression:
    """The axes of one example in another order.

    Args:
        x: Any shape.
        axes: For each axis of the result, which axis of `x` it is. None reverses them.

    Returns:
        An expression with the axes permuted. The transpose of a parameter is computed once per
        evaluation and shared like the parameter.

    Raises:
        ShapeError: If `axes` is not a permutation.

    >>> import lazynet as ln
    >>> ln.transpose(ln.constant([[1, 2], [3, 4]])).value().tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    whole = as_expression(x, "transpose")
    if axes is None:
        order = tuple(range(whole.ndim))[::-1]
    else:
        if not isinstance(axes, (tuple, list, np.ndarray)):
            raise ArgumentError(f"transpose: got axes {axes!r}; it takes a sequence of axes")
        order = tuple(one_axis(i, whole.ndim, "transpose") for i in axes)
        if sorted(order) != list(range(whole.ndim)):
            raise ShapeError(
                f"transpose: got {whole.shape} and axes {tuple(axes)}; each of the "
                f"{whole.ndim} axes must be named once"
            )
    if order == tuple(range(whole.ndim)):
        return whole
    return record(Transpose(order), (whole,))


def _parts(x: Array, sizes: Shape, axis: int) -> tuple[Array, ...]:
    """Views of the row array, cut along one axis of the example."""
    before = (slice(None),) * (axis + 1)
    result, end = [], 0
    for n in sizes:
        result.append(x[(*before, slice(end, end + n))])
        end += n
    return tuple(result)


@dataclass(frozen=True)
class Concatenate(Rearrangement):
    """y = the arguments one after the other along one axis."""

    axis: int
    sizes: Shape

    def shape(self, *xs: Shape) -> Shape:
        first, k = xs[0], self.axis
        for x in xs:
            if len(x) != len(first) or x[:k] + x[k + 1 :] != first[:k] + first[k + 1 :]:
                raise self.fail(
                    f"shapes must be equal but for axis {k}",
                    "reshape them, or use ln.stack for a new axis",
                    *xs,
                )
        return (*first[:k], sum(self.sizes), *first[k + 1 :])

    def forward(self, call: Call, *xs: Array) -> Array:
        if type(xs[0]) is not np.ndarray and len(xs) <= MOST:
            return concatenate_rows(xs, self.axis + 1, call.out)
        return np.concatenate(xs, self.axis + 1, out=call.out)

    def backward(self, call: Call, dy: Array, y: Array, *xs: Array) -> tuple[Array, ...]:
        return _parts(dy, self.sizes, self.axis)


CONCATENATIONS = Lists()
"""Calls of `concatenate` met before."""


def concatenate(xs: Sequence[Any], axis: int = 0) -> Expression:
    """Join expressions along an axis that they have.

    Args:
        xs: Expressions, arrays or nested lists, at least one; shapes equal but for `axis`.
        axis: The axis of one example along which they are joined.

    Returns:
        An expression as long along `axis` as all together.

    Raises:
        ShapeError: If the shapes do not go together.

    >>> import lazynet as ln
    >>> ln.concatenate([ln.constant([1, 2]), ln.constant([3])]).value().tolist()
    [1.0, 2.0, 3.0]
    """
    fast = CONCATENATIONS.known(xs, axis)
    if fast is not None:
        return fast
    entries = same_dtype_expressions(expression_list(xs, "concatenate"), "concatenate")
    first = entries[0].shape
    if any(not e.shape for e in entries):
        raise ShapeError(
            f"concatenate: got {', '.join(str(e.shape) for e in entries[:8])}; scalars have no "
            "axis to join along; use ln.stack"
        )
    k = one_axis(axis, len(first), "concatenate")
    if len(entries) == 1:
        return entries[0]
    sizes = tuple(e.shape[k] if k < e.ndim else 0 for e in entries)
    return CONCATENATIONS.learn(xs, axis, record(Concatenate(k, sizes), entries))


@dataclass(frozen=True)
class Stack(Rearrangement):
    """y = the arguments side by side along a new axis."""

    axis: int

    def shape(self, *xs: Shape) -> Shape:
        first = xs[0]
        if any(x != first for x in xs):
            raise self.fail("all shapes must be equal", "use ln.concatenate, or reshape", *xs)
        return (*first[: self.axis], len(xs), *first[self.axis :])

    def forward(self, call: Call, *xs: Array) -> Array:
        k = self.axis + 1
        if type(xs[0]) is not np.ndarray and len(xs) <= MOST:
            return concatenate_rows([np.expand_dims(x, k) for x in xs], k, call.out)
        return np.stack(xs, k, out=call.out)

    def backward(self, call: Call, dy: Array, y: Array, *xs: Array) -> tuple[Array, ...]:
        return tuple(np.moveaxis(dy, self.axis + 1, 0))


STACKS = Lists()
"""Calls of `stack` met before."""


def stack(xs: Sequence[Any], axis: int = 0) -> Expression:
    """Put expressions of one shape side by side along a new axis.

    Args:
        xs: Expressions, numbers or arrays of equal shapes, at least one.
        axis: Where the new axis is in the result; negative counts from the end.

    Returns:
        An expression with one axis more, of length ``len(xs)``.

    Raises:
        ShapeError: If the shapes differ.

    >>> import lazynet as ln
    >>> ln.stack([ln.constant([1, 2]), ln.constant([3, 4])], axis=1).value().tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    fast = STACKS.known(xs, axis)
    if fast is not None:
        return fast
    entries = same_dtype_expressions(expression_list(xs, "stack"), "stack")
    k = one_axis(axis, entries[0].ndim + 1, "stack")
    return STACKS.learn(xs, axis, record(Stack(k), entries))


@dataclass(frozen=True)
class Split(Rearrangement):
    """y_1, y_2, ... = x cut along one axis"""

    axis: int
    sizes: Shape

    def shape(self, x: Shape) -> list[Shape]:
        return [(*x[: self.axis], n, *x[self.axis + 1 :]) for n in self.sizes]

    def row_rule(self, *shapes: Shape) -> RowRule | None:
        if self.axis:
            return None
        ends = list(itertools.accumulate([n * prod(shapes[0][1:]) for n in self.sizes]))
        return RowRule(columns=tuple(itertools.pairwise([0, *ends])))

    def forward(self, call: Call, x: Array) -> tuple[Array, ...]:
        if type(x) is not np.ndarray and can_split(call.out):
            return split_rows(x, self.axis + 1, call.out)
        return _parts(x, self.sizes, self.axis)

    def backward(self, call: Call, dy: tuple[Array, ...], y: tuple[Array, ...], x: Array) -> Array:
        if type(dy[0]) is not np.ndarray and len(dy) <= MOST:
            return concatenate_rows(dy, self.axis + 1, None)
        return np.concatenate(dy, self.axis + 1)


def split(x: Any, sections: int | Sequence[int], axis: int = 0) -> tuple[Expression, ...]:
    """Cut an expression along an axis.

    Args:
        x: At least one axis.
        sections: A number of equal parts, or a list with the LENGTH of each part (not the
            positions of the cuts, as in NumPy).
        axis: The axis of one example that is cut.

    Returns:
        A tuple of expressions.

    Raises:
        ShapeError: If the parts do not add up to the axis.

    >>> import lazynet as ln
    >>> a, b = ln.split(ln.constant([1, 2, 3]), [1, 2])
    >>> a.value().tolist(), b.value().tolist()
    ([1.0], [2.0, 3.0])
    """
    fast: tuple[Expression, ...] | None = cut(x, sections, axis)
    if fast is not None:
        return fast
    x = as_expression(x, "split")
    given, along = sections, axis
    if type(axis) is not int:
        axis = one_axis(axis, x.ndim, "split")
    if isinstance(sections, (tuple, list)) or (isinstance(sections, np.ndarray) and sections.ndim):
        sections = tuple([whole_number(n, "split: sections") for n in sections])
    elif type(sections) is not int:
        sections = whole_number(sections, "split: sections")
    op = _split_op(x.shape, sections, axis)
    if op is None:
        return (x,)
    results = record_several(op, (x,))
    learn_cut(x, given, along, results[0].kind)
    return results


@lru_cache(maxsize=4096)  # of Python integers only: True and 2.0 would be taken for 1 and 2
def _split_op(shape: Shape, sections: int | Shape, axis: int) -> Split | None:
    """The op that cuts like this; None where there is nothing to cut."""
    k = one_axis(axis, len(shape), "split")
    n = shape[k]
    if isinstance(sections, tuple):
        sizes = sections
        negative = [size for size in sizes if size < 0]
        if negative:
            raise ShapeError(
                f"split: got {shape}, axis {k} and lengths {sizes}; the length {negative[0]} is "
                f"negative; give all lengths, 0 or more, which add up to {n}"
            )
        if not sizes or sum(sizes) != n:
            raise ShapeError(
                f"split: got {shape}, axis {k} and lengths {sizes}; they must add up to {n}; "
                "give the length of each part, not the positions of the cuts"
            )
    else:
        parts = sections
        if parts < 1:
            raise SettingError(f"split: got {parts} sections; there must be at least one")
        if n % parts:
            raise ShapeError(
                f"split: got {shape}, axis {k} and {parts} sections; {n} is not divisible by "
                f"{parts}; give a list with the length of each part"
            )
        sizes = (n // parts,) * parts
    return None if len(sizes) == 1 else Split(k, sizes)


@dataclass(frozen=True)
class Flip(Rearrangement):
    """y_i = x_(n-1-i) along one axis"""

    axis: int

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, call: Call, x: Array) -> Array:
        return np.flip(x, self.axis + 1)

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        return np.flip(dy, self.axis + 1)


def flip(x: Any, axis: int = 0) -> Expression:
    """Reverse the order along an axis.

    Args:
        x: At least one axis.
        axis: The axis of one example that is reversed.

    Returns:
        An expression of the same shape.

    Raises:
        RangeError: If there is no such axis.

    >>> import lazynet as ln
    >>> ln.flip(ln.constant([1, 2, 3])).value().tolist()
    [3.0, 2.0, 1.0]
    """
    x = as_expression(x, "flip")
    return record(Flip(one_axis(axis, x.ndim, "flip")), (x,))


@dataclass(frozen=True)
class BroadcastTo(Rearrangement):
    """y = x repeated along new axes and axes of length 1"""

    source: Shape
    target: Shape

    def shape(self, x: Shape) -> Shape:
        return self.target

    def _padded(self) -> Shape:
        return (1,) * (len(self.target) - len(self.source)) + self.source

    def forward(self, call: Call, x: Array) -> Array:
        rows = len(x)
        return np.broadcast_to(x.reshape(rows, *self._padded()), (rows, *self.target))

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        pairs = zip(self._padded(), self.target)
        axes = tuple(i for i, (own, n) in enumerate(pairs, 1) if own != n)
        dx: Array = dy.sum(axes)
        return dx.reshape(len(dy), *self.source)


def broadcast_to(x: Any, shape: int | Sequence[int]) -> Expression:
    """Repeat along new axes in front and along axes of length 1, by NumPy's broadcasting rule.

    Args:
        x: Any shape.
        shape: Shape of one example of the result.

    Returns:
        An expression of that shape.

    Raises:
        ShapeError: If the shape of `x` does not broadcast to it.

    >>> import lazynet as ln
    >>> ln.broadcast_to(ln.constant([1, 2]), (2, 2)).value().tolist()
    [[1.0, 2.0], [1.0, 2.0]]
    """
    whole = as_expression(x, "broadcast_to")
    target = _sizes(shape, "broadcast_to")
    try:
        fits = np.broadcast_shapes(whole.shape, target) == target
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"broadcast_to: got {whole.shape} and the target {target}; counted from the end, each "
            "axis must have the target's length or 1; reshape x first"
        )
    if target == whole.shape:
        return whole
    return record(BroadcastTo(whole.shape, target), (whole,))


HOOKS.transpose = transpose
HOOKS.reshape = reshape

__all__ = [
    "broadcast_to",
    "concatenate",
    "expand_dims",
    "flip",
    "reshape",
    "split",
    "squeeze",
    "stack",
    "transpose",
]
