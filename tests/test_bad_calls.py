"""Bad arguments of the operations: refused at the call, naming the operation and the argument."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lazynet as ln
from lazynet import ArgumentError, DtypeError, RangeError, SettingError, ShapeError

NAN = float("nan")
INF = float("inf")
V = np.array([1.0, 2.0, 3.0], np.float32)
M = np.zeros((2, 3), np.float32)
SQUARE = np.zeros((2, 2), np.float32)
EMPTY = np.zeros(0, np.float32)
SERIES = np.zeros((5, 2), np.float32)
IMAGE = np.zeros((5, 5, 2), np.float32)
FILTERS = np.zeros((2, 2, 3), np.float32)
FILTERS_2D = np.zeros((2, 2, 2, 3), np.float32)
ONES = np.ones(3, np.float32)

Call = Callable[[], Any]


def scalar() -> ln.Expression:
    return ln.constant(1.0)


def batch(rows: int = 3, width: int = 4) -> ln.Expression:
    return ln.constant(np.zeros((rows, width), np.float32), batched=True)


def whole(*numbers: int) -> ln.Expression:
    return ln.constant(numbers, dtype="int64")


def double() -> ln.Expression:
    """Computed, so that it does not take the dtype of what it meets."""
    return ln.constant(np.ones(3)) + 0.0


def refuses(call: Call, error: type[ln.LazynetError], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)) as caught:
        call()
    assert type(caught.value) is error


# Classes

CLASS_LOSSES = {"cross_entropy": ln.cross_entropy, "nll": ln.nll, "hinge": ln.hinge}


@pytest.mark.parametrize("role", CLASS_LOSSES)
@pytest.mark.parametrize(
    ("bad", "error", "named"),
    [
        (3, RangeError, "class 3 for 3 classes"),
        (-1, RangeError, "class -1 for 3"),
        (10**30, RangeError, "class 1" + "0" * 30),
        (np.int32(3), RangeError, "class 3 for 3"),
        (np.uint64(2**64 - 1), RangeError, "class 18446744073709551615"),
        ([0, 5], RangeError, "class 5"),
        ([10**30], RangeError, "class 1000"),
        (range(2, 4), RangeError, "class 3"),
        (np.array([0, -2]), RangeError, "class -2"),
        (np.array([2**64 - 1], np.uint64), RangeError, "class 18446744073709551615"),
        (1.0, ArgumentError, "class 1.0 of float"),
        (NAN, ArgumentError, "class nan"),
        (INF, ArgumentError, "class inf"),
        (True, ArgumentError, "class True of bool"),
        (np.bool_(True), ArgumentError, "class "),
        (None, ArgumentError, "class None"),
        ("1", ArgumentError, "class '1' of str"),
        ("ab", ArgumentError, "class 'ab' of str"),
        ({1}, ArgumentError, "class {1} of set"),
        ([1, True], ArgumentError, "class True of bool"),
        ([0.5], ArgumentError, "class 0.5 of float"),
        ([None], ArgumentError, "class None"),
        (["1"], ArgumentError, "class '1'"),
        ([[1]], ArgumentError, "class [1] of list"),
        (np.array(1.0), ArgumentError, "class array(1.)"),
        (np.array(True), ArgumentError, "class array(True)"),
        (np.array([1.0]), ArgumentError, "class "),
        (np.array([True]), ArgumentError, "class "),
        (np.array([[1]]), ArgumentError, "class array([1])"),
    ],
)
def test_classes(role: str, bad: Any, error: type[ln.LazynetError], named: str) -> None:
    loss = CLASS_LOSSES[role]
    refuses(lambda: loss(V, bad), error, f"{role}: got {named}")
    refuses(lambda: loss(ln.constant(V), bad), error, f"{role}: got {named}")


@pytest.mark.parametrize("role", CLASS_LOSSES)
def test_an_expression_is_no_class(role: str) -> None:
    index = ln.argmax(ln.constant(V))
    refuses(lambda: CLASS_LOSSES[role](V, index), ArgumentError, f"{role}: got class <")


@pytest.mark.parametrize("role", CLASS_LOSSES)
@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_another_number_of_classes_than_rows(role: str, count: int) -> None:
    classes = [0] * count
    named = f"{role}: got {count} classes and a batch of 3 rows"
    refuses(lambda: CLASS_LOSSES[role](batch(), classes), ShapeError, named)
    array = np.array(classes, np.int64)
    refuses(lambda: CLASS_LOSSES[role](batch(), array), ShapeError, named)


@pytest.mark.parametrize("role", CLASS_LOSSES)
@pytest.mark.parametrize(
    ("scores", "error", "named"),
    [
        (1.0, ShapeError, "got ()"),
        (M, ShapeError, "got (2, 3)"),
        (EMPTY, ShapeError, "got (0,)"),
        (None, ArgumentError, "got NoneType None"),
        ("abc", ArgumentError, "got str 'abc'"),
    ],
)
def test_scores(role: str, scores: Any, error: type[ln.LazynetError], named: str) -> None:
    refuses(lambda: CLASS_LOSSES[role](scores, 0), error, f"{role}: {named}")


@pytest.mark.parametrize("role", CLASS_LOSSES)
def test_integer_scores(role: str) -> None:
    refuses(lambda: CLASS_LOSSES[role](whole(1, 2), 0), DtypeError, f"{role}: got dtypes (int64)")


# Losses of pairs

PAIR_LOSSES = {
    "squared_error": ln.squared_error,
    "l1": ln.l1,
    "huber": ln.huber,
    "pairwise_rank": ln.pairwise_rank,
    "binary_cross_entropy": ln.binary_cross_entropy,
    "poisson_nll": ln.poisson_nll,
}


@pytest.mark.parametrize("role", PAIR_LOSSES)
def test_pairs_that_do_not_match(role: str) -> None:
    loss = PAIR_LOSSES[role]
    refuses(lambda: loss(V, [0, 1]), ShapeError, f"{role}: got (3,), (2,)")
    refuses(lambda: loss(batch(), batch(2)), ShapeError, f"{role}: got batches (3, 2)")
    refuses(
        lambda: loss(ln.constant(V) + 0.0, double()),
        DtypeError,
        f"{role}: got dtypes (float32, float64)",
    )


@pytest.mark.parametrize("role", PAIR_LOSSES)
@pytest.mark.parametrize(("bad", "named"), [(None, "NoneType None"), ("1", "str '1'")])
def test_targets_that_are_no_numbers(role: str, bad: Any, named: str) -> None:
    with pytest.raises(ArgumentError, match=f"{role}: .*got {named}|{role}: got {named}"):
        PAIR_LOSSES[role](V, bad)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ln.binary_cross_entropy(V, 2), RangeError, "binary_cross_entropy: got target 2"),
        (lambda: ln.binary_cross_entropy(V, -0.5), RangeError, "got target -0.5; it must lie in"),
        (lambda: ln.binary_cross_entropy(V, NAN), RangeError, "got target nan"),
        (lambda: ln.binary_cross_entropy(V, [0, 1, -1]), RangeError, "got target [0, 1, -1]"),
        (lambda: ln.poisson_nll(V, -1), RangeError, "poisson_nll: got count -1"),
        (lambda: ln.poisson_nll(V, NAN), RangeError, "poisson_nll: got count nan"),
        (lambda: ln.poisson_nll(V, INF), RangeError, "poisson_nll: got count inf; it must be at "),
        (lambda: ln.poisson_nll(V, [0, 1, INF]), RangeError, "poisson_nll: got count [0, 1, inf]"),
        (lambda: ln.poisson_nll(V, [0, 1, -2]), RangeError, "got count [0, 1, -2]"),
        (lambda: ln.huber(V, 0, delta=0), SettingError, "huber: delta is 0"),
        (lambda: ln.huber(V, 0, delta=-1), SettingError, "huber: delta is -1"),
        (lambda: ln.huber(V, 0, delta=NAN), SettingError, "huber: delta is nan"),
        (lambda: ln.huber(V, 0, delta=None), ArgumentError, "huber: delta is None"),
        (lambda: ln.hinge(V, 1, margin=NAN), SettingError, "hinge: margin is nan"),
        (lambda: ln.hinge(V, 1, margin=INF), SettingError, "hinge: margin is inf"),
        (lambda: ln.hinge(V, 1, margin=None), ArgumentError, "hinge: margin is None"),
        (lambda: ln.hinge(V, 1, margin=True), ArgumentError, "hinge: margin is True"),
        (lambda: ln.hinge(V, 1, margin=[1.0]), ArgumentError, "hinge: margin is [1.0]"),
        (lambda: ln.pairwise_rank(V, 0, margin=NAN), SettingError, "pairwise_rank: margin is nan"),
        (lambda: ln.pairwise_rank(V, 0, margin="1"), ArgumentError, "pairwise_rank: margin is '1'"),
    ],
)
def test_settings_of_losses(call: Call, error: type[ln.LazynetError], message: str) -> None:
    refuses(call, error, message)


# Reductions, softmax, segments

REDUCTIONS = "sum mean max min argmax logsumexp var std norm squared_norm cumsum".split()
SOFTMAXES = "softmax log_softmax sparsemax".split()


@pytest.mark.parametrize("role", [*REDUCTIONS, *SOFTMAXES, "k_max_pool"])
@pytest.mark.parametrize("axis", [1, -2, 7])
def test_axes_out_of_range_of_reductions(role: str, axis: int) -> None:
    more = (2,) if role == "k_max_pool" else ()
    refuses(
        lambda: getattr(ln, role)(V, *more, axis=axis),
        ShapeError,
        f"{role}: got x (3,) and axis {axis}; x has 1 axes",
    )


@pytest.mark.parametrize("role", [*REDUCTIONS, *SOFTMAXES])
@pytest.mark.parametrize("axis", [0.0, NAN, "a", False, True, {}, np.array(0), np.array([0])])
def test_axes_that_are_no_whole_numbers(role: str, axis: Any) -> None:
    getattr(ln, role)(V, axis=0)  # what is remembered of 0 must not be found for False and 0.0
    refuses(lambda: getattr(ln, role)(V, axis=axis), ArgumentError, f"{role}: got axis {axis!r}")


@pytest.mark.parametrize("role", [r for r in REDUCTIONS if r not in ("argmax", "cumsum")])
@pytest.mark.parametrize("axis", [(0.0,), (False,), ([0],), [[0]], [0.0], ({},), (np.array(0),)])
def test_axes_among_which_one_is_no_whole_number(role: str, axis: Any) -> None:
    getattr(ln, role)(V, axis=(0,))
    refuses(lambda: getattr(ln, role)(V, axis=axis), ArgumentError, f"{role}: got axis {axis!r}")


@pytest.mark.parametrize("axis", [1, -1, np.int64(1), (1,), [1], (np.int64(-1),)])
def test_axes_that_are_whole_numbers(axis: Any) -> None:
    assert ln.sum(M, axis=axis).shape == (2,)


@pytest.mark.parametrize("role", [r for r in REDUCTIONS if r not in ("argmax", "cumsum")])
def test_an_axis_twice(role: str) -> None:
    refuses(lambda: getattr(ln, role)(M, axis=(0, -2)), ShapeError, f"{role}: got axis (0, -2)")
    refuses(
        lambda: getattr(ln, role)(M, axis=(0, 2)), ShapeError, f"{role}: got x (2, 3) and axis (0, "
    )


@pytest.mark.parametrize("role", [*SOFTMAXES, "argmax", "cumsum"])
def test_several_axes_where_one_belongs(role: str) -> None:
    refuses(lambda: getattr(ln, role)(V, axis=(0,)), ArgumentError, f"{role}: got axis (0,)")


@pytest.mark.parametrize("role", "mean max min argmax logsumexp var std".split() + SOFTMAXES)
def test_nothing_to_reduce(role: str) -> None:
    refuses(lambda: getattr(ln, role)(EMPTY), ShapeError, f"{role}: got x (0,); axis 0 has no el")


@pytest.mark.parametrize("role", ["sum", "mean", "max", "min"])
def test_lists(role: str) -> None:
    reduce = getattr(ln, role)
    x = ln.constant(V)
    refuses(lambda: reduce([]), ArgumentError, f"{role}: got an empty list")
    refuses(lambda: reduce(iter([])), ArgumentError, f"{role}: got an empty list")
    refuses(lambda: reduce("abc"), ArgumentError, f"{role}: got 'abc'")
    refuses(lambda: reduce(None), ArgumentError, f"{role}: got NoneType None")
    refuses(lambda: reduce([x, x], axis=0), ArgumentError, f"{role}: got a list and axis 0")
    refuses(lambda: reduce([x, M]), ShapeError, f"{role}_list: got a list of ((3,) float32, (2, 3)")
    refuses(lambda: reduce([x, 1.0]), ShapeError, f"{role}_list: got a list of ((3,) float32, ()")
    refuses(lambda: reduce([x, None]), ArgumentError, f"{role}_list: got NoneType None")
    refuses(lambda: reduce([x, "a"]), ArgumentError, f"{role}_list: got str 'a'")


@pytest.mark.parametrize("role", "argmax var std norm squared_norm softmax".split())
def test_a_list_where_an_array_belongs(role: str) -> None:
    xs = [ln.constant(V), ln.constant(V)]
    refuses(lambda: getattr(ln, role)(xs), ArgumentError, f"{role}: got a list of expressions")


SEGMENTS = "sum mean max min argmax logsumexp std var norm squared_norm cumsum softmax log_softmax"


@pytest.mark.parametrize("role", [f"{name}_batch" for name in SEGMENTS.split()])
def test_batch_reductions(role: str) -> None:
    reduce = getattr(ln, role)
    refuses(lambda: reduce(None), ArgumentError, f"{role}: got NoneType None")
    refuses(lambda: reduce("a"), ArgumentError, f"{role}: got str 'a'")
    refuses(lambda: reduce([scalar()]), ArgumentError, f"{role}: got a list of expressions")
    if role != "argmax_batch":
        refuses(lambda: reduce(whole(1, 2)), DtypeError, f"{role}: got dtypes (int64)")


@pytest.mark.parametrize("name", "mean max min argmax logsumexp std var".split())
def test_batch_reductions_of_nothing(name: str) -> None:
    role = f"{name}_batch"
    refuses(lambda: getattr(ln, role)(batch(0)), ShapeError, f"{role}: got a batch of 0 rows")


# Convolution, pooling, normalisation


@pytest.mark.parametrize(
    ("setting", "bad", "error", "named"),
    [
        ("padding", -1, SettingError, "padding -1; it must be at least 0"),
        ("padding", None, ArgumentError, "padding None"),
        ("padding", 1.5, ArgumentError, "padding 1.5"),
        ("padding", NAN, ArgumentError, "padding nan"),
        ("padding", "full", SettingError, "padding 'full'"),
        ("padding", "Same", SettingError, "padding 'Same'"),
        ("padding", "", SettingError, "padding ''"),
        ("padding", b"same", ArgumentError, "padding b'same'"),
        ("padding", (1, 1, 1), SettingError, "padding (1, 1, 1); it must have"),
        ("padding", (), SettingError, "padding (); it must have"),
        ("stride", 0, SettingError, "stride 0; it must be at least 1"),
        ("stride", -1, SettingError, "stride -1"),
        ("stride", 1.0, ArgumentError, "stride 1.0"),
        ("stride", NAN, ArgumentError, "stride nan"),
        ("stride", "2", ArgumentError, "stride '2'"),
        ("stride", (1, 1, 1), SettingError, "stride (1, 1, 1); it must have"),
        ("stride", (1, None), ArgumentError, "stride (1, None)"),
    ],
)
def test_settings_of_windows(
    setting: str, bad: Any, error: type[ln.LazynetError], named: str
) -> None:
    option = {setting: bad}
    refuses(lambda: ln.conv1d(SERIES, FILTERS, **option), error, f"conv1d: got {named}")
    refuses(lambda: ln.conv2d(IMAGE, FILTERS_2D, **option), error, f"conv2d: got {named}")
    refuses(lambda: ln.max_pool(IMAGE, 2, **option), error, f"max_pool: got {named}")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ln.conv1d(SERIES, FILTERS, stride=None), ArgumentError, "got stride None"),
        (lambda: ln.conv1d(SERIES, np.zeros((2, 3, 3))), ShapeError, "conv1d: got x (5, 2), filt"),
        (lambda: ln.conv1d(SERIES, FILTERS_2D), ShapeError, "filters (2, 2, 2, 3); x must be"),
        (lambda: ln.conv1d(IMAGE, FILTERS), ShapeError, "conv1d: got x (5, 5, 2)"),
        (
            lambda: ln.conv1d(SERIES, np.zeros((6, 2, 3))),
            ShapeError,
            "at least as long as the filt",
        ),
        (lambda: ln.conv1d(SERIES, np.zeros((0, 2, 3))), ShapeError, "conv1d: got x (5, 2), filt"),
        (lambda: ln.conv1d(SERIES, None), ArgumentError, "conv1d: got NoneType None"),
        (
            lambda: ln.conv1d(SERIES, FILTERS, [0, 0]),
            ShapeError,
            "conv1d: got filters (2, 2, 3), b",
        ),
        (lambda: ln.conv1d(SERIES, FILTERS, "b"), ArgumentError, "conv1d: got str 'b'"),
        (
            lambda: ln.conv2d(IMAGE, FILTERS),
            ShapeError,
            "conv2d: got x (5, 5, 2), filters (2, 2, 3",
        ),
        (lambda: ln.conv2d(SERIES, FILTERS_2D), ShapeError, "conv2d: got x (5, 2)"),
        (lambda: ln.conv2d(IMAGE, np.zeros((6, 2, 2, 3))), ShapeError, "as long as the filters"),
        (lambda: ln.conv2d(IMAGE, FILTERS_2D, [0, 0]), ShapeError, "bias (2,); bias must have one"),
        (lambda: ln.max_pool(SERIES, 0), SettingError, "max_pool: got size 0"),
        (lambda: ln.max_pool(SERIES, -1), SettingError, "max_pool: got size -1"),
        (lambda: ln.max_pool(SERIES, None), ArgumentError, "max_pool: got size None"),
        (lambda: ln.max_pool(SERIES, 1.5), ArgumentError, "max_pool: got size 1.5"),
        (lambda: ln.max_pool(SERIES, "2"), ArgumentError, "max_pool: got size '2'"),
        (lambda: ln.max_pool(SERIES, (2, 2)), SettingError, "max_pool: got size (2, 2)"),
        (lambda: ln.max_pool(IMAGE, (2,)), SettingError, "max_pool: got size (2,)"),
        (lambda: ln.max_pool(SERIES, 6), ShapeError, "max_pool: got x (5, 2)"),
        (lambda: ln.max_pool(SERIES, 2, padding=2), SettingError, "got padding 2 and size 2"),
        (lambda: ln.max_pool(V, 2), ShapeError, "max_pool: got x (3,)"),
        (
            lambda: ln.k_max_pool(V, 4),
            ShapeError,
            "k_max_pool: got x (3,); axis 0 must have at lea",
        ),
        (lambda: ln.k_max_pool(V, 0), SettingError, "k_max_pool: got k 0"),
        (lambda: ln.k_max_pool(V, -1), SettingError, "k_max_pool: got k -1"),
        (lambda: ln.k_max_pool(V, None), ArgumentError, "k_max_pool: got k None"),
        (lambda: ln.k_max_pool(V, 1.5), ArgumentError, "k_max_pool: got k 1.5"),
        (lambda: ln.k_max_pool(V, NAN), ArgumentError, "k_max_pool: got k nan"),
        (lambda: ln.k_max_pool(V, "1"), ArgumentError, "k_max_pool: got k '1'"),
        (lambda: ln.k_max_pool(V, (1, 1)), SettingError, "k_max_pool: got k (1, 1)"),
        (lambda: ln.k_max_pool(V, 1, axis=None), ArgumentError, "k_max_pool: got axis None"),
        (lambda: ln.k_max_pool(V, 1, axis=False), ArgumentError, "k_max_pool: got axis False"),
        (lambda: ln.k_max_pool(V, True), ArgumentError, "k_max_pool: got k True"),
        (lambda: ln.max_pool(SERIES, True), ArgumentError, "max_pool: got size True"),
        (
            lambda: ln.conv1d(SERIES, FILTERS, padding=True),
            ArgumentError,
            "conv1d: got padding True",
        ),
        (lambda: ln.conv1d(SERIES, FILTERS, stride=True), ArgumentError, "conv1d: got stride True"),
        (
            lambda: ln.conv2d(IMAGE, FILTERS_2D, stride=(1, True)),
            ArgumentError,
            "conv2d: got stride (1, True)",
        ),
        (lambda: ln.k_max_pool(1.0, 1), ShapeError, "k_max_pool: got x () and axis 0"),
        (
            lambda: ln.layer_norm(V, ONES, [1, 2]),
            ShapeError,
            "layer_norm: got x (3,), gain (3,), b",
        ),
        (lambda: ln.layer_norm(V, 1.0, 0.0), ShapeError, "layer_norm: got x (3,), gain ()"),
        (lambda: ln.layer_norm(1.0, 1.0, 0.0), ShapeError, "layer_norm: got x ()"),
        (lambda: ln.layer_norm(EMPTY, [], []), ShapeError, "layer_norm: got x (0,)"),
        (lambda: ln.layer_norm(V, None, ONES), ArgumentError, "layer_norm: got NoneType None"),
        (lambda: ln.layer_norm(V, ONES, ONES, -1), SettingError, "layer_norm: eps is -1"),
        (lambda: ln.layer_norm(V, ONES, ONES, NAN), SettingError, "layer_norm: eps is nan"),
        (lambda: ln.layer_norm(V, ONES, ONES, None), ArgumentError, "layer_norm: eps is None"),
        (lambda: ln.layer_norm(V, ONES, ONES, "1"), ArgumentError, "layer_norm: eps is '1'"),
        (lambda: ln.weight_norm(V, V), ShapeError, "weight_norm: got w (3,), g (3,)"),
        (lambda: ln.weight_norm(V, None), ArgumentError, "weight_norm: got NoneType None"),
    ],
)
def test_windows_and_norms(call: Call, error: type[ln.LazynetError], message: str) -> None:
    refuses(call, error, message)


# Random numbers

DROPOUTS: dict[str, Callable[[Any], Any]] = {
    "dropout": lambda p: ln.dropout(V, p),
    "dropout_dim": lambda p: ln.dropout_dim(V, 0, p),
    "block_dropout": lambda p: ln.block_dropout(V, p),
}


@pytest.mark.parametrize("role", DROPOUTS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("p", "error", "named"),
    [
        (1, SettingError, "got p = 1;"),
        (1.5, SettingError, "got p = 1.5"),
        (-0.1, SettingError, "got p = -0.1"),
        (NAN, SettingError, "p is nan"),
        (INF, SettingError, "p is inf"),
        (None, ArgumentError, "p is None"),
        ("0.5", ArgumentError, "p is '0.5'"),
        (True, ArgumentError, "p is True"),
        ([0.5], ArgumentError, "p is [0.5]"),
        (np.array([0.5]), ArgumentError, "p is array([0.5])"),
    ],
)
def test_dropout_probabilities(
    role: str, training: bool, p: Any, error: type[ln.LazynetError], named: str
) -> None:
    with ln.training(training):
        refuses(lambda: DROPOUTS[role](p), error, f"{role}: {named}")


@pytest.mark.parametrize("role", ["normal", "uniform", "gumbel", "bernoulli"])
@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"shape": -1}, ShapeError, "got shape (-1,)"),
        ({"shape": (2, -1)}, ShapeError, "got shape (2, -1)"),
        ({"shape": None}, ArgumentError, "got shape None"),
        ({"shape": "a"}, ArgumentError, "got shape 'a'"),
        ({"shape": 1.5}, ArgumentError, "got shape 1.5"),
        ({"shape": (2, NAN)}, ArgumentError, "got shape (2, nan)"),
        ({"shape": 2, "batch": -1}, ShapeError, "got batch -1"),
        ({"shape": 2, "batch": 1.5}, ArgumentError, "got batch 1.5"),
        ({"shape": 2, "batch": "a"}, ArgumentError, "got batch 'a'"),
    ],
)
def test_shapes_of_samples(
    role: str, options: dict[str, Any], error: type[ln.LazynetError], named: str
) -> None:
    refuses(lambda: getattr(ln, role)(**options), error, f"{role}: {named}")


PARAMETERS = [("normal", "mean"), ("normal", "std"), ("uniform", "low"), ("uniform", "high")]
PARAMETERS += [("gumbel", "mu"), ("gumbel", "beta")]


@pytest.mark.parametrize(("role", "name"), PARAMETERS)
@pytest.mark.parametrize(
    ("bad", "error", "named"),
    [
        (NAN, SettingError, " is nan; it must be finite"),
        (INF, SettingError, " is inf; it must be finite"),
        ("a", ArgumentError, " is 'a'; it must be a number"),
        (None, ArgumentError, " is None; it must be a number"),
        (True, ArgumentError, " is True; it must be a number"),
        ({}, ArgumentError, ": got dict {}"),
        (["a", "b"], ArgumentError, ": got list ['a', 'b']"),
        ([[1], [2, 3]], ArgumentError, ": got a ragged list"),
    ],
)
def test_parameters_of_samples(
    role: str, name: str, bad: Any, error: type[ln.LazynetError], named: str
) -> None:
    refuses(lambda: getattr(ln, role)(2, **{name: bad}), error, f"{role}: {name}{named}")


@pytest.mark.parametrize("std", [-1, -0.5, np.float32(-1)])
def test_negative_standard_deviation(std: Any) -> None:
    refuses(lambda: ln.normal(2, std=std), SettingError, f"normal: got std = {std!r}; it must be 0")


def test_bounds_too_far_apart() -> None:
    refuses(lambda: ln.uniform(2, -1e308, 1e308), SettingError, "uniform: high - low is inf")


@pytest.mark.parametrize("make", [list, tuple, np.array])
def test_bounds_for_each_element(make: Any) -> None:
    low, high = make([0.0, 5.0]), make([1.0, 7.0])
    for x in (ln.uniform(2, low, high), ln.uniform(2, low, ln.constant(high, dtype="float32"))):
        first, second = x.value()
        assert 0 <= first <= 1
        assert 5 <= second <= 7
    assert (ln.uniform(2, 4, make([4.0, 5.0])).value() >= 4).all()


@pytest.mark.parametrize("role", ["normal", "uniform", "gumbel", "bernoulli"])
@pytest.mark.parametrize("dtype", ["int64", "nonsense"])
def test_dtypes_of_samples(role: str, dtype: str) -> None:
    refuses(lambda: getattr(ln, role)(2, dtype=dtype), DtypeError, f"got '{dtype}'; it must be")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ln.dropout(None, 0.5), ArgumentError, "dropout: got NoneType None"),
        (lambda: ln.dropout(whole(1), 0.5), DtypeError, "dropout: got dtypes (int64)"),
        (lambda: ln.dropout_dim(V, 1, 0.5), ShapeError, "dropout_dim: got x (3,) and axis 1"),
        (lambda: ln.dropout_dim(V, -2, 0.5), ShapeError, "dropout_dim: got x (3,) and axis -2"),
        (lambda: ln.dropout_dim(1.0, 0, 0.5), ShapeError, "dropout_dim: got x () and axis 0"),
        (lambda: ln.dropout_dim(V, None, 0.5), ArgumentError, "dropout_dim: got axis None"),
        (lambda: ln.dropout_dim(V, 0.5, 0.5), ArgumentError, "dropout_dim: got axis 0.5"),
        (lambda: ln.dropout_dim(V, (0,), 0.5), ArgumentError, "dropout_dim: got axis (0,)"),
        (lambda: ln.noise(V, -1), SettingError, "noise: got std = -1"),
        (lambda: ln.noise(V, NAN), SettingError, "noise: std is nan"),
        (lambda: ln.noise(V, None), ArgumentError, "noise: std is None"),
        (lambda: ln.noise(whole(1), 1.0), DtypeError, "noise: got dtypes (int64)"),
        (lambda: ln.bernoulli(2, 1.5), RangeError, "bernoulli: got p = 1.5"),
        (lambda: ln.bernoulli(2, -0.5), RangeError, "bernoulli: got p = -0.5"),
        (lambda: ln.bernoulli(2, NAN), RangeError, "bernoulli: got p = nan"),
        (lambda: ln.bernoulli(2, [0.5, 2]), RangeError, "bernoulli: got p = [0.5, 2]"),
        (lambda: ln.bernoulli(2, None), ArgumentError, "bernoulli: got NoneType None"),
        (lambda: ln.bernoulli(2, "0.5"), ArgumentError, "bernoulli: got str '0.5'"),
        (lambda: ln.bernoulli(2, [0.5] * 3), ShapeError, "got p (3,); p must be a number or have"),
        (lambda: ln.bernoulli(4, batch(), batch=2), ShapeError, "got p with batch 3 and batch=2"),
        (lambda: ln.categorical(M), ShapeError, "categorical: got logits (2, 3)"),
        (lambda: ln.categorical(1.0), ShapeError, "categorical: got logits ()"),
        (lambda: ln.categorical(EMPTY), ShapeError, "categorical: got logits (0,)"),
        (lambda: ln.categorical(None), ArgumentError, "categorical: got NoneType None"),
        (lambda: ln.categorical(whole(1, 2)), DtypeError, "categorical: got dtypes (int64)"),
    ],
)
def test_random_operations(call: Call, error: type[ln.LazynetError], message: str) -> None:
    refuses(call, error, message)


# Products


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ln.matmul(M, SQUARE), ShapeError, "matmul: got (2, 3), (2, 2)"),
        (lambda: ln.constant(M) @ M, ShapeError, "matmul: got (2, 3), (2, 3)"),
        (lambda: ln.matmul(V, M), ShapeError, "matmul: got (3,), (2, 3)"),
        (lambda: ln.matmul(M, scalar()), ShapeError, "matmul: got (2, 3), ()"),
        (lambda: ln.matmul(M, 2), ArgumentError, "matmul: got the number 2"),
        (lambda: ln.matmul(M, "a"), ArgumentError, "matmul: got str 'a'"),
        (lambda: ln.matmul(None, M), ArgumentError, "matmul: got NoneType None"),
        (
            lambda: ln.matmul(np.zeros((2, 2, 2)), np.zeros((3, 2, 2))),
            ShapeError,
            "matmul: got (2, 2, 2), (3, 2, 2)",
        ),
        (lambda: ln.matmul(batch(), batch(2)), ShapeError, "matmul: got batches (3, 2)"),
        (
            lambda: ln.matmul(ln.constant(M) + 0.0, double()),
            DtypeError,
            "matmul: got dtypes (float32, float64)",
        ),
        (lambda: ln.dot(V, M), ShapeError, "dot: got (3,), (2, 3)"),
        (lambda: ln.dot(V, [1, 2]), ShapeError, "dot: got (3,), (2,)"),
        (lambda: ln.dot(scalar(), scalar()), ShapeError, "dot: got (), ()"),
        (lambda: ln.dot(2, V), ArgumentError, "dot: got the number 2"),
        (lambda: ln.dot(V, None), ArgumentError, "dot: got NoneType None"),
        (lambda: ln.outer(V, M), ShapeError, "outer: got (3,), (2, 3)"),
        (lambda: ln.outer(V, 2), ArgumentError, "outer: got the number 2"),
        (lambda: ln.affine(V), ArgumentError, "affine: got a bias and 0 more arguments"),
        (lambda: ln.affine(V, M), ArgumentError, "affine: got a bias and 1 more arguments"),
        (lambda: ln.affine([1, 2], M, V, M), ArgumentError, "affine: got a bias and 3 more arg"),
        (lambda: ln.affine(V, M, V), ShapeError, "affine: got b (3,)"),
        (lambda: ln.affine([1, 2], M, [1, 2]), ShapeError, "affine: got (2, 3), (2,)"),
        (lambda: ln.affine([1, 2], V, M), ShapeError, "affine: got W (3,), x (2, 3)"),
        (
            lambda: ln.affine([1, 2], M, V, np.zeros((3, 3)), V),
            ShapeError,
            "affine: got (2,), (2, 3), (3,), (3, 3), (3,)",
        ),
        (lambda: ln.affine(1.0, M, V), ArgumentError, "affine: got the number 1.0"),
        (lambda: ln.affine([1, 2], None, V), ArgumentError, "affine: got NoneType None"),
        (lambda: ln.einsum("ij,jk->ik", M, M), ShapeError, "einsum: got (2, 3), (2, 3); in 'ij,jk"),
        (lambda: ln.einsum("ij,j->i", M, SQUARE), ShapeError, "einsum: got (2, 3), (2, 2)"),
        (lambda: ln.einsum("ij,j->i", M, 2), ShapeError, "einsum: got (2, 3), ()"),
        (lambda: ln.einsum("ij,j->k", M, V), ArgumentError, "einsum: got 'ij,j->k'"),
        (lambda: ln.einsum("ii,j->j", M, V), ArgumentError, "einsum: got 'ii,j->j'; 'ii' repeats"),
        (lambda: ln.einsum("ij,j->ii", M, V), ArgumentError, "the result 'ii' repeats a letter"),
        (lambda: ln.einsum("ij->i", M, V), ArgumentError, "einsum: got 'ij->i'; it names 1"),
        (lambda: ln.einsum("i,j,k->i", V, V), ArgumentError, "einsum: got 'i,j,k->i'; it names 3"),
        (lambda: ln.einsum("", M, V), ArgumentError, "einsum: got ''"),
        (lambda: ln.einsum("i1,j->i", M, V), ArgumentError, "einsum: got 'i1,j->i'"),
        (lambda: ln.einsum("...i,i->...", M, V), ArgumentError, "einsum: got '...i,i->...'"),
        (lambda: ln.einsum(None, M, V), ArgumentError, "einsum: got NoneType first"),
        (lambda: ln.einsum("ij,j->i", M, None), ArgumentError, "einsum: got NoneType None"),
        (lambda: ln.inverse(M), ShapeError, "inverse: got (2, 3)"),
        (lambda: ln.inverse(V), ShapeError, "inverse: got (3,)"),
        (lambda: ln.inverse(None), ArgumentError, "inverse: got NoneType None"),
        (lambda: ln.logdet(M), ShapeError, "logdet: got (2, 3)"),
        (lambda: ln.logdet(1.0), ShapeError, "logdet: got ()"),
        (lambda: ln.trace(M), ShapeError, "trace: got (2, 3)"),
        (lambda: ln.trace("a"), ArgumentError, "trace: got str 'a'"),
    ],
)
def test_products(call: Call, error: type[ln.LazynetError], message: str) -> None:
    refuses(call, error, message)


# Shapes

ALONG_AN_AXIS: dict[str, Callable[[Any], Any]] = {
    "squeeze": lambda axis: ln.squeeze(M, axis),
    "expand_dims": lambda axis: ln.expand_dims(V, axis),
    "transpose": lambda axis: ln.transpose(M, (0, axis)),
    "concatenate": lambda axis: ln.concatenate([ln.constant(M), M], axis=axis),
    "stack": lambda axis: ln.stack([ln.constant(V), V], axis=axis),
    "split": lambda axis: ln.split(M, 1, axis=axis),
    "flip": lambda axis: ln.flip(M, axis),
    "slice": lambda axis: ln.slice(M, 0, 1, axis=axis),
    "pick": lambda axis: ln.pick(M, 0, axis=axis),
    "pick_rows": lambda axis: ln.pick_rows(M, [0], axis=axis),
}


@pytest.mark.parametrize("role", ALONG_AN_AXIS)
@pytest.mark.parametrize("axis", [2, -3])
def test_axes_out_of_range(role: str, axis: int) -> None:
    refuses(lambda: ALONG_AN_AXIS[role](axis), RangeError, f"{role}: got axis {axis}")


@pytest.mark.parametrize("role", ALONG_AN_AXIS)
@pytest.mark.parametrize("axis", [1.0, NAN, "a", True, (0,)])
def test_axes_that_are_no_integers(role: str, axis: Any) -> None:
    refuses(lambda: ALONG_AN_AXIS[role](axis), ArgumentError, f"{role}: axis: got {axis!r}")


@pytest.mark.parametrize("role", [role for role in ALONG_AN_AXIS if role != "squeeze"])
def test_none_for_an_axis(role: str) -> None:
    refuses(lambda: ALONG_AN_AXIS[role](None), ArgumentError, f"{role}: axis: got None")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ln.reshape(V, (2, 2)), ShapeError, "reshape: got (3,) and the target (2, 2)"),
        (lambda: ln.reshape(V, (-1, 2)), ShapeError, "reshape: got (3,) and the target (-1, 2)"),
        (lambda: ln.reshape(V, (-1, -1)), ShapeError, "reshape: got (3,) and the target (-1, -1)"),
        (
            lambda: ln.reshape(EMPTY, (-1, 0)),
            ShapeError,
            "reshape: got (0,) and the target (-1, 0)",
        ),
        (lambda: ln.reshape(V, (-3,)), ShapeError, "reshape: got the shape (-3,)"),
        (lambda: ln.reshape(V, None), ArgumentError, "reshape: shape: got None"),
        (lambda: ln.reshape(V, "3"), ArgumentError, "reshape: shape: got '3'"),
        (lambda: ln.reshape(V, 3.0), ArgumentError, "reshape: shape: got 3.0"),
        (lambda: ln.reshape(V, (3, NAN)), ArgumentError, "reshape: shape: got nan"),
        (lambda: ln.reshape(V, (True, 3)), ArgumentError, "reshape: shape: got True"),
        (lambda: ln.reshape(None, 3), ArgumentError, "reshape: got NoneType None"),
        (lambda: ln.constant(V).reshape(2, 2), ShapeError, "reshape: got (3,) and the target"),
        (lambda: ln.squeeze(V, 0), ShapeError, "squeeze: got (3,) and axis 0"),
        (lambda: ln.transpose(M, (0, 0)), ShapeError, "transpose: got (2, 3) and axes (0, 0)"),
        (lambda: ln.transpose(M, (0,)), ShapeError, "transpose: got (2, 3) and axes (0,)"),
        (lambda: ln.transpose(M, 1), ArgumentError, "transpose: got axes 1"),
        (lambda: ln.transpose(M, "ab"), ArgumentError, "transpose: got axes 'ab'"),
        (lambda: ln.concatenate([V, M]), ShapeError, "concatenate: got (3,), (2, 3)"),
        (lambda: ln.concatenate([M, SQUARE]), ShapeError, "concatenate: got (2, 3), (2, 2)"),
        (lambda: ln.concatenate([V, 1.0]), ShapeError, "concatenate: got (3,), ()"),
        (lambda: ln.concatenate([1.0, 2.0]), ShapeError, "concatenate: got (), ()"),
        (lambda: ln.stack([V, M]), ShapeError, "stack: got (3,), (2, 3)"),
        (lambda: ln.stack([V, [1, 2]]), ShapeError, "stack: got (3,), (2,)"),
        (lambda: ln.split(V, 2), ShapeError, "split: got (3,), axis 0 and 2 sections"),
        (lambda: ln.split(V, 0), SettingError, "split: got 0 sections"),
        (lambda: ln.split(V, -1), SettingError, "split: got -1 sections"),
        (lambda: ln.split(V, [1, 1]), ShapeError, "split: got (3,), axis 0 and lengths (1, 1)"),
        (lambda: ln.split(V, [1, 3]), ShapeError, "split: got (3,), axis 0 and lengths (1, 3)"),
        (
            lambda: ln.split(V, [-1, 4]),
            ShapeError,
            "split: got (3,), axis 0 and lengths (-1, 4); the length -1 is negative",
        ),
        (lambda: ln.split(V, (5, -2)), ShapeError, "lengths (5, -2); the length -2 is negative"),
        (lambda: ln.split(V, [1.0, 2.0]), ArgumentError, "split: sections: got 1.0 (float)"),
        (lambda: ln.split(V, [[1], 2]), ArgumentError, "split: sections: got [1] (list)"),
        (lambda: ln.split(V, {}), ArgumentError, "split: sections: got {} (dict)"),
        (lambda: ln.split(V, np.array(3)), ArgumentError, "split: sections: got array(3)"),
        (lambda: ln.split(V, 1, axis=[0]), ArgumentError, "split: axis: got [0] (list)"),
        (lambda: ln.split(V, 1, axis={}), ArgumentError, "split: axis: got {} (dict)"),  # type: ignore[arg-type]
        (lambda: ln.split(V, []), ShapeError, "split: got (3,), axis 0 and lengths ()"),
        (lambda: ln.split(V, None), ArgumentError, "split: sections: got None"),
        (lambda: ln.split(V, "ab"), ArgumentError, "split: sections: got 'ab'"),
        (lambda: ln.split(V, 1.5), ArgumentError, "split: sections: got 1.5"),
        (lambda: ln.split(V, True), ArgumentError, "split: sections: got True"),
        (lambda: ln.split(1.0, 1), RangeError, "split: got axis 0 for an example with 0 axes"),
        (lambda: ln.flip(1.0), RangeError, "flip: got axis 0 for an example with 0 axes"),
        (lambda: ln.broadcast_to(V, 2), ShapeError, "broadcast_to: got (3,) and the target (2,)"),
        (lambda: ln.broadcast_to(V, (3, 2)), ShapeError, "got (3,) and the target (3, 2)"),
        (lambda: ln.broadcast_to(V, -1), ShapeError, "broadcast_to: got (3,) and the target (-1,)"),
        (lambda: ln.broadcast_to(M, 3), ShapeError, "broadcast_to: got (2, 3) and the target (3,)"),
        (lambda: ln.broadcast_to(V, None), ArgumentError, "broadcast_to: shape: got None"),
    ],
)
def test_shapes(call: Call, error: type[ln.LazynetError], message: str) -> None:
    refuses(call, error, message)


@pytest.mark.parametrize("role", ["concatenate", "stack"])
def test_joined_lists(role: str) -> None:
    join = getattr(ln, role)
    x = ln.constant(V) + 0.0
    refuses(lambda: join([]), ArgumentError, f"{role}: got an empty list")
    refuses(lambda: join(None), ArgumentError, f"{role}: got None")
    refuses(lambda: join("ab"), ArgumentError, f"{role}: got 'ab'")
    refuses(lambda: join([x, None]), ArgumentError, f"{role}: got NoneType None")
    refuses(lambda: join([x, double()]), DtypeError, f"{role}: got dtypes (float32, float64)")
    refuses(lambda: join([batch(), batch(2)]), ShapeError, f"{role}: got batches (3, 2)")


def test_a_length_that_equals_a_whole_number_after_that_number() -> None:
    assert [part.shape for part in ln.split(V, [1, 2])] == [(1,), (2,)]
    refuses(lambda: ln.split(V, [1.0, 2.0]), ArgumentError, "got 1.0 (float)")
    assert len(ln.split(V, 1)) == 1
    refuses(lambda: ln.split(V, True), ArgumentError, "split: sections: got True")
    refuses(lambda: ln.split(V, 1.0), ArgumentError, "split: sections: got 1.0")


# Indices


def words() -> ln.Expression:
    return ln.Model(seed=0).lookup(3, 2, name="words")


INDEXED: dict[str, Callable[[Any], Any]] = {
    "x[...]: axis 0": lambda i: ln.constant(V)[i],
    "pick": lambda i: ln.pick(V, i),
    "lookup /words": lambda i: words()[i],
}

BAD_INDICES: list[tuple[Any, type[ln.LazynetError], str]] = [
    (3, RangeError, "got index 3 for 3 entries"),
    (-4, RangeError, "got index -4 for 3 entries"),
    (10**30, RangeError, "got index 1" + "0" * 30),
    (NAN, ArgumentError, "got nan (float)"),
    (1.0, ArgumentError, "got 1.0 (float)"),
    (True, ArgumentError, "got True (bool)"),
    ("a", ArgumentError, "got 'a' (str)"),
    (b"a", ArgumentError, "got b'a' (bytes)"),
    (1j, ArgumentError, "got 1j (complex)"),
    ({0}, ArgumentError, "got {0} (set)"),
]


@pytest.mark.parametrize("role", INDEXED)
@pytest.mark.parametrize(("index", "error", "named"), BAD_INDICES)
def test_one_index(role: str, index: Any, error: type[ln.LazynetError], named: str) -> None:
    refuses(lambda: INDEXED[role](index), error, f"{role}: {named}")


INDEXED_BY_LISTS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "x[...]": ("pick_rows", lambda i: ln.constant(V)[i]),
    "pick": ("pick", lambda i: ln.pick(V, i)),
    "pick_rows": ("pick_rows", lambda i: ln.pick_rows(V, i)),
    "lookup": ("lookup /words", lambda i: words()[i]),
}


@pytest.mark.parametrize("taker", INDEXED_BY_LISTS)
@pytest.mark.parametrize(
    ("indices", "error", "named"),
    [
        *(([0, index], error, named) for index, error, named in BAD_INDICES),
        ([None], ArgumentError, "got None (NoneType)"),
        ([[0]], ArgumentError, "got [0] (list)"),
        ([0, [1]], ArgumentError, "got [1] (list)"),
        (np.array([0, 3]), RangeError, "got index 3"),
        (np.array([-4]), RangeError, "got index -4"),
        (np.array([2**63], np.uint64), RangeError, "got index 9223372036854775808"),
        (np.array([0.0]), ArgumentError, "got indices of dtype float64"),
        (np.array([True, False, True]), ArgumentError, "got indices of dtype bool"),
        (np.array(["a"]), ArgumentError, "got indices of dtype <U1"),
        (np.array([[0]]), ShapeError, "got indices of shape (1, 1)"),
    ],
)
def test_several_indices(
    taker: str, indices: Any, error: type[ln.LazynetError], named: str
) -> None:
    role, use = INDEXED_BY_LISTS[taker]
    refuses(lambda: use(indices), error, f"{role}: {named}")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: words()[None], ArgumentError, "lookup /words: got None"),
        (lambda: words()[0, 1], ShapeError, "lookup /words: got 2 indices in a tuple"),
        (lambda: words()[:2], ArgumentError, "lookup /words: got slice(None, 2, None)"),
        (lambda: words()[...], ArgumentError, "lookup /words: got Ellipsis"),
        (lambda: words()[np.uint64(2**64 - 1)], RangeError, "lookup /words: got index 18446744073"),
        (lambda: words()[range(4)], RangeError, "lookup /words: got index 3"),
        (lambda: words()[np.array(1.0)], ArgumentError, "lookup /words: got array(1.)"),
        (lambda: words()[np.array(True)], ArgumentError, "lookup /words: got array(True)"),
        (lambda: words()[scalar()], ArgumentError, "lookup /words: got <input shape=() float32"),
        (lambda: words()[batch()], ArgumentError, "lookup /words: got <input shape=(4,), batch=3"),
        (lambda: words()[whole(0, 1)], ArgumentError, "lookup /words: got <input shape=(2,) int64"),
        (lambda: ln.pick(V, None), ArgumentError, "pick: got None"),
        (lambda: ln.pick(V, ln.argmax(V)), ArgumentError, "pick: got <argmax"),
        (lambda: ln.pick(1.0, 0), RangeError, "pick: got axis 0 for an example with 0 axes"),
        (lambda: ln.pick(batch(), [0, 1]), ShapeError, "pick: got 2 indices for a batch of 3 rows"),
        (lambda: ln.pick(batch(), []), ShapeError, "pick: got 0 indices for a batch of 3 rows"),
        (lambda: ln.pick_rows(M, 1), ArgumentError, "pick_rows: got indices 1"),
        (lambda: ln.pick_rows(M, None), ArgumentError, "pick_rows: got indices None"),
        (lambda: ln.pick_rows(M, "ab"), ArgumentError, "pick_rows: got indices 'ab'"),
        (lambda: ln.pick_rows(M, whole(0, 1)), ArgumentError, "pick_rows: got indices <input"),
        (
            lambda: ln.pick_rows(batch(), np.zeros((2, 2), np.int64)),
            ShapeError,
            "pick_rows: got indices for 2 rows and a batch of 3",
        ),
        (lambda: ln.constant(V)[0, 0], RangeError, "x[...]: got 2 indices for an example of shape"),
        (lambda: scalar()[0], RangeError, "x[...]: got 1 indices for an example of shape ()"),
        (lambda: ln.constant(V)[..., ...], ArgumentError, "x[...]: got 2 ellipses"),
        (lambda: ln.constant(V)[::0], SettingError, "x[...]: got a slice with step 0"),
        (lambda: ln.constant(V)[1.0:], ArgumentError, "x[...]: bounds of a slice: got 1.0"),
        (lambda: ln.constant(V)["a":], ArgumentError, "x[...]: bounds of a slice: got 'a'"),
        (lambda: ln.constant(V)[scalar()], ArgumentError, "x[...]: got an expression as index"),
        (lambda: ln.constant(V)[[0, 2**64 - 1]], RangeError, "index 18446744073709551615 for 3"),
        (lambda: ln.constant(V)[[-1, 2**63]], RangeError, "index 9223372036854775808 for 3"),
        (lambda: ln.pick(batch(2), [0, 2**64 - 1]), RangeError, "pick: got index 184467440737095"),
        (
            lambda: ln.pick_rows(batch(3), np.zeros((2, 0), int)),  # type: ignore[arg-type]
            ShapeError,
            "pick_rows: got indices for 2 rows and a batch of 3",
        ),
        (lambda: ln.constant(M)[[0], [1]], ArgumentError, "x[...]: got several lists of indices"),
        (lambda: ln.constant(M)[0, [1]], ArgumentError, "x[...]: got integers beside a list"),
        (lambda: ln.slice(V, NAN, 2), ArgumentError, "slice: bounds of a slice: got nan"),
        (lambda: ln.slice(V, 0, 2, 0), SettingError, "slice: got a slice with step 0"),
        (lambda: ln.slice(None, 0, 1), ArgumentError, "slice: got NoneType None"),
    ],
)
def test_indices(call: Call, error: type[ln.LazynetError], message: str) -> None:
    refuses(call, error, message)


# The outputs of a split


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("computed", [False, True])
def test_parts_read_in_separate_evaluations(first: int, computed: bool) -> None:
    x = ln.constant([1.0, 2.0, 3.0])
    parts = ln.split(x * 2.0 if computed else x, [1, 2])
    factor = 2.0 if computed else 1.0
    expected = [[factor], [2 * factor, 3 * factor]]
    for k in (first, 1 - first):
        assert parts[k].value().tolist() == expected[k]
    assert [part.value().tolist() for part in parts] == expected


def test_parts_of_a_batch_read_in_separate_evaluations() -> None:
    x = ln.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], batched=True)
    a, b = ln.split(x, [1, 2])
    assert a.value().tolist() == [[1.0], [4.0]]
    assert b.value().tolist() == [[2.0, 3.0], [5.0, 6.0]]


@pytest.mark.parametrize("read", [(), (0,), (1,), (0, 1), (1, 0)])
def test_gradients_through_both_parts(read: tuple[int, ...]) -> None:
    w = ln.Model(dtype="float64").parameter(3, init=[1.0, 2.0, 3.0])
    parts = ln.split(w * 2.0, [1, 2])
    for k in read:
        parts[k].value()
    loss = parts[0].sum() * 10.0 + ln.dot(parts[1], parts[1])
    loss.backward()
    assert loss.value() == 72.0
    assert w.gradient().tolist() == [20.0, 16.0, 24.0]


@pytest.mark.parametrize("used", [0, 1])
def test_gradients_through_one_part(used: int) -> None:
    w = ln.Model(dtype="float64").parameter(3, init=[1.0, 2.0, 3.0])
    parts = ln.split(w * 2.0, [1, 2])
    parts[1 - used].value()
    ln.squared_norm(parts[used]).backward()
    assert w.gradient().tolist() == ([8.0, 0.0, 0.0] if used == 0 else [0.0, 16.0, 24.0])
