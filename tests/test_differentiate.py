"""Backward: which gradients there are, which there are not, and what may not touch them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import lazynet as ln

LOG: list[tuple[str, int, tuple[bool, ...]]] = []


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    LOG.clear()
    yield


@dataclass(frozen=True)
class Apply(ln.Op):
    """y = W x, with a log of what backward is asked for"""

    shares = True
    reads_y = False

    def shape(self, *shapes: Any) -> Any:
        return (shapes[0][0],)

    def forward(self, call: ln.Call, *args: Any) -> Any:
        w, x = args
        return np.einsum("ij,...j->...i" if call.shared[0] else "...ij,...j->...i", w, x)

    def backward(self, call: ln.Call, dy: Any, y: Any, *args: Any) -> Any:
        w, x = args
        assert call.shared == (True, False)
        LOG.append(("apply", len(dy), call.needs))
        return (dy.T @ x if call.needs[0] else None, dy @ w if call.needs[1] else None)


@dataclass(frozen=True)
class Double(ln.Op):
    """y = 2 x, with a log"""

    reads_args = False

    def shape(self, *shapes: Any) -> Any:
        return shapes[0]

    def forward(self, call: ln.Call, *args: Any) -> Any:
        LOG.append(("forward", call.rows, ()))
        return 2 * args[0]

    def backward(self, call: ln.Call, dy: Any, y: Any, *args: Any) -> Any:
        LOG.append(("backward", call.rows, call.needs))
        return 2 * dy


def weights(*shape: int, init: Any = "glorot", name: str | None = None) -> ln.Parameter:
    return ln.Model(seed=3, dtype="float64").parameter(shape, init=init, name=name)


# Which gradients there are


def test_gradients_of_parameters_inputs_and_inner_nodes() -> None:
    w = weights(2, init=[3.0, 4.0])
    x = ln.constant(np.array([1.0, 2.0]))
    inner = w * x
    loss = (inner * inner).sum()
    loss.backward()
    assert inner.gradient().tolist() == [6.0, 16.0]
    assert w.gradient().tolist() == [6.0, 32.0]
    assert x.gradient().tolist() == [18.0, 64.0]
    assert loss.gradient() == 1.0


@pytest.mark.parametrize("batch", [None, 0, 1, 3])
def test_gradients_are_shaped_like_values(batch: int | None) -> None:
    shape = (2,) if batch is None else (batch, 2)
    x = ln.constant(np.ones(shape), batched=batch is not None)
    y = ln.tanh(x * 2.0)
    loss = (y if batch is None else ln.sum_batch(y)).sum()
    loss.backward()
    assert x.gradient().shape == shape and y.gradient().shape == shape


def test_gradients_are_the_callers_own() -> None:
    w = weights(2)
    y = w * 1.0
    y.sum().backward()
    for e in (w, y):
        expected = e.gradient()
        e.gradient()[...] = 9.0
        np.testing.assert_array_equal(e.gradient(), expected)


def test_gradient_of_an_input_that_was_evaluated_before() -> None:
    x = ln.constant(np.array([1.0, 2.0]))
    x.value()
    y = x * 3.0
    y.value()
    loss = (y * y).sum()
    loss.backward()
    assert y.gradient().tolist() == [6.0, 12.0]
    assert x.gradient().tolist() == [18.0, 36.0]


def test_gradient_of_an_input_without_any_parameter() -> None:
    x = ln.constant(np.array([1.0, 2.0]))
    (x * x).sum().backward  # noqa: B018  - recorded, never differentiated
    loss = (x * x * x).sum()
    loss.backward()
    assert x.gradient().tolist() == [3.0, 12.0]


def test_asking_for_inputs_does_not_count_parameters_twice() -> None:
    w = weights(2, init=1.0)
    x = ln.constant(np.array([1.0, 2.0]))
    loss = (w * x).sum()
    loss.backward()
    for _ in range(3):
        x.gradient()
    assert w.gradient().tolist() == [1.0, 2.0]


def test_an_error_instead_of_zeros() -> None:
    w = weights(2, name="W")
    x = ln.constant(np.array([1.0, 2.0]))
    y, other = x * 2.0, x * 3.0
    unevaluated = x * 4.0
    with pytest.raises(ln.GradientError, match="not evaluated"):
        y.gradient()
    with pytest.raises(ln.GradientError, match=r"W.*no backward"):
        w.gradient()
    ln.values([y, other])
    with pytest.raises(ln.GradientError, match="no backward reached"):
        y.gradient()
    loss = y.sum()
    loss.backward()
    assert y.gradient().tolist() == [1.0, 1.0]
    with pytest.raises(ln.GradientError, match="no backward reached"):
        other.gradient()
    with pytest.raises(ln.GradientError, match="not evaluated"):
        unevaluated.gradient()
    with pytest.raises(ln.GradientError):
        w.gradient()


def test_no_gradient_of_integers() -> None:
    x = ln.constant(np.array([1.0, 2.0]))
    i = ln.argmax(x)
    with pytest.raises(ln.GradientError, match="floating-point"):
        i.backward()
    (x * x).sum().backward()
    with pytest.raises(ln.GradientError):
        i.gradient()


# Several losses, several walks


def test_several_losses_on_one_graph() -> None:
    w = weights(2, init=[3.0, 4.0])
    h = w * 2.0
    first, second = h.sum(), (h * h).sum()
    first.backward()
    assert h.gradient().tolist() == [1.0, 1.0]
    second.backward()
    assert h.gradient().tolist() == [12.0, 16.0]  # the last backward's
    assert w.gradient().tolist() == [2.0 + 24.0, 2.0 + 32.0]  # accumulated


def test_backward_of_several_is_one_walk() -> None:
    w = weights(2, init=[3.0, 4.0])
    h = Double()(w * 1.0)
    losses = [h.sum(), (h * h).sum()]
    LOG.clear()
    ln.backward(losses)
    assert [name for name, _, _ in LOG].count("backward") == 1
    assert w.gradient().tolist() == [2.0 + 24.0, 2.0 + 32.0]
    assert h.gradient().tolist() == [13.0, 17.0]


def test_backward_of_a_parameter_and_of_one_loss_twice() -> None:
    w = weights(init=2.0)
    ln.backward([w, w * 3.0, w])
    assert w.gradient() == 5.0
    w.clear_gradient()
    loss = w * w
    loss.backward()
    loss.backward()
    assert w.gradient() == 8.0
    ln.backward([loss, loss])
    assert w.gradient() == 16.0


def test_losses_of_several_evaluations() -> None:
    w = weights(init=2.0)
    a = w * w
    a.value()
    b = a * 3.0
    b.value()
    c = a * b
    ln.backward([a, b, c])
    assert w.gradient() == pytest.approx(2 * 2 + 3 * 2 * 2 + 12 * 2**3)


def test_gradient_through_imports_and_earlier_evaluations() -> None:
    w = weights(2, 2)
    x = ln.constant(np.array([1.0, -0.5]))

    def run(look: bool) -> tuple[Any, Any]:
        w.clear_gradient()
        h = x
        for _ in range(4):
            h = ln.tanh(w @ h)
            if look:
                h.value()
        batch = ln.rebatch([h, x, h])
        if look:
            batch.value()
        rows = ln.unbatch(batch)
        if look:
            rows[2].value()
        loss = (rows[0] * rows[2]).sum() + (rows[1] * rows[1]).sum()
        loss.backward()
        return w.gradient(), h.gradient()

    for plain, looked in zip(run(False), run(True)):
        np.testing.assert_allclose(plain, looked, rtol=1e-12)


def test_gradients_accumulate_until_cleared() -> None:
    model = ln.Model(seed=0)
    w = model.parameter(2, init=1.0)
    for k in range(1, 4):
        (w * 2.0).sum().backward()
        assert w.gradient().tolist() == [2.0 * k] * 2
    ln.optim.SGD(model, lr=0.5).step()
    assert not w.has_gradient()
    assert w.value().tolist() == [-2.0, -2.0]


# Where gradients stop


def test_no_grad_detach_and_stop_gradient() -> None:
    w = weights(2, init=[3.0, 4.0])
    with ln.no_grad():
        frozen = w * w
    detached = (w * w).detach()
    stopped = ln.stop_gradient(w * w)
    for leaf in (frozen, detached, stopped):
        w.clear_gradient()
        loss = (w * leaf).sum()
        loss.backward()
        assert w.gradient().tolist() == [9.0, 16.0]
        assert leaf.gradient().tolist() == [3.0, 4.0]
        assert w.gradient().tolist() == [9.0, 16.0]


def test_no_grad_inside_a_batch_of_the_same_kind() -> None:
    w = weights(2, init=[3.0, 4.0])
    xs = [ln.constant(np.array([float(k), 1.0])) for k in range(4)]
    parts = []
    for k, x in enumerate(xs):
        if k % 2:
            with ln.no_grad():
                parts.append(ln.exp(w * x))
        else:
            parts.append(ln.exp(w * x))
    total = ln.sum(parts).sum()
    total.backward()
    expected = sum(np.exp([3.0 * k, 4.0]) * [k, 1.0] for k in (0, 2))
    np.testing.assert_allclose(w.gradient(), expected)
    assert parts[1].gradient().tolist() == [1.0, 1.0]
    np.testing.assert_allclose(w.gradient(), expected)
    with pytest.raises(ln.GradientError):
        xs[1].gradient()


def test_no_grad_holds_for_pointers_to_rows() -> None:
    w = weights(2, init=[3.0, 4.0])
    x = ln.constant(np.ones((2, 2)), batched=True) * w
    with ln.no_grad():
        rows = ln.unbatch(x)
        again = ln.rebatch([x, x])
    ((w * rows[0]).sum() + ln.sum_batch(again).sum()).backward()
    assert w.gradient().tolist() == [3.0, 4.0]


def test_no_grad_for_shared_operations() -> None:
    w = weights(2, 2, init=[[1.0, 2.0], [3.0, 4.0]])
    x = ln.constant(np.array([1.0, 1.0]))
    with ln.no_grad():
        frozen = w.T
    free = w.T
    assert frozen is not free
    (frozen @ x).sum().backward()
    assert not w.has_gradient()
    ((free @ x) + (frozen @ x)).sum().backward()
    assert w.gradient().tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_backward_under_no_grad_is_an_error() -> None:
    w = weights(2)
    with ln.no_grad():
        loss = (w * w).sum()
    with pytest.raises(ln.GradientError, match="no_grad"):
        loss.backward()


def test_frozen_parameters_get_none() -> None:
    w, v = weights(2, init=2.0), weights(2, init=3.0)
    w.trainable = False
    (w * v).sum().backward()
    assert v.gradient().tolist() == [2.0, 2.0]
    with pytest.raises(ln.GradientError, match="frozen"):
        w.gradient()
    w.trainable = True
    (w * v).sum().backward()
    assert w.gradient().tolist() == [3.0, 3.0]


def test_what_needs_no_gradient_is_not_differentiated() -> None:
    w = weights(2)
    x = ln.constant(np.ones(2))
    y = Double()(x)
    (w * y).sum().backward()
    assert [name for name, _, _ in LOG] == ["forward"]


# What other rows may not do


SEGMENTED: dict[str, Callable[[Any], Any]] = {
    "sum_batch": ln.sum_batch,
    "mean_batch": ln.mean_batch,
    "max_batch": ln.max_batch,
    "min_batch": ln.min_batch,
    "logsumexp_batch": ln.logsumexp_batch,
    "std_batch": ln.std_batch,
    "norm_batch": ln.norm_batch,
    "squared_norm_batch": ln.squared_norm_batch,
    "cumsum_batch": lambda x: ln.sum_batch(ln.cumsum_batch(x)),
    "softmax_batch": lambda x: ln.sum_batch(ln.softmax_batch(x) * x),
    "log_softmax_batch": lambda x: ln.sum_batch(ln.log_softmax_batch(x)),
}


def alone(build: Callable[[Any], Any], w: ln.Parameter, x: Any) -> Any:
    w.clear_gradient()
    build(x).backward()
    result = w.gradient()
    w.clear_gradient()
    return result


def beside(build: Callable[[Any], Any], w: ln.Parameter, xs: list[Any], which: int) -> Any:
    losses = [build(x) for x in xs]
    ln.values(losses)
    losses[which].backward()
    result = w.gradient()
    w.clear_gradient()
    return result


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, 1e300])
def test_an_infinity_in_another_loss_cannot_reach_shared_weights(bad: float) -> None:
    w = weights(2, 2)

    def build(x: Any) -> Any:
        h = ln.exp(w @ ln.constant(x))
        return (ln.log(h) * h + w.T @ h).sum()

    good = np.array([0.5, -0.25])
    expected = alone(build, w, good)
    assert np.isfinite(expected).all()
    xs = [np.array([bad, 1.0]), good, np.array([1.0, bad])]
    np.testing.assert_allclose(beside(build, w, xs, 1), expected, rtol=1e-12)


@pytest.mark.parametrize("name", SEGMENTED)
@pytest.mark.parametrize("lengths", [(3, 2, 4), (1, 1, 1), (2, 1, 3)])
def test_nor_through_segments(name: str, lengths: tuple[int, ...]) -> None:
    w = weights(2, init=[0.5, 1.5])

    def build(x: Any) -> Any:
        return SEGMENTED[name](w * ln.constant(x, batched=True)).sum()

    rng = np.random.default_rng(0)
    xs = [rng.standard_normal((n, 2)) for n in lengths]
    expected = alone(build, w, xs[1])
    xs[0][0, 0] = np.inf
    xs[2][-1, 1] = np.nan
    found = beside(build, w, xs, 1)
    if lengths == (1, 1, 1) and name in ("std_batch", "log_softmax_batch"):
        expected = np.nan_to_num(expected)
        found = np.nan_to_num(found)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("reduce", [ln.sum, ln.mean, ln.max], ids=["sum", "mean", "max"])
@pytest.mark.parametrize("batched", [False, True])
def test_nor_through_lists(reduce: Any, batched: bool) -> None:
    w = weights(2, init=[0.5, 1.5])

    def build(x: Any) -> Any:
        rows = [w * ln.constant(np.stack([r, r]) if batched else r, batched=batched) for r in x]
        total = reduce(rows)
        return (ln.sum_batch(total) if batched else total).sum()

    rng = np.random.default_rng(0)
    xs = [rng.standard_normal((n, 2)) for n in (3, 1, 4)]
    expected = alone(build, w, xs[1])
    xs[0][0, 0] = np.inf
    xs[2][2, 1] = np.nan
    np.testing.assert_allclose(beside(build, w, xs, 1), expected, rtol=1e-12)


def test_nor_through_dropout_masks_and_payload() -> None:
    """What forward kept and the payload are selected with the rows."""
    w = weights(4, init=1.0)

    def build(x: Any) -> Any:
        ln.seed(int(x[0]))
        h = ln.dropout(w * ln.constant(x), 0.5) * float(x[1])
        return ln.cross_entropy(h, int(x[2]))

    good = np.array([3.0, 0.5, 2.0, 1.0])
    expected = alone(build, w, good)
    xs = [np.array([1.0, np.inf, 0.0, 1.0]), good, np.array([2.0, 2.0, 1.0, np.inf])]
    np.testing.assert_allclose(beside(build, w, xs, 1), expected, rtol=1e-12)


def test_nor_through_earlier_evaluations() -> None:
    w = weights(2, init=[0.5, 1.5])
    hs = [ln.exp(w * ln.constant(np.array([v, 1.0]))) for v in (np.inf, 1.0, 800.0)]
    ln.values(hs)
    losses = [(h * h).sum() for h in hs]
    ln.values(losses)
    losses[1].backward()
    e = np.exp([0.5, 1.5])
    np.testing.assert_allclose(w.gradient(), 2 * e * e, rtol=1e-12)


# Parameters that change


def change_view(model: ln.Model, w: ln.Parameter) -> None:
    w.array[0] = 7.0


def change_all(model: ln.Model, w: ln.Parameter) -> None:
    w.array = np.array([7.0, 8.0])


def change_by_step(model: ln.Model, w: ln.Parameter) -> None:
    w.sum().backward()
    ln.optim.SGD(model, lr=0.1).step()


CHANGES = [
    change_view,
    change_all,
    change_by_step,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_parameter_changed_before_backward_is_an_error_that_names_it(change: Any) -> None:
    model = ln.Model(seed=0)
    w = model.parameter(2, init=[3.0, 4.0], name="gain")
    v = model.parameter(2, init=[1.0, 1.0], name="other")
    loss = (w * v * v).sum()
    loss.value()
    change(model, w)
    model.zero_gradients()
    with pytest.raises(ln.GradientError, match=r"/gain.*changed"):
        loss.backward()
    assert not w.has_gradient() and not v.has_gradient()
    (w * v).sum().backward()
    assert v.has_gradient()


def test_a_view_that_was_handed_out_before_is_noticed() -> None:
    model = ln.Model(seed=0)
    w = model.parameter(2, init=[3.0, 4.0], name="gain")
    view = w.array
    part = view[1:]
    for _ in range(3):
        loss = (w * w).sum()
        loss.backward()
        loss = (w * w).sum()
        loss.value()
        part += 1.0
        with pytest.raises(ln.GradientError, match="gain"):
            loss.backward()
    assert w.value().tolist() == [3.0, 7.0]


@pytest.mark.parametrize("change", CHANGES)
def test_but_only_if_its_value_is_read(change: Any) -> None:
    model = ln.Model(seed=0)
    w = model.parameter(2, init=[3.0, 4.0])
    loss = (w + ln.constant([1.0, 2.0])).sum() + (w.reshape(2, 1)).sum()
    loss.value()
    change(model, w)
    model.zero_gradients()
    loss.backward()
    assert w.gradient().tolist() == [2.0, 2.0]


def test_a_changed_parameter_that_the_loss_does_not_need() -> None:
    w, v = weights(2, init=1.0), weights(2, init=2.0)
    a, b = (w * w).sum(), (v * v).sum()
    ln.values([a, b])
    w.array = [5.0, 5.0]
    b.backward()
    assert v.gradient().tolist() == [4.0, 4.0]


# Products


def test_the_gradient_of_a_shared_weight_is_one_product() -> None:
    w = weights(3, 3)
    losses = []
    rng = np.random.default_rng(0)
    rows = 0
    for length in (4, 2, 5):
        h = ln.constant(rng.standard_normal(3))
        for _ in range(length):
            h = ln.tanh(Apply()(w, h))
            rows += 1
        losses.append((h * h).sum())
    ln.backward(losses)
    products = [n for name, n, needs in LOG if needs[0]]
    assert products == [rows]
    together = w.gradient()
    w.clear_gradient()
    with ln.no_autobatch():
        for loss in losses:
            loss.backward()
    np.testing.assert_allclose(w.gradient(), together, rtol=1e-10)


def test_only_rows_of_this_loss_are_in_the_product() -> None:
    w = weights(3, 3)
    losses = []
    for length in (4, 2):
        h = ln.constant(np.ones(3))
        for _ in range(length):
            h = ln.tanh(Apply()(w, h))
        losses.append((h * h).sum())
    ln.values(losses)
    losses[1].backward()
    assert [n for _, n, needs in LOG if needs[0]] == [2]


def test_a_shared_operation_is_computed_and_differentiated_once() -> None:
    w = weights(2, 2)
    shared = [Double()(w) for _ in range(3)]
    assert len({id(s.tape) for s in shared}) == 1 and len({s.index for s in shared}) == 1
    xs = [ln.constant(np.array([float(k), 1.0])) for k in range(3)]
    ys = [ln.tanh(s @ x) for s, x in zip(shared, xs)]
    ys = [ln.tanh(s @ y) for s, y in zip(shared, ys)]
    ln.sum(ys).sum().backward()
    assert LOG == [("forward", 1, ()), ("backward", 1, (True,))]
    found = w.gradient()
    w.clear_gradient()
    ln.sum([ln.tanh(w @ (ln.tanh(w @ (x * 2.0)) * 2.0)) for x in xs]).sum().backward()
    np.testing.assert_allclose(found, w.gradient(), rtol=1e-12)


def test_a_transpose_has_one_gradient() -> None:
    w = weights(2, 2, init=[[1.0, 2.0], [3.0, 4.0]])
    t = w.T
    loss = (t @ np.array([1.0, 0.0])).sum() + (w.T @ np.array([0.0, 1.0])).sum()
    loss.backward()
    assert t.gradient().tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert w.gradient().tolist() == [[1.0, 1.0], [1.0, 1.0]]


# Several results


@dataclass(frozen=True)
class Halves(ln.Op):
    """a, b = x^2, exp(x)"""

    reads_y = True

    def shape(self, *shapes: Any) -> Any:
        return [shapes[0], shapes[0]]

    def forward(self, call: ln.Call, *args: Any) -> Any:
        return args[0] ** 2, np.exp(args[0])

    def backward(self, call: ln.Call, dy: Any, y: Any, *args: Any) -> Any:
        return 2 * args[0] * dy[0] + y[1] * dy[1]


@pytest.mark.parametrize("use", [0, 1, 2])
@pytest.mark.parametrize("rows", [1, 3])
def test_several_results_with_some_unused(use: int, rows: int) -> None:
    data = np.random.default_rng(0).standard_normal((rows, 2))
    xs = [ln.constant(row) for row in data]
    parts = []
    for x in xs:
        a, b = Halves()(x)
        parts.append((a, b, a + b)[use].sum())
    ln.sum(parts).backward()
    expected = [2 * data, np.exp(data), 2 * data + np.exp(data)][use]
    for x, gradient in zip(xs, expected):
        np.testing.assert_allclose(x.gradient(), gradient)


def test_gradient_of_an_unused_result_is_an_error_or_zero() -> None:
    w = weights(2)
    a, b = Halves()(w * 1.0)
    a.sum().backward()
    assert a.gradient().tolist() == [1.0, 1.0]
    with pytest.raises(ln.GradientError):
        b.gradient()


def test_results_of_different_widths_and_rows_used_apart() -> None:
    @dataclass(frozen=True)
    class Ends(ln.Op):
        """first entry, last two"""

        reads_args = False
        reads_y = False

        def shape(self, *shapes: Any) -> Any:
            return [(), (2,)]

        def forward(self, call: ln.Call, *args: Any) -> Any:
            return args[0][:, 0], args[0][:, -2:]

        def backward(self, call: ln.Call, dy: Any, y: Any, *args: Any) -> Any:
            return np.concatenate([dy[0][:, None], dy[1]], axis=1)

    x = ln.constant(np.arange(9.0).reshape(3, 3), batched=True)
    first, rest = Ends()(x)
    assert first.value().tolist() == [0.0, 3.0, 6.0]
    loss = ln.sum_batch(first * 2.0) + ln.unbatch(rest)[1].sum()
    loss.backward()
    assert x.gradient().tolist() == [[2.0, 0.0, 0.0], [2.0, 1.0, 1.0], [2.0, 0.0, 0.0]]


# Refused


def test_only_scalars_of_a_single_row() -> None:
    x = ln.constant(np.ones((2, 2)))
    with pytest.raises(ln.ShapeError, match=r"backward: got \(2, 2\).*scalar"):
        x.backward()
    with pytest.raises(ln.ShapeError, match="batch"):
        ln.constant(np.ones(3), batched=True).backward()
    for wrong in ([], 3, None, "loss", x.sum(), [None], [1.0]):
        with pytest.raises(ln.ArgumentError, match="backward"):
            ln.backward(wrong)  # type: ignore[arg-type]


def test_higher_derivatives_are_refused() -> None:
    x = ln.constant(np.array([1.0, 2.0]))
    (x * x * x).sum().backward()
    with pytest.raises(ln.ArgumentError, match="second derivative"):
        ln.backward([x.gradient()])


def test_a_gradient_that_the_optimiser_made_impossible() -> None:
    model = ln.Model(seed=0)
    w = model.parameter(2, init=1.0)
    x = ln.constant([1.0, 2.0])
    inner = w * x
    loss = (inner * inner).sum()
    loss.backward()
    ln.optim.SGD(model, lr=0.1).step()
    assert inner.gradient().tolist() == [2.0, 4.0]
    with pytest.raises(ln.GradientError, match="before the optimiser's step"):
        x.gradient()


def test_the_gradient_of_an_input_needs_the_loss_to_live() -> None:
    w = weights(2, init=1.0)
    x = ln.constant(np.ones(2))
    x.value()
    loss = (w * x).sum()
    loss.backward()
    del loss
    with pytest.raises(ln.GradientError, match="gone"):
        x.gradient()


def test_gradient_through_evaluations_that_only_point_at_rows() -> None:
    w = weights(2, init=[1.0, 2.0])
    h = w * ln.constant(np.array([3.0, 4.0]))
    h.value()
    both = ln.rebatch([h, h])
    both.value()
    row = ln.unbatch(both)[1]
    row.value()
    with ln.no_grad():
        side = h * 2.0
    ln.values([side, ln.rebatch([row, h])])
    (row * row).sum().backward()
    assert w.gradient().tolist() == [18.0, 64.0]


def test_stop_gradient_of_what_was_computed_lets_the_history_go() -> None:
    x = ln.constant([1.0, 2.0])
    y = x * 2
    assert "not evaluated" in repr(ln.stop_gradient(y))
    y.value()
    stopped = ln.stop_gradient(y)
    assert stopped.value().tolist() == [2.0, 4.0]
    assert stopped.tape is not y.tape and not stopped.tape.imports


def test_a_parameter_of_size_zero_has_a_gradient_of_size_zero() -> None:
    model = ln.Model()
    nothing = model.parameter(0, init=0.0)
    xs = [ln.constant([1.0, 2.0]), ln.constant([3.0, 4.0])]
    ln.sum([ln.concatenate([nothing, x]).sum() for x in xs]).backward()
    assert nothing.gradient().shape == (0,)
