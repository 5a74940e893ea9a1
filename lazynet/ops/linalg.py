"""Linear algebra: products of vectors, matrices and stacks of them, inverse, determinant, trace."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lazynet.errors import ArgumentError, ShapeError
from lazynet.graph import Expression, known, record
from lazynet.inputs import as_expression
from lazynet.kinds import HOOKS, Array, Call, Op, Printed, Shape
from lazynet.ops import cuda_linalg
from lazynet.ops.contraction import (
    ROW,
    added_product,
    affine_map_of_halves,
    contract,
    contraction,
    multiply,
    product_gradients,
    product_of_halves,
    sum_rows,
)
from lazynet.ops.elementwise import ready
from lazynet.ops.shape import same_dtype_expressions


def _operands(xs: Sequence[Any], role: str) -> list[Expression]:
    for x in xs:
        if isinstance(x, (bool, int, float, complex, np.number, np.bool_)):
            raise ArgumentError(
                f"{role}: got the number {x!r}; operands must be vectors, matrices or stacks; "
                "use * to multiply by a number"
            )
    return same_dtype_expressions(xs, role)


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
        y = multiply(a, b, call.shared[0], call.shared[1], call.out)
        return np.broadcast_to(y, (call.rows, *y.shape)) if all(call.shared) else y

    def backward(self, call: Call, dy: Array, y: Array, a: Array, b: Array) -> Any:
        return product_gradients(dy, a, b, call.shared, call.needs)

    def halves(self, shapes: list[Shape], shared: tuple[bool, ...]) -> Callable[..., bool] | None:
        usual = shared == (True, False) and [len(s) for s in shapes] == [2, 1]
        return product_of_halves if usual else None

    def printed(self, shapes: list[Shape], shared: tuple[bool, ...]) -> Printed | None:
        if shared != (True, False) or [len(s) for s in shapes] != [2, 1]:
            return None
        return Printed(("dot({1}, {0}.T, {out})",), ("dot({dy}.T, {1})", "dot({dy}, {0}, {to})"))


_MATMUL = HOOKS.product = ready(Matmul())


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
    return record(_MATMUL, (a, b))


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
    if not (isinstance(a, Expression) and isinstance(b, Expression)):
        a, b = _operands((a, b), "dot")
    if len(a.shape) != 1 or a.shape != b.shape:
        raise ShapeError(
            f"dot: got {a.shape}, {b.shape}; both must be vectors of the same length; use @ for "
            "matrices, or ln.sum(a * b) for other shapes"
        )
    return record(_MATMUL, (a, b))


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
        y: Array = np.multiply(a[..., :, None], b[..., None, :], out=call.out)
        return y

    def backward(self, call: Call, dy: Array, y: Array, a: Array, b: Array) -> Any:
        name_a, name_b = _row_letters("i", "j", call.shared)
        da = contract(contraction("0ij", name_b, name_a), dy, b) if call.needs[0] else None
        db = contract(contraction("0ij", name_a, name_b), dy, a) if call.needs[1] else None
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
    return record(_OUTER, _operands((a, b), "outer"))


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
        y = self.products(call, *pairs)
        y += _stretch(b, call.shared[0], y.ndim)
        return y

    def halves(self, shapes: list[Shape], shared: tuple[bool, ...]) -> Callable[..., bool] | None:
        # of several products the sum would be rounded after each
        usual = shared[1:] == (True, False) and [len(s) for s in shapes] == [1, 2, 1]
        return affine_map_of_halves if usual else None

    def products(self, call: Call, *pairs: Array) -> Array:
        """The sum of the products, in the place of the result."""
        shared = call.shared
        y: Array = call.out
        for i in range(0, len(pairs), 2):
            target = None if i else y
            if i and added_product(y, pairs[i], pairs[i + 1], shared[i + 1 : i + 3]):
                continue
            product = multiply(pairs[i], pairs[i + 1], shared[i + 1], shared[i + 2], target)
            if i:
                y += product
            elif product is not y:
                y[...] = product
        return y

    def backward(self, call: Call, dy: Array, y: Array, b: Array, *pairs: Array) -> Any:
        shared, needs = call.shared, call.needs
        db = None
        if needs[0]:
            column = dy.ndim == 3 and b.ndim + shared[0] == 2
            db = dy.sum(2) if column else dy
            db = sum_rows(db) if shared[0] else db
        result = [db]
        for i in range(1, len(shared), 2):
            both = slice(i, i + 2)
            result += product_gradients(dy, pairs[i - 1], pairs[i], shared[both], needs[both])
        return tuple(result)

    def printed(self, shapes: list[Shape], shared: tuple[bool, ...]) -> Printed | None:
        pairs = len(shapes) // 2
        if (
            shared != (True, *(True, False) * pairs)
            or [len(s) for s in shapes[1:]] != [2, 1] * pairs
        ):
            return None
        if len(shapes[0]) != 1:
            return None
        forward = ["dot({2}, {1}.T, {out})"]
        derivatives = ["{dy}.sum(0)"]
        for i in range(1, len(shapes), 2):
            derivatives += [f"dot({{dy}}.T, {{{i + 1}}})", f"dot({{dy}}, {{{i}}}, {{to}})"]
            if i > 1:
                forward.append(f"add({{out}}, dot({{{i + 1}}}, {{{i}}}.T), {{out}})")
        return Printed((*forward, "add({out}, {0}, {out})"), tuple(derivatives))


def _stretch(b: Array, shared: bool, ndim: int) -> Array:
    """The bias with the axes it lacks, so that it broadcasts along the columns."""
    return b[..., None] if ndim == 3 and b.ndim + shared == 2 else b


_AFFINE = ready(Affine())


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
    args = (b, *pairs)
    fast: Expression | None = known(_AFFINE, args)
    if fast is not None:
        return fast
    if not pairs or len(pairs) % 2:
        raise ArgumentError(
            f"affine: got a bias and {len(pairs)} more arguments; it takes b, W, x, and further "
            "pairs W2, x2; add what is missing"
        )
    for a in args:
        if not isinstance(a, Expression):
            args = tuple(_operands(args, "affine"))
            break
    return record(_AFFINE, args)


# Einstein summation


def _row_letters(a: str, b: str, shared: tuple[bool, ...]) -> tuple[str, str]:
    return a if shared[0] else ROW + a, b if shared[1] else ROW + b


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
            y = contract(contraction(left, right, self.out), a, b)
            return np.broadcast_to(y, (call.rows, *y.shape))
        return contract(contraction(left, right, ROW + self.out), a, b, call.out)

    def backward(self, call: Call, dy: Array, y: Array, a: Array, b: Array) -> Any:
        left, right = _row_letters(self.left, self.right, call.shared)
        da = _einsum_gradient(dy, self.out, left, right, a, b) if call.needs[0] else None
        db = _einsum_gradient(dy, self.out, right, left, b, a) if call.needs[1] else None
        return da, db


def _einsum_gradient(dy: Array, out: str, own: str, other: str, x: Array, factor: Array) -> Array:
    out = ROW + out
    known = "".join(c for c in own if c in out or c in other)
    dx = contract(contraction(out, other, known), dy, factor)
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
    return record(op, same_dtype_expressions((a, b), "einsum"))


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
        if type(x) is not np.ndarray:
            return cuda_linalg.inverse(x, call.out)
        return np.linalg.inv(x)

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        transposed = y.swapaxes(1, 2)
        if type(y) is not np.ndarray:
            return np.negative(transposed) @ dy @ transposed
        dx: Array = np.negative(transposed @ dy @ transposed)
        return dx


_INVERSE = Inverse()


def inverse(x: Any) -> Expression:
    """Inverse of a square matrix.

    Args:
        x: Matrix ``(n, n)``.

    Returns:
        Matrix ``(n, n)``.

    Raises:
        ShapeError: If it is not a square matrix.
        EvaluationError: When computed, if a matrix of the batch is singular (on a GPU the result
            is not finite instead).

    >>> import lazynet as ln
    >>> ln.inverse(ln.constant([[2, 0], [0, 4]])).value().tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    return record(_INVERSE, (as_expression(x, "inverse"),))


@dataclass(frozen=True)
class Logdet(Op):
    """y = log |det x|: dx = dy x^-T. With `signed` log det x, no number where that is negative.

    Source: Giles (2008), section 2.2.4.
    """

    signed: bool = False
    reads_y = False

    def shape(self, x: Shape) -> Shape:
        _square(self, x)
        return ()

    def forward(self, call: Call, x: Array) -> Array:
        if type(x) is not np.ndarray:
            return cuda_linalg.logdet(call, x, self.signed)
        sign, value = np.linalg.slogdet(x)
        if np.any(sign == 0):
            raise np.linalg.LinAlgError("Singular matrix")
        if self.signed:
            value[sign < 0] = np.nan
        return value  # type: ignore[no-any-return]

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        if type(x) is not np.ndarray:
            return dy[:, None, None] * cuda_linalg.inverse(x).swapaxes(1, 2)
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
        EvaluationError: When computed, if a matrix of the batch is singular (on a GPU the result
            is not finite instead).

    >>> import lazynet as ln
    >>> round(ln.logdet(ln.constant([[2.0, 0.0], [0.0, 3.0]])).value(), 4)
    1.7918
    """
    return record(_LOGDET, (as_expression(x, "logdet"),))


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
        if type(dy) is not np.ndarray:
            return cuda_linalg.diagonal(dy, self.n)
        dx: Array = dy[:, None, None] * np.eye(self.n, dtype=dy.dtype)
        return dx


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
    return record(Trace(x.shape[0] if x.shape else 0), (x,))


HOOKS.matmul = matmul

__all__ = ["affine", "dot", "einsum", "inverse", "logdet", "matmul", "outer", "trace"]
