"""Functions of a list of expressions."""

from __future__ import annotations

from typing import Any

import lazynet.ops as ops
from lazynet.dynet.arithmetic import axis
from lazynet.dynet.expression import (
    Expression,
    listed,
    nodes_of,
    reduced,
    reshaped,
    show,
    truncated,
    type_of,
    wrap,
)
from lazynet.graph import Expression as Node
from lazynet.graph import record
from lazynet.inputs import rebatch
from lazynet.kinds import Op
from lazynet.ops import affine
from lazynet.ops.elementwise import ready
from lazynet.ops.linalg import Affine
from lazynet.ops.reduce import LogsumexpList, MaxList, MeanList, SumList
from lazynet.ops.shape import CONCATENATIONS, STACKS
from lazynet.shortcuts import reduced as reduced_nodes

_AFFINE = ready(Affine())
_AFFINES = _AFFINE.kinds
_CONCATENATIONS = CONCATENATIONS.kinds
_STACKS = STACKS.kinds
_LOGSUMEXP = ready(LogsumexpList())
_MAX = ready(MaxList())
_MEAN = ready(MeanList())
_SUM = ready(SumList())


def esum(xs: list[Expression] | Any) -> Expression:
    """The sum of expressions of the same dimensions.

    Raises:
        TypeError: If it is no list of expressions.
        ValueError: If it is empty, or the dimensions differ.
    """
    found = reduced(_SUM, xs)
    if found is not None:
        return found
    return wrap(_reduced(_SUM, nodes_of(xs, "esum"), xs, "esum"))


def average(xs: list[Expression] | Any) -> Expression:
    """The mean of expressions of the same dimensions.

    Raises:
        TypeError: If it is no list of expressions.
        ValueError: If it is empty, or the dimensions differ.
    """
    found = reduced(_MEAN, xs)
    if found is not None:
        return found
    return wrap(_reduced(_MEAN, nodes_of(xs, "average"), xs, "average"))


def emax(xs: list[Expression] | Any) -> Expression:
    """The greatest of expressions of the same dimensions, element by element.

    Where several are greatest, the gradient goes to the first of them.

    Raises:
        TypeError: If it is no list of expressions.
        ValueError: If it is empty, or the dimensions differ.
    """
    found = reduced(_MAX, xs)
    if found is not None:
        return found
    nodes = nodes_of(xs, "emax")
    if any(node.batch != nodes[0].batch for node in nodes):
        raise _mismatch(xs, "emax", "all must have the same dimensions and batch size")
    return wrap(_reduced(_MAX, nodes, xs, "emax"))


def logsumexp(xs: list[Expression] | Any) -> Expression:
    """log sum exp of expressions of the same dimensions, element by element, without overflow.

    Dimensions of 1 at the end are dropped.

    Raises:
        TypeError: If it is no list of expressions.
        ValueError: If it is empty, or the dimensions differ.
    """
    nodes = nodes_of(xs, "logsumexp")
    return wrap(truncated(_reduced(_LOGSUMEXP, nodes, xs, "logsumexp")))


def _reduced(op: Op, nodes: list[Node], xs: list[Expression], name: str) -> Node:
    """A reduction of the list; all dimensions become those of the first node."""
    if len(nodes) == 1:
        return nodes[0]
    node = reduced_nodes(op, nodes)
    if node is not None:
        return node
    try:
        node = record(op, nodes)
    except ValueError:
        shape = nodes[0].shape
        alike = [_with_rank(node, len(shape)) for node in nodes]
        try:
            node = record(op, alike)
        except ValueError:
            raise _mismatch(
                xs, name, "all must have the same dimensions, and the same batch size or 1"
            ) from None
    return node


def concatenate(xs: list[Expression] | Any, d: int | Any = 0) -> Expression:
    """Expressions joined along a dimension.

    Args:
        xs: Expressions whose other dimensions are equal; missing ones count as 1. Those without a
            batch are repeated.
        d: The dimension.

    Raises:
        TypeError: If it is no list of expressions, or d is no whole number.
        OverflowError: If d is negative.
        ValueError: If it is empty, or the dimensions do not go together, or d is 7 or more.
    """
    if type(d) is int:
        found = listed(_CONCATENATIONS, xs, [d])
        if found is not None:
            return found
    nodes = nodes_of(xs, "concatenate")
    if type(d) is not int or not 0 <= d < 2:
        d = axis(d, "concatenate: d")
    return _joined(nodes, xs, d, "concatenate")


def concatenate_cols(xs: list[Expression] | Any) -> Expression:
    """Columns (vectors or matrices with as many rows) side by side, as one matrix.

    Raises:
        TypeError: If it is no list of expressions.
        ValueError: If it is empty, or the columns differ in length.
    """
    if type(xs) is list and xs and isinstance(xs[0], Expression):
        kinds = _STACKS if len(type_of(xs[0]).shape) == 1 else _CONCATENATIONS
        found = listed(kinds, xs, [1])
        if found is not None:
            return found
    return _joined(nodes_of(xs, "concatenate_cols"), xs, 1, "concatenate_cols")


def _joined(nodes: list[Node], xs: list[Expression], d: int, name: str) -> Expression:
    rank = len(nodes[0].shape)
    alike = True
    for node in nodes:
        if len(node.shape) != rank:
            alike = False
    try:
        if alike and d < rank:
            joined = ops.concatenate(nodes, d)
        elif alike and d == rank and len(nodes) > 1:
            joined = ops.stack(nodes, d)
        else:
            joined = _join_padded(nodes, d)
    except ValueError:
        raise _mismatch(
            xs,
            name,
            f"all dimensions but number {d} must be equal, and the batch sizes equal or 1",
        ) from None
    return wrap(joined)


def _join_padded(nodes: list[Node], d: int) -> Node:
    """The nodes joined, after each got the dimensions of 1 that it lacks."""
    rank = max(len(nodes[0].shape), d + 1)
    return ops.concatenate([_with_rank(node, rank) for node in nodes], d)


def concatenate_to_batch(xs: list[Expression] | Any) -> Expression:
    """The examples of all expressions as one batch.

    Raises:
        TypeError: If it is no list of expressions.
        ValueError: If it is empty, or the dimensions differ.
    """
    nodes = nodes_of(xs, "concatenate_to_batch")
    if len(nodes) == 1:
        return wrap(nodes[0])
    shape = nodes[0].shape
    if any(node.shape != shape for node in nodes):
        raise _mismatch(xs, "concatenate_to_batch", "all must have the same dimensions")
    return wrap(rebatch(nodes))


def affine_transform(exprs: list[Expression] | Any) -> Expression:
    """``b + W x + W2 x2 + ...``

    Args:
        exprs: The list ``[b, W, x, W2, x2, ...]``. Where the x are matrices, a vector b is added to
            each column.

    Raises:
        TypeError: If it is no list of expressions.
        ValueError: If it is empty or of even length, or the dimensions do not go together.
    """
    found = listed(_AFFINES, exprs, [])
    if found is not None:
        shape = type_of(found).shape
        if len(shape) == 2 and shape[1] == 1:
            return wrap(reshaped(found.node, shape[:1]))
        return found
    nodes = nodes_of(exprs, "affine_transform")
    if len(nodes) % 2 == 0:
        raise ValueError(
            f"affine_transform: got a list of {len(nodes)}; it takes [b, W, x], and further pairs "
            "W2, x2"
        )
    if len(nodes) == 1:
        return wrap(nodes[0])
    try:
        node = affine(*nodes)
    except ValueError:
        try:
            node = affine(*_plain(nodes))
        except ValueError:
            raise _mismatch(
                exprs,
                "affine_transform",
                "of each pair W, x the columns of W must be as many as the rows of x, all products "
                "W x must have the same dimensions, and b too, or be a vector of as many rows",
            ) from None
    shape = node.tape.kinds[node.index].type.shape
    if len(shape) == 2 and shape[1] == 1:
        node = reshaped(node, shape[:1])
    return wrap(node)


def _plain(nodes: list[Node]) -> list[Node]:
    """Weights as matrices; the bias and the inputs without a second dimension of 1."""
    plain = []
    for k, node in enumerate(nodes):
        shape = node.shape
        if k % 2:
            plain.append(_with_rank(node, 2))
        elif len(shape) == 2 and shape[1] == 1:
            plain.append(reshaped(node, shape[:1]))
        else:
            plain.append(node)
    return plain


def _with_rank(node: Node, rank: int) -> Node:
    """A node with this many dimensions, if those that go or come are 1."""
    shape = node.shape
    if len(shape) < rank:
        return reshaped(node, shape + (1,) * (rank - len(shape)))
    if len(shape) > rank and all(n == 1 for n in shape[rank:]):
        return reshaped(node, shape[:rank])
    return node


def _mismatch(xs: list[Expression], name: str, rule: str) -> ValueError:
    listing = " ".join(show(x) for x in xs[:8]) + (" ..." if len(xs) > 8 else "")
    return ValueError(f"{name}: mismatched dimensions {listing}; {rule}")
