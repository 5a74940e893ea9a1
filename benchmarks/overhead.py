"""What lazynet costs beside the arithmetic: microseconds per node to record, schedule and execute.

    python benchmarks/overhead.py [--largest 1000000] [--repeat 5] [--json FILE] [--device cuda]

Graphs of `h * c + b` on vectors of 8, written with the operators as users write them, garbage
collector on:

* chains: 64 recurrences side by side;
* trees: random binary trees of 50 leaves;
* wide: independent pairs of operations on one input each (two batches, whatever the size).

`record` counts operators and shape checks; inputs are recorded before the clock starts. `schedule`
is everything from roots to index arrays: walking the tape, batches, rows. `execute` is the forward
pass, `backward` all of backward. The control is a loop of plain Python and one matrix product,
timed before and after: where it wanders, so do the figures. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from waiting import add_device, wait

import lazynet as ln
from lazynet.collect import collect
from lazynet.execute import _commit, _run_graph
from lazynet.layout import lay_out
from lazynet.schedule import schedule

WIDTH = 8
Build = Callable[[list[ln.Expression], int], list[ln.Expression]]


def chains(leaves: list[ln.Expression], nodes: int) -> list[ln.Expression]:
    states = leaves[:64]
    c, b = leaves[64], leaves[65]
    for _ in range(nodes // 128):
        states = [h * c + b for h in states]
    return states


def trees(leaves: list[ln.Expression], nodes: int) -> list[ln.Expression]:
    b = leaves[65]
    roots = []
    for k in range(nodes // 98):
        values = list(leaves[:50])
        for left, right in MERGES[k % len(MERGES)]:
            values.append(values[left] * values[right] + b)
        roots.append(values[-1])
    return roots


def merges(rng: np.random.Generator) -> list[tuple[int, int]]:
    """Which values are merged, one after another, in a random binary tree of 50 leaves."""
    forest = list(range(50))
    pairs = []
    for k in range(49):
        i = int(rng.integers(len(forest) - 1))
        pairs.append((forest[i], forest[i + 1]))
        forest[i : i + 2] = [50 + k]
    return pairs


MERGES = [merges(np.random.default_rng(k)) for k in range(50)]


def wide(leaves: list[ln.Expression], nodes: int) -> list[ln.Expression]:
    c, b = leaves[64], leaves[65]
    return [leaves[k % 64] * c + b for k in range(nodes // 2)]


def inputs() -> list[ln.Expression]:
    rng = np.random.default_rng(0)
    return [ln.constant(rng.uniform(0.1, 0.9, WIDTH).astype(np.float32)) for _ in range(66)]


def once(build: Build, nodes: int) -> dict[str, float]:
    leaves = inputs()
    start = time.perf_counter()
    roots = build(leaves, nodes)
    recorded = time.perf_counter()
    graph = collect(roots)
    plan = schedule(graph)
    layout = lay_out(graph, plan)
    scheduled = time.perf_counter()
    evaluation = _run_graph(graph, layout, None, None)
    _commit(evaluation, graph)
    wait(evaluation.device)
    executed = time.perf_counter()
    count = len(graph) - len(leaves)
    result = {
        "nodes": count,
        "batches": len(plan.bounds) - 1,
        "record": (recorded - start) / count * 1e6,
        "schedule": (scheduled - recorded) / count * 1e6,
        "execute": (executed - scheduled) / count * 1e6,
    }
    return result


def backward_once(build: Build, nodes: int) -> float:
    """Backward of a graph with a parameter in it, so that gradients are wanted everywhere."""
    model = ln.Model(seed=0)
    weight = model.parameter(WIDTH, init=0.5)
    leaves = inputs()
    leaves[64] = leaves[64] * weight
    leaves[:64] = [x * weight for x in leaves[:64]]
    loss = ln.sum([r.sum() for r in build(leaves, nodes)])
    loss.value()
    start = time.perf_counter()
    loss.backward()
    wait(model.device)
    return (time.perf_counter() - start) / nodes * 1e6


def bytes_per_node(nodes: int = 100_000) -> float:
    leaves = inputs()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    h = leaves[0]
    c, b = leaves[64], leaves[65]
    for _ in range(nodes // 2):
        h = h * c + b
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / nodes


def ten_nodes(repeat: int) -> dict[str, float]:
    """Record to value: two layers of 50 with parameters, ten nodes, kinds seen before."""
    model = ln.Model(seed=0)
    w, u = model.parameter((50, 50)), model.parameter((50, 50))
    b, v = model.parameter(50), model.parameter(50)
    x = np.ones(50, np.float32)
    times: dict[str, list[float]] = {"record": [], "value": []}
    for _ in range(200 * repeat):
        start = time.perf_counter()
        e = ln.constant(x)
        h = ln.tanh(w @ e + b)
        g = ln.sigmoid(u @ e + v)
        s = (h * g + e).sum()
        recorded = time.perf_counter()
        s.value()
        times["record"].append(recorded - start)
        times["value"].append(time.perf_counter() - recorded)
    return {k: statistics.median(v) * 1e6 for k, v in times.items()}


def control() -> dict[str, float]:
    start = time.perf_counter()
    total = 0
    for i in range(1_000_000):
        total += i & 7
    loop = time.perf_counter() - start
    a = np.ones((512, 512), np.float32)
    start = time.perf_counter()
    for _ in range(10):
        a @ a
    product = time.perf_counter() - start
    return {"loop of 1M, ms": loop * 1e3, "10 products of 512, ms": product * 1e3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", help="write the figures to this file too")
    add_device(parser)
    options = parser.parse_args()
    with ln.use_device(options.device):
        report(options)


def report(options: argparse.Namespace) -> None:
    sizes = [n for n in (1_000, 10_000, 100_000, 1_000_000) if n <= options.largest]
    builds: dict[str, Build] = {"chains": chains, "trees": trees, "wide": wide}
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.processor()}")
    first = control()
    for build in builds.values():
        once(build, 1_000)
    runs: dict[tuple[str, int], list[dict[str, float]]] = {}
    for _ in range(options.repeat):
        for size in sizes:
            for name, build in builds.items():
                measured = once(build, size)
                if size <= 100_000:
                    measured["backward"] = backward_once(build, size)
                runs.setdefault((name, size), []).append(measured)
    columns = ["record", "schedule", "execute", "backward"]
    print("\nmicroseconds per node: median (least - most)")
    print(f"{'graph':8}{'nodes':>9}{'batches':>9}" + "".join(f"{c:>22}" for c in columns))
    figures: dict[str, Any] = {}
    for (name, size), measured_runs in sorted(runs.items(), key=lambda item: item[0]):
        cells = ""
        for c in columns:
            values = sorted(m[c] for m in measured_runs if c in m)
            if not values:
                cells += f"{'-':>22}"
                continue
            middle = statistics.median(values)
            figures[f"{name} {size} {c}"] = middle
            cells += f"{middle:8.2f} ({values[0]:.2f} - {values[-1]:.2f})".rjust(22)
        some = measured_runs[0]
        print(f"{name:8}{some['nodes']:9.0f}{some['batches']:9.0f}{cells}")
    small = ten_nodes(options.repeat)
    size = bytes_per_node()
    last = control()
    print(f"\ntape: {size:.0f} bytes a node")
    print(
        f"ten nodes (hidden 50) alone: record {small['record']:.0f} us, value {small['value']:.0f} "
        f"us, together {small['record'] + small['value']:.0f} us"
    )
    print("control:", "; ".join(f"{k}: {first[k]:.1f} before, {last[k]:.1f} after" for k in first))
    figures.update({"bytes": size, **{f"ten nodes {k}": v for k, v in small.items()}})
    if options.json:
        with open(options.json, "w") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
