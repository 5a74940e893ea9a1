"""From what users give - numbers, lists, arrays, names of dtypes - to NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.backend import as_device_array, device_of, is_device_array, on_device
from lazynet.errors import ArgumentError, DtypeError
from lazynet.kinds import (
    FLOAT16,
    FLOAT32,
    FLOAT64,
    FLOATS,
    HALVES,
    INT64,
    Array,
    is_expression,
)


def as_dtype(dtype: Any, floating: bool = False) -> np.dtype[Any]:
    """The NumPy dtype of this name, if lazynet has values of it.

    Raises:
        DtypeError: If it has not, or bfloat16 cannot be had.
    """
    if str(dtype) == _BFLOAT16:
        return _bfloat16()
    try:
        d = np.dtype(dtype)
    except TypeError:
        d = np.dtype(object)
    if d.name == _BFLOAT16:
        return _bfloat16()
    known_ones = (FLOAT32, FLOAT64, FLOAT16)
    for known in known_ones if floating else (*known_ones, INT64):
        if d == known:
            return known
    names = "float32 or float64" if floating else "float32, float64 or int64 (indices)"
    raise DtypeError(
        f"dtype: got {dtype!r}; it must be {names}, or float16 or bfloat16 (to store values in)"
    )


_BFLOAT16 = "bfloat16"


def _bfloat16() -> np.dtype[Any]:
    """The dtype that NumPy lacks, from the package that has it."""
    for known in HALVES:
        if known.name == _BFLOAT16:
            return known
    try:
        import ml_dtypes
    except ImportError as error:
        raise DtypeError(
            "dtype: got 'bfloat16', which NumPy does not have by itself; install the package that "
            f"adds it with pip install 'lazynet[bfloat16]' ({error}), or use 'float16'"
        ) from error
    found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    HALVES.append(found)
    FLOATS.append(found)
    return found


def as_array(values: Any, dtype: Any = None, role: str = "constant") -> Array:
    """A new, contiguous array of numbers from what a user gave.

    Args:
        values: Numbers, nested lists or an array.
        dtype: Of the result. None keeps arrays of floating-point dtypes that lazynet has, and
            makes the rest float32.
        role: What the message calls it.

    Raises:
        ArgumentError: For None, strings, ragged lists, objects and complex numbers.
    """
    if isinstance(values, (list, tuple)) and any(is_expression(v) for v in values):
        raise ArgumentError(
            f"{role}: got a list of expressions where an array belongs; combine them with "
            "ln.stack, ln.concatenate or ln.rebatch"
        )
    if is_device_array(values):
        raise ArgumentError(
            f"{role}: got an array on a GPU where one on the host belongs; copy it with .get(), or "
            "(of another library than CuPy) by way of cupy.asarray(x).get()"
        )
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ArgumentError(
            f"{role}: got a ragged list; rows must have equal lengths to form an array; "
            "make one expression of each row"
        ) from error
    given = isinstance(values, (np.ndarray, np.generic))
    target = _target(array, values, given, dtype, role)
    return np.array(array, target, order="C", copy=True)


def on_gpu(values: Any, dtype: Any = None, role: str = "constant") -> Any:
    """A new, contiguous CuPy array of what was given as an array on a GPU; see `as_array`.

    Whole numbers of a floating-point array are checked on the host, which waits for the GPU.
    """
    array = as_device_array(values)
    with on_device(device_of(array)):
        return array.astype(_target(array, values, True, dtype, role), order="C", copy=True)


def _target(array: Any, values: Any, given: bool, dtype: Any, role: str) -> np.dtype[Any]:
    """The dtype that an array is to have, once it is clear that it can."""
    if array.dtype.name == _BFLOAT16:
        _bfloat16()
    elif array.dtype.kind not in "fiub":
        raise ArgumentError(
            f"{role}: got {type(values).__name__} {short(values)} (dtype {array.dtype}); it must "
            "be a number or an array of real numbers"
        )
    if dtype is None:
        dtype = array.dtype if given and array.dtype in FLOATS else FLOAT32
    target = as_dtype(dtype)
    if target is INT64 and array.dtype.kind not in "iub":
        whole = np.isfinite(array) & (array == np.floor(array))
        if not whole.all():
            raise ArgumentError(
                f"{role}: got {short(values)}; int64 needs whole numbers; round first"
            )
    return target


def short(values: Any) -> str:
    """How messages print a value: its repr, cut where it is long."""
    text = repr(values)
    return text if len(text) < 60 else text[:57] + "..."
