"""Parse Turkish: an arc-standard dependency parser that follows its own predictions.

    python examples/parser.py             # Turkish treebank, about ten minutes
    python examples/parser.py --smoke     # made-up sentences, seconds

A parser reads a sentence from left to right. It holds a stack of words; a move pushes the next
word (SHIFT), or makes one of the two topmost words the head of the other, under one of 44
relations. Which move comes next is up to the network, which must look at its scores before it can
go on: in a lazy engine that ends a batch. Here `Parser.parse` is a coroutine for ONE sentence: at
``await`` it waits, and `ln.run_together` computes the scores that all sentences wait for as one
batch.

In training the parser makes the moves that it believes in, mistakes included, and a dynamic oracle
says which moves lead to the best tree that can still be reached from there.

Figures: UAS and LAS, the fraction of words that get their head, and head and relation (punctuation
included). Baseline: every word depends on the next one, under the relation that its form had most
often in training.

Sources: J. Nivre, Incrementality in deterministic dependency parsing, 2004; E. Kiperwasser and
Y. Goldberg, Simple and accurate dependency parsing using bidirectional LSTM feature
representations, 2016; Y. Goldberg, F. Sartorio and G. Satta, A tabular method for dynamic oracles
in transition-based parsing, 2014.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import common
import data_text
import numpy as np

import lazynet as ln

Sentence = data_text.Sentence
SHIFT, LEFT, RIGHT = range(3)
ROOT = 0
"""Words are numbered from 1; this stands at the bottom of the stack and is the head of the root."""


class Move(NamedTuple):
    """SHIFT; LEFT: the topmost word becomes the head of the one below; RIGHT: the other way."""

    action: int
    relation: str = ""


class State:
    """What a parser holds: a stack, the number of the next word, and the arcs made so far."""

    def __init__(self, n_words: int) -> None:
        self.n_words = n_words
        self.stack = [ROOT]
        self.front = 1
        self.heads = [0] * (n_words + 1)
        self.relations = [""] * (n_words + 1)

    @property
    def done(self) -> bool:
        """Whether every word has a head."""
        return self.front > self.n_words and len(self.stack) == 1

    def legal(self, action: int) -> bool:
        """Whether a move is possible; the root waits until the whole sentence is read."""
        if action == SHIFT:
            return self.front <= self.n_words
        if action == LEFT:
            return len(self.stack) > 2
        return len(self.stack) > 2 or (len(self.stack) == 2 and self.front > self.n_words)

    def apply(self, move: Move) -> None:
        """Make a move."""
        if move.action == SHIFT:
            self.stack.append(self.front)
            self.front += 1
        else:
            first = self.stack.pop()
            second = self.stack.pop()
            head, dependent = (first, second) if move.action == LEFT else (second, first)
            self.stack.append(head)
            self.heads[dependent] = head
            self.relations[dependent] = move.relation


def projective(sentence: Sentence) -> bool:
    """Whether no two arcs cross, which is what these moves can build."""
    arcs = [tuple(sorted((k + 1, head))) for k, head in enumerate(sentence.heads)]
    return not any(a < c < b < d for a, b in arcs for c, d in arcs)


def least_mistakes(stack: Sequence[int], front: int, gold: Sequence[int]) -> int:
    """Words without a head that must get a wrong one, however well the parser goes on.

    Args:
        stack: The words on the stack, ROOT first.
        front: The next word to read.
        gold: The right head of each word; gold[0] is not used.
    """
    # Of the words to come, only those count whose subtree cannot be built first, all by itself.
    kept = {k for k in range(front, len(gold)) if gold[k] < front}
    for word in stack[1:]:
        head = gold[word]
        while head >= front and head not in kept:
            kept.add(head)
            head = gold[head]
    ahead = sorted(kept)
    # What the topmost words and the first ones ahead have been made into is known by its head.
    # Each step takes in one word more, below or ahead, as the head or as the dependent.
    depth, length = len(stack), len(ahead)
    least: list[list[dict[int, int]]] = [[{} for _ in range(length + 1)] for _ in range(depth + 1)]
    least[1][0][stack[-1]] = 0
    for i in range(1, depth + 1):
        for j in range(length + 1):
            for head, mistakes in least[i][j].items():
                steps = []
                if i < depth:
                    steps.append((stack[-i - 1], least[i + 1][j]))
                if j < length:
                    steps.append((ahead[j], least[i][j + 1]))
                for word, following in steps:
                    for top, below in ((head, word), (word, head)):
                        if below != ROOT:
                            cost = mistakes + (gold[below] != top)
                            following[top] = min(cost, following.get(top, cost))
    return least[depth][length][ROOT]


def best_actions(state: State, gold: Sequence[int]) -> set[int]:
    """The legal actions after which the fewest words get a wrong head."""
    stack, front = state.stack, state.front
    mistakes = {}
    if state.legal(SHIFT):
        mistakes[SHIFT] = least_mistakes([*stack, front], front + 1, gold)
    if state.legal(LEFT):
        wrong = gold[stack[-2]] != stack[-1]
        mistakes[LEFT] = wrong + least_mistakes([*stack[:-2], stack[-1]], front, gold)
    if state.legal(RIGHT):
        wrong = gold[stack[-1]] != stack[-2]
        mistakes[RIGHT] = wrong + least_mistakes(stack[:-1], front, gold)
    fewest = min(mistakes.values())
    return {action for action, n in mistakes.items() if n == fewest}


class Vocabulary:
    """Numbers of words, characters and moves of a training set."""

    def __init__(self, sentences: Sequence[Sentence], least: int) -> None:
        words = Counter(w.lower() for s in sentences for w in s.words)
        frequent = sorted(w for w, n in words.items() if n >= least)
        self.words = {w: k + 1 for k, w in enumerate(frequent)}  # 0: rare
        characters = sorted({c for s in sentences for w in s.words for c in w})
        self.characters = {c: k + 1 for k, c in enumerate(characters)}  # 0: never seen
        relations = sorted({r for s in sentences for r in s.relations})
        self.moves = [Move(SHIFT)]
        self.moves += [Move(action, r) for action in (LEFT, RIGHT) for r in relations]
        self.actions = np.array([move.action for move in self.moves])


class Parser:
    """BiLSTM over words and their characters; a move is scored from four words of the state.

    Args:
        model: Owns the parameters.
        vocabulary: Of the training set.
        hidden: Size of the hidden state of each direction.
    """

    def __init__(self, model: ln.Model, vocabulary: Vocabulary, hidden: int) -> None:
        self.vocabulary = vocabulary
        self.words = model.lookup(len(vocabulary.words) + 1, 64, name="words")
        self.characters = model.lookup(len(vocabulary.characters) + 1, 24, name="characters")
        self.speller = ln.nn.Bidirectional(ln.nn.LSTM(model, 24, 32), ln.nn.LSTM(model, 24, 32))
        self.encoder = ln.nn.Bidirectional(
            ln.nn.LSTM(model, 128, hidden), ln.nn.LSTM(model, 128, hidden)
        )
        self.special = model.lookup(2, 2 * hidden, name="special")  # ROOT, and where no word is
        self.scorer = ln.nn.MLP(model, [8 * hidden, hidden, len(vocabulary.moves)])

    def embedding(self, word: str) -> ln.Expression:
        """Of one word: looked up, and read character by character."""
        spelled = [self.vocabulary.characters.get(c, 0) for c in word]
        _, ((last, _), (first, _)) = self.speller(self.characters[spelled])
        return ln.concatenate([self.words[self.vocabulary.words.get(word.lower(), 0)], last, first])

    def encode(self, sentence: Sentence) -> list[ln.Expression]:
        """ROOT, every word, read in both directions, and at the end what stands for no word.

        All are rows, so that it does not matter to a batch which of them are scored; a parameter
        handed to `scores` would be shared by its whole batch, and so make another one.
        """
        xs = ln.rebatch([self.embedding(word) for word in sentence.words])
        ys, _ = self.encoder(ln.dropout(xs, 0.3))
        return [self.special[0], *ln.unbatch(ys), self.special[1]]

    @ln.fuse
    def scores(
        self,
        third: ln.Expression,
        second: ln.Expression,
        first: ln.Expression,
        front: ln.Expression,
    ) -> ln.Expression:
        """A score for every move, from the three topmost words and the next one."""
        return self.scorer(ln.concatenate([third, second, first, front]))

    @ln.fuse
    def surprise(
        self, scores: ln.Expression, illegal: ln.Expression, wrong: ln.Expression
    ) -> ln.Expression:
        """-log p(a best move), in nats; `illegal` and `wrong` take moves out of the sums."""
        return ln.logsumexp(scores + illegal) - ln.logsumexp(scores + wrong)

    def scores_of(self, state: State, vectors: Sequence[ln.Expression]) -> ln.Expression:
        """A score for every move in a state."""
        top = [vectors[k] for k in state.stack[-3:]]
        third, second, first = [vectors[-1]] * (3 - len(top)) + top
        return self.scores(third, second, first, vectors[state.front])

    async def parse(self, sentence: Sentence) -> State:
        """Parse one sentence, always by the best move."""
        with ln.no_grad(), ln.training(False):
            vectors = self.encode(sentence)
            state = State(len(sentence.words))
            while not state.done:
                scores = await self.scores_of(state, vectors)
                state.apply(self.best(scores, self.legal(state)))
        return state

    async def loss(self, sentence: Sentence) -> ln.Expression:
        """Mean surprise at the oracle's moves, in states that the parser itself gets into."""
        gold = [ROOT, *sentence.heads]
        vectors = self.encode(sentence)
        state = State(len(sentence.words))
        losses = []
        while not state.done:
            scores = self.scores_of(state, vectors)
            legal = self.legal(state)
            good = np.isin(self.vocabulary.actions, list(best_actions(state, gold)))
            for k, move in enumerate(self.vocabulary.moves):
                if good[k] and move.action != SHIFT:
                    good[k] = move.relation in self.right_relations(state, sentence, move.action)
            losses.append(self.surprise(scores, masked(legal), masked(good)))
            state.apply(self.best(await scores, legal))
        return ln.mean(losses)

    def right_relations(self, state: State, sentence: Sentence, action: int) -> Sequence[str]:
        """Relations that an arc may get: the right one, or any where the arc itself is wrong."""
        second, first = state.stack[-2:]
        head, dependent = (first, second) if action == LEFT else (second, first)
        right = sentence.heads[dependent - 1] == head
        relation = sentence.relations[dependent - 1]
        return [relation] if right else [move.relation for move in self.vocabulary.moves]

    def legal(self, state: State) -> np.ndarray:
        """Which moves are possible."""
        return np.isin(self.vocabulary.actions, [a for a in range(3) if state.legal(a)])

    def best(self, scores: np.ndarray, legal: np.ndarray) -> Move:
        """The possible move with the highest score."""
        return self.vocabulary.moves[int(np.where(legal, scores, -np.inf).argmax())]


@functools.cache
def _mask(chosen: bytes) -> np.ndarray:
    return np.where(np.frombuffer(chosen, bool), 0, -1e9).astype(np.float32)


def masked(chosen: np.ndarray) -> ln.Expression:
    """0 for the moves that are chosen, and for the others what takes them out of a sum."""
    return ln.constant(_mask(chosen.tobytes()))


def attachment(parses: Sequence[State], sentences: Sequence[Sentence]) -> tuple[float, float]:
    """UAS and LAS."""
    heads = both = total = 0
    for state, sentence in zip(parses, sentences):
        for k, (head, relation) in enumerate(zip(sentence.heads, sentence.relations)):
            right = state.heads[k + 1] == head
            heads += right
            both += right and state.relations[k + 1] == relation
            total += 1
    return heads / total, both / total


def next_word(training: Sequence[Sentence], test: Sequence[Sentence]) -> tuple[float, float]:
    """UAS and LAS where every word depends on the next one."""
    relations: dict[str, Counter[str]] = defaultdict(Counter)
    for sentence in training:
        for word, relation in zip(sentence.words, sentence.relations):
            relations[word][relation] += 1
    usual = sum(relations.values(), Counter()).most_common(1)[0][0]
    guesses = []
    for sentence in test:
        state = State(len(sentence.words))
        state.heads = [0, *range(2, state.n_words + 1), 0]
        known = [relations[w].most_common(1) for w in sentence.words]
        state.relations = ["", *[best[0][0] if best else usual for best in known]]
        guesses.append(state)
    return attachment(guesses, test)


def main() -> None:
    parser = common.options(__doc__, epochs=6, hidden=100, batch=32, lr=2e-3)
    options = parser.parse_args()
    training, test = data_text.synthetic_treebank() if options.smoke else data_text.treebank()
    usable = [sentence for sentence in training if projective(sentence)]
    print(
        f"{len(usable)} of {len(training)} training sentences are projective; {len(test)} to test"
    )
    vocabulary = Vocabulary(usable, least=2)

    def fresh() -> tuple[ln.Model, Parser]:
        model = ln.Model(seed=options.seed, device=options.device)
        return model, Parser(model, vocabulary, options.hidden)

    def score(network: Parser, sentences: Sequence[Sentence]) -> tuple[float, float]:
        return attachment(ln.run_together(map(network.parse, sentences), limit=128), sentences)

    ln.seed(options.seed)
    model, network = fresh()
    schedule = ln.optim.Cosine(options.epochs * -(-len(usable) // options.batch))
    losses, history = common.train(
        network.loss,
        ln.optim.Adam(model, lr=options.lr, clip=5.0, schedule=schedule),
        usable,
        options.epochs,
        options.batch,
        options.seed,
        lambda: score(network, test)[1],
        "LAS",
    )
    uas, las = score(network, test)
    usual = next_word(training, test)
    print(f"UAS {uas:.1%}, LAS {las:.1%} (next word: {usual[0]:.1%}, {usual[1]:.1%})")

    again, loaded = fresh()
    path = options.output / "parser.safetensors"
    common.save_and_load(model, again, path, las, lambda: score(loaded, test)[1])
    common.plot(options.output / "parser.png", losses, history, "LAS")
    common.compare(model, network.loss, usable[: options.batch])


if __name__ == "__main__":
    main()
