"""Store the names and signatures of DyNet's wheel, or compare with what is stored.

python tests/dynet/record_api.py         # writes tests/dynet/data/api.json
python tests/dynet/record_api.py --check # compares instead

The wheel hides the signatures of its constructors. Those below are from its documentation; that
their names and their number are right is checked against the errors that wrong calls raise.
"""

from __future__ import annotations

import glob
import importlib.metadata
import inspect
import json
import re
import sys
from pathlib import Path

DATA = Path(__file__).resolve().parent / "data" / "api.json"

RNN = "layers, input_dim, hidden_dim, model"
CONSTRUCTORS = {
    "AdadeltaTrainer": "m, eps=1e-6, rho=0.95",
    "AdagradTrainer": "m, learning_rate=0.1, eps=1e-20",
    "AdamTrainer": "m, alpha=0.001, beta_1=0.9, beta_2=0.999, eps=1e-8",
    "AmsgradTrainer": "m, alpha=0.001, beta_1=0.9, beta_2=0.999, eps=1e-8",
    "ClassFactoredSoftmaxBuilder": "input_dim, cluster_file, dic, pc, bias=True",
    "CompactVanillaLSTMBuilder": RNN,
    "ConstInitializer": "c",
    "CoupledLSTMBuilder": RNN,
    "CyclicalSGDTrainer": (
        "m, learning_rate_min=0.01, learning_rate_max=0.1, step_size=2000, gamma=1.0"
    ),
    "DynetParams": "",
    "FastLSTMBuilder": RNN,
    "FloatValue": "val=0",
    "FloatVectorValue": "vals",
    "FromFileInitializer": "fname",
    "GRUBuilder": RNN,
    "GlorotInitializer": "is_lookup=False, gain=1.0",
    "IdentityInitializer": "",
    "LSTMBuilder": f"{RNN}, ln_lstm=False, forget_bias=1.0",
    "Model": "parent=None",
    "MomentumSGDTrainer": "m, learning_rate=0.01, mom=0.9",
    "NormalInitializer": "mean=0, var=1",
    "NumpyInitializer": "array",
    "ParameterCollection": "parent=None",
    "PyInitializer": "",
    "RMSPropTrainer": "m, learning_rate=0.001, eps=1e-8, rho=0.9",
    "SaxeInitializer": "scale=1.0",
    "SimpleRNNBuilder": RNN,
    "SimpleSGDTrainer": "m, learning_rate=0.1",
    "SparseLSTMBuilder": f"{RNN}, ln_lstm=False, forget_bias=1.0",
    "StackedRNNState": "states, prev=None",
    "StandardSoftmaxBuilder": "input_dim, num_classes, pc, bias=True",
    "UniformInitializer": "scale",
    "UnsignedValue": "val=0",
    "UnsignedVectorValue": "vals",
    "VanillaLSTMBuilder": f"{RNN}, ln_lstm=False, forget_bias=1.0",
    "inputTensorTranspose": "val, dim=None, batch_size=1, device=''",
}
NOT_MADE = ["ComputationGraph", "Expression", "LookupParameters", "Parameters", "RNNState",
            "SoftmaxBuilder", "Tensor", "Trainer"]  # fmt: skip
"""Classes that programs get objects of without calling them."""
ACCIDENTS = ["np", "os", "pickle", "print_function", "sys"]
"""Names that the wheel's module holds because it imports them."""
VIZ = "compact=False, show_dims=True, expression_names=None, lookup_names=None, "
OF_VIZ = {"print_graphviz": f"{VIZ}collapse_birnns=False"}
"""Without --dynet-viz the wheel has a stand-in that only prints a hint."""


def parameters(signature: inspect.Signature) -> list[list[str]]:
    """Name, kind and default of each."""
    found = []
    for p in signature.parameters.values():
        default = "" if p.default is inspect.Parameter.empty else repr(p.default)
        found.append([p.name, p.kind.name, default])
    return found


def written(text: str) -> list[list[str]]:
    return parameters(inspect.signature(eval(f"lambda {text}: None")))


def check_constructor(made: type, text: str, words: list[str]) -> None:
    """Compare names, and least and greatest number, with what the wheel's errors tell."""

    def error(*args: None, **keywords: int) -> str:
        try:
            made(*args, **keywords)
        except TypeError as e:
            return str(e)
        return ""

    expected = written(text)
    number = re.search(r"takes (at most|exactly) (\d+) positional", error(*[None] * 40))
    assert number and int(number[2]) == len(expected), f"{made}: {number}"
    required = sum(not default for _, _, default in expected)
    least = re.search(r"takes (at least|exactly) (\d+) positional", error()) if required else None
    assert required == (int(least[2]) if least else 0), f"{made}: {least}"
    full = [None] * len(expected)
    named = {word for word in words if "multiple values" in error(*full, **{word: 1})}
    assert named == {name for name, _, _ in expected}, f"{made}: {named}"


def members(made: type) -> dict[str, list[list[str]] | None]:
    """Signatures of methods; None for attributes."""
    found: dict[str, list[list[str]] | None] = {}
    for name in sorted(set(dir(made)) - set(dir(object))):
        value = inspect.getattr_static(made, name)
        if name.startswith("_") and not (name.startswith("__") and name.endswith("__")):
            continue
        if "cython" in name or name in (
            "__pyx_vtable__",
            "__dict__",
            "__weakref__",
            "__setstate__",
        ):
            continue
        if name.startswith("__"):
            found[name] = []
        elif callable(getattr(made, name)):
            own = parameters(inspect.signature(getattr(made, name)))
            bound = isinstance(value, (classmethod, staticmethod)) or own[:1] != [
                ["self", "POSITIONAL_OR_KEYWORD", ""]
            ]
            found[name] = own if bound else own[1:]
        else:
            found[name] = None
    return found


def main() -> None:
    check = "--check" in sys.argv
    sys.argv[1:] = []
    import dynet as dy

    library = glob.glob(str(Path(dy.__file__).parent / "_dynet*.so"))[0]
    data = Path(library).read_bytes()
    words = sorted({w.decode() for w in re.findall(rb"[A-Za-z_][A-Za-z0-9_]{0,30}(?=\x00)", data)})
    functions, classes, constants = {}, {}, {}
    for name in dir(dy):
        value = getattr(dy, name)
        if (name.startswith("_") and name != "__version__") or name in ACCIDENTS:
            continue
        if inspect.isclass(value):
            constructor = None
            if name in CONSTRUCTORS:
                check_constructor(value, CONSTRUCTORS[name], words)
                constructor = written(CONSTRUCTORS[name])
            elif name not in NOT_MADE:
                constructor = parameters(inspect.signature(value))
            classes[name] = {
                "constructor": constructor,
                "members": members(value),
                "bases": [b.__name__ for b in value.__mro__[1:-1]],
            }
        elif callable(value):
            functions[name] = (
                written(OF_VIZ[name]) if name in OF_VIZ else parameters(inspect.signature(value))
            )
        else:
            constants[name] = type(value).__name__
    api = {
        "versions": {"dynet38": importlib.metadata.version("dynet38")},
        "functions": functions,
        "classes": classes,
        "constants": constants,
    }
    text = json.dumps(api, indent=None, sort_keys=True, separators=(",", ":"))
    text = text.replace('"],"', '"],\n"').replace("]],", "]],\n") + "\n"
    if check:
        assert json.loads(text) == json.loads(DATA.read_text()), "other names are stored"
    else:
        DATA.write_text(text)
    print(f"{len(functions)} functions, {len(classes)} classes, {len(constants)} constants")


if __name__ == "__main__":
    main()
