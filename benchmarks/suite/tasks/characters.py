"""BiLSTM tagger that reads rare words by their characters.

::

    frequent word:  x = embedding of the word
    rare word:      x = [f; b], the last hidden states of an LSTM forwards and of one backwards over
                    the embeddings of its characters, with a blank at either end
    then as the tagger: f_t, b_t from LSTMs over the x_t, logits_t = O tanh(H [f_t; b_t])

Source: as the tagger; characters after M. Ballesteros, C. Dyer, N. A. Smith, 2015, as in DyNet's
benchmark, where words seen at most 5 times are rare: here an eighth of the tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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
from benchmarks.suite.data import Rng, Zipf, classes, length, sentence_length


class Sentence(NamedTuple):
    words: list[int]
    spelled: list[list[int] | None]
    """Characters of the rare words."""
    tags: list[int]


def batches(sizes: Sizes, rng: Rng, count: int) -> list[list[Sentence]]:
    words = Zipf(sizes.words)

    def spell() -> list[int]:
        letters = rng.integers(1, sizes.characters, length(rng, 7.5, 2.7, 2, 20))
        return [0, *[int(k) for k in letters], 0]

    def sentence() -> Sentence:
        n = sizes.cut(sentence_length(rng))
        drawn = words(rng, n)
        spelled = [None if word < sizes.frequent else spell() for word in drawn]
        return Sentence(drawn, spelled, classes(rng, n, sizes.tags))

    return [[sentence() for _ in range(sizes.examples)] for _ in range(count)]


def weights(sizes: Sizes) -> Weights:
    draw, n, half = Draw(2), sizes.hidden, sizes.embedding // 2
    return Weights(
        words=draw.table(sizes.frequent, sizes.embedding),
        letters=draw.table(sizes.characters, sizes.character_embedding),
        spell_forward=draw.lstm(sizes.character_embedding, half),
        spell_backward=draw.lstm(sizes.character_embedding, half),
        forward=draw.lstm(sizes.embedding, n),
        backward=draw.lstm(sizes.embedding, n),
        H=draw.matrix(sizes.layer, 2 * n),
        O=draw.matrix(sizes.tags, sizes.layer),
    )


class Idiomatic(Lazynet):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.words, self.letters = self.table(w.words), self.table(w.letters)
        self.speller = ln.nn.Bidirectional(self.lstm(w.spell_forward), self.lstm(w.spell_backward))
        self.lstm2 = ln.nn.Bidirectional(self.lstm(w.forward), self.lstm(w.backward))
        self.H, self.O = self.parameter(w.H), self.parameter(w.O)

    def example(self, sentence: Sentence) -> Any:
        xs = [
            self.words[word] if letters is None else self.spell(letters)
            for word, letters in zip(sentence.words, sentence.spelled)
        ]
        ys, _ = self.lstm2(ln.rebatch(xs))
        return ln.sum_batch(self.losses(ys, sentence.tags))

    def spell(self, letters: list[int]) -> Any:
        _, ((f, _), (b, _)) = self.speller(self.letters[letters])
        return ln.concatenate([f, b])

    @fuse
    def losses(self, ys: Any, tags: Any) -> Any:
        return ln.cross_entropy(self.O @ ln.tanh(self.H @ ys), tags)


class OpByOp(Lazynet):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.words, self.letters = self.table(w.words), self.table(w.letters)
        self.spell_ahead = StepLSTM(self, w.spell_forward)
        self.spell_back = StepLSTM(self, w.spell_backward)
        self.ahead, self.back = StepLSTM(self, w.forward), StepLSTM(self, w.backward)
        self.H, self.O = self.parameter(w.H), self.parameter(w.O)

    def example(self, sentence: Sentence) -> Any:
        xs = [
            self.words[word] if letters is None else self.spell(letters)
            for word, letters in zip(sentence.words, sentence.spelled)
        ]
        fs, bs = self.ahead.run(xs), self.back.run(xs[::-1])[::-1]
        losses = []
        for f, b, tag in zip(fs, bs, sentence.tags):
            logits = self.O @ ln.tanh(self.H @ ln.concatenate([f, b]))
            losses.append(ln.cross_entropy(logits, tag))
        return ln.sum(losses)

    def spell(self, letters: list[int]) -> Any:
        xs = [self.letters[letter] for letter in letters]
        return ln.concatenate([self.spell_ahead.run(xs)[-1], self.spell_back.run(xs[::-1])[-1]])


class DynetCharacters(Dynet):
    def __init__(self, w: Weights, level: int) -> None:
        super().__init__(level)
        self.words, self.letters = self.table(w.words), self.table(w.letters)
        self.spell_ahead, self.spell_back = self.lstm(w.spell_forward), self.lstm(w.spell_backward)
        self.ahead, self.back = self.lstm(w.forward), self.lstm(w.backward)
        self.H, self.O = self.parameter(w.H), self.parameter(w.O)

    def example(self, sentence: Sentence) -> list[Any]:
        xs = [
            self.words[word] if letters is None else self.spell(letters)
            for word, letters in zip(sentence.words, sentence.spelled)
        ]
        fs = self.ahead.initial_state().transduce(xs)
        bs = self.back.initial_state().transduce(xs[::-1])[::-1]
        return [
            dy.pickneglogsoftmax(self.O * dy.tanh(self.H * dy.concatenate([f, b])), tag)
            for f, b, tag in zip(fs, bs, sentence.tags)
        ]

    def spell(self, letters: list[int]) -> Any:
        xs = [self.letters[letter] for letter in letters]
        f = self.spell_ahead.initial_state().transduce(xs)[-1]
        b = self.spell_back.initial_state().transduce(xs[::-1])[-1]
        return dy.concatenate([f, b])


class TorchCharacters(TorchExamples):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.words, self.letters = self.table(w.words), self.table(w.letters)
        self.speller = self.lstm(w.spell_forward, w.spell_backward)
        self.lstm2 = self.lstm(w.forward, w.backward)
        self.H, self.O = self.parameter(w.H), self.parameter(w.O)

    def example(self, sentence: Sentence) -> Any:
        # all words in one look-up: the gradient of each is as large as the whole table
        known = [word for word, s in zip(sentence.words, sentence.spelled) if s is None]
        rows = iter(self.words(torch.tensor(known, dtype=torch.long)))
        xs = torch.stack([next(rows) if s is None else self.spell(s) for s in sentence.spelled])
        ys, _ = self.lstm2(xs[None])
        logits = F.linear(torch.tanh(F.linear(ys[0], self.H)), self.O)
        return F.cross_entropy(logits, torch.tensor(sentence.tags), reduction="sum")

    def spell(self, letters: list[int]) -> Any:
        _, (h, _) = self.speller(self.letters(torch.tensor([letters])))
        return h.reshape(-1)


class TorchPacked(TorchBatched):
    """The rare words of all sentences first, then the sentences."""

    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.words, self.letters = self.table(w.words), self.table(w.letters)
        self.speller = self.lstm(w.spell_forward, w.spell_backward)
        self.lstm2 = self.lstm(w.forward, w.backward)
        self.H, self.O = self.parameter(w.H), self.parameter(w.O)

    def collate(self, batch: list[Sentence]) -> Any:
        rare: list[list[int]] = []
        known: list[int] = []
        for sentence in batch:
            for word, letters in zip(sentence.words, sentence.spelled):
                if letters is None:
                    known.append(word)
                else:
                    rare.append(letters)
        # in the rows of both together, first those of the known words
        rows, seen, spelled = [], 0, len(known)
        for sentence in batch:
            row = []
            for letters in sentence.spelled:
                if letters is None:
                    row.append(seen)
                    seen += 1
                else:
                    row.append(spelled)
                    spelled += 1
            rows.append(row)
        tags = packed([sentence.tags for sentence in batch]).data
        return torch.tensor(known), packed(rare) if rare else None, packed(rows), tags

    def total(self, built: Any) -> Any:
        known, rare, rows, tags = built
        xs = self.words(known)
        if rare is not None:
            _, (h, _) = self.speller(with_data(rare, self.letters(rare.data)))
            xs = torch.cat([xs, torch.cat([h[0], h[1]], 1)])
        ys, _ = self.lstm2(with_data(rows, xs[rows.data]))
        logits = F.linear(torch.tanh(F.linear(ys.data, self.H)), self.O)
        return F.cross_entropy(logits, tags, reduction="sum")


def products(sizes: Sizes, batch: list[Sentence]) -> list[Product]:
    n, half = sizes.hidden, sizes.embedding // 2
    lengths = [len(sentence.words) for sentence in batch]
    letters = [len(s) for sentence in batch for s in sentence.spelled if s is not None]
    spelling = lstm_products(sizes.character_embedding, half, letters) * 2 if letters else []
    return [
        *spelling,
        *lstm_products(sizes.embedding, n, lengths) * 2,
        Product(2 * n, sizes.layer, [sum(lengths)]),
        Product(sizes.layer, sizes.tags, [sum(lengths)]),
    ]


TASK = Task(
    name="characters",
    title="BiLSTM tagger with characters of rare words",
    batches=batches,
    weights=weights,
    idiomatic=Idiomatic,
    op_by_op=OpByOp,
    dynet=DynetCharacters,
    torch_examples=TorchCharacters,
    builder=True,
    torch_batched=TorchPacked,
    products=products,
)
