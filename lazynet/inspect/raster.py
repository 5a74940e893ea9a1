"""Scenes drawn by matplotlib, which is imported when a picture is asked for."""

from __future__ import annotations

from typing import Any

from lazynet.inspect.scene import THEMES, Scene, Shape, Text


def paint(figure: Any, scene: Scene) -> None:
    """Draw a scene on an empty figure of its size, as it is on light."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    figure.patch.set_facecolor(THEMES["paper"][0])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, scene.width)
    axes.set_ylim(scene.height, 0)
    codes = {"M": [Path.MOVETO], "L": [Path.LINETO], "C": [Path.CURVE4] * 3, "Z": [Path.CLOSEPOLY]}

    def outline(shape: Shape) -> Any:
        points: list[Any] = []
        kinds: list[Any] = []
        for letter, *numbers in shape.path:
            kinds += codes[letter]
            points += list(zip(numbers[::2], numbers[1::2])) or [(0.0, 0.0)]
        return Path(points, kinds)

    z = 0
    for group in scene.groups:
        for part in group.parts:
            z += 1
            if isinstance(part, Text):
                _write(axes, part, z)
                continue
            patch = PathPatch(
                outline(part),
                facecolor=THEMES[part.fill][0] if part.fill else "none",
                edgecolor=THEMES[part.stroke][0] if part.stroke else "none",
                linewidth=part.width * 0.75,
                linestyle=(0, (5, 4)) if part.dash else "solid",
                zorder=z,
            )
            if part.opacity != 1:
                patch.set_alpha(part.opacity)
            axes.add_patch(patch)


def _write(axes: Any, text: Text, z: int) -> None:
    axes.text(
        text.x,
        text.y,
        text.text,
        fontsize=text.size * 0.75,  # points, of 96 pixels an inch
        fontweight="bold" if text.bold else "normal",
        fontfamily="DejaVu Sans",
        color=THEMES[text.role][0],
        ha={"start": "left", "middle": "center", "end": "right"}[text.anchor],
        va="baseline",
        zorder=z,
        parse_math=False,
    )
