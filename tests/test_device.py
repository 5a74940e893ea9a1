"""Names of devices, and what is said where there is no CuPy or no GPU."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import pytest

import lazynet as ln


def run(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "", None, 0, "cpu:0"])
def test_names_that_are_none(name: Any) -> None:
    with pytest.raises(ln.SettingError, match="'cuda:1'"), ln.use_device(name):
        pass
    if name is not None:
        with pytest.raises(ln.SettingError, match="device"):
            ln.Model(device=name)


def test_without_cupy_the_error_says_what_to_install() -> None:
    run("""
        import sys
        sys.modules["cupy"] = None
        import lazynet as ln
        for make in (lambda: ln.Model(device="cuda"), lambda: ln.use_device("cuda:1").__enter__()):
            try:
                make()
            except ln.DeviceError as error:
                assert "pip install 'lazynet[cuda13]'" in str(error), error
                assert "[cuda12]" in str(error), error
            else:
                raise AssertionError("no error")
        x = ln.Model().parameter(2, init=1.0)  # the CPU does without
        assert (x * 2).sum().value() == 4
    """)


def test_without_a_gpu_the_error_says_where_to_look() -> None:
    """With a stand-in for CuPy that finds none."""
    run("""
        import sys
        from types import ModuleType, SimpleNamespace
        class CUDARuntimeError(RuntimeError): pass
        def count(): raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
        cupy = ModuleType("cupy")
        runtime = SimpleNamespace(getDeviceCount=count, CUDARuntimeError=CUDARuntimeError)
        cupy.cuda = SimpleNamespace(runtime=runtime)
        sys.modules["cupy"] = cupy
        import lazynet as ln
        try:
            ln.Model(device="cuda")
        except ln.DeviceError as error:
            assert "nvidia-smi" in str(error) and "device='cpu'" in str(error), error
            assert "no CUDA-capable device" in str(error), error
        else:
            raise AssertionError("no error")
        runtime.getDeviceCount = lambda: 1
        try:
            ln.Model(device="cuda:1")
        except ln.DeviceError as error:
            assert "'cuda:1'" in str(error) and "there is 1" in str(error), error
        else:
            raise AssertionError("no error")
    """)


def test_lazynet_imports_cupy_only_when_a_gpu_is_asked_for() -> None:
    run("""
        import sys
        import lazynet as ln
        import lazynet.dynet
        w = ln.Model().parameter(3)
        ln.squared_norm(w).backward()
        ln.optim.Adam(ln.Model())
        assert "cupy" not in sys.modules
    """)


def test_values_on_the_cpu_are_numpy_arrays_either_way() -> None:
    import numpy as np

    x = ln.constant([1.0, 2.0]) * 2
    kept = x.value(device=True)
    assert type(kept) is np.ndarray and kept.tolist() == [2.0, 4.0]
    assert (np.from_dlpack(x) == kept).all()
    w = ln.Model().parameter(2, init=1.0)
    w.value(device=True)[...] = 0
    assert w.value().tolist() == [1.0, 1.0]
