"""Learning-rate schedules: from the number of steps taken to a factor on the learning rate.

A schedule is any callable ``int -> float``; those here are frozen dataclasses without state, so
that resuming needs only the step number. `Warmup` takes another schedule to follow it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lazynet.errors import SettingError

Schedule = Callable[[int], float]
"""What an optimiser's `schedule` is: steps taken so far to a factor on the learning rate.

>>> import lazynet as ln
>>> def inverse_root(step: int) -> float:
...     return (1 + step) ** -0.5
>>> model = ln.Model(seed=0)
>>> w = model.parameter((), init=1.0)
>>> opt = ln.optim.SGD(model, lr=0.5, schedule=inverse_root)
>>> for _ in range(4):
...     (w * 1).backward()
...     opt.step()
>>> round(w.item(), 3)  # 1 - 0.5 (1 + 1/sqrt(2) + 1/sqrt(3) + 1/2)
-0.392
"""


def _at_least(owner: object, name: str, value: float, least: float) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < least:
        raise SettingError(
            f"optim.{type(owner).__name__}: got {name}={value!r}; it must be a finite number of "
            f"at least {least}"
        )


@dataclass(frozen=True)
class StepDecay:
    """Multiply the rate by `factor` after every `every` steps.

    >>> import lazynet as ln
    >>> [ln.optim.StepDecay(every=2, factor=0.5)(step) for step in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _at_least(self, "every", self.every, 1)
        _at_least(self, "factor", self.factor, 0)

    def __call__(self, step: int) -> float:
        return float(self.factor ** (step // self.every))


@dataclass(frozen=True)
class Cosine:
    """Fall from 1 to `final` along half a cosine in `steps` steps, then stay there.

    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR
    2017, equation 5, one period.

    >>> import lazynet as ln
    >>> [round(ln.optim.Cosine(steps=4)(step), 3) for step in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """

    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        _at_least(self, "steps", self.steps, 1)
        _at_least(self, "final", self.final, 0)

    def __call__(self, step: int) -> float:
        progress = min(step / self.steps, 1.0)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Cyclical:
    """Rise from `low` to 1 in `half_cycle` steps, fall back in as many, and so on.

    Args:
        half_cycle: Steps from the lowest to the highest rate.
        low: The lowest rate, as a fraction of the highest.
        gamma: The height of the triangle is multiplied by gamma^step.

    Source: Smith, "Cyclical learning rates for training neural networks", WACV 2017 (triangular;
    exp_range where gamma is below 1).

    >>> import lazynet as ln
    >>> schedule = ln.optim.Cyclical(half_cycle=2, low=0.5)
    >>> [schedule(step) for step in range(6)]
    [0.5, 0.75, 1.0, 0.75, 0.5, 0.75]
    """

    half_cycle: int
    low: float = 0.1
    gamma: float = 1.0

    def __post_init__(self) -> None:
        _at_least(self, "half_cycle", self.half_cycle, 1)
        _at_least(self, "low", self.low, 0)
        _at_least(self, "gamma", self.gamma, 0)

    def __call__(self, step: int) -> float:
        away = abs(step % (2 * self.half_cycle) - self.half_cycle) / self.half_cycle
        return float(self.low + (1 - self.low) * (1 - away) * self.gamma**step)


@dataclass(frozen=True)
class Warmup:
    """Rise linearly to 1 in `steps` steps, then follow the schedule `then` (default: stay at 1).

    `then` counts its steps from the end of the warm-up.

    Source: Goyal et al., "Accurate, large minibatch SGD", 2017, section 2.2.

    >>> import lazynet as ln
    >>> schedule = ln.optim.Warmup(steps=2, then=ln.optim.StepDecay(every=1, factor=0.5))
    >>> [schedule(step) for step in range(5)]
    [0.5, 1.0, 1.0, 0.5, 0.25]
    """

    steps: int
    then: Schedule | None = None

    def __post_init__(self) -> None:
        _at_least(self, "steps", self.steps, 0)
        if self.then is not None and not callable(self.then):
            raise SettingError(
                f"optim.Warmup: got then={self.then!r}; it must be a schedule or None"
            )

    def __call__(self, step: int) -> float:
        if step < self.steps:
            return (step + 1) / self.steps
        return 1.0 if self.then is None else self.then(step - self.steps)
