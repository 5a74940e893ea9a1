"""Source lines as a reader wants them: short names, and which function a line belongs to."""

from __future__ import annotations

import ast
import linecache
import os
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from lazynet.cells import cell_of

_GAP: Final = 10
"""Lines further apart are told apart."""
_STRETCHES: Final = 3


def split_line(line: str) -> tuple[str, int]:
    """File and number of ``file:line``; 0 where there is no number."""
    file, _, number = line.rpartition(":")
    return (file, int(number)) if number.isdigit() else (line, 0)


def short(line: str) -> str:
    """``file:line`` with the file relative to the working directory, or its last two parts."""
    file, number = split_line(line)
    if not number:
        return line
    return f"{short_file(file)}:{number}"


def short_file(file: str) -> str:
    """The file relative to the working directory, or, if it lies elsewhere, its last two parts.

    A cell of a notebook is called by its number: ``In[3]``.
    """
    if cell := cell_of(file):
        return cell
    if not os.path.isabs(file):
        return file
    try:
        relative = os.path.relpath(file)
    except ValueError:  # another drive
        relative = file
    if not relative.startswith(os.pardir):
        return relative
    return os.path.join(*file.split(os.sep)[-2:])


def span(lines: Iterable[str]) -> str:
    """Several lines as text: ``file:3-9, 40``; of many stretches, the first three."""
    files: dict[str, list[int]] = {}
    for line in lines:
        file, number = split_line(line)
        files.setdefault(file, []).append(number)
    parts = []
    for file, numbers in files.items():
        stretches: list[list[int]] = []
        for number in sorted(numbers):
            if stretches and number - stretches[-1][1] <= _GAP:
                stretches[-1][1] = number
            else:
                stretches.append([number, number])
        texts = [f"{a}-{b}" if b > a else f"{a}" for a, b in stretches]
        if stretches == [[0, 0]]:
            parts.append(file)
            continue
        more = ", ..." if len(texts) > _STRETCHES else ""
        parts.append(f"{short_file(file)}:{', '.join(texts[:_STRETCHES])}{more}")
    return ", ".join(parts)


@lru_cache(maxsize=256)
def _functions(file: str) -> tuple[tuple[int, int, str], ...]:
    """First line, last line and name of each function of a file; none if it cannot be read."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return ()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return tuple(
        (node.lineno, node.end_lineno or node.lineno, node.name)
        for node in ast.walk(tree)
        if isinstance(node, kinds)
    )


def function_at(line: str) -> tuple[str, int, str]:
    """File, first line and name of the innermost function around a line; 0 and "" if none."""
    file, number = split_line(line)
    inside = [(a, name) for a, b, name in _functions(file) if a <= number <= b]
    first, name = max(inside, default=(0, ""))
    return file, first, name
