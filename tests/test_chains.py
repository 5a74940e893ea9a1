"""Batches that run together as one function, and backward where all rows take part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazynet as ln
from lazynet import chains, whole
from lazynet.backend import pool
from lazynet.collect import collect
from lazynet.layout import Layout, layout_of


@pytest.fixture(autouse=True, scope="module")
def at_once() -> Iterator[None]:
    """Functions are made when a structure is first met."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chains, "SEEN", 1)
        yield


@contextmanager
def batch_by_batch() -> Iterator[None]:
    """No batches run together, and backward looks at every row."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chains, "rule_of", lambda kind: None)
        patch.setattr("lazynet.walk.find_writes", lambda sheet: None)
        patch.setattr("lazynet.layout._cache", {})
        yield


def constant(values: Any) -> Any:
    return ln.constant(values, dtype="float64")


def layout(*roots: Any) -> Layout:
    found = layout_of(collect(list(roots), seal=False), True)
    found.runs = chains.find_runs(found)
    return found


def launches(*roots: Any) -> int:
    """Functions called to compute these: a run counts once."""
    found = layout(*roots)
    assert found.runs is not None
    return len(found.steps) - sum(len(r.steps) - 1 for r in found.runs)


class Net:
    """An LSTM, one node per operation, over sentences of several lengths."""

    def __init__(self, width: int = 3, dtype: str = "float64") -> None:
        self.model = ln.Model(seed=4, dtype=dtype)
        self.table = self.model.lookup(7, 2)
        self.b = self.model.parameter(4 * width, init="normal")
        self.W = self.model.parameter((4 * width, 2))
        self.U = self.model.parameter((4 * width, width))
        self.start = self.model.parameter(width)
        self.width = width

    def states(self, words: list[int]) -> list[Any]:
        h = c = ln.tanh(self.start) + np.zeros(self.width)
        nodes = []
        for word in words:
            z = ln.affine(self.b, self.W, self.table[word], self.U, h)
            i, f, o, g = ln.split(z, 4)
            c = ln.sigmoid(f) * c + ln.sigmoid(i) * ln.tanh(g)
            h = ln.sigmoid(o) * ln.tanh(c)
            nodes += [z, i, f, o, g, c, h]
        return nodes

    def gradients(self) -> list[Any]:
        return [np.array(p.gradient()) for p in (self.table, self.b, self.W, self.U, self.start)]


SENTENCES = [[1, 2, 3, 4, 5], [6, 5], [1, 1, 2], [3]]


def test_a_cell_is_three_launches() -> None:
    net = Net()
    nodes = [net.states([1, 2, 3, 4]) for _ in range(5)]
    plan = ln.plan([n[-1] for n in nodes])
    assert len(plan) == 1 + 4 * 8 + 3  # the start: an input and a sum; the lookups
    found = layout(*[n[-1] for n in nodes])
    assert found.runs is not None
    assert [len(r.steps) for r in found.runs][-3:] == [7, 7, 7]
    assert launches(*[n[-1] for n in nodes]) <= 3 + 4 * 2


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_values_and_gradients_as_node_by_node(width: int, dtype: str) -> None:
    results = []
    for how in (None, batch_by_batch, ln.no_autobatch):
        net = Net(width, dtype)
        with how() if how is not None else pytest.MonkeyPatch.context():
            nodes = [n for s in SENTENCES for n in net.states(s)]
            loss = ln.sum([n.sum() for n in nodes if n.shape == (width,)])
            values = ln.values(nodes)
            loss.backward()
            inner = [n.gradient() for n in nodes if n.shape == (width,)]
        results.append((values, inner, net.gradients()))
    tolerance = 1e-12 if dtype == "float64" else 3e-5
    for one, other in zip(results[0], results[2]):
        for a, b in zip(one, other):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    for a, b in zip(results[0][0], results[1][0]):
        assert (a == b).all(), "values are the same to the last bit"


UNARY: list[Callable[[Any], Any]] = [
    ln.tanh, ln.sigmoid, ln.relu, ln.exp, ln.softplus, ln.abs, ln.square, ln.elu,
    lambda x: x * 0.5, lambda x: 1.5 - x, lambda x: x**2, lambda x: -x, lambda x: x + 1.0,
]  # fmt: skip
BINARY: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / (b * b + 1.0),
    ln.maximum,
    lambda a, b: ln.where(ln.greater(a, b), a, b * 2.0),
    lambda a, b: a + ln.split(ln.concatenate([b, a]), 2)[0],
]


@st.composite
def programs(draw: Any) -> list[tuple[int, int, int, int]]:
    """Some graphs' instructions: (graph, operation, first operand, second operand)."""
    n = draw(st.integers(3, 25))
    return [
        (
            draw(st.integers(0, 3)),
            draw(st.integers(0, len(UNARY) + 2 * len(BINARY) - 1)),
            draw(st.integers(0, 30)),
            draw(st.integers(0, 30)),
        )
        for _ in range(n)
    ]


def run(program: list[tuple[int, int, int, int]], asked: int) -> tuple[list[Any], ...]:
    model = ln.Model(seed=2, dtype="float64")
    w, v = model.parameter(3, init="normal"), model.parameter(3, init="normal")
    rng = np.random.default_rng(3)
    graphs: list[list[Any]] = []
    for _ in range(4):
        inputs = [constant(rng.normal(size=3)), constant(rng.normal(size=3)) * w]
        graphs.append([*inputs, ln.tanh(inputs[0] + v), w])
    for graph, operation, i, j in program:
        nodes = graphs[graph]
        a, b = nodes[i % len(nodes)], nodes[j % len(nodes)]
        if operation < len(UNARY):
            nodes.append(UNARY[operation](ln.tanh(a)))
        else:
            nodes.append(BINARY[(operation - len(UNARY)) % len(BINARY)](ln.sigmoid(a), b))
    everything = [n for nodes in graphs for n in nodes if n is not w]
    loss = ln.sum([nodes[-1].sum() for nodes in graphs[: 1 + asked % 4]])
    values = ln.values(everything) if asked >= 4 else [loss.value()]
    loss.backward()
    gradients = []
    for n in everything:
        try:
            gradients.append(n.gradient())
        except ln.GradientError:
            gradients.append(None)
    parameters = [p.gradient() if p.has_gradient() else None for p in (w, v)]
    return values, gradients, parameters


@settings(max_examples=80, deadline=None)
@given(programs(), st.integers(0, 7))
def test_random_programs(program: list[tuple[int, int, int, int]], asked: int) -> None:
    results = [run(program, asked)]
    with batch_by_batch():
        results.append(run(program, asked))
    with ln.no_autobatch():
        results.append(run(program, asked))
    for other in results[1:]:
        for one, two in zip(results[0], other):
            assert len(one) == len(two)
            for a, b in zip(one, two):
                assert (a is None) == (b is None), "the same nodes are reached"
                if a is not None:
                    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_only_some_rows_need_a_gradient() -> None:
    model = ln.Model(seed=1, dtype="float64")
    w = model.parameter(2, init=[1.0, 2.0])
    xs = [constant([float(k), 1.0]) for k in range(6)]
    mixed = [ln.tanh(x * w) if k % 2 else ln.tanh(x * 2.0) for k, x in enumerate(xs)]
    ys = [ln.exp(m) for m in mixed]
    loss = ln.sum([y.sum() for y in ys])
    loss.backward()
    x = np.array([[k, 1.0] for k in (1, 3, 5)])
    t = np.tanh(x * [1.0, 2.0])
    np.testing.assert_allclose(w.gradient(), (np.exp(t) * (1 - t * t) * x).sum(0))
    t0 = np.tanh(xs[2].value() * 2.0)
    np.testing.assert_allclose(xs[2].gradient(), np.exp(t0) * (1 - t0 * t0) * 2)


def test_losses_that_are_not_asked_for_stay_out() -> None:
    model = ln.Model(seed=1, dtype="float64")
    w = model.parameter(2, init=[1.0, 2.0])

    def loss(scale: float) -> Any:
        x = constant([scale, scale])
        return ln.exp(ln.log(x * w) * 2.0).sum()

    good, bad = loss(1.0), loss(0.0)
    ln.values([good, bad])
    good.backward()
    np.testing.assert_allclose(w.gradient(), [2.0, 4.0])
    with pytest.raises(ln.GradientError):
        bad.gradient()


def test_a_row_that_overflows_leaves_the_others_alone() -> None:
    model = ln.Model(seed=1, dtype="float64")
    table = model.lookup(3, 2, init=[[1.0, 1.0], [1000.0, 1000.0], [2.0, 2.0]])
    ys = [ln.exp(ln.tanh(table[k]) * 1.0 + table[k]) for k in range(3)]
    loss = ln.sum([ys[0].sum(), ys[2].sum()])
    ln.values([*ys, loss])
    loss.backward()
    gradient = table.gradient()
    assert np.isfinite(gradient).all()
    assert (gradient[1] == 0).all()


def test_frozen_nodes_are_leaves() -> None:
    model = ln.Model(seed=1, dtype="float64")
    w = model.parameter(2, init=[1.0, 2.0])
    x = constant([3.0, 4.0])
    with ln.no_grad():
        frozen = ln.tanh(x * w)
    y = ln.tanh(x * w) * frozen
    y.sum().backward()
    t = np.tanh([3.0, 8.0])
    np.testing.assert_allclose(w.gradient(), (1 - t * t) * [3.0, 4.0] * t)


def test_minibatches_and_single_rows() -> None:
    values = []
    for how in (pytest.MonkeyPatch.context, ln.no_autobatch):
        model = ln.Model(seed=1, dtype="float64")
        w = model.parameter(2, init=[1.0, 2.0])
        with how():
            xs = ln.constant(np.arange(6.0).reshape(3, 2), batched=True, dtype="float64")
            one = constant([0.5, 0.25])
            y = ln.tanh(xs * w) * one + ln.sigmoid(one)
            z = ln.exp(ln.tanh(one) * w)
            loss = ln.sum_batch(y.sum()) + z.sum()
            loss.backward()
            values.append([loss.value(), w.gradient(), one.gradient(), xs.gradient()])
    for a, b in zip(*values):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_numbers_equal_and_different() -> None:
    w = ln.Model(dtype="float64").parameter(2, init=[1.0, 2.0])
    x = constant([1.0, 1.0]) * w
    ys = [ln.tanh(x * (k + 1.0)) * 3.0 for k in range(4)]
    ln.sum([y.sum() for y in ys]).backward()
    expected = sum(3.0 * k * (1 - np.tanh(k * np.array([1.0, 2.0])) ** 2) for k in range(1, 5))
    np.testing.assert_allclose(w.gradient(), expected)


def test_a_later_evaluation_builds_on_an_earlier_one() -> None:
    results = []
    for read in (False, True):
        net = Net()
        nodes = [net.states(s) for s in SENTENCES]
        if read:
            ln.values([n[6] for n in nodes])
        loss = ln.sum([n[-1].sum() for n in nodes])
        loss.backward()
        results.append([*net.gradients(), nodes[0][5].gradient(), nodes[0][0].gradient()])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_a_part_that_nobody_reads_has_a_zero_gradient() -> None:
    w = ln.Model(dtype="float64").parameter(4, init=[1.0, 2.0, 3.0, 4.0])
    x = constant([1.0, 1.0, 1.0, 1.0]) * w
    a, b = ln.split(x, 2)
    ln.tanh(a).sum().backward()
    np.testing.assert_allclose(w.gradient()[2:], [0.0, 0.0])
    assert (a.gradient() != 0).all()
    with pytest.raises(ln.GradientError):
        b.gradient()


@dataclass(frozen=True)
class Withholds(ln.Op):
    """y = a + b, with a gradient for b only."""

    def shape(self, a: Any, b: Any) -> Any:
        return a

    def forward(self, call: ln.Call, a: Any, b: Any) -> Any:
        return a + b

    def backward(self, call: ln.Call, dy: Any, y: Any, a: Any, b: Any) -> Any:
        return None, dy


def test_an_op_that_withholds_a_gradient() -> None:
    w = ln.Model(dtype="float64").parameter(2, init=[1.0, 2.0])
    x = constant([1.0, 3.0]) * w
    infinite = ln.log(x - x)  # its derivative at 0 is infinite: nothing may be multiplied by it
    y = Withholds()(infinite, ln.tanh(x))
    y.sum().backward()
    t = np.tanh([1.0, 6.0])
    np.testing.assert_allclose(w.gradient(), (1 - t * t) * [1.0, 3.0])
    with pytest.raises(ln.GradientError):
        infinite.gradient()


def test_the_short_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def find_writes(sheet: Any) -> Any:
        taken.append(whole.find_writes(sheet))
        return taken[-1]

    monkeypatch.setattr("lazynet.walk.find_writes", find_writes)
    net = Net()
    nodes = [net.states(s) for s in SENTENCES]
    loss = ln.sum([n[-1].sum() for n in nodes])
    loss.backward()
    assert taken[0] is not None
    ln.values([loss, *[n[-1].sum() for n in [net.states([1, 2])]]])
    two = [net.states([1, 2])[-1].sum() for _ in range(2)]
    ln.values(two)
    two[0].backward()
    assert taken[-1] is None


def test_a_run_that_fails_names_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise MemoryError("no room")

    net = Net()
    x = net.states([1, 2])[-1]
    reference = x.value()
    found = chains._functions.copy()
    monkeypatch.setattr(chains, "_functions", dict.fromkeys(found, fail))
    assert (net.states([1, 2])[-1].value() == reference).all(), "batch by batch instead"
    monkeypatch.setattr("lazynet.ops.elementwise.Elementwise.forward", fail)
    with pytest.raises(ln.OutOfMemoryError, match=r"recorded at .*test_chains\.py:\d+"):
        net.states([1, 2])[-1].value()


def test_an_interrupt_leaves_nodes_unevaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    net = Net()
    net.states([1, 2])[-1].value()
    x = net.states([1, 2])[-1]
    with monkeypatch.context() as patch:
        patch.setattr("lazynet.execute._run_chain", interrupt)
        with pytest.raises(KeyboardInterrupt):
            x.value()
    assert np.isfinite(x.value()).all()


def test_a_parameter_changed_before_backward_is_named() -> None:
    model = ln.Model(dtype="float64")
    w = model.parameter(2, init=[1.0, 2.0], name="w")
    y = (ln.tanh(constant([1.0, 1.0]) * w) * w).sum()
    y.value()
    w.array = [3.0, 4.0]
    with pytest.raises(ln.GradientError, match=r"'/w' was changed after multiply"):
        y.backward()


def test_long_chains_are_cut_and_look_alike() -> None:
    x: Any = constant([0.1, 0.2])
    w = ln.Model(dtype="float64").parameter(2)
    for _ in range(10 * chains.LONGEST):
        x = ln.tanh(x) * w
    found = layout(x)
    assert found.runs is not None
    assert max(len(r.steps) for r in found.runs) == chains.LONGEST
    assert len({r.key for r in found.runs[1:]}) <= 2


def test_a_structure_met_once_runs_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "SEEN", 3)
    w = ln.Model(dtype="float64").parameter(11)
    counts = []
    for _ in range(4):
        runs = layout(ln.tanh(constant(np.ones(11)) * w) + w).runs
        assert runs is not None
        counts.append(len(runs))
    assert counts == [0, 0, 1, 1]


def test_no_autobatch_runs_nothing_together() -> None:
    x = ln.tanh(ln.exp(constant([1.0, 2.0])))
    assert layout_of(collect([x], seal=False), False).runs == []


def test_memory_is_used_again_only_when_nobody_looks_at_it() -> None:
    a = pool.uninitialised(1000, 100, np.float32)
    a[...] = 1.0
    part = a[10:20]
    del a
    b = pool.uninitialised(1000, 100, np.float32)
    b[...] = 2.0
    assert (part == 1.0).all()
    address = b.ctypes.data
    del b, part
    c = pool.uninitialised(990, 100, np.float32)
    d = pool.uninitialised(990, 100, np.float32)
    assert address in (c.ctypes.data, d.ctypes.data)
    assert not np.shares_memory(c, d)


def test_memory_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_buffers", [])
    monkeypatch.setattr(pool, "KEPT", 1 << 20)
    held = [pool.uninitialised(1000, 100, np.float32) for _ in range(6)]
    assert sum(len(b) for b in pool._buffers) <= 1 << 20
    del held
    pool.uninitialised(2000, 100, np.float32)
    assert sum(len(b) for b in pool._buffers) <= 1 << 20
