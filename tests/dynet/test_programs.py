"""Programs for DyNet run unchanged, with the losses that they have in DyNet's wheel."""

from __future__ import annotations

import json
import sys

import pytest
import record_programs

PROGRAMS = sorted(path.stem for path in record_programs.PROGRAMS.glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS)
def test_program_prints_what_it_prints_in_dynet(program: str) -> None:
    check(program, [sys.executable, "-m", "lazynet.dynet"])


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("program", PROGRAMS)
def test_and_on_a_gpu(program: str) -> None:
    run = "runpy.run_module('lazynet.dynet', run_name='__main__', alter_sys=True)"
    code = f"import runpy, lazynet\nwith lazynet.use_device('cuda'): {run}"
    check(program, [sys.executable, "-c", code])


def check(program: str, command: list[str]) -> None:
    weights = record_programs.DATA / f"{program}.weights"
    expected = json.loads(weights.with_suffix(".json").read_text())
    lines = record_programs.run(command, program, weights, str(record_programs.UPDATES))
    assert record_programs.differences(record_programs.without_seconds(lines), expected) == []
    losses = [float(line[1]) for line in expected if line[0] == "loss"]
    assert len(losses) == record_programs.UPDATES
    assert len(set(losses)) > 1
