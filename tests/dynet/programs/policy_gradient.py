"""A policy learned by REINFORCE on a corridor: it must look at values in order to go on."""

import os
import sys
import time

import dynet as dy
import numpy as np

WEIGHTS, UPDATES, FULL = sys.argv[1], int(sys.argv[2]), "full" in sys.argv[3:]
HIDDEN, EPISODES = (64, 8) if FULL else (6, 2)
LENGTH, ACTIONS, STEPS = 6, 2, 15

model = dy.ParameterCollection()
W1 = model.add_parameters((HIDDEN, LENGTH))
b1 = model.add_parameters(HIDDEN, init=0.1)
W2 = model.add_parameters((ACTIONS, HIDDEN))
V = model.add_parameters((1, HIDDEN))
if os.path.exists(WEIGHTS):
    model.populate(WEIGHTS)
else:
    model.save(WEIGHTS)
trainer = dy.AdamTrainer(model, 0.01)
rng = np.random.RandomState(13)


def policy(place):
    h = dy.tanh(dy.affine_transform([b1, W1, dy.one_hot(LENGTH, place)]))
    return dy.softmax(W2 * h), V * h


start = time.perf_counter()
for update in range(UPDATES):
    dy.renew_cg()
    losses = []
    for _ in range(EPISODES):
        place, history, rewards = LENGTH // 2, [], []
        for _ in range(STEPS):
            probabilities, baseline = policy(place)
            p = probabilities.npvalue()
            action = int(rng.uniform() * p.sum() > p[0])
            history.append((dy.pick(probabilities, action), baseline))
            place = max(0, place + (1 if action else -1))
            rewards.append(1.0 if place == LENGTH - 1 else -0.05)
            if place == LENGTH - 1:
                break
        total = 0.0
        for reward, (probability, baseline) in zip(rewards[::-1], history[::-1]):
            total = reward + 0.95 * total
            advantage = total - dy.nobackprop(baseline).value()
            losses.append(-dy.log(probability) * advantage)
            losses.append(dy.square(baseline - total) * 0.5)
    loss = dy.esum(losses)
    print("loss", loss.value())
    loss.backward()
    trainer.update()
print("seconds", time.perf_counter() - start)
