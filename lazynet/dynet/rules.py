"""DyNet's update rules, on the machinery of `lazynet.optim`.

They differ from those of `lazynet.optim` in where `eps` stands and in what is counted: bias
corrections count the updates of the trainer. They are made for tiny models too, whose updates take
the time of their NumPy calls: constants are arrays without axes, which NumPy takes in half the time
of a Python number, and scratch memory is handed in.

x are values, g their gradient, rate the learning rate after bias correction; all is float32.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from lazynet.backend import CPU, put_rows, take_rows
from lazynet.kinds import Array
from lazynet.optim import Optimizer
from lazynet.optim.flat import Chunk, State, scratch
from lazynet.optim.gradient import Gradient, table
from lazynet.optim.kernel import Buffer
from lazynet.optim.work import Work
from lazynet.parameters import Lookup, Model, Parameter


class Rule(Optimizer):
    """Base of the rules: an optimiser that is told what to update, how far, and how often.

    Args:
        model: Whose parameters it may be told to update.
        settings: Numbers of the rule.
    """

    together: ClassVar[bool] = True
    """Whether parameters may be updated as parts of one vector."""
    in_place: ClassVar[bool] = False
    """Whether `move` may have the gradient itself to overwrite."""
    linear: ClassVar[bool] = False
    """Whether the update is x -= rate g, and nothing is remembered."""

    def __init__(self, model: Model, **settings: float) -> None:
        Optimizer.__init__(self, model, 0.0, sparse="lazy")
        self.on_gpu = model.device != CPU
        self.set(settings)

    def set(self, settings: dict[str, float]) -> None:
        """Take other numbers."""
        self.settings = settings

    def _constant(self, number: float) -> Any:
        """A number for NumPy, or for CuPy, which takes no arrays of the host."""
        return float(number) if self.on_gpu else np.array(number, np.float32)

    def rate(self, lr: float, count: int) -> float:
        """The learning rate of update number `count`, from 1."""
        return lr

    @abstractmethod
    def move(self, x: Array, g: Array, state: dict[str, Array], rate: Any, spare: Array) -> None:
        """`update`, given the rate, and an array like x to be overwritten."""

    def update(
        self, x: Array, gradient: Array, state: dict[str, Array], lr: float, count: int
    ) -> None:
        self.move(x, gradient, state, self.rate(lr, count), scratch(x, 0))

    def move_on_gpu(self, chunk: Chunk, lr: float, scale: float, count: int) -> None:
        """Update the values of a chunk, whose gradient is still to be scaled, in one launch."""
        buffer = Buffer(chunk.x, chunk.slots, chunk.gradient)
        if not self._launch(buffer, lr, scale, count):
            raise AssertionError("a rule of this module is no kernel")

    def some_rows(self) -> bool:
        """Whether only the rows of a table that have a gradient are updated."""
        return self._some_rows()

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


class SGD(Rule):
    """x -= rate g."""

    in_place = True
    linear = True

    @property
    def still(self) -> bool:
        return True

    def move(self, x: Array, g: Array, state: dict[str, Array], rate: Any, spare: Array) -> None:
        np.multiply(g, rate, spare)
        x -= spare


class Momentum(Rule):
    """v = momentum v - rate g; x += v."""

    slots = ("velocity",)
    in_place = True

    def set(self, settings: dict[str, float]) -> None:
        super().set(settings)
        self._momentum = self._constant(settings["momentum"])

    def move(self, x: Array, g: Array, state: dict[str, Array], rate: Any, spare: Array) -> None:
        velocity = state["velocity"]
        np.multiply(g, rate, spare)
        velocity *= self._momentum
        velocity -= spare
        x += velocity

    def decays(self) -> dict[str, float]:
        return {"velocity": self.settings["momentum"]}

    def drift(
        self, x: Array, state: dict[str, Array], scales: dict[str, float], lr: float, count: int
    ) -> None:
        x += np.multiply(state["velocity"], scales["velocity"], out=scratch(x, 0))


class Adagrad(Rule):
    """s += g^2; x -= rate g / sqrt(s + eps)."""

    slots = ("squares",)

    @property
    def still(self) -> bool:
        return True

    def set(self, settings: dict[str, float]) -> None:
        super().set(settings)
        self._eps = self._constant(settings["eps"])

    def move(self, x: Array, g: Array, state: dict[str, Array], rate: Any, spare: Array) -> None:
        squares = state["squares"]
        np.multiply(g, g, spare)
        squares += spare
        np.add(squares, self._eps, spare)
        np.sqrt(spare, spare)
        np.divide(g, spare, spare)
        spare *= rate
        x -= spare


class Adadelta(Rule):
    """s = rho s + (1 - rho) g^2; d = g sqrt(u + eps) / sqrt(s + eps); x -= d;
    u = rho u + (1 - rho) d^2. There is no learning rate.
    """

    slots = ("squares", "squared_steps")

    def set(self, settings: dict[str, float]) -> None:
        super().set(settings)
        self._rho = self._constant(settings["rho"])
        self._rest = self._constant(1 - settings["rho"])
        self._eps = self._constant(settings["eps"])

    def move(self, x: Array, g: Array, state: dict[str, Array], rate: Any, spare: Array) -> None:
        squares, squared_steps, step = state["squares"], state["squared_steps"], scratch(x, 1)
        np.multiply(g, g, spare)
        spare *= self._rest
        squares *= self._rho
        squares += spare
        np.add(squared_steps, self._eps, step)
        np.add(squares, self._eps, spare)
        step /= spare
        np.sqrt(step, step)
        step *= g
        x -= step
        step *= step
        step *= self._rest
        squared_steps *= self._rho
        squared_steps += step

    def decays(self) -> dict[str, float]:
        return {slot: self.settings["rho"] for slot in self.slots}


class RMSProp(Rule):
    """s = rho s + (1 - rho) g^2; x -= rate g / sqrt(s + eps)."""

    slots = ("squares",)

    def set(self, settings: dict[str, float]) -> None:
        super().set(settings)
        self._rho = self._constant(settings["rho"])
        self._rest = self._constant(1 - settings["rho"])
        self._eps = self._constant(settings["eps"])

    def move(self, x: Array, g: Array, state: dict[str, Array], rate: Any, spare: Array) -> None:
        squares = state["squares"]
        np.multiply(g, g, spare)
        spare *= self._rest
        squares *= self._rho
        squares += spare
        np.add(squares, self._eps, spare)
        np.sqrt(spare, spare)
        np.divide(g, spare, spare)
        spare *= rate
        x -= spare

    def decays(self) -> dict[str, float]:
        return {"squares": self.settings["rho"]}


class Adam(Rule):
    """m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
    x -= lr sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + eps), t updates of the trainer.

    The slots hold m / (1 - beta1) and v / (1 - beta2), which saves two passes; these factors are
    part of the rate and of eps.
    """

    slots: tuple[str, ...] = ("first_moment", "second_moment")
    in_place = True

    def set(self, settings: dict[str, float]) -> None:
        super().set(settings)
        self._root = math.sqrt(1 - settings["beta2"])
        self._decay1 = self._constant(settings["beta1"])
        self._decay2 = self._constant(settings["beta2"])
        self._eps = self._constant(settings["eps"] / self._root)

    def rate(self, lr: float, count: int) -> float:
        beta1, beta2 = self.settings["beta1"], self.settings["beta2"]
        corrected = lr * math.sqrt(1 - beta2**count) / (1 - beta1**count)
        return corrected * (1 - beta1) / self._root

    def move(self, x: Array, g: Array, state: dict[str, Array], rate: Any, spare: Array) -> None:
        first, second = state["first_moment"], state["second_moment"]
        first *= self._decay1
        first += g
        np.multiply(g, g, spare)
        second *= self._decay2
        second += spare
        np.sqrt(self._divisor(state), spare)
        spare += self._eps
        np.divide(first, spare, spare)
        spare *= rate
        x -= spare

    def decays(self) -> dict[str, float]:
        return {"first_moment": self.settings["beta1"], "second_moment": self.settings["beta2"]}

    def drift(
        self, x: Array, state: dict[str, Array], scales: dict[str, float], lr: float, count: int
    ) -> None:
        # m / (sqrt(v s) + eps) = m / sqrt(s) / (sqrt(v) + eps / sqrt(s)) with the scale s of v
        by = self.slots[-1]
        root = math.sqrt(scales[by])
        step = np.sqrt(state[by], out=scratch(x, 0))
        step += float(self._eps) / root
        np.divide(state["first_moment"], step, out=step)
        step *= self.rate(lr, count) * scales["first_moment"] / root
        x -= step

    def _divisor(self, state: dict[str, Array]) -> Array:
        """What the root is taken of."""
        return state["second_moment"]


class Amsgrad(Adam):
    """`Adam` that divides by the root of the largest v so far."""

    slots = ("first_moment", "second_moment", "largest_second_moment")

    def _divisor(self, state: dict[str, Array]) -> Array:
        largest = state["largest_second_moment"]
        return np.maximum(largest, state["second_moment"], out=largest)


class ExponentiatedGradient(Rule):
    """v = momentum v - rate g; x = softmax(log x + v), so that x stays a distribution.

    A parameter is one distribution; of a table, each row is. Arrays are (distributions, outcomes).

    Source: Kivinen and Warmuth, "Exponentiated gradient versus gradient descent for linear
    predictors", Information and Computation 132, 1997, section 4; with momentum.
    """

    slots = ("velocity",)
    together = False

    def move(self, x: Array, g: Array, state: dict[str, Array], rate: Any, spare: Array) -> None:
        velocity = state["velocity"]
        velocity *= np.float32(self.settings["momentum"])
        velocity -= np.multiply(g, np.float32(rate), out=spare)
        np.log(x, spare)
        spare += velocity
        spare -= spare.max(axis=1, keepdims=True)
        np.exp(spare, x)
        x /= x.sum(axis=1, keepdims=True)

    def apply(
        self, p: Parameter, gradient: Gradient | None, lr: float, scale: float, count: int
    ) -> None:
        state = self._state(p)
        if p.values.size == 0 or (gradient is None and state.updates == 0):
            return
        sparse = self.sparse == "lazy" and isinstance(p, Lookup)
        n = len(p.values) if isinstance(p, Lookup) else 1
        x, velocity = p.values.reshape(n, -1), state.slots["velocity"].reshape(n, -1)
        rows = None
        if gradient is None:
            if sparse:
                return
            dx = np.zeros_like(x)
        elif sparse and gradient.dense is None and gradient.values is not None:
            rows, dx = gradient.rows, gradient.values
        else:
            dx = p.summed().reshape(n, -1)
        state.updates = count
        if rows is None:
            some, mine = x, velocity
        else:
            some, mine = take_rows(x, rows), take_rows(velocity, rows)
        self.update(some, dx * np.float32(scale), {"velocity": mine}, lr, count)
        if rows is not None:
            put_rows(x, rows, some)
            put_rows(velocity, rows, mine)


def _no_gradient(p: Parameter) -> Gradient:
    """A gradient of zero: dense of a parameter, of a table without rows."""
    if not isinstance(p, Lookup):
        return Gradient(table(p, np.zeros_like(p.values, order="C")))
    width = table(p, p.values).shape[1]
    return Gradient(None, np.zeros(0, np.int64), np.zeros_like(p.values, shape=(0, width)))
