"""Numbers that are payload: what stands for an int argument while a fused function is traced.

A function of expressions is traced once and called many times, with other classes and other rows of
a table. An int that it only hands on to operations, as an index or a class, must not become part of
the program; one that it looks at (`if k == 0`, `range(n)`) must. So the trace passes a stand-in.
Operations that take an index ask it for a `Slot`, to be filled at each call; whatever else reads
its value makes the argument static.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

TRACED_ROWS = 1 << 40
"""Stands for the number of rows of a batch, which a trace does not know."""

Check = Callable[[Any], Any]


class Slot(NamedTuple):
    """A place in the payload of a fused call.

    Attributes:
        position: Which argument of the call fills it.
        limit: Values from 0 to limit - 1 are taken as they are.
        check: Turns any other value into such a one (a negative index), or raises.
        scale: Factor on the value.
        listed: Whether it holds one value for each row.
    """

    position: int
    limit: int
    check: Check
    scale: int
    listed: bool

    def fill(self, value: Any) -> Any:
        """The payload for this value of the argument."""
        checked = self.check(value)
        return checked if self.scale == 1 else checked * self.scale


class Recorder(Protocol):
    """The trace, as stand-ins see it."""

    def slot(self, slot: Slot) -> Slot:
        """Note that the program reads this slot."""
        ...

    def static(self, position: int) -> None:
        """Note that the program depends on the value of this argument."""
        ...


class Deferred:
    """An argument whose value the program does not know, as long as nobody looks at it."""

    __slots__ = ("_position", "_recorder", "_value")
    _listed = False

    def __init__(self, recorder: Recorder, position: int, value: Any) -> None:
        self._recorder = recorder
        self._position = position
        self._value = value

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The class of the value: `isinstance(index, int)` holds."""
        return type(self._value)

    def slot(self, limit: int, check: Check, scale: int = 1) -> Slot:
        """The payload of an op that takes a whole number from 0 to limit - 1 here.

        Args:
            limit: Values below are taken as they are.
            check: Turns any other value into such a one, or raises.
            scale: Factor on the value.
        """
        check(self._value)  # the errors of the first call come from the line that causes them
        slot = Slot(self._position, limit, check, scale, self._listed)
        return self._recorder.slot(slot)

    def look(self) -> Any:
        """The value; from now on the program depends on it."""
        self._recorder.static(self._position)
        return self._value

    def __repr__(self) -> str:
        return repr(self.look())

    def __str__(self) -> str:
        return str(self.look())

    def __format__(self, spec: str) -> str:
        return format(self.look(), spec)

    def __hash__(self) -> int:
        return hash(self.look())

    def __bool__(self) -> bool:
        return bool(self.look())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.look(), name)


def _reader(name: str) -> Any:
    function: Any = getattr(operator, name)

    def method(self: Deferred, *others: Any) -> Any:
        return function(self.look(), *[_seen(o) for o in others])

    return method


def _reflected(name: str) -> Any:
    function: Any = getattr(operator, name)

    def method(self: Deferred, other: Any) -> Any:
        return function(_seen(other), self.look())

    return method


def _seen(value: Any) -> Any:
    return value.look() if is_deferred(value) else value


class Integer(Deferred):
    """A whole number."""

    __slots__ = ()

    def __index__(self) -> int:
        return operator.index(self.look())

    def __int__(self) -> int:
        return int(self.look())

    def __float__(self) -> float:
        return float(self.look())


class Integers(Deferred):
    """A list or array of whole numbers, one for each row of the batch."""

    __slots__ = ()
    _listed = True

    def __len__(self) -> int:
        return len(self.look())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.look())

    def __getitem__(self, key: Any) -> Any:
        return self.look()[key]

    def __contains__(self, value: Any) -> bool:
        return value in self.look()

    def __array__(self, *args: Any, **keywords: Any) -> Any:
        import numpy as np

        return np.array(self.look())


for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Deferred, f"__{_name}__", _reader(_name))
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift",
              "and_", "or_", "xor"):  # fmt: skip
    _special = _name.rstrip("_")
    setattr(Deferred, f"__{_special}__", _reader(_name))
    setattr(Deferred, f"__r{_special}__", _reflected(_name))
for _name in ("neg", "pos", "abs", "invert"):
    setattr(Deferred, f"__{_name}__", _reader(_name))


def is_deferred(value: Any) -> bool:
    """Whether this is a stand-in (which says of itself that it is an int)."""
    return type(value) is Integer or type(value) is Integers


def stands_for(recorder: Recorder, position: int, value: Any, listed: bool) -> Deferred:
    """The stand-in for an argument."""
    return (Integers if listed else Integer)(recorder, position, value)


__all__ = ["TRACED_ROWS", "Deferred", "Integer", "Integers", "Slot", "is_deferred", "stands_for"]
