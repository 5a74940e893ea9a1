"""Parameters, tables, collections and initialisers: what the recorded cases do not show."""

from __future__ import annotations

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy


@pytest.fixture(autouse=True)
def fresh_graph() -> None:
    ln.seed(0)
    dy.renew_cg()


@pytest.fixture
def m() -> dy.ParameterCollection:
    return dy.ParameterCollection()


@pytest.fixture
def p(m) -> dy.Parameters:
    return m.add_parameters((2, 3), init=np.arange(6.0).reshape(2, 3))


@pytest.fixture
def t(m) -> dy.LookupParameters:
    return m.add_lookup_parameters((4, 2), init=np.arange(8.0).reshape(4, 2))


# Expressions


def test_parameters_are_expressions_in_any_graph(p, t) -> None:
    first = p + 1
    for _ in range(2):
        dy.renew_cg()
        assert isinstance(p, dy.Expression)
        assert p.value().tolist() == [[0, 1, 2], [3, 4, 5]]
        assert p.vec_value() == [0, 3, 1, 4, 2, 5]
        assert t.value().shape == (2, 4)
        assert p.dim() == ((2, 3), 1)
        assert t.dim() == ((2, 4), 1)
        assert (p + p).npvalue().max() == 10
        assert bool(p)
    with pytest.raises(RuntimeError, match="stale"):
        first.value()


def test_rows_count_from_the_last_axis_as_an_expression(t) -> None:
    x = dy.inputTensor([[1.0, 10.0]])
    assert (x * t).npvalue().tolist() == [[10, 32, 54, 76]]


def test_values_follow_changes_at_once(p, t) -> None:
    p.value()
    p.set_value(np.ones((2, 3)))
    assert p.value().tolist() == [[1] * 3] * 2
    t.init_row(1, [7, 8])
    assert t[1].value() == [7, 8]


def test_lookups_are_one_batch(t) -> None:
    total = dy.esum([dy.lookup(t, 1) * 2, dy.lookup(t, 2) * 3, t[3] * 4, dy.lookup(t, 0) * 5])
    assert len(ln.plan(total.node)) == 3


def test_minibatches_of_lookups_are_one_batch(t) -> None:
    several = [
        dy.lookup_batch(t, [0, 1]) * 2,
        t.batch([2, 3, 3]) * 3,
        dy.lookup_batch(t, (1, 2)) * 4,
    ]
    losses = [dy.sum_batches(e) for e in several]
    assert len(ln.plan(dy.esum(losses).node)) == 4


def test_constants_of_a_parameter_are_one_node(p) -> None:
    a, b = dy.const_parameter(p), p.expr()
    assert a.node.index == b.node.index


def test_parameter_gives_back_what_it_is_given(p, t) -> None:
    assert dy.parameter(p) is p
    assert dy.parameter(p, t) == (p, t)
    assert dy.parameter([p, t]) == [p, t]
    assert p.expr(True).value().tolist() == p.value().tolist()
    assert t.expr() is t


def test_immediate_computing(t) -> None:
    dy.renew_cg(immediate_compute=True)
    assert dy.lookup(t, 1).value() == [2, 3]
    assert t.batch([1, 2]).value() == [2, 3, 4, 5]


def test_rows_can_be_iterated(t) -> None:
    assert [row.value() for row in t] == t.as_array().tolist()
    assert len(t) == 4


def test_numbers_of_numpy_are_rows(t) -> None:
    assert t[np.int64(2)].value() == [4, 5]
    assert t.batch(np.array([2, 1])).value() == [4, 5, 2, 3]


def test_setting_one_row_of_a_minibatch_of_one(t) -> None:
    x = t.batch([1])
    y = x * 2
    assert y.value() == [4, 6]
    x.set([2])
    assert y.value() == [8, 10]
    assert x.dim() == ((2,), 1)


def test_a_table_of_numbers(m) -> None:
    s = m.add_lookup_parameters((3,), init=np.array([1.0, 2.0, 3.0]))
    assert (s.shape(), s.dim(), s.as_array().tolist()) == ((3,), ((3,), 1), [1, 2, 3])
    assert s[1].value() == 2
    assert s.batch([0, 2]).value() == [1, 3]
    assert s.row_as_array(1).shape == ()
    s.init_row(1, [5])
    (s[1] * s[1]).backward()
    assert s.grad_as_array().tolist() == [0, 10, 0]
    assert s.value() == [1, 5, 3]
    dy.renew_cg()
    dy.sum_elems(s).backward()
    assert s.gradient().tolist() == [1, 1, 1]


def test_parameters_without_elements(m) -> None:
    empty = m.add_parameters((0, 3))
    table = m.add_lookup_parameters((0, 3))
    assert (empty.value().shape, table.value().shape) == ((0, 3), (3, 0))
    assert empty.grad_as_array().shape == (0, 3)
    assert table.rows_as_array([]).shape == (0, 3)
    assert m.parameter_count() == 0


# Gradients


def test_gradient_is_that_of_the_last_backward(p) -> None:
    for factor in (2, 3):
        dy.sum_elems(p * factor).backward()
        assert (p.gradient() == factor).all()
    assert (p.grad_as_array() == 5).all()
    assert p.node.pending is not None
    loss = dy.sum_elems(dy.cmult(p, p))
    loss.backward()
    p.set_value(np.ones((2, 3)))
    with pytest.raises(RuntimeError, match="gradient: Parameter /_0: parameters have been changed"):
        p.gradient()


def test_gradient_of_what_was_not_used_is_zero(p, t) -> None:
    with pytest.raises(RuntimeError, match="gradient: no backward"):
        t.gradient()
    dy.sum_elems(p).backward()
    assert t.gradient().tolist() == [[0] * 4] * 2
    dy.renew_cg()
    with pytest.raises(RuntimeError, match="gradient: no backward"):
        p.gradient()


def test_gradient_of_a_parameter_that_is_the_loss(m) -> None:
    p = m.add_parameters(1)
    p.backward()
    p.backward()
    assert (p.gradient().tolist(), p.grad_as_array().tolist()) == ([1], [2])


def test_frozen_parameters_get_no_gradient(p, t) -> None:
    p.set_updated(False)
    assert (p.is_updated(), t.is_updated()) == (False, True)
    dy.sum_elems(p * dy.inputTensor([1.0, 2.0, 3.0])).backward()
    assert not p.grad_as_array().any()
    p.set_updated(True)
    dy.sum_elems(p).backward()
    assert (p.grad_as_array() == 1).all()


def test_optimisers_of_the_engine_work_too(m, p, t) -> None:
    q = m.add_subcollection("part").add_parameters(2, init=1)
    optimizer = ln.optim.SGD(m.model, lr=0.5)
    (dy.sum_elems(p) + dy.sum_elems(t[1]) + dy.sum_elems(q)).backward()
    optimizer.step()
    assert p.value()[0].tolist() == [-0.5, 0.5, 1.5]
    assert t[1].value() == [1.5, 2.5]
    assert q.value() == [0.5, 0.5]
    assert not p.grad_as_array().any()


# Weight decay


def test_arrays_show_values_without_weight_decay(m, p, t) -> None:
    m.decay.factor = 0.5  # as trainers leave it after halving all values
    for q in (p, t):
        q.leaf.values *= 0.5
    assert p.as_array().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert p.value().tolist() == [[0, 0.5, 1], [1.5, 2, 2.5]]
    p.set_value(np.ones((2, 3)))
    t.init_row(0, [3, 4])
    assert (p.as_array() == 1).all()
    assert (p.value() == 0.5).all()
    assert t[0].value() == [1.5, 2]
    assert t.row_as_array(0).tolist() == [3, 4]
    assert t.rows_as_array([0, 1]).tolist() == [[3, 4], [2, 3]]
    part = m.add_subcollection()
    assert [c.add_parameters(1, init=1).value() for c in (m, part)] == [0.5, 0.5]


def test_files_hold_values_with_weight_decay(m, p, tmp_path) -> None:
    m.decay.factor = 0.5
    before = p.value()
    m.save(tmp_path / "model")
    p.zero()
    m.populate(tmp_path / "model")
    assert np.array_equal(p.value(), before)
    new = dy.ParameterCollection()
    assert np.array_equal(new.load_param(tmp_path / "model", "/_0").value(), before)


# Arrays


def test_arrays_of_tables_keep_their_order(m) -> None:
    # DyNet stores the rows of such arrays transposed
    a = np.arange(24.0).reshape(2, 3, 4)
    for t in (m.lookup_parameters_from_numpy(a), m.add_lookup_parameters(a.shape, init=a)):
        assert np.array_equal(t.as_array(), a)
        assert np.array_equal(t[1].npvalue(), a[1])
    t.init_from_array(2 * a)
    assert np.array_equal(t.batch([1, 0]).npvalue(), np.moveaxis(2 * a[[1, 0]], 0, -1))
    t.init_row(0, list(range(12)))
    assert t[0].npvalue()[:, 0].tolist() == [0, 1, 2]
    t.init_row(0, a[1])
    assert np.array_equal(t.row_as_array(0), a[1])


def test_arrays_are_copies(m, p, t) -> None:
    given = np.ones((2, 3))
    q = m.parameters_from_numpy(given)
    for array in (p.as_array(), t.as_array(), p.grad_as_array(), t.row_as_array(1), given):
        array[...] = 9
    assert not (p.as_array() == 9).any()
    assert not (t.as_array() == 9).any()
    assert not (p.grad_as_array() == 9).any()
    assert not (q.as_array() == 9).any()


# Initialisers


def test_he_has_the_variance_of_the_paper(m) -> None:
    # DyNet takes a quarter of it
    for shape, fan_in in [((100, 200), 200), ((300, 100), 100), ((5, 5, 8, 50), 200)]:
        a = m.add_parameters(shape, init="he").as_array()
        assert abs(a.var() * fan_in / 2 - 1) < 0.05
        assert abs(a.mean()) < 0.01
    a = m.add_lookup_parameters((200, 100), init="he").as_array()
    assert abs(a.var() * 100 / 2 - 1) < 0.05


def test_saxe_by_name(m) -> None:
    a = m.add_parameters((20, 20), init="saxe").as_array()
    np.testing.assert_allclose(a @ a.T, np.eye(20), atol=1e-5)
    b = m.add_parameters((20, 20), init="saxe", scale=2).as_array()
    np.testing.assert_allclose(b.T @ b, 4 * np.eye(20), atol=1e-5)


def test_numbers_of_a_file_are_in_column_major_order(m, tmp_path) -> None:
    path = tmp_path / "numbers"
    path.write_text("1 2 3\n4 5 6e0\n")
    init = dy.FromFileInitializer(str(path))
    assert m.add_parameters((2, 3), init=init).as_array().tolist() == [[1, 3, 5], [2, 4, 6]]
    table = m.add_lookup_parameters((1, 2, 3), init=init)
    assert table.as_array().tolist() == [[[1, 3, 5], [2, 4, 6]]]
    with pytest.raises(ValueError, match=r"FromFileInitializer: .*numbers has 6 numbers"):
        m.add_parameters(2, init=init)
    path.write_text("1 two")
    with pytest.raises(ValueError, match=r"FromFileInitializer: .*numbers: .*two"):
        m.add_parameters(2, init=init)
    with pytest.raises(FileNotFoundError, match=r"FromFileInitializer: .*nowhere"):
        m.add_parameters(2, init=dy.FromFileInitializer("nowhere"))


def test_values_depend_on_the_seed_alone(m) -> None:
    def draw():
        ln.seed(3)
        made = [m.add_parameters(3), m.add_lookup_parameters((2, 2), init="normal")]
        return [p.as_array().tolist() for p in made]

    first = draw()
    assert draw() == first
    assert m.add_parameters(3).as_array().tolist() != first[0]


def test_an_initialiser_of_a_program(m) -> None:
    class Ramp(dy.PyInitializer):
        def values(self, shape, lookup):
            return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)

    assert m.add_parameters((2, 2), init=Ramp()).as_array().tolist() == [[0, 1], [2, 3]]

    class Vector(dy.PyInitializer):
        def values(self, shape, lookup):
            return np.zeros(4)

    with pytest.raises(ValueError, match="add_parameters: Vector gave values of shape"):
        m.add_parameters((2, 2), init=Vector())


def test_a_parameter_too_large_is_told(m) -> None:
    with pytest.raises(MemoryError, match=r"add_parameters: .* do not fit"):
        m.add_parameters((10**8, 10**8))
    assert m.add_parameters(2).name() == "/_0"


# Bad input: a Python exception that names the call


@pytest.mark.parametrize("call", ["add_parameters", "add_lookup_parameters"])
def test_bad_dimensions_and_names(m, call) -> None:
    add = getattr(m, call)
    for dim in (None, "a", 2.5, (2.5, 3), (2, None), np.zeros((2, 3)), {2: 3}):
        with pytest.raises((TypeError, AssertionError), match=call):
            add(dim)
    with pytest.raises(ValueError, match=call):
        add((2, -1))
    for name in ("a/b", "a_b", "/a", "_0"):
        with pytest.raises(RuntimeError, match=call):
            add((2, 3), name=name)
    for name in (None, 5, b"a"):
        with pytest.raises(TypeError, match=call):
            add((2, 3), name=name)
    with pytest.raises(RuntimeError, match=f"{call}: .*nonsense"):
        add((2, 3), device="nonsense")
    assert add((2, 3), device="CPU").name() == "/_0"


def test_bad_initialisers(m) -> None:
    for init in ("nonsense", [1, 2], object(), {"a": 1}):
        with pytest.raises(ValueError, match="add_parameters: got init="):
            m.add_parameters((2, 3), init=init)
    for call in (
        lambda: dy.ConstInitializer("a"),
        lambda: dy.UniformInitializer(None),
        lambda: dy.NormalInitializer("a"),
        lambda: dy.GlorotInitializer(gain="a"),
        lambda: dy.SaxeInitializer([1]),
        lambda: dy.NumpyInitializer("a"),
        lambda: dy.FromFileInitializer(None),
    ):
        with pytest.raises(TypeError, match="Initializer: got"):
            call()
    with pytest.raises(ValueError, match="NormalInitializer: got var=-1"):
        dy.NormalInitializer(var=-1)
    for init in ("identity", "saxe", dy.IdentityInitializer(), dy.SaxeInitializer()):
        with pytest.raises(RuntimeError, match="takes square matrices"):
            m.add_parameters((2, 3), init=init)
    with pytest.raises(ValueError, match="NumpyInitializer: got an array of shape"):
        m.add_parameters((2, 3), init=dy.NumpyInitializer(np.zeros((3, 2))))
    with pytest.raises(NotImplementedError, match="PyInitializer"):
        m.add_parameters((2, 3), init=dy.PyInitializer())


def test_bad_rows(t, p) -> None:
    calls = {
        "lookup": lambda i: dy.lookup(t, i),
        r"LookupParameters\[...\]": lambda i: t[i],
        "LookupParameters.batch": lambda i: t.batch([0, i]),
        "lookup_batch": lambda i: dy.lookup_batch(t, [i]),
        "set": lambda i: dy.lookup(t, 0).set(i),
        "set: ": lambda i: t.batch([0, 1]).set([1, i]),
        "LookupParameters.init_row": lambda i: t.init_row(i, [1, 2]),
        "LookupParameters.row_as_array": t.row_as_array,
        "LookupParameters.rows_as_array": lambda i: t.rows_as_array([i]),
        "LookupParameters.row_grad_as_array": t.row_grad_as_array,
        "LookupParameters.rows_grad_as_array": lambda i: t.rows_grad_as_array([i]),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=f"{name}.*got row 4 of LookupParameter /_0"):
            call(4)
        with pytest.raises(OverflowError, match=name):
            call(-1)
        for bad in (None, "a", [1], slice(0, 2)):
            with pytest.raises(TypeError, match=name):
                call(bad)
    for bad in (None, 3):
        with pytest.raises(TypeError, match="lookup_batch"):
            dy.lookup_batch(t, bad)
    for bad in (None, p, 3):
        with pytest.raises(TypeError, match="lookup: got"):
            dy.lookup(bad, 1)
        with pytest.raises(TypeError, match="lookup_batch: got"):
            dy.lookup_batch(bad, [1])
    for bad in (None, [p], p + 1):
        with pytest.raises(TypeError, match="const_parameter: got"):
            dy.const_parameter(bad)
    for count in ([1], [1, 2, 3], []):
        with pytest.raises(ValueError, match="set: got"):
            t.batch([0, 1]).set(count)


def test_bad_values(p, t) -> None:
    for bad in (np.ones((3, 2)), np.ones(6), 1, np.ones((1, 2, 3))):
        with pytest.raises(ValueError, match=r"Parameters\.set_value: got"):
            p.set_value(bad)
    for bad in (np.ones((2, 4)), np.ones(8), np.ones((5, 2))):
        with pytest.raises(ValueError, match=r"LookupParameters\.init_from_array: got"):
            t.init_from_array(bad)
    for bad in ([1], [1, 2, 3], np.ones((2, 1)), 5):
        with pytest.raises(ValueError, match=r"LookupParameters\.init_row: got"):
            t.init_row(1, bad)
    for bad in ("a", [[1, 2], [3]], object()):
        with pytest.raises(TypeError, match=r"Parameters\.set_value: got"):
            p.set_value(bad)
    for bad in ("a", None, [1]):
        for call in (p.scale, p.scale_gradient, t.scale, lambda x: p.clip_inplace(x, 1)):
            with pytest.raises(TypeError, match=r"Parameters.*: got .* it takes a number"):
                call(bad)
    assert p.as_array().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_bad_collections(m) -> None:
    with pytest.raises(TypeError, match="ParameterCollection: got parent"):
        dy.ParameterCollection(3)
    for name in ("a/b", "a_b"):
        with pytest.raises(RuntimeError, match="add_subcollection"):
            m.add_subcollection(name)
    with pytest.raises(TypeError, match="add_subcollection"):
        m.add_subcollection(5)
    with pytest.raises(ValueError, match="set_weight_decay"):
        m.set_weight_decay(-0.1)
    for bad in (None, "a"):
        with pytest.raises(TypeError, match="set_weight_decay"):
            m.set_weight_decay(bad)
    with pytest.raises(AttributeError):
        m.nonsense = 1


def test_a_stale_row_is_told(t) -> None:
    row = t[1]
    dy.renew_cg()
    for call in (row.value, lambda: row + 1, lambda: row.set(2)):
        with pytest.raises(RuntimeError, match="stale"):
            call()
