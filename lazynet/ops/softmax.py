"""Maps to the probability simplex along one axis of the example."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from lazynet.backend import beside
from lazynet.backend.kernels import LineKernel, along, contiguous, empty, into
from lazynet.errors import SettingError, ShapeError
from lazynet.graph import Expression, record
from lazynet.inputs import as_expression
from lazynet.kinds import INT64, Array, Call, Op, Shape
from lazynet.ops import cuda_lines
from lazynet.ops.index import all_in_range
from lazynet.ops.numeric import last_max, last_sum
from lazynet.ops.reduce import axis_of


@dataclass(frozen=True)
class Softmax(Op):
    """y_i = exp(x_i) / sum_j exp(x_j), dx_i = y_i (dy_i - sum_j dy_j y_j)"""

    axis: int
    reads_args = False
    kernel: ClassVar[LineKernel] = cuda_lines.SOFTMAX
    kernel_back: ClassVar[LineKernel] = cuda_lines.SOFTMAX_BACK

    def shape(self, x: Shape) -> Shape:
        if not 0 <= self.axis < len(x):
            raise self.fail(f"axis {self.axis} is missing", "choose an axis that x has", x=x)
        if x[self.axis] == 0:
            raise self.fail(f"axis {self.axis} has no elements", "leave such examples out", x=x)
        return x

    def on_device(self, call: Call, x: Array) -> Array:
        """The result on a GPU."""
        return cuda_lines.mapped(self.kernel, along(x.shape, self.axis + 1), call.out, x)

    def back_on_device(self, dy: Array, y: Array) -> Array:
        """The gradient on a GPU."""
        lines = along(dy.shape, self.axis + 1)
        return cuda_lines.gradient(self.kernel_back, lines, dy.shape, (y, dy))

    def forward(self, call: Call, x: Array) -> Any:
        if type(x) is not np.ndarray:
            return self.on_device(call, x)
        y = np.subtract(x, self.along(last_max, x), out=call.out)
        np.exp(y, out=y)
        y /= self.along(last_sum, y)
        return y

    def along(self, reduce: Any, x: Array) -> Array:
        """A reduction over the axis, which stays as one of length 1."""
        axis = self.axis + 1
        if axis == x.ndim - 1:
            return reduce(x)[..., None]  # type: ignore[no-any-return]
        return np.expand_dims(reduce(np.moveaxis(x, axis, -1)), axis)

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        if type(dy) is not np.ndarray:
            return self.back_on_device(dy, y)
        dx = np.multiply(dy, y)
        np.subtract(dy, self.along(last_sum, dx), out=dx)
        dx *= y
        return dx


@dataclass(frozen=True)
class LogSoftmax(Softmax):
    """y_i = x_i - log sum_j exp(x_j), dx_i = dy_i - exp(y_i) sum_j dy_j"""

    kernel = cuda_lines.LOG_SOFTMAX
    kernel_back = cuda_lines.LOG_SOFTMAX_BACK

    def forward(self, call: Call, x: Array) -> Any:
        if type(x) is not np.ndarray:
            return self.on_device(call, x)
        y = np.subtract(x, self.along(last_max, x), out=call.out)
        y -= np.log(self.along(last_sum, np.exp(y)))
        return y

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        if type(dy) is not np.ndarray:
            return self.back_on_device(dy, y)
        dx = np.exp(y)
        dx *= self.along(last_sum, dy)
        np.subtract(dy, dx, out=dx)
        return dx


@dataclass(frozen=True)
class Sparsemax(Softmax):
    """y = the point of the simplex nearest x; dx_i = dy_i - mean of dy over the support, on it"""

    kernel = cuda_lines.SPARSEMAX
    kernel_back = cuda_lines.SPARSEMAX_BACK

    def forward(self, call: Call, x: Array) -> Any:
        if type(x) is not np.ndarray:
            return self.on_device(call, x)
        axis = self.axis + 1
        # the threshold tau: k is the largest with 1 + k x_(k) > x_(1) + ... + x_(k), for the
        # entries in descending order, and tau = (x_(1) + ... + x_(k) - 1) / k
        centred = np.subtract(x, self.along(last_max, x))
        descending = -np.sort(-centred, axis=axis)
        n = x.shape[axis]
        k = np.arange(1, n + 1, dtype=x.dtype).reshape((n,) + (1,) * (x.ndim - 1 - axis))
        sums = np.cumsum(descending, axis=axis) - 1
        last = np.count_nonzero(k * descending > sums, axis=axis, keepdims=True) - 1
        tau = np.take_along_axis(sums, np.maximum(last, 0), axis) / (last + 1).astype(x.dtype)
        return np.maximum(centred - tau, 0, out=call.out)

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Any:
        if type(dy) is not np.ndarray:
            return self.back_on_device(dy, y)
        support = (y > 0).astype(y.dtype)
        dx = np.multiply(dy, support)
        dx -= support * (self.along(last_sum, dx) / self.along(last_sum, support))
        return dx


@dataclass(frozen=True)
class Hardmax(Softmax):
    """y_i = 1 for the first i with the greatest x_i, else 0; dx = 0, or dy (straight through)"""

    gradient: str

    def forward(self, call: Call, x: Array) -> Any:
        if type(x) is not np.ndarray:
            y = into(call.out, x.shape, x.dtype)
            lines = along(x.shape, self.axis + 1)
            cuda_lines.HARDMAX(lines, x.dtype, contiguous(x), y, 1.0)
            return y
        axis = self.axis + 1
        y = call.out
        y[...] = 0
        np.put_along_axis(y, np.expand_dims(x.argmax(axis=axis), axis), 1, axis)
        return y

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        return np.zeros_like(dy) if self.gradient == "zero" else dy


@dataclass(frozen=True)
class RestrictedLogSoftmax(Op):
    """y_i = x_i - log sum_(j allowed) exp(x_j) where i is allowed, else -infinity

    dx_i = dy_i - exp(y_i) sum_(j allowed) dy_j there, else 0. The payload is 1 for every allowed
    entry of the vector and 0 for the others, so that all restrictions are of one kind.
    """

    payload = "ints"
    reads_args = False
    infinite = True

    def shape(self, x: Shape) -> Shape:
        if len(x) != 1 or x[0] == 0:
            raise self.fail("it takes a vector", "reshape it, or take each column", x=x)
        return x

    def forward(self, call: Call, x: Array) -> Any:
        if type(x) is not np.ndarray:
            allowed = beside(x, call.payload)
            lines = along(x.shape, 1)
            return cuda_lines.mapped(cuda_lines.RESTRICTED, lines, call.out, x, allowed)
        y = np.where(call.payload != 0, x, x.dtype.type(-np.inf))
        y -= last_max(y)[..., None]
        y -= np.log(last_sum(np.exp(y)))[..., None]
        return y

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        if type(dy) is not np.ndarray:
            given = (y, beside(dy, call.payload), dy)
            lines = along(dy.shape, 1)
            return cuda_lines.gradient(cuda_lines.RESTRICTED_BACK, lines, dy.shape, given)
        allowed = np.where(call.payload != 0, dy, dy.dtype.type(0))
        allowed -= np.exp(y) * last_sum(allowed)[..., None]
        return allowed


@dataclass(frozen=True)
class ConstrainedSoftmax(Op):
    """y_i = min(u_i, exp(x_i) (1 - sum of the bounds met) / sum_(j free) exp(x_j))

    Of the free entries, dx_i = y_i (dy_i - m) with their mean m = sum y_i dy_i / sum y_i; where the
    bound is met, du_i = dy_i - m.
    """

    reads_args = False

    def shape(self, x: Shape, u: Shape) -> Shape:
        if len(x) != 1 or x != u or x[0] == 0:
            raise self.fail(
                "scores and bounds must be vectors of one length", "reshape them", x=x, u=u
            )
        return x

    def _free(self, x: Array, u: Array) -> Any:
        """Which entries are below their bound, their share of 1, and the log of their sum."""
        # Greatest ratio of exp(x) to the bound first: if an entry stays below its bound, so do all
        # after it. The number of those that do not is found by trying all prefixes at once.
        order = np.argsort(np.log(np.maximum(u, 0)) - x, axis=-1, kind="stable")
        ordered = np.take_along_axis(x, order, -1)
        bounds = np.take_along_axis(u, order, -1)
        share = 1 - (np.cumsum(bounds, axis=-1) - bounds)
        share = np.maximum(share, 0).astype(x.dtype)
        log_sums = np.logaddexp.accumulate(ordered[..., ::-1], axis=-1)[..., ::-1]
        met = np.exp(ordered - log_sums) * share > bounds
        n = x.shape[-1]
        count = np.where(met.all(-1), n, np.argmin(met, axis=-1))[..., None]
        free = np.empty(x.shape, bool)
        np.put_along_axis(free, order, np.arange(n) >= count, -1)
        last = np.minimum(count, n - 1)
        return free, np.take_along_axis(share, last, -1), np.take_along_axis(log_sums, last, -1)

    def forward(self, call: Call, x: Array, u: Array) -> Any:
        if type(x) is not np.ndarray:
            call.keep = empty(x.shape, np.bool_)
            y = into(call.out, x.shape, x.dtype)
            given = (contiguous(x), contiguous(u), call.keep)
            cuda_lines.CONSTRAINED(along(x.shape, 1), x.dtype, *given, y)
            return y
        free, share, log_sum = self._free(x, u)
        call.keep = free
        return np.where(free, np.exp(x - log_sum) * share, u)

    def backward(self, call: Call, dy: Array, y: Array, x: Array, u: Array) -> Any:
        free = call.keep
        if type(dy) is not np.ndarray:
            du = empty(dy.shape, dy.dtype)
            given = (contiguous(y), free, contiguous(dy))
            dx = empty(dy.shape, dy.dtype)
            cuda_lines.CONSTRAINED_BACK(along(dy.shape, 1), dy.dtype, *given, dx, du)
            return dx, du
        inside = np.where(free, y, y.dtype.type(0))
        total = last_sum(inside)
        mean = last_sum(inside * dy) / np.where(total == 0, y.dtype.type(1), total)
        rest = dy - mean[..., None]
        return inside * rest, np.where(free, y.dtype.type(0), rest)


_RESTRICTED = RestrictedLogSoftmax()
_CONSTRAINED = ConstrainedSoftmax()


@lru_cache(maxsize=1024, typed=True)
def _op(op: Any, role: str, shape: Shape, axis: Any) -> Op:
    made: Op = op(axis_of(role, shape, axis))
    return made


def _record(op: Any, role: str, x: Any, axis: Any) -> Expression:
    x = as_expression(x, role)
    if not isinstance(axis, int):
        axis = axis_of(role, x.shape, axis)
    return record(_op(op, role, x.shape, axis), (x,))


def softmax(x: Any, axis: int = -1) -> Expression:
    """Exponentials along one axis of the example, divided by their sum.

    Args:
        x: Logits in nats, any shape with that axis.
        axis: The axis along which the result adds up to 1.

    Returns:
        An expression of the shape of x.

    Raises:
        ShapeError: If x has no such axis or nothing along it.

    >>> import lazynet as ln
    >>> ln.softmax(ln.constant([0.0, 0.0])).value().tolist()
    [0.5, 0.5]
    """
    return _record(Softmax, "softmax", x, axis)


def log_softmax(x: Any, axis: int = -1) -> Expression:
    """Logarithm of the softmax along one axis of the example, in nats, without overflow.

    Args:
        x: Logits in nats, any shape with that axis.
        axis: The axis along which the exponentials of the result add up to 1.

    Returns:
        An expression of the shape of x.

    Raises:
        ShapeError: If x has no such axis or nothing along it.

    >>> import lazynet as ln
    >>> ln.log_softmax(ln.constant([5.0])).value().tolist()
    [0.0]
    """
    return _record(LogSoftmax, "log_softmax", x, axis)


def sparsemax(x: Any, axis: int = -1) -> Expression:
    """The probabilities nearest to x in Euclidean distance along one axis: many are exactly 0.

    Where an entry is just at the edge of the support, it counts as outside for the gradient.

    Args:
        x: Scores, any shape with that axis.
        axis: The axis along which the result adds up to 1.

    Returns:
        An expression of the shape of x.

    Raises:
        ShapeError: If x has no such axis or nothing along it.

    Source: A. F. T. Martins, R. F. Astudillo, "From softmax to sparsemax", 2016.

    >>> import lazynet as ln
    >>> ln.sparsemax(ln.constant([2.0, 1.5, -1.0])).value().tolist()
    [0.75, 0.25, 0.0]
    """
    return _record(Sparsemax, "sparsemax", x, axis)


def hardmax(x: Any, axis: int = -1, gradient: str = "zero") -> Expression:
    """1 at the greatest entry along one axis of the example, the first of several, and 0 elsewhere.

    Args:
        x: Scores, any shape with that axis.
        axis: The axis along which the result adds up to 1.
        gradient: "zero", the true one, or "straight_through", which passes the gradient on as if
            this were the identity.

    Returns:
        An expression of the shape of x.

    Raises:
        ShapeError: If x has no such axis or nothing along it.
        SettingError: If `gradient` is neither.

    Source: Bengio et al., Estimating or propagating gradients through stochastic neurons, 2013
        (straight-through).

    >>> import lazynet as ln
    >>> ln.hardmax(ln.constant([2.0, 5.0, 5.0])).value().tolist()
    [0.0, 1.0, 0.0]
    """
    if gradient not in ("zero", "straight_through"):
        raise SettingError(
            f"hardmax: got gradient={gradient!r}; it must be 'zero' or 'straight_through'"
        )
    x = as_expression(x, "hardmax")
    return record(Hardmax(axis_of("hardmax", x.shape, axis), gradient), (x,))


def restricted_log_softmax(x: Any, allowed: Any) -> Expression:
    """Logarithm of the softmax over some entries of a vector; the others are minus infinity.

    Args:
        x: Logits in nats, shape (n,).
        allowed: Numbers of the entries that take part, at least one; negative ones count from the
            end. Different choices are one batch.

    Returns:
        An expression of the shape of x.

    Raises:
        ShapeError: If x is no vector, or no entry is allowed.
        RangeError: If there is no such entry.

    >>> import lazynet as ln
    >>> ln.restricted_log_softmax(ln.constant([1.0, 0.0, 2.0]), [1]).value().tolist()
    [-inf, 0.0, -inf]
    """
    e = as_expression(x, "restricted_log_softmax")
    _RESTRICTED.shape(e.shape)
    mask = np.zeros(e.shape, INT64)
    mask[all_in_range(allowed, len(mask), "restricted_log_softmax")] = 1
    if not mask.any():
        raise ShapeError(
            "restricted_log_softmax: no entry is allowed, so there is nothing to normalise; name "
            "at least one"
        )
    return record(_RESTRICTED, (e,), mask)


def constrained_softmax(x: Any, bounds: Any) -> Expression:
    """A softmax whose entries do not exceed given bounds.

    What exceeds its bound is set to it, and the others share the rest as a softmax does. Bounds
    that add up to less than 1 are all met.

    Args:
        x: Logits in nats, shape (n,).
        bounds: The greatest value of each entry, shape (n,), 0 or more.

    Returns:
        An expression of the shape of x.

    Raises:
        ShapeError: If they are no vectors of one length.

    Source: A. F. T. Martins, J. Kreutzer, "Learning what's easy: fully differentiable neural
    easy-first taggers", 2017.

    >>> import lazynet as ln
    >>> ln.constrained_softmax(ln.constant([0.0, 0.0, 0.0]), [1.0, 0.5, 0.25]).value().tolist()
    [0.375, 0.375, 0.25]
    """
    return record(_CONSTRAINED, (x, bounds))


__all__ = [
    "ConstrainedSoftmax",
    "Hardmax",
    "LogSoftmax",
    "RestrictedLogSoftmax",
    "Softmax",
    "Sparsemax",
    "constrained_softmax",
    "hardmax",
    "log_softmax",
    "restricted_log_softmax",
    "softmax",
    "sparsemax",
]
