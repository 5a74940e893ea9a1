"""What an update rule does, as a program: found by running it with arrays that take notes.

A rule is NumPy code, written once. Called with `Traced` arrays, it gives the steps that
`ops.formula` knows, in order, with the numbers it used. The steps say which kernel it takes, the
numbers are arguments of that: so a learning rate that changes needs no other kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from lazynet.ops.formula import COMPARISONS, FUNCTIONS, Step

_UFUNCS = {
    *FUNCTIONS.values(), *COMPARISONS, "add", "divide", "multiply", "negative", "power", "square",
    "subtract",
}  # fmt: skip


class Untraceable(Exception):
    """A rule did something that is not element by element, or that programs do not know."""


class Trace(NamedTuple):
    """What a rule does.

    Attributes:
        steps: In order; arrays are names of their own, numbers the names n0, n1, ...
        results: Each array that was overwritten, with the step whose value it has in the end.
        numbers: What the names of numbers stand for.
    """

    steps: tuple[Step, ...]
    results: tuple[tuple[str, int], ...]
    numbers: tuple[float, ...]


class _Notes:
    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.numbers: list[float] = []

    def step(self, operation: str, *operands: Any) -> int:
        places = tuple([self.place(x) for x in operands])
        for k, place in enumerate(places):
            fits = operation == "multiply" or (operation == "where" and k == 0)
            if self.steps[place].operation in COMPARISONS and not fits:
                raise Untraceable(f"{operation} of a mask")
        if operation == "multiply" and places[0] == places[1]:
            operation, places = "square", places[:1]
        return self._add(Step(operation, places))

    def place(self, x: Any) -> int:
        """The step whose value an operand has."""
        if isinstance(x, Traced):
            if x._notes is not self or x._at < 0:
                raise Untraceable("an array of another rule, or without values")
            return x._at
        if isinstance(x, (float, int, np.number)) or (type(x) is np.ndarray and x.ndim == 0):
            self.numbers.append(float(x))
            return self.name(f"n{len(self.numbers) - 1}")
        raise Untraceable(f"an operand of type {type(x).__name__}")

    def name(self, name: str) -> int:
        return self._add(Step("name", (), name))

    def _add(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1


class Traced(NDArrayOperatorsMixin):
    """Stands for an array in a rule: has no values, and notes what is done to it.

    It knows the ufuncs that formulas know, with `out`, operators, ``np.where``, ``np.empty_like``
    and the like, `fill` and ``x[...] = y``. What else may be asked of an array is `Untraceable`.
    """

    __slots__ = ("_at", "_notes", "dtype")

    def __init__(self, notes: _Notes, dtype: Any, at: int = -1) -> None:
        self._notes = notes
        self._at = at
        self.dtype = dtype

    def _new(self, at: int, out: Any = None) -> Any:
        if out is None:
            return Traced(self._notes, self.dtype, at)
        if not isinstance(out, Traced) or out._notes is not self._notes:
            raise Untraceable("a result in another array")
        out._at = at
        return out

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        out = settings.pop("out", (None,))
        if method != "__call__" or settings or ufunc.__name__ not in _UFUNCS or len(out) != 1:
            raise Untraceable(f"{ufunc.__name__}, {method}")
        return self._new(self._notes.step(ufunc.__name__, *inputs), out[0])

    def __array_function__(self, function: Any, types: Any, args: Any, settings: Any) -> Any:
        if settings:
            raise Untraceable(f"{function.__name__} with {', '.join(settings)}")
        if function is np.empty_like:
            return self._new(-1)
        if function is np.zeros_like or function is np.ones_like:
            return self._new(self._notes.place(float(function is np.ones_like)))
        if function is np.where and len(args) == 3:
            return self._new(self._notes.step("where", *args))
        raise Untraceable(function.__name__)

    def fill(self, value: Any) -> None:
        self._at = self._notes.place(value)

    def copy(self) -> Any:
        return self._new(self._notes.place(self))

    def __setitem__(self, key: Any, value: Any) -> None:
        if key is not Ellipsis:
            raise Untraceable("an assignment to some elements")
        self.fill(value)

    def __getitem__(self, key: Any) -> Any:
        raise Untraceable("some elements of an array")

    def __getattr__(self, name: str) -> Any:
        raise Untraceable(name)

    def _no_value(self, *args: Any) -> Any:
        raise Untraceable("the values of an array")

    __bool__ = __float__ = __int__ = __index__ = __len__ = __iter__ = __array__ = _no_value


Rule = Callable[[Any, Any, dict[str, Any]], None]
"""Updates values, given their gradient and slots by name, in place."""


def trace(rule: Rule, slots: Mapping[str, str], dtype: Any) -> Trace:
    """What a rule does.

    Args:
        rule: It.
        slots: Names of its slots, with what they are called in the steps; the values are called
            ``x`` there, their gradient ``g``.
        dtype: Of the arrays.

    Raises:
        Untraceable: If it is no program.
    """
    notes = _Notes()
    x, g = (Traced(notes, dtype, notes.name(name)) for name in "xg")
    state = {name: Traced(notes, dtype, notes.name(other)) for name, other in slots.items()}
    given = dict(state)
    before = [(array, array._at) for array in (x, *state.values())]
    rule(x, g, given)
    if given != state:
        raise Untraceable("a slot replaced, instead of overwritten")
    names = ["x", *slots.values()]
    changed = [(n, a._at) for n, (a, at) in zip(names, before) if a._at != at]
    return Trace(tuple(notes.steps), tuple(changed), tuple(notes.numbers))
