"""The dynamic oracle of examples/parser.py, against a search through all moves."""

from __future__ import annotations

import copy
import random

import data_text
import parser
import pytest


def projective_tree(rng: random.Random, n: int) -> data_text.Sentence:
    """A random projective tree with one root."""
    while True:
        heads = [rng.choice([h for h in range(1, n + 1) if h != k]) for k in range(1, n + 1)]
        heads[rng.randrange(n)] = 0
        sentence = data_text.Sentence(("w",) * n, ("X",) * n, tuple(heads), ("r",) * n)
        reached = {0}
        for _ in range(n):
            reached |= {k + 1 for k, head in enumerate(heads) if head in reached}
        if len(reached) == n + 1 and parser.projective(sentence):
            return sentence


def fewest(state: parser.State, gold: list[int], known: dict[object, int]) -> int:
    """Mistakes still to be made, by trying everything."""
    if state.done:
        return 0
    key = (tuple(state.stack), state.front)
    if key not in known:
        known[key] = 10**9
        for action in range(3):
            if state.legal(action):
                following = copy.deepcopy(state)
                following.apply(parser.Move(action))
                wrong = 0
                if action != parser.SHIFT:
                    first, second = state.stack[-1], state.stack[-2]
                    dependent = second if action == parser.LEFT else first
                    wrong = int(following.heads[dependent] != gold[dependent])
                known[key] = min(known[key], wrong + fewest(following, gold, known))
    return known[key]


@pytest.mark.parametrize("seed", range(40))
def test_least_mistakes(seed: int) -> None:
    rng = random.Random(seed)
    sentence = projective_tree(rng, rng.randrange(2, 7))
    gold = [0, *sentence.heads]
    known: dict[object, int] = {}
    for _ in range(6):
        state = parser.State(len(sentence.words))
        while not state.done:
            expected = fewest(state, gold, known)
            assert parser.least_mistakes(state.stack, state.front, gold) == expected
            legal = [a for a in range(3) if state.legal(a)]
            state.apply(parser.Move(rng.choice(legal)))


def test_the_oracle_parses_without_mistakes() -> None:
    for sentence in data_text.synthetic_treebank()[0]:
        state = parser.State(len(sentence.words))
        gold = [0, *sentence.heads]
        while not state.done:
            state.apply(parser.Move(min(parser.best_actions(state, gold))))
        assert state.heads[1:] == list(sentence.heads)


def test_crossing_arcs_are_seen() -> None:
    names = (("a", "b", "c", "d"), ("X",) * 4)
    assert parser.projective(data_text.Sentence(*names, (2, 0, 2, 3), ("r",) * 4))
    assert not parser.projective(data_text.Sentence(*names, (3, 4, 0, 3), ("r",) * 4))
