"""The contract every op keeps (design section 5), as a table of cases and the checks run on them.

`tests/cases_*.py` each hold a list ``CASES``; `test_ops_contract.py` runs every check on every
case, and fails when an op of lazynet has no case.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lazynet as ln

Array = NDArray[Any]
Sampler = Callable[[np.random.Generator, tuple[int, ...]], Array]


@dataclass(frozen=True)
class Case:
    """One use of one or more ops.

    Attributes:
        name: Unique; becomes the test's id.
        function: Takes one expression per shape, and `kwargs`; returns an expression, or a tuple
            of expressions for several results.
        shapes: Example shape of each argument.
        reference: The same on float64 arrays of ONE example, written independently in NumPy;
            returns an array, or a tuple of arrays.
        sample: How the arguments are drawn, one for all or a sequence with one per argument:
            "normal"; "positive" (0.5 to 2.5); "unit" (strictly inside (-1, 1), away from 0);
            "distinct" (no two entries closer than 0.05, none closer than that to 0: for functions
            with ties or kinks); or a function of (generator, shape).
        ops: Op classes that the case exercises.
        shared_args: Indices of arguments that are also tried as a parameter of a model.
        batched: Whether arguments may have a batch (False: one row only).
        differentiable: Whether gradients are compared with differences. Arguments sampled as
            integers never are. Gradients that are not the derivative (straight through, stopped,
            flipped) are left to the case's own tests; batched is compared with unbatched anyway.
        kwargs: Passed to `function` and to `reference`.
        tolerance: Of the float64 comparisons, relative to the size of the numbers (float32 ones
            use `tolerance32`).
        tolerance32: Of the float32 comparison.
        seeded: Draws random numbers: ``ln.seed(0)`` is called before each recording. `reference`
            may be None, and comparisons between batched and unbatched recordings are left to the
            case's own tests, since each recorded node draws its own numbers.
        across_rows: The op mixes the rows of a batch (`sum_batch`, ...): batched is not compared
            with unbatched row by row; `reference` takes arrays WITH the batch axis first, and
            arguments are always given with a batch, except those in `single_args`.
        single_args: With `across_rows`: indices of arguments without a batch.
        twice: Whether one expression may stand for two arguments that are drawn alike.
    """

    name: str
    function: Callable[..., Any]
    shapes: Sequence[tuple[int, ...]]
    reference: Callable[..., Any] | None
    sample: str | Sampler | Sequence[str | Sampler] = "normal"
    ops: tuple[type, ...] = ()
    shared_args: tuple[int, ...] = ()
    batched: bool = True
    differentiable: bool = True
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-6
    tolerance32: float = 1e-3
    seeded: bool = False
    across_rows: bool = False
    single_args: tuple[int, ...] = ()
    twice: bool = True

    def __str__(self) -> str:
        return self.name


def draw(case: Case, row: int = 0) -> list[Array]:
    """The arguments of one example: float64, or int64 where the case's sampler gives integers."""
    arrays = []
    for k, shape in enumerate(case.shapes):
        rng = np.random.default_rng([zlib.crc32(case.name.encode()), row, k])
        sample = case.sample
        if not isinstance(sample, str) and not callable(sample):
            sample = sample[k]
        array = np.asarray(_draw(rng, tuple(shape), sample))
        kind = np.int64 if array.dtype.kind in "iu" else np.float64
        arrays.append(np.array(array, kind))
    return arrays


def _draw(rng: np.random.Generator, shape: tuple[int, ...], sample: str | Sampler) -> Array:
    if callable(sample):
        return sample(rng, shape)
    if sample == "normal":
        return rng.standard_normal(shape)
    if sample == "positive":
        return rng.uniform(0.5, 2.5, shape)
    if sample == "unit":
        return rng.uniform(0.1, 0.9, shape) * rng.choice([-1.0, 1.0], shape)
    if sample == "distinct":
        n = int(np.prod(shape))
        values = (np.arange(n) - n // 2 + 0.5) * (4.0 / max(n, 8))
        jitter = rng.uniform(-0.3, 0.3, n) * (4.0 / max(n, 8))
        return rng.permutation(values + jitter).reshape(shape)
    raise ValueError(f"case sample {sample!r}: normal, positive, unit, distinct or a function")


def row_counts(case: Case) -> list[int]:
    """1, 2, 3, and as many rows as each dimension: where broadcasting goes wrong, it does there."""
    return sorted({1, 2, 3, *(n for shape in case.shapes for n in shape if n)})


def record(case: Case, arguments: Sequence[Any]) -> list[ln.Expression]:
    """The case's results, as a list."""
    if case.seeded:
        ln.seed(0)
    results = case.function(*arguments, **case.kwargs)
    return list(results) if isinstance(results, (tuple, list)) else [results]


def constants(case: Case, arrays: Sequence[Array]) -> list[ln.Expression]:
    """The arrays of one example as constants (a batch of that one row, where the case needs it)."""
    return [
        ln.constant(a[None], batched=True, dtype=a.dtype)
        if case.across_rows and k not in case.single_args
        else ln.constant(a, dtype=a.dtype)
        for k, a in enumerate(arrays)
    ]


def batches(case: Case, examples: Sequence[Sequence[Array]]) -> list[ln.Expression]:
    """The arrays of several examples as one constant with a batch for each argument."""
    return [
        ln.constant(arrays[0], dtype=arrays[0].dtype)
        if case.across_rows and k in case.single_args
        else ln.constant(np.stack(arrays), batched=True, dtype=arrays[0].dtype)
        for k, arrays in enumerate(zip(*examples))
    ]


def differentiate(
    results: Sequence[ln.Expression], cotangents: Sequence[Array], inputs: Sequence[Any]
) -> list[Array]:
    """Gradients of the inputs, given those of the results; zeros where none flows."""
    losses = []
    for y, cotangent in zip(results, cotangents):
        if y.dtype.kind == "f":
            batched = y.batch is not None
            weight = ln.constant(cotangent.astype(y.dtype), batched=batched)
            product = ln.sum(y * weight)
            losses.append(ln.sum_batch(product) if batched else product)
    if losses:
        ln.backward(losses)
    return [_gradient(x) for x in inputs]  # while the losses are still there


def _gradient(x: Any) -> Array:
    try:
        return np.asarray(x.gradient())
    except ln.GradientError as error:
        if "no backward reached" not in str(error) and not isinstance(x, ln.Parameter):
            raise
        return np.zeros(np.shape(x.value()))


def cotangents(case: Case, row: int, values: Sequence[Any]) -> list[Array]:
    """A random gradient for each result of one example."""
    rng = np.random.default_rng([zlib.crc32(case.name.encode()), row, 1000])
    return [rng.standard_normal(np.shape(v)) for v in values]


def assert_close(actual: Any, expected: Any, tolerance: float, what: str) -> None:
    """Equal up to `tolerance`, relative to the largest finite entry of `expected`."""
    a = np.asarray(actual)
    b = np.asarray(expected)
    assert a.shape == b.shape, f"{what}: shape {a.shape}, not {b.shape}"
    size = np.abs(b[np.isfinite(b)]).max(initial=0.0)
    np.testing.assert_allclose(a, b, tolerance, tolerance * size + 1e-12, err_msg=what)


@dataclass
class Outcome:
    """What one example, or several, led to: arrays, without expressions that keep them."""

    values: list[Array]
    gradients: list[Array]


def alone(case: Case, arrays: Sequence[Array], row: int) -> Outcome:
    """One example, evaluated and differentiated by itself."""
    xs = constants(case, arrays)
    results = record(case, xs)
    values = [np.array(v) for v in ln.values(results)]
    return Outcome(values, differentiate(results, cotangents(case, row, values), xs))


# The checks


def check_shape_and_reference(case: Case) -> None:
    """The shape rule and the reference agree with what is computed; inputs stay as they were."""
    for row in range(2):
        arrays = draw(case, row)
        copies = [a.copy() for a in arrays]
        xs = constants(case, arrays)
        results = record(case, xs)
        recorded = {type(k.op) for y in results for k in y.tape.kinds}
        missing = [op.__name__ for op in case.ops if op not in recorded]
        assert not missing, f"the case does not record {missing}"
        values = ln.values(results)
        for y, v in zip(results, values):
            lead = () if y.batch is None else (y.batch,)
            assert np.shape(v) == (*lead, *y.shape)
            assert np.asarray(v).dtype == y.dtype or not np.shape(v)
        before = [np.array(v) for v in values]
        differentiate(results, cotangents(case, row, values), xs)
        for x, array, copy in zip(xs, arrays, copies):
            np.testing.assert_array_equal(array, copy, err_msg="the caller's array was changed")
            inside = np.asarray(x.value()).reshape(copy.shape)
            np.testing.assert_array_equal(inside, copy, err_msg="an argument was changed")
        for v, b in zip(ln.values(results), before):
            np.testing.assert_array_equal(v, b, err_msg="backward changed a result")
        if case.reference is not None:
            given = [x.value() for x in xs]
            check_values(case, values, [np.asarray(g) for g in given], "reference")


def check_values(case: Case, values: Sequence[Any], arrays: Sequence[Array], what: str) -> None:
    """Compare with the reference on these arrays."""
    assert case.reference is not None
    expected = case.reference(*arrays, **case.kwargs)
    listed = list(expected) if isinstance(expected, (tuple, list)) else [expected]
    assert len(values) == len(listed)
    for v, e in zip(values, listed):
        assert_close(v, e, case.tolerance, what)


def check_gradient(case: Case) -> None:
    """Backward agrees with central differences, in every argument."""

    def function(*xs: Any) -> Any:
        return record(case, xs)

    arrays = draw(case)
    if all(a.dtype.kind != "f" for a in arrays):
        return
    if case.across_rows:
        ln.gradcheck(function, batches(case, [draw(case, row) for row in range(3)]))
    else:
        ln.gradcheck(function, arrays)


def check_batches(case: Case) -> None:
    """Any number of examples gives what each gives alone: as nodes together, and as one batch."""
    counts = row_counts(case)
    examples = [draw(case, row) for row in range(max(counts))]
    outcomes = [alone(case, arrays, row) for row, arrays in enumerate(examples)]
    for rows in counts:
        _check_together(case, examples[:rows], outcomes)
        if case.batched:
            _check_batched(case, examples[:rows], outcomes)


def _check_together(
    case: Case, examples: Sequence[Sequence[Array]], outcomes: Sequence[Outcome]
) -> None:
    inputs = [constants(case, arrays) for arrays in examples]
    results = [record(case, xs) for xs in inputs]
    flat = [y for ys in results for y in ys]
    weights = [
        c for row, o in enumerate(outcomes[: len(results)]) for c in cotangents(case, row, o.values)
    ]
    values = ln.values(flat)
    gradients = iter(differentiate(flat, weights, [x for xs in inputs for x in xs]))
    what = f"{len(examples)} nodes"
    for y, e in zip(values, [v for o in outcomes[: len(results)] for v in o.values]):
        assert_close(y, e, case.tolerance, f"{what}, value")
    for row, xs in enumerate(inputs):
        for k in range(len(xs)):
            expected = outcomes[row].gradients[k]
            what_k = f"{what}, gradient of argument {k} of example {row}"
            assert_close(next(gradients), expected, case.tolerance, what_k)


def _check_batched(
    case: Case, examples: Sequence[Sequence[Array]], outcomes: Sequence[Outcome]
) -> None:
    xs = batches(case, examples)
    results = record(case, xs)
    values = ln.values(results)
    rows = len(examples)
    per_row = [cotangents(case, row, outcomes[row].values) for row in range(rows)]
    gradients = differentiate(results, [np.stack(c) for c in zip(*per_row)], xs)
    for k, v in enumerate(values):
        expected = np.stack([outcomes[row].values[k] for row in range(rows)])
        assert_close(v, expected, case.tolerance, f"batch of {rows}, value")
    for k, g in enumerate(gradients):
        expected = np.stack([outcomes[row].gradients[k] for row in range(rows)])
        assert_close(g, expected, case.tolerance, f"batch of {rows}, gradient of argument {k}")


def check_across_rows(case: Case) -> None:
    """Batches of any size give alone, and evaluated together, what the reference gives."""
    sizes = [*row_counts(case), 2, 1]
    examples = [draw(case, row) for row in range(max(sizes))]
    groups = [examples[-size:] for size in sizes]
    expected = []
    for row, group in enumerate(groups):
        xs = batches(case, group)
        results = record(case, xs)
        values = [np.array(v) for v in ln.values(results)]
        if case.reference is not None:
            given = [np.asarray(x.value()) for x in xs]
            check_values(case, values, given, f"{len(group)} rows, reference")
        gradients = differentiate(results, cotangents(case, row, values), xs)
        expected.append(Outcome(values, gradients))
    inputs = [batches(case, group) for group in groups]
    results_of = [record(case, xs) for xs in inputs]
    flat = [y for ys in results_of for y in ys]
    values = ln.values(flat)
    weights = [c for row, o in enumerate(expected) for c in cotangents(case, row, o.values)]
    gradients = differentiate(flat, weights, [x for xs in inputs for x in xs])
    for v, e in zip(values, [v for o in expected for v in o.values]):
        assert_close(v, e, case.tolerance, "together, value")
    for g, e in zip(gradients, [g for o in expected for g in o.gradients]):
        assert_close(g, e, case.tolerance, "together, gradient")


def check_autobatch(case: Case) -> None:
    """Node by node gives the same."""
    examples = [draw(case, row) for row in range(3)]

    def run() -> Outcome:
        inputs = [constants(case, arrays) for arrays in examples]
        ln.seed(0)
        results = [y for xs in inputs for y in _unseeded(case, xs)]
        values = [np.array(v) for v in ln.values(results)]
        weights = cotangents(case, 0, values)
        return Outcome(values, differentiate(results, weights, [x for xs in inputs for x in xs]))

    batched = run()
    with ln.no_autobatch():
        single = run()
    for a, b in zip(batched.values + batched.gradients, single.values + single.gradients):
        assert_close(a, b, case.tolerance, "autobatch against node by node")


def _unseeded(case: Case, xs: Sequence[Any]) -> list[ln.Expression]:
    results = case.function(*xs, **case.kwargs)
    return list(results) if isinstance(results, (tuple, list)) else [results]


def check_used_twice(case: Case) -> None:
    """Used in two nodes, or for two arguments of one, an expression gets both gradients."""
    arrays = draw(case)
    once = alone(case, arrays, 0)
    xs = constants(case, arrays)
    first, second = record(case, xs), record(case, xs)
    weights = cotangents(case, 0, once.values)
    both = differentiate([*first, *second], [*weights, *(2 * w for w in weights)], xs)
    for k, (g, expected) in enumerate(zip(both, once.gradients)):
        assert_close(g, 3 * expected, case.tolerance, f"argument {k} used by two nodes")
    if case.twice and case.differentiable and not case.across_rows:
        for i, j in _alike(case, arrays)[:3]:

            def same(*free: Any, i: int = i, j: int = j) -> Any:
                return record(case, [*free[:j], free[i], *free[j:]])

            ln.gradcheck(same, [a for k, a in enumerate(arrays) if k != j])


def _alike(case: Case, arrays: Sequence[Array]) -> list[tuple[int, int]]:
    n = len(arrays)
    alike = [
        (i, j)
        for j in range(n)
        for i in range(j)
        if arrays[i].shape == arrays[j].shape
        and arrays[i].dtype.kind == arrays[j].dtype.kind == "f"
    ]
    if isinstance(case.sample, str) or callable(case.sample):
        return alike
    return [(i, j) for i, j in alike if case.sample[i] == case.sample[j]]


def check_shared(case: Case) -> None:
    """A parameter gives what as many equal constants give, and gets the sum of their gradients."""
    choices = [(i,) for i in case.shared_args]
    if len(case.shared_args) > 1:
        choices.append(case.shared_args)
    for choice in choices:
        _check_shared(case, choice, 3, as_batch=False)
        if case.batched:
            for rows in row_counts(case):
                _check_shared(case, choice, rows, as_batch=True)
    arrays = draw(case)
    if not case.across_rows and all(a.dtype.kind == "f" for a in arrays):
        expected = alone(case, arrays, 0)
        parameters = _parameters(arrays)
        results = record(case, parameters)
        for v, e in zip(ln.values(results), expected.values):
            assert_close(v, e, case.tolerance, "all arguments parameters, value")
        found = differentiate(results, cotangents(case, 0, expected.values), parameters)
        for g, e in zip(found, expected.gradients):
            assert_close(g, e, case.tolerance, "all arguments parameters, gradient")


def _parameters(arrays: Sequence[Array]) -> list[Any]:
    model = ln.Model(seed=0, dtype="float64")
    return [model.parameter(a.shape, init=a) for a in arrays]


def _check_shared(case: Case, choice: tuple[int, ...], rows: int, as_batch: bool) -> None:
    examples = [draw(case, row) for row in range(rows)]
    for arrays in examples:
        for i in choice:
            arrays[i] = examples[0][i]
    n = len(case.shapes)
    if as_batch and len(choice) == n:
        return  # no argument with a batch is left
    parameters = dict(zip(choice, _parameters([examples[0][i] for i in choice])))
    runs = []
    for table in ({}, parameters):
        inputs = (
            [batches(case, examples)]
            if as_batch
            else [constants(case, arrays) for arrays in examples]
        )
        given = [[table.get(k, x) for k, x in enumerate(xs)] for xs in inputs]
        results = [y for xs in given for y in record(case, xs)]
        values = [np.array(v) for v in ln.values(results)]
        weights = cotangents(case, 0, values)
        gradients = differentiate(results, weights, [x for xs in given for x in xs])
        runs.append(Outcome(values, gradients))
    constant, shared = runs
    what = f"arguments {choice} as parameters, {rows} {'rows' if as_batch else 'nodes'}"
    for v, e in zip(shared.values, constant.values):
        assert_close(v, e, case.tolerance, f"{what}, value")
    for k in range(n):
        expected = constant.gradients[k::n]
        found = shared.gradients[k::n]
        if k in choice:
            lead = tuple(range(expected[0].ndim - len(case.shapes[k])))
            expected = [sum(g.sum(axis=lead) for g in expected)]
            found = found[:1]
        for g, e in zip(found, expected):
            assert_close(g, e, case.tolerance, f"{what}, gradient of argument {k}")


def check_float32(case: Case) -> None:
    """float32 arguments give float32 results and gradients, near the float64 ones."""
    arrays = draw(case)
    single = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in arrays]
    expected = alone(case, arrays, 0)
    xs = constants(case, single)
    results = record(case, xs)
    values = ln.values(results)
    for y, v in zip(results, values):
        assert y.dtype in (np.float32, np.int64)
        assert np.asarray(v).dtype == y.dtype or not np.shape(v)
    gradients = differentiate(results, cotangents(case, 0, values), xs)
    if case.seeded:
        return
    for v, e in zip(values, expected.values):
        assert_close(v, e, case.tolerance32, "float32, value")
    for k, (g, e) in enumerate(zip(gradients, expected.gradients)):
        assert_close(g, e, case.tolerance32, f"float32, gradient of argument {k}")


CHECKS: dict[str, tuple[Callable[[Case], None], Callable[[Case], bool]]] = {
    "shape and reference": (check_shape_and_reference, lambda case: True),
    "gradient": (check_gradient, lambda case: case.differentiable),
    "batches": (check_batches, lambda case: not case.seeded and not case.across_rows),
    "across rows": (check_across_rows, lambda case: case.across_rows and not case.seeded),
    "autobatch": (check_autobatch, lambda case: True),
    "used twice": (check_used_twice, lambda case: True),
    "shared": (check_shared, lambda case: True),
    "float32": (check_float32, lambda case: True),
}
"""The checks, and which cases each is for."""
