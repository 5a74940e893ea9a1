"""Which nodes of one tape an evaluation needs.

Two ways to walk find the same: a depth-first search for few nodes, array sweeps for many.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.kinds import Array
from lazynet.tape import Tape, ranges

SMALL = 256
"""Nodes that are searched for one by one."""

_SHARE = 16
"""Of a long tape of which one node in so many is asked for, more than a few will be needed."""


def needed_nodes(tape: Tape, asked: list[int]) -> tuple[Any, list[int]]:
    """Unevaluated nodes below these, ascending, and the evaluated ones they rest on."""
    starts = tape.starts
    args = tape.args
    evaluated = tape.evaluated
    n = len(starts)
    limit = SMALL + n // 64
    if len(asked) > limit or (n > limit and len(asked) * _SHARE > n):
        return _sweep(tape, asked)  # the search would not get to its end
    seen = set(asked)
    boundary: set[int] = set()
    stack = list(asked)
    while stack:
        i = stack.pop()
        for a in args[starts[i] : starts[i + 1] if i + 1 < n else len(args)]:
            if a not in seen:
                if evaluated[a]:
                    boundary.add(a)
                else:
                    seen.add(a)
                    stack.append(a)
        if len(seen) > limit:
            return _sweep(tape, asked)
    if tape.several:
        seen.update([i + k for i in seen for k in range(1, len(tape.kinds[i].members))])
    return sorted(seen), sorted(boundary)


def _sweep(tape: Tape, asked: list[int]) -> tuple[Array, list[int]]:
    """The same by array operations: drop what nobody uses until nothing more can be dropped."""
    starts, args = tape.arrays()
    n = len(starts) - 1
    last = max(asked) + 1
    fresh = 1 not in tape.evaluated
    keep = np.frombuffer(tape.evaluated, np.uint8) == 0
    keep[last:] = False
    given = args[: starts[last]] if fresh else args[np.repeat(keep, np.diff(starts))]
    wanted = np.zeros(n, bool)
    wanted[asked] = True
    uses = np.bincount(given, minlength=n)
    dead = np.flatnonzero(keep & (uses == 0) & ~wanted)
    while len(dead):
        keep[dead] = False
        if len(dead) < 8:
            dead = _unused(dead.tolist(), tape, uses, keep, wanted)
            continue
        freed = args[ranges(starts[dead], starts[dead + 1] - starts[dead])]
        np.subtract.at(uses, freed, 1)
        dead = np.sort(freed[(uses[freed] == 0) & keep[freed] & ~wanted[freed]])
        if len(dead):
            dead = dead[np.concatenate([[True], dead[1:] != dead[:-1]])]
    if tape.several:  # the results of a node are computed together
        code, kinds, _ = tape.columns()
        results = np.array([len(k.members) for k in kinds])[code]
        nodes = np.flatnonzero(keep & (results > 1))
        for k in range(1, int(results.max())):
            keep[nodes[results[nodes] > k] + k] = True
    needed = np.flatnonzero(keep)
    if fresh:
        return needed, []
    below = np.zeros(n, bool)
    below[args[np.repeat(keep, np.diff(starts))]] = True
    return needed, np.flatnonzero(below & ~keep).tolist()


def _unused(dead: list[int], tape: Tape, uses: Array, keep: Array, wanted: Array) -> Array:
    """Follow a few long chains of unused nodes one by one; returns no further candidates."""
    while dead:
        i = dead.pop()
        keep[i] = False
        for a in tape.arguments(i):
            uses[a] -= 1
            if uses[a] == 0 and keep[a] and not wanted[a]:
                dead.append(a)
    return np.zeros(0, np.int64)


def used(tape: Tape, needed: Any, places: dict[int, int]) -> list[int]:
    """Which nodes of another tape are needed, of those that stand in these places of this one."""
    there = list(places)
    if len(needed) == len(tape):
        return there
    here = list(places.values())
    if isinstance(needed, list):
        chosen = set(needed)
        return [i for i, place in zip(there, here) if place in chosen]
    return [i for i, place in zip(there, positions(needed, here)) if place >= 0]


def contains(ordered: Array, i: int) -> bool:
    """Whether an ascending array holds a number."""
    k = int(np.searchsorted(ordered, i))
    return k < len(ordered) and bool(ordered[k] == i)


def positions(ordered: Array, indices: list[int]) -> list[int]:
    """Where each of these stands in an ascending array; -1 for those that it does not hold."""
    if not len(ordered) or not indices:
        return [-1] * len(indices)
    wanted = np.array(indices, np.int64)
    places = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    places[ordered[places] != wanted] = -1
    found: list[int] = places.tolist()
    return found


__all__ = ["contains", "needed_nodes", "positions", "used"]
