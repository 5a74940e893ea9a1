"""Inner products, square matrices, contractions of tensors."""

from __future__ import annotations

from typing import Any

import lazynet.ops as ops
from lazynet.dynet.common import misfit
from lazynet.dynet.expression import Expression, checked, reshaped, show, two, wrap
from lazynet.errors import ShapeError
from lazynet.graph import Expression as Node
from lazynet.graph import unary
from lazynet.ops.elementwise import ready
from lazynet.ops.linalg import Logdet
from lazynet.ops.products import Inner, inner

_INNER = ready(Inner())
_LOGDET = ready(Logdet(signed=True))


def dot_product(x: Expression | Any, y: Expression | Any) -> Expression:
    """The sum of the products of all elements, sum_i x_i y_i.

    Args:
        x: Any dimensions.
        y: The same dimensions.

    Returns:
        A scalar.

    Raises:
        ValueError: If the dimensions differ.
    """
    if isinstance(x, Expression) and isinstance(y, Expression):
        found = two(_INNER, x, y)
        if found is not None:
            return found
    a, b = checked(x, "dot_product").node, checked(y, "dot_product").node
    try:
        return wrap(inner(a, b))
    except ShapeError as error:
        raise misfit("dot_product", error, x, y) from None


def trace_of_product(x: Expression | Any, y: Expression | Any) -> Expression:
    """The trace of x y^T, which is the sum of the products of all elements.

    Args:
        x: Vector or matrix.
        y: The same dimensions.

    Returns:
        A scalar.

    Raises:
        ValueError: If the dimensions differ, or are more than two.
    """
    a, b = checked(x, "trace_of_product").node, checked(y, "trace_of_product").node
    if a.ndim > 2:
        raise ShapeError(f"trace_of_product: got {show(x)}; it takes matrices")
    try:
        return wrap(inner(a, b))
    except ShapeError as error:
        raise misfit("trace_of_product", error, x, y) from None


def inverse(x: Expression | Any) -> Expression:
    """The inverse of a square matrix.

    Args:
        x: Dimensions (n, n).

    Raises:
        ValueError: If it is not square. When computed, an error if it is singular.
    """
    node = checked(x, "inverse").node
    if node.shape == (1,):
        return wrap(1 / node)
    try:
        return wrap(ops.inverse(node))
    except ShapeError as error:
        raise misfit("inverse", error, x) from None


def logdet(x: Expression | Any) -> Expression:
    """The logarithm of the determinant of a square matrix; NaN where that is negative.

    Args:
        x: Dimensions (n, n).

    Returns:
        A scalar.

    Raises:
        ValueError: If it is not square. When computed, an error if it is singular.
    """
    node = checked(x, "logdet").node
    if node.shape == (1,):
        return wrap(ops.log(node))
    try:
        return wrap(reshaped(unary(_LOGDET, node), (1,)))
    except ShapeError as error:
        raise misfit("logdet", error, x) from None


def contract3d_1d(x: Expression | Any, y: Expression | Any) -> Expression:
    """A tensor times a vector: z_ij = sum_k x_ijk y_k.

    Args:
        x: Dimensions (m, n, p).
        y: Dimensions (p,).

    Returns:
        An expression of dimensions (m, n).

    Raises:
        ValueError: If the dimensions are others.
    """
    return wrap(_contracted(x, y, "contract3d_1d"))


def contract3d_1d_bias(x: Expression | Any, y: Expression | Any, b: Expression | Any) -> Expression:
    """A tensor times a vector, and a bias: z_ij = b_ij + sum_k x_ijk y_k.

    Args:
        x: Dimensions (m, n, p).
        y: Dimensions (p,).
        b: Dimensions (m, n).

    Returns:
        An expression of dimensions (m, n).

    Raises:
        ValueError: If the dimensions are others.
    """
    name = "contract3d_1d_bias"
    node = _contracted(x, y, name)
    return wrap(_biased(node, b, name, x, y))


def contract3d_1d_1d(x: Expression | Any, y: Expression | Any, z: Expression | Any) -> Expression:
    """A tensor times two vectors: t_i = sum_jk x_ijk z_j y_k.

    Args:
        x: Dimensions (m, n, p).
        y: Dimensions (p,).
        z: Dimensions (n,).

    Returns:
        An expression of dimensions (m,).

    Raises:
        ValueError: If the dimensions are others.
    """
    name = "contract3d_1d_1d"
    return wrap(_contracted_twice(x, y, z, name))


def contract3d_1d_1d_bias(
    x: Expression | Any, y: Expression | Any, z: Expression | Any, b: Expression | Any
) -> Expression:
    """A tensor times two vectors, and a bias: t_i = b_i + sum_jk x_ijk z_j y_k.

    Args:
        x: Dimensions (m, n, p).
        y: Dimensions (p,).
        z: Dimensions (n,).
        b: Dimensions (m,).

    Returns:
        An expression of dimensions (m,).

    Raises:
        ValueError: If the dimensions are others.
    """
    name = "contract3d_1d_1d_bias"
    node = _contracted_twice(x, y, z, name)
    return wrap(_biased(node, b, name, x, y, z))


def _contracted(x: Expression | Any, y: Expression | Any, name: str) -> Node:
    a, b = checked(x, name).node, checked(y, name).node
    if len(a.shape) != 3 or b.shape not in (a.shape[2:], (a.shape[2], 1)):
        raise ShapeError(
            f"{name}: got {show(x)} and {show(y)}; it takes a tensor of three dimensions, and a "
            "vector as long as the last of them"
        )
    try:
        return ops.matmul(a, b if len(b.shape) == 1 else reshaped(b, b.shape[:1]))
    except ShapeError as error:
        raise misfit(name, error, x, y) from None


def _contracted_twice(
    x: Expression | Any, y: Expression | Any, z: Expression | Any, name: str
) -> Node:
    node, c = _contracted(x, y, name), checked(z, name).node
    try:
        if c.shape == node.shape[1:]:
            return ops.matmul(node, c)
    except ShapeError as error:
        raise misfit(name, error, x, y, z) from None
    raise ShapeError(
        f"{name}: got {show(x)}, {show(y)} and {show(z)}; the third must be a vector as long as "
        "the second dimension of the first"
    )


def _biased(node: Node, b: Expression | Any, name: str, *xs: Expression | Any) -> Node:
    bias = checked(b, name).node
    try:
        if bias.shape == node.shape:
            return node + bias
    except ShapeError as error:
        raise misfit(name, error, *xs, b) from None
    raise ShapeError(
        f"{name}: got {', '.join(map(show, xs))} and the bias {show(b)}; it must have the "
        f"dimensions of the result, {node.shape}"
    )
