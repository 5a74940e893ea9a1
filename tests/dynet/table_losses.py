"""Losses and distances."""

import numpy as np
from recording import Table

TABLE = Table()
add = TABLE.add

for margin in (1.0, 0.25, 0.0):
    add(f"hinge {margin}", lambda dy, x, m=margin: dy.hinge(x, 2, m), x=(5,))
    add(f"hinge_batch {margin}", lambda dy, x, m=margin: dy.hinge_batch(x, [2, 0, 4], m=m), x=(5,),
        batch={"x": 3})  # fmt: skip
    add(f"hinge_dim {margin}", lambda dy, x, m=margin: dy.hinge_dim(x, [1, 0, 3], 0, m), x=(4, 3))
add("hinge default", lambda dy, x: dy.hinge(x, 0), x=(4,))
add("hinge of a column", lambda dy, x: dy.hinge(x, 1), x=(4, 1))
add("hinge_batch of one", lambda dy, x: dy.hinge_batch(x, [2]), x=(5,))
add("hinge_dim default", lambda dy, x: dy.hinge_dim(x, [1, 0]), x=(3, 2))
add("hinge_dim of rows", lambda dy, x: dy.hinge_dim(x, [1, 0, 2], d=1), x=(3, 3))
add("hinge_dim batched", lambda dy, x: dy.hinge_dim(x, [1, 0, 3], m=0.5), x=(4, 3), batch={"x": 2})
add("hinge_dim of rows batched", lambda dy, x: dy.hinge_dim(x, [1, 0], 1), x=(2, 3),
    batch={"x": 2})  # fmt: skip
add("hinge_dim of a row", lambda dy, x: dy.hinge_dim(x, [0, 0, 0]), x=(1, 3))


def binary(targets):
    return lambda dy, x: dy.binary_log_loss(x, dy.inputTensor(targets))


_TARGETS = np.array([0.2, 0.9, 0.5, 1.0, 0.0])
add("binary_log_loss", binary(_TARGETS), x=(5,), domain="unit")
add("binary_log_loss of a matrix", binary(_TARGETS[:4].reshape(2, 2)), x=(2, 2), domain="unit")
add("binary_log_loss of a scalar", lambda dy, x: dy.binary_log_loss(x, dy.scalarInput(1)), x=(1,),
    domain="unit")  # fmt: skip
add("binary_log_loss at 0 and 1", binary(np.array([0.0, 1.0, 1.0, 0.0, 0.5, 0.2])), x=(6,),
    domain=[0.0, 1.0, 0.0, 1.0, 0.0, 1.0])  # fmt: skip

for margin in (1.0, 0.2, 3.0):
    add(f"pairwise_rank_loss {margin}",
        lambda dy, x, y, m=margin: dy.pairwise_rank_loss(x, y, m), x=(1,), y=(1,))  # fmt: skip
    add(f"pairwise_rank_loss of rows {margin}",
        lambda dy, x, y, m=margin: dy.pairwise_rank_loss(x, y, m=m), x=(1, 5),
        y=(1, 5))  # fmt: skip
add("pairwise_rank_loss batched", lambda dy, x, y: dy.pairwise_rank_loss(x, y), x=(1,), y=(1,),
    batch={"x": 4, "y": 4})  # fmt: skip
add("pairwise_rank_loss of rows batched", lambda dy, x, y: dy.pairwise_rank_loss(x, y), x=(1, 3),
    y=(1, 3), batch={"x": 2, "y": 2})  # fmt: skip


@TABLE.script()
def poisson_loss(dy, rng):
    """By itself: the wheel's gradient takes no account of what is made of the loss."""
    found = {}
    for k in (0, 1, 4):
        x = dy.scalarInput(rng.randn())
        loss = dy.poisson_loss(x, k)
        loss.backward(full=True)
        found[f"value {k}"] = loss.npvalue()
        found[f"gradient {k}"] = x.gradient()
    y = dy.poisson_loss(log_lambda=dy.scalarInput(0.5), x=2)
    found["by keyword"] = y.npvalue()
    return found


for c in (1.345, 0.3, 0.0):
    add(f"huber_distance {c}", lambda dy, x, y, c=c: dy.huber_distance(x, y, c), x=(6,), y=(6,))
add("huber_distance default", lambda dy, x, y: dy.huber_distance(x, y), x=(2, 3), y=(2, 3))
add("huber_distance of a column", lambda dy, x, y: dy.huber_distance(x, y, c=0.5), x=(3,), y=(3, 1))
add("l1_distance", lambda dy, x, y: dy.l1_distance(x, y), x=(6,), y=(6,))
add("l1_distance of matrices", lambda dy, x, y: dy.l1_distance(x, y), x=(2, 3), y=(2, 3))
add("l1_distance of scalars", lambda dy, x, y: dy.l1_distance(x, y), x=(1,), y=(1,))
for shape in ((4,), (2, 3), (1,)):
    for batch in ({}, {"x": 3}, {"y": 3}, {"x": 3, "y": 3}):
        add(f"squared_distance {shape} {batch}", lambda dy, x, y: dy.squared_distance(x, y),
            x=shape, y=shape, batch=batch)  # fmt: skip
add("squared_distance of a column", lambda dy, x, y: dy.squared_distance(x, y), x=(3, 1), y=(3,))
