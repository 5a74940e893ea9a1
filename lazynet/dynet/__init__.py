"""DyNet's Python API over lazynet: ``import lazynet.dynet as dy`` is all that a program changes."""

from lazynet.dynet import dynet_config
from lazynet.dynet.arithmetic import cmult
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
from lazynet.dynet.running import install
from lazynet.dynet.tensor import Tensor

__version__ = "2.1"

__all__ = [
    "ComputationGraph",
    "DeviceInfo",
    "DynetParams",
    "ERRMSG",
    "Expression",
    "HAVE_CUDA",
    "LookupParameters",
    "ParameterCollection",
    "Parameters",
    "Tensor",
    "available_devices",
    "cg",
    "cg_checkpoint",
    "cg_revert",
    "cg_version",
    "cmult",
    "dynet_config",
    "forward",
    "get_device_info",
    "init",
    "init_from_params",
    "inputTensor",
    "install",
    "npvalues",
    "renew_cg",
    "reset_random_seed",
    "scalarInput",
    "sum_batches",
    "sum_elems",
    "values",
]

start()
