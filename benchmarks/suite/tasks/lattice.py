"""Lattice LSTM over characters and the words of a lexicon that match; a class for each character.

::

    character j:          i, o = sigmoid(W x_j + U h_(j-1) + b), g = tanh(W x_j + U h_(j-1) + b)
    word w from b to j:   i', f' = sigmoid(W' y_w + U' h_b + b'), g' = tanh(W' y_w + U' h_b + b')
                          m = f' c_b + i' g',  a = exp(sigmoid(L x_j + M m + l))
    where words end:      c_j = (exp(i) g + sum a m) / (exp(i) + sum a)
    elsewhere:            c_j = c_(j-1) + i (g - c_(j-1))
    everywhere:           h_j = o tanh(c_j),  logits_j = V h_j + v

Source: Y. Zhang, J. Yang, "Chinese NER using lattice LSTM", 2018, equations 11 to 15 and its
published code, in one direction and without the CRF. Sentences of 27 characters on average with a
long tail; each span of 2 to 4 characters is a word with probability 0.12.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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
    packed,
    steps,
    torch,
)
from benchmarks.suite.data import Rng, Zipf, classes, lattice_words, length


class Sentence(NamedTuple):
    signs: list[int]
    ending: list[list[tuple[int, int]]]
    """For each character, where the words that end there begin, and which they are."""
    tags: list[int]


def batches(sizes: Sizes, rng: Rng, count: int) -> list[list[Sentence]]:
    signs, words = Zipf(sizes.signs), Zipf(sizes.words)

    def sentence() -> Sentence:
        n = sizes.cut(length(rng, 27, 17, 3, 120))
        return Sentence(
            signs(rng, n), lattice_words(rng, n, 0.12, words), classes(rng, n, sizes.tags)
        )

    return [[sentence() for _ in range(sizes.examples)] for _ in range(count)]


def weights(sizes: Sizes) -> Weights:
    draw, n, width = Draw(6), sizes.hidden, sizes.embedding
    return Weights(
        n=n,
        signs=draw.table(sizes.signs, width),
        words=draw.table(sizes.words, width),
        W=draw.matrix(3 * n, width, 3),
        U=draw.matrix(3 * n, n, 3),
        b=draw.vector(3 * n),
        W_word=draw.matrix(3 * n, width, 3),
        U_word=draw.matrix(3 * n, n, 3),
        b_word=draw.vector(3 * n),
        L=draw.matrix(n, width),
        M=draw.matrix(n, n),
        l=draw.vector(n),
        V=draw.matrix(sizes.tags, n),
        v=draw.vector(sizes.tags),
    )


class _Parameters(Lazynet):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.n = w.n
        self.signs, self.words = self.table(w.signs), self.table(w.words)
        self.W, self.U, self.b = map(self.parameter, (w.W, w.U, w.b))
        self.W_word, self.U_word, self.b_word = map(self.parameter, (w.W_word, w.U_word, w.b_word))
        self.L, self.M, self.l = map(self.parameter, (w.L, w.M, w.l))
        self.V, self.v = map(self.parameter, (w.V, w.v))

    def gates(self, z: Any) -> Any:
        first, candidate = ln.split(z, [2 * self.n, self.n])
        return *ln.split(ln.sigmoid(first), 2), ln.tanh(candidate)


class Idiomatic(_Parameters):
    """What depends on inputs alone is one product for all positions of a sentence."""

    def example(self, sentence: Sentence) -> Any:
        signs, ending, tags = sentence
        zs = ln.unbatch(ln.affine(self.b, self.W, self.signs[signs]))
        words = [word for found in ending for _, word in found]
        ends = [signs[j] for j, found in enumerate(ending) for _ in found]
        if words:
            ys = iter(ln.unbatch(ln.affine(self.b_word, self.W_word, self.words[words])))
            links = iter(ln.unbatch(ln.affine(self.l, self.L, self.signs[ends])))
        h = c = ln.constant(np.zeros(self.n, np.float32))
        states: list[tuple[Any, Any]] = []
        for z, found in zip(zs, ending):
            if found:
                shares, parts = zip(
                    *[self.word(next(ys), next(links), *states[begin]) for begin, _ in found]
                )
                h, c = self.join(z, h, ln.sum(list(shares)), ln.sum(list(parts)))
            else:
                h, c = self.step(z, h, c)
            states.append((h, c))
        return ln.sum_batch(self.losses(ln.rebatch([h for h, _ in states]), tags))

    @fuse
    def step(self, z: Any, h: Any, c: Any) -> Any:
        i, o, g = self.gates(ln.affine(z, self.U, h))
        c = c + i * (g - c)
        return o * ln.tanh(c), c

    @fuse
    def word(self, y: Any, link: Any, h: Any, c: Any) -> Any:
        i, f, g = self.gates(ln.affine(y, self.U_word, h))
        m = f * c + i * g
        a = ln.exp(ln.sigmoid(ln.affine(link, self.M, m)))
        return a, a * m

    @fuse
    def join(self, z: Any, h: Any, share: Any, part: Any) -> Any:
        i, o, g = self.gates(ln.affine(z, self.U, h))
        e = ln.exp(i)
        c = (e * g + part) / (e + share)
        return o * ln.tanh(c), c

    @fuse
    def losses(self, hs: Any, tags: Any) -> Any:
        return ln.cross_entropy(ln.affine(self.v, self.V, hs), tags)


class OpByOp(_Parameters):
    def example(self, sentence: Sentence) -> Any:
        h = c = ln.constant(np.zeros(self.n, np.float32))
        states: list[tuple[Any, Any]] = []
        losses = []
        for sign, found, tag in zip(*sentence):
            x = self.signs[sign]
            i, o, g = self.gates(ln.affine(self.b, self.W, x, self.U, h))
            if found:
                e = ln.exp(i)
                shares, parts = [e], [e * g]
                for begin, word in found:
                    m = self.memory(word, *states[begin])
                    a = ln.exp(ln.sigmoid(ln.affine(self.l, self.L, x, self.M, m)))
                    shares.append(a)
                    parts.append(a * m)
                c = ln.sum(parts) / ln.sum(shares)
            else:
                c = c + i * (g - c)
            h = o * ln.tanh(c)
            states.append((h, c))
            losses.append(ln.cross_entropy(ln.affine(self.v, self.V, h), tag))
        return ln.sum(losses)

    def memory(self, word: int, h: Any, c: Any) -> Any:
        y = self.words[word]
        i, f, g = self.gates(ln.affine(self.b_word, self.W_word, y, self.U_word, h))
        return f * c + i * g


class DynetLattice(Dynet):
    """One matrix per gate, as in the tree."""

    def __init__(self, w: Weights, level: int) -> None:
        super().__init__(level)
        self.n = w.n
        self.signs, self.words = self.table(w.signs), self.table(w.words)
        self.sign = list(zip(*(self.blocks(x, 3) for x in (w.b, w.W, w.U))))
        self.word = list(zip(*(self.blocks(x, 3) for x in (w.b_word, w.W_word, w.U_word))))
        self.L, self.M, self.l = map(self.parameter, (w.L, w.M, w.l))
        self.V, self.v = map(self.parameter, (w.V, w.v))

    def gates(self, cell: Any, x: Any, h: Any) -> Any:
        z1, z2, z3 = (dy.affine_transform([b, W, x, U, h]) for b, W, U in cell)
        return dy.logistic(z1), dy.logistic(z2), dy.tanh(z3)

    def example(self, sentence: Sentence) -> list[Any]:
        h = c = dy.zeros((self.n,))
        states: list[tuple[Any, Any]] = []
        losses = []
        for sign, found, tag in zip(*sentence):
            x = self.signs[sign]
            i, o, g = self.gates(self.sign, x, h)
            if found:
                e = dy.exp(i)
                shares, parts = [e], [dy.cmult(e, g)]
                for begin, word in found:
                    h_b, c_b = states[begin]
                    i_w, f_w, g_w = self.gates(self.word, self.words[word], h_b)
                    m = dy.cmult(f_w, c_b) + dy.cmult(i_w, g_w)
                    a = dy.exp(dy.logistic(dy.affine_transform([self.l, self.L, x, self.M, m])))
                    shares.append(a)
                    parts.append(dy.cmult(a, m))
                c = dy.cdiv(dy.esum(parts), dy.esum(shares))
            else:
                c = c + dy.cmult(i, g - c)
            h = dy.cmult(o, dy.tanh(c))
            states.append((h, c))
            logits = dy.affine_transform([self.v, self.V, h])
            losses.append(dy.pickneglogsoftmax(logits, tag))
        return losses


class _TorchParameters:
    """The parameters of both models in PyTorch."""

    def own(self: Any, w: Weights) -> None:
        self.n = w.n
        self.signs, self.words = self.table(w.signs), self.table(w.words)
        self.W, self.U, self.b = map(self.parameter, (w.W, w.U, w.b))
        self.W_word, self.U_word, self.b_word = map(self.parameter, (w.W_word, w.U_word, w.b_word))
        self.L, self.M, self.l = map(self.parameter, (w.L, w.M, w.l))
        self.V, self.v = map(self.parameter, (w.V, w.v))


def torch_gates(z: Any) -> Any:
    first, second, candidate = z.chunk(3, -1)
    return torch.sigmoid(first), torch.sigmoid(second), torch.tanh(candidate)


class TorchLattice(_TorchParameters, TorchExamples):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.own(w)

    def example(self, sentence: Sentence) -> Any:
        signs, ending, tags = sentence
        xs = self.signs(torch.tensor(signs))
        zs = F.linear(xs, self.W, self.b).unbind()
        links = F.linear(xs, self.L, self.l).unbind()
        words = torch.tensor([w for found in ending for _, w in found], dtype=torch.long)
        ys = iter(F.linear(self.words(words), self.W_word, self.b_word).unbind())
        h = c = torch.zeros(self.n)
        states: list[tuple[Any, Any]] = []
        for z, link, found in zip(zs, links, ending):
            i, o, g = torch_gates(z + F.linear(h, self.U))
            if found:
                e = torch.exp(i)
                share, part = e, e * g
                for begin, _ in found:
                    h_b, c_b = states[begin]
                    i_w, f_w, g_w = torch_gates(next(ys) + F.linear(h_b, self.U_word))
                    m = f_w * c_b + i_w * g_w
                    a = torch.exp(torch.sigmoid(link + F.linear(m, self.M)))
                    share, part = share + a, part + a * m
                c = part / share
            else:
                c = c + i * (g - c)
            h = o * torch.tanh(c)
            states.append((h, c))
        logits = F.linear(torch.stack([h for h, _ in states]), self.V, self.v)
        return F.cross_entropy(logits, torch.tensor(tags), reduction="sum")


class TorchLockStep(_TorchParameters, TorchBatched):
    """All sentences read their j-th character together, with all words that end there."""

    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.own(w)

    def collate(self, batch: list[Sentence]) -> Any:
        ordered = sorted(batch, key=lambda s: -len(s.signs))
        signs = packed([s.signs for s in ordered], ordered=True)
        active = signs.batch_sizes.tolist()
        words: list[int] = []
        counts, begins, rows = [], [], []
        for j, n in enumerate(active):
            # states of the last three steps lie one after the other
            starts = {}
            offset = 0
            for t in range(max(0, j - 3), j):
                starts[t] = offset
                offset += active[t]
            begin, row = [], []
            for k in range(n):
                for b, word in ordered[k].ending[j]:
                    words.append(word)
                    begin.append(starts[b] + k)
                    row.append(k)
            counts.append(len(row))
            begins.append(torch.tensor(begin, dtype=torch.long))
            rows.append(torch.tensor(row, dtype=torch.long))
        tags = packed([s.tags for s in ordered], ordered=True).data
        return signs, torch.tensor(words, dtype=torch.long), counts, begins, rows, tags

    def total(self, built: Any) -> Any:
        signs, words, counts, begins, rows, tags = built
        active = signs.batch_sizes.tolist()
        xs = self.signs(signs.data)
        zs = F.linear(xs, self.W, self.b).split(active)
        links = F.linear(xs, self.L, self.l).split(active)
        ys = F.linear(self.words(words), self.W_word, self.b_word).split(counts)
        h = c = torch.zeros(active[0], self.n)
        hs: list[Any] = []
        cs: list[Any] = []
        for z, link, y, begin, row, n in zip(zs, links, ys, begins, rows, active):
            i, o, g = torch_gates(z + F.linear(h[:n], self.U))
            plain = c[:n] + i * (g - c[:n])
            if len(row):
                h_b, c_b = torch.cat(hs[-3:])[begin], torch.cat(cs[-3:])[begin]
                i_w, f_w, g_w = torch_gates(y + F.linear(h_b, self.U_word))
                m = f_w * c_b + i_w * g_w
                a = torch.exp(torch.sigmoid(link[row] + F.linear(m, self.M)))
                e = torch.exp(i)
                share, part = e.index_add(0, row, a), (e * g).index_add(0, row, a * m)
                ends = torch.zeros(n, 1, dtype=torch.bool)
                ends[row] = True
                c = torch.where(ends, part / share, plain)
            else:
                c = plain
            h = o * torch.tanh(c)
            hs.append(h)
            cs.append(c)
        logits = F.linear(torch.cat(hs), self.V, self.v)
        return F.cross_entropy(logits, tags, reduction="sum")


def products(sizes: Sizes, batch: list[Sentence]) -> list[Product]:
    n, width = sizes.hidden, sizes.embedding
    lengths = [len(s.signs) for s in batch]
    total = sum(lengths)
    ending = [sum(len(s.ending[j]) for s in batch if j < len(s.signs)) for j in range(max(lengths))]
    rows = [k for k in ending if k]
    positions = sum(bool(found) for s in batch for found in s.ending)
    return [
        Product(width, 3 * n, [total]),
        Product(n, 3 * n, steps(lengths)),
        Product(width, 3 * n, [sum(rows)]),
        Product(n, 3 * n, rows),
        Product(width, n, [positions]),
        Product(n, n, rows),
        Product(n, sizes.tags, [total]),
    ]


TASK = Task(
    name="lattice",
    title="Lattice LSTM",
    batches=batches,
    weights=weights,
    idiomatic=Idiomatic,
    op_by_op=OpByOp,
    dynet=DynetLattice,
    torch_examples=TorchLattice,
    torch_batched=TorchLockStep,
    products=products,
    note="PyTorch batched by hand: in lock-step over characters.",
)
