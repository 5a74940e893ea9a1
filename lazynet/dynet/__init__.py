"""DyNet's Python API over lazynet: ``import lazynet.dynet as dy`` is all that a program changes."""

from lazynet.dynet.arithmetic import cmult
from lazynet.dynet.collection import Model, ParameterCollection
from lazynet.dynet.expression import Expression, forward, npvalues, values
from lazynet.dynet.graph import (
    ComputationGraph,
    cg,
    cg_checkpoint,
    cg_revert,
    cg_version,
    renew_cg,
)
from lazynet.dynet.initializers import (
    ConstInitializer,
    FromFileInitializer,
    GlorotInitializer,
    IdentityInitializer,
    NormalInitializer,
    NumpyInitializer,
    PyInitializer,
    SaxeInitializer,
    UniformInitializer,
)
from lazynet.dynet.inputs import inputTensor, scalarInput
from lazynet.dynet.parameters import (
    LookupParameters,
    Parameters,
    const_parameter,
    lookup,
    lookup_batch,
    parameter,
)
from lazynet.dynet.reduce import sum_batches, sum_elems
from lazynet.dynet.rnn import (
    CompactVanillaLSTMBuilder,
    CoupledLSTMBuilder,
    FastLSTMBuilder,
    GRUBuilder,
    LSTMBuilder,
    SimpleRNNBuilder,
    SparseLSTMBuilder,
    VanillaLSTMBuilder,
)
from lazynet.dynet.rnn_bi import BiRNNBuilder
from lazynet.dynet.rnn_states import RNNState, StackedRNNState
from lazynet.dynet.tensor import Tensor

__all__ = [
    "BiRNNBuilder",
    "CompactVanillaLSTMBuilder",
    "ComputationGraph",
    "ConstInitializer",
    "CoupledLSTMBuilder",
    "Expression",
    "FastLSTMBuilder",
    "FromFileInitializer",
    "GRUBuilder",
    "GlorotInitializer",
    "IdentityInitializer",
    "LSTMBuilder",
    "LookupParameters",
    "Model",
    "NormalInitializer",
    "NumpyInitializer",
    "ParameterCollection",
    "Parameters",
    "PyInitializer",
    "RNNState",
    "SaxeInitializer",
    "SimpleRNNBuilder",
    "SparseLSTMBuilder",
    "StackedRNNState",
    "Tensor",
    "UniformInitializer",
    "VanillaLSTMBuilder",
    "cg",
    "cg_checkpoint",
    "cg_revert",
    "cg_version",
    "cmult",
    "const_parameter",
    "forward",
    "inputTensor",
    "lookup",
    "lookup_batch",
    "npvalues",
    "parameter",
    "renew_cg",
    "scalarInput",
    "sum_batches",
    "sum_elems",
    "values",
]
