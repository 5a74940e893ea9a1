"""Sentiment of every phrase of a sentence: a Tree-LSTM over parse trees of two branches.

    python examples/sentiment_tree.py --trees FILE    # about four minutes
    python examples/sentiment_tree.py --smoke         # made-up trees, seconds

FILE holds a tree a line, each node with a label from 0 (very negative) to 4 (very positive):

    (3 (2 It) (4 (4 works) (2 .)))

The Stanford Sentiment Treebank has this form: trees/train.txt of trainDevTestTrees_PTB.zip, from
nlp.stanford.edu/sentiment. A tenth of the trees is held out.

`Reader.states` recurses over ONE tree and returns the state of every phrase; all of them are
trained to tell the label of their phrase. Trees of whatever form are batched together: first all
words, then all phrases whose two parts are known, and so on up to the roots.

Figures: accuracy on whole sentences, over five labels, and over two where the label is not neutral.
Baseline: multinomial Naive Bayes on words, which counts them in every phrase by the phrase's label.

Source: K. S. Tai, R. Socher and C. D. Manning, Improved semantic representations from
tree-structured long short-term memory networks, 2015.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import common
import data_trees
import numpy as np

import lazynet as ln

Tree = data_trees.Tree
State = tuple[ln.Expression, ln.Expression]
LABELS = 5
NEUTRAL = 2


def words_of(tree: Tree) -> list[str]:
    """The words below a node, in lower case."""
    return [node.name.lower() for node in tree.nodes() if not node.children]


class Reader:
    """Tree-LSTM over phrases of two parts; a label for each phrase.

    Args:
        model: Owns the parameters.
        words: Number of each word that has an embedding, from 1.
        hidden: Size of the state of a phrase.
    """

    def __init__(self, model: ln.Model, words: dict[str, int], hidden: int) -> None:
        self.words = words
        self.embeddings = model.lookup(len(words) + 1, hidden, name="words")  # 0: rare words
        self.cell = ln.nn.NaryTreeLSTM(model, hidden, hidden, arity=2)
        self.head = ln.nn.Linear(model, hidden, LABELS)

    def states(self, tree: Tree) -> list[ln.Expression]:
        """State h of every phrase of a sentence, the sentence itself last."""
        numbers = [self.words.get(word, 0) for word in words_of(tree)]
        embeddings = ln.unbatch(ln.dropout(self.embeddings[numbers], 0.3))
        found: list[ln.Expression] = []
        self.state(tree, iter(embeddings), found)
        return found

    def state(
        self, tree: Tree, words: Iterator[ln.Expression], found: list[ln.Expression]
    ) -> State:
        """State (h, c) of a phrase: of a word, or of the two parts."""
        if tree.children:
            h, c = self.cell(None, [self.state(child, words, found) for child in tree.children])
        else:
            h, c = self.cell(next(words))
        found.append(h)
        return h, c

    def loss(self, tree: Tree) -> ln.Expression:
        """Mean cross-entropy over the marked phrases of one sentence, in nats."""
        pairs = [(h, node) for h, node in zip(self.states(tree), tree.nodes()) if node.label >= 0]
        logits = self.head(ln.dropout(ln.rebatch([h for h, _ in pairs]), 0.3))
        return ln.mean_batch(ln.cross_entropy(logits, [node.label for _, node in pairs]))

    def probabilities(self, trees: Sequence[Tree]) -> np.ndarray:
        """Of the labels of whole sentences: a row for each."""
        found = []
        with ln.no_grad(), ln.training(False):
            for part in common.in_batches(trees, 256, "testing"):
                roots = [self.head(self.states(tree)[-1]) for tree in part]
                found += ln.values([ln.softmax(logits) for logits in roots])
        return np.stack(found)


def accuracies(probabilities: np.ndarray, trees: Sequence[Tree]) -> tuple[float, float]:
    """Over five labels, and over two: negative or positive."""
    labels = np.array([tree.label for tree in trees])
    fine = float((probabilities.argmax(axis=1) == labels).mean())
    positive = probabilities[:, NEUTRAL + 1 :].sum(axis=1) > probabilities[:, :NEUTRAL].sum(axis=1)
    telling = labels != NEUTRAL
    coarse = float((positive == (labels > NEUTRAL))[telling].mean())
    return fine, coarse


def naive_bayes(training: Sequence[Tree], test: Sequence[Tree]) -> np.ndarray:
    """Probabilities of the labels of sentences, from how often words stand in such phrases."""
    counts: dict[str, np.ndarray] = {}
    prior = np.zeros(LABELS)
    for tree in training:
        prior[tree.label] += 1
        for phrase in tree.nodes():
            if phrase.label >= 0:
                for word in words_of(phrase):
                    counts.setdefault(word, np.ones(LABELS))[phrase.label] += 1
    total = np.sum(list(counts.values()), axis=0)
    logs = {word: np.log(count / total) for word, count in counts.items()}
    scores = np.array(
        [
            np.log(prior + 1) + sum(logs[word] for word in words_of(tree) if word in logs)
            for tree in test
        ]
    )
    likely = np.exp(scores - scores.max(axis=1, keepdims=True))
    return likely / likely.sum(axis=1, keepdims=True)


def main() -> None:
    parser = common.options(__doc__, epochs=5, hidden=100, batch=32, lr=2e-3)
    parser.add_argument("--trees", type=Path, help="file with a tree a line")
    options = parser.parse_args()
    if options.smoke:
        trees = data_trees.synthetic_treebank_trees()
    elif options.trees:
        trees = data_trees.treebank_trees(options.trees)
    else:
        parser.error(
            "--trees FILE is needed: trees/train.txt of the Stanford Sentiment Treebank, in "
            "trainDevTestTrees_PTB.zip from nlp.stanford.edu/sentiment; or try --smoke"
        )
    random.Random(options.seed).shuffle(trees)
    test, training = trees[: len(trees) // 10], trees[len(trees) // 10 :]
    counts = Counter(word for tree in training for word in words_of(tree))
    frequent = sorted(word for word, n in counts.items() if n >= 2)
    words = {word: k + 1 for k, word in enumerate(frequent)}
    print(f"{len(training)} training and {len(test)} test trees; {len(words)} words")

    def fresh() -> tuple[ln.Model, Reader]:
        model = ln.Model(seed=options.seed, device=options.device)
        return model, Reader(model, words, options.hidden)

    ln.seed(options.seed)
    model, reader = fresh()
    schedule = ln.optim.Cosine(options.epochs * -(-len(training) // options.batch))
    losses, scores = common.train(
        reader.loss,
        ln.optim.Adam(model, lr=options.lr, clip=5.0, weight_decay=1e-5, schedule=schedule),
        training,
        options.epochs,
        options.batch,
        options.seed,
        lambda: accuracies(reader.probabilities(test), test)[0],
        "accuracy",
    )
    fine, coarse = accuracies(reader.probabilities(test), test)
    usual = accuracies(naive_bayes(training, test), test)
    print(
        f"test accuracy: {fine:.1%} of five labels, {coarse:.1%} of two "
        f"(Naive Bayes: {usual[0]:.1%}, {usual[1]:.1%})"
    )

    again, loaded = fresh()
    path = options.output / "sentiment_tree.safetensors"
    common.save_and_load(
        model, again, path, fine, lambda: accuracies(loaded.probabilities(test), test)[0]
    )
    plot = options.output / "sentiment_tree.png"
    common.plot(plot, losses, scores, "accuracy on test sentences")
    common.compare(model, reader.loss, training[: options.batch])


if __name__ == "__main__":
    main()
