"""Trainers: what is not compared with the wheel (`table_trainers.py`)."""

from __future__ import annotations

import inspect
import math
import threading

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy
from lazynet.errors import FileError
from lazynet.optim.work import SMALL

SETTINGS = {
    dy.SimpleSGDTrainer: {"learning_rate": 0.1},
    dy.CyclicalSGDTrainer: {
        "learning_rate_min": 0.01,
        "learning_rate_max": 0.1,
        "step_size": 2000,
        "gamma": 1.0,
    },
    dy.MomentumSGDTrainer: {"learning_rate": 0.01, "mom": 0.9},
    dy.AdagradTrainer: {"learning_rate": 0.1, "eps": 1e-20},
    dy.AdadeltaTrainer: {"eps": 1e-6, "rho": 0.95},
    dy.RMSPropTrainer: {"learning_rate": 0.001, "eps": 1e-8, "rho": 0.9},
    dy.AdamTrainer: {"alpha": 0.001, "beta_1": 0.9, "beta_2": 0.999, "eps": 1e-8},
    dy.AmsgradTrainer: {"alpha": 0.001, "beta_1": 0.9, "beta_2": 0.999, "eps": 1e-8},
    dy.EGTrainer: {"learning_rate": 0.1, "mom": 0.9, "ne": 0.0},
}
TRAINERS = list(SETTINGS)
each = pytest.mark.parametrize("trainer", TRAINERS, ids=lambda kind: kind.__name__)


def weighted(x, weights):
    """A scalar with this gradient."""
    return dy.sum_elems(dy.cmult(x, dy.inputTensor(np.asarray(weights, float))))


def step(trainer, *terms):
    """One update; each term is a parameter, or a table and a row, and its gradient."""
    dy.renew_cg()
    for *x, weights in terms:
        weighted(x[0] if len(x) == 1 else x[0][x[1]], weights).backward()
    trainer.update()


def distribution(*shape):
    x = np.random.default_rng(0).uniform(0.5, 1.5, shape)
    return x / x.sum(axis=-1, keepdims=True)


# Interface


@each
def test_arguments_are_the_wheels(trainer) -> None:
    names = list(inspect.signature(trainer).parameters.values())
    assert names[0].name == "m" and names[0].default is inspect.Parameter.empty
    assert {n.name: n.default for n in names[1:]} == SETTINGS[trainer]


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("update", []),
        ("update_subset", ["updated_params", "updated_lookups"]),
        ("update_epoch", ["r"]),
        ("restart", ["learning_rate"]),
        ("status", []),
        ("set_learning_rate", ["value"]),
        ("set_clip_threshold", ["thr"]),
        ("get_clip_threshold", []),
        ("set_sparse_updates", ["su"]),
        ("whoami", []),
    ],
)
def test_methods_take_what_the_wheels_take(method, names) -> None:
    trainer = dy.AdamTrainer(dy.ParameterCollection())
    assert list(inspect.signature(getattr(trainer, method)).parameters) == names


@each
def test_whoami(trainer) -> None:
    class Mine(trainer):
        pass

    assert Mine(dy.ParameterCollection()).whoami() == trainer.__name__


def test_clip_threshold() -> None:
    trainer = dy.SimpleSGDTrainer(dy.ParameterCollection())
    assert trainer.get_clip_threshold() == 5
    for given, read in [(2, 2.0), (-1, 0.0), (0, 0.0), (math.inf, math.inf)]:
        trainer.set_clip_threshold(given)
        assert trainer.get_clip_threshold() == read


def test_status_counts_since_the_last_time(capfd) -> None:
    m = dy.ParameterCollection()
    p = m.parameters_from_numpy(np.ones(2))
    trainer = dy.SimpleSGDTrainer(m)
    step(trainer, (p, [1, 1]))
    step(trainer, (p, [30, 40]))
    trainer.status()
    step(trainer, (p, [1, 1]))
    trainer.learning_rate = 0.25
    trainer.status()
    trainer.status()
    assert capfd.readouterr() == (
        "",
        "[lr=0.1 clips=1 updates=2] [lr=0.25 clips=0 updates=1] [lr=0.25 clips=0 updates=0] ",
    )


def test_update_epoch_does_nothing() -> None:
    trainer = dy.SimpleSGDTrainer(dy.ParameterCollection(), 0.5)
    assert trainer.update_epoch(1.0) is None
    assert trainer.learning_rate == 0.5


def test_base_has_no_rule() -> None:
    with pytest.raises(TypeError, match="Trainer: "):
        dy.Trainer(dy.ParameterCollection())


@each
@pytest.mark.parametrize("m", [None, 3, "model", []])
def test_takes_a_collection(trainer, m) -> None:
    with pytest.raises(TypeError, match=f"{trainer.__name__}: got"):
        trainer(m)


@each
def test_settings_are_numbers(trainer) -> None:
    m = dy.ParameterCollection()
    for name in SETTINGS[trainer]:
        for bad, error in [(None, TypeError), ("0.1", TypeError), (math.nan, ValueError)]:
            with pytest.raises(error, match=trainer.__name__):
                trainer(m, **{name: bad})


@pytest.mark.parametrize(
    "call",
    [
        lambda t, x: setattr(t, "learning_rate", x),
        lambda t, x: t.set_learning_rate(x),
        lambda t, x: t.set_clip_threshold(x),
        lambda t, x: t.restart([x]),
    ],
)
def test_bad_numbers_are_refused(call) -> None:
    trainer = dy.AdamTrainer(dy.ParameterCollection())
    for bad in [None, "x", math.nan]:
        with pytest.raises((TypeError, ValueError), match=r"AdamTrainer.*got"):
            call(trainer, bad)
    assert trainer.learning_rate == 0.001
    assert trainer.get_clip_threshold() == 5


@pytest.mark.parametrize("trainer", [dy.AdamTrainer, dy.AmsgradTrainer])
@pytest.mark.parametrize("beta", [1.0, 1.5, -0.1])
def test_adam_needs_fractions(trainer, beta) -> None:
    for name in ["beta_1", "beta_2"]:
        with pytest.raises(ValueError, match=f"{trainer.__name__}.*{name}"):
            trainer(dy.ParameterCollection(), **{name: beta})


def test_cycle_needs_steps() -> None:
    with pytest.raises(ValueError, match=r"CyclicalSGDTrainer.*step_size"):
        dy.CyclicalSGDTrainer(dy.ParameterCollection(), step_size=0)


# Gradients that are not finite


@each
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("threshold", [5, 0])
@pytest.mark.parametrize("where", ["small", "large", "table"])
def test_bad_gradients_are_named_and_change_nothing(trainer, bad, threshold, where) -> None:
    m = dy.ParameterCollection()
    small = m.add_parameters((2, 3), init=0.5, name="small")
    large = m.add_parameters(SMALL + 1, init=0.5, name="large")
    table = m.add_lookup_parameters((4, 3), init=0.5, name="table")
    updater = trainer(m)
    updater.set_clip_threshold(threshold)
    step(updater, (small, np.ones((2, 3))), (table, 1, np.ones(3)))
    dy.renew_cg()
    for x in [small, large, table[2]]:
        weighted(x, np.ones(x.dim()[0])).backward()
    x = {"small": small, "large": large, "table": table[1]}[where]
    weighted(x, np.full(x.dim()[0], bad)).backward()
    every = [small, large, table]
    before = [a for p in every for a in (p.as_array(), p.grad_as_array())]
    states = updater._rule.state_dict()
    with pytest.raises(RuntimeError, match=f"{trainer.__name__}.update: .*that of /{where} holds"):
        updater.update()
    after = [a for p in every for a in (p.as_array(), p.grad_as_array())]
    np.testing.assert_equal(after, before)
    np.testing.assert_equal(updater._rule.state_dict(), states)


def test_a_norm_beyond_float32_is_clipped() -> None:
    # the wheel says that the magnitude is bad
    m = dy.ParameterCollection()
    p = m.parameters_from_numpy(np.zeros(2))
    trainer = dy.SimpleSGDTrainer(m, 1.0)
    step(trainer, (p, [3e30, 4e30]))
    np.testing.assert_allclose(p.as_array(), [-3, -4], rtol=1e-5)


def test_a_tiny_norm_is_not_lost() -> None:
    m = dy.ParameterCollection()
    p = m.parameters_from_numpy(np.zeros(2))
    trainer = dy.SimpleSGDTrainer(m, 1.0)
    trainer.set_clip_threshold(1e-25)
    step(trainer, (p, [3e-22, 4e-22]))
    np.testing.assert_allclose(p.as_array(), [-6e-26, -8e-26], rtol=1e-4)


# update_subset, which does nothing in the wheel


@each
def test_update_subset(trainer) -> None:
    m = dy.ParameterCollection()
    a, b = (m.parameters_from_numpy(distribution(3)) for _ in range(2))
    t, u = (m.lookup_parameters_from_numpy(distribution(4, 3)) for _ in range(2))
    updater = trainer(m)
    other = dy.ParameterCollection()
    twin = other.parameters_from_numpy(distribution(3))
    rows = other.lookup_parameters_from_numpy(distribution(4, 3))
    both = trainer(other)
    for _ in range(3):
        dy.renew_cg()
        for x in [a, b, t[1], u[2], twin, rows[2]]:
            weighted(x, [0.1, 0.2, -0.3]).backward()
        updater.update_subset([1], [1])
        both.update()
    initial = distribution(4, 3)
    np.testing.assert_allclose(a.as_array(), distribution(3), rtol=1e-6)
    np.testing.assert_allclose(t.as_array(), initial, rtol=1e-6)
    np.testing.assert_allclose(b.as_array(), twin.as_array(), rtol=1e-6)
    np.testing.assert_allclose(u.as_array(), rows.as_array(), rtol=1e-6)
    assert not np.allclose(b.as_array(), distribution(3), rtol=1e-6)
    np.testing.assert_allclose(a.grad_as_array(), [0.3, 0.6, -0.9], rtol=1e-6)
    assert not b.grad_as_array().any()
    updater.update()  # the ones left out come last
    assert not np.allclose(a.as_array(), distribution(3), rtol=1e-6)
    assert not a.grad_as_array().any()


def test_update_subset_clips_by_all_gradients() -> None:
    m = dy.ParameterCollection()
    a, b = (m.parameters_from_numpy(np.zeros(1)) for _ in range(2))
    trainer = dy.SimpleSGDTrainer(m, 1.0)
    trainer.set_clip_threshold(1)
    dy.renew_cg()
    weighted(a, [3]).backward()
    weighted(b, [4]).backward()
    trainer.update_subset([0], [])
    np.testing.assert_allclose([a.as_array(), b.as_array()], [[-0.6], [0]])


@pytest.mark.parametrize(
    ("some", "error"), [([2], IndexError), ([-1], IndexError), ([None], TypeError), (3, TypeError)]
)
def test_update_subset_checks_its_lists(some, error) -> None:
    m = dy.ParameterCollection()
    m.add_parameters(2)
    m.add_parameters(2)
    trainer = dy.AdamTrainer(m)
    with pytest.raises(error, match=r"AdamTrainer.update_subset: got .*updated_params"):
        trainer.update_subset(some, [])
    with pytest.raises(error, match=r"AdamTrainer.update_subset: got .*updated_lookups"):
        trainer.update_subset([], some)


# Saving: DyNet's Python API cannot


def losses(trainer, a, b, table, seed, n) -> list[float]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        dy.renew_cg()
        i = int(rng.integers(4))
        x = dy.cmult(a, b) + table[i] + table[(i + 1) % 4]
        loss = weighted(dy.cmult(x, x), rng.uniform(1, 2, 3))
        found.append(loss.value())
        loss.backward()
        trainer.update()
    return found


@each
@pytest.mark.parametrize("sparse", [True, False])
def test_training_goes_on_identically(trainer, sparse, tmp_path) -> None:
    def build(**settings):
        m = dy.ParameterCollection()
        part = m.add_subcollection("part")
        a = m.parameters_from_numpy(distribution(3))
        b = part.parameters_from_numpy(distribution(3))
        table = part.lookup_parameters_from_numpy(distribution(4, 3))
        return trainer(m, **settings), a, b, table

    settings = {k: v * 0.9 for k, v in SETTINGS[trainer].items() if k != "step_size"}
    first, *parts = build(**settings)
    first.set_sparse_updates(sparse)
    first.set_clip_threshold(0.7)
    losses(first, *parts, 1, 5)
    first.learning_rate *= 1.1
    first.save(tmp_path / "trainer")
    second, *others = build()
    losses(second, *others, 3, 2)
    second.populate(tmp_path / "trainer")
    others[0].set_value(parts[0].as_array())
    others[1].set_value(parts[1].as_array())
    others[2].init_from_array(parts[2].as_array())
    assert second.learning_rate == first.learning_rate
    assert second.get_clip_threshold() == 0.7
    assert losses(first, *parts, 2, 6) == losses(second, *others, 2, 6)


def test_a_trainer_of_another_kind_or_model_is_refused(tmp_path) -> None:
    m = dy.ParameterCollection()
    p = m.parameters_from_numpy(np.ones(2))
    trainer = dy.AdamTrainer(m)
    step(trainer, (p, [1, 2]))
    trainer.save(tmp_path / "adam")
    before = trainer._rule.state_dict()
    with pytest.raises(FileError, match=r"RMSPropTrainer.populate: .* of a AdamTrainer"):
        dy.RMSPropTrainer(m).populate(tmp_path / "adam")
    ln.Model().save(tmp_path / "model")
    with pytest.raises(FileError):
        trainer.populate(tmp_path / "model")
    with pytest.raises(FileNotFoundError):
        trainer.populate(tmp_path / "none")
    with pytest.raises(TypeError):
        trainer.populate(None)
    m.add_parameters(2)
    with pytest.raises(FileError, match="missing"):
        trainer.populate(tmp_path / "adam")
    after = trainer._rule.state_dict()
    np.testing.assert_equal({key: after[key] for key in before}, before)


# Exponentiated gradient, which the wheel does not have


def exponentiated(x, velocity, gradient, lr, mom):
    velocity = mom * velocity - lr * gradient
    x = x * np.exp(velocity)
    return x / x.sum(axis=-1, keepdims=True), velocity


@pytest.mark.parametrize("sparse", [True, False])
def test_exponentiated_gradient(sparse) -> None:
    rng = np.random.default_rng(3)
    m = dy.ParameterCollection()
    x, rows = distribution(4), distribution(5, 3)
    p, table = m.parameters_from_numpy(x), m.lookup_parameters_from_numpy(rows)
    matrix = m.parameters_from_numpy(distribution(6).reshape(2, 3))
    trainer = dy.EGTrainer(m, 0.5, mom=0.8)
    trainer.set_sparse_updates(sparse)
    trainer.set_clip_threshold(0)
    v, vs = np.zeros(4), np.zeros((5, 3))
    for i in [0, 2, 0, 0]:
        g, dense = rng.standard_normal(4), np.zeros((5, 3))
        dense[i] = rng.standard_normal(3)
        step(trainer, (p, g), (table, i, dense[i]), (matrix, rng.standard_normal((2, 3))))
        x, v = exponentiated(x, v, g, 0.5, 0.8)
        some = [i] if sparse else slice(None)
        rows[some], vs[some] = exponentiated(rows[some], vs[some], dense[some], 0.5, 0.8)
    np.testing.assert_allclose(p.as_array(), x, rtol=1e-5)
    np.testing.assert_allclose(table.as_array(), rows, rtol=1e-5)
    np.testing.assert_allclose(matrix.as_array().sum(), 1, rtol=1e-5)


def test_exponentiated_gradient_does_not_decay() -> None:
    m = dy.ParameterCollection()
    m.set_weight_decay(0.1)
    p = m.parameters_from_numpy(distribution(4))
    step(dy.EGTrainer(m), (p, [1, 2, 3, 4]))
    np.testing.assert_allclose([p.as_array().sum(), (p + 0).npvalue().sum()], 1, rtol=1e-5)


def test_exponentiated_gradient_with_cycles() -> None:
    m = dy.ParameterCollection()
    p = m.parameters_from_numpy(distribution(4))
    trainer = dy.EGTrainer(m)
    trainer.enable_cyclical_lr(0.1, 0.5, 2, 1.0)
    rates = []
    for _ in range(6):
        step(trainer, (p, np.ones(4)))
        rates.append(trainer.learning_rate)
    np.testing.assert_allclose(rates, [0.1, 0.3, 0.5, 0.3, 0.1, 0.3])


# Parameters large and small, seen and shared


@each
@pytest.mark.parametrize("sparse", [True, False])
def test_large_parameters_are_updated_like_small_ones(trainer, sparse) -> None:
    rng = np.random.default_rng(4)
    n = SMALL + 8
    values = rng.uniform(0.5, 1.5, n)
    m = dy.ParameterCollection()
    large = m.parameters_from_numpy(values)
    halves = [m.parameters_from_numpy(part) for part in np.split(values, 2)]
    updater = trainer(m, **{"learning_rate": 0.1} if trainer is dy.EGTrainer else {})
    updater.set_clip_threshold(0.5)
    for k in range(4):
        g = rng.standard_normal(n)
        if k == 2:
            step(updater)
        elif trainer is dy.EGTrainer:
            step(updater, (large, g))
        else:
            step(updater, (large, g), *zip(halves, np.split(g, 2)))
    if trainer is dy.EGTrainer:
        np.testing.assert_allclose(large.as_array().sum(), 1, rtol=1e-4)
    else:
        both = np.concatenate([p.as_array() for p in halves])
        np.testing.assert_allclose(large.as_array(), both, rtol=1e-5)
        assert np.abs(both - values).max() > 1e-5


@each
def test_rows_by_themselves_are_updated_like_rows_together(trainer, monkeypatch) -> None:
    def train():
        rng = np.random.default_rng(6)
        m = dy.ParameterCollection()
        tables = [m.lookup_parameters_from_numpy(distribution(5, n)) for n in (3, 4)]
        updater = trainer(m)
        for _ in range(4):
            rows = [(t, int(rng.integers(5))) for t in tables + tables]
            step(updater, *((t, i, rng.standard_normal(t.shape()[1])) for t, i in rows))
        return [t.as_array() for t in tables]

    together = train()
    monkeypatch.setattr("lazynet.dynet.updates.TOGETHER", 0)
    for a, b in zip(together, train()):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@each
def test_large_tables_densely_are_like_their_rows(trainer) -> None:
    # few of many rows are looked up: the rest moves by what the rule says of rows without gradient
    rng = np.random.default_rng(5)
    values = distribution(64, 3)
    m = dy.ParameterCollection()
    table = m.lookup_parameters_from_numpy(values)
    rows = [m.parameters_from_numpy(row) for row in values]
    updater = trainer(m)
    updater.set_sparse_updates(False)
    for _ in range(12):
        i, j = rng.integers(0, 6, 2).tolist()
        g, h = rng.standard_normal((2, 3))
        step(updater, (table, i, g), (rows[i], g), (table, j, h), (rows[j], h))
    np.testing.assert_allclose(table.as_array(), [p.as_array() for p in rows], rtol=2e-5)


def test_views_of_values_stay_views() -> None:
    m = dy.ParameterCollection()
    p, q = (m.parameters_from_numpy(np.zeros(3)) for _ in range(2))
    trainer = dy.SimpleSGDTrainer(m, 1.0)
    step(trainer, (p, [1, 1, 1]), (q, [1, 1, 1]))
    view = p.leaf.array
    step(trainer, (p, [0, 1, 0]), (q, [0, 1, 0]))
    np.testing.assert_allclose(view, [-1, -2, -1])
    view[0] = 7
    dy.renew_cg()
    np.testing.assert_allclose((p + 0).npvalue(), [7, -2, -1])
    step(trainer, (p, [1, 0, 0]), (q, [1, 0, 0]))
    np.testing.assert_allclose(view, [6, -2, -1])
    del view
    step(trainer, (p, [1, 0, 0]), (q, [1, 0, 0]))
    np.testing.assert_allclose(p.as_array(), [5, -2, -1])
    np.testing.assert_allclose(q.as_array(), [-3, -2, -1])


def test_trainers_of_the_same_parameters_take_turns() -> None:
    m = dy.ParameterCollection()
    part = m.add_subcollection("part")
    p, q = m.parameters_from_numpy(np.zeros(2)), part.parameters_from_numpy(np.zeros(2))
    whole, some, again = (dy.SimpleSGDTrainer(c, 1.0) for c in (m, part, m))
    for k in range(3):
        step(whole, (p, [1, 2]), (q, [1, 2]))
        step(some, (q, [0, 1]))
        step(again, (p, [1, 0]))
        np.testing.assert_allclose(p.as_array(), [-2 * (k + 1), -2 * (k + 1)])
        np.testing.assert_allclose(q.as_array(), [-(k + 1), -3 * (k + 1)])


@each
def test_values_set_between_updates_are_kept(trainer) -> None:
    m = dy.ParameterCollection()
    p = m.parameters_from_numpy(distribution(3))
    updater = trainer(m)
    step(updater, (p, [1, 1, 2]))
    p.set_value([0.2, 0.3, 0.5])
    dy.renew_cg()
    np.testing.assert_allclose((p + 0).npvalue(), [0.2, 0.3, 0.5], rtol=1e-6)
    np.testing.assert_allclose(p.as_array(), [0.2, 0.3, 0.5], rtol=1e-6)
    old = p + 0
    old.value()
    step(updater, (p, [1, 1, 2]))
    assert not np.allclose(p.as_array(), [0.2, 0.3, 0.5], rtol=1e-7)
    np.testing.assert_allclose((p + 0).npvalue(), p.as_array(), rtol=1e-6)


def test_no_parameters_and_empty_ones() -> None:
    for trainer in TRAINERS:
        m = dy.ParameterCollection()
        updater = trainer(m)
        updater.update()
        m.add_parameters((0, 3), init=1.0)
        p = m.parameters_from_numpy(distribution(3))
        step(updater, (p, [1, 2, 3]))
        updater.update()
        assert not np.allclose(p.as_array(), distribution(3), rtol=1e-7)


def test_a_frozen_parameter_is_left_out() -> None:
    # In the wheel its gradient goes on growing while it is not updated, and clips the others ever
    # more. Here it gets none.
    m = dy.ParameterCollection()
    p, q = (m.parameters_from_numpy(np.zeros(1)) for _ in range(2))
    q.set_updated(False)
    trainer = dy.SimpleSGDTrainer(m, 1.0)
    for _ in range(5):
        step(trainer, (p, [4]), (q, [100]))
    np.testing.assert_allclose(p.as_array(), [-20])
    assert not q.as_array().any() and not q.grad_as_array().any()


def test_a_gradient_from_before_freezing_counts_and_waits() -> None:
    m = dy.ParameterCollection()
    p, q = (m.parameters_from_numpy(np.zeros(1)) for _ in range(2))
    trainer = dy.SimpleSGDTrainer(m, 1.0)
    dy.renew_cg()
    weighted(p, [6]).backward()
    weighted(q, [8]).backward()
    q.set_updated(False)
    trainer.update()
    np.testing.assert_allclose([p.as_array(), q.as_array()], [[-3], [0]])
    q.set_updated(True)
    trainer.update()
    np.testing.assert_allclose([p.as_array(), q.as_array()], [[-3], [-5]])


def test_weight_decay_of_a_part_leaves_the_rest_alone() -> None:
    # In the wheel the values of a sub-collection decay by the factor of the whole, and its trainer
    # divides by a factor of its own.
    m = dy.ParameterCollection()
    m.set_weight_decay(0.5)
    part = m.add_subcollection("part")
    p, q = m.parameters_from_numpy(np.ones(2)), part.parameters_from_numpy(np.ones(2))
    trainer = dy.SimpleSGDTrainer(part, 0.1)
    step(trainer, (p, [1, 0]), (q, [1, 0]))
    dy.renew_cg()
    np.testing.assert_allclose((p + 0).npvalue(), [1, 1])
    np.testing.assert_allclose((q + 0).npvalue(), [0.45, 0.5], rtol=1e-6)
    np.testing.assert_allclose(p.as_array(), [1, 1])
    np.testing.assert_allclose(q.as_array(), [0.9, 1], rtol=1e-6)


def test_threads_train_models_of_their_own() -> None:
    results = {}

    def train(name, seed):
        rng = np.random.default_rng(seed)
        m = dy.ParameterCollection()
        p = m.parameters_from_numpy(rng.standard_normal(5))
        table = m.lookup_parameters_from_numpy(rng.standard_normal((4, 5)))
        trainer = dy.AdamTrainer(m, 0.1)
        for _ in range(30):
            step(trainer, (p, rng.standard_normal(5)), (table, 2, rng.standard_normal(5)))
        results[name] = np.concatenate([p.as_array(), table.as_array()[2]])

    threads = [threading.Thread(target=train, args=(f"thread {i}", i)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(3):
        train(f"alone {i}", i)
        np.testing.assert_array_equal(results[f"thread {i}"], results[f"alone {i}"])
