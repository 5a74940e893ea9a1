"""Shells of models that must see a value before they can go on.

There is no building before computing here, so `forward` has it all, up to the loss; `build` has
what is made of the data alone. Tasks that only decode have no backward and no update either: what
stands for the loss is the mean over the examples of -log p of what was found.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, ClassVar

import lazynet as ln
from benchmarks.suite.base import Array, Dynet, Lazynet, System, Torch, dy, torch


class LazynetFollowing(Lazynet):
    """A coroutine for one example; subclasses define `follow`, which returns its loss."""

    async def follow(self, example: Any) -> Any:
        raise NotImplementedError

    def build(self, batch: list[Any]) -> Any:
        return batch

    def forward(self, built: Any) -> float:
        return super().forward(ln.mean(ln.run_together(map(self.follow, built))))

    def counts(self, batch: list[Any]) -> dict[str, float]:
        with ln.profile() as profile:
            self.forward(self.build(batch))
        self.loss = None
        return {"evaluations": profile.evaluations, "batches": profile.batches}


class DynetFollowing(Dynet):
    """A generator for one example; subclasses define `follow`.

    It yields what it must see, is sent the values, and returns a list of its losses. One example
    after the other, as programs are written, every `npvalue` is an evaluation by itself. In
    lock-step, what all wait for is evaluated at once, and the losses are recorded at the end.
    """

    lock_step: ClassVar[bool] = False

    def follow(self, example: Any) -> Generator[Any, Array, Any]:
        raise NotImplementedError

    def build(self, batch: list[Any]) -> Any:
        return batch

    def forward(self, built: Any) -> float:
        dy.renew_cg(autobatching=self.level)
        results = self.together(built) if self.lock_step else [self.alone(e) for e in built]
        losses = [loss for result in results for loss in result]
        self.loss = dy.esum(losses) * (1 / len(built))
        return float(self.loss.value())

    def alone(self, example: Any) -> Any:
        """What `follow` returns for one example."""
        steps = self.follow(example)
        try:
            wanted = next(steps)
            while True:
                wanted = steps.send(wanted.npvalue())
        except StopIteration as end:
            return end.value

    def together(self, batch: list[Any]) -> list[Any]:
        """What `follow` returns for each example; they take each step together."""
        results: list[Any] = [None] * len(batch)
        waiting = [(k, steps, next(steps)) for k, steps in enumerate(map(self.follow, batch))]
        while waiting:
            values = dy.concatenate_cols([wanted for _, _, wanted in waiting]).npvalue()
            columns = values.reshape(-1, len(waiting), order="F").T
            going, waiting = waiting, []
            for (k, steps, _), value in zip(going, columns):
                try:
                    waiting.append((k, steps, steps.send(value)))
                except StopIteration as end:
                    results[k] = end.value
        return results


class Decoding(System):
    """Only computes: `follow` returns -log p of what it found, not a loss to differentiate."""

    def backward(self) -> None:
        pass

    def update(self) -> None:
        pass


class LazynetDecoding(Decoding, LazynetFollowing):
    def forward(self, built: Any) -> float:
        return sum(ln.run_together(map(self.follow, built))) / len(built)


class DynetDecoding(Decoding, DynetFollowing):
    """One example after the other, each has a graph of its own."""

    def forward(self, built: Any) -> float:
        if self.lock_step:
            dy.renew_cg(autobatching=self.level)
            return float(sum(self.together(built)) / len(built))
        total = 0.0
        for example in built:
            dy.renew_cg(autobatching=self.level)
            total += self.alone(example)
        return total / len(built)


class TorchDecoding(Decoding, Torch):
    """`total` returns a number."""

    def forward(self, built: Any) -> float:
        examples, content = built
        with torch.inference_mode():
            return float(self.total(content) / examples)
