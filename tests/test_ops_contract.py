"""Every op keeps the contract of design section 5, and the checker notices when one does not."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import CHECKS, Case
from devices import check_on

import lazynet
import lazynet as ln

CASES: list[Case] = [
    case
    for path in sorted(Path(__file__).parent.glob("cases_*.py"))
    for case in importlib.import_module(path.stem).CASES
]

NOT_COMPUTED = set(
    "DeviceInput External Import Input ParameterLeaf Rebatch TakeRows Unbatch Unshare".split()
)
"""Leaves, and nodes that only point at rows: they have no forward to check."""

BASES = {"Broadcasting", "Elementwise", "Rearrangement", "Rounding", "Staged", "Fused", "OnDevice"}
"""Classes that ops derive from."""

TRACED = {"FusedRows", "FusedScan", "DeviceRows", "DeviceScan"}
"""Made of other ops: test_fuse.py, test_fuse_ops.py and test_scan.py compare them with these."""


@dataclass(frozen=True)
class Cube(ln.Op):
    """y = x^3 times `scale`; right for scale_backward 1"""

    scale: float = 1.0
    scale_backward: float = 1.0

    def shape(self, *shapes: Any) -> Any:
        return shapes[0]

    def forward(self, call: Any, *args: Any) -> Any:
        return self.scale * args[0] ** 3

    def backward(self, call: Any, dy: Any, y: Any, *args: Any) -> Any:
        return self.scale_backward * self.scale * 3 * args[0] ** 2 * dy


@dataclass(frozen=True)
class Product(ln.Op):
    """y = a b, with a wrong gradient of b"""

    def shape(self, *shapes: Any) -> Any:
        return shapes[0]

    def forward(self, call: Any, *args: Any) -> Any:
        return args[0] * args[1]

    def backward(self, call: Any, dy: Any, y: Any, *args: Any) -> Any:
        return dy * args[1], 1.001 * dy * args[0]


CASES.append(Case("an op of the user's", Cube(2.0), [(2, 3)], lambda x: 2 * x * x * x, ops=(Cube,)))


@pytest.mark.parametrize(
    ("check", "case"),
    [
        pytest.param(check, case, id=f"{name}: {case}")
        for case in CASES
        for name, (check, applies) in CHECKS.items()
        if applies(case)
    ],
)
def test_contract(check: Any, case: Case) -> None:
    check(case)


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cuda"], indirect=True)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_gpu_finds_what_the_cpu_finds(case: Case, device: str) -> None:
    check_on(case, device)


def test_case_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert sorted(set(names)) == sorted(names)


def ops_of_lazynet() -> set[type]:
    for module in pkgutil.walk_packages(lazynet.__path__, "lazynet."):
        if not module.name.startswith("lazynet.backend."):  # one of which needs CuPy
            importlib.import_module(module.name)
    found: set[type] = set()
    stack: list[type] = [ln.Op]
    while stack:
        for op in stack.pop().__subclasses__():
            if op.__module__.split(".")[0] == "lazynet":
                found.add(op)
            stack.append(op)
    return found


def test_every_op_has_a_case() -> None:
    covered = {op for case in CASES for op in case.ops}
    missing = {
        f"{op.__module__}.{op.__name__}"
        for op in ops_of_lazynet() - covered
        if op.__name__ not in NOT_COMPUTED | BASES | TRACED
        and not (op.__name__.startswith("_") and op.__subclasses__())
    }
    assert not missing, f"no case in tests/cases_*.py for {sorted(missing)}"


def test_checker_rejects_a_gradient_wrong_by_a_thousandth() -> None:
    ln.gradcheck(Cube(), [[0.5, -1.0, 2.0]])
    for factor in (1.001, 0.999):
        with pytest.raises(ln.GradientError, match="input 0"):
            ln.gradcheck(Cube(1.0, factor), [[0.5, -1.0, 2.0]])


def test_checker_rejects_it_however_large_the_numbers_are() -> None:
    for scale in (1e-9, 1e9):
        ln.gradcheck(Cube(scale), [[0.5, -1.0, 2.0]])
        with pytest.raises(ln.GradientError):
            ln.gradcheck(Cube(scale, 1.001), [[0.5, -1.0, 2.0]])


def test_checker_rejects_it_in_one_of_several_inputs_and_names_that() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4))
    for scale in (1, 1e-3):
        with pytest.raises(ln.GradientError, match="gradcheck: input 1: backward gives"):
            ln.gradcheck(lambda a, b: Product()(a, scale * b) + a, [x, x + 1])  # noqa: B023


def test_checker_rejects_it_in_a_parameter_and_names_that() -> None:
    model = ln.Model(seed=0, dtype="float64")
    w = model.parameter(3, name="w")
    before = w.array.copy()
    ln.gradcheck(lambda x: Cube()(w) * x, [[1.0, 2.0, 3.0]], [w])
    with pytest.raises(ln.GradientError, match="parameter '/w'"):
        ln.gradcheck(lambda: Cube(1.0, 1.001)(w), [], [w])
    np.testing.assert_array_equal(w.array, before)
    with pytest.raises(ln.GradientError):
        w.gradient()


def test_checker_leaves_accumulated_gradients_alone() -> None:
    model = ln.Model(seed=0, dtype="float64")
    w = model.parameter(3)
    ln.sum(w * 2).backward()
    ln.gradcheck(lambda: w * w, [], [w])
    np.testing.assert_array_equal(w.gradient(), [2.0, 2.0, 2.0])


def test_checker_takes_batches_and_several_results() -> None:
    x = ln.constant(np.arange(6.0).reshape(2, 3), batched=True)
    ln.gradcheck(lambda x: (ln.tanh(x), x * x), [x])
    with pytest.raises(ln.GradientError):
        ln.gradcheck(lambda x: (ln.tanh(x), Cube(1.0, 1.001)(x)), [x])


def test_checker_refuses_what_it_cannot_check() -> None:
    with pytest.raises(ln.ArgumentError, match="something to differentiate"):
        ln.gradcheck(lambda i: i, [np.array([1, 2])])
    with pytest.raises(ln.ArgumentError, match="returned int"):
        ln.gradcheck(lambda x: 3, [1.0])
    with pytest.raises(ln.DtypeError, match="float64"):
        ln.gradcheck(lambda x: x, [1.0], [ln.Model().parameter(3)])
    with pytest.raises(ln.ArgumentError, match="parameters"):
        ln.gradcheck(lambda x: x, [1.0], [3])  # type: ignore[list-item]
