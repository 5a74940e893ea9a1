"""Values stored in 16 bits on a GPU, or an emulated one: every op, launches, DLPack, TF32."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from devices import check_half
from test_ops_contract import CASES

import lazynet as ln
from lazynet.backend import to_host

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_op_in_float16(case: Any) -> None:
    check_half(case, "cuda")


def measured(function: Callable[[], Any]) -> dict[str, int]:
    """What it does on the device."""
    stats = pytest.importorskip("cuda_emulator", reason="only the emulator counts launches").stats
    with stats.measure() as used:
        function()
    return dict(used)


def usual(dtype: str) -> tuple[Any, Any, Any]:
    """A weight, a bias, and a batch that depends on them, evaluated."""
    model = ln.Model(seed=0, dtype=dtype, device="cuda")
    W, b = model.parameter((4, 4)), model.parameter(4)
    x = ln.tanh(W @ ln.constant(np.ones((3, 4)), batched=True, dtype=dtype))
    x.value()
    return W, b, x


LAUNCHES = {
    "matmul": (lambda W, b, x: W @ x, 0),
    "affine": (lambda W, b, x: ln.affine(b, W, x), 0),
    "tanh": (lambda W, b, x: ln.tanh(x), 2),
    "multiply": (lambda W, b, x: x * x, 3),
    "softmax": (lambda W, b, x: ln.softmax(x), 2),
}
"""Launches beyond those in float32: arguments are widened, and the result is rounded, in one each;
the product of float16 matrices with a weight takes them as they are."""


@pytest.mark.parametrize("name", sorted(LAUNCHES))
def test_launches_of_forward(name: str) -> None:
    function, more = LAUNCHES[name]
    found = []
    for dtype in ("float32", "float16"):
        arguments = usual(dtype)
        y = function(*arguments)
        found.append(measured(lambda y=y: y.value(device=True)))
    full, half = found
    assert half["launches"] == full["launches"] + more
    for what in ("h2d", "d2h", "syncs", "gemms"):
        assert half[what] == full[what]


def test_a_lookup_takes_rows_as_they_are() -> None:
    found = []
    for dtype in ("float32", "float16"):
        table = ln.Model(dtype=dtype, device="cuda").lookup(1000, 8)
        found.append(measured(lambda t=table: t[[1, 2, 3]].value(device=True)))
    assert found[0]["launches"] == found[1]["launches"]
    assert found[0]["mallocs"] >= found[1]["mallocs"]


def test_nothing_waits_in_forward_and_backward() -> None:
    W, b, x = usual("float16")
    loss = ln.sum_batch(ln.sum(ln.relu(ln.affine(b, W, x)) * x))
    used = measured(loss.backward)
    assert used["d2h"] == 0
    assert used["syncs"] == 0


@pytest.mark.parametrize("shared", [True, False])
def test_products_sum_in_float32(shared: bool) -> None:
    """Sums of 2048 ones and 2048 halves: in float16 one by one they would stop at 2048."""
    x = np.concatenate([np.ones(2048), np.full(2048, 0.5)])
    model = ln.Model(dtype="float16", device="cuda")
    W = model.parameter((3, 4096), init=1.0)
    bias = model.parameter(3, init=2.0)
    with ln.use_device("cuda"):
        rows = ln.constant(np.tile(x, (5, 1)), batched=True, dtype="float16")
        if not shared:
            W = ln.constant(np.ones((5, 3, 4096)), batched=True, dtype="float16")
        np.testing.assert_array_equal((W @ rows).value(), np.full((5, 3), 3072))
        np.testing.assert_array_equal(ln.affine(bias, W, rows).value(), np.full((5, 3), 3074))


def test_a_bias_is_added_before_rounding() -> None:
    model = ln.Model(dtype="float16", device="cuda")
    W, bias = model.parameter((1, 2), init=[[1.0, 2.0**-11]]), model.parameter(1, init=-1.0)
    with ln.use_device("cuda"):
        y = ln.affine(bias, W, ln.constant(np.ones((2, 2)), batched=True, dtype="float16"))
        np.testing.assert_array_equal(y.value(), [[2.0**-11]] * 2)


def test_sums_in_float32() -> None:
    model = ln.Model(dtype="float16", device="cuda")
    x = model.parameter(4096, init=1.0)
    assert ln.sum(x).value() == 4096
    assert ln.sum(x * 16).value() == np.inf  # a sum that float16 cannot hold
    assert ln.sum(x.astype("float32") * 16).value() == 65536
    assert ln.mean(x * 16).value() == 16


def test_from_dlpack_and_back() -> None:
    cupy = pytest.importorskip("cupy")
    p = ln.Model(seed=0, dtype="float16", device="cuda").parameter((2, 3))
    y = p * 2
    there = cupy.from_dlpack(y)
    assert there.dtype == np.float16
    np.testing.assert_array_equal(to_host(there), y.value())
    again = ln.constant(there)
    assert again.dtype == np.float16
    np.testing.assert_array_equal((again * p).value(), (y * p).value())
    p.array = there
    np.testing.assert_array_equal(p.array, y.value())


def test_bfloat16_from_dlpack() -> None:
    pytest.importorskip("ml_dtypes", reason="bfloat16 takes the package ml_dtypes")
    cupy = pytest.importorskip("cupy")
    p = ln.Model(seed=0, dtype="bfloat16", device="cuda").parameter((2, 3))
    there = cupy.from_dlpack(p * 2)
    assert there.dtype.name == "bfloat16"
    np.testing.assert_array_equal(to_host(there), (p * 2).value())
    assert ln.constant(there).dtype.name == "bfloat16"


def test_cupy_13_has_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ml_dtypes", reason="bfloat16 takes the package ml_dtypes")
    cupy = pytest.importorskip("cupy")
    monkeypatch.setattr(cupy, "__version__", "13.6.0")
    with pytest.raises(ln.DtypeError, match=r"CuPy 13\.6\.0"):
        ln.Model(dtype="bfloat16", device="cuda")
    with (
        ln.use_device("cuda"),
        pytest.raises(ln.DtypeError, match=r"use 'float16'"),
    ):
        ln.tanh(ln.constant(np.ones(3), dtype="bfloat16")).value()
    assert ln.Model(dtype="float16", device="cuda").parameter(2).dtype == np.float16


TF32 = """
import numpy as np
import lazynet as ln

model = ln.Model(device="cuda")
W = model.parameter((4, 4), init=np.eye(4))
bias = model.parameter(4, init=0.0)
x = ln.constant(np.full((5, 4), 1 + 2.0**-12), batched=True, dtype="float32")
ys = [W @ x, ln.affine(bias, W, x), ln.fuse(lambda x: W @ x * 1.0)(x), ln.einsum("ij,j->i", W, x)]
print(*[float(y.value()[0, 0]) - 1 for y in ys])
for y in ys:
    model.zero_gradients()
    ln.sum_batch(ln.sum(y)).backward()
    print(float(W.gradient()[0, 0]) / 5 - 1)
"""


@pytest.mark.parametrize("asked", [False, True])
def test_products_are_rounded_to_tf32_only_if_asked(asked: bool) -> None:
    """2^-12 is below the last of the ten binary digits that TF32 keeps."""
    if asked:
        pytest.importorskip("cuda_emulator", reason="a GPU may not use TF32 for small matrices")
    environment = {k: v for k, v in os.environ.items() if k != "CUPY_TF32"}
    if asked:
        environment["CUPY_TF32"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", TF32], env=environment, capture_output=True, text=True, check=True
    )
    assert [float(x) for x in done.stdout.split()] == [0 if asked else 2.0**-12] * 8
