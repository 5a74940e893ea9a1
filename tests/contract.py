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
