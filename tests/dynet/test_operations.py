"""Elementwise functions, arithmetic, lists and reductions: what the wheel does not tell.

Where it crashes, where it is wrong, how calls batch, and which errors name which call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy

INF = float("inf")


@pytest.fixture(autouse=True)
def fresh() -> None:
    dy.renew_cg()


def vector(*numbers: float) -> Any:
    return dy.inputVector(list(numbers))


def gradients(function: Callable[..., Any], *arrays: Any, batched: Any = ()) -> list[np.ndarray]:
    """Of the sum of all results."""
    xs = [dy.inputTensor(np.array(a, float), batched=k in batched) for k, a in enumerate(arrays)]
    dy.sum_batches(dy.sum_elems(function(*xs))).backward()
    return [x.gradient() for x in xs]


def differences(function: Callable[..., Any], *arrays: Any, batched: Any = ()) -> list[np.ndarray]:
    """The same by central differences."""

    def total(changed: list[np.ndarray]) -> float:
        xs = [dy.inputTensor(a, batched=k in batched) for k, a in enumerate(changed)]
        return float(np.sum(function(*xs).npvalue()))

    results = []
    for k, array in enumerate(arrays):
        result = np.zeros(np.shape(array))
        for place in np.ndindex(result.shape):
            both = []
            for step in (1e-2, -1e-2):
                changed = [np.array(a, float) for a in arrays]
                changed[k][place] += step
                both.append(total(changed))
            result[place] = (both[0] - both[1]) / 2e-2
        results.append(result)
    return results


# Gradients that are wrong in the wheel


@pytest.mark.parametrize("beta", [0.5, 2.5, -1.5])
def test_gradient_of_silu_with_beta(beta: float) -> None:
    def function(x: Any) -> Any:
        return dy.silu(x, beta=beta)

    x = [-2.0, -0.3, 0.0, 0.7, 1.5]
    np.testing.assert_allclose(gradients(function, x), differences(function, x), atol=2e-3)


@pytest.mark.parametrize("name", ["average", "esum", "logsumexp"])
def test_gradient_of_a_list_of_which_some_are_batched(name: str) -> None:
    def function(x: Any, y: Any) -> Any:
        return getattr(dy, name)([x, y])

    x, y = [0.3, -0.2], [[1.0, 0.4, 0.1], [0.2, -1.0, 0.5]]
    found = gradients(function, x, y, batched=[1])
    for mine, right in zip(found, differences(function, x, y, batched=[1]), strict=True):
        np.testing.assert_allclose(mine, right, atol=2e-3)


@pytest.mark.parametrize("name", ["round", "ceil", "floor"])
def test_gradient_of_rounding(name: str) -> None:
    x = [0.5, -0.5, 1.2, -2.7]
    function = getattr(dy, name)
    (zero,) = gradients(lambda x: function(x, "zero_gradient"), x)
    (straight,) = gradients(lambda x: function(x, gradient_mode="straight_through_gradient"), x)
    assert zero.tolist() == [0, 0, 0, 0]
    assert straight.tolist() == [1, 1, 1, 1]


# Values and gradients that are no numbers in the wheel


@pytest.mark.parametrize(
    "function",
    [
        dy.l2_norm,
        dy.std_elems,
        lambda x: dy.std_dim(x, [0], False),
        lambda x: dy.std_dim(x, [0], True),
        lambda x: dy.std_batches(x),
    ],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_gradient_where_all_are_equal(function: Any, batch: int) -> None:
    (gradient,) = gradients(function, np.zeros((3, batch)), batched=[0])
    assert not gradient.any()


def test_logsumexp_of_no_probability() -> None:
    x, y = vector(-INF, -INF, 1), vector(-INF, 2, 1)
    z = dy.logsumexp([x, y])
    assert z.value()[:2] == [-INF, 2]
    assert dy.logsumexp_dim(x).value() == pytest.approx(1)
    assert dy.logsumexp_dim(vector(-INF, -INF)).value() == -INF


def test_gradient_of_a_power_of_zero() -> None:
    x, y = gradients(dy.pow, [0.0, 2.0], [2.0])
    assert x.tolist() == [0, 4]
    assert y.tolist() == pytest.approx([4 * np.log(2)])


def test_far_from_zero() -> None:
    x = vector(-1e4, -200, 200, 1e4)
    assert dy.logistic(x).value() == [0, 0, 1, 1]
    assert dy.log_sigmoid(x).value() == [-1e4, -200, 0, 0]
    assert dy.silu(x).value() == [0, 0, 200, 1e4]
    assert dy.tanh(x).value() == [-1, -1, 1, 1]
    assert dy.elu(x).value() == [-1, -1, 200, 1e4]
    assert dy.logsumexp([x, x]).value() == pytest.approx([v + np.log(2) for v in x.value()])
    (gradient,) = gradients(dy.log_sigmoid, [20.0, -1e4])
    assert gradient[0] == pytest.approx(np.exp(-20), rel=1e-3)  # 0 in the wheel
    assert gradient[1] == 1


# Dimensions that are wrong or refused in the wheel


def test_reductions_of_any_dimensions() -> None:
    array = np.random.default_rng(0).standard_normal((2, 3, 2, 2))
    x = dy.inputTensor(array)
    for axes in ([3], [0, 2], [0, 1, 2, 3]):
        for function, reference in [(dy.sum_dim, np.sum), (dy.mean_dim, np.mean),
                                    (dy.std_dim, np.std)]:  # fmt: skip
            right = reference(array, axis=tuple(axes))
            found = function(x, axes, False).npvalue()
            np.testing.assert_allclose(found, right.reshape(found.shape), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dy.max_dim(x, 1).npvalue(), array.max(1), rtol=1e-6)
    right = np.log(np.exp(array).sum(2))
    np.testing.assert_allclose(dy.logsumexp_dim(x, 2).npvalue(), right, rtol=1e-5, atol=1e-6)
    assert dy.mean_elems(x).value() == pytest.approx(array.mean(), rel=1e-5)


def test_logsumexp_over_a_dimension_of_one() -> None:
    x = dy.inputTensor([[1.0], [2.0], [3.0]])
    y = dy.logsumexp_dim(x, 1)
    assert y.dim() == ((3,), 1)
    assert y.value() == [1, 2, 3]


def test_softsign_of_matrices() -> None:
    x = dy.inputTensor([[1.0, -1.0], [3.0, 0.0]])
    assert dy.softsign(x).npvalue().tolist() == [[0.5, -0.5], [0.75, 0]]


def test_concatenation_beyond_the_dimensions() -> None:
    x, y = vector(1, 2), vector(3, 4)
    z = dy.concatenate([x, y], d=2)
    assert z.dim() == ((2, 1, 2), 1)
    assert z.npvalue()[:, 0].tolist() == [[1, 3], [2, 4]]


def test_a_batched_bias_is_added_to_columns() -> None:
    W, x = dy.inputTensor([[1.0, 0.0], [0.0, 1.0]]), dy.inputTensor([[1.0, 2.0], [3.0, 4.0]])
    b = dy.inputTensor([[10.0, 20.0], [30.0, 40.0]], batched=True)
    y = dy.affine_transform([b, W, x])
    assert y.dim() == ((2, 2), 2)
    assert y.npvalue()[..., 1].tolist() == [[21, 22], [43, 44]]


# Parameters are expressions like any other


def test_parameters_as_arguments() -> None:
    model = dy.ParameterCollection()
    W, b = model.add_parameters((2, 3)), model.add_parameters(2)
    w, c = W.as_array(), b.as_array()
    x = dy.inputTensor([1.0, 2.0, 3.0])
    close = np.testing.assert_allclose
    close(dy.affine_transform([b, W, x]).value(), c + w @ [1, 2, 3], rtol=1e-5)
    close(dy.affine_transform([b]).value(), c)
    close(dy.tanh(W).npvalue(), np.tanh(w), rtol=1e-5)
    close(dy.cmult(W, b).npvalue(), w * c[:, None], rtol=1e-5)
    close(dy.esum([b, b]).value(), 2 * c, rtol=1e-5)
    close(dy.concatenate([b, x, b]).value(), [*c, 1, 2, 3, *c], rtol=1e-5)
    close(dy.concatenate_cols([b, W]).npvalue(), np.column_stack([c, w]), rtol=1e-5)
    close(dy.concatenate_to_batch([b, b]).npvalue(), np.stack([c, c], 1), rtol=1e-5)
    close(dy.colwise_add(W, b).npvalue(), w + c[:, None], rtol=1e-5)
    close(dy.sum_elems(W).value(), w.sum(), rtol=1e-4)
    close(dy.max_dim(W, 1).value(), w.max(1), rtol=1e-5)
    close(dy.bmax(b, dy.zeros(2)).value(), np.maximum(c, 0), rtol=1e-5)


# One node for each call, one batch for calls that differ in numbers only


@pytest.mark.parametrize(
    "call",
    [
        lambda x, m: dy.tanh(x),
        lambda x, m: dy.silu(x, 3.0),
        lambda x, m: dy.argmax(x, "zero_gradient"),
        lambda x, m: dy.round(x, "zero_gradient"),
        lambda x, m: dy.cmult(x, x),
        lambda x, m: dy.bmin(x, x),
        lambda x, m: dy.cdiv(x, x),
        lambda x, m: dy.cumsum(m, 1),
        lambda x, m: dy.esum([x, x, x]),
        lambda x, m: dy.logsumexp([x, x]),
        lambda x, m: dy.concatenate([x, x]),
        lambda x, m: dy.concatenate_cols([x, x]),
        lambda x, m: dy.concatenate_to_batch([x, x]),
        lambda x, m: dy.affine_transform([x, m, x]),
        lambda x, m: dy.sum_elems(m),
        lambda x, m: dy.l2_norm(m),
        lambda x, m: dy.std_elems(m),
        lambda x, m: dy.sum_dim(m, [0]),
        lambda x, m: dy.mean_dim(m, [0, 1], False),
        lambda x, m: dy.std_dim(m, [1], False),
        lambda x, m: dy.max_dim(x),
        lambda x, m: dy.logsumexp_dim(x),
    ],
)
def test_a_call_is_one_node(call: Callable[..., Any]) -> None:
    x, m = dy.inputVector([1, 2, 3]), dy.inputTensor(np.ones((3, 3)))
    tape = x.node.tape
    before = len(tape)
    for _ in range(2):  # as it is met first, and as it is known
        result = call(x, m)
    assert result.node.tape is tape
    assert len(tape) == before + 2


@pytest.mark.parametrize(
    "call",
    [
        lambda x, k: dy.elu(x, alpha=0.5 + k),
        lambda x, k: dy.silu(x, beta=2.5 + k),
        lambda x, k: dy.esum([x] * (k + 2)),
        lambda x, k: dy.average([x] * (k + 2)),
        lambda x, k: dy.emax([x] * (k + 2)),
        lambda x, k: dy.logsumexp([x] * (k + 2)),
        lambda x, k: dy.sum_elems(x),
        lambda x, k: dy.logsumexp_dim(x, 0),
        lambda x, k: dy.affine_transform([x, dy.inputTensor(np.full((3, 3), k)), x]),
        lambda x, k: dy.concatenate([x, x]),
    ],
)
def test_calls_that_differ_in_numbers_are_one_batch(call: Callable[..., Any]) -> None:
    results = [call(dy.inputVector([k, 1, 2]), k) for k in range(4)]
    results.append(call(dy.inputTensor(np.ones((3, 5)), batched=True), 1))
    batches = [b.op for b in ln.plan([r.node for r in results]).batches]
    assert len(batches) - batches.count("input") == 1
    assert all(np.isfinite(v).all() for v in dy.npvalues(results))


def test_immediate_computation() -> None:
    dy.renew_cg(immediate_compute=True, check_validity=True)
    x = dy.inputVector([-1, 2])
    assert dy.rectify(x).value() == [0, 2]
    with pytest.raises(RuntimeError, match="log"):
        dy.log(x)


# Errors


BAD: dict[str, tuple[Callable[..., Any], Any]] = {
    "cmult": (lambda x, y: dy.cmult(x, y), ValueError),
    "cdiv": (lambda x, y: dy.cdiv(x, y), ValueError),
    "colwise_add": (lambda x, y: dy.colwise_add(x, y), ValueError),
    "pow": (lambda x, y: dy.pow(x, y), ValueError),
    "bmin": (lambda x, y: dy.bmin(x, y), ValueError),
    "bmax": (lambda x, y: dy.bmax(x, y), ValueError),
    r"\+": (lambda x, y: x + y, ValueError),
    "-": (lambda x, y: x - y, ValueError),
    **{
        name: (lambda x, y, name=name: getattr(dy, name)([x, y]), ValueError)
        for name in (
            "esum", "average", "emax", "logsumexp", "concatenate_cols", "concatenate_to_batch"
        )
    },
    "concatenate": (lambda x, y: dy.concatenate([x, y], 1), ValueError),
    "affine_transform": (lambda x, y: dy.affine_transform([x, y, x]), ValueError),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_mismatched_dimensions(name: str) -> None:
    call, error = BAD[name]
    with pytest.raises(error, match=rf"^{name}: .*\{{3\}}.*\{{4\}}|^pow"):
        call(vector(1, 2, 3), vector(1, 2, 3, 4))


@pytest.mark.parametrize("name", [n for n in BAD if n not in ("pow", "concatenate_to_batch")])
def test_mismatched_batches(name: str) -> None:
    """Some of the wheel's functions read past the end of the shorter one."""
    call, error = BAD[name]
    shape = (1, 1) if name in ("colwise_add", "affine_transform") else (3,)
    x, y = (dy.inputTensor(np.ones((*shape, n)), batched=True) for n in (2, 3))
    with pytest.raises(error, match=rf"^{name}: .*X2.*X3"):
        call(x, y)


def test_the_left_side_of_a_quotient_is_not_repeated() -> None:
    x, row = dy.inputTensor(np.ones((2, 3))), dy.inputTensor(np.ones((1, 3)))
    batch = dy.inputTensor(np.ones((3, 2)), batched=True)
    for left, right in [(dy.scalarInput(1), vector(1, 2)), (row, x), (vector(1, 2), x),
                        (vector(1, 2, 3), batch)]:  # fmt: skip
        with pytest.raises(ValueError, match="cdiv"):
            dy.cdiv(left, right)


UNARY = (
    "exp log sqrt square cube abs erf lgamma log_sigmoid logistic rectify elu selu silu softsign "
    "tanh sin cos tan asin acos atan sinh cosh asinh acosh atanh sum_elems mean_elems std_elems "
    "squared_norm l2_norm sum_batches mean_batches std_batches max_dim min_dim logsumexp_dim cumsum"
).split()
OF_TWO = "cmult cdiv colwise_add pow bmin bmax".split()
OF_LISTS = (
    "esum average emax logsumexp concatenate concatenate_cols concatenate_to_batch affine_transform"
).split()
MORE: dict[str, Callable[[Any], Any]] = {
    "round": lambda x: dy.round(x, "zero_gradient"),
    "ceil": lambda x: dy.ceil(x, "zero_gradient"),
    "floor": lambda x: dy.floor(x, "zero_gradient"),
    "argmax": lambda x: dy.argmax(x, "zero_gradient"),
    "sum_dim": lambda x: dy.sum_dim(x, [0]),
    "mean_dim": lambda x: dy.mean_dim(x, [0], False),
    "std_dim": lambda x: dy.std_dim(x, [0], False),
    "moment_dim": lambda x: dy.moment_dim(x, [0], 2, False),
    "moment_elems": lambda x: dy.moment_elems(x, 2),
    "moment_batches": lambda x: dy.moment_batches(x, 2),
}
CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    *[(name, getattr(dy, name)) for name in UNARY],
    *MORE.items(),
    *[(name, lambda x, name=name: getattr(dy, name)(x, vector(1))) for name in OF_TWO],
    *[(name, lambda x, name=name: getattr(dy, name)(vector(1), x)) for name in OF_TWO],
    *[(name, lambda x, name=name: getattr(dy, name)([vector(1), x])) for name in OF_LISTS],
]


@pytest.mark.parametrize(
    ("name", "call"), CALLS, ids=[f"{n}-{k}" for k, (n, _) in enumerate(CALLS)]
)
def test_what_is_no_expression_is_refused(name: str, call: Callable[[Any], Any]) -> None:
    """Most of these end the wheel's process."""
    old = vector(1)
    dy.renew_cg()
    for bad in (None, 2.0, np.ones(3), "x", ln.constant([1.0])):
        with pytest.raises(TypeError, match=f"^{name}: "):
            call(bad)
    with pytest.raises(RuntimeError, match=f"^{name}: stale"):
        call(old)


@pytest.mark.parametrize("name", OF_LISTS)
def test_lists_and_nothing_else(name: str) -> None:
    function = getattr(dy, name)
    x = vector(1)
    for bad in (None, x, (x,), {1: x}, (y for y in [x])):
        with pytest.raises(TypeError, match=f"^{name}: "):
            function(bad)
    with pytest.raises(ValueError, match=f"^{name}: got an empty list"):
        function([])
    with pytest.raises(AssertionError, match=f"^{name}: got an empty list"):
        function([])


@pytest.mark.parametrize(
    ("call", "error", "name"),
    [
        (lambda x: dy.round(x, "zero"), ValueError, "round"),
        (lambda x: dy.ceil(x, None), TypeError, "ceil"),
        (lambda x: dy.argmax(x, "x"), ValueError, "argmax"),
        (lambda x: dy.argmax(dy.zeros((2, 3)), "zero_gradient"), ValueError, "argmax"),
        (lambda x: dy.elu(x, alpha=None), TypeError, "elu"),
        (lambda x: dy.silu(x, "2"), TypeError, "silu"),
        (lambda x: dy.cumsum(x, -1), OverflowError, "cumsum"),
        (lambda x: dy.cumsum(x, None), TypeError, "cumsum"),
        (lambda x: dy.cumsum(x, 0.5), TypeError, "cumsum"),
        (lambda x: dy.max_dim(x, 1), ValueError, "max_dim"),
        (lambda x: dy.min_dim(x, -1), OverflowError, "min_dim"),
        (lambda x: dy.logsumexp_dim(x, [0]), TypeError, "logsumexp_dim"),
        (lambda x: dy.sum_dim(x, 0), TypeError, "sum_dim"),
        (lambda x: dy.sum_dim(x, (0,)), TypeError, "sum_dim"),
        (lambda x: dy.sum_dim(x, None), TypeError, "sum_dim"),
        (lambda x: dy.sum_dim(x, []), ValueError, "sum_dim"),
        (lambda x: dy.sum_dim(x, [1]), ValueError, "sum_dim"),
        (lambda x: dy.sum_dim(x, [-1]), OverflowError, "sum_dim"),
        (lambda x: dy.sum_dim(x, [0, 0]), ValueError, "sum_dim"),
        (lambda x: dy.mean_dim(x, [0], False, -1), OverflowError, "mean_dim"),
        (lambda x: dy.mean_dim(x, [], False), ValueError, "mean_dim"),
        (lambda x: dy.std_dim(x, [1], False), ValueError, "std_dim"),
        (lambda x: dy.std_dim(x, [0], False, "a"), TypeError, "std_dim"),
        (lambda x: dy.moment_dim(x, [0], 0, False), ValueError, "moment_dim"),
        (lambda x: dy.moment_elems(x, -1), OverflowError, "moment_elems"),
        (lambda x: dy.moment_elems(x, None), TypeError, "moment_elems"),
        (lambda x: dy.moment_batches(x, 0), ValueError, "moment_batches"),
        (lambda x: dy.concatenate([x, x], -1), OverflowError, "concatenate"),
        (lambda x: dy.concatenate([x, x], None), TypeError, "concatenate"),
        (lambda x: dy.concatenate([x, x], "0"), TypeError, "concatenate"),
        (lambda x: dy.affine_transform([x, x]), ValueError, "affine_transform"),
        (lambda x: dy.affine_transform([dy.zeros((2, 3)), dy.zeros((2, 3)), x]), ValueError, "aff"),
        (
            lambda x: dy.affine_transform([x, dy.zeros((3, 3)), dy.zeros((3, 2, 2))]),
            ValueError,
            "a",
        ),
    ],
)
def test_bad_settings(call: Callable[[Any], Any], error: Any, name: str) -> None:
    with pytest.raises(error, match=f"^{name}"):
        call(vector(1, 2, 3))


def test_a_refused_call_leaves_nothing_behind() -> None:
    x, y = vector(1, 2, 3), vector(1, 2)
    batch = dy.inputTensor(np.ones((3, 2)), batched=True)
    more = dy.inputTensor(np.ones((3, 4)), batched=True)
    dy.esum([batch, batch])
    dy.concatenate([batch, batch])
    for call in (lambda: dy.esum([batch, more]), lambda: dy.concatenate([batch, more]),
                 lambda: dy.cmult(batch, more), lambda: dy.esum([x, y])):  # fmt: skip
        with pytest.raises(ValueError, match="mismatched"):
            call()
    z = dy.esum([x, x])
    assert z.value() == [2, 4, 6]
    assert dy.esum([batch, batch]).value() == [2] * 6
