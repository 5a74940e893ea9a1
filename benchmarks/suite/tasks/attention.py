"""Encoder and decoder with attention, taught with the right words (teacher forcing).

::

    k_i = [f_i; b_i]                    BiLSTM over the embeddings of the source words
    K_i = W_key k_i
    h_t, c_t = LSTM([word t - 1; context_(t-1)], h_(t-1), c_(t-1))       contexts start as zeros
    context_t = sum over i of softmax_i(v . tanh(K_i + W_query h_t + b)) k_i
    logits_t = Q tanh(P_h h_t + P_c context_t + p) + q        a loss for each target word and END

Source: D. Bahdanau, K. Cho, Y. Bengio, "Neural machine translation by jointly learning to align and
translate", 2015, with LSTMs and a plain hidden layer. Sentences of 23 words on average into as many
of 1,000 words, more or less. `greedy` decodes with the same models.
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
    StepLSTM,
    Task,
    Torch,
    TorchBatched,
    TorchExamples,
    Weights,
    dy,
    fuse,
    lstm_products,
    packed,
    steps,
    torch,
    with_data,
)
from benchmarks.suite.data import Rng, Zipf, sentence_length

END = 0
"""Ends a target, and stands before its first word."""


class Pair(NamedTuple):
    """Words of a sentence, and those of its translation with END."""

    source: list[int]
    target: list[int]


def batches(sizes: Sizes, rng: Rng, count: int) -> list[list[Pair]]:
    words, targets = Zipf(sizes.words), Zipf(sizes.targets - 1)

    def pair() -> Pair:
        n = sentence_length(rng)
        m = max(1, round(n * rng.uniform(0.8, 1.2)))
        target = targets(rng, sizes.cut(m))
        return Pair(words(rng, sizes.cut(n)), [*[1 + word for word in target], END])

    return [[pair() for _ in range(sizes.examples)] for _ in range(count)]


def weights(sizes: Sizes) -> Weights:
    draw, n, width = Draw(7), sizes.hidden, sizes.embedding
    return Weights(
        n=n,
        source=draw.table(sizes.words, width),
        target=draw.table(sizes.targets, width),
        forward=draw.lstm(width, n),
        backward=draw.lstm(width, n),
        decoder=draw.lstm(width + 2 * n, n),
        W_key=draw.matrix(n, 2 * n),
        W_query=draw.matrix(n, n),
        b=draw.vector(n),
        v=draw.vector(n),
        P_h=draw.matrix(n, n),
        P_c=draw.matrix(n, 2 * n),
        p=draw.vector(n),
        Q=draw.matrix(sizes.targets, n),
        q=draw.vector(sizes.targets),
    )


# lazynet


class _Parameters(Lazynet):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.n = w.n
        self.source, self.target = self.table(w.source), self.table(w.target)
        self.P_h, self.P_c, self.p = map(self.parameter, (w.P_h, w.P_c, w.p))
        self.Q, self.q = map(self.parameter, (w.Q, w.q))


class Idiomatic(_Parameters):
    def __init__(self, w: Weights) -> None:
        super().__init__(w)
        self.encoder = ln.nn.Bidirectional(self.lstm(w.forward), self.lstm(w.backward))
        self.decoder = self.lstm(w.decoder)
        self.attention = ln.nn.AdditiveAttention(self.model, w.n, 2 * w.n, w.n)
        for parameter, array in (
            (self.attention.W_query, w.W_query),
            (self.attention.W_key, w.W_key),
            (self.attention.b, w.b),
            (self.attention.v, w.v),
        ):
            parameter.array = array

    def start(self, source: list[int]) -> Any:
        """The state of the decoder before the first word."""
        keys, _ = self.encoder(self.source[source])
        nothing = ln.constant(np.zeros(2 * self.n, np.float32))
        return self.decoder.initial_state(), nothing, self.attention.over(keys)

    def step(self, word: int, state: Any) -> Any:
        """The state after a word, which holds all that says what follows."""
        lstm, context, attend = state
        lstm = self.read(word, context, *lstm)
        return lstm, attend(lstm[0])[0], attend

    @fuse
    def read(self, word: int, context: Any, h: Any, c: Any) -> Any:
        x = ln.concatenate([self.target[word], context])
        return self.decoder.step(x, (h, c))[1]

    def example(self, pair: Pair) -> Any:
        state = self.start(pair.source)
        hs, contexts = [], []
        for word in [END, *pair.target[:-1]]:
            state = self.step(word, state)
            hs.append(state[0][0])
            contexts.append(state[1])
        return ln.sum_batch(self.losses(ln.rebatch(hs), ln.rebatch(contexts), pair.target))

    @fuse
    def losses(self, h: Any, context: Any, words: Any) -> Any:
        return ln.cross_entropy(self.logits(h, context), words)

    def logits(self, h: Any, context: Any) -> Any:
        return ln.affine(self.q, self.Q, ln.tanh(ln.affine(self.p, self.P_h, h, self.P_c, context)))


class OpByOp(_Parameters):
    def __init__(self, w: Weights) -> None:
        super().__init__(w)
        self.ahead, self.back = StepLSTM(self, w.forward), StepLSTM(self, w.backward)
        self.decoder = StepLSTM(self, w.decoder)
        self.W_key, self.W_query = self.parameter(w.W_key), self.parameter(w.W_query)
        self.b, self.v = self.parameter(w.b), self.parameter(w.v)

    def start(self, source: list[int]) -> Any:
        xs = [self.source[word] for word in source]
        fs, bs = self.ahead.run(xs), self.back.run(xs[::-1])[::-1]
        values = ln.rebatch([ln.concatenate([f, b]) for f, b in zip(fs, bs)])
        nothing = ln.constant(np.zeros(2 * self.n, np.float32))
        return self.decoder.start(), nothing, (self.W_key @ values, values)

    def step(self, word: int, state: Any) -> Any:
        lstm, context, (keys, values) = state
        lstm = self.decoder.step(ln.concatenate([self.target[word], context]), lstm)
        query = ln.affine(self.b, self.W_query, lstm[0])
        weights = ln.softmax_batch(ln.dot(ln.tanh(keys + query), self.v))
        return lstm, ln.sum_batch(weights * values), (keys, values)

    def logits(self, state: Any) -> Any:
        (h, _), context, _ = state
        hidden = ln.tanh(ln.affine(self.p, self.P_h, h, self.P_c, context))
        return ln.affine(self.q, self.Q, hidden)

    def example(self, pair: Pair) -> Any:
        state = self.start(pair.source)
        losses = []
        for word, following in zip([END, *pair.target], pair.target):
            state = self.step(word, state)
            losses.append(ln.cross_entropy(self.logits(state), following))
        return ln.sum(losses)


# DyNet


class DynetDecoder(Dynet):
    """Attention by matrices, as in DyNet's tutorial; they batch where sentences are as long."""

    def __init__(self, w: Weights, level: int) -> None:
        super().__init__(level)
        self.n = w.n
        self.source, self.target = self.table(w.source), self.table(w.target)
        self.ahead, self.back = self.lstm(w.forward), self.lstm(w.backward)
        self.decoder = self.lstm(w.decoder)
        self.W_key, self.W_query, self.b = map(self.parameter, (w.W_key, w.W_query, w.b))
        self.v = self.parameter(w.v[None])
        self.P_h, self.P_c, self.p = map(self.parameter, (w.P_h, w.P_c, w.p))
        self.Q, self.q = map(self.parameter, (w.Q, w.q))

    def start(self, source: list[int]) -> Any:
        xs = [self.source[word] for word in source]
        fs = self.ahead.initial_state().transduce(xs)
        bs = self.back.initial_state().transduce(xs[::-1])[::-1]
        values = dy.concatenate_cols([dy.concatenate([f, b]) for f, b in zip(fs, bs)])
        return self.decoder.initial_state(), dy.zeros((2 * self.n,)), self.W_key * values, values

    def step(self, word: int, state: Any) -> Any:
        lstm, context, keys, values = state
        lstm = lstm.add_input(dy.concatenate([self.target[word], context]))
        query = dy.affine_transform([self.b, self.W_query, lstm.output()])
        scores = self.v * dy.tanh(dy.colwise_add(keys, query))
        return lstm, values * dy.softmax(dy.transpose(scores)), keys, values

    def logits(self, state: Any) -> Any:
        lstm, context, _, _ = state
        hidden = dy.affine_transform([self.p, self.P_h, lstm.output(), self.P_c, context])
        return dy.affine_transform([self.q, self.Q, dy.tanh(hidden)])

    def example(self, pair: Pair) -> list[Any]:
        state = self.start(pair.source)
        losses = []
        for word, following in zip([END, *pair.target], pair.target):
            state = self.step(word, state)
            losses.append(dy.pickneglogsoftmax(self.logits(state), following))
        return losses


# PyTorch


class _TorchParameters(Torch):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.n = w.n
        self.source, self.target = self.table(w.source), self.table(w.target)
        self.encoder = self.lstm(w.forward, w.backward)
        self.decoder = self.lstm_cell(w.decoder)
        self.W_key, self.W_query = self.parameter(w.W_key), self.parameter(w.W_query)
        self.b, self.v = self.parameter(w.b), self.parameter(w.v)
        self.P = self.parameter(np.concatenate([w.P_h, w.P_c], 1))
        self.p, self.Q, self.q = map(self.parameter, (w.p, w.Q, w.q))

    def logits(self, h: Any, context: Any) -> Any:
        hidden = torch.tanh(F.linear(torch.cat([h, context], 1), self.P, self.p))
        return F.linear(hidden, self.Q, self.q)

    def attend(self, h: Any, keys: Any, values: Any, mask: Any = None) -> Any:
        """Contexts (rows, 2 n), from keys and values (rows, positions, ...); mask: 0 or -inf."""
        query = F.linear(h, self.W_query, self.b)
        scores = torch.tanh(keys + query[:, None]) @ self.v
        if mask is not None:
            scores = scores + mask
        return torch.bmm(torch.softmax(scores, 1)[:, None], values)[:, 0]


class TorchAttention(_TorchParameters, TorchExamples):
    def start(self, source: list[int]) -> Any:
        values, _ = self.encoder(self.source(torch.tensor([source])))
        zeros = torch.zeros(1, self.n)
        return (zeros, zeros), torch.zeros(1, 2 * self.n), F.linear(values, self.W_key), values

    def step(self, word: Any, state: Any) -> Any:
        """`word` is an embedding."""
        lstm, context, keys, values = state
        lstm = self.decoder(torch.cat([word, context], 1), lstm)
        return lstm, self.attend(lstm[0], keys, values), keys, values

    def example(self, pair: Pair) -> Any:
        state = self.start(pair.source)
        hs, contexts = [], []
        for word in self.target(torch.tensor([END, *pair.target[:-1]])).split(1):
            state = self.step(word, state)
            hs.append(state[0][0])
            contexts.append(state[1])
        logits = self.logits(torch.cat(hs), torch.cat(contexts))
        return F.cross_entropy(logits, torch.tensor(pair.target), reduction="sum")


class TorchPadded(_TorchParameters, TorchBatched):
    """In lock-step, longest targets first, so that those still running come first; padded keys."""

    def ordered(self, batch: list[Pair]) -> tuple[list[Pair], Any, Any]:
        """Sorted pairs, packed sources, and the mask of their padding."""
        pairs = sorted(batch, key=lambda pair: -len(pair.target))
        lengths = torch.tensor([len(pair.source) for pair in pairs])
        mask = torch.zeros(len(pairs), int(lengths.max()))
        mask[torch.arange(mask.shape[1])[None] >= lengths[:, None]] = -torch.inf
        return pairs, packed([pair.source for pair in pairs]), mask

    def collate(self, batch: list[Pair]) -> Any:
        pairs, sources, mask = self.ordered(batch)
        before = packed([[END, *pair.target[:-1]] for pair in pairs], ordered=True)
        following = packed([pair.target for pair in pairs], ordered=True).data
        return sources, mask, before.data, before.batch_sizes.tolist(), following

    def encode(self, sources: Any) -> tuple[Any, Any]:
        """Keys and values."""
        ys, _ = self.encoder(with_data(sources, self.source(sources.data)))
        values, _ = torch.nn.utils.rnn.pad_packed_sequence(ys, batch_first=True)
        return F.linear(values, self.W_key), values

    def total(self, built: Any) -> Any:
        sources, mask, before, running, following = built
        keys, values = self.encode(sources)
        h = c = torch.zeros(len(mask), self.n)
        context = torch.zeros(len(mask), 2 * self.n)
        hs, contexts = [], []
        for words in self.target(before).split(running):
            k = len(words)
            if k < len(h):
                h, c, context = h[:k], c[:k], context[:k]
                keys, values, mask = keys[:k], values[:k], mask[:k]
            h, c = self.decoder(torch.cat([words, context], 1), (h, c))
            context = self.attend(h, keys, values, mask)
            hs.append(h)
            contexts.append(context)
        logits = self.logits(torch.cat(hs), torch.cat(contexts))
        return F.cross_entropy(logits, following, reduction="sum")


def products(sizes: Sizes, batch: list[Pair], look: bool = False) -> list[Product]:
    """Without the sums over the words attended to; `look`: logits step by step."""
    n, width = sizes.hidden, sizes.embedding
    sources = [len(pair.source) for pair in batch]
    targets = [len(pair.target) for pair in batch]
    after = steps(targets)
    running = [len(batch), *after]
    predicted = running if look else [sum(running)]
    return [
        *lstm_products(width, n, sources) * 2,
        Product(2 * n, n, [sum(sources)]),
        Product(width + 2 * n, 4 * n, running),
        Product(n, 4 * n, after),
        Product(n, n, running),
        Product(3 * n, n, predicted),
        Product(n, sizes.targets, predicted),
    ]


TASK = Task(
    name="attention_decoder",
    title="Attention decoder, 1,000 words",
    batches=batches,
    weights=weights,
    idiomatic=Idiomatic,
    op_by_op=OpByOp,
    dynet=DynetDecoder,
    torch_examples=TorchAttention,
    torch_batched=TorchPadded,
    products=products,
    note="PyTorch batched by hand: in lock-step, attending to padded sentences with a mask.",
)
