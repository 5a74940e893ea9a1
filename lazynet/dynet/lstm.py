"""The parts of a step of an LSTM: gates, cell, hidden state."""

from __future__ import annotations

import lazynet.ops as ops
from lazynet.dynet.common import misfit, number
from lazynet.dynet.expression import Expression, checked, nodes_of, show, wrap
from lazynet.dynet.random import noise
from lazynet.errors import ShapeError
from lazynet.graph import Expression as Node
from lazynet.ops.gates import lstm_cell, lstm_gates, lstm_hidden


def vanilla_lstm_gates(
    x_t: Expression,
    h_tm1: Expression,
    Wx: Expression,
    Wh: Expression,
    b: Expression,
    weightnoise_std: float = 0.0,
) -> Expression:
    """The gates of an LSTM: sigmoid for i, f (plus 1) and o, tanh for g, of Wx x + Wh h + b.

    Args:
        x_t: The input, of dimensions (m,).
        h_tm1: The hidden state before, of dimensions (n,).
        Wx: Dimensions (4 n, m).
        Wh: Dimensions (4 n, n).
        b: Dimensions (4 n,).
        weightnoise_std: Standard deviation of normal noise added to Wx, Wh and b; the same noise
            for all examples of a minibatch.

    Returns:
        i, f, o and g one behind the other, an expression of dimensions (4 n,).

    Raises:
        ValueError: If the dimensions do not fit.
    """
    name = "vanilla_lstm_gates"
    x = checked(x_t, name).node
    return _gates(name, x, h_tm1, Wx, Wh, b, weightnoise_std)


def vanilla_lstm_gates_concat(
    x_t: list[Expression],
    h_tm1: Expression,
    Wx: Expression,
    Wh: Expression,
    b: Expression,
    weightnoise_std: float = 0.0,
) -> Expression:
    """`vanilla_lstm_gates` of several inputs, put one behind the other.

    Args:
        x_t: The inputs, vectors of m elements in all.
        h_tm1: The hidden state before, of dimensions (n,).
        Wx: Dimensions (4 n, m).
        Wh: Dimensions (4 n, n).
        b: Dimensions (4 n,).
        weightnoise_std: Standard deviation of normal noise added to Wx, Wh and b.

    Returns:
        An expression of dimensions (4 n,).

    Raises:
        ValueError: If the dimensions do not fit, or there is no input.
        TypeError: If the inputs are no list.
    """
    name = "vanilla_lstm_gates_concat"
    return _gates(name, _joined(x_t, name), h_tm1, Wx, Wh, b, weightnoise_std)


def vanilla_lstm_gates_dropout(
    x_t: Expression,
    h_tm1: Expression,
    Wx: Expression,
    Wh: Expression,
    b: Expression,
    dropout_mask_x: Expression,
    dropout_mask_h: Expression,
    weightnoise_std: float = 0.0,
) -> Expression:
    """`vanilla_lstm_gates` of the input and the hidden state times their masks.

    Args:
        x_t: The input, of dimensions (m,).
        h_tm1: The hidden state before, of dimensions (n,).
        Wx: Dimensions (4 n, m).
        Wh: Dimensions (4 n, n).
        b: Dimensions (4 n,).
        dropout_mask_x: Dimensions (m,).
        dropout_mask_h: Dimensions (n,).
        weightnoise_std: Standard deviation of normal noise added to Wx, Wh and b.

    Returns:
        An expression of dimensions (4 n,).

    Raises:
        ValueError: If the dimensions do not fit.
    """
    name = "vanilla_lstm_gates_dropout"
    x = checked(x_t, name).node
    masks = (dropout_mask_x, dropout_mask_h)
    return _gates(name, x, h_tm1, Wx, Wh, b, weightnoise_std, masks)


def vanilla_lstm_gates_dropout_concat(
    x_t: list[Expression],
    h_tm1: Expression,
    Wx: Expression,
    Wh: Expression,
    b: Expression,
    dropout_mask_x: Expression,
    dropout_mask_h: Expression,
    weightnoise_std: float = 0.0,
) -> Expression:
    """`vanilla_lstm_gates_dropout` of several inputs, put one behind the other.

    Args:
        x_t: The inputs, vectors of m elements in all.
        h_tm1: The hidden state before, of dimensions (n,).
        Wx: Dimensions (4 n, m).
        Wh: Dimensions (4 n, n).
        b: Dimensions (4 n,).
        dropout_mask_x: Dimensions (m,).
        dropout_mask_h: Dimensions (n,).
        weightnoise_std: Standard deviation of normal noise added to Wx, Wh and b.

    Returns:
        An expression of dimensions (4 n,).

    Raises:
        ValueError: If the dimensions do not fit, or there is no input.
        TypeError: If the inputs are no list.
    """
    name = "vanilla_lstm_gates_dropout_concat"
    masks = (dropout_mask_x, dropout_mask_h)
    return _gates(name, _joined(x_t, name), h_tm1, Wx, Wh, b, weightnoise_std, masks)


def _joined(xs: list[Expression], name: str) -> Node:
    nodes = nodes_of(xs, name)
    for x, node in zip(xs, nodes, strict=True):
        if node.ndim != 1:
            raise ShapeError(f"{name}: got an input of dimensions {show(x)}; it takes vectors")
    if len(nodes) == 1:
        return nodes[0]
    try:
        return ops.concatenate(nodes)
    except ShapeError as error:
        raise misfit(name, error, *xs) from None


def _gates(
    name: str,
    x: Node,
    h_tm1: Expression,
    Wx: Expression,
    Wh: Expression,
    b: Expression,
    weightnoise_std: float,
    masks: tuple[Expression, ...] = (),
) -> Expression:
    h, wx, wh, bias = (
        checked(h_tm1, name).node,
        checked(Wx, name).node,
        checked(Wh, name).node,
        checked(b, name).node,
    )
    if weightnoise_std != 0 and number(weightnoise_std, name, "weightnoise_std") > 0:
        wx, wh, bias = [noise(w, weightnoise_std).node for w in (Wx, Wh, b)]
    try:
        if masks:
            x, h = _masked(name, x, masks[0]), _masked(name, h, masks[1])
        return wrap(lstm_gates(bias, wx, x, wh, h))
    except ShapeError as error:
        raise misfit(name, error, h_tm1, Wx, Wh, b, *masks) from None


def _masked(name: str, x: Node, mask: Expression) -> Node:
    node = checked(mask, name).node
    if node.shape != x.shape:
        raise ShapeError(
            f"{name}: got a dropout mask of dimensions {show(mask)} for {x.shape}; they must agree"
        )
    return x * node


def vanilla_lstm_c(c_tm1: Expression, gates_t: Expression) -> Expression:
    """The next cell of an LSTM: i g + f c.

    Args:
        c_tm1: The cell before, of dimensions (n,).
        gates_t: The gates, of dimensions (4 n,).

    Raises:
        ValueError: If the dimensions do not fit.
    """
    c, gates = checked(c_tm1, "vanilla_lstm_c").node, checked(gates_t, "vanilla_lstm_c").node
    try:
        return wrap(lstm_cell(c, gates))
    except ShapeError as error:
        raise misfit("vanilla_lstm_c", error, c_tm1, gates_t) from None


def vanilla_lstm_h(c_t: Expression, gates_t: Expression) -> Expression:
    """The hidden state of an LSTM: o tanh(c).

    Args:
        c_t: The cell, of dimensions (n,).
        gates_t: The gates, of dimensions (4 n,).

    Raises:
        ValueError: If the dimensions do not fit.
    """
    c, gates = checked(c_t, "vanilla_lstm_h").node, checked(gates_t, "vanilla_lstm_h").node
    try:
        return wrap(lstm_hidden(c, gates))
    except ShapeError as error:
        raise misfit("vanilla_lstm_h", error, c_t, gates_t) from None
