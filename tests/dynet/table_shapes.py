"""Other shapes, and the flow of gradients."""

from recording import Table

TABLE = Table()
add = TABLE.add

for batch in ({}, {"x": 2}):
    for shape, d in (
        ((6,), (2, 3)), ((2, 3), (6,)), ((2, 3), (3, 2)), ((2, 3), (2, 3)), ((2, 3), (1, 6)),
        ((2, 3, 4), (4, 3, 2)), ((2, 3, 4), (6, 4)), ((2, 3, 4), (3, 8)), ((5,), (5, 1)),
        ((5,), (1, 5)), ((1, 5), (5,)), ((1,), (1, 1)), ((2, 3), (2, 1, 3)), ((24,), (2, 3, 4)),
    ):  # fmt: skip
        add(f"reshape {shape} {d} {batch}", lambda dy, x, d=d: dy.reshape(x, d), x=shape,
            batch=batch)  # fmt: skip
    for shape in ((2, 3), (5,), (1, 4), (4, 1), (1, 1)):
        add(f"transpose {shape} {batch}", lambda dy, x: dy.transpose(x), x=shape, batch=batch)
    for shape, dims in (
        ((2, 3), [0, 1]), ((2, 3, 4), [2, 0, 1]), ((2, 3, 4), [1, 2, 0]), ((5,), [0]),
        ((5,), [1, 0]), ((5,), [0, 1]), ((5,), [2, 1, 0]), ((5, 1), [0]), ((1, 5, 1), [1, 0]),
        ((2, 2, 2, 3), [3, 1, 0, 2]),
    ):  # fmt: skip
        add(f"transpose {shape} {dims} {batch}", lambda dy, x, d=dims: dy.transpose(x, dims=d),
            x=shape, batch=batch)  # fmt: skip
    for shape in ((3,), (2, 3)):
        name = f"{shape} {batch}"
        add(f"nobackprop {name}", lambda dy, x: dy.nobackprop(x), x=shape, batch=batch)
        add(f"nobackprop of one way {name}", lambda dy, x: dy.cmult(dy.nobackprop(x), x), x=shape,
            batch=batch)  # fmt: skip
        add(f"flip_gradient {name}", lambda dy, x: dy.flip_gradient(x), x=shape, batch=batch)
        add(f"scale_gradient {name}", lambda dy, x: dy.scale_gradient(x, 2.5), x=shape, batch=batch)
        add(f"scale_gradient default {name}", lambda dy, x: dy.scale_gradient(x), x=shape,
            batch=batch)  # fmt: skip
        add(f"scale_gradient by keyword {name}", lambda dy, x: dy.scale_gradient(x, lambd=-0.5),
            x=shape, batch=batch)  # fmt: skip

for shape, examples, d, batch_size in (
    ((2, 3), 1, (1,), 6), ((2, 3), 1, (3,), 2), ((2, 3), 1, (2,), 3), ((2, 3), 1, (3, 1), 2),
    ((2, 3, 2), 1, (2, 2), 3), ((6,), 1, (2,), 3), ((6,), 1, (1, 2), 3),
    ((2, 3), 2, (3, 2), 2), ((2, 3), 2, (12,), 1), ((2, 3), 2, (4,), 3), ((2, 3), 2, (4, 3), 1),
    ((2, 3), 2, (6, 2), 1), ((2, 3), 2, (3,), 4), ((2, 3), 2, (1, 3), 4), ((1,), 3, (3,), 1),
    ((1,), 4, (2,), 2), ((2,), 3, (3,), 2), ((2, 2), 3, (1,), 12),
):  # fmt: skip
    add(
        f"reshape {shape} x {examples} to {d} x {batch_size}",
        lambda dy, x, d=d, b=batch_size: dy.reshape(x, d, batch_size=b),
        x=shape,
        batch={"x": examples} if examples > 1 else {},
    )
add("reshape to the same batch", lambda dy, x: dy.reshape(x, (3, 2), 2), x=(2, 3), batch={"x": 2})
