"""Arithmetic of two expressions, element by element, and running sums."""

from __future__ import annotations

from typing import Any

import lazynet.ops as ops
from lazynet.dynet.expression import (
    Expression,
    broadcast,
    checked,
    power,
    short,
    show,
    wrap,
)
from lazynet.graph import Expression as Node
from lazynet.kinds import HOOKS, Op
from lazynet.ops.arithmetic import Maximum, Minimum
from lazynet.ops.elementwise import ready

_MAXIMUM = ready(Maximum())
_MINIMUM = ready(Minimum())


def cmult(x: Expression | Any, y: Expression | Any) -> Expression:
    """The product element by element; axes of length 1, missing axes and the batch are repeated.

    Raises:
        ValueError: If the dimensions do not go together.
    """
    if isinstance(x, Expression) and isinstance(y, Expression):
        return broadcast(HOOKS.multiply, x, y, "cmult")
    return broadcast(HOOKS.multiply, checked(x, "cmult"), checked(y, "cmult"), "cmult")


def cdiv(x: Expression | Any, y: Expression | Any) -> Expression:
    """The quotient element by element; the right side is repeated to fit the left.

    Raises:
        ValueError: If the dimensions do not go together, or the left side had to be repeated.
    """
    a, b = checked(x, "cdiv").node, checked(y, "cdiv").node
    left, right = a.shape, b.shape
    if left != right:
        sizes = left + (1,) * (len(right) - len(left))
        fits = all(m in (1, n) for m, n in zip(right, sizes))
    else:
        fits = True
    if not fits or b.batch not in (None, a.batch):
        raise ValueError(
            f"cdiv: mismatched dimensions {show(x)} and {show(y)}; each size of the right side, "
            "and its batch size, must be that of the left or 1; to repeat the left side, multiply "
            "it by ones with cmult"
        )
    return broadcast(HOOKS.divide, x, y, "cdiv")


def colwise_add(x: Expression | Any, y: Expression | Any) -> Expression:
    """The sum of a matrix and a vector, which is added to each column.

    Args:
        x: A matrix {m,n}.
        y: A vector {m}.

    Raises:
        ValueError: If the dimensions do not go together.
    """
    a, b = checked(x, "colwise_add").node, checked(y, "colwise_add").node
    left, right = a.shape, b.shape
    if len(left) != 2 or right not in (left[:1], (left[0], 1)):
        raise ValueError(
            f"colwise_add: mismatched dimensions {show(x)} and {show(y)}; it takes a matrix and a "
            "vector with as many elements as the matrix has rows"
        )
    return broadcast(HOOKS.add, x, y, "colwise_add")


def pow(x: Expression | Any, y: Expression | Any) -> Expression:
    """x to the power of a scalar expression; for a number write ``x ** number``.

    Raises:
        ValueError: If y is no scalar.
    """
    return power(x, y)


def bmin(x: Expression | Any, y: Expression | Any) -> Expression:
    """The smaller of two elements; where they are equal, the gradient goes to y.

    Raises:
        ValueError: If the dimensions differ.
    """
    return _extremum(_MINIMUM, x, y, "bmin")


def bmax(x: Expression | Any, y: Expression | Any) -> Expression:
    """The larger of two elements; where they are equal, the gradient goes to y.

    Raises:
        ValueError: If the dimensions differ.
    """
    return _extremum(_MAXIMUM, x, y, "bmax")


def _extremum(op: Op, x: Any, y: Any, name: str) -> Expression:
    a, b = checked(x, name).node, checked(y, name).node
    if a.shape != b.shape or a.batch != b.batch:
        raise ValueError(
            f"{name}: mismatched dimensions {show(x)} and {show(y)}; both must have the same "
            "dimensions and batch size"
        )
    return broadcast(op, y, x, name)  # the engine's op leaves ties to its first argument


def cumsum(x: Expression | Any, d: int | Any = 0) -> Expression:
    """The running sum along a dimension; x itself along one that it does not have.

    Raises:
        OverflowError: If d is negative.
        ValueError: If d is beyond the last dimension that an expression can have.
    """
    node = checked(x, "cumsum").node
    d = axis(d, "cumsum")
    return wrap(ops.cumsum(node, d) if d < len(node.shape) else node)


def dimension(d: Any, name: str) -> int:
    """The number of a dimension, or a count, as an integer.

    Raises:
        TypeError: If it is no whole number.
        OverflowError: If it is negative, or beyond 32 bits.
    """
    if type(d) is not int:
        try:
            whole = int(d)
            if isinstance(d, str) or whole != d:
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise TypeError(f"{name}: got {short(d)}; it must be a whole number") from None
        d = whole
    if d < 0:
        raise OverflowError(f"{name}: got {d}; it cannot be negative")
    if d >> 32:
        raise OverflowError(f"{name}: got {d}; it must be less than 2^32")
    result: int = d
    return result


def axis(d: Any, name: str) -> int:
    """The number of a dimension that an expression can have: of DyNet's seven.

    Raises:
        TypeError: If it is no whole number.
        OverflowError: If it is negative.
        ValueError: If it is 7 or more.
    """
    number = dimension(d, name)
    if number >= _DIMENSIONS:
        raise ValueError(
            f"{name}: got dimension {number}; expressions have at most {_DIMENSIONS} dimensions, "
            "numbered from 0"
        )
    return number


_DIMENSIONS = 7


def inside(d: Any, node: Node, name: str) -> int:
    """The number of a dimension that the node has.

    Raises:
        TypeError: If it is no whole number.
        OverflowError: If it is negative.
        ValueError: If there is no such dimension.
    """
    d = dimension(d, name)
    if d >= len(node.shape):
        raise ValueError(
            f"{name}: got dimension {d} of an expression with {len(node.shape)} dimensions, "
            f"{node.shape}; they are numbered from 0, and the batch is none of them"
        )
    result: int = d
    return result
