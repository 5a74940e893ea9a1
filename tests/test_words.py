"""`lazynet.inspect.words`: what a batch does and why it is one, in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lazynet as ln
from lazynet.inspect.view import view_of
from lazynet.inspect.words import shapes_text, words
from lazynet.plan import plural


def said_of(*expressions: ln.Expression) -> list[str]:
    return [text for _, text in words(view_of(list(expressions)))]


def vectors(count: int, width: int = 3) -> list[ln.Expression]:
    return [ln.constant(np.full(width, k, "f")) for k in range(count)]


def batch_about(said: list[str], start: str) -> str:
    (found,) = [text for text in said[1:] if text.startswith(start)]
    return found


@pytest.mark.parametrize(
    ("count", "word", "text"),
    [(1, "node", "1 node"), (1345, "node", "1,345 nodes"), (2, "batch", "2 batches")],
)
def test_plurals(count: int, word: str, text: str) -> None:
    assert plural(count, word) == text


def test_shapes_are_short() -> None:
    assert shapes_text([(4, 3), ()]) == "(4\N{MULTIPLICATION SIGN}3, scalar)"
    assert shapes_text([(8,)] * 2) == "(8, 8)"
    assert shapes_text([(8,)] * 5 + [(2,)]) == "(5 of 8, 2)"


def test_one_title_for_each_batch_and_one_before() -> None:
    loss = ln.sum([ln.tanh(x) for x in vectors(4)])
    assert [title for title, _ in words(view_of(loss))] == [
        "Overview", "Batch 0 (step 1 of 3)", "Batch 1 (step 2 of 3)", "Batch 2 (step 3 of 3)",
    ]  # fmt: skip


def test_what_is_one_batch_and_why() -> None:
    said = said_of(ln.sum([ln.tanh(x) for x in vectors(4)]))
    assert said[0].startswith("9 nodes run as 3 batches, 3.0 nodes to a batch on average.")
    assert "No order of work needs fewer batches." in said[0]
    assert said[1].startswith("4 inputs of shape 3 are copied into one array")
    assert said[2].startswith(
        "4 nodes of tanh(3) as one call, because they have the same op and argument shapes."
    )
    assert said[3].startswith("1 node of sum_list(")


def test_lines() -> None:
    plain, noted = "ln.tanh(x)\n", "ln.tanh(x)  # now"
    x = ln.constant(np.ones(1237, "f"))  # a kind that nothing recorded before
    y = ln.tanh(x)
    assert said_of(y)[2].endswith(f"First recorded at test_words.py:{line_of(plain)}.")
    with ln.debug():
        z = ln.tanh(x)  # now every node has its line
    assert said_of(z)[2].endswith(f"Recorded at test_words.py:{line_of(noted)}.")


def line_of(text: str) -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines(keepends=True)
    return next(k for k, line in enumerate(lines, 1) if line.endswith(text) or f"= {text}" in line)


def test_shared_parameters_are_named() -> None:
    model = ln.Model(seed=0)
    W = model.parameter((2, 3), name="W")
    said = said_of(ln.sum([W @ x for x in vectors(4)]))
    assert "and share W." in batch_about(said, "4 nodes of matmul")


def test_why_two_batches_of_a_kind_are_not_one() -> None:
    (x,) = vectors(1)
    said = said_of(ln.tanh(ln.tanh(x)))
    assert "1 more node of this kind in batch 2." in said[2]
    assert "Batch 1 is of the same kind, but its results are needed here." in said[3]
    said = said_of(ln.tanh(ln.exp(ln.tanh(x))))
    assert "its results are needed here, through batch 2." in said[4]


def test_what_was_not_ready() -> None:
    model = ln.Model(seed=0)
    W = model.parameter((3, 3), name="W")
    x, y = vectors(2)
    first = ln.sum(W @ x)
    first.value()
    said = said_of(first + ln.sum(W @ y))  # the second product was recorded after the first ran
    assert sum("is of the same kind, but when it ran, batch" in text for text in said) == 2
    assert not any("its results are needed here" in text for text in said)


def test_kinds_that_differ_in_parameters_or_shapes() -> None:
    model = ln.Model(seed=0)
    products = [model.parameter((3, 3)) @ x for x in vectors(9)]
    said = said_of(ln.sum(products))
    assert "Batching gains little for matmul: 9 nodes in 9 batches, of 9 kinds" in said[0]
    assert sum("8 other kinds of matmul differ from this one in parameters" in t for t in said) == 9
    said = said_of(*[ln.tanh(x) for x in [*vectors(1, 3), *vectors(1, 4)]])
    assert sum("1 other kind of tanh differs from this one in shapes" in t for t in said) == 2


def test_a_part_of_what_was_computed_together() -> None:
    losses = [ln.sum(ln.tanh(x)) for x in vectors(5)]
    ln.mean(losses).value()
    said = said_of(losses[0])
    assert "1 of them is in this graph." in batch_about(said, "5 nodes of tanh(3)")


def test_without_batching_that_is_the_reason() -> None:
    with ln.no_autobatch():
        loss = ln.sum([ln.tanh(x) for x in vectors(3)])
        planned = said_of(loss)
        loss.value()
    for said in (planned, said_of(loss)):
        assert "batching is off (`ln.no_autobatch`): each node runs by itself" in said[0]
        assert all("Batching is off here" in text for text in said[1:])
    chain = ln.tanh(ln.tanh(vectors(1)[0]))  # single nodes, but with batching
    assert not any("atching is off" in text for text in said_of(chain))


def test_parameters_alone() -> None:
    assert "nothing to compute" in said_of(ln.Model(seed=0).parameter((2,)))[0]


def test_a_folded_graph_is_told_about_without_what_it_does_not_show() -> None:
    h = [ln.tanh(x) for x in vectors(30)]
    view = view_of(ln.sum([ln.tanh(x) for x in h])).fold(4, by="kind")
    said = [text for _, text in words(view)]
    assert len(said) == len(view.batches) + 1
    assert any(text.startswith("30 nodes of tanh(3)") for text in said)
