"""Chains: neighbouring batches that work row by row, run as one function.

An op written node by node is a batch of its own, and for the widths of most models what a batch
costs is not its arithmetic but finding its rows, calling the op and putting the result away. Where
consecutive batches have a `RowRule` (the gates, products and sums of a recurrent cell), a run of
them is printed as one straight-line function, which takes rows from the arenas and writes rows of
the arenas; so is its backward. All values and gradients of the run are where they would have been.

Functions are kept by the structure of a run, and printed when a structure has been met `SEEN`
times: graphs that never look alike twice run batch by batch. So do those of `no_autobatch`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazynet.kinds import TABLE_LIMIT, Array, Kind, RowRule
from lazynet.layout import SAME, SHARED, SLICE, TAKE, Argument, Layout, Step

LONGEST = 16
"""Most batches of a run: long chains are cut, so that the pieces look alike."""

SEEN = 3
"""How often a structure is met before a function for it is made, which takes some milliseconds."""

_FUNCTIONS_LIMIT = 2048


class Run:
    """Consecutive batches that run as one function.

    Attributes:
        first, end: The batches: layout.steps[first:end].
        steps: Them.
        key: Structure: of equal keys are the functions equal.
        places: Where the rows are, in the order in which the functions want them.
        forward: ``f(arenas, shared, places, factors)``.
    """

    __slots__ = ("end", "first", "forward", "key", "places", "steps")

    def __init__(self, first: int, steps: list[Step], key: Any, places: list[Any]) -> None:
        self.first = first
        self.end = first + len(steps)
        self.steps = steps
        self.key = key
        self.places = places
        self.forward: Callable[..., None] | None = None

    def backward(self, needs: Any, writes: Any) -> Callable[..., None]:
        """``f(arenas, gradients, shared, places, factors)`` for these flags per argument."""
        key = (self.key, needs, writes)
        found = _functions.get(key)
        if found is None:
            found = _remember(key, _Printer(self.steps).backward(needs, writes))
        return found


_rules: dict[int, RowRule | None] = {}
_seen: dict[Any, int] = {}
_functions: dict[Any, Callable[..., None]] = {}


def rule_of(kind: Kind) -> RowRule | None:
    """How batches of a kind run in a chain; None if they cannot."""
    try:
        return _rules[kind.id]
    except KeyError:
        pass
    rule = None
    if kind.args:
        rule = kind.op.row_rule(*[t.shape for t in kind.args])
        if rule is not None and any(t.dtype is not kind.type.dtype for t in kind.args):
            rule = None
    if len(_rules) >= TABLE_LIMIT:
        _rules.clear()
    _rules[kind.id] = rule
    return rule


def find_runs(layout: Layout) -> list[Run]:
    """The runs of a layout, in order."""
    runs: list[Run] = []
    steps = layout.steps
    first = 0
    keys: list[Any] = []
    places: list[Any] = []
    for k, step in enumerate(steps):
        chains = rule_of(step.kind) is not None and step.rows > 0
        if chains:
            keys.append(_describe(step, places))
        if keys and (not chains or len(keys) == LONGEST or k == len(steps) - 1):
            _add(runs, Run(first, steps[first : first + len(keys)], tuple(keys), places))
            keys, places = [], []
        if not keys:
            first = k + 1
    return runs


def _describe(step: Step, places: list[Any]) -> Any:
    """Append where the rows of a batch are; returns what else the functions depend on."""
    for _, start, stop, _ in step.outputs:
        places.append(start)
        places.append(stop)
    key: list[int] = [step.kind.id]
    for arena, _, _, _ in step.outputs:
        key.append(arena)
    for argument in step.args:
        mode = argument.mode
        if mode == SLICE:
            places.append(argument.start)
            places.append(argument.stop)
        else:
            places.append(argument if mode == TAKE else argument.start)
        key.append(mode)
        key.append(argument.arena)
    return tuple(key)


def _add(runs: list[Run], run: Run) -> None:
    found = _functions.get(run.key)
    if found is None:
        if len(_seen) >= TABLE_LIMIT:
            _seen.clear()
        count = _seen[run.key] = _seen.get(run.key, 0) + 1
        if count < SEEN:
            return
        found = _remember(run.key, _Printer(run.steps).forward())
    run.forward = found
    runs.append(run)


def _remember(key: Any, function: Callable[..., None]) -> Callable[..., None]:
    if len(_functions) >= _FUNCTIONS_LIMIT:
        _functions.clear()
    _functions[key] = function
    return function


def factor(payload: Array) -> Any:
    """The payload of a batch as one number where all entries are equal, else as a column."""
    if (payload == payload[0]).all():
        return payload[0]
    return payload.reshape(-1, 1)


def scatter(target: Array, argument: Argument, dx: Array) -> None:
    """Add to gradients that have been written before."""
    if argument.distinct():
        target[argument.index] += dx
    else:
        argument.scatter(target, dx)


class _Printer:
    """Prints the functions of a run."""

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps
        self.scope: dict[str, Any] = {
            "add": np.add, "concatenate": np.concatenate, "copy": np.copyto, "scatter": scatter
        }  # fmt: skip
        self.rules: list[RowRule] = []
        self.places = 0
        self.factors: list[str] = []
        self.outputs: list[list[tuple[int, str]]] = []  # per batch (arena, rows)
        self.args: list[list[tuple[Argument, str]]] = []  # per batch (argument, its rows)
        for k, step in enumerate(steps):
            rule = rule_of(step.kind)
            assert rule is not None
            self.rules.append(rule)
            self.scope[f"op{k}"] = step.op
            self.outputs.append([(a, self._span()) for a, _, _, _ in step.outputs])
            self.args.append([(a, self._rows(a)) for a in step.args])
            number = sum(f != "None" for f in self.factors)
            self.factors.append("None" if step.op.payload is None else f"c[{number}]")

    def _span(self) -> str:
        self.places += 2
        return f"p{self.places - 2}:p{self.places - 1}"

    def _rows(self, argument: Argument) -> str:
        """The rows of an argument, as text that goes into the brackets of its arena."""
        if argument.mode == SLICE:
            return self._span()
        self.places += 1
        place = f"p{self.places - 1}"
        if argument.mode == SAME:
            return f"{place}:{place} + 1"
        return place

    def _value(self, k: int, position: int) -> str:
        argument, rows = self.args[k][position]
        if argument.mode == SHARED:
            return f"s[{rows}].reshape(1, {self.steps[k].kind.args[position].width})"
        if argument.mode == TAKE:
            return f'v{argument.arena}.take({rows}.index, 0, None, "clip")'
        return f"v{argument.arena}[{rows}]"

    def _function(self, head: str, lines: list[str], arenas: list[str]) -> Callable[..., None]:
        used = {a for outputs in self.outputs for a, _ in outputs}
        used |= {a.arena for args in self.args for a, _ in args if a.mode != SHARED}
        prelude = [f"{name}{a} = {name}[{a}]" for name in arenas for a in sorted(used)]
        places = ", ".join(f"p{i}" for i in range(self.places))
        source = "\n    ".join([f"def run({head}):", f"({places},) = p", *prelude, *lines])
        exec(compile(source, "<chain>", "exec"), self.scope)
        return self.scope["run"]  # type: ignore[no-any-return]

    def forward(self) -> Callable[..., None]:
        """``f(arenas, shared, places, factors)``"""
        lines = []
        for k, rule in enumerate(self.rules):
            if rule.columns:
                lines.append(f"x = {self._value(k, 0)}")
                for (arena, rows), (a, b) in zip(self.outputs[k], rule.columns):
                    lines.append(f"copy(v{arena}[{rows}], x[:, {a}:{b}])")
                continue
            ((arena, rows),) = self.outputs[k]
            args = "".join(f", {self._value(k, i)}" for i in range(len(self.args[k])))
            self.scope[f"f{k}"] = rule.forward
            lines.append(f"f{k}(op{k}, {self.factors[k]}, v{arena}[{rows}]{args})")
        return self._function("v, s, p, c", lines, ["v"])

    def backward(self, needs: Any, writes: Any) -> Callable[..., None]:
        """``f(arenas, gradients, shared, places, factors)``"""
        lines: list[str] = []
        for k in range(len(self.steps) - 1, -1, -1):
            if True not in needs[k]:
                continue
            wanted = [
                i for i, (a, _) in enumerate(self.args[k]) if needs[k][i] and a.mode != SHARED
            ]
            if not wanted:
                continue
            if self.rules[k].columns:
                lines += self._joined(k, writes[k][0])
                continue
            op = self.steps[k].op
            ((arena, rows),) = self.outputs[k]
            lines.append(f"dy = g{arena}[{rows}]")
            operands = [f"op{k}", self.factors[k], "dy"]
            operands.append(f"v{arena}[{rows}]" if op.reads_y else "None")
            for i in range(len(self.args[k])):
                if op.reads_args:
                    lines.append(f"a{i} = {self._value(k, i)}")
                operands.append(f"a{i}" if op.reads_args else "None")
            for i in reversed(wanted):  # from the last mention of a row to the first
                lines += self._gradient(k, i, ", ".join(operands), writes[k][i])
        return self._function("v, g, s, p, c", lines or ["pass"], ["v", "g"])

    def _gradient(self, k: int, i: int, operands: str, first: bool) -> list[str]:
        argument, rows = self.args[k][i]
        derivative = self.rules[k].derivatives[i]
        arena = f"g{argument.arena}"
        index = f"{rows}.index" if argument.mode == TAKE else rows
        if derivative is None:
            return [f"{arena}[{index}] = 0"] if first else []
        name = f"d{k}_{i}"
        self.scope[name] = derivative
        if argument.mode == SAME:
            dx = f"{name}({operands}).sum(0)"
            return [f"{arena}[{index}] {'' if first else '+'}= {dx}"]
        if argument.mode == TAKE:
            if first:
                return [f"{arena}[{index}] = {name}({operands})"]
            return [f"scatter({arena}, {rows}, {name}({operands}))"]
        if first:
            return [f"{name}({operands}, {arena}[{rows}])"]
        return [f"t = {arena}[{rows}]", f"add(t, {name}({operands}), t)"]

    def _joined(self, k: int, first: bool) -> list[str]:
        """The gradient of an argument that was cut up."""
        argument, rows = self.args[k][0]
        parts = [f"g{arena}[{part}]" for arena, part in self.outputs[k]]
        if argument.mode == SLICE:
            lines = [f"t = g{argument.arena}[{rows}]"]
            for part, (a, b) in zip(parts, self.rules[k].columns):
                target = f"t[:, {a}:{b}]"
                lines.append(f"copy({target}, {part})" if first else f"{target} += {part}")
            return lines
        whole = f"concatenate(({', '.join(parts)},), 1)"
        if argument.mode == SAME:
            return [f"g{argument.arena}[{rows}] {'' if first else '+'}= {whole}.sum(0)"]
        if first:
            return [f"g{argument.arena}[{rows}.index] = {whole}"]
        return [f"scatter(g{argument.arena}, {rows}, {whole})"]
