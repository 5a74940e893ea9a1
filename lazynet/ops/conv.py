"""Convolution and pooling over one or two axes; the last axis of an example is its channels."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lazynet.backend import module_of
from lazynet.backend.kernels import LineKernel, along, contiguous, empty, into, same_memory
from lazynet.errors import ArgumentError, SettingError, ShapeError
from lazynet.graph import Expression, record
from lazynet.inputs import as_expression
from lazynet.kinds import INT64, Array, Call, Op, Shape
from lazynet.ops.cuda_windows import Sliding
from lazynet.ops.numeric import integer
from lazynet.ops.reduce import axis_of

Padding = str | int | tuple[int, ...]


@dataclass(frozen=True)
class _Windows(Op):
    """Windows that slide along all axes but the channels."""

    stride: Shape
    padding: str | Shape

    def pads(self, lengths: Shape, size: Shape) -> list[tuple[int, int]]:
        """Elements added before and after each axis."""
        if isinstance(self.padding, tuple):
            return [(p, p) for p in self.padding]
        if self.padding == "valid":
            return [(0, 0)] * len(size)
        pads = []
        for n, k, s in zip(lengths, size, self.stride, strict=True):
            # "same": ceil(n / s) windows, an odd element of padding at the end
            total = max((-(-n // s) - 1) * s + k - n, 0)
            pads.append((total // 2, total - total // 2))
        return pads

    def places(self, lengths: Shape, size: Shape) -> Shape:
        """Number of windows along each axis."""
        return tuple(
            max(n + sum(pad) - k, -1) // s + 1
            for n, k, s, pad in zip(
                lengths, size, self.stride, self.pads(lengths, size), strict=True
            )
        )

    def sliding(self, shape: Shape, size: Shape) -> Sliding:
        """The same for kernels on a GPU."""
        pads = tuple([before for before, _ in self.pads(shape[:-1], size)])
        return Sliding(shape, size, self.stride, pads, self.places(shape[:-1], size))

    def padded(self, x: Array, size: Shape, value: float) -> Array:
        """The rows with padding, x itself where there is none."""
        pads = self.pads(x.shape[1:-1], size)
        if not any(map(any, pads)):
            return x
        lengths = [n + sum(pad) for n, pad in zip(x.shape[1:-1], pads, strict=True)]
        result = np.full((len(x), *lengths, x.shape[-1]), value, x.dtype)
        result[self.inside(x.shape[1:-1], size)] = x
        return result

    def inside(self, lengths: Shape, size: Shape) -> tuple[slice, ...]:
        """Where x lies in the padded array."""
        ends = zip(lengths, self.pads(lengths, size), strict=True)
        return (slice(None), *[slice(before, before + n) for n, (before, _) in ends])

    def offsets(self, places: Shape, size: Shape) -> list[tuple[slice, ...]]:
        """For each element of a window, in row-major order, its place in all windows at once."""
        ends = [(n - 1) * s + 1 if n else 0 for n, s in zip(places, self.stride, strict=True)]
        return [
            (
                slice(None),
                *[slice(k, k + n, s) for k, n, s in zip(element, ends, self.stride, strict=True)],
            )
            for element in itertools.product(*[range(k) for k in size])
        ]


@dataclass(frozen=True)
class _Convolution(_Windows):
    """y[t] = sum_k x[t stride + k] F[k] + bias"""

    shares = True
    reads_y = False

    def shape(self, x: Shape, filters: Shape, *bias: Shape) -> Shape:
        spatial = len(self.stride)
        letters = ("width",) if spatial == 1 else ("height", "width")
        if len(x) != spatial + 1 or len(filters) != spatial + 2 or x[-1] != filters[-2]:
            lengths = ("length",) if spatial == 1 else letters
            raise self.fail(
                f"x must be ({', '.join(lengths)}, channels_in) and filters ({', '.join(letters)}, "
                "channels_in, channels_out)",
                "reshape or transpose them; the channels are the last axis",
                x=x,
                filters=filters,
            )
        if bias and bias[0] != filters[-1:]:
            raise self.fail(
                "bias must have one entry per output channel",
                "reshape it",
                filters=filters,
                bias=bias[0],
            )
        size = filters[:spatial]
        places = self.places(x[:-1], size)
        if 0 in size or any(
            n + sum(pad) < k
            for n, k, pad in zip(x[:-1], size, self.pads(x[:-1], size), strict=True)
            if self.padding != "same"
        ):
            raise self.fail(
                "x with its padding must be at least as long as the filters",
                "pad it (padding='same'), or make the filters shorter",
                x=x,
                filters=filters,
            )
        return (*places, filters[-1])

    def columns(self, x: Array, size: Shape) -> Array:
        """Every window as a vector: (rows, places, elements)."""
        spatial = len(size)
        if type(x) is not np.ndarray:
            count = math.prod(self.places(x.shape[1:-1], size))
            out = empty((len(x), count, math.prod(size) * x.shape[-1]), x.dtype)
            return self.sliding(x.shape[1:], size).columns(x, out)
        padded = self.padded(x, size, 0)
        elements = math.prod(size) * x.shape[-1]
        places = self.places(x.shape[1:-1], size)
        if 0 in places:
            return np.empty((len(x), 0, elements), x.dtype)
        windows = sliding_window_view(padded, size, tuple(range(1, spatial + 1)))
        windows = windows[(slice(None), *[slice(None, None, s) for s in self.stride])]
        # (rows, *places, channels, *size) -> (rows, *places, *size, channels)
        windows = np.moveaxis(windows, spatial + 1, -1)
        return np.ascontiguousarray(windows).reshape(len(x), math.prod(places), elements)

    def forward(self, call: Call, x: Array, filters: Array, *bias: Array) -> Array:
        x = _rows(x, call.shared[0], call.rows)
        size, matrix = self.matrix(call, filters)
        columns = self.columns(x, size)
        if type(columns) is not np.ndarray:
            y = into(call.out, (*columns.shape[:2], matrix.shape[-1]), x.dtype)
            if matrix.ndim == 2:
                flat = columns.reshape(y.size // max(1, y.shape[2]), columns.shape[2])
                np.matmul(flat, matrix, out=y.reshape(len(flat), y.shape[2]))
            else:
                np.matmul(columns, matrix, out=y)
        elif matrix.ndim == 2:
            y = columns.reshape(-1, columns.shape[2]) @ matrix
            y = y.reshape(len(x), -1 if y.size else columns.shape[1], matrix.shape[1])
        else:
            y = columns @ matrix
        if bias:
            y += bias[0] if call.shared[2] else bias[0][:, None]
        if type(y) is not np.ndarray and same_memory(y, call.out):
            return call.out  # type: ignore[no-any-return]
        return y.reshape(len(x), *self.places(x.shape[1:-1], size), matrix.shape[-1])

    def matrix(self, call: Call, filters: Array) -> tuple[Shape, Array]:
        """The size of a window, and the filters as (elements, channels_out), one or per row."""
        size = filters.shape[-len(self.stride) - 2 : -2]
        elements = math.prod(size) * filters.shape[-2]
        lead = () if call.shared[1] else (len(filters),)
        return size, filters.reshape(*lead, elements, filters.shape[-1])

    def backward(
        self, call: Call, dy: Array, y: Array, x: Array, filters: Array, *bias: Array
    ) -> tuple[Any, ...]:
        rows = len(dy)
        gradients: list[Any] = [None] * (2 + len(bias))
        x = _rows(x, call.shared[0], rows)
        size, matrix = self.matrix(call, filters)
        places = dy.shape[1:-1]
        dy = dy.reshape(rows, math.prod(places), dy.shape[-1])
        flat = dy.reshape(rows * dy.shape[1], dy.shape[2])
        if call.needs[0]:
            if matrix.ndim == 2:
                columns = (flat @ matrix.T).reshape(rows, *places, -1, x.shape[-1])
            else:
                columns = (dy @ matrix.transpose(0, 2, 1)).reshape(
                    rows, *places, math.prod(size), x.shape[-1]
                )
            dx = self.scatter(columns, x.shape, size)
            gradients[0] = dx.sum(axis=0) if call.shared[0] else dx
        if call.needs[1]:
            columns = self.columns(x, size)
            if call.shared[1]:
                product = columns.reshape(len(flat), -1 if flat.size else matrix.shape[0]).T @ flat
            else:
                product = columns.transpose(0, 2, 1) @ dy
            gradients[1] = product.reshape(filters.shape)
        if bias and call.needs[2]:
            if type(dy) is not np.ndarray:
                gradients[2] = flat.sum(axis=0) if call.shared[2] else dy.sum(axis=1)
                return tuple(gradients)
            ones = np.ones(len(flat) if call.shared[2] else dy.shape[1], dy.dtype)
            gradients[2] = ones @ (flat if call.shared[2] else dy)
        return tuple(gradients)

    def scatter(self, columns: Array, shape: Shape, size: Shape) -> Array:
        """The sum over windows of (rows, *places, window, channels) at their places in x."""
        if type(columns) is not np.ndarray:
            return self.sliding(shape[1:], size).scatter(columns, empty(shape, columns.dtype))
        pads = self.pads(shape[1:-1], size)
        lengths = [n + sum(pad) for n, pad in zip(shape[1:-1], pads, strict=True)]
        dx = np.zeros((shape[0], *lengths, shape[-1]), columns.dtype)
        for k, place in enumerate(self.offsets(columns.shape[1:-2], size)):
            dx[place] += columns[..., k, :]
        return dx[self.inside(shape[1:-1], size)]


def _rows(x: Array, shared: bool, rows: int) -> Array:
    """A shared argument as rows."""
    return np.broadcast_to(x, (rows, *x.shape)) if shared else x


@dataclass(frozen=True)
class Conv1d(_Convolution):
    """y[t] = sum_k x[t stride + k] F[k] + bias"""


@dataclass(frozen=True)
class Conv2d(_Convolution):
    """y[s, t] = sum_kl x[s stride + k, t stride + l] F[k, l] + bias"""


@dataclass(frozen=True)
class MaxPool(_Windows):
    """y[t] = max_k x[t stride + k]; the gradient goes to the first k that has it."""

    size: Shape

    def shape(self, x: Shape) -> Shape:
        if len(x) != len(self.size) + 1:
            axes = "length" if len(self.size) == 1 else "height, width"
            raise self.fail(
                f"a window of size {self.size} slides over ({axes}, channels)",
                "reshape x, or give a size for each axis but the channels",
                x=x,
            )
        pads = self.pads(x[:-1], self.size)
        for n, k, pad in zip(x[:-1], self.size, pads, strict=True):
            if self.padding != "same" and n + sum(pad) < k:
                raise self.fail(
                    f"x with its padding must be at least as long as the window, {self.size}",
                    "pad it (padding='same'), or make the window smaller",
                    x=x,
                )
            if n == 0 and self.padding != "same":
                raise self.fail("x has nothing to pool", "leave such examples out", x=x)
        return (*self.places(x[:-1], self.size), x[-1])

    def forward(self, call: Call, x: Array) -> Array:
        if type(x) is not np.ndarray:
            shape = (len(x), *self.places(x.shape[1:-1], self.size), x.shape[-1])
            y = into(call.out, shape, x.dtype)
            return self.sliding(x.shape[1:], self.size).maxima(x, y)
        padded = self.padded(x, self.size, -np.inf)
        first, *others = self.offsets(self.places(x.shape[1:-1], self.size), self.size)
        y = padded[first].copy()
        for place in others:
            np.maximum(y, padded[place], out=y)
        return y

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        if type(x) is not np.ndarray:
            return self.sliding(x.shape[1:], self.size).maxima_back(x, dy)
        padded = self.padded(x, self.size, -np.inf)
        dx = np.zeros(padded.shape, x.dtype)
        waiting = np.ones(y.shape, np.bool_)
        for place in self.offsets(y.shape[1:-1], self.size):
            chosen = (padded[place] == y) & waiting
            waiting &= ~chosen
            dx[place] += np.where(chosen, dy, dy.dtype.type(0))
        return dx[self.inside(x.shape[1:-1], self.size)]


_GREATEST = LineKernel(
    "k_max_pool", "const T* x, T* y, I* places, I count",
    """// the least of the greatest, one after the other: what is no number comes last
    #define BEFORE(a, i, b, j) \\
        (a > b || (b != b && a == a) || ((a == b || (a != a && b != b)) && i < j))
    T last = 0;
    I last_at = -1;
    for (I taken = 0; taken < count; ++taken) {
        T best = 0;
        I best_at = -1;
        for (I k = 0; k < n; ++k) {
            const T v = x[base + k * inner];
            if (last_at >= 0 && !BEFORE(last, last_at, v, k)) continue;
            if (best_at < 0 || BEFORE(v, k, best, best_at)) { best = v; best_at = k; }
        }
        last = best;
        last_at = best_at;
    }
    I taken = 0;
    for (I k = 0; k < n; ++k) {
        const T v = x[base + k * inner];
        if (k != last_at && !BEFORE(v, k, last, last_at)) continue;
        const I to = (block * count + taken) * inner + line % inner;
        y[to] = v;
        places[to] = k;
        ++taken;
    }""",
    alone=True,
)  # fmt: skip
_PLACE = LineKernel(
    "k_max_pool_back", "const T* dy, const I* places, T* dx, I count",
    "EACH dx[(block * count + places[at]) * inner + line % inner] = dy[at];",
)  # fmt: skip


@dataclass(frozen=True)
class KMaxPool(Op):
    """y = the k greatest elements along one axis, in the order they have in x."""

    k: int
    axis: int
    reads_y = False

    @property
    def name(self) -> str:
        return "k_max_pool"

    def shape(self, x: Shape) -> Shape:
        if not 0 <= self.axis < len(x):
            raise self.fail(f"axis {self.axis} is missing", "choose an axis that x has", x=x)
        if x[self.axis] < self.k:
            raise self.fail(
                f"axis {self.axis} must have at least k = {self.k} elements",
                "pad x, or choose a smaller k",
                x=x,
            )
        return (*x[: self.axis], self.k, *x[self.axis + 1 :])

    def forward(self, call: Call, x: Array) -> Array:
        axis = self.axis + 1
        if type(x) is not np.ndarray:
            y = into(call.out, (*x.shape[:axis], self.k, *x.shape[axis + 1 :]), x.dtype)
            call.keep = empty(y.shape, INT64)
            lines = along(x.shape, axis)
            _GREATEST(lines, x.dtype, contiguous(x), y, call.keep, self.k)
            return y
        order = np.argsort(-x, axis=axis, kind="stable")  # of equal elements the first ones
        chosen = np.sort(order.take(range(self.k), axis=axis), axis=axis)
        call.keep = chosen
        return np.take_along_axis(x, chosen, axis)

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        if type(dy) is not np.ndarray:
            dx: Array = module_of(dy).zeros(x.shape, x.dtype)
            lines = along(dy.shape, self.axis + 1)
            _PLACE(
                lines, dy.dtype, contiguous(dy), contiguous(call.keep), dx, x.shape[self.axis + 1]
            )
            return dx
        dx = np.zeros(x.shape, x.dtype)
        np.put_along_axis(dx, call.keep, dy, self.axis + 1)
        return dx


def _sizes(role: str, name: str, value: Any, axes: int, least: int) -> Shape:
    """One whole number for every axis."""
    try:
        if isinstance(value, (tuple, list)):
            sizes = tuple(integer(n) for n in value)
        else:
            sizes = (integer(value),) * axes
    except TypeError:
        raise ArgumentError(
            f"{role}: got {name} {value!r}; it must be a whole number, or one for each axis"
        ) from None
    if len(sizes) != axes:
        raise SettingError(f"{role}: got {name} {value!r}; it must have {axes} entries")
    if any(n < least for n in sizes):
        raise SettingError(f"{role}: got {name} {value!r}; it must be at least {least}")
    return sizes


def _padding(role: str, value: Any, axes: int) -> str | Shape:
    if isinstance(value, str):
        if value not in ("same", "valid"):
            raise SettingError(
                f"{role}: got padding {value!r}; it must be 'same', 'valid' or a whole number"
            )
        return value
    sizes = _sizes(role, "padding", value, axes, 0)
    return sizes if any(sizes) else "valid"


def conv1d(
    x: Any, filters: Any, bias: Any = None, stride: int = 1, padding: Padding = 0
) -> Expression:
    """Convolution along a sequence (as everywhere in the field, without flipping the filters).

    Args:
        x: Shape (length, channels_in).
        filters: Shape (width, channels_in, channels_out).
        bias: Shape (channels_out,), or None.
        stride: Distance between windows.
        padding: Zeros at both ends: a number; "valid" for none; "same" for ceil(length / stride)
            windows, with an odd zero at the end.

    Returns:
        An expression of shape (places, channels_out).

    Raises:
        ShapeError: If the shapes do not fit, or x is shorter than the filters.
        SettingError: If the stride is below 1 or the padding negative or unknown.

    >>> import lazynet as ln
    >>> x = ln.constant([[1.0], [2.0], [3.0]])
    >>> ln.conv1d(x, [[[1.0]], [[10.0]]]).value().tolist()
    [[21.0], [32.0]]
    """
    op = Conv1d(_sizes("conv1d", "stride", stride, 1, 1), _padding("conv1d", padding, 1))
    args = (x, filters) if bias is None else (x, filters, bias)
    return record(op, args)


def conv2d(
    x: Any,
    filters: Any,
    bias: Any = None,
    stride: int | tuple[int, int] = 1,
    padding: Padding = 0,
) -> Expression:
    """Convolution over an image (as everywhere in the field, without flipping the filters).

    Args:
        x: Shape (height, width, channels_in).
        filters: Shape (height, width, channels_in, channels_out).
        bias: Shape (channels_out,), or None.
        stride: Distance between windows, one number or one for each axis.
        padding: Zeros on both sides: a number or one for each axis; "valid" for none; "same" for
            ceil(length / stride) windows, with an odd zero at the end.

    Returns:
        An expression of shape (places, places, channels_out).

    Raises:
        ShapeError: If the shapes do not fit, or x is smaller than the filters.
        SettingError: If the stride is below 1 or the padding negative or unknown.

    >>> import lazynet as ln
    >>> x = ln.constant([[[1.0], [2.0]], [[3.0], [4.0]]])
    >>> ln.conv2d(x, [[[[1.0]], [[1.0]]], [[[1.0]], [[1.0]]]]).value().tolist()
    [[[10.0]]]
    """
    op = Conv2d(_sizes("conv2d", "stride", stride, 2, 1), _padding("conv2d", padding, 2))
    args = (x, filters) if bias is None else (x, filters, bias)
    return record(op, args)


def max_pool(
    x: Any,
    size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = None,
    padding: Padding = 0,
) -> Expression:
    """Maximum over windows; where several elements are the greatest, the first gets the gradient.

    Args:
        x: Shape (length, channels) or (height, width, channels).
        size: Of the window, one number or one for each axis but the channels.
        stride: Distance between windows; None for the size.
        padding: Elements of -inf on both sides, less than the size; "valid" for none; "same" for
            ceil(length / stride) windows.

    Returns:
        An expression of shape (places, channels) or (places, places, channels).

    Raises:
        ShapeError: If x has another number of axes or is smaller than the window.
        SettingError: If size or stride is below 1, or the padding negative, unknown, or not less
            than the size.

    >>> import lazynet as ln
    >>> ln.max_pool(ln.constant([[1.0], [4.0], [2.0], [3.0]]), 2).value().tolist()
    [[4.0], [3.0]]
    """
    x = as_expression(x, "max_pool")
    axes = x.ndim - 1
    if axes not in (1, 2):
        raise ShapeError(
            f"max_pool: got x {x.shape}; it takes (length, channels) or (height, width, channels); "
            "reshape x"
        )
    sizes = _sizes("max_pool", "size", size, axes, 1)
    strides = sizes if stride is None else _sizes("max_pool", "stride", stride, axes, 1)
    pads = _padding("max_pool", padding, axes)
    if isinstance(pads, tuple) and any(p >= k for p, k in zip(pads, sizes, strict=True)):
        raise SettingError(
            f"max_pool: got padding {padding!r} and size {size!r}; windows of padding alone have "
            "no maximum; the padding must be less than the size"
        )
    return record(MaxPool(strides, pads, sizes), (x,))


def k_max_pool(x: Any, k: int, axis: int = 0) -> Expression:
    """The k greatest elements along one axis, in the order they have in x.

    Args:
        x: Any shape with that axis, such as (length, channels).
        k: How many, from 1 to the length of the axis. Of equal elements the first ones are taken.
        axis: The axis.

    Returns:
        An expression of the shape of x with k in place of the axis.

    Raises:
        ShapeError: If x has no such axis or fewer elements along it.
        SettingError: If k is below 1.

    Source: N. Kalchbrenner, E. Grefenstette, P. Blunsom, "A convolutional neural network for
    modelling sentences", 2014.

    >>> import lazynet as ln
    >>> ln.k_max_pool(ln.constant([3.0, 1.0, 5.0, 4.0]), 2).value().tolist()
    [5.0, 4.0]
    """
    x = as_expression(x, "k_max_pool")
    (count,) = _sizes("k_max_pool", "k", k, 1, 1)
    op = KMaxPool(count, axis_of("k_max_pool", x.shape, axis))
    return record(op, (x,))


__all__ = [
    "Conv1d",
    "Conv2d",
    "KMaxPool",
    "MaxPool",
    "conv1d",
    "conv2d",
    "k_max_pool",
    "max_pool",
]
