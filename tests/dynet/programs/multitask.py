"""Two tasks over one encoder, in sub-collections that are saved and loaded on their own."""

import os
import random
import sys
import tempfile
import time

import dynet as dy

WEIGHTS, UPDATES, FULL = sys.argv[1], int(sys.argv[2]), "full" in sys.argv[3:]
WORDS, SIZE, HIDDEN, BATCH = (300, 64, 64, 32) if FULL else (20, 5, 4, 2)


class Encoder:
    def __init__(self, model):
        self.pc = model.add_subcollection("encoder")
        self.E = self.pc.add_lookup_parameters((WORDS, SIZE), name="words")
        self.rnn = dy.BiRNNBuilder(1, SIZE, HIDDEN, self.pc, dy.GRUBuilder)

    def __call__(self, words):
        return self.rnn.transduce([self.E[w] for w in words])


class Classifier:
    def __init__(self, model, name, classes):
        self.pc = model.add_subcollection(name)
        self.spec = (name, classes)
        self.W = self.pc.add_parameters((classes, HIDDEN), name="W")
        self.b = self.pc.add_parameters(classes, name="b")

    def __call__(self, x):
        return dy.log_softmax(self.W * x + self.b)

    def param_collection(self):
        return self.pc

    @classmethod
    def from_spec(cls, spec, model):
        return cls(model, *spec)


model = dy.ParameterCollection()
encoder = Encoder(model)
tags = Classifier(model, "tags", 4)
topics = Classifier(model, "topics", 3)
if os.path.exists(WEIGHTS):
    model.populate(WEIGHTS)
else:
    model.save(WEIGHTS)
shared = dy.AdamTrainer(model)
only_topics = dy.SimpleSGDTrainer(topics.pc, 0.2)

rng = random.Random(12)


def sentence():
    return [rng.randrange(WORDS) for _ in range(rng.randint(3, 15))]


start = time.perf_counter()
for update in range(UPDATES):
    dy.renew_cg()
    sentences = [sentence() for _ in range(BATCH)]
    if update % 3 == 0:
        losses = [
            -dy.pick(tags(h), w % 4) for words in sentences for h, w in zip(encoder(words), words)
        ]
    else:
        losses = [-topics(dy.average(encoder(words)))[sum(words) % 3] for words in sentences]
    loss = dy.esum(losses)
    print("loss", loss.value())
    loss.backward()
    (only_topics if update % 3 == 2 else shared).update()
print("seconds", time.perf_counter() - start)

folder = tempfile.mkdtemp()
model.save(os.path.join(folder, "all"))
topics.pc.save(os.path.join(folder, "topics"))
dy.save(os.path.join(folder, "objects"), [encoder.rnn, tags])
words = sentence()
dy.renew_cg()
expected = topics(dy.average(encoder(words))).npvalue()
other = dy.ParameterCollection()
encoder = Encoder(other)
_, topics = Classifier(other, "tags", 4), Classifier(other, "topics", 3)
other.populate(os.path.join(folder, "all"))
dy.renew_cg()
again = topics(dy.average(encoder(words))).npvalue()
print("same", bool(abs(again - expected).max() < 1e-6))
third = dy.ParameterCollection()
rnn, loaded = dy.load(os.path.join(folder, "objects"), third)
print("loaded", type(rnn).__name__, loaded.W.shape(), len(third.parameters_list()))
