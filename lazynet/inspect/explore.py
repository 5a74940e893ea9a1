"""`ln.explore`: a graph and its schedule as one page that reacts, in one file.

The page is explore.html with explore.css, the two scripts and the graph as JSON put in. It holds
all it needs and asks the network for nothing. Places of nodes, colours and words are found here;
the scripts only show them.
"""

from __future__ import annotations

import html
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lazynet.asked import expressions_of
from lazynet.cells import readable
from lazynet.errors import FileError, SettingError
from lazynet.inspect.bands import place_in_bands
from lazynet.inspect.layered import place
from lazynet.inspect.output import path_of, write
from lazynet.inspect.view import Node, View, view_of
from lazynet.inspect.words import shape_text, shapes_text, words
from lazynet.plan import plural

Box = tuple[float, float, float, float]
"""Middle of a node, and its width and height."""

_HEIGHT = 36.0
_GAP = 18.0
_ROUTED = 24
"""Most nodes whose arrows are led around other nodes; larger graphs have bands, """
_DEEP = 1000
"""unless these would make a tower: then this is the most."""
_FEW = 3
"""Most uses of a parameter that has arrows to all of them."""

_BATCHES = 3000
"""Most batches on a page: a browser takes seconds for each further thousand."""

_COLOURS = 9
"""Operations with a colour of their own; the others have one together."""


_KEPT = (
    "op", "role", "formula", "arguments", "shape", "batch", "dtype", "payload", "line", "place",
    "evaluated", "count",
)  # fmt: skip
"""What the page takes of a node as it is."""

_FOLDED = {
    "": "",
    "batch": "Too many nodes to show one by one: those of one kind and batch are folded into one.",
    "kind": "Too many nodes to show one by one: those of one kind are folded into one.",
    "op": "Too many nodes to show one by one: those of one operation are folded into one.",
}

_BACKWARD = (
    "Backward",
    "The batches run in reverse, last first. Nodes of a few numbers now show ∂, the gradient: how "
    "fast the result of backward changes with each number. A parameter adds up what all its uses "
    "give.",
)


class Page:
    """A page made by `explore`: Jupyter shows it by itself.

    Attributes:
        html: The whole page.
    """

    def __init__(self, text: str, height: int) -> None:
        self.html = text
        self._height = height

    def __repr__(self) -> str:
        return f"<Page: {len(self.html):,} characters; .save(path) writes it>"

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" title="Computation graph" '
            f'style="width: 100%; height: {self._height}px; border: 0"></iframe>'
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page into a file.

        Args:
            path: Where to: a name that ends in .html.

        Returns:
            The path.

        Raises:
            ArgumentError: If it is no path.
            FileError: If the suffix is another, or the file cannot be written.
        """
        target = _target(path, "save")
        write(target, self.html.encode(), "save")
        return target


def _target(path: Any, name: str) -> Path:
    """A path to write a page to."""
    target = path_of(path, name, "graph.html")
    if target.suffix.lower() not in (".html", ".htm"):
        raise FileError(
            f"{name}: got {str(target)!r}; a page is written as HTML; give a name such as "
            f"'{target.stem or 'graph'}.html', or use ln.draw for a picture"
        )
    return target


def render(whole: View, view: View) -> str:
    """The page of a view.

    Args:
        whole: The graph as it is, from which the words are made.
        view: What is shown of it: itself, or folded.

    Returns:
        The page as HTML.
    """
    title = f"{plural(view.in_batches, 'node')} in {plural(len(view.batches), 'batch')}"
    parts = {
        "title": html.escape(f"lazynet: {title}"),
        "style": _resource("explore.css"),
        "script": _resource("explore.js") + "\n\n" + _resource("explore_input.js"),
        "data": _embedded(_data(whole, view, title)),
    }
    text = _resource("explore.html")
    # What is put in is not searched again, so that a name like {{script}} stays a name.
    pieces = []
    while (start := text.find("{{")) >= 0:
        end = text.index("}}", start)
        pieces += [text[:start], parts[text[start + 2 : end]]]
        text = text[end + 2 :]
    return "".join([*pieces, text])


def _resource(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8").rstrip("\n")


def _embedded(data: Any) -> str:
    """JSON for a script element, which would end at the first "</script>", also inside a string."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(whole: View, view: View, title: str) -> dict[str, Any]:
    colours, legend = _colours(view)
    boxes, routes = _arrange(view)
    return {
        "title": title,
        "folded": _FOLDED[view.folded],
        "bounds": _bounds(boxes),
        "legend": legend,
        "roots": view.roots,
        "words": [*_words(whole), _BACKWARD],
        "nodes": [_node(node, box, colours) for node, box in zip(view.to_dict()["nodes"], boxes)],
        "routes": [[a, b, *points] for (a, b), points in routes.items()],
        "batches": _batches(view, colours),
    }


def _words(whole: View) -> list[tuple[str, str]]:
    """What is said of the graph and of the batches on the page."""
    said = words(whole)
    left = len(whole.batches) - _BATCHES
    if left > 0:
        title, text = said[0]
        note = f"The page has the first {plural(_BATCHES, 'batch')}; {left:,} more follow."
        said[0] = (title, f"{text} {note}")
    return said[: 1 + _BATCHES]


def _bounds(boxes: Sequence[Box]) -> list[float]:
    """Left, top, right and bottom of the graph."""
    return [
        min(x - w / 2 for x, _, w, _ in boxes),
        min(y - h / 2 for _, y, _, h in boxes),
        max(x + w / 2 for x, _, w, _ in boxes),
        max(y + h / 2 for _, y, _, h in boxes),
    ]


def _colours(view: View) -> tuple[dict[str, int], list[tuple[str, int]]]:
    """A colour for each operation, the frequent ones first, and the legend of those."""
    number: Counter[str] = Counter()
    for node in view.nodes:
        if node.role != "parameter":
            number[node.op] += node.count
    ordered = [op for op, _ in number.most_common()]
    colours = {op: min(k, _COLOURS) for k, op in enumerate(ordered)}
    return colours, [(op, colours[op]) for op in ordered[:_COLOURS]]


def _node(node: dict[str, Any], box: Box, colours: dict[str, int]) -> dict[str, Any]:
    """What the page needs of a node."""
    data = {key: node[key] for key in _KEPT}
    data["name"] = node["name"].removeprefix("/")
    data["exact"] = node["line_is_exact"]
    data["colour"] = colours.get(node["op"], _COLOURS)
    data["box"] = [round(p, 1) for p in box]
    # The rarer ones, so that the page is a third shorter.
    for key in "value", "gradient":
        if node[key] is not None:
            data[key] = node[key]
    if node["output"]:
        data |= {"output": node["output"], "first": node["first"]}
    return data


def _batches(view: View, colours: dict[str, int]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    before = None
    for batch in view.batches[:_BATCHES]:
        data: dict[str, Any] = {
            "label": batch.op,
            "shapes": shapes_text(view.kinds[batch.kind].shapes or (view.kinds[batch.kind].shape,)),
            "nodes": batch.nodes,
            "count": batch.size,
            "line": readable(batch.line),
            "colour": colours.get(batch.op, _COLOURS),
        }
        if len(view.runs) > 1 and batch.evaluation != before:
            before = batch.evaluation
            computed = batch.state == "computed"
            data["heading"] = f"evaluation {before + 1}" if computed else "not computed yet"
        made.append(data)
    return made


def _arrange(view: View) -> tuple[list[Box], dict[tuple[int, int], list[float]]]:
    """Boxes of all nodes, and for arrows the points that they go through, one after the other.

    Parameters that many nodes use stand at the top without arrows, which would hide all others;
    the page draws them while they matter.
    """
    uses = Counter(a for node in view.nodes for a in set(node.arguments))
    apart = [n.number for n in view.nodes if n.role == "parameter" and uses[n.number] > _FEW]
    rest = sorted(set(range(len(view.nodes))) - set(apart))
    sizes = [(_width(node), _HEIGHT) for node in view.nodes]
    at = {n: k for k, n in enumerate(rest)}
    edges = [(a, b) for b in rest for a in dict.fromkeys(view.nodes[b].arguments) if a in at]
    edges = [(a, b) for a, b in edges if a != b]
    middles: dict[int, tuple[float, float]] = {}
    routes: dict[tuple[int, int], list[float]] = {}
    widest = max([sizes[n][0] for n in rest], default=0.0)
    bands = place_in_bands(view, rest, (widest, _HEIGHT))
    if len(rest) <= _ROUTED or (len(rest) <= _DEEP and _is_thin(bands)):
        placement = place([sizes[n] for n in rest], [(at[a], at[b]) for a, b in edges])
        for n, (x, y) in zip(rest, placement.corners):
            middles[n] = (x + sizes[n][0] / 2, y + _HEIGHT / 2)
        for edge, route, back in zip(edges, placement.routes, placement.back):
            if not back:
                routes[edge] = [round(c, 1) for point in route for c in point]
    else:
        middles = dict(zip(rest, bands))
        routes = {edge: [] for edge in edges}
    middles |= _on_top(apart, sizes, middles)
    boxes = [(*middles[n], *sizes[n]) for n in range(len(view.nodes))]
    return boxes, routes


def _is_thin(places: list[tuple[float, float]]) -> bool:
    """Whether bands make a tower, as those of a long chain do; the other layout has columns."""
    xs = [x for x, _ in places]
    ys = [y for _, y in places]
    height = max(ys) - min(ys)
    return height > 900 and max(xs) - min(xs) < 0.3 * height


def _on_top(
    apart: list[int], sizes: list[tuple[float, float]], middles: dict[int, tuple[float, float]]
) -> dict[int, tuple[float, float]]:
    """Places in rows above everything that has one."""
    left = min((x for x, _ in middles.values()), default=0.0)
    right = max((x for x, _ in middles.values()), default=0.0)
    lines: list[list[int]] = []
    room = 0.0
    for n in apart:
        if not lines or room < sizes[n][0]:
            lines.append([])
            room = max(right - left, 600.0)
        lines[-1].append(n)
        room -= sizes[n][0] + _GAP
    found = {}
    for k, line in enumerate(lines):
        x = (left + right - sum(sizes[n][0] + _GAP for n in line) + _GAP) / 2
        for n in line:
            found[n] = (x + sizes[n][0] / 2, (k - len(lines)) * (_HEIGHT + _GAP) - _HEIGHT)
            x += sizes[n][0] + _GAP
    return found


def _width(node: Node) -> float:
    """Of the box of a node, so that its two lines of text fit."""
    title = len(node.name.removeprefix("/") or node.op)
    if node.count > 1:
        title += 2 + len(f"{node.count:,}")
    second = len(shape_text(node.shape)) + (0 if node.batch is None else 10)
    number = 6.0 * len(f"v{node.number} ")
    return min(max(70.0, 14 + number + 7.2 * title, 16 + 6.4 * second), 190.0)


def explore(
    expression: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    limit: int = 3000,
    height: int = 720,
) -> Page:
    """A page to step through the batches of a graph, and to look at each node: one HTML file.

    The graph is on the left, the schedule on the right. The page says what each batch computes and
    why it is one batch; pointing at a node shows its formula, shape, value, gradient and source
    line; operations, names and lines can be searched. It needs a browser and no network.

    Nothing is computed: values and gradients are shown where they are there already.

    Args:
        expression: An expression or parameter, or a list of them (such as several losses).
        path: An .html file to write; None to write none, as in a notebook, which shows the page by
            itself.
        limit: Most nodes to show one by one. Beyond it, the nodes of one kind and batch are one.
            Of more than 3,000 batches, the first 3,000 are shown.
        height: Of the frame in a notebook, in pixels.

    Returns:
        The page; its `html` is what was written.

    Raises:
        ArgumentError: If something is no expression, or the path is none.
        SettingError: If limit or height is no positive whole number.
        FileError: If the path cannot be written, or does not end in .html.

    >>> import lazynet as ln
    >>> xs = [ln.constant([1.0, 2.0]) for _ in range(3)]
    >>> page = ln.explore(ln.sum([ln.tanh(x) for x in xs]))
    >>> "3 nodes of tanh(2) as one call" in page.html
    True
    """
    for name, number in (("limit", limit), ("height", height)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise SettingError(f"explore: got {name} {number!r}; it must be a whole number from 1")
    if path is not None:
        _target(path, "explore")  # before the work
    whole = view_of(expressions_of(expression, "explore"))
    view = whole.fold(limit)
    page = Page(render(whole, view), height)
    if path is not None:
        page.save(path)
    return page
