"""From what one backward found to the gradients that parameters accumulate."""

from __future__ import annotations

from sys import getrefcount
from typing import Any

import numpy as np

from lazynet.backend import SparseRows, is_device_array, where_it_lies
from lazynet.graph import Leaf
from lazynet.kinds import Array


def add_leaf(leaves: dict[Leaf, Any], leaf: Leaf, gradient_: Any) -> None:
    """Add to the gradients that this walk has for parameters."""
    known = leaves.get(leaf)
    leaves[leaf] = gradient_ if known is None else known + gradient_


def accumulate(leaves: dict[Leaf, Any]) -> None:
    """Add gradients to those of the parameters: to all of them, or after an interrupt to none.

    Args:
        leaves: The gradients; taken out.
    """
    planned: list[tuple[Leaf, Any, list[Any]]] = []
    for leaf in list(leaves):
        dense, rows = leaf.pending, leaf.pending_rows
        new = [leaves.pop(leaf)]
        if isinstance(new[0], SparseRows):
            found = new[0]
            rows = [*rows, (found.rows, found.values)]
            new[0] = found.rest
            del found
        if new[0] is not None:
            dense = _owned(new) if dense is None else _sum(dense, new[0])
        planned.append((leaf, dense, rows))
    before = [(leaf, leaf.pending, leaf.pending_rows) for leaf, _, _ in planned]
    try:
        for leaf, dense, rows in planned:
            leaf.pending, leaf.pending_rows = dense, rows
    except BaseException:
        for leaf, dense, rows in before:
            leaf.pending, leaf.pending_rows = dense, rows
        raise


def _sum(old: Any, new: Any) -> Array:
    if type(old) is np.ndarray:
        return old + new  # type: ignore[no-any-return]
    with where_it_lies(old):
        return old + new  # type: ignore[no-any-return]


def _owned(new: list[Any]) -> Array:
    """The array in this list, or a copy where anyone else may hold it or part of its memory.

    An op may hand out one array for several arguments, a view of its argument, or one that it
    keeps. What backward has just made has one reference here and, where it is a view of what a
    product returned, one of it to that. (No local names below: each would be one more.)
    """
    if type(new[0]) is not np.ndarray:
        if not is_device_array(new[0]):
            return np.array(new[0])
        with where_it_lies(new[0]):
            return new[0].copy()  # type: ignore[no-any-return]
    alone = getrefcount(new[0]) <= 2 and (
        new[0].base is None or (getrefcount(new[0].base) <= 2 and _same_memory(new[0].base, new[0]))
    )
    found: Array = new[0]
    return found if alone and found.flags.writeable else np.array(found)


def _same_memory(base: Any, view: Array) -> bool:
    """Whether the memory of the view is all that its base holds, and nobody else's."""
    return type(base) is np.ndarray and base.flags.owndata and base.size == view.size
