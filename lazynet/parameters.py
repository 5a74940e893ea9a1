"""Parameters, lookup tables, and the model that owns them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from sys import getrefcount
from typing import Any

import numpy as np

from lazynet.backend import (
    CPU,
    SparseRows,
    check_dtype,
    coalesce,
    device_name,
    device_of,
    is_device_array,
    on_device,
    to_device,
    to_host,
)
from lazynet.convert import as_array, as_dtype, on_gpu
from lazynet.errors import (
    ArgumentError,
    GradientError,
    OutOfMemoryError,
    SettingError,
    ShapeError,
)
from lazynet.graph import Leaf
from lazynet.init import resolve
from lazynet.kinds import HOOKS, Array, Kind, Op, Shape, new_identity, type_of, working
from lazynet.modes import MODES
from lazynet.tape import NO_TAPE

_HOST = nullcontext()


def _checksum_of(values: Array) -> int:
    if not values.size:
        return 0
    # bfloat16 has no buffer
    return zlib.crc32(values.data if values.dtype.kind == "f" else values.view(np.uint16).data)


class ParameterLeaf(Op):
    """A parameter; the payload is the parameter itself."""

    payload = "parameter"


_PARAMETER = ParameterLeaf()


class Parameter(Leaf):
    """A trainable array: an expression whose value can change.

    Made by `Model.parameter`. Its `.gradient()` is what backward calls have accumulated since the
    last optimiser step.

    Attributes:
        name: Full name within the model, such as "/encoder/W".
        values: The array itself. Whoever writes into it calls `changed()`.
        pending: The accumulated dense gradient, or None.

    >>> import lazynet as ln
    >>> w = ln.Model(seed=0).parameter(2, init=[3.0, 4.0], name="w")
    >>> (w * w).sum().backward()
    >>> w.name, w.gradient().tolist()
    ('/w', [6.0, 8.0])
    >>> w.array = [0.0, 1.0]
    >>> w.value().tolist()
    [0.0, 1.0]
    """

    __slots__ = ("_checksum", "_trainable", "_version")

    def __init__(self, values: Array, name: str) -> None:
        self.tape = NO_TAPE
        self.index = -1
        # its own memory: `_settle` counts the references that views hold to it
        self.values = values if values.base is None else values.copy()
        self.name = name
        self.pending: Array | None = None
        self.pending_rows: list[tuple[Array, Array]] = []
        self._trainable = True
        self._version = 0
        self._checksum: int | None = None
        self.row_op = None
        t = type_of(values.shape, values.dtype, new_identity())
        self.leaf_kind = Kind(_PARAMETER, (), (t,), True)

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        """Another parameter with the same values: a copy of a layer or model is one of its own."""
        with on_device(device_of(self.values)):
            twin = memo[id(self)] = type(self)(self.values.copy(), self.name)
            twin._trainable = self._trainable
            twin.pending = None if self.pending is None else self.pending.copy()
            twin.pending_rows = [(rows.copy(), values.copy()) for rows, values in self.pending_rows]
        return twin

    @property
    def trainable(self) -> bool:
        """Whether backward computes its gradient and optimisers change it."""
        return self._trainable

    @trainable.setter
    def trainable(self, flag: bool) -> None:
        self._trainable = bool(flag)

    @property
    def array(self) -> Array:
        """A view of the values; writing into it changes the parameter.

        Of a parameter on a GPU it is a copy that cannot be written into: assign another array.
        """
        if type(self.values) is not np.ndarray:
            copy = to_host(self.values)
            copy.flags.writeable = False
            return copy
        self._settle()
        if self.values.base is not None:  # of `share`: views of this one must be told from others
            self.values = self.values.copy()
        self._checksum = _checksum_of(self.values)
        return self.values.view()

    @array.setter
    def array(self, values: Any) -> None:
        convert = on_gpu if is_device_array(values) else as_array
        new = convert(values, self.values.dtype, f"parameter {self.name!r}")
        if new.shape != self.values.shape:
            raise ShapeError(
                f"parameter {self.name!r}: got an array of shape {new.shape}; it has shape "
                f"{self.values.shape}; reshape the array, or make another parameter"
            )
        device = device_of(self.values)
        with on_device(device):
            self.values[...] = to_device(new, device)
        self.changed()

    def placed(self, array: Array) -> Array:
        """An array of the host where the values are, and of their dtype."""
        device = device_of(self.values)
        with on_device(device):
            return to_device(np.asarray(array, self.values.dtype), device)

    def changed(self) -> None:
        """Tell that `values` was written into."""
        self._version += 1
        if self._checksum is not None:
            self._checksum = _checksum_of(self.values)

    def version(self) -> int:
        """A number that changes whenever the values do, through a view that was handed out too."""
        if self._checksum is not None:
            self._settle()
        return self._version

    def _settle(self) -> None:
        """Notice writes through views of `values`: compare checksums while such views are about."""
        if self._checksum is not None:
            checksum = _checksum_of(self.values)
            if checksum != self._checksum:
                self._version += 1
                self._checksum = checksum
            if getrefcount(self.values) <= 2:
                self._checksum = None

    def viewed(self) -> bool:
        """Whether somebody may hold a view of the values (see `array`)."""
        self._settle()
        return self._checksum is not None

    def share(self, part: Array) -> bool:
        """Have the values in this array from now on, a part of one that others share.

        Returns:
            Whether that is so; not where somebody holds a view of the values.
        """
        if self.viewed():
            return False
        part[...] = self.values
        self.values = part
        return True

    def gradient(self) -> Array:
        """The gradient accumulated by backward calls since it was last cleared, shape as the value.

        Raises:
            GradientError: If there is none.
        """
        dense = self.pending
        if dense is None and not self.pending_rows:
            why = (
                "it is frozen (trainable is False)"
                if not self._trainable
                else ("no backward has reached it since it was made or cleared")
            )
            raise GradientError(f"gradient: parameter {self.name!r} has none: {why}")
        return to_host(self.summed())

    def summed(self) -> Array:
        """The gradient, dense and where the values are; zero if there is none."""
        dense = self.pending
        with on_device(device_of(self.values)):
            result = np.zeros_like(self.values, self.type.work) if dense is None else dense.copy()
            for rows, values in self.pending_rows:
                result += SparseRows(rows, values).dense(self.values.shape)
        return result

    @property
    def row_width(self) -> int:
        """Elements of a row, of which `pending_rows` holds gradients."""
        return int(np.prod(self.values.shape[1:]))

    def has_gradient(self) -> bool:
        """Whether a gradient has been accumulated."""
        return self.pending is not None or bool(self.pending_rows)

    def clear_gradient(self) -> None:
        """Drop the accumulated gradient."""
        self.pending = None
        self.pending_rows = []

    def __repr__(self) -> str:
        return f"<parameter {self.name} shape={self.shape} {self.dtype}>"


def gradients_of(
    members: list[tuple[Parameter, Array, Array]], summed: bool = True
) -> list[Array] | None:
    """The gradients of parameters whose values are parts of one array (see `Parameter.share`).

    Args:
        members: Each parameter, its part, and what stands for its gradient if it has none.
        summed: Whether those of rows are to be added.

    Returns:
        Their gradients; None where one is frozen, or its values cannot be in that part.
    """
    found = []
    for p, part, zero in members:
        if (p.values is not part and not p.share(part)) or not p._trainable:
            return None
        gradient = p.pending if not p.pending_rows or not summed else p.summed()
        found.append(zero if gradient is None else gradient)
    return found


def finish(parameters: list[Parameter]) -> None:
    """Tell that the values of parameters were written into, and drop their gradients."""
    for p in parameters:
        p._version += 1
        if p._checksum is not None:
            p.changed()
        p.pending = None
        if p.pending_rows:
            p.pending_rows = []


class Lookup(Parameter):
    """A table of embeddings, ``(n, *row shape)``: `table[i]` and `table[[i, j]]` are its rows.

    Row gradients are kept as rows. The table is an expression too: `hidden @ table.T`.

    >>> import lazynet as ln
    >>> table = ln.Model(seed=0).lookup(4, 2, init=[[0, 0], [1, 1], [2, 2], [3, 3]])
    >>> table[3].value().tolist()
    [3.0, 3.0]
    >>> rows = table[[1, 3, 1]]
    >>> rows.batch, rows.shape
    (3, (2,))
    >>> ln.sum_batch(rows).sum().backward()
    >>> table.gradient().tolist()
    [[0.0, 0.0], [2.0, 2.0], [0.0, 0.0], [1.0, 1.0]]
    """

    __slots__ = ()

    def __init__(self, values: Array, name: str) -> None:
        super().__init__(values, name)
        self.row_op = HOOKS.row_op(values.shape)

    def coalesced(self) -> tuple[Array, Array]:
        """The row part of the gradient: distinct rows ascending, and their summed gradients.

        Returns:
            int64 ``(k,)`` and ``(k, *row shape)``, to be read only; both empty if there is none.
        """
        shape = self.values.shape
        width = self.row_width
        if not self.pending_rows:
            return np.zeros(0, np.int64), np.zeros_like(self.values[:0], self.type.work)
        if len(self.pending_rows) == 1:
            rows, values = self.pending_rows[0]
            values = values.reshape(len(rows), width)
        else:
            rows = np.concatenate([r for r, _ in self.pending_rows])
            values = np.concatenate([v.reshape(len(v), width) for _, v in self.pending_rows])
        if len(rows) and not (rows[1:] > rows[:-1]).all():
            rows, values = coalesce(rows, values)
            self.pending_rows = [(rows, values)]
        return rows, values.reshape((len(rows), *shape[1:]))


class Model:
    """Owns parameters, in named sub-models if wanted.

    Args:
        seed: Seeds the initialisers.
        dtype: Of all parameters: "float32" or "float64"; "float16" or "bfloat16", in which values
            are stored only (see docs/gpu.md).
        device: "cpu", "cuda" (the first GPU) or "cuda:1" and so on: where the parameters are, and
            so what is computed from them. Default: what `ln.use_device` says, "cpu" outside.

    >>> import lazynet as ln
    >>> model = ln.Model(seed=0)
    >>> W = model.parameter((3, 2), name="W")
    >>> encoder = model.submodel("encoder")
    >>> table = encoder.lookup(100, 8, name="words")
    >>> [(name, p.shape) for name, p in model.items()]
    [('/W', (3, 2)), ('/encoder/words', (100, 8))]
    >>> model.size
    806
    """

    def __init__(self, seed: int = 0, dtype: Any = "float32", device: str | None = None) -> None:
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise ArgumentError(f"Model: got seed={seed!r}; it must be a whole number")
        self.seed = int(seed)
        self.dtype = as_dtype(dtype, floating=True)
        self.device = device_name(MODES.get().device if device is None else device)
        check_dtype(self.dtype, self.device)
        self.path = ""
        self.rng = np.random.Generator(np.random.Philox(self.seed & (2**64 - 1)))
        self._root = self
        self._entries: dict[str, Parameter] = {}  # of the root: all parameters by full name
        self._counts: dict[str, int] = {}

    def parameter(
        self, shape: int | Shape, init: Any = "glorot", name: str | None = None
    ) -> Parameter:
        """Make a parameter.

        Args:
            shape: Its shape; an int for a vector.
            init: An initialiser of `ln.init`, the name of one, a number, or an array.
            name: Unique within this (sub-)model; made up where not given.

        Raises:
            SettingError: If the name is taken or the initialiser unknown.
            ShapeError: If the shape is none, or does not suit the initialiser.
        """
        shape = _shape(shape, "parameter")
        full = self._name(name, "parameter")
        parameter = Parameter(self._initial(init, shape, False, full), full)
        self._root._entries[full] = parameter
        return parameter

    def lookup(
        self, n: int, shape: int | Shape, init: Any = "glorot", name: str | None = None
    ) -> Lookup:
        """Make a table of `n` rows of the given shape; see `Lookup`."""
        rows = _shape(n, "lookup")
        if len(rows) != 1:
            raise ShapeError(f"lookup: got n={n!r}; the number of rows must be one whole number")
        full_shape = rows + _shape(shape, "lookup")
        full = self._name(name, "lookup")
        table = Lookup(self._initial(init, full_shape, True, full), full)
        self._root._entries[full] = table
        return table

    def submodel(self, name: str) -> Model:
        """A part of this model; its parameters are named below it. A name taken counts up."""
        if not isinstance(name, str) or not name or "/" in name:
            raise SettingError(f"submodel: got name {name!r}; it must be a text without '/'")
        part = Model.__new__(Model)
        part.seed, part.dtype, part.device = self.seed, self.dtype, self.device
        part.rng, part._root = self.rng, self._root
        part._entries, part._counts = {}, {}
        count = self._counts.get(name, 0)
        self._counts[name] = count + 1
        part.path = f"{self.path}/{name}" + (f"_{count}" if count else "")
        return part

    def items(self) -> Iterator[tuple[str, Parameter]]:
        """Names and parameters of this model and its sub-models, in the order of creation."""
        prefix = self.path + "/"
        for name, p in list(self._root._entries.items()):
            if name.startswith(prefix):
                yield name, p

    def parameters(self) -> list[Parameter]:
        """The parameters of this model and its sub-models, in the order of creation."""
        if self._root is self:
            return list(self._entries.values())
        return [p for _, p in self.items()]

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.parameters())

    def __getitem__(self, name: str) -> Parameter:
        full = name if name.startswith("/") else f"{self.path}/{name}"
        found = self._root._entries.get(full)
        if found is None:
            known = ", ".join(n for n, _ in self.items()) or "none"
            raise SettingError(f"model: there is no parameter {full!r}; there are: {known}")
        return found

    @property
    def size(self) -> int:
        """Number of scalars in all parameters."""
        return sum(p.size for p in self.parameters())

    def freeze(self, frozen: bool = True) -> None:
        """Stop training all parameters of this (sub-)model, or with False go on."""
        for p in self.parameters():
            p.trainable = not frozen

    def place(self) -> Any:
        """A context in which the device of the parameters is the current one."""
        return _HOST if self.device == CPU else on_device(self.device)

    def zero_gradients(self) -> None:
        """Drop all accumulated gradients."""
        for p in self.parameters():
            p.clear_gradient()

    def save(self, path: Any, optimizer: Any = None) -> None:
        """Write parameters, random state and (if given) the optimiser's state to one file.

        The file is in safetensors format and appears whole or not at all.

        Args:
            path: Where to.
            optimizer: An optimiser of `ln.optim` over this model.
        """
        from lazynet.files import save

        save(self, path, optimizer)

    def load(self, path: Any, optimizer: Any = None) -> None:
        """Read what `save` wrote. Nothing is changed unless everything fits.

        Raises:
            FileError: If the file is truncated or foreign, or names and shapes do not match; the
                message lists exactly which.
        """
        from lazynet.files import load

        load(self, path, optimizer)

    def _name(self, name: str | None, stem: str) -> str:
        if name is None:
            count = self._counts.get("#" + stem, 0)
            while f"{self.path}/{stem}_{count}" in self._root._entries:
                count += 1
            self._counts["#" + stem] = count + 1
            return f"{self.path}/{stem}_{count}"
        if not isinstance(name, str) or not name or "/" in name:
            raise SettingError(f"{stem}: got name {name!r}; it must be a text without '/'")
        full = f"{self.path}/{name}"
        if full in self._root._entries:
            raise SettingError(f"{stem}: the name {full!r} is taken; choose another")
        return full

    def _initial(self, init: Any, shape: Shape, lookup: bool, name: str) -> Array:
        try:
            values = resolve(init)(self.rng, shape, working(self.dtype), lookup)
        except MemoryError as error:
            raise OutOfMemoryError(
                f"parameter {name!r}: shape {shape} does not fit into memory; make it smaller"
            ) from error
        host: Array = np.ascontiguousarray(values, self.dtype).reshape(shape)
        try:
            return to_device(host, self.device)
        except OutOfMemoryError as error:
            raise OutOfMemoryError(f"parameter {name!r}: {error}") from error


def _shape(shape: Any, role: str) -> Shape:
    entries = shape if isinstance(shape, (tuple, list)) else (shape,)
    result = []
    for n in entries:
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
            raise ShapeError(
                f"{role}: got shape {shape!r}; it must be a whole number >= 0, or a tuple of such"
            )
        result.append(int(n))
    return tuple(result)
