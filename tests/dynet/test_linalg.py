"""Linear algebra: what the wheel gets wrong or refuses, bad input, batching."""

from __future__ import annotations

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy

RNG = np.random.RandomState(3)


@pytest.fixture(autouse=True)
def _new_graph() -> None:
    dy.renew_cg()


def tensor(*shape: int, batch: int = 0) -> dy.Expression:
    return dy.inputTensor(RNG.standard_normal((*shape, *[batch] * bool(batch))), batched=batch > 0)


def close(y: dy.Expression, expected: np.ndarray) -> None:
    assert y.npvalue().shape == expected.shape
    np.testing.assert_allclose(y.npvalue(), expected, rtol=1e-4, atol=1e-5)


def gradients(y: dy.Expression, *xs: dy.Expression) -> list[np.ndarray]:
    dy.sum_batches(dy.sum_elems(dy.cmult(y, y))).backward()
    return [x.gradient() / 2 for x in xs]


@pytest.mark.parametrize("batch_x", [0, 2])
@pytest.mark.parametrize("batch_y", [0, 2])
def test_contract3d_1d(batch_x: int, batch_y: int) -> None:
    """The wheel adds to memory that it does not clear: later results are too large."""
    x, y = tensor(2, 3, 4, batch=batch_x), tensor(4, batch=batch_y)
    a, b = x.npvalue(), y.npvalue()
    left, right = ("ijkb" if batch_x else "ijk"), ("kb" if batch_y else "k")
    out = "ijb" if batch_x or batch_y else "ij"
    z = dy.contract3d_1d(x, y)
    assert z.dim() == ((2, 3), 2 if out == "ijb" else 1)
    expected = np.einsum(f"{left},{right}->{out}", a, b)
    close(z, expected)
    dx, dy_ = gradients(z, x, y)
    np.testing.assert_allclose(dx, np.einsum(f"{out},{right}->{left}", expected, b), rtol=1e-4)
    np.testing.assert_allclose(dy_, np.einsum(f"{out},{left}->{right}", expected, a), rtol=1e-4)


def test_contract3d_1d_of_a_column() -> None:
    x, y = tensor(2, 3, 4), tensor(4, 1)
    close(dy.contract3d_1d(x, y), np.einsum("ijk,kl->ij", x.npvalue(), y.npvalue()))


@pytest.mark.parametrize("batched", ["x", "y", "z", "b", "xyzb"])
def test_contractions_of_minibatches(batched: str) -> None:
    """The wheel refuses these."""
    x, y, z, b = [
        tensor(*shape, batch=2 * (name in batched))
        for name, shape in zip("xyzb", [(2, 3, 4), (4,), (3,), (2,)], strict=True)
    ]
    letters = [
        s + "n" * (name in batched) for name, s in zip("xyzb", ["ijk", "k", "j", "i"], strict=True)
    ]
    t = dy.contract3d_1d_1d_bias(x, y, z, b)
    arrays = [e.npvalue() for e in (x, y, z, b)]
    out = "i" if batched == "b" else "in"
    product = np.einsum(",".join(letters[:3]) + f"->{out}", *arrays[:3])
    close(dy.contract3d_1d_1d(x, y, z), product)
    columns = [array if array.ndim == 2 else array[:, None] for array in (product, arrays[3])]
    expected = columns[0] + columns[1]
    assert t.dim() == ((2,), 2)
    close(t, expected)
    (db,) = gradients(t, b)
    assert np.allclose(db, expected if "b" in batched else expected.sum(1), rtol=1e-4)


def test_minibatches_of_matrices() -> None:
    """The wheel refuses these."""
    x, y = tensor(3, 3, batch=2), tensor(3, 3)
    a, b = x.npvalue(), y.npvalue()
    close(dy.trace_of_product(x, y), np.einsum("ijn,ij->n", a, b)[None])
    close(dy.inverse(x), np.stack([np.linalg.inv(a[..., k]) for k in range(2)], -1))
    positive = dy.inputTensor(np.stack([2 * np.eye(3), np.diag([1.0, 2, 3])], -1), batched=True)
    determinants = dy.logdet(positive)
    assert determinants.dim() == ((1,), 2)
    close(determinants, np.log([[8.0, 6.0]]))


def test_logdet_of_a_negative_determinant_is_no_number() -> None:
    assert np.isnan(dy.logdet(dy.inputTensor([[0.0, 1.0], [1.0, 0.0]])).value())


@pytest.mark.parametrize("name", ["inverse", "logdet"])
def test_singular_matrices_are_an_error(name: str) -> None:
    with pytest.raises(ln.EvaluationError, match="ingular"):
        getattr(dy, name)(dy.inputTensor(np.ones((2, 2)))).value()


BAD = {
    "dot_product": [((4,), (3,)), ((4,), (4, 1)), ((6,), (2, 3))],
    "trace_of_product": [((2, 3), (3, 2)), ((2, 3, 2), (2, 3, 2))],
    "inverse": [((3, 2),), ((3,),), ((2, 2, 2),)],
    "logdet": [((3, 2),), ((3,),)],
    "contract3d_1d": [((2, 3, 4), (3,)), ((2, 3), (3,)), ((2, 3, 4), (4, 2))],
    "contract3d_1d_bias": [((2, 3, 4), (4,), (2,)), ((2, 3, 4), (4,), (3, 2))],
    "contract3d_1d_1d": [((2, 3, 4), (3,), (4,)), ((2, 3, 4), (4,), (4,))],
    "contract3d_1d_1d_bias": [((2, 3, 4), (4,), (3,), (3,)), ((2, 3, 4), (4,), (3, 1), (2,))],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_dimensions(name: str) -> None:
    for shapes in BAD[name]:
        with pytest.raises(ValueError, match=f"^{name}: "):
            getattr(dy, name)(*[tensor(*shape) for shape in shapes])


FITTING = {
    "dot_product": [(4,), (4,)],
    "trace_of_product": [(2, 3), (2, 3)],
    "inverse": [(2, 2)],
    "logdet": [(2, 2)],
    "contract3d_1d": [(2, 3, 4), (4,)],
    "contract3d_1d_bias": [(2, 3, 4), (4,), (2, 3)],
    "contract3d_1d_1d": [(2, 3, 4), (4,), (3,)],
    "contract3d_1d_1d_bias": [(2, 3, 4), (4,), (3,), (2,)],
}


@pytest.mark.parametrize("name", FITTING)
def test_bad_arguments(name: str) -> None:
    function = getattr(dy, name)
    old = [tensor(*shape) for shape in FITTING[name]]
    dy.renew_cg()
    for k in range(len(old)):
        args = [tensor(*shape) for shape in FITTING[name]]
        for wrong in (None, 1.0, np.ones(3)):
            with pytest.raises(TypeError, match=f"^{name}: "):
                function(*args[:k], wrong, *args[k + 1 :])
        with pytest.raises(RuntimeError, match=f"^{name}: stale"):
            function(*args[:k], old[k], *args[k + 1 :])
        if k:
            shapes = FITTING[name]
            args = [tensor(*s, batch=2 if i == k else 3) for i, s in enumerate(shapes)]
            with pytest.raises(ValueError, match=f"^{name}: "):
                function(*args)


@pytest.mark.parametrize("name", FITTING)
def test_no_number_stays_none(name: str) -> None:
    shape, *others = FITTING[name]
    x = dy.inputTensor(np.full(shape, np.nan))
    y = getattr(dy, name)(x, *[tensor(*s) for s in others])
    assert np.isnan(y.npvalue()).all()


@pytest.mark.parametrize("name", FITTING)
def test_calls_are_batched(name: str) -> None:
    def one() -> ln.Expression:
        return getattr(dy, name)(*[tensor(*shape) for shape in FITTING[name]]).node

    alone = len(ln.plan([one()]).batches)
    assert len(ln.plan([one() for _ in range(5)]).batches) == alone
