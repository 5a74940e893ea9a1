"""`Optimizer`: what all update rules share - clipping, weight decay, schedule, rows, state."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, TypedDict

import numpy as np

from lazynet.backend import CPU, Sources, device_of, to_device, to_host, workers
from lazynet.errors import ArgumentError, FileError, GradientError, SettingError
from lazynet.execute import LOCK
from lazynet.kinds import HALVES, Array
from lazynet.optim.flat import DECAY, GRADIENT, Chunk, State, scratch
from lazynet.optim.gradient import block_height, gradient_of
from lazynet.optim.kernel import Buffer, launch
from lazynet.optim.masters import Masters
from lazynet.optim.schedules import Schedule
from lazynet.optim.work import Table, Work, buffer_of, norm_of, share_out, table_of
from lazynet.parameters import Model, Parameter
from lazynet.recorder import RECORD, WAITING, Recorder, recorder

_MASTER = "master"


class Settings(TypedDict, total=False):
    """What every rule hands on to `Optimizer`, which says what it means."""

    clip: float | None
    weight_decay: float
    schedule: Schedule | None
    sparse: Literal["exact", "lazy"]


class Optimizer(ABC):
    """Base of the optimisers: `step` applies the gradients of a model's parameters and clears them.

    A rule is a subclass with `slots`, the names of the arrays it keeps per parameter, and `update`,
    which works element by element on whatever part of the parameters it is given: a vector of many
    small ones, or a piece of a large one. With `decays` and `drift` it can say how to save work on
    tables. Parameters that are frozen, or that the loss did not depend on, are left alone with all
    their state.

    Updates of parameters of a million elements and more use as many threads as the environment
    variable LAZYNET_NUM_THREADS says (without it: one), with the same results.

    **Lookup tables.** Their gradients cover the rows that were looked up. Where a row without a
    gradient would not change at all (SGD without momentum, Adagrad; no weight decay), only the
    others are updated. Elsewhere there is a choice:

    * ``sparse="exact"``: the same result as if the gradient were dense. Moments of all rows decay
      at every step, and rows that were not looked up go on moving by their momentum. The work
      grows with the number of rows that were ever looked up; not so for RMSProp and Adadelta,
      whose values rest without a gradient, unless there is weight decay.
    * ``sparse="lazy"``: rows that were not looked up, and their moments, stay as they are until
      they are looked up again. The work grows with the rows looked up. A rare row keeps its full
      momentum until it returns and is not moved (nor decayed by `weight_decay`) meanwhile;
      bias corrections count the updates of the whole table.

    Args:
        model: Whose parameters to train, sub-models included; those added later too.
        lr: Learning rate.
        clip: Scale all gradients, of all parameters together, by the same factor where their
            Euclidean norm is above this; None for never.
        weight_decay: Factor of the values that is added to the gradients (L2 regularisation),
            after clipping. AdamW applies it to the values instead.
        schedule: Factor on the learning rate for each step, from the number of steps before it.
        sparse: "exact" or "lazy", see above.

    Raises:
        SettingError: If a setting is out of its range.
        ArgumentError: If the model is none.

    >>> import lazynet as ln
    >>> import numpy as np
    >>> class SignDescent(ln.optim.Optimizer):
    ...     '''x -= lr sign(g)'''
    ...     def update(self, x, gradient, state, lr, count):
    ...         x -= lr * np.sign(gradient)
    >>> model = ln.Model(seed=0)
    >>> w = model.parameter(2, init=[3.0, -2.0])
    >>> opt = SignDescent(model, lr=0.5, clip=1.0)
    >>> (w * w).sum().backward()
    >>> opt.step()
    >>> w.value().tolist(), round(opt.gradient_norm, 3)
    ([2.5, -1.5], 7.211)
    """

    slots: tuple[str, ...] = ()
    """Names of the arrays, shaped like the values and zero at first, that the rule keeps."""
    decoupled: ClassVar[bool] = False
    """Whether weight decay shrinks the values directly instead of adding to the gradient."""

    def __init__(
        self,
        model: Model,
        lr: float,
        *,
        clip: float | None = None,
        weight_decay: float = 0.0,
        schedule: Schedule | None = None,
        sparse: Literal["exact", "lazy"] = "exact",
    ) -> None:
        if not isinstance(model, Model):
            raise ArgumentError(
                f"{type(self).__name__}: got {model!r}; it takes the ln.Model to train"
            )
        if clip is not None:
            self._check_positive(clip=clip)
        if schedule is not None and not callable(schedule):
            raise SettingError(
                f"{type(self).__name__}: got schedule={schedule!r}; it must be a function from "
                "step number to factor, such as ln.optim.Cosine(steps=1000)"
            )
        if sparse not in ("exact", "lazy"):
            raise SettingError(
                f'{type(self).__name__}: got sparse={sparse!r}; it must be "exact" or "lazy"'
            )
        self._check(lr=lr, weight_decay=weight_decay)
        self.model = model
        self.clip = clip
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.sparse = sparse
        self.steps = 0
        """Number of steps taken."""
        self.gradient_norm = math.nan
        """Euclidean norm of all gradients at the last step, before clipping."""
        self._base = float(lr)
        self._states: dict[str, State] = {}
        self._masters = Masters()
        self._decays = _written_for(type(self), "decays")
        self._drifts = _written_for(type(self), "drift")
        self._kernels = True  # whether a GPU gets the rule as kernels, see `kernel`

    @abstractmethod
    def update(
        self, x: Array, gradient: Array, state: dict[str, Array], lr: float, count: int
    ) -> None:
        """Update some elements of one parameter, or of several, in place.

        Large parameters are updated by several threads at once where LAZYNET_NUM_THREADS says so:
        do not leave anything in `self`. On a GPU it is called with arrays that note what is done
        to them, from which a kernel is printed; where it is not made of ufuncs, operators and
        ``np.where``, with the arrays themselves.

        Args:
            x: Values.
            gradient: Their gradient, clipped and with weight decay; not to be changed.
            state: Array of each slot for the same elements, to be updated in place.
            lr: Learning rate.
            count: Number of updates of the parameters, this one included: 1, 2, ...
        """

    def decays(self) -> dict[str, float]:
        """By slot, the factor that `update` with a gradient of zero comes to; none where that is 1.

        A rule whose slots change in another way leaves this out: rows of tables that have no
        gradient are then updated with zeros.
        """
        raise NotImplementedError

    def drift(
        self, x: Array, state: dict[str, Array], scales: dict[str, float], lr: float, count: int
    ) -> None:
        """What `update` with a gradient of zero does to the values; a rule with `decays` has it.

        Values whose slots are zero stay as they are.

        Args:
            x: Values.
            state: Array of each slot, after its decay, but for a factor; to be read only.
            scales: The factor of each; 1 where there is none.
            lr: Learning rate.
            count: Number of updates, this one included.
        """
        raise NotImplementedError

    @property
    def still(self) -> bool:
        """Whether a gradient of zero leaves values and state as they are."""
        return False

    @property
    def lr(self) -> float:
        """The learning rate of the next step; setting it rescales the whole schedule."""
        return self._base * self._factor()

    @lr.setter
    def lr(self, rate: float) -> None:
        self._check(lr=rate)
        factor = self._factor()
        if factor == 0:
            raise SettingError(
                f"{type(self).__name__}: got lr={rate!r} where the schedule has come to 0; no "
                "scale of it has that rate; set `schedule` to another one (or None) first"
            )
        self._base = rate / factor

    def step(self) -> None:
        """Update all parameters that have a gradient, and clear the gradients.

        Raises:
            GradientError: If no parameter has a gradient, or one is not finite; nothing is changed
                then.
            SettingError: If LAZYNET_NUM_THREADS is no number of threads; nothing is changed either.
        """
        profile = recorder()
        outside = RECORD if profile is None else profile.enter(WAITING)
        try:
            self._step(profile)
        finally:
            if profile is not None:
                profile.leave(outside)

    def _step(self, profile: Recorder | None) -> None:
        with LOCK, np.errstate(all="ignore"), self.model.place():
            parameters = self.model.parameters()
            if profile is not None:
                profile.updates(parameters)
            if self.model.dtype not in HALVES:
                self._update_all(parameters)
                return
            with self._masters.standing_in(parameters, self._some_rows()) as masters:
                self._update_all(masters)

    def _update_all(self, parameters: list[Parameter]) -> None:
        sources = None if self.model.device == CPU else Sources()
        work = share_out(parameters, self._state, self._some_rows(), sources)
        if not work:
            raise GradientError(
                f"{type(self).__name__}.step: no trainable parameter of the model has a "
                "gradient; call loss.backward() first, on a loss that depends on them"
            )
        norm = self._norm(work, sources)
        scale = self.clip / norm if self.clip is not None and norm > self.clip else 1.0
        lr = self.lr
        workers()  # where its setting is bad, nothing has been changed yet
        for item in work:
            try:
                for state in item.states:
                    state.updates += 1
                if item.chunk is not None:
                    self._apply_chunk(item, item.chunk, lr, scale)
                else:
                    self._apply(item, lr, scale)
            finally:  # interrupted, the step can be repeated: no gradient counts twice
                for p in item.parameters:
                    p.changed()
                    p.clear_gradient()
        for p in parameters:
            if p.has_gradient():  # of a frozen one, from before
                p.clear_gradient()
        self.gradient_norm = norm
        self.steps += 1

    def state_dict(self) -> dict[str, Array]:
        """Everything that later steps depend on besides the settings, as copies.

        Returns:
            ``steps``, ``lr`` (before the schedule), and for each parameter, by its name within the
            model, the number of ``:updates`` and, unless that is 0, each slot, and for one of 16
            bits the ``:master``.
        """
        state: dict[str, Array] = {"steps": np.array(self.steps), "lr": np.array(self._base)}
        for name, p in self._named():
            known = self._states.get(p.name)
            state[f"{name}:updates"] = np.array(0 if known is None else known.updates)
            if known is not None and known.updates:
                for slot, array in known.copies().items():
                    state[f"{name}:{slot}"] = array
                if p.dtype in HALVES:
                    state[f"{name}:{_MASTER}"] = np.array(to_host(self._masters.values(p)))
        return state

    def load_state_dict(self, state: dict[str, Array]) -> None:
        """Go on where the optimiser was that `state_dict` was called on.

        Raises:
            FileError: If names or shapes are not those of this optimiser and its model; nothing is
                changed then.
        """
        left = dict(state)
        wrong = []

        def take(key: str, shape: tuple[int, ...]) -> Any:
            if key not in left:
                wrong.append(f"{key} is missing")
                return None
            array = np.asarray(left.pop(key))
            if array.shape != shape:
                wrong.append(f"{key} has shape {array.shape} instead of {shape}")
                return None
            return array

        steps, base = take("steps", ()), take("lr", ())
        states = {}
        masters = {}
        for name, p in self._named():
            updates = take(f"{name}:updates", ())
            if updates is None or updates == 0:
                continue
            arrays = {slot: take(f"{name}:{slot}", p.shape) for slot in self.slots}
            states[p.name] = State(int(updates), arrays)
            if p.dtype in HALVES:
                masters[p.name] = take(f"{name}:{_MASTER}", p.shape)
        wrong += [f"{key} belongs to no parameter or slot" for key in left]
        if wrong:
            raise FileError(
                f"{type(self).__name__}.load_state_dict: {'; '.join(wrong)}; the state must come "
                "from the same optimiser with the same settings on a model of the same parameters"
            )
        for p in self.model.parameters():
            if p.name in states:
                slots = states[p.name].slots
                for slot, array in slots.items():
                    host: Array = np.array(array, p.type.work, order="C")
                    slots[slot] = to_device(host, device_of(p.values))
            if p.name in masters:
                self._masters.put(p, masters[p.name])
        self.steps = int(steps)
        self._base = float(base)
        self._states = states

    def __repr__(self) -> str:
        return f"{type(self).__name__}(lr={self.lr:g}, steps={self.steps})"

    def _named(self) -> list[tuple[str, Parameter]]:
        """Parameters with their names within the model: a sub-model may have another path later."""
        return [(p.name[len(self.model.path) :], p) for p in self.model.parameters()]

    def _check(self, **settings: Any) -> None:
        """Raise unless every setting is a finite number of at least 0."""
        for name, value in settings.items():
            number = isinstance(value, (int, float, np.integer, np.floating))
            if not number or isinstance(value, bool) or not math.isfinite(value) or value < 0:
                raise SettingError(
                    f"{type(self).__name__}: got {name}={value!r}; it must be a finite number of "
                    "at least 0"
                )

    def _check_positive(self, **settings: Any) -> None:
        """Raise unless every setting is above 0."""
        self._check(**settings)
        for name, value in settings.items():
            if value == 0:
                raise SettingError(
                    f"{type(self).__name__}: got {name}={value!r}; it must be above 0"
                )

    def _check_fractions(self, **settings: Any) -> None:
        """Raise unless every setting is at least 0 and below 1."""
        self._check(**settings)
        for name, value in settings.items():
            if value >= 1:
                raise SettingError(
                    f"{type(self).__name__}: got {name}={value!r}; it must be below 1"
                )

    def _factor(self) -> float:
        if self.schedule is None:
            return 1.0
        factor = self.schedule(self.steps)
        if (
            not isinstance(factor, (int, float, np.floating))
            or not math.isfinite(factor)
            or factor < 0
        ):
            raise SettingError(
                f"{type(self).__name__}: the schedule gave {factor!r} for step {self.steps}; it "
                "must give a finite number of at least 0"
            )
        return float(factor)

    def _norm(self, work: list[Work], sources: Sources | None) -> float:
        result = norm_of(work, sources)
        if math.isfinite(result):
            return result
        for p in (p for item in work for p in item.parameters):
            gradient = gradient_of(p)
            if not math.isfinite(gradient.norm()):
                raise GradientError(
                    f"{type(self).__name__}.step: the gradient of parameter {p.name} holds NaN or "
                    f"infinity{gradient.first_bad()}; nothing was updated; ln.detect_anomaly() "
                    "finds where it arises; call model.zero_gradients() to leave this step out, or "
                    "lower the learning rate"
                )
        return result

    def _state(self, p: Parameter) -> State:
        state = self._states.get(p.name)
        if state is None:
            slots = {slot: np.zeros_like(p.values, order="C") for slot in self.slots}
            state = self._states[p.name] = State(0, slots)
        return state

    def _some_rows(self) -> bool:
        """Whether only the rows of a table that have a gradient are updated."""
        return self.sparse == "lazy" or (self.still and self.weight_decay == 0)

    def _apply_chunk(self, item: Work, chunk: Chunk, lr: float, scale: float) -> None:
        chunk.read(item.parameters)
        count = item.states[0].updates
        if type(chunk.x) is not np.ndarray:
            buffer = Buffer(chunk.x, chunk.slots, chunk.gradient)
            if self._launch(buffer, lr, scale, count):
                return
        if scale != 1.0:
            chunk.gradient *= scale
        self._update(chunk.x, chunk.gradient, chunk.slots, lr, 1.0, count)
        chunk.write(item.parameters)

    def _apply(self, item: Work, lr: float, scale: float) -> None:
        state, gradient = item.states[0], item.gradient
        assert gradient is not None
        whole = table_of(item.parameters[0], state)
        rows, values, n = gradient.rows, gradient.values, len(whole.x)
        some_rows = self._some_rows()
        if type(whole.x) is not np.ndarray:
            state.moved = None
            state.settle()
            buffer = buffer_of(whole, gradient, some_rows)
            if self._launch(buffer, lr, scale, state.updates):
                return
        if not some_rows and type(whole.x) is not np.ndarray:
            dense = True  # a GPU moves all rows at once
        else:
            dense = gradient.dense is not None or (
                not some_rows and rows is not None and 4 * len(rows) > n
            )
        if dense:
            if state.moved is not None:
                state.moved[:] = True
            state.settle()

            def update(start: int, stop: int) -> None:
                part = whole.part(start, stop)
                dx = gradient.block(start, stop, part.x)
                self._update(part.x, dx, part.slots, lr, scale, state.updates)

            whole.by_block(update)
            return
        assert rows is not None and values is not None
        if some_rows:
            state.moved = None
            state.settle()
        updated = []
        height = block_height(whole.x)
        for start in range(0, len(rows), height):
            some, dx = rows, values
            if height < len(rows):
                some, dx = rows[start : start + height], values[start : start + height]
            part = whole.take(some)
            for slot, factor in state.scales.items():
                part.slots[slot] *= factor
            self._update(part.x, dx, part.slots, lr, scale, state.updates)
            if some_rows:
                whole.put(some, part)
            else:
                updated.append((some, part))
        if some_rows:
            return
        self._apply_idle(whole, state, rows, lr)
        for some, part in updated:
            for slot, factor in state.scales.items():
                part.slots[slot] /= factor
            whole.put(some, part)

    def _launch(self, buffer: Buffer, lr: float, scale: float, count: int) -> bool:
        """Update a buffer on a GPU by one kernel; False if the rule cannot be made one."""

        def rule(x: Any, gradient: Any, slots: dict[str, Any]) -> None:
            self._update(x, gradient * scale, slots, lr, 1.0, count)

        self._kernels = self._kernels and launch(rule, buffer)
        return self._kernels

    def _apply_idle(self, whole: Table, state: State, rows: Array, lr: float) -> None:
        """Update a table as if no row had a gradient; `rows` are overwritten after that."""
        count = state.updates
        if not self._decays or (self.weight_decay and not self.decoupled):
            state.moved = None
            state.settle()

            def update(start: int, stop: int) -> None:
                part = whole.part(start, stop)
                self._update(part.x, None, part.slots, lr, 1.0, count)

            whole.by_block(update)
            return
        state.decay(self.decays())
        if state.moved is None:
            state.moved = np.zeros(len(whole.x), bool)
            for array in whole.slots.values():
                state.moved |= array.any(axis=1)
        moving = np.flatnonzero(state.moved)
        state.moved[rows] = True
        if not self._drifts and not self.weight_decay:
            return
        scales = {slot: state.scales.get(slot, 1.0) for slot in self.slots}
        if not self.weight_decay and 4 * len(moving) < len(whole.x):
            height = block_height(whole.x)
            for start in range(0, len(moving), height):
                some = moving[start : start + height]
                part = whole.take(some)
                self.drift(part.x, part.slots, scales, lr, count)
                whole.x[some] = part.x
            return

        def drift(start: int, stop: int) -> None:
            part = whole.part(start, stop)
            if self.weight_decay:
                part.x *= 1 - lr * self.weight_decay
            if self._drifts:
                self.drift(part.x, part.slots, scales, lr, count)

        whole.by_block(drift)

    def _update(
        self,
        x: Array,
        gradient: Array | None,
        slots: dict[str, Array],
        lr: float,
        scale: float,
        count: int,
    ) -> None:
        """Clipping and weight decay, then the rule; a gradient of None is zero."""
        if self.weight_decay and self.decoupled:
            x *= 1 - lr * self.weight_decay
        elif self.weight_decay:
            decay = np.multiply(x, self.weight_decay, out=scratch(x, DECAY))
            if gradient is not None:
                if scale != 1.0:
                    gradient = np.multiply(gradient, scale, out=scratch(x, GRADIENT))
                decay += gradient
            self.update(x, decay, slots, lr, count)
            return
        if gradient is None:
            gradient = scratch(x, GRADIENT)
            gradient.fill(0)
        elif scale != 1.0:
            gradient = np.multiply(gradient, scale, out=scratch(x, GRADIENT))
        self.update(x, gradient, slots, lr, count)


def _written_for(kind: type, name: str) -> bool:
    """Whether a method was written for the rule's `update`: by a class that is no base of its."""
    for part in kind.__mro__:
        if name in vars(part):
            return part is not Optimizer
        if "update" in vars(part):
            return False
    return False
