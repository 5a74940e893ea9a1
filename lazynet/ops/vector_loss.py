"""Losses whose result is a vector of length 1: that is what DyNet's scalars are.

The losses of `ops.loss` in that form, as one node each, and those that only DyNet has.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from lazynet.backend import beside
from lazynet.backend.kernels import along, empty, same_memory
from lazynet.kinds import Array, Call, Op, Shape
from lazynet.ops import cuda_losses
from lazynet.ops.cuda_formula import compute, compute_all
from lazynet.ops.elementwise import factor
from lazynet.ops.loss import L1, CrossEntropy, Hinge, Huber, SquaredError, _PairLoss
from lazynet.ops.numeric import last_sum

_LEAST = float(np.finfo(np.float32).tiny)
_BELOW_ONE = 2.0**-23
"""What DyNet takes for 0 in logarithms, and for the distance of 1 from 1."""


class _Single(Op):
    """The result has one axis of length 1."""

    def shape(self, *shapes: Shape) -> Shape:
        super().shape(*shapes)
        return (1,)

    def forward(self, call: Call, *args: Array) -> Any:
        y = super().forward(call, *args)
        if type(y) is not np.ndarray and same_memory(y, call.out):
            return call.out
        return y[:, None]

    def backward(self, call: Call, dy: Array, y: Any, *args: Array) -> Any:
        return super().backward(call, dy[:, 0], y, *args)


@dataclass(frozen=True)
class SingleCrossEntropy(_Single, CrossEntropy):
    """y_1 = log sum_j exp(x_j) - x_c"""


@dataclass(frozen=True)
class SingleHinge(_Single, Hinge):
    """y_1 = sum_{j != c} max(0, m - x_c + x_j)"""


@dataclass(frozen=True)
class SingleSquaredError(_Single, SquaredError):
    """y_1 = sum_i (a_i - b_i)^2"""


@dataclass(frozen=True)
class SingleL1(_Single, L1):
    """y_1 = sum_i |a_i - b_i|"""


@dataclass(frozen=True)
class SingleHuber(_Single, Huber):
    """y_1 = sum_i d_i^2 / 2 where |d_i| <= delta, else delta (|d_i| - delta / 2); d = a - b"""


@dataclass(frozen=True)
class BinaryLogLoss(_Single, _PairLoss):
    """y_1 = -sum_i t_i log p_i + (1 - t_i) log(1 - p_i)

    dp = (1 - t) / (1 - p) - t / p, 0 where p = t; dt = log(1 - p) - log p. A term whose factor is 0
    is 0. Where p is 0 or 1 logarithms and quotients are those of the numbers nearest to them, and
    as in DyNet the loss is the greatest there is for all targets between 0 and 1.
    """

    term = (
        f"least = {_LEAST} + 0 * b; edge = where(a == 1, 1 + 0 * b, "
        "where(a >= 0, where(a < least, 1 + 0 * b, 0 * b), 0 * b)); "
        "p = where(a == 1, a, where(edge == 1, least, a)); q = where(a == 1, least, 1 - a); "
        "y = -where(b == 0, 0 * b, b * log(p)) - where(b == 1, 0 * b, (1 - b) * log(q)); "
        "soft = where(b > 0, where(b < 1, edge, 0 * b), 0 * b); "
        "where(soft == 1, -log(least), y)"
    )
    slopes = (
        f"least = {_LEAST} + 0 * b; "
        "p = where(a >= 0, where(a < least, least, a), a); "
        f"q = where(a == 1, {_BELOW_ONE} + 0 * b, 1 - a); "
        "where(a == b, 0 * b, (1 - b) / q - b / p)",
        f"least = {_LEAST} + 0 * b; "
        "p = where(a >= 0, where(a < least, least, a), a); q = where(a == 1, least, 1 - a); "
        "log(q) - log(p)",
    )

    def _logs(self, p: Array) -> tuple[Any, Any]:
        least = p.dtype.type(_LEAST)
        # below the least normal number too; what is no probability at all gives NaN
        a = np.where((p >= 0) & (p < least), least, p)
        b = np.where(p == 1, least, 1 - p)
        return np.log(a), np.log(b)

    def terms(self, call: Call, a: Array, b: Array) -> Any:
        log_p, log_q = self._logs(a)
        zero = a.dtype.type(0)
        y = -np.where(b == 0, zero, b * log_p) - np.where(b == 1, zero, (1 - b) * log_q)
        edge = ((a >= 0) & (a < a.dtype.type(_LEAST))) | (a == 1)
        if edge.any():
            y = np.where(edge & (b > 0) & (b < 1), -np.log(a.dtype.type(_LEAST)), y)
        return y

    def slope(self, call: Call, argument: int, a: Array, b: Array) -> Any:
        if argument == 1:
            log_p, log_q = self._logs(a)
            return log_q - log_p
        least = a.dtype.type(_LEAST)
        p = np.where((a >= 0) & (a < least), least, a)
        q = np.where(a == 1, a.dtype.type(_BELOW_ONE), 1 - a)
        return np.where(a == b, a.dtype.type(0), (1 - b) / q - b / p)


@dataclass(frozen=True)
class PoissonLoss(Op):
    """y_1 = exp(x_1) - k x_1 + log k!, dx_1 = (exp(x_1) - k) dy_1; the count k is the payload"""

    payload = "float"
    reads_y = False

    def shape(self, x: Shape) -> Shape:
        if x != (1,):
            raise self.fail("it takes a vector of length 1", "pick an element, or reshape", x)
        return x

    def forward(self, call: Call, x: Array) -> Any:
        if type(x) is not np.ndarray:
            given = {"x": x, "c": beside(x, call.payload)[:, None]}
            return compute("exp(x) - c * x + lgamma(c + 1)", given, call.out)
        k = call.column(1)
        return np.exp(x) - k * x + import_module("scipy.special").gammaln(k + 1)

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Any:
        if type(x) is not np.ndarray:
            given = {"x": x, "dy": dy, "c": beside(x, call.payload)[:, None]}
            return compute("(exp(x) - c) * dy", given, empty(x.shape, x.dtype))
        return (np.exp(x) - call.column(1)) * dy


@dataclass(frozen=True)
class RankMargin(Op):
    """y = max(0, m - a + b), elementwise, with gradient 0 at the kink; m is the payload"""

    payload = "float"
    reads_args = False

    def shape(self, a: Shape, b: Shape) -> Shape:
        if a != b:
            raise self.fail("both must have the same shape", "reshape one of them", a, b)
        return a

    def forward(self, call: Call, a: Array, b: Array) -> Any:
        if type(a) is not np.ndarray:
            given = {"a": a, "b": b, "c": factor(call, a.ndim - 1, a)}
            return compute("maximum(b - a + c, 0)", given, call.out)
        y = np.subtract(b, a, out=call.out)
        y += call.column(y.ndim - 1)
        return np.maximum(y, 0, out=y)

    def backward(self, call: Call, dy: Array, y: Array, a: Array, b: Array) -> Any:
        if type(dy) is not np.ndarray:
            outs = [empty(dy.shape, dy.dtype) for _ in range(2)]
            formulas = ("where(y > 0, -dy, 0)", "where(y > 0, dy, 0)")
            return tuple(compute_all(formulas, {"y": y, "dy": dy}, outs))
        db = np.where(y > 0, dy, dy.dtype.type(0))
        return -db, db


@dataclass(frozen=True)
class HingeDim(Op):
    """y_k = sum_{j != c_k} max(0, m - x_(c_k) + x_j) of every column k (axis 1: of every row)

    The classes are the payload; gradient 0 at the kinks.
    """

    axis: int
    margin: float
    payload = "ints"
    reads_y = False

    def shape(self, x: Shape) -> Shape:
        if len(x) != 2 or x[self.axis] == 0:
            raise self.fail("it takes a matrix", "reshape it", x)
        return (x[1 - self.axis],)

    def _violations(self, call: Call, x: Array) -> tuple[Any, Array]:
        """m - x_c + x_j with 0 for j = c, as (rows, k, j), and the places of c."""
        z = x.swapaxes(1, 2) if self.axis == 0 else x
        at = call.payload[:, :, None]
        z = z - (np.take_along_axis(z, at, 2) - z.dtype.type(self.margin))
        np.put_along_axis(z, at, 0, 2)
        return z, at

    def forward(self, call: Call, x: Array) -> Array:
        if type(x) is not np.ndarray:
            lines = along(x.shape, self.axis + 1)
            shape = (len(x), x.shape[2 - self.axis])
            return cuda_losses.hinge(call, x, lines, shape, self.margin)
        z, _ = self._violations(call, x)
        return last_sum(np.maximum(z, 0, out=z))

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        if type(x) is not np.ndarray:
            lines = along(x.shape, self.axis + 1)
            return cuda_losses.hinge_back(call, dy, x, lines, self.margin)
        z, at = self._violations(call, x)
        active = (z > 0).astype(x.dtype)
        dx: Array = active * dy[:, :, None]
        np.put_along_axis(dx, at, (-dy * last_sum(active))[:, :, None], 2)
        return dx.swapaxes(1, 2) if self.axis == 0 else dx


__all__ = [
    "BinaryLogLoss",
    "HingeDim",
    "PoissonLoss",
    "RankMargin",
    "SingleCrossEntropy",
    "SingleHinge",
    "SingleHuber",
    "SingleL1",
    "SingleSquaredError",
]
