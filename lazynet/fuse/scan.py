"""`ln.scan`: a cell along a sequence as one node.

All sequences of a batch advance together, longest first, so that the rows that are still running
are always the first ones. Rows lie time-major: what every step needs of the inputs is computed for
all steps at once before the loop, what only the outputs need after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazynet.backend import take_rows
from lazynet.fuse.compile import (
    Compiled,
    CompiledBack,
    Lowered,
    Needs,
    allocate,
    scope_of,
    unpacked,
    view_of,
)
from lazynet.fuse.numpy_printer import Names, Printer
from lazynet.fuse.program import PLANES, Instruction, Product, Value
from lazynet.fuse.reverse import Backward
from lazynet.fuse.rows import Fused, Reversed, add_gradient, pick, pick_call, rows_taken
from lazynet.fuse.runtime import prepare
from lazynet.fuse.trace import Trace
from lazynet.kinds import Array
from lazynet.randomness import KEY_STEP

_MASK = (1 << 64) - 1
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


class Packing:
    """Time-major order of the rows of a batch of sequences.

    Attributes:
        nodes: Number of sequences.
        rows: Number of rows.
        order: The sequences, longest first.
        perm: For each row, time-major, which row of the batch (sequence after sequence) it is.
        steps: For each step: its rows a:b, where the states before it are in the history (p:q) and
            those after it (r:s). The history begins with the initial states.
        counts: Number of sequences in each step.
        origin: Of a part of a batch: for each of its rows, sequence after sequence, the row of the
            whole batch.
    """

    def __init__(self, segments: Array, reverse: bool) -> None:
        lengths = np.diff(segments)
        self.nodes = len(lengths)
        self.rows = int(segments[-1])
        self.order = np.argsort(-lengths, kind="stable")
        ordered = lengths[self.order]
        longest = int(ordered[0]) if len(ordered) else 0
        time = np.arange(longest)[:, None]
        running = time < ordered
        first = segments[:-1][self.order]
        places = first + ordered - 1 - time if reverse else first + time
        self.perm = places[running]
        self.counts = running.sum(axis=1).tolist()
        self.origin: Array | None = None
        self.steps: list[tuple[int, int, int, int, int, int]] = []
        a, p = 0, 0
        for count in self.counts:
            b = a + count
            self.steps.append((a, b, p, p + count, self.nodes + a, self.nodes + b))
            p = self.nodes + a
            a = b

    def inverse(self) -> Array:
        """For each row of the batch, which row, time-major, it is."""
        result = np.empty(self.rows, np.int64)
        result[self.perm] = np.arange(self.rows)
        return result

    def before(self) -> Array:
        """For each row, time-major, which row of the history holds the state before it."""
        parts = [np.arange(p, q) for _, _, p, q, _, _ in self.steps]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def sequence(self) -> Array:
        """For each row, time-major, its sequence's place in `order`."""
        parts = [np.arange(n) for n in self.counts]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)


class LoweredScan(Lowered):
    """A cell, lowered: its products are divided into what the steps need and what they share.

    Attributes:
        form: How its arguments are used.
        parts: The instructions before, in and after the loop.
    """

    parts: list[list[Instruction]]

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
            if z.base is None and not any(z is v for v in self.outputs):
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


@dataclass
class Batch:
    """One batch of sequences: what forward left."""

    packing: Packing
    start: int
    xs: list[Array]
    histories: list[Array]
    constants: list[Array]
    payload: Any
    memo: dict[int, dict[int, Any]]

    def before(self, j: int) -> Array:
        """The state before every row."""
        return take_rows(self.histories[j], self.packing.before())

    def spread(self, j: int) -> Array:
        """A constant for every row."""
        return take_rows(self.constants[j], self.packing.sequence())


@dataclass
class ScanWork:
    """Arrays of one kind of scan in one evaluation; see `rows.Work`."""

    rows: int
    shared: dict[int, Array]
    prepared: list[Any]
    kept: dict[int, Any]
    outputs: list[Array]
    keep: list[Array]
    inputs: list[Array]
    batches: dict[int, Batch] = field(default_factory=dict)


@dataclass
class ScanBack:
    """Arrays of one kind of scan in one backward; see `rows.Back`."""

    work: ScanWork
    nodes: frozenset[int]
    seeds: list[Array]
    totals: dict[tuple[int, int], Any] = field(default_factory=dict)
    ran: dict[Needs, Reversed] = field(default_factory=dict)


class _Given:
    """What printed code finds on its first arguments."""

    __slots__ = ("batch", "prepared", "scratch")

    def __init__(self, names: Names, prepared: list[Any], batch: Batch, largest: int) -> None:
        rows = batch.packing.rows
        sizes = {"loop": largest, "before": rows, "after": rows}
        self.scratch = [allocate(sizes[phase], *form) for *form, phase in names.scratch]
        self.prepared = prepared
        self.batch = batch

    def before(self, j: int) -> Array:
        """See `Batch`."""
        return self.batch.before(j)

    def spread(self, j: int) -> Array:
        """See `Batch`."""
        return self.batch.spread(j)


class FusedScan(Fused):
    """A cell along sequences, run on a batch of them."""

    segmented = True
    form: Form

    def __init__(self, trace: Trace, form: Form) -> None:
        object.__setattr__(self, "form", form)
        object.__setattr__(self, "trace", trace)
        self.__post_init__()

    def lower(self) -> Lowered:
        return LoweredScan(self.trace, self.form)

    def code(self) -> Compiled:
        """The printed forward half."""
        found = self.compiled.get("forward")
        if found is None:
            found = self.compiled["forward"] = print_scan(self.lowered)
        return found  # type: ignore[no-any-return]

    def back_code(self, needs: Needs) -> CompiledBack:
        """The printed backward half for these needs."""
        found = self.compiled.get(needs)
        if found is None:
            found = self.compiled[needs] = print_scan_back(self.lowered, self.code(), needs)
        return found  # type: ignore[no-any-return]

    def assemble(self, parts: list[Any], counts: Array | None) -> Any:
        return [part[-1] for part in parts] if self.trace.keys else None

    def workspace(
        self, rows: int, largest: int, shared: Sequence[Array | None], outputs: list[Array]
    ) -> ScanWork:
        code = self.code()
        values, kept = self.shared_values(shared)
        keep = [allocate(rows, v.planes, v.width, v.dtype) for v in code.names.keep]
        dtype = self.lowered.forward.code.dtype
        prepared = prepare(code.names.prepared_specs, values, dtype)
        kinds = self.trace.tape.kinds
        inputs = [
            np.empty((rows, kinds[i].type.width), kinds[i].type.dtype)
            for i in self.trace.inputs[: self.form.inputs]
        ]
        return ScanWork(rows, values, prepared, kept, outputs, keep, inputs)

    def run(
        self,
        work: ScanWork,
        start: int,
        stop: int,
        args: list[Any],
        payload: Any,
        segments: Array | None,
    ) -> None:
        assert segments is not None
        if start == stop:
            return  # the batch that begins at the same row keeps its place
        form = self.form
        packing = Packing(segments, form.reverse)
        xs = []
        for k in range(form.inputs):
            into = work.inputs[k][start:stop]
            np.take(args[k], packing.perm, axis=0, out=into, mode="clip")
            xs.append(into)
        histories = []
        for j in range(form.states):
            initial = args[form.state(j)]
            history = np.empty((packing.nodes + packing.rows, initial.shape[1]), initial.dtype)
            np.take(initial, packing.order, axis=0, out=history[: packing.nodes], mode="clip")
            histories.append(history)
        constants = [
            take_rows(args[form.constant(j)], packing.order) for j in range(form.constants)
        ]
        memo: dict[int, dict[int, Any]] = {t: {} for t in range(-1, len(packing.steps))}
        batch = Batch(packing, start, xs, histories, constants, None, memo)
        batch.payload = self._keys(payload, packing)
        work.batches[start] = batch
        code = self.code()
        given = _Given(code.names, work.prepared, batch, max(packing.counts, default=0))
        ys = [
            None if k in form.next_states else np.empty((packing.rows, y.shape[1]), y.dtype)
            for k, y in enumerate(work.outputs)
        ]
        code.run(
            given, packing.rows, packing.nodes, packing.steps, xs, histories, constants, ys,
            [_rows_of(k, start, stop) for k in work.keep], batch.payload, memo,
        )  # fmt: skip
        inverse = packing.inverse()
        for k, output in enumerate(work.outputs):
            into = output[start:stop]
            if k in form.next_states:
                history = histories[form.next_states.index(k)]
                np.take(history, inverse + packing.nodes, axis=0, out=into, mode="clip")
            else:
                y = ys[k]
                assert y is not None
                np.take(y, inverse, axis=0, out=into, mode="clip")

    def _keys(self, keys: list[int] | None, packing: Packing) -> Any:
        """Random keys of every row: those of the sequence, a few for each step."""
        count = self.trace.keys
        if not count or keys is None:
            return None
        base = np.array(keys, np.uint64)[packing.order][packing.sequence()]
        time = np.repeat(np.arange(len(packing.counts)), packing.counts).astype(np.uint64)
        first = base + time * np.uint64(count * KEY_STEP & _MASK)
        rows = [first + np.uint64(n * KEY_STEP & _MASK) for n in range(count)]
        return {"nodes": rows, "rows": rows}

    def backspace(self, work: ScanWork, needs: Sequence[bool], seeds: list[Array]) -> ScanBack:
        return ScanBack(work, self.nodes_needed(needs), seeds)

    def reverse(
        self,
        back: ScanBack,
        start: int,
        stop: int,
        args: list[Any],
        needs: Sequence[bool],
        selected: Array | None,
        segments: Array | None,
    ) -> list[Array | None]:
        assert segments is not None
        form, work = self.form, back.work
        count = len(self.trace.inputs)
        wanted = [bool(n) for n in needs[:count]]
        for j in range(form.states):
            wanted[form.state(j)] = True  # a step needs those of the next, whoever asked for them
        key = (tuple(wanted), back.nodes)
        code = self.back_code(key)
        names = code.names
        ran = back.ran.get(key)
        if ran is None:
            dtype = self.lowered.forward.code.dtype
            ran = back.ran[key] = Reversed(code, work.rows, work.shared, dtype)
        batch = work.batches[start]
        keep = [_rows_of(k, start, stop) for k in work.keep]
        residues = [_rows_of(r, start, stop) for r in ran.residues]
        seeds = [s[start:stop] for s in back.seeds]
        rows: Array | None = None
        if selected is not None:
            batch, rows = _subset(batch, selected, segments, form.reverse)
            keep = [pick(k, rows) for k in keep]
            seeds = [s[batch.packing.origin] for s in seeds]
            residues = [allocate(len(rows), v.planes, v.width, v.dtype) for v in names.keep]
        ran.taken.append((start, rows, stop))
        packing = batch.packing
        ds = [take_rows(seed, packing.perm) for seed in seeds]
        carried = []
        for k in form.next_states:
            history = np.zeros((packing.nodes + packing.rows, ds[k].shape[1]), ds[k].dtype)
            history[packing.nodes :] = ds[k]
            carried.append(history)
        constants = [np.zeros_like(f) for f in batch.constants]
        ys = [_time_major(batch, form, k, y[start:stop], rows) for k, y in enumerate(work.outputs)]
        given = _Given(names, ran.prepared, batch, max(packing.counts, default=0))
        found = code.run(
            given, given, packing.rows, packing.nodes, packing.steps, batch.xs, batch.histories,
            batch.constants, ys, keep, ds, carried, constants, residues, batch.memo, back.totals,
        )  # fmt: skip
        if rows is not None:
            for whole, part in zip(ran.residues, residues):
                target = _rows_of(whole, start, stop)
                if target.ndim == 3:
                    target[:, rows] = part
                else:
                    target[rows] = part
        result: list[Array | None] = []
        for dx in found:
            result.append(None if dx is None else take_rows(dx, packing.inverse()))
        place = np.argsort(packing.order)
        for want, history in zip(code.inputs[form.inputs :], carried):
            result.append(take_rows(history, place) if want else None)
        for want, total in zip(code.inputs[form.inputs + form.states :], constants):
            result.append(take_rows(total, place) if want else None)
        return [*result, *[None] * len(self.leaves)]

    def finish(self, back: ScanBack) -> list[Any]:
        totals: dict[int, Any] = {}
        for ran in back.ran.values():
            self._finish(back, ran, totals)
        return self.shared_gradients(back.work, back.nodes, totals)

    def _finish(self, back: ScanBack, ran: Reversed, totals: dict[int, Any]) -> None:
        """Add the gradients of shared nodes from the batches that one code ran."""
        work = back.work
        index = rows_taken(ran.taken, work.rows)
        residues = {v.number: r for v, r in zip(ran.code.names.keep, ran.residues)}

        def joined(value: Value) -> Array:
            owner = value.owner()
            array = residues.get(owner.number)
            if array is None:
                array = self._forward_rows(work, owner)
            rows: Array = view_of(value, array)
            if index is None:
                return rows
            return rows[:, index] if rows.ndim == 3 else rows[index]

        for gradient in ran.code.gradients:
            add_gradient(totals, gradient, back.totals, joined, None, work)

    def _forward_rows(self, work: ScanWork, owner: Value) -> Array:
        """A forward value over all rows, time-major within each batch."""
        form = self.form
        position = owner.argument
        batches = [work.batches[start] for start in sorted(work.batches)]
        if 0 <= position < form.inputs:
            return work.inputs[position]
        if position >= 0:
            j = position - form.inputs
            parts = [b.before(j) if j < form.states else b.spread(j - form.states) for b in batches]
            return parts[0] if len(parts) == 1 else np.concatenate(parts)
        for k, value in enumerate(self.lowered.outputs):
            if value is owner:
                stops = [b.start + b.packing.rows for b in batches]
                parts = [
                    _time_major(b, form, k, work.outputs[k][b.start : stop], None)
                    for b, stop in zip(batches, stops)
                ]
                return parts[0] if len(parts) == 1 else np.concatenate(parts)
        for k, value in enumerate(self.code().names.keep):
            if value is owner:
                return work.keep[k]
        raise AssertionError(owner)


def _rows_of(array: Array, start: int, stop: int) -> Array:
    return array[:, start:stop] if array.ndim == 3 else array[start:stop]


def _time_major(batch: Batch, form: Form, k: int, output: Array, rows: Array | None) -> Array:
    """A result of the cell, time-major."""
    if k in form.next_states:
        return batch.histories[form.next_states.index(k)][batch.packing.nodes :]
    if rows is None:
        return take_rows(output, batch.packing.perm)
    assert batch.packing.origin is not None
    return take_rows(output, batch.packing.origin[batch.packing.perm])


def _subset(batch: Batch, chosen: Array, segments: Array, reverse: bool) -> tuple[Batch, Array]:
    """Some sequences of a batch as a batch; and which of its rows, time-major, they are."""
    packing = batch.packing
    lengths = np.diff(segments)[chosen]
    own = Packing(np.concatenate([[0], np.cumsum(lengths)]), reverse)
    offsets = np.repeat(segments[:-1][chosen] - (np.cumsum(lengths) - lengths), lengths)
    own.origin = np.arange(own.rows) + offsets
    rows = packing.inverse()[own.origin[own.perm]]
    place = np.argsort(packing.order)[chosen][own.order]
    histories = [np.concatenate([h[place], h[packing.nodes :][rows]]) for h in batch.histories]
    memo: dict[int, dict[int, Any]] = {
        -1: {number: pick_call(call, rows) for number, call in batch.memo[-1].items()}
    }
    for t, (a, b, *_) in enumerate(own.steps):
        first = packing.steps[t][0]
        memo[t] = {
            number: pick_call(call, rows[a:b] - first) for number, call in batch.memo[t].items()
        }
    return (
        Batch(
            own,
            batch.start,
            [x[rows] for x in batch.xs],
            histories,
            [f[place] for f in batch.constants],
            batch.payload,
            memo,
        ),
        rows,
    )
