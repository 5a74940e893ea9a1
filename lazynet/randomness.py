"""Random numbers that do not depend on the order of execution.

Every recorded random node takes a *key* from its thread's stream when it is recorded; its numbers
are a function of the key, the row and the position alone, whatever batch they are drawn in. Keys of
one stream are an arithmetic progression, key(n) = base(seed, stream) + n * KEY_STEP, so that a
fused node that stands for several can derive theirs; row r of a batched node has the key
key + r * ROW_STEP. Number j of a row is the SplitMix64 generator seeded with the hashed row key.

Source: G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014, for the finalizer and the increment. The normal numbers: G. E. P. Box, M. E. Muller,
"A note on the generation of random normal deviates", 1958.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from lazynet.errors import ArgumentError, RangeError
from lazynet.kinds import FLOAT32, Array, Shape

_MASK = 0xFFFFFFFFFFFFFFFF
KEY_STEP = 0x9E3779B97F4A7C15
"""Between the keys of one stream: the odd number nearest 2^64 divided by the golden ratio."""
ROW_STEP = 0xD1342543DE82EF95
"""Between the rows of one key. n KEY_STEP + r ROW_STEP repeats only where n or r exceeds 2^31."""
_MULTIPLY_1 = 0xBF58476D1CE4E5B9
_MULTIPLY_2 = 0x94D049BB133111EB

_U64 = np.uint64
_TABLE = 4096
_CHUNK = 1 << 14
"""Numbers hashed at a time: the passes over them then stay in the cache (1.5 instead of 4 ns)."""


def mix(z: int) -> int:
    """The SplitMix64 finalizer: a bijection of 64-bit numbers that looks random."""
    z &= _MASK
    z = ((z ^ (z >> 30)) * _MULTIPLY_1) & _MASK
    z = ((z ^ (z >> 27)) * _MULTIPLY_2) & _MASK
    return z ^ (z >> 31)


class Stream:
    """A source of keys: a seed, the number of the stream, and how many keys were taken.

    Attributes:
        seed: What `ln.seed` was given (any non-negative integer below 2^64).
        number: 0 for the thread that called `ln.seed`; other threads count from 1. The coroutines
            of one run have a seed of their own (`spawn`), and count from 0.
        count: Keys taken so far.
    """

    __slots__ = ("_base", "count", "number", "seed")

    def __init__(self, seed: int, number: int = 0, count: int = 0) -> None:
        self.seed = seed
        self.number = number
        self.count = count
        self._base = mix(mix(seed + KEY_STEP) + mix(number * ROW_STEP))

    def next_key(self, count: int = 1) -> int:
        """The next key; with a count, the first of as many, which follow it KEY_STEP apart."""
        n = self.count
        self.count = n + count
        return (self._base + n * KEY_STEP) & _MASK

    def spawn(self) -> Stream:
        """Another stream, which depends on this one's state alone."""
        return Stream(mix(self.next_key()))

    def branch(self, number: int) -> Stream:
        """The stream of one of several coroutines: same seed, its own number, from the start."""
        return Stream(self.seed, number)


class _Threads:
    """Hands out streams to threads, in the order in which they first ask."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.seed = 0
        self.number = -1

    def restart(self, seed: int) -> Stream:
        with self.lock:
            self.seed = seed
            self.number = 0
        return Stream(seed)

    def stream(self) -> Stream:
        with self.lock:
            self.number += 1
            return Stream(self.seed, self.number)


_THREADS = _Threads()


class _Local(threading.local):
    """Runs `__init__` once in every thread, when that first asks for its stream."""

    def __init__(self) -> None:
        self.stream = _THREADS.stream()


_LOCAL = _Local()


def seed(s: int) -> None:
    """Restart this thread's random numbers; what is recorded next is reproducible.

    Threads that draw for the first time after this call get streams of their own, derived from the
    seed and numbered in the order in which they first draw. The seed before any call is 0.

    Args:
        s: A whole number from 0 to 2^64 - 1.

    Raises:
        ArgumentError: If it is no whole number.
        RangeError: If it is out of range.

    >>> import lazynet as ln
    >>> ln.seed(1)
    >>> a = ln.normal(3).value()
    >>> ln.seed(1)
    >>> bool((ln.normal(3).value() == a).all())
    True
    """
    _LOCAL.stream = _THREADS.restart(_whole("seed", s))


def _whole(role: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)):
        raise ArgumentError(f"{role}: got {value!r}; it must be a whole number")
    if not 0 <= number <= _MASK:
        raise RangeError(f"{role}: got {value!r}; it must lie between 0 and 2^64 - 1")
    return number


def current_stream() -> Stream:
    """The stream that this thread (or the coroutine that it runs) draws from."""
    return _LOCAL.stream


@contextmanager
def using_stream(stream: Stream) -> Iterator[None]:
    """Draw from this stream inside the block."""
    outer = _LOCAL.stream
    _LOCAL.stream = stream
    try:
        yield
    finally:
        _LOCAL.stream = outer


def swap_stream(stream: Stream) -> Stream:
    """Draw from this stream from now on; returns the one until now."""
    before = _LOCAL.stream
    _LOCAL.stream = stream
    return before


def next_key(count: int = 1) -> int:
    """A key from the current stream, a 64-bit number: the payload of a random node.

    With a count, the first of as many keys, which follow it KEY_STEP apart.
    """
    return _LOCAL.stream.next_key(count)


def get_state() -> dict[str, int]:
    """The state of this thread's stream, to be saved and given to `set_state`."""
    stream = _LOCAL.stream
    return {"seed": stream.seed, "stream": stream.number, "count": stream.count}


def set_state(state: Mapping[str, Any]) -> None:
    """Go on where `get_state` was called.

    Raises:
        ArgumentError: If an entry is missing or no whole number.
        RangeError: If an entry is out of range.
    """
    missing = [name for name in ("seed", "stream", "count") if name not in state]
    if missing:
        raise ArgumentError(
            f"random state: {', '.join(missing)} missing in {dict(state)!r}; it must be what "
            "get_state returned"
        )
    _LOCAL.stream = Stream(
        _whole("random state seed", state["seed"]),
        _whole("random state stream", state["stream"]),
        _whole("random state count", state["count"]),
    )


def row_keys(key: int, rows: int) -> Array:
    """Keys of the rows of one node, ``(rows,)`` uint64."""
    return _steps(rows, ROW_STEP) + _U64(key)


def _steps(count: int, step: int) -> Array:
    """0, step, 2 step, ... modulo 2^64, ``(count,)`` uint64."""
    return _table(step)[:count] if count <= _TABLE else np.arange(count, dtype=_U64) * _U64(step)


@lru_cache(maxsize=2)
def _table(step: int) -> Array:
    table = np.arange(_TABLE, dtype=_U64) * _U64(step)
    table.flags.writeable = False
    return table


def _mix(z: Array, scratch: Array) -> None:
    """`mix` in place."""
    for shift, factor in ((30, _MULTIPLY_1), (27, _MULTIPLY_2)):
        np.right_shift(z, _U64(shift), out=scratch)
        np.bitwise_xor(z, scratch, out=z)
        np.multiply(z, _U64(factor), out=z)
    np.right_shift(z, _U64(31), out=scratch)
    np.bitwise_xor(z, scratch, out=z)


def uniform_bits(keys: Array, width: int) -> Array:
    """Random 64-bit numbers, ``(rows, width)`` uint64, from keys ``(rows,)`` uint64."""
    keys = np.array(keys, _U64)
    z = np.empty((len(keys), width), _U64)
    if not z.size:
        return z
    scratch = np.empty(max(min(_CHUNK, z.size), width, len(keys)), _U64)
    _mix(keys, scratch[: len(keys)])
    positions = _steps(width + 1, KEY_STEP)[1:]
    rows = max(1, _CHUNK // width)
    for begin in range(0, len(keys), rows):
        part = z[begin : begin + rows]
        np.add(keys[begin : begin + rows, None], positions, out=part)
        _mix(part, scratch[: part.size].reshape(part.shape))
    return z


def half_bits(keys: Array, width: int) -> Array:
    """Random 32-bit numbers, ``(rows, width)`` uint32: two from each 64-bit number."""
    return uniform_bits(keys, (width + 1) // 2).view(np.uint32)[:, :width]


def uniform(keys: Array, width: int, dtype: Any) -> Array:
    """Numbers in [0, 1), ``(rows, width)``: multiples of 2^-24 (float32) or 2^-53 (float64)."""
    if dtype == FLOAT32:
        whole = half_bits(keys, width) >> np.uint32(8)
        result: Array = np.multiply(whole, np.float32(2.0**-24), dtype=np.float32)
        return result
    bits = uniform_bits(keys, width)
    np.right_shift(bits, _U64(11), out=bits)
    return np.multiply(bits, 2.0**-53, dtype=np.float64)


def _uniform_open(bits: Array) -> Array:
    """float64 numbers in (0, 1), whose logarithm and whose log-log are finite."""
    np.right_shift(bits, _U64(12), out=bits)
    u = np.add(bits, 0.5, dtype=np.float64)
    u *= 2.0**-52
    return u


def normal(keys: Array, width: int, dtype: Any) -> Array:
    """Standard normal numbers, ``(rows, width)``.

    float32 ones come from 32-bit uniform numbers and so lie within 6.7 standard deviations.
    """
    pairs = (width + 1) // 2
    if dtype == FLOAT32:
        bits = uniform_bits(keys, pairs).view(np.uint32)
        # 1 is added in floating point: in uint32 the largest number would wrap to 0
        radius = np.add(bits[:, :pairs], np.float32(1), dtype=np.float32)
        radius *= np.float32(2.0**-32)
        angle = np.multiply(bits[:, pairs:], np.float32(2.0**-32 * 2 * np.pi), dtype=np.float32)
    else:
        bits = uniform_bits(keys, 2 * pairs)
        angle = np.multiply(bits[:, pairs:] >> _U64(11), 2.0**-53 * 2 * np.pi, dtype=np.float64)
        radius = _uniform_open(bits[:, :pairs])
    np.log(radius, out=radius)
    radius *= -2
    np.sqrt(radius, out=radius)
    z = np.empty((len(radius), 2 * pairs), radius.dtype)
    np.cos(angle, out=z[:, :pairs])
    np.sin(angle, out=z[:, pairs:])
    z[:, :pairs] *= radius
    z[:, pairs:] *= radius
    return z[:, :width]


def gumbel(keys: Array, width: int, dtype: Any) -> Array:
    """Standard Gumbel numbers -log(-log(u)), ``(rows, width)``.

    Computed in float64: in float32 some u would round to 1, and the number to infinity.
    """
    g = _uniform_open(uniform_bits(keys, width))
    for _ in range(2):
        np.log(g, out=g)
        np.negative(g, out=g)
    return g.astype(dtype, copy=False)


def width_of(shape: Shape) -> int:
    """Number of elements of one row."""
    width = 1
    for n in shape:
        width *= n
    return width
