"""Attention, class-factored softmax and convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lazynet as ln

RNG = np.random.default_rng(6)
KEYS, VALUES = RNG.standard_normal((5, 4)), RNG.standard_normal((5, 6))
QUERY = RNG.standard_normal(4)


@pytest.fixture
def model() -> ln.Model:
    return ln.Model(seed=3, dtype="float64")


def shake(model: ln.Model) -> None:
    rng = np.random.default_rng(11)
    for p in model.parameters():
        p.array = p.array + 0.3 * rng.standard_normal(p.shape)


def batched(xs: Any) -> ln.Expression:
    return ln.constant(xs, batched=True)


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=0))
    return e / e.sum(axis=0)


def close(x: Any, y: Any) -> None:
    x = x.value() if isinstance(x, ln.Expression) else x
    y = y.value() if isinstance(y, ln.Expression) else y
    np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12)


# Attention: scores in NumPy, from parameters


def dot_scores(p: dict[str, Any], q: Any, k: Any) -> Any:
    return k @ q / np.sqrt(4)


def plain_scores(p: dict[str, Any], q: Any, k: Any) -> Any:
    return k @ q


def bilinear_scores(p: dict[str, Any], q: Any, k: Any) -> Any:
    return k @ p["W"] @ q


def additive_scores(p: dict[str, Any], q: Any, k: Any) -> Any:
    return np.tanh(k @ p["W_key"].T + p["W_query"] @ q + p["b"]) @ p["v"]


ATTENTION = {
    "dot": (lambda m: ln.nn.DotAttention(), dot_scores),
    "not scaled": (lambda m: ln.nn.DotAttention(scaled=False), plain_scores),
    "bilinear": (lambda m: ln.nn.BilinearAttention(m, 4, 4), bilinear_scores),
    "additive": (lambda m: ln.nn.AdditiveAttention(m, 4, 4, 3), additive_scores),
}


@pytest.mark.parametrize("case", ATTENTION)
def test_attention(model: ln.Model, case: str) -> None:
    make, scores = ATTENTION[case]
    attention = make(model)
    shake(model)
    p = {name.rpartition("/")[2]: v.array for name, v in model.items()}
    expected = softmax(scores(p, QUERY, KEYS))
    context, weights = attention(ln.constant(QUERY), batched(KEYS), batched(VALUES))
    close(weights, expected)
    close(context, expected @ VALUES)
    context, _ = attention(ln.constant(QUERY), [ln.constant(k) for k in KEYS])
    close(context, expected @ KEYS)
    ln.gradcheck(attention, [QUERY, batched(KEYS), batched(VALUES)], model.parameters())


def test_multi_head_attention(model: ln.Model) -> None:
    attention = ln.nn.MultiHeadAttention(model, 6, heads=3, n_query=4, n_key=4, n_value=6)
    shake(model)
    project = {
        name: getattr(attention, name).W.array for name in ("query", "key", "value", "output")
    }
    bias = {name: getattr(attention, name).b.array for name in project}
    q = (project["query"] @ QUERY + bias["query"]).reshape(3, 2)
    k = (KEYS @ project["key"].T + bias["key"]).reshape(5, 3, 2)
    v = (VALUES @ project["value"].T + bias["value"]).reshape(5, 3, 2)
    heads, contexts = [], []
    for h in range(3):
        heads.append(softmax(k[:, h] @ q[h] / np.sqrt(2)))
        contexts.append(heads[-1] @ v[:, h])
    context, weights = attention(ln.constant(QUERY), batched(KEYS), batched(VALUES))
    close(weights, np.stack(heads, 1))
    close(context, project["output"] @ np.concatenate(contexts) + bias["output"])
    ln.gradcheck(attention, [QUERY, batched(KEYS), batched(VALUES)], model.parameters())
    attention.dropout = 0.5
    results = [attention(ln.constant(QUERY), batched(KEYS), batched(VALUES)) for _ in range(9)]
    assert len({round(float(c.value()[0]), 9) for c, _ in results}) > 1


def all_attentions(model: ln.Model) -> list[Any]:
    made = [make(model) for make, _ in ATTENTION.values()]
    return [*made, ln.nn.MultiHeadAttention(model, 4, heads=2)]


def test_attention_over_any_lengths_is_one_batch(model: ln.Model) -> None:
    sequences = [batched(RNG.standard_normal((n, 4))) for n in (3, 1, 7, 2)]
    for attention in all_attentions(model):
        contexts = [attention(ln.constant(QUERY), keys)[0] for keys in sequences]
        assert len(ln.plan(contexts)) == len(ln.plan(contexts[:1]))
        together = ln.values(contexts)
        with ln.no_autobatch():
            for keys, context in zip(sequences, together):
                close(attention(ln.constant(QUERY), keys)[0], context)


def test_several_queries_over_one_sequence(model: ln.Model) -> None:
    queries = [ln.constant(q) for q in RNG.standard_normal((3, 4))]
    for attention in all_attentions(model):
        attend = attention.over(batched(KEYS))
        for q in queries:
            close(attend(q)[0], attention(q, batched(KEYS))[0])


def test_attention_over_nothing(model: ln.Model) -> None:
    for attention in all_attentions(model):
        context, weights = attention(ln.constant(QUERY), batched(np.zeros((0, 4))))
        assert weights.value().shape[0] == 0
        assert np.isfinite(context.value()).all()
    assert not ln.nn.BilinearAttention(model, 4, 4)(QUERY, [])[0].value().any()


def test_bad_attention(model: ln.Model) -> None:
    query, keys = ln.constant(QUERY), batched(KEYS)
    for attention in all_attentions(model):
        for q, k, v in (
            (batched(KEYS), keys, None),
            (query, query, None),
            (query, keys, batched(VALUES[:3])),
            (ln.constant(np.zeros(3)), keys, None),
            (query, batched(np.zeros((2, 3))), None),
        ):
            with pytest.raises(ln.ShapeError):
                attention(q, k, v)
    with pytest.raises(ln.ShapeError, match="empty list"):
        ln.nn.DotAttention()(query, [])
    with pytest.raises(ln.SettingError, match="heads"):
        ln.nn.MultiHeadAttention(model, 5, heads=2)


# Class-factored softmax

CLASSES = [1, 0, 1, 2, 1, 0]


def test_class_factored_softmax(model: ln.Model) -> None:
    softmax_layer = ln.nn.ClassFactoredSoftmax(model, 4, CLASSES)
    shake(model)
    h = RNG.standard_normal(4)
    of_class = softmax(softmax_layer.classes.W.array @ h + softmax_layer.classes.b.array)
    expected = np.zeros(6)
    for c in range(3):
        members = [w for w, k in enumerate(CLASSES) if k == c]
        linear = softmax_layer.words[c]
        within = np.ones(1) if linear is None else softmax(linear.W.array @ h + linear.b.array)
        expected[members] = of_class[c] * within
    assert abs(expected.sum() - 1) < 1e-12
    close(softmax_layer.log_probabilities(h), np.log(expected))
    for word in range(6):
        close(softmax_layer.loss(h, word), -np.log(expected[word]))
    rows = RNG.standard_normal((6, 4))
    words = [5, 3, 0, 0, 3, 1]
    losses = softmax_layer.loss(batched(rows), words)
    close(losses, [softmax_layer.loss(r, w).value() for r, w in zip(rows, words)])
    assert softmax_layer.loss(batched(np.zeros((0, 4))), []).value().shape == (0,)
    ln.gradcheck(lambda hs: softmax_layer.loss(hs, words), [batched(rows)], model.parameters())
    ln.gradcheck(softmax_layer.log_probabilities, [h], model.parameters())


def test_class_factored_samples(model: ln.Model) -> None:
    layer = ln.nn.ClassFactoredSoftmax(model, 4, CLASSES)
    h = RNG.standard_normal(4)
    drawn = [int(v) for v in ln.values([layer.sample(h) for _ in range(4000)])]
    frequencies = np.bincount(drawn, minlength=6) / len(drawn)
    assert abs(frequencies - np.exp(layer.log_probabilities(h).value())).max() < 0.04


def test_bad_words_and_classes(model: ln.Model) -> None:
    layer = ln.nn.ClassFactoredSoftmax(model, 4, CLASSES)
    for word, error in ((6, ln.RangeError), (-1, ln.RangeError), ("a", ln.ArgumentError)):
        with pytest.raises(error, match="ClassFactoredSoftmax"):
            layer.loss(QUERY, word)
    for word in (True, 1.0, None):
        with pytest.raises(ln.ArgumentError):
            layer.loss(QUERY, word)
    with pytest.raises(ln.ShapeError):
        layer.loss(QUERY, [1, 2])
    with pytest.raises(ln.ShapeError):
        layer.loss(batched(KEYS), [1, 2])
    for classes in ([], [[0]], [0.5], None):
        with pytest.raises(ln.ArgumentError):
            ln.nn.ClassFactoredSoftmax(model, 4, classes)  # type: ignore[arg-type]
    with pytest.raises(ln.SettingError, match="gaps"):
        ln.nn.ClassFactoredSoftmax(model, 4, [0, 2])


# Convolution


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padding", ["valid", "same", 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("length", [3, 4, 8])
def test_conv1d(model: ln.Model, length: int, stride: int, padding: Any, bias: bool) -> None:
    conv = ln.nn.Conv1d(model, 2, 5, width=3, stride=stride, padding=padding, bias=bias)
    shake(model)
    xs = RNG.standard_normal((length, 2))
    missing = max((-(-length // stride) - 1) * stride + 3 - length, 0)
    ends = {"valid": (0, 0), "same": (missing // 2, missing - missing // 2)}.get(padding, (2, 2))
    padded = np.pad(xs, (ends, (0, 0)))
    expected = [
        np.einsum("ki,kio->o", padded[t : t + 3], conv.W.array)
        + (conv.b.array if conv.b is not None else 0)
        for t in range(0, len(padded) - 2, stride)
    ]
    close(conv(batched(xs)), expected)
    close(conv(xs), expected)
    close(conv(ln.constant(xs)), expected)
    close([y.value() for y in conv([ln.constant(x) for x in xs])], expected)
    minibatch = conv([batched(np.stack([x, 2 * x])) for x in xs])
    close([y.value()[0] for y in minibatch], expected)


def test_conv1d_over_any_lengths_is_one_batch(model: ln.Model) -> None:
    conv = ln.nn.Conv1d(model, 2, 5, width=3, padding="same")
    sequences = [batched(RNG.standard_normal((n, 2))) for n in (3, 1, 7, 2)]
    ys = [conv(xs) for xs in sequences]
    assert sum(b.op == "affine" for b in ln.plan(ys).batches) == 1
    ln.gradcheck(conv, [sequences[2]], model.parameters())


def test_conv1d_of_short_sequences(model: ln.Model) -> None:
    conv = ln.nn.Conv1d(model, 2, 5, width=3)
    assert conv([]) == []
    assert conv(batched(np.zeros((0, 2)))).value().shape == (0, 5)
    with pytest.raises(ln.ShapeError, match="Conv1d"):
        conv(batched(np.zeros((2, 2))))
    with pytest.raises(ln.SettingError, match="padding"):
        ln.nn.Conv1d(model, 2, 5, width=3, padding="full")
