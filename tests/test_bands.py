"""`lazynet.inspect.bands`: where the nodes of a large graph go."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np

import lazynet as ln
from lazynet.inspect.bands import levels, place_in_bands
from lazynet.inspect.view import View, view_of

SIZE = (100.0, 36.0)


def recurrent(examples: int, steps: int) -> View:
    model = ln.Model(seed=0)
    W = model.parameter((4, 4), name="W")
    ends = []
    for k in range(examples):
        h = ln.constant(np.zeros(4, "f"))
        for _ in range(1 + (k % steps)):
            h = ln.tanh(W @ h)
        ends.append(ln.sum(h))
    return view_of(ln.mean(ends))


def test_arguments_lie_above_and_a_batch_lies_on_one_level() -> None:
    view = recurrent(9, 4)
    level = levels(view)
    for node in view.nodes:
        assert all(level[a] < level[node.number] for a in node.arguments)
    for batch in view.batches:
        assert len({level[n] for n in batch.nodes}) == 1


def test_boxes_do_not_overlap() -> None:
    view = recurrent(70, 5)
    places = place_in_bands(view, range(len(view.nodes)), SIZE)
    by_row: dict[float, list[float]] = {}
    for x, y in places:
        by_row.setdefault(y, []).append(x)
    rows = sorted(by_row)
    assert min(b - a for a, b in pairwise(rows)) >= SIZE[1]
    for row in by_row.values():
        row.sort()
        assert min([b - a for a, b in pairwise(row)], default=1e9) >= SIZE[0]


def test_the_picture_is_neither_flat_nor_thin() -> None:
    view = recurrent(300, 3)
    places = place_in_bands(view, range(len(view.nodes)), SIZE)
    width = max(x for x, _ in places) - min(x for x, _ in places)
    height = max(y for _, y in places) - min(y for _, y in places)
    assert 0.6 < width / height < 2.5


def test_pointers_to_rows_lie_between_what_they_point_at_and_what_uses_them() -> None:
    xs = ln.tanh(ln.constant(np.ones((5, 3), "f"), batched=True))
    view = view_of(ln.sum([ln.exp(x) for x in ln.unbatch(xs)]))
    level = levels(view)
    pointers = [n for n in view.nodes if n.op == "unbatch"]
    assert len(pointers) == 5
    for node in pointers:
        assert level[node.arguments[0]] < level[node.number] < level[view.roots[0]]


def test_graphs_that_are_folded_into_circles_have_places_too() -> None:
    view = recurrent(40, 6).fold(6)
    assert view.folded in ("kind", "op")
    assert len(place_in_bands(view, range(len(view.nodes)), SIZE)) == len(view.nodes)


def test_thousands_of_nodes_take_no_time_to_speak_of() -> None:
    view = recurrent(250, 12)
    start = time.perf_counter()
    place_in_bands(view, range(len(view.nodes)), SIZE)
    assert len(view.nodes) > 3000 and time.perf_counter() - start < 5
