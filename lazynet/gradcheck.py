"""Checking gradients against central differences, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lazynet.convert import as_array
from lazynet.differentiate import backward
from lazynet.errors import ArgumentError, DtypeError, GradientError
from lazynet.graph import Expression
from lazynet.inputs import constant
from lazynet.kinds import FLOAT64, FLOATS, HALVES, INT64, Array
from lazynet.ops import sum as sum_all
from lazynet.ops import sum_batch
from lazynet.parameters import Parameter
from lazynet.reading import values


def gradcheck(
    function: Callable[..., Any],
    inputs: Sequence[Any],
    parameters: Sequence[Parameter] = (),
    eps: float = 1e-6,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> None:
    """Compare the gradients of a function with central differences.

    The result is multiplied by a random cotangent and summed. Its derivative along a random
    direction - of each input and parameter alone, then of everything together - must agree with
    ``(f(x + eps d) - f(x - eps d)) / (2 eps)``.

    Args:
        function: Takes one expression per input; returns an expression, or a tuple or list of
            them. It is called several times and must do the same each time: a function that draws
            random numbers calls ``ln.seed`` first.
        inputs: Arrays or numbers, converted to float64, for single rows; expressions, whose
            values are taken, where there is a batch. Integer arrays stay whole numbers, and are
            not differentiated.
        parameters: Parameters (float64) that the function uses, to be differentiated too. Their
            values and accumulated gradients are as before afterwards.
        eps: Half the distance of the two points.
        tolerance: Largest error allowed, relative to the length of the gradient (0.1 % is 1e-3).
        seed: Of the cotangent and the directions.

    Raises:
        GradientError: If a gradient is wrong; the message names the input and both numbers. Near
            a kink or a pole a right gradient fails too: choose other inputs.
        ArgumentError: If there is nothing to differentiate.
        DtypeError: If a parameter is not float64, or a result is stored in 16 bits.

    >>> import lazynet as ln
    >>> ln.gradcheck(lambda x, y: ln.tanh(x) * y, [[0.1, 0.2], [1.0, 2.0]])
    """
    points = [_Point(k, x) for k, x in enumerate(inputs)]
    free = [p for p in points if p.floating]
    for parameter in parameters:
        _check_parameter(parameter)
    if not free and not parameters:
        raise ArgumentError(
            "gradcheck: got no floating-point input and no parameter; there must be something to "
            "differentiate; integer arrays are taken for indices, write 1.0 for 1"
        )
    rng = np.random.default_rng(seed)
    run = _Run(function, points, rng)
    gradients = run.gradients(list(parameters))
    names = [p.name for p in free] + [f"parameter {p.name!r}" for p in parameters]
    directions = [rng.standard_normal(g.shape) for g in gradients]
    choices = [[k] for k in range(len(names))]
    if len(names) > 1:
        choices.append(list(range(len(names))))
    for choice in choices:
        analytic = sum(float(np.vdot(gradients[k], directions[k])) for k in choice)
        moves = {k: eps * directions[k] for k in choice}
        above = run.loss(moves, list(parameters))
        below = run.loss({k: -move for k, move in moves.items()}, list(parameters))
        numeric = (above - below) / (2 * eps)
        length = float(np.sqrt(sum(np.vdot(gradients[k], gradients[k]) for k in choice)))
        # The second term is what rounding of the function's values does to their difference
        allowed = tolerance * max(length, abs(numeric)) + 1e-2 * tolerance * run.size
        if not abs(analytic - numeric) <= allowed:
            name = names[choice[0]] if len(choice) == 1 else " and ".join(names) + " together"
            raise GradientError(
                f"gradcheck: {name}: backward gives {analytic:.10g} along a random direction, "
                f"central differences give {numeric:.10g}; they must not differ by more than "
                f"{allowed:.2g}; the gradient is wrong, or the function is not smooth at this point"
            )


class _Point:
    """One input: its values, and how to make an expression of them."""

    def __init__(self, position: int, x: Any) -> None:
        self.name = f"input {position}"
        self.batched = False
        if isinstance(x, Expression):
            self.batched = x.batch is not None
            x = np.asarray(x.value())
        whole = isinstance(x, np.ndarray) and x.dtype.kind in "iu"
        self.array = as_array(x, INT64 if whole else FLOAT64, f"gradcheck, {self.name}")
        self.floating = not whole

    def expression(self, move: Any = None) -> Expression:
        array = self.array if move is None else self.array + move
        return constant(array, batched=self.batched, dtype=self.array.dtype)


class _Run:
    """The function, as one number: its results times fixed random cotangents."""

    def __init__(
        self, function: Callable[..., Any], points: list[_Point], rng: np.random.Generator
    ) -> None:
        self.function = function
        self.points = points
        results = [np.asarray(v) for v in values(self.results([p.expression() for p in points]))]
        self.cotangents = [rng.standard_normal(r.shape) for r in results]
        self.size = sum(float(np.abs(c * r).sum()) for c, r in zip(self.cotangents, results))

    def results(self, arguments: list[Expression]) -> list[Expression]:
        """The floating-point results."""
        results = self.function(*arguments)
        listed = list(results) if isinstance(results, (tuple, list)) else [results]
        for r in listed:
            if not isinstance(r, Expression):
                raise ArgumentError(
                    f"gradcheck: the function returned {type(r).__name__}; it must return an "
                    "expression, or a tuple or list of them"
                )
            if r.dtype in HALVES:
                raise DtypeError(
                    f"gradcheck: the function returned {r.dtype}, in which differences drown in "
                    "rounding; leave out the conversion to it for the check"
                )
        floating = [r for r in listed if r.dtype in FLOATS]
        if not floating:
            raise ArgumentError(
                "gradcheck: the function returned whole numbers only, which have no gradient; it "
                "must return a floating-point expression"
            )
        return floating

    def loss(self, moves: dict[int, Array], parameters: list[Parameter]) -> float:
        """The number, with inputs and parameters moved; parameters count after the free inputs."""
        arguments = []
        count = 0
        for point in self.points:
            arguments.append(point.expression(moves.get(count) if point.floating else None))
            count += point.floating
        before = [np.array(p.array) for p in parameters]
        try:
            for k, (parameter, array) in enumerate(zip(parameters, before)):
                if count + k in moves:
                    parameter.array = array + moves[count + k]
            results = values(self.results(arguments))
        finally:
            for parameter, array in zip(parameters, before):
                parameter.array = array
        return sum(float(np.vdot(c, r)) for c, r in zip(self.cotangents, results))

    def gradients(self, parameters: list[Parameter]) -> list[Array]:
        """Gradients of the number, of the free inputs and then of the parameters."""
        arguments = [p.expression() for p in self.points]
        losses = []
        for r, cotangent in zip(self.results(arguments), self.cotangents):
            batched = r.batch is not None
            product = sum_all(r * constant(cotangent, batched=batched, dtype=r.dtype))
            losses.append(sum_batch(product) if batched else product)
        before = [(p.pending, p.pending_rows) for p in parameters]
        try:
            for parameter in parameters:
                parameter.clear_gradient()
            backward(losses)
            free = [(x, p.array.shape) for x, p in zip(arguments, self.points) if p.floating]
            return [
                _gradient(x, shape) for x, shape in [*free, *[(p, p.shape) for p in parameters]]
            ]
        finally:
            for parameter, (pending, rows) in zip(parameters, before):
                parameter.pending, parameter.pending_rows = pending, rows


def _gradient(x: Expression, shape: tuple[int, ...]) -> Array:
    """The gradient; zeros where backward did not come by."""
    try:
        return np.asarray(x.gradient(), FLOAT64)
    except GradientError:
        return np.zeros(shape)


def _check_parameter(parameter: Any) -> None:
    if not isinstance(parameter, Parameter):
        raise ArgumentError(
            f"gradcheck: got a {type(parameter).__name__} among the parameters; they are made by "
            "model.parameter or model.lookup"
        )
    if parameter.dtype != FLOAT64:
        raise DtypeError(
            f"gradcheck: parameter {parameter.name!r} is {parameter.dtype}; differences need "
            "float64; make the model with dtype='float64'"
        )
    if not parameter.trainable:
        raise ArgumentError(
            f"gradcheck: parameter {parameter.name!r} is frozen and gets no gradient; set its "
            "trainable to True"
        )
