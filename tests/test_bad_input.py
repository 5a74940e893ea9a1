"""Bad input: a clear error from the tree in errors.py and nothing lost, or the right answer."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazynet as ln


@pytest.fixture(autouse=True)
def usable_afterwards() -> Iterator[None]:
    """Whatever went wrong, the next graph gives the right answer."""
    yield
    w = ln.Model().parameter(2, init=[1.0, 2.0])
    loss = (w * ln.constant([3.0, 4.0])).sum()
    loss.backward()
    assert loss.value() == 11.0 and w.gradient().tolist() == [3.0, 4.0]


X = [1.0, 2.0, 3.0]

TAKERS: dict[str, Any] = {
    "constant": lambda bad: ln.constant(bad),
    "add": lambda bad: ln.constant(X) + bad,
    "reflected": lambda bad: bad - ln.constant(X),
    "pow": lambda bad: ln.constant(X) ** bad,
    "matmul": lambda bad: ln.constant(X) @ bad,
    "tanh": lambda bad: ln.tanh(bad),
    "sum": lambda bad: ln.sum(bad),
    "softmax": lambda bad: ln.softmax(bad),
    "concatenate": lambda bad: ln.concatenate([ln.constant(X), bad]),
    "list": lambda bad: ln.sum([ln.constant(X), bad]),
    "squared_error": lambda bad: ln.squared_error(ln.constant(X), bad),
    "affine": lambda bad: ln.affine(ln.constant(X), ln.constant([X]), bad),
    "parameter": lambda bad: ln.Model().parameter(3, init=bad),
    "values": lambda bad: ln.values([bad]),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize(
    "bad",
    [None, object(), {"a": 1}, [None], 1j, np.array([1j]), np.array(["a"])],
    ids=["None", "object", "dict", "[None]", "complex", "complex array", "string array"],
)
def test_none_and_objects(taker: str, bad: Any) -> None:
    with pytest.raises(ln.LazynetError):
        TAKERS[taker](bad)


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("bad", ["text", b"bytes", ["a", "b"]])
def test_strings(taker: str, bad: Any) -> None:
    with pytest.raises(ln.LazynetError):
        TAKERS[taker](bad)


def test_none_says_what_it_got() -> None:
    with pytest.raises(ln.ArgumentError, match="add: got NoneType None"):
        ln.constant(X) + None


@pytest.mark.parametrize("bad", [[[1.0, 2.0], [3.0]], [1.0, [2.0]], [np.ones(2), np.ones(3)]])
def test_ragged_lists(bad: Any) -> None:
    with pytest.raises(ln.ArgumentError, match="ragged"):
        ln.constant(bad)
    with pytest.raises(ln.ArgumentError, match="ragged"):
        ln.constant(X) + bad


NAN = float("nan")


@pytest.mark.parametrize("bad", [NAN, np.nan, np.float32("nan"), float("inf"), 1.5, [NAN], [1.5]])
def test_nan_and_fractional_indices(bad: Any) -> None:
    table = ln.Model().lookup(4, 2)
    x = ln.constant(X)
    for use in (
        lambda: table[bad],
        lambda: x[bad],
        lambda: ln.pick(x, bad),
        lambda: ln.cross_entropy(x, bad),
        lambda: ln.pick_rows(ln.constant([X, X]), bad),
        lambda: ln.constant(bad, dtype="int64"),
    ):
        with pytest.raises(ln.LazynetError):
            use()


@pytest.mark.parametrize("bad", [3, -4, 10**12, [3], [0, 3], np.array([-4])])
def test_classes_out_of_range(bad: Any) -> None:
    x = ln.constant(X)
    batch = ln.constant([X] * (len(bad) if hasattr(bad, "__len__") else 1), batched=True)
    with pytest.raises((ln.RangeError, ln.ShapeError), match=r"3|4|1000000000000"):
        ln.cross_entropy(batch if hasattr(bad, "__len__") else x, bad)


def test_a_class_out_of_range_is_a_range_error_with_the_range() -> None:
    with pytest.raises(ln.RangeError, match=r"cross_entropy.*3"):
        ln.cross_entropy(ln.constant(X), 3)


@pytest.mark.parametrize("bad", [4, -5, [0, 4], [-5], np.array([7])])
def test_rows_out_of_range(bad: Any) -> None:
    table = ln.Model().lookup(4, 2, name="words")
    with pytest.raises(ln.RangeError, match=r"words"):
        table[bad]


def test_a_computed_row_out_of_range() -> None:
    table = ln.Model().lookup(2, 2, name="words")
    y = table[ln.argmax(ln.constant(X))]
    with pytest.raises(ln.RangeError, match=r"words.*2 rows"):
        y.value()
    with pytest.raises(ln.RangeError):
        y.value()


def test_zero_length_sequences() -> None:
    model = ln.Model(seed=0)
    table = model.lookup(4, 3)
    nothing = table[[]]
    assert nothing.batch == 0 and nothing.value().shape == (0, 3)
    assert ln.sum_batch(nothing).value().tolist() == [0.0, 0.0, 0.0]
    assert ln.softmax_batch(nothing).value().shape == (0, 3)
    for reduce in (ln.mean_batch, ln.max_batch, ln.logsumexp_batch):
        with pytest.raises(ln.ShapeError, match="0 rows"):
            reduce(nothing)
    total = ln.sum([ln.sum_batch(table[words]) for words in ([], [1], [1, 2])]).sum()
    total.backward()
    assert table.gradient().sum(axis=1).tolist() == [0.0, 6.0, 3.0, 0.0]


def test_empty_lists() -> None:
    for use in (ln.sum, ln.mean, ln.max, ln.stack, ln.concatenate, ln.rebatch):
        with pytest.raises(ln.LazynetError, match=r"empty|\[\]"):
            use([])
    with pytest.raises(ln.ArgumentError, match="empty"):
        ln.backward([])
    assert ln.values([]) == []


def test_zero_rows_in_a_batch() -> None:
    w = ln.Model(seed=0, dtype="float64").parameter((2, 3))
    x = ln.constant(np.zeros((0, 3)), batched=True)
    y = ln.tanh(w @ x)
    assert y.batch == 0 and y.value().shape == (0, 2)
    loss = ln.sum_batch(y).sum()
    loss.backward()
    assert loss.value() == 0.0
    assert x.gradient().shape == (0, 3)
    both = ln.rebatch([x, ln.constant(np.ones((2, 3)), batched=True)])
    assert ln.tanh(w @ both).value().shape == (2, 2)
    assert ln.unbatch(x) == []


def test_zero_sized_axes() -> None:
    x = ln.constant(np.zeros((0, 3)))
    assert (x + 1.0).value().shape == (0, 3)
    assert x.sum().value() == 0.0
    with pytest.raises(ln.LazynetError):
        x.max()


@pytest.mark.parametrize("array", [np.arange(3), np.arange(3, dtype=np.uint8), [0, 1, 2]])
def test_integer_arrays_become_floats(array: Any) -> None:
    x = ln.constant(array)
    assert x.dtype == np.float32
    assert (x * 0.5).value().tolist() == [0.0, 0.5, 1.0]
    w = ln.Model(dtype="float64").parameter(3, init=1.0)
    assert (w + array).value().tolist() == [1.0, 2.0, 3.0]


def test_integer_expressions_where_floats_belong() -> None:
    i = ln.constant([1, 2, 3], dtype="int64")
    for use in (
        lambda: ln.tanh(i),
        lambda: i * 0.5,
        lambda: i + ln.constant(X),
        lambda: i @ ln.constant(X),
        lambda: ln.softmax(i),
    ):
        with pytest.raises(ln.DtypeError, match="int64"):
            use()
    assert ln.tanh(i.astype("float32")).value().shape == (3,)


def test_mixed_dtypes() -> None:
    a = ln.Model(dtype="float32").parameter(3, init=1.0)
    b = ln.Model(dtype="float64").parameter(3, init=1.0)
    for use in (lambda: a + b, lambda: ln.dot(a, b), lambda: ln.sum([a * 1.0, b * 1.0])):
        with pytest.raises(ln.LazynetError, match=r"float32.*float64"):
            use()
    assert (a.astype("float64") + b).value().tolist() == [2.0] * 3
    assert (b + np.ones(3, np.float32)).dtype == np.float64
    assert (a + np.ones(3)).dtype == np.float32


def test_expressions_of_another_dtype() -> None:
    x = ln.constant(X) * 1.0
    y = ln.constant(np.array(X)) * 1.0
    with pytest.raises(ln.DtypeError, match="astype"):
        x * y
    with pytest.raises(ln.DtypeError, match="int32"):
        x.astype("int32")
    with pytest.raises(ln.DtypeError):
        ln.constant(X, dtype="nonsense")


@pytest.mark.parametrize("side", [10**6, 10**8, 2**31])
def test_huge_shapes(side: int) -> None:
    x = ln.constant(X)
    huge = ln.broadcast_to(ln.constant(1.0), (side, side))
    y = huge * huge
    if side < 10**8:
        with pytest.raises(ln.OutOfMemoryError, match=r"GB"):
            y.value()
    else:
        with pytest.raises(MemoryError):
            y.value()
    assert x.value().tolist() == X
    assert (x * 2.0).value().tolist() == [2.0, 4.0, 6.0]


def test_huge_parameters() -> None:
    with pytest.raises(ln.OutOfMemoryError, match="100000000, 100000000"):
        ln.Model().parameter((10**8, 10**8), init=0.0)
    with pytest.raises(ln.OutOfMemoryError):
        ln.Model().parameter((10**8, 10**8))


def test_memory_that_runs_out_in_an_operation() -> None:
    class Greedy(ln.Op):
        def shape(self, *shapes: Any) -> Any:
            return shapes[0]

        def forward(self, call: ln.Call, *args: Any) -> Any:
            return np.ones((10**8, 10**8))

    y = Greedy()(ln.constant(X))
    with pytest.raises(ln.OutOfMemoryError, match=r"greedy.* x 1 rows"):
        y.value()


def test_a_cell_that_recurses_100_000_deep() -> None:
    w = ln.Model(dtype="float64").parameter((), init=0.0)

    def cell(h: Any, n: int) -> Any:
        return h if n == 0 else cell(h + w, n - 1)

    h = ln.constant(np.float64(1.0))
    with pytest.raises(RecursionError):
        cell(h, 100_000)
    assert cell(h, 100).value() == 1.0


def test_a_chain_100_000_deep_recorded_in_a_loop() -> None:
    w = ln.Model(dtype="float64").parameter((), init=1.0)
    h = ln.constant(np.float64(0.0))
    for _ in range(100_000):
        h = h + w
    h.backward()
    assert h.value() == 100_000 and w.gradient() == 100_000


def test_a_full_disk_while_saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ln.Model(seed=0)
    model.parameter(3, name="W")
    model.save(tmp_path / "m")
    data = (tmp_path / "m").read_bytes()

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ln.LazynetError, match="untouched"):
        model.save(tmp_path / "m")
    assert os.listdir(tmp_path) == ["m"] and (tmp_path / "m").read_bytes() == data


def test_a_truncated_file_while_loading(tmp_path: Path) -> None:
    model = ln.Model(seed=0)
    w = model.parameter(3, name="W")
    model.save(tmp_path / "m")
    before = w.value()
    data = (tmp_path / "m").read_bytes()
    for cut in range(0, len(data), 7):
        (tmp_path / "m").write_bytes(data[:cut])
        with pytest.raises(ln.FileError):
            model.load(tmp_path / "m")
    assert np.array_equal(w.value(), before)


def test_huge_numbers() -> None:
    x = ln.constant(X)
    for use in (lambda: x * 10**400, lambda: 10**400 + x, lambda: ln.constant(10**400)):
        with pytest.raises((ln.LazynetError, OverflowError)):
            use()
    assert np.isinf((x * 1e300).value()).all()
