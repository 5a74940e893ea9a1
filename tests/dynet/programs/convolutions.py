"""Digits by convolutions, as the MNIST example: minibatches of images, dropout while training."""

import os
import sys
import time

import dynet as dy
import numpy as np

WEIGHTS, UPDATES, FULL = sys.argv[1], int(sys.argv[2]), "full" in sys.argv[3:]
F1, F2, HIDDEN, BATCH = (16, 32, 128, 32) if FULL else (2, 3, 8, 3)

m = dy.ParameterCollection()
pConv1 = m.add_parameters((5, 5, 1, F1))
pB1 = m.add_parameters((F1,))
pConv2 = m.add_parameters((5, 5, F1, F2))
pB2 = m.add_parameters((F2,))
pW1 = m.add_parameters((HIDDEN, 7 * 7 * F2))
pB3 = m.add_parameters((HIDDEN,))
pW2 = m.add_parameters((10, HIDDEN))
pB4 = m.add_parameters((10,))
if os.path.exists(WEIGHTS):
    m.populate(WEIGHTS)
else:
    m.save(WEIGHTS)
trainer = dy.MomentumSGDTrainer(m)


def classify(images):
    x = dy.conv2d_bias(images, pConv1, pB1, [1, 1], is_valid=False)
    x = dy.rectify(dy.maxpooling2d(x, [2, 2], [2, 2]))
    x = dy.conv2d_bias(x, pConv2, pB2, [1, 1], is_valid=False)
    x = dy.rectify(dy.maxpooling2d(x, [2, 2], [2, 2]))
    x = dy.reshape(x, (7 * 7 * F2,), batch_size=x.dim()[1])
    h = dy.rectify(pW1 * x + pB3)
    return pW2 * h + pB4


rng = np.random.RandomState(9)
shapes = rng.uniform(0, 1, (10, 28, 28)) < 0.15


def images_of(labels):
    noise = rng.uniform(0, 0.5, (28, 28, len(labels)))
    return shapes[labels].transpose(1, 2, 0) + noise


start = time.perf_counter()
for update in range(UPDATES):
    dy.renew_cg()
    labels = rng.randint(10, size=BATCH)
    images = dy.reshape(dy.inputTensor(images_of(labels), batched=True), (28, 28, 1), BATCH)
    loss = dy.sum_batches(dy.pickneglogsoftmax_batch(classify(images), labels)) / BATCH
    print("loss", loss.value())
    loss.backward()
    trainer.update()
print("seconds", time.perf_counter() - start)
dy.renew_cg()
labels = rng.randint(10, size=8)
scores = classify(dy.inputTensor(images_of(labels)[:, :, None, :], batched=True)).npvalue()
print("right", int((scores.argmax(axis=0) == labels).sum()), "of 8")
