"""Sums of parts of a batch: messages along the edges of graphs."""

from __future__ import annotations

import numpy as np
import pytest

import lazynet as ln

EDGES = {
    2: [(0, 1), (1, 0)],
    3: [(0, 2), (1, 2), (2, 0), (0, 2)],
    5: [],
    4: [(k, 3) for k in range(4)],
}
"""Graphs by their number of nodes: from where to where."""


def passed(hs: ln.Expression, edges: list[tuple[int, int]], nodes: int) -> ln.Expression:
    """What arrives at each node."""
    ordered = sorted(edges, key=lambda edge: edge[1])
    degrees = [sum(end == k for _, end in edges) for k in range(nodes)]
    return ln.sum_segments(ln.take_rows(hs, [start for start, _ in ordered]), degrees)


def two_rounds(
    weights: ln.Expression, xs: np.ndarray, edges: list[tuple[int, int]]
) -> ln.Expression:
    hs = ln.constant(xs, batched=True)
    for _ in range(2):
        hs = ln.tanh(hs + weights @ passed(hs, edges, len(xs)))
    return ln.sum(ln.sum_batch(hs * hs))


def by_matrix(w: np.ndarray, xs: np.ndarray, edges: list[tuple[int, int]]) -> float:
    adjacency = np.zeros((len(xs), len(xs)))
    for start, end in edges:
        adjacency[end, start] += 1
    for _ in range(2):
        xs = np.tanh(xs + adjacency @ xs @ w.T)
    return float((xs * xs).sum())


def test_graphs_of_any_form_are_one_batch_a_round() -> None:
    model = ln.Model(seed=0, dtype="float64")
    weights = model.parameter((3, 3), name="w")
    rng = np.random.default_rng(0)
    for _ in range(4):  # known structures are recalled: they must not be mistaken for one another
        for graphs in (
            EDGES,
            dict(reversed(EDGES.items())),
            {4: [(0, 1)], 3: [(1, 1)], 5: [(4, 0)]},
        ):
            given = [(rng.standard_normal((n, 3)), edges) for n, edges in graphs.items()]
            losses = [two_rounds(weights, xs, edges) for xs, edges in given]
            total = ln.sum(losses)
            batches = [b.op for b in ln.plan(total).batches]
            assert batches.count("sum_segments") == 2
            total.backward()
            gradient = weights.gradient().copy()
            model.zero_gradients()
            for loss, (xs, edges) in zip(losses, given):
                assert loss.value() == pytest.approx(by_matrix(weights.array, xs, edges))
            with ln.no_autobatch():
                alone = ln.sum([two_rounds(weights, xs, edges) for xs, edges in given])
                alone.backward()
            np.testing.assert_allclose(weights.gradient(), gradient)
            model.zero_gradients()
            step = 1e-6 * rng.standard_normal((3, 3))
            above, below = (
                sum(by_matrix(weights.array + s * step, xs, edges) for xs, edges in given)
                for s in (1, -1)
            )
            assert (gradient * step).sum() * 2 == pytest.approx(above - below, rel=1e-5)


def test_lengths_are_part_of_the_structure() -> None:
    x = np.arange(8.0).reshape(4, 2)
    for lengths in ([1, 3], [3, 1], [2, 2], [1, 3], [3, 1]) * 2:
        given = ln.constant(x, batched=True) * 1.0
        y = ln.sum_segments(given, lengths)
        expected = [x[: lengths[0]].sum(axis=0), x[lengths[0] :].sum(axis=0)]
        np.testing.assert_array_equal(y.value(), expected)


def test_only_rows_that_reach_the_loss_take_part() -> None:
    x = ln.constant([[1.0], [2.0], [0.0]], batched=True)
    y = ln.sum_segments(ln.log(x), [1, 1, 1])
    ln.sum(ln.unbatch(y)[1]).backward()
    assert x.gradient().tolist() == [[0.0], [0.5], [0.0]]


def test_edges() -> None:
    x = ln.constant([[1.0, 2.0]], batched=True)
    assert ln.sum_segments(x, [0, 1, 0]).value().tolist() == [[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]]
    assert ln.sum_segments([1.0, 2.0], [1]).value().tolist() == [[1.0, 2.0]]
    none = ln.take_rows(x, [])
    assert ln.sum_segments(none, [0, 0]).value().tolist() == [[0.0, 0.0]] * 2
    assert ln.sum_segments(none, []).batch == 0
    w = ln.Model(seed=0).parameter(2, init=3.0)
    ln.sum(ln.sum_batch(ln.sum_segments(w, np.array([0, 1])))).backward()
    assert w.gradient().tolist() == [1.0, 1.0]


def test_what_it_refuses() -> None:
    x = ln.constant(np.ones((3, 2)), batched=True)
    for lengths in ([1, 1], [4], []):
        with pytest.raises(ln.ShapeError, match="sum_segments: got 3 rows and lengths that add"):
            ln.sum_segments(x, lengths)
    with pytest.raises(ln.ArgumentError, match="sum_segments: got the length -1"):
        ln.sum_segments(x, [4, -1])
    with pytest.raises(ln.ArgumentError, match=r"sum_segments: lengths: got 1\.5"):
        ln.sum_segments(x, [1.5, 1.5])

    @ln.fuse
    def inside(x: ln.Expression) -> ln.Expression:
        return ln.sum_segments(x, [1])

    with pytest.raises(ln.FuseError, match="read inside a fused function"):
        inside(ln.constant([1.0, 2.0]))


def test_an_anomaly_is_found_in_it() -> None:
    x = ln.constant([[1.0], [3e38], [3e38]], batched=True, dtype="float32")
    with ln.detect_anomaly(), pytest.raises(ln.AnomalyError, match="sum_segments"):
        ln.sum_segments(x, [1, 2]).value()
