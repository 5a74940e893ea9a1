"""Rows that earlier evaluations computed, and an evaluation needs: copied in before it runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.backend import beside, on_device, put_rows, take_rows, to_device, to_host
from lazynet.collect import Externals, Graph
from lazynet.evaluation import Evaluation, Link
from lazynet.kinds import Array
from lazynet.routine import Routine


def find_externals(evaluation: Evaluation, graph: Graph) -> list[Array | None]:
    """Find the rows that earlier evaluations computed, and make links of them.

    Returns:
        For each link its rows, where they come from another device; None where they lie on this
        one. Shared values are taken over at once.
    """
    if isinstance(graph.externals, Externals):
        _link_blocks(evaluation, graph.externals)
    else:
        _link_pairs(evaluation, graph.externals)
    found: list[Array | None] = []
    for link in evaluation.links:
        source = link.source
        if source.device == evaluation.device:
            found.append(None)
        else:
            with on_device(source.device, source.mirror):
                found.append(to_host(take_rows(source.arenas[link.their_arena], link.theirs)))
    return found


def _link_pairs(evaluation: Evaluation, externals: list[tuple[Any, int]]) -> None:
    layout = evaluation.layout
    arenas = layout.arena[: len(externals)].tolist()
    groups: dict[tuple[Any, int], tuple[list[int], list[int]]] = {}
    for number, (source, there) in enumerate(externals):
        arena = arenas[number]
        if arena < 0:
            _borrow(evaluation, number, source, there)
            continue
        theirs, ours = groups.setdefault((source, arena), ([], []))
        theirs.append(there)
        ours.append(number)
    for (source, arena), (theirs, ours) in groups.items():
        _link(evaluation, source, arena, np.array(theirs, np.int64), np.array(ours, np.int64))


def _link_blocks(evaluation: Evaluation, externals: Externals) -> None:
    arenas = evaluation.layout.arena[: len(externals)]
    for k, source in enumerate(externals.evaluations):
        start, stop = externals.bounds[k], externals.bounds[k + 1]
        theirs, own = externals.numbers[k], arenas[start:stop]
        for arena in set(own.tolist()):
            chosen = np.flatnonzero(own == arena)
            if arena >= 0:
                _link(evaluation, source, arena, theirs[chosen], chosen + start)
                continue
            for i in chosen.tolist():
                _borrow(evaluation, start + i, source, int(theirs[i]))


def _borrow(evaluation: Evaluation, number: int, source: Evaluation, there: int) -> None:
    evaluation.shared[number] = to_device(source.shared[there], evaluation.device)
    evaluation.borrowed.append((number, source, there))


def _link(
    evaluation: Evaluation, source: Evaluation, arena: int, theirs: Array, ours: Array
) -> None:
    """Make a link of nodes of one width and dtype, which lie in one arena, here and there."""
    evaluation.links.append(
        Link(
            source,
            int(source.layout.arena[theirs[0]]),
            source.layout.rows_of(theirs),
            arena,
            evaluation.layout.rows_of(ours),
        )
    )


def copy_externals(evaluation: Evaluation, found: list[Array | None]) -> None:
    """Rows that earlier evaluations computed: once each, one gather per source and arena."""
    for link, rows in zip(evaluation.links, found):
        target = evaluation.arenas[link.arena]
        if rows is None:
            start, count = int(link.ours[0]) if len(link.ours) else 0, len(link.ours)
            whole = count and evaluation.mirror is None and int(link.ours[-1]) - start == count - 1
            if whole:  # they ascend, as they were numbered
                source = link.source.arenas[link.their_arena]
                take_rows(source, link.theirs, target[start : start + count])
                continue
            rows = take_rows(link.source.arenas[link.their_arena], link.theirs)
        put_rows(target, link.ours, beside(target, rows))


def copy_few(evaluation: Evaluation, graph: Graph) -> None:
    """The same for a few nodes, one by one."""
    routine: Routine = evaluation.routine
    places = routine.places
    for number, (source, there) in enumerate(graph.externals):
        arena, start, stop, ours = places[number]
        if arena < 0:
            evaluation.shared[number] = source.shared[there]
            evaluation.borrowed.append((number, source, there))
            continue
        layout = source.layout
        their_arena = int(layout.arena[there])
        rows: Any = layout.rebatched.get(there)
        if rows is None:
            first = int(layout.first[there])
            rows = slice(first, first + stop - start)
        evaluation.arenas[arena][start:stop] = source.arenas[their_arena][rows]
        if routine.history:
            evaluation.links.append(Link(source, their_arena, there, arena, ours))
