"""Inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.dynet.expression import Expression, wrap
from lazynet.inputs import constant


def scalarInput(s: float, device: str = "") -> Expression:
    """A number."""
    return wrap(constant(np.full(1, s, np.float32)))


def inputTensor(
    arr: Any, batched: bool = False, device: str = "", reusable_expr: bool = False
) -> Expression:
    """An array; the last axis is the batch if `batched`."""
    array = np.asarray(arr, np.float32)
    if batched:
        array = np.moveaxis(array, -1, 0)
    return wrap(constant(array, batched=batched))
