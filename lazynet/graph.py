"""Recording: `Expression`, the handle of a node, and the functions that append nodes to a tape."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any, ClassVar, Final

import numpy as np

from lazynet.errors import ArgumentError, GraphError, LazynetError, ShapeError
from lazynet.kinds import (
    FLOAT64,
    FLOATS,
    HOOKS,
    Array,
    Kind,
    Op,
    Shape,
    Type,
    key_of,
    make_kind,
    user_line,
)
from lazynet.leaves import UNSHARE, import_kind
from lazynet.modes import MODES
from lazynet.native import mypyc_attr
from lazynet.tape import LOCAL, UNKNOWN, Tape, open_tape, tape_for_input

_modes: Final = MODES.get


@mypyc_attr(allow_interpreted_subclasses=True)
class Expression:
    """One value of the computation graph, computed when asked for.

    Expressions are made by `ln.constant`, by parameters and by operations on other expressions,
    never by calling this class. They behave like the NumPy array of one example; the batch is an
    axis of its own that indexing, reshaping and reductions do not see.

    >>> import lazynet as ln
    >>> x = ln.constant([1.0, 2.0])
    >>> y = (x * x + 1).sum()
    >>> y
    <sum shape=() float32, not evaluated>
    >>> y.value()
    7.0
    >>> y.backward()
    >>> x.gradient().tolist()
    [2.0, 4.0]
    """

    __slots__ = ("index", "tape")
    __array_ufunc__: ClassVar[None] = None  # NumPy arrays leave `array + expression` to us

    tape: Tape
    index: int

    @property
    def kind(self) -> Kind:
        """The kind of the node."""
        return self.tape.kinds[self.index]

    @property
    def type(self) -> Type:
        """Interned shape, dtype and shared identity."""
        return self.tape.kinds[self.index].type

    @property
    def shape(self) -> Shape:
        """Shape of one example."""
        return self.type.shape

    @property
    def batch(self) -> int | None:
        """Number of rows, or None for a single row without a batch axis."""
        tape = self.tape
        if tape.trace is not None:
            raise tape.trace.refuse_batch(self)
        rows = tape.rows[self.index]
        return None if rows == -1 else rows

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the values."""
        return self.type.dtype

    @property
    def ndim(self) -> int:
        """Number of axes of one example."""
        return len(self.type.shape)

    @property
    def size(self) -> int:
        """Number of elements of one example."""
        return self.type.width

    # Elementwise arithmetic

    def __add__(self, other: Any) -> Expression:
        return binary(HOOKS.add, HOOKS.add_number, self, other)

    def __radd__(self, other: Any) -> Expression:
        return _reflected(HOOKS.add, HOOKS.add_number, self, other)

    def __sub__(self, other: Any) -> Expression:
        return binary(HOOKS.subtract, HOOKS.subtract_number, self, other)

    def __rsub__(self, other: Any) -> Expression:
        return _reflected(HOOKS.subtract, HOOKS.subtract_from_number, self, other)

    def __mul__(self, other: Any) -> Expression:
        return binary(HOOKS.multiply, HOOKS.multiply_number, self, other)

    def __rmul__(self, other: Any) -> Expression:
        return _reflected(HOOKS.multiply, HOOKS.multiply_number, self, other)

    def __truediv__(self, other: Any) -> Expression:
        return binary(HOOKS.divide, HOOKS.divide_number, self, other)

    def __rtruediv__(self, other: Any) -> Expression:
        return _reflected(HOOKS.divide, HOOKS.divide_into_number, self, other)

    def __pow__(self, other: Any) -> Expression:
        return binary(HOOKS.power, HOOKS.power_number, self, other)

    def __rpow__(self, other: Any) -> Expression:
        return _reflected(HOOKS.power, HOOKS.power_of_number, self, other)

    def __neg__(self) -> Expression:
        return unary(HOOKS.negative, self)

    def __pos__(self) -> Expression:
        return self

    def __abs__(self) -> Expression:
        return unary(HOOKS.absolute, self)

    def __matmul__(self, other: Any) -> Expression:
        if isinstance(other, Expression):
            e = pair(HOOKS.product, self, other)
            if e is not None:
                return e
        return HOOKS.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Expression:
        return HOOKS.matmul(other, self)

    # Shape

    def __getitem__(self, index: Any) -> Expression:
        return HOOKS.index(self, index)

    def __len__(self) -> int:
        shape = self.shape
        if not shape:
            raise ArgumentError(
                f"len: {self!r} is a scalar; only expressions with axes have a length; "
                "for the number of rows use .batch"
            )
        return shape[0]

    def __iter__(self) -> Iterator[Expression]:
        return iter([self[i] for i in range(len(self))])

    @property
    def T(self) -> Expression:
        """The axes of one example in reverse order."""
        return HOOKS.transpose(self)

    def reshape(self, *shape: Any) -> Expression:
        """Another shape with the same number of elements; one entry may be -1."""
        if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
            shape = tuple(shape[0])
        return HOOKS.reshape(self, shape)

    def sum(self, axis: int | tuple[int, ...] | None = None) -> Expression:
        """Sum over one axis, several, or all."""
        return HOOKS.sum(self, axis)

    def mean(self, axis: int | tuple[int, ...] | None = None) -> Expression:
        """Mean over one axis, several, or all."""
        return HOOKS.mean(self, axis)

    def max(self, axis: int | tuple[int, ...] | None = None) -> Expression:
        """Maximum over one axis, several, or all."""
        return HOOKS.max(self, axis)

    def astype(self, dtype: Any) -> Expression:
        """The same values in another dtype: see `ln.astype`."""
        return HOOKS.astype(self, dtype)

    # Values and gradients

    def value(self, device: bool = False) -> Any:
        """Compute the value: a float for a single scalar, else a NumPy array of your own.

        The array has a leading batch axis exactly where `batch` is not None.

        Args:
            device: Leave the value where it was computed: on a GPU the result is a CuPy array, also
                of a scalar, and nothing waits for it.
        """
        return HOOKS.device_value(self) if device else HOOKS.value(self)

    def __await__(self) -> Generator[Any, Any, Any]:
        """What `value()` gives, in a coroutine that `ln.run_together` runs with others."""
        return HOOKS.awaited(self)

    def item(self) -> int | float:  # compiled, a float alone would make one of a whole number
        """The value as a Python number; only for a single element."""
        array = np.asarray(self.value())
        if array.size != 1:
            raise ShapeError(
                f"item: {self!r} holds {array.size} elements; only one can become a number; "
                "use .value()"
            )
        number: int | float = array.reshape(()).item()
        return number

    def __float__(self) -> float:
        return float(self.item())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ArgumentError(
                "np.asarray(expression, copy=False): a value is always a copy; leave out copy"
            )
        return np.asarray(self.value(), dtype=dtype if dtype is not None else self.dtype)

    def __dlpack__(self, **options: Any) -> Any:
        """The value for another library, such as ``torch.from_dlpack(x)``: an array of its own."""
        return HOOKS.device_value(self).__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return HOOKS.device_value(self).__dlpack_device__()

    def backward(self) -> None:
        """Differentiate: this scalar (single row) by everything it was computed from.

        Parameters accumulate their gradients until an optimiser's `step()`.
        """
        HOOKS.backward([self])

    def gradient(self) -> Array:
        """Gradient from the last backward that reached this expression, shaped like `value()`.

        Raises:
            GradientError: If no backward reached it.
        """
        return HOOKS.gradient(self)

    def detach(self) -> Expression:
        """The same value, through which no gradient flows. Computes it, and drops its history."""
        return HOOKS.detach(self)

    def __bool__(self) -> bool:
        if self.tape.trace is not None:
            raise self.tape.trace.refuse_value(self)
        raise ArgumentError(
            f"bool: {self!r} has no truth value before it is computed; "
            "compare .value(), or test `x is None`"
        )

    def __hash__(self) -> int:  # a compiled class that defines comparisons inherits none
        return object.__hash__(self)

    def __lt__(self, other: Any) -> Any:
        raise _comparison(self, other, "less")

    def __gt__(self, other: Any) -> Any:
        raise _comparison(self, other, "greater")

    def __le__(self, other: Any) -> Any:
        raise _comparison(self, other, "less")

    def __ge__(self, other: Any) -> Any:
        raise _comparison(self, other, "greater")

    def __repr__(self) -> str:
        rows = -1 if isinstance(self, Leaf) else self.tape.rows[self.index]
        batch = "" if rows == -1 else ", batched" if self.tape.trace else f", batch={rows}"
        state = "evaluated" if HOOKS.evaluated(self) else "not evaluated"
        kind = self.kind
        output = f"[{kind.position}]" if len(kind.outputs) > 1 else ""
        return f"<{kind.op.name}{output} shape={self.shape}{batch} {self.dtype}, {state}>"


def _comparison(a: Expression, b: Any, name: str) -> LazynetError:
    if a.tape.trace is not None:
        error: LazynetError = a.tape.trace.refuse_value(a)
        return error
    return ArgumentError(
        f"comparison of {a!r} with {b!r}: an expression has no value yet; "
        f"compare .value(), or record a 0/1 mask with ln.{name}(a, b)"
    )


@mypyc_attr(allow_interpreted_subclasses=True)
class Leaf(Expression):
    """An expression that lies on no tape: a parameter. Recorded once on each tape that uses it."""

    __slots__ = ("leaf_kind", "name", "pending", "pending_rows", "row_op", "values")
    leaf_kind: Kind
    name: str
    values: Array
    pending: Array | None
    pending_rows: list[Any]
    row_op: Op | None
    """What records a row of a lookup table; None for other parameters."""

    def __getitem__(self, index: Any) -> Expression:
        if self.row_op is None:
            return HOOKS.part(self, index)
        e = HOOKS.row(self, index)
        return HOOKS.lookup(self, index) if e is None else e

    @property
    def trainable(self) -> bool:
        """Whether `backward` computes its gradient."""
        raise GraphError("a leaf has no values of its own; use ln.Model().parameter(...)")

    def version(self) -> int:
        """A number that changes whenever the values do."""
        raise GraphError("a leaf has no values of its own; use ln.Model().parameter(...)")

    @property
    def kind(self) -> Kind:
        return self.leaf_kind

    @property
    def type(self) -> Type:
        return self.leaf_kind.type

    @property
    def batch(self) -> int | None:
        return None


# Recording


def pair(op: Op, a: Expression, b: Expression) -> Expression | None:
    """Record a node of two arguments, of a kind met before; None for anything unusual."""
    tape = LOCAL.tape
    if tape.sealed != 0:
        return None
    kinds = tape.kinds
    rows = tape.rows
    if a.tape is tape:
        i = a.index
        j = b.index if b.tape is tape else _leaf_index(tape, b)
    elif b.tape is tape:
        i = _leaf_index(tape, a)
        j = b.index
    else:
        return None
    if i < 0 or j < 0:
        return None
    kind = op._kinds.get((kinds[i].type, kinds[j].type))
    r = rows[i]
    s = rows[j]
    if r != s:
        if kind is None:
            return None
        r = op.batch(r, s)
    args = tape.args
    start = len(args)
    args.append(i)
    args.append(j)
    return finished(tape, kind, start, r, None)


def binary(op: Op, number_op: Op, a: Expression, b: Any) -> Expression:
    """Record `a op b`: the hot path; everything unusual is left to `record`."""
    if isinstance(b, Expression):
        e = pair(op, a, b)
        return record(op, (a, b)) if e is None else e
    return _reflected(op, number_op, a, b, False)


def _reflected(op: Op, number_op: Op, a: Expression, b: Any, swap: bool = True) -> Expression:
    """Record `b op a`, or `a op b`, where b is no expression."""
    if (
        type(b) is float
        or type(b) is int
        or (isinstance(b, (float, int, np.number)) and not isinstance(b, np.complexfloating))
    ):
        return unary(number_op, a, float(b))
    return record(op, (b, a) if swap else (a, b))


def unary(op: Op, a: Expression, payload: Any = None) -> Expression:
    """Record a node of one argument: the hot path."""
    tape = LOCAL.tape
    if a.tape is tape and tape.sealed == 0:
        i = a.index
        start = len(tape.args)
        tape.args.append(i)
        kind = op._kinds.get(tape.kinds[i].type)
        e = finished(tape, kind, start, tape.rows[i], payload)
        return record(op, (a,), payload) if e is None else e
    return HOOKS.elsewhere(op, a, payload)


def apply(op: Op, x: Any) -> Expression:
    """Record a node of one argument, which may be a number or an array."""
    return unary(op, x) if isinstance(x, Expression) else record(op, (x,))


def mark(tape: Tape, index: int) -> None:
    """Note on the tape what the modes in force say of a node."""
    modes = _modes()
    if not modes.gradients:
        tape.unrecorded.add(index)
    if modes.debug:
        tape.lines[index] = user_line()


def handle(tape: Tape, index: int) -> Expression:
    """The expression of a recorded node."""
    e = Expression()
    e.tape = tape
    e.index = index
    return e


def adopt(tape: Tape, x: Expression) -> int:
    """Index of x on this tape: its own, a parameter's leaf, or an import from a sealed tape."""
    source = x.tape
    if source is tape:
        return x.index
    if isinstance(x, Leaf):
        found = tape.shared.get(x.leaf_kind)
        if found is None:
            found = tape.append(x.leaf_kind, [], -1, x)
            tape.shared[x.leaf_kind] = found
            if tape.trace is not None:
                tape.lines[found] = user_line()
        return found
    if tape.trace is not None:
        raise tape.trace.refuse_closure(x)
    if source.trace is not None:
        raise source.trace.refuse_escape(x)
    if source.sealed == 0:
        raise GraphError(
            f"{x!r} lies on the open tape of another thread; evaluate it there (.value()) before "
            "it is used here, or hand over the array"
        )
    places = tape.imports.setdefault(source, {})
    place = places.get(x.index, -1)
    if place == -1:
        kind = import_kind(source.kinds[x.index].type)
        place = places[x.index] = tape.include(kind, source.rows[x.index], x)
    return place


def record(
    op: Op, args: Sequence[Any], payload: Any = None, batch: int | None = None
) -> Expression:
    """Record a node of `op`; arguments may be expressions, numbers, arrays.

    Args:
        op: The operation; one with several results goes to `record_several`.
        args: Its arguments. Numbers and arrays become constants in the dtype of the others.
        payload: What the node carries besides (see `Op.payload`).
        batch: Batch of the result, where it does not follow from the arguments (-1: single row).

    Returns:
        The expression.
    """
    result: Expression = _record(op, args, payload, batch)
    return result


def record_several(
    op: Op, args: Sequence[Any], payload: Any = None, batch: int | None = None
) -> tuple[Expression, ...]:
    """`record`, for an op with several results."""
    result: tuple[Expression, ...] = _record(op, args, payload, batch)
    return result


def _record(op: Op, args: Sequence[Any], payload: Any = None, batch: int | None = None) -> Any:
    """An expression, or a tuple of them for an op with several results."""
    if type(args) is tuple:
        result = known(op, args, payload, batch)
        if result is not None:
            return result
    tape = LOCAL.tape
    indices: list[int] = []
    own = False
    plain = True
    for a in args:
        if not isinstance(a, Expression):
            plain = False
            break
        if a.tape is tape:
            own = True
    if not plain:
        tape, indices = _adopt_all(op, args)
    else:
        if not own or tape.sealed != 0:
            tape = tape_for_input()  # nothing here refers to the open tape
        for a in args:
            indices.append(a.index if a.tape is tape else adopt(tape, a))
    if op.rearranges:
        if tape.trace is not None and (op.segmented or op.alias):
            raise tape.trace.refuse_rows(op)
        indices = [unshare(tape, i) for i in indices]
    kind = tape.known_kind(op, indices)
    if kind is None:
        target = tape.common_float(indices)
        if target is not None:
            indices = [_converted(tape, i, target) for i in indices]
            kind = tape.known_kind(op, indices)
        if kind is None:
            types = tuple([tape.kinds[i].type for i in indices])
            kind = make_kind(op, key_of(op, types), types[:1] if op.nary else types)
    if kind.shared:
        key = (kind, _modes().gradients)
        index = tape.shared.get(key, -1)
        if index != -1:
            return handle(tape, index)
        tape.shared[key] = len(tape.kinds)
    rows = -1 if batch is None else batch
    if batch is None:
        given = tape.rows
        for i in indices:
            if given[i] != -1:
                rows = op.batch(*[given[i] for i in indices])
                break
    return node(tape, kind, indices, rows, payload)


def node(tape: Tape, kind: Kind, indices: list[int], rows: int, payload: Any) -> Any:
    """Append a node; returns its result, or a tuple of several."""
    n = tape.append(kind, indices, rows, payload)
    count = len(kind.members)
    if _modes().marks:
        for k in range(n, n + count):
            mark(tape, k)
    if count == 1:
        return handle(tape, n)
    return tuple([handle(tape, k) for k in range(n, n + count)])


def _leaf_index(tape: Tape, x: Expression) -> int:
    """Index of a parameter that was used on this tape before, else -1."""
    return tape.shared.get(x.leaf_kind, -1) if isinstance(x, Leaf) else -1


def known(op: Op, args: tuple[Any, ...], payload: Any = None, batch: int | None = None) -> Any:
    """Record a node of a kind met before, of nodes and parameters on the open tape.

    Returns:
        What `record` would; None where anything is unusual, and nothing was done.
    """
    tape = LOCAL.tape
    if tape.sealed != 0 or tape.trace is not None:
        return None
    try:
        found = op._kinds
    except AttributeError:
        return None
    start = len(tape.args)
    types: list[Any] = []
    rows = known_rows(tape, args, types)
    kind = None if rows == UNKNOWN else found.get(types[0] if len(types) == 1 else tuple(types))
    if kind is not None and batch is None and rows >= 0:
        rows = tape.joint_rows(op, start)
    return finished(tape, kind, start, rows if batch is None else batch, payload)


def known_rows(tape: Tape, args: tuple[Any, ...], types: list[Any]) -> int:
    """Begin a node of nodes and parameters known on the open tape.

    Args:
        tape: The tape, to whose `args` they are added; `finished` must follow.
        args: Anything.
        types: Their types are added.

    Returns:
        The largest of their batches (-1 for single rows); UNKNOWN if one was not found, or all of
        them are parameters.
    """
    kinds = tape.kinds
    rows = tape.rows
    largest = UNKNOWN
    for a in args:
        if not isinstance(a, Expression):
            return UNKNOWN
        if a.tape is tape:
            i = a.index
            if rows[i] > largest:
                largest = rows[i]
        else:
            i = _leaf_index(tape, a)
            if i < 0:
                return UNKNOWN
        tape.args.append(i)
        types.append(kinds[i].type)
    return largest


def finished(
    tape: Tape, kind: Kind | None, start: int, rows: int, payload: Any
) -> Expression | None:
    """Finish a node of one result, whose arguments begin at `start`, or take them back."""
    if kind is None or kind.shared or len(kind.members) > 1:
        del tape.args[start:]
        return None
    n = len(tape.kinds)
    if _modes().marks:
        mark(tape, n)
    tape.kinds.append(kind)
    tape.starts.append(start)
    tape.rows.append(rows)
    tape.payloads.append(payload)
    return handle(tape, n)


def _adopt_all(op: Op, args: Sequence[Any]) -> tuple[Tape, list[int]]:
    """Tape and indices where some arguments are numbers or arrays."""
    dtype = None
    for a in args:
        if (
            isinstance(a, Expression)
            and a.dtype in FLOATS
            and (dtype is None or a.dtype is FLOAT64)
        ):
            dtype = a.dtype
    expressions = [
        a if isinstance(a, Expression) else HOOKS.constant(a, dtype=dtype, role=op.name)
        for a in args
    ]
    tape = open_tape()
    if not any(a.tape is tape for a in expressions):
        tape = tape_for_input()  # nothing here refers to the open tape
    return tape, [adopt(tape, a) for a in expressions]


def _converted(tape: Tape, i: int, target: np.dtype[Any]) -> int:
    """Floating-point values in this dtype."""
    d = tape.kinds[i].type.dtype
    return i if d is target or d not in FLOATS else HOOKS.astype(handle(tape, i), target).index


def unshare(tape: Tape, index: int) -> int:
    """A shared value as a row of its own, for ops that point at rows."""
    t = tape.kinds[index].type
    if not t.shared:
        return index
    kind = UNSHARE.kinds.get(t)
    if kind is None:
        kind = make_kind(UNSHARE, t, (t,))
    gradients = _modes().gradients
    found = tape.shared.get((kind, gradients), -1)
    if found == -1:
        found = tape.append(kind, [index], -1, None)
        tape.shared[(kind, gradients)] = found
        if _modes().marks:
            mark(tape, found)
    return found


HOOKS.record = _record
