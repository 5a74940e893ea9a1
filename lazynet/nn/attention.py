"""Attention of one query over the rows of a sequence.

Keys and values are batched expressions, one row for each position, so that attention over
sequences of any lengths is one batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lazynet.errors import SettingError, ShapeError
from lazynet.fuse import fuse
from lazynet.graph import Expression
from lazynet.inputs import rebatch
from lazynet.nn.base import no_rows, part_of, probability_of, size_of, vector_of
from lazynet.nn.linear import Linear
from lazynet.ops import (
    affine,
    dot,
    dropout,
    einsum,
    expand_dims,
    softmax_batch,
    sum_batch,
    tanh,
)
from lazynet.parameters import Model

Attended = tuple[Expression, Expression]


class Attention:
    """What all attention layers have in common.

    ``context, weights = attention(query, keys, values)``: the weights are a softmax over the
    positions, the context is the sum of the values with these weights. Without values, the keys
    are the values. Over no positions at all the context is zeros.

    Where several queries read one sequence, as in a decoder,
    ``attend = attention.over(keys, values)`` computes what depends on the sequence once; then
    ``context, weights = attend(query)``.

    >>> import lazynet as ln
    >>> attention: ln.nn.Attention = ln.nn.DotAttention()
    >>> keys = ln.constant([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], batched=True)
    >>> attend = attention.over(keys)
    >>> context, weights = attend(ln.constant([0.0, 9.0]))
    >>> context.shape, weights.batch, weights.value().round(2).tolist()
    ((2,), 3, [0.0, 0.5, 0.5])
    """

    dtype: Any = None
    n_query: int | None = None
    n_key: int | None = None
    n_value: int | None = None
    """None: any."""

    def __call__(self, query: Any, keys: Any, values: Any = None) -> Attended:
        """Attend to a sequence.

        Args:
            query: One vector.
            keys: A batched expression, or a list of single ones: a vector for each position.
            values: Likewise, as many; None for the keys.

        Returns:
            The context, and the weights: a scalar for each position, as a batch.

        Raises:
            ShapeError: If keys are a single vector, the query has a batch, or sizes differ.
        """
        return self.over(keys, values)(query)

    def over(self, keys: Any, values: Any = None) -> Callable[[Any], Attended]:
        """A function of the query that attends to this sequence."""
        rows = self._rows(keys, "keys", self.n_key)
        memory = rows if values is None else self._rows(values, "values", self.n_value)
        if rows.batch != memory.batch:
            raise ShapeError(
                f"{type(self).__name__}: got {rows.batch} keys and {memory.batch} values; there "
                "must be a value for each key"
            )
        prepared, memory = self.prepare(rows), self.prepare_values(memory)

        def attend(query: Any) -> Attended:
            return self.read(self._query(query), prepared, memory)

        return attend

    def prepare(self, keys: Expression) -> Expression:
        """What depends on the keys alone."""
        return keys

    def prepare_values(self, values: Expression) -> Expression:
        """What depends on the values alone."""
        return values

    def scores(self, query: Expression, keys: Expression) -> Expression:
        """A scalar for each of the prepared keys, in nats."""
        raise NotImplementedError

    def read(self, query: Expression, keys: Expression, values: Expression) -> Attended:
        """Context and weights, from what was prepared."""
        weights = softmax_batch(self.scores(query, keys))
        return sum_batch(weights * values), weights

    def _rows(self, xs: Any, name: str, n: int | None) -> Expression:
        role = type(self).__name__
        if isinstance(xs, (list, tuple)):
            if not xs:
                if n is None:
                    raise ShapeError(
                        f"{role}: got an empty list of {name}, whose shape is unknown; give a "
                        "batched expression with 0 rows"
                    )
                return no_rows(n, self.dtype)
            xs = rebatch(xs)
        if not isinstance(xs, Expression) or xs.batch is None:
            raise ShapeError(
                f"{role}: got {xs!r} as {name}; it takes a batched expression (or a list), with a "
                "row for each position"
            )
        return xs if n is None else vector_of(xs, n, role, self.dtype, name)

    def _query(self, query: Any) -> Expression:
        role = type(self).__name__
        n = self.n_query
        if n is not None:
            query = vector_of(query, n, role, self.dtype, "query")
        if not isinstance(query, Expression) or query.batch is not None:
            raise ShapeError(
                f"{role}: got {query!r} as query; it takes one query, without a batch; for several "
                "write [attend(q) for q in ln.unbatch(queries)] with attend = attention.over(keys)"
            )
        return query


class DotAttention(Attention):
    """Scores are key . query, divided by the square root of their length if `scaled`.

    See `Attention` for how it is called.

    Args:
        scaled: Whether scores are divided by sqrt(n).

    Source: A. Vaswani et al., "Attention is all you need", 2017, equation 1.

    >>> import lazynet as ln
    >>> keys = ln.constant([[1, 0], [0, 1], [9, 9]], batched=True)
    >>> context, weights = ln.nn.DotAttention()(ln.constant([1, 1]), keys)
    >>> weights.value().round(3).tolist()
    [0.0, 0.0, 1.0]
    """

    def __init__(self, scaled: bool = True) -> None:
        self.scaled = bool(scaled)

    def scores(self, query: Expression, keys: Expression) -> Expression:
        if self.scaled and query.size:
            query = query * (1 / math.sqrt(query.size))
        return dot(keys, query)


class BilinearAttention(Attention):
    """Scores are key . W query; see `Attention` for how it is called.

    Args:
        model: Owns the parameter, in a sub-model "bilinear_attention": W ``(n_key, n_query)``.
        n_query: Length of the query.
        n_key: Length of each key.

    Source: M.-T. Luong, H. Pham, C. D. Manning, "Effective approaches to attention-based neural
    machine translation", 2015, equation 8 ("general").

    >>> import lazynet as ln
    >>> attention = ln.nn.BilinearAttention(ln.Model(seed=0), 3, 2)
    >>> keys = ln.constant([[1, 0], [0, 1]], batched=True)
    >>> context, weights = attention(ln.constant([1, 1, 1]), keys)
    >>> context.shape, weights.batch
    ((2,), 2)
    """

    def __init__(self, model: Model, n_query: int, n_key: int) -> None:
        self.n_query = size_of(n_query, "BilinearAttention: n_query")
        self.n_key = size_of(n_key, "BilinearAttention: n_key")
        self.model = part_of(model, "bilinear_attention", "BilinearAttention")
        self.dtype = self.model.dtype
        self.W = self.model.parameter((self.n_key, self.n_query), name="W")

    def scores(self, query: Expression, keys: Expression) -> Expression:
        return dot(keys, self.W @ query)


class AdditiveAttention(Attention):
    """Scores are v . tanh(W_k key + W_q query + b); see `Attention` for how it is called.

    Args:
        model: Owns the parameters, in a sub-model "additive_attention": W_query ``(n_hidden,
            n_query)``, W_key ``(n_hidden, n_key)``, b and v ``(n_hidden,)``.
        n_query: Length of the query.
        n_key: Length of each key.
        n_hidden: Length of the hidden layer.

    Source: D. Bahdanau, K. Cho, Y. Bengio, "Neural machine translation by jointly learning to align
    and translate", 2015, appendix A.1.2.

    >>> import lazynet as ln
    >>> attention = ln.nn.AdditiveAttention(ln.Model(seed=0), 3, 2, 4)
    >>> attend = attention.over(ln.constant([[1, 0], [0, 1]], batched=True))
    >>> context, weights = attend(ln.constant([1, 1, 1]))
    >>> context.shape, weights.batch
    ((2,), 2)
    """

    def __init__(self, model: Model, n_query: int, n_key: int, n_hidden: int) -> None:
        self.n_query = size_of(n_query, "AdditiveAttention: n_query")
        self.n_key = size_of(n_key, "AdditiveAttention: n_key")
        self.n_hidden = size_of(n_hidden, "AdditiveAttention: n_hidden")
        self.model = part_of(model, "additive_attention", "AdditiveAttention")
        self.dtype = self.model.dtype
        self.W_query = self.model.parameter((self.n_hidden, self.n_query), name="W_query")
        self.W_key = self.model.parameter((self.n_hidden, self.n_key), name="W_key")
        self.b = self.model.parameter(self.n_hidden, init="zeros", name="b")
        self.v = self.model.parameter(self.n_hidden, name="v")

    def prepare(self, keys: Expression) -> Expression:
        return self.W_key @ keys

    def scores(self, query: Expression, keys: Expression) -> Expression:
        # the query's product is a node of its own: in the fused one it would be made for each key
        scores: Expression = self._score(keys, affine(self.b, self.W_query, query))
        return scores

    @fuse
    def _score(self, key: Expression, query: Expression) -> Expression:
        return dot(tanh(key + query), self.v)


class MultiHeadAttention(Attention):
    """Several scaled dot attentions side by side, each on its own projections.

    Query, keys and values are projected to `n_model` and cut into heads; the contexts of the heads
    are put together again and projected once more. The context has shape ``(n_model,)``, the
    weights have shape ``(heads,)`` at each position. See `Attention` for how it is called; for
    self-attention, one query at a time: ``[attend(x) for x in ln.unbatch(xs)]``.

    Args:
        model: Owns the parameters, in a sub-model "multi_head_attention": W and b of the linear
            maps query, key, value, output.
        n_model: Length of the context; the heads share it.
        heads: Number of heads; divides n_model.
        dropout: Probability of dropping a weight, in training mode.
        n_query: Length of the query; None for n_model.
        n_key: Length of each key; None for n_model.
        n_value: Length of each value; None for n_key.

    Source: A. Vaswani et al., "Attention is all you need", 2017, section 3.2.2.

    >>> import lazynet as ln
    >>> attention = ln.nn.MultiHeadAttention(ln.Model(seed=0), 6, heads=2)
    >>> xs = ln.constant([[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]], batched=True)
    >>> attend = attention.over(xs)
    >>> context, weights = attend(ln.unbatch(xs)[0])
    >>> context.shape, weights.shape, weights.batch
    ((6,), (2,), 3)
    """

    def __init__(
        self,
        model: Model,
        n_model: int,
        heads: int,
        dropout: float = 0.0,
        n_query: int | None = None,
        n_key: int | None = None,
        n_value: int | None = None,
    ) -> None:
        role = "MultiHeadAttention"
        self.n_model = n = size_of(n_model, f"{role}: n_model")
        self.heads = size_of(heads, f"{role}: heads")
        if n % self.heads:
            raise SettingError(
                f"{role}: got n_model {n} and {heads} heads; the heads must divide n_model"
            )
        self.dropout = probability_of(dropout, f"{role}: dropout")
        self.n_query = n if n_query is None else size_of(n_query, f"{role}: n_query")
        self.n_key = n if n_key is None else size_of(n_key, f"{role}: n_key")
        self.n_value = self.n_key if n_value is None else size_of(n_value, f"{role}: n_value")
        self.model = part_of(model, "multi_head_attention", role)
        self.dtype = self.model.dtype
        self.query = Linear(self.model.submodel("query"), self.n_query, n)
        self.key = Linear(self.model.submodel("key"), self.n_key, n)
        self.value = Linear(self.model.submodel("value"), self.n_value, n)
        self.output = Linear(self.model.submodel("output"), n, n)

    def prepare(self, keys: Expression) -> Expression:
        return self._heads(self.key(keys))

    def prepare_values(self, values: Expression) -> Expression:
        return self._heads(self.value(values))

    def _heads(self, x: Expression) -> Expression:
        return x.reshape(self.heads, self.n_model // self.heads)

    def scores(self, query: Expression, keys: Expression) -> Expression:
        q = self._heads(self.query(query)) * math.sqrt(self.heads / self.n_model)
        return einsum("hd,hd->h", keys, q)

    def read(self, query: Expression, keys: Expression, values: Expression) -> Attended:
        weights = softmax_batch(self.scores(query, keys))
        used = dropout(weights, self.dropout) if self.dropout else weights
        context = sum_batch(expand_dims(used, 1) * values)
        return self.output(context.reshape(self.n_model)), weights


__all__ = [
    "AdditiveAttention",
    "Attention",
    "BilinearAttention",
    "DotAttention",
    "MultiHeadAttention",
]
