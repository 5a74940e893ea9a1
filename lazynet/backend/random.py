"""The counter-based random numbers of `lazynet.randomness` on a GPU: the same ones, bit for bit.

Only where a logarithm, a sine or a cosine is taken may the last digit differ. Every number is
computed where it is used, from its row's key and its position; nothing is stored.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.backend.kernels import Array, contiguous, elementwise

FUNCTIONS = """
__device__ inline unsigned long long lazynet_mix(unsigned long long z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}
__device__ inline unsigned long long lazynet_bits(unsigned long long key, long long j) {
    return lazynet_mix(lazynet_mix(key) + (unsigned long long)(j + 1) * 0x9E3779B97F4A7C15ULL);
}
__device__ inline unsigned int lazynet_half(unsigned long long key, long long j) {
    return (unsigned int)(lazynet_bits(key, j / 2) >> (j % 2 ? 32 : 0));
}
__device__ inline double lazynet_open(unsigned long long bits) {
    return ((double)(bits >> 12) + 0.5) * 2.220446049250313e-16;
}
__device__ inline double lazynet_gumbel(unsigned long long key, long long j) {
    return -log(-log(lazynet_open(lazynet_bits(key, j))));
}
__device__ inline void lazynet_uniform(unsigned long long key, long long j, float* u) {
    *u = (float)(lazynet_half(key, j) >> 8) * 5.9604644775390625e-08f;
}
__device__ inline void lazynet_uniform(unsigned long long key, long long j, double* u) {
    *u = (double)(lazynet_bits(key, j) >> 11) * 1.1102230246251565e-16;
}
__device__ inline void lazynet_normal(
    unsigned long long key, long long j, long long width, float* z
) {
    const long long pairs = (width + 1) / 2, k = j % pairs;
    const float radius = ((float)lazynet_half(key, k) + 1.0f) * 2.3283064365386963e-10f;
    const float angle = (float)lazynet_half(key, pairs + k) * 1.4629180792671596e-09f;
    *z = sqrtf(logf(radius) * -2.0f) * (j < pairs ? cosf(angle) : sinf(angle));
}
__device__ inline void lazynet_normal(
    unsigned long long key, long long j, long long width, double* z
) {
    const long long pairs = (width + 1) / 2, k = j % pairs;
    const double radius = lazynet_open(lazynet_bits(key, k));
    const double angle = (double)(lazynet_bits(key, pairs + k) >> 11) * 6.975736996017264e-16;
    *z = sqrt(log(radius) * -2.0) * (j < pairs ? cos(angle) : sin(angle));
}
"""
"""Device functions: `mix` and what follows from it (see `lazynet.randomness`)."""

_KEYS = "raw uint64 keys, int64 width"


def _run(name: str, inputs: str, outputs: str, body: str, *args: Any) -> None:
    elementwise(f"draw_{name}", inputs, outputs, body, FUNCTIONS)(*args)


def _width(out: Array) -> int:
    return out.size // max(1, len(out))


def uniform(keys: Array, out: Array) -> Array:
    """Fill rows with uniform numbers."""
    body = "T u; lazynet_uniform(keys[i / width], i % width, &u); out = u"
    _run("uniform", _KEYS, "T out", body, keys, _width(out), out)
    return out


def normal(keys: Array, out: Array) -> Array:
    """Fill rows with standard normal numbers."""
    body = "T z; lazynet_normal(keys[i / width], i % width, width, &z); out = z"
    _run("normal", _KEYS, "T out", body, keys, _width(out), out)
    return out


def noise(keys: Array, x: Array, std: float, out: Array) -> Array:
    """x plus normal numbers."""
    body = "T z; lazynet_normal(keys[i / width], i % width, width, &z); out = x + z * std"
    given = (keys, _width(out), contiguous(x), x.dtype.type(std))
    _run("noise", f"{_KEYS}, T x, T std", "T out", body, *given, out)
    return out


def gumbel(keys: Array, out: Array) -> Array:
    """Fill rows with standard Gumbel numbers."""
    body = "out = (T)lazynet_gumbel(keys[i / width], i % width)"
    _run("gumbel", _KEYS, "T out", body, keys, _width(out), out)
    return out


def bernoulli(keys: Array, p: Any, scale: float, out: Array) -> Array:
    """`scale` with probability p, else 0, in every row."""
    body = """
        double u; lazynet_uniform(keys[i / width], i % width, &u); out = u < p ? scale : (T)0
    """
    given = (keys, _width(out), p, out.dtype.type(scale))
    kind = "float64" if isinstance(p, float) else "P"
    _run("bernoulli", f"{_KEYS}, {kind} p, T scale", "T out", body, *given, out)
    return out


def dropout(
    keys: Array, x: Array, threshold: int, scale: float, length: int, inner: int, out: Array
) -> Array:
    """x times `scale`, or 0 where the bits of its place are below the threshold.

    The `length` elements `inner` apart of each row share a place.
    """
    body = """
        const long long j = i % width;
        const long long place = j / (length * inner) * inner + j % inner;
        out = lazynet_half(keys[i / width], place) >= threshold ? x * scale : (T)0
    """
    given = (keys, _width(out), contiguous(x), np.uint32(threshold), x.dtype.type(scale))
    parameters = f"{_KEYS}, T x, uint32 threshold, T scale, int64 length, int64 inner"
    _run("dropout", parameters, "T out", body, *given, length, inner, out)
    return out


__all__ = ["FUNCTIONS", "bernoulli", "dropout", "gumbel", "noise", "normal", "uniform"]
