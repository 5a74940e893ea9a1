"""Normalisation."""

from __future__ import annotations

import numpy as np

import lazynet.ops as ops
from lazynet.dynet.common import misfit
from lazynet.dynet.expression import Expression, aligned, checked, reshaped, show, wrap
from lazynet.errors import ShapeError
from lazynet.graph import record
from lazynet.ops.elementwise import ready
from lazynet.ops.norm import LayerNorm

_LAYER_NORM = ready(LayerNorm(0.0))


def layer_norm(x: Expression, g: Expression, b: Expression) -> Expression:
    """x with mean 0 and variance 1 over all elements of an example, times a gain, plus a bias.

    Where all elements of x are equal, the result is the bias.

    Args:
        x: Any dimensions.
        g: The gain, of the dimensions of x or broadcast to them.
        b: The bias, likewise.

    Raises:
        ValueError: If the dimensions do not fit.
    """
    name = "layer_norm"
    node, gain, bias = checked(x, name).node, checked(g, name).node, checked(b, name).node
    shape = node.shape
    try:
        if len(shape) == 1 and gain.shape == bias.shape == shape:
            return wrap(record(_LAYER_NORM, (node, gain, bias)))
        size = (node.size,)
        flat = reshaped(node, size)
        if gain.shape == bias.shape == shape:
            args = (flat, reshaped(gain, size), reshaped(bias, size))
            return wrap(reshaped(record(_LAYER_NORM, args), shape))
        ones, zeros = np.ones(node.size, np.float32), np.zeros(node.size, np.float32)
        node = reshaped(record(_LAYER_NORM, (flat, ones, zeros)), shape)
        left, right = aligned(node, gain)
        left, right = aligned(left * right, bias)
        return wrap(left + right)
    except ShapeError as error:
        raise misfit(name, error, x, g, b) from None


def weight_norm(w: Expression, g: Expression) -> Expression:
    """w scaled to the length g: g w / |w|; 0 where w is.

    Args:
        w: Any dimensions, usually of a parameter.
        g: A scalar.

    Raises:
        ValueError: If g is no scalar.
    """
    node, gain = checked(w, "weight_norm").node, checked(g, "weight_norm").node
    if gain.shape != (1,):
        if any(n != 1 for n in gain.shape):
            raise ShapeError(f"weight_norm: got a gain of dimensions {show(g)}; it is a scalar")
        gain = reshaped(gain, (1,))
    try:
        return wrap(ops.weight_norm(node, gain))
    except ShapeError as error:
        raise misfit("weight_norm", error, w, g) from None
