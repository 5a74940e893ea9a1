"""DyNet's Python API over lazynet: ``import lazynet.dynet as dy`` is all that a program changes."""

from lazynet.dynet.arithmetic import cmult
from lazynet.dynet.convolution import (
    circ_conv,
    circ_corr,
    conv2d,
    conv2d_bias,
    filter1d_narrow,
    fold_rows,
    kmax_pooling,
    kmh_ngram,
    maxpooling2d,
)
from lazynet.dynet.expression import Expression, forward, npvalues, values
from lazynet.dynet.graph import (
    ComputationGraph,
    cg,
    cg_checkpoint,
    cg_revert,
    cg_version,
    renew_cg,
)
from lazynet.dynet.inputs import inputTensor, scalarInput
from lazynet.dynet.linalg import (
    contract3d_1d,
    contract3d_1d_1d,
    contract3d_1d_1d_bias,
    contract3d_1d_bias,
    dot_product,
    inverse,
    logdet,
    trace_of_product,
)
from lazynet.dynet.lstm import (
    vanilla_lstm_c,
    vanilla_lstm_gates,
    vanilla_lstm_gates_concat,
    vanilla_lstm_gates_dropout,
    vanilla_lstm_gates_dropout_concat,
    vanilla_lstm_h,
)
from lazynet.dynet.noise import (
    block_dropout,
    dropout,
    dropout_batch,
    dropout_dim,
    noise,
    random_bernoulli,
    random_gumbel,
    random_normal,
    random_uniform,
)
from lazynet.dynet.norm import (
    layer_norm,
    weight_norm,
)
from lazynet.dynet.parameters import LookupParameters, ParameterCollection, Parameters
from lazynet.dynet.reduce import sum_batches, sum_elems
from lazynet.dynet.tensor import Tensor

__all__ = [
    "conv2d",
    "conv2d_bias",
    "maxpooling2d",
    "filter1d_narrow",
    "fold_rows",
    "kmax_pooling",
    "kmh_ngram",
    "circ_conv",
    "circ_corr",
    "dot_product",
    "inverse",
    "logdet",
    "trace_of_product",
    "contract3d_1d",
    "contract3d_1d_bias",
    "contract3d_1d_1d",
    "contract3d_1d_1d_bias",
    "vanilla_lstm_gates",
    "vanilla_lstm_gates_concat",
    "vanilla_lstm_gates_dropout",
    "vanilla_lstm_gates_dropout_concat",
    "vanilla_lstm_c",
    "vanilla_lstm_h",
    "random_normal",
    "random_bernoulli",
    "random_uniform",
    "random_gumbel",
    "noise",
    "dropout",
    "dropout_dim",
    "dropout_batch",
    "block_dropout",
    "layer_norm",
    "weight_norm",
    "ComputationGraph",
    "Expression",
    "LookupParameters",
    "ParameterCollection",
    "Parameters",
    "Tensor",
    "cg",
    "cg_checkpoint",
    "cg_revert",
    "cg_version",
    "cmult",
    "forward",
    "inputTensor",
    "npvalues",
    "renew_cg",
    "scalarInput",
    "sum_batches",
    "sum_elems",
    "values",
]
