"""Name functions by their form: a Tree-LSTM over the syntax trees of Python's standard library.

    python examples/ast_tree.py             # three folds, about six minutes
    python examples/ast_tree.py --smoke     # made-up functions, seconds

What does a function do, going by its syntax tree alone - no names, no strings, no comments? The
classes are the first words of function names: get, set, read, is, ... A node reads its own type,
that of the node above it and that of its elder sibling. `Reader.state` recurses over ONE tree, a
node after those below it. No two trees have the same form; all nodes that can be computed at the
same time, in whatever tree, are one batch.

The figure is accuracy over three folds. Baseline: logistic regression on how often each type of
node stands below each other type.

Source of the cell: K. S. Tai, R. Socher and C. D. Manning, Improved semantic representations from
tree-structured long short-term memory networks, 2015.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence

import common
import data_trees
import numpy as np

import lazynet as ln

Labelled = data_trees.Labelled
Tree = data_trees.Tree


def types_of(tree: Tree, above: str = "", before: str = "") -> Iterator[tuple[str, str, str]]:
    """Types of each node, of the node above it and of its elder sibling; children come first."""
    elder = ""
    for child in tree.children:
        yield from types_of(child, tree.name, elder)
        elder = child.name
    yield tree.name, above, before


class Reader:
    """Child-sum Tree-LSTM over the types of nodes, read at the root and over all nodes.

    Args:
        model: Owns the parameters.
        types: Number of each type of node, from 1; 0 is for others.
        names: The classes.
        hidden: Size of the state of a node.
    """

    def __init__(
        self, model: ln.Model, types: dict[str, int], names: Sequence[str], hidden: int
    ) -> None:
        self.types, self.names = types, list(names)
        self.own = model.lookup(len(types) + 1, hidden // 2, name="own")
        self.above = model.lookup(len(types) + 1, hidden // 2, name="above")
        self.before = model.lookup(len(types) + 1, hidden // 2, name="before")
        self.cell = ln.nn.ChildSumTreeLSTM(model, hidden // 2, hidden)
        self.head = ln.nn.Linear(model, 4 * hidden, len(names))

    def numbers(self, names: Sequence[str]) -> list[int]:
        """Numbers of types."""
        return [self.types.get(name, 0) for name in names]

    def state(
        self, tree: Tree, inputs: Iterator[ln.Expression], states: list[ln.Expression]
    ) -> tuple[ln.Expression, ln.Expression]:
        """State (h, c) of a node, from its children's and the next input; the list gets h."""
        children = [self.state(child, inputs, states) for child in tree.children]
        h, c = self.cell(next(inputs), children)
        states.append(h)
        return h, c

    def logits(self, tree: Tree) -> ln.Expression:
        """A score for every class."""
        own, above, before = zip(*types_of(tree))
        inputs = self.own[self.numbers(own)]  # of all nodes: a batch
        inputs += self.above[self.numbers(above)] + self.before[self.numbers(before)]
        states: list[ln.Expression] = []
        root, _ = self.state(tree, iter(ln.unbatch(ln.dropout(inputs, 0.2))), states)
        features = [root, ln.mean(states), ln.max(states), ln.sum(states) / 32]
        return self.head(ln.dropout(ln.concatenate(features), 0.5))

    def loss(self, example: Labelled) -> ln.Expression:
        """Cross-entropy of one function, in nats."""
        tree, name = example
        return ln.cross_entropy(self.logits(tree), self.names.index(name))

    def accuracy(self, examples: Sequence[Labelled]) -> float:
        """Fraction of functions that get their name."""
        right = 0
        with ln.no_grad(), ln.training(False):
            for part in common.in_batches(examples, 256, "testing"):
                found = ln.values([self.logits(tree) for tree, _ in part])
                guesses = [self.names[int(np.argmax(scores))] for scores in found]
                right += sum(guess == name for guess, (_, name) in zip(guesses, part))
        return right / len(examples)


def edges_alone(
    training: Sequence[Labelled], test: Sequence[Labelled], names: Sequence[str]
) -> float:
    """Accuracy of logistic regression on the types of nodes and of those below them."""

    def bag(tree: Tree) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for node in tree.nodes():
            found[node.name, ""] += 1
            found.update((node.name, child.name) for child in node.children)
        return found

    seen = {edge for tree, _ in training for edge in bag(tree)}
    number = {edge: k for k, edge in enumerate(sorted(seen))}
    model = ln.Model(seed=0)
    weights = model.lookup(len(number), len(names), init="zeros")

    def encode(tree: Tree) -> tuple[list[int], list[list[float]]]:
        edges = [(number[e], [math.log(1 + n)]) for e, n in bag(tree).items() if e in number]
        return [k for k, _ in edges], [factor for _, factor in edges]

    def logits(edges: list[int], factors: list[list[float]]) -> ln.Expression:
        return ln.sum_batch(weights[edges] * ln.constant(factors, batched=True))

    optimizer = ln.optim.Adam(model, lr=0.01, weight_decay=1e-4)
    given = [(*encode(tree), names.index(name)) for tree, name in training]
    for _ in range(120):
        losses = [ln.cross_entropy(logits(edges, factors), c) for edges, factors, c in given]
        ln.mean(losses).backward()
        optimizer.step()
    found = ln.values([logits(*encode(tree)) for tree, _ in test])
    return float(np.mean([names[int(np.argmax(s))] == name for s, (_, name) in zip(found, test)]))


def main() -> None:
    parser = common.options(__doc__, epochs=20, hidden=128, batch=32, lr=2e-3)
    parser.add_argument("--folds", type=int, default=3, help="how many of them; default: all three")
    options = parser.parse_args()
    examples = data_trees.synthetic_functions() if options.smoke else data_trees.functions()
    random.Random(options.seed).shuffle(examples)
    counts = Counter(name for _, name in examples)
    names = sorted(counts)
    sizes = [sum(1 for _ in tree.nodes()) for tree, _ in examples]
    print(
        f"{len(examples)} functions of {min(sizes)} to {max(sizes)} nodes, {len(names)} names; "
        f"the most frequent one is right for {max(counts.values()) / len(examples):.1%}"
    )
    folds = 1 if options.smoke else options.folds
    epochs = 3 if options.smoke else options.epochs
    reached, edges = [], []
    for fold in range(folds):
        training = [x for k, x in enumerate(examples) if k % 3 != fold]
        test = [x for k, x in enumerate(examples) if k % 3 == fold]
        kinds = sorted({node.name for tree, _ in training for node in tree.nodes()})
        types = {name: k + 1 for k, name in enumerate(kinds)}  # 0: never seen

        def fresh(types: dict[str, int] = types) -> tuple[ln.Model, Reader]:
            model = ln.Model(seed=options.seed, device=options.device)
            return model, Reader(model, types, names, options.hidden)

        ln.seed(options.seed)
        model, reader = fresh()
        schedule = ln.optim.Cosine(epochs * -(-len(training) // options.batch))
        losses, scores = common.train(
            reader.loss,
            ln.optim.Adam(model, lr=options.lr, clip=5.0, weight_decay=1e-4, schedule=schedule),
            training,
            epochs,
            options.batch,
            options.seed,
            lambda reader=reader, test=test: reader.accuracy(test),
            "accuracy",
        )
        reached.append(reader.accuracy(test))
        edges.append(edges_alone(training, test, names))
        print(f"fold {fold + 1}: {reached[-1]:.1%} ({edges[-1]:.1%})")
    print(f"accuracy: {np.mean(reached):.1%} (logistic regression on edges: {np.mean(edges):.1%})")

    again, loaded = fresh()
    path = options.output / "ast_tree.safetensors"
    common.save_and_load(model, again, path, reached[-1], lambda: loaded.accuracy(test))
    common.plot(options.output / "ast_tree.png", losses, scores, "accuracy on the fold left out")
    common.compare(model, reader.loss, training[: options.batch])


if __name__ == "__main__":
    main()
