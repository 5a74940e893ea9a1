"""Functions of one argument, and arithmetic of two."""

from recording import Table

TABLE = Table()
add = TABLE.add

DOMAINS = {
    "positive": "log sqrt lgamma",
    "unit": "asin acos atanh",
    "normal": "exp square cube abs erf log_sigmoid logistic rectify elu selu silu softsign tanh "
    "sin cos tan atan sinh cosh asinh",
}
for domain, names in DOMAINS.items():
    for name in names.split():

        def function(dy, x, name=name):
            return getattr(dy, name)(x)

        add(name, function, x=(5,), domain=domain)
        if name != "softsign":  # the wheel takes vectors alone there
            add(f"{name}, batched matrix", function, x=(2, 3), batch={"x": 3}, domain=domain)
        add(f"{name}, scalar", function, x=(1,), domain=domain)
for batch in [{}, {"x": 2}]:
    add(f"acosh {batch}", lambda dy, x: dy.acosh(x + 1), x=(4,), batch=batch, domain="positive")
add("elu, alpha", lambda dy, x: dy.elu(x, alpha=0.3), x=(6,))
add("elu, negative alpha", lambda dy, x: dy.elu(x, -0.5), x=(6,))

# Where there are kinks and limits. Only what the functions promise: DyNet's value and gradient
EDGES = [0.0, 1.0, -1.0, 30.0, -30.0, 1e-20]
for name in "exp square cube abs erf logistic rectify elu selu softsign tanh atan asinh".split():
    add(
        f"{name}, edges",
        lambda dy, x, name=name: getattr(dy, name)(x),
        x=(6,),
        domain=EDGES if name != "exp" else [*EDGES[:3], 10.0, -30.0, 1e-20],
    )
for name in "bmax bmin".split():
    add(
        f"{name}, ties",
        lambda dy, x, y, name=name: getattr(dy, name)(x, y),
        x=(4,),
        y=(4,),
        domain={"x": [1.0, 2.0, -1.0, 0.0], "y": [1.0, 1.0, 1.0, 0.0]},
    )


@TABLE.script()
def silu_beta(dy, rng):
    """Without the gradient, which is wrong in the wheel."""
    x = dy.inputTensor(rng.standard_normal(6))
    return {str(b): dy.silu(x, beta=b).npvalue() for b in (2.5, -1.5, 0.0)}


# Gradients of rounding are left to plain tests: there the wheel hands on what lay in memory
for name in "round ceil floor".split():

    @TABLE.script(f"{name} of whole and half numbers")
    def whole_numbers(dy, rng, name=name):
        x = dy.inputTensor([0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 0.4, -0.6, 7.0, -2.2, 0.49999997, 1e9])
        y = getattr(dy, name)(x, gradient_mode="straight_through_gradient")
        z = getattr(dy, name)(x, "zero_gradient")
        return {"straight through": y.npvalue(), "zero": z.npvalue()}


for mode in "zero_gradient straight_through_gradient".split():
    for batch in [{}, {"x": 3}]:
        add(
            f"argmax, {mode} {batch}",
            lambda dy, x, mode=mode: dy.argmax(x, gradient_mode=mode),
            x=(4,),
            batch=batch,
        )
    add(
        f"argmax of ties, {mode}",
        lambda dy, x, mode=mode: dy.argmax(x, mode),
        x=(4,),
        domain=[1.0, 3.0, 3.0, 2.0],
    )

PAIRS = [
    ((3,), (3,)), ((3,), (1,)), ((1,), (3,)), ((2, 3), (2,)), ((2,), (2, 3)), ((2, 3), (1, 3)),
    ((2, 3), (2, 1)), ((2, 1), (1, 3)), ((1, 3), (3,)), ((3,), (3, 1)), ((3, 1), (3,)),
    ((2, 3, 2), (2, 3)), ((2, 3, 2), (1,)), ((1,), (1,)), ((1, 1), (1,)), ((2, 3), (2, 3)),
]  # fmt: skip
BATCHES = [{}, {"x": 3}, {"y": 3}, {"x": 3, "y": 3}]
for a, b in PAIRS:
    for batch in BATCHES:
        add(f"cmult {a} {b} {batch}", lambda dy, x, y: dy.cmult(x, y), x=a, y=b, batch=batch)
        add(f"add {a} {b} {batch}", lambda dy, x, y: x + y, x=a, y=b, batch=batch)
        add(f"subtract {a} {b} {batch}", lambda dy, x, y: x - y, x=a, y=b, batch=batch)

# Of quotients the right side is repeated only
for a, b in PAIRS:
    missing = len(b) - len(a)
    if all(n in (1, m) for m, n in zip(a + (1,) * missing, b)):
        for batch in [{}, {"x": 3}, {"x": 3, "y": 3}]:
            add(
                f"cdiv {a} {b} {batch}",
                lambda dy, x, y: dy.cdiv(x, y),
                x=a,
                y=b,
                batch=batch,
                domain={"y": "positive"},
            )

for batch in BATCHES:
    add(
        f"colwise_add {batch}", lambda dy, x, y: dy.colwise_add(x, y), x=(2, 3), y=(2,), batch=batch
    )
add("colwise_add of a column", lambda dy, x, y: dy.colwise_add(x, y), x=(2, 3), y=(2, 1))
add("colwise_add of one row", lambda dy, x, y: dy.colwise_add(x, y), x=(1, 3), y=(1,))
for shape in [(3,), (2, 3), (1,)]:
    for batch in [{}, {"x": 2}]:
        add(
            f"pow {shape} {batch}",
            lambda dy, x, y: dy.pow(x, y),
            x=shape,
            y=(1,),
            batch=batch,
            domain="positive",
        )
add("pow, exponent a matrix", lambda dy, x, y: dy.pow(x, y), x=(3,), y=(1, 1), domain="positive")
add("pow of a column", lambda dy, x, y: dy.pow(x, y), x=(3, 1), y=(1,), domain="positive")
for name in "bmin bmax".split():
    for shape in [(4,), (2, 3), (1,)]:
        for batch in [{}, {"x": 2, "y": 2}]:
            add(
                f"{name} {shape} {batch}",
                lambda dy, x, y, name=name: getattr(dy, name)(x, y),
                x=shape,
                y=shape,
                batch=batch,
            )
for shape, dims in [((4,), [0]), ((2, 3), [0, 1, 2]), ((2, 3, 2), [0, 1, 2])]:
    for d in dims:
        for batch in [{}, {"x": 2}] if len(shape) < 3 else [{}]:
            add(f"cumsum {shape} {d} {batch}", lambda dy, x, d=d: dy.cumsum(x, d), x=shape,
                batch=batch)  # fmt: skip
add("cumsum, default", lambda dy, x: dy.cumsum(x), x=(2, 3))
add("cumsum, by name", lambda dy, x: dy.cumsum(x, d=1), x=(2, 3))
