"""Recurrent builders: values and gradients per step, by `add_inputs` and by `transduce`."""

from typing import Any

import numpy as np
from recording import Table

TABLE = Table()
N_IN, N_HIDDEN = 3, 4
BUILDERS: dict[str, Any] = {
    "simple": lambda dy, layers, pc: dy.SimpleRNNBuilder(layers, N_IN, N_HIDDEN, pc),
    "gru": lambda dy, layers, pc: dy.GRUBuilder(layers, N_IN, N_HIDDEN, pc),
    "vanilla": lambda dy, layers, pc: dy.VanillaLSTMBuilder(layers, N_IN, N_HIDDEN, pc),
    "vanilla, forget bias": lambda dy, layers, pc: dy.LSTMBuilder(
        layers, N_IN, N_HIDDEN, pc, forget_bias=0.3
    ),
    "vanilla, normalised": lambda dy, layers, pc: dy.LSTMBuilder(
        layers, N_IN, N_HIDDEN, pc, ln_lstm=True, forget_bias=0.5
    ),
    "coupled": lambda dy, layers, pc: dy.CoupledLSTMBuilder(layers, N_IN, N_HIDDEN, pc),
    "compact": lambda dy, layers, pc: dy.CompactVanillaLSTMBuilder(layers, N_IN, N_HIDDEN, pc),
    "sparse": lambda dy, layers, pc: dy.SparseLSTMBuilder(layers, N_IN, N_HIDDEN, pc),
    "sparse, normalised": lambda dy, layers, pc: dy.SparseLSTMBuilder(
        layers, N_IN, N_HIDDEN, pc, True
    ),
    "fast": lambda dy, layers, pc: dy.FastLSTMBuilder(layers, N_IN, N_HIDDEN, pc),
}


def drawn(pc, rng) -> None:
    """Give every parameter numbers; masks of weights stay as they are."""
    for p in pc.parameters_list():
        if not (p.as_array() == 1).all() or len(p.shape()) == 1:
            p.set_value(rng.standard_normal(p.shape()))


def found(dy, pc, rng, outputs, leaves) -> dict[str, np.ndarray]:
    """Outputs, and the gradients of a weighted sum of them; one array of each sort."""
    loss = None
    for y in outputs:
        w = dy.inputTensor(rng.standard_normal(y.npvalue().shape), batched=y.dim()[1] > 1)
        part = dy.sum_elems(dy.cmult(y, w))
        part = dy.sum_batches(part) if y.dim()[1] > 1 else part
        loss = part if loss is None else loss + part
    loss.forward()
    loss.backward(full=True)
    return {
        "dimensions": np.array([n for y in outputs for n in (*y.dim()[0], y.dim()[1])]),
        "outputs": flat([y.npvalue() for y in outputs]),
        "gradients of inputs": flat([leaf.gradient() for leaf in leaves]),
        "gradients of parameters": flat([p.grad_as_array() for p in pc.parameters_list()]),
    }


def flat(arrays) -> np.ndarray:
    return np.concatenate([np.reshape(a, -1) for a in arrays])


def array_input(dy, rng, n, batch):
    if batch == 1:
        return dy.inputTensor(rng.standard_normal(n))
    return dy.inputTensor(rng.standard_normal((n, batch)), batched=True)


def sequence(name, layers, way, given, x_batch=1, s_batch=1):
    """A case: a builder run along a sequence."""

    @TABLE.script(f"{name}, {layers} layers, {way}, state {given}, batch {x_batch} {s_batch}")
    def run(dy, rng):
        pc = dy.ParameterCollection()
        builder = BUILDERS[name](dy, layers, pc)
        drawn(pc, rng)
        xs = [array_input(dy, rng, N_IN, x_batch) for _ in range(3)]
        vecs = []
        if given:
            one = name in ("simple", "gru")
            count = layers if one or given == "memory" else 2 * layers
            vecs = [array_input(dy, rng, N_HIDDEN, s_batch) for _ in range(count)]
        state = builder.initial_state(vecs) if given else builder.initial_state()
        if way == "transduce":
            outputs = state.transduce(xs)
        elif way == "add_inputs":
            outputs = [e for s in state.add_inputs(xs) for e in s.s()]
        else:
            outputs = []
            for x in xs:
                state = state.add_input(x)
                outputs += [state.output(), *state.s()]
        return found(dy, pc, rng, outputs, [*xs, *vecs])


for builder in BUILDERS:
    for way in ("add_input", "add_inputs", "transduce"):
        sequence(builder, 3, way, "")
        sequence(builder, 3, way, "whole")
    for way in ("add_input", "transduce"):
        sequence(builder, 1, way, "")
        sequence(builder, 2, way, "whole", x_batch=5, s_batch=5)
    if builder in ("vanilla", "coupled", "compact", "fast"):
        sequence(builder, 2, "transduce", "memory")  # of "sparse" it crashes the wheel
    if builder != "compact":  # there the wheel wants equal batches
        sequence(builder, 2, "add_inputs", "", x_batch=5)
        sequence(builder, 2, "add_input", "whole", x_batch=5)
        sequence(builder, 2, "transduce", "whole", s_batch=5)


def tree(name):
    """A case: states that branch, and vectors set by hand."""

    @TABLE.script(f"{name}, branches")
    def run(dy, rng):
        pc = dy.ParameterCollection()
        builder = BUILDERS[name](dy, 2, pc)
        drawn(pc, rng)
        xs = [array_input(dy, rng, N_IN, 1) for _ in range(4)]
        vecs = [array_input(dy, rng, N_HIDDEN, 1) for _ in range(4)]
        start = builder.initial_state()
        a = start.add_input(xs[0])
        b = a.add_input(xs[1])
        c = b.prev().add_input(xs[2])
        d = c.set_h(vecs[:2]).add_input(xs[3])
        e = d.set_s(vecs if name not in ("simple", "gru") else vecs[:2]).add_input(xs[1])
        f = builder.initial_state().add_input(xs[1])
        outputs = [z for s in (b, c, d, e, f) for z in s.s()]
        return found(dy, pc, rng, outputs, [*xs, *vecs])


for builder in BUILDERS:
    tree(builder)


def frozen(name):
    @TABLE.script(f"{name}, update=False")
    def run(dy, rng):
        pc = dy.ParameterCollection()
        builder = BUILDERS[name](dy, 2, pc)
        drawn(pc, rng)
        xs = [array_input(dy, rng, N_IN, 1) for _ in range(3)]
        state = builder.initial_state(update=False)
        outputs = [state.add_input(xs[0]).output(), *state.transduce(xs)]
        return found(dy, pc, rng, outputs, xs)


for builder in ("simple", "gru", "vanilla", "vanilla, normalised", "coupled", "sparse", "fast"):
    frozen(builder)


def bidirectional(factory, layers, way, batch=1):
    @TABLE.script(f"bidirectional {factory}, {layers} layers, {way}, batch {batch}")
    def run(dy, rng):
        pc = dy.ParameterCollection()
        builder = dy.BiRNNBuilder(layers, N_IN, 2 * N_HIDDEN, pc, getattr(dy, factory))
        drawn(pc, rng)
        xs = [array_input(dy, rng, N_IN, batch) for _ in range(4)]
        if way == "transduce":
            outputs = builder.transduce(xs)
        else:
            states = builder.add_inputs(xs)
            outputs = [e for pair in states for s in pair for e in s.s()]
        return found(dy, pc, rng, outputs, xs)


for factory in ("LSTMBuilder", "GRUBuilder", "SimpleRNNBuilder"):
    for layers in (1, 2, 3):
        for way in ("transduce", "add_inputs"):
            bidirectional(factory, layers, way)
    bidirectional(factory, 2, "transduce", batch=3)
    bidirectional(factory, 2, "add_inputs", batch=3)


@TABLE.script("bidirectional, builders given")
def builders_given(dy, rng):
    pc = dy.ParameterCollection()
    pairs = [
        (dy.LSTMBuilder(2, N_IN, 2, pc), dy.GRUBuilder(1, N_IN, 3, pc)),
        (dy.LSTMBuilder(1, 5, 2, pc, ln_lstm=True), dy.SimpleRNNBuilder(1, 5, 2, pc)),
    ]
    builder = dy.BiRNNBuilder(2, N_IN, 4, pc, dy.LSTMBuilder, pairs)
    drawn(pc, rng)
    xs = [array_input(dy, rng, N_IN, 1) for _ in range(3)]
    return found(dy, pc, rng, builder.transduce(xs), xs)


@TABLE.script("sparsity")
def sparsity(dy, rng):
    pc = dy.ParameterCollection()
    builder = dy.SparseLSTMBuilder(2, N_IN, N_HIDDEN, pc)
    drawn(pc, rng)
    builder.set_sparsity(0.4)
    masks = [p.as_array() for layer in builder.get_parameters() for p in layer[3:]]
    xs = [array_input(dy, rng, N_IN, 1) for _ in range(3)]
    result = found(dy, pc, rng, builder.initial_state().transduce(xs), xs)
    dy.renew_cg()
    builder.initial_state()
    weights = [e.npvalue() for layer in builder.get_parameter_expressions() for e in layer]
    return {**result, "masks": flat(masks), "weights": flat(weights)}


@TABLE.script("names and shapes")
def names(dy, rng):
    pc = dy.ParameterCollection()
    pc.add_parameters(2)
    builders = [make(dy, 2, pc) for _ in range(2) for make in BUILDERS.values()]
    builders.append(dy.BiRNNBuilder(2, N_IN, 6, pc, dy.LSTMBuilder))
    result = {"collections": np.array([b.param_collection().name() for b in builders])}
    result["all"] = np.array([f"{p.name()} {p.shape()}" for p in pc.parameters_list()])
    lists = [layer for b in builders[:-1] for layer in b.get_parameters()]
    result["lists"] = np.array([" ".join(p.name() for p in layer) for layer in lists])
    result["constant"] = np.array(
        [f"{p.as_array().std() == 0} {p.as_array().mean() in (0, 1)}" for p in pc.parameters_list()]
    )
    return result


def masks_of(dy, builder, x, state, p):
    """Masks of a builder of one layer, from the gradients of one step."""
    names = {3: (0, 1, 2, None), 5: (0, 1, 2, None), 11: (0, 1, 3, 2)}
    parameters = builder.get_parameters()[0]
    W, U, b, V = names[len(parameters)]
    for q in parameters:
        q.scale_gradient(0)
    dy.sum_elems(state.add_input(x).output()).backward()
    db = parameters[b].grad_as_array()[0]
    assert abs(db) > 1e-6
    found = {
        "x": parameters[W].grad_as_array()[0] / (db * x.npvalue()),
        "h": parameters[U].grad_as_array()[0] / (db * state.h()[0].npvalue()),
    }
    if V is not None:
        found["c"] = parameters[V].grad_as_array()[0] / (db * state.s()[0].npvalue())
    for mask in found.values():
        kept = np.isclose(mask, 1 / (1 - p), rtol=1e-3)
        left = np.isclose(mask, 1, rtol=1e-3)
        assert (kept | np.isclose(mask, 0, atol=1e-4)).all() or left.all()
    return found


def masks(name):
    """A case: a mask of inputs is one of the columns of the weights, at every step."""

    @TABLE.script(f"{name}, masks")
    def run(dy, rng):
        n, p = 20, 0.4
        pc = dy.ParameterCollection()
        builder = getattr(dy, name)(1, n, n, pc)
        for q in pc.parameters_list():
            if not (q.as_array() == 1).all():
                q.set_value(rng.standard_normal(q.shape()) * 0.3)
        builder.set_dropout(p)
        vecs = rng.uniform(0.5, 1.5, (1 if name == "SimpleRNNBuilder" else 2, n))
        inputs = rng.uniform(0.5, 1.5, (6, n))
        start = builder.initial_state([dy.inputTensor(v) for v in vecs])
        masks = masks_of(dy, builder, dy.inputTensor(inputs[0]), start, p)
        drops = [0 < (mask > 0.5).sum() < n for mask in masks.values()]
        dropped = [y.npvalue() for y in start.transduce([dy.inputTensor(x) for x in inputs])]
        builder.disable_dropout()
        parameters = builder.get_parameters()[0]
        places = {"x": [0], "h": [1]}
        if len(parameters) == 11:
            places = {"x": [0, 4, 8], "h": [1, 5, 9], "c": [2, 6]}
        for key, mask in masks.items():
            for k in places[key]:
                parameters[k].set_value(parameters[k].as_array() * mask)
        dy.renew_cg()
        start = builder.initial_state([dy.inputTensor(v) for v in vecs])
        scaled = [y.npvalue() for y in start.transduce([dy.inputTensor(x) for x in inputs])]
        agrees = np.allclose(dropped, scaled, atol=1e-3)
        return {"drops": np.array(drops), "agrees": np.array(agrees)}


for builder in (
    "SimpleRNNBuilder",
    "VanillaLSTMBuilder",
    "CompactVanillaLSTMBuilder",
    "SparseLSTMBuilder",
    "CoupledLSTMBuilder",
):
    masks(builder)
