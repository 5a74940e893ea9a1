"""`ln.explore`: a graph and its schedule as one page that reacts, in one file.

The page is explore.html with explore.css, explore.js and the graph as JSON put in. It holds all it
needs and asks the network for nothing. Places of nodes, colours and words are found here; the
script of the page only shows them.
"""

from __future__ import annotations

import html
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from lazynet.errors import ArgumentError, SettingError
from lazynet.graph import Expression
from lazynet.inspect.words import counts, plural, shapes_text, words

Place = tuple[float, float, float, float]
"""Middle of a node, and its width and height."""

_COLOURS = 9
"""Operations with a colour of their own; the others have one together."""


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


def render(view: dict[str, Any], places: Sequence[Place]) -> str:
    """The page of a view.

    Args:
        view: What `View.to_dict` returns.
        places: Where each node lies, in any unit of about a pixel.

    Returns:
        The page as HTML.
    """
    sizes = counts(view)
    folded = sum(node["count"] for node in view["nodes"])
    title = f"{plural(folded, 'node')} in {plural(len(sizes), 'batch')}"
    parts = {
        "title": html.escape(f"lazynet: {title}"),
        "style": _resource("explore.css"),
        "script": _resource("explore.js"),
        "data": _embedded(_data(view, places, sizes, title)),
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


def _data(
    view: dict[str, Any], places: Sequence[Place], sizes: list[int], title: str
) -> dict[str, Any]:
    colours, legend = _colours(view)
    said = words(view)
    said.append(
        (
            "Backward",
            "The batches run in reverse, last first. Nodes now show ∂, the gradient: how the result "
            "of backward changes with them. A shared parameter adds up what all its uses give.",
        )
    )
    bounds = [0.0, 0.0, 1.0, 1.0]
    if places:
        bounds = [
            min(x - w / 2 for x, _, w, _ in places),
            min(y - h / 2 for _, y, _, h in places),
            max(x + w / 2 for x, _, w, _ in places),
            max(y + h / 2 for _, y, _, h in places),
        ]
    folded = ""
    if len(view["nodes"]) < sum(node["count"] for node in view["nodes"]):
        folded = (
            f"Too many nodes to show one by one: the nodes of one kind and batch are folded into "
            f"one, marked with their number, {len(view['nodes']):,} in all."
        )
    return {
        "title": title,
        "folded": folded,
        "bounds": [round(b, 1) for b in bounds],
        "legend": legend,
        "roots": view["roots"],
        "words": said,
        "nodes": [_node(node, place, colours) for node, place in zip(view["nodes"], places)],
        "batches": _batches(view, sizes, colours),
    }


def _colours(view: dict[str, Any]) -> tuple[dict[str, int], list[tuple[str, int]]]:
    """A colour for each operation, the frequent ones first, and the legend of those shown."""
    number: Counter[str] = Counter()
    for node in view["nodes"]:
        if node["role"] != "parameter":
            number[node["op"]] += node["count"]
    ordered = [op for op, _ in number.most_common()]
    colours = {op: min(k, _COLOURS) for k, op in enumerate(ordered)}
    return colours, [(op, colours[op]) for op in ordered[:_COLOURS]]


def _node(node: dict[str, Any], place: Place, colours: dict[str, int]) -> dict[str, Any]:
    """What the page needs of a node; what is absent is left out."""
    data = {
        "op": node["op"],
        "label": node["op"],
        "role": node["role"],
        "name": node["name"],
        "formula": node["formula"],
        "arguments": node["arguments"],
        "shape": node["shape"],
        "batch": node["batch"],
        "dtype": node["dtype"],
        "payload": node["payload"],
        "line": node["line"],
        "exact": node["line_is_exact"],
        "evaluated": node["evaluated"],
        "batchNumber": node["batch_number"],
        "count": node["count"],
        "colour": colours.get(node["op"], _COLOURS),
        "place": [round(p, 1) for p in place],
    }
    if node["output"]:
        data |= {"output": node["output"], "first": node["first"]}
    for name in "value", "gradient":
        if node[name] is not None:
            data[name] = _finite(node[name])
    return data


def _finite(value: Any) -> Any:
    """A value as JSON has it, which knows neither nan nor infinity."""
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _batches(
    view: dict[str, Any], sizes: list[int], colours: dict[str, int]
) -> list[dict[str, Any]]:
    made = []
    several = len({batch["evaluation"] for batch in view["batches"]}) > 1
    before = None
    for batch, size in zip(view["batches"], sizes):
        kind = view["kinds"][batch["kind"]]
        data = {
            "label": kind["op"],
            "shapes": shapes_text(kind["shapes"]),
            "nodes": batch["nodes"],
            "count": size,
            "line": batch["line"],
            "colour": colours.get(kind["op"], _COLOURS),
        }
        if several and batch["evaluation"] != before:
            before = batch["evaluation"]
            computed = batch["state"] == "computed"
            data["heading"] = f"evaluation {before + 1}" if computed else "not computed yet"
        made.append(data)
    return made


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
    raise NotImplementedError
