"""Inputs, and the way between a batch and a list of single expressions."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index as as_index
from typing import Any

import numpy as np

from lazynet.backend import device_of, is_device_array
from lazynet.calls import record_together
from lazynet.convert import as_array, on_gpu, short
from lazynet.errors import ArgumentError, RangeError, ShapeError
from lazynet.graph import Expression, handle, mark, record
from lazynet.kinds import FLOATS, HOOKS, type_of
from lazynet.leaves import REBATCH, TAKE_ROWS, UNBATCH, UNSHARE, device_input_kind, input_kind
from lazynet.modes import MODES
from lazynet.shortcuts import further_rows, held, learn_held
from lazynet.tape import LOCAL, tape_for_input


def constant(
    array: Any, batched: bool = False, dtype: Any = None, *, role: str = "constant"
) -> Expression:
    """An input: a leaf holding a copy of these numbers.

    Args:
        array: A number, nested list or array; an array on a GPU (of CuPy, or of any library whose
            arrays have `__cuda_array_interface__`) stays there.
        batched: Whether the first axis is the batch.
        dtype: "float32", "float64", "float16", "bfloat16" or "int64" (for indices). Default: arrays
            of these floating-point dtypes keep theirs, all else becomes float32. Where a constant
            meets an expression of another floating-point dtype, it takes that dtype.
        role: What an error message calls the argument.

    Returns:
        An expression of shape `array.shape` (or `array.shape[1:]` with a batch).

    Raises:
        ArgumentError: If it is no array of real numbers.
        ShapeError: If `batched` and there is no axis for the batch.

    >>> import lazynet as ln
    >>> ln.constant([[1, 2], [3, 4], [5, 6]], batched=True).sum().value().tolist()
    [3.0, 7.0, 11.0]
    """
    if dtype is None and not batched:
        fast = held(array)
        if fast is not None:
            return fast
    if isinstance(array, Expression):
        return array
    if dtype is None and type(array) is np.ndarray and array.dtype in FLOATS:
        values = array.copy()
    elif is_device_array(array):
        values = on_gpu(array, dtype, role)
    else:
        values = as_array(array, dtype, role)
    rows = -1
    shape = values.shape
    if batched:
        if not shape:
            raise ShapeError(
                f"{role}: got a single number with batched=True; a batch needs an axis; "
                "leave out batched"
            )
        rows = shape[0]
        shape = shape[1:]
    t = type_of(shape, values.dtype)
    there = type(values) is not np.ndarray
    kind = device_input_kind(t, device_of(values)) if there else input_kind(t)
    tape = tape_for_input()
    n = len(tape.kinds)
    if MODES.get().debug:
        mark(tape, n)
    tape.append(kind, [], rows, values.reshape(-1))
    if not there:
        learn_held(kind)
    return handle(tape, n)


def zeros_once(n: int, dtype: Any) -> Expression:
    """A vector of zeros; the same node for all that ask for it on one tape."""
    tape = LOCAL.tape
    key = (n, dtype)
    if tape.sealed == 0:
        known = tape.groups.get(key)
        if known is not None:
            return handle(tape, known[0])
    zeros = constant(np.zeros(n, dtype))
    zeros.tape.groups[key] = [zeros.index]
    return zeros


def unbatch(x: Expression) -> list[Expression]:
    """The rows of a batch as single expressions; nothing is copied.

    >>> import lazynet as ln
    >>> [row.sum().value() for row in ln.unbatch(ln.constant([[1, 2], [3, 4]], batched=True))]
    [3.0, 7.0]
    """
    if not isinstance(x, Expression):
        raise ArgumentError(f"unbatch: got {short(x)}; it takes an expression")
    if x.batch is None:
        return [x]
    if not x.batch:
        return []
    first = record(UNBATCH, (_stopped(x),), 0, -1)
    return further_rows(first, x.batch)


def take_rows(x: Expression, rows: Sequence[int]) -> Expression:
    """A batch of rows of a batch, in any order, repeated or not; nothing is copied.

    Args:
        x: An expression; a single one counts as one row.
        rows: Numbers of the rows, from 0; negative ones count from the end.

    Returns:
        A batch of as many rows. Gradients of repeated rows add up.

    Raises:
        RangeError: If there is no such row.
        ArgumentError: If x is no expression, or rows are no integers.

    >>> import lazynet as ln
    >>> ln.take_rows(ln.constant([[1, 2], [3, 4]], batched=True), [1, 0, 1]).value().tolist()
    [[3.0, 4.0], [1.0, 2.0], [3.0, 4.0]]
    """
    if not isinstance(x, Expression):
        raise ArgumentError(f"take_rows: got {short(x)}; it takes an expression")
    n = 1 if x.batch is None else x.batch
    numbers = []
    for k in rows:
        try:
            i = as_index(k)
        except TypeError:
            raise ArgumentError(
                f"take_rows: got row {short(k)}; rows are whole numbers from 0 to {n - 1}"
            ) from None
        if not -n <= i < n:
            raise RangeError(f"take_rows: got row {i} of {n} rows; valid are 0 to {n - 1}")
        numbers.append(i % n)
    return record(TAKE_ROWS, (_stopped(x),), tuple(numbers), len(numbers))


def rebatch(xs: Sequence[Expression]) -> Expression:
    """One batch of the rows of several expressions of equal shape; nothing is copied.

    >>> import lazynet as ln
    >>> ln.rebatch([ln.constant([1, 2]), ln.constant([3, 4])]).value().tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    if isinstance(xs, list) and MODES.get().gradients:
        fast = record_together(REBATCH, xs)
        if fast is not None:
            return fast
    entries = expression_list(xs, "rebatch")
    rows = 0
    for e in entries:
        rows += 1 if e.batch is None else e.batch
    return record(REBATCH, [_stopped(e) for e in entries], None, rows)


def _stopped(x: Any) -> Any:
    """Under `no_grad` a copy of x: whoever points at rows would hand on their gradient."""
    if MODES.get().gradients or not isinstance(x, Expression):
        return x
    return record(UNSHARE, (x,))


def expression_list(xs: Any, role: str) -> list[Any]:
    """A non-empty list of expressions, or numbers and arrays beside at least one expression.

    Raises:
        ArgumentError: If it is not.
    """
    if isinstance(xs, (str, bytes)) or not hasattr(xs, "__iter__"):
        raise ArgumentError(f"{role}: got {short(xs)}; it takes a list of expressions")
    entries = list(xs)
    if not entries:
        raise ArgumentError(
            f"{role}: got an empty list, whose shape is unknown; leave the call out, or add a "
            "constant of zeros"
        )
    return entries


def as_expression(x: Any, role: str, dtype: Any = None) -> Expression:
    """x itself if it is an expression, else a constant of it."""
    return x if isinstance(x, Expression) else constant(x, dtype=dtype, role=role)


HOOKS.constant = constant
