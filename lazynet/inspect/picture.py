"""`Picture`: what `ln.draw` and `Plan.draw` return."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import Any

from lazynet.errors import FileError
from lazynet.inspect.output import path_of, write
from lazynet.inspect.scene import Scene

SUFFIXES = (".svg", ".png", ".html")


class Picture:
    """A picture: Jupyter shows it by itself, `save` writes it to a file.

    Attributes:
        svg: It as an SVG document, for light and dark backgrounds.
        width, height: Its size in pixels.

    >>> import lazynet as ln
    >>> picture = ln.draw(ln.tanh(ln.constant([1.0, 2.0])))
    >>> picture.svg[:4]
    '<svg'
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.svg = scene.svg()
        self.width = round(scene.width)
        self.height = round(scene.height)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to a file.

        Args:
            path: Where to. Its suffix says what is written: .svg, .png (by matplotlib, on a light
                background), or .html (a page that needs nothing else).

        Returns:
            The path.

        Raises:
            ArgumentError: If it is no path.
            FileError: If the suffix is another, or the file cannot be written.
            MissingPackageError: For .png, without matplotlib.
        """
        target = target_of(path, "save")
        if target.suffix.lower() == ".png":
            content = self._scene.png()
        elif target.suffix.lower() == ".svg":
            content = self.svg.encode()
        else:
            content = self._page().encode()
        write(target, content, "save")
        return target

    def _page(self) -> str:
        return (
            "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n"
            '<meta name="color-scheme" content="light dark">\n'
            f"<title>{escape(self._scene.title)}</title>\n"
            "<style>body{margin:0;background:#fff}"
            "@media (prefers-color-scheme:dark){body{background:#14181d}}</style>\n"
            f"{self.svg}</html>\n"
        )

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return (
            f"<Picture: {self._scene.title}; {self.width} x {self.height} pixels; "
            ".save('picture.svg') writes it, Jupyter shows it>"
        )


def target_of(path: Any, name: str) -> Path:
    """A path to write a picture to, once its suffix has been checked.

    Raises:
        ArgumentError: If it is no path.
        FileError: If its suffix is none of a picture's.
    """
    target = path_of(path, name, "graph.svg")
    if target.suffix.lower() not in SUFFIXES:
        raise FileError(
            f"{name}: got {str(target)!r}; the suffix says what to write, and it is one of "
            f"{', '.join(SUFFIXES)}; give a name such as '{target.stem or 'graph'}.svg'"
        )
    return target
