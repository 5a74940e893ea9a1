"""A user's program: what type checkers make of it, and it runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import lazynet as ln

if TYPE_CHECKING:
    from typing_extensions import assert_type
else:

    def assert_type(value: object, kind: object) -> object:
        """As in the module typing, from Python 3.11 on."""
        return value


Array = NDArray[Any]
Example = tuple[list[int], int]


class Classifier:
    """An LSTM, and a fused layer on top of it."""

    def __init__(self, n_words: int, n_classes: int) -> None:
        self.model = ln.Model(seed=0, dtype="float32")
        self.emb = self.model.lookup(n_words, 4)
        self.lstm = ln.nn.LSTM(self.model, 4, 5, dropout=0.1)
        self.both = ln.nn.Bidirectional(ln.nn.GRU(self.model, 4, 2), ln.nn.RNN(self.model, 4, 3))
        self.conv = ln.nn.Conv1d(self.model, 4, 5, 2)
        self.attention = ln.nn.DotAttention()
        self.head = ln.nn.Linear(self.model, 5, n_classes)
        self.mlp = ln.nn.MLP(self.model, [n_classes, 8, n_classes], activation=ln.relu)
        self.W = self.model.parameter((5, 5), init=ln.init.Orthogonal())
        self.b = self.model.parameter(5, init="zeros")

    @ln.fuse
    def top(self, h: ln.Expression, context: ln.Expression, scale: float = 1.0) -> ln.Expression:
        """Two vectors as one."""
        return ln.tanh(ln.affine(self.b, self.W, h)) * scale + context

    @ln.fuse
    def cell(self, x: ln.Expression, h: ln.Expression) -> tuple[ln.Expression, ln.Expression]:
        """A step of a recurrence."""
        h = ln.tanh(self.W @ h + x)
        return h, h

    def logits(self, words: list[int]) -> ln.Expression:
        """Scores of the classes."""
        xs = self.emb[words]
        assert_type(xs, ln.Expression)
        assert_type(self.emb[3], ln.Expression)
        ys, (h, c) = self.lstm(xs)
        assert_type(ys, ln.Expression)
        listed, _ = self.lstm([self.emb[word] for word in words])
        assert_type(listed, list[ln.Expression])
        assert_type(self.lstm.step(self.emb[3], (h, c))[0], ln.Expression)
        assert_type(self.both(xs)[0], ln.Expression)
        assert_type(self.conv(xs), ln.Expression)
        zs, last = ln.scan(self.cell, ys, np.zeros(5))
        assert_type(zs, ln.Expression)
        assert_type(last, ln.Expression)
        context, weights = self.attention(last, zs)
        assert_type(weights, ln.Expression)
        both = self.top(h, context, scale=0.5)
        assert_type(both, ln.Expression)
        logits = self.mlp(self.head(both))
        assert_type(logits, ln.Expression)
        return logits

    def loss(self, words: list[int], label: int) -> ln.Expression:
        """Cross-entropy in nats."""
        logits = self.logits(words)
        penalty = 0.5 * (self.W * self.W).sum() / 2 - (1 - abs(-logits[0])) ** 2 + 2 ** logits.max()
        assert_type(penalty, ln.Expression)
        return ln.cross_entropy(logits, label) + 1e-3 * penalty


@ln.fuse
def twice(x: ln.Expression, k: int = 2) -> ln.Expression:
    """K times x."""
    return x * k


@dataclass(frozen=True)
class Power(ln.Op):
    """y = x^p"""

    p: int

    def shape(self, x: tuple[int, ...]) -> tuple[int, ...]:
        """That of x."""
        return x

    def forward(self, call: ln.Call, x: Array) -> Any:
        """All rows at once."""
        return np.power(x, self.p, out=call.out)

    def backward(self, call: ln.Call, dy: Array, y: Array, x: Array) -> Any:
        """The gradient of x."""
        return np.multiply(self.p * x ** (self.p - 1), dy)


class Halving(ln.optim.Optimizer):
    """x -= lr g / 2"""

    slots = ("count",)

    def update(
        self, x: Array, gradient: Array, state: dict[str, Array], lr: float, count: int
    ) -> None:
        """In place."""
        x -= lr / 2 * gradient
        state["count"] += 1


async def halvings(x: ln.Expression) -> int:
    """How often x has to be halved until it is small."""
    steps = 0
    while await ln.max(x) > 1:
        x, steps = x / 2, steps + 1
    low, high = await ln.values_async(ln.min(x), ln.max(x))
    return steps if low <= high else -1


def step(state: ln.Expression, token: int) -> tuple[ln.Expression, ln.Expression]:
    """Of a decoder."""
    return ln.log_softmax(state * (token + 1)), state


def train(classifier: Classifier, batches: Iterable[list[Example]]) -> float:
    """The last loss."""
    schedule = ln.optim.Warmup(2, ln.optim.Cosine(steps=10))
    opt = ln.optim.Adam(classifier.model, lr=1e-2, clip=5.0, schedule=schedule, beta1=0.8)
    last = 0.0
    for batch in batches:
        loss = ln.mean([classifier.loss(words, label) for words, label in batch])
        loss.backward()
        opt.step()
        last = loss.item()
        assert_type(loss.item(), "int | float")
        print(f"{loss.value():.3f} {opt.gradient_norm:.3f}")
    return last


def look(x: ln.Expression) -> None:
    """What there is to see."""
    plan = ln.plan(x)
    assert_type(plan, ln.Plan)
    assert_type(plan.batches[0].op, str)
    assert_type(ln.draw(x), ln.Picture)
    assert_type(ln.to_dot(x), str)
    print(ln.explain(x))
    with ln.profile() as profile, ln.detect_anomaly():
        x.value()
    print(profile.phases)


def main() -> None:
    """Everything once."""
    classifier = Classifier(10, 3)
    train(classifier, [[([1, 2, 3], 0), ([4, 5], 1)]] * 2)
    for parameter in classifier.model:
        assert_type(parameter, ln.Parameter)
        assert_type(parameter.array, Array)
        parameter.trainable = False
    with ln.no_grad(), ln.training(False), ln.debug(), ln.no_autobatch(), ln.no_fuse():
        assert_type(classifier.logits([1, 2]).shape, tuple[int, ...])

    x = ln.constant([1.0, 2.0, 3.0, 4.0])
    assert_type(twice(x), ln.Expression)
    assert_type(twice(x, k=3), ln.Expression)
    assert_type(twice.function(x), Any)
    assert_type(ln.split(x, 2), tuple[ln.Expression, ...])
    assert_type(ln.unbatch(x), list[ln.Expression])
    assert_type(x.reshape(2, -1).T[0].batch, "int | None")
    look(Power(3)(x))
    y = ln.sum(Power(2)(x))
    y.backward()
    assert_type(x.gradient(), Array)
    Halving(classifier.model, lr=0.1, weight_decay=0.1, sparse="lazy")
    ln.gradcheck(twice, [ln.constant([1.0, 2.0], dtype="float64")])

    counts = ln.run_together(halvings(ln.constant(v)) for v in ([1.0, 8.0], [3.0]))
    assert_type(counts, list[int])
    assert counts == [3, 2]
    tried = ln.run_together([halvings(x)], limit=1, on_error="return")
    assert_type(tried, "list[int | Exception]")
    search = ln.beam_search(step, x, width=2, max_length=3, start=0, end=0)
    assert_type(search, "ln.Search[list[ln.Hypothesis]]")
    assert_type(search.value()[0].tokens, list[int])
    assert_type(ln.run_together([search, search]), list[list[ln.Hypothesis]])


if __name__ == "__main__":
    main()
