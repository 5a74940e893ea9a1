"""Optimisers against scalar references written from the papers; rows, clipping, schedules."""

import math

import numpy as np
import pytest

import lazynet as ln
from lazynet.backend import device_of, on_device, to_device
from lazynet.errors import ArgumentError, FileError, GradientError, SettingError

STEPS = 7

# The references: one element at a time, s holds what the method remembers of it.


def sgd(x, g, s, lr, t):
    return x - lr * g


def momentum(x, g, s, lr, t):
    s["v"] = 0.9 * s.get("v", 0.0) - lr * g
    return x + s["v"]


def nesterov(x, g, s, lr, t):
    # Sutskever et al. hold theta and take the gradient at theta + mu v; x is that point
    v = s.get("v", 0.0)
    theta = x - 0.9 * v
    s["v"] = 0.9 * v - lr * g
    return theta + s["v"] + 0.9 * s["v"]


def adagrad(x, g, s, lr, t):
    s["G"] = s.get("G", 0.0) + g * g
    return x - lr * g / (1e-10 + math.sqrt(s["G"]))


def adadelta(x, g, s, lr, t):
    s["E"] = 0.95 * s.get("E", 0.0) + 0.05 * g * g
    delta = -math.sqrt(s.get("D", 0.0) + 1e-6) / math.sqrt(s["E"] + 1e-6) * g
    s["D"] = 0.95 * s.get("D", 0.0) + 0.05 * delta * delta
    return x + lr * delta


def rmsprop(x, g, s, lr, t):
    s["ms"] = 0.9 * s.get("ms", 0.0) + 0.1 * g * g
    return x - lr * g / (math.sqrt(s["ms"]) + 1e-8)


def adam(x, g, s, lr, t):
    s["m"] = 0.9 * s.get("m", 0.0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0.0) + 0.001 * g * g
    m_hat, v_hat = s["m"] / (1 - 0.9**t), s["v"] / (1 - 0.999**t)
    return x - lr * m_hat / (math.sqrt(v_hat) + 1e-8)


def adamw(x, g, s, lr, t):
    return adam(x, g, s, lr, t) - lr * 0.3 * x


def amsgrad(x, g, s, lr, t):
    s["m"] = 0.9 * s.get("m", 0.0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0.0) + 0.001 * g * g
    s["max"] = max(s.get("max", 0.0), s["v"])
    return x - lr * s["m"] / (1 - 0.9**t) / (math.sqrt(s["max"] / (1 - 0.999**t)) + 1e-8)


RULES = {
    "sgd": (sgd, ln.optim.SGD, {}),
    "momentum": (momentum, ln.optim.SGD, {"momentum": 0.9}),
    "nesterov": (nesterov, ln.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adagrad": (adagrad, ln.optim.Adagrad, {}),
    "adadelta": (adadelta, ln.optim.Adadelta, {}),
    "rmsprop": (rmsprop, ln.optim.RMSProp, {}),
    "adam": (adam, ln.optim.Adam, {}),
    "adamw": (adamw, ln.optim.AdamW, {"weight_decay": 0.3}),
    "amsgrad": (amsgrad, ln.optim.AMSGrad, {}),
}
rules = pytest.mark.parametrize("rule", RULES)


def numbers(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


class Reference:
    """Scalar updates of one array; `rows` restricts them to some rows, whole if None."""

    def __init__(self, rule, x):
        self.rule = RULES[rule][0]
        self.x = np.array(x, np.float64)
        self.memory = {index: {} for index in np.ndindex(self.x.shape)}
        self.t = 0

    def step(self, g, lr, rows=None, decay=0.0):
        self.t += 1
        for index, s in self.memory.items():
            if rows is None or index[0] in rows:
                x = self.x[index]
                self.x[index] = self.rule(x, g[index] + decay * x, s, lr, self.t)


def make(rule, model, **settings):
    _, kind, own = RULES[rule]
    return kind(model, **{"lr": 0.1, **own, **settings})


def placed(p, g):
    """An array where the values of a parameter are."""
    device = device_of(p.values)
    with on_device(device):
        return to_device(np.array(g, p.values.dtype), device)


def pull(p, g):
    """Accumulate the gradient g of the dense parameter p, by a loss."""
    (p * ln.constant(np.asarray(g, p.values.dtype))).sum().backward()


def pull_rows(table, rows, g):
    """Accumulate the gradient g[k] of row rows[k], by a loss that looks the rows up."""
    looked_up = table[list(rows)]
    g = ln.constant(np.asarray(g, table.values.dtype), batched=True)
    ln.sum_batch((looked_up * g).sum()).backward()


def tolerance(dtype):
    return {"rtol": 1e-12, "atol": 1e-13} if dtype == "float64" else {"rtol": 3e-5, "atol": 3e-6}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@rules
def test_dense_updates_equal_the_reference(rule, dtype):
    model = ln.Model(seed=0, dtype=dtype)
    W = model.parameter((2, 3), init=numbers(0, 2, 3))
    b = model.parameter((), init=0.5)
    opt = make(rule, model)
    expected_W, expected_b = Reference(rule, W.array), Reference(rule, b.array)
    for step in range(STEPS):
        g = numbers(step + 1, 2, 3)
        g[0, 0] = 0
        pull(W, g)
        pull(b, g[1, 1])
        opt.step()
        expected_W.step(g, 0.1)
        expected_b.step(g[1, 1], 0.1)
        np.testing.assert_allclose(W.array, expected_W.x, **tolerance(dtype))
        np.testing.assert_allclose(b.array, expected_b.x, **tolerance(dtype))
    assert W.array.dtype == dtype and opt.steps == STEPS


def row_gradients(step):
    """Rows with repetitions, their gradients, and the same gradient dense."""
    rng = np.random.default_rng(step)
    rows = rng.integers(0, 5, size=4)
    g = rng.standard_normal((4, 3))
    dense = np.zeros((9, 3))  # rows 5-8 are never looked up
    np.add.at(dense, rows, g)
    return rows, g, dense


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sparse", ["exact", "lazy"])
@rules
def test_row_sparse_updates_equal_the_reference(rule, sparse, dtype):
    model = ln.Model(seed=0, dtype=dtype)
    table = model.lookup(9, 3, init=numbers(0, 9, 3))
    opt = make(rule, model, sparse=sparse)
    expected = Reference(rule, table.array)
    for step in range(STEPS):
        rows, g, dense = row_gradients(step)
        pull_rows(table, rows, g)
        opt.step()
        expected.step(dense, 0.1, None if sparse == "exact" else set(rows.tolist()))
        np.testing.assert_allclose(table.array, expected.x, **tolerance(dtype))


@rules
def test_exact_sparse_equals_dense(rule):
    """Large enough for several blocks; rows come and go; used whole as well in some steps."""
    start = numbers(0, 700, 64)
    tables = []
    for whole in (False, True):
        model = ln.Model(seed=0, dtype="float64")
        table = model.lookup(700, 64, init=start)
        opt = make(rule, model, clip=3.0, weight_decay=0.01)
        for step in range(4):
            rows = np.random.default_rng(step).choice(700, size=50, replace=False)
            g = numbers(step + 10, 50, 64)
            dense = np.zeros((700, 64))
            dense[rows] = g
            tied = numbers(step + 20, 700, 64) if step % 2 else np.zeros((700, 64))
            if whole:
                pull(table, dense + tied)
            else:
                pull_rows(table, rows, g)
                if step % 2:
                    pull(table, tied)
            opt.step()
        tables.append((table.array.copy(), opt.gradient_norm))
    np.testing.assert_allclose(tables[0][0], tables[1][0], rtol=1e-12, atol=1e-13)
    assert tables[0][1] == pytest.approx(tables[1][1], rel=1e-12)


def test_lazy_adam_leaves_other_rows_alone_and_exact_moves_them_on():
    moved = {}
    for sparse in ("exact", "lazy"):
        model = ln.Model(seed=0)
        table = model.lookup(3, 2, init="zeros")
        opt = ln.optim.Adam(model, lr=0.1, sparse=sparse)
        pull_rows(table, [0], [[1.0, 1.0]])
        opt.step()
        before = table.array.copy()
        pull_rows(table, [1], [[1.0, 1.0]])
        opt.step()
        moved[sparse] = not np.array_equal(table.array[0], before[0])
        assert not np.any(table.array[2])
    assert moved == {"exact": True, "lazy": False}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_table_of_matrices_and_rows_used_whole_and_by_row(dtype):
    model = ln.Model(seed=0, dtype=dtype)
    table = model.lookup(4, (2, 3), init=numbers(0, 4, 2, 3))
    start = table.array.copy()
    opt = ln.optim.SGD(model, lr=0.5)
    g, whole = numbers(1, 2, 2, 3), numbers(2, 4, 2, 3)
    pull_rows(table, [3, 1], g)
    pull(table, whole)
    opt.step()
    whole[3] += g[0]
    whole[1] += g[1]
    np.testing.assert_allclose(table.array, start - 0.5 * whole, **tolerance(dtype))
    assert opt.gradient_norm == pytest.approx(np.linalg.norm(whole), rel=1e-5)


@rules
def test_weight_decay(rule):
    if rule == "adamw":
        return  # decoupled: part of its reference
    model = ln.Model(seed=0, dtype="float64")
    W = model.parameter(4, init=numbers(0, 4))
    table = model.lookup(9, 3, init=numbers(1, 9, 3))
    opt = make(rule, model, weight_decay=0.2)
    expected, expected_table = Reference(rule, W.array), Reference(rule, table.array)
    for step in range(STEPS):
        g = numbers(step + 2, 4)
        rows, g_rows, dense = row_gradients(step)
        pull(W, g)
        pull_rows(table, rows, g_rows)
        opt.step()
        expected.step(g, 0.1, decay=0.2)
        expected_table.step(dense, 0.1, decay=0.2)
    np.testing.assert_allclose(W.array, expected.x, rtol=1e-11)
    np.testing.assert_allclose(table.array, expected_table.x, rtol=1e-11)


def test_decoupled_weight_decay_follows_the_schedule():
    model = ln.Model(seed=0, dtype="float64")
    W = model.parameter(1, init=1.0)
    opt = ln.optim.AdamW(model, lr=0.5, weight_decay=0.4, schedule=ln.optim.StepDecay(1, 0.5))
    for lr in (0.5, 0.25):
        before = W.array.copy()
        pull(W, [0.0])
        opt.step()
        np.testing.assert_allclose(W.array, before * (1 - lr * 0.4))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clipping_is_by_the_norm_of_all_gradients_together(dtype):
    model = ln.Model(seed=0, dtype=dtype)
    W = model.parameter(2, init="zeros")
    table = model.lookup(5, 2, init="zeros")
    frozen = model.parameter(2, init="ones")
    frozen.trainable = False
    opt = ln.optim.SGD(model, lr=1.0, clip=6.5)
    pull(W, [3.0, 4.0])
    pull_rows(table, [2, 2, 4], [[6.0, 0.0], [-1.0, 11.0], [0.0, 5.0]])
    norm = math.sqrt(25 + 5**2 + 11**2 + 25)  # the two uses of row 2 are summed first
    opt.step()
    assert opt.gradient_norm == pytest.approx(norm, rel=1e-6)
    np.testing.assert_allclose(W.array, [-3 * 6.5 / norm, -4 * 6.5 / norm], rtol=1e-5)
    np.testing.assert_allclose(table.array[2], [-5 * 6.5 / norm, -11 * 6.5 / norm], rtol=1e-5)
    before = W.array.copy()
    pull(W, [3.0, 4.0])  # norm 5: below the threshold
    opt.step()
    np.testing.assert_allclose(W.array, before - [3, 4], rtol=1e-6)


def test_norm_of_gradients_whose_squares_leave_float32():
    for size in (1e30, 1e-30):
        model = ln.Model(seed=0)
        W = model.parameter(2, init="zeros")
        opt = ln.optim.SGD(model, lr=1.0, clip=size)
        pull(W, [3 * size, 4 * size])
        opt.step()
        assert opt.gradient_norm == pytest.approx(5 * size, rel=1e-5)
        np.testing.assert_allclose(W.array, [-0.6 * size, -0.8 * size], rtol=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_not_finite_names_its_parameter_and_changes_nothing(bad, clip):
    model = ln.Model(seed=0)
    good = model.parameter(3, name="good")
    table = model.lookup(4, 3, name="embedding")
    opt = ln.optim.Adam(model, clip=clip)
    pull(good, np.ones(3))
    pull_rows(table, [0], np.ones((1, 3)))
    opt.step()
    before = [p.array.copy() for p in model.parameters()]
    state = opt.state_dict()
    pull(good, np.ones(3))
    pull_rows(table, [1, 2], [[1, 1, 1], [1, bad, 1]])
    with pytest.raises(GradientError, match="embedding holds NaN or infinity"):
        opt.step()
    for p, values in zip(model.parameters(), before):
        np.testing.assert_array_equal(p.array, values)
    after = opt.state_dict()
    assert state.keys() == after.keys()
    for key, array in state.items():
        np.testing.assert_array_equal(after[key], array)
    model.zero_gradients()
    pull(good, np.ones(3))
    opt.step()
    assert np.isfinite(good.array).all()


def test_step_clears_the_gradients():
    model = ln.Model(seed=0)
    W = model.parameter(2)
    table = model.lookup(3, 2)
    opt = ln.optim.SGD(model)
    pull(W, [1.0, 1.0])
    pull_rows(table, [0], [[1.0, 1.0]])
    opt.step()
    before = W.array.copy(), table.array.copy()
    with pytest.raises(GradientError, match=r"SGD\.step: .* call loss\.backward\(\) first"):
        opt.step()
    np.testing.assert_array_equal(W.array, before[0])
    np.testing.assert_array_equal(table.array, before[1])
    assert opt.steps == 1


def test_gradients_accumulate_until_the_step():
    model = ln.Model(seed=0)
    W = model.parameter(2, init="zeros")
    opt = ln.optim.SGD(model, lr=1.0)
    pull(W, [1.0, 2.0])
    pull(W, [10.0, 20.0])
    opt.step()
    assert W.array.tolist() == [-11, -22]


def test_frozen_and_unused_parameters_stay_as_they_are():
    model = ln.Model(seed=0)
    W, frozen, unused = (model.parameter(2, init="ones") for _ in range(3))
    opt = ln.optim.AdamW(model, lr=0.1, weight_decay=0.5)
    for _ in range(2):
        for p in (W, frozen, unused):
            pull(p, [1.0, 1.0])
        opt.step()
    before = frozen.array.copy(), unused.array.copy()
    frozen.trainable = False
    (W * frozen).sum().backward()
    opt.step()
    np.testing.assert_array_equal(frozen.array, before[0])
    np.testing.assert_array_equal(unused.array, before[1])
    frozen.trainable = True
    pull(frozen, [1.0, 1.0])
    opt.step()
    assert opt.state_dict()[f"{frozen.name}:updates"] == 3
    assert opt.state_dict()[f"{unused.name}:updates"] == 2


def test_a_gradient_from_before_freezing_is_dropped():
    model = ln.Model(seed=0)
    W, frozen = model.parameter(2), model.parameter(2)
    opt = ln.optim.SGD(model)
    pull(W, [1.0, 1.0])
    pull(frozen, [1.0, 1.0])
    frozen.trainable = False
    before = frozen.array.copy()
    opt.step()
    frozen.trainable = True
    pull(W, [1.0, 1.0])
    opt.step()
    np.testing.assert_array_equal(frozen.array, before)


def test_a_submodel_and_parameters_added_later():
    model = ln.Model(seed=0)
    inner = model.submodel("inner")
    outside = model.parameter(2, init="zeros")
    opt = ln.optim.SGD(inner, lr=1.0)
    late = inner.parameter(2, init="zeros")
    pull(late, [1.0, 2.0])
    pull(outside, [1.0, 2.0])
    opt.step()
    assert late.array.tolist() == [-1, -2] and outside.array.tolist() == [0, 0]


def test_empty_parameters():
    model = ln.Model(seed=0)
    nothing = model.parameter((0, 3))
    W = model.parameter(2, init="zeros")
    opt = ln.optim.Adam(model, clip=1.0)
    nothing.pending = placed(nothing, np.zeros((0, 3)))
    pull(W, [1.0, 1.0])
    opt.step()
    assert np.all(W.array < 0)


# State


@rules
def test_state_restores_to_identical_steps(rule):
    def train(model, opt, first, last):
        for step in range(first, last):
            rows, g, _ = row_gradients(step)
            W, table = model.parameters()
            pull(W, numbers(step, 2, 3))
            pull_rows(table, rows, g)
            opt.step()

    def new():
        model = ln.Model(seed=0)
        model.parameter((2, 3), name="W")
        model.lookup(9, 3, name="E")
        schedule = ln.optim.Warmup(2, then=ln.optim.Cosine(6))
        return model, make(rule, model, schedule=schedule)

    model, opt = new()
    train(model, opt, 0, 3)
    state = opt.state_dict()
    values = [p.array.copy() for p in model.parameters()]
    train(model, opt, 3, 6)

    other, resumed = new()
    for p, array in zip(other.parameters(), values):
        p.array = array
    resumed.load_state_dict(state)
    assert resumed.steps == 3
    train(other, resumed, 3, 6)
    for p, q in zip(model.parameters(), other.parameters()):
        np.testing.assert_array_equal(p.array, q.array)
    assert all(isinstance(array, np.ndarray) for array in state.values())


def test_state_is_a_copy_in_both_directions():
    model = ln.Model(seed=0)
    W = model.parameter(2, name="W")
    opt = ln.optim.Adam(model)
    pull(W, [1.0, 1.0])
    opt.step()
    state = opt.state_dict()
    kept = {key: array.copy() for key, array in state.items()}
    opt.load_state_dict(state)
    pull(W, [1.0, 1.0])
    opt.step()
    for key, array in kept.items():
        np.testing.assert_array_equal(state[key], array)


def test_state_of_a_submodel_fits_it_under_another_path():
    model = ln.Model(seed=0)
    first, second = model.submodel("first"), model.submodel("second")
    W = first.parameter(2, name="W")
    second.parameter(2, name="W")
    opt = ln.optim.Adam(first)
    pull(W, [1.0, 1.0])
    opt.step()
    other = ln.optim.Adam(second)
    other.load_state_dict(opt.state_dict())
    np.testing.assert_array_equal(
        other.state_dict()["/W:first_moment"], opt.state_dict()["/W:first_moment"]
    )


def test_state_that_does_not_match_is_listed_and_changes_nothing():
    model = ln.Model(seed=0)
    W = model.parameter(2, name="W")
    model.parameter(2, name="unused")
    opt = ln.optim.Adam(model)
    pull(W, [1.0, 1.0])
    opt.step()
    state = opt.state_dict()
    name = W.name
    bad = dict(state)
    del bad[f"{name}:first_moment"]
    bad[f"{name}:second_moment"] = np.zeros(3)
    bad["/other:velocity"] = np.zeros(2)
    del bad["steps"]
    with pytest.raises(FileError) as error:
        opt.load_state_dict(bad)
    message = str(error.value)
    assert "steps is missing" in message
    assert f"{name}:first_moment is missing" in message
    assert f"{name}:second_moment has shape (3,) instead of (2,)" in message
    assert "/other:velocity belongs to no parameter" in message
    for key, array in opt.state_dict().items():
        np.testing.assert_array_equal(array, state[key])
    with pytest.raises(FileError, match="first_moment belongs to no"):
        ln.optim.SGD(model).load_state_dict(state)


# Schedules and the learning rate


def test_schedule_values():
    step_decay = ln.optim.StepDecay(every=3, factor=0.5)
    assert [step_decay(s) for s in (0, 2, 3, 5, 6)] == [1, 1, 0.5, 0.5, 0.25]
    cosine = ln.optim.Cosine(steps=10, final=0.2)
    for s in range(11):
        assert cosine(s) == pytest.approx(0.2 + 0.4 * (1 + math.cos(math.pi * s / 10)))
    assert cosine(10) == cosine(1000) == pytest.approx(0.2)
    cyclical = ln.optim.Cyclical(half_cycle=4, low=0.2, gamma=0.9)
    for s in range(30):  # Smith's formula
        cycle = math.floor(1 + s / 8)
        x = abs(s / 4 - 2 * cycle + 1)
        assert cyclical(s) == pytest.approx(0.2 + 0.8 * max(0, 1 - x) * 0.9**s)
    warmup = ln.optim.Warmup(steps=4)
    assert [warmup(s) for s in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    then = ln.optim.Warmup(steps=4, then=cosine)
    assert then(3) == 1 and [then(4 + s) for s in range(12)] == [cosine(s) for s in range(12)]


def test_the_schedule_is_what_step_uses():
    model = ln.Model(seed=0, dtype="float64")
    W = model.parameter(1, init="zeros")
    opt = ln.optim.SGD(model, lr=2.0, schedule=ln.optim.StepDecay(every=2, factor=0.5))
    rates = []
    for _ in range(5):
        before, rate = W.array[0], opt.lr
        pull(W, [1.0])
        opt.step()
        assert before - W.array[0] == pytest.approx(rate)
        rates.append(rate)
    assert rates == [2, 2, 1, 1, 0.5]
    opt.lr = 3.0
    assert opt.lr == 3.0
    opt.steps += 1
    assert opt.lr == 1.5
    opt.schedule = lambda step: 0.0
    with pytest.raises(SettingError, match="schedule has come to 0"):
        opt.lr = 1.0
    opt.schedule = lambda step: -1
    pull(W, [1.0])
    with pytest.raises(SettingError, match="the schedule gave -1 for step 6"):
        opt.step()


# Settings


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"lr": -1.0}, "lr=-1.0"),
        ({"lr": math.nan}, "lr=nan"),
        ({"lr": "fast"}, "lr='fast'"),
        ({"lr": True}, "lr=True"),
        ({"clip": 0}, "clip=0"),
        ({"clip": -5.0}, "clip=-5.0"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1"),
        ({"schedule": 0.5}, "schedule=0.5"),
        ({"sparse": "fast"}, "sparse='fast'"),
        ({"beta1": 1.0}, "beta1=1.0"),
        ({"beta2": -0.1}, "beta2=-0.1"),
        ({"eps": 0.0}, "eps=0.0"),
    ],
)
def test_settings_out_of_range(settings, message):
    model = ln.Model(seed=0)
    with pytest.raises(SettingError, match="Adam: got " + message):
        ln.optim.Adam(model, **settings)


@pytest.mark.parametrize(
    "make_one, message",
    [
        (lambda model: ln.optim.SGD(model, momentum=1.0), "SGD: got momentum=1.0"),
        (lambda model: ln.optim.RMSProp(model, rho=1.0), "RMSProp: got rho=1.0"),
        (lambda model: ln.optim.Adadelta(model, rho=-1), "Adadelta: got rho=-1"),
        (lambda model: ln.optim.Adagrad(model, eps=0), "Adagrad: got eps=0"),
        (lambda model: ln.optim.StepDecay(every=0), "StepDecay: got every=0"),
        (lambda model: ln.optim.Cosine(steps=0), "Cosine: got steps=0"),
        (lambda model: ln.optim.Cyclical(half_cycle=4, low=-1), "Cyclical: got low=-1"),
        (lambda model: ln.optim.Warmup(steps=-1), "Warmup: got steps=-1"),
        (lambda model: ln.optim.Warmup(steps=1, then=3), "Warmup: got then=3"),
    ],
)
def test_other_settings_out_of_range(make_one, message):
    with pytest.raises(SettingError, match=message):
        make_one(ln.Model(seed=0))


def test_a_model_is_needed():
    with pytest.raises(ArgumentError, match=r"Adam: got None; it takes the ln\.Model"):
        ln.optim.Adam(None)


# Flat buffers


def written_out(rule, x, g, s, lr, t, decay=0.0):
    """A rule as it is written in the papers, on the whole array of one parameter."""
    g = g + decay * x

    def average(name, value, rho):
        s[name] = rho * s.get(name, 0.0) + (1 - rho) * value
        return s[name]

    if rule == "sgd":
        return x - lr * g
    if rule in ("momentum", "nesterov"):
        v = s["v"] = 0.9 * s.get("v", 0.0) - lr * g
        return x + v if rule == "momentum" else x + 0.9 * v - lr * g
    if rule == "adagrad":
        s["G"] = s.get("G", 0.0) + g * g
        return x - lr * g / (np.sqrt(s["G"]) + 1e-10)
    if rule == "rmsprop":
        return x - lr * g / (np.sqrt(average("s", g * g, 0.9)) + 1e-8)
    if rule == "adadelta":
        u = s.get("u", 0.0)
        d = g * np.sqrt(u + 1e-6) / np.sqrt(average("s", g * g, 0.95) + 1e-6)
        average("u", d * d, 0.95)
        return x - lr * d
    if rule == "adamw":
        x = x * (1 - lr * 0.3)
    m, v = average("m", g, 0.9) / (1 - 0.9**t), average("v", g * g, 0.999)
    if rule == "amsgrad":
        v = s["max"] = np.maximum(s.get("max", 0.0), v)
    return x - lr * m / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


SHAPES = [(3, 4), (5,), (), (0, 2), (40, 30), (7,), (2, 3, 4), (1,), (33000,), (90000,)]


@pytest.mark.parametrize("decay", [0.0, 0.1])
@rules
def test_many_parameters_equal_one_at_a_time(rule, decay):
    """Some have no gradient in some steps, one is new, one is frozen for a while, sizes differ."""
    if rule == "adamw" and decay:
        return
    model = ln.Model(seed=0, dtype="float64")
    tables = [model.lookup(9, 3, init=numbers(98, 9, 3)), model.lookup(9000, 4, init=0.5)]
    for i, shape in enumerate(SHAPES):
        model.parameter(shape, init=numbers(i, *shape))
    opt = make(rule, model, clip=2.0, **({"weight_decay": decay} if decay else {}))
    expected = [(np.array(p.value()), {}, [0]) for p in model.parameters()]
    for step in range(9):
        rng = np.random.default_rng(step)
        if step == 4:
            new = model.parameter((6, 2), init=numbers(50, 6, 2))
            expected.append((np.array(new.value()), {}, [0]))
        parameters = model.parameters()
        parameters[5].trainable = step not in (2, 3)
        given = {}
        for i, p in enumerate(parameters):
            if (i in (3, 6) and step % 3 == 1) or (i == 7 and step in (0, 5)):
                continue  # no gradient in this step
            g = np.array(rng.standard_normal(p.shape))
            if p in tables and (step % 4 or p is tables[1]):
                rows = rng.integers(0, min(len(g), 50), 60)
                g_rows = rng.standard_normal((60, *p.shape[1:]))
                g = np.zeros(p.shape)
                np.add.at(g, rows, g_rows)
                p.pending_rows = [(rows, placed(p, g_rows))]
                if step in (3, 7):  # used whole as well
                    whole = rng.standard_normal(p.shape)
                    p.pending = placed(p, whole)
                    g = g + whole
            else:
                p.pending = placed(p, g)
            if p.trainable:
                given[i] = g
        norm = math.sqrt(sum(float((g * g).sum()) for g in given.values()))
        opt.step()
        assert opt.gradient_norm == pytest.approx(norm, rel=1e-12)
        for i, g in given.items():
            x, s, count = expected[i]
            count[0] += 1
            x[...] = written_out(rule, x, g * min(1.0, 2.0 / norm), s, 0.1, count[0], decay)
        state = opt.state_dict()
        for p, (x, _, count) in zip(parameters, expected):
            np.testing.assert_allclose(p.value(), x, rtol=1e-10, atol=1e-12)
            assert state[f"{p.name}:updates"] == count[0]
            assert not p.has_gradient()


def test_groups_that_change_keep_each_parameters_state():
    """First all, then the first two, the last two, and all again, as often."""
    model = ln.Model(seed=0, dtype="float64")
    parameters = [model.parameter(2, init=numbers(i, 2)) for i in range(4)]
    opt = ln.optim.Adam(model, lr=0.1)
    expected = [Reference("adam", p.value()) for p in parameters]
    for step, members in enumerate(([0, 1, 2, 3], [0, 1], [2, 3], [0, 1, 2, 3], [1, 2], [0, 3])):
        for i in members:
            g = numbers(10 * step + i, 2)
            parameters[i].pending = placed(parameters[i], g)
            expected[i].step(g, 0.1)
        opt.step()
        for p, reference in zip(parameters, expected):
            np.testing.assert_allclose(p.value(), reference.x, rtol=1e-12)
    moments = [opt.state_dict()[f"{p.name}:first_moment"] for p in parameters]
    for moment, reference in zip(moments, expected):
        np.testing.assert_allclose(moment, [s["m"] for s in reference.memory.values()], rtol=1e-12)


def test_two_optimisers_and_views_handed_out():
    model = ln.Model(seed=0, dtype="float64")
    first, second = model.submodel("first"), model.submodel("second")
    a, b = first.parameter(2, init=0.0), second.parameter(2, init=0.0)
    view = a.array
    opts = [ln.optim.SGD(first, lr=1.0), ln.optim.SGD(model, lr=1.0, momentum=0.5)]
    for opt in opts:
        pull(a, [1.0, 2.0])
        pull(b, [1.0, 2.0])
        version = a.version()
        opt.step()
        assert a.version() > version
        model.zero_gradients()
    assert view.tolist() == a.value().tolist() == [-2.0, -4.0]
    assert b.value().tolist() == [-1.0, -2.0]
    view[0] = 7.0
    pull(a, [1.0, 0.0])
    opts[0].step()
    assert a.value().tolist() == [6.0, -4.0]
    del view
    a.version()
    assert a._checksum is None  # the optimisers hold no view of the values


def test_steps_after_loading_state_in_other_groups():
    def trained(steps, opt, model):
        for step in steps:
            for i, p in enumerate(model.parameters()):
                if i != 1 or step % 2:
                    pull(p, numbers(step, *p.shape))
            opt.step()

    def new():
        model = ln.Model(seed=0)
        for shape in ((2, 3), (4,), (5,)):
            model.parameter(shape)
        return model, ln.optim.AMSGrad(model)

    model, opt = new()
    trained(range(4), opt, model)
    other, resumed = new()
    trained(range(3), resumed, other)
    resumed.load_state_dict(opt.state_dict())
    for p, q in zip(model.parameters(), other.parameters()):
        q.array = p.value()
    trained(range(4, 8), opt, model)
    trained(range(4, 8), resumed, other)
    for p, q in zip(model.parameters(), other.parameters()):
        np.testing.assert_array_equal(p.value(), q.value())


class Signs(ln.optim.Optimizer):
    """A user's rule: x -= lr sign(g + mean), with temporaries, and nothing but `update`."""

    slots = ("mean",)

    def update(self, x, gradient, state, lr, count):
        state["mean"] *= 0.5
        state["mean"] += gradient / count
        x -= lr * np.sign(gradient + state["mean"])


class Doubled(ln.optim.Adam):
    """A user's change to a rule: of values too that have no gradient."""

    def update(self, x, gradient, state, lr, count):
        super().update(x, gradient, state, 2 * lr, count)


def test_rules_of_the_users_own_on_vectors_and_tables():
    model = ln.Model(seed=0, dtype="float64")
    W, b = model.parameter((3, 2), init=0.0), model.parameter((), init=0.0)
    table = model.lookup(20000, 3, init=0.0)
    opt = Signs(model, lr=0.5)
    x, mean = np.zeros((20000, 3)), np.zeros((20000, 3))
    for step in range(4):
        rows, g_rows, _ = row_gradients(step)
        g = np.zeros((20000, 3))
        np.add.at(g, rows, g_rows)
        mean = 0.5 * mean + g / (step + 1)
        x -= 0.5 * np.sign(g + mean)
        pull(W, np.ones((3, 2)))
        pull(b, 1.0)
        pull_rows(table, rows, g_rows)
        opt.step()
    np.testing.assert_allclose(table.array, x)
    np.testing.assert_array_equal(W.array, np.full((3, 2), -2.0))
    assert b.value() == -2.0
    for sparse in ("exact", "lazy"):
        tables = []
        for kind, lr in ((Doubled, 0.1), (ln.optim.Adam, 0.2)):
            model = ln.Model(seed=0, dtype="float64")
            table = model.lookup(20000, 3, init=0.0)
            opt = kind(model, lr=lr, sparse=sparse)
            for step in range(4):
                rows, g_rows, _ = row_gradients(step)
                pull_rows(table, rows, g_rows)
                opt.step()
            tables.append(table.array)
        np.testing.assert_allclose(*tables)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@rules
def test_tables_over_many_steps_of_different_kinds(rule, dtype, monkeypatch):
    """Rows without a gradient decay by a factor kept aside, or rest; then comes another update."""
    monkeypatch.setattr("lazynet.optim.work.SMALL", 0)
    monkeypatch.setattr("lazynet.optim.flat.BLOCK_BYTES", 64)
    model = ln.Model(seed=0, dtype=dtype)
    table = model.lookup(60, 2, init=0.25)
    settings = {"weight_decay": 0.0} if rule == "adamw" else {}
    opt = make(rule, model, lr=0.01, **settings)
    x, s = np.full((60, 2), 0.25), {}
    close = {"rtol": 1e-10, "atol": 1e-13} if dtype == "float64" else {"rtol": 3e-4, "atol": 3e-5}
    for step in range(300):
        rng = np.random.default_rng(step)
        g = np.zeros((60, 2))
        rows = np.unique(rng.integers(0, 4 if step < 40 else 25, 10))
        g[rows] = rng.standard_normal((len(rows), 2))
        if step % 50 == 43:
            table.pending = placed(table, g)
        else:
            table.pending_rows = [(rows, placed(table, g[rows]))]
        if step % 50 == 45:  # known no longer which rows have moved
            opt.load_state_dict(opt.state_dict())
        opt.weight_decay = 0.1 if step in (46, 47) else 0.0
        opt.step()
        if rule == "adamw":
            x *= 1 - 0.01 * opt.weight_decay
            x = written_out("adam", x, g, s, 0.01, step + 1)
        else:
            x = written_out(rule, x, g, s, 0.01, step + 1, opt.weight_decay)
        np.testing.assert_allclose(table.value(), x, **close)
    state = opt.state_dict()
    for slot, name in {
        "velocity": "v",
        "first_moment": "m",
        "second_moment": "v",
        "largest_second_moment": "max",
        "squares": "G" if rule == "adagrad" else "s",
        "squared_steps": "u",
    }.items():
        if slot in opt.slots:
            np.testing.assert_allclose(state[f"{table.name}:{slot}"], s[name], **close)
    assert table.value()[59, 0] != 0.25  # by the decay of the values


@pytest.mark.parametrize("settings", [{"beta1": 0.0}, {"beta2": 0.0}, {"beta1": 0.01}])
def test_moments_that_decay_at_once(settings, monkeypatch):
    monkeypatch.setattr("lazynet.optim.work.SMALL", 0)
    tables = []
    for whole in (True, False):
        model = ln.Model(seed=0, dtype="float64")
        table = model.lookup(60, 2, init=0.25)
        opt = ln.optim.Adam(model, **settings)
        for step in range(20):
            rows, g = np.array([step % 7, 50]), numbers(step, 2, 2)
            if whole:
                dense = np.zeros((60, 2))
                dense[rows] = g
                table.pending = placed(table, dense)
            else:
                table.pending_rows = [(rows, placed(table, g))]
            opt.step()
        tables.append(table.array)
    np.testing.assert_allclose(*tables, rtol=1e-11)


@pytest.mark.parametrize("rule", ["rmsprop", "adadelta", "adam"])
def test_exact_steps_touch_no_row_that_rests(rule, monkeypatch):
    """Counted in elements, not timed."""
    model = ln.Model(seed=0)
    table = model.lookup(20000, 2)
    opt = make(rule, model)
    kind, sizes = type(opt), []
    for method in ("update", "drift"):
        original = getattr(kind, method)

        def counted(self, x, *rest, original=original):
            sizes.append(x.size)
            original(self, x, *rest)

        monkeypatch.setattr(kind, method, counted)
    for _ in range(3):
        pull_rows(table, [5, 900, 5], np.ones((3, 2)))
        opt.step()
    assert sum(sizes) <= 24


@rules
def test_an_interrupt_counts_no_gradient_twice(rule, monkeypatch):
    model = ln.Model(seed=0)
    small = [model.parameter(3, init=1.0) for _ in range(3)]
    large = model.parameter(70000, init=1.0)
    opt = make(rule, model)
    for p in (*small, large):
        pull(p, np.ones(p.shape))
    kind = type(opt)
    update = kind.update

    def interrupted(self, x, *rest):
        if x.size < 100:
            raise KeyboardInterrupt
        update(self, x, *rest)

    monkeypatch.setattr(kind, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opt.step()
    monkeypatch.undo()
    assert not any(p.has_gradient() for p in small)
    if large.has_gradient():
        opt.step()
    assert opt.state_dict()[f"{large.name}:updates"] == 1 and large.value()[0] < 1.0
