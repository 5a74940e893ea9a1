"""Saving and loading: everything comes back, and a failure harms nothing."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import lazynet as ln


def make(seed: int = 0, width: int = 3) -> ln.Model:
    model = ln.Model(seed=seed)
    model.parameter((2, width), name="W")
    model.submodel("encoder").lookup(4, 2, name="words")
    model.parameter((), init=1.5, name="scale")
    model.parameter((0, 2), name="nothing")
    return model


def train(model: ln.Model, opt: Any, steps: int = 3) -> None:
    for _ in range(steps):
        w, words, scale = (model[n] for n in ("W", "/encoder/words", "scale"))
        loss = (ln.dropout(w, 0.5) * scale).sum() + (words[1] * words[2]).sum()  # type: ignore
        (loss * loss).backward()
        opt.step()


def everything(model: ln.Model) -> list[Any]:
    return [p.value() for p in model]


def same(a: list[Any], b: list[Any]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b))


def test_parameters_come_back(tmp_path: Path) -> None:
    model, other = make(0), make(1)
    assert not same(everything(model), everything(other))
    model.save(tmp_path / "m")
    other.load(str(tmp_path / "m"))
    assert same(everything(model), everything(other))
    assert os.listdir(tmp_path) == ["m"]


def test_the_file_is_safetensors_with_names(tmp_path: Path) -> None:
    make().save(tmp_path / "m")
    tensors = safetensors.numpy.load_file(tmp_path / "m")
    assert {"parameter:/W", "parameter:/encoder/words", "parameter:/scale"} <= set(tensors)
    np.testing.assert_array_equal(tensors["parameter:/W"], make()["W"].value())


@pytest.mark.parametrize("rule", ["SGD", "Adagrad", "RMSProp", "Adam", "AdamW"])
def test_training_goes_on_as_if_never_interrupted(tmp_path: Path, rule: str) -> None:
    ln.seed(5)
    model = make()
    opt = getattr(ln.optim, rule)(model, lr=0.01)
    train(model, opt)
    model.save(tmp_path / "m", optimizer=opt)
    train(model, opt)
    extra = model.parameter(5).value()
    ln.seed(77)
    other = make(9)
    other_opt = getattr(ln.optim, rule)(other, lr=0.01)
    other.load(tmp_path / "m", optimizer=other_opt)
    assert other_opt.steps == 3
    train(other, other_opt)
    assert same(everything(model), everything(other))
    np.testing.assert_array_equal(extra, other.parameter(5).value())


def test_submodels_alone_and_under_another_name(tmp_path: Path) -> None:
    model = make()
    model.submodel("cell").parameter(2, name="b", init=[1.0, 2.0])
    part = model.submodel("part")
    part.parameter(3, name="x", init=[1.0, 2.0, 3.0])
    part.save(tmp_path / "part")
    other = ln.Model().submodel("elsewhere")
    other.parameter(3, name="x", init=0.0)
    other.load(tmp_path / "part")
    assert other["x"].value().tolist() == [1.0, 2.0, 3.0]


def test_loading_notices_changes_for_backward(tmp_path: Path) -> None:
    model = make()
    model.save(tmp_path / "m")
    loss = (model["W"] * model["W"]).sum()
    loss.value()
    model.load(tmp_path / "m")
    with pytest.raises(ln.GradientError, match="/W"):
        loss.backward()


# Mismatches


def test_every_mismatch_is_listed_and_nothing_changes(tmp_path: Path) -> None:
    make(0).save(tmp_path / "m")
    other = ln.Model(seed=1)
    other.parameter((2, 5), name="W")
    other.parameter(2, name="new")
    other.parameter((), init=7.0, name="scale")
    before = everything(other)
    with pytest.raises(ln.FileError) as info:
        other.load(tmp_path / "m")
    text = str(info.value)
    assert "/W: the file has (2, 3), the model (2, 5)" in text
    assert "missing in the file: /new (2,)" in text
    assert "not in the model: /encoder/words (4, 2)" in text
    assert "/scale" not in text
    assert same(before, everything(other))


def test_another_optimiser_and_none(tmp_path: Path) -> None:
    model = make()
    adam = ln.optim.Adam(model)
    train(model, adam)
    before = everything(model)
    model.save(tmp_path / "with", optimizer=adam)
    model.save(tmp_path / "without")
    sgd = ln.optim.SGD(model)
    with pytest.raises(ln.FileError, match=r"Adam.*SGD"):
        model.load(tmp_path / "with", optimizer=sgd)
    with pytest.raises(ln.FileError, match="None"):
        model.load(tmp_path / "without", optimizer=adam)
    assert same(before, everything(model))
    model.load(tmp_path / "with")


# Broken files


@pytest.mark.parametrize("part", range(0, 40))
def test_a_truncated_file(tmp_path: Path, part: int) -> None:
    model = make()
    opt = ln.optim.Adam(model)
    train(model, opt, 1)
    model.save(tmp_path / "m", optimizer=opt)
    data = (tmp_path / "m").read_bytes()
    cut = part if part < 12 else len(data) * (part - 11) // 29 - 1
    (tmp_path / "m").write_bytes(data[:cut])
    before, steps = everything(model), opt.steps
    random = ln.normal((3,)) if False else None
    with pytest.raises(ln.FileError, match="truncated"):
        model.load(tmp_path / "m", optimizer=opt)
    assert random is None and same(before, everything(model)) and opt.steps == steps


def test_a_file_of_another_program(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"W": np.ones(2, np.float32)}, tmp_path / "foreign")
    with pytest.raises(ln.FileError, match=r"not written by Model.save"):
        make().load(tmp_path / "foreign")
    (tmp_path / "text").write_text("hello " * 100)
    with pytest.raises(ln.FileError, match="no complete safetensors file"):
        make().load(tmp_path / "text")
    with pytest.raises((ln.FileError, OSError)):
        make().load(tmp_path)
    with pytest.raises(FileNotFoundError):
        make().load(tmp_path / "absent")


@pytest.mark.parametrize("path", [None, 3, b"x", ["m"]])
def test_what_is_no_path(path: Any) -> None:
    for act in (make().save, make().load):
        with pytest.raises(ln.ArgumentError, match="file name"):
            act(path)


# Writing that fails


def full(*args: Any, **options: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("existing", [True, False])
def test_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, existing: bool
) -> None:
    model = make()
    target = tmp_path / "m"
    if existing:
        model.save(target)
    old = everything(model)
    model["W"].array = np.zeros((2, 3))
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(ln.FileError, match="No space left"):
            model.save(target)
    assert os.listdir(tmp_path) == (["m"] if existing else [])
    if existing:
        model.load(target)
        assert same(old, everything(model))
    model.save(target)


def test_a_file_size_limit(tmp_path: Path) -> None:
    """The write itself fails part of the way, as on a full disk."""
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    model = ln.Model()
    model.parameter((100, 100))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(ln.FileError, match="could not be written"):
            model.save(tmp_path / "m")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == []


def test_an_interrupt_while_saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> Any:
        raise KeyboardInterrupt

    model = make()
    model.save(tmp_path / "m")
    data = (tmp_path / "m").read_bytes()
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.save(tmp_path / "m")
    assert os.listdir(tmp_path) == ["m"] and (tmp_path / "m").read_bytes() == data


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ln.FileError, match="could not be written"):
        make().save(tmp_path / "nowhere" / "m")


def test_the_file_has_the_usual_permissions(tmp_path: Path) -> None:
    make().save(tmp_path / "m")
    (tmp_path / "plain").write_bytes(b"")
    usual = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == usual
