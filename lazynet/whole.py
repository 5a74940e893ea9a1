"""Backward's short way where all rows take part: gradients are written first, and added to later.

The walk of `walk` asks of every batch which of its rows need a gradient and reach the loss. In
nearly every training step the answer is "all", and that can be known beforehand: every batch needs
a gradient in all its rows or in none, and every row that needs one is an argument of some batch
that does. Then, batches in reverse, each row gets its first gradient from a batch that is known
too. That batch writes where others add, so that arenas need not be zeroed, and most additions go.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from lazynet.backend import pick_rows
from lazynet.kinds import Array
from lazynet.layout import SAME, SHARED, SLICE, Argument, Step
from lazynet.pieces import add, rows_of
from lazynet.sheet import Sheet, add_to_argument


def find_writes(sheet: Sheet) -> list[tuple[bool, ...]] | None:
    """Per batch and argument, whether it is the first to write its gradient; None: not all whole.

    Where it is the first for some of its rows only, they are zeroed here.
    """
    if sheet.mixed:
        return None
    slots = _Slots(sheet)
    if not slots.cover():
        return None
    return slots.writes()


def mark_reached(sheet: Sheet) -> None:
    """After the walk: every row that needs a gradient and is an argument of something has one."""
    for reached, needed, covered in zip(sheet.reached, sheet.needed, sheet.covered):
        reached |= needed & covered


class _Slots:
    """All arguments that get a gradient, behind one another; rows of all arenas in one numbering.

    Attributes:
        sheet: Whose.
        owners: Them, in order of execution.
        counts: How many each batch has.
        lengths: Rows of each.
        ends: Where each ends in `rows`.
        rows: Their rows.
        base: First row of each arena; one entry more than arenas.
        mine: Per row, whether it is the last mention of this row, that is the first in reverse.
    """

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        sizes = [len(m) for m in sheet.needed]
        self.base = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        base = self.base.tolist()
        iota = np.arange(max(sizes, default=0))
        self.owners: list[Argument] = []
        parts: list[Array] = []
        offsets: list[int] = []
        self.counts: list[int] = []
        for step, needs in zip(sheet.evaluation.layout.steps, sheet.step_needs):
            before = len(parts)
            if True in needs and step.rows:
                for argument, need in zip(step.args, needs):
                    if need and argument.mode != SHARED:
                        self.owners.append(argument)
                        index = argument.index
                        parts.append(
                            iota[argument.start : argument.stop] if index is None else index
                        )
                        offsets.append(base[argument.arena])
            self.counts.append(len(parts) - before)
        lengths = [len(p) for p in parts]
        self.lengths = np.array(lengths, np.int64)
        self.ends = np.cumsum(self.lengths)
        self.rows = np.concatenate([np.zeros(0, np.int64), *parts])
        self.rows += np.repeat(np.array(offsets, np.int64), self.lengths)
        self.place = np.full(int(self.base[-1]), -1)
        self.mine = self._last_mentions(self.rows)

    def _last_mentions(self, rows: Array) -> Array:
        entries = np.arange(len(rows))
        self.place[rows] = entries  # of several entries for one row the last one stays
        for arena, reached in enumerate(self.sheet.reached):
            if reached.any():
                self.place[self.base[arena] : self.base[arena + 1]][reached] = -2
        mine: Array = self.place[rows] == entries
        return mine

    def cover(self) -> bool:
        """Whether all rows that need a gradient get one, or belong to a result nobody reads.

        Of several results of one batch, those that are not read have a gradient of zero.
        """
        sheet = self.sheet
        bounds = self.base.tolist()
        sheet.covered = [self.place[a:b] != -1 for a, b in itertools.pairwise(bounds)]
        left = [needed & ~covered for needed, covered in zip(sheet.needed, sheet.covered)]
        if not any([part.any() for part in left]):
            return True
        for step, needs in zip(sheet.evaluation.layout.steps, sheet.step_needs):
            if len(step.outputs) > 1 and True in needs:
                read = [sheet.covered[arena][a:b] for arena, a, b, _ in step.outputs]
                if not np.logical_or.reduce(read).all():
                    return False
                for arena, a, b, _ in step.outputs:
                    unread = left[arena][a:b]
                    sheet.gradients[arena][a:b][unread] = 0
                    unread[:] = False
        return not any([part.any() for part in left])

    def _counts(self, marks: Array, ends: Array) -> Array:
        total = np.concatenate([[0], np.cumsum(marks)])
        counts: Array = np.diff(total[ends], prepend=0)
        return counts

    def writes(self) -> list[tuple[bool, ...]]:
        counts = self._counts(self.mine, self.ends)
        first = counts == self.lengths
        self._zero((counts > 0) & ~first)
        flags = first.tolist()
        result: list[tuple[bool, ...]] = []
        end = 0
        sheet = self.sheet
        for step, needs, count in zip(sheet.evaluation.layout.steps, sheet.step_needs, self.counts):
            begin, end = end, end + count
            if count in (0, len(needs)):
                result.append(tuple(flags[begin:end]))
            else:
                own = iter(flags[begin:end])
                result.append(
                    tuple([n and a.mode != SHARED and next(own) for n, a in zip(needs, step.args)])
                )
        return result

    def _zero(self, partly: Array) -> None:
        if not partly.any():
            return
        rows = self.rows[np.repeat(partly, self.lengths) & self.mine]
        for arena, gradients in enumerate(self.sheet.gradients):
            low, high = self.base[arena], self.base[arena + 1]
            gradients[rows[(rows >= low) & (rows < high)] - low] = 0


def target(sheet: Sheet, k: int, step: Step) -> Array | None:
    """Where the gradient of the only argument of a batch can be written in place, if it can."""
    assert sheet.writes is not None
    if len(step.args) != 1 or not sheet.writes[k][0] or step.args[0].mode != SLICE:
        return None
    argument = step.args[0]
    rows: Array = sheet.gradients[argument.arena][argument.start : argument.stop]
    return rows.reshape((argument.rows, *argument.shape))


def write(
    sheet: Sheet,
    k: int,
    step: Step,
    now: tuple[bool, ...],
    shared: tuple[bool, ...],
    grads: Sequence[Any],
) -> None:
    """Hand on the gradients of a batch of which all rows take part."""
    assert sheet.writes is not None
    writes: tuple[bool, ...] | None = sheet.writes[k]
    for position in range(len(now) - 1, -1, -1):  # from the last mention of a row to the first
        if not now[position]:
            continue
        argument, dx = step.args[position], grads[position]
        if dx is None:
            if sheet.writes is not None:
                _leave(sheet, k, position)
                writes = None
        elif writes is None:
            add_to_argument(sheet, argument, shared[position], dx, None)
        else:
            put(sheet.gradients[argument.arena], argument, shared[position], dx, writes[position])


def put(target: Array, argument: Argument, shared: bool, dx: Array, first: bool) -> None:
    """Write the gradient of an argument to its rows, or add it to what has been written before."""
    width = target.shape[1]
    rows: Any = argument.index
    if argument.mode == SAME:
        rows = argument.start
        dx = dx.reshape(width) if shared else dx.reshape(len(dx), width).sum(axis=0)
    else:
        dx = dx.reshape(len(dx), width)
        if argument.mode == SLICE:
            rows = slice(argument.start, argument.stop)
        elif not first:
            argument.scatter(target, dx)
            return
    if first:
        target[rows] = dx
    else:
        target[rows] += dx


def put_pieces(
    sheet: Sheet, k: int, step: Step, selected: Array | None, size: int, pieces: Array
) -> None:
    """Hand on the gradient of a batch that took pieces of rows."""
    argument = step.args[0]
    rows = rows_of(step, selected)
    gradients = sheet.gradients[argument.arena]
    if sheet.writes is None:
        sheet.reached[argument.arena][rows] = True
    elif sheet.writes[k][0]:
        gradients[rows] = 0  # what the pieces leave of the rows
    ((arena, start, stop, _),) = step.outputs
    dy = sheet.gradients[arena][start:stop]
    add(gradients, size, pieces, dy if selected is None else pick_rows(dy, selected))


def _leave(sheet: Sheet, k: int, lost: int) -> None:
    """An op withheld a gradient, so that some rows are not reached after all: the long way on."""
    evaluation = sheet.evaluation
    sheet.writes = None
    for j in range(len(evaluation.layout.steps) - 1, k - 1, -1):
        step = evaluation.layout.steps[j]
        for position, (need, argument) in enumerate(zip(sheet.step_needs[j], step.args)):
            if (
                not need
                or argument.mode == SHARED
                or not step.rows
                or (j == k and position <= lost)
            ):
                continue
            rows: Any = argument.index
            if rows is None:
                rows = slice(argument.start, argument.stop)
            sheet.reached[argument.arena][rows] = True
    sheet.zero_unreached()
