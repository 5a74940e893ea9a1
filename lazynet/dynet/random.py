"""Random inputs, noise and dropout.

New numbers are drawn for every node, and drawn anew when a value is recalculated.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from lazynet.dynet.arithmetic import dimension, inside
from lazynet.dynet.common import check_size, number, positive
from lazynet.dynet.expression import Expression, apply, checked, wrap
from lazynet.graph import Expression as Node
from lazynet.graph import record
from lazynet.inputs import constant
from lazynet.kinds import FLOAT32, Shape
from lazynet.ops.elementwise import ready
from lazynet.ops.random import (
    Dropout,
    GumbelSample,
    MaskSample,
    Noise,
    NormalSample,
    UniformSample,
)
from lazynet.randomness import next_key

_normal = lru_cache(maxsize=1024)(NormalSample)
_uniform = lru_cache(maxsize=1024)(UniformSample)
_gumbel = lru_cache(maxsize=1024)(GumbelSample)
_mask = lru_cache(maxsize=1024)(MaskSample)


@lru_cache(maxsize=1024)
def _noise(std: float) -> Noise:
    return ready(Noise(std))


@lru_cache(maxsize=1024)
def _dropout(p: float, tied: Shape) -> Dropout:
    return ready(Dropout(p, tied))


def _sample(kind: Any, dim: Any, batch_size: Any, name: str, *settings: float) -> Node:
    """A node of random numbers."""
    if type(dim) is tuple:
        shape = tuple([n if type(n) is int and n >= 0 else _size(n, name) for n in dim])
        if not shape:
            raise ValueError(f"{name}: got no dimensions; those of a scalar are (1,)")
    else:
        shape = (dim if type(dim) is int and dim >= 0 else _size(dim, name),)
    rows = -1 if batch_size == 1 else positive(batch_size, name, "batch_size")
    check_size(math.prod(shape) * abs(rows), name)
    return record(kind(shape, FLOAT32, *settings), (), next_key(), rows)


def _size(value: Any, name: str) -> int:
    try:
        return dimension(value, f"{name}: dim")
    except OverflowError:
        raise ValueError(
            f"{name}: got the size {value}; it cannot be negative, or more than 2^32 - 1"
        ) from None


def random_normal(
    dim: Any, mean: float | Any = 0.0, stddev: float | Any = 1.0, batch_size: int | Any = 1
) -> Expression:
    """Independent normal numbers.

    Args:
        dim: Dimensions of one example, a tuple or a number.
        mean: Their mean.
        stddev: Their standard deviation.
        batch_size: Number of examples.
    """
    node = _sample(_normal, dim, batch_size, "random_normal")
    return _moved(node, stddev, mean, "random_normal", "stddev", "mean")


def random_bernoulli(
    dim: Any, p: float | Any, scale: float | Any = 1.0, batch_size: int | Any = 1
) -> Expression:
    """Independent numbers that are `scale` with probability p, and 0 else.

    Args:
        dim: Dimensions of one example, a tuple or a number.
        p: The probability; what is below 0 counts as 0, what is above 1 as 1.
        scale: What the numbers are if not 0.
        batch_size: Number of examples.
    """
    name = "random_bernoulli"
    settings = number(p, name, "p"), number(scale, name, "scale")
    return wrap(_sample(_mask, dim, batch_size, name, *settings))


def random_uniform(
    dim: Any, left: float | Any, right: float | Any, batch_size: int | Any = 1
) -> Expression:
    """Independent uniform numbers.

    Args:
        dim: Dimensions of one example, a tuple or a number.
        left: Where they begin.
        right: Where they end.
        batch_size: Number of examples.
    """
    name = "random_uniform"
    node = _sample(_uniform, dim, batch_size, name)
    low = number(left, name, "left")
    return _moved(node, number(right, name, "right") - low, low, name, "right - left", "left")


def random_gumbel(
    dim: Any, mu: float | Any = 0.0, beta: float | Any = 1.0, batch_size: int | Any = 1
) -> Expression:
    """Independent Gumbel numbers, mu - beta log(-log(u)) with u uniform between 0 and 1.

    Args:
        dim: Dimensions of one example, a tuple or a number.
        mu: Their location.
        beta: Their scale.
        batch_size: Number of examples.
    """
    node = _sample(_gumbel, dim, batch_size, "random_gumbel")
    return _moved(node, beta, mu, "random_gumbel", "beta", "mu")


def _moved(
    node: Node,
    scale: float | Any,
    offset: float | Any,
    name: str,
    scale_name: str,
    offset_name: str,
) -> Expression:
    if scale != 1:
        node = node * number(scale, name, scale_name)
    if offset != 0:
        node = node + number(offset, name, offset_name)
    return wrap(node)


def noise(x: Expression | Any, stddev: float | Any) -> Expression:
    """x with independent normal noise of this standard deviation added to every element."""
    checked(x, "noise")
    std = number(stddev, "noise", "stddev")
    return x if std == 0 else apply(_noise(std), x, "noise", next_key())


def dropout(x: Expression | Any, p: float | Any) -> Expression:
    """Each element is 0 with probability p, and else multiplied by 1 / (1 - p).

    Args:
        x: The input.
        p: The probability, from 0 to 1.

    Raises:
        ValueError: If p is not in this range.
    """
    checked(x, "dropout")
    return _dropped(x, p, (), "dropout")


def dropout_dim(x: Expression | Any, d: int | Any, p: float | Any) -> Expression:
    """Dropout of all elements along a dimension at once.

    Args:
        x: The input; each example of a minibatch is treated on its own.
        d: The dimension: with 0, a matrix loses whole columns, with 1 whole rows.
        p: The probability, from 0 to 1.

    Raises:
        ValueError: If p is not in this range, or x has no such dimension.
        OverflowError: If the dimension is negative.
    """
    axis = inside(d, checked(x, "dropout_dim").node, "dropout_dim")
    return _dropped(x, p, (axis,), "dropout_dim")


def dropout_batch(x: Expression | Any, p: float | Any) -> Expression:
    """Dropout of whole examples of a minibatch.

    Args:
        x: The input.
        p: The probability, from 0 to 1.

    Raises:
        ValueError: If p is not in this range.
    """
    axes = checked(x, "dropout_batch").node.ndim
    return _dropped(x, p, tuple(range(axes)), "dropout_batch")


def block_dropout(x: Expression | Any, p: float | Any) -> Expression:
    """Dropout of all elements or none; in a minibatch, of each example on its own.

    Args:
        x: The input.
        p: The probability, from 0 to 1.

    Raises:
        ValueError: If p is not in this range.
    """
    axes = checked(x, "block_dropout").node.ndim
    return _dropped(x, p, tuple(range(axes)), "block_dropout")


def _dropped(x: Expression | Any, p: float | Any, tied: Shape, name: str) -> Expression:
    rate = number(p, name, "p")
    if not 0 <= rate <= 1:
        raise ValueError(f"{name}: p: got {p}; a probability lies between 0 and 1")
    if rate == 0:
        return x
    if rate == 1:  # there is no 1 / (1 - p)
        node = x.node
        rows = () if node.batch is None else (node.batch,)
        zeros = np.zeros(rows + node.shape, np.float32)
        return wrap(constant(zeros, batched=node.batch is not None))
    return apply(_dropout(rate, tied), x, name, next_key())
