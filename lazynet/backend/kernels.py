"""Kernels of our own for a GPU, from their text: compiled when first launched, then kept.

CuPy is imported with the first launch.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
"""An array of CuPy."""

_ALONE = 32
"""Up to this many elements, one thread takes a whole line."""
_TEAM = 128
"""Threads that share a longer line: a power of two."""
_LANES = 32
"""Neighbouring lines that a block takes together where they lie across memory: each read of a warp
is then of adjacent elements."""
_CROSS_TEAM = 8
"""Threads for each of them."""
_BLOCK = 128


@lru_cache(maxsize=4096)
def elementwise(name: str, inputs: str, outputs: str, body: str, preamble: str = "") -> Any:
    """A `cupy.ElementwiseKernel`: one launch, whatever is broadcast."""
    import cupy

    return cupy.ElementwiseKernel(inputs, outputs, body, f"lazynet_{name}", preamble=preamble)


@lru_cache(maxsize=4096)
def summing(name: str, inputs: str, body: str, preamble: str = "") -> Any:
    """A `cupy.ReductionKernel` that sums an expression over axes: one launch."""
    import cupy

    return cupy.ReductionKernel(
        inputs, "T total", body, "a + b", "total = a", "0", f"lazynet_{name}", preamble=preamble
    )


@lru_cache(maxsize=4096)
def raw(source: str, name: str, options: tuple[str, ...] = ()) -> Any:
    """A `cupy.RawKernel`, to be called with blocks, threads and arguments."""
    import cupy

    return cupy.RawKernel(source, name, options)


class Lines(NamedTuple):
    """How to cut a contiguous array into lines, each of which is worked on as a whole.

    Attributes:
        outer: Blocks of neighbouring lines.
        length: Elements of a line; 0 with segments.
        inner: Distance between elements of a line, and lines in a block.
        offsets: Where the segments begin and end, as rows of ``inner`` elements: block s is
            segment s. None: all lines are of one length.
    """

    outer: int
    length: int
    inner: int
    offsets: Any = None

    @property
    def total(self) -> int:
        """Number of lines."""
        return self.outer * self.inner


def along(shape: tuple[int, ...], axis: int) -> Lines:
    """The lines of an array of this shape along one axis."""
    return Lines(_product(shape[:axis]), shape[axis], _product(shape[axis + 1 :]))


def _product(sizes: tuple[int, ...]) -> int:
    n = 1
    for size in sizes:
        n *= size
    return n


class LineKernel:
    """One launch over lines: sums, maxima and whatever follows from them, element by element.

    The body is CUDA C++ with these names: ``T`` the dtype; ``line`` the number of the line and
    ``n`` its length; ``EACH`` the loop over its elements, in which ``k`` counts from 0 and ``at``
    is the place in the array; ``SUM(v)``, ``MAX(v)``, ``LEAST(i)``, which combine what the threads
    of a line have found, for all of them; ``ONE``, true in one of them; ``INF``; ``base`` and
    ``inner``. A line's elements belong to the threads that loop over them: no other may read what
    they write. How often ``SUM`` and the like are reached may depend on a line where `loops` says
    so.

    Args:
        name: Of the kernel.
        parameters: C declarations, in the order of the arguments of a call.
        body: Statements.
        alone: Whether one thread must take a whole line.
        loops: Whether a line decides how often its threads meet.
        preamble: Device functions.
    """

    def __init__(
        self,
        name: str,
        parameters: str,
        body: str,
        alone: bool = False,
        loops: bool = False,
        preamble: str = "",
    ) -> None:
        self.name = f"lazynet_{name}"
        self.parameters = parameters
        self.body = body
        self.alone = alone
        self.loops = loops
        self.preamble = preamble
        self._compiled: dict[tuple[str, int, int], Any] = {}

    def __call__(self, lines: Lines, dtype: Any, *args: Any) -> None:
        """Launch it.

        Args:
            lines: Into what lines the arrays are cut.
            dtype: What ``T`` is.
            *args: Contiguous arrays, numbers (floats become ``T``, integers ``long long``), and
                None for a null pointer.
        """
        count = lines.total
        if not count:
            return
        dtype = np.dtype(dtype)
        length = lines.length
        if lines.offsets is not None:
            length = int(lines.offsets[-1]) // lines.outer
        team, lanes = _TEAM, 1
        if self.alone or length <= _ALONE:
            team, lanes = 1, _BLOCK
        elif lines.inner >= _LANES and not self.loops:
            team, lanes = _CROSS_TEAM, _LANES
        kernel = self._compiled.get((dtype.char, team, lanes))
        if kernel is None:
            kernel = self._compiled[dtype.char, team, lanes] = self._compile(dtype, team, lanes)
        given = [_argument(a, dtype) for a in args]
        offsets: Any = np.int64(0)
        if lines.offsets is not None:
            from lazynet.backend.cuda import on_device

            offsets = on_device(lines.offsets)
        shape = (np.int64(count), np.int64(lines.inner), np.int64(lines.length), offsets)
        kernel((-(-count // lanes),), (team * lanes,), (*given, *shape))

    def _compile(self, dtype: np.dtype[Any], team: int, lanes: int) -> Any:
        import cupy

        source = _HEAD.format(
            type=C_TYPES[dtype.char],
            team=team,
            lanes=lanes,
            name=self.name,
            parameters=self.parameters,
            preamble=self.preamble,
            body=self.body,
        )
        return cupy.RawKernel(source, self.name)


C_TYPES = {"f": "float", "d": "double"}

_HEAD = """
typedef {type} T;
typedef long long I;
#define TEAM {team}
#define LANES {lanes}
#define INF ((T)(1.0 / 0.0))
#define EACH for (I k = me, at = base + k * inner; k < n; k += TEAM, at += TEAM * inner)
__device__ inline T greater(T a, T b) {{ return b > a || b != b ? b : a; }}
__device__ inline T plus(T a, T b) {{ return a + b; }}
__device__ inline I lesser(I a, I b) {{ return b < a ? b : a; }}
#if TEAM > 1
#define COMBINE(space, v, f) {{ \\
    space[threadIdx.x] = v; \\
    for (int half = TEAM / 2; half; half /= 2) {{ \\
        __syncthreads(); \\
        if (me < half) \\
            space[threadIdx.x] = f(space[threadIdx.x], space[threadIdx.x + half * LANES]); \\
    }} \\
    __syncthreads(); v = space[threadIdx.x % LANES]; __syncthreads(); }}
#else
#define COMBINE(space, v, f)
#endif
#define SUM(v) COMBINE(values, v, plus)
#define MAX(v) COMBINE(values, v, greater)
#define LEAST(v) COMBINE(numbers, v, lesser)
#define ONE (me == 0 && inside)
{preamble}
extern "C" __global__ void {name}(
    {parameters}, const I lines, const I inner, const I length, const I* offsets
) {{
#if TEAM > 1
    __shared__ T values[TEAM * LANES];
    __shared__ I numbers[TEAM * LANES];
#endif
    const int me = threadIdx.x / LANES;
    const I wanted = (I)blockIdx.x * LANES + threadIdx.x % LANES;
    const bool inside = wanted < lines;
#if TEAM == 1
    if (!inside) return;
#endif
    // threads without a line of their own go along to where all meet, with one of no elements
    const I line = inside ? wanted : lines - 1;
    const I block = line / inner;
    const I first = offsets ? offsets[block] : block * length;
    const I n = !inside ? 0 : offsets ? offsets[block + 1] - first : length;
    const I base = first * inner + line % inner;
    {body}
}}
"""


def _argument(a: Any, dtype: np.dtype[Any]) -> Any:
    if a is None:
        return np.int64(0)
    if isinstance(a, (bool, int)):
        return np.int64(a)
    return dtype.type(a) if isinstance(a, float) else a


def contiguous(x: Array) -> Array:
    """An array in row-major order, itself where it is."""
    if x.flags.c_contiguous:
        return x
    import cupy

    copy: Array = cupy.ascontiguousarray(x)
    return copy


def same_memory(a: Array, b: Array) -> bool:
    """Whether two arrays on a GPU begin at the same place."""
    first: Any = a
    second: Any = b
    return bool(first.data.ptr == second.data.ptr)


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """An array on the current GPU, of arbitrary content."""
    from lazynet.backend.cuda import empty as allocate

    array: Array = allocate(shape, dtype)
    return array


def into(out: Array | None, shape: tuple[int, ...], dtype: Any) -> Array:
    """`out` in another shape where it can be written to like that, else a new array."""
    if out is not None and out.flags.c_contiguous and out.dtype == dtype:
        return out if out.shape == shape else out.reshape(shape)
    return empty(shape, dtype)


def gemm(x: Array, weight: Array, out: Array, add: bool) -> bool:
    """``out = x @ weight.T``, or with `add` ``out += ...``; False if matrices do not lie right."""
    for matrix in (x, weight, out):
        if not matrix.flags.c_contiguous or not matrix.size:
            return False
    from lazynet.backend import cuda_code

    rows, outputs, inputs = len(x), len(weight), x.shape[1]
    cuda_code.gemm(rows, outputs, inputs, x, 0, False, weight, 0, True, out, 0, add)
    return True
