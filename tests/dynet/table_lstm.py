"""Gates, cells and hidden states of an LSTM.

Recorded only where the wheel is right: where one argument alone is a minibatch, it takes the batch
of the input for that of the result, and with dropout it sums the gradients of one hidden state
wrongly. `test_lstm.py` has these, and the noise of the weights, which destroys the wheel's result.
"""

import numpy as np
from recording import Table

TABLE = Table()
add = TABLE.add

N = 2
WEIGHTS = {"Wx": (4 * N, 3), "Wh": (4 * N, N), "b": (4 * N,)}
MASK_X = np.array([2.0, 0.0, 2.0])
MASK_H = np.array([0.0, 2.0])


def masks(dy, batched):
    """Masks are constants: the wheel gives them no gradient."""
    if not batched:
        return dy.inputTensor(MASK_X), dy.inputTensor(MASK_H)
    x, h = np.stack([MASK_X, MASK_X[::-1]], 1), np.stack([MASK_H, MASK_H[::-1]], 1)
    return dy.inputTensor(x, batched=True), dy.inputTensor(h, batched=True)


for batch in ({}, {"x": 2}, {"x": 2, "h": 2}):
    both = len(batch) != 1
    add(
        f"gates {batch}",
        lambda dy, x, h, Wx, Wh, b: dy.vanilla_lstm_gates(x, h, Wx, Wh, b),
        x=(3,),
        h=(N,),
        batch=batch,
        **WEIGHTS,
    )
    pieces = {"a": 2, "c": 2, **({"h": 2} if both else {})} if batch else {}
    add(
        f"gates, concatenated {batch}",
        lambda dy, a, c, h, Wx, Wh, b: dy.vanilla_lstm_gates_concat([a, c], h, Wx, Wh, b),
        a=(2,),
        c=(1,),
        h=(N,),
        batch=pieces,
        **WEIGHTS,
    )
    if not both:
        continue
    for batched in {False, bool(batch)}:
        add(
            f"gates, dropout {batch} {batched}",
            lambda dy, x, h, Wx, Wh, b, many=batched: dy.vanilla_lstm_gates_dropout(
                x, h, Wx, Wh, b, *masks(dy, many), weightnoise_std=0
            ),
            x=(3,),
            h=(N,),
            batch=batch,
            **WEIGHTS,
        )
        add(
            f"gates, concatenated, dropout {batch} {batched}",
            lambda dy, a, c, h, Wx, Wh, b, many=batched: dy.vanilla_lstm_gates_dropout_concat(
                [a, c], h, Wx, Wh, b, *masks(dy, many)
            ),
            a=(2,),
            c=(1,),
            h=(N,),
            batch=pieces,
            **WEIGHTS,
        )
for batch in ({}, {"c": 3, "gates": 3}):
    for name in ("vanilla_lstm_c", "vanilla_lstm_h"):
        add(
            f"{name} {batch}",
            lambda dy, c, gates, name=name: getattr(dy, name)(c, gates),
            c=(N,),
            gates=(4 * N,),
            batch=batch,
        )
