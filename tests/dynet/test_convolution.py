"""Convolution and pooling: what the wheel gets wrong, bad input, batching."""

from __future__ import annotations

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy

RNG = np.random.RandomState(4)


@pytest.fixture(autouse=True)
def _new_graph() -> None:
    dy.renew_cg()


def tensor(*shape: int, batch: int = 0) -> dy.Expression:
    return dy.inputTensor(RNG.standard_normal((*shape, *[batch] * bool(batch))), batched=batch > 0)


def check(function, reference, *xs: dy.Expression) -> None:
    """Each example like the reference; gradients equal those of each example on its own."""
    y = function(*xs)
    rows = y.dim()[1]
    arrays = [x.npvalue() for x in xs]
    many = [x.dim()[1] > 1 for x in xs]

    def parts(k: int) -> list[np.ndarray]:
        return [a[..., k] if m else a for a, m in zip(arrays, many, strict=True)]

    expected = np.stack([reference(*parts(k)) for k in range(rows)], -1)
    np.testing.assert_allclose(
        y.npvalue(), expected if rows > 1 else expected[..., 0], rtol=1e-4, atol=1e-5
    )
    dy.sum_batches(dy.sum_elems(dy.cmult(y, y))).backward()
    found = [x.gradient() for x in xs]
    single = [np.zeros(a.shape) for a in arrays]
    for k in range(rows):
        dy.renew_cg()
        inputs = [dy.inputTensor(a) for a in parts(k)]
        y = function(*inputs)
        dy.sum_elems(dy.cmult(y, y)).backward()
        for total, m, x in zip(single, many, inputs, strict=True):
            if m:
                total[..., k] += x.gradient()
            else:
                total += x.gradient()
    for mine, right in zip(found, single, strict=True):
        np.testing.assert_allclose(mine, right, rtol=1e-4, atol=1e-4)


def narrow(x: np.ndarray, f: np.ndarray) -> np.ndarray:
    rows, width = f.shape[:2]
    filters = f.reshape(rows, width, -1)
    places = range(x.shape[1] - width + 1)
    return np.array(
        [
            [(x[:, j : j + width] * filters[:, :, k]).sum() for j in places]
            for k in range(filters.shape[2])
        ]
    )


def convolve(x: np.ndarray, f: np.ndarray) -> np.ndarray:
    height, width = f.shape[:2]
    y = np.zeros((x.shape[0] - height + 1, x.shape[1] - width + 1, f.shape[3]))
    for i, j in np.ndindex(*y.shape[:2]):
        y[i, j] = np.einsum("hwc,hwco->o", x[i : i + height, j : j + width], f)
    return y


@pytest.mark.parametrize("batches", [(0, 0), (2, 0), (0, 2), (2, 2)])
def test_filter1d_narrow(batches: tuple[int, int]) -> None:
    """The wheel drops the batch, and the gradient of one filter with three dimensions."""
    for filters in [(2, 3, 4), (2, 3), (2, 3, 1)]:
        x, y = tensor(2, 5, batch=batches[0]), tensor(*filters, batch=batches[1])
        assert dy.filter1d_narrow(x, y).dim() == (
            (4 if filters[-1] == 4 else 1, 3),
            max(1, *batches),
        )
        check(dy.filter1d_narrow, narrow, x, y)


@pytest.mark.parametrize("batches", [(0, 2), (2, 2)])
def test_filters_that_are_minibatches(batches: tuple[int, int]) -> None:
    """The wheel takes the first example's for all."""
    x, f = tensor(4, 4, 1, batch=batches[0]), tensor(3, 2, 1, 3, batch=batches[1])
    bias = tensor(3, batch=2)
    assert dy.conv2d(x, f, [1, 1]).dim() == ((2, 3, 3), 2)
    assert dy.conv2d_bias(x, f, bias, [1, 1]).dim() == ((2, 3, 3), 2)
    check(
        lambda x, f, b: dy.conv2d_bias(x, f, b, [1, 1]),
        lambda x, f, b: convolve(x, f) + b,
        x,
        f,
        bias,
    )
    x, f = tensor(4, 4, 1, batch=batches[0]), tensor(3, 2, 1, 3, batch=batches[1])
    check(lambda x, f: dy.conv2d(x, f, [1, 1]), convolve, x, f)


def test_minibatches_that_the_wheel_cannot_do() -> None:
    """It refuses `kmh_ngram`, `circ_conv` and `circ_corr`, and folds the first example only."""
    check(dy.fold_rows, lambda x: x.reshape(2, 2, 3).sum(1), tensor(4, 3, batch=2))
    check(lambda x: dy.kmh_ngram(x, 2), lambda x: x[:, :-1] + x[:, 1:], tensor(2, 4, batch=3))
    for batches in [(2, 0), (0, 2), (2, 2)]:
        u, v = tensor(5, batch=batches[0]), tensor(5, batch=batches[1])
        k, i = np.arange(5)[:, None], np.arange(5)
        check(dy.circ_conv, lambda u, v, k=k, i=i: v[(k - i) % 5] @ u, u, v)
        u, v = tensor(5, batch=batches[0]), tensor(5, batch=batches[1])
        check(dy.circ_corr, lambda u, v, k=k, i=i: v[(i + k) % 5] @ u, u, v)


def test_rows_are_folded_in_order() -> None:
    x = dy.inputTensor([[1, 2], [3, 4], [10, 20], [30, 40]])
    assert dy.fold_rows(x).npvalue().tolist() == [[4, 6], [40, 60]]
    assert dy.fold_rows(dy.inputTensor([1, 2, 30, 40])).dim() == ((2, 1), 1)


def test_strides_are_lists_tuples_or_arrays() -> None:
    x, f = tensor(5, 5, 2), tensor(3, 3, 2, 3)
    expected = dy.conv2d(x, f, [2, 1]).npvalue()
    for stride in [(2, 1), np.array([2, 1]), [np.int64(2), 1]]:
        assert (dy.conv2d(x, f, stride).npvalue() == expected).all()
    assert dy.maxpooling2d(x, (2, 2), np.array([1, 1])).dim() == ((4, 4, 2), 1)


@pytest.mark.parametrize("name", ["stride", "ksize"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([0, 1], ValueError),  # the wheel divides by zero and dies
        ([1], ValueError),  # the wheel reads beyond the list
        ([1, 2, 2, 1], ValueError),  # the wheel takes the first two
        ([-1, 1], OverflowError),
        (1, TypeError),
        (None, TypeError),
        ([1.5, 1], TypeError),
        (["a", 1], TypeError),
    ],
)
def test_bad_pairs(name: str, value, error) -> None:
    x, f, b = tensor(5, 5, 2), tensor(3, 3, 2, 3), tensor(3)
    if name == "ksize":
        with pytest.raises(error, match=r"^maxpooling2d: ksize: got"):
            dy.maxpooling2d(x, value, [1, 1])
        return
    with pytest.raises(error, match=r"^conv2d: stride: "):
        dy.conv2d(x, f, value)
    with pytest.raises(error, match=r"^conv2d_bias: stride: "):
        dy.conv2d_bias(x, f, b, value)
    with pytest.raises(error, match=r"^maxpooling2d: stride: "):
        dy.maxpooling2d(x, [2, 2], value)


CALLS = {
    "conv2d": (lambda x, f: dy.conv2d(x, f, [1, 1]), [(5, 5, 2), (3, 3, 2, 3)]),
    "conv2d_bias": (
        lambda x, f, b: dy.conv2d_bias(x, f, b, [1, 1]),
        [(5, 5, 2), (3, 3, 2, 3), (3,)],
    ),
    "maxpooling2d": (lambda x: dy.maxpooling2d(x, [2, 2], [2, 2]), [(5, 5, 2)]),
    "filter1d_narrow": (lambda x, y: dy.filter1d_narrow(x, y), [(2, 5), (2, 3, 4)]),
    "fold_rows": (lambda x: dy.fold_rows(x, 2), [(4, 3)]),
    "kmax_pooling": (lambda x: dy.kmax_pooling(x, 2), [(3, 5)]),
    "kmh_ngram": (lambda x: dy.kmh_ngram(x, 2), [(3, 5)]),
    "circ_conv": (dy.circ_conv, [(4,), (4,)]),
    "circ_corr": (dy.circ_corr, [(4,), (4,)]),
}
BAD = {
    "conv2d": [
        ((3, 3, 2, 3), (3, 3, 2, 3)),
        ((5, 5, 2), (5, 5, 2)),
        ((5, 5, 2), (3, 3, 1, 3)),
        ((2, 2, 1), (3, 3, 1, 3)),
        ((5,), (3, 3, 1, 3)),
    ],
    "conv2d_bias": [((5, 5, 1), (3, 3, 1, 3), b) for b in ((2,), (3, 1), (1, 3))],
    "maxpooling2d": [((2, 2, 1, 1),), ((4,),), ((1, 5, 2),), ((1, 2),)],
    "filter1d_narrow": [
        ((2, 5), (3, 3)),
        ((2, 2), (2, 3)),
        ((5,), (3,)),
        ((2, 5, 2), (2, 3)),
        ((2, 5), (2, 3, 1, 1)),
    ],
    "fold_rows": [((3, 2),), ((4, 2, 2),)],
    "kmax_pooling": [((3, 1),), ((5,),)],
    "kmh_ngram": [((3,),), ((3, 5, 2),), ((3, 1),)],
    "circ_conv": [((4,), (3,)), ((2, 3), (2, 3)), ((3, 1), (3, 1))],
    "circ_corr": [((4,), (3,)), ((2, 3), (2, 3))],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_dimensions(name: str) -> None:
    for shapes in BAD[name]:
        with pytest.raises(ValueError, match=f"^{name}: "):
            CALLS[name][0](*[tensor(*shape) for shape in shapes])


@pytest.mark.parametrize("name", CALLS)
def test_bad_arguments(name: str) -> None:
    function, shapes = CALLS[name]
    old = [tensor(*shape) for shape in shapes]
    dy.renew_cg()
    for k in range(len(shapes)):
        args = [tensor(*shape) for shape in shapes]
        for wrong in (None, 1.0, np.ones(3)):
            with pytest.raises(TypeError, match=f"^{name}: "):
                function(*args[:k], wrong, *args[k + 1 :])
        with pytest.raises(RuntimeError, match=f"^{name}: stale"):
            function(*args[:k], old[k], *args[k + 1 :])
        if k:
            args = [tensor(*s, batch=2 if i == k else 3) for i, s in enumerate(shapes)]
            with pytest.raises(ValueError, match=f"^{name}: "):
                function(*args)


@pytest.mark.parametrize(
    ("call", "error", "name"),
    [
        (lambda x: dy.fold_rows(x, 0), ValueError, "fold_rows"),  # the wheel dies
        (lambda x: dy.fold_rows(x, -1), OverflowError, "fold_rows"),
        (lambda x: dy.fold_rows(x, None), TypeError, "fold_rows"),
        (lambda x: dy.kmax_pooling(x, 0), ValueError, "kmax_pooling"),
        (lambda x: dy.kmax_pooling(x, -1), OverflowError, "kmax_pooling"),
        (lambda x: dy.kmax_pooling(x, 9), ValueError, "kmax_pooling"),
        (lambda x: dy.kmax_pooling(x, 2, 2), ValueError, "kmax_pooling"),
        (lambda x: dy.kmax_pooling(x, 2, -1), OverflowError, "kmax_pooling"),
        (lambda x: dy.kmax_pooling(x, 1.5), TypeError, "kmax_pooling"),
        (lambda x: dy.kmh_ngram(x, 0), ValueError, "kmh_ngram"),
        (lambda x: dy.kmh_ngram(x, -1), OverflowError, "kmh_ngram"),
        (lambda x: dy.kmh_ngram(x, x), TypeError, "kmh_ngram"),
    ],
)
def test_bad_numbers(call, error, name: str) -> None:
    with pytest.raises(error, match=f"^{name}: "):
        call(tensor(4, 5))


@pytest.mark.parametrize("name", [n for n in CALLS if n != "kmax_pooling"])
def test_no_number_stays_none(name: str) -> None:
    function, (shape, *others) = CALLS[name]
    y = function(dy.inputTensor(np.full(shape, np.nan)), *[tensor(*s) for s in others])
    assert np.isnan(y.npvalue()).all()


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_batched(name: str) -> None:
    function, shapes = CALLS[name]

    def one() -> ln.Expression:
        return function(*[tensor(*shape) for shape in shapes]).node

    alone = len(ln.plan([one()]).batches)
    assert len(ln.plan([one() for _ in range(5)]).batches) == alone


@pytest.mark.parametrize("name", ["conv2d", "conv2d_bias", "maxpooling2d"])
def test_images_are_one_node_each(name: str) -> None:
    function, shapes = CALLS[name]
    args = [tensor(*shape) for shape in shapes]
    nodes = len(args[0].node.tape)
    function(*args)
    assert len(args[0].node.tape) == nodes + 1
