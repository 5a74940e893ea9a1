"""Binary Tree-LSTM with a loss at every node; trees of the Stanford Sentiment Treebank.

::

    leaf of word w:     i, o = sigmoid(W x + b), g = tanh(W x + b)              x = embedding of w
                        c = i g,  h = o tanh(c)
    node over (l, r):   f_l, f_r, i, o = sigmoid(U [h_l; h_r] + d), g = tanh(U [h_l; h_r] + d)
                        c = i g + f_l c_l + f_r c_r,  h = o tanh(c)
    every node:         logits = V h + a

Source: K. S. Tai, R. Socher, C. D. Manning, 2015, with N = 2, as in DyNet's own benchmark
(G. Neubig et al., "DyNet: the dynamic neural network toolkit", 2017).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import lazynet as ln
from benchmarks.suite.base import (
    Draw,
    Dynet,
    F,
    Lazynet,
    Product,
    Sizes,
    Task,
    TorchBatched,
    TorchExamples,
    Weights,
    dy,
    fuse,
    torch,
)
from benchmarks.suite.data import Rng, Tree, Zipf, random_tree, read_trees, treebank_sentence


def batches(sizes: Sizes, rng: Rng, count: int) -> list[list[Tree]]:
    total = count * sizes.examples
    if sizes.trees:
        known = read_trees(sizes.trees, {})
        order = rng.permutation(len(known))
        trees = [known[int(order[k % len(known)])] for k in range(total)]
    else:
        words = Zipf(sizes.words)
        trees = [
            random_tree(rng, words(rng, sizes.cut(treebank_sentence(rng))), sizes.labels)
            for _ in range(total)
        ]
    return [trees[k : k + sizes.examples] for k in range(0, total, sizes.examples)]


def weights(sizes: Sizes) -> Weights:
    draw, n = Draw(4), sizes.hidden
    words = sizes.words
    if sizes.trees:
        vocabulary: dict[str, int] = {}
        read_trees(sizes.trees, vocabulary)
        words = len(vocabulary)
    d = draw.vector(5 * n)
    d[: 2 * n] += 1
    return Weights(
        n=n,
        words=draw.table(words, sizes.embedding),
        W=draw.matrix(3 * n, sizes.embedding, 3),
        b=draw.vector(3 * n),
        U=draw.matrix(5 * n, 2 * n, 5),
        d=d,
        V=draw.matrix(sizes.labels, n),
        a=draw.vector(sizes.labels),
    )


class _Parameters(Lazynet):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.n = w.n
        self.words = self.table(w.words)
        self.W, self.b = self.parameter(w.W), self.parameter(w.b)
        self.U_left, self.U_right = (self.parameter(x) for x in np.split(w.U, 2, axis=1))
        self.d = self.parameter(w.d)
        self.V, self.a = self.parameter(w.V), self.parameter(w.a)


class Idiomatic(_Parameters):
    def example(self, tree: Tree) -> Any:
        hs: list[Any] = []
        labels: list[int] = []
        self.visit(tree, hs, labels)
        return ln.sum_batch(self.classify(ln.rebatch(hs), labels))

    def visit(self, tree: Tree, hs: list[Any], labels: list[int]) -> Any:
        if tree.left is None:
            h, c = self.leaf(tree.word)
        else:
            left = self.visit(tree.left, hs, labels)
            h, c = self.node(*left, *self.visit(tree.right, hs, labels))
        hs.append(h)
        labels.append(tree.label)
        return h, c

    @fuse
    def leaf(self, word: int) -> Any:
        z = ln.affine(self.b, self.W, self.words[word])
        gates, candidate = ln.split(z, [2 * self.n, self.n])
        i, o = ln.split(ln.sigmoid(gates), 2)
        c = i * ln.tanh(candidate)
        return o * ln.tanh(c), c

    @fuse
    def node(self, h_left: Any, c_left: Any, h_right: Any, c_right: Any) -> Any:
        z = ln.affine(self.d, self.U_left, h_left, self.U_right, h_right)
        gates, candidate = ln.split(z, [4 * self.n, self.n])
        f_left, f_right, i, o = ln.split(ln.sigmoid(gates), 4)
        c = i * ln.tanh(candidate) + f_left * c_left + f_right * c_right
        return o * ln.tanh(c), c

    @fuse
    def classify(self, hs: Any, labels: Any) -> Any:
        return ln.cross_entropy(ln.affine(self.a, self.V, hs), labels)


class OpByOp(_Parameters):
    def example(self, tree: Tree) -> Any:
        losses: list[Any] = []
        self.visit(tree, losses)
        return ln.sum(losses)

    def visit(self, tree: Tree, losses: list[Any]) -> Any:
        n = self.n
        if tree.left is None:
            z = ln.affine(self.b, self.W, self.words[tree.word])
            gates, candidate = ln.split(z, [2 * n, n])
            i, o = ln.split(ln.sigmoid(gates), 2)
            c = i * ln.tanh(candidate)
        else:
            h_left, c_left = self.visit(tree.left, losses)
            h_right, c_right = self.visit(tree.right, losses)
            z = ln.affine(self.d, self.U_left, h_left, self.U_right, h_right)
            gates, candidate = ln.split(z, [4 * n, n])
            f_left, f_right, i, o = ln.split(ln.sigmoid(gates), 4)
            c = i * ln.tanh(candidate) + f_left * c_left + f_right * c_right
        h = o * ln.tanh(c)
        losses.append(ln.cross_entropy(ln.affine(self.a, self.V, h), tree.label))
        return h, c


class DynetTree(Dynet):
    """One matrix per gate, as in DyNet's own benchmark."""

    def __init__(self, w: Weights, level: int) -> None:
        super().__init__(level)
        self.words = self.table(w.words)
        self.W, self.b = self.blocks(w.W, 3), self.blocks(w.b, 3)
        left, right = np.split(w.U, 2, axis=1)
        self.left, self.right = self.blocks(left, 5), self.blocks(right, 5)
        self.d = self.blocks(w.d, 5)
        self.V, self.a = self.parameter(w.V), self.parameter(w.a)

    def example(self, tree: Tree) -> list[Any]:
        losses: list[Any] = []
        self.visit(tree, losses)
        return losses

    def visit(self, tree: Tree, losses: list[Any]) -> Any:
        if tree.left is None:
            x = self.words[tree.word]
            zi, zo, zg = (dy.affine_transform([b, W, x]) for b, W in zip(self.b, self.W))
            c = dy.cmult(dy.logistic(zi), dy.tanh(zg))
        else:
            h1, c1 = self.visit(tree.left, losses)
            h2, c2 = self.visit(tree.right, losses)
            z1, z2, zi, zo, zg = (
                dy.affine_transform([d, U1, h1, U2, h2])
                for d, U1, U2 in zip(self.d, self.left, self.right)
            )
            c = (
                dy.cmult(dy.logistic(zi), dy.tanh(zg))
                + dy.cmult(dy.logistic(z1), c1)
                + dy.cmult(dy.logistic(z2), c2)
            )
        h = dy.cmult(dy.logistic(zo), dy.tanh(c))
        logits = dy.affine_transform([self.a, self.V, h])
        losses.append(dy.pickneglogsoftmax(logits, tree.label))
        return h, c


class TorchTree(TorchExamples):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.words = self.table(w.words)
        self.W, self.b = self.parameter(w.W), self.parameter(w.b)
        self.U, self.d = self.parameter(w.U), self.parameter(w.d)
        self.V, self.a = self.parameter(w.V), self.parameter(w.a)

    def example(self, tree: Tree) -> Any:
        hs: list[Any] = []
        labels: list[int] = []
        # all words in one look-up: the gradient of each is as large as the whole table
        xs = self.words(torch.tensor(words_of(tree))).unbind()
        self.visit(tree, iter(xs), hs, labels)
        logits = F.linear(torch.stack(hs), self.V, self.a)
        return F.cross_entropy(logits, torch.tensor(labels), reduction="sum")

    def visit(self, tree: Tree, xs: Any, hs: list[Any], labels: list[int]) -> Any:
        if tree.left is None:
            i, o, g = F.linear(next(xs), self.W, self.b).chunk(3)
            c = torch.sigmoid(i) * torch.tanh(g)
        else:
            h1, c1 = self.visit(tree.left, xs, hs, labels)
            h2, c2 = self.visit(tree.right, xs, hs, labels)
            f1, f2, i, o, g = F.linear(torch.cat([h1, h2]), self.U, self.d).chunk(5)
            c = torch.sigmoid(i) * torch.tanh(g) + torch.sigmoid(f1) * c1 + torch.sigmoid(f2) * c2
        h = torch.sigmoid(o) * torch.tanh(c)
        hs.append(h)
        labels.append(tree.label)
        return h, c


class TorchLevels(TorchBatched):
    """All trees together, level by level; what a level does not use is carried on beside it."""

    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.words = self.table(w.words)
        self.W, self.b = self.parameter(w.W), self.parameter(w.b)
        self.U, self.d = self.parameter(w.U), self.parameter(w.d)
        self.V, self.a = self.parameter(w.V), self.parameter(w.a)

    def collate(self, batch: list[Tree]) -> Any:
        levels = by_height(batch)
        words = torch.tensor([tree.word for tree in levels[0]])
        labels = torch.tensor([tree.label for level in levels for tree in level])
        waiting = levels[0]  # whose states are at hand, row by row
        plan = []
        for level in levels[1:]:
            row = {id(tree): k for k, tree in enumerate(waiting)}
            left = [row.pop(id(tree.left)) for tree in level]
            right = [row.pop(id(tree.right)) for tree in level]
            kept = list(row.values())
            plan.append((torch.tensor(left), torch.tensor(right), torch.tensor(kept).long()))
            waiting = [waiting[k] for k in kept] + level
        return words, labels, plan

    def total(self, built: Any) -> Any:
        words, labels, plan = built
        i, o, g = F.linear(self.words(words), self.W, self.b).chunk(3, 1)
        c = torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        hs = [h]
        for left, right, kept in plan:
            children = torch.cat([h[left], h[right]], 1)
            f1, f2, i, o, g = F.linear(children, self.U, self.d).chunk(5, 1)
            new_c = (
                torch.sigmoid(i) * torch.tanh(g)
                + torch.sigmoid(f1) * c[left]
                + torch.sigmoid(f2) * c[right]
            )
            new_h = torch.sigmoid(o) * torch.tanh(new_c)
            hs.append(new_h)
            h, c = torch.cat([h[kept], new_h]), torch.cat([c[kept], new_c])
        logits = F.linear(torch.cat(hs), self.V, self.a)
        return F.cross_entropy(logits, labels, reduction="sum")


def words_of(tree: Tree) -> list[int]:
    """From left to right."""
    if tree.left is None or tree.right is None:
        return [tree.word]
    return words_of(tree.left) + words_of(tree.right)


def by_height(batch: list[Tree]) -> list[list[Tree]]:
    """The nodes of all trees; leaves first."""
    levels: list[list[Tree]] = []

    def visit(tree: Tree) -> int:
        height = 0
        if tree.left is not None and tree.right is not None:
            height = 1 + max(visit(tree.left), visit(tree.right))
        while len(levels) <= height:
            levels.append([])
        levels[height].append(tree)
        return height

    for tree in batch:
        visit(tree)
    return levels


def products(sizes: Sizes, batch: list[Tree]) -> list[Product]:
    n = sizes.hidden
    rows = [len(level) for level in by_height(batch)]
    return [
        Product(sizes.embedding, 3 * n, rows[:1]),
        Product(2 * n, 5 * n, rows[1:]),
        Product(n, sizes.labels, [sum(rows)]),
    ]


TASK = Task(
    name="tree",
    title="Binary Tree-LSTM, a loss at every node",
    batches=batches,
    weights=weights,
    idiomatic=Idiomatic,
    op_by_op=OpByOp,
    dynet=DynetTree,
    torch_examples=TorchTree,
    torch_batched=TorchLevels,
    products=products,
)
