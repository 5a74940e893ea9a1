"""Maps to probabilities, and the cross entropy of a class."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.dynet.arguments import natural, place, places
from lazynet.dynet.expression import Expression, apply, checked, short, show, type_of, wrap
from lazynet.graph import Expression as Node
from lazynet.graph import pair, record, unary
from lazynet.kinds import INT64, Op
from lazynet.ops.columns import reshape_op
from lazynet.ops.elementwise import ready
from lazynet.ops.softmax import (
    ConstrainedSoftmax,
    LogSoftmax,
    RestrictedLogSoftmax,
    Softmax,
    Sparsemax,
)
from lazynet.ops.vector_loss import SingleCrossEntropy

_SOFTMAX = [ready(Softmax(axis)) for axis in range(7)]
_LOG_SOFTMAX = ready(LogSoftmax(0))
_SPARSEMAX = ready(Sparsemax(0))
_RESTRICTED = ready(RestrictedLogSoftmax())
_CONSTRAINED = ready(ConstrainedSoftmax())
_CROSS_ENTROPY = ready(SingleCrossEntropy())


def softmax(x: Expression | Any, d: int | Any = 0) -> Expression:
    """Exponentials along one dimension, divided by their sum.

    Args:
        x: Any expression; usually a vector, or a matrix whose columns are normalised.
        d: The dimension along which the result adds up to 1.

    Returns:
        An expression of the same dimensions.

    Raises:
        ValueError: If there is no such dimension.
        OverflowError: If it is negative.
    """
    axes = len(type_of(checked(x, "softmax")).shape)
    if type(d) is not int or not 0 <= d < axes:
        d = natural(d, "softmax", "dimension")
        if d >= axes:
            raise ValueError(
                f"softmax: got dimension {d} of {show(x)}; it must be less than {axes}"
            )
    return apply(_SOFTMAX[d], x, "softmax")


def log_softmax(x: Expression | Any, restrict: list[int] | Any | None = None) -> Expression:
    """Logarithm of the softmax along the first dimension.

    Args:
        x: Any expression; with `restrict` a vector.
        restrict: Numbers of the entries that take part; the others are minus infinity. Different
            restrictions are one batch.

    Returns:
        An expression of the same dimensions.

    Raises:
        TypeError: If `restrict` is no list of numbers.
        ValueError: If it is empty, or an entry is out of range.
        OverflowError: If one is negative.
    """
    if restrict is None:
        return apply(_LOG_SOFTMAX, x, "log_softmax")
    node = checked(x, "log_softmax").node
    if not isinstance(restrict, list):
        raise TypeError(f"log_softmax: got {short(restrict)} for restrict; it takes a list")
    flat = vector_of(x, "log_softmax with restrict")
    mask = np.zeros(flat.shape, INT64)
    allowed = places(restrict, len(mask), "log_softmax")
    if not len(allowed):
        raise ValueError("log_softmax: got an empty list for restrict; it takes at least one entry")
    mask[allowed] = 1
    return _shaped(unary(_RESTRICTED, flat, mask), node)


def sparsemax(x: Expression | Any) -> Expression:
    """The probabilities nearest to a vector in Euclidean distance: many are exactly 0.

    Args:
        x: A vector.

    Returns:
        An expression of the same dimensions.

    Raises:
        ValueError: If x is no vector.

    Source: A. F. T. Martins, R. F. Astudillo, "From softmax to sparsemax", 2016.
    """
    node = checked(x, "sparsemax").node
    vector_of(x, "sparsemax")
    return wrap(unary(_SPARSEMAX, node))


def constrained_softmax(x: Expression | Any, y: Expression | Any) -> Expression:
    """A softmax whose entries do not exceed given bounds.

    Args:
        x: Scores, a vector.
        y: The greatest value of each entry, a vector of as many.

    Returns:
        A vector; the entries at their bound are constant, the others share the rest.

    Raises:
        ValueError: If they are no vectors of one length.

    Source: A. F. T. Martins, J. Kreutzer, "Learning what's easy: fully differentiable neural
    easy-first taggers", 2017.
    """
    node = checked(x, "constrained_softmax").node
    checked(y, "constrained_softmax")
    a, b = vector_of(x, "constrained_softmax"), vector_of(y, "constrained_softmax")
    if a.shape != b.shape:
        raise ValueError(
            f"constrained_softmax: got scores {show(x)} and bounds {show(y)}; both must have the "
            "same dimensions"
        )
    same_batch(a, b, "constrained_softmax")
    return _shaped(recorded(_CONSTRAINED, a, b), node)


def pickneglogsoftmax(x: Expression | Any, v: int | Any) -> Expression:
    """The negative logarithm of the softmax at one entry, the cross entropy of a class.

    Args:
        x: Scores, a vector, a single example.
        v: Number of the entry, from 0. All classes are one batch.

    Returns:
        A scalar.

    Raises:
        ValueError: If x is no vector or a batch, or there is no such entry.
        OverflowError: If the number is negative.
        TypeError: If it is no number.
    """
    x = vector(x, "pickneglogsoftmax")
    n = type_of(x).shape[0]
    if type(v) is not int or not 0 <= v < n:
        v = place(v, n, "pickneglogsoftmax", "class")
    if batched(x):
        raise single_index(x, "pickneglogsoftmax")
    return apply(_CROSS_ENTROPY, x, "pickneglogsoftmax", v)


def pickneglogsoftmax_batch(x: Expression | Any, vs: list[int] | Any) -> Expression:
    """`pickneglogsoftmax` of every example.

    Args:
        x: Scores, a batch of vectors.
        vs: Number of the entry for each example, from 0.

    Returns:
        A batch of scalars.

    Raises:
        ValueError: If x is no vector, there are not as many as examples, or one is out of range.
        OverflowError: If one is negative.
        TypeError: If they are no list of numbers.
    """
    checked(x, "pickneglogsoftmax_batch")
    node = vector_of(x, "pickneglogsoftmax_batch")
    return wrap(unary(_CROSS_ENTROPY, node, classes_of(node, vs, "pickneglogsoftmax_batch")))


# Shared with the losses


def classes_of(node: Node, vs: Any, name: str) -> Any:
    """The classes of the examples of a batch of vectors, as a payload."""
    classes = places(vs, node.shape[0], name, "class")
    batch = node.batch
    if len(classes) != (batch or 1):
        raise ValueError(
            f"{name}: got {len(classes)} classes for a batch of {batch or 1}; it takes one for "
            "each example"
        )
    return int(classes[0]) if batch is None else classes


def same_batch(a: Node, b: Node, name: str) -> None:
    """Check that two nodes are batches of one size, or one of them is a single example.

    Raises:
        ValueError: If they are not.
    """
    m, n = a.batch, b.batch
    if m != n and m is not None and n is not None:
        raise ValueError(
            f"{name}: got batches of {m} and {n} examples; both must have as many, or one must be "
            "single"
        )


def single_index(x: Expression, name: str) -> ValueError:
    """The error for one class and a batch."""
    return ValueError(
        f"{name}: got one class for {show(x)}, a batch; use {name}_batch, which takes one for each "
        "example"
    )


def vector(x: Any, name: str) -> Expression:
    """An argument that is a vector; dimensions of length 1 behind the first are dropped.

    Raises:
        TypeError: If it is no expression.
        ValueError: If it is no vector.
    """
    found = checked(x, name)
    return found if len(type_of(found).shape) == 1 else wrap(vector_of(found, name))


def batched(x: Expression) -> bool:
    """Whether it has several examples."""
    return x.node.batch is not None if x.at < 0 else x.tape.rows[x.at] != -1


def vector_of(x: Expression, name: str) -> Node:
    """The node of a vector; dimensions of length 1 behind the first are dropped.

    Raises:
        ValueError: If x is no vector.
    """
    node = x.node
    shape = node.shape
    if len(shape) == 1:
        return node
    if any(n != 1 for n in shape[1:]):
        raise ValueError(f"{name}: got an expression of dimensions {show(x)}; it takes a vector")
    return unary(reshape_op(shape, shape[:1]), node)


def _shaped(result: Node, like: Node) -> Expression:
    """A vector with the dimensions of length 1 that another one has."""
    shape = like.shape
    return wrap(result if len(shape) == 1 else unary(reshape_op(shape[:1], shape), result))


def recorded(op: Op, a: Node, b: Node) -> Node:
    """A node of two arguments."""
    e = pair(op, a, b)
    return record(op, (a, b)) if e is None else e
