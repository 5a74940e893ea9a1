"""A cell of a scan, lowered and printed: what comes before the loop over steps, in it, after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lazynet.fuse.compile import Compiled, CompiledBack, Lowered, Needs, scope_of, unpacked
from lazynet.fuse.numpy_printer import Names, Printer
from lazynet.fuse.program import PLANES, Instruction, Product, Value
from lazynet.fuse.reverse import Backward
from lazynet.fuse.trace import Trace

_PHASES = ("before", "loop", "after")


@dataclass(frozen=True)
class Form:
    """How the arguments and results of a cell are used.

    Attributes:
        inputs: Number of arguments that have a row for each step.
        states: Number of arguments that are the results of the step before.
        constants: Number of arguments that are the same at all steps.
        next_states: Which result of the cell is the next value of each state.
    """

    inputs: int
    states: int
    constants: int
    next_states: tuple[int, ...]
    reverse: bool

    def state(self, j: int) -> int:
        """Position of a state among the arguments."""
        return self.inputs + j

    def constant(self, j: int) -> int:
        """Position of a constant among the arguments."""
        return self.inputs + self.states + j


class LoweredScan(Lowered):
    """A cell, lowered: its products are divided into what the steps need and what they share.

    Attributes:
        form: How its arguments are used.
        parts: The instructions before, in and after the loop.
        in_place: Whether a product is added to what the inputs gave in the place of that.
    """

    parts: list[list[Instruction]]
    in_place = True

    def __init__(self, trace: Trace, form: Form) -> None:
        self.form = form
        super().__init__(trace)

    def in_order(self, code: list[Instruction]) -> list[Instruction]:
        """Divide the forward half into what runs before, in and after the loop.

        This is done before results take the memory of operands: what runs earlier than it stands
        could overwrite what the loop still reads.
        """
        states = [self.outputs[k] for k in self.form.next_states]
        self.parts = phases(code, self.carried(), states)
        return [k for part in self.parts for k in part]

    def back_in_order(self, backward: Backward, code: list[Instruction]) -> list[Instruction]:
        carried = [backward.seeds[k] for k in self.form.next_states]
        handed_on = [v for v in backward.inputs[self.form.inputs :] if v is not None]
        backward.phases = phases(code, carried, handed_on)
        return [k for part in backward.phases for k in part]

    def carried(self) -> list[Value]:
        """States and constants."""
        values = [self.forward.env[i] for i in self.trace.inputs[self.form.inputs :]]
        return [v for v in values if isinstance(v, Value)]

    def arranged(self, code: list[Instruction]) -> list[Instruction]:
        """Take the part of each product that depends on the inputs alone out of the loop."""
        depends = dependent(code, self.carried())
        result: list[Instruction] = []
        for k in code:
            inner = [x.owner().number in depends for x in k.ins if isinstance(x, Value)]
            if k.op != "product" or all(inner) or not any(inner):
                result.append(k)
                continue
            product, z = k.info, k.outs[0]
            assert isinstance(product, Product)
            outside = [t for t, i in enumerate(inner) if not i]
            inside = [t for t, i in enumerate(inner) if i]
            hoisted = self.forward.code.value(z.planes, z.width, z.dtype)
            first = Product([product.weights[t] for t in outside], product.biases, z.planes)
            second = Product([product.weights[t] for t in inside], [(-1, z.planes)], z.planes)
            first.scale = second.scale = product.scale
            if product.addend is not None and product.addend.owner().number in depends:
                result.append(Instruction("product", [hoisted], [k.ins[t] for t in outside], first))
                again = self.forward.code.value(z.planes, z.width, z.dtype)
                second.addend = product.addend
                result.append(Instruction("product", [again], [k.ins[t] for t in inside], second))
                result.append(Instruction("ufunc", [z], [hoisted, again], "add"))
                continue
            first.addend = product.addend
            second.addend = hoisted
            result.append(Instruction("product", [hoisted], [k.ins[t] for t in outside], first))
            if self.in_place and z.base is None and not any(z is v for v in self.outputs):
                z.become(hoisted, PLANES, 0)
            result.append(Instruction("product", [z], [k.ins[t] for t in inside], second))
        return result


def dependent(code: Sequence[Instruction], sources: Sequence[Value]) -> set[int]:
    """Owners that depend on these values."""
    found = {v.owner().number for v in sources}
    for k in code:
        if any(v.owner().number in found for v in k.reads()):
            found.update(out.owner().number for out in k.outs)
    return found


def phases(
    code: Sequence[Instruction], carried: Sequence[Value], targets: Sequence[Value]
) -> list[list[Instruction]]:
    """Instructions before, in and after the loop.

    Args:
        code: In order.
        carried: What a step gets from the one before.
        targets: What it hands on.
    """
    moving = {v.owner().number for v in carried}
    inside = []
    for k in code:
        depends = any(v.owner().number in moving for v in k.reads())
        if depends:
            moving.update(out.owner().number for out in k.outs)
        inside.append(depends)
    needed = {v.owner().number for v in targets}
    result: list[list[Instruction]] = [[], [], []]
    for k, depends in zip(reversed(code), reversed(inside)):
        if any(out.owner().number in needed for out in k.outs):
            needed.update(v.owner().number for v in k.reads())
            result[1 if depends else 0].append(k)
        else:
            result[2 if depends else 0].append(k)
    return [part[::-1] for part in result]


def crossing(
    parts: Sequence[Sequence[Instruction]], handed_on: Sequence[Value] = ()
) -> list[Value]:
    """Owners that several phases touch; what a step hands on is touched by the loop."""
    seen: dict[int, int] = {v.owner().number: 1 for v in handed_on}
    found: dict[int, Value] = {}
    for phase, part in enumerate(parts):
        for k in part:
            for v in [*k.reads(), *k.outs]:
                owner = v.owner()
                if seen.setdefault(owner.number, phase) != phase:
                    found[owner.number] = owner
    return list(found.values())


_LOOP = "    for t, (a, b, p, q, r, s) in {}:"
_WHOLE = "    a, b, n, r, s = 0, rows, rows, nodes, nodes + rows"


def print_scan(lowered: LoweredScan) -> Compiled:
    """The forward half as a function of a batch of sequences."""
    form = lowered.form
    trace = lowered.trace
    names = Names()
    env = lowered.forward.env
    _name_arguments(lowered, names)
    for k, value in enumerate(lowered.outputs):
        names.given.setdefault(value.number, f"y{k}[a:b]")
    parts = lowered.parts
    keep = [v for v in [*lowered.kept, *crossing(parts)] if v.owner().number not in names.given]
    body = []
    for phase, part in zip(_PHASES, parts):
        printer = Printer(names, "        " if phase == "loop" else "    ", phase)
        _reading(lowered, names, phase)
        printer.print(part, keep, "k")
        if phase == "loop":
            body += [
                _LOOP.format("enumerate(steps)"),
                "        n = b - a",
                "        m = memo[t]",
                *printer.lines,
            ]
        elif part:
            body += [_WHOLE, "    m = memo[-1]", *printer.lines]
    head = "def run_rows(work, rows, nodes, steps, x, h, f, y, k, c, memo):"
    top = [
        *unpacked("x", form.inputs, "x"),
        *unpacked("h", form.states, "h"),
        *unpacked("f", form.constants, "f"),
        *unpacked("y", len(lowered.outputs), "y"),
        *unpacked("k", len(names.keep), "k"),
        *unpacked("s", len(names.scratch), "work.scratch"),
        *unpacked("w", len(names.prepared_specs), "work.prepared"),
    ]
    assert all(isinstance(env[i], Value) for i in trace.inputs)
    return Compiled(head, [*top, *body], names, scope_of(lowered))


def _name_arguments(lowered: LoweredScan, names: Names) -> None:
    form, trace = lowered.form, lowered.trace
    for k, i in enumerate(trace.inputs[: form.inputs]):
        names.given[lowered.forward.env[i].number] = f"x{k}[a:b]"  # type: ignore[union-attr]
    for j, k in enumerate(form.next_states):
        names.given[lowered.outputs[k].number] = f"h{j}[r:s]"
    _reading(lowered, names, "loop")


def _reading(lowered: LoweredScan, names: Names, phase: str) -> None:
    """States and constants are read otherwise in the loop than outside, for all rows at once."""
    form, trace = lowered.form, lowered.trace
    for j in range(form.states):
        number = lowered.forward.env[trace.inputs[form.state(j)]].number  # type: ignore[union-attr]
        names.given[number] = f"h{j}[p:q]" if phase == "loop" else f"work.before({j})"
    for j in range(form.constants):
        number = lowered.forward.env[trace.inputs[form.constant(j)]].number  # type: ignore[union-attr]
        names.given[number] = f"f{j}[:n]" if phase == "loop" else f"work.spread({j})"


def print_scan_back(lowered: LoweredScan, forward: Compiled, needs: Needs) -> CompiledBack:
    """The backward half as a function of a batch of sequences."""
    form = lowered.form
    backward, _ = lowered.backward(needs)
    names = Names()
    names.given = dict(forward.names.given)
    for k, seed in enumerate(backward.seeds):
        names.given[seed.number] = f"d{k}[a:b]"
    for j, k in enumerate(form.next_states):
        names.given[backward.seeds[k].number] = f"e{j}[r:s]"
    parts = backward.phases
    looped = {k.info.number for k in lowered.parts[1] if k.op == "opaque"}
    handed_on = [v for v in backward.inputs[form.inputs :] if v is not None]
    residues = [g.cotangent for g in backward.shared if g.cotangent is not None]
    xs = [v for v in backward.inputs[: form.inputs] if v is not None]
    keep = [
        v
        for v in [*residues, *xs, *crossing(parts, handed_on)]
        if v.owner().number not in names.given
    ]
    body = []
    for phase, part in zip(_PHASES, parts):
        printer = Printer(names, "        " if phase == "loop" else "    ", phase)
        printer.looped = looped
        _reading(lowered, names, phase)
        printer.print(part, keep, "r", backward.inputs)
        if phase == "loop":
            body += [
                _LOOP.format("reversed(list(enumerate(steps)))"),
                "        n = b - a",
                "        m = memo[t]",
                *printer.lines,
                *_hand_on(form, backward.inputs, printer),
            ]
        elif part:
            body += [_WHOLE, "    m = memo[-1]", *printer.lines]
    ending = Printer(names, "    ", "after")
    results = [ending.name(v) if v is not None else "None" for v in backward.inputs[: form.inputs]]
    head = "def run_rows(back, work, rows, nodes, steps, x, h, f, y, k, d, e, z, r, memo, g):"
    top = [
        *unpacked("x", form.inputs, "x"),
        *unpacked("h", form.states, "h"),
        *unpacked("f", form.constants, "f"),
        *unpacked("y", len(lowered.outputs), "y"),
        *unpacked("k", len(forward.names.keep), "k"),
        *unpacked("d", len(lowered.outputs), "d"),
        *unpacked("e", form.states, "e"),
        *unpacked("z", form.constants, "z"),
        *unpacked("r", len(names.keep), "r"),
        *unpacked("s", len(names.scratch), "back.scratch"),
        *unpacked("w", len(names.prepared_specs), "back.prepared"),
    ]
    end = [_WHOLE, *ending.lines, f"    return ({''.join(f'{r}, ' for r in results)})"]
    result = CompiledBack(head, [*top, *body, *end], names, scope_of(lowered))
    result.gradients = backward.shared
    result.inputs = [v is not None for v in backward.inputs]
    return result


def _hand_on(form: Form, inputs: list[Value | None], printer: Printer) -> list[str]:
    """Lines that add cotangents of the states to those of the step before."""
    before = len(printer.lines)
    for j in range(form.states):
        found = inputs[form.state(j)]
        if found is not None:
            text = printer.name(found)
            printer.line(f"into = e{j}[p:q]")
            printer.line(f"np.add(into, {text}, into)")
    for j in range(form.constants):
        found = inputs[form.constant(j)]
        if found is not None:
            text = printer.name(found)
            printer.line(f"into = z{j}[:n]")
            printer.line(f"np.add(into, {text}, into)")
    return printer.lines[before:]
