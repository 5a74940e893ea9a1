"""`lazynet.inspect.layered`: boxes do not overlap, and arrows run through none."""

from __future__ import annotations

import itertools
import random

import pytest

from lazynet.inspect.layered import Placement, Point, place
from lazynet.inspect.scene import curve

Edges = list[tuple[int, int]]


def samples(route: list[Point]) -> list[Point]:
    """Points on the curve of a route."""
    found: list[Point] = []
    x = y = 0.0
    for letter, *numbers in curve(route):
        if letter == "C":
            a, b, c, d, e, f = numbers
            for k in range(1, 21):
                t = k / 20
                u = 1 - t
                found.append(
                    (
                        u**3 * x + 3 * u * u * t * a + 3 * u * t * t * c + t**3 * e,
                        u**3 * y + 3 * u * u * t * b + 3 * u * t * t * d + t**3 * f,
                    )
                )
            x, y = e, f
        else:
            for k in range(1, 21):
                found.append((x + (numbers[0] - x) * k / 20, y + (numbers[1] - y) * k / 20))
            if letter == "M":
                found = [(numbers[0], numbers[1])]
            x, y = numbers
    return found


def check(sizes: list[Point], edges: Edges) -> Placement:
    placed = place(sizes, edges)
    boxes = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(placed.corners, sizes)]
    for x0, y0, x1, y1 in boxes:
        assert x0 >= -0.01 and y0 >= -0.01
        assert x1 <= placed.width + 0.01 and y1 <= placed.height + 0.01
    for (i, a), (j, b) in itertools.combinations(enumerate(boxes), 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, f"boxes {i} and {j} overlap"
    assert len(placed.routes) == len(edges)
    for (a, b), route, back in zip(edges, placed.routes, placed.back):
        first, last = (b, a) if back else (a, b)
        (x0, y0, x1, y1), (u0, v0, u1, _) = boxes[first], boxes[last]
        assert x0 <= route[0][0] <= x1 and abs(route[0][1] - y1) < 0.01
        assert u0 <= route[-1][0] <= u1 and abs(route[-1][1] - v0) < 0.01
        for x, y in samples(route):
            inside = [
                k
                for k, (p, q, r, s) in enumerate(boxes)
                if p + 0.1 < x < r - 0.1 and q + 0.1 < y < s - 0.1
            ]
            assert not inside, f"the arrow from {a} to {b} runs through {inside}"
    return placed


def random_graph(n: int, degree: int, near: int, seed: int) -> tuple[list[Point], Edges]:
    draw = random.Random(seed)
    sizes = [(draw.uniform(40, 180), draw.uniform(20, 80)) for _ in range(n)]
    edges = []
    for v in range(1, n):
        for _ in range(draw.randint(0, degree)):
            edges.append((draw.randrange(max(0, v - near), v), v))
    return sizes, edges


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("n", "degree", "near"), [(5, 2, 5), (40, 3, 8), (120, 2, 120), (90, 1, 3)]
)
def test_random_graphs(n: int, degree: int, near: int, seed: int) -> None:
    check(*random_graph(n, degree, near, seed))


@pytest.mark.parametrize("seed", range(4))
def test_random_graphs_with_circles(seed: int) -> None:
    sizes, edges = random_graph(25, 2, 10, seed)
    draw = random.Random(seed)
    for _ in range(8):
        a, b = draw.sample(range(25), 2)
        edges.append((a, b))
    placed = check(sizes, edges)
    seen = {v: k for k, v in enumerate(range(25))}
    assert len(seen) == 25 and len(placed.back) == len(edges)


def test_only_circles_go_back() -> None:
    sizes = [(50.0, 20.0)] * 4
    assert place(sizes, [(0, 1), (1, 2), (0, 2), (2, 3)]).back == [False] * 4
    assert sum(place(sizes, [(0, 1), (1, 2), (2, 0), (2, 3)]).back) == 1


def test_a_chain_is_straight() -> None:
    placed = check([(60.0, 20.0)] * 5, [(k, k + 1) for k in range(4)])
    assert len({x for x, _ in placed.corners}) == 1
    assert [y for _, y in placed.corners] == sorted(y for _, y in placed.corners)


def test_a_planar_tree_has_no_crossings() -> None:
    edges = [(k, (k - 1) // 2) for k in range(1, 31)]
    placed = check([(40.0, 20.0)] * 31, edges)
    by_layer: dict[tuple[float, float], list[tuple[float, float]]] = {}
    for route in placed.routes:
        by_layer.setdefault((route[0][1], route[-1][1]), []).append((route[0][0], route[-1][0]))
    for ends in by_layer.values():
        ends.sort()
        assert [b for _, b in ends] == sorted(b for _, b in ends)


@pytest.mark.parametrize("shape", ["deep", "wide"])
def test_three_hundred_boxes_are_compact(shape: str) -> None:
    links = {"deep": [(k, k + 1) for k in range(299)], "wide": [(k, 299) for k in range(299)]}
    edges = links[shape]
    placed = check([(100.0, 40.0)] * 300, edges)
    assert 0.4 < placed.width / placed.height < 4
    boxes = 300 * 100 * 40
    assert placed.width * placed.height < 6 * boxes


def test_inputs_stand_near_what_uses_them() -> None:
    # a chain of ten, and an input that only the last one uses
    edges = [(k, k + 1) for k in range(9)] + [(10, 9)]
    placed = check([(50.0, 20.0)] * 11, edges)
    assert placed.corners[10][1] == placed.corners[8][1]


def test_nothing_and_one() -> None:
    assert place([], []).corners == []
    alone = place([(30.0, 10.0)], [])
    assert (alone.width, alone.height) == (30.0, 10.0)


def test_the_same_again() -> None:
    sizes, edges = random_graph(60, 2, 20, 3)
    assert place(sizes, edges) == place(sizes, edges)
