"""The update rules. x are values, g their gradient; all is element by element, in place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lazynet.kinds import Array
from lazynet.optim.optimizer import Optimizer
from lazynet.parameters import Model


class SGD(Optimizer):
    """Stochastic gradient descent: v = momentum v - lr g; x += v.

    With `nesterov`, x += momentum v - lr g: the values held are then those at the look-ahead point,
    where Nesterov's method takes its gradients. Where `lr` changes, the velocity keeps the steps
    as they were taken.

    Args:
        model: Whose parameters to train.
        lr: Learning rate.
        momentum: Fraction of the last step that is repeated, in [0, 1).
        nesterov: Nesterov's accelerated gradient instead of classical momentum.
        settings: `clip`, `weight_decay`, `schedule`, `sparse` of `Optimizer`.

    Source: Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum
    in deep learning", ICML 2013, equations 1-4.
    """

    def __init__(
        self,
        model: Model,
        lr: float = 0.1,
        momentum: float = 0.0,
        nesterov: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(model, lr, **settings)
        self._check_fractions(momentum=momentum)
        self.momentum = momentum
        self.nesterov = nesterov
        if momentum:
            self.slots = ("velocity",)

    @property
    def still(self) -> bool:
        return self.momentum == 0

    def update(
        self, x: Array, gradient: Array, state: dict[str, Array], lr: float, count: int
    ) -> None:
        step = lr * gradient
        if self.momentum == 0:
            x -= step
            return
        velocity = state["velocity"]
        velocity *= self.momentum
        velocity -= step
        if self.nesterov:
            x += self.momentum * velocity
            x -= step
        else:
            x += velocity


class Adagrad(Optimizer):
    """s += g^2; x -= lr g / (sqrt(s) + eps).

    Args:
        model: Whose parameters to train.
        lr: Learning rate.
        eps: Keeps the first steps finite.
        settings: `clip`, `weight_decay`, `schedule`, `sparse` of `Optimizer`.

    Source: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and
    stochastic optimization", JMLR 2011, figure 1, diagonal matrices.
    """

    slots = ("squares",)

    def __init__(self, model: Model, lr: float = 0.01, eps: float = 1e-10, **settings: Any) -> None:
        super().__init__(model, lr, **settings)
        self._check_positive(eps=eps)
        self.eps = eps

    @property
    def still(self) -> bool:
        return True

    def update(
        self, x: Array, gradient: Array, state: dict[str, Array], lr: float, count: int
    ) -> None:
        squares = state["squares"]
        squares += gradient * gradient
        x -= lr * gradient / (np.sqrt(squares) + self.eps)


class Adadelta(Optimizer):
    """s = rho s + (1 - rho) g^2; d = g sqrt(u + eps) / sqrt(s + eps); x -= lr d;
    u = rho u + (1 - rho) d^2.

    Args:
        model: Whose parameters to train.
        lr: Factor on the steps; 1 in the paper.
        rho: Decay of both averages, in [0, 1).
        eps: Starts the steps off and keeps them finite.
        settings: `clip`, `weight_decay`, `schedule`, `sparse` of `Optimizer`.

    Source: Zeiler, "ADADELTA: an adaptive learning rate method", 2012, algorithm 1.
    """

    slots = ("squares", "squared_steps")

    def __init__(
        self,
        model: Model,
        lr: float = 1.0,
        rho: float = 0.95,
        eps: float = 1e-6,
        **settings: Any,
    ) -> None:
        super().__init__(model, lr, **settings)
        self._check_fractions(rho=rho)
        self._check_positive(eps=eps)
        self.rho = rho
        self.eps = eps

    def update(
        self, x: Array, gradient: Array, state: dict[str, Array], lr: float, count: int
    ) -> None:
        squares, squared_steps = state["squares"], state["squared_steps"]
        _average(squares, gradient * gradient, self.rho)
        step = gradient * np.sqrt(squared_steps + self.eps) / np.sqrt(squares + self.eps)
        _average(squared_steps, step * step, self.rho)
        x -= lr * step


class RMSProp(Optimizer):
    """s = rho s + (1 - rho) g^2; x -= lr g / (sqrt(s) + eps).

    Args:
        model: Whose parameters to train.
        lr: Learning rate.
        rho: Decay of the average of squares, in [0, 1).
        eps: Keeps the steps finite.
        settings: `clip`, `weight_decay`, `schedule`, `sparse` of `Optimizer`.

    Source: Tieleman and Hinton, "Lecture 6.5 - RMSProp", COURSERA: Neural Networks for Machine
    Learning, 2012.
    """

    slots = ("squares",)

    def __init__(
        self,
        model: Model,
        lr: float = 1e-3,
        rho: float = 0.9,
        eps: float = 1e-8,
        **settings: Any,
    ) -> None:
        super().__init__(model, lr, **settings)
        self._check_fractions(rho=rho)
        self._check_positive(eps=eps)
        self.rho = rho
        self.eps = eps

    def update(
        self, x: Array, gradient: Array, state: dict[str, Array], lr: float, count: int
    ) -> None:
        squares = state["squares"]
        _average(squares, gradient * gradient, self.rho)
        x -= lr * gradient / (np.sqrt(squares) + self.eps)


class Adam(Optimizer):
    """m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
    x -= lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps), t updates of the parameter.

    Lookup tables: ``sparse="exact"`` equals the dense update, ``sparse="lazy"`` touches only the
    rows that were looked up (see `Optimizer`). Lazy is faster on large tables and often as good;
    it gives rare rows steps that are larger and of older momentum.

    Args:
        model: Whose parameters to train.
        lr: Learning rate.
        beta1: Decay of the first moment, in [0, 1).
        beta2: Decay of the second moment, in [0, 1).
        eps: Keeps the steps finite.
        settings: `clip`, `weight_decay`, `schedule`, `sparse` of `Optimizer`.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1.
    """

    slots: tuple[str, ...] = ("first_moment", "second_moment")

    def __init__(
        self,
        model: Model,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        **settings: Any,
    ) -> None:
        super().__init__(model, lr, **settings)
        self._check_fractions(beta1=beta1, beta2=beta2)
        self._check_positive(eps=eps)
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps

    def update(
        self, x: Array, gradient: Array, state: dict[str, Array], lr: float, count: int
    ) -> None:
        first = state["first_moment"]
        _average(first, gradient, self.beta1)
        rate = lr / (1 - self.beta1**count)
        correction = math.sqrt(1 - self.beta2**count)
        root = np.sqrt(self._second(gradient, state))
        root /= correction
        root += self.eps
        x -= rate * first / root

    def _second(self, gradient: Array, state: dict[str, Array]) -> Array:
        """Update the second moment; returns the one to divide by."""
        second = state["second_moment"]
        _average(second, gradient * gradient, self.beta2)
        return second


class AdamW(Adam):
    """Adam with decoupled weight decay: x *= 1 - lr weight_decay, then Adam's update.

    Args:
        model: Whose parameters to train.
        lr: Learning rate; the schedule's factor holds for the decay as well.
        weight_decay: Fraction of the values taken off per step and unit of learning rate.
        settings: `beta1`, `beta2`, `eps` of `Adam`; `clip`, `schedule`, `sparse` of `Optimizer`.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.
    """

    decoupled = True

    def __init__(
        self, model: Model, lr: float = 1e-3, weight_decay: float = 0.01, **settings: Any
    ) -> None:
        super().__init__(model, lr, weight_decay=weight_decay, **settings)


class AMSGrad(Adam):
    """Adam with steps that never grow: divides by the largest second moment so far.

    The bias corrections are Adam's (the paper leaves them out).

    Args:
        model: Whose parameters to train.
        lr: Learning rate.
        settings: `beta1`, `beta2`, `eps` of `Adam`; `clip`, `weight_decay`, `schedule`, `sparse`
            of `Optimizer`.

    Source: Reddi, Kale and Kumar, "On the convergence of Adam and beyond", ICLR 2018, algorithm 2.
    """

    slots = ("first_moment", "second_moment", "largest_second_moment")

    def _second(self, gradient: Array, state: dict[str, Array]) -> Array:
        second = super()._second(gradient, state)
        largest = state["largest_second_moment"]
        np.maximum(largest, second, out=largest)
        return largest


def _average(mean: Array, value: Array, decay: float) -> None:
    """mean = decay mean + (1 - decay) value, in place."""
    mean *= decay
    mean += (1 - decay) * value
