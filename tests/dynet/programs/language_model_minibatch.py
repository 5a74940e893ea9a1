"""A language model by minibatches of padded sentences, with masks, as the manual shows."""

import os
import random
import sys
import time

import dynet as dy
import numpy as np

WEIGHTS, UPDATES, FULL = sys.argv[1], int(sys.argv[2]), "full" in sys.argv[3:]
WORDS, EMBEDDING, HIDDEN, BATCH = (1000, 64, 128, 32) if FULL else (20, 6, 5, 4)
S = 0

m = dy.ParameterCollection()
WORDS_LOOKUP = m.add_lookup_parameters((WORDS, EMBEDDING))
RNN = dy.LSTMBuilder(1, EMBEDDING, HIDDEN, m)
W_sm = m.add_parameters((WORDS, HIDDEN))
b_sm = m.add_parameters((WORDS))
if os.path.exists(WEIGHTS):
    m.populate(WEIGHTS)
else:
    m.save(WEIGHTS)
trainer = dy.RMSPropTrainer(m)

rng = random.Random(3)
corpus = [[rng.randrange(1, WORDS) for _ in range(rng.randint(3, 20))] for _ in range(200)]
corpus.sort(key=len, reverse=True)
orders = list(range(0, len(corpus) - BATCH + 1, BATCH))
rng.shuffle(orders)


def batch_loss(sents):
    dy.renew_cg()
    f_init = RNN.initial_state()
    length = max(len(sent) for sent in sents)
    wids = []
    masks = []
    for i in range(length + 1):
        wids.append([sent[i] if len(sent) > i else S for sent in sents])
        masks.append([1 if len(sent) >= i else 0 for sent in sents])
    init_ids = [S] * len(sents)
    s = f_init.add_input(dy.lookup_batch(WORDS_LOOKUP, init_ids))
    losses = []
    for wid, mask in zip(wids, masks):
        score = dy.affine_transform([b_sm, W_sm, s.output()])
        loss = dy.pickneglogsoftmax_batch(score, wid)
        if mask[-1] != 1:
            mask_expr = dy.inputVector(mask)
            mask_expr = dy.reshape(mask_expr, (1,), len(sents))
            loss = loss * mask_expr
        losses.append(loss)
        s = s.add_input(dy.lookup_batch(WORDS_LOOKUP, wid))
    count = np.sum(masks)
    return dy.sum_batches(dy.esum(losses)), int(count)


start = time.perf_counter()
for update in range(UPDATES):
    first = orders[update % len(orders)]
    loss, count = batch_loss(corpus[first : first + BATCH])
    print("loss", loss.value() / count)
    loss.backward()
    trainer.update()
print("seconds", time.perf_counter() - start)
