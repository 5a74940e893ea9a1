"""`Tensor`: arrays, the greatest numbers, and draws."""

from __future__ import annotations

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy

A = np.array([[3.0, 1.0, 2.0], [5.0, 0.0, 4.0]])


@pytest.fixture(autouse=True)
def graph() -> None:
    dy.renew_cg()


def tensor(array=A, batched: bool = False) -> dy.Tensor:
    return dy.inputTensor(array, batched=batched).tensor_value()


def test_as_numpy_is_a_copy_of_float64() -> None:
    t = tensor()
    assert t.as_numpy().dtype == np.float64
    t.as_numpy()[0] = 9
    assert t.as_numpy().tolist() == A.tolist()
    assert str(t) == "<Dynet Tensor:float>"


def test_argmax() -> None:
    assert tensor().argmax().as_numpy().tolist() == [[1, 0, 1]]
    assert tensor().argmax(1).as_numpy().tolist() == [[0], [0]]
    assert tensor().argmax(dim=1, num=2).as_numpy().tolist() == [[0, 2], [0, 2]]
    assert tensor().argmax(2).as_numpy().tolist() == [[0, 0, 0]] * 2  # a dimension of length 1
    assert tensor(A[0]).argmax(num=3).as_numpy().tolist() == [0, 2, 1]
    assert tensor(A, True).argmax().as_numpy().tolist() == [[1, 0, 1]]
    assert tensor(A, True).argmax(1).as_numpy().tolist() == [[0, 0, 0]] * 2
    assert tensor(np.ones(3)).argmax(num=2).as_numpy().tolist() == [0, 1]  # the first of equals
    indices = tensor().argmax()
    assert indices.as_numpy().dtype == np.int64
    assert str(indices) == "<Dynet Tensor:int>"


def test_topk() -> None:
    values, indices = tensor().topk(1, 2)
    assert values.as_numpy().tolist() == [[3, 2], [5, 4]]
    assert indices.as_numpy().tolist() == [[0, 2], [0, 2]]
    values, indices = tensor(np.stack([A, -A], -1), True).topk(dim=0, num=1)
    assert values.as_numpy().tolist() == [[[5, -3], [1, 0], [4, -2]]]
    assert indices.as_numpy().tolist() == [[[1, 0], [0, 1], [1, 0]]]


def test_draws_follow_the_distribution() -> None:
    ln.seed(3)
    p = np.array([0.1, 0.6, 0.3])
    t = tensor(np.log(np.stack([p, p[::-1]], -1)), batched=True)
    draws = t.categorical_sample_log_prob(0, 4000).as_numpy()
    assert draws.shape == (4000, 2)
    for k, expected in enumerate((p, p[::-1])):
        np.testing.assert_allclose(np.bincount(draws[:, k]) / 4000, expected, atol=0.03)
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.05
    one = tensor(np.log([[0.5, 0.5]] * 2)).categorical_sample_log_prob(1)
    assert one.as_numpy().shape == (2, 1)
    sure = tensor(np.array([-np.inf, 0.0])).categorical_sample_log_prob(num=5)
    assert sure.as_numpy().tolist() == [1] * 5


def test_draws_are_repeatable() -> None:
    t = tensor(np.log(np.full(50, 0.02)))
    results = []
    for _ in range(2):
        ln.seed(5)
        results.append(t.categorical_sample_log_prob(0, 20).as_numpy().tolist())
    assert results[0] == results[1]
    assert results[0] != t.categorical_sample_log_prob(0, 20).as_numpy().tolist()


@pytest.mark.parametrize("method", ["argmax", "topk", "categorical_sample_log_prob"])
def test_bad_input_is_refused_by_name(method) -> None:
    call = getattr(tensor(), method)
    for arguments, error in (
        ((7,), ValueError), ((-1,), OverflowError), ((None,), TypeError), ((0, 0), ValueError),
        ((0, None), TypeError), ((0, -2), OverflowError),
    ):  # fmt: skip
        with pytest.raises(error, match=method):
            call(*arguments)
    if method != "categorical_sample_log_prob":
        with pytest.raises(ValueError, match=method):
            call(0, 3)
