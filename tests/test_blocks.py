"""Large batches of fused calls: blocks of rows, and threads, change no result."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

import lazynet as ln

blocks = importlib.import_module("lazynet.fuse.blocks")

CLASSES = 11


class Head:
    """A fused head with an operation of its own backward, payload, dropout and shared gradients."""

    def __init__(self) -> None:
        self.model = ln.Model(seed=3, dtype="float64")
        self.W = self.model.parameter((8, 6), name="W")
        self.gain = self.model.parameter(8, init="normal", name="gain")
        self.bias = self.model.parameter(8, init="normal", name="bias")
        self.V = self.model.parameter((CLASSES, 8), name="V")
        self.table = self.model.lookup(5, 8, name="table")

    @ln.fuse
    def loss(self, x: Any, c: Any, word: Any) -> Any:
        h = ln.layer_norm(ln.tanh(self.W @ x), self.gain, self.bias) + self.table[word]
        return ln.cross_entropy(self.V @ ln.dropout(h, 0.25), c), h


def results(head: Head, used: slice) -> list[Any]:
    """The loss, values, and every gradient of a graph of one large batch and a few small ones."""
    rng = np.random.default_rng(5)
    ln.seed(7)
    head.model.zero_gradients()
    terms, values, inputs = [], [], []
    for rows in (700, 3, 1):
        x = ln.constant(rng.normal(size=(rows, 6)), batched=True)
        classes, words = rng.integers(CLASSES, size=rows), rng.integers(5, size=rows)
        loss, h = head.loss(x, classes.tolist(), words.tolist())
        inputs.append(x)
        values += [loss, h]
        terms.append(ln.sum_batch(loss))
        terms += [v * float(k) for k, v in enumerate(ln.unbatch(h[2])[used])]
    total = ln.sum(terms)
    total.backward()
    found = [total.value(), *ln.values(values), *[x.gradient() for x in inputs]]
    return found + [p.gradient() for p in head.model]


def only_some_rows(head: Head) -> list[Any]:
    """Gradients where only every third row reaches the loss."""
    rng = np.random.default_rng(6)
    ln.seed(8)
    head.model.zero_gradients()
    x = ln.constant(rng.normal(size=(500, 6)), batched=True)
    loss, _ = head.loss(x, [3] * 500, [k % 5 for k in range(500)])
    ln.sum(ln.unbatch(loss)[::3]).backward()
    return [x.gradient(), *[p.gradient() for p in head.model]]


@pytest.fixture(autouse=True)
def blas_of_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture
def in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr(blocks, "SHARED_BYTES", 1 << 10)


def same(a: list[Any], b: list[Any]) -> None:
    assert len(a) == len(b)
    for x, y in zip(a, b):
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-12)


def test_heights() -> None:
    limit = blocks.BLOCK_BYTES
    assert blocks.block_height(100, 4, limit) == 100
    for size in (limit // 1000, limit // 70):
        height = blocks.block_height(10_000, size, limit)
        assert limit <= height * size < 2 * limit  # equal blocks, none of them a small rest
    assert blocks.block_height(10_000, limit, limit) == 64


def test_threads_share_what_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAZYNET_NUM_THREADS", "2")
    size = blocks.SHARED_BYTES // 1000
    assert blocks.block_height(1002, size, blocks.BLOCK_BYTES) == 501
    assert blocks.block_height(900, size, blocks.BLOCK_BYTES) == 900


def test_threads_of_blas_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAZYNET_NUM_THREADS", "2")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    assert blocks.block_height(1002, blocks.SHARED_BYTES // 1000, blocks.BLOCK_BYTES) == 1002


@pytest.mark.parametrize("work", [lambda h: results(h, slice(0, 5)), only_some_rows])
@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_blocks_change_nothing(
    work: Any, threads: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    head = Head()
    whole = work(head)
    with ln.no_fuse():
        same(work(head), whole)
    request.getfixturevalue("in_small_blocks")
    monkeypatch.setenv("LAZYNET_NUM_THREADS", threads)
    cut = work(head)
    same(cut, whole)


def test_threads_change_no_bit(in_small_blocks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "SHARED_BYTES", 1 << 40)  # the same blocks, whoever runs them
    head = Head()
    one = results(head, slice(0, 5))
    monkeypatch.setenv("LAZYNET_NUM_THREADS", "3")
    for x, y in zip(one, results(head, slice(0, 5))):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("rows", [1, 40, 64, 65, 129])
def test_few_rows_that_are_wide_are_one_block(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 6)
    monkeypatch.setattr(blocks, "SHARED_BYTES", 1 << 6)
    V = ln.Model(seed=0, dtype="float64").parameter((1, 1))

    @ln.fuse
    def wide(x: Any) -> Any:
        return ln.sum(ln.tanh(x * 2.0) * ln.exp(x) + V[0])

    x = ln.constant(np.linspace(-1, 1, rows * 50).reshape(rows, 50), batched=True)
    total = ln.sum_batch(wide(x))
    total.backward()
    values = x.value().astype(np.float64)
    np.testing.assert_allclose(
        total.value(), (np.tanh(values * 2) * np.exp(values) + V.value()).sum(), rtol=1e-5
    )
    slope = np.exp(values) * (2 * (1 - np.tanh(values * 2) ** 2) + np.tanh(values * 2))
    np.testing.assert_allclose(x.gradient(), slope, rtol=1e-4, atol=1e-5)


def test_an_error_in_a_block_names_the_function(
    in_small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAZYNET_NUM_THREADS", "2")
    table = ln.Model(seed=0).lookup(4, 3)

    @ln.fuse
    def chosen(x: Any, k: Any) -> Any:
        return table[k] * x

    x = ln.constant(np.ones((400, 3), np.float32), batched=True)
    index = ln.constant(np.r_[np.zeros(399), 9], batched=True, dtype="int64")
    y = chosen(x, index)
    with pytest.raises(ln.RangeError, match=r"chosen.*computed index 9"):
        y.value()
    assert "not evaluated" in repr(y)
