"""Rows that earlier evaluations computed, and an evaluation needs: copied in before it runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.backend import beside, on_device, put_rows, take_rows, to_device, to_host
from lazynet.collect import Graph
from lazynet.evaluation import Evaluation, Link
from lazynet.kinds import Array
from lazynet.routine import Routine


def find_externals(evaluation: Evaluation, graph: Graph) -> list[Array | None]:
    """Find the rows that earlier evaluations computed, and make links of them.

    Returns:
        For each link its rows, where they come from another device; None where they lie on this
        one. Shared values are taken over at once.
    """
    layout = evaluation.layout
    device = evaluation.device
    arenas = layout.arena[: len(graph.externals)].tolist()
    groups: dict[tuple[Any, int], tuple[list[int], list[int]]] = {}
    for number, (source, there) in enumerate(graph.externals):
        arena = arenas[number]
        if arena < 0:
            evaluation.shared[number] = to_device(source.shared[there], device)
            evaluation.borrowed.append((number, source, there))
            continue
        theirs, ours = groups.setdefault((source, arena), ([], []))
        theirs.append(there)
        ours.append(number)
    found: list[Array | None] = []
    for (source, our_arena), (theirs, ours) in groups.items():
        there_, here = np.array(theirs, np.int64), np.array(ours, np.int64)
        their_arena = int(source.layout.arena[theirs[0]])  # of one width and dtype: one arena
        link = Link(
            source,
            their_arena,
            source.layout.rows_of(there_),
            our_arena,
            layout.rows_of(here),
        )
        evaluation.links.append(link)
        if source.device == device:
            found.append(None)
        else:
            with on_device(source.device, source.mirror):
                found.append(to_host(take_rows(source.arenas[their_arena], link.theirs)))
    return found


def copy_externals(evaluation: Evaluation, found: list[Array | None]) -> None:
    """Rows that earlier evaluations computed: once each, one gather per source and arena."""
    for link, rows in zip(evaluation.links, found):
        target = evaluation.arenas[link.arena]
        if rows is None:
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
