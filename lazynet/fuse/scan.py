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

from lazynet.backend import pick_rows, put_rows, take_rows
from lazynet.fuse.cell import Form, LoweredScan, print_scan, print_scan_back
from lazynet.fuse.compile import Compiled, CompiledBack, Lowered, Needs
from lazynet.fuse.fused import Back, Fused
from lazynet.fuse.gradients import pick
from lazynet.fuse.numpy_printer import Names
from lazynet.fuse.packing import Batch, Packing, Part, rows_of, subset, time_major
from lazynet.fuse.program import Value
from lazynet.fuse.trace import Trace
from lazynet.kinds import Array
from lazynet.randomness import KEY_STEP
from lazynet.staged import Staged

_MASK = (1 << 64) - 1


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


class _Given:
    """What printed code finds on its first arguments."""

    __slots__ = ("batch", "prepared", "scratch")

    def __init__(self, op: Fused, names: Names, prepared: list[Any], batch: Batch) -> None:
        rows = batch.packing.rows
        largest = max(batch.packing.counts, default=0)
        sizes = {"loop": largest, "before": rows, "after": rows}
        self.scratch = [op.allocate(sizes[phase], *form) for *form, phase in names.scratch]
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

    def print_forward(self) -> Compiled:
        return print_scan(self.lowered)

    def print_backward(self, needs: Needs) -> CompiledBack:
        return print_scan_back(self.lowered, self.code(), needs)

    def on_device(self) -> Staged:
        found = self.compiled.get("device")
        if found is None:
            from lazynet.fuse.device import DeviceScan

            found = self.compiled["device"] = DeviceScan(self)
        return found  # type: ignore[no-any-return]

    def assemble(self, parts: list[Any], counts: Array | None) -> Any:
        return [part[-1] for part in parts] if self.trace.keys else None

    def workspace(
        self,
        rows: int,
        largest: int,
        shared: Sequence[Array | None],
        outputs: list[Array],
        versions: Any = None,
    ) -> ScanWork:
        code = self.code()
        values, kept = self.shared_values(shared)
        keep = self.allocated(rows, code.names.keep)
        prepared = self.prepared(code, values)
        kinds = self.trace.tape.kinds
        inputs = [
            self.allocate(rows, 1, kinds[i].type.width, kinds[i].type.work)
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
        packing, keys = self.packed(payload, segments)
        xs = []
        for k in range(form.inputs):
            xs.append(take_rows(args[k], packing.perm, work.inputs[k][start:stop]))
        histories = []
        for j in range(form.states):
            initial = args[form.state(j)]
            size = packing.nodes + packing.rows
            history = self.allocate(size, 1, initial.shape[1], initial.dtype)
            take_rows(initial, packing.order, history[: packing.nodes])
            histories.append(history)
        constants = [
            take_rows(args[form.constant(j)], packing.order) for j in range(form.constants)
        ]
        memo: dict[int, dict[int, Any]] = {t: {} for t in range(-1, len(packing.steps))}
        batch = Batch(packing, start, xs, histories, constants, None, memo)
        batch.payload = keys
        work.batches[start] = batch
        code = self.code()
        given = _Given(self, code.names, work.prepared, batch)
        ys = [
            None if k in form.next_states else self.allocate(packing.rows, 1, y.shape[1], y.dtype)
            for k, y in enumerate(work.outputs)
        ]
        code.run(
            given, packing.rows, packing.nodes, packing.steps, xs, histories, constants, ys,
            [rows_of(k, start, stop) for k in work.keep], batch.payload, memo,
        )  # fmt: skip
        for k, output in enumerate(work.outputs):
            y = ys[k]
            if y is None:
                y = histories[form.next_states.index(k)][packing.nodes :]
            take_rows(y, packing.inverse, output[start:stop])

    def packed(self, payload: Any, segments: Array) -> tuple[Packing, Any]:
        """The order of the rows of a batch, and the random keys of every row."""
        packing = Packing(segments, self.form.reverse)
        return packing, self.keys(payload, packing)

    def keys(self, keys: list[int] | None, packing: Packing) -> Any:
        """Random keys of every row: those of the sequence, a few for each step."""
        count = self.trace.keys
        if not count or keys is None:
            return None
        base = np.array(keys, np.uint64)[packing.order][packing.sequence]
        time = np.repeat(np.arange(len(packing.counts)), packing.counts).astype(np.uint64)
        first = base + time * np.uint64(count * KEY_STEP & _MASK)
        rows = [first + np.uint64(n * KEY_STEP & _MASK) for n in range(count)]
        return {"nodes": rows, "rows": rows}

    def backspace(self, work: ScanWork, needs: Sequence[bool], seeds: list[Array]) -> Back:
        return Back(work, self.nodes_needed(needs), seeds)

    def wanted(self, back: Back, needs: Sequence[bool]) -> Needs:
        inputs = list(needs)
        for j in range(self.form.states):
            inputs[self.form.state(j)] = True  # a step needs those of the next, whoever asked
        return super().wanted(back, inputs)

    def foresee(
        self,
        back: Back,
        start: int,
        stop: int,
        needs: Sequence[bool],
        selected: Array | None,
        segments: Array | None,
    ) -> None:
        rows = None
        batch = back.work.batches[start]
        if selected is not None:
            assert segments is not None
            batch.part = Part(batch.packing, selected, segments, self.form.reverse)
            back.arrays += batch.part.arrays()
            rows = batch.part.rows
        back.foreseen.setdefault(self.wanted(back, needs), []).append((start, rows, stop))

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
        assert segments is not None
        form, work = self.form, back.work
        key = self.wanted(back, needs)
        code = self.back_code(key)
        names = code.names
        ran = back.ran.get(key)
        if ran is None:
            ran = back.ran[key] = self.reversed(code, work)
        batch = work.batches[start]
        keep = [rows_of(k, start, stop) for k in work.keep]
        residues = [rows_of(r, start, stop) for r in ran.residues]
        seeds = [s[start:stop] for s in back.seeds]
        rows: Array | None = None
        if selected is not None:
            batch, rows = subset(batch, selected, segments, form.reverse)
            keep = [pick(k, rows) for k in keep]
            assert batch.packing.origin is not None
            seeds = [pick_rows(s, batch.packing.origin) for s in seeds]
            residues = self.allocated(len(rows), names.keep)
        ran.taken.append((start, rows, stop))
        packing = batch.packing
        ds = [take_rows(seed, packing.perm) for seed in seeds]
        carried = []
        for k in form.next_states:
            width, dtype = ds[k].shape[1], ds[k].dtype
            history = self.allocate(packing.nodes + packing.rows, 1, width, dtype)
            history[: packing.nodes] = 0
            history[packing.nodes :] = ds[k]
            carried.append(history)
        constants = [np.zeros_like(f) for f in batch.constants]
        ys = [time_major(batch, form, k, y[start:stop], rows) for k, y in enumerate(work.outputs)]
        given = _Given(self, names, ran.prepared, batch)
        found = code.run(
            given, given, packing.rows, packing.nodes, packing.steps, batch.xs, batch.histories,
            batch.constants, ys, keep, ds, carried, constants, residues, batch.memo, back.totals,
        )  # fmt: skip
        if rows is not None:
            for whole, part in zip(ran.residues, residues):
                target = rows_of(whole, start, stop)
                if target.ndim == 3:
                    target[:, rows] = part
                else:
                    put_rows(target, rows, part)
        result: list[Array | None] = []
        for dx in found:
            result.append(None if dx is None else take_rows(dx, packing.inverse))
        place = packing.place
        for want, history in zip(code.inputs[form.inputs :], carried):
            result.append(take_rows(history, place) if want else None)
        for want, total in zip(code.inputs[form.inputs + form.states :], constants):
            result.append(take_rows(total, place) if want else None)
        return [*result, *[None] * len(self.leaf_types)]

    def forward_rows(self, work: ScanWork, owner: Value) -> Array:
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
                    time_major(b, form, k, work.outputs[k][b.start : stop], None)
                    for b, stop in zip(batches, stops)
                ]
                return parts[0] if len(parts) == 1 else np.concatenate(parts)
        for k, value in enumerate(self.code().names.keep):
            if value is owner:
                return work.keep[k]
        raise AssertionError(owner)
