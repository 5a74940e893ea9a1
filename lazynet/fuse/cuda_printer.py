"""Printing a program as CUDA C, and as the Python code that launches its kernels and products.

Every value is a matrix that lies row by row (see `grouping`); the rows of a batch begin at a row
`a` of arrays over all rows of the kind, at row 0 of scratch arrays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from lazynet.fuse.grouping import ELEMENTWISE, Group, Span, grouped, offsets, reads, span
from lazynet.fuse.numpy_printer import Form, Names
from lazynet.fuse.program import Instruction, Opaque, Product, Shared, Value, Weight

_TYPES = {"f": "float", "d": "double", "?": "bool"}

_UFUNCS = {
    "absolute": "fabs({0})", "add": "{0} + {1}", "arccos": "acos({0})", "arccosh": "acosh({0})",
    "arcsin": "asin({0})", "arcsinh": "asinh({0})", "arctan": "atan({0})",
    "arctanh": "atanh({0})", "ceil": "ceil({0})", "cos": "cos({0})", "cosh": "cosh({0})",
    "divide": "{0} / {1}", "equal": "{0} == {1}", "erf": "erf({0})", "erfc": "erfc({0})",
    "exp": "exp({0})", "expm1": "expm1({0})", "floor": "floor({0})", "gammaln": "lgamma({0})",
    "greater": "{0} > {1}", "greater_equal": "{0} >= {1}", "less": "{0} < {1}",
    "less_equal": "{0} <= {1}", "log": "log({0})", "log1p": "log1p({0})",
    "maximum": "({0} > {1} || {0} != {0} ? {0} : {1})",
    "minimum": "({0} < {1} || {0} != {0} ? {0} : {1})", "multiply": "{0} * {1}",
    "negative": "-{0}", "not_equal": "{0} != {1}", "power": "pow({0}, {1})",
    "psi": "digamma((double)({0}))", "rint": "rint({0})",
    "sign": "({0} > 0 ? 1 : {0} < 0 ? -1 : {0})", "sin": "sin({0})", "sinh": "sinh({0})",
    "sqrt": "sqrt({0})", "square": "{0} * {0}", "subtract": "{0} - {1}", "tan": "tan({0})",
    "tanh": "tanh({0})",
}  # fmt: skip
"""CUDA C for the functions of formulas; NaN goes through as in NumPy."""

# Recurrence up to 10, then the asymptotic series; below zero by reflection. Source: M. Abramowitz,
# I. Stegun, "Handbook of Mathematical Functions", 6.3.5, 6.3.7 and 6.3.18.
_DIGAMMA = """
__device__ double digamma(double x) {
    double result = 0;
    if (x <= 0) {
        if (x == floor(x)) return x == 0 ? (signbit(x) ? 1.0 : -1.0) / 0.0 : 0.0 / 0.0;
        const double turn = 3.14159265358979323846;
        result = -turn / tan(turn * (x - floor(x)));
        x = 1 - x;
    }
    for (; x < 10; x += 1) result -= 1 / x;
    const double s = 1 / (x * x);
    const double series = s * (1. / 12 - s * (1. / 120 - s * (1. / 252 - s * (1. / 240
        - s * (1. / 132 - s * (691. / 32760 - s / 12))))));
    return result + log(x) - 0.5 / x - series;
}
"""

# See `lazynet.randomness`: 32-bit number `at` of a row with this key
_HALF_BITS = """
__device__ unsigned long long mix(unsigned long long z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}
__device__ unsigned int half_bits(unsigned long long key, unsigned int at) {
    const unsigned long long word
        = mix(mix(key) + ((at >> 1) + 1ull) * 0x9E3779B97F4A7C15ull);
    return (unsigned int)(at & 1 ? word >> 32 : word);
}
"""

Place = tuple[str, str]
"""Where an array lies: an expression, and the name of the row at which the batch begins in it."""

_KERNEL = """{helpers}
extern "C" __global__ void {name}({parameters}) {{
    const long long elements = rows * {strip};
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < elements;
            i += (long long)gridDim.x * blockDim.x) {{
        const long long row = i / {strip};
        const int column = (int)(i % {strip});
{body}
    }}
}}
"""


class Kernel:
    """Prints one group as a kernel."""

    def __init__(self, printer: DevicePrinter, group: Group, inner: set[int]) -> None:
        self.printer = printer
        self.strip = group.strip
        self.inner = inner  # owners that no other instruction touches
        self.lines: list[str] = []
        self.count = 0
        self.registers: dict[Any, str] = {}
        self.parameters: dict[str, str] = {}  # by the name of what is passed, the declaration
        self.helpers: set[str] = set()
        for k in group.members:
            getattr(self, f"_{k.op}")(k)

    def source(self, name: str) -> str:
        """The text of the kernel."""
        return _KERNEL.format(
            helpers="".join(sorted(self.helpers)),
            name=name,
            parameters=", ".join([*self.parameters.values(), "const long long rows"]),
            strip=self.strip,
            body="\n".join(f"        {line}" for line in self.lines),
        )

    # Operands

    def address(self, place: Span, writes: bool) -> str:
        """An element in memory."""
        owner = place.owner
        name, base = self.printer.array(owner)
        c_type = _TYPES[owner.dtype.char]
        known = self.parameters.get(name)
        if known is None or (writes and known.startswith("const")):
            constant = "" if writes else "const "
            self.parameters[name] = f"{constant}{c_type}* {name}"
        row = "row"
        if base != "0":
            self.parameters.setdefault(base, f"const long long first_{base}")
            row = f"(row + first_{base})"
        column = f" + {place.first}" if place.first else ""
        if place.size != 1:
            column += " + column"
        return f"{name}[{row} * {owner.size}{column}]"

    def operand(self, x: Any, out: Value, number: int, c_type: str) -> str:
        """One number of an operand."""
        if isinstance(x, float):
            return _literal(x, c_type)
        at = offsets(x, out, self.strip)[number]
        if isinstance(x, Shared):
            name = self.printer.shared(x.index)
            dtype = self.printer.dtype_of(x.index)
            self.parameters.setdefault(name, f"const {_TYPES[dtype.char]}* {name}")
            single = x.planes * x.width == 1
            key: Any = (name, at, single)
            text = f"{name}[0]" if single else f"{name}[{at} + column]"
            c_type = _TYPES[dtype.char]
        else:
            whole = span(x)
            key = Span(whole.owner, whole.first + at, 1 if x.size == 1 else self.strip)
            c_type = _TYPES[x.dtype.char]
            text = ""
        known = self.registers.get(key)
        if known is None:
            if isinstance(key, Span):
                text = self.address(key, False)
            known = self.registers[key] = self.register()
            self.lines.append(f"const {c_type} {known} = {text};")
        return known

    def register(self) -> str:
        """A name for a number."""
        self.count += 1
        return f"t{self.count}"

    def write(self, k: Instruction, texts: Sequence[str]) -> None:
        """Numbers of a result: into registers, and into memory if anyone else reads them."""
        out = k.outs[0]
        c_type = _TYPES[out.dtype.char]
        whole = span(out)
        for number, text in enumerate(texts):
            at = whole.first + number * self.strip
            place = Span(whole.owner, at, 1 if out.size == 1 else self.strip)
            name = self.registers[place] = self.register()
            self.lines.append(f"const {c_type} {name} = {text};")
            if whole.owner.number not in self.inner:
                target = self.address(place, True)
                guard = "if (column == 0) " if out.size == 1 and self.strip > 1 else ""
                self.lines.append(f"{guard}{target} = {name};")

    def each(self, k: Instruction) -> list[list[str]]:
        """The operands of every number of the result."""
        out = k.outs[0]
        c_type = _TYPES[out.dtype.char]
        if out.dtype == bool:
            known = [x.dtype for x in k.ins if isinstance(x, Value)]
            c_type = _TYPES[(known or [self.printer.dtype])[0].char]
        count = max(1, out.size // self.strip)
        found = [[self.operand(x, out, n, c_type) for x in k.ins] for n in range(count)]
        if out.dtype == bool:
            return found
        # masks are numbers here: of two of them C would make an integer
        masks = [isinstance(x, Value) and x.dtype == bool for x in k.ins]
        return [
            [f"({c_type}){x}" if mask else x for mask, x in zip(masks, operands)]
            for operands in found
        ]

    # Instructions

    def _ufunc(self, k: Instruction) -> None:
        if k.info == "psi":
            self.helpers.add(_DIGAMMA)
        text = _UFUNCS[k.info]
        self.write(k, [text.format(*operands) for operands in self.each(k)])

    def _select(self, k: Instruction) -> None:
        self.write(k, [f"{c} ? {p} : {q}" for c, p, q in self.each(k)])

    def _copy(self, k: Instruction) -> None:
        self.write(k, [x for (x,) in self.each(k)])

    _flat = _copy

    def _zero(self, k: Instruction) -> None:
        self.write(k, ["0"] * len(self.each(k)))

    def _accumulate(self, k: Instruction) -> None:
        known = Instruction("copy", k.outs, [k.outs[0], *k.ins])
        self.write(known, [f"{y} + {x}" for y, x in self.each(known)])

    def _dropout(self, k: Instruction) -> None:
        self.helpers.add(_HALF_BITS)
        opaque = k.info
        op, shape = opaque.op, opaque.result_shapes[0]
        name = self.printer.keys(opaque)
        self.parameters.setdefault(name, f"const unsigned long long* {name}")
        row = "row"
        if self.printer.first != "0":
            base = self.printer.first
            self.parameters.setdefault(base, f"const long long first_{base}")
            row = f"row + first_{base}"
        threshold = min(round(op.p * 2.0**32), 2**32 - 1)
        c_type = _TYPES[k.outs[0].dtype.char]
        factor = _literal(float(k.outs[0].dtype.type(1 / (1 - op.p))), c_type)
        texts = []
        for number, (x,) in enumerate(self.each(k)):
            element = f"{number * self.strip} + column" if k.outs[0].size > 1 else "0"
            at = _untied(element, shape, op.tied)
            bits = f"half_bits({name}[{row}], (unsigned int)({at}))"
            texts.append(f"{bits} >= {threshold}u ? {x} * {factor} : 0")
        self.write(k, texts)


def _untied(element: str, shape: tuple[int, ...], tied: Sequence[int]) -> str:
    """The number of the mask that an element of a row has, which it shares along tied axes."""
    if not tied:
        return element
    terms = []
    inside, stride = 1, 1
    for axis in range(len(shape) - 1, -1, -1):
        if axis not in tied:
            terms.append(f"({element}) / {inside} % {shape[axis]} * {stride}")
            stride *= shape[axis]
        inside *= shape[axis]
    return " + ".join(terms) or "0"


def _literal(x: float, c_type: str) -> str:
    if x != x:
        return f"({c_type})(0.0 / 0.0)"
    if x in (float("inf"), float("-inf")):
        return f"({c_type})({'-' if x < 0 else ''}1.0 / 0.0)"
    text = repr(x)
    return f"({c_type})({text})"


class DeviceNames(Names):
    """What the arrays and kernels are called that code is given, beside those it makes.

    Attributes:
        given: Of each value that exists already the place.
        kernels: Name and text of the kernels, in order.
    """

    given: dict[int, Any]

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[tuple[str, str]] = []

    def kernel(self, name: str, source: str) -> str:
        """What a kernel is called."""
        if (name, source) not in self.kernels:
            self.kernels.append((name, source))
        return f"g{self.kernels.index((name, source))}"


class DevicePrinter:
    """Prints one straight piece of code: launches of kernels, products, calls of operations."""

    def __init__(
        self,
        names: DeviceNames,
        title: str,
        dtype: Any,
        dtypes: Any,
        indent: str = "    ",
        phase: str = "",
    ) -> None:
        self.names = names
        self.title = re.sub(r"\W", "_", title)
        self.dtype = dtype
        self.dtype_of = dtypes
        self.indent = indent
        self.phase = phase
        self.first = "a"  # where the rows of a batch begin in arrays over all rows of the kind
        self.looped: set[int] = set()
        self.lines: list[str] = []
        self.local: dict[str, str] = {}
        self.taken: dict[int, int] = {}
        self.free: dict[Form, list[int]] = {}

    def print(
        self,
        instructions: Sequence[Instruction],
        keep: Iterable[Value],
        prefix: str,
        results: Iterable[Value | None] = (),
    ) -> None:
        """Print instructions; see `numpy_printer.Printer.print`."""
        for value in keep:
            owner = value.owner()
            if owner.number not in self.names.given:
                at = len(self.names.keep)
                self.names.keep.append(owner)
                self.names.given[owner.number] = (f"{prefix}{at}", "a")
        instructions = [k for k in instructions if k.op not in ELEMENTWISE or k.outs[0].size]
        touched: dict[int, int] = {}
        for k in instructions:
            for number in {v.owner().number for v in [*reads(k), *k.outs]}:
                touched[number] = touched.get(number, 0) + 1
        after = {v.owner().number for v in results if v is not None}
        for unit in grouped(instructions):
            members = unit.members if isinstance(unit, Group) else [unit]
            here: dict[int, int] = {}
            for m in members:
                for number in {v.owner().number for v in [*reads(m), *m.outs]}:
                    here[number] = here.get(number, 0) + 1
            alone = {
                number
                for number, count in here.items()
                if count == touched[number] and number not in after
            }
            if isinstance(unit, Group):
                known = self.names.given.keys() | self.taken.keys()
                self._launch(unit, alone - known)
            else:
                getattr(self, f"_{unit.op}")(unit)
            for number, count in here.items():
                touched[number] -= count
                if number in alone and number in self.taken:
                    slot = self.taken.pop(number)
                    self.free.setdefault(self.names.scratch[slot], []).append(slot)

    # Arrays

    def line(self, text: str) -> None:
        """Append a line."""
        self.lines.append(self.indent + text)

    def array(self, owner: Value) -> Place:
        """Where an owner lies: the name of an array, and where the batch begins in it."""
        place: Place | None = self.names.given.get(owner.number)
        if place is None:
            slot = self.taken.get(owner.number)
            if slot is None:
                form = (1, owner.size, owner.dtype, self.phase)
                free = self.free.get(form)
                if free:
                    slot = free.pop()
                else:
                    slot = len(self.names.scratch)
                    self.names.scratch.append(form)
                self.taken[owner.number] = slot
            return f"s{slot}", "0"
        text, base = place
        return self.called(text), base

    def called(self, text: str) -> str:
        """A name for what an expression makes."""
        if text.isidentifier():
            return text
        name = self.local.get(text)
        if name is None:
            name = self.local[text] = f"v{len(self.local)}"
            self.line(f"{name} = {text}")
        return name

    def name(self, value: Value) -> str:
        """A value as an array ``(rows, size)``."""
        place = span(value)
        name, base = self.array(place.owner)
        rows = ":n" if base == "0" else f"{base}:{base} + n"
        columns = ""
        if place.size != place.owner.size:
            columns = f", {place.first}:{place.first + place.size}"
        return f"{name}[{rows}{columns}]"

    def shared(self, index: int) -> str:
        """A value that all rows share."""
        return self.names.prepare(("plain", index), ("plain", index))

    def keys(self, opaque: Opaque) -> str:
        """The random keys of an operation."""
        call = f"memo[-1][{opaque.number}]" if self.phase else f"m[{opaque.number}]"
        return self.called(f"on_device({call}.payload)")

    # Instructions

    def _launch(self, group: Group, inner: set[int]) -> None:
        kernel = Kernel(self, group, inner)
        name = f"lazynet_{self.title}"
        function = self.names.kernel(name, kernel.source(name))
        arguments = "".join(f"{p}, " for p in kernel.parameters)
        self.line(f"{function}(n * {kernel.strip}, ({arguments}n))")

    def _matrix(self, weight: Weight) -> tuple[str, bool]:
        """The matrix of a weight, and whether it lies there with a row for each input."""
        name = self.names.prepare(("matrix", weight.key()), ("matrix", weight))
        return name, len(weight.parts) == 1 and weight.parts[0][1]

    def _at(self, value: Value) -> tuple[str, str]:
        """An array, and the number of elements in it before the first of a value."""
        place = span(value)
        name, base = self.array(place.owner)
        if base == "0":
            return name, str(place.first)
        column = f" + {place.first}" if place.first else ""
        return name, f"{base} * {place.owner.size}{column}"

    def _product(self, k: Instruction) -> None:
        assert isinstance(k.info, Product)
        z = k.outs[0]
        out, out_at = self._at(z)
        for at, (x, weight) in enumerate(zip(k.ins, k.info.weights)):
            source, source_at = self._at(x)
            matrix, by_inputs = self._matrix(weight)
            self.line(
                f"gemm(n, {z.size}, {x.size}, {source}, {source_at}, False, {matrix}, 0, "
                f"{not by_inputs}, {out}, {out_at}, {at > 0})"
            )

    def _unproduct(self, k: Instruction, add: bool = False) -> None:
        weight = k.info
        assert isinstance(weight, Weight)
        dz, out = k.ins[0], k.outs[0]
        source, source_at = self._at(dz)
        target, target_at = self._at(out)
        matrix, by_inputs = self._matrix(weight)
        self.line(
            f"gemm(n, {out.size}, {dz.size}, {source}, {source_at}, False, {matrix}, 0, "
            f"{by_inputs}, {target}, {target_at}, {add})"
        )

    def _addproduct(self, k: Instruction) -> None:
        self._unproduct(k, True)

    def _sum(self, k: Instruction) -> None:
        self.line(f"row_sums({self.name(k.ins[0])}, {self.name(k.outs[0])})")

    def _shaped(self, x: Value, shape: tuple[int, ...]) -> str:
        text = self.name(x)
        if shape == (x.width,):
            return text
        sizes = "".join(f", {n}" for n in shape)
        return f"{text}.reshape(n{sizes})" if sizes else f"{text}[:, 0]"

    def _arguments(self, info: Opaque) -> str:
        parts = []
        for x, shape in zip(info.args, info.shapes):
            if isinstance(x, Shared):
                at = self.shared(x.index)
                sizes = "".join(f", {n}" for n in shape)
                parts.append(at if info.op.shares else f"broadcast_to({at}, (n{sizes}))")
            else:
                parts.append(self._shaped(x, shape))
        return "".join(f"{p}, " for p in parts)

    def _payload(self, info: Opaque) -> str:
        payload = info.payload
        if info.op.payload is None or payload is None:
            return "None"
        if info.slot >= 0:
            text = f"c[{info.slot}]"
        elif info.op.payload == "key":
            text = f"c['{'rows' if info.batched else 'nodes'}'][{payload}]"
        else:
            text = f"c['constants'][{info.number}]"
        return f"part({text}, a, b)" if self.phase else text

    def _opaque(self, k: Instruction) -> None:
        info = k.info
        assert isinstance(info, Opaque)
        args = self._arguments(info)
        outs = [self._shaped(v, shape) for v, shape in zip(k.outs, info.result_shapes)]
        many = len(outs) > 1
        out = f"({', '.join(outs)})" if many else outs[0]
        self.line(
            f"m[{info.number}] = run(o{info.number}, n, {self._payload(info)}, ({args}), "
            f"{info.shares()}, {out}, {many})"
        )

    def _unopaque(self, k: Instruction) -> None:
        info, needs, rows = k.info
        dys = k.ins[: len(info.result_shapes)]
        given = [self._shaped(v, shape) for v, shape in zip(dys, info.result_shapes)]
        dy = f"({', '.join(given)})" if len(given) > 1 else given[0]
        y = "None"
        if info.op.reads_y:
            values = [self._shaped(v, s) for v, s in zip(k.ins[-len(dys) :], info.result_shapes)]
            y = f"({', '.join(values)})" if len(values) > 1 else values[0]
        args = self._arguments(info) if info.op.reads_args else "None, " * len(info.args)
        targets = {p: self._shaped(v, info.shapes[p]) for p, v in zip(rows, k.outs)}
        into = ", ".join(f"{p}: {text}" for p, text in targets.items())
        self.line(
            f"unrun(o{info.number}, {self._call(info.number)}, {needs}, {dy}, {y}, ({args}), "
            f"{{{into}}}, g, {info.number})"
        )

    def _call(self, number: int) -> str:
        """See `numpy_printer.Printer`."""
        if not self.phase or (number in self.looped) == (self.phase == "loop"):
            return f"m[{number}]"
        if self.phase == "loop":
            return f"part_of_call(memo[-1][{number}], a, b)"
        return f"whole_call(memo, {number})"
