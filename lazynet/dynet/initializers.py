"""Initialisers: how the values of a new parameter are chosen."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np

from lazynet.kinds import Array
from lazynet.randomness import next_key

Shape = tuple[int, ...]


class PyInitializer:
    """Base of the initialisers."""

    @abstractmethod
    def values(self, shape: Shape, lookup: bool) -> Array:
        """The values of a parameter.

        Args:
            shape: Its shape; of a table, the number of rows first.
            lookup: Whether it is a table.
        """


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
        var: Their variance.
    """

    def __init__(self, mean: float = 0, var: float = 1) -> None:
        self.mean = float(mean)
        self.deviation = math.sqrt(var)

    def values(self, shape: Shape, lookup: bool) -> Array:
        numbers = generator().standard_normal(shape, np.float32)
        numbers *= np.float32(self.deviation)
        numbers += np.float32(self.mean)
        return numbers


class UniformInitializer(PyInitializer):
    """Numbers uniformly distributed between -scale and scale."""

    def __init__(self, scale: float) -> None:
        self.scale = float(scale)

    def values(self, shape: Shape, lookup: bool) -> Array:
        return _uniform(shape, self.scale)


class ConstInitializer(PyInitializer):
    """The same number everywhere."""

    def __init__(self, c: float) -> None:
        self.c = float(c)

    def values(self, shape: Shape, lookup: bool) -> Array:
        return np.full(shape, self.c, np.float32)


class IdentityInitializer(PyInitializer):
    """The identity matrix."""

    def values(self, shape: Shape, lookup: bool) -> Array:
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(f"IdentityInitializer: got shape {shape}; it takes square matrices")
        return np.eye(shape[0], dtype=np.float32)


class GlorotInitializer(PyInitializer):
    """Numbers uniformly distributed between plus and minus gain * sqrt(6 / (fan in + fan out)).

    Args:
        is_lookup: Whether the parameter is a table.
        gain: A factor that depends on what follows: 1 for tanh, 0.5 for rectify, 4 for logistic.

    Source: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010.
    """

    def __init__(self, is_lookup: bool = False, gain: float = 1.0) -> None:
        self.is_lookup = bool(is_lookup)
        self.gain = float(gain)

    def values(self, shape: Shape, lookup: bool) -> Array:
        return _uniform(shape, self.gain * math.sqrt(6 / max(sum(shape), 1)))


class SaxeInitializer(PyInitializer):
    """A random orthonormal matrix times scale."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = float(scale)

    def values(self, shape: Shape, lookup: bool) -> Array:
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(f"SaxeInitializer: got shape {shape}; it takes square matrices")
        q, r = np.linalg.qr(generator().standard_normal(shape))
        return (q * np.sign(np.diagonal(r)) * self.scale).astype(np.float32)


class NumpyInitializer(PyInitializer):
    """The values of an array."""

    def __init__(self, array: Any) -> None:
        self.array = np.array(array, np.float32)

    def values(self, shape: Shape, lookup: bool) -> Array:
        if self.array.shape != shape:
            raise ValueError(
                f"NumpyInitializer: got an array of shape {self.array.shape} for a parameter of "
                f"shape {shape}"
            )
        return self.array


class FromFileInitializer(PyInitializer):
    """Numbers read from a text file, column by column.

    Args:
        fname: Name of the file.
    """

    def __init__(self, fname: str) -> None:
        self.fname = fname

    def values(self, shape: Shape, lookup: bool) -> Array:
        with open(self.fname) as file:
            numbers = np.array(file.read().split(), np.float32)
        return numbers.reshape(shape, order="F")


def initializer(init: Any, shape: Shape, lookup: bool, scale: Any, mean: Any, std: Any) -> Any:
    """The initialiser that an argument of `add_parameters` stands for."""
    if init is None:
        return GlorotInitializer(lookup)
    if isinstance(init, PyInitializer):
        return init
    if isinstance(init, np.ndarray):
        return NumpyInitializer(init)
    if isinstance(init, (int, float, np.integer, np.floating)):
        return ConstInitializer(float(init))
    if init == "uniform":
        return UniformInitializer(scale)
    if init == "normal":
        return NormalInitializer(mean, std * std)
    if init == "identity":
        return IdentityInitializer()
    if init == "glorot":
        return GlorotInitializer(lookup)
    if init == "saxe":
        return SaxeInitializer()
    if init == "he":
        return NormalInitializer(0, 2 / max(shape[-1], 1))
    raise ValueError(f"init: got {init!r}")
