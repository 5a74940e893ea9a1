"""The op that CONTRIBUTING.md adds keeps the contract."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import CHECKS

import lazynet as ln

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the page defines."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S))
    found: dict[str, Any] = {"__name__": "contributing"}
    exec(compile(code, PAGE.name, "exec", dont_inherit=True), found)
    return found


def test_its_op_keeps_the_contract(names: dict[str, Any]) -> None:
    case = names["CASE"]
    ran = [check(case) for check, applies in CHECKS.values() if applies(case)]
    assert len(ran) >= 6


def test_its_op_batches(names: dict[str, Any]) -> None:
    xs = [ln.constant(np.full(3, k + 1.0)) for k in range(4)]
    plan = ln.plan([names["rms_norm"](x) for x in xs])
    assert [b.nodes for b in plan.batches if b.op == "rms_norm"] == [4]


def test_its_errors_say_what_to_do(names: dict[str, Any]) -> None:
    with pytest.raises(ln.ShapeError, match=r"rms_norm: got x \(\).*reshape it"):
        names["rms_norm"](1.0)
    with pytest.raises(ln.SettingError, match="must not be below 0"):
        names["rms_norm"]([1.0], eps=-1.0)


def test_its_example_is_right(names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ln, "rms_norm", names["rms_norm"], raising=False)
    tests = doctest.DocTestFinder().find(names["rms_norm"], "rms_norm", module=False)
    assert [len(test.examples) for test in tests] == [2]
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(tests[0])
    assert results.failed == 0


def test_the_page_names_files_that_exist() -> None:
    text = PAGE.read_text("utf-8")
    paths = set(re.findall(r"`((?:lazynet|tests|benchmarks)/[\w/]+\.\w+)`", text))
    assert len(paths) >= 5
    package = Path(ln.__file__).parents[1]  # which an installed one has elsewhere
    for path in paths:
        root = package if path.startswith("lazynet/") else PAGE.parent
        assert (root / path).exists(), path
