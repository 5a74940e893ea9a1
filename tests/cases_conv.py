"""Contract cases of ops/conv.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from contract import Case

import lazynet as ln
from lazynet.ops.conv import Conv1d, Conv2d, KMaxPool, MaxPool


def _pads(n: int, k: int, s: int, padding: Any) -> tuple[int, int]:
    if padding == "valid":
        return 0, 0
    if padding == "same":
        total = max((int(np.ceil(n / s)) - 1) * s + k - n, 0)
        return total // 2, total - total // 2
    return padding, padding


def _conv1d(x: Any, filters: Any, bias: Any = None, stride: int = 1, padding: Any = 0) -> Any:
    y = _conv2d(x[None], filters[None], bias, (1, stride), (0, padding))
    return y[0]


def _conv2d(x: Any, filters: Any, bias: Any = None, stride: Any = 1, padding: Any = 0) -> Any:
    """By the definition: one place and one element of the window at a time."""
    strides = stride if isinstance(stride, tuple) else (stride, stride)
    paddings = padding if isinstance(padding, tuple) else (padding, padding)
    size = filters.shape[:2]
    pads = [
        _pads(n, k, s, p) for n, k, s, p in zip(x.shape[:2], size, strides, paddings, strict=True)
    ]
    x = np.pad(x, [*pads, (0, 0)])
    places = [(n - k) // s + 1 for n, k, s in zip(x.shape[:2], size, strides, strict=True)]
    y = np.zeros((*places, filters.shape[-1]))
    for i, j in np.ndindex(*places):
        for k, m in np.ndindex(*size):
            y[i, j] += x[i * strides[0] + k, j * strides[1] + m] @ filters[k, m]
    return y if bias is None else y + bias


def _max_pool(x: Any, size: Any, stride: Any = None, padding: Any = 0) -> Any:
    axes = x.ndim - 1
    sizes = size if isinstance(size, tuple) else (size,) * axes
    strides = sizes if stride is None else (stride,) * axes
    pads = [_pads(n, k, s, padding) for n, k, s in zip(x.shape[:-1], sizes, strides, strict=True)]
    x = np.pad(x, [*pads, (0, 0)], constant_values=-np.inf)
    places = [(n - k) // s + 1 for n, k, s in zip(x.shape[:-1], sizes, strides, strict=True)]
    y = np.zeros((*places, x.shape[-1]))
    for place in np.ndindex(*places):
        window = tuple(
            slice(p * s, p * s + k) for p, s, k in zip(place, strides, sizes, strict=True)
        )
        y[place] = x[window].max(axis=tuple(range(axes)))
    return y


def _k_max_pool(x: Any, k: int, axis: int = 0) -> Any:
    def pick(v: Any) -> Any:
        return v[sorted(sorted(range(len(v)), key=lambda i: -v[i])[:k])]

    return np.apply_along_axis(pick, axis, x)


CASES = [
    *[
        Case(
            name=f"conv1d {x} {filters} bias={bias} {kwargs or ''}".strip(),
            function=ln.conv1d,
            shapes=[x, filters, *([filters[-1:]] if bias else [])],
            reference=_conv1d,
            ops=(Conv1d,),
            shared_args=(0, 1, 2) if bias else (0, 1),
            kwargs=kwargs,
        )
        for x, filters, bias, kwargs in (
            ((6, 2), (3, 2, 4), True, {}),
            ((6, 2), (3, 2, 4), False, {}),
            ((7, 2), (3, 2, 3), True, {"stride": 2}),
            ((6, 2), (4, 2, 3), True, {"padding": "same"}),
            ((7, 2), (3, 2, 3), True, {"padding": "same", "stride": 3}),
            ((3, 1), (5, 1, 1), False, {"padding": 2}),
            ((4, 3), (1, 3, 2), True, {"padding": "valid"}),
            ((2, 2), (2, 2, 2), True, {}),
        )
    ],
    *[
        Case(
            name=f"conv2d {x} {filters} bias={bias} {kwargs or ''}".strip(),
            function=ln.conv2d,
            shapes=[x, filters, *([filters[-1:]] if bias else [])],
            reference=_conv2d,
            ops=(Conv2d,),
            shared_args=(0, 1, 2) if bias else (0, 1),
            kwargs=kwargs,
        )
        for x, filters, bias, kwargs in (
            ((4, 5, 2), (3, 2, 2, 3), True, {}),
            ((5, 4, 1), (2, 2, 1, 2), False, {"stride": 2}),
            ((5, 4, 2), (3, 3, 2, 2), True, {"padding": "same", "stride": (2, 1)}),
            ((3, 3, 1), (2, 3, 1, 2), True, {"padding": (1, 2)}),
        )
    ],
    *[
        Case(
            name=f"max_pool {x} {kwargs}",
            function=ln.max_pool,
            shapes=[x],
            reference=_max_pool,
            sample="distinct",
            ops=(MaxPool,),
            kwargs=kwargs,
        )
        for x, kwargs in (
            ((6, 2), {"size": 2}),
            ((7, 3), {"size": 3, "stride": 1}),
            ((5, 2), {"size": 2, "stride": 3, "padding": 1}),
            ((5, 2), {"size": 4, "padding": "same"}),
            ((4, 5, 2), {"size": 2}),
            ((4, 5, 2), {"size": (1, 3), "stride": 1}),
            ((5, 5, 1), {"size": 3, "stride": 2, "padding": "same"}),
        )
    ],
    *[
        Case(
            name=f"k_max_pool {x} {kwargs}",
            function=ln.k_max_pool,
            shapes=[x],
            reference=_k_max_pool,
            sample="distinct",
            ops=(KMaxPool,),
            kwargs=kwargs,
        )
        for x, kwargs in (
            ((6,), {"k": 3}),
            ((5, 3), {"k": 2}),
            ((3, 5), {"k": 5, "axis": -1}),
            ((4, 2), {"k": 1, "axis": 0}),
        )
    ],
]
