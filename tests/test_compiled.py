"""The compiled build: that it is the one under test, and that it does the same as its source."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lazynet as ln
from lazynet import kinds

COMPILED = not str(kinds.__file__).endswith(".py")
PACKAGE = Path(ln.__file__).parent
PLANS = Path(__file__).with_name("plans.py")

needs_compiled = pytest.mark.skipif(not COMPILED, reason="nothing is compiled here")


def plans(path: Path) -> list[str]:
    """What `plans.py` prints with the package in this folder; the first line tells which it was."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run(
        [sys.executable, str(PLANS)], capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout.splitlines()


def test_this_is_the_build_that_was_asked_for() -> None:
    wanted = os.environ.get("LAZYNET_COMPILE")
    if wanted:
        assert (wanted == "1") == COMPILED


@needs_compiled
def test_the_source_makes_the_same_plans(tmp_path: Path) -> None:
    source = shutil.copytree(
        PACKAGE, tmp_path / "lazynet", ignore=shutil.ignore_patterns("*.so", "*.pyd")
    )
    interpreted = plans(tmp_path)
    compiled = plans(PACKAGE.parent)
    assert interpreted[0] == f"# {source / 'kinds.py'}"
    assert compiled[0] == f"# {kinds.__file__}"
    assert interpreted[1:] == compiled[1:]
    assert len(compiled) > 5


def test_the_source_lies_beside_the_compiled_modules() -> None:
    assert (PACKAGE / "kinds.py").exists()


@needs_compiled
def test_handles_are_in_the_garbage_collectors_sight() -> None:
    """Without its header, freeing a long chain of tapes would write before them in memory."""
    assert gc.is_tracked(ln.constant(1.0))


@needs_compiled
def test_compiled_functions_and_classes_keep_their_docstrings() -> None:
    assert "frozen dataclass" in (ln.Op.__doc__ or "")
    assert "Compute the value" in (ln.Expression.value.__doc__ or "")
    assert "to be raised by `shape`" in (ln.Op.fail.__doc__ or "")


def test_a_kind_knows_the_line_that_recorded_it_first() -> None:
    x = ln.constant([[1.0] * 7] * 3)
    y = x * x  # the line before the one that asks
    line = sys._getframe().f_lineno - 1
    assert y.kind.line == f"{__file__}:{line}"
