"""`python -m lazynet`: what it prints, and that its checks can fail."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import lazynet as ln
from lazynet import __main__ as main


def test_it_prints_versions_and_passes() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "lazynet"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"lazynet      {ln.__version__}" in done.stdout
    assert f"numpy        {np.__version__}" in done.stdout
    assert done.stdout.count(" ok\n") >= 4
    assert "FAILED" not in done.stdout
    assert "examples/s batched" in done.stdout


def test_a_failed_check_shows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(self: main.Network) -> list[np.ndarray]:
        return [np.random.default_rng().normal(size=3)]

    monkeypatch.setattr(main.Network, "gradients", broken)
    monkeypatch.setattr(sys, "argv", ["lazynet"])
    assert main.main() == 1
    assert "batched is node by node          FAILED: LazynetError: two results" in (
        capsys.readouterr().out
    )


@pytest.mark.gpu
def test_a_gpu_is_checked(
    gpu: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["lazynet"])
    assert main.main() == 0
    assert "device agrees with the cpu       ok" in capsys.readouterr().out
