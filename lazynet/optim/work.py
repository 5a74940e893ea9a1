"""What is to be updated in a step: chunks of small parameters, and large ones as tables of rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lazynet.backend import Sources, join, put_rows, run_blocks, take_rows
from lazynet.kinds import Array
from lazynet.optim.flat import Chunk, State, chunk_of, chunk_size, cut
from lazynet.optim.gradient import Gradient, block_height, from_sources, gradient_of, norm, table
from lazynet.optim.kernel import Buffer
from lazynet.parameters import Parameter

SMALL = 1 << 14
"""Elements up to which parameters are gathered in chunks: from twice as many on, one is as quick by
itself."""
GPU_SMALL = 1 << 22
"""The same on a GPU, where a chunk costs a copy of the gradients and saves launches."""
THREADED = 1 << 20
"""Elements from which an update may use several threads (see `lazynet.backend.threads`)."""


def small_size(like: Array) -> int:
    """Elements up to which parameters like this one are gathered in chunks."""
    return SMALL if type(like) is np.ndarray else GPU_SMALL


@dataclass
class Work:
    """Parameters that are updated together: one, or those of a chunk.

    Attributes:
        parameters: These.
        states: What is remembered of them.
        gradient: Of a parameter by itself.
        chunk: Of several.
    """

    parameters: list[Parameter]
    states: list[State]
    gradient: Gradient | None = None
    chunk: Chunk | None = None

    def norm(self) -> float:
        """Euclidean norm of the gradients."""
        if self.chunk is not None:
            return norm(self.chunk.gradient)
        assert self.gradient is not None
        return self.gradient.norm()


def share_out(
    parameters: list[Parameter],
    state_of: Callable[[Parameter], State],
    some_rows: bool,
    sources: Sources | None,
) -> list[Work]:
    """Share out the trainable parameters that have a gradient; no parameter is changed.

    Args:
        parameters: All of them.
        state_of: What the optimiser remembers of one.
        some_rows: Whether tables are updated only where rows have a gradient.
        sources: On a GPU, what the gradients are to be brought together by; they hold anything
            until it is read.
    """
    work = []
    groups: dict[tuple[str, int], tuple[list[Parameter], list[State]]] = {}
    for p in parameters:
        if not p.trainable or not p.has_gradient():
            continue
        state = state_of(p)
        size = p.values.size
        if size > small_size(p.values) or (some_rows and p.pending is None and size):
            gradient = gradient_of(p) if sources is None else from_sources(p, sources)
            work.append(Work([p], [state], gradient))
        else:
            group = groups.setdefault((p.values.dtype.char, state.updates), ([], []))
            group[0].append(p)
            group[1].append(state)
    for members, states in groups.values():
        for part in cut(members, chunk_size(members[0].values)):
            chunk = chunk_of(members[part], states[part])
            if sources is None:
                gradients = [p.summed() if p.pending_rows else p.pending for p in members[part]]
                join(gradients, chunk.gradient)  # type: ignore[arg-type]
            else:
                join_sources(members[part], chunk.gradient, sources)
            work.append(Work(members[part], states[part], chunk=chunk))
    return work


def norm_of(work: list[Work], sources: Sources | None) -> float:
    """Euclidean norm of all gradients; a GPU is waited for, and has brought them together then."""
    if sources is not None:
        square = sources.read()
        single = all([item.parameters[0].values.itemsize == 4 for item in work])
        if single or 1e-280 < square < 1e280:
            return math.sqrt(square)
        # the squares have left the range of float64; this waits for each
    return math.hypot(*[item.norm() for item in work])


def join_sources(parameters: list[Parameter], out: Array, sources: Sources) -> None:
    """Have the gradients of parameters brought together in a flat array; zeros where none is."""
    start = 0
    for p in parameters:
        stop = start + p.values.size
        if stop > start:
            width = p.row_width if p.pending_rows else 0
            sources.add(p.pending, p.pending_rows, width, out[start:stop])
        start = stop


@dataclass
class Table:
    """Values and slots as arrays (rows, width)."""

    x: Array
    slots: dict[str, Array]

    def part(self, start: int, stop: int) -> Table:
        """A view of some rows."""
        slots = {slot: array[start:stop] for slot, array in self.slots.items()}
        return Table(self.x[start:stop], slots)

    def take(self, rows: Array) -> Table:
        """A copy of some rows."""
        slots = {slot: take_rows(array, rows) for slot, array in self.slots.items()}
        return Table(take_rows(self.x, rows), slots)

    def put(self, rows: Array, new: Table) -> None:
        """Overwrite some rows."""
        put_rows(self.x, rows, new.x)
        for slot, array in self.slots.items():
            put_rows(array, rows, new.slots[slot])

    def by_block(self, update: Callable[[int, int], None]) -> None:
        """Call ``update(start, stop)`` for blocks of rows; of large tables in several threads."""
        n, height = len(self.x), block_height(self.x)
        if self.x.size >= THREADED and type(self.x) is np.ndarray:
            run_blocks(update, n, height)
            return
        for start in range(0, n, height):
            update(start, min(n, start + height))


def buffer_of(whole: Table, gradient: Gradient, some_rows: bool) -> Buffer:
    """A table on a GPU as one buffer.

    Args:
        whole: Values and slots.
        gradient: Of all rows, or of some.
        some_rows: Whether only rows that have a gradient are updated.
    """
    slots = {slot: array.reshape(-1) for slot, array in whole.slots.items()}
    x, width = whole.x.reshape(-1), whole.x.shape[1]
    if gradient.dense is not None:
        return Buffer(x, slots, gradient.whole().reshape(-1))
    assert gradient.values is not None
    values = gradient.values.reshape(-1)
    return Buffer(x, slots, values, width, gradient.rows, spread=not some_rows)


def table_of(p: Parameter, state: State) -> Table:
    """A parameter and its slots."""
    return Table(table(p, p.values), {slot: table(p, array) for slot, array in state.slots.items()})
