"""Random operations: dropout, noise and samples.

Their numbers are drawn from a key taken when the node is recorded (`lazynet.randomness`), so they
are the same in whatever batch the node is computed. The key is the payload, of which a node has
one; that is why the probability of a dropout is a static field although it only changes values.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lazynet.backend import beside
from lazynet.backend import random as cuda_random
from lazynet.backend.kernels import LineKernel, along, contiguous, into
from lazynet.convert import as_array, as_dtype
from lazynet.errors import ArgumentError, RangeError, SettingError, ShapeError
from lazynet.graph import Expression, record
from lazynet.inputs import as_expression
from lazynet.kinds import INT64, Array, Call, Op, Shape, working
from lazynet.modes import is_training
from lazynet.ops.numeric import finite_number
from lazynet.randomness import gumbel as gumbel_numbers
from lazynet.randomness import half_bits, next_key, width_of
from lazynet.randomness import normal as normal_numbers
from lazynet.randomness import uniform as uniform_numbers

_SIGNED = {4: np.dtype(np.int32), 8: np.dtype(np.int64)}


@dataclass(frozen=True)
class Dropout(Op):
    """y = x m / (1 - p), with m = 0 with probability p, else 1; one m along each axis of `tied`."""

    p: float
    tied: tuple[int, ...] = ()
    payload = "key"
    reads_args = False
    reads_y = False

    def shape(self, x: Shape) -> Shape:
        for axis in self.tied:
            if axis >= len(x):
                raise self.fail(f"axis {axis} is missing", "choose an axis that x has", x=x)
        return x

    def forward(self, call: Call, x: Array) -> Any:
        if type(x) is not np.ndarray:
            return self._on_device(call, x, call.out)
        shape = tuple(1 if k in self.tied else n for k, n in enumerate(x.shape[1:]))
        bits = half_bits(call.payload, width_of(shape))
        call.keep = np.greater_equal(bits, np.uint32(self._threshold())).reshape(len(x), *shape)
        return self._apply(call, x, call.out)

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Any:
        if type(dy) is not np.ndarray:
            return self._on_device(call, dy, None)
        return self._apply(call, dy, None)

    def _on_device(self, call: Call, x: Array, out: Any) -> Array:
        """The same on a GPU, where drawing the mask again is cheaper than keeping it."""
        shape = x.shape[1:]
        length, inner = 1, max(1, width_of(shape))
        if self.tied:
            first, last = self.tied[0], self.tied[-1]
            length, inner = width_of(shape[first : last + 1]), width_of(shape[last + 1 :])
        keys = beside(x, call.payload)
        out = into(out, x.shape, x.dtype)
        scale = 1 / (1 - self.p)
        return cuda_random.dropout(keys, x, self._threshold(), scale, length, inner, out)

    def _threshold(self) -> int:
        return min(round(self.p * 2.0**32), 2**32 - 1)

    def _apply(self, call: Call, x: Array, out: Any) -> Any:
        # Bits and not numbers are masked: 0 x infinity would be NaN, and a masked store is 10 times
        # slower than this
        signed = _SIGNED[x.dtype.itemsize]
        mask = np.negative(call.keep.view(np.int8)).astype(signed)
        result = np.multiply(x, x.dtype.type(1 / (1 - self.p)), out=out)
        bits = result.view(signed)
        np.bitwise_and(bits, mask, out=bits)
        return result


@dataclass(frozen=True)
class Noise(Op):
    """y = x + std z, z standard normal."""

    std: float
    payload = "key"
    reads_args = False
    reads_y = False

    def shape(self, x: Shape) -> Shape:
        return x

    def forward(self, call: Call, x: Array) -> Any:
        if type(x) is not np.ndarray:
            keys = beside(x, call.payload)
            return cuda_random.noise(keys, x, self.std, into(call.out, x.shape, x.dtype))
        z = normal_numbers(call.payload, width_of(x.shape[1:]), x.dtype).reshape(x.shape)
        z *= x.dtype.type(self.std)
        return np.add(x, z, out=call.out)

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        return dy


@dataclass(frozen=True)
class _Sample(Op):
    """Numbers that depend on no argument."""

    example: Shape
    precision: np.dtype[Any]
    payload = "key"
    differentiable = False

    def shape(self, *shapes: Shape) -> Shape:
        return self.example

    def dtype(self, *dtypes: np.dtype[Any]) -> np.dtype[Any]:
        return self.precision


@dataclass(frozen=True)
class NormalSample(_Sample):
    """y ~ N(0, 1)"""

    def forward(self, call: Call) -> Array:
        if type(call.out) is not np.ndarray:
            return cuda_random.normal(beside(call.out, call.payload), call.out)
        z = normal_numbers(call.payload, width_of(self.example), working(self.precision))
        return z.reshape(call.rows, *self.example)


@dataclass(frozen=True)
class UniformSample(_Sample):
    """y ~ U[0, 1)"""

    def forward(self, call: Call) -> Array:
        if type(call.out) is not np.ndarray:
            return cuda_random.uniform(beside(call.out, call.payload), call.out)
        u = uniform_numbers(call.payload, width_of(self.example), working(self.precision))
        return u.reshape(call.rows, *self.example)


@dataclass(frozen=True)
class GumbelSample(_Sample):
    """y = -log(-log(u)), u ~ U(0, 1)"""

    def forward(self, call: Call) -> Array:
        if type(call.out) is not np.ndarray:
            return cuda_random.gumbel(beside(call.out, call.payload), call.out)
        g = gumbel_numbers(call.payload, width_of(self.example), working(self.precision))
        return g.reshape(call.rows, *self.example)


@dataclass(frozen=True)
class BernoulliSample(_Sample):
    """y = 1 with probability p, else 0."""

    def shape(self, p: Shape) -> Shape:
        if p not in ((), self.example):
            raise self.fail(
                f"p must be a number or have the shape of the sample, {self.example}",
                "reshape p or change the shape",
                p=p,
            )
        return self.example

    def forward(self, call: Call, p: Array) -> Array:
        if type(p) is not np.ndarray:
            ones = (1,) * (call.out.ndim - p.ndim)
            given = (beside(p, call.payload), p.reshape(p.shape + ones), 1.0, call.out)
            return cuda_random.bernoulli(*given)
        # float64 resolves small probabilities; u < p never holds for 0 and always does for 1
        u = uniform_numbers(call.payload, width_of(self.example), np.float64)
        u = u.reshape(call.rows, *self.example)
        if p.ndim < u.ndim:
            p = p.reshape(p.shape + (1,) * (u.ndim - p.ndim))
        return np.less(u, p).astype(working(self.precision))


@dataclass(frozen=True)
class MaskSample(_Sample):
    """y = scale with probability p, else 0."""

    p: float
    scale: float

    def forward(self, call: Call) -> Array:
        if type(call.out) is not np.ndarray:
            keys = beside(call.out, call.payload)
            given = (keys, np.float64(self.p), self.scale, call.out)
            return cuda_random.bernoulli(*given)
        u = uniform_numbers(call.payload, width_of(self.example), np.float64)
        mask = np.less(u, self.p).reshape(call.rows, *self.example)
        precision = working(self.precision)
        y: Array = np.multiply(mask, precision.type(self.scale), dtype=precision)
        return y


_CHOOSE = LineKernel(
    "categorical", "const T* x, const unsigned long long* keys, I* y",
    """double top = -1.0 / 0.0;
    I best = 0;
    for (I k = 0; k < n; ++k) {
        const double v = lazynet_gumbel(keys[line], k) + x[base + k];
        if (v > top || (v != v && top == top)) { top = v; best = k; }
    }
    y[line] = best;""",
    alone=True,
    preamble=cuda_random.FUNCTIONS,
)  # fmt: skip


@dataclass(frozen=True)
class Categorical(Op):
    """y = argmax_i (x_i + g_i), g standard Gumbel: class i with probability softmax(x)_i."""

    payload = "key"
    differentiable = False

    def shape(self, x: Shape) -> Shape:
        if len(x) != 1 or x[0] == 0:
            raise self.fail(
                "logits must be a vector with one entry per class",
                "reshape them, or take ln.categorical of each row",
                logits=x,
            )
        return ()

    def dtype(self, x: np.dtype[Any]) -> np.dtype[Any]:
        super().dtype(x)
        return INT64

    def forward(self, call: Call, x: Array) -> Any:
        if type(x) is not np.ndarray:
            y = into(call.out, (len(x),), INT64)
            given = (contiguous(x), beside(x, call.payload), y)
            _CHOOSE(along(x.shape, 1), x.dtype, *given)
            return y
        g = gumbel_numbers(call.payload, x.shape[1], np.dtype(np.float64))
        g += x
        return g.argmax(axis=1)


_CATEGORICAL = Categorical()


def _probability(role: str, p: Any) -> float:
    """A dropout probability: a number in [0, 1)."""
    value = finite_number(f"{role}: p", p)
    if not 0 <= value < 1:
        raise SettingError(
            f"{role}: got p = {p!r}; it is the probability of dropping and must lie in [0, 1)"
        )
    return value


def dropout(x: Any, p: float) -> Expression:
    """Set each element to zero with probability p and multiply the others by 1 / (1 - p).

    Outside training mode (``with ln.training(False):``), and for p = 0, x itself.

    Args:
        x: Any shape.
        p: Probability of dropping, in [0, 1).

    Returns:
        An expression of the shape of x.

    Raises:
        SettingError: If p is outside [0, 1).

    Source: N. Srivastava et al., "Dropout: a simple way to prevent neural networks from
    overfitting", 2014 (in the inverted form, which leaves the expectation as it is).

    >>> import lazynet as ln
    >>> ln.seed(0)
    >>> sorted(set(ln.dropout(ln.constant([1.0] * 100), 0.5).value().tolist()))
    [0.0, 2.0]
    """
    return _dropout(as_expression(x, "dropout"), _probability("dropout", p), ())


def dropout_dim(x: Any, axis: int, p: float) -> Expression:
    """Dropout with one draw for all entries along an axis: they are kept or dropped together.

    With x of shape (time, channels), axis 0 drops whole channels, the same ones at every time
    (variational dropout), and axis 1 whole time steps.

    Args:
        x: Any shape with that axis.
        axis: The axis along which the mask is constant.
        p: Probability of dropping, in [0, 1).

    Returns:
        An expression of the shape of x; x itself outside training mode and for p = 0.

    Raises:
        SettingError: If p is outside [0, 1).
        ShapeError: If x has no such axis.

    Source: Y. Gal, Z. Ghahramani, "A theoretically grounded application of dropout in recurrent
    neural networks", 2016.

    >>> import lazynet as ln
    >>> ln.seed(0)
    >>> y = ln.dropout_dim(ln.constant([[1.0] * 50] * 2), 0, 0.5).value()
    >>> bool((y[0] == y[1]).all())
    True
    """
    x = as_expression(x, "dropout_dim")
    p = _probability("dropout_dim", p)
    try:
        k = operator.index(axis)
    except TypeError:
        raise ArgumentError(f"dropout_dim: got axis {axis!r}; it must be a whole number") from None
    if not -x.ndim <= k < x.ndim:
        raise ShapeError(
            f"dropout_dim: got x {x.shape} and axis {axis}; the axis must be one of x's "
            f"{x.ndim}; count from 0, or from -1 backwards"
        )
    return _dropout(x, p, (k % x.ndim,))


def block_dropout(x: Any, p: float) -> Expression:
    """Dropout of a whole example: all its elements are kept or dropped together.

    Args:
        x: Any shape. With a batch, each row is kept or dropped on its own.
        p: Probability of dropping, in [0, 1).

    Returns:
        An expression of the shape of x; x itself outside training mode and for p = 0.

    Raises:
        SettingError: If p is outside [0, 1).

    >>> import lazynet as ln
    >>> ln.seed(0)
    >>> y = ln.block_dropout(ln.constant([1.0] * 50), 0.5).value()
    >>> bool((y == y[0]).all())
    True
    """
    x = as_expression(x, "block_dropout")
    return _dropout(x, _probability("block_dropout", p), tuple(range(x.ndim)))


_dropout_op = lru_cache(maxsize=1024)(Dropout)
_noise_op = lru_cache(maxsize=1024)(Noise)


def _dropout(x: Expression, p: float, tied: tuple[int, ...]) -> Expression:
    if p == 0 or not is_training():
        return x
    return record(_dropout_op(p, tied), (x,), next_key())


def noise(x: Any, std: float) -> Expression:
    """Add independent normal noise to every element.

    Args:
        x: Any shape.
        std: Standard deviation of the noise, 0 or more.

    Returns:
        An expression of the shape of x; x itself outside training mode and for std = 0.

    Raises:
        SettingError: If std is negative or not finite.

    >>> import lazynet as ln
    >>> ln.seed(0)
    >>> bool(abs(ln.noise(ln.constant([0.0] * 1000), 2.0).value().std() - 2) < 0.2)
    True
    """
    e = as_expression(x, "noise")
    value = finite_number("noise: std", std)
    if value < 0:
        raise SettingError(f"noise: got std = {std!r}; it must be 0 or more")
    if value == 0 or not is_training():
        return e
    return record(_noise_op(value), (e,), next_key())


def _shape(role: str, shape: Any) -> Shape:
    try:
        axes: Shape = (operator.index(shape),)
    except TypeError:
        try:
            axes = tuple(operator.index(n) for n in shape)
        except TypeError:
            raise ArgumentError(
                f"{role}: got shape {shape!r}; it must be a whole number or a tuple of them"
            ) from None
    if any(n < 0 for n in axes):
        raise ShapeError(f"{role}: got shape {axes}; lengths must be 0 or more")
    return axes


def _rows(role: str, batch: int | None) -> int:
    if batch is None:
        return -1
    try:
        rows = operator.index(batch)
    except TypeError:
        raise ArgumentError(
            f"{role}: got batch {batch!r}; it must be a number of rows, or None"
        ) from None
    if rows < 0:
        raise ShapeError(f"{role}: got batch {rows}; it must be 0 or more")
    return rows


def _sample(op: type[_Sample], role: str, shape: Any, batch: int | None, dtype: Any) -> Expression:
    sampler = op(_shape(role, shape), as_dtype(dtype, floating=True))
    return record(sampler, (), next_key(), _rows(role, batch))


def _parameter(role: str, value: Any) -> Any:
    """A parameter of a distribution: an expression, a finite float, or an array of float64."""
    if type(value) is float or isinstance(value, (str, bytes)):
        return finite_number(role, value)
    if isinstance(value, Expression):
        return value
    if hasattr(value, "__iter__") and not (isinstance(value, np.ndarray) and not value.ndim):
        return as_array(value, np.float64, role)
    return finite_number(role, value)


def _scaled(x: Expression, scale: Any, offset: Any) -> Expression:
    """offset + scale x, leaving out what changes nothing."""
    if type(scale) is not float or scale != 1:
        x = x * scale
    if type(offset) is not float or offset != 0:
        x = x + offset
    return x


def normal(
    shape: Any, mean: Any = 0.0, std: Any = 1.0, batch: int | None = None, dtype: Any = "float32"
) -> Expression:
    """A sample of normal numbers.

    Args:
        shape: Shape of one example, an int or a tuple.
        mean: Number, array or expression; gradients flow into an expression.
        std: Standard deviation, likewise.
        batch: Number of rows, or None for a single row.
        dtype: "float32", "float64", "float16" or "bfloat16".

    Returns:
        An expression of that shape; `mean + std * z` with z standard normal.

    Raises:
        ShapeError: If a length is negative.
        SettingError: If a number is not finite, or the number `std` negative.
        DtypeError: If the dtype is none of these.

    >>> import lazynet as ln
    >>> ln.normal((2, 3), batch=4).value().shape
    (4, 2, 3)
    """
    offset = _parameter("normal: mean", mean)
    scale = _parameter("normal: std", std)
    if type(scale) is float and scale < 0:
        raise SettingError(f"normal: got std = {std!r}; it must be 0 or more")
    z = _sample(NormalSample, "normal", shape, batch, dtype)
    return _scaled(z, scale, offset)


def uniform(
    shape: Any, low: Any = 0.0, high: Any = 1.0, batch: int | None = None, dtype: Any = "float32"
) -> Expression:
    """A sample of uniform numbers in [low, high), up to rounding.

    Args:
        shape: Shape of one example, an int or a tuple.
        low: Number, array or expression; gradients flow into an expression.
        high: Likewise.
        batch: Number of rows, or None for a single row.
        dtype: "float32", "float64", "float16" or "bfloat16".

    Returns:
        An expression of that shape.

    Raises:
        ShapeError: If a length is negative.
        SettingError: If a number is not finite.
        DtypeError: If the dtype is none of these.

    >>> import lazynet as ln
    >>> u = ln.uniform(1000, -1, 1).value()
    >>> bool(u.min() >= -1 and u.max() < 1)
    True
    """
    low, high = _parameter("uniform: low", low), _parameter("uniform: high", high)
    width = high - low
    if type(width) is float:
        width = finite_number("uniform: high - low", width)
    u = _sample(UniformSample, "uniform", shape, batch, dtype)
    return _scaled(u, width, low)


def gumbel(
    shape: Any, mu: Any = 0.0, beta: Any = 1.0, batch: int | None = None, dtype: Any = "float32"
) -> Expression:
    """A sample of Gumbel numbers, `mu - beta log(-log(u))` with u uniform in (0, 1).

    Args:
        shape: Shape of one example, an int or a tuple.
        mu: Location: number, array or expression; gradients flow into an expression.
        beta: Scale, likewise.
        batch: Number of rows, or None for a single row.
        dtype: "float32", "float64", "float16" or "bfloat16".

    Returns:
        An expression of that shape.

    Raises:
        ShapeError: If a length is negative.
        SettingError: If a number is not finite.
        DtypeError: If the dtype is none of these.

    >>> import lazynet as ln
    >>> ln.gumbel(3).value().shape
    (3,)
    """
    offset = _parameter("gumbel: mu", mu)
    scale = _parameter("gumbel: beta", beta)
    g = _sample(GumbelSample, "gumbel", shape, batch, dtype)
    return _scaled(g, scale, offset)


def bernoulli(
    shape: Any, p: Any = 0.5, batch: int | None = None, dtype: Any = "float32"
) -> Expression:
    """A sample of numbers that are 1 with probability p, else 0. Not differentiable.

    Args:
        shape: Shape of one example, an int or a tuple.
        p: Probability in [0, 1]: a number, or an array or expression of the sample's shape.
        batch: Number of rows; None for that of p.
        dtype: "float32", "float64", "float16" or "bfloat16".

    Returns:
        An expression of that shape.

    Raises:
        RangeError: If a number or array p leaves [0, 1].
        ShapeError: If p has another shape, or a length is negative.
        DtypeError: If the dtype is none of these.

    >>> import lazynet as ln
    >>> ln.bernoulli(4, 1.0).value().tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    example = _shape("bernoulli", shape)
    precision = as_dtype(dtype, floating=True)
    if not isinstance(p, Expression):
        given = p
        p = as_expression(p, "bernoulli", np.float64)
        array = np.asarray(given, np.float64)
        if not np.all((array >= 0) & (array <= 1)):
            raise RangeError(f"bernoulli: got p = {given!r}; probabilities must lie in [0, 1]")
    rows = None if batch is None else _rows("bernoulli", batch)
    if rows is not None and p.batch is not None and p.batch != rows:
        raise ShapeError(
            f"bernoulli: got p with batch {p.batch} and batch={rows}; they must agree; leave out "
            "batch"
        )
    return record(BernoulliSample(example, precision), (p,), next_key(), rows)


def categorical(logits: Any) -> Expression:
    """Draw a class: i with probability softmax(logits)_i. Not differentiable.

    Args:
        logits: Shape (n,), in nats; -inf for classes that are never drawn.

    Returns:
        An int64 scalar expression from 0 to n - 1.

    Raises:
        ShapeError: If logits is no vector with at least one entry.

    Source: the Gumbel-max trick; C. J. Maddison, D. Tarlow, T. Minka, "A* sampling", 2014.

    >>> import lazynet as ln
    >>> ln.categorical([0.0, 100.0, 0.0]).item()
    1
    """
    x = as_expression(logits, "categorical")
    return record(_CATEGORICAL, (x,), next_key())


__all__ = [
    "BernoulliSample",
    "Categorical",
    "Dropout",
    "GumbelSample",
    "MaskSample",
    "Noise",
    "NormalSample",
    "UniformSample",
    "bernoulli",
    "block_dropout",
    "categorical",
    "dropout",
    "dropout_dim",
    "gumbel",
    "noise",
    "normal",
    "uniform",
]
