"""Initialisers: how the values of a new parameter are chosen."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from lazynet.dynet.common import check_size
from lazynet.dynet.expression import as_number, short
from lazynet.dynet.files import opened
from lazynet.errors import OutOfMemoryError, ShapeError
from lazynet.kinds import Array
from lazynet.randomness import next_key

Shape = tuple[int, ...]


class SquareError(ShapeError, RuntimeError):
    """A shape that is no square matrix where one is needed."""


class PyInitializer:
    """Base of the initialisers."""

    def values(self, shape: Shape, lookup: bool) -> Array:
        """The values of a parameter, float32.

        Args:
            shape: Its shape; of a table, the number of rows first.
            lookup: Whether it is a table.
        """
        raise NotImplementedError(
            f"{type(self).__name__}: it says nothing of values; use one of its subclasses, such as "
            "ConstInitializer"
        )


def generator() -> np.random.Generator:
    """Numbers that depend on the seed and on how many keys were taken before."""
    return np.random.Generator(np.random.Philox(next_key()))


def _uniform(shape: Shape, bound: float) -> Array:
    numbers = generator().random(shape, np.float32)
    numbers *= np.float32(2 * bound)
    numbers -= np.float32(bound)
    return numbers


class NormalInitializer(PyInitializer):
    """Normally distributed numbers.

    Args:
        mean: Their mean.
        var: Their variance, at least 0.
    """

    def __init__(self, mean: float = 0, var: float = 1) -> None:
        self.mean = _number(mean, "NormalInitializer", "mean")
        self.var = _number(var, "NormalInitializer", "var")
        if not self.var >= 0:
            raise ValueError(f"NormalInitializer: got var={var!r}; it must be at least 0")

    def values(self, shape: Shape, lookup: bool) -> Array:
        """Numbers drawn anew."""
        numbers = generator().standard_normal(shape, np.float32)
        numbers *= np.float32(math.sqrt(self.var))
        numbers += np.float32(self.mean)
        return numbers


class UniformInitializer(PyInitializer):
    """Numbers uniformly distributed between -scale and scale.

    Args:
        scale: Their bound.
    """

    def __init__(self, scale: float) -> None:
        self.scale = _number(scale, "UniformInitializer", "scale")

    def values(self, shape: Shape, lookup: bool) -> Array:
        """Numbers drawn anew."""
        return _uniform(shape, self.scale)


class ConstInitializer(PyInitializer):
    """The same number everywhere.

    Args:
        c: The number.
    """

    def __init__(self, c: float) -> None:
        self.c = _number(c, "ConstInitializer", "c")

    def values(self, shape: Shape, lookup: bool) -> Array:
        """The number, as often as needed."""
        return np.full(shape, self.c, np.float32)


class IdentityInitializer(PyInitializer):
    """The identity matrix."""

    def values(self, shape: Shape, lookup: bool) -> Array:
        """The matrix."""
        _check_square(shape, "IdentityInitializer")
        return np.eye(shape[0], dtype=np.float32)


class GlorotInitializer(PyInitializer):
    """Numbers uniformly distributed within bounds that keep the variance from layer to layer.

    The bound is gain * sqrt(3 k / (d_1 + ... + d_k)) for k dimensions - sqrt(6 / (m + n)) for a
    matrix - and for the four of a convolution's filters gain * sqrt(6 / (d_1 d_2 (d_3 + d_4))).

    Args:
        is_lookup: Whether the number of rows of a table (for a parameter, its last dimension) is
            left out of account. It is not by default, in `add_lookup_parameters` either.
        gain: A factor that depends on what follows: 1 for tanh, 0.5 for rectify, 4 for logistic.

    Source: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010, for matrices.
    """

    def __init__(self, is_lookup: bool = False, gain: float = 1.0) -> None:
        self.is_lookup = bool(is_lookup)
        self.gain = _number(gain, "GlorotInitializer", "gain")

    def values(self, shape: Shape, lookup: bool) -> Array:
        """Numbers drawn anew."""
        return _uniform(shape, self.bound(shape, lookup))

    def bound(self, shape: Shape, lookup: bool) -> float:
        """The largest number that can come for a shape."""
        dims = shape[1:] + shape[:1] if lookup else shape  # the number of rows last, as in DyNet
        if self.is_lookup:
            dims = dims[:-1]
        if len(dims) == 4:
            variance = 6 / max(dims[0] * dims[1] * (dims[2] + dims[3]), 1)
        else:
            variance = 3 * max(len(dims), 1) / max(sum(dims), 1)
        return self.gain * math.sqrt(variance)


class SaxeInitializer(PyInitializer):
    """A random orthonormal matrix, times scale.

    Args:
        scale: The factor.

    Source: A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of
    learning in deep linear neural networks", ICLR 2014; F. Mezzadri, "How to generate random
    matrices from the classical compact groups", 2007, for the signs.
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = _number(scale, "SaxeInitializer", "scale")

    def values(self, shape: Shape, lookup: bool) -> Array:
        """A matrix drawn anew."""
        _check_square(shape, "SaxeInitializer")
        q, r = np.linalg.qr(generator().standard_normal(shape))
        matrix: Array = q * (np.copysign(self.scale, np.diagonal(r)))
        return matrix.astype(np.float32)


class NumpyInitializer(PyInitializer):
    """The values of an array.

    Args:
        array: Of the shape of the parameter.
    """

    def __init__(self, array: Any) -> None:
        self.array = numbers(array, "NumpyInitializer")

    def values(self, shape: Shape, lookup: bool) -> Array:
        """The array."""
        if self.array.shape != shape:
            raise ShapeError(
                f"NumpyInitializer: got an array of shape {self.array.shape} for a parameter of "
                f"shape {shape}; both must be the same"
            )
        return self.array


class FromFileInitializer(PyInitializer):
    """Numbers from a text file, in column-major order.

    Args:
        fname: Name of the file.
    """

    def __init__(self, fname: str) -> None:
        if not isinstance(fname, (str, os.PathLike)):
            raise TypeError(f"FromFileInitializer: got {short(fname)}; it takes a file name")
        self.fname = fname

    def values(self, shape: Shape, lookup: bool) -> Array:
        """The numbers.

        Raises:
            RuntimeError: If the file cannot be read.
            ValueError: If it holds something else, or another number of numbers.
        """
        with opened(os.fsdecode(self.fname), "rb", "FromFileInitializer") as file:
            words = file.read().split()
        try:
            numbers = np.array([float(word) for word in words]).astype(np.float32)
        except ValueError as error:
            raise ValueError(f"FromFileInitializer: {self.fname}: {error}") from error
        size = math.prod(shape)
        if len(numbers) != size:
            raise ShapeError(
                f"FromFileInitializer: {self.fname} has {len(numbers)} numbers for a parameter of "
                f"shape {shape}, which has {size}"
            )
        if lookup:
            rows = numbers.reshape(shape[0], *reversed(shape[1:]))
            return rows.transpose(0, *range(len(shape) - 1, 0, -1))
        return numbers.reshape(shape, order="F")


def initial_values(
    name: str, init: Any, shape: Shape, lookup: bool, scale: float, mean: float, std: float
) -> Array:
    """The values that the arguments of `add_parameters` stand for.

    An array brings its own shape: DyNet makes the parameter like the array, whatever was asked for.

    Args:
        name: The method that makes the parameter.
        init: Its initialiser.
        shape: Its shape; of a table, the number of rows first.
        lookup: Whether it is a table.
        scale: Bound of "uniform".
        mean: Mean of "normal".
        std: Standard deviation of "normal".

    Raises:
        TypeError: If one of the last three is no number.
        ValueError: If `init` is nothing known, or does not suit the shape.
        MemoryError: If there is not enough of it.
    """
    if isinstance(init, np.ndarray):
        return numbers(init, name)
    chosen = _initializer(name, init, shape, scale, mean, std)
    check_size(math.prod(shape), name)
    try:
        values = np.asarray(chosen.values(shape, lookup), np.float32)
    except MemoryError as error:
        raise OutOfMemoryError(
            f"{name}: a parameter of shape {shape} does not fit into memory; make it smaller"
        ) from error
    if values.shape != shape:
        raise ShapeError(
            f"{name}: {type(chosen).__name__} gave values of shape {values.shape} for a parameter "
            f"of shape {shape}; both must be the same"
        )
    return values


def _initializer(
    name: str, init: Any, shape: Shape, scale: float, mean: float, std: float
) -> PyInitializer:
    scale, mean = _number(scale, name, "scale"), _number(mean, name, "mean")
    std = _number(std, name, "std")
    if init is None:
        return GlorotInitializer()
    if isinstance(init, PyInitializer):
        return init
    number = as_number(init)
    if number is not None:
        return ConstInitializer(_number(number, name, "init"))
    if init == "uniform":
        return UniformInitializer(scale)
    if init == "normal":
        return NormalInitializer(mean, std**2)
    if init == "identity":
        return IdentityInitializer()
    if init == "glorot":
        return GlorotInitializer()
    if init == "saxe":
        return SaxeInitializer(scale)
    if init == "he":
        return NormalInitializer(0, 2 / _fan_in(shape))
    raise ValueError(
        f"{name}: got init={short(init)}; it takes an initialiser, a number, an array, or one of "
        "'uniform', 'normal', 'identity', 'glorot', 'he', 'saxe'"
    )


def numbers(array: Any, name: str) -> Array:
    """An array of float32 of its own.

    Raises:
        TypeError: If these are no numbers.
    """
    try:
        found = np.array(array)
    except ValueError as error:
        raise TypeError(f"{name}: got {short(array)}; it takes an array of numbers") from error
    if found.dtype.kind not in "fiub" and any(as_number(x) is None for x in found.flat):
        raise TypeError(f"{name}: got {short(array)}; it takes an array of numbers")
    return found.astype(np.float32)


def _fan_in(shape: Shape) -> int:
    """How many numbers a result is summed up from: columns, or those of a filter.

    Source: K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers", ICCV 2015.
    """
    return max(math.prod(shape[:3]) if len(shape) == 4 else shape[-1] if shape else 1, 1)


def _check_square(shape: Shape, name: str) -> None:
    if len(shape) != 2 or shape[0] != shape[1]:
        raise SquareError(f"{name}: got shape {shape}; it takes square matrices")


def _number(x: Any, name: str, argument: str) -> float:
    number = as_number(x)
    if number is None:
        raise TypeError(f"{name}: got {argument}={short(x)}; it takes a number")
    if math.isnan(number):
        raise ValueError(f"{name}: got {argument}=NaN; it takes a number")
    return number
