"""Elementwise formulas as CUDA C++: one kernel for each formula, or for all gradients of an op.

The text is printed from the same program as the NumPy code (see `ops.formula`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from lazynet.backend.kernels import elementwise, summing
from lazynet.kinds import Array
from lazynet.ops.formula import COMPARISONS, Step, parse

_CALLS = {
    "absolute": "fabs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin",
    "arcsinh": "asinh", "arctan": "atan", "arctanh": "atanh", "power": "pow",
    "maximum": "lazynet_maximum", "minimum": "lazynet_minimum", "sign": "lazynet_sign",
    "psi": "lazynet_digamma", "gammaln": "lgamma",
}  # fmt: skip
_INFIX = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "greater": ">",
    "greater_equal": ">=", "less": "<", "less_equal": "<=", "equal": "==", "not_equal": "!=",
}  # fmt: skip

FUNCTIONS = """
template <typename T> __device__ inline T lazynet_maximum(T a, T b) {
    return a >= b || a != a ? a : b;
}
template <typename T> __device__ inline T lazynet_minimum(T a, T b) {
    return a <= b || a != a ? a : b;
}
template <typename T> __device__ inline T lazynet_sign(T a) {
    return a != a ? a : (T)((a > 0) - (a < 0));
}
template <typename T> __device__ inline T lazynet_digamma(T given) {
    double x = given, result = 0;
    if (x <= 0) {
        if (x == 0) return (T)(-1 / x);
        if (x == floor(x)) return (T)(0.0 / 0.0);
        result = -3.14159265358979323846 / tan(3.14159265358979323846 * x);
        x = 1 - x;
    }
    for (; x < 10; x += 1) result -= 1 / x;
    const double z = 1 / (x * x);
    const double tail = z * (1.0 / 12 - z * (1.0 / 120 - z * (1.0 / 252 - z * (1.0 / 240
        - z * (1.0 / 132 - z * (691.0 / 32760 - z / 12))))));
    return (T)(result + log(x) - 0.5 / x - tail);
}
"""
"""Device functions that formulas call.

Source: M. Abramowitz, I. Stegun, "Handbook of mathematical functions", 6.3.7 and 6.3.18, for the
reflection and the asymptotic series of digamma.
"""


def names_of(formula: str) -> list[str]:
    """The names a formula reads, sorted."""
    return sorted(parse(formula).names())


def c_statements(steps: Sequence[Step]) -> tuple[list[str], list[str]]:
    """The steps of a program as C++: a line for each that computes, and how each is referred to."""
    lines = []
    text: list[str] = []
    for i, step in enumerate(steps):
        given = [text[k] for k in step.operands]
        operation = step.operation
        if operation == "number":
            text.append(c_number(float(step.value)))  # type: ignore[arg-type]
            continue
        if operation == "name":
            text.append(str(step.value))
            continue
        if operation == "where":
            value = f"{given[0]} ? {given[1]} : {given[2]}"
        elif operation == "negative":
            value = f"-{given[0]}"
        elif operation == "square":
            value = f"{given[0]} * {given[0]}"
        elif operation in _INFIX:
            value = f"{given[0]} {_INFIX[operation]} {given[1]}"
        else:
            value = f"{_CALLS.get(operation, operation)}({', '.join(given)})"
        kind = "bool" if operation in COMPARISONS else "T"
        lines.append(f"    const {kind} t{i} = {value};")
        text.append(f"t{i}")
    return lines, text


@lru_cache(maxsize=4096)
def c_function(name: str, formula: str, parameters: tuple[str, ...]) -> str:
    """A formula as the text of a device function of numbers of type ``T``."""
    lines, text = c_statements(parse(formula).steps)
    head = ", ".join(f"T {p}" for p in parameters)
    body = "\n".join([*lines, f"    return (T)({text[-1]});"])
    return f"template <typename T> __device__ inline T {name}({head}) {{\n{body}\n}}\n"


def c_number(value: float) -> str:
    """A number as a constant of type ``T``."""
    if math.isfinite(value):
        return f"(T)({value!r})"
    return "(T)(0.0 / 0.0)" if math.isnan(value) else f"(T)({'-' if value < 0 else ''}1.0 / 0.0)"


def compute(formula: str, given: dict[str, Any], out: Array) -> Array:
    """The value of a formula on arrays that broadcast to `out`, in one launch.

    Args:
        formula: The text.
        given: What its names stand for: arrays, or numbers of their dtype.
        out: The result.
    """
    return compute_all((formula,), given, [out])[0]


def compute_all(
    formulas: Sequence[str], given: dict[str, Any], outs: Sequence[Array]
) -> Sequence[Array]:
    """The values of several formulas on the same arrays, in one launch."""
    names = tuple(sorted(set().union(*[parse(f).names() for f in formulas])))
    kernel = _elementwise(tuple(formulas), names)
    kernel(*[given[name] for name in names], *outs)
    return outs


@lru_cache(maxsize=4096)
def _elementwise(formulas: tuple[str, ...], names: tuple[str, ...]) -> Any:
    functions = [c_function(f"lazynet_f{i}", f, names) for i, f in enumerate(formulas)]
    arguments = ", ".join(f"(T){name}" for name in names)
    body = "; ".join(f"o{i} = lazynet_f{i}<T>({arguments})" for i in range(len(formulas)))
    return elementwise(
        "formula",
        ", ".join(f"T {name}" for name in names),
        ", ".join(f"T o{i}" for i in range(len(formulas))),
        body,
        FUNCTIONS + "".join(functions),
    )


def total(formula: str, given: dict[str, Any], axes: tuple[int, ...], shape: Any) -> Array:
    """The sum of a formula over axes of what its arrays broadcast to, in one launch.

    Args:
        formula: The text.
        given: What its names stand for; `dy`, which has the full shape, among them.
        axes: Axes to sum over.
        shape: Of the result.
    """
    if formula == "dy":
        return given["dy"].sum(axis=axes).reshape(shape)  # type: ignore[no-any-return]
    names = tuple(sorted({*parse(formula).names(), "dy"}))
    arguments = ", ".join(names)
    kernel = summing(
        "formula_sum",
        ", ".join(f"T {name}" for name in names),
        f"lazynet_f0<T>({arguments})",
        FUNCTIONS + c_function("lazynet_f0", formula, names),
    )
    result: Array = kernel(*[given[name] for name in names], axis=axes)
    return result.reshape(shape)


def fields_of(op: Any, dtype: np.dtype[Any]) -> dict[str, Any]:
    """The numeric static fields of an op, which its formulas may name."""
    found = {}
    for name in op.__dataclass_fields__:
        value = getattr(op, name)
        if isinstance(value, (int, float)):
            found[name] = dtype.type(value)
    return found


__all__ = ["c_function", "c_statements", "compute", "compute_all", "fields_of", "names_of", "total"]
