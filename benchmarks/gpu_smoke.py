"""The first run on a GPU: is everything right there, and how fast.

    python benchmarks/gpu_smoke.py                      all of it, some minutes
    python benchmarks/gpu_smoke.py --quick              small sizes, for the emulator too
    python benchmarks/gpu_smoke.py --only tasks         one part: ops, layers, optimisers, tasks

1. ops: every case of the op contract, values and gradients beside the CPU's;
2. layers: those of `ln.nn`, likewise, with batches of different lengths;
3. optimisers: every rule, a few steps on the same gradients;
4. tasks: the suite's tasks, in both ways to write them: first the losses of a training run beside
   the CPU's, then milliseconds of each phase, with what was launched and copied where that can be
   counted (CuPy's hooks do not; the emulator does), beside PyTorch on the same GPU where installed.

Differences are relative to the largest number of an array. The exit status is 1 if anything failed.
Times end when the GPU is idle. Those of the emulator mean nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import lazynet as ln  # noqa: E402
from benchmarks.suite.base import Sizes, System  # noqa: E402
from benchmarks.suite.tasks import TASKS  # noqa: E402
from benchmarks.suite.worker import PHASES, Scheduling, turn  # noqa: E402
from benchmarks.waiting import wait  # noqa: E402

PARTS = ("ops", "layers", "optimisers", "tasks")
RULES = ("SGD", "Adagrad", "Adadelta", "RMSProp", "Adam", "AdamW", "AMSGrad")
QUICK: dict[str, Any] = {
    "examples": 4,
    "embedding": 8,
    "words": 60,
    "signs": 20,
    "frequent": 9,
    "characters": 10,
    "tags": 3,
    "layer": 6,
    "character_embedding": 4,
    "longest": 8,
}
TOLERANCE = 1e-4
"""Of losses after several updates in float32; single operations are held to 1e-5."""


class Report:
    """What was checked: prints failures at once, and a table at the end."""

    def __init__(self) -> None:
        self.checked: dict[str, int] = {}
        self.failed: dict[str, list[str]] = {}
        self.times: list[str] = []

    def check(self, part: str, name: str, run: Callable[[], None]) -> None:
        self.checked[part] = self.checked.get(part, 0) + 1
        try:
            run()
        except Exception as error:
            self.failed.setdefault(part, []).append(name)
            lines = str(error).strip().splitlines() or [type(error).__name__]
            print(f"FAILED {part}: {name}: {type(error).__name__}: {lines[0]}", flush=True)
            if not isinstance(error, AssertionError):
                traceback.print_exc(limit=-3)

    def print(self) -> None:
        print("\n" + "\n".join(self.times))
        print(f"\n{'part':14}{'checked':>9}{'failed':>9}")
        for part, count in self.checked.items():
            print(f"{part:14}{count:9}{len(self.failed.get(part, [])):9}")
        for part, names in self.failed.items():
            print(f"failed, {part}: {', '.join(names)}")


def same(found: Any, expected: Any, tolerance: float, what: str) -> None:
    """Raise unless two arrays are equal to within rounding."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    scale = float(np.abs(expected).max(initial=1e-30))
    worst = float(np.abs(found - expected).max(initial=0.0)) / scale
    if found.shape != expected.shape or not worst <= tolerance:
        raise AssertionError(
            f"{what} differs by {worst:.2g} of the largest; {tolerance:.0e} is all"
        )


def ops(report: Report, device: str, quick: bool) -> None:
    """Every case of the op contract."""
    from devices import check_on
    from test_ops_contract import CASES

    for case in CASES:
        report.check("ops", str(case), lambda case=case: check_on(case, device))


def layers(report: Report, device: str, quick: bool) -> None:
    """Layers along sequences of different lengths, and their parameters' gradients."""
    nn = ln.nn
    lengths = (3, 1, 5)

    def recurrent(kind: Any) -> Callable[[Any], Any]:
        def make(model: Any) -> Any:
            layer = kind(model, 6, 5)
            return lambda xs: layer(xs)[0]

        return make

    def bidirectional(model: Any) -> Any:
        layer = nn.Bidirectional(nn.LSTM(model, 6, 5), nn.LSTM(model, 6, 5))
        return lambda xs: layer(xs)[0]

    def linear(model: Any) -> Any:
        return nn.Linear(model, 6, 4)

    def perceptron(model: Any) -> Any:
        return nn.MLP(model, [6, 8, 4], activation="relu", dropout=0.3)

    makers: dict[str, Callable[[Any], Any]] = {
        "LSTM": recurrent(nn.LSTM),
        "GRU": recurrent(nn.GRU),
        "Bidirectional": bidirectional,
        "Linear": linear,
        "MLP with dropout": perceptron,
    }

    def outcome(make: Callable[[Any], Any], where: str) -> list[Any]:
        ln.seed(0)
        rng = np.random.default_rng(0)
        model = ln.Model(seed=0, device=where)
        layer = make(model)
        losses = []
        for n in lengths:
            xs = ln.constant(rng.standard_normal((n, 6)).astype(np.float32), batched=True)
            losses.append(ln.sum_batch(ln.squared_norm(layer(xs))))
        loss = ln.mean(losses)
        loss.backward()
        return [loss.value(), *[p.gradient() for p in model if p.has_gradient()]]

    def compare(make: Callable[[Any], Any]) -> None:
        for k, (f, e) in enumerate(zip(outcome(make, device), outcome(make, "cpu"))):
            same(f, e, 1e-5, "the loss" if k == 0 else f"gradient {k - 1}")

    for name, make in makers.items():
        report.check("layers", name, lambda make=make: compare(make))


def optimisers(report: Report, device: str, quick: bool) -> None:
    """Every rule, on matrices, vectors and tables."""

    def outcome(rule: str, settings: dict[str, Any], where: str) -> list[Any]:
        model = ln.Model(seed=0, device=where)
        W, b, table = model.parameter((9, 7)), model.parameter(9), model.lookup(50, 7)
        opt = getattr(ln.optim, rule)(model, clip=1.0, **settings)
        rng = np.random.default_rng(0)
        for _ in range(5):
            rows = rng.integers(0, 50, 12).tolist()
            h = ln.tanh(ln.affine(b, W, table[rows]))
            ln.sum_batch(ln.squared_norm(h)).backward()
            opt.step()
        return [p.array for p in model]

    for rule in RULES:
        for sparse in ("exact", "lazy"):
            settings = {"sparse": sparse, "weight_decay": 0.01}

            def compare(rule: str = rule, settings: dict[str, Any] = settings) -> None:
                pairs = zip(outcome(rule, settings, device), outcome(rule, settings, "cpu"))
                for k, (f, e) in enumerate(pairs):
                    same(f, e, TOLERANCE, f"parameter {k}")

            report.check("optimisers", f"{rule} {sparse}", compare)


def train(make: Any, weights: Any, batches: list[Any], device: str) -> list[float]:
    """The losses of a few updates."""
    with ln.use_device(device):
        system: System = make(weights)
        losses = []
        for batch in batches:
            losses.append(system.forward(system.build(batch)))
            system.backward()
            system.update()
    return losses


@contextmanager
def counting() -> Iterator[dict[str, int]]:
    """Launches and copies of a block, where they can be counted."""
    if importlib.util.find_spec("cuda_emulator") is None:
        yield {}
        return
    from cuda_emulator import stats

    with stats.measure() as used:
        yield used


def tasks(report: Report, device: str, quick: bool) -> None:
    """Training of the suite's tasks: the same losses as on the CPU, then times and counts."""
    sizes = Sizes(hidden=6, **QUICK) if quick else Sizes(hidden=256)
    updates, rounds = (2, 1) if quick else (5, 7)
    heads = "".join(f"{p:>10}" for p in [*PHASES, "total"])
    counts = "".join(f"{c:>10}" for c in ("launches", "uploads", "to host"))
    report.times.append(f"{'milliseconds: median':40}{heads}{counts}")
    for name, task in TASKS.items():
        weights = task.weights(sizes)
        batches = task.batches(sizes, np.random.default_rng(1), updates + rounds)
        makers = {"lazynet": task.idiomatic, "lazynet op by op": task.op_by_op}

        def compare(make: Any, weights: Any = weights, some: Any = batches[:updates]) -> None:
            found, expected = (train(make, weights, some, d) for d in (device, "cpu"))
            same(found, expected, TOLERANCE, f"the losses {found} for {expected}")

        for system, make in makers.items():
            report.check("tasks", f"{name}, {system}", lambda make=make, f=compare: f(make))
        if has_torch() and task.torch_batched:
            makers["PyTorch batched by hand"] = task.torch_batched
        for system, make in makers.items():
            try:
                line = timed(make, weights, batches, updates, device)
            except Exception as error:
                line = f"  failed: {type(error).__name__}: {error}"
            report.times.append(f"{name + ', ' + system:40}{line}")
            print(report.times[-1], flush=True)


def has_torch() -> bool:
    """Whether PyTorch is here, and has a GPU."""
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


def timed(make: Any, weights: Any, batches: list[Any], warm: int, device: str) -> str:
    """One line of the table: phases of an update after some others, and what one did."""
    phases: list[dict[str, float]] = []
    used: dict[str, int] = {}
    with Scheduling() as scheduling, ln.use_device(device):
        if has_torch():
            import torch

            torch.set_default_device(device)
        system = make(weights)
        for k, batch in enumerate(batches):
            wait(device)
            with counting() as used:
                measured, _ = turn(system, batch, scheduling, device)
            if k >= warm:
                phases.append(measured)
    middle = [statistics.median(p[phase] for p in phases) for phase in PHASES]
    total = statistics.median(sum(p.values()) for p in phases)
    cells = "".join(f"{v:10.2f}" for v in [*middle, total])
    shown = [used.get(c, "-") for c in ("launches", "h2d", "d2h")]
    return cells + "".join(f"{c:>10}" for c in shown)


def machine(device: str) -> str:
    """What this runs on."""
    import cupy

    number = int(device.partition(":")[2] or 0)
    found = cupy.cuda.runtime.getDeviceProperties(number)
    name = found["name"].decode()
    memory = found["totalGlobalMem"] / 1e9
    driver = cupy.cuda.runtime.driverGetVersion()
    return (
        f"{name}, {memory:.0f} GB, driver for CUDA {driver // 1000}.{driver % 1000 // 10}, CuPy "
        f"{cupy.__version__}, NumPy {np.__version__}, Python {platform.python_version()}, lazynet "
        f"{ln.__version__}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda or cuda:1; default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; may be repeated")
    options = parser.parse_args()
    try:
        ln.Model(device=options.device)
    except ln.DeviceError as error:
        sys.exit(str(error))
    print(machine(options.device))
    report = Report()
    runs = {"ops": ops, "layers": layers, "optimisers": optimisers, "tasks": tasks}
    for part in options.only or PARTS:
        start = time.perf_counter()
        runs[part](report, options.device, options.quick)
        print(f"{part}: {time.perf_counter() - start:.0f} s", flush=True)
    report.print()
    sys.exit(bool(report.failed))


if __name__ == "__main__":
    main()
