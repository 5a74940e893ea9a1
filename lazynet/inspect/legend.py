"""The legend below a picture: what forms and colours mean."""

from __future__ import annotations

from typing import NamedTuple

from lazynet.inspect.scene import (
    Group,
    Scene,
    Shape,
    Text,
    polygon,
    rectangle,
    slanted,
    text_width,
)

MOST = 24
"""Batches that are listed; of more, these that are the largest are not known by name."""
_ROW = 21.0


class Entry(NamedTuple):
    """A sample and what it means.

    Attributes:
        sample: Role of a form, or of a colour.
        text: What it means.
        number: What is written on it.
    """

    sample: str
    text: str
    number: str = ""


class Legend:
    """Forms, then batches.

    Attributes:
        forms: Samples of boxes and arrows.
        batches: Samples of colours.
        repeats: Whether colours stand for several batches each.
        pointers: Whether some nodes are in no batch.
        bound: Whether the lower bound is mentioned.
    """

    def __init__(self) -> None:
        self.forms: list[Entry] = []
        self.batches: list[Entry] = []
        self.repeats = False
        self.pointers = False
        self.bound = False

    def draw(self, scene: Scene, x: float, y: float, width: float) -> float:
        """Add it to a scene below y, no wider than this; returns where it ends."""
        group = scene.group()
        group.parts.append(Shape([("M", x, y), ("L", x + width, y)], "", "grid", 1))
        y = _run(group, self.forms, x, y + 8, width)
        if self.batches:
            notes = ["The number of a box is that of its batch: what ran together, in this order."]
            if self.repeats:
                notes.append("There are more batches than colours: mind the numbers.")
            if self.pointers:
                notes.append("A box without a number only points at rows of another.")
            if self.bound:
                notes.append("Lower bound: no schedule of these nodes has fewer batches.")
            for note in notes:
                y += 16
                group.parts.append(Text(x, y, note, 11, "dim"))
            y += 6
            shown = self.batches
            if len(shown) > MOST:
                rest = len(shown) - MOST
                shown = [*shown[: MOST - 1], shown[-1], Entry("", f"and {rest} more batches")]
            y = _flow(group, shown, x, y, width)
        return y


def _run(group: Group, entries: list[Entry], x: float, y: float, width: float) -> float:
    """Entries side by side, one after the other."""
    left, top = x, y
    for entry in entries:
        room = 40 + text_width(entry.text, 11)
        if left > x and left + room > x + width:
            left, top = x, top + _ROW
        _sample(group, entry, left, top + 3)
        group.parts.append(Text(left + 40, top + 15, entry.text, 11))
        left += room + 22
    return top + _ROW


def _flow(group: Group, entries: list[Entry], x: float, y: float, width: float) -> float:
    """Entries side by side, in columns of one width."""
    if not entries:
        return y
    cell = max(text_width(e.text, 11) + (44 if e.sample else 0) for e in entries) + 18
    columns = max(1, int((width + 18) // cell))
    for k, entry in enumerate(entries):
        left = x + (k % columns) * cell
        top = y + (k // columns) * _ROW
        _sample(group, entry, left, top + 3)
        indent = 40 if entry.sample else 0
        group.parts.append(Text(left + indent, top + 15, entry.text, 11))
    return y + -(-len(entries) // columns) * _ROW


def _sample(group: Group, entry: Entry, x: float, y: float) -> None:
    w, h = 32.0, 15.0
    add = group.parts.append
    name = entry.sample
    if name == "op":
        add(Shape(rectangle(x, y, w, h, 4), "op", "op-line"))
    elif name == "parameter":
        add(Shape(rectangle(x, y, w, h, 14), "parameter", "parameter-line"))
    elif name == "input":
        add(Shape(slanted(x, y, w, h, 6), "input", "input-line"))
    elif name == "root":
        add(Shape(rectangle(x, y, w, h, 4), "op", "op-line", 2.6))
    elif name == "planned":
        add(Shape(rectangle(x, y, w, h, 4), "op", "op-line", 1, True))
    elif name == "back":
        middle = y + h / 2
        add(Shape([("M", x, middle), ("L", x + w - 6, middle)], "", "edge", 1.2, True))
        add(Shape(polygon([(x + w, middle), (x + w - 7, middle - 3.5),
                           (x + w - 7, middle + 3.5)]), "edge"))  # fmt: skip
    elif name:
        add(Shape(rectangle(x, y, w, h, 3), name))
        ink = "alone-ink" if name == "alone" else "batch-ink"
        add(Text(x + w / 2, y + 11.5, entry.number, 10, ink, True, "middle"))
