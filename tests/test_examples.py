"""The examples run, and the README tells the truth."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lazynet as ln

ROOT = Path(__file__).parents[1]


SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("benchmarks", "examples")
    for path in (ROOT / folder).glob("*.py")
    if "__main__" in path.read_text("utf-8")
)


def run(*arguments: str, device: str = "") -> str:
    """What a script prints, on a device if one is given."""
    where = ["--device", device] if device else []
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments, *where],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "LAZYNET_DATA": "/nonexistent", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("task", ["vowels", "sentiment", "surnames"])
def test_classify_sequences(task: str, device: str) -> None:
    output = run("examples/classify_sequences.py", "--smoke", "--task", task, device=device)
    assert re.search(r"test accuracy: \d+\.\d%", output)
    assert re.search(r"[\d,]+ batches for [\d,]+ nodes \(lower bound [\d,]+", output)
    rates = r"examples/s batched automatically, [\d,]+ node by node: \d+\.\d times faster"
    assert re.search(rates, output)


def test_two_neurons_agrees_with_the_chain_rule(device: str) -> None:
    output = run("examples/two_neurons.py", "--smoke", device=device)
    rows = re.findall(r"^(dE/\w+) +(-?[\d.]+) +(-?[\d.]+) ", output, re.M)
    assert len(rows) == 9
    for name, computed, by_hand in rows:
        assert computed == by_hand, name
    assert float(re.findall(r"E = ([\d.e-]+)", output)[-1]) < 0.15


def test_digits(device: str) -> None:
    output = run("examples/digits.py", "--smoke", device=device)
    assert float(re.findall(r"test accuracy: ([\d.]+)%", output)[0]) > 50


@pytest.mark.parametrize("script", [*SCRIPTS, "-m benchmarks.suite"])
def test_scripts_take_a_device(script: str) -> None:
    assert "--device" in run(*script.split(), "--help")


def test_overhead_benchmark(device: str) -> None:
    output = run("benchmarks/overhead.py", "--largest", "1000", "--repeat", "1", device=device)
    assert len(re.findall(r"^(chains|trees|wide) ", output, re.M)) == 3


def test_small_benchmark(device: str) -> None:
    output = run("benchmarks/small.py", "--rounds", "1", device=device)
    assert (
        len(re.findall(r"^(ten|xor|words|round|episode|static) .* lazynet +\d", output, re.M)) == 12
    )


def test_step_benchmark(device: str) -> None:
    output = run("benchmarks/step.py", "--rows=4", "--hidden=8", "--rounds=2", device=device)
    assert len(re.findall(r"^(printed|columns) .*x$", output, re.M)) == 2


def test_optimiser_benchmark(device: str) -> None:
    output = run("benchmarks/optim.py", "--only=small", "--repeat=1", "--backward", device=device)
    assert len(re.findall(r"^(small|backward) +\d", output, re.M)) == 2


def test_calls_benchmark(device: str) -> None:
    """Its half that measures lazynet; the other needs DyNet's wheel."""
    module = ["--module", "lazynet.dynet", "--only", "tanh"]
    found = json.loads(run("benchmarks/dynet_calls.py", *module, device=device))
    assert found and all(time > 0 for time in found.values())


def test_suite(device: str, tmp_path: Path) -> None:
    """One task; `tests/test_benchmarks.py` has them all."""
    settings = "--tasks tree --hidden 8 --threads 1 --rounds 1 --systems lazynet --no-plots".split()
    output = run("-m", "benchmarks.suite", *settings, "--out", str(tmp_path), device=device)
    assert "lazynet op by op" in output


def test_the_readme_example_learns_and_batches_as_shown() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    rng = np.random.default_rng(0)
    data = [(rng.integers(0, 20, n).tolist(), int(n > 6)) for n in rng.integers(1, 12, 64)]
    names: dict[str, object] = {"n_words": 20, "n_classes": 2, "batches": [data] * 20}
    exec(compile(code, "README.md", "exec"), names)
    loss = names["loss"]
    assert isinstance(loss, ln.Expression)
    assert loss.value() < 0.6
    planned = code.replace("loss.backward()", "plan = ln.plan(loss)\n    break")
    exec(compile(planned, "README.md", "exec"), names)
    (shown,) = re.findall(r"```\n(\d+ batches for .*?)\n```", text, re.S)
    assert str(names["plan"]) == shown
