"""`Gradient`: that of one parameter, dense or of some rows, as the optimisers read it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lazynet.backend import Sources, add_rows, norms, to_host
from lazynet.kinds import Array
from lazynet.optim.flat import SUM, block_size, scratch
from lazynet.parameters import Lookup, Parameter


@dataclass
class Gradient:
    """The gradient of one parameter as a table of rows: dense, some rows of it, or their sum.

    Attributes:
        dense: (n, width), or None.
        rows: (k,) sorted indices of the rows, without repetition; None for a dense gradient.
        values: (k, width) gradients of these rows.
    """

    dense: Array | None
    rows: Array | None = None
    values: Array | None = None

    def block(self, start: int, stop: int, like: Array) -> Array:
        """Rows start:stop, dense; to be read only."""
        if self.rows is None or self.values is None:
            assert self.dense is not None
            return self.dense[start:stop]
        block = scratch(like, SUM)
        block[...] = 0 if self.dense is None else self.dense[start:stop]
        if type(block) is not np.ndarray:
            assert (start, stop) == (0, len(block))
            add_rows(block, self.rows, self.values)
            return block
        first, last = np.searchsorted(self.rows, (start, stop))
        block[self.rows[first:last] - start] += self.values[first:last]
        return block

    def whole(self) -> Array:
        """An array of the same norm; to be read only."""
        if self.dense is None:
            assert self.values is not None
            return self.values
        return self.block(0, len(self.dense), self.dense)

    def norm(self) -> float:
        """Euclidean norm; infinite or NaN exactly where an element is (or the norm overflows)."""
        if self.dense is None:
            assert self.values is not None
            return norm(self.values)
        if self.rows is None:
            return norm(self.dense)
        height = block_height(self.dense)
        norms = [
            norm(self.block(start, start + height, self.dense[start : start + height]))
            for start in range(0, len(self.dense), height)
        ]
        return math.hypot(*norms) if all(map(math.isfinite, norms)) else math.nan

    def first_bad(self) -> str:
        """Which row of a lookup table is not finite, in words; empty where there are no rows."""
        if self.rows is None or self.values is None:
            return ""
        finite = np.isfinite(to_host(self.values)).all(axis=1)
        if finite.all():
            return ""
        bad = self.rows[~finite]
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        return f" in row {bad[0]}{more}"


def block_height(rows: Array) -> int:
    """Rows of a table (rows, width) that make a block: on a GPU all."""
    if type(rows) is not np.ndarray:
        return max(1, len(rows))
    width: int = rows.shape[1]
    return max(1, block_size(rows.dtype) // max(1, width))


def norm(values: Array) -> float:
    """Euclidean norm of an array, by blocks: their squares are summed in double precision."""
    if type(values) is not np.ndarray:
        return norms([values])[0]
    flat = values.reshape(-1)
    size = block_size(flat.dtype)
    square = 0.0
    for start in range(0, len(flat), size):
        part = flat[start : start + size]
        square += float(np.dot(part, part))
    if 1e-30 < square < 1e30:
        return math.sqrt(square)
    largest = float(np.abs(flat).max(initial=0))
    if largest == 0 or not math.isfinite(largest):
        return largest
    flat = flat / flat.dtype.type(largest)  # the squares would leave the range of the dtype
    return largest * math.sqrt(float(np.dot(flat, flat)))


def table(p: Parameter, array: Array) -> Array:
    """A view (rows, width) of an array shaped like the parameter's values."""
    assert array.flags.c_contiguous
    if array.size == 0:
        return array.reshape(0, 1)
    return array.reshape(len(array) if isinstance(p, Lookup) else array.size, -1)


def gradient_of(p: Parameter) -> Gradient:
    """What backward accumulated for a parameter that has a gradient."""
    dense = (
        None if p.pending is None else table(p, np.asarray(p.pending, order="C", like=p.pending))
    )
    if p.pending_rows:
        if not isinstance(p, Lookup):  # rows were looked up in a plain parameter
            return Gradient(table(p, p.summed()))
        if p.values.size:
            rows, values = p.coalesced()
            return Gradient(dense, rows, values.reshape(len(rows), -1))
        dense = table(p, p.values)
    assert dense is not None
    return Gradient(dense)


def from_sources(p: Parameter, sources: Sources) -> Gradient:
    """`gradient_of` on a GPU: it holds what it should when the sources have been read."""
    rows = p.pending_rows
    if not p.values.size:
        return Gradient(table(p, p.values))
    if rows and p.pending is None and isinstance(p, Lookup):
        return Gradient(None, *sources.rows(rows, p.row_width))
    if not rows:
        assert p.pending is not None
        dense = np.asarray(p.pending, order="C", like=p.pending)
        sources.add(dense, [], 0, None)
        return Gradient(table(p, dense))
    whole = np.empty_like(p.values)
    sources.add(p.pending, rows, p.row_width, whole)
    return Gradient(table(p, whole))
