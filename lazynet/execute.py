"""Running a plan: forward, and what expressions ask for (`value`, `values`, `detach`)."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np

from lazynet.anomaly import check_batch, check_shared
from lazynet.backend import (
    CPU,
    fill,
    gpu_in_use,
    module_of,
    on_device,
)
from lazynet.chains import Run, factor, find_runs
from lazynet.collect import Graph, collect
from lazynet.errors import AnomalyError, EvaluationError, OutOfMemoryError
from lazynet.evaluation import Evaluation, flows, points
from lazynet.evaluation import last_serial as last_serial
from lazynet.externals import copy_externals, copy_few, find_externals
from lazynet.failures import failed_batch, failed_kind, line_in
from lazynet.graph import Expression, Leaf, handle
from lazynet.kinds import HOOKS, Array, Call
from lazynet.layout import Layout, Step, layout_of
from lazynet.leaves import Import, Input
from lazynet.modes import MODES
from lazynet.payloads import assemble, payloads_of
from lazynet.pieces import gather, pieces_of
from lazynet.placement import device_for, prepare
from lazynet.recall import Known, recall, remember, signature
from lazynet.recorder import COLLECT, SCHEDULE, WAITING, Recorder, recorder
from lazynet.recorder import FORWARD as FORWARD_PHASE
from lazynet.routine import Routine, routine_of
from lazynet.stages import stage_key
from lazynet.tape import Tape
from lazynet.timing import FORWARD, TIMING
from lazynet.wide import run_wide

LOCK = threading.RLock()
"""Held while evaluating and while gradients are computed and accumulated."""


class Along(NamedTuple):
    """A tape of which more was computed than was asked for, and the evaluation that did."""

    tape: Tape
    evaluation: Evaluation


def evaluate(
    roots: list[Expression], keep_imports: bool = False, along: list[Along] | None = None
) -> None:
    """Compute everything these expressions need that was not computed yet, in one batched run.

    Args:
        roots: The expressions.
        keep_imports: Whether tapes hold on to the tapes they import from once all on them has been
            computed: without them nothing can be computed anew (`lazynet.revise`).
        along: If given, all nodes of the last root's kind on its tape are computed with it, where
            the roots need less than half of the tape; where that was done is added to this list.
            Programs that look at one value after the other, of many examples that they have
            recorded, get all in one run.
    """
    for r in roots:
        if not evaluated(r):
            break
    else:
        return
    profile = recorder()
    if profile is None:
        with LOCK:
            _evaluate(roots, keep_imports, along, None)
        return
    outside = profile.enter(WAITING)
    try:
        with LOCK:
            profile.mark(COLLECT)
            _evaluate(roots, keep_imports, along, profile)
    finally:
        profile.leave(outside)


def _evaluate(
    roots: list[Expression],
    keep_imports: bool,
    along: list[Along] | None,
    profile: Recorder | None,
) -> None:
    pending = [r for r in roots if not evaluated(r)]
    if not pending:
        return
    for r in pending:
        if r.tape.trace is not None:
            raise r.tape.trace.refuse_value(r)
    autobatch = MODES.get().autobatch
    tape = pending[0].tape
    key = signature(pending, autobatch)
    known = None if key is None else recall(key, tape)
    graph = None if known is None else known.apply(tape)
    if known is None or graph is None:
        known = None
        graph = collect(pending)
        if along is not None and _compute_along(pending, graph, autobatch, along, profile):
            return
        layout = _planned(graph, autobatch, profile)
        evaluation = _run_graph(graph, layout, None, profile)
        if key is not None:
            remember(key, tape, graph, layout)
        _commit(evaluation, graph)
    else:
        tape.seal()
        evaluation = _run_graph(graph, known.layout, known, profile)
        known.mark(tape, evaluation)
    if not keep_imports:
        for tape, _, _ in graph.tapes:
            if tape.imports:
                _release_imports(tape, known)


def _planned(graph: Graph, autobatch: bool, profile: Recorder | None) -> Layout:
    if profile is None:
        return layout_of(graph, autobatch)
    profile.mark(SCHEDULE)
    return layout_of(graph, autobatch, profile)


def _run_graph(
    graph: Graph, layout: Layout, known: Known | None, profile: Recorder | None
) -> Evaluation:
    """Compute a graph where its parameters are."""
    device = device_for(graph) if gpu_in_use() else CPU
    anomaly = MODES.get().anomaly
    if profile is not None:
        profile.begin(layout, device)
    with np.errstate(all="ignore"):
        if device != CPU:
            with on_device(device) as mirror:
                evaluation = Evaluation(graph, layout, device, mirror)
                if anomaly:
                    evaluation.graph = graph
                _forward(evaluation, graph, profile)
                if profile is not None:
                    profile.mark(COLLECT)
            return evaluation
        evaluation = Evaluation(graph, layout)
        if anomaly:
            evaluation.graph = graph
        elif known is not None and TIMING.timer is None and not layout.half:
            evaluation.routine = routine_of(known)
        _forward(evaluation, graph, profile)
    if profile is not None:
        profile.mark(COLLECT)
    return evaluation


def _compute_along(
    pending: list[Expression],
    graph: Graph,
    autobatch: bool,
    along: list[Along],
    profile: Recorder | None,
) -> bool:
    """Compute all nodes of the last root's kind on its tape, if little else was asked for.

    Other nodes wait: what is made of the values so far is better batched with what comes.

    Returns:
        Whether there were any, and all were computed.
    """
    root = pending[-1]
    tape, kind = root.tape, root.kind
    if len(tape) < 2 * len(graph) or 1 in tape.evaluated or tape.kinds.count(kind) < 2:
        return False
    others = [handle(tape, i) for i, k in enumerate(tape.kinds) if k is kind]
    graph = collect([*pending, *others])
    try:
        evaluation = _run_graph(graph, _planned(graph, autobatch, profile), None, profile)
    except (AnomalyError, EvaluationError, OutOfMemoryError):  # of what may never be asked for
        return False
    _commit(evaluation, graph)
    along.append(Along(tape, evaluation))
    return True


def evaluated(x: Expression) -> bool:
    """Whether the value of x has been computed (parameters always have theirs)."""
    if isinstance(x, Leaf):
        return True
    return x.tape.sealed != 0 and x.tape.evaluated[x.index] == 1


def _forward(evaluation: Evaluation, graph: Graph, profile: Recorder | None) -> None:
    layout = evaluation.layout
    for number, leaf in graph.leaves.items():
        evaluation.shared[number] = leaf.values
    locate = payloads_of(graph) if evaluation.routine is None else None
    prepared = None
    if evaluation.mirror is not None:
        found = find_externals(evaluation, graph)
        prepared = prepare(evaluation, graph, locate, found)
        copy_externals(evaluation, found)
    elif graph.externals:
        if evaluation.routine is not None and isinstance(graph.externals, list):
            copy_few(evaluation, graph)
        else:
            copy_externals(evaluation, find_externals(evaluation, graph))
    if profile is not None:
        profile.mark(FORWARD_PHASE)
    half = layout.half
    for number, kind, args in layout.shared:
        rows = [(evaluation.operand(a) if half else evaluation.shared[a])[None] for a in args]
        out = module_of(rows[0]).empty((1, *kind.type.shape), kind.type.work)
        call = Call(1, None, (False,) * len(rows), (True,) * len(rows), out)
        try:
            y = kind.op.forward(call, *rows)
        except Exception as error:
            raise failed_kind(error, kind, line_in(graph, number)) from error
        if y is not out:
            out[...] = y
        evaluation.shared[number] = out[0] if not half else out[0].astype(kind.type.dtype)
        evaluation.kept[number] = call.keep
        if evaluation.graph is not None:
            check_shared(evaluation, number, kind, args)
        if profile is not None:
            profile.unit(kind, 1)
    if evaluation.routine is not None:
        _run_routine(evaluation, evaluation.routine, graph)
        if profile is not None:
            profile.unit(layout.steps, -1)
        return
    whole = isinstance(graph.frozen, range)
    frozen = None if whole else np.array(sorted(graph.frozen), np.int64)
    history = not whole and (
        not graph.frozen
        or points(graph, len(graph.externals))
        or any(number not in graph.frozen for number, _, _ in layout.shared)
    )
    if layout.runs is None and evaluation.mirror is None and not layout.half:
        layout.runs = find_runs(layout)
    done = 0
    chained = TIMING.timer is None and evaluation.mirror is None and evaluation.graph is None
    for run in (layout.runs or ()) if chained else ():
        history |= _run_singly(
            evaluation, graph, locate, prepared, frozen, done, run.first, profile
        )
        done = run.end
        if _run_chain(evaluation, run, locate):
            if profile is not None:
                profile.unit(run.steps, -1)
            history |= any([flows(step, frozen) for step in run.steps])
            evaluation.calls += [None] * len(run.steps)
            evaluation.arguments += [None] * len(run.steps)
        else:
            history |= _run_singly(
                evaluation, graph, locate, prepared, frozen, run.first, done, profile
            )
    steps = len(layout.steps)
    history |= _run_singly(evaluation, graph, locate, prepared, frozen, done, steps, profile)
    if not history:
        evaluation.links, evaluation.borrowed, evaluation.wide = [], [], {}


def _run_routine(evaluation: Evaluation, routine: Routine, graph: Graph) -> None:
    """Compute all batches by the routine of their structure."""
    try:
        routine.forward(evaluation, graph.tapes[0][0].payloads)
    except Exception as error:
        k = routine.failed(error)
        if k < 0:
            raise
        step = evaluation.layout.steps[k]
        raise failed_batch(error, evaluation, step, graph) from error
    if not routine.history:
        evaluation.links, evaluation.borrowed = [], []


def _run_singly(
    evaluation: Evaluation,
    graph: Graph,
    locate: Any,
    prepared: dict[int, Any] | None,
    frozen: Array | None,
    first: int,
    end: int,
    profile: Recorder | None,
) -> bool:
    """Compute some batches one after the other; whether backward may ask for one of them."""
    history = False
    half = evaluation.layout.half
    run = _run_wide if half else _run
    anomaly = 0 if evaluation.graph is None else MODES.get().anomaly
    for k, step in enumerate(evaluation.layout.steps[first:end], first):
        began = TIMING.now()
        try:
            call, args = run(evaluation, step, locate, prepared, k)
        except Exception as error:
            raise failed_batch(error, evaluation, step, graph) from error
        TIMING.add(FORWARD, step.kind, step.rows, began)
        if profile is not None:
            profile.unit(step, -1)
        if anomaly:
            check_batch(evaluation, step, anomaly)
        if flows(step, frozen):
            history = True
            evaluation.calls.append(call)
            kept = step.op.reads_args and (not half or step.op.staged)
            evaluation.arguments.append(args if kept else None)
        else:
            evaluation.calls.append(None)
            evaluation.arguments.append(None)
    return history


def _run_chain(evaluation: Evaluation, run: Run, locate: Any) -> bool:
    """Compute the batches of a run in one go; False if that fails, for whatever reason."""
    factors = []
    try:
        for k, step in enumerate(run.steps, run.first):
            if step.op.payload is not None:
                payload = evaluation.payloads[k] = assemble(
                    step.op.payload, locate(step.nodes), step
                )
                factors.append(factor(payload))
        assert run.forward is not None
        run.forward(evaluation.arenas, evaluation.shared, run.places, factors)
    except Exception:
        return False  # one by one the batches tell which of them it was
    return True


def _run(
    evaluation: Evaluation, step: Step, locate: Any, prepared: dict[int, Any] | None, k: int
) -> tuple[Call, list[Array]]:
    """Compute batch k into its place in the arenas."""
    op = step.op
    arenas = evaluation.arenas
    if op.staged:
        stage = evaluation.stages[stage_key(step)]
        if prepared is not None:
            return evaluation.run_staged(step, stage, None, prepared[k])
        return evaluation.run_staged(step, stage, locate(step.nodes))
    if len(step.outputs) == 1:
        arena, start, stop, shape = step.outputs[0]
        out: Any = arenas[arena][start:stop]
        if isinstance(op, Input):
            if prepared is None:
                np.concatenate(locate(step.nodes), out=out.reshape(-1))
            else:
                fill(out.reshape(-1), prepared[k])
            return Call(step.rows, None, (), (), None), []
        out = out.reshape((step.rows, *shape))
    else:
        out = tuple(
            [arenas[a][b:e].reshape((step.rows, *shape)) for a, b, e, shape in step.outputs]
        )
    payload = None
    if prepared is not None:
        payload = prepared.get(k)
    elif op.payload is not None:
        payload = assemble(op.payload, locate(step.nodes), step)
    if op.pieces and prepared is None:
        cut = pieces_of(step, payload, None)
        if cut is not None:
            gather(arenas[step.args[0].arena], *cut, out)
            return Call(step.rows, payload, step.shared, (), None), []
    shares = op.shares
    args = [evaluation.fetch(a, shares, step.rows) for a in step.args]
    call = Call(step.rows, payload, step.shared, (), out, step.segments)
    y = op.forward(call, *args)
    if y is not out:
        if len(step.outputs) == 1:
            out[...] = y
        else:
            for target, result in zip(out, y):
                if result is not target:
                    target[...] = result
    call.out = None
    return call, args


def _run_wide(
    evaluation: Evaluation, step: Step, locate: Any, prepared: dict[int, Any] | None, k: int
) -> tuple[Call, list[Array]]:
    """The same where something is stored in 16 bits: ops see float32, results are rounded.

    What is widened for an op is let go of at once: backward widens it anew.
    """
    op = step.op
    if op.staged or op.moves or isinstance(op, Input):
        return _run(evaluation, step, locate, prepared, k)
    payload = None
    if prepared is not None:
        payload = prepared.get(k)
    elif op.payload is not None:
        payload = assemble(op.payload, locate(step.nodes), step)
    return run_wide(evaluation, step, payload)


def _commit(evaluation: Evaluation, graph: Graph) -> None:
    """Mark the nodes evaluated. Parameters stay unmarked: they are read at every evaluation."""
    leaves = np.zeros(len(graph), bool)
    leaves[list(graph.leaves)] = True
    for tape, indices, numbers in graph.tapes:
        indices = np.asarray(indices, np.int64)
        numbers = np.asarray(numbers, np.int64)
        if tape.lines:
            for i, number in zip(indices.tolist(), numbers.tolist()):
                if i in tape.lines:
                    evaluation.lines[number] = tape.lines[i]
        computed = ~leaves[numbers]
        indices, numbers = indices[computed], numbers[computed]
        tape.local[indices] = numbers
        tape.done[indices] = len(tape.evaluations)
        tape.evaluations.append(evaluation)
        np.frombuffer(tape.evaluated, np.uint8)[indices] = 1


def _release_imports(tape: Tape, known: Known | None) -> None:
    """Let go of other tapes once nothing on this one can need them."""
    if known is not None:
        if known.whole:
            tape.release_imports()
        return
    # the only ones that are never marked evaluated
    few = sum([len(places) for places in tape.imports.values()]) + len(tape.shared)
    if tape.evaluated.count(0) <= few:
        open_nodes = np.flatnonzero(np.frombuffer(tape.evaluated, np.uint8) == 0).tolist()
        kinds, payloads = tape.kinds, tape.payloads
        for i in open_nodes:
            if not (isinstance(kinds[i].op, Import) or isinstance(payloads[i], Leaf)):
                return
        tape.release_imports()


HOOKS.evaluated = evaluated
