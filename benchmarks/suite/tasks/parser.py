"""Arc-standard transition parser with stack LSTMs, taught with the right transitions.

::

    B_i = hidden state of an LSTM that has read the words from the last to the i-th; e for none
    S = hidden state of the stack LSTM after the items on the stack; zeros for none
    logits = Q tanh(P_S S + P_B B_i + p) + q        SHIFT, LEFT, RIGHT; a loss for each transition
    SHIFT pushes the embedding of word i; the others pop first and second and push
    tanh(C_head head + C_dependent dependent + k), with head = first for LEFT, second for RIGHT

A push continues the LSTM from the state of the item below.

Source: C. Dyer et al., "Transition-based dependency parsing with stack long short-term memory",
2015, without labels and without the history of transitions, as in DyNet's tutorial. Sentences of
23 words on average with random projective trees.
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
from benchmarks.suite.data import (
    LEFT,
    SHIFT,
    Rng,
    Zipf,
    random_tree,
    sentence_length,
    transitions,
)

Sentence = tuple[list[int], list[int]]
"""Words and transitions."""


def batches(sizes: Sizes, rng: Rng, count: int) -> list[list[Sentence]]:
    words = Zipf(sizes.words)

    def sentence() -> Sentence:
        drawn = words(rng, sizes.cut(sentence_length(rng)))
        return drawn, transitions(rng, random_tree(rng, drawn, 1))

    return [[sentence() for _ in range(sizes.examples)] for _ in range(count)]


def weights(sizes: Sizes) -> Weights:
    draw, n, width = Draw(5), sizes.hidden, sizes.embedding
    return Weights(
        n=n,
        words=draw.table(sizes.words, width),
        buffer=draw.lstm(width, n),
        stack=draw.lstm(width, n),
        e=draw.vector(n),
        P_S=draw.matrix(sizes.layer, n),
        P_B=draw.matrix(sizes.layer, n),
        p=draw.vector(sizes.layer),
        Q=draw.matrix(3, sizes.layer),
        q=draw.vector(3),
        C_head=draw.matrix(width, width),
        C_dependent=draw.matrix(width, width),
        k=draw.vector(width),
    )


class _Parameters(Lazynet):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.n = w.n
        self.words = self.table(w.words)
        self.end = self.table(w.e[None])  # a row, so that it is scored with the words
        self.P_S, self.P_B, self.p = map(self.parameter, (w.P_S, w.P_B, w.p))
        self.Q, self.q = map(self.parameter, (w.Q, w.q))
        self.C_head, self.C_dependent = map(self.parameter, (w.C_head, w.C_dependent))
        self.k = self.parameter(w.k)


class Idiomatic(_Parameters):
    def __init__(self, w: Weights) -> None:
        super().__init__(w)
        self.buffer, self.stack = self.lstm(w.buffer), self.lstm(w.stack)

    def example(self, sentence: Sentence) -> Any:
        words, moves = sentence
        xs = self.words[words]
        ys, _ = self.buffer(xs, reverse=True)
        waiting, fronts = ln.unbatch(xs), [*ln.unbatch(ys), self.end[0]]
        state = self.stack.initial_state()
        items: list[Any] = []
        states = [state]
        tops, ahead = [], []
        front = 0
        for move in moves:
            tops.append(states[-1][0])
            ahead.append(fronts[front])
            if move == SHIFT:
                item = waiting[front]
                front += 1
            else:
                second, first = items[-2:]
                del items[-2:], states[-2:]
                item = self.compose(*((first, second) if move == LEFT else (second, first)))
            _, state = self.stack.step(item, states[-1])
            items.append(item)
            states.append(state)
        return ln.sum_batch(self.losses(ln.rebatch(tops), ln.rebatch(ahead), moves))

    @fuse
    def compose(self, head: Any, dependent: Any) -> Any:
        return ln.tanh(ln.affine(self.k, self.C_head, head, self.C_dependent, dependent))

    @fuse
    def losses(self, tops: Any, fronts: Any, moves: Any) -> Any:
        hidden = ln.tanh(ln.affine(self.p, self.P_S, tops, self.P_B, fronts))
        return ln.cross_entropy(ln.affine(self.q, self.Q, hidden), moves)


class OpByOp(_Parameters):
    def __init__(self, w: Weights) -> None:
        super().__init__(w)
        self.buffer, self.stack = StepLSTM(self, w.buffer), StepLSTM(self, w.stack)

    def example(self, sentence: Sentence) -> Any:
        words, moves = sentence
        waiting = [self.words[word] for word in words]
        fronts = [*self.buffer.run(waiting[::-1])[::-1], self.end[0]]
        items: list[Any] = []
        states = [self.stack.start()]
        losses = []
        front = 0
        for move in moves:
            hidden = ln.affine(self.p, self.P_S, states[-1][0], self.P_B, fronts[front])
            logits = ln.affine(self.q, self.Q, ln.tanh(hidden))
            losses.append(ln.cross_entropy(logits, move))
            if move == SHIFT:
                item = waiting[front]
                front += 1
            else:
                second, first = items[-2:]
                del items[-2:], states[-2:]
                head, dependent = (first, second) if move == LEFT else (second, first)
                item = ln.tanh(ln.affine(self.k, self.C_head, head, self.C_dependent, dependent))
            items.append(item)
            states.append(self.stack.step(item, states[-1]))
        return ln.sum(losses)


class DynetParser(Dynet):
    def __init__(self, w: Weights, level: int) -> None:
        super().__init__(level)
        self.n = w.n
        self.words = self.table(w.words)
        self.buffer, self.stack = self.lstm(w.buffer), self.lstm(w.stack)
        self.e = self.parameter(w.e)
        self.P_S, self.P_B, self.p = map(self.parameter, (w.P_S, w.P_B, w.p))
        self.Q, self.q = map(self.parameter, (w.Q, w.q))
        self.C_head, self.C_dependent = map(self.parameter, (w.C_head, w.C_dependent))
        self.k = self.parameter(w.k)

    def example(self, sentence: Sentence) -> list[Any]:
        words, moves = sentence
        waiting = [self.words[word] for word in words]
        fronts = [*self.buffer.initial_state().transduce(waiting[::-1])[::-1], self.e]
        empty = dy.zeros((self.n,))
        items: list[Any] = []
        states = [self.stack.initial_state()]
        losses = []
        front = 0
        for move in moves:
            top = states[-1].output() if items else empty
            hidden = dy.affine_transform([self.p, self.P_S, top, self.P_B, fronts[front]])
            logits = dy.affine_transform([self.q, self.Q, dy.tanh(hidden)])
            losses.append(dy.pickneglogsoftmax(logits, move))
            if move == SHIFT:
                item = waiting[front]
                front += 1
            else:
                second, first = items[-2:]
                del items[-2:], states[-2:]
                head, dependent = (first, second) if move == LEFT else (second, first)
                item = dy.tanh(
                    dy.affine_transform([self.k, self.C_head, head, self.C_dependent, dependent])
                )
            items.append(item)
            states.append(states[-1].add_input(item))
        return losses


class TorchParser(TorchExamples):
    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.n = w.n
        self.words = self.table(w.words)
        self.buffer, self.stack = self.lstm(w.buffer), self.lstm_cell(w.stack)
        self.e = self.parameter(w.e)
        self.P = self.parameter(np.concatenate([w.P_S, w.P_B], 1))
        self.C = self.parameter(np.concatenate([w.C_head, w.C_dependent], 1))
        self.p, self.Q, self.q, self.k = map(self.parameter, (w.p, w.Q, w.q, w.k))

    def example(self, sentence: Sentence) -> Any:
        words, moves = sentence
        xs = self.words(torch.tensor([words]))
        ys = self.buffer(xs.flip(1))[0][0].flip(0)
        waiting, fronts = xs[0].split(1), [*ys.split(1), self.e[None]]
        empty = torch.zeros(1, self.n)
        items: list[Any] = []
        states = [(empty, empty)]
        seen = []
        front = 0
        for move in moves:
            seen.append(torch.cat([states[-1][0], fronts[front]], 1))
            if move == SHIFT:
                item = waiting[front]
                front += 1
            else:
                second, first = items[-2:]
                del items[-2:], states[-2:]
                pair = (first, second) if move == LEFT else (second, first)
                item = torch.tanh(F.linear(torch.cat(pair, 1), self.C, self.k))
            items.append(item)
            states.append(self.stack(item, states[-1]))
        hidden = torch.tanh(F.linear(torch.cat(seen), self.P, self.p))
        logits = F.linear(hidden, self.Q, self.q)
        return F.cross_entropy(logits, torch.tensor(moves), reduction="sum")


class TorchLockStep(TorchBatched):
    """All sentences take their t-th transition together; each keeps a stack of rows.

    Source: S. Bowman et al., "A fast unified model for parsing and sentence understanding" (SPINN),
    2016; rows are bundled for a step and unbundled after it, as in its PyTorch version.
    """

    def __init__(self, w: Weights) -> None:
        super().__init__()
        self.n = w.n
        self.words = self.table(w.words)
        self.buffer, self.stack = self.lstm(w.buffer), self.lstm_cell(w.stack)
        self.e = self.parameter(w.e)
        self.P = self.parameter(np.concatenate([w.P_S, w.P_B], 1))
        self.C = self.parameter(np.concatenate([w.C_head, w.C_dependent], 1))
        self.p, self.Q, self.q, self.k = map(self.parameter, (w.p, w.Q, w.q, w.k))

    def collate(self, batch: list[Sentence]) -> Any:
        ordered = sorted(batch, key=lambda s: -len(s[1]))
        longest = len(ordered[0][0])
        # row of padded buffer states, read from the end; the last row is the empty buffer's
        none = len(ordered) * longest
        fronts, gold, shifts = [], [], []
        place = [0] * len(ordered)
        for t in range(len(ordered[0][1])):
            shifted = []
            for row, (words, moves) in enumerate(ordered):
                if t >= len(moves):
                    break
                left = len(words) - place[row]
                fronts.append(row * longest + left - 1 if left else none)
                gold.append(moves[t])
                if moves[t] == SHIFT:
                    shifted.append(row * longest + left - 1)
                    place[row] += 1
            shifts.append(torch.tensor(shifted, dtype=torch.long))
        words = packed([words[::-1] for words, _ in ordered])
        moves = [moves for _, moves in ordered]
        return words, torch.tensor(fronts), torch.tensor(gold), shifts, moves

    def total(self, built: Any) -> Any:
        words, fronts, gold, shifts, moves = built
        pad = torch.nn.utils.rnn.pad_packed_sequence
        embedded = with_data(words, self.words(words.data))
        ys, _ = pad(self.buffer(embedded)[0], batch_first=True)
        xs = pad(embedded, batch_first=True)[0].flatten(0, 1)
        ahead = torch.cat([ys.flatten(0, 1), self.e[None]])[fronts]
        zeros = torch.zeros(2 * self.n)
        items: list[list[Any]] = [[] for _ in moves]
        states: list[list[Any]] = [[zeros] for _ in moves]
        tops = [torch.zeros(len(moves), self.n)]
        for t, shifted in enumerate(shifts):
            active = sum(t < len(m) for m in moves)
            reducing = [row for row in range(active) if moves[row][t] != SHIFT]
            pushing = [row for row in range(active) if moves[row][t] == SHIFT]
            pairs = []
            for row in reducing:
                second, first = items[row][-2:]
                del items[row][-2:], states[row][-2:]
                pairs += [first, second] if moves[row][t] == LEFT else [second, first]
            new = xs[shifted]
            if pairs:
                composed = torch.stack(pairs).view(len(reducing), -1)
                new = torch.cat([new, torch.tanh(F.linear(composed, self.C, self.k))])
            order = pushing + reducing
            below = torch.stack([states[row][-1] for row in order])
            h, c = self.stack(new, tuple(below.chunk(2, 1)))
            for row, item, state in zip(order, new.unbind(), torch.cat([h, c], 1).unbind()):
                items[row].append(item)
                states[row].append(state)
            following = sum(t + 1 < len(m) for m in moves)
            places = {row: k for k, row in enumerate(order)}
            tops.append(h[torch.tensor([places[row] for row in range(following)]).long()])
        seen = torch.cat(tops)
        hidden = torch.tanh(F.linear(torch.cat([seen, ahead], 1), self.P, self.p))
        return F.cross_entropy(F.linear(hidden, self.Q, self.q), gold, reduction="sum")


def products(sizes: Sizes, batch: list[Sentence]) -> list[Product]:
    n, width = sizes.hidden, sizes.embedding
    moves = [moves for _, moves in batch]
    longest = max(len(m) for m in moves)
    pushes = [sum(t < len(m) for m in moves) for t in range(longest)]
    reduced = [sum(t < len(m) and m[t] != SHIFT for m in moves) for t in range(longest)]
    words = sum(len(words) for words, _ in batch)
    return [
        *lstm_products(width, n, [len(words) for words, _ in batch]),
        Product(width, 4 * n, [words, *[r for r in reduced if r]]),
        Product(n, 4 * n, pushes[1:]),
        Product(2 * width, width, [r for r in reduced if r]),
        Product(2 * n, sizes.layer, [sum(pushes)]),
        Product(sizes.layer, 3, [sum(pushes)]),
    ]


TASK = Task(
    name="parser",
    title="Arc-standard parser with stack LSTMs",
    batches=batches,
    weights=weights,
    idiomatic=Idiomatic,
    op_by_op=OpByOp,
    dynet=DynetParser,
    torch_examples=TorchParser,
    builder=True,
    torch_batched=TorchLockStep,
    products=products,
    note="PyTorch batched by hand: in lock-step, with bundled rows, as SPINN.",
)
