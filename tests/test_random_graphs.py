"""Random graphs: whatever is batched gives what the node-by-node executor gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import pytest
import workloads
from hypothesis import given, settings
from hypothesis import strategies as st
from workloads import LSTM_CELL

import lazynet as ln
import lazynet.collect
from lazynet.collect import collect
from lazynet.modes import MODES
from lazynet.schedule import schedule

WIDTH = 3
BATCHES = (None, 0, 1, 3)

Instruction = tuple[int, int, int]
"""What to record, and two numbers that choose arguments and settings."""


@dataclass
class Outcome:
    """All that a user can see of a run."""

    values: list[Any]
    gradients: list[Any]
    inner: list[Any]


class Machine:
    """Records the graph that a list of instructions describes, on one model."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.model = ln.Model(seed=3, dtype=dtype)
        self.W = self.model.parameter((WIDTH, WIDTH))
        self.V = self.model.parameter((WIDTH, WIDTH))
        self.b = self.model.parameter(WIDTH, init=0.1)
        self.table = self.model.lookup(5, WIDTH)
        self.rng = np.random.default_rng(0)
        self.pool: list[Any] = []
        self.inputs: list[Any] = []
        self.seen: list[Any] = []

    def constant(self, batch: int | None) -> Any:
        shape = (WIDTH,) if batch is None else (batch, WIDTH)
        values = self.rng.normal(size=shape).astype(self.dtype)
        x = ln.constant(values, batched=batch is not None)
        self.inputs.append(x)
        return x

    def choose(self, k: int) -> Any:
        return self.pool[-1 - k % len(self.pool)]

    def fitting(self, x: Any, k: int) -> Any:
        """Something whose batch goes with that of x."""
        found = [y for y in self.pool if y.batch is None or x.batch in (None, y.batch)]
        return found[-1 - k % len(found)]

    def group(self, k: int, n: int) -> list[Any]:
        """Up to n + 1 expressions of which all batches agree or are None."""
        group = [self.choose(k)]
        batch = group[0].batch
        for y in self.pool[: 4 * n : 2]:
            if len(group) <= n and (y.batch is None or batch in (None, y.batch)):
                group.append(y)
                batch = batch if y.batch is None else y.batch
        return group

    def rows(self, k: int) -> Any:
        """Something with a batch."""
        x = self.choose(k)
        return x if x.batch is not None else ln.rebatch([x, self.choose(k + 1)])

    def step(self, what: int, k: int, m: int) -> list[Any]:
        """Record what one instruction says."""
        x = self.choose(k)
        unary = (ln.tanh, ln.sigmoid, ln.sin, lambda x: x * 0.5, lambda x: -x, lambda x: x[::-1])
        binary = (
            lambda x, y: x + y,
            lambda x, y: x - y,
            lambda x, y: ln.tanh(x * y),
            lambda x, y: ln.concatenate([x[:1], y[1:]]),
        )
        if what == 0:
            return [self.constant(BATCHES[k % 4])]
        if what in (1, 2):
            return [unary[m % len(unary)](x)]
        if what in (3, 4):
            return [binary[m % len(binary)](x, self.fitting(x, m))]
        if what == 5:
            return [ln.tanh(ln.affine(self.b, self.W, x))]
        if what == 6:
            return [ln.tanh(self.V @ x + self.W.T @ self.fitting(x, m))]
        if what == 7:
            return [ln.tanh(ln.sum(self.group(k, m % 4)))]
        if what == 8:
            return [ln.tanh(ln.sum_batch(self.rows(k)))]
        if what == 9:
            return [ln.softmax_batch(self.rows(k))]
        if what == 10:
            return ln.unbatch(self.rows(k))
        if what == 11:
            return [ln.rebatch([self.choose(k + j) for j in range(m % 3 + 1)])]
        if what == 12:
            self.seen.append(x.value())
            return []
        if what == 13:
            return [x.detach()]
        if what == 14:
            with ln.no_grad():
                return [ln.tanh(ln.affine(self.b, self.W, x))]
        if what == 15:
            h = self.fitting(x, m)
            if x.batch is None or h.batch is None:
                return list(LSTM_CELL(self.W, x, h, h))
            return list(LSTM_CELL(self.V, x, x, h))
        if what == 16:
            return [self.table[m % 5]]
        return [ln.tanh(x + self.b)]

    def run(self, program: list[Instruction], roots: list[int]) -> Outcome:
        """Record, evaluate and differentiate."""
        self.pool = [self.constant(None), self.constant(3)]
        for what, k, m in program:
            self.pool += self.step(what, k, m)
        losses = []
        for k in roots:
            x = self.choose(k)
            loss = ln.squared_norm(x)
            losses.append(loss if x.batch is None else ln.sum_batch(loss))
        graph = collect(losses, seal=False)
        workloads.check(graph, schedule(graph, MODES.get().autobatch))
        ln.backward(losses)
        values = [*self.seen, *ln.values([*losses, *self.pool])]
        gradients = [gradient_of(p) for p in self.model.parameters()]
        inner = [gradient_of(x) for x in self.inputs]
        return Outcome(values, gradients, inner)


def gradient_of(x: Any) -> Any:
    """The gradient, or None where backward did not get to."""
    try:
        return x.gradient()
    except ln.GradientError:
        return None


def agree(a: list[Any], b: list[Any], tolerance: float) -> None:
    assert len(a) == len(b)
    for x, y in zip(a, b):
        assert (x is None) == (y is None)
        if x is not None:
            assert np.shape(x) == np.shape(y)
            scale = max(1.0, float(np.max(np.abs(y), initial=0.0)))
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * scale)


programs = st.lists(
    st.tuples(st.integers(0, 17), st.integers(0, 11), st.integers(0, 11)), min_size=1, max_size=24
)
root_choices = st.lists(st.integers(0, 11), min_size=1, max_size=3)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
@settings(max_examples=150)
@given(program=programs, roots=root_choices)
def test_batched_and_node_by_node_agree(
    dtype: str, tolerance: float, program: list[Instruction], roots: list[int]
) -> None:
    batched = Machine(dtype).run(program, roots)
    with ln.no_autobatch():
        single = Machine(dtype).run(program, roots)
    with mock.patch.object(lazynet.collect, "_SMALL", -(10**9)):  # as for many nodes
        swept = Machine(dtype).run(program, roots)
    for found in (batched, swept):
        agree(found.values, single.values, tolerance)
        agree(found.gradients, single.gradients, tolerance)
        agree(found.inner, single.inner, tolerance)


@settings(max_examples=50)
@given(program=programs, roots=root_choices)
def test_evaluating_in_pieces_changes_nothing(program: list[Instruction], roots: list[int]) -> None:
    """What is evaluated early is computed by the same equations as what waits."""
    pieces = [part for step in program for part in (step, (12, step[1], 0))]
    whole = Machine("float64")
    expected = whole.run(program, roots)
    machine = Machine("float64")
    found = machine.run(pieces, roots)
    agree(found.values[len(machine.seen) :], expected.values[len(whole.seen) :], 1e-10)
    agree(found.gradients, expected.gradients, 1e-10)
    agree(found.inner, expected.inner, 1e-10)
