"""`RNNState` and `StackedRNNState`, and a builder on one computation graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lazynet.calls import fast_layers, record_together
from lazynet.dynet.expression import Expression, checked, compute_at_once, short, show
from lazynet.dynet.graph import STATE
from lazynet.dynet.rnn_cells import Cell, Setting, States
from lazynet.dynet.stretch import Stretch
from lazynet.fuse import scan
from lazynet.graph import Expression as Node
from lazynet.graph import Leaf, record
from lazynet.inputs import constant, rebatch, unbatch, zeros_once
from lazynet.kinds import FLOAT32
from lazynet.leaves import REBATCH, UNBATCH, UNSHARE
from lazynet.modes import MODES
from lazynet.native import mypyc_attr
from lazynet.ops import dropout, reshape

if TYPE_CHECKING:
    from lazynet.dynet.rnn import _RNNBuilder

Layers = Sequence[States]
"""The state of each layer, the lowest first."""


class Session:
    """A builder on one computation graph: how its layers run there.

    Attributes:
        builder: The builder.
        graph: The first stretch of the graph.
        update: Whether parameters get gradients.
        cells: One for each layer.
        first: The same for steps without a state before; None where they are the same.
        steps: `Cell.step` of each.
        given: The masks of each layer; None as long as they are not drawn.
        apart: Whether a layer has results beside its state.
    """

    def __init__(self, builder: _RNNBuilder, update: bool) -> None:
        self.builder = builder
        self.graph = STATE.stretches[0]
        self.update = update
        self.batch: int | None = None
        self.drawn: list[dict[str, Node]] | None = None
        self.arrange()

    def initial(self) -> RNNState:
        """The state before a sequence, all zeros."""
        # made anew for each sequence: one that was kept would keep this graph's tape
        return RNNState(self, [self.zeros()] * len(self.cells), None, self.graph, None)

    def arrange(self) -> None:
        """Choose the cells for the builder's dropout and noise as they are now."""
        builder = self.builder
        self.setting = builder.setting(self.update)
        self.cells = builder.cells(self.setting)
        self.steps: list[Any] = [cell.step for cell in self.cells]
        self.first: list[Cell] | None = None
        if builder.normed:
            setting = builder.setting(self.update)
            self.first = builder.cells(Setting(*setting.key[:-1], first=True))
        self.apart = any([cell.outputs > cell.states for cell in self.cells])
        masked = self.setting.x or self.setting.h or self.setting.c
        self.given: list[States] | None = None if masked else [()] * len(self.cells)

    def zeros(self) -> States:
        """The state of a layer before a sequence."""
        zeros = zeros_once(self.builder.hidden_dim, FLOAT32)
        return (zeros,) * self.builder.states

    # Dropout masks

    def draw(self, batch: int | None) -> None:
        """Forget the masks that were drawn; new ones will have a row for each of a batch."""
        self.batch = batch
        self.drawn = [{} for _ in self.cells]
        if self.setting.x or self.setting.h or self.setting.c:
            self.given = None

    def masks(self, layer: int, batch: int | None) -> States:
        """The masks that a layer takes: one for all steps of all sequences on this graph."""
        setting = self.setting
        if not (setting.x or setting.h or setting.c):
            return ()
        if self.drawn is None or (batch is not None and self.batch not in (None, batch)):
            self.draw(batch)
        assert self.drawn is not None
        drawn = self.drawn[layer]
        cell = self.cells[layer]
        for name, rate in self.builder.rates().items():
            if rate and name not in drawn:
                n = cell.n_in if name == "x" else cell.n_hidden
                drawn[name] = mask(n, rate, self.batch)
        return tuple([drawn[name] for name in "xhc" if getattr(setting, name)])

    # Steps

    def advance(self, state: RNNState, x: Node) -> tuple[list[States], Node]:
        """One step, of whatever kind: the state of each layer, and the output."""
        x = self.row(x, self.builder.input_dim, "add_input")
        batch = x.batch
        cells = self.first if state.empty and self.first is not None else self.cells
        after: list[States] = []
        given: list[States] = []
        for k, (cell, before) in enumerate(zip(cells, state.layers())):
            masks = self.masks(k, batch)
            self.same_batch([x, *before, *masks], "add_input")
            results = cell.step(x, *before, *masks)
            after.append(results[: cell.states])
            given.append(masks)
            x = results[-1]
        self.given = given
        return after, results[-1]

    def through(
        self, state: RNNState, rows: Node, reverse: bool = False
    ) -> list[tuple[Node, ...]] | None:
        """A sequence of single rows from a state on; for each layer its results at all positions.

        None where one scan cannot do it: where states or masks have a batch.
        """
        layers = state.layers()
        found: list[tuple[Node, ...]] = []
        if state.empty and self.first is not None:
            return None
        for k, (cell, before) in enumerate(zip(self.cells, layers)):
            masks = self.masks(k, None)
            if any(node.batch is not None for node in (*before, *masks)):
                return None
            results, _ = scan(cell.run, rows, before, reverse, masks)
            found.append(results)
            rows = results[-1]
        return found

    def rows(self, nodes: list[Node]) -> Node | None:
        """Inputs as the rows of a batch; None where one has a batch itself.

        Raises:
            ValueError: If one has another length.
        """
        n = self.builder.input_dim
        rows = record_together(REBATCH, nodes) if MODES.get().gradients else None
        if rows is None or rows.shape != (n,):
            nodes = [self.row(node, n, "an input") for node in nodes]
            if any(node.batch is not None for node in nodes):
                return None
            rows = rebatch(nodes)
        return rows

    def row(self, x: Node, n: int, name: str) -> Node:
        """A vector of this length, as a row of its own.

        Raises:
            ValueError: If it has another length.
        """
        if x.shape != (n,):
            if x.shape != (n, 1):
                raise ValueError(
                    f"{type(self.builder).__name__}: {name}: got a vector of dimensions {x.shape}; "
                    f"it must have {n} entries"
                )
            x = reshape(x, (n,))
        return record(UNSHARE, (x,)) if isinstance(x, Leaf) or x.type.shared else x

    def same_batch(self, nodes: Iterable[Node], name: str) -> None:
        """Check the batches of what comes together.

        Raises:
            ValueError: If there are two.
        """
        found = {node.batch for node in nodes if node.batch is not None}
        if len(found) > 1:
            raise ValueError(
                f"{type(self.builder).__name__}: {name}: got batches of "
                f"{' and '.join(map(str, sorted(found)))} examples; the input, the state, and the "
                "dropout masks (set_dropout_masks) must have the same number, or one"
            )


def mask(n: int, rate: float, batch: int | None) -> Node:
    """Factors 0 or 1 / (1 - rate)."""
    shape = (n,) if batch is None else (batch, n)
    if rate >= 1:
        return constant(np.zeros(shape, FLOAT32), batched=batch is not None)
    return dropout(constant(np.ones(shape, FLOAT32), batched=batch is not None), rate)


@mypyc_attr(allow_interpreted_subclasses=True)
class RNNState:
    """The state of a builder after some inputs; `initial_state` of a builder gives the first.

    A state never changes: every method that adds something returns a new one.
    """

    __slots__ = ("_at", "_graph", "_layers", "_prev", "_session", "_top")

    def __init__(
        self,
        session: Session,
        layers: Layers,
        prev: RNNState | None,
        graph: Stretch,
        top: Node | None,
        at: int = -1,
    ) -> None:
        self._session = session
        self._layers = layers
        self._prev = prev
        self._graph = graph
        self._top = top
        self._at = at

    @property
    def empty(self) -> bool:
        """Whether nothing was added yet, and no vectors given."""
        return self._top is None and self._at < 0

    def layers(self) -> Layers:
        """The state of each layer, the lowest first; those after `add_inputs` are cut out here."""
        at = self._at
        if at >= 0:
            top = self.top()
            count = self._session.builder.states
            layers = [
                tuple([record(UNBATCH, (rows,), at, -1) for rows in part[:count]])
                for part in self._layers[:-1]
            ]
            last = self._layers[-1]
            parts = [
                top if k == len(last) - 1 else record(UNBATCH, (rows,), at, -1)
                for k, rows in enumerate(last)
            ]
            self._layers = [*layers, tuple(parts[:count])]
            self._at = -1
        return self._layers

    def _current(self, name: str) -> Session:
        if not self._graph.alive:
            raise ValueError(
                f"RNNState.{name}: stale state: it belongs to a computation graph that renew_cg() "
                "or cg_revert() ended; call initial_state() of the builder on the new one"
            )
        return self._session

    def _after(self, layers: Layers, top: Node) -> RNNState:
        """A state that follows this one."""
        graph = STATE.stretch
        if graph.immediate:
            compute_at_once(top, graph)
        return RNNState(self._session, layers, self, graph, top)

    def add_input(self, x: Expression | Any) -> RNNState:
        """The state after one more input.

        Args:
            x: Its dimension is the `input_dim` of the builder; it may be a minibatch.

        Raises:
            TypeError: If it is no expression.
            ValueError: If it has another dimension, or the state is of an older graph.
        """
        if not isinstance(x, Expression) or not x.graph.alive:
            checked(x, "RNNState.add_input")
        if not self._graph.alive:
            self._current("add_input")
        session = self._session
        layers = self._layers if self._at < 0 else self.layers()
        given = session.given
        if given is not None and (session.first is None or not self.empty):
            after = fast_layers(session.steps, x.node, layers, given)
            if after is not None:
                top = after[-1][-1]
                if session.apart:
                    after = [r[: cell.states] for r, cell in zip(after, session.cells)]
                graph = STATE.stretch
                if graph.immediate:
                    compute_at_once(top, graph)
                return RNNState(session, after, self, graph, top)
        after, top = session.advance(self, x.node)
        return self._after(after, top)

    def _inputs(self, xs: Any, name: str) -> list[Node]:
        for x in xs:
            if not isinstance(x, Expression) or not x.graph.alive:
                checked(x, f"RNNState.{name}")
        self._current(name)
        return [x.node for x in xs]

    def add_inputs(self, xs: Iterable[Expression] | Any) -> list[RNNState]:
        """The states after each of several inputs, as `add_input` one after the other gives them.

        Args:
            xs: The inputs.
        """
        xs = listed(xs, "add_inputs")
        nodes = self._inputs(xs, "add_inputs")
        session = self._session
        head: list[RNNState] = []
        state: RNNState = self
        if nodes and session.first is not None and self.empty:
            state = self.add_input(xs[0])
            head, xs, nodes = [state], xs[1:], nodes[1:]
        found = state._scan(nodes) if nodes else None
        if found is None:
            for x in xs:
                state = state.add_input(x)
                head.append(state)
            return head
        graph = STATE.stretch
        if graph.immediate:
            compute_at_once(found[-1][-1], graph)
        for k in range(len(nodes)):
            state = RNNState(session, found, state, graph, None, k)
            head.append(state)
        return head

    def transduce(self, xs: Iterable[Expression] | Any) -> list[Expression]:
        """The outputs after each of several inputs.

        Args:
            xs: The inputs.
        """
        xs = listed(xs, "transduce")
        nodes = self._inputs(xs, "transduce")
        session = self._session
        outputs: list[Node] = []
        state: RNNState = self
        if nodes and session.first is not None and self.empty:
            state = self.add_input(xs[0])
            outputs, xs, nodes = [state.top()], xs[1:], nodes[1:]
        found = state._scan(nodes) if nodes else None
        if found is not None:
            outputs += unbatch(found[-1][-1])
        else:
            for x in xs:
                state = state.add_input(x)
                outputs.append(state.top())
        graph = STATE.stretch
        if graph.immediate and outputs:
            for node in outputs:
                compute_at_once(node, graph)
        return [Expression(node, graph) for node in outputs]

    def top(self) -> Node:
        """The node of the output."""
        if self._top is None:  # after `add_inputs`
            self._top = record(UNBATCH, (self._layers[-1][-1],), self._at, -1)
        return self._top

    def _scan(self, nodes: list[Node]) -> list[tuple[Node, ...]] | None:
        rows = self._session.rows(nodes)
        return None if rows is None else self._session.through(self, rows)

    def output(self) -> Expression | None:
        """The output: the last layer's hidden state. None before the first input."""
        top = self._top
        if top is None:
            if self._at < 0:
                return None
            top = self.top()
        return Expression(top, self._graph)

    def h(self) -> tuple[Expression, ...]:
        """The hidden state of each layer; empty before the first input."""
        if self.empty:
            return ()
        graph = self._graph
        return tuple([Expression(part[-1], graph) for part in self.layers()])

    def s(self) -> tuple[Expression, ...]:
        """The memory of each layer (of an LSTM), then the hidden state of each."""
        if self.empty:
            return ()
        graph = self._graph
        layers = self.layers()
        return tuple([Expression(part[k], graph) for k in range(len(layers[0])) for part in layers])

    def prev(self) -> RNNState | None:
        """The state before the last input; None for an initial state."""
        return self._prev

    def b(self) -> _RNNBuilder:
        """The builder."""
        return self._session.builder

    def set_h(self, es: Iterable[Expression] | Any | None = None) -> RNNState:
        """A state with these hidden states, and with this one's memory.

        Args:
            es: One for each layer.

        Raises:
            ValueError: If it is another number, or one has another dimension.
        """
        session = self._current("set_h")
        given = vectors(session, es, "set_h")
        layers = self.layers()
        if len(given) != len(layers):
            raise ValueError(
                f"{type(session.builder).__name__}: set_h expects as many inputs as layers, but "
                f"got {len(given)} inputs for {len(layers)} layers"
            )
        after = [(*part[:-1], h) for part, h in zip(layers, given)]
        return self._after(after, given[-1])

    def set_s(self, es: Iterable[Expression] | Any | None = None) -> RNNState:
        """A state of these vectors.

        Args:
            es: The memory of each layer of an LSTM, then the hidden state of each; memories alone
                leave the hidden states as they are.

        Raises:
            ValueError: If it is another number, or one has another dimension.
        """
        session = self._current("set_s")
        layers = with_vectors(session, self.layers(), vectors(session, es, "set_s"), "set_s")
        return self._after(layers, layers[-1][-1])


def listed(xs: Any, name: str) -> list[Any]:
    """What can be iterated over, as a list.

    Raises:
        TypeError: If it cannot.
    """
    try:
        return list(xs)
    except TypeError:
        raise TypeError(f"{name}: got {short(xs)}; it takes a list of expressions") from None


def vectors(session: Session, es: Any, name: str) -> list[Node]:
    """Vectors of a state, as nodes.

    Raises:
        TypeError: If they are no expressions.
        ValueError: If one has another dimension.
    """
    role = f"{type(session.builder).__name__}: {name}"
    n = session.builder.hidden_dim
    found = []
    for e in () if es is None else listed(es, role):
        checked(e, role)
        if e.node.shape not in ((n,), (n, 1)):
            raise ValueError(
                f"{role}: got a vector of dimensions {show(e)}; a state of this builder has {n} "
                "entries"
            )
        found.append(session.row(e.node, n, name))
    session.same_batch(found, name)
    return found


def with_vectors(session: Session, layers: Layers, given: list[Node], name: str) -> Layers:
    """The state of each layer, with these vectors in it.

    Raises:
        ValueError: If they are too many or too few.
    """
    count = len(layers)
    if session.builder.states == 1:
        if len(given) != count:
            raise ValueError(
                f"{type(session.builder).__name__}: {name} expects as many inputs as layers, but "
                f"got {len(given)} inputs for {count} layers"
            )
        return [(h,) for h in given]
    if len(given) == 2 * count:
        return list(zip(given[:count], given[count:]))
    if len(given) == count and given:
        return [(c, part[1]) for c, part in zip(given, layers)]
    raise ValueError(
        f"{type(session.builder).__name__}: {name} expects either as many inputs or twice as many "
        f"inputs as layers, but got {len(given)} inputs for {count} layers"
    )


@mypyc_attr(allow_interpreted_subclasses=True)
class StackedRNNState:
    """States of several builders, one above the other, that take inputs together.

    Args:
        states: The states, the lowest first.
        prev: The stack before.
    """

    __slots__ = ("_prev", "_states")

    def __init__(
        self, states: Sequence[RNNState] | Any, prev: StackedRNNState | Any | None = None
    ) -> None:
        states = list(states)
        for state in states:
            if not isinstance(state, (RNNState, StackedRNNState)):
                raise TypeError(f"StackedRNNState: got {short(state)}; it takes a list of RNNState")
        if not states:
            raise ValueError("StackedRNNState: got an empty list; it takes at least one state")
        self._states = states
        self._prev = prev

    def add_input(self, x: Expression | Any) -> StackedRNNState:
        """The states after one more input, which each passes on to the one above."""
        after = []
        for state in self._states:
            state = state.add_input(x)
            after.append(state)
            x = state.output()
        return StackedRNNState(after, self)

    def add_inputs(self, xs: Iterable[Expression] | Any) -> list[StackedRNNState]:
        """The stacks after each of several inputs."""
        xs = listed(xs, "add_inputs")
        columns = []
        for state in self._states:
            states = state.add_inputs(xs)
            columns.append(states)
            xs = [s.output() for s in states]
        result: list[StackedRNNState] = []
        stack = self
        for row in zip(*columns):
            stack = StackedRNNState(row, stack)
            result.append(stack)
        return result

    def output(self) -> Expression | None:
        """The output of the highest."""
        return self._states[-1].output()

    def prev(self) -> StackedRNNState | None:
        """The stack before the last input."""
        return self._prev

    def h(self) -> tuple[Any, ...]:
        """`RNNState.h` of each."""
        return tuple([state.h() for state in self._states])

    def s(self) -> tuple[Any, ...]:
        """`RNNState.s` of each."""
        return tuple([state.s() for state in self._states])


__all__ = ["RNNState", "Session", "StackedRNNState", "vectors", "with_vectors"]
