"""Activation functions: the elementwise nonlinearities of networks."""

from __future__ import annotations

from typing import Any

from lazynet.errors import SettingError
from lazynet.graph import Expression, apply, record
from lazynet.ops.elementwise import Elementwise, is_number, ready


class Sigmoid(Elementwise):
    """y = 1 / (1 + e^-x)"""

    formula = "1 / (1 + exp(-x))"
    fast_formula = "tanh(x * 0.5) * 0.5 + 0.5"
    derivatives = ("dy * (y * (1 - y))",)


_SIGMOID = ready(Sigmoid())


def sigmoid(x: Any) -> Expression:
    """Logistic function, from 0 to 1; exact far from 0 as well.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    >>> import lazynet as ln
    >>> round(ln.sigmoid(2.0).item(), 4)
    0.8808
    """
    return apply(_SIGMOID, x)


class LogSigmoid(Elementwise):
    """y = -ln(1 + e^-x)"""

    formula = "minimum(x, 0) - log1p(exp(-abs(x)))"
    derivatives = ("dy * -expm1(y)",)


_LOG_SIGMOID = ready(LogSigmoid())


def log_sigmoid(x: Any) -> Expression:
    """Logarithm of the logistic function, in nats; exact far from 0 as well.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    Source: dy/dx = 1 - sigmoid(x) = 1 - e^y.

    >>> import lazynet as ln
    >>> round(ln.log_sigmoid(2.0).item(), 4)
    -0.1269
    """
    return apply(_LOG_SIGMOID, x)


class Relu(Elementwise):
    """y = max(x, 0)"""

    formula = "maximum(x, 0)"
    derivatives = ("where(y > 0, dy, 0)",)


_RELU = ready(Relu())


def relu(x: Any) -> Expression:
    """Rectifier; its gradient at 0 is 0.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    Source: Nair and Hinton, Rectified linear units improve restricted Boltzmann machines, 2010.

    >>> import lazynet as ln
    >>> round(ln.relu(-2.0).item(), 4)
    0.0
    """
    return apply(_RELU, x)


_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772


class Selu(Elementwise):
    """y = scale * (x if x > 0 else alpha * (e^x - 1))"""

    formula = f"{_SELU_SCALE} * where(x > 0, x, {_SELU_ALPHA} * expm1(x))"
    derivatives = (f"where(y > 0, {_SELU_SCALE} * dy, dy * (y + {_SELU_SCALE * _SELU_ALPHA}))",)


_SELU = ready(Selu())


def selu(x: Any) -> Expression:
    """Self-normalising exponential linear unit.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    Source: Klambauer et al., Self-normalizing neural networks, 2017 (with both constants).

    >>> import lazynet as ln
    >>> round(ln.selu(1.0).item(), 4)
    1.0507
    """
    return apply(_SELU, x)


class Gelu(Elementwise):
    """y = x * Phi(x), with Phi the normal distribution function"""

    formula = "0.5 * x * erfc(x * -sqrt(0.5))"
    derivatives = (
        "dy * (0.5 * erfc(x * -sqrt(0.5)) + x * (exp(-0.5 * (x * x)) * (1 / sqrt(2 * pi))))",
    )


_GELU = ready(Gelu())


def gelu(x: Any) -> Expression:
    """Gaussian error linear unit, by the exact error function.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    Source: Hendrycks and Gimpel, Gaussian error linear units, 2016.

    >>> import lazynet as ln
    >>> round(ln.gelu(1.0).item(), 4)
    0.8413
    """
    return apply(_GELU, x)


class Silu(Elementwise):
    """y = x / (1 + e^-x)"""

    formula = "x / (1 + exp(-x))"
    derivatives = ("s = 1 / (1 + exp(-x)); dy * (s + y * (1 - s))",)


class SiluBeta(Elementwise):
    """y = x / (1 + e^(-beta x)), with beta as payload"""

    payload = "float"
    formula = "x / (1 + exp(-(c * x)))"
    derivatives = ("s = 1 / (1 + exp(-(c * x))); dy * (s + c * y * (1 - s))",)


_SILU = ready(Silu())
_SILU_BETA = ready(SiluBeta())


def silu(x: Any, beta: float = 1.0) -> Expression:
    """Sigmoid-weighted linear unit (swish): x sigmoid(beta x).

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.
        beta: A number. Different ones are one batch, but those with 1 are a batch of their own.

    Returns:
        An expression of the same shape.

    Raises:
        SettingError: If beta is no number.

    Source: Elfwing et al., Sigmoid-weighted linear units, 2017; with beta: Ramachandran et al.,
        Searching for activation functions, 2017.

    >>> import lazynet as ln
    >>> round(ln.silu(1.0).item(), 4)
    0.7311
    """
    if is_number(beta):
        return apply(_SILU, x) if beta == 1 else record(_SILU_BETA, (x,), float(beta))
    raise SettingError(f"silu: got beta={beta!r}; it must be a number")


class Softplus(Elementwise):
    """y = ln(1 + e^x)"""

    formula = "maximum(x, 0) + log1p(exp(-abs(x)))"
    derivatives = ("dy * -expm1(-y)",)


_SOFTPLUS = ready(Softplus())


def softplus(x: Any) -> Expression:
    """Smooth rectifier ln(1 + e^x); exact far from 0 as well.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    Source: dy/dx = sigmoid(x) = 1 - e^-y.

    >>> import lazynet as ln
    >>> round(ln.softplus(1.0).item(), 4)
    1.3133
    """
    return apply(_SOFTPLUS, x)


class Softsign(Elementwise):
    """y = x / (1 + |x|)"""

    formula = "x / (1 + abs(x))"
    derivatives = ("t = 1 - abs(y); dy * (t * t)",)


_SOFTSIGN = ready(Softsign())


def softsign(x: Any) -> Expression:
    """x / (1 + |x|), from -1 to 1.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.

    Returns:
        An expression of the same shape.

    Source: dy/dx = 1 / (1 + |x|)^2 = (1 - |y|)^2.

    >>> import lazynet as ln
    >>> round(ln.softsign(1.0).item(), 4)
    0.5
    """
    return apply(_SOFTSIGN, x)


class LeakyRelu(Elementwise):
    """y = x if x > 0 else alpha * x, with alpha as payload"""

    payload = "float"
    formula = "where(x > 0, x, c * x)"
    derivatives = ("where(y > 0, dy, c * dy)",)


_LEAKY_RELU = ready(LeakyRelu())


def leaky_relu(x: Any, alpha: float = 0.01) -> Expression:
    """Rectifier with a slope below 0; its gradient at 0 is alpha.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.
        alpha: Slope for negative x, not negative. Different slopes are one batch.

    Returns:
        An expression of the same shape.

    Raises:
        SettingError: If alpha is negative.

    Source: Maas et al., Rectifier nonlinearities improve neural network acoustic models, 2013.

    >>> import lazynet as ln
    >>> ln.leaky_relu([-2.0, 2.0], alpha=0.5).value().tolist()
    [-1.0, 2.0]
    """
    return record(_LEAKY_RELU, (x,), _slope("leaky_relu", alpha))


class Elu(Elementwise):
    """y = x if x > 0 else alpha * (e^x - 1), with alpha as payload"""

    payload = "float"
    formula = "where(x > 0, x, c * expm1(x))"
    derivatives = ("where(x > 0, dy, dy * (y + c))",)


_ELU = ready(Elu())


def elu(x: Any, alpha: float = 1.0) -> Expression:
    """Exponential linear unit; its gradient at 0 is alpha.

    Args:
        x: Expression (or numbers) of any shape, float32 or float64.
        alpha: Minus the limit for x to minus infinity, not negative. Different ones are one batch.

    Returns:
        An expression of the same shape.

    Raises:
        SettingError: If alpha is negative.

    Source: Clevert et al., Fast and accurate deep network learning by exponential linear units,
        2015.

    >>> import lazynet as ln
    >>> round(ln.elu(-1.0).item(), 4)
    -0.6321
    """
    return record(_ELU, (x,), _slope("elu", alpha))


def _slope(name: str, alpha: float) -> float:
    # The gradient tells the branches apart by the sign of the result
    if not is_number(alpha) or not alpha >= 0:
        raise SettingError(
            f"{name}: got alpha={alpha!r}; it must be a number that is not negative; "
            "for other slopes use ln.where"
        )
    return float(alpha)
