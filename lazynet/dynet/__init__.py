"""DyNet's Python API over lazynet: ``import lazynet.dynet as dy`` is all that a program changes."""

from lazynet.dynet import dynet_config
from lazynet.dynet.arithmetic import bmax, bmin, cdiv, cmult, colwise_add, cumsum, pow
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
from lazynet.dynet.deep import DeepLSTMBuilder
from lazynet.dynet.elementwise import (
    abs,
    acos,
    acosh,
    argmax,
    asin,
    asinh,
    atan,
    atanh,
    ceil,
    cos,
    cosh,
    cube,
    elu,
    erf,
    exp,
    floor,
    lgamma,
    log,
    log_sigmoid,
    logistic,
    rectify,
    round,
    selu,
    silu,
    sin,
    sinh,
    softsign,
    sqrt,
    square,
    tan,
    tanh,
)
from lazynet.dynet.expression import Expression
from lazynet.dynet.graph import ComputationGraph, cg, cg_checkpoint, cg_revert, cg_version, renew_cg
from lazynet.dynet.holders import FloatValue, FloatVectorValue, UnsignedValue, UnsignedVectorValue
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
from lazynet.dynet.inputs import (
    constant,
    inputMatrix,
    inputTensor,
    inputTensorTranspose,
    inputVector,
    matInput,
    one_hot,
    ones,
    scalarInput,
    sparse_inputTensor,
    vecInput,
    zeroes,
    zeros,
)
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
from lazynet.dynet.lists import (
    affine_transform,
    average,
    concatenate,
    concatenate_cols,
    concatenate_to_batch,
    emax,
    esum,
    logsumexp,
)
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
from lazynet.dynet.lstm import (
    vanilla_lstm_c,
    vanilla_lstm_gates,
    vanilla_lstm_gates_concat,
    vanilla_lstm_gates_dropout,
    vanilla_lstm_gates_dropout_concat,
    vanilla_lstm_h,
)
from lazynet.dynet.norm import layer_norm, weight_norm
from lazynet.dynet.parameters import (
    LookupParameters,
    Parameters,
    const_parameter,
    lookup,
    lookup_batch,
    parameter,
)
from lazynet.dynet.persistence import load, load_generator, save
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
from lazynet.dynet.random import (
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
from lazynet.dynet.reduce import (
    l2_norm,
    logsumexp_dim,
    max_dim,
    mean_batches,
    mean_dim,
    mean_elems,
    min_dim,
    moment_batches,
    moment_dim,
    moment_elems,
    squared_norm,
    std_batches,
    std_dim,
    std_elems,
    sum_batches,
    sum_dim,
    sum_elems,
)
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
from lazynet.dynet.running import install
from lazynet.dynet.several import forward, npvalues, values
from lazynet.dynet.shape import (
    flip_gradient,
    nobackprop,
    reshape,
    scale_gradient,
    to_device,
    transpose,
)
from lazynet.dynet.softmax_builders import (
    ClassFactoredSoftmaxBuilder,
    HierarchicalSoftmaxBuilder,
    SoftmaxBuilder,
    StandardSoftmaxBuilder,
)
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
from lazynet.dynet.trees import (
    BidirectionalTreeLSTMBuilder,
    NaryTreeLSTMBuilder,
    TreeLSTMBuilder,
    UnidirectionalTreeLSTMBuilder,
)
from lazynet.dynet.viz import dump_cg, print_graphviz, print_text_graphviz

__version__ = "2.1"

__all__ = [
    "AdadeltaTrainer", "AdagradTrainer", "AdamTrainer", "AmsgradTrainer", "BiRNNBuilder",
    "BidirectionalTreeLSTMBuilder", "ClassFactoredSoftmaxBuilder", "CompactVanillaLSTMBuilder",
    "ComputationGraph", "ConstInitializer", "CoupledLSTMBuilder", "CyclicalSGDTrainer",
    "DeepLSTMBuilder", "DeviceInfo", "DynetParams", "EGTrainer", "ERRMSG", "Expression",
    "FastLSTMBuilder", "FloatValue", "FloatVectorValue", "FromFileInitializer", "GRUBuilder",
    "GlorotInitializer", "HAVE_CUDA", "HierarchicalSoftmaxBuilder", "IdentityInitializer",
    "LSTMBuilder", "LookupParameters", "Model", "MomentumSGDTrainer", "NaryTreeLSTMBuilder",
    "NormalInitializer", "NumpyInitializer", "ParameterCollection", "Parameters", "PyInitializer",
    "RMSPropTrainer", "RNNState", "SaxeInitializer", "SimpleRNNBuilder", "SimpleSGDTrainer",
    "SoftmaxBuilder", "SparseLSTMBuilder", "StackedRNNState", "StandardSoftmaxBuilder", "Tensor",
    "Trainer", "TreeLSTMBuilder", "UnidirectionalTreeLSTMBuilder", "UniformInitializer",
    "UnsignedValue", "UnsignedVectorValue", "VanillaLSTMBuilder", "abs", "acos", "acosh",
    "affine_transform", "argmax", "asin", "asinh", "atan", "atanh", "available_devices", "average",
    "binary_log_loss", "block_dropout", "bmax", "bmin", "cdiv", "ceil", "cg", "cg_checkpoint",
    "cg_revert", "cg_version", "circ_conv", "circ_corr", "cmult", "colwise_add", "concatenate",
    "concatenate_cols", "concatenate_to_batch", "const_parameter", "constant",
    "constrained_softmax", "contract3d_1d", "contract3d_1d_1d", "contract3d_1d_1d_bias",
    "contract3d_1d_bias", "conv2d", "conv2d_bias", "cos", "cosh", "cube", "cumsum", "dot_product",
    "dropout", "dropout_batch", "dropout_dim", "dump_cg", "dynet_config", "elu", "emax", "erf",
    "esum", "exp", "filter1d_narrow", "flip_gradient", "floor", "fold_rows", "forward",
    "get_device_info", "hinge", "hinge_batch", "hinge_dim", "huber_distance", "init",
    "init_from_params", "inputMatrix", "inputTensor", "inputTensorTranspose", "inputVector",
    "install", "inverse", "kmax_pooling", "kmh_ngram", "l1_distance", "l2_norm", "layer_norm",
    "lgamma", "load", "load_generator", "log", "log_sigmoid", "log_softmax", "logdet", "logistic",
    "logsumexp", "logsumexp_dim", "lookup", "lookup_batch", "matInput", "max_dim", "maxpooling2d",
    "mean_batches", "mean_dim", "mean_elems", "min_dim", "moment_batches", "moment_dim",
    "moment_elems", "nobackprop", "noise", "npvalues", "one_hot", "ones", "pairwise_rank_loss",
    "parameter", "pick", "pick_batch", "pick_batch_elem", "pick_batch_elems", "pick_range",
    "pickneglogsoftmax", "pickneglogsoftmax_batch", "pickrange", "poisson_loss", "pow",
    "print_graphviz", "print_text_graphviz", "random_bernoulli", "random_gumbel", "random_normal",
    "random_uniform", "rectify", "renew_cg", "reset_random_seed", "reshape", "round", "save",
    "scalarInput", "scale_gradient", "select_cols", "select_rows", "selu", "silu", "sin", "sinh",
    "softmax", "softsign", "sparse_inputTensor", "sparsemax", "sqrt", "square", "squared_distance",
    "squared_norm", "std_batches", "std_dim", "std_elems", "strided_select", "sum_batches",
    "sum_dim", "sum_elems", "tan", "tanh", "to_device", "trace_of_product", "transpose", "values",
    "vanilla_lstm_c", "vanilla_lstm_gates", "vanilla_lstm_gates_concat",
    "vanilla_lstm_gates_dropout", "vanilla_lstm_gates_dropout_concat", "vanilla_lstm_h", "vecInput",
    "weight_norm", "zeroes", "zeros",
]  # fmt: skip

start()
