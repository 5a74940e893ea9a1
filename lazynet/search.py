"""Decoding: beam search and sampling, with a decoder that is written for one hypothesis."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterable
from math import inf
from operator import index as as_index
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from lazynet.errors import ArgumentError, RangeError, SettingError, ShapeError
from lazynet.graph import Expression
from lazynet.kinds import Array
from lazynet.modes import no_grad
from lazynet.ops.numeric import finite_number
from lazynet.randomness import next_key, row_keys, uniform
from lazynet.together import run_together, values_async

Step = Callable[[Any, int], tuple[Expression, Any]]
T = TypeVar("T")

_ABOVE_ZERO = 1e-3
"""What rounding may make of the logarithm of a probability near 1."""


class Hypothesis(NamedTuple):
    """A sequence of tokens that `beam_search` or `sample` found.

    Attributes:
        tokens: The tokens, without `start` and `end`.
        score: What hypotheses are ordered by: the log-probability over the length penalty; of a
            sample, the log-probability.
        log_probability: Of the tokens, `end` included, in nats.
        finished: Whether `end` was reached; else the search was cut off at `max_length`.

    >>> import lazynet as ln
    >>> def step(state, token):
    ...     return ln.log(ln.constant([0.25, 0.75])), state
    >>> h = ln.sample(step, None, 3, start=0, end=0, top_k=1).value()
    >>> h.tokens, round(h.log_probability, 3), h.finished
    ([1, 1, 1], -0.863, False)
    """

    tokens: list[int]
    score: float
    log_probability: float
    finished: bool


class Search(Generic[T]):
    """A search that is carried out when its result is asked for, as often as that is.

    ``await`` it in a coroutine of `ln.run_together`, where its steps batch with those of other
    searches; elsewhere call `value`. `ln.run_together` takes searches in place of coroutines.

    >>> import lazynet as ln
    >>> def step(state, token):
    ...     return ln.log(ln.constant([0.2, 0.8])), state
    >>> search = ln.beam_search(step, None, width=1, max_length=2, start=0, end=0)
    >>> search
    <beam_search: await it in a coroutine of ln.run_together, or take .value()>
    >>> search.value()[0].tokens
    [1, 1]
    """

    def __init__(self, name: str, begin: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._name = name
        self._begin = begin

    def __await__(self) -> Generator[Any, Any, T]:
        return self._begin().__await__()

    def value(self) -> T:
        """What ``await`` gives, by itself."""
        result = run_together([self._begin()], on_error="return")[0]
        if isinstance(result, Exception):
            raise result
        found: T = result
        return found

    def __repr__(self) -> str:
        return f"<{self._name}: await it in a coroutine of ln.run_together, or take .value()>"


def beam_search(
    step: Step,
    state: Any,
    width: int,
    max_length: int,
    *,
    start: int,
    end: int,
    alpha: float = 0.6,
) -> Search[list[Hypothesis]]:
    """Search for likely sequences of tokens, by always going on with the `width` likeliest.

    At each step every hypothesis is continued by every token, and the `width` likeliest
    continuations are kept. Those that end in `end` leave the beam and compete by their score,

        log P(tokens) / ((5 + length) / 6)^alpha,

    with `length` the number of tokens, `end` included. The search ends when nothing is left, at
    `max_length`, or when what is left can no longer be among the best `width`. All hypotheses of a
    step are one batch; under `ln.run_together`, those of all searches are. A width of 1 is greedy
    decoding. Nothing is recorded for `backward`.

    Args:
        step: ``step(state, token)`` returns ``(log_probabilities, next_state)`` for ONE hypothesis:
            an expression of shape (tokens,), such as `ln.log_softmax` makes, and anything, which is
            handed to the next step. It must not change the state that it gets, since several
            hypotheses may go on from there. The same function trains the decoder: call it along the
            right tokens, and pick their log-probabilities. A token of probability zero (-inf) is
            never chosen.
        state: The first state: expressions, tuples of them, None, ...
        width: Number of hypotheses kept.
        max_length: Most tokens of a hypothesis, `end` included.
        start: The token that the first step is given.
        end: The token that ends a hypothesis.
        alpha: Strength of the length normalisation, from 0 (none: short hypotheses win).

    Returns:
        A `Search`: ``await`` it, or take its ``.value()``, for a list of at most `width` hypotheses
        (`ln.Hypothesis`), best first. Equal ones come in the order of their tokens.

    Raises:
        SettingError: If width, length or alpha is out of range.
        ArgumentError: When it is carried out: if `step` returns anything else, or numbers that are
            no log-probabilities.
        ShapeError: Likewise: if they are no vector of a single row.
        RangeError: Likewise: if `end` is no index into that vector.

    Source: Y. Wu et al., "Google's neural machine translation system", 2016, equation 14, for the
    penalty; I. Sutskever, O. Vinyals, Q. V. Le, "Sequence to sequence learning with neural
    networks", 2014, for the search.

    >>> import lazynet as ln
    >>> table = ln.constant([[0.1, 0.5, 0.4], [0.9, 0.0, 0.1], [0.8, 0.1, 0.1]])
    >>> def step(state, token):
    ...     return ln.log(table[token]), state
    >>> for h in ln.beam_search(step, None, width=2, max_length=4, start=0, end=0).value():
    ...     print(h.tokens, round(h.log_probability, 2), round(h.score, 2))
    [1] -0.8 -0.73
    [2] -1.14 -1.04
    """
    role = "beam_search"
    width = _count(role, "width", width)
    max_length = _count(role, "max_length", max_length)
    start, end = _token(role, "start", start), _token(role, "end", end)
    alpha = finite_number(f"{role}: alpha", alpha)
    if alpha < 0:
        raise SettingError(
            f"{role}: got alpha = {alpha!r}; it is the strength of the length normalisation, from "
            "0 (none)"
        )
    return Search(role, lambda: _beam(step, state, width, max_length, start, end, alpha))


class _Live(NamedTuple):
    """A hypothesis in the beam: its tokens, the last of which has not been fed to `step`."""

    tokens: tuple[int, ...]
    log_probability: float
    token: int
    state: Any


async def _beam(
    step: Step, state: Any, width: int, max_length: int, start: int, end: int, alpha: float
) -> list[Hypothesis]:
    def penalty(length: int) -> float:
        return float(((5 + length) / 6) ** alpha)

    live = [_Live((), 0.0, start, state)]  # always in the order of their tokens
    found: list[Hypothesis] = []
    length = 0
    with no_grad():
        while live and length < max_length:
            length += 1
            steps = [_step("beam_search", step, h.state, h.token, end) for h in live]
            rows = await values_async(*[log_probabilities for log_probabilities, _ in steps])
            scores = np.stack(rows).astype(np.float64)
            _check("beam_search", scores)
            scores += np.array([[h.log_probability] for h in live])
            kept = []
            for k in sorted(_largest(scores, width)):
                parent, token = divmod(k, scores.shape[1])
                tokens, total = live[parent].tokens, float(scores[parent, token])
                if token == end:
                    found.append(Hypothesis([*tokens], total / penalty(length), total, True))
                else:
                    kept.append(_Live((*tokens, token), total, token, steps[parent][1]))
            live = kept
            if live and len(found) >= width:
                found = _best(found, width)
                ahead = max([h.log_probability for h in live])
                if found[-1].score > ahead / penalty(max_length):  # they only become less likely
                    live = []
    for h in live:
        score = h.log_probability / penalty(length)
        found.append(Hypothesis([*h.tokens], score, h.log_probability, False))
    return _best(found, width)


def _best(found: Iterable[Hypothesis], width: int) -> list[Hypothesis]:
    return sorted(found, key=lambda h: (-h.score, h.tokens))[:width]


def _largest(scores: Array, count: int) -> list[int]:
    """Positions in the flattened matrix of the largest finite numbers, first ones of equal ones."""
    flat = scores.reshape(-1)
    if len(scores) >= count:  # as many rows have their largest above this: few others are
        least = np.sort(scores.max(axis=1))[-count]
    elif len(flat) > count:
        least = np.partition(flat, len(flat) - count)[len(flat) - count]
    else:
        least = -inf
    near = np.flatnonzero((flat >= least) & (flat > -inf))
    chosen: list[int] = near[np.argsort(-flat[near], kind="stable")[:count]].tolist()
    return chosen


def sample(
    step: Step,
    state: Any,
    max_length: int,
    *,
    start: int,
    end: int,
    temperature: float = 1.0,
    top_k: int | None = None,
) -> Search[Hypothesis]:
    """Draw a sequence of tokens, each from what `step` says after those before it.

    Under `ln.run_together` the steps of all samples are one batch. The random numbers are those of
    the coroutine, and depend on `ln.seed` and its position alone. Nothing is recorded for
    `backward`: to train on a sample, call `step` along its tokens again.

    Args:
        step: As for `beam_search`.
        state: The first state.
        max_length: Most tokens, `end` included.
        start: The token that the first step is given.
        end: The token that ends the sample.
        temperature: Log-probabilities are divided by it: below 1 likely tokens become likelier.
        top_k: Draw from that many likeliest tokens only (1: always the likeliest).

    Returns:
        A `Search`: ``await`` it, or take its ``.value()``, for an `ln.Hypothesis`; each time anew.
        Its log-probability is that under `step`, whatever the temperature.

    Raises:
        SettingError: If length, temperature or top_k is out of range.
        ArgumentError, ShapeError, RangeError: When it is carried out, as for `beam_search`.

    >>> import lazynet as ln
    >>> def step(state, token):
    ...     return ln.log_softmax(ln.constant([0.0, 1.0, 2.0])), state
    >>> ln.seed(1)
    >>> samples = ln.run_together(ln.sample(step, None, 9, start=0, end=0) for _ in range(3))
    >>> [s.tokens for s in samples]
    [[1, 2, 1, 1, 1, 2, 1, 2, 2], [2, 2, 2, 2, 2, 2, 2, 2, 1], [2, 2]]
    """
    role = "sample"
    max_length = _count(role, "max_length", max_length)
    start, end = _token(role, "start", start), _token(role, "end", end)
    temperature = finite_number(f"{role}: temperature", temperature)
    if temperature <= 0:
        raise SettingError(
            f"{role}: got temperature = {temperature!r}; it must be positive; for the likeliest "
            "token each time write top_k=1"
        )
    k = None if top_k is None else _count(role, "top_k", top_k)
    return Search(role, lambda: _draw(step, state, max_length, start, end, temperature, k))


async def _draw(
    step: Step,
    state: Any,
    max_length: int,
    start: int,
    end: int,
    temperature: float,
    top_k: int | None,
) -> Hypothesis:
    tokens: list[int] = []
    total = 0.0
    token = start
    finished = False
    with no_grad():
        while not finished and len(tokens) < max_length:
            log_probabilities, state = _step("sample", step, state, token, end)
            row = np.asarray(await log_probabilities, np.float64)
            _check("sample", row)
            token = _token_from(row, temperature, top_k)
            total += float(row[token])
            finished = token == end
            if not finished:
                tokens.append(token)
    return Hypothesis(tokens, total, total, finished)


def _token_from(row: Array, temperature: float, top_k: int | None) -> int:
    """A token drawn with the next number of the stream."""
    number = float(uniform(row_keys(next_key(), 1), 1, np.float64)[0, 0])
    if top_k is None:
        tokens = np.arange(len(row))
    else:
        tokens = np.array(_largest(row.reshape(1, -1), top_k), np.int64)
    if not len(tokens) or row.max() == -inf:
        raise ArgumentError(
            "sample: step returned -inf for every token; one of them must be possible"
        )
    weights = np.cumsum(np.exp((row[tokens] - row.max()) / temperature))
    return int(tokens[np.searchsorted(weights, number * weights[-1], side="right")])


# What goes in, and what `step` returns


def _step(role: str, step: Step, state: Any, token: int, end: int) -> tuple[Expression, Any]:
    """What `step` returns, checked."""
    result: Any = step(state, token)
    if isinstance(result, Coroutine):
        result.close()
        raise ArgumentError(
            f"{role}: step is an async def; it only records what one hypothesis needs, and the "
            "search waits for the values; write a plain def"
        )
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], Expression)):
        raise ArgumentError(
            f"{role}: step returned {result!r}; it must return (log_probabilities, next state), "
            "the former an expression"
        )
    x: Expression = result[0]
    if x.ndim != 1 or x.batch is not None:
        raise ShapeError(
            f"{role}: step returned log-probabilities {x!r}; they must be a vector, one for each "
            "token, of a single row: step is written for one hypothesis"
        )
    if not end < len(x):
        raise RangeError(
            f"{role}: got end = {end} where step returns {len(x)} log-probabilities; it must be "
            "one of these tokens"
        )
    return result


def _check(role: str, scores: Array) -> None:
    largest = scores.max()
    if not largest <= _ABOVE_ZERO:  # NaN is none either
        raise ArgumentError(
            f"{role}: step returned {largest}; a log-probability is at most 0; return "
            "ln.log_softmax(logits)"
        )


def _count(role: str, name: str, value: Any) -> int:
    number = _whole(role, name, value)
    if number < 1:
        raise SettingError(f"{role}: got {name} = {value!r}; it must be 1 or more")
    return number


def _token(role: str, name: str, value: Any) -> int:
    number = _whole(role, name, value)
    if number < 0:
        raise RangeError(f"{role}: got {name} = {value!r}; tokens are numbered from 0")
    return number


def _whole(role: str, name: str, value: Any) -> int:
    if not isinstance(value, (bool, np.bool_)):
        try:
            return as_index(value)
        except TypeError:
            pass
    raise ArgumentError(f"{role}: got {name} = {value!r}; it must be a whole number")


__all__ = ["Hypothesis", "Search", "beam_search", "sample"]
