"""Ops on a GPU, real or emulated: launches, random numbers, special values, long lines.

That every op's values and gradients are the CPU's is `test_ops_contract`'s; docs/gpu.md lists the
launches that are asserted here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import Case, batches, cotangents, differentiate, draw, record
from devices import check_on
from test_ops_contract import CASES, ops_of_lazynet

import lazynet as ln
from lazynet.backend import kernels, to_host

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]

TABLE = Path(__file__).parent.parent / "docs" / "gpu.md"

UPLOADS = {"GroupedCrossEntropy"}
"""Ops that sort their rows by what they carry, and have to upload the order."""

EMULATOR_LACKS = {
    "inverse": "cuSOLVER, which inverts matrices of more than 64 columns",
    "logdet": "cuSOLVER, which factorises matrices of more than 64 columns",
}


def emulated() -> bool:
    try:
        import cuda_emulator  # noqa: F401
    except ImportError:
        return False
    return True


class Counter:
    """Counts what ops do on the device, per class of op."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stats = pytest.importorskip(
            "cuda_emulator", reason="only the emulator counts launches"
        ).stats
        self.launches: dict[str, list[int]] = {}
        self.transfers: dict[str, dict[str, int]] = {}
        self.deep = False
        for op in {op for case in CASES for op in case.ops} & ops_of_lazynet():
            for way, name in enumerate(("forward", "backward")):
                monkeypatch.setattr(op, name, self.counting(op, way, getattr(op, name)))

    def counting(self, op: type, way: int, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(this: Any, call: Any, *args: Any) -> Any:
            if type(this) is not op or self.deep:
                return function(this, call, *args)
            self.deep = True
            try:
                with self.stats.measure() as used:
                    y = function(this, call, *args)
            finally:
                self.deep = False
            copies = 0
            if way == 0 and y is not call.out:  # the executor copies it to its place
                copies = len(y) if isinstance(y, tuple) else 1
            known = self.launches.setdefault(op.__name__, [0, 0])
            known[way] = max(known[way], used["launches"] + copies)
            for what in ("h2d", "d2h", "syncs"):
                if used[what]:
                    self.transfers.setdefault(op.__name__, {})[what] = used[what]
            return y

        return counted


def run(case: Case, device: str, shared: tuple[int, ...] = ()) -> None:
    """Three rows forward and backward, some arguments as parameters."""
    examples = [draw(case, row) for row in range(3)]
    model = ln.Model(seed=0, dtype="float64", device=device)
    with ln.use_device(device):
        xs: list[Any] = list(batches(case, examples))
        for k in shared:
            xs[k] = model.parameter(examples[0][k].shape, init=examples[0][k])
        results = record(case, xs)
        values = [np.array(v) for v in ln.values(results)]
        differentiate(results, cotangents(case, 0, values), xs)


def listed() -> Iterator[tuple[str, int, int]]:
    """Rows of the table in docs/gpu.md: op, launches forward, launches backward."""
    for line in TABLE.read_text().splitlines():
        found = re.match(r"\| `(\w+)` \| (\d+) \| (\d+|-) \|", line)
        if found:
            yield found[1], int(found[2]), 0 if found[3] == "-" else int(found[3])


def test_launches_are_as_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(monkeypatch)
    for case in CASES:
        if case.batched:
            run(case, "cuda")
            if case.shared_args and not case.across_rows:
                run(case, "cuda", case.shared_args)
    table = {name: [forward, backward] for name, forward, backward in listed()}
    assert counter.launches == table
    waits = {op: t for op, t in counter.transfers.items() if "syncs" in t or "d2h" in t}
    assert not waits
    assert set(counter.transfers) <= UPLOADS


def test_elementwise_and_row_ops_take_one_or_two_launches() -> None:
    products = set(
        "Affine Conv1d Conv2d Einsum GroupedCrossEntropy Inverse LstmGates Matmul Outer".split()
    )
    for name, forward, backward in listed():
        if name not in products | {"Concatenate"}:
            assert forward <= 2 and backward <= 2, name


LINES = [
    "softmax (3, 4) along 0", "log_softmax (5,) along -1", "sparsemax (5,) along -1",
    "constrained_softmax", "restricted log_softmax", "hardmax (5,) along -1, zero",
    "layer_norm (3, 4)", "weight_norm (3, 2)", "softmax_batch (4,)", "max_batch (2, 3)",
    "logsumexp_batch (2, 3)", "single max (3, 4)", "single logsumexp (2, 3, 2)",
    "vector of hinge", "hinge of columns", "vector of huber", "cross_entropy (2,) class 1",
]  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_threads_that_share_a_line_find_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_ALONE", 0)
    (case,) = [case for case in CASES if case.name == name]
    check_on(case, "cuda")


def both(function: Callable[[], Any]) -> tuple[Any, Any]:
    found = []
    for device in ("cpu", "cuda"):
        ln.seed(3)
        with ln.use_device(device):
            found.append(function())
    return found[0], found[1]


def value_and_gradients(function: Callable[..., Any], *arrays: Any) -> list[Any]:
    xs = [ln.constant(a, batched=True) for a in arrays]
    y = function(*xs)
    ln.sum_batch(
        ln.sum(y * ln.constant(np.cos(np.arange(np.prod(y.shape))).reshape(y.shape)))
    ).backward()
    return [y.value(), *[x.gradient() for x in xs]]


LONG = {
    "softmax": ln.softmax, "log_softmax": ln.log_softmax, "sparsemax": ln.sparsemax,
    "sum": ln.sum, "max": ln.max, "logsumexp": ln.logsumexp, "std": ln.std, "cumsum": ln.cumsum,
    "cross_entropy": lambda x: ln.cross_entropy(x, [5, 299, 0]),
    "layer_norm": lambda x: ln.layer_norm(x, np.ones(300), np.zeros(300)),
    "mean_batch": ln.mean_batch, "softmax_batch": ln.softmax_batch,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(LONG))
def test_long_lines(name: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 300))
    for expected, found in zip(*both(lambda: value_and_gradients(LONG[name], x))):
        np.testing.assert_allclose(found, expected, 1e-12, 1e-13)


ACROSS = {
    "softmax": lambda x: ln.softmax(x, 0), "sparsemax": lambda x: ln.sparsemax(x, 0),
    "max": lambda x: ln.max(x, 0), "std": lambda x: ln.std(x, 0), "sum": lambda x: ln.sum(x, 0),
    "layer_norm": lambda x: ln.layer_norm(x, np.ones(40), np.zeros(40)),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(ACROSS))
def test_long_lines_across_memory(name: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 70, 40))
    for expected, found in zip(*both(lambda: value_and_gradients(ACROSS[name], x))):
        np.testing.assert_allclose(found, expected, 1e-12, 1e-13)


@pytest.mark.parametrize("rows", [1, 90])
def test_softmax_of_many_rows(rows: int) -> None:
    x = np.random.default_rng(0).standard_normal((rows, 40))
    for function in (ln.softmax_batch, ln.max_batch, ln.std_batch):
        for expected, found in zip(*both(lambda f=function: value_and_gradients(f, x))):
            np.testing.assert_allclose(found, expected, 1e-12, 1e-13)


@pytest.mark.parametrize("rows", [1, 90])
def test_gains_of_many_rows(rows: int) -> None:
    def gradients() -> list[Any]:
        rng = np.random.default_rng(0)
        model = ln.Model(seed=0, dtype="float64")  # where `use_device` says
        gain, bias = model.parameter(33), model.parameter(33)
        x = ln.constant(rng.standard_normal((rows, 3, 33)), batched=True)
        y = ln.layer_norm(x, gain, bias)
        ln.sum_batch(ln.sum(y * y * y)).backward()
        return [y.value(), x.gradient(), gain.gradient(), bias.gradient()]

    for expected, found in zip(*both(gradients)):
        np.testing.assert_allclose(found, expected, 1e-11, 1e-11)


SPECIAL = {
    "max": ln.max, "min": ln.min, "logsumexp": ln.logsumexp, "softmax": ln.softmax,
    "log_softmax": ln.log_softmax, "relu": ln.relu, "sign": ln.sign, "abs": ln.abs,
    "sigmoid": ln.sigmoid, "softplus": ln.softplus, "tanh": ln.tanh, "exp": ln.exp,
    "clip": lambda x: ln.clip(x, -1, 1), "floor": ln.floor, "elu": ln.elu, "sqrt": ln.sqrt,
    "maximum": lambda x: ln.maximum(x, ln.constant(np.arange(4.0))),
    "minimum": lambda x: ln.minimum(x, ln.constant(np.arange(4.0))),
    "where": lambda x: ln.where(ln.greater(x, 0), x, -x), "norm": ln.norm,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SPECIAL))
def test_infinities_and_what_is_no_number(name: str) -> None:
    inf, nan = np.inf, np.nan
    x = np.array(
        [
            [1, inf, 2, 0],
            [-inf, 1, 2, -0.0],
            [nan, 1, 2, 3],
            [-inf] * 4,
            [inf, -inf, 1, nan],
            [0] * 4,
        ]
    )
    for expected, found in zip(*both(lambda: value_and_gradients(SPECIAL[name], x))):
        np.testing.assert_allclose(found, expected, 1e-12, 1e-13)


def test_digamma_near_its_poles_and_far_from_them() -> None:
    x = np.array([[-2.5, -0.3, -2.0, 0.0], [-0.0, 1e-3, 0.5, 1.0], [3.0, 9.99, 100.0, 1e6]])
    for expected, found in zip(*both(lambda: value_and_gradients(ln.lgamma, x))):
        np.testing.assert_allclose(found, expected, 1e-12, 1e-13)


def test_random_numbers_are_those_of_the_cpu() -> None:
    def draws() -> list[Any]:
        x = ln.constant(np.ones((3, 5, 4)), batched=True, dtype="float32")
        return [
            y.value()
            for y in [
                ln.uniform(7, batch=5), ln.uniform((2, 3), batch=2, dtype="float64"),
                ln.bernoulli((3, 3), 0.3, batch=4), ln.dropout(x, 0.4), ln.dropout_dim(x, 0, 0.5),
                ln.dropout_dim(x, 1, 0.5), ln.block_dropout(x, 0.5),
                ln.categorical(ln.constant(np.zeros((50, 9)), batched=True)),
            ]
        ]  # fmt: skip

    for a, b in zip(*both(draws), strict=True):
        np.testing.assert_array_equal(a, b)

    def rounded() -> list[Any]:
        return [
            f(7, batch=100, dtype=dtype).value()
            for f in (ln.normal, ln.gumbel)
            for dtype in ("float32", "float64")
        ]

    for a, b in zip(*both(rounded), strict=True):
        np.testing.assert_allclose(a, b, 1e-12 if a.dtype == np.float64 else 1e-5, 1e-6)


def test_batches_without_rows() -> None:
    x = np.zeros((0, 4))
    for function in (ln.softmax, ln.sum, ln.max, ln.tanh, lambda x: x * 2 + x, ln.log_softmax):
        for a, b in zip(*both(lambda f=function: value_and_gradients(f, x))):
            assert np.shape(a) == np.shape(b)


def test_a_computed_index_that_is_out_of_range_has_no_number() -> None:
    table = ln.Model(device="cuda").lookup(3, 2, init=np.ones((3, 2)))
    with ln.use_device("cuda"):
        index = ln.constant(np.array([1, 7]), batched=True, dtype="int64")
        np.testing.assert_array_equal(table[index].value(), [[1, 1], [np.nan, np.nan]])


def test_singular_matrices_have_no_finite_inverse() -> None:
    with ln.use_device("cuda"):
        x = ln.constant(np.ones((3, 3)))
        assert not np.isfinite(ln.inverse(x).value()).any()
        assert ln.logdet(x).value() == -np.inf


@pytest.mark.parametrize("name", sorted(EMULATOR_LACKS))
def test_large_matrices(name: str) -> None:
    if emulated():
        pytest.skip(f"{name}: the emulator lacks {EMULATOR_LACKS[name]}")
    x = np.random.default_rng(0).standard_normal((2, 70, 70))
    for a, b in zip(*both(lambda: value_and_gradients(getattr(ln, name), x))):
        np.testing.assert_allclose(a, b, 1e-8)


def test_an_op_of_the_users_sees_arrays_of_the_device() -> None:
    seen: list[Any] = []

    class Twice(ln.Op):
        def shape(self, *shapes: Any) -> Any:
            return shapes[0]

        def forward(self, call: Any, *args: Any) -> Any:
            seen.append(args[0])
            return args[0] * 2

        def backward(self, call: Any, dy: Any, y: Any, *args: Any) -> Any:
            return dy * 2

    with ln.use_device("cuda"):
        assert ln.sum(Twice()(ln.constant([1.0, 2.0]))).value() == 6
    assert not isinstance(seen[0], np.ndarray)
    np.testing.assert_array_equal(to_host(seen[0]), [[1, 2]])
