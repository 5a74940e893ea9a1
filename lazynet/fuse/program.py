"""The form into which a fused function is brought: values, and the instructions that compute them.

A value is a matrix ``(rows, width)``, or several of them as *planes* ``(planes, rows, width)``: the
gates of a recurrent cell lie in contiguous planes of one block, so that one call computes the same
function of all of them. Every value is assigned once; parts of a value are views of it. The NumPy
printer turns instructions into straight-line code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np

from lazynet.kinds import FLOAT32, FLOATS, Op

PLANES, COLUMNS, FOLD = "planes", "columns", "fold"


_serials = count(1)


class Value:
    """One value for every row.

    Attributes:
        planes, width: Its size.
        dtype: NumPy dtype.
        base: The value that this one is a view of, or None.
        how: PLANES (from plane `first` on), COLUMNS (from column `first` on), FOLD (the columns
            of a matrix as planes).
        first: See `how`.
        argument: Which argument of the call it is, or -1.
        opaque: Whether an operation's own `forward` makes it.
    """

    __slots__ = ("argument", "base", "dtype", "first", "how", "number", "opaque", "planes", "width")

    def __init__(self, planes: int, width: int, dtype: Any = FLOAT32) -> None:
        self.number = next(_serials)
        self.planes = planes
        self.width = width
        self.dtype = dtype
        self.base: Value | None = None
        self.how = ""
        self.first = 0
        self.argument = -1
        self.opaque = False

    @property
    def size(self) -> int:
        """Elements of a row."""
        return self.planes * self.width

    def owner(self) -> Value:
        """The value that has the memory."""
        value = self
        while value.base is not None:
            value = value.base
        return value

    def span(self) -> tuple[int, int]:
        """Planes of the owner that this value lies in."""
        value, first, last = self, 0, self.planes
        while value.base is not None:
            if value.how != PLANES:
                return 0, value.owner().planes
            first, last = first + value.first, last + value.first
            value = value.base
        return first, last

    def become(self, base: Value, how: str, first: int) -> None:
        """Make this value, so far on its own, a view."""
        assert self.base is None
        self.base, self.how, self.first = base, how, first

    def __repr__(self) -> str:
        view = "" if self.base is None else f" = {self.base.number}.{self.how}[{self.first}]"
        return f"<{self.number}: {self.planes} x {self.width}{view}>"


class Shared:
    """A value that all rows share: a parameter, what is computed from parameters, a constant.

    Attributes:
        index: Its node in the trace.
        shape: Its shape.
        planes, width: As which it meets rows.
    """

    __slots__ = ("index", "planes", "shape", "width")

    def __init__(self, index: int, shape: tuple[int, ...], planes: int, width: int) -> None:
        self.index = index
        self.shape = shape
        self.planes = planes
        self.width = width


Operand = Value | Shared | float


class Weight:
    """The matrices by which a product multiplies one input, one block of rows for each plane.

    Attributes:
        parts: (node in the trace, whether it is used transposed, number of planes), in order.
        inputs: Length of the input.
        planes, width: Of the product.
    """

    __slots__ = ("inputs", "parts", "planes", "width")

    def __init__(
        self, parts: list[tuple[int, bool, int]], inputs: int, planes: int, width: int
    ) -> None:
        self.parts = parts
        self.inputs = inputs
        self.planes = planes
        self.width = width

    def key(self) -> tuple[Any, ...]:
        """What tells it from others."""
        return (tuple(self.parts), self.planes, self.width)


class Product:
    """Details of a "product": bias + sum of weight times input, times a scale for each plane.

    Attributes:
        weights: One for each input.
        biases: (node in the trace, number of planes), or (-1, planes) for none, in order of planes.
        scale: Factor on each plane; folded into weights and biases.
        addend: A value to add (already scaled), or None.
    """

    __slots__ = ("addend", "biases", "scale", "weights")

    def __init__(self, weights: list[Weight], biases: list[tuple[int, int]], planes: int) -> None:
        self.weights = weights
        self.biases = biases
        self.scale = [1.0] * planes
        self.addend: Value | None = None


class Opaque:
    """Details of an operation that runs its own `forward` and `backward`.

    Attributes:
        op: The operation.
        args: Values and shared values.
        shapes: Shape of one row of each.
        result_shapes: Shape of one row of each result.
        payload: What the node carries, as recorded.
        slot: Number of the slot that calls fill instead, or -1.
        batched: Whether the node had a batch in the trace (each row draws its own numbers).
        number: Serial number within the program, for what `forward` keeps.
    """

    __slots__ = ("args", "batched", "number", "op", "payload", "result_shapes", "shapes", "slot")

    def __init__(self, op: Op, args: list[Value | Shared], number: int) -> None:
        self.op = op
        self.args = args
        self.number = number
        self.shapes: list[tuple[int, ...]] = []
        self.result_shapes: list[tuple[int, ...]] = []
        self.payload: Any = None
        self.batched = False
        self.slot = -1

    def shares(self) -> tuple[bool, ...]:
        """Per argument, whether the op gets it without a row axis."""
        return tuple([self.op.shares and isinstance(x, Shared) for x in self.args])


class Instruction:
    """One step.

    Attributes:
        op: "ufunc", "select", "product", "unproduct", "opaque", "unopaque", "copy", "zero", "sum",
            "flat".
        outs: What it computes.
        ins: What it reads.
        info: The ufunc's name, a `Product`, a `Weight`, an `Opaque`, ...
    """

    __slots__ = ("info", "ins", "op", "outs")

    def __init__(self, op: str, outs: list[Value], ins: list[Any], info: Any = None) -> None:
        self.op = op
        self.outs = outs
        self.ins = ins
        self.info = info

    def reads(self) -> list[Value]:
        """The values it reads."""
        found = [x for x in self.ins if isinstance(x, Value)]
        if isinstance(self.info, Product) and self.info.addend is not None:
            found.append(self.info.addend)
        return found

    def __repr__(self) -> str:
        return (
            f"{self.outs} = {self.op} {self.info if isinstance(self.info, str) else ''}{self.ins}"
        )


class Code:
    """A list of instructions under construction; equal elementwise steps are computed once.

    Attributes:
        instructions: So far.
        dtype: Of values that are not given one.
    """

    def __init__(self, dtype: Any) -> None:
        self.instructions: list[Instruction] = []
        self.dtype = dtype
        self._known: dict[Any, Value] = {}

    @contextmanager
    def of(self, dtype: Any) -> Iterator[None]:
        """Make values of this floating-point dtype: that of a node, where a function mixes them."""
        outer = self.dtype
        self.dtype = dtype if dtype in FLOATS else outer
        try:
            yield
        finally:
            self.dtype = outer

    def value(self, planes: int, width: int, dtype: Any = None) -> Value:
        """A new value."""
        return Value(planes, width, self.dtype if dtype is None else dtype)

    def view(self, base: Value, how: str, first: int, planes: int, width: int) -> Value:
        """A part of a value."""
        if how == PLANES and planes == base.planes:
            return base
        if how == COLUMNS and width == base.width:
            return base
        if how == FOLD and base.how == FOLD and base.base is not None and base.planes == planes:
            return base
        key = (how, base.number, first, planes, width)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self.value(planes, width, base.dtype)
            found.base, found.how, found.first = base, how, first
        return found

    def add(self, op: str, out: Value, ins: list[Any], info: Any = None) -> Value:
        """Append an instruction with one result."""
        self.instructions.append(Instruction(op, [out], ins, info))
        return out

    def elementwise(self, name: str, operands: list[Operand], dtype: Any = None) -> Operand:
        """A ufunc, "where" or "square" of operands that broadcast; a number if all are numbers."""
        if all(isinstance(o, float) for o in operands):
            if name == "where":
                return operands[1] if operands[0] else operands[2]
            return float(getattr(np, name)(*operands))
        key = (name, tuple([_operand_key(o) for o in operands]))
        found = self._known.get(key)
        if found is not None:
            return found
        arrays = [o for o in operands if not isinstance(o, float)]
        widest = max(arrays, key=lambda o: o.planes * o.width)
        out = self.value(widest.planes, widest.width, dtype)
        self._known[key] = out
        if name == "where":
            return self.add("select", out, list(operands))
        return self.add("ufunc", out, list(operands), name)


def _operand_key(o: Operand) -> Any:
    if isinstance(o, float):
        return ("number", o if o == o else "nan", str(o))
    if isinstance(o, Shared):
        return ("shared", o.index, o.planes, o.width)
    return o.number
