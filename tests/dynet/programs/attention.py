"""An encoder-decoder with attention that spells words backwards; greedy and beam decoding."""

import os
import random
import sys
import time

import dynet as dy
import numpy as np

WEIGHTS, UPDATES, FULL = sys.argv[1], int(sys.argv[2]), "full" in sys.argv[3:]
EMBEDDING, STATE, ATTENTION, BATCH = (32, 64, 32, 16) if FULL else (5, 6, 4, 2)
LETTERS, EOS = 13, 0

model = dy.Model()
enc_fwd_lstm = dy.LSTMBuilder(1, EMBEDDING, STATE, model)
enc_bwd_lstm = dy.LSTMBuilder(1, EMBEDDING, STATE, model)
dec_lstm = dy.LSTMBuilder(1, STATE * 2 + EMBEDDING, STATE, model)
input_lookup = model.add_lookup_parameters((LETTERS, EMBEDDING))
output_lookup = model.add_lookup_parameters((LETTERS, EMBEDDING))
attention_w1 = model.add_parameters((ATTENTION, STATE * 2))
attention_w2 = model.add_parameters((ATTENTION, STATE * 2))
attention_v = model.add_parameters((1, ATTENTION))
decoder_w = model.add_parameters((LETTERS, STATE))
decoder_b = model.add_parameters((LETTERS))
if os.path.exists(WEIGHTS):
    model.populate(WEIGHTS)
else:
    model.save(WEIGHTS)
trainer = dy.SimpleSGDTrainer(model)
trainer.set_clip_threshold(1.0)


def run_lstm(init_state, input_vecs):
    s = init_state
    out_vectors = []
    for vector in input_vecs:
        s = s.add_input(vector)
        out_vectors.append(s.output())
    return out_vectors


def encode(letters):
    embedded = [input_lookup[c] for c in letters]
    fwd = run_lstm(enc_fwd_lstm.initial_state(), embedded)
    bwd = run_lstm(enc_bwd_lstm.initial_state(), embedded[::-1])[::-1]
    return [dy.concatenate(list(p)) for p in zip(fwd, bwd)]


def attend(input_mat, state, w1dt):
    w2dt = attention_w2 * dy.concatenate(list(state.s()))
    unnormalized = dy.transpose(attention_v * dy.tanh(dy.colwise_add(w1dt, w2dt)))
    att_weights = dy.softmax(unnormalized)
    return input_mat * att_weights


def start_decoding(vectors):
    input_mat = dy.concatenate_cols(vectors)
    w1dt = attention_w1 * input_mat
    first = dy.concatenate([dy.vecInput(STATE * 2), output_lookup[EOS]])
    return input_mat, w1dt, dec_lstm.initial_state().add_input(first)


def step(state, input_mat, w1dt, last):
    vector = dy.concatenate([attend(input_mat, state, w1dt), output_lookup[last]])
    state = state.add_input(vector)
    return state, decoder_w * state.output() + decoder_b


def get_loss(letters):
    input_mat, w1dt, state = start_decoding(encode(letters + [EOS]))
    last, losses = EOS, []
    for c in letters[::-1] + [EOS]:
        state, scores = step(state, input_mat, w1dt, last)
        losses.append(-dy.log(dy.pick(dy.softmax(scores), c)))
        last = c
    return dy.esum(losses)


def greedy(letters):
    dy.renew_cg()
    input_mat, w1dt, state = start_decoding(encode(letters + [EOS]))
    last, result = EOS, []
    while len(result) < 2 * len(letters):
        state, scores = step(state, input_mat, w1dt, last)
        last = int(np.argmax(dy.log_softmax(scores).npvalue()))
        if last == EOS:
            break
        result.append(last)
    return result


def beam(letters, width=3):
    dy.renew_cg()
    input_mat, w1dt, state = start_decoding(encode(letters + [EOS]))
    hypotheses = [(0.0, [], EOS, state)]
    done = []
    for _ in range(2 * len(letters)):
        stepped = [(p, r) + step(s, input_mat, w1dt, last) for p, r, last, s in hypotheses]
        scores = dy.npvalues([dy.log_softmax(x) for _, _, _, x in stepped])
        grown = [
            (p + row[c], result + [c], c, s)
            for (p, result, s, _), row in zip(stepped, scores)
            for c in range(LETTERS)
        ]
        grown.sort(key=lambda h: -h[0])
        done += [h for h in grown[:width] if h[2] == EOS]
        hypotheses = [h for h in grown[:width] if h[2] != EOS]
        if not hypotheses:
            break
    return max(done + hypotheses, key=lambda h: h[0] / len(h[1]))


rng = random.Random(5)
start = time.perf_counter()
for update in range(UPDATES):
    dy.renew_cg()
    examples = [[rng.randrange(1, LETTERS) for _ in range(rng.randint(3, 12))]
                for _ in range(BATCH)]  # fmt: skip
    loss = dy.average([get_loss(letters) for letters in examples])
    print("loss", loss.value())
    loss.backward()
    trainer.update()
for _ in range(3):
    letters = [rng.randrange(1, LETTERS) for _ in range(6)]
    print("greedy", letters, greedy(letters))
    score, letters = beam(letters)[:2]
    print("beam", letters, round(float(score), 3))
print("seconds", time.perf_counter() - start)
