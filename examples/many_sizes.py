"""A network for each example: as many layers as the example asks for.

    python examples/many_sizes.py             # about two minutes
    python examples/many_sizes.py --smoke     # seconds

Where will a pendulum be after k ticks of a clock? `Clockwork.predict` applies one small network k
times, k = 1 ... 16 being part of the example: `for _ in range(ticks)` is the model. In one update
there are networks of sixteen depths; layers at the same depth run as one batch, and those that are
done drop out of it.

The figure is the root mean square error of angle and angular velocity. Baseline: an ordinary
network of the same kind, which is told k as an input and trained on the same examples for as many
updates. Both are also asked for what neither was trained on: 17 to 24 ticks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import common
import numpy as np

import lazynet as ln

TICK = 0.25
"""Seconds from one tick to the next."""

Curves = tuple[list[float], list[float]]


class Swing(NamedTuple):
    """A pendulum seen twice.

    Attributes:
        start: Angle (radians) and angular velocity (radians per second) when the clock starts.
        ticks: Ticks of the clock until it is seen again.
        end: Angle and angular velocity then.
    """

    start: np.ndarray
    ticks: int
    end: np.ndarray


def swings(n: int, ticks: range, seed: int) -> list[Swing]:
    """Pendulums of 1 m with some friction, let go within 2 radians, seen again some ticks later."""
    rng = np.random.default_rng(seed)
    starts = rng.uniform(-2, 2, (n, 2))
    angle, velocity = starts.T.copy()
    seen = [starts]
    for _ in range(ticks[-1]):
        for _ in range(200):  # symplectic Euler, fine enough to be exact to three digits
            velocity -= TICK / 200 * (9.81 * np.sin(angle) + 0.3 * velocity)
            angle += TICK / 200 * velocity
        seen.append(np.stack([angle, velocity], axis=1))
    counts = [ticks[k % len(ticks)] for k in range(n)]
    return [Swing(starts[k], count, seen[count][k]) for k, count in enumerate(counts)]


class Clockwork:
    """What one tick does, applied as often as the clock ticks.

    Args:
        model: Owns the parameters.
        hidden: Width of the hidden layer.
    """

    def __init__(self, model: ln.Model, hidden: int) -> None:
        self.change = ln.nn.MLP(model, [2, hidden, hidden, 2], activation="tanh")

    def predict(self, swing: Swing) -> ln.Expression:
        """Angle and angular velocity at the end."""
        state = ln.constant(swing.start)
        for _ in range(swing.ticks):
            state = self.tick(state)
        return state

    @ln.fuse
    def tick(self, state: ln.Expression) -> ln.Expression:
        """The state a tick later."""
        return state + self.change(state)

    def loss(self, swing: Swing) -> ln.Expression:
        """Mean squared error of one example."""
        return ln.mean(ln.square(self.predict(swing) - ln.constant(swing.end)))


class Direct(Clockwork):
    """The baseline: one network for any number of ticks."""

    def __init__(self, model: ln.Model, hidden: int) -> None:
        self.end = ln.nn.MLP(model, [3, hidden, hidden, 2], activation="tanh")

    def predict(self, swing: Swing) -> ln.Expression:
        return self.end(ln.constant([*swing.start, swing.ticks / 8 - 1]))


def error(network: Clockwork, swings: Sequence[Swing]) -> float:
    """Root mean square error."""
    with ln.no_grad():
        return math.sqrt(ln.mean([network.loss(s) for s in swings]).item())


def main() -> None:
    parser = common.options(__doc__, epochs=40, hidden=64, batch=64, lr=5e-3)
    options = parser.parse_args()
    n, epochs = (320, 2) if options.smoke else (4000, options.epochs)
    training = swings(n, range(1, 17), seed=1)
    test = swings(n // 8, range(1, 17), seed=2)
    longer = swings(n // 8, range(17, 25), seed=3)
    print(f"{n} swings of 1 to 16 ticks to train on, {len(test)} to test on")

    def fresh(kind: Callable[[ln.Model, int], Clockwork]) -> tuple[ln.Model, Clockwork]:
        model = ln.Model(seed=options.seed, device=options.device)
        return model, kind(model, options.hidden)

    def trained(kind: Callable[[ln.Model, int], Clockwork]) -> tuple[ln.Model, Clockwork, Curves]:
        model, network = fresh(kind)
        schedule = ln.optim.Cosine(epochs * -(-n // options.batch))
        optimizer = ln.optim.Adam(model, lr=options.lr, clip=1.0, schedule=schedule)
        curves = common.train(
            network.loss,
            optimizer,
            training,
            epochs,
            options.batch,
            options.seed,
            lambda: error(network, test),
            "error",
        )
        return model, network, curves

    model, network, (losses, scores) = trained(Clockwork)
    _, direct, _ = trained(Direct)
    reached = error(network, test)
    print(f"test error: {reached:.3f} (told the time: {error(direct, test):.3f})")
    print(f"17 to 24 ticks: {error(network, longer):.3f} ({error(direct, longer):.3f})")

    again, loaded = fresh(Clockwork)
    path = options.output / "many_sizes.safetensors"
    common.save_and_load(model, again, path, reached, lambda: error(loaded, test))
    plot = options.output / "many_sizes.png"
    common.plot(plot, losses, scores, "error on test swings")
    common.compare(model, network.loss, training[: options.batch])


if __name__ == "__main__":
    main()
