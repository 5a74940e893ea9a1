"""What evaluations did, or would do, as arrays: nodes, batches, and what depends on what."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from math import sqrt
from typing import Any, Final

import numpy as np

from lazynet.agenda import Part, within
from lazynet.collect import Graph, collect
from lazynet.evaluation import Evaluation
from lazynet.execute import evaluated
from lazynet.fuse.fused import Fused
from lazynet.graph import Expression, Leaf
from lazynet.kinds import Array, Kind
from lazynet.leaves import Input
from lazynet.modes import MODES
from lazynet.ops.conv import Conv1d, Conv2d
from lazynet.ops.linalg import Affine, Einsum, Matmul
from lazynet.payloads import payloads_of
from lazynet.schedule import Schedule, batches_of, cycles_of, schedule

BATCH_SECONDS: Final = 7e-6
"""What a batch costs besides its arithmetic, forward: 5 to 10 microseconds."""
EVALUATION_SECONDS: Final = 50e-6
"""What an evaluation costs besides its batches."""
_PRODUCT_SECONDS: Final = 1 / 30e9
_ELEMENT_SECONDS: Final = 0.4e-9


class Run:
    """One evaluation, done or planned. Nodes that are computed are numbered from 0, in order.

    Attributes:
        kinds: The distinct kinds.
        part: The nodes and the edges among them; codes are indices into `kinds`.
        rows: Rows of each node.
        batch: Batch of each node.
        batches: Number of batches, those of shared nodes not counted.
        shared: Kinds of shared nodes: each is computed once, by itself.
        autobatch: Whether nodes could share a batch.
        cycles: Nodes of kinds that depend on one another (`lazynet.schedule.Cycle`).
        levels: Per node, how many nodes of its kind the richest path up to it holds.
        lower_bound: No plan has fewer batches.
        names: Of shared values, by their identity.
        lines: Source line of each node recorded under `ln.debug`.
        needs: Evaluations that it takes rows from.
        line: Where it was asked for, if known.
    """

    def __init__(
        self,
        kinds: list[Kind],
        code: Array,
        rows: Array,
        plan: Schedule,
        batches: list[Array],
        leaves: dict[int, Leaf],
        lines: dict[int, str],
        constant: Callable[[int], Array],
    ) -> None:
        n = len(code)
        self.kinds = kinds
        order = np.concatenate([np.zeros(0, np.int64), *batches])
        nodes = np.sort(order)
        src, dst = plan.edges
        self.part = Part(nodes, code[nodes], *within(nodes, src, dst, n))
        count = rows[nodes]
        self.rows: Array = np.where(count == -1, 1, count)
        batch = np.zeros(n, np.int64)
        batch[order] = np.repeat(np.arange(len(batches)), [len(b) for b in batches])
        self.batch: Array = batch[nodes]
        self.batches = len(batches)
        self.shared = [kinds[int(code[i])] for i in plan.shared]
        self.autobatch = plan.autobatch
        self.levels: Array = np.ones(len(nodes), np.int64)
        cycles, others = cycles_of(self.part) if len(nodes) else ([], 0)
        self.cycles = cycles
        for cycle in cycles:
            self.levels[cycle.nodes] = cycle.level
        self.lower_bound = others + sum(c.bound for c in cycles) + len(self.shared)
        self.names = {x.type.shared: x.name.removeprefix("/") for x in leaves.values()}
        for kind in self.shared:
            inner = ", ".join(self.names.get(t.shared, "...") for t in kind.args)
            self.names[kind.type.shared] = f"{kind.op.name}({inner})"
        number = {int(i): k for k, i in enumerate(nodes.tolist())} if lines else {}
        self.lines = {number[i]: line for i, line in lines.items() if i in number}
        self.needs: list[Evaluation] = []
        self.line = ""
        self._constant = constant
        size = len(kinds)
        self.kind_nodes: Array = np.bincount(self.part.code, minlength=size)
        self.kind_first: Array = np.full(size, len(nodes), np.int64)  # in the order of recording
        np.minimum.at(self.kind_first, self.part.code, np.arange(len(nodes)))
        self.kind_rows: Array = np.bincount(self.part.code, self.rows, size).astype(np.int64)
        pairs = np.unique(self.batch * size + self.part.code)
        self.kind_batches: Array = np.bincount(pairs % max(size, 1), minlength=size)
        self.kind_bounds: Array = np.zeros(size, np.int64)
        np.maximum.at(self.kind_bounds, self.part.code, self.levels)
        self.kind_seconds: Array = np.array(
            [
                b * BATCH_SECONDS + r * row_seconds(kinds[c])
                for c, (b, r) in enumerate(zip(self.kind_batches.tolist(), self.kind_rows.tolist()))
            ]
        )
        self._kind_lines: dict[int, str] = {}

    @property
    def nodes(self) -> int:
        """Number of nodes that are computed, shared ones included."""
        return len(self.part.nodes) + len(self.shared)

    @property
    def seconds(self) -> float:
        """Estimate of the time that it takes, forward."""
        return float(self.kind_seconds.sum()) + len(self.shared) * BATCH_SECONDS

    def constant(self, node: int) -> Array:
        """The value of a constant."""
        return self._constant(int(self.part.nodes[node]))

    def line_of(self, code: int) -> str:
        """Where nodes of a kind were recorded: most of them, if known, else the first ever."""
        if not self.lines:
            return self.kinds[code].line
        if not self._kind_lines:
            counts: dict[int, Counter[str]] = {}
            codes = self.part.code.tolist()
            for node, line in self.lines.items():
                counts.setdefault(codes[node], Counter())[line] += 1
            self._kind_lines = {c: found.most_common(1)[0][0] for c, found in counts.items()}
        return self._kind_lines.get(code, self.kinds[code].line)

    def batches_if(self, groups: Iterable[list[int]]) -> int:
        """How many batches there would be if the kinds of each group were one."""
        table = np.arange(len(self.kinds))
        for group in groups:
            table[group] = group[0]
        part = self.part
        merged = Part(part.nodes, table[part.code], part.src, part.dst)
        return len(batches_of(merged))

    def last(self) -> int:
        """The last node: of an evaluation for one value, the one asked for."""
        return len(self.part.nodes) - 1


def row_seconds(kind: Kind) -> float:
    """Estimate of the arithmetic of one row, forward."""
    op = kind.op
    if isinstance(op, Fused):
        inner = [k for k in op.trace.tape.kinds if k.args and not k.shared and not k.position]
        return sum(row_seconds(k) for k in inner)
    widths = [t.width for t in kind.args]
    out = sum(t.width for t in kind.outputs)
    products = 0.0
    if isinstance(op, (Matmul, Einsum)):
        products = sqrt(widths[0] * widths[1] * out)
    elif isinstance(op, Affine):
        products = sum(sqrt(a * b * out) for a, b in zip(widths[1::2], widths[2::2]))
    elif isinstance(op, (Conv1d, Conv2d)):
        filters = kind.args[1]
        products = out * filters.width / max(1, filters.shape[-1])
    elements = out + sum(t.width for t in kind.args if not t.shared)
    return products * _PRODUCT_SECONDS + elements * _ELEMENT_SECONDS


def of_evaluation(evaluation: Evaluation) -> Run:
    """What an evaluation did."""
    layout = evaluation.layout

    def constant(i: int) -> Array:
        return evaluation.host_value(i)

    run = Run(
        layout.kinds,
        layout.code,
        layout.rows,
        layout.plan,
        [step.nodes for step in layout.steps],
        evaluation.leaves,
        evaluation.lines,
        constant,
    )
    run.needs = _sources(evaluation)
    run.line = evaluation.line
    return run


def of_graph(graph: Graph) -> Run:
    """What an evaluation of a graph would do."""
    plan = schedule(graph, MODES.get().autobatch)
    code, _, _, rows = graph.arrays()
    lines: dict[int, str] = {}
    for tape, indices, numbers in graph.tapes:
        if tape.lines:
            place = dict(zip(np.asarray(indices).tolist(), np.asarray(numbers).tolist()))
            lines.update((place[i], line) for i, line in tape.lines.items() if i in place)

    locate: list[Any] = []

    def constant(i: int) -> Array:
        if not locate:
            locate.append(payloads_of(graph))
        return np.asarray(locate[0](np.array([i]))[0])

    bounds = plan.bounds.tolist()
    batches = [plan.order[a:b] for a, b in itertools.pairwise(bounds)]
    run = Run(graph.kinds, code, rows, plan, batches, graph.leaves, lines, constant)
    found: dict[int, Evaluation] = {}
    for evaluation, _ in graph.externals:
        found[evaluation.serial] = evaluation
    run.needs = list(found.values())
    return run


def _sources(evaluation: Evaluation) -> list[Evaluation]:
    found = {link.source.serial: link.source for link in evaluation.links}
    found.update((source.serial, source) for _, source, _ in evaluation.borrowed)
    return list(found.values())


class History:
    """All that computed some expressions, or will.

    Attributes:
        runs: Evaluations in order, the planned one last.
        depths: Per run, how many evaluations it had to wait for, one after the other.
        planned: Whether the last one is still to be computed.
    """

    def __init__(self, roots: list[Expression]) -> None:
        pending = [x for x in roots if not isinstance(x, Leaf) and not evaluated(x)]
        self.planned = bool(pending)
        last = of_graph(collect(pending, seal=False)) if pending else None
        known: dict[int, Evaluation] = {}
        stack = [] if last is None else list(last.needs)
        for x in roots:
            if not isinstance(x, Leaf) and evaluated(x):
                stack.append(x.tape.location(x.index)[0])
        while stack:
            evaluation = stack.pop()
            if evaluation.serial not in known:
                known[evaluation.serial] = evaluation
                stack += _sources(evaluation)
        serials = sorted(known)
        self.runs = [of_evaluation(known[s]) for s in serials]
        depth_of: dict[int, int] = {}
        self.depths: list[int] = []
        for serial, run in zip([*serials, -1], [*self.runs, last]):
            if run is not None:
                depth = max([depth_of[e.serial] + 1 for e in run.needs], default=0)
                depth_of[serial] = depth
                self.depths.append(depth)
        if last is not None:
            self.runs.append(last)

    @property
    def seconds(self) -> float:
        """Estimate of the time that all take, forward; of the first evaluation its batches."""
        return sum(run.seconds for run in self.runs) + EVALUATION_SECONDS * max(
            0, len(self.runs) - 1
        )


def is_given(kind: Kind) -> bool:
    """Whether nodes of the kind are given by the user, not computed."""
    return isinstance(kind.op, Input)


def only_constants(runs: Iterable[Run]) -> bool:
    """Whether nothing but constants is there."""
    return all(
        all(is_given(run.kinds[c]) for c in np.flatnonzero(run.kind_nodes).tolist())
        and not run.shared
        for run in runs
    )
