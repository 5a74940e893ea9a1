"""Graphs as users record them, from fixed seeds, and the schedulers that ours is measured against.

Each workload returns the expressions that are asked for. "Cells" have one node per recurrent cell
or tree node, "by op" one node per operation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

import lazynet as ln
from lazynet.collect import Graph
from lazynet.schedule import Schedule

WIDTH = 4


@dataclass(frozen=True)
class Cell(ln.Op):
    """y = tanh(W (x_1 + ... + x_n) + d): a recurrent cell or tree node in one piece."""

    shares = True
    reads_args = True

    def shape(self, W: Any, *xs: Any) -> Any:
        if any(x != W[1:] for x in xs):
            raise self.fail("the x must have as many entries as W columns", "reshape", W, *xs)
        return W[:1]

    def forward(self, call: ln.Call, W: Any, *xs: Any) -> Any:
        return np.tanh(_total(call, xs) @ W.T + len(xs))

    def backward(self, call: ln.Call, dy: Any, y: Any, W: Any, *xs: Any) -> Any:
        dz = dy * (1 - y * y)
        dW = dz.T @ _total(call, xs) if call.needs[0] else None
        dx = dz @ W
        return dW, *[dx.sum(0) if shared else dx for shared in call.shared[1:]]


def _total(call: ln.Call, xs: tuple[Any, ...]) -> Any:
    width = xs[0].shape[-1]
    total = np.zeros((call.rows, width), xs[0].dtype, like=xs[0])
    for x in xs:
        total += x
    return total


CELL = Cell()


@dataclass(frozen=True)
class LSTMCell(ln.Op):
    """A cell with two results: c' = tanh(c + W (x + h)), h' = tanh(c')."""

    shares = True
    reads_args = True

    def shape(self, W: Any, x: Any, h: Any, c: Any) -> Any:
        return [h, c]

    def forward(self, call: ln.Call, W: Any, x: Any, h: Any, c: Any) -> Any:
        new = np.tanh(np.broadcast_to(c, (call.rows, *W.shape[:1])) + (x + h) @ W.T)
        return np.tanh(new), new

    def backward(self, call: ln.Call, dy: Any, y: Any, W: Any, x: Any, h: Any, c: Any) -> Any:
        new = y[1]
        dz = (dy[1] + dy[0] * (1 - y[0] ** 2)) * (1 - new**2)
        total = np.broadcast_to(x + h, (len(dz), W.shape[1]))
        d = [dz.T @ total if call.needs[0] else None, dz @ W, dz @ W, dz]
        return tuple(
            g.sum(0) if k and call.shared[k] and g is not None else g for k, g in enumerate(d)
        )


LSTM_CELL = LSTMCell()


class Weights:
    """Parameters by name, made when they are first asked for."""

    def __init__(self, width: int = WIDTH) -> None:
        self.model = ln.Model(seed=1)
        self.width = width
        self._known: dict[tuple[str, tuple[int, ...]], Any] = {}

    def __call__(self, name: str, *shape: int) -> Any:
        shape = shape or (self.width, self.width)
        key = (name, shape)
        if key not in self._known:
            self._known[key] = self.model.parameter(shape)
        return self._known[key]


class Data:
    """Random inputs and structures of one seed."""

    def __init__(self, seed: int, width: int = WIDTH) -> None:
        self.rng = np.random.default_rng(seed)
        self.width = width

    def vector(self) -> Any:
        return ln.constant(self.rng.normal(size=self.width).astype(np.float32))

    def zeros(self) -> Any:
        return ln.constant(np.zeros(self.width, np.float32))

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(self.rng.integers(low, high + 1))


# One node per cell


def sentence(data: Data) -> int:
    """Characters of a sentence: 20 to 60, as many of each length."""
    return data.integer(20, 60)


def corpus_sentence(data: Data) -> int:
    """Characters of a sentence, with the long tail of a corpus: 27 on average, few beyond 75."""
    return 3 + int(data.rng.gamma(2.0, 12.0))


def chains(graphs: int = 64, low: int = 5, high: int = 60, seed: int = 0) -> list[Any]:
    """A ragged batch of recurrent chains, cells."""
    weights, data = Weights(), Data(seed)
    W = weights("W")
    roots = []
    for _ in range(graphs):
        state = data.zeros()
        for _ in range(data.integer(low, high)):
            state = CELL(W, data.vector(), state)
        roots.append(state)
    return roots


def lstm_chains(graphs: int = 64, low: int = 5, high: int = 60, seed: int = 0) -> list[Any]:
    """The same with a cell of two results."""
    weights, data = Weights(), Data(seed)
    W = weights("W")
    roots = []
    for _ in range(graphs):
        h = c = data.zeros()
        for _ in range(data.integer(low, high)):
            h, c = LSTM_CELL(W, data.vector(), h, c)
        roots.append(h)
    return roots


def fold_tree(leaves: list[Any], merge: Callable[[Any, Any], Any], data: Data) -> Any:
    """Merge random neighbours until one is left: a random binary tree."""
    while len(leaves) > 1:
        k = data.integer(0, len(leaves) - 2)
        leaves[k : k + 2] = [merge(leaves[k], leaves[k + 1])]
    return leaves[0]


def trees(
    types: int = 1, graphs: int = 32, low: int = 10, high: int = 40, seed: int = 0
) -> list[Any]:
    """Random binary trees whose inner nodes are of several types, each with its own parameters."""
    weights, data = Weights(), Data(seed)
    word = weights("leaf")
    inner = [weights(f"type {t}") for t in range(types)]

    def merge(a: Any, b: Any) -> Any:
        return CELL(inner[data.integer(0, types - 1)], a, b)

    roots = []
    for _ in range(graphs):
        leaves = [CELL(word, data.vector()) for _ in range(data.integer(low, high))]
        roots.append(fold_tree(leaves, merge, data))
    return roots


Arcs = list[list[int]]


def lattice_arcs(length: int, density: float, data: Data) -> Arcs:
    """For each character, where the words begin that end there: 2 to 4 characters long."""
    return [
        [t - n for n in (1, 2, 3) if t >= n and data.rng.random() < density] for t in range(length)
    ]


def lattices(
    graphs: int = 64, density: float = 0.12, seed: int = 0, length: Callable[[Data], int] = sentence
) -> list[Any]:
    """Chinese lattice LSTM, cells: words skip characters, and are gated and summed where they end.

    A character's cell makes gates; where no word ends they close the step, else a sum does.
    """
    weights, data = Weights(), Data(seed)
    character, word, link = weights("character"), weights("word"), weights("link")
    close = weights("close")
    roots = []
    for _ in range(graphs):
        states: list[Any] = []
        for begins in lattice_arcs(length(data), density, data):
            x = data.vector()
            state = states[-1] if states else data.zeros()
            gates = CELL(character, x, state)
            if begins:
                words = [CELL(word, data.vector(), states[b]) for b in begins]
                state = ln.sum([gates, *[CELL(link, x, w) for w in words]])
            else:
                state = CELL(close, gates, state)
            states.append(state)
        roots.append(states[-1])
    return roots


# One node per operation


def arithmetic(graphs: int = 64, low: int = 2, high: int = 30, seed: int = 0) -> list[Any]:
    """Random arithmetic expressions."""
    data = Data(seed)
    roots = []

    def merge(a: Any, b: Any) -> Any:
        return [a + b, a - b, a * b, a / b][data.integer(0, 3)]

    for _ in range(graphs):
        leaves = [data.vector() for _ in range(data.integer(low, high))]
        roots.append(fold_tree(leaves, merge, data))
    return roots


def lstm_step(weights: Weights, name: str, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    """An LSTM step, op by op."""
    n = weights.width
    W, U = weights(name + "/W", 4 * n, n), weights(name + "/U", 4 * n, n)
    z = ln.affine(weights(name + "/b", 4 * n), W, x, U, h)
    i, f, o = ln.sigmoid(z[:n]), ln.sigmoid(z[n : 2 * n]), ln.sigmoid(z[2 * n : 3 * n])
    c = f * c + i * ln.tanh(z[3 * n :])
    return o * ln.tanh(c), c


SHIFT, LEFT, RIGHT = range(3)


def arc_standard(words: int, data: Data) -> Iterable[int]:
    """A random legal transition sequence, balanced between shifting and reducing."""
    stacked, waiting = 0, words
    while waiting or stacked > 1:
        legal = ([SHIFT] if waiting else []) + ([LEFT, RIGHT] if stacked > 1 else [])
        move = legal[data.integer(0, len(legal) - 1)]
        yield move
        stacked += 1 if move == SHIFT else -1
        waiting -= move == SHIFT


def parsers(graphs: int = 32, low: int = 10, high: int = 40, seed: int = 0) -> list[Any]:
    """Arc-standard parser with stack LSTMs, one node per operation, with a loss per transition.

    Source: Dyer et al., Transition-based dependency parsing with stack long short-term memory,
    2015 (without the history of actions).
    """
    weights, data = Weights(), Data(seed)

    def layer(name: str, *xs: Any) -> Any:
        pairs = [part for k, x in enumerate(xs) for part in (weights(f"{name}/{k}"), x)]
        return ln.tanh(ln.affine(weights(name + "/b", WIDTH), *pairs))

    losses = []
    for _ in range(graphs):
        words = [data.vector() for _ in range(data.integer(low, high))]
        empty = (data.zeros(), data.zeros())
        buffer = [empty]
        for x in reversed(words):
            buffer.append(lstm_step(weights, "buffer", x, *buffer[-1]))
        stack: list[tuple[Any, tuple[Any, Any]]] = []
        for move in arc_standard(len(words), data):
            top = stack[-1][1] if stack else empty
            logits = ln.affine(
                weights("out/b", 3),
                weights("out/W", 3, WIDTH),
                layer("head", top[0], buffer[-1][0]),
            )
            losses.append(ln.cross_entropy(logits, move))
            if move == SHIFT:
                item = words[len(words) - len(buffer) + 1]
                buffer.pop()
            else:
                (second, _), (first, _) = stack[-2:]
                del stack[-2:]
                head, dependent = (first, second) if move == LEFT else (second, first)
                item = layer("compose", head, dependent, data.vector())
            below = stack[-1][1] if stack else empty
            stack.append((item, lstm_step(weights, "stack", item, *below)))
    return [ln.sum(losses)]


def lattices_by_op(
    graphs: int = 16, density: float = 0.12, seed: int = 0, length: Callable[[Data], int] = sentence
) -> list[Any]:
    """Chinese lattice LSTM, one node per operation.

    Source: Zhang and Yang, Chinese NER using lattice LSTM, 2018, equations 11 to 15.
    """
    weights, data = Weights(), Data(seed)
    n = weights.width

    def gates(name: str, x: Any, h: Any) -> tuple[Any, Any, Any]:
        W, U = weights(name + "/W", 3 * n, n), weights(name + "/U", 3 * n, n)
        z = ln.affine(weights(name + "/b", 3 * n), W, x, U, h)
        return ln.sigmoid(z[:n]), ln.sigmoid(z[n : 2 * n]), ln.tanh(z[2 * n :])

    def word(h: Any, c: Any) -> Any:
        i, f, g = gates("word", data.vector(), h)
        return f * c + i * g

    def link(x: Any, memory: Any) -> Any:
        z = ln.affine(weights("link/b", n), weights("link/W"), x, weights("link/U"), memory)
        return ln.exp(ln.sigmoid(z))

    roots = []
    for _ in range(graphs):
        h = c = data.zeros()
        states: list[tuple[Any, Any]] = []
        for begins in lattice_arcs(length(data), density, data):
            x = data.vector()
            i, o, g = gates("character", x, h)
            if begins:
                memories = [word(*states[b]) for b in begins]
                shares = [ln.exp(i), *[link(x, memory) for memory in memories]]
                parts = [a * m for a, m in zip(shares, [g, *memories])]
                c = ln.sum(parts) / ln.sum(shares)
            else:
                c = (1.0 - i) * c + i * g
            h = o * ln.tanh(c)
            states.append((h, c))
        roots.append(h)
    return roots


def taggers_by_op(
    graphs: int = 32, low: int = 5, high: int = 30, layers: int = 2, seed: int = 0
) -> list[Any]:
    """BiLSTM tagger of some layers, one node per operation, with a loss per word."""
    weights, data = Weights(), Data(seed)
    losses = []
    for _ in range(graphs):
        xs = [data.vector() for _ in range(data.integer(low, high))]
        for layer in range(layers):
            forward = run_lstm(weights, data, f"forward {layer}", xs)
            backward = run_lstm(weights, data, f"backward {layer}", xs[::-1])[::-1]
            xs = [
                ln.tanh(
                    ln.affine(
                        weights(f"join {layer}/b", WIDTH),
                        weights(f"join {layer}/F"),
                        f,
                        weights(f"join {layer}/B"),
                        b,
                    )
                )
                for f, b in zip(forward, backward)
            ]
        for x in xs:
            logits = ln.affine(weights("out/b", 3), weights("out/W", 3, WIDTH), x)
            losses.append(ln.cross_entropy(logits, data.integer(0, 2)))
    return [ln.sum(losses)]


def run_lstm(weights: Weights, data: Data, name: str, xs: list[Any]) -> list[Any]:
    h = c = data.zeros()
    states = []
    for x in xs:
        h, c = lstm_step(weights, name, x, h, c)
        states.append(h)
    return states


def lstm_chains_by_op(graphs: int = 1, length: int = 10_000, seed: int = 0) -> list[Any]:
    """LSTMs along equally long chains, one node per operation."""
    weights, data = Weights(), Data(seed)
    return [run_lstm(weights, data, "lstm", [data.vector()] * length)[-1] for _ in range(graphs)]


def tree_lstms_by_op(graphs: int = 32, low: int = 5, high: int = 30, seed: int = 0) -> list[Any]:
    """Binary Tree-LSTM, one node per operation, with a classifier at every node."""
    weights, data = Weights(), Data(seed)
    n = weights.width
    losses = []

    def classify(h: Any) -> None:
        logits = ln.affine(weights("out/b", 5), weights("out/W", 5, n), h)
        losses.append(ln.cross_entropy(logits, data.integer(0, 4)))

    def leaf() -> tuple[Any, Any]:
        z = ln.affine(weights("leaf/b", 3 * n), weights("leaf/W", 3 * n, n), data.vector())
        c = ln.sigmoid(z[:n]) * ln.tanh(z[n : 2 * n])
        h = ln.sigmoid(z[2 * n :]) * ln.tanh(c)
        classify(h)
        return h, c

    def merge(left: Any, right: Any) -> tuple[Any, Any]:
        z = ln.affine(
            weights("tree/b", 5 * n),
            weights("tree/L", 5 * n, n),
            left[0],
            weights("tree/R", 5 * n, n),
            right[0],
        )
        i, f, g = ln.sigmoid(z[:n]), ln.sigmoid(z[n : 2 * n]), ln.sigmoid(z[2 * n : 3 * n])
        c = i * ln.tanh(z[4 * n :]) + f * left[1] + g * right[1]
        h = ln.sigmoid(z[3 * n : 4 * n]) * ln.tanh(c)
        classify(h)
        return h, c

    for _ in range(graphs):
        fold_tree([leaf() for _ in range(data.integer(low, high))], merge, data)
    return [ln.sum(losses)]


def losses_of_every_length(high: int = 40, seed: int = 0) -> list[Any]:
    """Losses at the ends of chains of 1, 2, ... steps, by op, as a loss per example."""
    weights, data = Weights(), Data(seed)
    losses = []
    for length in range(1, high + 1):
        h = run_lstm(weights, data, "lstm", [data.vector() for _ in range(length)])[-1]
        logits = ln.affine(weights("out/b", 3), weights("out/W", 3, WIDTH), h)
        losses.append(ln.cross_entropy(logits, data.integer(0, 2)))
    return losses


# What the plans are held against: plain loops over single nodes


@dataclass
class Nodes:
    """What has to be computed, by node number: what each rests on, and its kind."""

    sources: dict[int, list[int]]
    kinds: dict[int, int]


def computed(graph: Graph) -> Nodes:
    """The nodes that batches are made of, with aliases looked through."""
    code, starts, args, _ = (a.tolist() for a in graph.arrays())
    sources: dict[int, list[int]] = {}
    stands_for: dict[int, list[int]] = {}
    for i, c in enumerate(code):
        kind = graph.kinds[c]
        below = [s for a in args[starts[i] : starts[i + 1]] for s in stands_for[a]]
        if i < len(graph.externals) or i in graph.leaves:
            stands_for[i] = []
        elif kind.op.alias or kind.position:
            stands_for[i] = below
        elif kind.shared:
            stands_for[i] = []
        else:
            stands_for[i] = [i]
            sources[i] = list(dict.fromkeys(below))
    return Nodes(sources, {i: code[i] for i in sources})


def check(graph: Graph, plan: Schedule) -> None:
    """Assert that the plan computes each node once, in batches of one kind, after its arguments."""
    nodes = computed(graph)
    done: set[int] = set()
    for k in range(len(plan.bounds) - 1):
        batch = plan.order[plan.bounds[k] : plan.bounds[k + 1]].tolist()
        assert batch
        assert batch == sorted(set(batch)), "recording order within a batch"
        assert len({nodes.kinds[i] for i in batch}) == 1, "one kind"
        for i in batch:
            assert i not in done, "once"
            assert all(s in done for s in nodes.sources[i]), "after its arguments"
        done.update(batch)
    assert done == set(nodes.sources)
    before: set[int] = set()
    _, starts, args, _ = graph.arrays()
    for i in plan.shared:
        ready = before | set(graph.leaves) | set(range(len(graph.externals)))
        assert set(args[starts[i] : starts[i + 1]].tolist()) <= ready
        before.add(i)


def count_lower_bound(nodes: Nodes) -> int:
    """The sum over kinds of the longest path of each, counted one kind after another."""
    total = 0
    for kind in dict.fromkeys(nodes.kinds.values()):
        most: dict[int, int] = {}
        for i, sources in nodes.sources.items():
            most[i] = max((most[s] for s in sources), default=0) + (nodes.kinds[i] == kind)
        total += max(most.values())
    return total


def depths(nodes: Nodes) -> dict[int, int]:
    depth: dict[int, int] = {}
    for i, sources in nodes.sources.items():
        depth[i] = max((depth[s] + 1 for s in sources), default=0)
    return depth


def count_by_depth(nodes: Nodes) -> int:
    """Batches of a scheduler that takes together what has the same kind and depth."""
    depth = depths(nodes)
    return len({(depth[i], kind) for i, kind in nodes.kinds.items()})


def count_agenda(nodes: Nodes) -> int:
    """Batches of DyNet's agenda: next, of the kinds that wait, that of the lowest mean depth.

    Source: Neubig, Goldberg and Dyer, On-the-fly operation batching in dynamic computation
    graphs, 2017, section 3.2.
    """
    depth = depths(nodes)
    by_kind: dict[int, list[int]] = {}
    users: dict[int, list[int]] = {i: [] for i in nodes.sources}
    missing: dict[int, int] = {}
    waiting: dict[int, list[int]] = {}
    for i, sources in nodes.sources.items():
        by_kind.setdefault(nodes.kinds[i], []).append(depth[i])
        missing[i] = len(sources)
        for s in sources:
            users[s].append(i)
        if not sources:
            waiting.setdefault(nodes.kinds[i], []).append(i)
    mean = {kind: sum(d) / len(d) for kind, d in by_kind.items()}
    batches = 0
    while waiting:
        best = min(waiting, key=lambda kind: (mean[kind], kind))
        batches += 1
        for i in waiting.pop(best):
            for u in users[i]:
                missing[u] -= 1
                if not missing[u]:
                    waiting.setdefault(nodes.kinds[u], []).append(u)
    return batches


def count_in_full(nodes: Nodes) -> int:
    """Batches of the plain "waiting in full" rule, over true same-kind ancestry.

    Next comes a kind whose lowest level left waits in full, else the kind of the waiting node with
    the longest path below it.
    """
    counts: dict[int, dict[int, int]] = {}
    level: dict[int, int] = {}
    height = dict.fromkeys(nodes.sources, 0)
    users: dict[int, list[int]] = {i: [] for i in nodes.sources}
    left: dict[int, Counter[int]] = {}
    for i, sources in nodes.sources.items():
        kind = nodes.kinds[i]
        mine = counts[i] = {}
        for s in sources:
            users[s].append(i)
            for k, c in counts[s].items():
                mine[k] = max(mine.get(k, 0), c)
        level[i] = mine[kind] = mine.get(kind, 0) + 1
        left.setdefault(kind, Counter())[level[i]] += 1
    for i in reversed(list(nodes.sources)):
        height[i] = max((height[u] + 1 for u in users[i]), default=0)
    missing = {i: len(sources) for i, sources in nodes.sources.items()}
    waiting: dict[int, list[int]] = {}
    for i, count in missing.items():
        if not count:
            waiting.setdefault(nodes.kinds[i], []).append(i)

    def urgency(kind: int) -> tuple[bool, int]:
        run = waiting[kind]
        lowest = min(k for k, count in left[kind].items() if count)
        full = sum(level[i] == lowest for i in run) == left[kind][lowest]
        return full, max(height[i] for i in run)

    batches = 0
    while waiting:
        best = max(waiting, key=urgency)
        batches += 1
        for i in waiting.pop(best):
            left[best][level[i]] -= 1
            for u in users[i]:
                missing[u] -= 1
                if not missing[u]:
                    waiting.setdefault(nodes.kinds[u], []).append(u)
    return batches
