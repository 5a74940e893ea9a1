"""Random inputs, noise and dropout: distributions, masks, gradients, bad input."""

from __future__ import annotations

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy


@pytest.fixture(autouse=True)
def _new_graph() -> None:
    ln.seed(1)
    dy.renew_cg()


def gradient_of(x: dy.Expression, y: dy.Expression) -> np.ndarray:
    dy.sum_batches(dy.sum_elems(y)).backward()
    return x.gradient()


# Random inputs

SAMPLES = {
    "normal": (lambda n: dy.random_normal(n), 0, 1),
    "normal, moved": (lambda n: dy.random_normal(n, 1.0, stddev=2.0), 1, 2),
    "uniform": (lambda n: dy.random_uniform(n, -1, 3), 1, 4 / np.sqrt(12)),
    "bernoulli": (lambda n: dy.random_bernoulli(n, 0.3), 0.3, np.sqrt(0.21)),
    "bernoulli, scaled": (lambda n: dy.random_bernoulli(n, 0.3, 2.0), 0.6, 2 * np.sqrt(0.21)),
    "gumbel": (lambda n: dy.random_gumbel(n), np.euler_gamma, np.pi / np.sqrt(6)),
    "gumbel, moved": (
        lambda n: dy.random_gumbel(n, mu=1.0, beta=2.0),
        1 + 2 * np.euler_gamma,
        2 * np.pi / np.sqrt(6),
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_moments(name: str) -> None:
    make, mean, std = SAMPLES[name]
    values = make(40000).npvalue()
    assert abs(values.mean() - mean) < 5 * std / 200
    assert abs(values.std() - std) < 0.03 * std


def test_bounds() -> None:
    values = dy.random_uniform(10000, -1, 3).npvalue()
    assert -1 <= values.min() < -0.99
    assert 2.99 < values.max() <= 3
    assert set(dy.random_bernoulli(100, 0.5, 3).value()) == {0.0, 3.0}
    assert set(dy.random_bernoulli(100, 0).value()) == {0.0}
    assert set(dy.random_bernoulli(100, 1).value()) == {1.0}


@pytest.mark.parametrize(
    "make",
    [
        lambda d, b: dy.random_normal(d, 0.5, 2.0, b),
        lambda d, b: dy.random_bernoulli(d, 0.5, 1.0, b),
        lambda d, b: dy.random_uniform(d, 0, 1, b),
        lambda d, b: dy.random_gumbel(d, 0.0, 1.0, b),
    ],
)
def test_dimensions(make) -> None:
    assert make(3, 1).dim() == ((3,), 1)
    assert make(1, 1).dim() == ((1,), 1)
    assert make((2, 3), 4).dim() == ((2, 3), 4)
    assert make((2, 3), 4).npvalue().shape == (2, 3, 4)
    assert make((3, 1), np.int64(1)).dim() == ((3, 1), 1)
    rows = make((50,), 2).npvalue()
    assert (rows[:, 0] != rows[:, 1]).any()


def test_two_samples_differ_and_are_one_batch() -> None:
    samples = [dy.random_normal(5) for _ in range(4)]
    assert ln.plan([s.node for s in samples]).batches[-1].nodes == 4
    assert len({tuple(s.value()) for s in samples}) == 4
    masks = [dy.random_bernoulli(5, 0.5, 2.0) for _ in range(4)]
    assert ln.plan([m.node for m in masks]).batches[-1].nodes == 4


def test_recalculation_draws_anew() -> None:
    x = dy.random_normal(5)
    first = x.value()
    assert x.value() == first
    assert x.value(recalculate=True) != first


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: dy.random_normal(-1), ValueError),
        (lambda: dy.random_normal((2, -1)), ValueError),
        (lambda: dy.random_normal([2, 3]), TypeError),
        (lambda: dy.random_normal(None), TypeError),
        (lambda: dy.random_normal("a"), TypeError),
        (lambda: dy.random_normal(2.5), TypeError),
        (lambda: dy.random_normal(()), ValueError),
        (lambda: dy.random_normal(3, batch_size=0), ValueError),
        (lambda: dy.random_normal(3, batch_size=None), TypeError),
        (lambda: dy.random_normal(3, float("nan")), ValueError),
        (lambda: dy.random_normal(3, 0, None), TypeError),
    ],
)
def test_bad_dimensions_and_settings(call, error) -> None:
    with pytest.raises(error, match="random_normal"):
        call()


def test_bad_settings_name_the_call() -> None:
    for call, name in [
        (lambda: dy.random_bernoulli(3, None), "random_bernoulli: p: got"),
        (lambda: dy.random_bernoulli(3, 0.5, "a"), "random_bernoulli: scale: got"),
        (lambda: dy.random_uniform(3, None, 1), "random_uniform: left: got"),
        (lambda: dy.random_uniform(3, 0, "a"), "random_uniform: right: got"),
        (lambda: dy.random_gumbel(3, beta="a"), "random_gumbel: beta: got"),
    ]:
        with pytest.raises(TypeError, match=name):
            call()


# Noise


def test_noise() -> None:
    x = dy.inputTensor(np.full(40000, 3.0))
    y = dy.noise(x, 0.5)
    values = y.npvalue()
    assert abs(values.mean() - 3) < 0.02
    assert abs(values.std() - 0.5) < 0.02
    assert (gradient_of(x, y) == 1).all()
    assert dy.noise(x, 0).npvalue().tolist() == x.npvalue().tolist()


# Dropout

DROPOUTS = {
    "dropout": dy.dropout,
    "dropout_batch": dy.dropout_batch,
    "block_dropout": dy.block_dropout,
    "dropout_dim": lambda x, p: dy.dropout_dim(x, 0, p),
}


@pytest.mark.parametrize("name", DROPOUTS)
def test_what_is_kept_is_scaled_and_has_the_gradient(name: str) -> None:
    """As in the wheel: kept with probability 1 - p and then divided by it, in both directions."""
    x = dy.inputTensor(np.ones((2, 5, 4000)), batched=True)
    y = DROPOUTS[name](x, 0.3)
    assert y.dim() == x.dim()
    values = y.npvalue()
    kept = values != 0
    assert np.allclose(values[kept], 1 / 0.7)
    assert abs(kept.mean() - 0.7) < 0.03
    assert np.array_equal(gradient_of(x, y), values)


def test_which_elements_share_a_mask() -> None:
    x = dy.inputTensor(np.ones((6, 7, 5)), batched=True)
    each = dy.dropout(x, 0.5).npvalue()
    assert 0 < (each != 0).sum() < each.size
    columns = dy.dropout_dim(x, 0, 0.5).npvalue()
    assert (columns == columns[:1]).all()
    assert len({tuple(columns[0, :, k]) for k in range(5)}) > 1
    rows = dy.dropout_dim(x, 1, 0.5).npvalue()
    assert (rows == rows[:, :1]).all()
    assert len({tuple(rows[:, 0, k]) for k in range(5)}) > 1
    for whole in (dy.dropout_batch, dy.block_dropout):
        examples = whole(dy.inputTensor(np.ones((2, 3, 50)), batched=True), 0.5).npvalue()
        assert (examples == examples[:1, :1]).all()
        assert set(examples[0, 0]) == {0.0, 2.0}
    assert dy.dropout_dim(dy.inputTensor(np.ones((2, 2, 2, 2))), 3, 0.5).dim() == ((2, 2, 2, 2), 1)


@pytest.mark.parametrize("name", DROPOUTS)
@pytest.mark.parametrize("batched", [False, True])
def test_rates_of_0_and_1(name: str, batched: bool) -> None:
    """The wheel gives NaN for a rate of 1, but for `block_dropout`."""
    data = np.array([[1.0, -2.0, np.inf], [0.5, 4.0, 3.0]])
    x = dy.inputTensor(data, batched=batched)
    assert DROPOUTS[name](x, 0).npvalue().tolist() == data.tolist()
    y = DROPOUTS[name](x, 1)
    assert y.dim() == x.dim()
    assert (y.npvalue() == 0).all()
    assert (gradient_of(x, y) == 0).all()


@pytest.mark.parametrize("name", DROPOUTS)
def test_bad_rates(name: str) -> None:
    x = dy.inputTensor(np.ones(3))
    for p in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=f"{name}: p: got"):
            DROPOUTS[name](x, p)
    for p in (None, "a", x):
        with pytest.raises(TypeError, match=f"{name}: p: got"):
            DROPOUTS[name](x, p)


def test_bad_dimensions_of_dropout_dim() -> None:
    x = dy.inputTensor(np.ones((2, 3)))
    with pytest.raises(ValueError, match="dropout_dim: got dimension 2"):
        dy.dropout_dim(x, 2, 0.5)
    with pytest.raises(OverflowError, match="dropout_dim: got -1"):
        dy.dropout_dim(x, -1, 0.5)
    with pytest.raises(TypeError, match="dropout_dim: got None"):
        dy.dropout_dim(x, None, 0.5)


def test_each_call_has_its_mask_and_all_are_one_batch() -> None:
    xs = [dy.inputTensor(np.ones(40)) for _ in range(4)]
    ys = [dy.dropout(x, 0.5) for x in xs]
    assert ln.plan([y.node for y in ys]).batches[-1].nodes == 4
    assert len({tuple(y.value()) for y in ys}) == 4
    first = ys[0].value()
    assert ys[0].value(recalculate=True) != first


@pytest.mark.parametrize("name", [*DROPOUTS, "noise"])
def test_what_is_no_expression(name: str) -> None:
    call = {**DROPOUTS, "noise": dy.noise}[name]
    for x in (None, 1.0, np.ones(3), [dy.scalarInput(1)]):
        with pytest.raises(TypeError, match=f"{name}: got"):
            call(x, 0.5)
    old = dy.inputTensor(np.ones(3))
    dy.renew_cg()
    for p in (0, 0.5, 1):
        with pytest.raises(RuntimeError, match=f"{name}: stale"):
            call(old, p)
