"""Layers, written for one example with nothing but public operations.

Each owns its parameters through a sub-model of the model given first. Recurrent layers take a
sequence as one batched expression (its rows are the positions) or as a list of single expressions,
and return ``ys, state``.
"""

from lazynet.nn.attention import (
    AdditiveAttention,
    Attention,
    BilinearAttention,
    DotAttention,
    MultiHeadAttention,
)
from lazynet.nn.conv import Conv1d
from lazynet.nn.linear import MLP, Dropout, LayerNorm, Linear
from lazynet.nn.recurrent import GRU, LSTM, RNN, Bidirectional, Recurrent
from lazynet.nn.softmax import ClassFactoredSoftmax
from lazynet.nn.tree import ChildSumTreeLSTM, NaryTreeLSTM

__all__ = [
    "AdditiveAttention",
    "Attention",
    "Bidirectional",
    "BilinearAttention",
    "ChildSumTreeLSTM",
    "ClassFactoredSoftmax",
    "Conv1d",
    "DotAttention",
    "Dropout",
    "GRU",
    "LSTM",
    "LayerNorm",
    "Linear",
    "MLP",
    "MultiHeadAttention",
    "NaryTreeLSTM",
    "RNN",
    "Recurrent",
]
