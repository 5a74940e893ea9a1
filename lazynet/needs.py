"""What needs a gradient: which rows of which batches, in all evaluations behind a backward."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.chosen import by_segment
from lazynet.evaluation import Evaluation
from lazynet.kinds import Array
from lazynet.layout import SAME, SHARED, SLICE, Argument, Step
from lazynet.sheet import Sheet

Seed = tuple[Evaluation, int]


def find_needs(seeds: list[Seed], wanted: dict[int, set[int]], short: bool) -> dict[int, Sheet]:
    """What needs a gradient in all evaluations that a backward from these nodes may come to.

    Args:
        seeds: Where it starts.
        wanted: Further nodes that need one, by evaluation.
        short: Whether what is known of the structure of an evaluation may be used.

    Returns:
        Their sheets, by serial number of the evaluation.
    """
    sheets: dict[int, Sheet] = {}
    found: dict[int, Evaluation] = {}
    stack = [evaluation for evaluation, _ in seeds]
    while stack:
        evaluation = stack.pop()
        if evaluation.serial not in found:
            found[evaluation.serial] = evaluation
            stack += [source for _, source, _ in evaluation.borrowed]
            stack += [link.source for link in evaluation.links]
    for serial in sorted(found):
        sheets[serial] = Sheet(found[serial])
        _needs(sheets, sheets[serial], wanted.get(serial, set()), short)
    return sheets


def _needs(sheets: dict[int, Sheet], sheet: Sheet, wanted: set[int], short: bool) -> None:
    evaluation = sheet.evaluation
    layout = evaluation.layout
    needed = sheet.needed
    for number, leaf in evaluation.leaves.items():
        sheet.shared_needed[number] = leaf.trainable
    for number, source, there in evaluation.borrowed:
        theirs = sheets[source.serial]
        sheet.shared_needed[number] = theirs.shared_needed.get(there, False)
    masks = []
    for link in evaluation.links:
        needs = sheets[link.source.serial].needed[link.their_arena][link.theirs]
        needed[link.arena][link.ours] = needs
        masks.append(needs)
        if not needs.all():
            sheet.leave_out(link.arena, 0, len(needed[link.arena]))
    if short and evaluation.routine is not None and sheet.recall_needs(masks):
        return
    for number, kind, args in layout.shared:
        sheet.shared_needed[number] = number in wanted or (
            kind.op.differentiable
            and number not in evaluation.frozen
            and any(sheet.shared_needed[a] for a in args)
        )
    marked: dict[int, Array] = {}
    for i in wanted:
        arena = int(layout.arena[i])
        if arena >= 0:
            mask = marked.setdefault(arena, np.zeros(len(needed[arena]), bool))
            mask[layout.node_rows(i)] = True
            sheet.mixed = True
    for k, step in enumerate(layout.steps):
        sheet.step_needs.append(_step_needs(sheet, k, step, marked))
    sheet.remember_needs()


def _step_needs(sheet: Sheet, k: int, step: Step, wanted: dict[int, Array]) -> tuple[bool, ...]:
    """Mark the rows of a batch that need a gradient; says which arguments do."""
    needed = sheet.needed
    flags = []
    rows: Any = False
    reduces = step.segments is not None
    if step.op.differentiable:
        for argument in step.args:
            if argument.mode == SHARED:
                mine: Any = sheet.shared_needed.get(argument.start, False)
            elif _clear(sheet, argument):
                mine = bool(argument.rows)
            elif argument.mode == SAME:
                mine = bool(needed[argument.arena][argument.start])
            else:
                marks = needed[argument.arena]
                if argument.index is None:
                    part = marks[argument.start : argument.stop]
                else:
                    part = marks.take(argument.index)
                count = int(np.count_nonzero(part))
                mine = count > 0
                if 0 < count < len(part):
                    mine = by_segment(part, step, argument.per_node) if reduces else part
            flags.append(mine is not False)
            rows = (
                mine
                if rows is False or mine is True
                else (rows if rows is True or mine is False else rows | mine)
            )
    if rows is not True:
        for arena, start, stop, _ in step.outputs:
            sheet.leave_out(arena, start, stop)
        sheet.mixed |= rows is not False
    if rows is not False:
        frozen = sheet.evaluation.frozen
        for arena, start, stop, _ in step.outputs:
            needed[arena][start:stop] = rows
        if frozen:
            _freeze(sheet, k, step, frozen)
    for arena, start, stop, _ in step.outputs if wanted else ():
        if arena in wanted:
            needed[arena][start:stop] |= wanted[arena][start:stop]
    return tuple(flags)


def _clear(sheet: Sheet, argument: Argument) -> bool:
    """Whether it is plain to see that all rows of an argument need a gradient."""
    left_out = sheet.partial.get(argument.arena)
    if left_out is None:
        return True
    if argument.mode != SLICE:
        return False
    return argument.stop <= left_out[0] or argument.start >= left_out[1]


def _freeze(sheet: Sheet, k: int, step: Step, frozen: set[int]) -> None:
    counts = step.counts if step.counts is not None else np.ones(len(step.nodes), np.int64)
    stopped = np.array([i in frozen for i in step.nodes.tolist()], bool)
    if stopped.any():
        marked = np.repeat(stopped, counts)
        rows = np.flatnonzero(marked)
        sheet.stopped[k] = marked
        sheet.mixed = True
        for arena, start, stop, _ in step.outputs:
            sheet.needed[arena][start + rows] = False
            sheet.leave_out(arena, start, stop)
