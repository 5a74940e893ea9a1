"""Backward's working space for one evaluation, and how batches of it look to an op's backward."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from lazynet.backend import add_rows, on_device, pick_rows, take_rows, take_rows_as, uninitialised
from lazynet.chosen import Chosen, ChosenNodes, mark
from lazynet.evaluation import Evaluation, widened
from lazynet.gathers import gathered_rows
from lazynet.kinds import FLOAT32, FLOATS, HALVES, Array, Call, Kind, working
from lazynet.layout import SAME, SHARED, SLICE, TAKE, Argument, Step

KEPT = 64
"""Most ways in which a structure needs gradients that are kept."""

Run = tuple[int, "Array | None"]
"""A batch by number, and which of its rows take part (None: all)."""


_HOST = nullcontext()


class Sheet:
    """Backward's working space for one evaluation."""

    __slots__ = (
        "chosen",
        "covered",
        "evaluation",
        "gathers",
        "gradients",
        "handed",
        "key",
        "mixed",
        "needed",
        "opened",
        "partial",
        "ran",
        "reached",
        "shared_gradients",
        "shared_needed",
        "stages",
        "step_needs",
        "stopped",
        "withheld",
        "writes",
    )

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.opened = False
        self.gradients: list[Array] = []
        self.reached: list[Array] = []
        self.needed = [np.zeros(len(a), bool) for a in evaluation.arenas]
        self.shared_needed: dict[int, bool] = {}
        self.shared_gradients: dict[int, Any] = {}
        self.step_needs: list[tuple[bool, ...]] = []
        self.stopped: dict[int, Array] = {}  # per step, rows through which no gradient flows
        self.stages: dict[Any, Any] = {}  # of staged kinds: what the op's backward uses
        self.ran: dict[Any, list[tuple[int, Array | None]]] = {}
        self.key: Any = None  # of what it needs, where that is remembered (`recall_needs`)
        self.mixed = False  # whether only some rows of a batch need a gradient
        self.partial: dict[int, tuple[int, int]] = {}  # per arena, where rows that need none lie
        self.writes: list[tuple[bool, ...]] | None = None  # see `whole`, and for the next
        self.covered: list[Array] = []
        self.chosen: dict[int, Chosen | ChosenNodes] = {}  # per batch, see `foresee`
        self.handed: dict[int, tuple[Array, Array]] = {}  # rows of links, likewise
        self.withheld = False  # whether an op withheld a gradient that was foreseen
        self.gathers: dict[Any, Array] = {}  # places of rows of several batches, likewise

    def on_device(self) -> Any:
        """A context in which the device of the evaluation is the current one."""
        evaluation = self.evaluation
        return (
            _HOST if evaluation.mirror is None else on_device(evaluation.device, evaluation.mirror)
        )

    def open(self) -> None:
        """Gradients of which nothing is reached: what is not reached is not zeroed yet.

        On a GPU it is: that is one launch for an array, and saves telling what is reached apart.
        """
        self.opened = True
        self.gradients = [
            uninitialised(len(a), a.shape[1], working(a.dtype), self.evaluation.device)
            if a.dtype in FLOATS
            else a
            for a in self.evaluation.arenas
        ]
        self.reached = [np.zeros(len(a), bool) for a in self.evaluation.arenas]
        if self.evaluation.mirror is not None:
            for gradients in self.gradients:
                if gradients.dtype in FLOATS:
                    gradients.fill(0)

    def recall_needs(self, masks: list[Array]) -> bool:
        """What needs a gradient, if that is known from an evaluation of the same structure.

        Args:
            masks: For each link, which of its rows need one.
        """
        shared = tuple(self.shared_needed.values())
        key = (shared, tuple([mask.tobytes() for mask in masks]))
        self.key = key
        found = self.evaluation.routine.needs.get(key)
        if found is None:
            return False
        self.needed, self.shared_needed, self.step_needs, self.stopped, self.partial = found[:5]
        self.mixed = found[5]
        return True

    def remember_needs(self) -> None:
        """Keep what was found for the next evaluation of this structure; from then on read-only."""
        if self.key is not None:
            known = self.evaluation.routine.needs
            if len(known) >= KEPT:
                known.clear()
            known[self.key] = (
                self.needed,
                self.shared_needed,
                self.step_needs,
                self.stopped,
                self.partial,
                self.mixed,
            )

    def leave_out(self, arena: int, start: int, stop: int) -> None:
        """Note that some of these rows need no gradient."""
        low, high = self.partial.get(arena, (start, stop))
        self.partial[arena] = min(low, start), max(high, stop)

    def choose(self, k: int, step: Step, selected: Array, payload: Array | None) -> Chosen:
        """What follows from some rows of a batch taking part; known if it was foreseen."""
        known = self.chosen.get(k)
        if isinstance(known, Chosen) and known.selected is selected:
            return known
        return Chosen(step, selected, payload)

    def gathered(self, runs: list[Run], position: int) -> Array:
        """Where rows of one argument of several batches lie."""
        key = (tuple([(k, id(selected)) for k, selected in runs]), position)
        known = self.gathers.get(key)
        if known is None:
            index = []
            for k, selected in runs:
                rows = gathered_rows([self.evaluation.layout.steps[k]], position)
                index.append(rows if selected is None else rows[selected])
            known = self.gathers[key] = np.concatenate(index)
        return known

    def give(self, arena: int, index: Array, rows: Array) -> None:
        """Add to the gradients of rows from outside, before the walk through this evaluation."""
        gradients, reached = self.gradients[arena], self.reached[arena]
        if type(gradients) is np.ndarray:
            fresh = index[~reached[index]]
            if len(fresh):
                gradients[fresh] = 0
        add_rows(gradients, index, rows)
        reached[index] = True

    def seed(self, arena: int, row: int) -> None:
        """Add one to the gradient of a root, a row of one element."""
        gradients, reached = self.gradients[arena], self.reached[arena]
        if type(gradients) is np.ndarray and not reached[row]:
            gradients[row] = 0
        gradients[row : row + 1] += 1
        reached[row] = True

    def zero_unreached(self) -> None:
        """Zero the gradients of all rows that are not reached."""
        if self.evaluation.mirror is not None:
            return  # they have been since `open`
        for gradients, reached in zip(self.gradients, self.reached):
            if gradients.dtype not in FLOATS:
                continue
            if reached.any():
                gradients[~reached] = 0
            else:
                gradients.fill(0)


def view(
    sheet: Sheet, k: int, step: Step, selected: Array | None, reads: bool
) -> tuple[Call, Any, Any, list[Any], Chosen | None]:
    """A batch as backward sees it, or the selected rows of it: these are the last result."""
    evaluation = sheet.evaluation
    kept = evaluation.call(k)
    args: list[Any] = evaluation.fetched(k) if reads else [None] * len(step.args)
    if selected is None:
        rows = step.rows
        dy = _outputs(sheet.gradients, step, None)
        y = _results(evaluation, step, None) if step.op.reads_y else None
        call = Call(rows, kept.payload, step.shared, (), None, step.segments)
        call.keep = kept.keep
        return call, dy, y, args, None
    chosen = sheet.choose(k, step, selected, kept.payload)
    dy = _outputs(sheet.gradients, step, selected)
    y = _results(evaluation, step, selected) if step.op.reads_y else None
    call = Call(len(selected), chosen.payload, step.shared, (), None, chosen.segments)
    per_argument = step.segments is not None and _length(kept.keep) == step.args[0].rows
    call.keep = _pick(kept.keep, chosen.rows if per_argument else selected)
    args = [
        a if a is None or shared else pick_rows(a, chosen.rows)
        for a, shared in zip(args, step.shared)
    ]
    return call, dy, y, args, chosen


def _length(keep: Any) -> int:
    first = keep[0] if isinstance(keep, tuple) else keep
    return -1 if first is None else len(first)


def _pick(keep: Any, rows: Array) -> Any:
    if keep is None:
        return None
    if isinstance(keep, tuple):
        return tuple([_pick(part, rows) for part in keep])
    return pick_rows(keep, rows)


def _results(evaluation: Evaluation, step: Step, selected: Array | None) -> Any:
    """The results of a batch as its backward sees them."""
    found = _outputs(evaluation.arenas, step, selected)
    return _wide(found) if evaluation.layout.half else found


def _wide(found: Any) -> Any:
    if isinstance(found, tuple):
        return tuple([widened(x) for x in found])
    return None if found is None else widened(found)


def _outputs(arenas: list[Array], step: Step, selected: Array | None) -> Any:
    """The rows of a batch's results."""
    parts = []
    for arena, start, stop, shape in step.outputs:
        if selected is None:
            rows = arenas[arena][start:stop]
        else:
            rows = take_rows(arenas[arena][start:stop], selected)
        parts.append(rows.reshape((len(rows), *shape)))
    return parts[0] if len(parts) == 1 else tuple(parts)


def add_to_argument(
    sheet: Sheet,
    argument: Argument,
    shared: bool,
    dx: Array,
    rows: Array | None,
    index: Array | None = None,
) -> None:
    """Add a batch's gradient of one argument to the rows it came from.

    Args:
        sheet: Of the evaluation.
        argument: It.
        shared: Whether the gradient has been summed over rows that share the argument.
        dx: The gradient.
        rows: Which rows of the argument it is of; None: all.
        index: Where they lie, if they are gathered.
    """
    target = sheet.gradients[argument.arena]
    width = target.shape[1]
    mark(sheet.reached, argument, rows, index)
    if argument.mode == SAME:
        if not shared:
            dx = dx.reshape(len(dx), width).sum(axis=0)
        target[argument.start] += dx.reshape(width)
        return
    dx = dx.reshape(len(dx), width)
    if argument.mode == SLICE:
        part = target[argument.start : argument.stop]
        if rows is None:
            part += dx
        else:
            add_rows(part, rows, dx)
        return
    assert argument.mode == TAKE and argument.index is not None
    add_rows(target, argument.index if rows is None or index is None else index, dx)


def together(
    sheet: Sheet, kind: Kind, runs: list[tuple[int, Array | None]], reads: bool
) -> tuple[Call, Any, Any, list[Any]]:
    """All rows of a kind that took part, as one batch."""
    evaluation = sheet.evaluation
    steps = evaluation.layout.steps
    runs = runs[::-1]  # in forward order, so that neighbours in the arenas meet
    first = steps[runs[0][0]]
    reads_y = kind.op.reads_y
    whole = all(selected is None for _, selected in runs)
    if len(runs) == 1:
        return view(sheet, runs[0][0], first, runs[0][1], reads)[:4]
    dy = _joined(sheet.gradients, [(steps[k], s) for k, s in runs], whole)
    y = _joined(evaluation.arenas, [(steps[k], s) for k, s in runs], whole) if reads_y else None
    if evaluation.layout.half:
        y = _wide(y)
    rows = len(dy[0] if isinstance(dy, tuple) else dy)
    args: list[Any] = []
    for position, argument in enumerate(first.args):
        if not reads:
            args.append(None)
        elif argument.mode == SHARED:
            value = evaluation.operand(argument.start)
            shape = (rows, *argument.shape)
            args.append(value if kind.op.shares else np.broadcast_to(value, shape))
        else:
            args.append(_gathered(sheet, runs, position))
    calls = [evaluation.call(k) for k, _ in runs]
    shared = tuple([a.mode == SHARED and kind.op.shares for a in first.args])
    return joined_call(rows, calls, shared, [s for _, s in runs]), dy, y, args


def joined_call(
    rows: int,
    calls: Sequence[Call],
    shared: tuple[bool, ...],
    selected: Sequence[Array | None] | None = None,
) -> Call:
    """Several batches of one kind as one.

    Args:
        rows: Rows of them all.
        calls: Them.
        shared: Per argument, whether it comes without row axis.
        selected: Which rows of each take part; None: all.
    """
    call = Call(rows, None, shared, (), None, None)
    chosen = selected or [None] * len(calls)
    if calls[0].payload is not None:
        parts = [c.payload if s is None else c.payload[s] for c, s in zip(calls, chosen)]
        call.payload = np.concatenate(parts)
    if calls[0].keep is not None:
        kept = [c.keep if s is None else _pick(c.keep, s) for c, s in zip(calls, chosen)]
        call.keep = _concatenate(kept)
    return call


def _concatenate(parts: list[Any]) -> Any:
    if isinstance(parts[0], tuple):
        return tuple([_concatenate(list(p)) for p in zip(*parts)])
    return np.concatenate(parts)


def _joined(arenas: list[Array], runs: list[tuple[Step, Array | None]], whole: bool) -> Any:
    """Rows of the results of several batches of one kind, without a copy where they adjoin."""
    parts = []
    for position in range(len(runs[0][0].outputs)):
        spans = [step.outputs[position] for step, _ in runs]
        arena, start, _, shape = spans[0]
        stop = spans[-1][2]
        if whole and stop - start == sum(e - b for _, b, e, _ in spans):
            rows = arenas[arena][start:stop]
        else:
            rows = np.concatenate(
                [
                    arenas[arena][b:e]
                    if selected is None
                    else take_rows(arenas[arena][b:e], selected)
                    for (_, b, e, _), (_, selected) in zip(spans, runs)
                ]
            )
        parts.append(rows.reshape((len(rows), *shape)))
    return parts[0] if len(parts) == 1 else tuple(parts)


def _gathered(sheet: Sheet, runs: list[Run], position: int) -> Array:
    """Rows of one argument of several batches, in one gather."""
    evaluation = sheet.evaluation
    layout = evaluation.layout
    argument = layout.steps[runs[0][0]].args[position]
    flat = None
    if layout.gathers is not None and all(selected is None for _, selected in runs):
        flat = layout.gathers.get((tuple([k for k, _ in runs]), position))
    if flat is None:
        flat = sheet.gathered(runs, position)
    arena = evaluation.arenas[argument.arena]
    half = arena.dtype in HALVES
    taken = take_rows_as(FLOAT32, arena, flat) if half else take_rows(arena, flat)
    return taken.reshape((len(flat), *argument.shape))
