"""Arguments that several calls share: parameters, whose gradients come once for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lazynet.dynet as dy

N = 2
CALLS: dict[str, tuple[Any, list[tuple[int, ...]]]] = {
    "noise": (lambda x: dy.noise(x, 0), [(3,)]),
    "dropout": (lambda x: dy.dropout(x, 0.0), [(3,)]),
    "dot_product": (dy.dot_product, [(2, 3), (2, 3)]),
    "trace_of_product": (dy.trace_of_product, [(2, 3), (2, 3)]),
    "inverse": (lambda x: dy.inverse(x), [(2, 2)]),
    "contract3d_1d": (dy.contract3d_1d, [(2, 3, 4), (4,)]),
    "contract3d_1d_bias": (dy.contract3d_1d_bias, [(2, 3, 4), (4,), (2, 3)]),
    "contract3d_1d_1d": (dy.contract3d_1d_1d, [(2, 3, 4), (4,), (3,)]),
    "contract3d_1d_1d_bias": (dy.contract3d_1d_1d_bias, [(2, 3, 4), (4,), (3,), (2,)]),
    "conv2d": (lambda x, f: dy.conv2d(x, f, [1, 2], False), [(4, 5, 2), (3, 2, 2, 3)]),
    "conv2d_bias": (
        lambda x, f, b: dy.conv2d_bias(x, f, b, [1, 1]),
        [(4, 5, 2), (3, 2, 2, 3), (3,)],
    ),
    "maxpooling2d": (lambda x: dy.maxpooling2d(x, [2, 2], [2, 2], False), [(3, 5, 2)]),
    "filter1d_narrow": (dy.filter1d_narrow, [(2, 5), (2, 3, 4)]),
    "fold_rows": (dy.fold_rows, [(4, 3)]),
    "kmax_pooling": (lambda x: dy.kmax_pooling(x, 2), [(3, 5)]),
    "kmh_ngram": (lambda x: dy.kmh_ngram(x, 2), [(3, 5)]),
    "circ_conv": (dy.circ_conv, [(4,), (4,)]),
    "circ_corr": (dy.circ_corr, [(4,), (4,)]),
    "layer_norm": (dy.layer_norm, [(5,), (5,), (5,)]),
    "layer_norm of a matrix": (dy.layer_norm, [(2, 3), (2, 3), (2,)]),
    "weight_norm": (dy.weight_norm, [(2, 3), (1,)]),
    "vanilla_lstm_gates": (
        dy.vanilla_lstm_gates,
        [(3,), (N,), (4 * N, 3), (4 * N, N), (4 * N,)],
    ),
    "vanilla_lstm_gates_dropout": (
        dy.vanilla_lstm_gates_dropout,
        [(3,), (N,), (4 * N, 3), (4 * N, N), (4 * N,), (3,), (N,)],
    ),
    "vanilla_lstm_c": (dy.vanilla_lstm_c, [(N,), (4 * N,)]),
    "vanilla_lstm_h": (dy.vanilla_lstm_h, [(N,), (4 * N,)]),
}


def total(ys: list[dy.Expression]) -> dy.Expression:
    loss = dy.sum_elems(dy.cmult(ys[0], ys[0]))
    for y in ys[1:]:
        loss = loss + dy.sum_elems(dy.cmult(y, y))
    return loss


@pytest.mark.parametrize("name", CALLS)
def test_parameters_have_the_gradients_of_inputs(name: str) -> None:
    """Each argument shared in turn, then all: three calls, which differ in the others."""
    function, shapes = CALLS[name]
    rng = np.random.RandomState(7)
    arrays = [[rng.standard_normal(shape) for shape in shapes] for _ in range(3)]
    for shared in [*[{k} for k in range(len(shapes))], set(range(len(shapes)))]:
        dy.renew_cg()
        model = dy.ParameterCollection()
        parameters = {k: model.add_parameters(shapes[k]) for k in shared}
        for k, p in parameters.items():
            p.set_value(arrays[0][k])
        own = [
            {k: dy.inputTensor(a) for k, a in enumerate(row) if k not in shared} for row in arrays
        ]
        ys = [function(*[parameters.get(k) or row[k] for k in range(len(shapes))]) for row in own]
        loss = total(ys)
        loss.backward()
        found = {k: p.grad_as_array() for k, p in parameters.items()}
        others = [{k: x.gradient() for k, x in row.items()} for row in own]
        value = loss.value()

        dy.renew_cg()
        inputs = [
            [dy.inputTensor(arrays[0][k] if k in shared else a) for k, a in enumerate(row)]
            for row in arrays
        ]
        loss = total([function(*row) for row in inputs])
        loss.backward()
        assert abs(loss.value() - value) <= 1e-4 * abs(value)
        for k in range(len(shapes)):
            gradients = [row[k].gradient() for row in inputs]
            if k in shared:
                np.testing.assert_allclose(found[k], sum(gradients), rtol=1e-4, atol=1e-3)
            else:
                for row, right in zip(others, gradients, strict=True):
                    np.testing.assert_allclose(row[k], right, rtol=1e-4, atol=1e-4)
