"""Products over whole examples: inner product, circular convolution, sums of windows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lazynet.backend.kernels import empty, into
from lazynet.errors import SettingError
from lazynet.graph import Expression, record
from lazynet.inputs import as_expression
from lazynet.kinds import Array, Call, Op, Shape
from lazynet.ops import cuda_linalg, cuda_losses, cuda_windows
from lazynet.ops.elementwise import ready
from lazynet.ops.numeric import integer, last_sum


@dataclass(frozen=True)
class Inner(Op):
    """y_0 = sum_i a_i b_i, over all elements: da = dy_0 b, db = dy_0 a."""

    shares = True
    reads_y = False

    def shape(self, a: Shape, b: Shape) -> Shape:
        if a != b:
            raise self.fail("both arguments must have one shape", "reshape one of them", a, b)
        return (1,)

    def forward(self, call: Call, a: Array, b: Array) -> Array:
        if type(a) is not np.ndarray and not any(call.shared):
            return cuda_losses.pair_loss(call, "a * b", ("b", "a"), a, b, (call.rows, 1))
        left, right = _flat(a, call.shared[0]), _flat(b, call.shared[1])
        if call.shared[0] or call.shared[1]:
            y = left @ right if call.shared[1] else right @ left
        else:
            y = last_sum(left * right)
        return np.broadcast_to(np.reshape(y, (-1, 1)), (call.rows, 1))

    def backward(self, call: Call, dy: Array, y: Array, a: Array, b: Array) -> Any:
        if type(a) is not np.ndarray and not any(call.shared):
            return cuda_losses.pair_loss_back(call, "a * b", ("b", "a"), dy, a, b)
        return (
            _inner_gradient(dy, a, b, *call.shared) if call.needs[0] else None,
            _inner_gradient(dy, b, a, *call.shared[::-1]) if call.needs[1] else None,
        )


def _flat(x: Array, shared: bool) -> Array:
    return x.reshape(-1) if shared else x.reshape(len(x), math.prod(x.shape[1:]))


def _inner_gradient(dy: Array, x: Array, other: Array, shared: bool, other_shared: bool) -> Array:
    factor = _flat(other, other_shared)
    if not shared:
        return (dy * factor).reshape(x.shape)
    return (dy.sum() * factor if other_shared else dy[:, 0] @ factor).reshape(x.shape)


_INNER = ready(Inner())


def inner(a: Any, b: Any) -> Expression:
    """Sum of the products of all elements: the inner product of vectors, Tr(a b^T) of matrices.

    Args:
        a: Any shape.
        b: The same shape.

    Returns:
        An expression of shape (1,).

    Raises:
        ShapeError: If the shapes differ.

    >>> import lazynet as ln
    >>> from lazynet.ops.products import inner
    >>> inner(ln.constant([[1, 2], [3, 4]]), ln.constant([[1, 0], [0, 10]])).value().tolist()
    [41.0]
    """
    return record(_INNER, (a, b))


@dataclass(frozen=True)
class Circular(Op):
    """y_k = sum_i u_i v_{k-i}, or with `correlate` sum_i u_i v_{i+k}, indices modulo the length.

    A convolution is the product of the Fourier transforms; the transform of the first factor of a
    correlation is conjugated.

    Source: T. A. Plate, "Holographic reduced representations", 1995.
    """

    correlate: bool
    reads_y = False

    def shape(self, u: Shape, v: Shape) -> Shape:
        if len(u) != 1 or u != v or not u[0]:
            raise self.fail("both arguments must be vectors of one length", "reshape them", u, v)
        return u

    def forward(self, call: Call, u: Array, v: Array) -> Array:
        if type(u) is not np.ndarray:
            return cuda_linalg.circular(u, v, self.correlate, call.out)
        return _circular(u, v, self.correlate)

    def backward(self, call: Call, dy: Array, y: Array, u: Array, v: Array) -> Any:
        du = dv = None
        if call.needs[0]:
            du = _circular(dy, v, True) if self.correlate else _circular(v, dy, True)
        if call.needs[1]:
            dv = _circular(dy, u, False) if self.correlate else _circular(u, dy, True)
        return du, dv


def _circular(u: Array, v: Array, correlate: bool) -> Array:
    if type(u) is not np.ndarray:
        return cuda_linalg.circular(u, v, correlate)
    first = np.fft.rfft(u)
    if correlate:
        np.conjugate(first, out=first)
    product = np.fft.irfft(first * np.fft.rfft(v), u.shape[-1])
    result: Array = product.astype(u.dtype, copy=False)
    return result


_CONVOLVE = ready(Circular(False))
_CORRELATE = ready(Circular(True))


def circular_convolution(u: Any, v: Any) -> Expression:
    """Circular convolution of two vectors: y_k = sum_i u_i v_{(k - i) mod n}.

    Args:
        u: Vector (n,).
        v: Vector (n,).

    Returns:
        Vector (n,).

    Raises:
        ShapeError: If they are no vectors of one length of at least 1.

    >>> import lazynet as ln
    >>> from lazynet.ops.products import circular_convolution
    >>> y = circular_convolution(ln.constant([0, 1, 0]), ln.constant([1, 2, 3])).value()
    >>> y.round(4).tolist()
    [3.0, 1.0, 2.0]
    """
    return record(_CONVOLVE, (u, v))


def circular_correlation(u: Any, v: Any) -> Expression:
    """Circular correlation of two vectors: y_k = sum_i u_i v_{(i + k) mod n}.

    Args:
        u: Vector (n,).
        v: Vector (n,).

    Returns:
        Vector (n,).

    Raises:
        ShapeError: If they are no vectors of one length of at least 1.

    >>> import lazynet as ln
    >>> from lazynet.ops.products import circular_correlation
    >>> y = circular_correlation(ln.constant([0, 1, 0]), ln.constant([1, 2, 3])).value()
    >>> y.round(4).tolist()
    [2.0, 3.0, 1.0]
    """
    return record(_CORRELATE, (u, v))


@dataclass(frozen=True)
class WindowSum(Op):
    """y_.j = sum_{0 <= k < n} x_.(j+k), along the last axis."""

    n: int
    reads_args = False
    reads_y = False

    def shape(self, x: Shape) -> Shape:
        if not x or x[-1] < self.n:
            raise self.fail(
                f"the last axis must have at least n = {self.n} elements",
                "pad x, or choose a smaller n",
                x=x,
            )
        return (*x[:-1], x[-1] - self.n + 1)

    def forward(self, call: Call, x: Array) -> Array:
        places = x.shape[-1] - self.n + 1
        if type(x) is not np.ndarray:
            return cuda_windows.window_sum(x, self.n, 0, into(call.out, call.out.shape, x.dtype))
        y = x[..., :places].copy()
        for k in range(1, self.n):
            y += x[..., k : k + places]
        return y

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        places = dy.shape[-1]
        shape = (*dy.shape[:-1], places + self.n - 1)
        if type(dy) is not np.ndarray:
            return cuda_windows.window_sum(dy, self.n, self.n - 1, empty(shape, dy.dtype))
        dx = np.zeros(shape, dy.dtype)
        for k in range(self.n):
            dx[..., k : k + places] += dy
        return dx


_window_sum_op = lru_cache(maxsize=1024)(WindowSum)


def window_sum(x: Any, n: int) -> Expression:
    """Sum of every n consecutive elements along the last axis.

    Args:
        x: Shape (..., m).
        n: From 1 to m.

    Returns:
        An expression of shape (..., m - n + 1).

    Raises:
        ShapeError: If the axis is shorter than n.
        SettingError: If n is below 1.

    >>> import lazynet as ln
    >>> from lazynet.ops.products import window_sum
    >>> window_sum(ln.constant([1, 2, 3, 4]), 2).value().tolist()
    [3.0, 5.0, 7.0]
    """
    if integer(n) < 1:
        raise SettingError(f"window_sum: got n = {n!r}; it must be at least 1")
    return record(_window_sum_op(integer(n)), (as_expression(x, "window_sum"),))


__all__ = [
    "Circular",
    "Inner",
    "WindowSum",
    "circular_convolution",
    "circular_correlation",
    "inner",
    "window_sum",
]
