"""Rows of an embedding table: ``table[i]``, ``table[[i, j, ...]]``, ``table[expression]``.

Their gradient is row-sparse: a large table costs only what is read of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from lazynet.backend import module_of, take_rows
from lazynet.backend.kernels import into
from lazynet.backend.sparse import SparseRows
from lazynet.deferred import TRACED_ROWS, Integers, is_deferred
from lazynet.errors import ArgumentError, DtypeError, RangeError, ShapeError
from lazynet.graph import Expression, record
from lazynet.kinds import HOOKS, INT64, Array, Call, Op, Shape
from lazynet.ops.cuda_windows import add_picked, checked_rows, pick
from lazynet.ops.elementwise import ready
from lazynet.ops.index import all_in_range, in_range


def _take(table: Array, rows: Array, shared: bool, out: Array | None) -> Array:
    if type(table) is not np.ndarray:
        y = into(out, (len(rows), *table.shape[1 + (not shared) :]), table.dtype)
        if not shared:
            return pick(table, rows, False, table.shape[1:], 0, y)
        width = prod(table.shape[1:])
        take_rows(table.reshape(len(table), width), rows, y.reshape(len(rows), width))
        return y
    if not shared:
        return table[np.arange(len(rows)), rows]
    # the rows are known to be in range: mode="clip" saves NumPy the check and a buffer
    return np.take(table, rows, axis=0, out=out, mode="clip")


def _gradient(
    dy: Array, table_shape: Shape, rows: Array, shared: bool, sparse: bool
) -> Array | SparseRows:
    if type(dy) is not np.ndarray and not (shared and sparse and type(rows) is np.ndarray):
        return _dense_gradient(dy, table_shape, rows, shared)
    if shared:
        found = SparseRows(rows, dy.reshape(len(dy), prod(dy.shape[1:])))
        return found if sparse else found.dense(table_shape)
    dense = np.zeros((len(dy), *table_shape), dy.dtype)
    dense[np.arange(len(dy)), rows] = dy
    return dense


def _dense_gradient(dy: Array, table_shape: Shape, rows: Array, shared: bool) -> Array:
    """The gradient on a GPU, as an array; the rows may be on either side."""
    lead = () if shared else (len(dy),)
    dense: Array = module_of(dy).zeros((*lead, *table_shape), dy.dtype)
    return add_picked(dy, rows, shared, table_shape, 0, dense)


@dataclass(frozen=True)
class LookupRows(Op):
    """y = row i of the table; i is the payload."""

    source: Shape
    sparse: bool
    payload = "int"
    shares = True
    reads_args = False
    reads_y = False
    moves = True

    def shape(self, table: Shape) -> Shape:
        return table[1:]

    def forward(self, call: Call, table: Array) -> Array:
        return _take(table, call.payload, call.shared[0], call.out)

    def backward(self, call: Call, dy: Array, y: Array, table: Array) -> Any:
        return _gradient(dy, self.source, call.payload, call.shared[0], self.sparse)


@lru_cache(maxsize=4096)
def _rows_op(source: Shape, sparse: bool) -> LookupRows:
    return ready(LookupRows(source, sparse))


@dataclass(frozen=True)
class LookupAt(Op):
    """y = row i of the table; i is an expression (the result of an argmax)."""

    source: Shape
    sparse: bool
    table: str
    shares = True
    reads_y = False

    def shape(self, table: Shape, index: Shape) -> Shape:
        if index:
            raise self.fail(
                "the index must be a scalar for one example", "use ln.argmax, or index a batch",
                table=table, index=index,
            )  # fmt: skip
        return table[1:]

    def dtype(self, table: np.dtype[Any], index: np.dtype[Any]) -> np.dtype[Any]:
        if index is not INT64:
            raise DtypeError(
                f"lookup {self.table}: got an index of dtype {index}; it must be int64, such as "
                "the result of ln.argmax; convert it with .astype('int64')"
            )
        return table

    def forward(self, call: Call, table: Array, index: Array) -> Array:
        rows = np.broadcast_to(index, (call.rows,)) if call.shared[1] else index
        n = self.source[0]
        if type(rows) is not np.ndarray:
            # on a GPU nobody can look without waiting; what is out of range has no number
            return checked_rows(table, rows, call.shared[0], self.source, call.out)
        outside = (rows < 0) | (rows >= n)
        if outside.any():
            raise RangeError(
                f"lookup {self.table}: got the computed index {rows[outside][0]} for a table of "
                f"{n} rows; valid are 0 to {n - 1}"
            )
        return _take(table, rows, call.shared[0], call.out)

    def backward(self, call: Call, dy: Array, y: Array, table: Array, index: Array) -> Any:
        if not call.needs[0]:
            return None, None
        rows = np.broadcast_to(index, (len(dy),)) if call.shared[1] else index
        return _gradient(dy, self.source, rows, call.shared[0], self.sparse), None


def lookup(table: Expression, index: Any) -> Expression:
    """Rows of a lookup table: what ``table[index]`` records.

    Args:
        table: Shape ``(n, *row shape)``.
        index: An int (negative ones count from the end): one row. A list or array of ints: a batch
            of rows, possibly none. An int64 expression of shape (), such as an argmax: the row of
            that number, or a batch of them where it has a batch.

    Returns:
        An expression of the row shape. Lookups in one table batch whatever the index.

    Raises:
        RangeError: If an index is out of range (for an expression: when it is computed; on a GPU
            the row is no number instead, as nobody waits for the index).
        ArgumentError: If it is no integer.

    >>> import lazynet as ln
    >>> table = ln.Model(seed=0).lookup(3, 2, init=[[0, 1], [2, 3], [4, 5]])
    >>> table[-1].value().tolist(), table[[0, 1]].value().tolist()
    ([4.0, 5.0], [[0.0, 1.0], [2.0, 3.0]])
    """
    shape = table.shape
    n = shape[0]
    sparse = table.type.shared != 0  # the gradient of a computed table lies in a dense arena
    if type(index) is int and 0 <= index < n:
        return record(_rows_op(shape, sparse), (table,), index)
    name = str(getattr(table, "name", "table"))
    role = f"lookup {name}"
    if isinstance(index, Expression):
        if index.dtype is not INT64 or index.shape:
            raise ArgumentError(
                f"{role}: got {index!r} as index; it must be of dtype int64 and shape (), such as "
                "the result of ln.argmax"
            )
        return record(LookupAt(shape, sparse, name), (table, index))
    if is_deferred(index):
        if type(index) is Integers:
            slot = index.slot(n, lambda v: all_in_range(v, n, role))
            return record(_rows_op(shape, sparse), (table,), slot, TRACED_ROWS)
        slot = index.slot(n, lambda v: in_range(v, n, role))
        return record(_rows_op(shape, sparse), (table,), slot)
    if isinstance(index, (list, tuple, range)) or (isinstance(index, np.ndarray) and index.ndim):
        if isinstance(index, tuple):
            raise ShapeError(
                f"{role}: got {len(index)} indices in a tuple; a table is indexed by row; use a "
                "list for several rows, and table[i][j] for a part of one"
            )
        rows = all_in_range(index, n, role)
        return record(_rows_op(shape, sparse), (table,), rows, len(rows))
    number = index.item() if isinstance(index, np.ndarray) and index.dtype.kind in "iu" else index
    return record(_rows_op(shape, sparse), (table,), in_range(number, n, role))


def _table_op(shape: Shape) -> LookupRows:
    return _rows_op(shape, True)


HOOKS.lookup = lookup
HOOKS.row_op = _table_op

__all__ = ["lookup"]
