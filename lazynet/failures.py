"""What is raised where a batch fails: which operation, and the line that recorded it."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.backend import device_is_full, module_of, remedy
from lazynet.cells import readable
from lazynet.collect import Graph
from lazynet.culprit import carried_by, replay_of, rows_of_argument
from lazynet.errors import EvaluationError, LazynetError, OutOfMemoryError
from lazynet.evaluation import Evaluation
from lazynet.kinds import Array, Call, Kind
from lazynet.layout import SAME, SHARED, Step
from lazynet.leaves import Input
from lazynet.payloads import assemble, payloads_of
from lazynet.staged import InnerError

_HINT = "(under ln.debug() this is the line of the very expression)"
_SHOWN = 3
"""Most lines that are listed where one of several nodes failed."""


def failed_batch(
    error: Exception, evaluation: Evaluation, step: Step, graph: Graph | None = None
) -> Exception:
    """The error for a batch that failed, to be raised from the one that it failed with.

    Args:
        error: That one.
        evaluation: Whose batch it is.
        step: The batch.
        graph: In forward, the graph; None in backward.
    """
    lines = _lines(evaluation, step, graph)
    inner = ""
    node = -1 if len(set(lines)) > 1 else 0
    alone = None
    if graph is not None and not isinstance(error, MemoryError):
        if step.op.staged:
            alone = _replayed(evaluation, step, graph)
        elif node < 0:
            node = _first_to_fail(error, evaluation, step, graph)
    if alone is not None:
        node, found = alone
        at = f"at step {found.step} of the sequence, from 0, " if found.step >= 0 else ""
        inner = f"{found.kind}, line {readable(found.line)}, {at}inside "
    elif step.op.staged:
        inner = _inside(error, step)
    if not lines:
        where = f"first recorded at {readable(step.kind.line)} {_HINT}"
    elif node < 0:
        distinct = list(dict.fromkeys(lines))
        more = ", ..." if len(distinct) > _SHOWN else ""
        where = f"one of {len(lines)} nodes, {', '.join(distinct[:_SHOWN])}{more}"
    else:
        where = lines[node]
    what = f"{inner}{step.kind} x {step.rows} rows"
    return _error(error, f"{'' if graph else 'backward: '}{what}, {where}")


def failed_kind(
    error: Exception, kind: Kind, line: str | None = None, backward: bool = False
) -> Exception:
    """The error for a value that all rows share, or for the gradients of all batches of a kind."""
    where = f"first recorded at {readable(kind.line)} {_HINT}"
    if line is not None:
        where = f"recorded at {readable(line)}"
    return _error(error, f"{'backward: ' if backward else ''}{kind}, {where}")


def line_in(graph: Graph, node: int) -> str | None:
    """The line that recorded a node, if it was recorded under `ln.debug`."""
    for tape, indices, numbers in graph.tapes:
        if tape.lines:
            for i, number in zip(indices, numbers):
                if number == node and int(i) in tape.lines:
                    return tape.lines[int(i)]
    return None


def _error(error: Exception, what: str) -> Exception:
    text = f"{what}: {error}"
    if isinstance(error, MemoryError) and not isinstance(error, LazynetError):
        if hasattr(error, "_size"):  # CuPy's
            return OutOfMemoryError(f"{what}: {device_is_full(error)}")
        return OutOfMemoryError(f"{text}; evaluate fewer examples at a time")
    if isinstance(error, LazynetError):
        try:
            return type(error)(text)
        except TypeError:  # a class of the user's own, which is made otherwise
            return EvaluationError(text)
    return EvaluationError(f"{what}: {type(error).__name__}: {error}{remedy(error)}")


def _lines(evaluation: Evaluation, step: Step, graph: Graph | None) -> list[str]:
    """Where the nodes of a batch were recorded; nothing where no line is known."""
    known = dict(evaluation.lines)
    for tape, indices, numbers in graph.tapes if graph is not None else ():
        if tape.lines:
            for i, number in zip(indices, numbers):
                if int(i) in tape.lines:
                    known[int(number)] = tape.lines[int(i)]
    if not known:
        return []
    hint = f"first recorded at {readable(step.kind.line)} {_HINT}"
    return [
        f"recorded at {readable(known[n])}" if n in known else hint for n in step.nodes.tolist()
    ]


def _inside(error: Exception, step: Step) -> str:
    """Which operation inside a fused function or scan failed, in words; empty if unknown."""
    op: Any = step.op
    found: tuple[Kind, str] | None = op.failed_inside(error)
    return "" if found is None else f"{found[0]}, line {found[1]}, inside "


def _replayed(evaluation: Evaluation, step: Step, graph: Graph) -> tuple[int, InnerError] | None:
    """The node whose inside fails when it is run one operation at a time, and where in it."""
    evaluation.graph = graph  # not committed, so nothing else sees it
    for node, number in enumerate(step.nodes.tolist()):
        rows = 1 if step.counts is None or step.segments is not None else int(step.counts[node])
        for row in range(rows):
            replay = replay_of(evaluation, step, node, row, carried_by(evaluation, number))
            try:
                for _ in replay.run() if replay is not None else ():
                    pass
            except InnerError as found:
                return node, found
    return None


def _first_to_fail(error: Exception, evaluation: Evaluation, step: Step, graph: Graph) -> int:
    """The node that fails when it is computed alone; -1 if none does."""
    op = step.op
    if isinstance(op, Input):
        return -1
    try:
        payload = None
        if op.payload is not None:
            payload = assemble(op.payload, payloads_of(graph)(step.nodes), step)
        sizes = [1] * len(step.nodes) if step.counts is None else step.counts.tolist()
        end = 0
        for node, size in enumerate(sizes):
            start, end = end, end + size
            args = [_alone(evaluation, step, k, node, start, end) for k in range(len(step.args))]
            own = None if payload is None else payload[start:end]
            segments = None if step.segments is None else np.array([0, len(args[0])])
            rows = end - start
            empty = module_of(args[0]).empty
            outs = [empty((rows, *t.shape), t.dtype) for t in step.kind.outputs]
            out: Any = outs[0] if len(outs) == 1 else tuple(outs)
            call = Call(rows, own, step.shared, (), out, segments)
            try:
                op.forward(call, *args)
            except type(error):
                return node
    except Exception:
        return -1  # alone it fails otherwise, which says nothing
    return -1


def _alone(
    evaluation: Evaluation, step: Step, position: int, node: int, start: int, end: int
) -> Array:
    argument = step.args[position]
    whole = evaluation.fetch(argument, step.op.shares, step.rows)
    if argument.mode in (SHARED, SAME):
        return whole if step.op.shares else whole[start:end]
    if step.segments is None:
        return whole[start:end]
    rows = rows_of_argument(step, argument, node, 0)
    found: Array = whole[rows]
    return found


__all__ = ["failed_batch", "failed_kind", "line_in"]
