"""Functions of a list of expressions."""

from recording import Table

TABLE = Table()
add = TABLE.add
BATCHES = [{}, {"x": 3}, {"y": 3}, {"x": 3, "y": 3}, {"x": 3, "y": 3, "z": 3}]


def listed(name):
    return lambda dy, x, y, z: getattr(dy, name)([x, y, z])


for name in "esum average logsumexp emax".split():
    for shape in [(3,), (2, 3), (1,)]:
        for batch in BATCHES:
            if name == "emax" and len(batch) not in (0, 3):
                continue  # the wheel refuses to repeat there
            if name == "average" and len(batch) in (1, 2):
                continue  # wrong gradients in the wheel of those that are repeated
            add(f"{name} {shape} {batch}", listed(name), x=shape, y=shape, z=shape, batch=batch)
    add(f"{name} of one", lambda dy, x, name=name: getattr(dy, name)([x]), x=(2, 3))
    add(f"{name} of one, twice", lambda dy, x, name=name: getattr(dy, name)([x, x]), x=(3,))
    add(
        f"{name} of many",
        lambda dy, x, y, name=name: getattr(dy, name)([x, y] * 10 + [x]),
        x=(3,),
        y=(3,),
    )
for a, b in [((3,), (3, 1)), ((3, 1), (3,)), ((1, 1), (1, 1))]:
    for name in "esum logsumexp".split():
        add(f"{name} {a} {b}", lambda dy, x, y, name=name: getattr(dy, name)([x, y]), x=a, y=b)
add(
    "emax of ties",
    lambda dy, x, y: dy.emax([x, y]),
    x=(3,),
    y=(3,),
    domain={"x": [1.0, 2.0, 0.0], "y": [1.0, 3.0, -1.0]},
)

JOINED = [
    ((3,), (2,), 0), ((3,), (3,), 1), ((2, 3), (4, 3), 0), ((2, 3), (2, 1), 1), ((2, 3), (2,), 1),
    ((2,), (2, 3), 1), ((2, 1), (2,), 0), ((2,), (3, 1), 0), ((1,), (1,), 0), ((1,), (1,), 1),
    ((2, 3), (2, 3), 2), ((2, 3), (2, 3, 2), 2), ((2, 2, 2), (2, 1, 2), 1),
]  # fmt: skip
for a, b, d in JOINED:
    for batch in BATCHES[:4]:
        if len(a) < 3:
            add(
                f"concatenate {a} {b} {d} {batch}",
                lambda dy, x, y, d=d: dy.concatenate([x, y], d),
                x=a,
                y=b,
                batch=batch,
            )
for d in range(2):
    add(f"concatenate one, {d}", lambda dy, x, d=d: dy.concatenate([x], d), x=(3,))
add("concatenate, default", lambda dy, x, y: dy.concatenate([x, y]), x=(2, 2), y=(1, 2))
add("concatenate, by name", lambda dy, x, y: dy.concatenate([x, y], d=1), x=(2, 2), y=(2, 1))
add("concatenate one twice", lambda dy, x, y: dy.concatenate([x, y, x]), x=(2,), y=(1,))
for a, b in [((3,), (3,)), ((3, 2), (3,)), ((3,), (3, 2)), ((2, 3), (2, 1)), ((1,), (1,))]:
    for batch in BATCHES[:4]:
        add(
            f"concatenate_cols {a} {b} {batch}",
            lambda dy, x, y: dy.concatenate_cols([x, y]),
            x=a,
            y=b,
            batch=batch,
        )
add("concatenate_cols of one", lambda dy, x: dy.concatenate_cols([x]), x=(3,))
for shape in [(3,), (2, 3), (1,)]:
    for batch in BATCHES[:4]:
        add(
            f"concatenate_to_batch {shape} {batch}",
            lambda dy, x, y: dy.concatenate_to_batch([x, y]),
            x=shape,
            y=shape,
            batch=batch,
        )
for batch in [{}, {"x": 2}]:
    add(
        f"concatenate_to_batch of one {batch}",
        lambda dy, x: dy.concatenate_to_batch([x]),
        x=(3,),
        batch=batch,
    )

AFFINE = [
    ((2,), (2, 3), (3,)), ((2,), (2, 3), (3, 4)), ((2, 4), (2, 3), (3, 4)),
    ((2, 1), (2, 3), (3, 4)), ((2,), (2, 3), (3, 1)), ((2, 1), (2, 3), (3,)),
    ((2, 1), (2, 3), (3, 1)), ((2,), (2,), (1,)), ((1,), (1, 3), (3,)), ((1,), (1,), (1,)),
    ((2,), (2, 1), (1,)), ((2,), (2,), (1, 3)),
]  # fmt: skip
for b, w, x in AFFINE:
    for batch in [{}, {"b": 2}, {"w": 2}, {"x": 2}, {"b": 2, "w": 2, "x": 2}]:
        columns = len(x) == 2 and x[1] > 1
        if columns and "b" in batch and b[1:] != x[1:]:
            continue  # not implemented in the wheel
        add(
            f"affine_transform {b} {w} {x} {batch}",
            lambda dy, b, w, x: dy.affine_transform([b, w, x]),
            b=b,
            w=w,
            x=x,
            batch=batch,
        )
for batch in [{}, {"x": 2}, {"v": 2}, {"b": 2, "w": 2, "x": 2, "u": 2, "v": 2}]:
    add(
        f"affine_transform of two pairs {batch}",
        lambda dy, b, w, x, u, v: dy.affine_transform([b, w, x, u, v]),
        b=(2,),
        w=(2, 3),
        x=(3,),
        u=(2, 4),
        v=(4,),
        batch=batch,
    )
add("affine_transform of a bias", lambda dy, b: dy.affine_transform([b]), b=(2, 3))
