"""A variational autoencoder of binary images; its noise comes from NumPy, the same anywhere."""

import os
import sys
import time

import dynet as dy
import numpy as np

WEIGHTS, UPDATES, FULL = sys.argv[1], int(sys.argv[2]), "full" in sys.argv[3:]
SIDE, HIDDEN, LATENT, BATCH = (28, 200, 20, 64) if FULL else (5, 8, 3, 4)
PIXELS = SIDE * SIDE


class Linear:
    def __init__(self, model, d_in, d_out):
        self.W = model.add_parameters((d_out, d_in))
        self.b = model.add_parameters(d_out, init="uniform", scale=0.1)

    def __call__(self, x):
        return dy.affine_transform([self.b, self.W, x])


model = dy.ParameterCollection()
fc1 = Linear(model, PIXELS, HIDDEN)
fc21 = Linear(model, HIDDEN, LATENT)
fc22 = Linear(model, HIDDEN, LATENT)
fc3 = Linear(model, LATENT, HIDDEN)
fc4 = Linear(model, HIDDEN, PIXELS)
if os.path.exists(WEIGHTS):
    model.populate(WEIGHTS)
else:
    model.save(WEIGHTS)
trainer = dy.AdamTrainer(model)
rng = np.random.RandomState(10)


def forward(x):
    h1 = dy.rectify(fc1(x))
    mu, logvar = fc21(h1), fc22(h1)
    std = dy.exp(logvar * 0.5)
    eps = dy.inputTensor(rng.standard_normal((LATENT, BATCH)), batched=True)
    z = dy.cmult(eps, std) + mu
    return dy.logistic(fc4(dy.rectify(fc3(z)))), mu, logvar


start = time.perf_counter()
for update in range(UPDATES):
    dy.renew_cg()
    pixels = (rng.uniform(0, 1, (PIXELS, BATCH)) < rng.uniform(0, 1, (1, BATCH))) * 1.0
    x = dy.inputTensor(pixels, batched=True)
    reconstruction, mu, logvar = forward(x)
    on = dy.cmult(x, dy.log(reconstruction))
    off = dy.cmult(-x + 1, dy.log(-reconstruction + 1))
    bce = -dy.sum_elems(on + off)
    kld = dy.sum_elems(logvar + 1 - dy.pow(mu, dy.scalarInput(2)) - dy.exp(logvar)) * -0.5
    loss = dy.mean_batches(bce + kld)
    print("loss", loss.value())
    loss.backward()
    trainer.update()
print("seconds", time.perf_counter() - start)
