"""The parts of an LSTM's step: what the wheel gets wrong, weight noise, bad input, batching."""

from __future__ import annotations

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy

RNG = np.random.RandomState(6)
N = 2
SHAPES = {"x": (3,), "h": (N,), "Wx": (4 * N, 3), "Wh": (4 * N, N), "b": (4 * N,)}
MASKS = {"mask_x": (3,), "mask_h": (N,)}


@pytest.fixture(autouse=True)
def _new_graph() -> None:
    ln.seed(2)
    dy.renew_cg()


def tensor(*shape: int, batch: int = 0) -> dy.Expression:
    return dy.inputTensor(RNG.standard_normal((*shape, *[batch] * bool(batch))), batched=batch > 0)


def gates(x, h, Wx, Wh, b, mask_x=1.0, mask_h=1.0) -> np.ndarray:
    z = Wx @ (x * mask_x) + Wh @ (h * mask_h) + b
    z[N : 2 * N] += 1
    return np.concatenate([1 / (1 + np.exp(-z[: 3 * N])), np.tanh(z[3 * N :])])


def rows_of(xs: list[dy.Expression], k: int) -> list[np.ndarray]:
    return [x.npvalue()[..., k] if x.dim()[1] > 1 else x.npvalue() for x in xs]


def check(function, reference, xs: list[dy.Expression]) -> None:
    """A minibatch like the reference; its gradients those of each example on its own."""
    y = function(*xs)
    expected = np.stack([reference(*rows_of(xs, k)) for k in range(2)], -1)
    assert y.dim() == (expected.shape[:-1], 2)
    np.testing.assert_allclose(y.npvalue(), expected, rtol=1e-4, atol=1e-6)
    dy.sum_batches(dy.sum_elems(dy.cmult(y, y))).backward()
    found = [x.gradient() for x in xs]
    singles = [rows_of(xs, k) for k in range(2)]
    total = [np.zeros(g.shape) for g in found]
    for k, arrays in enumerate(singles):
        dy.renew_cg()
        inputs = [dy.inputTensor(a) for a in arrays]
        y = function(*inputs)
        dy.sum_elems(dy.cmult(y, y)).backward()
        for t, x in zip(total, inputs, strict=True):
            if t.ndim > len(x.dim()[0]):
                t[..., k] += x.gradient()
            else:
                t += x.gradient()
    for mine, right in zip(found, total, strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batched", [["h"], ["Wx"], ["Wh"], ["b"], ["x", "b"], [*SHAPES]])
def test_gates_of_any_minibatch(batched: list[str]) -> None:
    """The wheel takes the batch of the input for that of the result."""
    xs = [tensor(*shape, batch=2 * (name in batched)) for name, shape in SHAPES.items()]
    check(dy.vanilla_lstm_gates, gates, xs)


@pytest.mark.parametrize("batched", [["x"], ["h"], ["mask_x"], ["mask_h"], [*SHAPES, *MASKS]])
def test_gates_with_dropout_of_any_minibatch(batched: list[str]) -> None:
    shapes = SHAPES | MASKS
    xs = [tensor(*shape, batch=2 * (name in batched)) for name, shape in shapes.items()]
    check(dy.vanilla_lstm_gates_dropout, gates, xs)


def test_gates_of_inputs_with_and_without_a_batch() -> None:
    a, c = tensor(2, batch=2), tensor(1)
    rest = [tensor(*shape) for name, shape in SHAPES.items() if name != "x"]
    check(
        lambda a, c, *rest: dy.vanilla_lstm_gates_concat([a, c], *rest),
        lambda a, c, *rest: gates(np.concatenate([a, c]), *rest),
        [a, c, *rest],
    )


@pytest.mark.parametrize("batched", [["c"], ["gates"]])
@pytest.mark.parametrize("name", ["vanilla_lstm_c", "vanilla_lstm_h"])
def test_cell_and_hidden_state_of_any_minibatch(name: str, batched: list[str]) -> None:
    """The wheel counts the elements of the batch as the vector's."""
    xs = [
        tensor(N, batch=2 * ("c" in batched)),
        tensor(4 * N, batch=2 * ("gates" in batched)),
    ]

    def reference(c: np.ndarray, gates: np.ndarray) -> np.ndarray:
        i, f, o, g = np.split(gates, 4)
        return i * g + f * c if name.endswith("c") else o * np.tanh(c)

    check(getattr(dy, name), reference, xs)


def test_weight_noise() -> None:
    """Of its standard deviation, on each weight; the wheel loses the product with the weights."""
    n = 400
    x, h = np.array([1.0, 2, -1]), RNG.standard_normal(n) * 0.05
    Wx, Wh, b = (RNG.standard_normal(s) * 0.01 for s in [(4 * n, 3), (4 * n, n), (4 * n,)])
    z = Wx @ x + Wh @ h + b
    arrays = [dy.inputTensor(a) for a in (x, h, Wx, Wh, b)]
    y = dy.vanilla_lstm_gates(*arrays, weightnoise_std=0.1).npvalue()
    noise = np.arctanh(np.clip(y[3 * n :], -0.9999, 0.9999)) - z[3 * n :]
    expected = 0.1 * np.sqrt(1 + x @ x + h @ h)
    assert abs(noise.mean()) < 4 * expected / np.sqrt(n)
    assert abs(noise.std() / expected - 1) < 0.15
    again = dy.vanilla_lstm_gates(*arrays, 0.1).npvalue()
    assert (again != y).all()
    exact = dy.vanilla_lstm_gates(*arrays, weightnoise_std=0.0).npvalue()
    assert np.allclose(exact[3 * n :], np.tanh(z[3 * n :]), atol=1e-5)


def test_weight_noise_is_one_for_all_examples_and_in_the_gradient() -> None:
    x = dy.inputTensor(np.ones((3, 4)), batched=True)
    h = dy.inputTensor(np.ones((N, 4)), batched=True)
    weights = [dy.inputTensor(np.zeros(SHAPES[name])) for name in ("Wx", "Wh", "b")]
    y = dy.vanilla_lstm_gates(x, h, *weights, 0.5)
    rows = y.npvalue()
    assert (rows == rows[:, :1]).all()
    dy.sum_batches(dy.sum_elems(y)).backward()
    assert (x.gradient() != 0).all()  # the noise multiplies it


FUNCTIONS = {
    "vanilla_lstm_gates": (dy.vanilla_lstm_gates, [*SHAPES.values()]),
    "vanilla_lstm_gates_concat": (
        lambda x, *rest: dy.vanilla_lstm_gates_concat([x], *rest),
        [*SHAPES.values()],
    ),
    "vanilla_lstm_gates_dropout": (
        dy.vanilla_lstm_gates_dropout,
        [*SHAPES.values(), *MASKS.values()],
    ),
    "vanilla_lstm_gates_dropout_concat": (
        lambda x, *rest: dy.vanilla_lstm_gates_dropout_concat([x], *rest),
        [*SHAPES.values(), *MASKS.values()],
    ),
    "vanilla_lstm_c": (dy.vanilla_lstm_c, [(N,), (4 * N,)]),
    "vanilla_lstm_h": (dy.vanilla_lstm_h, [(N,), (4 * N,)]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bad_dimensions(name: str) -> None:
    function, shapes = FUNCTIONS[name]
    for k, shape in enumerate(shapes):
        for wrong in [(shape[0] + 1, *shape[1:]), (*shape, 1), (*shape, 2)]:
            args = [tensor(*(wrong if i == k else s)) for i, s in enumerate(shapes)]
            with pytest.raises(ValueError, match=f"^{name}: "):
                function(*args)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bad_arguments(name: str) -> None:
    function, shapes = FUNCTIONS[name]
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


def test_inputs_to_be_concatenated_are_a_list() -> None:
    x, *rest = [tensor(*shape) for shape in SHAPES.values()]
    for wrong in (x, (x,)):
        with pytest.raises(TypeError, match=r"vanilla_lstm_gates_concat: got .* list"):
            dy.vanilla_lstm_gates_concat(wrong, *rest)
    with pytest.raises(ValueError, match="vanilla_lstm_gates_concat: got an empty list"):
        dy.vanilla_lstm_gates_concat([], *rest)
    with pytest.raises(TypeError, match="vanilla_lstm_gates: got"):
        dy.vanilla_lstm_gates([x], *rest)
    with pytest.raises(ValueError, match=r"vanilla_lstm_gates_concat: .*batches"):
        dy.vanilla_lstm_gates_concat([tensor(2, batch=2), tensor(1, batch=3)], *rest)


def test_bad_weight_noise() -> None:
    args = [tensor(*shape) for shape in SHAPES.values()]
    for wrong in (None, "a", args[0]):
        with pytest.raises(TypeError, match="vanilla_lstm_gates: weightnoise_std: got"):
            dy.vanilla_lstm_gates(*args, wrong)
    with pytest.raises(ValueError, match="vanilla_lstm_gates: weightnoise_std: got"):
        dy.vanilla_lstm_gates(*args, float("nan"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_number_stays_none(name: str) -> None:
    function, (shape, *others) = FUNCTIONS[name]
    x = dy.inputTensor(np.full(shape, np.nan))
    assert np.isnan(function(x, *[tensor(*s) for s in others]).npvalue()).all()


def test_large_numbers_do_not_overflow() -> None:
    x, h = dy.inputTensor(np.full(3, 1e4)), tensor(N)
    weights = [dy.inputTensor(np.ones(SHAPES[name])) for name in ("Wx", "Wh", "b")]
    assert dy.vanilla_lstm_gates(x, h, *weights).value() == [1.0] * (4 * N)
    assert dy.vanilla_lstm_gates(-x, h, *weights).value() == [0.0] * (3 * N) + [-1.0] * N


@pytest.mark.parametrize("name", FUNCTIONS)
def test_calls_are_batched(name: str) -> None:
    function, shapes = FUNCTIONS[name]

    def one() -> ln.Expression:
        return function(*[tensor(*shape) for shape in shapes]).node

    alone = len(ln.plan([one()]).batches)
    assert len(ln.plan([one() for _ in range(5)]).batches) == alone
