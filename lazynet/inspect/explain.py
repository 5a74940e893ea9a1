"""`ln.explain`: how expressions are computed, and why not in fewer batches, in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np

from lazynet.asked import expressions_of
from lazynet.graph import Expression, Leaf
from lazynet.inspect.finding import Finding
from lazynet.inspect.reasons import findings_of
from lazynet.inspect.report import align, as_html, wrapped
from lazynet.inspect.runs import BATCH_SECONDS, History, only_constants
from lazynet.inspect.source import short
from lazynet.plan import plural

_SHOWN: Final = 5
"""Findings that a report shows; the others are data."""
_KINDS: Final = 8
"""Lines of its table."""
_LEFT: Final = ("op", "line")
"""Its columns that are text."""


class KindReport(NamedTuple):
    """All nodes of one operation that were recorded at one line.

    Attributes:
        op: Name of the operation.
        line: Source line that first recorded it (under `ln.debug`, that of most nodes).
        kinds: Number of kinds: batches are of one kind each.
        shapes: Shapes of one example's arguments, of the first kind (inputs: of the result).
        batches: Number of batches.
        nodes: Number of nodes.
        rows: Number of rows in all batches.
        seconds: Estimate of the time, forward.
    """

    op: str
    line: str
    kinds: int
    shapes: tuple[tuple[int, ...], ...]
    batches: int
    nodes: int
    rows: int
    seconds: float


class Explanation:
    """What `explain` found. Print it, or let Jupyter show it; all of it is data as well.

    Attributes:
        nodes: Number of nodes.
        batches: Number of batches.
        lower_bound: No schedule has fewer: the longest path of each kind, summed over kinds.
        rows: Number of rows in all batches.
        evaluations: Number of evaluations that computed, or will compute, the expressions.
        planned: Number of nodes that are not computed yet.
        seconds: Estimate of the time that it takes, forward: 7 us a batch, 50 us an evaluation
            after the first, plus arithmetic. Shares of the time are shares of this.
        findings: What makes it slow (`Finding`), worst first.
        kinds: All nodes by operation and line (`KindReport`), costliest first.
        exact_lines: Whether lines are those of the very nodes (recorded under `ln.debug`), or
            those that first recorded their kinds.
        note: What to know if there is nothing to explain, else "".
    """

    def __init__(self, history: History, note: str) -> None:
        runs = history.runs
        self.nodes: int = sum(run.nodes for run in runs)
        self.batches: int = sum(run.batches + len(run.shared) for run in runs)
        self.lower_bound: int = sum(run.lower_bound for run in runs)
        self.rows: int = sum(int(run.rows.sum()) + len(run.shared) for run in runs)
        self.evaluations: int = len(runs)
        self.planned: int = runs[-1].nodes if history.planned else 0
        self.seconds: float = history.seconds
        self.exact_lines: bool = any(run.lines for run in runs)
        self.note = note
        self.findings: list[Finding] = [] if note else findings_of(history)
        self.kinds: list[KindReport] = _kinds(history)

    @property
    def rows_per_batch(self) -> float:
        """Mean number of rows of a batch; 0 where there is none."""
        return self.rows / self.batches if self.batches else 0.0

    def __repr__(self) -> str:
        return (
            f"<Explanation: {plural(self.batches, 'batch')} for {plural(self.nodes, 'node')}, "
            f"{plural(len(self.findings), 'finding')}>"
        )

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        rest = len(self.findings) - _SHOWN
        return as_html(
            self.note or self._head(),
            self._costliest(),
            self._verdict(),
            [(_saving(f, self.seconds), f.text, f.remedy) for f in self.findings[:_SHOWN]],
            f"{rest} more in .findings" if rest > 0 else "",
            _table(self.kinds),
            self._footnote(),
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data that `json.dumps` takes."""
        return {
            "nodes": self.nodes,
            "batches": self.batches,
            "lower_bound": self.lower_bound,
            "rows": self.rows,
            "rows_per_batch": self.rows_per_batch,
            "evaluations": self.evaluations,
            "planned": self.planned,
            "seconds": self.seconds,
            "exact_lines": self.exact_lines,
            "note": self.note,
            "findings": [
                {
                    "reason": f.reason,
                    "text": f.text,
                    "remedy": f.remedy,
                    "lines": list(f.lines),
                    "batches": f.batches,
                    "seconds": f.seconds,
                }
                for f in self.findings
            ],
            "kinds": [{**k._asdict(), "shapes": [list(s) for s in k.shapes]} for k in self.kinds],
        }

    def _lines(self) -> list[str]:
        if self.note:
            return [self.note]
        lines = [*wrapped(self._head()), *wrapped(self._costliest())]
        verdict = self._verdict()
        lines += ["", *wrapped(verdict)] if verdict else []
        for number, f in enumerate(self.findings[:_SHOWN], 1):
            lines += ["", f"{number}. {_saving(f, self.seconds)}"]
            lines += [*wrapped(f.text, "   "), *wrapped("-> " + f.remedy, "   ", "      ")]
        if len(self.findings) > _SHOWN:
            lines += ["", f"{len(self.findings) - _SHOWN} more in .findings"]
        return [*lines, "", align(*_table(self.kinds), _LEFT), *wrapped(self._footnote())]

    def _footnote(self) -> str:
        """What the lines of the table are."""
        if self.exact_lines:
            return ""
        return "(Lines: where a kind was first recorded. Under ln.debug() they are exact.)"

    def _head(self) -> str:
        text = (
            f"{plural(self.batches, 'batch')} for {plural(self.nodes, 'node')} (lower bound for "
            f"these kinds: {self.lower_bound:,}), {self.rows_per_batch:.1f} rows a batch."
        )
        if self.evaluations > 1:
            text += f" In {self.evaluations:,} evaluations"
            if self.planned:
                text += f", of which the last, of {plural(self.planned, 'node')}, is to come"
            text += "."
        return text

    def _costliest(self) -> str:
        if not self.kinds:
            return ""
        k = self.kinds[0]
        share = k.seconds / self.seconds if self.seconds else 0.0
        return (
            f"Costliest: {k.op} (`{short(k.line)}`), {plural(k.batches, 'batch')} of "
            f"{k.rows / k.batches:.1f} rows, about {share:.0%} of the time."
        )

    def _verdict(self) -> str:
        if self.findings:
            return ""
        if self.nodes == self.batches:
            return (
                "Nothing to merge: each operation is recorded once. Batches grow with the number "
                "of examples that are evaluated together."
            )
        return "Nothing to mend: nothing was found that would save a notable part of the batches."


def _saving(finding: Finding, total: float) -> str:
    share = min(0.99, finding.seconds / total) if total else 0.0
    batches = f"{plural(finding.batches, 'batch')}, " if finding.batches else ""
    if finding.reason == "order":
        return f"Above the lower bound: {batches}about {share:.0%} of the time"
    return f"Could save {batches}about {share:.0%} of the time"


def _kinds(history: History) -> list[KindReport]:
    found: dict[tuple[str, str], list[Any]] = {}
    seen: dict[tuple[str, str], set[int]] = {}
    for run in history.runs:
        for c in np.flatnonzero(run.kind_nodes).tolist():
            kind = run.kinds[c]
            key = (kind.op.name, run.line_of(c))
            shapes = tuple(t.shape for t in kind.args) or (kind.type.shape,)
            entry = found.setdefault(key, [shapes, 0, 0, 0, 0.0])
            seen.setdefault(key, set()).add(kind.id)
            entry[1] += int(run.kind_batches[c])
            entry[2] += int(run.kind_nodes[c])
            entry[3] += int(run.kind_rows[c])
            entry[4] += float(run.kind_seconds[c])
        for kind in run.shared:
            key = (kind.op.name, kind.line)
            entry = found.setdefault(key, [tuple(t.shape for t in kind.args), 0, 0, 0, 0.0])
            seen.setdefault(key, set()).add(kind.id)
            for place in (1, 2, 3):
                entry[place] += 1
            entry[4] += BATCH_SECONDS
    reports = [
        KindReport(op, line, len(seen[op, line]), *entry) for (op, line), entry in found.items()
    ]
    return sorted(reports, key=lambda k: -k.seconds)


def _table(kinds: list[KindReport]) -> tuple[list[str], list[list[str]]]:
    columns = ["op", "line", "kinds", "batches", "nodes", "rows/batch", "share"]
    total = sum(k.seconds for k in kinds) or 1.0
    rows = [
        [
            k.op,
            short(k.line),
            f"{k.kinds:,}",
            f"{k.batches:,}",
            f"{k.nodes:,}",
            f"{k.rows / k.batches:.1f}",
            f"{k.seconds / total:.0%}",
        ]
        for k in kinds[:_KINDS]
    ]
    rest = kinds[_KINDS:]
    if rest:
        batches = sum(k.batches for k in rest)
        rows.append(
            [
                plural(len(rest), "other"),
                "",
                f"{sum(k.kinds for k in rest):,}",
                f"{batches:,}",
                f"{sum(k.nodes for k in rest):,}",
                f"{sum(k.rows for k in rest) / batches:.1f}",
                f"{sum(k.seconds for k in rest) / total:.0%}",
            ]
        )
    return columns, rows


def explain(expressions: Expression | Iterable[Expression]) -> Explanation:
    """How expressions are computed, and why not in fewer batches, with the remedies.

    What is not computed yet is explained as it would be computed, which computes and seals
    nothing; what was computed, as it was.

    Args:
        expressions: One expression, or several that are evaluated together; also those of
            `lazynet.dynet`.

    Returns:
        A report: `print` it, or let Jupyter show it.

    Raises:
        ArgumentError: If something else is given.
        GraphError: If one lies on the open tape of another thread.

    >>> import lazynet as ln
    >>> model = ln.Model(seed=0)
    >>> x = ln.constant([1.0, 2.0])
    >>> total = ln.constant(0.0)
    >>> for k in range(64):
    ...     total = total + ln.sum(x * k)
    >>> report = ln.explain(total)
    >>> report.batches, report.lower_bound, report.findings[0].reason
    (68, 68, 'running sum')
    >>> print(report.findings[0].remedy)
    Collect the terms in a list: ln.sum(terms) is one node.
    """
    roots = expressions_of(expressions, "explain", empty=True)
    history = History(roots)
    note = ""
    if not roots:
        note = "Nothing to explain: no expressions were given."
    elif all(isinstance(x, Leaf) for x in roots):
        names = ", ".join(x.name.removeprefix("/") for x in roots if isinstance(x, Leaf))
        note = f"Nothing to explain: parameters ({names}) are read, not computed."
    elif only_constants(history.runs):
        note = (
            "Nothing to explain: constants are given, not computed. An expression that was "
            "detached is one; how it was computed is no longer known."
        )
    return Explanation(history, note)
