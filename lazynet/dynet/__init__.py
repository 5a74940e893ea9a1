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
from lazynet.dynet.persistence import load, load_generator, save
from lazynet.dynet.reduce import sum_batches, sum_elems
from lazynet.dynet.tensor import Tensor
from lazynet.dynet.trainers import (
    AdadeltaTrainer,
    AdagradTrainer,
    AdamTrainer,
    AmsgradTrainer,
    CyclicalSGDTrainer,
    EGTrainer,
    MomentumSGDTrainer,
    RMSPropTrainer,
    SimpleSGDTrainer,
    Trainer,
)

__all__ = [
    "AdadeltaTrainer",
    "AdagradTrainer",
    "AdamTrainer",
    "AmsgradTrainer",
    "ComputationGraph",
    "ConstInitializer",
    "CyclicalSGDTrainer",
    "EGTrainer",
    "Expression",
    "FromFileInitializer",
    "GlorotInitializer",
    "IdentityInitializer",
    "LookupParameters",
    "Model",
    "MomentumSGDTrainer",
    "NormalInitializer",
    "NumpyInitializer",
    "ParameterCollection",
    "Parameters",
    "PyInitializer",
    "RMSPropTrainer",
    "SaxeInitializer",
    "SimpleSGDTrainer",
    "Tensor",
    "Trainer",
    "UniformInitializer",
    "cg",
    "cg_checkpoint",
    "cg_revert",
    "cg_version",
    "cmult",
    "const_parameter",
    "forward",
    "inputTensor",
    "load",
    "load_generator",
    "lookup",
    "lookup_batch",
    "npvalues",
    "parameter",
    "renew_cg",
    "save",
    "scalarInput",
    "sum_batches",
    "sum_elems",
    "values",
]
