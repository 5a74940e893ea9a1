"""Greedy decoding with the attention decoder: the likeliest word is fed to the next step.

Equations and weights are those of `attention`. A sentence ends with END, or with as many words as
its translation has: an untrained decoder seldom stops by itself, and this way lengths are those of
a corpus. What stands for the loss is -log p of the words found. Nothing is updated.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import lazynet as ln
from benchmarks.suite.base import Array, Product, Sizes, Task, dy, fuse, torch
from benchmarks.suite.following import DynetDecoding, LazynetDecoding, TorchDecoding
from benchmarks.suite.tasks import attention
from benchmarks.suite.tasks.attention import END, Pair


class Idiomatic(LazynetDecoding, attention.Idiomatic):
    async def follow(self, pair: Pair) -> float:
        word, total = END, 0.0
        with ln.no_grad():
            state = self.start(pair.source)
            for _ in pair.target:
                state = self.step(word, state)
                (h, _), context, _ = state
                scores = await self.scores(h, context)
                word = int(scores.argmax())
                total -= float(scores[word])
                if word == END:
                    break
        return total

    @fuse
    def scores(self, h: Any, context: Any) -> Any:
        return ln.log_softmax(self.logits(h, context))


class OpByOp(LazynetDecoding, attention.OpByOp):
    async def follow(self, pair: Pair) -> float:
        word, total = END, 0.0
        with ln.no_grad():
            state = self.start(pair.source)
            for _ in pair.target:
                state = self.step(word, state)
                scores = await ln.log_softmax(self.logits(state))
                word = int(scores.argmax())
                total -= float(scores[word])
                if word == END:
                    break
        return total


class DynetGreedy(DynetDecoding, attention.DynetDecoder):
    def follow(self, pair: Pair) -> Generator[Any, Array, Any]:
        word, total = END, 0.0
        state = self.start(pair.source)
        for _ in pair.target:
            state = self.step(word, state)
            scores = yield dy.log_softmax(self.logits(state))
            word = int(scores.argmax())
            total -= float(scores[word])
            if word == END:
                break
        return total


class TorchGreedy(TorchDecoding, attention.TorchAttention):
    def total(self, built: Any) -> Any:
        return sum(self.decode(pair) for pair in built)

    def decode(self, pair: Pair) -> float:
        word, total = END, 0.0
        state = self.start(pair.source)
        for _ in pair.target:
            state = self.step(self.target(torch.tensor([word])), state)
            (h, _), context, _, _ = state
            best, words = torch.log_softmax(self.logits(h, context), 1).max(1)
            word = int(words)
            total -= float(best)
            if word == END:
                break
        return total


class TorchGreedyPadded(TorchDecoding, attention.TorchPadded):
    """In lock-step; those that have ended leave the batch."""

    def collate(self, batch: list[Pair]) -> Any:
        pairs, sources, mask = self.ordered(batch)
        return sources, mask, torch.tensor([len(pair.target) for pair in pairs])

    def total(self, built: Any) -> Any:
        sources, mask, limits = built
        keys, values = self.encode(sources)
        h = c = torch.zeros(len(mask), self.n)
        context = torch.zeros(len(mask), 2 * self.n)
        words = torch.full((len(mask),), END)
        total = torch.zeros(())
        length = 0
        while len(words):
            length += 1
            h, c = self.decoder(torch.cat([self.target(words), context], 1), (h, c))
            context = self.attend(h, keys, values, mask)
            best, words = torch.log_softmax(self.logits(h, context), 1).max(1)
            total -= best.sum()
            going = (words != END) & (limits > length)
            if not going.all():
                words, limits, h, c, context = (x[going] for x in (words, limits, h, c, context))
                keys, values, mask = keys[going], values[going], mask[going]
        return total


def products(sizes: Sizes, batch: list[Pair]) -> list[Product]:
    return attention.products(sizes, batch, look=True)


TASK = Task(
    name="greedy",
    title="Greedy decoding with attention, 1,000 words",
    batches=attention.batches,
    weights=attention.weights,
    idiomatic=Idiomatic,
    op_by_op=OpByOp,
    dynet=DynetGreedy,
    torch_examples=TorchGreedy,
    torch_batched=TorchGreedyPadded,
    products=products,
    trains=False,
    note="PyTorch batched by hand: in lock-step; the time is that of decoding 64 sentences.",
)
