from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from scipy import stats

import lazynet as ln
from lazynet import randomness
from lazynet.randomness import (
    KEY_STEP,
    ROW_STEP,
    Stream,
    current_stream,
    get_state,
    mix,
    next_key,
    row_keys,
    set_state,
    uniform_bits,
    using_stream,
)

N = 20_000
DTYPES = ["float32", "float64"]
LEAST = 1e-4
"""Tests reject below this p-value; the seeds are fixed, so they pass or fail for good."""


def ones(*shape: int) -> ln.Expression:
    return ln.constant(np.ones(shape, np.float32))


def draws(function: Callable[[], Any], seed: int = 0) -> Any:
    ln.seed(seed)
    return function()


# The generator


def splitmix(seed: int) -> Iterator[int]:
    """SplitMix64 as published, one number at a time."""
    mask = (1 << 64) - 1
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        yield z ^ (z >> 31)


def test_splitmix_gives_its_published_numbers() -> None:
    # the first outputs for seed 1234567, as other implementations give them
    numbers = splitmix(1234567)
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [next(numbers) for _ in range(3)] == published


def test_bits_are_splitmix_of_the_hashed_key() -> None:
    keys = [3, 2**64 - 1]
    expected = []
    for key in keys:
        numbers = splitmix(mix(key))
        expected.append([next(numbers) for _ in range(5)])
    assert uniform_bits(np.array(keys, np.uint64), 5).tolist() == expected


def test_bits_do_not_depend_on_how_many_are_drawn_together() -> None:
    keys = row_keys(12345, 3000)
    together = uniform_bits(keys, 70)
    for row in (0, 233, 234, 235, 2999):  # around the border of a chunk, too
        assert (uniform_bits(keys[row : row + 1], 70)[0] == together[row]).all()
    assert (uniform_bits(keys, 7) == together[:, :7]).all()
    assert uniform_bits(keys[:0], 5).shape == (0, 5)
    assert uniform_bits(keys, 0).shape == (3000, 0)
    assert uniform_bits(keys[:1], 50_000).shape == (1, 50_000)


def test_bits_are_balanced_and_independent_of_their_neighbours() -> None:
    keys = row_keys(Stream(5).next_key(), 500)
    bits = uniform_bits(keys, 40)
    ones = np.unpackbits(bits.view(np.uint8)).mean()
    assert abs(ones - 0.5) < 5 * 0.5 / np.sqrt(bits.size * 64)
    # each of a million numbers differs from its neighbours in row and column in half the bits
    for pairs in (bits[1:] ^ bits[:-1], bits[:, 1:] ^ bits[:, :-1]):
        share = np.unpackbits(np.ascontiguousarray(pairs).view(np.uint8)).mean()
        assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(pairs.size * 64)
    assert len(np.unique(bits)) == bits.size


def test_keys_of_nodes_and_rows_do_not_meet() -> None:
    # the shortest vector (n, r) with n KEY_STEP + r ROW_STEP = 0 modulo 2^64, by Gauss' reduction
    a = (1, -pow(ROW_STEP, -1, 2**64) * KEY_STEP % 2**64)
    b = (0, 2**64)
    while True:
        if a[0] ** 2 + a[1] ** 2 > b[0] ** 2 + b[1] ** 2:
            a, b = b, a
        square = a[0] ** 2 + a[1] ** 2
        factor = (2 * (a[0] * b[0] + a[1] * b[1]) + square) // (2 * square)
        if factor == 0:
            break
        b = (b[0] - factor * a[0], b[1] - factor * a[1])
    assert (a[0] * KEY_STEP + a[1] * ROW_STEP) % 2**64 == 0
    assert a[0] ** 2 + a[1] ** 2 > 2 * 2**62  # so n or r exceeds 2^31


# Streams


def test_keys_can_be_taken_several_at_once() -> None:
    ln.seed(7)
    first = [next_key() for _ in range(5)]
    ln.seed(7)
    key = next_key(4)
    assert [(key + i * KEY_STEP) % 2**64 for i in range(4)] == first[:4]
    assert next_key() == first[4]


def test_seed_reproduces_and_seeds_differ() -> None:
    sample = lambda: ln.normal(5).value()  # noqa: E731
    assert (draws(sample, 1) == draws(sample, 1)).all()
    assert not (draws(sample, 1) == draws(sample, 2)).any()
    assert draws(sample, 2**64 - 1).shape == (5,)


@pytest.mark.parametrize("bad", [None, "1", 1.5, True, [1]])
def test_seed_must_be_a_whole_number(bad: Any) -> None:
    with pytest.raises(ln.ArgumentError, match="seed"):
        ln.seed(bad)


@pytest.mark.parametrize("bad", [-1, 2**64])
def test_seed_has_a_range(bad: int) -> None:
    with pytest.raises(ln.RangeError, match="seed"):
        ln.seed(bad)


def test_each_thread_has_its_stream() -> None:
    def in_thread() -> list[int]:
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.extend(next_key() for _ in range(3)))
        thread.start()
        thread.join()
        return found

    ln.seed(3)
    own = [next_key() for _ in range(3)]
    first, second = in_thread(), in_thread()
    assert len({*own, *first, *second}) == 9
    ln.seed(3)
    assert [in_thread(), in_thread()] == [first, second]
    assert [next_key() for _ in range(3)] == own  # untouched by the other threads


def test_a_coroutine_draws_from_its_own_stream() -> None:
    ln.seed(4)
    outer = current_stream()
    child = outer.spawn()
    other = outer.spawn()
    with using_stream(child):
        inside = next_key()
        with pytest.raises(KeyError), using_stream(other):
            raise KeyError
        assert current_stream() is child
    assert current_stream() is outer
    assert len({inside, other.next_key(), next_key()}) == 3
    ln.seed(4)
    assert current_stream().spawn().next_key() == inside


def test_state_goes_on_where_it_was_saved() -> None:
    ln.seed(5)
    ln.normal(3)
    state = get_state()
    expected = ln.normal(3).value()
    ln.seed(6)
    set_state(state)
    assert (ln.normal(3).value() == expected).all()


@pytest.mark.parametrize("bad", [{}, {"seed": 1, "stream": 0}])
def test_state_must_be_whole(bad: dict[str, int]) -> None:
    before = get_state()
    with pytest.raises(ln.ArgumentError, match="count missing"):
        set_state(bad)
    assert get_state() == before


# Samples


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal(dtype: str) -> None:
    x = draws(lambda: ln.normal(N, dtype=dtype).value())
    assert x.dtype == dtype
    assert stats.kstest(x, "norm").pvalue > LEAST
    assert stats.kstest(x**2, "chi2", (1,)).pvalue > LEAST
    pairs = x.reshape(2, -1)  # cosines and sines of the same angles
    assert abs(np.corrcoef(pairs)[0, 1]) < 4 / np.sqrt(N / 2)
    assert abs(np.corrcoef(np.abs(pairs))[0, 1]) < 4 / np.sqrt(N / 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_uniform(dtype: str) -> None:
    x = draws(lambda: ln.uniform(N, -2, 3, dtype=dtype).value())
    assert x.dtype == dtype
    assert x.min() >= -2
    assert x.max() < 3
    assert stats.kstest(x, "uniform", (-2, 5)).pvalue > LEAST


@pytest.mark.parametrize("dtype", DTYPES)
def test_gumbel(dtype: str) -> None:
    x = draws(lambda: ln.gumbel(N, 1.0, 2.0, dtype=dtype).value())
    assert x.dtype == dtype
    assert np.isfinite(x).all()
    assert stats.kstest(x, "gumbel_r", (1, 2)).pvalue > LEAST


@pytest.mark.parametrize("p", [0.0, 0.003, 0.5, 1.0])
def test_bernoulli(p: float) -> None:
    x = draws(lambda: ln.bernoulli(N, p).value())
    assert set(x.tolist()) <= {0.0, 1.0}
    assert stats.binomtest(int(x.sum()), N, p).pvalue > LEAST


def test_bernoulli_of_several_probabilities() -> None:
    p = np.array([0.0, 0.2, 1.0])
    x = draws(lambda: ln.bernoulli(3, p, batch=N).value())
    assert x.shape == (N, 3)
    assert x[:, [0, 2]].mean(0).tolist() == [0, 1]
    assert stats.binomtest(int(x[:, 1].sum()), N, 0.2).pvalue > LEAST


def test_categorical() -> None:
    logits = np.array([0.5, -np.inf, 2.0, -1.0])
    expected = np.exp(logits) / np.exp(logits).sum()
    x = draws(lambda: ln.categorical(ln.constant([logits] * N, batched=True)).value())
    assert x.dtype == np.int64
    counts = np.bincount(x, minlength=4)
    assert counts[1] == 0
    kept = expected > 0
    assert stats.chisquare(counts[kept], N * expected[kept]).pvalue > LEAST


def test_extreme_bits_stay_finite() -> None:
    extremes = np.array([[0, 2**64 - 1, 2**32 - 1, 2**63]], np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(randomness, "uniform_bits", lambda keys, width: extremes[:, :width].copy())
        for dtype in DTYPES:
            for sample in (randomness.normal, randomness.gumbel):
                assert np.isfinite(sample(np.zeros(1, np.uint64), 4, np.dtype(dtype))).all()
            u = randomness.uniform(np.zeros(1, np.uint64), 4, np.dtype(dtype))
            assert u.min() >= 0
            assert u.max() < 1


@pytest.mark.parametrize("sample", [ln.normal, ln.uniform, ln.gumbel, ln.bernoulli])
def test_sample_shapes(sample: Callable[..., Any]) -> None:
    assert isinstance(sample(()).value(), float)
    assert sample((2, 3)).value().shape == (2, 3)
    assert sample([2], batch=3).value().shape == (3, 2)
    assert sample(0).value().shape == (0,)
    assert sample(3, batch=0).value().shape == (0, 3)
    assert sample(3, dtype="float64").dtype == np.float64
    for bad in (None, "3", 1.5, (2, "x")):
        with pytest.raises(ln.ArgumentError, match="shape"):
            sample(bad)
    with pytest.raises(ln.ShapeError, match="shape"):
        sample(-1)
    with pytest.raises(ln.ShapeError, match="batch"):
        sample(1, batch=-1)
    with pytest.raises(ln.DtypeError, match="int64"):
        sample(1, dtype="int64")


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_bernoulli_checks_p(bad: float) -> None:
    with pytest.raises(ln.RangeError, match="must lie in"):
        ln.bernoulli(3, bad)


def test_bernoulli_checks_the_shape_of_p() -> None:
    with pytest.raises(ln.ShapeError, match="shape of the sample"):
        ln.bernoulli(3, [0.1, 0.2])


def test_location_and_scale_get_gradients() -> None:
    mean, std = ln.constant(1.0), ln.constant(2.0)
    y = ln.normal((), mean, std)
    y.backward()
    assert mean.gradient() == 1
    assert std.gradient() == pytest.approx((y.value() - 1) / 2)


@pytest.mark.parametrize("bad", [None, "1", float("inf")])
def test_scale_must_be_a_number(bad: Any) -> None:
    with pytest.raises((ln.ArgumentError, ln.SettingError), match="normal"):
        ln.normal(3, std=bad)


# Dropout and noise


@pytest.mark.parametrize("p", [0.001, 0.25, 0.5, 0.9])
def test_dropout_rate_and_scale(p: float) -> None:
    y = draws(lambda: ln.dropout(ones(N), p).value())
    dropped = int((y == 0).sum())
    assert stats.binomtest(dropped, N, p).pvalue > LEAST
    assert y[y != 0] == pytest.approx(1 / (1 - p))


def test_dropout_gradient_has_the_same_mask() -> None:
    x = ones(1000)
    y = ln.dropout(x, 0.3)
    y.sum().backward()
    assert (x.gradient() == y.value()).all()


def test_dropped_infinities_are_zero() -> None:
    x = ln.constant([np.inf] * 100)
    y = ln.dropout(x, 0.5)
    assert set(y.value().tolist()) == {0.0, np.inf}


def test_dropout_of_no_probability_or_outside_training_is_the_argument() -> None:
    x = ones(3)
    assert ln.dropout(x, 0) is x
    assert ln.noise(x, 0) is x
    with ln.training(False):
        assert ln.dropout(x, 0.5) is x
        assert ln.dropout_dim(x, 0, 0.5) is x
        assert ln.block_dropout(x, 0.5) is x
        assert ln.noise(x, 1.0) is x


@pytest.mark.parametrize("bad", [1.0, 1.5, -0.1, float("nan"), float("inf")])
def test_dropout_probability_has_a_range(bad: float) -> None:
    for call in (
        lambda: ln.dropout(ones(3), bad),
        lambda: ln.dropout_dim(ones(3), 0, bad),
        lambda: ln.block_dropout(ones(3), bad),
    ):
        with pytest.raises(ln.SettingError, match="dropout"):
            call()


@pytest.mark.parametrize("bad", [None, "0.5", True])
def test_dropout_probability_must_be_a_number(bad: Any) -> None:
    with pytest.raises(ln.ArgumentError, match="dropout: p"):
        ln.dropout(ones(3), bad)


def test_bad_settings_are_seen_outside_training_too() -> None:
    with ln.training(False):
        with pytest.raises(ln.SettingError):
            ln.dropout(ones(3), 2)
        with pytest.raises(ln.SettingError):
            ln.noise(ones(3), -1)


def test_dropout_dim_drops_along_an_axis() -> None:
    y = draws(lambda: ln.dropout_dim(ones(5, 400), 0, 0.5).value())
    assert (y == y[0]).all()
    assert stats.binomtest(int((y[0] == 0).sum()), 400, 0.5).pvalue > LEAST
    y = draws(lambda: ln.dropout_dim(ones(400, 5), -1, 0.5).value())
    assert (y == y[:, :1]).all()
    with pytest.raises(ln.ShapeError, match="axis 2"):
        ln.dropout_dim(ones(2, 2), 2, 0.5)


def test_block_dropout_drops_whole_rows() -> None:
    x = ln.constant(np.ones((400, 2, 3)), batched=True)
    y = draws(lambda: ln.block_dropout(x, 0.5).value())
    assert (y == y[:, :1, :1]).all()
    assert stats.binomtest(int((y[:, 0, 0] == 0).sum()), 400, 0.5).pvalue > LEAST


def test_noise_moments() -> None:
    y = draws(lambda: ln.noise(ones(N), 0.5).value())
    assert stats.kstest((y - 1) / 0.5, "norm").pvalue > LEAST


# Independence of the batching


def test_rows_and_nodes_draw_different_numbers() -> None:
    def record() -> Any:
        nodes = [ln.normal(50, batch=20, dtype="float64") for _ in range(20)]
        return np.stack(ln.values(nodes))

    x = draws(record)
    flat = x.reshape(400, 50)
    assert len(np.unique(flat)) == flat.size
    correlations = np.corrcoef(flat)[np.triu_indices(400, 1)]
    assert abs(correlations.mean()) < 1e-3
    assert correlations.std() == pytest.approx(1 / np.sqrt(49), rel=0.02)
    assert abs(correlations).max() < 0.75
    assert stats.kstest(flat.reshape(-1), "norm").pvalue > LEAST


def _graph() -> list[ln.Expression]:
    x = ln.constant(np.ones((4, 6)), batched=True)
    nodes: list[ln.Expression] = []
    for _ in range(3):
        nodes += [
            ln.dropout(x, 0.5),
            ln.dropout(ones(6), 0.5),
            ln.dropout_dim(ones(2, 3), 1, 0.5),
            ln.block_dropout(x, 0.5),
            ln.noise(x, 1.0),
            ln.normal(3, batch=2),
            ln.normal(3),
            ln.uniform((2, 2)),
            ln.gumbel(2),
            ln.bernoulli(5, 0.5),
            ln.categorical(x),
        ]
    return nodes


def test_the_same_numbers_whatever_the_batching() -> None:
    batched = draws(lambda: ln.values(_graph()))
    with ln.no_autobatch():
        single = draws(lambda: ln.values(_graph()))
    backwards = draws(lambda: [x.value() for x in _graph()[::-1]][::-1])
    for a, b, c in zip(batched, single, backwards, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a, c)
    # and nodes recorded one after the other draw different ones
    assert not np.array_equal(batched[5], batched[5 + 11])


def test_an_unrelated_node_in_the_batch_changes_nothing() -> None:
    def record(extra: bool) -> Any:
        first = ln.dropout(ones(40), 0.5)
        if extra:
            second = ln.dropout(ones(40), 0.5)
            return ln.values([second, first])[1]
        return first.value()

    assert np.array_equal(draws(lambda: record(True)), draws(lambda: record(False)))
