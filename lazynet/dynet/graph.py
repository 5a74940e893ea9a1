"""The computation graph of a thread: which expressions are current, and what must be computed anew.

`lazynet` has no graph to renew: what nobody refers to is gone. DyNet's programs begin a graph with
`renew_cg`, and an expression of an older one must not be used any more. Every expression carries
the `Stretch` it was recorded in; `renew_cg` and `cg_revert` end stretches.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from lazynet.dynet.stretch import Stretch
from lazynet.execute import Along, evaluate, last_serial
from lazynet.graph import Expression as Node
from lazynet.graph import Leaf, handle
from lazynet.kinds import Array
from lazynet.revise import forget, forget_unasked
from lazynet.tape import LOCAL, NO_TAPE, Tape

if TYPE_CHECKING:
    from lazynet.dynet.expression import Expression


class _State(threading.local):
    """The graph of each thread.

    Attributes:
        stretch: To which what is recorded now belongs.
        stretches: Those of the graph, the current one last.
        checkpoints: How many of them each checkpoint found.
        stale: Evaluations up to this serial number saw inputs that have changed since.
        tape: Of the expression that was last computed or differentiated.
        along: What was computed along with something else on this graph, ...
        asked: ... and the expressions that were asked for since.
        differentiated: Whether `backward` has run on this graph.
        root: What it was last called on.
        gradients: The gradients of parameters in that run alone, where they were asked for.
    """

    def __init__(self) -> None:
        self.stretch = Stretch(0)
        self.stretches = [self.stretch]
        self.checkpoints: list[int] = []
        self.stale = 0
        self.tape: Tape = NO_TAPE
        self.along: list[Along] = []
        self.asked: list[Node] = []
        self.differentiated = False
        self.root: Node | None = None
        self.gradients: dict[Leaf, Array] | None = None


STATE = _State()


def compute(nodes: list[Node]) -> None:
    """Have the values of these computed, from the inputs as they are now."""
    state = STATE
    if state.stale:
        forget(nodes, state.stale)
    evaluate(nodes, True, state.along)
    if state.along:
        state.asked += nodes
    state.tape = nodes[-1].tape


def ask(node: Node) -> None:
    """The value of a node is asked for, on a graph of which some was computed along.

    What was, but has not been asked for, is computed anew if parameters were changed since then.
    """
    state = STATE
    if forget_unasked(state.along, state.asked):
        state.along, state.asked = [], []
    else:
        state.asked.append(node)


def invalidate() -> None:
    """An input has changed: what was computed so far is computed anew when it is asked for."""
    STATE.stale = last_serial()


def _end(stretches: list[Stretch]) -> None:
    for stretch in stretches:
        stretch.end()


def renew_cg(
    immediate_compute: bool = False, check_validity: bool = False, autobatching: Any = None
) -> ComputationGraph:
    """Begin a new graph; expressions of the one before cannot be used any more.

    Args:
        immediate_compute: Compute every expression when it is recorded, so that what fails does so
            on the line that caused it. Nothing is batched then.
        check_validity: With `immediate_compute`, raise where a value is NaN or infinite.
        autobatching: Accepted for old programs; expressions are always batched.
    """
    state = STATE
    _end(state.stretches)
    state.stretch = Stretch(
        state.stretch.version + 1, bool(immediate_compute), bool(check_validity)
    )
    state.stretches = [state.stretch]
    state.checkpoints = []
    state.stale = 0
    if state.along:
        state.along, state.asked = [], []
    state.differentiated = False
    state.root = state.gradients = None
    state.tape = NO_TAPE
    LOCAL.tape = NO_TAPE
    return GRAPH


def cg() -> ComputationGraph:
    """The current graph."""
    return GRAPH


def cg_version() -> int:
    """Number of the current graph: how often this thread has called `renew_cg`."""
    return STATE.stretch.version


def cg_checkpoint() -> None:
    """Remember the graph as it is, for `cg_revert`; checkpoints nest.

    Nothing is computed, and what is recorded before and after still batches.
    """
    state = STATE
    close_tape()
    state.checkpoints.append(len(state.stretches))
    state.stretch = state.stretch.next()
    state.stretches.append(state.stretch)


def cg_revert() -> None:
    """Drop what was recorded since the last checkpoint; its expressions cannot be used any more.

    Its memory is given back with the last of them.

    Raises:
        RuntimeError: If there is no checkpoint.
    """
    state = STATE
    if not state.checkpoints:
        raise RuntimeError(
            "cg_revert: there is no checkpoint to go back to; call cg_checkpoint() first, once "
            "for each cg_revert()"
        )
    kept = state.checkpoints.pop()
    close_tape()
    if state.tape.sealed > 0:
        state.tape = NO_TAPE
    _end(state.stretches[kept:])
    del state.stretches[kept:]
    state.stretch = state.stretch.next()
    state.stretches.append(state.stretch)


def close_tape() -> None:
    """Have what is recorded next go to a tape of its own, so that it can be freed by itself."""
    if LOCAL.tape is not NO_TAPE:
        LOCAL.tape.seal()


class ComputationGraph:
    """What `cg()` returns: the graph of this thread.

    Its nodes have numbers only as long as they lie on the tape that is recorded now, or that was
    computed last; every method that takes a number takes an expression too.
    """

    def __init__(self) -> None:
        raise RuntimeError("Do not instantiate ComputationGraph directly. Use dynet.renew_cg()")

    def renew(
        self,
        immediate_compute: bool = False,
        check_validity: bool = False,
        autobatching: Any = None,
    ) -> ComputationGraph:
        """The same as `renew_cg`."""
        return renew_cg(immediate_compute, check_validity, autobatching)

    def version(self) -> int:
        """The same as `cg_version`."""
        return cg_version()

    def checkpoint(self) -> None:
        """The same as `cg_checkpoint`."""
        cg_checkpoint()

    def revert(self) -> None:
        """The same as `cg_revert`."""
        cg_revert()

    def forward(self, index: int | Expression) -> None:
        """Compute a node, and everything it needs, anew."""
        self._expression(index, "forward").forward(True)

    def inc_forward(self, index: int | Expression) -> None:
        """Compute a node, and what it needs that was not computed yet."""
        self._expression(index, "inc_forward").forward()

    def forward_scalar(self, index: int | Expression) -> float:
        """`forward`, and the value of a scalar."""
        return self._expression(index, "forward_scalar").scalar_value(True)

    def inc_forward_scalar(self, index: int | Expression) -> float:
        """`inc_forward`, and the value of a scalar."""
        return self._expression(index, "inc_forward_scalar").scalar_value()

    def forward_vec(self, index: int | Expression) -> list[float]:
        """`forward`, and the value as a list."""
        return self._expression(index, "forward_vec").vec_value(True)

    def inc_forward_vec(self, index: int | Expression) -> list[float]:
        """`inc_forward`, and the value as a list."""
        return self._expression(index, "inc_forward_vec").vec_value()

    def backward(self, index: int | Expression, full: bool = False) -> None:
        """Differentiate a scalar."""
        self._expression(index, "backward").backward(full)

    def print_graphviz(self) -> None:
        """The same as `print_text_graphviz`."""
        from lazynet.dynet.viz import print_text_graphviz

        print_text_graphviz()

    def dump(
        self, filename: str, show_values: bool, show_gradients: bool, nan_check_only: bool
    ) -> None:
        """The same as `dump_cg`."""
        from lazynet.dynet.viz import dump_cg

        dump_cg(filename, show_values, show_gradients, nan_check_only)

    def inputMatrixLiteral(
        self, v: Any, d: tuple[int, ...], batch_size: int = 1, device: str = ""
    ) -> Expression:
        """An input from a list of its numbers.

        Args:
            v: The numbers, column by column and example by example.
            d: Dimensions of one example.
            batch_size: Number of examples.
            device: See `scalarInput`.

        Returns:
            An expression whose numbers can be changed with `.set(list)`.

        Raises:
            TypeError: If these are no numbers, or d is no tuple.
            ValueError: If there are more or fewer than the dimensions ask for.
        """
        from lazynet.dynet.literals import literal

        return literal(v, d, batch_size, device, "inputMatrixLiteral")

    def inputSparseTensor(
        self,
        idxs: Any,
        v: Any,
        dim: tuple[int, ...],
        batch_size: int = 1,
        defval: float = 0.0,
        device: str = "",
    ) -> Expression:
        """An input of few numbers among many equal ones.

        Args:
            idxs: Where they are, counting column by column and example by example.
            v: The numbers.
            dim: Dimensions of one example.
            batch_size: Number of examples.
            defval: What is everywhere else.
            device: See `scalarInput`.

        Raises:
            TypeError: If these are no numbers.
            ValueError: If there are more places than numbers, or one is out of range.
        """
        from lazynet.dynet.literals import sparse_literal

        return sparse_literal(idxs, v, dim, batch_size, defval, device, "inputSparseTensor")

    def _expression(self, index: int | Expression, name: str) -> Expression:
        from lazynet.dynet.expression import Expression, checked, wrap

        if isinstance(index, Expression):
            return checked(index, f"ComputationGraph.{name}")
        tape = current_tape()
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(tape):
            raise IndexError(
                f"ComputationGraph.{name}: got {index!r}; it takes an expression, or the number of "
                f"one of the {len(tape)} nodes recorded last"
            )
        return wrap(handle(tape, index))


GRAPH = object.__new__(ComputationGraph)


def current_tape() -> Tape:
    """The tape that is recorded now, or else the one whose nodes were computed last."""
    return LOCAL.tape if LOCAL.tape is not NO_TAPE else STATE.tape
