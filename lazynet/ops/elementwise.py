"""Elementwise operations: the base classes.

`functions` has the functions of one argument, `activations` the nonlinearities of networks,
`arithmetic` the operators and what takes two arguments.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, TypeVar

import numpy as np

from lazynet.backend import beside
from lazynet.backend.kernels import empty
from lazynet.kinds import Array, Call, Op, RowRule, Shape
from lazynet.ops.cuda_formula import compute, compute_all, fields_of, total
from lazynet.ops.formula import numpy_function

AnyOp = TypeVar("AnyOp", bound=Op)
Runner = Callable[..., Array]


@dataclass(frozen=True)
class Elementwise(Op):
    """An op given by a formula and its derivatives, written as text (see `ops.formula`).

    Subclasses without fields need no decorator: this one's equality compares classes.
    """

    arguments: ClassVar[tuple[str, ...]] = ("x",)
    """What the formulas call the arguments."""
    formula: ClassVar[str]
    """The value."""
    fast_formula: ClassVar[str | None] = None
    """The same within rounding of the largest value, for fused code; None: as `formula`."""
    derivatives: ClassVar[tuple[str | None, ...]] = ()
    """For each argument its gradient; None where none flows."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        read = set(re.findall(r"[a-z_]\w*", " ".join(d for d in cls.derivatives if d)))
        cls.reads_args = not read.isdisjoint(cls.arguments)
        cls.reads_y = "y" in read

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def gradient_formulas(self) -> tuple[str | None, ...]:
        """`derivatives`, unless they depend on a field."""
        return self.derivatives

    def _compiled(self) -> tuple[Runner, tuple[Runner | None, ...]]:
        fields = tuple(self.__dataclass_fields__)
        return _compile(self.formula, self.arguments, fields, self.gradient_formulas())

    def row_rule(self, *shapes: Shape) -> RowRule | None:
        own = type(self)
        if (own.forward, own.backward) not in _BY_FORMULA or any(s != shapes[0] for s in shapes):
            return None
        run, derivatives = self._compiled()
        return RowRule(run, derivatives)

    def forward(self, call: Call, *args: Array) -> Array:
        if type(call.out) is not np.ndarray:
            return compute(self.formula, self._given(call, call.out, *args), call.out)
        run, _ = self._compiled()
        return run(self, factor(call, call.out.ndim - 1), call.out, *args)

    def backward(self, call: Call, dy: Array, y: Array, *args: Array) -> Any:
        if type(dy) is not np.ndarray:
            (formula,) = self.gradient_formulas()
            assert formula is not None
            if formula == "dy":
                return dy
            given = {**self._given(call, dy, *args), "dy": dy, "y": y}
            return compute(formula, given, empty(dy.shape, dy.dtype))
        _, (run,) = self._compiled()
        assert run is not None
        return run(self, factor(call, dy.ndim - 1), dy, y, *args)

    def _given(self, call: Call, like: Array, *args: Array) -> dict[str, Any]:
        """What the names in formulas stand for, on a GPU."""
        given: dict[str, Any] = dict(zip(self.arguments, args))
        if call.payload is not None:
            given["c"] = factor(call, like.ndim - 1, like)
        if self.__dataclass_fields__:
            given.update(fields_of(self, like.dtype))
        return given


class Broadcasting(Elementwise):
    """An elementwise op whose arguments broadcast against each other, as NumPy's arrays do."""

    arguments: ClassVar[tuple[str, ...]] = ("a", "b")
    shares = True

    def shape(self, *shapes: Shape) -> Shape:
        try:
            return np.broadcast_shapes(*shapes)
        except ValueError:
            raise self.fail(
                "aligned at the last axis, sizes must be equal or 1",
                "reshape, transpose or slice one of them",
                **dict(zip(self.arguments, shapes)),
            ) from None

    def forward(self, call: Call, *args: Array) -> Array:
        run, _ = self._compiled()
        out = call.out
        for a in args:
            if a.shape != out.shape:
                if not self.reads_args:
                    _keep_shapes(call, args)
                args = _aligned(call, out.ndim, args)
                break
        if type(out) is not np.ndarray:
            return compute(self.formula, self._given(call, out, *args), out)
        return run(self, None, out, *args)

    def backward(self, call: Call, dy: Array, y: Array, *args: Array) -> Any:
        _, runs = self._compiled()
        if self.reads_args:
            shapes = [a.shape if s else a.shape[1:] for a, s in zip(args, call.shared)]
            args = _aligned(call, dy.ndim, args)
        else:
            shapes = _kept_shapes(call, dy.shape[1:])
        if type(dy) is not np.ndarray:
            return self._gradients_on_device(call, dy, y, args, shapes)
        return tuple(
            None
            if not needed
            else np.zeros(shape if shared else (call.rows, *shape), dy.dtype)
            if run is None
            else _unbroadcast(run(self, None, dy, y, *args), shape, shared)
            for run, shape, shared, needed in zip(runs, shapes, call.shared, call.needs)
        )

    def _gradients_on_device(
        self, call: Call, dy: Array, y: Array, args: tuple[Array, ...], shapes: list[Shape]
    ) -> tuple[Any, ...]:
        """One launch for all gradients of the full shape, and one for each that is summed."""
        given = {**self._given(call, dy, *args), "dy": dy, "y": y}
        gradients: list[Any] = [None] * len(shapes)
        full = []
        for k, formula in enumerate(self.gradient_formulas()):
            if not call.needs[k]:
                continue
            shape, shared = shapes[k], call.shared[k]
            if formula is None:
                rows = () if shared else (call.rows,)
                gradients[k] = np.zeros_like(dy, shape=(*rows, *shape))
            elif shape == dy.shape[1:] and not shared:
                gradients[k] = dy
                if formula != "dy":
                    full.append((k, formula))
            else:
                axes = _repeated(dy.shape[1:], shape, shared)
                rows = () if shared else dy.shape[:1]
                gradients[k] = total(formula, given, axes, rows + shape)
        if full:
            outs = [empty(dy.shape, dy.dtype) for _ in full]
            for (k, _), dx in zip(full, compute_all([f for _, f in full], given, outs)):
                gradients[k] = dx
        return tuple(gradients)


_BY_FORMULA = (
    (Elementwise.forward, Elementwise.backward),
    (Broadcasting.forward, Broadcasting.backward),
)


@cache
def _compile(
    formula: str,
    arguments: tuple[str, ...],
    fields: tuple[str, ...],
    derivatives: tuple[str | None, ...],
) -> tuple[Runner, tuple[Runner | None, ...]]:
    return numpy_function(formula, arguments, fields, derivative=False), tuple(
        None if d is None else numpy_function(d, arguments, fields, derivative=True)
        for d in derivatives
    )


def factor(call: Call, ndim: int, like: Array | None = None) -> Any:
    """The payload as one number where all entries are equal, else as a column; None without.

    Args:
        call: The batch.
        ndim: Axes of an example.
        like: An array that lies where the column should.
    """
    payload = call.payload
    if payload is None:
        return None
    if len(payload) and (payload == payload[0]).all():
        return payload[0]
    if like is not None:
        return beside(like, payload).reshape((-1,) + (1,) * ndim)
    return call.column(ndim)


def _aligned(call: Call, ndim: int, args: tuple[Array, ...]) -> tuple[Array, ...]:
    """Arguments of rank `ndim`, with the missing axes behind the row axis (or none, if shared)."""
    aligned = []
    for a, shared in zip(args, call.shared):
        if shared:
            if not a.ndim:
                a = a.reshape(1)  # a ufunc would return a number, which is no buffer
        elif a.ndim < ndim:
            a = a.reshape(a.shape[:1] + (1,) * (ndim - a.ndim) + a.shape[1:])
        aligned.append(a)
    return tuple(aligned)


def _keep_shapes(call: Call, args: tuple[Array, ...]) -> None:
    """Leave the arguments' shapes to a backward that does not see the arguments.

    One copy per row (of stride 0), as all that `call.keep` holds has a row axis.
    """
    shapes = [a.shape if s else a.shape[1:] for a, s in zip(args, call.shared)]
    if any(s != call.out.shape[1:] for s in shapes):
        numbers = [n for s in shapes for n in (len(s), *s)]
        call.keep = np.broadcast_to(np.array(numbers, np.int64), (call.rows, len(numbers)))


def _kept_shapes(call: Call, example: Shape) -> list[Shape]:
    if call.keep is None or not len(call.keep):
        return [example] * len(call.shared)
    numbers = call.keep[0].tolist()
    shapes = []
    while numbers:
        end = numbers[0] + 1
        shapes.append(tuple(numbers[1:end]))
        del numbers[:end]
    return shapes


def _unbroadcast(gradient: Array, shape: Shape, shared: bool) -> Array:
    """Sum over the axes along which an argument of this shape was repeated."""
    example = gradient.shape[1:]
    if shape == example:
        return gradient.sum(axis=0) if shared else gradient
    rows = () if shared else gradient.shape[:1]
    summed: Array = gradient.sum(axis=_repeated(example, shape, shared)).reshape(rows + shape)
    return summed


def _repeated(example: Shape, shape: Shape, shared: bool) -> tuple[int, ...]:
    """The axes of rows along which an argument of this shape was repeated."""
    missing = len(example) - len(shape)
    axes = [0] if shared else []
    for i, n in enumerate(example):
        if i < missing or (shape[i - missing] == 1 and n != 1):
            axes.append(i + 1)
    return tuple(axes)


def is_number(x: Any) -> bool:
    """Whether x is one real number, of Python or NumPy, that can be a payload."""
    return isinstance(x, (int, float, np.number)) and not isinstance(x, np.complexfloating)


def ready(op: AnyOp) -> AnyOp:
    """The op with its table of kinds in place, as the fast path of recording expects it."""
    op.kinds  # noqa: B018
    return op
