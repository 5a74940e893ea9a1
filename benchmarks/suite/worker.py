"""Times one setting (task, hidden size, threads): all systems in this process, round by round.

A round gives the same fresh minibatch to every system, in a random order, one after the other; so
a slow moment of the machine hits them alike, and ratios are taken within rounds. Before each
system's turn comes a garbage collection and a pause, in which other systems' threads stop spinning.
What runs without batching takes part in the first rounds only.
"""

from __future__ import annotations

import datetime
import gc
import importlib.metadata
import importlib.util
import json
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

import lazynet as ln
import lazynet.execute
import lazynet.tape
from benchmarks.suite.base import Lazynet, Sizes, System, Task
from benchmarks.suite.floor import Floor
from benchmarks.suite.following import DynetFollowing
from benchmarks.suite.tasks import TASKS
from benchmarks.waiting import wait

PHASES = ["build", "schedule", "forward", "backward", "update"]
LEVELS = [0, 1, 2, 3]
WARM_UP = 2
SLOW = ("DyNet autobatch 0", "PyTorch per example")
SLOW_ROUNDS = 3


class Scheduling:
    """Adds up the seconds that lazynet spends from roots to index arrays.

    Args:
        clock: What all phases are timed with.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.seconds = 0.0
        self._originals: dict[str, Any] = {}

    def __enter__(self) -> Scheduling:
        for name in ("collect", "layout_of"):
            self._originals[name] = original = getattr(lazynet.execute, name)
            setattr(lazynet.execute, name, self._timed(original))
        return self

    def __exit__(self, *error: object) -> None:
        for name, original in self._originals.items():
            setattr(lazynet.execute, name, original)

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = self.clock()
            result = function(*args, **kwargs)
            self.seconds += self.clock() - start
            return result

        return timed


def systems_of(task: Task) -> dict[str, Callable[[Any], System]]:
    """What there is to run, by the name that tables show."""
    systems: dict[str, Callable[[Any], System]] = {
        "lazynet": task.idiomatic,
        "lazynet op by op": task.op_by_op,
    }
    if importlib.util.find_spec("_dynet") and task.dynet:
        for level in LEVELS:
            systems[f"DyNet autobatch {level}"] = lambda w, level=level: task.dynet(w, level)
            if issubclass(task.dynet, DynetFollowing):
                name = f"DyNet autobatch {level} (lock-step)"
                together = type("LockStep", (task.dynet,), {"lock_step": True})
                systems[name] = lambda w, level=level, make=together: make(w, level)
        if task.builder:
            plain = type("Plain", (task.dynet,), {"builder": "VanillaLSTMBuilder"})
            systems["DyNet autobatch 1 (VanillaLSTM)"] = lambda w: plain(w, 1)
    if importlib.util.find_spec("torch"):
        if task.torch_examples:
            systems["PyTorch per example"] = task.torch_examples
        if task.torch_batched:
            systems["PyTorch batched by hand"] = task.torch_batched
    return systems


def turn(
    system: System, batch: list[Any], scheduling: Scheduling, device: str = "cpu"
) -> tuple[dict[str, float], float]:
    """One update: milliseconds of each phase, and the loss."""
    scheduling.seconds = 0.0
    clock = scheduling.clock
    marks = [clock()]
    built = system.build(batch)
    marks.append(clock())
    loss = system.forward(built)
    marks.append(clock())
    system.backward()
    wait(device)
    marks.append(clock())
    system.update()
    wait(device)
    marks.append(clock())
    del built
    build, forward, backward, update = np.diff(marks).tolist()
    schedule = scheduling.seconds
    values = [build, schedule, forward - schedule, backward, update]
    return {phase: 1e3 * v for phase, v in zip(PHASES, values)}, loss


def prepare(threads: int, device: str) -> None:
    """Settings of the peers, before they are used. DyNet stays on the CPU."""
    if importlib.util.find_spec("_dynet"):
        import dynet_config

        dynet_config.set(mem="1024", random_seed=1)
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(threads)
        if device != "cpu" and torch.cuda.is_available():
            torch.set_default_device(device)


def clock_of(config: dict[str, Any]) -> Callable[[], float]:
    """Wall-clock time, or CPU time of this process: where others take the machine's cores."""
    return time.process_time if config.get("cpu time") else time.perf_counter


def run(config: dict[str, Any]) -> dict[str, Any]:
    """Measure one setting, as `driver.settings` describes it."""
    device = config.get("device", "cpu")
    prepare(config["threads"], device)
    try:
        with Scheduling(clock_of(config)) as scheduling, ln.use_device(device):
            return measure(config, scheduling)
    finally:
        gc.unfreeze()


def measure(config: dict[str, Any], scheduling: Scheduling) -> dict[str, Any]:
    task = TASKS[config["task"]]
    sizes = Sizes(hidden=config["hidden"], trees=config["trees"], **config.get("sizes", {}))
    rounds = config["rounds"]
    device = config.get("device", "cpu")
    weights = task.weights(sizes)
    batches = task.batches(sizes, np.random.default_rng(1), WARM_UP + rounds)
    wanted = {
        name: make
        for name, make in systems_of(task).items()
        if not config["systems"] or any(s in name.lower() for s in config["systems"])
    }
    systems: dict[str, System] = {}
    results: dict[str, dict[str, Any]] = {}
    left: dict[str, int] = {}
    for name, make in wanted.items():
        entry: dict[str, Any] = {"rounds": {}, "losses": []}
        try:
            system = make(weights)
            for batch in batches[:WARM_UP]:
                _, loss = turn(system, batch, scheduling, device)
                entry["losses"].append(loss)
        except Exception:
            entry["error"] = traceback.format_exc()
            results[name] = entry
            print(f"{name} failed:\n{entry['error']}", file=sys.stderr)
            continue
        left[name] = min(rounds, SLOW_ROUNDS) if name in SLOW else rounds
        systems[name], results[name] = system, entry
    floor: list[float] = []
    gc.collect()
    gc.freeze()
    rng = np.random.default_rng(2)
    for number, batch in enumerate(batches[WARM_UP:]):
        turns = [name for name in systems if number < left[name]] + ["floor"]
        rng.shuffle(turns)
        for name in turns:
            if name == "floor":
                count = task.exponentials(sizes, batch) if task.exponentials else 0
                products = Floor(task.products(sizes, batch), count, task.trains)
                products()
                clock = scheduling.clock
                floor.append(1e3 * statistics.median(products(clock) for _ in range(3)))
                continue
            gc.collect()
            time.sleep(0.005)
            phases, _ = turn(systems[name], batch, scheduling, device)
            results[name]["rounds"][number] = phases
    for name, system in systems.items():
        if isinstance(system, Lazynet):
            results[name]["plan"] = system.counts(batches[0])
    return {
        "task": task.name,
        "hidden": sizes.hidden,
        "threads": config["threads"],
        "device": device,
        "clock": "CPU" if config.get("cpu time") else "wall",
        "examples": sizes.examples,
        "trees": "file" if sizes.trees else "generated",
        "systems": results,
        "floor": floor,
        "floor MFLOP": Floor(task.products(sizes, batches[0]), trains=task.trains).flop / 1e6,
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "versions": versions(),
    }


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            found = {}
            for line in file:
                key, _, value = line.partition(":")
                found.setdefault(key.strip(), value.strip())
        family = f"family {found['cpu family']} model {found['model']}"
        return f"{found['model name']} ({family}, {found.get('siblings', '?')} threads)"
    except (OSError, KeyError):
        return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    result = {"Python": platform.python_version(), "lazynet": ln.__version__}
    compiled = not str(ln.tape.__file__).endswith(".py")
    for name in ("numpy", "dynet38", "torch"):
        try:
            result[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    result["lazynet"] += " (compiled)" if compiled else " (not compiled)"
    return result


if __name__ == "__main__":
    result = run(json.loads(sys.argv[1]))
    with open(sys.argv[2], "w") as file:
        json.dump(result, file)
