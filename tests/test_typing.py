"""Types as users meet them: a program that must pass, and mistakes that must not."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import lazynet as ln

FOLDER = Path(__file__).parent / "typing"
ROOT = Path(ln.__file__).parent.parent


@pytest.fixture(scope="module")
def found() -> dict[str, set[int]]:
    """Lines with errors that `mypy --strict` finds in each file of the folder."""
    env = dict(os.environ)
    if "site-packages" not in ROOT.parts:  # where it is installed, mypy finds it as users' does
        env["MYPYPATH"] = str(ROOT)
    options = ["--strict", "--config-file=", "--follow-imports=silent", "--no-error-summary"]
    cache = f"--cache-dir={FOLDER.parent.parent / '.mypy_cache' / 'users'}"
    files = sorted(path.name for path in FOLDER.glob("*.py"))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, cache, *files],
        cwd=FOLDER,
        env=env,
        capture_output=True,
        text=True,
    )
    print(done.stdout, done.stderr)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors: dict[str, set[int]] = {name: set() for name in files}
    for name, line in re.findall(r"^(.+?):(\d+): error:", done.stdout, re.MULTILINE):
        errors[name].add(int(line))
    return errors


def test_a_program_passes(found: dict[str, set[int]]) -> None:
    assert found["program.py"] == set()


def test_mistakes_do_not(found: dict[str, set[int]]) -> None:
    lines = (FOLDER / "mistakes.py").read_text(encoding="utf-8").splitlines()
    assert found["mistakes.py"] == {
        number for number, line in enumerate(lines, 1) if line.endswith("# wrong")
    }


def test_the_program_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(FOLDER / "program.py"), run_name="__main__")
    assert "batches" in capsys.readouterr().out
