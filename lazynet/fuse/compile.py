"""A traced function as compiled code: forward, and backward for the gradients that are wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from lazynet.backend import uninitialised
from lazynet.fuse.lower import Forward
from lazynet.fuse.numpy_printer import Names, Printer
from lazynet.fuse.optimise import (
    fold_halves,
    live,
    merge_elementwise,
    merge_products,
    reuse_operands,
)
from lazynet.fuse.program import FOLD, Instruction, Shared, Value
from lazynet.fuse.reverse import Backward, SharedGradient
from lazynet.fuse.runtime import SCOPE
from lazynet.fuse.trace import Trace

Needs = tuple[tuple[bool, ...], frozenset[int]]
"""Which inputs, and which shared nodes, need a gradient."""


class Lowered:
    """A trace, lowered and optimised, before it is printed.

    Attributes:
        forward: The lowered forward half.
        instructions: Its instructions.
        outputs: The values that are the results.
        kept: Forward values that backward reads, or reads all rows of.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        forward = self.forward = Forward(trace)
        self.groups = merge_products(forward)
        self.outputs = self._outputs()
        self.parameters = frozenset(i for i in forward.shared if not forward.args[i])
        needs: Needs = ((True,) * len(trace.inputs), self.parameters)
        backward, instructions = self._lower_back(needs)
        reads = self._reads(backward, instructions)
        code = self.folded(forward.code.instructions, [*reads, *self.outputs])
        code = self.arranged(code)
        code = self.merged(code, self.outputs)
        code = self.in_order(live(code, [*reads, *self.outputs]))
        self.reused(code, [*reads, *self.outputs], self.outputs)
        self.instructions = code
        self.kept = reads
        self._first = (needs, backward, instructions)

    # What pays on a CPU

    def folded(self, code: list[Instruction], others: list[Value]) -> list[Instruction]:
        """The forward half with halvings that went into weights."""
        return fold_halves(code, others, self.outputs)

    def merged(self, code: list[Instruction], fixed: Sequence[Value]) -> list[Instruction]:
        """A half with equal steps on neighbouring planes as one."""
        return merge_elementwise(code, fixed)

    def reused(self, code: list[Instruction], needed: list[Value], fixed: Sequence[Value]) -> None:
        """Have results take the memory of operands."""
        reuse_operands(code, needed, fixed)

    def arranged(self, code: list[Instruction]) -> list[Instruction]:
        """What a kind of program does to the forward half in between."""
        return code

    def in_order(self, code: list[Instruction]) -> list[Instruction]:
        """The forward half in the order in which it runs."""
        return code

    def back_in_order(self, backward: Backward, code: list[Instruction]) -> list[Instruction]:
        """The backward half in the order in which it runs."""
        return code

    def _outputs(self) -> list[Value]:
        """The results, each in memory of its own."""
        forward = self.forward
        code = forward.code
        outputs: list[Value] = []
        for i in self.trace.outputs:
            x = forward.env[i]
            own = (
                isinstance(x, Value)
                and x.base is None
                and x.planes == 1
                and x.argument < 0
                and x not in outputs
            )
            if own:
                outputs.append(x)  # type: ignore[arg-type]
                continue
            size = forward.size(i)
            out = code.value(1, size, forward.kinds[i].type.work)
            if isinstance(x, Shared):
                code.add("copy", out, [Shared(x.index, x.shape, 1, size)])
            elif x.planes > 1:
                code.add("copy", code.view(out, FOLD, 0, x.planes, x.width), [x])
            else:
                code.add("copy", out, [x])
            outputs.append(out)
        return outputs

    def backward(self, needs: Needs) -> tuple[Backward, list[Instruction]]:
        """Instructions of the backward half."""
        if needs == self._first[0]:
            return self._first[1], self._first[2]
        backward, instructions = self._lower_back(needs)
        known = {v.owner().number for v in self.kept}
        stray = [v for v in self._reads(backward, instructions) if v.owner().number not in known]
        assert not stray, stray
        return backward, instructions

    def _lower_back(self, needs: Needs) -> tuple[Backward, list[Instruction]]:
        backward = Backward(self.forward, needs[0], set(needs[1]), self.groups)
        made = {o.owner().number for k in backward.code.instructions for o in k.outs}
        for gradient in backward.shared:
            cotangent = gradient.cotangent
            if cotangent is not None and cotangent.owner().number not in made:
                copy = backward.code.value(cotangent.planes, cotangent.width, cotangent.dtype)
                gradient.cotangent = backward.code.add("copy", copy, [cotangent])
        needed = [v for v in backward.inputs if v is not None]
        needed += [g.cotangent for g in backward.shared if g.cotangent is not None]
        instructions = self.merged(backward.code.instructions, ())
        instructions = self.back_in_order(backward, live(instructions, needed))
        self.reused(instructions, needed, [v for v in backward.inputs if v is not None])
        return backward, instructions

    def _reads(self, backward: Backward, instructions: list[Instruction]) -> list[Value]:
        """Forward values that the backward half reads."""
        made = {o.owner().number for k in instructions for o in k.outs}
        made.update(s.number for s in backward.seeds)
        reads = [v for k in instructions for v in k.reads()]
        reads += [v for v in backward.inputs if v is not None]
        reads += [g.inputs for g in backward.shared if g.inputs is not None]
        return [v for v in reads if v.owner().number not in made]


class Compiled:
    """One printed function.

    Attributes:
        run: The function.
        source: Its text.
        names: What it is given.
    """

    def __init__(self, head: str, body: list[str], names: Names, scope: dict[str, Any]) -> None:
        text = "\n".join([head, *body])
        self.source = text
        self.names = names
        space = {**SCOPE, **scope}
        if "special." in text:
            space["special"] = import_module("scipy.special")
        exec(compile(text, f"<fused {scope['title']}>", "exec"), space)
        self.run: Callable[..., Any] = space["run_rows"]


def unpacked(prefix: str, count: int, source: str) -> list[str]:
    """A line that gives names to the entries of a list."""
    if not count:
        return []
    return [f"    {', '.join(f'{prefix}{k}' for k in range(count))}, = {source}"]


def print_forward(lowered: Lowered) -> Compiled:
    """The forward half as a function of one batch of rows."""
    names = Names()
    for k, i in enumerate(lowered.trace.inputs):
        x = lowered.forward.env[i]
        if isinstance(x, Value):
            names.given[x.number] = f"x{k}"
    for k, value in enumerate(lowered.outputs):
        names.given[value.number] = f"y{k}[a:b]"
    printer = Printer(names)
    printer.print(lowered.instructions, lowered.kept, "k")
    head = "def run_rows(work, a, b, x, y, c, m):"
    body = [
        "    n = b - a",
        *unpacked("x", len(lowered.trace.inputs), "x"),
        *unpacked("y", len(lowered.outputs), "y"),
        *unpacked("k", len(names.keep), "work.keep"),
        *unpacked("s", len(names.scratch), "work.scratch"),
        *unpacked("w", len(names.prepared_specs), "work.prepared"),
        *printer.lines,
    ]
    return Compiled(head, body, names, scope_of(lowered))


def scope_of(lowered: Lowered) -> dict[str, Any]:
    """The names that printed code uses beside its arguments."""
    scope: dict[str, Any] = {f"o{o.number}": o.op for o in lowered.forward.opaques.values()}
    scope["title"] = lowered.trace.name
    scope["dtype"] = lowered.forward.code.dtype
    return scope


class CompiledBack(Compiled):
    """The backward half as a function.

    Attributes:
        gradients: Where gradients of shared values come from.
        inputs: For each input, whether its cotangent is computed.
    """

    gradients: list[SharedGradient]
    inputs: list[bool]


def print_backward(lowered: Lowered, forward: Compiled, needs: Needs) -> CompiledBack:
    """The backward half as a function of one batch of rows."""
    backward, instructions = lowered.backward(needs)
    names = Names()
    names.given = dict(forward.names.given)
    for k, seed in enumerate(backward.seeds):
        names.given[seed.number] = f"d{k}[a:b]"
    residues = [g.cotangent for g in backward.shared if g.cotangent is not None]
    printer = Printer(names)
    printer.print(instructions, residues, "r", backward.inputs)
    results = [printer.name(v) if v is not None else "None" for v in backward.inputs]
    head = "def run_rows(back, a, b, x, y, k, d, r, m, g):"
    body = [
        "    n = b - a",
        *unpacked("x", len(lowered.trace.inputs), "x"),
        *unpacked("y", len(lowered.outputs), "y"),
        *unpacked("k", len(forward.names.keep), "k"),
        *unpacked("d", len(backward.seeds), "d"),
        *unpacked("r", len(names.keep), "r"),
        *unpacked("s", len(names.scratch), "back.scratch"),
        *unpacked("w", len(names.prepared_specs), "back.prepared"),
        *printer.lines,
        f"    return ({''.join(f'{r}, ' for r in results)})",
    ]
    result = CompiledBack(head, body, names, scope_of(lowered))
    result.gradients = backward.shared
    result.inputs = [v is not None for v in backward.inputs]
    return result


def view_of(value: Value, array: Any) -> Any:
    """A value's part of the array of its owner, over all rows."""
    if value.base is None:
        return array
    whole = view_of(value.base, array)
    if value.how == "planes":
        if value.planes == value.base.planes:
            return whole
        if value.planes == 1:
            return whole[value.first]
        return whole[value.first : value.first + value.planes]
    if value.how == "columns":
        return whole[:, value.first : value.first + value.width]
    return whole.reshape(-1, value.planes, value.width).transpose(1, 0, 2)


def allocate(rows: int, planes: int, width: int, dtype: Any) -> Any:
    """An array for a value over so many rows."""
    array = uninitialised(planes * rows, width, dtype)
    return array.reshape(planes, rows, width) if planes > 1 else array
