"""Picks, slices, reshapes and the flow of gradients beyond what the wheel's values show."""

from __future__ import annotations

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy


@pytest.fixture(autouse=True)
def graph() -> None:
    dy.renew_cg()


def vector(n: int = 5) -> dy.Expression:
    return dy.inputTensor(np.arange(n) + 1.0)


def matrix() -> dy.Expression:
    return dy.inputTensor(np.arange(12.0).reshape(4, 3))


def batch() -> dy.Expression:
    return dy.inputTensor(np.arange(24.0).reshape(4, 3, 2), batched=True)


def loss_of(y: dy.Expression) -> dy.Expression:
    return dy.sum_batches(dy.sum_elems(y))


# One batch whatever the index

CALLS = {
    "pick": (lambda x, i: dy.pick(x, i), [0, 2, 3]),
    "pick, dim 1": (lambda x, i: dy.pick(x, i, 1), [0, 2, 1]),
    "x[i]": (lambda x, i: x[i], [0, -1, 2]),
    "x[a:b]": (lambda x, i: x[i : i + 2], [0, 2, 1]),
    "x[:, a:b]": (lambda x, i: x[:, i : i + 2], [0, 1]),
    "x[a, b:c]": (lambda x, i: x[i, i : i + 2], [0, 1]),
    "pick_range": (lambda x, i: dy.pick_range(x, i, i + 1, 1), [0, 2, 1]),
    "strided_select": (lambda x, i: dy.strided_select(x, [2, 1], [i], [i + 3]), [0, 1]),
    "select_rows": (lambda x, i: dy.select_rows(x, [i, 0]), [0, 3, 1]),
    "select_cols": (lambda x, i: dy.select_cols(x, [i, 0]), [0, 2, 1]),
    "pick_batch": (lambda x, i: dy.pick_batch(x, [i, 0]), [0, 3, 1]),
    "scale_gradient": (lambda x, i: dy.scale_gradient(x, i), [0.5, 2, 3]),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_differ_in_numbers_are_one_batch(name) -> None:
    call, numbers = CALLS[name]
    results = [call(matrix(), i) for i in numbers]
    plan = ln.plan([y.node for y in results])
    assert [b.op for b in plan.batches][1:] == [plan.batches[1].op], plan


@pytest.mark.parametrize("name", CALLS)
def test_batched_results_equal_those_one_by_one(name) -> None:
    call, numbers = CALLS[name]
    together, alone = [], []
    xs = [matrix() for _ in numbers]
    ys = [call(x, i) for x, i in zip(xs, numbers)]
    losses = [loss_of(dy.cmult(y, y)) for y in ys]
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    total.backward()
    together = [(y.npvalue(), x.gradient()) for x, y in zip(xs, ys)]
    for i in numbers:
        dy.renew_cg()
        x = matrix()
        y = call(x, i)
        loss_of(dy.cmult(y, y)).backward()
        alone.append((y.npvalue(), x.gradient()))
    for (value, gradient), (value1, gradient1) in zip(together, alone):
        np.testing.assert_array_equal(value, value1)
        np.testing.assert_array_equal(gradient, gradient1)


def test_a_pick_is_one_node() -> None:
    x = vector()
    for y in (x[2], dy.pick(x, 1), x[1:3], dy.pick_range(x, 0, 2), dy.select_rows(x, [1])):
        assert len(ln.plan(y.node).batches) == 2  # the input, and the pick


def test_picks_of_a_parameter_are_one_batch_and_share_its_gradient() -> None:
    model = dy.ParameterCollection()
    p, q = model.add_parameters((4, 3)), model.add_parameters((2, 2, 2))
    p.set_value(np.arange(12.0).reshape(4, 3))
    picks = [p[1], dy.pick(p, 3), p[-3]]
    assert len([b for b in ln.plan([y.node for y in picks]).batches if b.op == "window"]) == 1
    slabs = [q[0], q[1]]
    assert len([b for b in ln.plan([y.node for y in slabs]).batches if b.op == "window"]) == 1
    total = loss_of(picks[0] + picks[1] * 2 + picks[2])
    assert total.value() == 12 + 2 * 30 + 12
    total.backward()
    assert p.grad_as_array().tolist() == [[0] * 3, [2] * 3, [0] * 3, [2] * 3]
    picks[0].set_index(0)
    assert total.value() == 3 + 2 * 30 + 12


def test_examples_of_a_batch_are_only_pointed_at() -> None:
    x = batch() + 1
    picked = [dy.pick_batch_elem(x, 1), dy.pick_batch_elems(x, [1, 0, 1]), x[:, :, 0:1]]
    ops = [b.op for b in ln.plan([(y + y).node for y in picked]).batches]
    assert [op for op in ops if op != "input"] == ["add_number", "add"]


# set_index


def test_set_index_makes_what_depends_on_it_anew() -> None:
    x = vector()
    p = x[1]
    y = p * 10
    assert y.value() == 20
    p.set_index(3)
    assert (p.value(), y.value()) == (4, 40)
    p.set_index(i=0)
    y.backward()
    assert (y.value(), x.gradient().tolist()) == (10, [10, 0, 0, 0, 0])
    q = dy.pick(matrix(), 1, 1)
    assert q.value() == [1, 4, 7, 10]
    q.set_index(np.int64(2))
    assert q.value() == [2, 5, 8, 11]


def test_set_index_of_a_batched_pick() -> None:
    x = batch()
    p = dy.pick_batch(x, [0, 1], 1)
    y = p + p
    assert y.npvalue().tolist() == [[0, 6], [12, 18], [24, 30], [36, 42]]
    p.set_index([2, 0])
    assert p.npvalue().tolist() == [[4, 1], [10, 7], [16, 13], [22, 19]]
    assert y.npvalue().tolist() == [[8, 2], [20, 14], [32, 26], [44, 38]]
    one = dy.pick_batch(vector(), [1])
    assert (one.dim(), one.value()) == (((1,), 1), 2)
    one.set_index([4])
    assert one.value() == 5


def test_set_index_of_a_pick_of_a_pick_leaves_the_inner_one_alone() -> None:
    p = dy.pick(vector(), 2)
    q = dy.pick(p, 0)
    q.set_index(0)
    assert (p.value(), q.value()) == (3, 3)


def test_set_index_refuses_what_pick_refuses() -> None:
    p = vector()[1]
    for index, error in ((5, ValueError), (-1, OverflowError), (None, TypeError)):
        with pytest.raises(error, match="set_index"):
            p.set_index(index)
    assert p.value() == 2
    q = dy.pick_batch(batch(), [0, 1])
    for indices, error in (([0], ValueError), ([0, 4], ValueError), (3, TypeError)):
        with pytest.raises(error, match="set_index"):
            q.set_index(indices)
    dy.renew_cg()
    with pytest.raises(RuntimeError, match="set_index: stale"):
        p.set_index(0)


# Indexing


def test_indexing_follows_numpy() -> None:
    a = np.arange(24.0).reshape(4, 3, 2)
    x, xb = dy.inputTensor(a), batch()
    for key in (
        0, -4, np.int64(-1), np.uint8(2), True, slice(-3, -1), slice(None, None, -1),
        slice(3, 0, -2), (0, 1), (slice(None), -1), (slice(1, 3), 0, slice(0, 1)), (1,),
        (slice(None, None, 2), slice(-2, None)), (slice(0, 4, 3), 2),
    ):  # fmt: skip
        expected = a[int(key) if isinstance(key, (bool, np.integer)) else key]
        np.testing.assert_array_equal(x[key].npvalue(), expected, err_msg=str(key))
        if not (isinstance(key, tuple) and len(key) > 2):
            if str(key) == "(0, 1)":
                expected = expected[None]  # a batch of scalars, which are {1}
            np.testing.assert_array_equal(xb[key].npvalue(), expected, err_msg=str(key))
    assert x[1, 2, 0].dim() == ((1,), 1)
    assert x[1, 2, 0].value() == a[1, 2, 0]
    for key in ((0, 1, 1), (slice(1, 3), slice(None), -1), (0, slice(None), slice(0, 1))):
        expected = a[key] if isinstance(key[2], int) else a[key][..., 0]
        np.testing.assert_array_equal(np.squeeze(xb[key].npvalue()), expected, err_msg=str(key))
        assert xb[key].dim()[1] == 1
    assert xb[:, :, ::-1].npvalue().tolist() == a[:, :, ::-1].tolist()


def test_iteration_and_length() -> None:
    assert [y.value() for y in vector(3)] == [1, 2, 3]
    assert [y.dim() for y in batch()] == [((3,), 2)] * 4
    assert (len(vector()), len(matrix()), len(batch()), len(dy.scalarInput(1))) == (5, 4, 4, 1)


def test_return_types() -> None:
    x = batch()
    assert type(x[0]).__name__ == type(dy.pick(x, 1)).__name__ == "_pickerExpression"
    assert type(dy.pick_batch(x, [0, 1])).__name__ == "_pickerBatchExpression"
    assert type(x[0:1]) is type(dy.pick_range(x, 0, 1)) is dy.Expression


def test_parts_of_what_was_computed_before() -> None:
    x = dy.inputTensor(np.arange(24.0).reshape(4, 3, 2), batched=True) * 1
    x.value()
    y = dy.pick_batch_elems(x, [1, 1])
    z = dy.pick_batch_elem(dy.pick_batch_elems(y, [1, 0, 0]), 2)
    loss = dy.sum_elems(z[1]) + loss_of(y) + dy.sum_elems(dy.select_rows(z, [0, 0])[1])
    loss.backward()
    expected = np.zeros((4, 3, 2))
    expected[..., 1] = 2
    expected[0, :, 1] += 1
    expected[1, :, 1] += 1
    assert x.gradient().tolist() == expected.tolist()
    a = np.arange(24.0).reshape(4, 3, 2)[..., 1]
    assert loss.value() == a[1].sum() + 2 * a.sum() + a[0].sum()


def test_rows_of_many_graphs_at_once() -> None:
    """Enough nodes for the way that large tapes are numbered."""
    losses = []
    for i in range(300):
        x = batch() * (i + 1)
        losses.append(loss_of(dy.pick_batch_elems(x, [i % 2, 1, 0]))
                      + dy.sum_elems(dy.pick_batch_elem(x, i % 2)))  # fmt: skip
    sums = np.arange(24.0).reshape(4, 3, 2).sum((0, 1))
    got = dy.values(losses)
    assert got == [(i + 1) * (2 * sums[i % 2] + sums.sum()) for i in range(300)]


def test_immediate_computation() -> None:
    dy.renew_cg(immediate_compute=True, check_validity=True)
    assert vector()[1].value() == 2
    assert dy.pick_batch(batch(), [0, 1], 1).npvalue()[0].tolist() == [0, 3]
    with pytest.raises(RuntimeError, match="NaN or infinity"):
        dy.log_softmax(vector(), [1])


# Shapes


def test_nobackprop_of_a_computed_value_is_recomputed_with_it() -> None:
    model = dy.ParameterCollection()
    p = model.add_parameters((2,))
    p.set_value(np.array([1.0, 2.0]))
    h = p * 2
    assert h.value() == [2, 4]
    y = dy.sum_elems(dy.cmult(dy.nobackprop(h), h))
    y.backward()
    assert p.grad_as_array().tolist() == [4, 8]
    p.set_value(np.array([3.0, 0.0]))
    assert y.value(recalculate=True) == 36


def test_to_device_keeps_values_and_gradients() -> None:
    x = vector(3)
    y = dy.to_device(x * 2, "CPU")
    dy.sum_elems(dy.to_device(y, "")).backward()
    assert y.value() == [2, 4, 6]
    assert x.gradient().tolist() == [2, 2, 2]


def test_reshape_between_example_and_batch_is_undone_by_its_inverse() -> None:
    x = batch()
    there = dy.reshape(x, (2, 2), batch_size=6)
    back = dy.reshape(there, (4, 3), batch_size=2)
    assert back.npvalue().tolist() == x.npvalue().tolist()
    assert (back is not x, there.dim(), back.dim()) == (True, ((2, 2), 6), ((4, 3), 2))
    assert dy.reshape(dy.scalarInput(3), ()).dim() == ((1,), 1)  # scalars are never ()


def test_reshape_and_transpose_of_a_parameter() -> None:
    model = dy.ParameterCollection()
    p = model.add_parameters((2, 3))
    p.set_value(np.arange(6.0).reshape(2, 3))
    assert dy.reshape(p, (6,)).value() == [0, 3, 1, 4, 2, 5]
    assert dy.reshape(p, (3,), 2).npvalue().tolist() == [[0, 4], [3, 2], [1, 5]]
    assert dy.transpose(p).npvalue().tolist() == [[0, 3], [1, 4], [2, 5]]
    assert dy.pick_batch_elems(p, [0, 0]).dim() == ((2, 3), 2)
    assert dy.pick_batch(p, [1, 0]).npvalue().tolist() == [[3, 0], [4, 1], [5, 2]]


# Bad input

BAD = [
    ("pick", lambda: dy.pick(None, 1), TypeError),
    ("pick", lambda: dy.pick(3, 1), TypeError),
    ("pick", lambda: dy.pick(vector(), 5), ValueError),
    ("pick", lambda: dy.pick(vector(), -1), OverflowError),
    ("pick", lambda: dy.pick(vector(), 1 << 40), OverflowError),
    ("pick", lambda: dy.pick(vector(), None), TypeError),
    ("pick", lambda: dy.pick(vector(), "a"), TypeError),
    ("pick", lambda: dy.pick(vector(), [1]), TypeError),
    ("pick", lambda: dy.pick(vector(), float("nan")), ValueError),
    ("pick", lambda: dy.pick(vector(), 0, 1), ValueError),
    ("pick", lambda: dy.pick(vector(), 0, -1), OverflowError),
    ("pick", lambda: dy.pick(vector(), 0, [0]), TypeError),
    ("pick_batch", lambda: dy.pick_batch(batch(), [1]), ValueError),
    ("pick_batch", lambda: dy.pick_batch(batch(), []), ValueError),
    ("pick_batch", lambda: dy.pick_batch(batch(), [0, 4]), ValueError),
    ("pick_batch", lambda: dy.pick_batch(batch(), [0, -1]), OverflowError),
    ("pick_batch", lambda: dy.pick_batch(batch(), None), TypeError),
    ("pick_batch", lambda: dy.pick_batch(batch(), [[0], [1]]), TypeError),
    ("pick_batch", lambda: dy.pick_batch(None, [0]), TypeError),
    ("pick_range", lambda: dy.pick_range(vector(), 1, 1), ValueError),
    ("pick_range", lambda: dy.pick_range(vector(), 3, 1), ValueError),
    ("pick_range", lambda: dy.pick_range(vector(), 1, 9), ValueError),
    ("pick_range", lambda: dy.pick_range(vector(), -2, 4), OverflowError),
    ("pick_range", lambda: dy.pick_range(vector(), None, 4), TypeError),
    ("pick_range", lambda: dy.pick_range(vector(), 0, 1, 1), ValueError),
    ("pick_range", lambda: dy.pickrange(None, 0, 1), TypeError),
    ("strided_select", lambda: dy.strided_select(vector(), [1], [2], [2]), ValueError),
    ("strided_select", lambda: dy.strided_select(vector(), [1], [3], [1]), ValueError),
    ("strided_select", lambda: dy.strided_select(vector(), [0], [0], [1]), ValueError),
    ("strided_select", lambda: dy.strided_select(vector(), [1], [-1], [1]), ValueError),
    ("strided_select", lambda: dy.strided_select(vector(), [1], [0], [6]), ValueError),
    ("strided_select", lambda: dy.strided_select(vector(), [1] * 3, [0], [1]), ValueError),
    ("strided_select", lambda: dy.strided_select(vector(), None, [0], [1]), TypeError),
    ("strided_select", lambda: dy.strided_select(vector(), ["a"], [0], [1]), TypeError),
    ("strided_select", lambda: dy.strided_select(None, [1], [0], [1]), TypeError),
    ("select_rows", lambda: dy.select_rows(matrix(), [4]), ValueError),
    ("select_rows", lambda: dy.select_rows(matrix(), [-1]), OverflowError),
    ("select_rows", lambda: dy.select_rows(matrix(), 1), TypeError),
    ("select_rows", lambda: dy.select_rows(matrix(), "ab"), TypeError),
    ("select_rows", lambda: dy.select_rows(None, [0]), TypeError),
    ("select_cols", lambda: dy.select_cols(matrix(), [3]), ValueError),
    ("select_cols", lambda: dy.select_cols(vector(), [0]), ValueError),
    ("select_cols", lambda: dy.select_cols(matrix(), None), TypeError),
    ("pick_batch_elem", lambda: dy.pick_batch_elem(batch(), 2), ValueError),
    ("pick_batch_elem", lambda: dy.pick_batch_elem(batch(), -1), OverflowError),
    ("pick_batch_elem", lambda: dy.pick_batch_elem(vector(), 1), ValueError),
    ("pick_batch_elem", lambda: dy.pick_batch_elem(batch(), None), TypeError),
    ("pick_batch_elem", lambda: dy.pick_batch_elem(None, 0), TypeError),
    ("pick_batch_elems", lambda: dy.pick_batch_elems(batch(), [2]), ValueError),
    ("pick_batch_elems", lambda: dy.pick_batch_elems(batch(), []), ValueError),
    ("pick_batch_elems", lambda: dy.pick_batch_elems(batch(), [-1]), OverflowError),
    ("pick_batch_elems", lambda: dy.pick_batch_elems(batch(), 1), TypeError),
    ("pick_batch_elems", lambda: dy.pick_batch_elems(None, [0]), TypeError),
    ("reshape", lambda: dy.reshape(vector(), (6,)), ValueError),
    ("reshape", lambda: dy.reshape(vector(), [5]), TypeError),
    ("reshape", lambda: dy.reshape(vector(), None), TypeError),
    ("reshape", lambda: dy.reshape(vector(), ([5],)), TypeError),
    ("reshape", lambda: dy.reshape(matrix(), (-1, 12)), ValueError),
    ("reshape", lambda: dy.reshape(matrix(), (-4, -3)), ValueError),
    ("reshape", lambda: dy.reshape(matrix(), (4, 3), -1), OverflowError),
    ("reshape", lambda: dy.reshape(matrix(), (4, 3), None), TypeError),
    ("reshape", lambda: dy.reshape(vector(), (5, 1, 1, 1, 1, 1, 1, 1)), ValueError),
    ("reshape", lambda: dy.reshape(None, (5,)), TypeError),
    ("transpose", lambda: dy.transpose(dy.scalarInput(1)), ValueError),
    ("transpose", lambda: dy.transpose(dy.inputTensor(np.ones((2, 3, 4)))), ValueError),
    ("transpose", lambda: dy.transpose(matrix(), [1, 1]), ValueError),
    ("transpose", lambda: dy.transpose(matrix(), [0, 2]), ValueError),
    ("transpose", lambda: dy.transpose(matrix(), []), ValueError),
    ("transpose", lambda: dy.transpose(matrix(), (1, 0)), TypeError),
    ("transpose", lambda: dy.transpose(matrix(), None), TypeError),
    ("transpose", lambda: dy.transpose(matrix(), [[1], 0]), TypeError),
    ("transpose", lambda: dy.transpose(matrix(), [-1, 0]), OverflowError),
    ("transpose", lambda: dy.transpose(None), TypeError),
    ("nobackprop", lambda: dy.nobackprop(None), TypeError),
    ("flip_gradient", lambda: dy.flip_gradient(2), TypeError),
    ("scale_gradient", lambda: dy.scale_gradient(vector(), None), TypeError),
    ("scale_gradient", lambda: dy.scale_gradient(vector(), "2"), TypeError),
    ("scale_gradient", lambda: dy.scale_gradient(vector(), float("nan")), ValueError),
    ("scale_gradient", lambda: dy.scale_gradient(None, 2), TypeError),
    ("to_device", lambda: dy.to_device(vector(), "GPU:9"), RuntimeError),
    ("to_device", lambda: dy.to_device(vector(), None), TypeError),
    ("to_device", lambda: dy.to_device(None, "CPU"), TypeError),
    ("expression[...]", lambda: vector()[5], IndexError),
    ("expression[...]", lambda: vector()[-6], IndexError),
    ("expression[...]", lambda: matrix()[0, 0, 0, 0], IndexError),
    ("expression[...]", lambda: matrix()[0, 3], IndexError),
    ("expression[...]", lambda: vector()[1.0], AssertionError),
    ("expression[...]", lambda: vector()[None], TypeError),
    ("expression[...]", lambda: vector()[[1, 2]], TypeError),
    ("expression[...]", lambda: vector()["a":], TypeError),
    ("expression[...]", lambda: matrix()[0, "a"], TypeError),
    ("expression[...]", lambda: vector()[2:2], ValueError),
    ("expression[...]", lambda: vector()[3:1], ValueError),
    ("expression[...]", lambda: vector()[1:10], ValueError),
    ("expression[...]", lambda: vector()[::0], ValueError),
    ("expression[...]", lambda: matrix()[:, 1:4], ValueError),
]


@pytest.mark.parametrize(("name", "call", "error"), BAD)
def test_bad_input_is_refused_by_name(name, call, error) -> None:
    with pytest.raises(error) as caught:
        call()
    assert name in str(caught.value)


def test_stale_expressions_are_refused_by_name() -> None:
    x = batch()
    dy.renew_cg()
    for name, call in {
        "pick": lambda: dy.pick(x, 0), "pick_batch": lambda: dy.pick_batch(x, [0, 1]),
        "pick_range": lambda: dy.pick_range(x, 0, 1), "select_rows": lambda: dy.select_rows(x, [0]),
        "strided_select": lambda: dy.strided_select(x, [1], [0], [1]),
        "select_cols": lambda: dy.select_cols(x, [0]), "reshape": lambda: dy.reshape(x, (3, 4)),
        "pick_batch_elem": lambda: dy.pick_batch_elem(x, 0), "transpose": lambda: dy.transpose(x),
        "pick_batch_elems": lambda: dy.pick_batch_elems(x, [0]), "expression": lambda: x[0],
        "nobackprop": lambda: dy.nobackprop(x), "flip_gradient": lambda: dy.flip_gradient(x),
        "scale_gradient": lambda: dy.scale_gradient(x), "to_device": lambda: dy.to_device(x, ""),
    }.items():  # fmt: skip
        with pytest.raises(RuntimeError, match=f"{name}.*stale"):
            call()


def test_numbers_are_taken_as_the_wheel_takes_them() -> None:
    assert dy.pick(vector(), 2.0).value() == 3
    assert dy.pick(vector(), np.int32(1)).value() == 2
    assert dy.pick(vector(), True).value() == 2
    assert dy.select_rows(vector(), (1.0, 3)).value() == [2, 4]
    assert dy.select_rows(vector(), np.array([0], np.uint8)).value() == 1
    assert dy.pick_range(vector(), 1.0, np.int64(3)).value() == [2, 3]
    assert dy.select_rows(matrix(), []).dim() == ((0, 3), 1)
    assert dy.select_cols(matrix(), []).dim() == ((4, 0), 1)
    assert dy.pick_batch_elems(batch(), (i for i in [1, 0])).dim() == ((4, 3), 2)
