"""Initialisers: distributions, fans, structure, and what they refuse."""

import math

import numpy as np
import pytest

from lazynet import init
from lazynet.errors import ArgumentError, SettingError, ShapeError

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


def make(spec, shape, dtype=F64, lookup=False, seed=0):
    return init.resolve(spec)(np.random.Generator(np.random.Philox(seed)), shape, dtype, lookup)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("shape", [(), (5,), (6, 6), (3, 4, 4)])
@pytest.mark.parametrize("name", sorted(init.NAMES))
def test_every_name_gives_a_writable_array_of_the_shape_and_dtype(name, shape, dtype):
    if name in ("identity", "orthogonal"):
        shape = (6, 6)
    values = make(name, shape, dtype)
    assert values.shape == shape and values.dtype == dtype
    assert values.flags.writeable and values.flags.c_contiguous
    assert np.isfinite(values).all()


@pytest.mark.parametrize(
    "shape, lookup, expected",
    [
        ((), False, (1, 1)),
        ((7,), False, (7, 7)),
        ((7, 3), False, (3, 7)),
        ((5, 3, 7), False, (15, 35)),
        ((5, 2, 3, 7), False, (30, 70)),
        ((1000, 3), True, (3, 3)),
        ((1000, 7, 3), True, (3, 7)),
        ((0, 3), False, (3, 1)),
        ((4, 0), True, (1, 1)),
    ],
)
def test_fans(shape, lookup, expected):
    assert init.fans(shape, lookup) == expected


@pytest.mark.parametrize("normal", [False, True])
@pytest.mark.parametrize(
    "kind, shape, lookup, variance",
    [
        (init.Glorot, (300, 200), False, 2 / 500),
        (init.Glorot, (3, 100, 200), False, 2 / 900),
        (init.Glorot, (5000, 20), True, 1 / 20),
        (init.Glorot, (40000,), False, 1 / 40000),
        (init.He, (300, 200), False, 2 / 200),
        (init.He, (3, 100, 200), False, 2 / 300),
        (init.LeCun, (300, 200), False, 1 / 200),
        (init.LeCun, (5000, 20), True, 1 / 20),
    ],
)
def test_scaled_variance(kind, shape, lookup, variance, normal):
    values = make(kind(gain=1.5, normal=normal), shape, lookup=lookup)
    std = 1.5 * math.sqrt(variance)
    assert abs(values.mean()) < 4 * std / math.sqrt(values.size)
    assert values.std() == pytest.approx(std, rel=0.02)
    if normal:
        assert np.abs(values).max() > 3 * std
    else:
        assert np.abs(values).max() <= math.sqrt(3) * std
        assert np.abs(values).max() == pytest.approx(math.sqrt(3) * std, rel=1e-3)


def test_glorot_of_a_lookup_table_follows_dynet():
    # DyNet: gain * sqrt(3 * number of row dimensions / sum of row dimensions)
    values = make("glorot", (2000, 64), lookup=True)
    assert np.abs(values).max() == pytest.approx(math.sqrt(3 / 64), rel=1e-3)
    values = make("glorot", (500, 8, 16), lookup=True)
    assert np.abs(values).max() == pytest.approx(math.sqrt(3 * 2 / 24), rel=1e-3)


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("shape", [(4, 4), (7, 3), (3, 7), (2, 3, 5)])
def test_orthogonal(shape, dtype):
    q = make(init.Orthogonal(gain=2.0), shape, dtype).astype(np.float64)
    q = q.reshape(-1, shape[-1]) / 2
    gram = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-6)


def test_orthogonal_of_lookup_tables_is_per_row_matrix():
    q = make("orthogonal", (5, 3, 3), lookup=True)
    for row in q:
        np.testing.assert_allclose(row @ row.T, np.eye(3), atol=1e-12)
    assert not np.allclose(q[0], q[1])
    table = make("orthogonal", (6, 4), lookup=True)
    np.testing.assert_allclose(table.T @ table, np.eye(4), atol=1e-12)


def test_orthogonal_is_uniform_over_rotations_and_reflections():
    firsts = [make("orthogonal", (2, 2), seed=seed)[0, 0] for seed in range(400)]
    # without Mezzadri's signs, QR makes the first entry of one sign only
    assert abs(np.mean(firsts)) < 0.15 and np.std(firsts) == pytest.approx(0.707, abs=0.06)


def test_identity():
    assert make("identity", (2, 2)).tolist() == [[1, 0], [0, 1]]
    assert make(init.Identity(gain=3), (2, 2)).tolist() == [[3, 0], [0, 3]]
    assert make("identity", (3, 2, 2), lookup=True).tolist() == [[[1, 0], [0, 1]]] * 3
    assert make("identity", (2, 2), lookup=True).tolist() == [[1, 0], [0, 1]]


def test_normal_and_uniform():
    values = make(init.Normal(mean=3, std=0.5), (200, 200))
    assert values.mean() == pytest.approx(3, abs=0.02)
    assert values.std() == pytest.approx(0.5, rel=0.02)
    values = make(init.Uniform(-1, 3), (200, 200), F32)
    assert -1 <= values.min() < -0.99 and 2.99 < values.max() <= 3
    assert values.mean() == pytest.approx(1, abs=0.03)
    assert init.Uniform(scale=0.5) == init.Uniform(-0.5, 0.5)


def test_numbers_and_arrays():
    assert make(2, (3,)).tolist() == [2, 2, 2]
    assert make(np.float32(0.5), ()).tolist() == 0.5
    assert make("ones", (2,)).tolist() == [1, 1] and make("zeros", (2,)).tolist() == [0, 0]
    given = np.arange(6).reshape(2, 3)
    values = make(given, (2, 3), F32)
    assert values.dtype == F32 and values.tolist() == given.tolist()
    assert make([[1, 2], [3, 4]], (2, 2)).tolist() == [[1, 2], [3, 4]]


def test_an_array_is_copied_when_it_is_given():
    given = np.zeros(3)
    spec = init.Values(given)
    given[0] = 7
    first = make(spec, (3,))
    first[1] = 5
    assert make(spec, (3,)).tolist() == [0, 0, 0]


def test_same_generator_state_same_values():
    for name in init.NAMES:
        np.testing.assert_array_equal(make(name, (5, 5), F32), make(name, (5, 5), F32))
    assert not np.array_equal(make("glorot", (5, 5)), make("glorot", (5, 5), seed=1))


def test_empty_shapes():
    for name in ("glorot", "he", "lecun", "normal", "orthogonal", "zeros"):
        assert make(name, (0, 4)).shape == (0, 4)


def test_unknown_name_lists_the_names():
    with pytest.raises(SettingError, match=r"'xaver'.*glorot, he, identity.*zeros"):
        init.resolve("xaver")


@pytest.mark.parametrize("spec", [None, True, object(), {"gain": 1}, 1j])
def test_what_is_no_initialiser(spec):
    with pytest.raises(ArgumentError, match=r"name, a number, an array or an object of ln\.init"):
        init.resolve(spec)


def test_a_class_is_to_be_called():
    with pytest.raises(ArgumentError, match=r"call the class: ln\.init\.Glorot\(\.\.\.\)"):
        init.resolve(init.Glorot)


@pytest.mark.parametrize("values", [["a", "b"], [[1, 2], [3]], [None], [1j]])
def test_arrays_that_are_none(values):
    with pytest.raises(ArgumentError, match=r"init\.Values: got"):
        init.resolve(values)


def test_shapes_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"array of shape \(2,\) for a parameter of shape \(3,\)"):
        make([1.0, 2.0], (3,))
    with pytest.raises(ShapeError, match=r"Orthogonal: got shape \(3,\); only matrices"):
        make("orthogonal", (3,))
    for shape in [(3,), (2, 3), (2, 2, 2)]:
        with pytest.raises(ShapeError, match=r"Identity: got shape .* square matrix"):
            make("identity", shape)


@pytest.mark.parametrize(
    "settings, message",
    [
        (lambda: init.Glorot(gain=math.nan), "Glorot: got gain=nan"),
        (lambda: init.He(gain="2"), "He: got gain='2'"),
        (lambda: init.LeCun(gain=None), "LeCun: got gain=None"),
        (lambda: init.Normal(std=-1), "Normal: got std=-1"),
        (lambda: init.Uniform(2, 1), "Uniform: got low=2, high=1"),
        (lambda: init.Uniform(scale=-1), "Uniform: got low=1, high=-1"),
        (lambda: init.Uniform(high=math.inf), "Uniform: got high=inf"),
        (lambda: init.Constant(True), "Constant: got value=True"),
        (lambda: init.Orthogonal(gain=math.inf), "Orthogonal: got gain=inf"),
        (lambda: init.Identity(gain="x"), "Identity: got gain='x'"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(SettingError, match=message):
        settings()
