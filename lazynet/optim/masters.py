"""Values in float32 of parameters that are stored in 16 bits: what optimisers update.

An update is often smaller than half the distance between neighbouring numbers of 16 bits, and would
be lost in rounding every time. So an optimiser adds to a float32 copy, the master, and the
parameter is that, rounded.

Source: P. Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from lazynet.backend import device_of, put_rows, take_rows_as, to_device
from lazynet.kinds import FLOAT32, Array
from lazynet.optim.gradient import table
from lazynet.parameters import Lookup, Parameter


class Masters:
    """The masters of an optimiser's parameters: parameters of the same names, in float32."""

    def __init__(self) -> None:
        self._known: dict[str, Parameter] = {}
        self._seen: dict[str, int] = {}

    @contextmanager
    def standing_in(
        self, parameters: list[Parameter], some_rows: bool
    ) -> Iterator[list[Parameter]]:
        """The masters, with the gradients of the parameters, which are written afterwards.

        Those of which the gradient was used up are, also where the update was interrupted.

        Args:
            parameters: These.
            some_rows: Whether of a table only the rows that have a gradient change.
        """
        masters = [self._of(p) for p in parameters]
        try:
            yield masters
        finally:
            for p, master in zip(parameters, masters):
                if p.has_gradient() and not master.has_gradient():
                    if p.trainable:
                        _write(p, master, some_rows)
                        p.changed()
                        self._seen[p.name] = p.version()
                    p.clear_gradient()

    def _of(self, p: Parameter) -> Parameter:
        master = self._known.get(p.name)
        if master is None or (self._seen[p.name] != p.version() and not _rounds_to(master, p)):
            master = self._known[p.name] = type(p)(p.values.astype(FLOAT32), p.name)
        self._seen[p.name] = p.version()
        master.trainable = p.trainable
        master.pending, master.pending_rows = p.pending, list(p.pending_rows)
        return master

    def values(self, p: Parameter) -> Array:
        """The master's values; not to be written into."""
        found: Array = self._of(p).values
        return found

    def put(self, p: Parameter, values: Array) -> None:
        """Set the master's values."""
        host = np.array(values, FLOAT32, order="C")
        master = type(p)(to_device(host, device_of(p.values)), p.name)
        self._known[p.name] = master
        self._seen[p.name] = -1  # whether they belong to those of the parameter is seen later


def _rounds_to(master: Parameter, p: Parameter) -> bool:
    """Whether the parameter has the master's values, though it was written into (a file read)."""
    if master.shape != p.shape:
        return False
    return bool((master.values.astype(p.values.dtype) == p.values).all())


def _write(p: Parameter, master: Parameter, some_rows: bool) -> None:
    if not (some_rows and isinstance(p, Lookup) and p.pending is None and p.values.size):
        p.values[...] = master.values
        return
    target, source = table(p, p.values), table(p, master.values)
    for rows, _ in p.pending_rows:
        put_rows(target, rows, take_rows_as(p.values.dtype, source, rows))
