"""Losses: scalars for each example."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from lazynet.dynet.arguments import natural, place, places, real
from lazynet.dynet.expression import Expression, apply, checked, show, two, type_of, wrap
from lazynet.dynet.probability import (
    batched,
    classes_of,
    recorded,
    same_batch,
    single_index,
    vector,
    vector_of,
)
from lazynet.graph import Expression as Node
from lazynet.graph import record, unary
from lazynet.kinds import Op
from lazynet.ops.columns import reshape_op
from lazynet.ops.elementwise import ready
from lazynet.ops.vector_loss import (
    BinaryLogLoss,
    HingeDim,
    PoissonLoss,
    RankMargin,
    SingleHinge,
    SingleHuber,
    SingleL1,
    SingleSquaredError,
)

_BINARY_LOG_LOSS = ready(BinaryLogLoss())
_POISSON_LOSS = ready(PoissonLoss())
_RANK_MARGIN = ready(RankMargin())
_SQUARED_ERROR = ready(SingleSquaredError())
_L1 = ready(SingleL1())
_HUBER = ready(SingleHuber())
_HINGE = ready(SingleHinge(1.0))


@lru_cache(maxsize=1024)
def _hinge_op(margin: float) -> SingleHinge:
    return ready(SingleHinge(margin))


@lru_cache(maxsize=1024)
def _hinge_dim_op(axis: int, margin: float) -> HingeDim:
    return ready(HingeDim(axis, margin))


def _margin(m: Any, name: str) -> float:
    margin = real(m, name, "the margin")
    if not margin >= 0:
        raise ValueError(f"{name}: got the margin {margin}; it must be 0 or more")
    return margin


def hinge(x: Expression | Any, v: int | Any, m: float | Any = 1.0) -> Expression:
    """Hinge loss of a class: the sum over the other entries of ``max(0, m - x[v] + x[j])``.

    Args:
        x: Scores, a vector, a single example.
        v: Number of the right entry, from 0. All classes are one batch.
        m: The margin, 0 or more.

    Returns:
        A scalar.

    Raises:
        ValueError: If x is no vector or a batch, there is no such entry, or m is negative.
        OverflowError: If the number is negative.
        TypeError: If it is no number.
    """
    x = vector(x, "hinge")
    n = type_of(x).shape[0]
    if type(v) is not int or not 0 <= v < n:
        v = place(v, n, "hinge", "class")
    if batched(x):
        raise single_index(x, "hinge")
    op = _HINGE if type(m) is float and m == 1.0 else _hinge_op(_margin(m, "hinge"))
    return apply(op, x, "hinge", v)


def hinge_batch(x: Expression | Any, vs: list[int] | Any, m: float | Any = 1.0) -> Expression:
    """`hinge` of every example.

    Args:
        x: Scores, a batch of vectors.
        vs: Number of the right entry for each example, from 0.
        m: The margin, 0 or more.

    Returns:
        A batch of scalars.

    Raises:
        ValueError: If x is no vector, there are not as many as examples, one is out of range, or m
            is negative.
        OverflowError: If one is negative.
        TypeError: If they are no list of numbers.
    """
    checked(x, "hinge_batch")
    node = vector_of(x, "hinge_batch")
    classes = classes_of(node, vs, "hinge_batch")
    return wrap(unary(_hinge_op(_margin(m, "hinge_batch")), node, classes))


def hinge_dim(
    x: Expression | Any, v: list[int] | Any, d: int | Any = 0, m: float | Any = 1.0
) -> Expression:
    """Hinge loss of every column (or row) of a matrix.

    Args:
        x: Scores, a matrix.
        v: Number of the right entry in each column (in each row, for ``d=1``), from 0; the same
            for all examples of a batch.
        d: The dimension along which the entries compete.
        m: The margin, 0 or more.

    Returns:
        A vector with the loss of each column (or row).

    Raises:
        ValueError: If x is no matrix, `v` has another length, one is out of range, or m is
            negative.
        OverflowError: If one is negative.
        TypeError: If they are no list of numbers.
    """
    node = checked(x, "hinge_dim").node
    shape = node.shape
    axis = natural(d, "hinge_dim", "dimension")
    if len(shape) != 2 or axis > 1:
        raise ValueError(
            f"hinge_dim: got dimension {axis} of {show(x)}; it takes a matrix, and dimension 0 or 1"
        )
    classes = places(v, shape[axis], "hinge_dim", "class")
    if len(classes) != shape[1 - axis]:
        raise ValueError(
            f"hinge_dim: got {len(classes)} classes for {show(x)}; along dimension {axis} it takes "
            f"{shape[1 - axis]}"
        )
    return wrap(unary(_hinge_dim_op(axis, _margin(m, "hinge_dim")), node, classes))


def _alike(x: Any, y: Any, name: str) -> tuple[Node, Node]:
    """Two nodes of the same dimensions, but for those of length 1 at the end.

    Raises:
        ValueError: If they are not.
    """
    a, b = checked(x, name).node, checked(y, name).node
    if a.type is not b.type:
        left, right = a.shape, b.shape
        if left != right:
            n = min(len(left), len(right))
            rest = left[n:] + right[n:]
            if left[:n] != right[:n] or any(k != 1 for k in rest):
                raise ValueError(
                    f"{name}: got {show(x)} and {show(y)}; both must have the same dimensions"
                )
            b = unary(reshape_op(right, left), b)
    same_batch(a, b, name)
    return a, b


def _distance(op: Op, x: Any, y: Any, name: str) -> Expression:
    """An op of two arguments of the same dimensions."""
    if isinstance(x, Expression) and isinstance(y, Expression):
        found = two(op, x, y) if type_of(x).shape == type_of(y).shape else None
        if found is not None:
            return found
    a, b = _alike(x, y, name)
    return wrap(recorded(op, a, b))


def binary_log_loss(x: Expression | Any, y: Expression | Any) -> Expression:
    """The log loss of binary decisions, ``-sum_i y_i log(x_i) + (1 - y_i) log(1 - x_i)``, in nats.

    Where x is 0 or 1, its logarithm is that of the least positive number, -87.3.

    Args:
        x: Probabilities, any dimensions.
        y: Targets in [0, 1], of the same dimensions; the batch of either is repeated.

    Returns:
        A scalar for each example.

    Raises:
        ValueError: If the dimensions differ.
    """
    return _distance(_BINARY_LOG_LOSS, x, y, "binary_log_loss")


def pairwise_rank_loss(
    x: Expression | Any, y: Expression | Any, m: float | Any = 1.0
) -> Expression:
    """How far x fails to exceed y by a margin: ``max(0, m - x + y)`` of each column.

    Args:
        x: Scores that should be greater, a scalar or a matrix of one row.
        y: Scores that should be less, of the same dimensions; the batch of either is repeated.
        m: The margin; different ones are one batch.

    Returns:
        An expression of the same dimensions.

    Raises:
        ValueError: If the dimensions differ, or there are several rows.
        TypeError: If the margin is no number.
    """
    a, b = checked(x, "pairwise_rank_loss").node, checked(y, "pairwise_rank_loss").node
    if a.shape != b.shape or a.shape[0] != 1 or a.ndim > 2:
        raise ValueError(
            f"pairwise_rank_loss: got {show(x)} and {show(y)}; both must be scalars, or matrices "
            "of one row and as many columns"
        )
    same_batch(a, b, "pairwise_rank_loss")
    return wrap(record(_RANK_MARGIN, (a, b), real(m, "pairwise_rank_loss", "the margin")))


def poisson_loss(log_lambda: Expression | Any, x: int | Any) -> Expression:
    """Negative log likelihood of a count under a Poisson distribution, in nats.

    Args:
        log_lambda: Logarithm of its rate, a scalar.
        x: The count, 0 or more; different ones are one batch.

    Returns:
        A scalar for each example.

    Raises:
        ValueError: If `log_lambda` is no scalar.
        OverflowError: If the count is negative.
        TypeError: If it is no number.
    """
    node = checked(log_lambda, "poisson_loss").node
    if node.size != 1:
        raise ValueError(f"poisson_loss: got {show(log_lambda)} for log_lambda; it takes a scalar")
    if node.shape != (1,):
        node = unary(reshape_op(node.shape, (1,)), node)
    return wrap(unary(_POISSON_LOSS, node, float(natural(x, "poisson_loss", "count"))))


def huber_distance(x: Expression | Any, y: Expression | Any, c: float | Any = 1.345) -> Expression:
    """Sum over d = x - y of d^2 / 2 up to |d| = c and c (|d| - c / 2) beyond.

    Args:
        x: Any dimensions.
        y: The same dimensions; the batch of either is repeated.
        c: Where the parabola goes over into a line, 0 or more; different ones are one batch.

    Returns:
        A scalar for each example.

    Raises:
        ValueError: If the dimensions differ, or c is negative.
        TypeError: If c is no number.

    Source: P. J. Huber, "Robust estimation of a location parameter", 1964.
    """
    a, b = _alike(x, y, "huber_distance")
    limit = real(c, "huber_distance", "c")
    if not limit >= 0:
        raise ValueError(f"huber_distance: got c = {limit}; it must be 0 or more")
    return wrap(record(_HUBER, (a, b), limit))


def squared_distance(x: Expression | Any, y: Expression | Any) -> Expression:
    """Sum of the squared differences.

    Args:
        x: Any dimensions.
        y: The same dimensions; the batch of either is repeated.

    Returns:
        A scalar for each example.

    Raises:
        ValueError: If the dimensions differ.
    """
    return _distance(_SQUARED_ERROR, x, y, "squared_distance")


def l1_distance(x: Expression | Any, y: Expression | Any) -> Expression:
    """Sum of the absolute differences.

    Args:
        x: Any dimensions.
        y: The same dimensions; the batch of either is repeated.

    Returns:
        A scalar for each example. The gradient where x = y is 0.

    Raises:
        ValueError: If the dimensions differ.
    """
    return _distance(_L1, x, y, "l1_distance")
