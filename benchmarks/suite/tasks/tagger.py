"""BiLSTM tagger: a class for every word.

::

    f_t, b_t = hidden states of an LSTM forwards and of one backwards over the words' embeddings
    logits_t = O tanh(H [f_t; b_t])

Source: Z. Huang, W. Xu, K. Yu, "Bidirectional LSTM-CRF models for sequence tagging", 2015, without
the CRF, as in DyNet's benchmark. Sentences with the lengths of WikiNER, 23 words on average.
"""

from __future__ import annotations

from typing import Any

import lazynet as ln
from benchmarks.suite.base import (
    Draw,
    Dynet,
    F,
    Lazynet,
    Product,
    Sizes,
    StepLSTM,
    Task,
    TorchBatched,
    TorchExamples,
    Weights,
    dy,
    fuse,
    lstm_products,
    packed,
    torch,
    with_data,
)
from benchmarks.suite.data import Rng, Zipf, classes, sentence_length

Sentence = tuple[list[int], list[int]]
"""Words and their tags."""


def batches(sizes: Sizes, rng: Rng, count: int) -> list[list[Sentence]]:
    words = Zipf(sizes.words)

    def sentence() -> Sentence:
        n = sizes.cut(sentence_length(rng))
        return words(rng, n), classes(rng, n, sizes.tags)

    return [[sentence() for _ in range(sizes.examples)] for _ in range(count)]


def weights(sizes: Sizes) -> Weights:
    draw, n = Draw(1), sizes.hidden
    return Weights(
        words=draw.table(sizes.words, sizes.embedding),
        forward=draw.lstm(sizes.embedding, n),
        backward=draw.lstm(sizes.embedding, n),
        H=draw.matrix(sizes.layer, 2 * n),
        O=draw.matrix(sizes.tags, sizes.layer),
    )


class Idiomatic(Lazynet):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.words = self.table(w.words)
        self.lstm2 = ln.nn.Bidirectional(self.lstm(w.forward), self.lstm(w.backward))
        self.H, self.O = self.parameter(w.H), self.parameter(w.O)

    def example(self, sentence: Sentence) -> Any:
        words, tags = sentence
        ys, _ = self.lstm2(self.words[words])
        return ln.sum_batch(self.losses(ys, tags))

    @fuse
    def losses(self, ys: Any, tags: Any) -> Any:
        return ln.cross_entropy(self.O @ ln.tanh(self.H @ ys), tags)


class OpByOp(Lazynet):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.words = self.table(w.words)
        self.ahead, self.back = StepLSTM(self, w.forward), StepLSTM(self, w.backward)
        self.H, self.O = self.parameter(w.H), self.parameter(w.O)

    def example(self, sentence: Sentence) -> Any:
        words, tags = sentence
        xs = [self.words[word] for word in words]
        fs, bs = self.ahead.run(xs), self.back.run(xs[::-1])[::-1]
        losses = []
        for f, b, tag in zip(fs, bs, tags):
            logits = self.O @ ln.tanh(self.H @ ln.concatenate([f, b]))
            losses.append(ln.cross_entropy(logits, tag))
        return ln.sum(losses)


class DynetTagger(Dynet):
    def __init__(self, w: Weights, level: int) -> None:
        super().__init__(level)
        self.words = self.table(w.words)
        self.ahead, self.back = self.lstm(w.forward), self.lstm(w.backward)
        self.H, self.O = self.parameter(w.H), self.parameter(w.O)

    def example(self, sentence: Sentence) -> list[Any]:
        words, tags = sentence
        xs = [self.words[word] for word in words]
        fs = self.ahead.initial_state().transduce(xs)
        bs = self.back.initial_state().transduce(xs[::-1])[::-1]
        return [
            dy.pickneglogsoftmax(self.O * dy.tanh(self.H * dy.concatenate([f, b])), tag)
            for f, b, tag in zip(fs, bs, tags)
        ]


class TorchTagger(TorchExamples):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.words = self.table(w.words)
        self.lstm2 = self.lstm(w.forward, w.backward)
        self.H, self.O = self.parameter(w.H), self.parameter(w.O)

    def example(self, sentence: Sentence) -> Any:
        words, tags = sentence
        ys, _ = self.lstm2(self.words(torch.tensor([words])))
        logits = F.linear(torch.tanh(F.linear(ys[0], self.H)), self.O)
        return F.cross_entropy(logits, torch.tensor(tags), reduction="sum")


class TorchPacked(TorchBatched):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.words = self.table(w.words)
        self.lstm2 = self.lstm(w.forward, w.backward)
        self.H, self.O = self.parameter(w.H), self.parameter(w.O)

    def collate(self, batch: list[Sentence]) -> Any:
        return packed([words for words, _ in batch]), packed([tags for _, tags in batch]).data

    def total(self, built: Any) -> Any:
        words, tags = built
        ys, _ = self.lstm2(with_data(words, self.words(words.data)))
        logits = F.linear(torch.tanh(F.linear(ys.data, self.H)), self.O)
        return F.cross_entropy(logits, tags, reduction="sum")


def products(sizes: Sizes, batch: list[Sentence]) -> list[Product]:
    n, lengths = sizes.hidden, [len(words) for words, _ in batch]
    return [
        *lstm_products(sizes.embedding, n, lengths) * 2,
        Product(2 * n, sizes.layer, [sum(lengths)]),
        Product(sizes.layer, sizes.tags, [sum(lengths)]),
    ]


TASK = Task(
    name="tagger",
    title="BiLSTM tagger",
    batches=batches,
    weights=weights,
    idiomatic=Idiomatic,
    op_by_op=OpByOp,
    dynet=DynetTagger,
    torch_examples=TorchTagger,
    builder=True,
    torch_batched=TorchPacked,
    products=products,
)
