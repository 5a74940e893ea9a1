"""Files that DyNet's wheel and `lazynet.dynet` read from one another.

python tests/dynet/exchange.py write tests/dynet/data/files   # with the wheel: the stored files
python tests/dynet/exchange.py check FOLDER                   # whether files can be read

The values are fixed functions of the names, so that either side knows what the other wrote.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np


def numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The values of a parameter of this name: of all sizes, and some special ones."""
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    a = (rng.standard_normal(shape) * 10.0 ** rng.randint(-6, 7, shape)).astype(np.float32)
    flat = a.reshape(-1)
    flat[: min(4, a.size)] = [0.0, -1.0, 1e-30, 3.4e38][: min(4, a.size)]
    return a.astype(np.float64)


def fill(p: Any) -> None:
    """Give a parameter or table the values of its name."""
    if hasattr(p, "init_row"):
        for i, row in enumerate(numbers(p.name(), p.shape())):
            p.init_row(i, row.reshape(-1, order="F").tolist())
    else:
        p.set_value(numbers(p.name(), p.shape()))


def fill_some(p: Any) -> None:
    """Give a parameter values of moderate size."""
    p.set_value(np.random.RandomState(zlib.crc32(p.name().encode())).standard_normal(p.shape()))


def collection(dy: Any) -> Any:
    """A collection with everything that a file can hold; values are those of a new model."""
    m = dy.ParameterCollection()
    m.add_parameters((2, 3))
    m.add_parameters(4, name="bias")
    m.add_lookup_parameters((3, 2))
    part = m.add_subcollection("part")
    part.add_parameters((2, 1, 2, 2), name="filter")
    part.add_lookup_parameters((2, 3, 2), name="words")
    part.add_subcollection("inner").add_parameters((0, 3), name="empty")
    m.add_lookup_parameters((4,), name="scores")
    m.add_parameters((1, 1), name="one")
    return m


def parts(m: Any) -> list[Any]:
    """Parameters and tables."""
    return [*m.parameters_list(), *m.lookup_parameters_list()]


def builders(dy: Any, m: Any) -> list[Any]:
    """One of each kind that can be saved."""
    return [
        dy.LSTMBuilder(1, 2, 3, m),
        dy.VanillaLSTMBuilder(2, 2, 3, m, ln_lstm=True, forget_bias=0.5),
        dy.CoupledLSTMBuilder(1, 2, 3, m),
        dy.GRUBuilder(1, 2, 3, m),
        dy.SimpleRNNBuilder(2, 2, 3, m),
        dy.BiRNNBuilder(1, 2, 4, m.add_subcollection("both"), dy.GRUBuilder),
    ]


def outputs(dy: Any, made: list[Any]) -> np.ndarray:
    """What builders make of a sequence."""
    dy.renew_cg()
    xs = [dy.inputTensor([0.5, -1.0]), dy.inputTensor([0.25, 2.0])]
    last = []
    for builder in made:
        if hasattr(builder, "initial_state"):
            last.append(builder.initial_state().transduce(xs)[-1])
        else:
            last.append(builder.transduce(xs)[-1])
    return dy.concatenate(last).npvalue()


def write(dy: Any, folder: str) -> None:
    """Write all files."""
    m = collection(dy)
    for p in parts(m):
        fill(p)
    m.save(f"{folder}/collection.txt")
    p, table = m.parameters_list()[1], m.lookup_parameters_list()[0]
    p.save(f"{folder}/keys.txt", key="/other/name")
    table.save(f"{folder}/keys.txt", key="/table", append=True)
    m.save(f"{folder}/keys.txt", name="/prefix", append=True)
    dy.renew_cg()
    first = m.parameters_list()[0]
    loss = dy.esum([dy.sum_elems(first * 2), dy.sum_elems(table[1]), dy.sum_elems(table[2] * 3)])
    loss.backward()
    m.save(f"{folder}/gradients.txt")
    other = dy.ParameterCollection()
    made = builders(dy, other)
    for builder in made:
        for q in builder.param_collection().parameters_list():
            fill_some(q)
    dy.save(f"{folder}/objects", [m.parameters_list()[3], *made, table])
    np.savetxt(f"{folder}/outputs.txt", outputs(dy, made))


def same(p: Any, name: str) -> None:
    """Fail unless it has the values of this name."""
    array = p.as_array()
    np.testing.assert_allclose(array, numbers(name, array.shape), rtol=2e-7, err_msg=name)


def check(dy: Any, folder: str) -> None:
    """Read all files; fail unless they hold what `write` wrote."""
    m = collection(dy)
    m.populate(f"{folder}/collection.txt")
    for p in parts(m):
        same(p, p.name())
        assert not p.grad_as_array().any()
    m = collection(dy)
    m.populate(f"{folder}/keys.txt", "/prefix")
    for p in parts(m):
        same(p, p.name())
    m.parameters_list()[1].populate(f"{folder}/keys.txt", "/other/name")
    same(m.parameters_list()[1], "/bias")
    new = dy.ParameterCollection()
    loaded = new.load_param(f"{folder}/keys.txt", "/other/name")
    same(loaded, "/bias")
    table = new.load_lookup_param(f"{folder}/collection.txt", "/part/words")
    same(table, "/part/words")
    assert (loaded.name(), table.name()) == ("/other/name", "/part/words")
    m.populate(f"{folder}/gradients.txt")
    first, table = m.parameters_list()[0], m.lookup_parameters_list()[0]
    assert first.grad_as_array().tolist() == [[2.0] * 3] * 2
    assert table.grad_as_array().tolist() == [[0.0] * 2, [1.0] * 2, [3.0] * 2]
    assert not m.parameters_list()[1].grad_as_array().any()
    new = dy.ParameterCollection()
    inner, *made, table = dy.load(f"{folder}/objects", new)
    assert inner.shape() == (0, 3)
    same(table, "/_1")
    expected = np.loadtxt(f"{folder}/outputs.txt")
    np.testing.assert_allclose(outputs(dy, made), expected, rtol=1e-4, atol=1e-6)


if __name__ == "__main__":
    action, folder = sys.argv[1:]
    del sys.argv[1:]
    here = Path(__file__).resolve().parent
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() not in (here, here.parent)]
    import dynet

    if action == "write":
        Path(folder).mkdir(parents=True, exist_ok=True)
        write(dynet, folder)
    else:
        check(dynet, folder)
