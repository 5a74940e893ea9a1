"""The programs that docs/inspect.md looks at, and the pictures in it and in README.md.

python docs/session.py    # writes docs/*.svg, prints the reports
"""

from __future__ import annotations

import random
from pathlib import Path

import lazynet as ln

HIDDEN = 32
Review = tuple[int, list[int], int]


def reviews(number: int) -> list[Review]:
    """Author, words and label of made-up reviews."""
    draw = random.Random(0)
    return [
        (draw.randrange(40), [draw.randrange(200) for _ in range(draw.randint(4, 12))], k % 2)
        for k in range(number)
    ]


class Slow:
    """Reads a review word by word, with a vector for the style of its author."""

    def __init__(self, model: ln.Model) -> None:
        self.emb = model.lookup(200, HIDDEN, name="emb")
        self.W = model.parameter((HIDDEN, HIDDEN), name="W")
        self.V = model.parameter((HIDDEN, HIDDEN), name="V")
        self.style = [model.parameter(HIDDEN, init="normal", name=f"style{k}") for k in range(40)]
        self.out = model.parameter((2, HIDDEN), name="out")

    def loss(self, review: Review) -> ln.Expression:
        author, words, label = review
        h = self.emb[words[0]]
        for word in words[1:]:
            h = ln.tanh(self.W @ h + self.V @ self.emb[word] + self.style[author])
        return ln.cross_entropy(self.out @ h, label)

    def total(self, batch: list[Review]) -> ln.Expression:
        total = ln.constant(0.0)
        for review in batch:
            total = total + self.loss(review)
        return total


class Better(Slow):
    """The same, after the report: a table of vectors, a step that is one node, a sum of a list."""

    def __init__(self, model: ln.Model) -> None:
        super().__init__(model)
        self.styles = model.lookup(40, HIDDEN, name="styles")

    @ln.fuse
    def step(self, h: ln.Expression, x: ln.Expression, style: ln.Expression) -> ln.Expression:
        return ln.tanh(ln.affine(style, self.W, h, self.V, x))

    def loss(self, review: Review) -> ln.Expression:
        author, words, label = review
        h = self.emb[words[0]]
        for word in words[1:]:
            h = self.step(h, self.emb[word], self.styles[author])
        return ln.cross_entropy(self.out @ h, label)

    def total(self, batch: list[Review]) -> ln.Expression:
        return ln.sum([self.loss(review) for review in batch])


class Unsound(Better):
    """Compares directions: a review without any known word has none."""

    def loss(self, review: Review) -> ln.Expression:
        _, words, label = review
        h = ln.sum([self.emb[word] for word in words])
        return ln.cross_entropy(self.out @ (h / ln.norm(h)), label)


def two_neurons() -> ln.Expression:
    """The error of two sigmoid neurons in a row, with its gradients."""
    model = ln.Model(seed=0, dtype="float64")
    w1, b1, w2, b2 = [
        model.parameter((), init=value, name=name)
        for name, value in (("w1", 0.6), ("b1", -0.2), ("w2", -0.9), ("b2", 0.4))
    ]
    h = ln.sigmoid(w1 * 1.5 + b1)
    error = ln.square(ln.sigmoid(w2 * h + b2) - 1.0)
    error.backward()
    return error


class Trees:
    """A recursive network over trees of words, written for one tree."""

    def __init__(self, model: ln.Model) -> None:
        self.emb = model.lookup(20, 8, name="emb")
        self.left = model.parameter((8, 8), name="left")
        self.right = model.parameter((8, 8), name="right")
        self.bias = model.parameter(8, name="bias")
        self.head = ln.nn.Linear(model, 8, 2)

    @ln.fuse
    def node(self, a: ln.Expression, b: ln.Expression) -> ln.Expression:
        return ln.tanh(ln.affine(self.bias, self.left, a, self.right, b))

    def state(self, tree: int | tuple) -> ln.Expression:
        if isinstance(tree, int):
            return self.emb[tree]
        return self.node(self.state(tree[0]), self.state(tree[1]))

    def loss(self, tree: int | tuple, label: int) -> ln.Expression:
        return ln.cross_entropy(self.head(self.state(tree)), label)


def three_trees() -> ln.Expression:
    """The mean loss of trees of two, three and four words."""
    network = Trees(ln.Model(seed=0))
    trees = ((1, 2), ((3, 1), 4), (5, ((2, 6), 7)))
    return ln.mean([network.loss(tree, k % 2) for k, tree in enumerate(trees)])


def main() -> None:
    """Write the pictures, and print what the page quotes."""
    folder = Path(__file__).parent
    batch = reviews(64)
    ln.draw(two_neurons(), folder / "two-neurons.svg")
    ln.draw(three_trees(), folder / "trees.svg", values=False)

    slow = Slow(ln.Model(seed=0)).total(batch)
    print(ln.explain(slow))
    few = Slow(ln.Model(seed=0)).total(batch[:12])
    ln.plan(few).draw(folder / "schedule-slow.svg")

    better = Better(ln.Model(seed=0)).total(batch)
    print(ln.explain(better))
    few = Better(ln.Model(seed=0)).total(batch[:12])
    ln.plan(few).draw(folder / "schedule-better.svg")

    for model in (Slow(ln.Model(seed=0)), Better(ln.Model(seed=0))):
        runs = []
        for _ in range(300):  # the first ones compile things; the fastest was disturbed least
            with ln.profile() as p:
                model.total(batch[:12]).backward()
            runs.append(p)
        print(min(runs, key=lambda p: p.seconds).table(limit=4))

    model = Unsound(ln.Model(seed=0))
    model.emb.array[0] = 0  # the unknown word
    with ln.detect_anomaly():
        try:
            model.total([*batch[:3], (0, [0], 1)]).backward()
        except ln.AnomalyError as error:
            print(error)


if __name__ == "__main__":
    main()
