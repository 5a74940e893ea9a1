"""Batches of values that are stored in 16 bits: ops see float32, and results are rounded.

An op need not know of 16 bits. Its arguments are widened when they are fetched, in one step with
the gather where there is one, and its results are rounded when they are stored. What is widened is
let go of at once, and widened anew in backward; gradients are float32.
"""

from __future__ import annotations

from typing import Any

from lazynet.backend import module_of
from lazynet.evaluation import Evaluation
from lazynet.kinds import FLOAT16, HALVES, Array, Call
from lazynet.layout import Step


def run_wide(evaluation: Evaluation, step: Step, payload: Any) -> tuple[Call, list[Array]]:
    """Compute a batch into its place in the arenas.

    Args:
        evaluation: Whose.
        step: The batch.
        payload: Of its rows.

    Returns:
        The call, as backward wants it, and the arguments that forward saw.
    """
    op = step.op
    arenas = evaluation.arenas
    targets = [arenas[a][b:e].reshape((step.rows, *shape)) for a, b, e, shape in step.outputs]
    if evaluation.mirror is not None and step.rows and FLOAT16 in [t.dtype for t in targets]:
        halves = op.halves([t.shape for t in step.kind.args], step.shared)
        if halves is not None:
            call = Call(step.rows, payload, step.shared, (), targets[0], step.segments)
            if halves(call, *[evaluation.fetch(a, op.shares, step.rows) for a in step.args]):
                call.out = None
                return call, []
    args = [evaluation.fetch_wide(a, op.shares, step.rows) for a in step.args]
    outs = [
        t if t.dtype not in HALVES else module_of(t).empty(t.shape, kind.work)
        for t, kind in zip(targets, step.kind.outputs)
    ]
    out: Any = outs[0] if len(outs) == 1 else tuple(outs)
    call = Call(step.rows, payload, step.shared, (), out, step.segments)
    y = op.forward(call, *args)
    for target, result in zip(targets, (y,) if len(outs) == 1 else y):
        if result is not target:
            target[...] = result
    call.out = None
    return call, args
