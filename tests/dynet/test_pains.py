"""What DyNet's users reported, each gone: the right result, or a clear error.

The tests are named after the complaints. Defects of the wheel, marked (!) below, are among them.
"""

from __future__ import annotations

import gc
import math
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy

ROOT = Path(ln.__file__).parent.parent


@pytest.fixture(autouse=True)
def fresh() -> None:
    dy.renew_cg()


def vector(*numbers: float) -> Any:
    return dy.inputVector(list(numbers))


def batches(expressions: list[Any], without: tuple[str, ...] = ("input",)) -> list[str]:
    """Names of the batches that these would take, but for those of inputs."""
    plan = ln.plan([e.node for e in expressions]).batches
    return [b.op for b in plan if b.op not in without]


# Silently wrong or NaN results with autobatching

ROWS = np.random.RandomState(0).uniform(0.2, 0.8, (3, 3))
PROBES: dict[str, list[Callable[[Any], Any]]] = {
    "elu and relu": [dy.elu, dy.rectify, lambda x: dy.elu(x, 0.5), dy.selu],
    "silu of several beta": [dy.silu, lambda x: dy.silu(x, 2.0), lambda x: dy.silu(x, 3.0)],
    "softmax along dimensions": [lambda x: dy.softmax(x, 0), lambda x: dy.softmax(x, 1)],
    "log_softmax of restrictions": [
        lambda x: dy.exp(dy.log_softmax(x[0], [0, 1])),
        lambda x: dy.exp(dy.log_softmax(x[0], [1, 2])),
        lambda x: dy.log_softmax(x[0]),
    ],
    "concatenate along dimensions": [
        lambda x: dy.concatenate([x, x], 0),
        lambda x: dy.concatenate([x, x], 1),
        lambda x: dy.concatenate([x, x], 2),
    ],
    "transpose of dimensions": [
        lambda x: dy.transpose(x),
        lambda x: dy.transpose(x, [0, 1]),
        lambda x: dy.transpose(dy.reshape(x, (3, 1, 3)), [1, 2, 0]),
    ],
    "sum_dim and mean_dim": [
        lambda x: dy.sum_dim(x, [0]),
        lambda x: dy.sum_dim(x, [1]),
        lambda x: dy.mean_dim(x, [0], False),
        lambda x: dy.mean_dim(x, [0], False, 2),
        lambda x: dy.std_dim(x, [1], False),
    ],
    "moments": [lambda x, r=r: dy.moment_elems(x, r) for r in (1, 2, 3)],
    "max_dim and min_dim": [
        lambda x: dy.max_dim(x, 0),
        lambda x: dy.max_dim(x, 1),
        lambda x: dy.min_dim(x, 0),
    ],
    "cumsum along dimensions": [lambda x: dy.cumsum(x, 0), lambda x: dy.cumsum(x, 1)],
    "picks": [
        lambda x: dy.pick(x, 0, 0),
        lambda x: dy.pick(x, 0, 1),
        lambda x: dy.pick(x, 2, 1),
        lambda x: x[1],
    ],
    "ranges": [
        lambda x: dy.pick_range(x, 0, 2),
        lambda x: dy.pick_range(x, 1, 3),
        lambda x: dy.pick_range(x, 1, 3, 1),
        lambda x: dy.strided_select(x, [2, 1], [0, 1], [3, 3]),
        lambda x: x[::2],
    ],
    "rows and columns": [
        lambda x: dy.select_rows(x, [0, 2]),
        lambda x: dy.select_rows(x, [2, 1]),
        lambda x: dy.select_cols(x, [0, 2]),
    ],
    "reshapes": [lambda x: dy.reshape(x, (9,)), lambda x: dy.reshape(x, (1, 9))],
    "powers": [lambda x: x**2, lambda x: x**3, lambda x: dy.pow(x, dy.scalarInput(0.5))],
    "factors and summands": [lambda x: x * 2, lambda x: x * 3, lambda x: x + 2, lambda x: x - 2],
    "hinge losses": [
        lambda x: dy.hinge(x[0], 1),
        lambda x: dy.hinge(x[0], 1, 2.0),
        lambda x: dy.hinge(x[0], 2),
    ],
    "distances": [
        lambda x: dy.huber_distance(x[0], x[1], 0.1),
        lambda x: dy.huber_distance(x[0], x[1], 0.3),
        lambda x: dy.squared_distance(x[0], x[1]),
        lambda x: dy.l1_distance(x[0], x[1]),
    ],
    "poisson losses": [lambda x, k=k: dy.poisson_loss(x[0][0], k) for k in (1, 4)],
    "roundings": [
        lambda x: dy.round(x, "zero_gradient"),
        lambda x: dy.round(x, "straight_through_gradient"),
        lambda x: dy.ceil(x, "zero_gradient"),
    ],
    "gradients scaled": [lambda x: dy.scale_gradient(x, 2.0), lambda x: dy.scale_gradient(x, 3.0)],
    "folding": [lambda x: dy.fold_rows(x, 3), lambda x: dy.fold_rows(x, 1)],
    "k-max pooling": [lambda x: dy.kmax_pooling(x, 1), lambda x: dy.kmax_pooling(x, 2)],
    "n-grams": [lambda x: dy.kmh_ngram(x, 1), lambda x: dy.kmh_ngram(x, 2)],
    "convolutions": [
        lambda x, s=s, v=v: dy.conv2d(
            dy.reshape(x, (3, 3, 1)), dy.inputTensor(np.ones((2, 2, 1, 1))), s, is_valid=v
        )
        for s in ([1, 1], [2, 1])
        for v in (True, False)
    ],
    "pooling": [
        lambda x, k=k: dy.maxpooling2d(dy.reshape(x, (3, 3, 1)), k, [1, 1])
        for k in ([2, 2], [1, 3], [2, 1])
    ],
    "lists of several lengths": [lambda x, n=n: dy.esum([x] * n) for n in (1, 2, 4)],
}


@pytest.mark.parametrize("name", PROBES)
def test_autobatching_never_mixes_what_differs(name: str) -> None:
    """DyNet compares hashes of hand-written signatures; elu and relu came in one batch."""

    def results(together: bool) -> list[np.ndarray]:
        found, inputs, outputs = [], [], []
        for function in PROBES[name]:
            for k in range(2):
                x = dy.inputTensor(ROWS + 0.1 * k - 0.4 * (name == "elu and relu"))
                y = function(x)
                inputs.append(x)
                outputs.append(y)
                if not together:
                    dy.sum_elems(dy.square(y)).backward()
                    found += [y.npvalue(), x.gradient()]
                    dy.renew_cg()
        if together:
            dy.esum([dy.sum_elems(dy.square(y)) for y in outputs]).backward()
            for x, y in zip(inputs, outputs, strict=True):
                found += [y.npvalue(), x.gradient()]
        return found

    single = results(together=False)
    for mine, right in zip(results(together=True), single, strict=True):
        assert mine.shape == right.shape
        assert np.isfinite(mine).all()
        np.testing.assert_allclose(mine, right, rtol=1e-5, atol=1e-6)
    values = [tuple(np.round(v, 6).ravel()) for v in single[::4]]
    alike = {"roundings", "gradients scaled", "reshapes"}  # in value
    assert name in alike or len(set(values)) > 1  # else the probe shows nothing


def test_autobatching_does_not_change_a_loss() -> None:
    """One by one, all at once, and without batching."""
    model = dy.ParameterCollection()
    rnn = dy.VanillaLSTMBuilder(1, 3, 4, model)
    W, table = model.add_parameters((5, 4)), model.add_lookup_parameters((7, 3))
    data = [([1, 2, 3], 0), ([4], 2), ([5, 6], 4), ([2, 2, 2, 2], 1)]

    def loss(words: list[int], label: int) -> Any:
        state = rnn.initial_state().add_inputs([table[w] for w in words])[-1]
        return dy.pickneglogsoftmax(W * state.output(), label)

    alone = []
    for words, label in data:
        dy.renew_cg()
        alone.append(loss(words, label).value())
    dy.renew_cg()
    assert dy.values([loss(*d) for d in data]) == pytest.approx(alone, rel=1e-5)
    dy.renew_cg()
    with ln.no_autobatch():
        assert dy.esum([loss(*d) for d in data]).value() == pytest.approx(sum(alone), rel=1e-5)


# How DyNet batches: what it never does is one batch here

TEN = [np.random.RandomState(k).uniform(0.2, 0.8, (4, 4)) for k in range(10)]
NEVER: dict[str, Callable[[Any, Any, int], Any]] = {
    "pick": lambda x, m, k: dy.pick(x, k % 4),
    "x[i]": lambda x, m, k: x[-1 - k % 4],
    "x[a:b]": lambda x, m, k: x[k % 3 : k % 3 + 2],
    "dot_product": lambda x, m, k: dy.dot_product(x, x),
    "cdiv": lambda x, m, k: dy.cdiv(x, x),
    "pow": lambda x, m, k: x ** (k + 0.5),
    "sum_elems": lambda x, m, k: dy.sum_elems(m),
    "sum_dim": lambda x, m, k: dy.sum_dim(m, [0]),
    "mean_elems": lambda x, m, k: dy.mean_elems(m),
    "std_dim": lambda x, m, k: dy.std_dim(m, [1], False),
    "moment_elems": lambda x, m, k: dy.moment_elems(m, 3),
    "max_dim": lambda x, m, k: dy.max_dim(m),
    "squared_norm": lambda x, m, k: dy.squared_norm(m),
    "l2_norm": lambda x, m, k: dy.l2_norm(m),
    "log_softmax": lambda x, m, k: dy.log_softmax(x),
    "log_softmax restricted": lambda x, m, k: dy.log_softmax(x, [k % 4, (k + 1) % 4])[k % 4],
    "logsumexp": lambda x, m, k: dy.logsumexp([x] * (k + 2)),
    "logsumexp_dim": lambda x, m, k: dy.logsumexp_dim(m, 1),
    "reshape": lambda x, m, k: dy.reshape(m, (2, 8)),
    "transpose": lambda x, m, k: dy.transpose(m),
    "strided_select": lambda x, m, k: dy.strided_select(m, [2], [k % 2], [k % 2 + 3]),
    "select_rows": lambda x, m, k: dy.select_rows(m, [k % 4, (k + 2) % 4]),
    "select_cols": lambda x, m, k: dy.select_cols(m, [k % 4]),
    "hinge": lambda x, m, k: dy.hinge(x, k % 4),
    "pickneglogsoftmax": lambda x, m, k: dy.pickneglogsoftmax(x, k % 4),
    "layer_norm": lambda x, m, k: dy.layer_norm(x, x, x),
    "attention": lambda x, m, k: m * x,
    "softmax": lambda x, m, k: dy.softmax(x),
    "scaling": lambda x, m, k: x * (k + 2),
    "concatenate": lambda x, m, k: dy.concatenate([x, x]),
    "pairwise_rank_loss": lambda x, m, k: dy.huber_distance(x, x, 1.0 + k),
}


@pytest.mark.parametrize("name", NEVER)
def test_what_dynet_never_batches_is_one_batch(name: str) -> None:
    """Ten calls with other numbers take as many batches as one call: one, but for composed ones."""
    first = NEVER[name](dy.inputTensor(TEN[0][0]), dy.inputTensor(TEN[0]), 0)
    assert len(batches([first])) == 1 + (name in ("moment_elems", "log_softmax restricted"))
    results = [NEVER[name](dy.inputTensor(a[0]), dy.inputTensor(a), k) for k, a in enumerate(TEN)]
    assert len(batches(results)) == len(batches([first]))
    assert all(np.isfinite(value).all() for value in dy.npvalues(results))


@pytest.mark.parametrize("name", ["+", "cmult"])
def test_broadcasting_is_one_batch(name: str) -> None:
    results = []
    for k in range(10):
        m, row, column = (
            dy.inputTensor(np.ones((3, 4))),
            dy.inputTensor([[1.0] * 4]),
            vector(1, 2, k),
        )
        results.append(m + row if name == "+" else dy.cmult(m, row))
        results.append(m + column if name == "+" else dy.cmult(m, column))
    assert len(batches(results, ("input", "reshape"))) == 2  # for rows and for columns, of ten each


def test_attention_over_sequences_of_several_lengths() -> None:
    """Scores of each sentence's own matrix; DyNet runs each example by itself."""
    outputs = []
    for n in (3, 3, 3, 5, 5):
        states = [vector(k, 1.0, -k) for k in range(n)]
        H = dy.concatenate_cols(states)
        outputs.append(H * dy.softmax(dy.transpose(H) * states[0]))
    assert len(batches(outputs)) == 10  # five for each length
    assert len(batches(outputs[:3])) == 5


# Value-dependent control flow defeats batching


def test_value_dependent_control_flow_batches_the_rest() -> None:
    """Decisions on values of ten examples take one run, and what follows is batched too."""
    model = dy.ParameterCollection()
    W = model.add_parameters((4, 4))
    hidden = [dy.tanh(W * dy.inputTensor(a[0])) for a in TEN]
    scores = [dy.sum_elems(h) for h in hidden]
    assert len(batches(scores)) == 3
    threshold = float(np.median(dy.values(scores)))
    assert batches(scores) == []  # computed, once
    losses = []
    for h, score in zip(hidden, scores, strict=True):
        if score.value() > threshold:
            losses.append(dy.squared_norm(dy.rectify(h)))
        else:
            losses.append(dy.squared_norm(dy.exp(h)))
    total = dy.esum(losses)
    assert len(batches([total])) == 4  # exp, rectify, and for all ten the norm and the sum
    total.backward()
    assert np.isfinite(W.gradient()).all()


def many(model: Any, p: float = 0.0) -> tuple[Any, list[Any]]:
    """A weight, and the losses of ten examples with it, through steps of an LSTM and dropout."""
    W = model.add_parameters((4, 4), init=dy.ConstInitializer(0.1))
    rnn = dy.VanillaLSTMBuilder(1, 4, 4, model)
    losses = []
    for a in TEN:
        state = rnn.initial_state().add_input(dy.inputTensor(a[0]))
        losses.append(dy.squared_norm(W * dy.dropout(state.output(), p)))
    return W, losses


def test_looking_at_one_value_computes_all_that_was_recorded() -> None:
    """A program that asks one by one what to do next, as DyNet's do, has all in one run."""
    _, losses = many(dy.ParameterCollection())
    first = losses[0].value()
    assert batches(losses) == []
    assert losses[0].value() == first
    total = dy.esum([dy.exp(e) if e.value() > first else dy.square(e) for e in losses])
    assert len(batches([total])) == 3
    assert np.isfinite(total.value())


def test_values_do_not_depend_on_the_order_in_which_they_are_asked_for() -> None:
    found = []
    for order in (1, -1):
        dy.renew_cg()
        dy.reset_random_seed(3)  # of weights and of dropout
        _, losses = many(dy.ParameterCollection(), p=0.5)
        found.append([e.value() for e in losses[::order]][::order])
    dy.renew_cg()
    dy.reset_random_seed(3)
    assert dy.values(many(dy.ParameterCollection(), p=0.5)[1]) == pytest.approx(found[0], rel=1e-5)
    assert found[1] == pytest.approx(found[0], rel=1e-5)


def test_what_nobody_asked_for_sees_an_update() -> None:
    """Losses of ten examples on one graph with an update after each: as on a graph for each."""

    def train(renew: bool) -> tuple[list[float], np.ndarray]:
        ln.seed(5)
        model = dy.ParameterCollection()
        W = model.add_parameters((4, 4), init=dy.ConstInitializer(0.1))
        rnn = dy.VanillaLSTMBuilder(1, 4, 4, model)
        trainer = dy.SimpleSGDTrainer(model, learning_rate=0.5)

        def losses() -> list[Any]:
            dy.renew_cg()
            states = [rnn.initial_state().add_input(dy.inputTensor(a[0])) for a in TEN]
            return [dy.squared_norm(W * s.output()) + dy.sum_elems(s.s()[0]) for s in states]

        found, all_of_them = [], losses()
        for k in range(len(TEN)):
            loss = losses()[k] if renew else all_of_them[k]
            found.append(loss.value())
            loss.backward()
            trainer.update()
            assert loss.value() == found[-1]  # what was asked for stays
        return found, W.as_array()

    values, weights = train(renew=False)
    right, expected = train(renew=True)
    assert values == pytest.approx(right, rel=1e-5)
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_what_is_never_asked_for_may_fail() -> None:
    fine = [dy.logdet(dy.inputTensor(np.eye(3))) for _ in range(2)]
    singular = [dy.logdet(dy.zeros((3, 3))) for _ in range(20)]
    assert fine[0].value() == fine[1].value() == 0
    with pytest.raises(RuntimeError, match="Singular"):
        singular[0].value()


def test_what_is_made_of_values_waits_to_be_batched() -> None:
    """Only what is like the value that is asked for is computed with it."""
    hidden = [dy.tanh(dy.inputTensor(a[0])) for a in TEN]
    later = [dy.exp(h) for h in hidden]
    hidden[0].value()
    assert batches(later) == ["exp"]


# Slower with autobatching, and no word why


def test_a_plan_says_what_is_batched_and_what_is_not() -> None:
    xs = [dy.tanh(dy.inputTensor(a[0])) for a in TEN]
    xs.append(dy.tanh(vector(1, 2)))  # of another length, and so by itself
    table = str(ln.plan([x.node for x in xs]))
    assert "batches for 22 nodes" in table
    assert [line.split() for line in table.splitlines() if "tanh" in line]


# Memory preallocated, cryptic out-of-memory


def test_memory_is_taken_as_it_is_needed() -> None:
    tracemalloc.start()
    try:
        dy.renew_cg()
        assert dy.sum_elems(dy.zeros(1000)).value() == 0
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("zeros", lambda: dy.zeros((10**8, 10**8))),
        ("random_normal", lambda: dy.random_normal((10**8, 10**8))),
        ("ones", lambda: dy.ones(10**9, batch_size=10**4)),
        ("add_parameters", lambda: dy.ParameterCollection().add_parameters((10**8, 10**8))),
    ],
)
def test_what_does_not_fit_into_memory_is_named(name: str, call: Callable[[], Any]) -> None:
    with pytest.raises(MemoryError, match=f"{name}: .*memory"):
        call()


# A forgotten renew_cg


def step(model: Any, W: Any, trainer: Any) -> None:
    loss = dy.squared_norm(dy.tanh(W * dy.inputVector([1.0, 2.0, 3.0])))
    loss.value()
    loss.backward()
    trainer.update()


def test_a_forgotten_renew_cg_keeps_memory_steady() -> None:
    """2,000 graphs without one; the wheel's memory grows until it ends."""
    model = dy.ParameterCollection()
    W = model.add_parameters((3, 3))
    trainer = dy.SimpleSGDTrainer(model, learning_rate=0.001)
    for _ in range(100):
        step(model, W, trainer)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1900):
            step(model, W, trainer)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 100_000  # 50 bytes a graph would be 90,000


# Stale expressions (crash or garbage)


def test_a_stale_expression_is_told_and_how() -> None:
    x = vector(1, 2)
    x.value()
    dy.renew_cg()
    y = vector(3, 4)
    for use in (
        lambda: x.value(),
        lambda: x + y,
        lambda: y * x,
        lambda: dy.tanh(x),
        lambda: dy.concatenate([y, x]),
        lambda: x.gradient(),
    ):
        with pytest.raises(RuntimeError, match=r"stale expression.*renew_cg\(\)"):
            use()
    assert y.value() == [3, 4]


# Errors far from their source


def test_errors_are_raised_on_the_line_that_caused_them() -> None:
    """Mismatched dimensions when a node is made, not when it is computed."""
    W, x = dy.inputTensor(np.ones((2, 3))), vector(1, 2)
    with pytest.raises(ValueError, match=r"\*: mismatched dimensions.*\{2,3\} times \{2\}"):
        W * x
    with pytest.raises(ValueError, match=r"cmult: mismatched dimensions \{2\} and \{2,3\}|cmult"):
        dy.cmult(vector(1, 2, 3), x)


def test_errors_at_computation_name_the_line_of_the_program() -> None:
    """Of the very expression if that is asked for; else of one that is made like it."""
    with ln.debug():
        line = sys._getframe().f_lineno + 1
        x = dy.inverse(dy.zeros((2, 2)))
    with pytest.raises(
        RuntimeError, match=rf"inverse.*recorded at .*pains\.py:{line}: LinAlgError: Singular"
    ):
        dy.sum_elems(x).value()
    y = dy.inverse(dy.zeros((2, 2)))
    with pytest.raises(
        RuntimeError, match=r"inverse.*first recorded at .*\.py:\d+ .*: LinAlgError: Singular"
    ):
        y.value()


def test_immediate_computation_raises_on_the_line() -> None:
    dy.renew_cg(immediate_compute=True)
    x = dy.zeros((2, 2))
    with pytest.raises(RuntimeError, match="inverse"):
        dy.inverse(x)


# "Magnitude of gradient is bad", naming no node


@pytest.mark.parametrize("trainer", [dy.SimpleSGDTrainer, dy.AdamTrainer])
def test_a_bad_gradient_names_the_parameter(trainer: Any) -> None:
    model = dy.ParameterCollection()
    fine = model.add_parameters(2, name="fine", init=1.0)
    bad = model.add_subcollection("layer").add_parameters(2, name="bad", init=0.0)
    (dy.sum_elems(dy.log(bad)) + dy.sum_elems(fine)).backward()
    with pytest.raises(RuntimeError, match=r"magnitude of gradient is bad.*/layer/bad") as found:
        trainer(model).update()
    assert "/fine" not in str(found.value)
    assert fine.as_array().tolist() == [1, 1]


# Hard to install


def test_nothing_that_must_be_compiled_is_imported() -> None:
    code = (
        "import sys; import lazynet.dynet as dy; dy.scalarInput(1).value(); "
        "print(sorted({n.partition('.')[0] for n in sys.modules} & "
        "{'cupy', 'numba', 'torch', 'Cython', '_dynet', 'dynet'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == "[]", done.stderr


# One graph per process, no threads


def test_two_graphs_in_two_threads_over_one_model() -> None:
    model = dy.ParameterCollection()
    W = model.add_parameters((3, 3), init=0.5)
    results: dict[int, list[float]] = {}
    errors: list[BaseException] = []
    barrier = threading.Barrier(2)

    def work(k: int) -> None:
        try:
            found = []
            for i in range(30):
                dy.renew_cg()
                x = dy.inputVector([k, i, 1.0])
                barrier.wait(timeout=10)  # both have a graph now
                y = dy.sum_elems(W * x)
                barrier.wait(timeout=10)
                found.append(y.value())
            results[k] = found
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for k in range(2):
        assert results[k] == pytest.approx([1.5 * (k + i + 1) for i in range(30)])


def test_renewing_a_graph_leaves_that_of_another_thread_alone() -> None:
    x = vector(1, 2)
    thread = threading.Thread(target=dy.renew_cg)
    thread.start()
    thread.join()
    assert dy.exp(x).value() == pytest.approx([math.e, math.e**2])


# Optimiser state not saved


@pytest.mark.parametrize(
    "trainer", [dy.AdamTrainer, dy.MomentumSGDTrainer, dy.AdagradTrainer, dy.CyclicalSGDTrainer]
)
def test_optimiser_state_is_saved(trainer: Any, tmp_path: Path) -> None:
    def started() -> tuple[Any, Any, Any]:
        model = dy.ParameterCollection()
        p = model.add_parameters(3, init=dy.NumpyInitializer(np.array([1.0, -2.0, 0.5])))
        return model, p, trainer(model)

    def update(p: Any, t: Any, k: int) -> None:
        dy.renew_cg()
        dy.dot_product(p, dy.inputVector([k, 1.0, -k])).backward()
        t.update()

    model, p, t = started()
    for k in range(6):
        update(p, t, k)
        if k == 2:
            model.save(str(tmp_path / "model"))
            t.save(str(tmp_path / "trainer"))
    other, q, u = started()
    other.populate(str(tmp_path / "model"))
    u.populate(str(tmp_path / "trainer"))
    for k in range(3, 6):
        update(q, u, k)
    np.testing.assert_allclose(q.as_array(), p.as_array(), rtol=1e-6)


# Save/load confusion, slow text


def test_loading_what_does_not_fit_says_what_is_where(tmp_path: Path) -> None:
    model = dy.ParameterCollection()
    model.add_parameters((2, 3))
    model.save(str(tmp_path / "model"))
    other = dy.ParameterCollection()
    p = other.add_parameters((3, 2))
    before = p.as_array()
    with pytest.raises((RuntimeError, ValueError), match=r"\{2,3\}|\(2, 3\)"):
        other.populate(str(tmp_path / "model"))
    with pytest.raises((RuntimeError, ValueError), match="nothing"):
        p.populate(str(tmp_path / "model"), "/nothing")
    assert (p.as_array() == before).all()


def test_text_is_written_and_read_by_the_array(tmp_path: Path) -> None:
    """200,000 numbers in a fraction of the time that a call of Python for each would take."""
    import time

    model = dy.ParameterCollection()
    p = model.add_parameters((1000, 200))
    start = time.perf_counter()
    model.save(str(tmp_path / "model"))
    model.populate(str(tmp_path / "model"))
    assert time.perf_counter() - start < 2
    assert p.shape() == (1000, 200)


# Configuration from sys.argv at import only


def test_configuration_after_import() -> None:
    from lazynet.dynet import config, dynet_config

    before, conf = config.settings(), dynet_config._State.conf
    try:
        params = dy.DynetParams()
        params.set_random_seed(7)
        params.set_weight_decay(0.25)
        params.init()
        dy.renew_cg()
        drawn = dy.random_normal(3).value()
        assert dy.ParameterCollection().get_weight_decay() == 0.25
        dynet_config.set(random_seed=7)
        assert dy.random_normal(3).value() == drawn
        assert dy.ParameterCollection().get_weight_decay() == 0
    finally:
        config._State.settings, dynet_config._State.conf = before, conf


# Poor indexing and broadcasting


def test_indexing() -> None:
    a = np.arange(24.0).reshape(4, 6)
    x = dy.inputTensor(a)
    assert x[-1].npvalue().tolist() == a[-1].tolist()
    assert x[np.int64(1)].npvalue().tolist() == a[1].tolist()
    assert x[1:-1].npvalue().tolist() == a[1:-1].tolist()
    assert x[::2].npvalue().tolist() == a[::2].tolist()
    assert x[:2, 1:5:2].npvalue().tolist() == a[:2, 1:5:2].tolist()
    assert len(x) == 4
    assert [row.npvalue().tolist() for row in x] == a.tolist()


def test_broadcasting() -> None:
    a = np.arange(6.0).reshape(2, 3)
    x, column, row = dy.inputTensor(a), vector(1, 2), dy.inputTensor([[1.0, 2.0, 3.0]])
    batch = dy.inputTensor(np.arange(8.0).reshape(2, 4), batched=True)
    np.testing.assert_allclose((x + column).npvalue(), a + np.array([[1], [2]]))
    np.testing.assert_allclose((x - row).npvalue(), a - [[1, 2, 3]])
    np.testing.assert_allclose(dy.cmult(x, row).npvalue(), a * [[1, 2, 3]])
    np.testing.assert_allclose(dy.cdiv(x, column).npvalue(), a / [[1], [2]])
    sums = a[:, :, None] + np.arange(8.0).reshape(2, 1, 4)
    np.testing.assert_allclose((x + batch).npvalue(), sums)


# Crashes on None or wrong types: `test_bad_input.py` tries everything that is public


def test_none_is_refused_by_name() -> None:
    x = vector(1, 2)
    for name, call in {
        "concatenate": lambda: dy.concatenate([x, None]),
        "tanh": lambda: dy.tanh(None),
        "dot_product": lambda: dy.dot_product(None, x),
        "add_input": lambda: dy.GRUBuilder(1, 2, 2, dy.Model()).initial_state().add_input(None),
    }.items():
        with pytest.raises(TypeError, match=f"{name}: got None"):
            call()


# gradient() of a node that was skipped


def test_gradient_of_every_node_without_a_full_backward() -> None:
    """The wheel gives zeros for nodes on which no parameter lies, without a word."""
    x = vector(1, 2)
    y = dy.square(x)
    z = dy.sum_elems(dy.exp(y))
    z.backward()
    e = np.exp([1.0, 4.0])
    np.testing.assert_allclose(y.gradient(), e, rtol=1e-6)
    np.testing.assert_allclose(x.gradient(), 2 * np.array([1.0, 2.0]) * e, rtol=1e-6)
    with pytest.raises(RuntimeError, match="gradient: no backward"):
        dy.renew_cg()
        vector(1).gradient()


# Inexact sparse Adam


def adam(sparse: bool) -> np.ndarray:
    model = dy.ParameterCollection()
    table = model.add_lookup_parameters((3, 2), init=dy.ConstInitializer(1.0))
    trainer = dy.AdamTrainer(model, alpha=0.1)
    trainer.set_clip_threshold(-1)
    trainer.set_sparse_updates(sparse)
    for row in (0, 1, 0, 2, 0):
        dy.renew_cg()
        dy.dot_product(table[row], dy.inputVector([1.0, -0.5])).backward()
        trainer.update()
    return table.as_array()


def test_adam_is_exact_without_sparse_updates() -> None:
    gradients = [
        np.array([[1.0, -0.5] if i == row else [0.0, 0.0] for i in range(3)])
        for row in (0, 1, 0, 2, 0)
    ]
    x, m, v = np.ones((3, 2)), np.zeros((3, 2)), np.zeros((3, 2))
    for t, g in enumerate(gradients, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        x -= 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-8)
    np.testing.assert_allclose(adam(sparse=False), x, rtol=1e-5)
    assert np.abs(adam(sparse=True) - x).max() > 1e-2  # rows at rest keep their moments


def test_the_inexactness_of_sparse_adam_is_documented() -> None:
    text = dy.AdamTrainer.__doc__ or ""
    assert "set_sparse_updates(False)" in text
    assert "exact" in text


# Undocumented freezing


def test_freezing() -> None:
    model = dy.ParameterCollection()
    p, q = model.add_parameters(2, init=1.0), model.add_parameters(2, init=1.0)
    table = model.add_lookup_parameters((2, 2), init=1.0)
    p.set_updated(False)
    assert not p.is_updated() and q.is_updated()
    assert "gradient" in (dy.Parameters.is_updated.__doc__ or "")
    trainer = dy.SimpleSGDTrainer(model)
    (dy.dot_product(p, q) + dy.sum_elems(dy.lookup(table, 1, update=False))).backward()
    trainer.update()
    assert p.as_array().tolist() == [1, 1]
    np.testing.assert_allclose(q.as_array(), 0.9, rtol=1e-6)
    assert table.as_array().tolist() == [[1, 1], [1, 1]]
    dy.renew_cg()
    loss = dy.dot_product(p.expr(False), q.expr(True)) + dy.sum_elems(dy.nobackprop(q))
    loss.backward()
    trainer.update()
    assert p.as_array().tolist() == [1, 1]
    np.testing.assert_allclose(q.as_array(), 0.8, rtol=1e-6)


# No RNN masks


def test_masks_of_recurrent_networks() -> None:
    """A mask keeps the states of sequences that have ended: a minibatch equals each alone."""
    model = dy.ParameterCollection()
    rnn = dy.VanillaLSTMBuilder(1, 2, 3, model)
    table = model.add_lookup_parameters((5, 2))
    sentences = [[1, 2, 3], [4], [2, 3]]
    alone = []
    for words in sentences:
        dy.renew_cg()
        alone.append(rnn.initial_state().add_inputs([table[w] for w in words])[-1].output().value())
    dy.renew_cg()
    state = rnn.initial_state()
    zeros = dy.zeros(3, batch_size=3)
    state = rnn.initial_state([zeros, zeros])
    for k in range(3):
        words = [s[k] if k < len(s) else 0 for s in sentences]
        mask = dy.inputTensor([[float(k < len(s)) for s in sentences]], batched=True)
        after = state.add_input(dy.lookup_batch(table, words))
        state = state.set_s(
            [dy.cmult(a, mask) + dy.cmult(b, 1 - mask) for a, b in zip(after.s(), state.s())]
        )
    found = state.output().npvalue()
    for k, right in enumerate(alone):
        np.testing.assert_allclose(found[:, k], right, rtol=1e-5, atol=1e-6)


def test_sequences_of_several_lengths_need_no_mask() -> None:
    """One batch for each step, and as many steps as the longest has."""
    model = dy.ParameterCollection()
    rnn = dy.VanillaLSTMBuilder(1, 2, 3, model)
    table = model.add_lookup_parameters((5, 2))
    ends = []
    for words in ([1, 2, 3], [4], [2, 3]):
        state = rnn.initial_state()
        for w in words:
            state = state.add_input(table[w])
        ends.append(state.output())
    assert batches(ends).count("VanillaLSTMBuilder") == 3


# No gradient of a gradient: a clear error


def test_a_gradient_of_a_gradient_is_refused() -> None:
    x = vector(1, 2)
    dy.squared_norm(x).backward()
    gradient = x.gradient()
    for call in (
        lambda: dy.squared_norm(gradient),
        lambda: dy.cmult(gradient, x),
        lambda: gradient * x,
        lambda: x + gradient,
    ):
        with pytest.raises(TypeError, match="gradient is an array, which cannot be differentiated"):
            call()


# Defects of the wheel


def test_numbers_stand_on_the_left() -> None:
    """(!) All of these raise in the wheel."""
    x = vector(1, 3)
    assert (2 * x).value() == [2, 6]
    assert (2 + x).value() == [3, 5]
    assert (2 - x).value() == [1, -1]
    assert (np.float64(2) * x).value() == [2, 6]
    dy.sum_elems(2 - x).backward()
    assert x.gradient().tolist() == [-1, -1]


def test_initialisers_by_name() -> None:
    """(!) saxe is rejected there, and he has another scale."""
    model = dy.ParameterCollection()
    Q = model.add_parameters((6, 6), init="saxe").as_array()
    np.testing.assert_allclose(Q @ Q.T, np.eye(6), atol=1e-5)
    W = model.add_parameters((300, 200), init="he").as_array()
    assert W.std() == pytest.approx(math.sqrt(2 / 200), rel=0.03)


def test_update_subset_updates_the_subset() -> None:
    """(!) A silent no-op there."""
    model = dy.ParameterCollection()
    p, q = model.add_parameters(2, init=1.0), model.add_parameters(2, init=1.0)
    dy.dot_product(p, q).backward()
    dy.SimpleSGDTrainer(model).update_subset([1], [])
    assert p.as_array().tolist() == [1, 1]
    np.testing.assert_allclose(q.as_array(), 0.9, rtol=1e-6)


def test_a_batched_input_of_one_vector() -> None:
    """(!) Fails there with current versions of NumPy."""
    x = dy.inputTensor([1.0, 2.0, 3.0], batched=True)
    assert x.dim() == ((1,), 3)
    assert x.value() == [1, 2, 3]
    y = dy.inputTensor([np.array([1.0, 2.0]), np.array([3.0, 4.0])])
    assert y.dim() == ((2,), 2)


def test_the_value_of_a_vector_is_no_scalar() -> None:
    """(!) Ends the process there."""
    with pytest.raises(ValueError, match=r"scalar_value: .*\{2\}"):
        vector(1, 2).scalar_value()


def test_a_stale_operand_does_not_become_another_node() -> None:
    """(!) There it stands for the node that has its number now."""
    old = vector(1, 1)
    dy.renew_cg()
    other = vector(5, 5)
    with pytest.raises(RuntimeError, match=r"\+: stale expression"):
        old + other
