"""Reductions and softmaxes on a GPU: one launch each way, along an axis or along segments of rows.

The formulas are those of `reduce`, `segment` and `softmax`; both kinds of lines share the kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.backend.kernels import LineKernel, Lines, along, contiguous, empty, into
from lazynet.kinds import INT64, Array, Call, Shape

_TOP = "T top = -INF; EACH top = greater(top, x[at]); MAX(top)"
_EXPONENTIALS = f"{_TOP} T total = 0; EACH total += exp(x[at] - top); SUM(total)"
_MEAN = "T mean = 0; EACH mean += x[at]; SUM(mean) mean /= n;"
_FACTOR = "const T d = root ? (y[line] == 0 ? (T)0 : dy[line] / (2 * y[line])) : dy[line];"
_FIRST = """
    T top = -INF;
    EACH top = greater(top, sign * x[at]);
    MAX(top)
    I first_ = n;
    EACH {
        const T v = sign * x[at];
        if (k < first_ && (v == top || v != v)) first_ = k;
    }
    LEAST(first_)
"""
_EXTREME = "T top = -INF; EACH top = greater(top, sign * x[at]); MAX(top)"

SUM = LineKernel(
    "sum", "const T* x, T* y, I mean",
    "T s = 0; EACH s += x[at]; SUM(s) if (ONE) y[line] = mean ? s / n : s;",
)  # fmt: skip
SPREAD = LineKernel(
    "spread", "const T* dy, T* dx, I mean",
    "const T d = mean ? dy[line] / n : dy[line]; EACH dx[at] = d;",
)  # fmt: skip
EXTREME = LineKernel(
    "extreme", "const T* x, T* y, T sign", f"{_EXTREME} if (ONE) y[line] = sign * top;"
)
EXTREME_BACK = LineKernel(
    "extreme_back", "const T* x, const T* dy, T* dx, T sign",
    f"{_FIRST} const T d = dy[line]; EACH dx[at] = k == first_ ? d : (T)0;",
)  # fmt: skip
FIRST = LineKernel("first", "const T* x, I* y, T sign", f"{_FIRST} if (ONE) y[line] = first_;")
LOGSUMEXP = LineKernel(
    "logsumexp", "const T* x, T* y",
    f"{_TOP} if (isinf(top)) top = 0; T total = 0; EACH total += exp(x[at] - top); SUM(total)"
    "if (ONE) y[line] = log(total) + top;",
)  # fmt: skip
LOGSUMEXP_BACK = LineKernel(
    "logsumexp_back", "const T* x, const T* y, const T* dy, T* dx",
    """const T top = y[line], d = dy[line];
    EACH dx[at] = d * (isinf(top) ? (T)(x[at] == top && top > 0) : exp(x[at] - top));""",
)  # fmt: skip
VAR = LineKernel(
    "var", "const T* x, T* y, I root",
    f"""{_MEAN} T s = 0; EACH s += (x[at] - mean) * (x[at] - mean); SUM(s)
    if (ONE) y[line] = root ? sqrt(s / n) : s / n;""",
)  # fmt: skip
VAR_BACK = LineKernel(
    "var_back", "const T* x, const T* y, const T* dy, T* dx, I root",
    f"{_MEAN} {_FACTOR} const T f = d * 2 / n; EACH dx[at] = (x[at] - mean) * f;",
)  # fmt: skip
NORM = LineKernel(
    "norm", "const T* x, T* y, I root",
    "T s = 0; EACH s += x[at] * x[at]; SUM(s) if (ONE) y[line] = root ? sqrt(s) : s;",
)  # fmt: skip
NORM_BACK = LineKernel(
    "norm_back", "const T* x, const T* y, const T* dy, T* dx, I root",
    f"{_FACTOR} EACH dx[at] = x[at] * (2 * d);",
)  # fmt: skip
CUMSUM = LineKernel(
    "cumsum", "const T* x, T* y, I back",
    """T s = 0;
    for (I k = 0; k < n; ++k) {
        const I at = base + (back ? n - 1 - k : k) * inner;
        s += x[at];
        y[at] = s;
    }""",
    alone=True,
)  # fmt: skip
SOFTMAX = LineKernel(
    "softmax", "const T* x, T* y", f"{_EXPONENTIALS} EACH y[at] = exp(x[at] - top) / total;"
)
SOFTMAX_BACK = LineKernel(
    "softmax_back", "const T* y, const T* dy, T* dx",
    "T s = 0; EACH s += dy[at] * y[at]; SUM(s) EACH dx[at] = (dy[at] - s) * y[at];",
)  # fmt: skip
LOG_SOFTMAX = LineKernel(
    "log_softmax", "const T* x, T* y",
    f"{_EXPONENTIALS} const T l = log(total); EACH y[at] = x[at] - top - l;",
)  # fmt: skip
LOG_SOFTMAX_BACK = LineKernel(
    "log_softmax_back", "const T* y, const T* dy, T* dx",
    "T s = 0; EACH s += dy[at]; SUM(s) EACH dx[at] = dy[at] - exp(y[at]) * s;",
)  # fmt: skip
SPARSEMAX = LineKernel(
    "sparsemax", "const T* x, T* y",
    f"""{_TOP}
    T tau = -INF;
    I before = n + 1;
    while (true) {{
        // entries above the threshold of all that were above the one before: a set that shrinks
        T s = 0, count = 0;
        EACH {{ if (x[at] - top > tau) {{ s += x[at] - top; count += 1; }} }}
        SUM(s) SUM(count)
        if (count == 0 || count >= before) break;
        before = (I)count;
        tau = (s - 1) / count;
    }}
    EACH {{ const T v = x[at] - top - tau; y[at] = v > 0 ? v : (v != v ? v : (T)0); }}""",
    loops=True,
)  # fmt: skip
"""Source: C. Michelot, "A finite algorithm for finding the projection of a point onto the canonical
simplex of R^n", 1986."""
SPARSEMAX_BACK = LineKernel(
    "sparsemax_back", "const T* y, const T* dy, T* dx",
    """T s = 0, count = 0;
    EACH { if (y[at] > 0) { s += dy[at]; count += 1; } }
    SUM(s) SUM(count)
    EACH dx[at] = y[at] > 0 ? dy[at] - s / count : (T)0;""",
)  # fmt: skip
HARDMAX = LineKernel(
    "hardmax", "const T* x, T* y, T sign", f"{_FIRST} EACH y[at] = k == first_ ? (T)1 : (T)0;"
)
RESTRICTED = LineKernel(
    "restricted_log_softmax", "const T* x, const I* allowed, T* y",
    """T top = -INF; EACH { if (allowed[at]) top = greater(top, x[at]); } MAX(top)
    T total = 0; EACH { if (allowed[at]) total += exp(x[at] - top); } SUM(total)
    const T l = log(total);
    EACH y[at] = allowed[at] ? x[at] - top - l : -INF;""",
)  # fmt: skip
RESTRICTED_BACK = LineKernel(
    "restricted_log_softmax_back", "const T* y, const I* allowed, const T* dy, T* dx",
    """T s = 0; EACH { if (allowed[at]) s += dy[at]; } SUM(s)
    EACH dx[at] = allowed[at] ? dy[at] - exp(y[at]) * s : (T)0;""",
)  # fmt: skip
CONSTRAINED = LineKernel(
    "constrained_softmax", "const T* x, const T* u, bool* free, T* y",
    """EACH free[at] = true;
    T top, total, share;
    while (true) {
        // whatever exceeds its bound is set to it: the others' shares only grow by that
        top = -INF; total = 0; share = 0;
        EACH { if (free[at]) top = greater(top, x[at]); else share += u[at]; }
        MAX(top) SUM(share)
        share = share < 1 ? 1 - share : (T)0;
        EACH { if (free[at]) total += exp(x[at] - top); }
        SUM(total)
        T met = 0;
        EACH {
            if (free[at] && exp(x[at] - top) / total * share > u[at]) { free[at] = false; met = 1; }
        }
        SUM(met)
        if (met == 0) break;
    }
    EACH y[at] = free[at] ? exp(x[at] - top) / total * share : u[at];""",
    loops=True,
)  # fmt: skip
CONSTRAINED_BACK = LineKernel(
    "constrained_softmax_back",
    "const T* y, const bool* free, const T* dy, T* dx, T* du",
    """T s = 0, total = 0;
    EACH { if (free[at]) { s += y[at] * dy[at]; total += y[at]; } }
    SUM(s) SUM(total)
    const T mean = s / (total == 0 ? (T)1 : total);
    EACH {
        const T rest = dy[at] - mean;
        dx[at] = free[at] ? y[at] * rest : (T)0;
        du[at] = free[at] ? (T)0 : rest;
    }""",
)  # fmt: skip


def segment_lines(x: Array, offsets: Array) -> Lines:
    """Every element of a row, along the rows of each segment."""
    return Lines(len(offsets) - 1, 0, int(np.prod(x.shape[1:])), offsets)


def reduced(kernel: LineKernel, call: Call, x: Array, offsets: Array, *numbers: Any) -> Array:
    """The result of a reduction of segments, one row for each."""
    y = into(call.out, (len(offsets) - 1, *x.shape[1:]), x.dtype)
    kernel(segment_lines(x, offsets), x.dtype, contiguous(x), y, *numbers)
    return y


def mapped(kernel: LineKernel, lines: Lines, out: Any, *args: Any) -> Array:
    """A result of the shape of the first argument."""
    first = args[0]
    y = into(out, first.shape, first.dtype)
    arrays = [contiguous(a) if hasattr(a, "flags") else a for a in args]
    kernel(lines, first.dtype, *arrays, y)
    return y


def gradient(kernel: LineKernel, lines: Lines, shape: Shape, arrays: Any, *numbers: Any) -> Array:
    """A gradient of this shape from arrays (None where a kernel does not look), then numbers."""
    known = [None if a is None else contiguous(a) for a in arrays]
    dtype = arrays[-1].dtype
    dx = empty(shape, dtype)
    kernel(lines, dtype, *known, dx, *numbers)
    return dx


def cut(x: Array, axes: tuple[int, ...]) -> tuple[Array, Lines, Shape, bool]:
    """An array cut into lines along axes of the example.

    Returns:
        The array, contiguous; the lines; the shape of the result; and whether the axes had to be
        moved to the end for that.
    """
    ndim = x.ndim - 1
    shape = (len(x), *[n for k, n in enumerate(x.shape[1:]) if k not in axes])
    if not axes:
        return contiguous(x), Lines(x.size, 1, 1), shape, False
    neighbours = axes[-1] - axes[0] == len(axes) - 1
    if neighbours:
        joined = (*x.shape[: axes[0] + 1], -1, *x.shape[axes[-1] + 2 :])
        length = int(np.prod(x.shape[axes[0] + 1 : axes[-1] + 2]))
        whole = tuple(length if n == -1 else n for n in joined)
        return contiguous(x), along(whole, axes[0] + 1), shape, False
    outer = [k + 1 for k in range(ndim) if k not in axes]
    moved = contiguous(x.transpose(0, *outer, *[k + 1 for k in axes]))
    length = int(np.prod([x.shape[k + 1] for k in axes]))
    return moved, Lines(int(np.prod(shape)), length, 1), shape, True


def reduce_axes(
    kernel: LineKernel,
    call: Call,
    x: Array,
    axes: tuple[int, ...],
    *numbers: Any,
    dtype: Any = None,
) -> Array:
    """The result of a reduction over axes of the example."""
    x, lines, shape, _ = cut(x, axes)
    y = into(call.out, shape, x.dtype if dtype is None else dtype)
    kernel(lines, x.dtype, x, y, *numbers)
    return y


def axes_gradient(
    kernel: LineKernel, x: Array, axes: tuple[int, ...], arrays: Any, *numbers: Any
) -> Array:
    """The gradient of x from it and from arrays of the shape of the result."""
    given, lines, _, moved = cut(x, axes)
    dx = gradient(kernel, lines, given.shape, (given, *arrays), *numbers)
    if moved:
        order = [0, *[k + 1 for k in range(x.ndim - 1) if k not in axes], *[k + 1 for k in axes]]
        dx = dx.transpose(np.argsort(order).tolist())
    return dx


def first_of(call: Call, x: Array, axes: tuple[int, ...]) -> Array:
    """The first place of the maximum."""
    return reduce_axes(FIRST, call, x, axes, 1.0, dtype=INT64)


def segments_gradient(
    kernel: LineKernel, x: Array, offsets: Array, arrays: Any, *numbers: Any
) -> Array:
    """The gradient of x, from these arrays, along segments."""
    return gradient(kernel, segment_lines(x, offsets), x.shape, arrays, *numbers)


def spread_segments(dy: Array, offsets: Array, mean: bool) -> Array:
    """For every row what belongs to its segment, divided by the number of its rows for a mean."""
    shape = (int(offsets[-1]), *dy.shape[1:])
    return gradient(SPREAD, segment_lines(dy, offsets), shape, (dy,), mean)


def first_rows(call: Call, x: Array, offsets: Array) -> Array:
    """For every segment and element the first of its rows that holds the maximum."""
    y = into(call.out, (len(offsets) - 1, *x.shape[1:]), INT64)
    FIRST(segment_lines(x, offsets), x.dtype, contiguous(x), y, 1.0)
    return y


def running_sum(lines: Lines, x: Array, out: Any, back: bool) -> Array:
    """Sums of the elements up to each, or of those from each on."""
    y = into(out, x.shape, x.dtype)
    CUMSUM(lines, x.dtype, contiguous(x), y, back)
    return y
