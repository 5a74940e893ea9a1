"""Softmax builders: what the wheel gets wrong or lacks, sampling, batching, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from table_softmax import CLUSTERS, WORDS

import lazynet as ln
import lazynet.dynet as dy

TREE = "0 0 a\n0 0 b\n0 0 c\n0 1 d\n1 e\n1 f\n2 g\n"


@pytest.fixture
def clusters(tmp_path) -> str:
    path = tmp_path / "clusters.txt"
    path.write_text(CLUSTERS)
    return str(path)


@pytest.fixture
def tree(tmp_path) -> str:
    path = tmp_path / "tree.txt"
    path.write_text(TREE)
    return str(path)


@pytest.fixture(params=["standard", "factored", "hierarchical", "flat hierarchical"])
def made(request, clusters, tree) -> dy.SoftmaxBuilder:
    model = dy.ParameterCollection()
    if request.param == "standard":
        builder = dy.StandardSoftmaxBuilder(3, 7, model)
    elif request.param == "factored":
        builder = dy.ClassFactoredSoftmaxBuilder(3, clusters, WORDS, model)
    elif request.param == "hierarchical":
        builder = dy.HierarchicalSoftmaxBuilder(3, tree, WORDS, model)
    else:
        builder = dy.HierarchicalSoftmaxBuilder(3, clusters, WORDS, model, bias=False)
    rng = np.random.RandomState(1)
    for p in builder.param_collection().parameters_list():
        p.set_value(rng.standard_normal(p.shape()))
    return builder


def inputs(seed: int = 2) -> tuple[np.ndarray, dy.Expression]:
    array = np.random.RandomState(seed).standard_normal((3, 4))
    return array, dy.inputTensor(array, batched=True)


def test_the_distribution_is_that_of_the_losses(made) -> None:
    # The wheel's class-factored distribution and logits mix probabilities with log-probabilities.
    array, xs = inputs()
    x = dy.inputTensor(array[:, 0])
    losses = np.array([made.neg_log_softmax(x, c).value() for c in range(7)])
    assert np.isclose(np.exp(-losses).sum(), 1)
    np.testing.assert_allclose(made.full_log_distribution(x).value(), -losses, rtol=1e-5)
    scores = dy.inputTensor(made.full_logits(x).value())
    np.testing.assert_allclose(ln.softmax(scores.node).value(), np.exp(-losses), rtol=1e-4)
    batched = made.full_log_distribution(xs).npvalue()
    assert batched.shape == (7, 4)
    np.testing.assert_allclose(batched[:, 0], -losses, rtol=1e-5)


def test_a_batch_of_losses_is_each_by_itself(made) -> None:
    array, xs = inputs()
    classes = [3, 0, 6, 3]
    batched = made.neg_log_softmax_batch(xs, classes)
    assert batched.dim() == ((1,), 4)
    singly = [dy.inputTensor(array[:, i]) for i in range(4)]
    losses = [made.neg_log_softmax(x, c) for x, c in zip(singly, classes)]
    np.testing.assert_allclose(batched.value(), [e.value() for e in losses], rtol=1e-5)
    dy.sum_batches(batched).backward()
    parameters = made.param_collection().parameters_list()
    gradients = [p.grad_as_array() for p in parameters]
    of_x = xs.gradient()
    for p in parameters:
        p.scale_gradient(0)
    (losses[0] + losses[1] + losses[2] + losses[3]).backward()
    for p, expected in zip(parameters, gradients):
        np.testing.assert_allclose(p.grad_as_array(), expected, atol=1e-6)
    for i, x in enumerate(singly):
        np.testing.assert_allclose(x.gradient(), of_x[:, i], atol=1e-6)
    x = dy.inputTensor(array[:, 0])
    assert made.neg_log_softmax_batch(x, (3,)).dim() == ((1,), 1)


def test_gradients_by_finite_differences(made) -> None:
    array, _ = inputs()
    x = dy.inputTensor(array[:, 1])
    for c in range(7):
        made.neg_log_softmax(x, c).backward()
        gradient = x.gradient()
        direction = np.random.RandomState(c).standard_normal(3)
        near = [
            made.neg_log_softmax(dy.inputTensor(array[:, 1] + h * direction), c).value()
            for h in (1e-2, -1e-2)
        ]
        assert np.isclose((near[0] - near[1]) / 2e-2, gradient @ direction, rtol=1e-2, atol=1e-3)


def test_constant_weights_get_no_gradient(made) -> None:
    array, _ = inputs()
    x = dy.inputTensor(array[:, 0])
    y = made.neg_log_softmax(x, 4, update=False)
    (y + dy.sum_elems(made.full_logits(x, update=False))).backward()
    assert all(not p.grad_as_array().any() for p in made.param_collection().parameters_list())
    assert x.gradient().any()


def test_samples_follow_the_distribution(made) -> None:
    array, _ = inputs()
    n = 4000
    xs = dy.inputTensor(np.repeat(array[:, :1] / 2, n, axis=1), batched=True)
    drawn = made.sample(xs)
    shares = np.bincount(drawn, minlength=7) / n
    x = dy.inputTensor(array[:, 0] / 2)
    expected = np.exp(made.full_log_distribution(x).value())
    assert np.abs(shares - expected).max() < 4 * np.sqrt(0.25 / n)
    one = made.sample(x)
    assert type(one) is int and 0 <= one < 7
    ln.seed(3)
    first = [made.sample(x) for _ in range(5)]
    ln.seed(3)
    assert [made.sample(x) for _ in range(5)] == first


def test_words_of_one_cluster_are_one_batch(clusters) -> None:
    builder = dy.ClassFactoredSoftmaxBuilder(3, clusters, WORDS, dy.ParameterCollection())
    xs = [dy.inputTensor([i, 1, 2]) for i in range(20)]
    losses = [builder.neg_log_softmax(x, i % 7) for i, x in enumerate(xs)]
    operations = [b.op for b in ln.plan([e.node for e in losses]).batches]
    # one of the clusters for all, one of the words of whatever clusters, and their sum
    assert sorted(operations) == ["add", "grouped_cross_entropy", "input", "softmax_loss"]
    rows = dy.inputTensor(np.ones((3, 7)), batched=True)
    batch = builder.neg_log_softmax_batch(rows, list(range(7)))  # one is alone in its cluster
    operations = [b.op for b in ln.plan(batch.node).batches]
    assert operations.count("grouped_cross_entropy") == 1
    batch = builder.neg_log_softmax_batch(rows, [0, 1, 2, 3, 4, 5, 0])
    assert ln.plan(batch.node).nodes == 4


def test_a_tree_with_more_clusters_than_one_kind_of_node_takes(tmp_path) -> None:
    path = tmp_path / "clusters.txt"
    lines = [f"{i // 16} {i // 2} w{i}" for i in range(600)]
    path.write_text("\n".join(lines))
    words = {f"w{i}": i for i in range(600)}
    builder = dy.HierarchicalSoftmaxBuilder(3, str(path), words, dy.ParameterCollection())
    x = dy.inputTensor([1, 2, 3])
    losses = [builder.neg_log_softmax(x, i).value() for i in range(0, 600, 50)]
    np.testing.assert_allclose(
        losses, -np.array(builder.full_log_distribution(x).value())[::50], rtol=1e-4
    )


def test_names_and_shapes_of_the_weights(tree) -> None:
    model = dy.ParameterCollection()
    builder = dy.HierarchicalSoftmaxBuilder(5, tree, WORDS, model)
    found = [(p.name(), p.shape()) for p in builder.param_collection().parameters_list()]
    shapes = [(3, 5), (3,), (1, 5), (1,), (3, 5), (3,), (1, 5), (1,)]
    name = "/hierarchical-softmax-builder/_"
    assert found == [(f"{name}{i}", shape) for i, shape in enumerate(shapes)]
    assert all(not p.as_array().any() for p in model.parameters_list()[1::2]), "biases"
    assert all(p.as_array().any() for p in model.parameters_list()[::2])
    without = dy.HierarchicalSoftmaxBuilder(5, tree, WORDS, model, bias=False)
    assert len(without.param_collection().parameters_list()) == 4


def test_a_loss_of_a_word_alone_in_its_cluster(clusters) -> None:
    builder = dy.ClassFactoredSoftmaxBuilder(3, clusters, WORDS, dy.ParameterCollection())
    x = dy.inputTensor([1, 2, 3])  # the wheel crashes on these
    assert builder.subclass_logits(x, 2).value() == 0.0
    assert builder.subclass_log_distribution(x, 2).value() == 0.0
    _, xs = inputs()
    assert builder.subclass_logits(xs, 2).dim() == ((1,), 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x\n", "Invalid format in cluster file .*, line 1"),
        ("x a\n\ny zz\n", "line 3: 'zz' is not in the dictionary"),
        ("x a\ny a\n", "line 2: 'a' came before"),
        ("\n", "holds no words"),
    ],
)
def test_bad_cluster_files(text, message, tmp_path) -> None:
    path = tmp_path / "clusters.txt"
    path.write_text(text)
    for builder in (dy.ClassFactoredSoftmaxBuilder, dy.HierarchicalSoftmaxBuilder):
        with pytest.raises(ValueError, match=f"{builder.__name__}: .*{message}"):
            builder(3, str(path), WORDS, dy.ParameterCollection())


def test_bad_settings(clusters) -> None:
    model = dy.ParameterCollection()
    with pytest.raises(FileNotFoundError, match="Could not find cluster file"):
        dy.ClassFactoredSoftmaxBuilder(3, "nowhere", WORDS, model)
    with pytest.raises(ValueError, match="unique ids from 0 to num_classes"):
        dy.ClassFactoredSoftmaxBuilder(3, clusters, {"a": 1}, model)
    with pytest.raises(TypeError, match="as dic"):
        dy.ClassFactoredSoftmaxBuilder(3, clusters, [1], model)
    for bad in ((-1, 5), (3, 0)):
        with pytest.raises(ValueError, match="must be at least 1"):
            dy.StandardSoftmaxBuilder(*bad, model)
    with pytest.raises(TypeError, match="num_classes 'a'; an integer is required"):
        dy.StandardSoftmaxBuilder(3, "a", model)
    with pytest.raises(TypeError, match="it takes a ParameterCollection"):
        dy.StandardSoftmaxBuilder(3, 5, None)
    with pytest.raises(TypeError, match="this is the interface"):
        dy.SoftmaxBuilder().full_logits(dy.inputTensor([1, 2, 3]))
    assert model.parameters_list() == [], "nothing is left of builders that were not made"


def test_bad_arguments(made) -> None:
    name = type(made).__name__
    x = dy.inputTensor([1, 2, 3])
    _, xs = inputs()
    for call, error, message in (
        (lambda: made.neg_log_softmax(None, 1), TypeError, "neg_log_softmax: got None"),
        (lambda: made.neg_log_softmax(x, 9), ValueError, "neg_log_softmax: Index 9 out of bounds"),
        (lambda: made.neg_log_softmax(x, -1), OverflowError, "neg_log_softmax: got class -1"),
        (lambda: made.neg_log_softmax(x, None), TypeError, "an integer is required"),
        (lambda: made.neg_log_softmax(xs, 1), ValueError, "use neg_log_softmax_batch"),
        (lambda: made.neg_log_softmax_batch(x, [1, 2]), ValueError, "got 2 classes for"),
        (lambda: made.neg_log_softmax_batch(xs, []), ValueError, "got 0 classes for"),
        (lambda: made.neg_log_softmax_batch(xs, 1), TypeError, "it takes a list of classes"),
        (lambda: made.full_logits(dy.inputTensor([1, 2])), ValueError, "full_logits: got .2."),
        (lambda: made.sample("x"), TypeError, "sample: got 'x'"),
    ):
        with pytest.raises(error, match=message) as caught:
            call()
        assert str(caught.value).startswith(name)
    dy.renew_cg()
    with pytest.raises(RuntimeError, match="full_log_distribution: stale expression"):
        made.full_log_distribution(x)


def test_words_that_are_in_no_cluster(tmp_path) -> None:
    path = tmp_path / "clusters.txt"
    path.write_text("x a\ny b\n")
    words = {"a": 0, "b": 1, "c": 2}
    builder = dy.ClassFactoredSoftmaxBuilder(3, str(path), words, dy.ParameterCollection())
    x = dy.inputTensor([1, 2, 3])
    assert builder.neg_log_softmax(x, 1).value() > 0
    with pytest.raises(ValueError, match=r"Word ID 2 \('c'\) missing from clusters"):
        builder.neg_log_softmax(x, 2)
    with pytest.raises(ValueError, match="1 words of the dictionary are in no cluster"):
        builder.full_log_distribution(x)
    for classid, error in ((2, ValueError), (-1, ValueError), ("x", TypeError)):
        with pytest.raises(error, match=r"ClassFactoredSoftmaxBuilder\.subclass_logits"):
            builder.subclass_logits(x, classid)
