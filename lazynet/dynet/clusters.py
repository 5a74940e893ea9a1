"""Cluster files: which words belong together, for the softmax builders that need that."""

from __future__ import annotations

import os
from typing import Any

from lazynet.dynet.expression import short


class Cluster:
    """A cluster: words, by number, and further clusters, in the order of the file."""

    __slots__ = ("by_name", "outcomes")

    def __init__(self) -> None:
        self.outcomes: list[int | Cluster] = []
        self.by_name: dict[str, Cluster] = {}

    def child(self, name: str) -> Cluster:
        """The cluster of this name, made where it is new."""
        known = self.by_name.get(name)
        if known is None:
            known = self.by_name[name] = Cluster()
            self.outcomes.append(known)
        return known


def word_ids(dic: Any, role: str) -> dict[str, int]:
    """The number of each word.

    Raises:
        TypeError: If it is no dict of words and whole numbers.
        ValueError: If these do not go from 0 without gaps.
    """
    if not isinstance(dic, dict):
        raise TypeError(f"{role}: got {short(dic)} as dic; it takes a dict of word: number")
    for word, number in dic.items():
        if not isinstance(word, (str, bytes)) or isinstance(number, bool):
            raise TypeError(f"{role}: got {short(word)}: {short(number)} in dic")
    ids = {w.decode() if isinstance(w, bytes) else w: n for w, n in dic.items()}
    if sorted(ids.values()) != list(range(len(ids))):
        raise ValueError(
            f"{role}: Dictionary should have unique ids from 0 to num_classes; got {len(ids)} "
            "words with other numbers"
        )
    return ids


def read_clusters(path: Any, ids: dict[str, int], role: str, deep: bool) -> Cluster:
    """Read a cluster file.

    Args:
        path: Its path; UTF-8.
        ids: The number of each word.
        role: What is reading it.
        deep: Whether lines hold a path of any length before the word; else one name, and what
            follows the word (such as its count) is left unread.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line has no cluster or word, or the word is unknown, or came before.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{role}: got {path!r}; it takes the name of a file with clusters")
    root = Cluster()
    seen: set[str] = set()
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            error.errno, f"{role}: Could not find cluster file", str(path)
        ) from None
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        *names, word = fields if deep else fields[:2]
        if not names:
            raise ValueError(
                f"{role}: Invalid format in cluster file {path}, line {number}: {short(line)}; it "
                "must hold a cluster and a word"
            )
        if word not in ids:
            raise ValueError(f"{role}: {path}, line {number}: {word!r} is not in the dictionary")
        if word in seen:
            raise ValueError(f"{role}: {path}, line {number}: {word!r} came before")
        seen.add(word)
        cluster = root
        for name in names:
            cluster = cluster.child(name)
        cluster.outcomes.append(ids[word])
    if not seen:
        raise ValueError(f"{role}: {path} holds no words")
    return root
