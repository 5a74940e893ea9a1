"""NumPy versions of the array primitives. Rows are the leading axis throughout."""

from __future__ import annotations

import functools
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


def add_rows(target: Array, index: Array, values: Array) -> None:
    """The same for matrices, with an index that is known to be in range: ten times as fast.

    Args:
        target: ``(rows, width)``.
        index: int64 ``(k,)``, each at least 0 and less than `rows`.
        values: ``(k, width)``.
    """
    product = _sparse_product()
    plain = target.flags.c_contiguous and target.dtype == values.dtype and index.dtype == np.int64
    if product is None or not plain or target.dtype not in _FLOATS:
        scatter_add(target, index, values)
        return
    count, width = values.shape
    global _picking
    entries = _picking
    if count > len(entries[0]):
        size = 2 * count
        entries = _picking = (*[np.ones(size, t) for t in _FLOATS], np.arange(size, dtype=np.int64))
    ones = entries[_FLOATS.index(target.dtype)]
    columns = entries[2]
    product(count, width, index, columns, ones, values.ravel(), target.reshape(-1))


_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_picking: tuple[Array, ...] = (
    np.ones(0, np.float32),
    np.ones(0, np.float64),
    np.arange(0, dtype=np.int64),
)
"""Entries, and columns, of a matrix that picks rows; as long as was needed so far.

Threads replace all of it at once: each goes on with the one that it has seen to be long enough.
"""


@functools.cache
def _sparse_product() -> Any:
    """SciPy's product of a sparse matrix, given by its entries, that adds to the result in place.

    The public product allocates a result of all rows of the target. None where this one is gone,
    or does something else.
    """
    try:
        from scipy.sparse._sparsetools import coo_matmat_dense

        result = np.ones(4, np.float32)
        entries = np.ones(2, np.float32)
        places = np.array([1, 1]), np.array([0, 1])
        coo_matmat_dense(2, 2, *places, entries, np.array([1, 2, 3, 4], np.float32), result)
        return coo_matmat_dense if result.tolist() == [1, 1, 5, 7] else None
    except (ImportError, TypeError, ValueError):
        return None


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
