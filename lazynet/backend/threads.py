"""Large element-by-element work in several threads: NumPy releases the interpreter's lock in it.

Results do not depend on the number of threads, bit for bit: a block is computed by one thread, in
one way, whichever it is.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from lazynet.errors import SettingError

_SETTING = "LAZYNET_NUM_THREADS"
_pools: dict[int, ThreadPoolExecutor] = {}  # by number of threads
_making = threading.Lock()
_busy = threading.local()  # set in threads that work on blocks already


def workers() -> int:
    """Number of threads to use: the environment variable LAZYNET_NUM_THREADS, or 1 without it.

    It is read at every call, so a change in `os.environ` takes effect.

    Raises:
        SettingError: If the variable is set to anything but a whole number of at least 1.
    """
    text = os.environ.get(_SETTING)
    if not text:
        return 1
    if not text.isdecimal() or int(text) < 1:
        raise SettingError(
            f"{_SETTING}: got {text!r}; it must be a whole number of at least 1: how many threads "
            "large updates may use"
        )
    return int(text)


def product_workers() -> int:
    """Number of threads to use for work that holds matrix products.

    That is 1 unless BLAS is told to use one thread (OPENBLAS_NUM_THREADS, else OMP_NUM_THREADS, is
    1): two threads that each call a BLAS of several wait for one another, up to 40 times as long as
    the work takes.
    """
    known = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
    return workers() if known == "1" else 1


def run_blocks(
    function: Callable[[int, int], Any], n: int, block: int, most: int | None = None
) -> None:
    """Call ``function(start, stop)`` for all blocks of ``range(n)``; the last may be shorter.

    With more than one worker (see `workers`) the blocks are shared out among threads, the calling
    one included, each taking neighbouring blocks in order; calls from within a block run in its
    own thread. It returns, or raises, only when no thread works on a block any more.

    Args:
        function: Reads what it likes, and writes to what belongs to its block only.
        n: Number of elements.
        block: Elements in a block, at least 1.
        most: Most threads to use; None for `workers()`.

    Raises:
        Exception: Whatever a call raised; the blocks not yet begun are then left out.
    """
    blocks = -(-n // block)
    alone = blocks < 2 or getattr(_busy, "flag", False)
    threads = 1 if alone else min(workers() if most is None else most, blocks)
    stopped = threading.Event()

    def run(first: int, last: int) -> None:
        for start in range(first * block, min(n, last * block), block):
            if stopped.is_set():
                return
            function(start, min(n, start + block))

    if threads == 1:
        run(0, blocks)
        return
    settings = np.geterr()  # of this thread or context only

    def share(first: int, last: int) -> None:
        _busy.flag = True
        try:
            with np.errstate(**settings):
                run(first, last)
        except BaseException:
            stopped.set()
            raise
        finally:
            _busy.flag = False

    cuts = [blocks * i // threads for i in range(threads + 1)]
    pool = _pool(threads - 1)
    futures: list[Future[None]] = []
    try:
        for i in range(1, threads):
            context = contextvars.copy_context()
            futures.append(pool.submit(context.run, share, cuts[i], cuts[i + 1]))
        share(cuts[0], cuts[1])
    except BaseException:
        stopped.set()
        raise
    finally:
        wait(futures)
    for future in futures:
        future.result()


def _pool(threads: int) -> ThreadPoolExecutor:
    with _making:
        pool = _pools.get(threads)
        if pool is None:
            pool = _pools[threads] = ThreadPoolExecutor(threads, "lazynet-blocks")
        return pool


def _after_fork() -> None:
    """A child process has the pools, but none of their threads; nor the holder of the lock."""
    global _making
    _pools.clear()
    _making = threading.Lock()
    _busy.flag = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
