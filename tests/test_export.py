"""`ln.to_networkx` and `ln.to_dot`."""

from __future__ import annotations

import re
import sys
from typing import Any

import networkx
import numpy as np
import pytest

import lazynet as ln
from lazynet.inspect.export import quoted


def test_networkx_holds_all_facts() -> None:
    model = ln.Model(seed=0)
    w = model.parameter((2,), init=0.5, name="w")
    x = ln.constant([1.0, 2.0], dtype="float32")
    y = ln.sum(x * x * w)
    y.backward()
    graph = ln.to_networkx(y)
    assert isinstance(graph, networkx.MultiDiGraph)
    assert networkx.is_directed_acyclic_graph(graph)
    by_op = {graph.nodes[v]["op"]: v for v in graph}
    parameter = graph.nodes[by_op["parameter"]]
    assert (parameter["name"], parameter["role"], parameter["shape"]) == ("/w", "parameter", (2,))
    np.testing.assert_array_equal(parameter["gradient"], w.gradient())
    assert graph.number_of_edges(by_op["input"], by_op["input"]) == 0
    square = next(v for v in graph if graph.number_of_edges(by_op["input"], v) == 2)
    assert sorted(d["position"] for *_, d in graph.in_edges(square, data=True)) == [0, 1]
    assert [v for v in graph if graph.nodes[v]["root"]] == [by_op["sum"]]
    assert graph.nodes[by_op["sum"]]["value"] == y.value()
    assert len(graph.graph["batches"]) == graph.graph["lower_bound"] == 4


def test_networkx_is_not_folded() -> None:
    x = ln.constant([1.0])
    for _ in range(500):
        x = ln.tanh(x)
    assert len(ln.to_networkx([x, x])) == 501


def test_without_networkx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(ln.MissingPackageError, match=r"pip install 'lazynet\[viz\]'"):
        ln.to_networkx(ln.constant(1.0))


def test_dot_has_every_node_and_edge() -> None:
    x = ln.constant([1.0, 2.0])
    y = x * x + ln.exp(x)
    text = ln.to_dot(y)
    assert text.startswith("digraph lazynet {\n") and text.endswith("\n}")
    assert re.findall(r"^  (v\d+) \[", text, re.M) == ["v0", "v1", "v2", "v3"]
    edges = re.findall(r"^  v(\d+) -> v(\d+);", text, re.M)
    assert edges == [("0", "1"), ("0", "1"), ("0", "2"), ("1", "3"), ("2", "3")]
    assert text.count("penwidth=3") == 1


def test_dot_quotes() -> None:
    assert quoted('a "b" \\ c\nd') == '"a \\"b\\" \\\\ c\\nd"'
    w = ln.Model(seed=0).parameter((1,), name='w"; x [label="')
    text = ln.to_dot(w)
    bare = re.sub(r'"(\\.|[^"\\])*"', '""', text)
    assert bare.count("label=") == 1 and '"' not in bare.replace('""', "")


@pytest.mark.parametrize("function", [ln.to_dot, ln.to_networkx])
@pytest.mark.parametrize("given", [None, 1.0, [], "x"])
def test_what_is_no_expression(function: Any, given: Any) -> None:
    with pytest.raises(ln.ArgumentError, match=f"^{function.__name__}: got"):
        function(given)
