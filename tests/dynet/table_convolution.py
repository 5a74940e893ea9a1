"""Convolution and pooling.

Not recorded, for the wheel gets them wrong: `filter1d_narrow` and `fold_rows` of minibatches, and
the gradient of one filter of three dimensions. `test_convolution.py` has these.
"""

import numpy as np
from recording import Table

TABLE = Table()
add = TABLE.add


def apart(*shape):
    """Numbers of which no two are close."""
    rng = np.random.RandomState(len(shape) + sum(shape))
    n = int(np.prod(shape))
    return ((rng.permutation(n) - n / 3) * 0.3).reshape(shape)


IMAGES = [
    ((5, 6, 2), (2, 3, 2, 3)),
    ((4, 4, 1), (3, 3, 1, 2)),
    ((3, 3, 2), (3, 3, 2, 2)),
]
STRIDES = [[1, 1], [1, 2], [3, 2]]
for image, filters in IMAGES:
    for stride in STRIDES:
        for is_valid in (True, False):
            for batch in ({}, {"x": 2}):
                add(
                    f"conv2d {image} {filters} {stride} {is_valid} {batch}",
                    lambda dy, x, f, s=stride, v=is_valid: dy.conv2d(x, f, s, is_valid=v),
                    x=image,
                    f=filters,
                    batch=batch,
                )
                add(
                    f"conv2d_bias {image} {filters} {stride} {is_valid} {batch}",
                    lambda dy, x, f, b, s=stride, v=is_valid: dy.conv2d_bias(x, f, b, s, v),
                    x=image,
                    f=filters,
                    b=filters[-1:],
                    batch=batch,
                )
                size = filters[:2]
                add(
                    f"maxpooling2d {image} {size} {stride} {is_valid} {batch}",
                    lambda dy, x, k=list(size), s=stride, v=is_valid: dy.maxpooling2d(x, k, s, v),
                    x=image,
                    domain=apart(*image, *batch.values()),
                    batch=batch,
                )
add("conv2d, defaults", lambda dy, x, f: dy.conv2d(x, f, stride=(2, 2)), x=(4, 4, 1),
    f=(2, 2, 1, 2))  # fmt: skip
add("conv2d, no channels", lambda dy, x, f: dy.conv2d(x, f, [1, 1]), x=(4, 5), f=(2, 2, 1, 2))
add("conv2d, padded beyond the image", lambda dy, x, f: dy.conv2d(x, f, [1, 1], False),
    x=(2, 2, 1), f=(3, 3, 1, 3))  # fmt: skip
for batch in ({}, {"x": 2}):
    add(
        f"maxpooling2d, no channels {batch}",
        lambda dy, x: dy.maxpooling2d(x, ksize=[2, 2], stride=[1, 1]),
        x=(3, 4),
        domain=apart(3, 4, *batch.values()),
        batch=batch,
    )
for name, values in {"a": [[0, 1], [1, 0]], "b": [[1, 1], [1, 1]], "c": [[0, 0], [1, 1]]}.items():
    add(
        f"maxpooling2d, equal elements {name}",
        lambda dy, x: dy.maxpooling2d(x, [2, 2], [2, 2]),
        x=(2, 2, 1),
        domain=np.array(values)[:, :, None],
    )

for filters in [(2, 3, 4), (2, 3), (2, 5, 2), (2, 5)]:
    add(
        f"filter1d_narrow {filters}",
        lambda dy, x, y: dy.filter1d_narrow(x, y),
        x=(2, 5),
        y=filters,
    )
add("fold_rows, default", lambda dy, x: dy.fold_rows(x), x=(4, 3))
add("fold_rows 3", lambda dy, x: dy.fold_rows(x, 3), x=(6, 2))
add("fold_rows 1", lambda dy, x: dy.fold_rows(x, nrows=1), x=(4, 2))
add("fold_rows all", lambda dy, x: dy.fold_rows(x, 4), x=(4, 3))
add("fold_rows of a vector", lambda dy, x: dy.fold_rows(x), x=(4,))

for shape, k, d in [((3, 5), 2, 1), ((4, 3), 2, 0), ((3, 5), 1, 1), ((3, 5), 5, 1), ((5,), 2, 0),
                    ((2, 2, 3), 2, 2), ((3, 2, 3), 2, 0), ((3, 3, 3), 1, 1)]:  # fmt: skip
    for batch in ({}, {"x": 2}):
        add(
            f"kmax_pooling {shape} {k} {d} {batch}",
            lambda dy, x, k=k, d=d: dy.kmax_pooling(x, k, d=d),
            x=shape,
            domain=apart(*shape, *batch.values()),
            batch=batch,
        )
add("kmax_pooling, default", lambda dy, x: dy.kmax_pooling(x, 2), x=(2, 4), domain=apart(2, 4))
add("kmax_pooling, equal elements", lambda dy, x: dy.kmax_pooling(x, 2), x=(2, 4),
    domain=np.array([[1, 1, 1, 0], [0, 1, 1, 1]]))  # fmt: skip
for v in (1, 2, 3, 5):
    add(f"kmh_ngram {v}", lambda dy, x, v=v: dy.kmh_ngram(x, v), x=(3, 5))
for n in (1, 2, 4, 5, 7):
    add(f"circ_conv {n}", lambda dy, u, v: dy.circ_conv(u, v), u=(n,), v=(n,))
    add(f"circ_corr {n}", lambda dy, u, v: dy.circ_corr(u, v), u=(n,), v=(n,))
