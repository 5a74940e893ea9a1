"""A tagger: words from an embedding or, when rare, from their letters; BiLSTM; an MLP per word."""

import os
import random
import sys
import time

import dynet as dy

WEIGHTS, UPDATES, FULL = sys.argv[1], int(sys.argv[2]), "full" in sys.argv[3:]
WORD, LETTER, HIDDEN, MLP, BATCH = (64, 20, 50, 32, 32) if FULL else (6, 4, 4, 3, 2)
WORDS, LETTERS, TAGS = 200, 26, 9

model = dy.Model()
trainer = dy.AdamTrainer(model)
WORDS_LOOKUP = model.add_lookup_parameters((WORDS, WORD))
CHARS_LOOKUP = model.add_lookup_parameters((LETTERS, LETTER))
pH = model.add_parameters((MLP, HIDDEN * 2))
pO = model.add_parameters((TAGS, MLP))
fwdRNN = dy.LSTMBuilder(1, WORD, HIDDEN, model)
bwdRNN = dy.LSTMBuilder(1, WORD, HIDDEN, model)
cFwdRNN = dy.LSTMBuilder(1, LETTER, WORD // 2, model)
cBwdRNN = dy.LSTMBuilder(1, LETTER, WORD // 2, model)
if os.path.exists(WEIGHTS):
    model.populate(WEIGHTS)
else:
    model.save(WEIGHTS)

rng = random.Random(4)
vocabulary = ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 9)))
              for _ in range(WORDS)]  # fmt: skip
number = {w: i for i, w in enumerate(vocabulary)}


def sentence():
    words = [rng.choice(vocabulary) for _ in range(rng.randint(4, 25))]
    return [(w, (number[w] + len(w)) % TAGS) for w in words]


def word_rep(w, cf_init, cb_init):
    if number[w] % 4:
        return WORDS_LOOKUP[number[w]]
    char_ids = [ord(c) - ord("a") for c in w]
    char_embs = [CHARS_LOOKUP[cid] for cid in char_ids]
    fw_exps = cf_init.transduce(char_embs)
    bw_exps = cb_init.transduce(reversed(char_embs))
    return dy.concatenate([fw_exps[-1], bw_exps[-1]])


def build_tagging_graph(words):
    H = dy.parameter(pH)
    O = dy.parameter(pO)  # noqa: E741
    f_init = fwdRNN.initial_state()
    b_init = bwdRNN.initial_state()
    cf_init = cFwdRNN.initial_state()
    cb_init = cBwdRNN.initial_state()
    wembs = [word_rep(w, cf_init, cb_init) for w in words]
    fws = f_init.transduce(wembs)
    bws = b_init.transduce(reversed(wembs))
    bi = [dy.concatenate([f, b]) for f, b in zip(fws, reversed(bws))]
    return [O * dy.tanh(H * x) for x in bi]


def sent_loss(sent):
    vecs = build_tagging_graph([w for w, _ in sent])
    return dy.esum([dy.pickneglogsoftmax(v, t) for v, (_, t) in zip(vecs, sent)])


start = time.perf_counter()
for update in range(UPDATES):
    dy.renew_cg()
    sentences = [sentence() for _ in range(BATCH)]
    loss = dy.esum([sent_loss(s) for s in sentences])
    print("loss", loss.scalar_value() / sum(map(len, sentences)))
    loss.backward()
    trainer.update()
print("seconds", time.perf_counter() - start)
dy.renew_cg()
sent = sentence()
tags = [v.npvalue().argmax() for v in build_tagging_graph([w for w, _ in sent])]
print("right", sum(int(t) == gold for t, (_, gold) in zip(tags, sent)), "of", len(sent))
