"""`DeepLSTMBuilder`, which only DyNet's C++ has: an LSTM whose layers all see the input."""

from __future__ import annotations

from lazynet.dynet.parameters import Parameters
from lazynet.dynet.rnn import _RNNBuilder
from lazynet.dynet.rnn_cells import Cell, Setting, States, dropped
from lazynet.graph import Expression as Node
from lazynet.ops import affine, concatenate, sigmoid, tanh
from lazynet.ops import slice as part


class DeepLSTMCell(Cell):
    """A layer with coupled gates that also hands on the input and the layers below.

    What it gets is, one behind the other, the hidden state of the layer below, the input, and the
    hidden states of the layers below that; the lowest layer gets the input alone. What it returns
    beside its state has the same form; of the highest layer it is the hidden states of all layers.

    Attributes:
        below: Number of layers below.
        n_input: Length of the input of the builder.
    """

    def __init__(
        self,
        parameters: list[Node],
        n_in: int,
        n_hidden: int,
        setting: Setting,
        top: bool,
        below: int,
        n_input: int,
    ) -> None:
        super().__init__(parameters, n_in, n_hidden, setting, top)
        self.below = below
        self.n_input = n_input
        self.outputs = 2 if top and not below and not setting.p else 3

    def advance(self, x: Node, state: States, masks: States) -> States:
        Wi, Ui, Vi, bi, Wo, Uo, Vo, bo, W, U, b = self.weights()
        c, h = state
        n, p = self.n_hidden, self.setting.p
        used = n + self.n_input if self.below else self.n_input
        seen = part(x, 0, used) if self.below > 1 else x
        if p:
            seen = dropped(seen, p)
        i = sigmoid(affine(bi, Wi, seen, Ui, h, Vi, c))
        c = c + i * (tanh(affine(b, W, seen, U, h)) - c)
        o = sigmoid(affine(bo, Wo, seen, Uo, h, Vo, c))
        h = o * tanh(c)
        lower = []
        if self.below > 1:
            lower.append(part(x, used, self.n_in))
        if self.below:
            lower.append(part(x, 0, n))
        if self.top:
            output = concatenate([*lower, h]) if lower else h
            if self.outputs == 2:
                return c, h
            return c, h, dropped(output, p) if p else output
        given = part(x, n, used) if self.below else x
        return c, h, concatenate([h, given, *lower])


class DeepLSTMBuilder(_RNNBuilder):
    """An LSTM with skip connections: every layer sees the input, and the output is all layers.

    ::

        x_k = [h_(k-1); x] in all layers but the lowest, where it is x
        i = sigmoid(W x_k + U h_k + V c_k + b)                    each with its own W, U, V, b
        c_k' = (1 - i) c_k + i tanh(W x_k + U h_k + b)
        o = sigmoid(W x_k + U h_k + V c_k' + b)
        h_k' = o tanh(c_k')
        output = [h_1'; ...; h_layers']

    The state is c of each layer, then h of each. Dropout draws anew at each step, of the input of
    every layer and of the output.

    Args:
        layers: Number of layers.
        input_dim: Dimension of the input.
        hidden_dim: Dimension of c and h of every layer; the output has `layers` times as many.
        model: Owns the parameters: W, U, V, b of i, those of o, and W, U, b, in each layer.

    Source: A. Graves, "Generating sequences with recurrent neural networks", 2013, section 2.
    """

    collection = "deep-lstm-builder"

    def _make(self, n_in: int) -> list[Parameters]:
        n = self.hidden_dim
        seen = min(n_in, self.input_dim + n)
        gate = [(n, seen), (n, n), (n, n), n]
        return self._weights(*gate, *gate, (n, seen), (n, n), n)

    def inputs(self) -> list[int]:
        return [self.input_dim] + [
            self.input_dim + k * self.hidden_dim for k in range(1, self.layers)
        ]

    def setting(self, update: bool) -> Setting:
        return Setting(update, p=self._rates.get("x", 0.0))

    def _cell(self, layer: int, n_in: int, setting: Setting) -> Cell:
        nodes: list[Node] = [p.node for p in self._used(layer)]
        top = layer == self.layers - 1
        cell = DeepLSTMCell(nodes, n_in, self.hidden_dim, setting, top, layer, self.input_dim)
        for fused in (cell.step, cell.run):
            fused.name = type(self).__name__
        return cell


__all__ = ["DeepLSTMBuilder"]
