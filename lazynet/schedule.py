"""Which nodes run together, and in which order: a pure function of the graph.

A batch is a set of nodes of one kind that do not depend on one another. The graph is contracted to
its kinds; a kind outside any cycle of that graph runs as one batch. Within a strongly connected
component the nodes are laid out by depth; where that is not provably the fewest batches, they are
by the number of nodes of their kind below them, if that can be; else the agenda makes a second
plan, and the smaller one is taken. All in linear time.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from lazynet.agenda import Part, agenda, compact, same_kind_levels, within
from lazynet.collect import Graph
from lazynet.components import ranked, sequence
from lazynet.kinds import Array, Kind
from lazynet.tape import packed, ranges, small, stable_order

if TYPE_CHECKING:
    from mypy_extensions import i64

_LARGE = 200_000
"""Nodes times kinds from which on a cheap lower bound is tried before the exact one."""


_WIDE = 64
"""Nodes for each batch from which on a plan by height is tried before the agenda."""


class Schedule:
    """Batches in execution order.

    Attributes:
        order: Scheduled nodes, batch after batch, in order of recording within a batch.
        bounds: Where each batch begins in `order`; one entry more than batches.
        shared: Nodes whose value every row shares, in order; they run before all batches.
        alias: Per node, whether it is only a pointer to rows of others.
        pointer: Per node, the node it points at (itself unless it is such an alias of one node).
        rebatched: For aliases of several nodes, these.
        edges: From and to, between computed nodes; aliases are looked through.
        autobatch: Whether nodes may share a batch.
    """

    __slots__ = (
        "_graph",
        "_lower_bound",
        "alias",
        "autobatch",
        "bounds",
        "edges",
        "order",
        "pointer",
        "rebatched",
        "shared",
    )

    alias: Array
    autobatch: bool
    bounds: Array
    edges: tuple[Array, Array]
    order: Array
    pointer: Array
    shared: list[int]
    _graph: Graph

    def __init__(self) -> None:
        self._lower_bound = -1
        self.rebatched: dict[int, Array] = {}

    def lower_bound(self) -> int:
        """No plan has fewer batches: the sum over kinds of the longest path of that kind.

        That holds for nodes that may share a batch: without autobatch, plans have more.
        """
        if self._lower_bound < 0:
            graph, (src, dst) = self._graph, self.edges
            code = np.asarray(graph.code, np.int64)
            nodes = np.sort(self.order)
            part = Part(nodes, code[nodes], *within(nodes, src, dst, len(code)))
            self._lower_bound = _bound(part) + len(self.shared)
        return self._lower_bound


def schedule(graph: Graph, autobatch: bool = True) -> Schedule:
    """Batches for the graph, or with autobatch=False one batch per node."""
    code, starts, args, _ = graph.arrays()
    n = len(code)
    kinds = graph.kinds
    result = Schedule()
    result.autobatch = autobatch
    result.alias = np.array([_is_alias(k) for k in kinds], bool)[code] if n else np.zeros(0, bool)
    shared = np.array([k.shared for k in kinds], bool)[code] if n else np.zeros(0, bool)
    result.pointer, src, dst = _edges(result, kinds, code, starts, args)
    result.edges = (src, dst)
    leaf = np.zeros(n, bool)
    leaf[list(graph.leaves)] = True
    outside = np.arange(n) < len(graph.externals)
    result.shared = np.flatnonzero(shared & ~leaf & ~outside).tolist()
    nodes = np.flatnonzero(~(result.alias | shared | leaf | outside))
    s, d = within(nodes, src, dst, n)
    part = Part(nodes, code[nodes], s, d)
    if not autobatch:
        result.order = nodes
        result.bounds = np.arange(len(nodes) + 1)
    else:
        batches = batches_of(part)
        result.order = np.concatenate([np.zeros(0, np.int64), *batches])
        result.bounds = np.concatenate([[0], np.cumsum([len(b) for b in batches])]).astype(np.int64)
    result._graph = graph_codes = Graph()
    graph_codes.code = code
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
        if several.any():
            result.rebatched = _several(np.flatnonzero(several), several, pointer, starts, args)
        real = np.flatnonzero(~result.alias.take(dst))
        src, dst = pointer.take(src.take(real)), dst.take(real)
        if result.rebatched:
            src, dst = _look_through(result.rebatched, n, src, dst)
    return pointer, src, dst


def _several(
    nodes: Array, several: Array, pointer: Array, starts: Array, args: Array
) -> dict[int, Array]:
    """For aliases of several nodes, these."""
    lengths = starts[nodes + 1] - starts[nodes]
    flat = pointer[args[ranges(starts[nodes], lengths)]]
    nested = bool(several[flat].any())
    result: dict[int, Array] = {}
    begin = 0
    for i, end in zip(nodes.tolist(), np.cumsum(lengths).tolist()):
        sources = flat[begin:end]
        if nested and several[sources].any():
            sources = np.concatenate([result.get(int(a), np.array([a])) for a in sources])
        result[i] = sources
        begin = end
    return result


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
    counts = length.take(src)
    return flat.take(ranges(first.take(src), counts)), np.repeat(dst, counts)


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
        if len(_rank_cache) >= 4096:
            _rank_cache.clear()
        found = _rank_cache[key] = ranked(size, pairs)
    return found


def _pairs(code: Array, part: Part, size: int) -> Array:
    """The distinct edges between codes: ``a * size + b`` for one from a to b, ascending."""
    pairs = code.take(part.src) * size + code.take(part.dst)
    if size <= 2048:
        present = np.zeros(size * size, bool)
        present[pairs] = True
        return np.flatnonzero(present)
    return np.unique(pairs)


def batches_of(part: Part) -> list[Array]:
    """Batches of a part, in order: its nodes by their codes, which stand for kinds."""
    if not len(part.nodes):
        return []
    code, size = compact(part.code)
    own = Part(part.nodes, code, part.src, part.dst)
    rank, cyclic = _ranks(size, _pairs(code, own, size))
    ranks = rank[code]
    welded = cyclic[ranks]
    depth = np.zeros(len(code), np.int64)
    inner = np.flatnonzero((ranks.take(own.src) == ranks.take(own.dst)) & welded.take(own.dst))
    if len(inner):
        depth = _depths(len(code), own.src.take(inner), own.dst.take(inner))
    span = int(depth.max()) + 1
    key = (ranks * span + depth) * size + code
    order = stable_order(key)
    ordered = key[order]
    cuts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    nodes = part.nodes[order]
    heads = np.concatenate([[0], cuts])
    bounds = [*heads.tolist(), len(nodes)]
    layers = [nodes[a:b] for a, b in itertools.pairwise(bounds)]
    if not cyclic.any():
        return layers
    batches: list[Array] = []
    ends = np.searchsorted(ranks[order[heads]], np.arange(len(cyclic)), side="right").tolist()
    first = 0
    for r, end in enumerate(ends):
        chosen = layers[first:end]
        if cyclic[r] and len(chosen) > 1:
            chosen = _component(own, ranks == r, chosen, depth)
        batches += chosen
        first = end
    return batches


def _depths(n: int, src: Array, dst: Array) -> Array:
    """Longest path to each node along these edges, which are sorted by their end."""
    depth = [0] * n
    steps, far_steps = small(np.diff(dst, prepend=0))
    backs, far_backs = small(dst - src)
    d: i64 = 0
    deepest: i64 = 0
    e: i64 = 0
    end: i64 = len(steps)
    while e < end:
        step: i64 = steps[e]
        if step:
            if step == 255:
                step = far_steps[e]
            if deepest:
                depth[d] = deepest
                deepest = 0
            d += step
        back: i64 = backs[e]
        if back == 255:
            back = far_backs[e]
        e += 1
        below: i64 = depth[d - back] + 1
        if below > deepest:
            deepest = below
    if deepest:
        depth[d] = deepest
    return packed(depth)


def _component(own: Part, mask: Array, layers: list[Array], depth: Array) -> list[Array]:
    """The smallest plan found for nodes whose kinds form a cycle; `layers` is the one by depth."""
    inner_depth = depth[mask]
    deepest = int(inner_depth.max()) + 1
    if len(layers) == deepest:
        return layers  # one kind at each depth: the longest path needs every one of these batches
    inner = own.pick(mask)
    inner.code, size = compact(inner.code)
    if (
        len(inner_depth) * size > _LARGE
        and len(layers) <= 2 * deepest
        and _certain(inner, inner_depth, size) == len(layers)
    ):
        return layers
    level, bound = same_kind_levels(inner, inner_depth, size)
    if len(layers) == bound:
        return layers
    plan = _by_level(inner, level)
    if not plan and bound * _WIDE < len(level):
        plan = _by_height(inner, size, bound)
    if not plan:
        plan = agenda(inner, inner_depth, level, size)
    return plan if len(plan) < len(layers) else layers


def _by_level(part: Part, level: Array) -> list[Array]:
    """One batch for each kind and level, as few as there can be; none where they form a cycle."""
    group, size = compact(part.code * (int(level.max()) + 1) + level)
    groups = sequence(size, _pairs(group, part, size))
    if len(groups) < size:
        return []
    rank = np.empty(size, np.int64)
    rank[groups] = np.arange(size)
    return _batches(part.nodes, rank.take(group), size)


def _by_height(part: Part, size: int, bound: int) -> list[Array]:
    """One batch for each kind and longest path from it; none where these are more than `bound`."""
    last = len(part.nodes) - 1
    order = stable_order(last - part.src)
    depth = _depths(last + 1, last - part.dst[order], last - part.src[order])
    height = int(depth.max()) - depth[::-1]
    batch, count = compact(height * size + part.code)
    if count > bound:
        return []
    rank = np.empty(count, np.int64)
    rank[batch] = height * size + part.code
    return _batches(part.nodes, np.argsort(np.argsort(rank))[batch], count)


def _batches(nodes: Array, batch: Array, count: int) -> list[Array]:
    """The nodes of each of `count` batches, given the batch of each node."""
    ordered = nodes[stable_order(batch)]
    bounds = [0, *np.cumsum(np.bincount(batch, minlength=count)).tolist()]
    return [ordered[a:b] for a, b in itertools.pairwise(bounds)]


def _certain(part: Part, depth: Array, size: int) -> int:
    """A lower bound that is cheap, and often the best: by what the deepest nodes rest on.

    Of each kind one node of the greatest depth is taken.
    """
    n = len(depth)
    order = stable_order(depth)
    deepest = np.zeros(size, np.int64)
    deepest[part.code[order]] = order  # the last one written stays
    marks = [False] * n
    for i in deepest.tolist():
        marks[i] = True
    arities, far_arities = small(np.bincount(part.dst, minlength=n))
    backs, far_backs = small(part.dst - part.src)
    e: i64 = len(backs)
    u: i64 = n
    while u > 0:
        u -= 1
        count: i64 = arities[u]
        if count == 255:
            count = far_arities[u]
        begin: i64 = e - count
        if marks[u]:
            while e > begin:
                e -= 1
                back: i64 = backs[e]
                if back == 255:
                    back = far_backs[e]
                marks[u - back] = True
        e = begin
    marked = np.frombuffer(bytes(marks), bool)
    return same_kind_levels(part.pick(marked), depth[marked], size)[1]


class Cycle:
    """Nodes of kinds that depend on one another in a cycle: batches one after another.

    Attributes:
        nodes: Positions in the part.
        depth: Per node, nodes before it on the longest path within the cycle.
        level: Per node, how many nodes of its kind the richest path up to it holds.
        bound: No plan has fewer batches for them.
    """

    __slots__ = ("bound", "depth", "level", "nodes")

    def __init__(self, nodes: Array, depth: Array, level: Array, bound: int) -> None:
        self.nodes = nodes
        self.depth = depth
        self.level = level
        self.bound = bound


def cycles_of(part: Part) -> tuple[list[Cycle], int]:
    """The cycles of a part, in order; and the number of kinds outside them, one batch each."""
    code, size = compact(part.code)
    own = Part(part.nodes, code, part.src, part.dst)
    rank, cyclic = _ranks(size, _pairs(code, own, size))
    ranks = rank[code]
    cycles = []
    for r in np.flatnonzero(cyclic).tolist():
        mask = ranks == r
        inner = own.pick(mask)
        inner.code, count = compact(inner.code)
        depth = _depths(len(inner.nodes), inner.src, inner.dst)
        level, bound = same_kind_levels(inner, depth, count)
        cycles.append(Cycle(np.flatnonzero(mask), depth, level, bound))
    return cycles, len(cyclic) - len(cycles)


def _bound(part: Part) -> int:
    if not len(part.nodes):
        return 0
    cycles, others = cycles_of(part)
    return others + sum([c.bound for c in cycles])


def split_by_shared(graph: Graph, plan: Schedule, code: Array, starts: Array, args: Array) -> Array:
    """Batch bounds, with batches cut where nodes of a kind hold different shared nodes.

    That happens when a value computed from parameters was evaluated before one of them changed,
    and is used beside its successor: the kind is the same, the value is not.
    """
    identities: dict[int, int] = {}
    for i, c in enumerate(code.tolist() if _any_twice(graph, code) else ()):
        t = graph.kinds[c].type
        if t.shared and identities.setdefault(t.shared, i) != i:
            identities[t.shared] = -1
    if -1 not in identities.values():
        return plan.bounds
    cuts = [0]
    for b in range(len(plan.bounds) - 1):
        nodes = plan.order[plan.bounds[b] : plan.bounds[b + 1]]
        kind = graph.kinds[code[nodes[0]]]
        places = [p for p, t in enumerate(kind.args) if t.shared and not kind.op.nary]
        if places:
            keys = args[starts[nodes][:, None] + np.array(places)]
            group = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
            order = np.argsort(group, kind="stable")
            plan.order[plan.bounds[b] : plan.bounds[b + 1]] = nodes[order]
            ordered = group[order]
            inner = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1 + plan.bounds[b]
            cuts += inner.tolist()
        cuts.append(int(plan.bounds[b + 1]))
    return np.array(cuts, np.int64)


def _any_twice(graph: Graph, code: Array) -> bool:
    """Whether two shared nodes of the graph could have one identity."""
    identities = [
        graph.kinds[c].type.shared
        for c in code[: len(graph.externals)].tolist()
        if graph.kinds[c].type.shared
    ]
    if graph.frozen:
        several = np.array([k.type.shared != 0 for k in graph.kinds], bool)
        numbers = np.flatnonzero(several[code]).tolist()
        identities += [i for i in numbers if i in graph.frozen and i not in graph.leaves]
    return bool(identities)
