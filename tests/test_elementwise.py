"""Elementwise ops: what the contract table does not show."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import lazynet as ln
from lazynet.ops.elementwise import Elementwise
from lazynet.ops.formula import numpy_function, parse, select

LARGE = [-1e4, -800.0, -30.0, 0.0, 30.0, 800.0, 1e4]


def derivative(function: Any, x: Any, dtype: str = "float64") -> Any:
    point = ln.constant(x, dtype=dtype)
    loss = ln.sum(function(point))
    loss.backward()
    return point.gradient().tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("function", "limit_value", "limit_slope"),
    [
        (ln.sigmoid, [0, 1], [0, 0]),
        (ln.log_sigmoid, [-1e4, 0], [1, 0]),
        (ln.softplus, [0, 1e4], [0, 1]),
        (ln.elu, [-1, 1e4], [0, 1]),
        (ln.selu, [-1.7580993408473766, 1e4 * 1.0507009873554805], [0, 1.0507009873554805]),
        (ln.gelu, [0, 1e4], [0, 1]),
        (ln.silu, [0, 1e4], [0, 1]),
        (ln.tanh, [-1, 1], [0, 0]),
        (ln.erf, [-1, 1], [0, 0]),
    ],
)
def test_stable_far_from_zero(
    function: Any, limit_value: Any, limit_slope: Any, dtype: str
) -> None:
    values = function(ln.constant(LARGE, dtype=dtype)).value()
    slopes = derivative(function, LARGE, dtype)
    assert np.isfinite(values).all()
    assert np.isfinite(slopes).all()
    np.testing.assert_allclose(values[[0, -1]], limit_value, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose([slopes[0], slopes[-1]], limit_slope, rtol=1e-6, atol=1e-30)


def test_small_numbers_keep_their_digits() -> None:
    assert ln.sigmoid(ln.constant(-40.0, dtype="float64")).item() == pytest.approx(
        4.248354255291589e-18, rel=1e-12
    )
    assert ln.log_sigmoid(ln.constant(40.0, dtype="float64")).item() == pytest.approx(
        -4.248354255291589e-18, rel=1e-12
    )
    assert derivative(ln.log_sigmoid, 40.0) == pytest.approx(4.248354255291589e-18, rel=1e-12)
    assert derivative(ln.softplus, -40.0) == pytest.approx(4.248354255291589e-18, rel=1e-12)


def test_ties() -> None:
    x = ln.constant([1.0, 1.0])
    y = ln.constant([1.0, 2.0])
    losses = [ln.sum(ln.maximum(x, y)), 10 * ln.sum(ln.minimum(x, y))]
    ln.backward(losses)
    np.testing.assert_array_equal(x.gradient(), [11, 10])
    np.testing.assert_array_equal(y.gradient(), [0, 1])
    assert derivative(ln.relu, [0.0]) == [0]
    assert derivative(lambda x: ln.leaky_relu(x, 0.1), [0.0]) == [0.1]
    assert derivative(lambda x: ln.elu(x, 0.5), [0.0]) == [0.5]
    assert derivative(abs, [0.0]) == [0]
    assert derivative(lambda x: ln.clip(x, 0, 1), [-1.0, 0.0, 0.5, 1.0, 2.0]) == [0, 1, 1, 1, 0]


def test_numbers_are_payload() -> None:
    x = ln.constant([1.0, 4.0])
    for function in [
        lambda c: x + c,
        lambda c: x - c,
        lambda c: c - x,
        lambda c: x * c,
        lambda c: x / c,
        lambda c: c / x,
        lambda c: x**c,
        lambda c: c**x,
        lambda c: ln.maximum(x, c),
        lambda c: ln.minimum(c, x),
        lambda c: ln.leaky_relu(x, c),
        lambda c: ln.elu(x, c),
        lambda c: ln.scale_gradient(x, c),
    ]:
        nodes = [function(7), function(9.0), function(np.float32(2)), function(np.int64(3))]
        assert len({n.kind for n in nodes}) == 1
        alone = [function(c).value() for c in (7, 9, 2, 3)]
        np.testing.assert_allclose(ln.values(nodes), alone, rtol=1e-6)


def test_a_formula_is_one_kind_for_each_op() -> None:
    x = ln.constant([1.0])
    kinds = [f(x).kind for f in (ln.elu, ln.relu, ln.tanh, ln.floor, ln.ceil)]
    kinds.append(ln.floor(x, gradient="straight_through").kind)
    assert len(set(kinds)) == len(kinds)
    assert ln.floor(x).kind is ln.floor(x).kind


def test_powers() -> None:
    assert derivative(lambda x: x**2, [-3.0, 0.0]) == [-6, 0]
    assert derivative(lambda x: x**0, [-3.0, 0.0]) == [0, 0]
    assert derivative(lambda x: x**1, [-3.0, 0.0]) == [1, 1]
    assert derivative(lambda x: 0**x, [2.0]) == [0]
    assert derivative(lambda x: ln.pow(x, [0.0, 2.0]), [0.0, 0.0]) == [0, 0]
    assert derivative(lambda y: ln.pow([0.0, 2.0], y), [2.0, 0.0]) == [0, np.log(2)]
    x = ln.constant([3.0, 4.0])
    squares, cubes = ln.values([x**2, x**3])
    np.testing.assert_array_equal(squares, [9, 16])
    np.testing.assert_allclose(cubes, [27, 64], rtol=1e-6)


def test_where_selects() -> None:
    x = ln.constant([0.0, 1.0])
    mask = ln.greater(x, 0.5)
    y = ln.where(mask, ln.constant([np.inf, 2.0]), ln.constant([3.0, np.nan]))
    np.testing.assert_array_equal(y.value(), [3, 2])
    a, b = ln.constant([1.0, 2.0]), ln.constant([3.0, 4.0])
    loss = ln.sum(ln.where([1, 0], a, b) * [np.inf, np.inf])
    loss.backward()
    np.testing.assert_array_equal(a.gradient(), [np.inf, 0])
    np.testing.assert_array_equal(b.gradient(), [0, np.inf])


def test_where_keeps_infinities_off_its_condition() -> None:
    model = ln.Model(seed=0)
    w = model.parameter(2, init=np.zeros(2))
    loss = ln.sum(ln.where(ln.log(w), w, 2 * w))  # log(0) has an infinite slope
    loss.backward()
    np.testing.assert_array_equal(w.gradient(), [1, 1])


def test_relu_passes_no_infinity() -> None:
    x = ln.constant([-1.0, 1.0])
    loss = ln.sum(ln.relu(x) * [np.inf, 1])
    ln.backward([loss])
    np.testing.assert_array_equal(x.gradient(), [0, 1])


def test_gradients_that_are_not_the_derivative() -> None:
    assert derivative(lambda x: ln.flip_gradient(x) * 3, [2.0]) == [-3]
    assert derivative(lambda x: ln.scale_gradient(x, 0.5) * 3, [2.0]) == [1.5]
    assert derivative(lambda x: ln.stop_gradient(x) * x, [2.0]) == [2]
    for function in (ln.floor, ln.ceil, ln.round):
        assert derivative(lambda x, f=function: f(x) * 3, [0.4]) == [0]
        through = derivative(lambda x, f=function: f(x, gradient="straight_through") * 3, [0.4])
        assert through == [3]
    assert derivative(ln.sign, [-0.4]) == [0]


def test_dtypes() -> None:
    x = ln.constant([1.7, -1.7])
    assert x.astype("float32") is x
    assert x.astype("int64").value().tolist() == [1, -1]
    assert x.astype("int64").astype("float64").dtype == np.float64
    assert derivative(lambda x: x.astype("float32").astype("float64") * 3, [1.0]) == [3]
    with pytest.raises(ln.DtypeError, match="complex64"):
        x.astype("complex64")
    with pytest.raises(ln.DtypeError, match="float"):
        x.astype("int64") + 1


def test_refusals() -> None:
    x = ln.constant([[1.0, 2.0, 3.0]])
    with pytest.raises(ln.ShapeError, match=r"add: got a \(1, 3\), b \(2,\); .*equal or 1"):
        x + ln.constant([1.0, 2.0])
    with pytest.raises(ln.ShapeError, match=r"where: got condition \(2,\)"):
        ln.where([1, 2], x, 0.0)
    with pytest.raises(ln.SettingError, match="low must not be above high"):
        ln.clip(x, 1, 0)
    with pytest.raises(ln.SettingError, match="straight_through"):
        ln.round(x, gradient="one")
    with pytest.raises(ln.SettingError, match="not negative"):
        ln.leaky_relu(x, -0.1)
    with pytest.raises(ln.SettingError, match="number"):
        ln.elu(x, "big")  # type: ignore[arg-type]
    with pytest.raises(ln.ArgumentError, match="factor"):
        ln.scale_gradient(x, "big")  # type: ignore[arg-type]
    for wrong in (None, "one"):
        with pytest.raises(ln.ArgumentError):
            ln.tanh(wrong)
        with pytest.raises(ln.ArgumentError):
            x + wrong


# Formulas


def test_equal_subexpressions_are_computed_once() -> None:
    assert parse("exp(-x) / (1 + exp(-x))") == parse("t = exp(-x); t / (1 + t)")
    assert [s.operation for s in parse("sqrt(2 * pi) * x").steps] == ["number", "name", "multiply"]
    assert [s.operation for s in parse("x * x").steps] == ["name", "square"]
    assert "y" not in parse("t = y * y; x").names()


def test_no_buffers_are_made_where_the_result_has_room() -> None:
    x = np.random.default_rng(0).standard_normal(200_000)
    out = np.empty_like(x)
    run = numpy_function("1 / (1 + exp(-x))", ["x"], [], derivative=False)
    import tracemalloc

    run(None, None, out, x)
    tracemalloc.start()
    assert run(None, None, out, x) is out
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < x.nbytes / 10
    np.testing.assert_allclose(out, 1 / (1 + np.exp(-x)))


def test_fields_are_names_of_the_formula() -> None:
    @dataclass(frozen=True)
    class Scaled(Elementwise):
        """y = scale x"""

        scale: float

        formula = "x * (scale + 1)"
        derivatives = ("dy * (scale + 1)",)

    assert not Scaled.reads_args
    assert not Scaled.reads_y
    x = ln.constant([1.0, 2.0])
    a, b = ln.values([Scaled(1.0)(x), Scaled(2.0)(x)])
    np.testing.assert_array_equal(a, [2, 4])
    np.testing.assert_array_equal(b, [3, 6])
    ln.gradcheck(Scaled(3.0), [[1.0, 2.0]])


@pytest.mark.parametrize(
    "formula", ["x and y", "open(x)", "x.y", "x < y < 1", "[x]", "x; y", "z = x", "x % 2", "u * x"]
)
def test_formulas_know_nothing_else(formula: str) -> None:
    with pytest.raises(ln.SettingError, match="formula"):
        numpy_function(formula, ["x"], [], derivative=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_select_is_where(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, 1.0, -2.5], dtype)
    p, q = rng.choice(special, (2, 50, 4))
    for shape in [(50, 4), (50, 1), (4,), ()]:
        condition = rng.random(shape) < 0.5
        for a, b in [(p, q), (p, 0.0), (0.0, q), (p, 2.5), (2.5, q), (p[:1], q), (p, q[:, :1])]:
            expected = np.where(condition, a, b).astype(dtype)
            np.testing.assert_array_equal(select(condition, a, b), expected)
            if expected.shape == p.shape:
                out = np.empty_like(p)
                select(condition, a, b, out=out)
                np.testing.assert_array_equal(out, expected)


def test_scipy_is_loaded_on_first_use_only() -> None:
    code = (
        "import sys, lazynet as ln; x = ln.tanh(ln.constant(1.0)).value(); "
        "print('scipy' in sys.modules); ln.erf(ln.constant(1.0)).value(); "
        "print('scipy.special' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["False", "True"], result.stderr
