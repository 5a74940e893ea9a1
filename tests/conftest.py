from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from devices import HOST_ONLY
from hypothesis import settings

import lazynet as ln
from lazynet.modes import MODES

ROOT = Path(__file__).parents[1]

settings.register_profile("lazynet", derandomize=True, deadline=None, database=None)
settings.load_profile("lazynet")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """No test depends on which ones ran before it."""
    ln.seed(0)


@pytest.hookimpl(hookwrapper=True)
def pytest_pycollect_makemodule(module_path: Path) -> Iterator[None]:
    """Every module of tests runs on each device, unless `HOST_ONLY` says why not.

    Those of a GPU alone, `test_gpu*.py`, see to it themselves.
    """
    outcome: Any = yield
    module = outcome.get_result()
    if _name(module_path) not in HOST_ONLY and not module_path.name.startswith("test_gpu"):
        module.add_marker(pytest.mark.usefixtures("device"))


@pytest.fixture(autouse=True)
def of_the_host(request: pytest.FixtureRequest) -> None:
    """Skips single tests of what there is on the host alone, where they would run on a GPU."""
    if MODES.get().device != "cpu":
        test = f"{_name(request.path)}::{request.node.originalname}"
        arguments = request.node.name.removeprefix(request.node.originalname)
        for name in (test, test + arguments.replace("[cuda-", "[")):
            if name in HOST_ONLY:
                pytest.skip(f"of the host alone: {HOST_ONLY[name]}")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def without_gpu() -> str:
    """Why nothing can be computed on a GPU here; empty where it can."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy is not installed ({error})"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no GPU, and not under the emulator ({error})"
    return "" if count else "no GPU, and not under the emulator"


NO_GPU = without_gpu()
DEVICES = ["cpu"] if NO_GPU else ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
"""What tests run on. Without a GPU those of a GPU alone are skipped; the others are not doubled."""


def pytest_report_header() -> str:
    """Says why nothing runs on a GPU."""
    return f"devices: cpu alone, since {NO_GPU}" if NO_GPU else "devices: cpu and cuda"


# Of the module, because Hypothesis refuses fixtures of a function for tests of many examples.
@pytest.fixture(scope="module", params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test on each device: what it makes and computes is there."""
    if NO_GPU and request.param != "cpu":  # asked for by the test itself
        pytest.skip(NO_GPU)
    with ln.use_device(request.param):
        yield request.param


@pytest.fixture(scope="module")
def gpu() -> None:
    """Skips a test where there is no GPU."""
    if NO_GPU:
        pytest.skip(NO_GPU)
