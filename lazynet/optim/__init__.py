"""Optimisers and learning-rate schedules.

>>> import lazynet as ln
>>> model = ln.Model(seed=0)
>>> w = model.parameter(3, init=[1.0, 2.0, 3.0])
>>> opt = ln.optim.SGD(model, lr=0.1, schedule=ln.optim.Cosine(steps=100))
>>> for _ in range(100):
...     (w * w).sum().backward()
...     opt.step()
>>> bool(abs(w.array).max() < 1e-3)
True
"""

from lazynet.optim.optimizer import Optimizer
from lazynet.optim.rules import SGD, Adadelta, Adagrad, Adam, AdamW, AMSGrad, RMSProp
from lazynet.optim.schedules import Cosine, Cyclical, Schedule, StepDecay, Warmup

__all__ = [
    "SGD",
    "AMSGrad",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Cosine",
    "Cyclical",
    "Optimizer",
    "RMSProp",
    "Schedule",
    "StepDecay",
    "Warmup",
]
