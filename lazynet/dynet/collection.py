"""`ParameterCollection`: owns parameters and tables, in nested collections if wanted."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from lazynet.dynet import files
from lazynet.dynet.config import checked_device, default_device, settings
from lazynet.dynet.expression import as_number, short
from lazynet.dynet.initializers import initial_values, numbers
from lazynet.dynet.parameters import Decay, LookupParameters, Parameters
from lazynet.errors import ArgumentError
from lazynet.kinds import Array
from lazynet.parameters import Model as Engine
from lazynet.parameters import Parameter


class DimensionsError(ArgumentError, AssertionError):
    """Dimensions that are no whole numbers."""


class ParameterCollection:
    """Owns parameters and tables of parameters; those of its sub-collections are its own too.

    Args:
        parent: Accepted for old programs, which give what the collection is to be part of; use
            `add_subcollection` for that.

    Attributes:
        model: The engine's model of the same parameters, for optimisers of `lazynet.optim`.
        parameters: Parameters in the order they were added, with those of sub-collections.
        lookups: Tables likewise.
        decay: The weight decay.
    """

    __slots__ = ("_counts", "_names", "_owners", "_path", "decay", "lookups", "model", "parameters")

    def __init__(self, parent: ParameterCollection | None = None) -> None:
        if parent is not None and not isinstance(parent, ParameterCollection):
            raise TypeError(
                f"ParameterCollection: got parent={short(parent)}; it takes a ParameterCollection"
            )
        self._start("/", Engine(device=default_device()), [], Decay(settings().weight_decay), set())

    def _start(
        self,
        path: str,
        model: Engine,
        owners: list[ParameterCollection],
        decay: Decay,
        names: set[str],
    ) -> None:
        self._path = path
        self._owners = [*owners, self]
        self._counts: dict[str, int] = {}
        self._names = names
        self.model = model
        self.parameters: list[Parameters] = []
        self.lookups: list[LookupParameters] = []
        self.decay = decay

    def name(self) -> str:
        """The full name, such as ``/encoder/lstm/``; that of the outermost one is ``/``."""
        return self._path

    def add_subcollection(self, name: str | None = None) -> ParameterCollection:
        """Make a collection that is part of this one.

        Args:
            name: Its name within this one; a number is added where it is taken.
        """
        own = self._unique("" if name is None else name, "/", "add_subcollection")
        part = ParameterCollection.__new__(ParameterCollection)
        model = self.model.submodel(own)
        path = f"{self._path}{own}/"
        self._names.add(path)
        decay = Decay(self.decay.lam, self.decay.factor)
        part._start(path, model, self._owners, decay, self._names)
        return part

    def add_parameters(
        self,
        dim: Any,
        init: Any = None,
        name: str = "",
        device: str = "",
        scale: float = 1.0,
        mean: float = 0.0,
        std: float = 1.0,
    ) -> Parameters:
        """Make a parameter.

        Args:
            dim: Its dimensions, a tuple; a number for a vector.
            init: An initialiser, the name of one ("uniform", "normal", "identity", "glorot", "he",
                "saxe"), a number, or an array, which the parameter gets the shape of;
                GlorotInitializer if there is none.
            name: Its name; a number is added where it is taken.
            device: "", "CPU", or one that was asked for; the collection's is used in any case.
            scale: Bound of "uniform".
            mean: Mean of "normal".
            std: Standard deviation of "normal".
        """
        checked_device(device, "add_parameters")
        shape = _dimensions(dim, "add_parameters")
        values = initial_values("add_parameters", init, shape, False, scale, mean, std)
        own = self._unique(name, "", "add_parameters")
        return self._parameter(values, own, self._path + own)

    def add_lookup_parameters(
        self,
        dim: Any,
        init: Any = None,
        name: str = "",
        device: str = "",
        scale: float = 1.0,
        mean: float = 0.0,
        std: float = 1.0,
    ) -> LookupParameters:
        """Make a table.

        Args:
            dim: Number of rows, then the dimensions of a row.
            init: As for `add_parameters`.
            name: Its name; a number is added where it is taken.
            device: "", "CPU", or one that was asked for; the collection's is used in any case.
            scale: Bound of "uniform".
            mean: Mean of "normal".
            std: Standard deviation of "normal".
        """
        checked_device(device, "add_lookup_parameters")
        shape = _dimensions(dim, "add_lookup_parameters")
        if not isinstance(dim, (tuple, list)):
            shape = (*shape, 1)
        if not shape:
            raise ValueError("add_lookup_parameters: got dimensions (); the first is how many rows")
        values = initial_values("add_lookup_parameters", init, shape, True, scale, mean, std)
        own = self._unique(name, "", "add_lookup_parameters")
        return self._table(values, own, self._path + own)

    def parameters_from_numpy(self, array: Any, name: str = "", device: str = "") -> Parameters:
        """Make a parameter with the shape and values of an array."""
        values = numbers(array, "parameters_from_numpy")
        checked_device(device, "parameters_from_numpy")
        own = self._unique(name, "", "parameters_from_numpy")
        return self._parameter(values, own, self._path + own)

    def lookup_parameters_from_numpy(
        self, array: Any, name: str = "", device: str = ""
    ) -> LookupParameters:
        """Make a table with the shape and values of an array, the rows along its first axis."""
        values = numbers(array, "lookup_parameters_from_numpy")
        checked_device(device, "lookup_parameters_from_numpy")
        if not values.ndim:
            raise ValueError(
                f"lookup_parameters_from_numpy: got {short(array)}; it takes an array with rows"
            )
        own = self._unique(name, "", "lookup_parameters_from_numpy")
        return self._table(values, own, self._path + own)

    def parameters_list(self) -> list[Parameters]:
        """The parameters of this collection and those in it, in the order they were added."""
        return list(self.parameters)

    def lookup_parameters_list(self) -> list[LookupParameters]:
        """The tables of this collection and those in it, in the order they were added."""
        return list(self.lookups)

    def parameter_count(self) -> int:
        """How many numbers all parameters and tables hold."""
        return sum(leaf.size for leaf in self.leaves())

    def leaves(self) -> list[Parameter]:
        """The engine's parameters: of all parameters, then of all tables."""
        return [*(p.leaf for p in self.parameters), *(p.leaf for p in self.lookups)]

    def get_weight_decay(self) -> float:
        """The coefficient of weight decay."""
        return self.decay.lam

    def set_weight_decay(self, lam: float) -> None:
        """Have every update multiply all values by 1 - lam; collections within it keep their own.

        Raises:
            ValueError: If lam is negative.
        """
        self._set_decay(lam, "set_weight_decay")

    def _set_decay(self, lam: Any, name: str) -> None:
        number = as_number(lam)
        if number is None:
            raise TypeError(f"{name}: got {short(lam)}; it takes a number")
        if not number >= 0:
            raise ValueError(f"{name}: got {number}; it must be at least 0")
        self.decay.lam = float(np.float32(number))

    def set_weight_decay_lambda(self, lam: float) -> None:
        """The same as `set_weight_decay`."""
        self._set_decay(lam, "set_weight_decay_lambda")

    def save(self, fname: str, name: str = "", append: bool = False) -> None:
        """Write all parameters to a file in DyNet's text format.

        Args:
            fname: Name of the file.
            name: What stands in the file instead of the name of this collection.
            append: Add to the file instead of replacing it.
        """
        files.save_all(self._path, self.parameters, self.lookups, fname, name, append)

    def populate(self, fname: str, key: str = "") -> None:
        """Read all parameters from a file in DyNet's text format, in the order they have there.

        Args:
            fname: Name of the file.
            key: Read only what has names that begin with this.
        """
        files.populate_all(self.parameters, self.lookups, fname, key)

    def load_param(self, fname: str, key: str) -> Parameters:
        """Add a parameter that is read from a file.

        Args:
            fname: Name of the file.
            key: Its name there.
        """
        with files.Reader(fname, "load_param") as reader:
            return self.added(reader, key)

    def load_lookup_param(self, fname: str, key: str) -> LookupParameters:
        """Add a table that is read from a file.

        Args:
            fname: Name of the file.
            key: Its name there.
        """
        with files.Reader(fname, "load_lookup_param") as reader:
            return self.added_table(reader, key)

    def write_to_textfile(self, fname: str, key: str = "", append: bool = False) -> None:
        """The same as `save`."""
        self.save(fname, key, append)

    def populate_from_textfile(self, fname: str, key: str = "") -> None:
        """The same as `populate`."""
        self.populate(fname, key)

    def added(self, reader: files.Reader, key: str) -> Parameters:
        """Add the parameter of this name in a file; if it is taken here, under the next number."""
        block = reader.find(key, False)
        content = reader.read(block)
        own, full = self._named(key, reader.call)
        p = self._parameter(content.values, own, full)
        content.put(p)
        return p

    def added_table(self, reader: files.Reader, key: str) -> LookupParameters:
        """Add the table of this name in a file; if it is taken here, under the next number."""
        block = reader.find(key, True)
        content = reader.read(block)
        own, full = self._named(key, reader.call)
        p = self._table(content.values, own, full)
        content.put(p)
        return p

    def _named(self, key: str, role: str) -> tuple[str, str]:
        """Names of a parameter from a file: for the engine, and the one it is known by."""
        own = self._unique("", "", role)
        return own, self._path + own if key in self._names else key

    def _parameter(self, values: Array, own: str, full: str) -> Parameters:
        leaf = self.model.parameter(values.shape or 1, np.atleast_1d(values), own)
        self._enter(leaf, full)
        p = Parameters(leaf, values.shape, self.decay)
        for owner in self._owners:
            owner.parameters.append(p)
        return p

    def _table(self, values: Array, own: str, full: str) -> LookupParameters:
        n, *row = values.shape
        leaf = self.model.lookup(n, tuple(row) or 1, values.reshape(n, *(row or (1,))), own)
        self._enter(leaf, full)
        p = LookupParameters(leaf, values.shape, self.decay)
        for owner in self._owners:
            owner.lookups.append(p)
        return p

    def _enter(self, leaf: Parameter, full: str) -> None:
        """Name a new parameter, and decay it as if it had been there before, as DyNet does."""
        leaf.name = full
        self._names.add(full)
        if self.decay.factor != 1.0:
            leaf.values *= np.float32(self.decay.factor)

    def _unique(self, name: str | None, kind: str, role: str) -> str:
        """A name within this collection: the one wanted, or a number; counting up where taken."""
        if not isinstance(name, str):
            raise TypeError(f"{role}: got name {name!r}; it must be a text")
        if "/" in name or "_" in name:
            raise RuntimeError(
                f"{role}: got name {name!r}; it must be without '/', which separates collections, "
                "and '_', after which names that are taken get a number"
            )
        while True:
            count = self._counts.get(kind + name, 0)
            self._counts[kind + name] = count + 1
            own = f"{name}_{count}" if count or not name else name
            if f"{self._path}{own}{kind}" not in self._names:
                return own


Model = ParameterCollection


def _dimensions(dim: Any, role: str) -> tuple[int, ...]:
    several = isinstance(dim, (tuple, list))
    result = []
    for n in dim if several else (dim,):
        try:
            whole = several and isinstance(n, float) and n.is_integer()
            number = int(n) if whole else operator.index(n)
        except TypeError:
            raise DimensionsError(
                f"{role}: got dimensions {short(dim)}; they must be a tuple of whole numbers, or "
                "one for a vector"
            ) from None
        if number < 0:
            raise ValueError(f"{role}: got dimensions {short(dim)}; they must be at least 0")
        result.append(number)
    return tuple(result)
