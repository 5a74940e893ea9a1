"""A language model of words by `transduce` of a stacked LSTM."""

import os
import random
import sys
import time

import dynet as dy

WEIGHTS, UPDATES, FULL = sys.argv[1], int(sys.argv[2]), "full" in sys.argv[3:]
WORDS, EMBEDDING, HIDDEN, BATCH = (1000, 64, 128, 16) if FULL else (30, 6, 5, 3)

m = dy.ParameterCollection()
E = m.add_lookup_parameters((WORDS, EMBEDDING))
lstm = dy.LSTMBuilder(2, EMBEDDING, HIDDEN, m)
W = m.add_parameters((WORDS, HIDDEN))
b = m.add_parameters(WORDS, init=dy.ConstInitializer(0))
if os.path.exists(WEIGHTS):
    m.populate(WEIGHTS)
else:
    m.save(WEIGHTS)
trainer = dy.AdamTrainer(m)

rng = random.Random(2)


def sentence():
    word = rng.randrange(1, WORDS)
    words = []
    for _ in range(rng.randint(5, 25)):
        words.append(word)
        word = (word * 7 + rng.randint(0, 3)) % WORDS
    return words


def loss_of(words):
    inputs = [E[w] for w in [0] + words]
    outputs = lstm.initial_state().transduce(inputs)
    losses = [
        dy.pickneglogsoftmax(dy.affine_transform([b, W, h]), w)
        for h, w in zip(outputs, words + [0])
    ]
    return dy.esum(losses)


start = time.perf_counter()
for update in range(UPDATES):
    dy.renew_cg()
    batch = [sentence() for _ in range(BATCH)]
    total = sum(len(words) + 1 for words in batch)
    loss = dy.esum([loss_of(words) for words in batch]) / total
    print("loss", loss.scalar_value())
    loss.backward()
    trainer.update()
print("seconds", time.perf_counter() - start)
