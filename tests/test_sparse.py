"""Sums of repeated rows, by whichever way is quickest."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import _sparsetools

from lazynet.backend import SparseRows, add_rows, coalesce, host, scatter_add

CASES = [
    # rows, width, table
    (0, 3, 5),
    (1, 3, 5),
    (7, 0, 5),
    (20, 3, 5),
    (40, 300, 7),
    (600, 40, 30),
    (600, 40, 65536),
    (600, 40, 10**9),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("k, width, n", CASES)
def test_coalesce(k: int, width: int, n: int, dtype: str) -> None:
    rng = np.random.default_rng(k)
    rows = rng.integers(0, n, k)
    rows[k // 2 :] = rows[: k - k // 2]  # each twice at least
    values = rng.standard_normal((k, width)).astype(dtype)
    kept = rows.copy(), values.copy()
    distinct, sums = coalesce(rows, values)
    expected_rows, place = np.unique(rows, return_inverse=True)
    expected = np.zeros((len(expected_rows), width))
    np.add.at(expected, place.reshape(-1), values)
    np.testing.assert_array_equal(distinct, expected_rows)
    assert sums.dtype == dtype and distinct.dtype == np.int64
    tolerance = 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(sums, expected, rtol=tolerance, atol=tolerance)
    for before, after in zip(kept, (rows, values)):
        np.testing.assert_array_equal(before, after)


def test_distinct_rows_are_put_in_order() -> None:
    rows, values = coalesce(np.array([4, 0, 2]), np.array([[1.0], [2.0], [3.0]]))
    assert rows.tolist() == [0, 2, 4] and values.tolist() == [[2.0], [3.0], [1.0]]


def test_what_is_not_finite_stays_in_its_row() -> None:
    rows = np.arange(600) % 300
    values = np.ones((600, 40))
    values[1, 3], values[2, 5] = np.nan, np.inf
    _, sums = coalesce(rows, values)
    assert np.isnan(sums[1, 3]) and np.isinf(sums[2, 5])
    assert np.isfinite(sums).sum() == sums.size - 2


def test_rows_of_more_axes_and_of_none() -> None:
    for shape in ((), (2, 3), (5, 4, 300)):
        values = np.random.default_rng(0).standard_normal((6, *shape))
        rows, sums = coalesce(np.array([1, 0, 1, 3, 3, 3]), values)
        assert rows.tolist() == [0, 1, 3]
        expected = np.stack([values[1], values[0] + values[2], values[3:].sum(axis=0)])
        np.testing.assert_allclose(sums, expected)


def test_adding_into_an_array() -> None:
    for k, width in ((6, 2), (600, 50)):
        rng = np.random.default_rng(0)
        index, values = rng.integers(0, 9, k), rng.standard_normal((k, width))
        target = rng.standard_normal((9, width))
        expected = target.copy()
        np.add.at(expected, index, values)
        scatter_add(target, index, values)
        np.testing.assert_allclose(target, expected, atol=1e-12)
        rest = rng.standard_normal((9, width))
        dense = SparseRows(index, values, rest).dense((9, width))
        expected = rest.copy()
        np.add.at(expected, index, values)
        np.testing.assert_allclose(dense, expected, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize(("k", "width"), [(0, 3), (1, 1), (6, 2), (600, 50), (3000, 7)])
def test_adding_rows_equals_adding_one_by_one(k: int, width: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    index, values = rng.integers(0, 40, k), rng.integers(-5, 5, (k, width)).astype(dtype)
    whole = rng.integers(-5, 5, (60, width)).astype(dtype)
    expected = whole.copy()
    np.add.at(expected, 10 + index, values)
    add_rows(whole[10:50], index, values)
    np.testing.assert_array_equal(whole, expected)
    every_other = np.zeros((40, 2 * width), dtype)[:, ::2]
    add_rows(every_other, index, values)
    expected = np.zeros((40, width), dtype)
    np.add.at(expected, index, values)
    np.testing.assert_array_equal(every_other, expected)


def test_adding_rows_without_what_scipy_keeps_to_itself(monkeypatch) -> None:
    monkeypatch.setattr(host, "_sparse_product", lambda: None)
    target = np.zeros((3, 2))
    add_rows(target, np.array([2, 0, 2]), np.array([[1.0, 2], [3, 4], [5, 6]]))
    assert target.tolist() == [[3, 4], [0, 0], [6, 8]]


def test_what_scipy_keeps_to_itself_does_what_it_should_where_it_is_there() -> None:
    known = hasattr(_sparsetools, "coo_matmat_dense")  # not in SciPy 1.11
    assert (host._sparse_product() is not None) == known
