"""Norms, small matrices, circular convolution and the gates of an LSTM on a GPU.

The formulas are those of `norm`, `linalg`, `products` and `gates`.
"""

from __future__ import annotations

from math import prod
from typing import Any

from lazynet.backend import module_of
from lazynet.backend.kernels import LineKernel, Lines, contiguous, elementwise, empty, into
from lazynet.kinds import Array, Call

LARGEST = 64
"""Matrices up to this size are inverted by a kernel, one thread each; larger ones by cuSOLVER."""

_LAYER_NORM = LineKernel(
    "layer_norm",
    "const T* x, const T* gain, const T* bias, T* means, T* scales, T* y, "
    "I per, I shared_x, I shared_gain, I shared_bias, T eps",
    """const I row = line / per;
    const T* xs = x + (shared_x ? line % per : line) * n;
    const T* g = gain + (shared_gain ? 0 : row * n);
    const T* b = bias + (shared_bias ? 0 : row * n);
    T mean = 0, s = 0, other = 0;
    EACH mean += xs[k];
    SUM(mean)
    mean /= n;
    EACH { s += (xs[k] - mean) * (xs[k] - mean); other += xs[k] != xs[0]; }
    SUM(s) SUM(other)
    const T deviation = sqrt(s / n + eps);
    const T scale = deviation == 0 || (eps == 0 && other == 0) ? (T)0 : 1 / deviation;
    if (ONE) { means[line] = mean; scales[line] = scale; }
    EACH y[at] = (xs[k] - mean) * scale * g[k] + b[k];""",
)
_LAYER_NORM_BACK = LineKernel(
    "layer_norm_back",
    "const T* x, const T* gain, const T* means, const T* scales, const T* dy, T* dx, "
    "I per, I shared_x, I shared_gain",
    """const T* xs = x + (shared_x ? line % per : line) * n;
    const T* g = gain + (shared_gain ? 0 : line / per * n);
    const T mean = means[line], scale = scales[line];
    T s = 0, t = 0;
    EACH { const T dz = dy[at] * g[k]; t += dz; s += dz * (xs[k] - mean) * scale; }
    SUM(s) SUM(t)
    s /= n;
    t /= n;
    EACH dx[at] = (dy[at] * g[k] - (xs[k] - mean) * scale * s - t) * scale;""",
)
_LAYER_NORM_SUMS = LineKernel(
    "layer_norm_sums",
    "const T* x, const T* means, const T* scales, const T* dy, T* dgain, T* dbias, "
    "I per, I shared_x",
    """T s = 0, t = 0;
    EACH {
        const I l = block * n + k;
        const T v = x[(shared_x ? l % per : l) * inner + line % inner];
        t += dy[at];
        s += dy[at] * (v - means[l]) * scales[l];
    }
    SUM(s) SUM(t)
    if (ONE) { if (dgain) dgain[line] = s; if (dbias) dbias[line] = t; }""",
)


def layer_norm(call: Call, x: Array, gain: Array, bias: Array, eps: float) -> Array:
    """The result; means and scales are kept."""
    example = x.shape if call.shared[0] else x.shape[1:]
    per, n = prod(example[:-1]), example[-1]
    stats = [empty((call.rows, per), x.dtype) for _ in range(2)]
    y = into(call.out, (call.rows, *example), x.dtype)
    given = (contiguous(x), contiguous(gain), contiguous(bias), *stats, y)
    _LAYER_NORM(Lines(call.rows * per, n, 1), x.dtype, *given, per, *call.shared, eps)
    call.keep = tuple(stats)
    return y


def layer_norm_back(call: Call, dy: Array, x: Array, gain: Array) -> tuple[Any, Any, Any]:
    """The gradients that are needed."""
    need_x, need_gain, need_bias = call.needs
    shared_x, shared_gain, shared_bias = call.shared
    means, scales = [contiguous(a) for a in call.keep]
    x, dy = contiguous(x), contiguous(dy)
    rows, n = len(dy), dy.shape[-1]
    per = prod(dy.shape[1:-1])
    dx = dgain = dbias = None
    if need_x:
        dx = empty(dy.shape, dy.dtype)
        given = (x, contiguous(gain), means, scales, dy, dx)
        _LAYER_NORM_BACK(Lines(rows * per, n, 1), dy.dtype, *given, per, shared_x, shared_gain)
        if shared_x:
            dx = dx.sum(axis=0)
    for shared in {shared_gain, shared_bias}:
        shape = (n,) if shared else (rows, n)
        mine = [
            empty(shape, dy.dtype) if need and own == shared else None
            for need, own in ((need_gain, shared_gain), (need_bias, shared_bias))
        ]
        if mine[0] is None and mine[1] is None:
            continue
        lines = Lines(1, rows * per, n) if shared else Lines(rows, per, n)
        _LAYER_NORM_SUMS(lines, dy.dtype, x, means, scales, dy, *mine, per, shared_x)
        dgain = dgain if mine[0] is None else mine[0]
        dbias = dbias if mine[1] is None else mine[1]
    return dx, dgain, dbias


_WEIGHT_NORM = LineKernel(
    "weight_norm", "const T* w, const T* g, T* y",
    """T s = 0; EACH s += w[at] * w[at]; SUM(s)
    const T f = s == 0 ? (T)0 : g[line] / sqrt(s);
    EACH y[at] = w[at] * f;""",
)  # fmt: skip
_WEIGHT_NORM_BACK = LineKernel(
    "weight_norm_back", "const T* w, const T* g, const T* dy, T* dw, T* dg",
    """T s = 0, t = 0;
    EACH { s += w[at] * w[at]; t += w[at] * dy[at]; }
    SUM(s) SUM(t)
    const T f = s == 0 ? (T)0 : 1 / sqrt(s), along = t * f;
    if (ONE) dg[line] = along;
    EACH dw[at] = (dy[at] - w[at] * f * along) * g[line] * f;""",
)  # fmt: skip


def _whole(x: Array) -> Lines:
    """Each row is one line."""
    return Lines(len(x), prod(x.shape[1:]), 1)


def weight_norm(call: Call, w: Array, g: Array) -> Array:
    """The result."""
    y = into(call.out, w.shape, w.dtype)
    _WEIGHT_NORM(_whole(w), w.dtype, contiguous(w), contiguous(g), y)
    return y


def weight_norm_back(dy: Array, w: Array, g: Array) -> tuple[Array, Array]:
    """Both gradients."""
    dw, dg = empty(w.shape, w.dtype), empty(g.shape, g.dtype)
    given = (contiguous(w), contiguous(g), contiguous(dy))
    _WEIGHT_NORM_BACK(_whole(w), w.dtype, *given, dw, dg)
    return dw, dg


# Gauss-Jordan elimination with the pivot of a column, one matrix for each thread
_INVERSE = LineKernel(
    "inverse", "const T* x, T* work, T* y, I size",
    """T* w = work + base;
    T* v = y + base;
    for (I k = 0; k < n; ++k) { w[k] = x[base + k]; v[k] = k / size == k % size; }
    for (I c = 0; c < size; ++c) {
        I p = c;
        for (I r = c + 1; r < size; ++r) if (fabs(w[r * size + c]) > fabs(w[p * size + c])) p = r;
        const T f = 1 / w[p * size + c];
        for (I j = 0; j < size; ++j) {
            const T a = w[p * size + j], b = v[p * size + j];
            w[p * size + j] = w[c * size + j];
            v[p * size + j] = v[c * size + j];
            w[c * size + j] = a * f;
            v[c * size + j] = b * f;
        }
        for (I r = 0; r < size; ++r) {
            const T g = w[r * size + c];
            if (r == c) continue;
            for (I j = 0; j < size; ++j) {
                w[r * size + j] -= g * w[c * size + j];
                v[r * size + j] -= g * v[c * size + j];
            }
        }
    }""",
    alone=True,
)  # fmt: skip
_LOGDET = LineKernel(
    "logdet", "const T* x, T* work, T* y, I size, I needs_sign",
    """T* w = work + base;
    for (I k = 0; k < n; ++k) w[k] = x[base + k];
    T total = 0;
    bool negative = false;
    for (I c = 0; c < size; ++c) {
        I p = c;
        for (I r = c + 1; r < size; ++r) if (fabs(w[r * size + c]) > fabs(w[p * size + c])) p = r;
        for (I j = c; p != c && j < size; ++j) {
            const T a = w[p * size + j];
            w[p * size + j] = w[c * size + j];
            w[c * size + j] = a;
        }
        const T pivot = w[c * size + c];
        negative ^= (p != c) ^ (pivot < 0);
        total += log(fabs(pivot));
        if (pivot == 0) break;
        for (I r = c + 1; r < size; ++r) {
            const T f = w[r * size + c] / pivot;
            for (I j = c; j < size; ++j) w[r * size + j] -= f * w[c * size + j];
        }
    }
    y[line] = needs_sign && negative ? (T)(0.0 / 0.0) : total;""",
    alone=True,
)  # fmt: skip


def inverse(x: Array, out: Any = None) -> Array:
    """Inverses of matrices; not finite where a matrix is singular."""
    size = x.shape[-1]
    if size > LARGEST:
        return module_of(x).linalg.inv(x)  # type: ignore[no-any-return]
    y = into(out, x.shape, x.dtype)
    _INVERSE(_whole(x), x.dtype, contiguous(x), empty(x.shape, x.dtype), y, size)
    return y


def logdet(call: Call, x: Array, signed: bool) -> Array:
    """Logarithms of determinants; minus infinity where a matrix is singular."""
    size = x.shape[-1]
    if size > LARGEST:
        sign, value = module_of(x).linalg.slogdet(x)
        return module_of(x).where(sign < 0, x.dtype.type("nan"), value) if signed else value  # type: ignore[no-any-return]
    y = into(call.out, (len(x),), x.dtype)
    _LOGDET(_whole(x), x.dtype, contiguous(x), empty(x.shape, x.dtype), y, size, signed)
    return y


def diagonal(dy: Array, size: int) -> Array:
    """Matrices with one number each along the diagonal."""
    y = empty((len(dy), size, size), dy.dtype)
    body = (
        "const long long j = i % (size * size); out = j % (size + 1) ? (T)0 : dy[i / (size * size)]"
    )
    if y.size:
        elementwise("diagonal", "raw T dy, int64 size", "T out", body)(contiguous(dy), size, y)
    return y


_CIRCULAR = """
    const long long k = i % width;
    const T* p = &u[i - k];
    const T* q = &v[i - k];
    T s = 0;
    for (long long j = 0; j < width; ++j) {
        const long long l = correlate ? j + k : k - j;
        s += p[j] * q[l < 0 ? l + width : l < width ? l : l - width];
    }
    out = s
"""


def circular(u: Array, v: Array, correlate: bool, out: Any = None) -> Array:
    """Circular convolution, or correlation, of rows: by its definition, not by a transform."""
    y = into(out, u.shape, u.dtype)
    if y.size:
        head = "raw T u, raw T v, int64 width, int64 correlate"
        kernel = elementwise("circular", head, "T out", _CIRCULAR)
        kernel(contiguous(u), contiguous(v), u.shape[1], int(correlate), y)
    return y


# The gates of an LSTM

_GATES = """
    const long long q = i % (4 * width) / width;
    const T v = z + b;
    y = q == 3 ? tanh(v) : (T)0.5 * tanh((T)0.5 * (q == 1 ? v + (T)1 : v)) + (T)0.5
"""
_GATES_BACK = """
    const long long q = i % (4 * width) / width;
    dz = (q == 3 ? (T)1 - y * y : y - y * y) * dy
"""
_PLACE = "const long long at = i / width * 4 * width + i % width;"


def gates(z: Array, b: Array) -> Array:
    """The gates from what the products gave, in their place, and the bias."""
    if z.size:
        elementwise("lstm_gates", "T z, T b, int64 width", "T y", _GATES)(z, b, z.shape[1] // 4, z)
    return z


def gates_back(y: Array, dy: Array) -> Array:
    """The gradient of what the gates are functions of."""
    dz = empty(y.shape, y.dtype)
    if y.size:
        kernel = elementwise("lstm_gates_back", "T y, T dy, int64 width", "T dz", _GATES_BACK)
        kernel(contiguous(y), contiguous(dy), y.shape[1] // 4, dz)
    return dz


def cell(c: Array, gates: Array, out: Array) -> Array:
    """f c + i g"""
    if c.size:
        body = f"{_PLACE} y = gates[at + width] * c + gates[at] * gates[at + 3 * width]"
        kernel = elementwise("lstm_cell", "T c, raw T gates, int64 width", "T y", body)
        kernel(contiguous(c), contiguous(gates), c.shape[1], out)
    return out


def cell_back(dy: Array, c: Array, gates: Array) -> tuple[Array, Array]:
    """Gradients of the cell before and of the gates."""
    dc, dgates = empty(c.shape, c.dtype), empty(gates.shape, gates.dtype)
    body = f"""{_PLACE}
        dgates[at] = gates[at + 3 * width] * dy;
        dgates[at + width] = c * dy;
        dgates[at + 2 * width] = 0;
        dgates[at + 3 * width] = gates[at] * dy;
        dc = gates[at + width] * dy"""
    if c.size:
        kernel = elementwise(
            "lstm_cell_back", "T dy, T c, raw T gates, int64 width", "T dc, raw T dgates", body
        )
        kernel(contiguous(dy), contiguous(c), contiguous(gates), c.shape[1], dc, dgates)
    return dc, dgates


def hidden(c: Array, gates: Array, out: Array) -> tuple[Array, Array]:
    """o tanh(c), and tanh(c)."""
    t = empty(c.shape, c.dtype)
    if c.size:
        body = f"{_PLACE} t = tanh(c); y = gates[at + 2 * width] * t"
        kernel = elementwise("lstm_hidden", "T c, raw T gates, int64 width", "T y, T t", body)
        kernel(contiguous(c), contiguous(gates), c.shape[1], out, t)
    return out, t


def hidden_back(dy: Array, t: Array, gates: Array) -> tuple[Array, Array]:
    """Gradients of the cell and of the gates."""
    dc, dgates = empty(t.shape, t.dtype), empty(gates.shape, gates.dtype)
    body = f"""{_PLACE}
        dgates[at] = dgates[at + width] = dgates[at + 3 * width] = 0;
        dgates[at + 2 * width] = t * dy;
        dc = ((T)1 - t * t) * gates[at + 2 * width] * dy"""
    if t.size:
        kernel = elementwise(
            "lstm_hidden_back", "T dy, T t, raw T gates, int64 width", "T dc, raw T dgates", body
        )
        kernel(contiguous(dy), contiguous(t), contiguous(gates), t.shape[1], dc, dgates)
    return dc, dgates
