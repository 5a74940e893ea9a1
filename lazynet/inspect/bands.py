"""Where the nodes of a large graph go: one band for each step of the schedule, from top to bottom.

The nodes of a batch lie in one band, so that it lights up as one. A band with more nodes than fit
beside one another has several rows; neighbours in its order stand in different rows like stairs, so
that a wide band still lies above what belongs to it, and no arrow meets the middle of a box that it
only passes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lazynet.inspect.view import View

Point = tuple[float, float]

_GAP = 14.0
"""Between boxes, to the side and within a band."""
_DROP = 44.0
"""Between bands."""
_ASPECT = 1.25
"""Width by height that the picture is to have."""
_ALONE = 4
"""So many nodes of a batch have a band to themselves; smaller batches of one level share one."""
_SWEEPS = 6


def place_in_bands(view: View, shown: Sequence[int], size: Point) -> list[Point]:
    """Middles of the boxes of some nodes.

    Args:
        view: The graph.
        shown: Numbers of the nodes to place.
        size: Width and height of a box, which is the same for all.

    Returns:
        As many points, in the order of `shown`, from (0, 0) on.
    """
    level = levels(view)
    bands: dict[tuple[int, int], list[int]] = {}
    for n in shown:
        batch = view.nodes[n].batch_number
        alone = batch >= 0 and len(view.batches[batch].nodes) >= _ALONE
        bands.setdefault((level[n], batch if alone else -1), []).append(n)
    ordered = [bands[k] for k in sorted(bands)]
    columns = _columns([len(band) for band in ordered], size)
    rows = [math.ceil(len(band) / columns) for band in ordered]
    x = _order(view, ordered, rows, columns)
    places: dict[int, Point] = {}
    top = size[1] / 2
    for band, count in zip(ordered, rows):
        for k, n in enumerate(band):
            places[n] = (x[n] * (size[0] + _GAP), top + (k % count) * (size[1] + _GAP))
        top += count * (size[1] + _GAP) - _GAP + _DROP
    return [places[n] for n in shown]


def levels(view: View) -> list[int]:
    """For each node, how many batches lie on the longest path to it: the same within a batch."""
    level = [0] * len(view.nodes)
    batch_level = [0] * len(view.batches)
    for batch in view.batches:
        deepest = -1
        waiting = [a for n in batch.nodes for a in view.nodes[n].arguments]
        seen = set(waiting)
        while waiting:  # what is in no batch has the level of what it points at
            a = waiting.pop()
            node = view.nodes[a]
            if 0 <= node.batch_number < batch.number:
                deepest = max(deepest, batch_level[node.batch_number])
            elif node.batch_number < 0:
                further = [b for b in node.arguments if b not in seen]
                seen.update(further)
                waiting += further
        batch_level[batch.number] = deepest + 1
    for node in view.nodes:
        if node.batch_number >= 0:
            level[node.number] = 2 * batch_level[node.batch_number]
        elif node.arguments:  # between the bands of batches
            level[node.number] = max(level[a] | 1 for a in node.arguments)
    first_use: dict[int, int] = {}
    for node in view.nodes:
        for a in node.arguments:
            first_use[a] = min(first_use.get(a, level[node.number]), level[node.number])
    for node in view.nodes:  # parameters, above their first use
        if node.batch_number < 0 and not node.arguments:
            level[node.number] = first_use.get(node.number, 0) - 1
    return level


def _columns(counts: list[int], size: Point) -> int:
    """Boxes in a full row, for a picture that is neither flat nor thin."""
    best, nearest = 1, math.inf
    for columns in range(1, max(counts) + 1):
        width = columns * (size[0] + _GAP)
        height = sum(math.ceil(c / columns) * (size[1] + _GAP) + _DROP for c in counts)
        off = abs(math.log(width / height / _ASPECT))
        if off < nearest:
            best, nearest = columns, off
    return best


def _order(view: View, bands: list[list[int]], rows: list[int], columns: int) -> dict[int, float]:
    """Sort each band by where its neighbours are; returns places, in columns."""
    users: dict[int, list[int]] = {}
    shown = {n for band in bands for n in band}
    for n in shown:
        for a in view.nodes[n].arguments:
            if a in shown:
                users.setdefault(a, []).append(n)
    x: dict[int, float] = {}
    for band, count in zip(bands, rows):
        _spread(band, count, columns, x, [columns * k / len(band) for k in range(len(band))])
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for at in range(len(bands)) if down else reversed(range(len(bands))):
            band = bands[at]
            wanted = {}
            for n in band:
                near = [x[a] for a in view.nodes[n].arguments if a in shown and a != n]
                if not down or not near:
                    near = [x[b] for b in users.get(n, ()) if b != n] or near
                wanted[n] = sum(near) / len(near) if near else x[n]
            band.sort(key=lambda n: wanted[n])
            _spread(band, rows[at], columns, x, [wanted[n] for n in band])
    return x


def _spread(
    band: list[int], rows: int, columns: int, x: dict[int, float], wanted: list[float]
) -> None:
    """Give the nodes of a band, in their order, places near to those wanted."""
    spacing = min(columns / len(band), 2.0 / rows)
    half = len(band) * spacing / 2
    left = min(max(sum(wanted) / len(wanted) - half, 0.0), columns - 2 * half)
    for k, n in enumerate(band):
        x[n] = left + (k + 0.5) * spacing
