"""From what one backward found to the gradients that parameters accumulate."""

from __future__ import annotations

from sys import getrefcount
from typing import Any

import numpy as np

from lazynet.backend import SparseRows
from lazynet.graph import Leaf
from lazynet.kinds import Array


def add_leaf(leaves: dict[Leaf, Any], leaf: Leaf, gradient_: Any) -> None:
    """Add to the gradients that this walk has for parameters."""
    known = leaves.get(leaf)
    leaves[leaf] = gradient_ if known is None else known + gradient_


def accumulate(leaves: dict[Leaf, Any]) -> None:
    """Add gradients to those of the parameters: to all of them, or after an interrupt to none."""
    planned: list[tuple[Leaf, Any, list[Any]]] = []
    for leaf in list(leaves):
        dense, rows = leaf.pending, leaf.pending_rows
        if isinstance(leaves[leaf], SparseRows):
            found = leaves.pop(leaf)
            rows = [*rows, (found.rows, found.values)]
            leaves[leaf] = found.rest
            del found
        if dense is not None and leaves[leaf] is not None:
            dense = dense + leaves[leaf]
        elif leaves[leaf] is not None:
            dense = _owned(leaves, leaf)
        planned.append((leaf, dense, rows))
    before = [(leaf, leaf.pending, leaf.pending_rows) for leaf, _, _ in planned]
    try:
        for leaf, dense, rows in planned:
            leaf.pending, leaf.pending_rows = dense, rows
    except BaseException:
        for leaf, dense, rows in before:
            leaf.pending, leaf.pending_rows = dense, rows
        raise


def _owned(leaves: dict[Leaf, Any], leaf: Leaf) -> Array:
    """The array found for a leaf, or a copy where anyone else may hold it or part of its memory.

    An op may hand out one array for several arguments, a view of its argument, or one that it
    keeps. What backward has just made has one reference here and, where it is a view of what a
    product returned, one of it to that. (No local names below: each would be one more.)
    """
    if type(leaves[leaf]) is not np.ndarray:
        return np.array(leaves[leaf])
    alone = getrefcount(leaves[leaf]) <= 2 and (
        leaves[leaf].base is None
        or (getrefcount(leaves[leaf].base) <= 2 and _same_memory(leaves[leaf].base, leaves[leaf]))
    )
    found: Array = leaves[leaf]
    return found if alone and found.flags.writeable else np.array(found)


def _same_memory(base: Any, view: Array) -> bool:
    """Whether the memory of the view is all that its base holds, and nobody else's."""
    return type(base) is np.ndarray and base.flags.owndata and base.size == view.size
