"""Trainers: they update the parameters of a collection by the gradients that `backward` left."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from lazynet.backend import Sources
from lazynet.dynet import rules
from lazynet.dynet.collection import ParameterCollection
from lazynet.dynet.parameters import LookupParameters, Parameters
from lazynet.dynet.updates import FLOAT, Plan, Step, gradient_or_none, square
from lazynet.errors import FileError, GradientError, RangeError
from lazynet.execute import LOCK
from lazynet.files import fetch, store
from lazynet.optim.gradient import from_sources, gradient_of
from lazynet.parameters import Parameter, finish

_FORMAT = "lazynet-dynet-trainer-1"


class Trainer:
    """Base of the trainers: `update` changes parameters by their gradients and clears these.

    All trainers scale the gradients of all parameters by the same factor where their Euclidean norm
    is above a threshold, 5 at first. They update parameters that have no gradient too, as if it
    were zero: momentum goes on. Of tables they update the rows that have been looked up, unless
    `set_sparse_updates` says otherwise. Parameters that are not updated (`set_updated`) stay as
    they are; what gradient such a parameter has from before counts in the norm and is kept.
    Parameters added to the collection later are trained as well. Weight decay multiplies all values
    of the collection by 1 - lambda after each update.

    `save` and `populate` keep what a trainer remembers, so that training can go on another time.

    Attributes:
        learning_rate: The learning rate.
    """

    _kind: ClassVar[str]
    _rule: rules.Rule

    def __init__(self, *args: Any, **settings: Any) -> None:
        raise TypeError("Trainer: this is what all trainers have in common; make one of its kinds")

    def _start(self, m: ParameterCollection, rule: type[rules.Rule], **settings: Any) -> None:
        """What the constructors have in common; `settings` are numbers of the rule."""
        if not isinstance(m, ParameterCollection):
            raise TypeError(f"{self._kind}: got {m!r}; it takes the ParameterCollection to train")
        self._model = m
        numbers = {name: self._number(value, name) for name, value in settings.items()}
        self._lr = numbers.pop("learning_rate")
        self._rule = rule(m.model, **numbers)
        self._threshold = 5.0
        self._updates = self._clips = 0
        self._updates_seen = self._clips_seen = 0
        self._rate = np.zeros((), FLOAT)
        self._plan: Plan | None = None

    @property
    def learning_rate(self) -> float:
        """The learning rate."""
        return self._lr

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._lr = self._number(value, "learning_rate")

    def set_learning_rate(self, value: float) -> None:
        """Set the learning rate."""
        self._lr = self._number(value, "set_learning_rate")

    def set_clip_threshold(self, thr: float) -> None:
        """Set the norm above which gradients are scaled down; 0 or less for never."""
        self._threshold = max(self._number(thr, "set_clip_threshold"), 0.0)

    def get_clip_threshold(self) -> float:
        """The norm above which gradients are scaled down; 0 for never."""
        return self._threshold

    def set_sparse_updates(self, su: bool) -> None:
        """Set whether only those rows of a table are updated that have been looked up.

        Rules with momentum move the other rows as well if not.
        """
        self._rule.sparse = "lazy" if su else "exact"

    def update(self) -> None:
        """Update all parameters.

        Raises:
            RuntimeError: If a gradient is NaN or infinite; nothing is changed then.
        """
        with LOCK, np.errstate(all="ignore"), self._model.model.place():
            plan, sources = self._read()
            rule = self._rule
            step = Step(plan, rule, sources) if plan.tables or plan.alone else None
            scale = self._scale(plan, step, sources)
            lr, count = self._lr, self._updates + 1
            rate: Any = self._rate
            rate[()] = rule.rate(lr, count)
            for vector in plan.vectors:
                chunk = vector.chunk
                if sources is not None:
                    try:
                        rule.move_on_gpu(chunk, lr, scale, count)
                    finally:
                        finish(vector.parameters)
                    continue
                if scale != 1.0:
                    chunk.gradient *= scale
                try:
                    rule.move(chunk.x, chunk.gradient, chunk.slots, rate, vector.spare)
                finally:  # interrupted, the update can be repeated: no gradient counts twice
                    finish(vector.parameters)
            if step is not None:
                step.apply(rule, lr, rate, scale, count)
            self._updates = count
            if self._model.decay.lam:
                self._decay()

    def update_subset(self, updated_params: Iterable[int], updated_lookups: Iterable[int]) -> None:
        """Update some parameters; the gradients of the others stay.

        Args:
            updated_params: Which ones of the collection's `parameters_list`.
            updated_lookups: Which ones of its `lookup_parameters_list`.

        Raises:
            RuntimeError: If a gradient is NaN or infinite; nothing is changed then.
            IndexError: If there is no such parameter.
        """
        some = self._members(updated_params, self._model.parameters, "updated_params")
        some += self._members(updated_lookups, self._model.lookups, "updated_lookups")
        with LOCK, np.errstate(all="ignore"), self._model.model.place():
            plan, sources = self._read()
            scale = self._scale(plan, Step(plan, self._rule, sources), sources)
            for p in some:
                if p.trainable:
                    try:
                        gradient = gradient_or_none(p)
                        self._rule.apply(p, gradient, self._lr, scale, self._updates + 1)
                    finally:
                        finish([p])
            self._updates += 1
            if self._model.decay.lam:
                self._decay()

    def whoami(self) -> str:
        """The name of this kind of trainer."""
        return self._kind

    def update_epoch(self, r: float) -> None:
        """Does nothing, as in DyNet: set `learning_rate` instead.

        Args:
            r: Accepted for old programs.
        """

    def restart(self, learning_rate: float | None = None) -> None:
        """Forget moments and momentum; bias corrections go on counting.

        Args:
            learning_rate: The learning rate from now on; by default it stays.
        """
        if learning_rate is not None:
            self._lr = self._number(learning_rate, "restart")
        with LOCK:
            for state in self._rule.states():
                state.scales.clear()
                state.moved = None
                for array in state.slots.values():
                    array[...] = 0

    def status(self) -> None:
        """Print learning rate, clipped updates and updates since the last time, to stderr."""
        clips, updates = self._clips - self._clips_seen, self._updates - self._updates_seen
        sys.stderr.write(f"[lr={self._lr:g} clips={clips} updates={updates}] ")
        self._clips_seen, self._updates_seen = self._clips, self._updates

    def save(self, fname: Any) -> None:
        """Write everything that later updates depend on, but for the parameters, to a file.

        Args:
            fname: Name of the file, in safetensors format; it appears whole or not at all.
        """
        store(fname, _FORMAT, self._rule.state_dict(), {"trainer": self._kind, **self._state()})

    def populate(self, fname: Any) -> None:
        """Go on where a trainer was that was saved; nothing is changed unless everything fits.

        Args:
            fname: Name of the file.

        Raises:
            FileError: If it was not written by `save` of the same kind of trainer, on a collection
                of the same parameters.
        """
        arrays, state = fetch(fname, _FORMAT, f"{self._kind}.save")
        if state["trainer"] != self._kind:
            raise FileError(
                f"{self._kind}.populate: {fname} holds the state of a {state['trainer']}; make a "
                "trainer of that kind"
            )
        self._rule.load_state_dict(arrays)
        self._set_state(state)
        self._plan = None

    def __repr__(self) -> str:
        return f"<{self._kind} learning_rate={self._lr:g} updates={self._updates}>"

    def _state(self) -> dict[str, Any]:
        """The numbers that `save` keeps."""
        return {
            "learning_rate": self._lr,
            "threshold": self._threshold,
            "sparse": self._rule.sparse,
            "settings": self._rule.settings,
            "counts": [self._updates, self._clips, self._updates_seen, self._clips_seen],
        }

    def _set_state(self, state: dict[str, Any]) -> None:
        self._lr, self._threshold = state["learning_rate"], state["threshold"]
        self._rule.sparse = state["sparse"]
        self._rule.set(state["settings"])
        self._updates, self._clips, self._updates_seen, self._clips_seen = state["counts"]

    def _number(self, value: Any, name: str) -> float:
        try:
            number = float(value) if not isinstance(value, str) else None
        except (TypeError, ValueError):
            number = None
        if number is None:
            raise TypeError(f"{self._kind}.{name}: got {value!r}; it must be a number")
        if math.isnan(number):
            raise ValueError(f"{self._kind}.{name}: got NaN; it must be a number")
        return number

    def _members(self, numbers: Any, parameters: list[Any], name: str) -> list[Parameter]:
        try:
            indices = [operator.index(i) for i in numbers]
        except TypeError:
            raise TypeError(
                f"{self._kind}.update_subset: got {name}={numbers!r}; it must be a list of whole "
                "numbers"
            ) from None
        for i in indices:
            if not 0 <= i < len(parameters):
                raise RangeError(
                    f"{self._kind}.update_subset: got {i} in {name}; the collection has "
                    f"{len(parameters)} of these, numbered from 0"
                )
        return [parameters[i].leaf for i in dict.fromkeys(indices)]

    def _read(self) -> tuple[Plan, Sources | None]:
        """What to update; the gradients of small parameters are brought together.

        On a GPU they are when the sources have been read.
        """
        model = self._model
        plan = self._plan
        size = len(model.parameters) + len(model.lookups)
        sources = Sources() if self._rule.on_gpu else None
        if plan is None or not plan.read(size, sources):
            plan = self._plan = Plan(model.leaves(), self._rule)
            sources = Sources() if self._rule.on_gpu else None
            if not plan.read(size, sources):
                raise AssertionError("a plan does not hold where it was made")
        return plan, sources

    def _scale(self, plan: Plan, step: Step | None, sources: Sources | None) -> float:
        """The factor on all gradients that clips them."""
        total = 0.0
        if sources is not None:
            for p in plan.frozen:
                if p.has_gradient():
                    from_sources(p, sources)
            total = sources.read()
        else:
            for vector in plan.vectors:
                total += square(vector.chunk.gradient)
            if step is not None:
                total += step.square()
            for p in plan.frozen:
                if p.has_gradient():
                    total += gradient_of(p).norm() ** 2
        if not total < math.inf:
            self._refuse()
        threshold = self._threshold
        if threshold and total > threshold * threshold:
            self._clips += 1
            return threshold / math.sqrt(total)
        return 1.0

    def _refuse(self) -> None:
        """Raise, naming the parameters whose gradients are not finite."""
        bad, rows = [], []
        for p in self._model.leaves():
            if p.has_gradient():
                gradient = gradient_of(p)
                if not math.isfinite(gradient.norm()):
                    bad.append(p.name)
                    row = gradient.first_bad()
                    rows += [p.name + row] if row else []
        where = f" ({'; '.join(rows)})" if rows else ""
        raise GradientError(
            f"{self._kind}.update: magnitude of gradient is bad: that of {', '.join(bad)} holds "
            f"NaN or infinity{where}; nothing was updated; look for the values it was made of "
            "with renew_cg(immediate_compute=True, check_validity=True), or lower the learning rate"
        )

    def _decay(self) -> None:
        """Multiply all values by 1 - lambda, also of parameters that are not updated.

        DyNet does so by a factor beside them, and applies it when it is small, to those that are
        updated: the others get back what they had lost.
        """
        kept = 1 - self._model.decay.lam
        owners: list[Parameters | LookupParameters]
        owners = [*self._model.parameters, *self._model.lookups]
        decays = {owner.decay: None for owner in owners}
        for decay in decays:
            decay.factor *= kept
        small = [decay for decay in decays if decay.factor < _SMALLEST_DECAY]
        for owner in owners:
            p = owner.leaf
            p.values *= FLOAT.type(kept)
            if not p.trainable and owner.decay in small:
                p.values /= FLOAT.type(owner.decay.factor)
            p.changed()
        for decay in small:
            decay.factor = 1.0


_SMALLEST_DECAY = 0.25
"""The factor of weight decay below which DyNet applies it."""


class SimpleSGDTrainer(Trainer):
    """Stochastic gradient descent: x -= learning_rate g.

    Args:
        m: The collection to train.
        learning_rate: The learning rate.
    """

    _kind = "SimpleSGDTrainer"

    def __init__(self, m: ParameterCollection, learning_rate: float = 0.1) -> None:
        self._start(m, rules.SGD, learning_rate=learning_rate)


class _Cyclical(Trainer):
    """Trainers with a learning rate that rises and falls.

    After the update number it (from 0) it becomes min + (max - min) max(0, 1 - x) gamma^it, where
    x = |it / step_size - 2 cycle + 1| and cycle = floor(1 + it / (2 step_size)).

    Source: Smith, "Cyclical learning rates for training neural networks", WACV 2017.
    """

    _cycle: list[float] | None = None  # min, max, step_size, gamma, updates in it so far

    def update(self) -> None:
        super().update()
        self._turn()

    def update_subset(self, updated_params: Iterable[int], updated_lookups: Iterable[int]) -> None:
        super().update_subset(updated_params, updated_lookups)
        self._turn()

    def _turn(self) -> None:
        if self._cycle is not None:
            low, high, step_size, gamma, it = self._cycle
            cycle = math.floor(1 + it / (2 * step_size))
            height = max(0.0, 1 - abs(it / step_size - 2 * cycle + 1))
            self._lr = low + (high - low) * height * gamma**it
            self._cycle[-1] = it + 1

    def _begin(self, low: float, high: float, step_size: float, gamma: float) -> None:
        names = ("learning_rate_min", "learning_rate_max", "step_size", "gamma")
        numbers = [self._number(v, n) for v, n in zip((low, high, step_size, gamma), names)]
        if numbers[2] <= 0:
            raise ValueError(f"{self._kind}: got step_size={step_size!r}; it must be above 0")
        self._cycle = [*numbers, 0]

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "cycle": self._cycle}

    def _set_state(self, state: dict[str, Any]) -> None:
        super()._set_state(state)
        self._cycle = state["cycle"]


class CyclicalSGDTrainer(_Cyclical):
    """Stochastic gradient descent with a learning rate that rises and falls.

    The first two updates have the lower rate; `restart` does not begin a new cycle.

    Args:
        m: The collection to train.
        learning_rate_min: The lowest learning rate.
        learning_rate_max: The highest.
        step_size: Updates from the lowest to the highest.
        gamma: Factor on the height of the cycle for each update.

    Source: Smith, "Cyclical learning rates for training neural networks", WACV 2017.
    """

    _kind = "CyclicalSGDTrainer"

    def __init__(
        self,
        m: ParameterCollection,
        learning_rate_min: float = 0.01,
        learning_rate_max: float = 0.1,
        step_size: float = 2000,
        gamma: float = 1.0,
    ) -> None:
        self._start(m, rules.SGD, learning_rate=learning_rate_min)
        self._begin(learning_rate_min, learning_rate_max, step_size, gamma)


class MomentumSGDTrainer(Trainer):
    """Stochastic gradient descent with momentum: v = mom v - learning_rate g; x += v.

    Args:
        m: The collection to train.
        learning_rate: The learning rate.
        mom: Fraction of the last step that is repeated.
    """

    _kind = "MomentumSGDTrainer"

    def __init__(
        self, m: ParameterCollection, learning_rate: float = 0.01, mom: float = 0.9
    ) -> None:
        self._start(m, rules.Momentum, learning_rate=learning_rate, momentum=mom)


class AdagradTrainer(Trainer):
    """s += g^2; x -= learning_rate g / sqrt(s + eps).

    Args:
        m: The collection to train.
        learning_rate: The learning rate.
        eps: Keeps the first steps finite.

    Source: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and
    stochastic optimization", JMLR 2011.
    """

    _kind = "AdagradTrainer"

    def __init__(
        self, m: ParameterCollection, learning_rate: float = 0.1, eps: float = 1e-20
    ) -> None:
        self._start(m, rules.Adagrad, learning_rate=learning_rate, eps=eps)


class AdadeltaTrainer(Trainer):
    """s = rho s + (1 - rho) g^2; d = g sqrt(u + eps) / sqrt(s + eps); x -= d;
    u = rho u + (1 - rho) d^2. The learning rate has no effect, as in DyNet.

    Args:
        m: The collection to train.
        eps: Starts the steps off and keeps them finite.
        rho: Decay of both averages.

    Source: Zeiler, "ADADELTA: an adaptive learning rate method", 2012.
    """

    _kind = "AdadeltaTrainer"

    def __init__(self, m: ParameterCollection, eps: float = 1e-6, rho: float = 0.95) -> None:
        self._start(m, rules.Adadelta, learning_rate=1.0, eps=eps, rho=rho)


class RMSPropTrainer(Trainer):
    """s = rho s + (1 - rho) g^2; x -= learning_rate g / sqrt(s + eps).

    Args:
        m: The collection to train.
        learning_rate: The learning rate.
        eps: Keeps the steps finite.
        rho: Decay of the average of squares.

    Source: Tieleman and Hinton, "Lecture 6.5 - RMSProp", COURSERA: Neural Networks for Machine
    Learning, 2012.
    """

    _kind = "RMSPropTrainer"

    def __init__(
        self,
        m: ParameterCollection,
        learning_rate: float = 0.001,
        eps: float = 1e-8,
        rho: float = 0.9,
    ) -> None:
        self._start(m, rules.RMSProp, learning_rate=learning_rate, eps=eps, rho=rho)


class _Moments(Trainer):
    """What `AdamTrainer` and `AmsgradTrainer` have in common."""

    def _start_adam(
        self,
        m: ParameterCollection,
        rule: type[rules.Rule],
        alpha: float,
        beta_1: float,
        beta_2: float,
        eps: float,
    ) -> None:
        for name, beta in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0 <= self._number(beta, name) < 1:
                raise ValueError(
                    f"{self._kind}: got {name}={beta!r}; it must be at least 0 and below 1"
                )
        self._start(m, rule, learning_rate=alpha, beta1=beta_1, beta2=beta_2, eps=eps)


class AdamTrainer(_Moments):
    """m = beta_1 m + (1 - beta_1) g; v = beta_2 v + (1 - beta_2) g^2;
    x -= learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + eps).

    t counts the updates of the trainer, also for rows of tables that had none for a while: with
    sparse updates these and their moments rest. `set_sparse_updates(False)` is exact.

    Args:
        m: The collection to train.
        alpha: The learning rate.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
        eps: Keeps the steps finite.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, section 2 (the
    efficient order of computation).
    """

    _kind = "AdamTrainer"

    def __init__(
        self,
        m: ParameterCollection,
        alpha: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        eps: float = 1e-8,
    ) -> None:
        self._start_adam(m, rules.Adam, alpha, beta_1, beta_2, eps)


class AmsgradTrainer(_Moments):
    """As `AdamTrainer`, but dividing by the root of the largest second moment so far.

    Args:
        m: The collection to train.
        alpha: The learning rate.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
        eps: Keeps the steps finite.

    Source: Reddi, Kale and Kumar, "On the convergence of Adam and beyond", ICLR 2018, with Adam's
    bias corrections.
    """

    _kind = "AmsgradTrainer"

    def __init__(
        self,
        m: ParameterCollection,
        alpha: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        eps: float = 1e-8,
    ) -> None:
        self._start_adam(m, rules.Amsgrad, alpha, beta_1, beta_2, eps)


class EGTrainer(_Cyclical):
    """Exponentiated gradient: v = mom v - learning_rate g; x = softmax(log x + v).

    For parameters that are distributions: numbers above 0 that add up to 1. A parameter is one
    distribution; of a table, each row is. There is no weight decay.

    Args:
        m: The collection to train.
        learning_rate: The learning rate.
        mom: Fraction of the last step that is repeated.
        ne: Has no effect, as in DyNet, where it exists in C++ only.

    Source: Kivinen and Warmuth, "Exponentiated gradient versus gradient descent for linear
    predictors", Information and Computation 132, 1997, section 4; with momentum.
    """

    _kind = "EGTrainer"

    def __init__(
        self,
        m: ParameterCollection,
        learning_rate: float = 0.1,
        mom: float = 0.9,
        ne: float = 0.0,
    ) -> None:
        self._number(ne, "ne")
        self._start(m, rules.ExponentiatedGradient, learning_rate=learning_rate, momentum=mom)

    def enable_cyclical_lr(
        self,
        learning_rate_min: float = 0.01,
        learning_rate_max: float = 0.1,
        step_size: float = 2000,
        gamma: float = 0.0,
    ) -> None:
        """Have the learning rate rise and fall from the next update on.

        Args:
            learning_rate_min: The lowest learning rate.
            learning_rate_max: The highest.
            step_size: Updates from the lowest to the highest.
            gamma: Factor on the height of the cycle for each update.
        """
        self._begin(learning_rate_min, learning_rate_max, step_size, gamma)

    def _decay(self) -> None:
        pass  # what adds up to 1 would not any more
