"""Contract cases of ops/shape.py, ops/index.py and ops/lookup.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from contract import Case

import lazynet as ln
from lazynet.ops.index import FixedWindow, PickRows, Window
from lazynet.ops.lookup import LookupAt, LookupRows
from lazynet.ops.shape import (
    BroadcastTo,
    Concatenate,
    Flip,
    Reshape,
    Split,
    Stack,
    Transpose,
)


def _indexed(name: str, shape: tuple[int, ...], index: Any, ops: tuple[type, ...]) -> Case:
    return Case(
        name=f"index {name}",
        function=lambda x: x[index],
        shapes=[shape],
        reference=lambda x: x[index],
        ops=ops,
        shared_args=(0,),
    )


_WEIGHTS = np.arange(12.0).reshape(3, 2, 2) / 6 - 1


def _weight(x: ln.Expression) -> ln.Parameter:
    """A parameter in the dtype of x: only of shared expressions are parts shared."""
    return ln.Model(dtype=x.dtype).parameter(_WEIGHTS.shape, init=_WEIGHTS)


def _numbers(high: int) -> Any:
    return lambda rng, shape: rng.integers(0, high, shape)


CASES = [
    Case(
        "reshape", lambda x: x.reshape(3, -1), [(2, 6)], lambda x: x.reshape(3, 4),
        ops=(Reshape,), shared_args=(0,),
    ),
    Case(
        "reshape to scalar", lambda x: ln.reshape(x, ()), [(1, 1)], lambda x: x[0, 0],
        ops=(Reshape,),
    ),
    Case("squeeze", lambda x: ln.squeeze(x, 1), [(2, 1, 3)], lambda x: x[:, 0], ops=(Reshape,)),
    Case(
        "expand_dims", lambda x: ln.expand_dims(x, -1), [(2, 3)], lambda x: x[:, :, None],
        ops=(Reshape,),
    ),
    Case(
        "transpose", lambda x: x.T, [(2, 3)], lambda x: x.T, ops=(Transpose,), shared_args=(0,)
    ),
    Case(
        "transpose axes", lambda x: ln.transpose(x, (2, 0, 1)), [(2, 3, 4)],
        lambda x: np.moveaxis(x, 2, 0), ops=(Transpose,), shared_args=(0,),
    ),
    Case(
        "concatenate", lambda a, b, c: ln.concatenate([a, b, c]), [(2,), (3,), (1,)],
        lambda a, b, c: np.array([*a, *b, *c]), ops=(Concatenate,), shared_args=(0, 1),
    ),
    Case(
        "concatenate axis", lambda a, b: ln.concatenate([a, b], axis=-1), [(2, 3), (2, 2)],
        lambda a, b: np.hstack([a, b]), ops=(Concatenate,), shared_args=(1,),
    ),
    Case(
        "stack", lambda a, b: ln.stack([a, b], axis=1), [(3,), (3,)],
        lambda a, b: np.column_stack([a, b]), ops=(Stack,), shared_args=(0,),
    ),
    Case(
        "stack scalars", lambda a, b: ln.stack([a, b]), [(), ()],
        lambda a, b: np.array([a, b]), ops=(Stack,),
    ),
    Case(
        "split", lambda x: ln.split(x, 2, axis=1), [(3, 4)],
        lambda x: (x[:, :2], x[:, 2:]), ops=(Split,), shared_args=(0,),
    ),
    Case(
        "split by length", lambda x: ln.split(x, [1, 3, 2]), [(6,)],
        lambda x: (x[:1], x[1:4], x[4:]), ops=(Split,),
    ),
    Case(
        "flip", lambda x: ln.flip(x, 1), [(2, 3)], lambda x: x[:, ::-1],
        ops=(Flip,), shared_args=(0,),
    ),
    Case(
        "broadcast_to", lambda x: ln.broadcast_to(x, (2, 3, 4)), [(3, 1)],
        lambda x: x + np.zeros((2, 3, 4)), ops=(BroadcastTo,), shared_args=(0,),
    ),
    _indexed("int", (4, 3), 2, (Window,)),
    _indexed("negative int", (4,), -1, (Window,)),
    _indexed("matrix of a stack", (3, 2, 2), 1, (Window,)),
    Case(
        "index parts of a weight", lambda x: _weight(x)[1] @ x + _weight(x)[::-1, 0, 1:][1:, 0],
        [(2,)], lambda x: _WEIGHTS[1].dot(x) + _WEIGHTS[[1, 0], 0, 1],
        ops=(FixedWindow,), shared_args=(0,),
    ),
    _indexed("ints", (3, 4), (1, 2), (Window,)),
    _indexed("last axis", (3, 4), (..., 1), (Window,)),
    _indexed("slice", (5, 2), slice(1, 4), (Window,)),
    _indexed("steps", (6, 5), (slice(None, None, -2), slice(1, None, 3)), (Window,)),
    _indexed("int and slice", (3, 5, 2), (1, slice(0, 3)), (Window,)),
    _indexed("empty slice", (3, 2), slice(2, 2), (Window,)),
    _indexed("new axis", (3, 2), (None, 1), (Window, Reshape)),
    _indexed("list", (4, 3), [2, 0, 2], (PickRows,)),
    _indexed("list and slice", (4, 3), (slice(1, 3), [2, -3]), (PickRows, Window)),
    Case(
        "slice", lambda x: ln.slice(x, 4, 0, -2, axis=1), [(2, 6)], lambda x: x[:, [4, 2]],
        ops=(Window,), shared_args=(0,),
    ),
    Case(
        "pick", lambda x: ln.pick(x, 1, axis=1), [(3, 4, 2)], lambda x: x.take(1, 1),
        ops=(Window,), shared_args=(0,),
    ),
    Case(
        "pick_rows", lambda x: ln.pick_rows(x, [3, 1, 3], axis=1), [(2, 4, 3)],
        lambda x: x.take([3, 1, 3], axis=1), ops=(PickRows,), shared_args=(0,),
    ),
    Case(
        "pick_rows of none", lambda x: ln.pick_rows(x, []), [(4,)], lambda x: x[:0], ops=(Window,)
    ),
    Case(
        "lookup", lambda table: ln.ops.lookup.lookup(table, 2), [(4, 3)], lambda table: table[2],
        ops=(LookupRows,), shared_args=(0,),
    ),
    Case(
        "lookup of matrices", lambda table: ln.ops.lookup.lookup(table, -1), [(3, 2, 2)],
        lambda table: table[-1], ops=(LookupRows,), shared_args=(0,),
    ),
    Case(
        "lookup of an expression", lambda table, i: ln.ops.lookup.lookup(table, i),
        [(5, 3), ()], lambda table, i: table[int(i)], sample=["normal", _numbers(5)],
        ops=(LookupAt,), shared_args=(0,),
    ),
]  # fmt: skip
