"""What update rules do, as programs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lazynet as ln
from lazynet.optim.trace import Trace, Untraceable, trace

RULES = ("SGD", "Adagrad", "Adadelta", "RMSProp", "Adam", "AdamW", "AMSGrad")
FLOAT = np.dtype(np.float32)


def run(found: Trace, arrays: dict[str, Any]) -> dict[str, Any]:
    """The results of a program, computed step by step."""
    given = {**arrays, **{f"n{i}": np.float32(n) for i, n in enumerate(found.numbers)}}
    values: list[Any] = []
    for step in found.steps:
        operands = [values[k] for k in step.operands]
        if step.operation == "name":
            values.append(given[str(step.value)])
        else:
            values.append(getattr(np, step.operation)(*operands))
    return {name: values[at] for name, at in found.results}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1}])
def test_the_program_of_a_rule_does_what_the_rule_does(name: str, settings: Any) -> None:
    model = ln.Model()
    opt = getattr(ln.optim, name)(model, lr=0.1, **settings)
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((2, 50)).astype(FLOAT)
    state = {slot: rng.random(50).astype(FLOAT) for slot in opt.slots}
    found = trace(
        lambda x, g, state: opt._update(x, g, state, 0.1, 1.0, 3), {s: s for s in state}, FLOAT
    )
    results = run(found, {"x": x, "g": g, **state})
    assert set(results) == {"x", *state}
    opt._update(x, g, state, 0.1, 1.0, 3)
    for key, array in {"x": x, **state}.items():
        np.testing.assert_array_equal(results[key], array, err_msg=key)


def test_numbers_are_no_part_of_the_program() -> None:
    opt = ln.optim.Adam(ln.Model())
    slots = {"first_moment": "s0", "second_moment": "s1"}
    one, two = (
        trace(lambda x, g, s, t=t: opt.update(x, g, s, 0.1 / t, t), slots, FLOAT) for t in (1, 2)
    )
    assert (one.steps, one.results) == (two.steps, two.results)
    assert one.numbers != two.numbers


def overwrites(x: Any, g: Any, slots: Any) -> None:
    y = x.copy()
    x[...] = 2.0
    x *= g
    x += y
    g.fill(0)


def test_copies_and_assignments_are_in_order() -> None:
    x, g = np.arange(3, dtype=FLOAT), np.full(3, 5, FLOAT)
    results = run(trace(overwrites, {}, FLOAT), {"x": x, "g": g})
    assert results["x"].tolist() == [10, 11, 12]


@pytest.mark.parametrize(
    "rule",
    [
        lambda x, g, s: x.sum(),
        lambda x, g, s: np.sum(x),
        lambda x, g, s: np.add.reduce(x),
        lambda x, g, s: x[0],
        lambda x, g, s: x.__setitem__(0, 1.0),
        lambda x, g, s: x + np.ones(3),
        lambda x, g, s: np.add(x, g, out=np.ones(3)),
        lambda x, g, s: np.multiply(x, g, where=x > 0),
        lambda x, g, s: np.logaddexp(x, g),
        lambda x, g, s: np.asarray(x),
        lambda x, g, s: float(x),
        lambda x, g, s: 1 if x > 0 else 0,
        lambda x, g, s: len(x),
        lambda x, g, s: list(x),
        lambda x, g, s: x + np.empty_like(x),
        lambda x, g, s: (x > 0) + (g > 0),
        lambda x, g, s: s.update(v=x),
    ],
)
def test_what_is_no_program_is_refused(rule: Any) -> None:
    with pytest.raises(Untraceable):
        trace(rule, {"v": "s0"}, FLOAT)
