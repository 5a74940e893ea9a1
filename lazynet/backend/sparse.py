"""Gradients of which only some rows are filled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class SparseRows:
    """The gradient of a table of which only some rows were read.

    Attributes:
        rows: int64 ``(k,)``: which rows of the table; a row may occur more than once.
        values: ``(k, width)``: their gradients, flattened; those of a repeated row add up.
        rest: A dense gradient of the same table to be added, or None.
    """

    __slots__ = ("rest", "rows", "values")
    __array_ufunc__ = None

    def __init__(
        self, rows: NDArray[Any], values: NDArray[Any], rest: NDArray[Any] | None = None
    ) -> None:
        self.rows = rows
        self.values = values
        self.rest = rest

    def __add__(self, other: Any) -> SparseRows:
        if isinstance(other, SparseRows):
            rest = self.rest
            if other.rest is not None:
                rest = other.rest if rest is None else rest + other.rest
            return SparseRows(
                np.concatenate([self.rows, other.rows]),
                np.concatenate([self.values, other.values]),
                rest,
            )
        return SparseRows(self.rows, self.values, other if self.rest is None else self.rest + other)

    __radd__ = __add__

    def dense(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """The gradient of the whole table."""
        result = np.zeros((shape[0], self.values.shape[1]), self.values.dtype)
        np.add.at(result, self.rows, self.values)
        if self.rest is not None:
            result += self.rest.reshape(result.shape)
        return result.reshape(shape)
