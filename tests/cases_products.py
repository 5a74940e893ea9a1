"""Contract cases of ops/products.py and ops/gates.py, and of settings that DyNet's API needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from contract import Case

from lazynet.graph import record
from lazynet.ops.gates import (
    LstmCell,
    LstmGates,
    LstmHidden,
    lstm_cell,
    lstm_gates,
    lstm_hidden,
)
from lazynet.ops.linalg import Logdet
from lazynet.ops.norm import LayerNorm, WeightNorm, layer_norm, weight_norm
from lazynet.ops.products import (
    Circular,
    Inner,
    WindowSum,
    circular_convolution,
    circular_correlation,
    inner,
    window_sum,
)
from lazynet.ops.random import MaskSample
from lazynet.randomness import next_key


def _convolution(u: Any, v: Any) -> Any:
    n = len(u)
    return np.array([sum(u[i] * v[(k - i) % n] for i in range(n)) for k in range(n)])


def _correlation(u: Any, v: Any) -> Any:
    n = len(u)
    return np.array([sum(u[i] * v[(i + k) % n] for i in range(n)) for k in range(n)])


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def _gates(b: Any, W: Any, x: Any, U: Any, h: Any) -> Any:
    i, f, o, g = np.split(b + W @ x + U @ h, 4)
    return np.concatenate([_sigmoid(i), _sigmoid(f + 1), _sigmoid(o), np.tanh(g)])


def _positive_determinant(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.standard_normal(shape) * 0.3 + 2 * np.eye(*shape)


CASES = [
    *[
        Case(
            name=f"inner {shape}",
            function=inner,
            shapes=[shape, shape],
            reference=lambda a, b: np.array([sum(a.ravel() * b.ravel())]),
            ops=(Inner,),
            shared_args=(0, 1),
        )
        for shape in ((4,), (1,), (2, 3), (2, 1, 2))
    ],
    *[
        Case(
            name=f"{function.__name__} {n}",
            function=function,
            shapes=[(n,), (n,)],
            reference=reference,
            ops=(Circular,),
            shared_args=(0, 1),
        )
        for function, reference in (
            (circular_convolution, _convolution),
            (circular_correlation, _correlation),
        )
        for n in (1, 2, 5)
    ],
    *[
        Case(
            name=f"window_sum {shape} {n}",
            function=window_sum,
            shapes=[shape],
            reference=lambda x, n: np.apply_along_axis(np.convolve, -1, x, np.ones(n), "valid"),
            ops=(WindowSum,),
            kwargs={"n": n},
        )
        for shape, n in (((5,), 2), ((3, 4), 1), ((2, 3), 3))
    ],
    *[
        Case(
            name=f"lstm_gates {m} {n}",
            function=lstm_gates,
            shapes=[(4 * n,), (4 * n, m), (m,), (4 * n, n), (n,)],
            reference=_gates,
            ops=(LstmGates,),
            shared_args=(0, 1, 2, 3, 4),
        )
        for m, n in ((1, 1), (2, 3))
    ],
    *[
        Case(
            name=f"lstm_cell {n}",
            function=lstm_cell,
            shapes=[(n,), (4 * n,)],
            reference=lambda c, gates: (
                np.split(gates, 4)[0] * np.split(gates, 4)[3] + np.split(gates, 4)[1] * c
            ),
            ops=(LstmCell,),
            shared_args=(0,),
        )
        for n in (1, 3)
    ],
    *[
        Case(
            name=f"lstm_hidden {n}",
            function=lstm_hidden,
            shapes=[(n,), (4 * n,)],
            reference=lambda c, gates: np.split(gates, 4)[2] * np.tanh(c),
            ops=(LstmHidden,),
            shared_args=(0,),
        )
        for n in (1, 3)
    ],
    Case(
        name="logdet, signed",
        function=lambda x: record(Logdet(signed=True), (x,)),
        shapes=[(3, 3)],
        reference=lambda x: np.log(np.linalg.det(x)),
        sample=_positive_determinant,
        ops=(Logdet,),
        shared_args=(0,),
    ),
    Case(
        name="layer_norm without eps",
        function=lambda x, gain, bias: layer_norm(x, gain, bias, eps=0),
        shapes=[(4,), (4,), (4,)],
        reference=lambda x, gain, bias: gain * (x - x.mean()) / x.std() + bias,
        ops=(LayerNorm,),
        shared_args=(0, 1, 2),
    ),
    Case(
        name="weight_norm, length as a vector",
        function=weight_norm,
        shapes=[(2, 3), (1,)],
        reference=lambda w, g: g * w / np.sqrt((w**2).sum()),
        ops=(WeightNorm,),
        shared_args=(0, 1),
    ),
    Case(
        name="mask",
        function=lambda x: x * record(MaskSample((3, 2), x.dtype, 0.4, 2.5), (), next_key()),
        shapes=[(3, 2)],
        reference=None,
        ops=(MaskSample,),
        seeded=True,
    ),
]
