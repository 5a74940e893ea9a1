"""Whole numbers and numbers among the arguments, with errors that name the function."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from lazynet.dynet.expression import short
from lazynet.kinds import INT64, Array


def whole(value: Any, name: str, role: str = "index") -> int:
    """An argument as a whole number; the fraction of others is dropped, as DyNet does.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is NaN.
        OverflowError: If it is infinite.
    """
    if type(value) is int:
        return value
    if isinstance(value, (float, np.floating)):
        number = float(value)
        if math.isfinite(number):
            return int(number)
        error = ValueError if math.isnan(number) else OverflowError
        raise error(f"{name}: got {number} for the {role}; it must be a whole number")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name}: got {short(value)} for the {role}; an integer is required"
        ) from None


def natural(value: Any, name: str, role: str = "index") -> int:
    """An argument as a whole number of 0 or more.

    Raises:
        OverflowError: If it is negative, or beyond 32 bits.
    """
    number = whole(value, name, role)
    if number < 0:
        raise OverflowError(
            f"{name}: got {number} for the {role}; it cannot be negative; only x[{number}] counts "
            "from the end"
        )
    if number >> 32:
        raise OverflowError(f"{name}: got {number} for the {role}; it must be less than 2^32")
    return number


def place(value: Any, n: int, name: str, role: str = "index") -> int:
    """The number of one of n entries.

    Raises:
        OverflowError: If it is negative.
        ValueError: If it is n or more.
    """
    number = natural(value, name, role)
    if number >= n:
        raise ValueError(
            f"{name}: got {role} {number}, out of range for {n} entries; it must be less than {n}"
        )
    return number


def places(values: Any, n: int, name: str, role: str = "index") -> Array:
    """The numbers of several of n entries, as a new array of int64.

    Raises:
        TypeError: If they are no list of numbers.
        OverflowError: If one is negative.
        ValueError: If one is n or more.
    """
    if type(values) is list and 0 < len(values) < 100:  # NumPy takes longer for its least number
        try:
            array = np.array(values)
            if array.dtype is INT64 and array.ndim == 1 and 0 <= min(values) <= max(values) < n:
                return array
        except (ValueError, OverflowError):  # ragged, or beyond 64 bits
            pass
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise TypeError(f"{name}: got {short(values)}; it takes a list of whole numbers")
    entries = values if isinstance(values, (list, tuple, np.ndarray)) else list(values)
    if len(entries) == 0:
        return np.zeros(0, INT64)
    try:
        array = np.array(entries)
    except (ValueError, OverflowError):  # ragged, or beyond 64 bits
        array = np.zeros((0, 0))
    if array.dtype.kind not in "iu" or array.ndim != 1:
        return np.array([place(v, n, name, role) for v in entries], INT64)
    low, high = array.min(), array.max()
    if low < 0 or high >= n:
        place(int(low if low < 0 else high), n, name, role)
    return array if array.dtype is INT64 else array.astype(INT64)


def real(value: Any, name: str, role: str) -> float:
    """An argument as a number.

    Raises:
        TypeError: If it is none.
        ValueError: If it is NaN.
    """
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name}: got {short(value)} for {role}; it must be a real number"
        ) from None
    if math.isnan(number):
        raise ValueError(f"{name}: got NaN for {role}; it must be a real number")
    return number
