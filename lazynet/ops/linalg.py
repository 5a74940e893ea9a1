"""Linear algebra: products of vectors, matrices and stacks of them, inverse, determinant, trace."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from lazynet.errors import ArgumentError, ShapeError
from lazynet.graph import Expression, record
from lazynet.inputs import as_expression
from lazynet.kinds import HOOKS, Array, Call, Op, Shape
from lazynet.ops.shape import same_dtype_expressions

_ROW = "0"
"""The letter of the row axis. An operand that the whole batch shares lacks it, so the gradient of
a shared weight is a contraction over all rows: one matrix product."""


def _operands(xs: Sequence[Any], role: str) -> list[Expression]:
    for x in xs:
        if isinstance(x, (bool, int, float, complex, np.number, np.bool_)):
            raise ArgumentError(
                f"{role}: got the number {x!r}; operands must be vectors, matrices or stacks; "
                "use * to multiply by a number"
            )
    return same_dtype_expressions(xs, role)


# Contraction: two arrays, ONE (stacked) matrix product


class _Contraction(NamedTuple):
    """How to contract two arrays: see `_contraction`.

    Attributes:
        swap: Whether the second operand comes first in the product.
        sum_left, sum_right: Axes that are summed before the product (in one operand only).
        order_left, order_right: Axes of the operands in groups: (stack, free, contracted) and
            (stack, contracted, free), or with the last two groups turned round.
        turn_left, turn_right: Whether they are: that is how they lie in memory, and BLAS takes a
            transposed matrix for nothing, where any other order costs a copy.
        stack, free_left, contracted, free_right: Number of axes in each group.
        order_out: Axes of the product in the order of the result; None if they are already.
    """

    swap: bool
    sum_left: tuple[int, ...]
    sum_right: tuple[int, ...]
    order_left: tuple[int, ...]
    order_right: tuple[int, ...]
    turn_left: bool
    turn_right: bool
    stack: int
    free_left: int
    contracted: int
    free_right: int
    order_out: tuple[int, ...] | None


@lru_cache(maxsize=4096)
def _contraction(a: str, b: str, out: str) -> _Contraction:
    """Plan ``out = sum over the other letters of a * b``, with one letter per axis.

    np.einsum takes the same letters, but calls BLAS only where nothing is stacked.
    """
    first = next((c for c in out if (c in a) != (c in b)), "")
    swap = first != "" and first in b
    left, right = (b, a) if swap else (a, b)
    sum_left = tuple(i for i, c in enumerate(left) if c not in right and c not in out)
    sum_right = tuple(i for i, c in enumerate(right) if c not in left and c not in out)
    left, right = (
        "".join(c for c in left if c in right or c in out),
        "".join(c for c in right if c in left or c in out),
    )
    stack = "".join(c for c in out if c in left and c in right)
    free_left = "".join(c for c in out if c in left and c not in right)
    free_right = "".join(c for c in out if c in right and c not in left)
    contracted = "".join(c for c in right if c in left and c not in out)
    turn_left = left == stack + contracted + free_left
    turn_right = right == stack + free_right + contracted
    grouped_left = stack + (contracted + free_left if turn_left else free_left + contracted)
    grouped_right = stack + (free_right + contracted if turn_right else contracted + free_right)
    made = stack + free_left + free_right
    return _Contraction(
        swap,
        sum_left,
        sum_right,
        tuple(left.index(c) for c in grouped_left),
        tuple(right.index(c) for c in grouped_right),
        turn_left,
        turn_right,
        len(stack),
        len(free_left),
        len(contracted),
        len(free_right),
        None if made == out else tuple(made.index(c) for c in out),
    )


def _contract(plan: _Contraction, a: Array, b: Array, out: Array | None = None) -> Array:
    """Carry out a contraction, into `out` (contiguous) where the plan allows it."""
    left, right = (b, a) if plan.swap else (a, b)
    if plan.sum_left:
        left = left.sum(plan.sum_left)
    if plan.sum_right:
        right = right.sum(plan.sum_right)
    left = left.transpose(plan.order_left)
    right = right.transpose(plan.order_right)
    s = plan.stack
    stack = left.shape[:s]
    cut = s + (plan.contracted if plan.turn_left else plan.free_left)
    contracted, rows = left.shape[s:cut], left.shape[cut:]
    if not plan.turn_left:
        contracted, rows = rows, contracted
    cut = s + (plan.free_right if plan.turn_right else plan.contracted)
    columns = right.shape[s:cut] if plan.turn_right else right.shape[cut:]
    m, k, n = prod(rows), prod(contracted), prod(columns)
    left = _as_matrices(left, stack, m, k, plan.turn_left)
    right = _as_matrices(right, stack, k, n, plan.turn_right)
    target = None
    if out is not None and plan.order_out is None:
        target = out.reshape(*stack, m, n)
    if plan.contracted:
        product = np.matmul(left, right, out=target)
    else:
        product = np.multiply(left, right, out=target)  # 3-5 times as fast as BLAS with k = 1
    product = product.reshape(stack + rows + columns)
    return product if plan.order_out is None else product.transpose(plan.order_out)


def _as_matrices(x: Array, stack: Shape, m: int, n: int, turned: bool) -> Array:
    if turned:
        return x.reshape(*stack, n, m).swapaxes(-1, -2)
    return x.reshape(*stack, m, n)


# Matrix product


class _Product(NamedTuple):
    """A matrix product and its two gradients.

    Axes of length 1 that stretch to a longer axis of the other operand are left out (`ones_a`,
    `ones_b`): the contractions then sum over that axis by themselves.
    """

    ones_a: tuple[int, ...]
    ones_b: tuple[int, ...]
    forward: _Contraction
    to_a: _Contraction
    to_b: _Contraction


@lru_cache(maxsize=4096)
def _product(a: Shape, b: Shape, rows_a: bool, rows_b: bool) -> _Product:
    """Plan the product of operands of these example shapes, with or without a row axis."""
    stack_a, stack_b = a[:-2], b[:-2]
    depth = max(len(stack_a), len(stack_b))
    stack = string.ascii_lowercase[:depth]
    name_a, ones_a = _stack_letters(stack_a, stack_b, stack, rows_a)
    name_b, ones_b = _stack_letters(stack_b, stack_a, stack, rows_b)
    name_a += "K" if len(a) == 1 else "MK"
    name_b += "K" if len(b) == 1 else "KN"
    out = (_ROW if rows_a or rows_b else "") + stack
    out += ("M" if len(a) > 1 else "") + ("N" if len(b) > 1 else "")
    return _Product(
        ones_a,
        ones_b,
        _contraction(name_a, name_b, out),
        _contraction(out, name_b, name_a),
        _contraction(out, name_a, name_b),
    )


def _stack_letters(own: Shape, other: Shape, stack: str, rows: bool) -> tuple[str, tuple[int, ...]]:
    letters = _ROW if rows else ""
    ones = []
    for i, n in enumerate(own):
        from_end = len(own) - i
        facing = other[-from_end] if from_end <= len(other) else n
        if n == 1 != facing:
            ones.append(i + rows)
        else:
            letters += stack[-from_end]
    return letters, tuple(ones)


def _plan_of(a: Array, b: Array, shared_a: bool, shared_b: bool) -> _Product:
    return _product(
        a.shape if shared_a else a.shape[1:],
        b.shape if shared_b else b.shape[1:],
        not shared_a,
        not shared_b,
    )


def _multiply(a: Array, b: Array, shared_a: bool, shared_b: bool, out: Array | None) -> Array:
    """The product, without a row axis (and not in `out`) where both operands are shared."""
    if shared_a and not shared_b and a.ndim == b.ndim == 2:
        return np.matmul(b, a.T, out=out)  # the usual W @ x, without the detour over a plan
    plan = _plan_of(a, b, shared_a, shared_b)
    if shared_a and shared_b:
        out = None
    return _contract(plan.forward, np.squeeze(a, plan.ones_a), np.squeeze(b, plan.ones_b), out)


def _gradients(
    dy: Array, a: Array, b: Array, shared: tuple[bool, ...], needs: tuple[bool, ...]
) -> tuple[Array | None, Array | None]:
    shared_a, shared_b = shared
    if shared_a and not shared_b and a.ndim == b.ndim == 2:
        return dy.T @ b if needs[0] else None, dy @ a if needs[1] else None
    plan = _plan_of(a, b, shared_a, shared_b)
    if shared_a and shared_b:
        dy = _sum_rows(dy)
    da = db = None
    if needs[0]:
        da = _contract(plan.to_a, dy, np.squeeze(b, plan.ones_b)).reshape(a.shape)
    if needs[1]:
        db = _contract(plan.to_b, dy, np.squeeze(a, plan.ones_a)).reshape(b.shape)
    return da, db


def _product_shape(op: Op, a: Shape, b: Shape) -> Shape:
    if not a or not b:
        raise op.fail("both operands need at least one axis", "use * to multiply by a scalar", a, b)
    inner = b[0] if len(b) == 1 else b[-2]
    if a[-1] != inner:
        raise op.fail(
            f"the last axis of the first operand ({a[-1]}) must be as long as the "
            f"{'only' if len(b) == 1 else 'second-last'} axis of the second ({inner})",
            "transpose one with .T, or swap them",
            a,
            b,
        )
    try:
        stack = np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        raise op.fail(
            f"the axes before the last two, {a[:-2]} and {b[:-2]}, must be equal or 1",
            "reshape one of them",
            a,
            b,
        ) from None
    return (*stack, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))


@dataclass(frozen=True)
class Matmul(Op):
    """y = a @ b: da = dy b^T, db = a^T dy.

    Source: Giles (2008), "Collected matrix derivative results for forward and reverse mode
    algorithmic differentiation", section 2.2.2.
    """

    shares = True
    reads_y = False

    def shape(self, a: Shape, b: Shape) -> Shape:
        return _product_shape(self, a, b)

    def forward(self, call: Call, a: Array, b: Array) -> Array:
        y = _multiply(a, b, *call.shared, call.out)
        return np.broadcast_to(y, (call.rows, *y.shape)) if all(call.shared) else y

    def backward(self, call: Call, dy: Array, y: Array, a: Array, b: Array) -> Any:
        return _gradients(dy, a, b, call.shared, call.needs)


_MATMUL = Matmul()


def matmul(a: Any, b: Any) -> Expression:
    """Matrix product ``a @ b`` by NumPy's rules on the shapes of one example.

    Args:
        a: Vector ``(k,)``, matrix ``(m, k)`` or stack ``(..., m, k)``; an array becomes a constant.
        b: Vector ``(k,)``, matrix ``(k, n)`` or stack ``(..., k, n)``.

    Returns:
        ``(..., m, n)``, without m where `a` is a vector and without n where `b` is. A parameter
        is multiplied once with the rows of the whole batch.

    Raises:
        ShapeError: If the shapes do not go together, or one operand is a scalar.
        ArgumentError: For numbers.

    >>> import lazynet as ln
    >>> ln.matmul(ln.constant([[1, 2], [3, 4]]), ln.constant([1, 1])).value().tolist()
    [3.0, 7.0]
    """
    if not (isinstance(a, Expression) and isinstance(b, Expression)):
        a, b = _operands((a, b), "matmul")
    return record(_MATMUL, (a, b))  # type: ignore[no-any-return]


def dot(a: Any, b: Any) -> Expression:
    """Scalar product of two vectors: ``sum_k a_k b_k``.

    Args:
        a: Vector ``(k,)``.
        b: Vector ``(k,)``.

    Returns:
        A scalar.

    Raises:
        ShapeError: If they are not vectors of one length.

    >>> import lazynet as ln
    >>> ln.dot(ln.constant([1, 2]), ln.constant([3, 4])).value()
    11.0
    """
    a, b = _operands((a, b), "dot")
    if len(a.shape) != 1 or a.shape != b.shape:
        raise ShapeError(
            f"dot: got {a.shape}, {b.shape}; both must be vectors of the same length; use @ for "
            "matrices, or ln.sum(a * b) for other shapes"
        )
    return record(_MATMUL, (a, b))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Outer(Op):
    """y_ij = a_i b_j"""

    shares = True
    reads_y = False

    def shape(self, a: Shape, b: Shape) -> Shape:
        if len(a) != 1 or len(b) != 1:
            raise self.fail("both arguments must be vectors", "reshape them to one axis", a, b)
        return a + b

    def forward(self, call: Call, a: Array, b: Array) -> Array:
        return np.multiply(a[..., :, None], b[..., None, :], out=call.out)

    def backward(self, call: Call, dy: Array, y: Array, a: Array, b: Array) -> Any:
        name_a, name_b = _row_letters("i", "j", call.shared)
        da = _contract(_contraction("0ij", name_b, name_a), dy, b) if call.needs[0] else None
        db = _contract(_contraction("0ij", name_a, name_b), dy, a) if call.needs[1] else None
        return da, db


_OUTER = Outer()


def outer(a: Any, b: Any) -> Expression:
    """Outer product of two vectors.

    Args:
        a: Vector ``(m,)``.
        b: Vector ``(n,)``.

    Returns:
        Matrix ``(m, n)``.

    Raises:
        ShapeError: If they are not vectors.

    >>> import lazynet as ln
    >>> ln.outer(ln.constant([1, 2]), ln.constant([3, 4])).value().tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    return record(_OUTER, _operands((a, b), "outer"))  # type: ignore[no-any-return]


# Affine map


@dataclass(frozen=True)
class Affine(Op):
    """y = b + W_1 x_1 + W_2 x_2 + ..."""

    shares = True
    reads_y = False

    def shape(self, *shapes: Shape) -> Shape:
        bias = shapes[0]
        results = []
        for weight, x in zip(shapes[1::2], shapes[2::2]):
            if len(weight) != 2 or len(x) not in (1, 2):
                raise self.fail(
                    "each W must be a matrix and each x a vector or a matrix",
                    "use @ for stacks",
                    W=weight,
                    x=x,
                )
            results.append(_product_shape(self, weight, x))
        first = results[0]
        if any(r != first for r in results):
            raise self.fail(
                f"all products W @ x must have one shape, here {', '.join(map(str, results))}",
                "check the rows of each W, and that the x are all vectors or all matrices",
                *shapes,
            )
        if bias != first and bias != first[:1]:
            raise self.fail(
                f"the bias must have the shape of W @ x, {first}"
                + (f", or be its column {first[:1]}" if len(first) == 2 else ""),
                "reshape it",
                b=bias,
            )
        return first

    def forward(self, call: Call, b: Array, *pairs: Array) -> Array:
        shared, y = call.shared, call.out
        for i in range(0, len(pairs), 2):
            target = None if i else y
            product = _multiply(pairs[i], pairs[i + 1], shared[i + 1], shared[i + 2], target)
            if i:
                y += product
            elif product is not y:
                y[...] = product
        y += _stretch(b, shared[0], y.ndim)
        return y

    def backward(self, call: Call, dy: Array, y: Array, b: Array, *pairs: Array) -> Any:
        shared, needs = call.shared, call.needs
        db = None
        if needs[0]:
            column = dy.ndim == 3 and b.ndim + shared[0] == 2
            db = dy.sum(2) if column else dy
            db = _sum_rows(db) if shared[0] else db
        result = [db]
        for i in range(1, len(shared), 2):
            both = slice(i, i + 2)
            result += _gradients(dy, pairs[i - 1], pairs[i], shared[both], needs[both])
        return tuple(result)


def _stretch(b: Array, shared: bool, ndim: int) -> Array:
    """The bias with the axes it lacks, so that it broadcasts along the columns."""
    return b[..., None] if ndim == 3 and b.ndim + shared == 2 else b


def _sum_rows(x: Array) -> Array:
    """Sum over axis 0, as a product with ones: half the time of np.sum at (5000, 200) float32."""
    flat = x.reshape(len(x), int(np.prod(x.shape[1:])))
    return (np.ones(len(x), x.dtype) @ flat).reshape(x.shape[1:])


_AFFINE = Affine()


def affine(b: Any, *pairs: Any) -> Expression:
    """Affine map ``b + W @ x + W2 @ x2 + ...`` as one node.

    Args:
        b: Bias ``(m,)``. Where the x are matrices it is added to each column; there it may also
            be ``(m, n)``.
        *pairs: ``W, x, W2, x2, ...``: matrices ``(m, k)``, each followed by its vector ``(k,)`` or
            matrix ``(k, n)``, whose columns are mapped. The k may differ.

    Returns:
        ``(m,)``, or ``(m, n)`` for matrices.

    Raises:
        ShapeError: If the shapes do not go together.
        ArgumentError: If a W lacks its x.

    >>> import lazynet as ln
    >>> W = ln.constant([[1, 2], [3, 4]])
    >>> ln.affine(ln.constant([10, 20]), W, ln.constant([1, 1])).value().tolist()
    [13.0, 27.0]
    """
    if not pairs or len(pairs) % 2:
        raise ArgumentError(
            f"affine: got a bias and {len(pairs)} more arguments; it takes b, W, x, and further "
            "pairs W2, x2; add what is missing"
        )
    args = (b, *pairs)
    for a in args:
        if not isinstance(a, Expression):
            args = tuple(_operands(args, "affine"))
            break
    return record(_AFFINE, args)  # type: ignore[no-any-return]


# Einstein summation


def _row_letters(a: str, b: str, shared: tuple[bool, ...]) -> tuple[str, str]:
    return a if shared[0] else _ROW + a, b if shared[1] else _ROW + b


@dataclass(frozen=True)
class Einsum(Op):
    """y_out = sum over the letters that out lacks of a_left b_right"""

    left: str
    right: str
    out: str
    shares = True
    reads_y = False

    @property
    def _formula(self) -> str:
        return f"'{self.left},{self.right}->{self.out}'"

    def shape(self, a: Shape, b: Shape) -> Shape:
        sizes: dict[str, int] = {}
        for letters, shape in ((self.left, a), (self.right, b)):
            if len(letters) != len(shape):
                raise self.fail(
                    f"in {self._formula}, '{letters}' names {len(letters)} axes of the argument "
                    f"of shape {shape}",
                    "name each axis with one letter",
                    a,
                    b,
                )
            for letter, n in zip(letters, shape):
                if sizes.setdefault(letter, n) != n:
                    raise self.fail(
                        f"in {self._formula}, axes named '{letter}' have lengths "
                        f"{sizes[letter]} and {n}; they must be equal",
                        "use different letters, or reshape",
                        a,
                        b,
                    )
        return tuple(sizes[letter] for letter in self.out)

    def forward(self, call: Call, a: Array, b: Array) -> Array:
        left, right = _row_letters(self.left, self.right, call.shared)
        if all(call.shared):
            y = _contract(_contraction(left, right, self.out), a, b)
            return np.broadcast_to(y, (call.rows, *y.shape))
        return _contract(_contraction(left, right, _ROW + self.out), a, b, call.out)

    def backward(self, call: Call, dy: Array, y: Array, a: Array, b: Array) -> Any:
        left, right = _row_letters(self.left, self.right, call.shared)
        da = _einsum_gradient(dy, self.out, left, right, a, b) if call.needs[0] else None
        db = _einsum_gradient(dy, self.out, right, left, b, a) if call.needs[1] else None
        return da, db


def _einsum_gradient(dy: Array, out: str, own: str, other: str, x: Array, factor: Array) -> Array:
    out = _ROW + out
    known = "".join(c for c in own if c in out or c in other)
    dx = _contract(_contraction(out, other, known), dy, factor)
    if known != own:  # axes that were only summed over: every entry gets the same
        lost = tuple(i for i, c in enumerate(own) if c not in known)
        dx = np.broadcast_to(np.expand_dims(dx, lost), x.shape)
    return dx


@lru_cache(maxsize=1024)
def _parse(subscripts: str) -> Einsum:
    compact = subscripts.replace(" ", "")
    inputs, arrow, out = compact.partition("->")
    operands = inputs.split(",")

    def refuse(rule: str, remedy: str) -> ArgumentError:
        return ArgumentError(f"einsum: got {subscripts!r}; {rule}; {remedy}")

    if len(operands) != 2:
        raise refuse(
            f"it names {len(operands)} operands, and takes two",
            "write 'axes of a,axes of b->axes of the result'",
        )
    letters = set(inputs) | set(out)
    if not letters - {","} <= set(string.ascii_letters):
        raise refuse(
            "axes must be single letters",
            "name every axis of one example; the batch is not among them, and '...' is not taken",
        )
    left, right = operands
    for operand in operands:
        if len(set(operand)) != len(operand):
            raise refuse(f"'{operand}' repeats a letter", "take the ln.trace of that operand first")
    if not arrow:
        out = "".join(sorted(c for c in left + right if (left + right).count(c) == 1))
    if len(set(out)) != len(out):
        raise refuse(f"the result '{out}' repeats a letter", "name each axis once")
    missing = [c for c in out if c not in left + right]
    if missing:
        raise refuse(
            f"the result names '{missing[0]}', which no operand has", "take it from an operand"
        )
    return Einsum(left, right, out)


def einsum(subscripts: str, a: Any, b: Any) -> Expression:
    """Einstein summation over two operands: ``ln.einsum("ij,j->i", W, x)``.

    Args:
        subscripts: One letter per axis of one example of each operand, and of the result. Letters
            that the result lacks are summed over. Without ``->``, the result has the letters that
            occur once, in alphabetical order, as in NumPy.
        a: First operand.
        b: Second operand.

    Returns:
        An expression with the axes named after ``->``.

    Raises:
        ArgumentError: For subscripts that are not of this form; ellipses and letters repeated
            within one operand are refused.
        ShapeError: If letters and shapes do not go together.

    >>> import lazynet as ln
    >>> a = ln.constant([[1, 2], [3, 4]])
    >>> ln.einsum("ij,i->j", a, ln.constant([1, 1])).value().tolist()
    [4.0, 6.0]
    """
    if not isinstance(subscripts, str):
        raise ArgumentError(
            f"einsum: got {type(subscripts).__name__} first; the subscripts come first, as in "
            "ln.einsum('ij,j->i', a, b)"
        )
    op = _parse(subscripts)
    return record(op, same_dtype_expressions((a, b), "einsum"))  # type: ignore[no-any-return]


# Square matrices


def _square(op: Op, x: Shape) -> Shape:
    if len(x) != 2 or x[0] != x[1]:
        raise op.fail(
            "the argument must be a square matrix",
            "for a stack of them, make the stack the batch",
            x,
        )
    return x


@dataclass(frozen=True)
class Inverse(Op):
    """y = x^-1: dx = -y^T dy y^T.

    Source: Giles (2008), section 2.2.3.
    """

    reads_args = False

    def shape(self, x: Shape) -> Shape:
        return _square(self, x)

    def forward(self, call: Call, x: Array) -> Array:
        return np.linalg.inv(x)

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        transposed = y.swapaxes(1, 2)
        return np.negative(transposed @ dy @ transposed)


_INVERSE = Inverse()


def inverse(x: Any) -> Expression:
    """Inverse of a square matrix.

    Args:
        x: Matrix ``(n, n)``.

    Returns:
        Matrix ``(n, n)``.

    Raises:
        ShapeError: If it is not a square matrix.
        EvaluationError: When computed, if a matrix of the batch is singular.

    >>> import lazynet as ln
    >>> ln.inverse(ln.constant([[2, 0], [0, 4]])).value().tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    return record(_INVERSE, (as_expression(x, "inverse"),))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Logdet(Op):
    """y = log |det x|: dx = dy x^-T.

    Source: Giles (2008), section 2.2.4.
    """

    reads_y = False

    def shape(self, x: Shape) -> Shape:
        _square(self, x)
        return ()

    def forward(self, call: Call, x: Array) -> Array:
        sign, value = np.linalg.slogdet(x)
        if np.any(sign == 0):
            raise np.linalg.LinAlgError("Singular matrix")
        return value  # type: ignore[no-any-return]

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        return dy[:, None, None] * np.linalg.inv(x).swapaxes(1, 2)


_LOGDET = Logdet()


def logdet(x: Any) -> Expression:
    """Logarithm of the absolute determinant of a square matrix, in nats.

    Args:
        x: Matrix ``(n, n)``. The sign of the determinant does not enter: a matrix with a negative
            determinant has the value of one with the positive.

    Returns:
        A scalar.

    Raises:
        ShapeError: If it is not a square matrix.
        EvaluationError: When computed, if a matrix of the batch is singular.

    >>> import lazynet as ln
    >>> round(ln.logdet(ln.constant([[2.0, 0.0], [0.0, 3.0]])).value(), 4)
    1.7918
    """
    return record(_LOGDET, (as_expression(x, "logdet"),))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Trace(Op):
    """y = sum_i x_ii"""

    n: int
    reads_args = False
    reads_y = False

    def shape(self, x: Shape) -> Shape:
        _square(self, x)
        return ()

    def forward(self, call: Call, x: Array) -> Array:
        return np.trace(x, axis1=1, axis2=2)  # type: ignore[no-any-return]

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        return dy[:, None, None] * np.eye(self.n, dtype=dy.dtype)


def trace(x: Any) -> Expression:
    """Sum of the diagonal of a square matrix.

    Args:
        x: Matrix ``(n, n)``.

    Returns:
        A scalar.

    Raises:
        ShapeError: If it is not a square matrix.

    >>> import lazynet as ln
    >>> ln.trace(ln.constant([[1, 2], [3, 4]])).value()
    5.0
    """
    x = as_expression(x, "trace")
    return record(Trace(x.shape[0] if x.shape else 0), (x,))  # type: ignore[no-any-return]


HOOKS.matmul = matmul

__all__ = ["affine", "dot", "einsum", "inverse", "logdet", "matmul", "outer", "trace"]
