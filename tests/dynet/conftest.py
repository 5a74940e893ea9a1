"""Every test begins with a new graph and the same random numbers."""

from __future__ import annotations

import pytest

import lazynet as ln
import lazynet.dynet as dy

collect_ignore = ["programs", "record.py", "record_api.py", "record_programs.py"]
"""Programs are run, not imported."""


@pytest.fixture(autouse=True)
def anew() -> None:
    ln.seed(0)
    dy.renew_cg()
