"""Routines: all batches of a small graph that is met often, printed as one function.

Where a batch has one row, what costs is not its arithmetic, nor even the call that does it, but
everything around: finding rows, assembling payload, telling ops apart. All of that is the same
whenever a structure returns (see `recall`), so it is done once: a routine is straight-line code
that takes rows from the arenas, calls NumPy or the op, and leaves everything where running batch by
batch would have left it. `rewind` does the same for backward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lazynet.backend import take_rows
from lazynet.chains import factor, rule_of
from lazynet.evaluation import Evaluation, flows, points
from lazynet.kinds import Call, Printed, RowRule
from lazynet.layout import SAME, SHARED, SLICE, Layout, Step
from lazynet.leaves import Input
from lazynet.payloads import assemble
from lazynet.recall import Known
from lazynet.stages import stage_key

SEEN = 5
"""How often a structure is met again before a routine for it is printed. That takes some 40 us a
batch, and saves 4 each time it runs; backward takes as much and saves 9."""

MOST = 128
"""Most structures that have one. They take 200 kB each where there are 60 batches."""

LONGEST = 128
"""Most batches of a routine."""


class Routine:
    """How a structure runs.

    Attributes:
        run: ``f(evaluation, arenas, shared, payloads of the tape, payloads, calls, arguments)``.
        places: Where the values of externals go: (arena, first row, last, all of them).
        owners: Per line of `run`, the batch that it belongs to (-1: none).
        history: Whether backward may ask for any of it.
        size: Number of batches.
        backs: How backward runs, by what it starts from and what needs a gradient (`rewind`).
        needs: What needs a gradient, by what of that was known beforehand (`Sheet`).
    """

    __slots__ = ("backs", "history", "needs", "owners", "places", "run", "size")

    def __init__(self, known: Known) -> None:
        layout = known.layout
        printer = _Forward(known)
        self.run = printer.function(
            "run(e, v, s, p, kept, calls, arguments)", printer.lines(), len(layout.arenas)
        )
        self.owners = printer.owners
        self.places = []
        for number in range(len(known.externals)):
            rows = layout.node_rows(number)
            arena, start = int(layout.arena[number]), int(layout.first[number])
            self.places.append((arena, start, start + len(rows), rows))
        self.history = printer.history
        self.size = len(layout.steps)
        self.backs: dict[Any, Any] = {}
        self.needs: dict[Any, Any] = {}

    def forward(self, evaluation: Evaluation, payloads: list[Any]) -> None:
        """Compute all batches."""
        calls: list[Call | None] = [None] * self.size
        arguments: list[Any] = [None] * self.size
        evaluation.calls, evaluation.arguments = calls, arguments
        self.run(
            evaluation,
            evaluation.arenas,
            evaluation.shared,
            payloads,
            evaluation.payloads,
            calls,
            arguments,
        )

    def failed(self, error: BaseException) -> int:
        """The batch that an exception of `run` comes from; -1 if from none."""
        return owner_of(error, self.run, self.owners)


def owner_of(error: BaseException, run: Any, owners: list[int]) -> int:
    """The batch that an exception of a printed function comes from; -1 if from none."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code is run.__code__:
            return owners[trace.tb_lineno]
        trace = trace.tb_next
    return -1


def routine_of(known: Known) -> Routine | None:
    """How a structure that was met once more runs; None as long as it runs batch by batch."""
    known.met += 1
    found: Routine | None = known.routine
    if found is None and known.met >= SEEN and _admitted(known):
        found = known.routine = Routine(known)
        if not known.alone:
            _printed.append(known)
    return found


_printed: list[Known] = []


def _admitted(known: Known) -> bool:
    """Whether a structure gets a routine; where too many have one, in place of the rarest."""
    if len(known.layout.steps) > LONGEST or not known.batched:
        return False
    if known.alone or len(_printed) < MOST:
        return True
    if known.met & (known.met - 1):
        return False  # looked at after 8 times, 16, 32, ...
    rarest = min(_printed, key=lambda other: other.met)
    if known.met < 2 * rarest.met:
        rarest.met //= 2  # what is not met any more makes room by and by
        return False
    _printed.remove(rarest)
    rarest.routine, rarest.met = None, 0
    return True


class Printer:
    """Prints straight-line code over the batches of a layout. Every view of rows is made once.

    Attributes:
        layout: The layout.
        scope: What the code refers to by name.
        printed: Lines so far.
        owners: Per line of the function, from 1 on, which batch it belongs to.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.scope: dict[str, Any] = {
            "Call": Call, "add": np.add, "array": np.array, "assemble": assemble,
            "concatenate": np.concatenate, "copy": np.copyto, "dot": np.dot, "factor": factor,
            "spread": np.broadcast_to, "take": take_rows,
        }  # fmt: skip
        self.printed: list[str] = []
        self.owners: list[int] = []
        self.owner = -1
        self.named: dict[Any, str] = {}

    def line(self, text: str) -> None:
        """Print a line."""
        self.printed.append(text)
        self.owners.append(self.owner)

    def given(self, name: str, thing: Any) -> str:
        """A name for something that the code refers to."""
        self.scope[name] = thing
        return name

    def once(self, key: Any, text: str) -> str:
        """A name for a value that is computed where it is first mentioned."""
        name = self.named.get(key)
        if name is None:
            name = self.named[key] = f"t{len(self.named)}"
            self.line(f"{name} = {text}")
        return name

    def rows(self, arena: str, start: int, stop: int, shape: tuple[int, ...] | None = None) -> str:
        """Rows of an arena, in a shape other than that of the arena if it is given."""
        name = self.once((arena, start, stop), f"{arena}[{start}:{stop}]")
        if shape is None or len(shape) == 1:
            return name
        full = (stop - start, *shape)
        return self.once((arena, start, stop, full), f"{name}.reshape({full})")

    def matrix(self, k: int, i: int) -> str:
        """Argument i of batch k as a `RowRule` wants it."""
        argument = self.layout.steps[k].args[i]
        if argument.mode == SHARED:
            width = self.layout.steps[k].kind.args[i].width
            text = f"s[{argument.start}].reshape(1, {width})"
            return self.once(("shared", argument.start, 1, width), text)
        if argument.index is None:
            return self.rows(f"v{argument.arena}", argument.start, argument.stop)
        index = self.given(f"i{k}_{i}", argument.index)
        return self.once(("taken", k, i), f"take(v{argument.arena}, {index})")

    def operand(self, k: int, i: int) -> str:
        """Argument i of batch k as an op wants it (see `Evaluation.fetch`)."""
        step = self.layout.steps[k]
        argument = step.args[i]
        shape = argument.shape
        full = (step.rows, *shape)
        if argument.mode == SHARED:
            name = f"s[{argument.start}]"
            return (
                name if step.op.shares else self.once(("spread", k, i), f"spread({name}, {full})")
            )
        if argument.mode == SLICE:
            return self.rows(f"v{argument.arena}", argument.start, argument.stop, shape)
        if argument.mode == SAME:
            row = f"v{argument.arena}[{argument.start}].reshape({shape})"
            return self.once(("same", k, i), row if step.op.shares else f"spread({row}, {full})")
        taken = self.matrix(k, i)
        if len(shape) == 1:
            return taken
        return self.once(("shaped", k, i), f"{taken}.reshape({(argument.rows, *shape)})")

    def results(self, arena: str, k: int) -> str:
        """The rows of the results of batch k, as an op wants them."""
        parts = [
            self.rows(f"{arena}{a}", b, e, shape) for a, b, e, shape in self.layout.steps[k].outputs
        ]
        return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"

    def rule(self, k: int) -> RowRule | None:
        """How batch k runs row by row, if it does."""
        step = self.layout.steps[k]
        return rule_of(step.kind) if step.rows else None

    def text(self, k: int) -> Printed | None:
        """What the op of batch k does as text, if it can be printed."""
        step = self.layout.steps[k]
        if step.op.staged or len(step.outputs) != 1 or not step.rows:
            return None
        if step.op.payload is not None or step.segments is not None:
            return None
        shared = step.op.shares and tuple([a.mode == SHARED for a in step.args])
        if not shared or shared != step.shared:
            return None
        return step.op.printed([a.shape for a in step.args], shared)

    def factor(self, k: int) -> str:
        """The payload of batch k as a row rule wants it."""
        step = self.layout.steps[k]
        if step.op.payload is None:
            return "None"
        payload = self.named[("payload", k)]
        return f"{payload}[0]" if step.rows == 1 else self.once(("factor", k), f"factor({payload})")

    def function(self, head: str, lines: list[str], arenas: int) -> Callable[..., Any]:
        """The function, and `owners` by its line numbers."""
        opening = [f"def {head}:"]
        for name in [n.strip() for n in head[head.index("(") + 1 : -1].split(",")]:
            if name in ("v", "g") and arenas:
                opening.append(f"{''.join(f'{name}{a}, ' for a in range(arenas))}= {name}")
        source = "\n    ".join([*opening, *(lines or ["pass"])])
        self.owners = [-1, *([-1] * len(opening)), *self.owners, -1]
        exec(compile(source, "<routine>", "exec"), self.scope)
        return self.scope["run"]  # type: ignore[no-any-return]


class _Forward(Printer):
    def __init__(self, known: Known) -> None:
        super().__init__(known.layout)
        self.index_of = known.index_of
        self.graph = known.graph
        frozen = np.array(sorted(known.graph.frozen), np.int64)
        self.flows = [flows(step, frozen) for step in self.layout.steps]
        shared = any(number not in known.graph.frozen for number, _, _ in self.layout.shared)
        self.history = (
            not len(frozen)
            or shared
            or True in self.flows
            or points(self.graph, len(known.externals))
        )

    def lines(self) -> list[str]:
        for k, step in enumerate(self.layout.steps):
            self.owner = k
            self.step(k, step)
        return self.printed

    def parts(self, step: Step) -> str:
        """What the nodes of a batch carry."""
        return f"({''.join(f'p[{self.index_of[i]}], ' for i in step.nodes.tolist())})"

    def step(self, k: int, step: Step) -> None:
        op = step.op
        if op.staged:
            batch = self.given(f"step{k}", step)
            target = f"calls[{k}], arguments[{k}]" if self.flows[k] else "_"
            stage = f"e.stages[{self.given(f'stage{k}', stage_key(step))}]"
            self.line(f"{target} = e.run_staged({batch}, {stage}, {self.parts(step)})")
            return
        if isinstance(op, Input):
            ((arena, start, stop, _),) = step.outputs
            target = (
                f"v{arena}[{start}]"
                if stop == start + 1
                else f"v{arena}[{start}:{stop}].reshape(-1)"
            )
            self.line(f"concatenate({self.parts(step)}, 0, {target})")
            return
        payload = "None"
        if op.payload is not None:
            payload = self.payload(k, step)
        rule = self.rule(k)
        text = None if rule is not None else self.text(k)
        if text is not None:
            names = [self.operand(k, i) for i in range(len(step.args))]
            out = self.results("v", k)
            for statement in text.forward:
                self.line(statement.format(*names, out=out))
        elif rule is None:
            self.call(k, step, payload)
        elif rule.columns:
            x = self.matrix(k, 0)
            for (arena, start, stop, _), (a, b) in zip(step.outputs, rule.columns):
                self.line(f"copy({self.rows(f'v{arena}', start, stop)}, {x}[:, {a}:{b}])")
        else:
            run = self.given(f"f{k}", rule.forward)
            operands = "".join(f", {self.matrix(k, i)}" for i in range(len(step.args)))
            ((arena, start, stop, _),) = step.outputs
            out = self.rows(f"v{arena}", start, stop)
            self.line(f"{run}({self.given(f'op{k}', op)}, {self.factor(k)}, {out}{operands})")

    def payload(self, k: int, step: Step) -> str:
        form = step.op.payload
        if step.counts is None and form in ("float", "int", "key"):
            dtype: Any = step.kind.type.dtype if form == "float" else np.int64
            dtype = self.given(f"dtype{k}", np.uint64 if form == "key" else dtype)
            made = f"array({self.parts(step)}, {dtype}).reshape(-1)"
        else:
            made = f"assemble({form!r}, {self.parts(step)}, {self.given(f'step{k}', step)})"
        name = self.once(("payload", k), made)
        if self.rule(k) is not None:
            self.line(f"kept[{k}] = {name}")
        return name

    def call(self, k: int, step: Step, payload: str) -> None:
        """Let the op itself run."""
        operands = "".join(f", {self.operand(k, i)}" for i in range(len(step.args)))
        out = self.results("v", k)
        segments = self.given(f"n{k}", step.segments)
        self.line(f"out = {out}")
        self.line(f"c = Call({step.rows}, {payload}, {step.shared}, (), out, {segments})")
        self.line(f"y = {self.given(f'f{k}', step.op.forward)}(c{operands})")
        self.line("if y is not out:")
        if len(step.outputs) == 1:
            self.line("    out[...] = y")
        else:
            self.line("    for to, of in zip(out, y):")
            self.line("        if of is not to: to[...] = of")
        self.line("c.out = None")
        if self.flows[k]:
            self.line(f"calls[{k}] = c")
