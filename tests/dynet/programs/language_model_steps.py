"""A language model of letters: an RNN step by step, its parameters mentioned in every graph."""

import os
import random
import sys
import time

import dynet as dy

WEIGHTS, UPDATES, FULL = sys.argv[1], int(sys.argv[2]), "full" in sys.argv[3:]
EMBEDDING, HIDDEN, BATCH = (64, 128, 16) if FULL else (5, 7, 3)

TEXT = """the cat sat on the mat and the dog lay in the sun
a bird sings where the wind blows over the sea
who knows what the old man saw that night in the wood
rain falls on the roof and the children sleep"""
alphabet = ["<s>"] + sorted(set(TEXT) - {"\n"})
code = {letter: i for i, letter in enumerate(alphabet)}
words = TEXT.split("\n")

m = dy.ParameterCollection()
embeddings = m.add_lookup_parameters((len(alphabet), EMBEDDING))
rnn = dy.SimpleRNNBuilder(1, EMBEDDING, HIDDEN, m)
pR = m.add_parameters((len(alphabet), HIDDEN))
pbias = m.add_parameters((len(alphabet)))
if os.path.exists(WEIGHTS):
    m.populate(WEIGHTS)
else:
    m.save(WEIGHTS)
trainer = dy.SimpleSGDTrainer(m)


def sentence_loss(sentence):
    R = dy.parameter(pR)
    bias = dy.parameter(pbias)
    state = rnn.initial_state()
    letters = [0] + [code[c] for c in sentence] + [0]
    losses = []
    for now, following in zip(letters, letters[1:]):
        state = state.add_input(embeddings[now])
        probabilities = dy.softmax(R * state.output() + bias)
        losses.append(-dy.log(dy.pick(probabilities, following)))
    return dy.esum(losses)


def generate(length):
    dy.renew_cg()
    R = dy.parameter(pR)
    bias = dy.parameter(pbias)
    state = rnn.initial_state().add_input(embeddings[0])
    text = ""
    while len(text) < length:
        scores = dy.softmax(R * state.output() + bias).vec_value()
        best = scores.index(max(scores))
        text += alphabet[best]
        state = state.add_input(embeddings[best])
    return text


random.seed(1)
start = time.perf_counter()
for update in range(UPDATES):
    dy.renew_cg()
    batch = [random.choice(words)[: random.randint(20, 50)] for _ in range(BATCH)]
    loss = dy.average([sentence_loss(sentence) for sentence in batch])
    print("loss", loss.value())
    loss.backward()
    trainer.update()
print("seconds", time.perf_counter() - start)
print("text", generate(10))
