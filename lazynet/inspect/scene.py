"""Scenes: rectangles, text and curves, written as SVG (for light and dark) or by matplotlib."""

from __future__ import annotations

import io
import itertools
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from lazynet.errors import MissingPackageError

Point = tuple[float, float]

FONT = "'DejaVu Sans', Helvetica, Arial, sans-serif"
_REGULAR = (
    "32 40 46 84 64 95 78 27 39 39 50 84 32 36 32 34 64 64 64 64 64 64 64 64 64 64 34 34 84 84 "
    "84 53 100 68 69 70 77 63 58 77 75 29 29 66 56 86 75 79 60 79 69 63 61 73 68 99 69 61 69 39 "
    "34 39 84 50 50 61 63 55 63 62 35 63 63 28 28 58 28 97 63 61 63 63 41 52 39 63 59 82 59 59 "
    "52 64 34 64 84"
)
_BOLD = (
    "35 46 52 84 70 100 87 31 46 46 52 84 38 42 38 37 70 70 70 70 70 70 70 70 70 70 40 40 84 84 "
    "84 58 100 77 76 73 83 68 68 82 84 37 37 77 64 100 84 85 73 85 77 72 68 81 77 110 77 72 73 "
    "46 37 46 84 50 50 67 72 59 72 68 44 72 71 34 34 67 34 104 71 69 72 72 49 60 48 71 65 92 65 "
    "65 58 71 37 71 84"
)
"""Widths of the characters from the blank to the tilde, in hundredths of the size, in DejaVu Sans:
the widest of the fonts in `FONT`, so that text never takes more room than was left for it."""
_WIDTHS = tuple(
    {chr(32 + k): int(w) / 100 for k, w in enumerate(table.split())} for table in (_REGULAR, _BOLD)
)

THEMES = {
    "paper": ("#ffffff", "#14181d"),
    "ink": ("#1b1f24", "#e8ebee"),
    "dim": ("#57606a", "#a9b2bc"),
    "edge": ("#8a939d", "#7d8793"),
    "grid": ("#e3e6ea", "#2b323a"),
    "op": ("#f4f5f7", "#222931"),
    "op-line": ("#57606a", "#9aa4af"),
    "input": ("#fff3cf", "#3b331a"),
    "input-line": ("#8a6a00", "#e0bf5a"),
    "parameter": ("#ece6fa", "#332a4d"),
    "parameter-line": ("#6b4fb3", "#b59cf2"),
    "alone": ("#c9ced4", "#565f69"),
    "alone-ink": ("#1b1f24", "#f2f4f6"),
}
"""Colours by role, on light and on dark."""

PALETTE = ("#e69f00", "#56b4e9", "#009e73", "#dccb1a", "#3d8bd4", "#e0703a", "#cc79a7")
"""Colours that remain distinct for the colour-blind.

Source: Okabe, Ito (2008), Color Universal Design; blue and vermilion lighter, for black text, and
yellow darker, for white paper."""

THEMES.update({f"batch{k}": (c, c) for k, c in enumerate(PALETTE)})
THEMES["batch-ink"] = ("#111418", "#111418")


def text_width(text: str, size: float, bold: bool = False) -> float:
    """The room that a line of text takes at most."""
    widths = _WIDTHS[bold]
    return size * sum([widths.get(c, 1.0) for c in text])


def shortened(text: str, size: float, room: float, bold: bool = False) -> str:
    """The text, cut so that it takes no more than this room."""
    if text_width(text, size, bold) <= room:
        return text
    while text and text_width(text + "…", size, bold) > room:
        text = text[:-1]
    return text.rstrip() + "…"


@dataclass
class Shape:
    """A closed shape, or a curve.

    Attributes:
        path: ("M" | "L", x, y), ("C", x1, y1, x2, y2, x, y) and ("Z",).
        fill, stroke: Roles; "" for none.
        width: Of the line.
        dash: Whether the line is dashed.
        opacity: Of the fill.
    """

    path: list[tuple[Any, ...]]
    fill: str = ""
    stroke: str = ""
    width: float = 1.0
    dash: bool = False
    opacity: float = 1.0


@dataclass
class Text:
    """A line of text; its base line begins, is centred or ends at (x, y)."""

    x: float
    y: float
    text: str
    size: float
    role: str = "ink"
    bold: bool = False
    anchor: str = "start"


@dataclass
class Group:
    """What belongs to one thing, with what is shown when the pointer is over it."""

    title: str
    key: str = ""
    parts: list[Shape | Text] = field(default_factory=list)


class Scene:
    """What a picture shows: groups of shapes and text, back to front.

    Args:
        title: What it is, for those who cannot see it.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.width = 0.0
        self.height = 0.0
        self.groups: list[Group] = []

    def group(self, title: str = "", key: str = "") -> Group:
        """Begin a group."""
        group = Group(title, key)
        self.groups.append(group)
        return group

    # Output

    def svg(self) -> str:
        """As an SVG document that is readable on light and dark."""
        body = []
        for group in self.groups:
            key = f' data-key="{escape(group.key)}"' if group.key else ""
            body.append(f"<g{key}>")
            if group.title:
                body.append(f"<title>{escape(group.title)}</title>")
            body += [_shape(p) if isinstance(p, Shape) else _text(p) for p in group.parts]
            body.append("</g>")
        inside = "\n".join(body)
        name = f"lazynet-{zlib.crc32(inside.encode()):08x}"
        w, h = math.ceil(self.width), math.ceil(self.height)
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" id="{name}" width="{w}" height="{h}" '
                f'viewBox="0 0 {w} {h}" role="img" style="max-width:100%;height:auto">',
                f"<title>{escape(self.title)}</title>",
                f"<style>{_style(name)}</style>",
                f'<rect class="f-paper" width="{w}" height="{h}"/>',
                inside,
                "</svg>\n",
            ]
        )

    def png(self, scale: float = 2.0) -> bytes:
        """As a PNG image, on light, drawn by matplotlib.

        Args:
            scale: Pixels for each unit; fewer where the picture would be too large.

        Raises:
            MissingPackageError: Without matplotlib.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingPackageError(
                "png: it is drawn by matplotlib, which is not installed; "
                "pip install 'lazynet[viz]', or save the picture as .svg or .html"
            ) from error
        from lazynet.inspect.raster import paint

        scale = min(scale, 16_000 / max(self.width, self.height, 1.0))
        figure = Figure(figsize=(self.width / 96, self.height / 96), dpi=96 * scale)
        paint(figure, self)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()


def _style(name: str) -> str:
    light = [f"text{{font-family:{FONT}}}"]
    dark = []
    for role, (on_light, on_dark) in THEMES.items():
        light.append(f".f-{role}{{fill:{on_light}}}.s-{role}{{stroke:{on_light}}}")
        if on_dark != on_light:
            dark.append(f".f-{role}{{fill:{on_dark}}}.s-{role}{{stroke:{on_dark}}}")
    scope = f"#{name} "
    rules = [scope + rule.replace("}.", "}" + scope + ".") for rule in light]
    night = [scope + rule.replace("}.", "}" + scope + ".") for rule in dark]
    return "".join(rules) + "@media (prefers-color-scheme:dark){" + "".join(night) + "}"


def _number(x: float) -> str:
    return f"{x:.1f}".rstrip("0").rstrip(".") if x else "0"


def _shape(shape: Shape) -> str:
    d = "".join([p[0] + " ".join([_number(x) for x in p[1:]]) for p in shape.path])
    classes = [f"f-{shape.fill}"] if shape.fill else []
    extra = "" if shape.fill else ' fill="none"'
    if shape.stroke:
        classes.append(f"s-{shape.stroke}")
        extra += f' stroke-width="{_number(shape.width)}"'
    if shape.dash:
        extra += ' stroke-dasharray="5 4"'
    if shape.opacity != 1:
        extra += f' fill-opacity="{shape.opacity:g}"'
    return f'<path class="{" ".join(classes)}"{extra} d="{d}"/>'


def _text(text: Text) -> str:
    extra = ' font-weight="bold"' if text.bold else ""
    if text.anchor != "start":
        extra += f' text-anchor="{text.anchor}"'
    return (
        f'<text class="f-{text.role}" x="{_number(text.x)}" y="{_number(text.y)}" '
        f'font-size="{_number(text.size)}"{extra}>{escape(text.text)}</text>'
    )


# Forms


def rectangle(x: float, y: float, w: float, h: float, radius: float = 0) -> list[tuple[Any, ...]]:
    """A rectangle, its corners rounded by a radius."""
    r = min(radius, w / 2, h / 2)
    if r <= 0:
        return [("M", x, y), ("L", x + w, y), ("L", x + w, y + h), ("L", x, y + h), ("Z",)]
    k = r * 0.45  # what is left of the corner, for a curve near a quarter of a circle
    return [
        ("M", x + r, y), ("L", x + w - r, y), ("C", x + w - k, y, x + w, y + k, x + w, y + r),
        ("L", x + w, y + h - r), ("C", x + w, y + h - k, x + w - k, y + h, x + w - r, y + h),
        ("L", x + r, y + h), ("C", x + k, y + h, x, y + h - k, x, y + h - r),
        ("L", x, y + r), ("C", x, y + k, x + k, y, x + r, y), ("Z",),
    ]  # fmt: skip


def slanted(x: float, y: float, w: float, h: float, by: float = 9) -> list[tuple[Any, ...]]:
    """A parallelogram, as wide as a rectangle of this width."""
    return polygon([(x + by, y), (x + w, y), (x + w - by, y + h), (x, y + h)])


def polygon(points: Sequence[Point]) -> list[tuple[Any, ...]]:
    """A closed line through points."""
    return [("M", *points[0]), *[("L", *p) for p in points[1:]], ("Z",)]


def curve(points: Sequence[Point]) -> list[tuple[Any, ...]]:
    """A line through points, straight down in each of them where it moves to the side."""
    path: list[tuple[Any, ...]] = [("M", *points[0])]
    for (a, b), (c, d) in itertools.pairwise(points):
        if abs(a - c) < 0.05 or abs(b - d) < 0.05:
            path.append(("L", c, d))
        else:
            bend = (d - b) * 0.55
            path.append(("C", a, b + bend, c, d - bend, c, d))
    return path
