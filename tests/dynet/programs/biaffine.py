"""A biaffine parser of graphs: BiLSTM states, a score for every pair of words, hinge loss."""

import os
import random
import sys
import time

import dynet as dy
import numpy as np

WEIGHTS, UPDATES, FULL = sys.argv[1], int(sys.argv[2]), "full" in sys.argv[3:]
WORDS, WORD, HIDDEN, ARC, BATCH = (500, 64, 64, 50, 16) if FULL else (20, 6, 4, 5, 2)

model = dy.ParameterCollection()
E = model.add_lookup_parameters((WORDS, WORD), init=dy.NormalInitializer(0, 0.2))
bilstm = dy.BiRNNBuilder(2, WORD, 2 * HIDDEN, model, dy.VanillaLSTMBuilder)
W_head = model.add_parameters((ARC, 2 * HIDDEN))
b_head = model.add_parameters((ARC,), init=0.0)
W_dep = model.add_parameters((ARC, 2 * HIDDEN))
b_dep = model.add_parameters((ARC,), init=0.0)
U = model.add_parameters((ARC, ARC))
u = model.add_parameters((ARC, 1))
if os.path.exists(WEIGHTS):
    model.populate(WEIGHTS)
else:
    model.save(WEIGHTS)
trainer = dy.AdamTrainer(model, 0.002, 0.9, 0.9)


def scores_of(words):
    hidden = dy.concatenate_cols(bilstm.transduce([E[w] for w in words]))
    head = dy.rectify(dy.colwise_add(W_head * hidden, b_head))
    dep = dy.rectify(dy.colwise_add(W_dep * hidden, b_dep))
    scores = dy.transpose(head) * U * dep
    prior = dy.transpose(dy.transpose(u) * head)
    return dy.colwise_add(scores, dy.reshape(prior, (len(words),)))


rng = random.Random(8)


def example():
    words = [rng.randrange(1, WORDS) for _ in range(rng.randint(4, 18))]
    heads = [max((j for j in range(len(words)) if j != i), key=lambda j: words[j] * (i + 3) % 17)
             for i in range(len(words))]  # fmt: skip
    return words, heads


start = time.perf_counter()
for update in range(UPDATES):
    dy.renew_cg()
    losses = []
    for _ in range(BATCH):
        words, heads = example()
        scores = scores_of(words)
        for i, h in enumerate(heads):
            column = dy.pick(scores, i, 1)
            losses.append(dy.pickneglogsoftmax(column, h))
        losses.append(dy.hinge(dy.pick(scores, 0, 1), heads[0]))
    loss = dy.esum(losses)
    print("loss", loss.value())
    loss.backward()
    trainer.update()
print("seconds", time.perf_counter() - start)
dy.renew_cg()
print("heads", np.argmax(scores_of(example()[0]).npvalue(), axis=0).tolist())
