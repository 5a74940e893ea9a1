"""Operators on expressions."""

from recording import Table

TABLE = Table()
add = TABLE.add

add("add", lambda dy, x, y: x + y, x=(3,), y=(3,))
add("add, one batched", lambda dy, x, y: x + y, x=(2, 3), y=(2, 3), batch={"y": 4})
add("add, columns missing", lambda dy, x, y: x + y, x=(2, 3), y=(2,))
add("add, columns missing, batched", lambda dy, x, y: y + x, x=(2, 3), y=(2,), batch={"x": 2})
add("add, scalar expression", lambda dy, x, y: y + x, x=(2, 3), y=(1,))
add("add, number", lambda dy, x: x + 2, x=(3,))
add("subtract", lambda dy, x, y: x - y, x=(3,), y=(3,), batch={"x": 3, "y": 3})
add("subtract, number", lambda dy, x: x - 2.5, x=(3,))
add("negative", lambda dy, x: -x, x=(3,))
add("divide, number", lambda dy, x: x / 4, x=(2, 3))
add("power, number", lambda dy, x: x**3, x=(3,))
add("power, scalar expression", lambda dy, x, y: x**y, x=(3,), y=(1,), domain="positive")
for shapes in [((2, 3), (3,)), ((2, 3), (3, 4)), ((2, 3), (3, 1)), ((3,), (1,)), ((3,), (1, 4)),
               ((3, 1), (1, 2)), ((1,), (1,)), ((1, 3), (3,)), ((1, 3), (3, 2))]:  # fmt: skip
    for batch in [{}, {"x": 2}, {"y": 2}, {"x": 2, "y": 2}]:
        add(
            f"multiply {shapes} {batch}",
            lambda dy, x, y: x * y,
            x=shapes[0],
            y=shapes[1],
            batch=batch,
        )
