"""Values stored in 16 bits, on the CPU and on a GPU: computed with in float32, rounded when stored.

That every op does so on a GPU is `test_gpu_half`'s; how that is done knows no op.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from devices import check_half
from test_ops_contract import CASES

import lazynet as ln
from lazynet.graph import Leaf
from lazynet.kinds import FLOAT16

ROUNDING = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Largest relative error of one rounding."""


@pytest.fixture(params=["float16", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> str:
    if request.param == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 takes the package ml_dtypes")
    return str(request.param)


@pytest.mark.parametrize("case", CASES[::12], ids=lambda case: case.name)
def test_ops_in_float16(case: Any) -> None:
    check_half(case, "cpu")


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float16).astype(np.float32)


def test_what_is_stored_and_what_is_not(device: str, dtype: str) -> None:
    model = ln.Model(seed=0, dtype=dtype)
    table, W = model.lookup(5, 3), model.parameter((4, 3))
    h = ln.tanh(W @ table[[1, 2, 1]])
    loss = ln.sum_batch(ln.sum(h))
    loss.backward()
    for x in (table, W, h, loss):
        assert x.dtype.name == dtype
    assert W.array.dtype.name == h.value().dtype.name == dtype
    assert h.value(device=True).dtype.name == dtype
    assert type(loss.value()) is float
    for x in (table, W, h):
        assert x.gradient().dtype == np.float32
    evaluation, _ = h.tape.location(h.index)
    assert {a.itemsize for a in evaluation.arenas} == {2}
    assert {g.itemsize for g in evaluation.gradients or ()} == {4}


def test_initial_values_are_those_of_float32_rounded(device: str, dtype: str) -> None:
    inits = ["glorot", "he", "uniform", "normal", "orthogonal", "zeros"]
    full, half = [
        [ln.Model(seed=1, dtype=d).parameter((4, 4), init=i) for i in inits]
        for d in ("float32", dtype)
    ]
    for p, q in zip(full, half, strict=True):
        np.testing.assert_array_equal(p.array.astype(q.dtype), q.array)


def test_sums_do_not_stagnate(device: str, dtype: str) -> None:
    """One by one in 16 bits, a sum of ones stops at 2048 (float16) or at 256 (bfloat16)."""
    ones = np.ones(4096, np.float32)
    x = ln.Model(dtype=dtype).parameter(4096, init=ones)
    assert ln.sum(x).value() == 4096
    assert ln.mean(x).value() == 1
    rows = ln.constant(ones[:, None], batched=True, dtype=dtype)
    assert ln.sum_batch(rows * ln.Model(dtype=dtype).parameter(1, init=1.0)).value() == [4096]
    assert ln.logsumexp(x * 0.0).value() == pytest.approx(np.log(4096), rel=ROUNDING[dtype])


@pytest.mark.parametrize("op", ["matmul", "affine", "fused", "einsum", "inner"])
def test_products_do_not_stagnate(device: str, dtype: str, op: str) -> None:
    n = 8192
    model = ln.Model(dtype=dtype)
    W = model.parameter((2, n), init=1.0)
    bias = model.parameter(2, init=0.0)
    x = ln.constant(np.ones((3, n)), batched=True, dtype=dtype)
    y = {
        "matmul": lambda: W @ x,
        "affine": lambda: ln.affine(bias, W, x),
        "fused": lambda: ln.fuse(lambda x: W @ x)(x),
        "einsum": lambda: ln.einsum("ij,j->i", W, x),
        "inner": lambda: ln.dot(W[0], x),
    }[op]()
    assert (y.value().astype(np.float64) == n).all()


def test_gradients_of_repeated_rows_add_up_in_float32(device: str, dtype: str) -> None:
    model = ln.Model(dtype=dtype)
    table, p = model.lookup(2, 3, init=1.0), model.parameter(3, init=1.0)
    x = table[[0] * 4096] * p
    ln.sum_batch(ln.sum(x * 1.0)).backward()
    np.testing.assert_array_equal(table.gradient(), [[4096] * 3, [0] * 3])
    np.testing.assert_array_equal(p.gradient(), [4096] * 3)
    ones = ln.constant(np.ones(3), dtype=dtype) * p
    total = ln.sum([ones] * 4096)
    ln.sum(total).backward()
    np.testing.assert_array_equal(p.gradient(), [8192] * 3)


def test_small_gradients_do_not_vanish(device: str) -> None:
    """Gradients are float32, which is why no loss needs scaling: 1e-9 is 0 in float16."""
    p = ln.Model(dtype="float16").parameter(3, init=1.0)
    h = p * 1e-3
    ln.sum(ln.tanh(h * 1e-3) * 1e-3).backward()
    np.testing.assert_allclose(p.gradient(), [1e-9] * 3, rtol=0.01)
    assert np.float16(1e-9) == 0


def test_chains_over_several_evaluations(device: str, dtype: str) -> None:
    model = ln.Model(seed=0, dtype=dtype)
    W = model.parameter((3, 3), init=0.5 * np.eye(3))
    x = ln.constant(numbers(2, 3), batched=True, dtype=dtype)
    first = ln.tanh(W @ x)
    known = first.value()
    second = ln.tanh(W.T @ first) + ln.unbatch(first)[0]
    ln.sum_batch(ln.sum(second)).backward()
    whole = W.gradient()
    assert first.gradient().dtype == np.float32
    model.zero_gradients()
    again = ln.tanh(W @ ln.constant(numbers(2, 3), batched=True, dtype=dtype))
    ln.sum_batch(ln.sum(ln.tanh(W.T @ again) + ln.unbatch(again)[0])).backward()
    np.testing.assert_array_equal(again.value(), known)
    np.testing.assert_allclose(W.gradient(), whole, 1e-5)
    detached = first.detach()
    assert detached.dtype.name == dtype
    np.testing.assert_array_equal(detached.value(), known)


def test_only_some_rows_take_part_in_backward(device: str, dtype: str) -> None:
    model = ln.Model(seed=0, dtype=dtype)
    W = model.parameter((3, 3))
    xs = [ln.constant(numbers(3, seed=k), dtype=dtype) for k in range(3)]
    hs = [ln.tanh(W @ x) * ln.softmax(x) for x in xs]
    ln.values(hs)
    ln.sum(hs[1]).backward()
    full = ln.Model(seed=0).parameter((3, 3), init=W.array.astype(np.float32))
    x = ln.constant(numbers(3, seed=1))
    ln.sum(ln.tanh(full @ x) * ln.softmax(x)).backward()
    found, expected = W.gradient(), full.gradient()
    assert abs(found - expected).max() < 4 * ROUNDING[dtype] * abs(expected).max()


LAYERS = {
    "mlp": lambda m: lambda x: ln.nn.MLP(m, [4, 5, 3])(x[0]),
    "lstm": lambda m: lambda x: ln.nn.LSTM(m, 4, 3)(x)[1][0],
    "gru": lambda m: lambda x: ln.nn.GRU(m, 4, 3)(x)[1],
    "both ways": lambda m: (
        lambda x: ln.nn.Bidirectional(ln.nn.LSTM(m, 4, 3), ln.nn.LSTM(m, 4, 3))(x)[0][0]
    ),
    "convolution": lambda m: lambda x: ln.nn.Conv1d(m, 4, 3, 2)(x)[0],
    "attention": lambda m: lambda x: ln.nn.DotAttention()(x[0], x)[0],
    "norm": lambda m: lambda x: ln.nn.LayerNorm(m, 4)(x[0]),
}


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_layers(device: str, dtype: str, name: str) -> None:
    found = []
    for d in ("float32", dtype):
        model = ln.Model(seed=0, dtype=d)
        layer = LAYERS[name](model)
        xs = [ln.constant(numbers(4, seed=k), dtype=d) for k in range(3)]
        y = layer(xs)
        ln.sum(ln.tanh(y)).backward()
        found.append([y.value(), *[p.gradient() for p in model if p.has_gradient()]])
    for full, half in zip(*found, strict=True):
        error = abs(half.astype(np.float64) - full).max()
        assert error < 20 * ROUNDING[dtype] * max(1, abs(full).max())


def train(dtype: str, steps: int, make: Any, between: Any = None) -> tuple[list[float], Any, Any]:
    """A small classifier of sequences; its losses."""
    model = ln.Model(seed=0, dtype=dtype)
    table, lstm = model.lookup(20, 8), ln.nn.LSTM(model, 8, 8)
    head = ln.nn.Linear(model, 8, 3)
    optimizer = make(model)
    rng = np.random.default_rng(0)
    data = [(rng.integers(0, 20, rng.integers(2, 6)).tolist(), k % 3) for k in range(12)]
    losses = []
    for step in range(steps):
        loss = ln.mean([ln.cross_entropy(head(lstm(table[w])[1][0]), c) for w, c in data])
        loss.backward()
        optimizer.step()
        losses.append(float(loss.value()))
        if between is not None:
            between(step, model, optimizer)
    return losses, model, optimizer


OPTIMIZERS = {
    "sgd": lambda m: ln.optim.SGD(m, lr=0.5, clip=5.0),
    "momentum, lazy": lambda m: ln.optim.SGD(m, lr=0.1, momentum=0.9, sparse="lazy"),
    "adam": lambda m: ln.optim.Adam(m, lr=1e-2),
    "adam, lazy": lambda m: ln.optim.Adam(m, lr=1e-2, sparse="lazy"),
    "adamw": lambda m: ln.optim.AdamW(m, lr=1e-2, weight_decay=1e-2),
}


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_training_as_in_float32(device: str, dtype: str, name: str) -> None:
    full, _, _ = train("float32", 20, OPTIMIZERS[name])
    half, model, _ = train(dtype, 20, OPTIMIZERS[name])
    assert full[-1] < 0.97 * full[0]
    np.testing.assert_allclose(half, full, rtol=10 * ROUNDING[dtype])
    assert {p.dtype.name for p in model} == {dtype}


def test_updates_smaller_than_a_rounding_add_up(device: str, dtype: str) -> None:
    model = ln.Model(dtype=dtype)
    p, table = model.parameter(2, init=1.0), model.lookup(3, 2, init=1.0)
    optimizer = ln.optim.SGD(model, lr=1e-5)
    for _ in range(1000):
        (ln.sum(p) + ln.sum(table[1])).backward()
        optimizer.step()
    assert p.array.tolist() == pytest.approx([0.99] * 2, rel=ROUNDING[dtype])
    assert table.array[1].tolist() == pytest.approx([0.99] * 2, rel=ROUNDING[dtype])
    assert table.array[[0, 2]].tolist() == [[1, 1], [1, 1]]


def test_a_parameter_that_is_assigned_is_where_the_next_step_begins(device: str) -> None:
    model = ln.Model(dtype="float16")
    p = model.parameter(2, init=1.0)
    optimizer = ln.optim.SGD(model, lr=0.5)
    ln.sum(p).backward()
    optimizer.step()
    assert p.array.tolist() == [0.5, 0.5]
    p.array = [3.0, 4.0]
    ln.sum(p).backward()
    optimizer.step()
    assert p.array.tolist() == [2.5, 3.5]
    assert not p.has_gradient()


def test_frozen_parameters_and_bad_gradients_change_nothing(device: str) -> None:
    model = ln.Model(dtype="float16")
    p, q = model.parameter(2, init=1.0), model.parameter(2, init=1.0)
    optimizer = ln.optim.SGD(model, lr=0.5)
    ln.sum(p * q).backward()
    q.trainable = False
    optimizer.step()
    assert p.array.tolist() == [0.5, 0.5]
    assert q.array.tolist() == [1, 1]
    assert not q.has_gradient()
    ln.sum(p * np.inf).backward()
    with pytest.raises(ln.GradientError, match="NaN or"):
        optimizer.step()
    assert p.array.tolist() == [0.5, 0.5]
    assert p.has_gradient()


def test_saving_and_going_on(device: str, dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"

    def save(step: int, model: Any, optimizer: Any) -> None:
        if step == 4:
            model.save(path, optimizer)

    def load(step: int, model: Any, optimizer: Any) -> None:
        if step == 0:
            model.load(path, optimizer)

    make = OPTIMIZERS["adam"]
    expected, first, _ = train(dtype, 8, make, save)
    found, second, _ = train(dtype, 4, make, load)
    assert found[1:] == pytest.approx(expected[5:8], rel=1e-6)
    for p, q in zip(first, second, strict=True):
        np.testing.assert_array_equal(p.array, q.array)


def test_files_move_between_dtypes(device: str, dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    half, full = ln.Model(seed=0, dtype=dtype), ln.Model(seed=5)
    p, q = half.parameter(40, init="normal"), full.parameter(40, init="normal")
    half.save(path)
    full.load(path)
    np.testing.assert_array_equal(q.array, p.array.astype(np.float32))
    q.array = q.array * 1.001
    full.save(path)
    half.load(path)
    np.testing.assert_array_equal(p.array, q.array.astype(p.dtype))


def test_constants_and_conversions(device: str) -> None:
    array = np.array([1.5, 2.5], np.float16)
    assert ln.constant(array).dtype is FLOAT16
    p = ln.Model().parameter(2, init=1.0)
    assert (p * array).dtype == np.float32  # constants take the dtype of what they meet
    h = ln.Model(dtype="float16").parameter(2, init=1.0)
    assert (h * np.array([1.0, 2.0])).dtype == np.float16
    assert (h * 3 + [1, 2]).dtype == np.float16
    with pytest.raises(ln.DtypeError, match=r"float32, float16.*astype"):
        (p * 1.0) * (h * 1.0)
    wide = (h * 1.5).astype("float32")
    assert wide.dtype == np.float32
    ln.sum(wide * wide).backward()
    np.testing.assert_array_equal(h.gradient(), [4.5, 4.5])
    double = (h * 1.0).astype("float64")
    ln.sum(double).backward()
    rounded = ln.constant([1 + 2.0**-12, 70000.0]).astype("float16")
    assert rounded.value().tolist() == [1, np.inf]
    assert h.astype("int64").value().tolist() == [1, 1]
    assert ln.constant([1, 2], dtype="int64").astype("float16").value().dtype == np.float16


def test_random_numbers_are_those_of_float32_rounded(device: str, dtype: str) -> None:
    for draw in (ln.normal, ln.uniform, ln.gumbel, ln.bernoulli):
        found = []
        for d in ("float32", dtype):
            ln.seed(3)
            found.append(draw(50, batch=2, dtype=d).value())
        np.testing.assert_array_equal(found[0].astype(found[1].dtype), found[1])


def test_values_that_nobody_trains_keep_nothing_wide(device: str) -> None:
    model = ln.Model(dtype="float16")
    W = model.parameter((3, 3))
    with ln.no_grad():
        y = ln.tanh(W.T @ ln.constant(np.ones(3), dtype="float16"))
        y.value()
    evaluation, _ = y.tape.location(y.index)
    assert evaluation.wide == {}
    assert not isinstance(y, Leaf)


def test_without_the_package_bfloat16_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lazynet import convert

    monkeypatch.setattr(convert, "HALVES", [FLOAT16])
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(ln.DtypeError, match=r"pip install 'lazynet\[bfloat16\]'"):
        ln.Model(dtype="bfloat16")


def test_gradcheck_refuses() -> None:
    with pytest.raises(ln.DtypeError, match="float16"):
        ln.gradcheck(lambda x: ln.sum(x.astype("float16")), [np.ones(3)])
    p = ln.Model(dtype="float16").parameter(2)
    with pytest.raises(ln.DtypeError, match="float64"):
        ln.gradcheck(lambda x: ln.sum(p * x), [np.ones(2)], parameters=[p])


def test_float32_is_not_touched(device: str) -> None:
    """No layout of a float32 graph takes the way of 16 bits, also once there are such graphs."""
    ln.Model(dtype="float16")
    y = ln.tanh(ln.Model().parameter(3) * 2.0)
    y.value()
    evaluation, _ = y.tape.location(y.index)
    assert not evaluation.layout.half


def test_a_fused_function_computes_inside_in_float32(device: str) -> None:
    there_and_back = ln.fuse(lambda x: x * 300.0 * 300.0 / 300.0 / 300.0)
    model = ln.Model(dtype="float16")
    x = model.parameter(3, init=np.array([1.0, 2.0, 3.0]))
    y = there_and_back(x * 1.0)
    ln.sum(y).backward()
    assert y.value().tolist() == [1.0, 2.0, 3.0]  # 300 * 300 is infinite in float16
    assert x.gradient().dtype == np.float32
    assert np.allclose(x.gradient(), 1.0)
