"""The backward half: cotangents of the inputs, by the rules of the ops themselves.

Gradients of shared values are not computed here: `SharedGradient` says from which values they come,
once those of all rows of a graph are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazynet.fuse.lower import Forward
from lazynet.fuse.program import (
    Code,
    Instruction,
    Opaque,
    Operand,
    Product,
    Shared,
    Value,
    Weight,
)
from lazynet.kinds import FLOATS
from lazynet.ops.elementwise import Elementwise
from lazynet.ops.index import Window
from lazynet.ops.reduce import MeanList, SumList
from lazynet.ops.shape import Concatenate, Reshape, Split


class SharedGradient:
    """Where the gradient of a shared value comes from.

    Attributes:
        how: "product" (weight, cotangent, input), "sum" (of a cotangent over rows), "call" (the
            op's backward over all rows, which needs the cotangent and the payload only) or "steps"
            (what the op's backward gave, added up batch by batch).
        index: Node of the trace.
    """

    __slots__ = ("cotangent", "how", "index", "inputs", "opaque", "position", "weight")

    def __init__(self, how: str, index: int) -> None:
        self.how = how
        self.index = index
        self.weight: Weight | None = None
        self.cotangent: Value | None = None
        self.inputs: Value | None = None
        self.opaque: Opaque | None = None
        self.position = 0

    def values(self) -> list[Value]:
        """Values of which all rows are needed."""
        return [v for v in (self.cotangent, self.inputs) if v is not None]


class Backward:
    """The lowered backward half.

    Attributes:
        code: The instructions.
        seeds: The cotangents it starts from, one for each output of the function.
        inputs: For each input of the trace its cotangent, or None.
        shared: Where gradients of shared values come from.
        phases: Of a scan, the instructions before, in and after its loop.
    """

    def __init__(
        self,
        forward: Forward,
        needs: Sequence[bool],
        shared_needs: set[int],
        groups: dict[int, tuple[Instruction, list[tuple[int, int]]]],
    ) -> None:
        self.forward = forward
        self.groups = groups
        code = self.code = Code(forward.code.dtype)
        code._known = dict(forward.code._known)
        self._outer = forward.code
        self.env = forward.env
        self.shared: list[SharedGradient] = []
        self.phases: list[list[Instruction]] = []
        self.cotangents: dict[int, Value] = {}
        self.parts: dict[int, list[tuple[int, int, Value]]] = {}
        self.wanted = self._wanted(needs, shared_needs)
        trace = forward.trace
        self.seeds = []
        forward.code = code  # helpers of the forward half now append here
        try:
            for k, i in enumerate(trace.outputs):
                seed = code.value(1, forward.size(i), forward.kinds[i].type.work)
                seed.argument = k
                self.seeds.append(seed)
                if forward.kinds[i].type.dtype in FLOATS:
                    self.give(i, seed)
            for i in range(len(forward.kinds) - 1, -1, -1):
                if forward.kinds[i].position == 0:
                    with code.of(forward.kinds[i].type.work):
                        self._node(i)
            self.inputs: list[Value | None] = []
            for k, i in enumerate(trace.inputs):
                found = self._resolve(i) if needs[k] and not forward.is_shared(i) else None
                self.inputs.append(None if found is None else forward.flat(found))
        finally:
            forward.code = self._outer

    def _wanted(self, needs: Sequence[bool], shared_needs: set[int]) -> list[bool]:
        forward = self.forward
        wanted = [False] * len(forward.kinds)
        for i, kind in enumerate(forward.kinds):
            if i in forward.positions:
                wanted[i] = needs[forward.positions[i]]
                if forward.is_shared(i):
                    wanted[i] = i in shared_needs
            elif not forward.args[i]:
                wanted[i] = i in shared_needs
            elif kind.op.differentiable and i not in forward.frozen:
                wanted[i] = any(wanted[a] for a in forward.args[i])
            wanted[i] = wanted[i] and kind.type.dtype in FLOATS
        return wanted

    # Cotangents

    def give(self, i: int, dy: Operand) -> None:
        """Add to the cotangent of node i."""
        if self.wanted[i]:
            with self.code.of(self.forward.kinds[i].type.work):  # maybe not that of the result
                self._give(i, dy)

    def _give(self, i: int, dy: Operand) -> None:
        forward = self.forward
        x = self.env[i]
        planes, width = (1, x.width) if isinstance(x, Shared) else forward.planes(i)
        if not isinstance(dy, Value):
            dy = self.code.add("copy", self.code.value(planes, width), [dy])
        if isinstance(x, Shared):
            found = SharedGradient("sum", x.index if forward.is_shared(i) else i)
            found.cotangent = dy
            self.shared.append(found)
            return
        if x.size == 1 and dy.size > 1:
            dy = self.code.add("sum", self.code.value(1, 1), [dy])
        if x.size > 1:
            dy = forward.formed(forward.flat(dy) if dy.width != width else dy, planes, width)
        if x.size > 1 and dy.size == 1:
            dy = self.code.add("copy", self.code.value(planes, width), [dy])
        known = self.cotangents.get(i)
        if known is not None:
            total = self.code.elementwise("add", [known, dy])
            assert isinstance(total, Value)
            dy = total
        self.cotangents[i] = dy

    def give_part(self, i: int, begin: int, dy: Value) -> None:
        """Add to a part of the cotangent of the vector i."""
        if self.wanted[i] and dy.size:
            self.parts.setdefault(i, []).append((begin, dy.size, dy))

    def _resolve(self, i: int) -> Value | None:
        """The cotangent of node i, complete."""
        parts = self.parts.pop(i, None)
        if parts:
            with self.code.of(self.forward.kinds[i].type.work):
                for layer in _layers(parts):
                    self.give(i, self._assembled(i, layer))
        return self.cotangents.get(i)

    def _assembled(self, i: int, parts: list[tuple[int, int, Value]]) -> Value:
        """One value of parts that do not overlap; what lies between them is zero."""
        forward = self.forward
        planes, width = forward.planes(i)
        total = forward.size(i)
        if len(parts) == 1 and parts[0][1] == total:
            return forward.formed(parts[0][2], planes, width)
        out = self.code.value(planes, width)
        end = 0
        for begin, size, dy in [*parts, (total, 0, None)]:
            if begin > end:
                self.code.add("zero", forward.part(out, end, begin - end), [])
            if dy is not None:
                self.place(forward.part(out, begin, size), dy)
            end = begin + size
        return out

    def place(self, target: Value, dy: Value) -> None:
        """Have a cotangent computed where it belongs, or copy it there."""
        form = (target.planes, target.width)
        if (dy.planes, dy.width) != form:
            dy = self.forward.formed(self.forward.flat(dy), *form)
        made_here = any(
            dy is out
            for k in self.code.instructions
            if k.op not in ("unopaque", "copy", "zero")
            for out in k.outs
        )
        if made_here and dy.base is None and target.base is not None:
            dy.become(target.base, target.how, target.first)
            return
        self.code.add("copy", target, [dy])

    def dy(self, i: int) -> Value | None:
        """The cotangent of node i (see `_resolve`)."""
        return self._resolve(i)

    # Nodes

    def _node(self, i: int) -> None:
        forward = self.forward
        kind, args = forward.kinds[i], forward.args[i]
        if i in forward.positions or isinstance(self.env[i], Shared) or not args:
            return
        if i in self.groups:
            self._group(i)
            return
        if not self.wanted[i]:
            return
        dys = [self._resolve(i + k) for k in range(len(kind.members))]
        if all(dy is None for dy in dys):
            return
        dy = dys[0]
        op = kind.op
        if i in forward.opaques:
            self._opaque(i, dys)
        elif i in forward.products:
            assert dy is not None
            self._product(i, dy)
        elif isinstance(op, Split):
            begin = 0
            for size, part in zip(op.sizes, dys):
                if part is not None:
                    self.give_part(args[0], begin, part)
                begin += size
        elif isinstance(op, Window):
            assert dy is not None
            self.give_part(args[0], forward.payloads[i], dy)
        elif isinstance(op, Concatenate):
            assert dy is not None
            begin = 0
            for a in args:
                if forward.size(a):
                    self.give(a, forward.part(dy, begin, forward.size(a)))
                begin += forward.size(a)
        elif isinstance(op, SumList):
            assert dy is not None
            if isinstance(op, MeanList):
                mean = self.code.elementwise("multiply", [dy, 1.0 / len(args)])
                assert isinstance(mean, Value)
                dy = mean
            for a in args:
                self.give(a, dy)
        elif isinstance(op, Elementwise):
            assert dy is not None
            self._elementwise(i, dy)
        else:
            assert isinstance(op, Reshape) and dy is not None, op
            self.give(args[0], dy)

    def _elementwise(self, i: int, dy: Value) -> None:
        forward = self.forward
        op, args = forward.kinds[i].op, forward.args[i]
        assert isinstance(op, Elementwise)
        planes, width = forward.planes(i)
        names: dict[str, Operand] = {
            name: forward.operand(a, planes, width) for name, a in zip(op.arguments, args)
        }
        names["y"] = forward.operand(i, planes, width)
        names["dy"] = dy
        for a, text in zip(args, op.gradient_formulas()):
            if text is not None and self.wanted[a]:
                self.give(a, forward.formula(text, op, names, forward.payloads[i]))

    def _product(self, i: int, dz: Value) -> None:
        instruction = self.forward.products[i]
        product = instruction.info
        assert isinstance(product, Product)
        self._terms(instruction, [i], dz)
        bias = product.biases[0][0]
        args = self.forward.args[i]
        if product.addend is not None:
            self.give(args[0], dz)
        elif bias >= 0:
            self._bias(bias, dz)

    def _bias(self, bias: int, dz: Value) -> None:
        if self.wanted[bias]:
            found = SharedGradient("sum", bias)
            found.cotangent = dz
            self.shared.append(found)

    def _terms(self, instruction: Instruction, nodes: list[int], dz: Value) -> None:
        """Cotangents of the inputs of a product, and where its weights' gradients come from."""
        product = instruction.info
        vectors = self._vectors(nodes[0])
        for weight, x, vector in zip(product.weights, instruction.ins, vectors):
            if any(self.wanted[matrix] for matrix, _, _ in weight.parts):
                found = SharedGradient("product", -1)
                found.weight, found.cotangent, found.inputs = weight, dz, x
                self.shared.append(found)
            if self.wanted[vector]:
                out = self.code.value(1, weight.inputs)
                self.give(vector, self.code.add("unproduct", out, [dz], weight))

    def _vectors(self, i: int) -> list[int]:
        from lazynet.fuse.lower import product_terms

        terms, _ = product_terms(self.forward, i)  # type: ignore[misc]
        return [vector for _, _, vector in terms]

    def _group(self, i: int) -> None:
        """Several products of the same inputs, run as one: when the first of them is reached."""
        instruction, members = self.groups[i]
        if i != min(node for node, _ in members):
            return
        dys = [(node, first, self._resolve(node)) for node, first in members]
        if all(dy is None for _, _, dy in dys):
            return
        out = instruction.outs[0]
        dz = self.code.value(out.planes, out.width)
        for node, first, dy in dys:
            planes = self.forward.planes(node)[0]
            target = self.code.view(dz, "planes", first, planes, out.width)
            if dy is None:
                self.code.add("zero", target, [])
            else:
                self.place(target, dy)
                bias = instruction.info.biases[members.index((node, first))][0]
                if bias >= 0:
                    self._bias(bias, target)
        self._terms(instruction, [node for node, _ in members], dz)

    def _opaque(self, i: int, dys: list[Value | None]) -> None:
        forward = self.forward
        opaque = forward.opaques[i]
        args = forward.args[i]
        op = opaque.op
        needs = [self.wanted[a] for a in args]
        if not any(needs):
            return
        given = []
        for k, dy in enumerate(dys):
            if dy is None:
                t = forward.kinds[i + k].type
                dy = self.code.add("zero", self.code.value(1, t.width, t.work), [])
            given.append(forward.flat(dy))
        rows = [k for k, a in enumerate(args) if needs[k] and not forward.is_shared(a)]
        kept = op.reads_args or op.reads_y or isinstance(op, Elementwise)
        waits = op.shares and not kept and not rows and len(given) == 1
        outs = []
        for k in rows:
            t = forward.kinds[args[k]].type
            outs.append(self.code.value(1, t.width, t.work))
        for k, a in enumerate(args):
            if needs[k] and forward.is_shared(a):
                found = SharedGradient("call" if waits else "steps", forward.shared_index(a))
                found.opaque, found.position = opaque, k
                if waits:
                    found.cotangent = given[0]
                self.shared.append(found)
        if not waits:
            info = (opaque, tuple(needs), rows)
            ins: list[Any] = list(given)
            if op.reads_args:
                ins += [x for x in opaque.args if isinstance(x, Value)]
            if op.reads_y:
                ins += [self.env[i + k] for k in range(len(dys))]
            self.code.instructions.append(Instruction("unopaque", outs, ins, info))
        for k, out in zip(rows, outs):
            self.give(args[k], out)


def _layers(parts: list[tuple[int, int, Value]]) -> list[list[tuple[int, int, Value]]]:
    """Parts sorted into layers of such as do not overlap."""
    layers: list[list[tuple[int, int, Value]]] = []
    for part in sorted(parts, key=lambda p: p[:2]):
        for layer in layers:
            if layer[-1][0] + layer[-1][1] <= part[0]:
                layer.append(part)
                break
        else:
            layers.append([part])
    return layers
