"""NumPy versions of the array primitives. Rows are the leading axis throughout."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazynet.backend.sparse import coalesce

Array = NDArray[Any]


def take_rows(source: Array, index: Array, out: Array | None = None) -> Array:
    """Rows `index` of a 2-D array, as a new contiguous array, or in `out`.

    The index is known to be in range: mode="clip" saves NumPy the check and a buffer.
    """
    if out is None:
        out = np.empty((len(index), source.shape[1]), source.dtype)
    source.take(index, 0, out, "clip")
    return out


def scatter_add(target: Array, index: Array, values: Array) -> None:
    """``target[index[k]] += values[k]`` for every k, repeated rows included."""
    rows, sums = coalesce(index, values)
    target[rows] += sums


def segment_ids(offsets: Array) -> Array:
    """For every row the number of the segment it lies in; `offsets` has segments + 1 entries."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _reduce(ufunc: Any, values: Array, offsets: Array, empty: float) -> Array:
    lengths = np.diff(offsets)
    if len(lengths) and lengths.min() > 0:
        return ufunc.reduceat(values, offsets[:-1], axis=0)  # type: ignore[no-any-return]
    # reduceat takes an empty segment for one of length one
    result = np.full((len(lengths), *values.shape[1:]), empty, values.dtype)
    filled = lengths > 0
    if filled.any():
        result[filled] = ufunc.reduceat(values, offsets[:-1][filled], axis=0)
    return result


def segment_sum(values: Array, offsets: Array) -> Array:
    """Sum of the rows of each segment, ``(segments, ...)``; zero for an empty one."""
    return _reduce(np.add, values, offsets, 0)


def segment_max(values: Array, offsets: Array) -> Array:
    """Maximum of the rows of each segment, ``(segments, ...)``; -inf for an empty one."""
    return _reduce(np.maximum, values, offsets, -np.inf)
