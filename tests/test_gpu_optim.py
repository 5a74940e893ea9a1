"""Optimisers, trainers and files on a GPU: the same results as on the CPU, in few launches."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]

RULES: dict[str, dict[str, Any]] = {
    "SGD": {},
    "SGD momentum": {"momentum": 0.9},
    "SGD nesterov": {"momentum": 0.9, "nesterov": True},
    "Adagrad": {},
    "Adadelta": {},
    "RMSProp": {},
    "Adam": {},
    "AdamW": {},
    "AMSGrad": {},
    "Adam clip": {"clip": 0.5},
    "Adam decay": {"weight_decay": 0.1, "schedule": ln.optim.Cosine(steps=5)},
    "Adam lazy": {"sparse": "lazy", "clip": 0.5},
    "SGD lazy decay": {"sparse": "lazy", "weight_decay": 0.1},
}


def models(device: str, dtype: str = "float64") -> ln.Model:
    model = ln.Model(seed=3, dtype=dtype, device=device)
    model.parameter((3, 4), name="W")
    model.parameter(5, init=0.5, name="b")
    model.lookup(7, 2, name="table")
    model.lookup(40, (2, 3), name="large")
    model.parameter((), init=1.0, name="scalar")
    model.parameter((0, 2), init=0.0, name="empty")
    return model


def set_gradients(model: ln.Model, step: int) -> None:
    """Made-up gradients, dense, of rows, and both."""
    rng = np.random.default_rng(step)
    for name in ("W", "b", "scalar", "empty"):
        p = model[name]
        put(p, rng.standard_normal(p.shape))
    for name, count in (("table", 4), ("large", 1 + step)):
        p = model[name]
        rows = rng.integers(0, p.shape[0], count)
        values = rng.standard_normal((count, int(np.prod(p.shape[1:]))))
        p.pending_rows = [(rows, there(p, values)), (rows[:1], there(p, values[:1]))]
    if step == 2:
        put(model["table"], rng.standard_normal((7, 2)))


def there(p: ln.Parameter, array: Any) -> Any:
    array = np.asarray(array, p.dtype)
    if isinstance(p.values, np.ndarray):
        return array
    import cupy

    return cupy.asarray(array)


def put(p: ln.Parameter, array: Any) -> None:
    p.pending = there(p, array)


def optimizer(name: str, model: ln.Model) -> Any:
    return getattr(ln.optim, name.split()[0])(model, **{"lr": 0.1, **RULES[name]})


def same(a: ln.Model, b: ln.Model, rtol: float = 1e-12) -> None:
    for p, q in zip(a, b):
        np.testing.assert_allclose(p.array, q.array, rtol=rtol, atol=1e-14, err_msg=p.name)


@pytest.mark.parametrize("name", list(RULES))
def test_rules_move_parameters_as_on_the_cpu(name: str) -> None:
    cpu, gpu = models("cpu"), models("cuda")
    here, there = optimizer(name, cpu), optimizer(name, gpu)
    for step in range(4):
        for model, opt in ((cpu, here), (gpu, there)):
            set_gradients(model, step)
            opt.step()
        same(cpu, gpu)
        np.testing.assert_allclose(here.gradient_norm, there.gradient_norm, rtol=1e-12)
    mine, theirs = here.state_dict(), there.state_dict()
    assert mine.keys() == theirs.keys()
    for key, array in theirs.items():
        assert type(array) is np.ndarray
        np.testing.assert_allclose(mine[key], array, rtol=1e-10, atol=1e-14, err_msg=key)


@pytest.mark.parametrize("dtype, rtol", [("float32", 1e-5), ("float64", 1e-12)])
def test_initial_values_are_those_of_the_cpu(dtype: str, rtol: float) -> None:
    cpu, gpu = models("cpu", dtype), models("cuda", dtype)
    for p, q in zip(cpu, gpu):
        assert (p.array == q.array).all()
        assert not isinstance(q.values, np.ndarray)


def counted(step: Any) -> dict[str, int]:
    """What a step launched and copied."""
    stats = pytest.importorskip("cuda_emulator").stats
    with stats.measure() as used:
        step()
    return dict(used)


ONE_BUFFER = {"launches": 2, "h2d": 1, "d2h": 1, "syncs": 1, "d2d": 0, "memsets": 0}
"""A kernel brings gradients together and finds their norm, which is waited for; one updates."""


@pytest.mark.parametrize("name", list(RULES))
@pytest.mark.parametrize("many", [1, 30])
def test_a_step_of_a_flat_buffer_is_one_kernel(name: str, many: int) -> None:
    model = ln.Model(device="cuda")
    for _ in range(many):
        model.parameter((3, 4))
    opt = optimizer(name, model)
    for step in range(4):
        for p in model:
            put(p, np.full(p.shape, 10.0 if step == 3 else 1e-3))  # clipped or not
        used = counted(opt.step)
        if step:  # in the first one the values move to the flat buffer
            assert {key: used[key] for key in ONE_BUFFER} == ONE_BUFFER


@pytest.mark.parametrize("sparse", ["lazy", "exact"])
@pytest.mark.parametrize("name", list(RULES))
def test_a_step_of_tables_is_one_kernel_for_each(name: str, sparse: str) -> None:
    """However often rows were looked up, and by however many backward calls."""
    model = ln.Model(device="cuda")
    tables = [model.lookup(50, 4), model.lookup(30, 3)]
    opt = getattr(ln.optim, name.split()[0])(model, **{**RULES[name], "sparse": sparse})
    for step in range(4):
        rng = np.random.default_rng(step)
        for p in tables:
            p.pending_rows = [
                (rng.integers(0, 30, k), there(p, rng.standard_normal((k, p.shape[1]))))
                for k in (9, 4)
            ]
        used = counted(opt.step)
        together = sparse == "exact" and not (opt.still and not opt.weight_decay)
        if step:
            expected = {**ONE_BUFFER, "launches": 2 if together else 3}
            assert {key: used[key] for key in ONE_BUFFER} == expected


@pytest.mark.parametrize("name", ["SGD momentum", "Adam", "AMSGrad", "SGD lazy decay"])
def test_large_parameters_are_one_kernel_each(name: str, monkeypatch: Any) -> None:
    """Without a copy of their gradients; of a table rows without one move too."""
    monkeypatch.setattr(ln.optim.work, "GPU_SMALL", 10)
    results = []
    for device in ("cpu", "cuda"):
        model = ln.Model(seed=3, dtype="float64", device=device)
        W, table = model.parameter((5, 4)), model.lookup(40, 3)
        both = model.lookup(30, 2)
        opt = optimizer(name, model)
        for step in range(4):
            rng = np.random.default_rng(step)
            put(W, rng.standard_normal(W.shape))
            put(both, rng.standard_normal(both.shape))
            for p, count in ((table, 7), (both, 5)):
                values = there(p, rng.standard_normal((count, p.shape[1])))
                p.pending_rows = [(rng.integers(0, 30, count), values)]
            if device == "cpu" or not step:
                opt.step()
                continue
            used = counted(opt.step)
            assert {key: used[key] for key in ONE_BUFFER} == {**ONE_BUFFER, "launches": 4}
        results.append([p.array for p in model])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in RULES if "clip" not in RULES[name]])
def test_kernels_round_like_the_code_they_are_printed_from(name: str, dtype: str) -> None:
    cpu, gpu = models("cpu", dtype), models("cuda", dtype)
    here, there = optimizer(name, cpu), optimizer(name, gpu)
    for step in range(4):
        for model, opt in ((cpu, here), (gpu, there)):
            set_gradients(model, step)
            opt.step()
    for p, q in zip(cpu, gpu):
        np.testing.assert_array_equal(p.array, q.array, err_msg=p.name)


class Clipped(ln.optim.Optimizer):
    """A user's rule with `where`, a power and an array of its own."""

    slots = ("total",)

    def update(self, x: Any, gradient: Any, state: Any, lr: float, count: int) -> None:
        total = state["total"]
        total += abs(gradient) ** 2
        step = np.empty_like(x)
        step[...] = np.where(gradient > 0.5, 0.5, np.maximum(gradient, -0.5))
        x -= lr / count * step / np.sqrt(1 + total)


class Centred(ln.optim.Optimizer):
    """A user's rule that is not element by element."""

    def update(self, x: Any, gradient: Any, state: Any, lr: float, count: int) -> None:
        x -= lr * (gradient - gradient.mean())


@pytest.mark.parametrize("rule, launches", [(Clipped, 2), (Centred, 9)])
def test_a_rule_of_a_users(rule: Any, launches: int) -> None:
    results = []
    for device in ("cpu", "cuda"):
        model = ln.Model(seed=0, dtype="float64", device=device)
        p = model.parameter((3, 4))
        opt = rule(model, 0.1)
        for step in range(3):
            put(p, np.random.default_rng(step).standard_normal(p.shape))
            if device == "cpu" or not step:
                opt.step()
            else:
                assert counted(opt.step)["launches"] <= launches
        results.append(p.array)
    np.testing.assert_allclose(*results, rtol=1e-12)


def test_a_rule_that_fails_says_so_itself() -> None:
    class Wrong(ln.optim.Optimizer):
        def update(self, x: Any, gradient: Any, state: Any, lr: float, count: int) -> None:
            x -= state["velocity"]

    model = ln.Model(device="cuda")
    put(model.parameter(3), np.ones(3))
    with pytest.raises(KeyError, match="velocity"):
        Wrong(model, 0.1).step()


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    model = models("cuda")
    opt = ln.optim.Adam(model)
    set_gradients(model, 0)
    put(model["b"], [1.0, np.nan, 0.0, 0.0, 0.0])
    before = [p.array for p in model]
    with pytest.raises(ln.GradientError, match="/b holds NaN"):
        opt.step()
    for p, values in zip(model, before):
        assert (p.array == values).all()


def test_gradients_beyond_the_range_of_their_squares() -> None:
    for number in (1e200, 1e-200):
        norms = []
        for device in ("cpu", "cuda"):
            model = ln.Model(dtype="float64", device=device)
            p = model.parameter(3, init=0.0)
            opt = ln.optim.SGD(model, clip=1.0)
            put(p, np.full(3, number))
            opt.step()
            norms.append(opt.gradient_norm)
        np.testing.assert_allclose(norms[0], norms[1], rtol=1e-12)


def test_files_move_between_cpu_and_gpu(tmp_path: Path) -> None:
    pairs = {}
    for device, other in (("cpu", "cuda"), ("cuda", "cpu")):
        model, target = models(device), models(other)
        opt, target_opt = optimizer("Adam clip", model), optimizer("Adam clip", target)
        set_gradients(model, 0)
        opt.step()
        model.save(tmp_path / device, opt)
        target.load(tmp_path / device, target_opt)
        assert target["W"].values.dtype == np.float64
        for step in (1, 2):
            for m, o in ((model, opt), (target, target_opt)):
                set_gradients(m, step)
                o.step()
        same(model, target)
        pairs[device] = (tmp_path / device).read_bytes()
    assert len(pairs["cpu"]) == len(pairs["cuda"])


def test_a_copy_of_a_layer_is_on_the_same_device() -> None:
    model = models("cuda")
    put(model["b"], np.ones(5))
    twin = copy.deepcopy(model["b"])
    assert not isinstance(twin.values, np.ndarray)
    assert (twin.array == model["b"].array).all() and (twin.gradient() == 1).all()
    twin.array = np.zeros(5)
    assert (model["b"].array == 0.5).all()


def test_the_array_of_a_parameter_is_a_copy_to_read() -> None:
    import cupy

    p = models("cuda")["b"]
    with pytest.raises(ValueError, match="read-only"):
        p.array[0] = 1.0
    p.array = cupy.arange(5)
    assert p.array.tolist() == [0, 1, 2, 3, 4] and p.array.dtype == np.float64
    with pytest.raises(ln.ShapeError, match=r"\(4,\)"):
        p.array = cupy.zeros(4)


TRAINERS = [
    "SimpleSGDTrainer",
    "CyclicalSGDTrainer",
    "MomentumSGDTrainer",
    "AdagradTrainer",
    "AdadeltaTrainer",
    "RMSPropTrainer",
    "AdamTrainer",
    "AmsgradTrainer",
    "EGTrainer",
]


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("name", TRAINERS)
def test_trainers_of_dynet_move_parameters_as_on_the_cpu(name: str, sparse: bool) -> None:
    results = []
    for device in ("cpu", "cuda"):
        with ln.use_device(device):
            m = dy.ParameterCollection()
            owners: list[Any] = [
                m.add_parameters((3, 4), init=dy.ConstInitializer(0.3)),
                m.add_parameters(5, init=dy.ConstInitializer(0.2)),
                m.add_lookup_parameters((7, 2), init=dy.ConstInitializer(0.4)),
                m.add_lookup_parameters((40, 6), init=dy.ConstInitializer(0.1)),
            ]
            trainer = getattr(dy, name)(m)
            trainer.set_sparse_updates(sparse)
            trainer.set_clip_threshold(1.0)
            for step in range(3):
                rng = np.random.default_rng(step)
                for owner in owners[:2]:
                    put(owner.leaf, rng.standard_normal(owner.leaf.shape))
                for owner, count in zip(owners[2:], (3, 20)):
                    p = owner.leaf
                    rows = rng.integers(0, p.shape[0], count)
                    values = rng.standard_normal((count, p.shape[1]))
                    p.pending_rows = [(rows, there(p, values))]
                trainer.update()
            results.append([o.leaf.array for o in owners])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TRAINERS[:-1])  # but EGTrainer, whose rule is no formula
def test_an_update_of_a_trainer_is_one_kernel_for_each_buffer(name: str) -> None:
    with ln.use_device("cuda"):
        m = dy.ParameterCollection()
        owners = [m.add_parameters(5) for _ in range(20)]
        table = m.add_lookup_parameters((7, 2))
        trainer = getattr(dy, name)(m)
        for _ in range(3):
            for owner in owners:
                put(owner.leaf, np.ones(5))
            values = there(table.leaf, np.ones((3, 2)))
            table.leaf.pending_rows = [(np.array([4, 2, 4]), values)]
            used = counted(trainer.update)
    assert {key: used[key] for key in ONE_BUFFER} == {**ONE_BUFFER, "launches": 3}
