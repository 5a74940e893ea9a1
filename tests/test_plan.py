"""`ln.plan`: what it takes, and what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy


def vectors(n: int) -> list[ln.Expression]:
    return [ln.constant(np.full(3, k, "float32")) for k in range(n)]


@pytest.mark.parametrize("given", [None, 3, "loss", ["loss"], np.zeros(3), {"loss": 1}])
def test_no_expression(given: Any) -> None:
    with pytest.raises(ln.ArgumentError, match=r"^plan: got .*; it takes an expression or a list"):
        ln.plan(given)


def test_expressions_of_dynet() -> None:
    dy.renew_cg()
    W = dy.ParameterCollection().add_parameters((3, 3))
    y = dy.tanh(W * dy.inputVector([1, 2, 3]))
    for given in (y, [y]):
        assert [b.op for b in ln.plan(given).batches] == ["input", "matmul", "tanh"]


def test_what_is_computed_has_no_plan_and_is_told_of() -> None:
    x = ln.tanh(vectors(1)[0])
    x.value()
    plan = ln.plan(x)
    assert len(plan) == plan.nodes == 0
    assert str(plan) == (
        "Nothing is left to compute. ln.explain and ln.draw show how it was computed."
    )
    assert "no expressions were given" in str(ln.plan([]))
    assert "parameters are read" in str(ln.plan(ln.Model(seed=0).parameter(2)))
    assert ln.plan(x * 2).note == ""


def test_the_heading() -> None:
    loss = ln.sum([ln.tanh(x) for x in vectors(1200)])
    assert ln.plan(loss).head() == (
        "3 batches for 2,401 nodes (lower bound 3, 800.3 nodes a batch)"
    )
    assert ln.plan(vectors(1)).head().startswith("1 batch for 1 node (")
    assert repr(ln.plan(vectors(1))).startswith("<Plan: 1 batch for 1 node; ")


def test_without_batching_the_bound_is_that_of_batches() -> None:
    loss = ln.sum([ln.tanh(x) for x in vectors(5)])
    with ln.no_autobatch():
        plan = ln.plan(loss)
        assert len(plan) == 11 and plan.lower_bound == 3
        assert "(batching is off; lower bound 3," in plan.head()
        loss.value()
    for picture in (ln.draw(loss), ln.draw(ln.tanh(loss))):
        assert "Batching is off (ln.no_autobatch)" in picture.svg
    assert "in 11 batches (lower bound 3)" in repr(ln.draw(loss))
