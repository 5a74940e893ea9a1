"""Fused functions and scans on a GPU: the same programs, run by code that is printed for it.

`Staged.on_device` hands out these in place of the operations that were recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazynet.fuse.blocks import Block
from lazynet.fuse.compile import Compiled, CompiledBack, Lowered, Needs
from lazynet.fuse.device_code import (
    DeviceLowered,
    DeviceLoweredScan,
    cuda_code,
    print_cell,
    print_cell_back,
    print_rows,
    print_rows_back,
)
from lazynet.fuse.fused import Back, Fused
from lazynet.fuse.gradients import add_gradient
from lazynet.fuse.grouping import span
from lazynet.fuse.packing import Packing
from lazynet.fuse.program import Value, Weight
from lazynet.fuse.reverse import SharedGradient
from lazynet.fuse.rows import FusedRows, Work
from lazynet.fuse.scan import FusedScan
from lazynet.kinds import Array


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
            found = cuda_code().empty((weight.planes * weight.width, weight.inputs), dtype)
            at = 0
            for index, transposed, planes in weight.parts:
                end = at + planes * weight.width
                found[at:end] = self[index].T if transposed else self[index]
                at = end
            self.matrices[key] = found
        return found


class OnDevice(Fused):
    """What fused functions and scans have in common on a GPU."""

    def __init__(self, op: Any) -> None:
        for name in ("trace", "leaf_types", "places"):
            object.__setattr__(self, name, getattr(op, name))
        object.__setattr__(self, "compiled", {})
        object.__setattr__(self, "lowered", self.lower())
        self.find_constants()

    def constant(self, array: Array) -> Array:
        found: Array = cuda_code().on_device(array)
        return found

    def constants(self) -> list[Array]:
        """Constants of the trace."""
        return list(self.constants_of.values())

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
        return cuda_code().empty((rows, planes * width), dtype)

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
        gemm = cuda_code().gemm
        if len(weight.parts) == 1:
            index, transposed, _ = weight.parts[0]
            known = totals.get(index)
            add = known is not None and index in own
            shape = (inputs, size) if transposed else (size, inputs)
            found = known if add else cuda_code().empty(shape, dz.dtype)
            left, right = (x, dz) if transposed else (dz, x)
            gemm(*shape, rows, left, 0, True, right, 0, False, found, 0, add)
            if not add:
                own.add(index)
                _add(totals, index, found)
            return
        whole = cuda_code().empty((size, inputs), dz.dtype)
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


class DeviceRows(OnDevice, FusedRows):
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
        self,
        rows: int,
        largest: int,
        shared: Sequence[Array | None],
        outputs: list[Array],
        versions: Any = None,
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
        wanted = self.wanted(back, needs)
        code = self.back_code(wanted)
        ran = back.ran.get(wanted)
        if ran is None:
            ran = back.ran[wanted] = self.reversed(code, work)
            ran.scratch = [self.allocate(work.largest, *form[:3]) for form in code.names.scratch]
        ran.taken.append((start, selected, stop))
        _, (block,) = work.batches[start]
        found = self._reverse(back, ran, block, args[:count], selected, ran, back.totals)
        return [*found, *[None] * len(self.leaf_types)]


class DeviceScan(OnDevice, FusedScan):
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
