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
    if "__main__" in path.read_text("utf-8") and path.name != "profiling.py"
)
MODULES = ["-m benchmarks.profiling", "-m benchmarks.suite"]
"""What runs as a part of the package `benchmarks`."""


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
    assert re.search(FASTER, output)


SCORES = {
    "ast_tree": r"accuracy: \d+\.\d% \(logistic regression on edges: \d+\.\d%\)",
    "graph_network": r"test accuracy: \d+\.\d% \(logistic regression on edges: \d+\.\d%\)",
    "graphemes_to_phonemes": r"phoneme error rate: .*% greedy, .*% with a beam of 4 \(.*%\)",
    "language_model": r"test perplexity: \d+\.\d \(Kneser-Ney, pairs: \d+\.\d\)",
    "many_sizes": r"test error: \d\.\d+ \(told the time: \d\.\d+\)",
    "parser": r"UAS \d+\.\d%, LAS \d+\.\d% \(next word: \d+\.\d%, \d+\.\d%\)",
    "sentiment_tree": r"test accuracy: .*% of five labels, .*% of two \(Naive Bayes: .*%\)",
    "tagger": r"test accuracy: \d+\.\d+% \(most frequent tag of each word: \d+\.\d+%\)",
    "variational_autoencoder": r"test bound: \d+\.\d nats \(pixel by pixel: \d+\.\d\)",
}
"""What an example says that it reached, beside its baseline."""
FASTER = r"examples/s batched automatically, [\d,]+ node by node: \d+\.\d times faster"


@pytest.mark.parametrize("name", SCORES)
def test_example(name: str, device: str, tmp_path: Path) -> None:
    arguments = "--smoke", "--output", str(tmp_path)
    output = run(f"examples/{name}.py", *arguments, device=device)
    assert re.search(SCORES[name], output)
    assert "loaded again, it scores the same" in output
    assert re.search(r"\d+ nodes in \d+ batches \(lower bound \d+\)", output)
    assert re.search(FASTER, output)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{name}.png",
        f"{name}.safetensors",
    ]


def test_every_example_is_tested_and_listed() -> None:
    tested = {*SCORES, "classify_sequences", "digits", "two_neurons"}
    assert {Path(s).stem for s in SCRIPTS if s.startswith("examples/")} == tested
    listed = re.findall(r"^\| `examples/(\w+)\.py`", (ROOT / "README.md").read_text("utf-8"), re.M)
    assert sorted(listed) == sorted(tested)


def test_sentiment_tree_reads_trees_by_path(tmp_path: Path) -> None:
    script = ROOT / "examples" / "sentiment_tree.py"
    for arguments, message in (
        ([], "--trees FILE is needed"),
        (["--trees", str(tmp_path / "none.txt")], "cannot read trees from"),
    ):
        done = subprocess.run(
            [sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=120
        )
        assert done.returncode != 0
        assert message in done.stderr


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


@pytest.mark.parametrize("script", [*SCRIPTS, *MODULES])
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
