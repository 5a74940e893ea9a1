"""Random fused functions: one node computes what its operations compute one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fusing import TOLERANCES, Recorded, check
from hypothesis import given, settings
from hypothesis import strategies as st

import lazynet as ln

WIDTHS = (4, 8, 12, 3, 1)
CLASSES = 3

Step = tuple[int, int, int]
"""What to record, and two numbers that choose arguments and settings."""


class Program:
    """A function of two vectors and a whole number, described by a list of steps.

    Attributes:
        model: Its parameters, made when first used.
        function: To be fused.
    """

    def __init__(self, steps: list[Step], results: list[int], widths: Any, dtype: str) -> None:
        self.steps = steps
        self.results = results
        self.widths = widths
        self.dtype = dtype
        self.model = ln.Model(seed=5, dtype=dtype)
        self.parameters: dict[Any, Any] = {}
        self.table = self.model.lookup(CLASSES, 4)
        self.function = ln.fuse(self.body)
        self.again = ln.fuse(lambda x, y, c: self.body(y, x, c))

    def parameter(self, *key: Any) -> Any:
        """A parameter with this name and shape."""
        found = self.parameters.get(key)
        if found is None:
            shape = key[1:]
            init = np.random.default_rng(len(self.parameters)).normal(size=shape) * 0.5
            found = self.parameters[key] = self.model.parameter(shape, init=init)
        return found

    def body(self, x: Any, y: Any, c: int) -> Any:
        pool = [x, y, x]
        for step in self.steps:
            pool += self.step(pool, c, *step)
        results = [pool[-1 - k % len(pool)] for k in self.results]
        found = [r * 1.0 if isinstance(r, ln.Parameter) else r for r in results]
        return found[0] if len(found) == 1 else (found[0], tuple(found[1:]))

    def like(self, pool: list[Any], x: Any, k: int) -> Any:
        """Something of the shape of x."""
        found = [y for y in pool if y.shape == x.shape]
        return found[-1 - k % len(found)]

    def product(self, x: Any, m: int, k: int = 0) -> Any:
        """A product with a shared matrix, in one of the ways there are to write it."""
        n = WIDTHS[m % 4]
        way = k % 5
        if way == 0:
            return self.parameter("W", n, x.size) @ x
        if way == 1:
            return x @ self.parameter("V", x.size, n)
        if way == 2:
            return self.parameter("V", x.size, n).T @ x
        if way == 3:
            W = ln.concatenate([self.parameter("W", n, x.size), self.parameter("U", n, x.size)])
            return ln.affine(self.parameter("b", 2 * n), W, x)
        return ln.affine(self.parameter("b", n), self.parameter("W", n, x.size), x)

    def step(self, pool: list[Any], c: int, what: int, k: int, m: int) -> list[Any]:
        """Record what one step says; every value stays of moderate size."""
        vectors = [v for v in pool if v.ndim == 1]
        scalars = [v for v in pool if v.ndim == 0]
        x = vectors[-1 - k % len(vectors)]
        y = self.like(vectors, x, m)
        s = scalars[-1 - m % len(scalars)] if scalars else ln.tanh(ln.sum(x))
        if what == 0:
            unary = (
                ln.tanh, ln.sigmoid, ln.relu, ln.softplus, lambda x: -x, lambda x: x * 0.5,
                lambda x: 1.0 / (1.0 + x * x), lambda x: ln.exp(-ln.square(x)), abs, ln.gelu,
                lambda x: 1.0 - x, lambda x: (x * 0.5) * 0.5,
            )  # fmt: skip
            return [unary[m % len(unary)](x)]
        if what == 1:
            binary = (
                lambda x, y: x + y, lambda x, y: x - y, lambda x, y: ln.tanh(x) * y,
                lambda x, y: x / (2.0 + ln.tanh(y)), ln.maximum, ln.minimum,
                lambda x, y: ln.where(ln.less(x, y), x * 2.0, y), lambda x, y: x * x + y,
            )  # fmt: skip
            return [ln.tanh(binary[k % len(binary)](x, y))]
        if what == 2:
            return [self.product(x, m, k)]
        if what == 3:
            n = WIDTHS[m % 4]
            pairs = [self.parameter("W", n, x.size), x, self.parameter("U", n, y.size), y]
            bias = self.like(vectors, x, 0) if x.size == n and k % 2 else self.parameter("b", n)
            return [ln.affine(bias, *pairs)]
        if what == 4:
            if x.size % 2:
                return list(ln.split(x, [1, x.size - 1]) if x.size > 1 else [x * 2.0])
            if m % 3 == 2:
                return list(ln.split(x, [x.size // 4] * 2 + [x.size - 2 * (x.size // 4)]))
            return list(ln.split(x, 2 if m % 3 else x.size // 2))
        if what == 5:
            n = x.size
            cuts = (
                x[: n // 2 + 1], x[n // 2 :], x[n // 4 : n // 4 + 2], x[::-1], x[m % n], x[-1],
                x[:], x[n // 4 : n],
            )  # fmt: skip
            return [cuts[m % len(cuts)]]
        if what == 6:
            parts = [x, y, x][: m % 3 + 1]
            return [ln.concatenate(parts)] if x.size * len(parts) <= 24 else [x + y]
        if what == 7:
            group = [x, y, self.like(vectors, x, m + 1), x][: m % 4 + 1]
            reduce = (ln.sum, ln.mean, ln.max, ln.min)[k % 4]
            return [ln.tanh(reduce(group))]
        if what == 8:
            reductions = (ln.sum, ln.mean, ln.max, ln.logsumexp, ln.squared_norm)
            return [ln.tanh(reductions[m % len(reductions)](x))]
        if what == 9:
            return [(ln.softmax, ln.log_softmax)[m % 2](x)]
        if what == 10:
            return [ln.tanh(ln.cross_entropy(self.product(x, 3, k % 3), c))]
        if what == 11:
            return [self.table[c], ln.pick(self.product(x, 3), c)]
        if what == 12:
            return [ln.dropout(x, 0.3)]
        if what == 13:
            gain, bias = self.parameter("gain", x.size), self.parameter("bias", x.size)
            return [ln.layer_norm(x, gain, bias, eps=0.1)]
        if what == 14:
            return [(x * s, x + s, ln.tanh(s - x), s * s)[m % 4]]
        if what == 15:
            fixed = np.random.default_rng(m).normal(size=x.shape).astype(self.dtype)
            return [ln.tanh(x + ln.constant(fixed)), fixed * x]
        if what == 16:
            n = 4
            if m % 3 == 0:
                z = self.product(x, 2, k)[:12]
                i, f, o = ln.split(ln.sigmoid(z), 3)
            elif m % 3 == 1:
                z = ln.sigmoid(
                    ln.affine(self.parameter("b", 12), self.parameter("W", 12, x.size), x)
                )
                i, f, o = z[:n], z[n : 2 * n], z[2 * n :]
            else:
                i, f, o = (
                    ln.sigmoid(ln.affine(self.parameter(g, n), self.parameter(g, n, x.size), x))
                    for g in "ifo"
                )
            h = f * ln.tanh(o) + i
            return [h, o * ln.tanh(h)] if m % 2 else [o * ln.tanh(h)]
        if what == 17:
            n = 4
            h = ln.tanh(self.product(y, 0, k % 3))
            both = ln.affine(self.parameter("b", 3 * n), self.parameter("W", 3 * n, x.size), x)
            gates, candidate = ln.split(both, [2 * n, n])
            r, z = ln.split(ln.sigmoid(ln.affine(gates, self.parameter("U", 2 * n, n), h)), 2)
            g = ln.tanh(ln.affine(candidate, self.parameter("U", n, n), r * h))
            return [g + z * (h - g)]
        if what == 18:
            if x.size % 2 or x.size < 4:
                return [ln.dot(x, y)]
            M = x.reshape(2, -1)
            return [ln.tanh(M.T.reshape(-1)), ln.sum(M, axis=m % 2), ln.tanh(M @ y[: x.size // 2])]
        if what == 19:
            with ln.no_grad():
                return [ln.tanh(x)]
        if what == 20:
            p = self.parameter("p", x.size)
            return [(x * p, p, ln.tanh(self.parameter("W", 4, x.size) @ p), p + p)[m % 4]]
        return [x, y]


def settings_of(widths: Any) -> Any:
    return st.tuples(st.sampled_from(widths), st.sampled_from(widths))


steps = st.lists(
    st.tuples(st.integers(0, 21), st.integers(0, 11), st.integers(0, 11)), min_size=1, max_size=14
)
results = st.lists(st.integers(0, 11), min_size=1, max_size=3)
BATCHES = ((None, None), (3, 3), (None, 2), (1, None), (0, None))


def flat(structure: Any) -> list[Any]:
    return [structure] if isinstance(structure, ln.Expression) else [
        x for part in structure for x in flat(part)
    ]  # fmt: skip


def with_rows(y: Any, rows: int | None) -> Any:
    """Unfused, a result that depends on no argument with a batch has none."""
    if y.batch == rows or rows is None:
        return y
    return y + ln.constant(np.zeros((rows, *y.shape), y.dtype), batched=True)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@settings(max_examples=40)
@given(
    steps=steps,
    results=results,
    widths=settings_of((4, 8, 12)),
    calls=st.lists(st.sampled_from(BATCHES), min_size=1, max_size=4),
    reach=st.integers(1, 15),
)
def test_fused_and_unfused_agree(
    dtype: str, steps: list[Step], results: list[int], widths: Any, calls: Any, reach: int
) -> None:
    program = Program(steps, results, widths, dtype)

    def build() -> Recorded:
        rng = np.random.default_rng(1)
        outputs: list[Any] = []
        inputs: list[Any] = []
        reached: list[int] = []
        for number, batches in enumerate(calls):
            args = []
            for n, batch in zip(widths, batches):
                shape = (n,) if batch is None else (batch, n)
                values = rng.normal(size=shape).astype(dtype)
                args.append(ln.constant(values, batched=batch is not None))
            inputs += args
            function = program.again if number == 2 and widths[0] == widths[1] else program.function
            found = flat(function(*args, number % CLASSES))
            rows = next((b for b in batches if b is not None), None)
            found = [with_rows(y, rows) for y in found]
            if found[0].shape == args[0].shape:  # and a call one level above it
                above = flat(function(found[0], args[1], number % CLASSES))
                found += [with_rows(y, rows) for y in above]
            if reach >> number & 1:
                reached += range(len(outputs), len(outputs) + len(found))
            outputs += found
        return Recorded(outputs, inputs, reached)

    check(build, program.model, TOLERANCES[dtype])
