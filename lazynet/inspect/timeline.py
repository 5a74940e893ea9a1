"""`Plan.draw`: the schedule as a picture."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from lazynet.cells import readable
from lazynet.inspect.picture import Picture, target_of
from lazynet.inspect.scene import (
    PALETTE,
    Scene,
    Shape,
    Text,
    polygon,
    rectangle,
    shortened,
    text_width,
)
from lazynet.plan import Batch, Plan, plural

LANES = 24
"""Operations that have a line of their own."""
COLUMNS = 400
"""Bars beside one another; of more batches several share one."""
_MARGIN = 20.0
_LANE = 46.0
_DEPTH = 60.0


class _Bar(NamedTuple):
    """Batches of one operation that share a column.

    Attributes:
        column: Which.
        batches: Their numbers.
        rows: Of the largest.
    """

    column: int
    batches: list[int]
    rows: int


def draw_plan(plan: Plan, path: Any = None) -> Picture:
    """See `Plan.draw`."""
    if path is not None:
        target_of(path, "draw")
    picture = Picture(_Timeline(plan).scene)
    if path is not None:
        picture.save(path)
    return picture


class _Timeline:
    """Makes a scene of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.batches: list[Batch] = plan.batches
        self.scene = Scene(plan.head())
        count = len(self.batches)
        self.each = max(1, -(-count // COLUMNS))  # batches a column
        self.columns = -(-count // self.each)
        self.pitch = max(2.5, min(34.0, 900.0 / max(self.columns, 1)))
        self.lanes = self._lanes()
        self.left = _MARGIN + 16 + max([text_width(n, 11, True) for n in self.lanes], default=0)
        notes = [text_width(text, 11) for text in (*self._notes(), *self._totals().values())]
        room = max(self.pitch * self.columns, 240.0)
        self.width = max(
            self.left + room + 20 + max(notes[len(self._notes()) :], default=0),
            _MARGIN + max([text_width(self.scene.title, 14, True), *notes]),
        )
        self.right = self.left + self.pitch * self.columns
        self._draw()

    def _lanes(self) -> list[str]:
        """Operations in the order they first run; those of the fewest rows share the last lane."""
        rows: dict[str, int] = {}
        for b in self.batches:
            rows[b.op] = rows.get(b.op, 0) + b.rows
        names = list(rows)
        if len(names) <= LANES:
            return names
        kept = set(sorted(names, key=lambda n: -rows[n])[: LANES - 1])
        return [*(n for n in names if n in kept), "others"]

    def _lane_of(self, op: str) -> int:
        return self.lanes.index(op) if op in self.lanes else len(self.lanes) - 1

    def _notes(self) -> list[str]:
        if not self.batches:
            return []
        notes = [
            "From left to right: the batches in the order they run. Height of a bar: its rows "
            "(against the largest, by square roots)."
        ]
        if self.each > 1:
            notes.append(f"There are many: a bar stands for the largest of {self.each} in a row.")
        return notes

    def _totals(self) -> dict[str, str]:
        """What is said at the end of each lane."""
        found: dict[str, list[int]] = {name: [0, 0, 0] for name in self.lanes}
        for b in self.batches:
            entry = found[self.lanes[self._lane_of(b.op)]]
            entry[0] += 1
            entry[1] += b.rows
            entry[2] = max(entry[2], b.rows)
        return {
            name: f"{plural(count, 'batch')}, {plural(rows, 'row')}"
            + (f", at most {most:,} at once" if count > 1 else "")
            for name, (count, rows, most) in found.items()
        }

    def _draw(self) -> None:
        scene = self.scene
        heading = scene.group()
        y = _MARGIN + 14
        heading.parts.append(Text(_MARGIN, y, scene.title, 14, "ink", True))
        for note in self._notes():
            y += 18
            heading.parts.append(Text(_MARGIN, y, note, 11, "dim"))
        y += 16
        if not self.batches:
            scene.width, scene.height = self.width + _MARGIN, y
            return
        largest = max(b.rows for b in self.batches)
        totals = self._totals()
        for k, name in enumerate(self.lanes):
            self._lane(k, name, y, largest, totals[name])
            y += _LANE
        y = self._axis(y + 4)
        y = self._depth(y + 14)
        scene.width, scene.height = self.width + _MARGIN, y + _MARGIN

    def _lane(self, k: int, name: str, y: float, largest: int, total: str) -> None:
        base = y + _LANE - 6
        group = self.scene.group()
        group.parts += [
            Shape([("M", self.left, base), ("L", self.right, base)], "", "grid"),
            Text(self.left - 10, base - 4, name, 11, "ink", True, "end"),
            Text(self.right + 12, base - 4, total, 11, "dim"),
        ]
        for bar in self._bars(k):
            h = max(2.0, (bar.rows / max(largest, 1)) ** 0.5 * (_LANE - 20))
            x = self.left + bar.column * self.pitch
            w = self.pitch - (2 if self.pitch > 6 else 0.5)
            group = self.scene.group(self._details(bar), f"b{bar.batches[0]}")
            path = rectangle(x + (self.pitch - w) / 2, base - h, w, h, 2 if w > 8 else 0)
            group.parts.append(Shape(path, f"batch{k % len(PALETTE)}"))
            rows = str(bar.rows)
            if text_width(rows, 9) + 4 <= self.pitch:
                middle = x + self.pitch / 2
                group.parts.append(Text(middle, base - h - 3, rows, 9, "dim", False, "middle"))

    def _bars(self, lane: int) -> list[_Bar]:
        found: dict[int, list[int]] = {}
        for i, b in enumerate(self.batches):
            if self._lane_of(b.op) == lane:
                found.setdefault(i // self.each, []).append(i)
        return [
            _Bar(column, members, max(self.batches[i].rows for i in members))
            for column, members in found.items()
        ]

    def _details(self, bar: _Bar) -> str:
        lines = []
        for i in bar.batches[:8]:
            b = self.batches[i]
            nodes, rows = plural(b.nodes, "node"), plural(b.rows, "row")
            shapes = shortened(", ".join(map(str, b.shapes)), 10, 400)
            place = re.split(r"[/\\]", readable(b.line))[-1]
            lines += [f"batch {i}: {b.op} {shapes}", f"{nodes}, {rows}, depth {b.depth}, {place}"]
        if len(bar.batches) > 8:
            lines.append(f"and {len(bar.batches) - 8} more batches")
        return "\n".join(lines)

    def _axis(self, y: float) -> float:
        group = self.scene.group()
        step = 1
        count = len(self.batches)
        needed = text_width(str(count), 9) + 6
        while step / self.each * self.pitch < needed:
            step = step * 2 if str(step)[0] in "15" else step * 5 // 2
        for i in range(0, count, step):
            x = self.left + (i // self.each + 0.5) * self.pitch
            group.parts.append(Text(x, y + 8, str(i), 9, "dim", False, "middle"))
        group.parts.append(Text(self.left - 10, y + 8, "batch", 11, "dim", False, "end"))
        return y + 14

    def _depth(self, y: float) -> float:
        """A curve of the depth of each batch."""
        deepest = max(b.depth for b in self.batches)
        base = y + _DEPTH
        points = [(self.left, base)]
        for column in range(self.columns):
            members = self.batches[column * self.each : (column + 1) * self.each]
            h = max(b.depth for b in members) / deepest * _DEPTH
            x = self.left + column * self.pitch
            points += [(x, base - h), (x + self.pitch, base - h)]
        points.append((self.right, base))
        group = self.scene.group("Depth: batches on the longest path up to each")
        group.parts += [
            Shape(polygon(points), "grid", "edge", 1),
            Text(self.left - 10, y + _DEPTH / 2 + 4, "depth", 11, "dim", False, "end"),
            Text(
                self.right + 12,
                y + _DEPTH / 2 + 4,
                f"up to {deepest}: batches on the longest path",
                11,
                "dim",
            ),
        ]
        self.width = max(
            self.width,
            self.right + 12 + text_width(f"up to {deepest}: batches on the longest path", 11),
        )
        return base
