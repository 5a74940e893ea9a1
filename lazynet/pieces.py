"""Ops that take a piece of every row, straight from arena to arena.

``z[:n], z[n:2 * n], ...`` of one expression are rows of one batch, which point at the same row many
times over. Gathering whole rows, to cut most of each away again, costs several times the piece; so
does a gradient as wide as the row for each. An arena whose rows are cut in pieces of one size is
an arena of narrower rows, and what such a batch does is a gather from it and a scatter to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.backend import scatter_add, take_rows
from lazynet.kinds import Array
from lazynet.layout import SAME, SHARED, Step


def pieces_of(step: Step, payload: Any, selected: Array | None) -> tuple[int, Array] | None:
    """Size of the pieces that a batch takes, and which pieces of its argument's arena they are.

    None where the op takes no such pieces, or its argument has no rows.
    """
    argument = step.args[0]
    if argument.mode == SHARED or not step.rows:
        return None
    found = step.op.piece(payload if selected is None else payload[selected])
    if found is None:
        return None
    size, numbers = found
    rows: Any = argument.start if argument.mode == SAME else argument.indices()
    if selected is not None and argument.mode != SAME:
        rows = rows[selected]
    return size, rows * (step.kind.args[0].width // size) + numbers


def gather(arena: Array, size: int, pieces: Array, out: Array) -> None:
    """Take pieces of the rows of an arena."""
    take_rows(arena.reshape(-1, size), pieces, out.reshape(-1, size))


def add(gradients: Array, size: int, pieces: Array, dy: Array) -> None:
    """Add to the pieces of the rows of an arena."""
    scatter_add(gradients.reshape(-1, size), pieces, dy.reshape(-1, size))


def rows_of(step: Step, selected: Array | None) -> Any:
    """The rows of the argument that a batch reads, as an index."""
    argument = step.args[0]
    if argument.mode == SAME:
        return np.array([argument.start])
    return argument.indices() if selected is None else argument.indices()[selected]
