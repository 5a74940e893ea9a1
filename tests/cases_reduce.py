"""Contract cases of ops/reduce.py, ops/segment.py, ops/softmax.py and ops/norm.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from contract import Case
from scipy.special import logsumexp

import lazynet as ln
from lazynet.ops import single
from lazynet.ops.norm import LayerNorm, WeightNorm
from lazynet.ops.ragged import SumSegments
from lazynet.ops.reduce import (
    Argmax,
    Cumsum,
    Logsumexp,
    LogsumexpList,
    Max,
    MaxList,
    Mean,
    MeanList,
    Min,
    MinList,
    Norm,
    SquaredNorm,
    Std,
    Sum,
    SumList,
    Var,
)
from lazynet.ops.segment import (
    ArgmaxBatch,
    CumsumBatch,
    LogSoftmaxBatch,
    LogsumexpBatch,
    MaxBatch,
    MeanBatch,
    MinBatch,
    NormBatch,
    SoftmaxBatch,
    SquaredNormBatch,
    StdBatch,
    SumBatch,
    VarBatch,
)
from lazynet.ops.softmax import Hardmax, LogSoftmax, Softmax, Sparsemax


def _softmax(x: Any, axis: int) -> Any:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _sparsemax(x: Any, axis: int = -1) -> Any:
    """The threshold by bisection: the sum of max(x - tau, 0) falls from above 1 to 0."""
    low = x.max(axis=axis, keepdims=True) - 1
    high = low + 1
    for _ in range(100):
        tau = (low + high) / 2
        over = np.maximum(x - tau, 0).sum(axis=axis, keepdims=True) > 1
        low, high = np.where(over, tau, low), np.where(over, high, tau)
    return np.maximum(x - low, 0)


def _hardmax(x: Any, axis: int) -> Any:
    greatest = x == x.max(axis=axis, keepdims=True)
    return 1.0 * (greatest & (np.cumsum(greatest, axis=axis) == 1))


def _squared_norm(x: Any, axis: Any = None) -> Any:
    return np.square(x).sum(axis=axis)


def _norm(x: Any, axis: Any = None) -> Any:
    return np.sqrt(_squared_norm(x, axis))


REFERENCES: dict[str, Callable[..., Any]] = {
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
    "logsumexp": logsumexp,
    "std": np.std,
    "var": np.var,
    "norm": _norm,
    "squared_norm": _squared_norm,
}
OPS = {
    "sum": (Sum, SumBatch),
    "mean": (Mean, MeanBatch),
    "max": (Max, MaxBatch),
    "min": (Min, MinBatch),
    "logsumexp": (Logsumexp, LogsumexpBatch),
    "std": (Std, StdBatch),
    "var": (Var, VarBatch),
    "norm": (Norm, NormBatch),
    "squared_norm": (SquaredNorm, SquaredNormBatch),
}
AXES: list[tuple[tuple[int, ...], Any]] = [
    ((5,), None),
    ((3, 4), None),
    ((3, 4), 0),
    ((3, 4), -1),
    ((2, 3, 4), 1),
    ((2, 3, 4), (0, 2)),
    ((2, 3, 4), (-1, -2)),
    ((1,), 0),
    ((), None),
]


def _sample(name: str) -> str:
    return "distinct" if name in ("max", "min") else "normal"


def _lengths(rows: int) -> list[int]:
    """Parts of a batch, an empty one among them."""
    return [rows - rows // 2, 0, rows // 2]


def _reduction(name: str, shape: tuple[int, ...], axis: Any) -> Case:
    return Case(
        name=f"{name} {shape} over {axis}",
        function=getattr(ln, name),
        shapes=[shape],
        reference=REFERENCES[name],
        sample=_sample(name),
        ops=OPS[name][:1],
        kwargs={"axis": axis},
        # where there is one element, the deviation is 0 and has a kink
        differentiable=not (name == "std" and int(np.prod(shape)) == 1),
    )


def _across(name: str, shape: tuple[int, ...]) -> Case:
    reference = REFERENCES[name]
    return Case(
        name=f"{name}_batch {shape}",
        function=getattr(ln, f"{name}_batch"),
        shapes=[shape],
        reference=lambda x: reference(x, axis=0),
        sample=_sample(name),
        ops=OPS[name][1:],
        across_rows=True,
        # a deviation has a kink where it is 0, as that of a single row is
        differentiable=name != "std",
    )


def _list(name: str, count: int, shape: tuple[int, ...], op: type) -> Case:
    reference = REFERENCES[name]
    return Case(
        name=f"{name} of {count} {shape}",
        function=lambda *xs: getattr(ln, name)(list(xs)),
        shapes=[shape] * count,
        reference=lambda *xs: reference(np.stack(xs), axis=0),
        sample="normal",
        ops=(op,),
    )


def _layer_norm(x: Any, gain: Any, bias: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    return gain * centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) + bias


CASES = [
    *[_reduction(name, shape, axis) for name in REFERENCES for shape, axis in AXES],
    *[_across(name, shape) for name in REFERENCES for shape in ((), (4,), (2, 3))],
    *[
        _list(name, count, shape, op)
        for name, op in (
            ("sum", SumList),
            ("mean", MeanList),
            ("max", MaxList),
            ("min", MinList),
            ("logsumexp", LogsumexpList),
        )
        for count, shape in ((1, (3,)), (2, ()), (3, (2, 4)), (20, (3,)))
    ],
    *[
        Case(
            name=f"single {name} {shape}",
            function=partial(single.single, kind),
            shapes=[shape],
            reference=lambda x, name=name: np.reshape(REFERENCES[name](x), 1),
            sample=_sample(name),
            ops=(kind,),
            differentiable=not (name == "std" and shape == (1,)),
        )
        for name, kind in (
            ("sum", single.SingleSum),
            ("mean", single.SingleMean),
            ("max", single.SingleMax),
            ("min", single.SingleMin),
            ("logsumexp", single.SingleLogsumexp),
            ("std", single.SingleStd),
            ("norm", single.SingleNorm),
            ("squared_norm", single.SingleSquaredNorm),
        )
        for shape in ((1,), (5,), (3, 4), (2, 3, 2))
    ],
    *[
        Case(
            name=f"hardmax {shape} along {axis}, {gradient}",
            function=ln.hardmax,
            shapes=[shape],
            reference=lambda x, axis, gradient: _hardmax(x, axis),
            sample="distinct",
            ops=(Hardmax,),
            kwargs={"axis": axis, "gradient": gradient},
            differentiable=gradient == "zero",
        )
        for shape, axis in (((5,), -1), ((1,), 0), ((3, 4), 0), ((2, 3, 4), 1))
        for gradient in ("zero", "straight_through")
    ],
    *[
        Case(
            name=f"argmax {shape} over {axis}",
            function=ln.argmax,
            shapes=[shape],
            reference=np.argmax,
            sample="distinct",
            ops=(Argmax,),
            kwargs={"axis": axis},
            differentiable=False,
        )
        for shape, axis in (((5,), None), ((3, 4), 0), ((3, 4), -1), ((3, 4), None))
    ],
    *[
        Case(
            name=f"argmax_batch {shape}",
            function=ln.argmax_batch,
            shapes=[shape],
            reference=lambda x: np.argmax(x, axis=0),
            sample="distinct",
            ops=(ArgmaxBatch,),
            differentiable=False,
            across_rows=True,
        )
        for shape in ((), (4,), (2, 3))
    ],
    *[
        Case(
            name=f"cumsum {shape} over {axis}",
            function=ln.cumsum,
            shapes=[shape],
            reference=np.cumsum,
            ops=(Cumsum,),
            kwargs={"axis": axis},
        )
        for shape, axis in (((5,), None), ((3, 4), 0), ((3, 4), -1), ((3, 4), None))
    ],
    *[
        Case(
            name=f"{name} {shape}",
            function=getattr(ln, name),
            shapes=[shape],
            reference=reference,
            ops=(op,),
            across_rows=True,
        )
        for name, reference, op in (
            ("cumsum_batch", lambda x: np.cumsum(x, axis=0), CumsumBatch),
            ("softmax_batch", lambda x: _softmax(x, 0), SoftmaxBatch),
            ("log_softmax_batch", lambda x: np.log(_softmax(x, 0)), LogSoftmaxBatch),
        )
        for shape in ((), (4,), (2, 3))
    ],
    *[
        Case(
            name=f"sum_segments {shape}",
            function=lambda x: ln.sum_segments(x, _lengths(x.batch)),
            shapes=[shape],
            reference=lambda x: np.stack(
                [part.sum(axis=0) for part in np.split(x, np.cumsum(_lengths(len(x)))[:-1])]
            ),
            ops=(SumSegments,),
            across_rows=True,
        )
        for shape in ((), (4,), (2, 3))
    ],
    *[
        Case(
            name=f"{name} {shape} along {axis}",
            function=getattr(ln, name),
            shapes=[shape],
            reference=reference,
            sample="distinct",
            ops=(op,),
            kwargs={"axis": axis},
        )
        for name, reference, op in (
            ("softmax", _softmax, Softmax),
            ("log_softmax", lambda x, axis: np.log(_softmax(x, axis)), LogSoftmax),
            ("sparsemax", _sparsemax, Sparsemax),
        )
        for shape, axis in (((5,), -1), ((1,), 0), ((3, 4), 0), ((2, 3, 4), 1), ((2, 3, 4), -1))
    ],
    *[
        Case(
            name=f"layer_norm {shape}",
            function=ln.layer_norm,
            shapes=[shape, shape[-1:], shape[-1:]],
            reference=_layer_norm,
            ops=(LayerNorm,),
            shared_args=(0, 1, 2),
        )
        for shape in ((5,), (3, 4), (2, 3, 4))
    ],
    *[
        Case(
            name=f"weight_norm {shape}",
            function=ln.weight_norm,
            shapes=[shape, ()],
            reference=lambda w, g: g * w / np.sqrt((w**2).sum()),
            ops=(WeightNorm,),
            shared_args=(0, 1),
        )
        for shape in ((4,), (3, 2), (2, 3, 2))
    ],
]
