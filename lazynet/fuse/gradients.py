"""Gradients of shared values, and rows of what was kept, for fused rows and scans alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.backend import SparseRows, pick_rows
from lazynet.fuse.reverse import SharedGradient
from lazynet.kinds import Array, Call

Taken = tuple[int, "Array | None", int]
"""First row of a batch, which of its rows take part (None: all), and the row after the last."""


def rows_taken(taken: list[Taken], rows: int) -> Array | slice | None:
    """Which rows of the kind took part; None if all did."""
    count = sum(stop - start if chosen is None else len(chosen) for start, chosen, stop in taken)
    if count == rows:
        return None
    ordered = sorted(taken, key=lambda t: t[0])
    first, last = ordered[0][0], ordered[-1][2]
    if last - first == count and all([chosen is None for _, chosen, _ in taken]):
        return slice(first, last)
    parts = [
        np.arange(start, stop) if chosen is None else start + chosen
        for start, chosen, stop in ordered
    ]
    return np.concatenate(parts)


def pick(kept: Array, rows: Array | slice) -> Array:
    """Some rows of a kept array."""
    if kept.ndim == 3:
        return kept[:, rows]
    return kept[rows] if isinstance(rows, slice) else pick_rows(kept, rows)


def add_gradient(
    totals: dict[int, Any],
    gradient: SharedGradient,
    steps: dict[tuple[int, int], Any],
    joined: Any,
    payload: Any,
    work: Any,
) -> None:
    """Add to the gradients of shared nodes what one `SharedGradient` stands for."""
    if gradient.how == "product":
        assert gradient.weight is not None
        weight = gradient.weight
        dz, x = joined(gradient.cotangent), joined(gradient.inputs)
        one = weight.planes == 1
        if one:
            blocks = np.dot(dz.T, x)[None]
        elif len(x) == 1:  # np.matmul takes several times as long
            blocks = dz.transpose(0, 2, 1) * x
        else:
            blocks = np.matmul(dz.transpose(0, 2, 1), x)
        at = 0
        for index, transposed, planes in weight.parts:
            block = blocks[at : at + planes].reshape(planes * weight.width, weight.inputs)
            _add(totals, index, block.T if transposed else block)
            at += planes
        return
    index = gradient.index
    shape = work.shared[index].shape
    if gradient.how == "sum":
        dy = joined(gradient.cotangent)
        if work.shared[index].size == 1:
            _add(totals, index, dy.sum().reshape(shape))
        elif dy.ndim == 3:
            _add(totals, index, sum_planes(dy).reshape(shape))
        else:
            _add(totals, index, (np.ones(len(dy), dy.dtype) @ dy).reshape(shape))
        return
    opaque = gradient.opaque
    assert opaque is not None
    if gradient.how == "steps":
        found = steps.pop((opaque.number, gradient.position), None)
        if found is not None:
            _add(totals, index, found if isinstance(found, SparseRows) else found.reshape(shape))
        return
    dy = joined(gradient.cotangent)
    dy = dy.reshape(len(dy), *opaque.result_shapes[0])
    carried = opaque.payload
    if opaque.slot >= 0:
        carried = payload(opaque.slot)
    elif carried is not None:
        carried = np.broadcast_to(carried, (len(dy), *np.shape(carried)))
    shared = opaque.shares()
    needs = tuple([k == gradient.position for k in range(len(shared))])
    call = Call(len(dy), carried, shared, needs, None)
    unread: list[Any] = [None] * len(shared)
    found = opaque.op.backward(call, dy, None, *unread)
    _add(totals, index, found[gradient.position] if isinstance(found, tuple) else found)


def sum_planes(dy: Array) -> Array:
    """Sum over the rows of every plane, (planes, width)."""
    result: Array = np.matmul(np.ones(dy.shape[1], dy.dtype), dy)
    return result


def _add(totals: dict[int, Any], index: int, gradient: Any) -> None:
    known = totals.get(index)
    totals[index] = gradient if known is None else known + gradient
