"""Contract cases of ops/random.py; what the numbers are distributed like is in test_random.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from contract import Case

import lazynet as ln
from lazynet.ops.random import (
    BernoulliSample,
    Categorical,
    Dropout,
    GumbelSample,
    Noise,
    NormalSample,
    UniformSample,
)


def _probabilities(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.uniform(0.1, 0.9, shape)


CASES = [
    *[
        Case(
            name=f"dropout {shape}",
            function=lambda x: ln.dropout(x, 0.4),
            shapes=[shape],
            reference=None,
            ops=(Dropout,),
            seeded=True,
        )
        for shape in ((), (5,), (3, 4))
    ],
    *[
        Case(
            name=f"dropout_dim (3, 4) axis {axis}",
            function=lambda x, axis: ln.dropout_dim(x, axis, 0.4),
            shapes=[(3, 4)],
            reference=None,
            ops=(Dropout,),
            seeded=True,
            kwargs={"axis": axis},
        )
        for axis in (0, -1)
    ],
    Case(
        name="block_dropout",
        function=lambda x: ln.block_dropout(x, 0.4),
        shapes=[(3, 4)],
        reference=None,
        ops=(Dropout,),
        seeded=True,
    ),
    *[
        Case(
            name=f"noise {shape}",
            function=lambda x: ln.noise(x, 0.5),
            shapes=[shape],
            reference=None,
            ops=(Noise,),
            seeded=True,
        )
        for shape in ((), (5,), (3, 4))
    ],
    Case(
        name="normal with mean and std",
        function=lambda mean, std: ln.normal((3, 2), mean, std, dtype=mean.dtype),
        shapes=[(3, 2), ()],
        reference=None,
        ops=(NormalSample,),
        seeded=True,
    ),
    Case(
        name="uniform with low and high",
        function=lambda low, high: ln.uniform((3, 2), low, high, dtype=low.dtype),
        shapes=[(3, 2), ()],
        reference=None,
        ops=(UniformSample,),
        seeded=True,
    ),
    Case(
        name="gumbel with mu and beta",
        function=lambda mu, beta: ln.gumbel(3, mu, beta, dtype=mu.dtype),
        shapes=[(3,), ()],
        reference=None,
        ops=(GumbelSample,),
        seeded=True,
    ),
    *[
        Case(
            name=f"bernoulli p {shape}",
            function=lambda p: ln.bernoulli((3, 2), p, dtype=p.dtype),
            shapes=[shape],
            reference=None,
            sample=_probabilities,
            ops=(BernoulliSample,),
            seeded=True,
            differentiable=False,
        )
        for shape in ((), (3, 2))
    ],
    Case(
        name="categorical",
        function=ln.categorical,
        shapes=[(5,)],
        reference=None,
        ops=(Categorical,),
        seeded=True,
        differentiable=False,
    ),
]
