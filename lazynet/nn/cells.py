"""Recurrent cells: one step, written with operations and fused into one node.

`ln.scan` runs the same steps along a whole sequence; it finds by itself what depends on the inputs
alone, and computes that for all positions at once. All gates lie in one matrix, one block of rows
after the other.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from lazynet.fuse import fuse
from lazynet.graph import Expression
from lazynet.nn.base import Activation, PerGate, masked
from lazynet.ops import affine, layer_norm, sigmoid, split, tanh
from lazynet.parameters import Model

State = Any
"""An expression, or a tuple of them; the output is the first."""


class Cell(Protocol):
    """What `Recurrent` runs along a sequence."""

    n_in: int
    n_hidden: int
    states: int
    """Number of vectors in the state; the first is the output."""

    def step(
        self, x: Expression, state: State, mask: Expression | None = None
    ) -> tuple[Expression, State]:
        """The output and the next state; `mask` multiplies h before its product."""
        ...


class RNNCell:
    """h' = activation(W x + U h + b)"""

    states = 1

    def __init__(
        self, model: Model, n_in: int, n_hidden: int, activation: Activation, recurrent_init: Any
    ) -> None:
        self.n_in, self.n_hidden, self.activation = n_in, n_hidden, activation
        self.W = model.parameter((n_hidden, n_in), name="W")
        self.U = model.parameter((n_hidden, n_hidden), init=recurrent_init, name="U")
        self.b = model.parameter(n_hidden, init="zeros", name="b")

    @fuse
    def step(
        self, x: Expression, state: State, mask: Expression | None = None
    ) -> tuple[Expression, State]:
        h = self.activation(affine(self.b, self.W, x, self.U, masked(state, mask)))
        return h, h


class GRUCell:
    """h' = z h + (1 - z) g, with gates r, z and candidate g, in this order in W and b.

    Source: K. Cho et al., "Learning phrase representations using RNN encoder-decoder for
    statistical machine translation", 2014, equations 5 to 8.
    """

    states = 1

    def __init__(self, model: Model, n_in: int, n_hidden: int, recurrent_init: Any) -> None:
        n = n_hidden
        self.n_in, self.n_hidden = n_in, n
        self.W = model.parameter((3 * n, n_in), init=PerGate("glorot", 3), name="W")
        self.U = model.parameter((2 * n, n), init=PerGate(recurrent_init, 2), name="U")
        self.U_candidate = model.parameter((n, n), init=recurrent_init, name="U_candidate")
        self.b = model.parameter(3 * n, init="zeros", name="b")

    @fuse
    def step(
        self, x: Expression, state: State, mask: Expression | None = None
    ) -> tuple[Expression, State]:
        h, n = state, self.n_hidden
        seen = masked(h, mask)
        gates, candidate = split(affine(self.b, self.W, x), [2 * n, n])
        r, z = split(sigmoid(affine(gates, self.U, seen)), 2)
        g = tanh(affine(candidate, self.U_candidate, r * seen))
        h = g + z * (h - g)
        return h, h


class GRUCellResetAfter:
    """As `GRUCell`, but r multiplies what U makes of h: g = tanh(W x + b + r (U h + c)).

    All of U is then one product. This is what cuDNN and PyTorch compute.
    """

    states = 1

    def __init__(self, model: Model, n_in: int, n_hidden: int, recurrent_init: Any) -> None:
        n = n_hidden
        self.n_in, self.n_hidden = n_in, n
        self.W = model.parameter((3 * n, n_in), init=PerGate("glorot", 3), name="W")
        self.U = model.parameter((3 * n, n), init=PerGate(recurrent_init, 3), name="U")
        self.b = model.parameter(3 * n, init="zeros", name="b")
        self.b_recurrent = model.parameter(3 * n, init="zeros", name="b_recurrent")

    @fuse
    def step(
        self, x: Expression, state: State, mask: Expression | None = None
    ) -> tuple[Expression, State]:
        h, n = state, self.n_hidden
        recurrent = affine(self.b_recurrent, self.U, masked(h, mask))
        gates, candidate = split(affine(self.b, self.W, x), [2 * n, n])
        gates_h, candidate_h = split(recurrent, [2 * n, n])
        r, z = split(sigmoid(gates + gates_h), 2)
        g = tanh(candidate + r * candidate_h)
        h = g + z * (h - g)
        return h, h


class LSTMCell:
    """c' = f c + i g, h' = o tanh(c'), with gates i, f, o and candidate g, in this order.

    Sources: S. Hochreiter, J. Schmidhuber, "Long short-term memory", 1997; forget gate: F. Gers,
    J. Schmidhuber, F. Cummins, "Learning to forget", 2000.
    """

    states = 2

    def __init__(
        self, model: Model, n_in: int, n_hidden: int, forget_bias: float, recurrent_init: Any
    ) -> None:
        n = n_hidden
        self.n_in, self.n_hidden = n_in, n
        self.W = model.parameter((4 * n, n_in), init=PerGate("glorot", 4), name="W")
        self.U = model.parameter((4 * n, n), init=PerGate(recurrent_init, 4), name="U")
        self.b = model.parameter(4 * n, init=np.repeat([0, forget_bias, 0, 0], n), name="b")

    @fuse
    def step(
        self, x: Expression, state: State, mask: Expression | None = None
    ) -> tuple[Expression, State]:
        h, c = state
        n = self.n_hidden
        products = affine(self.b, self.W, x, self.U, masked(h, mask))
        gates, candidate = split(products, [3 * n, n])
        i, f, o = split(sigmoid(gates), 3)
        c = f * c + i * tanh(candidate)
        h = o * tanh(c)
        return h, (h, c)


class NormedLSTMCell:
    """An LSTM whose products and memory are normalised.

    All four blocks of a product are normalised together. The bias of the normalised W x is b, so
    that it holds the forget bias.

    Source: J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", 2016, equations 20 to 22.
    """

    states = 2

    def __init__(
        self, model: Model, n_in: int, n_hidden: int, forget_bias: float, recurrent_init: Any
    ) -> None:
        n = n_hidden
        self.n_in, self.n_hidden = n_in, n
        self.W = model.parameter((4 * n, n_in), init=PerGate("glorot", 4), name="W")
        self.U = model.parameter((4 * n, n), init=PerGate(recurrent_init, 4), name="U")
        self.b = model.parameter(4 * n, init=np.repeat([0, forget_bias, 0, 0], n), name="b")
        self.W_gain = model.parameter(4 * n, init="ones", name="W_gain")
        self.U_gain = model.parameter(4 * n, init="ones", name="U_gain")
        self.U_bias = model.parameter(4 * n, init="zeros", name="U_bias")
        self.c_gain = model.parameter(n, init="ones", name="c_gain")
        self.c_bias = model.parameter(n, init="zeros", name="c_bias")

    @fuse
    def step(
        self, x: Expression, state: State, mask: Expression | None = None
    ) -> tuple[Expression, State]:
        h, c = state
        n = self.n_hidden
        products = layer_norm(self.W @ x, self.W_gain, self.b)
        recurrent = layer_norm(self.U @ masked(h, mask), self.U_gain, self.U_bias)
        gates, candidate = split(products + recurrent, [3 * n, n])
        i, f, o = split(sigmoid(gates), 3)
        c = f * c + i * tanh(candidate)
        h = o * tanh(layer_norm(c, self.c_gain, self.c_bias))
        return h, (h, c)
