"""Arc-standard transition parser with stack LSTMs, taught while it follows its own predictions.

The network is that of `parser`. Here the next transition is the legal one with the highest score,
so the scores must be seen before the parser can go on. The transition that is taught is that which
is right in the state where it got to::

    LEFT if first is the head of second, and no dependent of second lacks a head; else
    RIGHT if second is the head of first, and no dependent of first lacks a head; else
    SHIFT if there are words; else LEFT if first is the head of second; else RIGHT

From right states that is the derivation of the tree. It looks at the state, and not at the trees
that can still be reached, as the exact oracle in `examples/parser.py` does: that would cost every
system the same, and more than the network.

Source: Y. Goldberg, J. Nivre, "A dynamic oracle for arc-eager dependency parsing", 2012, for
exploring with a classifier that makes mistakes.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

import lazynet as ln
from benchmarks.suite.base import (
    Array,
    F,
    Product,
    Sizes,
    Task,
    Weights,
    dy,
    fuse,
    lstm_products,
    packed,
    torch,
    with_data,
)
from benchmarks.suite.data import LEFT, RIGHT, SHIFT, Rng
from benchmarks.suite.following import DynetFollowing, LazynetFollowing
from benchmarks.suite.tasks import parser


class Sentence(NamedTuple):
    """A sentence with its tree.

    Attributes:
        words: Numbers of the words.
        moves: A derivation of the tree.
        heads: The head of each word; -1 for the root.
    """

    words: list[int]
    moves: list[int]
    heads: list[int]


def heads_of(moves: list[int]) -> list[int]:
    """The tree that a derivation makes."""
    heads = [-1] * ((len(moves) + 1) // 2)
    stack: list[int] = []
    front = 0
    for move in moves:
        if move == SHIFT:
            stack.append(front)
            front += 1
        else:
            second, first = stack[-2:]
            dependent, head = (second, first) if move == LEFT else (first, second)
            heads[dependent] = head
            stack[-2:] = [head]
    return heads


class Parse:
    """How far the parse of a sentence has got.

    Args:
        heads: The right head of each word.
    """

    def __init__(self, heads: list[int]) -> None:
        self.heads = heads
        self.stack: list[int] = []
        self.front = 0
        self.missing = [0] * (len(heads) + 1)  # dependents without a head; the root's come last
        for head in heads:
            self.missing[head] += 1

    @property
    def done(self) -> bool:
        return self.front == len(self.heads) and len(self.stack) == 1

    def right(self) -> int:
        """The transition to be taught."""
        heads, missing = self.heads, self.missing
        if len(self.stack) > 1:
            second, first = self.stack[-2:]
            if heads[second] == first and not missing[second]:
                return LEFT
            if heads[first] == second and not missing[first]:
                return RIGHT
        if self.front < len(heads):
            return SHIFT
        return LEFT if heads[second] == first else RIGHT

    def best(self, scores: Any) -> int:
        """The legal transition with the highest score."""
        if len(self.stack) < 2:
            return SHIFT
        if self.front == len(self.heads):
            return LEFT if scores[LEFT] > scores[RIGHT] else RIGHT
        return max((SHIFT, LEFT, RIGHT), key=scores.__getitem__)

    def take(self, move: int) -> None:
        if move == SHIFT:
            self.stack.append(self.front)
            self.front += 1
        else:
            second, first = self.stack[-2:]
            dependent, head = (second, first) if move == LEFT else (first, second)
            self.missing[self.heads[dependent]] -= 1
            self.stack[-2:] = [head]


def batches(sizes: Sizes, rng: Rng, count: int) -> list[list[Sentence]]:
    drawn = parser.batches(sizes, rng, count)
    return [[Sentence(words, moves, heads_of(moves)) for words, moves in batch] for batch in drawn]


class Idiomatic(LazynetFollowing, parser.Idiomatic):
    async def follow(self, sentence: Sentence) -> Any:
        xs = self.words[sentence.words]
        ys, _ = self.buffer(xs, reverse=True)
        waiting, fronts = ln.unbatch(xs), [*ln.unbatch(ys), self.end[0]]
        items: list[Any] = []
        states = [self.stack.initial_state()]
        seen, right = [], []
        parse = Parse(sentence.heads)
        while not parse.done:
            scores = self.scores(states[-1][0], fronts[parse.front])
            seen.append(scores)
            right.append(parse.right())
            move = parse.best(await scores)
            if move == SHIFT:
                item = waiting[parse.front]
            else:
                second, first = items[-2:]
                del items[-2:], states[-2:]
                item = self.compose(*((first, second) if move == LEFT else (second, first)))
            parse.take(move)
            items.append(item)
            states.append(self.stack.step(item, states[-1])[1])
        return ln.sum_batch(ln.cross_entropy(ln.rebatch(seen), right))

    @fuse
    def scores(self, top: Any, front: Any) -> Any:
        hidden = ln.tanh(ln.affine(self.p, self.P_S, top, self.P_B, front))
        return ln.affine(self.q, self.Q, hidden)


class OpByOp(LazynetFollowing, parser.OpByOp):
    async def follow(self, sentence: Sentence) -> Any:
        waiting = [self.words[word] for word in sentence.words]
        fronts = [*self.buffer.run(waiting[::-1])[::-1], self.end[0]]
        items: list[Any] = []
        states = [self.stack.start()]
        losses = []
        parse = Parse(sentence.heads)
        while not parse.done:
            hidden = ln.affine(self.p, self.P_S, states[-1][0], self.P_B, fronts[parse.front])
            scores = ln.affine(self.q, self.Q, ln.tanh(hidden))
            losses.append(ln.cross_entropy(scores, parse.right()))
            move = parse.best(await scores)
            if move == SHIFT:
                item = waiting[parse.front]
            else:
                second, first = items[-2:]
                del items[-2:], states[-2:]
                head, dependent = (first, second) if move == LEFT else (second, first)
                item = ln.tanh(ln.affine(self.k, self.C_head, head, self.C_dependent, dependent))
            parse.take(move)
            items.append(item)
            states.append(self.stack.step(item, states[-1]))
        return ln.sum(losses)


class DynetParser(DynetFollowing, parser.DynetParser):
    def follow(self, sentence: Sentence) -> Generator[Any, Array, Any]:
        waiting = [self.words[word] for word in sentence.words]
        fronts = [*self.buffer.initial_state().transduce(waiting[::-1])[::-1], self.e]
        empty = dy.zeros((self.n,))
        items: list[Any] = []
        states = [self.stack.initial_state()]
        seen, right = [], []
        parse = Parse(sentence.heads)
        while not parse.done:
            top = states[-1].output() if items else empty
            hidden = dy.affine_transform([self.p, self.P_S, top, self.P_B, fronts[parse.front]])
            scores = dy.affine_transform([self.q, self.Q, dy.tanh(hidden)])
            seen.append(scores)
            right.append(parse.right())
            move = parse.best((yield scores))
            if move == SHIFT:
                item = waiting[parse.front]
            else:
                second, first = items[-2:]
                del items[-2:], states[-2:]
                head, dependent = (first, second) if move == LEFT else (second, first)
                item = dy.tanh(
                    dy.affine_transform([self.k, self.C_head, head, self.C_dependent, dependent])
                )
            parse.take(move)
            items.append(item)
            states.append(states[-1].add_input(item))
        return [dy.pickneglogsoftmax(scores, move) for scores, move in zip(seen, right)]


class TorchParser(parser.TorchParser):
    def example(self, sentence: Sentence) -> Any:
        xs = self.words(torch.tensor([sentence.words]))
        ys = self.buffer(xs.flip(1))[0][0].flip(0)
        waiting, fronts = xs[0].split(1), [*ys.split(1), self.e[None]]
        empty = torch.zeros(1, self.n)
        items: list[Any] = []
        states = [(empty, empty)]
        seen, right = [], []
        parse = Parse(sentence.heads)
        while not parse.done:
            state = torch.cat([states[-1][0], fronts[parse.front]], 1)
            scores = F.linear(torch.tanh(F.linear(state, self.P, self.p)), self.Q, self.q)
            seen.append(scores)
            right.append(parse.right())
            move = parse.best(scores[0].tolist())
            if move == SHIFT:
                item = waiting[parse.front]
            else:
                second, first = items[-2:]
                del items[-2:], states[-2:]
                pair = (first, second) if move == LEFT else (second, first)
                item = torch.tanh(F.linear(torch.cat(pair, 1), self.C, self.k))
            parse.take(move)
            items.append(item)
            states.append(self.stack(item, states[-1]))
        return F.cross_entropy(torch.cat(seen), torch.tensor(right), reduction="sum")


class TorchLockStep(parser.TorchLockStep):
    """As SPINN's: rows are bundled for a step, and unbundled after it."""

    def collate(self, batch: list[Sentence]) -> Any:
        ordered = sorted(batch, key=lambda s: -len(s.words))
        return packed([s.words[::-1] for s in ordered]), [s.heads for s in ordered]

    def total(self, built: Any) -> Any:
        words, heads = built
        pad = torch.nn.utils.rnn.pad_packed_sequence
        embedded = with_data(words, self.words(words.data))
        ys, _ = pad(self.buffer(embedded)[0], batch_first=True)
        xs = pad(embedded, batch_first=True)[0]
        longest = xs.shape[1]
        xs, ys = xs.flatten(0, 1), torch.cat([ys.flatten(0, 1), self.e[None]])
        none = len(heads) * longest  # the row of the empty buffer
        zeros = torch.zeros(2 * self.n)
        items: list[list[Any]] = [[] for _ in heads]
        states: list[list[Any]] = [[zeros] for _ in heads]
        parses = [Parse(h) for h in heads]
        active = len(parses)
        tops = torch.zeros(active, self.n)
        seen, right = [], []
        while active:
            # words are read from the end, so the next one lies before the end by its number
            lefts = [len(p.heads) - p.front for p in parses[:active]]
            places = [row * longest + n - 1 if n else none for row, n in enumerate(lefts)]
            state = torch.cat([tops, ys[torch.tensor(places)]], 1)
            scores = F.linear(torch.tanh(F.linear(state, self.P, self.p)), self.Q, self.q)
            seen.append(scores)
            pushing, reducing, pairs = [], [], []
            for row, (parse, values) in enumerate(zip(parses, scores.tolist())):
                right.append(parse.right())
                move = parse.best(values)
                parse.take(move)
                if move == SHIFT:
                    pushing.append(row)
                else:
                    reducing.append(row)
                    second, first = items[row][-2:]
                    del items[row][-2:], states[row][-2:]
                    pairs += [first, second] if move == LEFT else [second, first]
            new = xs[torch.tensor([places[row] for row in pushing]).long()]
            if pairs:
                composed = torch.stack(pairs).view(len(reducing), -1)
                new = torch.cat([new, torch.tanh(F.linear(composed, self.C, self.k))])
            order = pushing + reducing
            below = torch.stack([states[row][-1] for row in order])
            h, c = self.stack(new, tuple(below.chunk(2, 1)))
            for row, item, state in zip(order, new.unbind(), torch.cat([h, c], 1).unbind()):
                items[row].append(item)
                states[row].append(state)
            while active and parses[active - 1].done:  # a derivation has 2 n - 1 transitions
                active -= 1
            at = {row: k for k, row in enumerate(order)}
            tops = h[torch.tensor([at[row] for row in range(active)]).long()]
        return F.cross_entropy(torch.cat(seen), torch.tensor(right), reduction="sum")


def weights(sizes: Sizes) -> Weights:
    return parser.weights(sizes)


def products(sizes: Sizes, batch: list[Sentence]) -> list[Product]:
    """Of as many transitions as there are, but in the order of the trees' derivations."""
    n, width = sizes.hidden, sizes.embedding
    moves = [s.moves for s in batch]
    longest = max(len(m) for m in moves)
    pushes = [sum(t < len(m) for m in moves) for t in range(longest)]
    reduced = [sum(t < len(m) and m[t] != SHIFT for m in moves) for t in range(longest)]
    words = sum(len(s.words) for s in batch)
    return [
        *lstm_products(width, n, [len(s.words) for s in batch]),
        Product(width, 4 * n, [words, *[r for r in reduced if r]]),
        Product(n, 4 * n, pushes[1:]),
        Product(2 * width, width, [r for r in reduced if r]),
        Product(2 * n, sizes.layer, pushes),
        Product(sizes.layer, 3, pushes),
    ]


TASK = Task(
    name="parser_following",
    title="Arc-standard parser on its own predictions",
    batches=batches,
    weights=weights,
    idiomatic=Idiomatic,
    op_by_op=OpByOp,
    dynet=DynetParser,
    torch_examples=TorchParser,
    torch_batched=TorchLockStep,
    products=products,
    note="PyTorch batched by hand: in lock-step, with bundled rows, as SPINN.",
)
