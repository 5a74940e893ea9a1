"""Numbers whose value a program does not know: slots, and what makes them static."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import pytest

import lazynet as ln
from lazynet.deferred import Integer, Integers, Slot, is_deferred, stands_for


class Notes:
    """What a stand-in tells the trace."""

    def __init__(self) -> None:
        self.slots: list[Slot] = []
        self.looked_at: set[int] = set()

    def slot(self, slot: Slot) -> Slot:
        self.slots.append(slot)
        return slot

    def static(self, position: int) -> None:
        self.looked_at.add(position)


def integer(value: int = 5) -> tuple[Any, Notes]:
    notes = Notes()
    return stands_for(notes, 3, value, False), notes


def integers(value: Any) -> tuple[Any, Notes]:
    notes = Notes()
    return stands_for(notes, 1, value, True), notes


def in_range(n: int) -> Any:
    def check(value: Any) -> Any:
        if not -n <= value < n:
            raise IndexError(value)
        return value % n

    return check


def test_it_says_of_itself_that_it_is_a_number_unseen() -> None:
    k, notes = integer()
    assert isinstance(k, int) and not isinstance(k, (bool, float, list))
    assert is_deferred(k) and type(k) is Integer and not is_deferred(5)
    ks, of_list = integers([1, 2])
    assert isinstance(ks, list) and is_deferred(ks) and type(ks) is Integers
    assert not notes.looked_at and not of_list.looked_at


def test_a_slot_leaves_the_value_unseen() -> None:
    k, notes = integer(-2)
    slot = k.slot(6, in_range(6), scale=10)
    assert not notes.looked_at and notes.slots == [slot] and slot.position == 3
    assert [slot.fill(v) for v in (0, 5, -1, np.int64(3))] == [0, 50, 50, 30]
    for wrong in (6, -7):
        with pytest.raises(IndexError):
            slot.fill(wrong)
    with pytest.raises(IndexError):  # the first value is checked where it is recorded
        integer(9)[0].slot(6, in_range(6))


@pytest.mark.parametrize(
    "look",
    [
        bool, int, float, str, repr, hash, operator.index, operator.neg, operator.pos, abs,
        operator.invert, range, format, math.sqrt, lambda k: [0] * k, lambda k: k.bit_length(),
        lambda k: f"{k:04d}", lambda k: {5: "five"}[k], lambda k: np.arange(9)[k], np.asarray,
        lambda k: "abcdefgh"[k], lambda k: max(k, 7), lambda k: divmod(17, int(k)),
    ],
)  # fmt: skip
def test_looking_makes_it_static(look: Any) -> None:
    k, notes = integer()
    found, expected = look(k), look(5)
    assert np.array_equal(found, expected) and type(found) is type(expected)
    assert notes.looked_at == {3}


@pytest.mark.parametrize(
    "name",
    "add sub mul truediv floordiv mod pow lshift rshift and_ or_ xor eq ne lt le gt ge".split(),
)
def test_operators_on_both_sides(name: str) -> None:
    function = getattr(operator, name)
    for other in (2, 5, 7):
        k, notes = integer()
        assert function(k, other) == function(5, other) and notes.looked_at == {3}
        k, notes = integer()
        assert function(other, k) == function(other, 5) and notes.looked_at == {3}
    k, notes = integer()
    other_k, other_notes = integer(2)
    assert function(k, other_k) == function(5, 2)
    assert notes.looked_at == other_notes.looked_at == {3}


@pytest.mark.parametrize("value", [[3, 1, 2], np.array([3, 1, 2])])
def test_lists(value: Any) -> None:
    for look in (
        lambda ks: len(ks), lambda ks: [int(k) for k in ks], lambda ks: int(ks[1]),
        lambda ks: 2 in ks, lambda ks: np.array(ks).tolist(), lambda ks: sorted(map(int, ks)),
        lambda ks: [int(k) for k in ks[1:]], lambda ks: max(map(int, ks)),
    ):  # fmt: skip
        ks, notes = integers(value)
        assert look(ks) == look(value) and notes.looked_at == {1}
    ks, notes = integers(value)
    assert ks.slot(4, np.asarray).listed and not notes.looked_at


def test_the_ops_that_take_payload() -> None:
    """One program, and one batch, whatever the number."""
    model = ln.Model(seed=0)
    table, x = model.lookup(5, 4), ln.constant(np.arange(5.0))
    for function in (
        lambda k: table[k], lambda k: ln.cross_entropy(x, k), lambda k: x[k] * 1.0,
        lambda k: ln.pick(x, k), lambda k: ln.hinge(x, k), lambda k: (x * 2.0).reshape(5, 1)[k],
    ):  # fmt: skip
        calls = [0]

        def counted(x: Any, k: int, function: Any = function, calls: Any = calls) -> Any:
            calls[0] += 1
            return inside(function, x, k)

        def inside(function: Any, given: Any, k: int) -> Any:
            nonlocal x
            outer, x = x, given
            try:
                return function(k)
            finally:
                x = outer

        f = ln.fuse(counted)
        nodes = [f(x, k) for k in range(5)]
        assert calls == [1]
        batches = [b for b in ln.plan(nodes).batches if b.op != "input"]
        assert [b.nodes for b in batches] == [5]
        for k, y in enumerate(nodes):
            np.testing.assert_allclose(y.value(), function(k).value(), rtol=1e-6)


def test_two_numbers_one_looked_at() -> None:
    calls = [0]

    @ln.fuse
    def f(x: Any, k: int, n: int) -> Any:
        calls[0] += 1
        return ln.sum([x[k] * float(i) for i in range(n)])

    x = ln.constant(np.arange(4.0))
    for _ in range(2):
        for n in (1, 2, 3):
            for k in range(4):
                assert f(x, k, n).value() == k * sum(range(n))
    assert calls == [3]


def test_an_index_of_a_parameter_is_part_of_the_program() -> None:
    w = ln.Model(seed=0).parameter((3, 2))
    f = ln.fuse(lambda x, k: x + w[k])
    x = ln.constant(np.zeros(2))
    for k in (0, 2, -1, 0):
        np.testing.assert_array_equal(f(x, k).value(), w.array[k])
    with pytest.raises(ln.RangeError):
        f(x, 3)
