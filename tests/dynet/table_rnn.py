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
        for layers in (1, 3):
            sequence(builder, layers, way, "")
            sequence(builder, layers, way, "whole")
        if builder in ("vanilla", "coupled", "compact", "fast"):
            sequence(builder, 2, way, "memory")  # of "sparse" it crashes the wheel
        if builder != "compact":  # the wheel has no batches there without a state
            sequence(builder, 2, way, "", x_batch=5)
        sequence(builder, 2, way, "whole", x_batch=5, s_batch=5)
        if builder != "compact":
            sequence(builder, 2, way, "whole", x_batch=5)
            sequence(builder, 2, way, "whole", s_batch=5)


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
