"""LSTM language model over 10,000 words, a minibatch of sentences an update.

::

    h_t = hidden state of an LSTM over the embeddings of the blank and the words before the t-th
    logits_t = R h_t + a        for the t-th word; after the last one, for the blank

Source: T. Mikolov et al., "Recurrent neural network based language model", 2010, with an LSTM, as
in DyNet's benchmark. Sentences with the lengths of the Penn Treebank, 23 words on average.
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
from benchmarks.suite.data import Rng, Zipf, sentence_length

BLANK = 0
Sentence = list[int]


def vocabulary(sizes: Sizes) -> int:
    return min(sizes.words, 10_000)


def batches(sizes: Sizes, rng: Rng, count: int) -> list[list[Sentence]]:
    """Sentences with a blank at either end."""
    words = Zipf(vocabulary(sizes) - 1)

    def sentence() -> Sentence:
        drawn = words(rng, sizes.cut(sentence_length(rng)))
        return [BLANK, *[1 + word for word in drawn], BLANK]

    return [[sentence() for _ in range(sizes.examples)] for _ in range(count)]


def weights(sizes: Sizes) -> Weights:
    draw, n, words = Draw(3), sizes.hidden, vocabulary(sizes)
    return Weights(
        words=draw.table(words, sizes.embedding),
        lstm=draw.lstm(sizes.embedding, n),
        R=draw.matrix(words, n),
        a=draw.vector(words),
    )


class Idiomatic(Lazynet):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.words = self.table(w.words)
        self.rnn = self.lstm(w.lstm)
        self.R, self.a = self.parameter(w.R), self.parameter(w.a)

    def example(self, sentence: Sentence) -> Any:
        ys, _ = self.rnn(self.words[sentence[:-1]])
        return ln.sum_batch(self.losses(ys, sentence[1:]))

    @fuse
    def losses(self, ys: Any, words: Any) -> Any:
        return ln.cross_entropy(ln.affine(self.a, self.R, ys), words)


class OpByOp(Lazynet):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.words = self.table(w.words)
        self.rnn = StepLSTM(self, w.lstm)
        self.R, self.a = self.parameter(w.R), self.parameter(w.a)

    def example(self, sentence: Sentence) -> Any:
        hs = self.rnn.run([self.words[word] for word in sentence[:-1]])
        return ln.sum(
            [
                ln.cross_entropy(ln.affine(self.a, self.R, h), word)
                for h, word in zip(hs, sentence[1:])
            ]
        )


class DynetLanguage(Dynet):
    def __init__(self, w: Weights, level: int) -> None:
        super().__init__(level)
        self.words = self.table(w.words)
        self.rnn = self.lstm(w.lstm)
        self.R, self.a = self.parameter(w.R), self.parameter(w.a)

    def example(self, sentence: Sentence) -> list[Any]:
        hs = self.rnn.initial_state().transduce([self.words[word] for word in sentence[:-1]])
        return [
            dy.pickneglogsoftmax(dy.affine_transform([self.a, self.R, h]), word)
            for h, word in zip(hs, sentence[1:])
        ]


class TorchLanguage(TorchExamples):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.words = self.table(w.words)
        self.rnn = self.lstm(w.lstm)
        self.R, self.a = self.parameter(w.R), self.parameter(w.a)

    def example(self, sentence: Sentence) -> Any:
        ys, _ = self.rnn(self.words(torch.tensor([sentence[:-1]])))
        logits = F.linear(ys[0], self.R, self.a)
        return F.cross_entropy(logits, torch.tensor(sentence[1:]), reduction="sum")


class TorchPacked(TorchBatched):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.words = self.table(w.words)
        self.rnn = self.lstm(w.lstm)
        self.R, self.a = self.parameter(w.R), self.parameter(w.a)

    def collate(self, batch: list[Sentence]) -> Any:
        return packed([s[:-1] for s in batch]), packed([s[1:] for s in batch]).data

    def total(self, built: Any) -> Any:
        words, following = built
        ys, _ = self.rnn(with_data(words, self.words(words.data)))
        logits = F.linear(ys.data, self.R, self.a)
        return F.cross_entropy(logits, following, reduction="sum")


def products(sizes: Sizes, batch: list[Sentence]) -> list[Product]:
    n, lengths = sizes.hidden, [len(sentence) - 1 for sentence in batch]
    return [
        *lstm_products(sizes.embedding, n, lengths),
        Product(n, vocabulary(sizes), [sum(lengths)]),
    ]


def exponentials(sizes: Sizes, batch: list[Sentence]) -> int:
    return vocabulary(sizes) * sum(len(sentence) - 1 for sentence in batch)


TASK = Task(
    name="language",
    title="LSTM language model, 10,000 words",
    batches=batches,
    weights=weights,
    idiomatic=Idiomatic,
    op_by_op=OpByOp,
    dynet=DynetLanguage,
    torch_examples=TorchLanguage,
    builder=True,
    torch_batched=TorchPacked,
    products=products,
    exponentials=exponentials,
    note="The floor includes one exp over the softmax.",
)
