"""Losses and probabilities beyond what the wheel computes: batches, edges, batching, bad input."""

from __future__ import annotations

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy

RNG = np.random.RandomState(7)
SCORES = RNG.randn(5, 3)
OTHERS = RNG.randn(5, 3)
PROBABILITIES = RNG.uniform(0.1, 0.9, (5, 3))
TARGETS = RNG.uniform(0, 1, (5, 3))


@pytest.fixture(autouse=True)
def graph() -> None:
    dy.renew_cg()


def vector(n: int = 5) -> dy.Expression:
    return dy.inputTensor(np.arange(n) / 2)


def total(y: dy.Expression) -> dy.Expression:
    return dy.sum_batches(dy.sum_elems(y))


# What the wheel does not batch

BATCHED = {
    "sparsemax": (lambda x, y: dy.sparsemax(x), SCORES, OTHERS),
    "constrained_softmax": (dy.constrained_softmax, SCORES, PROBABILITIES),
    "log_softmax restricted": (lambda x, y: dy.log_softmax(x, [3, 1])[1:4:2], SCORES, OTHERS),
    "binary_log_loss": (dy.binary_log_loss, PROBABILITIES, TARGETS),
    "huber_distance": (lambda x, y: dy.huber_distance(x, y, 0.7), SCORES, OTHERS),
    "l1_distance": (dy.l1_distance, SCORES, OTHERS),
    "squared_distance": (dy.squared_distance, SCORES, OTHERS),
}


@pytest.mark.parametrize("batched", ["x", "y", "xy"])
@pytest.mark.parametrize("name", BATCHED)
def test_a_batch_equals_its_examples(name, batched) -> None:
    call, a, b = BATCHED[name]
    x = dy.inputTensor(a if "x" in batched else a[:, 0], batched="x" in batched)
    y = dy.inputTensor(b if "y" in batched else b[:, 0], batched="y" in batched)
    z = call(x, y)
    total(dy.cmult(z, z)).backward()
    got = z.npvalue(), x.gradient(), y.gradient()
    gradients = [np.zeros_like(got[1]), np.zeros_like(got[2])]
    examples = z.dim()[1]
    for k in range(3):
        dy.renew_cg()
        x1 = dy.inputTensor(a[:, k if "x" in batched else 0])
        y1 = dy.inputTensor(b[:, k if "y" in batched else 0])
        z1 = call(x1, y1)
        own = got[0][..., k] if examples == 3 else got[0]
        np.testing.assert_allclose(own, z1.npvalue(), rtol=1e-5)
        total(dy.cmult(z1, z1)).backward()
        for whole, part, own in ((gradients[0], x1, "x"), (gradients[1], y1, "y")):
            if own in batched:
                whole[:, k] += part.gradient()
            elif examples == 3 or k == 0:
                whole += part.gradient()
    np.testing.assert_allclose(got[1], gradients[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(got[2], gradients[1], rtol=1e-4, atol=1e-6)


def test_batches_of_scalars() -> None:
    x = dy.inputTensor(np.array([[1.0, 2.0, 3.0]]), batched=True)
    poisson = dy.poisson_loss(x, 3)
    assert poisson.dim() == ((1,), 3)
    expected = np.exp([1, 2, 3]) - 3 * np.array([1, 2, 3]) + np.log(6)
    np.testing.assert_allclose(poisson.value(), expected, rtol=1e-5)
    assert dy.pairwise_rank_loss(x, dy.scalarInput(2)).value() == [2, 1, 0]
    assert dy.pairwise_rank_loss(dy.scalarInput(2), x).value() == [0, 1, 2]


def test_softmax_of_more_dimensions() -> None:
    a = RNG.randn(2, 3, 4)
    for d in range(3):
        y = dy.softmax(dy.inputTensor(a), d).npvalue()
        np.testing.assert_allclose(y, np.exp(a) / np.exp(a).sum(d, keepdims=True), rtol=1e-5)


# Where the wheel is wrong


def test_the_gradient_of_the_poisson_loss_is_that_of_what_is_made_of_it() -> None:
    x = dy.scalarInput(2.0)
    (dy.poisson_loss(x, 2) * 3).backward()
    np.testing.assert_allclose(x.gradient(), [3 * (np.exp(2) - 2)], rtol=1e-5)


def test_the_gradient_of_the_binary_log_loss_by_its_target_is_the_derivative() -> None:
    p, t = dy.inputTensor(PROBABILITIES[:, 0]), dy.inputTensor(TARGETS[:, 0])
    dy.binary_log_loss(p, t).backward()
    a = PROBABILITIES[:, 0]
    np.testing.assert_allclose(t.gradient(), np.log(1 - a) - np.log(a), rtol=1e-4)


def test_the_binary_log_loss_stays_finite_at_its_edges() -> None:
    p = dy.inputTensor(np.array([0, 1, 0, 1, 1e-42, 1e-30, 0, 1]))
    t = dy.inputTensor(np.array([0, 1, 1, 0, 1, 0.5, 0.5, 0.2]))
    loss = dy.binary_log_loss(p, t)
    loss.backward()
    assert np.isfinite(loss.value())
    assert np.isfinite(p.gradient()).all() and np.isfinite(t.gradient()).all()
    assert p.gradient()[:2].tolist() == [0, 0]
    outside = dy.binary_log_loss(dy.inputTensor([1.5, -0.5]), dy.inputTensor([0.5, 0.5]))
    assert np.isnan(outside.value())  # no probabilities


def test_hinge_dim_of_rows_takes_all_columns() -> None:
    x = dy.inputTensor(np.arange(6.0).reshape(2, 3))
    loss = dy.hinge_dim(x, [2, 1], d=1)
    assert (loss.dim(), loss.value()) == (((2,), 1), [0, 2])


def test_a_restriction_is_a_set() -> None:
    once, twice = dy.log_softmax(vector(), [1, 2]), dy.log_softmax(vector(), [2, 1, 1])
    assert once.value() == twice.value()


def test_a_softmax_whose_bounds_are_all_met() -> None:
    y = dy.constrained_softmax(vector(3), dy.inputTensor([0.1, 0.3, 0.2]))
    np.testing.assert_allclose(y.value(), [0.1, 0.3, 0.2], rtol=1e-6)
    far = dy.constrained_softmax(dy.inputTensor([0.0, -300.0, -301.0]), dy.inputTensor([0.5, 1, 1]))
    np.testing.assert_allclose(far.value(), [0.5, 0.5 / (1 + 1 / np.e), 0.5 / (1 + np.e)], 1e-5)


def test_restricted_entries_get_no_gradient() -> None:
    x = vector()
    y = dy.log_softmax(x, [1, 2])
    assert [np.isneginf(v) for v in y.value()] == [True, False, False, True, True]
    (y[1] * 3 + y[2] + y[0]).backward()
    assert x.gradient()[[0, 3, 4]].tolist() == [0, 0, 0]
    assert np.isfinite(x.gradient()).all()


# One batch whatever the numbers

CALLS = {
    "pickneglogsoftmax": (lambda i: dy.pickneglogsoftmax(vector(), i), [0, 3, 4]),
    "pickneglogsoftmax_batch": (
        lambda i: dy.pickneglogsoftmax_batch(dy.inputTensor(SCORES, batched=True), [i, 0, 4]),
        [0, 3, 4],
    ),
    "hinge": (lambda i: dy.hinge(vector(), i), [0, 3, 4]),
    "hinge_batch": (
        lambda i: dy.hinge_batch(dy.inputTensor(SCORES, batched=True), [i, 0, 4]), [0, 3, 4],
    ),
    "hinge_dim": (lambda i: dy.hinge_dim(dy.inputTensor(SCORES), [i, 0, 4]), [0, 3, 4]),
    "log_softmax": (lambda i: dy.log_softmax(vector(), list(range(i))), [2, 3, 5]),
    "poisson_loss": (lambda i: dy.poisson_loss(dy.scalarInput(1), i), [0, 3]),
    "huber_distance": (lambda c: dy.huber_distance(vector(), vector(), c), [0.5, 2]),
    "pairwise_rank_loss": (
        lambda m: dy.pairwise_rank_loss(dy.scalarInput(1), dy.scalarInput(2), m), [0.5, 2],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_differ_in_numbers_are_one_batch(name) -> None:
    call, numbers = CALLS[name]
    results = [call(i) for i in numbers]
    plan = ln.plan([y.node for y in results])
    ops = [b.op for b in plan.batches if b.op != "input"]
    assert len(ops) == 1, plan
    together = dy.npvalues(results)
    for i, value in zip(numbers, together):
        dy.renew_cg()
        np.testing.assert_allclose(value, call(i).npvalue(), rtol=1e-6)


# Bad input

BAD = [
    ("softmax", lambda: dy.softmax(None), TypeError),
    ("softmax", lambda: dy.softmax(vector(), 1), ValueError),
    ("softmax", lambda: dy.softmax(vector(), -1), OverflowError),
    ("softmax", lambda: dy.softmax(vector(), None), TypeError),
    ("log_softmax", lambda: dy.log_softmax(None), TypeError),
    ("log_softmax", lambda: dy.log_softmax(vector(), []), ValueError),
    ("log_softmax", lambda: dy.log_softmax(vector(), [7]), ValueError),
    ("log_softmax", lambda: dy.log_softmax(vector(), [-1]), OverflowError),
    ("log_softmax", lambda: dy.log_softmax(vector(), (1, 2)), TypeError),
    ("log_softmax", lambda: dy.log_softmax(vector(), [None]), TypeError),
    ("log_softmax", lambda: dy.log_softmax(dy.inputTensor(SCORES), [1]), ValueError),
    ("sparsemax", lambda: dy.sparsemax(None), TypeError),
    ("sparsemax", lambda: dy.sparsemax(dy.inputTensor(SCORES)), ValueError),
    ("constrained_softmax", lambda: dy.constrained_softmax(vector(), None), TypeError),
    ("constrained_softmax", lambda: dy.constrained_softmax(vector(), vector(4)), ValueError),
    ("pickneglogsoftmax", lambda: dy.pickneglogsoftmax(None, 0), TypeError),
    ("pickneglogsoftmax", lambda: dy.pickneglogsoftmax(vector(), 5), ValueError),
    ("pickneglogsoftmax", lambda: dy.pickneglogsoftmax(vector(), -1), OverflowError),
    ("pickneglogsoftmax", lambda: dy.pickneglogsoftmax(vector(), None), TypeError),
    ("pickneglogsoftmax", lambda: dy.pickneglogsoftmax(vector(), [1]), TypeError),
    ("pickneglogsoftmax", lambda: dy.pickneglogsoftmax(dy.inputTensor(SCORES), 1), ValueError),
    (
        "pickneglogsoftmax",
        lambda: dy.pickneglogsoftmax(dy.inputTensor(SCORES, batched=True), 1),
        ValueError,
    ),
    ("pickneglogsoftmax_batch", lambda: dy.pickneglogsoftmax_batch(vector(), [1, 2]), ValueError),
    ("pickneglogsoftmax_batch", lambda: dy.pickneglogsoftmax_batch(vector(), []), ValueError),
    ("pickneglogsoftmax_batch", lambda: dy.pickneglogsoftmax_batch(vector(), [5]), ValueError),
    ("pickneglogsoftmax_batch", lambda: dy.pickneglogsoftmax_batch(vector(), 5), TypeError),
    ("hinge", lambda: dy.hinge(None, 0), TypeError),
    ("hinge", lambda: dy.hinge(vector(), 5), ValueError),
    ("hinge", lambda: dy.hinge(vector(), 2, -1), ValueError),
    ("hinge", lambda: dy.hinge(vector(), 2, float("nan")), ValueError),
    ("hinge", lambda: dy.hinge(vector(), 2, None), TypeError),
    ("hinge", lambda: dy.hinge(dy.inputTensor(SCORES), 1), ValueError),
    ("hinge", lambda: dy.hinge(dy.inputTensor(SCORES, batched=True), 1), ValueError),
    ("hinge_batch", lambda: dy.hinge_batch(vector(), [1, 2]), ValueError),
    ("hinge_batch", lambda: dy.hinge_batch(vector(), None), TypeError),
    ("hinge_dim", lambda: dy.hinge_dim(vector(), [1]), ValueError),
    ("hinge_dim", lambda: dy.hinge_dim(dy.inputTensor(SCORES), [1]), ValueError),
    ("hinge_dim", lambda: dy.hinge_dim(dy.inputTensor(SCORES), [1, 2, 5]), ValueError),
    ("hinge_dim", lambda: dy.hinge_dim(dy.inputTensor(SCORES), [1, 2, -1]), OverflowError),
    ("hinge_dim", lambda: dy.hinge_dim(dy.inputTensor(SCORES), [1, 2, 2], 2), ValueError),
    ("hinge_dim", lambda: dy.hinge_dim(dy.inputTensor(SCORES), [1, 2, 2], m=-1), ValueError),
    ("hinge_dim", lambda: dy.hinge_dim(dy.inputTensor(SCORES), [[1, 2, 2]]), TypeError),
    ("binary_log_loss", lambda: dy.binary_log_loss(vector(), 1), TypeError),
    ("binary_log_loss", lambda: dy.binary_log_loss(vector(), vector(4)), ValueError),
    ("pairwise_rank_loss", lambda: dy.pairwise_rank_loss(vector(), vector()), ValueError),
    (
        "pairwise_rank_loss",
        lambda: dy.pairwise_rank_loss(dy.scalarInput(1), dy.scalarInput(1), None),
        TypeError,
    ),
    ("pairwise_rank_loss", lambda: dy.pairwise_rank_loss(None, vector()), TypeError),
    ("poisson_loss", lambda: dy.poisson_loss(vector(), 1), ValueError),
    ("poisson_loss", lambda: dy.poisson_loss(dy.scalarInput(1), -1), OverflowError),
    ("poisson_loss", lambda: dy.poisson_loss(dy.scalarInput(1), None), TypeError),
    ("poisson_loss", lambda: dy.poisson_loss(None, 1), TypeError),
    ("huber_distance", lambda: dy.huber_distance(vector(), vector(4)), ValueError),
    ("huber_distance", lambda: dy.huber_distance(vector(), vector(), -1), ValueError),
    ("huber_distance", lambda: dy.huber_distance(vector(), vector(), "1"), TypeError),
    ("squared_distance", lambda: dy.squared_distance(vector(), dy.scalarInput(1)), ValueError),
    ("squared_distance", lambda: dy.squared_distance(None, vector()), TypeError),
    ("l1_distance", lambda: dy.l1_distance(vector(), None), TypeError),
    ("l1_distance", lambda: dy.l1_distance(vector(), vector(4)), ValueError),
]


@pytest.mark.parametrize(("name", "call", "error"), BAD)
def test_bad_input_is_refused_by_name(name, call, error) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(name)


@pytest.mark.parametrize(
    "call",
    [
        dy.binary_log_loss, dy.squared_distance, dy.l1_distance, dy.huber_distance,
        dy.constrained_softmax, dy.pairwise_rank_loss,
    ],
)  # fmt: skip
def test_batches_of_different_sizes_are_refused_by_name(call) -> None:
    x = dy.inputTensor(np.ones((1, 3)), batched=True)
    y = dy.inputTensor(np.ones((1, 2)), batched=True)
    with pytest.raises(ValueError, match=f"{call.__name__}: got batches of 3 and 2"):
        call(x, y)


def test_stale_expressions_are_refused_by_name() -> None:
    x = dy.scalarInput(1)
    dy.renew_cg()
    y = dy.scalarInput(1)
    for call in (
        lambda: dy.softmax(x), lambda: dy.log_softmax(x), lambda: dy.sparsemax(x),
        lambda: dy.constrained_softmax(y, x), lambda: dy.pickneglogsoftmax(x, 0),
        lambda: dy.pickneglogsoftmax_batch(x, [0]), lambda: dy.hinge(x, 0),
        lambda: dy.hinge_batch(x, [0]), lambda: dy.hinge_dim(x, [0]),
        lambda: dy.binary_log_loss(y, x), lambda: dy.pairwise_rank_loss(y, x),
        lambda: dy.poisson_loss(x, 0), lambda: dy.huber_distance(y, x),
        lambda: dy.squared_distance(y, x), lambda: dy.l1_distance(x, y),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=r"^[a-z_0-9]+: stale"):
            call()
