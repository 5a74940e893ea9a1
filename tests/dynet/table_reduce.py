"""Reductions."""

from recording import Table

TABLE = Table()
add = TABLE.add
BATCHES = [{}, {"x": 3}]

ELEMS = {
    "sum_elems": lambda dy, x: dy.sum_elems(x),
    "mean_elems": lambda dy, x: dy.mean_elems(x),
    "std_elems": lambda dy, x: dy.std_elems(x),
    "squared_norm": lambda dy, x: dy.squared_norm(x),
    "l2_norm": lambda dy, x: dy.l2_norm(x),
    **{f"moment_elems {r}": lambda dy, x, r=r: dy.moment_elems(x, r) for r in (1, 2, 3, 4, 5)},
}
NOT_OF_CUBES = {name for name in ELEMS if name.startswith(("mean", "std", "moment"))}
OVER_BATCH = {
    "sum_batches": lambda dy, x: dy.sum_batches(x),
    "mean_batches": lambda dy, x: dy.mean_batches(x),
    **{f"moment_batches {r}": lambda dy, x, r=r: dy.moment_batches(x, r) for r in (1, 2, 3, 4, 5)},
}
for name, function in (ELEMS | OVER_BATCH).items():
    for shape in [(4,), (2, 3), (1,), (2, 3, 2)]:
        for batch in BATCHES:
            if name == "std_elems" and shape == (1,):
                continue  # 0, where the wheel's gradient is no number
            if len(shape) == 3 and name in NOT_OF_CUBES:
                continue  # refused there
            add(f"{name} {shape} {batch}", function, x=shape, batch=batch)
for shape in [(4,), (2, 3), (1,)]:
    add(f"std_batches {shape}", lambda dy, x: dy.std_batches(x), x=shape, batch={"x": 3})

DIMS = [((4,), [0]), ((2, 3), [0]), ((2, 3), [1]), ((2, 3), [0, 1]), ((2, 3), [1, 0]),
        ((3, 1), [1]), ((3, 1), [0]), ((2, 3, 2), [1]), ((2, 3, 2), [2, 0])]  # fmt: skip
for shape, d in DIMS:
    for batch in BATCHES:
        for b in (False, True):
            key = f"{shape} {d} {b} {batch}"
            add(f"sum_dim {key}", lambda dy, x, d=d, b=b: dy.sum_dim(x, d, b), x=shape, batch=batch)
            add(
                f"mean_dim {key}",
                lambda dy, x, d=d, b=b: dy.mean_dim(x, d, b),
                x=shape,
                batch=batch,
            )
            for r in (1, 2, 3, 4):
                add(
                    f"moment_dim {key}, order {r}",
                    lambda dy, x, d=d, r=r, b=b: dy.moment_dim(x, d, r, b),
                    x=shape,
                    batch=batch,
                )
            if shape != (3, 1) or d != [1] or (b and batch):
                add(
                    f"std_dim {key}",
                    lambda dy, x, d=d, b=b: dy.std_dim(x, d, b),
                    x=shape,
                    batch=batch,
                )
for name in "sum_dim mean_dim std_dim".split():
    add(
        f"{name}, batch alone",
        lambda dy, x, name=name: getattr(dy, name)(x, [], True),
        x=(2, 3),
        batch={"x": 3},
    )
    for b in (False, True):
        add(
            f"{name}, n {b}",
            lambda dy, x, name=name, b=b: getattr(dy, name)(x, [1], b=b, n=5),
            x=(2, 3),
            batch={"x": 3},
        )
        add(
            f"{name}, n, all {b}",
            lambda dy, x, name=name, b=b: getattr(dy, name)(x, [0, 1], b, 5),
            x=(2, 3),
        )
for b in (False, True):
    add(
        f"moment_dim, n {b}",
        lambda dy, x, b=b: dy.moment_dim(x, [0], 2, b=b, n=5),
        x=(2, 3),
        batch={"x": 3},
    )
add("moment_dim, batch alone", lambda dy, x: dy.moment_dim(x, [], 2, True), x=(2,), batch={"x": 3})

for name in "max_dim min_dim logsumexp_dim".split():
    for shape, d in [((4,), 0), ((2, 3), 0), ((2, 3), 1), ((3, 1), 0), ((3, 1), 1), ((1,), 0),
                     ((2, 3, 2), 1), ((2, 3, 2), 2)]:  # fmt: skip
        if name == "logsumexp_dim" and (len(shape) == 3 or (shape, d) == ((3, 1), 1)):
            continue  # refused there, or wrong
        for batch in BATCHES:
            if not (batch and len(shape) == 3):
                add(
                    f"{name} {shape} {d} {batch}",
                    lambda dy, x, name=name, d=d: getattr(dy, name)(x, d),
                    x=shape,
                    batch=batch,
                )
    add(f"{name}, default", lambda dy, x, name=name: getattr(dy, name)(x), x=(2, 3))
    add(f"{name}, by name", lambda dy, x, name=name: getattr(dy, name)(x, d=1), x=(2, 3))
for name in "max_dim min_dim".split():
    add(
        f"{name} of ties",
        lambda dy, x, name=name: getattr(dy, name)(x),
        x=(4,),
        domain=[1.0, 3.0, 3.0, 1.0],
    )
