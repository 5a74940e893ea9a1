"""DyNet's builders of recurrent networks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from lazynet.dynet.arithmetic import cmult, dimension
from lazynet.dynet.collection import ParameterCollection
from lazynet.dynet.common import number
from lazynet.dynet.expression import Expression, as_number, short
from lazynet.dynet.graph import STATE
from lazynet.dynet.inputs import inputTensor
from lazynet.dynet.parameters import Parameters
from lazynet.dynet.rnn_cells import (
    Cell,
    CompactLSTMCell,
    CoupledLSTMCell,
    FastLSTMCell,
    GRUCell,
    LSTMCell,
    NormedLSTMCell,
    NormedSparseLSTMCell,
    Setting,
    SimpleCell,
    SparseLSTMCell,
)
from lazynet.dynet.rnn_states import RNNState, Session, listed, vectors, with_vectors

Spec = tuple[Any, ...]


class _RNNBuilder:
    """What the builders have in common: cells, one above the other.

    Args:
        layers: Number of layers.
        input_dim: Dimension of the input.
        hidden_dim: Dimension of the hidden state of every layer.
        model: Owns the parameters, in a sub-collection of the builder's own.

    Attributes:
        spec: What `from_spec` makes a builder of the same form of.
        states: Number of vectors in the state of a layer.
        normed: Whether products are normalised, which a step without a state before leaves out.
    """

    collection = ""
    """Name of the sub-collection."""
    states = 2
    cell: type[Cell]
    normed = False

    def __init__(self, layers: int, input_dim: int, hidden_dim: int, model: Any) -> None:
        name = type(self).__name__
        self.layers = size(layers, f"{name}: layers", 1)
        self.input_dim = size(input_dim, f"{name}: input_dim")
        self.hidden_dim = size(hidden_dim, f"{name}: hidden_dim")
        if not isinstance(model, ParameterCollection):
            raise TypeError(f"{name}: got {short(model)} as model; it takes a ParameterCollection")
        self.spec: Spec = (self.layers, self.input_dim, self.hidden_dim)
        self._model = model
        self._collection = model.add_subcollection(self.collection)
        self._parameters = [self._make(n) for n in self.inputs()]
        self._cells: dict[Any, list[Cell]] = {}
        self._session: Session | None = None
        self._rates: dict[str, float] = {}

    def _make(self, n_in: int) -> list[Parameters]:
        """The parameters of one layer, in the order in which files hold them."""
        raise NotImplementedError

    def _weights(self, *shapes: Any) -> list[Parameters]:
        """Parameters of these shapes; vectors are biases and begin with zeros."""
        add = self._collection.add_parameters
        return [add(s, init=0.0) if isinstance(s, int) else add(s) for s in shapes]

    def inputs(self) -> list[int]:
        """Dimension of the input of each layer."""
        return [self.input_dim] + [self.hidden_dim] * (self.layers - 1)

    def rates(self) -> dict[str, float]:
        """Dropout rates, by what masks multiply: the input x, the hidden state h, the memory c."""
        return self._rates

    def setting(self, update: bool) -> Setting:
        """How cells run now."""
        rates = self._rates
        return Setting(update, bool(rates.get("x")), bool(rates.get("h")), bool(rates.get("c")))

    def cells(self, setting: Setting) -> list[Cell]:
        """The cells of the layers."""
        found = self._cells.get(setting.key)
        if found is None:
            if len(self._cells) >= 16:  # rates that change all the time
                self._cells.clear()
            found = self._cells[setting.key] = [
                self._cell(k, n, setting) for k, n in enumerate(self.inputs())
            ]
        return found

    def _cell(self, layer: int, n_in: int, setting: Setting) -> Cell:
        nodes = [p.node for p in self._used(layer)]
        cell = self.cell(nodes, n_in, self.hidden_dim, setting, layer == self.layers - 1)
        for fused in (cell.step, cell.run):
            fused.name = type(self).__name__
        return cell

    def _used(self, layer: int) -> list[Parameters]:
        """The parameters of a layer, in the order in which its cell takes them."""
        return self._parameters[layer]

    # States

    def initial_state(
        self, vecs: Iterable[Expression] | None = None, update: bool = True
    ) -> RNNState:
        """The state before a sequence.

        Args:
            vecs: Vectors of the state, in the order of `RNNState.s`; of an LSTM with memory alone
                too. None for zeros.
            update: Whether the parameters get gradients. The first call on a graph decides.

        Raises:
            ValueError: If the vectors are too many, too few, or of another dimension.
        """
        session = self._current()
        if session is None:
            session = self._session = Session(self, bool(update))
        if vecs is None:
            return session.initial()
        given = vectors(session, vecs, "initial_state")
        zeros = [session.zeros()] * self.layers
        layers = with_vectors(session, zeros, given, "initial_state")
        return RNNState(session, layers, None, STATE.stretch, layers[-1][-1])

    def initial_state_from_raw_vectors(self, vecs: Iterable[Any], update: bool = True) -> RNNState:
        """The same from lists of numbers or arrays.

        Raises:
            TypeError: If these are none.
            ValueError: As `initial_state` does.
        """
        name = f"{type(self).__name__}.initial_state_from_raw_vectors"
        try:
            return self.initial_state([inputTensor(v) for v in listed(vecs, name)], update)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"{name}: {error}") from error

    def _current(self) -> Session | None:
        """The session of this graph, if there is one."""
        session = self._session
        return session if session is not None and session.graph is STATE.stretches[0] else None

    # Settings

    def set_dropout(self, f: float) -> None:
        """Set all dropout rates.

        Raises:
            ValueError: If it is no probability.
        """
        self._drop("set_dropout", x=f)

    def disable_dropout(self) -> None:
        """Set all dropout rates to 0."""
        self._drop()

    def _drop(self, method: str = "", **rates: float) -> None:
        name = f"{type(self).__name__}.{method}"
        self._rates = {what: _rate(rate, name) for what, rate in rates.items()}
        self._changed()

    def _changed(self) -> None:
        session = self._current()
        if session is not None:
            session.arrange()

    # Parameters

    def param_collection(self) -> ParameterCollection:
        """The sub-collection of its parameters."""
        return self._collection

    def get_parameters(self) -> list[list[Parameters]]:
        """The parameters of each layer."""
        return [list(layer) for layer in self._parameters]

    def get_parameter_expressions(self) -> list[list[Expression]]:
        """The parameters of each layer as expressions of this graph.

        Raises:
            ValueError: If `initial_state` was not called on this graph.
        """
        session = self._current()
        if session is None:
            raise ValueError(
                f"{type(self).__name__}.get_parameter_expressions: stale expressions: call "
                "initial_state() on this graph first"
            )
        return self._expressions(session.update)

    def _expressions(self, update: bool) -> list[list[Expression]]:
        return [[p.expr(update) for p in layer] for layer in self.get_parameters()]

    @classmethod
    def from_spec(cls, spec: Spec, model: Any) -> Any:
        """A builder of the form of another, with parameters of its own.

        Args:
            spec: Its `spec`.
            model: As for the builder itself.
        """
        make: Any = cls
        return make(*spec[:3], model, *spec[3:])

    def whoami(self) -> str:
        """The name of the class."""
        return type(self).__name__


class _Masked(_RNNBuilder):
    """Builders with dropout masks for inputs and hidden states."""

    def set_dropout(self, f: float) -> None:
        """Set both dropout rates.

        Entries of the input and of the hidden state of every layer are dropped, the same ones at
        all steps of all sequences on a graph; the rest is multiplied by ``1 / (1 - rate)``.

        Raises:
            ValueError: If it is no probability.
        """
        self._drop("set_dropout", x=f, h=f)

    def set_dropout_masks(self, batch_size: int = 1) -> None:
        """Draw masks with a row for each example of a minibatch; after `initial_state`.

        Without this call they are drawn for the first input, whatever its number of examples.
        """
        session = self._current()
        n = size(batch_size, f"{type(self).__name__}: set_dropout_masks: batch_size", 1)
        if session is not None:
            session.draw(None if n == 1 else n)


class SimpleRNNBuilder(_Masked):
    """h_t = tanh(W x_t + U h_(t-1) + b)

    Args:
        layers: Number of layers.
        input_dim: Dimension of the input.
        hidden_dim: Dimension of the hidden state of every layer.
        model: Owns the parameters: W, U, b of each layer.
    """

    collection = "simple-rnn-builder"
    states = 1
    cell = SimpleCell

    def _make(self, n_in: int) -> list[Parameters]:
        n = self.hidden_dim
        return self._weights((n, n_in), (n, n), n)

    def set_dropouts(self, d: float, d_h: float) -> None:
        """Set the dropout rates of the input and of the hidden state.

        Source: Y. Gal, Z. Ghahramani, "A theoretically grounded application of dropout in
        recurrent neural networks", 2016.
        """
        self._drop("set_dropouts", x=d, h=d_h)


class GRUBuilder(_RNNBuilder):
    """A gated recurrent unit: h' = (1 - z) h + z g, with g = tanh(W x + U (r h) + b).

    Dropout draws anew at each step, of the input of every layer and of the output.

    Args:
        layers: Number of layers.
        input_dim: Dimension of the input.
        hidden_dim: Dimension of the hidden state of every layer.
        model: Owns the parameters: W, U, b of z, of r and of g, in each layer.

    Source: K. Cho et al., "Learning phrase representations using RNN encoder-decoder for
    statistical machine translation", 2014.
    """

    collection = "gru-builder"
    states = 1
    cell = GRUCell

    def _make(self, n_in: int) -> list[Parameters]:
        n = self.hidden_dim
        return self._weights(*[(n, n_in), (n, n), n] * 3)

    def setting(self, update: bool) -> Setting:
        return Setting(update, p=self._rates.get("x", 0.0))


class VanillaLSTMBuilder(_Masked):
    """An LSTM: c' = f c + i g, h' = o tanh(c').

    ::

        i, o = sigmoid(W x + U h + b), f = sigmoid(W x + U h + b + forget_bias)
        g = tanh(W x + U h + b)                                   each with its block

    The state is c of each layer, then h of each.

    Args:
        layers: Number of layers.
        input_dim: Dimension of the input.
        hidden_dim: Dimension of c and h of every layer.
        model: Owns the parameters: W, U, b of each layer, with blocks in the order i, f, o, g.
        ln_lstm: Whether W x, U h and c are normalised. The gains and biases are parameters of
            `model` itself.
        forget_bias: Added in the forget gate; b begins with zeros.

    Sources: S. Hochreiter, J. Schmidhuber, "Long short-term memory", 1997; normalisation: J. L. Ba
    et al., "Layer normalization", 2016; dropout: Y. Gal, Z. Ghahramani, "A theoretically grounded
    application of dropout in recurrent neural networks", 2016.
    """

    collection = "vanilla-lstm-builder"

    def __init__(
        self,
        layers: int,
        input_dim: int,
        hidden_dim: int,
        model: Any,
        ln_lstm: bool = False,
        forget_bias: float = 1.0,
    ) -> None:
        bias = number(forget_bias, type(self).__name__, "forget_bias")
        self.normed = bool(ln_lstm)
        self._norms: list[list[Parameters]] = []
        super().__init__(layers, input_dim, hidden_dim, model)
        self._forget_bias = bias
        self.spec = (*self.spec, self.normed, bias)

    def _make(self, n_in: int) -> list[Parameters]:
        n = self.hidden_dim
        parameters = self._weights((4 * n, n_in), (4 * n, n), 4 * n)
        self._make_norms()
        return parameters

    def _make_norms(self) -> None:
        """Gains and biases of what is normalised in a layer: of U h, W x and c."""
        add, n = self._model.add_parameters, self.hidden_dim
        sizes = [4 * n, 4 * n, n] if self.normed else []
        self._norms.append([add(k, init=value) for k in sizes for value in (1.0, 0.0)])

    def outer_parameters(self) -> list[Parameters]:
        """Its parameters that are not in its own collection: what normalises, layer by layer."""
        return [p for norms in self._norms for p in norms]

    def _used(self, layer: int) -> list[Parameters]:
        return [*self._parameters[layer], *self._norms[layer]]

    def _cell(self, layer: int, n_in: int, setting: Setting) -> Cell:
        cell = super()._cell(layer, n_in, setting)
        assert isinstance(cell, LSTMCell)
        cell.forget_bias = self._forget_bias
        return cell

    @property
    def cell(self) -> type[Cell]:  # type: ignore[override]
        """The class of its cells."""
        return NormedLSTMCell if self.normed else LSTMCell

    def set_dropouts(self, d: float, d_r: float) -> None:
        """Set the dropout rates of the input and of the hidden state."""
        self._drop("set_dropouts", x=d, h=d_r)


LSTMBuilder = VanillaLSTMBuilder


class CompactVanillaLSTMBuilder(_Masked):
    """The same as `VanillaLSTMBuilder` with a forget bias of 1, and with noise on the weights.

    Args:
        layers: Number of layers.
        input_dim: Dimension of the input.
        hidden_dim: Dimension of c and h of every layer.
        model: Owns the parameters: W, U, b of each layer, with blocks in the order i, f, o, g.
    """

    collection = "compact-vanilla-lstm-builder"
    cell = CompactLSTMCell

    def __init__(self, layers: int, input_dim: int, hidden_dim: int, model: Any) -> None:
        super().__init__(layers, input_dim, hidden_dim, model)
        self._std = 0.0

    def _make(self, n_in: int) -> list[Parameters]:
        n = self.hidden_dim
        return self._weights((4 * n, n_in), (4 * n, n), 4 * n)

    def setting(self, update: bool) -> Setting:
        rates = self._rates
        return Setting(update, bool(rates.get("x")), bool(rates.get("h")), std=self._std)

    def set_dropouts(self, d: float, d_r: float) -> None:
        """Set the dropout rates of the input and of the hidden state."""
        self._drop("set_dropouts", x=d, h=d_r)

    def set_weightnoise(self, std: float) -> None:
        """Set the standard deviation of Gaussian noise that every step adds to W, U and b.

        Examples of a minibatch see noise of their own.

        Raises:
            ValueError: If it is negative.
        """
        number = as_number(std)
        if number is None:
            raise TypeError(
                f"{type(self).__name__}.set_weightnoise: got {short(std)}; it takes a number"
            )
        if not number >= 0:
            raise ValueError(
                f"{type(self).__name__}.set_weightnoise: got {std!r}; weight noise must have "
                "standard deviation >=0"
            )
        self._std = number
        self._changed()


class SparseLSTMBuilder(VanillaLSTMBuilder):
    """The same as `VanillaLSTMBuilder` with weights that can be pruned.

    Masks are parameters, saved like the others; no gradient reaches them.

    Args:
        layers: Number of layers.
        input_dim: Dimension of the input.
        hidden_dim: Dimension of c and h of every layer.
        model: Owns the parameters: W, U, masks of W and U, and b of each layer.
        ln_lstm: Whether W x, U h and c are normalised.
        forget_bias: Added in the forget gate; b begins with zeros.

    Source: S. Narang et al., "Exploring sparsity in recurrent neural networks", 2017.
    """

    def _make(self, n_in: int) -> list[Parameters]:
        n = self.hidden_dim
        W, U = self._weights((4 * n, n_in), (4 * n, n))
        add = self._collection.add_parameters
        W_mask, U_mask = add((4 * n, n_in), init=1.0), add((4 * n, n), init=1.0)
        (b,) = self._weights(4 * n)
        self._make_norms()
        return [W, U, b, W_mask, U_mask]

    def _used(self, layer: int) -> list[Parameters]:
        W, U, b, W_mask, U_mask = self._parameters[layer]
        return [W, U, b, *self._norms[layer], W_mask, U_mask]

    @property
    def cell(self) -> type[Cell]:  # type: ignore[override]
        """The class of its cells."""
        return NormedSparseLSTMCell if self.normed else SparseLSTMCell

    def _expressions(self, update: bool) -> list[list[Expression]]:
        return [
            [
                cmult(W.expr(update), W_mask.expr(False)),
                cmult(U.expr(update), U_mask.expr(False)),
                b.expr(update),
            ]
            for W, U, b, W_mask, U_mask in self.get_parameters()
        ]

    def set_sparsity(self, sparsity: float) -> None:
        """Mask this part of all weights W and U together, those of the smallest magnitude.

        Raises:
            ValueError: If it is not between 0 and 1.
        """
        number = as_number(sparsity)
        if number is None or not 0 <= number <= 1:
            kind = TypeError if number is None else ValueError
            raise kind(
                f"{type(self).__name__}.set_sparsity: got {short(sparsity)}; it takes a number "
                "from 0 to 1"
            )
        pairs = [
            pair
            for W, U, _, W_mask, U_mask in self._parameters
            for pair in ((W, W_mask), (U, U_mask))
        ]
        arrays = [W.as_array() for W, _ in pairs]
        magnitudes = np.concatenate([np.abs(a).reshape(-1) for a in arrays])
        keep = np.ones(len(magnitudes))
        keep[np.argsort(magnitudes, kind="stable")[: int(len(magnitudes) * number)]] = 0
        cuts = np.cumsum([a.size for a in arrays])[:-1]
        for (_, mask), array, part in zip(pairs, arrays, np.split(keep, cuts)):
            mask.set_value(part.reshape(array.shape))


class CoupledLSTMBuilder(_RNNBuilder):
    """An LSTM whose forget gate is 1 - i, and whose gates see the memory.

    ::

        i = sigmoid(W_i x + U_i h + V_i c + b_i)
        c' = (1 - i) c + i tanh(W_c x + U_c h + b_c)
        o = sigmoid(W_o x + U_o h + V_o c' + b_o)
        h' = o tanh(c')

    Args:
        layers: Number of layers.
        input_dim: Dimension of the input.
        hidden_dim: Dimension of c and h of every layer.
        model: Owns the parameters: W, U, V, b of i and of o, and W, U, b of c, in each layer.

    Source: K. Greff et al., "LSTM: a search space odyssey", 2015.
    """

    collection = "lstm-builder"
    cell: type[Cell] = CoupledLSTMCell

    def _make(self, n_in: int) -> list[Parameters]:
        n = self.hidden_dim
        gate = [(n, n_in), (n, n), (n, n), n]
        return self._weights(*gate, *gate, (n, n_in), (n, n), n)

    def set_dropout(self, f: float) -> None:
        """Set the dropout rates of the input, the hidden state, and the memory that gates see.

        Raises:
            ValueError: If it is no probability.
        """
        self._drop(x=f, h=f, c=f)


class FastLSTMBuilder(_RNNBuilder):
    """A `CoupledLSTMBuilder` whose gates do not see the memory.

    Its parameters V, of one column each, are there and have no influence, as in DyNet.

    Args:
        layers: Number of layers.
        input_dim: Dimension of the input.
        hidden_dim: Dimension of c and h of every layer.
        model: Owns the parameters, as for `CoupledLSTMBuilder`.
    """

    collection = "fast-lstm-builder"
    cell = FastLSTMCell

    def _make(self, n_in: int) -> list[Parameters]:
        n = self.hidden_dim
        gate = [(n, n_in), (n, n), (n, 1), n]
        return self._weights(*gate, *gate, (n, n_in), (n, n), n)

    def set_dropout(self, f: float) -> None:
        """Accepted and without effect, as in DyNet; a warning says so."""
        if _rate(f, "FastLSTMBuilder.set_dropout"):
            warnings.warn(
                "FastLSTMBuilder.set_dropout has no effect, as in DyNet; use CoupledLSTMBuilder or "
                "VanillaLSTMBuilder for dropout",
                stacklevel=2,
            )


def _rate(rate: Any, name: str) -> float:
    """A dropout rate."""
    number = as_number(rate)
    if number is None:
        raise TypeError(f"{name}: got {short(rate)}; a dropout rate must be a real number")
    if not 0 <= number <= 1:
        raise ValueError(
            f"{name}: got {rate!r}; a dropout rate must be a probability (>=0 and <=1)"
        )
    return number


def size(value: Any, role: str, least: int = 0) -> int:
    """A number of layers or entries.

    Raises:
        TypeError: If it is no whole number.
        OverflowError: If it is negative, or beyond 32 bits.
        ValueError: If it is smaller than `least`.
    """
    number = dimension(value, role)
    if number < least:
        raise ValueError(f"{role}: got {value!r}; it must be at least {least}")
    if number >> 32:
        raise OverflowError(f"{role}: got {value!r}; it must be less than 2^32")
    return number


__all__ = [
    "CompactVanillaLSTMBuilder",
    "CoupledLSTMBuilder",
    "FastLSTMBuilder",
    "GRUBuilder",
    "LSTMBuilder",
    "SimpleRNNBuilder",
    "SparseLSTMBuilder",
    "VanillaLSTMBuilder",
]
