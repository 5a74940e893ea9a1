"""Contract cases of ops/loss.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from contract import Case
from scipy.special import expit, gammaln

import lazynet as ln
from lazynet.ops.grouped import GroupedCrossEntropy, grouped_cross_entropy
from lazynet.ops.loss import (
    L1,
    BinaryCrossEntropy,
    CrossEntropy,
    Hinge,
    Huber,
    Nll,
    PairwiseRank,
    PoissonNll,
    SquaredError,
)


def _cross_entropy(x: Any, c: int) -> Any:
    return -np.log(np.exp(x[c]) / np.exp(x).sum())


def _hinge(x: Any, c: int, margin: float = 1.0) -> Any:
    return sum(max(0.0, margin - x[c] + x[j]) for j in range(len(x)) if j != c)


def _binary_cross_entropy(x: Any, t: Any) -> Any:
    p = expit(x)
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum()


def _huber(x: Any, y: Any, delta: float = 1.0) -> Any:
    d = np.abs(x - y)
    return np.where(d <= delta, d**2 / 2, delta * (d - delta / 2)).sum()


def _probabilities(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.uniform(0.05, 0.95, shape)


def _counts(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.integers(0, 6, shape) + rng.uniform(0.1, 0.9, shape)


def _pair(
    name: str,
    op: type,
    reference: Callable[..., Any],
    sample: Any = "normal",
    **kwargs: Any,
) -> list[Case]:
    return [
        Case(
            name=f"{name} {a} {b} {kwargs or ''}".strip(),
            function=getattr(ln, name),
            shapes=[a, b],
            reference=reference,
            sample=sample,
            ops=(op,),
            kwargs=kwargs,
        )
        for a, b in (((), ()), ((4,), (4,)), ((2, 3), (2, 3)), ((4,), ()), ((), (3,)), ((1,), ()))
    ]


def _grouped(x: Any, *weights: Any, g: int, c: int, bias: bool, **_: Any) -> Any:
    z = weights[g * (1 + bias)] @ x
    if bias:
        z = z + weights[g * 2 + 1]
    if len(z) == 1:
        z = np.array([z[0], 0])
    return -np.log(np.exp(z[c]) / np.exp(z).sum())


def _call_grouped(x: Any, *weights: Any, g: int, c: int, bias: bool) -> Any:
    if bias:
        return grouped_cross_entropy(x, weights[::2], weights[1::2], g, c)
    return grouped_cross_entropy(x, weights, None, g, c)


CASES = [
    *[
        Case(
            name=f"grouped_cross_entropy, group {g}, class {c}, bias {bias}",
            function=_call_grouped,
            shapes=[(3,)] + [s for n in (4, 1, 2) for s in ([(n, 3), (n,)] if bias else [(n, 3)])],
            reference=_grouped,
            ops=(GroupedCrossEntropy,),
            shared_args=(1, 2, 4) if bias else (1, 2),
            kwargs={"g": g, "c": c, "bias": bias},
        )
        for bias in (False, True)
        for g, c in ((0, 3), (1, 0), (1, 1), (2, 1))
    ],
    *[
        Case(
            name=f"{name} ({n},) class {c} {kwargs or ''}".strip(),
            function=getattr(ln, name),
            shapes=[(n,)],
            reference=reference,
            sample="distinct",
            ops=(op,),
            kwargs={"c": c, **kwargs},
        )
        for name, op, reference, settings in (
            ("cross_entropy", CrossEntropy, _cross_entropy, [{}]),
            ("nll", Nll, lambda x, c: -x[c], [{}]),
            ("hinge", Hinge, _hinge, [{}, {"margin": 0.37}]),
        )
        for kwargs in settings
        for n, c in ((5, 3), (5, 0), (2, 1), (1, 0))
    ],
    *_pair(
        "binary_cross_entropy",
        BinaryCrossEntropy,
        _binary_cross_entropy,
        ["normal", _probabilities],
    ),
    *_pair("squared_error", SquaredError, lambda x, y: ((x - y) ** 2).sum()),
    *_pair("l1", L1, lambda x, y: np.abs(x - y).sum()),
    *_pair("huber", Huber, _huber),
    *_pair("huber", Huber, _huber, delta=0.25),
    *_pair(
        "poisson_nll",
        PoissonNll,
        lambda x, k: (np.exp(x) - k * x + gammaln(k + 1)).sum(),
        ["normal", _counts],
    ),
    *_pair("pairwise_rank", PairwiseRank, lambda a, b: np.maximum(0, 1 - a + b).sum()),
    *_pair(
        "pairwise_rank",
        PairwiseRank,
        lambda a, b, margin: np.maximum(0, margin - a + b).sum(),
        margin=0.3,
    ),
]
