"""Reshaping in column-major order, in which the first axis runs fastest and the batch slowest.

The order of Fortran, of MATLAB and of DyNet. Elements may move between the example and the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from lazynet.errors import ShapeError
from lazynet.graph import Expression, record, unary
from lazynet.inputs import as_expression
from lazynet.kinds import Array, Call, Op, Shape
from lazynet.ops.elementwise import ready
from lazynet.ops.index import blocks
from lazynet.ops.shape import Rearrangement, Reshape, whole_number


def _reversed(x: Array) -> Array:
    """The axes of every example in reverse order."""
    return x.transpose(0, *range(x.ndim - 1, 0, -1))


@dataclass(frozen=True)
class ReshapeColumns(Rearrangement):
    """The same elements in another shape, both read with the first axis fastest."""

    source: Shape
    target: Shape

    def shape(self, x: Shape) -> Shape:
        return self.target

    def forward(self, call: Call, x: Array) -> Array:
        return _reversed(_reversed(x).reshape(len(x), *self.target[::-1]))

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        return _reversed(_reversed(dy).reshape(len(dy), *self.source[::-1]))


@dataclass(frozen=True)
class JoinRows(Rearrangement):
    """The elements of all rows of a batch as one row, the first axis fastest, the batch slowest."""

    source: Shape
    count: int
    target: Shape
    segmented = True

    def batch(self, x: int) -> int:
        return -1

    def shape(self, x: Shape) -> Shape:
        return self.target

    def forward(self, call: Call, x: Array) -> Array:
        nodes = len(x) // self.count
        return _reversed(_reversed(x).reshape(nodes, *self.target[::-1]))

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        rows = len(dy) * self.count
        return _reversed(_reversed(dy).reshape(rows, *self.source[::-1]))


@lru_cache(maxsize=4096)
def reshape_op(source: Shape, target: Shape) -> Op:
    """The op for one row; where only axes of length 1 come or go, the order does not matter."""
    if [n for n in source if n != 1] == [n for n in target if n != 1]:
        return ready(Reshape(source, target))
    return ready(ReshapeColumns(source, target))


def reshape_columns(x: Any, shape: Sequence[int], batch: int | None = None) -> Expression:
    """Another shape with the same elements, read with the first axis fastest and the batch slowest.

    Args:
        x: Any shape.
        shape: Shape of one example of the result.
        batch: Number of examples of the result, 1 or more; None for as many as x has. A single
            example comes without a batch axis.

    Returns:
        An expression of that shape.

    Raises:
        ShapeError: If the number of elements differs.

    >>> import lazynet as ln
    >>> ln.reshape_columns(ln.constant([[1, 2], [3, 4]]), (4,)).value().tolist()
    [1.0, 3.0, 2.0, 4.0]
    """
    e = as_expression(x, "reshape_columns")
    target = tuple([whole_number(n, "reshape_columns: shape") for n in shape])
    if batch is None:
        if prod(target) != e.size:
            raise ShapeError(
                f"reshape_columns: got {e.shape} and the target {target}; both must have the same "
                "number of elements; for another batch name its size"
            )
        return e if target == e.shape else unary(reshape_op(e.shape, target), e)
    own = e.batch
    rows = 1 if own is None else own
    if batch < 1 or prod(target) * batch != e.size * rows:
        raise ShapeError(
            f"reshape_columns: got {e.shape} with {rows} rows and the target {target} with {batch} "
            "rows; both must have the same number of elements, and a batch at least one row"
        )
    if batch == rows and (own is None) == (batch == 1):
        return reshape_columns(e, target)
    if batch == 1:
        return record(JoinRows(e.shape, rows, target), (e,))
    total = (e.size * rows,)
    if own is not None:
        e = record(JoinRows(e.shape, rows, total), (e,))
    elif e.shape != total:
        e = unary(reshape_op(e.shape, total), e)
    e = blocks(e, np.arange(batch), prod(target))
    return e if len(target) == 1 else unary(reshape_op(e.shape, target), e)


__all__ = ["reshape_columns", "reshape_op"]
