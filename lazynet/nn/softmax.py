"""A softmax over many words that computes only the class of a word and the words of that class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazynet.errors import ArgumentError, RangeError, SettingError, ShapeError
from lazynet.fuse import fuse
from lazynet.graph import Expression
from lazynet.inputs import constant, rebatch, unbatch
from lazynet.nn.base import part_of, size_of, vector_of
from lazynet.nn.linear import Linear
from lazynet.ops import categorical, concatenate, cross_entropy, log_softmax, pick_rows
from lazynet.parameters import Model


class ClassFactoredSoftmax:
    """p(word | h) = p(class of word | h) p(word | its class, h), both by a softmax.

    The loss of one word costs n_classes + (words in its class) scores instead of n_words; with
    about sqrt(n_words) classes of equal sizes, 2 sqrt(n_words).

    Args:
        model: Owns the parameters, in a sub-model "class_factored_softmax": "classes" with W and b,
            and for each class with more than one word "words_<class>".
        n_in: Length of h.
        classes: For each word the number of its class; classes are numbered from 0 without gaps.

    Attributes:
        n_in: Length of h.
        n_words: Number of words.
        n_classes: Number of classes.

    Source: J. Goodman, "Classes for fast maximum entropy training", 2001.

    >>> import lazynet as ln
    >>> softmax = ln.nn.ClassFactoredSoftmax(ln.Model(seed=0), 4, [0, 1, 1, 0, 2])
    >>> h = ln.constant([1.0, 2.0, 3.0, 4.0])
    >>> loss = softmax.loss(h, 3)
    >>> bool(abs(loss.value() + softmax.log_probabilities(h).value()[3]) < 1e-5)
    True
    """

    def __init__(self, model: Model, n_in: int, classes: Sequence[int]) -> None:
        role = "ClassFactoredSoftmax"
        self.n_in = size_of(n_in, f"{role}: n_in")
        numbers = np.asarray(classes)
        if numbers.ndim != 1 or not numbers.size or numbers.dtype.kind not in "iu":
            raise ArgumentError(
                f"{role}: got {type(classes).__name__} as classes; it must be a list with the "
                "number of the class of each word"
            )
        used = np.unique(numbers)
        if not np.array_equal(used, np.arange(len(used))):
            raise SettingError(
                f"{role}: got the classes {used[:8].tolist()}, ...; they must be numbered from 0 "
                "without gaps"
            )
        self.n_words, self.n_classes = len(numbers), len(used)
        self._members = [np.flatnonzero(numbers == c) for c in range(self.n_classes)]
        self._class_of: list[int] = numbers.tolist()
        self._place: list[int] = [0] * self.n_words
        for members in self._members:
            for place, word in enumerate(members.tolist()):
                self._place[word] = place
        self._in_order: list[int] = np.argsort(np.concatenate(self._members)).tolist()
        self.model = part_of(model, "class_factored_softmax", role)
        self.classes = Linear(self.model.submodel("classes"), self.n_in, self.n_classes)
        self.words = [
            Linear(self.model.submodel(f"words_{c}"), self.n_in, len(members))
            if len(members) > 1
            else None
            for c, members in enumerate(self._members)
        ]

    def loss(self, h: Any, word: int | Sequence[int]) -> Expression:
        """-log p(word | h), in nats.

        Args:
            h: Shape ``(n_in,)``.
            word: A word; or a list of one for each row, where h has a batch.

        Returns:
            A scalar for each row.

        Raises:
            RangeError: If a word is out of range.
            ShapeError: If there are not as many words as rows.
        """
        h = vector_of(h, self.n_in, "ClassFactoredSoftmax", self.model.dtype, "h")
        of_class: Expression
        if not isinstance(word, (list, tuple, range, np.ndarray)) or np.ndim(word) == 0:
            w = self._word(word)
            of_class = self._class_loss(h, self._class_of[w])
            of_word = self._within(h, w)
            return of_class if of_word is None else of_class + of_word
        words = [self._word(w) for w in word]
        if h.batch != len(words):
            raise ShapeError(
                f"ClassFactoredSoftmax: got {len(words)} words and {h!r}; a list of words needs a "
                "batch with as many rows"
            )
        of_class = self._class_loss(h, [self._class_of[w] for w in words])
        if not words:
            return of_class
        zero = constant(np.zeros((), self.model.dtype))
        parts = [self._within(row, w) for row, w in zip(unbatch(h), words)]
        return of_class + rebatch([zero if part is None else part for part in parts])

    def _within(self, h: Expression, word: int) -> Expression | None:
        """-log p(word | its class, h); None, for 0, where the class has no other word."""
        linear = self.words[self._class_of[word]]
        if linear is None:
            return None
        loss: Expression = self._word_loss(linear, h, self._place[word])
        return loss

    @fuse
    def _class_loss(self, h: Expression, c: int | Sequence[int]) -> Expression:
        return cross_entropy(self.classes(h), c)

    @fuse
    def _word_loss(self, linear: Linear, h: Expression, place: int) -> Expression:
        return cross_entropy(linear(h), place)

    def _word(self, word: Any) -> int:
        if isinstance(word, (bool, np.bool_)) or not isinstance(
            word, (int, np.integer, np.ndarray)
        ):
            raise ArgumentError(
                f"ClassFactoredSoftmax: got word {word!r}; it must be a whole number, or a list of "
                "one for each row"
            )
        w = int(word)
        if not 0 <= w < self.n_words:
            raise RangeError(
                f"ClassFactoredSoftmax: got word {w} of {self.n_words}; words go from 0 to "
                f"{self.n_words - 1}"
            )
        return w

    def log_probabilities(self, h: Any) -> Expression:
        """log p(word | h) of every word, in nats, shape ``(n_words,)``; costs as much as one."""
        h = vector_of(h, self.n_in, "ClassFactoredSoftmax", self.model.dtype, "h")
        of_class = log_softmax(self.classes(h))
        parts = []
        for c, linear in enumerate(self.words):
            share = of_class[c : c + 1]
            parts.append(share if linear is None else share + log_softmax(linear(h)))
        return pick_rows(concatenate(parts), self._in_order)

    def sample(self, h: Any) -> Expression:
        """A word drawn with p(word | h): an int64 scalar. Computes all words' probabilities."""
        return categorical(self.log_probabilities(h))


__all__ = ["ClassFactoredSoftmax"]
