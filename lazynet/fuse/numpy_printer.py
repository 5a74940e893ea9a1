"""Printing a program as NumPy code: straight lines on arrays that exist already, all `out=`.

Rows `a:b` of the workspace's arrays belong to the batch at hand. What backward reads again is kept
in arrays over all rows of the kind; everything else lives in scratch arrays that are used again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lazynet.fuse.program import (
    COLUMNS,
    PLANES,
    Instruction,
    Opaque,
    Product,
    Shared,
    Value,
    Weight,
)
from lazynet.ops.formula import SPECIAL_FUNCTIONS

Form = tuple[int, int, Any, str]
"""Planes, width and dtype of a scratch array, and the phase that uses it."""


class Names:
    """What the arrays are called that code is given, beside those it makes.

    Attributes:
        given: Name of each value that exists already (arguments, results, what was kept).
        keep: Forms of arrays to be kept over all rows, in order, and which value each is for.
        scratch: Forms of scratch arrays.
        prepared: What is to be made of shared values, once for an evaluation; by key, in order.
    """

    def __init__(self) -> None:
        self.given: dict[int, str] = {}
        self.keep: list[Value] = []
        self.scratch: list[Form] = []
        self.prepared: dict[Any, int] = {}
        self.prepared_specs: list[tuple[Any, ...]] = []

    def prepare(self, key: Any, spec: tuple[Any, ...]) -> str:
        """The name of something made of shared values."""
        at = self.prepared.get(key)
        if at is None:
            at = self.prepared[key] = len(self.prepared_specs)
            self.prepared_specs.append(spec)
        return f"w{at}"


class Printer:
    """Prints one straight piece of code."""

    def __init__(self, names: Names, indent: str = "    ", phase: str = "") -> None:
        self.names = names
        self.indent = indent
        self.rows = "n"
        self.phase = phase
        self.part = "[a:b]" if phase else ""  # of a payload over all rows
        self.looped: set[int] = set()  # operations that forward runs in its loop
        self.lines: list[str] = []
        self.local: dict[int, str] = {}
        self.taken: dict[int, int] = {}  # scratch by owner
        self.free: dict[Form, list[int]] = {}
        self.span = "a:b"

    def print(
        self,
        instructions: Sequence[Instruction],
        keep: Iterable[Value],
        prefix: str,
        results: Iterable[Value | None] = (),
    ) -> None:
        """Print instructions.

        Args:
            instructions: In order.
            keep: Values of which all rows are to be kept, beyond those already named.
            prefix: First letter of the names of kept arrays.
            results: Values that are read after the last instruction.
        """
        for value in keep:
            owner = value.owner()
            if owner.number not in self.names.given:
                at = len(self.names.keep)
                self.names.keep.append(owner)
                axis = ":, " if owner.planes > 1 else ""
                self.names.given[owner.number] = f"{prefix}{at}[{axis}{self.span}]"
        last: dict[int, int] = {}
        for at, k in enumerate(instructions):
            for v in [*k.reads(), *k.outs]:
                last[v.owner().number] = at
        for result in results:
            if result is not None:
                last[result.owner().number] = len(instructions)
        for at, k in enumerate(instructions):
            self._instruction(k)
            for v in [*k.reads(), *k.outs]:
                number = v.owner().number
                if last[number] == at and number in self.taken:
                    slot = self.taken.pop(number)
                    self.free.setdefault(self.names.scratch[slot], []).append(slot)

    # Names of values

    def line(self, text: str) -> None:
        """Append a line."""
        self.lines.append(self.indent + text)

    def name(self, value: Value) -> str:
        """What a value is called; defined by a line of its own when first needed."""
        known = self.local.get(value.number)
        if known is not None:
            return known
        if value.base is not None:
            text = self._view(value)
        else:
            text = self.names.given.get(value.number) or self._scratch(value)
        if text.isidentifier():
            name = text
        else:
            name = f"v{len(self.local)}"
            self.line(f"{name} = {text}")
        self.local[value.number] = name
        return name

    def _view(self, value: Value) -> str:
        base = value.base
        assert base is not None
        text = self.name(base)
        if value.how == PLANES:
            if value.planes == base.planes:
                return text
            if value.planes == 1:
                return f"{text}[{value.first}]"
            return f"{text}[{value.first}:{value.first + value.planes}]"
        if value.how == COLUMNS:
            return f"{text}[:, {value.first}:{value.first + value.width}]"
        rows = self.rows
        return f"{text}.reshape({rows}, {value.planes}, {value.width}).transpose(1, 0, 2)"

    def _scratch(self, value: Value) -> str:
        form = (value.planes, value.width, value.dtype, self.phase)
        slot = self._take(form)
        self.taken[value.number] = slot
        return self._rows_of(slot)

    def _take(self, form: Form) -> int:
        free = self.free.get(form)
        if free:
            return free.pop()
        self.names.scratch.append(form)
        return len(self.names.scratch) - 1

    def _rows_of(self, slot: int) -> str:
        axis = ":, " if self.names.scratch[slot][0] > 1 else ""
        return f"s{slot}[{axis}:{self.rows}]"

    def temporary(self, planes: int, width: int, dtype: Any) -> str:
        """A scratch array for within one instruction."""
        form = (planes, width, dtype, self.phase)
        slot = self._take(form)
        self.free.setdefault(form, []).append(slot)
        name = f"t{slot}"
        self.line(f"{name} = {self._rows_of(slot)}")
        return name

    def operand(self, x: Any) -> str:
        """An operand of an elementwise step."""
        if isinstance(x, Value):
            return self.name(x)
        if isinstance(x, Shared):
            key = ("shared", x.index, x.planes, x.width)
            return self.names.prepare(key, ("shared", x.index, x.planes, x.width))
        if x != x or x in (float("inf"), float("-inf")):
            return f"float('{x}')"
        return repr(x)

    # Instructions

    def _instruction(self, k: Instruction) -> None:
        getattr(self, f"_{k.op}")(k)

    def _ufunc(self, k: Instruction) -> None:
        module = "special" if k.info in SPECIAL_FUNCTIONS.values() else "np"
        operands = ", ".join([self.operand(x) for x in k.ins])
        # NumPy wants the keyword for these two
        out = "out=" if k.info in ("maximum", "minimum") else ""
        self.line(f"{module}.{k.info}({operands}, {out}{self.name(k.outs[0])})")

    def _select(self, k: Instruction) -> None:
        operands = ", ".join([self.operand(x) for x in k.ins])
        self.line(f"select({operands}, {self.name(k.outs[0])})")

    def _copy(self, k: Instruction) -> None:
        source = self.operand(k.ins[0])
        self.line(f"copyto({self.name(k.outs[0])}, {source})")

    def _zero(self, k: Instruction) -> None:
        self.line(f"{self.name(k.outs[0])}.fill(0)")

    def _sum(self, k: Instruction) -> None:
        x = k.ins[0]
        axes = "(0, 2)" if x.planes > 1 else "1"
        self.line(f"np.add.reduce({self.name(x)}, {axes}, None, {self.name(k.outs[0])}[:, 0])")

    def _flat(self, k: Instruction) -> None:
        x = k.ins[0]
        out = self.name(k.outs[0])
        source = self.name(x)
        self.line(
            f"copyto({out}.reshape({self.rows}, {x.planes}, {x.width}), "
            f"{source}.transpose(1, 0, 2))"
        )

    def _product(self, k: Instruction) -> None:
        product = k.info
        assert isinstance(product, Product)
        z = k.outs[0]
        out = self.name(z)
        scale = tuple(product.scale)
        # a product that is added to what lies in its place already
        first = product.addend is None or product.addend.owner() is not z.owner()
        inside = not first
        for x, weight in zip(k.ins, product.weights):
            of_weight = ("weight", weight.key(), scale)
            w = self.names.prepare(of_weight, ("weight", weight, scale))
            if first:
                self.line(f"matmul({self.name(x)}, {w}, {out})")
                first = False
            else:
                t = self.temporary(z.planes, z.width, z.dtype)
                self.line(f"matmul({self.name(x)}, {w}, {t})")
                self.line(f"np.add({out}, {t}, {out})")
        if any(bias >= 0 for bias, _ in product.biases):
            of_bias = ("bias", tuple(product.biases), scale, z.width)
            b = self.names.prepare(of_bias, ("bias", product.biases, scale, z.width))
            self.line(f"np.add({out}, {b}, {out})")
        if product.addend is not None and not inside:
            self.line(f"np.add({out}, {self.name(product.addend)}, {out})")

    def _unproduct(self, k: Instruction) -> None:
        weight = k.info
        assert isinstance(weight, Weight)
        dz, out = k.ins[0], k.outs[0]
        w = self.names.prepare(("back", weight.key()), ("back", weight))
        if weight.planes == 1:
            self.line(f"matmul({self.name(dz)}, {w}, {self.name(out)})")
            return
        dy = self.name(dz)
        target = self.name(out)
        t = self.temporary(weight.planes, weight.inputs, out.dtype)
        self.line(f"matmul({dy}, {w}, {t})")
        self.line(f"np.add.reduce({t}, 0, None, {target})")

    def _shaped(self, x: Value, shape: tuple[int, ...]) -> str:
        text = self.name(x)
        if shape == (x.width,):
            return text
        sizes = "".join(f", {n}" for n in shape)
        return f"{text}.reshape({self.rows}{sizes})" if sizes else f"{text}[:, 0]"

    def _opaque(self, k: Instruction) -> None:
        info = k.info
        assert isinstance(info, Opaque)
        args = self._arguments(info)
        outs = [self._shaped(v, shape) for v, shape in zip(k.outs, info.result_shapes)]
        payload = self._payload(info)
        many = len(outs) > 1
        out = f"({', '.join(outs)})" if many else outs[0]
        self.line(
            f"m[{info.number}] = run(o{info.number}, {self.rows}, {payload}, ({args}), "
            f"{info.shares()}, {out}, {many})"
        )

    def _arguments(self, info: Opaque) -> str:
        parts = []
        for x, shape in zip(info.args, info.shapes):
            if isinstance(x, Shared):
                at = self.names.prepare(("plain", x.index), ("plain", x.index))
                sizes = "".join(f", {n}" for n in shape)
                shares = info.op.shares
                parts.append(at if shares else f"broadcast_to({at}, ({self.rows},{sizes[1:]}))")
            else:
                parts.append(self._shaped(x, shape))
        return "".join(f"{p}, " for p in parts)

    def _payload(self, info: Opaque) -> str:
        payload = info.payload
        if info.op.payload is None or payload is None:
            return "None"
        if info.slot >= 0:
            return f"c[{info.slot}]{self.part}"
        if info.op.payload == "key":
            return f"c['{'rows' if info.batched else 'nodes'}'][{payload}]{self.part}"
        if isinstance(payload, np.ndarray):
            return (
                f"broadcast_to(np.array({payload.tolist()!r}), ({self.rows}, {payload.shape[-1]}))"
            )
        dtype = "np.int64" if info.op.payload == "int" else "dtype"
        return f"np.full({self.rows}, {payload!r}, {dtype})"

    def _call(self, number: int) -> str:
        """What the forward run of an operation left, also if that was in another phase."""
        if not self.phase or (number in self.looped) == (self.phase == "loop"):
            return f"m[{number}]"
        if self.phase == "loop":
            return f"part_of_call(memo[-1][{number}], a, b)"
        return f"whole_call(memo, {number})"

    def _unopaque(self, k: Instruction) -> None:
        info, needs, rows = k.info
        dys = k.ins[: len(info.result_shapes)]
        given = [self._shaped(v, shape) for v, shape in zip(dys, info.result_shapes)]
        dy = f"({', '.join(given)})" if len(given) > 1 else given[0]
        op = info.op
        y = "None"
        if op.reads_y:
            values = [self._shaped(v, s) for v, s in zip(k.ins[-len(dys) :], info.result_shapes)]
            y = f"({', '.join(values)})" if len(values) > 1 else values[0]
        args = self._arguments(info) if op.reads_args else "None, " * len(info.args)
        targets = {p: self._shaped(v, info.shapes[p]) for p, v in zip(rows, k.outs)}
        into = ", ".join(f"{p}: {text}" for p, text in targets.items())
        call = self._call(info.number)
        self.line(
            f"unrun(o{info.number}, {call}, {needs}, {dy}, {y}, ({args}), {{{into}}}, "
            f"g, {info.number})"
        )
