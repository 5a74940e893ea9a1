"""`Tensor`: what `Expression.tensor_value` returns."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.dynet.arguments import natural
from lazynet.kinds import Array
from lazynet.randomness import gumbel, next_key

_MOST_DIMENSIONS = 7


class Tensor:
    """A computed value: numbers, or the indices that `argmax` and the like found.

    Attributes:
        rank: Number of its axes before the batch.
    """

    def __init__(self, array: Array, rank: int) -> None:
        self._array = array
        self.rank = rank

    def as_numpy(self) -> Array:
        """The values as an array; the batch is the last axis, if there is one."""
        return np.array(self._array)

    def argmax(self, dim: int = 0, num: int = 1) -> Tensor:
        """Indices of the greatest numbers along a dimension.

        Args:
            dim: The dimension.
            num: How many, from the greatest down; the first of equal ones comes first.

        Returns:
            Their indices; that dimension has length `num`.

        Raises:
            ValueError: If there is no such dimension, or it has not as many entries.
            OverflowError: If a number is negative.
        """
        return self._greatest("argmax", dim, num)[1]

    def topk(self, dim: int = 0, num: int = 1) -> tuple[Tensor, Tensor]:
        """The greatest numbers along a dimension, and their indices.

        Args:
            dim: The dimension.
            num: How many, from the greatest down; the first of equal ones comes first.

        Returns:
            The numbers and their indices; that dimension has length `num`.

        Raises:
            ValueError: If there is no such dimension, or it has not as many entries.
            OverflowError: If a number is negative.
        """
        return self._greatest("topk", dim, num)

    def categorical_sample_log_prob(self, dim: int = 0, num: int = 1) -> Tensor:
        """Draws from the distribution whose logarithms lie along a dimension.

        Args:
            dim: The dimension.
            num: How many draws, independent of one another.

        Returns:
            Indices along that dimension, which has length `num`.

        Raises:
            ValueError: If there is no such dimension, or `num` is 0.
            OverflowError: If a number is negative.
        """
        array, axis, count = self._along("categorical_sample_log_prob", dim, num)
        # the greatest of log p_i + g_i, g standard Gumbel, is i with probability p_i
        draws = []
        for key in [next_key() for _ in range(count)]:
            noise = gumbel(np.array([key], np.uint64), array.size, np.float64)
            draws.append(np.argmax(array + noise.reshape(array.shape), axis))
        return self._indices(np.stack(draws, axis), axis)

    def _along(self, name: str, dim: Any, num: Any) -> tuple[Array, int, int]:
        """The array, with a further axis if it lacks this one, and the checked numbers."""
        axis = natural(dim, name, "dimension")
        count = natural(num, name, "number of results")
        array = self._array
        if axis >= _MOST_DIMENSIONS:
            raise ValueError(
                f"Tensor.{name}: got dimension {axis}; there are at most {_MOST_DIMENSIONS}"
            )
        if axis >= self.rank:  # one of length 1, as all that are not written
            array, axis = np.expand_dims(array, self.rank), self.rank
        if count < 1 or array.shape[axis] < 1:
            raise ValueError(
                f"Tensor.{name}: got {count} results asked of {array.shape[axis]} entries; both "
                "must be at least 1"
            )
        return array, axis, count

    def _greatest(self, name: str, dim: Any, num: Any) -> tuple[Tensor, Tensor]:
        array, axis, count = self._along(name, dim, num)
        if count > array.shape[axis]:
            raise ValueError(
                f"Tensor.{name}: got {count} results asked of {array.shape[axis]} entries along "
                f"dimension {dim}; there are not as many"
            )
        if count == 1:
            at = np.expand_dims(np.argmax(array, axis), axis)
        else:
            at = np.argsort(-array, axis, kind="stable").take(range(count), axis)
        values = np.take_along_axis(array, at, axis)
        return self._indices(values, axis), self._indices(at, axis)

    def _indices(self, found: Array, axis: int) -> Tensor:
        """A result; an axis that was only added goes again if it has one entry."""
        if axis == self.rank and found.shape[axis] == 1:
            return Tensor(found.squeeze(axis), self.rank)
        return Tensor(found, max(self.rank, axis + 1))

    def __str__(self) -> str:
        return f"<Dynet Tensor:{'float' if self._array.dtype.kind == 'f' else 'int'}>"
