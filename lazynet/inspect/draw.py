"""`ln.draw`: the graph of an expression as a picture."""

from __future__ import annotations

import os
import sys
from typing import Any

from lazynet.asked import expressions_of
from lazynet.inspect.labels import Line, Style, details_of, lines_of, style_for
from lazynet.inspect.layered import place
from lazynet.inspect.legend import Entry, Legend
from lazynet.inspect.picture import Picture, target_of
from lazynet.inspect.scene import (
    PALETTE,
    Group,
    Scene,
    Shape,
    Text,
    curve,
    polygon,
    rectangle,
    slanted,
    text_width,
)
from lazynet.inspect.view import Node, View, view_of
from lazynet.plan import plural

MOST = 300
"""Nodes that are drawn one by one; more are folded."""
FOLDED = (("batch", 30), ("kind", 60), ("op", sys.maxsize))
"""How those are folded: the first way that leaves no more boxes than that."""
MARGIN = 20.0
SIDE = 9.0
"""Between text and the side of its box."""


def draw(
    expression: Any,
    path: str | os.PathLike[str] | None = None,
    values: bool = True,
    gradients: bool = True,
) -> Picture:
    """Draw what an expression was, or will be, computed from; nothing is computed for it.

    Arrows run from what is used to what uses it, top to bottom. A box shows the operation, its
    shape, and where they are known and small its value and gradient. What runs, or will run, as one
    batch has one colour and number. Parameters that many nodes use are named in these, without
    arrows. A graph of more than 300 nodes is folded: nodes of one kind are one box.

    Args:
        expression: An expression or parameter, or a list of them (such as several losses).
        path: A file to write to as well: .svg, .html, or .png (by matplotlib, on a light
            background).
        values: Whether to show values that were computed.
        gradients: Whether to show the gradients that the last backward left.

    Returns:
        The picture: Jupyter shows it, ``.save(path)`` writes it, ``.svg`` is its text.

    Raises:
        ArgumentError: If something is no expression, or the path is none.
        FileError: If the path cannot be written, or has another suffix.
        MissingPackageError: For a .png, without matplotlib.

    >>> import lazynet as ln
    >>> w = ln.Model(seed=0).parameter((), init=0.5, name="w")
    >>> loss = ln.square(w * 3 - 1)
    >>> loss.backward()
    >>> ln.draw(loss)
    <Picture: 3 nodes in 3 batches (lower bound 3); ... pixels; ...>
    """
    roots = expressions_of(expression, "draw")
    if path is not None:
        target_of(path, "draw")
    view = view_of(roots, values, gradients)
    if len(view.nodes) > MOST:
        view = _folded(view)
    picture = Picture(_Drawing(view).scene)
    if path is not None:
        picture.save(path)
    return picture


def _folded(view: View) -> View:
    ways = [way for way, _ in FOLDED]
    for way, most in FOLDED[ways.index(view.folded) if view.folded else 0 :]:
        few = view if way == view.folded else view.fold(most, way)
        if len(few.nodes) <= most:
            break
    return few


class _Drawing:
    """Makes a scene of a view."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.scene = Scene(_title(view))
        self.style: Style = style_for(len(view.nodes))
        self.colours = _colours(view)
        self.named = _named(view)
        self.lines: list[list[Line]] = []
        sizes = []
        for node in view.nodes:
            used = dict.fromkeys([a for a in node.arguments if a in self.named])
            lines = lines_of(node, self.style, [self._short(a) for a in used])
            self.lines.append(lines)
            sizes.append(self._size(node, lines))
        self._lay_out(sizes)

    def _short(self, number: int) -> str:
        return self.view.nodes[number].name.removeprefix("/")

    def _band(self, node: Node) -> float:
        """Width of the band that holds the number of the batch."""
        if not self._numbered(node):
            return 0.0
        return max(18.0, text_width(str(node.batch_number), 10, True) + 8)

    def _numbered(self, node: Node) -> bool:
        return node.batch_number >= 0 and node.batches == 1

    def _size(self, node: Node, lines: list[Line]) -> tuple[float, float]:
        width = max(line.width for line in lines) + 2 * SIDE + self._band(node)
        if node.role != "op":
            width += 14  # the ends of the form
        height = sum(line.size * 1.3 for line in lines) + 9
        return max(width, 46.0), height

    # Places

    def _lay_out(self, sizes: list[tuple[float, float]]) -> None:
        scene, view = self.scene, self.view
        placed = [n.number for n in view.nodes if n.number not in self.named]
        at = {number: k for k, number in enumerate(placed)}
        edges = []
        for node in view.nodes:
            for a in node.arguments:
                if a in at and a != node.number:
                    edges.append((at[a], at[node.number]))
        loops = [n for n in view.nodes if n.number in n.arguments]
        room = [sizes[number] for number in placed]
        for node in loops:
            w, h = sizes[node.number]
            room[at[node.number]] = (w + 52, h)
        placement = place(room, edges, columns=not view.folded)
        heading = scene.group()
        top = MARGIN + 14
        heading.parts.append(Text(MARGIN, top, scene.title, 14, "ink", True))
        for note in _notes(view):
            top += 18
            heading.parts.append(Text(MARGIN, top, note, 11, "dim"))
        top += 20
        legend = self._legend(loops, placement.back)
        inner = max(placement.width, text_width(scene.title, 14, True), 480.0)
        inner = max(inner, *[text_width(note, 11) for note in _notes(view)], 0.0)
        top = self._shelf(sizes, top, inner)
        left = MARGIN + (inner - placement.width) / 2
        arrows = scene.group()
        for k, route in enumerate(placement.routes):
            moved = [(x + left, y + top) for x, y in route]
            _arrow(arrows, moved, placement.back[k])
        for number in placed:
            node = view.nodes[number]
            x, y = placement.corners[at[number]]
            w, h = sizes[number]
            if node in loops:
                x += 26
                _loop(arrows, x + left + w, y + top, h)
            self._box(node, x + left, y + top, w, h)
        top += placement.height + 26
        scene.width = inner + 2 * MARGIN
        scene.height = legend.draw(scene, MARGIN, top, inner) + MARGIN

    def _shelf(self, sizes: list[tuple[float, float]], top: float, width: float) -> float:
        """The parameters that are named instead of pointed from, in rows; returns what is below."""
        if not self.named:
            return top
        group = self.scene.group()
        group.parts.append(
            Text(
                MARGIN,
                top,
                "Parameters that many boxes use (named in these, without arrows):",
                11,
                "dim",
            )
        )
        x, y, tallest = MARGIN, top + 10, 0.0
        for number in self.named:
            w, h = sizes[number]
            if x > MARGIN and x + w > MARGIN + width:
                x, y, tallest = MARGIN, y + tallest + 8, 0.0
            self._box(self.view.nodes[number], x, y, w, h)
            x += w + 12
            tallest = max(tallest, h)
        return y + tallest + 24

    # What is drawn

    def _box(self, node: Node, x: float, y: float, w: float, h: float) -> None:
        group = self.scene.group(details_of(node, self.view), f"v{node.number}")
        root = node.number in self.view.roots
        self._form(group, node, x, y, w, h, 2.6 if root else 1.0)
        at = y + 4
        middle = x + (w + self._band(node)) / 2
        for line in self.lines[node.number]:
            at += line.size * 1.3
            base = at - line.size * 0.25
            group.parts.append(
                Text(middle, base, line.text, line.size, line.role, line.bold, "middle")
            )

    def _form(
        self, group: Group, node: Node, x: float, y: float, w: float, h: float, width: float
    ) -> None:
        dash = not node.evaluated
        if node.role == "parameter":
            group.parts.append(
                Shape(rectangle(x, y, w, h, 14), "parameter", "parameter-line", width, dash)
            )
            return
        if node.role == "input":
            path = slanted(x, y, w, h)
            group.parts.append(Shape(path, "input", "input-line", width, dash))
            if self._numbered(node):
                band = self._band(node)
                colour, ink = self.colours.get(node.batch_number, ("alone", "alone-ink"))
                foot = [(x + 9, y), (x + 9 + band, y), (x + band, y + h), (x, y + h)]
                group.parts.append(Shape(polygon(foot), colour))
                self._number(group, node, x + 4 + band / 2, y + h / 2 + 4, ink)
                group.parts.append(Shape(path, "", "input-line", width, dash))
            return
        path = rectangle(x, y, w, h, 4)
        group.parts.append(Shape(path, "op"))
        if self._numbered(node):
            band = self._band(node)
            colour, ink = self.colours.get(node.batch_number, ("alone", "alone-ink"))
            if colour != "alone":
                group.parts.append(Shape(path, colour, opacity=0.16))
            group.parts.append(Shape(rectangle(x, y, band, h, 4), colour))
            self._number(group, node, x + band / 2, y + h / 2 + 4, ink)
        group.parts.append(Shape(path, "", "op-line", width, dash))

    def _number(self, group: Group, node: Node, x: float, y: float, ink: str) -> None:
        group.parts.append(Text(x, y, str(node.batch_number), 10, ink, True, "middle"))

    # What it means

    def _legend(self, loops: list[Node], back: list[bool]) -> Legend:
        view = self.view
        legend = Legend()
        roles = {n.role for n in view.nodes}
        for role in ("op", "parameter", "input"):
            if role in roles:
                legend.forms.append(Entry(role, {"op": "operation"}.get(role, role)))
        legend.forms.append(Entry("root", "what was asked for"))
        if any(not n.evaluated for n in view.nodes):
            legend.forms.append(Entry("planned", "not computed yet"))
        if loops or any(back):
            legend.forms.append(Entry("back", "back to a box above, for a later step"))
        numbered = {n.batch_number for n in view.nodes if self._numbered(n)}
        together = [b for b in view.batches if b.number in numbered and b.size > 1]
        alone = sum(1 for b in view.batches if b.number in numbered and b.size == 1)
        for batch in together:
            shown = len([i for i in batch.nodes if self._numbered(view.nodes[i])])
            text = f"{batch.op}: {plural(batch.size, 'node')}"
            if shown < batch.size and not view.folded:
                text += f", {shown:,} of them here"
            legend.batches.append(Entry(self.colours[batch.number][0], text, str(batch.number)))
        if alone:
            text = "a batch of one node" if alone == 1 else f"{alone:,} batches of one node each"
            legend.batches.append(Entry("alone", text, ""))
        legend.bound = "(lower" in self.scene.title
        legend.repeats = len(together) > len(PALETTE)
        legend.pointers = any(
            n.role == "op" and n.batch_number < 0 and n.batches < 2 for n in view.nodes
        )
        return legend


def _colours(view: View) -> dict[int, tuple[str, str]]:
    """Colour and ink of the batches of more than one node."""
    together = [b.number for b in view.batches if b.size > 1]
    return {b: (f"batch{k % len(PALETTE)}", "batch-ink") for k, b in enumerate(together)}


def _named(view: View) -> dict[int, None]:
    """Parameters that so many nodes use that arrows would hide the rest."""
    users: dict[int, int] = {}
    if len(view.nodes) > 12:
        for node in view.nodes:
            for a in set(node.arguments):
                if view.nodes[a].name:
                    users[a] = users.get(a, 0) + 1
    return {a: None for a in sorted(users) if users[a] > 3 and a not in view.roots}


def _title(view: View) -> str:
    batches = sum(run.batches for run in view.runs)
    if not batches:
        parameters = all(node.role == "parameter" for node in view.nodes)
        return f"{plural(view.total, 'parameter' if parameters else 'node')}, nothing to compute"
    shown = len(view.batches)
    text = f"{plural(view.in_batches, 'node')} in {plural(shown, 'batch')}"
    if shown < batches:
        ran = "its evaluation" if len(view.runs) == 1 else "its evaluations"
        return f"{text} ({batches:,} in all of {ran})"
    return f"{text} (lower bound {view.lower_bound:,})"


def _notes(view: View) -> list[str]:
    notes = []
    planned = sum(run.state == "planned" for run in view.runs)
    if planned and view.evaluations:
        notes.append("Partly computed: dashed boxes, and the batches of these, are still to come.")
    elif planned:
        notes.append("Not computed yet: no values, and the batches are those that are planned.")
    if not all(run.autobatch for run in view.runs):
        notes.append("Batching is off (ln.no_autobatch): each node is a batch of its own.")
    if view.folded:
        what = {
            "batch": "all nodes of one kind in one batch",
            "kind": "all nodes of one kind",
            "op": "all nodes of one operation",
        }[view.folded]
        notes.append(f"Too many nodes to show each: a box stands for {what}.")
    elif len(view.nodes) > 110:
        notes.append("Values and gradients are shown where the pointer is over a node.")
    return notes


def _arrow(group: Group, route: list[tuple[float, float]], back: bool) -> None:
    x, y = route[0] if back else route[-1]
    size = -5.0 if back else 5.0
    route = [(x, y + 5), *route[1:]] if back else [*route[:-1], (x, y - 5)]
    group.parts.append(Shape(curve(route), "", "edge", 1.2, back))
    head = [(x, y), (x - 3.5, y - size * 1.3), (x + 3.5, y - size * 1.3)]
    group.parts.append(Shape(polygon(head), "edge"))


def _loop(group: Group, x: float, y: float, h: float) -> None:
    """An arrow from the right side of a box back to it."""
    path: list[tuple[Any, ...]] = [
        ("M", x, y + h * 0.75),
        ("C", x + 30, y + h * 0.9, x + 30, y + h * 0.1, x + 6, y + h * 0.25),
    ]
    group.parts.append(Shape(path, "", "edge", 1.2, True))
    y += h * 0.25
    group.parts.append(Shape(polygon([(x, y), (x + 7, y - 3.5), (x + 7, y + 3.5)]), "edge"))
