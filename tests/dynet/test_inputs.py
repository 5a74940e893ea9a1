"""Inputs, `.set()` and value holders: types, errors, and what can be changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy


@pytest.fixture(autouse=True)
def fresh() -> None:
    dy.renew_cg()


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: dy.scalarInput(1), "_inputExpression"),
        (lambda: dy.vecInput(2), "_vecInputExpression"),
        (lambda: dy.inputVector([1]), "_vecInputExpression"),
        (lambda: dy.inputTensor([1]), "_tensorInputExpression"),
        (lambda: dy.sparse_inputTensor(([0],), [1], (2,)), "_sparseInputExpression"),
        (lambda: dy.inputTensorTranspose([1]), "inputTensorTranspose"),
        (lambda: dy.one_hot(2, 1), "Expression"),
        (lambda: dy.zeros(2), "Expression"),
    ],
)
def test_types_of_inputs(make: Callable[[], Any], kind: str) -> None:
    x = make()
    assert type(x).__name__ == kind
    assert isinstance(x, dy.Expression)


def test_a_batched_vector_is_a_batch_of_scalars() -> None:
    """The wheel fails here with NumPy 2.4 and later."""
    for given in ([1.0, 2.0, 3.0], np.array([1.0, 2.0, 3.0])):
        x = dy.inputTensor(given, batched=True)
        assert x.dim() == ((1,), 3)
        assert x.npvalue().tolist() == [[1.0, 2.0, 3.0]]


def test_integers_of_numpy_are_sizes() -> None:
    n = np.int64(3)
    assert dy.zeros(n).dim() == dy.ones((n,)).dim() == dy.vecInput(n).dim() == ((3,), 1)
    assert dy.one_hot(n, np.int64(1)).value() == [0, 1, 0]
    assert dy.zeros(4 / 2).dim() == ((2,), 1)
    assert dy.scalarInput(np.float32(2)).value() == dy.scalarInput(np.array(2)).value() == 2


def test_what_is_given_may_be_changed_afterwards() -> None:
    for batched in (False, True):
        given = np.arange(6, dtype=np.float32).reshape(2, 3)
        x = dy.inputTensor(given, batched=batched)
        v = dy.inputVector(given[0])
        given[...] = -1
        assert x.npvalue().tolist() == [[0, 1, 2], [3, 4, 5]]
        assert v.value() == [0, 1, 2]


def test_objects_are_numbers_if_they_are() -> None:
    assert dy.inputTensor(np.array([1, 2.5], object)).value() == [1, 2.5]
    with pytest.raises(TypeError, match="inputTensor"):
        dy.inputTensor(np.array([1, "2"], object))


# Changing inputs


def test_set_takes_an_array_like_the_first() -> None:
    rng = np.random.default_rng(0)
    for shape, batched in [((3,), False), ((2, 3), False), ((2, 3), True), ((2, 3, 2), True)]:
        first, second = rng.standard_normal((2, *shape))
        x = dy.inputTensor(first, batched=batched, reusable_expr=True)
        y = 2 * x
        np.testing.assert_allclose(y.npvalue(), 2 * first, rtol=1e-6)
        x.set(second)
        np.testing.assert_allclose(y.npvalue(), 2 * second, rtol=1e-6)
        x.set(first.reshape(-1, order="F").tolist())
        np.testing.assert_allclose(y.npvalue(), 2 * first, rtol=1e-6)


def test_a_graph_is_trained_by_changing_its_inputs() -> None:
    model = dy.ParameterCollection()
    w = model.add_parameters(2)
    w.set_value(np.array([1.0, 2.0]))
    x, t = dy.vecInput(2), dy.scalarInput(0)
    loss = dy.square(dy.sum_elems(dy.cmult(w, x)) - t)
    for given, target in [([1, 0], 3), ([0, 1], -1), ([1, 1], 3)]:
        x.set(given)
        t.set(target)
        error = float(np.dot([1, 2], given)) - target
        assert loss.value() == pytest.approx(error**2)
        loss.backward()
        assert w.node.gradient().tolist() == pytest.approx([2 * error * g for g in given])
        w.node.clear_gradient()


def test_set_in_an_immediate_graph() -> None:
    dy.renew_cg(immediate_compute=True)
    x = dy.scalarInput(1)
    y = dy.exp(x)
    x.set(0)
    assert y.value() == 1


@pytest.mark.parametrize(
    ("call", "error", "name"),
    [
        (lambda: dy.vecInput(3).set([1, 2]), ValueError, "inputVector.set: got 2 numbers"),
        (lambda: dy.vecInput(3).set([1, 2, 3, 4]), ValueError, "inputVector.set: got 4"),
        (lambda: dy.inputVector([1]).set(None), TypeError, "inputVector.set"),
        (lambda: dy.inputVector([1]).set(["a"]), TypeError, "inputVector.set"),
        (lambda: dy.scalarInput(1).set(None), TypeError, "scalarInput.set"),
        (lambda: dy.scalarInput(1).set([1.0]), TypeError, "scalarInput.set"),
        (lambda: dy.inputTensor([1, 2]).set([1, 2]), ValueError, "reusable_expr=True"),
        (
            lambda: dy.inputTensor([1, 2], reusable_expr=True).set([1]),
            ValueError,
            "inputTensor.set: got 1",
        ),
        (
            lambda: dy.inputTensor([[1, 2, 3]], reusable_expr=True).set(np.ones((3, 1))),
            ValueError,
            "inputTensor.set",
        ),
        (
            lambda: dy.inputTensor([1, 2], reusable_expr=True).set(None),
            TypeError,
            "inputTensor.set",
        ),
        (
            lambda: dy.sparse_inputTensor(([0],), [1], (2,)).set([2]),
            ValueError,
            "sparse_inputTensor.set",
        ),
        (lambda: dy.scalarInput("1"), TypeError, "scalarInput"),
        (lambda: dy.scalarInput(None), TypeError, "scalarInput"),
        (lambda: dy.scalarInput([1.0]), TypeError, "scalarInput"),
        (lambda: dy.scalarInput(1, device="GPU:1"), RuntimeError, "scalarInput.*GPU:1"),
        (lambda: dy.inputTensor([1], device="GPU:1"), RuntimeError, "inputTensor.*GPU:1"),
        (lambda: dy.vecInput(-1), ValueError, "vecInput"),
        (lambda: dy.vecInput("3"), TypeError, "vecInput"),
        (lambda: dy.vecInput((3,)), TypeError, "vecInput"),
        (lambda: dy.inputVector(3), TypeError, "inputVector"),
        (lambda: dy.inputVector(None), TypeError, "inputVector"),
        (lambda: dy.inputVector([[1, 2], [3, 4]]), TypeError, "inputVector"),
        (lambda: dy.inputVector(["a"]), TypeError, "inputVector"),
        (lambda: dy.inputTensor(None), TypeError, "inputTensor"),
        (lambda: dy.inputTensor(5.0), TypeError, "inputTensor"),
        (lambda: dy.inputTensor(np.array(5.0)), TypeError, "inputTensor"),
        (lambda: dy.inputTensor((1, 2)), TypeError, "inputTensor"),
        (lambda: dy.inputTensor("ab"), TypeError, "inputTensor"),
        (lambda: dy.inputTensor(["ab"]), TypeError, "inputTensor"),
        (lambda: dy.inputTensor(np.array(["ab"])), TypeError, "inputTensor"),
        (lambda: dy.inputTensor(np.array([1j])), TypeError, "inputTensor"),
        (lambda: dy.inputTensor([]), ValueError, "inputTensor"),
        (lambda: dy.inputTensor([[1, 2], [3]]), ValueError, "inputTensor"),
        (lambda: dy.inputTensor([np.ones(2), np.ones(3)]), ValueError, "inputTensor"),
        (lambda: dy.inputTensor([dy.scalarInput(1)]), (TypeError, ValueError), "inputTensor"),
        (lambda: dy.inputTensorTranspose([1, 2, 3], (2,)), ValueError, "inputTensorTranspose"),
        (lambda: dy.inputTensorTranspose([1, 2, 3], batch_size=2), ValueError, "Transpose"),
        (lambda: dy.inputTensorTranspose([1, 2], [2]), TypeError, "inputTensorTranspose"),
        (lambda: dy.inputTensorTranspose(None), TypeError, "inputTensorTranspose"),
        (lambda: dy.inputTensorTranspose(np.ones((2, 2))), TypeError, "inputTensorTranspose"),
        (lambda: dy.sparse_inputTensor([0, 1], [5, 6], (3,)), ValueError, "sparse_inputTensor"),
        (lambda: dy.sparse_inputTensor(([0, 5],), [5, 6], (3,)), ValueError, "sparse_inputT"),
        (lambda: dy.sparse_inputTensor(([0, -1],), [5, 6], (3,)), ValueError, "sparse_inputT"),
        (lambda: dy.sparse_inputTensor(([0, 1],), [5], (3,)), ValueError, "sparse_inputTensor"),
        (lambda: dy.sparse_inputTensor(([0.5],), [5], (3,)), TypeError, "sparse_inputTensor"),
        (lambda: dy.sparse_inputTensor(None, [5], (3,)), TypeError, "sparse_inputTensor"),
        (lambda: dy.sparse_inputTensor(([0],), None, (3,)), TypeError, "sparse_inputTensor"),
        (lambda: dy.sparse_inputTensor(([0],), [5], None), TypeError, "sparse_inputTensor"),
        (lambda: dy.one_hot(3, 3), IndexError, "one_hot"),
        (lambda: dy.one_hot(3, [0, 7]), IndexError, "one_hot"),
        (lambda: dy.one_hot(3, -1), OverflowError, "one_hot"),
        (lambda: dy.one_hot(3, []), ValueError, "one_hot"),
        (lambda: dy.one_hot(3, None), TypeError, "one_hot"),
        (lambda: dy.one_hot(3, 1.5), TypeError, "one_hot"),
        (lambda: dy.one_hot(None, 1), TypeError, "one_hot"),
        (lambda: dy.zeros([2, 3]), TypeError, "zeros"),
        (lambda: dy.zeros(None), TypeError, "zeros"),
        (lambda: dy.zeros("3"), TypeError, "zeros"),
        (lambda: dy.zeroes(-1), ValueError, "zeroes"),
        (lambda: dy.ones((2, -1)), ValueError, "ones"),
        (lambda: dy.ones((2, 3), -1), ValueError, "ones"),
        (lambda: dy.ones((2, 3), 0), ValueError, "ones"),
        (lambda: dy.constant(3, None), TypeError, "constant"),
        (lambda: dy.constant(3, [1.0]), TypeError, "constant"),
        (lambda: dy.UnsignedValue(-1), OverflowError, "UnsignedValue"),
        (lambda: dy.UnsignedValue(1 << 32), OverflowError, "UnsignedValue"),
        (lambda: dy.UnsignedValue("1"), TypeError, "UnsignedValue"),
        (lambda: dy.FloatValue(None), TypeError, "FloatValue"),
        (lambda: dy.UnsignedVectorValue([1, -2]), OverflowError, "UnsignedVectorValue"),
        (lambda: dy.FloatVectorValue(["a"]), TypeError, "FloatVectorValue"),
    ],
)
def test_bad_input_names_the_call(call: Callable[[], Any], error: Any, name: str) -> None:
    with pytest.raises(error, match=name):
        call()


def test_a_stale_input_cannot_be_changed() -> None:
    x, y = dy.scalarInput(1), dy.inputTensor([1, 2], reusable_expr=True)
    dy.renew_cg()
    with pytest.raises(RuntimeError, match=r"scalarInput.set: stale"):
        x.set(2)
    with pytest.raises(RuntimeError, match=r"inputTensor.set: stale"):
        y.set([1, 2])


def test_a_refused_set_changes_nothing() -> None:
    x = dy.vecInput(2)
    x.set([1, 2])
    y = dy.square(x)
    assert y.value() == [1, 4]
    with pytest.raises(ValueError, match="set"):
        x.set([1])
    assert y.value() == [1, 4]
    assert x.value() == [1, 2]


@pytest.mark.parametrize("name", ["matInput", "inputMatrix"])
def test_what_is_deprecated_says_so(name: str) -> None:
    with pytest.raises(DeprecationWarning, match=f"{name}.*inputTensor"):
        getattr(dy, name)(2, 3)


def test_equal_constants_do_not_share_what_can_be_changed() -> None:
    x, y = dy.vecInput(3), dy.vecInput(3)
    z = dy.zeros(3)
    x.set([1, 2, 3])
    assert y.value() == z.value() == [0, 0, 0]


def test_inputs_make_one_batch() -> None:
    nodes = [dy.tanh(dy.scalarInput(k)).node for k in range(5)]
    nodes += [dy.tanh(dy.ones(1)).node, dy.tanh(dy.inputTensor([[1, 2, 3]], batched=True)).node]
    assert [batch.op for batch in ln.plan(nodes).batches] == ["input", "tanh"]
