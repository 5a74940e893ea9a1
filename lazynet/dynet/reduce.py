"""Reductions over elements, dimensions and the batch."""

from __future__ import annotations

from math import prod
from typing import Any

import lazynet.ops as ops
from lazynet.dynet.arithmetic import dimension, inside
from lazynet.dynet.expression import Expression, apply, checked, short, type_of, wrap
from lazynet.graph import Expression as Node
from lazynet.kinds import Op, Type, derived_table
from lazynet.ops.single import (
    SingleLogsumexp,
    SingleMax,
    SingleMean,
    SingleMin,
    SingleNorm,
    SingleSquaredNorm,
    SingleStd,
    SingleSum,
    single,
    single_op,
)

_OPS: dict[tuple[Any, Type], Op] = derived_table()

# Over all elements


def sum_elems(x: Expression | Any) -> Expression:
    """The sum of all elements of each example, a scalar."""
    return _elements(SingleSum, x, "sum_elems")


def mean_elems(x: Expression | Any) -> Expression:
    """The mean of all elements of each example, a scalar."""
    return _elements(SingleMean, x, "mean_elems")


def std_elems(x: Expression | Any) -> Expression:
    """The standard deviation (divided by n) of all elements of each example, a scalar.

    Its gradient is 0 where it is 0.
    """
    return _elements(SingleStd, x, "std_elems")


def moment_elems(x: Expression | Any, r: int | Any) -> Expression:
    """The mean of the r-th powers of all elements of each example, a scalar.

    Raises:
        ValueError: If r is 0.
    """
    return wrap(single(SingleMean, _power(checked(x, "moment_elems").node, r, "moment_elems")))


def squared_norm(x: Expression | Any) -> Expression:
    """The sum of the squares of all elements of each example, a scalar."""
    return _elements(SingleSquaredNorm, x, "squared_norm")


def l2_norm(x: Expression | Any) -> Expression:
    """The square root of `squared_norm`; its gradient is 0 where it is 0."""
    return _elements(SingleNorm, x, "l2_norm")


def _elements(scalar: Any, x: Any, name: str) -> Expression:
    t = type_of(checked(x, name))
    op = _OPS.get((scalar, t))
    if op is None:
        op = _OPS[scalar, t] = single_op(scalar, t.shape)
    return apply(op, x, name)


# Over the batch


def sum_batches(x: Expression | Any) -> Expression:
    """The sum of all examples of a batch, elementwise."""
    node = checked(x, "sum_batches").node
    return wrap(node if node.batch is None else ops.sum_batch(node))


def mean_batches(x: Expression | Any) -> Expression:
    """The mean of all examples of a batch, elementwise."""
    node = checked(x, "mean_batches").node
    return wrap(node if node.batch is None else ops.mean_batch(node))


def std_batches(x: Expression | Any) -> Expression:
    """The standard deviation (divided by n) of the examples of a batch, elementwise.

    Its gradient is 0 where it is 0, as it is of a single example.
    """
    return wrap(ops.std_batch(checked(x, "std_batches").node))


def moment_batches(x: Expression | Any, r: int | Any) -> Expression:
    """The mean of the r-th powers of the examples of a batch, elementwise.

    Raises:
        ValueError: If r is 0.
    """
    node = _power(checked(x, "moment_batches").node, r, "moment_batches")
    return wrap(node if node.batch is None else ops.mean_batch(node))


# Over dimensions


def sum_dim(
    x: Expression | Any, d: list[int] | Any, b: bool | Any = False, n: int | Any = 0
) -> Expression:
    """The sum over dimensions, which disappear.

    Args:
        x: Any dimensions.
        d: Those that are summed; all of them give a scalar. It may be empty where `b` is set.
        b: Whether the batch is summed as well.
        n: Accepted for symmetry with `mean_dim`; a sum is not divided by anything.

    Raises:
        TypeError: If d is no list.
        ValueError: If there is nothing to sum, or x has no such dimension.
        OverflowError: If a dimension is negative.
    """
    node = checked(x, "sum_dim").node
    dims = _dims(node, d, b, "sum_dim")
    dimension(n, "sum_dim: n")
    node = _over(SingleSum, ops.sum, node, dims)
    return wrap(ops.sum_batch(node) if b and node.batch is not None else node)


def mean_dim(
    x: Expression | Any, d: list[int] | Any, b: bool | Any, n: int | Any = 0
) -> Expression:
    """The mean over dimensions, which disappear.

    Args:
        x: Any dimensions.
        d: Those that are averaged; all of them give a scalar. It may be empty where `b` is set.
        b: Whether the mean is over the batch as well.
        n: What the sum is divided by instead of the number of its terms, where some of them are
            masked; 0 for that number.

    Raises:
        TypeError: If d is no list.
        ValueError: If there is nothing to average, or x has no such dimension.
        OverflowError: If a dimension, or n, is negative.
    """
    return _mean(checked(x, "mean_dim").node, d, b, n, "mean_dim")


def moment_dim(
    x: Expression | Any, d: list[int] | Any, r: int | Any, b: bool | Any, n: int | Any = 0
) -> Expression:
    """The mean of the r-th powers over dimensions, which disappear; otherwise as `mean_dim`.

    Raises:
        ValueError: If r is 0.
    """
    node = checked(x, "moment_dim").node
    _dims(node, d, b, "moment_dim")  # before a node is recorded for the power
    return _mean(_power(node, r, "moment_dim"), d, b, n, "moment_dim")


def std_dim(x: Expression | Any, d: list[int] | Any, b: bool | Any, n: int | Any = 0) -> Expression:
    """The standard deviation over dimensions, which disappear.

    Its gradient is 0 where it is 0.

    Args:
        x: Any dimensions.
        d: Those over which it is taken; all of them give a scalar. It may be empty where `b` is
            set.
        b: Whether it is over the batch as well.
        n: Accepted and, as in DyNet, without effect: deviations are divided by their number.

    Raises:
        TypeError: If d is no list.
        ValueError: If there is nothing to take it over, or x has no such dimension.
        OverflowError: If a dimension, or n, is negative.
    """
    node = checked(x, "std_dim").node
    dims = _dims(node, d, b, "std_dim")
    dimension(n, "std_dim: n")
    if not b or node.batch is None:
        return wrap(_over(SingleStd, ops.std, node, dims))
    # Over both there is no op: a norm over the dimensions, and one of these over the batch
    shape = node.shape
    count = node.batch * prod(shape[k] for k in dims)
    kept = tuple(1 if k in dims else size for k, size in enumerate(shape))
    mean = ops.mean_batch(_over(SingleMean, ops.mean, node, dims))
    centred = node - ops.reshape(mean, kept)
    norm = ops.norm_batch(_over(SingleNorm, ops.norm, centred, dims))
    return wrap(norm / float(count) ** 0.5)


def max_dim(x: Expression | Any, d: int | Any = 0) -> Expression:
    """The greatest along a dimension, which disappears; the first of several gets the gradient.

    Raises:
        ValueError: If x has no such dimension.
        OverflowError: If d is negative.
    """
    return _along(SingleMax, ops.max, x, d, "max_dim")


def min_dim(x: Expression | Any, d: int | Any = 0) -> Expression:
    """The least along a dimension, which disappears; the first of several gets the gradient.

    Raises:
        ValueError: If x has no such dimension.
        OverflowError: If d is negative.
    """
    return _along(SingleMin, ops.min, x, d, "min_dim")


def logsumexp_dim(x: Expression | Any, d: int | Any = 0) -> Expression:
    """log sum exp along a dimension, which disappears, without overflow.

    Raises:
        ValueError: If x has no such dimension.
        OverflowError: If d is negative.
    """
    return _along(SingleLogsumexp, ops.logsumexp, x, d, "logsumexp_dim")


def _along(scalar: type[Op], reduce: Any, x: Expression | Any, d: Any, name: str) -> Expression:
    node = checked(x, name).node
    return wrap(_over(scalar, reduce, node, (inside(d, node, name),)))


def _over(scalar: type[Op], reduce: Any, node: Node, dims: tuple[int, ...]) -> Node:
    """A reduction over these dimensions; over all of them to a vector of one element."""
    if not dims:
        return node if scalar is not SingleNorm else ops.abs(node)
    result: Node = single(scalar, node) if len(dims) == node.ndim else reduce(node, dims)
    return result


def _mean(node: Node, d: Any, b: bool, n: Any, name: str) -> Expression:
    dims = _dims(node, d, b, name)
    n = dimension(n, f"{name}: n")
    whole = b and node.batch is not None
    if n:
        node = _over(SingleSum, ops.sum, node, dims)
        return wrap((ops.sum_batch(node) if whole else node) / float(n))
    node = _over(SingleMean, ops.mean, node, dims)
    return wrap(ops.mean_batch(node) if whole else node)


def _dims(node: Node, d: Any, b: bool, name: str) -> tuple[int, ...]:
    """The dimensions that a call names, in ascending order."""
    if not isinstance(d, list):
        raise TypeError(f"{name}: got the dimensions {short(d)}; it takes a list")
    if not d and not b:
        raise ValueError(
            f"{name}: got no dimensions; at least one has to be reduced, or the batch with b=True"
        )
    dims = sorted([inside(k, node, name) for k in d])
    if len(set(dims)) < len(dims):
        raise ValueError(f"{name}: got the dimensions {d}; each may be named once")
    return tuple(dims)


def _power(node: Node, r: Any, name: str) -> Node:
    r = dimension(r, f"{name}: r")
    if r == 0:
        raise ValueError(f"{name}: got the order r = 0; it must be at least 1")
    if r == 1:
        return node
    return ops.square(node) if r == 2 else ops.cube(node) if r == 3 else node ** float(r)
