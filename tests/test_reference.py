"""The reference: every public name is documented by an example that runs as it stands there."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import lazynet as ln
from docs.themes import THEMES, by_theme

MODULES = ["lazynet", "lazynet.nn", "lazynet.optim", "lazynet.init"]
VARIABLES = {
    "lazynet.optim.Schedule": "lazynet.optim.schedules",
    "lazynet.init.NAMES": "lazynet.init",
}
"""What has its docstring below it, where only readers of the source find it: its module."""
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def variable_docstring(module: str, name: str) -> str:
    """The text that stands below the assignment to this name in a module."""
    body = ast.parse(Path(str(importlib.import_module(module).__file__)).read_text("utf-8")).body
    for node, after in pairwise(body):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if name in [t.id for t in targets if isinstance(t, ast.Name)]:
            text = getattr(getattr(after, "value", None), "value", None)
            return inspect.cleandoc(text) if isinstance(text, str) else ""
    raise AssertionError(f"{module} has no {name}")


def public() -> Iterator[tuple[str, str]]:
    """Names as users write them, and what is written about them."""
    for module in MODULES:
        for name in importlib.import_module(module).__all__:
            full = f"{module}.{name}"
            thing: Any = getattr(importlib.import_module(module), name)
            if full in VARIABLES:
                yield full, variable_docstring(VARIABLES[full], name)
            elif not inspect.ismodule(thing) and callable(thing):
                yield full, inspect.cleandoc(thing.__doc__ or "")


DOCUMENTED = dict(public())


def test_what_is_left_out() -> None:
    everything = {f"{m}.{n}" for m in MODULES for n in importlib.import_module(m).__all__}
    left_out = {"lazynet.__version__", "lazynet.init", "lazynet.nn", "lazynet.optim"}
    assert everything - set(DOCUMENTED) == left_out


@pytest.mark.parametrize("name", DOCUMENTED)
def test_an_example_runs_by_itself(name: str) -> None:
    """With no name defined but those it defines, so that a reader can type it."""
    example = doctest.DocTestParser().get_doctest(DOCUMENTED[name], {}, name, None, None)
    assert example.examples, f"the docstring of {name} has no example"
    out: list[str] = []
    found = doctest.DocTestRunner(optionflags=OPTIONS).run(example, out=out.append)
    assert not found.failed, "".join(out)


def test_every_name_has_a_theme() -> None:
    groups = by_theme(ln)
    assert sorted(n for group in groups.values() for n in group) == sorted(
        set(ln.__all__) - {"__version__"}
    )
    assert [title for title in THEMES if not groups[title]] == []
