from __future__ import annotations

import pytest
from hypothesis import settings

import lazynet as ln

settings.register_profile("lazynet", derandomize=True, deadline=None, database=None)
settings.load_profile("lazynet")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """No test depends on which ones ran before it."""
    ln.seed(0)
