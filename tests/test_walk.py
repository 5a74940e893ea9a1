"""What backward leaves in parameters: gradients of their own, whoever else held the arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import lazynet as ln
from lazynet.accumulate import accumulate
from lazynet.backend import to_host

KEPT = np.full(3, 5.0)
_kept: dict[str, Any] = {}


def kept(like: Any) -> Any:
    """An array that somebody else keeps, on the device of this one."""
    return _kept.setdefault(type(like).__module__, np.array(KEPT, like=like))


@dataclass(frozen=True)
class Handing(ln.Op):
    """y = a + b; what backward hands out is somebody else's too, in different ways."""

    way: str
    shares = True

    def shape(self, a: Any, b: Any) -> Any:
        return a

    def forward(self, call: Any, a: Any, b: Any) -> Any:
        return np.broadcast_to(a + b, (call.rows, *np.shape(a)[-1:]))

    def backward(self, call: Any, dy: Any, y: Any, a: Any, b: Any) -> Any:
        if self.way == "twice":
            g = dy.sum(axis=0).copy()
            return g, g
        if self.way == "views":
            g = dy.sum(axis=0).copy()
            return g[:], g.reshape(3)
        if self.way == "kept":
            return kept(dy), kept(dy)[:]
        if self.way == "broadcast":
            return np.broadcast_to(dy.sum(), 3), dy.sum(axis=0).copy()
        if self.way == "parts":
            both = np.stack([dy.sum(axis=0), dy.sum(axis=0)])
            return both[0], both[1]
        assert self.way == "arguments"
        return a, b


def graph(way: str) -> tuple[ln.Parameter, ln.Parameter, Any, Any]:
    model = ln.Model(dtype="float64")
    a = model.parameter(3, init=[1.0, 2.0, 3.0])
    b = model.parameter(3, init=[4.0, 5.0, 6.0])
    x = ln.constant(np.array([2.0, 3.0, 4.0]))
    return a, b, x, (Handing(way)(a, b) * x).sum()


@pytest.mark.parametrize("way", ["twice", "views", "kept", "broadcast", "parts", "arguments"])
def test_gradients_are_the_parameters_own(way: str) -> None:
    a, b, x, loss = graph(way)
    values = [p.value().copy() for p in (a, b)]
    loss.backward()
    first = [p.gradient() for p in (a, b)]
    assert a.pending is not None and b.pending is not None
    assert not np.shares_memory(a.pending, b.pending)
    for other in _kept.values():
        if type(other) is type(a.pending):
            assert not np.shares_memory(a.pending, other)
            assert not np.shares_memory(b.pending, other)
    a.pending *= 100.0
    np.testing.assert_array_equal(b.gradient(), first[1])
    b.pending *= 100.0
    np.testing.assert_array_equal(a.gradient(), 100 * first[0])
    assert all(other.tolist() == [5.0] * 3 for other in _kept.values())
    for p, value in zip((a, b), values):
        np.testing.assert_array_equal(p.value(), value)
    np.testing.assert_array_equal(x.gradient(), a.value() + b.value())


def test_the_gradient_of_a_product_is_not_copied() -> None:
    """What backward made, and nobody else holds, becomes the parameter's without a copy."""
    p = ln.Model(dtype="float64").parameter((2, 3))
    made = np.ones(6)
    address = made.ctypes.data
    found = {p: made.reshape(2, 3)}
    del made
    accumulate(found)
    assert p.pending is not None and p.pending.ctypes.data == address


@pytest.mark.parametrize("hold", ["array", "view", "memory"])
def test_a_gradient_that_somebody_holds_is_copied(hold: str) -> None:
    p = ln.Model(dtype="float64").parameter((2, 3))
    memory = np.ones((2, 3)) if hold == "array" else np.ones(6)
    found: dict[Any, Any] = {p: memory if hold == "array" else memory.reshape(2, 3)}
    held = memory[:2] if hold == "view" else memory
    if hold == "view":
        del memory
    accumulate(found)
    assert p.pending is not None and not np.shares_memory(p.pending, held)


@pytest.mark.parametrize("found", [2.5, np.float64(2.5), [2.5]])
def test_a_gradient_that_is_no_array_becomes_one(found: Any) -> None:
    p = ln.Model(dtype="float64").parameter(np.shape(found))
    accumulate({p: found})
    assert isinstance(p.pending, np.ndarray) and p.pending.flags.writeable
    np.testing.assert_array_equal(p.gradient(), np.array(found))


def test_gradients_of_several_backwards_and_of_inner_nodes_stay_apart() -> None:
    model = ln.Model(dtype="float64")
    W, b = model.parameter((3, 3), init=numbers(3, 3)), model.parameter(3, init=numbers(3))
    x = ln.constant(numbers(3))
    h = W @ x + b
    loss = (h * h).sum()
    loss.backward()
    once = [W.gradient(), b.gradient()]
    dh = h.gradient()
    b.pending *= 7.0  # type: ignore[operator]
    np.testing.assert_array_equal(h.gradient(), dh)
    np.testing.assert_array_equal(W.gradient(), once[0])
    model.zero_gradients()
    loss.backward()
    kept = b.pending
    loss.backward()
    np.testing.assert_allclose(W.gradient(), 2 * once[0])
    np.testing.assert_allclose(b.gradient(), 2 * once[1])
    assert kept is not None
    np.testing.assert_array_equal(to_host(kept), once[1])


def numbers(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape)
