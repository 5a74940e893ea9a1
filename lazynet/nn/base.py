"""What the layers share: checks of their settings and inputs, gate-wise initialisers, sequences."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazynet.errors import ArgumentError, SettingError, ShapeError
from lazynet.graph import Expression
from lazynet.init import Initializer, resolve
from lazynet.inputs import as_expression, constant, rebatch
from lazynet.kinds import Array, Shape
from lazynet.modes import is_training
from lazynet.ops import (
    dropout,
    elu,
    gelu,
    leaky_relu,
    relu,
    selu,
    sigmoid,
    silu,
    softplus,
    softsign,
    tanh,
)
from lazynet.parameters import Model

Activation = Callable[[Expression], Expression]

ACTIVATIONS: dict[str, Activation] = {
    "elu": elu,
    "gelu": gelu,
    "leaky_relu": leaky_relu,
    "relu": relu,
    "selu": selu,
    "sigmoid": sigmoid,
    "silu": silu,
    "softplus": softplus,
    "softsign": softsign,
    "tanh": tanh,
}
"""Activations that go by name."""


@dataclass(frozen=True)
class PerGate(Initializer):
    """Several blocks of rows, each made by itself: its fans are those of one gate.

    Glorot's rule on the stacked matrix would make the weights of four gates smaller by a factor of
    up to 1.6, although each gate is a map of its own.
    """

    each: Any
    gates: int

    def __call__(
        self, rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any], lookup: bool
    ) -> Array:
        make = resolve(self.each)
        block = (shape[0] // self.gates, *shape[1:])
        return np.concatenate([make(rng, block, dtype, lookup) for _ in range(self.gates)])


def part_of(model: Any, name: str, role: str) -> Model:
    """The sub-model that holds a layer's parameters."""
    if not isinstance(model, Model):
        raise ArgumentError(
            f"{role}: got {model!r} as model; the first argument is the ln.Model (or a sub-model "
            "of it) that is to own the parameters"
        )
    return model.submodel(name)


def size_of(value: Any, role: str) -> int:
    """A number of units, layers, heads: a whole number of at least 1."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise ArgumentError(f"{role}: got {value!r}; it must be a whole number")
    if value < 1:
        raise SettingError(f"{role}: got {value!r}; it must be at least 1")
    return int(value)


def number_of(value: Any, role: str) -> float:
    """A finite real number."""
    real = isinstance(value, (int, float, np.integer, np.floating))
    if not real or isinstance(value, bool) or not math.isfinite(value):
        raise SettingError(f"{role}: got {value!r}; it must be a finite number")
    return float(value)


def probability_of(value: Any, role: str) -> float:
    """A probability of dropping, in [0, 1)."""
    p = number_of(value, role)
    if not 0 <= p < 1:
        raise SettingError(f"{role}: got {value!r}; a probability of dropping lies in [0, 1)")
    return p


def activation_of(spec: Any, role: str) -> Activation:
    """The function that a name stands for, or the function itself."""
    if isinstance(spec, str):
        if spec not in ACTIVATIONS:
            raise SettingError(
                f"{role}: got activation {spec!r}; the names are {', '.join(ACTIVATIONS)}; any "
                "function of an expression is taken as well"
            )
        return ACTIVATIONS[spec]
    if not callable(spec):
        raise ArgumentError(
            f"{role}: got activation {spec!r}; it must be a name or a function of an expression"
        )
    return spec  # type: ignore[no-any-return]


def vector_of(x: Any, n: int, role: str, dtype: Any, name: str = "x") -> Expression:
    """An expression of shape (n,), with or without a batch."""
    vector: Expression = as_expression(x, f"{role}: {name}", dtype)
    if vector.shape != (n,):
        raise ShapeError(
            f"{role}: got {name} of shape {vector.shape}; this layer takes shape ({n},) for one "
            "example; rows of a matrix go into the batch: ln.constant(array, batched=True), or "
            "ln.rebatch(list(matrix))"
        )
    return vector


Rows = Expression | list[Expression]


def sequence_of(xs: Any, n: int, role: str, dtype: Any) -> tuple[Rows, bool]:
    """A sequence in the form in which layers run it.

    Args:
        xs: A batched expression or an array, whose rows are the positions; or a list of
            expressions or arrays, one for each position.
        n: Length of the vector at each position.
        role: What messages call the layer.
        dtype: Of constants.

    Returns:
        The sequence as one batched expression; or, where entries of a list have batches
        themselves, as that list, since then every position is a minibatch. And whether a list was
        given.
    """
    if isinstance(xs, np.ndarray):
        xs = constant(xs, batched=True, dtype=dtype, role=f"{role}: xs")
    if isinstance(xs, Expression):
        xs = vector_of(xs, n, role, dtype, "xs")
        if xs.batch is None:
            raise ShapeError(
                f"{role}: got the single vector {xs!r} as a sequence; a sequence is a batched "
                "expression or a list; write [x] for one of length 1, or call step for one step"
            )
        return xs, False
    if isinstance(xs, (str, bytes)) or not hasattr(xs, "__iter__"):
        raise ArgumentError(
            f"{role}: got {type(xs).__name__} as a sequence; it takes a batched expression or a "
            "list of expressions"
        )
    entries = [vector_of(x, n, role, dtype, "an entry of xs") for x in xs]
    if not entries:
        return no_rows(n, dtype), True
    if any(x.batch is not None for x in entries):
        return entries, True
    return rebatch(entries), True


def no_rows(n: int, dtype: Any) -> Expression:
    """A batch of no rows."""
    return constant(np.zeros((0, n), dtype), batched=True)


def length_of(rows: Rows) -> int:
    """Number of positions."""
    if isinstance(rows, list):
        return len(rows)
    return rows.batch or 0


def dropout_mask(n: int, p: float, dtype: Any, batch: int | None = None) -> Expression | None:
    """Factors 0 or 1 / (1 - p) to be used again at every step; None where nothing is dropped."""
    if p == 0 or not is_training():
        return None
    if batch is None:
        return dropout(constant(np.ones(n, dtype)), p)
    return dropout(constant(np.ones((batch, n), dtype), batched=True), p)


def masked(x: Expression, mask: Expression | None) -> Expression:
    """x times the mask, if there is one."""
    return x if mask is None else x * mask
