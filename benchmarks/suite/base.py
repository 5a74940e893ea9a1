"""What the tasks share: sizes, weights from NumPy, and the shell of a model in each system.

All models have four steps, timed apart: `build(batch)`, `forward(built)` (returns the loss as a
float), `backward()`, `update()`. The loss is the mean over the examples of the sum over what is
predicted in each (cross entropy in nats). All models of a task start with the same float32 weights.

An LSTM is, everywhere::

    i, f, o = sigmoid(W x + U h + b), g = tanh(W x + U h + b)      blocks of W, U, b in this order
    c' = f c + i g,  h' = o tanh(c')                               h and c start as zeros

with 1 in the forget block of b at first. Biases of PyTorch's that say the same thing twice are
frozen at 0.

Adam as each system's users get it: lr 0.001, betas 0.9 and 0.999, eps 1e-8, no clipping. Rows of
embedding tables that were not looked up are left alone by DyNet and by lazynet with
``sparse="lazy"``; PyTorch's embeddings are dense, as they are by default.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import numpy as np

import lazynet as ln

Array = np.ndarray[Any, Any]
Weights = SimpleNamespace


class Late:
    """A module that is imported at its first use: the suite loads without its peers."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)
        return value


dy: Any = Late("dynet")
torch: Any = Late("torch")
F: Any = Late("torch.nn.functional")

# Functions marked `fuse` are one node each where lazynet can do that.
fuse: Any = getattr(ln, "fuse", lambda function: function)


@dataclass(frozen=True)
class Sizes:
    """Sizes of models and data; tests use smaller ones.

    Attributes:
        hidden: Of every recurrent cell, in each direction.
        examples: In a minibatch.
        embedding: Of a word.
        words: Entries of the table of words.
        signs: Entries of the table of Chinese characters.
        frequent: Words below this number are read as a whole, the others by their characters.
        characters: Entries of the table of characters.
        tags: Classes of a tagger.
        labels: Classes of a tree node.
        targets: Entries of the table of words that a decoder writes.
        layer: Hidden layer of the taggers and of the parser.
        character_embedding: Of a character that spells a word.
        trees: File with trees, one s-expression a line; None for random trees.
        longest: Cuts every drawn length, for tests; None for no cut.
    """

    hidden: int
    examples: int = 64
    embedding: int = 128
    words: int = 20_000
    signs: int = 3_000
    frequent: int = 5_700
    characters: int = 60
    tags: int = 9
    labels: int = 5
    targets: int = 1_000
    layer: int = 32
    character_embedding: int = 20
    trees: str | None = None
    longest: int | None = None

    def cut(self, length: int) -> int:
        return length if self.longest is None else min(length, self.longest)


class Product(NamedTuple):
    """Y = X W^T with rows of X in some groups: `inner` columns to `outer`, `rows` in each group.

    Forward and the gradient of X are one BLAS call per group, the gradient of W one over all rows.
    """

    inner: int
    outer: int
    rows: list[int]


class LSTMWeights(NamedTuple):
    W: Array
    U: Array
    b: Array


class Draw:
    """Initial weights from a seed."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def matrix(self, n_out: int, n_in: int, blocks: int = 1) -> Array:
        """Glorot's uniform rule, for each of the blocks of rows by itself."""
        bound = np.sqrt(6 / (n_out // blocks + n_in))
        return self._rng.uniform(-bound, bound, (n_out, n_in)).astype(np.float32)

    def table(self, n: int, width: int) -> Array:
        return self._rng.uniform(-0.3, 0.3, (n, width)).astype(np.float32)

    def vector(self, n: int) -> Array:
        return self._rng.uniform(-0.1, 0.1, n).astype(np.float32)

    def lstm(self, n_in: int, n: int) -> LSTMWeights:
        b = self.vector(4 * n)
        b[n : 2 * n] += 1
        return LSTMWeights(self.matrix(4 * n, n_in, 4), self.matrix(4 * n, n, 4), b)


class System(ABC):
    """A model in one system."""

    def build(self, batch: list[Any]) -> Any:
        """What is made of a minibatch before anything is computed."""
        return batch

    @abstractmethod
    def forward(self, built: Any) -> float: ...

    @abstractmethod
    def backward(self) -> None: ...

    @abstractmethod
    def update(self) -> None: ...


class Lazynet(System):
    """A model written for one example; subclasses define `example`, which returns its loss."""

    def __init__(self) -> None:
        self.model = ln.Model(seed=0)
        self._optimizer: Any = None
        self.loss: Any = None

    def parameter(self, array: Array) -> ln.Parameter:
        return self.model.parameter(array.shape, init=array)

    def table(self, array: Array) -> ln.Lookup:
        return self.model.lookup(*array.shape, init=array)

    def lstm(self, weights: LSTMWeights) -> ln.nn.LSTM:
        """The layer, with these weights."""
        layer = ln.nn.LSTM(self.model, weights.W.shape[1], weights.U.shape[1])
        cell: Any = layer.cells[0]
        cell.W.array, cell.U.array, cell.b.array = weights
        return layer

    def example(self, example: Any) -> ln.Expression:
        raise NotImplementedError

    def build(self, batch: list[Any]) -> ln.Expression:
        return ln.mean([self.example(e) for e in batch])

    def forward(self, built: ln.Expression) -> float:
        self.loss = built
        return float(built.value())

    def counts(self, batch: list[Any]) -> dict[str, float]:
        """What a minibatch comes to, for the report."""
        plan = ln.plan(self.build(batch))
        return {"nodes": plan.nodes, "batches": len(plan), "lower bound": plan.lower_bound}

    def backward(self) -> None:
        self.loss.backward()
        self.loss = None

    def update(self) -> None:
        if self._optimizer is None:
            self._optimizer = ln.optim.Adam(self.model, lr=1e-3, sparse="lazy")
        self._optimizer.step()


class StepLSTM:
    """An LSTM in lazynet, one operation at a time."""

    def __init__(self, system: Lazynet, weights: LSTMWeights) -> None:
        self.W, self.U, self.b = (system.parameter(x) for x in weights)
        self.n = weights.U.shape[1]

    def start(self) -> tuple[Any, Any]:
        zeros = ln.constant(np.zeros(self.n, np.float32))
        return zeros, zeros

    def step(self, x: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        h, c = state
        gates, candidate = ln.split(ln.affine(self.b, self.W, x, self.U, h), [3 * self.n, self.n])
        i, f, o = ln.split(ln.sigmoid(gates), 3)
        c = f * c + i * ln.tanh(candidate)
        return o * ln.tanh(c), c

    def run(self, xs: list[Any]) -> list[Any]:
        """The hidden state after each position."""
        state = self.start()
        hs = []
        for x in xs:
            state = self.step(x, state)
            hs.append(state[0])
        return hs


class Dynet(System):
    """A model as DyNet's users write it; subclasses define `example`, a list of its losses.

    Of the builders with the equations above, `CompactVanillaLSTMBuilder` is the faster one (three
    nodes a step); `VanillaLSTMBuilder` is the one that DyNet's own benchmarks took.
    """

    builder: ClassVar[str] = "CompactVanillaLSTMBuilder"

    def __init__(self, level: int) -> None:
        self.level = level
        self.collection = dy.ParameterCollection()
        self._trainer: Any = None
        self.loss: Any = None

    def parameter(self, array: Array) -> Any:
        return self.collection.parameters_from_numpy(np.ascontiguousarray(array))

    def blocks(self, array: Array, count: int) -> list[Any]:
        """A parameter for each of the blocks of rows: DyNet does not batch slices."""
        return [self.parameter(part) for part in np.split(array, count)]

    def table(self, array: Array) -> Any:
        return self.collection.lookup_parameters_from_numpy(array)

    def lstm(self, weights: LSTMWeights) -> Any:
        n = weights.U.shape[1]
        builder = getattr(dy, self.builder)(1, weights.W.shape[1], n, self.collection)
        b = weights.b.copy()
        b[n : 2 * n] -= 1  # the builder adds it
        for parameter, values in zip(builder.get_parameters()[0], (weights.W, weights.U, b)):
            parameter.set_value(values)
        return builder

    def example(self, example: Any) -> list[Any]:
        raise NotImplementedError

    def build(self, batch: list[Any]) -> Any:
        dy.renew_cg(autobatching=self.level)
        losses = []
        for e in batch:
            losses += self.example(e)
        return dy.esum(losses) * (1 / len(batch))

    def forward(self, built: Any) -> float:
        self.loss = built
        return float(built.value())

    def backward(self) -> None:
        self.loss.backward()

    def update(self) -> None:
        if self._trainer is None:
            self._trainer = dy.AdamTrainer(self.collection, 0.001, 0.9, 0.999, 1e-8)
            self._trainer.set_clip_threshold(0)
        self._trainer.update()


class Torch(System):
    """A model in PyTorch; subclasses define `total`, the sum of the losses of a minibatch."""

    examples: ClassVar[int]

    def __init__(self) -> None:
        self.parameters: list[Any] = []
        self._optimizer: Any = None
        self.loss: Any = None

    def parameter(self, array: Array) -> Any:
        parameter = torch.nn.Parameter(torch.tensor(array))
        self.parameters.append(parameter)
        return parameter

    def table(self, array: Array) -> Any:
        table = torch.nn.Embedding.from_pretrained(torch.tensor(array), freeze=False)
        self.parameters += table.parameters()
        return table

    def _fill(self, module: Any, suffix: str, weights: LSTMWeights) -> None:
        order = [0, 1, 3, 2]  # PyTorch's gates are i, f, g, o
        W, U, b = (np.concatenate([np.split(x, 4)[k] for k in order]) for x in weights)
        with torch.no_grad():
            for name, values in (("weight_ih", W), ("weight_hh", U), ("bias_ih", b)):
                getattr(module, name + suffix).copy_(torch.tensor(values))
            second = getattr(module, "bias_hh" + suffix)
            second.zero_()
            second.requires_grad = False

    def lstm(self, *directions: LSTMWeights) -> Any:
        """`torch.nn.LSTM`, bidirectional if there are weights for two directions."""
        W, U, _ = directions[0]
        module = torch.nn.LSTM(
            W.shape[1], U.shape[1], batch_first=True, bidirectional=len(directions) == 2
        )
        for weights, suffix in zip(directions, ("_l0", "_l0_reverse")):
            self._fill(module, suffix, weights)
        self.parameters += [p for p in module.parameters() if p.requires_grad]
        return module

    def lstm_cell(self, weights: LSTMWeights) -> Any:
        module = torch.nn.LSTMCell(weights.W.shape[1], weights.U.shape[1])
        self._fill(module, "", weights)
        self.parameters += [p for p in module.parameters() if p.requires_grad]
        return module

    def total(self, built: Any) -> Any:
        raise NotImplementedError

    def build(self, batch: list[Any]) -> Any:
        return len(batch), batch

    def forward(self, built: Any) -> float:
        examples, content = built
        self.loss = self.total(content) / examples
        return float(self.loss.item())

    def backward(self) -> None:
        self.loss.backward()
        self.loss = None

    def update(self) -> None:
        if self._optimizer is None:
            self._optimizer = torch.optim.Adam(self.parameters, lr=1e-3)
        self._optimizer.step()
        self._optimizer.zero_grad()


class TorchBatched(Torch):
    """Batched by hand: `collate` makes index tensors of a minibatch (timed as build)."""

    def collate(self, batch: list[Any]) -> Any:
        raise NotImplementedError

    def build(self, batch: list[Any]) -> Any:
        return len(batch), self.collate(batch)


class TorchExamples(Torch):
    """Written per example: `example` returns the sum of its losses."""

    def example(self, example: Any) -> Any:
        raise NotImplementedError

    def total(self, built: Any) -> Any:
        return sum(self.example(e) for e in built)


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: For the command line.
        title: For tables and plots.
        batches: (sizes, rng, count) -> minibatches.
        weights: sizes -> the initial weights.
        idiomatic, op_by_op, dynet, torch_examples, torch_batched: The models. Called with the
            weights, DyNet's with the level of autobatching too.
        products: (sizes, minibatch) -> the matrix products of one update.
        exponentials: (sizes, minibatch) -> entries of a large softmax.
        builder: Whether DyNet's model is measured with both of its LSTM builders.
        trains: Whether there are gradients and an update.
        note: What a reader of the table should know.
    """

    name: str
    title: str
    batches: Any
    weights: Any
    idiomatic: Any
    op_by_op: Any
    dynet: Any
    torch_examples: Any
    torch_batched: Any
    products: Any
    exponentials: Any = None
    builder: bool = False
    trains: bool = True
    note: str = ""


def packed(sequences: list[list[int]], ordered: bool = False) -> Any:
    """Sequences of whole numbers, packed step by step for `torch.nn.LSTM`.

    Args:
        sequences: Of any lengths.
        ordered: Whether they come with the longest first, to be kept in this order.
    """
    with torch.device("cpu"):  # where PyTorch wants the lengths
        rows = [torch.tensor(s) for s in sequences]
        together = torch.nn.utils.rnn.pack_sequence(rows, enforce_sorted=ordered)
    return together.to(torch.get_default_device())


def with_data(packed: Any, data: Any) -> Any:
    """Other rows in the places of a packed sequence."""
    return torch.nn.utils.rnn.PackedSequence(data, *packed[1:])


def steps(lengths: list[int]) -> list[int]:
    """How many sequences are still running at each step after the first, whose state is zeros."""
    return [sum(n > t for n in lengths) for t in range(1, max(lengths))]


def lstm_products(n_in: int, n: int, lengths: list[int]) -> list[Product]:
    """Those of an LSTM along sequences: the inputs' in one, the state's step by step."""
    return [Product(n_in, 4 * n, [sum(lengths)]), Product(n, 4 * n, steps(lengths))]
