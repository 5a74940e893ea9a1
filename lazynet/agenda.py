"""Batches one after another, for nodes whose kinds depend on each other in a cycle.

Levels count the nodes of a kind along paths; they give the lower bound, and the agenda its rule.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from lazynet.kinds import Array
from lazynet.tape import packed, small, stable_order, unique

if TYPE_CHECKING:
    from mypy_extensions import i64

_CELLS = 32_000_000
"""Entries of the table of same-kind levels held at once (128 MB)."""
_NARROW = 220
"""Nodes of one depth, times kinds and 6, from which on array operations beat a loop."""


class Part:
    """Some nodes of the graph, renumbered from 0 in the same order, with the edges among them.

    Edges are sorted by their end.
    """

    __slots__ = ("code", "dst", "nodes", "src")

    def __init__(self, nodes: Array, code: Array, src: Array, dst: Array) -> None:
        self.nodes = nodes
        self.code = code
        self.src = src
        self.dst = dst

    def pick(self, mask: Array, code: Array | None = None) -> Part:
        """The part of this part where the mask holds."""
        chosen = np.flatnonzero(mask)
        src, dst = within(chosen, self.src, self.dst, len(mask))
        return Part(self.nodes[chosen], (self.code if code is None else code)[chosen], src, dst)


def within(nodes: Array, src: Array, dst: Array, n: int) -> tuple[Array, Array]:
    """The edges among these (ascending) nodes, in their numbering."""
    number = np.full(n, -1, np.int64)
    number[nodes] = np.arange(len(nodes))
    s, d = number.take(src), number.take(dst)
    inside = np.flatnonzero((s | d) >= 0)  # picked by a mask it would take four times as long
    return (s, d) if len(inside) == len(s) else (s.take(inside), d.take(inside))


def compact(code: Array) -> tuple[Array, int]:
    """The codes renumbered from 0 in order of first appearance."""
    values, first, inverse = unique(code)
    position = np.empty(len(values), np.int64)
    position[np.argsort(first)] = np.arange(len(values))
    return position[inverse], len(values)


def same_kind_levels(part: Part, depth: Array, size: int) -> tuple[Array, int]:
    """Per node, how many nodes of its kind the richest path up to it holds; and the lower bound.

    Exact: a table of counts, nodes by kinds, swept depth by depth.
    """
    n = len(depth)
    deepest = int(depth.max())
    if size == 1:
        return depth + 1, deepest + 1
    if n * (size + 6) < _NARROW * (deepest + 1):
        return _levels_one_by_one(part, size)
    level = np.ones(n, np.int64)
    arity = np.bincount(part.dst, minlength=n)
    most = int(arity.max())
    # Of one depth, what has the most arguments comes first: those that have another are then a
    # stretch of the table, from the beginning of the depth on.
    by_depth = stable_order(depth * (most + 1) + (most - arity))
    place = np.empty(n, np.int64)
    place[by_depth] = np.arange(n)
    bounds = np.searchsorted(depth[by_depth], np.arange(deepest + 2))
    node_bounds: list[int] = bounds.tolist()
    first = (np.cumsum(arity) - arity)[by_depth]
    arity = arity[by_depth]
    sources: list[Array] = []  # by position of the argument
    cuts: list[list[int]] = []
    having = np.arange(node_bounds[1], n)  # what has no arguments is what lies at depth 0
    for position in range(most):
        having = having[arity[having] > position]
        sources.append(place[part.src[first[having] + position]])
        cuts.append(np.searchsorted(having, bounds).tolist())
    code = part.code[by_depth]
    wide = max(1, _CELLS // n)
    counting: type = np.int16 if deepest < 32_000 else np.int32
    mine = np.arange(n)
    for low in range(0, size, wide):
        columns = min(size, low + wide) - low
        if columns < size:
            mine = np.flatnonzero((code >= low) & (code < low + columns))
        cells = mine * columns + (code.take(mine) - low)
        flat: Array = np.zeros(n * columns, counting)
        flat[cells] = 1
        table = flat.reshape(n, columns)
        for d in range(1, deepest + 1):
            a, b = node_bounds[d], node_bounds[d + 1]
            rows = table[a:b]
            best = table.take(sources[0][cuts[0][d] : cuts[0][d + 1]], 0)
            for position in range(1, most):
                c, e = cuts[position][d], cuts[position][d + 1]
                if c == e:
                    break
                part_of = best if e - c == len(best) else best[: e - c]
                np.maximum(part_of, table.take(sources[position][c:e], 0), out=part_of)
            np.add(rows, best, out=rows)
        level[by_depth.take(mine)] = flat.take(cells)
    longest = np.zeros(size, np.int64)
    np.maximum.at(longest, part.code, level)
    return level, int(longest.sum())


def _levels_one_by_one(part: Part, size: int) -> tuple[Array, int]:
    """The same where few nodes have the same depth."""
    n = len(part.nodes)
    code: list[int] = part.code.tolist()
    sources: list[int] = part.src.tolist()
    arity: list[int] = np.bincount(part.dst, minlength=n).tolist()
    table: list[list[int]] = []
    level = [0] * n
    longest = [0] * size
    kinds: i64 = size
    end: i64 = 0
    for i in range(n):
        e: i64 = end
        end += arity[i]
        if e == end:
            row = [0] * size
        else:
            last: i64 = sources[e]
            row = table[last].copy()
            e += 1
            while e < end:
                source: i64 = sources[e]
                e += 1
                if source != last:
                    last = source
                    other = table[source]
                    c: i64 = 0
                    while c < kinds:
                        count: i64 = other[c]
                        known: i64 = row[c]
                        if count > known:
                            row[c] = count
                        c += 1
        k = code[i]
        own: i64 = row[k] + 1
        row[k] = own
        level[i] = own
        if own > longest[k]:
            longest[k] = own
        table.append(row)
    return np.array(level, np.int64), sum(longest)


def agenda(part: Part, depth: Array, level: Array, size: int) -> list[Array]:
    """Batches chosen one after another, the last one first, among kinds with waiting nodes.

    A node waits when all that use it are placed. First choice: a kind whose nodes of the highest
    level left wait in full, since that batch lowers the lower bound of what is left by one. Among
    those, and else, the kind of which the largest share waits, high levels weighing most, times
    the longest path up to one that waits: what comes late anyway may gather more of its kind, what
    has much before it may not wait. Ties go to the kind recorded first.
    """
    n = len(part.nodes)
    top = int(level.max()) + 1
    uses = np.bincount(part.src, minlength=n)
    weights: Array = (np.arange(top) / top) ** 4
    weight_at: list[float] = weights.tolist()  # by level
    rest: list[float] = np.bincount(part.code, weights[level], minlength=size).tolist()
    # by kind and level, those that do not wait yet
    coming: list[int] = np.bincount(part.code * top + level, minlength=size * top).tolist()
    kinds, far_kinds = small(part.code)
    levels = small(level)
    depths = small(depth + 1)
    arity = np.bincount(part.dst, minlength=n)
    arities, far_arities = small(arity)
    begins: list[int] = (np.cumsum(arity) - arity).tolist()
    # Twice the distance, and 1 where the argument has no other use, as most have.
    backs, far_backs = small(2 * (part.dst - part.src) + (uses[part.src] == 1))
    missing: list[int] = uses.tolist()
    highest = [top - 1] * size  # level of those that do not wait yet
    peak = [0] * size  # level of those that wait
    longest = [0] * size  # path up to one that waits
    share = [0.0] * size
    counted = [0] * size  # of those that wait, the ones in `peak`, `longest` and `share`
    waiting: list[list[int]] = [[] for _ in range(size)]
    active: list[int] = []  # kinds with waiting nodes
    order: list[int] = []
    cuts: list[int] = []
    k: i64
    for i in np.flatnonzero(uses == 0).tolist():
        k = kinds[i]
        if k == 255:
            k = far_kinds[i]
        line = waiting[k]
        if not line:
            active.append(k)
        line.append(i)
    while active:
        best: i64 = -1
        best_full = False
        most = -1.0
        for k in active:
            line = waiting[k]
            if counted[k] < len(line):
                _count(
                    k, top, line, levels, depths, weight_at, coming, counted, peak, longest, share
                )
            high: i64 = highest[k]
            low: i64 = k * top
            while high > 0 and coming[low + high] == 0:
                high -= 1
            highest[k] = high
            full = peak[k] > high
            if best_full and not full:
                continue
            urgency: float = longest[k] * (share[k] / rest[k] if rest[k] > share[k] else 1.0)
            if full != best_full or urgency > most or (urgency == most and k < best):
                best = k
                best_full = full
                most = urgency
        run = waiting[best]
        run.sort(reverse=True)
        order += run
        cuts.append(len(order))
        active.remove(best)
        waiting[best] = []
        rest[best] -= share[best]
        share[best] = 0.0
        longest[best] = peak[best] = counted[best] = 0
        for i in run:
            u: i64 = i
            count: i64 = arities[u]
            if count:
                if count == 255:
                    count = far_arities[u]
                e: i64 = begins[u]
                end: i64 = e + count
                while e < end:
                    back: i64 = backs[e]
                    if back == 255:
                        back = far_backs[e]
                    e += 1
                    s: i64 = u - (back >> 1)
                    if not back & 1:
                        left: i64 = missing[s]
                        if left > 1:
                            missing[s] = left - 1
                            continue
                    k = kinds[s]
                    if k == 255:
                        k = far_kinds[s]
                    line = waiting[k]
                    if not line:
                        active.append(k)
                    line.append(s)
    nodes = part.nodes[packed(order)[::-1]]
    bounds = [n - c for c in reversed(cuts)] + [n]
    return [nodes[a:b] for a, b in itertools.pairwise(bounds)]


def _count(
    k: i64,
    top: i64,
    line: list[int],
    levels: tuple[bytes, list[int]],
    depths: tuple[bytes, list[int]],
    weight_at: list[float],
    coming: list[int],
    counted: list[int],
    peak: list[int],
    longest: list[int],
    share: list[float],
) -> None:
    """Enters the nodes that wait since this was last done into the sums of their kind."""
    near_levels, far_levels = levels
    near_depths, far_depths = depths
    weight: float = share[k]
    most: i64 = peak[k]
    deepest: i64 = longest[k]
    j: i64 = counted[k]
    end: i64 = len(line)
    while j < end:
        i: i64 = line[j]
        j += 1
        level: i64 = near_levels[i]
        if level == 255:
            level = far_levels[i]
        slot: i64 = k * top + level
        left: i64 = coming[slot]
        coming[slot] = left - 1
        weight += weight_at[level]
        if level > most:
            most = level
        depth: i64 = near_depths[i]
        if depth == 255:
            depth = far_depths[i]
        if depth > deepest:
            deepest = depth
    share[k] = weight
    peak[k] = most
    longest[k] = deepest
    counted[k] = end
