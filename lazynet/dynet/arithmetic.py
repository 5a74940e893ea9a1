"""Arithmetic, element by element."""

from __future__ import annotations

from lazynet.dynet.expression import Expression, aligned, checked, wrap


def cmult(x: Expression, y: Expression) -> Expression:
    """The product element by element; axes of length 1, missing axes and the batch are repeated."""
    a, b = checked(x, "cmult").node, checked(y, "cmult").node
    if a.type is not b.type:
        a, b = aligned(a, b)
    return wrap(a * b)
