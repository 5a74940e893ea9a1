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

_VIEWS = "views of a parameter's values are of host memory; a GPU's are copies that are read-only"
_INDEX = "a GPU takes rows of NaN where a computed index is out of range: to raise, it had to wait"
_SINGULAR = "a GPU finds no finite number for a singular matrix: to raise, it had to wait"
_THREADS = "an optimiser's threads are the host's"

HOST_ONLY = {
    "tests/test_layout.py": "reads sources, computes nothing",
    "tests/test_compiled.py": "compares compiled modules with their sources, computes nothing",
    "tests/test_reference.py": "runs examples, as tests/test_gpu_doctests.py does there",
    "tests/test_typing.py": "checks types",
    "tests/test_data.py": "reads the data of the examples, computes nothing",
    "tests/test_data_text.py": "reads the data of the examples, computes nothing",
    "tests/test_data_trees.py": "reads the data of the examples, computes nothing",
    "tests/test_tutorial.py": "runs notebooks, which find a GPU by themselves",
    "tests/dynet/test_config.py": "settings and flags, with a stand-in for what CuPy finds; "
    "tests/test_gpu_devices.py sets them on a GPU, and test_programs.py runs with --dynet-gpu",
    "tests/test_profile.py::test_chains_and_routines_run_as_they_do_without": "both are the CPU's",
    "tests/test_routine.py": "structures met again are printed as functions for the CPU alone",
    "tests/test_bad_input.py::test_a_computed_row_out_of_range": _INDEX,
    "tests/test_blocks.py::test_an_error_in_a_block_names_the_function": _INDEX,
    "tests/test_chains.py::test_the_short_way_is_taken": "the short way is the CPU's",
    "tests/test_chains.py::test_an_interrupt_leaves_nodes_unevaluated": "interrupts the CPU's loop",
    "tests/test_device.py::test_values_on_the_cpu_are_numpy_arrays_either_way": "is about the CPU",
    "tests/test_differentiate.py::"
    "test_a_parameter_changed_before_backward_is_an_error_that_names_it[change_view]": _VIEWS,
    "tests/test_differentiate.py::test_but_only_if_its_value_is_read[change_view]": _VIEWS,
    "tests/test_differentiate.py::test_a_view_that_was_handed_out_before_is_noticed": _VIEWS,
    "tests/test_fuse.py::test_products_of_the_same_inputs_are_one": "reads printed NumPy code; "
    "tests/test_gpu_fuse.py counts launches",
    "tests/test_fuse.py::test_chains_need_no_temporaries": "counts arrays in printed NumPy code; "
    "tests/test_gpu_fuse.py counts launches",
    "tests/test_optim.py::test_two_optimisers_and_views_handed_out": _VIEWS,
    "tests/test_optim.py::test_exact_steps_touch_no_row_that_rests": "a GPU moves all rows in one "
    "launch",
    "tests/test_optim.py::test_an_interrupt_counts_no_gradient_twice": "interrupts the CPU's loop "
    "over parameters; a GPU updates them together",
    "tests/test_parameters.py::test_array_is_a_view_both_ways": _VIEWS,
    "tests/test_parameters.py::test_initial_arrays_are_copied": _VIEWS,
    "tests/test_parameters.py::test_versions": _VIEWS,
    "tests/test_parameters.py::test_values_can_be_part_of_an_array": _VIEWS,
    "tests/test_parameters.py::test_whoever_has_a_view_of_the_values_keeps_it": _VIEWS,
    "tests/test_threads.py::test_updates_are_the_same_bit_for_bit": _THREADS,
    "tests/dynet/test_linalg.py::test_singular_matrices_are_an_error": _SINGULAR,
    "tests/dynet/test_pains.py::test_what_is_never_asked_for_may_fail": _SINGULAR,
    "tests/dynet/test_pains.py::test_errors_at_computation_name_the_line_of_the_program": _SINGULAR,
    "tests/dynet/test_pains.py::test_immediate_computation_raises_on_the_line": _SINGULAR,
    "tests/dynet/test_trainers.py::test_views_of_values_stay_views": _VIEWS,
}
"""Files, single tests, and tests with some argument, that do not run on a GPU, and why.

Everything else runs on each device: `conftest.py` sees to that.
"""

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
"""Relative to the largest number, beside what a case asks for itself."""


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


def _runs(case: Case, rounded: Any = None) -> dict[str, Callable[[str, str], Outcome]]:
    examples = [draw(case, row) for row in range(3)]
    if rounded is not None:
        examples = [
            [a.astype(rounded).astype(a.dtype) if a.dtype.kind == "f" else a for a in arrays]
            for arrays in examples
        ]
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


HALF = 2.0**-11
"""Largest relative error of rounding to float16."""


def check_half(case: Case, device: str) -> None:
    """Values stored in float16, and gradients, are those that the CPU computes in float32.

    What comes in, numbers of about 1, is rounded beforehand. A case is a few ops, whose results are
    rounded once each: four roundings are allowed.
    """
    for name, run in _runs(case, np.float16).items():
        full, half = run("cpu", "float32"), run(device, "float16")
        for v, e in zip(half.values, full.values, strict=True):
            assert v.dtype in (np.float16, e.dtype), name
            np.testing.assert_allclose(
                v.astype(e.dtype), e, 4 * HALF, 4 * HALF, err_msg=f"{name}, value"
            )
        for k, (g, e) in enumerate(zip(half.gradients, full.gradients, strict=True)):
            np.testing.assert_allclose(g, e, 4 * HALF, 4 * HALF, err_msg=f"{name}, gradient {k}")
