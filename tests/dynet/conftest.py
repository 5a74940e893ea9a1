"""Every test begins with the same random numbers."""

from __future__ import annotations

import pytest

import lazynet as ln


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    ln.seed(0)
