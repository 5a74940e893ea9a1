"""What a node is: operations (`Op`), the types of their results, and kinds.

A *kind* is what the scheduler batches: an operation with its static attributes, plus for every
argument either its identity (a parameter, or something computed from parameters alone: the whole
batch shares it) or its shape and dtype. Kinds are derived from the op and its argument types by
full equality, never written by hand, so two operations cannot be mistaken for one another.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Generator
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lazynet.deferred import TRACED_ROWS
from lazynet.errors import DtypeError, FuseError, ShapeError
from lazynet.native import mypyc_attr

if TYPE_CHECKING:
    from lazynet.graph import Expression

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]

FLOAT32: Final = np.dtype(np.float32)
FLOAT64: Final = np.dtype(np.float64)
FLOAT16: Final = np.dtype(np.float16)
INT64: Final = np.dtype(np.int64)
FLOATS: Final = [FLOAT32, FLOAT64, FLOAT16]
"""Floating-point dtypes of values. bfloat16, which NumPy lacks, is added when it is first met."""
HALVES: Final = [FLOAT16]
"""Those of them in which values are stored only: what is computed from them is float32."""

TABLE_LIMIT = 50_000
"""Entries after which an interning table starts anew. Nodes of the same signature recorded before
and after then have two kinds: that costs a batch once and never changes a value."""

HALVES_MET: Final[list[bool]] = []
"""Not empty once there is a type of 16 bits: until then nobody need look for one."""

_serials = count(1)


class Type:
    """Shape and dtype of ONE row, and for a shared value its identity. Interned: compare by `is`.

    Attributes:
        id: Serial number.
        shape: Shape of one example.
        dtype: NumPy dtype, in which values are stored.
        work: The dtype in which ops see them, and of their gradients: float32 for 16 bits.
        width: Number of elements of one row.
        shared: 0, or the serial number of the value that every row shares.
    """

    __slots__ = ("dtype", "id", "shape", "shared", "width", "work")

    def __init__(self, shape: Shape, dtype: np.dtype[Any], shared: int) -> None:
        self.id = next(_serials)
        self.shape = shape
        self.dtype = dtype
        self.work = working(dtype)
        if self.work is not dtype and not HALVES_MET:
            HALVES_MET.append(True)
        self.shared = shared
        width = 1
        for n in shape:
            width *= n
        self.width = width


def working(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which values of this one are computed with."""
    return FLOAT32 if dtype in HALVES else dtype


_types: dict[tuple[Shape, np.dtype[Any], int], Type] = {}
_derived: list[dict[Any, Any]] = []


def derived_table() -> dict[Any, Any]:
    """A table of types or kinds by other keys, emptied whenever a table they come from is."""
    table: dict[Any, Any] = {}
    _derived.append(table)
    return table


def _forget() -> None:
    for table in _derived:
        table.clear()


def type_of(shape: Shape, dtype: np.dtype[Any], shared: int = 0) -> Type:
    """The interned type of this shape, dtype and shared identity (0: not shared)."""
    key = (shape, dtype, shared)
    found = _types.get(key)
    if found is None:
        if len(_types) >= TABLE_LIMIT:
            _types.clear()
            _forget()
        found = _types.setdefault(key, Type(shape, dtype, shared))  # two threads get the same
    return found


def new_identity() -> int:
    """A serial number for a shared value; never reused."""
    return next(_serials)


class Call:
    """One batch as an op's `forward` and `backward` see it.

    Attributes:
        rows: Number of rows of the result.
        payload: What the nodes carry besides their arguments, one entry per row of the result
            (see `Op.payload`); None for ops without.
        shared: Per argument, whether it comes without a row axis (only where `Op.shares`).
        needs: Per argument, whether its gradient is wanted (in `backward`).
        out: The array(s) the result goes to; `forward` may write into it and return it.
        keep: Anything `forward` wants to hand to `backward`: None, an array with a leading row
            axis, or a tuple of such arrays. Read-only from then on.
        into: For ops of one argument, where its gradient goes; `backward` may write into it and
            return it. None: anywhere.
        segments: For segmented and n-ary ops, where each node's rows begin: nodes + 1 offsets
            into the rows of the arguments.

    >>> import lazynet as ln
    >>> import numpy as np
    >>> class Swish(ln.Op):
    ...     def shape(self, x):
    ...         return x
    ...
    ...     def forward(self, call, x):
    ...         call.keep = 1 / (1 + np.exp(-x))
    ...         return np.multiply(x, call.keep, out=call.out)
    ...
    ...     def backward(self, call, dy, y, x):
    ...         return dy * (call.keep + y * (1 - call.keep))
    >>> ln.gradcheck(Swish(), [ln.constant([0.5, -2.0], dtype="float64")])
    """

    __slots__ = ("into", "keep", "needs", "out", "payload", "rows", "segments", "shared")

    def __init__(
        self,
        rows: int,
        payload: Any,
        shared: tuple[bool, ...],
        needs: tuple[bool, ...],
        out: Any,
        segments: Array | None = None,
    ) -> None:
        self.rows = rows
        self.payload = payload
        self.shared = shared
        self.needs = needs
        self.out = out
        self.keep: Any = None
        self.into: Any = None
        self.segments = segments

    def column(self, ndim: int) -> Any:
        """The payload shaped to broadcast against rows of `ndim` example axes: (rows, 1, ...)."""
        return self.payload.reshape((-1,) + (1,) * ndim)


class RowRule(NamedTuple):
    """What an op does to each row, for batches that run as part of a chain (see `chains`).

    Rows come flattened, ``(rows, width)``, or ``(1, width)`` where all are the same.

    Attributes:
        forward: ``f(op, c, out, *args)`` fills `out`, whose width all arguments have; `c` is the
            payload, one number or a column. None for an op that cuts its argument up.
        derivatives: For each argument ``f(op, c, dy, y, *args, out=None)``, which returns its
            gradient, in `out` if given; None for a gradient of zero.
        columns: For an op that cuts its one argument up, the columns that each result is.
    """

    forward: Callable[..., Array] | None = None
    derivatives: tuple[Callable[..., Array] | None, ...] = ()
    columns: tuple[tuple[int, int], ...] = ()


class Printed(NamedTuple):
    """What an op does as text, for code that is printed for a whole graph (see `routine`).

    Texts are formatted with the names of arrays: ``{0}``, ``{1}``, ... are the arguments, as
    `Op.forward` sees them, ``{out}`` the result, ``{dy}`` and ``{to}`` a gradient and where the one
    that is computed goes (None: anywhere). NumPy's functions go by their own names.

    Attributes:
        forward: Statements.
        derivatives: For each argument an expression for its gradient, shaped like the argument.
    """

    forward: tuple[str, ...]
    derivatives: tuple[str, ...]


@mypyc_attr(allow_interpreted_subclasses=True)
class Op:
    """One operation on expressions: a shape rule, a forward and a backward.

    Subclass it as a frozen dataclass; fields are static attributes, that is, what changes code or
    shape. What only changes values is payload, one per node. The contract:

    * `shape` sees the shapes of one example and raises `ShapeError` (use `self.fail`).
    * `forward(call, *args)` sees arrays with a leading row axis, ``(rows, *shape)``, and returns
      ``(rows, *result shape)``. It may write into ``call.out`` and return that.
    * `backward(call, dy, y, *args)` returns one gradient per argument (an array shaped like the
      argument; anything where ``call.needs[i]`` is False), or the bare array for one argument.
    * None of them changes an array that it was given, `call.out` and `call.keep` excepted.
    * Values of 16 bits, and their gradients, come and go as float32.

    >>> import lazynet as ln
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Cube(ln.Op):
    ...     '''y = x^3'''
    ...     def shape(self, x):
    ...         return x
    ...     def forward(self, call, x):
    ...         return x**3
    ...     def backward(self, call, dy, y, x):
    ...         return 3 * x**2 * dy
    >>> x = ln.constant([1.0, 2.0])
    >>> Cube()(x).value().tolist()
    [1.0, 8.0]
    """

    payload: ClassVar[str | None] = None
    """What each node carries: None; "float" (a scalar factor; comes in the arguments' dtype);
    "int" (an index or class, int64); "ints" (several, (rows, k)); "key" (a random key, uint64)."""
    shares: ClassVar[bool] = False
    """Whether shared arguments come as they are, without a row axis (`call.shared[i]`), and their
    gradient is returned without one, summed over the rows. Otherwise they come broadcast."""
    nary: ClassVar[bool] = False
    """A reduction over any number of arguments of one type, of one kind whatever their number.
    `forward` sees ONE array, the rows of all arguments, and `call.segments`."""
    segmented: ClassVar[bool] = False
    """The rows of a node belong together: `call.segments` tells where each node's begin."""
    alias: ClassVar[bool] = False
    """The result is rows of the argument(s): never computed, only pointed at."""
    reads_args: ClassVar[bool] = True
    """Whether `backward` looks at the values of the arguments (else it gets None for them)."""
    reads_y: ClassVar[bool] = True
    """Whether `backward` looks at its result `y` (else it gets None)."""
    unshares: ClassVar[bool] = False
    """The result of shared arguments is a row like any other, not shared itself."""
    differentiable: ClassVar[bool] = True
    """False: the result is a leaf for `backward` (argmax, comparisons)."""

    infinite: ClassVar[bool] = False
    """Whether results may be infinite on purpose: `ln.detect_anomaly` lets them pass then."""

    pieces: ClassVar[bool] = False
    """Whether `piece` may find something."""

    staged: ClassVar[bool] = False
    """Whether it is a `Staged` op: one workspace for all batches of a kind."""

    moves: ClassVar[bool] = False
    """Whether `forward` only copies rows: arguments of 16 bits and `call.out` come as they are."""

    points: ClassVar[bool] = False
    """Whether the payload, a tuple of whole numbers, says which rows are meant: graphs that differ
    in it differ in structure. An n-ary op that points takes one batch, and as the payload how many
    of its rows go into each row of the result."""

    rearranges: ClassVar[bool] = False
    """Derived: the op points at rows, so that a shared argument must become a row first."""

    _kinds: dict[Any, Kind]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.rearranges = cls.segmented or cls.nary or cls.alias

    @property
    def name(self) -> str:
        """The op's name as users know it: the class name in snake_case."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()

    @property
    def kinds(self) -> dict[Any, Kind]:
        """Kinds of this op by argument types, kept on the one instance all equal ones share."""
        try:
            return self._kinds
        except AttributeError:
            canonical = _ops.get(self)
            if canonical is None:
                if len(_ops) >= TABLE_LIMIT:
                    _ops.clear()
                    _forget()
                canonical = _ops[self] = self
                object.__setattr__(self, "_kinds", {})
            else:
                object.__setattr__(self, "_kinds", canonical._kinds)
            return self._kinds

    # `*args: Any, **named: Any` is what type checkers let a method of fewer arguments override.

    def shape(self, *shapes: Any, **named: Any) -> Shape | list[Shape]:
        """Shape of the result for one example; a list of shapes for several results."""
        raise TypeError(f"{type(self).__name__} defines no shape rule")

    def dtype(self, *dtypes: np.dtype[Any]) -> np.dtype[Any]:
        """Dtype of the result. Default: all arguments of one floating-point dtype, and so it."""
        first = dtypes[0]
        for d in dtypes:
            if d is not first or d not in FLOATS:
                listing = ", ".join(str(d) for d in dtypes)
                raise DtypeError(
                    f"{self.name}: got dtypes ({listing}); all arguments must have the same "
                    "floating-point dtype; convert with x.astype('float32'), or make the model, "
                    "inputs and arrays of one dtype"
                )
        return first

    def batch(self, *batches: int) -> int:
        """Batch of the result from the arguments' (-1: single row). Default: they must agree."""
        result = -1
        for b in batches:
            if b != -1:
                if result == -1:
                    result = b
                elif b != result:
                    if TRACED_ROWS in batches:
                        raise FuseError(
                            f"{self.name}: it meets a batch of fixed size inside a fused function "
                            f"(line {user_line()}), which is traced once for any number of rows; "
                            "pass that batch as an argument"
                        )
                    listing = ", ".join("None" if b == -1 else str(b) for b in batches)
                    raise ShapeError(
                        f"{self.name}: got batches ({listing}); arguments with a batch must have "
                        "the same number of rows (None broadcasts); use ln.unbatch or ln.rebatch "
                        "to bring them together"
                    )
        return result

    def forward(self, call: Call, *args: Any, **named: Any) -> Any:
        """Compute the rows of one batch."""
        raise TypeError(f"{type(self).__name__} defines no forward")

    def backward(self, call: Call, dy: Any, y: Any, *args: Any, **named: Any) -> Any:
        """Gradients of the arguments from that of the result."""
        raise TypeError(f"{type(self).__name__} defines no backward")

    def row_rule(self, *shapes: Shape) -> RowRule | None:
        """How to run the op in a chain, on examples of these shapes; None if it cannot."""
        return None

    def printed(self, shapes: list[Shape], shared: tuple[bool, ...]) -> Printed | None:
        """What the op does as text, on examples of these shapes; None if it cannot be printed.

        Args:
            shapes: Of the arguments.
            shared: Per argument, whether it comes without a row axis.
        """
        return None

    def halves(self, shapes: list[Shape], shared: tuple[bool, ...]) -> Callable[..., bool] | None:
        """How the op computes on a GPU from values stored in float16, if not from float32 copies.

        Args:
            shapes: Of the arguments.
            shared: Per argument, whether it comes without a row axis.

        Returns:
            ``f(call, *args)``, which writes to `call.out` in float16 what was computed in float32,
            or returns False; None for an op that has none.
        """
        return None

    def piece(self, payload: Any) -> tuple[int, Array] | None:
        """For an op whose result is a piece of its one argument's row, as told by the payload.

        Returns:
            Number of elements of a piece, of which a row has a whole number, and for each row of
            the payload which of them; None if these rows are not of this kind.
        """
        return None

    def __call__(self, *args: Any, payload: Any = None) -> Any:
        """Record a node of this op; returns an expression, or a tuple for several results."""
        return HOOKS.record(self, args, payload)

    def fail(self, rule: str, remedy: str, *shapes: Shape, **named: Shape) -> ShapeError:
        """The error for shapes that break the rule; to be raised by `shape`."""
        parts = [str(s) for s in shapes] + [f"{k} {v}" for k, v in named.items()]
        return ShapeError(f"{self.name}: got {', '.join(parts)}; {rule}; {remedy}")


_ops: dict[Op, Op] = {}


class Hooks:
    """The one indirection: what `Expression` and `Plan` call in modules to their right.

    `ops`, `execute` and `inspect` fill it when they are imported, so that recording knows none.
    """

    record: Callable[..., Any]
    constant: Callable[..., Expression]
    lookup: Callable[..., Expression]
    value: Callable[..., Any]
    device_value: Callable[..., Any]
    gradient: Callable[..., Array]
    backward: Callable[..., None]
    evaluated: Callable[..., bool]
    awaited: Callable[..., Generator[Any, Any, Any]]
    detach: Callable[..., Expression]
    index: Callable[..., Expression]
    part: Callable[..., Expression]
    elsewhere: Callable[..., Expression]
    row: Callable[..., Expression | None]
    row_op: Callable[[Shape], Op]
    transpose: Callable[..., Expression]
    reshape: Callable[..., Expression]
    matmul: Callable[..., Expression]
    product: Op
    sum: Callable[..., Expression]
    mean: Callable[..., Expression]
    max: Callable[..., Expression]
    astype: Callable[..., Expression]
    add: Op
    add_number: Op
    subtract: Op
    subtract_number: Op
    subtract_from_number: Op
    multiply: Op
    multiply_number: Op
    divide: Op
    divide_number: Op
    divide_into_number: Op
    power: Op
    power_number: Op
    power_of_number: Op
    negative: Op
    absolute: Op
    draw_plan: Callable[..., Any]


HOOKS: Final = Hooks()


class Kind:
    """An interned signature: op, argument types, result types. Nodes of one kind batch.

    Attributes:
        id: Serial number, never reused.
        op: The operation.
        args: Types of the arguments (one entry for n-ary ops).
        outputs: Types of the results.
        type: Type of the first result.
        shared: Whether every row shares the value: all arguments are shared, no payload.
        position: 0, or which further output of the node before it this pseudo-kind stands for.
        members: For several results, the pseudo-kinds of all of them.
        line: Source line that first recorded the kind.
    """

    __slots__ = ("args", "id", "line", "members", "op", "outputs", "position", "shared", "type")

    def __init__(
        self,
        op: Op,
        args: tuple[Type, ...],
        outputs: tuple[Type, ...],
        shared: bool,
        position: int = 0,
    ) -> None:
        self.id = next(_serials)
        self.op = op
        self.args = args
        self.outputs = outputs
        self.type = outputs[position]
        self.shared = shared
        self.position = position
        self.line = user_line()
        self.members: list[Kind] = [self]
        if position == 0 and len(outputs) > 1:
            self.members += [Kind(op, args, outputs, False, k) for k in range(1, len(outputs))]

    def __str__(self) -> str:
        shapes = ", ".join(str(t.shape) for t in self.args)
        return f"{self.op.name}({shapes})"


def key_of(op: Op, types: tuple[Type, ...]) -> Any:
    """What tells kinds of this op apart, for arguments of these types."""
    if op.nary:
        for t in types:
            if t is not types[0] and not alike(t, types[0]):
                listing = ", ".join(f"{t.shape} {t.dtype}" for t in types[:8])
                raise ShapeError(
                    f"{op.name}: got a list of ({listing}); all entries must have the same shape "
                    "and dtype; reshape or convert them first"
                )
        return types[0]
    return types[0] if len(types) == 1 else types


def alike(a: Type, b: Type) -> bool:
    """Whether types of rows are the same, though interned before and after the table was full."""
    return a.shape == b.shape and a.dtype is b.dtype


def make_kind(op: Op, key: Any, args: tuple[Type, ...]) -> Kind:
    """Check shapes and dtypes of a signature met for the first time, and intern it."""
    result = op.shape(*[t.shape for t in args])
    dtype = op.dtype(*[t.dtype for t in args])
    several = isinstance(result, list)
    shapes: list[Shape] = result if isinstance(result, list) else [result]
    shared = (
        bool(args)
        and not several
        and op.payload is None
        and all(t.shared for t in args)
        and not op.rearranges
        and not op.unshares
    )
    identity = new_identity() if shared else 0
    outputs = tuple(type_of(tuple(s), dtype, identity) for s in shapes)
    kinds = op.kinds
    if len(kinds) >= TABLE_LIMIT:
        kinds.clear()
        _forget()
    kind = kinds[key] = Kind(op, args, outputs, shared)
    return kind


_PACKAGE = __name__.rpartition(".")[0]


def user_line() -> str:
    """``file:line`` of the innermost frame outside the package."""
    frame = sys._getframe()  # of the caller where this function is compiled
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not (module == _PACKAGE or module.startswith(_PACKAGE + ".")):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return "unknown line"


def show(batch: int, shape: Shape) -> str:
    """How messages print what an expression is: its shape, and its batch where it has one."""
    return str(shape) if batch == -1 else f"{shape} x batch {batch}"


def is_expression(x: object) -> bool:
    """Whether x is an `Expression` (known here without importing it)."""
    return hasattr(x, "tape") and hasattr(x, "index")


__all__ = [
    "FLOAT16",
    "FLOAT32",
    "FLOAT64",
    "FLOATS",
    "HALVES",
    "HALVES_MET",
    "HOOKS",
    "INT64",
    "Array",
    "Call",
    "Kind",
    "Op",
    "Printed",
    "RowRule",
    "Shape",
    "Type",
    "alike",
    "derived_table",
    "is_expression",
    "key_of",
    "make_kind",
    "new_identity",
    "show",
    "type_of",
    "user_line",
    "working",
]
