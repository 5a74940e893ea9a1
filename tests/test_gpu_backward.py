"""Backward through some rows of batches on a GPU: gradients of the CPU, index arrays at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_gpu import Recurrent, counted, on_both

import lazynet as ln
from lazynet.execute import evaluate

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]

Losses = Callable[[ln.Model], tuple[list[ln.Expression], ln.Expression]]
"""From a model what is evaluated, and a loss that depends on some rows of it."""


def sequences(model: ln.Model, lengths: list[int]) -> list[Any]:
    rng = np.random.default_rng(0)
    table = model.lookup(9, 4, name="table")
    return [table[rng.integers(0, 9, n).tolist()] if n else None for n in lengths]


def op_by_op(model: ln.Model) -> tuple[list[ln.Expression], ln.Expression]:
    """One chain of several, with gathers, segments, payloads, constants and shared weights."""
    W, b = model.parameter((4, 4)), model.parameter(4, init=0.1)
    table = model.lookup(9, 4)
    rng = np.random.default_rng(0)
    states = []
    for n in (3, 1, 4, 2):
        h = ln.constant(rng.standard_normal(4), dtype=model.dtype)
        for word in rng.integers(0, 9, n).tolist():
            h = ln.tanh(W @ h + b) + table[word] * (1.5 if word % 2 else 0.5)
        states.append(ln.sum([h, *states[-2:]]))
    losses = [ln.cross_entropy(h, k) for k, h in enumerate(states)]
    return losses, losses[1] + losses[3]


def fused(model: ln.Model) -> tuple[list[ln.Expression], ln.Expression]:
    """Steps of a fused cell, of which some are asked for."""
    cell = ln.nn.LSTM(model, 4, 5)
    rng = np.random.default_rng(0)
    losses = []
    for n in (3, 1, 4, 2):
        state = None
        for _ in range(n):
            x = ln.constant(rng.standard_normal(4), dtype=model.dtype)
            y, state = cell.step(x, state)
        losses.append(ln.squared_norm(y))
    return losses, losses[0] + losses[3]


def scanned(model: ln.Model) -> tuple[list[ln.Expression], ln.Expression]:
    """Some of the sequences that ran together."""
    layer = ln.nn.LSTM(model, 4, 5)
    losses = [ln.sum_batch(ln.squared_norm(layer(xs)[0])) for xs in sequences(model, [3, 5, 2, 4])]
    return losses, losses[0] + losses[2]


def scanned_backward(model: ln.Model) -> tuple[list[ln.Expression], ln.Expression]:
    """Likewise in both directions, with last states, and one sequence without steps."""
    layer = ln.nn.Bidirectional(ln.nn.GRU(model, 4, 5), ln.nn.GRU(model, 4, 5))
    losses = []
    for xs in sequences(model, [3, 5, 0, 4]):
        if xs is None:
            xs = ln.constant(np.zeros((0, 4)), batched=True, dtype=model.dtype)
        ys, (there, back) = layer(xs)
        losses.append(ln.sum_batch(ln.squared_norm(ys)) + ln.squared_norm(there + back))
    return losses, losses[1] + losses[2]


def parts_of_batches(model: ln.Model) -> tuple[list[ln.Expression], ln.Expression]:
    """Some rows of explicit batches, reduced over the batch axis."""
    W = model.parameter((4, 4))
    rows = [ln.tanh(xs @ W) for xs in sequences(model, [3, 5, 2])]
    losses = [ln.squared_norm(ln.max_batch(x) + ln.sum_batch(ln.softmax(x))) for x in rows]
    return losses, losses[0] + losses[1]


CASES = [op_by_op, fused, scanned, scanned_backward, parts_of_batches]


@pytest.mark.parametrize("case", CASES)
def test_some_rows_have_the_gradients_of_the_cpu(case: Losses) -> None:
    def run(device: str) -> list[Any]:
        model = ln.Model(seed=2, dtype="float64", device=device)
        losses, loss = case(model)
        found = ln.values(losses)
        loss.backward()
        return [*found, *[p.gradient() for p in model]]

    on_both(run)


@pytest.mark.parametrize("case", CASES)
def test_some_rows_take_one_upload(case: Losses) -> None:
    """For each evaluation through which backward goes: here what had been, and the sum."""
    model = ln.Model(seed=2, device="cuda")
    losses, loss = case(model)
    evaluate(losses)
    evaluate([loss])
    with counted() as used:
        loss.backward()
    assert used["h2d"] == 1
    assert used["d2h"] == used["syncs"] == 0


@pytest.mark.parametrize("case", CASES)
def test_rows_left_out_in_the_same_evaluation_take_one_upload(case: Losses) -> None:
    model = ln.Model(seed=2, device="cuda")
    losses, loss = case(model)
    evaluate([*losses, loss])
    with counted() as used:
        loss.backward()
    assert used["h2d"] == 1
    assert used["d2h"] == used["syncs"] == 0


def test_all_rows_of_an_earlier_evaluation_take_no_upload() -> None:
    net = Recurrent("cuda")
    early = net.states([2, 3])
    evaluate(early)
    loss = ln.sum([ln.squared_norm(ln.tanh(net.W @ h)) for h in early])
    evaluate([loss])
    with counted() as used:
        loss.backward()
    assert used["h2d"] == 0


class Withholds(ln.Op):
    """y = x, with a gradient for no row."""

    def shape(self, x: Any) -> Any:
        return x

    def forward(self, call: Any, x: Any) -> Any:
        return x

    def backward(self, call: Any, dy: Any, y: Any, x: Any) -> Any:
        return None


def test_a_gradient_that_an_op_withholds_ends_there() -> None:
    def run(device: str) -> list[Any]:
        model = ln.Model(seed=2, dtype="float64", device=device)
        W, V = model.parameter((4, 4)), model.parameter((4, 4))
        losses = []
        for k in range(4):
            x = ln.constant(np.arange(4.0) + k, dtype=model.dtype)
            h = ln.tanh(W @ x)
            held = Withholds()(ln.tanh(V @ x)) if k % 2 else h
            losses.append(ln.squared_norm(h + held))
        ln.values(losses)
        (losses[1] + losses[2]).backward()
        return [W.gradient(), V.has_gradient()]

    on_both(run)
