"""Values of several expressions in one run, and the gradients of all parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazynet.differentiate import parameter_gradients
from lazynet.dynet.expression import Expression, check_differentiated, nodes_of, short
from lazynet.dynet.graph import STATE, ask, compute, invalidate
from lazynet.errors import GradientError
from lazynet.graph import Leaf
from lazynet.kinds import Array


def last_gradients(x: Expression) -> dict[Leaf, Array]:
    """The gradients of all parameters in the last `backward`, for one to be looked up.

    Raises:
        RuntimeError: If none has run on this graph, or the values that it used have been changed.
    """
    check_differentiated(x)
    state = STATE
    if state.gradients is None:
        assert state.root is not None
        try:
            state.gradients = parameter_gradients(state.root)
        except GradientError as error:
            raise GradientError(
                f"gradient: {x!r}: parameters have been changed since backward(), whose gradients "
                f"are made up for only when asked for; ask before update() ({error})"
            ) from error
    return state.gradients


def forward(exps: Sequence[Expression], recalculate: bool = False) -> None:
    """Compute several expressions in one batched run."""
    _forward(exps, recalculate, "forward")


def _forward(exps: Any, recalculate: bool, name: str) -> None:
    try:
        xs = list(exps)
    except TypeError:
        raise TypeError(f"{name}: got {short(exps)}; it takes a list of expressions") from None
    nodes = nodes_of(xs, name)
    if recalculate:
        invalidate()
    if STATE.along:
        for node in nodes:
            ask(node)
    compute(nodes)


def values(exps: Sequence[Expression], recalculate: bool = False) -> list[Any]:
    """The values of several expressions, as `Expression.value` gives them, in one batched run."""
    _forward(exps, recalculate, "values")
    return [e.value() for e in exps]


def npvalues(exps: Sequence[Expression], recalculate: bool = False) -> list[Array]:
    """The arrays of several expressions, as `Expression.npvalue` gives them, in one batched run."""
    _forward(exps, recalculate, "npvalues")
    return [e.npvalue() for e in exps]
