"""`ln.beam_search` and `ln.sample`, against exhaustive search and against the distribution."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lazynet as ln
from lazynet.together.record import LAST

END = 0


class Tree:
    """Log-probabilities that depend on all tokens before: a table for each prefix, drawn by seed.

    With few levels, many sequences are equally likely.
    """

    def __init__(self, tokens: int, seed: int, levels: int = 0, zeros: bool = False) -> None:
        self.tokens = tokens
        self.seed = seed
        self.levels = levels
        self.zeros = zeros
        self.calls = 0

    def table(self, prefix: tuple[int, ...]) -> np.ndarray[Any, Any]:
        rng = np.random.default_rng([self.seed, *prefix])
        if self.levels:
            weights = 2.0 ** rng.integers(0, self.levels, self.tokens)
        else:
            weights = rng.gamma(0.5, size=self.tokens) + 1e-6
        if self.zeros:
            weights[rng.integers(0, 2, self.tokens) == 1] = 0
            weights[rng.integers(0, self.tokens)] = 1
        with np.errstate(divide="ignore"):
            found: np.ndarray[Any, Any] = np.log(weights / weights.sum())
        return found

    def step(self, state: tuple[int, ...], token: int) -> Any:
        """The state is the tokens so far; the first token, -1 or whatever, is left out."""
        self.calls += 1
        prefix = (*state, token)
        return ln.constant(self.table(prefix[1:])), prefix


def penalty(length: int, alpha: float) -> float:
    return float(((5 + length) / 6) ** alpha)


def exhaustive(tree: Tree, max_length: int, alpha: float) -> list[ln.Hypothesis]:
    """All sequences that are possible, best first, equal ones in the order of their tokens."""
    found = []
    others = [t for t in range(tree.tokens) if t != END]
    for length in range(1, max_length + 1):
        for body in product(others, repeat=length - 1):
            for last in range(tree.tokens) if length == max_length else (END,):
                total = 0.0
                for k, token in enumerate((*body, last)):
                    total += tree.table(body[:k])[token]
                if total > -np.inf:
                    tokens = [*body] if last == END else [*body, last]
                    score = total / penalty(length, alpha)
                    found.append(ln.Hypothesis(tokens, score, total, last == END))
    return sorted(found, key=lambda h: (-h.score, h.tokens))


def by_hand(tree: Tree, width: int, max_length: int, alpha: float) -> list[ln.Hypothesis]:
    """Beam search by sorting everything, without stopping early."""
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    found = []
    for length in range(1, max_length + 1):
        candidates = sorted(
            (-(p + q), (*tokens, t))
            for p, tokens in live
            for t, q in enumerate(tree.table(tokens).tolist())
            if q > -np.inf
        )[:width]
        live = []
        for negative, tokens in candidates:
            p = -negative
            if tokens[-1] == END:
                score = p / penalty(length, alpha)
                found.append(ln.Hypothesis([*tokens[:-1]], score, p, True))
            elif length == max_length:
                found.append(ln.Hypothesis([*tokens], p / penalty(length, alpha), p, False))
            else:
                live.append((p, tokens))
    return sorted(found, key=lambda h: (-h.score, h.tokens))[:width]


def same(found: list[ln.Hypothesis], expected: list[ln.Hypothesis]) -> None:
    assert [(h.tokens, h.finished) for h in found] == [(h.tokens, h.finished) for h in expected]
    for key in ("score", "log_probability"):
        ours, theirs = [[getattr(h, key) for h in hs] for hs in (found, expected)]
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


TREES = st.builds(
    Tree,
    st.integers(1, 4),
    st.integers(0, 2**32),
    st.sampled_from([0, 1, 2, 3]),
    st.booleans(),
)
ALPHAS = st.sampled_from([0.0, 0.3, 0.6, 1.0, 2.0])


@given(TREES, st.integers(1, 4), ALPHAS)
def test_a_wide_beam_finds_everything_in_order(tree: Tree, length: int, alpha: float) -> None:
    expected = exhaustive(tree, length, alpha)
    search = ln.beam_search(tree.step, (), 500, length, start=0, end=END, alpha=alpha)
    if tree.levels == 0:
        same(search.value(), expected)
        return
    found = search.value()  # equal up to rounding: compare scores in order, and sequences as sets
    np.testing.assert_allclose([h.score for h in found], [h.score for h in expected], rtol=1e-12)
    assert {tuple(h.tokens) for h in found} == {tuple(h.tokens) for h in expected}


@given(TREES.filter(lambda t: t.levels == 0), st.integers(1, 6), st.integers(1, 6), ALPHAS)
def test_a_narrow_beam(tree: Tree, width: int, length: int, alpha: float) -> None:
    expected = by_hand(tree, width, length, alpha)
    search = ln.beam_search(tree.step, (), width, length, start=0, end=END, alpha=alpha)
    same(search.value(), expected)


def test_ties_go_by_tokens() -> None:
    def step(state: Any, token: int) -> Any:
        return ln.constant(np.log([0.125, 0.5, 0.25, 0.125])), state

    def tokens(width: int) -> list[list[int]]:
        search = ln.beam_search(step, None, width, 2, start=0, end=0, alpha=0.0)
        return [h.tokens for h in search.value()]

    # logarithms of powers of two: sums of equal ones are equal to the last bit
    assert tokens(20) == [[1, 1], [], [1, 2], [2, 1], [1], [1, 3], [2, 2], [3, 1], [2], [2, 3],
                          [3, 2], [3], [3, 3]]  # fmt: skip
    assert tokens(4) == [[1, 1], [], [1, 2], [2, 1]]


def test_width_one_is_greedy() -> None:
    for seed in range(20):
        tree = Tree(5, seed)
        prefix: tuple[int, ...] = ()
        finished = False
        while len(prefix) < 6 and not finished:
            token = int(np.argmax(tree.table(prefix)))
            finished = token == END
            prefix = prefix if finished else (*prefix, token)
        (found,) = ln.beam_search(tree.step, (), 1, 6, start=0, end=END).value()
        assert (found.tokens, found.finished) == ([*prefix], finished)


def test_normalisation_favours_longer_ones() -> None:
    def step(state: int, token: int) -> Any:
        short = [0.45, 0.55] if state == 0 else [0.05, 0.95] if state < 4 else [0.99, 0.01]
        return ln.log(ln.constant(short)), state + 1

    lengths = [
        len(ln.beam_search(step, 0, 4, 9, start=0, end=0, alpha=alpha).value()[0].tokens)
        for alpha in (0.0, 2.0)
    ]
    assert lengths == [4, 4]
    (first, second) = ln.beam_search(step, 0, 2, 9, start=0, end=0, alpha=0.0).value()
    assert first.score == first.log_probability == pytest.approx(np.log(0.55 * 0.95**3 * 0.99))
    assert second.tokens == []


def test_it_stops_when_nothing_can_become_better() -> None:
    def step(state: Any, token: int) -> Any:
        calls.append(token)
        return ln.log(ln.constant([0.9, 0.06, 0.04])), state

    calls: list[int] = []
    found = ln.beam_search(step, None, 2, 1000, start=0, end=0).value()
    assert [h.tokens for h in found] == [[], [1]]
    assert len(calls) < 40  # of 2,000


def test_what_is_impossible_is_never_chosen() -> None:
    def step(state: Any, token: int) -> Any:
        return ln.log(ln.constant([0.0, 1.0, 0.0])), state

    (found,) = ln.beam_search(step, None, 3, 4, start=0, end=0).value()
    assert found == ln.Hypothesis([1, 1, 1, 1], 0.0, 0.0, False)

    def nothing(state: Any, token: int) -> Any:
        return ln.log(ln.constant([0.0, 0.0])), state

    assert ln.beam_search(nothing, None, 3, 4, start=0, end=0).value() == []


class Decoder:
    """Written once, for one sequence: for training, beam search and sampling."""

    def __init__(self, device: str = "cpu") -> None:
        model = self.model = ln.Model(seed=3, dtype="float64", device=device)
        self.table = model.lookup(6, 5, init=ln.init.Normal(std=1.0))
        self.gru = ln.nn.GRU(model, 5, 5)
        self.head = ln.nn.Linear(model, 5, 6)

    def step(self, state: Any, token: int) -> Any:
        y, state = self.gru.step(self.table[token], state)
        return ln.log_softmax(self.head(y)), state

    def log_probability(self, state: Any, tokens: list[int]) -> Any:
        parts = []
        for token, following in zip([0, *tokens], tokens):
            log_probabilities, state = self.step(state, token)
            parts.append(log_probabilities[following])
        return ln.sum(parts)

    def states(self, count: int) -> list[Any]:
        rng = np.random.default_rng(0)
        return [ln.constant(rng.standard_normal(5)) for _ in range(count)]


def test_one_decoder_for_training_and_search() -> None:
    decoder = Decoder()
    for h in ln.beam_search(decoder.step, decoder.states(1)[0], 4, 6, start=0, end=1).value():
        tokens = [*h.tokens, 1] if h.finished else h.tokens
        total = decoder.log_probability(decoder.states(1)[0], tokens)
        assert total.value() == pytest.approx(h.log_probability, rel=1e-9)
    (-total).backward()
    assert np.abs(decoder.head.W.gradient()).sum() > 0


@pytest.mark.parametrize("limit", [None, 1, 3])
def test_sentences_and_hypotheses_are_one_batch(limit: int | None, device: str) -> None:
    decoder = Decoder(device)
    alone = [
        ln.beam_search(decoder.step, s, 3, 7, start=0, end=1).value() for s in decoder.states(5)
    ]

    async def one(state: Any) -> Any:
        return await ln.beam_search(decoder.step, state, 3, 7, start=0, end=1)

    for coroutines in (
        [one(s) for s in decoder.states(5)],
        [ln.beam_search(decoder.step, s, 3, 7, start=0, end=1) for s in decoder.states(5)],
    ):
        found = ln.run_together(coroutines, limit=limit)
        for ours, theirs in zip(found, alone, strict=True):
            assert [h.tokens for h in ours] == [h.tokens for h in theirs]
            np.testing.assert_allclose(
                [h.score for h in ours], [h.score for h in theirs], rtol=1e-9
            )
        if limit is None:
            assert LAST.record is not None
            assert LAST.record.rounds <= 7


def test_in_asyncio() -> None:
    decoder = Decoder()

    async def main() -> Any:
        searches = [
            ln.beam_search(decoder.step, s, 2, 5, start=0, end=1) for s in decoder.states(2)
        ]
        return await ln.run_together_async(searches)

    for ours, state in zip(asyncio.run(main()), decoder.states(2), strict=True):
        same(ours, ln.beam_search(decoder.step, state, 2, 5, start=0, end=1).value())


def test_a_search_records_nothing_for_backward_and_leaves_modes_alone() -> None:
    decoder = Decoder()
    modes = []

    def step(state: Any, token: int) -> Any:
        log_probabilities, state = decoder.step(state, token)
        made.append(log_probabilities)
        return log_probabilities, state

    async def one() -> Any:
        before = decoder.head.W.sum() * 1.0
        await ln.beam_search(step, decoder.states(1)[0], 2, 3, start=0, end=1)
        modes.append(ln.is_training())
        return before + decoder.head.W.sum()

    made: list[Any] = []
    (loss,) = ln.run_together([one()])
    (loss + ln.sum(made[0]) * 0.0).backward()
    np.testing.assert_array_equal(decoder.head.W.gradient(), 2.0)
    assert modes == [True]


def test_repr() -> None:
    text = repr(ln.beam_search(Decoder().step, None, 2, 3, start=0, end=1))
    assert text == "<beam_search: await it in a coroutine of ln.run_together, or take .value()>"


# Sampling


def fixed(probabilities: list[float]) -> Any:
    def step(state: Any, token: int) -> Any:
        return ln.log(ln.constant(np.array(probabilities))), state

    return step


@pytest.mark.parametrize(
    ("temperature", "top_k"), [(1.0, None), (0.5, None), (2.0, None), (1.0, 2), (0.5, 3)]
)
def test_samples_follow_the_distribution(temperature: float, top_k: int | None) -> None:
    p = np.array([0.1, 0.2, 0.3, 0.4])
    step = fixed(p.tolist())
    n = 4000
    (found,) = ln.run_together([_tokens(step, n, temperature, top_k)])
    q = p ** (1 / temperature)
    if top_k is not None:
        q[np.argsort(-q)[top_k:]] = 0
    q /= q.sum()
    counts = np.bincount(found, minlength=4)
    assert (counts[q == 0] == 0).all()
    # chi-squared with at most 3 degrees of freedom exceeds 16.3 once in 1,000 seeds
    positive = q > 0
    assert ((counts - n * q)[positive] ** 2 / (n * q[positive])).sum() < 16.3


async def _tokens(step: Any, n: int, temperature: float, top_k: int | None) -> list[int]:
    """Samples of one token each (the first, with `end` counted as one)."""
    found = []
    for _ in range(n):
        h = await ln.sample(step, None, 1, start=0, end=0, temperature=temperature, top_k=top_k)
        found.append(h.tokens[0] if h.tokens else 0)
    return found


def test_samples_depend_on_seed_and_position_alone() -> None:
    decoder = Decoder()

    def draw(count: int, limit: int | None = None) -> list[ln.Hypothesis]:
        ln.seed(4)
        searches = [ln.sample(decoder.step, s, 8, start=0, end=1) for s in decoder.states(count)]
        return ln.run_together(searches, limit=limit)

    found = draw(6)
    tokens = [h.tokens for h in found]
    assert [h.tokens for h in draw(6, 1)] == tokens
    assert [h.tokens for h in draw(3)] == tokens[:3]
    assert len({tuple(t) for t in tokens}) > 1
    for h, state in zip(found, decoder.states(6), strict=True):
        whole = [*h.tokens, 1] if h.finished else h.tokens
        assert len(whole) == 8 or h.finished
        expected = decoder.log_probability(state, whole).value()
        assert h.log_probability == h.score == pytest.approx(expected, rel=1e-9)


def test_a_sample_is_drawn_anew_each_time() -> None:
    search = ln.sample(fixed([0.0, 0.5, 0.5]), None, 20, start=0, end=0)
    assert search.value().tokens != search.value().tokens


def test_top_one_is_greedy() -> None:
    decoder = Decoder()
    (state,) = decoder.states(1)
    drawn = ln.sample(decoder.step, state, 6, start=0, end=1, top_k=1).value()
    (greedy,) = ln.beam_search(decoder.step, state, 1, 6, start=0, end=1).value()
    assert drawn.tokens == greedy.tokens


def test_tokens_that_no_state_changes_are_seeded() -> None:
    ln.seed(5)
    first = ln.sample(fixed([0.0, 0.5, 0.5]), None, 20, start=0, end=0).value()
    ln.seed(5)
    assert ln.sample(fixed([0.0, 0.5, 0.5]), None, 20, start=0, end=0).value() == first


# Bad input


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"width": 0}, ln.SettingError, "beam_search: got width = 0; it must be 1 or more"),
        ({"width": 1.5}, ln.ArgumentError, "got width = 1.5; it must be a whole number"),
        ({"width": True}, ln.ArgumentError, "got width = True"),
        ({"max_length": 0}, ln.SettingError, "got max_length = 0"),
        ({"start": -1}, ln.RangeError, "got start = -1; tokens are numbered from 0"),
        ({"end": None}, ln.ArgumentError, "got end = None"),
        ({"alpha": -0.5}, ln.SettingError, "got alpha = -0.5"),
        ({"alpha": float("nan")}, ln.SettingError, "alpha is nan"),
        ({"alpha": "x"}, ln.ArgumentError, "alpha is 'x'"),
    ],
)
def test_bad_settings(changed: Any, error: type[Exception], message: str) -> None:
    options = {"width": 2, "max_length": 3, "start": 0, "end": 0} | changed
    with pytest.raises(error, match=message):
        ln.beam_search(fixed([0.5, 0.5]), None, **options)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"temperature": 0}, ln.SettingError, "got temperature = 0.*top_k=1"),
        ({"temperature": float("inf")}, ln.SettingError, "temperature is inf"),
        ({"top_k": 0}, ln.SettingError, "got top_k = 0"),
        ({"max_length": -2}, ln.SettingError, "got max_length = -2"),
    ],
)
def test_bad_settings_of_samples(changed: Any, error: type[Exception], message: str) -> None:
    options = {"max_length": 3, "start": 0, "end": 0} | changed
    with pytest.raises(error, match=message):
        ln.sample(fixed([0.5, 0.5]), None, **options)


async def asynchronous(state: Any, token: int) -> Any:
    return ln.constant([0.0]), state


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (lambda s, t: ln.constant([0.0]), ln.ArgumentError, "it must return .log_probabilities"),
        (lambda s, t: (np.zeros(1), s), ln.ArgumentError, "the former an expression"),
        (asynchronous, ln.ArgumentError, "write a plain def"),
        (lambda s, t: (ln.constant([[0.0]]), s), ln.ShapeError, "must be a vector"),
        (
            lambda s, t: (ln.constant([[0.0]], batched=True), s),
            ln.ShapeError,
            "written for one hypothesis",
        ),
        (lambda s, t: (ln.constant([-1.0, 2.0]), s), ln.ArgumentError, "returned 2.0; .*softmax"),
        (lambda s, t: (ln.constant([0.0, np.nan]), s), ln.ArgumentError, "returned nan"),
        (lambda s, t: (ln.constant(np.zeros(0)), s), ln.RangeError, "end = 0 where step returns 0"),
    ],
)
def test_bad_steps(step: Any, error: type[Exception], message: str) -> None:
    for search in (
        ln.beam_search(step, None, 2, 3, start=0, end=0),
        ln.sample(step, None, 3, start=0, end=0),
    ):
        with pytest.raises(error, match=message) as caught:
            search.value()
        assert not isinstance(caught.value, ln.ExampleError)  # there is only one
        with pytest.raises(error, match="example 0: .*" + message):
            ln.run_together([search])


def test_a_sample_of_nothing_possible() -> None:
    with pytest.raises(ln.ArgumentError, match="-inf for every token"):
        ln.sample(fixed([0.0, 0.0]), None, 3, start=0, end=0).value()
