"""DyNet's text format, and saved objects: exchange with the wheel, errors, untrusted files."""

from __future__ import annotations

import filecmp
import os
import pickle
import subprocess
import sys
from pathlib import Path

import exchange
import numpy as np
import pytest

import lazynet.dynet as dy
from lazynet.dynet.numerals import parsed, written

HERE = Path(__file__).parent
STORED = str(HERE / "data" / "files")
WHEEL = os.environ.get("DYNET_PYTHON", "")


@pytest.fixture(autouse=True)
def fresh_graph() -> None:
    dy.renew_cg()


@pytest.fixture
def base(tmp_path) -> str:
    return str(tmp_path / "model")


# Exchange with the wheel


def test_reads_what_the_wheel_wrote() -> None:
    exchange.check(dy, STORED)


def blocks(path: Path) -> list[str]:
    """A file, parameter by parameter, without those that the wheel forgets."""
    first, *others = path.read_text().split("\n#")
    return [first] + [b for b in others if not b.startswith("Parameter# /_outer")]


def equal(ours: Path, theirs: Path) -> None:
    """Fail unless both folders hold the same numbers, byte by byte."""
    for name in ("collection.txt", "gradients.txt", "keys.txt"):
        assert filecmp.cmp(ours / name, theirs / name, shallow=False), name
    assert blocks(ours / "objects.data") == blocks(theirs / "objects.data")


def test_writes_what_the_wheel_wrote(tmp_path) -> None:
    exchange.write(dy, str(tmp_path))
    equal(tmp_path, Path(STORED))


def test_reads_what_it_wrote(tmp_path) -> None:
    exchange.write(dy, str(tmp_path))
    exchange.check(dy, str(tmp_path))


@pytest.mark.skipif(not WHEEL, reason="DYNET_PYTHON names no interpreter that has the wheel")
def test_exchange_with_the_wheel(tmp_path) -> None:
    def wheel(action: str, folder: Path) -> None:
        subprocess.run([WHEEL, str(HERE / "exchange.py"), action, str(folder)], check=True)

    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    exchange.write(dy, str(ours))
    wheel("check", ours)
    wheel("write", theirs)
    exchange.check(dy, str(theirs))
    equal(ours, theirs)


# Numbers


def numbers() -> np.ndarray:
    rng = np.random.RandomState(0)
    bits = rng.randint(0, 2**32, 50000, np.uint64).astype(np.uint32).view(np.float32)
    ties = [np.arange(1, 5000) / 2.0**k for k in range(0, 30, 3)]
    powers = 10.0 ** np.arange(-45, 39)
    special = [0.0, -0.0, 1e-45, 3.4028235e38, 9.9999999e9, 0.99999999, 1.5]
    return np.concatenate([bits[np.isfinite(bits)], *ties, powers, special]).astype(np.float32)


def test_numbers_are_rounded_as_printf_does() -> None:
    values = numbers()
    text = b"".join(written(values))
    assert text == ("%+.8e " * len(values) % tuple(values.tolist())).encode()
    assert np.array_equal(parsed(text + b"\n", len(values)), values)


@pytest.mark.parametrize(
    "text",
    [b"1 2 -3.5\n", b"  1\t2e0   -35e-1", b"+1.00000000e+00 +2.00000000e+00 -3.5e+00       \n"],
)
def test_numbers_may_be_written_otherwise(text) -> None:
    assert parsed(text, 3).tolist() == [1, 2, -3.5]


def test_not_a_number_and_infinity_survive(base) -> None:
    m = dy.ParameterCollection()
    values = np.array([np.nan, np.inf, -np.inf, 1.0])
    m.add_parameters(4, init=values)
    m.add_parameters(2, init=np.array([5.0, 6.0]))
    m.save(base)
    for p in m.parameters_list():
        p.zero()
    m.populate(base)
    np.testing.assert_array_equal(m.parameters_list()[0].as_array(), values)
    assert m.parameters_list()[1].value() == [5, 6]


def test_numbers_in_a_file_by_hand(base) -> None:
    m = dy.ParameterCollection()
    p = m.add_parameters((2, 3))
    other = "#Parameter# /a {2} 0 FULL_GRAD\n1 2\n3 4\n\n"
    Path(base).write_text(f"{other}#Parameter# /_0 {{2,3}} 99 ZERO_GRAD\n1 2 3 4 5 6")
    p.populate(base, "/_0")
    assert p.as_array().tolist() == [[1, 3, 5], [2, 4, 6]]
    assert m.load_param(base, "/a").grad_as_array().tolist() == [3, 4]


# Names


def test_loaded_parameters_keep_their_names_unless_taken(base) -> None:
    m = dy.ParameterCollection()
    m.add_subcollection("part").add_parameters(2, name="w")
    m.add_lookup_parameters((2, 2))
    m.save(base)
    new = dy.ParameterCollection()
    assert new.load_param(base, "/part/w").name() == "/part/w"
    assert new.load_param(base, "/part/w").name() == "/_1"
    assert new.load_lookup_param(base, "/_0").name() == "/_0"
    assert new.add_parameters(1).name() == "/_3"
    part = new.add_subcollection("part")
    assert part.add_parameters(1, name="w").name() == "/part/w_1"
    assert [p.name() for p in part.parameters_list()] == ["/part/w_1"]
    assert len(new.model.parameters()) == 5


def test_a_loaded_gradient_is_the_accumulated_one(base) -> None:
    m = dy.ParameterCollection()
    p, t = m.add_parameters(2), m.add_lookup_parameters((3, 2))
    dy.sum_elems(p + t[1]).backward()
    m.save(base)
    new = dy.ParameterCollection()
    q, u = new.load_param(base, "/_0"), new.load_lookup_param(base, "/_1")
    dy.renew_cg()
    dy.sum_elems(q + u[1] + u[2]).backward()
    assert q.grad_as_array().tolist() == [2, 2]
    assert u.grad_as_array().tolist() == [[0, 0], [2, 2], [1, 1]]


def test_populate_drops_the_gradient_if_the_file_has_none(base) -> None:
    m = dy.ParameterCollection()
    p = m.add_parameters(2)
    m.save(base)
    dy.sum_elems(p).backward()
    m.populate(base)
    assert p.grad_as_array().tolist() == [0, 0]


# Errors: each names the call, the file, and the line or parameter


def files(path: str) -> dy.ParameterCollection:
    m = dy.ParameterCollection()
    m.add_parameters((2, 3))
    m.add_parameters(2, name="v")
    m.add_lookup_parameters((3, 2), name="t")
    m.save(path)
    return m


def message(kind: type[Exception], call) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("kind", [RuntimeError, FileNotFoundError])
def test_missing_files(kind, base) -> None:
    m = files(base)
    p, t = m.parameters_list()[0], m.lookup_parameters_list()[0]
    for name, call in {
        "Parameters.populate": lambda: p.populate("nowhere", "/_0"),
        "LookupParameters.populate": lambda: t.populate("nowhere", "/t"),
        "ParameterCollection.populate": lambda: m.populate("nowhere"),
        "load_param": lambda: m.load_param("nowhere", "/_0"),
        "load_lookup_param": lambda: m.load_lookup_param("nowhere", "/t"),
        "load": lambda: dy.load("nowhere", m),
    }.items():
        assert message(kind, call).startswith(f"{name}: nowhere")
    for name, call in {
        "Parameters.save": lambda: p.save(f"{base}/x/y"),
        "ParameterCollection.save": lambda: m.save("no/such/folder/x"),
        "save": lambda: dy.save("no/such/folder/x", [p]),
    }.items():
        assert message(RuntimeError, call).startswith(f"{name}: ")


def test_missing_keys(base) -> None:
    m = files(base)
    p, t = m.parameters_list()[0], m.lookup_parameters_list()[0]
    assert "'/w' among the Parameters in" in message(RuntimeError, lambda: p.populate(base, "/w"))
    text = message(KeyError, lambda: t.populate(base, "/_0"))
    assert "LookupParameters.populate" in text and "there are: /t" in text
    assert "'v'" in message(RuntimeError, lambda: m.load_param(base, "v"))
    assert "/_0" in message(RuntimeError, lambda: m.load_lookup_param(base, "/_0"))
    assert "empty key" in message(ValueError, lambda: t.populate(base))
    assert "ParameterCollection.populate" in message(
        RuntimeError, lambda: m.populate(base, "/nowhere")
    )


def test_other_dimensions(base) -> None:
    m = files(base)
    v = m.parameters_list()[1]
    text = message(RuntimeError, lambda: v.populate(base, "/_0"))
    assert "line 1: /_0 has dimensions {2,3}, but /v has {2}" in text
    new = dy.ParameterCollection()
    for shape in [(2, 3), (2,), (2, 3)]:
        new.add_parameters(shape)
    assert "3 parameters" not in message(RuntimeError, lambda: new.populate(base))
    assert "/_2 has no counterpart in the file" in message(RuntimeError, lambda: new.populate(base))
    new = dy.ParameterCollection()
    new.add_parameters((2, 3))
    assert "/v has no counterpart in the coll" in message(RuntimeError, lambda: new.populate(base))


def test_nothing_changes_unless_everything_fits(base) -> None:
    files(base)
    new = dy.ParameterCollection()
    p = new.add_parameters((2, 3), init=1)
    new.add_parameters(2)
    new.add_lookup_parameters((2, 2))
    assert "/t has dimensions {2,3}" in message(RuntimeError, lambda: new.populate(base))
    text = Path(base).read_text()
    Path(base).write_text(text[:-20])
    new = dy.ParameterCollection()
    p = new.add_parameters((2, 3), init=1)
    new.add_parameters(2)
    new.add_lookup_parameters((3, 2))
    assert "line 6, /t" in message(RuntimeError, lambda: new.populate(base))
    assert (p.as_array() == 1).all()


def test_truncated_and_damaged_files(base) -> None:
    m = files(base)
    p = m.parameters_list()[0]
    text = Path(base).read_text()
    for cut in (40, 60, 100, 36):
        Path(base).write_text(text[:cut])
        found = message(RuntimeError, lambda: p.populate(base, "/_0"))
        assert base in found and "line 2, /_0" in found
    Path(base).write_text(text.replace("e+00", "e?00").replace("e-01", "e?01"))
    assert "line 2, /_0" in message(RuntimeError, lambda: p.populate(base, "/_0"))
    for head in (
        "#Parameter# /_0 {2,x} 97 ZERO_GRAD",
        "#Parameter# /_0 {2,3} 97 SOME_GRAD",
        "#Parameter# /_0 {2,3} many ZERO_GRAD",
        "#Thing# /_0 {2,3} 97 ZERO_GRAD",
        "#Parameter# /_0 {2,3,} 97 ZERO_GRAD",
        "PK",
    ):
        Path(base).write_text(f"{head}\n1 2 3 4 5 6\n")
        found = message(RuntimeError, lambda: p.populate(base, "/_0"))
        assert "line 1" in found and head[:30] in found
    huge = "{4294967296,4294967296}"
    Path(base).write_text(f"#Parameter# /_0 {huge} 1 ZERO_GRAD\n\n")
    assert "/_0" in message(RuntimeError, lambda: m.load_param(base, "/_0"))
    Path(base).write_bytes(b"\xff\xfe\x00 binary")
    assert "line 1" in message(RuntimeError, lambda: m.populate(base))


def test_arguments_of_other_types(base) -> None:
    m = files(base)
    p = m.parameters_list()[0]
    for call in (
        lambda: m.save(None),
        lambda: m.save(base, None),
        lambda: m.populate(3),
        lambda: m.populate(base, None),
        lambda: p.populate(base, None),
        lambda: p.save(base, 5),
        lambda: m.load_param(base, None),
        lambda: dy.save(None, [p]),
        lambda: dy.load(None, m),
        lambda: dy.load(base, None),
    ):
        with pytest.raises(TypeError, match=r"save|populate|load"):
            call()
    for bad in ("a b", "a#b"):
        with pytest.raises(ValueError, match=r"Parameters\.save"):
            p.save(base, bad)
    for bad in ("foo", "/", "/a b", "/a#b"):
        with pytest.raises(ValueError, match=r"ParameterCollection\.save"):
            m.save(base, bad)


# Saved objects


class Pair:
    """A class of a program that can be saved."""

    def __init__(self, model, n, names=()):
        self.collection = model.add_subcollection("pair")
        self.W = self.collection.add_parameters((n, n))
        self.E = self.collection.add_lookup_parameters((2, n))
        self.spec = (n, names)

    def param_collection(self):
        return self.collection

    @staticmethod
    def from_spec(spec, model):
        return Pair(model, *spec)


class Bare:
    """A class that cannot."""


def test_objects_of_a_program(base) -> None:
    m = dy.ParameterCollection()
    p, pair = m.add_parameters(2), Pair(m, 3, ("a", {"b": [1, 2.5, None, True], "c": {1}}))
    dy.save(base, iter([pair, p, pair.E]))
    new = dy.ParameterCollection()
    again, q, table = dy.load(base, new)
    assert again.spec == pair.spec
    assert again.collection.name() == "/pair/"
    assert np.array_equal(again.W.as_array(), pair.W.as_array())
    assert np.array_equal(again.E.as_array(), pair.E.as_array())
    assert np.array_equal(q.as_array(), p.as_array())
    assert np.array_equal(table.as_array(), pair.E.as_array())
    assert [x.shape() for x in dy.load_generator(base, new) if not isinstance(x, Pair)]
    assert iter(dy.load_generator(base, new)) is not None


def test_what_normalises_in_a_builder_is_saved(base) -> None:
    # DyNet keeps these parameters beside the builder's collection, and forgets them
    m = dy.ParameterCollection()
    builders = [dy.LSTMBuilder(2, 2, 3, m, ln_lstm=True) for _ in range(2)]
    for i, p in enumerate(m.parameters_list()):
        p.set_value(np.random.RandomState(i).standard_normal(p.shape()))
    expected = exchange.outputs(dy, builders)
    dy.save(base, builders)
    assert np.array_equal(exchange.outputs(dy, dy.load(base, dy.ParameterCollection())), expected)
    if WHEEL:
        code = "import dynet as dy, sys; print(len(dy.load(sys.argv[1], dy.Model())))"
        done = subprocess.run([WHEEL, "-c", code, base], check=True, capture_output=True, text=True)
        assert done.stdout.split()[-1] == "2"


def test_two_parameters_of_one_name_are_not_saved(base) -> None:
    m, other = dy.ParameterCollection(), dy.ParameterCollection()
    p = m.add_parameters(2)
    dy.save(base, [p, p])
    assert len(dy.load(base, dy.ParameterCollection())) == 2
    with pytest.raises(ValueError, match=r"save: two .* called '/_0'"):
        dy.save(base, [p, other.add_parameters(2)])


def test_a_generator_loads_one_by_one(base) -> None:
    m = dy.ParameterCollection()
    dy.save(base, [m.add_parameters(2), m.add_parameters(3)])
    new = dy.ParameterCollection()
    found = dy.load_generator(base, new)
    assert next(found).shape() == (2,)
    assert new.parameter_count() == 2
    assert next(found).shape() == (3,)


def test_what_cannot_be_saved_is_named(base) -> None:
    m = dy.ParameterCollection()
    for bad in (m, None, "x", 3):
        with pytest.raises(AttributeError, match=r"save: got .* no spec"):
            dy.save(base, [bad])
    assert not os.path.exists(f"{base}.data")
    pair = Pair(m, 2, lambda: None)
    with pytest.raises(TypeError, match=r"save: .*Pair.* cannot be pickled"):
        dy.save(base, [pair])


class Shell:
    """Would run a command when unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class State:
    """Would run a method of an existing class when unpickled."""

    def __reduce__(self):
        return Pair.from_spec, ((3, ()), None)


@pytest.mark.parametrize("protocol", range(6))
def test_untrusted_files_run_nothing(base, protocol, tmp_path) -> None:
    trap = tmp_path / "trap"
    m = dy.ParameterCollection()
    dy.save(base, [m.add_parameters(2)])
    command = f"touch {trap}"
    bad = [
        Shell(command),
        ("Parameters", Shell(command)),
        (Pair, (3, Shell(command)), "/pair/"),
        (Pair, (3, [{"deep": State()}]), "/pair/"),
        State(),
        (Bare, (), "/bare/"),
        (os.system, (command,), "/x/"),
        (subprocess.Popen, (command,), "/x/"),
        (Pair, (3, os.system), "/pair/"),
        (Pair, (3, np.float64(1)), "/pair/"),
        (Pair, (3, ()), 5),
        ("Parameters", "/_0", "more"),
        ("Other", "/_0"),
        5,
    ]
    for entry in bad:
        with open(f"{base}.meta", "wb") as file:
            pickle.dump(entry, file, protocol)
        new = dy.ParameterCollection()
        assert message(RuntimeError, lambda m=new: dy.load(base, m)).startswith("load: ")
        assert new.parameter_count() == 0
    assert not trap.exists()


def test_refused_names_are_told(base) -> None:
    m = dy.ParameterCollection()
    dy.save(base, [m.add_parameters(2)])
    for data, name in {
        b"cos\nsystem\n(S'true'\ntR.": "os.system",
        b"(cbuiltins\neval\n)S'/x/'\nt.": "builtins.eval",
        b"(cnot_imported_module\nThing\n)S'/x/'\nt.": "not_imported_module.Thing",
        b"(c_dynet\nExpression\n)S'/x/'\nt.": "_dynet.Expression",
        b"(c_dynet\nnumpy.random.rand\n)S'/x/'\nt.": "_dynet.numpy",
    }.items():
        Path(f"{base}.meta").write_bytes(data)
        found = message(RuntimeError, lambda: dy.load(base, dy.ParameterCollection()))
        assert name in found and "object 0" in found
    assert "not_imported_module" not in sys.modules


def test_specs_without_end(base) -> None:
    m = dy.ParameterCollection()
    dy.save(base, [m.add_parameters(2)])
    itself: list = []
    itself.append(itself)
    with open(f"{base}.meta", "wb") as file:
        pickle.dump((Pair, itself, "/pair/"), file)
    assert "holds itself" in message(RuntimeError, lambda: dy.load(base, m))


@pytest.mark.parametrize(
    "data", [b"\x80", b"(", b"garbage", b"P1\n.", b"\x80\x04\x95\xff\xff", b"0."]
)
def test_damaged_pickles(base, data) -> None:
    m = dy.ParameterCollection()
    dy.save(base, [m.add_parameters(2)])
    Path(f"{base}.meta").write_bytes(data)
    assert f"load: {base}.meta" in message(RuntimeError, lambda: dy.load(base, m))
