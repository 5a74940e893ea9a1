"""What boxes say: the few lines of text of a node, and all of it when the pointer is over it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lazynet.inspect.scene import shortened, text_width
from lazynet.inspect.view import SEVERAL, Node, View
from lazynet.kinds import Array
from lazynet.plan import plural

TIMES = "\N{MULTIPLICATION SIGN}"
MINUS = "\N{MINUS SIGN}"


class Line(NamedTuple):
    """One line of a box."""

    text: str
    size: float
    bold: bool
    role: str

    @property
    def width(self) -> float:
        """The room that it takes."""
        return text_width(self.text, self.size, self.bold)


class Style(NamedTuple):
    """How much boxes show, and how large.

    Attributes:
        title, text: Sizes of text.
        room: The widest that a line may be.
        numbers: Most numbers of a value that are written out; 0: values are not shown.
    """

    title: float
    text: float
    room: float
    numbers: int


def style_for(nodes: int) -> Style:
    """The style for a picture of so many nodes: the more there are, the less each shows."""
    if nodes <= 40:
        return Style(13, 11, 190, 4)
    if nodes <= 110:
        return Style(12, 10, 150, 2)
    return Style(11, 9.5, 120, 0)


def lines_of(node: Node, style: Style, named: list[str]) -> list[Line]:
    """The lines of a box.

    Args:
        node: The node.
        style: How much it shows.
        named: Parameters that it uses, to which no arrow leads.
    """
    title = title_of(node)
    if node.count > 1:
        title += f" {TIMES} {node.count:,}"
    found = [Line(title, style.title, True, "ink")]

    def add(text: str, role: str = "ink") -> None:
        found.append(Line(text, style.text, False, role))

    if node.batches > 1:
        add(f"{node.batches:,} batches", "dim")
    add(shape_of(node), "dim")
    if node.payload and node.payload != SEVERAL and (style.numbers or node.count == 1):
        add(node.payload, "dim")
    for text in _listed("with", named, style):
        add(text, "dim")
    if style.numbers:
        if node.value is not None:
            add(_numbers("value", node.value, style))
        if node.gradient is not None:
            add(_numbers("gradient", node.gradient, style))
    return [
        line._replace(text=shortened(line.text, line.size, style.room, line.bold)) for line in found
    ]


def _room(line: Line, style: Style) -> float:
    """Numbers are never cut: half a number is another one."""
    return 400 if line.text.startswith(("value ", "gradient ")) else style.room


def _listed(word: str, names: list[str], style: Style) -> list[str]:
    """Names after a word, in as many lines as they need."""
    lines: list[str] = []
    line = word
    for k, name in enumerate(names):
        part = name + ("," if k < len(names) - 1 else "")
        if line != word and text_width(f"{line} {part}", style.text) > style.room:
            lines.append(line)
            line = part
        else:
            line = f"{line} {part}"
    return [*lines, line] if names else []


def _numbers(word: str, values: Array, style: Style) -> str:
    """Values after a word: all of them if they are few and fit, else their range."""
    text = f"{word} {summary(values, style.numbers)}"
    if text_width(text, style.text) > style.room:
        text = f"{word} {summary(values, 1)}"
    return text


def title_of(node: Node) -> str:
    """What a node is called."""
    if node.name:
        return node.name.removeprefix("/")
    return f"result {node.output + 1}" if node.output else node.op


def shape_of(node: Node) -> str:
    """Its shape and rows."""
    if node.payload == SEVERAL:
        return SEVERAL
    text = str(node.shape).replace(",)", ")") if node.shape else "scalar"
    if node.batch is None:
        return text
    return f"{text} {TIMES} {node.batch} row{'' if node.batch == 1 else 's'}"


def summary(values: Array, most: int) -> str:
    """A few numbers, or the range of many."""
    flat = values.reshape(-1)
    if flat.size == 0:
        return "none"
    if flat.size == 1:
        return _number(flat[0])
    if flat.size <= most:
        return "[" + ", ".join(map(_number, flat)) + "]" if values.ndim == 1 else _nested(values)
    finite = flat[np.isfinite(flat)] if flat.dtype.kind == "f" else flat
    wrong = flat.size - finite.size
    if not finite.size:
        return f"{wrong} not finite"
    low, high = _number(finite.min()), _number(finite.max())
    text = f"all {low}" if low == high else f"{low} to {high}"
    return f"{text}, {wrong} not finite" if wrong else text


def _nested(values: Array) -> str:
    if values.ndim == 0:
        return _number(values)
    return "[" + ", ".join([_nested(part) for part in values]) + "]"


def _number(x: object) -> str:
    return f"{np.asarray(x).item():.3g}".replace("-", MINUS)


def details_of(node: Node, view: View) -> str:
    """Everything about a node, as lines of text."""
    lines = [f"v{node.number}: {title_of(node)}" if node.count == 1 else title_of(node)]
    if node.count > 1:
        lines.append(f"{plural(node.count, 'node')} in {plural(node.batches, 'batch')}")
    if node.formula:
        lines.append(node.formula)
    lines.append(f"{shape_of(node)}, {node.dtype}")
    if node.payload and node.payload != SEVERAL:
        lines.append(node.payload)
    for name, values in (("value", node.value), ("gradient", node.gradient)):
        if values is not None:
            text = np.array2string(values, precision=5, threshold=64, max_line_width=72)
            lines.append(f"{name} {text}")
    if node.batch_number >= 0 and node.batches == 1:
        batch = view.batches[node.batch_number]
        members = f"{plural(batch.size, 'node')}, {plural(batch.rows, 'row')}"
        lines.append(f"batch {batch.number}: {members}, {batch.state}")
    if node.line and node.line != "unknown line":
        lines.append(node.place if node.line_is_exact else f"{node.place} (first of its kind)")
    return "\n".join(lines)
