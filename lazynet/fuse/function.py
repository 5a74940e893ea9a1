"""`ln.fuse`: a function of expressions recorded as one node."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

import numpy as np

from lazynet.calls import (
    CLOSE,
    LISTED,
    OPEN,
    Caller,
    Program,
    ScanProgram,
    Signature,
    append,
)
from lazynet.errors import ArgumentError, FuseError
from lazynet.fuse.rows import FusedRows
from lazynet.fuse.trace import Payload, Trace, first_difference
from lazynet.graph import Expression, Leaf, adopt
from lazynet.inputs import constant
from lazynet.kinds import FLOAT64, FLOATS, TABLE_LIMIT
from lazynet.modes import Modes
from lazynet.tape import LOCAL, tape_for_input

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R", covariant=True)
S = TypeVar("S")
T = TypeVar("T")

_INT = 0
"""In the key of a call, stands for a whole number that may be payload."""


def program_of(op: Any) -> Program:
    """What calls of this operation are recorded by."""
    return Program(op, op.kind(), op.trace.release(), op.trace.structure)


class Fused(Protocol[P, R]):
    """What type checkers know of a fused function: it is called like the function."""

    name: str
    function: Callable[..., Any]

    def __call__(self, *args: P.args, **keywords: P.kwargs) -> R:
        """Record the node."""

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Fused[P, R]: ...

    @overload
    def __get__(
        self: Fused[Concatenate[T, Q], S], instance: T, owner: Any = None
    ) -> Fused[Q, S]: ...


class FusedFunction(Caller):
    """What `ln.fuse` returns: called like the function, it records one node."""

    def __init__(self, function: Callable[..., Any]) -> None:
        if not callable(function):
            raise ArgumentError(f"fuse: got {function!r}; it takes a function or a method")
        super().__init__(function)
        functools.update_wrapper(self, function)
        self.name = getattr(function, "__qualname__", repr(function)).replace("<locals>.", "")
        self._results: int | None = None
        self.scans: dict[Any, ScanProgram] = {}

    def bind(self, instance: Any) -> BoundFunction:
        return BoundFunction(self, instance, self.bound)

    # Everything but plain expressions and ints, and whatever was not met before

    def general(self, args: tuple[Any, ...], keywords: dict[str, Any], modes: Modes) -> Any:
        given: list[Any] = []
        key: list[Any] = []
        form = _flatten((args, keywords), given, key, self.name, _floating((args, keywords)))
        plain = not keywords and _tuples_only(form[1][0])
        table = self.training if modes.training else self.evaluating
        # the key of `fast_call`: of the arguments, without what encloses all of them
        full = tuple(key[2:-2]) if plain else (*key, form)
        signature = table.get(full)
        if signature is None:
            if len(table) >= TABLE_LIMIT // 10:
                table.clear()
            signature = table[full] = Signature()
        values = tuple([_static(given[i]) for i in signature.static])
        program = signature.programs.get(values)
        if program is None or modes.debug:
            program = self._traced(signature, given, form, program)
        xs = [a for a in given if isinstance(a, Expression) and not isinstance(a, Leaf)]
        rows = _rows(self.name, given, {s.position for s in program.slots if s.listed})
        plain_args = tuple([a.value if isinstance(a, Payload) else a for a in given])
        return record_call(program, xs, plain_args, rows, modes)

    def _traced(
        self, signature: Signature, given: list[Any], form: Any, before: Program | None
    ) -> Program:
        """Trace the function, or under `ln.debug()` trace it again and compare."""
        trace = Trace(self.name)

        def rebuild(inside: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            entries = iter(inside)
            args, keywords = _rebuilt(form, entries)
            return args, keywords

        trace.run(self.function, given, rebuild)
        if before is not None:
            self.compare(before.op.trace, trace)
            return before
        if self._results is not None and len(trace.outputs) != self._results:
            raise FuseError(
                f"{self.name}: it returned {len(trace.outputs)} expressions, and {self._results} "
                "when it was traced before; a fused function always returns the same number"
            )
        self._results = len(trace.outputs)
        static = sorted({*signature.static, *trace.looked_at})
        if static != list(signature.static):
            signature.static = tuple(static)
            signature.programs.clear()
        program = program_of(FusedRows(trace))
        values = tuple([_static(given[i]) for i in signature.static])
        if len(signature.programs) >= TABLE_LIMIT // 10:
            signature.programs.clear()
        signature.programs[values] = program
        return program

    def compare(self, before: Trace, after: Trace) -> None:
        """Raise if a second trace is not like the first."""
        difference = first_difference(self.name, before, after)
        if difference is not None:
            raise difference

    def __repr__(self) -> str:
        return f"<fused {self.name}>"


class BoundFunction(FusedFunction):
    """A fused method of one object, which it does not keep alive."""

    def __init__(self, fused: FusedFunction, instance: Any, table: dict[int, Any]) -> None:
        key = id(instance)
        try:
            owner = weakref.ref(instance, lambda _: table.pop(key, None))
        except TypeError:
            raise ArgumentError(
                f"{fused.name}: objects of {type(instance).__name__} cannot be referred to weakly, "
                'and a fused method keeps none alive; add "__weakref__" to __slots__'
            ) from None
        function = fused.function

        def method(*args: Any, **keywords: Any) -> Any:
            return function(owner(), *args, **keywords)

        functools.update_wrapper(method, function)
        super().__init__(method)
        self.name = fused.name
        self._owner = owner
        table[key] = self


def record_call(
    program: Program, xs: list[Expression], args: tuple[Any, ...], rows: int, modes: Modes
) -> Any:
    """Record one node of a fused program; returns its results."""
    payload = program.payload(args)
    tape = LOCAL.tape
    if tape.sealed != 0 or not any(x.tape is tape for x in xs):
        tape = tape_for_input()
    return append(tape, program, [adopt(tape, x) for x in xs], rows, payload, modes)


# Arguments


def _flatten(a: Any, given: list[Any], key: list[Any], name: str, dtype: Any) -> Any:
    """The structure of arguments; their leaves go into `given`, what tells calls apart to `key`."""
    if isinstance(a, Expression):
        given.append(a)
        if isinstance(a, Leaf) or a.type.shared:
            key.append((a.type.id, a.type.shared))
        else:
            key.append(a.type.id if a.tape.rows[a.index] == -1 else -a.type.id)
        return 0
    if isinstance(a, tuple) or (isinstance(a, list) and not _whole(a)):
        key.append(OPEN)
        parts = tuple([_flatten(x, given, key, name, dtype) for x in a])
        key.append(CLOSE)
        return ("list" if isinstance(a, list) else "tuple", parts)
    if isinstance(a, dict):
        names = tuple(a)
        return ("dict", names, tuple([_flatten(a[k], given, key, name, dtype) for k in names]))
    if isinstance(a, np.ndarray) and a.dtype.kind == "f":
        return _flatten(constant(a, dtype=dtype, role=name), given, key, name, dtype)
    if isinstance(a, list) or (isinstance(a, np.ndarray) and a.dtype.kind in "iu" and a.ndim == 1):
        given.append(Payload(a, True))
        key.append(LISTED)
        return 0
    if isinstance(a, (int, np.integer)) and not isinstance(a, bool):
        given.append(Payload(int(a), False))
        key.append(_INT)
        return 0
    try:
        hash(a)
    except TypeError:
        raise ArgumentError(
            f"{name}: got the argument {a!r}; a fused function takes expressions, whole numbers, "
            "arrays, and whatever can be hashed, which then is part of the program"
        ) from None
    given.append(a)
    # 0.0 equals -0.0, and no nan equals itself
    key.append(("static", type(a), a.hex() if isinstance(a, float) else a))
    return 0


def _floating(a: Any) -> Any:
    """The widest floating-point dtype of the expressions among arguments, which arrays take."""
    if isinstance(a, Expression):
        return a.dtype if a.dtype in FLOATS else None
    entries = a.values() if isinstance(a, dict) else a if isinstance(a, (tuple, list)) else ()
    found = {dtype for dtype in map(_floating, entries) if dtype is not None}
    return FLOAT64 if FLOAT64 in found else next(iter(found), None)


def _tuples_only(form: Any) -> bool:
    """Whether a structure has no lists and dicts, so that the key tells all of it."""
    return form == 0 or (form[0] == "tuple" and all(map(_tuples_only, form[1])))


def _whole(a: list[Any]) -> bool:
    return all(isinstance(x, (int, np.integer)) and not isinstance(x, bool) for x in a)


def _rebuilt(form: Any, entries: Any) -> Any:
    if form == 0:
        return next(entries)
    if form[0] == "dict":
        return {k: _rebuilt(part, entries) for k, part in zip(form[1], form[2])}
    parts = [_rebuilt(part, entries) for part in form[1]]
    return parts if form[0] == "list" else tuple(parts)


def _static(a: Any) -> Any:
    if isinstance(a, Payload):
        return tuple(np.asarray(a.value).tolist()) if a.listed else a.value
    return a


def _rows(name: str, given: list[Any], payload: set[int]) -> int:
    """The batch of a call; lists count where they are payload, not where the program is theirs."""
    rows = -1
    for position, a in enumerate(given):
        n = -1
        if isinstance(a, Expression) and not isinstance(a, Leaf):
            n = a.tape.rows[a.index]
        elif isinstance(a, Payload) and position in payload:
            n = len(a.value)
        if n != -1 and rows not in (-1, n):
            raise ArgumentError(
                f"{name}: got batches of {rows} and {n} rows; arguments with a batch (lists of "
                "whole numbers have one) must have the same number of rows"
            )
        rows = n if n != -1 else rows
    return rows


def fuse(function: Callable[P, R]) -> Fused[P, R]:
    """Make a function of expressions record ONE node instead of one for each operation.

    The function is run once for each kind of call - for other shapes, with or without a batch, in
    training mode or not - to see which operations it records. These become one program: products
    with the same input are one product, elementwise steps run without temporaries, and the
    gradient is compiled likewise. A call records one node of that program, with one expression for
    each result. Nodes of one program batch, like those of any operation.

    Args:
        function: A function or method. Its arguments may be expressions, or tuples, lists and
            dicts of them; whole numbers, and lists of them with one for each row of a batch,
            which count as data where they are only used as an index or class (`table[i]`,
            `ln.cross_entropy(logits, c)`); anything else that can be hashed is part of the
            program. It returns an expression, or a (nested) tuple of them; if an argument has a
            batch, all results have. It may use parameters from outside, but no other expression.

    Returns:
        The fused function. `.function` is the original. Where a loss uses some results of a call
        only, the others count as results with a gradient of zero: an infinite derivative of theirs
        gives NaN, where separate operations would leave it out.

    Raises:
        FuseError: When it is called, if it asks for a value or a number of rows, uses an
            expression from outside that is no parameter, works across rows (`ln.sum_batch`), or
            returns another number of expressions than before. Under `ln.debug()` it is traced
            again at every call, and a difference is an error too.

    >>> import lazynet as ln
    >>> model = ln.Model(seed=0)
    >>> W, b = model.parameter((3, 2)), model.parameter(3)
    >>> @ln.fuse
    ... def layer(x):
    ...     return ln.tanh(W @ x + b)
    >>> ys = [layer(ln.constant([0.5, k])) for k in range(4)]
    >>> print(ln.plan(ys))
    2 batches for 8 nodes (lower bound 2, 4.0 nodes a batch)
    batch  op     shapes              nodes  rows  depth
        0  input  (2,)                    4     4      1
        1  layer  (2,), (3, 2), (3,)      4     4      2
    """
    if isinstance(function, (staticmethod, classmethod)) or inspect.isclass(function):
        raise ArgumentError(
            f"fuse: got {function!r}; it takes a function or method; put @ln.fuse below "
            "@staticmethod"
        )
    return FusedFunction(function)


__all__ = ["FusedFunction", "fuse"]
