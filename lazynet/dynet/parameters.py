"""`Parameters` and `LookupParameters`: trainable arrays and tables, which are expressions too."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from lazynet.backend import device_of, pick_rows, to_device, to_host
from lazynet.dynet.expression import (
    Expression,
    as_number,
    checked,
    compute_at_once,
    short,
    wrap,
)
from lazynet.dynet.graph import STATE, invalidate
from lazynet.dynet.several import last_gradients
from lazynet.dynet.stretch import ALWAYS, Stretch
from lazynet.errors import ShapeError
from lazynet.graph import Expression as Node
from lazynet.graph import record
from lazynet.kinds import Array
from lazynet.native import mypyc_attr
from lazynet.ops import reshape, stop_gradient, transpose
from lazynet.parameters import Lookup, Parameter
from lazynet.revise import replace
from lazynet.shortcuts import placed_row
from lazynet.tape import NO_TAPE, Tape

Leaf = TypeVar("Leaf", bound=Parameter)


class Decay:
    """The weight decay of a collection.

    Every update multiplies all values by 1 - lam. DyNet does so lazily: it stores them undecayed
    beside one factor for all, and its arrays (not its files) show what it stores. Here the values
    are what they are, and `as_array` divides.

    Attributes:
        lam: The coefficient.
        factor: Product of the decays since DyNet would last have applied them.
    """

    __slots__ = ("factor", "lam")

    def __init__(self, lam: float, factor: float = 1.0) -> None:
        self.lam = lam
        self.factor = factor


@mypyc_attr(allow_interpreted_subclasses=True)
class Trainable(Expression, Generic[Leaf]):
    """What `Parameters` and `LookupParameters` have in common.

    Attributes:
        leaf: The engine's parameter, which holds the values and the gradient. Scalars, and rows
            that are scalars, have one axis there.
        decay: The weight decay of the collection that it was made in.
    """

    __slots__ = ("_shape", "decay", "leaf")
    leaf: Leaf

    def __init__(self, leaf: Leaf, shape: tuple[int, ...], decay: Decay, node: Node | None) -> None:
        super().__init__(node, ALWAYS)
        self.leaf = leaf
        self._shape = shape
        self.decay = decay

    def name(self) -> str:
        """Its full name: the names of its collections and its own, such as ``/lstm/_0``."""
        return self.leaf.name

    def shape(self) -> tuple[int, ...]:
        """The dimensions; of a table, the number of rows first."""
        return self._shape

    def as_array(self) -> Array:
        """A copy of the values, float64; without the weight decay that `value` shows."""
        return self.undecayed(self.leaf.values.reshape(self._shape))

    def grad_as_array(self) -> Array:
        """A copy of the gradient accumulated since the last update; zeros if there is none."""
        leaf = self.leaf
        if leaf.has_gradient():
            return np.array(leaf.gradient(), np.float64).reshape(self._shape)
        return np.zeros(self._shape)

    def gradient(self) -> Array:
        """The gradient of the last `backward` alone, as an array like that of `npvalue`.

        Raises:
            RuntimeError: If `backward` was not called on this graph, or the values that it used
                have been changed since.
        """
        found = last_gradients(self).get(self.leaf)
        gradient = np.zeros(self._shape) if found is None else found.reshape(self._shape)
        if isinstance(self, LookupParameters):
            gradient = np.moveaxis(gradient, 0, -1)
        return np.array(gradient, np.float64)

    def zero(self) -> None:
        """Set all values to 0."""
        self.leaf.values[...] = 0
        self.touched()

    def scale(self, s: float | Any) -> None:
        """Multiply all values by a number."""
        self.leaf.values *= _number(s, self, "scale")
        self.touched()

    def scale_gradient(self, s: float | Any) -> None:
        """Multiply the accumulated gradient by a number."""
        factor = _number(s, self, "scale_gradient")
        leaf = self.leaf
        if leaf.pending is not None:
            leaf.pending = leaf.pending * factor
        leaf.pending_rows = [(rows, values * factor) for rows, values in leaf.pending_rows]

    def is_updated(self) -> bool:
        """Whether it gets gradients and trainers update it."""
        return self.leaf.trainable

    def set_updated(self, b: bool | Any) -> None:
        """Go on updating it, or with False leave it as it is: it gets no gradient then.

        In DyNet it does, which goes on growing, tightens the clipping of all other gradients, and
        is applied in one go when the parameter is updated again.

        Args:
            b: Whether it is to be updated.
        """
        self.leaf.trainable = bool(b)

    def save(self, fname: str | Any, key: str | Any = "", append: bool | Any = False) -> None:
        """Write it to a file in DyNet's text format.

        Args:
            fname: Name of the file.
            key: The name it gets there; by default its own.
            append: Add to the file instead of replacing it.
        """
        from lazynet.dynet import files

        files.save(self, fname, key, append)  # type: ignore[arg-type]

    def write_to_textfile(
        self, fname: str | Any, key: str | Any = "", append: bool | Any = False
    ) -> None:
        """The same as `save`."""
        self.save(fname, key, append)

    def populate_from_textfile(self, fname: str | Any, key: str | Any = "") -> None:
        """The same as `populate`."""
        self._read(fname, key)

    def _read(self, fname: Any, key: Any) -> None:
        from lazynet.dynet import files

        files.populate(self, fname, key)  # type: ignore[arg-type]

    def undecayed(self, values: Array | Any) -> Array:
        """A copy of some values as arrays show them."""
        result = np.array(to_host(values), np.float64)
        if self.decay.factor != 1.0:
            result /= self.decay.factor
        return result

    def store(self, arr: Any, name: str | Any) -> None:
        """Set the values, to an array as `as_array` shows it.

        Raises:
            ValueError: If it is of another shape.
        """
        array = _numbers(arr, self, name)
        if array.shape != self._shape:
            raise ShapeError(
                f"{type(self).__name__}.{name}: got an array of shape {array.shape} for {self!r} "
                f"of shape {self._shape}; both must be the same"
            )
        leaf = self.leaf
        _write(leaf.values, array.reshape(leaf.shape) * np.float32(self.decay.factor))
        self.touched()

    def touched(self) -> None:
        """The values have been written into."""
        self.leaf.changed()

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        kind = "LookupParameter" if isinstance(self, LookupParameters) else "Parameter"
        return f"{kind} {self.leaf.name}"


@mypyc_attr(allow_interpreted_subclasses=True)
class Parameters(Trainable[Parameter]):
    """A trainable array, made by `ParameterCollection.add_parameters`.

    It is an expression that belongs to no graph: usable at any time, with its current values.
    """

    __slots__ = ()

    def __init__(self, leaf: Parameter, shape: tuple[int, ...], decay: Decay) -> None:
        super().__init__(leaf, shape, decay, leaf)

    def set_value(self, arr: Any) -> None:
        """Set the values, as `as_array` shows them.

        Args:
            arr: An array of the shape of this parameter.
        """
        self.store(arr, "set_value")

    def populate(self, fname: str | Any, key: str | Any) -> None:
        """Read values and gradient from a file in DyNet's text format.

        Args:
            fname: Name of the file.
            key: The name that it has there.
        """
        self._read(fname, key)

    def clip_inplace(self, left: float | Any, right: float | Any) -> None:
        """Bring all values into the range from left to right."""
        low, high = _number(left, self, "clip_inplace"), _number(right, self, "clip_inplace")
        np.clip(self.leaf.values, low, high, out=self.leaf.values)
        self.touched()

    def expr(self, update: bool | Any = False) -> Expression:
        """It as an expression, by default one through which it gets no gradient.

        Args:
            update: Whether it gets a gradient, as it does where it is used by itself.
        """
        return wrap(self.node if update else stop_gradient(self.node))


@mypyc_attr(allow_interpreted_subclasses=True)
class LookupParameters(Trainable[Lookup]):
    """A table of vectors or matrices, made by `ParameterCollection.add_lookup_parameters`.

    ``lp[i]`` is a row. As an expression it is the whole table, with the rows along the last axis.
    """

    __slots__ = ()

    def __init__(self, leaf: Lookup, shape: tuple[int, ...], decay: Decay) -> None:
        super().__init__(leaf, shape, decay, None)

    @property
    def node(self) -> Node:
        """The whole table as an expression of the engine."""
        leaf = self.leaf
        n = len(self._shape)
        return transpose(leaf, (*range(1, n), 0)) if n > 1 else reshape(leaf, self._shape)

    def __len__(self) -> int:
        return self._shape[0]

    def __iter__(self) -> Iterator[Expression]:
        return iter([self[i] for i in range(len(self))])

    def __getitem__(self, index: Any) -> LookupExpression:
        return _picked(self, index, "LookupParameters[...]")

    def batch(self, i: Any) -> LookupBatchExpression:
        """Rows as a minibatch.

        Args:
            i: Their numbers.
        """
        return _gathered(self, i, "LookupParameters.batch")

    def expr(self) -> LookupParameters:
        """The table itself, which is an expression."""
        return self

    def init_row(self, i: int | Any, row: Any) -> None:
        """Set the values of one row.

        Args:
            i: Its number.
            row: An array of its shape, or its numbers in column-major order.
        """
        number = _row(self, i, "LookupParameters.init_row")
        array = _numbers(row, self, "init_row")
        shape = self.leaf.shape[1:]
        if array.shape != shape and (array.ndim != 1 or array.size != math.prod(shape)):
            raise ShapeError(
                f"LookupParameters.init_row: got an array of shape {array.shape} for a row of "
                f"{self!r}, which has shape {shape}; both must be the same, or the first a list of "
                "as many numbers in column-major order"
            )
        values = array if array.shape == shape else array.reshape(shape, order="F")
        _write(self.leaf.values[number : number + 1], values[None] * np.float32(self.decay.factor))
        self.touched()

    def init_from_array(self, arr: Any) -> None:
        """Set all values.

        Args:
            arr: An array of the shape of this table, the rows along its first axis.
        """
        self.store(arr, "init_from_array")

    def populate(self, fname: str | Any, key: str | Any = "") -> None:
        """Read values and gradient from a file in DyNet's text format.

        Args:
            fname: Name of the file.
            key: The name that it has there.
        """
        self._read(fname, key)

    def row_as_array(self, row: int | Any) -> Array:
        """A copy of one row, without weight decay."""
        number = _row(self, row, "LookupParameters.row_as_array")
        return self.undecayed(self.leaf.values[number].reshape(self._shape[1:]))

    def rows_as_array(self, rows: Any) -> Array:
        """Copies of several rows, without weight decay."""
        numbers = _rows(self, rows, "LookupParameters.rows_as_array")
        return self.undecayed(pick_rows(self.leaf.values, numbers).reshape(-1, *self._shape[1:]))

    def row_grad_as_array(self, row: int | Any) -> Array:
        """A copy of the gradient of one row."""
        number = _row(self, row, "LookupParameters.row_grad_as_array")
        gradient: Array = self.grad_as_array()[number]
        return gradient

    def rows_grad_as_array(self, rows: Any) -> Array:
        """Copies of the gradients of several rows."""
        numbers = _rows(self, rows, "LookupParameters.rows_grad_as_array")
        gradients: Array = self.grad_as_array()[numbers]
        return gradients


@mypyc_attr(allow_interpreted_subclasses=True)
class LookupExpression(Expression):
    """A row of a table, of which `set` chooses another one."""

    __slots__ = ("table",)

    def __init__(
        self,
        node: Node | None,
        graph: Stretch,
        table: LookupParameters,
        tape: Tape = NO_TAPE,
        at: int = -1,
    ) -> None:
        super().__init__(node, graph, tape, at)
        self.table = table

    def set(self, i: int | Any) -> None:
        """Take another row; what was computed from this expression is computed anew."""
        checked(self, "set")
        replace(self.node, _row(self.table, i, "set"))
        invalidate()


@mypyc_attr(allow_interpreted_subclasses=True)
class LookupBatchExpression(Expression):
    """A minibatch of rows of a table, of which `set` chooses others."""

    __slots__ = ("table",)

    def __init__(self, node: Node, graph: Stretch, table: LookupParameters) -> None:
        super().__init__(node, graph)
        self.table = table

    def set(self, i: Any) -> None:
        """Take other rows; what was computed from this expression is computed anew."""
        checked(self, "set")
        rows = _rows(self.table, i, "set")
        batch = self.node.batch
        if len(rows) != (1 if batch is None else batch):
            raise ValueError(
                f"set: got {len(rows)} rows for a minibatch of {batch or 1}; they must be as many"
            )
        replace(self.node, int(rows[0]) if batch is None else rows)
        invalidate()


def lookup(
    p: LookupParameters | Any, index: int | Any = 0, update: bool | Any = True
) -> LookupExpression:
    """A row of a table.

    Args:
        p: The table.
        index: Number of the row.
        update: Whether the table gets a gradient from it.
    """
    result = _picked(_table(p, "lookup"), index, "lookup")
    if not update:
        result.tape.unrecorded.add(result.at)
    return result


def lookup_batch(
    p: LookupParameters | Any, indices: Any, update: bool | Any = True
) -> LookupBatchExpression:
    """Rows of a table as a minibatch.

    Args:
        p: The table.
        indices: Numbers of the rows.
        update: Whether the table gets a gradient from them.
    """
    result = _gathered(_table(p, "lookup_batch"), indices, "lookup_batch")
    if not update:
        result.tape.unrecorded.add(result.at)
    return result


def parameter(*args: Any) -> Any:
    """What it is given: parameters are expressions as they are.

    Args:
        args: Parameters, or one list of them.

    Returns:
        The parameter, or a tuple of several.
    """
    return args[0] if len(args) == 1 else args


def const_parameter(*args: Any) -> Any:
    """Parameters as expressions through which they get no gradient.

    Args:
        args: Parameters and tables.

    Returns:
        An expression, or a list of several.
    """
    found = [wrap(stop_gradient(_trainable(p, "const_parameter").node)) for p in args]
    return found[0] if len(found) == 1 else found


def _picked(p: LookupParameters, index: Any, name: str) -> LookupExpression:
    if type(index) is not int or not 0 <= index < p._shape[0]:
        index = _row(p, index, name)
    stretch: Stretch = STATE.stretch
    row: int = index
    tape, at = placed_row(p.leaf, row)
    if at >= 0:
        result = LookupExpression(None, stretch, p, tape, at)
    else:
        result = LookupExpression(p.leaf[row], stretch, p)
    if stretch.immediate:
        compute_at_once(result.node, stretch)
    return result


def _gathered(p: LookupParameters, indices: Any, name: str) -> LookupBatchExpression:
    rows = _rows(p, indices, name)
    leaf = p.leaf
    op: Any = leaf.row_op
    node = leaf[int(rows[0])] if len(rows) == 1 else record(op, (leaf,), rows, len(rows))
    stretch = STATE.stretch
    result = LookupBatchExpression(node, stretch, p)
    if stretch.immediate:
        compute_at_once(node, stretch)
    return result


def _table(p: Any, name: str) -> LookupParameters:
    if not isinstance(p, LookupParameters):
        raise TypeError(f"{name}: got {short(p)}; it takes LookupParameters")
    return p


def _trainable(p: Any, name: str) -> Trainable[Any]:
    if not isinstance(p, Trainable):
        raise TypeError(f"{name}: got {short(p)}; it takes Parameters and LookupParameters")
    return p


def _write(target: Array, numbers: Array) -> None:
    """Set values, wherever they lie."""
    if type(target) is np.ndarray:
        target[...] = numbers
    else:
        target[...] = to_device(numbers.astype(target.dtype), device_of(target))


def _row(p: LookupParameters, index: Any, name: str) -> int:
    """Number of a row.

    Raises:
        TypeError: If it is no number.
        OverflowError: If it is negative.
        ValueError: If there is no such row.
    """
    try:
        number = int(index) if isinstance(index, float) else operator.index(index)
    except (TypeError, ValueError, OverflowError) as error:  # also of NaN and infinity
        kind = type(error)
        raise kind(f"{name}: got {short(index)}; it takes the number of a row") from None
    if number < 0:
        raise OverflowError(f"{name}: got row {number}; rows are counted from 0")
    if number >= p.leaf.shape[0]:
        raise ValueError(
            f"{name}: got row {number} of {p!r}, which has {p.leaf.shape[0]}; valid are 0 to "
            f"{p.leaf.shape[0] - 1}"
        )
    return number


def _rows(p: LookupParameters, indices: Any, name: str) -> Array:
    """Numbers of rows as an array."""
    try:
        numbers = list(indices)
    except TypeError:
        raise TypeError(f"{name}: got {short(indices)}; it takes a list of row numbers") from None
    try:
        rows = np.array(numbers)
        plain = rows.ndim == 1 and rows.dtype.kind == "i"
    except ValueError:  # lists of several lengths
        plain = False
    if plain and rows.min() >= 0 and rows.max() < p._shape[0]:
        return rows if rows.dtype == np.int64 else rows.astype(np.int64)
    return np.array([_row(p, i, name) for i in numbers], np.int64)


def _number(x: Any, p: Trainable[Any], name: str) -> np.float32:
    number = as_number(x)
    if number is None:
        raise TypeError(f"{type(p).__name__}.{name}: got {short(x)} for {p!r}; it takes a number")
    if number != number:
        raise ValueError(f"{type(p).__name__}.{name}: got NaN for {p!r}; it takes a number")
    return np.float32(number)


def _numbers(x: Any, p: Trainable[Any], name: str) -> Array:
    try:
        return np.asarray(x, np.float32)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{type(p).__name__}.{name}: got {short(x)} for {p!r}; it takes an array of numbers "
            f"({error})"
        ) from error
