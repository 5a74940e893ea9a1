"""`Expression`: DyNet's handle of a value, around the engine's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final

import numpy as np

import lazynet.execute as engine
import lazynet.reading as reading
from lazynet.differentiate import backward
from lazynet.dynet.graph import STATE, ask, compute, invalidate
from lazynet.dynet.stretch import Stretch
from lazynet.errors import GradientError
from lazynet.graph import Expression as Node
from lazynet.graph import Leaf, handle, mark, pair, record, unary
from lazynet.kinds import HOOKS as ENGINE
from lazynet.kinds import TABLE_LIMIT, Array, Kind, Op, Shape, Type
from lazynet.modes import MODES
from lazynet.native import mypyc_attr
from lazynet.ops import matmul
from lazynet.ops.elementwise import ready
from lazynet.ops.shape import Reshape
from lazynet.tape import LOCAL, NO_TAPE, Tape

Dims = tuple[tuple[int, ...], int]
_modes: Final = MODES.get
_RESHAPES: dict[tuple[Shape, Shape], Op] = {}


@mypyc_attr(allow_interpreted_subclasses=True)
class Expression:
    """A value of the computation graph, computed when asked for.

    Made by the functions of this module, by parameters, and by operators on other expressions.
    Its dimensions are those of one example; the batch comes last in what `npvalue` returns.

    A scalar has shape ``(1,)`` in the engine, and one example no batch axis.

    Args:
        node: The engine's expression; None to have it made when asked for.
        graph: The stretch of the computation graph that it was recorded in.
        tape, at: Where the node lies, if it is None.
    """

    __slots__ = ("_node", "at", "graph", "tape")
    __array_ufunc__: ClassVar[None] = None  # NumPy numbers leave `number * expression` to us

    def __init__(
        self, node: Node | None, graph: Stretch, tape: Tape = NO_TAPE, at: int = -1
    ) -> None:
        self._node = node
        self.graph = graph
        self.tape = tape if node is None else node.tape
        self.at = at if node is None else node.index

    @property
    def node(self) -> Node:
        """The engine's expression."""
        node = self._node
        if node is None:
            node = self._node = handle(self.tape, self.at)
        return node

    # Values

    def dim(self) -> Dims:
        """The dimensions of one example, and the number of examples."""
        checked(self, "dim")
        batch = self.node.batch
        return type_of(self).shape, 1 if batch is None else batch

    def forward(self, recalculate: bool | Any = False) -> None:
        """Compute the value; with `recalculate`, and everything it depends on, anew."""
        _settle(self, "forward", bool(recalculate))

    def value(self, recalculate: bool | Any = False) -> Any:
        """The value: a float, a list of floats, or an array of float64, by rank.

        Vectors and batches of scalars or vectors come as one flat list, example by example.
        """
        array = _computed(self, "value", recalculate)
        shape = type_of(self).shape
        if len(shape) > 1:
            return _batch_last(array, self.node.batch)
        if array.size == 1 and shape == (1,):
            return array.item()
        return array.reshape(-1).tolist()

    def scalar_value(self, recalculate: bool | Any = False) -> float:
        """The value of a scalar.

        Raises:
            ValueError: If it is none.
        """
        array = _computed(self, "scalar_value", recalculate)
        if array.size != 1:
            raise ValueError(
                f"scalar_value: got an expression of dimensions {show(self)}; it takes a scalar; "
                "use value(), vec_value() or npvalue()"
            )
        number: float = array.item()
        return number

    def vec_value(self, recalculate: bool | Any = False) -> list[float]:
        """All numbers as one list, column by column and example by example."""
        array = _computed(self, "vec_value", recalculate)
        if len(type_of(self).shape) > 1:
            array = _batch_last(array, self.node.batch).reshape(-1, order="F")
        numbers: list[float] = array.reshape(-1).tolist()
        return numbers

    def npvalue(self, recalculate: bool | Any = False) -> Array:
        """The value as an array of float64; the batch is the last axis, if there is one."""
        return _batch_last(_computed(self, "npvalue", recalculate), self.node.batch)

    def tensor_value(self, recalculate: bool | Any = False) -> Any:
        """The value as a `Tensor`."""
        from lazynet.dynet.tensor import Tensor

        array = _computed(self, "tensor_value", recalculate)
        return Tensor(_batch_last(array, self.node.batch), len(type_of(self).shape))

    # Gradients

    def backward(self, full: bool | Any = False) -> None:
        """Differentiate this scalar by everything it was computed from.

        Parameters accumulate their gradients until a trainer's `update`.

        Args:
            full: Accepted for old programs; `gradient` knows every node's gradient either way.

        Raises:
            ValueError: If it is no scalar.
        """
        _settle(self, "backward", False)
        node = self.node
        if node.size != 1 or not (node.batch is None or node.batch == 1):
            raise ValueError(
                f"backward: got an expression of dimensions {show(self)}; it takes a scalar; "
                "add up with sum_elems, sum_batches or esum first"
            )
        backward([node])
        STATE.differentiated = True
        STATE.root, STATE.gradients = node, None

    def gradient(self) -> Array:
        """The gradient of the last `backward`, as an array like that of `npvalue`.

        Zeros where the scalar does not depend on this expression.

        Raises:
            RuntimeError: If `backward` was not called on this graph.
        """
        checked(self, "gradient")
        node = self.node
        check_differentiated(self)
        if engine.evaluated(node):
            try:
                return _batch_last(node.gradient(), node.batch)
            except GradientError as error:
                if "no backward reached" not in str(error):
                    raise
        return np.zeros(node.shape if node.batch is None else (*node.shape, node.batch))

    # Operators

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Expression):
            return broadcast(ENGINE.add, self, other, "+")
        return _with_number(ENGINE.add_number, self, other, "+")

    def __radd__(self, other: Any) -> Any:
        return _with_number(ENGINE.add_number, self, other, "+")

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, Expression):
            return broadcast(ENGINE.subtract, self, other, "-")
        return _with_number(ENGINE.subtract_number, self, other, "-")

    def __rsub__(self, other: Any) -> Any:
        return _with_number(ENGINE.subtract_from_number, self, other, "-")

    def __neg__(self) -> Expression:
        return apply(ENGINE.negative, self, "-")

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Expression):
            return multiply(self, other)
        return _with_number(ENGINE.multiply_number, self, other, "*")

    def __rmul__(self, other: Any) -> Any:
        return _with_number(ENGINE.multiply_number, self, other, "*")

    def __truediv__(self, other: Any) -> Any:
        if isinstance(other, Expression):
            raise NotImplementedError(
                "expression / expression is not defined in DyNet; use cdiv for the quotient "
                "element by element"
            )
        return _with_number(ENGINE.divide_number, self, other, "/")

    def __rtruediv__(self, other: Any) -> Any:
        raise TypeError(
            "number / expression is not defined in DyNet; use cdiv(constant, expression), or "
            "number * pow(expression, scalarInput(-1))"
        )

    def __pow__(self, other: Any) -> Any:
        if isinstance(other, Expression):
            return power(self, other)
        number = as_number(other)
        if number is None:
            return no_operand(other, "**")
        return wrap(truncated(checked(self, "**").node ** number))

    def __rpow__(self, other: Any) -> Any:
        return _with_number(ENGINE.power_of_number, self, other, "**")

    def __getitem__(self, index: Any) -> Any:
        if not self.graph.alive:
            raise stale(self, "expression[...]")
        return HOOKS["index"](self, index)

    def __len__(self) -> int:
        return self.dim()[0][0]

    def __iter__(self) -> Iterator[Expression]:
        return iter([self[i] for i in range(len(self))])

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"expression {self.node.index}/{self.graph.version}"


@mypyc_attr(native_class=False)
class EmptyListError(ValueError, AssertionError):
    """An empty list where expressions are needed; DyNet asserts that there is one."""


HOOKS: dict[str, Callable[..., Any]] = {}
"""Filled by `picking`, which is built on this module: indexing."""


def wrap(node: Node) -> Expression:
    """The expression of a node that was just recorded."""
    stretch = STATE.stretch
    if stretch.immediate:
        compute_at_once(node, stretch)
    return Expression(node, stretch)


def type_of(x: Expression) -> Type:
    """Shape and dtype of an expression."""
    return x.node.type if x.at < 0 else x.tape.kinds[x.at].type


def compute_at_once(node: Node, stretch: Stretch) -> None:
    """Compute what was just recorded, as `renew_cg(immediate_compute=True)` asks for.

    Raises:
        RuntimeError: If the value is to be checked and holds NaN or infinity.
    """
    compute([node])
    if stretch.validate and not np.isfinite(reading.value(node)).all():
        raise RuntimeError(
            f"{node.kind.op.name}: the value of {node!r} holds NaN or infinity (checked because "
            "of renew_cg(check_validity=True))"
        )


def checked(x: Any, name: str) -> Expression:
    """x, if it is an expression that may be used.

    Args:
        x: An argument.
        name: The function that got it.

    Raises:
        TypeError: If it is no expression.
        RuntimeError: If it belongs to a graph that was renewed or reverted.
    """
    if not isinstance(x, Expression):
        raise TypeError(f"{name}: got {short(x)}; it takes an expression; {remedy(x)}")
    if not x.graph.alive:
        raise stale(x, name)
    return x


def remedy(x: Any) -> str:
    """What to do with a thing that is no expression."""
    hint = "numbers and arrays become expressions with scalarInput and inputTensor"
    if isinstance(x, np.ndarray):
        hint += (
            ", and stay constants: a gradient is an array, which cannot be differentiated again; "
            "for a second derivative take differences of gradients"
        )
    return hint


def no_operand(x: Any, name: str) -> Any:
    """What an operator returns for an operand that it does not take.

    Raises:
        TypeError: If it is an array, of which NumPy would say less.
    """
    if isinstance(x, np.ndarray):
        raise TypeError(f"{name}: got {short(x)}; it takes expressions and numbers; {remedy(x)}")
    return NotImplemented


def nodes_of(xs: Any, name: str) -> list[Node]:
    """The nodes of a non-empty list of expressions.

    Raises:
        TypeError: If it is no list of expressions.
        EmptyListError: If it is empty.
        RuntimeError: If one belongs to a graph that was renewed or reverted.
    """
    if not isinstance(xs, list):
        raise TypeError(f"{name}: got {short(xs)}; it takes a list of expressions")
    if not xs:
        raise EmptyListError(f"{name}: got an empty list; it takes at least one expression")
    return [checked(x, name).node for x in xs]


def stale(x: Expression, name: str) -> RuntimeError:
    """The error for an expression that must not be used any more."""
    if x.graph.version != STATE.stretch.version:
        why = (
            f"belongs to computation graph {x.graph.version}, and this is number "
            f"{STATE.stretch.version}; renew_cg() ended it; build the expression anew after "
            "renew_cg(), or keep its value"
        )
    else:
        why = "was dropped by cg_revert(); record it before cg_checkpoint(), or keep its value"
    return RuntimeError(f"{name}: stale expression: {x} {why}")


def short(x: Any) -> str:
    """A value as it stands in an error message."""
    text = repr(x)
    return text if len(text) <= 60 else f"{text[:57]}..."


def show(x: Expression) -> str:
    """Dimensions as DyNet writes them: ``{2,3}``, with a batch ``{2,3X4}``."""
    dims, batch = x.dim()
    return "{" + ",".join(map(str, dims)) + (f"X{batch}" if batch != 1 else "") + "}"


def as_number(x: Any) -> float | None:
    """A number as a float; None for anything else."""
    if isinstance(x, (int, float, np.integer, np.floating)):
        return float(x)
    if isinstance(x, np.ndarray) and x.ndim == 0 and x.dtype.kind in "iuf":
        return float(x)
    return None


# Arithmetic


def aligned(a: Node, b: Node) -> tuple[Node, Node]:
    """Nodes with equally many axes: DyNet aligns the first ones, NumPy the last."""
    m, n = len(a.shape), len(b.shape)
    if m < n:
        return reshaped(a, a.shape + (1,) * (n - m)), b
    if n < m:
        return a, reshaped(b, b.shape + (1,) * (m - n))
    return a, b


def reshaped(node: Node, shape: Shape) -> Node:
    """The node in another shape with as many elements, which nobody checks."""
    source = node.shape
    if source == shape:
        return node
    op = _RESHAPES.get((source, shape))
    if op is None:
        if len(_RESHAPES) >= TABLE_LIMIT:
            _RESHAPES.clear()
        op = _RESHAPES[source, shape] = ready(Reshape(source, shape))
    return unary(op, node)


def truncated(node: Node) -> Node:
    """The node without dimensions of 1 at the end, which some of DyNet's functions drop."""
    shape = node.shape
    n = len(shape)
    while n > 1 and shape[n - 1] == 1:
        n -= 1
    return node if n == len(shape) else reshaped(node, shape[:n])


def broadcast(op: Op, x: Expression, y: Expression, name: str) -> Expression:
    """An op of two expressions; axes of length 1, missing axes and the batch are repeated.

    Raises:
        ValueError: If the dimensions do not go together.
    """
    found = two(op, x, y)
    if found is not None:
        return found
    a, b = checked(x, name).node, checked(y, name).node
    if a.type is not b.type:
        a, b = aligned(a, b)
    try:
        node = pair(op, a, b)
        if node is None:
            node = record(op, (a, b))
    except ValueError:
        raise ValueError(
            f"{name}: mismatched dimensions {show(x)} and {show(y)}; for each dimension, the first "
            "ones aligned, the sizes must be equal or one of them 1, and so must the batch sizes; "
            "reshape one of them"
        ) from None
    return wrap(node)


def multiply(x: Expression, y: Expression) -> Expression:
    """Matrix product, or vector times scalar."""
    found = two(ENGINE.product, x, y, True)
    if found is not None:
        return found
    a, b = checked(x, "*").node, checked(y, "*").node
    left, right = a.shape, b.shape
    if len(left) == 2:
        if len(right) in (1, 2) and left[1] == right[0]:
            return wrap(matmul(a, b))
    elif len(left) == 1:
        if right == (1,):
            return broadcast(ENGINE.multiply, x, y, "*")
        if len(right) == 2 and right[0] == 1:  # a column times a row
            return wrap(reshaped(a, (*left, 1)) * b)
    raise ValueError(
        f"*: mismatched dimensions in a matrix product: {show(x)} times {show(y)}; the columns of "
        "the left side must be as many as the rows of the right; for element by element use cmult"
    )


def power(x: Expression | Any, y: Expression | Any) -> Expression:
    """x to the power of a scalar expression.

    Raises:
        ValueError: If y is no scalar.
    """
    a, b = checked(x, "pow").node, checked(y, "pow").node
    if b.size != 1:
        raise ValueError(f"pow: got an exponent of dimensions {show(y)}; it must be a scalar")
    if b.ndim > 1:
        b = reshaped(b, (1,))
    return wrap(truncated(a ** aligned(a, b)[1]))


def _with_number(op: Op, x: Expression, other: Any, name: str) -> Any:
    """An op of an expression and a number."""
    number: float | None = other if type(other) is float else as_number(other)
    return no_operand(other, name) if number is None else apply(op, x, name, number)


# Recording. What all programs do most is written out for expressions that lie on the tape that is
# recorded now, of kinds met before; all else goes through the engine's functions.


def apply(op: Op, x: Any, name: str, payload: Any = None) -> Expression:
    """Record an op of one argument.

    Args:
        op: An op whose kinds are ready (see `ops.elementwise.ready`).
        x: What the function was given.
        name: The function.
        payload: What the node carries.
    """
    if isinstance(x, Expression):
        tape = x.tape
        if x.graph.direct and tape is LOCAL.tape and tape.sealed == 0:
            kind = op._kinds.get(tape.kinds[x.at].type)
            if kind is not None and not kind.shared and len(kind.members) == 1:
                return Expression(None, x.graph, tape, append(tape, kind, x.at, payload))
    return wrap(unary(op, checked(x, name).node, payload))


def append(tape: Tape, kind: Kind, argument: int, payload: Any) -> int:
    """Append a node of one argument and one result to the open tape; returns its index."""
    n = len(tape.kinds)
    if _modes().marks:
        mark(tape, n)
    tape.kinds.append(kind)
    tape.starts.append(len(tape.args))
    tape.args.append(argument)
    tape.rows.append(tape.rows[argument])
    tape.payloads.append(payload)
    return n


def _finish(tape: Tape, kind: Kind, start: int, rows: int) -> int:
    """Append a node whose arguments, from `start` on, are on the tape already."""
    n = len(tape.kinds)
    if _modes().marks:
        mark(tape, n)
    tape.kinds.append(kind)
    tape.starts.append(start)
    tape.rows.append(rows)
    tape.payloads.append(None)
    return n


def _parameter(tape: Tape, x: Expression) -> int:
    """Index of a parameter that was used on this tape before; -1 for anything else."""
    leaf = x._node
    return tape.shared.get(leaf.leaf_kind, -1) if isinstance(leaf, Leaf) else -1


def two(op: Op, x: Expression, y: Expression, product: bool = False) -> Expression | None:
    """Record an op of two arguments; None, and nothing is done, for anything unusual.

    Args:
        op: An op whose kinds are ready.
        x: Its first argument.
        y: Its second.
        product: Whether it is the product of a matrix, else one element by element.
    """
    tape = LOCAL.tape
    if tape.sealed != 0:
        return None
    graph = x.graph
    i = x.at
    j = y.at
    if x.tape is tape:
        if y.tape is not tape:
            j = _parameter(tape, y)
        if not graph.direct:
            graph = y.graph
    elif y.tape is tape:
        i = _parameter(tape, x)
        graph = y.graph
    else:
        return None
    if i < 0 or j < 0 or not graph.direct or not x.graph.alive or not y.graph.alive:
        return None
    a = tape.kinds[i].type
    b = tape.kinds[j].type
    if product:
        if len(a.shape) != 2 or len(b.shape) > 2:
            return None
    elif a is not b and len(a.shape) != len(b.shape):
        return None  # the engine would align the last axes
    kind = op._kinds.get((a, b))
    if kind is None or kind.shared or len(kind.members) != 1:
        return None
    rows = tape.rows[i]
    other = tape.rows[j]
    if rows != other:
        if rows == -1:
            rows = other
        elif other != -1:
            return None
    start = len(tape.args)
    tape.args.append(i)
    tape.args.append(j)
    return Expression(None, graph, tape, _finish(tape, kind, start, rows))


def listed(kinds: dict[Any, Kind], xs: Any, key: list[Any]) -> Expression | None:
    """Record an op of a list of arguments; None, and nothing is done, for anything unusual.

    Args:
        kinds: Kinds of the op by the types of its arguments.
        xs: What the function was given.
        key: What stands before these types.
    """
    tape = LOCAL.tape
    if type(xs) is not list or tape.sealed != 0 or tape.trace is not None:
        return None
    expressions: list[Any] = xs
    start = len(tape.args)
    graph: Stretch | None = None
    rows = -1
    for x in expressions:
        i = -1
        if isinstance(x, Expression) and x.graph.alive:
            if x.graph.direct:
                graph = x.graph
            i = x.at if x.tape is tape else _parameter(tape, x)
        if i >= 0:
            r = tape.rows[i]
            if r != -1 and r != rows:
                if rows == -1:
                    rows = r
                else:
                    i = -1
        if i < 0:
            del tape.args[start:]
            return None
        tape.args.append(i)
        key.append(tape.kinds[i].type)
    kind = kinds.get(tuple(key))
    if graph is None or kind is None or kind.shared or len(kind.members) != 1:
        del tape.args[start:]
        return None
    return Expression(None, graph, tape, _finish(tape, kind, start, rows))


def reduced(op: Op, xs: Any) -> Expression | None:
    """Record a reduction over a list; None, and nothing is done, for anything unusual."""
    tape = LOCAL.tape
    if type(xs) is not list or tape.sealed != 0 or tape.trace is not None:
        return None
    expressions: list[Any] = xs
    if len(expressions) < 2:
        return None
    start = len(tape.args)
    graph: Stretch | None = None
    first: Type | None = None
    rows = -1
    for x in expressions:
        fits = False
        if isinstance(x, Expression) and x.tape is tape and x.graph.alive:
            if x.graph.direct:
                graph = x.graph
            t = tape.kinds[x.at].type
            if first is None:
                first = t
                rows = tape.rows[x.at]
                fits = t.shared == 0
            else:
                fits = t is first and tape.rows[x.at] == rows
        if not fits:
            del tape.args[start:]
            return None
        tape.args.append(x.at)
    kind = op._kinds.get(first)
    if graph is None or kind is None or kind.shared or len(kind.members) != 1:
        del tape.args[start:]
        return None
    return Expression(None, graph, tape, _finish(tape, kind, start, rows))


# Values


def _settle(x: Expression, name: str, recalculate: bool) -> None:
    """Have an expression computed."""
    if not x.graph.alive:
        raise stale(x, name)
    if recalculate:
        invalidate()
    tape = x.tape
    if STATE.along:
        ask(x.node)
    if x.at < 0:  # a parameter, or a table, which is an expression as long as it is used
        node = x.node
        if not isinstance(node, Leaf) and (STATE.stale or not engine.evaluated(node)):
            compute([node])
    elif tape.sealed == 0 or tape.evaluated[x.at] != 1 or STATE.stale:
        compute([x.node])


def _computed(x: Expression, name: str, recalculate: Any) -> Array:
    """The value of an expression, an array of one's own with the batch first."""
    _settle(x, name, bool(recalculate))
    if x.at < 0:
        return np.asarray(reading.value(x.node))
    evaluation, number = x.tape.location(x.at)
    array: Array = evaluation.host_value(number)
    return array


def check_differentiated(x: Expression) -> None:
    """Raise RuntimeError if no `backward` has run on this graph."""
    if not STATE.differentiated:
        raise RuntimeError(
            f"gradient: no backward() has run on this graph, so {x!r} has no gradient; call "
            "backward() on a scalar computed from it first"
        )


def _batch_last(array: Array, batch: int | None) -> Array:
    """A value as DyNet gives it: float64, and the batch as the last axis."""
    result = np.array(array, np.float64)
    return result if batch is None else np.moveaxis(result, 0, -1)
