"""Picks, ranges, rows, columns, examples of a batch, and indexing."""

from recording import Table

TABLE = Table()
add = TABLE.add

for batch in ({}, {"x": 2}):
    for shape, i, d in (
        ((5,), 3, 0), ((1,), 0, 0), ((4, 3), 2, 0), ((4, 3), 2, 1), ((2, 3, 4), 1, 0),
        ((2, 3, 4), 2, 1), ((2, 3, 4), 3, 2), ((1, 5), 0, 0), ((5, 1), 4, 0), ((5, 1), 0, 1),
    ):  # fmt: skip
        name = f"{shape} {i} {d} {batch}"
        add(f"pick {name}", lambda dy, x, i=i, d=d: dy.pick(x, i, d), x=shape, batch=batch)
    for shape, s, e, d in (
        ((5,), 1, 4, 0), ((5,), 0, 5, 0), ((5,), 4, 5, 0), ((4, 3), 1, 3, 0), ((4, 3), 1, 3, 1),
        ((2, 3, 4), 1, 2, 1), ((2, 3, 4), 1, 4, 2),
    ):  # fmt: skip
        add(f"pick_range {shape} {s} {e} {d} {batch}",
            lambda dy, x, s=s, e=e, d=d: dy.pick_range(x, s, e, d), x=shape,
            batch=batch)  # fmt: skip
    add(f"pick default {batch}", lambda dy, x: dy.pick(x), x=(4,), batch=batch)
    add(f"pick by keyword {batch}", lambda dy, x: dy.pick(e=x, index=1, dim=1), x=(2, 2),
        batch=batch)  # fmt: skip
    add(f"pickrange {batch}", lambda dy, x: dy.pickrange(x, 1, 3), x=(4, 2), batch=batch)
    for shape, strides, begin, end in (
        ((5,), [2], [1], [4]), ((5,), [2], [], []), ((5,), [], [], []), ((4, 3), [1, 2], [1], []),
        ((4, 3), [3, 1], [0, 1], [4, 2]), ((2, 3, 4), [1, 2, 3], [1], []),
        ((2, 3, 4), [1, 1, 2], [0, 1, 1], [2, 3, 4]), ((4, 3), [1, 1, 1], [1, 1, 0], [4, 3, 1]),
    ):  # fmt: skip
        add(f"strided_select {shape} {strides} {begin} {end} {batch}",
            lambda dy, x, a=strides, b=begin, c=end: dy.strided_select(x, a, b, c),
            x=shape, batch=batch)  # fmt: skip
    for shape, rows in (((4, 3), [2, 0, 2]), ((4, 3), [1]), ((5,), [4, 4, 0]), ((3, 2, 2), [2, 1]),
                        ((3, 1), [0, 1])):  # fmt: skip
        add(f"select_rows {shape} {rows} {batch}",
            lambda dy, x, r=rows: dy.select_rows(x, r), x=shape, batch=batch)  # fmt: skip
    for shape, columns in (((2, 4), [2, 0, 2]), ((2, 4), [3]), ((3, 1), [0, 0])):
        add(f"select_cols {shape} {columns} {batch}",
            lambda dy, x, c=columns: dy.select_cols(x, c), x=shape, batch=batch)  # fmt: skip
    for name, index in (
        ("x[2]", 2), ("x[-1]", -1), ("x[1:3]", slice(1, 3)), ("x[::2]", slice(None, None, 2)),
        ("x[2:]", slice(2, None)), ("x[:2]", slice(None, 2)), ("x[:]", slice(None)),
        ("x[1:4:2]", slice(1, 4, 2)),
    ):  # fmt: skip
        for shape in ((4,), (4, 3)):
            add(f"{name} {shape} {batch}", lambda dy, x, i=index: x[i], x=shape, batch=batch)
    for name, index in (
        ("x[:, 1:]", (slice(None), slice(1, None))), ("x[1:2, ::2]", (slice(1, 2), slice(0, 3, 2))),
        ("x[:, :, 0:1]", (slice(None), slice(None), slice(0, 1))), ("x[1:, ]", (slice(1, None),)),
        ("x[()]", ()),
    ):  # fmt: skip
        add(f"{name} {batch}", lambda dy, x, i=index: x[i], x=(2, 3), batch=batch)

add("x[:, 1:3]", lambda dy, x: x[:, 1:3], x=(4,), batch={"x": 4})
add("x[1:3, 0:4:2]", lambda dy, x: x[1:3, 0:4:2], x=(4,), batch={"x": 4})
add("x[0:1, :, 1:2]", lambda dy, x: x[0:1, :, 1:2], x=(2, 3), batch={"x": 3})
add("strided_select of the batch", lambda dy, x: dy.strided_select(x, [1, 2, 2], [0, 0, 0], []),
    x=(2, 3), batch={"x": 4})  # fmt: skip
for i in (0, 2):
    add(f"pick_batch_elem {i}", lambda dy, x, i=i: dy.pick_batch_elem(x, i), x=(2, 3),
        batch={"x": 3})  # fmt: skip
add("pick_batch_elem of a single example", lambda dy, x: dy.pick_batch_elem(x, 0), x=(2, 3))
for rows in ([2, 0, 2], [1], [0, 1, 2], [2, 1, 0, 0, 0]):
    add(f"pick_batch_elems {rows}", lambda dy, x, r=rows: dy.pick_batch_elems(x, r), x=(2, 3),
        batch={"x": 3})  # fmt: skip
add("pick_batch_elems of a single example", lambda dy, x: dy.pick_batch_elems(x, [0, 0]), x=(2, 3))
for shape, d, indices in (((5,), 0, [3, 3, 1]), ((4, 2), 0, [3, 0, 1]), ((4, 2), 1, [1, 0, 1]),
                          ((2, 3, 4), 2, [3, 1, 0])):  # fmt: skip
    add(f"pick_batch {shape} {d}", lambda dy, x, i=indices, d=d: dy.pick_batch(x, i, d), x=shape,
        batch={"x": 3})  # fmt: skip
add("pick_batch of a single example", lambda dy, x: dy.pick_batch(x, [3, 1, 1]), x=(4,))
add("pick_batch of one index", lambda dy, x: dy.pick_batch(x, [2]), x=(4,))


@TABLE.case(x=(3, 2))
def iterated(dy, x):
    a, b, c = x
    return a - dy.cmult(b, c)


@TABLE.case(x=(4, 3), batch={"x": 2})
def set_index(dy, x):
    first, second = x[0], dy.pick(x, 0, 1)
    first.set_index(3)
    second.set_index(2)
    both = dy.pick_batch(x, [0, 1])
    both.set_index([2, 3])
    return dy.cmult(first, both) - dy.cmult(second[0], both)
