"""Every name of DyNet's Python interface is there, with the signature that the wheel has.

`data/api.json` holds the wheel's (`record_api.py`); `FURTHER` what is only in DyNet's C++, or in
its documentation.
"""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path

import pytest

import lazynet.dynet as dy

API = json.loads((Path(__file__).parent / "data" / "api.json").read_text())
FUNCTIONS, CLASSES = API["functions"], API["classes"]

FURTHER = {
    "BidirectionalTreeLSTMBuilder": "start_new_sequence set_num_elements add_input set_dropout",
    "DeepLSTMBuilder": "initial_state param_collection get_parameters",
    "EGTrainer": "update restart status set_learning_rate set_clip_threshold",
    "HierarchicalSoftmaxBuilder": (
        "neg_log_softmax neg_log_softmax_batch sample full_log_distribution full_logits "
        "param_collection"
    ),
    "NaryTreeLSTMBuilder": "start_new_sequence set_num_elements add_input set_dropout",
    "TreeLSTMBuilder": "start_new_sequence set_num_elements add_input set_dropout",
    "UnidirectionalTreeLSTMBuilder": "start_new_sequence set_num_elements add_input set_dropout",
    "install": "",
}
EXPRESSION = """__add__ __radd__ __sub__ __rsub__ __neg__ __mul__ __rmul__ __truediv__ __pow__
__getitem__ __len__ __iter__ __bool__"""
"""Operators that programs use."""
SETTABLE = ["scalarInput", "vecInput", "inputVector", "inputTensor", "lookup", "lookup_batch"]


def parameters(thing) -> list[list]:
    found = []
    for p in inspect.signature(thing).parameters.values():
        default = "" if p.default is inspect.Parameter.empty else [p.default]
        found.append([p.name, p.kind.name, default])
    return found


def expected(stored: list[list[str]]) -> list[list]:
    return [
        [name, kind, [ast.literal_eval(default)] if default else ""]
        for name, kind, default in stored
    ]


def same(found: list[list], stored: list[list[str]]) -> bool:
    return [[n, k, list(map(_plain, d))] for n, k, d in found] == [
        [n, k, list(map(_plain, d))] for n, k, d in expected(stored)
    ]


def _plain(default):
    return list(default) if isinstance(default, tuple) else default


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name) -> None:
    assert name in dy.__all__
    function = getattr(dy, name)
    assert callable(function)
    assert same(parameters(function), FUNCTIONS[name]), (
        f"{name}{inspect.signature(function)} instead of {FUNCTIONS[name]}"
    )


@pytest.mark.parametrize("name", CLASSES)
def test_class(name) -> None:
    assert name in dy.__all__
    made, stored = getattr(dy, name), CLASSES[name]
    assert inspect.isclass(made)
    if stored["constructor"] is not None:
        assert same(parameters(made), stored["constructor"]), (
            f"{name}{inspect.signature(made)} instead of {stored['constructor']}"
        )
    for base in stored["bases"]:
        if hasattr(dy, base):
            assert issubclass(made, getattr(dy, base)), f"{name} is no {base}"


@pytest.mark.parametrize("name", CLASSES)
def test_methods(name) -> None:
    made = getattr(dy, name)
    wrong = []
    for member, stored in CLASSES[name]["members"].items():
        if stored is None or member.startswith("__"):
            ok = hasattr(made, member) or member in getattr(made, "__annotations__", ())
            if not ok and stored is None:  # set by the constructor
                ok = f"self.{member}" in "".join(
                    inspect.getsource(c) for c in made.__mro__ if c.__module__ != "builtins"
                )
            if not ok:
                wrong.append(f"{member} is missing")
            continue
        method = getattr(made, member, None)
        if method is None:
            wrong.append(f"{member} is missing")
            continue
        found = parameters(method)
        if found and found[0][0] == "self":  # positional only where the class is compiled
            found = found[1:]
        if not same(found, stored):
            wrong.append(f"{member}{inspect.signature(method)} instead of {stored}")
    assert wrong == []


@pytest.mark.parametrize("name", API["constants"])
def test_constant(name) -> None:
    value = getattr(dy, name)
    assert type(value).__name__ == API["constants"][name]
    assert name in dy.__all__ or name == "__version__"


@pytest.mark.parametrize("name", FURTHER)
def test_what_only_dynets_cpp_has(name) -> None:
    assert name in dy.__all__
    missing = [m for m in FURTHER[name].split() if not callable(getattr(getattr(dy, name), m, 0))]
    assert missing == []


def test_names_for_the_same_thing() -> None:
    assert dy.Model is dy.ParameterCollection
    assert dy.LSTMBuilder is dy.VanillaLSTMBuilder
    assert dy.__version__ == "2.1"


def test_operators_of_expressions() -> None:
    missing = [name for name in EXPRESSION.split() if not hasattr(dy.Expression, name)]
    assert missing == []
    table = dy.ParameterCollection().add_lookup_parameters((3, 2))
    arguments = {"scalarInput": [1], "vecInput": [2], "inputVector": [[1, 2]]}
    arguments |= {"lookup": [table, 1], "lookup_batch": [table, [1, 2]], "inputTensor": [[1, 2]]}
    for name in SETTABLE:
        assert callable(getattr(dy, name)(*arguments[name]).set), name
    assert callable(dy.pick(dy.inputTensor([1, 2]), 1).set_index)


def test_all_is_what_a_star_imports() -> None:
    assert dy.__all__ == sorted(dy.__all__)
    names: dict[str, object] = {}
    exec("from lazynet.dynet import *", names)
    assert set(dy.__all__) <= set(names)
