"""Predict the next word: an LSTM language model with a softmax in two steps.

    python examples/language_model.py             # Brown corpus, about ten minutes
    python examples/language_model.py --smoke     # made-up sentences, seconds

The probability of a word is that of its class times that within its class, so that a word costs
about 2 sqrt(n) scores instead of n. Which softmax a word needs depends on the word: every step of
every sentence takes its own way through the program, and all that go the same way are one batch.

The figure is perplexity: as uncertain as a choice among that many words. Baseline: an interpolated
Kneser-Ney model of word pairs, on the same words (S. F. Chen and J. Goodman, An empirical study of
smoothing techniques for language modeling, 1999).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import common
import data_text

import lazynet as ln

END, UNKNOWN = 0, 1
"""Numbers of the end of a sentence, which also stands before its first word, and of rare words."""

Sentence = list[int]


def encode(
    training: Sequence[data_text.Tagged], test: Sequence[data_text.Tagged], least: int
) -> tuple[list[Sentence], list[Sentence], Counter[int]]:
    """Numbers of words, those seen fewer than `least` times being UNKNOWN; and their counts."""
    seen = Counter(word.lower() for sentence in training for word, _ in sentence)
    kept = [word for word, n in seen.most_common() if n >= least]
    number = {word: k + 2 for k, word in enumerate(kept)}

    def numbers(sentences: Sequence[data_text.Tagged]) -> list[Sentence]:
        return [[number.get(w.lower(), UNKNOWN) for w, _ in s] + [END] for s in sentences]

    encoded = numbers(training)
    counts = Counter({k: 0 for k in range(len(kept) + 2)})
    counts.update(word for sentence in encoded for word in sentence)
    return encoded, numbers(test), counts


def classes_by_frequency(counts: Counter[int]) -> list[int]:
    """A class for each word: neighbours by frequency, every class about as likely as the next.

    Source: T. Mikolov et al., Extensions of recurrent neural network language model, 2011.
    """
    n_classes = round(math.sqrt(len(counts)))
    share = sum(math.sqrt(n) for n in counts.values()) / n_classes
    classes = [0] * len(counts)
    filled, number = 0.0, 0
    for word, n in counts.most_common():
        if filled > share * (number + 1):
            number += 1
        classes[word] = number
        filled += math.sqrt(n)
    return classes


class LanguageModel:
    """LSTM over the words so far -> the class of the next word -> the word.

    Args:
        model: Owns the parameters.
        classes: Of each word.
        hidden: Size of the hidden state, and of the embeddings.
    """

    def __init__(self, model: ln.Model, classes: list[int], hidden: int) -> None:
        self.words = model.lookup(len(classes), hidden, name="words")
        self.lstm = ln.nn.LSTM(model, hidden, hidden)
        self.softmax = ln.nn.ClassFactoredSoftmax(model, hidden, classes)

    def surprise(self, sentence: Sentence) -> ln.Expression:
        """-log p of every word of one sentence and of its end, in nats: a row for each."""
        xs = self.words[[END, *sentence[:-1]]]
        hs, _ = self.lstm(ln.dropout(xs, 0.2))
        return self.softmax.loss(ln.dropout(hs, 0.2), sentence)

    def loss(self, sentence: Sentence) -> ln.Expression:
        """Mean surprise of a sentence, in nats a word."""
        return ln.mean_batch(self.surprise(sentence))

    def perplexity(self, sentences: Sequence[Sentence]) -> float:
        """exp of the mean surprise over all words."""
        total = 0.0
        with ln.no_grad(), ln.training(False):
            for part in common.in_batches(sentences, 128, "testing"):
                total += ln.sum([ln.sum_batch(self.surprise(s)) for s in part]).item()
        return math.exp(total / sum(len(s) for s in sentences))


def kneser_ney(training: Sequence[Sentence], test: Sequence[Sentence], n_words: int) -> float:
    """Perplexity of an interpolated Kneser-Ney model of word pairs."""
    pairs: dict[int, Counter[int]] = defaultdict(Counter)
    for sentence in training:
        for before, word in zip([END, *sentence], sentence):
            pairs[before][word] += 1
    different = Counter(word for follow in pairs.values() for word in follow)
    kinds = different.total()
    often = Counter(n for follow in pairs.values() for n in follow.values())
    discount = often[1] / (often[1] + 2 * often[2])
    surprise, total = 0.0, 0
    for sentence in test:
        for before, word in zip([END, *sentence], sentence):
            # a word never seen as a successor gets a share of what discounting every word gives
            alone = max(different[word] - discount, 0) / kinds
            alone += discount * len(different) / kinds / n_words
            follow = pairs.get(before)
            if follow is not None:
                seen = follow.total()
                held_back = discount * len(follow) / seen
                alone = max(follow[word] - discount, 0) / seen + held_back * alone
            surprise -= math.log(alone)
            total += 1
    return math.exp(surprise / total)


def main() -> None:
    parser = common.options(__doc__, epochs=4, hidden=200, batch=32, lr=2e-3)
    options = parser.parse_args()
    raw = data_text.synthetic_tagged() if options.smoke else data_text.brown()
    training, test, counts = encode(*raw, least=1 if options.smoke else 3)
    classes = classes_by_frequency(counts)
    n = sum(len(s) for s in training)
    print(f"{n:,} words to train on; {len(counts):,} different ones, in {max(classes) + 1} classes")
    pairs = kneser_ney(training, test, len(counts))

    def fresh() -> tuple[ln.Model, LanguageModel]:
        model = ln.Model(seed=options.seed, device=options.device)
        return model, LanguageModel(model, classes, options.hidden)

    ln.seed(options.seed)
    model, network = fresh()
    updates = options.epochs * -(-len(training) // options.batch)
    schedule = ln.optim.Cosine(updates)
    optimizer = ln.optim.Adam(model, lr=options.lr, clip=5.0, schedule=schedule)
    held_out = test[:400]
    losses, scores = common.train(
        network.loss,
        optimizer,
        training,
        options.epochs,
        options.batch,
        options.seed,
        lambda: network.perplexity(held_out),
        "perplexity",
    )
    perplexity = network.perplexity(test)
    print(f"test perplexity: {perplexity:.1f} (Kneser-Ney, pairs: {pairs:.1f})")

    again, loaded = fresh()
    path = options.output / "language_model.safetensors"
    common.save_and_load(model, again, path, perplexity, lambda: loaded.perplexity(test))
    plot = options.output / "language_model.png"
    common.plot(plot, losses, scores, "perplexity on 400 test sentences")
    common.compare(model, network.loss, training[: options.batch])


if __name__ == "__main__":
    main()
