"""What a function that looks at expressions was asked about: one, several, or DyNet's."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from lazynet.errors import ArgumentError
from lazynet.graph import Expression
from lazynet.tape import LOCAL


def expressions_of(given: Any, name: str, empty: bool = False) -> list[Expression]:
    """The expressions given to a function of this name, as a list.

    Args:
        given: An expression or parameter, or several; those of `lazynet.dynet` too.
        name: Of the function, for messages.
        empty: Whether there may be none.

    Returns:
        They as the engine knows them.

    Raises:
        ArgumentError: If something is no expression, or there is none and must be.
        FuseError: Inside a fused function.
    """
    whole = _own(given)
    if isinstance(whole, Expression):
        found = [whole]
    elif isinstance(given, Iterable) and not isinstance(given, (str, bytes, np.ndarray, dict)):
        found = [_own(x) for x in given]
    else:
        found = [whole]
    for x in found:
        if not isinstance(x, Expression):
            raise ArgumentError(
                f"{name}: got {_brief(x)}; it takes an expression or a list of them; make one of "
                "numbers by ln.constant"
            )
        if x.tape.trace is not None:
            raise x.tape.trace.refuse_value(x)
        if LOCAL.tape.trace is not None:
            raise LOCAL.tape.trace.refuse_value(x)
    if not found and not empty:
        raise ArgumentError(f"{name}: got an empty list; give it at least one expression")
    return found


def _own(x: Any) -> Any:
    """The engine's expression, of one of `lazynet.dynet`."""
    for name, attribute in (("expression", "node"), ("parameters", "leaf")):
        module = sys.modules.get(f"lazynet.dynet.{name}")  # it is not imported for this
        own = () if module is None else _wrappers(module, name)
        if isinstance(x, own):
            return getattr(x, attribute)
    return x


def _wrappers(module: Any, name: str) -> tuple[type, ...]:
    if name == "expression":
        return (module.Expression,)
    return (module.Parameters, module.LookupParameters)


def _brief(x: Any) -> str:
    text = repr(x)
    return f"{type(x).__name__} {text if len(text) <= 80 else text[:77] + '...'}"


__all__ = ["expressions_of"]
