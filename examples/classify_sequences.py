"""Classify sequences of any length with a bidirectional LSTM, written for one example.

    python examples/classify_sequences.py                     # the speaker of a vowel recording
    python examples/classify_sequences.py --task sentiment    # of a sentence, by words
    python examples/classify_sequences.py --task surnames     # the country of a name, by letters

There is no padding, no mask and no batch in the model: `Classifier.scores` takes one sequence, and
lazynet batches the graphs of all sequences of an update by itself. The program prints the test
accuracy, what was batched, and examples per second with and without automatic batching.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import data
import numpy as np
from tqdm import tqdm

import lazynet as ln

Example = tuple[Any, int]


class Classifier:
    """Bidirectional LSTM; maximum, mean and final states over time; a linear layer.

    Args:
        model: Owns the parameters.
        n_classes: Number of classes.
        hidden: Size of the hidden state of each direction.
        n_in: Size of one frame of a recording; with `n_symbols`, of the embeddings.
        n_symbols: Number of embeddings, for sequences of symbols.
        dropout: Probability with which an input or feature is dropped.
    """

    def __init__(
        self,
        model: ln.Model,
        n_classes: int,
        hidden: int,
        n_in: int,
        n_symbols: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        self.embeddings = None if n_symbols is None else model.lookup(n_symbols, n_in)
        self.encoder = ln.nn.Bidirectional(
            ln.nn.LSTM(model, n_in, hidden), ln.nn.LSTM(model, n_in, hidden)
        )
        self.head = ln.nn.Linear(model, 6 * hidden, n_classes)
        self.dropout = dropout

    def scores(self, sequence: Any) -> ln.Expression:
        """Unnormalised log-probabilities of the classes, for one sequence."""
        if self.embeddings is None:
            xs = ln.constant(sequence, batched=True)
        else:
            xs = self.embeddings[sequence]
        ys, ((last, _), (first, _)) = self.encoder(ln.dropout(xs, self.dropout))
        features = ln.concatenate([ln.max_batch(ys), ln.mean_batch(ys), last, first])
        return self.head(ln.dropout(features, self.dropout))

    def loss(self, sequence: Any, label: int) -> ln.Expression:
        """Cross-entropy of one example, in nats."""
        return ln.cross_entropy(self.scores(sequence), label)


def train(
    classifier: Classifier,
    optimizer: Any,
    examples: Sequence[Example],
    epochs: int,
    batch: int,
    seed: int,
) -> None:
    """Train with a progress bar."""
    shuffled = list(examples)
    order = random.Random(seed)
    updates = epochs * -(-len(shuffled) // batch)
    with tqdm(total=updates, unit="update", desc="training") as bar:
        for _ in range(epochs):
            order.shuffle(shuffled)
            for i in range(0, len(shuffled), batch):
                losses = [classifier.loss(x, y) for x, y in shuffled[i : i + batch]]
                loss = ln.mean(losses)
                loss.backward()
                optimizer.step()
                bar.set_postfix(loss=f"{loss.value():.3f}", refresh=False)
                bar.update()


def accuracy(classifier: Classifier, examples: Sequence[Example], batch: int = 256) -> float:
    """Fraction of examples whose highest score is that of their class."""
    right = 0
    with ln.no_grad(), ln.training(False):
        for i in range(0, len(examples), batch):
            part = examples[i : i + batch]
            scores = ln.values([classifier.scores(x) for x, _ in part])
            right += sum(int(s.argmax()) == y for s, (_, y) in zip(scores, part))
    return right / len(examples)


def seconds(step: Callable[[], None], repetitions: int) -> float:
    """Median time of one call."""
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def compare(model: ln.Model, classifier: Classifier, examples: Sequence[Example]) -> None:
    """Print the batches of one update, and its speed with and without automatic batching."""

    def record() -> ln.Expression:
        return ln.mean([classifier.loss(x, y) for x, y in examples])

    def batched() -> None:
        record().backward()
        model.zero_gradients()

    def one_by_one() -> None:
        with ln.no_autobatch():
            record().backward()
        model.zero_gradients()

    print(f"\nOne update of {len(examples)} examples:")
    print(ln.plan(record()).table(limit=20))
    batched()
    fast = slow = float("inf")
    for _ in range(3):  # interleaved, so that a slow moment of the machine meets both
        fast = min(fast, seconds(batched, 3))
        slow = min(slow, seconds(one_by_one, 1))
    n = len(examples)
    print(
        f"\nforward and backward: {n / fast:,.0f} examples/s batched automatically, "
        f"{n / slow:,.0f} node by node: {slow / fast:.1f} times faster"
    )


def symbols(
    train_set: Sequence[tuple[Sequence[str], int]],
    test_set: Sequence[tuple[Sequence[str], int]],
    least: int,
) -> tuple[list[Example], list[Example], int]:
    """Number the symbols; 0 stands for those seen fewer than `least` times in training."""
    counts = Counter(s for sequence, _ in train_set for s in sequence)
    number = {s: i + 1 for i, s in enumerate(sorted(s for s, n in counts.items() if n >= least))}

    def encode(examples: Sequence[tuple[Sequence[str], int]]) -> list[Example]:
        return [([number.get(s, 0) for s in sequence], y) for sequence, y in examples if sequence]

    return encode(train_set), encode(test_set), len(number) + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=["vowels", "sentiment", "surnames"], default="vowels")
    parser.add_argument("--smoke", action="store_true", help="made-up data, a few updates: seconds")
    parser.add_argument("--epochs", type=int, help="passes over the training data")
    parser.add_argument("--hidden", type=int, help="hidden state of each direction")
    parser.add_argument("--batch", type=int, default=64, help="examples an update")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1; default: %(default)s")
    options = parser.parse_args()

    ln.seed(options.seed)
    model = ln.Model(seed=options.seed, device=options.device)
    n_symbols = None
    if options.task == "vowels":
        read = data.synthetic_sequences if options.smoke else data.japanese_vowels
        train_set, test_set = read()
        n_in, hidden, dropout, rate, epochs = train_set[0][0].shape[1], 50, 0.2, 5e-3, 60
    else:
        if options.task == "sentiment":
            raw = data.synthetic_sentences() if options.smoke else data.sentiment()
            n_in, hidden, dropout, rate, epochs, least = 64, 50, 0.5, 2e-3, 6, 2
        else:
            raw = data.synthetic_surnames() if options.smoke else data.surnames()
            n_in, hidden, dropout, rate, epochs, least = 32, 80, 0.3, 4e-3, 20, 1
        train_set, test_set, n_symbols = symbols(*raw, least)
    if options.smoke:
        epochs = 2
        train_set, test_set = train_set[:64], test_set[:64]
    if options.epochs is not None:
        epochs = options.epochs
    if options.hidden is not None:
        hidden = options.hidden
    if options.task == "vowels":
        frames = np.concatenate([x for x, _ in train_set])
        mean, spread = frames.mean(axis=0), frames.std(axis=0)
        train_set = [((x - mean) / spread, y) for x, y in train_set]
        test_set = [((x - mean) / spread, y) for x, y in test_set]

    n_classes = 1 + max(y for _, y in train_set)
    lengths = [len(x) for x, _ in train_set]
    print(
        f"{options.task}: {len(train_set)} training and {len(test_set)} test sequences of "
        f"{min(lengths)} to {max(lengths)} steps, {n_classes} classes"
    )
    classifier = Classifier(model, n_classes, hidden, n_in, n_symbols, dropout)
    updates = epochs * -(-len(train_set) // options.batch)
    schedule = ln.optim.Cosine(updates)
    optimizer = ln.optim.Adam(model, lr=rate, clip=5.0, schedule=schedule)
    train(classifier, optimizer, train_set, epochs, options.batch, options.seed)
    print(f"test accuracy: {accuracy(classifier, test_set):.1%}")
    compare(model, classifier, train_set[: options.batch])


if __name__ == "__main__":
    main()
