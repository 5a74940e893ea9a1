"""Recurrent builders: dropout, noise, states, batching, bad input. Values: `table_rnn.py`."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from table_rnn import masks_of

import lazynet as ln
import lazynet.dynet as dy

MASKED = [
    "SimpleRNNBuilder",
    "VanillaLSTMBuilder",
    "CompactVanillaLSTMBuilder",
    "SparseLSTMBuilder",
    "CoupledLSTMBuilder",
]
ALL = [*MASKED, "GRUBuilder", "FastLSTMBuilder"]
N_IN, N = 3, 4


@pytest.fixture(autouse=True)
def new_graph() -> None:
    ln.seed(3)
    dy.renew_cg()


def make(name: str, layers: int = 1, n_in: int = N_IN, n: int = N, **settings):
    rng = np.random.RandomState(1)
    pc = dy.ParameterCollection()
    builder = getattr(dy, name)(layers, n_in, n, pc, **settings)
    for p in pc.parameters_list():
        if not (p.as_array() == 1).all():
            p.set_value(rng.standard_normal(p.shape()))
    return builder


def vector(n: int, seed: int = 0, batch: int = 0):
    rng = np.random.RandomState(seed)
    if batch:
        return dy.inputTensor(rng.uniform(0.5, 1.5, (n, batch)), batched=True)
    return dy.inputTensor(rng.uniform(0.5, 1.5, n))


def sequence(length: int, n: int = N_IN, batch: int = 0):
    return [vector(n, k, batch) for k in range(length)]


def per_step(state, xs):
    outputs = []
    for x in xs:
        state = state.add_input(x)
        outputs.append(state.output())
    return outputs


def close(a, b, tolerance: float = 1e-5) -> bool:
    pairs = zip(a, b, strict=True)
    return all(np.allclose(x.npvalue(), y.npvalue(), atol=tolerance) for x, y in pairs)


# Dropout


def test_one_class_under_two_names() -> None:
    assert dy.LSTMBuilder is dy.VanillaLSTMBuilder


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *[(name, {}) for name in MASKED],
        ("VanillaLSTMBuilder", {"ln_lstm": True}),
        ("SparseLSTMBuilder", {"ln_lstm": True}),
    ],
)
def test_a_graph_has_one_mask(name, settings) -> None:
    builder = make(name, 2, **settings)
    builder.set_dropout(0.5)
    start, xs = builder.initial_state(), sequence(4)
    first = per_step(start, xs)
    assert close(first, start.transduce(xs))
    assert close(first, builder.initial_state().transduce(xs))
    assert close(first, [s.output() for s in builder.initial_state().add_inputs(xs)])
    vecs = [vector(N, k) for k in range(2 * len(start.layers()[0]))]
    assert close(
        per_step(builder.initial_state(vecs), xs), builder.initial_state(vecs).transduce(xs)
    )
    values = first[-1].npvalue()
    others = []
    for _ in range(5):
        dy.renew_cg()
        others.append(per_step(builder.initial_state(), sequence(4))[-1].npvalue())
    assert not all(np.allclose(values, other) for other in others)


@pytest.mark.parametrize("name", ALL)
def test_no_dropout_equals_a_rate_of_zero(name) -> None:
    builder = make(name, 2)
    expected = [y.npvalue() for y in builder.initial_state().transduce(sequence(3))]
    for switch in (lambda: builder.set_dropout(0), builder.disable_dropout):
        if name != "FastLSTMBuilder":
            builder.set_dropout(0.5)
        switch()
        dy.renew_cg()
        for y, right in zip(per_step(builder.initial_state(), sequence(3)), expected):
            np.testing.assert_allclose(y.npvalue(), right, atol=1e-6)


@pytest.mark.parametrize("name", MASKED[:4])
def test_rates_of_inputs_and_hidden_states(name) -> None:
    n = 20
    one = name == "SimpleRNNBuilder"
    for rates, dropped in (((0.5, 0), "x"), ((0, 0.5), "h")):
        builder = make(name, n_in=n, n=n)
        for q in builder.get_parameters()[0][:3]:
            q.scale(0.3)
        builder.set_dropouts(*rates)
        start = builder.initial_state([vector(n, k) for k in range(1 if one else 2)])
        masks = masks_of(dy, builder, vector(n, 5), start, 0.5)
        assert {key for key, mask in masks.items() if (mask < 0.5).any()} == {dropped}
        dy.renew_cg()


def test_masks_of_a_minibatch() -> None:
    builder = make("VanillaLSTMBuilder", n_in=8, n=8)
    builder.set_dropout(0.5)
    x = dy.inputTensor(np.ones((8, 6)), batched=True)
    state = builder.initial_state()
    builder.set_dropout_masks(6)
    y = state.add_input(x).output()
    assert y.dim() == ((8,), 6)
    assert len(np.unique(y.npvalue().round(5), axis=1).T) > 1
    assert close([y], [state.add_input(x).output()])
    builder.set_dropout_masks()  # one for all examples
    y = state.add_input(x).output()
    assert len(np.unique(y.npvalue().round(5), axis=1).T) == 1
    # without a call, those of the first input, in whose number they are
    dy.renew_cg()
    x = dy.inputTensor(np.ones((8, 6)), batched=True)
    y = builder.initial_state().add_input(x).output()
    assert len(np.unique(y.npvalue().round(5), axis=1).T) > 1
    single = builder.initial_state().add_input(dy.inputTensor(np.ones(8))).output()
    assert close([single], [y])
    other = builder.initial_state().add_input(dy.inputTensor(np.ones((8, 3)), batched=True))
    assert other.output().dim() == ((8,), 3)


def test_masks_before_the_first_state_are_those_of_the_first_input() -> None:
    builder = make("SimpleRNNBuilder")
    builder.set_dropout(0.5)
    builder.set_dropout_masks(7)
    assert builder.initial_state().add_input(vector(N_IN)).output().dim() == ((N,), 1)


@pytest.mark.parametrize("name", MASKED)
def test_dropping_everything(name) -> None:
    builder = make(name, 2)
    builder.set_dropout(1)
    y = builder.initial_state().transduce(sequence(2))[-1]
    assert np.isfinite(y.npvalue()).all()  # the wheel gives NaN


def test_gru_draws_anew_at_each_step() -> None:
    builder = make("GRUBuilder", 2, n_in=30, n=30)
    builder.set_dropout(0.25)
    states = builder.initial_state().add_inputs(sequence(6, 30))
    more = builder.initial_state().add_input(vector(30))
    patterns = []
    for state in [*states, more]:
        ratio = state.output().npvalue() / state.h()[-1].npvalue()
        kept = np.isclose(ratio, 4 / 3, rtol=1e-3)
        assert (kept | (ratio == 0)).all()
        assert 0.4 < kept.mean() < 0.99
        patterns.append(tuple(kept))
    assert len(set(patterns)) == len(patterns)
    outputs = builder.initial_state().transduce(sequence(6, 30))
    assert all((y.npvalue() == 0).any() for y in outputs)


def test_gru_drops_inputs() -> None:
    builder = make("GRUBuilder", 1, n_in=30, n=30)
    builder.set_dropout(0.5)
    x = vector(30)
    state = builder.initial_state().add_input(x)
    dy.sum_elems(state.h()[0]).backward()
    gradient = x.gradient()
    assert 3 < (gradient == 0).sum() < 27


def test_dropout_of_the_fast_lstm_has_no_effect() -> None:
    builder = make("FastLSTMBuilder")
    right = builder.initial_state().transduce(sequence(3))
    with pytest.warns(UserWarning, match="no effect"):
        builder.set_dropout(0.5)
    assert close(builder.initial_state().transduce(sequence(3)), right)


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize(
    ("rate", "error"),
    [
        (-0.1, ValueError),
        (1.5, ValueError),
        (np.nan, ValueError),
        (None, TypeError),
        ("a", TypeError),
    ],
)
def test_rates_that_are_no_probability(name, rate, error) -> None:
    builder = make(name)
    with pytest.raises(error, match=name):
        builder.set_dropout(rate)
    if hasattr(builder, "set_dropouts"):
        with pytest.raises(error, match=name):  # the wheel aborts
            builder.set_dropouts(0.1, rate)


# Weight noise


def test_weight_noise() -> None:
    """With weights of zero, the gates are noise of a known variance."""
    n, std = 40, 0.5
    pc = dy.ParameterCollection()
    builder = dy.CompactVanillaLSTMBuilder(1, 3, n, pc)
    for p in pc.parameters_list():
        p.zero()
    x = np.array([1.0, -2.0, 0.5])
    quiet = builder.initial_state().add_input(dy.inputTensor(x)).s()[0].npvalue()
    assert (quiet == 0).all()
    builder.set_weightnoise(std)
    start = builder.initial_state()
    found = [start.add_input(dy.inputTensor(x)).s()[0].npvalue() for _ in range(200)]
    scan = [s.s()[0].npvalue() for s in start.add_inputs([dy.inputTensor(x)])]
    assert np.abs(scan).min() > 0
    rng = np.random.RandomState(0)
    i, g = rng.standard_normal((2, 400_000)) * std * np.sqrt(x @ x + 1)
    expected = np.mean((np.tanh(g) / (1 + np.exp(-i))) ** 2)
    assert np.mean(np.square(found)) == pytest.approx(expected, rel=0.06)
    assert len({a.tobytes() for a in found}) == 200
    builder.set_weightnoise(0)
    again = builder.initial_state().add_input(dy.inputTensor(x)).s()[0].npvalue()
    assert (again == 0).all()


def test_gradients_pass_weight_noise() -> None:
    builder = make("CompactVanillaLSTMBuilder")
    builder.set_weightnoise(0.3)
    x = vector(N_IN)
    dy.sum_elems(builder.initial_state().add_input(x).output()).backward()
    W, _, b = builder.get_parameters()[0]
    db = b.grad_as_array()
    np.testing.assert_allclose(W.grad_as_array(), np.outer(db, x.npvalue()), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(x.gradient(), W.as_array().T @ db, rtol=1e-4, atol=1e-6)


def test_bad_weight_noise() -> None:
    builder = make("CompactVanillaLSTMBuilder")
    with pytest.raises(ValueError, match="set_weightnoise"):
        builder.set_weightnoise(-1)
    with pytest.raises(TypeError, match="set_weightnoise"):
        builder.set_weightnoise(None)


# Sparsity


def test_bad_sparsity() -> None:
    builder = make("SparseLSTMBuilder")
    for value, error in (
        (2, ValueError),
        (-1, ValueError),
        (np.nan, ValueError),
        (None, TypeError),
    ):
        with pytest.raises(error, match="set_sparsity"):
            builder.set_sparsity(value)


def test_a_memory_alone_for_a_sparse_lstm() -> None:
    builder = make("SparseLSTMBuilder")  # the wheel crashes
    c, _ = builder.initial_state([vector(N)]).s()
    assert close([c], [vector(N)])
    assert builder.initial_state().set_h([vector(N)]).s()[0].npvalue().tolist() == [0] * N


# States


@pytest.mark.parametrize("name", ALL)
def test_steps_and_sequences_agree(name) -> None:
    builder = make(name, 3)
    xs = sequence(5)
    start = builder.initial_state()
    states = start.add_inputs(xs)
    right = per_step(start, xs)
    assert close(start.transduce(xs), right)
    assert close([s.output() for s in states], right)
    state = start
    for known, x in zip(states, xs):
        state = state.add_input(x)
        assert close(known.s(), state.s())
        assert close(known.h(), state.h())
    assert close(per_step(states[1], xs[2:]), right[2:])
    assert close(states[1].transduce(xs[2:]), right[2:])


def test_the_order_of_a_state() -> None:
    state = make("LSTMBuilder", 2).initial_state().add_input(vector(N_IN))
    assert close(state.h(), state.s()[2:])
    assert close([state.output()], state.h()[-1:])
    assert isinstance(state.s(), tuple) and isinstance(state.h(), tuple)


@pytest.mark.parametrize("name", ALL)
def test_before_the_first_input(name) -> None:
    builder = make(name, 2)
    start = builder.initial_state()
    assert start.output() is None and start.prev() is None
    assert start.h() == () and start.s() == ()
    assert start.b() is builder
    assert start.transduce([]) == [] and start.add_inputs([]) == []


def test_sequences_that_are_no_lists() -> None:
    builder = make("LSTMBuilder")
    x = vector(N_IN)
    start = builder.initial_state()
    assert close(start.transduce(x for _ in range(2)), start.transduce((x, x)))
    assert len(start.add_inputs(x for _ in range(2))) == 2


@pytest.mark.parametrize("way", ["add_input", "add_inputs"])
def test_states_before(way) -> None:
    start = make("LSTMBuilder").initial_state()
    xs = sequence(3)
    if way == "add_inputs":
        a, b, c = start.add_inputs(xs)
    else:
        a = start.add_input(xs[0])
        b = a.add_input(xs[1])
        c = b.add_input(xs[2])
    assert c.prev() is b and b.prev() is a and a.prev() is start
    d = c.set_h([vector(N)])
    assert d.prev() is c


@pytest.mark.parametrize("name", ["LSTMBuilder", "CoupledLSTMBuilder"])
def test_a_branch_keeps_its_own_memory(name) -> None:
    """The wheel takes the memory of whatever step was recorded last."""
    builder = make(name)
    start = builder.initial_state()
    a = start.add_input(vector(N_IN, 1))
    start.add_input(vector(N_IN, 2))
    h, c = vector(N, 3), vector(N, 4)
    assert close(a.set_h([h]).s(), [a.s()[0], h])
    assert close(a.set_s([c]).s(), [c, a.h()[0]])
    builder.initial_state([c, h])
    assert start.set_h([h]).s()[0].npvalue().tolist() == [0] * N


def test_vectors_of_parameters() -> None:
    pc = dy.ParameterCollection()
    builder = dy.LSTMBuilder(1, N_IN, N, pc)
    c, h = pc.add_parameters(N), pc.add_parameters(N)
    state = builder.initial_state([c, h])
    assert close(state.s(), [c, h])
    loss = dy.sum_elems(state.transduce(sequence(2))[-1]) + dy.sum_elems(
        state.add_input(vector(N_IN)).output()
    )
    loss.backward()
    assert np.abs(c.grad_as_array()).min() > 0 and np.abs(h.grad_as_array()).min() > 0
    x = pc.add_parameters(N_IN)
    assert close(
        builder.initial_state().transduce([x, x]), per_step(builder.initial_state(), [x, x])
    )


def test_raw_vectors() -> None:
    builder = make("LSTMBuilder")
    a = builder.initial_state_from_raw_vectors([[1, 2, 3, 4], np.arange(4.0)])
    assert [e.value() for e in a.s()] == [[1, 2, 3, 4], [0, 1, 2, 3]]
    with pytest.raises(TypeError):
        builder.initial_state_from_raw_vectors(None)


def test_columns_are_vectors() -> None:
    builder = make("LSTMBuilder")
    x = np.ones(N_IN)
    start = builder.initial_state()
    right = start.add_input(dy.inputTensor(x)).output()
    column = dy.inputTensor(x.reshape(N_IN, 1))
    assert close([start.add_input(column).output()], [right])
    assert close(start.transduce([column]), [right])


def test_equal_vectors_have_no_norm() -> None:
    """The wheel gives NaN as the gradient of a state of zeros, for one."""
    builder = make("LSTMBuilder", ln_lstm=True)
    h = dy.inputTensor(np.zeros(N))
    dy.sum_elems(builder.initial_state([h, h]).add_input(vector(N_IN)).output()).backward()
    for p in builder.get_parameters()[0]:
        assert np.isfinite(p.grad_as_array()).all()


# Graphs


def test_parameters_as_expressions() -> None:
    builder = make("LSTMBuilder", 2)
    with pytest.raises(ValueError, match="initial_state"):
        builder.get_parameter_expressions()
    builder.initial_state()
    expressions = builder.get_parameter_expressions()
    for layer, parameters in zip(expressions, builder.get_parameters(), strict=True):
        assert close(layer, parameters)
    dy.sum_elems(expressions[0][0]).backward()
    assert (builder.get_parameters()[0][0].grad_as_array() == 1).all()
    dy.renew_cg()
    with pytest.raises(ValueError, match="initial_state"):
        builder.get_parameter_expressions()


def test_the_first_state_of_a_graph_decides_what_is_trained() -> None:
    builder = make("LSTMBuilder")
    for update in (False, True):
        dy.renew_cg()
        builder.initial_state(update=update)
        state = builder.initial_state(update=not update)
        dy.sum_elems(state.add_input(vector(N_IN)).output()).backward()
        assert builder.get_parameters()[0][0].grad_as_array().any() == update


def test_old_states() -> None:
    builder = make("LSTMBuilder")
    state = builder.initial_state().add_input(vector(N_IN))
    start = builder.initial_state()
    dy.renew_cg()
    for old in (state, start):
        for call in (
            lambda s: s.add_input(vector(N_IN)),
            lambda s: s.add_inputs(sequence(2)),
            lambda s: s.transduce(sequence(2)),
            lambda s: s.set_h([vector(N)]),
            lambda s: s.set_s([vector(N)] * 2),
        ):
            with pytest.raises(ValueError, match="stale state"):
                call(old)
    with pytest.raises(RuntimeError):
        state.output().value()


def test_checkpoints() -> None:
    builder = make("LSTMBuilder")
    dy.cg_checkpoint()
    inside = builder.initial_state().add_input(vector(N_IN))
    right = inside.output().npvalue()
    dy.cg_revert()
    with pytest.raises(ValueError, match="stale state"):
        inside.add_input(vector(N_IN))
    again = builder.initial_state().add_input(vector(N_IN)).output()  # the wheel crashes
    np.testing.assert_allclose(again.npvalue(), right, atol=1e-6)


def test_immediate_computation() -> None:
    builder = make("LSTMBuilder", 2)
    right = [y.npvalue() for y in builder.initial_state().transduce(sequence(3))]
    dy.renew_cg(immediate_compute=True, check_validity=True)
    for outputs in (
        per_step(builder.initial_state(), sequence(3)),
        builder.initial_state().transduce(sequence(3)),
        [s.output() for s in builder.initial_state().add_inputs(sequence(3))],
    ):
        assert all(np.allclose(y.npvalue(), r, atol=1e-5) for y, r in zip(outputs, right))
    builder.get_parameters()[1][2].set_value(np.full(4 * N, np.nan))
    for call in ("add_input", "transduce", "add_inputs"):
        state, x = builder.initial_state(), vector(N_IN)
        with pytest.raises(RuntimeError, match="NaN"):
            getattr(state, call)(x if call == "add_input" else [x])
    both = dy.BiRNNBuilder(2, N_IN, 4, dy.ParameterCollection(), dy.GRUBuilder)
    assert len(both.transduce(sequence(3))) == 3


def test_no_graph_is_kept() -> None:
    """What a graph needs is freed when it is renewed, without a collection."""
    builder = make("LSTMBuilder")
    builder.initial_state().transduce(sequence(3))[-1].value()
    dy.renew_cg()
    gc.collect()
    gc.disable()
    try:
        state = builder.initial_state().add_input(vector(N_IN))
        state.output().value()
        numbers = weakref.ref(state.output().node.tape.evaluations[0].arenas[0])
        assert numbers() is not None
        del state
        dy.renew_cg()
        assert numbers() is None
    finally:
        gc.enable()


# Batching


def kinds(expressions) -> list[str]:
    plan = ln.plan([e.node for e in expressions])
    return [batch.op for batch in plan.batches if batch.op.endswith("Builder")]


def test_a_layer_is_one_batch() -> None:
    builder = make("LSTMBuilder", 2)
    outputs = []
    for length in (3, 5, 2):
        outputs += builder.initial_state().transduce(sequence(length))
    assert kinds(outputs) == ["VanillaLSTMBuilder"] * 2
    states = [s for n in (4, 2) for s in builder.initial_state().add_inputs(sequence(n))]
    every = [e for s in states for e in s.s()]
    assert kinds(every) == ["VanillaLSTMBuilder"] * 2
    dy.forward(every)
    more = [e for s in states for e in (*s.h(), s.output())]
    assert kinds(more) == []


@pytest.mark.parametrize("p", [0, 0.5])
def test_a_step_is_one_batch(p) -> None:
    builder = make("LSTMBuilder", 2)
    builder.set_dropout(p)
    outputs = [per_step(builder.initial_state(), sequence(n))[-1] for n in (3, 5, 2)]
    assert kinds(outputs) == ["VanillaLSTMBuilder"] * 10


def test_both_directions_are_two_batches_a_layer() -> None:
    builder = dy.BiRNNBuilder(2, N_IN, 6, dy.ParameterCollection(), dy.LSTMBuilder)
    outputs = [y for n in (3, 5) for y in builder.transduce(sequence(n))]
    assert kinds(outputs) == ["VanillaLSTMBuilder"] * 4


# Bad input


@pytest.mark.parametrize("name", ALL)
def test_bad_inputs(name) -> None:
    start = make(name).initial_state()
    for x in (None, np.ones(N_IN), 3, [1, 2, 3]):
        with pytest.raises(TypeError, match="add_input"):
            start.add_input(x)
        with pytest.raises(TypeError, match="transduce"):
            start.transduce([x])
        with pytest.raises(TypeError, match="add_inputs"):
            start.add_inputs([x])
    with pytest.raises(TypeError):
        start.transduce(None)
    for n in (N_IN + 1, 1):
        with pytest.raises(ValueError, match=f"{name[-7:]}.*dimensions"):
            start.add_input(vector(n))
        with pytest.raises(ValueError, match=f"{name[-7:]}.*dimensions"):
            start.transduce([vector(N_IN), vector(n)])
        with pytest.raises(ValueError, match=f"{name[-7:]}.*dimensions"):
            start.add_input(vector(N_IN)).add_input(vector(n))


@pytest.mark.parametrize("name", ALL)
def test_bad_states(name) -> None:
    builder = make(name, 2)
    start = builder.initial_state()
    right = 2 if name in ("SimpleRNNBuilder", "GRUBuilder") else 4
    for count in (0, 1, 3, 5):
        vecs = [vector(N)] * count
        with pytest.raises(ValueError, match=f"{count} inputs for 2 layers"):
            builder.initial_state(vecs)
        with pytest.raises(ValueError, match=f"{count} inputs for 2 layers"):
            start.set_s(vecs)
        with pytest.raises(ValueError, match=f"{count} inputs for 2 layers"):
            start.set_h(vecs)
    for call in (start.set_h, start.set_s):
        with pytest.raises(ValueError, match="0 inputs for 2 layers"):
            call()
    for call in (start.set_s, builder.initial_state):
        with pytest.raises(TypeError):
            call([None] * right)
        with pytest.raises(ValueError, match="dimensions"):
            call([vector(N + 1)] * right)


def test_batches_that_differ() -> None:
    builder = make("LSTMBuilder")
    state = builder.initial_state().add_input(vector(N_IN, batch=2))
    for old in (state, builder.initial_state([vector(N, batch=2)] * 2)):
        with pytest.raises(ValueError, match="batches of 2 and 3"):
            old.add_input(vector(N_IN, batch=3))
        with pytest.raises(ValueError, match="batches of 2 and 3"):
            old.transduce([vector(N_IN, batch=3)])
    with pytest.raises(ValueError, match="batches of 2 and 3"):
        builder.initial_state([vector(N, batch=2), vector(N, batch=3)])


def test_single_and_batched_inputs_mix() -> None:
    builder = make("CompactVanillaLSTMBuilder", 2)  # the wheel refuses a batch at the start
    a = builder.initial_state().add_input(vector(N_IN, 1, batch=3))
    assert [e.dim() for e in a.s()] == [((N,), 3)] * 4
    assert a.add_input(vector(N_IN)).output().dim() == ((N,), 3)
    b = builder.initial_state().add_input(vector(N_IN))
    assert b.add_input(vector(N_IN, batch=3)).output().dim() == ((N,), 3)
    assert [y.dim()[1] for y in b.transduce([vector(N_IN), vector(N_IN, batch=3)])] == [1, 3]


@pytest.mark.parametrize("name", ALL)
def test_bad_settings(name) -> None:
    pc = dy.ParameterCollection()
    make_one = getattr(dy, name)
    for args, error in (
        ((0, 3, 4, pc), ValueError),
        ((-1, 3, 4, pc), OverflowError),
        (("1", 3, 4, pc), TypeError),
        ((1, 3, None, pc), TypeError),
        ((1, 3, 4, None), TypeError),
    ):
        with pytest.raises(error, match=name):
            make_one(*args)
    assert make_one(np.int64(1), 3.0, 4, pc).initial_state() is not None


def test_forms() -> None:
    pc = dy.ParameterCollection()
    for name in ALL:
        builder = make(name, 2)
        assert builder.whoami() == name
        other = type(builder).from_spec(builder.spec, pc)
        assert type(other) is type(builder) and other.spec == builder.spec
        assert builder.param_collection().parameters_list()
    assert dy.LSTMBuilder(1, 3, 4, pc, True, 0.5).spec == (1, 3, 4, True, 0.5)
    assert dy.SimpleRNNBuilder(1, 3, 4, pc).spec == (1, 3, 4)
    with pytest.raises(TypeError, match="forget_bias"):
        dy.LSTMBuilder(1, 3, 4, pc, False, None)


# Both directions, and stacks


def test_bidirectional() -> None:
    pc = dy.ParameterCollection()
    builder = dy.BiRNNBuilder(2, N_IN, 6, pc, dy.LSTMBuilder)
    assert builder.whoami() == "BiRNNBuilder"
    assert builder.spec == (2, N_IN, 6, dy.LSTMBuilder, None)
    assert builder.param_collection().name() == "/birnn/"
    assert dy.BiRNNBuilder.from_spec(builder.spec, pc).param_collection().name() == "/birnn_1/"
    xs = sequence(4)
    pairs = builder.add_inputs(xs)
    outputs = builder.transduce(tuple(xs))
    assert close([dy.concatenate([f.output(), b.output()]) for f, b in pairs], outputs)
    assert pairs[1][1].prev() is pairs[2][1] and pairs[1][0].prev() is pairs[0][0]
    assert builder.transduce([]) == [] and builder.add_inputs([]) == []
    builder.set_dropout(0.5)
    assert not close(builder.transduce(xs), outputs)
    builder.disable_dropout()
    assert close(builder.transduce(xs), outputs)


def test_bad_bidirectional() -> None:
    pc = dy.ParameterCollection()
    with pytest.raises(AssertionError, match="even: 7"):
        dy.BiRNNBuilder(1, 3, 7, pc, dy.LSTMBuilder)
    with pytest.raises(AssertionError, match="positive: 0"):
        dy.BiRNNBuilder(0, 3, 8, pc, dy.LSTMBuilder)
    with pytest.raises(TypeError, match="BiRNNBuilder: got None"):
        dy.BiRNNBuilder(1, 3, 8, None, dy.LSTMBuilder)
    builder = dy.BiRNNBuilder(1, N_IN, 8, pc, dy.LSTMBuilder)
    for call in (builder.transduce, builder.add_inputs):
        for bad in (None, [None], [np.ones(3)], (vector(N_IN) for _ in range(2))):
            with pytest.raises(TypeError):
                call(bad)
        with pytest.raises(ValueError, match="dimensions"):
            call([vector(N_IN + 1)])


class Halves:
    """A builder of a program's own."""

    def initial_state(self):
        return self

    def transduce(self, xs):
        return [x / 2 for x in xs]


def test_builders_of_other_kinds_run_in_both_directions() -> None:
    pc = dy.ParameterCollection()
    builder = dy.BiRNNBuilder(1, N_IN, 6, pc, None, [(Halves(), Halves())])
    xs = sequence(2)
    right = np.concatenate([xs[1].npvalue(), xs[1].npvalue()]) / 2
    np.testing.assert_allclose(builder.transduce(xs)[1].npvalue(), right)


def test_stacks_of_states() -> None:
    pc = dy.ParameterCollection()
    low, high = dy.LSTMBuilder(1, N_IN, N, pc), dy.GRUBuilder(1, N, N, pc)
    stack = dy.StackedRNNState([low.initial_state(), high.initial_state()])  # fails in the wheel
    assert stack.output() is None and stack.prev() is None
    xs = sequence(3)
    after = stack.add_input(xs[0])
    right = high.initial_state().transduce(low.initial_state().transduce(xs))
    assert close([after.output()], right[:1])
    assert after.prev() is stack
    states = stack.add_inputs(xs)
    assert close([s.output() for s in states], right)
    assert states[2].prev() is states[1] and states[0].prev() is stack
    assert [len(part) for part in after.s()] == [2, 1]
    assert [len(part) for part in after.h()] == [1, 1]
    with pytest.raises(TypeError, match="StackedRNNState"):
        dy.StackedRNNState([None])
    with pytest.raises(ValueError, match="StackedRNNState"):
        dy.StackedRNNState([])


# Modes of the engine


@pytest.mark.parametrize("mode", [ln.debug, ln.no_fuse, ln.no_autobatch, ln.no_grad])
@pytest.mark.parametrize("name", ALL)
def test_modes_do_not_change_values(name, mode) -> None:
    builder = make(name, 2)
    right = builder.initial_state().transduce(sequence(3))
    for _ in range(2):
        with mode():
            start, xs = builder.initial_state(), sequence(3)
            outputs = [*per_step(start, xs), *start.transduce(xs)]
            outputs += [s.output() for s in start.add_inputs(xs)]
            assert close(outputs, right * 3)


def test_steps_alternate_between_kinds_of_input() -> None:
    builder = make("LSTMBuilder", 2)
    pc = dy.ParameterCollection()
    p = pc.add_parameters(N_IN)
    right = {}
    for _ in range(2):
        for batch in (0, 2, 3):
            state = builder.initial_state().add_input(vector(N_IN, batch=batch)).add_input(p)
            state = state.add_input(vector(N_IN, 4))
            known = right.setdefault(batch, state.output().npvalue())
            np.testing.assert_allclose(state.output().npvalue(), known, atol=1e-6)
            later = state.prev().add_input(vector(N_IN, 4))  # from what was computed before
            np.testing.assert_allclose(later.output().npvalue(), known, atol=1e-6)
    with ln.training(False):
        again = builder.initial_state().add_input(vector(N_IN)).add_input(p)
        again = again.add_input(vector(N_IN, 4))
        np.testing.assert_allclose(again.output().npvalue(), right[0], atol=1e-6)
