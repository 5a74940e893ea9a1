"""Contract cases of ops/linalg.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from contract import Case

import lazynet as ln
from lazynet.ops.linalg import Affine, Einsum, Inverse, Logdet, Matmul, Outer, Trace


def _matmul(a: tuple[int, ...], b: tuple[int, ...], shared_args: tuple[int, ...] = (0, 1)) -> Case:
    return Case(
        name=f"matmul {a} {b}",
        function=lambda a, b: a @ b,
        shapes=[a, b],
        reference=np.dot if len(a) < 3 and len(b) < 3 else _by_loops,
        ops=(Matmul,),
        shared_args=shared_args,
    )


def _by_loops(a: Any, b: Any) -> Any:
    """Stacked product, one matrix at a time."""
    left = a[None] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    stack = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left = np.broadcast_to(left, stack + left.shape[-2:])
    right = np.broadcast_to(right, stack + right.shape[-2:])
    y = np.zeros((*stack, left.shape[-2], right.shape[-1]))
    for i in np.ndindex(*stack):
        y[i] = np.dot(left[i], right[i])
    if a.ndim == 1:
        y = y[..., 0, :]
    return y[..., 0] if b.ndim == 1 else y


def _einsum(subscripts: str, a: tuple[int, ...], b: tuple[int, ...]) -> Case:
    return Case(
        name=f"einsum {subscripts}",
        function=lambda a, b: ln.einsum(subscripts, a, b),
        shapes=[a, b],
        reference=lambda a, b: np.einsum(subscripts, a, b, optimize=False),
        ops=(Einsum,),
        shared_args=(0, 1),
    )


def _well_conditioned(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return 3 * np.eye(shape[0]) + rng.uniform(-1, 1, shape)


def _negative(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return _well_conditioned(rng, shape)[::-1]  # swapping two rows turns the sign


CASES = [
    _matmul((3,), (3,)),
    _matmul((2, 3), (3,)),
    _matmul((3,), (3, 2)),
    _matmul((2, 3), (3, 4)),
    _matmul((3, 3), (3, 3)),
    _matmul((2, 0), (0, 3)),
    _matmul((4, 2, 3), (3,)),
    _matmul((3,), (4, 3, 2)),
    _matmul((4, 2, 3), (3, 2)),
    _matmul((2, 3), (4, 3, 2)),
    _matmul((4, 2, 3), (4, 3, 5)),
    _matmul((4, 1, 2, 3), (5, 3, 2)),
    _matmul((1, 2, 3), (4, 3, 2)),
    _matmul((1, 2, 3), (1, 3, 2)),
    Case(
        "matmul by an array", lambda x: np.arange(6.0).reshape(2, 3) @ x, [(3,)],
        lambda x: np.arange(6.0).reshape(2, 3).dot(x), ops=(Matmul,), shared_args=(0,),
    ),
    Case("dot", ln.dot, [(4,), (4,)], lambda a, b: sum(a * b), ops=(Matmul,), shared_args=(0,)),
    Case(
        "outer", ln.outer, [(2,), (3,)], lambda a, b: np.array([[x * y for y in b] for x in a]),
        ops=(Outer,), shared_args=(0, 1),
    ),
    Case(
        "affine", ln.affine, [(3,), (3, 2), (2,)], lambda b, W, x: b + W.dot(x),
        ops=(Affine,), shared_args=(0, 1, 2),
    ),
    Case(
        "affine of two", ln.affine, [(3,), (3, 2), (2,), (3, 4), (4,)],
        lambda b, W, x, U, h: b + W.dot(x) + U.dot(h), ops=(Affine,), shared_args=(0, 1, 3),
    ),
    Case(
        "affine of columns", ln.affine, [(3,), (3, 2), (2, 3), (3, 3), (3, 3)],
        lambda b, W, x, U, h: b[:, None] + W.dot(x) + U.dot(h),
        ops=(Affine,), shared_args=(0, 1, 2, 3),
    ),
    Case(
        "affine with a matrix bias", ln.affine, [(3, 4), (3, 2), (2, 4)],
        lambda b, W, x: b + W.dot(x), ops=(Affine,), shared_args=(0, 1),
    ),
    _einsum("ij,j->i", (2, 3), (3,)),
    _einsum("ij,jk", (2, 3), (3, 4)),
    _einsum("ij,ij->", (2, 3), (2, 3)),
    _einsum("ij,k->kj", (2, 3), (4,)),
    _einsum("bij,bjk->kbi", (2, 3, 4), (2, 4, 2)),
    _einsum("i,jk->jik", (2,), (3, 4)),
    _einsum("abc,cbd->da", (2, 3, 2), (2, 3, 4)),
    _einsum("i,i->i", (3,), (3,)),
    Case(
        "inverse", ln.inverse, [(3, 3)], np.linalg.inv, sample=_well_conditioned,
        ops=(Inverse,), shared_args=(0,),
    ),
    Case(
        "logdet", ln.logdet, [(3, 3)], lambda x: np.log(abs(np.linalg.det(x))),
        sample=_well_conditioned, ops=(Logdet,), shared_args=(0,),
    ),
    Case(
        "logdet negative", ln.logdet, [(2, 2)], lambda x: np.log(abs(np.linalg.det(x))),
        sample=_negative, ops=(Logdet,),
    ),
    Case("trace", ln.trace, [(3, 3)], lambda x: sum(np.diag(x)), ops=(Trace,), shared_args=(0,)),
]  # fmt: skip
