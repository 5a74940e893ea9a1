"""`lazynet.inspect.view`: what is known of a graph, computed or not."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from workloads import lattices, parsers, taggers_by_op, tree_lstms_by_op

import lazynet as ln
from lazynet.inspect.ancestry import Ancestry, Found
from lazynet.inspect.view import View, view_of


def two_neurons() -> tuple[ln.Expression, dict[str, ln.Expression]]:
    model = ln.Model(seed=0, dtype="float64")
    w = {n: model.parameter((), init=v, name=n) for n, v in [("w1", 0.6), ("b1", -0.2)]}
    x = ln.constant(1.5, dtype="float64")
    h = ln.sigmoid(w["w1"] * x + w["b1"])
    return 0.5 * ln.square(h - 1.0), {**w, "x": x, "h": h}


def facts(view: View) -> list[tuple[Any, ...]]:
    return [(n.op, n.role, n.name, n.arguments, n.shape, n.batch) for n in view.nodes]


def test_a_graph_is_the_same_before_and_after_it_is_computed() -> None:
    loss, _ = two_neurons()
    before = view_of(loss)
    assert not any(n.evaluated for n in before.nodes if n.role == "op")
    assert ln.plan(loss).nodes == before.runs[0].nodes == 7  # nothing was computed
    loss.backward()
    after = view_of(loss)
    assert facts(before) == facts(after)
    assert [b.state for b in before.batches] == ["planned"] * 7
    assert [b.state for b in after.batches] == ["computed"] * 7
    assert [n.batch_number for n in before.nodes] == [n.batch_number for n in after.nodes]
    assert before.evaluations == 0 and after.evaluations == 1
    assert before.lower_bound == after.lower_bound == 7


def test_roles_names_and_formulas() -> None:
    loss, _ = two_neurons()
    view = view_of(loss)
    assert [(n.role, n.name or n.op) for n in view.nodes] == [
        ("parameter", "/w1"), ("parameter", "/b1"), ("input", "input"), ("op", "multiply"),
        ("op", "add"), ("op", "sigmoid"), ("op", "subtract_number"), ("op", "square"),
        ("op", "multiply_number"),
    ]  # fmt: skip
    assert [n.formula for n in view.nodes[3:]] == [
        "v3 = v0 * v2", "v4 = v3 + v1", "v5 = 1 / (1 + e^-v4)", "v6 = v5 - 1", "v7 = v6^2",
        "v8 = 0.5 * v7",
    ]  # fmt: skip
    assert view.nodes[6].payload == "c = 1"
    assert view.roots == (8,)


def test_values_and_gradients_are_those_of_the_expressions() -> None:
    loss, named = two_neurons()
    loss.backward()
    by_name = {n.name: n for n in view_of(loss).nodes}
    w1 = by_name["/w1"]
    assert w1.value is not None and w1.gradient is not None
    assert w1.value == 0.6 and w1.gradient == named["w1"].gradient()
    h = next(n for n in view_of(loss).nodes if n.op == "sigmoid")
    assert h.value == named["h"].value() and h.gradient == named["h"].gradient()
    bare = view_of(loss, values=False, gradients=False)
    assert all(n.value is None and n.gradient is None for n in bare.nodes)


def test_nothing_is_computed_for_a_view() -> None:
    loss, named = two_neurons()
    view = view_of(loss)
    assert [n.value is not None for n in view.nodes] == [True, True, True] + [False] * 6
    assert "not evaluated" in repr(named["h"])
    ln.tanh(loss)  # the tape is open still


def test_values_are_copies_and_small() -> None:
    x = ln.constant(np.zeros(64))
    y = ln.constant(np.zeros(65))
    ln.values([x, y])
    first, second = view_of([x, y]).nodes
    assert first.value is not None and second.value is None
    first.value[0] = 7
    assert x.value()[0] == 0


def test_one_result_used_in_a_later_evaluation() -> None:
    loss, named = two_neurons()
    named["h"].value()  # seals the tape, and what follows lies on another
    later = ln.tanh(loss) + named["h"]
    planned = view_of(later)
    assert [n.op for n in planned.nodes].count("sigmoid") == 1
    assert [run.state for run in planned.runs] == ["computed", "planned"]
    later.value()
    computed = view_of(later)
    assert facts(planned) == facts(computed)


def test_history_is_found_when_its_tape_is_gone() -> None:
    def build() -> tuple[ln.Expression, list[tuple[Any, ...]]]:
        model = ln.Model(seed=0)
        table = model.lookup(10, 4, name="table")
        lstm = ln.nn.LSTM(model, 4, 3)
        ys, (h, c) = lstm(table[[3, 1, 2]])
        z = ln.rebatch([ln.tanh(h), h * c, ln.unbatch(ys)[1]])
        s = ln.sum([ln.exp(h), c])
        ln.values([z, s])
        later = ln.sum_batch(z).sum() + s.sum() + ln.sum(model["table"][2])
        exact = facts(view_of(later))
        later.backward()
        return later, exact

    later, exact = build()
    gc.collect()
    view = view_of(later)
    assert [n.op for n in view.nodes if n.role == "parameter"] == ["parameter"] * 4
    # pointers to rows are seen through, and payloads are gone with the tape: the rest is there
    seen = sorted(n.op for n in view.nodes)
    passed = ("unbatch", "rebatch", "take_rows")
    assert seen == sorted(op for op, *_ in exact if op not in passed)
    lookups = [n for n in view.nodes if n.op.startswith("lookup")]
    assert all(view.nodes[n.arguments[0]].name == "/table" for n in lookups)
    assert {n.number for n in view.nodes} >= {a for n in view.nodes for a in n.arguments}


def test_rows_of_earlier_batches_are_told_apart_when_the_tape_is_gone() -> None:
    def build() -> tuple[ln.Expression, list[float]]:
        xs = [ln.constant([float(k)], dtype="float64") for k in range(5)]
        ys = [ln.exp(x) for x in xs]
        ln.values(ys)
        return ln.rebatch([ys[3], ys[1]]) * 2, [np.exp(3.0), np.exp(1.0)]

    later, expected = build()
    model = ln.Model(seed=0, dtype="float64")
    w = model.parameter((1,), init=1.0, name="w")
    loss = ln.sum_batch(later * w).sum()
    loss.backward()
    gc.collect()
    view = view_of(loss)
    exps = [n for n in view.nodes if n.op == "exp"]
    found = [float(n.value[0]) for n in exps if n.value is not None]
    assert sorted(found) == pytest.approx(sorted(expected))
    inputs = [view.nodes[n.arguments[0]].value for n in exps]
    assert sorted(float(x[0]) for x in inputs if x is not None) == [1.0, 3.0]


def test_history_that_was_let_go_is_an_earlier_value() -> None:
    with ln.no_grad():
        x = ln.constant([1.0, 2.0])
        y = ln.exp(x)
        y.value()
        z = ln.tanh(y)
    z.value()
    del x, y
    gc.collect()
    view = view_of(z)
    assert [(n.op, n.role, n.shape) for n in view.nodes] == [
        ("earlier value", "input", (2,)),
        ("tanh", "op", (2,)),
    ]


def test_several_results_of_one_node() -> None:
    model = ln.Model(seed=0)
    cell = ln.nn.LSTM(model, 3, 2)
    _, (h, c) = cell([ln.constant(np.ones(3))])
    view = view_of([h, c])
    first = next(n for n in view.nodes if "step" in n.op and n.output == 0)
    second = next(n for n in view.nodes if n.output == 1)
    assert second.first == first.number and first.first == first.number
    assert second.arguments == (first.number,)


def test_lines_are_exact_under_debug() -> None:
    plain = view_of(ln.tanh(ln.constant([1.0]))).nodes[1]
    assert not plain.line_is_exact
    with ln.debug():
        x = ln.tanh(ln.constant([1.0]))
    node = view_of(x).nodes[1]
    assert node.line_is_exact and node.place.startswith("test_view.py:")
    x.value()
    assert view_of(x).nodes[1].line == node.line


def test_batches_hold_the_nodes_of_one_kind() -> None:
    xs = [ln.constant([float(k)]) for k in range(4)]
    ys = [ln.exp(x) for x in xs]
    whole = view_of(ys)
    assert [(b.op, len(b.nodes), b.rows, b.size) for b in whole.batches] == [
        ("input", 4, 4, 4),
        ("exp", 4, 4, 4),
    ]
    assert [b.depth for b in whole.batches] == [1, 2]
    ln.values(ys)
    part = view_of(ys[0])
    assert [(len(b.nodes), b.rows, b.size) for b in part.batches] == [(1, 4, 4), (1, 4, 4)]
    assert whole.kinds[whole.batches[1].kind].label == "exp((1,))"


def test_a_parameter_alone() -> None:
    w = ln.Model(seed=0).parameter((2,), init=0.0, name="w")
    view = view_of(w)
    assert [(n.op, n.name, n.batch_number) for n in view.nodes] == [("parameter", "/w", -1)]
    assert view.batches == () and view.runs == ()


def test_expressions_of_the_dynet_module() -> None:
    import lazynet.dynet as dy

    dy.renew_cg()
    w = dy.ParameterCollection().add_parameters((2,))
    e = dy.tanh(w)
    assert view_of(e).nodes[-1].op == "tanh"
    assert view_of(w).nodes[0].role == "parameter"


def _sentences() -> list[ln.Expression]:
    model = ln.Model(seed=0)
    table = model.lookup(20, 4)
    layer = ln.nn.Bidirectional(ln.nn.LSTM(model, 4, 3), ln.nn.LSTM(model, 4, 3))
    attend = model.parameter((6,), name="attend")
    found = []
    for k in range(4):
        ys, _ = layer(table[list(range(k, k + 2 + k % 3))])
        some = ln.sum_batch(ln.take_rows(ys, [1, 0])) + ln.sum_batch(ys)
        found.append(ln.sum(some * attend) + ln.sum(ln.unbatch(ys)[k % 2]))
    return found


@pytest.mark.parametrize(
    "program",
    [
        lambda: tree_lstms_by_op(3, 4, 9),
        lambda: lattices(3),
        lambda: taggers_by_op(2),
        lambda: parsers(2),
        _sentences,
    ],
)
def test_rows_tell_what_tapes_do(program: Callable[[], list[ln.Expression]]) -> None:
    """Arguments found by the rows that batches read are those on the tape, pointers aside."""
    roots = program()
    ln.values(roots)
    ancestry = Ancestry(roots)

    def computed(node: Found) -> set[Found]:
        assert node.kind is not None
        if node.kind.op.alias:
            return {source for a in node.arguments for source in computed(a)}
        return {node}

    checked = 0
    for node in ancestry.nodes:
        if node.leaf is None and node.arguments:
            assert node.kind is not None and not node.kind.position
            by_tape = {source for a in node.arguments for source in computed(a)}
            by_rows = set(ancestry.by_rows(node))
            if node.kind.op.alias:  # one row of several
                assert by_rows <= by_tape and by_rows
            else:
                assert by_rows <= by_tape
                batched = any(a.kind is not None and a.kind.op.alias for a in node.arguments)
                assert batched or by_rows == by_tape
            checked += 1
    assert checked > 20


def chain(n: int) -> ln.Expression:
    x = ln.constant([1.0, 2.0])
    for _ in range(n):
        x = ln.tanh(x) + 0.5
    return x


def test_folding() -> None:
    view = view_of([chain(30), chain(30)])
    assert view.total == 122 and view.fold(200) is view
    by_batch = view.fold(70)
    assert by_batch.folded == "batch" and len(by_batch.nodes) == 61
    assert {n.count for n in by_batch.nodes} == {2}
    by_kind = view.fold(10)
    assert by_kind.folded == "kind"
    assert [(n.op, n.count, n.batches) for n in by_kind.nodes] == [
        ("input", 2, 1),
        ("tanh", 60, 30),
        ("add_number", 60, 30),
    ]
    assert by_kind.nodes[1].arguments == (0, 2)  # the recurrence
    assert by_kind.truncated == 119
    assert by_batch.fold(10).nodes == by_kind.nodes
    assert view.fold(5, "op").folded == "op"


def test_large_graphs_come_folded_and_soon() -> None:
    x = chain(15_000)
    began = time.process_time()
    view = view_of(x)
    took = time.process_time() - began
    assert view.folded == "kind" and view.total == 30_001 and len(view.nodes) == 3
    assert took < 10  # seconds of this process; about half a second where it is fast


def test_as_plain_data() -> None:
    loss, _ = two_neurons()
    loss.backward()
    bad = ln.log(ln.constant([-1.0, 0.0, 1 / 3]))
    bad.value()
    for x in (loss, bad, [loss, bad]):
        data = json.loads(json.dumps(view_of(x).to_dict(), allow_nan=False))
        assert len(data["nodes"]) == data["total"]
    assert data["nodes"][-1]["value"] == ["nan", "-inf", -1.09861]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3.0, "got float 3.0"),
        ("x", "got str 'x'"),
        (None, "got NoneType None"),
        ([], "empty list"),
        ([1.0], "got float 1.0"),
        (np.zeros(3), "got ndarray"),
    ],
)
def test_what_is_no_expression_is_refused(given: Any, said: str) -> None:
    with pytest.raises(ln.ArgumentError, match=said):
        view_of(given)


def test_inside_a_fused_function_it_is_refused() -> None:
    @ln.fuse
    def layer(x: ln.Expression) -> ln.Expression:
        view_of(x)
        return x * 2

    with pytest.raises(ln.FuseError, match="inside a fused function"):
        layer(ln.constant([1.0]))


def _sum(f: Callable[[int], ln.Expression]) -> ln.Expression:
    return ln.sum([f(k) for k in range(3)])


def test_a_computed_node_below_a_planned_one_of_a_list() -> None:
    xs = [ln.constant([float(k)]) for k in range(3)]
    xs[1].value()
    y = _sum(lambda k: xs[k] * 2)
    assert [n.evaluated for n in view_of(y).nodes if n.op == "input"].count(True) >= 1


def test_results_of_one_operation_fold_into_one() -> None:
    xs = [ln.constant([float(k), 1.0, 2.0, 3.0]) for k in range(6)]
    halves = [ln.split(x * 2, 2) for x in xs]
    view = view_of(ln.sum([a * b for a, b in halves]))
    split = [node for node in view.nodes if node.op == "split"]
    assert len(split) == 12
    assert view.in_batches == ln.plan(ln.sum([a * b for a, b in halves])).nodes
    for by in ("batch", "kind"):
        (box,) = [node for node in view.fold(100, by).nodes if node.op == "split"]
        assert (box.count, box.payload, box.arguments) == (6, "2 results", (1,))
