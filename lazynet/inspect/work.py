"""How many floating-point operations the matrix products of one row take."""

from __future__ import annotations

from math import prod

from lazynet.fuse.fused import Fused
from lazynet.fuse.program import Product
from lazynet.kinds import Kind
from lazynet.ops.linalg import Affine, Matmul


def flops_of(kind: Kind) -> int:
    """Multiplications and additions of the matrix products for one row of this kind.

    Other operations count nothing. Backward takes as many again for the gradients of rows, and the
    gradients of weights as many once more.
    """
    op = kind.op
    if isinstance(op, Fused):
        return _of_program(op)
    shapes = [t.shape for t in kind.args]
    if isinstance(op, Matmul):
        return _of_pair(shapes[0], shapes[1])
    if isinstance(op, Affine):
        return sum([_of_pair(W, x) for W, x in zip(shapes[1::2], shapes[2::2])])
    return 0


def _of_pair(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Of a matrix (or vector) by a matrix (or vector)."""
    columns = b[-1] if len(b) > 1 else 1
    return 2 * prod(a) * columns


def _of_program(op: Fused) -> int:
    total = 0
    for instruction in op.lowered.forward.code.instructions:
        if instruction.op == "product" and isinstance(instruction.info, Product):
            for weight in instruction.info.weights:
                total += 2 * weight.planes * weight.width * weight.inputs
    return total


__all__ = ["flops_of"]
