"""Normalisation of activations and of weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lazynet.errors import SettingError
from lazynet.graph import Expression, record
from lazynet.kinds import Array, Call, Op, Shape
from lazynet.ops import cuda_linalg
from lazynet.ops.numeric import finite_number, last_sum, quotient


@dataclass(frozen=True)
class LayerNorm(Op):
    """y = gain z + bias, z = (x - mean) / sqrt(var + eps) over the last axis"""

    eps: float
    shares = True
    reads_y = False

    def shape(self, x: Shape, gain: Shape, bias: Shape) -> Shape:
        if not x or x[-1] == 0 or gain != x[-1:] or bias != x[-1:]:
            raise self.fail(
                "gain and bias must be vectors as long as the last axis of x",
                "reshape them",
                x=x,
                gain=gain,
                bias=bias,
            )
        return x

    def normalised(self, x: Array) -> tuple[Array, Array]:
        """z, and 1 / sqrt(var + eps) with a last axis of length 1."""
        n = x.dtype.type(x.shape[-1])
        z = x - last_sum(x)[..., None] / n
        scale = last_sum(z * z)[..., None] / n
        scale += x.dtype.type(self.eps)
        np.sqrt(scale, out=scale)
        if self.eps:
            np.reciprocal(scale, out=scale)
        else:
            scale = _reciprocal(scale, x)
        z *= scale
        return z, scale

    def forward(self, call: Call, x: Array, gain: Array, bias: Array) -> Any:
        if type(x) is not np.ndarray:
            return cuda_linalg.layer_norm(call, x, gain, bias, self.eps)
        z, _ = self.normalised(x)
        ndim = x.ndim if call.shared[0] else x.ndim - 1
        y = np.multiply(z, _along_rows(gain, call.shared[1], ndim), out=call.out)
        y += _along_rows(bias, call.shared[2], ndim)
        return y

    def backward(
        self, call: Call, dy: Array, y: Array, x: Array, gain: Array, bias: Array
    ) -> tuple[Any, Any, Any]:
        if type(dy) is not np.ndarray:
            return cuda_linalg.layer_norm_back(call, dy, x, gain)
        need_x, need_gain, need_bias = call.needs
        dx = dgain = dbias = None
        if need_x or need_gain:
            z, scale = self.normalised(x)
        if need_x:
            n = x.dtype.type(x.shape[-1])
            dz = dy * _along_rows(gain, call.shared[1], dy.ndim - 1)
            dx = dz - z * (last_sum(dz * z) / n)[..., None]
            dx -= (last_sum(dz) / n)[..., None]
            dx *= scale
            if call.shared[0]:
                dx = dx.sum(axis=0)
        if need_gain:
            dgain = _to_vector(dy * z, call.shared[1])
        if need_bias:
            dbias = _to_vector(dy, call.shared[2])
        return dx, dgain, dbias


def _reciprocal(deviation: Array, x: Array) -> Array:
    """1 / deviation, and 0 where all elements are equal, of which rounding may leave some."""
    first = x[..., :1]
    if (deviation <= x.dtype.type(1e-4) * np.abs(first)).any():
        deviation = np.where((x == first).all(axis=-1, keepdims=True), 0, deviation)
    return quotient(np.ones_like(deviation), deviation)


def _along_rows(vector: Array, shared: bool, ndim: int) -> Array:
    """A vector per row, or one for all, to broadcast against rows of `ndim` example axes."""
    if shared or ndim == 1:
        return vector
    return vector.reshape(len(vector), *(1,) * (ndim - 1), vector.shape[-1])


def _to_vector(d: Array, shared: bool) -> Array:
    """The sum over all axes but the last, and but the rows where each has its own vector."""
    if shared:
        flat = d.reshape(-1, d.shape[-1])
        return np.ones(len(flat), d.dtype) @ flat
    return d.sum(axis=tuple(range(1, d.ndim - 1))) if d.ndim > 2 else d


@dataclass(frozen=True)
class WeightNorm(Op):
    """y = g w / ||w||, dw = g / ||w|| (dy - u (u . dy)), dg = u . dy, u = w / ||w||; 0 for w = 0"""

    reads_y = False

    def shape(self, w: Shape, g: Shape) -> Shape:
        if g not in ((), (1,)):
            raise self.fail("g must be a scalar", "give the length of w as one number", w=w, g=g)
        return w

    def forward(self, call: Call, w: Array, g: Array) -> Array:
        if type(w) is not np.ndarray:
            return cuda_linalg.weight_norm(call, w, g)
        unit, _ = self.unit(w)
        unit *= g.reshape(-1, 1)
        return unit.reshape(w.shape)

    def unit(self, w: Array) -> tuple[Array, Array]:
        """u as a vector, and ||w|| with an axis of length 1."""
        flat = w.reshape(len(w), w.size // max(1, len(w)))
        length = np.sqrt(last_sum(flat * flat))[:, None]
        return quotient(flat, length), length

    def backward(self, call: Call, dy: Array, y: Array, w: Array, g: Array) -> tuple[Any, Any]:
        if type(w) is not np.ndarray:
            return cuda_linalg.weight_norm_back(dy, w, g)
        unit, length = self.unit(w)
        dy = dy.reshape(unit.shape)
        along = last_sum(unit * dy)
        dw = None
        if call.needs[0]:
            across = (dy - unit * along[:, None]) * g.reshape(-1, 1)
            dw = quotient(across, length).reshape(w.shape)
        return dw, along.reshape(g.shape)


_WEIGHT_NORM = WeightNorm()
_layer_norm_op = lru_cache(maxsize=1024)(LayerNorm)


def layer_norm(x: Any, gain: Any, bias: Any, eps: float = 1e-5) -> Expression:
    """Normalise the last axis to mean 0 and variance 1, then scale and shift it.

    Args:
        x: Shape (..., n).
        gain: Shape (n,).
        bias: Shape (n,).
        eps: Added to the variance (of the population), 0 or more. With 0, an x of equal elements
            gives the bias, and has no gradient.

    Returns:
        An expression of the shape of x: gain (x - mean) / sqrt(var + eps) + bias.

    Raises:
        ShapeError: If gain and bias do not fit the last axis.
        SettingError: If eps is negative or not finite.

    Source: J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", 2016.

    >>> import lazynet as ln
    >>> ln.layer_norm(ln.constant([1.0, 3.0]), [1, 1], [0, 10], eps=0).value().tolist()
    [-1.0, 11.0]
    """
    value = finite_number("layer_norm: eps", eps)
    if value < 0:
        raise SettingError(f"layer_norm: eps is {eps!r}; it must be 0 or more")
    return record(_layer_norm_op(value), (x, gain, bias))


def weight_norm(w: Any, g: Any) -> Expression:
    """A weight as its direction and its length: g w / ||w||, with the norm of the whole array.

    Where w is all zeros, the result and its gradients are 0.

    Args:
        w: Direction, any shape.
        g: Length, a scalar or a vector of one element.

    Returns:
        An expression of the shape of w. Made of parameters it is a shared weight itself.

    Raises:
        ShapeError: If g is no scalar.

    Source: T. Salimans, D. P. Kingma, "Weight normalization", 2016.

    >>> import lazynet as ln
    >>> ln.weight_norm(ln.constant([3.0, 4.0]), 10.0).value().tolist()
    [6.0, 8.0]
    """
    return record(_WEIGHT_NORM, (w, g))


__all__ = ["LayerNorm", "WeightNorm", "layer_norm", "weight_norm"]
