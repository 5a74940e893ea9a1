"""Batches of sequences, packed time-major: longest first, so that what still runs comes first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lazynet.backend import pick_rows, take_rows
from lazynet.fuse.cell import Form
from lazynet.fuse.runtime import pick_call
from lazynet.kinds import Array


class Packing:
    """Time-major order of the rows of a batch of sequences.

    Attributes:
        nodes: Number of sequences.
        rows: Number of rows.
        order: The sequences, longest first.
        perm: For each row, time-major, which row of the batch (sequence after sequence) it is.
        steps: For each step: its rows a:b, where the states before it are in the history (p:q) and
            those after it (r:s). The history begins with the initial states.
        counts: Number of sequences in each step.
        origin: Of a part of a batch: for each of its rows, sequence after sequence, the row of the
            whole batch.
    """

    def __init__(self, segments: Array, reverse: bool) -> None:
        lengths = np.diff(segments)
        self.nodes = len(lengths)
        self.rows = int(segments[-1])
        self.order = np.argsort(-lengths, kind="stable")
        ordered = lengths[self.order]
        longest = int(ordered[0]) if len(ordered) else 0
        time = np.arange(longest)[:, None]
        running = time < ordered
        first = segments[:-1][self.order]
        places = first + ordered - 1 - time if reverse else first + time
        self.perm = places[running]
        self.counts = running.sum(axis=1).tolist()
        self.origin: Array | None = None
        self.steps: list[tuple[int, int, int, int, int, int]] = []
        a, p = 0, 0
        for count in self.counts:
            b = a + count
            self.steps.append((a, b, p, p + count, self.nodes + a, self.nodes + b))
            p = self.nodes + a
            a = b

    @cached_property
    def inverse(self) -> Array:
        """For each row of the batch, which row, time-major, it is."""
        result = np.empty(self.rows, np.int64)
        result[self.perm] = np.arange(self.rows)
        return result

    @cached_property
    def origin_perm(self) -> Array:
        """Of a part of a batch: for each row, time-major, the row of the whole batch."""
        assert self.origin is not None
        found: Array = self.origin[self.perm]
        return found

    @cached_property
    def place(self) -> Array:
        """For each sequence, its place in `order`."""
        return np.argsort(self.order)

    @cached_property
    def before(self) -> Array:
        """For each row, time-major, which row of the history holds the state before it."""
        parts = [np.arange(p, q) for _, _, p, q, _, _ in self.steps]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    @cached_property
    def sequence(self) -> Array:
        """For each row, time-major, its sequence's place in `order`."""
        parts = [np.arange(n) for n in self.counts]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)


@dataclass
class Batch:
    """One batch of sequences: what forward left."""

    packing: Packing
    start: int
    xs: list[Array]
    histories: list[Array]
    constants: list[Array]
    payload: Any
    memo: dict[int, dict[int, Any]]
    part: Part | None = None

    def before(self, j: int) -> Array:
        """The state before every row."""
        return take_rows(self.histories[j], self.packing.before)

    def spread(self, j: int) -> Array:
        """A constant for every row."""
        return take_rows(self.constants[j], self.packing.sequence)


def rows_of(array: Array, start: int, stop: int) -> Array:
    """Rows start:stop of an array of planes or of one plane."""
    return array[:, start:stop] if array.ndim == 3 else array[start:stop]


def time_major(batch: Batch, form: Form, k: int, output: Array, rows: Array | None) -> Array:
    """A result of the cell, time-major."""
    if k in form.next_states:
        return batch.histories[form.next_states.index(k)][batch.packing.nodes :]
    if rows is None:
        return take_rows(output, batch.packing.perm)
    return take_rows(output, batch.packing.origin_perm)


class Part:
    """Some sequences of a batch.

    Attributes:
        chosen: Which ones.
        packing: Them, as a batch.
        rows: Which of the rows of the whole batch, time-major, theirs are.
        place: Where they are in the order of the whole batch.
    """

    __slots__ = ("chosen", "packing", "place", "rows")

    def __init__(self, whole: Packing, chosen: Array, segments: Array, reverse: bool) -> None:
        lengths = np.diff(segments)[chosen]
        self.chosen = chosen
        self.packing = own = Packing(np.concatenate([[0], np.cumsum(lengths)]), reverse)
        offsets = np.repeat(segments[:-1][chosen] - (np.cumsum(lengths) - lengths), lengths)
        own.origin = np.arange(own.rows) + offsets
        self.rows: Array = whole.inverse[own.origin_perm]
        self.place: Array = whole.place[chosen][own.order]

    def arrays(self) -> list[Array]:
        """The index arrays that backward may use."""
        own = self.packing
        assert own.origin is not None
        return [
            self.rows, self.place, own.origin, own.origin_perm, own.perm, own.inverse, own.order,
            own.place, own.before, own.sequence,
        ]  # fmt: skip


def subset(batch: Batch, chosen: Array, segments: Array, reverse: bool) -> tuple[Batch, Array]:
    """Some sequences of a batch as a batch; and which of its rows, time-major, they are."""
    packing = batch.packing
    part = batch.part
    if part is None or part.chosen is not chosen:
        part = Part(packing, chosen, segments, reverse)
    own, rows, place = part.packing, part.rows, part.place
    histories = [
        np.concatenate([pick_rows(h, place), pick_rows(h[packing.nodes :], rows)])
        for h in batch.histories
    ]
    memo: dict[int, dict[int, Any]] = {
        -1: {number: pick_call(call, rows) for number, call in batch.memo[-1].items()}
    }
    for t, (a, b, *_) in enumerate(own.steps):
        first = packing.steps[t][0]
        memo[t] = {
            number: pick_call(call, rows[a:b] - first) for number, call in batch.memo[t].items()
        }
    return (
        Batch(
            own,
            batch.start,
            [pick_rows(x, rows) for x in batch.xs],
            histories,
            [pick_rows(f, place) for f in batch.constants],
            batch.payload,
            memo,
        ),
        rows,
    )
