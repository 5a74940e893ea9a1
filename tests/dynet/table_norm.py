"""Normalisation. The wheel refuses `layer_norm` of three dimensions: see `test_norm.py`."""

from itertools import product

from recording import Table

TABLE = Table()
add = TABLE.add


def normalise(dy, x, g, b):
    return dy.layer_norm(x, g, b)


for flags in product([False, True], repeat=3):
    batch = {name: 2 for name, flag in zip("xgb", flags) if flag}
    add(f"layer_norm {batch}", normalise, x=(5,), g=(5,), b=(5,), batch=batch)
for x, g, b in [((2, 3), (2, 3), (2, 3)), ((2, 3), (2,), (2,)), ((3,), (1,), (3,)),
                ((3,), (3,), (1,)), ((3,), (3, 1), (3,))]:  # fmt: skip
    for batch in ({}, {"x": 2}, {"x": 2, "g": 2, "b": 2}):
        add(f"layer_norm {x} {g} {b} {batch}", normalise, x=x, g=g, b=b, batch=batch)
for w in [(3,), (2, 3), (2, 2, 2)]:
    add(f"weight_norm {w}", lambda dy, w, g: dy.weight_norm(w, g), w=w, g=(1,))
add("weight_norm, gain of two dimensions", lambda dy, w, g: dy.weight_norm(w, g), w=(3,), g=(1, 1))
