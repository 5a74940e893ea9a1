"""XOR again, with one graph that is built once and run on new inputs with `.set()`."""

import os
import sys
import time

import dynet as dy

WEIGHTS, UPDATES, FULL = sys.argv[1], int(sys.argv[2]), "full" in sys.argv[3:]

m = dy.ParameterCollection()
W = m.add_parameters((8, 2))
b = m.add_parameters(8)
V = m.add_parameters((1, 8))
table = m.add_lookup_parameters((4, 1))
if os.path.exists(WEIGHTS):
    m.populate(WEIGHTS)
else:
    m.save(WEIGHTS)
trainer = dy.MomentumSGDTrainer(m)

dy.renew_cg()
x = dy.vecInput(2)
y = dy.scalarInput(0)
bias = dy.lookup(table, 0)
output = dy.logistic(V * dy.tanh(W * x + b) + bias)
loss = dy.binary_log_loss(output, y)

data = [([0, 0], 0), ([0, 1], 1), ([1, 0], 1), ([1, 1], 0)]
start = time.perf_counter()
for update in range(UPDATES):
    question, answer = data[update % 4]
    x.set(question)
    y.set(answer)
    bias.set(update % 4)
    print("loss", loss.value())
    loss.backward()
    trainer.update()
print("seconds", time.perf_counter() - start)
for question, answer in data:
    x.set(question)
    print("answer", question, answer, round(output.value(), 3))
