"""All nodes that expressions were, or will be, computed from: on open tapes, and in evaluations.

Computed nodes are known by their evaluation and their number there, which outlive the tape that
they were recorded on; the tape, where it can still be found, adds payloads and source lines, and
rows of arenas tell what the arguments were where it cannot.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from lazynet.collect import Graph, collect
from lazynet.evaluation import Evaluation
from lazynet.execute import evaluated
from lazynet.graph import Expression, Leaf
from lazynet.kinds import Array, Kind
from lazynet.layout import SAME, SHARED, Argument, Step
from lazynet.leaves import Import, Input
from lazynet.modes import MODES
from lazynet.schedule import Schedule, schedule
from lazynet.tape import Tape

Place = tuple[Evaluation, int]


class Found:
    """A node, and all that is known of where it is.

    Attributes:
        kind: Its kind; None for rows whose history was let go.
        arguments: What it was computed from.
        rows: Batch (-1: a single row).
        evaluation, number: What computed it; None and -1 if nothing did yet.
        tape, index: Where it was recorded; None and -1 if that is gone.
        leaf: The parameter that it is, or None.
        stretch: For rows whose history was let go, (arena, first row), or of a shared value
            (-1, its number).
        batch: Which of `Ancestry.batches` computes it (-1: none).
        at: Position in `Ancestry.nodes`.
    """

    __slots__ = (
        "arguments", "at", "batch", "evaluation", "index", "kind", "leaf", "number", "rows",
        "stretch", "tape",
    )  # fmt: skip

    def __init__(self, kind: Kind | None, rows: int) -> None:
        self.kind = kind
        self.rows = rows
        self.arguments: list[Found] = []
        self.evaluation: Evaluation | None = None
        self.number = -1
        self.tape: Tape | None = None
        self.index = -1
        self.leaf: Leaf | None = None
        self.stretch: tuple[int, int] | None = None
        self.batch = -1
        self.at = -1


class Ran:
    """One batch: of the nodes found, those that it computes.

    Attributes:
        nodes: These nodes.
        kind: Their kind.
        rows, size: Rows and nodes of the whole batch, others than those found included.
        run: Which of `Ancestry.runs` it belongs to.
    """

    __slots__ = ("kind", "nodes", "rows", "run", "size")

    def __init__(self, kind: Kind, rows: int, size: int, run: int) -> None:
        self.kind = kind
        self.nodes: list[Found] = []
        self.rows = rows
        self.size = size
        self.run = run


class Run:
    """An evaluation, or the one that is planned.

    Attributes:
        evaluation: The evaluation; None for what is planned.
        nodes, batches: Of the whole evaluation, found here or not.
        plan: Its schedule, which knows the least possible number of batches.
    """

    __slots__ = ("batches", "evaluation", "nodes", "plan")

    def __init__(
        self, evaluation: Evaluation | None, nodes: int, batches: int, plan: Schedule
    ) -> None:
        self.evaluation = evaluation
        self.nodes = nodes
        self.batches = batches
        self.plan = plan


class Ancestry:
    """Everything that some expressions rest on.

    Attributes:
        nodes: Arguments before what uses them.
        roots: The expressions, in the order given.
        batches: In order; those that compute none of the nodes are left out.
        runs: The evaluations in order, and what is planned after them.
    """

    def __init__(self, expressions: Sequence[Expression]) -> None:
        self.nodes: list[Found] = []
        self.batches: list[Ran] = []
        self.runs: list[Run] = []
        self._leaves: dict[Leaf, Found] = {}
        self._computed: dict[tuple[Evaluation, int], Found] = {}
        self._gone: dict[tuple[Evaluation, int, int, int], Found] = {}
        self._records: dict[Evaluation, _Record] = {}
        self._origins: dict[Evaluation, dict[int, tuple[Tape, int]]] = {}
        self._waiting: list[Found] = []
        for tape in _tapes(expressions):
            self._note(tape)
        pending = [x for x in expressions if not isinstance(x, Leaf) and not evaluated(x)]
        graph = collect(pending, seal=False) if pending else Graph()
        planned = self._planned(graph)
        self.roots = []
        numbers = iter(graph.roots)
        for x in expressions:
            if isinstance(x, Leaf):
                self.roots.append(self._leaf(x))
            elif evaluated(x):
                self.roots.append(self._at(*x.tape.location(x.index)))
            else:
                self.roots.append(planned[next(numbers)])
        self._trace_back()
        self._order(planned)
        self._place(graph, planned)

    # Nodes not computed yet

    def _planned(self, graph: Graph) -> list[Found]:
        code, starts, args, rows = graph.arrays()
        codes, counts = code.tolist(), rows.tolist()
        found: list[Found] = [self._at(*place) for place in graph.externals]
        for i in range(len(found), len(codes)):
            leaf = graph.leaves.get(i)
            if leaf is None:
                found.append(Found(graph.kinds[codes[i]], counts[i]))
            else:
                found.append(self._leaf(leaf))
        edges, flat = starts.tolist(), args.tolist()
        for i in range(len(graph.externals), len(codes)):
            found[i].arguments = [found[a] for a in flat[edges[i] : edges[i + 1]]]
        for tape, indices, numbers in graph.tapes:
            for i, number in zip(np.asarray(indices).tolist(), np.asarray(numbers).tolist()):
                if found[number].tape is None and found[number].leaf is None:
                    found[number].tape, found[number].index = tape, i
        return found

    # Nodes computed before

    def _leaf(self, leaf: Leaf) -> Found:
        found = self._leaves.get(leaf)
        if found is None:
            found = self._leaves[leaf] = Found(leaf.leaf_kind, -1)
            found.leaf = leaf
        return found

    def _at(self, evaluation: Evaluation, number: int) -> Found:
        """The node of an evaluation; one that it took from an earlier one is looked up there."""
        key = (evaluation, number)
        found = self._computed.get(key)
        if found is not None:
            return found
        found = self._computed[key] = self._make(evaluation, number)
        return found

    def _make(self, evaluation: Evaluation, number: int) -> Found:
        leaf = evaluation.leaves.get(number)
        if leaf is not None:
            return self._leaf(leaf)
        earlier = self._record(evaluation).borrowed.get(number)
        if earlier is not None:
            return self._at(*earlier)
        layout = evaluation.layout
        kind = layout.kinds[int(layout.code[number])]
        if isinstance(kind.op, Import):
            return self._lost(evaluation, -1, number, int(layout.rows[number]))
        found = Found(kind, int(layout.rows[number]))
        found.evaluation, found.number = evaluation, number
        found.tape, found.index = self._origins.get(evaluation, {}).get(number, (None, -1))
        self._waiting.append(found)
        return found

    def _record(self, evaluation: Evaluation) -> _Record:
        record = self._records.get(evaluation)
        if record is None:
            record = self._records[evaluation] = _Record(evaluation)
        return record

    def _trace_back(self) -> None:
        """Find the arguments of computed nodes, and theirs."""
        while self._waiting:
            node = self._waiting.pop()
            kind, evaluation = node.kind, node.evaluation
            assert kind is not None and evaluation is not None
            if isinstance(kind.op, Input):
                continue
            if kind.position:
                node.arguments = [self._at(evaluation, node.number - kind.position)]
                continue
            if node.tape is None:
                node.arguments = self.by_rows(node)
                continue
            given = node.tape.arguments(node.index)
            found = [self._recorded(node.tape, a) for a in given]
            if None in found:  # what it imported was let go
                exact = self.by_rows(node)
                if len(exact) == len(given):
                    node.arguments = [f or e for f, e in zip(found, exact)]
                else:
                    node.arguments = exact
            else:
                node.arguments = [f for f in found if f is not None]

    def _recorded(self, tape: Tape, i: int) -> Found | None:
        """Node i of a tape that was computed; None where that is not known any more."""
        while isinstance(tape.kinds[i].op, Import):
            x = tape.payloads[i]
            if x is None:
                return None
            tape, i = x.tape, x.index
        payload = tape.payloads[i]
        if isinstance(payload, Leaf):
            return self._leaf(payload)
        if not tape.evaluated[i]:
            return None
        return self._at(*tape.location(i))

    def by_rows(self, node: Found) -> list[Found]:
        """What a node was computed from, by the rows that its batch read."""
        evaluation = node.evaluation
        assert evaluation is not None
        record = self._record(evaluation)
        if node.number in record.shared:
            return [self._at(evaluation, a) for a in record.shared[node.number]]
        layout = evaluation.layout
        found: list[Found] = []
        if node.number not in record.steps:  # rows of another node, or a further result of one
            arena = int(layout.arena[node.number])
            if arena >= 0:
                self._owners(evaluation, arena, layout.node_rows(node.number), found)
            return found
        step, j = record.steps[node.number]
        for argument in step.args:
            if argument.mode == SHARED:
                found.append(self._at(evaluation, argument.start))
            else:
                rows = _rows_read(step, j, argument, record.offsets)
                self._owners(evaluation, argument.arena, rows, found)
        return found

    def _owners(self, evaluation: Evaluation, arena: int, rows: Array, found: list[Found]) -> None:
        """Append the nodes whose these rows are."""
        record = self._record(evaluation)
        owners = record.owner[arena]
        before = len(found)
        last: Any = None
        for row in rows.tolist():
            number = int(owners[row])
            if number >= 0:
                node = self._at(evaluation, number)
            else:
                link = record.links.get((arena, row))
                if link is not None:
                    source, their_arena, their_row = link
                    own: list[Found] = []
                    self._owners(source, their_arena, np.array([their_row]), own)
                    node = own[0]
                else:
                    count = -1 if len(rows) == 1 else len(rows)
                    node = self._lost(evaluation, arena, int(rows[0]), count)
            if node is not last and node not in found[before:]:
                found.append(node)
            last = node

    def _lost(self, evaluation: Evaluation, arena: int, first: int, rows: int) -> Found:
        """Stands for rows from an earlier evaluation that was let go."""
        key = (evaluation, arena, first, rows)
        found = self._gone.get(key)
        if found is None:
            found = self._gone[key] = Found(None, rows)
            found.evaluation, found.stretch = evaluation, (arena, first)
        return found

    def _note(self, tape: Tape) -> None:
        """Remember what each evaluation computed of a tape."""
        if not tape.evaluations:
            return
        computed = np.flatnonzero(np.frombuffer(tape.evaluated, np.uint8))
        done, local = tape.done[computed].tolist(), tape.local[computed].tolist()
        origins = [self._origins.setdefault(e, {}) for e in tape.evaluations]
        for i, k, number in zip(computed.tolist(), done, local):
            origins[k].setdefault(number, (tape, i))

    # Order and batches

    def _order(self, planned: list[Found]) -> None:
        """Number what the roots rest on; results that nobody uses are left out."""
        seen = set(self.roots)
        waiting = list(self.roots)
        while waiting:
            for node in waiting.pop().arguments:
                if node not in seen:
                    seen.add(node)
                    waiting.append(node)
        leaves = [node for node in seen if node.leaf is not None]
        leaves.sort(key=lambda node: node.leaf.leaf_kind.id if node.leaf is not None else -1)
        gone = [node for node in self._gone.values() if node in seen]
        computed = [node for node in seen if node.evaluation is not None and not node.stretch]
        computed.sort(key=_age)
        fresh = [node for node in planned if node.evaluation is None and node.leaf is None]
        fresh = [node for node in fresh if node in seen]
        self.nodes = [*leaves, *gone, *computed, *fresh]
        for at, node in enumerate(self.nodes):
            node.at = at

    def _place(self, graph: Graph, planned: list[Found]) -> None:
        """The batches, in order."""
        ran: dict[Evaluation, dict[int, Found]] = {}
        for node in self.nodes:
            if node.evaluation is not None and node.stretch is None:
                ran.setdefault(node.evaluation, {})[node.number] = node
        for evaluation in sorted(ran, key=lambda e: e.serial):
            self._place_computed(evaluation, ran[evaluation])
        if len(graph) == len(graph.externals):
            return
        plan = schedule(graph, MODES.get().autobatch)
        run = len(self.runs)
        code, _, _, rows = graph.arrays()
        bounds, order = plan.bounds.tolist(), plan.order.tolist()
        batches = [order[a:b] for a, b in itertools.pairwise(bounds)]
        groups = [[i] for i in plan.shared] + batches
        nodes = len(plan.shared) + len(order)
        self.runs.append(Run(None, nodes, len(groups), plan))
        count = np.where(rows == -1, 1, rows).tolist()
        for group in groups:
            total = sum([count[i] for i in group])
            kind = graph.kinds[int(code[group[0]])]
            members = [planned[i] for i in group if planned[i].at >= 0]
            self._add(Ran(kind, total, len(group), run), members)

    def _place_computed(self, evaluation: Evaluation, nodes: dict[int, Found]) -> None:
        layout = evaluation.layout
        run = len(self.runs)
        total = len(layout.shared) + sum([len(step.nodes) for step in layout.steps])
        batches = len(layout.shared) + len(layout.steps)
        self.runs.append(Run(evaluation, total, batches, layout.plan))
        for number, kind, _ in layout.shared:
            if number in nodes:
                self._add(Ran(kind, 1, 1, run), [nodes[number]])
        for step in layout.steps:
            members = [nodes[i] for i in step.nodes.tolist() if i in nodes]
            if members:
                self._add(Ran(step.kind, step.rows, len(step.nodes), run), members)

    def _add(self, batch: Ran, nodes: list[Found]) -> None:
        for node in nodes:
            node.batch = len(self.batches)
        batch.nodes = nodes
        self.batches.append(batch)


class _Record:
    """What an evaluation says of its nodes, the other way round.

    Attributes:
        steps: The batch of each node, and its position there.
        shared: Arguments of shared nodes.
        owner: Per arena, the node whose each row is (-1: from an earlier evaluation).
        links: Where rows come from: (arena, row) to (evaluation, arena there, row there).
        borrowed: Where shared values come from.
        offsets: Where the rows of each node of a batch begin, once that was looked for.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        layout = evaluation.layout
        self.steps: dict[int, tuple[Step, int]] = {}
        self.shared = {number: args for number, _, args in layout.shared}
        self.owner = [np.full(rows, -1, np.int64) for _, _, rows in layout.arenas]
        self.offsets: dict[Step, list[int]] = {}
        self.borrowed = {number: (source, there) for number, source, there in evaluation.borrowed}
        for step in layout.steps:
            self.steps.update(zip(step.nodes.tolist(), [(step, j) for j in range(len(step.nodes))]))
            owners = step.nodes if step.counts is None else np.repeat(step.nodes, step.counts)
            for k, (arena, start, stop, _) in enumerate(step.outputs):
                self.owner[arena][start:stop] = owners + k  # further results follow the first
        self.links: dict[tuple[int, int], tuple[Evaluation, int, int]] = {}
        for link in evaluation.links:
            for ours, theirs in zip(_listed(link.ours), _listed(link.theirs)):
                self.links[(link.arena, ours)] = (link.source, link.their_arena, theirs)


def _listed(rows: Any) -> list[int]:
    found: list[int] = np.asarray(rows).reshape(-1).tolist()
    return found


def _rows_read(step: Step, j: int, argument: Argument, offsets: dict[Step, list[int]]) -> Array:
    """Rows of an argument that node j of a batch reads."""
    first, end = j, j + 1
    if argument.mode == SAME:
        return np.array([argument.start])
    if not argument.per_node:
        if step.counts is not None:
            edges = offsets.get(step)
            if edges is None:
                edges = offsets[step] = [0, *np.cumsum(step.counts).tolist()]
            first, end = edges[j], edges[j + 1]
        if step.segments is not None:
            if step.op.segmented:  # one for each node, otherwise for each row
                first, end = j, j + 1
            first, end = int(step.segments[first]), int(step.segments[end])
    if argument.index is not None:
        return argument.index[first:end]
    return np.arange(argument.start + first, argument.start + end)


def _age(node: Found) -> tuple[int, int]:
    assert node.evaluation is not None
    return node.evaluation.serial, node.number


def _tapes(expressions: Sequence[Expression]) -> list[Tape]:
    """The tapes that can be found from these expressions."""
    found: dict[Tape, None] = {}
    waiting = [x.tape for x in expressions if not isinstance(x, Leaf)]
    while waiting:
        tape = waiting.pop()
        if tape not in found:
            found[tape] = None
            waiting += list(tape.imports)
    return list(found)
