"""Strongly connected components, against those that networkx finds."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from lazynet.components import ranked, sequence


def expected(size: int, pairs: list[tuple[int, int]]) -> tuple[list[int], list[bool]]:
    graph = nx.DiGraph()
    graph.add_nodes_from(range(size))
    graph.add_edges_from(pairs)
    condensed = nx.condensation(graph)
    members = dict(condensed.nodes(data="members"))
    order = nx.lexicographical_topological_sort(condensed, key=lambda c: min(members[c]))
    rank = [-1] * size
    cyclic = []
    for r, c in enumerate(order):
        for a in members[c]:
            rank[a] = r
        cyclic.append(any(a in members[c] and b in members[c] for a, b in pairs))
    return rank, cyclic


def found(size: int, pairs: list[tuple[int, int]]) -> tuple[list[int], list[bool]]:
    edges = np.unique(np.array([a * size + b for a, b in pairs], np.int64))
    rank, cyclic = ranked(size, edges)
    return rank.tolist(), cyclic.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_random_graphs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    several = 0
    for _ in range(60):
        size = int(rng.integers(1, 30))
        pairs = rng.integers(size, size=(int(rng.integers(0, 2 * size)), 2)).tolist()
        pairs = [(a, b) for a, b in pairs]
        assert found(size, pairs) == expected(size, pairs)
        several += 1 < len(found(size, pairs)[1]) < size
    assert several > 10


@pytest.mark.parametrize("seed", range(5))
def test_sequences_of_random_graphs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = 0
    for _ in range(60):
        size = int(rng.integers(1, 30))
        edges = np.unique(rng.integers(size * size, size=int(rng.integers(0, 2 * size))))
        pairs = [(int(e) // size, int(e) % size) for e in edges]
        graph = nx.DiGraph()
        graph.add_edges_from(pairs)
        order = sequence(size, edges)
        cycles = {a for c in nx.strongly_connected_components(graph) if len(c) > 1 for a in c}
        cycles |= {a for a, b in pairs if a == b}
        behind = {b for a in cycles for b in nx.descendants(graph, a)} | cycles
        assert sorted(order) == sorted(set(range(size)) - behind)
        place = {a: k for k, a in enumerate(order)}
        assert all(place[a] < place[b] for a, b in pairs if b in place)
        whole += not cycles
    assert 5 < whole < 55


def test_small_cases() -> None:
    assert found(0, []) == ([], [])
    assert found(2, []) == ([0, 1], [False, False])
    assert found(2, [(1, 0)]) == ([1, 0], [False, False])
    assert found(1, [(0, 0)]) == ([0], [True])
    assert found(3, [(0, 2), (2, 0), (2, 1)]) == ([0, 1, 0], [True, False])


def test_a_cycle_of_ten_thousand_needs_no_recursion() -> None:
    size = 10_000
    chain = [(a, a + 1) for a in range(size - 1)]
    assert found(size, chain)[0] == list(range(size))
    assert found(size, [*chain, (size - 1, 0)]) == ([0] * size, [True])
