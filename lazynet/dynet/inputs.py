"""Inputs: numbers and arrays that enter the graph, some of which can be changed later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import prod
from struct import Struct
from typing import Any, Final, NoReturn

import numpy as np

from lazynet.dynet.arithmetic import dimension
from lazynet.dynet.common import check_size
from lazynet.dynet.config import checked_device
from lazynet.dynet.expression import (
    Expression,
    as_number,
    checked,
    compute_at_once,
    short,
    wrap,
)
from lazynet.dynet.graph import STATE, invalidate
from lazynet.dynet.stretch import Stretch
from lazynet.graph import Expression as Node
from lazynet.graph import handle
from lazynet.inputs import constant as engine_constant
from lazynet.kinds import Array
from lazynet.native import mypyc_attr
from lazynet.revise import replace
from lazynet.shortcuts import owned, placed
from lazynet.tape import Tape

_FLOAT32: Final = np.dtype(np.float32)
_MOST: Final = 3e38
"""Up to here numbers are finite in float32."""
_SCALAR: Final = (1,)
_SHORT: Final = 4096
_PACKS: dict[int, Callable[..., bytes]] = {}
_frombuffer: Final = np.frombuffer


@mypyc_attr(allow_interpreted_subclasses=True)
class _inputExpression(Expression):
    """A number that can be changed: what `scalarInput` returns."""

    __slots__ = ()

    def set(self, s: float | Any) -> None:
        """Change the number; what was computed from the old one is computed anew.

        Raises:
            TypeError: If it is no number.
        """
        node = checked(self, "scalarInput.set").node
        replace(node, np.array([_real(s, "scalarInput.set")], _FLOAT32))
        invalidate()


@mypyc_attr(allow_interpreted_subclasses=True)
class _vecInputExpression(Expression):
    """A vector that can be changed: what `vecInput` and `inputVector` return."""

    __slots__ = ()

    def set(self, data: Iterable[float] | Any) -> None:
        """Change the vector; what was computed from the old one is computed anew.

        Raises:
            TypeError: If these are no numbers.
            ValueError: If there are not as many as before.
        """
        node = checked(self, "inputVector.set").node
        values = _vector(data, "inputVector.set")
        _same_size(values, node.size, "inputVector.set")
        replace(node, values)
        invalidate()


@mypyc_attr(allow_interpreted_subclasses=True)
class _tensorInputExpression(Expression):
    """An array that can be changed if it was made so: what `inputTensor` returns."""

    __slots__ = ("reusable",)
    reusable: bool

    def set(self, data: Any) -> None:
        """Change the array; what was computed from the old one is computed anew.

        Args:
            data: An array like the one before, or all its numbers as one list, column by column,
                example by example.

        Raises:
            TypeError: If these are no numbers.
            ValueError: If it was made without ``reusable_expr=True``, or the form differs.
        """
        node = checked(self, "inputTensor.set").node
        if not self.reusable:
            raise ValueError(
                "inputTensor.set: this input cannot be changed; make it with "
                "inputTensor(..., reusable_expr=True)"
            )
        batch = node.batch
        shape = node.shape if batch is None else (*node.shape, batch)
        values = _array(data, "inputTensor.set")
        if values.ndim == 1:
            _same_size(values, prod(shape), "inputTensor.set")
            values = values.reshape(shape, order="F")
        elif values.shape != shape:
            raise ValueError(
                f"inputTensor.set: got an array of shape {values.shape}; it must be {shape}, or a "
                f"list of {prod(shape)} numbers"
            )
        if batch is not None:
            values = _rows_first(values)
        replace(node, values.flatten())
        invalidate()


@mypyc_attr(allow_interpreted_subclasses=True)
class _sparseInputExpression(Expression):
    """What `sparse_inputTensor` returns."""

    __slots__ = ()

    def set(self, data: Any) -> NoReturn:
        """Not possible, as in DyNet.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "sparse_inputTensor.set: a sparse input cannot be changed; make it with "
            "inputTensor(..., reusable_expr=True)"
        )


@mypyc_attr(allow_interpreted_subclasses=True)
class inputTensorTranspose(Expression):
    """An array given as a list of its numbers, column by column, example by example.

    Args:
        val: The numbers.
        dim: Dimensions of one example, a tuple; by default those of a vector.
        batch_size: Number of examples.
        device: See `scalarInput`.

    Raises:
        TypeError: If these are no numbers, or dim is no tuple.
        ValueError: If there are more or fewer than the dimensions ask for.
    """

    __slots__ = ()

    def __init__(  # its arguments are those of DyNet's class
        self,
        val: Sequence[float] | Any,
        dim: tuple[int, ...] | Any | None = None,
        batch_size: int | Any = 1,
        device: str | Any = "",
    ) -> None:
        name = "inputTensorTranspose"
        values = _vector(val, name)
        if dim is not None and not isinstance(dim, tuple):
            raise TypeError(f"{name}: got dim={short(dim)}; it must be a tuple")
        shape = (len(values),) if dim is None else _shape(dim, name)
        rows = _batch_size(batch_size, name)
        if prod(shape) * rows != len(values):
            raise ValueError(
                f"{name}: dimensions {shape} and batch size {rows} make {prod(shape) * rows} "
                f"elements, and there are {len(values)}"
            )
        values = _rows_first(values.reshape((*shape, rows), order="F"))
        made = wrap(_node(values, rows, device, name))
        super().__init__(made.node, made.graph)


# One number, or a vector


def scalarInput(s: float | Any, device: str | Any = "") -> _inputExpression:
    """A number; change it with `.set()`.

    Args:
        s: The number.
        device: "" or "CPU", the only device that there is (or a name that `--dynet-devices` gave).

    Raises:
        TypeError: If it is no number.
        RuntimeError: If there is no such device.
    """
    if device:
        checked_device(device, "scalarInput")
    number = s if type(s) is float and -_MOST <= s <= _MOST else _real(s, "scalarInput")
    values = _packed((number,)) if -_MOST <= number <= _MOST else np.array((number,), _FLOAT32)
    tape, n = _at(values, _SCALAR, -1)
    return _inputExpression(None, _stretch(tape, n), tape, n)


def vecInput(dim: int | Any, device: str | Any = "") -> _vecInputExpression:
    """A vector of zeros, to be filled with `.set()`.

    Args:
        dim: Its length.
        device: See `scalarInput`.

    Raises:
        TypeError: If the length is no whole number.
        ValueError: If it is negative.
    """
    if device:
        checked_device(device, "vecInput")
    n = _size(dim, "vecInput")
    check_size(n, "vecInput")
    tape, at = _at(_same(n, 0.0), (n,), -1)
    return _vecInputExpression(None, _stretch(tape, at), tape, at)


def inputVector(v: Iterable[float] | Any, device: str | Any = "") -> _vecInputExpression:
    """A vector; change it with `.set()`.

    Args:
        v: Its numbers.
        device: See `scalarInput`.

    Raises:
        TypeError: If these are no numbers.
    """
    if device:
        checked_device(device, "inputVector")
    values = _plain(v) if type(v) is list else None
    if values is None:
        values = _vector(v, "inputVector")
    tape, n = _at(values, (len(values),), -1)
    return _vecInputExpression(None, _stretch(tape, n), tape, n)


# Arrays


def inputTensor(
    arr: Any, batched: bool | Any = False, device: str | Any = "", reusable_expr: bool | Any = False
) -> _tensorInputExpression:
    """An array.

    Args:
        arr: An array or a list (of lists) of numbers. A list of arrays is a batch, one example
            each.
        batched: Whether the last axis is the batch; a batched vector is a batch of scalars.
        device: See `scalarInput`.
        reusable_expr: Whether it can be changed with `.set()`.

    Raises:
        TypeError: If it is neither an array nor a list, or holds no numbers.
        ValueError: If it is an empty or a ragged list.
    """
    values = None
    array = arr
    if type(arr) is list:
        values = None if batched else _plain(arr)
        if values is None:
            array, batched = _of_list(arr, batched)
        else:
            array = values
    elif isinstance(arr, np.ndarray) and arr.ndim:
        if arr.dtype != _FLOAT32:
            array = _array(arr, "inputTensor")
    else:
        raise TypeError(
            f"inputTensor: got {short(arr)}; it takes an array with at least one axis, or a list; "
            "for a single number use scalarInput"
        )
    if device:
        checked_device(device, "inputTensor")
    if batched:
        rows = array.shape[-1]
        array = _rows_first(array)
        tape, n = _at(array.flatten(), array.shape[1:], -1 if rows == 1 else rows)
    else:
        # What was given may be changed by the program, and is copied
        tape, n = _at(array.flatten() if values is None else values, array.shape, -1)
    made = _tensorInputExpression(None, _stretch(tape, n), tape, n)
    made.reusable = reusable_expr
    return made


def _of_list(arr: list[Any], batched: bool) -> tuple[Array, bool]:
    if not arr:
        raise ValueError("inputTensor: got an empty list; the dimensions of an input must be known")
    if not all(isinstance(a, np.ndarray) for a in arr):
        return _array(arr, "inputTensor"), batched
    try:
        stacked: Array = np.stack(arr, -1).astype(_FLOAT32)
        return stacked, True
    except (TypeError, ValueError):
        shapes = ", ".join(str(np.shape(a)) for a in arr[:8])
        raise ValueError(
            f"inputTensor: got a list of arrays of shapes {shapes}; the arrays of a batch must "
            "have one shape"
        ) from None


def sparse_inputTensor(
    idxs: Any,
    values: Any,
    shape: tuple[int, ...] | Any,
    batched: bool | Any = False,
    defval: float | Any = 0,
    device: str | Any = "",
) -> _sparseInputExpression:
    """An array of which most elements are the same.

    Args:
        idxs: For each axis the positions of the elements given, as in ``array[idxs]``; of an
            element that is given twice the last value counts.
        values: Their values.
        shape: Shape of the array.
        batched: Whether its last axis is the batch.
        defval: What all other elements are.
        device: See `scalarInput`.

    Raises:
        TypeError: If the positions are no whole numbers, or the shape is no sequence.
        ValueError: If positions and values differ in number, or lie outside of the shape.
    """
    name = "sparse_inputTensor"
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"{name}: got shape={short(shape)}; it must be a tuple")
    sizes = _shape(tuple(shape), name)
    if not hasattr(idxs, "__len__"):
        raise TypeError(f"{name}: got indices {short(idxs)}; it takes a list of lists")
    if len(idxs) != len(sizes):
        raise ValueError(
            f"{name}: got indices {short(idxs)} for the shape {sizes}; it takes as many lists of "
            "positions as the shape has axes"
        )
    places = []
    for k, (positions, size) in enumerate(zip(idxs, sizes)):
        place = np.asarray(positions)
        if place.ndim != 1 or (place.dtype.kind not in "iu" and place.size):
            raise TypeError(f"{name}: got the positions {short(positions)}; they must be integers")
        if place.size and (place.min() < 0 or place.max() >= size):
            raise ValueError(
                f"{name}: got the positions {short(positions)} along axis {k}, which has {size} "
                "elements"
            )
        places.append(place.astype(np.int64))
    numbers = _vector(values, name)
    if any(len(place) != len(numbers) for place in places):
        raise ValueError(
            f"{name}: got {' and '.join(str(len(p)) for p in places)} positions and "
            f"{len(numbers)} values; all must be equally many"
        )
    check_size(prod(sizes), name)
    array = np.full(sizes, _real(defval, f"{name}: defval"), _FLOAT32)
    array[tuple(places)] = numbers
    if not batched:
        node = _node(array[None], 1, device, name)
    else:
        node = _node(_rows_first(array), sizes[-1], device, name)
    made = wrap(node)
    return _sparseInputExpression(node, made.graph)


def one_hot(d: int | Any, idx: Any, device: str | Any = "") -> Expression:
    """A vector with a single 1.

    Args:
        d: Its length.
        idx: Where the 1 stands; a list of places makes a batch.
        device: See `scalarInput`.

    Raises:
        TypeError: If these are no whole numbers.
        OverflowError: If a place is negative.
        IndexError: If a place lies outside of the vector.
        ValueError: If the list is empty.
    """
    n = _size(d, "one_hot")
    several = isinstance(idx, (list, tuple)) or (isinstance(idx, np.ndarray) and idx.ndim == 1)
    places = [dimension(i, "one_hot: idx") for i in (idx if several else [idx])]
    if not places:
        raise ValueError("one_hot: got an empty list; it takes at least one place")
    if max(places) >= n:
        raise IndexError(f"one_hot: got {short(idx)} for a vector of length {n}")
    check_size(len(places) * n, "one_hot")
    array = np.zeros((len(places), n), _FLOAT32)
    array[range(len(places)), places] = 1
    return wrap(_node(array, len(places), device, "one_hot"))


# The same number everywhere


def zeros(dim: int | tuple[int, ...] | Any, batch_size: int | Any = 1) -> Expression:
    """Zeros.

    Args:
        dim: Dimensions of one example, a number or a tuple.
        batch_size: Number of examples.

    Raises:
        TypeError: If these are no whole numbers.
        ValueError: If one is negative, or the batch size 0.
    """
    return wrap(_filled(dim, 0.0, batch_size, "zeros"))


def zeroes(dim: int | tuple[int, ...] | Any, batch_size: int | Any = 1) -> Expression:
    """The same as `zeros`."""
    return wrap(_filled(dim, 0.0, batch_size, "zeroes"))


def ones(dim: int | tuple[int, ...] | Any, batch_size: int | Any = 1) -> Expression:
    """Ones; for the arguments see `zeros`."""
    return wrap(_filled(dim, 1.0, batch_size, "ones"))


def constant(
    dim: int | tuple[int, ...] | Any, val: float | Any, batch_size: int | Any = 1
) -> Expression:
    """The number `val` everywhere; for the other arguments see `zeros`.

    Raises:
        TypeError: If it is no number.
    """
    return wrap(_filled(dim, _real(val, "constant: val"), batch_size, "constant"))


def matInput(d1: int | Any, d2: int | Any) -> NoReturn:
    """Gone, as in DyNet: use `inputTensor`.

    Raises:
        DeprecationWarning: Always.
    """
    raise DeprecationWarning("matInput: it is no more; use inputTensor")


def inputMatrix(v: Any, d: Any) -> NoReturn:
    """Gone, as in DyNet: use `inputTensor`.

    Raises:
        DeprecationWarning: Always.
    """
    raise DeprecationWarning("inputMatrix: it is no more; use inputTensor")


# From what programs give to arrays


def _at(values: Array, shape: tuple[int, ...], rows: int) -> tuple[Tape, int]:
    """Record the input of a vector of float32 that nobody else will change, row by row."""
    tape, n = placed(values, shape, rows)
    if n >= 0:
        return tape, n
    node = _own(values, shape, rows)
    return node.tape, node.index


def _stretch(tape: Tape, n: int) -> Stretch:
    """The stretch of an input that was just recorded."""
    stretch: Stretch = STATE.stretch
    if stretch.immediate:
        compute_at_once(handle(tape, n), stretch)
    return stretch


def _plain(numbers: list[Any]) -> Array | None:
    """A vector of float32, of floats; None for anything else."""
    if not numbers:
        return None
    for x in numbers:
        if type(x) is not float or not -_MOST <= x <= _MOST:
            return None
    return _packed(numbers)


def _packed(numbers: Sequence[float]) -> Array:
    """A vector of float32, in half of the time that `np.array` takes."""
    n = len(numbers)
    pack = _PACKS.get(n)
    if pack is None:
        if len(_PACKS) >= _SHORT:
            _PACKS.clear()
        pack = _PACKS[n] = Struct(f"{n}f").pack
    values: Array = _frombuffer(pack(*numbers), _FLOAT32)
    return values


def _node(values: Array, rows: int, device: Any, name: str) -> Node:
    """The input of a copy of an array whose first axis is the batch."""
    if device:
        checked_device(device, name)
    return _own(values.flatten(), values.shape[1:], -1 if rows == 1 else rows)


def _rows_first(array: Array) -> Array:
    """An array with the last axis, the batch, as the first; a vector is a batch of scalars."""
    n = array.ndim
    if n == 1:
        return array.reshape(-1, 1)
    return array.T if n == 2 else array.transpose(n - 1, *range(n - 1))


def _own(values: Array, shape: tuple[int, ...], rows: int = -1) -> Node:
    """The input of a vector of float32 that nobody else will change, row by row."""
    node = owned(values, shape, rows)
    if node is not None:
        return node
    if rows == -1:
        return engine_constant(values.reshape(shape))
    return engine_constant(values.reshape(rows, *shape), batched=True)


@lru_cache(maxsize=256)
def _kept(size: int, value: float) -> Array:
    array = np.full(size, value, _FLOAT32)
    array.flags.writeable = False
    return array


def _same(size: int, value: float) -> Array:
    """A vector of one number; short ones are made once."""
    return _kept(size, value) if size <= _SHORT else np.full(size, value, _FLOAT32)


def _filled(dim: Any, value: float, batch_size: Any, name: str) -> Node:
    if type(dim) is int and dim >= 0:
        shape: tuple[int, ...] = (dim,)
    elif isinstance(dim, tuple):
        shape = _shape(dim, name)
    else:
        shape = (_size(dim, name),)
    size = shape[0] if len(shape) == 1 else prod(shape)
    if batch_size == 1:
        check_size(size, name)
        return _own(_same(size, value), shape)
    rows = _batch_size(batch_size, name)
    check_size(rows * size, name)
    return _own(_same(rows * size, value), shape, -1 if rows == 1 else rows)


def _shape(dim: tuple[Any, ...], name: str) -> tuple[int, ...]:
    return tuple([n if type(n) is int and n >= 0 else _size(n, name) for n in dim])


def _size(value: Any, name: str) -> int:
    try:
        return dimension(value, f"{name}: dim")
    except OverflowError:
        raise ValueError(
            f"{name}: got the size {value}; it cannot be negative, or more than 2^32 - 1"
        ) from None


def _batch_size(value: Any, name: str) -> int:
    rows = _size(value, name)
    if rows == 0:
        raise ValueError(f"{name}: got a batch size of 0; it must be at least 1")
    return rows


def _real(value: Any, name: str) -> float:
    number = as_number(value)
    if number is None:
        if isinstance(value, np.bool_):
            return float(value)
        raise TypeError(f"{name}: got {short(value)}; it must be a number")
    return number


def _array(values: Any, name: str) -> Array:
    """A new array of float32, row by row.

    Raises:
        TypeError: If these are no numbers.
        ValueError: If it is a ragged list.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name}: got a ragged list; its rows must be equally long") from None
    plain = array.dtype.kind in "fiub" or all(as_number(v) is not None for v in array.flat)
    if array.ndim == 0 or not plain:
        raise TypeError(f"{name}: got {short(values)}; it takes a list or an array of numbers")
    return array.astype(_FLOAT32, order="C")


def _vector(values: Any, name: str) -> Array:
    """A vector of float32."""
    if not isinstance(values, (np.ndarray, list, tuple)) and hasattr(values, "__iter__"):
        values = list(values)
    array = _array(values, name)
    if array.ndim != 1:
        raise TypeError(f"{name}: got {short(values)}; it takes numbers in a single list")
    return array


def _same_size(values: Array, size: int, name: str) -> None:
    if len(values) != size:
        raise ValueError(f"{name}: got {len(values)} numbers; this input has {size}")
