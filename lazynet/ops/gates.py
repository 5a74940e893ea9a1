"""A step of an LSTM as three operations: gates, cell, hidden state.

The gates lie one behind the other in one vector: input, forget, output, candidate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lazynet.graph import Expression, record
from lazynet.kinds import Array, Call, Op, Shape
from lazynet.ops import cuda_linalg
from lazynet.ops.elementwise import ready
from lazynet.ops.linalg import Affine

_AFFINE = Affine()


@dataclass(frozen=True)
class LstmGates(Op):
    """z = b + W x + U h; i, f, o = sigmoid(z_i), sigmoid(z_f + 1), sigmoid(z_o); g = tanh(z_g)

    Source: R. Jozefowicz, W. Zaremba, I. Sutskever, "An empirical exploration of recurrent network
    architectures", 2015, for the 1 of the forget gate.
    """

    shares = True

    def shape(self, b: Shape, W: Shape, x: Shape, U: Shape, h: Shape) -> Shape:
        rows = (4 * h[0],) if h else ()
        if len(x) != 1 or len(h) != 1 or b != rows or rows + x != W or rows + h != U:
            raise self.fail(
                "x and h must be vectors, of m and n elements, W a matrix (4 n, m), U one "
                "(4 n, n) and b a vector (4 n,)",
                "reshape them",
                b=b,
                W=W,
                x=x,
                U=U,
                h=h,
            )
        return rows

    def forward(self, call: Call, *args: Array) -> Array:
        if type(call.out) is not np.ndarray:
            return cuda_linalg.gates(_AFFINE.products(call, *args[1:]), args[0])
        y = _AFFINE.forward(call, *args)
        half = y.dtype.type(0.5)
        n = y.shape[1] // 4
        sigmoids = y[:, : 3 * n]
        # sigmoid(z) = (1 + tanh(z / 2)) / 2, which overflows nowhere
        sigmoids *= half
        y[:, n : 2 * n] += half
        np.tanh(y, out=y)
        sigmoids *= half
        sigmoids += half
        return y

    def backward(self, call: Call, dy: Array, y: Array, *args: Array) -> Any:
        if type(dy) is not np.ndarray:
            return _AFFINE.backward(call, cuda_linalg.gates_back(y, dy), y, *args)
        n = y.shape[1] // 4
        dz = y * y
        dz[:, : 3 * n] -= y[:, : 3 * n]
        dz[:, 3 * n :] -= y.dtype.type(1)
        dz *= dy
        return _AFFINE.backward(call, np.negative(dz, out=dz), y, *args)


@dataclass(frozen=True)
class LstmCell(Op):
    """c' = i g + f c"""

    reads_y = False

    def shape(self, c: Shape, gates: Shape) -> Shape:
        return _state(self, c, gates)

    def forward(self, call: Call, c: Array, gates: Array) -> Array:
        if type(c) is not np.ndarray:
            return cuda_linalg.cell(c, gates, call.out)
        i, f, _, g = _quarters(gates)
        y: Array = np.multiply(f, c, out=call.out)
        y += i * g
        return y

    def backward(self, call: Call, dy: Array, y: Array, c: Array, gates: Array) -> Any:
        if type(c) is not np.ndarray:
            return cuda_linalg.cell_back(dy, c, gates)
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
        if type(c) is not np.ndarray:
            y, call.keep = cuda_linalg.hidden(c, gates, call.out)
            return y
        call.keep = np.tanh(c)
        h: Array = np.multiply(_quarters(gates)[2], call.keep, out=call.out)
        return h

    def backward(self, call: Call, dy: Array, y: Array, c: Array, gates: Array) -> Any:
        t: Array = call.keep
        if type(dy) is not np.ndarray:
            return cuda_linalg.hidden_back(dy, t, gates)
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


def lstm_gates(
    b: Expression, W: Expression, x: Expression, U: Expression, h: Expression
) -> Expression:
    """The four gates of an LSTM, in one node; 1 is added to the forget gate's pre-activation.

    Args:
        b: Bias (4 n,).
        W: Matrix (4 n, m).
        x: The input, (m,).
        U: Matrix (4 n, n).
        h: The hidden state before, (n,).

    Returns:
        An expression of shape (4 n,): input, forget and output gate, candidate.

    Raises:
        ShapeError: If the shapes do not fit.

    >>> import lazynet as ln
    >>> from lazynet.ops.gates import lstm_gates
    >>> b, W, x = ln.constant([0, -1, 0, 0]), ln.constant([[1]] * 4), ln.constant([0])
    >>> lstm_gates(b, W, x, W, x).value().tolist()
    [0.5, 0.5, 0.5, 0.0]
    """
    return record(_GATES, (b, W, x, U, h))


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
