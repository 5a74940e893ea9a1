"""What `ln.profile` keeps: phases and batches with the moments at which they ended.

Nothing runs otherwise because of it. Where batches run as one function (`chains`, `routine`), that
function is one unit. A batch costs one look at the clock and one entry in a list while the graph
runs; what the entries say is added up when the engine is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import get_ident
from time import perf_counter
from typing import Any, Final, NamedTuple

from lazynet.backend import CPU, synchronize
from lazynet.kinds import Kind
from lazynet.layout import SLICE, TAKE, Layout, Step
from lazynet.modes import MODES

PHASES: Final = {
    "record": "your own code, and recording: all that is outside the others",
    "collect": "finding the nodes to compute, and marking them computed",
    "schedule": "which nodes are batched, and in which order",
    "layout": "where every row lies, and index arrays",
    "memory": "arrays for values, rows of earlier evaluations, what goes to a GPU",
    "forward": "the batches",
    "backward": "gradients of rows, batch by batch",
    "weights": "gradients of weights: one product for all batches of a kind",
    "update": "the optimiser's step",
    "waiting": "for evaluations of other threads",
    "profiler": "adding up what was timed",
}
"""The phases, and what each is."""

RECORD: Final = 0
COLLECT: Final = 1
SCHEDULE: Final = 2
LAYOUT: Final = 3
MEMORY: Final = 4
FORWARD: Final = 5
BACKWARD: Final = 6
WEIGHTS: Final = 7
UPDATE: Final = 8
WAITING: Final = 9
OWN: Final = 10
MOST_SLICES: Final = 500_000
"""Most entries of a trace; what comes later is only added up."""


class Slice(NamedTuple):
    """Something that took time: a phase, or a unit of batches in it.

    Attributes:
        phase: Number of the phase.
        kinds: Of the batches that ran as this unit; empty for a phase.
        began, ended: By `perf_counter`.
        rows, bytes: Of the unit.
        copied: Bytes that were gathered, of these.
    """

    phase: int
    kinds: tuple[Kind, ...]
    began: float
    ended: float
    rows: int
    bytes: int
    copied: int


class Total:
    """What units of the same phase and kinds add up to."""

    __slots__ = ("batches", "bytes", "copied", "rows", "seconds", "units")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.units = 0
        self.batches = 0
        self.rows = 0
        self.bytes = 0
        self.copied = 0


class Recorder:
    """Times what one thread has computed.

    Attributes:
        wait: Whether a GPU is waited for after each unit.
        seconds, bytes, calls: By phase.
        totals: By phase and kinds.
        slices: Everything in the order in which it ended.
        room: Most slices that are kept.
        dropped: How many there was no room for.
        copies: Arguments of batches that were gathered, and their bytes; ...
        avoided: ... and those that were read where they lie.
        device: Where the last evaluation ran.
    """

    def __init__(self, wait: bool, outer: Recorder | None) -> None:
        self.wait = wait
        self.outer = outer
        self.thread = get_ident()
        self.seconds = [0.0] * len(PHASES)
        self.bytes = [0] * len(PHASES)
        self.calls = [0] * len(PHASES)
        self.totals: dict[tuple[int, tuple[Kind, ...]], Total] = {}
        self.slices: list[Slice] = []
        self.dropped = 0
        self.room = MOST_SLICES
        self.copies = [0, 0]
        self.avoided = [0, 0]
        self.device = CPU
        self.phase = RECORD
        self.began = self.since = self.at = perf_counter()
        self.ended = 0.0
        self._marks: list[tuple[int, float, float]] = []
        self._sizes: dict[Kind, tuple[int, tuple[int, ...], int, int]] = {}
        self._units: list[tuple[int, Any, int, float, float]] = []

    # While the graph runs

    def mark(self, phase: int) -> None:
        """Begin a phase; what came before it ends."""
        if self.wait and self.device != CPU:
            synchronize(self.device)
        now = perf_counter()
        self._marks.append((self.phase, self.since, now))
        self.phase = phase
        self.since = self.at = now

    def start(self) -> None:
        """Note that a batch begins, where something else came before it in the same phase."""
        self.at = perf_counter()

    def unit(self, what: Any, rows: int) -> None:
        """Note that a batch (`Step`), several, or all of a kind have been computed.

        Args:
            what: Them.
            rows: How many rows of it took part; -1: all.
        """
        if self.wait and self.device != CPU:
            synchronize(self.device)
        now = perf_counter()
        self._units.append((self.phase, what, rows, self.at, now))
        self.at = now

    def scheduled(self) -> None:
        """Note that the schedule is made, and the layout is next."""
        self.mark(LAYOUT)

    def begin(self, layout: Layout, device: str) -> None:
        """Note that an evaluation begins."""
        self.mark(MEMORY)
        self.device = device
        self.calls[FORWARD] += 1
        sizes = [rows * width * dtype.itemsize for dtype, width, rows in layout.arenas]
        self.bytes[MEMORY] += sum(sizes)

    def updates(self, parameters: list[Any]) -> None:
        """Note that parameters are updated: each is read and written, its gradient read."""
        self.mark(UPDATE)
        self.calls[UPDATE] += 1
        for p in parameters:
            if p.trainable:
                dense = 0 if p.pending is None else p.pending.nbytes
                self.bytes[UPDATE] += 3 * dense + 3 * sum([v.nbytes for _, v in p.pending_rows])

    def enter(self, phase: int) -> int:
        """Enter the engine; `leave` is to be called with the result."""
        outside = self.phase
        self.mark(phase)
        return outside

    def leave(self, outside: int) -> None:
        """Go back to the phase in which the engine was entered."""
        self.mark(outside)
        if outside == RECORD:
            self.add_up()

    # Afterwards

    def close(self) -> None:
        """Stop the clock."""
        self.mark(RECORD)
        self.add_up()
        self.ended = self.since
        if self.outer is not None:
            self.outer.absorb(self)

    def absorb(self, inner: Recorder) -> None:
        """Add what was recorded inside."""
        for phase in range(len(PHASES)):
            if phase != RECORD:
                self.seconds[phase] += inner.seconds[phase]
                self.seconds[RECORD] -= inner.seconds[phase]  # which it would seem to be here
            self.bytes[phase] += inner.bytes[phase]
            self.calls[phase] += inner.calls[phase]
        for key, total in inner.totals.items():
            mine = self.totals.setdefault(key, Total())
            mine.seconds += total.seconds
            mine.units += total.units
            mine.batches += total.batches
            mine.rows += total.rows
            mine.bytes += total.bytes
            mine.copied += total.copied
        for k in (0, 1):
            self.copies[k] += inner.copies[k]
            self.avoided[k] += inner.avoided[k]
        if inner.calls[FORWARD]:
            self.device = inner.device
        room = self.room - len(self.slices)
        self.slices += inner.slices[:room]
        self.dropped += inner.dropped + max(0, len(inner.slices) - room)

    def add_up(self) -> None:
        """Add the entries to the totals."""
        for phase, began, ended in self._marks:
            self.seconds[phase] += ended - began
            self._keep(Slice(phase, (), began, ended, 0, 0, 0))
        for phase, what, rows, began, ended in self._units:
            self._add(phase, what, rows, began, ended)
        self._marks.clear()
        self._units.clear()
        now = perf_counter()
        self.seconds[OWN] += now - self.since
        self.since = self.at = now

    def _add(self, phase: int, what: Any, rows: int, began: float, ended: float) -> None:
        moved = copied = batches = count = 0
        if type(what) is Kind:
            kinds: tuple[Kind, ...] = (what,)
            moved, batches = rows * row_bytes(what), 1
        else:
            steps: Sequence[Step] = (what,) if type(what) is Step else what
            kinds = tuple([step.kind for step in steps])
            batches = len(steps)
            if phase == FORWARD:
                copied = self.copies[1]
                for step in steps:
                    moved += self._forward(step)
                    count += step.rows
                copied = self.copies[1] - copied
                moved += 2 * copied
            else:
                for step in steps:
                    results, arguments = self._sizes_of(step.kind)[2:]
                    n = step.rows
                    count += n
                    moved += results * n
                    if step.segments is not None:
                        n = step.args[0].rows
                    moved += arguments * n
            if rows < 0:
                rows = count
            elif count:
                moved = moved * rows // count
        total = self.totals.get((phase, kinds))
        if total is None:
            total = self.totals[phase, kinds] = Total()
        total.seconds += ended - began
        total.units += 1
        total.batches += batches
        total.rows += rows
        total.bytes += moved
        total.copied += copied
        self.bytes[phase] += moved
        self._keep(Slice(phase, kinds, began, ended, rows, moved, copied))

    def _keep(self, entry: Slice) -> None:
        if len(self.slices) < self.room:
            self.slices.append(entry)
        else:
            self.dropped += 1

    def _forward(self, step: Step) -> int:
        """Bytes of the arguments and of the results of a batch; counts what was gathered."""
        written, sizes, _, _ = self._sizes_of(step.kind)
        moved = written * step.rows
        for argument, size in zip(step.args, sizes):
            mode = argument.mode
            if mode == SLICE:
                size *= argument.rows
                self.avoided[0] += 1
                self.avoided[1] += size
            elif mode == TAKE:
                size *= argument.rows
                self.copies[0] += 1
                self.copies[1] += size
            moved += size
        return moved

    def _sizes_of(self, kind: Kind) -> tuple[int, tuple[int, ...], int, int]:
        """Bytes of one row: of the results, of each argument, and both as backward moves them."""
        found = self._sizes.get(kind)
        if found is None:
            results = sum([t.width * t.dtype.itemsize for t in kind.outputs])
            arguments = tuple([t.width * t.dtype.itemsize for t in kind.args])
            rows = sum([size for t, size in zip(kind.args, arguments) if not t.shared])
            op = kind.op
            found = results, arguments, results * (1 + op.reads_y), rows * (1 + op.reads_args)
            self._sizes[kind] = found
        return found


def row_bytes(kind: Kind) -> int:
    """Bytes of one row of results and arguments."""
    types = [*kind.outputs, *[t for t in kind.args if not t.shared]]
    return sum([t.width * t.dtype.itemsize for t in types])


def recorder() -> Recorder | None:
    """What times this thread, if anything does."""
    found: Recorder | None = MODES.get().profile
    if found is None or found.thread != get_ident():
        return None
    return found


__all__ = ["PHASES", "Recorder", "Slice", "Total", "recorder"]
