"""`ln.detect_anomaly`: the first node that is NaN or infinite, its line, and what it got."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lazynet as ln
from lazynet.modes import MODES
from lazynet.routine import SEEN

pytestmark = pytest.mark.usefixtures("device")


def here(offset: int = 0) -> str:
    """``file:line`` of the caller, as it stands in messages."""
    frame = sys._getframe(1)
    return f"test_anomaly.py:{frame.f_lineno + offset}"


def anomaly(run: Callable[[], Any], **options: Any) -> str:
    """The message of the error that this raises."""
    with pytest.raises(ln.AnomalyError) as info, ln.detect_anomaly(**options):
        run()
    assert isinstance(info.value, FloatingPointError)
    return str(info.value)


def set_values(p: Any, index: Any, value: float) -> None:
    array = np.array(p.value())
    array[index] = value
    p.array = array


# Values


def test_log_of_a_negative_names_node_line_and_argument() -> None:
    def run() -> None:
        xs = [ln.constant([1.0, 2.0]) * k for k in (1.0, -2.0, 3.0)]
        ln.values([ln.log(x) + 1.0 for x in xs])

    text = anomaly(run)
    assert text.startswith("log((2,)) made NaN of finite arguments, recorded at")
    assert here(-4) in text and "number 1 of the 3 nodes" in text
    assert "2 NaN of 2; the first is nan at [0]" in text
    assert f"multiply_number((2,)), recorded at {__file__}" in text
    assert "all finite: min -4, max -2, mean -3" in text


def test_zero_by_zero_and_division_by_a_number() -> None:
    x = [0.0, 1.0]
    assert "divide((2,), (2,)) made NaN" in anomaly(
        lambda: (ln.constant(x) / ln.constant([0.0, 2.0])).value()
    )
    assert re.search(
        r"divide_number\(\(2,\)\) made inf of.*with the number 0\.0",
        anomaly(lambda: (ln.constant([2.0, 1.0]) / 0.0).value()),
    )


def test_overflow_of_exp() -> None:
    text = anomaly(lambda: ln.exp(ln.constant([1.0, 1000.0])).value())
    assert "exp((2,)) made inf" in text and "the first is inf at [1]; the others: 2.71828" in text


def test_of_a_row_of_a_batch() -> None:
    x = ln.constant([[1.0], [2.0], [-1.0], [3.0]], batched=True)
    text = anomaly(lambda: ln.log(x * 1.0).value())
    assert "row 2 of its result" in text and "all finite: -1" in text


def test_nan_in_an_input_is_that_inputs() -> None:
    def run() -> None:
        x = ln.constant([[1.0, 2.0], [np.nan, 1.0]], batched=True)
        (x * 2.0).value()

    text = anomaly(run)
    assert text.startswith("an input holds NaN, recorded at") and here(-4) in text
    assert "row 1 of its rows" in text


def test_positive_infinity_in_an_input_counts_and_a_mask_does_not() -> None:
    assert "an input holds inf" in anomaly(lambda: (ln.constant([np.inf]) * 2.0).value())
    with ln.detect_anomaly():
        masked = ln.constant([1.0, 2.0]) + ln.constant([0.0, -np.inf])
        assert ln.softmax(masked).value().tolist() == [1.0, 0.0]
        assert ln.max(masked).value() == 1.0
        found = ln.restricted_log_softmax(ln.constant([1.0, 2.0, 3.0]), [0, 2]).value()
        assert np.isneginf(found[1])
    text = anomaly(lambda: ((ln.constant([2.0]) + ln.constant([-np.inf])) * 0.0).value())
    assert "multiply_number((1,)) made NaN of arguments that are not finite (add" in text


def test_without_infinities() -> None:
    with ln.detect_anomaly(infinities=False):
        assert ln.log(ln.constant([0.0])).value() == -np.inf
    assert "made NaN" in anomaly(lambda: ln.log(ln.constant([-1.0])).value(), infinities=False)
    assert "log((1,)) made -inf" in anomaly(lambda: ln.log(ln.constant([0.0])).value())
    with (
        pytest.raises(ln.SettingError, match="infinities=2"),
        ln.detect_anomaly(
            infinities=2  # type: ignore[arg-type]
        ),
    ):
        pass


def test_nan_in_a_parameter_is_named() -> None:
    W = ln.Model(seed=0).parameter((2, 3), name="W")
    set_values(W, (0, 1), np.nan)
    text = anomaly(lambda: (W @ ln.constant([1.0, 2.0, 3.0])).value())
    assert "made NaN of arguments that are not finite (parameter '/W')" in text
    assert "parameter '/W': shape (2, 3), 1 NaN of 6; the first is nan at [0, 1]" in text
    text = anomaly(lambda: (W.T @ ln.constant([1.0, 2.0])).value())
    assert "transpose" in text and "parameter '/W'" in text


def test_a_table_counts_where_it_is_looked_up() -> None:
    table = ln.Model(seed=0).lookup(5, 3, name="words")
    set_values(table, 3, np.nan)
    with ln.detect_anomaly():
        ln.values([table[0], table[4]])
    text = anomaly(lambda: ln.values([table[0], table[3]]))
    assert "parameter '/words'" in text and "with the index 3" in text and "[3, 0]" in text


def test_what_was_computed_or_recorded_before_the_block() -> None:
    x = ln.log(ln.constant([-1.0]))
    y = ln.log(ln.constant([-1.0])) * 3.0
    x.value()
    assert "computed before" in anomaly(lambda: (x * 2.0).value())
    assert "outside the block" in anomaly(lambda: y.value())


def test_nothing_is_evaluated_and_all_is_as_before_afterwards() -> None:
    x = ln.log(ln.constant([-1.0]))
    anomaly(lambda: x.value())
    assert "not evaluated" in repr(x)
    assert MODES.get().anomaly == 0 and not MODES.get().debug
    assert np.isnan(x.value())


def test_the_first_in_the_order_of_computation() -> None:
    def run() -> None:
        a = ln.log(ln.constant([-1.0]))
        b = ln.sqrt(a + 1.0)
        ln.exp(b).value()

    text = anomaly(run)
    assert text.startswith("log") and here(-5) in text


def test_graphs_that_ran_as_printed_code_are_checked() -> None:
    w = ln.Model().parameter(2, init=4.0, name="w")

    def build() -> Any:
        return ln.sqrt(w * 1.0).sum()

    for _ in range(SEEN + 4):
        build().backward()
    set_values(w, 0, 0.0)
    before = build()
    assert "backward: sqrt" in anomaly(lambda: before.backward())


# Gradients


def test_square_root_at_zero() -> None:
    w = ln.Model().parameter(2, init=np.array([0.0, 4.0]), name="w")

    def run() -> None:
        ys = [ln.sqrt(w * k) for k in (1.0, 2.0)]
        ln.sum([y.sum() for y in ys]).backward()

    text = anomaly(run)
    assert text.startswith("backward: sqrt((2,)) made inf of a finite gradient, recorded at")
    assert here(-5) in text and "1 infinite of 2; the first is inf at [0]" in text
    assert "gradient that reached it: shape (2,), all finite: min 1" in text
    assert not w.has_gradient()


def test_gradients_that_add_up_to_infinity() -> None:
    w = ln.Model().parameter(1, init=1e-30, name="w")

    def run() -> None:
        x = w * 1.0
        ln.sum([x * 3e38, x * 3e38]).sum().backward()

    text = anomaly(run)
    assert "multiply_number((1,))" in text and "add up to inf" in text


def test_gradients_of_a_weight_that_overflow() -> None:
    W = ln.Model().parameter((1, 1), init=1e-30, name="W")

    def run() -> None:
        ln.sum([(W @ ln.constant([3e38])) * k for k in (1.0, 2.0)]).sum().backward()

    text = anomaly(run)
    assert "matmul((1, 1), (1,)) made inf in the gradient of parameter '/W'" in text


def test_only_what_is_needed_counts() -> None:
    w = ln.Model().parameter(1, init=1.0, name="w")
    with ln.detect_anomaly():
        (ln.sqrt(ln.constant([0.0])) * w).sum().backward()
    assert w.gradient().tolist() == [0.0]


# Inside fused functions and scans


def test_inside_a_fused_function() -> None:
    W = ln.Model().parameter((2, 2), init=1.0, name="W")

    @ln.fuse
    def head(x: Any, c: int) -> Any:
        z = W @ x
        z = ln.log(z)
        return ln.cross_entropy(z * 2.0, c)

    inside = here(-3)

    def run() -> None:
        ln.mean([head(ln.constant([1.0, k]), 1) for k in (1.0, 2.0, -3.0)]).value()

    text = anomaly(run)
    assert text.startswith("log((2,)) made NaN of finite arguments, line") and inside in text
    assert re.search(r"inside .*head, recorded at .*number 2 of the 3 nodes", text)
    assert "matmul((2, 2), (2,)), line" in text and "min -2, max -2" in text


def test_an_argument_of_a_fused_function_and_its_parameter() -> None:
    b = ln.Model().parameter(2, init=0.0, name="b")

    @ln.fuse
    def f(x: Any) -> Any:
        return ln.log(x) + b

    text = anomaly(lambda: f(ln.constant([1.0, -1.0])).value())
    assert "the input (2,), recorded at" in text
    set_values(b, 0, np.nan)
    assert "parameter '/b'" in anomaly(lambda: f(ln.constant([1.0, 1.0])).value())


def test_fused_rows_of_a_batch_with_classes_and_dropout() -> None:
    @ln.fuse
    def f(x: Any, classes: Any) -> Any:
        return ln.pick(ln.log(ln.dropout(x, 0.5)), classes)

    ln.seed(5)
    x = np.ones((4, 3), np.float32)
    x[2] = -1.0
    text = anomaly(lambda: f(ln.constant(x, batched=True), [0, 1, 2, 0]).value(), infinities=False)
    assert text.startswith("log((3,)) made NaN") and "dropout((3,))" in text
    dropped = np.array(  # the same numbers as the batch has
        [[float(v) for v in row] for row in _dropout_rows(x)]
    )
    least = dropped[2].min()
    assert f"min {least:.6g}" in text


def _dropout_rows(x: Any) -> Any:
    ln.seed(5)
    return ln.dropout(ln.constant(x, batched=True), 0.5).value()


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_names_step_and_example(reverse: bool) -> None:
    W = ln.Model(seed=1).parameter((3, 3), name="W")

    def cell(x: Any, h: Any) -> Any:
        h = ln.tanh(W @ h + ln.log(x))
        return h, h

    inside = here(-3)

    def run() -> None:
        results = []
        for example in range(5):
            xs = np.full((9 + example, 3), 2.0, np.float32)
            if example == 3:
                xs[7, 1] = -1.0
            sequence = ln.constant(xs, batched=True)
            _, h = ln.scan(cell, sequence, np.zeros(3), reverse=reverse)
            results.append(h.sum())
        ln.mean(results).value()

    text = anomaly(run)
    assert text.startswith("log((3,)) made NaN") and inside in text
    assert "at step 7 of the sequence" in text and "number 3 of the 5 nodes" in text
    assert "row 7 of the sequence: shape (3,), all finite: min -1" in text


@pytest.mark.parametrize("reverse", [False, True])
def test_backward_through_a_scan_names_step_and_example(reverse: bool) -> None:
    W = ln.Model(seed=1).parameter((3, 3), init=0.1, name="W")

    def cell(x: Any, h: Any) -> Any:
        h = ln.tanh(W @ h) + ln.sqrt(x * W[0])
        return h, h

    inside = here(-3)

    def run() -> None:
        results = []
        for example in range(5):
            xs = np.full((9 + example, 3), 2.0, np.float32)
            if example == 3:
                xs[7, 1] = 0.0
            sequence = ln.constant(xs, batched=True)
            _, h = ln.scan(cell, sequence, np.zeros(3), reverse=reverse)
            results.append(h.sum())
        ln.mean(results).backward()

    text = anomaly(run)
    assert text.startswith("backward: sqrt((3,)) made inf") and inside in text
    assert "at step 7 of the sequence" in text and "number 3 of the 5 nodes" in text
    assert not W.has_gradient()


def test_backward_inside_a_fused_function() -> None:
    b = ln.Model().parameter(2, init=0.0, name="b")

    @ln.fuse
    def f(x: Any) -> Any:
        y = ln.sqrt(x + b)
        return y.sum()

    inside = here(-3)

    def run() -> None:
        ln.mean([f(ln.constant([1.0, k])) for k in (1.0, 0.0, 2.0)]).backward()

    text = anomaly(run)
    assert text.startswith("backward: sqrt((2,)) made inf") and inside in text
    assert "number 1 of the 3 nodes" in text and "gradient of add((2,), (2,))" in text


def test_training_that_is_sound_is_the_same() -> None:
    def train() -> list[float]:
        model = ln.Model(seed=3)
        table = model.lookup(9, 4, name="words")
        lstm = ln.nn.LSTM(model, 4, 5)
        head = ln.nn.Linear(model, 5, 3)
        opt = ln.optim.SGD(model, lr=0.1, clip=1.0)
        losses = []
        for k in range(3):
            total = []
            for n in (2, 4, 3):
                _, (h, _) = lstm(table[[(k + j) % 9 for j in range(n)]])
                total.append(ln.cross_entropy(head(ln.dropout(h, 0.2)), n % 3))
            loss = ln.mean(total)
            loss.backward()
            opt.step()
            losses.append(float(loss.value()))
        return losses

    ln.seed(0)
    expected = train()
    ln.seed(0)
    with ln.detect_anomaly():
        assert train() == pytest.approx(expected, rel=1e-6)


def test_backward_of_what_rests_on_parameters_alone() -> None:
    w = ln.Model(seed=0).parameter(2, init="zeros", name="w")
    with ln.detect_anomaly():
        total = ln.sqrt(ln.square(w)).sum()
        with pytest.raises(ln.AnomalyError) as caught:
            total.backward()
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("backward: sqrt((2,)) made inf of a finite gradient, ")
    assert here(-5) in lines[0]
    assert "  gradient of square((2,))" in lines[1] and "2 infinite of 2" in lines[1]
    assert "gradient that reached it" in lines[2] and "mean 1" in lines[2]
    assert "its result" in lines[3] and "all finite" in lines[4]
