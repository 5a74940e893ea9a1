"""Contract cases of ops/vector_loss.py, ops/columns.py and the restricted softmaxes."""

from __future__ import annotations

from typing import Any

import numpy as np
from contract import Case
from scipy.special import gammaln, logsumexp

import lazynet as ln
from lazynet.ops.columns import JoinRows, ReshapeColumns
from lazynet.ops.shape import Reshape
from lazynet.ops.softmax import ConstrainedSoftmax, RestrictedLogSoftmax
from lazynet.ops.vector_loss import (
    BinaryLogLoss,
    HingeDim,
    PoissonLoss,
    RankMargin,
    SingleCrossEntropy,
    SingleHinge,
    SingleHuber,
    SingleL1,
    SingleSquaredError,
)


def _probabilities(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.uniform(0.05, 0.95, shape)


def _hinge(x: Any, c: int, margin: float) -> float:
    return sum(max(0.0, margin - x[c] + x[j]) for j in range(len(x)) if j != c)


def _huber(d: Any, delta: float) -> Any:
    return np.where(np.abs(d) <= delta, d**2 / 2, delta * (np.abs(d) - delta / 2)).sum()


def _restricted(x: Any, allowed: list[int]) -> Any:
    y = np.full(len(x), -np.inf)
    y[allowed] = x[allowed] - logsumexp(x[allowed])
    return y


def _constrained(x: Any, bounds: Any) -> Any:
    """By setting what exceeds its bound, again and again."""
    met = np.zeros(len(x), bool)
    while True:
        y = np.where(met, bounds, 0.0)
        free = np.exp(x) * ~met
        y += (1 - y.sum()) * free / free.sum()
        over = (y > bounds) & ~met
        if not over.any():
            return y
        met |= over


def _bounds(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.permutation(np.array([0.12, 0.3, 0.41, 0.55]))


_MODEL_BOUNDS = np.array([0.2, 0.9, 0.25, 0.8])

CASES = [
    Case(
        "vector of cross entropy", lambda x: SingleCrossEntropy()(x, payload=2), [(4,)],
        lambda x: np.array([logsumexp(x) - x[2]]), ops=(SingleCrossEntropy,),
    ),
    Case(
        "vector of hinge", lambda x: SingleHinge(0.7)(x, payload=1), [(4,)],
        lambda x: np.array([_hinge(x, 1, 0.7)]), sample="distinct", ops=(SingleHinge,),
    ),
    Case(
        "vector of squared error", SingleSquaredError(), [(2, 3), (2, 3)],
        lambda a, b: np.array([((a - b) ** 2).sum()]), ops=(SingleSquaredError,),
    ),
    Case(
        "vector of l1", SingleL1(), [(4,), (4,)], lambda a, b: np.array([np.abs(a - b).sum()]),
        ops=(SingleL1,),
    ),
    Case(
        "vector of huber", lambda a, b: SingleHuber()(a, b, payload=0.5), [(5,), (5,)],
        lambda a, b: np.array([_huber(a - b, 0.5)]), ops=(SingleHuber,),
    ),
    Case(
        "binary log loss", BinaryLogLoss(), [(2, 3), (2, 3)],
        lambda p, t: -np.array([(t * np.log(p) + (1 - t) * np.log(1 - p)).sum()]),
        sample=_probabilities, ops=(BinaryLogLoss,),
    ),
    Case(
        "poisson loss", lambda x: PoissonLoss()(x, payload=3.0), [(1,)],
        lambda x: np.exp(x) - 3 * x + gammaln(4.0), ops=(PoissonLoss,),
    ),
    Case(
        "rank margin", lambda a, b: RankMargin()(a, b, payload=0.3), [(1, 4), (1, 4)],
        lambda a, b: np.maximum(0, 0.3 - a + b), ops=(RankMargin,),
    ),
    Case(
        "hinge of columns", lambda x: HingeDim(0, 0.6)(x, payload=np.array([2, 0])), [(3, 2)],
        lambda x: np.array([_hinge(x[:, 0], 2, 0.6), _hinge(x[:, 1], 0, 0.6)]), sample="distinct",
        ops=(HingeDim,),
    ),
    Case(
        "hinge of rows", lambda x: HingeDim(1, 1.0)(x, payload=np.array([0, 3, 1])), [(3, 4)],
        lambda x: np.array([_hinge(x[i], c, 1.0) for i, c in enumerate([0, 3, 1])]),
        sample="distinct", ops=(HingeDim,),
    ),
    Case(
        "reshape_columns", lambda x: ln.reshape_columns(x, (4, 3)), [(2, 3, 2)],
        lambda x: x.reshape((4, 3), order="F"), ops=(ReshapeColumns,), shared_args=(0,),
    ),
    Case(
        "reshape_columns to add an axis", lambda x: ln.reshape_columns(x, (3, 1, 2)), [(3, 2)],
        lambda x: x[:, None], ops=(Reshape,), shared_args=(0,),
    ),
    Case(
        "rows joined", lambda x: JoinRows((2, 3), x.batch, (2 * x.batch, 3))(x), [(2, 3)],
        lambda x: x.transpose(1, 2, 0).reshape((-1, 3), order="F"), ops=(JoinRows,),
        across_rows=True,
    ),
    Case(
        "restricted log_softmax", lambda x: ln.restricted_log_softmax(x, [3, 0, -3])[1:4:2], [(4,)],
        lambda x: _restricted(x, [0, 1, 3])[1:4:2], ops=(RestrictedLogSoftmax,),
    ),
    Case(
        "constrained_softmax", ln.constrained_softmax, [(4,), (4,)], _constrained,
        sample=["normal", _bounds], ops=(ConstrainedSoftmax,), twice=False,
    ),
    Case(
        "constrained_softmax of one bound", lambda x: ln.constrained_softmax(x, _MODEL_BOUNDS),
        [(4,)], lambda x: _constrained(x, _MODEL_BOUNDS), ops=(ConstrainedSoftmax,),
    ),
]  # fmt: skip
