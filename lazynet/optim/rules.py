"""The update rules. x are values, g their gradient; all is element by element, in place.

Every line is one pass over arrays that lie in a core's cache, without temporaries: results go to
`scratch` arrays. A rule's time is the number of its passes.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, ClassVar, Literal, TypedDict

import numpy as np

from lazynet.kinds import Array
from lazynet.optim.flat import scratch
from lazynet.optim.optimizer import Optimizer, Settings
from lazynet.optim.schedules import Schedule
from lazynet.parameters import Model

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from typing import Unpack
    else:
        from typing_extensions import Unpack


class AdamWSettings(TypedDict, total=False):
    """What AdamW hands on to Adam."""

    beta1: float
    beta2: float
    eps: float
    clip: float | None
    schedule: Schedule | None
    sparse: Literal["exact", "lazy"]


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

    >>> import lazynet as ln
    >>> model = ln.Model(seed=0)
    >>> w = model.parameter(2, init=[3.0, -2.0])
    >>> opt = ln.optim.SGD(model, lr=0.1, momentum=0.9)
    >>> for _ in range(2):
    ...     (w * w).sum().backward()
    ...     opt.step()
    >>> [round(v, 3) for v in w.value().tolist()]
    [1.38, -0.92]
    """

    def __init__(
        self,
        model: Model,
        lr: float = 0.1,
        momentum: float = 0.0,
        nesterov: bool = False,
        **settings: Unpack[Settings],
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
        step = np.multiply(gradient, lr, out=scratch(x, 0))
        if self.momentum == 0:
            x -= step
            return
        velocity = state["velocity"]
        velocity *= self.momentum
        velocity -= step
        if self.nesterov:
            x -= step
            x += np.multiply(velocity, self.momentum, out=step)
        else:
            x += velocity

    def decays(self) -> dict[str, float]:
        return {"velocity": self.momentum} if self.momentum else {}

    def drift(
        self, x: Array, state: dict[str, Array], scales: dict[str, float], lr: float, count: int
    ) -> None:
        if self.momentum:
            factor = scales["velocity"] * (self.momentum if self.nesterov else 1.0)
            x += np.multiply(state["velocity"], factor, out=scratch(x, 0))


class Adagrad(Optimizer):
    """s += g^2; x -= lr g / (sqrt(s) + eps).

    Args:
        model: Whose parameters to train.
        lr: Learning rate.
        eps: Keeps the first steps finite.
        settings: `clip`, `weight_decay`, `schedule`, `sparse` of `Optimizer`.

    Source: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and
    stochastic optimization", JMLR 2011, figure 1, diagonal matrices.

    >>> import lazynet as ln
    >>> model = ln.Model(seed=0)
    >>> w = model.parameter(2, init=[3.0, -2.0])
    >>> opt = ln.optim.Adagrad(model, lr=0.1)
    >>> for _ in range(2):
    ...     (w * w).sum().backward()
    ...     opt.step()
    >>> [round(v, 3) for v in w.value().tolist()]
    [2.83, -1.831]
    """

    slots = ("squares",)

    def __init__(
        self, model: Model, lr: float = 0.01, eps: float = 1e-10, **settings: Unpack[Settings]
    ) -> None:
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
        step = np.multiply(gradient, gradient, out=scratch(x, 0))
        squares += step
        _divided(gradient, squares, self.eps, lr, step)
        x -= step


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

    >>> import lazynet as ln
    >>> model = ln.Model(seed=0)
    >>> w = model.parameter(2, init=[3.0, -2.0])
    >>> opt = ln.optim.Adadelta(model, eps=1e-3)
    >>> for _ in range(2):
    ...     (w * w).sum().backward()
    ...     opt.step()
    >>> [round(v, 3) for v in w.value().tolist()]
    [2.719, -1.721]
    """

    slots = ("squares", "squared_steps")

    def __init__(
        self,
        model: Model,
        lr: float = 1.0,
        rho: float = 0.95,
        eps: float = 1e-6,
        **settings: Unpack[Settings],
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
        step, spare = scratch(x, 0), scratch(x, 1)
        _average(squares, np.multiply(gradient, gradient, out=step), self.rho)
        np.add(squared_steps, self.eps, out=step)
        np.sqrt(step, out=step)
        step *= gradient
        np.add(squares, self.eps, out=spare)
        step /= np.sqrt(spare, out=spare)
        x -= np.multiply(step, lr, out=spare)
        _average(squared_steps, np.multiply(step, step, out=step), self.rho)

    def decays(self) -> dict[str, float]:
        return {"squares": self.rho, "squared_steps": self.rho}


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

    >>> import lazynet as ln
    >>> model = ln.Model(seed=0)
    >>> w = model.parameter(2, init=[3.0, -2.0])
    >>> opt = ln.optim.RMSProp(model, lr=0.1)
    >>> for _ in range(2):
    ...     (w * w).sum().backward()
    ...     opt.step()
    >>> [round(v, 3) for v in w.value().tolist()]
    [2.467, -1.474]
    """

    slots = ("squares",)

    def __init__(
        self,
        model: Model,
        lr: float = 1e-3,
        rho: float = 0.9,
        eps: float = 1e-8,
        **settings: Unpack[Settings],
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
        step = scratch(x, 0)
        _average(squares, np.multiply(gradient, gradient, out=step), self.rho)
        _divided(gradient, squares, self.eps, lr, step)
        x -= step

    def decays(self) -> dict[str, float]:
        return {"squares": self.rho}


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

    >>> import lazynet as ln
    >>> model = ln.Model(seed=0)
    >>> w = model.parameter(2, init=[3.0, -2.0])
    >>> opt = ln.optim.Adam(model, lr=0.1)
    >>> for _ in range(2):
    ...     (w * w).sum().backward()
    ...     opt.step()
    >>> [round(v, 3) for v in w.value().tolist()]
    [2.8, -1.8]
    """

    slots: tuple[str, ...] = ("first_moment", "second_moment")
    divides_by: ClassVar[str] = "second_moment"

    def __init__(
        self,
        model: Model,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        **settings: Unpack[Settings],
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
        first, second = state["first_moment"], state["second_moment"]
        spare = scratch(x, 0)
        first *= self.beta1
        first += np.multiply(gradient, 1 - self.beta1, out=spare)
        _average(second, np.multiply(gradient, gradient, out=spare), self.beta2)
        self._move(x, first, self._divisor(state), 1.0, 1.0, lr, count)

    def decays(self) -> dict[str, float]:
        return {"first_moment": self.beta1, "second_moment": self.beta2}

    def drift(
        self, x: Array, state: dict[str, Array], scales: dict[str, float], lr: float, count: int
    ) -> None:
        by = self.divides_by
        self._move(
            x, state["first_moment"], state[by], scales["first_moment"], scales[by], lr, count
        )

    def _move(
        self, x: Array, m: Array, v: Array, m_scale: float, v_scale: float, lr: float, count: int
    ) -> None:
        # lr m / (1 - beta1^t) / (sqrt(v) / c + eps) = lr c / (1 - beta1^t) m / (sqrt(v) + c eps)
        correction = math.sqrt(1 - self.beta2**count)
        root = math.sqrt(v_scale)
        rate = lr * correction / (1 - self.beta1**count) * m_scale / root
        step = scratch(x, 0)
        _divided(m, v, self.eps * correction / root, rate, step)
        x -= step

    def _divisor(self, state: dict[str, Array]) -> Array:
        """The second moment to divide by, from that of this step."""
        return state[self.divides_by]


class AdamW(Adam):
    """Adam with decoupled weight decay: x *= 1 - lr weight_decay, then Adam's update.

    Args:
        model: Whose parameters to train.
        lr: Learning rate; the schedule's factor holds for the decay as well.
        weight_decay: Fraction of the values taken off per step and unit of learning rate.
        settings: `beta1`, `beta2`, `eps` of `Adam`; `clip`, `schedule`, `sparse` of `Optimizer`.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.

    >>> import lazynet as ln
    >>> model = ln.Model(seed=0)
    >>> w = model.parameter(2, init=[3.0, -2.0])
    >>> opt = ln.optim.AdamW(model, lr=0.1, weight_decay=0.5)
    >>> for _ in range(2):
    ...     (w * w).sum().backward()
    ...     opt.step()
    >>> [round(v, 3) for v in w.value().tolist()]
    [2.513, -1.61]
    """

    decoupled = True

    def __init__(
        self,
        model: Model,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        **settings: Unpack[AdamWSettings],
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

    >>> import lazynet as ln
    >>> model = ln.Model(seed=0)
    >>> w = model.parameter(2, init=[3.0, -2.0])
    >>> opt = ln.optim.AMSGrad(model, lr=0.1, clip=1.0)
    >>> for _ in range(2):
    ...     (w * w).sum().backward()
    ...     opt.step()
    >>> [round(v, 3) for v in w.value().tolist()]
    [2.8, -1.8]
    """

    slots = ("first_moment", "second_moment", "largest_second_moment")
    divides_by = "largest_second_moment"  # which does not decay

    def _divisor(self, state: dict[str, Array]) -> Array:
        largest = state["largest_second_moment"]
        return np.maximum(largest, state["second_moment"], out=largest)


def _average(mean: Array, value: Array, decay: float) -> None:
    """mean = decay mean + (1 - decay) value; overwrites `value` as well."""
    mean *= decay
    value *= 1 - decay
    mean += value


def _divided(top: Array, square: Array, eps: float, factor: float, out: Array) -> None:
    """out = factor top / (sqrt(square) + eps)."""
    np.sqrt(square, out=out)
    out += eps
    np.divide(top, out, out=out)
    out *= factor
