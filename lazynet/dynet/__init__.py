"""DyNet's Python API over lazynet: ``import lazynet.dynet as dy`` is all that a program changes."""

from lazynet.dynet.arithmetic import cmult
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
from lazynet.dynet.parameters import LookupParameters, ParameterCollection, Parameters
from lazynet.dynet.reduce import sum_batches, sum_elems
from lazynet.dynet.tensor import Tensor

__all__ = [
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
