"""What printed CUDA code needs: kernels compiled from text, and products without copies.

Imported when the first fused function runs on a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import cupy
import numpy as np
from cupy.cuda import cublas, device, runtime

from lazynet.backend.cuda import empty, on_device

Array = Any
"""A CuPy array."""

_THREADS = 256
_BLOCKS = 1 << 16
"""Blocks of a launch at most; the threads of a kernel go on to further elements."""


@cache
def kernel(name: str, source: str) -> Callable[..., None]:
    """A kernel of elementwise form: ``launch(elements, arguments)``."""
    compiled = cupy.RawKernel(source, name)
    block = (_THREADS,)

    def launch(elements: int, arguments: tuple[Any, ...]) -> None:
        if elements:
            blocks = min(-(-elements // _THREADS), _BLOCKS)
            compiled((blocks,), block, arguments)

    return launch


def _gemm_of_halves(
    handle: int, turned_a: int, turned_b: int, m: int, n: int, k: int, alpha: int,
    a: int, pitch_a: int, b: int, pitch_b: int, beta: int, c: int, pitch_c: int,
) -> None:  # fmt: skip
    """Like `cublas.sgemm` for float16: sums are float32, and rounded when they are stored."""
    kind = runtime.CUDA_R_16F
    cublas.gemmEx(
        handle, turned_a, turned_b, m, n, k, alpha, a, kind, pitch_a, b, kind, pitch_b, beta,
        c, kind, pitch_c, cublas.CUBLAS_COMPUTE_32F, cublas.CUBLAS_GEMM_DEFAULT,
    )  # fmt: skip


def _gemm_in_tf32(
    handle: int, turned_a: int, turned_b: int, m: int, n: int, k: int, alpha: int,
    a: int, pitch_a: int, b: int, pitch_b: int, beta: int, c: int, pitch_c: int,
) -> None:  # fmt: skip
    """`cublas.sgemm` with factors rounded to TF32."""
    kind = runtime.CUDA_R_32F
    cublas.gemmEx(
        handle, turned_a, turned_b, m, n, k, alpha, a, kind, pitch_a, b, kind, pitch_b, beta,
        c, kind, pitch_c, cublas.CUBLAS_COMPUTE_32F_FAST_TF32, cublas.CUBLAS_GEMM_DEFAULT,
    )  # fmt: skip


# CuPy reads this variable for its own products, but not for calls of cuBLAS like these.
_TF32 = os.environ.get("CUPY_TF32", "0") not in ("", "0")
_FUNCTIONS = {
    "e": _gemm_of_halves,
    "f": _gemm_in_tf32 if _TF32 else cublas.sgemm,
    "d": cublas.dgemm,
}
_NUMBERS = {c: (np.zeros(1, c), np.ones(1, c)) for c in "fd"}
_ADDRESSES = {c: tuple([n.ctypes.data for n in numbers]) for c, numbers in _NUMBERS.items()}
_ADDRESSES["e"] = _ADDRESSES["f"]


def gemm(
    m: int,
    n: int,
    k: int,
    a: Array,
    a_at: int,
    a_turned: bool,
    b: Array,
    b_at: int,
    b_turned: bool,
    c: Array,
    c_at: int,
    add: bool,
) -> None:
    """C = A B, or C += A B, where these are parts of matrices that lie row by row: one launch.

    C is ``(m, n)``, A ``(m, k)``, B ``(k, n)``. They are given by the matrices in which they lie,
    whose rows are contiguous, by the number of elements before their first (`a_at`), and by whether
    they lie there transposed (`a_turned`). With `add`, C is added to.
    """
    if not m * n:
        return
    code = c.dtype.char
    size = c.itemsize
    zero, one = _ADDRESSES[code]
    handle = device.get_cublas_handle()
    # cuBLAS counts by columns: what it takes for B^T A^T = C^T is B, A and C
    _FUNCTIONS[code](
        handle, int(b_turned), int(a_turned), n, m, k, one,
        b.data.ptr + b_at * size, _pitch(b), a.data.ptr + a_at * size, _pitch(a),
        one if add else zero, c.data.ptr + c_at * size, _pitch(c),
    )  # fmt: skip


def _pitch(matrix: Array) -> int:
    """Elements from one row to the next."""
    # of a single row the strides may be anything
    return max(1, int(matrix.shape[1]), int(matrix.strides[0]) // int(matrix.itemsize))


def row_sums(x: Array, out: Array) -> None:
    """The sum of every row, ``(rows, 1)``."""
    cupy.sum(x, axis=1, keepdims=True, out=out)


__all__ = ["empty", "gemm", "kernel", "on_device", "row_sums"]
