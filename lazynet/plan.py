"""`ln.plan`: what would be batched, as data and as a table; nothing is computed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lazynet.asked import expressions_of
from lazynet.collect import Graph, collect
from lazynet.execute import evaluated
from lazynet.graph import Leaf
from lazynet.kinds import HOOKS
from lazynet.modes import MODES
from lazynet.schedule import Schedule, schedule


class Batch(NamedTuple):
    """One batch of a plan.

    Attributes:
        op: Name of the operation.
        shapes: Shapes of one example's arguments (inputs: of the result).
        nodes: Number of nodes.
        rows: Number of rows of the result.
        depth: Number of batches on the longest path up to and including this one.
        line: Source line that first recorded the kind.

    >>> import lazynet as ln
    >>> _, batch = ln.plan([ln.exp(ln.constant([k, 1.0])) for k in range(3)]).batches
    >>> batch.op, batch.shapes, batch.nodes, batch.rows
    ('exp', ((2,),), 3, 3)
    """

    op: str
    shapes: tuple[tuple[int, ...], ...]
    nodes: int
    rows: int
    depth: int
    line: str


class Plan:
    """How some expressions would be evaluated: batches in order.

    Attributes:
        batches: The batches (`Batch`), in the order they run.
        nodes: Number of nodes to compute.
        note: What to know if there is nothing to compute, else "".

    >>> import lazynet as ln
    >>> xs = [ln.constant([1.0, 2.0]) for _ in range(3)]
    >>> print(ln.plan(ln.sum([ln.exp(x) for x in xs])))
    3 batches for 7 nodes (lower bound 3, 2.3 nodes a batch)
    batch  op        shapes  nodes  rows  depth
        0  input     (2,)        3     3      1
        1  exp       (2,)        3     3      2
        2  sum_list  (2,)        1     1      3
    """

    def __init__(self, graph: Graph, plan: Schedule, note: str) -> None:
        self._plan = plan
        self.batches: list[Batch] = _batches(graph, plan)
        self.nodes: int = sum(b.nodes for b in self.batches)
        self.note = note

    @property
    def lower_bound(self) -> int:
        """No schedule has fewer batches: the longest path of each kind, summed over kinds.

        Under `no_autobatch` too it is that of a schedule with batches.
        """
        return self._plan.lower_bound()

    def __len__(self) -> int:
        return len(self.batches)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        text = f"{plural(len(self.batches), 'batch')} for {plural(self.nodes, 'node')}"
        return f"<Plan: {text}; print it, or see .batches and .draw()>"

    def table(self, limit: int = 40) -> str:
        """The batches as text.

        Args:
            limit: Most lines; beyond it the batches are added up by operation, largest first.
        """
        if self.note:
            return self.note
        if len(self.batches) <= limit:
            columns = ["batch", "op", "shapes", "nodes", "rows", "depth"]
            lines = [
                [str(k), b.op, _shapes(b.shapes), f"{b.nodes:,}", f"{b.rows:,}", str(b.depth)]
                for k, b in enumerate(self.batches)
            ]
        else:
            columns = ["batches", "op", "shapes", "nodes", "rows", "nodes/batch"]
            groups: dict[tuple[str, Any], list[Batch]] = {}
            for b in self.batches:
                groups.setdefault((b.op, b.shapes), []).append(b)
            ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
            lines = [
                [
                    f"{len(group):,}",
                    op,
                    _shapes(shapes),
                    f"{sum(b.nodes for b in group):,}",
                    f"{sum(b.rows for b in group):,}",
                    f"{sum(b.nodes for b in group) / len(group):.1f}",
                ]
                for (op, shapes), group in ordered[:limit]
            ]
        return self.head() + "\n" + _align(columns, lines)

    def draw(self, path: Any = None) -> Any:
        """The schedule as a picture: the batches from left to right in the order they run.

        Each operation has a line of its own and a colour, and each batch a bar as high as it has
        rows; below is drawn how deep in the graph each batch lies.

        Args:
            path: A file to write to as well: .svg, .html, or .png (by matplotlib).

        Returns:
            The picture (`ln.Picture`): Jupyter shows it, ``.save(path)`` writes it.

        Raises:
            ArgumentError: If the path is none.
            FileError: If the path cannot be written, or has another suffix.
            MissingPackageError: For a .png, without matplotlib.

        >>> import lazynet as ln
        >>> ln.plan(ln.exp(ln.constant([1.0, 2.0]))).draw()
        <Picture: 2 batches for 2 nodes (lower bound 2, 1.0 nodes a batch); ...>
        """
        return HOOKS.draw_plan(self, path)

    def head(self) -> str:
        """The first line of the table."""
        if self.note:
            return self.note
        mean = self.nodes / max(1, len(self.batches))
        off = "" if self._plan.autobatch else "batching is off; "
        return (
            f"{plural(len(self.batches), 'batch')} for {plural(self.nodes, 'node')} "
            f"({off}lower bound {self.lower_bound:,}, {mean:.1f} nodes a batch)"
        )


def plural(count: int, word: str) -> str:
    """A number with its noun: "1 node", "1,345 nodes", "2 batches"."""
    ending = "" if count == 1 else "es" if word.endswith("ch") else "s"
    return f"{count:,} {word}{ending}"


def _shapes(shapes: tuple[tuple[int, ...], ...]) -> str:
    text = ", ".join(str(s) for s in shapes)
    return text if len(text) <= 40 else text[:37] + "..."


def _align(columns: list[str], lines: list[list[str]]) -> str:
    widths = [max(len(row[c]) for row in [columns, *lines]) for c in range(len(columns))]
    left = {"op", "shapes"}
    return "\n".join(
        "  ".join(
            cell.ljust(w) if name in left else cell.rjust(w)
            for cell, w, name in zip(row, widths, columns)
        ).rstrip()
        for row in [columns, *lines]
    )


def _batches(graph: Graph, plan: Schedule) -> list[Batch]:
    code, starts, args, rows = graph.arrays()
    depth = np.zeros(len(code), np.int64)
    batches = []

    def add(nodes: Any) -> None:
        below = 0
        for i in nodes.tolist():
            for a in args[starts[i] : starts[i + 1]].tolist():
                for source in plan.rebatched.get(a, (int(plan.pointer[a]),)):
                    below = max(below, int(depth[source]))
        depth[nodes] = below + 1
        kind = graph.kinds[int(code[nodes[0]])]
        shapes = tuple(t.shape for t in kind.args) or (kind.type.shape,)
        count = np.where(rows[nodes] == -1, 1, rows[nodes])
        batches.append(
            Batch(kind.op.name, shapes, len(nodes), int(count.sum()), below + 1, kind.line)
        )

    for i in plan.shared:
        add(np.array([i]))
    for k in range(len(plan.bounds) - 1):
        add(plan.order[plan.bounds[k] : plan.bounds[k + 1]])
    return batches


def plan(expressions: Any) -> Plan:
    """How these expressions would be evaluated: a pure function, nothing is computed or sealed.

    Args:
        expressions: One expression, or several that would be evaluated together; also those of
            `lazynet.dynet`.

    Returns:
        The plan of what is not computed yet; under `no_autobatch`, one batch per node. What is
        computed has no plan: `explain` and `draw` show how it was.

    Raises:
        ArgumentError: If something else is given.
        GraphError: If one lies on the open tape of another thread.

    >>> import lazynet as ln
    >>> xs = [ln.exp(ln.constant([k, 1.0])) for k in range(3)]
    >>> [(batch.op, batch.nodes) for batch in ln.plan(xs).batches]
    [('input', 3), ('exp', 3)]
    >>> _ = ln.values(xs)
    >>> len(ln.plan(xs))
    0
    """
    roots = expressions_of(expressions, "plan", empty=True)
    pending = [x for x in roots if not isinstance(x, Leaf) and not evaluated(x)]
    graph = collect(pending, seal=False) if pending else Graph()
    note = ""
    if not roots:
        note = "Nothing to compute: no expressions were given."
    elif all(isinstance(x, Leaf) for x in roots):
        note = "Nothing to compute: parameters are read, not computed."
    elif not pending:
        note = "Nothing is left to compute. ln.explain and ln.draw show how it was computed."
    return Plan(graph, schedule(graph, MODES.get().autobatch), note)
