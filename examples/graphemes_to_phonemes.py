"""Pronounce English words: letters to phonemes, with attention; greedy and beam search.

    python examples/graphemes_to_phonemes.py             # CMU dictionary, about ten minutes
    python examples/graphemes_to_phonemes.py --smoke     # made-up words, seconds

The decoder is written once, for ONE hypothesis: `Speller.step` takes a state and the last phoneme,
and returns log-probabilities and the next state. In training it is called along the right phonemes,
in decoding `ln.beam_search` calls it along those it finds. Decoding looks at values at every step,
so each word is a coroutine, and `ln.run_together` computes a step of all words, and of all their
hypotheses, as one batch.

The figure is the phoneme error rate: edits needed to make the right phonemes of those found, per
right phoneme. Baseline: every letter, with the letter that follows, says what it says most often,
after letters and phonemes have been aligned.

Source: D. Bahdanau, K. Cho and Y. Bengio, Neural machine translation by jointly learning to align
and translate, 2015.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import common
import data_text

import lazynet as ln

Pair = data_text.Pronunciation
END = 0
"""The number of the phoneme that ends a word, and stands before the first one."""


class State(NamedTuple):
    """Where a decoder is.

    Attributes:
        lstm: State of its LSTM.
        context: What it attended to last.
        attend: The letters, to attend to.
    """

    lstm: Any
    context: ln.Expression
    attend: Any


class Speller:
    """Bidirectional LSTM over letters; LSTM over phonemes that attends to the letters.

    Args:
        model: Owns the parameters.
        letters: The letters.
        phonemes: The phonemes.
        hidden: Size of the hidden state of the decoder; each direction of the encoder has half.
    """

    def __init__(
        self, model: ln.Model, letters: Sequence[str], phonemes: Sequence[str], hidden: int
    ) -> None:
        self.letter_numbers = {letter: k for k, letter in enumerate(letters)}
        self.phonemes = ["", *phonemes]
        self.numbers = {phoneme: k for k, phoneme in enumerate(self.phonemes)}
        half = hidden // 2
        self.letters = model.lookup(len(letters), half, name="letters")
        self.spoken = model.lookup(len(self.phonemes), half, name="phonemes")
        self.encoder = ln.nn.Bidirectional(
            ln.nn.LSTM(model, half, half), ln.nn.LSTM(model, half, half)
        )
        self.decoder = ln.nn.LSTM(model, half + hidden, hidden)
        self.attention = ln.nn.AdditiveAttention(model, hidden, hidden, half)
        self.output = ln.nn.MLP(model, [2 * hidden, hidden, len(self.phonemes)], activation="tanh")
        self.hidden = hidden

    def start(self, word: str) -> State:
        """The decoder before the first phoneme of a word."""
        xs = self.letters[[self.letter_numbers[c] for c in word if c in self.letter_numbers]]
        ys, _ = self.encoder(ln.dropout(xs, 0.1))
        nothing = ln.constant([0.0] * self.hidden)
        return State(self.decoder.initial_state(), nothing, self.attention.over(ys))

    def step(self, state: State, phoneme: int) -> tuple[ln.Expression, State]:
        """Log-probabilities of the phoneme after this one, and the state there."""
        x = ln.concatenate([self.spoken[phoneme], state.context])
        h, lstm = self.decoder.step(x, state.lstm)
        context, _ = state.attend(h)
        scores = self.read(h, context)
        return scores, State(lstm, context, state.attend)

    @ln.fuse
    def read(self, h: ln.Expression, context: ln.Expression) -> ln.Expression:
        """Log-probabilities of all phonemes."""
        return ln.log_softmax(self.output(ln.concatenate([h, context])))

    def loss(self, pair: Pair) -> ln.Expression:
        """Mean surprise at the phonemes of one word, in nats."""
        word, phonemes = pair
        state, last = self.start(word), END
        losses = []
        for phoneme in [*phonemes, ""]:
            scores, state = self.step(state, last)
            last = self.numbers[phoneme]
            losses.append(-scores[last])
        return ln.mean(losses)

    async def pronounce(self, word: str, width: int) -> list[str]:
        """The likeliest phonemes that a beam search of this width finds; 1 is greedy."""
        with ln.no_grad(), ln.training(False):
            search = ln.beam_search(self.step, self.start(word), width, 40, start=END, end=END)
            best = (await search)[0]
        return [self.phonemes[k] for k in best.tokens]

    def error_rate(self, pairs: Sequence[Pair], width: int = 1) -> float:
        """Phoneme error rate."""
        words = [self.pronounce(word, width) for word, _ in pairs]
        return error_rate(ln.run_together(words, limit=256), [p for _, p in pairs])


def edits(found: Sequence[str], right: Sequence[str]) -> int:
    """Insertions, deletions and substitutions between two sequences, at least.

    Source: V. Levenshtein, Binary codes capable of correcting deletions, insertions, and
    reversals, 1966.
    """
    row = list(range(len(right) + 1))
    for i, a in enumerate(found):
        above, row[0] = row[0], i + 1
        for j, b in enumerate(right):
            above, row[j + 1] = row[j + 1], min(row[j] + 1, row[j + 1] + 1, above + (a != b))
    return row[-1]


def error_rate(found: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> float:
    """Edits per right phoneme."""
    return sum(map(edits, found, right)) / sum(map(len, right))


def letter_by_letter(training: Sequence[Pair], test: Sequence[Pair]) -> float:
    """Error rate where a letter and the next one say what they say most often: 0 to 2 phonemes."""
    counts: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for _ in range(4):  # align as the counts of the last round say, and count again
        previous, counts = counts, defaultdict(Counter)
        totals = {letter: sum(c.values()) for letter, c in previous.items()}
        for word, phonemes in training:
            for k, said in enumerate(align(word, phonemes, previous, totals)):
                counts[word[k]][said] += 1
                counts[word[k : k + 2]][said] += 1
    found = []
    for word, _ in test:
        known = [counts.get(word[k : k + 2]) or counts[word[k]] for k in range(len(word))]
        found.append([p for c in known if c for p in c.most_common(1)[0][0]])
    return error_rate(found, [p for _, p in test])


def align(
    word: str,
    phonemes: Sequence[str],
    counts: dict[str, Counter[tuple[str, ...]]],
    totals: dict[str, int],
) -> list[tuple[str, ...]]:
    """What each letter of a word says: the likeliest way to cut the phonemes up."""
    n = len(phonemes)
    best = [(1.0, ())] + [(0.0, ())] * n  # up to each phoneme: how likely, and the lengths
    for letter in word:
        heard = counts.get(letter, Counter())
        total = totals.get(letter, 0)
        following = [(0.0, ())] * (n + 1)
        for end in range(n + 1):
            for length in range(min(2, end) + 1):
                likely, lengths = best[end - length]
                said = tuple(phonemes[end - length : end])
                likely *= (heard[said] + 0.1) / (total + 100) * (0.1 if length != 1 else 1)
                if likely > following[end][0]:
                    following[end] = (likely, (*lengths, length))
        best = following
    said, at = [], 0
    for length in best[n][1]:
        said.append(tuple(phonemes[at : at + length]))
        at += length
    return said


def main() -> None:
    parser = common.options(__doc__, epochs=3, hidden=128, batch=64, lr=3e-3)
    options = parser.parse_args()
    read = data_text.synthetic_pronunciations if options.smoke else data_text.pronunciations
    training, test = read()
    letters = sorted({c for word, _ in training for c in word})
    phonemes = sorted({p for _, said in training for p in said})
    print(
        f"{len(training)} words to train on and {len(test)} to test, {len(letters)} letters, "
        f"{len(phonemes)} phonemes"
    )
    held_out = test[:500]
    usual = letter_by_letter(training[:6000], test)

    def fresh() -> tuple[ln.Model, Speller]:
        model = ln.Model(seed=options.seed, device=options.device)
        return model, Speller(model, letters, phonemes, options.hidden)

    ln.seed(options.seed)
    model, speller = fresh()
    schedule = ln.optim.Cosine(options.epochs * -(-len(training) // options.batch))
    losses, scores = common.train(
        speller.loss,
        ln.optim.Adam(model, lr=options.lr, clip=5.0, schedule=schedule),
        training,
        options.epochs,
        options.batch,
        options.seed,
        lambda: speller.error_rate(held_out),
        "errors",
    )
    greedy, beam = speller.error_rate(test), speller.error_rate(test, width=4)
    print(
        f"phoneme error rate: {greedy:.1%} greedy, {beam:.1%} with a beam of 4 "
        f"(letter by letter: {usual:.1%})"
    )
    some = [word for word, _ in test[:5]]
    for word, said in zip(some, ln.run_together(speller.pronounce(word, 4) for word in some)):
        print(f"    {word:14} {' '.join(said)}")

    again, loaded = fresh()
    path = options.output / "graphemes_to_phonemes.safetensors"
    common.save_and_load(model, again, path, greedy, lambda: loaded.error_rate(test))
    plot = options.output / "graphemes_to_phonemes.png"
    common.plot(plot, losses, scores, "phoneme error rate on 500 test words")
    common.compare(model, speller.loss, training[: options.batch])


if __name__ == "__main__":
    main()
