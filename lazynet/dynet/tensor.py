"""`Tensor`: what `Expression.tensor_value` returns."""

from __future__ import annotations

import numpy as np

from lazynet.kinds import Array


class Tensor:
    """A computed value.

    Attributes:
        rank: Number of its axes before the batch.
    """

    def __init__(self, array: Array, rank: int) -> None:
        self._array = array
        self.rank = rank

    def as_numpy(self) -> Array:
        """The values as an array; the batch is the last axis, if there is one."""
        return np.array(self._array)
