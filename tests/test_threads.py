"""Blocks in threads: the same results, exceptions, and no thread left at work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import lazynet as ln
from lazynet.backend.threads import run_blocks, workers

THREADS = pytest.mark.parametrize("threads", ["1", "2", "3"])


def test_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAZYNET_NUM_THREADS", raising=False)
    assert workers() == 1
    for text, number in (("", 1), ("1", 1), ("4", 4)):
        monkeypatch.setenv("LAZYNET_NUM_THREADS", text)
        assert workers() == number
    for text in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("LAZYNET_NUM_THREADS", text)
        with pytest.raises(ln.SettingError, match=f"LAZYNET_NUM_THREADS: got '{text}'"):
            workers()


@THREADS
@pytest.mark.parametrize("n", [0, 1, 9, 10, 11, 95])
def test_every_block_once(n: int, threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAZYNET_NUM_THREADS", threads)
    seen: list[tuple[int, int]] = []
    run_blocks(lambda start, stop: seen.append((start, stop)), n, 10)
    assert sorted(seen) == [(start, min(n, start + 10)) for start in range(0, n, 10)]


def test_several_threads_work_and_blocks_within_blocks_stay_in_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAZYNET_NUM_THREADS", "2")
    both = threading.Barrier(2, timeout=10)
    inner: list[bool] = []

    def block(start: int, stop: int) -> None:
        both.wait()  # comes through only if two threads are in here
        me = threading.get_ident()
        run_blocks(lambda a, b: inner.append(threading.get_ident() == me), 3, 1)

    run_blocks(block, 2, 1)
    assert inner == [True] * 6


@THREADS
@pytest.mark.parametrize("bad", [0, 99])
def test_an_error_is_raised_when_no_thread_works_any_more(
    bad: int, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAZYNET_NUM_THREADS", threads)
    running = [0]
    lock = threading.Lock()

    def block(start: int, stop: int) -> None:
        with lock:
            running[0] += 1
        try:
            time.sleep(0.0005)
            if start == bad:
                raise KeyError("bad luck")
        finally:
            with lock:
                running[0] -= 1

    with pytest.raises(KeyError, match="bad luck"):
        run_blocks(block, 100, 1)
    assert running == [0]
    done: list[int] = []
    run_blocks(lambda start, stop: done.append(start), 4, 1)
    assert len(done) == 4


def test_threads_ignore_the_floating_point_errors_that_the_caller_ignores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAZYNET_NUM_THREADS", "2")
    x = np.zeros(4)
    out = np.empty(4)

    def block(start: int, stop: int) -> None:
        np.divide(1.0, x[start:stop], out=out[start:stop])

    with np.errstate(all="ignore"):
        run_blocks(block, 4, 1)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        run_blocks(block, 4, 1)


RULES = {
    "sgd": (ln.optim.SGD, {}),
    "nesterov": (ln.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": (ln.optim.Adagrad, {}),
    "adadelta": (ln.optim.Adadelta, {}),
    "rmsprop": (ln.optim.RMSProp, {}),
    "adam": (ln.optim.Adam, {"weight_decay": 0.1, "clip": 1.0}),
    "adamw": (ln.optim.AdamW, {}),
    "amsgrad": (ln.optim.AMSGrad, {}),
}


@pytest.mark.parametrize("rule", RULES)
def test_updates_are_the_same_bit_for_bit(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lazynet.optim.work.THREADED", 1000)
    monkeypatch.setattr("lazynet.optim.flat.BLOCK_BYTES", 4000)
    monkeypatch.setattr("lazynet.optim.work.SMALL", 100)
    found = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("LAZYNET_NUM_THREADS", threads)
        model = ln.Model(seed=0)
        W, table = model.parameter((80, 50)), model.lookup(900, 10)
        kind, settings = RULES[rule]
        opt = kind(model, **settings)  # type: ignore[operator]
        for step in range(5):
            rng = np.random.default_rng(step)
            W.pending = rng.standard_normal(W.shape).astype(np.float32)
            rows = rng.integers(0, 900, 50)
            table.pending_rows = [(rows, rng.standard_normal((50, 10)).astype(np.float32))]
            opt.step()
        found.append([W.value(), table.value(), *opt.state_dict().values()])
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_makes_threads_of_its_own() -> None:
    program = """
import os, sys
from lazynet.backend.threads import run_blocks
run_blocks(lambda a, b: None, 4, 1)
child = os.fork()
if child == 0:
    done = []
    run_blocks(lambda a, b: done.append(a), 4, 1)
    os._exit(len(done) != 4)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environment = {**os.environ, "LAZYNET_NUM_THREADS": "2"}
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], env=environment, check=True, timeout=60
    )
