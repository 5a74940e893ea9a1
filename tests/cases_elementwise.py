"""Contract cases of ops/functions.py, ops/activations.py and ops/arithmetic.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from contract import Case

import lazynet as ln
from lazynet.ops import activations, arithmetic, functions

SHAPE = (2, 3)

_erf = np.vectorize(math.erf, otypes=[float])
_erfc = np.vectorize(math.erfc, otypes=[float])
_lgamma = np.vectorize(math.lgamma, otypes=[float])


def _unary(
    op: type, function: Callable[[Any], Any], reference: Any, sample: Any = "normal", **more: Any
) -> Case:
    return Case(op.__name__, function, [SHAPE], reference, sample=sample, ops=(op,), **more)


def _binary(
    op: type, function: Any, reference: Any, sample: Any = "normal", **more: Any
) -> list[Case]:
    """Every way in which two shapes can broadcast."""
    shapes = [
        ((2, 3), (2, 3)), ((2, 3), (3,)), ((3, 1), (4,)), ((), (3,)), ((2, 1, 3), (4, 1)),
        ((1,), (3,)), ((), ()), ((3,), (1, 3)),
    ]  # fmt: skip
    return [
        Case(
            f"{op.__name__} {a} {b}", function, [a, b], reference, sample=sample, ops=(op,),
            shared_args=(0, 1), **more,
        )
        for a, b in shapes
    ]  # fmt: skip


def _above_one(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.uniform(1.2, 3.0, shape)


def _away_from_wholes(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Neither whole nor half."""
    return rng.integers(-3, 3, shape) + rng.choice([0.2, 0.3, 0.7, 0.8], shape)


def _mask(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.choice([-1.0, 0.0, 1.0], shape)


def _selu(x: Any) -> Any:
    alpha, scale = 1.6732632423543772848, 1.0507009873554804934
    return scale * np.where(x > 0, x, alpha * (np.exp(x) - 1))


CASES = [
    _unary(functions.Exp, ln.exp, np.exp),
    _unary(functions.Log, ln.log, np.log, "positive"),
    _unary(functions.Log1p, ln.log1p, lambda x: np.log(1 + x), "positive"),
    _unary(functions.Expm1, ln.expm1, lambda x: np.exp(x) - 1),
    _unary(functions.Sqrt, ln.sqrt, lambda x: x**0.5, "positive"),
    _unary(functions.Square, ln.square, lambda x: x**2),
    _unary(functions.Cube, ln.cube, lambda x: x**3),
    _unary(functions.Abs, abs, lambda x: np.where(x < 0, -x, x), "unit"),
    _unary(functions.Sign, ln.sign, lambda x: 1.0 * (x > 0) - 1.0 * (x < 0), "unit"),
    _unary(functions.Sin, ln.sin, np.sin),
    _unary(functions.Cos, ln.cos, np.cos),
    _unary(functions.Tan, ln.tan, lambda x: np.sin(x) / np.cos(x), "unit"),
    _unary(functions.Asin, ln.asin, np.arcsin, "unit"),
    _unary(functions.Acos, ln.acos, np.arccos, "unit"),
    _unary(functions.Atan, ln.atan, np.arctan),
    _unary(functions.Sinh, ln.sinh, lambda x: (np.exp(x) - np.exp(-x)) / 2),
    _unary(functions.Cosh, ln.cosh, lambda x: (np.exp(x) + np.exp(-x)) / 2),
    _unary(functions.Asinh, ln.asinh, lambda x: np.log(x + np.sqrt(x * x + 1))),
    _unary(functions.Acosh, ln.acosh, lambda x: np.log(x + np.sqrt(x * x - 1)), _above_one),
    _unary(functions.Atanh, ln.atanh, lambda x: np.log((1 + x) / (1 - x)) / 2, "unit"),
    _unary(functions.Tanh, ln.tanh, lambda x: 1 - 2 / (np.exp(2 * x) + 1)),
    _unary(functions.Erf, ln.erf, _erf),
    _unary(functions.Lgamma, ln.lgamma, _lgamma, "positive"),
    _unary(functions.Floor, ln.floor, np.floor, _away_from_wholes),
    _unary(functions.Ceil, ln.ceil, np.ceil, _away_from_wholes),
    _unary(functions.Round, ln.round, np.round, _away_from_wholes),
    _unary(
        functions.RoundAway, lambda x: ln.round(x, ties="away"),
        lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5), _away_from_wholes,
    ),
    Case(
        "Round straight through", lambda x: ln.round(x, gradient="straight_through"), [SHAPE],
        np.round, sample=_away_from_wholes, ops=(functions.Round,), differentiable=False,
    ),
    _unary(activations.Sigmoid, ln.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    _unary(activations.LogSigmoid, ln.log_sigmoid, lambda x: -np.log(1 + np.exp(-x))),
    _unary(activations.Relu, ln.relu, lambda x: np.where(x > 0, x, 0), "unit"),
    _unary(
        activations.LeakyRelu, lambda x: ln.leaky_relu(x, 0.2),
        lambda x: np.where(x > 0, x, 0.2 * x), "unit",
    ),
    _unary(
        activations.Elu, lambda x: ln.elu(x, 0.7),
        lambda x: np.where(x > 0, x, 0.7 * (np.exp(x) - 1)), "unit",
    ),
    _unary(activations.Selu, ln.selu, _selu, "unit"),
    _unary(activations.Gelu, ln.gelu, lambda x: x * (1 + _erf(x / np.sqrt(2))) / 2),
    _unary(activations.Silu, ln.silu, lambda x: x / (1 + np.exp(-x))),
    _unary(
        activations.SiluBeta, lambda x: ln.silu(x, 1.5), lambda x: x / (1 + np.exp(-1.5 * x))
    ),
    _unary(activations.Softplus, ln.softplus, lambda x: np.log(1 + np.exp(x))),
    _unary(activations.Softsign, ln.softsign, lambda x: x / (1 + np.abs(x)), "unit"),
    *_binary(arithmetic.Add, lambda a, b: a + b, lambda a, b: a + b),
    *_binary(arithmetic.Subtract, lambda a, b: a - b, lambda a, b: a - b),
    *_binary(arithmetic.Multiply, lambda a, b: a * b, lambda a, b: a * b),
    *_binary(arithmetic.Divide, lambda a, b: a / b, lambda a, b: a / b, "positive"),
    *_binary(arithmetic.Power, ln.pow, lambda a, b: np.exp(b * np.log(a)), "positive"),
    *_binary(arithmetic.Minimum, ln.minimum, lambda a, b: np.where(a < b, a, b), twice=False),
    *_binary(arithmetic.Maximum, ln.maximum, lambda a, b: np.where(a < b, b, a)),
    *_binary(arithmetic.Greater, ln.greater, lambda a, b: 1.0 * (a > b), twice=False),
    *_binary(arithmetic.Less, ln.less, lambda a, b: 1.0 * (a < b), twice=False),
    *_binary(
        arithmetic.Equal, ln.equal, lambda a, b: 1.0 * (a == b), _mask, differentiable=False
    ),
    _unary(arithmetic.AddNumber, lambda x: x + 7, lambda x: x + 7),
    _unary(arithmetic.SubtractNumber, lambda x: x - 7, lambda x: x - 7),
    _unary(arithmetic.SubtractFromNumber, lambda x: 7 - x, lambda x: 7 - x),
    _unary(arithmetic.MultiplyNumber, lambda x: 7 * x, lambda x: x * 7),
    _unary(arithmetic.DivideNumber, lambda x: x / 7, lambda x: x / 7),
    _unary(arithmetic.DivideIntoNumber, lambda x: 7 / x, lambda x: 7 / x, "positive"),
    _unary(
        arithmetic.PowerNumber, lambda x: x**1.5, lambda x: np.exp(1.5 * np.log(x)), "positive"
    ),
    Case("PowerNumber 2", lambda x: x**2, [SHAPE], lambda x: x * x, ops=(arithmetic.PowerNumber,)),
    Case(
        "PowerNumber 0", lambda x: x**0, [SHAPE], np.ones_like, ops=(arithmetic.PowerNumber,)
    ),
    _unary(arithmetic.PowerOfNumber, lambda x: 7**x, lambda x: np.exp(x * np.log(7))),
    _unary(arithmetic.Negative, lambda x: -x, lambda x: 0 - x),
    _unary(
        arithmetic.MinimumNumber, lambda x: ln.minimum(0, x), lambda x: np.where(x < 0, x, 0),
        "unit",
    ),
    _unary(
        arithmetic.MaximumNumber, lambda x: ln.maximum(x, 0), lambda x: np.where(x < 0, 0, x),
        "unit",
    ),
    Case(
        "clip", lambda x: ln.clip(x, -0.5, 0.5), [SHAPE],
        lambda x: np.where(x < -0.5, -0.5, np.where(x > 0.5, 0.5, x)),
        ops=(arithmetic.MinimumNumber, arithmetic.MaximumNumber),
    ),
    Case(
        "clip by expressions", ln.clip, [SHAPE, (3,), ()],
        lambda x, low, high: np.where(x < low, low, x).clip(None, high),
        sample=["normal", lambda rng, shape: -rng.uniform(0.2, 0.8, shape), "positive"],
        ops=(arithmetic.Minimum, arithmetic.Maximum), shared_args=(1, 2),
    ),
    *[
        Case(
            f"Where {c} {a} {b}", ln.where, [c, a, b], lambda c, a, b: np.where(c != 0, a, b),
            sample=[_mask, "normal", "normal"], ops=(arithmetic.Where,), shared_args=(0, 1, 2),
            differentiable=False, twice=False,
        )
        for c, a, b in [((3,),) * 3, ((2, 1), (3,), ()), ((3,), (2, 3), (2, 1)), ((), (2,), (2,))]
    ],
    Case(
        "Where, differentiated", lambda a, b: ln.where([1.0, 0.0, -1.0], a, b), [(3,), (2, 1)],
        lambda a, b: np.stack([a + 0 * b, b + 0 * a, a + 0 * b], 0)[[0, 1, 2], :, [0, 1, 2]].T,
        ops=(arithmetic.Where,), shared_args=(0, 1),
    ),
    Case(
        "StopGradient", lambda x: x * ln.stop_gradient(x), [SHAPE], lambda x: x * x,
        ops=(arithmetic.StopGradient,), differentiable=False,
    ),
    _unary(arithmetic.FlipGradient, ln.flip_gradient, np.copy, differentiable=False),
    Case(
        "FlipGradient twice", lambda x: ln.flip_gradient(ln.flip_gradient(x)), [SHAPE], np.copy,
        ops=(arithmetic.FlipGradient,),
    ),
    _unary(
        arithmetic.ScaleGradient, lambda x: ln.scale_gradient(x, 0.5), np.copy,
        differentiable=False,
    ),
    Case(
        "ScaleGradient twice", lambda x: ln.scale_gradient(ln.scale_gradient(x, 0.5), 2), [SHAPE],
        np.copy, ops=(arithmetic.ScaleGradient,),
    ),
    _unary(
        arithmetic.AsType, lambda x: x.astype("float32"), lambda x: x.astype(np.float32),
        differentiable=False,
    ),
    _unary(
        arithmetic.AsTypeInteger, lambda x: x.astype("int64"), np.trunc, _away_from_wholes,
        differentiable=False,
    ),
]  # fmt: skip
