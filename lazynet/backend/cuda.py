"""CuPy versions of the array primitives: one kernel each, and index arrays that go up together.

Imported when the first array on a GPU is met.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import cupy
import numpy as np
from numpy.typing import NDArray

from lazynet.backend.devices import out_of_memory

Array = Any
"""A CuPy array."""

_ALIGNMENT = 256

_MOST = 1 << 56
"""Numbers that no GPU holds. CuPy takes bytes modulo 2^64, and may find that 0 is enough."""


class Mirror:
    """Copies on the GPU of host arrays that an evaluation refers to, by identity.

    What is not found is uploaded alone; an executor collects what it knows beforehand, and has it
    uploaded at once.
    """

    def __init__(self, device: int) -> None:
        self.device = device
        self._known: dict[int, tuple[NDArray[Any], Array]] = {}

    def upload(self, arrays: Iterable[NDArray[Any]]) -> None:
        """Copy these arrays in one transfer."""
        fresh = [a for a in {id(a): a for a in arrays}.values() if id(a) not in self._known]
        if fresh:
            for host, device in zip(fresh, uploaded(fresh)):
                self._known[id(host)] = (host, device)

    def note(self, host: NDArray[Any], device: Array) -> None:
        """Note that this is the copy of a host array."""
        self._known[id(host)] = (host, device)

    def part(self, host: NDArray[Any], start: int, stop: int, rows: NDArray[Any]) -> NDArray[Any]:
        """Note that `rows` are rows start:stop of an array, so that they need no upload."""
        self._known[id(rows)] = (rows, self[host][start:stop])
        return rows

    def __getitem__(self, host: NDArray[Any]) -> Array:
        found = self._known.get(id(host))
        if found is None:
            self.upload([host])
            found = self._known[id(host)]
        return found[1]


class _Current(threading.local):
    mirror: Mirror | None = None


_current = _Current()


class mirroring:
    """While this lasts, host arrays used with arrays of the GPU come from this mirror."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self.before: Mirror | None = None

    def __enter__(self) -> None:
        self.before = _current.mirror
        _current.mirror = self.mirror

    def __exit__(self, *error: object) -> None:
        _current.mirror = self.before


def on_device(host: NDArray[Any] | Array) -> Array:
    """The copy of a host array on the current GPU."""
    if not isinstance(host, np.ndarray):
        return host
    if _current.mirror is None:
        return uploaded([host])[0]
    return _current.mirror[host]


def part(host: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
    """Rows of a host array; their copy on the GPU is a part of that of the array."""
    rows = host[start:stop]
    mirror = _current.mirror
    return rows if mirror is None else mirror.part(host, start, stop, rows)


def note(host: NDArray[Any], device: Array) -> None:
    """Note that this is the copy of a host array on the current GPU."""
    if _current.mirror is not None:
        _current.mirror.note(host, device)


def mirrored(hosts: list[NDArray[Any]]) -> None:
    """See `rows.mirrored`."""
    if _current.mirror is not None:
        _current.mirror.upload(hosts)


# Pinned memory must not be used again before the copy from it is done.
_in_flight: deque[tuple[Any, Any]] = deque()
_lock = threading.Lock()


def uploaded(arrays: Sequence[NDArray[Any]]) -> list[Array]:
    """Copies of host arrays on the current GPU, made in one asynchronous transfer."""
    offsets = []
    size = 0
    for a in arrays:
        offsets.append(size)
        size += -(-a.nbytes // _ALIGNMENT) * _ALIGNMENT
    if size == 0:
        return [cupy.empty(a.shape, a.dtype) for a in arrays]
    with _lock:
        while _in_flight and _in_flight[0][0].done:
            _in_flight.popleft()
    pinned = cupy.cuda.alloc_pinned_memory(size)
    staging = np.frombuffer(pinned, np.uint8, size)
    for a, offset in zip(arrays, offsets):
        part = staging[offset : offset + a.nbytes].view(a.dtype).reshape(a.shape)
        part[...] = a
    buffer = empty((size,), np.dtype(np.uint8))
    stream = cupy.cuda.get_current_stream()
    buffer.data.copy_from_host_async(pinned.ptr, size, stream)
    event = cupy.cuda.Event(disable_timing=True)
    event.record(stream)
    _in_flight.append((event, pinned))
    return [
        buffer[offset : offset + a.nbytes].view(a.dtype).reshape(a.shape)
        for a, offset in zip(arrays, offsets)
    ]


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """An array on the current GPU, of arbitrary content.

    Raises:
        OutOfMemoryError: If there is no room for it.
    """
    count = math.prod(shape)
    if count > _MOST:
        raise out_of_memory(f"an array of shape {shape}", count * np.dtype(dtype).itemsize)
    try:
        return cupy.empty(shape, dtype)
    except cupy.cuda.memory.OutOfMemoryError as error:
        size = count * np.dtype(dtype).itemsize
        raise out_of_memory(f"an array of shape {shape}", size) from error


def take_rows(source: Array, index: Any, out: Array | None = None) -> Array:
    """Rows of a 2-D array; in the dtype of `out`, if that is given."""
    index = on_device(index)
    if out is None:
        out = empty((len(index), source.shape[1]), source.dtype)
    if out.size:
        _take(source, index, source.shape[1], out)
    return out


_take = cupy.ElementwiseKernel(
    "raw S source, raw int64 index, int64 width", "T out",
    "out = source[index[i / width] * width + i % width]", "lazynet_take_rows",
)  # fmt: skip

_put = cupy.ElementwiseKernel(
    "T values, raw int64 index, int64 width", "raw T target",
    "target[index[i / width] * width + i % width] = values", "lazynet_put_rows",
)  # fmt: skip

_add = cupy.ElementwiseKernel(
    "T values, raw int64 index, int64 width", "raw T target",
    "atomicAdd(&target[index[i / width] * width + i % width], values)", "lazynet_scatter_add",
)  # fmt: skip


def put_rows(target: Array, index: Any, values: Array) -> None:
    """``target[index[k]] = values[k]``"""
    _write(_put, target, index, values)


def scatter_add(target: Array, index: Any, values: Array) -> None:
    """``target[index[k]] += values[k]`` for every k, repeated rows included."""
    _write(_add, target, index, values)


def _write(kernel: Any, target: Array, index: Any, values: Any) -> None:
    width = target.shape[1]
    index = on_device(index)
    if len(index) * width:
        if isinstance(values, (int, float)):
            number = target.dtype.type(values)
            kernel(number, index, width, target, size=len(index) * width)
            return
        values = cupy.broadcast_to(values, (len(index), width))
        kernel(values, index, width, target)


_join = cupy.ElementwiseKernel(
    "raw int64 pointers, raw int64 offsets, int64 count", "T out",
    """
    long long low = 0, high = count;
    while (high - low > 1) {
        const long long middle = (low + high) / 2;
        if (offsets[middle] <= i) { low = middle; } else { high = middle; }
    }
    out = reinterpret_cast<const T*>(pointers[low])[i - offsets[low]]
    """,
    "lazynet_join",
)  # fmt: skip


def join(arrays: Sequence[Array], out: Array) -> None:
    """See `rows.join`: one launch, and one small upload where there are several arrays."""
    if len(arrays) == 1:
        out[...] = arrays[0].reshape(-1)
        return
    parts = [cupy.ascontiguousarray(a, out.dtype) for a in arrays if a.size]
    if parts:
        table = np.zeros((2, len(parts)), np.int64)
        table[0] = [part.data.ptr for part in parts]
        table[1, 1:] = np.cumsum([part.size for part in parts[:-1]])
        (there,) = uploaded([table])
        _join(there[0], there[1], len(parts), out)


_PARTS = 1 << 14
"""Most partial sums of a norm: each is one thread's."""

_square_sums = cupy.ElementwiseKernel(
    "raw T x, int64 size, int64 stride", "float64 part",
    """
    double sum = 0;
    for (long long k = i; k < size; k += stride) {
        const double element = x[k];
        sum += element * element;
    }
    part = sum
    """,
    "lazynet_square_sums",
)  # fmt: skip


def norms(arrays: Sequence[Array]) -> list[float]:
    """See `rows.norms`: one launch each, one copy to the host in all; the same in every run."""
    counts = [max(1, min(_PARTS, a.size // 64)) for a in arrays]
    ends = np.cumsum(counts).tolist()
    parts = empty((ends[-1],), np.dtype(np.float64))
    for a, end, count in zip(arrays, ends, counts):
        _square_sums(cupy.ascontiguousarray(a), a.size, count, parts[end - count : end])
    found = parts.get()
    return [
        _norm(a, float(found[end - count : end].sum()))
        for a, end, count in zip(arrays, ends, counts)
    ]


def _norm(array: Array, square: float) -> float:
    """The norm of an array, whose squares may have left the range of float64 (then it waits)."""
    if 1e-280 < square < 1e280 or array.size == 0 or array.dtype == np.float32:
        return math.sqrt(square)
    largest = float(abs(array).max())
    if largest == 0 or not math.isfinite(largest):
        return largest
    return largest * norms([array.astype(np.float64) / largest])[0]


_SEGMENTS = """
    const long long segment = i / width;
    T result = {start};
    for (long long r = offsets[segment]; r < offsets[segment + 1]; ++r) {{
        const T x = values[r * width + i % width];
        result = {step};
    }}
    out = result
"""
_HEAD = "raw T values, raw int64 offsets, int64 width"
_segment_sum = cupy.ElementwiseKernel(
    _HEAD, "T out", _SEGMENTS.format(start="0", step="result + x"), "lazynet_segment_sum"
)
_segment_max = cupy.ElementwiseKernel(
    _HEAD,
    "T out",
    _SEGMENTS.format(start="-1.0 / 0.0", step="x > result || x != x ? x : result"),
    "lazynet_segment_max",
)


def segment_sum(values: Array, offsets: Any) -> Array:
    """See `host.segment_sum`."""
    return _reduce(_segment_sum, values, offsets)


def segment_max(values: Array, offsets: Any) -> Array:
    """See `host.segment_max`."""
    return _reduce(_segment_max, values, offsets)


def _reduce(kernel: Any, values: Array, offsets: Any) -> Array:
    offsets = on_device(offsets)
    shape = (len(offsets) - 1, *values.shape[1:])
    out = empty(shape, values.dtype)
    if out.size:
        width = out.size // shape[0]
        kernel(cupy.ascontiguousarray(values), offsets, width, out)
    return out
