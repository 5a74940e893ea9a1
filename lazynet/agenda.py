"""Batches one after another, for nodes whose kinds depend on each other in a cycle.

Levels count the nodes of a kind along paths; they give the lower bound, and the agenda its rule.
"""

from __future__ import annotations

import itertools

import numpy as np

from lazynet.collect import stable_order, unique
from lazynet.kinds import Array

_CELLS = 32_000_000
"""Entries of the table of same-kind levels held at once (128 MB)."""
_NARROW = 12
"""Nodes of one depth from which on array operations are faster than a loop."""


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
    s, d = number[src], number[dst]
    inside = (s >= 0) & (d >= 0)
    return s[inside], d[inside]


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
    level = np.ones(n, np.int64)
    if size == 1:
        return depth + 1, int(depth.max()) + 1
    if n < _NARROW * (int(depth.max()) + 1):
        return _levels_one_by_one(part, size)
    by_depth = stable_order(depth)
    place = np.empty(n, np.int64)
    place[by_depth] = np.arange(n)
    edge_order = stable_order(place[part.dst])
    src = place[part.src[edge_order]]
    dst = place[part.dst[edge_order]]
    heads = np.flatnonzero(np.concatenate([[True], dst[1:] != dst[:-1]])) if len(dst) else dst
    ends = dst[heads]
    code = part.code[by_depth]
    node_bounds = np.searchsorted(depth[by_depth], np.arange(int(depth.max()) + 2)).tolist()
    head_bounds = np.searchsorted(ends, node_bounds).tolist()
    edge_bounds = np.append(heads, len(dst))
    wide = max(1, _CELLS // n)
    for low in range(0, size, wide):
        columns = min(size, low + wide) - low
        table = np.zeros((n, columns), np.int32)
        mine = (code >= low) & (code < low + columns)
        rows = np.flatnonzero(mine)
        row_bounds = np.searchsorted(rows, node_bounds).tolist()
        for d in range(len(node_bounds) - 1):
            a, b = head_bounds[d], head_bounds[d + 1]
            if b > a:
                s, e = int(edge_bounds[a]), int(edge_bounds[b])
                table[ends[a:b]] = np.maximum.reduceat(table[src[s:e]], heads[a:b] - s, axis=0)
            chosen = rows[row_bounds[d] : row_bounds[d + 1]]
            table[chosen, code[chosen] - low] += 1
        level[by_depth[rows]] = table[rows, code[rows] - low]
    longest = np.zeros(size, np.int64)
    np.maximum.at(longest, part.code, level)
    return level, int(longest.sum())


def _levels_one_by_one(part: Part, size: int) -> tuple[Array, int]:
    """The same where few nodes have the same depth."""
    n = len(part.nodes)
    code = part.code.tolist()
    sources = part.src.tolist()
    first = np.searchsorted(part.dst, np.arange(n + 1)).tolist()
    table: list[list[int]] = []
    level = [0] * n
    longest = [0] * size
    for i in range(n):
        begin = first[i]
        end = first[i + 1]
        if begin == end:
            row = [0] * size
        else:
            row = table[sources[begin]].copy()
            for j in range(begin + 1, end):
                if sources[j] != sources[j - 1]:
                    row = list(map(max, row, table[sources[j]]))
        k = code[i]
        row[k] += 1
        level[i] = row[k]
        if row[k] > longest[k]:
            longest[k] = row[k]
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
    slots = (part.code * top + level).tolist()
    left = np.bincount(part.code * top + level, minlength=size * top).tolist()
    weights = ((level / top) ** 4).tolist()
    rest = np.bincount(part.code, (level / top) ** 4, minlength=size).tolist()
    code = part.code.tolist()
    sources = part.src.tolist()
    first = np.searchsorted(part.dst, np.arange(n + 1)).tolist()
    missing = np.bincount(part.src, minlength=n).tolist()
    arrived = [0] * (size * top)  # waiting nodes by kind and level
    highest = [top * k + top - 1 for k in range(size)]
    waiting: list[list[int]] = [[] for _ in range(size)]
    share = [0.0] * size
    longest = [0] * size
    depths = (depth + 1).tolist()
    active: list[int] = []  # kinds with waiting nodes
    ready = [i for i in range(n) if missing[i] == 0]
    order: list[int] = []
    cuts: list[int] = []
    while len(order) < n:
        for i in ready:
            k = code[i]
            if not waiting[k]:
                active.append(k)
            waiting[k].append(i)
            arrived[slots[i]] += 1
            share[k] += weights[i]
            if depths[i] > longest[k]:
                longest[k] = depths[i]
        best = -1
        best_full = False
        most = -1.0
        for k in active:
            high = highest[k]
            while left[high] == 0:
                high -= 1
            highest[k] = high
            full = arrived[high] == left[high]
            if best_full and not full:
                continue
            urgency = longest[k] * (share[k] / rest[k] if rest[k] > share[k] else 1.0)
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
        longest[best] = 0
        ready = []
        for i in run:
            slot = slots[i]
            left[slot] -= 1
            arrived[slot] -= 1
            for s in sources[first[i] : first[i + 1]]:
                missing[s] -= 1
                if missing[s] == 0:
                    ready.append(s)
    nodes = part.nodes[np.array(order[::-1], np.int64)]
    bounds = [n - c for c in reversed(cuts)] + [n]
    return [nodes[a:b] for a, b in itertools.pairwise(bounds)]
