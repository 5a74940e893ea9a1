"""The examples run, and the README tells the truth."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lazynet as ln

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "LAZYNET_DATA": "/nonexistent", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("task", ["vowels", "sentiment", "surnames"])
def test_classify_sequences(task: str) -> None:
    output = run("examples/classify_sequences.py", "--smoke", "--task", task)
    assert re.search(r"test accuracy: \d+\.\d%", output)
    assert re.search(r"\d+ batches for \d+ nodes \(lower bound \d+", output)
    rates = r"examples/s batched automatically, [\d,]+ node by node: \d+\.\d times faster"
    assert re.search(rates, output)


def test_two_neurons_agrees_with_the_chain_rule() -> None:
    output = run("examples/two_neurons.py", "--smoke")
    rows = re.findall(r"^(dE/\w+) +(-?[\d.]+) +(-?[\d.]+) ", output, re.M)
    assert len(rows) == 9
    for name, computed, by_hand in rows:
        assert computed == by_hand, name
    assert float(re.findall(r"E = ([\d.e-]+)", output)[-1]) < 0.15


def test_digits() -> None:
    output = run("examples/digits.py", "--smoke")
    assert float(re.findall(r"test accuracy: ([\d.]+)%", output)[0]) > 50


def test_overhead_benchmark() -> None:
    output = run("benchmarks/overhead.py", "--largest", "1000", "--repeat", "1")
    assert len(re.findall(r"^(chains|trees|wide) ", output, re.M)) == 3


def test_the_readme_example_learns() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    rng = np.random.default_rng(0)
    data = [(rng.integers(0, 20, n).tolist(), int(n > 6)) for n in rng.integers(1, 12, 64)]
    names: dict[str, object] = {"n_words": 20, "n_classes": 2, "batches": [data] * 20}
    exec(compile(code, "README.md", "exec"), names)
    loss = names["loss"]
    assert isinstance(loss, ln.Expression)
    assert loss.value() < 0.6
