"""A binary Tree-LSTM written operation by operation, with a class at every node."""

import os
import random
import sys
import time

import dynet as dy

WEIGHTS, UPDATES, FULL = sys.argv[1], int(sys.argv[2]), "full" in sys.argv[3:]
WORDS, EMBEDDING, HIDDEN, BATCH = (500, 64, 64, 25) if FULL else (20, 5, 4, 2)
CLASSES = 5


class TreeLSTMBuilder:
    def __init__(self, model):
        self.WS = [model.add_parameters((HIDDEN, EMBEDDING)) for _ in "iou"]
        self.US = [model.add_parameters((HIDDEN, 2 * HIDDEN)) for _ in "iou"]
        self.UFS = [model.add_parameters((HIDDEN, HIDDEN)) for _ in "ff"]
        self.BS = [model.add_parameters(HIDDEN) for _ in "iouf"]
        self.E = model.add_lookup_parameters((WORDS, EMBEDDING))

    def expr_for_tree(self, tree, nodes):
        if isinstance(tree, int):
            emb = self.E[tree]
            Wi, Wo, Wu = self.WS
            bi, bo, bu, _ = self.BS
            i = dy.logistic(dy.affine_transform([bi, Wi, emb]))
            o = dy.logistic(dy.affine_transform([bo, Wo, emb]))
            u = dy.tanh(dy.affine_transform([bu, Wu, emb]))
            c = dy.cmult(i, u)
            h = dy.cmult(o, dy.tanh(c))
        else:
            e1, c1 = self.expr_for_tree(tree[0], nodes)
            e2, c2 = self.expr_for_tree(tree[1], nodes)
            Ui, Uo, Uu = self.US
            Uf1, Uf2 = self.UFS
            bi, bo, bu, bf = self.BS
            e = dy.concatenate([e1, e2])
            i = dy.logistic(dy.affine_transform([bi, Ui, e]))
            o = dy.logistic(dy.affine_transform([bo, Uo, e]))
            f1 = dy.logistic(dy.affine_transform([bf, Uf1, e1]))
            f2 = dy.logistic(dy.affine_transform([bf, Uf2, e2]))
            u = dy.tanh(dy.affine_transform([bu, Uu, e]))
            c = dy.esum([dy.cmult(i, u), dy.cmult(f1, c1), dy.cmult(f2, c2)])
            h = dy.cmult(o, dy.tanh(c))
        nodes.append((tree, h))
        return h, c


model = dy.ParameterCollection()
builder = TreeLSTMBuilder(model)
W_ = model.add_parameters((CLASSES, HIDDEN))
if os.path.exists(WEIGHTS):
    model.populate(WEIGHTS)
else:
    model.save(WEIGHTS)
trainer = dy.AdagradTrainer(model, learning_rate=0.05)
trainer.set_clip_threshold(-1)

rng = random.Random(6)


def tree(leaves):
    if leaves == 1:
        return rng.randrange(WORDS)
    left = rng.randint(1, leaves - 1)
    return (tree(left), tree(leaves - left))


def label(t):
    return t % CLASSES if isinstance(t, int) else (label(t[0]) + 2 * label(t[1])) % CLASSES


start = time.perf_counter()
for update in range(UPDATES):
    dy.renew_cg()
    losses = []
    for _ in range(BATCH):
        nodes = []
        builder.expr_for_tree(tree(rng.randint(2, 20)), nodes)
        losses += [dy.pickneglogsoftmax(W_ * h, label(t)) for t, h in nodes]
    loss = dy.esum(losses)
    print("loss", loss.value() / len(losses))
    loss.backward()
    trainer.update()
print("seconds", time.perf_counter() - start)
