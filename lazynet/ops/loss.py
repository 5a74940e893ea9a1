"""Losses: each is a scalar per row, summed over the elements of its arguments."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from lazynet.backend import uninitialised
from lazynet.backend.kernels import along
from lazynet.convert import as_array
from lazynet.deferred import TRACED_ROWS, is_deferred
from lazynet.errors import ArgumentError, RangeError, SettingError, ShapeError
from lazynet.graph import Expression, record
from lazynet.inputs import as_expression
from lazynet.kinds import Array, Call, Op, Shape
from lazynet.ops import cuda_losses
from lazynet.ops.elementwise import ready
from lazynet.ops.numeric import finite_number, last_max, last_sum
from lazynet.shortcuts import chosen

Classes = int | Sequence[int] | np.ndarray[Any, Any]


@dataclass(frozen=True)
class _ClassLoss(Op):
    """A loss of a vector x and a class c, which is the payload."""

    payload = "int"
    reads_y = False

    def shape(self, x: Shape) -> Shape:
        if len(x) != 1 or x[0] == 0:
            raise self.fail(
                "it takes a vector with one entry per class and a class",
                "reshape it, or take the loss of each row",
                x,
            )
        return ()


@dataclass(frozen=True)
class CrossEntropy(_ClassLoss):
    """y = log sum_j exp(x_j) - x_c, dx_j = (softmax(x)_j - [j = c]) dy"""

    reads_args = False

    def forward(self, call: Call, x: Array) -> Array:
        if type(x) is not np.ndarray:
            return cuda_losses.cross_entropy(call, x, (len(x),))
        top = last_max(x)
        e = np.subtract(x, top[:, None], out=uninitialised(len(x), x.shape[1], x.dtype))
        np.exp(e, out=e)
        total = last_sum(e)
        # kept, so that the exponentials of a large vocabulary are computed once
        call.keep = (e, total)
        y = np.log(total)
        y += top
        y -= x[np.arange(len(x)), call.payload]
        return y

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Any:
        if type(dy) is not np.ndarray:
            return cuda_losses.cross_entropy_back(call, dy)
        e, total = call.keep
        dx = call.into
        if dx is None:
            dx = uninitialised(len(e), e.shape[1], e.dtype)
        np.multiply(e, (dy / total)[:, None], out=dx)
        dx[np.arange(len(dx)), call.payload] -= dy
        return dx


@dataclass(frozen=True)
class Nll(_ClassLoss):
    """y = -x_c, dx_c = -dy"""

    def forward(self, call: Call, x: Array) -> Any:
        if type(x) is not np.ndarray:
            return cuda_losses.nll(call, x)
        return np.negative(x[np.arange(len(x)), call.payload])

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        if type(dy) is not np.ndarray:
            return cuda_losses.nll_back(call, dy, x.shape)
        dx = np.zeros(x.shape, x.dtype)
        dx[np.arange(len(x)), call.payload] = -dy
        return dx


@dataclass(frozen=True)
class Hinge(_ClassLoss):
    """y = sum_{j != c} max(0, m - x_c + x_j), with gradient 0 at the kinks.

    The margin m is static only because the class is the payload.
    """

    margin: float

    def violations(self, call: Call, x: Array) -> Any:
        """m - x_c + x_j, 0 for j = c."""
        rows = np.arange(len(x))
        z = np.subtract(x, (x[rows, call.payload] - x.dtype.type(self.margin))[:, None])
        z[rows, call.payload] = 0
        return z

    def forward(self, call: Call, x: Array) -> Array:
        if type(x) is not np.ndarray:
            lines = along(x.shape, 1)
            return cuda_losses.hinge(call, x, lines, (len(x),), self.margin)
        z = self.violations(call, x)
        return last_sum(np.maximum(z, 0, out=z))

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        if type(x) is not np.ndarray:
            return cuda_losses.hinge_back(call, dy, x, along(x.shape, 1), self.margin)
        active = (self.violations(call, x) > 0).astype(x.dtype)
        dx: Array = active * dy[:, None]
        dx[np.arange(len(x)), call.payload] = -dy * last_sum(active)
        return dx


@dataclass(frozen=True)
class _PairLoss(Op):
    """A loss of the elements of two arguments of one shape, or of one with a scalar, summed."""

    reads_y = False
    term: ClassVar[str]
    """The loss of an element as a formula of a, b and c, the payload (see `ops.formula`)."""
    slopes: ClassVar[tuple[str, str]]
    """Its derivatives by a and b."""

    def shape(self, a: Shape, b: Shape) -> Shape:
        if a != b and a and b:
            raise self.fail(
                "both must have the same shape, or one must be a scalar",
                "reshape one of them",
                a,
                b,
            )
        return ()

    def terms(self, call: Call, a: Array, b: Array) -> Array:
        """The loss of every element; arguments (rows, n) or (rows, 1)."""
        raise NotImplementedError

    def slope(self, call: Call, argument: int, a: Array, b: Array) -> Array:
        """Its derivative by one of the arguments."""
        raise NotImplementedError

    def forward(self, call: Call, a: Array, b: Array) -> Array:
        if type(a) is not np.ndarray:
            return cuda_losses.pair_loss(call, self.term, self.slopes, a, b, (len(a),))
        return last_sum(self.terms(call, _columns(a), _columns(b)))

    def backward(self, call: Call, dy: Array, y: Array, a: Array, b: Array) -> tuple[Any, ...]:
        if type(a) is not np.ndarray:
            return cuda_losses.pair_loss_back(call, self.term, self.slopes, dy, a, b)
        columns = [_columns(a), _columns(b)]
        n = max(c.shape[1] for c in columns) if all(c.shape[1] for c in columns) else 0
        gradients: list[Any] = [None, None]
        for k, argument in enumerate((a, b)):
            if call.needs[k]:
                slope = self.slope(call, k, *columns)
                if slope.shape[1] != n:
                    slope = np.broadcast_to(slope, (len(slope), n))
                if argument.ndim == 1 and n != 1:
                    gradients[k] = last_sum(slope) * dy
                else:
                    gradients[k] = (slope * dy[:, None]).reshape(argument.shape)
        return tuple(gradients)


def _columns(a: Array) -> Array:
    """One row per example: (rows, n), n = 1 for scalars."""
    if a.ndim == 2:
        return a
    return a.reshape(len(a), a.size // max(1, len(a)) if a.size else int(a.ndim == 1))


@dataclass(frozen=True)
class BinaryCrossEntropy(_PairLoss):
    """y = sum_i max(x_i, 0) - x_i t_i + log(1 + exp(-|x_i|)); dx = (sigmoid(x) - t) dy, dt = -x dy

    That is -t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)) without overflow.
    """

    term = "maximum(a, 0) - a * b + log1p(exp(-abs(a)))"
    slopes = ("tanh(a * 0.5) * 0.5 + 0.5 - b", "-a")

    def terms(self, call: Call, a: Array, b: Array) -> Any:
        z = np.absolute(a)
        np.negative(z, out=z)
        np.exp(z, out=z)
        np.log1p(z, out=z)
        z += np.maximum(a, 0)
        return z - a * b

    def slope(self, call: Call, argument: int, a: Array, b: Array) -> Any:
        if argument == 1:
            return np.negative(a)
        # 1/2 tanh(x/2) + 1/2 is the sigmoid, and overflows nowhere
        z = np.tanh(a * a.dtype.type(0.5))
        z *= a.dtype.type(0.5)
        z += a.dtype.type(0.5)
        return z - b


@dataclass(frozen=True)
class _DifferenceLoss(_PairLoss):
    """A loss of a - b."""

    def derivative(self, call: Call, d: Array) -> Array:
        """The derivative of the loss of every element by d = a - b."""
        raise NotImplementedError

    def slope(self, call: Call, argument: int, a: Array, b: Array) -> Array:
        slope = self.derivative(call, a - b)
        return slope if argument == 0 else np.negative(slope)


@dataclass(frozen=True)
class SquaredError(_DifferenceLoss):
    """y = sum_i (a_i - b_i)^2"""

    term = "d = a - b; d * d"
    slopes = ("2 * (a - b)", "-2 * (a - b)")

    def terms(self, call: Call, a: Array, b: Array) -> Any:
        d = a - b
        return np.multiply(d, d, out=d)

    def derivative(self, call: Call, d: Array) -> Array:
        return np.multiply(d, 2, out=d)


@dataclass(frozen=True)
class L1(_DifferenceLoss):
    """y = sum_i |a_i - b_i|, with gradient 0 where a_i = b_i"""

    term = "abs(a - b)"
    slopes = ("sign(a - b)", "-sign(a - b)")

    def terms(self, call: Call, a: Array, b: Array) -> Any:
        d = a - b
        return np.absolute(d, out=d)

    def derivative(self, call: Call, d: Array) -> Array:
        return np.sign(d)


@dataclass(frozen=True)
class Huber(_DifferenceLoss):
    """y = sum_i d_i^2 / 2 where |d_i| <= delta, else delta (|d_i| - delta / 2); d = a - b"""

    payload = "float"

    term = "size = abs(a - b); inner = minimum(size, c); inner * (size - inner / 2)"
    slopes = ("maximum(-c, minimum(a - b, c))", "-maximum(-c, minimum(a - b, c))")

    def terms(self, call: Call, a: Array, b: Array) -> Any:
        size = np.absolute(a - b)
        # with q = min(|d|, delta) both cases are q (|d| - q / 2)
        inner = np.minimum(size, call.column(1))
        return inner * (size - inner / 2)

    def derivative(self, call: Call, d: Array) -> Array:
        delta = call.column(1)
        return np.clip(d, -delta, delta)


@dataclass(frozen=True)
class PoissonNll(_PairLoss):
    """y = sum_i exp(x_i) - k_i x_i + log k_i!; dx = (exp(x) - k) dy, dk = (digamma(k+1) - x) dy"""

    term = "exp(a) - a * b + lgamma(b + 1)"
    slopes = ("exp(a) - b", "digamma(b + 1) - a")

    def terms(self, call: Call, a: Array, b: Array) -> Any:
        z = np.exp(a) - a * b
        z += import_module("scipy.special").gammaln(b + 1)
        return z

    def slope(self, call: Call, argument: int, a: Array, b: Array) -> Array:
        if argument == 0:
            return np.exp(a) - b
        digamma: Array = import_module("scipy.special").psi(b + 1)
        return digamma - a


@dataclass(frozen=True)
class PairwiseRank(_DifferenceLoss):
    """y = sum_i max(0, m - a_i + b_i), with gradient 0 at the kink"""

    payload = "float"

    term = "maximum(c - (a - b), 0)"
    slopes = ("where(a - b < c, -1, 0)", "where(a - b < c, 1, 0)")

    def terms(self, call: Call, a: Array, b: Array) -> Any:
        z = call.column(1) - (a - b)
        return np.maximum(z, 0, out=z)

    def derivative(self, call: Call, d: Array) -> Any:
        return np.negative(np.less(d, call.column(1)).astype(d.dtype))


_CROSS_ENTROPY = ready(CrossEntropy())
_NLL = ready(Nll())


@lru_cache(maxsize=1024)
def _hinge_op(margin: float) -> Hinge:
    return ready(Hinge(margin))


_BINARY_CROSS_ENTROPY = BinaryCrossEntropy()
_SQUARED_ERROR = SquaredError()
_L1 = L1()
_HUBER = Huber()
_POISSON_NLL = PoissonNll()
_PAIRWISE_RANK = PairwiseRank()


def _class_loss(op: Op, role: str, x: Any, c: Any) -> Expression:
    fast = chosen(op, x, c)
    if fast is not None:
        return fast
    x = as_expression(x, role)
    shape = x.shape
    op.shape(shape)
    if is_deferred(c):
        n = shape[0]
        if _is_list(c):
            slot = c.slot(n, lambda v: _class_array(role, v, n))
            return record(op, (x,), slot, TRACED_ROWS)
        return record(op, (x,), c.slot(n, lambda v: _class(role, v, n)))
    if not _is_list(c):
        return record(op, (x,), _class(role, c, shape[0]))
    classes = _class_array(role, c, shape[0])
    rows = x.batch
    if rows is not None and rows != len(classes):
        raise ShapeError(
            f"{role}: got {len(classes)} classes and a batch of {rows} rows; a list holds one "
            "class for each row; give as many, or one class for all"
        )
    return record(op, (x,), classes, len(classes))


def _is_list(c: Any) -> bool:
    if isinstance(c, np.ndarray):
        return c.ndim > 0
    return isinstance(c, (list, tuple, range))


def _class(role: str, c: Any, n: int) -> int:
    """One class, checked."""
    k = -1
    whole = not isinstance(c, (bool, np.bool_))
    if whole:
        try:
            k = operator.index(c)
        except TypeError:
            whole = False
    if not whole:
        raise ArgumentError(
            f"{role}: got class {_short(c)} of {type(c).__name__} for {n} classes; a class is a "
            f"whole number from 0 to {n - 1}, or a list of one for each row"
        )
    if not 0 <= k < n:
        raise RangeError(
            f"{role}: got class {k} for {n} classes; classes go from 0 to {n - 1}; correct the "
            "label, or make the scores as long as there are classes"
        )
    return k


def _class_array(role: str, c: Any, n: int) -> Array:
    """A list of classes, checked, as int64."""
    if isinstance(c, np.ndarray) and c.ndim == 1 and c.dtype.kind in "iu":
        outside = np.flatnonzero((c < 0) | (c >= n))
        if len(outside):
            _class(role, c[outside[0]], n)
        return c.astype(np.int64)
    if isinstance(c, (list, tuple)) and set(map(type, c)) == {int}:
        try:
            array = np.array(c, np.int64)
        except OverflowError:
            array = np.full(1, n)
        if ((array >= 0) & (array < n)).all():
            return array
    return np.array([_class(role, k, n) for k in c], np.int64)


def _short(c: Any) -> str:
    text = repr(c)
    return text if len(text) < 60 else text[:57] + "..."


_GREATEST = float(np.finfo(np.float64).max)
"""All numbers but infinity are at most this."""


def _within(role: str, name: str, values: Any, low: float, high: float) -> None:
    """Check numbers known at the time of recording."""
    if isinstance(values, Expression):
        return
    array = as_array(values, np.float64, f"{role}: {name}")
    if not np.all((array >= low) & (array <= high)):
        bound = f"lie in [{low:g}, {high:g}], and be a number"
        if high == _GREATEST:
            bound = f"be at least {low:g} and finite"
        raise RangeError(f"{role}: got {name} {_short(values)}; it must {bound}")


def _setting(role: str, name: str, value: Any, positive: bool = False) -> float:
    number = finite_number(f"{role}: {name}", value)
    if positive and number <= 0:
        raise SettingError(f"{role}: {name} is {value!r}; it must be greater than 0")
    return number


def cross_entropy(logits: Any, c: Classes) -> Expression:
    """Cross entropy of softmax(logits) and a class: -log softmax(logits)_c, in nats.

    Args:
        logits: Shape (n,), in nats.
        c: The class, from 0 to n - 1; or a list or array of one for each row of the batch.

    Returns:
        A scalar for each row.

    Raises:
        RangeError: If a class is out of range; negative ones do not count from the end.
        ArgumentError: If a class is no whole number.
        ShapeError: If logits is no vector, or there are not as many classes as rows.

    >>> import lazynet as ln
    >>> round(ln.cross_entropy(ln.constant([0.0, 0.0]), 1).value(), 4)
    0.6931
    """
    return _class_loss(_CROSS_ENTROPY, "cross_entropy", logits, c)


def nll(log_probabilities: Any, c: Classes) -> Expression:
    """Negative log likelihood of a class: -log_probabilities_c, in nats.

    Args:
        log_probabilities: Shape (n,), in nats.
        c: The class, from 0 to n - 1; or a list or array of one for each row of the batch.

    Returns:
        A scalar for each row.

    Raises:
        RangeError: If a class is out of range; negative ones do not count from the end.
        ArgumentError: If a class is no whole number.
        ShapeError: If log_probabilities is no vector, or there are not as many classes as rows.

    >>> import lazynet as ln
    >>> ln.nll(ln.constant([-0.5, -1.0]), 1).value()
    1.0
    """
    return _class_loss(_NLL, "nll", log_probabilities, c)


def hinge(scores: Any, c: Classes, margin: float = 1.0) -> Expression:
    """Multi-class margin loss: the sum over j != c of max(0, margin - scores_c + scores_j).

    Args:
        scores: Shape (n,).
        c: The class, from 0 to n - 1; or a list or array of one for each row of the batch.
        margin: How far the score of the class should exceed the others.

    Returns:
        A scalar for each row. The gradient at a kink is 0.

    Raises:
        RangeError: If a class is out of range; negative ones do not count from the end.
        ArgumentError: If a class is no whole number.
        ShapeError: If scores is no vector, or there are not as many classes as rows.
        SettingError: If margin is not finite.

    Source: J. Weston, C. Watkins, "Support vector machines for multi-class pattern recognition",
    1999.

    >>> import lazynet as ln
    >>> ln.hinge(ln.constant([2.0, 1.5, 0.0]), 0).value()
    0.5
    """
    return _class_loss(_hinge_op(_setting("hinge", "margin", margin)), "hinge", scores, c)


def binary_cross_entropy(logits: Any, target: Any) -> Expression:
    """-t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)), in nats, summed over the elements.

    It takes logits, not probabilities, and neither overflows nor loses digits.

    Args:
        logits: x, any shape, in nats.
        target: t in [0, 1], of the same shape or a scalar.

    Returns:
        A scalar for each row.

    Raises:
        RangeError: If a number or array given as target leaves [0, 1].
        ShapeError: If the shapes differ.

    >>> import lazynet as ln
    >>> round(ln.binary_cross_entropy(ln.constant([0.0, 0.0]), [0, 1]).value(), 4)
    1.3863
    """
    _within("binary_cross_entropy", "target", target, 0, 1)
    return record(_BINARY_CROSS_ENTROPY, (logits, target))


def squared_error(x: Any, y: Any) -> Expression:
    """Sum of squared differences.

    Args:
        x: Any shape.
        y: The same shape, or a scalar.

    Returns:
        A scalar for each row.

    Raises:
        ShapeError: If the shapes differ.

    >>> import lazynet as ln
    >>> ln.squared_error(ln.constant([1.0, 2.0]), [0.0, 4.0]).value()
    5.0
    """
    return record(_SQUARED_ERROR, (x, y))


def l1(x: Any, y: Any) -> Expression:
    """Sum of absolute differences.

    Args:
        x: Any shape.
        y: The same shape, or a scalar.

    Returns:
        A scalar for each row. The gradient where x = y is 0.

    Raises:
        ShapeError: If the shapes differ.

    >>> import lazynet as ln
    >>> ln.l1(ln.constant([1.0, 2.0]), [0.0, 4.0]).value()
    3.0
    """
    return record(_L1, (x, y))


def huber(x: Any, y: Any, delta: float = 1.0) -> Expression:
    """Sum over d = x - y of d^2 / 2 up to |d| = delta and delta (|d| - delta / 2) beyond.

    Args:
        x: Any shape.
        y: The same shape, or a scalar.
        delta: Where the parabola goes over into a line; greater than 0.

    Returns:
        A scalar for each row.

    Raises:
        ShapeError: If the shapes differ.
        SettingError: If delta is not greater than 0 and finite.

    Source: P. J. Huber, "Robust estimation of a location parameter", 1964.

    >>> import lazynet as ln
    >>> ln.huber(ln.constant([1.0, 3.0]), 0.0).value()
    3.0
    """
    return record(_HUBER, (x, y), _setting("huber", "delta", delta, positive=True))


def poisson_nll(log_rate: Any, count: Any) -> Expression:
    """Negative log likelihood of counts under Poisson distributions, in nats, summed.

    Args:
        log_rate: Logarithms of the rates, any shape.
        count: Counts, 0 or more, of the same shape or a scalar.

    Returns:
        A scalar for each row: the sum of exp(log_rate) - count log_rate + log(count!).

    Raises:
        RangeError: If a number or array given as count is negative or not finite.
        ShapeError: If the shapes differ.

    >>> import lazynet as ln
    >>> ln.poisson_nll(ln.constant(0.0), 1).value()
    1.0
    """
    _within("poisson_nll", "count", count, 0, _GREATEST)
    return record(_POISSON_NLL, (log_rate, count))


def pairwise_rank(a: Any, b: Any, margin: float = 1.0) -> Expression:
    """Sum of max(0, margin - a + b): a should exceed b by the margin.

    Args:
        a: Scores that should be greater, any shape.
        b: Scores that should be less, of the same shape or a scalar.
        margin: By how much.

    Returns:
        A scalar for each row. The gradient at the kink is 0.

    Raises:
        ShapeError: If the shapes differ.
        SettingError: If margin is not finite.

    >>> import lazynet as ln
    >>> ln.pairwise_rank(ln.constant(2.0), ln.constant(1.5)).value()
    0.5
    """
    return record(_PAIRWISE_RANK, (a, b), _setting("pairwise_rank", "margin", margin))


__all__ = [
    "L1",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Hinge",
    "Huber",
    "Nll",
    "PairwiseRank",
    "PoissonNll",
    "SquaredError",
    "binary_cross_entropy",
    "cross_entropy",
    "hinge",
    "huber",
    "l1",
    "nll",
    "pairwise_rank",
    "poisson_nll",
    "squared_error",
]
