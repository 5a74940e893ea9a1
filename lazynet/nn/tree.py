"""Tree-LSTMs: cells that combine the states of any children.

Source: K. S. Tai, R. Socher, C. D. Manning, "Improved semantic representations from tree-structured
long short-term memory networks", 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazynet.errors import ArgumentError, ShapeError
from lazynet.fuse import fuse
from lazynet.graph import Expression
from lazynet.inputs import rebatch
from lazynet.nn.base import PerGate, number_of, part_of, size_of, vector_of
from lazynet.ops import affine, concatenate, sigmoid, split, sum, sum_batch, tanh
from lazynet.parameters import Model

TreeState = tuple[Expression, Expression]


class _TreeLSTM:
    """What both have in common: sizes, the parameters that read x, and the leaf."""

    def __init__(
        self, model: Model, name: str, n_in: int, n_hidden: int, forget_bias: float
    ) -> None:
        self.role = type(self).__name__
        self.n_in = size_of(n_in, f"{self.role}: n_in")
        self.n_hidden = n = size_of(n_hidden, f"{self.role}: n_hidden")
        bias = number_of(forget_bias, f"{self.role}: forget_bias")
        self.model = part_of(model, name, self.role)
        self.W = self.model.parameter((3 * n, self.n_in), init=PerGate("glorot", 3), name="W")
        self.b = self.model.parameter(3 * n, init="zeros", name="b")
        self.W_forget = self.model.parameter((n, self.n_in), name="W_forget")
        self.b_forget = self.model.parameter(n, init=np.full(n, bias), name="b_forget")

    def __call__(self, x: Any = None, children: Sequence[tuple[Any, Any] | None] = ()) -> TreeState:
        """The state of a tree node.

        Args:
            x: Input at the node, shape ``(n_in,)``; None where it has none.
            children: States (h, c) of its children.

        Returns:
            (h, c), both of shape ``(n_hidden,)``.

        Raises:
            ArgumentError: If there is neither an input nor a child, or a child is no pair.
            ShapeError: If a shape is another.
        """
        if x is not None:
            x = vector_of(x, self.n_in, self.role, self.model.dtype)
        if isinstance(children, Expression) or not hasattr(children, "__iter__"):
            raise self._no_states(children)
        states = [s if s is None else self._state(s) for s in children]
        if all(s is None for s in states):
            if x is None:
                raise ArgumentError(
                    f"{self.role}: got neither an input nor children; a leaf needs an input"
                )
            leaf: TreeState = self.leaf(x)
            return leaf
        return self.node(x, states)

    def _state(self, state: Any) -> TreeState:
        if not isinstance(state, (tuple, list)) or len(state) != 2:
            raise self._no_states(state)
        dtype = self.model.dtype
        h, c = (vector_of(v, self.n_hidden, self.role, dtype, "a child's state") for v in state)
        return h, c

    def _no_states(self, got: Any) -> ArgumentError:
        return ArgumentError(
            f"{self.role}: got {got!r} as children; it takes a list with the state (h, c) of each"
        )

    @fuse
    def leaf(self, x: Expression) -> TreeState:
        """State of a node without children."""
        i, o, g = self._gates(affine(self.b, self.W, x))
        c = i * g
        return o * tanh(c), c

    def node(self, x: Expression | None, states: list[TreeState | None]) -> TreeState:
        """State of a node with children."""
        raise NotImplementedError

    def _gates(self, products: Expression) -> tuple[Expression, Expression, Expression]:
        n = self.n_hidden
        gates, candidate = split(products, [2 * n, n])
        i, o = split(sigmoid(gates), 2)
        return i, o, tanh(candidate)


class ChildSumTreeLSTM(_TreeLSTM):
    """A tree-LSTM for nodes with any number of children in no order (dependency trees).

    ::

        s = sum_k h_k
        i, o = sigmoid(W x + U s + b), g = tanh(W x + U s + b)      each with its block
        f_k = sigmoid(W_f x + U_f h_k + b_f)
        c = i g + sum_k f_k c_k
        h = o tanh(c)

    ``h, c = cell(x, [child states])``; x may be None. All children of a node are one batch.

    Args:
        model: Owns the parameters, in a sub-model "child_sum_tree_lstm": W ``(3 n_hidden, n_in)``,
            U, b with blocks i, o, g; W_forget, U_forget, b_forget.
        n_in: Length of x.
        n_hidden: Length of h and c.
        forget_bias: What b_forget starts with.

    Source: Tai et al., 2015, equations 2 to 8.

    >>> import lazynet as ln
    >>> cell = ln.nn.ChildSumTreeLSTM(ln.Model(seed=0), 2, 3)
    >>> leaves = [cell([1.0, 0.0]), cell([0.0, 1.0]), cell([1.0, 1.0])]
    >>> h, c = cell([0.5, 0.5], leaves)
    >>> h.shape
    (3,)
    """

    def __init__(self, model: Model, n_in: int, n_hidden: int, forget_bias: float = 1.0) -> None:
        super().__init__(model, "child_sum_tree_lstm", n_in, n_hidden, forget_bias)
        n = self.n_hidden
        self.U = self.model.parameter((3 * n, n), init=PerGate("glorot", 3), name="U")
        self.U_forget = self.model.parameter((n, n), name="U_forget")

    def node(self, x: Expression | None, states: list[TreeState | None]) -> TreeState:
        present = [s for s in states if s is not None]
        if any(v.batch is not None for s in present for v in s):
            raise ShapeError(
                f"{self.role}: got a child's state with a batch; the children of a node are its "
                "batch; write the model for one tree, and evaluate many together"
            )
        hs = rebatch([h for h, _ in present])
        cs = rebatch([c for _, c in present])
        if x is None:
            kept = self._kept(hs, cs, self.b_forget)
        else:
            kept = self._kept(hs, cs, affine(self.b_forget, self.W_forget, x))
        h, c = sum_batch(hs), sum_batch(kept)
        return self._combined(h, c) if x is None else self._combined(h, c, x)

    @fuse
    def _kept(self, h: Expression, c: Expression, products: Expression) -> Expression:
        """What the node keeps of the memory of one child."""
        return sigmoid(affine(products, self.U_forget, h)) * c

    @fuse
    def _combined(self, h: Expression, kept: Expression, x: Expression | None = None) -> TreeState:
        """The state from the sums over the children."""
        pairs = [self.U, h] if x is None else [self.W, x, self.U, h]
        products = affine(self.b, *pairs)
        i, o, g = self._gates(products)
        c = i * g + kept
        return o * tanh(c), c


class NaryTreeLSTM(_TreeLSTM):
    """A tree-LSTM for nodes with at most N children in order (N = 2: binarised parse trees).

    ::

        i, o = sigmoid(W x + sum_l U_l h_l + b), g = tanh(W x + sum_l U_l h_l + b)
        f_k = sigmoid(W_f x + sum_l U_kl h_l + b_f)
        c = i g + sum_k f_k c_k
        h = o tanh(c)

    ``h, c = cell(x, [left, right])``; x may be None. Where children are missing at the end of the
    list, or an entry is None, h_l = c_l = 0.

    Args:
        model: Owns the parameters, in a sub-model "nary_tree_lstm": W ``(3 n_hidden, n_in)`` and b
            with blocks i, o, g; W_forget and b_forget, the same for all children; and for each
            child l a matrix U_l ``((N + 3) n_hidden, n_hidden)`` with blocks f_1, ..., f_N, i, o,
            g.
        n_in: Length of x.
        n_hidden: Length of h and c.
        arity: N, the greatest number of children.
        forget_bias: What b_forget starts with.

    Source: Tai et al., 2015, equations 9 to 14.

    >>> import lazynet as ln
    >>> cell = ln.nn.NaryTreeLSTM(ln.Model(seed=0), 2, 3)
    >>> left, right = cell([1.0, 0.0]), cell([0.0, 1.0])
    >>> h, c = cell(None, [left, right])
    >>> h.shape
    (3,)
    """

    def __init__(
        self,
        model: Model,
        n_in: int,
        n_hidden: int,
        arity: int = 2,
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__(model, "nary_tree_lstm", n_in, n_hidden, forget_bias)
        self.arity = size_of(arity, "NaryTreeLSTM: arity")
        n, blocks = self.n_hidden, self.arity + 3
        self.U = [
            self.model.parameter((blocks * n, n), init=PerGate("glorot", blocks), name=f"U_{k}")
            for k in range(self.arity)
        ]

    def node(self, x: Expression | None, states: list[TreeState | None]) -> TreeState:
        if len(states) > self.arity:
            raise ShapeError(
                f"NaryTreeLSTM: got {len(states)} children; this cell takes at most {self.arity}; "
                "make it with a greater arity, or binarise the tree"
            )
        given = [] if x is None else [x]
        pattern = 0
        for k, state in enumerate(states):
            if state is not None:
                given += state
                pattern |= 1 << k
        combined: TreeState = self._combined(int(x is not None), pattern, *given)
        return combined

    @fuse
    def _combined(self, has_x: int, pattern: int, *given: Expression) -> TreeState:
        """The state from x, if it is given, and the children of which the pattern has the bit."""
        x = given[0] if has_x else None
        pairs_given = iter(zip(given[has_x::2], given[has_x + 1 :: 2]))
        states = [next(pairs_given) if pattern >> k & 1 else None for k in range(self.arity)]
        n, arity = self.n_hidden, self.arity
        pairs: list[Expression] = []
        if x is not None:
            pairs += [concatenate([self.W_forget] * arity + [self.W]), x]
        for U, state in zip(self.U, states):
            if state is not None:
                pairs += [U, state[0]]
        b = concatenate([self.b_forget] * arity + [self.b])
        gates, candidate = split(affine(b, *pairs), [(arity + 2) * n, n])
        *f, i, o = split(sigmoid(gates), arity + 2)
        kept = [fk * state[1] for fk, state in zip(f, states) if state is not None]
        c = sum([i * tanh(candidate), *kept])
        return o * tanh(c), c


__all__ = ["ChildSumTreeLSTM", "NaryTreeLSTM"]
