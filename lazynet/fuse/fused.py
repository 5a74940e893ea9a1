"""What fused functions and scans have in common: a trace, its shared values, its code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazynet.backend import SparseRows
from lazynet.fuse.compile import (
    Compiled,
    CompiledBack,
    Lowered,
    Needs,
    allocate,
    view_of,
)
from lazynet.fuse.gradients import Taken, add_gradient, pick, rows_taken
from lazynet.fuse.program import Value
from lazynet.fuse.replay import TraceReplay
from lazynet.fuse.reverse import SharedGradient
from lazynet.fuse.runtime import prepare, run, unrun
from lazynet.fuse.trace import Trace
from lazynet.graph import Leaf
from lazynet.kinds import Array, Call, Kind, Shape, Type
from lazynet.randomness import mix, next_key
from lazynet.staged import Staged


class Reversed:
    """The batches of a kind that one code ran: they need gradients of the same arguments.

    Attributes:
        code: The code.
        prepared: What was made of shared values for it.
        residues: Cotangents from which gradients of shared values are computed at the end.
        taken: The rows.
        scratch: Memory that is used again by every batch.
    """

    __slots__ = ("code", "prepared", "residues", "scratch", "taken")

    def __init__(self, code: CompiledBack, prepared: list[Any], residues: list[Array]) -> None:
        self.code = code
        self.prepared = prepared
        self.residues = residues
        self.taken: list[Taken] = []
        self.scratch: list[Array] = []


@dataclass
class Back:
    """Arrays of one kind in one backward.

    Attributes:
        work: Of forward.
        nodes: Shared nodes that need a gradient.
        seeds: Cotangents of the results, ``(rows, width)``.
        totals: Gradients of shared values added up so far, by (operation, argument).
        ran: Batches by the code that ran them.
        foreseen: On a GPU, what will take part, likewise; see `Staged.foresee`.
        arrays: Index arrays that this takes.
        indices: The rows of `foreseen`, where they are not contiguous.
    """

    work: Any
    nodes: frozenset[int]
    seeds: list[Array]
    totals: dict[tuple[int, int], Any] = field(default_factory=dict)
    ran: dict[Needs, Reversed] = field(default_factory=dict)
    foreseen: dict[Needs, list[Taken]] = field(default_factory=dict)
    arrays: list[Array] = field(default_factory=list)
    indices: dict[Needs, Array] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Fused(Staged):
    """What fused functions and scans have in common: a trace, and its shared values.

    It knows the parameters by their types alone: layouts of graphs that are remembered refer to
    it, and must not keep models alive.
    """

    trace: Trace
    leaf_types: tuple[Type, ...] = field(init=False)

    def __post_init__(self) -> None:
        tape = self.trace.tape
        found = [p.type for p in tape.payloads if isinstance(p, Leaf)]
        object.__setattr__(self, "leaf_types", tuple(found))
        object.__setattr__(self, "lowered", self.lower())
        object.__setattr__(self, "compiled", {})
        places = {
            i: k for k, i in enumerate(self.trace.inputs) if self.lowered.forward.is_shared(i)
        }
        at = len(self.trace.inputs)
        for i, p in enumerate(tape.payloads):
            if isinstance(p, Leaf):
                places[i] = at
                at += 1
        object.__setattr__(self, "places", places)
        self.find_constants()

    def find_constants(self) -> None:
        """Note the constants of the trace, in the dtypes that they are computed with."""
        tape = self.trace.tape
        found = {}
        for i in self.lowered.forward.shared:
            payload = tape.payloads[i]
            if isinstance(payload, np.ndarray) and not tape.arguments(i):
                found[i] = payload.astype(tape.kinds[i].type.work, copy=False)
        object.__setattr__(self, "constants_of", found)

    def renewed(self, payload: Any) -> Any:
        # the numbers of a call follow one another from its key: one that is mixed starts elsewhere
        return (*payload[:-1], mix(next_key())) if self.trace.keys else payload

    def replay(self, args: list[Array], payload: Any, row: int) -> TraceReplay:
        return TraceReplay(self.trace, getattr(self, "form", None), args, payload, row)

    def failed_inside(self, error: BaseException) -> tuple[Kind, str] | None:
        trace, ops = error.__traceback__, []
        while trace is not None:
            if trace.tb_frame.f_code in (run.__code__, unrun.__code__):
                ops.append(trace.tb_frame.f_locals["op"])
            trace = trace.tb_next
        tape = self.trace.tape
        found = [(kind, tape.lines[i]) for i, kind in enumerate(tape.kinds) if kind.op in ops[:1]]
        lines = list(dict.fromkeys([line for _, line in found]))
        return (found[0][0], " or ".join(lines)) if found else None

    lowered: Any = field(init=False, repr=False)
    compiled: Any = field(init=False, repr=False)
    places: Any = field(init=False, repr=False)
    """Which argument a shared node of the trace is."""
    constants_of: Any = field(init=False, repr=False)
    """Constants by node of the trace."""

    def lower(self) -> Lowered:
        """The lowered program."""
        return Lowered(self.trace)

    @property
    def name(self) -> str:
        return self.trace.name

    def shape(self, *shapes: Shape) -> list[Shape]:
        kinds = self.trace.tape.kinds
        return [kinds[i].type.shape for i in self.trace.outputs]

    def kind(self) -> Kind:
        """The kind of its nodes: the trace holds for these argument types alone."""
        kinds = self.trace.tape.kinds
        types = [*(kinds[i].type for i in self.trace.inputs), *self.leaf_types]
        return Kind(
            self, tuple(types), tuple([self._row_type(i) for i in self.trace.outputs]), False
        )

    def _row_type(self, i: int) -> Any:
        from lazynet.kinds import type_of

        t = self.trace.tape.kinds[i].type
        return type_of(t.shape, t.dtype)

    # Shared values

    def constant(self, array: Array) -> Array:
        """A constant of the trace as code reads it."""
        return array

    def shared_values(
        self, given: Sequence[Array | None]
    ) -> tuple[dict[int, Array], dict[int, Any]]:
        """Values of the shared nodes of the trace, and what their operations kept."""
        tape = self.trace.tape
        values: dict[int, Array] = {}
        kept: dict[int, Any] = {}
        for i in self.lowered.forward.shared:
            kind = tape.kinds[i]
            if i in self.places:
                value = given[self.places[i]]
                assert value is not None
                values[i] = value
            elif i in self.constants_of:
                values[i] = self.constant(self.constants_of[i]).reshape(kind.type.shape)
            else:
                args = [values[a][None] for a in tape.arguments(i)]
                out = self.allocate(1, 1, kind.type.width, kind.type.work)
                out = out.reshape(1, *kind.type.shape)
                call = Call(1, None, (False,) * len(args), (True,) * len(args), out)
                y = kind.op.forward(call, *args)
                if y is not out:
                    out[...] = y
                values[i], kept[i] = out[0], call.keep
        return values, kept

    def shared_gradients(
        self, work: Any, nodes: frozenset[int], totals: dict[int, Any]
    ) -> list[Any]:
        """From gradients of shared nodes to those of the shared arguments."""
        tape = self.trace.tape
        wanted = set(nodes)
        for i in self.lowered.forward.shared:
            flows = tape.kinds[i].op.differentiable and i not in tape.unrecorded
            if flows and any(a in wanted for a in tape.arguments(i)):
                wanted.add(i)
        for i in reversed(self.lowered.forward.shared):
            args = tape.arguments(i)
            dy = totals.get(i)
            if not args or dy is None or i not in wanted:
                continue
            kind = tape.kinds[i]
            if isinstance(dy, SparseRows):
                dy = dy.dense(kind.type.shape)
            needs = tuple([a in wanted for a in args])
            call = Call(1, None, (False,) * len(args), needs, None)
            call.keep = work.kept[i]
            grads = kind.op.backward(
                call, dy[None], work.shared[i][None], *[work.shared[a][None] for a in args]
            )
            if not isinstance(grads, tuple):
                grads = (grads,)
            for a, need, gradient in zip(args, needs, grads):
                if need and gradient is not None:
                    part = np.reshape(gradient, work.shared[a].shape)
                    totals[a] = part if a not in totals else totals[a] + part
        result: list[Any] = [None] * (len(self.trace.inputs) + len(self.leaf_types))
        for i, place in self.places.items():
            if i in nodes:
                result[place] = totals.get(i)
        return result

    def nodes_needed(self, needs: Sequence[bool]) -> frozenset[int]:
        """Shared nodes of the trace that need a gradient."""
        return frozenset([i for i, place in self.places.items() if needs[place]])

    # Memory

    def allocate(self, rows: int, planes: int, width: int, dtype: Any) -> Any:
        """An array for a value over so many rows."""
        return allocate(rows, planes, width, dtype)

    def allocated(self, rows: int, values: Sequence[Value]) -> list[Any]:
        """Arrays for values over so many rows."""
        return [self.allocate(rows, v.planes, v.width, v.dtype) for v in values]

    def prepared(self, code: Compiled, shared: dict[int, Array], few: bool = False) -> list[Any]:
        """What code multiplies with and adds, of shared values; see `runtime.prepare`."""
        return prepare(code.names.prepared_specs, shared, self.lowered.forward.code.dtype, few)

    def reversed(self, code: CompiledBack, work: Any) -> Reversed:
        """What the batches that one code runs use."""
        prepared = self.prepared(code, work.shared)
        return Reversed(code, prepared, self.allocated(work.rows, code.names.keep))

    # Code

    def print_forward(self) -> Compiled:
        """Print the forward half."""
        raise TypeError(f"{type(self).__name__} prints no code")

    def print_backward(self, needs: Needs) -> CompiledBack:
        """Print the backward half."""
        raise TypeError(f"{type(self).__name__} prints no code")

    def code(self) -> Compiled:
        """The printed forward half."""
        found = self.compiled.get("forward")
        if found is None:
            found = self.compiled["forward"] = self.print_forward()
        return found  # type: ignore[no-any-return]

    def back_code(self, needs: Needs) -> CompiledBack:
        """The printed backward half for these needs."""
        found = self.compiled.get(needs)
        if found is None:
            found = self.compiled[needs] = self.print_backward(needs)
        return found  # type: ignore[no-any-return]

    # Gradients of shared values, from all rows

    def payload_rows(self, work: Any, slot: int) -> Array:
        """The payload of all rows, for operations inside that carry one."""
        raise TypeError(f"{type(self).__name__} has no payload")

    def forward_rows(self, work: Any, owner: Value) -> Array:
        """A forward value over all rows."""
        raise TypeError(f"{type(self).__name__} keeps no rows")

    def finish(self, back: Back) -> list[Any]:
        totals: dict[int, Any] = {}
        for wanted, ran in back.ran.items():
            self._finish(back, wanted, ran, totals)
        return self.shared_gradients(back.work, back.nodes, totals)

    def wanted(self, back: Back, needs: Sequence[bool]) -> Needs:
        """What the code of a batch depends on: which arguments and shared nodes need a gradient."""
        return tuple([bool(n) for n in needs[: len(self.trace.inputs)]]), back.nodes

    def foreseen(self, back: Back) -> list[Array]:
        for wanted, taken in back.foreseen.items():
            index = rows_taken(taken, back.work.rows)
            if isinstance(index, np.ndarray):
                back.indices[wanted] = index
        return [*back.arrays, *back.indices.values()]

    def _finish(self, back: Back, wanted: Needs, ran: Reversed, totals: dict[int, Any]) -> None:
        """Add the gradients of shared nodes from the batches that one code ran."""
        work = back.work
        index = rows_taken(ran.taken, work.rows)
        known = back.indices.get(wanted)
        if known is not None and np.array_equal(known, index):  # type: ignore[arg-type]
            index = known
        residues = {v.number: r for v, r in zip(ran.code.names.keep, ran.residues)}

        def joined(value: Value) -> Array:
            owner = value.owner()
            array = residues.get(owner.number)
            if array is None:
                array = self.forward_rows(work, owner)
            whole: Array = self.view(value, array)
            if index is None:
                return whole
            return pick(whole, index)

        def payload(slot: int) -> Array:
            whole = self.payload_rows(work, slot)
            return whole if index is None else whole[index]

        self.add_gradients(totals, ran.code.gradients, back.totals, joined, payload, work)

    def view(self, value: Value, array: Array) -> Array:
        """A value's part of the array of its owner, over all rows."""
        whole: Array = view_of(value, array)
        return whole

    def add_gradients(
        self,
        totals: dict[int, Any],
        gradients: Sequence[SharedGradient],
        steps: dict[tuple[int, int], Any],
        joined: Any,
        payload: Any,
        work: Any,
    ) -> None:
        """Add to the gradients of shared nodes; see `add_gradient`."""
        for gradient in gradients:
            add_gradient(totals, gradient, steps, joined, payload, work)
