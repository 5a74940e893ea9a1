"""Calls like ones met before, recorded in few steps: hot paths of single functions.

Programs written operation by operation spend most of their time in front of the tape: looking at
arguments, and making an operation of them only to find that it is known. What such a function
checks and derives depends on the types of its arguments and on a few whole numbers. A `Shortcut`
remembers, by these, the kind of the node that the function recorded.

All functions here return None wherever anything is unusual, having done nothing; their callers then
go the long way, which checks everything and refuses what is wrong.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

import lazynet.kinds
from lazynet.graph import (
    Expression,
    Leaf,
    finished,
    handle,
    known_rows,
    mark,
    record,
)
from lazynet.kinds import FLOAT32, FLOAT64, HOOKS, Kind, Op, Shape, Type, derived_table
from lazynet.modes import MODES
from lazynet.tape import LOCAL, NO_TAPE, UNKNOWN, Tape, tape_for_input

_modes: Final = MODES.get
_ARRAY: Final = np.ndarray


class Part:
    """What an index takes of an expression: the kind of the node, and its payload."""

    __slots__ = ("kind", "payload")

    def __init__(self, kind: Kind, payload: Any) -> None:
        self.kind = kind
        self.payload = payload


_inputs32: Final[dict[Any, Kind]] = derived_table()
_inputs64: Final[dict[Any, Kind]] = derived_table()
_parts: Final[dict[Any, Part]] = derived_table()
_splits: Final[dict[Any, Kind]] = derived_table()


class Lists:
    """A function of a list of expressions and an axis: the kinds of its nodes."""

    def __init__(self) -> None:
        self.kinds: dict[Any, Kind] = derived_table()

    def known(self, xs: Any, axis: Any) -> Expression | None:
        """Record a call like one met before."""
        tape = LOCAL.tape
        if tape.sealed != 0 or tape.trace is not None:
            return None
        start = len(tape.args)
        if type(axis) is not int or not (type(xs) is list or type(xs) is tuple):
            return None
        key: list[Any] = [axis]
        rows = known_rows(tape, tuple(xs), key)
        kind = None if rows == UNKNOWN else self.kinds.get(tuple(key))
        if kind is not None and rows >= 0:
            rows = tape.joint_rows(kind.op, start)
        return finished(tape, kind, start, rows, None)

    def learn(self, xs: Any, axis: Any, result: Expression) -> Expression:
        """Remember a call that was recorded the long way; returns its result."""
        tape = result.tape
        start = len(tape.args)
        key = _listed(tape, xs, axis)
        indices = tape.args[start:]
        del tape.args[start:]
        if key is not None and tape.arguments(result.index) == indices:
            kind = tape.kinds[result.index]
            if len(kind.members) == 1 and not kind.shared:
                remember(self.kinds, key, kind)
        return result


def _listed(tape: Tape, xs: Any, axis: Any) -> Any:
    """The key of a list of nodes on the tape, which begin a node; None for anything else."""
    if type(axis) is not int or not (type(xs) is list or type(xs) is tuple):
        return None
    key: list[Any] = [axis]
    return None if known_rows(tape, tuple(xs), key) == UNKNOWN else tuple(key)


def remember(table: dict[Any, Any], key: Any, value: Any) -> None:
    """Put an entry into a table that starts anew when it is full."""
    if len(table) >= lazynet.kinds.TABLE_LIMIT:
        table.clear()
    table[key] = value


def reduced(op: Op, xs: Any) -> Expression | None:
    """Record a reduction over a list of nodes of one type and batch."""
    tape = LOCAL.tape
    if tape.sealed != 0 or tape.trace is not None or type(xs) is not list:
        return None
    start = len(tape.args)
    first = _alike_rows(tape, xs)
    if first is None:
        return finished(tape, None, start, -1, None)
    return finished(tape, op._kinds.get(first), start, tape.rows[tape.args[start]], None)


def _alike_rows(tape: Tape, xs: list[Any]) -> Type | None:
    """Add nodes of one type and batch to the arguments of a tape; returns their type."""
    kinds = tape.kinds
    rows = tape.rows
    args = tape.args
    first: Type | None = None
    r = -1
    for x in xs:
        if type(x) is not Expression or x.tape is not tape:
            return None
        i = x.index
        t = kinds[i].type
        if t is not first:
            if first is not None or t.shared != 0:
                return None
            first = t
            r = rows[i]
        if rows[i] != r:
            return None
        args.append(i)
    return first


def chosen(op: Op, x: Any, k: Any) -> Expression | None:
    """Record an op of a vector and the number of an entry, which is its payload."""
    if type(k) is not int or type(x) is not Expression:
        return None
    tape = LOCAL.tape
    if x.tape is not tape or tape.sealed != 0:
        return None
    t = tape.kinds[x.index].type
    if len(t.shape) != 1 or not 0 <= k < t.width:
        return None
    kind = op._kinds.get(t)
    if kind is None:
        return None
    return _one(tape, kind, x.index, k)


def elsewhere(op: Op, x: Expression, payload: Any) -> Expression:
    """Record an op of a parameter, or of a node of another tape, which this tape has met before."""
    tape = tape_for_input()
    if tape.sealed == 0 and tape.trace is None:
        if isinstance(x, Leaf):
            i = tape.shared.get(x.leaf_kind, -1)
        else:
            places = tape.imports.get(x.tape)
            i = -1 if places is None else places.get(x.index, -1)
        kind = None if i < 0 else op._kinds.get(tape.kinds[i].type)
        if kind is not None and kind.shared:
            known = tape.shared.get((kind, _modes().gradients), -1)
            if known >= 0:
                return handle(tape, known)
        elif kind is not None:
            start = len(tape.args)
            tape.args.append(i)
            e = finished(tape, kind, start, tape.rows[i], payload)
            if e is not None:
                return e
    return record(op, (x,), payload)


def _one(tape: Tape, kind: Kind, i: int, payload: Any) -> Expression:
    """Append a node of one argument."""
    n = len(tape.kinds)
    if _modes().marks:
        mark(tape, n)
    tape.kinds.append(kind)
    tape.starts.append(len(tape.args))
    tape.args.append(i)
    tape.rows.append(tape.rows[i])
    tape.payloads.append(payload)
    return handle(tape, n)


# Parts of an expression


def _sections(t: Type, sections: Any, axis: Any) -> Any:
    if type(axis) is not int:
        return None
    if type(sections) is int:
        return (t, sections, axis)
    if type(sections) is not list and type(sections) is not tuple:
        return None
    for n in sections:
        if type(n) is not int:  # True and 2.0 would be taken for 1 and 2
            return None
    return (t, tuple(sections), axis)


def cut(x: Any, sections: Any, axis: Any) -> Any:
    """Record a split like one met before."""
    tape = LOCAL.tape
    if type(x) is not Expression or x.tape is not tape or tape.sealed != 0:
        return None
    i = x.index
    key = _sections(tape.kinds[i].type, sections, axis)
    if key is None:
        return None
    kind = _splits.get(key)
    if kind is None:
        return None
    n = len(tape.kinds)
    r = tape.rows[i]
    marks = _modes().marks
    tape.several = True
    result: list[Expression] = []
    for member in kind.members:
        k = len(tape.kinds)
        if marks:
            mark(tape, k)
        tape.kinds.append(member)
        tape.starts.append(len(tape.args))
        tape.args.append(i if k == n else n)
        tape.rows.append(r)
        tape.payloads.append(None)
        result.append(handle(tape, k))
    return tuple(result)


def learn_cut(x: Expression, sections: Any, axis: Any, kind: Kind) -> None:
    """Remember the kind of a split that was recorded the long way."""
    key = _sections(x.type, sections, axis)
    if key is not None:
        remember(_splits, key, kind)


def _place(t: Type, index: Any) -> Any:
    """The key of an index; None for one that has to be looked at."""
    if type(index) is int:
        return (t, index)
    if type(index) is slice:
        start, stop, step = index.start, index.stop, index.step
        if (
            (start is None or type(start) is int)
            and (stop is None or type(stop) is int)
            and (step is None or type(step) is int)
        ):
            return (t, start, stop, step)
    elif type(index) is tuple:
        for k in index:
            if type(k) is not int:
                return None
        return (t, index)
    return None


def part(x: Expression, index: Any) -> Any:
    """``x[index]``: recorded as before, or by `HOOKS.part`."""
    tape = LOCAL.tape
    if x.tape is not tape or tape.sealed != 0:
        return HOOKS.part(x, index)
    t = tape.kinds[x.index].type
    key = None if t.shared != 0 else _place(t, index)
    if key is None:
        return HOOKS.part(x, index)
    found = _parts.get(key)
    if found is not None:
        return _one(tape, found.kind, x.index, found.payload)
    n = len(tape.kinds)
    result = HOOKS.part(x, index)
    if (
        result.tape is tape
        and result.index == n
        and len(tape.kinds) == n + 1
        and tape.arguments(n) == [x.index]
    ):
        remember(_parts, key, Part(tape.kinds[n], tape.payloads[n]))
    return result


def row(table: Leaf, index: Any) -> Expression | None:
    """Record the row of a table of parameters that has this number."""
    op = table.row_op
    if op is None or type(index) is not int:
        return None
    tape = tape_for_input()
    i = tape.shared.get(table.leaf_kind, -1)
    if i < 0:
        return None
    t = table.leaf_kind.type
    n: int = t.shape[0]
    kind = op._kinds.get(t)
    if kind is None or not 0 <= index < n:
        return None
    return _one(tape, kind, i, index)


# Inputs and rows


def held(array: Any) -> Expression | None:
    """Record an input like one met before: a single row, an array of floating-point numbers."""
    if type(array) is not _ARRAY:
        return None
    dtype = array.dtype
    if dtype is FLOAT32:
        kind = _inputs32.get(array.shape)
    elif dtype is FLOAT64:
        kind = _inputs64.get(array.shape)
    else:
        return None
    if kind is None:
        return None
    return _input(kind, array.flatten(), -1)


def owned(values: Any, shape: Shape, rows: int) -> Expression | None:
    """Record an input like one met before, of numbers that nobody will change.

    Args:
        values: A vector of float32, row by row.
        shape: Shape of one example.
        rows: Number of examples, or -1.
    """
    kind = _inputs32.get(shape)
    return None if kind is None else _input(kind, values, rows)


def placed(values: Any, shape: Shape, rows: int) -> tuple[Tape, int]:
    """`owned`, as a tape and an index on it; the index is -1 for an input not met before."""
    kind = _inputs32.get(shape)
    if kind is None:
        return NO_TAPE, -1
    tape = tape_for_input()
    return tape, _append_input(tape, kind, values, rows)


def placed_row(table: Leaf, index: int) -> tuple[Tape, int]:
    """`row`, as a tape and an index on it; the index is -1 for a table not met before."""
    op = table.row_op
    tape = tape_for_input()
    i = tape.shared.get(table.leaf_kind, -1)
    kind = op._kinds.get(table.leaf_kind.type) if op is not None and i >= 0 else None
    if kind is None:
        return NO_TAPE, -1
    n = len(tape.kinds)
    if _modes().marks:
        mark(tape, n)
    tape.kinds.append(kind)
    tape.starts.append(len(tape.args))
    tape.args.append(i)
    tape.rows.append(-1)
    tape.payloads.append(index)
    return tape, n


def _input(kind: Kind, values: Any, rows: int) -> Expression:
    tape = tape_for_input()
    return handle(tape, _append_input(tape, kind, values, rows))


def _append_input(tape: Tape, kind: Kind, values: Any, rows: int) -> int:
    n = len(tape.kinds)
    if _modes().debug:
        mark(tape, n)
    tape.kinds.append(kind)
    tape.starts.append(len(tape.args))
    tape.rows.append(rows)
    tape.payloads.append(values)
    return n


def learn_held(kind: Kind) -> None:
    """Remember the kind of an input."""
    t = kind.type
    if t.dtype is FLOAT32 or t.dtype is FLOAT64:
        remember(_inputs32 if t.dtype is FLOAT32 else _inputs64, t.shape, kind)


def further_rows(first: Expression, count: int) -> list[Expression]:
    """The rows of a batch, of which the first was just recorded."""
    tape = first.tape
    kind = tape.kinds[first.index]
    source = tape.args[-1]
    marks = _modes().marks
    result = [first]
    for k in range(1, count):
        n = len(tape.kinds)
        tape.kinds.append(kind)
        tape.starts.append(len(tape.args))
        tape.args.append(source)
        tape.rows.append(-1)
        tape.payloads.append(k)
        if marks:
            mark(tape, n)
        result.append(handle(tape, n))
    return result


HOOKS.elsewhere = elsewhere
HOOKS.index = part
HOOKS.row = row

__all__ = [
    "Lists",
    "chosen",
    "cut",
    "elsewhere",
    "further_rows",
    "held",
    "learn_cut",
    "learn_held",
    "owned",
    "placed",
    "placed_row",
    "reduced",
]
