"""The exceptions lazynet raises.

::

    LazynetError
    ├── ShapeError       (ValueError)    shapes that an operation does not take
    ├── DtypeError       (TypeError)     dtypes that do not go together
    ├── ArgumentError    (TypeError)     None, strings, objects where numbers belong
    ├── RangeError       (IndexError)    an index, class or row outside its range
    ├── SettingError     (ValueError)    an option with a value it cannot have
    ├── DeviceError      (RuntimeError)  a device that is missing, or two that do not mix
    ├── GraphError       (RuntimeError)  an expression used where it cannot be
    ├── FuseError        (RuntimeError)  a function that cannot be traced into one node
    ├── GradientError    (RuntimeError)  a derivative that was not or cannot be computed
    ├── EvaluationError  (RuntimeError)  an operation failed while it was computed
    ├── AnomalyError     (FloatingPointError)  NaN or infinity, under ln.detect_anomaly()
    ├── OutOfMemoryError (MemoryError)   an evaluation does not fit into memory
    ├── FileError        (ValueError)    a file that does not hold what it should, or is not written
    ├── MissingPackageError (ImportError)  a package that is needed and not installed
    └── ExampleError     (its cause's)   one of the coroutines that ran together failed

Every message names the operation, the arguments as they were, the rule they break and the remedy.
"""

from __future__ import annotations

from contextlib import suppress
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any


class LazynetError(Exception):
    """Base of every exception that lazynet raises on purpose.

    >>> import lazynet as ln
    >>> try:
    ...     ln.constant([1.0, 2.0]) + ln.constant([1.0, 2.0, 3.0])
    ... except ln.LazynetError as error:
    ...     print(type(error).__name__)
    ShapeError
    """


class ShapeError(LazynetError, ValueError):
    """Shapes (or numbers of rows) that an operation does not take.

    >>> import lazynet as ln
    >>> ln.Model(seed=0).parameter((3, 2)) @ ln.constant([1.0, 2.0, 3.0])
    Traceback (most recent call last):
        ...
    lazynet.errors.ShapeError: matmul: got (3, 2), (3,); the last axis of the first operand (2)
    must be as long as the only axis of the second (3); transpose one with .T, or swap them
    """


class DtypeError(LazynetError, TypeError):
    """Dtypes that do not go together.

    >>> import lazynet as ln
    >>> x, y = ln.Model(dtype="float32").parameter(2), ln.Model(dtype="float64").parameter(2)
    >>> x + y
    Traceback (most recent call last):
        ...
    lazynet.errors.DtypeError: add: got dtypes (float32, float64); ...
    """


class ArgumentError(LazynetError, TypeError):
    """An argument of a type that the operation does not take.

    >>> import lazynet as ln
    >>> ln.tanh("0.5")
    Traceback (most recent call last):
        ...
    lazynet.errors.ArgumentError: tanh: got str '0.5' (dtype <U3); it must be a number or an
    array of real numbers
    """


class RangeError(LazynetError, IndexError):
    """An index, class or row outside its range.

    >>> import lazynet as ln
    >>> ln.cross_entropy(ln.constant([1.0, 2.0, 3.0]), 3)
    Traceback (most recent call last):
        ...
    lazynet.errors.RangeError: cross_entropy: got class 3 for 3 classes; classes go from 0 to
    2; correct the label, or make the scores as long as there are classes
    """


class SettingError(LazynetError, ValueError):
    """An option with a value it cannot have.

    >>> import lazynet as ln
    >>> ln.dropout(ln.constant([1.0, 2.0]), 1.5)
    Traceback (most recent call last):
        ...
    lazynet.errors.SettingError: dropout: got p = 1.5; it is the probability of dropping and
    must lie in [0, 1)
    """


class DeviceError(LazynetError, RuntimeError):
    """A device that cannot be used, or values on two devices that do not mix.

    >>> import lazynet as ln
    >>> ln.Model(device="cuda:99")
    Traceback (most recent call last):
        ...
    lazynet.errors.DeviceError: ...
    """


class GraphError(LazynetError, RuntimeError):
    """An expression used where it cannot be, such as on another thread while it is recorded.

    >>> import lazynet as ln
    >>> async def first(x):
    ...     return (await x)[0]
    >>> first(ln.constant([1.0])).send(None)  # nobody is there to compute what it waits for
    Traceback (most recent call last):
        ...
    lazynet.errors.GraphError: await ...: no ln.run_together runs this coroutine, ...
    """


class FuseError(LazynetError, RuntimeError):
    """A function under `ln.fuse` or `ln.scan` that does what cannot be traced into one node.

    >>> import lazynet as ln
    >>> @ln.fuse
    ... def clipped(x):
    ...     return x if x.value() < 1 else x / x
    >>> clipped(ln.constant(0.5))
    Traceback (most recent call last):
        ...
    lazynet.errors.FuseError: clipped: the value of ... was asked for inside a fused function ...
    """


class GradientError(LazynetError, RuntimeError):
    """A derivative that was not computed, or that cannot be.

    >>> import lazynet as ln
    >>> ln.Model().parameter(2, name="w").gradient()
    Traceback (most recent call last):
        ...
    lazynet.errors.GradientError: gradient: parameter '/w' has none: no backward has reached it
    since it was made or cleared
    """


class EvaluationError(LazynetError, RuntimeError):
    """An operation failed while it was computed; the cause is chained.

    >>> import lazynet as ln
    >>> class Picky(ln.Op):
    ...     def shape(self, x):
    ...         return x
    ...
    ...     def forward(self, call, x):
    ...         raise ValueError("not today")
    >>> Picky()(ln.constant([1.0])).value()
    Traceback (most recent call last):
        ...
    lazynet.errors.EvaluationError: picky((1,)) x 1 rows, ...: ValueError: not today
    """


class AnomalyError(LazynetError, FloatingPointError):
    """A value or gradient that is NaN or infinite, found under `ln.detect_anomaly`.

    >>> import lazynet as ln
    >>> with ln.detect_anomaly():
    ...     ln.log(ln.constant([1.0, 0.0])).value()
    Traceback (most recent call last):
        ...
    lazynet.errors.AnomalyError: log((2,)) made -inf of finite arguments, ...
    """


class OutOfMemoryError(LazynetError, MemoryError):
    """An evaluation does not fit into memory.

    >>> import lazynet as ln
    >>> ln.Model().lookup(2**50, 64, init="zeros", name="words")
    Traceback (most recent call last):
        ...
    lazynet.errors.OutOfMemoryError: parameter '/words': shape (1125899906842624, 64) does not
    fit into memory; make it smaller
    """


class FileError(LazynetError, ValueError):
    """A file that does not hold what it should: truncated, foreign, or of another model.

    Also one that a picture, page or trace cannot be written to.

    >>> import lazynet as ln
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     ln.Model().load(file.name)
    Traceback (most recent call last):
        ...
    lazynet.errors.FileError: load: ... is no complete safetensors file ...
    """


class MissingPackageError(LazynetError, ImportError):
    """A package that a function needs, and that is not installed.

    >>> import lazynet as ln
    >>> import sys
    >>> from unittest.mock import patch
    >>> with patch.dict(sys.modules, networkx=None):  # as if it were not
    ...     ln.to_networkx(ln.constant([1.0]))
    Traceback (most recent call last):
        ...
    lazynet.errors.MissingPackageError: to_networkx: networkx is not installed; pip install
    'lazynet[viz]', or take the graph as text by ln.to_dot
    """


class ExampleError(LazynetError):
    """One of the coroutines of `ln.run_together` failed.

    What is raised is an instance of the class of its cause as well, so that ``except ValueError``
    catches it as it would the cause, and it has the cause's attributes.

    Attributes:
        index: Position of the example among the coroutines.
        __cause__: The exception as the coroutine raised it, with its traceback.

    >>> import lazynet as ln
    >>> async def root(x):
    ...     if await x < 0:
    ...         raise ValueError("negative")
    >>> try:
    ...     ln.run_together(root(ln.constant(x)) for x in (1.0, -4.0))
    ... except ValueError as error:
    ...     print(error, "|", error.index)
    run_together: example 1: ValueError: negative | 1
    """

    index: int
    message: str

    def __str__(self) -> str:
        return self.message

    def __getattr__(self, name: str) -> Any:
        cause = self.__cause__
        if cause is None or name.startswith("__"):
            raise AttributeError(name)
        return getattr(cause, name)

    def __reduce__(self) -> Any:
        return example_error, (self.message, self.index, self.__cause__)


_MEMBERS = (GetSetDescriptorType, MemberDescriptorType)


def example_error(message: str, index: int, cause: Exception) -> ExampleError:
    """An `ExampleError` that is of its cause's class too."""
    kind: Any = type(cause)
    if not isinstance(cause, ExampleError):
        try:
            kind = type("ExampleError", (ExampleError, kind), {"__doc__": ExampleError.__doc__})
        except TypeError:  # a class that refuses to be subclassed
            kind = ExampleError
    try:
        error: ExampleError = kind.__new__(kind, *cause.args)
    except TypeError:  # one that cannot be made of its `args`
        error = ExampleError()
    for base in type(cause).__mro__:
        for name, member in vars(base).items():
            if isinstance(member, _MEMBERS) and not name.startswith("__"):  # `OSError.filename`
                with suppress(AttributeError, TypeError):
                    setattr(error, name, getattr(cause, name))
    error.message = message
    error.index = index
    error.__cause__ = cause
    return error
