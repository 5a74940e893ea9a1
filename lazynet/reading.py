"""What the user reads: values of expressions, one or several, as arrays of one's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lazynet.backend import device_of, gpu_in_use, on_device, take_rows, to_host
from lazynet.errors import ArgumentError
from lazynet.execute import evaluate, evaluated
from lazynet.graph import Expression, Leaf
from lazynet.inputs import constant
from lazynet.kinds import HOOKS, Array
from lazynet.tape import LOCAL


def value(x: Expression) -> Any:
    """The value of one expression: see `Expression.value`."""
    if isinstance(x, Leaf):
        if LOCAL.tape.trace is not None:
            raise LOCAL.tape.trace.refuse_value(x)
        return _own(np.array(to_host(x.values)), None)
    if not evaluated(x):
        evaluate([x])
    evaluation, number = x.tape.location(x.index)
    return _own(evaluation.host_value(number), x.batch)


def device_value(x: Expression) -> Any:
    """The value as an array that stays on its device: see `Expression.value`."""
    if isinstance(x, Leaf):
        if LOCAL.tape.trace is not None:
            raise LOCAL.tape.trace.refuse_value(x)
        with on_device(device_of(x.values)):
            return x.values.copy()
    evaluate([x])
    evaluation, number = x.tape.location(x.index)
    with on_device(evaluation.device, evaluation.mirror):
        return evaluation.value(number)


def _own(array: Array, batch: int | None) -> Any:
    if batch is None and array.ndim == 0:
        return array.item()
    return array


def values(expressions: Iterable[Any]) -> list[Any]:
    """The values of several expressions, computed in one batched run.

    Args:
        expressions: Expressions; numbers and arrays stand for themselves.

    Returns:
        What `.value()` of each returns, in the same order.

    >>> import lazynet as ln
    >>> x = ln.constant([1.0, 2.0])
    >>> total, largest = ln.values([x.sum(), x.max()])
    >>> total, largest
    (3.0, 2.0)
    """
    if isinstance(expressions, (Expression, str)) or not isinstance(expressions, Iterable):
        raise ArgumentError(
            f"values: got {expressions!r}; it takes a list of expressions; for one use .value()"
        )
    entries = [x if isinstance(x, Expression) else constant(x, role="values") for x in expressions]
    evaluate(entries)
    if len(entries) >= _MANY:
        rows = _rows_at_once(entries)
        if rows is not None:
            return rows
    found = _from_gpu(entries) if gpu_in_use() else {}
    return [found[k] if k in found else value(x) for k, x in enumerate(entries)]


_MANY = 12
"""Values from which on looking for rows that lie in one arena takes less time than it saves."""


def _rows_at_once(entries: list[Expression]) -> list[Any] | None:
    """Values of single rows of one kind, from one tape and evaluation on the host; else None."""
    tape = entries[0].tape
    indices = [x.index for x in entries if x.tape is tape]
    if len(indices) < len(entries) or isinstance(entries[0], Leaf):
        return None
    done = tape.done[indices]
    evaluation = tape.evaluations[int(done[0])]
    layout = evaluation.layout
    if (done != done[0]).any() or evaluation.mirror is not None or layout.rebatched:
        return None
    numbers = tape.local[indices]
    codes = layout.code[numbers]
    if (codes != codes[0]).any():
        return None
    arena = int(layout.arena[numbers[0]])
    if arena < 0 or not (layout.rows[numbers] == -1).all():
        return None
    shape = layout.type(int(numbers[0])).shape
    rows = take_rows(evaluation.arenas[arena], layout.first[numbers]).reshape(-1, *shape)
    return [row.copy() for row in rows] if shape else rows.tolist()  # arrays of one's own


def _from_gpu(entries: list[Expression]) -> dict[int, Any]:
    """Values of evaluated expressions that lie on a GPU, in one copy for each arena.

    Returns:
        By position; those of parameters, and of what is computed from them alone, are left out.
    """
    groups: dict[tuple[Any, int], list[tuple[int, int]]] = {}
    for k, x in enumerate(entries):
        if not isinstance(x, Leaf):
            evaluation, number = x.tape.location(x.index)
            arena = int(evaluation.layout.arena[number])
            if evaluation.mirror is not None and arena >= 0:
                groups.setdefault((evaluation, arena), []).append((k, number))
    found: dict[int, Any] = {}
    for (evaluation, arena), members in groups.items():
        rows = [evaluation.layout.node_rows(number) for _, number in members]
        with on_device(evaluation.device):
            taken = to_host(take_rows(evaluation.arenas[arena], np.concatenate(rows)))
        start = 0
        for (k, _), own in zip(members, rows):
            x = entries[k]
            shape = x.shape if x.batch is None else (len(own), *x.shape)
            stop = start + len(own)
            found[k] = _own(taken[start:stop].reshape(shape).copy(), x.batch)
            start = stop
    return found


def detach(x: Expression) -> Expression:
    """A constant of the value of x."""
    return constant(device_value(x), batched=x.batch is not None, dtype=x.dtype)


HOOKS.value = value
HOOKS.device_value = device_value
HOOKS.detach = detach
