"""Structures met again: recognised, and run as printed functions, with the same results."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from test_random_graphs import Instruction, Machine, Outcome, agree, programs, root_choices

import lazynet as ln
from lazynet import recall, rewind, routine
from lazynet.execute import evaluate, last_serial
from lazynet.graph import Expression
from lazynet.revise import forget, replace
from lazynet.timing import BACKWARD, FORWARD, TIMING, Timer

ROUNDS = 5
"""After so many, forward and backward have been printed where `SEEN` is 1."""


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known yet, and what is met again is printed at once."""
    monkeypatch.setattr(routine, "SEEN", 1)
    monkeypatch.setattr(routine, "_printed", [])
    recall._known.clear()
    recall._large.clear()
    recall._sizes.clear()
    recall._glimpsed.clear()


def evaluation_of(x: Expression) -> Any:
    return x.tape.location(x.index)[0]


def routines() -> list[routine.Routine]:
    return [known.routine for known in recall._known.values() if known.routine is not None]


def printed_backs(x: Expression) -> int:
    """How many ways backward has been printed for the structure of an evaluated expression."""
    found = evaluation_of(x).routine
    return sum(isinstance(back, rewind.Back) for back in found.backs.values())


class Net:
    """Two layers with a loss, on one example."""

    def __init__(self) -> None:
        self.model = ln.Model(seed=1, dtype="float64")
        self.W = self.model.parameter((4, 3))
        self.b = self.model.parameter(4, init=0.1)
        self.V = self.model.parameter((2, 4))
        self.table = self.model.lookup(6, 3)
        self.rng = np.random.default_rng(0)

    def input(self) -> Any:
        return ln.constant(self.rng.normal(size=3))

    def loss(self, x: Any, c: int = 0) -> Any:
        return ln.cross_entropy(self.V @ ln.tanh(self.W @ x + self.b), c)

    def gradients(self) -> list[Any]:
        found = [p.gradient() if p.has_gradient() else None for p in self.model]
        self.model.zero_gradients()
        return found


def same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for x, y in zip(found, expected):
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12)


@settings(max_examples=60)
@given(program=programs, roots=root_choices)
def test_random_graphs_agree_with_node_by_node(
    program: list[Instruction], roots: list[int]
) -> None:
    recall._known.clear()
    recall._large.clear()
    recall._sizes.clear()
    machine = Machine("float64")

    def run(seed: int) -> Outcome:
        machine.rng = np.random.default_rng(seed)
        machine.inputs, machine.seen = [], []
        machine.model.zero_gradients()
        return machine.run(program, roots)

    for seed in range(ROUNDS):
        found = run(seed)
        with ln.no_autobatch():
            expected = run(seed)
        agree(found.values, expected.values, 1e-10)
        agree(found.gradients, expected.gradients, 1e-10)
        agree(found.inner, expected.inner, 1e-10)


def test_examples_one_at_a_time() -> None:
    net = Net()
    for k in range(6):
        x = net.input()
        word = net.table[k % 6]
        loss = net.loss(x, k % 2) + net.loss(word, 1)
        value = loss.value()
        loss.backward()
        inner = [x.gradient(), word.gradient()]
        found = net.gradients()
        data = x.value()
        with ln.no_autobatch():
            x = ln.constant(data)
            word = net.table[k % 6]
            again = net.loss(x, k % 2) + net.loss(word, 1)
            again.backward()
            expected = net.gradients()
            assert value == pytest.approx(again.value(), rel=1e-12)
            same(inner, [x.gradient(), word.gradient()])
        same(found, expected)
    assert len(routines()) == 1
    assert printed_backs(loss) == 1


def test_several_batches_share_a_weight() -> None:
    """Gradients of weights that several batches use are one product over all of them."""
    net = Net()
    U = net.model.parameter((4, 4))
    for _ in range(ROUNDS):
        xs = net.rng.normal(size=(5, 3))

        def run(xs: Any = xs) -> list[Any]:
            h = ln.tanh(net.W @ ln.constant(xs[0]) + net.b)
            for x in xs[1:]:
                h = ln.tanh(U @ h + net.W @ ln.constant(x) + net.b)
            loss = (net.V @ h).sum() * 2.0
            loss.backward()
            return [loss.value(), *net.gradients()]

        found = run()
        with ln.no_autobatch():
            same(found, run())
    assert len(routines()) == 1


def test_shared_values_computed_from_parameters() -> None:
    net = Net()
    for _ in range(ROUNDS):
        x = net.rng.normal(size=4)

        def run(x: Any = x) -> list[Any]:
            loss = (net.W.T @ ln.constant(x)).sum() + (net.W * net.W).sum()
            loss.backward()
            return [loss.value(), *net.gradients()]

        found = run()
        with ln.no_autobatch():
            same(found, run())
    assert len(routines()) == 1


def test_parameters_that_change_and_that_are_frozen() -> None:
    net = Net()
    optimizer = ln.optim.SGD(net.model, lr=0.1)
    for k in range(12):
        net.b.trainable = k % 4 < 2
        x = net.rng.normal(size=3)
        loss = net.loss(ln.constant(x))
        loss.backward()
        found = [p.gradient() if p.has_gradient() else None for p in net.model]
        net.model.zero_gradients()
        with ln.no_autobatch():
            net.loss(ln.constant(x)).backward()
        same(found, [p.gradient() if p.has_gradient() else None for p in net.model])
        assert net.b.has_gradient() == net.b.trainable
        optimizer.step()
    assert len(routines()) == 1
    assert printed_backs(loss) == 2


def test_gradients_accumulate() -> None:
    net = Net()
    x = net.rng.normal(size=3)
    for _ in range(ROUNDS):
        net.loss(ln.constant(x)).backward()
    once = [None if g is None else g / ROUNDS for g in net.gradients()]
    net.loss(ln.constant(x)).backward()
    same(once, net.gradients())


def test_a_parameter_changed_between_forward_and_backward() -> None:
    net = Net()
    for _ in range(ROUNDS):
        net.loss(net.input()).backward()
    net.model.zero_gradients()
    loss = net.loss(net.input())
    loss.value()
    net.V.array = np.ones((2, 4))
    with pytest.raises(
        ln.GradientError, match=r"parameter '/parameter_2' was changed after matmul"
    ):
        loss.backward()
    assert not any(p.has_gradient() for p in net.model)


def test_one_tape_asked_for_other_nodes() -> None:
    net = Net()
    for k in range(2 * ROUNDS):
        x = net.input()
        h = ln.tanh(net.W @ x + net.b)
        y = net.V @ h
        z = (h * h).sum()
        if k % 2:
            expected = np.tanh(net.W.values @ x.value() + net.b.values)
            np.testing.assert_allclose(z.value(), (expected**2).sum())
            np.testing.assert_allclose(y.value(), net.V.values @ expected)
        else:
            y.value()
            z.value()
        z.backward()
        assert net.W.has_gradient() and not net.V.has_gradient()
        net.model.zero_gradients()


def test_rows_of_a_batch_that_differ() -> None:
    """Which row is taken is no part of what is recognised, and the layout depends on it."""
    xs = np.arange(12.0).reshape(4, 3)
    for k in [0, 1, 1, 1, 3, 2, 2, 2, 0, 0, 0]:
        row = ln.unbatch(ln.constant(xs, batched=True))[k] * 2.0
        assert row.value().tolist() == (2 * xs[k]).tolist()
    assert evaluation_of(row).routine is not None
    assert len(routines()) == 3


def test_several_rows_of_a_batch_that_differ() -> None:
    xs = np.arange(12.0).reshape(4, 3)
    for rows in [[0, 1], [2, 1], [2, 1], [3, 3], [3, 3], [2, 1], [3, 3], [2, 1], [3, 3]]:
        taken = ln.take_rows(ln.constant(xs, batched=True), rows) * 2.0
        assert taken.value().tolist() == (2 * xs[rows]).tolist()
    assert evaluation_of(taken).routine is not None


def test_batches_of_other_sizes_and_numbers_of_other_values() -> None:
    net = Net()
    for rows in [1, 1, 1, 3, 3, 3, 0, 0, 0, 2]:
        xs = net.rng.normal(size=(rows, 3))
        factor = float(net.rng.normal())
        y = ln.constant(xs, batched=True) * factor + 1.0
        np.testing.assert_allclose(y.value(), xs * factor + 1.0, rtol=1e-6)


def test_an_input_of_another_size_is_an_error() -> None:
    for _ in range(ROUNDS):
        x = ln.constant([1.0, 2.0, 3.0])
        y = x * 2.0
        y.value()
    x = ln.constant([1.0, 2.0, 3.0])
    y = x * 2.0
    replace(x, np.ones(1, np.float32))
    with pytest.raises(ln.EvaluationError):
        y.value()


@dataclass(frozen=True)
class Trip(ln.Op):
    """y = x, until it is told to fail."""

    def shape(self, x: Any) -> Any:
        return x

    def forward(self, call: Any, x: Any) -> Any:
        if FAILURE:
            raise FAILURE[0]
        return x

    def backward(self, call: Any, dy: Any, y: Any, x: Any) -> Any:
        if BACK_FAILURE:
            raise BACK_FAILURE[0]
        return dy if not WITHHELD else None


FAILURE: list[BaseException] = []
BACK_FAILURE: list[BaseException] = []
WITHHELD: list[bool] = []


@pytest.fixture
def tripping() -> Any:
    yield None
    for switch in (FAILURE, BACK_FAILURE, WITHHELD):
        switch.clear()


def trip_net() -> tuple[Net, Callable[[], Any]]:
    net = Net()

    def build() -> Any:
        return ln.tanh(Trip()(net.W @ net.input()) + net.b).sum()

    for _ in range(ROUNDS):
        build().backward()
    net.model.zero_gradients()
    assert len(routines()) == 1
    return net, build


@pytest.mark.usefixtures("tripping")
def test_a_failure_names_the_operation_and_leaves_nodes_unevaluated() -> None:
    _, build = trip_net()
    x = build()
    FAILURE.append(ValueError("no more"))
    with pytest.raises(ln.EvaluationError, match=r"trip\(\(4,\)\) x 1 rows.*test_routine.*no more"):
        x.value()
    assert "not evaluated" in repr(x)
    FAILURE.clear()
    assert np.isfinite(x.value())


@pytest.mark.usefixtures("tripping")
def test_debug_names_the_line_of_this_very_node() -> None:
    _, build = trip_net()
    with ln.debug():
        x = build()
    FAILURE.append(ValueError("no more"))
    with pytest.raises(ln.EvaluationError, match=r"trip\(\(4,\)\) x 1 rows, recorded at .*no more"):
        x.value()


@pytest.mark.usefixtures("tripping")
def test_an_interrupt_leaves_nodes_unevaluated_and_gradients_as_they_were() -> None:
    net, build = trip_net()
    x = build()
    FAILURE.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        x.value()
    assert "not evaluated" in repr(x)
    FAILURE.clear()
    BACK_FAILURE.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        x.backward()
    assert not any(p.has_gradient() for p in net.model)
    BACK_FAILURE.clear()
    x.backward()
    assert net.W.has_gradient()


@pytest.mark.usefixtures("tripping")
def test_an_op_that_withholds_a_gradient() -> None:
    net, build = trip_net()
    x = build()
    WITHHELD.append(True)
    x.backward()
    assert net.b.has_gradient()
    assert not net.W.has_gradient()
    net.model.zero_gradients()
    WITHHELD.clear()
    build().backward()
    assert net.W.has_gradient()


def test_nothing_is_multiplied_by_a_gradient_of_zero() -> None:
    """Rows that the loss does not depend on take no part, infinite derivatives and all."""
    net = Net()
    for _ in range(ROUNDS):
        a, b = (ln.exp(net.W @ ln.constant(x)) for x in (np.ones(3), np.full(3, 1e308)))
        ln.values([a, b])
        a.sum().backward()
        assert np.isfinite(net.W.gradient()).all()
        net.model.zero_gradients()
        a, b = (ln.exp(net.W @ ln.constant(x)) for x in (np.ones(3), np.full(3, 1e308)))
        loss = a.sum()
        ln.values([loss, b])
        loss.backward()
        assert np.isfinite(net.W.gradient()).all()
        net.model.zero_gradients()


def test_no_grad() -> None:
    net = Net()
    for _ in range(ROUNDS):
        with ln.no_grad():
            h = ln.tanh(net.W @ net.input())
        loss = (net.V @ h).sum()
        loss.backward()
        assert net.V.has_gradient() and not net.W.has_gradient()
        net.model.zero_gradients()
        with ln.no_grad():
            y = (net.W @ net.input()).sum()
        y.value()
        assert evaluation_of(y).calls.count(None) == len(evaluation_of(y).calls)
    with pytest.raises(ln.GradientError, match="no_grad"):
        y.backward()


def test_node_by_node_stays_node_by_node() -> None:
    net = Net()
    for _ in range(ROUNDS):
        with ln.no_autobatch():
            x = net.loss(net.input())
            x.value()
        assert evaluation_of(x).routine is None


def test_timed_batch_by_batch() -> None:
    net = Net()
    for k in range(ROUNDS + 1):
        x = net.input()
        loss = net.loss(x)
        if k == ROUNDS:
            timer = TIMING.timer = Timer()
            try:
                loss.backward()
            finally:
                TIMING.timer = None
        else:
            loss.backward()
    steps = evaluation_of(loss).layout.steps
    for direction in (FORWARD, BACKWARD):
        batches = [n for (way, _), n in timer.batches.items() if way == direction]
        assert sum(batches) == len(steps) - (direction == BACKWARD)  # an input has no backward


def test_linked_evaluations_and_what_they_hold() -> None:
    """Each round looks at a value: an evaluation of its own, which rests on the one before."""
    net = Net()
    U = net.model.parameter((4, 4))

    def episode(xs: Any, look: bool) -> list[Any]:
        h = net.W @ ln.constant(xs[0])
        losses = []
        for x in xs[1:]:
            h = ln.tanh(U @ h + net.W @ ln.constant(x) + net.b)
            losses.append(ln.cross_entropy(net.V @ h, 1))
            if look:
                losses[-1].value()
                assert not h.tape.imports  # what it has been computed from is let go of
        loss = ln.sum(losses)
        loss.backward()
        inner = [] if look else [h.gradient()]
        return [loss.value(), *net.gradients(), *inner][: 1 + len(list(net.model))]

    for _ in range(ROUNDS):
        xs = net.rng.normal(size=(6, 3))
        found = episode(xs, True)
        with ln.no_autobatch():
            same(found, episode(xs, False))
    assert len(routines()) >= 3
    assert any(isinstance(b, rewind.Back) for r in routines() for b in r.backs.values())


@pytest.mark.usefixtures("tripping")
def test_a_gradient_withheld_in_linked_evaluations() -> None:
    net = Net()

    def run() -> list[Any]:
        h = Trip()(net.W @ ln.constant(np.ones(3))) + net.b
        h.value()
        loss = (net.V @ ln.tanh(h)).sum()
        loss.value()
        loss.backward()
        return net.gradients()

    whole = [run() for _ in range(ROUNDS)][-1]
    assert whole[0] is not None
    WITHHELD.append(True)
    found = run()
    assert found[0] is None
    same(found[1:], whole[1:])


def test_an_unevaluated_node_of_another_tape() -> None:
    """A structure whose imports are not evaluated this time is collected as if it were new."""
    net = Net()
    for k in range(2 * ROUNDS):
        x = net.input()
        h = ln.tanh(net.W @ x)
        other = net.W @ x
        (h if k % 2 else other).value()
        y = net.V @ h
        expected = net.V.values @ np.tanh(net.W.values @ x.value())
        np.testing.assert_allclose(y.value(), expected)


def test_a_structure_computed_anew() -> None:
    x = ln.constant([1.0, 2.0])
    key = ln.dropout(ln.constant(np.ones(50)), 0.5)
    y = (x * 3.0).sum()
    seen = set()
    for k in range(2 * ROUNDS):
        replace(x, np.array([k, 1.0], np.float32))
        forget([y, key], last_serial())
        evaluate([y, key], keep_imports=True)
        assert y.value() == 3.0 * (k + 1)
        y.backward()
        assert x.gradient().tolist() == [3.0, 3.0]
        seen.add(key.value().tobytes())
    assert len(seen) == 2 * ROUNDS
    assert evaluation_of(y).routine is not None


def test_a_long_tape_is_recognised_by_itself() -> None:
    xs = [ln.constant([float(k), 1.0]) for k in range(recall.SHORT)]
    y = ln.sum([(x * x).sum() for x in xs])
    values = sum(k * k + 1.0 for k in range(recall.SHORT))
    for k in range(ROUNDS):
        replace(xs[0], np.array([k, 1.0], np.float32))
        forget([y], last_serial())
        evaluate([y], keep_imports=True)
        assert y.value() == values + k * k
        y.backward()
        assert xs[0].gradient().tolist() == [2.0 * k, 2.0]
        assert xs[2].gradient().tolist() == [4.0, 2.0]
    assert not recall._known
    assert y.tape.known and evaluation_of(y).routine is not None
    assert not routine._printed


def test_models_are_not_kept_alive() -> None:
    net = Net()
    for _ in range(ROUNDS):
        net.loss(net.input()).backward()
    assert len(routines()) == 1
    watched = [weakref.ref(net.W.values), weakref.ref(net.table.values)]
    del net
    gc.collect()
    assert [w() for w in watched] == [None, None]
    assert len(routines()) == 1


def test_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routine, "MOST", 2)

    def run(n: int) -> Any:
        x = ln.constant(np.ones(n, np.float32)) * 2.0
        x.value()
        return evaluation_of(x).routine

    for n in range(1, 9):
        for _ in range(ROUNDS):
            run(n)
            assert len(routines()) == len(routine._printed) <= 2
    assert run(9) is None
    for _ in range(200):
        latest = run(9)
    assert latest is not None  # what is met often takes the place of what is not
    assert len(routines()) == 2 == len(routine._printed)
    for key, known in list(recall._known.items()):
        for k in range(recall.REMEMBERED):
            recall._known.setdefault((*key, k), known)
    assert len(recall._known) >= recall.REMEMBERED
    run(99)
    run(99)
    assert len(recall._known) == 1
    for _ in range(ROUNDS):
        run(99)
    assert len(routines()) == 1  # in place of one that was forgotten


def test_ways_backward_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewind, "KEPT", 2)
    net = Net()
    for k in range(16):
        net.W.trainable, net.b.trainable, net.V.trainable = bool(k & 1), bool(k & 2), True
        loss = net.loss(net.input())
        loss.backward()
        net.model.zero_gradients()
        assert loss.tape.evaluations[0].routine is None or len(routines()[0].backs) <= 2


def test_another_threads_open_tape_is_refused() -> None:
    from concurrent.futures import ThreadPoolExecutor

    for _ in range(ROUNDS):
        (ln.constant([1.0]) * 2.0).value()
    with ThreadPoolExecutor(1) as pool:
        x = pool.submit(lambda: ln.constant([1.0]) * 2.0).result()
        with pytest.raises(ln.GraphError, match="another thread"):
            x.value()


@pytest.mark.parametrize("seen", [1, 5])
def test_fused_functions_and_scans(monkeypatch: pytest.MonkeyPatch, seen: int) -> None:
    monkeypatch.setattr(routine, "SEEN", seen)
    model = ln.Model(seed=2, dtype="float64")
    lstm = ln.nn.LSTM(model, 3, 4)
    head = ln.nn.Linear(model, 4, 2)
    rng = np.random.default_rng(0)

    def run(xs: Any, words: bool) -> list[Any]:
        if words:
            ys, _ = lstm(ln.constant(xs, batched=True))
            loss = ln.sum_batch(head(ys).sum())
        else:
            state = None
            for x in xs:
                y, state = lstm.step(ln.constant(x), state)
            loss = ln.cross_entropy(head(y), 1)
        loss.backward()
        found = [loss.value(), *[p.gradient() for p in model]]
        model.zero_gradients()
        return found

    for words in (True, False):
        for _ in range(seen + 3):
            xs = rng.normal(size=(3, 3))
            found = run(xs, words)
            with ln.no_fuse(), ln.no_autobatch():
                same(found, run(xs, words))
    assert len(routines()) == 2


@pytest.mark.parametrize("words", [[0, 1, 1, 0], [0, 0, 0, 0], [2, 1, 0, 2]])
def test_rows_that_repeat_under_products_that_are_printed(words: list[int]) -> None:
    """Arguments that are slices, gathered, or the same row for a whole batch."""
    net = Net()
    for _ in range(ROUNDS):
        values = net.rng.normal(size=(3, 3))

        def run(values: Any = values) -> list[Any]:
            xs = [ln.constant(v) for v in values]
            hs = [ln.affine(net.b, net.W, xs[k]) for k in words]
            hs += [ln.tanh(net.W @ ln.tanh(net.W.T @ h)) for h in hs[:2]]
            loss = ln.sum([(net.V @ h).sum() for h in hs])
            loss.backward()
            return [loss.value(), *net.gradients(), *(xs[k].gradient() for k in words)]

        found = run()
        with ln.no_autobatch():
            same(found, run())
    assert len(routines()) == 1


# Long tapes: rounds of many coroutines that go in step


def rounds_of(width: int, rounds: int, order: list[int]) -> tuple[list[Any], list[Any]]:
    """Values of a recurrent step of many rows, round after round, and what they should be.

    Rows take the state of their neighbour in this order, so that the structure changes with it.
    """
    net = ln.Model(seed=3, dtype="float64")
    W = net.parameter((3, 3))
    rng = np.random.default_rng(1)
    starts = rng.standard_normal((width, 3))
    states: list[Any] = [ln.constant(row, dtype="float64") for row in starts]
    expected = starts
    found, right = [], []
    with ln.no_grad():
        for k in range(rounds):
            states = [ln.tanh(W @ states[i] + 1.0) * float(k) for i in order]
            expected = np.tanh(expected[order] @ W.array.T + 1.0) * k
            found.append(np.array(ln.values(states)))
            right.append(expected)
    return found, right


def test_long_tapes_are_recognised_where_their_size_returns() -> None:
    width = recall.SHORT
    for order in (list(range(width)), list(range(width))[::-1]):
        found, right = rounds_of(width, 12, order)
        np.testing.assert_allclose(found, right, rtol=1e-9)
    assert not recall._known and len(recall._large) == 2
    assert all(known.routine is not None for known in recall._large.values())


def test_sizes_that_return_with_other_structures_are_given_up() -> None:
    width = recall.SHORT
    rng = np.random.default_rng(0)
    for _ in range(2 + 2 * recall.TRIES):
        found, right = rounds_of(width, 1, rng.permutation(width).tolist())
        np.testing.assert_allclose(found, right, rtol=1e-9)
        x = [ln.constant(row) for row in rng.standard_normal((width, 2)).astype(np.float32)]
        ln.values([ln.tanh(x[int(i)]) for i in rng.permutation(width)])
    assert not recall._large and set(recall._sizes.values()) == {0}


def test_long_tapes_beyond_a_limit_are_not_looked_up() -> None:
    for _ in range(4):
        x = ln.constant(np.ones(2, np.float32))
        for _ in range(recall.LONGEST + 1):
            x = x + 1.0
        assert x.value().tolist() == [recall.LONGEST + 2.0] * 2
    assert not recall._sizes and not recall._large


def test_sizes_and_long_structures_are_bounded() -> None:
    for n in range(recall.SHORT, recall.SHORT + recall.SIZES + 8):
        for _ in range(4):
            x = ln.constant(np.ones(2, np.float32))
            for _ in range(n):
                x = x + 1.0
            assert x.value().tolist() == [n + 1.0] * 2
    assert len(recall._sizes) <= recall.SIZES
    assert len(recall._large) <= recall.LARGE
