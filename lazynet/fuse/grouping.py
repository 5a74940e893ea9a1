"""Which instructions of a program make one kernel on a GPU.

There every value lies row by row, its planes beside one another in a row: a part of a value is a
range of columns of its owner, a fold is the value itself, and a product of several planes is one
matrix product. A kernel has a thread for each row and column of a *strip*: values as wide as the
strip, or several times as wide, go through it as so many numbers in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import gcd
from typing import Any, NamedTuple

from lazynet.fuse.program import COLUMNS, FOLD, PLANES, Instruction, Product, Shared, Value

ELEMENTWISE = frozenset(["ufunc", "select", "copy", "flat", "zero", "dropout", "accumulate"])
"""Instructions that a kernel can hold."""

_NUMBERS = 16
"""Most numbers of one value in the registers of a thread."""


class Span(NamedTuple):
    """Columns of an owner, from `first` on."""

    owner: Value
    first: int
    size: int

    def overlaps(self, other: Span) -> bool:
        """Whether an element belongs to both."""
        return (
            self.owner is other.owner
            and self.first < other.first + other.size
            and other.first < self.first + self.size
        )


def span(value: Value) -> Span:
    """Where a value lies."""
    first, x = 0, value
    while x.base is not None:
        if x.how == PLANES:
            first += x.first * x.width
        elif x.how == COLUMNS:
            first += x.first
        x = x.base
    return Span(x, first, value.size)


def reads(k: Instruction) -> list[Value]:
    """The values that an instruction reads."""
    return [*k.reads(), *k.outs] if k.op == "accumulate" or k.op == "addproduct" else k.reads()


def offsets(x: Value | Shared, out: Value, strip: int) -> list[int]:
    """For each of the numbers of a result, where the operand's is, from its first column on."""
    size = x.planes * x.width
    if size == 1:
        return [0] * max(1, out.size // strip)
    if x.planes == 1 and size != out.size:
        return [first % x.width for first in range(0, out.size, strip)]
    assert size == out.size, (x, out)
    return list(range(0, out.size, strip))


class Group:
    """Elementwise instructions that run as one kernel.

    Attributes:
        strip: Columns of the strip.
        members: The instructions.
    """

    def __init__(self) -> None:
        self.strip = 0
        self.members: list[Instruction] = []

    def take(self, k: Instruction) -> bool:
        """Add an instruction if it fits."""
        members = [*self.members, k]
        alone = not self.members
        widths = {o.width for m in members for o in m.outs if o.size > 1}
        widths |= {x.width for m in members for x in m.ins if _wide(x)}
        strip = gcd(*widths) if widths else 1
        largest = max(o.size for m in members for o in m.outs)
        wasteful = len(widths) > 1 and largest > strip * _NUMBERS
        if not alone and (wasteful or not _apart(members, strip)):
            return False
        self.strip, self.members = strip, members
        return True


def _wide(x: Any) -> bool:
    return isinstance(x, (Value, Shared)) and x.planes * x.width > 1


def pieces(value: Value, strip: int) -> list[Span]:
    """The spans that threads of a strip read or write of a value, one after the other."""
    place = span(value)
    if place.size == 1:
        return [place]
    return [Span(place.owner, place.first + at, strip) for at in range(0, place.size, strip)]


def _apart(members: Sequence[Instruction], strip: int) -> bool:
    """Whether no thread needs in memory what another thread of the kernel makes."""
    written: dict[int, list[Span]] = {}
    for k in members:
        for x in reads(k):
            for piece in pieces(x, strip):
                for other in written.get(piece.owner.number, ()):
                    if piece.overlaps(other) and piece != other:
                        return False
        for x in k.outs:
            for piece in pieces(x, strip):
                written.setdefault(piece.owner.number, []).append(piece)
    return True


def grouped(code: Sequence[Instruction]) -> list[Instruction | Group]:
    """Instructions in an order in which as many as possible of those in kernels meet."""
    before = _dependencies(code)
    done: set[int] = set()
    left = list(range(len(code)))
    result: list[Instruction | Group] = []
    while left:
        single = [at for at in left if code[at].op not in ELEMENTWISE and before[at] <= done]
        if single:
            result += [code[at] for at in single]
            done.update(single)
        else:
            group = Group()
            inside: set[int] = set()
            for at in left:
                fits = code[at].op in ELEMENTWISE and before[at] <= done | inside
                if fits and group.take(code[at]):
                    inside.add(at)
            result.append(group)
            done |= inside
        left = [at for at in left if at not in done]
    return result


def _dependencies(code: Sequence[Instruction]) -> list[set[int]]:
    """For each instruction, which others have to run before it."""
    read: dict[int, list[tuple[int, Span]]] = {}
    written: dict[int, list[tuple[int, Span]]] = {}
    result = []
    for at, k in enumerate(code):
        found: set[int] = set()
        ins = [span(x) for x in reads(k)]
        outs = [span(x) for x in k.outs]
        for place in ins:
            _clashes(found, written, place)
        for place in outs:
            _clashes(found, written, place)
            _clashes(found, read, place)
        for place in ins:
            read.setdefault(place.owner.number, []).append((at, place))
        for place in outs:
            written.setdefault(place.owner.number, []).append((at, place))
        result.append(found)
    return result


def _clashes(found: set[int], known: dict[int, list[tuple[int, Span]]], place: Span) -> None:
    found.update([at for at, other in known.get(place.owner.number, ()) if place.overlaps(other)])


# Programs as a GPU wants them


def expanded(
    code: Sequence[Instruction],
    fixed: Iterable[Value],
    value: Callable[[int, int, Any], Value],
    elementwise: Callable[[Instruction], Instruction | None],
) -> list[Instruction]:
    """A program whose products are matrix products alone, and which copies nothing to rearrange it.

    Args:
        code: The instructions.
        fixed: Values that have memory of their own.
        value: Makes a value of so many planes, a width and a dtype.
        elementwise: The elementwise form of an operation that runs as it is elsewhere, or None.
    """
    own = {v.number for v in fixed}
    made = {o.owner().number for k in code for o in k.outs}
    result: list[Instruction] = []
    for k in code:
        if k.op == "flat":
            x, out = k.ins[0], k.outs[0]
            if out.base is None and out.number not in own and x.owner().number in made:
                out.become(x, FOLD, 0)
            else:
                result.append(k)
        elif k.op == "product":
            result += _with_biases(k, value)
        elif k.op in ("opaque", "unopaque"):
            result.append(elementwise(k) or k)
        else:
            result.append(k)
    return result


def _with_biases(k: Instruction, value: Callable[[int, int, Any], Value]) -> list[Instruction]:
    """A product, and what is added to it as elementwise instructions."""
    product, z = k.info, k.outs[0]
    assert isinstance(product, Product)
    assert all(factor == 1.0 for factor in product.scale)
    if product.addend is None and all(bias < 0 for bias, _ in product.biases):
        return [k]
    bare = Product(product.weights, [(-1, z.planes)], z.planes)
    raw = value(z.planes, z.width, z.dtype)
    result = [Instruction("product", [raw], k.ins, bare)]
    at = 0
    for bias, planes in product.biases:
        part, target = _planes(raw, at, planes, value), _planes(z, at, planes, value)
        sum_: list[Any] = [part]
        if bias >= 0:
            sum_.append(Shared(bias, (), planes, z.width))
        if product.addend is not None:
            if len(sum_) == 2:
                both = value(planes, z.width, z.dtype)
                result.append(Instruction("ufunc", [both], sum_, "add"))
                sum_ = [both]
            sum_.append(_planes(product.addend, at, planes, value))
        op = ("ufunc", "add") if len(sum_) == 2 else ("copy", None)
        result.append(Instruction(op[0], [target], sum_, op[1]))
        at += planes
    return result


def _planes(x: Value, first: int, planes: int, value: Callable[[int, int, Any], Value]) -> Value:
    if planes == x.planes:
        return x
    part = value(planes, x.width, x.dtype)
    part.base, part.how, part.first = x, PLANES, first
    return part


def summed_in_products(code: Sequence[Instruction], needed: Sequence[Value]) -> list[Instruction]:
    """Sums with products of cotangents as products that add to what lies there already.

    Args:
        code: The instructions.
        needed: Values that are read after them.
    """
    result = list(code)
    # what a step hands on first: all terms of such a sum can be added one by one
    for ops in (("accumulate",), ("accumulate", "copy", "ufunc")):
        at = 0
        while at < len(result):
            found = _replaced(result, at, needed) if result[at].op in ops else None
            if found is None:
                at += 1
                continue
            replacement, maker = found
            result[at : at + 1] = replacement
            result.remove(maker)
            at -= 1  # the first of them is looked at again
    return result


def _replaced(
    code: Sequence[Instruction], at: int, needed: Sequence[Value]
) -> tuple[list[Instruction], Instruction] | None:
    """What an instruction and the one that makes an operand of it are replaced by."""
    k = code[at]
    sums = k.op != "ufunc" or k.info == "add"
    if not sums or not all(isinstance(x, Value) and x.size == k.outs[0].size for x in k.ins):
        return None
    for position, x in enumerate(k.ins):
        maker = _sole_maker(code, k, x, needed)
        if maker is None:
            continue
        if maker.op == "unproduct":
            if k.op == "copy":
                return [Instruction("unproduct", k.outs, maker.ins, maker.info)], maker
            last = Instruction("addproduct", k.outs, maker.ins, maker.info)
            if k.op == "accumulate":
                return [last], maker
            return [Instruction("copy", k.outs, [k.ins[1 - position]]), last], maker
        adds = maker.op == "ufunc" and maker.info == "add"
        if k.op == "accumulate" and adds and all(isinstance(y, Value) for y in maker.ins):
            return [Instruction("accumulate", k.outs, [y]) for y in maker.ins], maker
    return None


def sunk(
    parts: Sequence[Sequence[Instruction]], needed: Sequence[Value]
) -> list[list[Instruction]]:
    """A scan whose loop does what only the loop needs, if that takes no launch of its own.

    Args:
        parts: Before, in and after the loop.
        needed: Values that are read elsewhere.
    """
    before, loop, after = parts
    others = {v.owner().number for v in needed}
    others.update(v.owner().number for k in after for v in [*reads(k), *k.outs])
    left: list[Instruction] = []
    moved: list[Instruction] = []
    for k in reversed(before):
        if k.op in ELEMENTWISE and not any(o.owner().number in others for o in k.outs):
            moved.append(k)
        else:
            left.append(k)
            others.update(v.owner().number for v in [*reads(k), *k.outs])
    if not loop:
        return [list(before), [], list(after)]
    return [left[::-1], [*moved[::-1], *loop], list(after)]


def _sole_maker(
    code: Sequence[Instruction], reader: Instruction, x: Any, needed: Sequence[Value]
) -> Instruction | None:
    """The instruction that makes a value which this reader alone reads."""
    if not isinstance(x, Value) or x.base is not None or x.argument >= 0:
        return None
    if any(v.owner() is x for v in needed):
        return None
    makers = [k for k in code if any(o.owner() is x for o in k.outs)]
    readers = [k for k in code if any(v.owner() is x for v in k.reads())]
    if len(makers) != 1 or makers[0].outs != [x] or readers != [reader]:
        return None
    return makers[0] if [v for v in reader.reads() if v is x] == [x] else None
