"""Strongly connected components of a small graph, in a topological order.

Reference: Tarjan, Depth-First Search and Linear Graph Algorithms, SIAM J. Comput. 1(2), 1972.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np

from lazynet.kinds import Array

if TYPE_CHECKING:
    from mypy_extensions import i64


def ranked(size: int, edges: Array) -> tuple[Array, Array]:
    """Per node the rank of its component, and per rank whether that is a cycle.

    Edges lead to components of equal or higher rank. Where several orders are possible, the
    component with the least member comes first.

    Args:
        size: Number of nodes.
        edges: ``a * size + b`` for each edge from a to b, ascending and distinct.
    """
    starts: list[int] = np.searchsorted(edges, np.arange(size + 1) * size).tolist()
    targets: list[int] = (edges % max(size, 1)).tolist()
    least = _components(size, starts, targets)
    missing = [0] * size  # by least member: edges from components that have no rank yet
    members: list[list[int]] = [[] for _ in range(size)]
    cycle = [False] * size
    for a in range(size):
        c = least[a]
        members[c].append(a)
        for b in targets[starts[a] : starts[a + 1]]:
            if least[b] == c:
                cycle[c] = True
            else:
                missing[least[b]] += 1
    ready = [c for c in range(size) if least[c] == c and not missing[c]]  # ascending: a heap
    rank = [0] * size
    cyclic: list[bool] = []
    while ready:
        c = heapq.heappop(ready)
        for a in members[c]:
            rank[a] = len(cyclic)
            for b in targets[starts[a] : starts[a + 1]]:
                other = least[b]
                if other != c:
                    missing[other] -= 1
                    if not missing[other]:
                        heapq.heappush(ready, other)
        cyclic.append(cycle[c])
    return np.array(rank, np.int64), np.array(cyclic, bool)


def sequence(size: int, edges: Array) -> list[int]:
    """The nodes, each after those with edges to it; without those on or behind a cycle.

    Args:
        size: Number of nodes.
        edges: ``a * size + b`` for each edge from a to b, ascending and distinct.
    """
    ends = edges % max(size, 1)
    starts: list[int] = np.searchsorted(edges, np.arange(size + 1) * size).tolist()
    targets: list[int] = ends.tolist()
    incoming = np.bincount(ends, minlength=size)
    missing: list[int] = incoming.tolist()
    found: list[int] = np.flatnonzero(incoming == 0).tolist()
    position: i64 = 0
    while position < len(found):
        a: i64 = found[position]
        position += 1
        e: i64 = starts[a]
        end: i64 = starts[a + 1]
        while e < end:
            b = targets[e]
            e += 1
            left: i64 = missing[b]
            missing[b] = left - 1
            if left == 1:
                found.append(b)
    return found


def _components(size: int, starts: list[int], targets: list[int]) -> list[int]:
    """Per node the least member of its component; targets of a: ``[starts[a]:starts[a + 1]]``."""
    visited = [0] * size  # when a node was reached, counted from 1
    low = [0] * size  # the first node reached that is open and known to be reachable
    least = [-1] * size  # -1: not in a component yet
    position = starts.copy()
    count = 0
    open_nodes: list[int] = []
    for root in range(size):
        path = [] if visited[root] else [root]
        while path:
            a = path[-1]
            if not visited[a]:
                count += 1
                visited[a] = low[a] = count
                open_nodes.append(a)
            e = position[a]
            if e < starts[a + 1]:
                position[a] = e + 1
                b = targets[e]
                if not visited[b]:
                    path.append(b)
                elif least[b] < 0 and visited[b] < low[a]:
                    low[a] = visited[b]
                continue
            path.pop()
            if path and low[a] < low[path[-1]]:
                low[path[-1]] = low[a]
            if low[a] == visited[a]:
                cut = len(open_nodes) - 1
                while open_nodes[cut] != a:
                    cut -= 1
                component = open_nodes[cut:]
                del open_nodes[cut:]
                first = min(component)
                for b in component:
                    least[b] = first
    return least
