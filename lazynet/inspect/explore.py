"""`ln.explore`: a graph and its schedule as one page that reacts, in one file.

The page is explore.html with explore.css, explore.js and the graph as JSON put in. It holds all it
needs and asks the network for nothing. Places of nodes, colours and words are found here; the
script of the page only shows them.
"""

from __future__ import annotations

import html
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from lazynet.errors import ArgumentError, SettingError
from lazynet.graph import Expression
from lazynet.inspect.view import View, view_of
from lazynet.inspect.words import plural, shapes_text, words

Box = tuple[float, float, float, float]
"""Middle of a node, and its width and height."""

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
    "The batches run in reverse, last first. Nodes now show ∂, the gradient: how fast the result "
    "of backward changes with each of their numbers. A parameter adds up what all its uses give.",
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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page into a file.

        Raises:
            OSError: If the file cannot be written.
        """
        Path(path).write_text(self.html, encoding="utf-8")


def render(whole: View, view: View, boxes: Sequence[Box]) -> str:
    """The page of a view.

    Args:
        whole: The graph as it is, from which the words are made.
        view: What is shown of it: itself, or folded.
        boxes: Where each node of `view` lies, in pixels.

    Returns:
        The page as HTML.
    """
    computed = sum(batch.size for batch in view.batches)
    title = f"{plural(computed, 'node')} in {plural(len(view.batches), 'batch')}"
    parts = {
        "title": html.escape(f"lazynet: {title}"),
        "style": _resource("explore.css"),
        "script": _resource("explore.js"),
        "data": _embedded(_data(whole, view, boxes, title)),
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
    return files("lazynet.inspect").joinpath(name).read_text(encoding="utf-8").rstrip("\n")


def _embedded(data: Any) -> str:
    """JSON for a script element, which would end at the first "</script>", also inside a string."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(whole: View, view: View, boxes: Sequence[Box], title: str) -> dict[str, Any]:
    colours, legend = _colours(view)
    return {
        "title": title,
        "folded": _FOLDED[view.folded],
        "bounds": _bounds(boxes),
        "legend": legend,
        "roots": view.roots,
        "words": [*words(whole), _BACKWARD],
        "nodes": [
            _node(node, box, colours) for node, box in zip(view.to_dict()["nodes"], boxes)
        ],
        "batches": _batches(view, colours),
    }


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
    for batch in view.batches:
        data: dict[str, Any] = {
            "label": batch.op,
            "shapes": shapes_text(view.kinds[batch.kind].shapes or (view.kinds[batch.kind].shape,)),
            "nodes": batch.nodes,
            "count": batch.size,
            "line": batch.line,
            "colour": colours.get(batch.op, _COLOURS),
        }
        if len(view.runs) > 1 and batch.evaluation != before:
            before = batch.evaluation
            computed = batch.state == "computed"
            data["heading"] = f"evaluation {before + 1}" if computed else "not computed yet"
        made.append(data)
    return made


def _boxes(view: View) -> list[Box]:
    rows: dict[int, list[int]] = {}
    for node in view.nodes:
        rows.setdefault(node.depth, []).append(node.number)
    wide = max(map(len, rows.values()))
    out: list[Box] = [(0, 0, 0, 0)] * len(view.nodes)
    for d, ns in rows.items():
        for j, n in enumerate(ns):
            out[n] = ((j + 0.5) * wide / len(ns) * 120, d * 80, 100, 36)
    return out


def explore(
    expressions: Expression | Iterable[Expression],
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
        expressions: One expression, or several.
        path: File to write; None to write none, as in a notebook, which shows the page by itself.
        limit: Most nodes to show one by one. Beyond it, the nodes of one kind and batch are one.
        height: Of the frame in a notebook, in pixels.

    Returns:
        The page; its `html` is what was written.

    Raises:
        ArgumentError: If something is no expression.
        SettingError: If the limit is no positive number.
        OSError: If the file cannot be written.

    >>> import lazynet as ln
    >>> xs = [ln.constant([1.0, 2.0]) for _ in range(3)]
    >>> page = ln.explore(ln.sum([ln.tanh(x) for x in xs]))
    >>> "3 nodes of tanh(2) as one call" in page.html
    True
    """
    for name, number in (("limit", limit), ("height", height)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise SettingError(f"explore: got {name} {number!r}; it must be a whole number from 1")
    whole = view_of(expressions)
    view = whole.fold(limit)
    page = Page(render(whole, view, _boxes(view)), height)
    if path is not None:
        page.save(path)
    return page
