"""Reductions over the batch axis, and running sums and softmax along it.

The rows of a node are a segment of the rows of all nodes, so attention over sequences of any
lengths is one batch. An expression without a batch counts as one row. Where several rows share a
maximum or minimum, the first of them gets the whole gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from lazynet.errors import ShapeError
from lazynet.graph import Expression, record
from lazynet.inputs import as_expression
from lazynet.kinds import INT64, Array, Call, Op, Shape
from lazynet.ops import cuda_lines
from lazynet.ops.numeric import (
    exp_difference,
    finite,
    max_segments,
    quotient,
    segments_of,
    spread,
    sum_segments,
    winners,
)


@dataclass(frozen=True)
class _BatchMap(Op):
    """A map of the rows of a segment to as many."""

    segmented = True

    def shape(self, x: Shape) -> Shape:
        return x


@dataclass(frozen=True)
class _BatchReduction(_BatchMap):
    """A reduction of the rows of a segment to one."""

    nothing: ClassVar[bool] = False
    """Whether no rows at all have a result."""

    def batch(self, x: int) -> int:
        if x == 0 and not self.nothing:
            raise ShapeError(
                f"{self.name}: got a batch of 0 rows; there is nothing to reduce; leave empty "
                "batches out"
            )
        return -1


@dataclass(frozen=True)
class SumBatch(_BatchReduction):
    """y = sum_b x_b"""

    nothing = True
    reads_args = False
    reads_y = False

    divides: ClassVar[bool] = False
    """Whether the sum is divided by the number of rows."""

    def forward(self, call: Call, x: Array) -> Array:
        if type(x) is not np.ndarray:
            return cuda_lines.reduced(cuda_lines.SUM, call, x, segments_of(call), self.divides)
        return sum_segments(x, segments_of(call))

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        if type(dy) is not np.ndarray:
            return cuda_lines.spread_segments(dy, segments_of(call), self.divides)
        return spread(dy, segments_of(call))


@dataclass(frozen=True)
class MeanBatch(SumBatch):
    """y = 1/n sum_{b=1}^n x_b"""

    nothing = False
    divides = True

    def forward(self, call: Call, x: Array) -> Array:
        y = super().forward(call, x)
        return per_row(y, segments_of(call)) if type(y) is np.ndarray else y

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        if type(dy) is np.ndarray:
            dy = per_row(dy, segments_of(call))
        return super().backward(call, dy, y, x)


def per_row(y: Array, offsets: Array) -> Array:
    """y divided by the number of rows of its segment."""
    lengths = np.diff(offsets).reshape((-1,) + (1,) * (y.ndim - 1))
    return np.divide(y, lengths, dtype=y.dtype)


@dataclass(frozen=True)
class MaxBatch(_BatchReduction):
    """y = max_b x_b elementwise; the gradient goes to the first b that has it."""

    sign: ClassVar[float] = 1.0
    """-1 for the minimum, on a GPU."""

    def forward(self, call: Call, x: Array) -> Array:
        if type(x) is not np.ndarray:
            return cuda_lines.reduced(cuda_lines.EXTREME, call, x, segments_of(call), self.sign)
        return max_segments(x, segments_of(call))

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        if type(x) is not np.ndarray:
            back = cuda_lines.EXTREME_BACK
            return cuda_lines.segments_gradient(back, x, segments_of(call), (x, dy), self.sign)
        dx = np.zeros_like(x)
        np.put_along_axis(dx, winners(x, y, segments_of(call)), dy, 0)
        return dx


@dataclass(frozen=True)
class MinBatch(MaxBatch):
    """y = min_b x_b elementwise; the gradient goes to the first b that has it."""

    sign = -1.0

    def forward(self, call: Call, x: Array) -> Array:
        if type(x) is not np.ndarray:
            return super().forward(call, x)
        return np.negative(super().forward(call, -x))


@dataclass(frozen=True)
class ArgmaxBatch(_BatchReduction):
    """y = the first b with the greatest x_b, elementwise."""

    differentiable = False

    def dtype(self, x: np.dtype[Any]) -> np.dtype[Any]:
        return INT64

    def forward(self, call: Call, x: Array) -> Array:
        offsets = segments_of(call)
        if type(x) is not np.ndarray:
            return cuda_lines.first_rows(call, x, offsets)
        rows = winners(x, max_segments(x, offsets), offsets)
        return rows - offsets[:-1].reshape((-1,) + (1,) * (x.ndim - 1))


@dataclass(frozen=True)
class LogsumexpBatch(_BatchReduction):
    """y = log sum_b exp(x_b), dx_b = exp(x_b - y) dy"""

    def forward(self, call: Call, x: Array) -> Array:
        offsets = segments_of(call)
        if type(x) is not np.ndarray:
            return cuda_lines.reduced(cuda_lines.LOGSUMEXP, call, x, offsets)
        top = finite(max_segments(x, offsets))
        z = np.subtract(x, spread(top, offsets))
        np.exp(z, out=z)
        return np.log(sum_segments(z, offsets)) + top

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        offsets = segments_of(call)
        if type(x) is not np.ndarray:
            back = cuda_lines.LOGSUMEXP_BACK
            return cuda_lines.segments_gradient(back, x, offsets, (x, y, dy))
        dx = exp_difference(x, spread(y, offsets))
        dx *= spread(dy, offsets)
        return dx


@dataclass(frozen=True)
class VarBatch(_BatchReduction):
    """y = 1/n sum_b (x_b - mean)^2, dx_b = 2/n (x_b - mean) dy"""

    reads_y = False
    root: ClassVar[bool] = False
    """Whether the square root is taken."""

    def forward(self, call: Call, x: Array) -> Array:
        offsets = segments_of(call)
        if type(x) is not np.ndarray:
            return cuda_lines.reduced(cuda_lines.VAR, call, x, offsets, self.root)
        centred = self.centre(x, offsets)
        np.multiply(centred, centred, out=centred)
        return per_row(sum_segments(centred, offsets), offsets)

    def centre(self, x: Array, offsets: Array) -> Array:
        """x minus the mean of its segment."""
        return np.subtract(x, spread(per_row(sum_segments(x, offsets), offsets), offsets))

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        offsets = segments_of(call)
        if type(x) is not np.ndarray:
            back = cuda_lines.VAR_BACK
            return cuda_lines.segments_gradient(back, x, offsets, (x, y, dy), self.root)
        dx = self.centre(x, offsets)
        dx *= spread(per_row(2 * dy, offsets), offsets)
        return dx


@dataclass(frozen=True)
class StdBatch(VarBatch):
    """y = sqrt(1/n sum_b (x_b - mean)^2), dx_b = (x_b - mean) / (n y) dy, 0 for y = 0"""

    reads_y = True
    root = True

    def forward(self, call: Call, x: Array) -> Array:
        y: Array = super().forward(call, x)
        return np.sqrt(y) if type(y) is np.ndarray else y

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        if type(dy) is np.ndarray:
            dy = quotient(dy, 2 * y)
        return super().backward(call, dy, y, x)


@dataclass(frozen=True)
class SquaredNormBatch(_BatchReduction):
    """y = sum_b x_b^2, dx_b = 2 x_b dy"""

    nothing = True
    reads_y = False
    root: ClassVar[bool] = False
    """Whether the square root is taken."""

    def forward(self, call: Call, x: Array) -> Array:
        if type(x) is not np.ndarray:
            return cuda_lines.reduced(cuda_lines.NORM, call, x, segments_of(call), self.root)
        return sum_segments(x * x, segments_of(call))

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        if type(x) is not np.ndarray:
            back = cuda_lines.NORM_BACK
            return cuda_lines.segments_gradient(back, x, segments_of(call), (x, y, dy), self.root)
        return np.multiply(x, spread(2 * dy, segments_of(call)))


@dataclass(frozen=True)
class NormBatch(SquaredNormBatch):
    """y = sqrt(sum_b x_b^2), dx_b = x_b / y dy, 0 for y = 0"""

    reads_y = True
    root = True

    def forward(self, call: Call, x: Array) -> Array:
        y: Array = super().forward(call, x)
        return np.sqrt(y) if type(y) is np.ndarray else y

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        if type(dy) is np.ndarray:
            dy = quotient(dy, 2 * y)
        return super().backward(call, dy, y, x)


@dataclass(frozen=True)
class CumsumBatch(_BatchMap):
    """y_b = sum_{a <= b} x_a"""

    reads_args = False
    reads_y = False

    def forward(self, call: Call, x: Array) -> Array:
        if type(x) is not np.ndarray:
            lines = cuda_lines.segment_lines(x, segments_of(call))
            return cuda_lines.running_sum(lines, x, call.out, False)
        y = np.empty_like(x)
        # One running sum over all rows, less its value where each segment begins, would carry the
        # rounding (and any infinity) of one segment into the next
        bounds = segments_of(call).tolist()
        for begin, end in pairwise(bounds):
            np.cumsum(x[begin:end], axis=0, out=y[begin:end])
        return y

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        if type(dy) is not np.ndarray:
            lines = cuda_lines.segment_lines(dy, segments_of(call))
            return cuda_lines.running_sum(lines, dy, None, True)
        dx = np.empty_like(dy)
        bounds = segments_of(call).tolist()
        for begin, end in pairwise(bounds):
            np.cumsum(dy[begin:end][::-1], axis=0, out=dx[begin:end][::-1])
        return dx


@dataclass(frozen=True)
class SoftmaxBatch(_BatchMap):
    """y_b = exp(x_b) / sum_a exp(x_a), dx_b = y_b (dy_b - sum_a dy_a y_a)"""

    reads_args = False

    def forward(self, call: Call, x: Array) -> Any:
        offsets = segments_of(call)
        if type(x) is not np.ndarray:
            lines = cuda_lines.segment_lines(x, offsets)
            return cuda_lines.mapped(cuda_lines.SOFTMAX, lines, call.out, x)
        y = np.subtract(x, spread(max_segments(x, offsets), offsets), out=call.out)
        np.exp(y, out=y)
        y /= spread(sum_segments(y, offsets), offsets)
        return y

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        offsets = segments_of(call)
        if type(dy) is not np.ndarray:
            return cuda_lines.segments_gradient(cuda_lines.SOFTMAX_BACK, y, offsets, (y, dy))
        dx = np.multiply(dy, y)
        total = spread(sum_segments(dx, offsets), offsets)
        np.subtract(dy, total, out=dx)
        dx *= y
        return dx


@dataclass(frozen=True)
class LogSoftmaxBatch(_BatchMap):
    """y_b = x_b - log sum_a exp(x_a), dx_b = dy_b - exp(y_b) sum_a dy_a"""

    reads_args = False

    def forward(self, call: Call, x: Array) -> Any:
        offsets = segments_of(call)
        if type(x) is not np.ndarray:
            lines = cuda_lines.segment_lines(x, offsets)
            return cuda_lines.mapped(cuda_lines.LOG_SOFTMAX, lines, call.out, x)
        y = np.subtract(x, spread(max_segments(x, offsets), offsets), out=call.out)
        y -= spread(np.log(sum_segments(np.exp(y), offsets)), offsets)
        return y

    def backward(self, call: Call, dy: Array, y: Array, x: Array) -> Array:
        offsets = segments_of(call)
        if type(dy) is not np.ndarray:
            return cuda_lines.segments_gradient(cuda_lines.LOG_SOFTMAX_BACK, y, offsets, (y, dy))
        dx = np.exp(y)
        dx *= spread(sum_segments(dy, offsets), offsets)
        np.subtract(dy, dx, out=dx)
        return dx


_SUM_BATCH = SumBatch()
_MEAN_BATCH = MeanBatch()
_MAX_BATCH = MaxBatch()
_MIN_BATCH = MinBatch()
_ARGMAX_BATCH = ArgmaxBatch()
_LOGSUMEXP_BATCH = LogsumexpBatch()
_STD_BATCH = StdBatch()
_VAR_BATCH = VarBatch()
_NORM_BATCH = NormBatch()
_SQUARED_NORM_BATCH = SquaredNormBatch()
_CUMSUM_BATCH = CumsumBatch()
_SOFTMAX_BATCH = SoftmaxBatch()
_LOG_SOFTMAX_BATCH = LogSoftmaxBatch()


def sum_batch(x: Any) -> Expression:
    """Sum over the rows of the batch.

    Args:
        x: Any shape, with a batch; without one it counts as one row.

    Returns:
        A single row, 0 for a batch of no rows.

    >>> import lazynet as ln
    >>> ln.sum_batch(ln.constant([[1, 2], [3, 4]], batched=True)).value().tolist()
    [4.0, 6.0]
    """
    x = as_expression(x, "sum_batch")
    return record(_SUM_BATCH, (x,))


def mean_batch(x: Any) -> Expression:
    """Mean over the rows of the batch.

    Args:
        x: Any shape, with a batch; without one it counts as one row.

    Returns:
        A single row.

    Raises:
        ShapeError: If the batch has no rows.

    >>> import lazynet as ln
    >>> ln.mean_batch(ln.constant([[1, 2], [3, 4]], batched=True)).value().tolist()
    [2.0, 3.0]
    """
    x = as_expression(x, "mean_batch")
    return record(_MEAN_BATCH, (x,))


def max_batch(x: Any) -> Expression:
    """Maximum over the rows of the batch, elementwise.

    Args:
        x: Any shape, with a batch; without one it counts as one row.

    Returns:
        A single row. The first row that has the maximum gets its gradient.

    Raises:
        ShapeError: If the batch has no rows.

    >>> import lazynet as ln
    >>> ln.max_batch(ln.constant([[1, 5], [3, 4]], batched=True)).value().tolist()
    [3.0, 5.0]
    """
    x = as_expression(x, "max_batch")
    return record(_MAX_BATCH, (x,))


def min_batch(x: Any) -> Expression:
    """Minimum over the rows of the batch, elementwise.

    Args:
        x: Any shape, with a batch; without one it counts as one row.

    Returns:
        A single row. The first row that has the minimum gets its gradient.

    Raises:
        ShapeError: If the batch has no rows.

    >>> import lazynet as ln
    >>> ln.min_batch(ln.constant([[1, 5], [3, 4]], batched=True)).value().tolist()
    [1.0, 4.0]
    """
    x = as_expression(x, "min_batch")
    return record(_MIN_BATCH, (x,))


def argmax_batch(x: Any) -> Expression:
    """Number of the row with the greatest element, the first of several.

    Args:
        x: Any shape, with a batch; without one it counts as one row.

    Returns:
        A single int64 row. Not differentiable.

    Raises:
        ShapeError: If the batch has no rows.

    >>> import lazynet as ln
    >>> ln.argmax_batch(ln.constant([[1, 5], [3, 4]], batched=True)).value().tolist()
    [1, 0]
    """
    x = as_expression(x, "argmax_batch")
    return record(_ARGMAX_BATCH, (x,))


def logsumexp_batch(x: Any) -> Expression:
    """log sum exp over the rows of the batch, without overflow.

    Args:
        x: Any shape, with a batch; without one it counts as one row.

    Returns:
        A single row; -inf where all rows are (with gradient 0).

    Raises:
        ShapeError: If the batch has no rows.

    >>> import lazynet as ln
    >>> round(ln.logsumexp_batch(ln.constant([0, 0, 0, 0], batched=True)).value(), 4)
    1.3863
    """
    x = as_expression(x, "logsumexp_batch")
    return record(_LOGSUMEXP_BATCH, (x,))


def std_batch(x: Any) -> Expression:
    """Standard deviation of the rows of the batch as a population (divided by n).

    Args:
        x: Any shape, with a batch; without one it counts as one row.

    Returns:
        A single row. Its gradient is 0 where it is 0.

    Raises:
        ShapeError: If the batch has no rows.

    >>> import lazynet as ln
    >>> ln.std_batch(ln.constant([1, 3], batched=True)).value()
    1.0
    """
    x = as_expression(x, "std_batch")
    return record(_STD_BATCH, (x,))


def var_batch(x: Any) -> Expression:
    """Variance of the rows of the batch as a population (divided by n).

    Args:
        x: Any shape, with a batch; without one it counts as one row.

    Returns:
        A single row.

    Raises:
        ShapeError: If the batch has no rows.

    >>> import lazynet as ln
    >>> ln.var_batch(ln.constant([1, 5], batched=True)).value()
    4.0
    """
    x = as_expression(x, "var_batch")
    return record(_VAR_BATCH, (x,))


def norm_batch(x: Any) -> Expression:
    """Euclidean norm over the rows of the batch, elementwise.

    Args:
        x: Any shape, with a batch; without one it counts as one row.

    Returns:
        A single row, 0 for a batch of no rows. Its gradient is 0 where it is 0.

    >>> import lazynet as ln
    >>> ln.norm_batch(ln.constant([3, 4], batched=True)).value()
    5.0
    """
    x = as_expression(x, "norm_batch")
    return record(_NORM_BATCH, (x,))


def squared_norm_batch(x: Any) -> Expression:
    """Sum of squares over the rows of the batch, elementwise.

    Args:
        x: Any shape, with a batch; without one it counts as one row.

    Returns:
        A single row, 0 for a batch of no rows.

    >>> import lazynet as ln
    >>> ln.squared_norm_batch(ln.constant([3, 4], batched=True)).value()
    25.0
    """
    x = as_expression(x, "squared_norm_batch")
    return record(_SQUARED_NORM_BATCH, (x,))


def cumsum_batch(x: Any) -> Expression:
    """Running sum along the rows of the batch.

    Args:
        x: Any shape, with a batch; without one it counts as one row.

    Returns:
        An expression of the same batch.

    >>> import lazynet as ln
    >>> ln.cumsum_batch(ln.constant([1, 2, 3], batched=True)).value().tolist()
    [1.0, 3.0, 6.0]
    """
    x = as_expression(x, "cumsum_batch")
    return record(_CUMSUM_BATCH, (x,))


def softmax_batch(x: Any) -> Expression:
    """Softmax along the rows of the batch, elementwise: attention weights.

    Args:
        x: Any shape, with a batch; without one it counts as one row.

    Returns:
        An expression of the same batch, whose rows add up to 1.

    >>> import lazynet as ln
    >>> ln.softmax_batch(ln.constant([0, 0, 0, 0], batched=True)).value().tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    x = as_expression(x, "softmax_batch")
    return record(_SOFTMAX_BATCH, (x,))


def log_softmax_batch(x: Any) -> Expression:
    """Logarithm of the softmax along the rows of the batch, elementwise.

    Args:
        x: Any shape, with a batch; without one it counts as one row.

    Returns:
        An expression of the same batch.

    >>> import lazynet as ln
    >>> ln.log_softmax_batch(ln.constant([7], batched=True)).value().tolist()
    [0.0]
    """
    x = as_expression(x, "log_softmax_batch")
    return record(_LOG_SOFTMAX_BATCH, (x,))


__all__ = [
    "ArgmaxBatch",
    "CumsumBatch",
    "LogSoftmaxBatch",
    "LogsumexpBatch",
    "MaxBatch",
    "MeanBatch",
    "MinBatch",
    "NormBatch",
    "SoftmaxBatch",
    "SquaredNormBatch",
    "StdBatch",
    "SumBatch",
    "VarBatch",
    "argmax_batch",
    "cumsum_batch",
    "log_softmax_batch",
    "logsumexp_batch",
    "max_batch",
    "mean_batch",
    "min_batch",
    "norm_batch",
    "softmax_batch",
    "squared_norm_batch",
    "std_batch",
    "sum_batch",
    "var_batch",
]
