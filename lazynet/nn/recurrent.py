"""Layers that run along a sequence: RNN, GRU, LSTM, and two of them in both directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

from lazynet.errors import ArgumentError, SettingError, ShapeError
from lazynet.fuse import scan
from lazynet.graph import Expression
from lazynet.inputs import unbatch, zeros_once
from lazynet.kinds import Array
from lazynet.nn.base import (
    Activation,
    activation_of,
    dropout_mask,
    length_of,
    masked,
    no_rows,
    number_of,
    part_of,
    probability_of,
    sequence_of,
    size_of,
    vector_of,
)
from lazynet.nn.cells import (
    Cell,
    GRUCell,
    GRUCellResetAfter,
    LSTMCell,
    NormedLSTMCell,
    RNNCell,
    State,
)
from lazynet.ops import concatenate
from lazynet.parameters import Model

Masks = list[tuple[Expression | None, Expression | None]]


class Recurrent:
    """What RNN, GRU and LSTM have in common: cells, one above the other, along a sequence.

    ``ys, state = layer(xs)`` runs a sequence: a batched expression or an array whose rows are the
    positions, or a list of single expressions; ys comes in the same form. Entries of a list may
    have batches: each is then a minibatch, one row for each of several sequences of equal length.
    A sequence without positions gives no ys, and the state it began with.

    The state is that of the one layer, or a tuple with that of each layer, the lowest first.

    Attributes:
        n_in: Length of the vector at each position.
        n_hidden: Length of the output at each position.
        layers: Number of layers.
        dropout: Probability of dropping.
        cells: The cell of each layer, with its parameters.
        model: The sub-model that owns them.

    >>> import lazynet as ln
    >>> import numpy as np
    >>> model = ln.Model(seed=0)
    >>> encoders: list[ln.nn.Recurrent] = [ln.nn.GRU(model, 3, 4), ln.nn.LSTM(model, 3, 4)]
    >>> for encoder in encoders:
    ...     ys, state = encoder(np.ones((5, 3)))
    ...     y, state = encoder.step(np.ones(3), state)
    ...     print(ys.batch, ys.shape, y.shape)
    5 (4,) (4,)
    5 (4,) (4,)
    """

    cells: Sequence[Cell]

    def __init__(
        self,
        model: Model,
        name: str,
        n_in: int,
        n_hidden: int,
        layers: int,
        dropout: float,
        make: Callable[[Model, int, int], Cell],
    ) -> None:
        role = type(self).__name__
        self.n_in = size_of(n_in, f"{role}: n_in")
        self.n_hidden = size_of(n_hidden, f"{role}: n_hidden")
        self.layers = size_of(layers, f"{role}: layers")
        self.dropout = probability_of(dropout, f"{role}: dropout")
        self.model = part_of(model, name, role)
        sizes = [self.n_in] + [self.n_hidden] * (self.layers - 1)
        self.cells = [
            make(self.model if len(sizes) == 1 else self.model.submodel(f"layer_{k}"), n, n_hidden)
            for k, n in enumerate(sizes)
        ]

    @overload
    def __call__(
        self, xs: Expression | Array, state: Any = None, reverse: bool = False
    ) -> tuple[Expression, Any]: ...

    @overload
    def __call__(
        self, xs: Sequence[Any], state: Any = None, reverse: bool = False
    ) -> tuple[list[Expression], Any]: ...

    def __call__(self, xs: Any, state: Any = None, reverse: bool = False) -> tuple[Any, Any]:
        """Run a sequence.

        Args:
            xs: The sequence; each position has shape ``(n_in,)``.
            state: The state before the first position; None for `initial_state()`.
            reverse: Whether to run from the last position to the first. ys[t] then is the output
                at xs[t] all the same.

        Returns:
            The outputs, each of shape ``(n_hidden,)``, in the form of xs; and the state after the
            position that was run last.

        Raises:
            ShapeError: If the positions have another length.
            ArgumentError: If xs is no sequence, or the state not of the layer's form.
        """
        if self.layers == 1 and not self.dropout:
            init = self._pack(self._unpack(None)) if state is None else state
            fast: Any = self.cells[0].step
            result: tuple[Any, Any] | None = fast.fast_scan(xs, init, reverse)
            if result is not None:  # a call like one that was checked before
                return result
        rows, listed = sequence_of(xs, self.n_in, type(self).__name__, self.model.dtype)
        states = self._unpack(state)
        if not length_of(rows):
            ys: Any = [] if listed else no_rows(self.n_hidden, self.model.dtype)
            return ys, self._pack(states)
        batch = None
        if isinstance(rows, list):
            batch = next(x.batch for x in rows if x.batch is not None)
        for k, (x_mask, h_mask) in enumerate(self.masks(batch)):
            cell = self.cells[k]
            constants = () if h_mask is None else (h_mask,)
            if not isinstance(rows, list):
                rows, states[k] = scan(
                    cell.step, masked(rows, x_mask), states[k], reverse, constants
                )
                continue
            outputs = []
            for x in reversed(rows) if reverse else rows:
                y, states[k] = cell.step(masked(x, x_mask), states[k], *constants)
                outputs.append(y)
            rows = outputs[::-1] if reverse else outputs
        if listed and not isinstance(rows, list):
            rows = unbatch(rows)
        return rows, self._pack(states)

    def step(self, x: Any, state: Any = None, masks: Masks | None = None) -> tuple[Expression, Any]:
        """Run one position.

        Args:
            x: Shape ``(n_in,)``.
            state: The state before; None for `initial_state()`.
            masks: Of `masks()`, drawn once for all steps of a sequence. None draws new ones for
                this step where the layer has dropout.

        Returns:
            The output, shape ``(n_hidden,)``, and the state after.
        """
        if self.layers == 1 and not self.dropout and masks is None:
            fast: Any = self.cells[0].step
            result: tuple[Expression, Any] | None = fast.fast(x, state)
            if result is not None:  # a call like one that was checked before
                return result
        y = vector_of(x, self.n_in, type(self).__name__, self.model.dtype)
        states = self._unpack(state)
        if masks is None:
            masks = self.masks(y.batch if self.dropout else None)
        for k, (x_mask, h_mask) in enumerate(masks):
            constants = () if h_mask is None else (h_mask,)
            y, states[k] = self.cells[k].step(masked(y, x_mask), states[k], *constants)
        return y, self._pack(states)

    def initial_state(self) -> Any:
        """The state before a sequence: zeros, in the form in which the layer returns it."""
        return self._pack(self._unpack(None))

    def masks(self, batch: int | None = None) -> Masks:
        """Dropout masks for one sequence: for each layer, of its inputs and of its hidden state.

        Args:
            batch: Number of rows where every position is a minibatch; each row has its own mask.

        Returns:
            For each layer a pair; of None outside training mode and without dropout.
        """
        p, dtype = self.dropout, self.model.dtype
        return [
            (
                dropout_mask(cell.n_in, p, dtype, batch),
                dropout_mask(cell.n_hidden, p, dtype, batch),
            )
            for cell in self.cells
        ]

    def _pack(self, states: list[State]) -> Any:
        """States in the form that users see."""
        return states[0] if self.layers == 1 else tuple(states)

    def _unpack(self, state: Any) -> list[State]:
        """The state of each layer."""
        if state is None:
            zeros = zeros_once(self.n_hidden, self.model.dtype)
            return [zeros if cell.states == 1 else (zeros, zeros) for cell in self.cells]
        parts = [state] if self.layers == 1 else self._parts(state, self.layers, "one per layer")
        if self.cells[0].states == 1:
            return [self._vector(h) for h in parts]
        return [tuple([self._vector(v) for v in self._parts(s, 2, "(h, c)")]) for s in parts]

    def _parts(self, state: Any, n: int, form: str) -> list[Any]:
        if isinstance(state, (tuple, list)) and len(state) == n:
            return list(state)
        what = f"{len(state)} entries" if isinstance(state, (tuple, list)) else repr(state)
        raise ArgumentError(
            f"{type(self).__name__}: got a state of {what} where a tuple of {n} belongs, {form}; "
            "pass on the state that the layer returned, or None"
        )

    def _vector(self, v: Any) -> Expression:
        return vector_of(v, self.n_hidden, type(self).__name__, self.model.dtype, "a state")


class RNN(Recurrent):
    """h_t = activation(W x_t + U h_(t-1) + b); see `Recurrent` for how it is called.

    The state is h, or a tuple of the h of each layer.

    Args:
        model: Owns the parameters, in a sub-model "rnn" (below it "layer_0", ... if there are
            several): W ``(n_hidden, n_in)``, U ``(n_hidden, n_hidden)``, b.
        n_in: Length of x_t.
        n_hidden: Length of h_t.
        layers: Number of layers; each runs along the outputs of the one below.
        dropout: Probability of dropping entries of the inputs and of the hidden state of every
            layer; the same entries at all steps of a sequence.
        activation: A function of an expression, or the name of one ("tanh", "relu", ...).
        recurrent_init: Initialiser of U.

    Sources: J. L. Elman, "Finding structure in time", 1990; dropout: Y. Gal, Z. Ghahramani, "A
    theoretically grounded application of dropout in recurrent neural networks", 2016 (with one
    mask for all gates).

    >>> import lazynet as ln
    >>> rnn = ln.nn.RNN(ln.Model(seed=0), 3, 4)
    >>> ys, h = rnn([ln.constant([1.0, 0.0, 0.0]), ln.constant([0.0, 1.0, 0.0])])
    >>> len(ys), h.shape
    (2, (4,))
    """

    def __init__(
        self,
        model: Model,
        n_in: int,
        n_hidden: int,
        layers: int = 1,
        dropout: float = 0.0,
        *,
        activation: str | Activation = "tanh",
        recurrent_init: Any = "glorot",
    ) -> None:
        function = activation_of(activation, "RNN")

        def make(part: Model, n: int, m: int) -> Cell:
            return RNNCell(part, n, m, function, recurrent_init)

        super().__init__(model, "rnn", n_in, n_hidden, layers, dropout, make)


class GRU(Recurrent):
    """A gated recurrent unit; see `Recurrent` for how it is called.

    ::

        r = sigmoid(W_r x + U_r h + b_r)
        z = sigmoid(W_z x + U_z h + b_z)
        g = tanh(W_g x + U_g (r h) + b_g)            reset_after=False, as published
        g = tanh(W_g x + b_g + r (U_g h + c_g))      reset_after=True, as in cuDNN and PyTorch
        h' = z h + (1 - z) g

    The state is h, or a tuple of the h of each layer.

    Args:
        model: Owns the parameters, in a sub-model "gru" (below it "layer_0", ... if there are
            several): W ``(3 n_hidden, n_in)`` and b with blocks r, z, g; U ``(2 n_hidden,
            n_hidden)`` with blocks r, z, and U_candidate. With `reset_after`, U has three blocks,
            and b_recurrent is the bias c of all three.
        n_in: Length of the input.
        n_hidden: Length of h.
        layers: Number of layers; each runs along the outputs of the one below.
        dropout: Probability of dropping entries of the inputs and of the hidden state (where it
            enters a product) of every layer; the same entries at all steps of a sequence.
        reset_after: Which candidate g; see above. True needs one product a step instead of two.
        recurrent_init: Initialiser of each block of U.

    Sources: K. Cho et al., "Learning phrase representations using RNN encoder-decoder for
    statistical machine translation", 2014; dropout: see `RNN`.

    >>> import lazynet as ln
    >>> gru = ln.nn.GRU(ln.Model(seed=0), 3, 4, layers=2)
    >>> ys, (h0, h1) = gru(ln.constant([[1, 0, 0], [0, 1, 0]], batched=True))
    >>> ys.batch, h1.shape
    (2, (4,))
    """

    def __init__(
        self,
        model: Model,
        n_in: int,
        n_hidden: int,
        layers: int = 1,
        dropout: float = 0.0,
        *,
        reset_after: bool = False,
        recurrent_init: Any = "glorot",
    ) -> None:
        cell = GRUCellResetAfter if reset_after else GRUCell

        def make(part: Model, n: int, m: int) -> Cell:
            return cell(part, n, m, recurrent_init)

        super().__init__(model, "gru", n_in, n_hidden, layers, dropout, make)


class LSTM(Recurrent):
    """A long short-term memory; see `Recurrent` for how it is called.

    ::

        i, f, o = sigmoid(W x + U h + b), g = tanh(W x + U h + b)      each with its block
        c' = f c + i g
        h' = o tanh(c')

    The state is (h, c), or a tuple with the (h, c) of each layer.

    Args:
        model: Owns the parameters, in a sub-model "lstm" (below it "layer_0", ... if there are
            several): W ``(4 n_hidden, n_in)``, U ``(4 n_hidden, n_hidden)``, b; with blocks in the
            order i, f, o, g.
        n_in: Length of the input.
        n_hidden: Length of h and c.
        layers: Number of layers; each runs along the outputs of the one below.
        dropout: Probability of dropping entries of the inputs and of the hidden state of every
            layer; the same entries at all steps of a sequence.
        forget_bias: What the forget block of b starts with; the rest starts as zeros. It is part
            of b: it is trained and saved with it.
        layer_norm: Whether W x, U h and c are normalised, with gains and biases of their own.
        recurrent_init: Initialiser of each block of U ("orthogonal" suits long sequences).

    Sources: S. Hochreiter, J. Schmidhuber, "Long short-term memory", 1997; F. Gers et al.,
    "Learning to forget", 2000; forget bias: R. Jozefowicz et al., "An empirical exploration of
    recurrent network architectures", 2015; dropout: see `RNN`; layer norm: J. L. Ba et al., "Layer
    normalization", 2016, equations 20 to 22.

    >>> import lazynet as ln
    >>> model = ln.Model(seed=0)
    >>> emb, lstm = model.lookup(10, 3), ln.nn.LSTM(model, 3, 4)
    >>> ys, (h, c) = lstm(emb[[7, 1, 4]])
    >>> ys.batch, h.shape
    (3, (4,))
    >>> y, (h, c) = lstm.step(emb[5], (h, c))
    """

    def __init__(
        self,
        model: Model,
        n_in: int,
        n_hidden: int,
        layers: int = 1,
        dropout: float = 0.0,
        forget_bias: float = 1.0,
        layer_norm: bool = False,
        *,
        recurrent_init: Any = "glorot",
    ) -> None:
        bias = number_of(forget_bias, "LSTM: forget_bias")
        cell = NormedLSTMCell if layer_norm else LSTMCell

        def make(part: Model, n: int, m: int) -> Cell:
            return cell(part, n, m, bias, recurrent_init)

        super().__init__(model, "lstm", n_in, n_hidden, layers, dropout, make)


class Bidirectional:
    """Two recurrent layers along one sequence, one in each direction; outputs concatenated.

    ``ys, (state_forward, state_backward) = layer(xs)``; xs as for the layers. The output at each
    position has shape ``(forward.n_hidden + backward.n_hidden,)``; what the two read from their
    ends on is in the states.

    Args:
        forward: A layer of this module, run from the first position to the last.
        backward: Another one with the same n_in, run from the last to the first.

    Source: M. Schuster, K. K. Paliwal, "Bidirectional recurrent neural networks", 1997.

    >>> import lazynet as ln
    >>> model = ln.Model(seed=0)
    >>> both = ln.nn.Bidirectional(ln.nn.LSTM(model, 3, 4), ln.nn.LSTM(model, 3, 4))
    >>> ys, ((h_last, _), (h_first, _)) = both(ln.constant([[1, 0, 0], [0, 1, 0]], batched=True))
    >>> ys.batch, ys.shape
    (2, (8,))
    """

    def __init__(self, forward: Recurrent, backward: Recurrent) -> None:
        for layer in (forward, backward):
            if not isinstance(layer, Recurrent):
                raise ArgumentError(
                    f"Bidirectional: got {layer!r}; it takes two recurrent layers (RNN, GRU, LSTM)"
                )
        if forward.n_in != backward.n_in:
            raise ShapeError(
                f"Bidirectional: got layers with n_in {forward.n_in} and {backward.n_in}; both "
                "read the same sequence; make them equal"
            )
        if forward.model.dtype != backward.model.dtype:
            raise SettingError("Bidirectional: the two layers must be of models of one dtype")
        self.forward = forward
        self.backward = backward
        self.n_in = forward.n_in
        self.n_hidden = forward.n_hidden + backward.n_hidden

    @overload
    def __call__(
        self, xs: Expression | Array, state: Any = None
    ) -> tuple[Expression, tuple[Any, Any]]: ...

    @overload
    def __call__(
        self, xs: Sequence[Any], state: Any = None
    ) -> tuple[list[Expression], tuple[Any, Any]]: ...

    def __call__(self, xs: Any, state: Any = None) -> tuple[Any, tuple[Any, Any]]:
        """Run a sequence in both directions.

        Args:
            xs: The sequence; each position has shape ``(n_in,)``.
            state: A pair of states before the first and after the last position; None for the
                initial ones.

        Returns:
            The outputs in the form of xs, and the pair of states after the run.
        """
        if state is None:
            state = (None, None)
        if not isinstance(state, (tuple, list)) or len(state) != 2:
            raise ArgumentError(
                f"Bidirectional: got state {state!r}; it must be a pair, (state of the forward "
                "layer, state of the backward layer), or None"
            )
        rows, listed = sequence_of(xs, self.n_in, "Bidirectional", self.forward.model.dtype)
        ys, after = self.forward(rows, state[0])
        zs, before = self.backward(rows, state[1], reverse=True)
        if isinstance(rows, list):
            return [concatenate([y, z]) for y, z in zip(ys, zs)], (after, before)
        both = concatenate([ys, zs])
        return unbatch(both) if listed else both, (after, before)


__all__ = ["GRU", "LSTM", "RNN", "Bidirectional", "Recurrent"]
