"""Programs for DyNet run unchanged, with the losses that they have in DyNet's wheel."""

from __future__ import annotations

import json
import sys

import pytest
import record_programs

PROGRAMS = sorted(path.stem for path in record_programs.PROGRAMS.glob("*.py"))


RUN = "runpy.run_module('lazynet.dynet', run_name='__main__', alter_sys=True)"


@pytest.mark.parametrize("program", PROGRAMS)
def test_program_prints_what_it_prints_in_dynet(program: str, device: str) -> None:
    flags = [] if device == "cpu" else ["--dynet-gpu"]
    code = f"import runpy, sys\nsys.argv += {flags}\n{RUN}"
    check(program, [sys.executable, "-c", code])


def check(program: str, command: list[str]) -> None:
    weights = record_programs.DATA / f"{program}.weights"
    expected = json.loads(weights.with_suffix(".json").read_text())
    lines = record_programs.run(command, program, weights, str(record_programs.UPDATES))
    assert record_programs.differences(record_programs.without_seconds(lines), expected) == []
    losses = [float(line[1]) for line in expected if line[0] == "loss"]
    assert len(losses) == record_programs.UPDATES
    assert len(set(losses)) > 1
