"""Sums and maxima over the last axis or over segments of rows, at the speed NumPy can reach.

`np.add.reduce` and `np.maximum.reduce` over a short last axis, and `reduceat` over rows that are
wider than one number, cost 3 to 10 times what the same reduction costs as a product or by argmax.
"""

from __future__ import annotations

import math
import operator
from functools import lru_cache
from typing import Any

import numpy as np

from lazynet.backend import segment_max, segment_sum
from lazynet.errors import ArgumentError, SettingError
from lazynet.kinds import Array, Call, is_expression

_LONGEST_PRODUCT = 1 << 16
"""Longer sums go to `np.add`, which adds pairwise and keeps the digits."""
_ROWS_PER_LENGTH = 150
"""Rows for each distinct length of a segment from which it pays to go through the lengths."""


@lru_cache(maxsize=256)
def _ones(n: int, dtype: np.dtype[Any]) -> Array:
    ones = np.ones(n, dtype)
    ones.flags.writeable = False
    return ones


def last_sum(x: Array) -> Array:
    """Sum over the last axis."""
    n = x.shape[-1]
    if n == 1:
        return x[..., 0]
    if n > _LONGEST_PRODUCT:
        return x.sum(axis=-1)  # type: ignore[no-any-return]
    total: Array = np.dot(x, _ones(n, x.dtype)) if x.ndim == 2 else x @ _ones(n, x.dtype)
    return total


def last_max(x: Array) -> Array:
    """Maximum over the last axis."""
    if x.shape[-1] == 1:
        return x[..., 0]
    return select_last(x, x.argmax(axis=-1))


def select_last(x: Array, index: Array) -> Array:
    """``x[..., index[...]]``"""
    flat = x.reshape(-1, x.shape[-1])
    return flat[np.arange(len(flat)), index.reshape(-1)].reshape(index.shape)


def finite(top: Array) -> Array:
    """Maxima to subtract before `exp`, with 0 for infinite ones: inf - inf is no number."""
    known = np.isfinite(top)
    return top if known.all() else np.where(known, top, top.dtype.type(0))


def exp_difference(x: Array, y: Array) -> Array:
    """exp(x - y) for y = logsumexp(x): 0 where all x are -inf, 1 where x and y are +inf."""
    z = np.subtract(x, y)
    np.exp(z, out=z)
    if not np.isfinite(y).all():
        z = np.where(np.isinf(y), (x == y) & (y > 0), z).astype(x.dtype)
    return z


def quotient(a: Array, b: Array) -> Array:
    """a / b, and 0 where b = 0."""
    zero = b == 0
    if not zero.any():
        return np.divide(a, b)
    return np.where(zero, a.dtype.type(0), a / np.where(zero, b.dtype.type(1), b))


def segments_of(call: Call) -> Array:
    """The offsets that calls of segmented and n-ary ops carry."""
    assert call.segments is not None
    return call.segments


def spread(values: Array, offsets: Array) -> Array:
    """For every row the entry of `values` that belongs to its segment."""
    if len(offsets) == 2:
        return np.broadcast_to(values, (int(offsets[1]), *values.shape[1:]))
    return np.repeat(values, np.diff(offsets), axis=0)


def sum_segments(x: Array, offsets: Array) -> Array:
    """Sum of the rows of each segment; 0 for an empty one."""
    return _reduce(x, offsets, False)


def max_segments(x: Array, offsets: Array) -> Array:
    """Maximum of the rows of each segment; -inf for an empty one."""
    return _reduce(x, offsets, True)


def _reduce(x: Array, offsets: Array, greatest: bool) -> Array:
    lengths = np.diff(offsets)
    nodes = len(lengths)
    if nodes and len(x) and (lengths == lengths[0]).all():
        return _equal(x, nodes, int(lengths[0]), greatest)
    if x.size > len(x):
        distinct = np.unique(lengths)
        if len(x) > _ROWS_PER_LENGTH * len(distinct):
            result = np.empty((nodes, *x.shape[1:]), x.dtype)
            for length in distinct.tolist():
                which = np.flatnonzero(lengths == length)
                if length == 0:
                    result[which] = -np.inf if greatest else 0
                else:
                    rows = (offsets[which][:, None] + np.arange(length)).reshape(-1)
                    result[which] = _equal(x[rows], len(which), length, greatest)
            return result
    return segment_max(x, offsets) if greatest else segment_sum(x, offsets)


def _equal(x: Array, nodes: int, length: int, greatest: bool) -> Array:
    """The same for segments of one length, 1 or more."""
    shape = (nodes, *x.shape[1:])
    if x.size == len(x):
        flat = x.reshape(nodes, length)
        return (last_max(flat) if greatest else last_sum(flat)).reshape(shape)
    stacked = x.reshape(nodes, length, x.size // max(1, len(x)))
    if not greatest:
        return (_ones(length, x.dtype) @ stacked).reshape(shape)
    if length > 16:
        result: Array = np.maximum.reduce(stacked, axis=1).reshape(shape)
        return result
    result = stacked[:, 0].copy()
    for k in range(1, length):
        np.maximum(result, stacked[:, k], out=result)
    return result.reshape(shape)


def winners(x: Array, y: Array, offsets: Array) -> Array:
    """For each segment and element the first row of x that holds the maximum (or minimum) y."""
    nodes = len(offsets) - 1
    full = spread(y, offsets)
    missing = len(x)
    rows = np.arange(len(x)).reshape((-1,) + (1,) * (x.ndim - 1))
    # an element that is no number is its segment's maximum
    held = np.where((x == full) | (x != x), rows, missing)
    if nodes == 1:
        result: Array = np.minimum.reduce(held, axis=0)[None]
        return result
    return np.minimum.reduceat(held, offsets[:-1], axis=0)


def integer(value: Any) -> int:
    """`operator.index`, which takes booleans and arrays of one integer too: here they are refused.

    Raises:
        TypeError: If it is no integer.
    """
    if isinstance(value, (bool, np.bool_, np.ndarray)):
        raise TypeError(f"{value!r} is no integer")
    return operator.index(value)


def finite_number(role: str, value: Any) -> float:
    """A setting that must be a finite number.

    Raises:
        ArgumentError: If it is no number.
        SettingError: If it is not finite.
    """
    if type(value) is float and math.isfinite(value):
        return value
    number = None
    refused = isinstance(value, (bool, np.bool_, str, bytes)) or is_expression(value)
    if not refused and getattr(value, "ndim", 0) == 0:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = None
    if number is None:
        raise ArgumentError(f"{role} is {value!r}; it must be a number")
    if not math.isfinite(number):
        raise SettingError(f"{role} is {value!r}; it must be finite")
    return number
