"""An arc-standard parser: the stack is an LSTM that is popped with `prev`, the buffer another."""

import os
import random
import sys
import time

import dynet as dy

WEIGHTS, UPDATES, FULL = sys.argv[1], int(sys.argv[2]), "full" in sys.argv[3:]
WORDS, WORD, HIDDEN, BATCH = (500, 64, 64, 16) if FULL else (20, 5, 4, 2)
SHIFT, REDUCE_L, REDUCE_R = range(3)


class TransitionParser:
    def __init__(self, model):
        self.pW_comp = model.add_parameters((HIDDEN, HIDDEN * 2))
        self.pb_comp = model.add_parameters((HIDDEN,))
        self.pW_s2h = model.add_parameters((HIDDEN, HIDDEN * 2))
        self.pb_s2h = model.add_parameters((HIDDEN,))
        self.pW_act = model.add_parameters((3, HIDDEN))
        self.pb_act = model.add_parameters((3,))
        self.WORDS_LOOKUP = model.add_lookup_parameters((WORDS, WORD))
        self.buffRNN = dy.LSTMBuilder(1, WORD, HIDDEN, model)
        self.stackRNN = dy.LSTMBuilder(1, HIDDEN, HIDDEN, model)
        self.pempty_buffer_emb = model.add_parameters((HIDDEN,))

    def parse(self, tokens, oracle_actions=None):
        oracle_actions = list(reversed(oracle_actions)) if oracle_actions else None
        stack_top = self.stackRNN.initial_state()
        toks = list(tokens)
        toks.reverse()
        state = self.buffRNN.initial_state()
        buffer = []
        for tok in toks:
            state = state.add_input(self.WORDS_LOOKUP[tok])
            buffer.append((state.output(), tok))
        stack, losses, actions = [], [], []
        while not (len(stack) == 1 and not buffer):
            valid = []
            if buffer:
                valid.append(SHIFT)
            if len(stack) >= 2:
                valid += [REDUCE_L, REDUCE_R]
            action = valid[0]
            log_probs = None
            if len(valid) > 1:
                buffer_embedding = buffer[-1][0] if buffer else self.pempty_buffer_emb
                stack_embedding = stack[-1][0].output()
                parser_state = dy.concatenate([buffer_embedding, stack_embedding])
                h = dy.tanh(self.pW_s2h * parser_state + self.pb_s2h)
                logits = self.pW_act * h + self.pb_act
                log_probs = dy.log_softmax(logits)
                if oracle_actions is None:
                    scores = log_probs.vec_value()
                    action = max(valid, key=lambda a: scores[a])
            if oracle_actions is not None:
                action = oracle_actions.pop()
            if log_probs is not None:
                losses.append(dy.pick(log_probs, action))
            actions.append(action)
            if action == SHIFT:
                embedding, token = buffer.pop()
                stack_state = stack[-1][0] if stack else stack_top
                stack.append((stack_state.add_input(embedding), token))
            else:
                right, left = stack.pop(), stack.pop()
                head, modifier = (left, right) if action == REDUCE_R else (right, left)
                top = stack[-1][0] if stack else stack_top
                composed = dy.rectify(
                    self.pW_comp * dy.concatenate([head[0].output(), modifier[0].output()])
                    + self.pb_comp
                )
                stack.append((top.add_input(composed), head[1]))
        return (-dy.esum(losses) if losses else None), actions


model = dy.Model()
parser = TransitionParser(model)
if os.path.exists(WEIGHTS):
    model.populate(WEIGHTS)
else:
    model.save(WEIGHTS)
trainer = dy.SimpleSGDTrainer(model, 0.05)

rng = random.Random(7)


def example():
    tokens = [rng.randrange(WORDS) for _ in range(rng.randint(3, 20))]
    depth, left, actions = 0, len(tokens), []
    while left or depth > 1:
        if left and (depth < 2 or rng.random() < 0.5):
            actions.append(SHIFT)
            depth, left = depth + 1, left - 1
        else:
            actions.append(rng.choice([REDUCE_L, REDUCE_R]))
            depth -= 1
    return tokens, actions


start = time.perf_counter()
for update in range(UPDATES):
    dy.renew_cg()
    loss = dy.esum([parser.parse(*example())[0] for _ in range(BATCH)])
    print("loss", loss.scalar_value())
    loss.backward()
    trainer.update()
print("seconds", time.perf_counter() - start)
dy.renew_cg()
print("actions", parser.parse(example()[0])[1])
