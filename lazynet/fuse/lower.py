"""From a trace to instructions: the forward half.

Elementwise operations become the steps of their formulas; products with shared matrices, splits and
sums are brought into planes where the parts that a function cuts a vector into have one width;
every other operation is called as it is ("opaque").
"""

from __future__ import annotations

from math import gcd, prod
from typing import Any

import numpy as np

from lazynet.deferred import TRACED_ROWS, Slot
from lazynet.errors import FuseError
from lazynet.fuse.program import (
    COLUMNS,
    FOLD,
    PLANES,
    Code,
    Instruction,
    Opaque,
    Operand,
    Product,
    Shared,
    Value,
    Weight,
)
from lazynet.fuse.trace import Trace
from lazynet.kinds import FLOAT32, FLOAT64, FLOATS, Op
from lazynet.leaves import INPUT, Unshare
from lazynet.ops.elementwise import Broadcasting, Elementwise
from lazynet.ops.formula import COMPARISONS, parse
from lazynet.ops.index import Window
from lazynet.ops.linalg import Affine, Matmul
from lazynet.ops.reduce import MeanList, SumList
from lazynet.ops.shape import Concatenate, Reshape, Split

_NARROW = 4
"""Planes narrower than this many columns are not worth a call of their own."""
_MANY = 16
"""More planes than this are treated as columns."""


class Forward:
    """The lowered forward half of a trace.

    Attributes:
        trace: What was traced.
        code: The instructions.
        env: For every node of the trace its value, or its shared value.
        shared: Nodes that all rows share, in order.
        opaques: Operations that run as they are, by node.
        products: (instruction, terms) by node.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        tape = trace.tape
        self.kinds = tape.kinds
        self.args = [tape.arguments(i) for i in range(len(tape))]
        self.payloads = tape.payloads
        self.batched = [r != -1 for r in tape.rows]
        self.frozen = tape.unrecorded
        dtypes = {k.type.work for k in self.kinds if k.type.dtype in FLOATS}
        self.code = Code(FLOAT64 if FLOAT64 in dtypes else FLOAT32)
        self.env: dict[int, Value | Shared] = {}
        self.shared: list[int] = []
        self.opaques: dict[int, Opaque] = {}
        self.products: dict[int, Instruction] = {}
        self.positions = {index: k for k, index in enumerate(trace.inputs)}
        self._plane_width = _plane_widths(self)
        for i, rows in enumerate(tape.rows):
            if rows not in (-1, TRACED_ROWS):
                raise FuseError(
                    f"{trace.name}: {self.kinds[i].op.name} (line {tape.lines.get(i)}) makes a "
                    f"batch of {rows} rows inside a fused function; pass a batch as an argument"
                )
        for i, kind in enumerate(self.kinds):
            if kind.position == 0:
                with self.code.of(kind.type.work):
                    self._node(i)

    def size(self, i: int) -> int:
        """Elements of one row of node i."""
        return self.kinds[i].type.width

    def planes(self, i: int) -> tuple[int, int]:
        """Planes and width of node i."""
        width = self._plane_width.get(i, 0)
        return (self.size(i) // width, width) if width else (1, self.size(i))

    def is_shared(self, i: int) -> bool:
        """Whether all rows share node i."""
        return isinstance(self.env[i], Shared)

    def operand(self, i: int, planes: int, width: int) -> Operand:
        """Node i as it meets rows of this form (or a scalar)."""
        x = self.env[i]
        if isinstance(x, Shared):
            return Shared(
                i if x.index < 0 else x.index, x.shape, *self._form(x.shape, planes, width)
            )
        return self.formed(x, planes, width)

    def _form(self, shape: tuple[int, ...], planes: int, width: int) -> tuple[int, int]:
        return (1, 1) if prod(shape) == 1 else (planes, width)

    def formed(self, x: Value, planes: int, width: int) -> Value:
        """A value in this form; scalars stay as they are."""
        if x.size == 1 or (x.planes, x.width) == (planes, width):
            return x
        if x.planes == 1:
            return self.code.view(x, FOLD, 0, planes, width)
        return self.flat(x)

    def flat(self, x: Value) -> Value:
        """A value as one matrix."""
        if x.planes == 1:
            return x
        key = ("flat", x.number)
        found = self.code._known.get(key)
        if found is None:
            found = self.code._known[key] = self.code.value(1, x.size, x.dtype)
            self.code.add("flat", found, [x])
        return found

    # Nodes

    def _node(self, i: int) -> None:
        kind, op, args = self.kinds[i], self.kinds[i].op, self.args[i]
        shape = kind.type.shape
        if kind.shared or (op is INPUT and i not in self.positions):
            self.shared.append(i)
            self.env[i] = Shared(i, shape, 1, max(1, prod(shape)))
        elif i in self.positions:
            if kind.type.shared:
                self.shared.append(i)
                self.env[i] = Shared(i, shape, 1, max(1, prod(shape)))
                return
            value = self.code.value(1, self.size(i), kind.type.work)
            value.argument = self.positions[i]
            self.env[i] = value
        elif isinstance(op, Unshare):
            self.env[i] = self.env[args[0]]
        elif kind.type.dtype not in FLOATS or not self.size(i):
            self._opaque(i)
        elif self._lowered_elementwise(i):
            self._elementwise(i)
        elif isinstance(op, Split) and self._vector(args[0]) and 0 not in op.sizes:
            self._split(i)
        elif isinstance(op, Reshape) and not self.is_shared(args[0]):
            x = self.env[args[0]]
            assert isinstance(x, Value)
            self.env[i] = self.formed(x, *self.planes(i))
        elif type(op) in (SumList, MeanList) and all(not self.is_shared(a) for a in args):
            self._sum_list(i)
        elif isinstance(op, (Matmul, Affine)) and self._is_product(i):
            self._product(i)
        elif isinstance(op, Window) and self._is_fixed_window(i):
            self._window(i)
        elif isinstance(op, Concatenate) and self._vector(i) and not any(map(self.is_shared, args)):
            self._concatenate(i)
        else:
            self._opaque(i)

    def _vector(self, i: int) -> bool:
        return len(self.kinds[i].type.shape) == 1 and not self.env_shared(i)

    def env_shared(self, i: int) -> bool:
        """Whether node i is shared, also before its value is known."""
        return isinstance(self.env.get(i), Shared)

    def _lowered_elementwise(self, i: int) -> bool:
        return lowers_elementwise(self, i)

    def _elementwise(self, i: int) -> None:
        op = self.kinds[i].op
        assert isinstance(op, Elementwise)
        planes, width = self.planes(i)
        names = {
            name: self.operand(a, planes, width) for name, a in zip(op.arguments, self.args[i])
        }
        result = self.formula(op.fast_formula or op.formula, op, names, self.payloads[i])
        self.env[i] = self.materialised(result, planes, width)

    def materialised(self, x: Operand, planes: int, width: int) -> Value:
        """An operand as a value of this form."""
        if isinstance(x, Value) and (x.planes, x.width) == (planes, width):
            return x
        return self.code.add("copy", self.code.value(planes, width), [x])

    def formula(self, text: str, op: Op, names: dict[str, Operand], payload: Any) -> Operand:
        """Compute a formula; names are those of the arguments, "y" and "dy"."""
        made: list[Operand] = []
        for step in parse(text).steps:
            if step.operation == "number":
                made.append(float(step.value))  # type: ignore[arg-type]
            elif step.operation == "name":
                name = str(step.value)
                if name in names:
                    made.append(names[name])
                elif name == "c":
                    made.append(float(payload))
                else:
                    made.append(float(getattr(op, name)))
            else:
                dtype = np.dtype(bool) if step.operation in COMPARISONS else None
                operands = [made[k] for k in step.operands]
                made.append(self.code.elementwise(step.operation, operands, dtype))
        return made[-1]

    def _split(self, i: int) -> None:
        op = self.kinds[i].op
        assert isinstance(op, Split)
        x = self.operand(self.args[i][0], *self.planes(self.args[i][0]))
        assert isinstance(x, Value)
        begin = 0
        for k, size in enumerate(op.sizes):
            self.env[i + k] = self.part(x, begin, size)
            begin += size

    def part(self, x: Value, begin: int, size: int) -> Value:
        """Columns of a vector, in whatever form that is."""
        if x.planes > 1:
            assert begin % x.width == size % x.width == 0
            return self.code.view(x, PLANES, begin // x.width, size // x.width, x.width)
        return self.code.view(x, COLUMNS, begin, 1, size)

    def _is_fixed_window(self, i: int) -> bool:
        op = self.kinds[i].op
        assert isinstance(op, Window)
        return fixed_window(self, i) is not None

    def _window(self, i: int) -> None:
        found = fixed_window(self, i)
        assert found is not None
        x = self.env[self.args[i][0]]
        assert isinstance(x, Value)
        begin, size = found
        if x.planes > 1 and (begin % x.width or size % x.width):
            x = self.flat(x)
        self.env[i] = self.formed(self.part(x, begin, size), *self.planes(i))

    def _concatenate(self, i: int) -> None:
        planes, width = self.planes(i)
        out = self.code.value(planes, width)
        begin = 0
        for a in self.args[i]:
            size = self.size(a)
            if size:
                target = self.part(out, begin, size)
                x = self.operand(a, target.planes, target.width)
                self.code.add("copy", target, [x])
            begin += size
        self.env[i] = out

    def _sum_list(self, i: int) -> None:
        planes, width = self.planes(i)
        operands = [self.operand(a, planes, width) for a in self.args[i]]
        total = operands[0]
        for x in operands[1:]:
            total = self.code.elementwise("add", [total, x])
        if isinstance(self.kinds[i].op, MeanList):
            total = self.code.elementwise("multiply", [total, 1.0 / len(operands)])
        self.env[i] = self.materialised(total, planes, width)

    # Products

    def _is_product(self, i: int) -> bool:
        return bool(product_terms(self, i))

    def _product(self, i: int) -> None:
        terms, bias = product_terms(self, i)  # type: ignore[misc]
        planes, width = self.planes(i)
        weights, inputs = [], []
        for matrix, transposed, a in terms:
            x = self.env[a]
            assert isinstance(x, Value)
            weights.append(Weight([(matrix, transposed, planes)], x.size, planes, width))
            inputs.append(self.flat(x))
        biases = [(-1, planes)]
        addend = None
        if bias is not None:
            if self.is_shared(bias):
                biases = [(self.shared_index(bias), planes)]
            else:
                addend = self.operand(bias, planes, width)
        out = self.code.value(planes, width)
        product = Product(weights, biases, planes)
        product.addend = addend  # type: ignore[assignment]
        self.code.add("product", out, list(inputs), product)
        self.products[i] = self.code.instructions[-1]
        self.env[i] = out

    def shared_index(self, i: int) -> int:
        """The node whose value this shared node stands for."""
        x = self.env[i]
        assert isinstance(x, Shared)
        return x.index

    # Everything else

    def _opaque(self, i: int) -> None:
        kind = self.kinds[i]
        args: list[Value | Shared] = []
        for a in self.args[i]:
            x = self.env[a]
            args.append(x if isinstance(x, Shared) else self.flat(x))
        opaque = Opaque(kind.op, args, len(self.opaques))
        opaque.shapes = [self.kinds[a].type.shape for a in self.args[i]]
        opaque.result_shapes = [t.shape for t in kind.outputs]
        opaque.payload = self.payloads[i]
        if isinstance(opaque.payload, Slot):
            opaque.slot = self.trace.slots.index(opaque.payload)
        if kind.op.payload == "key":
            opaque.payload = self.trace.key_number(self.payloads[i])
        opaque.batched = self.batched[i]
        outs = []
        for k, t in enumerate(kind.outputs):
            value = self.code.value(1, t.width, t.work)
            value.opaque = True
            self.env[i + k] = value
            outs.append(value)
        self.opaques[i] = opaque
        values = [a for a in args if isinstance(a, Value)]
        self.code.instructions.append(Instruction("opaque", outs, list(values), opaque))


def lowers_elementwise(lowering: Any, i: int) -> bool:
    """Whether an op is elementwise on operands of one size, or scalars."""
    kind = lowering.kinds[i]
    op = kind.op
    if not isinstance(op, Elementwise) or kind.type.dtype not in FLOATS:
        return False
    if isinstance(lowering.payloads[i], (Slot, np.ndarray)):
        return False
    shape = kind.type.shape
    for a in lowering.args[i]:
        t = lowering.kinds[a].type
        if t.dtype is not kind.type.dtype or (t.shape != shape and t.width != 1):
            return False
    rules = (type(op).forward, type(op).backward)
    return rules in ((Elementwise.forward, Elementwise.backward), _BROADCASTING)


_BROADCASTING = (Broadcasting.forward, Broadcasting.backward)


def fixed_window(lowering: Any, i: int) -> tuple[int, int] | None:
    """Begin and length of a window of a vector that is the same in every call; None for others."""
    op = lowering.kinds[i].op
    a = lowering.args[i][0]
    if lowering.env_shared(a) or lowering.kinds[a].type.shared or len(op.source) != 1:
        return None
    ((count, step),) = op.spans
    if step != 1 or not isinstance(lowering.payloads[i], int) or not count:
        return None
    return lowering.payloads[i], max(count, 1)


def product_terms(lowering: Any, i: int) -> tuple[list[tuple[int, bool, int]], int | None] | None:
    """(matrix, whether transposed, vector) of each term of a product, and the bias.

    None if it is no product of shared matrices with vectors.
    """
    kind, args = lowering.kinds[i], lowering.args[i]
    kinds = lowering.kinds
    if isinstance(kind.op, Matmul):
        pairs = [(args[0], args[1])]
        bias = None
        if len(kinds[args[0]].type.shape) == 1:
            pairs = [(args[1], args[0])]
    else:
        pairs = list(zip(args[1::2], args[2::2]))
        bias = args[0]
    terms = []
    for matrix, vector in pairs:
        if not kinds[matrix].type.shared or len(kinds[matrix].type.shape) != 2:
            return None
        if lowering.env_shared(vector) or len(kinds[vector].type.shape) != 1:
            return None
        if kinds[vector].type.shared or not kinds[vector].type.width:
            return None
        transposed = isinstance(kind.op, Matmul) and matrix == args[1]
        terms.append((matrix, transposed, vector))
    return terms, bias


def _plane_widths(lowering: Forward) -> dict[int, int]:
    """Width of the planes of vectors that are cut, and of what is computed from them elementwise.

    It is the greatest that all the cuts respect.
    """
    parent = list(range(len(lowering.kinds)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    cuts: dict[int, int] = {}
    divided: set[int] = set()
    kinds = lowering.kinds

    def join(i: int, j: int) -> None:
        parent[find(j)] = find(i)

    rows = [
        len(k.type.shape) == 1 and k.type.width > 1 and not k.type.shared and k.type.dtype in FLOATS
        for k in kinds
    ]
    offsets: list[tuple[int, int]] = []
    for i, kind in enumerate(kinds):
        if not rows[i] or kind.position:
            continue
        op, args = kind.op, lowering.args[i]
        if isinstance(op, Split):
            divided.add(args[0])
            for k, size in enumerate(op.sizes):
                if rows[i + k]:
                    join(args[0], i + k)
                offsets.append((args[0], size))
        elif isinstance(op, Window) and fixed_window(lowering, i) is not None:
            begin, size = fixed_window(lowering, i)  # type: ignore[misc]
            divided.add(args[0])
            join(args[0], i)
            offsets += [(args[0], begin), (args[0], size)]
        elif isinstance(op, Concatenate):
            begin = 0
            for a in args:
                offsets += [(i, begin), (i, kinds[a].type.width)]
                begin += kinds[a].type.width
        elif lowers_elementwise(lowering, i) or type(op) in (SumList, MeanList):
            for a in args:
                if rows[a] and kinds[a].type.width == kind.type.width:
                    join(i, a)
        elif isinstance(op, Affine) and rows[args[0]]:
            join(i, args[0])
    for i in range(len(kinds)):
        if rows[i]:
            root = find(i)
            cuts[root] = gcd(cuts.get(root, 0), kinds[i].type.width)
    for i, n in offsets:
        root = find(i)
        cuts[root] = gcd(cuts.get(root, 0), n)
    roots = {find(i) for i in divided}
    result = {}
    largest: dict[int, int] = {}
    for i in range(len(kinds)):
        if rows[i]:
            root = find(i)
            largest[root] = max(largest.get(root, 0), kinds[i].type.width)
    for i in range(len(kinds)):
        if rows[i] and find(i) in roots:
            root = find(i)
            width = cuts[root]
            if width >= _NARROW and largest[root] // width <= _MANY:
                result[i] = width
    return result
