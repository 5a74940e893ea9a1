"""Which device is chosen, a second GPU by a stand-in, and DyNet's ways to ask for one."""

from __future__ import annotations

import copy
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazynet as ln
import lazynet.backend.devices as devices
import lazynet.dynet as dy
from lazynet.dynet import config

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]


class Second:
    """A second GPU, which the emulator lacks: the first one, that is told apart by its context.

    `astray` tells where memory was asked for while another device was the current one. It lies on
    the first, all the same.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import cupy

        self.astray: list[str] = []
        inside: list[int] = []
        pool = cupy.cuda.MemoryPool()
        first = cupy.cuda.Device

        class Device:
            def __init__(self, number: int) -> None:
                self.id = number

            def __enter__(self) -> None:
                inside.append(self.id)

            def __exit__(self, *error: Any) -> None:
                inside.pop()

            def synchronize(self) -> None:
                first(0).synchronize()

        def device_of(array: Any) -> str:
            return "cpu" if isinstance(array, (np.ndarray, np.generic)) else "cuda:1"

        def allocate(size: int) -> Any:
            if inside[-1:] != [1]:
                lines = [f for f in traceback.extract_stack() if "/lazynet/" in f.filename]
                self.astray += [f"{f.filename}:{f.lineno} {f.name}" for f in lines[-1:]]
            return pool.malloc(size)

        monkeypatch.setattr(cupy.cuda, "Device", Device)
        monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", lambda: 2)
        original = devices.device_of
        for name, module in list(sys.modules.items()):
            if name.startswith("lazynet") and getattr(module, "device_of", None) is original:
                monkeypatch.setattr(module, "device_of", device_of)
        self.allocator = cupy.cuda.using_allocator(allocate)


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> Iterator[Second]:
    found = Second(monkeypatch)
    with found.allocator:
        yield found


def test_everything_happens_on_the_device_of_the_model(second: Second, tmp_path: Path) -> None:
    model = ln.Model(seed=0, device="cuda:1")
    assert model.device == "cuda:1"
    lstm, table, W = ln.nn.LSTM(model, 4, 5), model.lookup(10, 4), model.parameter((3, 5))

    def states() -> list[Any]:
        return [lstm(table[words])[1][0] for words in ([1, 2, 3], [4], [5, 6, 7, 1])]

    for rule in ("SGD", "Adam", "Adagrad"):
        for sparse in ("exact", "lazy"):
            opt = getattr(ln.optim, rule)(model, clip=1.0, sparse=sparse)
            for _ in range(2):
                hs = states()
                losses = [ln.cross_entropy(W @ ln.dropout(h, 0.3), 1) for h in hs]
                ln.mean(losses).backward()
                ln.sum([h.sum() for h in hs]).backward()
                opt.step()
                ln.values(losses)
                hs[0].value(device=True)
                hs[0].gradient()
    ln.squared_norm(W @ states()[0]).backward()
    W.gradient()
    W.array = W.array * 2
    W.value(device=True)
    states()[1].detach()
    copy.deepcopy(lstm)
    model.save(tmp_path / "model", optimizer=opt)
    model.load(tmp_path / "model", optimizer=opt)
    with ln.use_device("cuda:1"):
        (ln.normal(3) * ln.constant([1.0, 2.0, 3.0])).value()
        ln.gradcheck(lambda x: ln.tanh(x), [[0.1, 0.2]])
    assert second.astray == []


def test_the_stand_in_notices_what_goes_astray(second: Second) -> None:
    with ln.use_device("cuda:0"):
        (ln.constant([1.0, 2.0]) * 2).value()
    assert second.astray


def test_parameters_on_two_gpus_do_not_mix(second: Second, monkeypatch: pytest.MonkeyPatch) -> None:
    a = ln.Model(device="cuda:0").parameter(3, name="a")
    b = ln.Model(device="cuda:1").parameter(3, name="b")
    monkeypatch.setattr(
        "lazynet.placement.device_of", lambda x: "cuda:0" if x is a.values else "cuda:1"
    )
    with pytest.raises(ln.DeviceError, match=r"'/a' on 'cuda:0'.*'/b' on 'cuda:1'"):
        (a + b).value()


def test_a_gpu_that_is_not_there() -> None:
    import cupy

    count = cupy.cuda.runtime.getDeviceCount()
    with pytest.raises(
        ln.DeviceError, match=rf"'cuda:{count}'.*no such GPU; there (is|are) {count}"
    ):
        ln.Model(device=f"cuda:{count}")


@pytest.fixture
def settings_put_back() -> Iterator[None]:
    before = config.settings()
    yield
    config._State.settings, config._State.device = before, ""


@pytest.mark.usefixtures("settings_put_back")
def test_devices_of_dynet() -> None:
    config.apply(config.read_flags(["p", "--dynet-seed", "1", "--dynet-devices", "CPU,GPU:0"]))  # type: ignore[arg-type]
    dy.renew_cg()
    collection = dy.ParameterCollection()
    p = collection.add_parameters((2, 3), device="GPU:0")
    assert collection.model.device == "cuda:0"
    y = dy.squared_norm(p * dy.to_device(dy.inputVector([1, 2, 3]), "GPU:0"))
    y.backward()
    assert np.isfinite(y.value()) and p.grad_as_array().shape == (2, 3)
    assert dy.available_devices() == ["GPU:0", "CPU"]
    assert dy.get_device_info("").name == "GPU:0" and dy.HAVE_CUDA
    with pytest.warns(UserWarning, match="GPU:99 will be the CPU, because there is no such GPU"):
        config.apply(config.Settings(devices=("CPU", "GPU:99")))
    assert dy.ParameterCollection().model.device == "cpu"
