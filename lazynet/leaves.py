"""Ops of nodes that are never computed: inputs, imports, and pointers to rows of others."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.kinds import Array, Kind, Op, Shape, Type


class Import(Op):
    """A node of another tape."""

    alias = True


class Input(Op):
    """An array given by the user; the payload is its flattened copy.

    Attributes:
        device: Where it lies: "cpu", or the GPU that it was given on.
    """

    payload = "array"
    device = "cpu"


class DeviceInput(Input):
    """An array given on a GPU."""

    def __init__(self, device: str) -> None:
        self.device = device


class Unbatch(Op):
    """Row `payload` of a batch."""

    alias = True
    payload = "row"

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def dtype(self, *dtypes: np.dtype[Any]) -> np.dtype[Any]:
        return dtypes[0]


class TakeRows(Op):
    """Rows of a batch, in any order; the payload is the tuple of their numbers."""

    alias = True
    payload = "rows"
    points = True

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def dtype(self, *dtypes: np.dtype[Any]) -> np.dtype[Any]:
        return dtypes[0]


class Rebatch(Op):
    """The rows of all arguments as one batch."""

    alias = True
    nary = True

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def dtype(self, *dtypes: np.dtype[Any]) -> np.dtype[Any]:
        return dtypes[0]


class Unshare(Op):
    """A shared value as a row."""

    unshares = True
    moves = True
    reads_args = False
    reads_y = False

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def dtype(self, *dtypes: np.dtype[Any]) -> np.dtype[Any]:
        return dtypes[0]

    def forward(self, call: Any, *args: Array) -> Any:
        return args[0]

    def backward(self, call: Any, dy: Any, y: Any, *args: Array) -> Any:
        return dy


IMPORT = Import()
INPUT = Input()
UNBATCH = Unbatch()
TAKE_ROWS = TakeRows()
REBATCH = Rebatch()
UNSHARE = Unshare()
_import_kinds: dict[Type, Kind] = {}
_input_kinds: dict[Type, Kind] = {}
_device_input_kinds: dict[tuple[Type, str], Kind] = {}


def import_kind(t: Type) -> Kind:
    """The kind of an import of this type."""
    kind = _import_kinds.get(t)
    if kind is None:
        kind = _import_kinds[t] = Kind(IMPORT, (), (t,), t.shared != 0)
    return kind


def input_kind(t: Type) -> Kind:
    """The kind of an input of this type."""
    kind = _input_kinds.get(t)
    if kind is None:
        kind = _input_kinds[t] = Kind(INPUT, (), (t,), False)
    return kind


def device_input_kind(t: Type, device: str) -> Kind:
    """The kind of an input of this type that was given on a GPU."""
    kind = _device_input_kinds.get((t, device))
    if kind is None:
        kind = _device_input_kinds[(t, device)] = Kind(DeviceInput(device), (), (t,), False)
    return kind
