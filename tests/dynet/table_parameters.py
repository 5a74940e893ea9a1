"""Parameters, tables, collections, and the distributions of the initialisers."""

import numpy as np
from recording import Table

TABLE = Table()
script = TABLE.script


def total(dy, *expressions):
    """Differentiate the sum of all elements."""
    loss = dy.esum([dy.sum_batches(dy.sum_elems(e)) for e in expressions])
    loss.backward()


@script()
def shapes(dy, rng):
    m = dy.ParameterCollection()
    found = {}
    for dim in [3, 1, (3,), (2, 3), (2, 3, 1), (2, 1, 2, 1), (0, 3)]:
        p = m.add_parameters(dim)
        found[f"{dim} {p.name()}"] = np.array([*p.shape(), -1, *p.dim()[0], p.dim()[1]])
    for dim in [3, (3, 1), (3,), (2, 3), (2, 3, 4), (2, 3, 1, 2), (2.0, 3)]:
        p = m.add_lookup_parameters(dim)
        row = p[1].npvalue() if len(p.shape()) > 1 else np.zeros(0)
        found[f"table {dim} {p.name()}"] = np.array(
            [*p.shape(), -1, *p.dim()[0], p.dim()[1], -1, len(p), -1, *row.shape]
        )
    found["count"] = np.array(m.parameter_count())
    return found


@script()
def names(dy, rng):
    m = dy.ParameterCollection()
    made = [m.add_parameters(2), m.add_lookup_parameters((2, 2)), m.add_parameters(2, name="w")]
    made += [m.add_parameters(2, name="w"), m.add_lookup_parameters((2, 2), name="w")]
    part, again = m.add_subcollection("part"), m.add_subcollection("part")
    unnamed, same = m.add_subcollection(), m.add_subcollection("w")
    made += [part.add_parameters(1), part.add_parameters(1, name="w"), again.add_parameters(1)]
    inner = unnamed.add_subcollection("inner")
    made += [inner.add_lookup_parameters((1, 1)), same.add_parameters(1), m.add_parameters(1)]
    collections = [m, part, again, unnamed, same, inner]
    return {
        "made": np.array([p.name() for p in made]),
        "collections": np.array([c.name() for c in collections]),
        "parameters": np.array([p.name() for p in m.parameters_list()]),
        "tables": np.array([p.name() for p in m.lookup_parameters_list()]),
        "of a part": np.array([p.name() for p in part.parameters_list()]),
        "counts": np.array([c.parameter_count() for c in collections]),
        "texts": np.array([str(made[0]), repr(made[1])]),
    }


@script()
def weight_decay_settings(dy, rng):
    m = dy.ParameterCollection()
    before = m.add_subcollection()
    m.set_weight_decay(0.1)
    after = m.add_subcollection()
    after.set_weight_decay_lambda(0.2)
    return {"decay": np.array([c.get_weight_decay() for c in (m, before, after)])}


@script()
def values(dy, rng):
    m = dy.ParameterCollection()
    p = m.add_parameters((2, 3), init=rng.standard_normal((2, 3)))
    q = m.parameters_from_numpy(rng.standard_normal((2, 2, 2)))
    t = m.add_lookup_parameters((4, 2, 3), name="t")  # DyNet reads rows of such arrays transposed
    for i in range(4):
        t.init_row(i, rng.standard_normal(6).tolist())
    v = m.lookup_parameters_from_numpy(rng.standard_normal((4, 3)), name="v")
    found = {"p": p.value(), "vector": np.array(p.vec_value()), "q": q.value(), "t": t.value()}
    found |= {"row": t[1].npvalue(), "rows": t.batch([1, 3]).npvalue(), "one": t.batch([2]).value()}
    found |= {"flat": np.array(v.batch([1, 3]).value()), "v row": np.array(v[2].value())}
    found |= {"row array": t.row_as_array(1), "rows array": t.rows_as_array([1, 0])}
    p.scale(2)
    t.scale(0.5)
    q.zero()
    found |= {"scaled": p.as_array(), "table scaled": t.as_array(), "zero": q.as_array()}
    p.clip_inplace(-0.5, 0.25)
    found["clipped"] = p.as_array()
    p.set_value(rng.standard_normal((2, 3)))
    v.init_from_array(rng.standard_normal((4, 3)))
    t.init_row(2, [1, 2, 3, 4, 5, 6])
    found |= {"set": p.as_array(), "table set": v.as_array(), "row set": t.as_array()}
    t.zero()
    dy.renew_cg()  # DyNet goes on using values that it computed before
    return found | {"table zero": t.as_array(), "operators": (p + 1).npvalue()}


@script()
def gradients(dy, rng):
    m = dy.ParameterCollection()
    p = m.add_parameters((2, 3), init=rng.standard_normal((2, 3)))
    unused = m.add_parameters(2)
    t = m.add_lookup_parameters((4, 2, 3))
    for i in range(4):
        t.init_row(i, rng.standard_normal(6).tolist())
    found = {"none": t.grad_as_array()}
    row = dy.lookup(t, 1)
    batch = dy.lookup_batch(t, [1, 3, 3])
    total(dy, dy.cmult(p, row), batch, dy.lookup(t, 0, update=False))
    found |= {"p": p.gradient(), "t": t.grad_as_array(), "row": row.gradient()}
    found |= {"batch": batch.gradient(), "t row": t.row_grad_as_array(3)}
    found["rows"] = t.rows_grad_as_array([3, 0])
    dy.renew_cg()
    total(dy, p, dy.lookup_batch(t, [0, 2], update=False))
    found |= {"last": p.gradient(), "accumulated": p.grad_as_array(), "same": t.grad_as_array()}
    p.scale_gradient(0.5)
    t.scale_gradient(3)
    found |= {"scaled": p.grad_as_array(), "table scaled": t.grad_as_array()}
    found["unused"] = unused.grad_as_array()
    return found


@script()
def gradient_of_a_whole_table(dy, rng):
    m = dy.ParameterCollection()
    t = m.add_lookup_parameters((4, 3), init=rng.standard_normal((4, 3)))
    x = dy.inputTensor(rng.standard_normal((2, 3)))
    total(dy, x * t, t[1])
    return {"gradient": t.grad_as_array(), "value": (x * t).npvalue()}


@script()
def constants(dy, rng):
    m = dy.ParameterCollection()
    p = m.add_parameters((2, 3), init=rng.standard_normal((2, 3)))
    t = m.add_lookup_parameters((2, 3), init=rng.standard_normal((2, 3)))
    a, b = dy.const_parameter(p, t)
    found = {"p": a.npvalue(), "t": b.npvalue(), "expr": p.expr().npvalue()}
    total(dy, a * b, p.expr(), p.expr(update=False) * t.expr(), p.expr(update=True))
    return found | {"gradient": p.grad_as_array(), "table": t.grad_as_array()}


@script()
def other_rows(dy, rng):
    m = dy.ParameterCollection()
    t = m.add_lookup_parameters((4, 3), init=rng.standard_normal((4, 3)))
    row, batch = dy.lookup(t, 1), t.batch([0, 1])
    y = dy.cmult(row, batch)
    found = {"before": y.npvalue()}
    row.set(2)
    batch.set([3, 0])
    found["after"] = y.npvalue()
    total(dy, y)
    return found | {"gradient": t.grad_as_array()}


SHAPES = [(20000,), (1, 20000), (100, 200), (200, 100), (20, 30, 40)]
SHAPES += [(5, 6, 7, 100), (3, 3, 100, 25), (2, 3, 4, 5, 200)]


def spread(p):
    """Measures of a distribution that agree between draws."""
    a = p.as_array()
    return np.array([np.abs(a - a.mean()).max(), a.std(), np.abs(a).mean()])


@script(rtol=0.03)
def glorot(dy, rng):
    m = dy.ParameterCollection()
    found = {}
    for shape in SHAPES:
        found[f"{shape}"] = spread(m.add_parameters(shape))
        found[f"{shape} gain"] = spread(m.add_parameters(shape, init=dy.GlorotInitializer(gain=2)))
        found[f"table {shape}"] = spread(m.add_lookup_parameters(shape))
        found[f"table {shape} name"] = spread(m.add_lookup_parameters(shape, init="glorot"))
        if len(shape) > 1:
            rows = dy.GlorotInitializer(is_lookup=True)
            found[f"table {shape} rows"] = spread(m.add_lookup_parameters(shape, init=rows))
            found[f"{shape} rows"] = spread(m.add_parameters(shape, init=rows))
    return found


@script(rtol=0.03)
def uniform(dy, rng):
    m = dy.ParameterCollection()
    made = [m.add_parameters((100, 200), init="uniform", scale=0.3)]
    made += [m.add_lookup_parameters((100, 200), init="uniform", scale=3)]
    made += [m.add_parameters((100, 200), init=dy.UniformInitializer(2))]
    return {"spread": np.stack([spread(p) for p in made])}


@script(rtol=0.03)
def normal(dy, rng):
    m = dy.ParameterCollection()
    made = [m.add_parameters((200, 200), init="normal", mean=2, std=0.5)]
    made += [m.add_lookup_parameters((200, 200), init="normal", mean=-2, std=3)]
    made += [m.add_parameters((200, 200), init=dy.NormalInitializer(1, 4))]
    made += [m.add_lookup_parameters((200, 200), init=dy.NormalInitializer(mean=1))]
    arrays = [p.as_array() for p in made]
    return {
        "std": np.array([a.std() for a in arrays]),
        "mean": np.array([a.mean() for a in arrays]),
    }


@script()
def fixed(dy, rng):
    m = dy.ParameterCollection()
    return {
        "constant": m.add_parameters((2, 3), init=dy.ConstInitializer(2.5)).as_array(),
        "number": m.add_lookup_parameters((2, 3), init=3).as_array(),
        "identity": m.add_parameters((3, 3), init="identity").as_array(),
        "table": m.add_lookup_parameters((3, 3), init=dy.IdentityInitializer()).as_array(),
        "array": m.add_parameters((2, 3), init=dy.NumpyInitializer(rng.rand(2, 3))).as_array(),
        "shape of the array": m.add_parameters((2, 3), init=rng.rand(3, 2)).as_array(),
    }


@script(rtol=1e-3)
def saxe(dy, rng):
    m = dy.ParameterCollection()
    a = m.add_parameters((20, 20), init=dy.SaxeInitializer()).as_array()
    b = m.add_parameters((20, 20), init=dy.SaxeInitializer(3)).as_array()
    return {"product": a @ a.T, "scaled": b.T @ b}
