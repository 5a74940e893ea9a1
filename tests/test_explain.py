"""`ln.explain`: every reason is shown by a program that has it and denied by one that has not."""

from __future__ import annotations

import inspect
import json
import operator
import random
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lazynet as ln
from lazynet.inspect.source import function_at, short, span

N = 8


def vector(n: int = N) -> ln.Expression:
    return ln.constant(np.ones(n, np.float32))


def reasons(x: Any) -> list[str]:
    return [f.reason for f in ln.explain(x).findings]


def the(reason: str, x: Any) -> Any:
    """The finding of this reason."""
    found = {f.reason: f for f in ln.explain(x).findings}
    assert reason in found, found
    return found[reason]


def lines_of(function: Callable[..., Any], pattern: str) -> list[str]:
    """``file:line`` of the lines of a function that hold a text."""
    source, first = inspect.getsourcelines(function)
    file = inspect.getsourcefile(function)
    return [f"{file}:{first + k}" for k, line in enumerate(source) if pattern in line]


# Programs


def main_example() -> ln.Expression:
    rng = random.Random(0)
    model = ln.Model(seed=0)
    emb = model.lookup(50, N)
    lstm = ln.nn.LSTM(model, N, 16)
    head = ln.nn.Linear(model, 16, 5)
    losses = []
    for k in range(16):
        _, (h, _) = lstm(emb[[rng.randrange(50) for _ in range(rng.randint(3, 9))]])
        losses.append(ln.cross_entropy(head(h), k % 5))
    return ln.mean(losses)


def per_example_parameters(n: int = 32) -> ln.Expression:
    model = ln.Model(seed=0)
    matrices = [model.parameter((N, N), name=f"user{k}") for k in range(n)]
    return ln.sum([ln.sum(ln.tanh(W @ vector())) for W in matrices])


def per_example_rows(n: int = 32) -> ln.Expression:
    """The remedy: a table of matrices."""
    model = ln.Model(seed=0)
    table = model.lookup(n, (N, N))
    return ln.sum([ln.sum(ln.tanh(table[k] @ vector())) for k in range(n)])


def made_of_parameters(n: int = 32) -> ln.Expression:
    model = ln.Model(seed=0)
    return ln.sum([ln.sum(model.parameter((N, N)).T @ vector()) for _ in range(n)])


def columns_of_sentences() -> ln.Expression:
    rng = random.Random(0)
    model = ln.Model(seed=0)
    V, v, emb = model.parameter((16, N)), model.parameter(16), model.lookup(50, N)
    total = []
    for _ in range(24):
        words = [emb[rng.randrange(50)] for _ in range(rng.randint(3, 20))]
        X = ln.stack(words, axis=1)
        weights = ln.softmax(v @ ln.tanh(V @ X))
        total.append(ln.sum(X @ weights))
    return ln.mean(total)


def rows_of_sentences() -> ln.Expression:
    """The remedy: a row for each word."""
    rng = random.Random(0)
    model = ln.Model(seed=0)
    V, v, emb = model.parameter((16, N)), model.parameter(16), model.lookup(50, N)
    total = []
    for _ in range(24):
        X = ln.rebatch([emb[rng.randrange(50)] for _ in range(rng.randint(3, 20))])
        weights = ln.softmax_batch(ln.dot(v, ln.tanh(V @ X)))
        total.append(ln.sum(ln.sum_batch(weights * X)))
    return ln.mean(total)


def two_dtypes(second: str = "float64") -> list[ln.Expression]:
    found = []
    for dtype in ("float32", second):
        table = ln.Model(seed=0, dtype=dtype).lookup(N, N)
        for k in range(N):
            x = table[k]
            for f in (ln.tanh, ln.exp, ln.sin, ln.cos, ln.sigmoid):
                x = f(x)
            found.append(ln.sum(x))
    return found


def recurrence(cell: Callable[..., Any] | None = None) -> ln.Expression:
    rng = random.Random(0)
    model = ln.Model(seed=0)
    W, U, b = model.parameter((16, N)), model.parameter((16, 16)), model.parameter(16)
    emb = model.lookup(50, N)

    def step(x: Any, h: Any) -> Any:
        return ln.tanh(W @ x + U @ h + b)

    if cell is not None:
        step = cell(step)
    total = []
    for _ in range(16):
        h = ln.constant(np.zeros(16, np.float32))
        for _ in range(rng.randint(3, 12)):
            h = step(emb[rng.randrange(50)], h)
        total.append(ln.sum(h))
    return ln.mean(total)


def scanned() -> ln.Expression:
    """The remedy for a recurrence."""
    rng = random.Random(0)
    model = ln.Model(seed=0)
    W, U, b = model.parameter((16, N)), model.parameter((16, 16)), model.parameter(16)
    emb = model.lookup(50, N)

    def cell(x: Any, h: Any) -> Any:
        h = ln.tanh(W @ x + U @ h + b)
        return h, h

    zeros = ln.constant(np.zeros(16, np.float32))
    total = []
    for _ in range(16):
        words = [rng.randrange(50) for _ in range(rng.randint(3, 12))]
        total.append(ln.sum(ln.scan(cell, emb[words], zeros)[1]))
    return ln.mean(total)


def both_directions() -> ln.Expression:
    rng = random.Random(0)
    model = ln.Model(seed=0)
    cells = [(model.parameter((16, N)), model.parameter((16, 16))) for _ in range(2)]
    V, emb = model.parameter((5, 32)), model.lookup(50, N)
    total = []
    for _ in range(16):
        xs = [emb[rng.randrange(50)] for _ in range(rng.randint(4, 9))]
        ends = []
        for (W, U), words in zip(cells, (xs, xs[::-1])):
            h = ln.constant(np.zeros(16, np.float32))
            for x in words:
                h = ln.tanh(W @ x + U @ h)
            ends.append(h)
        total.append(ln.cross_entropy(V @ ln.concatenate(ends), 2))
    return ln.mean(total)


class TreeCell:
    def __init__(self, model: ln.Model, n: int = 16) -> None:
        self.b = model.parameter(5 * n)
        self.U1 = model.parameter((5 * n, n))
        self.U2 = model.parameter((5 * n, n))
        self.leaves = [model.lookup(50, n), model.lookup(50, n)]

    def node(self, h1: Any, c1: Any, h2: Any, c2: Any) -> Any:
        z = ln.affine(self.b, self.U1, h1, self.U2, h2)
        f1, f2, i, o, g = ln.split(z, 5)
        c = ln.sigmoid(i) * ln.tanh(g) + ln.sigmoid(f1) * c1 + ln.sigmoid(f2) * c2
        return ln.sigmoid(o) * ln.tanh(c), c


class FusedTreeCell(TreeCell):
    node = ln.fuse(TreeCell.node)


def trees(kind: type[TreeCell], count: int = 16, largest: int = 16) -> ln.Expression:
    rng = random.Random(0)
    cell = kind(ln.Model(seed=0))

    def tree(size: int) -> Any:
        if size == 1:
            word = rng.randrange(50)
            return [table[word] for table in cell.leaves]
        left = rng.randint(1, size - 1)
        return cell.node(*tree(left), *tree(size - left))

    return ln.mean([ln.sum(tree(rng.randint(4, largest))[0]) for _ in range(count)])


def library_trees() -> ln.Expression:
    rng = random.Random(0)
    model = ln.Model(seed=0)
    cell = ln.nn.NaryTreeLSTM(model, 16, 16, 2)
    emb = model.lookup(50, 16)

    def tree(size: int) -> Any:
        if size == 1:
            return cell(emb[rng.randrange(50)])
        left = rng.randint(1, size - 1)
        return cell(None, [tree(left), tree(size - left)])

    return ln.mean([ln.sum(tree(rng.randint(4, 16))[0]) for _ in range(16)])


def mixed_order(choices: int = 3) -> ln.Expression:
    """Each example goes through the same cells in an order of its own."""
    rng = random.Random(0)
    model = ln.Model(seed=0)
    cells = [model.parameter((N, N)) for _ in range(choices)]
    total = []
    for _ in range(16):
        x = vector()
        for _ in range(16):
            x = ln.tanh(rng.choice(cells) @ x)
        total.append(ln.sum(x))
    return ln.mean(total)


def head_of(wrap: Callable[..., Any] = lambda f: f) -> ln.Expression:
    model = ln.Model(seed=0)
    W, b, V = model.parameter((16, N)), model.parameter(16), model.parameter((4, 16))
    emb = model.lookup(50, N)

    @wrap
    def loss(x: Any, label: int) -> Any:
        h = ln.tanh(W @ x + b)
        h = h * ln.sigmoid(h) + ln.relu(h)
        return ln.cross_entropy(V @ h, label)

    return ln.mean([loss(emb[k % 50], k % 4) for k in range(32)])


def asked_in_the_loop(ask: bool = True) -> list[ln.Expression]:
    W = ln.Model(seed=0).parameter((N, N))
    losses = []
    for _ in range(24):
        loss = ln.sum(ln.tanh(W @ vector()))
        if ask:
            loss.value()
        losses.append(loss)
    return losses


def decoders(count: int, look: bool = True) -> list[ln.Expression]:
    model = ln.Model(seed=0)
    W, emb = model.parameter((N, N)), model.lookup(N, N)
    ends = []
    for _ in range(count):
        h = vector()
        for _ in range(6):
            h = ln.tanh(W @ h + emb[int(np.argmax(h.value())) if look else 0])
        ends.append(ln.sum(h))
    return ends


def constant_matrices(same: bool) -> ln.Expression:
    emb = ln.Model(seed=0).lookup(32, 32)
    M = np.eye(32, dtype=np.float32)
    return ln.mean([ln.sum(ln.constant(M if same else M * k) @ emb[k]) for k in range(32)])


def one_constant_matrix() -> ln.Expression:
    """The remedy: made once."""
    emb = ln.Model(seed=0).lookup(32, 32)
    M = ln.constant(np.eye(32, dtype=np.float32))
    return ln.mean([ln.sum(M @ emb[k]) for k in range(32)])


def two_neurons() -> ln.Expression:
    model = ln.Model(seed=0, dtype="float64")
    w1, b1, w2, b2 = (model.parameter((), init=0.5) for _ in range(4))
    x = ln.constant(1.5, dtype="float64")
    return 0.5 * ln.square(ln.sigmoid(w2 * ln.sigmoid(w1 * x + b1) + b2) - 1.0)


GOOD = {
    "main example": main_example,
    "table of matrices": per_example_rows,
    "rows of sentences": rows_of_sentences,
    "one dtype": lambda: two_dtypes("float32"),
    "scan": scanned,
    "fused trees": lambda: trees(FusedTreeCell),
    "trees of ln.nn": library_trees,
    "fused head": lambda: head_of(ln.fuse),
    "one constant": one_constant_matrix,
    "constants that differ": lambda: constant_matrices(False),
    "asked at the end": lambda: asked_in_the_loop(False),
    "sum of a list": lambda: ln.sum(asked_in_the_loop(False)),
    "two neurons": two_neurons,
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_program_is_left_alone(name: str) -> None:
    x = GOOD[name]()
    report = ln.explain(x)
    assert report.findings == []
    assert "\nNothing to m" in str(report)


def test_the_figures_are_those_of_the_plan() -> None:
    x = recurrence()
    report, plan = ln.explain(x), ln.plan(x)
    assert (report.batches, report.nodes) == (len(plan), plan.nodes)
    assert report.lower_bound == plan.lower_bound
    assert report.rows == sum(b.rows for b in plan.batches)
    assert report.rows_per_batch == pytest.approx(report.rows / report.batches)
    assert sum(k.batches for k in report.kinds) == len(plan)
    assert sum(k.nodes for k in report.kinds) == plan.nodes
    assert report.kinds[0].seconds == max(k.seconds for k in report.kinds)
    assert repr(report).startswith(f"<Explanation: {len(plan)} batches")


@pytest.mark.parametrize(
    "program",
    [main_example, per_example_parameters, columns_of_sentences, recurrence, head_of, two_neurons,
     lambda: trees(TreeCell), mixed_order, lambda: constant_matrices(True)],
)  # fmt: skip
def test_what_was_computed_is_explained_as_what_will_be(program: Callable[[], Any]) -> None:
    x = program()
    before = ln.explain(x).to_dict()
    assert before["planned"] == before["nodes"]
    x.backward()
    after = ln.explain(x).to_dict()
    assert after.pop("planned") == 0
    before.pop("planned")
    assert after == before
    assert str(ln.explain(x)) == str(ln.explain([x]))


def test_nothing_is_computed_or_sealed() -> None:
    x = recurrence()
    ln.explain(x)
    assert "not evaluated" in repr(x)
    assert x.tape.sealed == 0
    assert (x + 1.0).tape is x.tape


# Reasons


def test_parameters_of_single_examples() -> None:
    with ln.debug():
        x = per_example_parameters()
    found = the("parameters", x)
    assert reasons(x) == ["parameters"]
    assert found.batches == 31
    assert "32 matmul of (8, 8), (8,) with 32 different left matrices" in found.text
    assert "user0, user1, user2, ..." in found.text
    assert found.lines == tuple(lines_of(per_example_parameters, "W @ vector()"))
    assert "model.lookup(32, (8, 8))" in found.remedy
    # it saves what was promised, but for reading the table
    assert len(ln.plan(per_example_rows())) == len(ln.plan(x)) - found.batches + 1


def test_matrices_made_of_parameters() -> None:
    found = the("parameters", made_of_parameters())
    assert "transpose(parameter_0)" in found.text
    assert "counts as a parameter" in found.remedy


def test_layers_are_no_parameters_of_examples() -> None:
    model = ln.Model(seed=0)
    layers = [model.parameter((N, N)) for _ in range(4)]
    total = [ln.sum(ln.concatenate([W @ vector() for W in layers])) for _ in range(16)]
    assert "parameters" not in reasons(ln.mean(total))


def test_parameters_hidden_in_affine() -> None:
    model = ln.Model(seed=0)
    W = model.parameter((N, N))
    found = the("parameters", [ln.affine(model.parameter(N), W, vector()) for _ in range(16)])
    assert "16 different biases" in found.text


def test_static_attributes() -> None:
    with ln.debug():
        x = [ln.sum(ln.constant(np.ones((4, 4, 4, 4))), axis=k % 4) for k in range(16)]
    found = the("attributes", x)
    assert found.batches == 3
    assert "16 sum of (4, 4, 4, 4) with axes = (0,), (1,), (2,), (3,)" in found.text
    assert "one axes for all" in found.remedy
    assert "so that one axis is meant" in found.remedy
    alike = [ln.sum(ln.constant(np.ones((4, 4, 4, 4))), axis=2) for _ in range(16)]
    assert reasons(alike) == []


def test_dropout_is_payload_and_its_probability_static() -> None:
    xs = [vector() for _ in range(16)]
    assert reasons([ln.dropout(x, 0.5) for x in xs]) == []
    found = the("attributes", [ln.dropout(x, 0.1 + k % 8 / 10) for k, x in enumerate(xs)])
    assert "dropout of (8,) with p = 0.1, 0.2, 0.3, 0.4, ...: 8 kinds" in found.text


def test_windows_of_several_sizes() -> None:
    images = [ln.constant(np.ones((12, 12, 1), np.float32)) for _ in range(20)]
    x = [ln.max_pool(image, 2 + k % 5) for k, image in enumerate(images)]
    assert "and size = (2, 2), (3, 3)" in the("attributes", x).text


def test_a_sentence_of_one_word() -> None:
    emb = ln.Model(seed=0).lookup(50, N)
    sentences = [ln.stack([emb[k] for k in range(n)]) for n in range(1, 13)]
    x = ln.mean([ln.sum(ln.tanh(sentence)) for sentence in sentences])
    assert "12 stack of 1 argument, 2 arguments, 3 arguments, ..." in the("shapes", x).text


def test_lengths() -> None:
    with ln.debug():  # lines of these nodes, whoever recorded the first of their kinds
        x = columns_of_sentences()
    found = the("shapes", x)
    assert found.batches > 0.8 * ln.explain(x).batches
    assert re.search(r"24 stack of 3 arguments, .*: \d+ different ones", found.text)
    assert "softmax (`" in found.text
    assert "ln.softmax_batch" in found.remedy
    assert len(ln.plan(rows_of_sentences())) <= len(ln.plan(x)) - found.batches


def test_shapes_of_one_argument() -> None:
    x = [ln.softmax(vector(3 + k)) for k in range(8)]
    found = the("shapes", x)
    assert "8 softmax of shapes (3,), (4,), (5,), ...: 8 different ones" in found.text
    assert found.batches == 14  # inputs as well
    assert reasons([ln.softmax(vector(3)) for _ in range(8)]) == []


def test_an_axis_is_no_length() -> None:
    """Attributes that do not follow from the shapes keep kinds apart."""
    x = []
    for k in range(3):
        for axis in (0, 1):
            x.append(ln.softmax(ln.constant(np.ones((3 + k, 3 + k))), axis=axis))
    assert the("shapes", x).batches == 6  # 3 inputs and 6 softmaxes: 1 and 2 are left


@pytest.mark.parametrize("remedy", ["attention", "list"])
def test_what_takes_lengths_in_one_batch(remedy: str) -> None:
    counts = set()
    for lengths in ([3, 3, 3], [3, 7, 11]):
        rows = [[vector() for _ in range(n)] for n in lengths]
        if remedy == "list":
            x = [ln.mean([ln.sum(r), ln.max(r), ln.mean(r)]) for r in rows]
        else:
            x = [ln.nn.DotAttention()(vector(), ln.rebatch(r), ln.rebatch(r))[0] for r in rows]
        counts.add(len(ln.plan(x)))
    assert len(counts) == 1


def test_dtypes() -> None:
    found = the("dtypes", two_dtypes())
    assert found.batches == 7
    assert "lookup_rows of (8, 8), 8 in float32 and 8 in float64" in found.text
    assert "x.astype('float32')" in found.remedy


def test_a_recurrence() -> None:
    with ln.debug():
        x = recurrence()
    found = the("recurrence", x)
    assert "step after step, since each step needs the one before: up to 12 steps" in found.text
    assert found.lines == tuple(lines_of(recurrence, "return ln.tanh"))
    left = re.search(r"leaves (\d+) batches", found.remedy)
    assert left is not None
    fused = ln.plan(recurrence(ln.fuse))
    outside = len(ln.plan(x)) - 12 * 4
    assert len(fused) == int(left[1]) + outside - 1  # what reads the words is fused as well
    assert len(ln.plan(scanned())) <= len(ln.plan(x)) - found.batches


def test_steps_that_are_one_node_each() -> None:
    found = the("recurrence", recurrence(ln.fuse))
    assert "runs step after step" in found.text
    assert "@ln.fuse" not in found.remedy
    assert found.batches == 11


def test_two_recurrences_that_share_operations() -> None:
    found = the("recurrence", both_directions())
    assert "in 2 recurrences" in found.text
    assert "leaves 18 batches" in found.remedy  # 9 steps each


def test_layers_are_no_recurrence() -> None:
    model = ln.Model(seed=0)
    x = [vector() for _ in range(8)]
    for _ in range(6):
        W = model.parameter((N, N))
        x = [ln.tanh(W @ y) for y in x]
    assert "recurrence" not in reasons(x)


@pytest.mark.parametrize(
    ("two", "many"), [(operator.add, "ln.sum"), (ln.maximum, "ln.max"), (ln.minimum, "ln.min")]
)
def test_running_sums(two: Callable[..., Any], many: str) -> None:
    terms = [ln.sum(vector()) for _ in range(32)]
    with ln.debug():
        total = terms[0]
        for term in terms[1:]:
            total = two(total, term)
    found = the("running sum", total)
    assert found.batches == 30
    assert f"{many}(terms) is one node" in found.remedy
    assert reasons(getattr(ln, many.removeprefix("ln."))(terms)) == []


def test_trees() -> None:
    with ln.debug():
        x = trees(TreeCell)
    found = the("tree", x)
    assert "recurrence" not in reasons(x)
    first, *_, last = sorted(found.lines)
    assert [first] == lines_of(TreeCell.node, "ln.affine")
    assert last in lines_of(TreeCell.node, "tanh")
    assert len(ln.plan(trees(FusedTreeCell))) == len(ln.plan(x)) - found.batches


def test_order() -> None:
    x = mixed_order()
    report = ln.explain(x)
    found = the("order", x)
    assert found.batches == report.batches - report.lower_bound
    assert "matmul" in found.text
    assert "wait for tanh" in found.text
    assert "recurrence" not in reasons(x)
    assert "order" not in reasons(mixed_order(1))


def test_trees_whose_nodes_are_of_several_kinds_are_no_cells() -> None:
    rng = random.Random(0)

    def tree(size: int) -> Any:
        if size == 1:
            return vector()
        left = rng.randint(1, size - 1)
        two = rng.choice([operator.add, operator.sub, operator.mul, ln.maximum])
        return two(tree(left), tree(size - left))

    found = reasons([tree(rng.randint(4, 30)) for _ in range(32)])
    assert "order" in found
    assert "tree" not in found


def test_a_function_that_could_be_one_node() -> None:
    with ln.debug():
        x = head_of()
    found = the("function", x)
    assert "in loss: 9 operations" in found.text
    assert "recorded 32 times each" in found.text
    assert found.batches == 8
    assert len(ln.plan(head_of(ln.fuse))) == len(ln.plan(x)) - found.batches


def test_what_leaves_a_function_and_comes_back_is_not_one_node() -> None:
    model = ln.Model(seed=0)
    W = model.parameter((N, N))

    def program() -> ln.Expression:
        first = [ln.tanh(ln.exp(ln.sin(ln.cos(W @ vector())))) for _ in range(8)]
        middle = ln.sum(first)
        return ln.sum([ln.sum(ln.sqrt(ln.square(ln.log(middle * x)))) for x in first])

    with ln.debug():
        x = program()
    assert "function" not in reasons(x)


def test_constants_made_again_and_again() -> None:
    with ln.debug():
        x = constant_matrices(True)
    found = the("constants", x)
    assert "32 matmul with a constant of shape (32, 32) each" in found.text
    assert found.lines[0] in lines_of(constant_matrices, "ln.constant(M")
    x.value()
    assert the("constants", x).text == found.text


# Evaluations


def test_values_asked_for_in_the_loop() -> None:
    losses = asked_in_the_loop()
    report = ln.explain(losses)
    found = the("evaluations", losses)
    assert report.evaluations == 24
    assert "24 evaluations of 4 nodes each: the value of sum" in found.text
    assert "under ln.debug()" in found.text
    assert "ln.values([...])" in found.remedy
    assert found.batches == 23 * 4
    with ln.debug():
        found = the("evaluations", asked_in_the_loop())
    assert found.lines == tuple(lines_of(asked_in_the_loop, "loss.value()"))
    assert f"at `{short(found.lines[0])}` a value is asked for" in found.text


def test_decoders_one_after_another() -> None:
    ends = decoders(8)
    report = ln.explain(ends)
    assert report.planned == 40  # the last step and the sum of each
    assert "49 evaluations, of which the last, of 40 nodes, is to come" in " ".join(
        str(report).split()
    )
    found = the("evaluations", ends)
    assert "6 deep" in found.remedy
    assert "ln.run_together" in found.remedy
    assert reasons(decoders(8, look=False)) != ["evaluations"]


def test_one_decoder() -> None:
    found = the("evaluations", decoders(1))
    assert "Each needs the one before it" in found.remedy
    assert found.batches == 0


@pytest.mark.parametrize("alone", [True, False])
def test_coroutines(alone: bool) -> None:
    model = ln.Model(seed=0)
    W, emb = model.parameter((N, N)), model.lookup(N, N)

    async def example(k: int) -> Any:
        h = ln.constant(np.full(N, k / 9, np.float32))
        for _ in range(6):
            seen = h.value() if alone else await h
            h = ln.tanh(W @ h + emb[int(np.argmax(seen))])
        return ln.sum(h)

    ends = ln.run_together(example(k) for k in range(8))
    if alone:
        assert "48 evaluations were by .value()" in the("evaluations", ends).remedy
    else:
        assert "evaluations" not in reasons(ends)


def test_no_autobatch() -> None:
    x = head_of()
    batched = len(ln.plan(x))
    with ln.no_autobatch():
        found = ln.explain(x).findings
        assert [f.reason for f in found] == ["no_autobatch"]
        x.value()
    assert ln.explain(x).findings == found
    assert f"takes {batched} batches" in found[0].remedy
    assert "Under ln.no_autobatch(): 321 nodes, one at a time." in found[0].text


# The report


def test_findings_come_worst_first_and_the_report_fits_a_screen() -> None:
    x = [per_example_parameters(), columns_of_sentences(), *two_dtypes()]
    report = ln.explain(x)
    seconds = [f.seconds for f in report.findings]
    assert len(seconds) >= 2
    assert seconds == sorted(seconds, reverse=True)
    lines = str(report).splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 100


def test_it_is_data() -> None:
    x = columns_of_sentences()
    report = ln.explain(x)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["batches"] == report.batches
    assert data["findings"][0]["reason"] == "shapes"
    assert data["kinds"][0]["batches"] == report.kinds[0].batches
    assert sum(k["nodes"] for k in data["kinds"]) == data["nodes"]


def test_html() -> None:
    page = ln.explain(columns_of_sentences())._repr_html_()
    assert page.count("<li>") == 1
    assert "<code>" in page
    assert "`" not in page
    for tag in ("div", "ol", "li", "p", "table", "tr", "b", "code", "style"):
        assert page.count(f"<{tag}>") + page.count(f"<{tag} ") == page.count(f"</{tag}>")
    assert "http" not in page


def test_html_escapes_names() -> None:
    model = ln.Model(seed=0)
    Ws = [model.parameter((N, N), name=f"<b>{k}") for k in range(16)]
    page = ln.explain([W @ vector() for W in Ws])._repr_html_()
    assert "&lt;b&gt;0" in page
    assert "/<b>" not in page


def test_lines_are_exact_under_debug() -> None:
    report = ln.explain(recurrence())
    assert not report.exact_lines
    assert "Under ln.debug() they are exact" in str(report)
    with ln.debug():
        x = recurrence()
    report = ln.explain(x)
    assert report.exact_lines
    assert "Under ln.debug() they are exact" not in str(report)
    tanh = [k for k in report.kinds if k.op == "tanh"]
    assert [k.line for k in tanh] == lines_of(recurrence, "return ln.tanh")
    x.value()
    assert ln.explain(x).kinds == report.kinds


def test_file_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "code").mkdir()
    monkeypatch.chdir(tmp_path / "code")
    assert short(f"{tmp_path}/code/net/tagger.py:31") == "net/tagger.py:31"
    assert short(f"{tmp_path}/other/tagger.py:31") == "other/tagger.py:31"
    assert short("<stdin>:3") == "<stdin>:3"
    assert short("unknown line") == "unknown line"
    assert span(["<stdin>:3", "<stdin>:9", "<stdin>:5"]) == "<stdin>:3-9"
    assert span(["a.py:3", "b.py:4"]) == "a.py:3, b.py:4"
    assert span(["a.py:40", "a.py:3", "a.py:5"]) == "a.py:3-5, 40"
    assert span([f"a.py:{n}" for n in range(0, 100, 20)]) == "a.py:0, 20, 40, ..."
    assert span(["unknown line"]) == "unknown line"


def test_the_function_around_a_line() -> None:
    (line,) = lines_of(TreeCell.node, "ln.affine")
    assert function_at(line)[2] == "node"
    assert function_at("<nowhere>:3")[2] == ""


# What does not fit


@pytest.mark.parametrize("given", [None, 3.0, "loss", [None], [[vector()]], np.ones(2)])
def test_no_expression(given: Any) -> None:
    with pytest.raises(ln.LazynetError, match=r"explain: got .*; it takes an expression or a list"):
        ln.explain(given)


def test_nothing_to_explain() -> None:
    assert "no expressions were given" in str(ln.explain([]))
    W = ln.Model(seed=0).parameter((2, 2), name="W")
    assert "parameters (W) are read, not computed" in str(ln.explain(W))
    assert "constants are given, not computed" in str(ln.explain(vector()))
    for x in ([], W, vector()):
        assert "Nothing to explain" in ln.explain(x)._repr_html_()
        assert ln.explain(x).findings == []


def test_history_that_was_let_go() -> None:
    x = ln.tanh(vector()).detach()
    assert "detached is one; how it was computed is no longer known" in str(ln.explain(x))
    y = ln.exp(x)
    assert ln.explain(y).batches == 2


def test_no_grad() -> None:
    with ln.no_grad():
        x = recurrence()
        x.value()
    assert reasons(x) == ["recurrence"]


def test_another_thread() -> None:
    found: list[ln.Expression] = []
    thread = threading.Thread(target=lambda: found.append(ln.tanh(vector())))
    thread.start()
    thread.join()
    with pytest.raises(ln.GraphError, match="another thread"):
        ln.explain(found[0])


def test_inside_a_fused_function() -> None:
    @ln.fuse
    def f(x: Any) -> Any:
        y = ln.tanh(x)
        ln.explain(y)
        return y

    with pytest.raises(ln.FuseError):
        f(vector())


def test_expressions_of_the_dynet_interface() -> None:
    import lazynet.dynet as dy

    dy.renew_cg()
    W = dy.ParameterCollection().add_parameters((4, 4))
    x = dy.inputVector([1.0, 2.0, 3.0, 4.0])
    for _ in range(12):
        x = dy.tanh(W * x)
    assert reasons(x) == ["recurrence"]
    assert reasons([x, x]) == ["recurrence"]


def test_many_nodes() -> None:
    x = trees(TreeCell, count=300, largest=50)
    began = time.perf_counter()
    report = ln.explain(x)
    assert report.nodes > 90_000
    assert time.perf_counter() - began < 20  # a second where nothing else runs
    assert [f.reason for f in report.findings] == ["tree"]


def test_what_rests_on_parameters_alone_is_in_the_table() -> None:
    W = ln.Model(seed=0).parameter((3, 3), name="W")
    report = ln.explain(ln.sum(ln.square(W)))
    assert sorted(k.op for k in report.kinds) == ["square", "sum"]
    assert sum(k.batches for k in report.kinds) == report.batches == 2
    assert sum(k.nodes for k in report.kinds) == report.nodes
    assert "Costliest: " in str(report)
