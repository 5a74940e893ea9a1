"""Reductions."""

from __future__ import annotations

import lazynet.ops as ops
from lazynet.dynet.expression import Expression, checked, wrap


def sum_elems(x: Expression) -> Expression:
    """The sum of all elements of each example, a scalar."""
    node = checked(x, "sum_elems").node
    return wrap(ops.reshape(ops.sum(node), (1,)))


def sum_batches(x: Expression) -> Expression:
    """The sum of all examples of a batch, elementwise."""
    node = checked(x, "sum_batches").node
    return x if node.batch is None else wrap(ops.sum_batch(node))
