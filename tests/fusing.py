"""Fused programs against the same functions recorded operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import lazynet as ln

TOLERANCES = {"float32": 1e-5, "float64": 1e-10}


@dataclass
class Recorded:
    """What a test recorded.

    Attributes:
        outputs: Expressions to compare.
        inputs: Expressions and parameters of which the gradients are compared.
        reach: Which of the outputs reach the loss; None: all.
    """

    outputs: Sequence[Any]
    inputs: Sequence[Any]
    reach: Sequence[int] | None = None


def gradient_of(x: Any) -> Any:
    """The gradient, or zeros where backward did not get to."""
    try:
        return np.array(x.gradient())
    except ln.GradientError as error:
        if "no backward reached" not in str(error) and not isinstance(x, ln.Parameter):
            raise
        return np.zeros(np.shape(x.value()))


def scalar_loss(outputs: Sequence[Any]) -> list[Any]:
    """For each output a scalar in which every entry counts, and counts differently."""
    losses = []
    for k, y in enumerate(outputs):
        if y.dtype.kind != "f" or y.batch == 0 or not y.size:
            continue
        rng = np.random.default_rng(k)
        weight = ln.constant(rng.standard_normal(y.shape).astype(y.dtype))
        term = ln.sum(y * weight + 0.5 * y * y)
        losses.append(term if y.batch is None else ln.sum_batch(term))
    return losses


@dataclass
class Outcome:
    """All that a user sees of a run."""

    values: list[Any]
    gradients: list[Any]


def outcome(build: Callable[[], Recorded], model: ln.Model | None = None) -> Outcome:
    """Record, evaluate, differentiate."""
    ln.seed(3)
    recorded = build()
    outputs = list(recorded.outputs)
    reach = range(len(outputs)) if recorded.reach is None else recorded.reach
    losses = scalar_loss([outputs[k] for k in reach])
    values = [np.array(v) for v in ln.values(outputs)]
    if losses:
        ln.backward(losses)
    gradients = [gradient_of(x) for x in recorded.inputs]
    if model is not None:
        gradients += [gradient_of(p) for p in model.parameters()]
        model.zero_gradients()
    return Outcome(values, gradients)


def close(found: Sequence[Any], expected: Sequence[Any], tolerance: float, what: str = "") -> None:
    """Equal to rounding, relative to the largest entry."""
    assert len(found) == len(expected)
    for k, (x, y) in enumerate(zip(found, expected)):
        assert np.shape(x) == np.shape(y), f"{what} {k}: shape {np.shape(x)}, not {np.shape(y)}"
        a, b = np.asarray(x), np.asarray(y)
        size = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0.0)))
        np.testing.assert_allclose(a, b, tolerance, tolerance * size, err_msg=f"{what} {k}")


def check(
    build: Callable[[], Recorded], model: ln.Model | None = None, tolerance: float = 1e-10
) -> Outcome:
    """Fused gives what no_fuse gives: values and gradients, batched and node by node."""
    with ln.no_fuse():
        plain = outcome(build, model)
    fused = outcome(build, model)
    close(fused.values, plain.values, tolerance, "value")
    close(fused.gradients, plain.gradients, tolerance, "gradient")
    with ln.no_autobatch():
        single = outcome(build, model)
    close(single.values, plain.values, tolerance, "no_autobatch, value")
    close(single.gradients, plain.gradients, tolerance, "no_autobatch, gradient")
    return fused


def ops_of(*expressions: Any) -> list[str]:
    """Names of the batches of a plan, without leaves and what only points at rows."""
    idle = {"input", "import", "rebatch", "unbatch", "unshare"}
    return [b.op for b in ln.plan(list(expressions)).batches if b.op not in idle]
