"""Convolution along a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from lazynet.errors import SettingError, ShapeError
from lazynet.graph import Expression
from lazynet.inputs import constant, rebatch, unbatch
from lazynet.kinds import Array
from lazynet.nn.base import no_rows, part_of, sequence_of, size_of
from lazynet.ops import affine, conv1d
from lazynet.parameters import Model


class Conv1d:
    """y_t = b + sum_k W_k^T x_(t + k) along a sequence.

    Called with a sequence - a batched expression or an array whose rows are the positions, or a
    list of single expressions - it returns one in the same form; the windows of all sequences, of
    whatever lengths, are one batch. Called with an expression of shape ``(length, n_in)`` it
    returns ``(places, n_out)`` by `ln.conv1d`.

    Args:
        model: Owns the parameters, in a sub-model "conv1d": W ``(width, n_in, n_out)`` and b
            ``(n_out,)``.
        n_in: Length of the vector at each position.
        n_out: Length of the output at each position.
        width: Positions under a window.
        stride: Distance between windows.
        padding: Positions of zeros at both ends: a number; "valid" for none; "same" for
            ceil(length / stride) windows, with an odd one at the end.
        bias: Whether there is a b; it starts as zeros.

    >>> import lazynet as ln
    >>> conv = ln.nn.Conv1d(ln.Model(seed=0), 2, 3, width=3, padding="same")
    >>> ys = conv([ln.constant([1.0, 0.0]), ln.constant([0.0, 1.0])])
    >>> len(ys), ys[0].shape
    (2, (3,))
    """

    def __init__(
        self,
        model: Model,
        n_in: int,
        n_out: int,
        width: int,
        stride: int = 1,
        padding: int | str = 0,
        bias: bool = True,
        init: Any = "glorot",
    ) -> None:
        self.n_in = size_of(n_in, "Conv1d: n_in")
        self.n_out = size_of(n_out, "Conv1d: n_out")
        self.width = size_of(width, "Conv1d: width")
        self.stride = size_of(stride, "Conv1d: stride")
        number = isinstance(padding, (int, np.integer)) and not isinstance(padding, bool)
        if padding not in ("same", "valid") and not (number and int(padding) >= 0):
            raise SettingError(
                f'Conv1d: got padding {padding!r}; it must be a number >= 0, "same" or "valid"'
            )
        self.padding: Any = padding
        self.model = part_of(model, "conv1d", "Conv1d")
        shape = (self.width, self.n_in, self.n_out)
        self.W = self.model.parameter(shape, init=init, name="W")
        self.b = self.model.parameter(self.n_out, init="zeros", name="b") if bias else None

    @overload
    def __call__(self, xs: Expression | Array) -> Expression: ...

    @overload
    def __call__(self, xs: Sequence[Any]) -> list[Expression]: ...

    def __call__(self, xs: Any) -> Any:
        if isinstance(xs, Expression) and xs.ndim == 2:
            return conv1d(xs, self.W, self.b, self.stride, self.padding)
        rows, listed = sequence_of(xs, self.n_in, "Conv1d", self.model.dtype)
        entries = rows if isinstance(rows, list) else unbatch(rows)
        before, after = self._ends(len(entries))
        if not entries:
            return [] if listed else no_rows(self.n_out, self.model.dtype)
        if before or after:
            zeros = constant(np.zeros(self.n_in, self.model.dtype))
            entries = [zeros] * before + entries + [zeros] * after
        places = len(entries) - self.width + 1
        if places < 1:
            raise ShapeError(
                f"Conv1d: got a sequence of {len(entries)} positions, padding included; the "
                f'windows have {self.width}; pad it (padding="same")'
            )
        filters = [self.W[k].T for k in range(self.width)]
        if isinstance(rows, list):
            return [
                self._product(filters, entries[t : t + self.width])
                for t in range(0, places, self.stride)
            ]
        # for each filter the positions it meets, all windows at once
        met = [rebatch(entries[k : k + places : self.stride]) for k in range(self.width)]
        ys = self._product(filters, met)
        return unbatch(ys) if listed else ys

    def _product(self, filters: list[Expression], xs: list[Expression]) -> Expression:
        b = constant(np.zeros(self.n_out, self.model.dtype)) if self.b is None else self.b
        return affine(b, *[a for pair in zip(filters, xs) for a in pair])

    def _ends(self, length: int) -> tuple[int, int]:
        """Zeros before and after a sequence."""
        if self.padding == "valid":
            return 0, 0
        if self.padding == "same":
            places = -(-length // self.stride)
            missing = max((places - 1) * self.stride + self.width - length, 0)
            return missing // 2, missing - missing // 2
        return int(self.padding), int(self.padding)


__all__ = ["Conv1d"]
