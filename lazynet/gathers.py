"""Rows that backward collects from several batches of a kind, as index arrays known beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.kinds import Array
from lazynet.layout import SAME, SHARED, Layout, Step


def gathered_rows(steps: list[Step], position: int) -> Array:
    """The rows of one argument in several batches of a kind, behind one another."""
    parts = []
    for step in steps:
        argument = step.args[position]
        if argument.mode == SAME:
            parts.append(np.full(step.rows, argument.start))
        else:
            parts.append(argument.indices())
    return np.concatenate(parts)


def gathers_of(layout: Layout) -> dict[Any, Array]:
    """The index arrays by which backward collects arguments, where all batches take part."""
    together: dict[Any, list[int]] = {}
    for k, step in enumerate(layout.steps):
        shared = tuple([a.start for a in step.args if a.mode == SHARED])
        if shared and step.op.reads_args and not step.op.staged:
            together.setdefault((step.kind, shared), []).append(k)
    found = {}
    for numbers in together.values():
        steps = [layout.steps[k] for k in numbers]
        for position, argument in enumerate(steps[0].args):
            if len(numbers) > 1 and argument.mode != SHARED:
                found[tuple(numbers), position] = gathered_rows(steps, position)
    return found
