"""`BiRNNBuilder`: recurrent networks in both directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lazynet.dynet.collection import ParameterCollection
from lazynet.dynet.expression import Expression, checked, short, wrap
from lazynet.dynet.graph import STATE
from lazynet.dynet.rnn import _RNNBuilder, size
from lazynet.dynet.rnn_states import RNNState
from lazynet.graph import Expression as Node
from lazynet.inputs import unbatch
from lazynet.ops import concatenate


class BiRNNBuilder:
    """Two builders for each layer, one from the first input to the last and one back.

    Args:
        num_layers: Number of layers.
        input_dim: Dimension of the input.
        hidden_dim: Dimension of the output of every layer: half of it from each direction.
        model: Owns the parameters, in a sub-collection "birnn".
        rnn_builder_factory: Makes the builders: a builder class, or a function like one.
        builder_layers: Pairs of builders to be used instead of new ones.

    Attributes:
        builder_layers: The pairs, the lowest first.
        spec: What `from_spec` makes a builder of the same form of.

    Source: M. Schuster, K. K. Paliwal, "Bidirectional recurrent neural networks", 1997.
    """

    def __init__(
        self,
        num_layers: int,
        input_dim: int,
        hidden_dim: int,
        model: Any,
        rnn_builder_factory: Callable[..., Any],
        builder_layers: Sequence[tuple[Any, Any]] | None = None,
    ) -> None:
        if not isinstance(model, ParameterCollection):
            raise TypeError(f"BiRNNBuilder: got {short(model)} as model; it takes a collection")
        if builder_layers is None and not callable(rnn_builder_factory):
            raise TypeError(
                f"BiRNNBuilder: got {short(rnn_builder_factory)} as rnn_builder_factory; it takes "
                "a class of builders, such as VanillaLSTMBuilder"
            )
        self.spec = (num_layers, input_dim, hidden_dim, rnn_builder_factory, builder_layers)
        self.model = model.add_subcollection("birnn")
        if builder_layers is not None:
            self.builder_layers = list(builder_layers)
            return
        count = size(num_layers, "BiRNNBuilder: num_layers")
        dim = size(hidden_dim, "BiRNNBuilder: hidden_dim")
        size(input_dim, "BiRNNBuilder: input_dim")
        if not count:
            raise AssertionError(
                f"BiRNNBuilder: BiRNN number of layers must be positive: {num_layers}"
            )
        if dim % 2:
            raise AssertionError(f"BiRNNBuilder: BiRNN hidden dimension must be even: {hidden_dim}")
        self.builder_layers = []
        n = input_dim
        for _ in range(count):
            try:
                forward = rnn_builder_factory(1, n, dim // 2, self.model)
                backward = rnn_builder_factory(1, n, dim // 2, self.model)
            except TypeError as error:
                raise TypeError(
                    f"BiRNNBuilder: {short(rnn_builder_factory)} made no builder from the number "
                    f"of layers, both dimensions and the collection: {error}"
                ) from error
            self.builder_layers.append((forward, backward))
            n = dim

    def whoami(self) -> str:
        """The name of the class."""
        return "BiRNNBuilder"

    @classmethod
    def from_spec(cls, spec: tuple[Any, ...], model: Any) -> BiRNNBuilder:
        """A builder of the form of another, with parameters of its own.

        Args:
            spec: Its `spec`.
            model: As for the builder itself.
        """
        layers, input_dim, hidden_dim, factory, builder_layers = spec
        return cls(layers, input_dim, hidden_dim, model, factory, builder_layers)

    def param_collection(self) -> Any:
        """The sub-collection of its parameters."""
        return self.model

    def set_dropout(self, p: float) -> None:
        """`set_dropout` of every builder."""
        for forward, backward in self.builder_layers:
            forward.set_dropout(p)
            backward.set_dropout(p)

    def disable_dropout(self) -> None:
        """`disable_dropout` of every builder."""
        for forward, backward in self.builder_layers:
            forward.disable_dropout()
            backward.disable_dropout()

    def add_inputs(self, es: Sequence[Expression]) -> list[tuple[RNNState, RNNState]]:
        """The states of the last layer at each position: of its two builders.

        Each state of the backward builder has seen the inputs from its position to the last.

        Args:
            es: The inputs.
        """
        xs = self._through(inputs(es, "add_inputs"), self.builder_layers[:-1])
        forward, backward = self.builder_layers[-1]
        there = forward.initial_state().add_inputs(xs)
        back = backward.initial_state().add_inputs(xs[::-1])
        return list(zip(there, reversed(back)))

    def transduce(self, es: Sequence[Expression]) -> list[Expression]:
        """The output at each position: that of the forward builder, then that of the backward one.

        Args:
            es: The inputs.
        """
        return self._through(inputs(es, "transduce"), self.builder_layers)

    def _through(self, xs: list[Expression], pairs: list[tuple[Any, Any]]) -> list[Expression]:
        """The outputs of some layers."""
        if not xs or not pairs:
            return xs
        rows = _rows(xs, pairs)
        if rows is not None:
            nodes = unbatch(rows)
            graph = STATE.stretch
            return [Expression(node, graph) for node in nodes]
        for forward, backward in pairs:
            there = forward.initial_state().transduce(xs)
            back = backward.initial_state().transduce(xs[::-1])
            xs = [_joined(f, b) for f, b in zip(there, reversed(back))]
        return xs


def _joined(f: Expression, b: Expression) -> Expression:
    return wrap(concatenate([f.node, b.node]))


def _rows(xs: list[Expression], pairs: list[tuple[Any, Any]]) -> Node | None:
    """The outputs of some layers as one batch; None where that is not possible."""
    if STATE.stretch.immediate:
        return None
    for pair in pairs:
        for builder in pair:
            if not isinstance(builder, _RNNBuilder) or builder.normed:
                return None
    rows: Node | None = pairs[0][0].initial_state()._session.rows([x.node for x in xs])
    if rows is None:
        return None
    for forward, backward in pairs:
        found = []
        for builder, reverse in ((forward, False), (backward, True)):
            state = builder.initial_state()
            if rows.shape != (builder.input_dim,):
                return None
            results = state._session.through(state, rows, reverse)
            if results is None:
                return None
            found.append(results[-1][-1])
        rows = concatenate(found)
    return rows


def inputs(es: Any, name: str) -> list[Expression]:
    """A sequence, as a list.

    Raises:
        TypeError: If it cannot be read from both ends, or holds what is no expression.
    """
    try:
        reversed(es)
    except TypeError:
        raise TypeError(
            f"BiRNNBuilder.{name}: got {short(es)}; it takes a list of expressions"
        ) from None
    xs = list(es)
    for x in xs:
        if not isinstance(x, Expression) or not x.graph.alive:
            checked(x, f"BiRNNBuilder.{name}")
    return xs


__all__ = ["BiRNNBuilder"]
