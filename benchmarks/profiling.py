"""What `ln.profile` costs: training steps with and without it, in interleaved pairs.

    python -m benchmarks.profiling [--tasks tree,tagger] [--hidden 50] [--pairs 60] [--device cpu]

Tasks are those of the suite, as its idiomatic model and written op by op. Each pair takes one fresh
minibatch through a step of two copies of the model, in random order; printed is the median of the
ratios within pairs, with quartiles, and for control that of two steps without a profile. Nothing is
asserted.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

import lazynet as ln
from benchmarks.suite.base import Sizes
from benchmarks.suite.tasks import TASKS
from benchmarks.waiting import add_device, wait


def step(model: Any, batch: Any, block: AbstractContextManager[Any], device: str) -> float:
    """Seconds of CPU time, which neighbours disturb least, of a training step in this block.

    On a GPU the wait for its work, which keeps a core busy, counts too.
    """
    start = time.thread_time()
    with block:
        model.forward(model.build(batch))
        model.backward()
        model.update()
    wait(device)
    return time.thread_time() - start


def ratios(
    task: str, hidden: int, op_by_op: bool, pairs: int, profiled: bool, device: str
) -> list[float]:
    """Per pair, time with a profile over time without."""
    rng = np.random.default_rng(0)
    found = TASKS[task]
    sizes = Sizes(hidden=hidden)
    make = found.op_by_op if op_by_op else found.idiomatic
    models = [make(found.weights(sizes)) for _ in range(2)]
    result = []
    for k, batch in enumerate(found.batches(sizes, rng, pairs + 5)):
        seconds = [0.0, 0.0]
        for which in rng.permutation(2).tolist():
            gc.collect()
            block = ln.profile() if which and profiled else nullcontext()
            seconds[which] = step(models[which], batch, block, device)
        if k >= 5:
            result.append(seconds[1] / seconds[0])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default="tree,tagger", help="default: %(default)s")
    parser.add_argument("--hidden", type=int, default=50, help="default: %(default)s")
    parser.add_argument("--pairs", type=int, default=60, help="default: %(default)s")
    add_device(parser)
    options = parser.parse_args()
    with ln.use_device(options.device):
        run(options)


def run(options: argparse.Namespace) -> None:
    """Print the ratios of all tasks."""
    for task in options.tasks.split(","):
        for op_by_op in (False, True):
            for profiled in (True, False):
                values = ratios(
                    task, options.hidden, op_by_op, options.pairs, profiled, options.device
                )
                low, middle, high = statistics.quantiles(values, n=4)
                print(
                    f"{task:10} {'op by op' if op_by_op else 'idiomatic':10} "
                    f"{'profile' if profiled else 'control':8} "
                    f"{middle:.3f} ({low:.3f} to {high:.3f})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
