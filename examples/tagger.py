"""Tag words with their parts of speech: a BiLSTM over words that also reads their characters.

    python examples/tagger.py             # Brown corpus, about two minutes
    python examples/tagger.py --smoke     # made-up sentences, seconds

`Tagger.logits` takes ONE sentence. A word seen often is an embedding; every other word is spelled
out by an LSTM over its characters in both directions. Which words take which way, how long they
are, and how long the sentence is differ from example to example: in a batched program each of
these would need padding and a mask.

Baseline: every word gets the tag that it had most often in training, and an unknown word the tag
that words seen once have most often.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import common
import data_text
import numpy as np

import lazynet as ln

Tagged = data_text.Tagged


class Vocabulary:
    """Numbers of the frequent words, the characters and the tags of a training set."""

    def __init__(self, sentences: Sequence[Tagged], least: int) -> None:
        words = Counter(word.lower() for s in sentences for word, _ in s)
        frequent = sorted(word for word, n in words.items() if n >= least)
        characters = sorted({c for s in sentences for word, _ in s for c in word})
        self.words = {word: k for k, word in enumerate(frequent)}
        self.characters = {c: k + 1 for k, c in enumerate(characters)}  # 0: never seen
        self.tags = sorted({tag for s in sentences for _, tag in s})
        self.tag_numbers = {tag: k for k, tag in enumerate(self.tags)}


class Tagger:
    """Words and characters -> bidirectional LSTM -> a score for every tag.

    Args:
        model: Owns the parameters.
        vocabulary: Of the training set.
        hidden: Size of the hidden state of each direction.
    """

    def __init__(self, model: ln.Model, vocabulary: Vocabulary, hidden: int) -> None:
        self.vocabulary = vocabulary
        self.words = model.lookup(len(vocabulary.words), 64, name="words")
        self.characters = model.lookup(len(vocabulary.characters) + 1, 16, name="characters")
        self.speller = ln.nn.Bidirectional(ln.nn.LSTM(model, 16, 32), ln.nn.LSTM(model, 16, 32))
        self.encoder = ln.nn.Bidirectional(
            ln.nn.LSTM(model, 64, hidden), ln.nn.LSTM(model, 64, hidden)
        )
        self.head = ln.nn.MLP(model, [2 * hidden, hidden, len(vocabulary.tags)])

    def embedding(self, word: str) -> ln.Expression:
        """Of one word: looked up, or read character by character."""
        number = self.vocabulary.words.get(word.lower())
        if number is not None:
            return self.words[number]
        spelled = [self.vocabulary.characters.get(c, 0) for c in word]
        _, ((last, _), (first, _)) = self.speller(self.characters[spelled])
        return ln.concatenate([last, first])

    def logits(self, sentence: Tagged) -> ln.Expression:
        """Scores of all tags for every word: a batch with a row for each word."""
        xs = ln.rebatch([self.embedding(word) for word, _ in sentence])
        ys, _ = self.encoder(ln.dropout(xs, 0.25))
        return self.head(ln.dropout(ys, 0.25))

    def loss(self, sentence: Tagged) -> ln.Expression:
        """Mean cross-entropy over the words of one sentence, in nats."""
        tags = [self.vocabulary.tag_numbers[tag] for _, tag in sentence]
        return ln.mean_batch(ln.cross_entropy(self.logits(sentence), tags))

    def accuracy(self, sentences: Sequence[Tagged]) -> float:
        """Fraction of words that get their tag."""
        right = total = 0
        with ln.no_grad(), ln.training(False):
            for part in common.in_batches(sentences, 256, "tagging"):
                for sentence, scores in zip(part, ln.values([self.logits(s) for s in part])):
                    found = [self.vocabulary.tags[k] for k in np.argmax(scores, axis=1)]
                    right += sum(tag == guess for (_, tag), guess in zip(sentence, found))
                    total += len(sentence)
        return right / total


def baseline(training: Sequence[Tagged], test: Sequence[Tagged]) -> float:
    """Accuracy of giving every word its most frequent tag."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sentence in training:
        for word, tag in sentence:
            counts[word][tag] += 1
    usual = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    once = Counter(usual[word] for word, tags in counts.items() if tags.total() == 1)
    unknown = once.most_common(1)[0][0] if once else next(iter(usual.values()))
    pairs = [(usual.get(word, unknown), tag) for sentence in test for word, tag in sentence]
    return sum(guess == tag for guess, tag in pairs) / len(pairs)


def main() -> None:
    parser = common.options(__doc__, epochs=3, hidden=100, batch=64, lr=3e-3)
    options = parser.parse_args()
    training, test = data_text.synthetic_tagged() if options.smoke else data_text.brown()
    print(f"{len(training)} training and {len(test)} test sentences")
    vocabulary = Vocabulary(training, least=2 if options.smoke else 10)
    held_out = test[:400]
    usual = baseline(training, test)
    print(
        f"{len(vocabulary.tags)} tags; {len(vocabulary.words)} words have an embedding, "
        "the others are spelled"
    )

    def fresh() -> tuple[ln.Model, Tagger]:
        model = ln.Model(seed=options.seed, device=options.device)
        return model, Tagger(model, vocabulary, options.hidden)

    ln.seed(options.seed)
    model, tagger = fresh()
    updates = options.epochs * -(-len(training) // options.batch)
    schedule = ln.optim.Cosine(updates)
    optimizer = ln.optim.Adam(model, lr=options.lr, clip=5.0, schedule=schedule)
    losses, scores = common.train(
        tagger.loss,
        optimizer,
        training,
        options.epochs,
        options.batch,
        options.seed,
        lambda: tagger.accuracy(held_out),
        "accuracy",
    )
    accuracy = tagger.accuracy(test)
    print(f"test accuracy: {accuracy:.2%} (most frequent tag of each word: {usual:.2%})")

    again, loaded = fresh()
    path = options.output / "tagger.safetensors"
    common.save_and_load(model, again, path, accuracy, lambda: loaded.accuracy(test))
    common.plot(options.output / "tagger.png", losses, scores, "accuracy on 400 test sentences")
    common.compare(model, tagger.loss, training[: options.batch])


if __name__ == "__main__":
    main()
