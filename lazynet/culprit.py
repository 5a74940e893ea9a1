"""One node of a batch, looked at from close up: what it got, where it was recorded.

What goes wrong in a batch goes wrong in one of its rows. Errors name the node that this row belongs
to, the line that recorded it, and its arguments with what they hold.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lazynet.backend import on_device, take_rows, to_host
from lazynet.cells import readable
from lazynet.evaluation import Evaluation
from lazynet.kinds import FLOATS, Array, Kind
from lazynet.layout import SAME, SHARED, Argument, Step
from lazynet.leaves import Input
from lazynet.staged import Replay


class Given(NamedTuple):
    """An argument of a node.

    Attributes:
        name: What it is.
        value: What it holds, for one example.
    """

    name: str
    value: Array


def node_of_row(step: Step, row: int) -> tuple[int, int]:
    """The node (by its position in the batch) that a row of the result belongs to, and which row
    of that node it is.
    """
    if step.counts is None:
        return row, 0
    ends = np.cumsum(step.counts)
    node = int(np.searchsorted(ends, row, side="right"))
    return node, row - int(ends[node] - step.counts[node])


def first_row(step: Step, node: int) -> int:
    """The first row of a node in the result of its batch."""
    return node if step.counts is None else int(step.counts[:node].sum())


def rows_of_argument(step: Step, argument: Argument, node: int, row: int) -> Array | None:
    """Which rows of an argument, counted from its first, a row of a node is made from.

    None where the whole batch has the same.
    """
    if argument.mode in (SHARED, SAME):
        return None
    if argument.per_node:
        return np.array([node])
    if step.segments is not None:
        return np.arange(step.segments[node], step.segments[node + 1])
    return np.array([first_row(step, node) + row])


def given_to(evaluation: Evaluation, step: Step, node: int, row: int) -> list[Given]:
    """The arguments of a node of a batch, or of one row of it."""
    found = []
    names = names_of(evaluation, step, node)
    for position, argument in enumerate(step.args):
        rows = rows_of_argument(step, argument, node, row)
        value: Any
        if argument.mode == SHARED:
            value = evaluation.shared[argument.start]
        elif rows is None:
            value = evaluation.arenas[argument.arena][argument.start].reshape(argument.shape)
        else:
            whole = argument.indices()[rows]
            value = take_rows(evaluation.arenas[argument.arena], whole)
            value = value.reshape((len(whole), *argument.shape))
            if step.segments is None or argument.per_node:
                value = value[0]
        name = names[position] if position < len(names) else f"argument {position}"
        if step.op.nary and len(names) > 1:
            name = f"{len(names)} arguments, the first: {names[0]}"
        found.append(Given(name, np.array(on_host(evaluation, value))))
    return found


def names_of(evaluation: Evaluation, step: Step, node: int) -> list[str]:
    """What the arguments of a node are; nothing where the graph was not kept."""
    graph = evaluation.graph
    if graph is None:
        leaves = evaluation.leaves
        return [
            f"parameter {leaves[a.start].name!r}"
            if a.mode == SHARED and a.start in leaves
            else f"argument {k}"
            for k, a in enumerate(step.args)
        ]
    number = int(step.nodes[node])
    starts, args = graph.starts, graph.args
    numbers = [int(a) for a in args[int(starts[number]) : int(starts[number + 1])]]
    return [name_of(evaluation, a) for a in numbers]


def name_of(evaluation: Evaluation, number: int) -> str:
    """What a node is, in words, and the line that recorded it."""
    leaf = evaluation.leaves.get(number)
    if leaf is not None:
        return f"parameter {leaf.name!r}"
    kind = evaluation.layout.kinds[int(evaluation.layout.code[number])]
    graph = evaluation.graph
    if graph is not None and number < len(graph.externals):
        source, there = graph.externals[number]
        return f"{name_of(source, there)}, computed before"
    if isinstance(kind.op, Input):
        return f"the input {kind.type.shape}, {line_of(evaluation, number, kind)}"
    output = f" (result {kind.position})" if kind.position else ""
    return f"{kind}{output}, {line_of(evaluation, number, kind)}"


def line_of(evaluation: Evaluation, number: int, kind: Kind) -> str:
    """Where a node was recorded, as far as that is known."""
    line = evaluation.lines.get(number)
    graph = evaluation.graph
    if line is None and graph is not None:
        for tape, indices, numbers in graph.tapes:
            if tape.lines:
                for i, n in zip(indices, numbers):
                    if n == number and int(i) in tape.lines:
                        line = tape.lines[int(i)]
    if line is not None:
        return f"recorded at {readable(line)}"
    text = f"first recorded at {readable(kind.line)}"
    return text if graph is None else f"{text} (this one outside the block)"


def replay_of(
    evaluation: Evaluation, step: Step, node: int, row: int, carried: Any
) -> Replay | None:
    """What runs the inside of a staged node by itself; None where there is nothing inside.

    Args:
        evaluation: Its evaluation.
        step: Its batch.
        node: Its position in it.
        row: Which of its rows.
        carried: What the node carries.
    """
    if not step.op.staged:
        return None
    op: Any = step.op
    values = [given.value for given in given_to(evaluation, step, node, row)]
    found: Replay | None = op.replay(values, carried, row)
    return found


def carried_by(evaluation: Evaluation, number: int) -> Any:
    """What a node carries besides its arguments, where the graph was kept."""
    graph = evaluation.graph
    if graph is not None:
        for tape, indices, numbers in graph.tapes:
            for i, n in zip(indices, numbers):
                if n == number:
                    return tape.payloads[int(i)]
    return None


def on_host(evaluation: Evaluation, array: Any) -> Array:
    """An array of the evaluation's device as NumPy's."""
    if evaluation.mirror is None:
        return np.asarray(array)
    with on_device(evaluation.device, evaluation.mirror):
        return to_host(array)


def described(array: Array) -> str:
    """Shape, range, and what is not finite in an array."""
    text = f"shape {array.shape}"
    if array.dtype not in FLOATS or not array.size:
        return text
    finite = np.isfinite(array)
    if finite.all():
        return f"{text}, all finite: {_range(array)}"
    nans, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    counts = [f"{n} {word}" for n, word in ((nans, "NaN"), (infinite, "infinite")) if n]
    first = tuple(int(k) for k in np.argwhere(~finite)[0])
    at = f"; the first is {array[first]} at {list(first)}" if first else f": {array[()]}"
    rest = f"; the others: {_range(array[finite])}" if finite.any() else ""
    return f"{text}, {' and '.join(counts)} of {array.size}{at}{rest}"


def _range(array: Array) -> str:
    if array.size == 1:
        return f"{array.reshape(())[()]:.6g}"
    mean = np.mean(array, dtype=np.float64)
    return f"min {array.min():.6g}, max {array.max():.6g}, mean {mean:.6g}"


__all__ = [
    "Given",
    "carried_by",
    "described",
    "first_row",
    "given_to",
    "line_of",
    "name_of",
    "names_of",
    "node_of_row",
    "on_host",
    "replay_of",
    "rows_of_argument",
]
