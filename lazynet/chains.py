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
        places: Where the rows are, in the order in which the functions want them: a slice, an
            `Argument` to be gathered, or the number of a shared value.
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

    def backward(self, needs: Any) -> Callable[..., None]:
        """``f(arenas, gradients, shared, places, factors, writes)``

        Args:
            needs: Per batch and argument, whether its gradient is wanted. `writes` of the function
                says likewise whether it is the first of its rows.
        """
        key = (self.key, needs)
        found = _functions.get(key)
        if found is None:
            found = _remember(key, _Printer(self.steps).backward(needs))
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
    key: list[int] = [step.kind.id]
    for arena, start, stop, _ in step.outputs:
        places.append(slice(start, stop))
        key.append(arena)
    for argument in step.args:
        mode = argument.mode
        if mode == TAKE:
            places.append(argument)
            mode = SLICE  # told apart when the function runs, so that fewer are made
        elif mode == SHARED:
            places.append(argument.start)
        else:
            places.append(slice(argument.start, argument.stop))
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


def rows(arena: Array, place: Any) -> Array:
    """The rows of an argument."""
    if type(place) is slice:
        return arena[place]
    taken: Array = arena.take(place.index, 0, None, "clip")
    return taken


def give(target: Array, place: Any, first: bool, derivative: Any, *operands: Any) -> None:
    """Write the gradient of an argument, or add it to what has been written before."""
    if type(place) is slice:
        if first:
            derivative(*operands, target[place])
        else:
            known = target[place]
            np.add(known, derivative(*operands), known)
    else:
        give_rows(target, place, first, derivative(*operands))


def give_sum(target: Array, place: slice, first: bool, derivative: Any, *operands: Any) -> None:
    """The same for a row that all rows of the batch share."""
    give_rows(target, place, first, derivative(*operands).sum(0))


def give_rows(target: Array, place: Any, first: bool, dx: Array) -> None:
    """Write gradients to rows, or add them to what has been written before."""
    index = place if type(place) is slice else place.index
    if first:
        target[index] = dx
    elif type(place) is slice:
        target[index] += dx
    else:
        place.scatter(target, dx)


def give_zero(target: Array, place: Any, first: bool) -> None:
    """The gradient of an argument that only chooses."""
    if first:
        target[place if type(place) is slice else place.index] = 0


def join(
    target: Array, place: Any, first: bool, columns: tuple[tuple[int, int], ...], *parts: Array
) -> None:
    """The gradient of an argument that was cut up."""
    if type(place) is not slice:
        give_rows(target, place, first, np.concatenate(parts, 1))
        return
    known = target[place]
    for (a, b), part in zip(columns, parts):
        if first:
            known[:, a:b] = part
        else:
            known[:, a:b] += part


class _Printer:
    """Prints the functions of a run."""

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps
        self.scope: dict[str, Any] = {
            "copy": np.copyto, "give": give, "give_rows": give_rows, "give_sum": give_sum,
            "give_zero": give_zero, "join": join, "rows": rows,
        }  # fmt: skip
        self.rules: list[RowRule] = []
        self.places = 0
        self.factors: list[str] = []
        self.outputs: list[list[tuple[int, str]]] = []  # per batch (arena, place)
        self.args: list[list[tuple[Argument, str]]] = []  # per batch (argument, its place)
        for k, step in enumerate(steps):
            rule = rule_of(step.kind)
            assert rule is not None
            self.rules.append(rule)
            self.scope[f"op{k}"] = step.op
            self.outputs.append([(a, self._place()) for a, _, _, _ in step.outputs])
            self.args.append([(a, self._place()) for a in step.args])
            number = sum(f != "None" for f in self.factors)
            self.factors.append("None" if step.op.payload is None else f"c[{number}]")

    def _place(self) -> str:
        self.places += 1
        return f"p{self.places - 1}"

    def _value(self, k: int, position: int) -> str:
        argument, place = self.args[k][position]
        if argument.mode == SHARED:
            return f"s[{place}].reshape(1, {self.steps[k].kind.args[position].width})"
        return f"rows(v{argument.arena}, {place})"

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
                for (arena, place), (a, b) in zip(self.outputs[k], rule.columns):
                    lines.append(f"copy(v{arena}[{place}], x[:, {a}:{b}])")
                continue
            ((arena, place),) = self.outputs[k]
            args = "".join(f", {self._value(k, i)}" for i in range(len(self.args[k])))
            self.scope[f"f{k}"] = rule.forward
            lines.append(f"f{k}(op{k}, {self.factors[k]}, v{arena}[{place}]{args})")
        return self._function("v, s, p, c", lines, ["v"])

    def backward(self, needs: Any) -> Callable[..., None]:
        """``f(arenas, gradients, shared, places, factors, writes)``"""
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
                lines.append(self._joined(k))
                continue
            op = self.steps[k].op
            ((arena, place),) = self.outputs[k]
            operands = [f"op{k}", self.factors[k], "dy"]
            operands.append(f"v{arena}[{place}]" if op.reads_y else "None")
            lines.append(f"dy = g{arena}[{place}]")
            for i in range(len(self.args[k])):
                if op.reads_args:
                    lines.append(f"a{i} = {self._value(k, i)}")
                operands.append(f"a{i}" if op.reads_args else "None")
            for i in reversed(wanted):  # from the last mention of a row to the first
                lines.append(self._gradient(k, i, ", ".join(operands)))
        return self._function("v, g, s, p, c, w", lines or ["pass"], ["v", "g"])

    def _gradient(self, k: int, i: int, operands: str) -> str:
        argument, place = self.args[k][i]
        derivative = self.rules[k].derivatives[i]
        target = f"g{argument.arena}, {place}, w[{k}][{i}]"
        if derivative is None:
            return f"give_zero({target})"
        name = f"d{k}_{i}"
        self.scope[name] = derivative
        give = "give_sum" if argument.mode == SAME else "give"
        return f"{give}({target}, {name}, {operands})"

    def _joined(self, k: int) -> str:
        """The gradient of an argument that was cut up."""
        argument, place = self.args[k][0]
        target = f"g{argument.arena}, {place}, w[{k}][0]"
        parts = ", ".join(f"g{arena}[{part}]" for arena, part in self.outputs[k])
        if argument.mode == SAME:
            self.scope["concatenate"] = np.concatenate
            return f"give_rows({target}, concatenate(({parts},), 1).sum(0))"
        self.scope[f"columns{k}"] = self.rules[k].columns
        return f"join({target}, columns{k}, {parts})"
