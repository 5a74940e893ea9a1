"""Running a plan: forward, and what expressions ask for (`value`, `values`, `detach`)."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from lazynet.backend import take_rows
from lazynet.chains import Run, factor, find_runs
from lazynet.collect import Graph, collect
from lazynet.errors import ArgumentError, EvaluationError, LazynetError, OutOfMemoryError
from lazynet.evaluation import Evaluation, Link, flows, points
from lazynet.evaluation import last_serial as last_serial
from lazynet.graph import Expression, Leaf, handle
from lazynet.inputs import as_expression, constant
from lazynet.kinds import HOOKS, Array, Call, Kind
from lazynet.layout import Step, layout_of
from lazynet.leaves import Import, Input
from lazynet.modes import MODES
from lazynet.payloads import assemble, payloads_of
from lazynet.pieces import gather, pieces_of
from lazynet.recall import Known, recall, remember, signature
from lazynet.routine import Routine, routine_of
from lazynet.stages import stage_key
from lazynet.tape import LOCAL, Tape
from lazynet.timing import FORWARD, TIMING

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
    with LOCK:
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
            if along is not None and _compute_along(pending, graph, autobatch, along):
                return
            layout = layout_of(graph, autobatch)
            evaluation = Evaluation(graph, layout)
            with np.errstate(all="ignore"):
                _forward(evaluation, graph)
            if key is not None:
                remember(key, tape, graph, layout)
            _commit(evaluation, graph)
        else:
            tape.seal()
            evaluation = Evaluation(graph, known.layout)
            if TIMING.timer is None:
                evaluation.routine = routine_of(known)
            with np.errstate(all="ignore"):
                _forward(evaluation, graph)
            known.mark(tape, evaluation)
        if not keep_imports:
            for tape, _, _ in graph.tapes:
                if tape.imports:
                    _release_imports(tape, known)


def _compute_along(
    pending: list[Expression], graph: Graph, autobatch: bool, along: list[Along]
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
        evaluation = Evaluation(graph, layout_of(graph, autobatch))
        with np.errstate(all="ignore"):
            _forward(evaluation, graph)
    except (EvaluationError, OutOfMemoryError):  # of what may never be asked for
        return False
    _commit(evaluation, graph)
    along.append(Along(tape, evaluation))
    return True


def evaluated(x: Expression) -> bool:
    """Whether the value of x has been computed (parameters always have theirs)."""
    if isinstance(x, Leaf):
        return True
    return x.tape.sealed != 0 and x.tape.evaluated[x.index] == 1


def _forward(evaluation: Evaluation, graph: Graph) -> None:
    layout = evaluation.layout
    for number, leaf in graph.leaves.items():
        evaluation.shared[number] = leaf.values
    if graph.externals:
        if evaluation.routine is not None:
            _copy_few(evaluation, graph)
        else:
            _copy_externals(evaluation, graph)
    for number, kind, args in layout.shared:
        rows = [evaluation.shared[a][None] for a in args]
        out = np.empty((1, *kind.type.shape), kind.type.dtype)
        call = Call(1, None, (False,) * len(rows), (True,) * len(rows), out)
        try:
            y = kind.op.forward(call, *rows)
        except Exception as error:
            raise _failure(error, kind, 1, graph, number) from error
        if y is not out:
            out[...] = y
        evaluation.shared[number] = out[0]
        evaluation.kept[number] = call.keep
    if evaluation.routine is not None:
        _run_routine(evaluation, evaluation.routine, graph)
        return
    locate = payloads_of(graph)
    frozen = np.array(sorted(graph.frozen), np.int64)
    history = (
        not graph.frozen
        or points(graph, len(graph.externals))
        or any(number not in graph.frozen for number, _, _ in layout.shared)
    )
    if layout.runs is None:
        layout.runs = find_runs(layout)
    done = 0
    for run in layout.runs if TIMING.timer is None else ():
        history |= _run_singly(evaluation, graph, locate, frozen, done, run.first)
        done = run.end
        if _run_chain(evaluation, run, locate):
            history |= any([flows(step, frozen) for step in run.steps])
            evaluation.calls += [None] * len(run.steps)
            evaluation.arguments += [None] * len(run.steps)
        else:
            history |= _run_singly(evaluation, graph, locate, frozen, run.first, done)
    history |= _run_singly(evaluation, graph, locate, frozen, done, len(layout.steps))
    if not history:
        evaluation.links, evaluation.borrowed = [], []


def _run_routine(evaluation: Evaluation, routine: Routine, graph: Graph) -> None:
    """Compute all batches by the routine of their structure."""
    try:
        routine.forward(evaluation, graph.tapes[0][0].payloads)
    except Exception as error:
        k = routine.failed(error)
        if k < 0:
            raise
        step = evaluation.layout.steps[k]
        raise _failure(error, step.kind, step.rows, graph, int(step.nodes[0])) from error
    if not routine.history:
        evaluation.links, evaluation.borrowed = [], []


def _run_singly(
    evaluation: Evaluation, graph: Graph, locate: Any, frozen: Array, first: int, end: int
) -> bool:
    """Compute some batches one after the other; whether backward may ask for one of them."""
    history = False
    for step in evaluation.layout.steps[first:end]:
        began = TIMING.now()
        try:
            call, args = _run(evaluation, step, locate)
        except Exception as error:
            node = int(step.nodes[0])
            raise _failure(error, step.kind, step.rows, graph, node) from error
        TIMING.add(FORWARD, step.kind, step.rows, began)
        if flows(step, frozen):
            history = True
            evaluation.calls.append(call)
            evaluation.arguments.append(args if step.op.reads_args else None)
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


def _run(evaluation: Evaluation, step: Step, locate: Any) -> tuple[Call, list[Array]]:
    """Compute one batch into its place in the arenas."""
    op = step.op
    arenas = evaluation.arenas
    if op.staged:
        return evaluation.run_staged(step, evaluation.stages[stage_key(step)], locate(step.nodes))
    if len(step.outputs) == 1:
        arena, start, stop, shape = step.outputs[0]
        out: Any = arenas[arena][start:stop]
        if isinstance(op, Input):
            parts = locate(step.nodes)
            np.concatenate(parts, out=out.reshape(-1))
            return Call(step.rows, None, (), (), None), []
        out = out.reshape((step.rows, *shape))
    else:
        out = tuple(
            [arenas[a][b:e].reshape((step.rows, *shape)) for a, b, e, shape in step.outputs]
        )
    payload = None
    if op.payload is not None:
        payload = assemble(op.payload, locate(step.nodes), step)
    if op.pieces:
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


def _copy_externals(evaluation: Evaluation, graph: Graph) -> None:
    """Rows that earlier evaluations computed: once each, one gather per source and arena."""
    layout = evaluation.layout
    groups: dict[tuple[Any, int, int], tuple[list[Array], list[Array]]] = {}
    for number, (source, there) in enumerate(graph.externals):
        arena = int(layout.arena[number])
        if arena < 0:
            evaluation.shared[number] = source.shared[there]
            evaluation.borrowed.append((number, source, there))
            continue
        key = (source, int(source.layout.arena[there]), arena)
        theirs, ours = groups.setdefault(key, ([], []))
        theirs.append(source.layout.node_rows(there))
        ours.append(layout.node_rows(number))
    for (source, their_arena, our_arena), (theirs, ours) in groups.items():
        link = Link(source, their_arena, np.concatenate(theirs), our_arena, np.concatenate(ours))
        evaluation.links.append(link)
        rows = take_rows(source.arenas[their_arena], link.theirs)
        evaluation.arenas[our_arena][link.ours] = rows


def _copy_few(evaluation: Evaluation, graph: Graph) -> None:
    """The same for a few nodes, one by one."""
    routine: Routine = evaluation.routine
    places = routine.places
    for number, (source, there) in enumerate(graph.externals):
        arena, start, stop, ours = places[number]
        if arena < 0:
            evaluation.shared[number] = source.shared[there]
            evaluation.borrowed.append((number, source, there))
            continue
        layout = source.layout
        their_arena = int(layout.arena[there])
        rows: Any = layout.rebatched.get(there)
        if rows is None:
            first = int(layout.first[there])
            rows = slice(first, first + stop - start)
        evaluation.arenas[arena][start:stop] = source.arenas[their_arena][rows]
        if routine.history:
            evaluation.links.append(Link(source, their_arena, there, arena, ours))


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
    few = len(tape.imports) + len(tape.shared)  # the only ones that are never marked evaluated
    if tape.evaluated.count(0) <= few:
        open_nodes = [i for i, done in enumerate(tape.evaluated) if not done]
        if all(
            isinstance(tape.kinds[i].op, Import) or isinstance(tape.payloads[i], Leaf)
            for i in open_nodes
        ):
            tape.release_imports()


def _failure(error: Exception, kind: Kind, rows: int, graph: Graph, node: int) -> Exception:
    """The error that says which operation failed, and where it was recorded."""
    where = (
        f"first recorded at {kind.line} (under ln.debug() this is the line of the very expression)"
    )
    for tape, indices, numbers in graph.tapes:
        if tape.lines:
            for i, number in zip(indices, numbers):
                if number == node and int(i) in tape.lines:
                    where = f"recorded at {tape.lines[int(i)]}"
    text = f"{kind} x {rows} rows, {where}: {error}"
    if isinstance(error, MemoryError):
        return OutOfMemoryError(f"{text}; evaluate fewer examples at a time")
    if isinstance(error, LazynetError):
        return type(error)(text)
    return EvaluationError(text)


# What expressions ask for


def value(x: Expression) -> Any:
    """The value of one expression: see `Expression.value`."""
    if isinstance(x, Leaf):
        if LOCAL.tape.trace is not None:
            raise LOCAL.tape.trace.refuse_value(x)
        return _own(np.array(x.values), None)
    if not evaluated(x):
        evaluate([x])
    evaluation, number = x.tape.location(x.index)
    return _own(evaluation.value(number), x.batch)


def _own(array: Array, batch: int | None) -> Any:
    if batch is None and array.ndim == 0:
        return array.item()
    return array


def values(expressions: Iterable[Any]) -> list[Any]:
    """The values of several expressions, computed in one batched run.

    Args:
        expressions: Expressions; numbers and arrays stand for themselves.

    Returns:
        What `.value()` of each returns, in the same order.

    >>> import lazynet as ln
    >>> x = ln.constant([1.0, 2.0])
    >>> total, largest = ln.values([x.sum(), x.max()])
    >>> total, largest
    (3.0, 2.0)
    """
    if isinstance(expressions, (Expression, str)) or not isinstance(expressions, Iterable):
        raise ArgumentError(
            f"values: got {expressions!r}; it takes a list of expressions; for one use .value()"
        )
    entries = [as_expression(x, "values") for x in expressions]
    evaluate(entries)
    return [value(x) for x in entries]


def detach(x: Expression) -> Expression:
    """A constant of the value of x."""
    return constant(np.asarray(value(x)), batched=x.batch is not None, dtype=x.dtype)


HOOKS.value = value
HOOKS.evaluated = evaluated
HOOKS.detach = detach
