"""Name functions by their form: messages along the edges of syntax graphs.

    python examples/graph_network.py             # about four minutes
    python examples/graph_network.py --smoke     # made-up functions, seconds

The functions and their classes are those of `ast_tree.py`, as graphs: an edge leads from a syntax
node to those right below it, to its next sibling, to the next place where the same variable stands;
and back. No names, no strings, no comments.

`GraphNetwork.logits` takes ONE graph, with any number of nodes and edges. The states of its nodes
are a batch, a row for each. In a round of messages

    ln.take_rows(states, starts)        takes the state at the start of every edge, and
    ln.sum_segments(sent, arriving)     sums those that arrive at the same node,

for each kind of edge; from these sums every node computes its next state. A round of all graphs,
whatever their forms, is a few batches. There is no matrix of edges, and nothing is padded.

The figure is accuracy on a third of the functions, the first fold of `ast_tree.py`. Baseline, as
there: logistic regression on how often each type of node stands below each other type.

Source of the update: Y. Li, D. Tarlow, M. Brockschmidt and R. Zemel, Gated graph sequence neural
networks, 2016.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import ast_tree
import common
import data_trees
import numpy as np

import lazynet as ln


class Example(NamedTuple):
    """A graph as the network reads it.

    Attributes:
        types: Number of the type of each node.
        starts: For each kind of edge, the nodes where its edges start, ordered by where they end.
        arriving: For each kind of edge, how many of them end at each node.
        name: Number of the class.
    """

    types: list[int]
    starts: list[list[int]]
    arriving: list[list[int]]
    name: int


def encode(tree: data_trees.Tree, types: dict[str, int], name: int) -> Example:
    """The graph of a syntax tree."""
    graph = data_trees.graph(tree)
    starts, arriving = [], []
    for kind in data_trees.EDGES:
        ends = Counter(end for _, end in graph.edges[kind])
        starts.append([start for start, _ in graph.edges[kind]])
        arriving.append([ends[k] for k in range(len(graph.types))])
    return Example([types.get(t, 0) for t in graph.types], starts, arriving, name)


class GraphNetwork:
    """Rounds of messages, then a class from all nodes and the root.

    Args:
        model: Owns the parameters.
        n_types: Number of types of nodes.
        n_names: Number of classes.
        hidden: Size of the state of a node.
        rounds: How often messages are sent.
    """

    def __init__(
        self, model: ln.Model, n_types: int, n_names: int, hidden: int, rounds: int
    ) -> None:
        self.rounds = rounds
        self.embeddings = model.lookup(n_types, hidden, name="types")
        n_in = (len(data_trees.EDGES) + 1) * hidden
        self.gates = ln.nn.Linear(model, n_in, 2 * hidden)
        self.candidate = ln.nn.Linear(model, n_in, hidden)
        self.head = ln.nn.Linear(model, 4 * hidden, n_names)

    @ln.fuse
    def update(self, state: ln.Expression, *sums: ln.Expression) -> ln.Expression:
        """The next state of ONE node, from its own and the messages of each kind."""
        keep, read = ln.split(ln.sigmoid(self.gates(ln.concatenate([state, *sums]))), 2)
        candidate = ln.tanh(self.candidate(ln.concatenate([read * state, *sums])))
        return keep * state + (1 - keep) * candidate

    def logits(self, example: Example) -> ln.Expression:
        """A score for every class."""
        states = ln.dropout(self.embeddings[example.types], 0.2)
        for _ in range(self.rounds):
            sums = [
                ln.sum_segments(ln.take_rows(states, starts), arriving)
                for starts, arriving in zip(example.starts, example.arriving)
            ]
            states = self.update(states, *sums)
        features = [ln.unbatch(states)[-1], ln.mean_batch(states), ln.max_batch(states)]
        features.append(ln.sum_batch(states) / 32)
        return self.head(ln.dropout(ln.concatenate(features), 0.5))

    def loss(self, example: Example) -> ln.Expression:
        """Cross-entropy of one function, in nats."""
        return ln.cross_entropy(self.logits(example), example.name)

    def accuracy(self, examples: Sequence[Example]) -> float:
        """Fraction of functions that get their name."""
        right = 0
        with ln.no_grad(), ln.training(False):
            for part in common.in_batches(examples, 256, "testing"):
                found = ln.values([self.logits(example) for example in part])
                right += sum(int(np.argmax(s)) == x.name for s, x in zip(found, part))
        return right / len(examples)


def main() -> None:
    parser = common.options(__doc__, epochs=24, hidden=64, batch=32, lr=3e-3)
    parser.add_argument("--rounds", type=int, default=4, help="of messages; default: %(default)s")
    options = parser.parse_args()
    labelled = data_trees.synthetic_functions() if options.smoke else data_trees.functions()
    random.Random(options.seed).shuffle(labelled)
    names = sorted({name for _, name in labelled})
    apart = [labelled[k::3] for k in range(3)]
    test_trees, training_trees = apart[0], apart[1] + apart[2]
    kinds = sorted({node.name for tree, _ in training_trees for node in tree.nodes()})
    types = {name: k + 1 for k, name in enumerate(kinds)}  # 0: never seen
    training, test = (
        [encode(tree, types, names.index(name)) for tree, name in part]
        for part in (training_trees, test_trees)
    )
    edges = sum(len(starts) for x in training for starts in x.starts)
    print(
        f"{len(training)} training and {len(test)} test graphs, {len(names)} names; on average "
        f"{sum(len(x.types) for x in training) / len(training):.0f} nodes and "
        f"{edges / len(training):.0f} edges"
    )

    def fresh() -> tuple[ln.Model, GraphNetwork]:
        model = ln.Model(seed=options.seed, device=options.device)
        n_types, n_names = len(types) + 1, len(names)
        return model, GraphNetwork(model, n_types, n_names, options.hidden, options.rounds)

    ln.seed(options.seed)
    model, network = fresh()
    epochs = 3 if options.smoke else options.epochs
    schedule = ln.optim.Cosine(epochs * -(-len(training) // options.batch))
    losses, scores = common.train(
        network.loss,
        ln.optim.Adam(model, lr=options.lr, clip=5.0, weight_decay=1e-4, schedule=schedule),
        training,
        epochs,
        options.batch,
        options.seed,
        lambda: network.accuracy(test),
        "accuracy",
    )
    reached = network.accuracy(test)
    usual = ast_tree.edges_alone(training_trees, test_trees, names)
    print(f"test accuracy: {reached:.1%} (logistic regression on edges: {usual:.1%})")

    again, loaded = fresh()
    path = options.output / "graph_network.safetensors"
    common.save_and_load(model, again, path, reached, lambda: loaded.accuracy(test))
    common.plot(options.output / "graph_network.png", losses, scores, "accuracy on test functions")
    common.compare(model, network.loss, training[: options.batch])


if __name__ == "__main__":
    main()
