"""Large batches in blocks of rows, which stay in the cache, and which threads share."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lazynet.backend import product_workers
from lazynet.fuse.compile import allocate
from lazynet.fuse.numpy_printer import Names
from lazynet.fuse.program import Value
from lazynet.kinds import Array

BLOCK_BYTES = 1 << 23
"""What a block may touch: a part of the last level of the cache (see benchmarks/NOTES.md)."""
SHARED_BYTES = 1 << 22
"""What a batch touches from which on threads share it."""
_LEAST = 64
"""Rows of a block below which its products lose more than the cache gains."""


@dataclass
class Block:
    """Rows start:stop of a kind, computed in one go; `memo` has what opaque operations kept."""

    start: int
    stop: int
    memo: dict[int, Any]


def row_bytes(keep: Sequence[Value], scratch: Sequence[Any], outputs: Sequence[Array]) -> int:
    """Bytes that one row touches."""
    total = 0
    for v in keep:
        total += v.size * int(v.dtype.itemsize)
    for planes, width, dtype, _ in scratch:
        total += planes * width * int(dtype.itemsize)
    for y in outputs:
        total += int(y.shape[1]) * int(y.itemsize)
    return total


def block_bytes(prepared: Sequence[Any]) -> int:
    """What a block may touch, beside weights that every block reads again."""
    total = 0
    for array in prepared:
        total += int(array.nbytes)
    return max(BLOCK_BYTES, 4 * total)


def block_height(rows: int, size: int, limit: int) -> int:
    """Rows of the blocks of a batch whose rows touch `size` bytes each."""
    total = rows * size
    if total < limit and total < SHARED_BYTES:
        return rows
    count = total // limit
    threads = product_workers()
    if threads > 1 and total >= SHARED_BYTES:
        count = max(count, threads)
    if count < 2:
        return rows
    return min(rows, max(_LEAST, -(-rows // count)))


def scratch_height(largest: int, size: int, limit: int) -> int:
    """Rows of scratch arrays for batches of up to `largest` rows, as far as they are one block."""
    return min(largest, max(_LEAST, 2 * limit // max(1, size) + 1))


class Scratch:
    """Scratch arrays for blocks: as many sets as there are threads at work."""

    def __init__(self, names: Names, height: int, prepared: list[Any], keep: list[Array]) -> None:
        self._lock = threading.Lock()
        self._idle: list[State] = []
        for _ in range(product_workers()):
            arrays = [allocate(height, *form[:3]) for form in names.scratch]
            self._idle.append(State(arrays, prepared, keep))

    @contextmanager
    def taken(self) -> Iterator[State]:
        """A set of arrays that nobody else uses inside the block."""
        with self._lock:
            state = self._idle.pop()
        try:
            yield state
        finally:
            with self._lock:
                self._idle.append(state)


class State:
    """What printed code finds on its first argument."""

    __slots__ = ("keep", "prepared", "scratch")

    def __init__(self, scratch: list[Array], prepared: list[Any], keep: list[Array]) -> None:
        self.scratch = scratch
        self.prepared = prepared
        self.keep = keep


def part_of(payload: Any, a: int, b: int) -> Any:
    """Rows a:b of the payload of a batch."""
    if payload is None:
        return None
    return {
        key: [part[a:b] for part in value] if isinstance(value, list) else value[a:b]
        for key, value in payload.items()
    }
