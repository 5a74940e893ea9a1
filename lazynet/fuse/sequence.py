"""`ln.scan`, as users call it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast, overload

import numpy as np

from lazynet.calls import Arguments, ScanProgram, fast_scan, record_scan, scan_key
from lazynet.errors import ArgumentError, FuseError, ShapeError
from lazynet.fuse.cell import Form
from lazynet.fuse.function import FusedFunction, fuse, program_of
from lazynet.fuse.scan import FusedScan
from lazynet.fuse.trace import Trace
from lazynet.graph import Expression, Leaf, record
from lazynet.inputs import as_expression, constant, rebatch, unbatch
from lazynet.kinds import Array
from lazynet.leaves import UNSHARE
from lazynet.modes import MODES
from lazynet.tape import LOCAL

Y = TypeVar("Y")
S = TypeVar("S")

_ATTRIBUTE = "__lazynet_fused__"


@overload
def scan(
    cell: Callable[..., tuple[Y, S]],
    xs: Expression | Array,
    init: Any,
    reverse: bool = False,
    constants: Sequence[Any] = (),
) -> tuple[Y, S]: ...


@overload
def scan(
    cell: Callable[..., tuple[Expression, S]],
    xs: list[Any],
    init: Any,
    reverse: bool = False,
    constants: Sequence[Any] = (),
) -> tuple[list[Expression], S]: ...


@overload
def scan(
    cell: Callable[..., tuple[Any, Any]],
    xs: Any,
    init: Any,
    reverse: bool = False,
    constants: Sequence[Any] = (),
) -> tuple[Any, Any]: ...


def scan(
    cell: Callable[..., Any],
    xs: Any,
    init: Any,
    reverse: bool = False,
    constants: Sequence[Any] = (),
) -> tuple[Any, Any]:
    """Run a cell along a sequence, as one node.

    The cell is traced like a fused function. All sequences of a batch advance together, whatever
    their lengths; products with the inputs are done for all steps at once.

    Args:
        cell: A function or method, fused or not: ``cell(x, state, *constants)`` returns
            ``(y, state)``. It is traced once if it is the same object at every call.
        xs: The inputs: a batched expression, whose rows are the steps; or a list of single
            expressions, one for each step; or a tuple of such, which the cell gets as a tuple. A
            sequence may have no steps.
        init: The state before the first step: an expression or a (nested) tuple of them. The state
            that the cell returns has the same form and shapes.
        reverse: Whether to run from the last step to the first. ys[t] is the output at xs[t] all
            the same.
        constants: Expressions that every step gets, such as a dropout mask.

    Returns:
        The outputs in the form of xs, and the state after the step that ran last.

    Raises:
        FuseError: As for `ln.fuse`.
        ShapeError: If xs have different lengths, or the cell returns a state of another shape.

    >>> import lazynet as ln
    >>> import numpy as np
    >>> model = ln.Model(seed=0)
    >>> W, U = model.parameter((2, 3)), model.parameter((2, 2))
    >>> def cell(x, h):
    ...     h = ln.tanh(W @ x + U @ h)
    ...     return h, h
    >>> ys, h = ln.scan(cell, ln.constant([[1, 0, 0], [0, 1, 0]], batched=True), np.zeros(2))
    >>> ys.batch, h.shape, len(ln.plan(ys))
    (2, (2,), 3)
    """
    if LOCAL.tape.trace is not None:
        raise FuseError(
            "scan: it was called inside a fused function; a scan is a node of its own; call it "
            "outside"
        )
    modes = MODES.get()
    fused = _fused(cell)
    arguments = scan_key(xs, init, tuple(constants), reverse, modes) if modes.fuse else None
    if arguments is not None and not modes.debug:
        found = fast_scan(fused, arguments, reverse, modes)
        if found is not None:
            return found  # type: ignore[no-any-return]
    inputs, listed = _inputs(xs)
    dtype = (inputs[0] if isinstance(inputs, tuple) else inputs).dtype
    states: list[Expression] = []
    form = _flatten(init, states, dtype)
    fixed = [_constant(c, dtype) for c in constants]
    if not modes.fuse:
        ys, state = _step_by_step(cell, inputs, _unflatten(form, iter(states)), reverse, fixed)
    else:
        ys, state = _record(fused, inputs, states, form, reverse, fixed, arguments)
    if listed:
        ys = _unbatched(ys)
    return ys, state


def _inputs(xs: Any) -> tuple[Any, bool]:
    """The inputs as one batched expression or a tuple of them, and whether they were lists."""
    if isinstance(xs, tuple):
        parts = [_inputs(x) for x in xs]
        if not parts:
            raise ArgumentError("scan: got an empty tuple as xs; it takes at least one sequence")
        rows = [x.batch for x, _ in parts]
        if len(set(rows)) > 1:
            raise ShapeError(
                f"scan: got sequences of {', '.join(map(str, rows))} steps; they run together; "
                "make them equally long"
            )
        return tuple([x for x, _ in parts]), all(listed for _, listed in parts)
    if isinstance(xs, np.ndarray) and xs.ndim:
        xs = constant(xs, batched=True, role="scan: xs")
    if isinstance(xs, Expression):
        if isinstance(xs, Leaf) or xs.batch is None:
            raise ShapeError(
                f"scan: got the single expression {xs!r} as xs; the rows of a batch are the steps; "
                "write [x] for a sequence of one"
            )
        return xs, False
    if isinstance(xs, (str, bytes)) or not hasattr(xs, "__iter__"):
        raise ArgumentError(
            f"scan: got {type(xs).__name__} as xs; it takes a batched expression or a list"
        )
    entries = [as_expression(x, "scan: xs") for x in xs]
    if not entries:
        raise ArgumentError(
            "scan: got an empty list as xs, whose shape is unknown; give a batch of no rows: "
            "ln.constant(np.zeros((0, n)), batched=True)"
        )
    for x in entries:
        _single(x, "an entry of xs")
    return rebatch(entries), True


def _single(x: Expression, role: str) -> Expression:
    if not isinstance(x, Leaf) and x.batch is not None:
        raise ShapeError(
            f"scan: got {role} with a batch, {x!r}; write the model for one sequence, and evaluate "
            "many together"
        )
    return x


def _flatten(state: Any, found: list[Expression], dtype: Any) -> Any:
    if isinstance(state, (tuple, list)) and any(
        isinstance(s, (Expression, tuple, list, np.ndarray)) for s in state
    ):
        return tuple([_flatten(s, found, dtype) for s in state])
    x = _single(as_expression(state, "scan: init", dtype), "init")
    if x.type.shared:
        x = record(UNSHARE, (x,))  # a parameter as the initial state is a row of its own here
    found.append(x)
    return None


def _constant(c: Any, dtype: Any) -> Expression:
    """A constant: a parameter, of which the program knows, or a row of its own."""
    x = _single(as_expression(c, "scan: constants", dtype), "constants")
    return record(UNSHARE, (x,)) if x.type.shared and not isinstance(x, Leaf) else x


def _unflatten(form: Any, entries: Any) -> Any:
    if form is None:
        return next(entries)
    return tuple([_unflatten(part, entries) for part in form])


def _unbatched(ys: Any) -> Any:
    if isinstance(ys, tuple):
        parts = [_unbatched(y) for y in ys]
        return [tuple(row) for row in zip(*parts)]
    return unbatch(ys)


def _fused(cell: Any) -> FusedFunction:
    """The fused function of a cell: the same one at every call."""
    if isinstance(cell, FusedFunction):
        return cell
    if not callable(cell):
        raise ArgumentError(f"scan: got {cell!r} as cell; it takes a function or a method")
    owner = getattr(cell, "__self__", None)
    function = getattr(cell, "__func__", cell)
    fused = getattr(function, _ATTRIBUTE, None)
    # functools.wraps copies attributes: this one may be that of the function that is wrapped
    if not isinstance(fused, FusedFunction) or fused.function is not function:
        fused = cast(FusedFunction, fuse(function))
        try:
            setattr(function, _ATTRIBUTE, fused)
        except AttributeError:
            return cast(FusedFunction, fuse(cell))
    bound: FusedFunction = fused if owner is None else fused.__get__(owner)
    return bound


def _record(
    fused: FusedFunction,
    inputs: Any,
    states: list[Expression],
    form: Any,
    reverse: bool,
    fixed: list[Expression],
    arguments: Arguments | None,
) -> tuple[Any, Any]:
    xs = list(inputs) if isinstance(inputs, tuple) else [inputs]
    moving = [x for x in fixed if not isinstance(x, Leaf)]
    given = [*xs, *states, *moving]
    modes = MODES.get()
    key = (
        modes.training,
        bool(reverse),
        form,
        isinstance(inputs, tuple),
        tuple([x if isinstance(x, Leaf) else None for x in fixed]),
        tuple([x.type.id for x in given]),
    )
    found = fused.scans.get(key)
    if found is None or modes.debug:
        found = _traced(fused, key, given, len(xs), len(states), found)
    if arguments is not None and list(map(id, arguments.expressions)) == list(map(id, given)):
        fused.scan_programs[tuple(arguments.ids)] = found  # nothing had to be converted
    return record_scan(found, given, xs[0].batch or 0, reverse, modes)


def _traced(
    fused: FusedFunction,
    key: Any,
    given: list[Expression],
    inputs: int,
    states: int,
    before: ScanProgram | None,
) -> ScanProgram:
    """Trace a cell, or under `ln.debug()` trace it again and compare."""
    _, reverse, form, several, fixed, _ = key
    trace = Trace(fused.name)

    def rebuild(inside: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        x = tuple(inside[:inputs]) if several else inside[0]
        state = _unflatten(form, iter(inside[inputs : inputs + states]))
        moving = iter(inside[inputs + states :])
        return (x, state, *[next(moving) if leaf is None else leaf for leaf in fixed]), {}

    trace.run(fused.function, given, rebuild, single=True)
    structure = trace.structure
    if not isinstance(structure, tuple) or len(structure) != 2 or structure[1] != form:
        raise FuseError(
            f"{fused.name}: a cell returns (y, state), with a state of the form of init; this one "
            f"returned {_shown(structure)} where (y, {_shown(form)}) belongs"
        )
    if before is not None:
        fused.compare(before.program.op.trace, trace)
        return before
    results = trace.outputs
    count = len(results) - states
    nexts = results[count:]
    kinds = trace.tape.kinds
    for j, i in enumerate(nexts):
        was, now = given[inputs + j].type, kinds[i].type
        if was.shape != now.shape or was.dtype is not now.dtype:
            raise ShapeError(
                f"{fused.name}: state {j} has shape {was.shape} ({was.dtype}) before a step and "
                f"{now.shape} ({now.dtype}) after it; both must be the same"
            )
    unique = list(nexts)
    places = []
    for i in results[:count]:
        if i not in unique:
            unique.append(i)
        places.append(unique.index(i))
    trace.outputs = unique
    op = FusedScan(
        trace, Form(inputs, states, len(given) - inputs - states, tuple(range(states)), reverse)
    )
    trace.structure = (None,) * len(unique)
    if len(fused.scans) >= 1024:
        fused.scans.clear()
        fused.scan_programs.clear()
    found = ScanProgram(program_of(op), states, form, structure[0], places)
    fused.scans[key] = found
    return found


def _shown(structure: Any) -> str:
    if structure is None:
        return "an expression"
    return f"({', '.join(map(_shown, structure))})"


def _step_by_step(
    cell: Any, inputs: Any, state: Any, reverse: bool, fixed: list[Expression]
) -> tuple[Any, Any]:
    """The same, one operation at a time."""
    function = cell.function if isinstance(cell, FusedFunction) else cell
    if isinstance(inputs, tuple):
        steps: list[Any] = list(zip(*[unbatch(x) for x in inputs]))
    else:
        steps = unbatch(inputs)
    ys: list[Any] = []
    for x in reversed(steps) if reverse else steps:
        y, state = function(x, state, *fixed)
        ys.append(y)
    if reverse:
        ys.reverse()
    if not ys:
        raise ArgumentError(
            "scan: a sequence of no steps under ln.no_fuse(): without a step, the shape of the "
            "outputs is unknown; leave it out"
        )
    return _rebatched(ys), state


def _rebatched(ys: list[Any]) -> Any:
    """Outputs of the steps, in (nested) tuples, as batches."""
    if isinstance(ys[0], Expression):
        return rebatch(ys)
    return tuple([_rebatched(list(part)) for part in zip(*ys)])


__all__ = ["scan"]
