"""Inner products, square matrices, contractions.

The wheel's `contract3d_1d` adds to memory that it does not clear: `test_linalg.py` has it.
"""

from itertools import product

import numpy as np
from recording import Table

TABLE = Table()
add = TABLE.add


def batches(*names):
    """No input a minibatch, each alone, all."""
    yield {}
    if len(names) > 1:
        yield from ({name: 3} for name in names)
    yield dict.fromkeys(names, 3)


for shape in [(4,), (2, 3), (2, 2, 2)]:
    for batch in batches("x", "y"):
        add(
            f"dot_product {shape} {batch}",
            lambda dy, x, y: dy.dot_product(x, y),
            x=shape,
            y=shape,
            batch=batch,
        )
for shape in [(4,), (2, 3), (3, 3)]:
    add(f"trace_of_product {shape}", lambda dy, x, y: dy.trace_of_product(x, y), x=shape, y=shape)

SQUARE = [[2.0, 0.5, -0.3], [0.1, 1.5, 0.7], [-0.4, 0.2, 1.8]]
for name in ("inverse", "logdet"):
    for matrix in (SQUARE, [[0.7]], [0.7]):
        domain = np.array(matrix)
        add(
            f"{name} {domain.shape}",
            lambda dy, x, name=name: getattr(dy, name)(x),
            x=domain.shape,
            domain=domain,
        )

for flags in product([False, True], repeat=3):
    batch = {name: 2 for name, flag in zip("xyb", flags) if flag}
    add(
        f"contract3d_1d_bias {batch}",
        lambda dy, x, y, b: dy.contract3d_1d_bias(x, y, b),
        x=(2, 3, 4),
        y=(4,),
        b=(2, 3),
        batch=batch,
    )
for shape in [(2, 3, 4), (2, 1, 1), (1, 3, 2)]:
    add(
        f"contract3d_1d_1d {shape}",
        lambda dy, x, y, z: dy.contract3d_1d_1d(x, y, z),
        x=shape,
        y=shape[2:],
        z=shape[1:2],
    )
    add(
        f"contract3d_1d_1d_bias {shape}",
        lambda dy, x, y, z, b: dy.contract3d_1d_1d_bias(x, y, z, b),
        x=shape,
        y=shape[2:],
        z=shape[1:2],
        b=shape[:1],
    )
