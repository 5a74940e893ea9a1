"""The benchmark suite on tiny sizes: both ways to write a task in lazynet are the same model."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu_smoke import counted
from benchmarks.suite.base import Lazynet, Sizes
from benchmarks.suite.data import SHIFT, Tree, random_tree, read_trees, transitions
from benchmarks.suite.floor import Floor
from benchmarks.suite.report import summary, table
from benchmarks.suite.tasks import TASKS
from benchmarks.suite.tasks.parser_following import Parse, heads_of
from benchmarks.suite.worker import run

ROOT = Path(__file__).parents[1]

SMALL: dict[str, Any] = {
    "examples": 3,
    "embedding": 6,
    "words": 40,
    "signs": 10,
    "frequent": 6,
    "characters": 8,
    "tags": 3,
    "targets": 9,
    "layer": 4,
    "character_embedding": 3,
    "longest": 7,
}


TRAINED = [name for name, task in TASKS.items() if task.trains]
FOLLOWING = ["parser_following", "greedy"]


def gradients(system: Lazynet, batch: list[Any]) -> tuple[float, dict[Any, Any]]:
    """The loss, and gradients by the values of their parameters, which are drawn."""
    loss = system.forward(system.build(batch))
    system.backward()
    named = {
        (p.shape, p.array.tobytes()): p.gradient()
        for p in system.model.parameters()
        if p.has_gradient()
    }
    return loss, named


@pytest.mark.parametrize("name", TASKS)
def test_idiomatic_equals_op_by_op(name: str) -> None:
    task, sizes = TASKS[name], Sizes(hidden=5, **SMALL)
    weights = task.weights(sizes)
    for batch in task.batches(sizes, np.random.default_rng(0), 2):
        loss, expected = gradients(task.op_by_op(weights), batch)
        same, got = gradients(task.idiomatic(weights), batch)
        assert loss == pytest.approx(same, rel=1e-5)
        assert got.keys() == expected.keys()
        assert bool(got) == task.trains
        for key, gradient in got.items():
            np.testing.assert_allclose(gradient, expected[key], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_updates_lower_the_loss(name: str) -> None:
    task, sizes = TASKS[name], Sizes(hidden=5, **SMALL)
    (batch,) = task.batches(sizes, np.random.default_rng(0), 1)
    system = task.idiomatic(task.weights(sizes))
    losses = []
    for _ in range(5):
        losses.append(system.forward(system.build(batch)))
        system.backward()
        system.update()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", TASKS)
def test_every_predicted_item_is_in_the_products(name: str) -> None:
    task, sizes = TASKS[name], Sizes(hidden=5, **SMALL)
    (batch,) = task.batches(sizes, np.random.default_rng(0), 1)
    products = task.products(sizes, batch)
    assert all(p.inner > 0 and p.outer > 0 and all(r > 0 for r in p.rows) for p in products)
    count = task.exponentials(sizes, batch) if task.exponentials else 0
    floor = Floor(products, count, task.trains)
    assert floor() > 0
    each = 6 if task.trains else 2
    assert floor.flop == sum(each * p.inner * p.outer * sum(p.rows) for p in products)


def test_a_run_and_its_report() -> None:
    config = {"task": "tree", "hidden": 5, "threads": 1, "rounds": 2}
    config |= {"systems": ["lazynet"], "trees": None, "sizes": SMALL}
    result = run(config)
    assert set(result["systems"]) == {"lazynet", "lazynet op by op"}
    first, second = (entry["losses"] for entry in result["systems"].values())
    assert first == pytest.approx(second, rel=1e-4)
    assert "| lazynet op by op |" in table([result])
    assert "| tree | 5 | 1 |" in summary([result])


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_run_that_looks_at_values(name: str) -> None:
    config = {"task": name, "hidden": 5, "threads": 1, "rounds": 1, "cpu time": True}
    config |= {"systems": ["lazynet"], "trees": None, "sizes": SMALL}
    result = run(config)
    assert not any("error" in entry for entry in result["systems"].values())
    longest = 2 * SMALL["longest"] - 1 if name == "parser_following" else SMALL["longest"] + 1
    for entry in result["systems"].values():
        assert 1 < entry["plan"]["evaluations"] <= longest + 1
        (phases,) = entry["rounds"].values()
        assert phases["forward"] > 0
    assert re.search(r"^lazynet: \d+ batches forward in \d+ evaluations", table([result]), re.M)
    assert f"| {name} (CPU time) | 5 | 1 |" in summary([result])


@pytest.mark.parametrize("name", FOLLOWING)
def test_following_together_is_following_alone(name: str) -> None:
    task, sizes = TASKS[name], Sizes(hidden=5, **SMALL)
    (batch,) = task.batches(sizes, np.random.default_rng(0), 1)
    system = task.idiomatic(task.weights(sizes))
    alone = [system.forward(system.build([example])) for example in batch]
    assert system.forward(system.build(batch)) == pytest.approx(np.mean(alone), rel=1e-5)


def test_what_the_parser_is_taught_makes_the_tree() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 9, 30):
        heads = heads_of(transitions(rng, random_tree(rng, list(range(n)), 1)))
        parse = Parse(heads)
        moves = []
        while not parse.done:
            moves.append(parse.right())
            parse.take(moves[-1])
        assert heads_of(moves) == heads
        assert len(moves) == 2 * n - 1


def test_the_parser_is_taught_a_legal_move_wherever_it_got_to() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 3, 9):
        parse = Parse(heads_of(transitions(rng, random_tree(rng, list(range(n)), 1))))
        while not parse.done:
            scores = np.full(3, -1.0)
            right = parse.right()
            scores[right] = 1
            assert parse.best(scores) == right
            parse.take(parse.best(rng.random(3)))
        assert sum(parse.missing) == 1  # the word that became the root


def test_trees_from_a_file(tmp_path: Any) -> None:
    path = tmp_path / "trees.txt"
    path.write_text("(3 (2 a) (4 (2 b) (1 a)))\n\n(0 c)\n", encoding="utf-8")
    words: dict[str, int] = {}
    first, second = read_trees(path, words)
    assert words == {"a": 0, "b": 1, "c": 2}
    assert first == Tree(3, -1, Tree(2, 0), Tree(4, -1, Tree(2, 1), Tree(1, 0)))
    assert second == Tree(0, 2)


def test_transitions_are_a_derivation() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 9):
        moves = transitions(rng, random_tree(rng, list(range(n)), 1))
        stacked = 0
        for move in moves:
            stacked += 1 if move == SHIFT else -1
            assert stacked >= 1
        assert len(moves) == 2 * n - 1
        assert stacked == 1


def test_what_a_profiler_saw() -> None:
    names = ["Memcpy HtoD (Pinned -> Device)", "Memset (Device)", "sgemm", "lazynet_take_rows"]
    assert counted([*names, "Memcpy DtoH (Device -> Pageable)"]) == {
        "launches": 2,
        "h2d": 1,
        "d2h": 1,
    }


def smoke(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "benchmarks/gpu_smoke.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cuda"], indirect=True)
def test_the_first_run_on_a_gpu(device: str) -> None:
    """But for the ops, which `tests/test_ops_contract.py` compares."""
    parts = [f"--only={part}" for part in ("layers", "optimisers", "files", "tests", "tasks")]
    status, output = smoke("--quick", *parts)
    assert status == 0, output
    assert output.rstrip().endswith("nothing failed")
    assert re.search(r"^lattice, lazynet op by op( +\d+\.\d\d){6}", output, re.M)
    for part, count in {"layers": 18, "optimisers": 14, "files": 3, "tasks": 18}.items():
        assert re.search(rf"^{part} +{count} +0$", output, re.M), output


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cpu", "give cuda or cuda:1"),
        ("gpu", "must be 'cpu', 'cuda'"),
        ("cuda:99", "pip|no such GPU"),
    ],
)
def test_a_first_run_where_there_is_none(name: str, message: str) -> None:
    status, output = smoke("--device", name)
    assert status == 1
    assert re.search(message, output) and "Traceback" not in output
