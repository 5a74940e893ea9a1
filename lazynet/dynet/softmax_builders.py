"""Softmax builders: over all classes, over clusters and their words, and over a tree of clusters.

In a loss, each softmax of a class's path is one node, of scores and loss together. Those of all
examples batch, whatever their clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import lazynet.reading as reading
from lazynet.dynet.clusters import Cluster, read_clusters, word_ids
from lazynet.dynet.collection import ParameterCollection
from lazynet.dynet.expression import Expression, checked, short, show, wrap
from lazynet.dynet.graph import compute
from lazynet.dynet.parameters import Parameters
from lazynet.fuse import fuse
from lazynet.graph import Expression as Node
from lazynet.inputs import constant, rebatch, unbatch
from lazynet.ops import (
    affine,
    categorical,
    concatenate,
    cross_entropy,
    log_sigmoid,
    log_softmax,
    matmul,
    pick_rows,
    reshape,
    stop_gradient,
)
from lazynet.ops.grouped import GroupedCrossEntropy, GroupedLosses

MOST_GROUPS = 256
"""Softmaxes whose losses are nodes of one kind; a node refers to the weights of all of them."""
Path = tuple[tuple[int, int], ...]
"""Of a class: the numbers of the softmaxes on the way to it, and which outcome of each."""


class _Head:
    """The weights of a softmax, as they are trained or as constants, and its losses as one node."""

    def __init__(self, parameters: list[Parameters], update: bool) -> None:
        self.parameters: list[Node] = [p.node for p in parameters]
        self.update = update
        for fused in (self.loss, self.first, self.second):
            fused.name = "softmax_loss"  # what plans, pictures and errors call it

    def scores(self, x: Node) -> Node:
        """W x + b."""
        W, *b = [p if self.update else stop_gradient(p) for p in self.parameters]
        return affine(b[0], W, x) if b else matmul(W, x)

    @fuse
    def loss(self, x: Node, c: int | Sequence[int]) -> Node:
        """-log softmax(scores)_c, of DyNet's shape of a scalar."""
        return reshape(cross_entropy(self.scores(x), c), (1,))

    @fuse
    def first(self, x: Node) -> Node:
        """-log sigmoid(score)"""
        return -log_sigmoid(self.scores(x))

    @fuse
    def second(self, x: Node) -> Node:
        """-log (1 - sigmoid(score))"""
        return -log_sigmoid(-self.scores(x))


def _zero(x: Node) -> Node:
    """0 for each example."""
    zeros = np.zeros((1,) if x.batch is None else (x.batch, 1), np.float32)
    return constant(zeros, batched=x.batch is not None)


class _Layer:
    """One softmax: its weights, and what it makes of a vector.

    Attributes:
        size: Number of outcomes.
        parameters: W, and b if there is a bias; empty for a single outcome of a cluster.
        binary: Two outcomes by one score z: the first has probability sigmoid(z).
    """

    def __init__(
        self,
        pc: ParameterCollection,
        dim: int,
        size: int,
        bias: bool,
        binary: bool = False,
        least: int = 2,
    ) -> None:
        self.size = size
        self.binary = binary and size == 2
        self.parameters: list[Parameters] = []
        if size >= least:
            rows = 1 if self.binary else size
            self.parameters.append(pc.add_parameters((rows, dim)))
            if bias:
                self.parameters.append(pc.add_parameters((rows,), init=0.0))

        self.heads = [_Head(self.parameters, update) for update in (False, True)]

    def loss(self, x: Node, c: int | list[int], update: bool) -> Node:
        head = self.heads[update]
        if self.binary:
            return head.second(x) if c else head.first(x)
        return head.loss(x, c)

    def logits(self, x: Node, update: bool) -> Node:
        """Scores, whose softmax is the distribution; 0 for a single outcome."""
        if not self.parameters:
            return _zero(x)
        z = self.heads[update].scores(x)
        return concatenate([z, _zero(x)]) if self.binary else z

    def log_distribution(self, x: Node, update: bool) -> Node:
        if not self.parameters:
            return _zero(x)
        return log_softmax(self.logits(x, update), axis=0)


class SoftmaxBuilder:
    """What the softmax builders have in common: a distribution over classes, given a vector."""

    _pc: ParameterCollection
    _dims: tuple[int]

    def param_collection(self) -> ParameterCollection:
        """The sub-collection with the weights: first the matrix, then the bias, if there is one."""
        self._concrete("param_collection")
        return self._pc

    def neg_log_softmax(self, x: Expression, c: int, update: bool = True) -> Expression:
        """-log p(c | x).

        Args:
            x: ``(input_dim,)``, one example.
            c: The class.
            update: Whether the weights of this softmax get a gradient.

        Raises:
            ValueError: If the dimensions or the class do not fit.
        """
        node = self._vector(x, "neg_log_softmax")
        if node.batch is not None:
            raise ValueError(
                f"{self._name('neg_log_softmax')}: got one class for {show(x)}; for a batch use "
                "neg_log_softmax_batch with a class for each example"
            )
        return wrap(self._losses(node, [self._class(c, "neg_log_softmax")], update))

    def neg_log_softmax_batch(
        self, x: Expression, c: Sequence[int], update: bool = True
    ) -> Expression:
        """-log p(c | x) of each example of a batch.

        Args:
            x: ``(input_dim,)``, a batch.
            c: A class for each example.
            update: Whether the weights of this softmax get a gradient.

        Raises:
            ValueError: If the dimensions or classes do not fit.
        """
        name = "neg_log_softmax_batch"
        node = self._vector(x, name)
        if not isinstance(c, (list, tuple, range, np.ndarray)):
            raise TypeError(f"{self._name(name)}: got {short(c)}; it takes a list of classes")
        classes = [self._class(i, name) for i in c]
        if len(classes) != (node.batch or 1):
            raise ValueError(
                f"{self._name(name)}: got {len(classes)} classes for {show(x)}; it takes one for "
                "each example of the batch"
            )
        return wrap(self._losses(node, classes, update))

    def full_log_distribution(self, x: Expression, update: bool = True) -> Expression:
        """log p(c | x) of every class.

        Args:
            x: ``(input_dim,)``.
            update: Whether the weights of this softmax get a gradient.
        """
        node = self._vector(x, "full_log_distribution", matrix=True)
        return wrap(self._distribution(node, update))

    def full_logits(self, x: Expression, update: bool = True) -> Expression:
        """Scores of every class, whose softmax is the distribution.

        Args:
            x: ``(input_dim,)``.
            update: Whether the weights of this softmax get a gradient.
        """
        return wrap(self._full_logits(self._vector(x, "full_logits", matrix=True), update))

    def sample(self, x: Expression) -> Any:
        """Draw a class with its probability; this computes x.

        Args:
            x: ``(input_dim,)``.

        Returns:
            The class; a list of them for a batch, which are drawn together.
        """
        node = self._vector(x, "sample")
        drawn = self._draw(unbatch(node) if node.batch is not None else [node])
        return drawn if node.batch is not None else drawn[0]

    # What each of them is

    def _losses(self, x: Node, classes: list[int], update: bool) -> Node:
        raise NotImplementedError

    def _distribution(self, x: Node, update: bool) -> Node:
        raise NotImplementedError

    def _full_logits(self, x: Node, update: bool) -> Node:
        return self._distribution(x, update)

    def _draw(self, xs: list[Node]) -> list[int]:
        raise NotImplementedError

    def _no_class(self, c: int) -> str | None:
        """Why there is no such class; None if there is."""
        raise NotImplementedError

    # Arguments

    def _concrete(self, name: str) -> None:
        if type(self) is SoftmaxBuilder:
            raise TypeError(
                f"SoftmaxBuilder.{name}: this is the interface; make a StandardSoftmaxBuilder, "
                "ClassFactoredSoftmaxBuilder or HierarchicalSoftmaxBuilder"
            )

    def _name(self, name: str) -> str:
        return f"{type(self).__name__}.{name}"

    def _vector(self, x: Any, name: str, matrix: bool = False) -> Node:
        if type(self) is SoftmaxBuilder or not isinstance(x, Expression) or not x.graph.alive:
            self._concrete(name)
            checked(x, self._name(name))
        node: Node = x.node
        shape = node.shape
        if shape != self._dims and not (matrix and len(shape) == 2 and shape[:1] == self._dims):
            raise ValueError(
                f"{self._name(name)}: got {show(x)}; it takes {{{self._dims[0]}}}, the "
                "input_dim of the builder"
            )
        return node

    def _class(self, c: Any, name: str) -> int:
        if type(c) is not int and (isinstance(c, bool) or not isinstance(c, (int, np.integer))):
            raise TypeError(f"{self._name(name)}: got class {short(c)}; an integer is required")
        if c < 0:
            raise OverflowError(f"{self._name(name)}: got class {c}; classes begin at 0")
        number = int(c)
        problem = self._no_class(number)
        if problem is not None:
            raise ValueError(f"{self._name(name)}: {problem}")
        return number


def _sizes(role: str, pc: Any, **sizes: Any) -> None:
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
            raise TypeError(f"{role}: got {name} {short(size)}; an integer is required")
        if size < 1:
            raise ValueError(f"{role}: got {name} {size}; it must be at least 1")
        if int(size) >> 32:
            raise OverflowError(f"{role}: got {name} {size}; it must be less than 2^32")
    if not isinstance(pc, ParameterCollection):
        raise TypeError(f"{role}: got {short(pc)} as pc; it takes a ParameterCollection")


def _drawn(logits: list[Node]) -> list[int]:
    """A class for each of these scores, in one batched run."""
    nodes = [categorical(z) for z in logits]
    compute(nodes)
    return [int(np.asarray(reading.value(node)).item()) for node in nodes]


class StandardSoftmaxBuilder(SoftmaxBuilder):
    """The softmax of W x + b.

    Args:
        input_dim: Length of x.
        num_classes: Number of classes.
        pc: The weights go into a sub-collection of it.
        bias: Whether there is a bias b.
    """

    def __init__(
        self, input_dim: int, num_classes: int, pc: ParameterCollection, bias: bool = True
    ) -> None:
        _sizes("StandardSoftmaxBuilder", pc, input_dim=input_dim, num_classes=num_classes)
        self._pc = pc.add_subcollection("standard-softmax-builder")
        self._dims = (int(input_dim),)
        self._num_classes = int(num_classes)
        self._layer = _Layer(self._pc, self._dims[0], self._num_classes, bias, least=1)

    def _losses(self, x: Node, classes: list[int], update: bool) -> Node:
        return self._layer.loss(x, classes[0] if x.batch is None else classes, update)

    def _distribution(self, x: Node, update: bool) -> Node:
        return self._layer.log_distribution(x, update)

    def _full_logits(self, x: Node, update: bool) -> Node:
        return self._layer.logits(x, update)

    def _draw(self, xs: list[Node]) -> list[int]:
        return _drawn([self._layer.logits(x, False) for x in xs])

    def _no_class(self, c: int) -> str | None:
        if c < self._num_classes:
            return None
        return f"Index {c} out of bounds; there are {self._num_classes} classes"


class _TreeSoftmaxBuilder(SoftmaxBuilder):
    """A softmax at every cluster of a tree whose leaves are the classes."""

    def __init__(
        self,
        input_dim: int,
        cluster_file: str,
        dic: dict[str, int],
        pc: ParameterCollection,
        bias: bool,
        name: str,
        deep: bool,
    ) -> None:
        role = type(self).__name__
        _sizes(role, pc, input_dim=input_dim)
        ids = word_ids(dic, role)
        root = read_clusters(cluster_file, ids, role, deep)
        self._pc = pc.add_subcollection(name)
        self._dims = (int(input_dim),)
        self._words = {word: key for key, word in ids.items()}
        self._layers: list[_Layer] = []
        self._children: list[list[tuple[int, int]]] = []
        self._paths: dict[int, Path] = {}
        stack: list[tuple[Cluster, Path, tuple[int, int] | None]] = [(root, (), None)]
        while stack:
            cluster, path, parent = stack.pop()
            number = len(self._layers)
            outcomes = cluster.outcomes
            self._layers.append(_Layer(self._pc, self._dims[0], len(outcomes), bias, binary=deep))
            # per outcome: a word (-1, id), or a cluster (its number, -1)
            self._children.append([(-1, -1)] * len(outcomes))
            if parent is not None:
                self._children[parent[0]][parent[1]] = (number, -1)
            below: list[tuple[Cluster, Path, tuple[int, int] | None]] = []
            for place, outcome in enumerate(outcomes):
                step = (*path, (number, place))
                if isinstance(outcome, Cluster):
                    below.append((outcome, step, (number, place)))
                else:
                    self._children[number][place] = (-1, outcome)
                    self._paths[outcome] = tuple(s for s in step if self._layers[s[0]].parameters)
            stack += reversed(below)

        self._find_groups(bool(bias), deep)

    def _find_groups(self, bias: bool, deep: bool) -> None:
        """Which softmaxes are nodes of one kind: not that over all clusters of a flat file, which
        every word takes.
        """
        found = [n for n, layer in enumerate(self._layers) if layer.parameters and (n or deep)]
        self._group: dict[int, int] = {}
        if len(found) <= MOST_GROUPS:
            self._group = {n: k for k, n in enumerate(found)}
        leaves = [p.leaf for n in found for p in self._layers[n].parameters]
        self._grouped = GroupedLosses(GroupedCrossEntropy(bias, (1,)), leaves)

    def _losses(self, x: Node, classes: list[int], update: bool) -> Node:
        if x.batch is None:
            return self._path_loss(x, self._paths[classes[0]], update)
        paths = [self._paths[c] for c in classes]
        if len(set(map(len, paths))) == 1 and update and (self._group or not paths[0]):
            total: Node | None = None
            for steps in zip(*paths):
                if steps[0][0] in self._group:
                    payload = np.array([(self._group[n], place) for n, place in steps])
                    loss = self._grouped(x, payload)
                else:
                    loss = self._layers[0].loss(x, [place for _, place in steps], update)
                total = loss if total is None else total + loss
            return _zero(x) if total is None else total
        return rebatch([self._path_loss(row, p, update) for row, p in zip(unbatch(x), paths)])

    def _path_loss(self, x: Node, path: Path, update: bool) -> Node:
        total: Node | None = None
        for number, place in path:
            group = self._group.get(number, -1) if update else -1
            if group == -1:
                loss = self._layers[number].loss(x, place, update)
            else:
                loss = self._grouped(x, (group, place))
            total = loss if total is None else total + loss
        return _zero(x) if total is None else total

    def _distribution(self, x: Node, update: bool) -> Node:
        if x.ndim != 1:
            raise ValueError(
                f"{type(self).__name__}: got {x.shape}; the distribution over all classes is "
                "computed for vectors"
            )
        missing = len(self._words) - len(self._paths)
        if missing:
            word = next(w for w in self._words if w not in self._paths)
            raise ValueError(
                f"{type(self).__name__}: {missing} words of the dictionary are in no cluster, "
                f"such as {self._words[word]!r} (ID {word}); without them there is no distribution "
                "over all"
            )
        used = [layer for layer in self._layers if layer.parameters]
        start = dict(zip(map(id, used), np.cumsum([0, *(layer.size for layer in used)]).tolist()))
        parts = [layer.log_distribution(x, update) for layer in used]
        zero = sum(layer.size for layer in used)
        if not parts:
            return _zero(x)
        parts.append(_zero(x))
        joined = concatenate(parts)
        result: Node | None = None
        for level in range(max(len(path) for path in self._paths.values())):
            places = []
            for word in range(len(self._words)):
                path = self._paths[word]
                if level < len(path):
                    number, place = path[level]
                    places.append(start[id(self._layers[number])] + place)
                else:
                    places.append(zero)
            share = pick_rows(joined, places)
            result = share if result is None else result + share
        assert result is not None
        return result

    def _draw(self, xs: list[Node]) -> list[int]:
        """From the root down, all examples in step."""
        at = [0] * len(xs)
        found = [-1] * len(xs)
        waiting = list(range(len(xs)))
        while waiting:
            choosing = [i for i in waiting if self._layers[at[i]].parameters]
            logits = [self._layers[at[i]].logits(xs[i], False) for i in choosing]
            places = dict.fromkeys(waiting, 0)
            if logits:
                places.update(zip(choosing, _drawn(logits)))
            for i in waiting:
                at[i], found[i] = self._children[at[i]][places[i]]
            waiting = [i for i in waiting if found[i] < 0]
        return found

    def _no_class(self, c: int) -> str | None:
        if c in self._paths:
            return None
        if c in self._words:
            return f"Word ID {c} ({self._words[c]!r}) missing from clusters"
        return f"Index {c} out of bounds; there are {len(self._words)} words"


class ClassFactoredSoftmaxBuilder(_TreeSoftmaxBuilder):
    """p(word | x) = p(cluster of the word | x) p(word | its cluster, x), both by a softmax.

    With n words in clusters of about sqrt(n), a loss costs 2 sqrt(n) scores instead of n.

    Args:
        input_dim: Length of x.
        cluster_file: A line for each word: the name of its cluster, white space, the word.
        dic: The number of each word, from 0 without gaps.
        pc: The weights go into a sub-collection of it: those of the clusters, then those of each
            cluster with several words, in the order of the file.
        bias: Whether there are biases.

    Source: J. Goodman, "Classes for fast maximum entropy training", 2001.
    """

    def __init__(
        self,
        input_dim: int,
        cluster_file: str,
        dic: dict[str, int],
        pc: ParameterCollection,
        bias: bool = True,
    ) -> None:
        name = "class-factored-softmax-builder"
        super().__init__(input_dim, cluster_file, dic, pc, bias, name, deep=False)

    def class_log_distribution(self, x: Expression, update: bool = True) -> Expression:
        """log p(cluster | x) of every cluster, in the order of the file."""
        node = self._vector(x, "class_log_distribution")
        return wrap(self._layers[0].log_distribution(node, update))

    def class_logits(self, x: Expression, update: bool = True) -> Expression:
        """Scores of the clusters, in the order of the file."""
        return wrap(self._layers[0].logits(self._vector(x, "class_logits"), update))

    def subclass_log_distribution(
        self, x: Expression, classid: int, update: bool = True
    ) -> Expression:
        """log p(word | cluster, x) of the words of a cluster, in the order of the file."""
        node = self._vector(x, "subclass_log_distribution")
        layer = self._cluster(classid, "subclass_log_distribution")
        return wrap(layer.log_distribution(node, update))

    def subclass_logits(self, x: Expression, classid: int, update: bool = True) -> Expression:
        """Scores of the words of a cluster, in the order of the file; 0 where there is one."""
        node = self._vector(x, "subclass_logits")
        return wrap(self._cluster(classid, "subclass_logits").logits(node, update))

    def _cluster(self, classid: Any, name: str) -> _Layer:
        clusters = len(self._children[0])
        if isinstance(classid, bool) or not isinstance(classid, (int, np.integer)):
            raise TypeError(f"{self._name(name)}: got {short(classid)}; an integer is required")
        if not 0 <= classid < clusters:
            raise ValueError(
                f"{self._name(name)}: got cluster {classid}; there are {clusters}, from 0"
            )
        return self._layers[self._children[0][classid][0]]


class HierarchicalSoftmaxBuilder(_TreeSoftmaxBuilder):
    """A tree of clusters: p(word | x) is the product of a softmax at each cluster on its path.

    With a binary tree a loss costs about log2(n) scores. A cluster with two outcomes has one score
    z, and chooses the first with probability sigmoid(z); one with a single outcome has none.

    Args:
        input_dim: Length of x.
        cluster_file: A line for each word: its path, that is, names of clusters from the root
            downwards, then the word, all separated by white space.
        dic: The number of each word, from 0 without gaps.
        pc: The weights go into a sub-collection of it, cluster by cluster from the root, each
            followed by those below it.
        bias: Whether there are biases.

    Source: F. Morin, Y. Bengio, "Hierarchical probabilistic neural network language model", 2005.
    """

    def __init__(
        self,
        input_dim: int,
        cluster_file: str,
        dic: dict[str, int],
        pc: ParameterCollection,
        bias: bool = True,
    ) -> None:
        name = "hierarchical-softmax-builder"
        super().__init__(input_dim, cluster_file, dic, pc, bias, name, deep=True)
