"""The computation graph: checkpoints, immediate computation, pictures, dumps."""

from __future__ import annotations

import gc
import re

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy
from lazynet.tape import Tape


def parameters(seed: int = 0) -> tuple[dy.Parameters, dy.Parameters]:
    rng = np.random.RandomState(seed)
    model = dy.ParameterCollection()
    W, U = model.add_parameters((3, 3)), model.add_parameters((3, 3))
    for p in (W, U):
        p.set_value(rng.standard_normal((3, 3)))
    return W, U


# Checkpoints


def test_revert_ends_what_came_after_the_checkpoint() -> None:
    x = dy.inputTensor([1, 2, 3])
    y = dy.tanh(x)
    dy.cg_checkpoint()
    z = y * 2
    assert z.value() == [2 * v for v in y.value()]
    dy.cg_revert()
    for use in (lambda: z.value(), lambda: z + x, lambda: dy.tanh(z), lambda: z[0], z.dim):
        with pytest.raises(RuntimeError, match=r"stale expression.*dropped by cg_revert"):
            use()
    np.testing.assert_allclose((y + x).value(), np.tanh([1, 2, 3]) + np.array([1, 2, 3]), rtol=1e-6)
    with pytest.raises(RuntimeError, match="cg_revert: there is no checkpoint"):
        dy.cg_revert()
    dy.cg_checkpoint()
    dy.renew_cg()
    with pytest.raises(RuntimeError, match="cg_revert: there is no checkpoint"):
        dy.cg_revert()


@pytest.mark.parametrize("evaluate_before", [False, True])
def test_checkpoints_nest(evaluate_before) -> None:
    x = dy.inputTensor([1, 2, 3])
    graph = dy.cg()
    if evaluate_before:
        x.value()
    graph.checkpoint()
    a = x + 1
    graph.checkpoint()
    b = a + 1
    assert b.value() == [3, 4, 5]
    graph.revert()
    with pytest.raises(RuntimeError):
        b.value()
    c = a * 3
    assert c.value() == [6, 9, 12]
    graph.checkpoint()
    d = c + a
    graph.revert()
    with pytest.raises(RuntimeError):
        d.value()
    assert (c + a).value() == [8, 12, 16]
    graph.revert()
    for e in (a, c):
        with pytest.raises(RuntimeError):
            e.value()
    assert (x * 2).value() == [2, 4, 6]


def test_a_checkpoint_does_not_part_batches() -> None:
    W, _ = parameters()
    before = [W * dy.inputTensor([i, 1, 2]) for i in range(5)]
    dy.cg_checkpoint()
    after = [W * dy.inputTensor([i, 3, 4]) for i in range(5)]
    plan = ln.plan([e.node for e in (*before, *after)])
    assert [(b.op, b.nodes) for b in plan.batches if b.op == "matmul"] == [("matmul", 10)]
    together = dy.npvalues([*before, *after])
    for i in range(5):
        np.testing.assert_allclose(together[5 + i], W.as_array() @ [i, 3, 4], rtol=1e-4)
    dy.cg_revert()
    np.testing.assert_allclose(before[2].npvalue(), together[2])


def test_beam_search() -> None:
    """Each hypothesis is tried and dropped, the best is kept; the reference keeps all."""
    W, U = parameters()

    def step(h: dy.Expression, x: int) -> dy.Expression:
        return dy.tanh(W * h + U * dy.inputTensor(np.eye(3)[x]))

    def search(revert: bool) -> tuple[list[int], list[float]]:
        dy.renew_cg()
        h, path = dy.inputTensor([0.1, 0.2, 0.3]), []
        for _ in range(4):
            scores = []
            for x in range(3):
                if revert:
                    dy.cg_checkpoint()
                scores.append(dy.sum_elems(step(h, x)).value())
                if revert:
                    dy.cg_revert()
            path.append(int(np.argmax(scores)))
            h = step(h, path[-1])
        loss = dy.sum_elems(h)
        loss.backward()
        found = [*h.value(), *W.grad_as_array().ravel(), *U.grad_as_array().ravel()]
        for p in (W, U):
            p.scale_gradient(0)
        return path, found

    path, values = search(False)
    reverted, again = search(True)
    assert reverted == path
    np.testing.assert_allclose(again, values, rtol=1e-5, atol=1e-7)


def test_gradients_flow_through_what_was_there_before_the_checkpoint() -> None:
    W, _ = parameters()
    x = dy.inputTensor([1, 2, 3])
    y = W * x
    dy.cg_checkpoint()
    dy.sum_elems(dy.square(y)).backward()
    first = W.grad_as_array()
    dy.cg_revert()
    W.scale_gradient(0)
    dy.sum_elems(dy.square(y)).backward()
    np.testing.assert_allclose(W.grad_as_array(), first, rtol=1e-6)
    assert first.any()


def test_inputs_set_between_checkpoints() -> None:
    x = dy.scalarInput(2)
    y = x * 3
    assert y.value() == 6
    dy.cg_checkpoint()
    z = y + 1
    assert z.value() == 7
    dy.cg_revert()
    x.set(5)
    assert y.value() == 15
    assert (y + 1).value() == 16


@pytest.mark.parametrize("evaluated", [False, True])
def test_memory_is_given_back(evaluated) -> None:
    x = dy.inputTensor(np.ones(1000))
    kept = x + 1
    gc.collect()
    before = sum(len(o) for o in gc.get_objects() if isinstance(o, Tape))
    for _ in range(20):
        dy.cg_checkpoint()
        y = kept
        for _ in range(10):
            y = dy.tanh(y)
        if evaluated:
            y.value()
        del y
        dy.cg_revert()
    gc.collect()
    nodes = sum(len(o) for o in gc.get_objects() if isinstance(o, Tape))
    assert nodes < before + 60, "those of the twenty searches are gone"
    assert kept.value()[0] == 2


def test_builders_go_on_after_a_revert() -> None:
    model = dy.ParameterCollection()
    builder = dy.VanillaLSTMBuilder(1, 3, 2, model)
    builder.set_dropout(0.5)
    x = dy.inputTensor([1, 2, 3])
    dy.cg_checkpoint()
    inside = builder.initial_state().add_input(x).output()
    assert len(inside.value()) == 2
    dy.cg_revert()
    first = builder.initial_state().add_input(x).output()
    again = builder.initial_state().add_input(x).output()
    assert first.value() == again.value(), "one mask for all sequences of a graph"


# Immediate computation


def test_immediate_computation_finds_the_line() -> None:
    dy.renew_cg(immediate_compute=True, check_validity=True)
    x = dy.inputTensor([1.0, 0.0])
    y = x - 1
    assert ln.execute.evaluated(y.node)
    with pytest.raises(RuntimeError, match=r"log: .*NaN or infinity"):
        dy.log(y)
    dy.cg_checkpoint()
    with pytest.raises(RuntimeError, match=r"log: .*NaN or infinity"):
        dy.log(y)
    dy.renew_cg(immediate_compute=True)
    assert np.isnan(dy.log(dy.inputTensor([-1.0, 1.0])).value()[0])
    dy.renew_cg()
    y = dy.log(dy.inputTensor([-1.0, 1.0]))
    assert not ln.execute.evaluated(y.node)


# The graph object


def test_methods_of_the_graph() -> None:
    graph = dy.renew_cg()
    assert graph is dy.cg() and graph.version() == dy.cg_version()
    assert graph.renew().version() == graph.version()
    x = dy.inputTensor([1, 2, 3])
    y = dy.sum_elems(dy.square(x))
    assert graph.forward(y) is None and graph.inc_forward(y) is None
    assert graph.forward_scalar(y) == graph.inc_forward_scalar(y) == 14
    assert graph.forward_vec(x) == graph.inc_forward_vec(x) == [1, 2, 3]
    graph.backward(y)
    assert x.gradient().tolist() == [2, 4, 6]
    last = int(str(y).split()[1].split("/")[0])
    assert graph.forward_scalar(last) == 14
    with pytest.raises(RuntimeError, match="Do not instantiate ComputationGraph directly"):
        dy.ComputationGraph()
    for bad in (99, -1, "x", None):
        with pytest.raises(IndexError, match=r"ComputationGraph\.forward: got"):
            graph.forward(bad)


def test_literals() -> None:
    graph = dy.cg()
    x = graph.inputMatrixLiteral([1, 2, 3, 4, 5, 6], (2, 3))
    assert x.npvalue().tolist() == [[1, 3, 5], [2, 4, 6]]
    x.set([6, 5, 4, 3, 2, 1])
    assert x.npvalue().tolist() == [[6, 4, 2], [5, 3, 1]]
    x = graph.inputMatrixLiteral([1, 2, 3, 4, 5, 6], (3,), 2)
    assert x.dim() == ((3,), 2) and x.npvalue().tolist() == [[1, 4], [2, 5], [3, 6]]
    x = graph.inputSparseTensor([0, 3], [1.0, 2.0], (2, 3))
    assert x.npvalue().tolist() == [[1, 0, 0], [0, 2, 0]]
    x = graph.inputSparseTensor([0, 7], [1.0, 2.0], (2, 3), 2, 9.0)
    assert x.dim() == ((2, 3), 2)
    assert x.npvalue()[:, :, 0].tolist() == [[1, 9, 9], [9, 9, 9]]
    assert x.npvalue()[:, :, 1].tolist() == [[9, 9, 9], [2, 9, 9]]
    for call, error, message in (
        (lambda: graph.inputMatrixLiteral([1, 2], 2), TypeError, "must be a tuple"),
        (lambda: graph.inputMatrixLiteral([1, 2], (3,)), ValueError, "got 2 numbers"),
        (lambda: graph.inputMatrixLiteral(None, (3,)), TypeError, "a flat list of numbers"),
        (lambda: graph.inputMatrixLiteral([1], (1,), 0), ValueError, "the batch size 0"),
        (lambda: graph.inputSparseTensor([9], [1], (3,)), ValueError, "from 0 to 2"),
        (lambda: graph.inputSparseTensor([0, 1], [1], (3,)), ValueError, "2 places and 1 numbers"),
        (lambda: graph.inputSparseTensor(["a"], [1], (3,)), TypeError, "a list of integers"),
        (lambda: graph.inputMatrixLiteral([1], (1,), 1, "GPU:7"), RuntimeError, "GPU:7"),
    ):
        with pytest.raises(error, match=message):
            call()


# Pictures


def edges(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^  (\w+) -> (\w+);$", text, re.M)


def labels(text: str) -> dict[str, str]:
    return dict(re.findall(r'^  (\w+) \[label="(.*)"\] ?;$', text, re.M))


def network() -> dict[str, object]:
    model = dy.ParameterCollection()
    W, table = model.add_parameters((3, 4)), model.add_lookup_parameters((5, 4))
    x, y = table[2], dy.inputTensor([1, 2, 3, 4])
    z = W * (x + y)
    return {"W": W, "table": table, "x": x, "y": y, "z": z, "out": dy.concatenate([z, z]) * 2.0}


def test_text_picture(capsys) -> None:
    kept = network()
    assert dy.print_text_graphviz() is None
    text = capsys.readouterr().out
    assert text.startswith("digraph G {\n  rankdir=LR;\n  nodesep=.05;\n") and text.endswith("}\n")
    formulas = [label.split(" = ")[1] for label in labels(text).values()]
    assert sorted(formulas) == sorted(
        ["lookup(/_1, 2)", "constant({4})", "v1 + v2", "parameters({3,4}) /_0", "v4 * v3",
         "concatenate(v5, v5)", "v6 * 2.0"]
    )  # fmt: skip
    assert ("N4", "N5") in edges(text) and ("N3", "N5") in edges(text)
    kept["out"].value()
    dy.cg().print_graphviz()
    assert capsys.readouterr().out == text, "what was computed is drawn as before"


def test_picture(capsys) -> None:
    kept = network()
    dy.print_graphviz()
    text = capsys.readouterr().out
    assert "  node [shape=ellipse];  N4\n" in text
    assert labels(text)["N5"] == r"{3}\nv5 = v4 * v3"
    assert labels(text)["N4"].startswith(r"{{3,4}}\n")
    names = {kept["W"]: "W", kept["table"]: "words", kept["z"]: "hidden"}
    dy.print_graphviz(
        compact=True,
        expression_names=names,
        lookup_names={"words": ["zero", "one", "two", "three", "four"]},
    )
    compact = capsys.readouterr().out
    assert labels(compact) == {
        "N1": r"{{4}}\n\"two\"",
        "N2": r"{{4}}\ninput",
        "N3": r"{4}\n+",
        "N4": r"{{3,4}}\nW",
        "N5": r"{3}\nhidden\n*",
        "N6": r"{6}\ncat",
        "N7": r"{6}\n*(2.0)",
    }
    assert edges(compact) == edges(text)
    dy.print_graphviz(compact=True, show_dims=False)
    assert labels(capsys.readouterr().out)["N7"] == "*(2.0)"
    with pytest.raises(TypeError, match="print_graphviz: got a name of 'W'"):
        dy.print_graphviz(expression_names={"W": "W"})


def test_picture_of_recurrent_networks(capsys) -> None:
    model = dy.ParameterCollection()
    builder, other = (dy.VanillaLSTMBuilder(1, 2, 3, model) for _ in range(2))
    xs = [dy.inputTensor([i, 1]) for i in range(2)]
    state = builder.initial_state().add_input(xs[0]).add_input(xs[1])
    dy.print_graphviz(compact=True)
    text = capsys.readouterr().out
    assert text.count("peripheries=2") == 1
    dotted = re.findall(r"(\w+) -> (\w+) \[style=dotted\]", text)
    assert len(dotted) == 1 and dotted[0] not in edges(text)
    assert len(labels(text)) == 4, "two inputs and two steps; weights and zeros are left out"
    assert state.output().dim() == ((3,), 1)
    dy.renew_cg()
    xs = [dy.inputTensor([i, 1]) for i in range(2)]
    there = builder.initial_state().transduce(xs)
    back = other.initial_state().transduce(xs[::-1])[::-1]
    both = [dy.concatenate([a, b]) for a, b in zip(there, back)]
    dy.print_graphviz(compact=True)
    plain = labels(capsys.readouterr().out)
    dy.print_graphviz(compact=True, collapse_birnns=True)
    collapsed = labels(capsys.readouterr().out)
    assert len(plain) == 6 and len(collapsed) == 3
    assert both[0].dim() == ((6,), 1)


def test_dump(tmp_path, capsys) -> None:
    x = dy.inputTensor([[1, 2], [3, 4]])
    y = dy.sum_elems(dy.square(x))
    y.backward()
    dy.dump_cg()
    text = capsys.readouterr().out
    assert text.splitlines()[:7] == [
        "Node 0", "Value: ", "1 2", "3 4", "Gradient: ", "2 4", "6 8",
    ]  # fmt: skip
    assert "Value: \n30\nGradient: \n1\n" in text
    path = tmp_path / "graph.txt"
    dy.dump_cg(str(path), show_gradients=False)
    assert "Gradient" not in path.read_text() and "Value: \n30" in path.read_text()
    dy.cg().dump(str(path), True, True, True)
    assert set(path.read_text().splitlines()[1:3]) == {"Value: valid", "Gradient: valid"}
    z = dy.log(x - 1)
    z.value()
    dy.dump_cg(nan_check_only=True)
    assert "Value: invalid" in capsys.readouterr().out


def test_dump_of_a_batch(capsys) -> None:
    x = dy.inputTensor(np.arange(6).reshape(3, 2), batched=True) * 1
    x.value()
    dy.dump_cg(show_gradients=False)
    assert capsys.readouterr().out.count("Value: \n0\n2\n4\n1\n3\n5\n") == 2
