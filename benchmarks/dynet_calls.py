"""What calls of DyNet's Python interface cost, in DyNet's wheel and in `lazynet.dynet`.

    make bench-calls
    make bench-calls ARGS="--rounds 9 --only affine tanh"
    make bench-calls ARGS="--device cuda"

Nanoseconds a call, of calls that only record: medians of rounds, in each of which every system runs
once as a process of its own. `--lazynet` may be given several times, each a Python interpreter
with, if wanted, a folder that it imports lazynet from: ``--lazynet python=folder``.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from waiting import add_device

CALLS = 400
REPEATS = 15


def recorded(dy: Any) -> dict[str, Callable[[], Callable[[], Any]]]:
    """By name, what makes the operands on a new graph and returns the call."""
    model = dy.ParameterCollection()
    W, W2 = model.add_parameters((32, 32)), model.add_parameters((32, 32))
    b = model.add_parameters(32)
    table = model.add_lookup_parameters((100, 32))
    numbers = [float(k) for k in range(32)]

    def vector() -> Any:
        return dy.tanh(dy.inputVector(numbers))

    def of_one(function: Callable[[Any], Any]) -> Callable[[], Callable[[], Any]]:
        def prepare() -> Callable[[], Any]:
            x = vector()
            return lambda: function(x)

        return prepare

    def of_two(function: Callable[[Any, Any], Any]) -> Callable[[], Callable[[], Any]]:
        def prepare() -> Callable[[], Any]:
            x, y = vector(), vector()
            return lambda: function(x, y)

        return prepare

    def of_many(function: Callable[[list[Any]], Any]) -> Callable[[], Callable[[], Any]]:
        def prepare() -> Callable[[], Any]:
            xs = [vector() for _ in range(10)]
            return lambda: function(xs)

        return prepare

    def of_none(function: Callable[[], Any]) -> Callable[[], Callable[[], Any]]:
        def prepare() -> Callable[[], Any]:
            x = vector()  # that is kept: a graph that nobody refers to would be dropped
            return lambda: (x, function())

        return prepare

    array = np.zeros(32, np.float32)
    return {
        "scalarInput(1.5)": of_none(lambda: dy.scalarInput(1.5)),
        "vecInput(32)": of_none(lambda: dy.vecInput(32)),
        "inputVector(list of 32)": of_none(lambda: dy.inputVector(numbers)),
        "inputTensor(list of 32)": of_none(lambda: dy.inputTensor(numbers)),
        "inputTensor(array of 32)": of_none(lambda: dy.inputTensor(array)),
        "dy.lookup(table, 3)": of_none(lambda: dy.lookup(table, 3)),
        "table[3]": of_none(lambda: table[3]),
        "tanh(x)": of_one(dy.tanh),
        "logistic(x)": of_one(dy.logistic),
        "rectify(x)": of_one(dy.rectify),
        "log(x)": of_one(dy.log),
        "-x": of_one(lambda x: -x),
        "x + y": of_two(lambda x, y: x + y),
        "x - y": of_two(lambda x, y: x - y),
        "x * 2.0": of_one(lambda x: x * 2.0),
        "cmult(x, y)": of_two(dy.cmult),
        "dot_product(x, y)": of_two(dy.dot_product),
        "squared_distance(x, y)": of_two(dy.squared_distance),
        "W * x": of_one(lambda x: W * x),
        "W * x + b": of_one(lambda x: W * x + b),
        "affine_transform([b, W, x])": of_one(lambda x: dy.affine_transform([b, W, x])),
        "affine_transform([b, W, x, W2, y])": of_two(
            lambda x, y: dy.affine_transform([b, W, x, W2, y])
        ),
        "concatenate([x, y])": of_two(lambda x, y: dy.concatenate([x, y])),
        "concatenate(10)": of_many(dy.concatenate),
        "concatenate_cols(10)": of_many(dy.concatenate_cols),
        "esum([x, y])": of_two(lambda x, y: dy.esum([x, y])),
        "esum(10)": of_many(dy.esum),
        "average(10)": of_many(dy.average),
        "x[3]": of_one(lambda x: x[3]),
        "x[3:9]": of_one(lambda x: x[3:9]),
        "pick(x, 3)": of_one(lambda x: dy.pick(x, 3)),
        "pick_range(x, 3, 9)": of_one(lambda x: dy.pick_range(x, 3, 9)),
        "softmax(x)": of_one(dy.softmax),
        "log_softmax(x)": of_one(dy.log_softmax),
        "pickneglogsoftmax(x, 3)": of_one(lambda x: dy.pickneglogsoftmax(x, 3)),
        "hinge(x, 3)": of_one(lambda x: dy.hinge(x, 3)),
        "sum_elems(x)": of_one(dy.sum_elems),
        "dropout(x, 0.5)": of_one(lambda x: dy.dropout(x, 0.5)),
        "noise(x, 0.5)": of_one(lambda x: dy.noise(x, 0.5)),
        "transpose(x)": of_one(dy.transpose),
        "reshape(x, (8, 4))": of_one(lambda x: dy.reshape(x, (8, 4))),
        "x.dim()": of_one(lambda x: x.dim()),
    }


def computed(dy: Any) -> dict[str, Callable[[], Callable[[], Any]]]:
    """The same for calls that compute, each on a graph of its own."""
    model = dy.ParameterCollection()
    W, b = model.add_parameters((32, 32)), model.add_parameters(32)
    trainer = dy.SimpleSGDTrainer(model, 1e-6)
    numbers = [float(k) for k in range(32)]

    def known() -> Callable[[], Any]:
        loss = dy.squared_norm(dy.inputVector(numbers))
        loss.value()
        return loss.value

    def value() -> None:
        dy.renew_cg()
        dy.squared_norm(dy.inputVector(numbers)).value()

    def vector() -> None:
        dy.renew_cg()
        dy.tanh(dy.inputVector(numbers)).vec_value()

    def backward() -> None:
        dy.renew_cg()
        loss = dy.squared_norm(dy.affine_transform([b, W, dy.inputVector(numbers)]))
        loss.value()
        loss.backward()

    def update(kept: Any = model) -> None:  # the wheel's trainers do not keep their model
        backward()
        trainer.update()

    return {
        "renew_cg()": lambda: dy.renew_cg,
        "loss.value(), computed before": known,
        "renew_cg, 2 nodes, value()": lambda: value,
        "renew_cg, 2 nodes, vec_value()": lambda: vector,
        "renew_cg, 3 nodes, value(), backward()": lambda: backward,
        "... and update()": lambda: update,
    }


def work(module: str, only: list[str], device: str) -> None:
    """Measure one system; prints the nanoseconds as JSON. The wheel stays on the CPU."""
    dy = __import__(module, fromlist=["x"])
    if module != "dynet" and device != "cpu":
        import lazynet

        with lazynet.use_device(device):
            timed(dy, only)
    else:
        timed(dy, only)


def timed(dy: Any, only: list[str]) -> None:
    found = {}
    for cases, calls in ((recorded(dy), CALLS), (computed(dy), 20)):
        for name, prepare in cases.items():
            if only and not any(text in name for text in only):
                continue
            times = []
            for _ in range(REPEATS):
                dy.renew_cg()
                call = prepare()
                call()
                gc.disable()
                start = perf_counter()
                for _ in range(calls):
                    call()
                times.append((perf_counter() - start) / calls)
                gc.enable()
            found[name] = 1e9 * statistics.median(times)
    print(json.dumps(found))


def measured(
    command: list[str], folder: str, module: str, only: list[str], device: str
) -> dict[str, float]:
    """What one system needs, in a process of its own."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    environment.pop("PYTHONPATH", None)
    if folder:
        environment["PYTHONPATH"] = folder
    done = subprocess.run(
        [
            *command,
            os.path.abspath(__file__),
            "--device",
            device,
            "--module",
            module,
            "--only",
            *only,
        ],
        capture_output=True,
        text=True,
        env=environment,
        cwd=os.path.dirname(os.path.abspath(__file__)),
    )
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--wheel", default=sys.executable, help="Python that has the wheel")
    parser.add_argument("--lazynet", action="append", help="PYTHON or PYTHON=FOLDER")
    parser.add_argument("--only", nargs="*", default=[], help="parts of names of calls")
    parser.add_argument("--module", help=argparse.SUPPRESS)
    add_device(parser)
    options = parser.parse_args()
    if options.module:
        work(options.module, options.only, options.device)
        return
    systems = [(options.wheel, "", "dynet")]
    for entry in options.lazynet or [sys.executable]:
        python, _, folder = entry.partition("=")
        systems.append((python, folder, "lazynet.dynet"))
    rounds: list[list[dict[str, float]]] = [[] for _ in systems]
    for _ in range(options.rounds):
        for k, (python, folder, module) in enumerate(systems):
            rounds[k].append(measured([python], folder, module, options.only, options.device))
    heads = ["wheel", *(f"lazynet {k}" for k in range(1, len(systems)))]
    print(f"{'ns per call':42}" + "".join(f"{head:>11}" for head in heads) + f"{'ratio':>8}")
    for name in rounds[0][0]:
        medians = [statistics.median(found[name] for found in system) for system in rounds]
        numbers = "".join(f"{ns:11.0f}" for ns in medians)
        print(f"{name:42}{numbers}{medians[0] / medians[-1]:8.2f}")


if __name__ == "__main__":
    main()
