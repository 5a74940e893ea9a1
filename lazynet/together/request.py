"""What a coroutine waits for: `await expression`, and `values_async` for several."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any, Final

from lazynet.errors import ArgumentError, GraphError
from lazynet.execute import evaluated
from lazynet.graph import Expression
from lazynet.inputs import as_expression
from lazynet.kinds import HOOKS
from lazynet.reading import value, values

IDLE: Final = 0
STEPPING: Final = 1
"""A coroutine is being run: what it waits for goes to whoever runs it."""
CLOSING: Final = 2
"""It is being closed and must not wait: what it asks for is computed at once."""


class _State(threading.local):
    """What this thread is doing with coroutines."""

    now = IDLE


STATE: Final = _State()


class Several:
    """Several expressions that a coroutine waits for at once."""

    __slots__ = ("expressions",)

    def __init__(self, expressions: list[Expression]) -> None:
        self.expressions = expressions

    def __await__(self) -> Generator[Any, Any, Any]:
        if not _waits(self.expressions):
            return values(self.expressions)
        return (yield self)


def _waits(expressions: list[Expression]) -> bool:
    """Whether a coroutine has to wait for these.

    Raises:
        GraphError: If nobody runs it who could see to it.
    """
    for x in expressions:
        if x.tape.trace is not None:
            raise x.tape.trace.refuse_value(x)
    if STATE.now == IDLE:
        raise GraphError(
            f"await {expressions[0]!r}: no ln.run_together runs this coroutine, which would "
            "compute what all coroutines wait for; pass the coroutine to ln.run_together([...]) "
            "or await ln.run_together_async([...]), or take .value()"
            if expressions
            else "await ln.values_async(): no ln.run_together runs this coroutine"
        )
    return STATE.now == STEPPING and not all([evaluated(x) for x in expressions])


def awaited(x: Expression) -> Generator[Any, Any, Any]:
    """The steps of ``await x``."""
    if STATE.now == STEPPING and not evaluated(x) and x.tape.trace is None:
        return (yield x)
    _waits([x])
    return value(x)


async def values_async(*expressions: Any) -> list[Any]:
    """Wait for the values of several expressions, in a coroutine of `ln.run_together`.

    Args:
        expressions: Expressions; numbers and arrays stand for themselves.

    Returns:
        What ``await`` of each gives, in the same order.

    Raises:
        ArgumentError: If one is a list of expressions: write ``values_async(*xs)``.
        GraphError: If the coroutine that awaits this is not run by `ln.run_together`.

    >>> import lazynet as ln
    >>> async def extremes(x):
    ...     low, high = await ln.values_async(ln.min(x), ln.max(x))
    ...     return high - low
    >>> ln.run_together(extremes(ln.constant(x)) for x in ([1.0, 4.0], [2.0, 7.0, 3.0]))
    [3.0, 5.0]
    """
    for x in expressions:
        if isinstance(x, (list, tuple)) and any([isinstance(y, Expression) for y in x]):
            raise ArgumentError(
                f"values_async: got a {type(x).__name__} of expressions; it takes them one by one; "
                "write values_async(*xs)"
            )
    found: list[Any] = await Several([as_expression(x, "values_async") for x in expressions])
    return found


HOOKS.awaited = awaited
