"""What users call: `ln.backward`, `Expression.backward` and `Expression.gradient`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lazynet.accumulate import add_leaf
from lazynet.backend import SparseRows, device_of, module_of, on_device, to_host
from lazynet.errors import ArgumentError, GradientError, ShapeError
from lazynet.evaluation import Evaluation
from lazynet.execute import LOCK, evaluate, evaluated
from lazynet.graph import Expression, Leaf
from lazynet.kinds import FLOATS, HOOKS, Array, show
from lazynet.leaves import Input
from lazynet.modes import MODES
from lazynet.needs import Seed
from lazynet.recorder import BACKWARD, RECORD, WAITING, Recorder, recorder
from lazynet.retrace import retrace
from lazynet.timing import TIMING
from lazynet.walk import Walk


def backward(expressions: Iterable[Any]) -> None:
    """Differentiate the sum of several scalars in one walk.

    Args:
        expressions: Scalars of a single row. Computed first where that has not happened yet.

    Raises:
        ShapeError: If one is no scalar, or has a batch.
        GradientError: If no gradient can flow from one, or a parameter whose value is needed was
            changed since it was read.

    >>> import lazynet as ln
    >>> x = ln.constant([1.0, 2.0])
    >>> ln.backward([x.sum(), (x * x).sum()])
    >>> x.gradient().tolist()
    [3.0, 5.0]
    """
    if isinstance(expressions, (Expression, str)) or not isinstance(expressions, Iterable):
        raise ArgumentError(
            f"backward: got {expressions!r}; it takes a list of scalars; for one use .backward()"
        )
    roots = list(expressions)
    for root in roots:
        _check_root(root)
    if not roots:
        raise ArgumentError("backward: got an empty list; give it at least one scalar")
    profile = recorder()
    outside = RECORD if profile is None else profile.enter(WAITING)
    try:
        _backward(roots, profile)
    finally:
        if profile is not None:
            profile.leave(outside)


def _backward(roots: list[Any], profile: Recorder | None) -> None:
    with LOCK, np.errstate(all="ignore"):  # no other thread may change parameters in between
        if profile is not None:
            profile.mark(BACKWARD)
            profile.calls[BACKWARD] += 1
        evaluate(roots)
        seeds: list[Seed] = []
        leaves: dict[Leaf, Any] = {}
        for root in roots:
            if isinstance(root, Leaf):
                add_leaf(leaves, root, _ones(root))
            else:
                seeds.append(root.tape.location(root.index))
        singly = TIMING.timer is not None or MODES.get().anomaly > 0
        if not leaves and not singly and retrace(seeds):
            if profile is not None:
                profile.unit(seeds[0][0].layout.steps, -1)
        else:
            walk = Walk(seeds, {}, leaves, profile)
            walk.run()
            walk.commit()


def parameter_gradients(root: Expression) -> dict[Leaf, Array]:
    """The gradients of all parameters that an evaluated scalar depends on, accumulated nowhere.

    Raises:
        GradientError: If parameters have been changed since it was evaluated, and their old values
            are needed.
    """
    with LOCK, np.errstate(all="ignore"):
        leaves: dict[Leaf, Any] = {}
        if isinstance(root, Leaf):
            add_leaf(leaves, root, _ones(root))
        else:
            Walk([root.tape.location(root.index)], {}, leaves).run()
        return {
            leaf: to_host(g.dense(leaf.shape))
            if isinstance(g, SparseRows)
            else np.array(to_host(g))
            for leaf, g in leaves.items()
        }


def _ones(root: Leaf) -> Array:
    with on_device(device_of(root.values)):
        one: Array = module_of(root.values).ones(root.shape, root.type.work)
    return one


def _check_root(root: Any) -> None:
    if not isinstance(root, Expression):
        remedy = ""
        if isinstance(root, np.ndarray):
            remedy = (
                "; gradients are arrays, so they cannot be differentiated again; for a second "
                "derivative take differences of gradients"
            )
        raise ArgumentError(f"backward: got {root!r}; it takes expressions{remedy}")
    if root.size != 1 or root.batch is not None:
        raise ShapeError(
            f"backward: got {show(-1 if root.batch is None else root.batch, root.shape)}; it "
            "takes a scalar of a single row; reduce with ln.sum, ln.mean or ln.sum_batch first"
        )
    if root.dtype not in FLOATS:
        raise GradientError(f"backward: {root!r} is no floating-point value; it has no gradient")
    if not isinstance(root, Leaf) and root.index in root.tape.unrecorded:
        raise GradientError(
            f"backward: {root!r} was recorded under no_grad; no gradient flows from it; record it "
            "outside"
        )


def gradient(x: Expression) -> Array:
    """See `Expression.gradient`."""
    if not evaluated(x) or isinstance(x, Leaf):
        raise GradientError(
            f"gradient: {x!r} was not evaluated, so no backward reached it; call .backward() on a "
            "scalar computed from it first"
        )
    with LOCK, np.errstate(all="ignore"):
        evaluation, number = x.tape.location(x.index)
        found = published_gradient(evaluation, number)
        if found is None and evaluation.asked is not None and x.dtype in FLOATS:
            _differentiate_also(x, evaluation, number)
            found = published_gradient(evaluation, number)
        if found is None and x.batch == 0 and evaluation.asked is not None:
            found = np.zeros((0, *x.shape), x.type.work)  # no row that a backward could reach
    if found is None:
        raise GradientError(
            f"gradient: no backward reached {x!r}; the scalar it was last called on does not "
            "depend on it, or only through no_grad, stop_gradient or an operation without a "
            "derivative"
        )
    return found


def published_gradient(evaluation: Evaluation, number: int) -> Array | None:
    """What the last backward left for a node, as an array of the caller's own."""
    layout = evaluation.layout
    t = layout.type(number)
    if evaluation.gradients is None or t.dtype not in FLOATS:
        return None
    if t.shared:
        found = evaluation.shared_gradients.get(number)
        if isinstance(found, SparseRows):
            found = found.dense(t.shape)
        return None if found is None else to_host(found).copy()
    rows = layout.node_rows(number)
    arena = int(layout.arena[number])
    if not evaluation.needed[arena][rows].all():
        return None
    if len(rows) and not evaluation.reached[arena][rows].any():
        return None
    if evaluation.mirror is None:
        return evaluation.rows(number, evaluation.gradients)
    with on_device(evaluation.device, evaluation.mirror):
        return to_host(evaluation.rows(number, evaluation.gradients))


def _differentiate_also(x: Expression, evaluation: Evaluation, number: int) -> None:
    """Repeat the last backward for a node that it left out because no parameter lies below it.

    All inputs of the evaluation are taken along: who asks for one will ask for others.
    """
    seeds: list[Seed] = []
    for reference, root in evaluation.asked.seeds:
        source = reference()
        if source is None:
            raise GradientError(
                f"gradient: backward left out {x!r}, below which no parameter lies, and the "
                "scalar that it was called on is gone; keep that until the gradients of inputs "
                "have been read"
            )
        seeds.append((source, root))
    wanted = {serial: set(numbers) for serial, numbers in evaluation.asked.wanted.items()}
    mine = wanted.setdefault(evaluation.serial, set())
    if number in mine:
        return
    mine.add(number)
    kinds = evaluation.layout.kinds
    inputs = [c for c, kind in enumerate(kinds) if isinstance(kind.op, Input)]
    mine.update(np.flatnonzero(np.isin(evaluation.layout.code, inputs)).tolist())
    walk = Walk(seeds, wanted, {})
    try:
        walk.run()
    except GradientError as error:
        raise GradientError(
            f"gradient: backward left out {x!r}, below which no parameter lies, and it cannot be "
            f"made up for ({error}); read the gradients of inputs before the optimiser's step"
        ) from error
    walk.commit(parameters=False)


HOOKS.backward = backward
HOOKS.gradient = gradient
