"""Changing what was recorded: new payloads, and values dropped so that they are computed anew.

Expressions are values, and nothing in `lazynet` itself changes one. Programs that build a graph
once and run it on one input after another (`lazynet.dynet`) need just this much: `replace` what a
node carries, and `forget` what was computed before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.execute import LOCK, Along
from lazynet.graph import Expression, Leaf
from lazynet.leaves import Import
from lazynet.randomness import next_key
from lazynet.recall import SHORT
from lazynet.tape import Tape


def replace(x: Expression, payload: Any) -> None:
    """Give a node another payload of the same form: the numbers of an input, an index, a class.

    What was computed from the old one stays as it is until `forget`.
    """
    x.tape.payloads[x.index] = payload


def payload_of(x: Expression) -> Any:
    """What a node carries."""
    return x.tape.payloads[x.index]


def forget(roots: list[Expression], serial: int) -> None:
    """Drop what evaluations up to this serial number computed, on the tapes that the roots need.

    It is computed anew when it is next asked for, with the parameters as they are then and with
    new random numbers. Only tapes whose imports were kept can be computed anew (see `evaluate`).
    """
    with LOCK:
        waiting = {x.tape for x in roots if not isinstance(x, Leaf)}
        seen: set[Tape] = set()
        while waiting:
            tape = waiting.pop()
            seen.add(tape)
            if tape.sealed > 0:
                _forget(tape, serial)
            waiting.update([source for source in tape.imports if source not in seen])


def forget_unasked(along: list[Along], asked: list[Expression]) -> bool:
    """Drop what was computed along with other nodes, if parameters have been changed since.

    It is then computed anew, with the parameters as they are, as if it had not been computed yet.

    Args:
        along: What `evaluate` computed so.
        asked: The expressions whose values have been used; what they need stays.

    Returns:
        Whether there was anything to drop.
    """
    changed = [
        tape
        for tape, evaluation in along
        if any([leaf.version() != evaluation.versions[k] for k, leaf in evaluation.leaves.items()])
    ]
    if not changed:
        return False
    with LOCK:
        needed = _ancestors(asked)
        for tape in changed:
            kept = needed.get(tape, set())
            for i in range(len(tape)):
                if i not in kept:
                    tape.evaluated[i] = 0
    return True


def _ancestors(roots: list[Expression]) -> dict[Tape, set[int]]:
    """All nodes that these need, by tape; results of one node together."""
    found: dict[Tape, set[int]] = {}
    stack = [(x.tape, x.index) for x in roots if not isinstance(x, Leaf)]
    while stack:
        tape, i = stack.pop()
        seen = found.setdefault(tape, set())
        if i in seen:
            continue
        seen.add(i)
        stack += [(tape, a) for a in tape.arguments(i)]
        kind = tape.kinds[i]
        stack += [(tape, i + k) for k in range(1, len(kind.members))]
        if isinstance(kind.op, Import):
            x = tape.payloads[i]
            stack.append((x.tape, x.index))
    return found


def _forget(tape: Tape, serial: int) -> None:
    old = np.array([e.serial <= serial for e in tape.evaluations], bool)
    if not old.any():
        return
    every = bool(old.all())
    marks = np.frombuffer(tape.evaluated, np.uint8)
    renewable = tape.renewable
    if renewable is None:
        ops = [kind.op for kind in tape.kinds]
        renewable = [i for i, op in enumerate(ops) if op.payload == "key" or op.staged]
        tape.renewable = renewable
    kinds = tape.kinds
    for i in renewable:
        if marks[i] and (every or old[tape.done[i]]):
            op: Any = kinds[i].op
            renewed = op.renewed(tape.payloads[i]) if op.staged else next_key()
            tape.payloads[i] = renewed
    if every:
        marks[:] = 0
        tape.evaluations.clear()
        if tape.known is None and len(tape) > SHORT:
            tape.known = {}
    else:
        marks[old[tape.done] & (marks == 1)] = 0
