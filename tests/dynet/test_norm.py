"""Normalisation: what the wheel gets wrong or refuses, bad input, batching."""

from __future__ import annotations

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy

RNG = np.random.RandomState(5)


@pytest.fixture(autouse=True)
def _new_graph() -> None:
    dy.renew_cg()


def tensor(*shape: int, batch: int = 0) -> dy.Expression:
    return dy.inputTensor(RNG.standard_normal((*shape, *[batch] * bool(batch))), batched=batch > 0)


def gradients(y: dy.Expression, *xs: dy.Expression) -> list[np.ndarray]:
    dy.sum_batches(dy.sum_elems(dy.cmult(y, y))).backward()
    return [x.gradient() for x in xs]


def test_layer_norm_of_three_dimensions() -> None:
    """The wheel refuses it."""
    x, g, b = [tensor(2, 2, 3) for _ in range(3)]
    a = x.npvalue()
    expected = g.npvalue() * (a - a.mean()) / a.std() + b.npvalue()
    np.testing.assert_allclose(dy.layer_norm(x, g, b).npvalue(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("number", [0, 2, 0.1, -1e6])
@pytest.mark.parametrize("shape", [(1,), (5,), (2, 3), (300,)])
def test_equal_elements_give_the_bias(shape: tuple[int, ...], number: float) -> None:
    """The wheel's gradient is NaN."""
    x, g, b = dy.inputTensor(np.full(shape, number)), tensor(*shape), tensor(*shape)
    y = dy.layer_norm(x, g, b)
    assert (y.npvalue() == b.npvalue()).all()
    dx, dg, db = gradients(y, x, g, b)
    assert (dx == 0).all()
    assert (dg == 0).all()
    assert np.allclose(db, 2 * b.npvalue())


def test_small_numbers_are_normalised_all_the_same() -> None:
    x = dy.inputTensor(np.array([1.0, 2, 3]) * 1e-4)
    y = dy.layer_norm(x, dy.inputTensor(np.ones(3)), dy.inputTensor(np.zeros(3)))
    np.testing.assert_allclose(y.npvalue(), np.array([-1, 0, 1]) * np.sqrt(1.5), atol=1e-4)


@pytest.mark.parametrize("batches", [(2, 0), (0, 2), (2, 2)])
def test_weight_norm_of_minibatches(batches: tuple[int, int]) -> None:
    """The wheel refuses it."""
    w, g = tensor(2, 3, batch=batches[0]), tensor(1, batch=batches[1])
    y = dy.weight_norm(w, g)
    assert y.dim() == ((2, 3), 2)
    a, c = w.npvalue(), g.npvalue()
    length = np.sqrt((a**2).sum((0, 1)))
    unit = a / length if batches[0] else (a / length)[..., None]
    np.testing.assert_allclose(y.npvalue(), unit * c, rtol=1e-4)
    dw, dg = gradients(y, w, g)
    assert np.allclose(dw, 0, atol=1e-4)  # the length of y does not depend on w
    assert np.allclose(dg, 2 * c if batches[1] else 4 * c, rtol=1e-4)


def test_weight_norm_of_zeros_is_zero() -> None:
    """NaN in the wheel."""
    w, g = dy.inputTensor(np.zeros(3)), dy.scalarInput(2)
    y = dy.weight_norm(w, g)
    assert y.value() == [0, 0, 0]
    assert all((d == 0).all() for d in gradients(y, w, g))


def test_weight_norm_of_parameters() -> None:
    m = dy.ParameterCollection()
    w, g = m.add_parameters((2, 3)), m.add_parameters(1)
    y = dy.weight_norm(w, g)
    length = np.sqrt((y.npvalue() ** 2).sum())
    assert abs(length - abs(g.as_array()[0])) < 1e-5
    dy.sum_elems(dy.cmult(y, y)).backward()
    assert np.allclose(g.grad_as_array(), 2 * g.as_array(), rtol=1e-4)


BAD = {
    "layer_norm": [((3,), (2,), (3,)), ((3,), (3,), (2,)), ((2, 3), (3,), (3,))],
    "weight_norm": [((3,), (3,)), ((3,), (1, 2))],
}
FITTING = {"layer_norm": [(3,), (3,), (3,)], "weight_norm": [(2, 3), (1,)]}


@pytest.mark.parametrize("name", BAD)
def test_bad_dimensions(name: str) -> None:
    for shapes in BAD[name]:
        with pytest.raises(ValueError, match=f"^{name}: "):
            getattr(dy, name)(*[tensor(*shape) for shape in shapes])


@pytest.mark.parametrize("name", FITTING)
def test_bad_arguments(name: str) -> None:
    function, shapes = getattr(dy, name), FITTING[name]
    old = [tensor(*shape) for shape in shapes]
    dy.renew_cg()
    for k in range(len(shapes)):
        args = [tensor(*shape) for shape in shapes]
        for wrong in (None, 2.0, np.ones(3)):
            with pytest.raises(TypeError, match=f"^{name}: "):
                function(*args[:k], wrong, *args[k + 1 :])
        with pytest.raises(RuntimeError, match=f"^{name}: stale"):
            function(*args[:k], old[k], *args[k + 1 :])
        if k:
            args = [tensor(*s, batch=2 if i == k else 3) for i, s in enumerate(shapes)]
            with pytest.raises(ValueError, match=f"^{name}: "):
                function(*args)


@pytest.mark.parametrize("name", FITTING)
def test_no_number_stays_none(name: str) -> None:
    shape, *others = FITTING[name]
    x = dy.inputTensor(np.full(shape, np.nan))
    assert np.isnan(getattr(dy, name)(x, *[tensor(*s) for s in others]).npvalue()).all()


@pytest.mark.parametrize("name", FITTING)
def test_calls_are_batched(name: str) -> None:
    def one() -> ln.Expression:
        return getattr(dy, name)(*[tensor(*shape) for shape in FITTING[name]]).node

    alone = len(ln.plan([one()]).batches)
    assert len(ln.plan([one() for _ in range(5)]).batches) == alone
