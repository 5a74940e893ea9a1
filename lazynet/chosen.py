"""Which rows of a batch take part in a backward, and the index arrays that this takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lazynet.kinds import Array
from lazynet.layout import SAME, SHARED, TAKE, Argument, Step
from lazynet.tape import ranges


class Chosen:
    """Some rows of a batch, or for `nodes` some nodes.

    Attributes:
        selected: Which rows of the results.
        rows: Which rows of each argument.
        segments: Of a segmented batch, those of the rows that take part.
        payload: What these carry.
    """

    __slots__ = ("_index", "payload", "rows", "segments", "selected")

    def __init__(self, step: Step, selected: Array, payload: Array | None) -> None:
        self.selected = selected
        self.rows = selected
        self.segments: Array | None = None
        if step.segments is not None:
            chosen = selected
            if step.rows != len(step.segments) - 1:
                owner = np.repeat(np.arange(len(step.segments) - 1), np.diff(step.segments))
                chosen = np.unique(owner[selected])
            lengths = np.diff(step.segments)[chosen]
            self.segments = np.concatenate([[0], np.cumsum(lengths)])
            self.rows = ranges(step.segments[chosen], lengths)
        self.payload = payload[selected] if payload is not None else None
        self._index: dict[int, Array] = {}

    def index(self, argument: Argument) -> Array | None:
        """Where the rows of an argument lie in its arena; None unless they are gathered."""
        if argument.mode != TAKE:
            return None
        found = self._index.get(id(argument))
        if found is None:
            assert argument.index is not None
            found = self._index[id(argument)] = argument.index[self.rows]
        return found

    def arrays(self) -> Iterator[Array]:
        """The index arrays."""
        yield self.selected
        yield self.rows
        if self.segments is not None:
            yield self.segments
        if isinstance(self.payload, np.ndarray):
            yield self.payload
        yield from self._index.values()


class ChosenNodes:
    """Of a batch of a staged kind, what `Chosen` is of others.

    Attributes:
        selected: Which rows of the results; None for all.
        nodes: Which rows or, of a segmented op, which nodes are computed; None for all.
    """

    __slots__ = ("_places", "nodes", "selected", "step")

    def __init__(self, step: Step, selected: Array | None) -> None:
        self.step = step
        self.selected = self.nodes = selected
        if selected is not None and step.segments is not None:
            self.nodes = nodes_of(step, selected)
            if len(self.nodes) == len(step.segments) - 1:  # whole sequences are computed anyway
                self.selected = self.nodes = None
        self._places: dict[int, tuple[Array | None, Array | None]] = {}

    def places(self, argument: Argument) -> tuple[Array | None, Array | None]:
        """Which rows of an argument (None: all), and where in its arena if they are gathered."""
        if self.nodes is None:
            return None, None
        found = self._places.get(id(argument))
        if found is None:
            rows = self.nodes
            if self.step.segments is not None:
                rows = argument_rows(self.step, argument, self.nodes)
            index = None
            if argument.mode == TAKE:
                assert argument.index is not None
                index = argument.index[rows]
            found = self._places[id(argument)] = rows, index
        return found

    def arrays(self) -> Iterator[Array]:
        """The index arrays."""
        if self.nodes is not None:
            yield self.nodes
        for pair in self._places.values():
            for array in pair:
                if array is not None:
                    yield array


def mark(
    reached: Sequence[Array], argument: Argument, rows: Array | None, index: Array | None
) -> None:
    """Note that rows of an argument get a gradient: all, or some, and where these are gathered."""
    marks = reached[argument.arena]
    if argument.mode == SAME:
        marks[argument.start] = True
    elif argument.mode == TAKE:
        marks[argument.index if index is None else index] = True
    elif argument.mode != SHARED:
        own = marks[argument.start : argument.stop]
        own[slice(None) if rows is None else rows] = True


def nodes_of(step: Step, rows: Array) -> Array:
    """Nodes of a segmented batch to which these rows of the result belong."""
    assert step.segments is not None
    return np.unique(np.searchsorted(step.segments, rows, side="right") - 1)


def argument_rows(step: Step, argument: Argument, nodes: Array) -> Array:
    """Rows of an argument of a segmented batch that belong to these nodes."""
    if argument.per_node:
        return nodes
    assert step.segments is not None
    return ranges(step.segments[nodes], np.diff(step.segments)[nodes])


def by_segment(part: Array, step: Step, per_node: bool = False) -> Array:
    """Per row of the result of a segmented batch, whether any argument row in it is marked.

    With `per_node`, the argument has one row for each node.
    """
    assert step.segments is not None
    if per_node:
        return np.repeat(part, np.diff(step.segments))
    marked = np.concatenate([[0], np.cumsum(part)])
    any_ = marked[step.segments[1:]] > marked[step.segments[:-1]]
    if step.rows == len(any_):
        return any_
    return np.repeat(any_, np.diff(step.segments))
