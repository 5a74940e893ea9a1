"""Which nodes run together, and in which order: a pure function of the graph.

A batch is a set of nodes of one kind that do not depend on one another. The graph is contracted to
its kinds; a kind outside any cycle of that graph runs as one batch. Within a strongly connected
component the nodes are laid out by depth; where that is not provably the fewest batches, the
agenda of `_agenda` makes a second plan, and the smaller one is taken. All in linear time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.collect import Graph, ranges
from lazynet.kinds import Array, Kind

_CELLS = 32_000_000
"""Entries of the table of same-kind levels held at once (128 MB)."""
_NARROW = 12
"""Nodes of one depth from which on array operations are faster than a loop."""


class Schedule:
    """Batches in execution order.

    Attributes:
        order: Scheduled nodes, batch after batch, in order of recording within a batch.
        bounds: Where each batch begins in `order`; one entry more than batches.
        shared: Nodes whose value every row shares, in order; they run before all batches.
        alias: Per node, whether it is only a pointer to rows of others.
        pointer: Per node, the node it points at (itself unless it is such an alias of one node).
        rebatched: For aliases of several nodes, these.
    """

    __slots__ = (
        "_edges",
        "_graph",
        "_lower_bound",
        "alias",
        "bounds",
        "order",
        "pointer",
        "rebatched",
        "shared",
    )

    alias: Array
    bounds: Array
    order: Array
    pointer: Array
    shared: list[int]
    _edges: tuple[Array, Array]
    _graph: Graph

    def __init__(self) -> None:
        self._lower_bound = -1
        self.rebatched: dict[int, Array] = {}

    def lower_bound(self) -> int:
        """No plan has fewer batches: the sum over kinds of the longest path of that kind."""
        if self._lower_bound < 0:
            graph, (src, dst) = self._graph, self._edges
            code = np.asarray(graph.code, np.int64)
            nodes = np.sort(self.order)
            part = _Part(nodes, code[nodes], *_within(nodes, src, dst, len(code)))
            self._lower_bound = _bound(part) + len(self.shared)
        return self._lower_bound


class _Part:
    """Some nodes of the graph, renumbered from 0 in the same order, with the edges among them.

    Edges are sorted by their end.
    """

    __slots__ = ("code", "dst", "nodes", "src")

    def __init__(self, nodes: Array, code: Array, src: Array, dst: Array) -> None:
        self.nodes = nodes
        self.code = code
        self.src = src
        self.dst = dst

    def pick(self, mask: Array, code: Array | None = None) -> _Part:
        """The part of this part where the mask holds."""
        chosen = np.flatnonzero(mask)
        src, dst = _within(chosen, self.src, self.dst, len(mask))
        return _Part(self.nodes[chosen], (self.code if code is None else code)[chosen], src, dst)


def _within(nodes: Array, src: Array, dst: Array, n: int) -> tuple[Array, Array]:
    """The edges among these (ascending) nodes, in their numbering."""
    number = np.full(n, -1, np.int64)
    number[nodes] = np.arange(len(nodes))
    s, d = number[src], number[dst]
    inside = (s >= 0) & (d >= 0)
    return s[inside], d[inside]


def schedule(graph: Graph, autobatch: bool = True) -> Schedule:
    """Batches for the graph, or with autobatch=False one batch per node."""
    code, starts, args, _ = graph.arrays()
    n = len(code)
    kinds = graph.kinds
    result = Schedule()
    result.alias = np.array([_is_alias(k) for k in kinds], bool)[code] if n else np.zeros(0, bool)
    shared = np.array([k.shared for k in kinds], bool)[code] if n else np.zeros(0, bool)
    result.pointer, src, dst = _edges(result, kinds, code, starts, args)
    leaf = np.zeros(n, bool)
    leaf[list(graph.leaves)] = True
    outside = np.arange(n) < len(graph.externals)
    result.shared = np.flatnonzero(shared & ~leaf & ~outside).tolist()
    nodes = np.flatnonzero(~(result.alias | shared | leaf | outside))
    s, d = _within(nodes, src, dst, n)
    part = _Part(nodes, code[nodes], s, d)
    if not autobatch:
        result.order = nodes
        result.bounds = np.arange(len(nodes) + 1)
        result._lower_bound = len(nodes) + len(result.shared)
        return result
    batches = _layout(part, kinds, refine=True)
    result.order = np.concatenate([np.zeros(0, np.int64), *batches])
    result.bounds = np.concatenate([[0], np.cumsum([len(b) for b in batches])]).astype(np.int64)
    result._graph = graph_codes = Graph()
    graph_codes.code = code
    result._edges = (src, dst)
    return result


def _is_alias(kind: Kind) -> bool:
    return kind.op.alias or kind.position > 0


def _edges(
    result: Schedule, kinds: list[Kind], code: Array, starts: Array, args: Array
) -> tuple[Array, Array, Array]:
    """Edges between computed nodes: aliases are looked through."""
    n = len(code)
    counts = np.diff(starts)
    dst = np.repeat(np.arange(n), counts)
    src = args
    pointer = np.arange(n)
    if result.alias.any():
        several = np.array([k.op.alias and k.op.nary for k in kinds], bool)[code]
        single = np.flatnonzero(result.alias & ~several & (counts == 1))
        pointer[single] = args[starts[single]]
        while True:
            further = pointer[pointer]
            if (further == pointer).all():
                break
            pointer = further
        for i in np.flatnonzero(several).tolist():
            parts = [
                result.rebatched.get(a, None) if a in result.rebatched else np.array([a])
                for a in pointer[args[starts[i] : starts[i + 1]]].tolist()
            ]
            result.rebatched[i] = np.concatenate([p for p in parts if p is not None])
        real = ~result.alias[dst]
        src, dst = pointer[src[real]], dst[real]
        if result.rebatched:
            src, dst = _look_through(result.rebatched, n, src, dst)
    return pointer, src, dst


def _look_through(
    rebatched: dict[int, Array], n: int, src: Array, dst: Array
) -> tuple[Array, Array]:
    first = np.arange(n)
    length = np.ones(n, np.int64)
    end = n
    for i, sources in rebatched.items():
        first[i] = end
        length[i] = len(sources)
        end += len(sources)
    flat = np.concatenate([np.arange(n), *rebatched.values()])
    counts = length[src]
    return flat[ranges(first[src], counts)], np.repeat(dst, counts)


# Components of the graph of kinds

_rank_cache: dict[Any, tuple[Array, Array]] = {}


def _ranks(size: int, pairs: Array) -> tuple[Array, Array]:
    """Per kind the rank of its strongly connected component, and per rank whether it is a cycle.

    Arguments lie in components of lower or equal rank. The answer depends on the set of edges
    alone, and is remembered by it.
    """
    key = (size, pairs.tobytes())
    found = _rank_cache.get(key)
    if found is None:
        import networkx as nx  # on the first plan, not with the package: it is slow to import

        graph = nx.DiGraph()
        graph.add_nodes_from(range(size))
        graph.add_edges_from(zip((pairs // size).tolist(), (pairs % size).tolist()))
        condensed = nx.condensation(graph)
        members = condensed.nodes(data="members")
        earliest = {c: min(m) for c, m in members}
        rank = np.empty(size, np.int64)
        order = list(nx.lexicographical_topological_sort(condensed, key=earliest.__getitem__))
        cyclic = np.zeros(len(order), bool)
        for r, c in enumerate(order):
            for k in members[c]:
                rank[k] = r
            cyclic[r] = len(members[c]) > 1
        for a, b in graph.edges():
            if a == b:
                cyclic[rank[a]] = True
        if len(_rank_cache) >= 4096:
            _rank_cache.clear()
        found = _rank_cache[key] = (rank, cyclic)
    return found


def _kind_edges(part: _Part, size: int) -> Array:
    pairs = part.code[part.src] * size + part.code[part.dst]
    if size <= 2048:
        present = np.zeros(size * size, bool)
        present[pairs] = True
        return np.flatnonzero(present)
    return np.unique(pairs)


def _compact(code: Array) -> tuple[Array, int]:
    """The codes renumbered from 0 in order of first appearance."""
    unique, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    position = np.empty(len(unique), np.int64)
    position[np.argsort(first, kind="stable")] = np.arange(len(unique))
    return position[inverse.reshape(-1)], len(unique)


def _layout(part: _Part, kinds: list[Kind] | None, refine: bool) -> list[Array]:
    """Batches of a part, in order. `kinds` are given where its codes number them."""
    if not len(part.nodes):
        return []
    code, size = _compact(part.code)
    own = _Part(part.nodes, code, part.src, part.dst)
    rank, cyclic = _ranks(size, _kind_edges(own, size))
    ranks = rank[code]
    welded = cyclic[ranks]
    depth = np.zeros(len(code), np.int64)
    inner = (ranks[own.src] == ranks[own.dst]) & welded[own.dst]
    if inner.any():
        depth = _depths(len(code), own.src[inner], own.dst[inner])
    span = int(depth.max()) + 1
    key = (ranks * span + depth) * size + code
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    cuts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    if not cyclic.any():
        return [part.nodes[b] for b in np.split(order, cuts)]
    batches: list[Array] = []
    batch_rank = ranks[order[np.concatenate([[0], cuts])]]
    split = np.split(order, cuts)
    first = 0
    for r in range(len(cyclic)):
        last = first
        while last < len(split) and batch_rank[last] == r:
            last += 1
        layers = [part.nodes[b] for b in split[first:last]]
        if cyclic[r] and len(layers) > 1:
            layers = _component(part, own, ranks == r, layers, depth, kinds, refine)
        batches += layers
        first = last
    return batches


def _depths(n: int, src: Array, dst: Array) -> Array:
    """Longest path to each node along these edges, which are sorted by their end."""
    depth = [0] * n
    for s, d in zip(src.tolist(), dst.tolist()):
        below = depth[s] + 1
        if below > depth[d]:
            depth[d] = below
    return np.array(depth, np.int64)


def _component(
    part: _Part,
    own: _Part,
    mask: Array,
    layers: list[Array],
    depth: Array,
    kinds: list[Kind] | None,
    refine: bool,
) -> list[Array]:
    """The smallest plan found for nodes whose kinds form a cycle; `layers` is the one by depth."""
    inner_depth = depth[mask]
    if len(layers) == int(inner_depth.max()) + 1:
        return layers  # one kind at each depth: the longest path needs every one of these batches
    inner = own.pick(mask)
    inner.code, size = _compact(inner.code)
    level, bound = _same_kind_levels(inner, inner_depth, size)
    best = layers
    if refine:
        for codes in _refinements(part.pick(mask), kinds):
            if len(best) == bound:
                break
            plan = _layout(_Part(inner.nodes, codes, inner.src, inner.dst), None, refine=False)
            if len(plan) < len(best):
                best = plan
    if len(best) > bound:
        plan = _agenda(inner, level, size)
        if len(plan) < len(best):
            best = plan
    return best


def _bound(part: _Part) -> int:
    code, size = _compact(part.code)
    own = _Part(part.nodes, code, part.src, part.dst)
    rank, cyclic = _ranks(size, _kind_edges(own, size))
    total = 0
    for r in range(len(cyclic)):
        if not cyclic[r]:
            total += 1
            continue
        inner = own.pick(rank[code] == r)
        inner.code, count = _compact(inner.code)
        depth = _depths(len(inner.nodes), inner.src, inner.dst)
        total += _same_kind_levels(inner, depth, count)[1]
    return total


def _same_kind_levels(part: _Part, depth: Array, size: int) -> tuple[Array, int]:
    """Per node, how many nodes of its kind the richest path up to it holds; and the lower bound.

    Exact: a table of counts, nodes by kinds, swept depth by depth.
    """
    n = len(depth)
    level = np.ones(n, np.int64)
    if size == 1:
        return depth + 1, int(depth.max()) + 1
    if n < _NARROW * (int(depth.max()) + 1):
        return _levels_one_by_one(part, size)
    by_depth = np.argsort(depth, kind="stable")
    place = np.empty(n, np.int64)
    place[by_depth] = np.arange(n)
    edge_order = np.argsort(place[part.dst], kind="stable")
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


def _levels_one_by_one(part: _Part, size: int) -> tuple[Array, int]:
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


def _agenda(part: _Part, level: Array, size: int) -> list[Array]:
    """Batches chosen one after another, the last one first, among kinds with waiting nodes.

    A node waits when all that use it are placed. First choice: a kind whose nodes of the highest
    level left wait in full, since that batch lowers the lower bound of what is left by one. Among
    those, and else, the kind of which the largest share waits, high levels weighing most: what
    waits for more of its kind costs the fewest batches. Ties go to the kind recorded first.
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
        best = -1
        best_full = False
        best_share = -1.0
        for k in active:
            high = highest[k]
            while left[high] == 0:
                high -= 1
            highest[k] = high
            full = arrived[high] == left[high]
            if best_full and not full:
                continue
            waits = share[k] / rest[k] if rest[k] > share[k] else 1.0
            if full != best_full or waits > best_share or (waits == best_share and k < best):
                best = k
                best_full = full
                best_share = waits
        run = waiting[best]
        run.sort(reverse=True)
        order += run
        cuts.append(len(order))
        active.remove(best)
        waiting[best] = []
        rest[best] -= share[best]
        share[best] = 0.0
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
    return np.split(nodes, [n - c for c in cuts[-2::-1]])


def _refinements(part: _Part, kinds: list[Kind] | None) -> list[Array]:
    """Finer codes: parameter-free kinds told apart by the kinds that feed them, once and twice.

    Such a kind (a `tanh` in the head and in the recurrence) welds components together that have
    nothing else in common.
    """
    if kinds is None:
        return []
    bare = np.array([not any(t.shared for t in k.args) for k in kinds], bool)[part.code]
    if not bare.any():
        return []
    code = part.code
    n = len(code)
    result = []
    for _ in range(2):
        top = int(code.max()) + 1
        # a sum of mixed products tells sets of feeding kinds apart; should two collide, they are
        # merely not told apart
        mixed = (code[part.src] + 1) * 0x9E3779B97F & 0xFFFFFFF
        feeds = np.bincount(part.dst, mixed, minlength=n).astype(np.int64)
        finer = np.where(bare, feeds * top + code, code)
        code, _ = _compact(finer)
        result.append(code)
    return result
