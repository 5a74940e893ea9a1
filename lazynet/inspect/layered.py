"""Where boxes and arrows of a graph go: layers from top to bottom, few crossings, short arrows.

Four steps. Every box gets a layer below those of all it comes from, no layer being too wide. An
arrow over several layers gets a lane in each of those between. The order in a layer is that of the
mean places of neighbours, swept down and up, the order with the fewest crossings being kept; then
places come as near to those of neighbours as the order allows. A graph that is too deep is set in
columns, as text in a newspaper. Arrows run between layers or in lanes, so never through a box.

Source: Sugiyama, Tagawa, Toda (1981), Methods for Visual Understanding of Hierarchical System
Structures, for the steps; Coffman, Graham (1972), Optimal Scheduling for Two-Processor Systems, for
layers of bounded width; Barth, Juenger, Mutzel (2002), Simple and Efficient Bilayer Cross Counting.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

GAP = 18.0
"""Between boxes of a layer."""
LANE = 9.0
"""Width of the lane of an arrow."""
DROP = 34.0
"""Least height between layers."""
MANY = 8
"""Arrows to a box from which on they share their lanes."""
ASPECT = 1.5
"""Width by height that pictures are to have."""

Point = tuple[float, float]


@dataclass
class Placement:
    """Where everything is.

    Attributes:
        corners: Left top corner of each box.
        routes: For each edge, the points that its curve goes through, straight down in each; from
            the bottom of one box to the top of another (backwards for `back`).
        back: For each edge, whether it leads up: it is part of a circle.
        width, height: Of everything.
    """

    corners: list[Point]
    routes: list[list[Point]]
    back: list[bool]
    width: float
    height: float


@dataclass
class _Layers:
    """Boxes and lanes, in layers.

    Attributes:
        rows: The members of each layer in order: box k, or a lane by its number from n on.
        layer: Of each member.
        above, below: Neighbours of each member.
        width: Of each member.
        chains: For each edge, the members that it goes through.
        x: The middle of each member.
        merged: Lanes of arrows to one box.
    """

    rows: list[list[int]]
    layer: list[int]
    above: list[list[int]]
    below: list[list[int]]
    width: list[float]
    chains: list[list[int]]
    x: list[float] = field(default_factory=list)
    merged: set[int] = field(default_factory=set)


def place(
    sizes: Sequence[Point], edges: Sequence[tuple[int, int]], columns: bool = True
) -> Placement:
    """Place boxes, and route the edges between them.

    Args:
        sizes: Width and height of each box.
        edges: Pairs of boxes, from and to; none from a box to itself. The same pair may come twice.
        columns: Whether what is deep may be set in columns.

    Returns:
        The placement; the same for the same arguments.
    """
    n = len(sizes)
    if not n:
        return Placement([], [], [], 0.0, 0.0)
    back = _backward(n, edges)
    directed = [(b, a) if flip else (a, b) for (a, b), flip in zip(edges, back)]
    levels = _assign(sizes, directed)
    layers = _with_lanes(sizes, directed, levels)
    _sort(layers, n)
    _straighten(layers)
    if layers.merged:
        _narrow(layers)
    return _draw(layers, sizes, directed, back, columns)


# Circles


def _backward(n: int, edges: Sequence[tuple[int, int]]) -> list[bool]:
    """For each edge, whether it has to be turned so that there are no circles."""
    below: list[list[tuple[int, int]]] = [[] for _ in range(n)]
    incoming = [0] * n
    for k, (a, b) in enumerate(edges):
        below[a].append((b, k))
        incoming[b] += 1
    state = [0] * n  # 1 on the path, 2 done
    back = [False] * len(edges)
    for start in sorted(range(n), key=lambda v: (incoming[v] > 0, v)):
        if state[start]:
            continue
        state[start] = 1
        stack = [(start, iter(below[start]))]
        while stack:
            v, further = stack[-1]
            for w, k in further:
                if state[w] == 1:
                    back[k] = True
                elif not state[w]:
                    state[w] = 1
                    stack.append((w, iter(below[w])))
                    break
            else:
                state[v] = 2
                stack.pop()
    return back


# Layers


def _assign(sizes: Sequence[Point], edges: Sequence[tuple[int, int]]) -> list[int]:
    """A layer for each box, from the bottom up, so that each is near to what uses it."""
    n = len(sizes)
    above: list[list[int]] = [[] for _ in range(n)]
    below: list[list[int]] = [[] for _ in range(n)]
    for a, b in edges:
        below[a].append(b)
        above[b].append(a)
    order = _topological(n, above, below)
    depth = [0] * n
    for v in order:
        depth[v] = max([depth[u] + 1 for u in above[v]], default=0)
    area = sum([(w + GAP) * (h + DROP) for w, h in sizes])
    limit = max(math.sqrt(area * ASPECT), 3 * max(w for w, _ in sizes) + 3 * GAP)
    place = _walk(n, above, below)
    # Fill layers from the bottom with boxes whose users are all placed: first those above which so
    # much is to come that the picture would grow, then what belongs to the boxes placed last.
    users = [len(b) for b in below]
    level = [0] * n
    ready = [v for v in range(n) if not users[v]]
    whole = sum([w + GAP for w, _ in sizes])
    rows = max(max(depth) + 1, math.ceil(whole / limit * 1.1))
    row = 0
    while ready:
        left = rows - row - 1
        ready.sort(key=lambda v: (-depth[v] if depth[v] >= left else 1, place[v]))
        used = 0.0
        chosen: list[int] = []
        postponed = []
        for v in ready:
            if not chosen or used + sizes[v][0] + GAP <= limit:
                chosen.append(v)
                used += sizes[v][0] + GAP
            else:
                postponed.append(v)
        ready = postponed
        for v in chosen:
            level[v] = row
            for u in above[v]:
                users[u] -= 1
                if not users[u]:
                    ready.append(u)
        row += 1
    return [row - 1 - k for k in level]


def _topological(n: int, above: list[list[int]], below: list[list[int]]) -> list[int]:
    missing = [len(a) for a in above]
    order = [v for v in range(n) if not missing[v]]
    for v in order:  # grows
        for w in below[v]:
            missing[w] -= 1
            if not missing[w]:
                order.append(w)
    return order


def _walk(n: int, above: list[list[int]], below: list[list[int]]) -> list[int]:
    """The position of each box in a walk up from the ends: what belongs together is together."""
    position = [-1] * n
    count = 0
    for start in [v for v in range(n) if not below[v]]:
        stack = [start]
        while stack:
            v = stack.pop()
            if position[v] < 0:
                position[v] = count
                count += 1
                stack += reversed(above[v])
    return position


def _with_lanes(
    sizes: Sequence[Point], edges: Sequence[tuple[int, int]], levels: list[int]
) -> _Layers:
    n = len(sizes)
    rows: list[list[int]] = [[] for _ in range(max(levels) + 1)]
    for v, level in enumerate(levels):
        rows[level].append(v)
    layers = _Layers(rows, list(levels), [[] for _ in sizes], [[] for _ in sizes],
                     [w for w, _ in sizes], [])  # fmt: skip
    entering = [0] * n
    for _, b in edges:
        entering[b] += 1
    lanes: dict[tuple[int, int], int] = {}  # arrows from one box share their lanes,
    for a, b in edges:
        owner = a if entering[b] <= MANY else n + b  # or those to one box that has many
        chain = [a]
        for level in range(levels[a] + 1, levels[b]):
            lane = lanes.get((owner, level))
            if lane is None:
                lane = lanes[(owner, level)] = len(layers.layer)
                layers.layer.append(level)
                layers.width.append(LANE)
                layers.above.append([])
                layers.below.append([])
                rows[level].append(lane)
            _join(layers, chain[-1], lane)
            chain.append(lane)
        _join(layers, chain[-1], b)
        layers.chains.append([*chain, b])
    layers.merged = {lane for (owner, _), lane in lanes.items() if owner >= n}
    return layers


def _join(layers: _Layers, a: int, b: int) -> None:
    if a not in layers.above[b]:
        layers.below[a].append(b)
        layers.above[b].append(a)


# Order


def _sort(layers: _Layers, n: int) -> None:
    """Put every layer in the order that the sweeps find best."""
    seen = set()
    start = []
    for first in [v for v in range(n) if not layers.below[v]]:
        stack = [first]
        while stack:
            v = stack.pop()
            if v not in seen:
                seen.add(v)
                start.append(v)
                stack += reversed(layers.above[v])
    place = {v: k for k, v in enumerate(start)}
    for row in layers.rows:
        row.sort(key=lambda v: place[v])
    best = [list(row) for row in layers.rows]
    fewest = _crossings(layers)
    rounds = 24 if len(layers.layer) < 3000 else 6
    since = 0
    for k in range(rounds):
        if not fewest or since > 6:
            break
        _sweep(layers, down=k % 2 == 0)
        crossings = _crossings(layers)
        since += 1
        if crossings < fewest:
            fewest, since = crossings, 0
            best = [list(row) for row in layers.rows]
    layers.rows = best


def _narrow(layers: _Layers) -> None:
    """Move lanes of arrows to one box amid these, if that makes the picture much narrower."""
    rows, x, wide, crossings = layers.rows, layers.x, _span(layers), _crossings(layers)
    _centre(layers)
    _straighten(layers)
    worse = _crossings(layers) - crossings
    if _span(layers) > 0.8 * wide or worse > 2 * len(layers.chains):
        layers.rows, layers.x = rows, x


def _span(layers: _Layers) -> float:
    return max(layers.x) - min(layers.x)


def _centre(layers: _Layers) -> None:
    """Move each lane of arrows to one box amid the boxes from which it takes arrows in."""
    at = [0.0] * len(layers.layer)
    moved: list[list[int]] = []
    for row in reversed(layers.rows):
        row = list(row)
        for lane in [v for v in row if v in layers.merged]:
            row.remove(lane)
            (target,) = layers.below[lane]
            fellows = [k for k, v in enumerate(row) if target in layers.below[v]]
            if fellows:
                row.insert((fellows[0] + fellows[-1] + 1) // 2, lane)
            else:
                lower = [_mean([at[w] for w in layers.below[v]]) < at[target] for v in row]
                row.insert(sum(lower), lane)
        for k, v in enumerate(row):
            at[v] = float(k)
        moved.append(row)
    layers.rows = moved[::-1]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _sweep(layers: _Layers, down: bool) -> None:
    neighbours = layers.above if down else layers.below
    order = range(len(layers.rows)) if down else range(len(layers.rows) - 1, -1, -1)
    at = [0.0] * len(layers.layer)
    for r in order:
        row = layers.rows[r]
        keys = {}
        for v in row:
            near = neighbours[v]
            keys[v] = sum([at[u] for u in near]) / len(near) if near else -1.0
        # boxes without neighbours there stay where they are, in the middle of what is sorted
        moving = sorted([v for v in row if keys[v] >= 0], key=lambda v: keys[v])
        fixed = {k: v for k, v in enumerate(row) if keys[v] < 0}
        rest = iter(moving)
        row = [fixed[k] if k in fixed else next(rest) for k in range(len(row))]
        layers.rows[r] = row
        span = max(len(row) - 1, 1)
        for k, v in enumerate(row):
            at[v] = k / span if len(row) > 1 else 0.5


def _crossings(layers: _Layers) -> int:
    total = 0
    at = [0] * len(layers.layer)
    for row in layers.rows:
        for k, v in enumerate(row):
            at[v] = k
    for row in layers.rows[:-1]:
        ends = [e for v in row for e in sorted([at[w] for w in layers.below[v]])]
        total += _inversions(ends)
    return total


def _inversions(ends: list[int]) -> int:
    """Pairs in the wrong order, by a tree of counts."""
    if not ends:
        return 0
    size = 1
    while size <= max(ends):
        size *= 2
    tree = [0] * (2 * size)
    total = 0
    for e in ends:
        k = e + size
        tree[k] += 1
        while k > 1:
            if k % 2 == 0:
                total += tree[k + 1]
            k //= 2
            tree[k] += 1
    return total


# Places


def _straighten(layers: _Layers) -> None:
    """Give every member a place, its middle, near to those of its neighbours."""
    x = layers.x = [0.0] * len(layers.layer)
    for row in layers.rows:
        at = 0.0
        for v in row:
            x[v] = at + layers.width[v] / 2
            at += layers.width[v] + GAP
        for v in row:
            x[v] -= at / 2
    lane = [layers.width[v] == LANE for v in range(len(layers.layer))]
    for k in range(24):
        down = k % 2 == 0
        order = range(len(layers.rows)) if down else range(len(layers.rows) - 1, -1, -1)
        for r in order:
            row = layers.rows[r]
            wanted, weights = [], []
            for v in row:
                first, second = layers.above[v], layers.below[v]
                near = (first if down else second) if k < 20 else [*first, *second]
                if near:
                    wanted.append(_median([x[u] for u in near]))
                    weights.append(4.0 if lane[v] and any(lane[u] for u in near) else 1.0)
                else:
                    wanted.append(x[v])
                    weights.append(0.1)
            _spread(row, wanted, weights, layers)


def _median(values: list[float]) -> float:
    values.sort()
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def _spread(row: list[int], wanted: list[float], weights: list[float], layers: _Layers) -> None:
    """Move the members of a layer to where they want to be, as near as their widths allow.

    With the distances taken off, places must not fall: pool neighbours that violate this.
    """
    shift = 0.0
    shifts = []
    blocks: list[tuple[float, float, int]] = []  # mean, weight, members
    for k, v in enumerate(row):
        if k:
            shift += (layers.width[row[k - 1]] + layers.width[v]) / 2 + _between(row, k, layers)
        shifts.append(shift)
        mean, weight, count = wanted[k] - shift, weights[k], 1
        while blocks and blocks[-1][0] > mean:
            other, heavy, several = blocks.pop()
            mean = (mean * weight + other * heavy) / (weight + heavy)
            weight += heavy
            count += several
        blocks.append((mean, weight, count))
    k = 0
    for mean, _, count in blocks:
        for _ in range(count):
            layers.x[row[k]] = mean + shifts[k]
            k += 1


def _between(row: list[int], k: int, layers: _Layers) -> float:
    both = layers.width[row[k - 1]] == LANE and layers.width[row[k]] == LANE
    return 2.0 if both else GAP


# Columns and curves


def _draw(
    layers: _Layers,
    sizes: Sequence[Point],
    edges: Sequence[tuple[int, int]],
    back: list[bool],
    in_columns: bool,
) -> Placement:
    n = len(sizes)
    heights = [max([sizes[v][1] for v in row if v < n], default=0.0) for row in layers.rows]
    drops = _drops(layers)
    columns = _columns(layers, heights, drops) if in_columns else [(0, len(heights))]
    column_of = [0] * len(layers.rows)
    top = [0.0] * len(layers.rows)  # of each layer
    left: list[float] = []  # of each column, what is added to places
    channel: list[float] = []  # before each column, where its arrows come up
    at = 0.0
    tallest = 0.0
    for c, (first, end) in enumerate(columns):
        members = [v for r in range(first, end) for v in layers.rows[r]]
        low = min(layers.x[v] - layers.width[v] / 2 for v in members)
        high = max(layers.x[v] + layers.width[v] / 2 for v in members)
        incoming = len(_crossing(layers, first)) if c else 0
        if c:
            channel.append(at + GAP)
            at += 2 * GAP + LANE * incoming
        left.append(at - low)
        at += high - low
        y = DROP * 0.5 + LANE * 0.5 * incoming if c else 0.0
        for r in range(first, end):
            column_of[r] = c
            top[r] = y
            y += heights[r] + drops[r]
        tallest = max(tallest, y - drops[end - 1])
    bottoms = len(columns) > 1
    points: list[Point] = []
    for v, r in enumerate(layers.layer):
        points.append((layers.x[v] + left[column_of[r]], top[r]))
    corners = [(points[v][0] - sizes[v][0] / 2, points[v][1]) for v in range(n)]
    tracks = _tracks(layers, columns)
    enter, leave = _ports(layers, sizes, edges, points)
    outside = max([len(t) for t in tracks.values()], default=0) * LANE * 0.5
    height = tallest + (DROP * 0.5 + outside if bottoms else 0.0)
    routes = []
    for k, chain in enumerate(layers.chains):
        a, b = chain[0], chain[-1]
        route = [(leave[k], points[a][1] + sizes[a][1])]
        if sizes[a][1] < heights[layers.layer[a]]:
            route.append((leave[k], points[a][1] + heights[layers.layer[a]]))
        for u, v in itertools.pairwise(chain):
            before, after = column_of[layers.layer[u]], column_of[layers.layer[v]]
            if before != after:
                first = columns[after][0]
                track = tracks[first][u]
                x = channel[after - 1] + LANE * track
                end = layers.layer[u]
                under = top[end] + heights[end] + DROP * 0.4 + LANE * 0.5 * track
                over = top[first] - DROP * 0.4 - LANE * 0.5 * track
                target = enter[k] if v == b else points[v][0]
                route += [(route[-1][0], under), (x, under), (x, over), (target, over)]
            if v != b:
                route.append((points[v][0], points[v][1]))
                route.append((points[v][0], points[v][1] + heights[layers.layer[v]]))
        route.append((enter[k], points[b][1]))
        routes.append(route)
    return Placement(corners, routes, back, at, height)


def _drops(layers: _Layers) -> list[float]:
    """Height below each layer: more where arrows go far to the side."""
    found = []
    for row in layers.rows:
        far = max([abs(layers.x[w] - layers.x[v]) for v in row for w in layers.below[v]], default=0)
        found.append(DROP + min(far * 0.05, 40.0))
    return found


def _crossing(layers: _Layers, row: int) -> list[int]:
    """Members of the layer before that arrows come from into this one, left to right."""
    return sorted({u for v in layers.rows[row] for u in layers.above[v]}, key=lambda u: layers.x[u])


def _tracks(layers: _Layers, columns: list[tuple[int, int]]) -> dict[int, dict[int, int]]:
    """For the first layer of every further column, the track of what comes to it."""
    found = {}
    for first, _ in columns[1:]:
        crossing = _crossing(layers, first)
        # what leaves furthest to the right turns first
        found[first] = {u: len(crossing) - 1 - k for k, u in enumerate(crossing)}
    return found


def _columns(layers: _Layers, heights: list[float], drops: list[float]) -> list[tuple[int, int]]:
    """Ranges of layers that stand above one another; cut where few arrows pass."""
    count = len(heights)
    whole = sum(heights) + sum(drops)
    width = max(layers.x) - min(layers.x) + max(layers.width)
    pieces = max(1, round(math.sqrt(whole * ASPECT / max(width, 1.0))))
    if whole < 800 or pieces < 2:
        return [(0, count)]
    passing = [0] * (count + 1)
    for row in range(1, count):
        passing[row] = len(_crossing(layers, row))
    cuts = [0]
    target = whole / pieces
    reach = 0.0
    edges = []  # height above each layer
    for r in range(count):
        edges.append(reach)
        reach += heights[r] + drops[r]
    for k in range(1, pieces):
        near = [r for r in range(cuts[-1] + 1, count) if abs(edges[r] - k * target) < target * 0.25]
        if near:
            cuts.append(min(near, key=lambda r: (passing[r], abs(edges[r] - k * target))))
    return list(zip(cuts, [*cuts[1:], count]))


def _ports(
    layers: _Layers,
    sizes: Sequence[Point],
    edges: Sequence[tuple[int, int]],
    points: list[Point],
) -> tuple[list[float], list[float]]:
    """Where each edge enters its box from above, and where it leaves one below: x."""
    entering: dict[int, list[int]] = {}
    for k, (_, b) in enumerate(edges):
        entering.setdefault(b, []).append(k)
    enter = [0.0] * len(edges)
    for b, members in entering.items():
        members.sort(key=lambda k: (points[layers.chains[k][-2]][0], k))
        ports: list[int] = []  # of each arrow; those of a lane of arrows to one box share theirs
        for place, k in enumerate(members):
            last = layers.chains[k][-2]
            same = place and last in layers.merged and last == layers.chains[members[place - 1]][-2]
            ports.append(ports[-1] if same else ports[-1] + 1 if ports else 0)
        span = min(sizes[b][0] * 0.7, 24.0 * ports[-1])
        for port, k in zip(ports, members):
            part = port / ports[-1] - 0.5 if ports[-1] else 0.0
            enter[k] = points[b][0] + span * part
    leave = [points[a][0] for a, _ in edges]
    return enter, leave
