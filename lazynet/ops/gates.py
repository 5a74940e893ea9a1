"""What follows the matrix products in a step of an LSTM, as three operations.

The gates lie one behind the other in one vector: input, forget, output, candidate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lazynet.graph import Expression, record
from lazynet.kinds import Array, Call, Op, Shape
from lazynet.ops.elementwise import ready


@dataclass(frozen=True)
class LstmGates(Op):
    """i, f, o = sigmoid(x_i), sigmoid(x_f + 1), sigmoid(x_o); g = tanh(x_g)

    Source: R. Jozefowicz, W. Zaremba, I. Sutskever, "An empirical exploration of recurrent network
    architectures", 2015, for the 1 of the forget gate.
    """

    reads_args = False

    def shape(self, x: Shape) -> Shape:
        if len(x) != 1 or x[0] % 4:
            raise self.fail("x must be a vector of four gates of one length", "reshape it", x=x)
        return x

    def forward(self, call: Call, x: Array) -> Array:
        n = x.shape[1] // 4
        y: Array = call.out
        sigmoids = y[:, : 3 * n]
        # sigmoid(x) = (1 + tanh(x / 2)) / 2, which overflows nowhere
        np.multiply(x[:, : 3 * n], x.dtype.type(0.5), out=sigmoids)
        y[:, n : 2 * n] += x.dtype.type(0.5)
        y[:, 3 * n :] = x[:, 3 * n :]
        np.tanh(y, out=y)
        sigmoids *= x.dtype.type(0.5)
        sigmoids += x.dtype.type(0.5)
        return y

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        n = y.shape[1] // 4
        dx = y * y
        dx[:, : 3 * n] -= y[:, : 3 * n]
        np.negative(dx, out=dx)
        dx[:, 3 * n :] += dy.dtype.type(1)
        dx *= dy
        return dx


@dataclass(frozen=True)
class LstmCell(Op):
    """c' = i g + f c"""

    reads_y = False

    def shape(self, c: Shape, gates: Shape) -> Shape:
        return _state(self, c, gates)

    def forward(self, call: Call, c: Array, gates: Array) -> Array:
        i, f, _, g = _quarters(gates)
        y: Array = np.multiply(f, c, out=call.out)
        y += i * g
        return y

    def backward(self, call: Call, dy: Array, y: Array, c: Array, gates: Array) -> Any:
        i, f, _, g = _quarters(gates)
        dc = f * dy if call.needs[0] else None
        if not call.needs[1]:
            return dc, None
        dgates = np.empty(gates.shape, gates.dtype)
        di, df, do, dg = _quarters(dgates)
        np.multiply(g, dy, out=di)
        np.multiply(c, dy, out=df)
        do[...] = 0
        np.multiply(i, dy, out=dg)
        return dc, dgates


@dataclass(frozen=True)
class LstmHidden(Op):
    """h = o tanh(c)"""

    reads_y = False

    def shape(self, c: Shape, gates: Shape) -> Shape:
        return _state(self, c, gates)

    def forward(self, call: Call, c: Array, gates: Array) -> Array:
        call.keep = np.tanh(c)
        h: Array = np.multiply(_quarters(gates)[2], call.keep, out=call.out)
        return h

    def backward(self, call: Call, dy: Array, y: Array, c: Array, gates: Array) -> Any:
        t: Array = call.keep
        dc = dgates = None
        if call.needs[0]:
            dc = np.multiply(t, t)
            np.subtract(t.dtype.type(1), dc, out=dc)
            dc *= _quarters(gates)[2]
            dc *= dy
        if call.needs[1]:
            dgates = np.zeros(gates.shape, gates.dtype)
            np.multiply(t, dy, out=_quarters(dgates)[2])
        return dc, dgates


def _state(op: Op, c: Shape, gates: Shape) -> Shape:
    if len(c) != 1 or gates != (4 * c[0],):
        raise op.fail(
            "c must be a vector, and the gates one four times as long",
            "reshape them",
            c=c,
            gates=gates,
        )
    return c


def _quarters(x: Array) -> tuple[Array, Array, Array, Array]:
    n = x.shape[1] // 4
    return x[:, :n], x[:, n : 2 * n], x[:, 2 * n : 3 * n], x[:, 3 * n :]


_GATES = ready(LstmGates())
_CELL = ready(LstmCell())
_HIDDEN = ready(LstmHidden())


def lstm_gates(x: Expression) -> Expression:
    """The four gates of an LSTM from their pre-activations; the forget gate's is raised by 1.

    Args:
        x: Shape (4 n,): input, forget and output gate, candidate.

    Returns:
        An expression of shape (4 n,).

    Raises:
        ShapeError: If x is no vector of a length that 4 divides.

    >>> import lazynet as ln
    >>> from lazynet.ops.gates import lstm_gates
    >>> lstm_gates(ln.constant([0, -1, 0, 0])).value().tolist()
    [0.5, 0.5, 0.5, 0.0]
    """
    return record(_GATES, (x,))


def lstm_cell(c: Expression, gates: Expression) -> Expression:
    """The next cell of an LSTM, from the one before and the gates.

    Args:
        c: Shape (n,).
        gates: Shape (4 n,), from `lstm_gates`.

    Returns:
        An expression of shape (n,).

    Raises:
        ShapeError: If the lengths do not fit.

    >>> import lazynet as ln
    >>> from lazynet.ops.gates import lstm_cell
    >>> lstm_cell(ln.constant([2]), ln.constant([1, 0.5, 0, 3])).value().tolist()
    [4.0]
    """
    return record(_CELL, (c, gates))


def lstm_hidden(c: Expression, gates: Expression) -> Expression:
    """The hidden state of an LSTM, from its cell and the gates.

    Args:
        c: Shape (n,), from `lstm_cell`.
        gates: Shape (4 n,), from `lstm_gates`.

    Returns:
        An expression of shape (n,).

    Raises:
        ShapeError: If the lengths do not fit.

    >>> import lazynet as ln
    >>> from lazynet.ops.gates import lstm_hidden
    >>> lstm_hidden(ln.constant([0]), ln.constant([1, 0.5, 1, 3])).value().tolist()
    [0.0]
    """
    return record(_HIDDEN, (c, gates))


__all__ = [
    "LstmCell",
    "LstmGates",
    "LstmHidden",
    "lstm_cell",
    "lstm_gates",
    "lstm_hidden",
]
