"""Parameters, lookup tables, and the model that owns them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lazynet as ln


def test_names_and_submodels() -> None:
    model = ln.Model(seed=0)
    model.parameter((2, 3), name="W")
    model.parameter(3)
    encoder = model.submodel("encoder")
    encoder.lookup(5, 4, name="words")
    encoder.parameter(2)
    encoder.parameter(2)
    other = model.submodel("encoder")
    other.parameter(1, name="words")
    inner = other.submodel("cell")
    inner.parameter((), name="b")
    assert [name for name, _ in model.items()] == [
        "/W",
        "/parameter_0",
        "/encoder/words",
        "/encoder/parameter_0",
        "/encoder/parameter_1",
        "/encoder_1/words",
        "/encoder_1/cell/b",
    ]
    assert [name for name, _ in other.items()] == ["/encoder_1/words", "/encoder_1/cell/b"]
    assert model["/encoder/words"] is encoder["words"]
    assert model["W"].name == "/W"
    assert list(inner) == [inner["b"]]
    assert model.size == 6 + 3 + 20 + 2 + 2 + 1 + 1 and inner.size == 1


@pytest.mark.parametrize("name", ["", "a/b", 3])
def test_bad_names(name: Any) -> None:
    with pytest.raises(ln.SettingError, match="name"):
        ln.Model().parameter(2, name=name)
    with pytest.raises(ln.SettingError, match="name"):
        ln.Model().submodel(name)


def test_a_name_taken_and_an_unknown_one() -> None:
    model = ln.Model()
    model.parameter(2, name="W")
    with pytest.raises(ln.SettingError, match=r"/W.*taken"):
        model.parameter(3, name="W")
    with pytest.raises(ln.SettingError, match=r"no parameter '/V'.*/W"):
        model["V"]


@pytest.mark.parametrize("shape", [-1, (2, -1), 1.5, "3", None, (2, None), True])
def test_bad_shapes(shape: Any) -> None:
    with pytest.raises(ln.ShapeError):
        ln.Model().parameter(shape)
    with pytest.raises(ln.ShapeError):
        ln.Model().lookup(3, shape)
    with pytest.raises(ln.ShapeError):
        ln.Model().lookup(shape, 3)


def test_bad_settings() -> None:
    with pytest.raises(ln.DtypeError, match="float32 or float64"):
        ln.Model(dtype="int64")
    with pytest.raises(ln.DtypeError):
        ln.Model(dtype="colour")
    with pytest.raises(ln.ArgumentError, match="seed"):
        ln.Model(seed=1.5)  # type: ignore[arg-type]
    with pytest.raises(ln.SettingError, match="device"):
        ln.Model(device="abacus")


def test_the_seed_decides_the_initial_values() -> None:
    a, b, c = (ln.Model(seed=s).parameter((3, 4)).value() for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_dtype() -> None:
    assert ln.Model(dtype="float64").parameter(2).value().dtype == np.float64
    assert ln.Model().lookup(2, 2).value().dtype == np.float32


def test_a_parameter_is_an_expression() -> None:
    w = ln.Model().parameter((2, 2), init=[[1.0, 2.0], [3.0, 4.0]])
    assert w.batch is None and w.shape == (2, 2) and len(w) == 2
    assert w.value().tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert np.asarray(w).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert w[1].value().tolist() == [3.0, 4.0]
    assert w.T.value().tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert w.sum().value() == 10.0
    scalar = ln.Model().parameter((), init=2.0)
    assert scalar.value() == 2.0 and float(scalar) == 2.0


def test_array_is_a_view_both_ways() -> None:
    w = ln.Model().parameter((2, 2), init=0.0)
    w.array[0, 1] = 5.0
    assert w.value().tolist() == [[0.0, 5.0], [0.0, 0.0]]
    view = w.array
    w.array = [[1, 2], [3, 4]]
    assert view.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    w.array *= 2.0
    assert view.tolist() == [[2.0, 4.0], [6.0, 8.0]]
    with pytest.raises(ln.ShapeError, match=r"\(3,\).*\(2, 2\)"):
        w.array = np.ones(3)
    with pytest.raises(ln.ArgumentError):
        w.array = "nonsense"  # type: ignore[assignment]


def test_initial_arrays_are_copied() -> None:
    a = np.ones(3, np.float32)
    w = ln.Model().parameter(3, init=a)
    w.array[0] = 9.0
    assert a.tolist() == [1.0, 1.0, 1.0]


def test_versions() -> None:
    w = ln.Model().parameter(2, init=0.0)
    seen = w.version()
    assert w.version() == seen
    view = w.array
    assert w.version() == seen
    view[0] = 1.0
    assert w.version() > seen
    seen = w.version()
    view[1:] += 1.0
    assert w.version() > seen
    del view
    seen = w.version()
    assert w.version() == seen
    assert w._checksum is None  # no view is about: nothing to compare


def test_values_can_be_part_of_an_array() -> None:
    model = ln.Model(seed=0)
    p, q = model.parameter(2, init=[1.0, 2.0]), model.parameter(1, init=[3.0])
    whole = np.zeros(3, np.float32)
    parts = whole[:2], whole[2:]
    assert p.share(parts[0]) and q.share(parts[1])
    assert whole.tolist() == [1, 2, 3]
    whole *= 2
    p.changed()
    assert (p + 0).value().tolist() == [2, 4]
    q.array = [7.0]
    assert whole.tolist() == [2, 4, 7]


def test_whoever_has_a_view_of_the_values_keeps_it() -> None:
    model = ln.Model(seed=0)
    p = model.parameter(2, init=[1.0, 2.0])
    part = np.zeros(4, np.float32)[:2]
    assert not p.viewed()
    view = p.array
    assert p.viewed() and not p.share(part)
    view[0] = 5
    assert (p + 0).value().tolist() == [5, 2]
    del view
    assert not p.viewed() and p.share(part)
    view = p.array  # from here on the values are elsewhere
    part[...] = 0
    view[1] = 6
    assert p.viewed()
    assert (p + 0).value().tolist() == [5, 6]


def test_freezing() -> None:
    model = ln.Model()
    part = model.submodel("part")
    w, v = model.parameter(2, init=1.0), part.parameter(2, init=1.0)
    part.freeze()
    (w * v).sum().backward()
    assert w.has_gradient() and not v.has_gradient()
    part.freeze(False)
    (w * v).sum().backward()
    assert v.has_gradient()
    model.zero_gradients()
    assert not w.has_gradient() and not v.has_gradient()


# Lookup tables


def table(n: int = 6, width: int = 2) -> ln.Lookup:
    values = np.arange(float(n * width)).reshape(n, width)
    return ln.Model(dtype="float64").lookup(n, width, init=values)


def test_rows_of_a_table() -> None:
    t = table()
    assert t[2].value().tolist() == [4.0, 5.0] and t[2].batch is None
    assert t[-1].value().tolist() == [10.0, 11.0]
    rows = t[[1, 1, 0]]
    assert rows.batch == 3 and rows.value().tolist() == [[2.0, 3.0], [2.0, 3.0], [0.0, 1.0]]
    assert t[np.array([5])].value().tolist() == [[10.0, 11.0]]
    assert t[[]].value().shape == (0, 2)
    index = ln.argmax(ln.constant(np.array([0.0, 2.0, 1.0])))
    assert t[index].value().tolist() == [2.0, 3.0]


def test_lookups_of_any_length_are_one_batch() -> None:
    t = table()
    total = ln.sum([ln.sum_batch(t[[1, 2, 3]]), ln.sum_batch(t[[4]]), t[0] * 1.0])
    assert total.value().tolist() == [20.0, 25.0]
    assert [b.op for b in ln.plan([t[0] + t[1]]).batches].count("lookup_rows") == 1


def test_sparse_gradient() -> None:
    t = table()
    loss = (ln.sum_batch(t[[1, 1, 3]]) * np.array([1.0, 10.0])).sum() + t[1].sum()
    loss.backward()
    assert t.pending is None
    rows, values = t.coalesced()
    assert rows.tolist() == [1, 3]
    assert values.tolist() == [[3.0, 21.0], [1.0, 10.0]]
    expected = np.zeros((6, 2))
    expected[[1, 3]] = values.tolist()
    np.testing.assert_array_equal(t.gradient(), expected)
    loss = t[3].sum()
    loss.backward()
    expected[3] += 1.0
    np.testing.assert_array_equal(t.gradient(), expected)
    rows, _ = t.coalesced()
    assert rows.tolist() == [1, 3]


def test_tied_table_has_a_sparse_and_a_dense_part() -> None:
    t = table()
    h = t[[2, 5]]
    logits = h @ t.T
    assert logits.shape == (6,) and logits.batch == 2
    ln.sum_batch(ln.cross_entropy(logits, [1, 4])).backward()
    rows, _ = t.coalesced()
    assert rows.tolist() == [2, 5] and t.pending is not None
    found = t.gradient()
    values = t.value()
    numeric = np.zeros_like(values)
    for place in np.ndindex(values.shape):
        for sign in (1, -1):
            moved = values.copy()
            moved[place] += sign * 1e-5
            t.array = moved
            y = ln.sum_batch(ln.cross_entropy(t[[2, 5]] @ t.T, [1, 4])).value()
            numeric[place] += sign * y / 2e-5
    np.testing.assert_allclose(found, numeric, rtol=1e-5, atol=1e-6)


def test_whole_table_alone_is_dense() -> None:
    t = table()
    (t * 2.0).sum().backward()
    assert t.gradient().tolist() == [[2.0, 2.0]] * 6
    rows, values = t.coalesced()
    assert len(rows) == 0 and values.shape == (0, 2)


def test_tables_of_matrices() -> None:
    t = ln.Model(seed=0).lookup(4, (2, 3))
    assert t.shape == (4, 2, 3) and t[1].shape == (2, 3)
    (t[1].sum() + ln.sum_batch(t[[1, 2]]).sum()).backward()
    assert t.gradient().sum(axis=(1, 2)).tolist() == [0.0, 12.0, 6.0, 0.0]


def test_a_frozen_table() -> None:
    t = table()
    t.trainable = False
    x = ln.constant(np.ones(2))
    (t[1] * x).sum().backward()
    assert not t.has_gradient()
    assert x.gradient().tolist() == [2.0, 3.0]


def test_gradient_of_a_looked_up_row() -> None:
    t = table()
    row = t[1]
    (row * row).sum().backward()
    assert row.gradient().tolist() == [4.0, 6.0]
