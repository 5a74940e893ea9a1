"""Parameters, lookup parameters, and the collections that own them."""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.dynet.expression import Expression, wrap
from lazynet.dynet.graph import ALWAYS
from lazynet.kinds import Array
from lazynet.parameters import Lookup, Parameter


class Parameters(Expression):
    """A trainable array; an expression that belongs to no graph."""

    __slots__ = ()
    node: Parameter

    def __init__(self, node: Parameter) -> None:
        super().__init__(node, ALWAYS)

    def shape(self) -> tuple[int, ...]:
        """Its dimensions."""
        return self.node.shape

    def as_array(self) -> Array:
        """A copy of the values."""
        return np.array(self.node.values, np.float64)

    def grad_as_array(self) -> Array:
        """A copy of the accumulated gradient; zeros if there is none."""
        node = self.node
        return np.array(node.gradient() if node.has_gradient() else np.zeros(node.shape))

    def set_value(self, arr: Any) -> None:
        """Set the values."""
        self.node.array = np.asarray(arr)


class LookupParameters(Parameters):
    """A table of vectors or matrices, one for each index."""

    __slots__ = ()
    node: Lookup

    def __getitem__(self, index: Any) -> Expression:
        return wrap(self.node[int(index)])

    def init_from_array(self, arr: Any) -> None:
        """Set the values."""
        self.node.array = np.asarray(arr)


class ParameterCollection:
    """Owns parameters."""

    def __init__(self) -> None:
        self._parameters: list[Parameters] = []
        self._lookups: list[LookupParameters] = []
        self._rng = np.random.default_rng(0)

    def add_parameters(self, dim: Any, init: Any = None, name: str = "") -> Parameters:
        """Make a parameter."""
        shape = (dim,) if isinstance(dim, int) else tuple(dim)
        bound = np.sqrt(6 / sum(shape))
        values = self._rng.uniform(-bound, bound, shape).astype(np.float32)
        p = Parameters(Parameter(values, f"/_{len(self._parameters) + len(self._lookups)}"))
        self._parameters.append(p)
        return p

    def add_lookup_parameters(self, dim: Any, init: Any = None, name: str = "") -> LookupParameters:
        """Make a table."""
        values = self._rng.uniform(-0.1, 0.1, tuple(dim)).astype(np.float32)
        p = LookupParameters(Lookup(values, f"/_{len(self._parameters) + len(self._lookups)}"))
        self._lookups.append(p)
        return p
