"""A softmax over one of several groups of classes, each with weights of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazynet.errors import ShapeError
from lazynet.graph import Expression, Leaf, adopt, node, record
from lazynet.kinds import Array, Call, Kind, Op, Shape, Type
from lazynet.ops.index import in_range
from lazynet.ops.numeric import last_max, last_sum
from lazynet.tape import LOCAL, tape_for_input


@dataclass(frozen=True)
class GroupedCrossEntropy(Op):
    """y = log sum_j exp(z_j) - z_c with z = W_g x + b_g; the payload of a row is g and c

    dz_j = (softmax(z)_j - [j = c]) dy, dx = W_g^T dz, dW_g = dz x^T, db_g = dz. Where W_g has a
    single row, a score of 0 follows its own: two classes by one score. Rows of one group are one
    product; groups that no row has are not touched, and get no gradient.

    Attributes:
        bias: Whether the arguments are x, W_0, b_0, W_1, b_1, ... or x, W_0, W_1, ...
        result: Shape of y: () or (1,).
    """

    bias: bool
    result: Shape = ()

    payload = "ints"
    shares = True

    def shape(self, x: Shape, *weights: Shape) -> Shape:
        step = 1 + self.bias
        fit = len(x) == 1 and len(weights) > 0 and len(weights) % step == 0
        for k in range(0, len(weights), step):
            W = weights[k]
            fit = fit and len(W) == 2 and W[0] > 0 and W[1:] == x
            fit = fit and (not self.bias or weights[k + 1] == W[:1])
        if not fit:
            raise self.fail(
                "each W must have as many columns as x has entries, and its b as many as rows",
                "check the sizes",
                x,
                *weights,
            )
        return self.result

    def forward(self, call: Call, x: Array, *weights: Array) -> Array:
        step = 1 + self.bias
        order, parts = _groups(call.payload[:, 0])
        xs = _sorted(x, call.shared[0], order)
        width = max([2, *(W.shape[-2] for W in weights[::step])])
        z = np.full((call.rows, width), -np.inf, x.dtype)
        for g, start, stop in parts:
            k = g * step
            W = weights[k]
            n = W.shape[-2]
            scores = z[start:stop, :n]
            if call.shared[1 + k]:
                scores[...] = xs[start:stop] @ W.T
            else:
                scores[...] = np.einsum("rnd,rd->rn", W[order[start:stop]], xs[start:stop])
            if self.bias:
                b = weights[k + 1]
                scores += b if call.shared[2 + k] else b[order[start:stop]]
            if n == 1:
                z[start:stop, 1] = 0
        top = last_max(z)
        e = np.exp(z - top[:, None])
        total = last_sum(e)
        y = np.log(total) + top - z[np.arange(call.rows), call.payload[order, 1]]
        call.keep = (_unsorted(e, order), _unsorted(total, order))
        return _unsorted(y, order).reshape((call.rows, *self.result))

    def backward(self, call: Call, dy: Array, y: Array, x: Array, *weights: Array) -> Any:
        e, total = call.keep
        step = 1 + self.bias
        order, parts = _groups(call.payload[:, 0])
        factor = (dy.reshape(-1) / total)[order, None]
        dz = e[order]
        dz *= factor
        dz[np.arange(len(dz)), call.payload[order, 1]] -= dy.reshape(-1)[order]
        xs = _sorted(x, call.shared[0], order)
        gradients: list[Any] = [None] * (1 + len(weights))
        dx = np.empty(xs.shape, x.dtype)
        for k, W in enumerate(weights, 1):
            if call.needs[k] and not call.shared[k]:
                gradients[k] = np.zeros_like(W)
        for g, start, stop in parts:
            k = 1 + g * step
            W = weights[k - 1]
            part = dz[start:stop, : W.shape[-2]]
            rows = order[start:stop]
            if call.needs[0]:
                shared = call.shared[k]
                dx[start:stop] = part @ W if shared else np.einsum("rn,rnd->rd", part, W[rows])
            if call.needs[k]:
                if call.shared[k]:
                    gradients[k] = part.T @ xs[start:stop]
                else:
                    gradients[k][rows] = part[:, :, None] * xs[start:stop, None]
            if self.bias and call.needs[k + 1]:
                if call.shared[k + 1]:
                    gradients[k + 1] = np.add.reduce(part, axis=0)
                else:
                    gradients[k + 1][rows] = part
        if call.needs[0]:
            gradients[0] = dx.sum(axis=0) if call.shared[0] else _unsorted(dx, order)
        return tuple(gradients)


def _groups(groups: Array) -> tuple[Array, list[tuple[int, int, int]]]:
    """The order of rows that brings groups together; and those that there are, where they lie."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = [0, *(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1).tolist()] if len(order) else []
    stops = [*starts[1:], len(order)]
    return order, list(zip(ordered[starts].tolist(), starts, stops))


def _sorted(x: Array, shared: bool, order: Array) -> Array:
    return np.broadcast_to(x, (len(order), len(x))) if shared else x[order]


def _unsorted(x: Array, order: Array) -> Array:
    result = np.empty_like(x)
    result[order] = x
    return result


class GroupedLosses:
    """Records nodes of one `GroupedCrossEntropy` on the same parameters, without looking at them.

    Args:
        op: The operation.
        weights: Its arguments after x.
    """

    def __init__(self, op: GroupedCrossEntropy, weights: Sequence[Leaf]) -> None:
        self.op = op
        self.weights = tuple(weights)
        self._kinds: dict[Type, Kind] = {}

    def __call__(self, x: Expression, payload: Any) -> Expression:
        """A node.

        Args:
            x: Shape ``(n_in,)``.
            payload: Its group and class: a pair, or of a batch an array of them.
        """
        kind = self._kinds.get(x.type)
        tape = LOCAL.tape
        if kind is None or tape.trace is not None:
            made = record(self.op, (x, *self.weights), payload)
            if not x.type.shared and tape.trace is None:
                self._kinds[x.type] = made.kind
            return made
        if tape.sealed != 0 or x.tape is not tape:
            tape = tape_for_input()
        given = adopt(tape, x)
        indices = tape.groups.get(self)
        if indices is None:
            indices = tape.groups[self] = [adopt(tape, p) for p in self.weights]
        result: Expression = node(tape, kind, [given, *indices], tape.rows[given], payload)
        return result


def _shape(x: Any) -> Shape:
    return x.shape if isinstance(x, Expression) else np.shape(x)


def grouped_cross_entropy(
    x: Any,
    weights: Sequence[Any],
    biases: Sequence[Any] | None,
    group: int,
    c: int,
    result: Shape = (),
) -> Expression:
    """-log softmax(W_g x + b_g)_c, in nats: nodes of all groups and classes are one batch.

    Args:
        x: Shape ``(n_in,)``.
        weights: For each group W, ``(its classes, n_in)``; one row stands for two classes, of
            which the second has the score 0.
        biases: For each group b, ``(its classes,)``; None for none.
        group: g, from 0.
        c: The class within the group, from 0.
        result: Shape of the result.

    Returns:
        A scalar for each row.

    Raises:
        RangeError: If there is no such group or class.
        ShapeError: If the shapes do not fit, or there are more or fewer biases than weights.

    >>> import lazynet as ln
    >>> round(grouped_cross_entropy(np.ones(2), [np.zeros((4, 2))], None, 0, 3).value(), 4)
    1.3863
    """
    role = "grouped_cross_entropy"
    if biases is not None and len(biases) != len(weights):
        raise ShapeError(f"{role}: got {len(weights)} weights and {len(biases)} biases")
    g = in_range(group, len(weights), f"{role}: group")
    chosen = in_range(c, max(2, _shape(weights[g])[0]), f"{role}: c")
    args = [x]
    for k, W in enumerate(weights):
        args += [W] if biases is None else [W, biases[k]]
    op = GroupedCrossEntropy(biases is not None, result)
    return record(op, tuple(args), np.array([g, chosen]))


__all__ = ["GroupedCrossEntropy", "GroupedLosses", "grouped_cross_entropy"]
