"""Inputs as `ComputationGraph` makes them: from flat lists, counted as DyNet lays out memory."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from lazynet.dynet.expression import Expression, as_number, short
from lazynet.dynet.inputs import inputTensor
from lazynet.kinds import Array


def literal(v: Any, d: Any, batch_size: Any, device: str, name: str) -> Expression:
    """An input from a list of all its numbers."""
    values = _numbers(v, name)
    shape, rows = _form(d, batch_size, name)
    if prod(shape) * rows != values.size:
        raise ValueError(
            f"{name}: got {values.size} numbers for the dimensions {shape} and the batch size "
            f"{rows}, which take {prod(shape) * rows}"
        )
    return _input(values, shape, rows, device)


def sparse_literal(
    idxs: Any, v: Any, dim: Any, batch_size: Any, defval: Any, device: str, name: str
) -> Expression:
    """An input from some of its numbers and their places, the others being equal."""
    values = _numbers(v, name)
    shape, rows = _form(dim, batch_size, name)
    places = np.asarray(idxs)
    if places.ndim != 1 or (places.size and places.dtype.kind not in "iu"):
        raise TypeError(f"{name}: got the places {short(idxs)}; it takes a list of integers")
    if places.size != values.size:
        raise ValueError(f"{name}: got {places.size} places and {values.size} numbers")
    size = prod(shape) * rows
    if places.size and not 0 <= places.min() <= places.max() < size:
        raise ValueError(f"{name}: got the places {short(idxs)}; they go from 0 to {size - 1}")
    rest = as_number(defval)
    if rest is None:
        raise TypeError(f"{name}: got defval {short(defval)}; it must be a number")
    full = np.full(size, rest, np.float32)
    full[places.astype(np.int64)] = values
    return _input(full, shape, rows, device)


def _input(values: Array, shape: tuple[int, ...], rows: int, device: str) -> Expression:
    if rows == 1:
        return inputTensor(values.reshape(shape, order="F"), False, device, True)
    return inputTensor(values.reshape((*shape, rows), order="F"), True, device, True)


def _numbers(v: Any, name: str) -> Array:
    try:
        values: Array = np.asarray(v, np.float32)
    except (TypeError, ValueError):
        values = np.zeros((), np.float32)
    if values.ndim != 1:
        raise TypeError(f"{name}: got {short(v)}; it takes a flat list of numbers")
    return values


def _form(d: Any, batch_size: Any, name: str) -> tuple[tuple[int, ...], int]:
    if not isinstance(d, tuple) or not all(isinstance(n, (int, np.integer)) for n in d):
        raise TypeError(f"{name}: got the dimensions {short(d)}; they must be a tuple of integers")
    if not isinstance(batch_size, (int, np.integer)):
        raise TypeError(f"{name}: got batch_size {short(batch_size)}; an integer is required")
    if batch_size < 1 or any(n < 0 for n in d):
        raise ValueError(f"{name}: got the dimensions {d} and the batch size {batch_size}")
    return tuple(int(n) for n in d), int(batch_size)
