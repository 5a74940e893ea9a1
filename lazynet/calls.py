"""Recording calls of fused functions: the hot path beside `graph.binary`."""

from __future__ import annotations

from typing import Any

from lazynet.graph import Expression, Leaf, adopt, handle, mark
from lazynet.kinds import Kind
from lazynet.modes import MODES, Modes
from lazynet.native import mypyc_attr
from lazynet.randomness import next_key
from lazynet.tape import LOCAL, Tape, tape_for_input

_modes = MODES.get
LISTED = -(1 << 62)
"""In the key of a call, stands for a list of whole numbers, one for each row."""


class Program:
    """One program of a fused function, as calls of it are recorded.

    Attributes:
        op: The operation of its nodes.
        kind: Their kind.
        leaves: The parameters it uses.
        slots: The places of its payload (`deferred.Slot`).
        positions, limits, scales: Of the slots, in order.
        keys: Random keys that a call takes.
        structure: How the results lie in tuples; None for a single one.
        flat: Whether they are one tuple.
    """

    __slots__ = (
        "flat",
        "keys",
        "kind",
        "leaves",
        "limits",
        "op",
        "positions",
        "scales",
        "slots",
        "structure",
    )

    def __init__(self, op: Any, kind: Kind, leaves: list[Leaf], structure: Any) -> None:
        self.op = op
        self.kind = kind
        self.leaves = leaves
        self.slots: list[Any] = list(op.trace.slots)
        self.positions: list[int] = [slot.position for slot in self.slots]
        self.limits: list[int] = [slot.limit for slot in self.slots]
        self.scales: list[int] = [slot.scale for slot in self.slots]
        self.keys: int = op.trace.keys
        self.structure = structure
        self.flat = structure is not None and all(part is None for part in structure)

    def payload(self, args: Any) -> Any:
        """The payload of a call: what its int arguments put into the slots, and a random key."""
        if not self.slots and self.keys == 0:
            return None
        values: list[Any] = []
        for k in range(len(self.slots)):
            value = args[self.positions[k]]
            if type(value) is int and 0 <= value < self.limits[k]:
                values.append(value * self.scales[k])
            else:
                values.append(self.slots[k].fill(value))
        if self.keys:
            values.append(next_key(self.keys))
        return tuple(values)


class Signature:
    """The programs of a function for one kind of call.

    Attributes:
        static: Positions of int arguments whose values programs depend on.
        programs: Programs by these values.
    """

    __slots__ = ("programs", "static")

    def __init__(self) -> None:
        self.static: tuple[int, ...] = ()
        self.programs: dict[Any, Program] = {}


@mypyc_attr(allow_interpreted_subclasses=True)
class Caller:
    """What is called to record a node of a fused function.

    Attributes:
        function: The function itself.
        training, evaluating: Its signatures, by what tells calls apart, in the two modes.
    """

    def __init__(self, function: Any) -> None:
        self.function = function
        self.training: dict[Any, Signature] = {}
        self.evaluating: dict[Any, Signature] = {}

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        modes = _modes()
        if not modes.fuse or LOCAL.tape.trace is not None:
            return self.function(*args, **keywords)
        if not keywords and not modes.debug:
            table = self.training if modes.training else self.evaluating
            result = fast_call(table, args, modes)
            if result is not None:
                return result
        return self.general(args, keywords, modes)

    def general(self, args: tuple[Any, ...], keywords: dict[str, Any], modes: Modes) -> Any:
        """Record any call, also one not met before."""
        raise TypeError(f"{type(self).__name__} records no calls")


def fast_call(table: dict[Any, Signature], args: tuple[Any, ...], modes: Modes) -> Any:
    """Record a call whose arguments are expressions and ints; None for a call not met before."""
    tape = LOCAL.tape
    ids: list[int] = []
    indices: list[int] = []
    foreign = False
    own = False
    rows = -1
    for a in args:
        if type(a) is Expression:
            source = a.tape
            i = a.index
            n = source.rows[i]
            if n == -1:
                ids.append(source.kinds[i].type.id)
            else:
                ids.append(-source.kinds[i].type.id)
                if n != rows:
                    if rows != -1:
                        return None
                    rows = n
            if source is tape:
                own = True
                indices.append(i)
            else:
                foreign = True
                indices.append(-1)
        elif type(a) is int:
            ids.append(0)
        elif type(a) is list and a and type(a[0]) is int:
            ids.append(LISTED)
            n = len(a)
            if n != rows:
                if rows != -1:
                    return None
                rows = n
        else:
            return None
    signature = table.get(tuple(ids))
    if signature is None:
        return None
    if signature.static:
        program = signature.programs.get(tuple([args[k] for k in signature.static]))
    else:
        program = signature.programs.get(())
    if program is None:
        return None
    payload = program.payload(args)
    if not own or tape.sealed != 0:
        tape = tape_for_input()
        foreign = True
    if foreign:
        indices = [adopt(tape, a) for a in args if type(a) is Expression]
    return append(tape, program, indices, rows, payload, modes)


def append(
    tape: Tape, program: Program, indices: list[int], rows: int, payload: Any, modes: Modes
) -> Any:
    """Record a node of a program; returns its results.

    Args:
        tape: The open tape.
        program: The program.
        indices: The expressions it is given, as indices on that tape.
        rows: Batch of the results (-1: single rows).
        payload: What the node carries.
        modes: The modes in force.
    """
    leaves = tape.groups.get(program)
    if leaves is None:
        leaves = tape.groups[program] = [adopt(tape, leaf) for leaf in program.leaves]
    n = len(tape.kinds)
    kind = program.kind
    members = kind.members
    tape.starts.append(len(tape.args))
    tape.args += indices
    tape.args += leaves
    tape.kinds.append(kind)
    tape.rows.append(rows)
    tape.payloads.append(payload)
    count = len(members)
    if count > 1:
        tape.several = True
        for k in range(1, count):
            tape.starts.append(len(tape.args))
            tape.args.append(n)
            tape.kinds.append(members[k])
            tape.rows.append(rows)
            tape.payloads.append(None)
    if modes.marks:
        for k in range(n, n + count):
            mark(tape, k)
    if program.structure is None:
        return handle(tape, n)
    results = [handle(tape, k) for k in range(n, n + count)]
    if program.flat:
        return tuple(results)
    return structured(program.structure, results, [0])


def structured(structure: Any, results: list[Expression], at: list[int]) -> Any:
    """Results in nested tuples; `at` holds the number of those placed so far."""
    if structure is None:
        at[0] += 1
        return results[at[0] - 1]
    return tuple([structured(part, results, at) for part in structure])


__all__ = ["LISTED", "Caller", "Program", "Signature", "append", "fast_call", "structured"]
