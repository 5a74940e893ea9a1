"""`FusedRows`: the operation that a fused function is recorded as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import ref

import numpy as np

from lazynet.backend import pick_rows, product_workers, put_rows, run_blocks, uninitialised
from lazynet.deferred import Slot
from lazynet.fuse.blocks import (
    Block,
    Scratch,
    block_bytes,
    block_height,
    part_of,
    row_bytes,
    scratch_height,
)
from lazynet.fuse.compile import (
    Compiled,
    CompiledBack,
    Needs,
    allocate,
    print_backward,
    print_forward,
)
from lazynet.fuse.fused import Back, Fused, Reversed
from lazynet.fuse.gradients import pick
from lazynet.fuse.packing import rows_of
from lazynet.fuse.program import Value
from lazynet.fuse.runtime import pick_call
from lazynet.kinds import Array
from lazynet.randomness import KEY_STEP, ROW_STEP
from lazynet.staged import FEW, Staged

_MASK = (1 << 64) - 1


class _Prepared(list[Any]):
    """A list that can be referred to weakly."""


@dataclass
class Work:
    """Arrays of one kind in one evaluation.

    Attributes:
        rows: Rows of all batches.
        largest: Rows of the largest batch.
        shared: Values that all rows share, by node of the trace.
        prepared: What was made of them for the printed code.
        outputs: Results, ``(rows, width)``.
        keep: What backward reads again.
        scratch: Memory that is used again by every batch.
        joined: Arguments over all rows, by position, where the gradient of a weight reads them.
        kept: What operations on shared values kept, by node of the trace.
        row_size: Bytes that one row touches.
        block_size: Bytes that a block of rows may touch.
        batches: For each batch by its first row: its payload, and the blocks it was computed in.
    """

    rows: int
    largest: int
    shared: dict[int, Array]
    prepared: list[Any]
    outputs: list[Array]
    keep: list[Array]
    scratch: list[Array]
    joined: dict[int, Array]
    kept: dict[int, Any]
    row_size: int
    block_size: int
    batches: dict[int, tuple[Any, list[Block]]] = field(default_factory=dict)


class FusedRows(Fused):
    """A fused function, run on a batch of calls."""

    def print_forward(self) -> Compiled:
        return print_forward(self.lowered)

    def print_backward(self, needs: Needs) -> CompiledBack:
        return print_backward(self.lowered, self.code(), needs)

    def on_device(self) -> Staged:
        found = self.compiled.get("device")
        if found is None:
            from lazynet.fuse.device import DeviceRows

            found = self.compiled["device"] = DeviceRows(self)
        return found  # type: ignore[no-any-return]

    def assemble(self, parts: list[Any], counts: Array | None) -> Any:
        slots, keys = self.trace.slots, self.trace.keys
        if not slots and not keys:
            return None
        columns = list(zip(*parts))
        payload: dict[Any, Any] = {}
        sizes = None if counts is None else counts.tolist()
        for number, (slot, column) in enumerate(zip(slots, columns)):
            payload[number] = _column(slot, column, sizes)
        if keys:
            base = np.array(columns[-1], np.uint64)
            nodes: Array = base
            rows: Array = base
            if sizes is not None:
                nodes = np.repeat(base, sizes)
                within = np.concatenate([np.arange(n, dtype=np.uint64) for n in sizes])
                rows = nodes + within * np.uint64(ROW_STEP)
            steps = [np.uint64(n * KEY_STEP & _MASK) for n in range(keys)]
            payload["nodes"] = [nodes + step for step in steps]
            alike = rows is nodes
            payload["rows"] = payload["nodes"] if alike else [rows + step for step in steps]
        return payload

    def workspace(
        self,
        rows: int,
        largest: int,
        shared: Sequence[Array | None],
        outputs: list[Array],
        versions: Any = None,
    ) -> Work:
        code = self.code()
        values, kept = self.shared_values(shared)
        names = code.names
        keep = self.allocated(rows, names.keep)
        prepared = self._prepared(code, values, rows < FEW, versions)
        size = row_bytes(names.keep, names.scratch, outputs)
        limit = block_bytes(prepared)
        height = scratch_height(largest, size, limit)
        scratch = [allocate(height, *form[:3]) for form in names.scratch]
        joined: dict[int, Array] = {}
        if rows != largest:
            for v in self.lowered.kept:
                if v.owner().argument >= 0 and v.owner().argument in self.joins():
                    joined[v.owner().argument] = uninitialised(rows, v.owner().width, v.dtype)
        return Work(
            rows, largest, values, prepared, outputs, keep, scratch, joined, kept, size, limit
        )

    def _prepared(
        self, code: Compiled, values: dict[int, Array], few: bool, versions: Any
    ) -> list[Any]:
        """What is made of the weights; that of an evaluation that is alive serves further ones."""
        if few or versions is None:
            return self.prepared(code, values, few)
        before, reference = self.compiled.get("prepared", (None, None))
        found: _Prepared | None = reference() if before == versions else None
        if found is None:
            found = _Prepared(self.prepared(code, values))
            self.compiled["prepared"] = (versions, ref(found))
        return found

    def joins(self) -> frozenset[int]:
        """Arguments of which the gradient of a weight reads all rows."""
        found = self.compiled.get("joins")
        if found is None:
            backward, _ = self.lowered.backward(
                ((True,) * len(self.trace.inputs), self.lowered.parameters)
            )
            owners = [g.inputs.owner() for g in backward.shared if g.inputs is not None]
            found = frozenset([o.argument for o in owners if o.argument >= 0])
            self.compiled["joins"] = found
        return found  # type: ignore[no-any-return]

    def target(self, work: Work, position: int, start: int, stop: int) -> Array | None:
        joined = work.joined.get(position)
        return None if joined is None else joined[start:stop]

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
        code = self.code()
        count = len(self.trace.inputs)
        block = block_height(stop - start, work.row_size, work.block_size)
        if block == stop - start:
            whole = Block(start, stop, {})
            work.batches[start] = (payload, [whole])
            code.run(work, start, stop, args[:count], work.outputs, payload, whole.memo)
            return
        blocks: dict[int, Block] = {
            a: Block(a, min(stop, a + block), {}) for a in range(start, stop, block)
        }
        work.batches[start] = (payload, list(blocks.values()))
        states = Scratch(code.names, block, work.prepared, work.keep)

        def compute(a: int, b: int) -> None:
            xs = [x if x is None else x[a:b] for x in args[:count]]
            part = part_of(payload, a, b)
            memo = blocks[start + a].memo
            with states.taken() as state:
                code.run(state, start + a, start + b, xs, work.outputs, part, memo)

        run_blocks(compute, stop - start, block, product_workers())

    def backspace(self, work: Work, needs: Sequence[bool], seeds: list[Array]) -> Back:
        return Back(work, self.nodes_needed(needs), seeds)

    def foresee(
        self,
        back: Back,
        start: int,
        stop: int,
        needs: Sequence[bool],
        selected: Array | None,
        segments: Array | None,
    ) -> None:
        back.foreseen.setdefault(self.wanted(back, needs), []).append((start, selected, stop))

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
        wanted = self.wanted(back, needs)
        code = self.back_code(wanted)
        names = code.names
        ran = back.ran.get(wanted)
        if ran is None:
            ran = back.ran[wanted] = self.reversed(code, work)
            height = scratch_height(work.largest, work.row_size, work.block_size)
            ran.scratch = [allocate(height, *form[:3]) for form in names.scratch]
        ran.taken.append((start, selected, stop))
        _, blocks = work.batches[start]
        xs = args[:count]
        if len(blocks) == 1:
            found = self._reverse(back, ran, blocks[0], xs, selected, ran, back.totals)
            return [*found, *[None] * len(self.leaf_types)]
        if selected is None:
            chosen: list[Array | None] = [None] * len(blocks)
            sizes = [block.stop - block.start for block in blocks]
        else:
            edges = np.searchsorted(selected, [block.start - start for block in blocks[1:]])
            parts = np.split(selected, edges)
            chosen = [q - (block.start - start) for q, block in zip(parts, blocks)]
            sizes = [len(q) for q in parts]
        height = blocks[0].stop - blocks[0].start
        states = Scratch(names, height, ran.prepared, [])
        kinds = self.trace.tape.kinds
        total = sum(sizes)
        results: list[Array | None] = [
            uninitialised(total, kinds[i].type.width, kinds[i].type.work) if given else None
            for i, given in zip(self.trace.inputs, code.inputs)
        ]
        ends = np.cumsum(sizes).tolist()
        totals: list[dict[tuple[int, int], Any]] = [{} for _ in blocks]

        def compute(first: int, last: int) -> None:
            for q in range(first, last):
                block, picked = blocks[q], chosen[q]
                if picked is not None and not len(picked):
                    continue
                a, b = block.start - start, block.stop - start
                inner = [x if x is None else x[a:b] for x in xs]
                with states.taken() as state:
                    found = self._reverse(back, ran, block, inner, picked, state, totals[q])
                    for result, part in zip(results, found):
                        if result is not None:
                            result[ends[q] - sizes[q] : ends[q]] = part

        run_blocks(compute, len(blocks), 1, product_workers())
        for own in totals:  # in order, whichever thread was first
            for place, gradient in own.items():
                known = back.totals.get(place)
                back.totals[place] = gradient if known is None else known + gradient
        return [*results, *[None] * len(self.leaf_types)]

    def _reverse(
        self,
        back: Back,
        ran: Reversed,
        block: Block,
        xs: list[Any],
        selected: Array | None,
        state: Any,
        totals: dict[tuple[int, int], Any],
    ) -> Any:
        """Cotangents of the inputs of a block of rows, or of some of them."""
        work, code = back.work, ran.code
        start, stop = block.start, block.stop
        if selected is None:
            return code.run(
                state, start, stop, xs, work.outputs, work.keep, back.seeds, ran.residues,
                block.memo, totals,
            )  # fmt: skip
        n = len(selected)
        residues = self.allocated(n, code.names.keep)
        found = code.run(
            state, 0, n,
            [x if x is None else pick_rows(x, selected) for x in xs],
            [pick_rows(y[start:stop], selected) for y in work.outputs],
            [pick(rows_of(k, start, stop), selected) for k in work.keep],
            [pick_rows(d[start:stop], selected) for d in back.seeds],
            residues,
            {number: pick_call(call, selected) for number, call in block.memo.items()},
            totals,
        )  # fmt: skip
        for whole, part in zip(ran.residues, residues):
            own = rows_of(whole, start, stop)
            if own.ndim == 3:
                own[:, selected] = part
            else:
                put_rows(own, selected, part)
        return found

    def payload_rows(self, work: Work, slot: int) -> Array:
        ordered = [work.batches[start][0][slot] for start in sorted(work.batches)]
        return ordered[0] if len(ordered) == 1 else np.concatenate(ordered)

    def forward_rows(self, work: Work, owner: Value) -> Array:
        if owner.argument >= 0:
            return work.joined[owner.argument]
        for k, value in enumerate(self.lowered.outputs):
            if value is owner:
                return work.outputs[k]
        for k, value in enumerate(self.code().names.keep):
            if value is owner:
                return work.keep[k]
        raise AssertionError(owner)


def _column(slot: Slot, column: Sequence[Any], sizes: list[int] | None) -> Array:
    if sizes is None:
        return np.array(column, np.int64)
    if slot.listed:
        return np.concatenate(column)
    return np.repeat(np.array(column, np.int64), sizes)
