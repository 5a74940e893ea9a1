"""What an evaluation has to compute: from roots on any tapes to one numbered graph.

Stops at nodes that were evaluated before; its cost is that of the nodes it finds. Two ways to walk
give the same graph: a depth-first search for few nodes, array sweeps over the tape for many.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.errors import GraphError
from lazynet.graph import Expression, Leaf
from lazynet.kinds import Array, Kind
from lazynet.leaves import UNBATCH, Import
from lazynet.tape import LOCAL, Tape

_SMALL = 256


class Graph:
    """Unevaluated nodes, numbered so that arguments come before what uses them.

    Attributes:
        kinds: The distinct kinds.
        code: Per node, index into `kinds`.
        starts: Where each node's arguments begin in `args`; one entry more than nodes.
        args: Arguments, as node numbers.
        rows: Batch of each node (-1: a single row).
        externals: The first nodes, evaluated before: (evaluation, number there).
        tapes: Where the others come from: (tape, indices on it, node numbers).
        leaves: Parameters by node number.
        picks: Single rows of a batch, ...
        picked: ... and which row each is.
        takes: Several rows of a batch, ...
        taken: ... and which rows they are.
        frozen: Nodes recorded under `no_grad`.
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
        self.externals: list[tuple[Any, int]] = []
        self.tapes: list[tuple[Tape, Any, Any]] = []
        self.leaves: dict[int, Any] = {}
        self.picks: list[int] = []
        self.picked: list[int] = []
        self.takes: list[int] = []
        self.taken: list[tuple[int, ...]] = []
        self.frozen: set[int] = set()
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
    asked: dict[Tape, set[int]] = {}
    sources: list[Tape] = []
    numbers: list[int] = []
    view: Tape | None = None
    last: Tape | None = None
    indices: set[int] = set()
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
            indices = asked.setdefault(source, set())
        index = root.index
        indices.add(index)
        sources.append(source)  # two lists, since a pair each would wake the garbage collector
        numbers.append(index)
    found: list[tuple[Tape, Any, set[int]]] = []
    externals: dict[tuple[Tape, int], None] = {}
    while asked:
        tape = max(asked, key=_sealed)
        wanted = asked.pop(tape)
        fresh = list(wanted)
        if 1 in tape.evaluated:
            fresh = [i for i in fresh if not tape.evaluated[i]]
        if len(fresh) < len(wanted):
            for i in sorted(wanted):
                if tape.evaluated[i]:
                    externals[(tape, i)] = None
        if not fresh:
            continue
        needed, boundary = _needed(tape, fresh)
        found.append((tape, needed, wanted))
        for i in boundary:
            externals[(tape, i)] = None
        if tape.imports:
            imports = list(tape.imports.values())
            if isinstance(needed, list):
                chosen = set(needed)
                inside = [i in chosen for i in imports]
            else:
                inside = [place >= 0 for place in _positions(needed, imports)]
            for (source, i), used in zip(tape.imports, inside):
                if used:
                    asked.setdefault(source, set()).add(i)
    found.reverse()
    return _number(found, list(externals), sources, numbers)


def _sealed(tape: Tape) -> int:
    return tape.sealed


def _contains(ordered: Array, i: int) -> bool:
    k = int(np.searchsorted(ordered, i))
    return k < len(ordered) and bool(ordered[k] == i)


def _positions(ordered: Array, indices: list[int]) -> list[int]:
    """Where each of these stands in an ascending array; -1 for those that it does not hold."""
    if not len(ordered) or not indices:
        return [-1] * len(indices)
    wanted = np.array(indices, np.int64)
    places = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    places[ordered[places] != wanted] = -1
    found: list[int] = places.tolist()
    return found


def _needed(tape: Tape, asked: list[int]) -> tuple[Any, list[int]]:
    """Unevaluated nodes below these, ascending, and the evaluated ones they rest on."""
    starts = tape.starts
    args = tape.args
    evaluated = tape.evaluated
    n = len(starts)
    limit = _SMALL + n // 64
    seen = set(asked)
    boundary: set[int] = set()
    stack = list(asked)
    while stack:
        i = stack.pop()
        for a in args[starts[i] : starts[i + 1] if i + 1 < n else len(args)]:
            if a not in seen:
                if evaluated[a]:
                    boundary.add(a)
                else:
                    seen.add(a)
                    stack.append(a)
        if len(seen) > limit:
            return _sweep(tape, asked)
    if tape.several:
        seen.update([i + k for i in seen for k in range(1, len(tape.kinds[i].members))])
    return sorted(seen), sorted(boundary)


def _sweep(tape: Tape, asked: list[int]) -> tuple[Array, list[int]]:
    """The same by array operations: drop what nobody uses until nothing more can be dropped."""
    starts, args = tape.arrays()
    n = len(starts) - 1
    last = max(asked) + 1
    fresh = 1 not in tape.evaluated
    keep = np.frombuffer(tape.evaluated, np.uint8) == 0
    keep[last:] = False
    used = args[: starts[last]] if fresh else args[np.repeat(keep, np.diff(starts))]
    wanted = np.zeros(n, bool)
    wanted[asked] = True
    uses = np.bincount(used, minlength=n)
    dead = np.flatnonzero(keep & (uses == 0) & ~wanted)
    while len(dead):
        keep[dead] = False
        if len(dead) < 8:
            dead = _unused(dead.tolist(), tape, uses, keep, wanted)
            continue
        freed = args[ranges(starts[dead], starts[dead + 1] - starts[dead])]
        np.subtract.at(uses, freed, 1)
        dead = np.sort(freed[(uses[freed] == 0) & keep[freed] & ~wanted[freed]])
        if len(dead):
            dead = dead[np.concatenate([[True], dead[1:] != dead[:-1]])]
    if tape.several:  # the results of a node are computed together
        code, kinds, _ = tape.columns()
        results = np.array([len(k.members) for k in kinds])[code]
        nodes = np.flatnonzero(keep & (results > 1))
        for k in range(1, int(results.max())):
            keep[nodes[results[nodes] > k] + k] = True
    needed = np.flatnonzero(keep)
    if fresh:
        return needed, []
    below = np.zeros(n, bool)
    below[args[np.repeat(keep, np.diff(starts))]] = True
    return needed, np.flatnonzero(below & ~keep).tolist()


def _unused(dead: list[int], tape: Tape, uses: Array, keep: Array, wanted: Array) -> Array:
    """Follow a few long chains of unused nodes one by one; returns no further candidates."""
    while dead:
        i = dead.pop()
        keep[i] = False
        for a in tape.arguments(i):
            uses[a] -= 1
            if uses[a] == 0 and keep[a] and not wanted[a]:
                dead.append(a)
    return np.zeros(0, np.int64)


def _number(
    found: list[tuple[Tape, Any, set[int]]],
    externals: list[tuple[Tape, int]],
    root_tapes: list[Tape],
    root_indices: list[int],
) -> Graph:
    graph = Graph()
    total = sum(len(needed) for _, needed, _ in found)
    codes: dict[Kind, int] = {}
    places: dict[Tape, dict[int, int]] = {}  # numbers of what is asked for across tapes
    shared: dict[Any, int] = {}
    for tape, i in externals:
        places.setdefault(tape, {})[i] = len(graph.externals)
        graph.externals.append(tape.location(i))
        kind = externals_kind(tape.kinds[i].type)
        graph.code.append(codes.setdefault(kind, len(codes)))
        graph.starts.append(0)
        graph.rows.append(tape.rows[i])
    if total <= _SMALL:
        for tape, needed, _ in found:
            _number_few(graph, tape, needed, codes, places, shared)
    else:
        _number_many(graph, found, codes, places, shared)
    graph.kinds = list(codes)
    last: Tape | None = None
    place: dict[int, int] = {}
    for tape, i in zip(root_tapes, root_indices):
        if tape is not last:
            last = tape
            place = places[tape]
        graph.roots.append(place[i])
    return graph


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
    needed: Any,
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
    found: list[tuple[Tape, Any, set[int]]],
    codes: dict[Kind, int],
    places: dict[Tape, dict[int, int]],
    shared: dict[Any, int],
) -> None:
    code_parts = [np.asarray(graph.code, np.int64)]
    arg_parts = [np.zeros(0, np.int64)]
    count_parts = [np.zeros(len(graph.code), np.int64)]
    row_parts = [np.asarray(graph.rows, np.int64)]
    next_number = len(graph.code)
    for tape, listed, wanted in found:
        needed = np.asarray(listed, np.int64)
        starts, args = tape.arrays()
        place = places.setdefault(tape, {})
        numbers_of = np.full(len(starts) - 1, -1, np.int64)
        own = np.ones(len(needed), bool)
        for i, number in place.items():
            numbers_of[i] = number
        imports = list(tape.imports.values())
        there: list[int] = []
        theirs: list[int] = []
        for k, position in enumerate(_positions(needed, imports)):
            if position >= 0:
                x = tape.payloads[imports[k]]
                there.append(position)
                theirs.append(places[x.tape][x.index])
        if there:
            numbers_of[needed[there]] = theirs
            own[there] = False
        repeated: list[int] = []
        for i in tape.shared.values():
            if tape.kinds[i].shared and _contains(needed, i):
                known = shared.get((tape.kinds[i], i in tape.unrecorded), -1)
                if known != -1:
                    numbers_of[i] = known
                    own[np.searchsorted(needed, i)] = False
                    repeated.append(i)
        picked = needed if own.all() else needed[own]
        numbers = np.arange(next_number, next_number + len(picked))
        next_number += len(picked)
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
        for i in tape.shared.values():
            number = int(numbers_of[i])
            if number >= 0:
                if isinstance(tape.payloads[i], Leaf):
                    graph.leaves[number] = tape.payloads[i]
                if tape.kinds[i].shared:
                    shared.setdefault((tape.kinds[i], i in tape.unrecorded), number)
        if tape.unrecorded:
            frozen = numbers_of[list(tape.unrecorded)]
            graph.frozen.update(frozen[frozen >= 0].tolist())
        asked = list(wanted)
        place.update(zip(asked, numbers_of[asked].tolist()))
        if repeated:
            picked = np.concatenate([picked, np.array(repeated, np.int64)])
            numbers = numbers_of[picked]
        graph.tapes.append((tape, picked, numbers))
    graph.code = np.concatenate(code_parts)
    graph.args = np.concatenate(arg_parts)
    graph.starts = np.concatenate([[0], np.cumsum(np.concatenate(count_parts))])
    graph.rows = np.concatenate(row_parts)


def ranges(first: Array, lengths: Array) -> Array:
    """The concatenation of ``first[k], first[k] + 1, ...`` (lengths[k] numbers each)."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    numbers: Array = np.arange(total) + np.repeat(first - ends + lengths, lengths)
    return numbers


def stable_order(keys: Array) -> Array:
    """`np.argsort(keys, kind="stable")` of whole numbers >= 0: by 16 bits at a time, where few."""
    highest = int(keys.max()) if len(keys) else 0
    if highest >> 32:
        return np.argsort(keys, kind="stable")
    result: Array = np.argsort(keys.astype(np.uint16), kind="stable")
    if highest >> 16:
        high = (keys >> 16).astype(np.uint16)[result]
        result = result[np.argsort(high, kind="stable")]
    return result
