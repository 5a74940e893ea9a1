"""Errors of the engine, told in DyNet's words."""

from __future__ import annotations

import operator
from typing import Any

from lazynet.dynet.expression import Expression, as_number, short, show
from lazynet.errors import ShapeError


def misfit(name: str, error: ShapeError, *xs: Expression) -> ShapeError:
    """The engine's error about the arguments of a function, under the name of the function.

    Args:
        name: The function.
        error: What the engine raised.
        xs: The arguments, whose dimensions are told.
    """
    rule = str(error).partition(": ")[2]
    return ShapeError(f"{name}: mismatched dimensions {', '.join(map(show, xs))}: {rule}")


def whole(value: Any, name: str, role: str, least: int = 0) -> int:
    """A whole number.

    Args:
        value: An argument.
        name: The function that got it.
        role: What it is called there.
        least: The smallest it may be.

    Raises:
        TypeError: If it is no whole number.
        OverflowError: If it is negative.
        ValueError: If it is smaller than `least`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: got {role} {short(value)}; it must be a whole number") from None
    if number < 0:
        raise OverflowError(f"{name}: got {role} {number}; it must not be negative")
    if number < least:
        raise ValueError(f"{name}: got {role} {number}; it must be at least {least}")
    return number


def number(value: Any, name: str, role: str) -> float:
    """A number that is one.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is NaN.
    """
    result = as_number(value)
    if result is None:
        raise TypeError(f"{name}: got {role} {short(value)}; it must be a number")
    if result != result:
        raise ValueError(f"{name}: got {role} {value}; it must be a number, not NaN")
    return result
