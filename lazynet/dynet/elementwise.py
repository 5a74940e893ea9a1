"""Functions of one argument, element by element."""

from __future__ import annotations

from typing import Any

from lazynet.dynet.expression import Expression, apply, as_number, checked, short
from lazynet.kinds import Op
from lazynet.ops.activations import (
    Elu,
    LogSigmoid,
    Relu,
    Selu,
    Sigmoid,
    Silu,
    SiluBeta,
    Softsign,
)
from lazynet.ops.elementwise import ready
from lazynet.ops.functions import (
    Abs,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    Ceil,
    Cos,
    Cosh,
    Cube,
    Erf,
    Exp,
    Floor,
    Lgamma,
    Log,
    RoundAway,
    Sin,
    Sinh,
    Sqrt,
    Square,
    Tan,
    Tanh,
)
from lazynet.ops.softmax import Hardmax

_ABS = ready(Abs())
_ACOS = ready(Acos())
_ACOSH = ready(Acosh())
_ASIN = ready(Asin())
_ASINH = ready(Asinh())
_ATAN = ready(Atan())
_ATANH = ready(Atanh())
_COS = ready(Cos())
_COSH = ready(Cosh())
_CUBE = ready(Cube())
_ELU = ready(Elu())
_ERF = ready(Erf())
_EXP = ready(Exp())
_LGAMMA = ready(Lgamma())
_LOG = ready(Log())
_LOG_SIGMOID = ready(LogSigmoid())
_RELU = ready(Relu())
_SELU = ready(Selu())
_SIGMOID = ready(Sigmoid())
_SILU = ready(Silu())
_SILU_BETA = ready(SiluBeta())
_SIN = ready(Sin())
_SINH = ready(Sinh())
_SOFTSIGN = ready(Softsign())
_SQRT = ready(Sqrt())
_SQUARE = ready(Square())
_TAN = ready(Tan())
_TANH = ready(Tanh())


def exp(x: Expression | Any) -> Expression:
    """e to the power of x."""
    return apply(_EXP, x, "exp")


def log(x: Expression | Any) -> Expression:
    """The natural logarithm."""
    return apply(_LOG, x, "log")


def sqrt(x: Expression | Any) -> Expression:
    """The square root."""
    return apply(_SQRT, x, "sqrt")


def square(x: Expression | Any) -> Expression:
    """The second power."""
    return apply(_SQUARE, x, "square")


def cube(x: Expression | Any) -> Expression:
    """The third power."""
    return apply(_CUBE, x, "cube")


def abs(x: Expression | Any) -> Expression:
    """The absolute value; its gradient at 0 is 0."""
    return apply(_ABS, x, "abs")


def erf(x: Expression | Any) -> Expression:
    """The error function."""
    return apply(_ERF, x, "erf")


def lgamma(x: Expression | Any) -> Expression:
    """The logarithm of the gamma function."""
    return apply(_LGAMMA, x, "lgamma")


def log_sigmoid(x: Expression | Any) -> Expression:
    """The logarithm of the logistic function, exact far from 0 as well."""
    return apply(_LOG_SIGMOID, x, "log_sigmoid")


def logistic(x: Expression | Any) -> Expression:
    """1 / (1 + exp(-x))"""
    return apply(_SIGMOID, x, "logistic")


def rectify(x: Expression | Any) -> Expression:
    """max(x, 0); its gradient at 0 is 0."""
    return apply(_RELU, x, "rectify")


def elu(x: Expression | Any, alpha: float | Any = 1.0) -> Expression:
    """x where it is positive, else alpha (exp(x) - 1); its gradient at 0 is alpha.

    Raises:
        TypeError: If alpha is no number.
        ValueError: If it is NaN.
    """
    return apply(_ELU, x, "elu", _number(alpha, "elu: alpha"))


def selu(x: Expression | Any) -> Expression:
    """The scaled exponential linear unit.

    Source: Klambauer et al., Self-normalizing neural networks, 2017.
    """
    return apply(_SELU, x, "selu")


def silu(x: Expression | Any, beta: float | Any = 1.0) -> Expression:
    """x logistic(beta x)

    Raises:
        TypeError: If beta is no number.
        ValueError: If it is NaN.
    """
    if beta == 1.0:
        return apply(_SILU, x, "silu")
    return apply(_SILU_BETA, x, "silu", _number(beta, "silu: beta"))


def softsign(x: Expression | Any) -> Expression:
    """x / (1 + |x|)"""
    return apply(_SOFTSIGN, x, "softsign")


def tanh(x: Expression | Any) -> Expression:
    """The hyperbolic tangent."""
    return apply(_TANH, x, "tanh")


def sin(x: Expression | Any) -> Expression:
    """The sine."""
    return apply(_SIN, x, "sin")


def cos(x: Expression | Any) -> Expression:
    """The cosine."""
    return apply(_COS, x, "cos")


def tan(x: Expression | Any) -> Expression:
    """The tangent."""
    return apply(_TAN, x, "tan")


def asin(x: Expression | Any) -> Expression:
    """The inverse sine."""
    return apply(_ASIN, x, "asin")


def acos(x: Expression | Any) -> Expression:
    """The inverse cosine."""
    return apply(_ACOS, x, "acos")


def atan(x: Expression | Any) -> Expression:
    """The inverse tangent."""
    return apply(_ATAN, x, "atan")


def sinh(x: Expression | Any) -> Expression:
    """The hyperbolic sine."""
    return apply(_SINH, x, "sinh")


def cosh(x: Expression | Any) -> Expression:
    """The hyperbolic cosine."""
    return apply(_COSH, x, "cosh")


def asinh(x: Expression | Any) -> Expression:
    """The inverse hyperbolic sine."""
    return apply(_ASINH, x, "asinh")


def acosh(x: Expression | Any) -> Expression:
    """The inverse hyperbolic cosine."""
    return apply(_ACOSH, x, "acosh")


def atanh(x: Expression | Any) -> Expression:
    """The inverse hyperbolic tangent."""
    return apply(_ATANH, x, "atanh")


# Whole numbers

_GRADIENTS = {"zero_gradient": "zero", "straight_through_gradient": "straight_through"}
_ROUND = {mode: ready(RoundAway(g)) for mode, g in _GRADIENTS.items()}
_CEIL = {mode: ready(Ceil(g)) for mode, g in _GRADIENTS.items()}
_FLOOR = {mode: ready(Floor(g)) for mode, g in _GRADIENTS.items()}
_ARGMAX = {mode: ready(Hardmax(0, g)) for mode, g in _GRADIENTS.items()}


def round(x: Expression | Any, gradient_mode: str | Any) -> Expression:
    """The nearest whole number; of two equally near ones the one that is further from 0.

    Args:
        x: Any dimensions.
        gradient_mode: "zero_gradient", or "straight_through_gradient", which passes the gradient on
            as if nothing had been rounded.

    Raises:
        ValueError: If the mode is neither.
    """
    return apply(_mode(_ROUND, gradient_mode, "round"), x, "round")


def ceil(x: Expression | Any, gradient_mode: str | Any) -> Expression:
    """The smallest whole number that is not below x; for the mode see `round`."""
    return apply(_mode(_CEIL, gradient_mode, "ceil"), x, "ceil")


def floor(x: Expression | Any, gradient_mode: str | Any) -> Expression:
    """The largest whole number that is not above x; for the mode see `round`."""
    return apply(_mode(_FLOOR, gradient_mode, "floor"), x, "floor")


def argmax(x: Expression | Any, gradient_mode: str | Any) -> Expression:
    """A vector with 1 at the greatest element, the first of several, and 0 elsewhere.

    Args:
        x: A vector.
        gradient_mode: "zero_gradient", or "straight_through_gradient", which passes the gradient on
            as if this were the identity.

    Raises:
        ValueError: If x is no vector, or the mode is neither.
    """
    op = _mode(_ARGMAX, gradient_mode, "argmax")
    if len(checked(x, "argmax").node.shape) != 1:
        raise ValueError(f"argmax: got dimensions {x.dim()}; it takes a vector")
    return apply(op, x, "argmax")


def _mode(ops: dict[str, Any], mode: str | Any, name: str) -> Op:
    if not isinstance(mode, str):
        raise TypeError(f"{name}: got gradient_mode={short(mode)}; it must be a string")
    op: Op | None = ops.get(mode)
    if op is None:
        raise ValueError(
            f"{name}: got the unknown gradient_mode {mode!r}; it must be 'zero_gradient' or "
            "'straight_through_gradient'"
        )
    return op


def _number(value: Any, role: str) -> float:
    number = as_number(value)
    if number is None:
        raise TypeError(f"{role} is {short(value)}; it must be a number")
    if number != number:
        raise ValueError(f"{role} is NaN; it must be a number")
    return number
