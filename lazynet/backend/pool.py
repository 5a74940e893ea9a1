"""Memory of arenas, used again by later evaluations.

An evaluation's arenas are some of the largest arrays there are, and live for one training step.
The C library hands such memory back to the system, and at the next step every page of it must be
mapped and zeroed again: that took a fifth of forward and backward. So buffers are kept here, and
one is used again once nobody else refers to it, not even through a view.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazynet.backend.devices import CPU

KEPT = 1 << 29
"""Most bytes kept; what goes beyond comes from NumPy, and goes back to the system."""

MOST = 128
"""Most buffers kept. Where programs hold on to the values of many small evaluations, looking
through their buffers took a seventh of the time; the oldest go back to the system when let go."""

_SMALL = 1 << 16
"""Bytes below which the C library is fast by itself."""

_buffers: list[NDArray[Any]] = []
_lock = threading.Lock()

# glibc maps memory afresh for every array larger than any that was freed before, and gives back
# what is free at the end of its heap beyond twice that. The arrays of a schedule come and go at
# every step too: one large array, never written to, teaches it to keep such memory.
np.empty((1 << 25) - (1 << 16), np.uint8)


def _references(buffers: list[NDArray[Any]], i: int) -> int:
    return sys.getrefcount(buffers[i])


_IDLE = _references([np.empty(0)], 0)
"""References to a buffer to which only the list refers."""


def uninitialised(rows: int, width: int, dtype: Any, device: str = CPU) -> NDArray[Any]:
    """An array ``(rows, width)`` of arbitrary content, on a device that is current.

    Raises:
        MemoryError, ValueError: If it is larger than what there is.
    """
    if device != CPU:
        from lazynet.backend.cuda import empty

        return empty((rows, width), dtype)  # type: ignore[no-any-return]
    if rows * width <= _SMALL >> 4:  # whatever the dtype
        return np.empty((rows, width), dtype)
    size = rows * width * np.dtype(dtype).itemsize
    if not _SMALL <= size <= KEPT:
        return np.empty((rows, width), dtype)
    with _lock:
        found = _buffer(size)
    array: NDArray[Any] = found[:size].view(dtype)
    return array.reshape(rows, width)


def _buffer(size: int) -> NDArray[Any]:
    """A buffer of at least so many bytes to which nobody else refers."""
    best = -1
    least = 2 * size
    for i in range(len(_buffers)):
        length = len(_buffers[i])
        if size <= length <= least and _references(_buffers, i) == _IDLE:
            best, least = i, length
    if best >= 0:
        found = _buffers.pop(best)
    else:
        found = np.empty(size + size // 8, np.uint8)  # the next graph may be a little larger
        _make_room(len(found))
    if sum([len(buffer) for buffer in _buffers]) + len(found) <= KEPT:
        _buffers.append(found)  # the most recently used last
        del _buffers[:-MOST]
    return found


def _make_room(size: int) -> None:
    """Forget idle buffers, longest unused first, until all fit."""
    total = size + sum([len(buffer) for buffer in _buffers])
    i = 0
    while total > KEPT and i < len(_buffers):
        if _references(_buffers, i) == _IDLE:
            total -= len(_buffers.pop(i))
        else:
            i += 1
