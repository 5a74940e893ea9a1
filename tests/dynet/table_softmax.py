"""Softmax builders: losses, distributions, scores, and gradients of x and of the weights."""

import os
import tempfile

import numpy as np
from recording import Table

TABLE = Table()
CLUSTERS = "x a\nx b\ny c\ny d\ny e\nz f\nx g\n"
WORDS = {"e": 0, "d": 1, "c": 2, "b": 3, "a": 4, "g": 5, "f": 6}


def builder(dy, rng, kind, bias):
    """A builder whose weights are the same in both libraries, and what owns them."""
    model = dy.ParameterCollection()
    if kind == "standard":
        made = dy.StandardSoftmaxBuilder(3, 5, model, bias)
    else:
        handle, path = tempfile.mkstemp()
        with os.fdopen(handle, "w") as file:
            file.write(CLUSTERS)
        made = dy.ClassFactoredSoftmaxBuilder(3, path, WORDS, model, bias)
        os.unlink(path)
    for p in made.param_collection().parameters_list():
        p.set_value(rng.standard_normal(p.shape()))
    dy.renew_cg()  # the wheel's builders need a new graph
    return made, model


def add(kind, name, use, batched=False, bias=True):
    def run(dy, rng):
        made, model = builder(dy, rng, kind, bias)  # the wheel frees weights with their owner
        array = rng.standard_normal((3, 4) if batched else 3)
        x = dy.inputTensor(array, batched=batched)
        y = use(made, x)
        found = {"value": y.npvalue(), "dim": [*y.dim()[0], y.dim()[1]]}
        weights = dy.inputTensor(rng.standard_normal(y.npvalue().shape), batched=batched)
        dy.sum_batches(dy.sum_elems(dy.cmult(y, weights))).backward(full=True)
        found["gradient of x"] = x.gradient()
        for p in made.param_collection().parameters_list():
            found["gradient of " + p.name().replace("/", " ")] = p.grad_as_array()
        found["names"] = np.array([p.name() for p in model.parameters_list()])
        return found

    TABLE.script(f"{kind}, {name}")(run)


for bias in (True, False):
    of = f"bias {bias}"
    for c in (0, 3):
        add("standard", f"loss {c}, {of}", lambda b, x, c=c: b.neg_log_softmax(x, c), bias=bias)
    for c in (0, 4, 6):
        add("factored", f"loss {c}, {of}", lambda b, x, c=c: b.neg_log_softmax(x, c), bias=bias)
    for kind in ("standard", "factored"):
        add(
            kind,
            f"losses, {of}",
            lambda b, x: b.neg_log_softmax_batch(x, [3, 0, 4, 3]),
            batched=True,
            bias=bias,
        )
add("standard", "distribution", lambda b, x: b.full_log_distribution(x))
add("standard", "distribution, batched", lambda b, x: b.full_log_distribution(x), batched=True)
add("standard", "logits", lambda b, x: b.full_logits(x))
add("standard", "logits, batched, no bias", lambda b, x: b.full_logits(x), True, False)
add("standard", "loss, constant weights", lambda b, x: b.neg_log_softmax(x, 1, update=False))
add("standard", "logits, constant weights", lambda b, x: b.full_logits(x, update=False))
add("factored", "losses, a single one", lambda b, x: b.neg_log_softmax_batch(x, [6]))
add("factored", "loss, constant weights", lambda b, x: b.neg_log_softmax(x, 1, False))
add("factored", "classes", lambda b, x: b.class_log_distribution(x))
add("factored", "class logits", lambda b, x: b.class_logits(x))
add("factored", "class logits, constant", lambda b, x: b.class_logits(x, update=False))
add("factored", "words", lambda b, x: b.subclass_log_distribution(x, 1))
add("factored", "words, batched", lambda b, x: b.subclass_log_distribution(x, 0), batched=True)
add("factored", "word logits", lambda b, x: b.subclass_logits(x, 0))
