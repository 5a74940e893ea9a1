"""Backward through one evaluation of a structure met often: straight-line code, printed once.

Which rows need a gradient, which batch is the first to write one and which rows are reached depend
on the structure, on where backward starts and on which parameters are trained, not on values. Where
all rows take part (see `whole`) they are found by the walk's own means when they are met for the
second time; from then on the batches run, last to first, as one function (see `routine`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.chains import give_rows, give_sum, join
from lazynet.errors import GradientError
from lazynet.failures import failed_batch
from lazynet.kinds import FLOATS, Array
from lazynet.layout import SAME, SHARED, SLICE, Step
from lazynet.routine import Printer, owner_of
from lazynet.sheet import Sheet, joined_call
from lazynet.stages import stage_key
from lazynet.whole import find_writes, mark_reached, put

KEPT = 64
"""Most ways to run one structure backward that are kept."""


class Withheld(Exception):
    """An op returned no gradient for rows that need one: rows are not reached after all."""


class Back:
    """How a structure runs backward.

    Attributes:
        run: ``f(evaluation, arenas, gradients, shared, payloads, calls, arguments)``, which returns
            gradients of shared values by number.
        needed, reached: As the walk leaves them (`Evaluation`).
        read: Parameters whose values backward reads.
        owners: Per line of `run`, the batch that it belongs to (-1: none).
    """

    __slots__ = ("needed", "owners", "reached", "read", "run")

    def __init__(self, sheet: Sheet, writes: list[tuple[bool, ...]], starts: list[Any]) -> None:
        layout = sheet.evaluation.layout
        printer = _Backward(sheet, writes, starts)
        lines = printer.lines()
        self.run = printer.function(
            "run(e, v, g, s, kept, calls, arguments)", lines, len(layout.arenas)
        )
        self.owners = printer.owners
        self.needed = sheet.needed
        self.reached = sheet.reached
        self.read = [number for number in sheet.evaluation.leaves if number in printer.read]

    def gradients(self, evaluation: Any, gradients: list[Array]) -> dict[int, Any]:
        """Run backward; returns gradients of shared values by number.

        Raises:
            Withheld: If only the walk can do it, or tell what is wrong.
        """
        for number in self.read:
            if evaluation.leaves[number].version() != evaluation.versions[number]:
                raise Withheld
        try:
            found: dict[int, Any] = self.run(
                evaluation,
                evaluation.arenas,
                gradients,
                evaluation.shared,
                evaluation.payloads,
                evaluation.calls,
                evaluation.arguments,
            )
        except (GradientError, Withheld):
            raise
        except Exception as error:
            k = owner_of(error, self.run, self.owners)
            if k < 0:
                raise
            raise failed_batch(error, evaluation, evaluation.layout.steps[k]) from error
        return found


def back_of(backs: dict[Any, Any], key: Any) -> Any:
    """A way to run backward: a `Back`, False if only the walk can, or how often it was met."""
    found = backs.get(key, 0)
    if found is False or isinstance(found, Back):
        return found
    if len(backs) >= KEPT:
        backs.clear()
    backs[key] = found + 1
    return found + 1


def print_back(sheet: Sheet, seeded: bool) -> Any:
    """How to run backward from what the sheet has been given; False if only the walk can.

    Args:
        sheet: Before its batches are walked; spoilt afterwards, if `seeded`.
        seeded: Whether the code begins with these gradients itself, which then never change.
    """
    starts = []
    given = [reached.copy() for reached in sheet.reached]
    for a, (gradients, reached) in enumerate(zip(sheet.gradients, given)):
        if gradients.dtype in FLOATS:
            if seeded:
                rows = np.flatnonzero(reached).tolist()
                starts += [(a, row, gradients[row].copy()) for row in rows]
            gradients[~reached] = np.nan  # so that one sees which rows are zeroed
    writes = find_writes(sheet)
    if writes is None:
        return False
    for a, (gradients, reached) in enumerate(zip(sheet.gradients, given)):
        if gradients.dtype in FLOATS and gradients.shape[1]:
            zeroed = np.flatnonzero((gradients == 0).all(axis=1) & ~reached).tolist()
            starts += [(a, row, 0) for row in zeroed]
    mark_reached(sheet)
    return Back(sheet, writes, starts)


def rewind(sheet: Sheet) -> bool:
    """Run backward through an evaluation of which rows have been given gradients.

    Returns:
        False if it has to be walked batch by batch, and nothing was done.

    Raises:
        Withheld: If that turns out in the midst of it.
    """
    evaluation = sheet.evaluation
    key = (sheet.key, tuple([reached.tobytes() for reached in sheet.reached]))
    backs = evaluation.routine.backs
    back = back_of(backs, key)
    if back is False or back == 1:
        return False
    if not isinstance(back, Back):
        back = backs[key] = print_back(sheet, False)
        if back is False:
            return False
    for number, gradient in back.gradients(evaluation, sheet.gradients).items():
        known = sheet.shared_gradients.get(number)
        sheet.shared_gradients[number] = gradient if known is None else known + gradient
    sheet.reached = back.reached
    return True


class _Backward(Printer):
    """Prints the batches in reverse.

    Attributes:
        read: Shared values that backward reads.
    """

    def __init__(self, sheet: Sheet, writes: list[tuple[bool, ...]], starts: list[Any]) -> None:
        super().__init__(sheet.evaluation.layout)
        self.needs = sheet.step_needs
        self.writes = writes
        self.starts = starts
        self.read: set[int] = set()
        self.groups: dict[Any, list[int]] = {}
        self.stages: dict[Any, str] = {}
        for k, (step, needs) in enumerate(zip(self.layout.steps, self.needs)):
            if step.rows and not step.op.staged and True in self.shared(k):
                shared = tuple([a.start for a in step.args if a.mode == SHARED])
                self.groups.setdefault((step.kind, shared), []).append(k)
            if step.op.reads_args and True in needs:
                self.read.update([a.start for a in step.args if a.mode == SHARED])
        self.together = {k for group in self.groups.values() if len(group) > 1 for k in group}
        self.scope.update(
            {
                "Withheld": Withheld, "collect": _collect, "give_rows": give_rows,
                "give_sum": give_sum, "join": join, "joined_call": joined_call, "put": put,
            }
        )  # fmt: skip

    def shared(self, k: int) -> tuple[bool, ...]:
        """Per argument of batch k, whether it is shared and needs a gradient."""
        args = self.layout.steps[k].args
        return tuple([n and a.mode == SHARED for n, a in zip(self.needs[k], args)])

    def lines(self) -> list[str]:
        self.line("found = {}")
        for number, (arena, row, value) in enumerate(self.starts):
            text = "0" if isinstance(value, int) else self.given(f"start{number}", value)
            self.line(f"g{arena}[{row}] = {text}")
        for k in range(len(self.layout.steps) - 1, -1, -1):
            step = self.layout.steps[k]
            if True not in self.needs[k] or not step.rows:
                continue
            self.owner = k
            if step.op.payload is not None and not step.op.staged and self.rule(k) is not None:
                self.named["payload", k] = f"kept[{k}]"
            if step.op.staged:
                self.staged(k, step)
            elif self.rule(k) is None and self.text(k) is not None:
                self.by_text(k, step)
            elif self.by_rule(k, step):
                self.rows_alone(k, step)
            else:
                self.call(k, step)
        for group in self.groups.values():
            if len(group) > 1:
                self.owner = group[0]
                self.joined(group)
        for key, name in self.stages.items():
            self.owner = [stage_key(step) == key for step in self.layout.steps].index(True)
            self.line(f"for n, x in zip(e.stages[{name}].shared, {name}_op.finish({name}_back)):")
            self.line("    if x is not None: collect(found, n, x)")
            self.scope[f"{name}_op"] = key[0].op
        self.line("return found")
        return self.printed

    def by_rule(self, k: int, step: Step) -> bool:
        """Whether the row rule of batch k is all that it takes."""
        rule = self.rule(k)
        if rule is None:
            return False
        shared = self.shared(k)
        if rule.columns:
            return True not in shared
        return k in self.together or all(
            d is not None or not s for d, s in zip(rule.derivatives, shared)
        )

    def place(self, k: int, i: int) -> str:
        """Where rows of an argument are, as functions of `chains` take it."""
        argument = self.layout.steps[k].args[i]
        if argument.index is None:
            return f"slice({argument.start}, {argument.stop})"
        return self.given(f"a{k}_{i}", argument)

    def rows_alone(self, k: int, step: Step) -> None:
        """A batch by its row rule."""
        rule = self.rule(k)
        assert rule is not None
        op = step.op
        needs = self.needs[k]
        if rule.columns:
            argument = step.args[0]
            head = f"g{argument.arena}, {self.place(k, 0)}, {self.writes[k][0]}"
            parts = ", ".join([self.rows(f"g{a}", b, e) for a, b, e, _ in step.outputs])
            if argument.mode == SAME:
                self.line(f"give_rows({head}, concatenate(({parts},), 1).sum(0))")
            else:
                self.line(f"join({head}, {rule.columns}, {parts})")
            return
        ((arena, start, stop, _),) = step.outputs
        operands = [self.given(f"op{k}", op), self.factor(k), self.rows(f"g{arena}", start, stop)]
        operands.append(self.rows(f"v{arena}", start, stop) if op.reads_y else "None")
        wanted = [
            i
            for i, (need, a) in enumerate(zip(needs, step.args))
            if need and (a.mode != SHARED or k not in self.together)
        ]
        if not wanted:
            return
        for i in range(len(step.args)):
            operands.append(self.matrix(k, i) if op.reads_args else "None")
        given = ", ".join(operands)
        for i in reversed(wanted):  # from the last mention of a row to the first
            self.derivative(k, i, given)

    def derivative(self, k: int, i: int, operands: str) -> None:
        rule = self.rule(k)
        assert rule is not None
        step = self.layout.steps[k]
        argument = step.args[i]
        derivative = rule.derivatives[i]
        name = self.given(f"d{k}_{i}", derivative)
        if argument.mode == SHARED:
            total = f"{name}({operands}){'' if step.rows == 1 else '.sum(0)'}"
            self.line(f"collect(found, {argument.start}, {total}.reshape({argument.shape}))")
            return
        first = self.writes[k][i]
        if derivative is None:
            if first:
                rows = self.rows_text(k, i)
                self.line(f"g{argument.arena}[{rows}] = 0")
            return
        if argument.mode == SLICE:
            target = self.rows(f"g{argument.arena}", argument.start, argument.stop)
            if first:
                self.line(f"{name}({operands}, {target})")
            else:
                self.line(f"add({target}, {name}({operands}), {target})")
            return
        head = f"g{argument.arena}, {self.place(k, i)}, {first}"
        if argument.mode == SAME:
            self.line(f"give_sum({head}, {name}, {operands})")
        else:
            self.line(f"give_rows({head}, {name}({operands}))")

    def rows_text(self, k: int, i: int) -> str:
        argument = self.layout.steps[k].args[i]
        if argument.index is None:
            return f"{argument.start}:{argument.stop}"
        return self.given(f"i{k}_{i}", argument.index)

    def by_text(self, k: int, step: Step) -> None:
        """A batch of an op that is printed."""
        text = self.text(k)
        assert text is not None
        wanted = [
            i
            for i, (need, a) in enumerate(zip(self.needs[k], step.args))
            if need and (a.mode != SHARED or k not in self.together)
        ]
        if not wanted:
            return
        dy = self.results("g", k)
        names = [self.operand(k, i) for i in range(len(step.args))]
        for i in reversed(wanted):
            argument = step.args[i]
            derivative = text.derivatives[i]
            if argument.mode == SHARED:
                total = derivative.format(*names, dy=dy, to="None")
                self.line(f"collect(found, {argument.start}, {total})")
            elif argument.mode == SLICE and self.writes[k][i] and "{to}" in derivative:
                to = self.rows(f"g{argument.arena}", argument.start, argument.stop, argument.shape)
                self.line(derivative.format(*names, dy=dy, to=to))
            else:
                self.line(f"x = ({derivative.format(*names, dy=dy, to='None')},)")
                self.hand_on(k, i, False, "None", 0)

    def call(self, k: int, step: Step) -> None:
        """A batch by the op's own backward."""
        needs = self.needs[k]
        if k in self.together:
            needs = tuple([n and not s for n, s in zip(needs, self.shared(k))])
            if True not in needs:
                return
        op = step.op
        operands = [self.results("g", k), self.results("v", k) if op.reads_y else "None"]
        for i in range(len(step.args)):
            operands.append(self.operand(k, i) if op.reads_args else "None")
        argument = step.args[0]
        into = "None"
        if len(step.args) == 1 and argument.mode == SLICE and self.writes[k][0]:
            into = self.rows(f"g{argument.arena}", argument.start, argument.stop, argument.shape)
        if self.rule(k) is None:
            self.line(f"c = calls[{k}]")
        else:
            payload = self.named.get(("payload", k), "None")
            self.line(f"c = Call({step.rows}, {payload}, {step.shared}, (), None)")
        self.line(f"c.needs = {needs}")
        self.line(f"c.into = {into}")
        self.line(f"x = {self.given(f'b{k}', op.backward)}(c, {', '.join(operands)})")
        self.line("c.into = None")
        self.line("if type(x) is not tuple: x = (x,)")
        for i in range(len(needs) - 1, -1, -1):
            if needs[i]:
                self.hand_on(k, i, step.shared[i], into)

    def hand_on(self, k: int, i: int, shared: bool, into: str, at: int = -1) -> None:
        """The gradient `x[i]` (or `x[at]`) of argument i of batch k."""
        step = self.layout.steps[k]
        argument = step.args[i]
        self.line(f"y = x[{i if at < 0 else at}]")
        if argument.mode == SHARED:
            total = "y"
            if not step.op.shares:
                total = f"y.reshape((len(y), *{argument.shape})).sum(0)"
            self.line(f"if y is not None: collect(found, {argument.start}, {total})")
            return
        self.line("if y is None: raise Withheld")
        first = self.writes[k][i]
        if argument.mode != SLICE:
            where = self.given(f"a{k}_{i}", argument)
            self.line(f"put(g{argument.arena}, {where}, {shared}, y, {first})")
            return
        target = self.rows(f"g{argument.arena}", argument.start, argument.stop)
        rows = "y"
        if len(argument.shape) != 1:
            width = step.kind.args[0 if step.op.nary else i].width
            rows = f"y.reshape({(argument.rows, width)})"
        if not first:
            self.line(f"add({target}, {rows}, {target})")
        elif into != "None":
            self.line(f"if y is not {into}: {target}[...] = {rows}")
        else:
            self.line(f"{target}[...] = {rows}")

    def joined(self, group: list[int]) -> None:
        """Gradients of shared values, from all batches of a kind at once."""
        steps = [self.layout.steps[k] for k in group]
        first = steps[0]
        op = first.op
        tag = group[0]
        rows = sum([step.rows for step in steps])
        dy = self.all_results("g", steps)
        y = self.all_results("v", steps) if op.reads_y else "None"
        operands = [dy, y]
        for i, argument in enumerate(first.args):
            if not op.reads_args:
                operands.append("None")
            elif argument.mode == SHARED:
                value = f"s[{argument.start}]"
                spread = f"spread({value}, {(rows, *argument.shape)})"
                operands.append(value if op.shares else spread)
            else:
                index = np.concatenate(
                    [
                        np.full(step.rows, step.args[i].start)
                        if step.args[i].mode == SAME
                        else step.args[i].indices()
                        for step in steps
                    ]
                )
                operands.append(self.all_rows(f"v{argument.arena}", index, argument.shape))
        shared = tuple([a.mode == SHARED and op.shares for a in first.args])
        wanted = self.shared(group[0])
        texts = [] if self.rule(tag) is not None else [self.text(k) for k in group]
        for text in texts:
            if text is not None:  # the same for all that have one
                for i, want in enumerate(wanted):
                    if want:
                        total = text.derivatives[i].format(*operands[2:], dy=dy, to="None")
                        self.line(f"collect(found, {first.args[i].start}, {total})")
                return
        if self.rule(tag) is None:
            calls = "".join([f"calls[{k}], " for k in group])
            self.line(f"c = joined_call({rows}, ({calls}), {shared})")
            self.line(f"c.needs = {wanted}")
        else:
            payload = "None"
            if op.payload is not None:
                payload = f"concatenate(({''.join([f'kept[{k}], ' for k in group])}))"
            self.line(f"c = Call({rows}, {payload}, {shared}, {wanted}, None)")
        self.line(f"x = {self.given(f'b{tag}', op.backward)}(c, {', '.join(operands)})")
        self.line("if type(x) is not tuple: x = (x,)")
        for i, want in enumerate(wanted):
            if want:
                self.hand_on(tag, i, False, "None")

    def all_results(self, arena: str, steps: list[Step]) -> str:
        """Results of several batches, one after the other."""
        parts = []
        for position, (a, _, _, shape) in enumerate(steps[0].outputs):
            spans = [step.outputs[position] for step in steps]
            index = np.concatenate([np.arange(b, e) for _, b, e, _ in spans])
            parts.append(self.all_rows(f"{arena}{a}", index, shape))
        return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"

    def all_rows(self, arena: str, index: Array, shape: tuple[int, ...]) -> str:
        """Rows of an arena by index: a slice where that will do."""
        start, stop = int(index[0]), int(index[0]) + len(index)
        if (index == np.arange(start, stop)).all():
            return self.rows(arena, start, stop, shape)
        name = self.given(f"j{len(self.scope)}", index)
        text = f"take({arena}, {name})"
        return text if len(shape) == 1 else f"{text}.reshape({(len(index), *shape)})"

    def staged(self, k: int, step: Step) -> None:
        """A batch of a staged kind."""
        key = stage_key(step)
        name = self.stages.get(key)
        if name is None:
            name = self.stages[key] = self.given(f"stage{len(self.stages)}", key)
            begin = self.given(f"{name}_begin", step.op.backspace)  # type: ignore[attr-defined]
            self.line(f"st = e.stages[{name}]")
            self.line(f"{name}_back = {begin}(st.work, {self.shared(k)}, st.slices(g))")
        now = tuple([n and a.mode != SHARED for n, a in zip(self.needs[k], step.args)])
        reverse = self.given(f"r{k}", step.op.reverse)  # type: ignore[attr-defined]
        segments = self.given(f"n{k}", step.segments)
        self.line(f"b = calls[{k}].keep")
        self.line(
            f"x = {reverse}({name}_back, b, b + {step.rows}, arguments[{k}], {now}, None, "
            f"{segments})"
        )
        for i in range(len(now) - 1, -1, -1):
            if now[i]:
                self.hand_on(k, i, False, "None")


def _collect(found: dict[int, Any], number: int, gradient: Any) -> None:
    known = found.get(number)
    found[number] = gradient if known is None else known + gradient
