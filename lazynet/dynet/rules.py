"""DyNet's update rules, on the machinery of `lazynet.optim`.

They differ from those of `lazynet.optim` in where `eps` stands and in what counts as an update:
bias corrections count those of the trainer. x are values, g their gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from lazynet import optim
from lazynet.kinds import Array
from lazynet.optim import Optimizer
from lazynet.optim.flat import State, scratch
from lazynet.optim.gradient import Gradient, table
from lazynet.optim.work import Work
from lazynet.parameters import Lookup, Model, Parameter


class Rule(Optimizer):
    """Base of the rules: an optimiser that is told what to update, how far, and how often.

    Args:
        model: Whose parameters it may be told to update.
        settings: Numbers of the rule, by attribute. DyNet takes any, so they are not checked.
    """

    together: ClassVar[bool] = True
    """Whether parameters may be updated as parts of one vector."""

    def __init__(self, model: Model, **settings: float) -> None:
        Optimizer.__init__(self, model, 0.0, sparse="lazy")
        self.settings = settings
        for name, value in settings.items():
            setattr(self, name, value)

    def state(self, p: Parameter) -> State:
        """What is remembered of a parameter."""
        return self._state(p)

    def states(self) -> Iterable[State]:
        """What is remembered of all parameters."""
        return self._states.values()

    def apply(
        self, p: Parameter, gradient: Gradient | None, lr: float, scale: float, count: int
    ) -> None:
        """Update one parameter by itself.

        Args:
            p: The parameter.
            gradient: Its gradient; None for zero.
            lr: Learning rate.
            scale: Factor on the gradient.
            count: Number of updates, this one included.
        """
        state = self._state(p)
        if gradient is None:
            if state.updates == 0 or self.still or p.values.size == 0:
                return
            gradient = _no_gradient(p)
        state.updates = count
        self._apply(Work([p], [state], gradient), lr, scale)


class SGD(Rule, optim.SGD):
    """x -= lr g."""

    momentum = 0.0
    nesterov = False


class Momentum(Rule, optim.SGD):
    """v = momentum v - lr g; x += v."""

    slots = ("velocity",)
    momentum: float
    nesterov = False

    @property
    def still(self) -> bool:
        return False


class Adagrad(Rule, optim.Adagrad):
    """s += g^2; x -= lr g / sqrt(s + eps)."""

    def update(
        self, x: Array, gradient: Array, state: dict[str, Array], lr: float, count: int
    ) -> None:
        squares = state["squares"]
        step = np.multiply(gradient, gradient, out=scratch(x, 0))
        squares += step
        _divide(gradient, squares, self.eps, lr, step)
        x -= step


class Adadelta(Rule, optim.Adadelta):
    """s = rho s + (1 - rho) g^2; d = g sqrt(u + eps) / sqrt(s + eps); x -= d;
    u = rho u + (1 - rho) d^2. There is no learning rate.
    """

    def update(
        self, x: Array, gradient: Array, state: dict[str, Array], lr: float, count: int
    ) -> None:
        super().update(x, gradient, state, 1.0, count)

    def decays(self) -> dict[str, float]:
        return {"squares": self.rho, "squared_steps": self.rho}


class RMSProp(Rule, optim.RMSProp):
    """s = rho s + (1 - rho) g^2; x -= lr g / sqrt(s + eps)."""

    def update(
        self, x: Array, gradient: Array, state: dict[str, Array], lr: float, count: int
    ) -> None:
        squares = state["squares"]
        step = np.multiply(gradient, gradient, out=scratch(x, 0))
        step *= 1 - self.rho
        squares *= self.rho
        squares += step
        _divide(gradient, squares, self.eps, lr, step)
        x -= step

    def decays(self) -> dict[str, float]:
        return {"squares": self.rho}


class Adam(Rule, optim.Adam):
    """m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
    x -= lr sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + eps), t updates of the trainer.
    """

    def _move(
        self, x: Array, m: Array, v: Array, m_scale: float, v_scale: float, lr: float, count: int
    ) -> None:
        rate = lr * math.sqrt(1 - self.beta2**count) / (1 - self.beta1**count)
        root = math.sqrt(v_scale)  # m / (sqrt(v v_scale) + eps) = m / root / (sqrt(v) + eps / root)
        step = np.sqrt(v, out=scratch(x, 0))
        step += self.eps / root
        np.divide(m, step, out=step)
        step *= rate * m_scale / root
        x -= step


class Amsgrad(Adam, optim.AMSGrad):
    """`Adam` that divides by the root of the largest v so far."""


class ExponentiatedGradient(Rule):
    """v = momentum v - lr g; x = softmax(log x + v), so that x stays a distribution.

    A parameter is one distribution; of a table, each row is.

    Source: Kivinen and Warmuth, "Exponentiated gradient versus gradient descent for linear
    predictors", Information and Computation 132, 1997, section 4; with momentum.
    """

    slots = ("velocity",)
    together = False
    momentum: float

    def update(
        self, x: Array, gradient: Array, state: dict[str, Array], lr: float, count: int
    ) -> None:
        velocity = state["velocity"]
        velocity *= self.momentum
        velocity -= np.multiply(gradient, lr, out=scratch(x, 0))
        logits = np.log(x, out=scratch(x, 0))
        logits += velocity
        logits -= logits.max(axis=-1, keepdims=True)
        np.exp(logits, out=x)
        x /= x.sum(axis=-1, keepdims=True)

    def apply(
        self, p: Parameter, gradient: Gradient | None, lr: float, scale: float, count: int
    ) -> None:
        # a distribution is normalised as a whole: of a parameter all, of a table each row
        state = self._state(p)
        if p.values.size == 0 or (gradient is None and state.updates == 0):
            return
        n = len(p.values) if isinstance(p, Lookup) else 1
        x, velocity = p.values.reshape(n, -1), state.slots["velocity"].reshape(n, -1)
        rows: Any = slice(None)
        dx: Any
        if gradient is None:
            if self.sparse == "lazy" and isinstance(p, Lookup):
                return
            dx = np.zeros_like(x)
        elif gradient.rows is None or gradient.dense is not None or self.sparse != "lazy":
            dx = p.gradient().reshape(n, -1)
        else:
            rows, dx = gradient.rows, gradient.values
        state.updates = count
        some, slots = x[rows], {"velocity": velocity[rows]}
        self.update(some, dx * np.float32(scale), slots, lr, count)
        x[rows], velocity[rows] = some, slots["velocity"]


def _no_gradient(p: Parameter) -> Gradient:
    """A gradient of zero: dense of a parameter, of a table without rows."""
    if not isinstance(p, Lookup):
        return Gradient(table(p, np.zeros(p.values.shape, p.values.dtype)))
    width = table(p, p.values).shape[1]
    return Gradient(None, np.zeros(0, np.int64), np.zeros((0, width), p.values.dtype))


def _divide(top: Array, square: Array, eps: float, factor: float, out: Array) -> None:
    """out = factor top / sqrt(square + eps)."""
    np.add(square, eps, out=out)
    np.sqrt(out, out=out)
    np.divide(top, out, out=out)
    out *= factor
