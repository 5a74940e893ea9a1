"""`View`: what is known of a graph, as plain data, for everything that looks at one."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lazynet.asked import expressions_of
from lazynet.backend import device_of, on_device, to_host
from lazynet.cells import readable
from lazynet.differentiate import published_gradient
from lazynet.execute import LOCK
from lazynet.inspect.ancestry import Ancestry, Found, Ran, Run
from lazynet.inspect.formulas import formula, payload_text
from lazynet.kinds import Array, Kind, Shape
from lazynet.leaves import Input

SMALL = 64
"""Most elements of a value or gradient that a view holds."""

SEVERAL = "several shapes"
"""The payload of what stands for nodes of different shapes."""

LIMIT = 20_000
"""Most nodes that are told apart; a larger graph is folded at once, without any values."""


@dataclass(frozen=True)
class Node:
    """A node, or in a folded view all nodes of a group.

    Attributes:
        number: Position in `View.nodes`; arguments have smaller numbers (not in a view that is
            folded by kind, where a recurrence is a circle).
        op: Name of the operation, "parameter", or the name of a fused function.
        role: "input", "parameter" or "op".
        name: Full name of a parameter, else "".
        formula: The operation's equation with the numbers of the nodes filled in, such as
            "v2 = tanh v1"; "" if it has none.
        arguments: Numbers of the nodes that it is computed from.
        shape: Shape of one example.
        batch: Number of rows, or None for a single row.
        dtype: Name of the dtype.
        payload: What it carries besides, as text ("index 3"), or "".
        line: ``file:line`` that recorded it, where that was remembered (`ln.debug`), else the
            one that first recorded a node of its kind.
        line_is_exact: Which of the two.
        kind: Position in `View.kinds`.
        output: Which of several results of one operation it is.
        first: Number of the first of these results (its own for the first, or only one).
        evaluated: Whether it was computed.
        value, gradient: Copies, where computed, wanted and small; else None. The gradient is that
            of the last backward, a parameter's what has been accumulated.
        batch_number: Position in `View.batches` of the batch that computes it, or -1.
        count: How many nodes it stands for.
        batches: In how many batches these are computed.
        depth: Nodes on the longest path up to it.
    """

    number: int
    op: str
    role: str
    name: str
    formula: str
    arguments: tuple[int, ...]
    shape: Shape
    batch: int | None
    dtype: str
    payload: str
    line: str
    line_is_exact: bool
    kind: int
    output: int
    first: int
    evaluated: bool
    value: Array | None
    gradient: Array | None
    batch_number: int
    count: int = 1
    batches: int = 1
    depth: int = 1

    @property
    def place(self) -> str:
        """The source line without the folders: "file.py:31", or "In[3]:2" in a notebook."""
        return re.split(r"[/\\]", readable(self.line))[-1]

    @property
    def shape_text(self) -> str:
        """Shape and batch as one text: "(3, 4) x batch 7"; "scalar" for ()."""
        text = str(self.shape) if self.shape else "scalar"
        return text if self.batch is None else f"{text} x batch {self.batch}"


@dataclass(frozen=True)
class KindView:
    """Nodes of one kind are what batches.

    Attributes:
        op: Name of the operation, or of the parameter.
        shapes: Of one example's arguments, the parameters that all nodes share included.
        shared: Per argument, whether all nodes of the kind share its value (a parameter).
        shape: Of the result.
        line: ``file:line`` that first recorded one.
        count: Number of nodes of this kind in the view.
    """

    op: str
    shapes: tuple[Shape, ...]
    shared: tuple[bool, ...]
    shape: Shape
    line: str
    count: int

    @property
    def label(self) -> str:
        """The operation with the shapes of its arguments: "matmul((3, 4), (4,))"."""
        return f"{self.op}({', '.join(map(str, self.shapes))})" if self.shapes else self.op


@dataclass(frozen=True)
class BatchView:
    """One batch.

    Attributes:
        number: Position in `View.batches`.
        op, kind, line: Of its nodes; see `Node`.
        nodes: Numbers of its nodes in the view.
        rows, size: Rows and nodes of the whole batch: the view may not show all of them.
        depth: Batches on the longest path up to it.
        state: "computed" or "planned".
        evaluation: Which one, in order; what is planned comes last.
    """

    number: int
    op: str
    kind: int
    nodes: tuple[int, ...]
    rows: int
    size: int
    depth: int
    line: str
    state: str
    evaluation: int


@dataclass(frozen=True)
class RunView:
    """One evaluation, or what is planned.

    Attributes:
        state: "computed" or "planned".
        nodes, batches: Of the whole evaluation, shown in the view or not.
        lower_bound: No schedule of it has fewer batches.
        autobatch: Whether nodes could share a batch.
    """

    state: str
    nodes: int
    batches: int
    lower_bound: int
    autobatch: bool


@dataclass(frozen=True)
class View:
    """What is known of a graph; made by `view_of`.

    Attributes:
        nodes: Arguments before what uses them; parameters first.
        batches: In the order in which they run.
        kinds: What nodes refer to by number.
        roots: Numbers of the nodes asked for, in the order given.
        runs: The evaluations, and last what is planned.
        total: Number of nodes before any folding, parameters and further results included.
        in_batches: How many of these are computed in batches.
        folded: What one node stands for: "" (a node), "batch" (the nodes of a kind and batch),
            "kind" or "op".
    """

    nodes: tuple[Node, ...]
    batches: tuple[BatchView, ...]
    kinds: tuple[KindView, ...]
    roots: tuple[int, ...]
    runs: tuple[RunView, ...]
    total: int
    in_batches: int
    folded: str = ""

    @property
    def evaluations(self) -> int:
        """Number of evaluations that computed nodes of the view."""
        return sum(run.state == "computed" for run in self.runs)

    @property
    def lower_bound(self) -> int:
        """The sum of those of the evaluations and of the plan: no schedule has fewer batches."""
        return sum(run.lower_bound for run in self.runs)

    @property
    def truncated(self) -> int:
        """How many nodes have no entry of their own."""
        return self.total - len(self.nodes)

    def fold(self, limit: int, by: str = "") -> View:
        """A view of few nodes, each of which stands for several.

        Args:
            limit: Most nodes.
            by: "batch": nodes of one kind and batch are one; "kind"; "op". Empty: the first of
                these that is within the limit, or "op".

        Returns:
            The view itself, if it is within the limit and `by` is empty.
        """
        if not by:
            if len(self.nodes) <= limit:
                return self
            levels = ("batch", "kind", "op")
            for by in levels[levels.index(self.folded) + 1 if self.folded else 0 :]:
                if len({_group(node, by, self.nodes) for node in self.nodes}) <= limit:
                    break
        return _folded(self, by)

    def to_dict(self) -> dict[str, Any]:
        """All of this as what JSON can hold: numbers to 6 significant digits, nan as text."""
        return {
            "nodes": [_plain(node) | {"place": node.place} for node in self.nodes],
            "batches": [_plain(batch) for batch in self.batches],
            "kinds": [_plain(kind) | {"label": kind.label} for kind in self.kinds],
            "roots": list(self.roots),
            "runs": [_plain(run) for run in self.runs],
            "evaluations": self.evaluations,
            "lower_bound": self.lower_bound,
            "total": self.total,
            "in_batches": self.in_batches,
            "truncated": self.truncated,
            "folded": self.folded,
        }


def view_of(
    expressions: Any, values: bool = True, gradients: bool = True, limit: int = LIMIT
) -> View:
    """All that is known of what expressions were, or will be, computed from.

    Nothing is computed or sealed.

    Args:
        expressions: An expression or parameter, or several.
        values: Whether to copy the small values that were computed.
        gradients: Whether to copy the small gradients that the last backward left.
        limit: Most nodes; a larger graph comes folded, without values.

    Raises:
        ArgumentError: If something is no expression, or there is none.
        GraphError: If an expression lies on the open tape of another thread.

    >>> import lazynet as ln
    >>> from lazynet.inspect.view import view_of
    >>> x = ln.constant([1.0, 2.0])
    >>> [node.formula for node in view_of(ln.tanh(x) * 3).nodes]
    ['', 'v1 = tanh v0', 'v2 = 3 * v1']
    """
    roots = expressions_of(expressions, "view_of")
    with LOCK:
        return _View(Ancestry(roots), limit).view(values, gradients)


# From what was found to a view


class _View:
    """Makes a view of what was found."""

    def __init__(self, found: Ancestry, limit: int) -> None:
        self.found = found
        self.light = len(found.nodes) > limit
        self.limit = limit
        self.kinds: dict[Any, int] = {}
        self.members: list[Kind | None] = []
        self.counts: list[int] = []
        self.dtypes: dict[Any, str] = {}
        self.users = {
            a: node.kind
            for node in found.nodes
            if node.kind is not None
            for a in node.arguments
            if a.kind is None
        }

    def view(self, values: bool, gradients: bool) -> View:
        found = self.found
        nodes = []
        depths = [1] * len(found.nodes)
        for node in found.nodes:
            depths[node.at] = 1 + max([depths[a.at] for a in node.arguments], default=0)
            nodes.append(self._node(node, values, gradients, depths[node.at]))
        kinds = [self._kind(*pair) for pair in zip(self.members, self.counts)]
        batches = self._batches(nodes)
        view = View(
            tuple(nodes),
            tuple(batches),
            tuple(kinds),
            tuple([root.at for root in found.roots]),
            tuple([_run(run) for run in found.runs]),
            len(nodes),
            sum([node.batch_number >= 0 for node in nodes]),
        )
        if not self.light:
            return view
        return view.fold(self.limit)

    def _number(self, node: Found) -> int:
        key: Any = node.leaf if node.leaf is not None else node.kind
        number = self.kinds.get(key)
        if number is None:
            number = self.kinds[key] = len(self.members)
            self.members.append(node.kind)
            self.counts.append(0)
        self.counts[number] += 1
        return number

    def _node(self, node: Found, values: bool, gradients: bool, depth: int) -> Node:
        kind = node.kind
        number = self._number(node)
        batch = None if node.rows == -1 else node.rows
        arguments = tuple([a.at for a in node.arguments])
        if kind is None:
            shape, dtype, line = self._stretch(node)
            return Node(
                node.at, "earlier value", "input", "", "", (), shape, batch, dtype,
                "its history was let go", line, False, number, 0, node.at, True,
                None, None, -1, 1, 1, depth,
            )  # fmt: skip
        line, exact = _line(node, kind)
        payload = self._payload(node, kind)
        leaf = node.leaf
        small = not self.light and kind.type.width * (batch or 1) <= SMALL
        first = arguments[0] if kind.position and arguments else node.at
        return Node(
            number=node.at,
            op="parameter" if leaf is not None else kind.op.name,
            role=_role(node, kind),
            name="" if leaf is None else leaf.name,
            formula="" if self.light else formula(kind, node.at, arguments, payload),
            arguments=arguments,
            shape=kind.type.shape,
            batch=batch,
            dtype=self._dtype(kind.type.dtype),
            payload="" if self.light else payload_text(kind.op, payload),
            line=line,
            line_is_exact=exact,
            kind=number,
            output=kind.position,
            first=first,
            evaluated=leaf is not None or node.evaluation is not None,
            value=_value(node) if small and values else None,
            gradient=_gradient(node) if small and gradients else None,
            batch_number=node.batch,
            depth=depth,
        )

    def _dtype(self, dtype: Any) -> str:
        found = self.dtypes.get(dtype)
        if found is None:  # NumPy takes its time
            found = self.dtypes[dtype] = str(dtype)
        return found

    def _stretch(self, node: Found) -> tuple[Shape, str, str]:
        """Shape, dtype and line of rows whose history was let go."""
        assert node.evaluation is not None and node.stretch is not None
        layout = node.evaluation.layout
        arena, first = node.stretch
        if arena < 0:
            t = layout.type(first)
            return t.shape, str(t.dtype), "unknown line"
        dtype, width, _ = layout.arenas[arena]
        user = self.users.get(node)
        if user is not None:
            for t in user.args:
                if t.width == width and t.dtype == dtype:
                    return t.shape, str(t.dtype), "unknown line"
        return (width,), str(np.dtype(dtype)), "unknown line"

    def _payload(self, node: Found, kind: Kind) -> Any:
        if node.tape is None or isinstance(kind.op, Input) or node.leaf is not None:
            return None
        return node.tape.payloads[node.index]

    def _kind(self, kind: Kind | None, count: int) -> KindView:
        if kind is None:
            return KindView("earlier value", (), (), (), "unknown line", count)
        op = "parameter" if kind.op.payload == "parameter" else kind.op.name
        shapes = tuple([t.shape for t in kind.args])
        shared = tuple([t.shared != 0 for t in kind.args])
        return KindView(op, shapes, shared, kind.type.shape, kind.line, count)

    def _batches(self, nodes: Sequence[Node]) -> list[BatchView]:
        found = self.found
        below = [0] * len(nodes)  # the depth of the batch that computes each node
        of: list[list[int]] = [[] for _ in found.batches]
        for node in nodes:
            if node.batch_number >= 0:
                of[node.batch_number].append(node.number)
        batches = []
        for k, ran in enumerate(found.batches):
            depth = 0
            waiting = list(of[k])
            while waiting:  # pointers to rows are in no batch: look through them
                for a in nodes[waiting.pop()].arguments:
                    if nodes[a].batch_number >= 0:
                        depth = max(depth, below[a])
                    elif nodes[a].role == "op":
                        waiting.append(a)
            for i in of[k]:
                below[i] = depth + 1
            batches.append(self._batch(k, ran, nodes, depth + 1))
        return batches

    def _batch(self, k: int, ran: Ran, nodes: Sequence[Node], depth: int) -> BatchView:
        members = tuple([node.at for node in ran.nodes])
        first = nodes[members[0]]
        state = "planned" if self.found.runs[ran.run].evaluation is None else "computed"
        return BatchView(
            k, first.op, first.kind, members, ran.rows, ran.size, depth, ran.kind.line, state,
            ran.run,
        )  # fmt: skip


def _run(run: Run) -> RunView:
    state = "planned" if run.evaluation is None else "computed"
    return RunView(state, run.nodes, run.batches, run.plan.lower_bound(), run.plan.autobatch)


def _role(node: Found, kind: Kind) -> str:
    if node.leaf is not None:
        return "parameter"
    return "input" if isinstance(kind.op, Input) else "op"


def _line(node: Found, kind: Kind) -> tuple[str, bool]:
    if node.tape is not None:
        line = node.tape.lines.get(node.index)
        if line is not None:
            return line, True
    elif node.evaluation is not None and node.number in node.evaluation.lines:
        return node.evaluation.lines[node.number], True
    return kind.line, False


def _value(node: Found) -> Array | None:
    if node.leaf is not None:
        with on_device(device_of(node.leaf.values)):
            return np.array(to_host(node.leaf.values))
    if node.evaluation is not None:
        return np.asarray(node.evaluation.host_value(node.number))
    if node.tape is not None and node.kind is not None and isinstance(node.kind.op, Input):
        shape = node.kind.type.shape if node.rows == -1 else (node.rows, *node.kind.type.shape)
        given = node.tape.payloads[node.index]
        with on_device(device_of(given)):
            return np.array(to_host(given)).reshape(shape)
    return None


def _gradient(node: Found) -> Array | None:
    if node.leaf is not None:
        leaf: Any = node.leaf
        return np.asarray(leaf.gradient()) if leaf.has_gradient() else None
    if node.evaluation is None:
        return None
    return published_gradient(node.evaluation, node.number)


# Folding


def _group(node: Node, by: str, nodes: Sequence[Node]) -> Any:
    if by == "op":
        return (node.role, node.op)
    node = nodes[node.first]  # all results of one operation are one
    if by == "kind":
        return (node.kind, node.output)
    # what is in no batch is folded by what it is
    return (node.kind, node.output, node.batch_number)


def _is_further_result(node: Node) -> bool:
    return node.first != node.number


def _folded(view: View, by: str) -> View:
    groups: dict[Any, int] = {}
    members: list[list[Node]] = []
    group_of = [0] * len(view.nodes)
    for node in view.nodes:
        key = _group(node, by, view.nodes)
        number = groups.setdefault(key, len(groups))
        if number == len(members):
            members.append([])
        members[number].append(node)
        group_of[node.number] = number
    order = sorted(range(len(members)), key=lambda g: (members[g][0].depth, g))
    place = {g: k for k, g in enumerate(order)}
    nodes = []
    for k, g in enumerate(order):
        group = members[g]
        results = 1 + max([node.output for node in group])
        group = [node for node in group if not _is_further_result(node)]
        first = group[0]
        arguments = dict.fromkeys([place[group_of[a]] for node in group for a in node.arguments])
        numbers = {node.batch_number for node in group}
        alone = len(group) == 1
        payload = first.payload if alone else ""
        if results > 1 and by != "op":
            payload = f"{results} results"
        shared = by == "op" and len({node.shape for node in group}) > 1
        nodes.append(
            replace(
                first,
                number=k,
                name=first.name if alone else "",
                formula="" if not alone or by != "" else first.formula,
                arguments=tuple(arguments),
                shape=() if shared else first.shape,
                batch=first.batch if len({node.batch for node in group}) == 1 else None,
                payload=SEVERAL if shared else payload,
                first=place[group_of[first.first]],
                value=first.value if alone else None,
                gradient=first.gradient if alone else None,
                count=sum([node.count for node in group]),
                batches=len(numbers - {-1}) if not view.folded else sum(n.batches for n in group),
            )
        )
    batches = []
    for b in view.batches:
        shown = tuple(dict.fromkeys([place[group_of[i]] for i in b.nodes]))
        batches.append(
            BatchView(
                b.number,
                b.op,
                b.kind,
                shown,
                b.rows,
                b.size,
                b.depth,
                b.line,
                b.state,
                b.evaluation,
            )
        )
    roots = tuple(dict.fromkeys([place[group_of[i]] for i in view.roots]))
    whole = (view.runs, view.total, view.in_batches)
    return View(tuple(nodes), tuple(batches), view.kinds, roots, *whole, by)


# As plain data


def _plain(record: Any) -> dict[str, Any]:
    return {name: _json(getattr(record, name)) for name in record.__dataclass_fields__}


def _json(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        return _json(x.tolist())
    if isinstance(x, float):
        return float(f"{x:.6g}") if math.isfinite(x) else str(x)
    if isinstance(x, (list, tuple)):
        return [_json(entry) for entry in x]
    return x
