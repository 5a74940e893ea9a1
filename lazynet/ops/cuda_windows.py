"""Parts of rows on a GPU: windows, picked entries, convolution and pooling; one launch each.

The places are payload, which was uploaded beforehand; all else is arithmetic in the kernel.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

from lazynet.backend import beside, module_of
from lazynet.backend.kernels import contiguous, elementwise, into
from lazynet.kinds import Array, Shape

Axes = tuple[tuple[int, int], ...]
"""Length and distance between entries of each axis of a part."""


def joined(axes: Axes) -> Axes:
    """The same with axes that lie in one piece taken together, and those of one entry left out."""
    found: list[tuple[int, int]] = []
    for n, step in axes:
        if n == 1:
            continue
        if found and found[-1][1] == n * step:
            found[-1] = (found[-1][0] * n, step)
        else:
            found.append((n, step))
    return tuple(found)


@lru_cache(maxsize=64)
def _offset(ndim: int) -> tuple[str, str]:
    """Parameters, and code that takes the entry `i` of all rows apart: row `r`, place `off`."""
    names = "".join(f", int64 n{k}, int64 s{k}" for k in range(ndim))
    code = ["long long r = i, off = 0;"]
    for k in reversed(range(ndim)):
        code.append(f"off += r % n{k} * s{k}; r /= n{k};")
    return names, "\n".join(code)


def window(x: Array, at: Array, width: int, axes: Axes, out: Array) -> Array:
    """``out[r] = x[r][at[r] + ...]``: from each row a part with these axes.

    Args:
        x: Rows of `width` elements, or one for all, with width 0.
        at: Where the part begins.
        width: Length of a row.
        axes: See `Axes`.
        out: The result.
    """
    axes = joined(axes)
    names, code = _offset(len(axes))
    kernel = elementwise(
        "window", f"raw T x, raw int64 at, int64 width{names}", "T out",
        f"{code} out = x[r * width + at[r] + off]",
    )  # fmt: skip
    if out.size:
        kernel(contiguous(x), beside(x, at), width, *[v for axis in axes for v in axis], out)
    return out


def add_window(dy: Array, at: Array, width: int, axes: Axes, dx: Array) -> Array:
    """The reverse: what was taken is added, or put where every row has its own place."""
    axes = joined(axes)
    names, code = _offset(len(axes))
    place = "r * width + at[r] + off"
    store = f"dx[{place}] = dy" if width else f"atomicAdd(&dx[{place}], dy)"
    kernel = elementwise(
        "add_window" if not width else "put_window",
        f"T dy, raw int64 at, int64 width{names}", "raw T dx", f"{code} {store}",
    )  # fmt: skip
    if dy.size:
        numbers = [v for axis in axes for v in axis]
        kernel(contiguous(dy), beside(dy, at), width, *numbers, dx)
    return dx


_PICK = """
    const long long a = i % after, q = i / after % count, b = i / (after * count) % before;
    const long long r = i / (after * count * before);
    const long long place = r * width + (b * entries + at[r * count + q]) * after + a;
"""
_PICK_HEAD = "raw int64 at, int64 width, int64 before, int64 entries, int64 after, int64 count"


def pick(x: Array, at: Array, shared: bool, source: Shape, axis: int, out: Array) -> Array:
    """Entries `at` ``(rows, count)`` along one axis of each row, or of one row for all."""
    if out.size:
        kernel = elementwise("pick", f"raw T x, {_PICK_HEAD}", "T out", f"{_PICK} out = x[place]")
        kernel(contiguous(x), *_numbers(x, at, shared, source, axis), out)
    return out


def add_picked(dy: Array, at: Array, shared: bool, source: Shape, axis: int, dx: Array) -> Array:
    """The reverse: gradients of the same entry add up."""
    if dy.size:
        kernel = elementwise(
            "add_picked",
            f"T dy, {_PICK_HEAD}",
            "raw T dx",
            f"{_PICK} const long long e = at[r * count + q]; "
            "if (e >= 0 && e < entries) atomicAdd(&dx[place], dy)",
        )
        kernel(contiguous(dy), *_numbers(dy, at, shared, source, axis), dx)
    return dx


def _numbers(like: Array, at: Array, shared: bool, source: Shape, axis: int) -> tuple[Any, ...]:
    count = at.size // max(1, len(at))
    width = 0 if shared else prod(source)
    before, after = prod(source[:axis]), prod(source[axis + 1 :])
    return beside(like, at), width, before, source[axis], after, count


# Windows that slide over two axes (one of length 1 where there is a single one)


_SPATIAL = (
    "int64 H, int64 W, int64 C, int64 P, int64 Q, int64 kh, int64 kw, int64 sh, int64 sw, "
    "int64 ph, int64 pw"
)
_COLUMNS = """
    const long long c = i % C, l = i / C % kw, k = i / (C * kw) % kh;
    const long long q = i / (C * kw * kh) % Q, p = i / (C * kw * kh * Q) % P;
    const long long r = i / (C * kw * kh * Q * P);
    const long long h = p * sh + k - ph, w = q * sw + l - pw;
    out = h >= 0 && h < H && w >= 0 && w < W ? x[((r * H + h) * W + w) * C + c] : (T)0
"""
_SCATTER = """
    const long long c = i % C, w = i / C % W + pw, h = i / (C * W) % H + ph, r = i / (C * W * H);
    T total = 0;
    for (long long k = h % sh; k < kh && k <= h; k += sh) {
        const long long p = (h - k) / sh;
        if (p >= P) continue;
        for (long long l = w % sw; l < kw && l <= w; l += sw) {
            const long long q = (w - l) / sw;
            if (q < Q) total += columns[((((r * P + p) * Q + q) * kh + k) * kw + l) * C + c];
        }
    }
    out = total
"""
_WALK = """
    const long long c = i % C, q = i / C % Q, p = i / (C * Q) % P, r = i / (C * Q * P);
    T top = -1.0 / 0.0;
    long long chosen = -1;
    for (long long k = 0; k < kh; ++k) {
        const long long h = p * sh + k - ph;
        if (h < 0 || h >= H) continue;
        for (long long l = 0; l < kw; ++l) {
            const long long w = q * sw + l - pw;
            if (w < 0 || w >= W) continue;
            const long long at = ((r * H + h) * W + w) * C + c;
            if (x[at] > top || (x[at] != x[at] && top == top)) { top = x[at]; chosen = at; }
            else if (chosen < 0 && x[at] == top) chosen = at;
        }
    }
"""


class Sliding:
    """How windows slide over rows ``(height, width, channels)``.

    Args:
        shape: Of an example; with one axis before the channels, that is its width.
        size: Of a window.
        stride: Distance between windows.
        pads: Elements added before each axis.
        places: Number of windows along each axis.
    """

    def __init__(
        self, shape: Shape, size: Shape, stride: Shape, pads: Shape, places: Shape
    ) -> None:
        one = (1,) * (2 - len(size))
        height, width = one + shape[:-1]
        pad = (0,) * (2 - len(size)) + pads
        pairs = (one + places, one + size, one + stride, pad)
        self.numbers = (height, width, shape[-1], *[n for pair in pairs for n in pair])

    def columns(self, x: Array, out: Array) -> Array:
        """Every window as a vector, with zeros beyond the edges."""
        if out.size:
            elementwise("columns", f"raw T x, {_SPATIAL}", "T out", _COLUMNS)(
                contiguous(x), *self.numbers, out
            )
        return out

    def scatter(self, columns: Array, out: Array) -> Array:
        """The reverse: the sum over all windows that an element lies in."""
        if out.size:
            elementwise("scatter", f"raw T columns, {_SPATIAL}", "T out", _SCATTER)(
                contiguous(columns), *self.numbers, out
            )
        return out

    def maxima(self, x: Array, out: Array) -> Array:
        """The maximum of every window."""
        if out.size:
            elementwise("max_pool", f"raw T x, {_SPATIAL}", "T out", f"{_WALK} out = top")(
                contiguous(x), *self.numbers, out
            )
        return out

    def maxima_back(self, x: Array, dy: Array) -> Array:
        """The gradient of x: that of a window goes to the first element that has its maximum."""
        dx: Array = module_of(x).zeros(x.shape, x.dtype)
        if dy.size:
            elementwise(
                "max_pool_back", f"T dy, raw T x, {_SPATIAL}", "raw T dx",
                f"{_WALK} if (chosen >= 0) atomicAdd(&dx[chosen], dy)",
            )(contiguous(dy), contiguous(x), *self.numbers, dx)  # fmt: skip
        return dx


def checked_rows(table: Array, rows: Array, shared: bool, source: Shape, out: Any) -> Array:
    """Rows of a table by numbers that lie on the GPU too: NaN where there is no such row."""
    y = into(out, (len(rows), *source[1:]), table.dtype)
    if y.size:
        width = prod(source[1:])
        size = 0 if shared else prod(source)
        elementwise(
            "checked_rows",
            "raw T table, raw int64 rows, int64 count, int64 size, int64 width",
            "T out",
            """
            const long long r = i / width, row = rows[r];
            out = row >= 0 && row < count ? table[r * size + row * width + i % width]
                                          : (T)(0.0 / 0.0)
            """,
        )(contiguous(table), contiguous(rows), source[0], size, width, y)
    return y


def window_sum(x: Array, n: int, before: int, out: Array) -> Array:
    """Sums of n neighbours along the last axis, with `before` zeros before the first."""
    if out.size:
        head = "raw T x, int64 size, int64 places, int64 window, int64 before"
        body = """
            const long long first = i % places - before, row = i / places * size;
            T total = 0;
            for (long long k = first; k < first + window; ++k)
                if (k >= 0 && k < size) total += x[row + k];
            out = total
        """
        given = (contiguous(x), x.shape[-1], out.shape[-1], n, before)
        elementwise("window_sum", head, "T out", body)(*given, out)
    return out


MOST = 16
"""Most arrays that one kernel puts together, or takes apart."""


@lru_cache(maxsize=64)
def _parts_kernel(count: int, together: bool) -> Any:
    """A kernel over the elements of the whole, of which each part has some columns."""
    sizes = ", ".join(f"int64 n{k}" for k in range(count))
    arrays = ", ".join(f"raw T x{k}" for k in range(count))
    code = ["const long long r = i / width; long long j = i % width;"]
    for k in range(count):
        part = f"x{k}[r * n{k} + j]"
        move = f"whole = {part};" if together else f"{part} = whole;"
        code.append(f"{'else ' if k else ''}if (j < n{k} || (j -= n{k}, false)) {{ {move} }}")
    body = "\n".join(code)
    if together:
        return elementwise("concatenate", f"{arrays}, int64 width, {sizes}", "T whole", body)
    return elementwise("split", f"T whole, int64 width, {sizes}", arrays, body)


def _columns_of(shapes: list[Shape], axis: int) -> list[int]:
    return [prod(shape[axis:]) for shape in shapes]


def concatenate_rows(xs: Any, axis: int, out: Any) -> Array:
    """Up to `MOST` arrays, one behind the other along an axis, in one launch."""
    first = xs[0].shape
    length = sum(x.shape[axis] for x in xs)
    y = into(out, (*first[:axis], length, *first[axis + 1 :]), xs[0].dtype)
    sizes = _columns_of([x.shape for x in xs], axis)
    if y.size:
        _parts_kernel(len(xs), True)(*[contiguous(x) for x in xs], sum(sizes), *sizes, y)
    return y


def can_split(outs: tuple[Array, ...]) -> bool:
    """Whether `split_rows` fills these."""
    return len(outs) <= MOST and all(out.flags.c_contiguous for out in outs)


def split_rows(x: Array, axis: int, outs: tuple[Array, ...]) -> tuple[Array, ...]:
    """The reverse: fills `outs`, contiguous arrays."""
    sizes = _columns_of([out.shape for out in outs], axis)
    if x.size:
        _parts_kernel(len(outs), False)(contiguous(x), sum(sizes), *sizes, *outs)
    return outs
