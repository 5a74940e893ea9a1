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
    """Base of every exception that lazynet raises on purpose."""


class ShapeError(LazynetError, ValueError):
    """Shapes (or numbers of rows) that an operation does not take."""


class DtypeError(LazynetError, TypeError):
    """Dtypes that do not go together."""


class ArgumentError(LazynetError, TypeError):
    """An argument of a type that the operation does not take."""


class RangeError(LazynetError, IndexError):
    """An index, class or row outside its range."""


class SettingError(LazynetError, ValueError):
    """An option with a value it cannot have."""


class DeviceError(LazynetError, RuntimeError):
    """A device that cannot be used, or values on two devices that do not mix."""


class GraphError(LazynetError, RuntimeError):
    """An expression used where it cannot be, such as on another thread while it is recorded."""


class FuseError(LazynetError, RuntimeError):
    """A function under `ln.fuse` or `ln.scan` that does what cannot be traced into one node."""


class GradientError(LazynetError, RuntimeError):
    """A derivative that was not computed, or that cannot be."""


class EvaluationError(LazynetError, RuntimeError):
    """An operation failed while it was computed; the cause is chained."""


class AnomalyError(LazynetError, FloatingPointError):
    """A value or gradient that is NaN or infinite, found under `ln.detect_anomaly`."""


class OutOfMemoryError(LazynetError, MemoryError):
    """An evaluation does not fit into memory."""


class FileError(LazynetError, ValueError):
    """A file that does not hold what it should: truncated, foreign, or of another model.

    Also one that a picture, page or trace cannot be written to.
    """


class MissingPackageError(LazynetError, ImportError):
    """A package that a function needs, and that is not installed."""


class ExampleError(LazynetError):
    """One of the coroutines of `ln.run_together` failed.

    What is raised is an instance of the class of its cause as well, so that ``except ValueError``
    catches it as it would the cause, and it has the cause's attributes.

    Attributes:
        index: Position of the example among the coroutines.
        __cause__: The exception as the coroutine raised it, with its traceback.
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
