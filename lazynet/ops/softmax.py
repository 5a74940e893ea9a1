"""Maps to the probability simplex along one axis of the example."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lazynet.errors import SettingError
from lazynet.graph import Expression, record
from lazynet.inputs import as_expression
from lazynet.kinds import Array, Call, Op, Shape
from lazynet.ops.numeric import last_max, last_sum
from lazynet.ops.reduce import axis_of


@dataclass(frozen=True)
class Softmax(Op):
    """y_i = exp(x_i) / sum_j exp(x_j), dx_i = y_i (dy_i - sum_j dy_j y_j)"""

    axis: int
    reads_args = False

    def shape(self, x: Shape) -> Shape:
        if not 0 <= self.axis < len(x):
            raise self.fail(f"axis {self.axis} is missing", "choose an axis that x has", x=x)
        if x[self.axis] == 0:
            raise self.fail(f"axis {self.axis} has no elements", "leave such examples out", x=x)
        return x

    def forward(self, call: Call, x: Array) -> Any:
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
        dx = np.multiply(dy, y)
        np.subtract(dy, self.along(last_sum, dx), out=dx)
        dx *= y
        return dx


@dataclass(frozen=True)
class LogSoftmax(Softmax):
    """y_i = x_i - log sum_j exp(x_j), dx_i = dy_i - exp(y_i) sum_j dy_j"""

    def forward(self, call: Call, x: Array) -> Any:
        y = np.subtract(x, self.along(last_max, x), out=call.out)
        y -= np.log(self.along(last_sum, np.exp(y)))
        return y

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        dx = np.exp(y)
        dx *= self.along(last_sum, dy)
        np.subtract(dy, dx, out=dx)
        return dx


@dataclass(frozen=True)
class Sparsemax(Softmax):
    """y = the point of the simplex nearest x; dx_i = dy_i - mean of dy over the support, on it"""

    def forward(self, call: Call, x: Array) -> Any:
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
        support = (y > 0).astype(y.dtype)
        dx = np.multiply(dy, support)
        dx -= support * (self.along(last_sum, dx) / self.along(last_sum, support))
        return dx


@dataclass(frozen=True)
class Hardmax(Softmax):
    """y_i = 1 for the first i with the greatest x_i, else 0; dx = 0, or dy (straight through)"""

    gradient: str

    def forward(self, call: Call, x: Array) -> Any:
        axis = self.axis + 1
        y = call.out
        y[...] = 0
        np.put_along_axis(y, np.expand_dims(x.argmax(axis=axis), axis), 1, axis)
        return y

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        return np.zeros_like(dy) if self.gradient == "zero" else dy


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


__all__ = [
    "Hardmax",
    "LogSoftmax",
    "Softmax",
    "Sparsemax",
    "hardmax",
    "log_softmax",
    "softmax",
    "sparsemax",
]
