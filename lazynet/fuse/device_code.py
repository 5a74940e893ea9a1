"""Fused functions and cells on a GPU: lowered for it, and printed as two halves with kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazynet.fuse.cell import Form, LoweredScan, crossing
from lazynet.fuse.compile import Compiled, CompiledBack, Lowered, Needs, scope_of, unpacked
from lazynet.fuse.cuda_printer import DeviceNames, DevicePrinter
from lazynet.fuse.grouping import expanded, summed_in_products, sunk
from lazynet.fuse.program import Instruction, Opaque, Value
from lazynet.kinds import FLOAT32, FLOAT64, Array, Call
from lazynet.ops.random import Dropout


def cuda_code() -> Any:
    """The module of the backend, which imports CuPy."""
    from lazynet.backend import cuda_code as found

    return found


# Lowering


def draws_inside(opaque: Opaque) -> bool:
    """Whether an operation is dropout of rows, which kernels do themselves."""
    x = opaque.args[0] if opaque.args else None
    return isinstance(opaque.op, Dropout) and isinstance(x, Value) and x.dtype in _FLOATS


_FLOATS = (FLOAT32, FLOAT64)


def _elementwise(k: Instruction) -> Instruction | None:
    opaque = k.info if k.op == "opaque" else k.info[0]
    if not draws_inside(opaque):
        return None
    return Instruction("dropout", k.outs, k.ins[:1], opaque)


class _ForDevice(Lowered):
    """Without what pays on a CPU alone."""

    def folded(self, code: list[Instruction], others: list[Value]) -> list[Instruction]:
        return code

    def merged(self, code: list[Instruction], fixed: Sequence[Value]) -> list[Instruction]:
        for out in fixed:
            if out.dtype == bool:  # what comparisons make, in an array of numbers
                out.dtype = self.forward.code.dtype
        return expanded(code, fixed, Value, _elementwise)

    def reused(self, code: list[Instruction], needed: list[Value], fixed: Sequence[Value]) -> None:
        return


class DeviceLowered(_ForDevice):
    """A fused function, lowered for a GPU."""


class DeviceLoweredScan(_ForDevice, LoweredScan):
    """A cell, lowered for a GPU."""

    in_place = False


# Printing


class DeviceCode(Compiled):
    """A printed half with its kernels."""

    def __init__(
        self, head: str, body: list[str], names: DeviceNames, scope: dict[str, Any]
    ) -> None:
        cuda = cuda_code()
        own = {f"g{k}": cuda.kernel(*found) for k, found in enumerate(names.kernels)}
        own |= {"gemm": cuda.gemm, "row_sums": cuda.row_sums, "on_device": cuda.on_device}
        super().__init__(head, body, names, {**scope, **own, "drawn": _drawn})


class DeviceCodeBack(DeviceCode, CompiledBack):
    """A printed backward half."""


def _drawn(rows: int, keys: Array) -> Call:
    """What forward leaves of an operation that its kernels do, with these random keys."""
    return Call(rows, keys, (False,), (), None)


def _printer(lowered: Lowered, names: DeviceNames, phase: str = "") -> DevicePrinter:
    forward = lowered.forward
    indent = "        " if phase == "loop" else "    "
    return DevicePrinter(
        names,
        lowered.trace.name,
        forward.code.dtype,
        lambda i: forward.kinds[i].type.work,
        indent,
        phase,
    )


def _drawing(lowered: Lowered, memo: str, rows: str) -> list[str]:
    return [
        f"    {memo}[{o.number}] = drawn({rows}, "
        f"c['{'rows' if o.batched else 'nodes'}'][{o.payload}])"
        for o in lowered.forward.opaques.values()
        if draws_inside(o)
    ]


def print_rows(lowered: Lowered) -> Compiled:
    """The forward half as a function of one batch of rows."""
    names = DeviceNames()
    for k, i in enumerate(lowered.trace.inputs):
        x = lowered.forward.env[i]
        if isinstance(x, Value):
            names.given[x.number] = (f"x{k}", "0")
    for k, value in enumerate(lowered.outputs):
        names.given[value.number] = (f"y{k}", "a")
    printer = _printer(lowered, names)
    printer.first = "0"
    printer.print(lowered.instructions, lowered.kept, "k")
    body = [
        "    n = b - a",
        *unpacked("x", len(lowered.trace.inputs), "x"),
        *unpacked("y", len(lowered.outputs), "y"),
        *unpacked("k", len(names.keep), "work.keep"),
        *unpacked("s", len(names.scratch), "work.scratch"),
        *unpacked("w", len(names.prepared_specs), "work.prepared"),
        *_drawing(lowered, "m", "n"),
        *printer.lines,
    ]
    return DeviceCode("def run_rows(work, a, b, x, y, c, m):", body, names, scope_of(lowered))


def print_rows_back(lowered: Lowered, forward: Compiled, needs: Needs) -> CompiledBack:
    """The backward half as a function of one batch of rows."""
    backward, instructions = lowered.backward(needs)
    names = DeviceNames()
    names.given = dict(forward.names.given)
    for k, seed in enumerate(backward.seeds):
        names.given[seed.number] = (f"d{k}", "a")
    residues = [g.cotangent for g in backward.shared if g.cotangent is not None]
    results = [v for v in backward.inputs if v is not None]
    printer = _printer(lowered, names)
    printer.first = "0"
    code = summed_in_products(instructions, [*residues, *results])
    printer.print(code, residues, "r", results)
    found = [printer.name(v) if v is not None else "None" for v in backward.inputs]
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
        f"    return ({''.join(f'{r}, ' for r in found)})",
    ]
    head = "def run_rows(back, a, b, x, y, k, d, r, m, g):"
    result = DeviceCodeBack(head, body, names, scope_of(lowered))
    result.gradients = backward.shared
    result.inputs = [v is not None for v in backward.inputs]
    return result


_PHASES = ("before", "loop", "after")
_LOOP = "    for t, (a, b, p, q, r, s) in {}:"
_WHOLE = "    a, b, n = 0, rows, rows"
_STEP = ["        n = b - a", "        m = memo[t]"]


def print_cell(lowered: DeviceLoweredScan) -> Compiled:
    """The forward half as a function of a batch of sequences."""
    form = lowered.form
    names = DeviceNames()
    _name_arguments(lowered, names)
    for k, value in enumerate(lowered.outputs):
        names.given.setdefault(value.number, (f"y{k}", "a"))
    parts = sunk(lowered.parts, [*lowered.kept, *lowered.outputs])
    keep = [v for v in [*lowered.kept, *crossing(parts)] if v.owner().number not in names.given]
    body = []
    for phase, part in zip(_PHASES, parts):
        printer = _printer(lowered, names, phase)
        _reading(lowered, names, phase)
        printer.print(part, keep, "k")
        if phase == "loop":
            body += [_LOOP.format("enumerate(steps)"), *_STEP, *printer.lines]
        elif part:
            body += [*_whole(lowered), "    m = memo[-1]", *printer.lines]
    head = "def run_rows(work, rows, nodes, steps, x, h, f, y, k, c, memo):"
    top = [
        *unpacked("x", form.inputs, "x"),
        *unpacked("h", form.states, "h"),
        *unpacked("f", form.constants, "f"),
        *unpacked("y", len(lowered.outputs), "y"),
        *unpacked("k", len(names.keep), "k"),
        *unpacked("s", len(names.scratch), "work.scratch"),
        *unpacked("w", len(names.prepared_specs), "work.prepared"),
        *_drawing(lowered, "memo[-1]", "rows"),
    ]
    return DeviceCode(head, [*top, *body], names, scope_of(lowered))


def _whole(lowered: DeviceLoweredScan) -> list[str]:
    return [_WHOLE, "    r = nodes"]


def _name_arguments(lowered: DeviceLoweredScan, names: DeviceNames) -> None:
    form, trace = lowered.form, lowered.trace
    for k, i in enumerate(trace.inputs[: form.inputs]):
        names.given[_value(lowered, i).number] = (f"x{k}", "a")
    for j, k in enumerate(form.next_states):
        names.given[lowered.outputs[k].number] = (f"h{j}", "r")
    _reading(lowered, names, "loop")


def _value(lowered: Lowered, i: int) -> Value:
    x = lowered.forward.env[i]
    assert isinstance(x, Value)
    return x


def _reading(lowered: DeviceLoweredScan, names: DeviceNames, phase: str) -> None:
    """States and constants are read otherwise in the loop than outside, for all rows at once."""
    form, trace = lowered.form, lowered.trace
    for j in range(form.states):
        number = _value(lowered, trace.inputs[form.state(j)]).number
        names.given[number] = (f"h{j}", "p") if phase == "loop" else (f"work.before({j})", "0")
    for j in range(form.constants):
        number = _value(lowered, trace.inputs[form.constant(j)]).number
        names.given[number] = (f"f{j}" if phase == "loop" else f"work.spread({j})", "0")


def print_cell_back(lowered: DeviceLoweredScan, forward: Compiled, needs: Needs) -> CompiledBack:
    """The backward half as a function of a batch of sequences."""
    form = lowered.form
    backward, _ = lowered.backward(needs)
    names = DeviceNames()
    names.given = dict(forward.names.given)
    for k, seed in enumerate(backward.seeds):
        names.given[seed.number] = (f"d{k}", "a")
    for j, k in enumerate(form.next_states):
        names.given[backward.seeds[k].number] = (f"e{j}", "r")
    results = [v for v in backward.inputs if v is not None]
    residues = [g.cotangent for g in backward.shared if g.cotangent is not None]
    parts = sunk(backward.phases, [*residues, *results])
    looped = {k.info.number for k in lowered.parts[1] if k.op == "opaque"}
    handed_on = [v for v in backward.inputs[form.inputs :] if v is not None]
    xs = [v for v in backward.inputs[: form.inputs] if v is not None]
    kept = [*residues, *xs, *crossing(parts, handed_on)]
    keep = [v for v in kept if v.owner().number not in names.given]
    body = []
    for phase, part in zip(_PHASES, parts):
        code = [*part, *_handing_on(form, backward.inputs, names)] if phase == "loop" else part
        printer = _printer(lowered, names, phase)
        printer.looped = looped
        _reading(lowered, names, phase)
        printer.print(summed_in_products(code, kept), keep, "r", xs)
        if phase == "loop":
            loop = _LOOP.format("reversed(list(enumerate(steps)))")
            body += [loop, *_STEP, *printer.lines]
        elif part:
            body += [*_whole(lowered), "    m = memo[-1]", *printer.lines]
    ending = _printer(lowered, names, "after")
    ends = [ending.name(v) if v is not None else "None" for v in backward.inputs[: form.inputs]]
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
    end = [*_whole(lowered), *ending.lines, f"    return ({''.join(f'{r}, ' for r in ends)})"]
    result = DeviceCodeBack(head, [*top, *body, *end], names, scope_of(lowered))
    result.gradients = backward.shared
    result.inputs = [v is not None for v in backward.inputs]
    return result


def _handing_on(form: Form, inputs: list[Value | None], names: DeviceNames) -> list[Instruction]:
    """Instructions that add cotangents of the states to those of the step before."""
    places = [(form.state(j), (f"e{j}", "p")) for j in range(form.states)]
    places += [(form.constant(j), (f"z{j}", "0")) for j in range(form.constants)]
    result = []
    for position, place in places:
        found = inputs[position]
        if found is not None:
            target = Value(1, found.size, found.dtype)
            names.given[target.number] = place
            result.append(Instruction("accumulate", [target], [found]))
    return result
