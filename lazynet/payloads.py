"""What nodes carry besides their arguments: where it lies, and as one array for a batch."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from lazynet.collect import Graph
from lazynet.kinds import Array
from lazynet.layout import Step
from lazynet.randomness import ROW_STEP


def assemble(form: str, parts: Sequence[Any], step: Step) -> Array:
    """The payloads of a batch as one array with an entry per row."""
    dtype: Any = np.int64
    if form == "float":
        dtype = step.kind.type.work
    elif form == "key":
        dtype = np.uint64
    if step.counts is None:
        if form == "ints":
            return np.array(parts, np.int64).reshape(len(parts), -1)
        return np.array(parts, dtype).reshape(-1)
    counts = step.counts.tolist()
    if form == "key":
        keys = np.repeat(np.array(parts, np.uint64), counts)
        within = np.concatenate([np.arange(c, dtype=np.uint64) for c in counts])
        return keys + within * np.uint64(ROW_STEP)
    columns = []
    axes = 2 if form == "ints" else 1
    for part, rows in zip(parts, counts):
        array = np.asarray(part, dtype)
        if array.ndim != axes or len(array) != rows:
            array = np.broadcast_to(array, (rows, *array.shape[-1:]) if axes == 2 else (rows,))
        columns.append(array)
    return np.concatenate(columns)


def payloads_of(graph: Graph) -> Any:
    """A function from node numbers to the payloads recorded for them."""
    n = len(graph)
    if len(graph.tapes) == 1:
        tape, indices, numbers = graph.tapes[0]
        place = np.zeros(n, np.int64)
        place[numbers] = indices
        payloads = tape.payloads

        def single(nodes: Array) -> Sequence[Any]:
            indices = place[nodes].tolist()
            if len(indices) < 2:
                return [payloads[i] for i in indices]
            found: tuple[Any, ...] = itemgetter(*indices)(payloads)
            return found

        return single
    table: list[Any] = [None] * n
    for tape, indices, numbers in graph.tapes:
        for i, number in zip(np.asarray(indices).tolist(), np.asarray(numbers).tolist()):
            table[number] = tape.payloads[i]

    def several(nodes: Array) -> list[Any]:
        return [table[i] for i in nodes.tolist()]

    return several
