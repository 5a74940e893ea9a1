"""Losses on a GPU: one launch forward, and one backward for all gradients.

The formulas are those of `loss`, `vector_loss` and `grouped`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from lazynet.backend import beside
from lazynet.backend.kernels import LineKernel, Lines, along, contiguous, empty, into
from lazynet.kinds import Array, Call, Shape
from lazynet.ops.cuda_formula import FUNCTIONS, c_function

_CROSS_ENTROPY = LineKernel(
    "cross_entropy", "const T* x, const I* c, T* e, T* totals, T* y, I every",
    """T top = -INF; EACH top = greater(top, x[at]); MAX(top)
    T total = 0;
    EACH { const T v = exp(x[at] - top); e[at] = v; total += v; }
    SUM(total)
    if (ONE) {
        totals[line] = total;
        y[line] = log(total) + top - x[base + c[line * every + every - 1]];
    }""",
)  # fmt: skip
_CROSS_ENTROPY_BACK = LineKernel(
    "cross_entropy_back", "const T* e, const T* totals, const I* c, const T* dy, T* dx, I every",
    """const T d = dy[line], f = d / totals[line];
    const I chosen = c[line * every + every - 1];
    EACH dx[at] = e[at] * f - (k == chosen ? d : (T)0);""",
)  # fmt: skip
_NLL = LineKernel("nll", "const T* x, const I* c, T* y", "if (ONE) y[line] = -x[base + c[line]];")
_NLL_BACK = LineKernel(
    "nll_back", "const I* c, const T* dy, T* dx",
    "const I chosen = c[line]; EACH dx[at] = k == chosen ? -dy[line] : (T)0;",
)  # fmt: skip
_HINGE = LineKernel(
    "hinge", "const T* x, const I* c, T* y, T margin",
    """const I chosen = c[line];
    const T bar = x[base + chosen * inner] - margin;
    T s = 0;
    EACH { const T v = x[at] - bar; if (k != chosen && !(v <= 0)) s += v; }
    SUM(s)
    if (ONE) y[line] = s;""",
)  # fmt: skip
_HINGE_BACK = LineKernel(
    "hinge_back", "const T* x, const I* c, const T* dy, T* dx, T margin",
    """const I chosen = c[line];
    const T bar = x[base + chosen * inner] - margin, d = dy[line];
    T s = 0;
    EACH {
        const bool active = k != chosen && x[at] - bar > 0;
        s += active;
        if (k != chosen) dx[at] = active ? d : (T)0;
    }
    SUM(s)
    if (ONE) dx[base + chosen * inner] = -d * s;""",
)  # fmt: skip


def cross_entropy(call: Call, x: Array, shape: Shape) -> Array:
    """The losses, in this shape; what backward needs is kept. A class is the payload's last."""
    e, total = empty(x.shape, x.dtype), empty((len(x),), x.dtype)
    y = into(call.out, shape, x.dtype)
    given = (contiguous(x), beside(x, call.payload))
    _CROSS_ENTROPY(along(x.shape, 1), x.dtype, *given, e, total, y, call.payload.ndim)
    call.keep = (e, total)
    return y


def cross_entropy_back(call: Call, dy: Array) -> Array:
    """The gradient of the scores."""
    e, total = call.keep
    dx = empty(e.shape, e.dtype)
    given = (contiguous(e), total, beside(e, call.payload), contiguous(dy))
    _CROSS_ENTROPY_BACK(along(e.shape, 1), e.dtype, *given, dx, call.payload.ndim)
    return dx


def nll(call: Call, x: Array) -> Array:
    """The losses."""
    y = into(call.out, (len(x),), x.dtype)
    _NLL(along(x.shape, 1), x.dtype, contiguous(x), beside(x, call.payload), y)
    return y


def nll_back(call: Call, dy: Array, shape: Shape) -> Array:
    """The gradient of the log probabilities."""
    dx = empty(shape, dy.dtype)
    _NLL_BACK(along(shape, 1), dy.dtype, beside(dy, call.payload), contiguous(dy), dx)
    return dx


def hinge(call: Call, x: Array, lines: Lines, shape: Shape, margin: float) -> Array:
    """The losses of all lines."""
    y = into(call.out, shape, x.dtype)
    _HINGE(lines, x.dtype, contiguous(x), beside(x, call.payload), y, margin)
    return y


def hinge_back(call: Call, dy: Array, x: Array, lines: Lines, margin: float) -> Array:
    """The gradient of the scores."""
    dx = empty(x.shape, x.dtype)
    given = (contiguous(x), beside(x, call.payload), contiguous(dy))
    _HINGE_BACK(lines, x.dtype, *given, dx, margin)
    return dx


@lru_cache(maxsize=256)
def _pair(term: str, slopes: tuple[str, str]) -> tuple[LineKernel, LineKernel]:
    names = ("a", "b", "c")
    functions = FUNCTIONS + "".join(
        c_function(f"lazynet_{name}", formula, names)
        for name, formula in zip(("term", "slope_a", "slope_b"), (term, *slopes))
    )
    read = """
        const T p = a[line * na + (na == 1 ? 0 : k)], q = b[line * nb + (nb == 1 ? 0 : k)];
    """
    head = "const T* a, I na, const T* b, I nb, const T* c"
    factor = "const T f = c ? c[line] : (T)0;"
    forward = LineKernel(
        "pair_loss", f"{head}, T* y",
        f"""{factor} T s = 0;
        EACH {{ {read} s += lazynet_term<T>(p, q, f); }}
        SUM(s)
        if (ONE) y[line] = s;""",
        preamble=functions,
    )  # fmt: skip
    back = LineKernel(
        "pair_loss_back", f"{head}, const T* dy, T* da, T* db",
        f"""{factor} const T d = dy[line]; T sa = 0, sb = 0;
        EACH {{
            {read}
            if (da) {{
                const T v = lazynet_slope_a<T>(p, q, f) * d;
                if (na == 1) sa += v; else da[line * na + k] = v;
            }}
            if (db) {{
                const T v = lazynet_slope_b<T>(p, q, f) * d;
                if (nb == 1) sb += v; else db[line * nb + k] = v;
            }}
        }}
        if (da && na == 1) {{ SUM(sa) if (ONE) da[line] = sa; }}
        if (db && nb == 1) {{ SUM(sb) if (ONE) db[line] = sb; }}""",
        preamble=functions,
    )  # fmt: skip
    return forward, back


def _widths(a: Array, b: Array) -> tuple[int, int, int]:
    """Elements of an example of each, and terms of the loss."""
    na, nb = a.size // max(1, len(a)), b.size // max(1, len(b))
    return na, nb, max(na, nb) if na and nb else 0


def _given(call: Call, a: Array, b: Array) -> tuple[Lines, tuple[Any, ...]]:
    na, nb, n = _widths(a, b)
    c = None if call.payload is None else beside(a, call.payload)
    return Lines(len(a), n, 1), (contiguous(a), na, contiguous(b), nb, c)


def pair_loss(
    call: Call, term: str, slopes: tuple[str, str], a: Array, b: Array, shape: Shape
) -> Array:
    """The sums of the terms of two arguments, of which one may be a scalar.

    Args:
        call: The batch.
        term: A formula of a, b and c, the payload.
        slopes: Its derivatives by a and b.
        a: Rows.
        b: Rows.
        shape: Of the result.
    """
    y = into(call.out, shape, a.dtype)
    lines, given = _given(call, a, b)
    _pair(term, slopes)[0](Lines(lines.outer, lines.length, 1), a.dtype, *given, y)
    return y


def pair_loss_back(
    call: Call, term: str, slopes: tuple[str, str], dy: Array, a: Array, b: Array
) -> tuple[Any, Any]:
    """The gradients that are needed, of both arguments."""
    lines, given = _given(call, a, b)
    da, db = [empty(x.shape, x.dtype) if need else None for x, need in zip((a, b), call.needs)]
    _pair(term, slopes)[1](lines, a.dtype, *given, contiguous(dy), da, db)
    return da, db
