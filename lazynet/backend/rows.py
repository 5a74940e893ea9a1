"""Gathers, scatters and segment reductions, on whatever device the rows lie.

Index arrays, payloads and segments stay on the host, where the schedule made them and where they
can be checked. The functions here find their copies on the GPU (`cuda.Mirror`).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lazynet.backend import host
from lazynet.backend.devices import gpu_in_use
from lazynet.backend.host import segment_ids

Array: TypeAlias = NDArray[Any]
"""An array of NumPy or, where it comes from a GPU, of CuPy."""


def _cuda() -> Any:
    from lazynet.backend import cuda

    return cuda


def beside(like: Array, array: Array) -> Array:
    """A host array, or its copy on the GPU if `like` lies there."""
    if type(like) is np.ndarray:
        return array
    found: Array = _cuda().on_device(array)
    return found


def part(array: Array, start: int, stop: int) -> Array:
    """Rows of a host array; their copy on the GPU is a part of that of the array."""
    if not gpu_in_use():
        return array[start:stop]
    found: Array = _cuda().part(array, start, stop)
    return found


def take_rows(source: Array, index: Array, out: Array | None = None) -> Array:
    """Rows `index` of a 2-D array, as a new contiguous array, or in `out`."""
    if type(source) is np.ndarray:
        return host.take_rows(source, index, out)
    found: Array = _cuda().take_rows(source, index, out)
    return found


def take_rows_as(
    dtype: np.dtype[Any], source: Array, index: Array, out: Array | None = None
) -> Array:
    """Rows `index` of a 2-D array in another dtype, as a new contiguous array, or in `out`."""
    if type(source) is np.ndarray:
        taken = source.take(index, 0, None, "clip")
        if out is None:
            return taken.astype(dtype)
        out[...] = taken
        return out
    if out is None:
        out = _cuda().empty((len(index), source.shape[1]), dtype)
    found: Array = _cuda().take_rows(source, index, out)
    return found


def fill(target: Array, given: Any) -> None:
    """Write numbers into a flat array: those of one array, or of several behind one another."""
    if isinstance(given, list):
        join(given, target)
    else:
        target[...] = beside(target, given)


def join(arrays: list[Array], out: Array) -> None:
    """Write the elements of arrays into a flat one, behind one another."""
    if type(out) is np.ndarray:
        np.concatenate(arrays, axis=None, out=out)
    else:
        _cuda().join(arrays, out)


def put_rows(target: Array, index: Array, values: Any) -> None:
    """``target[index[k]] = values[k]``, for a 2-D array."""
    if type(target) is np.ndarray:
        target[index] = values
    else:
        _cuda().put_rows(target, index, values)


def add_rows(target: Array, index: Array, values: Array) -> None:
    """``target[index[k]] += values[k]`` for every k, of a matrix; all are known to be in range."""
    if type(target) is np.ndarray:
        host.add_rows(target, index, values)
    else:
        _cuda().scatter_add(target, index, values)


def scatter_add(target: Array, index: Array, values: Array) -> None:
    """``target[index[k]] += values[k]`` for every k, repeated rows included."""
    if type(target) is np.ndarray:
        host.scatter_add(target, index, values)
    else:
        _cuda().scatter_add(target, index, values)


def pick_rows(array: Array, index: Array) -> Array:
    """``array[index]`` along the first of any number of axes."""
    if type(array) is np.ndarray:
        found: Array = array[index]
    else:
        width = int(np.prod(array.shape[1:]))
        found = _cuda().take_rows(array.reshape(len(array), width), index)
        found = found.reshape((len(index), *array.shape[1:]))
    return found


def norms(arrays: list[Array]) -> list[float]:
    """Euclidean norms of arrays on one GPU, which is waited for once.

    Each is infinite or NaN exactly where an element is, or where the norm overflows.
    """
    found: list[float] = _cuda().norms(arrays)
    return found


def mirrored(arrays: list[Array]) -> None:
    """Copy host arrays that will be used with arrays on the current GPU there, at once."""
    _cuda().mirrored(arrays)


def note(array: Array, copy: Array) -> None:
    """Note that a host array has this copy on the current GPU."""
    _cuda().note(array, copy)


def segment_sum(values: Array, offsets: Array) -> Array:
    """Sum of the rows of each segment, ``(segments, ...)``; zero for an empty one."""
    if type(values) is np.ndarray:
        return host.segment_sum(values, offsets)
    found: Array = _cuda().segment_sum(values, offsets)
    return found


def segment_max(values: Array, offsets: Array) -> Array:
    """Maximum of the rows of each segment, ``(segments, ...)``; -inf for an empty one."""
    if type(values) is np.ndarray:
        return host.segment_max(values, offsets)
    found: Array = _cuda().segment_max(values, offsets)
    return found


__all__ = [
    "add_rows",
    "beside",
    "fill",
    "join",
    "mirrored",
    "norms",
    "note",
    "pick_rows",
    "put_rows",
    "scatter_add",
    "segment_ids",
    "segment_max",
    "segment_sum",
    "take_rows",
    "take_rows_as",
]
