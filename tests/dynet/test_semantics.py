"""What programs rely on, sentence by sentence; seen in the wheel unless a test says otherwise."""

from __future__ import annotations

import subprocess
import sys
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


@pytest.fixture
def model() -> Any:
    return dy.ParameterCollection()


def vector(*numbers: float) -> Any:
    return dy.inputVector(list(numbers))


def batch(*shape: int) -> Any:
    """An input whose last axis is the batch: 0, 1, 2, ... row by row."""
    return dy.inputTensor(np.arange(float(np.prod(shape))).reshape(shape), batched=True)


def python(*arguments: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Values


def test_value_is_a_float_a_list_or_an_array_by_rank() -> None:
    assert type(dy.scalarInput(2).value()) is float
    assert type(vector(1, 2).value()) is list
    assert type(vector(1, 2).value()[0]) is float
    assert type(dy.inputTensor(np.eye(2)).value()) is np.ndarray
    assert type(dy.zeros((2, 3, 4)).value()) is np.ndarray
    assert type(dy.ones((2, 1)).value()) is np.ndarray


def test_batched_scalars_and_vectors_give_one_flat_list() -> None:
    assert batch(1, 3).value() == [0, 1, 2]
    assert batch(2, 3).value() == [0, 3, 1, 4, 2, 5]  # example by example
    assert batch(2, 3).value()[2:4] == [1, 4]
    assert batch(2, 2, 3).value().shape == (2, 2, 3)


def test_arrays_are_float64() -> None:
    m = dy.inputTensor(np.eye(2, dtype=np.float32))
    dy.sum_elems(m).backward()
    model = dy.ParameterCollection()
    p = model.add_parameters((2, 2))
    for array in (m.value(), m.npvalue(), m.gradient(), m.tensor_value().as_numpy(), p.npvalue()):
        assert array.dtype == np.float64


def test_npvalue_of_a_scalar_has_one_axis() -> None:
    assert dy.scalarInput(2).npvalue().shape == (1,)
    assert dy.sum_elems(vector(1, 2)).npvalue().shape == (1,)
    assert batch(1, 3).npvalue().shape == (1, 3)
    assert batch(2, 3).npvalue().shape == (2, 3)  # the batch is the last axis


def test_expressions_are_true_and_not_evaluated_by_bool() -> None:
    x = dy.log(dy.scalarInput(0)) * 0
    assert bool(x) is True
    assert (dy.zeros(0) or None) is not None
    assert next(filter(None, [None, x])) is x
    w = None
    w = w or x
    assert w is x
    assert ln.plan(x.node).nodes > 0  # still to be computed


# Arguments


@pytest.mark.parametrize(
    "name",
    "esum average emax logsumexp concatenate concatenate_cols concatenate_to_batch "
    "affine_transform".split(),
)
def test_functions_of_lists_take_non_empty_lists_only(name: str) -> None:
    function, x = getattr(dy, name), vector(1, 2)
    for bad in ((x, x), (e for e in [x]), {x: 1}.keys()):
        with pytest.raises(TypeError, match=name):
            function(bad)
    with pytest.raises(AssertionError, match=name):
        function([])


def test_numpy_integers_as_indices(model: Any) -> None:
    """An expression refuses them in the wheel."""
    table = model.add_lookup_parameters((3, 2))
    i = np.int64(1)
    assert vector(1, 2)[i].value() == 2
    np.testing.assert_allclose(table[i].value(), table.as_array()[1])


def test_input_of_a_list_of_arrays_is_batched() -> None:
    x = dy.inputTensor([np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([5.0, 6.0])])
    assert x.dim() == ((2,), 3)
    assert x.value() == [1, 2, 3, 4, 5, 6]
    assert dy.inputTensor([[1.0, 2.0], [3.0, 4.0]]).dim() == ((2, 2), 1)


def test_batched_input_of_one_vector() -> None:
    """Fails in the wheel with NumPy from 2.4 on."""
    assert dy.inputTensor(np.array([1.0, 2.0]), batched=True).dim() == ((1,), 2)


def test_scalar_value_of_what_is_none() -> None:
    """Ends the wheel's process."""
    for x in (vector(1, 2), batch(1, 2), dy.zeros((2, 2)), dy.zeros(0)):
        with pytest.raises(ValueError, match="scalar_value"):
            x.scalar_value()


# Multiplication


def test_a_vector_times_a_scalar_but_not_the_other_way() -> None:
    x, s = vector(1, 2), dy.scalarInput(3)
    assert (x * s).value() == [3, 6]
    with pytest.raises(ValueError, match=r"\{1\} times \{2\}"):
        s * x


def test_quotients_of_expressions_raise() -> None:
    x = vector(1, 2)
    with pytest.raises(NotImplementedError, match="cdiv"):
        x / x
    with pytest.raises(TypeError, match="cdiv"):
        1 / x
    assert (x / 2).value() == [0.5, 1]


def test_sums_and_products_repeat_missing_dimensions_and_the_batch() -> None:
    m, column, b = dy.inputTensor([[1.0, 2.0], [3.0, 4.0]]), vector(10, 20), batch(2, 3)
    assert (m + column).npvalue().tolist() == [[11, 12], [23, 24]]
    assert dy.cmult(m, column).npvalue().tolist() == [[10, 20], [60, 80]]
    assert (column + b).dim() == (b + column).dim() == dy.cmult(column, b).dim() == ((2,), 3)
    assert dy.cmult(b, column).npvalue().tolist() == [[0, 10, 20], [60, 80, 100]]


def test_quotients_by_element_do_not_repeat_the_batch_of_the_left_side() -> None:
    column, b = vector(10, 20), batch(2, 3) + 1
    assert dy.cdiv(b, column).dim() == ((2,), 3)
    with pytest.raises(ValueError, match="cdiv"):
        dy.cdiv(column, b)


# Graph


SETTERS: dict[str, tuple[Callable[[], Any], Any]] = {
    "scalar": (lambda: dy.scalarInput(1), 5.0),
    "vector": (lambda: dy.vecInput(2), [3.0, 5.0]),
    "vector of numbers": (lambda: vector(1, 2), [3.0, 5.0]),
    "tensor": (
        lambda: dy.inputTensor([1.0, 2.0], reusable_expr=True),
        np.array([3.0, 5.0]),
    ),
}


@pytest.mark.parametrize("name", SETTERS)
def test_set_makes_what_was_computed_from_an_input_anew(name: str) -> None:
    make, new = SETTERS[name]
    x = make()
    y = dy.sum_elems(dy.square(x))
    before = y.value()
    x.set(new)
    assert y.value() == pytest.approx(float(np.square(new).sum()))
    assert y.value() != before


def test_set_makes_what_was_computed_from_a_lookup_anew(model: Any) -> None:
    table = model.add_lookup_parameters((3, 2))
    array = table.as_array()
    x, xs = dy.lookup(table, 0), dy.lookup_batch(table, [0, 1])
    y, ys = dy.sum_elems(x), dy.sum_batches(dy.sum_elems(xs))
    assert y.value() == pytest.approx(float(array[0].sum()), rel=1e-5)
    x.set(2)
    xs.set([2, 1])
    assert y.value() == pytest.approx(float(array[2].sum()), rel=1e-5)
    assert ys.value() == pytest.approx(float(array[1:].sum()), rel=1e-5)


def test_what_was_evaluated_keeps_its_value_after_an_update(model: Any) -> None:
    p = model.add_parameters(2, init=1.0)
    trainer = dy.SimpleSGDTrainer(model)
    y, z = dy.squared_norm(p), dy.sum_elems(p)
    y.backward()
    assert y.value() == 2
    trainer.update()
    assert y.value() == 2
    assert y.value(recalculate=True) == pytest.approx(2 * 0.8**2)
    assert z.value() == pytest.approx(1.6)


def test_parameters_are_expressions_before_any_graph() -> None:
    code = (
        "import lazynet.dynet as dy; m = dy.ParameterCollection(); "
        "p = m.add_parameters(2, init=3.0); print(dy.sum_elems(p + p).value(), p.value())"
    )
    assert python("-c", code).split(maxsplit=1) == ["12.0", "[3.0, 3.0]\n"]


def test_an_older_expression_has_no_value_and_is_no_operand() -> None:
    """As an operand it stands for another node in the wheel."""
    x = vector(1, 2)
    x.value()
    dy.renew_cg()
    y = vector(3, 4)
    with pytest.raises(RuntimeError, match="stale"):
        x.value()
    for use in (lambda: x + y, lambda: y - x, lambda: dy.cmult(x, y), lambda: dy.esum([y, x])):
        with pytest.raises(RuntimeError, match="stale"):
            use()


# Gradients


def test_gradients_accumulate_until_an_update(model: Any) -> None:
    p = model.add_parameters(2, init=1.0)
    trainer = dy.SimpleSGDTrainer(model, learning_rate=0.1)
    dy.sum_elems(p).backward()
    dy.dot_product(p, vector(1, 2)).backward()
    dy.renew_cg()
    dy.dot_product(p, vector(0, 1)).backward()
    assert p.grad_as_array().tolist() == [2, 4]
    trainer.update()
    assert p.grad_as_array().tolist() == [0, 0]
    np.testing.assert_allclose(p.as_array(), [0.8, 0.6], rtol=1e-6)


def test_an_update_touches_the_collection_of_its_trainer_only(model: Any) -> None:
    p, q = model.add_parameters(1, init=1.0), dy.ParameterCollection().add_parameters(1, init=1.0)
    dy.cmult(p, q).backward()
    dy.SimpleSGDTrainer(model).update()
    assert p.as_array().tolist() == pytest.approx([0.9])
    assert q.as_array().tolist() == [1]
    assert q.grad_as_array().tolist() == [1]
    assert p.grad_as_array().tolist() == [0]


def test_trainers_clip_at_5_by_default(model: Any) -> None:
    p = model.add_parameters(2, init=0.0)
    trainer = dy.SimpleSGDTrainer(model, learning_rate=1.0)
    assert trainer.get_clip_threshold() == 5
    dy.dot_product(p, vector(30, 40)).backward()
    trainer.update()
    np.testing.assert_allclose(p.as_array(), [-3, -4], rtol=1e-5)
    trainer.set_clip_threshold(-1)
    assert trainer.get_clip_threshold() == 0
    dy.dot_product(p, vector(30, 40)).backward()
    trainer.update()
    np.testing.assert_allclose(p.as_array(), [-33, -44], rtol=1e-5)


def test_update_epoch_does_nothing(model: Any) -> None:
    p = model.add_parameters(1, init=1.0)
    trainer = dy.SimpleSGDTrainer(model)
    dy.sum_elems(p).backward()
    trainer.update_epoch(1.0)
    assert trainer.learning_rate == pytest.approx(0.1)
    assert p.as_array().tolist() == [1]


def test_weight_decay_is_lazy(model: Any) -> None:
    """`as_array` shows undecayed values, `value` decayed ones."""
    model.set_weight_decay(0.1)
    p = model.add_parameters(1, init=1.0)
    trainer = dy.SimpleSGDTrainer(model, learning_rate=0.0)
    for k in range(1, 4):
        dy.renew_cg()
        dy.sum_elems(p).backward()
        trainer.update()
        assert p.as_array().tolist() == pytest.approx([1])
        dy.renew_cg()
        assert dy.sum_elems(p).value() == pytest.approx(0.9**k)


# Recurrent networks


def test_an_lstm_has_one_mask_for_a_graph_and_its_sequences(model: Any) -> None:
    rnn = dy.VanillaLSTMBuilder(1, 20, 20, model)
    rnn.set_dropout(0.5)
    x = dy.ones(20)
    once = rnn.initial_state().add_input(x).output().value()
    assert rnn.initial_state().add_input(x).output().value() == once
    dy.renew_cg()
    assert rnn.initial_state().add_input(dy.ones(20)).output().value() != once


def test_a_gru_draws_masks_at_each_step(model: Any) -> None:
    rnn = dy.GRUBuilder(1, 20, 20, model)
    rnn.set_dropout(0.5)
    x = dy.ones(20)
    once = rnn.initial_state().add_input(x).output().value()
    assert rnn.initial_state().add_input(x).output().value() != once


def test_names_of_one_class() -> None:
    assert dy.LSTMBuilder is dy.VanillaLSTMBuilder
    assert dy.Model is dy.ParameterCollection


def test_a_state_is_the_cells_and_then_the_hidden_states(model: Any) -> None:
    rnn = dy.VanillaLSTMBuilder(2, 3, 4, model)
    state = rnn.initial_state().add_input(vector(1, 2, 3))
    c1, c2, h1, h2 = (e.npvalue() for e in state.s())
    assert [e.npvalue().tolist() for e in state.h()] == [h1.tolist(), h2.tolist()]
    assert state.output().npvalue().tolist() == h2.tolist()
    assert (np.abs(h1) < np.abs(np.tanh(c1))).all()
    assert (np.abs(h2) < np.abs(np.tanh(c2))).all()


def test_one_is_added_in_the_forget_gate_and_the_bias_is_zero(model: Any) -> None:
    rnn = dy.VanillaLSTMBuilder(1, 1, 1, model)
    W, U, b = rnn.get_parameters()[0]
    assert b.as_array().tolist() == [0] * 4
    W.set_value(np.zeros((4, 1)))
    U.set_value(np.zeros((4, 1)))
    state = rnn.initial_state([dy.scalarInput(1), dy.scalarInput(0)])
    c = state.add_input(dy.scalarInput(0)).s()[0].value()
    assert c == pytest.approx(1 / (1 + np.exp(-1)), rel=1e-5)


# Parameters


def test_parameters_of_size_zero_are_accepted_and_saved(model: Any, tmp_path: Path) -> None:
    p, table = model.add_parameters((0, 3)), model.add_lookup_parameters((0, 2))
    q = model.add_parameters(2, init=1.0)
    model.save(str(tmp_path / "model"))
    q.set_value([0.0, 0.0])
    model.populate(str(tmp_path / "model"))
    assert p.shape() == (0, 3)
    assert table.shape() == (0, 2)
    assert q.as_array().tolist() == [1, 1]


def test_names_count_up_per_collection(model: Any) -> None:
    builders = [dy.VanillaLSTMBuilder(1, 2, 2, model) for _ in range(2)]
    names = [[p.name() for p in b.get_parameters()[0]] for b in builders]
    assert names[0] == [f"/vanilla-lstm-builder/{n}" for n in ("_0", "_1", "_2")]
    assert names[1] == [f"/vanilla-lstm-builder_1/{n}" for n in ("_0", "_1", "_2")]
    assert dy.ParameterCollection().add_parameters(2).name() == "/_0"


def test_settings_made_before_the_import_win_over_flags(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import dynet_config; dynet_config.set(random_seed=7, weight_decay=0.25)\n"
        "import dynet as dy; print(dy.ParameterCollection().get_weight_decay())\n"
    )
    flags = ["--dynet-seed", "3", "--dynet-weight-decay", "0.5"]
    done = python("-m", "lazynet.dynet", str(script), *flags)
    assert done.split()[-1:] == ["0.25"]


# Most used


def test_the_most_used_names_are_there() -> None:
    names = (
        "parameter renew_cg inputTensor concatenate cmult tanh reshape esum logistic "
        "ParameterCollection ones softmax affine_transform dropout rectify transpose "
        "VanillaLSTMBuilder SimpleSGDTrainer AdamTrainer pick ConstInitializer vecInput "
        "pickneglogsoftmax sum_batches pick_range lookup_batch log scalarInput concatenate_cols "
        "sum_elems conv2d_bias inputVector cdiv pick_batch_elems pickneglogsoftmax_batch zeros "
        "maxpooling2d lookup binary_log_loss nobackprop dot_product squared_distance l2_norm"
    ).split()
    assert [name for name in names if not hasattr(dy, name)] == []


def test_the_most_used_methods_are_called(model: Any, tmp_path: Path) -> None:
    """As one small program: a tagger that is trained for a step and saved."""
    rnn = dy.VanillaLSTMBuilder(1, 2, 4, model)
    W, table = model.add_parameters((3, 4)), model.add_lookup_parameters((5, 2))
    trainer = dy.AdamTrainer(model)
    losses = []
    for _ in range(30):
        dy.renew_cg()
        outputs = rnn.initial_state().transduce([table[w] for w in (1, 2, 3)])
        state = rnn.initial_state().add_input(table[4])
        scores = [dy.affine_transform([dy.zeros(3), W.expr(), state.output()])]
        scores += [dy.parameter(W) * h for h in outputs]
        loss = dy.esum([dy.pickneglogsoftmax(s, k % 3) for k, s in enumerate(scores)])
        losses.append(loss.scalar_value())
        loss.backward()
        trainer.update()
    assert losses[-1] < losses[0]
    assert loss.dim() == ((1,), 1)
    assert loss.npvalue().tolist() == [loss.value()]
    W.save(str(tmp_path / "W"))
    assert W.as_array().shape == (3, 4)
