"""Layers without memory: Linear, MLP, LayerNorm, Dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazynet.errors import ArgumentError, SettingError, ShapeError
from lazynet.fuse import fuse
from lazynet.graph import Expression
from lazynet.inputs import as_expression
from lazynet.nn.base import Activation, activation_of, number_of, part_of, probability_of, size_of
from lazynet.ops import affine, dropout, layer_norm
from lazynet.parameters import Model


class Linear:
    """y = W x + b

    Args:
        model: Owns the parameters, in a sub-model "linear": W ``(n_out, n_in)``, b ``(n_out,)``.
        n_in: Length of x.
        n_out: Length of y.
        bias: Whether there is a b; it starts as zeros.
        init: Initialiser of W.

    Called with x of shape ``(n_in,)`` it returns ``(n_out,)``; with a matrix ``(n_in, k)`` it maps
    the columns.

    >>> import lazynet as ln
    >>> layer = ln.nn.Linear(ln.Model(seed=0), 3, 2)
    >>> layer(ln.constant([1.0, 2.0, 3.0])).shape
    (2,)
    """

    def __init__(
        self, model: Model, n_in: int, n_out: int, bias: bool = True, init: Any = "glorot"
    ) -> None:
        self.n_in = size_of(n_in, "Linear: n_in")
        self.n_out = size_of(n_out, "Linear: n_out")
        self.model = part_of(model, "linear", "Linear")
        self.W = self.model.parameter((self.n_out, self.n_in), init=init, name="W")
        self.b = self.model.parameter(self.n_out, init="zeros", name="b") if bias else None

    def __call__(self, x: Any) -> Expression:
        x = as_expression(x, "Linear: x", self.model.dtype)
        if x.ndim not in (1, 2) or x.shape[0] != self.n_in:
            raise ShapeError(
                f"Linear: got x of shape {x.shape}; this layer takes ({self.n_in},) for one "
                f"example, or a matrix of such columns; rows of a matrix go into the batch"
            )
        return self.W @ x if self.b is None else affine(self.b, self.W, x)


class MLP:
    """Linear maps with an activation, and dropout if wanted, between them (not after the last).

    Args:
        model: Owns the parameters, in a sub-model "mlp".
        sizes: Lengths of the input, of every hidden layer and of the output; at least two.
        activation: A function of an expression, or the name of one ("tanh", "relu", ...).
        dropout: Probability of dropping an activation, in training mode.

    >>> import lazynet as ln
    >>> mlp = ln.nn.MLP(ln.Model(seed=0), [4, 8, 3], activation="relu")
    >>> mlp(ln.constant([1.0, 2.0, 3.0, 4.0])).shape
    (3,)
    """

    def __init__(
        self,
        model: Model,
        sizes: Sequence[int],
        activation: str | Activation = "tanh",
        dropout: float = 0.0,
    ) -> None:
        if isinstance(sizes, (str, bytes)) or not hasattr(sizes, "__iter__"):
            raise ArgumentError(f"MLP: got sizes {sizes!r}; it must be a list of whole numbers")
        self.sizes = tuple(size_of(n, "MLP: sizes") for n in sizes)
        if len(self.sizes) < 2:
            raise SettingError(
                f"MLP: got sizes {self.sizes}; there must be at least two, those of the input and "
                "of the output"
            )
        self.activation = activation_of(activation, "MLP")
        self.dropout = probability_of(dropout, "MLP: dropout")
        self.model = part_of(model, "mlp", "MLP")
        self.linears = [
            Linear(self.model, n_in, n_out) for n_in, n_out in zip(self.sizes, self.sizes[1:])
        ]

    def __call__(self, x: Any) -> Expression:
        y: Expression = self._run(as_expression(x, "MLP: x", self.model.dtype))
        return y

    @fuse
    def _run(self, x: Expression) -> Expression:
        for linear in self.linears[:-1]:
            x = self.activation(linear(x))
            if self.dropout:
                x = dropout(x, self.dropout)
        return self.linears[-1](x)


class LayerNorm:
    """y = gain (x - mean) / sqrt(var + eps) + bias, over the last axis.

    Args:
        model: Owns the parameters, in a sub-model "layer_norm": gain and bias, both ``(n,)``.
        n: Length of the last axis.
        eps: Added to the variance.

    Source: J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", 2016.

    >>> import lazynet as ln
    >>> norm = ln.nn.LayerNorm(ln.Model(seed=0), 2, eps=0.0)
    >>> norm(ln.constant([1.0, 3.0])).value().tolist()
    [-1.0, 1.0]
    """

    def __init__(self, model: Model, n: int, eps: float = 1e-5) -> None:
        self.n = size_of(n, "LayerNorm: n")
        self.eps = number_of(eps, "LayerNorm: eps")
        self.model = part_of(model, "layer_norm", "LayerNorm")
        self.gain = self.model.parameter(self.n, init="ones", name="gain")
        self.bias = self.model.parameter(self.n, init="zeros", name="bias")

    def __call__(self, x: Any) -> Expression:
        x = as_expression(x, "LayerNorm: x", self.model.dtype)
        return layer_norm(x, self.gain, self.bias, self.eps)


class Dropout:
    """In training mode, zeros with probability p and everything else times 1 / (1 - p).

    Args:
        p: Probability of dropping, in [0, 1).

    >>> import lazynet as ln
    >>> drop = ln.nn.Dropout(0.5)
    >>> with ln.training(False):
    ...     drop(ln.constant([1.0, 2.0])).value().tolist()
    [1.0, 2.0]
    """

    def __init__(self, p: float) -> None:
        self.p = probability_of(p, "Dropout: p")

    def __call__(self, x: Any) -> Expression:
        return dropout(x, self.p)


__all__ = ["MLP", "Dropout", "LayerNorm", "Linear"]
