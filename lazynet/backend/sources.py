"""Gradients on a GPU, brought together for an update by one kernel, which finds their norm as well.

What a parameter accumulated is an array, or rows of it from several backward calls, some of them
mentioned repeatedly. A `Piece` of the result is the sum of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lazynet.backend.kernels import C_TYPES, raw
from lazynet.backend.sparse import in_order

Array = Any
"""An array of CuPy."""
Pending = list[tuple[NDArray[np.int64], Array]]
"""Rows, with the gradient of each: ``(k,)`` on the host and ``(k, width)`` on the GPU."""

_THREADS = 256
_BLOCKS = 1024
"""Most blocks, each of which sums the squares of its elements."""
_FIELDS = 7


class Piece(NamedTuple):
    """A flat part of the result, of elements that are made in the same way; 0 is "none".

    Attributes:
        begin: The first element of it, counted through all pieces.
        base: Address of an array of as many elements.
        out: Address to write to.
        width: Elements of a row, where rows are to be added.
        starts: Place in the table: for each row that is mentioned, where its addresses begin,
            and where the last ones end.
        rows: Place in the table of the numbers of these rows, ascending; 0 where the piece holds
            only these.
        mentioned: How many these are.
    """

    begin: int
    base: int
    out: int
    width: int = 0
    starts: int = 0
    rows: int = 0
    mentioned: int = 0


class Sources:
    """Where the gradients of an update lie."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[Piece]] = {}
        self._ends: dict[str, int] = {}
        self._table: list[NDArray[np.int64]] = [np.zeros(1, np.int64)]  # no place in it is 0
        self._length = 1
        self._noted: list[tuple[NDArray[np.int64], int]] = []
        self._kept: list[Array] = []

    def add(self, dense: Array | None, pending: Pending, width: int, out: Array | None) -> None:
        """A gradient.

        Args:
            dense: An array, or None for zeros.
            pending: Rows to be added.
            width: Elements of a row.
            out: A contiguous array that is to hold it; None where only its norm is asked for.
        """
        like = out if dense is None else dense
        assert like is not None
        dtype = like.dtype if out is None else out.dtype
        base = 0 if dense is None else self._address(dense, dtype)
        to = 0 if out is None else out.data.ptr
        if not pending:
            self._piece(dtype, like.size, Piece(0, base, to))
            return
        rows, starts = self._rows(pending, width, dtype)
        place = Piece(0, base, to, width, starts, self._put(rows), len(rows))
        self._piece(dtype, like.size, place)

    def rows(self, pending: Pending, width: int) -> tuple[NDArray[np.int64], Array]:
        """The gradient of some rows, each once, in ascending order.

        Returns:
            Their numbers, ``(k,)`` on the host (and on the GPU, where `beside` finds them), and
            their gradients ``(k, width)``, which are there after `read`.
        """
        from lazynet.backend.cuda import empty

        dtype = pending[0][1].dtype
        rows, values = pending[0][0], pending[0][1].reshape(-1, width)
        if len(pending) == 1 and (rows[1:] > rows[:-1]).all():
            self._piece(dtype, values.size, Piece(0, self._address(values, dtype), 0))
            self._noted.append((rows, self._put(rows)))
            return rows, self._kept[-1]
        rows, starts = self._rows(pending, width, dtype)
        values = empty((len(rows), width), dtype)
        self._piece(dtype, values.size, Piece(0, 0, values.data.ptr, width, starts))
        self._noted.append((rows, self._put(rows)))
        return rows, values

    def read(self) -> float:
        """Bring them together; the GPU is waited for.

        Returns:
            The sum of the squares of all: one launch for each dtype, one copy to the host. It is
            infinite or NaN exactly where an element is, or where it is beyond float64.
        """
        from lazynet.backend.cuda import empty, note, uploaded

        places = {char: self._put_pieces(pieces) for char, pieces in self._pieces.items()}
        if not places:
            return 0.0
        (there,) = uploaded([np.concatenate(self._table)])
        for rows, place in self._noted:
            note(rows, there[place : place + len(rows)])
        blocks = [min(_BLOCKS, -(-end // (4 * _THREADS))) for end in self._ends.values()]
        sums = empty((sum(blocks),), np.dtype(np.float64))
        first = 0
        for (char, place), count in zip(places.items(), blocks):
            sizes = (np.int64(place), np.int64(len(self._pieces[char])), np.int64(self._ends[char]))
            _kernel(char)((count,), (_THREADS,), (there, *sizes, sums[first:]))
            first += count
        self._kept = []
        return float(sums.get().sum())

    def _address(self, array: Array, dtype: Any) -> int:
        import cupy

        array = cupy.ascontiguousarray(array, dtype)
        self._kept.append(array)
        return int(array.data.ptr)

    def _piece(self, dtype: Any, size: int, piece: Piece) -> None:
        if size:
            begin = self._ends.get(dtype.char, 0)
            self._pieces.setdefault(dtype.char, []).append(piece._replace(begin=begin))
            self._ends[dtype.char] = begin + size

    def _put(self, numbers: NDArray[np.int64]) -> int:
        place = self._length
        self._table.append(numbers)
        self._length += len(numbers)
        return place

    def _put_pieces(self, pieces: list[Piece]) -> int:
        return self._put(np.array(pieces, np.int64).reshape(-1))

    def _rows(self, pending: Pending, width: int, dtype: Any) -> tuple[NDArray[np.int64], int]:
        """The rows that are mentioned, each once, and the place of the `starts` of a piece."""
        rows = np.concatenate([r for r, _ in pending])
        addresses = np.concatenate(list(self._addresses(pending, width, dtype)))
        order, ordered, first = in_order(rows)
        starts = np.append(first, len(rows)) + self._put(addresses[order])
        return ordered[first], self._put(starts)

    def _addresses(self, pending: Pending, width: int, dtype: Any) -> Iterator[NDArray[np.int64]]:
        step = width * dtype.itemsize
        for rows, values in pending:
            yield self._address(values, dtype) + np.arange(len(rows)) * step


@cache
def _kernel(char: str) -> Any:
    source = _SOURCE.format(type=C_TYPES[char], threads=_THREADS, fields=_FIELDS)
    return raw(source, "lazynet_gradients")


_SOURCE = """
typedef {type} T;
typedef long long I;
extern "C" __global__ void lazynet_gradients(
    const I* table, const I place, const I pieces, const I size, double* sums
) {{
    __shared__ double squares[{threads}];
    const int me = threadIdx.x;
    double sum = 0;
    for (I i = (I)blockIdx.x * {threads} + me; i < size; i += (I)gridDim.x * {threads}) {{
        I low = 0, high = pieces;  // the last piece that does not begin after i
        while (high - low > 1) {{
            const I middle = (low + high) / 2;
            if (table[place + middle * {fields}] <= i) low = middle; else high = middle;
        }}
        const I* piece = table + place + low * {fields};
        const I at = i - piece[0], width = piece[3];
        T value = piece[1] ? ((const T*)piece[1])[at] : (T)0;
        if (width) {{
            I row = at / width;
            bool found = true;
            if (piece[5]) {{
                const I* rows = table + piece[5];
                I low = 0, high = piece[6];  // the first that is no less
                while (low < high) {{
                    const I middle = (low + high) / 2;
                    if (rows[middle] < row) low = middle + 1; else high = middle;
                }}
                found = low < piece[6] && rows[low] == row;
                row = low;
            }}
            if (found) {{
                const I* starts = table + piece[4];
                for (I k = starts[row]; k < starts[row + 1]; ++k)
                    value += ((const T*)table[k])[at % width];
            }}
        }}
        if (piece[2]) ((T*)piece[2])[at] = value;
        sum += (double)value * (double)value;
    }}
    squares[me] = sum;
    for (int half = {threads} / 2; half; half /= 2) {{
        __syncthreads();
        if (me < half) squares[me] += squares[me + half];
    }}
    if (me == 0) sums[blockIdx.x] = squares[0];
}}
"""


__all__ = ["Pending", "Piece", "Sources"]
