"""Fused functions and sequences on a GPU: as on the CPU, in few launches, with one upload.

What the counters say is measured under the emulator; on a GPU those tests skip.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from fusing import gradient_of
from test_gpu import counted

import lazynet as ln
from lazynet.execute import evaluate

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]

N_IN, N = 6, 8
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}

Built = Callable[[ln.Model], Callable[["Inputs"], list[ln.Expression]]]


class Inputs:
    """Draws the same inputs on every device, and remembers them."""

    def __init__(self, dtype: str) -> None:
        self.rng = np.random.default_rng(7)
        self.dtype = dtype
        self.made: list[ln.Expression] = []

    def vector(self, n: int = N_IN) -> ln.Expression:
        return self.keep(ln.constant(self.rng.standard_normal(n), dtype=self.dtype))

    def rows(self, count: int, *shape: int) -> ln.Expression:
        numbers = self.rng.standard_normal((count, *(shape or (N_IN,))))
        return self.keep(ln.constant(numbers, batched=True, dtype=self.dtype))

    def keep(self, x: ln.Expression) -> ln.Expression:
        self.made.append(x)
        return x


def total(outputs: list[ln.Expression]) -> ln.Expression:
    """A scalar in which every entry counts, and counts differently."""
    terms = []
    for k, y in enumerate(outputs):
        rng = np.random.default_rng(k)
        weight = ln.constant(rng.standard_normal(y.shape), dtype=y.dtype)
        term = ln.sum(y * weight + 0.5 * y * y)
        terms.append(term if y.batch is None else ln.sum_batch(term))
    return ln.sum(terms)


def outcome(build: Built, device: str, dtype: str, fused: bool = True) -> list[Any]:
    """Values and gradients of two steps, between which the parameters stay."""
    ln.seed(3)
    found: list[Any] = []
    with ln.use_device(device), nullcontext() if fused else ln.no_fuse():
        model = ln.Model(seed=1, dtype=dtype, device=device)
        run = build(model)
        rng = np.random.default_rng(5)
        for p in model.parameters():  # biases and gains start at 0 and 1, where mistakes hide
            p.array = np.asarray(ln_host(p.array) + 0.2 * rng.standard_normal(p.shape), dtype)
        for step in range(2):
            with ln.training(bool(step)):
                inputs = Inputs(dtype)
                outputs = run(inputs)
                found += ln.values(outputs)
                loss = total(outputs)
                loss.backward()
                found += [np.array(gradient_of(x)) for x in inputs.made if x.batch != 0]
        found += [np.array(p.gradient()) for p in model.parameters() if p.has_gradient()]
    return found


def ln_host(array: Any) -> Any:
    return array.get() if hasattr(array, "get") else array


def compare(build: Built, dtype: str, plain: bool = True) -> None:
    """The GPU against the CPU, and fused against unfused."""
    expected = outcome(build, "cpu", dtype)
    close(outcome(build, "cuda", dtype), expected, dtype)
    if plain:
        close(outcome(build, "cuda", dtype, fused=False), expected, dtype)


def close(found: list[Any], expected: list[Any], dtype: str) -> None:
    assert len(found) == len(expected)
    for x, y in zip(found, expected):
        x, y = np.asarray(x), np.asarray(y)
        assert x.dtype == y.dtype and x.shape == y.shape
        scale = np.abs(y).max() if y.size else 1.0
        np.testing.assert_allclose(x, y, TOLERANCE[dtype], TOLERANCE[dtype] * max(scale, 1.0))


# Every layer


def ragged(layer: Any) -> Callable[[Inputs], list[ln.Expression]]:
    """Sequences of 0, 1 and many steps, as batches and as lists."""

    def run(inputs: Inputs) -> list[ln.Expression]:
        outputs = []
        for length in (3, 0, 1, 5, 3):
            ys, state = layer(inputs.rows(length))
            if length:
                outputs.append(ys)
            outputs += flat(state)
        ys, state = layer([inputs.vector(), inputs.vector()])
        return [*outputs, *ys, *flat(state)]

    return run


def flat(state: Any) -> list[ln.Expression]:
    if isinstance(state, ln.Expression):
        return [state]
    return [x for part in state for x in flat(part)]


def stepped(layer: Any) -> Callable[[Inputs], list[ln.Expression]]:
    """Step by step, for examples of different lengths."""

    def run(inputs: Inputs) -> list[ln.Expression]:
        outputs = []
        for length in (1, 3, 2):
            state = None
            for _ in range(length):
                y, state = layer.step(inputs.vector(), state)
            outputs += [y, *flat(state)]
        return outputs

    return run


def alone(layer: Any) -> Callable[[Inputs], list[ln.Expression]]:
    return lambda inputs: [layer(inputs.vector()), layer(inputs.vector()), layer(inputs.rows(3))]


def trees(layer: Any) -> Callable[[Inputs], list[ln.Expression]]:
    def run(inputs: Inputs) -> list[ln.Expression]:
        outputs = []
        for size in (2, 3, 5):
            states = [layer(inputs.vector()) for _ in range(size)]
            while len(states) > 1:
                x = inputs.vector() if len(states) % 2 else None
                states = [layer(x, states[:2]), *states[2:]]
            outputs += flat(states)
        return outputs

    return run


def attending(attention: Any) -> Callable[[Inputs], list[ln.Expression]]:
    def run(inputs: Inputs) -> list[ln.Expression]:
        outputs = []
        for length in (1, 4, 2):
            found = attention(inputs.vector(), inputs.rows(length))
            outputs += [x for x in found if isinstance(x, ln.Expression)]
        return outputs

    return run


def factored(layer: Any) -> Callable[[Inputs], list[ln.Expression]]:
    return lambda inputs: [layer.loss(inputs.vector(), k) for k in (0, 3, 1, 4)]


def convolved(layer: Any) -> Callable[[Inputs], list[ln.Expression]]:
    return lambda inputs: [layer(inputs.rows(1, 5, N_IN)), layer(inputs.rows(2, 3, N_IN))]


LAYERS: dict[str, Built] = {
    "Linear": lambda m: alone(ln.nn.Linear(m, N_IN, N)),
    "MLP": lambda m: alone(ln.nn.MLP(m, [N_IN, 5, 7, 2], "relu", dropout=0.4)),
    "LayerNorm": lambda m: alone(ln.nn.LayerNorm(m, N_IN)),
    "Dropout": lambda m: alone(ln.nn.Dropout(0.3)),
    "RNN": lambda m: ragged(ln.nn.RNN(m, N_IN, N, 2)),
    "GRU": lambda m: ragged(ln.nn.GRU(m, N_IN, N)),
    "GRU after": lambda m: ragged(ln.nn.GRU(m, N_IN, N, reset_after=True)),
    "LSTM": lambda m: ragged(ln.nn.LSTM(m, N_IN, N)),
    "LSTM of layers": lambda m: ragged(ln.nn.LSTM(m, N_IN, N, 2, dropout=0.3)),
    "LSTM normed": lambda m: ragged(ln.nn.LSTM(m, N_IN, N, layer_norm=True)),
    "LSTM both ways": lambda m: ragged(
        ln.nn.Bidirectional(ln.nn.LSTM(m, N_IN, N), ln.nn.GRU(m, N_IN, 4))
    ),
    "LSTM steps": lambda m: stepped(ln.nn.LSTM(m, N_IN, N)),
    "GRU steps": lambda m: stepped(ln.nn.GRU(m, N_IN, N, 2)),
    "Conv1d": lambda m: convolved(ln.nn.Conv1d(m, N_IN, 4, 3, padding=1)),
    "ChildSumTreeLSTM": lambda m: trees(ln.nn.ChildSumTreeLSTM(m, N_IN, N)),
    "NaryTreeLSTM": lambda m: trees(ln.nn.NaryTreeLSTM(m, N_IN, N)),
    "DotAttention": lambda m: attending(ln.nn.DotAttention()),
    "BilinearAttention": lambda m: attending(ln.nn.BilinearAttention(m, N_IN, N_IN)),
    "AdditiveAttention": lambda m: attending(ln.nn.AdditiveAttention(m, N_IN, N_IN, N)),
    "MultiHeadAttention": lambda m: attending(ln.nn.MultiHeadAttention(m, N_IN, heads=2)),
    "ClassFactoredSoftmax": lambda m: factored(
        ln.nn.ClassFactoredSoftmax(m, N_IN, [0, 1, 0, 2, 1])
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_on_the_gpu(name: str) -> None:
    compare(LAYERS[name], "float64")
    compare(LAYERS[name], "float32", plain=False)


def test_every_layer_is_tried() -> None:
    tried = {name.split()[0] for name in LAYERS} | {"Bidirectional", "Attention", "Recurrent"}
    assert tried == set(ln.nn.__all__)


# Random numbers


def noisy(x: Any, h: Any) -> Any:
    """A cell with random operations of all kinds: in a kernel, called, of several axes."""
    h = ln.tanh(ln.dropout(x, 0.4)[:4] + ln.noise(h, 0.1))
    m = ln.dropout_dim(ln.reshape(h, (2, 2)), 1, 0.3)
    return ln.reshape(m, (4,)) + ln.softmax(h), h


def test_random_numbers_inside_are_those_of_the_cpu() -> None:
    def build(model: ln.Model) -> Callable[[Inputs], list[ln.Expression]]:
        fused = ln.fuse(noisy)

        def run(inputs: Inputs) -> list[ln.Expression]:
            outputs = []
            for length in (4, 1, 2):
                outputs += flat(ln.scan(noisy, inputs.rows(length), inputs.vector(4)))
                outputs += flat(fused(inputs.vector(), inputs.vector(4)))
                outputs += flat(fused(inputs.rows(length), inputs.vector(4)))
            return outputs

        return run

    for dtype in TOLERANCE:
        compare(build, dtype, plain=False)


# Launches and transfers


def used_by(step: Callable[[], ln.Expression]) -> tuple[dict[str, int], dict[str, int]]:
    """What forward and backward use when everything has been compiled."""
    for _ in range(2):
        loss = step()
        with counted() as forward:
            evaluate([loss])
        with counted() as backward:
            loss.backward()
    for used in (forward, backward):
        assert used["d2h"] == used["syncs"] == 0
    assert forward["h2d"] == 1
    assert backward["h2d"] == 0
    return forward, backward


def test_launches_of_a_fused_step() -> None:
    """An LSTM step of 64 rows: two products and a kernel forward."""
    model = ln.Model(seed=0, device="cuda")
    layer = ln.nn.LSTM(model, N_IN, N)
    h0 = model.parameter(N)

    def step(rows: int) -> ln.Expression:
        inputs = Inputs("float32")
        outputs = []
        for _ in range(rows):
            h = ln.tanh(h0 * inputs.vector(N))
            c = ln.tanh(h0 + inputs.vector(N))
            y, _ = layer.step(inputs.vector(), (h, c))
            outputs.append(ln.sum(y))
        return ln.mean(outputs)

    def calm(rows: int) -> ln.Expression:
        inputs = Inputs("float32")
        outputs = []
        for _ in range(rows):
            h = ln.tanh(h0 * inputs.vector(N))
            c = ln.tanh(h0 + inputs.vector(N))
            inputs.vector()
            outputs.append(ln.sum(h * c))
        return ln.mean(outputs)

    forward, backward = used_by(lambda: step(64))
    without, back_without = used_by(lambda: calm(64))
    assert forward["gemms"] - without["gemms"] == 2  # W x and U h, added to it
    # a kernel, and at most one gather for each argument, where the product h * c was one launch
    assert forward["launches"] - without["launches"] <= 2 + 1 + 3 - 1
    assert backward["gemms"] - back_without["gemms"] == 3  # of h, W and U
    # a kernel, the sum for the bias, adding to the gradients of h and c
    assert backward["launches"] - back_without["launches"] <= 3 + 1 + 1 + 4
    more, back_more = used_by(lambda: step(16))
    assert more["launches"] == forward["launches"]
    assert back_more["launches"] == backward["launches"]


SCANS: list[tuple[str, Any, int, int]] = [
    # a layer, and the launches of a step forward and backward
    ("RNN", lambda m: ln.nn.RNN(m, N_IN, N), 2, 2),
    ("LSTM", lambda m: ln.nn.LSTM(m, N_IN, N), 2, 2),
    ("GRU", lambda m: ln.nn.GRU(m, N_IN, N), 4, 4),
    ("GRU after", lambda m: ln.nn.GRU(m, N_IN, N, reset_after=True), 2, 2),
]


@pytest.mark.parametrize(("name", "make", "forth", "back"), SCANS, ids=[s[0] for s in SCANS])
def test_launches_of_a_sequence(name: str, make: Any, forth: int, back: int) -> None:
    """A product and a kernel for each step and direction, where the cell's products allow."""
    model = ln.Model(seed=0, device="cuda")
    layer = make(model)

    def step(length: int, count: int = 3) -> ln.Expression:
        inputs = Inputs("float32")
        return ln.sum(
            [ln.sum_batch(ln.sum(layer(inputs.rows(length - k))[0])) for k in range(count)]
        )

    short, back_short = used_by(lambda: step(5))
    long, back_long = used_by(lambda: step(15))
    assert long["launches"] - short["launches"] == 10 * forth
    assert long["gemms"] - short["gemms"] == 10 * forth // 2
    assert back_long["launches"] - back_short["launches"] == 10 * back
    assert back_long["gemms"] - back_short["gemms"] == 10 * back // 2
    wide, back_wide = used_by(lambda: step(15, 5))
    assert wide["launches"] == long["launches"]
    assert back_wide["launches"] == back_long["launches"]


def test_random_keys_go_up_with_everything_else() -> None:
    model = ln.Model(seed=0, device="cuda")
    W = model.parameter((4, 4))

    def cell(x: Any, h: Any) -> Any:
        h = ln.tanh(W @ ln.dropout(h, 0.2) + ln.noise(x, 0.1))
        return h, h

    def step() -> ln.Expression:
        inputs = Inputs("float32")
        ends = [ln.scan(cell, inputs.rows(n, 4), inputs.vector(4))[1] for n in (4, 2, 7)]
        return ln.sum([ln.sum(ln.softmax(h)) for h in ends])

    used_by(step)


def test_elementwise_chains_are_one_kernel() -> None:
    model = ln.Model(seed=0, device="cuda")
    w = model.parameter(12)

    @ln.fuse
    def chain(x: Any, y: Any) -> Any:
        a, b, c = ln.split(ln.concatenate([x, y]), 3)
        z = ln.concatenate([ln.sigmoid(a) * b, ln.relu(c), ln.exp(-a * a)])
        return ln.maximum(z * w, ln.sqrt(1.0 + z * z) - 0.5), ln.log1p(ln.abs(a))

    def step(chained: bool) -> ln.Expression:
        inputs = Inputs("float32")
        outputs = []
        for _ in range(8):
            x, y = w[:4] * inputs.vector(4), w[4:] * inputs.vector(8)
            p, q = chain(x, y) if chained else (x, y)
            outputs += [ln.sum(p), ln.sum(q)]
        return ln.sum(outputs)

    forward, backward = used_by(lambda: step(True))
    without, back_without = used_by(lambda: step(False))
    assert forward["launches"] - without["launches"] <= 1
    # the kernel, a sum for w, and adding to the gradients of x, y and w
    assert backward["launches"] - back_without["launches"] <= 5
