"""Which rows take part in a backward on a GPU, found before it begins, so that one upload will do.

The walk finds out batch by batch which rows take part, and needs index arrays for those that do not
in all rows. Nothing of that depends on gradients, but where an op withholds one. So it can be
played through on the host, and all index arrays go up together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.backend import mirrored
from lazynet.chosen import Chosen, ChosenNodes, by_segment, mark
from lazynet.kinds import Array
from lazynet.layout import SHARED, Step
from lazynet.sheet import Run, Sheet
from lazynet.stages import stage_key

NONE = np.zeros(0, np.int64)
"""What `taking_part` returns where no row does."""


def taking_part(sheet: Sheet, k: int, step: Step, reached: list[Array]) -> Array | None:
    """Which rows of a batch take part: `NONE`, or None for all."""
    active: Any = False
    for arena, start, stop, _ in step.outputs:
        mask = reached[arena][start:stop] & sheet.needed[arena][start:stop]
        active = mask if active is False else active | mask
    if k in sheet.stopped:  # a row may be needed for its own sake, and still be a leaf
        active &= ~sheet.stopped[k]
    if active.all():
        return None if len(active) else NONE
    if step.segments is not None and step.rows != len(step.segments) - 1:
        active = by_segment(active, step)
    selected = np.flatnonzero(active)
    return selected if len(selected) else NONE


def back_of(sheet: Sheet, step: Step, needs: tuple[bool, ...]) -> tuple[Any, Any]:
    """The operation of a batch of a staged kind, for its device, and what its backward uses."""
    evaluation = sheet.evaluation
    op: Any = step.op
    if evaluation.mirror is not None:
        op = op.on_device()
    key = stage_key(step)
    back = sheet.stages.get(key)
    if back is None:
        stage = evaluation.stages[key]
        shared = [n and a.mode == SHARED for n, a in zip(needs, step.args)]
        seeds = stage.slices(sheet.gradients)
        back = sheet.stages[key] = op.backspace(stage.work, shared, seeds)
    return op, back


def handed(sheet: Sheet, number: int, reached: list[Array]) -> tuple[Array, Array] | None:
    """Rows by which a link hands on gradients, here and in its source; None for no rows."""
    link = sheet.evaluation.links[number]
    mask = reached[link.arena][link.ours] & sheet.needed[link.arena][link.ours]
    if mask.all():
        return (link.ours, link.theirs) if len(mask) else None
    if not mask.any():
        return None
    ours = link.ours[mask]
    known = sheet.handed.get(number)
    if known is not None and np.array_equal(known[0], ours):
        return known
    return ours, link.theirs[mask]


def foresee(sheet: Sheet) -> list[Array | None]:
    """Which rows of each batch will take part (see `taking_part`), and upload what that takes.

    It holds as long as no op withholds a gradient.
    """
    steps = sheet.evaluation.layout.steps
    reached = [marks.copy() for marks in sheet.reached]
    parts: list[Array | None] = [NONE] * len(steps)
    ran: dict[Any, list[Run]] = {}
    for k in range(len(steps) - 1, -1, -1):
        step, needs = steps[k], sheet.step_needs[k]
        if True not in needs:
            continue
        selected = parts[k] = taking_part(sheet, k, step, reached)
        if selected is NONE:
            continue
        if step.op.staged:
            _staged(sheet, k, step, needs, selected, reached)
            continue
        shared = [n and a.mode == SHARED for n, a in zip(needs, step.args)]
        if True in shared and step.op.reads_args:
            own = tuple([a.start for a in step.args if a.mode == SHARED])
            ran.setdefault((step.kind, own), []).append((k, selected))
        chosen = None
        if selected is not None:
            chosen = Chosen(step, selected, sheet.evaluation.call(k).payload)
            sheet.chosen[k] = chosen
        for need, argument in zip(needs, step.args):
            if need and argument.mode != SHARED:
                rows = None if chosen is None else chosen.rows
                index = None if chosen is None else chosen.index(argument)
                mark(reached, argument, rows, index)
    for runs in ran.values():
        _together(sheet, runs[::-1])
    arrays = [a for chosen in sheet.chosen.values() for a in chosen.arrays()]
    arrays += sheet.gathers.values()
    for key, back in sheet.stages.items():
        arrays += key[0].op.on_device().foreseen(back)
    for number in range(len(sheet.evaluation.links)):
        found = handed(sheet, number, reached)
        if found is not None:
            sheet.handed[number] = found
            arrays += found
    mirrored([a for a in arrays if len(a)])
    return parts


def _staged(
    sheet: Sheet,
    k: int,
    step: Step,
    needs: tuple[bool, ...],
    selected: Array | None,
    reached: list[Array],
) -> None:
    op, back = back_of(sheet, step, needs)
    chosen = ChosenNodes(step, selected)
    if selected is not None:
        sheet.chosen[k] = chosen
    call = sheet.evaluation.calls[k]
    assert call is not None
    now = tuple([n and a.mode != SHARED for n, a in zip(needs, step.args)])
    op.foresee(back, call.keep, call.keep + step.rows, now, chosen.nodes, step.segments)
    for need, argument in zip(now, step.args):
        if need:
            mark(reached, argument, *chosen.places(argument))


def _together(sheet: Sheet, runs: list[Run]) -> None:
    """Gathers of arguments of several batches, but for those that forward had uploaded."""
    layout = sheet.evaluation.layout
    if len(runs) == 1:
        return
    whole = all([selected is None for _, selected in runs])
    numbers = tuple([k for k, _ in runs])
    for position, argument in enumerate(layout.steps[numbers[0]].args):
        known = whole and layout.gathers is not None and (numbers, position) in layout.gathers
        if argument.mode != SHARED and not known:
            sheet.gathered(runs, position)
