"""Tree-LSTM builders, which only DyNet's C++ has: a vector for every node of a tree.

::

    builder.start_new_sequence()
    for node in postorder:
        y = builder.add_input(node.id, [child.id for child in node.children], node.x)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazynet.dynet.collection import ParameterCollection
from lazynet.dynet.expression import Expression, as_number, checked, short, show, wrap
from lazynet.dynet.graph import STATE
from lazynet.dynet.parameters import Parameters
from lazynet.dynet.rnn import VanillaLSTMBuilder, size
from lazynet.dynet.rnn_cells import dropped
from lazynet.fuse import fuse
from lazynet.graph import Expression as Node
from lazynet.graph import Leaf, record
from lazynet.leaves import UNSHARE
from lazynet.ops import affine, concatenate, sigmoid, stop_gradient, tanh
from lazynet.ops import sum as total


class TreeLSTMBuilder:
    """What the tree builders have in common.

    Attributes:
        layers: Number of layers.
        input_dim: Dimension of the input at a node.
        hidden_dim: Dimension of the output at a node.
        spec: What `from_spec` makes a builder of the same form of.
    """

    def __init__(self, layers: int, input_dim: int, hidden_dim: int, model: Any) -> None:
        name = type(self).__name__
        if type(self) is TreeLSTMBuilder:
            raise TypeError(
                "TreeLSTMBuilder: this is the interface; make a NaryTreeLSTMBuilder, "
                "UnidirectionalTreeLSTMBuilder or BidirectionalTreeLSTMBuilder"
            )
        self.layers = size(layers, f"{name}: layers", 1)
        self.input_dim = size(input_dim, f"{name}: input_dim", 1)
        self.hidden_dim = size(hidden_dim, f"{name}: hidden_dim", 1)
        if not isinstance(model, ParameterCollection):
            raise TypeError(f"{name}: got {short(model)} as model; it takes a ParameterCollection")
        self.spec: tuple[Any, ...] = (self.layers, self.input_dim, self.hidden_dim)
        self._outputs: dict[int, Expression] = {}
        self._number: int | None = None
        self._last: Expression | None = None
        self._rate = 0.0
        self._update = True

    def start_new_sequence(self, update: bool = True) -> None:
        """Begin another tree: numbers of nodes mean new ones.

        Args:
            update: Whether the parameters get gradients from it.
        """
        self._outputs = {}
        self._number = None
        self._last = None
        self._update = bool(update)

    def set_num_elements(self, num: int) -> None:
        """Say how many nodes the tree has; their numbers then go from 0 to num - 1.

        Optional: without it any whole numbers from 0 do.
        """
        self._number = size(num, f"{type(self).__name__}.set_num_elements: num")

    def add_input(self, id: int, children: Sequence[int], x: Expression) -> Expression:
        """Compute a node, whose children were added before.

        Args:
            id: Its number; that of an earlier node is given to this one.
            children: The numbers of its children, in order; empty for a leaf.
            x: ``(input_dim,)``, or a minibatch of such, one tree for each example.

        Returns:
            The output at the node, ``(hidden_dim,)``.

        Raises:
            TypeError: If an argument has another type.
            ValueError: If there is no such child, or the dimensions do not fit.
            RuntimeError: If a child belongs to an older graph.
        """
        name = f"{type(self).__name__}.add_input"
        checked(x, name)
        if x.node.shape != (self.input_dim,):
            raise ValueError(
                f"{name}: got x of dimensions {show(x)}; it takes {{{self.input_dim}}}, the "
                "input_dim of the builder"
            )
        number = self._id(id, name)
        if isinstance(children, (str, bytes)) or not hasattr(children, "__iter__"):
            raise TypeError(f"{name}: got {short(children)} as children; it takes a list of ids")
        below = [self._id(child, name) for child in children]
        for child in below:
            known = self._outputs.get(child)
            if known is None:
                raise ValueError(
                    f"{name}: node {child} was not added; children come before their parents, and "
                    "start_new_sequence() forgets all nodes"
                )
            checked(known, f"{name}: child {child}")
        y = self._add(number, below, x)
        self._outputs[number] = self._last = y
        return y

    def _id(self, id: Any, name: str) -> int:
        if isinstance(id, bool) or not isinstance(id, (int, np.integer)):
            raise TypeError(f"{name}: got node {short(id)}; the number of a node is an integer")
        if id < 0 or (self._number is not None and id >= self._number):
            limit = "" if self._number is None else f" to {self._number - 1} (set_num_elements)"
            raise ValueError(f"{name}: got node {id}; numbers go from 0{limit}")
        return int(id)

    def _add(self, id: int, children: list[int], x: Expression) -> Expression:
        raise NotImplementedError

    def output(self, id: int) -> Expression:
        """The output at a node that was added.

        Raises:
            ValueError: If it was not.
        """
        name = f"{type(self).__name__}.output"
        found = self._outputs.get(self._id(id, name))
        if found is None:
            raise ValueError(f"{name}: node {id} was not added")
        return found

    def back(self) -> Expression:
        """The output at the node that was added last, which of a whole tree is its root.

        Raises:
            ValueError: If there is none.
        """
        if self._last is None:
            raise ValueError(f"{type(self).__name__}.back: no node was added")
        return self._last

    def set_dropout(self, f: float) -> None:
        """Set the dropout rate.

        Raises:
            ValueError: If it is no probability.
        """
        number = as_number(f)
        name = f"{type(self).__name__}.set_dropout"
        if number is None:
            raise TypeError(f"{name}: got {short(f)}; a dropout rate must be a real number")
        if not 0 <= number <= 1:
            raise ValueError(
                f"{name}: got {f!r}; a dropout rate must be a probability (>=0 and <=1)"
            )
        self._rate = number

    def disable_dropout(self) -> None:
        """Set the dropout rate to 0."""
        self.set_dropout(0)

    def param_collection(self) -> ParameterCollection:
        """The sub-collection of its parameters."""
        raise NotImplementedError

    def get_parameters(self) -> list[list[Parameters]]:
        """The parameters of each layer."""
        raise NotImplementedError

    @classmethod
    def from_spec(cls, spec: tuple[Any, ...], model: Any) -> Any:
        """A builder of the form of another, with parameters of its own.

        Args:
            spec: Its `spec`.
            model: As for the builder itself.
        """
        make: Any = cls
        return make(*spec, model)

    def whoami(self) -> str:
        """The name of the class."""
        return type(self).__name__


class _NaryCell:
    """A node in all layers, for one dropout rate, with or without gradients of the parameters."""

    def __init__(self, layers: list[list[Node]], arity: int, rate: float, update: bool) -> None:
        self.layers = layers
        self.arity = arity
        self.rate = rate
        self.update = update

    @fuse
    def node(self, x: Node, *states: Node) -> tuple[Node, ...]:
        """c and h of every layer, then the output if it is another vector than the last h.

        Args:
            x: The input.
            states: c and h of every layer, of each child.
        """
        return self.plain(x, *states)

    def plain(self, x: Node, *states: Node) -> tuple[Node, ...]:
        """The same, operation by operation."""
        N, width = self.arity, 2 * len(self.layers)
        children = [states[k : k + width] for k in range(0, len(states), width)]
        results: list[Node] = []
        for layer, parameters in enumerate(self.layers):
            given = parameters if self.update else [stop_gradient(p) for p in parameters]
            rest = iter(given)
            Wi, bi, Wf, bf, Wo, bo, W, b = [next(rest) for _ in range(8)]
            Ui, Vi, Uo, Vo, U = [[next(rest) for _ in range(N)] for _ in range(5)]
            Uf, Vf = [[next(rest) for _ in range(N * N)] for _ in range(2)]
            if self.rate:
                x = dropped(x, self.rate)
            i, o, g = [bi, Wi, x], [bo, Wo, x], [b, W, x]
            forget = [[bf, Wf, x] for _ in children]
            for j, child in enumerate(children):
                c, h = child[2 * layer], child[2 * layer + 1]
                e = min(j, N - 1)
                i += [Ui[e], h, Vi[e], c]
                o += [Uo[e], h, Vo[e], c]
                g += [U[e], h]
                for k, products in enumerate(forget):
                    place = e * N + min(k, N - 1)
                    products += [Uf[place], h, Vf[place], c]
            kept = [
                sigmoid(affine(*products) + 1.0) * child[2 * layer]
                for products, child in zip(forget, children)
            ]
            c = total([sigmoid(affine(*i)) * tanh(affine(*g)), *kept])
            x = sigmoid(affine(*o)) * tanh(c)
            results += [c, x]
        return (*results, dropped(x, self.rate)) if self.rate else tuple(results)


class NaryTreeLSTMBuilder(TreeLSTMBuilder):
    """A tree-LSTM with weights of their own for each of N children, one node per tree node.

    In every layer, with the states c_j, h_j of the children in that layer, and as x the input or
    the h of the layer below::

        i = sigmoid(W x + sum_j (U_j h_j + V_j c_j) + b)          each with its own W, U, V, b
        o = sigmoid(W x + sum_j (U_j h_j + V_j c_j) + b)
        f_k = sigmoid(W x + sum_j (U_jk h_j + V_jk c_j) + b + 1)  for each child k
        c = i tanh(W x + sum_j U_j h_j + b) + sum_k f_k c_k
        h = o tanh(c)

    Children beyond the N-th have the weights of the N-th. Dropout draws anew at each node, of the
    input of every layer and of the output.

    Args:
        N: Number of children with weights of their own.
        layers: Number of layers.
        input_dim: Dimension of the input at a node.
        hidden_dim: Dimension of c and h of every layer.
        model: Owns the parameters, in a sub-collection "nary-tree-lstm-builder": of each layer W
            and b of i, f, o and c, then U and V of i and of o and U of c for each child j, then U
            and V of f for each j and k.

    Source: K. S. Tai, R. Socher, C. D. Manning, "Improved semantic representations from
    tree-structured long short-term memory networks", 2015, section 3.2; V are its peepholes.
    """

    def __init__(
        self, N: int, layers: int, input_dim: int, hidden_dim: int, model: ParameterCollection
    ) -> None:
        super().__init__(layers, input_dim, hidden_dim, model)
        self.N = size(N, "NaryTreeLSTMBuilder: N", 1)
        self.spec = (self.N, *self.spec)
        self._collection = model.add_subcollection("nary-tree-lstm-builder")
        self._parameters: list[list[Parameters]] = []
        add, n = self._collection.add_parameters, self.hidden_dim
        for k in range(self.layers):
            n_in = n if k else self.input_dim
            layer = []
            for _ in range(4):
                layer += [add((n, n_in)), add(n, init=0.0)]
            layer += [add((n, n)) for _ in range(5 * self.N + 2 * self.N**2)]
            self._parameters.append(layer)
        self._cells: dict[tuple[float, bool], _NaryCell] = {}
        self._states: dict[int, tuple[Node, ...]] = {}

    def start_new_sequence(self, update: bool = True) -> None:
        super().start_new_sequence(update)
        self._states = {}

    def _add(self, id: int, children: list[int], x: Expression) -> Expression:
        key = (self._rate, self._update)
        cell = self._cells.get(key)
        if cell is None:
            if len(self._cells) >= 16:  # rates that change all the time
                self._cells.clear()
            nodes: list[list[Node]] = [[p.node for p in layer] for layer in self._parameters]
            cell = self._cells[key] = _NaryCell(nodes, self.N, *key)
            cell.node.name = type(self).__name__  # what plans, pictures and errors call it
        node = x.node
        if isinstance(node, Leaf) or node.type.shared:
            node = record(UNSHARE, (node,))
        states: list[Node] = []
        for child in children:
            states += self._states[child]
        results = cell.node(node, *states)
        self._states[id] = results[: 2 * self.layers]
        return wrap(results[-1])

    def param_collection(self) -> ParameterCollection:
        return self._collection

    def get_parameters(self) -> list[list[Parameters]]:
        return [list(layer) for layer in self._parameters]


class _SequenceTreeLSTMBuilder(TreeLSTMBuilder):
    """Trees by sequences: LSTMs read x and then the outputs of the children, one node each."""

    directions = 1
    collection = ""

    def __init__(
        self, layers: int, input_dim: int, hidden_dim: int, model: ParameterCollection
    ) -> None:
        super().__init__(layers, input_dim, hidden_dim, model)
        name = type(self).__name__
        if self.input_dim != self.hidden_dim:
            raise ValueError(
                f"{name}: got input_dim {input_dim} and hidden_dim {hidden_dim}; they must be "
                "equal: one LSTM reads the input and the outputs of the children"
            )
        if self.hidden_dim % self.directions:
            raise ValueError(f"{name}: got hidden_dim {hidden_dim}; it must be even")
        n = self.hidden_dim // self.directions
        self._collection = model.add_subcollection(self.collection)
        self._builders = [
            VanillaLSTMBuilder(self.layers, self.input_dim, n, self._collection)
            for _ in range(self.directions)
        ]

    def set_dropout(self, f: float) -> None:
        """Set the dropout rates of the LSTMs: one mask for all nodes on a graph."""
        super().set_dropout(f)
        for builder in self._builders:
            builder.set_dropout(self._rate)

    def disable_dropout(self) -> None:
        super().disable_dropout()
        for builder in self._builders:
            builder.disable_dropout()

    def _add(self, id: int, children: list[int], x: Expression) -> Expression:
        below = [self._outputs[child] for child in children]
        found: list[Node] = []
        for direction, builder in enumerate(self._builders):
            ordered = below if direction == 0 else below[::-1]
            initial = builder.initial_state(update=self._update)
            found.append(initial.add_inputs([x, *ordered])[-1].top())
        return Expression(found[0], STATE.stretch) if len(found) == 1 else wrap(concatenate(found))

    def param_collection(self) -> ParameterCollection:
        return self._collection

    def get_parameters(self) -> list[list[Parameters]]:
        """The parameters of each layer, of the forward LSTM and then of the one back."""
        return [layer for builder in self._builders for layer in builder.get_parameters()]


class UnidirectionalTreeLSTMBuilder(_SequenceTreeLSTMBuilder):
    """An LSTM reads the input of a node, then the outputs of its children from first to last.

    Args:
        layers: Number of layers.
        input_dim: Dimension of the input at a node.
        hidden_dim: The same number.
        model: Owns the parameters: a `VanillaLSTMBuilder` in a sub-collection
            "unidirectional-tree-lstm-builder".
    """

    directions = 1
    collection = "unidirectional-tree-lstm-builder"


class BidirectionalTreeLSTMBuilder(_SequenceTreeLSTMBuilder):
    """Two LSTMs read the input of a node, then the outputs of its children, from either end.

    Args:
        layers: Number of layers.
        input_dim: Dimension of the input at a node.
        hidden_dim: The same number, even: half of the output comes from each LSTM.
        model: Owns the parameters: two `VanillaLSTMBuilder` in a sub-collection
            "bidirectional-tree-lstm-builder".
    """

    directions = 2
    collection = "bidirectional-tree-lstm-builder"


__all__ = [
    "BidirectionalTreeLSTMBuilder",
    "NaryTreeLSTMBuilder",
    "TreeLSTMBuilder",
    "UnidirectionalTreeLSTMBuilder",
]
