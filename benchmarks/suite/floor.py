"""The floor: what the matrix products of one update take alone, in NumPy's BLAS."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from benchmarks.suite.base import Array, Product


class Floor:
    """Forward, gradient of the input, gradient of the weight; and one exp over a large softmax.

    Without `trains`, there are no gradients.
    """

    def __init__(self, products: list[Product], exponentials: int = 0, trains: bool = True) -> None:
        rng = np.random.default_rng(0)

        def draw(*shape: int) -> Array:
            return rng.uniform(-0.1, 0.1, shape).astype(np.float32)

        self.trains = trains
        self.flop = (6 if trains else 2) * sum(p.inner * p.outer * sum(p.rows) for p in products)
        self._work = []
        for p in products:
            total = sum(p.rows)
            ends = np.cumsum([0, *p.rows]).tolist()
            x, w, y = draw(total, p.inner), draw(p.outer, p.inner), draw(total, p.outer)
            out = np.empty_like(y), np.empty_like(x), np.empty_like(w)
            self._work.append((x, w, y, out, list(pairwise(ends))))
        self._logits = draw(exponentials)
        self._probabilities = np.empty_like(self._logits)

    def __call__(self, clock: Callable[[], float] = time.perf_counter) -> float:
        """Run once; seconds."""
        start = clock()
        for x, w, _, (y, _, _), bounds in self._work:
            for a, b in bounds:
                np.matmul(x[a:b], w.T, out=y[a:b])
        np.exp(self._logits, out=self._probabilities)
        for x, w, dy, (_, dx, dw), bounds in reversed(self._work if self.trains else []):
            for a, b in reversed(bounds):
                np.matmul(dy[a:b], w, out=dx[a:b])
            np.matmul(dy.T, x, out=dw)
        return clock() - start
