"""Reductions over axes of the example, and elementwise ones over lists of expressions.

Where several elements share a maximum or minimum, the first of them gets the whole gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from lazynet.errors import ArgumentError, ShapeError
from lazynet.graph import Expression, record
from lazynet.inputs import as_expression, expression_list
from lazynet.kinds import HOOKS, INT64, Array, Call, Op, Shape
from lazynet.ops.elementwise import ready
from lazynet.ops.numeric import (
    exp_difference,
    finite,
    integer,
    last_max,
    last_sum,
    max_segments,
    quotient,
    segments_of,
    select_last,
    spread,
    sum_segments,
    winners,
)
from lazynet.shortcuts import reduced

Axes = int | tuple[int, ...] | None


def _flat(x: Array, axes: tuple[int, ...]) -> Array:
    """The array with the example's `axes` moved to the end and joined into one."""
    outer = [0] + [k + 1 for k in range(x.ndim - 1) if k not in axes]
    inner = [k + 1 for k in axes]
    order = outer + inner
    if order != list(range(x.ndim)):
        x = x.transpose(order)
    n = 1
    for size in x.shape[len(outer) :]:
        n *= size
    return x.reshape(*x.shape[: len(outer)], n)


def _unflat(flat: Array, shape: Shape, axes: tuple[int, ...]) -> Array:
    """The inverse of `_flat`, for an array ``(rows, *shape)``."""
    outer = [0] + [k + 1 for k in range(len(shape)) if k not in axes]
    order = outer + [k + 1 for k in axes]
    full = (len(flat), *shape)
    result = flat.reshape([full[k] for k in order])
    if order != list(range(len(full))):
        result = result.transpose(np.argsort(order))
    return result


def _kept(y: Array, ndim: int, axes: tuple[int, ...]) -> Array:
    """The result of a reduction with its axes put back as ones, to broadcast against x."""
    lengths = iter(y.shape[1:])
    inner = [1 if k in axes else next(lengths) for k in range(ndim)]
    return y.reshape(len(y), *inner)


@dataclass(frozen=True)
class _Reduction(Op):
    """A reduction over `axes` of the example, ascending and counted from the front."""

    axes: tuple[int, ...]
    nothing: ClassVar[bool] = False
    """Whether no elements at all have a result."""

    def shape(self, x: Shape) -> Shape:
        for axis in self.axes:
            if not 0 <= axis < len(x):
                raise self.fail(f"axis {axis} is missing", "choose an axis that x has", x=x)
            if x[axis] == 0 and not self.nothing:
                raise self.fail(
                    f"axis {axis} has no elements to reduce", "leave such examples out", x=x
                )
        return tuple(n for k, n in enumerate(x) if k not in self.axes)


@dataclass(frozen=True)
class Sum(_Reduction):
    """y = sum_i x_i"""

    lengths: Shape
    """Lengths of the axes, so that backward need not see x."""
    nothing = True
    reads_args = False
    reads_y = False

    def forward(self, call: Call, x: Array) -> Any:
        first = x.ndim - 1 - len(self.axes)
        if all(axis >= first for axis in self.axes):
            return last_sum(_flat(x, self.axes))
        return x.sum(axis=tuple(k + 1 for k in self.axes))

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        shape = list(dy.shape)
        kept = list(dy.shape)
        for axis, length in zip(self.axes, self.lengths, strict=True):
            shape.insert(axis + 1, length)
            kept.insert(axis + 1, 1)
        into: Array | None = call.into
        if into is not None:
            into[...] = dy.reshape(kept)
            return into
        return np.broadcast_to(dy.reshape(kept), shape)


@dataclass(frozen=True)
class Mean(Sum):
    """y = 1/n sum_i x_i"""

    nothing = False

    def forward(self, call: Call, x: Array) -> Array:
        return self._share(super().forward(call, x))

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        return super().backward(call, self._share(dy), y, x)

    def _share(self, y: Array) -> Array:
        return np.divide(y, math.prod(self.lengths), dtype=y.dtype)


@dataclass(frozen=True)
class Max(_Reduction):
    """y = max_i x_i; the gradient goes to the first i that has it."""

    reads_y = False

    def forward(self, call: Call, x: Array) -> Array:
        return last_max(_flat(x, self.axes))

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        flat = _flat(x, self.axes)
        dx = np.zeros(flat.shape, x.dtype)
        np.put_along_axis(dx, self.choose(flat)[..., None], dy[..., None], -1)
        return _unflat(dx, x.shape[1:], self.axes)

    def choose(self, flat: Array) -> Any:
        """Which element the result is."""
        return flat.argmax(axis=-1)


@dataclass(frozen=True)
class Min(Max):
    """y = min_i x_i; the gradient goes to the first i that has it."""

    def forward(self, call: Call, x: Array) -> Array:
        flat = _flat(x, self.axes)
        return select_last(flat, self.choose(flat))

    def choose(self, flat: Array) -> Any:
        return flat.argmin(axis=-1)


@dataclass(frozen=True)
class Argmax(_Reduction):
    """y = the first i with the greatest x_i, counted in row-major order over `axes`."""

    differentiable = False

    def dtype(self, *dtypes: np.dtype[Any]) -> np.dtype[Any]:
        return INT64

    def forward(self, call: Call, x: Array) -> Any:
        return _flat(x, self.axes).argmax(axis=-1)


@dataclass(frozen=True)
class Logsumexp(_Reduction):
    """y = log sum_i exp(x_i), dx_i = exp(x_i - y) dy"""

    def forward(self, call: Call, x: Array) -> Array:
        flat = _flat(x, self.axes)
        top = finite(last_max(flat))
        z = flat - top[..., None]
        np.exp(z, out=z)
        return np.log(last_sum(z)) + top

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        y = _kept(y, x.ndim - 1, self.axes)
        dx = exp_difference(x, y)
        dx *= _kept(dy, x.ndim - 1, self.axes)
        return dx


@dataclass(frozen=True)
class Var(_Reduction):
    """y = 1/n sum_i (x_i - mean)^2, dx_i = 2/n (x_i - mean) dy"""

    reads_y = False

    def forward(self, call: Call, x: Array) -> Array:
        centred = self.centre(x)
        np.multiply(centred, centred, out=centred)
        return np.divide(last_sum(centred), centred.shape[-1], dtype=x.dtype)

    def centre(self, x: Array) -> Array:
        """x minus its mean, in the layout of `_flat`."""
        flat = _flat(x, self.axes)
        mean = np.divide(last_sum(flat), flat.shape[-1], dtype=x.dtype)
        return flat - mean[..., None]

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        dx = self.centre(x)
        dx *= np.multiply(dy, 2 / dx.shape[-1], dtype=x.dtype)[..., None]
        return _unflat(dx, x.shape[1:], self.axes)


@dataclass(frozen=True)
class Std(Var):
    """y = sqrt(1/n sum_i (x_i - mean)^2), dx_i = (x_i - mean) / (n y) dy, 0 for y = 0"""

    reads_y = True

    def forward(self, call: Call, x: Array) -> Array:
        return np.sqrt(super().forward(call, x))

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        return super().backward(call, quotient(dy, 2 * y), y, x)


@dataclass(frozen=True)
class SquaredNorm(_Reduction):
    """y = sum_i x_i^2, dx_i = 2 x_i dy"""

    nothing = True
    reads_y = False

    def forward(self, call: Call, x: Array) -> Array:
        flat = _flat(x, self.axes)
        return last_sum(flat * flat)

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        return x * _kept(2 * dy, x.ndim - 1, self.axes)


@dataclass(frozen=True)
class Norm(SquaredNorm):
    """y = sqrt(sum_i x_i^2), dx_i = x_i / y dy, 0 for y = 0"""

    reads_y = True

    def forward(self, call: Call, x: Array) -> Array:
        return np.sqrt(super().forward(call, x))

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        return super().backward(call, quotient(dy, 2 * y), y, x)


@dataclass(frozen=True)
class Cumsum(Op):
    """y_i = sum_{j <= i} x_j along one axis."""

    axis: int
    reads_args = False
    reads_y = False

    def shape(self, x: Shape) -> Shape:
        if not 0 <= self.axis < len(x):
            raise self.fail(f"axis {self.axis} is missing", "choose an axis that x has", x=x)
        return x

    def forward(self, call: Call, x: Array) -> Array:
        return x.cumsum(axis=self.axis + 1, out=call.out)

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        axis = self.axis + 1
        return np.flip(np.flip(dy, axis).cumsum(axis=axis), axis)


@dataclass(frozen=True)
class SumList(Op):
    """y = sum_k x_k"""

    nary = True
    reads_args = False
    reads_y = False

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, call: Call, x: Array) -> Array:
        return sum_segments(x, segments_of(call))

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        return spread(dy, segments_of(call))


@dataclass(frozen=True)
class MeanList(SumList):
    """y = 1/n sum_{k=1}^n x_k"""

    def forward(self, call: Call, x: Array) -> Array:
        return _per_length(super().forward(call, x), call)

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        return spread(_per_length(dy, call), segments_of(call))


@dataclass(frozen=True)
class MaxList(Op):
    """y = max_k x_k elementwise; the gradient goes to the first k that has it."""

    nary = True

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, call: Call, x: Array) -> Array:
        return max_segments(x, segments_of(call))

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        offsets = segments_of(call)
        dx = np.zeros_like(x)
        np.put_along_axis(dx, winners(x, y, offsets), dy, 0)
        return dx


@dataclass(frozen=True)
class MinList(MaxList):
    """y = min_k x_k elementwise; the gradient goes to the first k that has it."""

    def forward(self, call: Call, x: Array) -> Array:
        return -max_segments(-x, segments_of(call))


class LogsumexpList(MaxList):
    """y = log sum_k exp(x_k) elementwise, dx_k = exp(x_k - y) dy"""

    def forward(self, call: Call, x: Array) -> Array:
        offsets = segments_of(call)
        top = finite(max_segments(x, offsets))
        z = np.subtract(x, spread(top, offsets))
        np.exp(z, out=z)
        return np.log(sum_segments(z, offsets)) + top

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        offsets = segments_of(call)
        dx = exp_difference(x, spread(y, offsets))
        dx *= spread(dy, offsets)
        return dx


def _per_length(y: Array, call: Call) -> Array:
    lengths = np.diff(segments_of(call)).reshape((-1,) + (1,) * (y.ndim - 1))
    return np.divide(y, lengths, dtype=y.dtype)


_SUM_LIST = ready(SumList())
_MEAN_LIST = ready(MeanList())
_MAX_LIST = ready(MaxList())
_MIN_LIST = ready(MinList())
_LOGSUMEXP_LIST = ready(LogsumexpList())


def axes_of(role: str, shape: Shape, axis: Any) -> tuple[int, ...]:
    """The axes that a user named, ascending and counted from the front.

    Raises:
        ArgumentError: If they are no whole numbers.
        ShapeError: If x has no such axis, or one is named twice.
    """
    ndim = len(shape)
    if axis is None:
        return tuple(range(ndim))
    try:
        given = [integer(k) for k in (axis if isinstance(axis, (tuple, list)) else (axis,))]
    except TypeError:
        raise ArgumentError(
            f"{role}: got axis {axis!r}; it must be a whole number, a tuple of them, or None"
        ) from None
    axes = []
    for k in given:
        if not -ndim <= k < ndim:
            raise ShapeError(
                f"{role}: got x {shape} and axis {axis}; x has {ndim} axes (the batch is none of "
                "them); count from 0, or from -1 backwards; the ops named *_batch reduce the batch"
            )
        axes.append(k % ndim)
    if len(set(axes)) < len(axes):
        raise ShapeError(f"{role}: got axis {axis}, with one axis twice; name each once")
    return tuple(sorted(axes))


def axis_of(role: str, shape: Shape, axis: Any) -> int:
    """The one axis that a user named, counted from the front."""
    if isinstance(axis, (tuple, list)) or axis is None:
        raise ArgumentError(f"{role}: got axis {axis!r}; it must be one whole number")
    return axes_of(role, shape, axis)[0]


_INTS = frozenset((int,))


@lru_cache(maxsize=1024)
def _op(op: Any, role: str, shape: Shape, axis: Axes) -> Op:
    """The reduction for this argument, made once: an op looks itself up when it is made.

    The key must hold Python integers only: 0.0 and False would find what 0 has left.
    """
    axes = axes_of(role, shape, axis)
    made: Op = op(axes, tuple([shape[k] for k in axes])) if issubclass(op, Sum) else op(axes)
    return made


def _record(op: Any, role: str, x: Any, axis: Any) -> Expression:
    x = as_expression(x, role)
    if axis is not None and type(axis) is not int:
        plain = type(axis) is tuple and _INTS.issuperset(map(type, axis))
        axis = axis if plain else axes_of(role, x.shape, axis)
    return record(_op(op, role, x.shape, axis), (x,))


def _is_list(x: Any) -> bool:
    return not isinstance(x, (Expression, np.ndarray)) and hasattr(x, "__iter__")


def _reduce(op: Any, list_op: Op, role: str, x: Any, axis: Any) -> Expression:
    if axis is None:
        fast = reduced(list_op, x)
        if fast is not None:
            return fast
    if not _is_list(x):
        return _record(op, role, x, axis)
    if axis is not None:
        raise ArgumentError(
            f"{role}: got a list and axis {axis!r}; a list is reduced elementwise; reduce "
            "ln.stack(xs) to choose an axis"
        )
    return record(list_op, expression_list(x, role))


def sum(x: Expression | Sequence[Any], axis: Axes = None) -> Expression:
    """Sum over axes of the example; of a list, elementwise.

    Args:
        x: Any shape; or a list of expressions (numbers and arrays beside them) of equal shapes,
            of any length. Entries with a batch must agree; those without are added to every row.
        axis: One axis, a tuple, or None for all. Not with a list.

    Returns:
        An expression without those axes; for a list, of the shape of its entries.

    Raises:
        ShapeError: If x has no such axis, or the entries differ in shape.
        ArgumentError: If the list is empty.

    >>> import lazynet as ln
    >>> x = ln.constant([[1, 2], [3, 4]])
    >>> ln.sum(x, axis=0).value().tolist(), ln.sum([x, x]).value().tolist()
    ([4.0, 6.0], [[2.0, 4.0], [6.0, 8.0]])
    """
    return _reduce(Sum, _SUM_LIST, "sum", x, axis)


def mean(x: Expression | Sequence[Any], axis: Axes = None) -> Expression:
    """Mean over axes of the example; of a list, elementwise.

    Args:
        x: Any shape with elements to reduce; or a list of expressions, as in `ln.sum`.
        axis: One axis, a tuple, or None for all. Not with a list.

    Returns:
        An expression without those axes; for a list, of the shape of its entries.

    Raises:
        ShapeError: If x has no such axis or nothing along it, or the entries differ in shape.
        ArgumentError: If the list is empty.

    >>> import lazynet as ln
    >>> ln.mean(ln.constant([1, 2, 6])).value(), ln.mean([ln.constant(1), ln.constant(2)]).value()
    (3.0, 1.5)
    """
    return _reduce(Mean, _MEAN_LIST, "mean", x, axis)


def max(x: Expression | Sequence[Any], axis: Axes = None) -> Expression:
    """Maximum over axes of the example; of a list, elementwise.

    Where several elements are the greatest, the first of them gets the gradient.

    Args:
        x: Any shape with elements to reduce; or a list of expressions, as in `ln.sum`.
        axis: One axis, a tuple, or None for all. Not with a list.

    Returns:
        An expression without those axes; for a list, of the shape of its entries.

    Raises:
        ShapeError: If x has no such axis or nothing along it, or the entries differ in shape.
        ArgumentError: If the list is empty.

    >>> import lazynet as ln
    >>> ln.max(ln.constant([[1, 5], [3, 4]]), axis=1).value().tolist()
    [5.0, 4.0]
    """
    return _reduce(Max, _MAX_LIST, "max", x, axis)


def min(x: Expression | Sequence[Any], axis: Axes = None) -> Expression:
    """Minimum over axes of the example; of a list, elementwise.

    Where several elements are the least, the first of them gets the gradient.

    Args:
        x: Any shape with elements to reduce; or a list of expressions, as in `ln.sum`.
        axis: One axis, a tuple, or None for all. Not with a list.

    Returns:
        An expression without those axes; for a list, of the shape of its entries.

    Raises:
        ShapeError: If x has no such axis or nothing along it, or the entries differ in shape.
        ArgumentError: If the list is empty.

    >>> import lazynet as ln
    >>> ln.min([ln.constant([1, 5]), ln.constant([3, 4])]).value().tolist()
    [1.0, 4.0]
    """
    return _reduce(Min, _MIN_LIST, "min", x, axis)


def argmax(x: Any, axis: int | None = None) -> Expression:
    """Index of the greatest element, the first of several. Not differentiable.

    Args:
        x: Any shape with elements to reduce.
        axis: One axis, or None for all elements in row-major order.

    Returns:
        An int64 expression without that axis.

    Raises:
        ShapeError: If x has no such axis or nothing along it.

    >>> import lazynet as ln
    >>> ln.argmax(ln.constant([3, 7, 1])).item()
    1
    """
    x = as_expression(x, "argmax")
    if axis is not None:
        axis = axis_of("argmax", x.shape, axis)
    return _record(Argmax, "argmax", x, axis)


def logsumexp(x: Any, axis: Axes = None) -> Expression:
    """log sum exp over axes of the example, without overflow; of several expressions, elementwise.

    Args:
        x: Any shape with elements to reduce; or a list of expressions, as in `ln.sum`. (A list of
            numbers is one array.)
        axis: One axis, a tuple, or None for all. Not with a list of expressions.

    Returns:
        An expression without those axes, or of the shape of the entries of the list; -inf where
        all elements are (with gradient 0).

    Raises:
        ShapeError: If x has no such axis or nothing along it, or the entries differ in shape.

    >>> import lazynet as ln
    >>> round(ln.logsumexp(ln.constant([1000.0, 1000.0])).value() - 1000, 3)
    0.693
    """
    if isinstance(x, (list, tuple)) and any(isinstance(entry, Expression) for entry in x):
        return _reduce(Logsumexp, _LOGSUMEXP_LIST, "logsumexp", x, axis)
    return _record(Logsumexp, "logsumexp", x, axis)


def std(x: Any, axis: Axes = None) -> Expression:
    """Standard deviation of the population (divided by n) over axes of the example.

    Args:
        x: Any shape with elements to reduce.
        axis: One axis, a tuple, or None for all.

    Returns:
        An expression without those axes. Its gradient is 0 where it is 0.

    Raises:
        ShapeError: If x has no such axis or nothing along it.

    >>> import lazynet as ln
    >>> ln.std(ln.constant([1, 3])).value()
    1.0
    """
    return _record(Std, "std", x, axis)


def var(x: Any, axis: Axes = None) -> Expression:
    """Variance of the population (divided by n) over axes of the example.

    Args:
        x: Any shape with elements to reduce.
        axis: One axis, a tuple, or None for all.

    Returns:
        An expression without those axes.

    Raises:
        ShapeError: If x has no such axis or nothing along it.

    >>> import lazynet as ln
    >>> ln.var(ln.constant([1, 5])).value()
    4.0
    """
    return _record(Var, "var", x, axis)


def norm(x: Any, axis: Axes = None) -> Expression:
    """Euclidean norm over axes of the example.

    Args:
        x: Any shape.
        axis: One axis, a tuple, or None for all.

    Returns:
        An expression without those axes. Its gradient is 0 where it is 0.

    Raises:
        ShapeError: If x has no such axis.

    >>> import lazynet as ln
    >>> ln.norm(ln.constant([3, 4])).value()
    5.0
    """
    return _record(Norm, "norm", x, axis)


def squared_norm(x: Any, axis: Axes = None) -> Expression:
    """Sum of squares over axes of the example.

    Args:
        x: Any shape.
        axis: One axis, a tuple, or None for all.

    Returns:
        An expression without those axes.

    Raises:
        ShapeError: If x has no such axis.

    >>> import lazynet as ln
    >>> ln.squared_norm(ln.constant([3, 4])).value()
    25.0
    """
    return _record(SquaredNorm, "squared_norm", x, axis)


def cumsum(x: Any, axis: int | None = None) -> Expression:
    """Running sum along one axis of the example.

    Args:
        x: Any shape.
        axis: The axis, or None for all elements in row-major order.

    Returns:
        An expression of the shape of x; for None a vector.

    Raises:
        ShapeError: If x has no such axis.

    >>> import lazynet as ln
    >>> ln.cumsum(ln.constant([1, 2, 3])).value().tolist()
    [1.0, 3.0, 6.0]
    """
    x = as_expression(x, "cumsum")
    if axis is None:
        x = x.reshape(-1)
        axis = 0
    op = Cumsum(axis_of("cumsum", x.shape, axis))
    return record(op, (x,))


HOOKS.sum = sum
HOOKS.mean = mean
HOOKS.max = max

__all__ = [
    "Argmax",
    "Cumsum",
    "Logsumexp",
    "LogsumexpList",
    "Max",
    "MaxList",
    "Mean",
    "MeanList",
    "Min",
    "MinList",
    "Norm",
    "SquaredNorm",
    "Std",
    "Sum",
    "SumList",
    "Var",
    "argmax",
    "cumsum",
    "logsumexp",
    "max",
    "mean",
    "min",
    "norm",
    "squared_norm",
    "std",
    "sum",
    "var",
]
