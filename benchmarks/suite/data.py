"""Minibatches with the length statistics of the published corpora, from a seed.

What is drawn: lengths, shapes of trees, and words by Zipf's law (word k as often as 1 / k). Labels
carry no meaning: what is measured is time. Trees can be read from a file instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Rng = np.random.Generator


def length(rng: Rng, mean: float, deviation: float, least: int, most: int) -> int:
    """A gamma-distributed length: ragged, with the long tail of a corpus."""
    shape = (mean / deviation) ** 2
    return int(np.clip(round(rng.gamma(shape, mean / shape)), least, most))


def sentence_length(rng: Rng) -> int:
    """Words of a sentence as in the Penn Treebank or WikiNER: 23 on average."""
    return length(rng, 23.0, 11.0, 2, 80)


class Zipf:
    """Whole numbers from 0 to n - 1, number k as often as 1 / (k + 1)."""

    def __init__(self, n: int) -> None:
        weights = 1 / np.arange(1, n + 1)
        self._bounds = np.cumsum(weights) / weights.sum()

    def __call__(self, rng: Rng, count: int) -> list[int]:
        drawn = np.searchsorted(self._bounds, rng.random(count))
        return [int(k) for k in np.minimum(drawn, len(self._bounds) - 1)]


def classes(rng: Rng, count: int, n: int) -> list[int]:
    return [int(k) for k in rng.integers(0, n, count)]


# Binary trees


@dataclass(frozen=True, slots=True)
class Tree:
    """A node: of a word, or of two children."""

    label: int
    word: int = -1
    left: Tree | None = None
    right: Tree | None = None


def read_trees(path: str | Path, words: dict[str, int]) -> list[Tree]:
    """Trees from a file with one s-expression a line; new words are entered into `words`."""
    trees = []
    for line in Path(path).read_text(encoding="utf-8").split("\n"):
        stack: list[list[object]] = [[]]
        for token in re.findall(r"\(|\)|[^ ()]+", line):
            if token == "(":
                stack.append([])
            elif token == ")":
                label, *rest = stack.pop()
                if len(rest) == 2:
                    node = Tree(int(str(label)), -1, *rest)  # type: ignore[arg-type]
                else:
                    node = Tree(int(str(label)), words.setdefault(str(rest[0]), len(words)))
                stack[-1].append(node)
            else:
                stack[-1].append(token)
        trees += [node for node in stack[0] if isinstance(node, Tree)]
    return trees


def random_tree(rng: Rng, words: list[int], labels: int) -> Tree:
    """A binary tree over these words, leaning to the right as English does.

    With sentences of the treebank's lengths the height is 10 on average, as there.
    """
    label = int(rng.integers(0, labels))
    n = len(words)
    if n == 1:
        return Tree(label, words[0])
    cut = 1 if rng.random() < 0.53 else int(rng.integers(1, n))
    left = random_tree(rng, words[:cut], labels)
    return Tree(label, -1, left, random_tree(rng, words[cut:], labels))


def treebank_sentence(rng: Rng) -> int:
    """Words of a sentence of the Stanford Sentiment Treebank: 19 on average, 52 at most."""
    return length(rng, 19.1, 9.3, 2, 52)


# Transitions of a parser

SHIFT, LEFT, RIGHT = range(3)


def transitions(rng: Rng, tree: Tree) -> list[int]:
    """The arc-standard derivation of a projective tree, from a binary one with random heads."""
    if tree.left is None or tree.right is None:
        return [SHIFT]
    arc = int(rng.choice((LEFT, RIGHT)))
    return [*transitions(rng, tree.left), *transitions(rng, tree.right), arc]


# Lattices


def lattice_words(rng: Rng, n: int, share: float, words: Zipf) -> list[list[tuple[int, int]]]:
    """For each character, the words of the lexicon that end there: (where it begins, which).

    Words of 2, 3 and 4 characters; each span is a word with probability `share`.
    """
    return [
        [
            (end - back, words(rng, 1)[0])
            for back in (1, 2, 3)
            if end >= back and rng.random() < share
        ]
        for end in range(n)
    ]
