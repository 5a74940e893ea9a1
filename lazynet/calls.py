"""Recording calls of fused functions, scans and lists: hot paths beside `graph.binary`."""

from __future__ import annotations

from typing import Any, Final

from lazynet.graph import Expression, Leaf, adopt, handle, mark, record, unshare
from lazynet.kinds import Kind, Op, Type
from lazynet.leaves import UNBATCH, UNSHARE
from lazynet.modes import MODES, Modes
from lazynet.native import mypyc_attr
from lazynet.randomness import next_key
from lazynet.tape import LOCAL, Tape, tape_for_input

_modes: Final = MODES.get
LISTED = -(1 << 62)
"""In the key of a call, stands for a list of whole numbers, one for each row."""
OPEN = -(1 << 61)
CLOSE = -(1 << 60)
"""Around what is in a tuple."""


class Program:
    """One program of a fused function, as calls of it are recorded.

    Attributes:
        op: The operation of its nodes.
        kind: Their kind.
        leaves: The parameters it uses.
        slots: The places of its payload (`deferred.Slot`).
        positions, limits, scales: Of the slots, in order.
        lists: How many lists of whole numbers are payload.
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
        "lists",
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
        self.lists: int = len({slot.position for slot in self.slots if slot.listed})
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


class ScanProgram:
    """A cell that was scanned before.

    Attributes:
        program: Its program.
        states: Number of its states, the first results of the program.
        form: How the states lie in tuples.
        structure: How the outputs lie in tuples.
        places: Which results of the program the outputs are.
    """

    __slots__ = ("form", "places", "program", "states", "structure")

    def __init__(
        self, program: Program, states: int, form: Any, structure: Any, places: list[int]
    ) -> None:
        self.program = program
        self.states = states
        self.form = form
        self.structure = structure
        self.places = places


class Recent:
    """How the last step of a cell was recorded.

    Attributes:
        ids: What tells its arguments apart, as in `Arguments`.
        program: The program, without payload.
        training: The mode.
    """

    __slots__ = ("ids", "program", "training")

    def __init__(self, ids: list[int], program: Program, training: bool) -> None:
        self.ids = ids
        self.program = program
        self.training = training


@mypyc_attr(allow_interpreted_subclasses=True)
class Caller:
    """What is called to record a node of a fused function.

    Attributes:
        function: The function itself.
        training, evaluating: Its signatures, by what tells calls apart, in the two modes.
        bound: The function as a method of objects, by their identity.
        scan_programs: Its programs as a cell, by what tells scans apart.
        recent: The last step of a cell in `fast_layers`.
    """

    def __init__(self, function: Any) -> None:
        self.recent: Recent | None = None
        self.function = function
        self.training: dict[Any, Signature] = {}
        self.evaluating: dict[Any, Signature] = {}
        self.bound: dict[int, Any] = {}
        self.scan_programs: dict[Any, ScanProgram] = {}

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        found = self.bound.get(id(instance))
        return self.bind(instance) if found is None else found

    def bind(self, instance: Any) -> Any:
        """The function as a method of this object."""
        raise TypeError(f"{type(self).__name__} binds to no object")

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

    def fast(self, *args: Any) -> Any:
        """Record a call like one met before; None for any other."""
        modes = _modes()
        if not modes.fuse or modes.debug or LOCAL.tape.trace is not None:
            return None
        return fast_call(self.training if modes.training else self.evaluating, args, modes)

    def fast_scan(self, xs: Any, init: Any, reverse: bool) -> Any:
        """Record a scan like one recorded before; None for any other."""
        modes = _modes()
        if not modes.fuse or modes.debug or LOCAL.tape.trace is not None:
            return None
        arguments = scan_key(xs, init, (), reverse, modes)
        return None if arguments is None else fast_scan(self, arguments, reverse, modes)

    def general(self, args: tuple[Any, ...], keywords: dict[str, Any], modes: Modes) -> Any:
        """Record any call, also one not met before."""
        raise TypeError(f"{type(self).__name__} records no calls")


class Arguments:
    """The arguments of a call, as far as they have been looked at.

    Attributes:
        ids: The key of the call.
        expressions: The expressions.
        others: Whole numbers and lists of them, at their positions; None for expressions.
        lists: Number of these lists.
        rows: The batch, -1 for single rows.
    """

    __slots__ = ("expressions", "ids", "lists", "others", "rows")

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.expressions: list[Expression] = []
        self.others: list[Any] = []
        self.lists = 0
        self.rows = -1

    def take(self, args: tuple[Any, ...]) -> bool:
        """Add arguments; False where one is neither expression nor int nor a tuple of such."""
        ids = self.ids
        for a in args:
            if type(a) is Expression:
                source = a.tape
                n = source.rows[a.index]
                t = source.kinds[a.index].type
                if n == -1:
                    ids.append(t.id)
                else:
                    ids.append(-t.id)
                    if n != self.rows:
                        if self.rows != -1:
                            return False
                        self.rows = n
                self.expressions.append(a)
                self.others.append(None)
            elif type(a) is int:
                ids.append(0)
                self.others.append(a)
            elif type(a) is tuple:
                ids.append(OPEN)
                if not self.take(a):
                    return False
                ids.append(CLOSE)
            elif type(a) is list and len(a) > 0 and type(a[0]) is int:
                ids.append(LISTED)
                self.others.append(a)
                self.lists += 1
                n = len(a)
                if n != self.rows:
                    if self.rows != -1:
                        return False
                    self.rows = n
            else:
                return False
        return True


def fast_call(table: dict[Any, Signature], args: tuple[Any, ...], modes: Modes) -> Any:
    """Record a call whose arguments are expressions and ints; None for a call not met before."""
    arguments = Arguments()
    if not arguments.take(args):
        return None
    signature = table.get(tuple(arguments.ids))
    if signature is None:
        return None
    others = arguments.others
    if signature.static:
        seen = [others[k] for k in signature.static]
        program = signature.programs.get(tuple([tuple(v) if type(v) is list else v for v in seen]))
    else:
        program = signature.programs.get(())
    if program is None or program.lists != arguments.lists:
        return None
    payload = program.payload(others)
    tape = LOCAL.tape
    indices: list[int] = []
    own = False
    foreign = False
    for x in arguments.expressions:
        if x.tape is tape:
            own = True
            indices.append(x.index)
        else:
            foreign = True
    if not own or tape.sealed != 0:
        tape = tape_for_input()
        foreign = True
    if foreign:
        indices = [adopt(tape, x) for x in arguments.expressions]
    return append(tape, program, indices, arguments.rows, payload, modes)


def fast_layers(
    callers: list[Caller], x: Expression, states: Any, further: Any
) -> list[tuple[Expression, ...]] | None:
    """Record a step of several cells, one above the other, like one met before.

    Args:
        callers: The cells; each returns a tuple, of which the next one gets the last entry.
        x: What the first one gets.
        states: For each cell a tuple of expressions that it gets after that.
        further: For each cell another one.

    Returns:
        What each returned; None if one was not called like this before.
    """
    modes = _modes()
    if not modes.fuse or modes.debug or LOCAL.tape.trace is not None:
        return None
    training = modes.training
    results: list[tuple[Expression, ...]] = []
    for k in range(len(callers)):
        caller = callers[k]
        state: tuple[Expression, ...] = states[k]
        more: tuple[Expression, ...] = further[k]
        recent = caller.recent
        result: Any = None
        if recent is not None and recent.training == training:
            result = _repeated(recent, x, state, more, modes)
        if result is None:
            table = caller.training if training else caller.evaluating
            args = (x, *state, *more)
            result = fast_call(table, args, modes)
            if result is None:
                return None
            caller.recent = _recent(table, args, training)
        parts: tuple[Expression, ...] = result
        results.append(parts)
        x = parts[len(parts) - 1]
    return results


def _repeated(
    recent: Recent,
    x: Expression,
    state: tuple[Expression, ...],
    more: tuple[Expression, ...],
    modes: Modes,
) -> Any:
    """Record a step like the last one; None for any other."""
    ids = recent.ids
    before = len(state)
    if len(ids) != 1 + before + len(more):
        return None
    tape = LOCAL.tape
    indices: list[int] = []
    rows = -1
    own = False
    foreign = False
    for i in range(len(ids)):
        a = x if i == 0 else state[i - 1] if i <= before else more[i - before - 1]
        if type(a) is not Expression:
            return None
        source = a.tape
        n = source.rows[a.index]
        t = source.kinds[a.index].type.id
        if ids[i] != (t if n == -1 else -t):
            return None
        if n != -1 and n != rows:
            if rows != -1:
                return None
            rows = n
        if source is tape:
            own = True
        else:
            foreign = True
        indices.append(a.index)
    if not own or tape.sealed != 0:
        tape = tape_for_input()
        foreign = True
    if foreign:
        indices = [adopt(tape, a) for a in (x, *state, *more)]
    return append(tape, recent.program, indices, rows, None, modes)


def _recent(table: dict[Any, Signature], args: tuple[Any, ...], training: bool) -> Recent | None:
    """What `_repeated` needs to know of a call that was just recorded."""
    arguments = Arguments()
    arguments.take(args)
    signature = table[tuple(arguments.ids)]
    program = None if signature.static else signature.programs.get(())
    if program is None or program.slots or program.keys:
        return None
    return Recent(arguments.ids, program, training)


def scan_key(
    xs: Any, init: Any, constants: tuple[Any, ...], reverse: bool, modes: Modes
) -> Arguments | None:
    """What tells a scan apart (`ids`), with its expressions; None for what has to be converted."""
    arguments = Arguments()
    if not arguments.take((xs, init, constants)):
        return None
    arguments.ids.append(1 if reverse else 0)
    arguments.ids.append(1 if modes.training else 0)
    return arguments


def fast_scan(caller: Caller, arguments: Arguments, reverse: bool, modes: Modes) -> Any:
    """Record a scan like one met before: its outputs and final state, or None."""
    found = caller.scan_programs.get(tuple(arguments.ids))
    if found is None:
        return None
    return record_scan(found, arguments.expressions, arguments.rows, reverse, modes)


def record_scan(
    found: ScanProgram, given: list[Expression], rows: int, reverse: bool, modes: Modes
) -> tuple[Any, Any]:
    """Record a scan.

    Args:
        found: The cell.
        given: Inputs, states before the first step, and constants.
        rows: Number of steps.
        reverse: Whether it runs from the last to the first.
        modes: The modes in force.

    Returns:
        The outputs, and the state after the last step.
    """
    program = found.program
    tape = LOCAL.tape
    own = False
    for x in given:
        if x.tape is tape:
            own = True
            break
    if not own or tape.sealed != 0:
        tape = tape_for_input()
    indices = [adopt(tape, x) for x in given]
    payload = (next_key(program.keys * rows),) if program.keys else None
    results: Any = append(tape, program, indices, rows, payload, modes)
    after: list[Expression] = []
    first = len(given) - found.states - program.op.form.constants
    for j in range(found.states):
        if rows == 0:
            after.append(given[first + j])
        elif modes.gradients:
            after.append(record(UNBATCH, (results[j],), 0 if reverse else rows - 1, -1))
        else:  # whoever points at rows would hand on their gradient
            kept = record(UNSHARE, (results[j],))
            after.append(record(UNBATCH, (kept,), 0 if reverse else rows - 1, -1))
    ys = structured(found.structure, [results[k] for k in found.places], [0])
    return ys, structured(found.form, after, [0])


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


def record_together(op: Op, xs: list[Any]) -> Expression | None:
    """Record an n-ary op that puts the rows of its arguments one after the other.

    None where they are not all single rows of one type on the open tape.
    """
    tape = LOCAL.tape
    if not xs or tape.sealed != 0 or tape.trace is not None:
        return None
    kinds = tape.kinds
    rows = tape.rows
    indices: list[int] = []
    first: Type | None = None
    for x in xs:
        if type(x) is Expression and x.tape is tape:
            i = x.index
        elif isinstance(x, Expression):
            i = adopt(tape, x)
        else:
            return None
        if kinds[i].type.shared:
            i = unshare(tape, i)
        t = kinds[i].type
        if first is None:
            first = t
        if t is not first or rows[i] != -1:
            return None
        indices.append(i)
    if first is None or first.shared:
        return None
    kind = op.kinds.get(first)
    if kind is None:
        return None
    n = tape.append(kind, indices, len(indices), None)
    if _modes().marks:
        mark(tape, n)
    return handle(tape, n)


__all__ = [
    "CLOSE",
    "LISTED",
    "OPEN",
    "Arguments",
    "Caller",
    "Program",
    "ScanProgram",
    "Signature",
    "append",
    "fast_call",
    "fast_layers",
    "fast_scan",
    "record_scan",
    "record_together",
    "scan_key",
    "structured",
]
