"""Elementwise functions of one argument: exponentials, trigonometry, rounding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from lazynet.errors import SettingError
from lazynet.graph import Expression, apply
from lazynet.kinds import HOOKS
from lazynet.ops.elementwise import Elementwise, ready


class Exp(Elementwise):
    """y = e^x"""

    formula = "exp(x)"
    derivatives = ("dy * y",)


_EXP = ready(Exp())


def exp(x: Any) -> Expression:
    """Exponential.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.exp(1.0).item():.4f}")
    2.7183
    """
    return apply(_EXP, x)


class Log(Elementwise):
    """y = ln x"""

    formula = "log(x)"
    derivatives = ("dy / x",)


_LOG = ready(Log())


def log(x: Any) -> Expression:
    """Natural logarithm.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64. Positive.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.log(2.0).item():.4f}")
    0.6931
    """
    return apply(_LOG, x)


class Log1p(Elementwise):
    """y = ln(1 + x)"""

    formula = "log1p(x)"
    derivatives = ("dy / (1 + x)",)


_LOG1P = ready(Log1p())


def log1p(x: Any) -> Expression:
    """Natural logarithm of 1 + x, exact for small x.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64. Greater than -1.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.log1p(0.001).item():.4f}")
    0.0010
    """
    return apply(_LOG1P, x)


class Expm1(Elementwise):
    """y = e^x - 1"""

    formula = "expm1(x)"
    derivatives = ("dy * (y + 1)",)


_EXPM1 = ready(Expm1())


def expm1(x: Any) -> Expression:
    """Exponential minus 1, exact for small x.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.expm1(1.0).item():.4f}")
    1.7183
    """
    return apply(_EXPM1, x)


class Sqrt(Elementwise):
    """y = sqrt(x)"""

    formula = "sqrt(x)"
    derivatives = ("dy * 0.5 / y",)


_SQRT = ready(Sqrt())


def sqrt(x: Any) -> Expression:
    """Square root; its gradient at 0 is infinite.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64. Not negative.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.sqrt(2.0).item():.4f}")
    1.4142
    """
    return apply(_SQRT, x)


class Square(Elementwise):
    """y = x^2"""

    formula = "x * x"
    derivatives = ("dy * (2 * x)",)


_SQUARE = ready(Square())


def square(x: Any) -> Expression:
    """Square.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.square(3.0).item():.4f}")
    9.0000
    """
    return apply(_SQUARE, x)


class Cube(Elementwise):
    """y = x^3"""

    formula = "x * x * x"
    derivatives = ("dy * (3 * (x * x))",)


_CUBE = ready(Cube())


def cube(x: Any) -> Expression:
    """Third power; many times as fast as ``x ** 3``.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.cube(-2.0).item():.4f}")
    -8.0000
    """
    return apply(_CUBE, x)


class Abs(Elementwise):
    """y = |x|"""

    formula = "abs(x)"
    derivatives = ("dy * sign(x)",)


_ABS = ready(Abs())


def abs(x: Any) -> Expression:
    """Absolute value; its gradient at 0 is 0.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.abs(-3.0).item():.4f}")
    3.0000
    """
    return apply(_ABS, x)


class Sign(Elementwise):
    """y = -1, 0 or 1, as x is negative, zero or positive"""

    formula = "sign(x)"
    derivatives = ("0",)


_SIGN = ready(Sign())


def sign(x: Any) -> Expression:
    """Sign: -1, 0 or 1. Its gradient is 0.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.sign(-3.0).item():.4f}")
    -1.0000
    """
    return apply(_SIGN, x)


class Sin(Elementwise):
    """y = sin x"""

    formula = "sin(x)"
    derivatives = ("dy * cos(x)",)


_SIN = ready(Sin())


def sin(x: Any) -> Expression:
    """Sine.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64. In radians.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.sin(1.0).item():.4f}")
    0.8415
    """
    return apply(_SIN, x)


class Cos(Elementwise):
    """y = cos x"""

    formula = "cos(x)"
    derivatives = ("-dy * sin(x)",)


_COS = ready(Cos())


def cos(x: Any) -> Expression:
    """Cosine.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64. In radians.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.cos(1.0).item():.4f}")
    0.5403
    """
    return apply(_COS, x)


class Tan(Elementwise):
    """y = tan x"""

    formula = "tan(x)"
    derivatives = ("dy * (1 + y * y)",)


_TAN = ready(Tan())


def tan(x: Any) -> Expression:
    """Tangent.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64. In radians.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.tan(1.0).item():.4f}")
    1.5574
    """
    return apply(_TAN, x)


class Asin(Elementwise):
    """y = arcsin x"""

    formula = "asin(x)"
    derivatives = ("dy / sqrt((1 - x) * (1 + x))",)


_ASIN = ready(Asin())


def asin(x: Any) -> Expression:
    """Arc sine, in radians.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64. From -1 to 1.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.asin(0.5).item():.4f}")
    0.5236
    """
    return apply(_ASIN, x)


class Acos(Elementwise):
    """y = arccos x"""

    formula = "acos(x)"
    derivatives = ("-dy / sqrt((1 - x) * (1 + x))",)


_ACOS = ready(Acos())


def acos(x: Any) -> Expression:
    """Arc cosine, in radians.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64. From -1 to 1.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.acos(0.5).item():.4f}")
    1.0472
    """
    return apply(_ACOS, x)


class Atan(Elementwise):
    """y = arctan x"""

    formula = "atan(x)"
    derivatives = ("dy / (1 + x * x)",)


_ATAN = ready(Atan())


def atan(x: Any) -> Expression:
    """Arc tangent, in radians.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.atan(1.0).item():.4f}")
    0.7854
    """
    return apply(_ATAN, x)


class Sinh(Elementwise):
    """y = sinh x"""

    formula = "sinh(x)"
    derivatives = ("dy * cosh(x)",)


_SINH = ready(Sinh())


def sinh(x: Any) -> Expression:
    """Hyperbolic sine.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.sinh(1.0).item():.4f}")
    1.1752
    """
    return apply(_SINH, x)


class Cosh(Elementwise):
    """y = cosh x"""

    formula = "cosh(x)"
    derivatives = ("dy * sinh(x)",)


_COSH = ready(Cosh())


def cosh(x: Any) -> Expression:
    """Hyperbolic cosine.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.cosh(1.0).item():.4f}")
    1.5431
    """
    return apply(_COSH, x)


class Asinh(Elementwise):
    """y = arsinh x"""

    formula = "asinh(x)"
    derivatives = ("dy / sqrt(1 + x * x)",)


_ASINH = ready(Asinh())


def asinh(x: Any) -> Expression:
    """Inverse hyperbolic sine.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.asinh(1.0).item():.4f}")
    0.8814
    """
    return apply(_ASINH, x)


class Acosh(Elementwise):
    """y = arcosh x"""

    formula = "acosh(x)"
    derivatives = ("dy / sqrt((x - 1) * (x + 1))",)


_ACOSH = ready(Acosh())


def acosh(x: Any) -> Expression:
    """Inverse hyperbolic cosine.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64. At least 1.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.acosh(2.0).item():.4f}")
    1.3170
    """
    return apply(_ACOSH, x)


class Atanh(Elementwise):
    """y = artanh x"""

    formula = "atanh(x)"
    derivatives = ("dy / ((1 - x) * (1 + x))",)


_ATANH = ready(Atanh())


def atanh(x: Any) -> Expression:
    """Inverse hyperbolic tangent.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64. Between -1 and 1.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.atanh(0.5).item():.4f}")
    0.5493
    """
    return apply(_ATANH, x)


class Tanh(Elementwise):
    """y = tanh x"""

    formula = "tanh(x)"
    derivatives = ("dy * (1 - y * y)",)


_TANH = ready(Tanh())


def tanh(x: Any) -> Expression:
    """Hyperbolic tangent.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> print(f"{ln.tanh(1.0).item():.4f}")
    0.7616
    """
    return apply(_TANH, x)


class Erf(Elementwise):
    """y = 2 / sqrt(pi) * integral of e^(-t^2) from 0 to x"""

    formula = "erf(x)"
    derivatives = ("dy * (exp(-(x * x)) * (2 / sqrt(pi)))",)


_ERF = ready(Erf())


def erf(x: Any) -> Expression:
    """Error function.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.1.

    >>> import lazynet as ln
    >>> print(f"{ln.erf(1.0).item():.4f}")
    0.8427
    """
    return apply(_ERF, x)


class Lgamma(Elementwise):
    """y = ln |Gamma(x)|"""

    formula = "lgamma(x)"
    derivatives = ("dy * digamma(x)",)


_LGAMMA = ready(Lgamma())


def lgamma(x: Any) -> Expression:
    """Logarithm of the absolute gamma function.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 6.3.1 (derivative).

    >>> import lazynet as ln
    >>> print(f"{ln.lgamma(5.0).item():.4f}")
    3.1781
    """
    return apply(_LGAMMA, x)


@dataclass(frozen=True)
class Rounding(Elementwise):
    """Base of ops that make whole numbers."""

    gradient: str

    def gradient_formulas(self) -> tuple[str | None, ...]:
        return ("0",) if self.gradient == "zero" else ("dy",)


class Floor(Rounding):
    """y = largest whole number <= x"""

    formula = "floor(x)"


class Ceil(Rounding):
    """y = smallest whole number >= x"""

    formula = "ceil(x)"


class Round(Rounding):
    """y = nearest whole number, the even one of two"""

    formula = "rint(x)"


class RoundAway(Rounding):
    """y = nearest whole number, of two the one that is further from 0

    Source: abs(x) + 0.5 would be 1 for the largest float below 0.5, so the rest is compared.
    """

    formula = "r = floor(abs(x)); sign(x) * where(abs(x) - r >= 0.5, r + 1, r)"


@cache
def _rounding(kind: type[Rounding], gradient: str) -> Rounding:
    if gradient not in ("zero", "straight_through"):
        name = kind.__name__.removesuffix("Away").lower()
        raise SettingError(
            f"{name}: got gradient={gradient!r}; it must be 'zero' or "
            "'straight_through'; the latter passes the gradient on as if nothing had been rounded"
        )
    return ready(kind(gradient))


def floor(x: Any, gradient: str = "zero") -> Expression:
    """Largest whole number that is not above x.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.
        gradient: "zero", the true one, or "straight_through", which passes the gradient on as if
            nothing had been rounded.

    Returns:
        An expression of the same shape and dtype; for indices convert it with
        ``.astype("int64")``.

    Raises:
        SettingError: If `gradient` is neither.

    Source: Bengio et al., Estimating or propagating gradients through stochastic neurons, 2013
        (straight-through).

    >>> import lazynet as ln
    >>> ln.floor([-1.5, 2.5]).value().tolist()
    [-2.0, 2.0]
    """
    return apply(_rounding(Floor, gradient), x)


def ceil(x: Any, gradient: str = "zero") -> Expression:
    """Smallest whole number that is not below x.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.
        gradient: "zero", the true one, or "straight_through", which passes the gradient on as if
            nothing had been rounded.

    Returns:
        An expression of the same shape and dtype; for indices convert it with
        ``.astype("int64")``.

    Raises:
        SettingError: If `gradient` is neither.

    Source: Bengio et al., Estimating or propagating gradients through stochastic neurons, 2013
        (straight-through).

    >>> import lazynet as ln
    >>> ln.ceil([-1.5, 2.5]).value().tolist()
    [-1.0, 3.0]
    """
    return apply(_rounding(Ceil, gradient), x)


_TIES = {"even": Round, "away": RoundAway}


def round(x: Any, gradient: str = "zero", ties: str = "even") -> Expression:
    """Nearest whole number; of two equally near ones the even one.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.
        gradient: "zero", the true one, or "straight_through", which passes the gradient on as if
            nothing had been rounded.
        ties: "even", or "away" for the one of two equally near numbers that is further from 0.

    Returns:
        An expression of the same shape and dtype; for indices convert it with
        ``.astype("int64")``.

    Raises:
        SettingError: If `gradient` or `ties` is neither.

    Source: Bengio et al., Estimating or propagating gradients through stochastic neurons, 2013
        (straight-through).

    >>> import lazynet as ln
    >>> ln.round([-1.5, 2.5]).value().tolist()
    [-2.0, 2.0]
    """
    kind = _TIES.get(ties)
    if kind is None:
        raise SettingError(f"round: got ties={ties!r}; it must be 'even' or 'away'")
    return apply(_rounding(kind, gradient), x)


HOOKS.absolute = _ABS
