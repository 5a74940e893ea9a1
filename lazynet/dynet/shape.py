"""Other shapes, and the flow of gradients."""

from __future__ import annotations

from math import prod
from typing import Any

from lazynet.dynet.arguments import natural, real, whole
from lazynet.dynet.config import checked_device
from lazynet.dynet.expression import Expression, apply, checked, short, show, type_of, wrap
from lazynet.graph import unary
from lazynet.kinds import Op, Type, derived_table
from lazynet.ops.arithmetic import FLIP_GRADIENT, SCALE_GRADIENT, STOP_GRADIENT
from lazynet.ops.columns import reshape_columns, reshape_op
from lazynet.ops.elementwise import ready
from lazynet.ops.shape import Reshape, Transpose

_RESHAPES: dict[tuple[Type, tuple[int, ...]], Op] = derived_table()
_TRANSPOSES: dict[tuple[Type, tuple[int, ...]], Op | None] = derived_table()
_MOST_DIMENSIONS = 7


def reshape(x: Expression, d: tuple[int, ...], batch_size: int = 1) -> Expression:
    """Another shape with the same elements, in column-major order, the batch being the slowest.

    Args:
        x: Any expression.
        d: The new dimensions.
        batch_size: Number of examples of the result; elements may move between the example and the
            batch. With 1, an expression whose examples have as many elements as `d` keeps its own.

    Returns:
        An expression of these dimensions.

    Raises:
        TypeError: If `d` is no tuple.
        ValueError: If the number of elements differs.
        OverflowError: If the batch size is negative.
    """
    t = type_of(checked(x, "reshape"))
    if type(d) is not tuple:
        raise TypeError(f"reshape: got {short(d)} for the dimensions; it takes a tuple")
    if batch_size == 1 and type(batch_size) is int:
        try:
            op = _RESHAPES[t, d]
        except (KeyError, TypeError):  # not met before, or no numbers
            pass
        else:
            return apply(op, x, "reshape")
    node = x.node
    d = tuple([whole(n, "reshape", "dimension") for n in d])
    size = prod(d)
    count = natural(batch_size, "reshape", "batch size") or 1
    own = node.batch or 1
    if count == 1 and size == node.size:
        count = own
    if size * count != node.size * own or min(d, default=1) < 0 or len(d) > _MOST_DIMENSIONS:
        raise ValueError(
            f"reshape: got {show(x)} and the target {d} with batch size {batch_size}; both must "
            f"have the same number of elements, and at most {_MOST_DIMENSIONS} dimensions of 0 or "
            "more"
        )
    d = d or (1,)
    if count == own and d != t.shape:
        _RESHAPES[t, d] = op = reshape_op(t.shape, d)
        return wrap(unary(op, node))
    return wrap(node if count == own else reshape_columns(node, d, count))


def transpose(x: Expression, dims: list[int] = [1, 0]) -> Expression:  # noqa: B006 - as in DyNet
    """The dimensions in another order.

    Args:
        x: A matrix, a vector (which becomes one row), or with `dims` anything.
        dims: For each dimension of the result, which one of `x` it is.

    Returns:
        The transpose.

    Raises:
        ValueError: If `dims` does not name every dimension once.
        OverflowError: If one is negative.
        TypeError: If it is no list of numbers.
    """
    t = type_of(checked(x, "transpose"))
    if type(dims) is not list:
        raise TypeError(f"transpose: got {short(dims)} for the dimensions; it takes a list")
    try:
        op = _TRANSPOSES[t, tuple(dims)]
    except (KeyError, TypeError):  # not met before, or no numbers
        op = _transpose_op(x, dims)
    return wrap(x.node) if op is None else apply(op, x, "transpose")


def _transpose_op(x: Expression, dims: list[Any]) -> Op | None:
    """The op of a transpose that was not met before; None where nothing changes."""
    order = tuple([natural(i, "transpose", "dimension") for i in dims])
    t = x.node.type
    shape = t.shape
    target = tuple([shape[i] if i < len(shape) else 1 for i in order])
    long = [n for n in shape if n != 1]
    op: Op | None
    if len(set(order)) == len(order) == len(shape) and max(order) < len(shape):
        op = ready(Transpose(order)) if order != tuple(range(len(shape))) else None
    elif len(long) == 1 and [n for n in target if n != 1] == long:  # a vector, in any direction
        op = ready(Reshape(shape, target))
    else:
        raise ValueError(
            f"transpose: got dims {dims} for {show(x)}; they must name each of its {len(shape)} "
            "dimensions once"
        )
    _TRANSPOSES[t, order] = op
    return op


def nobackprop(x: Expression) -> Expression:
    """The same value, through which no gradient flows.

    Args:
        x: Any expression.

    Returns:
        An expression of the same dimensions.
    """
    return apply(STOP_GRADIENT, x, "nobackprop")


def flip_gradient(x: Expression) -> Expression:
    """The same value, with the gradient times -1 (for adversarial training).

    Args:
        x: Any expression.

    Returns:
        An expression of the same dimensions.

    Source: Ganin and Lempitsky, Unsupervised domain adaptation by backpropagation, 2015.
    """
    return apply(FLIP_GRADIENT, x, "flip_gradient")


def scale_gradient(x: Expression, lambd: float = 1.0) -> Expression:
    """The same value, with the gradient times a factor.

    Args:
        x: Any expression.
        lambd: The factor; different ones are one batch.

    Returns:
        An expression of the same dimensions.

    Raises:
        TypeError: If the factor is no number.
        ValueError: If it is NaN.
    """
    node = checked(x, "scale_gradient").node
    return wrap(unary(SCALE_GRADIENT, node, real(lambd, "scale_gradient", "lambd")))


def to_device(e: Expression, device_str: str) -> Expression:
    """The same value: a network is computed on one device.

    Args:
        e: Any expression.
        device_str: "" for the device in use, "CPU", or one that was asked for.

    Returns:
        An expression of the same dimensions.

    Raises:
        RuntimeError: For another device.
        TypeError: If the name is no string.
    """
    node = checked(e, "to_device").node
    checked_device(device_str, "to_device")
    return wrap(node)
