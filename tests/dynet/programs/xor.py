"""XOR by a two-layer network, one graph and one update per example."""

import os
import sys
import time

import dynet as dy

WEIGHTS, UPDATES, FULL = sys.argv[1], int(sys.argv[2]), "full" in sys.argv[3:]

m = dy.Model()
pW = m.add_parameters((8, 2))
pb = m.add_parameters((8,))
pV = m.add_parameters((1, 8))
pa = m.add_parameters((1,))
if os.path.exists(WEIGHTS):
    m.populate(WEIGHTS)
else:
    m.save(WEIGHTS)
trainer = dy.SimpleSGDTrainer(m, learning_rate=0.5)


def predict(x):
    W = dy.parameter(pW)
    b = dy.parameter(pb)
    V = dy.parameter(pV)
    a = dy.parameter(pa)
    h = dy.tanh(W * x + b)
    return dy.logistic(V * h + a)


data = [([0, 0], 0), ([0, 1], 1), ([1, 0], 1), ([1, 1], 0)]
start = time.perf_counter()
for update in range(UPDATES):
    question, answer = data[update % 4]
    dy.renew_cg()
    x = dy.vecInput(2)
    x.set(question)
    y = dy.scalarInput(answer)
    loss = dy.binary_log_loss(predict(x), y)
    print("loss", loss.value())
    loss.backward()
    trainer.update()
print("seconds", time.perf_counter() - start)
for question, answer in data:
    dy.renew_cg()
    print("answer", question, answer, round(predict(dy.inputVector(question)).value(), 3))
