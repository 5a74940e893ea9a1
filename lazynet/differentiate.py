"""Backward: over evaluations newest first, over their batches in reverse.

Only rows that need a gradient and reach the roots take part, selected by index. The gradient of a
shared value is one call of the op's backward over all rows of its kind, after the walk.
"""

from __future__ import annotations

import heapq
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from lazynet.backend import SparseRows, scatter_add
from lazynet.collect import ranges
from lazynet.errors import ArgumentError, GradientError, ShapeError
from lazynet.execute import LOCK, Evaluation, evaluate, evaluated
from lazynet.graph import Expression, Leaf, show
from lazynet.kinds import FLOATS, HOOKS, Array, Call, Kind
from lazynet.layout import SAME, SHARED, SLICE, TAKE, Argument, Step

Seed = tuple[Evaluation, int]


def backward(expressions: Iterable[Any]) -> None:
    """Differentiate the sum of several scalars in one walk.

    Args:
        expressions: Scalars of a single row. Computed first where that has not happened yet.

    Raises:
        ShapeError: If one is no scalar, or has a batch.
        GradientError: If no gradient can flow from one, or a parameter whose value is needed was
            changed since it was read.

    >>> import lazynet as ln
    >>> x = ln.constant([1.0, 2.0])
    >>> ln.backward([x.sum(), (x * x).sum()])
    >>> x.gradient().tolist()
    [3.0, 5.0]
    """
    if isinstance(expressions, (Expression, str)) or not isinstance(expressions, Iterable):
        raise ArgumentError(
            f"backward: got {expressions!r}; it takes a list of scalars; for one use .backward()"
        )
    roots = list(expressions)
    for root in roots:
        _check_root(root)
    if not roots:
        raise ArgumentError("backward: got an empty list; give it at least one scalar")
    evaluate(roots)
    with LOCK, np.errstate(all="ignore"):
        seeds: list[Seed] = []
        leaves: dict[Leaf, Any] = {}
        for root in roots:
            if isinstance(root, Leaf):
                _add_leaf(leaves, root, np.ones(root.shape, root.dtype))
            else:
                seeds.append(root.tape.location(root.index))
        walk = _Walk(seeds, {}, leaves)
        walk.run()
        walk.commit()


def _check_root(root: Any) -> None:
    if not isinstance(root, Expression):
        raise ArgumentError(f"backward: got {root!r}; it takes expressions")
    if root.size != 1 or root.batch is not None:
        raise ShapeError(
            f"backward: got {show(-1 if root.batch is None else root.batch, root.shape)}; it "
            "takes a scalar of a single row; reduce with ln.sum, ln.mean or ln.sum_batch first"
        )
    if root.dtype not in FLOATS:
        raise GradientError(f"backward: {root!r} is no floating-point value; it has no gradient")


def gradient(x: Expression) -> Array:
    """See `Expression.gradient`."""
    if not evaluated(x) or isinstance(x, Leaf):
        raise GradientError(
            f"gradient: {x!r} was not evaluated, so no backward reached it; call .backward() on a "
            "scalar computed from it first"
        )
    with LOCK, np.errstate(all="ignore"):
        evaluation, number = x.tape.location(x.index)
        if evaluation.gradients is not None:
            if evaluation.layout.type(number).shared:
                found = evaluation.shared_gradients.get(number)
                if isinstance(found, SparseRows):
                    found = found.dense(x.shape)
                if found is not None:
                    return np.array(found)
            else:
                reached, needed = _state(evaluation, number)
                if reached and not needed:
                    _differentiate_also(evaluation, number)
                    needed = True
                if reached and needed:
                    return evaluation.rows(number, evaluation.gradients)
    raise GradientError(
        f"gradient: no backward reached {x!r}; the scalar it was called on does not depend on it, "
        "or only through no_grad, stop_gradient or an operation without a derivative"
    )


def _state(evaluation: Evaluation, number: int) -> tuple[bool, bool]:
    layout = evaluation.layout
    rows = layout.node_rows(number)
    arena = int(layout.arena[number])
    if layout.type(number).dtype not in FLOATS:
        return False, False
    reached = bool(evaluation.reached[arena][rows].any()) if len(rows) else True
    return reached, bool(evaluation.needed[arena][rows].all())


def _differentiate_also(evaluation: Evaluation, number: int) -> None:
    """Repeat the last backward for a node that it left out because no parameter lies below it."""
    seeds: list[Seed] = []
    for reference, root in evaluation.asked.seeds:
        source = reference()
        if source is None:
            raise GradientError(
                "gradient: the scalar that backward was called on is gone; keep it until the "
                "gradients of inputs have been read"
            )
        seeds.append((source, root))
    wanted = evaluation.asked.wanted
    wanted.setdefault(evaluation.serial, set()).add(number)
    walk = _Walk(seeds, wanted, {})
    walk.run()
    walk.commit(parameters=False)


class _Asked:
    """How a backward started: weak references, because its evaluations refer to one another."""

    __slots__ = ("seeds", "wanted")

    def __init__(self, seeds: list[Seed], wanted: dict[int, set[int]]) -> None:
        self.seeds = [(weakref.ref(evaluation), number) for evaluation, number in seeds]
        self.wanted = wanted


class _Sheet:
    """Backward's working space for one evaluation."""

    __slots__ = (
        "evaluation", "gradients", "needed", "ran", "reached", "shared_gradients", "shared_needed",
        "step_needs",
    )

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.gradients: list[Array] = []
        self.reached: list[Array] = []
        self.needed = [np.zeros(len(a), bool) for a in evaluation.arenas]
        self.shared_needed: dict[int, bool] = {}
        self.shared_gradients: dict[int, Any] = {}
        self.step_needs: list[tuple[bool, ...]] = []
        self.ran: dict[Any, list[tuple[int, Array | None]]] = {}

    def allocate(self) -> None:
        """Zero gradients, nothing reached."""
        self.gradients = [
            np.zeros(a.shape, a.dtype) if a.dtype in FLOATS else a for a in self.evaluation.arenas
        ]
        self.reached = [np.zeros(len(a), bool) for a in self.evaluation.arenas]


class _Walk:
    """One backward."""

    def __init__(
        self, seeds: list[Seed], wanted: dict[int, set[int]], leaves: dict[Leaf, Any]
    ) -> None:
        self.seeds = seeds
        self.wanted = wanted
        self.leaves = leaves
        self.sheets: dict[int, _Sheet] = {}

    def run(self) -> None:
        """Compute all gradients; nothing outside this object is changed."""
        self._find_needs()
        agenda: list[int] = []
        for evaluation, number in self.seeds:
            sheet = self.sheets[evaluation.serial]
            self._open(sheet, agenda)
            t = evaluation.layout.type(number)
            if t.shared:
                _add(sheet.shared_gradients, number, np.ones(t.shape, t.dtype))
            else:
                self._give(sheet, number, np.ones((1, 1), t.dtype))
        while agenda:
            sheet = self.sheets[-heapq.heappop(agenda)]
            self._reverse(sheet)
            self._shared(sheet)
            self._externals(sheet, agenda)

    def commit(self, parameters: bool = True) -> None:
        """Publish the gradients: all of them, or after an interrupt none."""
        asked = _Asked(self.seeds, self.wanted)
        if parameters:
            accumulate(self.leaves)
        for sheet in self.sheets.values():
            if sheet.gradients:
                evaluation = sheet.evaluation
                evaluation.gradients = None
                evaluation.reached = sheet.reached
                evaluation.needed = sheet.needed
                evaluation.shared_gradients = sheet.shared_gradients
                evaluation.asked = asked
                evaluation.gradients = sheet.gradients

    def _open(self, sheet: _Sheet, agenda: list[int]) -> None:
        if not sheet.reached:
            sheet.allocate()
            heapq.heappush(agenda, -sheet.evaluation.serial)

    def _give(self, sheet: _Sheet, number: int, rows: Array) -> None:
        """Add to the gradient of a node."""
        layout = sheet.evaluation.layout
        index = layout.node_rows(number)
        arena = int(layout.arena[number])
        scatter_add(sheet.gradients[arena], index, rows)
        sheet.reached[arena][index] = True

    # What needs a gradient

    def _find_needs(self) -> None:
        found: dict[int, Evaluation] = {}
        stack = [evaluation for evaluation, _ in self.seeds]
        while stack:
            evaluation = stack.pop()
            if evaluation.serial not in found:
                found[evaluation.serial] = evaluation
                stack += [source for source, _ in evaluation.externals]
        for serial in sorted(found):
            sheet = self.sheets[serial] = _Sheet(found[serial])
            self._needs(sheet)

    def _needs(self, sheet: _Sheet) -> None:
        evaluation = sheet.evaluation
        layout = evaluation.layout
        needed = sheet.needed
        wanted = self.wanted.get(evaluation.serial, set())
        for number, leaf in evaluation.leaves.items():
            sheet.shared_needed[number] = leaf.trainable
        for number, (source, there) in enumerate(evaluation.externals):
            theirs = self.sheets[source.serial]
            arena = int(layout.arena[number])
            if arena < 0:
                sheet.shared_needed[number] = theirs.shared_needed.get(there, False)
            else:
                rows = source.layout.node_rows(there)
                needs = theirs.needed[int(source.layout.arena[there])][rows]
                needed[arena][layout.node_rows(number)] = needs
        for number, kind, args in layout.shared:
            sheet.shared_needed[number] = (
                kind.op.differentiable
                and number not in evaluation.frozen
                and any(sheet.shared_needed[a] for a in args)
            )
        wanted_rows = [(int(layout.arena[i]), layout.node_rows(i)) for i in wanted]
        for step in layout.steps:
            sheet.step_needs.append(self._step_needs(sheet, step, wanted_rows))

    def _step_needs(
        self, sheet: _Sheet, step: Step, wanted: list[tuple[int, Array]]
    ) -> tuple[bool, ...]:
        """Mark the rows of a batch that need a gradient; says which arguments do."""
        needed = sheet.needed
        flags = []
        rows: Any = False
        reduces = step.segments is not None
        if step.op.differentiable:
            for argument in step.args:
                if argument.mode == SHARED:
                    mine: Any = sheet.shared_needed.get(argument.start, False)
                elif argument.mode == SAME:
                    mine = bool(needed[argument.arena][argument.start])
                else:
                    part = needed[argument.arena][
                        slice(argument.start, argument.stop)
                        if argument.mode == SLICE
                        else argument.index
                    ]
                    mine = bool(part.any())
                    if mine and not part.all():
                        mine = _by_segment(part, step) if reduces else part
                flags.append(mine is not False)
                rows = mine if rows is False or mine is True else (
                    rows if rows is True or mine is False else rows | mine
                )
        if rows is not False:
            frozen = sheet.evaluation.frozen
            for arena, start, stop, _ in step.outputs:
                needed[arena][start:stop] = rows
            if frozen:
                self._freeze(sheet, step, frozen)
        for arena, index in wanted:
            for a, start, stop, _ in step.outputs:
                if a == arena:
                    inside = index[(index >= start) & (index < stop)]
                    needed[a][inside] = True
        return tuple(flags)

    def _freeze(self, sheet: _Sheet, step: Step, frozen: set[int]) -> None:
        counts = step.counts if step.counts is not None else np.ones(len(step.nodes), np.int64)
        stopped = np.array([i in frozen for i in step.nodes.tolist()], bool)
        if stopped.any():
            rows = np.flatnonzero(np.repeat(stopped, counts))
            for arena, start, _, _ in step.outputs:
                sheet.needed[arena][start + rows] = False

    # The walk

    def _reverse(self, sheet: _Sheet) -> None:
        evaluation = sheet.evaluation
        steps = evaluation.layout.steps
        for k in range(len(steps) - 1, -1, -1):
            needs = sheet.step_needs[k]
            if True not in needs:
                continue
            step = steps[k]
            active: Any = False
            for arena, start, stop, _ in step.outputs:
                mask = sheet.reached[arena][start:stop] & sheet.needed[arena][start:stop]
                active = mask if active is False else active | mask
            if active.all():
                selected = None
                if not len(active):
                    continue
            else:
                if step.segments is not None and step.rows != len(step.segments) - 1:
                    active = _by_segment(active, step)
                selected = np.flatnonzero(active)
                if not len(selected):
                    continue
            self._step(sheet, k, step, needs, selected)

    def _step(
        self, sheet: _Sheet, k: int, step: Step, needs: tuple[bool, ...], selected: Array | None
    ) -> None:
        deferred = [n and a.mode == SHARED for n, a in zip(needs, step.args)]
        if True in deferred:
            key = (step.kind, tuple([a.start for a in step.args if a.mode == SHARED]))
            sheet.ran.setdefault(key, []).append((k, selected))
        now = tuple([n and not d for n, d in zip(needs, deferred)])
        if True not in now:
            return
        call, dy, y, args, arg_rows = _view(sheet, k, step, selected, self._values(sheet, step))
        call.needs = now
        grads = step.op.backward(call, dy, y, *args)
        if not isinstance(grads, tuple):
            grads = (grads,)
        for need, argument, shared, dx, rows in zip(now, step.args, call.shared, grads, arg_rows):
            if need:
                _accumulate(sheet, argument, shared, dx, rows)

    def _values(self, sheet: _Sheet, step: Step) -> bool:
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

    def _shared(self, sheet: _Sheet) -> None:
        """Gradients of shared values: one backward over all rows of each kind."""
        evaluation = sheet.evaluation
        steps = evaluation.layout.steps
        for (kind, _), runs in sheet.ran.items():
            step = steps[runs[0][0]]
            needs = tuple(
                [
                    a.mode == SHARED and sheet.shared_needed.get(a.start, False)
                    for a in step.args
                ]
            )
            call, dy, y, args = _together(sheet, kind, runs, self._values(sheet, step))
            call.needs = needs
            grads = kind.op.backward(call, dy, y, *args)
            if not isinstance(grads, tuple):
                grads = (grads,)
            for need, argument, dx in zip(needs, step.args, grads):
                if need:
                    if not kind.op.shares:
                        dx = dx.reshape((-1, *argument.shape)).sum(axis=0)
                    _add(sheet.shared_gradients, argument.start, dx)
        for number, kind, arg_numbers in reversed(evaluation.layout.shared):
            dy_shared = sheet.shared_gradients.get(number)
            if dy_shared is None or not sheet.shared_needed[number]:
                continue
            if isinstance(dy_shared, SparseRows):
                dy_shared = dy_shared.dense(kind.type.shape)
            self._shared_node(sheet, number, kind, arg_numbers, dy_shared)
        for number, leaf in evaluation.leaves.items():
            found = sheet.shared_gradients.get(number)
            if found is not None and leaf.trainable:
                _add_leaf(self.leaves, leaf, found)

    def _shared_node(
        self, sheet: _Sheet, number: int, kind: Kind, arg_numbers: list[int], dy: Array
    ) -> None:
        evaluation = sheet.evaluation
        needs = tuple([sheet.shared_needed[a] for a in arg_numbers])
        args: list[Any] = []
        for a in arg_numbers:
            leaf = evaluation.leaves.get(a)
            if (
                kind.op.reads_args
                and leaf is not None
                and leaf.version() != evaluation.versions[a]
            ):
                raise _changed(leaf, kind)
            args.append(evaluation.shared[a][None])
        call = Call(1, None, (False,) * len(args), needs, None)
        call.keep = evaluation.kept[number]
        y = evaluation.shared[number][None]
        grads = kind.op.backward(call, dy[None], y, *args)
        if not isinstance(grads, tuple):
            grads = (grads,)
        for need, a, dx in zip(needs, arg_numbers, grads):
            if need:
                _add(sheet.shared_gradients, a, np.reshape(dx, evaluation.shared[a].shape))

    def _externals(self, sheet: _Sheet, agenda: list[int]) -> None:
        """Hand gradients on to the evaluations that computed the rows."""
        evaluation = sheet.evaluation
        layout = evaluation.layout
        for number, (source, there) in enumerate(evaluation.externals):
            theirs = self.sheets[source.serial]
            arena = int(layout.arena[number])
            if arena < 0:
                found = sheet.shared_gradients.get(number)
                if found is not None and sheet.shared_needed[number]:
                    self._open(theirs, agenda)
                    _add(theirs.shared_gradients, there, found)
                continue
            rows = layout.node_rows(number)
            mask = sheet.reached[arena][rows] & sheet.needed[arena][rows]
            if mask.any():
                self._open(theirs, agenda)
                index = source.layout.node_rows(there)[mask]
                their_arena = int(source.layout.arena[there])
                scatter_add(
                    theirs.gradients[their_arena], index, sheet.gradients[arena][rows[mask]]
                )
                theirs.reached[their_arena][index] = True


def _changed(leaf: Leaf, kind: Kind) -> GradientError:
    return GradientError(
        f"backward: parameter {leaf.name!r} was changed after {kind} (recorded at {kind.line}) "
        "had read it, and its old value is needed; call backward before the optimiser's step, or "
        "record the graph again"
    )


def _by_segment(part: Array, step: Step) -> Array:
    """Per row of the result of a segmented batch, whether any argument row in it is marked."""
    assert step.segments is not None
    marked = np.concatenate([[0], np.cumsum(part)])
    any_ = marked[step.segments[1:]] > marked[step.segments[:-1]]
    if step.rows == len(any_):
        return any_
    return np.repeat(any_, np.diff(step.segments))


def _view(
    sheet: _Sheet, k: int, step: Step, selected: Array | None, reads: bool
) -> tuple[Call, Any, Any, list[Any], list[Array | None]]:
    """A batch as backward sees it, or the selected rows of it.

    The last result is, per argument, which of its rows take part (None: all).
    """
    evaluation = sheet.evaluation
    kept = evaluation.calls[k]
    assert kept is not None
    args: list[Any] = evaluation.arguments[k] if reads else [None] * len(step.args)
    if selected is None:
        rows = step.rows
        dy = _outputs(sheet.gradients, step, None)
        y = _outputs(evaluation.arenas, step, None) if step.op.reads_y else None
        call = Call(rows, kept.payload, step.shared, (), None, step.segments)
        call.keep = kept.keep
        return call, dy, y, args, [None] * len(args)
    dy = _outputs(sheet.gradients, step, selected)
    y = _outputs(evaluation.arenas, step, selected) if step.op.reads_y else None
    arg_rows = selected
    segments = None
    if step.segments is not None:
        chosen = selected
        if step.rows != len(step.segments) - 1:
            owner = np.repeat(np.arange(len(step.segments) - 1), np.diff(step.segments))
            chosen = np.unique(owner[selected])
        lengths = np.diff(step.segments)[chosen]
        segments = np.concatenate([[0], np.cumsum(lengths)])
        arg_rows = ranges(step.segments[chosen], lengths)
    payload = kept.payload[selected] if kept.payload is not None else None
    call = Call(len(selected), payload, step.shared, (), None, segments)
    kept_rows = (
        arg_rows if segments is not None and _length(kept.keep) == step.args[0].rows else selected
    )
    call.keep = _pick(kept.keep, kept_rows)
    args = [
        a if a is None or shared else a[arg_rows] for a, shared in zip(args, step.shared)
    ]
    return call, dy, y, args, [arg_rows] * len(args)


def _length(keep: Any) -> int:
    first = keep[0] if isinstance(keep, tuple) else keep
    return -1 if first is None else len(first)


def _pick(keep: Any, rows: Array) -> Any:
    if keep is None:
        return None
    if isinstance(keep, tuple):
        return tuple([_pick(part, rows) for part in keep])
    return keep[rows]


def _outputs(arenas: list[Array], step: Step, selected: Array | None) -> Any:
    """The rows of a batch's results."""
    parts = []
    for arena, start, stop, shape in step.outputs:
        rows = arenas[arena][start:stop] if selected is None else arenas[arena][start + selected]
        parts.append(rows.reshape((len(rows), *shape)))
    return parts[0] if len(parts) == 1 else tuple(parts)


def _accumulate(
    sheet: _Sheet, argument: Argument, shared: bool, dx: Array, rows: Array | None
) -> None:
    """Add a batch's gradient of one argument to the rows it came from."""
    target = sheet.gradients[argument.arena]
    reached = sheet.reached[argument.arena]
    width = target.shape[1]
    if argument.mode == SAME:
        if not shared:
            dx = dx.reshape(-1, width).sum(axis=0)
        target[argument.start] += dx.reshape(width)
        reached[argument.start] = True
        return
    dx = dx.reshape(-1, width)
    if argument.mode == SLICE:
        if rows is None:
            target[argument.start : argument.stop] += dx
            reached[argument.start : argument.stop] = True
        else:
            target[argument.start + rows] += dx
            reached[argument.start + rows] = True
        return
    assert argument.mode == TAKE and argument.index is not None
    index = argument.index if rows is None else argument.index[rows]
    if argument.distinct():
        target[index] += dx
    else:
        scatter_add(target, index, dx)
    reached[index] = True


def _together(
    sheet: _Sheet, kind: Kind, runs: list[tuple[int, Array | None]], reads: bool
) -> tuple[Call, Any, Any, list[Any]]:
    """All rows of a kind that took part, as one batch."""
    evaluation = sheet.evaluation
    steps = evaluation.layout.steps
    runs = runs[::-1]  # in forward order, so that neighbours in the arenas meet
    first = steps[runs[0][0]]
    reads_y = kind.op.reads_y
    whole = all(selected is None for _, selected in runs)
    if len(runs) == 1:
        call, dy, y, args, _ = _view(sheet, runs[0][0], first, runs[0][1], reads)
        return call, dy, y, args
    dy = _joined(sheet.gradients, [(steps[k], s) for k, s in runs], whole)
    y = _joined(evaluation.arenas, [(steps[k], s) for k, s in runs], whole) if reads_y else None
    rows = len(dy[0] if isinstance(dy, tuple) else dy)
    args: list[Any] = []
    for position, argument in enumerate(first.args):
        if not reads:
            args.append(None)
        elif argument.mode == SHARED:
            value = evaluation.shared[argument.start]
            shape = (rows, *argument.shape)
            args.append(value if kind.op.shares else np.broadcast_to(value, shape))
        else:
            args.append(_gathered(sheet, [(steps[k], s) for k, s in runs], position))
    calls = [evaluation.calls[k] for k, _ in runs]
    payload = None
    keep = None
    parts = [(c.payload, c.keep, s) for c, (_, s) in zip(calls, runs) if c is not None]
    if parts[0][0] is not None:
        payload = np.concatenate([p if s is None else p[s] for p, _, s in parts])
    if parts[0][1] is not None:
        keep = _concatenate([k if s is None else _pick(k, s) for _, k, s in parts])
    shared = tuple([a.mode == SHARED and kind.op.shares for a in first.args])
    call = Call(rows, payload, shared, (), None, None)
    call.keep = keep
    return call, dy, y, args


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
                    arenas[arena][b:e] if selected is None else arenas[arena][b + selected]
                    for (_, b, e, _), (_, selected) in zip(spans, runs)
                ]
            )
        parts.append(rows.reshape((len(rows), *shape)))
    return parts[0] if len(parts) == 1 else tuple(parts)


def _gathered(sheet: _Sheet, runs: list[tuple[Step, Array | None]], position: int) -> Array:
    """Rows of one argument of several batches, in one gather."""
    arenas = sheet.evaluation.arenas
    index = []
    for step, selected in runs:
        argument = step.args[position]
        if argument.mode == SAME:
            rows = np.full(step.rows if selected is None else len(selected), argument.start)
        else:
            rows = argument.indices()
            if selected is not None:
                rows = rows[selected]
        index.append(rows)
    argument = runs[0][0].args[position]
    flat = np.concatenate(index)
    taken = arenas[argument.arena].take(flat, axis=0)
    return taken.reshape((len(flat), *argument.shape))


def _add(table: dict[int, Any], number: int, gradient_: Any) -> None:
    known = table.get(number)
    table[number] = gradient_ if known is None else known + gradient_


def _add_leaf(leaves: dict[Leaf, Any], leaf: Leaf, gradient_: Any) -> None:
    known = leaves.get(leaf)
    leaves[leaf] = gradient_ if known is None else known + gradient_


def accumulate(leaves: dict[Leaf, Any]) -> None:
    """Add gradients to those of the parameters: to all of them, or after an interrupt to none."""
    planned: list[tuple[Leaf, Any, list[Any]]] = []
    for leaf, found in leaves.items():
        dense, rows = leaf.pending, leaf.pending_rows
        dense_part = found
        if isinstance(found, SparseRows):
            rows = [*rows, (found.rows, found.values)]
            dense_part = found.rest
        if dense_part is not None:
            dense = np.array(dense_part) if dense is None else dense + dense_part
        planned.append((leaf, dense, rows))
    before = [(leaf, leaf.pending, leaf.pending_rows) for leaf, _, _ in planned]
    try:
        for leaf, dense, rows in planned:
            leaf.pending, leaf.pending_rows = dense, rows
    except BaseException:
        for leaf, dense, rows in before:
            leaf.pending, leaf.pending_rows = dense, rows
        raise


HOOKS.backward = backward
HOOKS.gradient = gradient
