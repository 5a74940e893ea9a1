"""Arguments checked, shapes changed, and the engine's errors under the names of DyNet."""

from __future__ import annotations

from typing import Any

from lazynet.dynet.arithmetic import dimension
from lazynet.dynet.expression import Expression, as_number, short, show
from lazynet.errors import OutOfMemoryError, ShapeError


def misfit(name: str, error: ShapeError, *xs: Expression) -> ShapeError:
    """The engine's error about the arguments of a function, under the name of the function.

    Args:
        name: The function.
        error: What the engine raised.
        xs: The arguments, whose dimensions are told.
    """
    rule = str(error).partition(": ")[2]
    return ShapeError(f"{name}: mismatched dimensions {', '.join(map(show, xs))}: {rule}")


def positive(value: Any, name: str, role: str) -> int:
    """A whole number of 1 or more.

    Args:
        value: An argument.
        name: The function that got it.
        role: What it is called there.

    Raises:
        TypeError: If it is no whole number.
        OverflowError: If it is negative.
        ValueError: If it is 0.
    """
    if type(value) is not int or value < 1:
        value = dimension(value, f"{name}: {role}")
        if value == 0:
            raise ValueError(f"{name}: {role}: got 0; it must be at least 1")
    result: int = value
    return result


def check_size(count: int, name: str) -> None:
    """Refuse at once what no memory holds.

    Args:
        count: How many numbers are to be made.
        name: The function that makes them.

    Raises:
        OutOfMemoryError: If they are more than 2^40.
    """
    if count > _MOST:
        raise OutOfMemoryError(
            f"{name}: {count} numbers were asked for, which do not fit into memory; check the "
            "dimensions and the batch size"
        )


_MOST = 1 << 40


def number(value: Any, name: str, role: str) -> float:
    """A number that is one.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is NaN.
    """
    result = value if type(value) is float else as_number(value)
    if result is None:
        raise TypeError(f"{name}: {role}: got {short(value)}; it must be a number")
    if result != result:
        raise ValueError(f"{name}: {role}: got NaN; it must be a number")
    return result
