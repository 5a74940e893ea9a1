"""Steps of the recurrent builders: one fused node each, or one scan for a whole sequence.

A cell is one layer of a builder under one setting: which masks multiply its inputs, whether its
parameters are trained, whether noise is on. Its state is ``(c, h)`` or ``(h,)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.fuse import fuse
from lazynet.graph import Expression as Node
from lazynet.kinds import FLOAT32
from lazynet.ops import (
    affine,
    dropout,
    layer_norm,
    matmul,
    noise,
    sigmoid,
    split,
    sqrt,
    square,
    stop_gradient,
    sum,
    tanh,
)

States = tuple[Node, ...]
_NEAR_ZERO = 1e-12
"""Added to variances, of vectors of equal numbers too: DyNet makes NaN of those."""


class Setting:
    """What tells the cells of one layer apart.

    Attributes:
        update: Whether the parameters get gradients.
        x, h, c: Whether a mask multiplies the input, the hidden state, the memory (at peepholes).
        p: Probability of dropping anew at each step.
        std: Standard deviation of noise on the weights.
        first: Whether there is no state before.
    """

    __slots__ = ("c", "first", "h", "key", "p", "std", "update", "x")

    def __init__(
        self,
        update: bool = True,
        x: bool = False,
        h: bool = False,
        c: bool = False,
        p: float = 0.0,
        std: float = 0.0,
        first: bool = False,
    ) -> None:
        self.update, self.x, self.h, self.c = update, x, h, c
        self.p, self.std, self.first = p, std, first
        self.key = (update, x, h, c, p, std, first)


def dropped(x: Node, p: float) -> Node:
    """x with entries dropped anew; all of them with probability 1."""
    return dropout(x, p) if p < 1 else x * 0.0


class Cell:
    """One layer.

    Args:
        parameters: In the order of the builder's `get_parameters`.
        n_in: Length of the input.
        n_hidden: Length of the hidden state.
        setting: See there.
        top: Whether the layer is the last one.

    Attributes:
        states: Number of vectors in the state; the hidden state is the last.
        outputs: Number of results of a step: one more where what the next layer gets, or the
            output, is not the hidden state.
    """

    states = 2

    def __init__(
        self, parameters: list[Node], n_in: int, n_hidden: int, setting: Setting, top: bool
    ) -> None:
        self.parameters = parameters
        self.n_in = n_in
        self.n_hidden = n_hidden
        self.setting = setting
        self.outputs = self.states
        self.top = top

    @fuse
    def step(self, x: Node, *given: Node) -> States:
        """The results of one step; `given` holds the state, then the masks."""
        return self.advance(x, given[: self.states], given[self.states :])

    @fuse
    def run(self, x: Node, state: States, *masks: Node) -> tuple[States, States]:
        """The same for `scan`: the results, and the state."""
        results = self.advance(x, state, masks)
        return results, results[: self.states]

    def advance(self, x: Node, state: States, masks: States) -> States:
        """One step, written with operations."""
        raise NotImplementedError

    # What the cells below share

    def weights(self) -> list[Node]:
        """The parameters, as constants where they are not trained."""
        return self.trained(self.parameters)

    def trained(self, parameters: list[Node]) -> list[Node]:
        """These, as constants where the parameters are not trained."""
        if self.setting.update:
            return parameters
        return [stop_gradient(p) for p in parameters]

    def seen(self, x: Node, h: Node, masks: States) -> tuple[Node, Node]:
        """Input and hidden state with what the masks leave of them."""
        setting = self.setting
        if setting.x:
            x = x * masks[0]
        if setting.h:
            h = h * masks[1 if setting.x else 0]
        return x, h


class SimpleCell(Cell):
    """h' = tanh(W x + U h + b)"""

    states = 1

    def advance(self, x: Node, state: States, masks: States) -> States:
        W, U, b = self.weights()
        x, h = self.seen(x, state[0], masks)
        return (tanh(affine(b, W, x, U, h)),)


class GRUCell(Cell):
    """h' = (1 - z) h + z g, with g = tanh(W x + U (r h) + b)

    Dropout draws anew at each step: of the input, and in the last layer of the output.

    Source: K. Cho et al., "Learning phrase representations using RNN encoder-decoder for
    statistical machine translation", 2014, with z and 1 - z exchanged.
    """

    states = 1

    def __init__(
        self, parameters: list[Node], n_in: int, n_hidden: int, setting: Setting, top: bool
    ) -> None:
        super().__init__(parameters, n_in, n_hidden, setting, top)
        if setting.p and top:
            self.outputs = 2

    def advance(self, x: Node, state: States, masks: States) -> States:
        Wz, Uz, bz, Wr, Ur, br, W, U, b = self.weights()
        p = self.setting.p
        h = state[0]
        if p:
            x = dropped(x, p)
        z = sigmoid(affine(bz, Wz, x, Uz, h))
        r = sigmoid(affine(br, Wr, x, Ur, h))
        g = tanh(affine(b, W, x, U, r * h))
        h = h + z * (g - h)
        return (h, dropped(h, p)) if self.outputs == 2 else (h,)


class LSTMCell(Cell):
    """c' = f c + i g, h' = o tanh(c'), with the blocks of W, U, b in the order i, f, o, g.

    Attributes:
        forget_bias: Added to the forget gate beside the bias.
    """

    forget_bias = 1.0

    def advance(self, x: Node, state: States, masks: States) -> States:
        x, h = self.seen(x, state[1], masks)
        return self.gated(self.products(x, h), state[0])

    def products(self, x: Node, h: Node) -> Node:
        """What goes into the gates."""
        W, U, b = self.weights()
        return affine(b + self.offset(), W, x, U, h)

    def offset(self) -> np.ndarray[Any, Any]:
        """The forget bias, in the block of its gate."""
        return np.repeat(np.array([0, self.forget_bias, 0, 0], FLOAT32), self.n_hidden)

    def gated(self, products: Node, c: Node) -> States:
        """The new state."""
        n = self.n_hidden
        gates, candidate = split(products, [3 * n, n])
        i, f, o = split(sigmoid(gates), 3)
        c = f * c + i * tanh(candidate)
        return c, o * tanh(self.normed(c))

    def normed(self, c: Node) -> Node:
        """The memory as the output sees it."""
        return c


class NormedLSTMCell(LSTMCell):
    """An LSTM whose products and memory are normalised; more parameters follow those of an LSTM.

    Source: J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", 2016, equations 20 to 22.
    """

    def products(self, x: Node, h: Node) -> Node:
        W, U, b, h_gain, h_bias, x_gain, x_bias, *_ = self.weights()
        products = layer_norm(matmul(W, x), x_gain, x_bias, _NEAR_ZERO) + (b + self.offset())
        if self.setting.first:  # what would be normalised is zero
            return products
        return products + layer_norm(matmul(U, h), h_gain, h_bias, _NEAR_ZERO)

    def normed(self, c: Node) -> Node:
        gain, bias = self.trained(self.parameters[7:9])
        return layer_norm(c, gain, bias, _NEAR_ZERO)


class CompactLSTMCell(LSTMCell):
    """An LSTM with noise on its weights.

    Noise of W, U and b, drawn anew for each product, is noise of W x + U h + b with a variance in
    proportion to |x|^2 + |h|^2 + 1; gradients pass it as if it were constant.
    """

    def products(self, x: Node, h: Node) -> Node:
        products = super().products(x, h)
        std = self.setting.std
        if not std:
            return products
        scale = stop_gradient(sqrt(sum(square(x)) + sum(square(h)) + 1.0))
        return noise(products / scale, std) * scale


class _Sparse(LSTMCell):
    """Weights multiplied by masks of their own, which follow all other parameters."""

    def weights(self) -> list[Node]:
        W, U, *others, W_mask, U_mask = self.parameters
        return self.trained([W * stop_gradient(W_mask), U * stop_gradient(U_mask), *others])


class SparseLSTMCell(_Sparse):
    """An LSTM of sparse weights."""


class NormedSparseLSTMCell(_Sparse, NormedLSTMCell):
    """The same, with what is normalised."""


class CoupledLSTMCell(Cell):
    """c' = (1 - i) c + i g, h' = o tanh(c'); i sees c, and o sees c'."""

    def advance(self, x: Node, state: States, masks: States) -> States:
        Wi, Ui, Vi, bi, Wo, Uo, Vo, bo, W, U, b = self.weights()
        c = state[0]
        x, h = self.seen(x, state[1], masks)
        i = sigmoid(affine(bi, Wi, x, Ui, h, Vi, self.peeped(c, masks)))
        c = c + i * (tanh(affine(b, W, x, U, h)) - c)
        o = sigmoid(affine(bo, Wo, x, Uo, h, Vo, self.peeped(c, masks)))
        return c, o * tanh(c)

    def peeped(self, c: Node, masks: States) -> Node:
        """The memory as the gates see it."""
        return c * masks[-1] if self.setting.c else c


class FastLSTMCell(Cell):
    """A `CoupledLSTMCell` whose gates do not see the memory."""

    def advance(self, x: Node, state: States, masks: States) -> States:
        Wi, Ui, _, bi, Wo, Uo, _, bo, W, U, b = self.weights()
        c, h = state
        i = sigmoid(affine(bi, Wi, x, Ui, h))
        c = c + i * (tanh(affine(b, W, x, U, h)) - c)
        o = sigmoid(affine(bo, Wo, x, Uo, h))
        return c, o * tanh(c)


__all__ = [
    "Cell",
    "CompactLSTMCell",
    "CoupledLSTMCell",
    "FastLSTMCell",
    "GRUCell",
    "LSTMCell",
    "NormedLSTMCell",
    "NormedSparseLSTMCell",
    "Setting",
    "SimpleCell",
    "SparseLSTMCell",
    "dropped",
]
