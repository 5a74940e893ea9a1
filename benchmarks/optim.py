"""What an optimiser's step takes, in milliseconds.

    OPENBLAS_NUM_THREADS=1 python benchmarks/optim.py [--against CHECKOUT] [--rule Adam]
        [--repeat 9] [--backward] [--device cuda]

`--against` names a checkout of another revision: both are then timed in turn, each in a process of
its own, and the ratio is that of the medians. LAZYNET_NUM_THREADS holds for both. Models:

* small: 30 parameters of 50 to 2,500 elements;
* tagger: two bidirectional LSTM layers of 50 and two tables (5,000 x 50 words of which 400 mentions
  are looked up, and 100 x 20 letters of which 2,000 are), by Zipf's law;
* dense 1M, 16M: one matrix of so many elements;
* exact, lazy: a table of 20,000 x 128 in which 1,000 rows, some twice, are looked up;
* rare: a table of 100,000 x 100, exact, in which the same 1,000 rows are looked up at every step.

Gradients are put in place before the clock starts, so the step alone is timed; with `--backward`
also the backward of a loss over the small model, whose gradients are products. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from waiting import add_device, wait

import lazynet as ln

Case = tuple[Any, Callable[[], None]]


def beside(p: ln.Parameter, array: Any) -> Any:
    """An array where the values of a parameter are."""
    if type(p.values) is np.ndarray:
        return array
    copy = np.empty_like(p.values, dtype=array.dtype, shape=array.shape)
    copy.set(array)
    return copy


def dense(model: ln.Model) -> Callable[[], None]:
    rng = np.random.default_rng(0)
    gradients = [
        (p, beside(p, rng.standard_normal(p.shape).astype(np.float32)))
        for p in model.parameters()
        if not isinstance(p, ln.Lookup)
    ]

    def pull() -> None:
        for p, gradient in gradients:
            p.pending = gradient

    return pull


def rows(table: Any, count: int, zipf: bool = False, same: bool = False) -> Callable[[], None]:
    rng = np.random.default_rng(0)
    n, width = table.shape
    weights = 1 / np.arange(1, n + 1) if zipf else np.ones(n)
    values = beside(table, rng.standard_normal((count, width)).astype(np.float32))
    draws = [rng.choice(n, count, p=weights / weights.sum()) for _ in range(1 if same else 50)]
    calls = [0]

    def pull() -> None:
        calls[0] += 1
        table.pending_rows = [(draws[calls[0] % len(draws)], values)]

    return pull


def case(name: str, rule: Any) -> Case:
    model = ln.Model(seed=0)
    settings = {}
    if name == "small":
        for i in range(10):
            for shape in ((50, 50), (50,), (20, 10 + i)):
                model.parameter(shape)
        pulls = [dense(model)]
    elif name == "tagger":
        words, letters = model.lookup(5000, 50), model.lookup(100, 20)
        for layer in range(2):
            for direction in ("forward", "backward"):
                part = model.submodel(f"{direction}{layer}")
                ln.nn.LSTM(part, 50 if layer == 0 else 100, 50)
        ln.nn.Linear(model, 100, 17)
        pulls = [dense(model), rows(words, 400, zipf=True), rows(letters, 2000, zipf=True)]
    elif name.startswith("dense"):
        model.parameter((1024 if name == "dense 1M" else 16384, 1024), init=0.01)
        pulls = [dense(model)]
    elif name == "rare":
        pulls = [rows(model.lookup(100_000, 100, init=0.01), 1000, same=True)]
    else:
        settings["sparse"] = name
        pulls = [rows(model.lookup(20_000, 128), 1000)]
    opt = rule(model, **settings)

    def pull() -> None:
        for one in pulls:
            one()

    return opt, pull


CASES = ("small", "tagger", "dense 1M", "dense 16M", "exact", "lazy", "rare")


def step_ms(opt: Any, pull: Callable[[], None], inner: int) -> float:
    total = 0.0
    for _ in range(inner):
        pull()
        wait(opt.model.device)
        start = time.perf_counter()
        opt.step()
        wait(opt.model.device)
        total += time.perf_counter() - start
    return total / inner * 1e3


def backward_ms(inner: int) -> Callable[[], float]:
    """Backward of a loss over 30 parameters of the size of the small model."""
    model = ln.Model(seed=0)
    weights = [model.parameter((50, 50)) for _ in range(15)]
    biases = [model.parameter(50) for _ in range(15)]
    inputs = ln.constant(np.ones((64, 50), np.float32), batched=True)

    def measure() -> float:
        total = 0.0
        for _ in range(inner):
            h = inputs
            for W, b in zip(weights, biases):
                h = ln.tanh(ln.affine(b, W, h))
            loss = ln.sum_batch(h.sum())
            loss.value()
            start = time.perf_counter()
            loss.backward()
            wait(model.device)
            total += time.perf_counter() - start
            model.zero_gradients()
        return total / inner * 1e3

    return measure


def serve(rule: str) -> None:
    """Time what the other process asks for, line by line."""
    known: dict[str, Callable[[], float]] = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in known:
            if name == "backward":
                known[name] = backward_ms(10)
            else:
                opt, pull = case(name, getattr(ln.optim, rule))
                inner = {"small": 50, "tagger": 20, "dense 16M": 2}.get(name, 8)
                known[name] = lambda opt=opt, pull=pull, inner=inner: step_ms(opt, pull, inner)
            for _ in range(3):
                known[name]()
        print(known[name](), flush=True)


class Server:
    """A process that times steps with the lazynet of one checkout."""

    def __init__(self, checkout: Path, rule: str, device: str) -> None:
        path = [str(checkout), os.environ.get("PYTHONPATH")]
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", "--rule", rule, "--device", device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        )

    def time(self, name: str) -> float:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(name, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def shown(values: list[float]) -> str:
    middle = statistics.median(values)
    return f"{middle:9.3f} ({min(values):.3f} - {max(values):.3f})".ljust(32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, help="a checkout of another revision")
    parser.add_argument("--rule", default="Adam", help="a class of ln.optim")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--backward", action="store_true")
    parser.add_argument("--only", help="names of models, separated by commas")
    add_device(parser)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        with ln.use_device(options.device):
            serve(options.rule)
        return
    checkouts = [Path(__file__).resolve().parent.parent]
    if options.against is not None:
        checkouts.insert(0, options.against.resolve())
    names = options.only.split(",") if options.only else list(CASES)
    if options.backward:
        names.append("backward")
    threads = os.environ.get("LAZYNET_NUM_THREADS", "1")
    print(
        f"{options.rule}, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"{threads} threads; milliseconds: median (least - most)"
    )
    servers = [Server(checkout, options.rule, options.device) for checkout in checkouts]
    heads = ["before", "now"][-len(servers) :]
    print(f"{'model':12}" + "".join(f"{h:>9}".ljust(32) for h in heads))
    for name in names:
        runs: list[list[float]] = [[] for _ in servers]
        for _ in range(options.repeat):
            for server, values in zip(servers, runs):
                values.append(server.time(name))
        ratio = statistics.median(runs[0]) / statistics.median(runs[-1])
        cells = "".join(shown(values) for values in runs)
        print(f"{name:12}{cells}" + (f"{ratio:6.2f} x" if len(runs) > 1 else ""), flush=True)
    for server in servers:
        server.close()


if __name__ == "__main__":
    main()
