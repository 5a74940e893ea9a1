"""Fused functions and scans on a GPU: the same programs, lowered and printed for it.

`Staged.on_device` hands out these in place of the operations that were recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazynet.fuse.blocks import Block
from lazynet.fuse.cell import Form, LoweredScan, crossing
from lazynet.fuse.compile import Compiled, CompiledBack, Lowered, Needs, scope_of, unpacked
from lazynet.fuse.cuda_printer import DeviceNames, DevicePrinter
from lazynet.fuse.fused import Back, Fused
from lazynet.fuse.gradients import add_gradient
from lazynet.fuse.grouping import expanded, span, summed_in_products, sunk
from lazynet.fuse.packing import Packing
from lazynet.fuse.program import Instruction, Opaque, Value, Weight
from lazynet.fuse.reverse import SharedGradient
from lazynet.fuse.rows import FusedRows, Work
from lazynet.fuse.scan import FusedScan
from lazynet.kinds import FLOAT32, FLOAT64, Array, Call
from lazynet.ops.random import Dropout


def _cuda() -> Any:
    from lazynet.backend import cuda_code

    return cuda_code


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
        cuda = _cuda()
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
        lambda i: forward.kinds[i].type.dtype,
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


# Running


class SharedValues(dict[int, Array]):
    """Values that all rows share, and matrices made of them, once for forward and backward."""

    def __init__(self, values: dict[int, Array]) -> None:
        super().__init__(values)
        self.matrices: dict[Any, Array] = {}

    def matrix(self, weight: Weight) -> Array:
        """A weight with a row for each number of the product, or as its only part lies."""
        if len(weight.parts) == 1:
            return self[weight.parts[0][0]]
        key = weight.key()
        found = self.matrices.get(key)
        if found is None:
            dtype = self[weight.parts[0][0]].dtype
            found = _cuda().empty((weight.planes * weight.width, weight.inputs), dtype)
            at = 0
            for index, transposed, planes in weight.parts:
                end = at + planes * weight.width
                found[at:end] = self[index].T if transposed else self[index]
                at = end
            self.matrices[key] = found
        return found


class _OnDevice(Fused):
    """What fused functions and scans have in common on a GPU."""

    def __init__(self, op: Any) -> None:
        for name in ("trace", "leaf_types", "places"):
            object.__setattr__(self, name, getattr(op, name))
        object.__setattr__(self, "compiled", {})
        object.__setattr__(self, "lowered", self.lower())

    def constant(self, array: Array) -> Array:
        found: Array = _cuda().on_device(array)
        return found

    def constants(self) -> list[Array]:
        """Constants of the trace."""
        tape = self.trace.tape
        payloads = [tape.payloads[i] for i in self.lowered.forward.shared]
        return [p for p in payloads if isinstance(p, np.ndarray)]

    def repeated(self, rows: int) -> dict[int, Array]:
        """Payloads of operations inside that are the same for all rows, by their number."""
        result: dict[int, Array] = {}
        for opaque in self.lowered.forward.opaques.values():
            payload = opaque.payload
            whole = opaque.op.payload not in (None, "key") and opaque.slot < 0
            if whole and payload is not None:
                if isinstance(payload, np.ndarray):
                    result[opaque.number] = np.repeat(payload.reshape(1, -1), rows, axis=0)
                else:
                    integral = opaque.op.payload == "int"
                    dtype = np.int64 if integral else self.lowered.forward.code.dtype
                    result[opaque.number] = np.full(rows, payload, dtype)
        return result

    def shared_values(
        self, given: Sequence[Array | None]
    ) -> tuple[dict[int, Array], dict[int, Any]]:
        values, kept = super().shared_values(given)
        return SharedValues(values), kept

    def allocate(self, rows: int, planes: int, width: int, dtype: Any) -> Any:
        return _cuda().empty((rows, planes * width), dtype)

    def prepared(self, code: Compiled, shared: dict[int, Array], few: bool = False) -> list[Any]:
        assert isinstance(shared, SharedValues)
        return [
            shared.matrix(what) if how == "matrix" else shared[what]
            for how, what in code.names.prepared_specs
        ]

    def view(self, value: Value, array: Array) -> Array:
        place = span(value)
        return array[:, place.first : place.first + place.size]

    def add_gradients(
        self,
        totals: dict[int, Any],
        gradients: Sequence[SharedGradient],
        steps: dict[tuple[int, int], Any],
        joined: Any,
        payload: Any,
        work: Any,
    ) -> None:
        own: set[int] = set()  # gradients that were made here, and can be added to
        sums = _Sums(gradients, joined)
        for gradient in gradients:
            if gradient.how == "product":
                self._add_product(totals, gradient, joined, own)
            elif gradient.how == "sum":
                assert gradient.cotangent is not None
                shape = work.shared[gradient.index].shape
                found = sums.of(gradient.cotangent)
                if work.shared[gradient.index].size == 1:
                    found = found.sum()
                _add(totals, gradient.index, found.reshape(shape))
            else:
                add_gradient(totals, gradient, steps, joined, payload, work)

    def _add_product(
        self, totals: dict[int, Any], gradient: SharedGradient, joined: Any, own: set[int]
    ) -> None:
        weight = gradient.weight
        assert weight is not None
        dz, x = joined(gradient.cotangent), joined(gradient.inputs)
        rows, size, inputs = len(dz), weight.planes * weight.width, weight.inputs
        gemm = _cuda().gemm
        if len(weight.parts) == 1:
            index, transposed, _ = weight.parts[0]
            known = totals.get(index)
            add = known is not None and index in own
            shape = (inputs, size) if transposed else (size, inputs)
            found = known if add else _cuda().empty(shape, dz.dtype)
            left, right = (x, dz) if transposed else (dz, x)
            gemm(*shape, rows, left, 0, True, right, 0, False, found, 0, add)
            if not add:
                own.add(index)
                _add(totals, index, found)
            return
        whole = _cuda().empty((size, inputs), dz.dtype)
        gemm(size, inputs, rows, dz, 0, True, x, 0, False, whole, 0, False)
        at = 0
        for index, transposed, planes in weight.parts:
            block = whole[at : at + planes * weight.width]
            _add(totals, index, block.T if transposed else block)
            own.discard(index)
            at += planes * weight.width


class _Sums:
    """Sums over rows; those of several parts of one value are computed together."""

    def __init__(self, gradients: Sequence[SharedGradient], joined: Any) -> None:
        self.joined = joined
        self.known: dict[int, Array] = {}
        owners = [
            g.cotangent.owner().number
            for g in gradients
            if g.how == "sum" and g.cotangent is not None
        ]
        self.several = {number for number in owners if owners.count(number) > 1}

    def of(self, value: Value) -> Array:
        """The sum over all rows, ``(size,)``."""
        place = span(value)
        number = place.owner.number
        if number not in self.several:
            return self.joined(value).sum(axis=0)  # type: ignore[no-any-return]
        if number not in self.known:
            self.known[number] = self.joined(place.owner).sum(axis=0)
        return self.known[number][place.first : place.first + place.size]


def _add(totals: dict[int, Any], index: int, gradient: Any) -> None:
    known = totals.get(index)
    totals[index] = gradient if known is None else known + gradient


class DeviceRows(_OnDevice, FusedRows):
    """A fused function on a GPU: every batch is one block."""

    def lower(self) -> Lowered:
        return DeviceLowered(self.trace)

    def print_forward(self) -> Compiled:
        return print_rows(self.lowered)

    def print_backward(self, needs: Needs) -> CompiledBack:
        return print_rows_back(self.lowered, self.code(), needs)

    def ahead(self, payload: Any, segments: Array | None, rows: int) -> Any:
        return {
            **(payload or {}),
            "constants": self.repeated(rows),
            "read": self.constants(),
        }

    def workspace(
        self, rows: int, largest: int, shared: Sequence[Array | None], outputs: list[Array]
    ) -> Work:
        code = self.code()
        values, kept = self.shared_values(shared)
        keep = self.allocated(rows, code.names.keep)
        prepared = self.prepared(code, values)
        scratch = [self.allocate(largest, *form[:3]) for form in code.names.scratch]
        joined: dict[int, Array] = {}
        if rows != largest:
            for v in self.lowered.kept:
                position = v.owner().argument
                if position >= 0 and position in self.joins():
                    joined[position] = self.allocate(rows, 1, v.owner().size, v.dtype)
        return Work(rows, largest, values, prepared, outputs, keep, scratch, joined, kept, 0, 0)

    def run(
        self,
        work: Work,
        start: int,
        stop: int,
        args: list[Any],
        payload: Any,
        segments: Array | None,
    ) -> None:
        if start == stop:
            return  # the batch that begins at the same row keeps its place
        if work.rows == work.largest:
            for position in self.joins():
                work.joined[position] = args[position]
        whole = Block(start, stop, {})
        work.batches[start] = (payload, [whole])
        xs = args[: len(self.trace.inputs)]
        self.code().run(work, start, stop, xs, work.outputs, payload, whole.memo)

    def reverse(
        self,
        back: Back,
        start: int,
        stop: int,
        args: list[Any],
        needs: Sequence[bool],
        selected: Array | None,
        segments: Array | None,
    ) -> list[Array | None]:
        work = back.work
        count = len(self.trace.inputs)
        wanted = (tuple([bool(n) for n in needs[:count]]), back.nodes)
        code = self.back_code(wanted)
        ran = back.ran.get(wanted)
        if ran is None:
            ran = back.ran[wanted] = self.reversed(code, work)
            ran.scratch = [self.allocate(work.largest, *form[:3]) for form in code.names.scratch]
        ran.taken.append((start, selected, stop))
        _, (block,) = work.batches[start]
        found = self._reverse(back, ran, block, args[:count], selected, ran, back.totals)
        return [*found, *[None] * len(self.leaf_types)]


class DeviceScan(_OnDevice, FusedScan):
    """A cell along sequences on a GPU."""

    def __init__(self, op: Any) -> None:
        object.__setattr__(self, "form", op.form)
        super().__init__(op)

    def lower(self) -> Lowered:
        return DeviceLoweredScan(self.trace, self.form)

    def print_forward(self) -> Compiled:
        return print_cell(self.lowered)

    def print_backward(self, needs: Needs) -> CompiledBack:
        return print_cell_back(self.lowered, self.code(), needs)

    def ahead(self, payload: Any, segments: Array | None, rows: int) -> Any:
        assert segments is not None
        packing = Packing(segments, self.form.reverse)
        orders = [packing.perm, packing.inverse, packing.order, packing.place]
        orders += [packing.before, packing.sequence]
        keys = {
            **(self.keys(payload, packing) or {}),
            "constants": self.repeated(packing.rows),
        }
        return {"packing": packing, "orders": orders, "keys": keys, "read": self.constants()}

    def packed(self, payload: Any, segments: Array) -> tuple[Packing, Any]:
        return payload["packing"], payload["keys"]
