"""Initialisers: what a parameter holds before training.

Wherever lazynet takes `init=`, it takes one of the names in `NAMES` ("glorot", "he", "zeros", ...),
an object of this module (`ln.init.Glorot(gain=2)`), a number (every element), or an array.

The scaled ones (Glorot, He, LeCun) count *fans*, the numbers of values that one output is summed
from and that one input goes to:

==============================  ===============================  =================================
shape                           fan_in                           fan_out
==============================  ===============================  =================================
``()``                          1                                1
``(n,)``                        n                                n
``(n_out, n_in)``, y = W x      n_in                             n_out
``(*window, n_in, n_out)``      n_in times the window's size     n_out times the window's size
==============================  ===============================  =================================

For a lookup table the shape that counts is that of one row, however many rows there are (as in
DyNet); with Glorot, embeddings of width d are uniform in ±sqrt(3 / d).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazynet.errors import ArgumentError, SettingError, ShapeError
from lazynet.kinds import Array, Shape

__all__ = [
    "NAMES",
    "Constant",
    "Glorot",
    "He",
    "Identity",
    "Initializer",
    "LeCun",
    "Normal",
    "Ones",
    "Orthogonal",
    "Uniform",
    "Values",
    "Zeros",
    "fans",
    "resolve",
]


class Initializer(ABC):
    """Makes the values of a new parameter. Subclass it for rules of your own.

    >>> import numpy as np
    >>> import lazynet as ln
    >>> class Alternating(ln.init.Initializer):
    ...     def __call__(self, rng, shape, dtype, lookup):
    ...         return (np.arange(np.prod(shape)) % 2).reshape(shape).astype(dtype)
    >>> ln.Model().parameter(4, init=Alternating()).array.tolist()
    [0.0, 1.0, 0.0, 1.0]
    """

    @abstractmethod
    def __call__(
        self, rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any], lookup: bool
    ) -> Array:
        """A new array.

        Args:
            rng: Where random values come from.
            shape: Of the whole parameter; a lookup table's rows are its first axis.
            dtype: float32 or float64.
            lookup: Whether the parameter is a lookup table.

        Returns:
            An array of that shape and dtype that nothing else refers to.

        Raises:
            ShapeError: If the initialiser makes no parameter of this shape.
        """


def fans(shape: Shape, lookup: bool = False) -> tuple[int, int]:
    """fan_in and fan_out of a parameter, by the table in the module's docstring; at least 1.

    >>> import lazynet as ln
    >>> ln.init.fans((100, 50)), ln.init.fans((9000, 64), lookup=True)
    ((50, 100), (64, 64))
    >>> ln.init.fans((3, 50, 100))  # filters
    (150, 300)
    """
    if lookup:
        shape = shape[1:]
    if len(shape) < 2:
        fan_in = fan_out = math.prod(shape)
    elif len(shape) == 2:
        fan_out, fan_in = shape
    else:
        window = math.prod(shape[:-2])
        fan_in, fan_out = window * shape[-2], window * shape[-1]
    return max(fan_in, 1), max(fan_out, 1)


def _draw(
    rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any], std: float, normal: bool
) -> Array:
    """Zero-mean values of this standard deviation, normal or uniform."""
    if normal:
        values = rng.standard_normal(shape, np.float32 if dtype == np.float32 else np.float64)
        values *= std
        return values
    limit = math.sqrt(3) * std  # a uniform distribution on ±a has variance a^2 / 3
    return _uniform(rng, shape, dtype, -limit, limit)


def _uniform(
    rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any], low: float, high: float
) -> Array:
    values = rng.random(shape, np.float32 if dtype == np.float32 else np.float64)
    values *= high - low
    values += low
    return values


def _finite(owner: object, **settings: Any) -> None:
    """Raise unless every setting is a finite real number."""
    for name, value in settings.items():
        number = isinstance(value, (int, float, np.integer, np.floating))
        if not number or isinstance(value, bool) or not math.isfinite(value):
            raise SettingError(
                f"init.{type(owner).__name__}: got {name}={value!r}; it must be a finite number"
            )


@dataclass(frozen=True)
class Constant(Initializer):
    """Every element is `value`. A plain number in place of an initialiser means the same.

    >>> import lazynet as ln
    >>> ln.Model().parameter(2, init=ln.init.Constant(0.5)).array.tolist()
    [0.5, 0.5]
    """

    value: float

    def __post_init__(self) -> None:
        _finite(self, value=self.value)

    def __call__(
        self, rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any], lookup: bool
    ) -> Array:
        return np.full(shape, self.value, dtype)


@dataclass(frozen=True)
class Zeros(Initializer):
    """Every element is 0.

    >>> import lazynet as ln
    >>> ln.Model().parameter(2, init=ln.init.Zeros()).array.tolist()  # or init="zeros"
    [0.0, 0.0]
    """

    def __call__(
        self, rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any], lookup: bool
    ) -> Array:
        return np.zeros(shape, dtype)


@dataclass(frozen=True)
class Ones(Initializer):
    """Every element is 1.

    >>> import lazynet as ln
    >>> ln.Model().parameter(2, init=ln.init.Ones()).array.tolist()  # or init="ones"
    [1.0, 1.0]
    """

    def __call__(
        self, rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any], lookup: bool
    ) -> Array:
        return np.ones(shape, dtype)


@dataclass(frozen=True)
class Normal(Initializer):
    """Normally distributed elements.

    Args:
        mean: Their mean.
        std: Their standard deviation, at least 0.

    >>> import lazynet as ln
    >>> w = ln.Model(seed=0).parameter((100, 100), init=ln.init.Normal(mean=1.0, std=0.01))
    >>> round(float(w.array.mean()), 2), round(float(w.array.std()), 3)
    (1.0, 0.01)
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        _finite(self, mean=self.mean, std=self.std)
        if self.std < 0:
            raise SettingError(f"init.Normal: got std={self.std!r}; it must be at least 0")

    def __call__(
        self, rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any], lookup: bool
    ) -> Array:
        values = _draw(rng, shape, dtype, self.std, normal=True)
        values += self.mean
        return values


@dataclass(frozen=True)
class Uniform(Initializer):
    """Elements uniform in [low, high], or in [-scale, scale] where `scale` is given.

    >>> import lazynet as ln
    >>> ln.init.Uniform(scale=0.5)
    Uniform(low=-0.5, high=0.5)
    """

    low: float = -0.1
    high: float = 0.1
    scale: float | None = field(default=None, kw_only=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.scale is not None:
            _finite(self, scale=self.scale)
            object.__setattr__(self, "low", -self.scale)
            object.__setattr__(self, "high", self.scale)
        _finite(self, low=self.low, high=self.high)
        if self.low > self.high:
            raise SettingError(
                f"init.Uniform: got low={self.low!r}, high={self.high!r}; low must not be above "
                "high; swap them, or give scale= a positive number"
            )

    def __call__(
        self, rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any], lookup: bool
    ) -> Array:
        return _uniform(rng, shape, dtype, self.low, self.high)


@dataclass(frozen=True)
class Glorot(Initializer):
    """Variance gain^2 * 2 / (fan_in + fan_out): keeps activations and cotangents in scale.

    Args:
        gain: Factor on all values.
        normal: Normally distributed; uniform otherwise.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010, equation 16.

    >>> import lazynet as ln
    >>> W = ln.Model(seed=0).parameter((300, 100), init=ln.init.Glorot())  # or init="glorot"
    >>> float(abs(W.array).max()) <= (6 / (100 + 300)) ** 0.5
    True
    """

    gain: float = 1.0
    normal: bool = False

    def __post_init__(self) -> None:
        _finite(self, gain=self.gain)

    def __call__(
        self, rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any], lookup: bool
    ) -> Array:
        fan_in, fan_out = fans(shape, lookup)
        return _draw(rng, shape, dtype, self.gain * math.sqrt(2 / (fan_in + fan_out)), self.normal)


@dataclass(frozen=True)
class He(Initializer):
    """Variance gain^2 * 2 / fan_in: keeps activations in scale through rectifiers (relu).

    Args:
        gain: Factor on all values.
        normal: Normally distributed; uniform otherwise.

    Source: He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015, equation 10.

    >>> import lazynet as ln
    >>> W = ln.Model(seed=0).parameter((300, 200), init=ln.init.He())  # or init="he"
    >>> round(float(W.array.std()), 3), (2 / 200) ** 0.5
    (0.1, 0.1)
    """

    gain: float = 1.0
    normal: bool = True

    def __post_init__(self) -> None:
        _finite(self, gain=self.gain)

    def __call__(
        self, rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any], lookup: bool
    ) -> Array:
        fan_in, _ = fans(shape, lookup)
        return _draw(rng, shape, dtype, self.gain * math.sqrt(2 / fan_in), self.normal)


@dataclass(frozen=True)
class LeCun(Initializer):
    """Variance gain^2 / fan_in: keeps linear (and selu) activations in scale.

    Args:
        gain: Factor on all values.
        normal: Normally distributed; uniform otherwise.

    Source: LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998, equation 16.

    >>> import lazynet as ln
    >>> W = ln.Model(seed=0).parameter((300, 100), init=ln.init.LeCun())  # or init="lecun"
    >>> round(float(W.array.std()), 3), (1 / 100) ** 0.5
    (0.1, 0.1)
    """

    gain: float = 1.0
    normal: bool = True

    def __post_init__(self) -> None:
        _finite(self, gain=self.gain)

    def __call__(
        self, rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any], lookup: bool
    ) -> Array:
        fan_in, _ = fans(shape, lookup)
        return _draw(rng, shape, dtype, self.gain / math.sqrt(fan_in), self.normal)


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """gain times a random matrix with orthonormal rows or columns, whichever are fewer.

    Filters ``(*window, n_in, n_out)`` count as matrices of n_out columns. Of a lookup table, each
    row is such a matrix; where the rows are vectors, the table is.

    Sources: Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning
    in deep linear neural networks", ICLR 2014; uniform over the orthogonal group by the signs of
    Mezzadri, "How to generate random matrices from the classical compact groups", 2007.

    >>> import lazynet as ln
    >>> import numpy as np
    >>> U = ln.Model(seed=0).parameter((3, 3), init=ln.init.Orthogonal())  # or init="orthogonal"
    >>> np.allclose(U.array @ U.array.T, np.eye(3), atol=1e-6)
    True
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _finite(self, gain=self.gain)

    def __call__(
        self, rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any], lookup: bool
    ) -> Array:
        if len(shape) < 2:
            raise ShapeError(
                f"init.Orthogonal: got shape {shape}; only matrices can be orthogonal; "
                'use "glorot" or "zeros"'
            )
        stack = shape[:1] if lookup and len(shape) > 2 else ()
        inner = shape[len(stack) :]
        rows, columns = math.prod(inner[:-1]), inner[-1]
        tall = rng.standard_normal((*stack, max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(tall)
        q *= np.where(np.diagonal(r, axis1=-2, axis2=-1) < 0, -self.gain, self.gain)[..., None, :]
        if rows < columns:
            q = np.swapaxes(q, -1, -2)
        return np.array(q.reshape(shape), dtype, order="C")


@dataclass(frozen=True)
class Identity(Initializer):
    """gain times the identity matrix: y = W x starts as y = gain x.

    Of a lookup table, each row is one; where the rows are vectors, the table is (one-hot rows).

    >>> import lazynet as ln
    >>> ln.Model().parameter((2, 2), init=ln.init.Identity(gain=0.5)).array.tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _finite(self, gain=self.gain)

    def __call__(
        self, rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any], lookup: bool
    ) -> Array:
        matrix = shape[1:] if lookup and len(shape) == 3 else shape
        if len(matrix) != 2 or matrix[0] != matrix[1]:
            raise ShapeError(
                f"init.Identity: got shape {shape}; an identity must be a square matrix; "
                'make the two sizes equal, or use "orthogonal"'
            )
        values = np.zeros(shape, dtype)
        values[...] = np.eye(matrix[0], dtype=dtype) * dtype.type(self.gain)
        return values


@dataclass(frozen=True, eq=False)
class Values(Initializer):
    """These numbers, copied. A plain array in place of an initialiser means the same.

    Args:
        values: An array of real numbers of the parameter's own shape.

    >>> import lazynet as ln
    >>> import numpy as np
    >>> pretrained = np.arange(6.0).reshape(3, 2)
    >>> words = ln.Model().lookup(3, 2, init=ln.init.Values(pretrained))  # or init=pretrained
    >>> words[2].value().tolist()
    [4.0, 5.0]
    """

    values: Any

    def __post_init__(self) -> None:
        try:
            array = np.array(self.values)
        except ValueError as error:
            raise ArgumentError(
                "init.Values: got a ragged list; rows must have equal lengths to form an array"
            ) from error
        if array.dtype.kind not in "fiub":
            raise ArgumentError(
                f"init.Values: got {type(self.values).__name__} of dtype {array.dtype}; it must be "
                "an array of real numbers"
            )
        object.__setattr__(self, "values", array)

    def __call__(
        self, rng: np.random.Generator, shape: Shape, dtype: np.dtype[Any], lookup: bool
    ) -> Array:
        if self.values.shape != shape:
            raise ShapeError(
                f"init.Values: got an array of shape {self.values.shape} for a parameter of shape "
                f"{shape}; the shapes must be equal; reshape the array"
            )
        return np.array(self.values, dtype, order="C")


NAMES: dict[str, Callable[[], Initializer]] = {
    "glorot": Glorot,
    "he": He,
    "identity": Identity,
    "lecun": LeCun,
    "normal": Normal,
    "ones": Ones,
    "orthogonal": Orthogonal,
    "uniform": Uniform,
    "zeros": Zeros,
}
"""Initialisers that go by name, each with its defaults.

>>> import lazynet as ln
>>> ln.init.NAMES["he"]()
He(gain=1.0, normal=True)
"""


def resolve(spec: Any) -> Initializer:
    """The initialiser that a user's `init=` stands for.

    Args:
        spec: A name of `NAMES`, an `Initializer`, a number or an array (or nested list).

    Raises:
        SettingError: For a name that is none.
        ArgumentError: For anything else.

    >>> import lazynet as ln
    >>> ln.init.resolve("he"), ln.init.resolve(0.5)
    (He(gain=1.0, normal=True), Constant(value=0.5))
    """
    if isinstance(spec, Initializer):
        return spec
    if isinstance(spec, str):
        made = NAMES.get(spec)
        if made is None:
            raise SettingError(
                f"init: got {spec!r}; the names are {', '.join(NAMES)}; numbers, arrays and "
                "objects of ln.init are taken as well"
            )
        return made()
    if isinstance(spec, (int, float, np.integer, np.floating)) and not isinstance(spec, bool):
        return Constant(float(spec))
    if isinstance(spec, (np.ndarray, list, tuple)):
        return Values(spec)
    remedy = "it must be a name, a number, an array or an object of ln.init"
    if isinstance(spec, type) and issubclass(spec, Initializer):
        remedy = f"call the class: ln.init.{spec.__name__}(...)"
    raise ArgumentError(f"init: got {spec!r}; {remedy}")
