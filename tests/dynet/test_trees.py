"""Builders that DyNet has in C++ only: against formulas in NumPy, finite differences, batching."""

from __future__ import annotations

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy

TREES = (
    [(0, []), (1, []), (2, [0, 1]), (3, []), (4, [2, 3])],
    [(0, []), (1, [0]), (2, []), (3, [1, 2, 0])],
    [(5, [])],
)
"""Nodes with their children, the children first."""


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def fill(builder) -> None:
    rng = np.random.RandomState(3)
    for p in builder.param_collection().parameters_list():
        p.set_value(rng.standard_normal(p.shape()) * 0.5)


def inputs(tree: list, dim: int = 4, seed: int = 0) -> dict[int, np.ndarray]:
    rng = np.random.RandomState(seed)
    return {i: rng.standard_normal(dim) for i, _ in tree}


def run(builder, tree: list, xs: dict[int, np.ndarray]) -> dict[int, dy.Expression]:
    builder.start_new_sequence()
    return {i: builder.add_input(i, children, dy.inputTensor(xs[i])) for i, children in tree}


def nary(builder, tree: list, xs: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """The definition, node by node."""
    N, states = builder.N, {}
    for node, children in tree:
        x, own = xs[node], []
        for layer, parameters in enumerate(builder.get_parameters()):
            Wi, bi, Wf, bf, Wo, bo, W, b, *rest = [p.as_array() for p in parameters]
            Ui, Vi, Uo, Vo, U = [rest[k * N : (k + 1) * N] for k in range(5)]
            Uf, Vf = rest[5 * N : 5 * N + N * N], rest[5 * N + N * N :]
            i, o, g = Wi @ x + bi, Wo @ x + bo, W @ x + b
            kept = np.zeros_like(b)
            below = [states[child][layer] for child in children]
            for j, (c, h) in enumerate(below):
                e = min(j, N - 1)
                i, o, g = i + Ui[e] @ h + Vi[e] @ c, o + Uo[e] @ h + Vo[e] @ c, g + U[e] @ h
            for k, (c_k, _) in enumerate(below):
                f = Wf @ x + bf + 1
                for j, (c, h) in enumerate(below):
                    place = min(j, N - 1) * N + min(k, N - 1)
                    f = f + Uf[place] @ h + Vf[place] @ c
                kept = kept + sigmoid(f) * c_k
            c = sigmoid(i) * np.tanh(g) + kept
            x = sigmoid(o) * np.tanh(c)
            own.append((c, x))
        states[node] = own
    return {node: own[-1][1] for node, own in states.items()}


def lstm(layers: list, sequence: list[np.ndarray]) -> np.ndarray:
    """The last output of a vanilla LSTM."""
    for W, U, b in [[p.as_array() for p in layer] for layer in layers]:
        n = len(b) // 4
        c, h, outputs = np.zeros(n), np.zeros(n), []
        for x in sequence:
            i, f, o, g = np.split(W @ x + U @ h + b, 4)
            c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            outputs.append(h)
        sequence = outputs
    return sequence[-1]


def sequential(builder, tree: list, xs: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """The definition of both sequence builders."""
    parameters, found = builder.get_parameters(), {}
    for node, children in tree:
        below = [found[child] for child in children]
        if len(parameters) == builder.layers:
            found[node] = lstm(parameters, [xs[node], *below])
        else:
            ahead, back = parameters[: builder.layers], parameters[builder.layers :]
            both = [lstm(ahead, [xs[node], *below]), lstm(back, [xs[node], *below[::-1]])]
            found[node] = np.concatenate(both)
    return found


MAKE = {
    "n-ary": lambda m: dy.NaryTreeLSTMBuilder(2, 1, 4, 3, m),
    "n-ary, two layers": lambda m: dy.NaryTreeLSTMBuilder(2, 2, 4, 3, m),
    "n-ary, one child": lambda m: dy.NaryTreeLSTMBuilder(1, 1, 4, 3, m),
    "unidirectional": lambda m: dy.UnidirectionalTreeLSTMBuilder(1, 4, 4, m),
    "bidirectional, two layers": lambda m: dy.BidirectionalTreeLSTMBuilder(2, 4, 4, m),
}


@pytest.fixture(params=list(MAKE))
def builder(request):
    made = MAKE[request.param](dy.ParameterCollection())
    fill(made)
    return made


@pytest.mark.parametrize("tree", TREES)
def test_values_are_those_of_the_definition(builder, tree) -> None:
    xs = inputs(tree)
    expected = (nary if hasattr(builder, "N") else sequential)(builder, tree, xs)
    for node, y in run(builder, tree, xs).items():
        np.testing.assert_allclose(y.npvalue(), expected[node], rtol=1e-4, atol=1e-6)
    root = tree[-1][0]
    assert builder.output(root).value() == builder.back().value()
    assert builder.back().dim() == ((builder.hidden_dim,), 1)


def test_gradients_by_finite_differences(builder) -> None:
    tree = TREES[1]
    xs = inputs(tree)
    reference = nary if hasattr(builder, "N") else sequential
    weights = np.random.RandomState(5).standard_normal(builder.hidden_dim)
    leaves = {i: dy.inputTensor(x) for i, x in xs.items()}
    builder.start_new_sequence()
    for i, children in tree:
        y = builder.add_input(i, children, leaves[i])
    loss = dy.sum_elems(dy.cmult(y, dy.inputTensor(weights)))
    loss.backward()
    gradients = [p.grad_as_array() for p in builder.param_collection().parameters_list()]
    assert sum(bool(g.any()) for g in gradients) >= len(gradients) - 4
    rng = np.random.RandomState(6)

    def change(move) -> float:
        values = []
        for step in (1e-3, -1e-3):
            put_back = move(step)
            values.append(float(reference(builder, tree, xs)[tree[-1][0]] @ weights))
            put_back()
        return (values[0] - values[1]) / 2e-3

    for i, x in list(xs.items()):
        direction = rng.standard_normal(x.shape)

        def move_input(step, i=i, x=x, direction=direction):
            xs[i] = x + step * direction
            return lambda: xs.update({i: x})

        expected = float((leaves[i].gradient() * direction).sum())
        assert np.isclose(change(move_input), expected, rtol=1e-2, atol=1e-4)
    for p, gradient in zip(builder.param_collection().parameters_list(), gradients):
        direction = rng.standard_normal(p.shape())
        before = p.as_array()

        def move(step, p=p, direction=direction, before=before):
            p.set_value(before + step * direction)
            return lambda: p.set_value(before)

        assert np.isclose(change(move), (gradient * direction).sum(), rtol=2e-2, atol=1e-3)


def test_one_node_for_each_tree_node_and_trees_batch() -> None:
    model = dy.ParameterCollection()
    builder = dy.NaryTreeLSTMBuilder(2, 2, 4, 3, model)
    roots = []
    for k in range(10):
        run(builder, TREES[0], inputs(TREES[0], seed=k))
        roots.append(builder.back().node)
    batches = ln.plan(roots).batches
    steps = [b for b in batches if b.op != "input"]
    assert sorted(b.nodes for b in steps) == [10, 10, 30], "leaves, then two levels"
    builder = dy.UnidirectionalTreeLSTMBuilder(1, 4, 4, model)
    roots = []
    for k in range(10):
        run(builder, TREES[k % 2], inputs(TREES[k % 2], seed=k))
        roots.append(builder.back().node)
    scans = [b for b in ln.plan(roots).batches if b.op not in ("input", "rebatch", "unbatch")]
    assert len(scans) <= 4, "nodes batch whatever the number of their children"


def test_minibatches_of_one_tree(builder) -> None:
    tree = TREES[0]
    several = [inputs(tree, seed=k) for k in range(3)]
    builder.start_new_sequence()
    for i, children in tree:
        x = dy.inputTensor(np.stack([xs[i] for xs in several], axis=1), batched=True)
        y = builder.add_input(i, children, x)
    assert y.dim() == ((builder.hidden_dim,), 3)
    together = y.npvalue()
    for k, xs in enumerate(several):
        run(builder, tree, xs)
        np.testing.assert_allclose(together[:, k], builder.back().npvalue(), rtol=1e-4, atol=1e-6)


def test_dropout(builder) -> None:
    tree, xs = TREES[0], inputs(TREES[0])
    plain = run(builder, tree, xs)[4].value()
    builder.set_dropout(0.5)
    dy.renew_cg()
    dropped = run(builder, tree, xs)[4].value()
    assert dropped != plain
    dy.reset_random_seed(1)
    dy.renew_cg()
    first = run(builder, tree, xs)[4].value()
    dy.reset_random_seed(1)
    dy.renew_cg()
    assert run(builder, tree, xs)[4].value() == first
    builder.disable_dropout()
    dy.renew_cg()
    np.testing.assert_allclose(run(builder, tree, xs)[4].value(), plain, rtol=1e-5)
    for bad, error in ((-0.5, ValueError), (2, ValueError), ("x", TypeError), (None, TypeError)):
        with pytest.raises(error, match=type(builder).__name__):
            builder.set_dropout(bad)


def test_dropout_keeps_the_mean_and_rate_1_drops_everything() -> None:
    builder = dy.NaryTreeLSTMBuilder(2, 1, 4, 3, dy.ParameterCollection())
    fill(builder)
    builder.set_dropout(1)
    assert run(builder, TREES[0], inputs(TREES[0]))[4].value() == [0, 0, 0]
    builder.set_dropout(0.25)
    x = dy.inputTensor(np.zeros((4, 3000)), batched=True)
    builder.start_new_sequence()
    values = builder.add_input(0, [], x).npvalue()
    full = nary(builder, [(0, [])], {0: np.zeros(4)})[0]
    kept = values != 0
    assert abs(kept.mean() - 0.75) < 0.02
    np.testing.assert_allclose(values[:, kept.all(axis=0)][:, 0], full / 0.75, rtol=1e-4)


def test_without_update_parameters_get_no_gradient(builder) -> None:
    xs = inputs(TREES[0])
    builder.start_new_sequence(update=False)
    leaf = dy.inputTensor(xs[0])
    builder.add_input(0, [], leaf)
    builder.add_input(1, [], dy.inputTensor(xs[1]))
    dy.sum_elems(builder.add_input(2, [0, 1], dy.inputTensor(xs[2]))).backward()
    assert all(not p.grad_as_array().any() for p in builder.param_collection().parameters_list())
    assert leaf.gradient().any()


def test_a_builder_of_the_same_form(builder) -> None:
    model = dy.ParameterCollection()
    again = type(builder).from_spec(builder.spec, model)
    assert again.spec == builder.spec and again.whoami() == type(builder).__name__
    mine, theirs = (b.param_collection().parameters_list() for b in (builder, again))
    assert [p.shape() for p in mine] == [p.shape() for p in theirs]
    assert [p.name() for p in mine] == [p.name() for p in theirs]


def test_bad_arguments(builder) -> None:
    name = type(builder).__name__
    x = dy.inputTensor([1, 2, 3, 4])
    builder.start_new_sequence()
    builder.add_input(0, [], x)
    for arguments, error, message in (
        ((1, [], None), TypeError, "got None; it takes an expression"),
        ((1, [], dy.inputTensor([1, 2])), ValueError, "got x of dimensions {2}; it takes {4}"),
        ((1, [7], x), ValueError, "node 7 was not added"),
        ((1, 0, x), TypeError, "got 0 as children"),
        ((1, ["a"], x), TypeError, "got node 'a'"),
        ((-1, [], x), ValueError, "got node -1"),
        ((None, [], x), TypeError, "got node None"),
    ):
        with pytest.raises(error) as caught:
            builder.add_input(*arguments)
        assert str(caught.value).startswith(f"{name}.add_input: ") and message in str(caught.value)
    builder.set_num_elements(2)
    with pytest.raises(ValueError, match=r"got node 2; numbers go from 0 to 1"):
        builder.add_input(2, [], x)
    with pytest.raises(ValueError, match="output: node 1 was not added"):
        builder.output(1)
    dy.renew_cg()
    with pytest.raises(RuntimeError, match=r"add_input: child 0: stale expression"):
        builder.add_input(1, [0], dy.inputTensor([1, 2, 3, 4]))
    builder.start_new_sequence()
    with pytest.raises(ValueError, match="back: no node was added"):
        builder.back()


def test_bad_settings() -> None:
    model = dy.ParameterCollection()
    with pytest.raises(TypeError, match="this is the interface"):
        dy.TreeLSTMBuilder(1, 2, 2, model)
    with pytest.raises(ValueError, match="they must be equal"):
        dy.UnidirectionalTreeLSTMBuilder(1, 2, 4, model)
    with pytest.raises(ValueError, match="it must be even"):
        dy.BidirectionalTreeLSTMBuilder(1, 3, 3, model)
    with pytest.raises(ValueError, match="N: got 0"):
        dy.NaryTreeLSTMBuilder(0, 1, 3, 3, model)
    with pytest.raises(TypeError, match="got None as model"):
        dy.NaryTreeLSTMBuilder(2, 1, 3, 3, None)


# DeepLSTMBuilder


def deep(builder, sequence: list[np.ndarray]) -> list[np.ndarray]:
    """The definition, step by step."""
    n = builder.hidden_dim
    cs, hs = np.zeros((builder.layers, n)), np.zeros((builder.layers, n))
    outputs = []
    for x in sequence:
        seen = x
        for k, layer in enumerate(builder.get_parameters()):
            Wi, Ui, Vi, bi, Wo, Uo, Vo, bo, W, U, b = [p.as_array() for p in layer]
            i = sigmoid(Wi @ seen + Ui @ hs[k] + Vi @ cs[k] + bi)
            cs[k] = (1 - i) * cs[k] + i * np.tanh(W @ seen + U @ hs[k] + b)
            hs[k] = sigmoid(Wo @ seen + Uo @ hs[k] + Vo @ cs[k] + bo) * np.tanh(cs[k])
            seen = np.concatenate([hs[k], x])
        outputs.append(hs.reshape(-1).copy())
    return outputs


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_deep_lstm(layers) -> None:
    builder = dy.DeepLSTMBuilder(layers, 4, 3, dy.ParameterCollection())
    fill(builder)
    rng = np.random.RandomState(0)
    sequence = [rng.standard_normal(4) for _ in range(5)]
    expected = deep(builder, sequence)
    xs = [dy.inputTensor(x) for x in sequence]
    states = builder.initial_state().add_inputs(xs)
    singly = builder.initial_state()
    for state, y, x, right in zip(states, builder.initial_state().transduce(xs), xs, expected):
        singly = singly.add_input(x)
        for found in (state.output(), y, singly.output()):
            assert found.dim() == ((3 * layers,), 1)
            np.testing.assert_allclose(found.npvalue(), right, rtol=1e-4, atol=1e-6)
        h = [e.npvalue() for e in singly.h()]
        np.testing.assert_allclose(np.concatenate(h), right, rtol=1e-4, atol=1e-6)
        assert len(singly.s()) == 2 * layers
    weights = rng.standard_normal(3 * layers)
    dy.sum_elems(dy.cmult(singly.output(), dy.inputTensor(weights))).backward()
    for p in builder.param_collection().parameters_list():
        direction = rng.standard_normal(p.shape())
        before, gradient, near = p.as_array(), p.grad_as_array(), []
        for step in (1e-3, -1e-3):
            p.set_value(before + step * direction)
            near.append(float(deep(builder, sequence)[-1] @ weights))
        p.set_value(before)
        derivative = (near[0] - near[1]) / 2e-3
        assert np.isclose(derivative, (gradient * direction).sum(), rtol=2e-2, atol=1e-3)


def test_deep_lstm_has_one_node_for_each_layer_and_its_own_dropout() -> None:
    builder = dy.DeepLSTMBuilder(3, 4, 3, dy.ParameterCollection())
    fill(builder)
    states = [builder.initial_state().add_input(dy.inputTensor([i, 1, 2, 3])) for i in range(6)]
    steps = [b for b in ln.plan([s.output().node for s in states]).batches if b.op != "input"]
    assert [b.nodes for b in steps] == [6, 6, 6]
    xs = [dy.inputTensor([1, 2, 3, 4])] * 2
    plain = builder.initial_state().transduce(xs)[-1].value()
    builder.set_dropout(0.5)
    dropped = builder.initial_state().transduce(xs)[-1].value()
    assert dropped != plain and 0.0 in dropped
    builder.disable_dropout()
    np.testing.assert_allclose(builder.initial_state().transduce(xs)[-1].value(), plain, rtol=1e-5)


@pytest.mark.parametrize("name", [*MAKE, "deep"])
def test_builders_are_saved_and_loaded(name, tmp_path) -> None:
    make = MAKE.get(name, lambda m: dy.DeepLSTMBuilder(2, 4, 3, m))
    model = dy.ParameterCollection()
    builder = make(model)
    fill(builder)
    dy.save(str(tmp_path / "model"), [builder])
    (again,) = dy.load(str(tmp_path / "model"), dy.ParameterCollection())
    assert type(again) is type(builder)
    for mine, theirs in zip(
        builder.param_collection().parameters_list(), again.param_collection().parameters_list()
    ):
        np.testing.assert_allclose(theirs.as_array(), mine.as_array(), rtol=1e-6)
