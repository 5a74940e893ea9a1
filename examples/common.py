"""What the examples share: options, training with a progress bar, a plot, files, and timings."""

from __future__ import annotations

import argparse
import inspect
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

import lazynet as ln

T = TypeVar("T")


def options(description: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """A parser with the options that all examples have.

    Args:
        description: The example's docstring, whose first line is shown.
        defaults: Of `epochs`, `hidden`, `batch` and `lr`.
    """
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="made-up data, a few updates: seconds")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("results"),
        help="folder for the plot and the trained model; default: %(default)s",
    )
    meaning = {
        "epochs": "passes over the training data",
        "hidden": "size of the hidden state",
        "batch": "examples in an update",
        "lr": "learning rate",
    }
    for name, value in defaults.items():
        help = f"{meaning[name]}; default: %(default)s"
        parser.add_argument(f"--{name}", type=type(value), default=value, help=help)
    return parser


def losses(loss_of: Callable[[T], Any], examples: Sequence[T]) -> list[ln.Expression]:
    """The loss of each example; those of coroutines, which look at values, in common rounds."""
    if inspect.iscoroutinefunction(loss_of):
        found: list[ln.Expression] = ln.run_together(loss_of(x) for x in examples)
        return found
    return [loss_of(x) for x in examples]


def train(
    loss_of: Callable[[T], Any],
    optimizer: Any,
    examples: Sequence[T],
    epochs: int,
    batch: int,
    seed: int,
    held_out: Callable[[], float] | None = None,
    score: str = "score",
) -> tuple[list[float], list[float]]:
    """Train with a progress bar.

    Args:
        loss_of: The loss of ONE example, in nats; an ``async def`` if it looks at values.
        optimizer: Called once for each `batch` examples, with the gradient of their mean loss.
        examples: What to train on; shuffled for each epoch.
        epochs: Passes over the examples.
        batch: Examples in an update.
        seed: Of the order of the examples.
        held_out: Computes a score after each epoch.
        score: What the progress bar calls it.

    Returns:
        The loss of every update, and the score after every epoch.
    """
    shuffled = list(examples)
    order = random.Random(seed)
    history: list[float] = []
    scores: list[float] = []
    shown: dict[str, str] = {}
    updates = -(-len(shuffled) // batch)
    with tqdm(total=epochs * updates, unit="update", desc="training", mininterval=0.5) as bar:
        for _ in range(epochs):
            order.shuffle(shuffled)
            for start in range(0, len(shuffled), batch):
                loss = ln.mean(losses(loss_of, shuffled[start : start + batch]))
                loss.backward()
                optimizer.step()
                history.append(loss.value())
                shown["loss"] = f"{history[-1]:.3f}"
                bar.set_postfix(shown, refresh=False)
                bar.update()
            if held_out is not None:
                scores.append(held_out())
                shown[score] = f"{scores[-1]:.4g}"
    return history, scores


def in_batches(items: Sequence[T], size: int, what: str) -> Iterable[Sequence[T]]:
    """Pieces of a list, with a progress bar for lists that take a while."""
    starts = range(0, len(items), size)
    for start in tqdm(starts, desc=what, unit="batch", leave=False, mininterval=0.5):
        yield items[start : start + size]


def save_and_load(
    model: ln.Model, fresh: ln.Model, path: Path, score: float, again: Callable[[], float]
) -> None:
    """Save a trained model, load it into a fresh one of the same form, and score that.

    Args:
        model: The trained model.
        fresh: Another, with parameters of the same names and shapes.
        path: The file.
        score: What the trained model reached.
        again: Computes the same of the fresh one, after loading.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    fresh.load(path)
    reached = again()
    if reached != score:
        raise SystemExit(f"{path}: the loaded model scores {reached}, the trained one {score}")
    print(f"saved to {path}; loaded again, it scores the same")


def plot(path: Path, history: Sequence[float], scores: Sequence[float], score: str) -> None:
    """Draw the loss of every update, smoothed, and the held-out score after every epoch."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, left = pyplot.subplots(figsize=(7, 4), layout="constrained")
    window = max(1, len(history) // 100)
    smooth = [
        statistics.fmean(history[max(0, k + 1 - window) : k + 1]) for k in range(len(history))
    ]
    left.plot(range(1, len(history) + 1), smooth, color="tab:blue")
    figure.suptitle(path.stem.replace("_", " "))
    left.set_xlabel("update")
    left.set_ylabel("training loss (nats)", color="tab:blue")
    left.set_ylim(bottom=0)
    if scores:
        right = left.twinx()
        step = len(history) / len(scores)
        right.plot(
            [step * (k + 1) for k in range(len(scores))],
            scores,
            "o-",
            color="tab:orange",
            markersize=4,
        )
        right.set_ylabel(score, color="tab:orange")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    print(f"plot: {path}")


def compare(model: ln.Model, loss_of: Callable[[T], Any], examples: Sequence[T]) -> None:
    """Print what is batched in one update, and how fast it is with and without batching.

    Args:
        model: Its gradients are cleared.
        loss_of: As for `train`.
        examples: Those of one update.
    """

    def batched() -> None:
        ln.mean(losses(loss_of, examples)).backward()
        model.zero_gradients()

    def node_by_node() -> None:
        with ln.no_autobatch():
            batched()

    plan = ln.plan(ln.mean(losses(loss_of, examples)))
    print(
        f"\n{len(examples)} examples: {plan.nodes} nodes in {len(plan)} batches "
        f"(lower bound {plan.lower_bound})"
    )
    batched()
    fast = slow = float("inf")
    for _ in range(3):  # interleaved, so that a slow moment of the machine meets both
        fast = min(fast, _seconds(batched, 3))
        slow = min(slow, _seconds(node_by_node, 1))
    n = len(examples)
    print(
        f"forward and backward: {n / fast:,.0f} examples/s batched automatically, "
        f"{n / slow:,.0f} node by node: {slow / fast:.1f} times faster"
    )


def _seconds(step: Callable[[], None], repetitions: int) -> float:
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
