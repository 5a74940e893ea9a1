"""Holders of numbers, which DyNet's own interface hands to its nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lazynet.dynet.arithmetic import dimension
from lazynet.dynet.expression import as_number, short

_LIMIT = 1 << 32


class UnsignedValue:
    """A whole number from 0 to 2^32 - 1.

    Args:
        val: The number.

    Raises:
        TypeError: If it is no whole number.
        OverflowError: If it is out of range.
    """

    def __init__(self, val: int = 0) -> None:
        self.set(val)

    def set(self, val: int) -> None:
        """Change the number."""
        self._value = _unsigned(val, "UnsignedValue")

    def get(self) -> int:
        """The number."""
        return self._value


class FloatValue:
    """A number in single precision.

    Args:
        val: The number.

    Raises:
        TypeError: If it is none.
    """

    def __init__(self, val: float = 0.0) -> None:
        self.set(val)

    def set(self, val: float) -> None:
        """Change the number."""
        self._value = _single(val, "FloatValue")

    def get(self) -> float:
        """The number."""
        return self._value


class UnsignedVectorValue:
    """A list of whole numbers from 0 to 2^32 - 1.

    Args:
        vals: The numbers.

    Raises:
        TypeError: If they are no whole numbers.
        OverflowError: If one is out of range.
    """

    def __init__(self, vals: Iterable[int]) -> None:
        self.set(vals)

    def set(self, newval: Iterable[int]) -> None:
        """Change the numbers."""
        self._values = [
            _unsigned(v, "UnsignedVectorValue") for v in _list(newval, "UnsignedVectorValue")
        ]

    def get(self) -> list[int]:
        """The numbers."""
        return list(self._values)

    def size(self) -> int:
        """How many they are."""
        return len(self._values)


class FloatVectorValue:
    """A list of numbers in single precision.

    Args:
        vals: The numbers.

    Raises:
        TypeError: If they are none.
    """

    def __init__(self, vals: Iterable[float]) -> None:
        self.set(vals)

    def set(self, newval: Iterable[float]) -> None:
        """Change the numbers."""
        self._values = [_single(v, "FloatVectorValue") for v in _list(newval, "FloatVectorValue")]

    def get(self) -> list[float]:
        """The numbers."""
        return list(self._values)

    def size(self) -> int:
        """How many they are."""
        return len(self._values)


def _list(values: Any, name: str) -> list[Any]:
    if not hasattr(values, "__iter__") or isinstance(values, (str, bytes, Mapping)):
        raise TypeError(f"{name}: got {short(values)}; it takes a list of numbers")
    return list(values)


def _unsigned(value: Any, name: str) -> int:
    number = dimension(value, name)
    if number >= _LIMIT:
        raise OverflowError(f"{name}: got {number}; it must be less than 2^32")
    return number


def _single(value: Any, name: str) -> float:
    number = as_number(value)
    if number is None:
        raise TypeError(f"{name}: got {short(value)}; it must be a number")
    return float(np.float32(number))
