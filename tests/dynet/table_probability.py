"""Maps to probabilities and the cross entropy of a class."""

import numpy as np
from recording import Table

TABLE = Table()
add = TABLE.add

for batch in ({}, {"x": 3}):
    for shape, d in (((5,), 0), ((4, 3), 0), ((4, 3), 1), ((1,), 0), ((5, 1), 1)):
        add(f"softmax {shape} {d} {batch}", lambda dy, x, d=d: dy.softmax(x, d), x=shape,
            batch=batch)  # fmt: skip
    for shape in ((5,), (4, 3), (1,), (4, 1)):
        add(f"log_softmax {shape} {batch}", lambda dy, x: dy.log_softmax(x), x=shape, batch=batch)
    add(f"softmax default {batch}", lambda dy, x: dy.softmax(x), x=(4, 2), batch=batch)
    classes = [1, 0, 2] if batch else [1]
    add(f"pickneglogsoftmax_batch {batch}",
        lambda dy, x, v=classes: dy.pickneglogsoftmax_batch(x, v), x=(4,), batch=batch)  # fmt: skip
add("softmax by keyword", lambda dy, x: dy.softmax(x, d=1), x=(4, 2))
add("log_softmax of large numbers", lambda dy, x: dy.log_softmax(x), x=(3,), domain=[1e4, 0, -50])
add("softmax of large numbers", lambda dy, x: dy.softmax(x), x=(3,), domain=[200.0, 199.0, -500.0])

for restrict in ([0, 3], [2], [4, 1, 0], [0, 1, 2, 3, 4]):
    add(f"log_softmax restricted to {restrict}",
        lambda dy, x, r=restrict: dy.log_softmax(x, restrict=r), x=(5,))  # fmt: skip
add("log_softmax of a column restricted", lambda dy, x: dy.log_softmax(x, [1, 2]), x=(4, 1))

add("sparsemax", lambda dy, x: dy.sparsemax(x), x=(6,))
add("sparsemax of a column", lambda dy, x: dy.sparsemax(x), x=(4, 1))
add("sparsemax of one", lambda dy, x: dy.sparsemax(x), x=(1,))
add("sparsemax, all inside", lambda dy, x: dy.sparsemax(x), x=(4,), domain=[0.1, 0.3, 0.15, 0.2])
for name, bounds in (
    ("none met", [0.9, 0.9, 0.9, 0.9]),
    ("one met", [0.9, 0.1, 0.9, 0.9]),
    ("two met", [0.2, 0.9, 0.15, 0.95]),
    ("three met", [0.2, 0.1, 0.15, 0.95]),
    ("a bound of zero", [0.9, 0.0, 0.5, 0.95]),
):
    add(f"constrained_softmax, {name}", lambda dy, x, y: dy.constrained_softmax(x, y),
        x=(4,), y=(4,), domain={"x": [0.3, -0.1, 0.6, 0.2], "y": np.array(bounds)})  # fmt: skip

for c in (0, 3, 4):
    add(f"pickneglogsoftmax {c}", lambda dy, x, c=c: dy.pickneglogsoftmax(x, c), x=(5,))
add("pickneglogsoftmax of a column", lambda dy, x: dy.pickneglogsoftmax(x, v=1), x=(3, 1))
add("pickneglogsoftmax of large numbers", lambda dy, x: dy.pickneglogsoftmax(x, 1), x=(3,),
    domain=[100.0, -100.0, 99.0])  # fmt: skip
add("pickneglogsoftmax_batch of a tuple",
    lambda dy, x: dy.pickneglogsoftmax_batch(x, (3, 3)), x=(4,), batch={"x": 2})  # fmt: skip
