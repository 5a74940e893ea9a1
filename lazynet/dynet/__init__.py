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
from lazynet.dynet.loss import (
    binary_log_loss,
    hinge,
    hinge_batch,
    hinge_dim,
    huber_distance,
    l1_distance,
    pairwise_rank_loss,
    poisson_loss,
    squared_distance,
)
from lazynet.dynet.parameters import LookupParameters, ParameterCollection, Parameters
from lazynet.dynet.picking import (
    pick,
    pick_batch,
    pick_batch_elem,
    pick_batch_elems,
    pick_range,
    pickrange,
    select_cols,
    select_rows,
    strided_select,
)
from lazynet.dynet.probability import (
    constrained_softmax,
    log_softmax,
    pickneglogsoftmax,
    pickneglogsoftmax_batch,
    softmax,
    sparsemax,
)
from lazynet.dynet.reduce import sum_batches, sum_elems
from lazynet.dynet.shape import (
    flip_gradient,
    nobackprop,
    reshape,
    scale_gradient,
    to_device,
    transpose,
)
from lazynet.dynet.tensor import Tensor

__all__ = [
    "ComputationGraph",
    "Expression",
    "LookupParameters",
    "ParameterCollection",
    "Parameters",
    "Tensor",
    "binary_log_loss",
    "cg",
    "cg_checkpoint",
    "cg_revert",
    "cg_version",
    "cmult",
    "constrained_softmax",
    "flip_gradient",
    "forward",
    "hinge",
    "hinge_batch",
    "hinge_dim",
    "huber_distance",
    "inputTensor",
    "l1_distance",
    "log_softmax",
    "nobackprop",
    "npvalues",
    "pairwise_rank_loss",
    "pick",
    "pick_batch",
    "pick_batch_elem",
    "pick_batch_elems",
    "pick_range",
    "pickneglogsoftmax",
    "pickneglogsoftmax_batch",
    "pickrange",
    "poisson_loss",
    "renew_cg",
    "reshape",
    "scalarInput",
    "scale_gradient",
    "select_cols",
    "select_rows",
    "softmax",
    "sparsemax",
    "squared_distance",
    "strided_select",
    "sum_batches",
    "sum_elems",
    "to_device",
    "transpose",
    "values",
]
