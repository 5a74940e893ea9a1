"""`ParameterCollection`: owns parameters and tables, in nested collections if wanted."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from lazynet.dynet.config import checked_device, settings
from lazynet.dynet.expression import short
from lazynet.dynet.initializers import NumpyInitializer, initializer
from lazynet.dynet.parameters import Decay, LookupParameters, Parameters
from lazynet.parameters import Lookup, Parameter
from lazynet.parameters import Model as Engine


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

    __slots__ = ("_counts", "_owners", "_path", "decay", "lookups", "model", "parameters")

    def __init__(self, parent: ParameterCollection | None = None) -> None:
        self._start("/", Engine(), [], Decay(settings().weight_decay))

    def _start(
        self, path: str, model: Engine, owners: list[ParameterCollection], decay: Decay
    ) -> None:
        self._path = path
        self._counts: dict[str, int] = {}
        self._owners = [*owners, self]
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
        part._start(
            f"{self._path}{own}/", self.model.submodel(own), self._owners, Decay(self.decay.lam)
        )
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
            init: An initialiser, the name of one, a number, or an array; GlorotInitializer if
                there is none.
            name: Its name; a number is added where it is taken.
            device: "" or "CPU".
            scale: Bound of "uniform".
            mean: Mean of "normal".
            std: Standard deviation of "normal".
        """
        checked_device(device, "add_parameters")
        shape = _dimensions(dim, "add_parameters")
        values = initializer(init, shape, False, scale, mean, std).values(shape, False)
        own = self._unique(name, "", "add_parameters")
        leaf = self.model.parameter(shape, values, own)
        p = Parameters(leaf, self.decay)
        for owner in self._owners:
            owner.parameters.append(p)
        return p

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
            device: "" or "CPU".
            scale: Bound of "uniform".
            mean: Mean of "normal".
            std: Standard deviation of "normal".
        """
        if isinstance(dim, int):
            dim = (dim, 1)
        checked_device(device, "add_lookup_parameters")
        shape = _dimensions(dim, "add_lookup_parameters")
        values = initializer(init, shape, True, scale, mean, std).values(shape, True)
        own = self._unique(name, "", "add_lookup_parameters")
        leaf = self.model.lookup(shape[0], shape[1:], values, own)
        p = LookupParameters(leaf, self.decay)
        for owner in self._owners:
            owner.lookups.append(p)
        return p

    def parameters_from_numpy(self, array: Any, name: str = "", device: str = "") -> Parameters:
        """Make a parameter with the shape and values of an array."""
        values = np.asarray(array)
        return self.add_parameters(values.shape, NumpyInitializer(values), name, device)

    def lookup_parameters_from_numpy(
        self, array: Any, name: str = "", device: str = ""
    ) -> LookupParameters:
        """Make a table with the shape and values of an array, the rows along its first axis."""
        values = np.asarray(array)
        return self.add_lookup_parameters(values.shape, NumpyInitializer(values), name, device)

    def parameters_list(self) -> list[Parameters]:
        """The parameters of this collection and those in it, in the order they were added."""
        return list(self.parameters)

    def lookup_parameters_list(self) -> list[LookupParameters]:
        """The tables of this collection and those in it, in the order they were added."""
        return list(self.lookups)

    def parameter_count(self) -> int:
        """How many numbers all parameters and tables hold."""
        return sum(leaf.size for leaf in self.leaves())

    def leaves(self) -> list[Parameter | Lookup]:
        """The engine's parameters: of all parameters, then of all tables."""
        return [*(p.leaf for p in self.parameters), *(p.leaf for p in self.lookups)]

    def get_weight_decay(self) -> float:
        """The coefficient of weight decay."""
        return self.decay.lam

    def set_weight_decay(self, lam: float) -> None:
        """Have every update multiply all values by 1 - lam."""
        self.decay.lam = float(lam)

    def set_weight_decay_lambda(self, lam: float) -> None:
        """The same as `set_weight_decay`."""
        self.set_weight_decay(lam)

    def save(self, fname: str, name: str = "", append: bool = False) -> None:
        """Write all parameters to a file in DyNet's text format.

        Args:
            fname: Name of the file.
            name: What stands in the file instead of the name of this collection.
            append: Add to the file instead of replacing it.
        """
        from lazynet.dynet.files import Saver

        with Saver(fname, append, "ParameterCollection.save") as saver:
            saver.write_all(self, name)

    def populate(self, fname: str, key: str = "") -> None:
        """Read all parameters from a file in DyNet's text format, in the order they have there.

        Args:
            fname: Name of the file.
            key: Read only what has names that begin with this.
        """
        from lazynet.dynet.files import populate_all

        populate_all(self, fname, key, "ParameterCollection.populate")

    def load_param(self, fname: str, key: str) -> Parameters:
        """Add a parameter that is read from a file.

        Args:
            fname: Name of the file.
            key: Its name there.
        """
        from lazynet.dynet.files import load_param

        return load_param(self, fname, key)

    def load_lookup_param(self, fname: str, key: str) -> LookupParameters:
        """Add a table that is read from a file.

        Args:
            fname: Name of the file.
            key: Its name there.
        """
        from lazynet.dynet.files import load_lookup_param

        return load_lookup_param(self, fname, key)

    def write_to_textfile(self, fname: str, key: str = "", append: bool = False) -> None:
        """The same as `save`."""
        self.save(fname, key, append)

    def populate_from_textfile(self, fname: str, key: str = "") -> None:
        """The same as `populate`."""
        self.populate(fname, key)

    def _unique(self, name: str | None, kind: str, role: str) -> str:
        """A name within this collection: the one wanted, or a number; counting up where taken."""
        if not isinstance(name, str):
            raise TypeError(f"{role}: got name {name!r}; it must be a text")
        if "/" in name or "_" in name:
            raise RuntimeError(
                f"{role}: got name {name!r}; it must be without '/', which separates collections, "
                "and '_', after which names that are taken get a number"
            )
        count = self._counts.get(kind + name, 0)
        self._counts[kind + name] = count + 1
        return f"{name}_{count}" if count or not name else name


Model = ParameterCollection


def _dimensions(dim: Any, role: str) -> tuple[int, ...]:
    entries = dim if isinstance(dim, (tuple, list)) else (dim,)
    result = []
    for n in entries:
        try:
            number = int(n) if isinstance(n, float) else operator.index(n)
        except TypeError:
            raise TypeError(f"{role}: got dimensions {short(dim)}; they must be numbers") from None
        if number < 0:
            raise ValueError(f"{role}: got dimensions {short(dim)}; they must be at least 0")
        result.append(number)
    return tuple(result)
