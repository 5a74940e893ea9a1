"""What turns lowered code into fewer and larger array calls.

Products of the same inputs become one; the halving in a sigmoid goes into the weights; the same
step on neighbouring planes becomes one call; results take the memory of operands nobody needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from lazynet.fuse.lower import Forward, product_terms
from lazynet.fuse.program import PLANES, Instruction, Product, Shared, Value, Weight

Groups = dict[int, tuple[Instruction, list[tuple[int, int]]]]
"""For nodes of merged products: the instruction, and all its nodes with their first planes."""


def merge_products(forward: Forward) -> Groups:
    """Make one product of those with the same inputs and width."""
    buckets: dict[Any, list[int]] = {}
    for i, instruction in forward.products.items():
        product = instruction.info
        if product.addend is None:
            # equal values may be different nodes, and no gradient flow through one of them
            terms = product_terms(forward, i)
            assert terms is not None
            inputs = tuple([vector for _, _, vector in terms[0]])
            key = (inputs, instruction.outs[0].width)
            buckets.setdefault(key, []).append(i)
    groups: Groups = {}
    code = forward.code
    for nodes in buckets.values():
        if len(nodes) < 2:
            continue
        instructions = [forward.products[i] for i in nodes]
        first = instructions[0]
        planes = sum(k.outs[0].planes for k in instructions)
        width = first.outs[0].width
        weights = [
            Weight(
                [part for k in instructions for part in k.info.weights[t].parts],
                first.info.weights[t].inputs,
                planes,
                width,
            )
            for t in range(len(first.ins))
        ]
        biases = [k.info.biases[0] for k in instructions]
        merged = Instruction(
            "product",
            [code.value(planes, width, first.outs[0].dtype)],
            list(first.ins),
            Product(weights, biases, planes),
        )
        at = 0
        members = []
        for i, k in zip(nodes, instructions):
            out = k.outs[0]
            count = out.planes
            out.become(merged.outs[0], PLANES, at)
            members.append((i, at))
            at += count
        code.instructions[code.instructions.index(first)] = merged
        code.instructions = [k for k in code.instructions if k not in instructions[1:]]
        for i in nodes:
            groups[i] = (merged, members)
    return groups


def overlap(a: Value, b: Value) -> bool:
    """Whether two values share memory."""
    if a.owner() is not b.owner():
        return False
    first, last = a.span()
    begin, end = b.span()
    return first < end and begin < last


def fold_halves(
    forward: list[Instruction], others: list[Value], fixed: Sequence[Value]
) -> list[Instruction]:
    """Scale weights where a product is only ever halved (the argument of a sigmoid's tanh).

    Args:
        forward: The instructions.
        others: Values that are read elsewhere.
        fixed: Values that have memory of their own.
    """
    result = list(forward)
    for product in forward:
        if product.op != "product" or product.info.addend is not None:
            continue
        whole = product.outs[0]
        if whole.base is not None:
            continue
        for half in forward:
            if not (half.op == "ufunc" and half.info == "multiply" and half.ins[1] == 0.5):
                continue
            z = half.ins[0]
            if not isinstance(z, Value) or z.owner() is not whole or half not in result:
                continue
            if z is not whole and z.how != PLANES:
                continue
            readers = [k for k in result if any(overlap(z, v) for v in k.reads())]
            if readers != [half] or any(overlap(z, v) for v in others):
                continue
            out = half.outs[0]
            if out.base is not None or _among(out, fixed):
                continue
            first, last = z.span()
            for plane in range(first, last):
                product.info.scale[plane] *= 0.5
            if z is whole:
                out.become(whole, PLANES, 0)
            else:
                out.become(whole, PLANES, first)
            result.remove(half)
    return result


def merge_elementwise(
    instructions: list[Instruction], fixed: Sequence[Value] = ()
) -> list[Instruction]:
    """Make one call of equal steps on neighbouring planes.

    Args:
        instructions: In order.
        fixed: Values that have memory of their own.
    """
    while True:
        merged = _merge_once(instructions, fixed)
        if merged is None:
            return instructions
        instructions = merged


def _among(value: Value, values: Sequence[Value]) -> bool:
    return any(value is v for v in values)


def _merge_once(
    instructions: list[Instruction], fixed: Sequence[Value]
) -> list[Instruction] | None:
    written: dict[int, int] = {}
    for at, k in enumerate(instructions):
        for out in k.outs:
            written[out.owner().number] = at
    buckets: dict[Any, list[tuple[int, Instruction]]] = {}
    for at, k in enumerate(instructions):
        if k.op != "ufunc" or k.outs[0].base is not None or _among(k.outs[0], fixed):
            continue
        key = [k.info, k.outs[0].width, k.outs[0].dtype]
        moving = False
        for x in k.ins:
            if isinstance(x, float):
                key.append(("number", str(x)))
            elif isinstance(x, Shared):
                key.append(("shared", x.index, x.planes) if x.planes == x.width == 1 else id(x))
            elif (
                x.width == k.outs[0].width
                and (x.base is None or x.how == PLANES)
                and (x.owner().planes > 1 and x.planes == k.outs[0].planes)
            ):
                moving = True
                key.append(("planes", x.owner().number))
            elif x.planes == 1:
                key.append(("same", x.number))
            else:
                key.append(id(k))
        if moving:
            buckets.setdefault(tuple(key), []).append((at, k))
    for bucket in buckets.values():
        if len(bucket) < 2:
            continue
        ordered = sorted(bucket, key=lambda item: _firsts(item[1]))
        for (at, a), (bt, b) in pairwise(ordered):
            if not all(
                y - x == a.outs[0].planes or (x == y and same)
                for x, y, same in zip(_firsts(a), _firsts(b), _stays(a, b))
            ):
                continue
            position = min(at, bt)
            operands = [v for k in (a, b) for v in k.ins if isinstance(v, Value)]
            if any(written.get(v.owner().number, -1) >= position for v in operands):
                continue
            return _merged(instructions, a, b, position)
    return None


def _firsts(k: Instruction) -> list[int]:
    return [x.span()[0] for x in k.ins if isinstance(x, Value)]


def _stays(a: Instruction, b: Instruction) -> list[bool]:
    pairs = [(x, y) for x, y in zip(a.ins, b.ins) if isinstance(x, Value)]
    return [x is y and x.planes == 1 for x, y in pairs]


def _merged(
    instructions: list[Instruction], a: Instruction, b: Instruction, position: int
) -> list[Instruction]:
    planes = a.outs[0].planes + b.outs[0].planes
    out = Value(planes, a.outs[0].width, a.outs[0].dtype)
    ins: list[Any] = []
    for x, y in zip(a.ins, b.ins):
        if not isinstance(x, Value) or (x is y and x.planes == 1):
            ins.append(x)
            continue
        owner = x.owner()
        wide = owner
        if planes != owner.planes:
            wide = Value(planes, x.width, x.dtype)
            wide.base, wide.how, wide.first = owner, PLANES, x.span()[0]
        ins.append(wide)
    a.outs[0].become(out, PLANES, 0)
    b.outs[0].become(out, PLANES, a.outs[0].planes)
    merged = Instruction("ufunc", [out], ins, a.info)
    result = []
    for at, k in enumerate(instructions):
        if at == position:
            result.append(merged)
        if k is not a and k is not b:
            result.append(k)
    return result


def live(instructions: list[Instruction], needed: list[Value]) -> list[Instruction]:
    """Leave out what nobody reads."""
    wanted = {v.owner().number for v in needed}
    kept = []
    for k in reversed(instructions):
        if k.op == "unopaque" or any(out.owner().number in wanted for out in k.outs):
            kept.append(k)
            wanted.update(v.owner().number for v in k.reads())
    return kept[::-1]


_IN_PLACE = {"ufunc", "select"}


def reuse_operands(
    instructions: list[Instruction], needed: list[Value], fixed: Sequence[Value]
) -> None:
    """Let elementwise results overwrite an operand that nobody reads afterwards.

    Args:
        instructions: In order.
        needed: Values that are read after all of them.
        fixed: Values that have memory of their own.
    """
    produced = {out.owner().number: k.op for k in instructions for out in k.outs}
    later = list(needed)
    for k in reversed(instructions):
        out = k.outs[0] if k.op in _IN_PLACE else None
        if out is not None and out.base is None and not _among(out, fixed):
            for x in k.ins:
                if (
                    isinstance(x, Value)
                    and (x.planes, x.width, x.dtype) == (out.planes, out.width, out.dtype)
                    and (x.base is None or x.how == PLANES)
                    and x.owner().argument < 0
                    and produced.get(x.owner().number, "opaque") not in ("opaque", "unopaque")
                    and not any(x.owner() is v for v in fixed)
                    and not any(overlap(x, v) for v in later)
                    and not _aliases_another(x, k)
                ):
                    first = x.span()[0]
                    out.become(x.owner(), PLANES, first)
                    break
        later += k.reads()


def _aliases_another(x: Value, k: Instruction) -> bool:
    """Whether another operand, of another form, lies in the same memory."""
    return any(
        isinstance(y, Value) and y is not x and overlap(x, y) and y.span() != x.span()
        for y in k.ins
    )
