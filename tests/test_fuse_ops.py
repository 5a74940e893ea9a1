"""Every op inside a fused function, by the cases of its contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from contract import Case, batches, constants, draw
from fusing import Recorded, close, outcome
from test_ops_contract import CASES

import lazynet as ln

FUSED = [case for case in CASES if not case.across_rows]


def fused(case: Case, given: dict[int, Any]) -> Any:
    """The case as a fused function of the arguments that are not given."""

    def function(*xs: Any) -> Any:
        rest = iter(xs)
        args = [given[k] if k in given else next(rest) for k in range(len(case.shapes))]
        results = case.function(*args, **case.kwargs)
        return tuple(results) if isinstance(results, (tuple, list)) else results

    return ln.fuse(function)


def compare(case: Case, given: dict[int, Any], model: ln.Model | None, reach: Any) -> None:
    """Three examples, as nodes and as a batch, fused and not; some of them reach the loss."""
    examples = [draw(case, row) for row in range(3)]
    function = fused(case, given)

    def build() -> Recorded:
        groups = [constants(case, arrays) for arrays in examples]
        if case.batched and len(given) < len(case.shapes):
            groups.append(batches(case, examples))
        outputs: list[Any] = []
        inputs: list[Any] = []
        ends = [0]
        for group in groups:
            free = [x for k, x in enumerate(group) if k not in given]
            result = function(*free)
            outputs += result if isinstance(result, tuple) else [result]
            inputs += [x for x in free if x.dtype.kind == "f"]
            ends.append(len(outputs))
        chosen = [k for g in reach if g < len(groups) for k in range(ends[g], ends[g + 1])]
        return Recorded(outputs, inputs, chosen)

    tolerance = 1e-4 if case.name.startswith("AsType") else 1e-9  # it goes through float32
    with np.errstate(all="ignore"):
        with ln.no_fuse():
            plain = outcome(build, model)
        found = outcome(build, model)
    close(found.values, plain.values, tolerance, "value")
    close(found.gradients, plain.gradients, tolerance, "gradient")


@pytest.mark.parametrize("case", FUSED, ids=str)
def test_every_op_inside(case: Case) -> None:
    compare(case, {}, None, [0, 1, 2, 3] if len(case.name) % 2 else [1, 3])


@pytest.mark.parametrize("case", [case for case in FUSED if case.shared_args], ids=str)
def test_every_op_with_parameters_inside(case: Case) -> None:
    model = ln.Model(seed=0, dtype="float64")
    arrays = draw(case)
    given = {k: model.parameter(arrays[k].shape, init=arrays[k]) for k in case.shared_args}
    compare(case, given, model, [0, 2, 3])
    if len(given) > 1:
        del given[max(given)]
        compare(case, given, model, [1])
