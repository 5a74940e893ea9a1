"""Skip-gram vectors by noise contrastive estimation, a graph for a group of centre words."""

import os
import random
import sys
import time

import dynet as dy

WEIGHTS, UPDATES, FULL = sys.argv[1], int(sys.argv[2]), "full" in sys.argv[3:]
WORDS, SIZE, GROUP, NEGATIVE = (2000, 64, 20, 10) if FULL else (25, 5, 3, 3)
WINDOW = 2

model = dy.Model()
W_c_p = model.add_lookup_parameters((WORDS, SIZE), init=dy.UniformInitializer(0.5))
W_w_p = model.add_lookup_parameters((WORDS, SIZE), init=dy.UniformInitializer(0.5))
b_p = model.add_lookup_parameters((WORDS, 1), init=dy.ConstInitializer(0))
if os.path.exists(WEIGHTS):
    model.populate(WEIGHTS)
else:
    model.save(WEIGHTS)
trainer = dy.SimpleSGDTrainer(model, learning_rate=0.1)

rng = random.Random(11)
text = [int(WORDS * rng.random() ** 2) for _ in range(3000)]


def score(centre, word):
    return dy.dot_product(centre, W_w_p[word]) + b_p[word]


start = time.perf_counter()
for update in range(UPDATES):
    dy.renew_cg()
    losses = []
    for _ in range(GROUP):
        i = rng.randrange(WINDOW, len(text) - WINDOW)
        centre = dy.lookup(W_c_p, text[i])
        for j in list(range(i - WINDOW, i)) + list(range(i + 1, i + WINDOW + 1)):
            losses.append(-dy.log(dy.logistic(score(centre, text[j]))))
            for _ in range(NEGATIVE):
                noise = rng.randrange(WORDS)
                losses.append(-dy.log(dy.logistic(-score(centre, noise))))
    loss = dy.esum(losses)
    print("loss", loss.value() / GROUP)
    loss.backward()
    trainer.update()
print("seconds", time.perf_counter() - start)
vectors = W_c_p.as_array()
print("shape", vectors.shape)
