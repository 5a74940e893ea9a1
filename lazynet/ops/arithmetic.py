"""Elementwise arithmetic: the operators, comparisons, selection, and changes of the gradient.

A number beside an expression is payload: ``x / 7`` and ``x / 9`` are one batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lazynet.convert import as_dtype
from lazynet.errors import ArgumentError, SettingError
from lazynet.graph import Expression, Leaf, apply, record
from lazynet.inputs import as_expression
from lazynet.kinds import FLOATS, HOOKS, Array, Call, Op, Shape, working
from lazynet.ops.elementwise import Broadcasting, Elementwise, factor, is_number, ready

# Operators between expressions


class Add(Broadcasting):
    """y = a + b"""

    formula = "a + b"
    derivatives = ("dy", "dy")


class Subtract(Broadcasting):
    """y = a - b"""

    formula = "a - b"
    derivatives = ("dy", "-dy")


class Multiply(Broadcasting):
    """y = a * b"""

    formula = "a * b"
    derivatives = ("dy * b", "dy * a")


class Divide(Broadcasting):
    """y = a / b"""

    formula = "a / b"
    derivatives = ("dy / b", "-dy * y / b")


class Power(Broadcasting):
    """y = a^b

    Source: the gradients at a = 0 and b = 0 are the limits for b > 0; there the formulas
    b a^(b-1) and a^b ln a would give 0 x inf.
    """

    formula = "a ** b"
    derivatives = (
        "dy * where(b == 0, 0, b * a ** (b - 1))",
        "dy * where(a == 0, 0, y * log(a))",
    )


# Operators between an expression and a number


class AddNumber(Elementwise):
    """y = x + c"""

    payload = "float"
    formula = "x + c"
    derivatives = ("dy",)


class SubtractNumber(Elementwise):
    """y = x - c"""

    payload = "float"
    formula = "x - c"
    derivatives = ("dy",)


class SubtractFromNumber(Elementwise):
    """y = c - x"""

    payload = "float"
    formula = "c - x"
    derivatives = ("-dy",)


class MultiplyNumber(Elementwise):
    """y = c * x"""

    payload = "float"
    formula = "x * c"
    derivatives = ("dy * c",)


class DivideNumber(Elementwise):
    """y = x / c"""

    payload = "float"
    formula = "x / c"
    derivatives = ("dy / c",)


class DivideIntoNumber(Elementwise):
    """y = c / x"""

    payload = "float"
    formula = "c / x"
    derivatives = ("-dy * y / x",)


class PowerNumber(Elementwise):
    """y = x^c"""

    payload = "float"
    formula = "x ** c"
    derivatives = ("dy * where(c == 0, 0, c * x ** (c - 1))",)

    def forward(self, call: Call, *args: Array) -> Array:
        if _is_two(call):
            return np.square(args[0], out=call.out)
        return super().forward(call, *args)

    def backward(self, call: Call, dy: Array, y: Array, *args: Array) -> Any:
        if _is_two(call) and type(dy) is np.ndarray:
            dx = args[0] * 2
            return np.multiply(dx, dy, out=dx)
        return super().backward(call, dy, y, *args)


def _is_two(call: Call) -> bool:
    """Whether all exponents are 2: squares need no `power`, which is 30 times as slow."""
    c = factor(call, 0)
    return np.ndim(c) == 0 and bool(c == 2)


class PowerOfNumber(Elementwise):
    """y = c^x"""

    payload = "float"
    formula = "c ** x"
    derivatives = ("dy * where(c == 0, 0, y * log(c))",)


class Negative(Elementwise):
    """y = -x"""

    formula = "-x"
    derivatives = ("-dy",)


def pow(x: Any, y: Any) -> Expression:
    """x to the power y, elementwise: ``x ** y``.

    At x = 0 the gradient of y is 0; at y = 0 that of x is 0. Where x is negative, y must be whole,
    and its gradient is NaN.

    Args:
        x: Expression, array or number; float32 or float64.
        y: Likewise, of a shape that broadcasts with that of x. A number is payload.

    Returns:
        An expression of the broadcast shape.

    Raises:
        ShapeError: If the shapes do not broadcast.

    >>> import lazynet as ln
    >>> ln.pow(ln.constant([1.0, 2.0, 3.0]), 3).value().tolist()
    [1.0, 8.0, 27.0]
    """
    if not isinstance(y, Expression):
        x = as_expression(x, "pow")
    return x**y  # type: ignore[no-any-return]


# Extrema


class Minimum(Broadcasting):
    """y = min(a, b)"""

    formula = "minimum(a, b)"
    derivatives = ("where(a <= b, dy, 0)", "where(a <= b, 0, dy)")


class Maximum(Broadcasting):
    """y = max(a, b)"""

    formula = "maximum(a, b)"
    derivatives = ("where(a >= b, dy, 0)", "where(a >= b, 0, dy)")


class MinimumNumber(Elementwise):
    """y = min(x, c)"""

    payload = "float"
    formula = "minimum(x, c)"
    derivatives = ("where(x <= c, dy, 0)",)


class MaximumNumber(Elementwise):
    """y = max(x, c)"""

    payload = "float"
    formula = "maximum(x, c)"
    derivatives = ("where(x >= c, dy, 0)",)


def _extremum(op: Op, number_op: Op, a: Any, b: Any) -> Expression:
    if is_number(b):
        return record(number_op, (a,), float(b))
    if is_number(a):
        return record(number_op, (b,), float(a))
    return record(op, (a, b))


def minimum(a: Any, b: Any) -> Expression:
    """The smaller of two, elementwise.

    At ties the whole gradient goes to a; where one of the two is a number, to the other one.

    Args:
        a: Expression, array or number; float32 or float64.
        b: Likewise, of a shape that broadcasts with that of a. A number is payload.

    Returns:
        An expression of the broadcast shape.

    Raises:
        ShapeError: If the shapes do not broadcast.

    >>> import lazynet as ln
    >>> ln.minimum(ln.constant([1.0, 5.0]), 3.0).value().tolist()
    [1.0, 3.0]
    """
    return _extremum(_MINIMUM, _MINIMUM_NUMBER, a, b)


def maximum(a: Any, b: Any) -> Expression:
    """The larger of two, elementwise.

    At ties the whole gradient goes to a; where one of the two is a number, to the other one.

    Args:
        a: Expression, array or number; float32 or float64.
        b: Likewise, of a shape that broadcasts with that of a. A number is payload.

    Returns:
        An expression of the broadcast shape.

    Raises:
        ShapeError: If the shapes do not broadcast.

    >>> import lazynet as ln
    >>> ln.maximum(ln.constant([1.0, 5.0]), ln.constant([2.0, 4.0])).value().tolist()
    [2.0, 5.0]
    """
    return _extremum(_MAXIMUM, _MAXIMUM_NUMBER, a, b)


def clip(x: Any, low: Any = None, high: Any = None) -> Expression:
    """x limited to the range from low to high; outside it no gradient flows to x, on its edge all.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.
        low: Number, array or expression; None for no lower limit.
        high: Number, array or expression; None for no upper limit.

    Returns:
        An expression of the (broadcast) shape.

    Raises:
        SettingError: If low and high are numbers and low is above high.
        ShapeError: If the shapes do not broadcast.

    >>> import lazynet as ln
    >>> ln.clip([-2.0, 0.5, 2.0], -1, 1).value().tolist()
    [-1.0, 0.5, 1.0]
    """
    if is_number(low) and is_number(high) and not low <= high:
        raise SettingError(
            f"clip: got low={low}, high={high}; low must not be above high; swap them"
        )
    y = as_expression(x, "clip")
    if low is not None:
        y = maximum(y, low)
    if high is not None:
        y = minimum(y, high)
    return y


# Selection and comparison


class Where(Broadcasting):
    """y = a where the condition is not zero, else b"""

    arguments = ("condition", "a", "b")
    formula = "where(condition != 0, a, b)"
    derivatives = (None, "where(condition != 0, dy, 0)", "where(condition != 0, 0, dy)")


class Greater(Broadcasting):
    """y = 1 if a > b else 0"""

    formula = "a > b"
    differentiable = False


class Less(Broadcasting):
    """y = 1 if a < b else 0"""

    formula = "a < b"
    differentiable = False


class Equal(Broadcasting):
    """y = 1 if a = b else 0"""

    formula = "a == b"
    differentiable = False


def where(condition: Any, a: Any, b: Any) -> Expression:
    """a where the condition is not zero, else b, elementwise.

    What is not selected may be infinite or NaN: it harms neither value nor gradient. (What led to
    it may: the gradient of ``ln.log(x)`` at 0, selected or not, is 0 / 0. Clip x, not the result.)
    No gradient flows to the condition.

    Args:
        condition: Expression or array, float32 or float64 (arrays of truth values too).
        a: Expression, array or number. All shapes must broadcast with each other.
        b: Likewise.

    Returns:
        An expression of the broadcast shape.

    Raises:
        ShapeError: If the shapes do not broadcast.

    >>> import lazynet as ln
    >>> x = ln.constant([-1.0, 2.0])
    >>> ln.where(ln.greater(x, 0), x, 10 * x).value().tolist()
    [-10.0, 2.0]
    """
    if isinstance(condition, Expression) and condition.kind.op.differentiable:
        # Zeros sent on to what computed it could meet an infinity there
        condition = stop_gradient(condition)
    return record(_WHERE, (condition, a, b))


def greater(a: Any, b: Any) -> Expression:
    """1 where a is greater than b, else 0, in the dtype of the arguments. Not differentiable.

    Args:
        a: Expression, array or number; float32 or float64.
        b: Likewise, of a shape that broadcasts with that of a.

    Returns:
        An expression of the broadcast shape.

    Raises:
        ShapeError: If the shapes do not broadcast.

    >>> import lazynet as ln
    >>> ln.greater(ln.constant([1.0, 2.0, 3.0]), 2).value().tolist()
    [0.0, 0.0, 1.0]
    """
    return record(_GREATER, (a, b))


def less(a: Any, b: Any) -> Expression:
    """1 where a is less than b, else 0, in the dtype of the arguments. Not differentiable.

    Args:
        a: Expression, array or number; float32 or float64.
        b: Likewise, of a shape that broadcasts with that of a.

    Returns:
        An expression of the broadcast shape.

    Raises:
        ShapeError: If the shapes do not broadcast.

    >>> import lazynet as ln
    >>> ln.less(ln.constant([1.0, 2.0, 3.0]), 2).value().tolist()
    [1.0, 0.0, 0.0]
    """
    return record(_LESS, (a, b))


def equal(a: Any, b: Any) -> Expression:
    """1 where a equals b, else 0, in the dtype of the arguments. Not differentiable.

    Args:
        a: Expression, array or number; float32 or float64.
        b: Likewise, of a shape that broadcasts with that of a.

    Returns:
        An expression of the broadcast shape.

    Raises:
        ShapeError: If the shapes do not broadcast.

    >>> import lazynet as ln
    >>> ln.equal(ln.constant([1.0, 2.0, 3.0]), 2).value().tolist()
    [0.0, 1.0, 0.0]
    """
    return record(_EQUAL, (a, b))


# The same value, another gradient


class StopGradient(Elementwise):
    """y = x, and no gradient flows"""

    formula = "x"
    differentiable = False

    def dtype(self, *dtypes: np.dtype[Any]) -> np.dtype[Any]:
        return dtypes[0]


class FlipGradient(Elementwise):
    """y = x, and dx = -dy"""

    formula = "x"
    derivatives = ("-dy",)


class ScaleGradient(Elementwise):
    """y = x, and dx = c dy"""

    payload = "float"
    formula = "x"
    derivatives = ("dy * c",)


def stop_gradient(x: Any) -> Expression:
    """The same value, through which no gradient flows.

    Of an expression that was computed before, its rows are copied and its history is let go, as
    ``x.detach()`` does; anything else is recorded and not computed.

    Args:
        x: Expression (or numbers) of any shape and dtype.

    Returns:
        An expression of the same shape and dtype.

    >>> import lazynet as ln
    >>> x = ln.constant(3.0)
    >>> (x * ln.stop_gradient(x)).backward()
    >>> float(x.gradient())
    3.0
    """
    if isinstance(x, Expression) and not isinstance(x, Leaf) and HOOKS.evaluated(x):
        return HOOKS.detach(x)
    return apply(STOP_GRADIENT, x)


def flip_gradient(x: Any) -> Expression:
    """The same value, with the gradient times -1 (for adversarial training).

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    Source: Ganin and Lempitsky, Unsupervised domain adaptation by backpropagation, 2015.

    >>> import lazynet as ln
    >>> x = ln.constant(3.0)
    >>> ln.flip_gradient(x * x).backward()
    >>> float(x.gradient())
    -6.0
    """
    return apply(FLIP_GRADIENT, x)


def scale_gradient(x: Any, factor: float) -> Expression:
    """The same value, with the gradient times a factor.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.
        factor: A number; different factors are one batch.

    Returns:
        An expression of the same shape.

    Raises:
        ArgumentError: If the factor is no number.

    >>> import lazynet as ln
    >>> x = ln.constant(3.0)
    >>> ln.scale_gradient(x * x, 0.5).backward()
    >>> float(x.gradient())
    3.0
    """
    if not is_number(factor):
        raise ArgumentError(
            f"scale_gradient: got a factor of type {type(factor).__name__}; it must be a number"
        )
    return record(SCALE_GRADIENT, (x,), float(factor))


# Dtypes


@dataclass(frozen=True)
class AsType(Op):
    """y = x in another floating-point dtype"""

    source: str
    target: str
    reads_args = False
    reads_y = False

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def dtype(self, *dtypes: np.dtype[Any]) -> np.dtype[Any]:
        return as_dtype(self.target)

    def forward(self, call: Call, *args: Array) -> Array:
        np.copyto(call.out, args[0], casting="unsafe")
        return call.out  # type: ignore[no-any-return]

    def backward(self, call: Call, dy: Array, y: Array, *args: Array) -> Array:
        return dy.astype(working(as_dtype(self.source)))


class AsTypeInteger(AsType):
    """y = x as int64, towards zero; or x, which is int64, in a floating-point dtype"""

    differentiable = False


def astype(x: Any, dtype: Any) -> Expression:
    """The same values in another dtype.

    Between floating-point dtypes the gradient flows. To int64 (for indices) numbers are cut towards
    zero, as NumPy does, and no gradient flows. In float16 and bfloat16 values are stored only: what
    is computed from them is computed in float32, and rounded when it is stored.

    Args:
        x: Expression (or numbers) of any shape and dtype.
        dtype: "float32", "float64", "float16", "bfloat16" or "int64", or the NumPy dtype.

    Returns:
        An expression of the same shape; x itself if it has this dtype already.

    Raises:
        DtypeError: If lazynet does not compute in this dtype.

    >>> import lazynet as ln
    >>> ln.astype(ln.constant([1.5, -1.5]), "int64").value().tolist()
    [1, -1]
    """
    target = as_dtype(dtype)
    x = as_expression(x, "astype")
    if x.dtype == target:
        return x  # type: ignore[no-any-return]
    floats = x.dtype in FLOATS and target in FLOATS
    op = (AsType if floats else AsTypeInteger)(x.dtype.name, target.name)
    return apply(ready(op), x)


_MINIMUM = ready(Minimum())
_MINIMUM_NUMBER = ready(MinimumNumber())
_MAXIMUM = ready(Maximum())
_MAXIMUM_NUMBER = ready(MaximumNumber())
_WHERE = ready(Where())
_GREATER = ready(Greater())
_LESS = ready(Less())
_EQUAL = ready(Equal())
STOP_GRADIENT = ready(StopGradient())
FLIP_GRADIENT = ready(FlipGradient())
SCALE_GRADIENT = ready(ScaleGradient())

_OPERATORS: dict[str, Op] = {
    "add": Add(),
    "subtract": Subtract(),
    "multiply": Multiply(),
    "divide": Divide(),
    "power": Power(),
    "add_number": AddNumber(),
    "subtract_number": SubtractNumber(),
    "subtract_from_number": SubtractFromNumber(),
    "multiply_number": MultiplyNumber(),
    "divide_number": DivideNumber(),
    "divide_into_number": DivideIntoNumber(),
    "power_number": PowerNumber(),
    "power_of_number": PowerOfNumber(),
    "negative": Negative(),
}
for _name, _op in _OPERATORS.items():
    setattr(HOOKS, _name, ready(_op))
HOOKS.astype = astype
