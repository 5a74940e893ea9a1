"""Bad input to everything that is public: an exception that names the call, and nothing worse.

Every function, class and method has a line in `CALLS` that says what kinds of arguments it has.
A kind has one good value and many bad ones. The good call must run; then each argument in turn is
replaced by each bad value of its kind, which must raise an exception whose message holds the name
of the call; after all that the good call must still run. Most of these calls end the wheel's
process, or give a result.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazynet as ln
import lazynet.dynet as dy

NAN, INF = float("nan"), float("inf")


class Scene:
    """What calls are made with; everything belongs to the current graph, but for `stale`."""

    def __init__(self, folder: Path) -> None:
        dy.renew_cg()
        self.stale = dy.inputTensor(np.ones(4))
        dy.renew_cg()
        self.folder = folder
        self.v = dy.inputTensor(np.linspace(0.1, 0.9, 4))
        self.s = dy.scalarInput(0.5)
        self.one = dy.inputTensor([0.5])
        self.m = dy.inputTensor(np.eye(4) + 0.1)
        self.t = dy.inputTensor(np.linspace(0.1, 0.9, 64).reshape(4, 4, 4))
        self.image = dy.inputTensor(np.ones((4, 4, 2)))
        self.filters = dy.inputTensor(np.ones((2, 2, 2, 3)))
        self.three = dy.inputTensor(np.ones(3))
        self.b = dy.inputTensor(np.linspace(0.1, 0.9, 12).reshape(4, 3), batched=True)
        self.wide = dy.inputTensor(np.ones(16))
        self.gate_weights = dy.inputTensor(np.ones((16, 4)))
        self.row = dy.inputTensor(np.ones((1, 4)))
        self.model = dy.ParameterCollection()
        self.p = self.model.add_parameters((4, 4))
        self.table = self.model.add_lookup_parameters((5, 4))
        self.other = dy.ParameterCollection().add_parameters((4, 4))
        self.trainer = dy.SimpleSGDTrainer(self.model)
        self.lstm = dy.VanillaLSTMBuilder(1, 4, 4, self.model)
        self.simple = dy.SimpleRNNBuilder(1, 4, 4, self.model)
        self.state = self.lstm.initial_state()
        self.birnn = dy.BiRNNBuilder(1, 4, 4, self.model, dy.VanillaLSTMBuilder)
        words = {str(word): word for word in range(6)}
        clusters = folder / "clusters"
        clusters.write_text("".join(f"{word // 3} {word}\n" for word in range(6)))
        self.words, self.clusters = words, str(clusters)
        self.softmax = dy.StandardSoftmaxBuilder(4, 6, self.model)
        self.factored = dy.ClassFactoredSoftmaxBuilder(4, self.clusters, words, self.model)
        self.tree = dy.NaryTreeLSTMBuilder(2, 1, 4, 4, self.model)
        self.tree.start_new_sequence()
        self.tree.set_num_elements(9)
        self.params = dy.DynetParams()
        self.cg = dy.cg()
        self.scalar = dy.FloatValue(1)
        self.whole = dy.UnsignedValue(1)
        self.changing = dy.inputTensor(np.eye(4), reusable_expr=True)
        self.stack = dy.StackedRNNState([self.state])
        self.tensor = self.m.tensor_value()


Bad = Callable[[Scene], list[Any]]


def _no_expressions(w: Scene) -> list[Any]:
    return [None, 2.5, "x", [], [w.v], np.ones(4), object(), ln.constant([1.0]), w.stale]


def _no_lists(w: Scene) -> list[Any]:
    return [None, 3, "x", [], [None], [w.v, None], [w.v, 2.0], [[w.v]], np.ones(3), {}, [w.stale],
            object()]  # fmt: skip


def _no_sequences(w: Scene) -> list[Any]:
    return [None, 3, "x", [None], [w.v, None], [w.v, 2.0], [[w.v]], [w.stale], object()]


def _no_integers(w: Scene) -> list[Any]:
    # Fractions are dropped, as in DyNet
    return [None, "1", [], NAN, object(), w.v, 10**30, -(10**30), (1, 2)]


def _no_indices(w: Scene) -> list[Any]:
    return [*_no_integers(w), 99, -99]


def _no_axes(w: Scene) -> list[Any]:
    return [*_no_integers(w), 9, -1]


def _no_sizes(w: Scene) -> list[Any]:
    return [*_no_integers(w), -1, 2**40]


def _no_counts(w: Scene) -> list[Any]:
    return [*_no_sizes(w), 0]


def _no_numbers(w: Scene) -> list[Any]:
    return [None, "x", [], object(), w.v, (1.0,), 1j]


def _no_factors(w: Scene) -> list[Any]:
    return [*_no_numbers(w), NAN]


def _no_rates(w: Scene) -> list[Any]:
    return [*_no_factors(w), -0.5, 1.5, INF]


def _no_integer_lists(w: Scene) -> list[Any]:
    return [None, "x", [None], ["a"], [NAN], [10**30], [-(10**30)], w.v, [w.v], object()]


def _no_index_lists(w: Scene) -> list[Any]:
    return [*_no_integer_lists(w), [99], [-99], [[1]]]


def _no_axis_lists(w: Scene) -> list[Any]:
    return [*_no_integer_lists(w), [9], [-1], 0]


def _no_dimensions(w: Scene) -> list[Any]:
    return [None, "x", (-1, 2), (2, None), (0.5,), NAN, ("a",), (10**12, 10**12), w.v, object(), -1]


def _no_arrays(w: Scene) -> list[Any]:
    return [None, "x", [None], [["a"]], object(), w.v, [[1, 2], [3]], [1j], np.array(["a"])]


def _no_devices(w: Scene) -> list[Any]:
    return ["NONE:7", 3, w.v]


def _no_files(w: Scene) -> list[Any]:
    return [None, 3.5, [], w.v]


def _no_text(w: Scene) -> list[Any]:
    return [None, 3, [], w.v]


def _no_collections(w: Scene) -> list[Any]:
    return [None, "x", [], w.v, w.p, 3, ln.Model()]


def _no_modes(w: Scene) -> list[Any]:
    return [None, 3, "x", w.v]


def _vectors_of_another_size(w: Scene) -> list[Any]:
    return [w.three, w.m, dy.concatenate_to_batch([w.three, w.three])]


KINDS: dict[str, tuple[Callable[[Scene], Any], Bad]] = {
    **{
        name: (lambda w, name=name: getattr(w, name), _no_expressions)
        for name in "v s m t image filters three b one wide gate_weights row".split()
    },
    "v4": (lambda w: w.v, lambda w: [*_no_expressions(w), *_vectors_of_another_size(w)]),
    "v3": (lambda w: w.v, lambda w: [*_no_expressions(w), w.three]),
    "square": (lambda w: w.m, lambda w: [*_no_expressions(w), w.v, w.row, w.t]),
    "any": (lambda w: w.v, lambda w: []),
    "flag": (lambda w: True, lambda w: []),
    "key": (lambda w: "/name", lambda w: [3, [], w.v, "name", "/a b"]),
    "vs": (lambda w: [w.v, w.v], _no_lists),
    "seq": (lambda w: [w.v, w.v], _no_sequences),
    "affine": (lambda w: [w.v, w.m, w.v], lambda w: [*_no_lists(w), [w.v, w.m], [w.v, w.v, w.m]]),
    "index": (lambda w: 1, _no_indices),
    "place": (lambda w: 1, lambda w: [x for x in _no_indices(w) if type(x) is not tuple]),
    "axis": (lambda w: 0, _no_axes),
    "axis1": (lambda w: 1, _no_axes),
    "size": (lambda w: 2, _no_sizes),
    "count": (lambda w: 2, _no_counts),
    "batch": (lambda w: 1, _no_counts),
    "width": (lambda w: 4, _no_sizes),
    "four": (lambda w: 4, _no_counts),
    "whole": (lambda w: 1, _no_sizes),
    "int": (lambda w: 3, _no_integers),
    "pair": (lambda w: (2, 1), lambda w: [*_no_dimensions(w)[1:], (3, 3)]),
    "natural": (lambda w: 3, lambda w: [*_no_integers(w), -1]),
    "end": (lambda w: 3, lambda w: [*_no_integers(w), 99]),
    "number": (lambda w: 0.5, _no_numbers),
    "factor": (lambda w: 0.5, _no_factors),
    "rate": (lambda w: 0.5, _no_rates),
    "ints": (lambda w: [1, 2], _no_integer_lists),
    "indices": (lambda w: [1, 2], _no_index_lists),
    "index3": (lambda w: [1, 2, 0], lambda w: [*_no_index_lists(w), [1, 2]]),
    "axes": (lambda w: [0], _no_axis_lists),
    "order": (lambda w: [1, 0], lambda w: [*_no_axis_lists(w), [0, 0]]),
    "restriction": (lambda w: [1, 2], lambda w: _no_index_lists(w)[1:]),
    "steps": (lambda w: [1, 1], lambda w: [*_no_integer_lists(w), [0, 1], [-1, 1]]),
    "stride": (lambda w: [1, 1], lambda w: [*_no_integer_lists(w), [0, 1], [-1, 1], [1], []]),
    "dim": (lambda w: (2, 2), _no_dimensions),
    "dim4": (lambda w: (4, 4), lambda w: [*_no_dimensions(w)]),
    "array": (lambda w: np.eye(4), _no_arrays),
    "array4": (lambda w: np.eye(4), lambda w: [*_no_arrays(w), np.eye(3), [1.0]]),
    "numbers": (lambda w: [1.0, 2.0], _no_arrays),
    "row4": (lambda w: [1.0] * 4, lambda w: [*_no_arrays(w), [1.0] * 3]),
    "device": (lambda w: "", _no_devices),
    "file": (lambda w: str(w.folder / "file"), _no_files),
    "text": (lambda w: "name", lambda w: [3, [], w.v, "a/b"]),
    "name": (lambda w: "name", lambda w: [3, [], w.v]),
    "model": (lambda w: w.model, _no_collections),
    "table": (lambda w: w.table, lambda w: [None, "x", [], w.v, w.p, 3, np.ones((4, 4))]),
    "p": (lambda w: w.p, lambda w: [None, "x", [], 3, np.ones((4, 4))]),
    "mode": (lambda w: "zero_gradient", _no_modes),
    "init": (lambda w: 0.5, lambda w: ["nonsense", [], object(), w.v, NAN]),
    "factory": (lambda w: dy.GRUBuilder, lambda w: [None, "x", 3, w.v, dict]),
}  # fmt: skip

UNARY = (
    "abs acos acosh asin asinh atan atanh cos cosh cube erf exp flip_gradient l2_norm lgamma log "
    "log_sigmoid logistic mean_batches mean_elems nobackprop rectify selu sin sinh softsign "
    "sparsemax sqrt square squared_norm std_batches std_elems sum_batches sum_elems tan tanh"
).split()
BINARY = (
    "bmax bmin binary_log_loss cdiv circ_conv circ_corr constrained_softmax dot_product "
    "l1_distance squared_distance"
).split()
TRAINERS = {
    "AdadeltaTrainer": "model factor factor",
    "AdagradTrainer": "model factor factor",
    "AdamTrainer": "model factor rate rate factor",
    "AmsgradTrainer": "model factor rate rate factor",
    "CyclicalSGDTrainer": "model factor factor factor factor",
    "EGTrainer": "model factor factor factor",
    "MomentumSGDTrainer": "model factor factor",
    "RMSPropTrainer": "model factor factor factor",
    "SimpleSGDTrainer": "model factor",
}
BUILDERS = (
    "CompactVanillaLSTMBuilder CoupledLSTMBuilder FastLSTMBuilder GRUBuilder SimpleRNNBuilder "
    "DeepLSTMBuilder UnidirectionalTreeLSTMBuilder BidirectionalTreeLSTMBuilder"
).split()

CALLS: dict[str, str] = {
    **dict.fromkeys(UNARY, "v"),
    **dict.fromkeys(BINARY, "v v4"),
    "cmult": "v v3",
    **TRAINERS,
    **dict.fromkeys(BUILDERS, "count width width model"),
    "LSTMBuilder": "count width width model flag factor",
    "SparseLSTMBuilder": "count width width model flag factor",
    "VanillaLSTMBuilder": "count width width model flag factor",
    "BiRNNBuilder": "count width width model factory",
    "NaryTreeLSTMBuilder": "count count width width model",
    "StandardSoftmaxBuilder": "width four model flag",
    "ConstInitializer": "factor",
    "FloatValue": "number",
    "FloatVectorValue": "numbers",
    "FromFileInitializer": "file",
    "GlorotInitializer": "flag factor",
    "NormalInitializer": "factor factor",
    "NumpyInitializer": "array",
    "SaxeInitializer": "factor",
    "UniformInitializer": "factor",
    "UnsignedValue": "natural",
    "UnsignedVectorValue": "ints",
    "affine_transform": "affine",
    "argmax": "v mode",
    "average": "vs",
    "block_dropout": "v rate",
    "ceil": "v mode",
    "colwise_add": "m v4",
    "concatenate": "vs axis",
    "concatenate_cols": "vs",
    "concatenate_to_batch": "vs",
    "constant": "dim number batch",
    "contract3d_1d": "t v4",
    "contract3d_1d_1d": "t v4 v4",
    "contract3d_1d_1d_bias": "t v4 v4 v4",
    "contract3d_1d_bias": "t v4 square",
    "conv2d": "image filters stride flag",
    "conv2d_bias": "image filters three stride flag",
    "cumsum": "m axis",
    "dropout": "v rate",
    "dropout_batch": "v rate",
    "dropout_dim": "m axis rate",
    "elu": "v factor",
    "emax": "vs",
    "esum": "vs",
    "filter1d_narrow": "m m",
    "floor": "v mode",
    "fold_rows": "m count",
    "forward": "seq",
    "get_device_info": "device",
    "hinge": "v index factor",
    "hinge_batch": "b index3 factor",
    "hinge_dim": "m indices4 axis factor",
    "huber_distance": "v v4 factor",
    "inputTensor": "array flag device flag",
    "inputTensorTranspose": "numbers pair batch device",
    "inputVector": "numbers device",
    "inverse": "square",
    "kmax_pooling": "m count axis1",
    "kmh_ngram": "m count",
    "layer_norm": "v v3 v3",
    "log_softmax": "v restriction",
    "logdet": "square",
    "logsumexp": "vs",
    "logsumexp_dim": "m axis",
    "lookup": "table index flag",
    "lookup_batch": "table indices flag",
    "max_dim": "m axis",
    "maxpooling2d": "image stride stride flag",
    "mean_dim": "m axes flag natural",
    "min_dim": "m axis",
    "moment_batches": "b count",
    "moment_dim": "m axes count flag natural",
    "moment_elems": "v count",
    "noise": "v factor",
    "npvalues": "seq",
    "one_hot": "four place device",
    "ones": "dim batch",
    "pairwise_rank_loss": "s s factor",
    "pick": "m index axis",
    "pick_batch": "b index3 axis",
    "pick_batch_elem": "b index",
    "pick_batch_elems": "b indices",
    "pick_range": "v zero end axis",
    "pickneglogsoftmax": "v index",
    "pickneglogsoftmax_batch": "b index3",
    "pickrange": "v zero end",
    "poisson_loss": "s natural",
    "pow": "v s",
    "random_bernoulli": "dim factor factor batch",
    "random_gumbel": "dim factor factor batch",
    "random_normal": "dim factor factor batch",
    "random_uniform": "dim factor factor batch",
    "reset_random_seed": "natural",
    "reshape": "v dim whole",
    "round": "v mode",
    "scalarInput": "number device",
    "scale_gradient": "v factor",
    "select_cols": "m indices",
    "select_rows": "m indices",
    "silu": "v factor",
    "softmax": "m axis",
    "sparse_inputTensor": "indexarrays numbers dim4 flag number device",
    "std_dim": "m axes flag natural",
    "strided_select": "m steps lows highs",
    "sum_dim": "m axes flag natural",
    "to_device": "v device",
    "trace_of_product": "m square",
    "transpose": "m order",
    "values": "seq",
    "vanilla_lstm_c": "v wide",
    "vanilla_lstm_gates": "v v4 gate_weights gate_weights wide factor",
    "vanilla_lstm_gates_concat": "one_vector v4 gate_weights gate_weights wide factor",
    "vanilla_lstm_gates_dropout": "v v4 gate_weights gate_weights wide v4 v4 factor",
    "vanilla_lstm_gates_dropout_concat": (
        "one_vector v4 gate_weights gate_weights wide v4 v4 factor"
    ),
    "vanilla_lstm_h": "v wide",
    "vecInput": "size device",
    "weight_norm": "v s",
    "zeroes": "dim batch",
    "zeros": "dim batch",
    "ClassFactoredSoftmaxBuilder": "width clusters words model flag",
    "HierarchicalSoftmaxBuilder": "width clusters words model flag",
    "save": "file objects",
    # Methods, of what the scene has under this name
    "model.add_parameters": "dim4 init text device factor factor factor",
    "model.add_lookup_parameters": "dim4 init text device factor factor factor",
    "model.parameters_from_numpy": "array text device",
    "model.lookup_parameters_from_numpy": "array text device",
    "model.add_subcollection": "text",
    "model.set_weight_decay": "factor",
    "model.set_weight_decay_lambda": "factor",
    "model.save": "file key flag",
    "p.set_value": "array4",
    "p.clip_inplace": "factor factor",
    "p.scale": "factor",
    "p.scale_gradient": "factor",
    "p.save": "file name flag",
    "table.batch": "indices",
    "table.init_row": "index row4",
    "table.row_as_array": "index",
    "table.row_grad_as_array": "index",
    "table.rows_as_array": "indices",
    "table.rows_grad_as_array": "indices",
    "table.scale": "factor",
    "table.scale_gradient": "factor",
    "trainer.restart": "factor_or_none",
    "trainer.set_clip_threshold": "factor",
    "trainer.set_learning_rate": "factor",
    "trainer.update_subset": "zero_list zero_list",
    "lstm.initial_state": "two_or_none flag",
    "lstm.initial_state_from_raw_vectors": "raw flag",
    "lstm.set_dropout": "rate",
    "lstm.set_dropouts": "rate rate",
    "lstm.set_dropout_masks": "batch",
    "simple.set_dropout": "rate",
    "state.add_input": "v4",
    "state.add_inputs": "seq",
    "state.transduce": "seq",
    "state.set_s": "two_or_none",
    "state.set_h": "one_or_none",
    "birnn.add_inputs": "seq",
    "birnn.transduce": "seq",
    "birnn.set_dropout": "rate",
    "softmax.neg_log_softmax": "v4 index flag",
    "softmax.neg_log_softmax_batch": "b index3 flag",
    "softmax.full_log_distribution": "v3 flag",
    "softmax.full_logits": "v3 flag",
    "softmax.sample": "v4",
    "factored.neg_log_softmax": "v4 index flag",
    "factored.class_logits": "v4 flag",
    "factored.class_log_distribution": "v4 flag",
    "factored.subclass_logits": "v4 index flag",
    "factored.subclass_log_distribution": "v4 index flag",
    "tree.set_num_elements": "nine",
    "tree.set_dropout": "rate",
    "cg.forward": "node",
    "cg.inc_forward": "node",
    "cg.forward_vec": "node",
    "cg.inc_forward_vec": "node",
    "stack.add_input": "v4",
    "stack.add_inputs": "seq",
    "changing.set": "array4",
    "scalar.set": "number",
    "whole.set": "natural",
    "table.init_from_array": "table_array",
    "tensor.argmax": "axis count",
    "tensor.topk": "axis count",
    "tensor.categorical_sample_log_prob": "axis count",
}
KINDS |= {
    "clusters": (lambda w: w.clusters, lambda w: [None, 3, w.v, str(w.folder / "missing")]),
    "words": (lambda w: w.words, lambda w: [None, 3, "x", w.v, []]),
    "objects": (lambda w: [w.p], lambda w: [None, 3, [None], [w.v], [object()], ["x"]]),
    "nine": (lambda w: 9, lambda w: [*_no_integers(w), -1]),
    "node": (lambda w: w.v, lambda w: [None, "x", [], NAN, 10**30, -1, w.stale, ln.constant(1)]),
    "table_array": (
        lambda w: np.ones((5, 4)),
        lambda w: [*_no_arrays(w), np.ones((4, 5)), np.ones(20)],
    ),
    "zero": (lambda w: 0, lambda w: [*_no_integers(w), 99, -99]),
    "indices4": (lambda w: [0, 1, 2, 3], lambda w: [*_no_index_lists(w), [0, 1]]),
    "one_vector": (lambda w: [w.v], _no_lists),
    "lows": (lambda w: [0, 0], lambda w: [*_no_integer_lists(w), [9, 9]]),
    "highs": (lambda w: [4, 4], lambda w: [*_no_integer_lists(w), [9, 9]]),
    "indexarrays": (
        lambda w: ([0, 1], [0, 1]),
        lambda w: [None, "x", [None], ([0],), ([0, 9], [0, 9]), ([0.5, 1], [0, 1]), w.v, object()],
    ),
    "factor_or_none": (lambda w: None, lambda w: ["x", [], w.v, NAN]),
    "zero_list": (lambda w: [0], lambda w: [None, "x", [None], [0.5], [99], [-99], w.v, 3]),
    "two_or_none": (
        lambda w: [w.v, w.v],
        lambda w: [3, "x", [None, None], [w.v] * 3, [w.stale, w.v], [w.three, w.three], [2.0, 2.0]],
    ),
    "one_or_none": (
        lambda w: [w.v],
        lambda w: [3, "x", [None], [w.v, w.v], [w.stale], [w.three], [2.0]],
    ),
    "raw": (
        lambda w: [[1.0] * 4] * 2,
        lambda w: [3, "x", [None, None], [[1.0] * 4] * 3, [[1.0] * 3] * 2, [["a"] * 4] * 2],
    ),
}  # fmt: skip

# Without arguments, or with such as anything goes for; or tried by files of tests of their own
ELSEWHERE = """
    ComputationGraph DeviceInfo DynetParams ERRMSG Expression HAVE_CUDA IdentityInitializer
    LookupParameters Model ParameterCollection Parameters PyInitializer RNNState SoftmaxBuilder
    StackedRNNState Tensor Trainer TreeLSTMBuilder available_devices cg cg_checkpoint cg_revert
    cg_version const_parameter dump_cg dynet_config init init_from_params inputMatrix install load
    load_generator matInput parameter print_graphviz print_text_graphviz renew_cg
""".split()


def test_everything_public_is_tried() -> None:
    assert sorted({*CALLS, *ELSEWHERE}.symmetric_difference(dy.__all__) - _methods()) == []


def _methods() -> set[str]:
    return {name for name in CALLS if "." in name}


def _target(w: Scene, name: str) -> tuple[Callable[..., Any], str]:
    """What is called, and the name that its errors must hold."""
    owner, _, method = name.rpartition(".")
    if owner:
        return getattr(getattr(w, owner), method), method
    return getattr(dy, name), name


# Another name of the same thing
ALIASES = {
    "LSTMBuilder": "VanillaLSTMBuilder",
    "pickrange": "pick_range",
    "scalar.set": "FloatValue",
    "whole.set": "UnsignedValue",
}


def _show(x: Any) -> str:
    return f"{type(x).__name__} {x!r}"[:60]


def problems(name: str, w: Scene) -> list[str]:
    """What is wrong with the errors of one call."""
    call, word = _target(w, name)
    word = ALIASES.get(name, word)
    kinds = CALLS[name].split()
    good = [KINDS[kind][0](w) for kind in kinds]
    call(*good)
    found = []
    attempts = [
        (position, bad, [*good[:position], bad, *good[position + 1 :]])
        for position, kind in enumerate(kinds)
        for bad in KINDS[kind][1](w)
    ]
    attempts.append((-1, "one argument too many", [*good, *[None] * 9]))
    for position, bad, arguments in attempts:
        try:
            call(*arguments)
        except Exception as error:
            if re.search(rf"\b({word}|{call.__name__}|__init__)\b", str(error)) is None:
                found.append(f"argument {position}, {_show(bad)}: {error!r}"[:300])
        else:
            found.append(f"argument {position}, {_show(bad)}: accepted")
    call(*good)
    return found


@pytest.mark.parametrize("name", CALLS)
def test_bad_input_raises_an_error_that_names_the_call(name: str, tmp_path: Path) -> None:
    assert problems(name, Scene(tmp_path)) == []


# What belongs to a graph that was renewed or reverted


METHODS = "backward dim forward gradient npvalue scalar_value tensor_value value vec_value".split()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("end", ["renewed", "reverted"])
def test_methods_of_stale_expressions(method: str, end: str) -> None:
    """`npvalue` of an old expression gives the value of another one in the wheel, or ends it."""
    dy.renew_cg()
    dy.cg_checkpoint()
    x = dy.scalarInput(1) * 2
    dy.cg_revert() if end == "reverted" else dy.renew_cg()
    dy.scalarInput(2).backward()
    with pytest.raises(RuntimeError, match=f"{method}: stale expression"):
        getattr(x, method)()


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    r"\+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    r"\*": lambda x, y: x * y,
    "pow": lambda x, y: x**y,
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_with_stale_expressions(name: str, tmp_path: Path) -> None:
    w = Scene(tmp_path)
    for pair in ((w.v, w.stale), (w.stale, w.s), (w.stale, w.stale)):
        with pytest.raises(RuntimeError, match=f"{name}: stale expression"):
            OPERATORS[name](*pair)
    for bad in (None, "x", [1.0], np.ones(4), object()):
        for pair in ((w.v, bad), (bad, w.v)):
            with pytest.raises((TypeError, NotImplementedError)):
                OPERATORS[name](*pair)


@pytest.mark.parametrize("index", [None, "x", 4, -5, NAN, 10**30, -(10**30), object(), (0, 0, 0)])
def test_indices_of_expressions(index: Any, tmp_path: Path) -> None:
    w = Scene(tmp_path)
    with pytest.raises((TypeError, ValueError, IndexError, OverflowError), match=r"\[.*\]"):
        w.v[index]


@pytest.mark.parametrize("index", [None, "x", 5, -1, NAN, 10**30, object(), (0, 0)])
def test_rows_of_tables(index: Any, tmp_path: Path) -> None:
    w = Scene(tmp_path)
    with pytest.raises((TypeError, ValueError, OverflowError), match=r"LookupParameters\["):
        w.table[index]


# Numbers that are none, where the wheel computes on with them


def test_a_parameter_may_hold_nan_but_an_update_does_not_spread_it() -> None:
    model = dy.ParameterCollection()
    good, bad = model.add_parameters(2, init=1.0), model.add_parameters(2, name="culprit")
    bad.set_value([NAN, 1.0])
    trainer = dy.AdamTrainer(model)
    dy.renew_cg()
    dy.dot_product(good, bad).backward()
    with pytest.raises(
        RuntimeError, match=r"AdamTrainer.update: magnitude of gradient is bad.*/_0"
    ):
        trainer.update()
    assert good.as_array().tolist() == [1, 1]


def test_nan_is_told_where_it_arises_if_that_is_asked_for() -> None:
    dy.renew_cg(immediate_compute=True, check_validity=True)
    x = dy.inputVector([1.0, -1.0])
    with pytest.raises(RuntimeError, match="sqrt"):
        dy.sqrt(x)
    with pytest.raises(RuntimeError, match="NaN"):
        dy.inputVector([NAN])
    dy.renew_cg()


# Files


@pytest.mark.parametrize("call", [dy.load, dy.load_generator])
def test_load_of_what_is_no_file(call: Any, tmp_path: Path) -> None:
    model = dy.ParameterCollection()
    for name in (None, 3, [], str(tmp_path / "missing")):
        with pytest.raises((TypeError, RuntimeError, OSError), match="load"):
            list(call(name, model))
    with pytest.raises(TypeError, match="load"):
        list(call(str(tmp_path / "missing"), None))


def test_what_only_raises_says_what_to_use() -> None:
    for call in (lambda: dy.matInput(2, 3), lambda: dy.inputMatrix([1.0], (1, 1))):
        with pytest.raises(Exception, match="inputTensor"):
            call()
