"""The examples in docstrings print the same on a GPU."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import lazynet
import lazynet as ln

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]

OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def examples() -> Iterator[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    names = ["lazynet", *(m.name for m in pkgutil.walk_packages(lazynet.__path__, "lazynet."))]
    for name in names:
        if not name.startswith("lazynet.backend.cuda") and not name.endswith("__main__"):
            for test in finder.find(importlib.import_module(name), name):
                if test.examples:
                    yield test


@pytest.mark.parametrize("example", list(examples()), ids=lambda e: e.name)
def test_examples(example: doctest.DocTest) -> None:
    out: list[str] = []
    with ln.use_device("cuda"):
        found = doctest.DocTestRunner(optionflags=OPTIONS).run(example, out=out.append)
    assert not found.failed, "".join(out)
