"""Tracing: running a function of expressions once to see which operations it records.

The trace is an ordinary tape, so shapes are checked, and errors raised, at the lines of the
function. What a trace cannot follow - looking at a value, at the number of rows, at an expression
from outside that is no parameter - is refused there as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from lazynet.deferred import TRACED_ROWS, Slot, stands_for
from lazynet.errors import FuseError
from lazynet.graph import Expression, Leaf, handle, record
from lazynet.kinds import Kind, Op, Type, user_line
from lazynet.leaves import INPUT, UNSHARE, Input, input_kind
from lazynet.modes import tracing
from lazynet.randomness import Stream, using_stream
from lazynet.tape import LOCAL, Tape

_MASK = (1 << 64) - 1


class Used(NamedTuple):
    """Stands for a parameter in a trace that is done."""

    name: str


class Trace:
    """What a function recorded.

    Attributes:
        name: Name of the function, for messages.
        tape: What it recorded.
        inputs: Indices on the tape of the expressions it was given, in order.
        outputs: Indices of the expressions it returned, flattened; the results of the node.
        structure: How these lie in tuples.
        returned: Both as text, as the function returned them (a scan arranges them anew).
        slots: Places of the payload that calls fill from their int arguments.
        looked_at: Positions of the int arguments whose values it looked at.
        keys: How many random keys it drew.
        number_of_key: Which of them a key is.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.tape = Tape()
        self.tape.trace = self
        self.inputs: list[int] = []
        self.outputs: list[int] = []
        self.returned = ""
        self.structure: Any = None
        self.slots: list[Slot] = []
        self.looked_at: set[int] = set()
        self.keys = 0
        self.number_of_key: dict[int, int] = {}

    # What stand-ins and the record path ask for

    def slot(self, slot: Slot) -> Slot:
        """Note a slot."""
        if slot not in self.slots:
            self.slots.append(slot)
        return slot

    def static(self, position: int) -> None:
        """Note that the value of an argument was looked at."""
        self.looked_at.add(position)

    def refuse_value(self, x: Expression) -> FuseError:
        """The error for a value asked for inside."""
        return FuseError(
            f"{self.name}: the value of {x!r} was asked for inside a fused function (line "
            f"{user_line()}); it is traced once, before anything is computed; compute the value "
            "outside and pass it in, choose with ln.where, or leave the function unfused"
        )

    def refuse_batch(self, x: Expression) -> FuseError:
        """The error for a number of rows asked for inside."""
        return FuseError(
            f"{self.name}: .batch of {x!r} was read inside a fused function (line {user_line()}); "
            "one program serves calls with any number of rows; pass a number that depends on it "
            "as an argument"
        )

    def refuse_closure(self, x: Expression) -> FuseError:
        """The error for an expression from outside."""
        return FuseError(
            f"{self.name}: {x!r} comes from outside the fused function (line {user_line()}); only "
            "parameters can be closed over; pass it as an argument"
        )

    def refuse_escape(self, x: Expression) -> FuseError:
        """The error for an expression of a trace that is used elsewhere."""
        return FuseError(
            f"{self.name}: an expression made while this fused function was traced ({x!r}) was "
            "kept and is used outside (line {}); return it from the function".format(user_line())
        )

    def refuse_rows(self, op: Op) -> FuseError:
        """The error for operations across the rows of a batch."""
        return FuseError(
            f"{self.name}: {op.name} rearranges or reduces the rows of a batch (line "
            f"{user_line()}); a fused function works on one row at a time; do it outside"
        )

    # Running

    def run(
        self,
        function: Callable[..., Any],
        given: list[Any],
        rebuild: Callable[..., Any],
        single: bool = False,
    ) -> None:
        """Trace a call.

        Args:
            function: The function.
            given: Its arguments, flattened; expressions are replaced by inputs of their type.
            rebuild: Makes positional and keyword arguments of the flattened ones.
            single: Whether the function sees single rows, whatever the batch of its arguments.
        """
        outer = LOCAL.tape
        stream = Stream(0)
        LOCAL.tape = self.tape
        try:
            with tracing(), using_stream(stream):
                args, keywords = rebuild([self._inside(k, a, single) for k, a in enumerate(given)])
                result = function(*args, **keywords)
                found: list[Expression] = []
                self.structure = self._structure(result, found)
        finally:
            LOCAL.tape = outer
        self.keys = stream.count
        again = Stream(0)
        self.number_of_key = {again.next_key(): n for n in range(stream.count)}
        for x in found:
            if x.tape is not self.tape:
                raise FuseError(
                    f"{self.name}: it returned {x!r}, which it did not compute; return what it "
                    "computes from its arguments"
                )
        if not found:
            raise FuseError(
                f"{self.name}: it returned no expression; it has to return at least one"
            )
        self.outputs = [x.index for x in found]
        self.returned = f"returns {self.outputs} as {self.structure}"

    def _inside(self, position: int, a: Any, single: bool) -> Any:
        if isinstance(a, Leaf) or not isinstance(a, (Expression, Payload)):
            return a
        if isinstance(a, Payload):
            return stands_for(self, position, a.value, a.listed)
        rows = a.tape.rows[a.index]
        return self.place(a.type, rows != -1 and not single)

    def place(self, t: Type, batched: bool) -> Expression:
        """An input of this type."""
        kind = input_kind(t) if not t.shared else Kind(INPUT, (), (t,), True)
        index = self.tape.append(kind, [], TRACED_ROWS if batched else -1, None)
        self.inputs.append(index)
        return handle(self.tape, index)

    def _structure(self, result: Any, found: list[Expression]) -> Any:
        if isinstance(result, Expression):
            # a parameter becomes a row of its own
            found.append(record(UNSHARE, (result,)) if isinstance(result, Leaf) else result)
            return None
        if isinstance(result, (tuple, list)):
            return tuple([self._structure(r, found) for r in result])
        raise FuseError(
            f"{self.name}: it returned {type(result).__name__} {result!r}; a fused function "
            "returns an expression or a tuple of expressions"
        )

    def release(self) -> list[Leaf]:
        """The parameters it uses, in order; it keeps their names only."""
        payloads = self.tape.payloads
        found = [(i, p) for i, p in enumerate(payloads) if isinstance(p, Leaf)]
        for i, leaf in found:
            payloads[i] = Used(leaf.name)
        return [leaf for _, leaf in found]

    def description(self) -> list[tuple[str, str]]:
        """Every node as text, with the line that recorded it: what two traces are compared by."""
        tape = self.tape
        lines = []
        for i, kind in enumerate(tape.kinds):
            payload = tape.payloads[i]
            if isinstance(payload, (Leaf, Used)):
                text = f"parameter {payload.name} #{kind.type.shared}"
            elif isinstance(payload, np.ndarray):
                short = np.array2string(payload, threshold=8, edgeitems=3).replace("\n", "")
                text = f"array {payload.dtype} {short} (checksum {crc32(payload.tobytes()):08x})"
            elif isinstance(payload, Slot):
                text = f"argument {payload.position} x {payload.scale}"
            else:
                text = repr(payload)
            args = ", ".join(f"%{a}" for a in tape.arguments(i))
            shape = kind.type.shape
            op = "input" if isinstance(kind.op, Input) else repr(kind.op)
            if isinstance(payload, (Leaf, Used)):
                op = "leaf"
            lines.append((f"{op}({args}) {text} -> {shape}", tape.lines.get(i, "an argument")))
        lines.append((self.returned, "the end"))
        return lines

    def key_number(self, key: int) -> int:
        """Which of the random keys drawn this is."""
        return self.number_of_key[key & _MASK]


class Payload:
    """An argument of a call that may become payload: a whole number, or several."""

    __slots__ = ("listed", "value")

    def __init__(self, value: Any, listed: bool) -> None:
        self.value = value
        self.listed = listed


def first_difference(name: str, before: Trace, after: Trace) -> FuseError | None:
    """The error that says where a second trace departs from the first; None if it does not."""
    old, new = before.description(), after.description()
    for k in range(max(len(old), len(new))):
        was = old[k] if k < len(old) else ("nothing", "the end")
        now = new[k] if k < len(new) else ("nothing", "the end")
        if was[0] != now[0]:
            return FuseError(
                f"{name}: traced again, it records something else: first {was[0]} (line {was[1]}), "
                f"now {now[0]} (line {now[1]}); a fused function may depend on its arguments and "
                "on parameters only; pass what changes as an argument"
            )
    return None
