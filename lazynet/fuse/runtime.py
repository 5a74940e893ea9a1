"""What printed code calls, and what is made of shared values before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazynet.backend import part, pick_rows
from lazynet.fuse.program import Weight
from lazynet.kinds import Array, Call, Op
from lazynet.ops.formula import select

_SMALL = 1 << 16
"""Matrices of at most this many elements are copied in the order in which they are read."""


def run(
    op: Op, rows: int, payload: Any, args: Any, shared: tuple[bool, ...], out: Any, many: bool
) -> Call:
    """An operation's own forward, into `out`; returns the call, with what it kept."""
    call = Call(rows, payload, shared, (), out)
    if op.nary:
        args = _stacked(call, args)
    y = op.forward(call, *args)
    if y is not out:
        if many:
            for target, result in zip(out, y):
                if result is not target:
                    target[...] = result
        else:
            out[...] = y
    call.out = None
    return call


def unrun(
    op: Op,
    call: Call,
    needs: tuple[bool, ...],
    dy: Any,
    y: Any,
    args: Any,
    into: dict[int, Array],
    totals: dict[tuple[int, int], Any],
    number: int,
) -> None:
    """An operation's own backward: gradients of rows go `into` arrays, others to `totals`."""
    call.needs = needs
    if op.nary:
        dx = op.backward(call, dy, y, *_stacked(call, args))
        parts = dx.reshape(call.rows, len(needs), *dx.shape[1:])
        found = tuple([parts[:, position] for position in range(len(needs))])
    else:
        if len(needs) == 1:
            call.into = into.get(0)
        found = op.backward(call, dy, y, *args)
        call.into = None
    if not isinstance(found, tuple):
        found = (found,)
    for position, (need, gradient) in enumerate(zip(needs, found)):
        if not need:
            continue
        target = into.get(position)
        if target is not None:
            if gradient is not target:
                target[...] = 0 if gradient is None else gradient
        elif gradient is not None:
            if not op.shares:
                gradient = gradient.sum(axis=0)
            known = totals.get((number, position))
            totals[number, position] = gradient if known is None else known + gradient


def _stacked(call: Call, args: Any) -> tuple[Any]:
    """The lists of an op that reduces lists, one after the other, as it gets them elsewhere."""
    call.segments = np.arange(0, call.rows * len(args) + 1, len(args))
    if args[0] is None:
        return (None,)
    rows = np.stack(args, axis=1)
    return (rows.reshape(call.rows * len(args), *rows.shape[2:]),)


def pick_call(call: Call, rows: Array) -> Call:
    """A call on some of its rows."""
    payload = call.payload if call.payload is None else call.payload[rows]
    result = Call(len(rows), payload, call.shared, (), None)
    result.keep = _pick_keep(call.keep, rows)
    return result


def _pick_keep(keep: Any, rows: Array) -> Any:
    if keep is None:
        return None
    if isinstance(keep, tuple):
        return tuple([_pick_keep(part, rows) for part in keep])
    return pick_rows(keep, rows)


def part_of_call(call: Call, start: int, stop: int) -> Call:
    """What ran for all steps of a scan at once, for one of them."""
    payload = call.payload if call.payload is None else part(call.payload, start, stop)
    result = Call(stop - start, payload, call.shared, (), None)
    result.keep = _part_keep(call.keep, start, stop)
    return result


def _part_keep(keep: Any, start: int, stop: int) -> Any:
    if keep is None:
        return None
    if isinstance(keep, tuple):
        return tuple([_part_keep(of, start, stop) for of in keep])
    return keep[start:stop]


def whole_call(memo: dict[int, dict[int, Call]], number: int) -> Call:
    """What ran step by step in a scan, for all of them at once."""
    calls = [memo[t][number] for t in range(len(memo) - 1)]
    rows = sum([call.rows for call in calls])
    payload = None
    if calls[0].payload is not None:
        payload = np.concatenate([call.payload for call in calls])
    result = Call(rows, payload, calls[0].shared, (), None)
    result.keep = _join_keep([call.keep for call in calls])
    return result


def _join_keep(parts: list[Any]) -> Any:
    if parts[0] is None:
        return None
    if isinstance(parts[0], tuple):
        return tuple([_join_keep(list(part)) for part in zip(*parts)])
    return np.concatenate(parts)


SCOPE: dict[str, Any] = {
    "np": np,
    "matmul": np.matmul,
    "copyto": np.copyto,
    "broadcast_to": np.broadcast_to,
    "select": select,
    "run": run,
    "unrun": unrun,
    "part": part,
    "part_of_call": part_of_call,
    "whole_call": whole_call,
}


def prepare(
    specs: Sequence[tuple[Any, ...]], shared: dict[int, Array], dtype: Any, few: bool = False
) -> list[Any]:
    """Make of shared values what printed code multiplies with and adds.

    Args:
        specs: What of which.
        shared: Shared values, by node of the trace.
        dtype: Of the products.
        few: Whether they are used for a few rows only, which do not pay for a copy.
    """
    return [
        _blocks(shared, spec[1])[0][0].T
        if few and spec[0] == "weight" and spec[1].planes == 1 and spec[2][0] == 1.0
        else _MAKERS[spec[0]](shared, dtype, *spec[1:])
        for spec in specs
    ]


def _blocks(shared: dict[int, Array], weight: Weight) -> list[Array]:
    """Per part its rows in blocks, (planes, width, inputs): views."""
    blocks = []
    for index, transposed, planes in weight.parts:
        matrix = shared[index]
        matrix = matrix.T if transposed else matrix
        blocks.append(matrix.reshape(planes, weight.width, weight.inputs))
    return blocks


def _weight(shared: dict[int, Array], dtype: Any, weight: Weight, scale: tuple[float, ...]) -> Any:
    """(planes, inputs, width), scaled."""
    blocks = _blocks(shared, weight)
    factors = np.array(scale, dtype)
    if weight.planes == 1:
        matrix = blocks[0][0].T
        if scale[0] != 1.0:
            return np.multiply(matrix, factors[0], order="C")
        return np.ascontiguousarray(matrix) if matrix.size <= _SMALL else matrix
    result = np.empty((weight.planes, weight.inputs, weight.width), dtype)
    at = 0
    for block in blocks:
        end = at + len(block)
        np.multiply(block.transpose(0, 2, 1), factors[at:end, None, None], result[at:end])
        at = end
    return result


def _back(shared: dict[int, Array], dtype: Any, weight: Weight) -> Any:
    """(planes, width, inputs), unscaled."""
    blocks = _blocks(shared, weight)
    whole = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return whole[0] if weight.planes == 1 else whole


def _bias(
    shared: dict[int, Array],
    dtype: Any,
    biases: list[tuple[int, int]],
    scale: tuple[float, ...],
    width: int,
) -> Any:
    planes = len(scale)
    result = np.zeros((planes, 1, width), dtype)
    at = 0
    for index, count in biases:
        if index >= 0:
            result[at : at + count, 0] = shared[index].reshape(count, width)
        at += count
    result *= np.array(scale, dtype)[:, None, None]
    return result if planes > 1 else result[0]


def _plain(shared: dict[int, Array], dtype: Any, index: int) -> Any:
    return shared[index]


def _shared(shared: dict[int, Array], dtype: Any, index: int, planes: int, width: int) -> Any:
    array = shared[index]
    if array.size == 1:
        return array.reshape(1, 1)
    return array.reshape(planes, 1, width) if planes > 1 else array.reshape(1, width)


_MAKERS: dict[str, Any] = {
    "weight": _weight,
    "back": _back,
    "bias": _bias,
    "plain": _plain,
    "shared": _shared,
}
