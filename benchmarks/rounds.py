"""What a round of `ln.run_together` costs, and what running examples together gains.

    python benchmarks/rounds.py [--device cpu] [--rounds 7] [--cpu-time] [--json FILE]

* rounds: 1, 10, 100 and 1000 examples take 50 steps of a recurrent cell, hidden 50, one fused node
  each, and look at the scores after each step: as coroutines, in a lock-step loop written by hand
  (`ln.values` of all), and one example after the other (`.value()`). Microseconds a round;
* parses: 64 sentences of 10 to 36 words through an arc-standard parser with stack LSTMs that
  follows its own predictions, in the same three ways; others in each turn. Sentences a second;
* decode: beam search, width 4, over 16 states of a GRU decoder of 1,000 words: together, and one
  search after the other. Sentences a second;
* memory: what a decode under `no_grad` holds after a tenth of its steps, and at their end.

All ways take turns; medians are printed, with the middle half. Results are compared, so that it is
the same work. Nothing is asserted about times.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from waiting import add_device

import lazynet as ln
from lazynet import tape

HIDDEN = 50
STEPS = 50
Way = Callable[[], list[Any]]


class Stepper:
    """A recurrent cell with a few scores, as one fused node."""

    def __init__(self) -> None:
        model = ln.Model(seed=0)
        self.W, self.U = model.parameter((HIDDEN, HIDDEN)), model.parameter((HIDDEN, HIDDEN))
        self.b, self.V = model.parameter(HIDDEN), model.parameter((4, HIDDEN))
        self.table = model.lookup(4, HIDDEN)

    @ln.fuse
    def step(self, h: Any, last: int) -> Any:
        h = ln.tanh(ln.affine(self.b, self.W, h, self.U, self.table[last]))
        return h, self.V @ h

    def start(self, k: int) -> Any:
        return ln.constant(np.full(HIDDEN, k % 7 / 7, np.float32))

    def ways(self, examples: int) -> dict[str, Way]:
        async def follow(k: int) -> int:
            h, last, total = self.start(k), k % 4, 0
            with ln.no_grad():
                for _ in range(STEPS):
                    h, scores = self.step(h, last)
                    last = int((await scores).argmax())
                    total += last
            return total

        def together() -> list[int]:
            return ln.run_together(follow(k) for k in range(examples))

        def lock_step() -> list[int]:
            states = [self.start(k) for k in range(examples)]
            last = [k % 4 for k in range(examples)]
            totals = [0] * examples
            with ln.no_grad():
                for _ in range(STEPS):
                    pairs = [self.step(h, k) for h, k in zip(states, last)]
                    states = [h for h, _ in pairs]
                    last = [int(v.argmax()) for v in ln.values([v for _, v in pairs])]
                    totals = [total + k for total, k in zip(totals, last)]
            return totals

        def one_by_one() -> list[int]:
            totals = []
            with ln.no_grad():
                for k in range(examples):
                    h, last, total = self.start(k), k % 4, 0
                    for _ in range(STEPS):
                        h, scores = self.step(h, last)
                        last = int(scores.value().argmax())
                        total += last
                    totals.append(total)
            return totals

        return {"together": together, "lock-step": lock_step, "one by one": one_by_one}


class Parser:
    """Arc-standard with stack LSTMs, as in the suite: moves are SHIFT, LEFT and RIGHT."""

    def __init__(self, hidden: int) -> None:
        model = ln.Model(seed=0)
        self.words = model.lookup(1000, 128)
        self.buffer = ln.nn.LSTM(model, 128, hidden)
        self.stack = ln.nn.LSTM(model, 128, hidden)
        self.none = model.parameter(hidden)
        self.P_S, self.P_B = [model.parameter((100, hidden)) for _ in range(2)]
        self.p, self.Q, self.q = [model.parameter(shape) for shape in (100, (3, 100), 3)]
        self.C_head, self.C_dependent = [model.parameter((128, 128)) for _ in range(2)]
        self.k = model.parameter(128)

    def batches(self) -> Iterator[list[list[int]]]:
        """Fresh sentences for every turn: of the same ones even the rounds would be known."""
        rng = np.random.default_rng(0)
        while True:
            yield [rng.integers(0, 1000, rng.integers(10, 37)).tolist() for _ in range(64)]

    @ln.fuse
    def scores(self, top: Any, front: Any) -> Any:
        hidden = ln.tanh(ln.affine(self.p, self.P_S, top, self.P_B, front))
        return ln.affine(self.q, self.Q, hidden)

    @ln.fuse
    def compose(self, head: Any, dependent: Any) -> Any:
        return ln.tanh(ln.affine(self.k, self.C_head, head, self.C_dependent, dependent))

    def parse(self, words: list[int]) -> Any:
        """Yields the scores of each step, is sent their values, and returns the heads."""
        xs = self.words[words]
        ys, _ = self.buffer(xs, reverse=True)
        waiting, fronts = ln.unbatch(xs), [*ln.unbatch(ys), self.none]
        states = [self.stack.initial_state()]
        items: list[tuple[int, Any]] = []
        heads = [-1] * len(words)
        front = 0
        while front < len(words) or len(items) > 1:
            values = yield self.scores(states[-1][0], fronts[front])
            legal = ([0] if front < len(words) else []) + ([1, 2] if len(items) > 1 else [])
            move = max(legal, key=values.__getitem__)
            if move == 0:
                number, item = front, waiting[front]
                front += 1
            else:
                (i, second), (j, first) = items[-2:]
                del items[-2:], states[-2:]
                number, child = (j, i) if move == 1 else (i, j)
                heads[child] = number
                item = self.compose(*((first, second) if move == 1 else (second, first)))
            items.append((number, item))
            states.append(self.stack.step(item, states[-1])[1])
        return heads

    def ways(self) -> dict[str, Way]:
        for_together, for_lock_step, for_one = [self.batches() for _ in range(3)]

        async def alone(words: list[int]) -> list[int]:
            steps = self.parse(words)
            with ln.no_grad():
                try:
                    scores = next(steps)
                    while True:
                        scores = steps.send(await scores)
                except StopIteration as end:
                    return end.value

        def together() -> list[Any]:
            return ln.run_together(alone(words) for words in next(for_together))

        def lock_step() -> list[Any]:
            sentences = next(for_lock_step)
            found: list[Any] = [None] * len(sentences)
            with ln.no_grad():
                going = [(k, p, next(p)) for k, p in enumerate(map(self.parse, sentences))]
                while going:
                    values = ln.values([scores for _, _, scores in going])
                    waiting, going = going, []
                    for (k, p, _), v in zip(waiting, values):
                        try:
                            going.append((k, p, p.send(v)))
                        except StopIteration as end:
                            found[k] = end.value
            return found

        def one_by_one() -> list[Any]:
            found = []
            with ln.no_grad():
                for p in map(self.parse, next(for_one)):
                    try:
                        scores = next(p)
                        while True:
                            scores = p.send(scores.value())
                    except StopIteration as end:
                        found.append(end.value)
            return found

        return {"together": together, "lock-step": lock_step, "one by one": one_by_one}


class Decoder:
    """A GRU with a softmax over 1,000 words."""

    def __init__(self) -> None:
        model = ln.Model(seed=0)
        self.table = model.lookup(1000, HIDDEN, init=ln.init.Normal(std=1.0))
        self.gru = ln.nn.GRU(model, HIDDEN, HIDDEN)
        self.head = ln.nn.Linear(model, HIDDEN, 1000)
        rng = np.random.default_rng(0)
        self.states = rng.standard_normal((16, HIDDEN)).astype(np.float32)

    def step(self, state: Any, token: int) -> Any:
        y, state = self.gru.step(self.table[token], state)
        return ln.log_softmax(self.head(y)), state

    def search(self, state: Any) -> Any:
        return ln.beam_search(self.step, ln.constant(state), 4, 20, start=0, end=1)

    def ways(self) -> dict[str, Way]:
        def tokens(found: list[Any]) -> list[Any]:
            return [[h.tokens for h in hypotheses] for hypotheses in found]

        return {
            "together": lambda: tokens(ln.run_together(self.search(s) for s in self.states)),
            "one by one": lambda: tokens([self.search(s).value() for s in self.states]),
        }


def measure(ways: dict[str, Way], options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each way; they take turns. The first turn is left out."""
    clock = time.process_time if options.cpu_time else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for turn in range(options.rounds + 1):
        for name, way in ways.items():
            began = clock()
            results[name] = way()
            if turn:
                times[name].append(clock() - began)
    differing = sum(
        a != b for found in results.values() for a, b in zip(results["together"], found)
    )
    if differing:  # float32 rounds otherwise in other batches, and equal scores then tip over
        print(f"  {differing} results differ")
    return times


def show(times: dict[str, list[float]], scale: Callable[[float], float]) -> dict[str, float]:
    """Print the median and the middle half of each way."""
    line = "  "
    for name, seconds in times.items():
        low, middle, high = [scale(s) for s in statistics.quantiles(seconds, n=4)]
        line += f"{name} {middle:.4g} ({min(low, high):.4g} - {max(low, high):.4g}); "
    base = statistics.median(times["together"])
    for name, seconds in times.items():
        if name != "together":
            line += f" {statistics.median(seconds) / base:.2f} x {name}"
    print(line.rstrip())
    return {name: scale(statistics.median(seconds)) for name, seconds in times.items()}


def memory(stepper: Stepper, steps: int) -> tuple[float, float]:
    """Kilobytes that a decode of so many steps holds after a tenth of them, and at the end."""
    held = []

    async def follow(k: int) -> None:
        h, last = stepper.start(k), k
        with ln.no_grad():
            for n in range(steps):
                h, scores = stepper.step(h, last)
                last = int((await scores).argmax())
                if k == 0 and n in (steps // 10, steps - 1):
                    held.append(tracemalloc.get_traced_memory()[0] / 1e3)

    tracemalloc.start()
    ln.run_together(follow(k) for k in range(4))
    tracemalloc.stop()
    return held[0], held[1]


def report(options: argparse.Namespace) -> None:
    compiled = not (tape.__file__ or "").endswith(".py")
    print(
        f"Python {platform.python_version()}, NumPy {np.__version__}, lazynet "
        f"{'compiled' if compiled else 'as it is'}, {options.device}; medians (middle half)"
    )
    figures: dict[str, Any] = {}
    stepper = Stepper()
    for examples in (1, 10, 100, 1000):
        ways = stepper.ways(examples)
        print(f"rounds of {examples}: us a round (one by one: for as many)")
        figures[f"rounds of {examples}"] = show(measure(ways, options), lambda s: s * 1e6 / STEPS)
    for hidden in (50, 256):
        print(f"64 parses, hidden {hidden}: sentences a second")
        times = measure(Parser(hidden).ways(), options)
        figures[f"parses, hidden {hidden}"] = show(times, lambda s: 64 / s)
    print("beam search, 16 x width 4 x 20 words of 1,000: sentences a second")
    figures["decode"] = show(measure(Decoder().ways(), options), lambda s: 16 / s)
    early, late = memory(stepper, 10_000)
    figures["memory"] = {"early": early, "late": late}
    print(f"decode of 10,000 steps holds {early:.0f} kB after 1,000, {late:.0f} kB at the end")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(figures, file, indent=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--cpu-time", action="store_true", help="of this process: where a machine is shared"
    )
    parser.add_argument("--json", help="write the medians to this file too")
    add_device(parser)
    options = parser.parse_args()
    with ln.use_device(options.device):
        report(options)


if __name__ == "__main__":
    main()
