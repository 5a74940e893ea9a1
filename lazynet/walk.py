"""The walk of one backward: over evaluations newest first, over their batches in reverse.

Only rows that need a gradient and reach the roots take part, selected by index. The gradient of a
shared value is one call of the op's backward over all rows of its kind, after the walk.
"""

from __future__ import annotations

import heapq
import weakref
from typing import Any

from lazynet.accumulate import accumulate, add_leaf
from lazynet.anomaly_back import check_gradients, check_shared_gradients, check_shared_node
from lazynet.backend import SparseRows, beside, module_of, note, take_rows, to_device
from lazynet.cells import readable
from lazynet.chains import Run, factor
from lazynet.chosen import ChosenNodes
from lazynet.errors import AnomalyError, GradientError
from lazynet.evaluation import Evaluation
from lazynet.failures import failed_batch, failed_kind
from lazynet.foresee import NONE, back_of, foresee, handed, taking_part
from lazynet.graph import Leaf
from lazynet.kinds import Array, Call, Kind
from lazynet.layout import SHARED, Step
from lazynet.modes import MODES
from lazynet.needs import Seed, find_needs
from lazynet.pieces import pieces_of
from lazynet.recorder import BACKWARD as BACKWARD_PHASE
from lazynet.recorder import WEIGHTS, Recorder
from lazynet.rewind import Withheld, rewind
from lazynet.sheet import Sheet, add_to_argument, together, view
from lazynet.timing import BACKWARD, SHARED_GRADIENTS, TIMING
from lazynet.whole import find_writes, mark_reached, put_pieces, target, write


class Asked:
    """How a backward started: weak references, because its evaluations refer to one another."""

    __slots__ = ("seeds", "wanted")

    def __init__(self, seeds: list[Seed], wanted: dict[int, set[int]]) -> None:
        self.seeds = [(weakref.ref(evaluation), number) for evaluation, number in seeds]
        self.wanted = wanted


class Walk:
    """One backward."""

    def __init__(
        self,
        seeds: list[Seed],
        wanted: dict[int, set[int]],
        leaves: dict[Leaf, Any],
        profile: Recorder | None = None,
    ) -> None:
        self.seeds = seeds
        self.wanted = wanted
        self.leaves = leaves
        self.given = dict(leaves)
        self.sheets: dict[int, Sheet] = {}
        self.profile = profile
        self.anomaly = MODES.get().anomaly
        self.singly = TIMING.timer is not None or self.anomaly > 0
        self.short = not wanted  # whether evaluations may be rewound, see `_reverse`

    def run(self) -> None:
        """Compute all gradients; nothing outside this object is changed."""
        try:
            self._all()
        except Withheld:
            self.short = False
            self.leaves.clear()
            self.leaves.update(self.given)
            self.sheets = {}
            self._all()

    def _all(self) -> None:
        agenda = self.begin()
        while agenda:
            sheet = self.sheets[-heapq.heappop(agenda)]
            with sheet.on_device():
                self._one(sheet, agenda)

    def _one(self, sheet: Sheet, agenda: list[int]) -> None:
        profile = self.profile
        self._reverse(sheet)
        if profile is not None:
            profile.mark(WEIGHTS)
        self._shared(sheet)
        if profile is not None:
            profile.mark(BACKWARD_PHASE)
        self._externals(sheet, agenda)

    def begin(self) -> list[int]:
        """Find out what needs a gradient, and give the roots theirs; returns a heap of sheets."""
        self.sheets = find_needs(self.seeds, self.wanted, self.short)
        agenda: list[int] = []
        for evaluation, number in self.seeds:
            sheet = self.sheets[evaluation.serial]
            self._open(sheet, agenda)
            t = evaluation.layout.type(number)
            with sheet.on_device():
                if t.shared:
                    one = module_of(evaluation.shared[number]).ones(t.shape, t.work)
                    _add(sheet.shared_gradients, number, one)
                else:
                    layout = evaluation.layout
                    row = int(layout.node_rows(number)[0])
                    sheet.seed(int(layout.arena[number]), row)
        return agenda

    def commit(self, parameters: bool = True) -> None:
        """Publish the gradients: all of them, or after an interrupt none.

        Evaluations that the walk had no cause to enter lose those of earlier walks, and remember
        this one, in case the gradient of one of their inputs is asked for.
        """
        asked = Asked(self.seeds, self.wanted)
        if parameters:
            accumulate(self.leaves)
        for sheet in self.sheets.values():
            evaluation = sheet.evaluation
            evaluation.gradients = None
            evaluation.reached = sheet.reached
            evaluation.needed = sheet.needed
            evaluation.shared_gradients = sheet.shared_gradients
            evaluation.asked = asked
            evaluation.wide = {}
            if sheet.opened:
                evaluation.gradients = sheet.gradients

    def _open(self, sheet: Sheet, agenda: list[int]) -> None:
        if not sheet.opened:
            with sheet.on_device():
                sheet.open()
            heapq.heappush(agenda, -sheet.evaluation.serial)

    @staticmethod
    def _hand(sheet: Sheet, arena: int, index: Array, rows: Array, source: Evaluation) -> None:
        """Add to the gradients of rows, which may come from another device."""
        evaluation = sheet.evaluation
        copy = None
        if evaluation.mirror is not None and source.device == evaluation.device:
            copy = beside(rows, index)  # where the source has uploaded it
        with sheet.on_device():
            if copy is not None:
                note(index, copy)
            sheet.give(arena, index, to_device(rows, evaluation.device))

    # The walk

    def _reverse(self, sheet: Sheet) -> None:
        profile = self.profile
        if profile is not None:
            profile.start()
        if sheet.key is not None and not self.singly and rewind(sheet):
            if profile is not None:
                profile.unit(sheet.evaluation.layout.steps, -1)
            return
        evaluation = sheet.evaluation
        steps = evaluation.layout.steps
        # on a GPU zeroing an arena is one cheap launch, and telling first gradients apart is not
        sheet.writes = find_writes(sheet) if evaluation.mirror is None else None
        if sheet.writes is None:
            sheet.zero_unreached()
        foreseen = None if evaluation.mirror is None else foresee(sheet)
        if profile is not None:
            profile.start()
        runs = list(evaluation.layout.runs or ())
        k = len(steps)
        while k:
            if runs and runs[-1].end == k:
                run = runs.pop()
                if sheet.writes is not None and not self.singly:
                    self._run(sheet, run)
                    if profile is not None:
                        profile.unit(run.steps, -1)
                    k = run.first
                    continue
            k -= 1
            needs = sheet.step_needs[k]
            if True not in needs:
                continue
            step = steps[k]
            if sheet.writes is not None:
                if step.rows:
                    self._step(sheet, k, step, needs, None)
                continue
            if foreseen is None or sheet.withheld:
                selected = taking_part(sheet, k, step, sheet.reached)
            else:
                selected = foreseen[k]
            if selected is NONE:
                continue
            self._step(sheet, k, step, needs, selected)
        if sheet.writes is not None:
            mark_reached(sheet)

    def _run(self, sheet: Sheet, run: Run) -> None:
        """Batches that ran as one function, which all take part in all rows."""
        assert sheet.writes is not None
        evaluation = sheet.evaluation
        factors = []
        for k, step in enumerate(run.steps, run.first):
            if SHARED in [a.mode for a in step.args]:
                needs = sheet.step_needs[k]
                if True in needs:
                    self._values(sheet, step)
                    self._defer(sheet, k, step, needs, None)
            if step.op.payload is not None:
                factors.append(factor(evaluation.payloads[k]))
        needs_of = tuple(sheet.step_needs[run.first : run.end])
        writes = sheet.writes[run.first : run.end]
        run.backward(needs_of)(
            evaluation.arenas, sheet.gradients, evaluation.shared, run.places, factors, writes
        )

    def _defer(
        self, sheet: Sheet, k: int, step: Step, needs: tuple[bool, ...], selected: Array | None
    ) -> list[bool]:
        """Put off gradients of shared values; says which those are."""
        deferred = [n and a.mode == SHARED for n, a in zip(needs, step.args)]
        if True in deferred:
            key = (step.kind, tuple([a.start for a in step.args if a.mode == SHARED]))
            sheet.ran.setdefault(key, []).append((k, selected))
        return deferred

    def _step(
        self, sheet: Sheet, k: int, step: Step, needs: tuple[bool, ...], selected: Array | None
    ) -> None:
        began = TIMING.now()
        try:
            self._batch(sheet, k, step, needs, selected)
        except (AnomalyError, GradientError):
            raise
        except Exception as error:
            raise failed_batch(error, sheet.evaluation, step) from error
        TIMING.add(BACKWARD, step.kind, step.rows if selected is None else len(selected), began)
        if self.profile is not None and (
            step.op.staged or any([n and a.mode != SHARED for n, a in zip(needs, step.args)])
        ):
            self.profile.unit(step, -1 if selected is None else len(selected))

    def _batch(
        self, sheet: Sheet, k: int, step: Step, needs: tuple[bool, ...], selected: Array | None
    ) -> None:
        if step.op.staged:
            self._staged(sheet, k, step, needs, selected)
            return
        deferred = self._defer(sheet, k, step, needs, selected)
        now = tuple([n and not d for n, d in zip(needs, deferred)])
        if self.anomaly:
            check_gradients(sheet, k, step, selected, (), (), self.anomaly)
        if True not in now:
            return
        if step.op.pieces and sheet.evaluation.mirror is None:
            cut = pieces_of(step, sheet.evaluation.call(k).payload, selected)
            if cut is not None:
                put_pieces(sheet, k, step, selected, *cut)
                return
        call, dy, y, args, chosen = view(sheet, k, step, selected, self._values(sheet, step))
        call.needs = now
        if sheet.writes is not None:
            call.into = target(sheet, k, step)
        grads = step.op.backward(call, dy, y, *args)
        if not isinstance(grads, tuple):
            grads = (grads,)
        if self.anomaly:
            wanted = [g if n else None for g, n in zip(grads, now)]
            check_gradients(sheet, k, step, selected, call.shared, wanted, self.anomaly)
        if sheet.writes is not None:
            if call.into is None or grads[0] is not call.into:
                write(sheet, k, step, now, call.shared, grads)
            return
        for need, argument, shared, dx in zip(now, step.args, call.shared, grads):
            if not need:
                continue
            if dx is None:
                sheet.withheld = True
            elif chosen is None:
                add_to_argument(sheet, argument, shared, dx, None)
            else:
                add_to_argument(sheet, argument, shared, dx, chosen.rows, chosen.index(argument))

    def _staged(
        self, sheet: Sheet, k: int, step: Step, needs: tuple[bool, ...], selected: Array | None
    ) -> None:
        """A batch of a staged kind: gradients of rows now, of shared values in `_shared`."""
        evaluation = sheet.evaluation
        self._values(sheet, step)
        op, back = back_of(sheet, step, needs)
        call = evaluation.calls[k]
        assert call is not None
        start = call.keep
        now = tuple([n and a.mode != SHARED for n, a in zip(needs, step.args)])
        chosen = sheet.chosen.get(k)
        if not isinstance(chosen, ChosenNodes) or chosen.selected is not selected:
            chosen = ChosenNodes(step, selected)
        args = evaluation.arguments[k]
        grads = op.reverse(back, start, start + step.rows, args, now, chosen.nodes, step.segments)
        if self.anomaly:
            check_gradients(sheet, k, step, selected, (), grads, self.anomaly)
        if sheet.writes is not None:
            write(sheet, k, step, now, (False,) * len(now), grads)
            return
        for need, argument, dx in zip(now, step.args, grads):
            if need and dx is not None:
                add_to_argument(sheet, argument, False, dx, *chosen.places(argument))
            elif need:
                sheet.withheld = True

    def _values(self, sheet: Sheet, step: Step) -> bool:
        """Whether backward reads the arguments; checks parameters it reads for changes."""
        if not step.op.reads_args:
            return False
        evaluation = sheet.evaluation
        for argument in step.args:
            if argument.mode == SHARED:
                leaf = evaluation.leaves.get(argument.start)
                if leaf is not None and leaf.version() != evaluation.versions[argument.start]:
                    raise _changed(leaf, step.kind)
        return True

    def _shared(self, sheet: Sheet) -> None:
        """Gradients of shared values: one backward over all rows of each kind."""
        profile = self.profile
        evaluation = sheet.evaluation
        steps = evaluation.layout.steps
        for (kind, _), runs in sheet.ran.items():
            began = TIMING.now()
            step = steps[runs[0][0]]
            try:
                rows = self._of_all(sheet, kind, runs, step)
            except (AnomalyError, GradientError):
                raise
            except Exception as error:
                raise failed_batch(error, evaluation, step) from error
            TIMING.add(SHARED_GRADIENTS, kind, rows, began)
            if profile is not None:
                profile.unit(kind, rows)
        for key, back in sheet.stages.items():
            began = TIMING.now()
            op: Any = key[0].op
            if evaluation.mirror is not None:
                op = op.on_device()
            stage = evaluation.stages[key]
            try:
                found = op.finish(back)
            except Exception as error:
                raise failed_kind(error, key[0], backward=True) from error
            if self.anomaly:
                check_shared_gradients(sheet, key[0], stage.shared, found, self.anomaly)
            for number, gradient in zip(stage.shared, found):
                if gradient is not None:
                    _add(sheet.shared_gradients, number, gradient)
            TIMING.add(SHARED_GRADIENTS, key[0], stage.rows, began)
            if profile is not None:
                profile.unit(key[0], stage.rows)
        for number, kind, arg_numbers in reversed(evaluation.layout.shared):
            dy_shared = sheet.shared_gradients.get(number)
            if dy_shared is None or number in evaluation.frozen or not kind.op.differentiable:
                continue
            if isinstance(dy_shared, SparseRows):
                dy_shared = dy_shared.dense(kind.type.shape)
            try:
                self._shared_node(sheet, number, kind, arg_numbers, dy_shared)
            except (AnomalyError, GradientError):
                raise
            except Exception as error:
                line = evaluation.lines.get(number)
                raise failed_kind(error, kind, line, True) from error
        for number, leaf in evaluation.leaves.items():
            if leaf.trainable and number in sheet.shared_gradients:
                # not kept here as well, so that it can become the parameter's own (`_owned`)
                add_leaf(self.leaves, leaf, sheet.shared_gradients.pop(number))

    def _of_all(self, sheet: Sheet, kind: Kind, runs: list[Any], step: Step) -> int:
        """Gradients of shared values from all rows of a kind; returns how many."""
        needs = tuple(
            [a.mode == SHARED and sheet.shared_needed.get(a.start, False) for a in step.args]
        )
        call, dy, y, args = together(sheet, kind, runs, self._values(sheet, step))
        call.needs = needs
        grads = kind.op.backward(call, dy, y, *args)
        if not isinstance(grads, tuple):
            grads = (grads,)
        if self.anomaly:
            wanted = [g if n else None for g, n in zip(grads, needs)]
            numbers = [a.start for a in step.args]
            check_shared_gradients(sheet, kind, numbers, wanted, self.anomaly)
        for need, argument, dx in zip(needs, step.args, grads):
            if need and dx is not None:
                if not kind.op.shares:
                    dx = dx.reshape((len(dx), *argument.shape)).sum(axis=0)
                _add(sheet.shared_gradients, argument.start, dx)
        return call.rows

    def _shared_node(
        self, sheet: Sheet, number: int, kind: Kind, arg_numbers: list[int], dy: Array
    ) -> None:
        evaluation = sheet.evaluation
        needs = tuple([sheet.shared_needed[a] for a in arg_numbers])
        if True not in needs:
            return
        args: list[Any] = []
        for a in arg_numbers:
            leaf = evaluation.leaves.get(a)
            if kind.op.reads_args and leaf is not None and leaf.version() != evaluation.versions[a]:
                raise _changed(leaf, kind)
            args.append(evaluation.operand(a)[None])
        call = Call(1, None, (False,) * len(args), needs, None)
        call.keep = evaluation.kept[number]
        y = evaluation.operand(number)[None]
        grads = kind.op.backward(call, dy[None], y, *args)
        if not isinstance(grads, tuple):
            grads = (grads,)
        if self.anomaly:
            wanted = [g if n else None for g, n in zip(grads, needs)]
            check_shared_node(evaluation, number, kind, arg_numbers, dy, wanted, self.anomaly)
        for need, a, dx in zip(needs, arg_numbers, grads):
            if need and dx is not None:
                _add(sheet.shared_gradients, a, dx.reshape(evaluation.shared[a].shape))

    def _externals(self, sheet: Sheet, agenda: list[int]) -> None:
        """Hand gradients on to the evaluations that computed the rows."""
        evaluation = sheet.evaluation
        for number, source, there in evaluation.borrowed:
            found = sheet.shared_gradients.get(number)
            if found is not None and sheet.shared_needed[number]:
                theirs = self.sheets[source.serial]
                self._open(theirs, agenda)
                _add(theirs.shared_gradients, there, to_device(found, source.device))
        for number in range(len(evaluation.links)):
            found = handed(sheet, number, sheet.reached)
            if found is not None:
                link = evaluation.links[number]
                theirs = self.sheets[link.source.serial]
                self._open(theirs, agenda)
                ours, index = found
                rows = take_rows(sheet.gradients[link.arena], ours)
                self._hand(theirs, link.their_arena, index, rows, evaluation)


def _changed(leaf: Leaf, kind: Kind) -> GradientError:
    return GradientError(
        f"backward: parameter {leaf.name!r} was changed after {kind} "
        f"(recorded at {readable(kind.line)}) had read it, and its old value is needed; call "
        "backward before the optimiser's step, or record the graph again"
    )


def _add(table: dict[int, Any], number: int, gradient_: Any) -> None:
    known = table.get(number)
    table[number] = gradient_ if known is None else known + gradient_
