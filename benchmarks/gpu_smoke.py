"""The first run on a GPU: is everything right there, and how fast.

    pip install '.[cuda13,test]'                        or cuda12; torch too, to compare with
    python benchmarks/gpu_smoke.py                      all of it, some minutes
    python benchmarks/gpu_smoke.py --quick              small sizes, for the emulator too
    python benchmarks/gpu_smoke.py --only tasks         one part; may be repeated

1. ops: every case of the op contract, values and gradients beside the CPU's;
2. layers: those of `ln.nn`, likewise, with batches of different lengths;
3. optimisers: every rule, a few steps on the same gradients;
4. files: what a model and its optimiser saved on one device goes on on the other;
5. tests: all tests of the project that compute (not with `--quick`; `make test-gpu` runs them on
   the emulator), where pytest is installed, on the first GPU;
6. tasks: the suite's tasks, in both ways to write them: first the losses of a training run beside
   the CPU's, then milliseconds of each phase of an update, beside PyTorch on the same GPU where
   installed, and what one more update launched and copied. The emulator counts that, and on a GPU
   the profiler of PyTorch, which sees CuPy's work as well; without either there is a dash.

Differences are relative to the largest number of an array. The exit status is 1 if anything failed.
Times end when the GPU is idle. Those of the emulator mean nothing. Products are not rounded to
TF32, neither lazynet's nor PyTorch's.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import re
import statistics
import subprocess
import sys
import tempfile
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

PARTS = ("ops", "layers", "optimisers", "files", "tests", "tasks")
RULES = ("SGD", "Adagrad", "Adadelta", "RMSProp", "Adam", "AdamW", "AMSGrad")
QUICK: dict[str, Any] = {
    "examples": 4,
    "embedding": 8,
    "words": 60,
    "signs": 20,
    "frequent": 9,
    "characters": 10,
    "tags": 3,
    "targets": 12,
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
        self.notes: list[str] = []

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
        for text in ("\n".join(self.times), "\n".join(self.notes)):
            if text:
                print("\n" + text)
        print(f"\n{'part':14}{'checked':>9}{'failed':>9}")
        for part, count in self.checked.items():
            print(f"{part:14}{count:9}{len(self.failed.get(part, [])):9}")
        for part, names in self.failed.items():
            print(f"failed, {part}: {', '.join(names)}")
        if not self.failed:
            print("nothing failed")


def same(found: Any, expected: Any, tolerance: float, what: str, least: float = 1e-30) -> None:
    """Raise unless two arrays are equal to within rounding of the largest number, or of `least`."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    scale = float(np.abs(expected).max(initial=least))
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


def makers() -> dict[str, Callable[[Any], Callable[[Any], Any]]]:
    """Every layer: what makes it in a model, and returns a function of a sequence, ``(n, 6)``."""
    nn = ln.nn

    def recurrent(kind: Any, **settings: Any) -> Callable[[Any], Any]:
        def make(model: Any) -> Any:
            layer = kind(model, 6, 5, **settings)
            return lambda xs: layer(xs)[0]

        return make

    def bidirectional(model: Any) -> Any:
        layer = nn.Bidirectional(nn.LSTM(model, 6, 5), nn.LSTM(model, 6, 5))
        return lambda xs: layer(xs)[0]

    def attention(kind: Any, *sizes: int, **settings: Any) -> Callable[[Any], Any]:
        def make(model: Any) -> Any:
            layer = kind(model, *sizes, **settings) if kind is not nn.DotAttention else kind()
            query = model.parameter(6)
            return lambda xs: layer(query, xs)[0]

        return make

    def perceptron(model: Any) -> Any:
        return nn.MLP(model, [6, 8, 4], activation="relu", dropout=0.3)

    def tree(kind: Any) -> Callable[[Any], Any]:
        def make(model: Any) -> Any:
            cell = kind(model, 6, 5)

            def fold(xs: Any) -> Any:
                state = cell(ln.sum_batch(xs), [])
                for x in ln.unbatch(xs):
                    state = cell(x, [state, cell(x, [])])
                return state[0]

            return fold

        return make

    def classes(model: Any) -> Any:
        layer = nn.ClassFactoredSoftmax(model, 6, [1, 0, 1, 2, 1, 0])
        return lambda xs: layer.loss(xs, [k % 6 for k in range(xs.batch)])

    return {
        "RNN": recurrent(nn.RNN),
        "LSTM": recurrent(nn.LSTM),
        "LSTM, two layers, dropout": recurrent(nn.LSTM, layers=2, dropout=0.3),
        "GRU": recurrent(nn.GRU),
        "GRU, reset after": recurrent(nn.GRU, reset_after=True),
        "Bidirectional": bidirectional,
        "DotAttention": attention(nn.DotAttention),
        "BilinearAttention": attention(nn.BilinearAttention, 6, 6),
        "AdditiveAttention": attention(nn.AdditiveAttention, 6, 6, 3),
        "MultiHeadAttention": attention(nn.MultiHeadAttention, 6, heads=2),
        "Conv1d": lambda model: nn.Conv1d(model, 6, 4, 3, padding="same"),
        "Linear": lambda model: nn.Linear(model, 6, 4),
        "LayerNorm": lambda model: nn.LayerNorm(model, 6),
        "MLP, dropout": perceptron,
        "Dropout": lambda model: nn.Dropout(0.3),
        "ChildSumTreeLSTM": tree(nn.ChildSumTreeLSTM),
        "NaryTreeLSTM": tree(nn.NaryTreeLSTM),
        "ClassFactoredSoftmax": classes,
    }


def layers(report: Report, device: str, quick: bool) -> None:
    """Layers along sequences of different lengths, and their parameters' gradients."""

    def outcome(make: Callable[[Any], Any], where: str) -> list[Any]:
        ln.seed(0)
        rng = np.random.default_rng(0)
        model = ln.Model(seed=0, device=where)
        with ln.use_device(where):
            layer = make(model)
            losses = []
            for n in (3, 1, 5):
                xs = ln.constant(rng.standard_normal((n, 6)).astype(np.float32), batched=True)
                found = ln.squared_norm(layer(xs))
                losses.append(found if found.batch is None else ln.sum_batch(found))
            loss = ln.mean(losses)
            loss.backward()
        return [loss.value(), *[p.gradient() for p in model if p.has_gradient()]]

    def compare(make: Callable[[Any], Any]) -> None:
        found, expected = outcome(make, device), outcome(make, "cpu")
        least = max(float(np.abs(e).max()) for e in expected[1:] or [1.0])  # some are 0 by rights
        for k, (f, e) in enumerate(zip(found, expected, strict=True)):
            same(f, e, 1e-5, "the loss" if k == 0 else f"gradient {k - 1}", least)

    for name, make in makers().items():
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


def files(report: Report, device: str, quick: bool) -> None:
    """Three steps, saved; three more on either device, from the file."""

    def net(where: str) -> tuple[ln.Model, Any, Callable[[], float]]:
        model = ln.Model(seed=0, device=where)
        W, table = model.parameter((4, 6)), model.lookup(20, 6)
        opt = ln.optim.Adam(model, lr=0.1)

        def step() -> float:
            loss = ln.sum_batch(ln.squared_norm(ln.tanh(W @ table[[1, 5, 7, 5]])))
            loss.backward()
            opt.step()
            return float(loss.value())

        return model, opt, step

    def go_on(first: str, second: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            model, opt, step = net(first)
            for _ in range(3):
                step()
            model.save(f"{folder}/model", optimizer=opt)
            other, opt2, step2 = net(second)
            other.load(f"{folder}/model", optimizer=opt2)
            same([step2() for _ in range(3)], [step() for _ in range(3)], TOLERANCE, "the losses")

    for first, second in ((device, "cpu"), ("cpu", device), (device, device)):
        report.check("files", f"{first} to {second}", lambda a=first, b=second: go_on(a, b))


def tests(report: Report, device: str, quick: bool) -> None:
    """The project's tests, as `pytest -m gpu` runs them."""
    if quick:
        return
    if importlib.util.find_spec("pytest") is None or importlib.util.find_spec("hypothesis") is None:
        report.notes.append("tests: not run, because pip install '.[test]' has not been done")
        return
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "--tb=short", "tests"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|error)", last)}
    report.checked["tests"] = sum(counts.values())
    if process.returncode:
        report.failed["tests"] = [last or f"pytest ended with {process.returncode}"]


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
    used: dict[str, int] = {}
    if importlib.util.find_spec("cuda_emulator"):
        from cuda_emulator import stats

        with stats.measure() as found:
            yield used
        used.update({name: found[name] for name in ("launches", "h2d", "d2h")})
    elif has_torch():
        from torch.autograd import DeviceType
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            yield used
        names = [e.name for e in profiler.events() if e.device_type == DeviceType.CUDA]
        used.update(counted(names))
    else:
        yield used


def counted(names: list[str]) -> dict[str, int]:
    """What a profiler saw on the GPU, by kind; fills count as neither."""
    h2d = sum(name.startswith("Memcpy HtoD") for name in names)
    d2h = sum(name.startswith("Memcpy DtoH") for name in names)
    launches = sum(not name.startswith(("Memcpy", "Memset")) for name in names)
    return {"launches": launches, "h2d": h2d, "d2h": d2h}


def tasks(report: Report, device: str, quick: bool) -> None:
    """Training of the suite's tasks: the same losses as on the CPU, then times and counts."""
    sizes = Sizes(hidden=6, **QUICK) if quick else Sizes(hidden=256)
    updates, rounds = (2, 1) if quick else (5, 7)
    heads = "".join(f"{p:>10}" for p in [*PHASES, "total"])
    counts = "".join(f"{c:>10}" for c in ("launches", "uploads", "to host"))
    report.times.append(f"{'milliseconds: median':40}{heads}{counts}")
    if not has_torch():
        report.notes.append("tasks: PyTorch is not installed, or finds no GPU: nothing to compare")
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
    """One line of the table: phases of an update after some others, and what one more did."""
    phases: list[dict[str, float]] = []
    with Scheduling() as scheduling, ln.use_device(device):
        if has_torch():
            import torch

            torch.set_default_device(device)
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        system = make(weights)
        for k, batch in enumerate(batches):
            wait(device)
            measured, _ = turn(system, batch, scheduling, device)
            if k >= warm:
                phases.append(measured)
        with counting() as used:
            turn(system, batches[-1], scheduling, device)
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
        device = ln.Model(device=options.device).device
    except ln.LazynetError as error:
        sys.exit(str(error))
    if device == "cpu":
        sys.exit("--device cpu: the CPU is what a GPU is compared with; give cuda or cuda:1")
    print(machine(device))
    report = Report()
    runs = [ops, layers, optimisers, files, tests, tasks]
    for part, run in zip(PARTS, runs, strict=True):
        if options.only and part not in options.only:
            continue
        start = time.perf_counter()
        run(report, device, options.quick)
        print(f"{part}: {time.perf_counter() - start:.0f} s", flush=True)
    report.print()
    sys.exit(bool(report.failed))


if __name__ == "__main__":
    main()
