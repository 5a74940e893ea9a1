"""Sums of parts of a batch, of any lengths: messages that arrive at the nodes of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lazynet.errors import ArgumentError, ShapeError
from lazynet.graph import Expression, record
from lazynet.inputs import as_expression
from lazynet.ops.elementwise import ready
from lazynet.ops.reduce import SumList
from lazynet.ops.shape import whole_number


@dataclass(frozen=True)
class SumSegments(SumList):
    """y_k = sum_j x_j, over the rows j of segment k"""

    points = True


_SUM_SEGMENTS = ready(SumSegments())


def sum_segments(x: Any, lengths: Sequence[int]) -> Expression:
    """Sums of neighbouring rows of a batch: a batch with a row for each length.

    With `take_rows` it passes messages along the edges of a graph: take the row of each edge's
    source, ordered by the node where the edge ends, and sum as many as end at each node.

    Args:
        x: Any shape, with a batch; without one it counts as one row.
        lengths: How many rows go into each sum, 0 or more; together as many as x has.

    Returns:
        A batch of as many rows as there are lengths; 0 where a length is 0.

    Raises:
        ShapeError: If x has more rows, or fewer.
        ArgumentError: If lengths are no whole numbers, or below 0.

    >>> import lazynet as ln
    >>> x = ln.constant([[1, 2], [3, 4], [5, 6]], batched=True)
    >>> ln.sum_segments(x, [2, 0, 1]).value().tolist()
    [[4.0, 6.0], [0.0, 0.0], [5.0, 6.0]]
    """
    x = as_expression(x, "sum_segments")
    numbers = tuple([whole_number(n, "sum_segments: lengths") for n in lengths])
    if numbers and min(numbers) < 0:
        raise ArgumentError(
            f"sum_segments: got the length {min(numbers)}; lengths are whole numbers, 0 or more"
        )
    rows = 1 if x.batch is None else x.batch
    if sum(numbers) != rows:
        raise ShapeError(
            f"sum_segments: got {rows} rows and lengths that add up to {sum(numbers)}; "
            "every row of x must be in one of the sums"
        )
    return record(_SUM_SEGMENTS, (x,), numbers, len(numbers))


__all__ = ["sum_segments"]
