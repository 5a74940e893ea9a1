"""What a small graph costs: microseconds for a few nodes, one example at a time.

    python benchmarks/small.py [--rounds 40] [--json FILE] [--device cuda]

* ten: two layers of 50 with four parameters and a sum, in parts: record, value, backward, update
  (SGD);
* xor: 2-8-1 with a squared error, record to update;
* words: a recurrent net over ten words, hidden 50, a loss at each word, record to backward;
* round: one fused node on the value of the round before, and its value, under `no_grad`;
* episode: twenty rounds of which each looks at its loss, then one backward; time for a round;
* static: the graph of ten nodes is kept, its input replaced, its value computed anew; backward.

DyNet runs the same where its wheel is installed (it has no fused nodes: `round` is an affine
transform and a tanh there, on a graph that is begun anew every 50 rounds). All take turns. What is
printed is the median of the calls, with the middle half. Structures have been met before: the
first turn is left out. On a GPU a part ends when the GPU is done. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from waiting import add_device, wait

import lazynet as ln
from lazynet import tape
from lazynet.execute import evaluate, last_serial
from lazynet.revise import forget, replace

HIDDEN = 50
CALLS = 20
"""Calls of a task in its turn."""

Marks = list[int]
Task = Callable[[Marks], None]
"""Notes the time at the end of each of its parts."""

now = time.perf_counter_ns


class Lazynet:
    """The tasks in lazynet."""

    def __init__(self, device: str) -> None:
        self.device = device
        model = self.model = ln.Model(seed=0)
        self.W, self.U, self.R = [model.parameter((HIDDEN, HIDDEN)) for _ in range(3)]
        self.b, self.c = model.parameter(HIDDEN), model.parameter(HIDDEN)
        self.V, self.table = model.parameter((20, HIDDEN)), model.lookup(100, HIDDEN)
        self.xor_model = ln.Model(seed=0)
        self.hidden = self.xor_model.parameter((8, 2)), self.xor_model.parameter(8)
        self.out = self.xor_model.parameter((1, 8)), self.xor_model.parameter(1)
        self.step = ln.optim.SGD(model, lr=1e-6).step
        self.xor_step = ln.optim.SGD(self.xor_model, lr=0.1).step
        self.x = np.ones(HIDDEN, np.float32)
        self.cell = ln.fuse(lambda h, x: ln.tanh(self.W @ h + self.U @ x + self.b))
        self.state = ln.constant(self.x)
        self.input = ln.constant(self.x)
        self.root = self.graph(self.input)
        self.tasks: dict[str, Task] = {
            "ten": self.ten, "xor": self.xor, "words": self.words, "round": self.round,
            "episode": self.episode, "static": self.static,
        }  # fmt: skip

    def mark(self, marks: Marks) -> None:
        """Note the time at which the device is done: backward and update only start their work."""
        wait(self.device)
        marks.append(now())

    def graph(self, x: Any) -> Any:
        return (ln.tanh(self.W @ x + self.b) * ln.sigmoid(self.U @ x + self.c) + x).sum()

    def ten(self, marks: Marks) -> None:
        loss = self.graph(ln.constant(self.x))
        self.mark(marks)
        loss.value()
        self.mark(marks)
        loss.backward()
        self.mark(marks)
        self.step()
        self.mark(marks)

    def xor(self, marks: Marks) -> None:
        (W, b), (V, a) = self.hidden, self.out
        d = ln.sigmoid(V @ ln.tanh(W @ ln.constant([1.0, 0.0]) + b) + a) - ln.constant([1.0])
        loss = (d * d).sum()
        loss.value()
        loss.backward()
        self.xor_step()
        self.mark(marks)

    def words(self, marks: Marks) -> None:
        losses = []
        h = None
        for word in range(10):
            z = self.U @ self.table[word] + self.b
            h = ln.tanh(z if h is None else z + self.R @ h)
            losses.append(ln.cross_entropy(self.V @ h, word))
        loss = ln.sum(losses)
        loss.value()
        loss.backward()
        self.mark(marks)
        self.model.zero_gradients()

    def round(self, marks: Marks) -> None:
        with ln.no_grad():
            self.state = self.cell(self.state, self.input)
        self.state.value()
        self.mark(marks)

    def episode(self, marks: Marks) -> None:
        h = ln.constant(self.x)
        losses = []
        for _ in range(20):
            h = ln.tanh(self.W @ h + self.U @ ln.constant(self.x) + self.b)
            losses.append((h * h).sum())
            losses[-1].value()
        ln.sum(losses).backward()
        self.mark(marks)
        self.model.zero_gradients()

    def static(self, marks: Marks) -> None:
        marks[0] = now()
        replace(self.input, self.x)
        forget([self.root], last_serial())
        evaluate([self.root], keep_imports=True)
        self.root.value()
        self.mark(marks)
        self.root.backward()
        self.mark(marks)
        self.model.zero_gradients()


class DyNet:
    """The tasks in DyNet."""

    def __init__(self, dy: Any) -> None:
        self.dy = dy
        model = self.model = dy.ParameterCollection()
        shapes = [(HIDDEN, HIDDEN)] * 3
        self.W, self.U, self.R = [model.add_parameters(shape) for shape in shapes]
        self.b, self.c = model.add_parameters(HIDDEN), model.add_parameters(HIDDEN)
        self.V = model.add_parameters((20, HIDDEN))
        self.table = model.add_lookup_parameters((100, HIDDEN))
        self.xor_model = dy.ParameterCollection()
        add = self.xor_model.add_parameters
        self.hidden, self.out = (add((8, 2)), add(8)), (add((1, 8)), add(1))
        self.step = dy.SimpleSGDTrainer(model, 1e-6).update
        self.xor_step = dy.SimpleSGDTrainer(self.xor_model, 0.1).update
        self.x = [1.0] * HIDDEN
        self.rounds = 0
        self.state: Any = None
        self.input: Any = None
        self.version = -1
        self.fixed = -1
        self.root: Any = None
        self.changing: Any = None
        self.tasks: dict[str, Task] = {
            "ten": self.ten, "xor": self.xor, "words": self.words, "round": self.round,
            "episode": self.episode, "static": self.static,
        }  # fmt: skip

    def graph(self, x: Any) -> Any:
        dy = self.dy
        gate = dy.logistic(self.U * x + self.c)
        return dy.sum_elems(dy.cmult(dy.tanh(self.W * x + self.b), gate) + x)

    def ten(self, marks: Marks) -> None:
        self.dy.renew_cg()
        loss = self.graph(self.dy.inputVector(self.x))
        marks.append(now())
        loss.value()
        marks.append(now())
        loss.backward()
        marks.append(now())
        self.step()
        marks.append(now())

    def xor(self, marks: Marks) -> None:
        dy = self.dy
        dy.renew_cg()
        (W, b), (V, a) = self.hidden, self.out
        y = dy.logistic(V * dy.tanh(W * dy.inputVector([1.0, 0.0]) + b) + a)
        loss = dy.squared_distance(y, dy.inputVector([1.0]))
        loss.value()
        loss.backward()
        self.xor_step()
        marks.append(now())

    def words(self, marks: Marks) -> None:
        dy = self.dy
        dy.renew_cg()
        losses = []
        h = None
        for word in range(10):
            z = self.U * self.table[word] + self.b
            h = dy.tanh(z if h is None else z + self.R * h)
            losses.append(dy.pickneglogsoftmax(self.V * h, word))
        loss = dy.esum(losses)
        loss.value()
        loss.backward()
        marks.append(now())
        self.step()

    def round(self, marks: Marks) -> None:
        dy = self.dy
        if self.rounds % 50 == 0 or self.version != dy.cg_version():
            dy.renew_cg()
            self.version = dy.cg_version()
            self.state, self.input = dy.inputVector(self.x), dy.inputVector(self.x)
            self.state.npvalue(), self.input.npvalue()
        self.rounds += 1
        marks[0] = now()
        self.state = dy.tanh(dy.affine_transform([self.b, self.W, self.state, self.U, self.input]))
        self.state.npvalue()
        marks.append(now())

    def episode(self, marks: Marks) -> None:
        dy = self.dy
        dy.renew_cg()
        h = dy.inputVector(self.x)
        losses = []
        for _ in range(20):
            h = dy.tanh(self.W * h + self.U * dy.inputVector(self.x) + self.b)
            losses.append(dy.squared_norm(h))
            losses[-1].value()
        loss = dy.esum(losses)
        loss.value()
        loss.backward()
        marks.append(now())
        self.step()

    def static(self, marks: Marks) -> None:
        if self.fixed != self.dy.cg_version():
            self.dy.renew_cg()
            self.fixed = self.dy.cg_version()
            self.changing = self.dy.vecInput(HIDDEN)
            self.changing.set(self.x)
            self.root = self.graph(self.changing)
            self.root.value()
        marks[0] = now()
        self.changing.set(self.x)
        self.root.value()
        marks.append(now())
        self.root.backward()
        marks.append(now())
        self.step()


PARTS = {"ten": ["record", "value", "backward", "update"], "static": ["value", "backward"]}
"""Names of the parts of tasks that have several."""

PER = {"episode": 20}
"""How often a task repeats what is reported."""


def measure(tasks: dict[str, dict[str, Task]], rounds: int) -> dict[str, list[float]]:
    """Microseconds of every call, by task, part and system."""
    found: dict[str, list[float]] = {}
    for turn in range(rounds + 1):
        for name in tasks["lazynet"]:
            for system, of_system in tasks.items():
                for _ in range(CALLS):
                    marks = [now()]
                    of_system[name](marks)
                    if not turn:
                        continue
                    for part, begin, end in zip(PARTS.get(name, [""]), marks, marks[1:]):
                        key = f"{name} {part}".strip() + f", {system}"
                        found.setdefault(key, []).append((end - begin) / 1e3 / PER.get(name, 1))
                    if name in PARTS:
                        whole = (marks[-1] - marks[0]) / 1e3
                        found.setdefault(f"{name} whole, {system}", []).append(whole)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", help="write the medians to this file too")
    add_device(parser)
    options = parser.parse_args()
    with ln.use_device(options.device):
        report(options)


def report(options: argparse.Namespace) -> None:
    tasks = {"lazynet": Lazynet(options.device).tasks}
    if importlib.util.find_spec("_dynet"):
        tasks["DyNet"] = DyNet(importlib.import_module("dynet")).tasks
    else:
        print("DyNet is not installed")
    compiled = not (tape.__file__ or "").endswith(".py")
    print(
        f"Python {platform.python_version()}, NumPy {np.__version__}, lazynet "
        f"{'compiled' if compiled else 'as it is'}, {options.device}; microseconds, median (middle "
        "half)"
    )
    figures = {}
    found = measure(tasks, options.rounds)
    names = dict.fromkeys(key.rpartition(", ")[0] for key in found)
    for name in names:
        line = f"{name:16}"
        for system in tasks:
            times = found[f"{name}, {system}"]
            low, middle, high = statistics.quantiles(times, n=4)
            figures[f"{name}, {system}"] = middle
            line += f"{system:>10} {middle:7.1f} ({low:.1f} - {high:.1f})"
        print(line)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
