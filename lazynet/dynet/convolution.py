"""Convolution and pooling. The dimensions of an image are height, width, channels."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from lazynet.dynet.arithmetic import inside
from lazynet.dynet.common import misfit, positive
from lazynet.dynet.expression import Expression, checked, reshaped, short, show, wrap
from lazynet.errors import ShapeError
from lazynet.graph import Expression as Node
from lazynet.graph import record, unary
from lazynet.kinds import Shape
from lazynet.ops.conv import Conv2d, KMaxPool, MaxPool
from lazynet.ops.elementwise import ready
from lazynet.ops.products import circular_convolution, circular_correlation, window_sum
from lazynet.ops.reduce import Sum
from lazynet.ops.shape import Transpose

_TRANSPOSE = ready(Transpose((1, 0)))
_ONE: Shape = (1, 1)


@lru_cache(maxsize=1024)
def _conv2d(stride: Shape, padding: str) -> Conv2d:
    return ready(Conv2d(stride, padding))


@lru_cache(maxsize=1024)
def _max_pool(stride: Shape, padding: str, size: Shape) -> MaxPool:
    return ready(MaxPool(stride, padding, size))


@lru_cache(maxsize=1024)
def _k_max_pool(k: int, axis: int) -> KMaxPool:
    return ready(KMaxPool(k, axis))


@lru_cache(maxsize=1024)
def _sum_folds(count: int) -> Sum:
    return ready(Sum((1,), (count,)))


def conv2d(x: Expression, f: Expression, stride: list[int], is_valid: bool = True) -> Expression:
    """Convolution of images with filters.

    Args:
        x: Dimensions (height, width, channels in); without channels, there is one.
        f: Dimensions (height, width, channels in, channels out).
        stride: Distance between places, of rows and of columns.
        is_valid: Whether the filters stay inside the image; else it is padded with zeros, so that
            there are ceil(length / stride) places.

    Returns:
        An expression of dimensions (rows, columns, channels out).

    Raises:
        ValueError: If the dimensions do not fit, or the stride is not two numbers above 0.
    """
    a, filters = checked(x, "conv2d").node, checked(f, "conv2d").node
    op = _conv2d(_pair(stride, "conv2d", "stride"), "valid" if is_valid else "same")
    try:
        return wrap(record(op, (_image(a), filters)))
    except ShapeError as error:
        raise misfit("conv2d", error, x, f) from None


def conv2d_bias(
    x: Expression, f: Expression, b: Expression, stride: list[int], is_valid: bool = True
) -> Expression:
    """Convolution of images with filters, and a bias for each of these.

    Args:
        x: Dimensions (height, width, channels in); without channels, there is one.
        f: Dimensions (height, width, channels in, channels out).
        b: Dimensions (channels out,).
        stride: Distance between places, of rows and of columns.
        is_valid: Whether the filters stay inside the image; else it is padded with zeros, so that
            there are ceil(length / stride) places.

    Returns:
        An expression of dimensions (rows, columns, channels out).

    Raises:
        ValueError: If the dimensions do not fit, or the stride is not two numbers above 0.
    """
    name = "conv2d_bias"
    a, filters, bias = checked(x, name).node, checked(f, name).node, checked(b, name).node
    op = _conv2d(_pair(stride, name, "stride"), "valid" if is_valid else "same")
    try:
        return wrap(record(op, (_image(a), filters, bias)))
    except ShapeError as error:
        raise misfit(name, error, x, f, b) from None


def maxpooling2d(
    x: Expression, ksize: list[int], stride: list[int], is_valid: bool = True
) -> Expression:
    """The greatest element in each window of an image.

    Args:
        x: Dimensions (height, width, channels) or (height, width).
        ksize: Height and width of the window.
        stride: Distance between windows, of rows and of columns.
        is_valid: Whether the windows stay inside the image; else there are ceil(length / stride)
            of them.

    Returns:
        An expression of dimensions (rows, columns, channels), or (rows, columns).

    Raises:
        ValueError: If x has other dimensions or is smaller than the window, or size or stride are
            not two numbers above 0. Where elements are equal, the first one has the gradient.
    """
    name = "maxpooling2d"
    node = checked(x, name).node
    size, steps = _pair(ksize, name, "ksize"), _pair(stride, name, "stride")
    op = _max_pool(steps, "valid" if is_valid else "same", size)
    try:
        pooled = unary(op, _image(node))
        return wrap(pooled if node.ndim == 3 else reshaped(pooled, pooled.shape[:2]))
    except ShapeError as error:
        raise misfit(name, error, x) from None


def _image(node: Node) -> Node:
    shape = node.shape
    return reshaped(node, (*shape, 1)) if len(shape) == 2 else node


def _pair(value: Any, name: str, role: str) -> Shape:
    """Two whole numbers above 0, in a list, tuple or array."""
    if type(value) is list and value == [1, 1]:
        return _ONE
    try:
        numbers = tuple(value)
    except TypeError:
        raise TypeError(f"{name}: {role}: got {short(value)}; it takes a list of two") from None
    if len(numbers) != 2:
        raise ValueError(
            f"{name}: {role}: got {short(value)}; it takes two numbers, for rows and for columns"
        )
    return tuple([positive(n, name, role) for n in numbers])


def filter1d_narrow(x: Expression, y: Expression) -> Expression:
    """Each filter's sum of products with every window of a sequence of columns.

    Args:
        x: Dimensions (rows, length).
        y: Dimensions (rows, width, filters); without the last, there is one filter.

    Returns:
        An expression of dimensions (filters, length - width + 1).

    Raises:
        ValueError: If the dimensions are others, or the length is below the width.
    """
    name = "filter1d_narrow"
    a, f = checked(x, name).node, checked(y, name).node
    if a.ndim != 2 or f.ndim not in (2, 3) or a.shape[0] != f.shape[0]:
        raise ShapeError(
            f"{name}: got {show(x)} and {show(y)}; it takes a matrix, and filters with as many rows"
        )
    rows, width, *more = f.shape
    count = more[0] if more else 1
    filters = reshaped(f, (rows, width, 1, count))
    try:
        result = record(_conv2d(_ONE, "valid"), (_image(a), filters))
    except ShapeError as error:
        raise misfit(name, error, x, y) from None
    places = result.shape[1]
    if count == 1:
        return wrap(reshaped(result, (1, places)))
    return wrap(unary(_TRANSPOSE, reshaped(result, (places, count))))


def fold_rows(x: Expression, nrows: int = 2) -> Expression:
    """The sum of every `nrows` consecutive rows.

    Args:
        x: Dimensions (rows, columns) or (rows,), `nrows` of which are folded into one.
        nrows: How many; it must divide the rows.

    Returns:
        An expression of dimensions (rows / nrows, columns).

    Raises:
        ValueError: If x has more dimensions, or `nrows` does not divide the rows.
    """
    node = checked(x, "fold_rows").node
    count = positive(nrows, "fold_rows", "nrows")
    rows, *columns = node.shape
    if len(columns) > 1 or rows % count:
        raise ShapeError(
            f"fold_rows: got {show(x)} and nrows = {count}; it takes a matrix whose rows are a "
            "multiple of nrows"
        )
    width = columns[0] if columns else 1
    folds = reshaped(node, (rows // count, count, width))
    return wrap(unary(_sum_folds(count), folds))


def kmax_pooling(x: Expression, k: int, d: int = 1) -> Expression:
    """The k greatest elements along a dimension, in their order.

    Args:
        x: Any dimensions.
        k: How many, from 1 to the length of the dimension.
        d: The dimension.

    Returns:
        An expression of the dimensions of x, with k in place of that one.

    Raises:
        ValueError: If x has no such dimension, or it is shorter than k.
        OverflowError: If k or d is negative.
    """
    node = checked(x, "kmax_pooling").node
    count, axis = positive(k, "kmax_pooling", "k"), inside(d, node, "kmax_pooling")
    try:
        return wrap(unary(_k_max_pool(count, axis), node))
    except ShapeError as error:
        raise misfit("kmax_pooling", error, x) from None


def kmh_ngram(x: Expression, v: int) -> Expression:
    """The sum of every v consecutive columns.

    Args:
        x: Dimensions (rows, columns).
        v: How many, from 1 to the number of columns.

    Returns:
        An expression of dimensions (rows, columns - v + 1).

    Raises:
        ValueError: If x is no matrix, or has fewer columns.
    """
    node = checked(x, "kmh_ngram").node
    count = positive(v, "kmh_ngram", "v")
    if node.ndim != 2:
        raise ShapeError(f"kmh_ngram: got {show(x)}; it takes a matrix")
    try:
        return wrap(window_sum(node, count))
    except ShapeError as error:
        raise misfit("kmh_ngram", error, x) from None


def circ_conv(u: Expression, v: Expression) -> Expression:
    """Circular convolution of two vectors: y_k = sum_i u_i v_{(k - i) mod n}.

    Args:
        u: Dimensions (n,).
        v: Dimensions (n,).

    Raises:
        ValueError: If they are no vectors of one length.
    """
    a, b = checked(u, "circ_conv").node, checked(v, "circ_conv").node
    try:
        return wrap(circular_convolution(a, b))
    except ShapeError as error:
        raise misfit("circ_conv", error, u, v) from None


def circ_corr(u: Expression, v: Expression) -> Expression:
    """Circular correlation of two vectors: y_k = sum_i u_i v_{(i + k) mod n}.

    Args:
        u: Dimensions (n,).
        v: Dimensions (n,).

    Raises:
        ValueError: If they are no vectors of one length.
    """
    a, b = checked(u, "circ_corr").node, checked(v, "circ_corr").node
    try:
        return wrap(circular_correlation(a, b))
    except ShapeError as error:
        raise misfit("circ_corr", error, u, v) from None
