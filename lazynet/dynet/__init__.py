"""DyNet's Python API over lazynet: ``import lazynet.dynet as dy`` is all that a program changes."""

from lazynet.dynet import dynet_config
from lazynet.dynet.arithmetic import cmult
from lazynet.dynet.collection import Model, ParameterCollection
from lazynet.dynet.config import (
    ERRMSG,
    HAVE_CUDA,
    DeviceInfo,
    DynetParams,
    available_devices,
    get_device_info,
    init,
    init_from_params,
    reset_random_seed,
    start,
)
from lazynet.dynet.expression import Expression, forward, npvalues, values
from lazynet.dynet.graph import ComputationGraph, cg, cg_checkpoint, cg_revert, cg_version, renew_cg
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
from lazynet.dynet.running import install
from lazynet.dynet.softmax import (
    ClassFactoredSoftmaxBuilder,
    HierarchicalSoftmaxBuilder,
    SoftmaxBuilder,
    StandardSoftmaxBuilder,
)
from lazynet.dynet.tensor import Tensor

__version__ = "2.1"

__all__ = [
    "ClassFactoredSoftmaxBuilder",
    "ComputationGraph",
    "ConstInitializer",
    "DeviceInfo",
    "DynetParams",
    "ERRMSG",
    "Expression",
    "FromFileInitializer",
    "GlorotInitializer",
    "HAVE_CUDA",
    "HierarchicalSoftmaxBuilder",
    "IdentityInitializer",
    "LookupParameters",
    "Model",
    "NormalInitializer",
    "NumpyInitializer",
    "ParameterCollection",
    "Parameters",
    "PyInitializer",
    "SaxeInitializer",
    "SoftmaxBuilder",
    "StandardSoftmaxBuilder",
    "Tensor",
    "UniformInitializer",
    "available_devices",
    "cg",
    "cg_checkpoint",
    "cg_revert",
    "cg_version",
    "cmult",
    "const_parameter",
    "dynet_config",
    "forward",
    "get_device_info",
    "init",
    "init_from_params",
    "inputTensor",
    "install",
    "lookup",
    "lookup_batch",
    "npvalues",
    "parameter",
    "renew_cg",
    "reset_random_seed",
    "scalarInput",
    "sum_batches",
    "sum_elems",
    "values",
]

start()
