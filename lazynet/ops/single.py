"""Reductions of all elements of an example to one, as a vector of length 1.

`ln.sum` and its kin make scalars, of shape ``()``. Where numbers are vectors of one element, as in
DyNet, a `reshape` would have to follow each of them: these do both in one node.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from lazynet.backend.kernels import same_memory
from lazynet.graph import Expression, unary
from lazynet.kinds import Array, Call, Op, Shape
from lazynet.ops.elementwise import ready
from lazynet.ops.reduce import (
    Logsumexp,
    Max,
    Mean,
    Min,
    Norm,
    SquaredNorm,
    Std,
    Sum,
    _Reduction,
)


class _Single(_Reduction):
    """Before a reduction in the list of bases: its scalar as a vector of length 1."""

    def shape(self, x: Shape) -> Shape:
        super().shape(x)
        return (1,)

    def forward(self, call: Call, *args: Array) -> Array:
        y = super().forward(call, *args)
        if type(y) is not np.ndarray and same_memory(y, call.out):
            return call.out  # type: ignore[no-any-return]
        return np.reshape(y, (-1, 1))

    def backward(self, call: Call, dy: Array, y: Array, *args: Array) -> Array:
        y = y if y is None else y.reshape(-1)
        dx: Array = super().backward(call, dy.reshape(-1), y, *args)
        return dx


class SingleSum(_Single, Sum):
    """y = (sum_i x_i)"""


class SingleMean(_Single, Mean):
    """y = (1/n sum_i x_i)"""


class SingleMax(_Single, Max):
    """y = (max_i x_i); the gradient goes to the first i that has it."""


class SingleMin(_Single, Min):
    """y = (min_i x_i); the gradient goes to the first i that has it."""


class SingleLogsumexp(_Single, Logsumexp):
    """y = (log sum_i exp(x_i)), dx_i = exp(x_i - y) dy"""


class SingleStd(_Single, Std):
    """y = (sqrt(1/n sum_i (x_i - mean)^2)), dx_i = (x_i - mean) / (n y) dy, 0 for y = 0"""


class SingleSquaredNorm(_Single, SquaredNorm):
    """y = (sum_i x_i^2), dx_i = 2 x_i dy"""


class SingleNorm(_Single, Norm):
    """y = (sqrt(sum_i x_i^2)), dx_i = x_i / y dy, 0 for y = 0"""


@lru_cache(maxsize=1024)
def single_op(kind: Any, shape: Shape) -> Op:
    """The op of one of the classes of this module for examples of this shape."""
    axes = tuple(range(len(shape)))
    made: Op = kind(axes, shape) if issubclass(kind, Sum) else kind(axes)
    return ready(made)


def single(kind: Any, x: Expression) -> Expression:
    """Reduce all elements of each example.

    Args:
        kind: One of the classes of this module.
        x: Any shape.

    Returns:
        An expression of shape ``(1,)``.

    Raises:
        ShapeError: If there is nothing to reduce, where that has no result.
    """
    return unary(single_op(kind, x.shape), x)


__all__ = [
    "SingleLogsumexp",
    "SingleMax",
    "SingleMean",
    "SingleMin",
    "SingleNorm",
    "SingleSquaredNorm",
    "SingleStd",
    "SingleSum",
    "single",
    "single_op",
]
