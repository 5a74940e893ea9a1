"""An evaluation: the values of all nodes of one graph, where they lie, and what backward needs.

An `Evaluation` owns its arenas and, for backward, what forward kept. Tapes refer to evaluations,
evaluations to earlier evaluations, nothing refers back: the last handle frees everything at once.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np

from lazynet.backend import (
    CPU,
    check_dtype,
    on_device,
    take_rows,
    take_rows_as,
    to_host,
    uninitialised,
)
from lazynet.collect import Graph
from lazynet.errors import OutOfMemoryError
from lazynet.graph import Leaf
from lazynet.kinds import FLOAT32, HALVES, Array, Call, user_line
from lazynet.layout import SAME, SHARED, SLICE, TAKE, Argument, Layout, Step
from lazynet.modes import MODES
from lazynet.staged import FEW
from lazynet.stages import Stage, stages_of

_serials = count(1)


def last_serial() -> int:
    """A number above those of all evaluations so far, and below those of all to come."""
    return next(_serials)


class Link:
    """Rows of an arena that an earlier evaluation computed.

    Attributes:
        source: That evaluation.
        their_arena: Where they are there (see `theirs`).
        arena, ours: Where they are here.
    """

    __slots__ = ("_theirs", "arena", "ours", "source", "their_arena")

    def __init__(
        self, source: Evaluation, their_arena: int, theirs: Array | int, arena: int, ours: Array
    ) -> None:
        self.source = source
        self.their_arena = their_arena
        self._theirs = theirs
        self.arena = arena
        self.ours = ours

    @property
    def theirs(self) -> Array:
        """The rows there; given as the number of a node, they are looked up when asked for."""
        if isinstance(self._theirs, int):
            self._theirs = self.source.layout.node_rows(self._theirs)
        return self._theirs


class Evaluation:
    """One batched run: values of all nodes of a graph, and what backward needs.

    Attributes:
        serial: Grows with every evaluation; externals come from smaller ones.
        layout: Where everything is.
        arenas: Values, ``(rows, width)``.
        shared: Values of shared nodes, by number.
        wide: Those of them that are stored in 16 bits, as float32 (see `operand`).
        leaves: Parameters by node number.
        versions: Version of each parameter when it was read, by node number.
        links: Rows that come from earlier evaluations.
        borrowed: Shared values that do: (number, evaluation, number there).
        frozen: Nodes through which no gradient flows.
        calls, arguments: Per step, what forward saw (None: see `call` and `fetched`).
        cuts: On a GPU, per batch that takes pieces of rows, which (`pieces_of`).
        payloads: Of batches that ran with others as one function, by number.
        kept: What forward of shared nodes kept, by number.
        gradients, reached, needed: Left by the last backward: gradient arenas, and per arena which
            rows it reached and which needed a gradient.
        shared_gradients: Of shared nodes, by number, from the last backward.
        stages: Workspaces of staged kinds.
        asked: How the last backward started, to be repeated for rows it left out.
        device: Where the values are.
        mirror: On a GPU, copies of host arrays there; else None.
        lines: Source lines by number, for nodes recorded under `debug`.
        line: Source line that asked for it, under `debug`; else "".
        routine: What forward ran as, where graphs of this structure have been met often
            (`lazynet.routine`); else None.
        graph: Under `ln.detect_anomaly` the graph, else None.
    """

    __slots__ = (
        "__weakref__",
        "arenas",
        "arguments",
        "asked",
        "borrowed",
        "calls",
        "cuts",
        "device",
        "frozen",
        "gradients",
        "graph",
        "kept",
        "layout",
        "leaves",
        "line",
        "lines",
        "links",
        "mirror",
        "needed",
        "payloads",
        "reached",
        "routine",
        "serial",
        "shared",
        "shared_gradients",
        "stages",
        "versions",
        "wide",
    )

    def __init__(self, graph: Graph, layout: Layout, device: str = CPU, mirror: Any = None) -> None:
        self.device = device
        self.mirror = mirror
        self.serial = next(_serials)
        self.layout = layout
        self.leaves: dict[int, Leaf] = graph.leaves
        self.links: list[Link] = []
        self.borrowed: list[tuple[int, Evaluation, int]] = []
        self.frozen = graph.frozen
        self.line = user_line() if MODES.get().debug else ""
        self.lines: dict[int, str] = {}
        self.shared: dict[int, Array] = {}
        self.wide: dict[int, Array] = {}
        self.kept: dict[int, Any] = {}
        if layout.half and device != CPU:
            for dtype, _, _ in layout.arenas:
                check_dtype(dtype, device)
        self.versions = {number: leaf.version() for number, leaf in graph.leaves.items()}
        try:
            self.arenas = [
                uninitialised(rows, width, dtype, device) for dtype, width, rows in layout.arenas
            ]
        except OutOfMemoryError as error:  # a GPU's, which says what is free there
            raise OutOfMemoryError(f"{error}{_most(layout, graph)}") from error
        except (MemoryError, ValueError) as error:
            raise _too_large(layout, graph) from error
        self.calls: list[Call | None] = []
        self.arguments: list[Any] = []
        self.payloads: dict[int, Array] = {}
        self.cuts: dict[int, tuple[int, Array]] = {}
        self.gradients: list[Array] | None = None
        self.reached: list[Array] = []
        self.needed: list[Array] = []
        self.shared_gradients: dict[int, Any] = {}
        self.asked: Any = None
        self.routine: Any = None
        self.graph: Graph | None = None
        self.stages = stages_of(layout)

    def placed(self) -> bool:
        """Whether anything but constants decided where the values are."""
        return (
            self.device != CPU
            or bool(self.leaves)
            or any(link.source.placed() for link in self.links)
            or any(source.placed() for _, source, _ in self.borrowed)
        )

    def value(self, number: int) -> Array:
        """A copy of the value of a node, with a batch axis where it has one."""
        if self.layout.arena[number] < 0:
            return self.shared[number].copy()
        return self.rows(number, self.arenas)

    def host_value(self, number: int) -> Array:
        """The same as NumPy's array, wherever the values are."""
        if self.mirror is None:
            return self.value(number)
        with on_device(self.device, self.mirror):
            return to_host(self.value(number))

    def rows(self, number: int, arenas: list[Array]) -> Array:
        """A node's rows in arenas laid out like this evaluation's, as an array of one's own."""
        layout = self.layout
        t = layout.type(number)
        arena = arenas[int(layout.arena[number])]
        batch = int(layout.rows[number])
        index = layout.rebatched.get(number)
        if index is not None:
            return take_rows(arena, index).reshape((batch, *t.shape))
        first = int(layout.first[number])
        if batch == -1:
            row: Array = arena[first].copy()
            return row.reshape(t.shape)
        rows: Array = arena[first : first + batch].copy()
        return rows.reshape((batch, *t.shape))

    def rows_of(self, argument: Argument, rows: int, out: Array | None) -> Array:
        """The rows of an argument as a matrix, in `out` if that is given."""
        mode = argument.mode
        arena = self.arenas[argument.arena]
        if mode == TAKE:
            assert argument.index is not None
            return take_rows(arena, argument.index, out)
        source = arena[argument.start : argument.stop]
        if mode == SAME:
            source = np.repeat(source, rows, axis=0)
        if out is None:
            return source
        out[...] = source
        return out

    def fetch(self, argument: Argument, shares: bool, rows: int) -> Array:
        """An argument of a batch as its op wants it."""
        shape = argument.shape
        mode = argument.mode
        if mode == SLICE:
            arena = self.arenas[argument.arena]
            return arena[argument.start : argument.stop].reshape((argument.rows, *shape))
        if mode == SHARED:
            value = self.shared[argument.start]
            return value if shares else np.broadcast_to(value, (rows, *shape))
        arena = self.arenas[argument.arena]
        if mode == SAME:
            value = arena[argument.start].reshape(shape)
            return value if shares else np.broadcast_to(value, (rows, *shape))
        assert argument.index is not None
        return take_rows(arena, argument.index).reshape((argument.rows, *shape))

    def call(self, k: int) -> Call:
        """What forward of batch k saw and kept."""
        known = self.calls[k]
        if known is None:
            step = self.layout.steps[k]
            known = Call(step.rows, self.payloads.get(k), step.shared, (), None, step.segments)
        return known

    def fetched(self, k: int) -> list[Array]:
        """The arguments of batch k as forward saw them."""
        known: list[Array] | None = self.arguments[k]
        if known is None:
            step = self.layout.steps[k]
            fetch = self.fetch_wide if self.layout.half else self.fetch
            known = [fetch(a, step.op.shares, step.rows) for a in step.args]
        return known

    # Values of 16 bits, which ops see as float32

    def operand(self, number: int) -> Array:
        """A shared value in the dtype in which ops see it."""
        value = self.shared[number]
        if value.dtype not in HALVES:
            return value
        found = self.wide.get(number)
        if found is None:
            found = self.wide[number] = value.astype(FLOAT32)
        return found

    def fetch_wide(self, argument: Argument, shares: bool, rows: int) -> Array:
        """An argument of a batch as its op wants it, whatever it is stored in."""
        shape = argument.shape
        if argument.mode == SHARED:
            value = self.operand(argument.start)
        elif argument.mode == SAME:
            value = widened(self.arenas[argument.arena][argument.start]).reshape(shape)
        else:
            return self.rows_wide(argument, rows, None).reshape((argument.rows, *shape))
        return value if shares else np.broadcast_to(value, (rows, *shape))

    def rows_wide(self, argument: Argument, rows: int, out: Array | None) -> Array:
        """The rows of an argument as `rows_of` finds them, whatever they are stored in."""
        arena = self.arenas[argument.arena]
        if arena.dtype not in HALVES:
            return self.rows_of(argument, rows, out)
        if argument.mode == TAKE:
            assert argument.index is not None
            return take_rows_as(FLOAT32, arena, argument.index, out)
        found = self.rows_of(argument, rows, out)
        return found if out is not None else widened(found)

    def _results(self, stage: Stage) -> list[Array]:
        """Where the results of a staged kind go: the arenas, or float32 that is rounded to them."""
        return [
            found
            if found.dtype not in HALVES
            else uninitialised(len(found), found.shape[1], FLOAT32, self.device)
            for found in stage.slices(self.arenas)
        ]

    def _versions(self, stage: Stage) -> Any:
        """What tells the values that a staged kind shares from all others; None: nothing does."""
        numbers = [i for i in stage.shared if i >= 0]
        if not all([i in self.versions for i in numbers]):
            return None
        return tuple([(self.leaves[i].type.shared, self.versions[i]) for i in numbers])

    def run_staged(
        self, step: Step, stage: Stage, parts: Any, payload: Any = None
    ) -> tuple[Call, list[Any]]:
        """Compute one batch of a staged kind.

        Args:
            step: The batch.
            stage: Its kind.
            parts: What its nodes carry.
            payload: What `assemble` of the op made of that, where this has been done already.

        Returns:
            The call, and the arguments, as backward wants them.
        """
        op: Any = step.op
        if self.mirror is not None:
            op = op.on_device()
        if stage.work is None:
            shared = [self.operand(i) if i >= 0 else None for i in stage.shared]
            stage.results = self._results(stage)
            versions = None if stage.rows < FEW else self._versions(stage)
            stage.work = op.workspace(stage.rows, stage.largest, shared, stage.results, versions)
        if parts is not None:
            payload = op.assemble(parts, step.counts)
        start = stage.filled
        stage.filled = stop = start + step.rows
        half = self.layout.half
        rows_of = self.rows_wide if half else self.rows_of
        args: list[Any] = []
        for position, argument in enumerate(step.args):
            if argument.mode == SHARED:
                args.append(None)
            else:
                out = op.target(stage.work, position, start, stop)
                args.append(rows_of(argument, step.rows, out))
        op.run(stage.work, start, stop, args, payload, step.segments)
        for (arena, begin, end, _), result in zip(step.outputs if half else (), stage.results):
            if self.arenas[arena].dtype in HALVES:
                self.arenas[arena][begin:end] = result[start:stop]
        call = Call(step.rows, None, step.shared, (), None, step.segments)
        call.keep = start
        return call, args


def widened(array: Array) -> Array:
    """An array in the dtype in which ops see it: itself, or a copy in float32 of one of 16 bits."""
    return array.astype(FLOAT32) if array.dtype in HALVES else array


def _largest(layout: Layout) -> tuple[int, int]:
    """Which arena is the largest, and its bytes."""
    sizes = [rows * width * np.dtype(dtype).itemsize for dtype, width, rows in layout.arenas]
    return sizes.index(max(sizes)), max(sizes)


def _most(layout: Layout, graph: Graph) -> str:
    """What fills the largest arena: its batch with most rows; nothing where none computes it."""
    largest, _ = _largest(layout)
    steps = [(step.rows, k) for k, step in enumerate(layout.steps) if step.outputs[0][0] == largest]
    if not steps:
        return ""
    step = layout.steps[max(steps)[1]]
    node = int(step.nodes[0] if step.counts is None else step.nodes[step.counts.argmax()])
    line = f"first recorded at {step.kind.line}"
    for tape, indices, numbers in graph.tapes:
        for i, number in zip(indices, numbers) if tape.lines else ():
            if number == node and int(i) in tape.lines:
                line = f"recorded at {tape.lines[int(i)]}"
    return f" (the most in one batch are {step.rows}, of {step.kind}, {line})"


def _too_large(layout: Layout, graph: Graph) -> OutOfMemoryError:
    """The error for arenas that do not fit into memory: it shows the largest, and what fills it."""
    largest, size = _largest(layout)
    dtype, width, rows = layout.arenas[largest]
    return OutOfMemoryError(
        f"evaluation: {rows} rows of {width} {np.dtype(dtype)} need {size / 1e9:.1f} GB, more "
        f"than there is{_most(layout, graph)}; evaluate fewer examples at a time, or use smaller "
        "expressions"
    )


def points(graph: Graph, externals: int) -> bool:
    """Whether a node recorded outside `no_grad`, after so many externals, points at rows."""
    aliases = [k.op.alias for k in graph.kinds]
    own = np.asarray(graph.code)[externals:]
    pointing = np.flatnonzero(np.array(aliases, bool)[own]) + externals
    return any(number not in graph.frozen for number in pointing.tolist())


def flows(step: Step, frozen: Array | None) -> bool:
    """Whether backward may ask for this batch: one recorded under `no_grad` keeps nothing.

    Args:
        step: The batch.
        frozen: Nodes recorded under `no_grad`, ascending; None if all were.
    """
    if frozen is None or not (step.op.differentiable and step.args):
        return False
    return not len(frozen) or not bool(np.isin(step.nodes, frozen).all())
