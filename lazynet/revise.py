"""Changing what was recorded: new payloads, and values dropped so that they are computed anew.

Expressions are values, and nothing in `lazynet` itself changes one. Programs that build a graph
once and run it on one input after another (`lazynet.dynet`) need just this much: `replace` what a
node carries, and `forget` what was computed before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.execute import LOCK
from lazynet.graph import Expression, Leaf
from lazynet.kinds import Op
from lazynet.randomness import next_key
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
            waiting.update([source for source, _ in tape.imports if source not in seen])


def _forget(tape: Tape, serial: int) -> None:
    old = np.array([e.serial <= serial for e in tape.evaluations], bool)
    if not old.any():
        return
    marks = np.frombuffer(tape.evaluated, np.uint8)
    dropped = np.flatnonzero(marks) if old.all() else np.flatnonzero(old[tape.done] & (marks == 1))
    marks[dropped] = 0
    kinds = tape.kinds
    for i in dropped.tolist():
        op: Op = kinds[i].op
        if op.payload == "key":
            tape.payloads[i] = next_key()
        elif op.staged:
            tape.payloads[i] = op.renewed(tape.payloads[i])  # type: ignore[attr-defined]
    if old.all():
        tape.evaluations.clear()
