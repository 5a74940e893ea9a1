"""What an evaluation has to compute: from roots on any tapes to one numbered graph.

Stops at nodes that were evaluated before; its cost is that of the nodes it finds. Two ways to walk
give the same graph: a depth-first search for few nodes, array sweeps over the tape for many.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np

from lazynet.errors import GraphError
from lazynet.graph import Expression, Leaf
from lazynet.kinds import Array, Kind, Type
from lazynet.leaves import UNBATCH, Import
from lazynet.reach import contains, needed_nodes, used
from lazynet.tape import LOCAL, Tape, packed, ranges

_SMALL = 256


class Graph:
    """Unevaluated nodes, numbered so that arguments come before what uses them.

    Attributes:
        kinds: The distinct kinds.
        code: Per node, index into `kinds`.
        starts: Where each node's arguments begin in `args`; one entry more than nodes.
        args: Arguments, as node numbers.
        rows: Batch of each node (-1: a single row).
        externals: The first nodes, evaluated before: (evaluation, number there); a list of them,
            or `Externals`.
        tapes: Where the others come from: (tape, indices on it, node numbers).
        leaves: Parameters by node number.
        picks: Single rows of a batch, ...
        picked: ... and which row each is.
        takes: Several rows of a batch, ...
        taken: ... and which rows they are.
        frozen: Nodes recorded under `no_grad`: a set of them; where that is all that is computed, a
            range of numbers, which holds the parameters too.
        roots: What was asked for.
    """

    __slots__ = (
        "args",
        "code",
        "externals",
        "frozen",
        "kinds",
        "leaves",
        "picked",
        "picks",
        "roots",
        "rows",
        "starts",
        "taken",
        "takes",
        "tapes",
    )

    def __init__(self) -> None:
        self.kinds: list[Kind] = []
        self.code: Any = []
        self.starts: Any = [0]
        self.args: Any = []
        self.rows: Any = []
        self.externals: Any = []
        self.tapes: list[tuple[Tape, Any, Any]] = []
        self.leaves: dict[int, Any] = {}
        self.picks: list[int] = []
        self.picked: list[int] = []
        self.takes: list[int] = []
        self.taken: list[tuple[int, ...]] = []
        self.frozen: Any = set()
        self.roots: list[int] = []

    def __len__(self) -> int:
        return len(self.code)

    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """Code, starts, args and rows as arrays."""
        return (
            np.asarray(self.code, np.int64),
            np.asarray(self.starts, np.int64),
            np.asarray(self.args, np.int64),
            np.asarray(self.rows, np.int64),
        )

    def key(self) -> tuple[Any, ...]:
        """Everything a plan depends on."""
        parts: tuple[Any, ...]
        if isinstance(self.code, list):
            parts = (tuple(self.code), tuple(self.starts), tuple(self.args), tuple(self.rows))
        else:
            parts = tuple([a.tobytes() for a in self.arrays()])
        return (
            tuple([k.id for k in self.kinds]),
            parts,
            len(self.externals),
            tuple(self.picks),
            tuple(self.picked),
            tuple(self.takes),
            tuple(self.taken),
            tuple(self.leaves),
            tuple(self.frozen),
        )


def collect(roots: list[Expression], seal: bool = True) -> Graph:
    """The graph of all unevaluated nodes that the roots need.

    Args:
        roots: What is asked for; no parameters.
        seal: Whether to seal the open tape. Without it the graph is for looking only.

    Raises:
        GraphError: If a root lies on the open tape of another thread.
    """
    asked: dict[Tape, list[int]] = {}
    sources: list[Tape] = []
    numbers: list[int] = []
    view: Tape | None = None
    last: Tape | None = None
    indices: list[int] = []
    for root in roots:
        tape = root.tape
        if tape is not last:
            last = tape
            if tape.sealed == 0:
                if tape is not LOCAL.tape:
                    raise GraphError(
                        f"{root!r} lies on the open tape of another thread; evaluate it on the "
                        "thread that records it"
                    )
                if seal:
                    tape.seal()
                else:
                    view = tape.snapshot() if view is None else view
            source = view if view is not None and tape.sealed == 0 else tape
            indices = asked.setdefault(source, [])
        index = root.index
        indices.append(index)
        sources.append(source)  # two lists, since a pair each would wake the garbage collector
        numbers.append(index)
    found: list[tuple[Tape, Any, list[int]]] = []
    outside: list[tuple[Tape, list[int]]] = []
    by_order: dict[int, Tape] = {-tape.sealed: tape for tape in asked}
    waiting = list(by_order)  # the one sealed last comes first: nothing else asks for its nodes
    heapify(waiting)
    while waiting:
        tape = by_order[heappop(waiting)]
        wanted = sorted(set(asked.pop(tape)))
        marks = tape.evaluated
        before: list[int] = []
        fresh = wanted
        if 1 in marks:
            fresh = [i for i in wanted if not marks[i]]
            if len(fresh) < len(wanted):
                before = [i for i in wanted if marks[i]]
        if fresh:
            needed, boundary = needed_nodes(tape, fresh)
            found.append((tape, needed, wanted))
            if boundary:
                before = sorted({*before, *boundary}) if before else boundary
            for origin, places in tape.imports.items():
                there = used(tape, needed, places)
                if there:
                    already = asked.get(origin)
                    if already is None:
                        asked[origin] = there
                        by_order[-origin.sealed] = origin
                        heappush(waiting, -origin.sealed)
                    else:
                        already += there
        if before:
            outside.append((tape, before))
    found.reverse()
    return _number(found, outside, sources, numbers)


def _number(
    found: list[tuple[Tape, Any, list[int]]],
    outside: list[tuple[Tape, list[int]]],
    root_tapes: list[Tape],
    root_indices: list[int],
) -> Graph:
    graph = Graph()
    total = sum([len(needed) for _, needed, _ in found])
    codes: dict[Kind, int] = {}
    shared: dict[Any, int] = {}
    if total <= _SMALL:
        places: dict[Tape, dict[int, int]] = {}  # numbers of what is asked for across tapes
        for tape, indices in outside:
            place = places[tape] = {}
            for i in indices:
                place[i] = len(graph.externals)
                graph.externals.append(tape.location(i))
            _number_outside(graph, tape, indices, codes)
        for tape, needed, _ in found:
            few: list[int] = needed if isinstance(needed, list) else needed.tolist()
            _number_few(graph, tape, few, codes, places, shared)
        graph.roots = [places[tape][i] for tape, i in zip(root_tapes, root_indices)]
    else:
        tables = _Numbers()
        graph.externals = externals = Externals()
        for tape, indices in outside:
            first = len(externals)
            index, order = externals.add(tape, indices)
            if order is None:
                tables.sparse[tape] = (index, np.arange(first, first + len(index)))
            else:
                numbers = np.empty(len(index), np.int64)
                numbers[order] = np.arange(first, first + len(index))
                tables.sparse[tape] = (index, numbers)
                indices = index[order].tolist()
            _number_outside(graph, tape, indices, codes)
        _number_many(graph, found, codes, tables, shared)
        graph.roots = tables.of_each(root_tapes, root_indices)
    graph.kinds = list(codes)
    return graph


def _number_outside(graph: Graph, tape: Tape, indices: list[int], codes: dict[Kind, int]) -> None:
    rows, kinds = tape.rows, tape.kinds
    before: Type | None = None
    code = -1
    for i in indices:
        t = kinds[i].type
        if t is not before:
            before = t
            code = codes.setdefault(externals_kind(t), len(codes))
        graph.code.append(code)
        graph.starts.append(0)
        graph.rows.append(rows[i])


class Externals:
    """Nodes evaluated before, in blocks: each pair would be one for the garbage collector to visit.

    Attributes:
        evaluations: Of each block, the evaluation that computed its nodes.
        numbers: Of each block, their numbers there.
        bounds: Where each block begins among them all; one entry more than blocks.
    """

    __slots__ = ("bounds", "evaluations", "numbers")

    def __init__(self) -> None:
        self.evaluations: list[Any] = []
        self.numbers: list[Array] = []
        self.bounds: list[int] = [0]

    def add(self, tape: Tape, indices: list[int]) -> tuple[Array, Array | None]:
        """Add nodes of a tape.

        Returns:
            The indices as an array, and the order in which they were added: evaluation by
            evaluation; None if one computed them all.
        """
        index = packed(indices)
        done, local = tape.done[index], tape.local[index]
        if (done == done[0]).all():
            self._block(tape.evaluations[int(done[0])], local)
            return index, None
        order = np.argsort(done, kind="stable")
        done, local = done[order], local[order]
        heads = [0, *(np.flatnonzero(done[1:] != done[:-1]) + 1).tolist(), len(indices)]
        for first, end in itertools.pairwise(heads):
            self._block(tape.evaluations[int(done[first])], local[first:end])
        return index, order

    def _block(self, evaluation: Any, numbers: Array) -> None:
        self.evaluations.append(evaluation)
        self.numbers.append(numbers)
        self.bounds.append(self.bounds[-1] + len(numbers))

    def pairs(self) -> list[tuple[Any, int]]:
        """The evaluation and the number there, of each."""
        return [
            (evaluation, i)
            for evaluation, numbers in zip(self.evaluations, self.numbers)
            for i in numbers.tolist()
        ]

    def __len__(self) -> int:
        return self.bounds[-1]

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        return iter(self.pairs())

    def __getitem__(self, i: int) -> tuple[Any, int]:
        return self.pairs()[i]


class _Numbers:
    """Numbers of nodes in the graph, by their indices on tapes.

    Attributes:
        full: Per tape of which nodes are computed, the number of each of its nodes (-1: none).
        sparse: Per tape of which nodes have been computed: indices, ascending, and numbers.
    """

    __slots__ = ("full", "sparse")

    def __init__(self) -> None:
        self.full: dict[Tape, Array] = {}
        self.sparse: dict[Tape, tuple[Array, Array]] = {}

    def of(self, tape: Tape, indices: list[int]) -> Array:
        """Numbers of nodes that are in the graph."""
        table = self.full.get(tape)
        index = packed(indices)
        if table is not None:
            return table[index]
        there, numbers = self.sparse[tape]
        return numbers[np.searchsorted(there, index)]

    def of_each(self, tapes: list[Tape], indices: list[int]) -> list[int]:
        """The same for nodes of several tapes, in stretches of one tape each."""
        result: list[int] = []
        first = 0
        for k in range(1, len(tapes) + 1):
            if k == len(tapes) or tapes[k] is not tapes[first]:
                result += self.of(tapes[first], indices[first:k]).tolist()
                first = k
        return result


_external_kinds: dict[Any, Kind] = {}


def externals_kind(t: Any) -> Kind:
    """The pseudo-kind of an evaluated node of this type."""
    kind = _external_kinds.get(t)
    if kind is None:
        kind = _external_kinds[t] = Kind(External(), (), (t,), t.shared != 0)
    return kind


class External(Import):
    """A node computed by an earlier evaluation."""


def _number_few(
    graph: Graph,
    tape: Tape,
    needed: list[int],
    codes: dict[Kind, int],
    places: dict[Tape, dict[int, int]],
    shared: dict[Any, int],
) -> None:
    indices: list[int] = []
    numbers: list[int] = []
    kinds = tape.kinds
    place = places.setdefault(tape, {})
    for i in needed:
        kind = kinds[i]
        if isinstance(kind.op, Import):
            x = tape.payloads[i]
            place[i] = places[x.tape][x.index]
            continue
        if kind.shared:
            key = (kind, i in tape.unrecorded)
            known = shared.get(key, -1)
            if known != -1:
                place[i] = known
                indices.append(i)
                numbers.append(known)
                continue
            shared[key] = len(graph.code)
        number = len(graph.code)
        place[i] = number
        indices.append(i)
        numbers.append(number)
        graph.code.append(codes.setdefault(kind, len(codes)))
        for a in tape.arguments(i):
            graph.args.append(place[a])
        graph.starts.append(len(graph.args))
        graph.rows.append(tape.rows[i])
        payload = tape.payloads[i]
        if isinstance(payload, Leaf):
            graph.leaves[number] = payload
        elif kind.op is UNBATCH:
            graph.picks.append(number)
            graph.picked.append(payload)
        elif type(payload) is tuple and kind.op.points:
            graph.takes.append(number)
            graph.taken.append(payload)
        if tape.unrecorded and i in tape.unrecorded:
            graph.frozen.add(number)
    graph.tapes.append((tape, indices, numbers))


def _number_many(
    graph: Graph,
    found: list[tuple[Tape, Any, list[int]]],
    codes: dict[Kind, int],
    tables: _Numbers,
    shared: dict[Any, int],
) -> None:
    code_parts = [np.asarray(graph.code, np.int64)]
    arg_parts = [np.zeros(0, np.int64)]
    count_parts = [np.zeros(len(graph.code), np.int64)]
    row_parts = [np.asarray(graph.rows, np.int64)]
    next_number = len(graph.code)
    computed = 0  # nodes that are no parameters, and how many of them under `no_grad`
    frozen: list[Array] = []
    for tape, listed, _ in found:
        needed = np.asarray(listed, np.int64)
        starts, args = tape.arrays()
        numbers_of = tables.full[tape] = np.full(len(starts) - 1, -1, np.int64)
        own = np.ones(len(needed), bool)
        before = tables.sparse.get(tape)
        if before is not None:
            numbers_of[before[0]] = before[1]
        for origin, places in tape.imports.items():
            here, theirs = packed(list(places.values())), list(places)
            if len(needed) == len(tape):
                positions = here
            else:
                positions = np.minimum(np.searchsorted(needed, here), len(needed) - 1)
                inside = needed[positions] == here
                if not inside.all():
                    here, positions = here[inside], positions[inside]
                    theirs = [i for i, used in zip(theirs, inside.tolist()) if used]
            if theirs:
                numbers_of[here] = tables.of(origin, theirs)
                own[positions] = False
        repeated: list[int] = []
        for i in tape.shared.values():
            if tape.kinds[i].shared and contains(needed, i):
                known = shared.get((tape.kinds[i], i in tape.unrecorded), -1)
                if known != -1:
                    numbers_of[i] = known
                    own[np.searchsorted(needed, i)] = False
                    repeated.append(i)
        picked = needed if own.all() else needed[own]
        begin_number = next_number
        next_number += len(picked)
        numbers = np.arange(begin_number, next_number)
        numbers_of[picked] = numbers
        code, kinds, rows = tape.columns()
        if len(picked) and picked[-1] - picked[0] == len(picked) - 1:  # a stretch of the tape
            begin, end = int(picked[0]), int(picked[-1]) + 1
            code, rows = code[begin:end], rows[begin:end]
            lengths = np.diff(starts[begin : end + 1])
            used = args[starts[begin] : starts[end]]
        else:
            code, rows = code[picked], rows[picked]
            lengths = starts[picked + 1] - starts[picked]
            used = args[ranges(starts[picked], lengths)]
        arg_parts.append(numbers_of[used])
        count_parts.append(lengths)
        row_parts.append(rows)
        table = np.zeros(len(kinds), np.int64)
        picks = np.zeros(len(kinds), bool)
        takes = np.zeros(len(kinds), bool)
        for c in np.flatnonzero(np.bincount(code, minlength=len(kinds))).tolist():
            kind = kinds[c]
            table[c] = codes.setdefault(kind, len(codes))
            picks[c] = kind.op is UNBATCH
            takes[c] = kind.op.points
        if picks.any():
            chosen = np.flatnonzero(picks[code])
            payloads = tape.payloads
            graph.picks += numbers[chosen].tolist()
            graph.picked += [payloads[i] for i in picked[chosen].tolist()]
        if takes.any():
            chosen = np.flatnonzero(takes[code])
            graph.takes += numbers[chosen].tolist()
            graph.taken += [tape.payloads[i] for i in picked[chosen].tolist()]
        code_parts.append(table[code])
        common = list(tape.shared.values())
        leaves = 0
        for i, number in zip(common, numbers_of[common].tolist() if common else ()):
            if number >= 0:
                if isinstance(tape.payloads[i], Leaf):
                    if number not in graph.leaves:
                        leaves += 1
                    graph.leaves[number] = tape.payloads[i]
                if tape.kinds[i].shared:
                    shared.setdefault((tape.kinds[i], i in tape.unrecorded), number)
        computed += len(picked) - leaves
        if tape.unrecorded:
            numbers_there = numbers_of[packed(list(tape.unrecorded))]
            frozen.append(numbers_there[numbers_there >= begin_number])
        if repeated:
            picked = np.concatenate([picked, np.array(repeated, np.int64)])
            numbers = numbers_of[picked]
        graph.tapes.append((tape, picked, numbers))
    if frozen:
        numbers = np.concatenate(frozen)
        if len(numbers) == computed:
            graph.frozen = range(len(graph.externals), next_number)
        else:
            graph.frozen = set(numbers.tolist())
    graph.code = np.concatenate(code_parts)
    graph.args = np.concatenate(arg_parts)
    graph.starts = np.concatenate([[0], np.cumsum(np.concatenate(count_parts))])
    graph.rows = np.concatenate(row_parts)
