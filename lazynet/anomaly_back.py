"""`ln.detect_anomaly` in backward: the first node that makes an anomaly of a finite gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lazynet.anomaly import bad_word, inner_given, inside, place_of, unsound, unsound_rows
from lazynet.backend import SparseRows, take_rows
from lazynet.cells import readable
from lazynet.chosen import nodes_of
from lazynet.culprit import (
    carried_by,
    described,
    first_row,
    given_to,
    line_of,
    node_of_row,
    on_host,
    replay_of,
)
from lazynet.errors import AnomalyError
from lazynet.evaluation import Evaluation
from lazynet.kinds import FLOATS, Array, Kind
from lazynet.layout import Argument, Step
from lazynet.sheet import Sheet
from lazynet.staged import Inner


class Blamed(NamedTuple):
    """An operation inside a fused function that made an anomaly in backward.

    Attributes:
        inner: The operation.
        position: Which of its arguments got it.
        dy: The gradient that reached it.
        gradient: What it made of that.
    """

    inner: Inner
    position: int
    dy: Array
    gradient: Array


def check_gradients(
    sheet: Sheet,
    k: int,
    step: Step,
    selected: Array | None,
    shared: Sequence[bool],
    grads: Sequence[Any],
    level: int,
) -> None:
    """Raise if the gradients of the results or of the arguments of a batch hold an anomaly.

    Args:
        sheet: Of its evaluation.
        k: Number of the batch.
        step: The batch.
        selected: Which of its rows take part; None: all.
        shared: Per argument, whether its gradient comes without row axis.
        grads: The gradients; None where none is wanted.
        level: What counts.
    """
    evaluation = sheet.evaluation
    reached = _rows_of_results(sheet, step, selected)
    for dy in reached:
        if unsound(dy, level):
            host = on_host(evaluation, dy)
            row = int(np.flatnonzero(unsound_rows(host, level))[0])
            node, within = node_of_row(step, row if selected is None else int(selected[row]))
            raise _sum_error(sheet, step, node, within, host[row])
    for position, (argument, dx) in enumerate(zip(step.args, grads)):
        if dx is None or isinstance(dx, SparseRows) or not unsound(dx, level):
            continue
        if position < len(shared) and shared[position]:
            raise _report(sheet, k, step, -1, 0, position, on_host(evaluation, dx), level)
        host = on_host(evaluation, dx)
        row = int(np.flatnonzero(unsound_rows(host, level))[0])
        node, within = _node_of(step, argument, row, selected)
        raise _report(sheet, k, step, node, within, position, host[row], level)


def check_shared_gradients(
    sheet: Sheet, kind: Kind, numbers: Sequence[int], grads: Sequence[Any], level: int
) -> None:
    """Raise if a gradient of a weight, from all batches of a kind, holds an anomaly.

    Args:
        sheet: Of the evaluation.
        kind: The kind.
        numbers: Per argument its node, where it is shared.
        grads: Their gradients, or None.
        level: What counts.
    """
    evaluation = sheet.evaluation
    for position, (number, gradient) in enumerate(zip(numbers, grads)):
        if gradient is None:
            continue
        array = gradient.values if isinstance(gradient, SparseRows) else gradient
        if not unsound(array, level):
            continue
        for k, step in enumerate(evaluation.layout.steps):
            if step.kind is not kind or True not in sheet.step_needs[k]:
                continue
            for node in range(len(step.nodes)):
                count = 1 if step.counts is None else int(step.counts[node])
                for within in range(count if step.segments is None else min(count, 1)):
                    if not _took_part(sheet, step, node, within):
                        continue
                    found = first_inside_backward(sheet, k, step, node, within, level)
                    if found is not None:
                        raise _inner_error(evaluation, step, node, found)
        leaf = evaluation.leaves.get(number)
        what = f"parameter {leaf.name!r}" if leaf is not None else f"argument {position}"
        raise AnomalyError(
            f"{kind} made {bad_word([on_host(evaluation, array)])} in the gradient of {what}, the "
            f"sum over all its rows; first recorded at {readable(kind.line)}: "
            f"{described(on_host(evaluation, array))}; every row's own gradient was finite, so "
            "the arguments are infinite or the sum is too large for the dtype"
        )


def check_shared_node(
    evaluation: Evaluation,
    number: int,
    kind: Kind,
    arguments: Sequence[int],
    dy: Any,
    grads: Sequence[Any],
    level: int,
) -> None:
    """Raise if backward of a node that every row shares made an anomaly.

    Args:
        evaluation: Whose node it is.
        number: The node.
        kind: Its kind.
        arguments: Their nodes, which are shared too: parameters, or computed from these alone.
        dy: The gradient that reached it.
        grads: Those of the arguments; None where none is wanted.
        level: What counts.
    """
    names = []
    for a in arguments:
        leaf = evaluation.leaves.get(a)
        inner = evaluation.layout.kinds[int(evaluation.layout.code[a])]
        where = line_of(evaluation, a, inner)
        names.append(f"parameter {leaf.name!r}" if leaf is not None else f"{inner}, {where}")
    for name, type_, gradient in zip(names, kind.args, grads):
        if gradient is None:
            continue
        array = gradient.values if isinstance(gradient, SparseRows) else gradient
        if not unsound(array, level):
            continue
        host = on_host(evaluation, array)
        if host.size == type_.width:  # without the axis of its one row
            host = host.reshape(type_.shape)
        lines = [
            f"backward: {kind} made {bad_word([host])} of a finite gradient, "
            f"{line_of(evaluation, number, kind)}",
            f"  gradient of {name}: {described(host)}",
            f"  gradient that reached it: {described(on_host(evaluation, dy))}",
            f"  its result: {described(on_host(evaluation, evaluation.operand(number)))}",
        ]
        for a, given in zip(arguments, names):
            value = on_host(evaluation, evaluation.operand(a))
            lines.append(f"  {given}: {described(value)}")
        raise AnomalyError("\n".join(lines))


def _rows_of_results(sheet: Sheet, step: Step, selected: Array | None) -> list[Any]:
    found = []
    for arena, start, stop, _ in step.outputs:
        rows: Any = sheet.gradients[arena]
        if rows.dtype in FLOATS:
            part = rows[start:stop] if selected is None else take_rows(rows, start + selected)
            found.append(part)
    return found


def _took_part(sheet: Sheet, step: Step, node: int, within: int) -> bool:
    row = first_row(step, node) + within
    arena, start, _, _ = step.outputs[0]
    return bool(sheet.needed[arena][start + row])


def _node_of(step: Step, argument: Argument, row: int, selected: Array | None) -> tuple[int, int]:
    """The node that a row of an argument's gradient belongs to."""
    if step.segments is None:
        return node_of_row(step, row if selected is None else int(selected[row]))
    count = len(step.segments) - 1
    chosen: Array = np.arange(count)
    if selected is not None:
        chosen = selected if step.rows == count else nodes_of(step, selected)
    if argument.per_node:
        return int(chosen[row]), 0
    ends = np.cumsum(np.diff(step.segments)[chosen])
    return int(chosen[np.searchsorted(ends, row, side="right")]), 0


def _sum_error(sheet: Sheet, step: Step, node: int, within: int, dy: Array) -> AnomalyError:
    evaluation = sheet.evaluation
    where = line_of(evaluation, int(step.nodes[node]), step.kind)
    return AnomalyError(
        f"backward: the gradients that reach {step.kind}, {where}, were finite each and add up to "
        f"{bad_word([dy])}: {described(dy)}; scale the loss down, or use float64"
    )


def _report(
    sheet: Sheet,
    k: int,
    step: Step,
    node: int,
    within: int,
    position: int,
    gradient: Array,
    level: int,
) -> AnomalyError:
    evaluation = sheet.evaluation
    of_all = node < 0
    node = max(node, 0)
    if not of_all:
        found = first_inside_backward(sheet, k, step, node, within, level)
        if found is not None:
            return _inner_error(evaluation, step, node, found)
    given = given_to(evaluation, step, node, within)
    where = line_of(evaluation, int(step.nodes[node]), step.kind)
    if of_all and len(step.nodes) > 1:
        where = f"one of {len(step.nodes)} nodes, the first {where}"
    elif len(step.nodes) > 1:
        where = f"{where} ({place_of(step, node)})"
    row = first_row(step, node) + within
    lines = [
        f"backward: {step.kind} made {bad_word([gradient])} of a finite gradient, {where}",
        f"  gradient of {given[position].name}: {described(gradient)}",
    ]
    for a, b, _, shape in step.outputs:
        dy = on_host(evaluation, sheet.gradients[a][b + row : b + row + 1]).reshape(shape)
        lines.append(f"  gradient that reached it: {described(dy)}")
    for a, b, _, shape in step.outputs:
        y = on_host(evaluation, evaluation.arenas[a][b + row : b + row + 1]).reshape(shape)
        lines.append(f"  its result: {described(y)}")
    lines += [f"  {g.name}: {described(g.value)}" for g in given]
    return AnomalyError("\n".join(lines))


def _inner_error(evaluation: Evaluation, step: Step, node: int, found: Blamed) -> AnomalyError:
    inner = found.inner
    where = line_of(evaluation, int(step.nodes[node]), step.kind)
    given = inner_given(evaluation, step, node, inner)
    lines = [
        f"backward: {inner.kind} made {bad_word([found.gradient])} of a finite gradient, line "
        f"{readable(inner.line)} ({inside(inner, step, node, where)})",
        f"  gradient of {given[found.position].name}: {described(found.gradient)}",
        f"  gradient that reached it: {described(found.dy)}",
    ]
    lines += [f"  its result: {described(result[0])}" for result in inner.results]
    lines += [f"  {g.name}: {described(g.value)}" for g in given]
    return AnomalyError("\n".join(lines))


def first_inside_backward(
    sheet: Sheet, k: int, step: Step, node: int, within: int, level: int
) -> Blamed | None:
    """The first operation inside a fused function or scan that is to blame, in reverse order."""
    evaluation = sheet.evaluation
    carried = carried_by(evaluation, int(step.nodes[node]))
    replay = replay_of(evaluation, step, node, within, carried)
    if replay is None:
        return None
    with np.errstate(all="ignore"):
        inners = list(replay.run())
        needed = {n for n, k_ in replay.arguments.items() if sheet.step_needs[k][k_]}
        for inner in inners:
            if inner.flows and needed.intersection(inner.sources):
                needed.update(inner.targets)
        found = _seeds(sheet, step, node, within, replay.outputs)
        for inner in reversed(inners):
            blamed = _reverse(inner, found, needed, replay.shared, level)
            if blamed is not None:
                return blamed
    return None


def _seeds(
    sheet: Sheet, step: Step, node: int, within: int, outputs: list[list[int]]
) -> dict[int, Array]:
    """The gradients that reached the results, by the numbers of these in the replay."""
    first = first_row(step, node) + within
    found: dict[int, Array] = {}
    for (arena, start, _, shape), numbers in zip(step.outputs, outputs):
        low = start + first
        rows = on_host(sheet.evaluation, sheet.gradients[arena][low : low + len(numbers)])
        for number, dy in zip(numbers, rows):
            _add(found, number, dy.reshape(1, *shape))
    return found


def _reverse(
    inner: Inner, found: dict[int, Array], needed: set[int], shared: set[int], level: int
) -> Blamed | None:
    """Hand the gradients of an operation on, unless it is to blame."""
    needs = tuple([number in needed for number in inner.sources])
    given = [found.pop(number, None) for number in inner.targets]
    if not inner.flows or True not in needs or all(dy is None for dy in given):
        return None
    dys = [
        np.zeros_like(y) if dy is None else dy.reshape(y.shape)
        for dy, y in zip(given, inner.results)
    ]
    op, call = inner.kind.op, inner.call
    call.needs = needs
    dy: Any = dys[0] if len(dys) == 1 else tuple(dys)
    y: Any = inner.results[0] if len(dys) == 1 else tuple(inner.results)
    if op.nary:
        call.needs = (True,)
        whole = op.backward(call, dy, y, np.concatenate(inner.args))
        grads: Any = tuple(np.split(whole, len(inner.args)))
    else:
        grads = op.backward(call, dy, y, *inner.args)
    if not isinstance(grads, tuple):
        grads = (grads,)
    for position, (number, need, gradient) in enumerate(zip(inner.sources, needs, grads)):
        if not need or gradient is None:
            continue
        array = gradient.values if isinstance(gradient, SparseRows) else np.asarray(gradient)
        if unsound(array, level):
            plain = position < len(call.shared) and call.shared[position]
            return Blamed(inner, position, dys[0][0], array if plain else array[0])
        if isinstance(gradient, SparseRows):
            continue
        if number in shared and not (position < len(call.shared) and call.shared[position]):
            array = array.sum(axis=0)
        _add(found, number, array)
    return None


def _add(found: dict[int, Array], number: int, gradient: Array) -> None:
    known = found.get(number)
    found[number] = gradient if known is None else known + gradient


__all__ = ["check_gradients", "check_shared_gradients", "check_shared_node"]
