"""Every case of the op contract on a GPU, or an emulated one, against the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from contract import (
    Array,
    Case,
    Outcome,
    assert_close,
    batches,
    constants,
    cotangents,
    differentiate,
    draw,
    record,
)

import lazynet as ln

HOST_ONLY: dict[str, str] = {
}
"""Files, and single tests, that do not run on a GPU, and why. Everything else does."""

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
"""Relative to the largest number, beside what a case asks for itself."""


def why_no_gpu() -> str:
    """Why nothing can be run on "cuda" here; empty if it can."""
    try:
        ln.Model(device="cuda")
    except ln.DeviceError as error:
        return str(error)
    return ""


def check_on(case: Case, device: str) -> None:
    """Values and gradients on a device equal the CPU's: constants and parameters, 1 and 3 rows."""
    for name, run in _runs(case).items():
        dtype = "float32" if name.startswith("float32") else "float64"
        expected = run("cpu", dtype)
        found = run(device, dtype)
        tolerance = tolerance_of(case, dtype)
        for v, e in zip(found.values, expected.values, strict=True):
            assert v.dtype == e.dtype
            assert_close(v, e, tolerance, f"{name}, value")
        for k, (g, e) in enumerate(zip(found.gradients, expected.gradients, strict=True)):
            assert_close(g, e, tolerance, f"{name}, gradient {k}")


def tolerance_of(case: Case, dtype: str) -> float:
    """How far the GPU's numbers may be from the CPU's."""
    return TOLERANCE[dtype]


def _runs(case: Case) -> dict[str, Callable[[str, str], Outcome]]:
    examples = [draw(case, row) for row in range(3)]
    runs: dict[str, Callable[[str, str], Outcome]] = {}

    def together(rows: int, as_batch: bool) -> Callable[[str, str], Outcome]:
        def run(device: str, dtype: str) -> Outcome:
            with ln.use_device(device):
                given = [[_cast(a, dtype) for a in arrays] for arrays in examples[:rows]]
                inputs = [batches(case, given)] if as_batch else [constants(case, g) for g in given]
                return _outcome(case, inputs)

        return run

    def parameters(device: str, dtype: str) -> Outcome:
        model = ln.Model(seed=0, dtype=dtype, device=device)
        xs = [model.parameter(a.shape, init=a) for a in examples[0]]
        with ln.use_device(device):  # for models that a case makes
            return _outcome(case, [xs])

    runs["1 node"] = together(1, False)
    runs["float32, 3 nodes"] = together(3, False)
    if case.batched:
        runs["batch of 3"] = together(3, True)
    if not case.across_rows and all(a.dtype.kind == "f" for a in examples[0]) and case.shapes:
        runs["parameters"] = parameters
    return runs


def _cast(array: Array, dtype: str) -> Array:
    return array.astype(dtype) if array.dtype.kind == "f" else array


def _outcome(case: Case, inputs: Sequence[Sequence[Any]]) -> Outcome:
    results = [y for xs in inputs for y in record(case, xs)]
    values = [np.array(v) for v in ln.values(results)]
    weights = cotangents(case, 0, values)
    return Outcome(values, differentiate(results, weights, [x for xs in inputs for x in xs]))
