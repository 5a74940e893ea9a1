"""Backward from nodes of one evaluation that rests on no other, of a structure met often.

Nothing has to be found out then, and the code that was printed for it (see `rewind`) is all that
runs. Everything else is left to the walk.
"""

from __future__ import annotations

from typing import Any

from lazynet.accumulate import accumulate, add_leaf
from lazynet.backend import uninitialised
from lazynet.kinds import FLOATS
from lazynet.needs import Seed
from lazynet.rewind import Back, Withheld, back_of, print_back
from lazynet.walk import Asked, Walk


def retrace(seeds: list[Seed]) -> bool:
    """Run backward from these nodes the short way; False, and nothing done, if that cannot be."""
    evaluation = seeds[0][0]
    routine = evaluation.routine
    if routine is None or evaluation.links or evaluation.borrowed:
        return False
    numbers = []
    for source, number in seeds:
        if source is not evaluation:
            return False
        numbers.append(number)
    key = (tuple(numbers), tuple([leaf.trainable for leaf in evaluation.leaves.values()]))
    back = back_of(routine.backs, key)
    if back is False or back == 1:
        return False
    if not isinstance(back, Back):
        back = routine.backs[key] = _find(seeds)
        if back is False:
            return False
    gradients = [
        uninitialised(rows, width, dtype) if dtype in FLOATS else arena
        for (dtype, width, rows), arena in zip(evaluation.layout.arenas, evaluation.arenas)
    ]
    try:
        found = back.gradients(evaluation, gradients)
    except Withheld:
        return False
    leaves: dict[Any, Any] = {}
    for number in list(found):
        add_leaf(leaves, evaluation.leaves[number], found.pop(number))
    asked = Asked(seeds, {})
    accumulate(leaves)
    evaluation.gradients = None
    evaluation.reached = back.reached
    evaluation.needed = back.needed
    evaluation.shared_gradients = {}
    evaluation.asked = asked
    evaluation.gradients = gradients
    return True


def _find(seeds: list[Seed]) -> Any:
    """How to run backward from these nodes; False if only the walk can."""
    evaluation = seeds[0][0]
    layout = evaluation.layout
    if any(layout.type(number).shared for _, number in seeds):
        return False
    walk = Walk(seeds, {}, {})
    walk.begin()
    sheet = walk.sheets[evaluation.serial]
    if any(sheet.shared_needed[number] for number, _, _ in layout.shared):
        return False
    return print_back(sheet, True)
