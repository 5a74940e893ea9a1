"""`ln.debug`: whatever fails says at which line the very expression was recorded, and why."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import lazynet as ln
from lazynet.routine import SEEN


def here(offset: int = 0) -> str:
    """``file:line`` of the caller, as it stands in messages."""
    frame = sys._getframe(1)
    return f"test_debug.py:{frame.f_lineno + offset}"


@dataclass(frozen=True)
class Picky(ln.Op):
    """y = 2 x; too large values fail."""

    forward_limit: float = 5.0
    backward_limit: float = 1e9

    def shape(self, *shapes: Any) -> Any:
        return shapes[0]

    def forward(self, call: Any, *args: Any) -> Any:
        if (args[0] > self.forward_limit).any():
            raise ValueError("too large")
        return args[0] * 2

    def backward(self, call: Any, dy: Any, y: Any, *args: Any) -> Any:
        if (args[0] > self.backward_limit).any():
            raise KeyError("no gradient")
        return dy * 2


def test_forward_names_the_node_of_a_batch_that_failed() -> None:
    with ln.debug():
        a = Picky()(ln.constant([1.0]))
        b, line = Picky()(ln.constant([7.0])), here()
        c = Picky()(ln.constant([2.0]))
    with pytest.raises(ln.EvaluationError, match=f"{line}: ValueError: too large") as info:
        ln.values([a, b, c])
    assert isinstance(info.value.__cause__, ValueError)
    assert ln.values([a, c]) == [2.0, 4.0]


def test_forward_names_the_node_among_batched_ones() -> None:
    with ln.debug():
        a = Picky()(ln.constant([[1.0], [2.0]], batched=True))
        b, line = Picky()(ln.constant([[1.0], [7.0]], batched=True)), here()
    with pytest.raises(ln.EvaluationError, match=line):
        ln.values([a, b])


def test_backward_names_the_line_and_keeps_the_cause() -> None:
    op = Picky(1e9, 3.0)
    w = ln.Model().parameter(2, init=4.0)
    with ln.debug():
        y, line = op(w * 1.0), here()
    with pytest.raises(ln.EvaluationError, match=rf"backward: picky.*{line}: KeyError") as info:
        y.sum().backward()
    assert isinstance(info.value.__cause__, KeyError)
    assert not w.has_gradient()


def test_backward_lists_the_lines_of_a_batch() -> None:
    op = Picky(1e9, 3.0)
    w = ln.Model().parameter(1, init=1.0)
    with ln.debug():
        a, first = op(w * 1.0), here()
        b, second = op(w * 9.0), here()
    with pytest.raises(ln.EvaluationError, match=rf"one of 2 nodes.*{first}.*{second}"):
        ln.sum([a, b]).sum().backward()


def test_a_gradient_of_the_wrong_shape() -> None:
    class Wrong(ln.Op):
        def shape(self, *shapes: Any) -> Any:
            return shapes[0]

        def forward(self, call: Any, *args: Any) -> Any:
            return args[0]

        def backward(self, call: Any, dy: Any, y: Any, *args: Any) -> Any:
            return np.ones((len(dy), 7))

    w = ln.Model().parameter(2)
    with ln.debug():
        y, line = Wrong()(w * 1.0), here()
    with pytest.raises(ln.EvaluationError, match=rf"backward: wrong.*{line}"):
        y.sum().backward()


@pytest.mark.parametrize("backward", [False, True])
def test_inside_a_fused_function(backward: bool) -> None:
    op = Picky(1e9, 3.0) if backward else Picky()
    W = ln.Model(seed=0).parameter((2, 2), init=1.0)

    @ln.fuse
    def cell(x: Any) -> Any:
        h = ln.relu(W @ x)
        return op(h)

    inside = here(-2)
    xs = [ln.constant([1.0, float(k)]) for k in range(8)]
    with ln.debug():
        ys, outside = [cell(x) for x in xs], here()
    loss = ln.sum([y.sum() for y in ys])
    pattern = rf"picky.*{inside}, inside .*cell.*{outside}"
    with pytest.raises(ln.EvaluationError, match=pattern) as info:
        loss.backward()
    assert isinstance(info.value.__cause__, KeyError if backward else ValueError)


def test_inside_a_scan_with_the_step() -> None:
    def cell(x: Any, h: Any) -> Any:
        h = Picky()(x + h)
        return h, h

    inside = here(-3)
    with ln.debug():
        ys, _ = ln.scan(cell, ln.constant([[1.0], [2.0], [3.0]], batched=True), np.zeros(1))
        outside = here(-1)
    with pytest.raises(ln.EvaluationError, match=rf"{inside}, at step 2 .*{outside}"):
        ys.value()


def test_printed_backward_names_the_operation() -> None:
    W = ln.Model(seed=0).parameter((2, 2), init=0.1)
    op = Picky(1e9, 3.0)

    def build() -> Any:
        return op(W @ ln.constant([1.0, 2.0])).sum()

    for _ in range(SEEN + 4):
        build().backward()
    W.array = np.full((2, 2), 9.0)
    with pytest.raises(ln.EvaluationError, match=r"backward: picky\(\(2,\)\) x 1 rows.*KeyError"):
        build().backward()


@pytest.mark.parametrize("backward", [False, True])
def test_what_is_computed_from_parameters_alone(backward: bool) -> None:
    w = ln.Model().parameter(2, init=6.0)
    op = Picky(1e9, 3.0) if backward else Picky()
    with ln.debug():
        y, line = op(w), here()
    with pytest.raises(ln.EvaluationError, match=rf"picky.*{line}"):
        (y * ln.constant([1.0, 2.0])).sum().backward()


def test_out_of_memory_names_the_largest() -> None:
    with ln.debug():
        y, line = ln.broadcast_to(ln.constant([1.0]), (1 << 45,)), here()
    with pytest.raises(ln.OutOfMemoryError, match=rf"GB.*broadcast_to.*{line}"):
        y.value()


def test_memory_that_an_operation_asks_for() -> None:
    class Greedy(ln.Op):
        def shape(self, *shapes: Any) -> Any:
            return shapes[0]

        def forward(self, call: Any, *args: Any) -> Any:
            return args[0]

        def backward(self, call: Any, dy: Any, y: Any, *args: Any) -> Any:
            raise MemoryError("all gone")

    w = ln.Model().parameter(2)
    with ln.debug():
        y, line = Greedy()(w * 1.0), here()
    with pytest.raises(ln.OutOfMemoryError, match=rf"{line}: all gone; evaluate fewer"):
        y.sum().backward()


def test_errors_of_the_library_keep_their_type() -> None:
    class Refuses(ln.Op):
        def shape(self, *shapes: Any) -> Any:
            return shapes[0]

        def forward(self, call: Any, *args: Any) -> Any:
            raise ln.RangeError("out of it")

    with ln.debug():
        y, line = Refuses()(ln.constant([1.0])), here()
    with pytest.raises(ln.RangeError, match=rf"refuses.*{line}: out of it"):
        y.value()


def test_an_error_class_that_is_made_otherwise() -> None:
    class Special(ln.LazynetError):
        def __init__(self, a: int, b: int) -> None:
            super().__init__(f"{a} and {b}")

    class Refuses(ln.Op):
        def shape(self, *shapes: Any) -> Any:
            return shapes[0]

        def forward(self, call: Any, *args: Any) -> Any:
            raise Special(1, 2)

    with pytest.raises(ln.EvaluationError, match="1 and 2") as info:
        Refuses()(ln.constant([1.0])).value()
    assert isinstance(info.value.__cause__, Special)


def test_a_bad_index_is_an_error_where_it_is_recorded() -> None:
    table = ln.Model().lookup(5, 3, name="words")
    with pytest.raises(ln.RangeError, match="/words: got index 7"):
        table[7]
    with pytest.raises(ln.ShapeError):
        ln.constant([1.0, 2.0]) + ln.constant([1.0, 2.0, 3.0])


# Gradients that are not finite, at the optimiser's step


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("sparse", ["lazy", "exact"])
@pytest.mark.usefixtures("device")
def test_the_step_names_parameter_and_row(clip: float | None, sparse: str) -> None:
    model = ln.Model()
    model.parameter(2, init=1.0, name="fine")
    table = model.lookup(5, 3, init="zeros", name="words")
    opt = ln.optim.Adam(model, lr=0.1, clip=clip, sparse=sparse)
    (ln.sqrt(table[3]).sum() + table[1].sum() + model["fine"].sum()).backward()
    with pytest.raises(ln.GradientError, match=r"/words holds NaN or infinity in row 3;"):
        opt.step()
    assert not table.value().any()


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.usefixtures("device")
def test_the_step_names_a_dense_parameter(clip: float | None) -> None:
    model = ln.Model()
    model.parameter(2, init=1.0, name="fine")
    w = model.parameter(2, init=0.0, name="w")
    opt = ln.optim.SGD(model, lr=0.1, clip=clip)
    (ln.sqrt(w * 1.0).sum() + model["fine"].sum()).backward()
    with pytest.raises(ln.GradientError, match=r"/w holds NaN or infinity;.*detect_anomaly"):
        opt.step()
