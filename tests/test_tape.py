"""Tapes: sealed by evaluation, linked by imports, freed with their last handle."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

import lazynet as ln
from lazynet.tape import LOCAL, NO_TAPE, tape_count

HELD = [0]


def tapes() -> int:
    """Tapes that this test holds: other tests' modules and failures may hold some too."""
    return tape_count() - HELD[0]


@pytest.fixture(autouse=True)
def counted() -> Iterator[None]:
    """The collector is off: what is freed is freed at once."""
    LOCAL.tape = NO_TAPE
    gc.collect()
    HELD[0] = tape_count()
    gc.disable()
    yield
    gc.enable()


def test_evaluating_seals_and_the_next_recording_opens_another() -> None:
    x = ln.constant([1.0, 2.0])
    y = x * 2.0
    assert y.tape.sealed == 0
    y.value()
    assert y.tape.sealed > 0
    z = x + 1.0
    assert z.tape is not x.tape and z.tape.sealed == 0
    z.value()
    assert z.tape.sealed > y.tape.sealed


def test_looking_seals_nothing() -> None:
    w = ln.Model().parameter(2)
    done = w * 1.0
    done.value()
    x = ln.constant([1.0, 2.0])
    y = x * w + done
    ln.plan([y])
    repr(y)
    w.value()
    done.value()
    assert y.tape.sealed == 0
    assert (x + 1.0).tape is y.tape


def test_handles_keep_a_tape_and_the_last_one_frees_it() -> None:
    x = ln.constant([1.0, 2.0])
    y = x * 2.0
    y.value()
    assert tapes() == 1
    del x
    assert tapes() == 1
    del y
    assert tapes() == 0


def test_after_backward_too() -> None:
    w = ln.Model().parameter(2)
    loss = (w * ln.constant([1.0, 2.0])).sum()
    loss.backward()
    x = (w * 2.0).sum()
    x.backward()
    assert tapes() == 2
    del loss, x
    assert tapes() == 0


def test_imports_keep_a_tape_until_they_are_evaluated() -> None:
    x = ln.constant([1.0, 2.0])
    x.value()
    y = x * 2.0
    assert y.tape is not x.tape
    del x
    assert tapes() == 2
    assert y.value().tolist() == [2.0, 4.0]
    assert tapes() == 1
    assert y.value().tolist() == [2.0, 4.0]


def test_unevaluated_imports_work_across_several_tapes() -> None:
    a = ln.constant([1.0, 2.0])
    b, unused = a * 2.0, a * 5.0
    unused.value()  # seals the tape of b, which stays unevaluated
    c = b + 1.0
    other = c * 100.0
    other.value()
    d = ln.sum([a, b, c])
    assert d.value().tolist() == [6.0, 11.0]
    e = b * c
    del a, b, c, d, unused, other
    assert e.value().tolist() == [6.0, 20.0]
    del e
    assert tapes() == 0


def test_import_of_a_node_used_twice_is_recorded_once() -> None:
    x = ln.constant([1.0])
    x.value()
    y = x + x
    z = x * y
    assert len(z.tape.imports) == 1
    assert z.value().tolist() == [2.0]


def test_an_open_tape_without_handles_is_dropped_at_the_next_input() -> None:
    for _ in range(50):
        ln.constant([1.0]) * 2.0
    assert len(LOCAL.tape) == 2
    assert tapes() == 1
    x = ln.constant([3.0])
    first = x.tape
    ln.constant([4.0])
    assert LOCAL.tape is first and len(first) == 2


def test_a_parameter_alone_starts_no_growing_tape() -> None:
    w = ln.Model().parameter((2, 2))
    for _ in range(50):
        (w @ np.ones(2, np.float32)).sum()
    assert len(LOCAL.tape) < 10


def test_a_failed_evaluation_holds_nothing() -> None:
    class Fails(ln.Op):
        def shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
            return shapes[0]

        def forward(self, call: ln.Call, *args: object) -> object:
            raise ZeroDivisionError

    x = Fails()(ln.constant([1.0]))
    with pytest.raises(ln.EvaluationError):
        x.value()
    del x
    gc.collect()  # the traceback of the error is a cycle
    assert tapes() == 0


@pytest.mark.parametrize("autobatch", [True, False])
def test_a_chain_of_100_000_nodes(autobatch: bool) -> None:
    n = 100_000 if autobatch else 20_000
    limit = sys.getrecursionlimit()
    w = ln.Model(dtype="float64").parameter((), init=1.0)
    h = ln.constant(np.float64(0.0))
    start = h
    for _ in range(n):
        h = h + w
    begin = time.process_time()
    if autobatch:
        assert h.value() == n
        h.backward()
    else:
        with ln.no_autobatch():
            assert h.value() == n
            h.backward()
    assert w.gradient() == n
    assert sys.getrecursionlimit() == limit
    begin = time.process_time()
    del h, start
    assert tapes() == 0
    assert time.process_time() - begin < 1.0


def test_10_000_linked_evaluations_are_freed_without_recursion() -> None:
    h = ln.constant(np.float64(0.0))
    for _ in range(12_000):
        h = h + 1.0
        h.value()
    assert h.value() == 12_000
    assert tapes() == 1
    del h
    assert tapes() == 0


def test_backward_through_thousands_of_linked_evaluations() -> None:
    w = ln.Model(dtype="float64").parameter((), init=1.0)
    h = ln.constant(np.float64(0.0))
    for _ in range(3_000):
        h = h + w
        h.value()
    h.backward()
    assert w.gradient() == 3_000
    del h
    assert tapes() == 0


def test_10_000_linked_unevaluated_tapes() -> None:
    """Each tape is sealed by something else on it, and links to the one before."""
    h = ln.constant(np.float64(0.0))
    for _ in range(10_000):
        h = h + 1.0
        side = h.tape
        (ln.constant(np.float64(1.0)) if side.sealed else ln.constant(np.float64(2.0))).value()
    assert h.value() == 10_000
    del h, side
    assert tapes() == 0


def test_unevaluated_linked_tapes_are_freed_without_recursion() -> None:
    h = ln.constant(np.float64(0.0))
    for _ in range(20_000):
        h = h + 1.0
        ln.constant(np.float64(1.0)).value()
    del h
    assert tapes() == 0


def test_detach_lets_the_history_go() -> None:
    h = ln.constant([0.0, 1.0])
    for _ in range(20):
        h = ln.tanh(h + 1.0)
        h = h.detach()
    assert tapes() <= 2
    h.value()
    assert tapes() <= 2


def test_no_grad_lets_the_history_go() -> None:
    w = ln.Model().parameter(2)
    with ln.no_grad():
        h = w * 1.0
        for _ in range(20):
            h = ln.tanh(h * w)
            h.value()
    evaluation, _ = h.tape.location(h.index)
    assert evaluation.links == evaluation.borrowed == []
    assert evaluation.calls == [None] * len(evaluation.calls)


def test_each_thread_has_its_own_open_tape() -> None:
    x = ln.constant([1.0])
    found = []

    def work() -> None:
        y = ln.constant([2.0])
        found.append(y.tape is not x.tape)
        found.append((y * 2.0).value().tolist() == [4.0])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [True, True]
    assert x.tape.sealed == 0
