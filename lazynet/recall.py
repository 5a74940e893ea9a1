"""Graphs met before: what a tape of this structure came to when it was last evaluated whole.

Programs that take one example at a time record the same few nodes again and again, and collecting
and numbering them costs more than their arithmetic. A tape of which nothing has been evaluated
yet is recognised by its lists of kinds, arguments and batches: then the graph, the layout and what
`execute` marks on the tape are those of the last time. Only small graphs on one tape are
remembered, and nothing that belongs to one tape is: no payload, no parameter, no evaluation.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from lazynet.collect import Externals, Graph
from lazynet.graph import Expression, Leaf
from lazynet.kinds import TABLE_LIMIT, Array
from lazynet.layout import Layout
from lazynet.leaves import Import
from lazynet.tape import LOCAL, Tape, packed

SHORT: Final = 256
"""Most nodes on a tape that is always looked up."""

LONGEST: Final = 4096
"""Most nodes on a tape that is looked up where its size returns: rounds of many coroutines that go
in step. Telling such a tape apart takes 0.1 us a node, in vain where programs record another graph
every time."""

SIZES: Final = 64
"""Most sizes of such tapes that are noticed."""

TRIES: Final = 4
"""How often one is looked up in vain before its size means nothing: it is known the fourth time."""

REMEMBERED: Final = 1024
"""Most structures of short tapes."""

LARGE: Final = 32
"""Most structures of others: each may take a megabyte."""


_FEW: Final = 16
"""Imports from which on they are taken over by array operations, where they come from one tape."""

_OF_ONE_TAPE: Final = 16
"""Most sets of roots for which a tape is recognised by itself."""


class Known:
    """A structure met before.

    Attributes:
        batched: Whether it may run otherwise than node by node (not under `no_autobatch`).
        alone: Whether it is known of one tape only.
        layout: Its layout.
        graph: The graph as it was collected, without what belonged to that tape.
        leaves: Parameters: (number, index on the tape).
        externals: Index of the import that each external is.
        picks: Indices of nodes that are rows of a batch.
        rows: Which rows: the layout depends on them.
        index_of: Per node, its index on the tape (-1 for externals).
        indices, numbers: Of nodes that an evaluation computes.
        local, marks: What a tape holds when just these have been evaluated (`Tape.local`,
            `Tape.evaluated`).
        whole: Whether all nodes but imports and parameters are among those computed.
        met: How often it was met.
        routine: How it runs (`lazynet.routine`); None where it runs batch by batch.
    """

    __slots__ = (
        "alone",
        "batched",
        "externals",
        "graph",
        "index_of",
        "indices",
        "layout",
        "leaves",
        "local",
        "marks",
        "met",
        "numbers",
        "picks",
        "routine",
        "rows",
        "whole",
    )

    def __init__(
        self, tape: Tape, graph: Graph, layout: Layout, externals: list[int], batched: bool
    ) -> None:
        self.batched = batched
        self.alone = tape.known is not None
        self.layout = layout
        self.externals = externals
        self.met = 0
        self.routine: Any = None
        _, found, numbers = graph.tapes[0]
        pairs = list(zip([int(i) for i in found], [int(i) for i in numbers]))
        index_of = [-1] * len(graph)
        for i, number in pairs:
            if index_of[number] < 0:  # a shared node may lie on the tape twice
                index_of[number] = i
        self.index_of = index_of
        self.leaves = [(number, index_of[number]) for number in graph.leaves]
        computed = [(i, number) for i, number in pairs if number not in graph.leaves]
        self.indices: Array = np.array([i for i, _ in computed], np.int64)
        self.numbers: Array = np.array([number for _, number in computed], np.int64)
        self.local: Array = np.zeros(len(tape), np.int32)
        self.local[self.indices] = self.numbers
        marks: Array = np.zeros(len(tape), np.uint8)
        marks[self.indices] = 1
        self.marks: bytes = marks.tobytes()
        self.whole = True
        for i in range(len(tape)):
            leaf = isinstance(tape.payloads[i], Leaf) or isinstance(tape.kinds[i].op, Import)
            if not leaf and self.marks[i] == 0:
                self.whole = False
        kinds = tape.kinds
        points = [
            i
            for i, _ in pairs
            if kinds[i].op.points or (kinds[i].op.alias and kinds[i].op.payload is not None)
        ]
        self.picks = sorted(points)
        self.rows = tuple([tape.payloads[i] for i in self.picks])
        kept = _copy(graph)
        kept.leaves = {}
        kept.externals = []
        kept.tapes = []
        self.graph = kept

    def apply(self, tape: Tape) -> Graph | None:
        """The graph of another tape of this structure; None if not all imports are evaluated."""
        payloads = tape.payloads
        externals: Any = []
        before = self.externals
        if len(before) > _FEW:
            externals = _of_one_tape(payloads, before)
            if externals is None:
                externals = []
            else:
                before = []
        for i in before:
            x = payloads[i]
            if x is None:
                return None
            source: Tape = x.tape
            index: int = x.index
            if source.sealed == 0 or source.evaluated[index] != 1:
                return None
            externals.append(source.location(index))
        graph = _copy(self.graph)
        graph.externals = externals
        graph.leaves = {number: payloads[i] for number, i in self.leaves}
        graph.tapes = [(tape, self.indices, self.numbers)]
        return graph

    def mark(self, tape: Tape, evaluation: Any) -> None:
        """Note on the tape that this evaluation computed its nodes."""
        if len(tape.evaluations) > 0:
            tape.local[self.indices] = self.numbers
            tape.done[self.indices] = len(tape.evaluations)
        else:
            tape.local = self.local.copy()
            tape.done.fill(0)
        tape.evaluations.append(evaluation)
        tape.evaluated[:] = self.marks


def _of_one_tape(payloads: list[Any], imports: list[int]) -> Externals | None:
    """What is imported, where one evaluation computed it all for one other tape."""
    source: Tape | None = None
    indices: list[int] = []
    for i in imports:
        x = payloads[i]
        if x is None:
            return None
        if x.tape is not source:
            if source is not None:
                return None
            source = x.tape
        indices.append(x.index)
    if source is None or source.sealed <= 0 or len(source.evaluations) != 1:
        return None
    index = packed(indices)
    if (np.frombuffer(source.evaluated, np.uint8)[index] == 0).any():
        return None
    externals = Externals()
    externals.add(source, indices)
    return externals


def _copy(graph: Graph) -> Graph:
    copy = Graph()
    copy.kinds = graph.kinds
    copy.code = graph.code
    copy.starts = graph.starts
    copy.args = graph.args
    copy.rows = graph.rows
    copy.picks = graph.picks
    copy.picked = graph.picked
    copy.takes = graph.takes
    copy.taken = graph.taken
    copy.frozen = graph.frozen
    copy.roots = graph.roots
    copy.externals = graph.externals
    copy.leaves = graph.leaves
    copy.tapes = graph.tapes
    return copy


_known: dict[Any, Known] = {}
_large: dict[Any, Known] = {}
_sizes: dict[tuple[int, int, int], int] = {}
"""Sizes of tapes that are not short, and how often they may still be looked up in vain."""

_glimpsed: set[int] = set()
"""Hashes of structures that were met at least once."""


def signature(roots: list[Expression], autobatch: bool) -> Any:
    """What tells the structure of the roots' tape apart; None where it is not to be recognised.

    A long tape is recognised only by itself, where it is computed again and again.
    """
    tape = roots[0].tape
    if len(tape.lines) > 0:
        return None
    if len(tape.kinds) > SHORT and tape.known is None and not _returned(tape, len(roots)):
        return None
    if tape.sealed == 0:
        if tape is not LOCAL.tape:
            return None
    elif 1 in tape.evaluated:
        return None
    asked: list[int] = []
    for root in roots:
        if root.tape is not tape:
            return None
        asked.append(root.index)
    if tape.known is not None:
        return (None, None, None, None, tuple(asked), None, autobatch)
    unrecorded = frozenset(tape.unrecorded) if len(tape.unrecorded) > 0 else None
    return (
        tuple(tape.kinds),
        tuple(tape.args),
        tuple(tape.starts),
        tuple(tape.rows),
        tuple(asked),
        unrecorded,
        autobatch,
    )


def _returned(tape: Tape, asked: int) -> bool:
    """Whether a tape of this size was met before, and may be one of those."""
    n = len(tape.kinds)
    if n > LONGEST:
        return False
    size = (n, len(tape.args), asked)
    tries = _sizes.get(size, -1)
    if tries < 0:
        if len(_sizes) >= SIZES:
            del _sizes[next(iter(_sizes))]
        _sizes[size] = TRIES
        return False
    if tries > 0:
        _sizes[size] = tries - 1
    return tries > 0


def _table(tape: Tape) -> dict[Any, Known]:
    if tape.known is not None:
        return tape.known
    return _known if len(tape.kinds) <= SHORT else _large


def recall(key: Any, tape: Tape) -> Known | None:
    """What is known of a structure."""
    table = _table(tape)
    found = table.get(key)
    if found is not None and table is _large:
        _sizes[(len(tape.kinds), len(tape.args), len(key[4]))] = TRIES
    if found is not None and len(found.picks) > 0:
        rows = tuple([tape.payloads[i] for i in found.picks])
        if rows != found.rows:
            return table.get((key, rows))
    return found


def remember(key: Any, tape: Tape, graph: Graph, layout: Layout) -> None:
    """Keep what a structure came to, if it was met before and all of it lies on this tape."""
    if len(graph.tapes) != 1 or graph.tapes[0][0] is not tape:
        return
    if tape.known is None:
        glimpse = hash(key)
        if glimpse not in _glimpsed:  # most structures of some programs never return
            if len(_glimpsed) >= TABLE_LIMIT:
                _glimpsed.clear()
            _glimpsed.add(glimpse)
            return
    externals = _imports(tape, key[4], graph)
    if externals is None:
        return
    autobatch: bool = key[6]
    table = _table(tape)
    if len(table) >= (
        REMEMBERED if table is _known else LARGE if table is _large else _OF_ONE_TAPE
    ):
        for other in table.values():
            other.met = 0  # it will not be met any more: its routine is the first to go
        table.clear()
    known = Known(tape, graph, layout, externals, autobatch)
    if key in table:  # the rows of a batch that were picked are others
        key = (key, known.rows)
    table[key] = known


def _imports(tape: Tape, asked: tuple[int, ...], graph: Graph) -> list[int] | None:
    """Index of the import that each external of the graph is; None if one is something else."""
    needed = set(asked)
    waiting = list(asked)
    while waiting:
        for i in tape.arguments(waiting.pop()):
            if i not in needed:
                needed.add(i)
                waiting.append(i)
    places: dict[tuple[int, int], list[int]] = {}
    for number, (evaluation, there) in enumerate(graph.externals):
        places.setdefault((id(evaluation), there), []).append(number)
    result = [-1] * len(graph.externals)
    imports = [i for places in tape.imports.values() for i in places.values()]
    for i in imports:
        if i in needed:
            x = tape.payloads[i]
            if isinstance(x, Leaf) or not x.tape.evaluated[x.index]:
                return None
            source, there = x.tape.location(x.index)
            found = places.get((id(source), there))
            if not found:
                return None
            result[found.pop()] = i
    return None if -1 in result else result


__all__ = ["Known", "recall", "remember", "signature"]
