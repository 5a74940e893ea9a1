"""What a trainer updates together: small parameters as one vector, and the rows of several tables.

An update of a few numbers takes the time of the calls that make it, so there are few of these: the
values of small parameters are parts of one array, and the rows that have a gradient are gathered
from all tables into one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazynet.backend import Sources, add_rows, join, module_of, put_rows, take_rows
from lazynet.dynet.rules import Rule
from lazynet.kinds import Array
from lazynet.optim.flat import Chunk, block_size, chunk_size, cut
from lazynet.optim.gradient import Gradient, from_sources, gradient_of, norm, table
from lazynet.optim.work import join_sources, small_size
from lazynet.parameters import Lookup, Parameter, finish, gradients_of

FLOAT = np.dtype(np.float32)
TOGETHER = block_size(FLOAT)
"""Elements up to which rows of tables are gathered and put back: arrays that stay in a cache."""

_NOTHING = np.empty(0, FLOAT)


class Vector:
    """Small parameters that are updated as one vector, of which their values are parts.

    Attributes:
        parameters: These.
        members: For each, its part, and zeros like it.
        chunk: Their values, slots, and gradient as flat arrays.
        spare: Such an array for intermediate results, or the gradient again.
    """

    __slots__ = ("chunk", "members", "parameters", "spare")

    def __init__(self, parameters: list[Parameter], rule: Rule) -> None:
        states = [rule.state(p) for p in parameters]
        self.parameters = parameters
        self.chunk = chunk = Chunk(parameters, states)
        self.spare = chunk.gradient if rule.in_place else np.empty_like(chunk.x)
        zeros = [np.zeros_like(p.values, order="C") for p in parameters]
        self.members = list(zip(parameters, chunk.x_parts, zeros))
        for state in states:
            state.updates = max(state.updates, 1)  # has slots that are not to be forgotten


class Rows:
    """The rows of a table that have a gradient.

    Attributes:
        table: The table.
        rows: ``(k,)`` their numbers, each once.
        values: ``(k, width)`` their gradients, to be read only.
    """

    __slots__ = ("rows", "table", "values")

    def __init__(self, table: TableRows, rows: Array, values: Array) -> None:
        self.table = table
        self.rows = rows
        self.values = values


class TableRows:
    """A table of which rows are updated.

    Attributes:
        parameter: The table.
        state: What the rule remembers of it.
    """

    __slots__ = ("_places", "_values", "_views", "parameter", "state")

    def __init__(self, parameter: Lookup, rule: Rule) -> None:
        self.parameter = parameter
        self.state = rule.state(parameter)
        self._places: Array | None = None
        self._values: Array | None = None
        self._views: list[Array] = []

    def views(self, rule: Rule) -> list[Array]:
        """Values and slots as arrays of rows."""
        p = self.parameter
        if self._values is not p.values:
            slots = self.state.slots
            self._views = [table(p, array) for array in (p.values, *[slots[n] for n in rule.slots])]
            self._values = p.values
        return self._views

    def rows(self) -> Rows | None:
        """The rows with a gradient; None where rows are not all there is to it."""
        p = self.parameter
        pending = p.pending_rows
        if p.pending is not None or not pending or p.values.size == 0:
            return None
        rows, values = pending[0]
        if len(pending) > 1:
            rows = np.concatenate([r for r, _ in pending])
            values = np.concatenate([v.reshape(len(r), -1) for r, v in pending if len(r)])
        k = len(rows)
        if k == 0:
            return None
        values = values.reshape(k, -1)
        if k > 16 or len(set(rows.tolist())) < k:
            rows, values = self._summed(rows, values)
            p.pending_rows = [(rows, values)]
        return Rows(self, rows, values)

    def _summed(self, rows: Array, values: Array) -> tuple[Array, Array]:
        """Each row once, with the sum of its gradients; without sorting."""
        places = self._places
        if places is None:
            places = self._places = np.empty(len(self.parameter.values), np.int64)
        numbers = np.arange(len(rows))
        places[rows] = numbers
        last = np.flatnonzero(places[rows] == numbers)  # where each is mentioned last
        if len(last) == len(rows):
            return rows, values
        distinct = rows[last]
        places[distinct] = numbers[: len(distinct)]
        sums = module_of(values).zeros((len(distinct), values.shape[1]), values.dtype)
        add_rows(sums, places[rows], values)
        return distinct, sums


def update_rows(
    rule: Rule, parts: list[Rows], gradient: Array, rate: Any, scale: float, count: int
) -> None:
    """Update rows of some tables as one vector.

    Args:
        rule: The update rule.
        parts: Rows of each table.
        gradient: Their gradients as one vector; of a single table, as rows.
        rate: The rate of this update.
        scale: Factor on the gradients.
        count: Number of updates, this one included.
    """
    single = len(parts) == 1
    if scale != 1.0:
        gradient = gradient * FLOAT.type(scale)
    views = []
    for part in parts:
        state = part.table.state
        state.updates = count
        state.moved = None
        if state.scales:
            state.settle()
        views.append(part.table.views(rule))
    if rule.linear:
        step = np.multiply(gradient, -rate)
        for (values,), part, own in zip(views, parts, _pieces(step, parts)):
            add_rows(values, part.rows, own)
        return
    taken = []
    for arrays in zip(*views):
        pieces = [take_rows(a, part.rows) for a, part in zip(arrays, parts)]
        taken.append(pieces[0] if single else np.concatenate(pieces, None))
    slots = dict(zip(rule.slots, taken[1:]))
    rule.move(taken[0], gradient, slots, rate, np.empty_like(gradient))
    for arrays, flat in zip(zip(*views), taken):
        for array, part, own in zip(arrays, parts, _pieces(flat, parts)):
            put_rows(array, part.rows, own)


def _pieces(flat: Array, parts: list[Rows]) -> list[Array]:
    """What belongs to each table."""
    if len(parts) == 1:
        return [flat]
    pieces = []
    start = 0
    for part in parts:
        stop = start + part.values.size
        pieces.append(flat[start:stop].reshape(part.values.shape))
        start = stop
    return pieces


class Step:
    """The gradients of one update, but for those of `Vector`.

    Attributes:
        rows: Of tables, to be updated together.
        gradient: Their gradients as one vector; of a single table, as rows.
        alone: Parameters to be updated by themselves, with their gradients; None stands for zero.
    """

    __slots__ = ("alone", "gradient", "rows")

    def __init__(self, plan: Plan, rule: Rule, sources: Sources | None) -> None:
        self.rows: list[Rows] = []
        self.alone: list[tuple[Parameter, Gradient | None]] = []
        some_rows = rule.some_rows()
        if sources is not None:  # each is one launch
            self._read(plan, some_rows, sources)
            return
        left = TOGETHER
        for entry in plan.tables:
            part = entry.rows() if some_rows and rule.together else None
            if part is None:
                if not some_rows or entry.parameter.has_gradient():
                    self.alone.append((entry.parameter, gradient_or_none(entry.parameter)))
            elif part.values.size > left and not rule.linear:
                gradient = Gradient(None, part.rows, part.values)
                self.alone.append((entry.parameter, gradient))
            else:
                left -= part.values.size
                self.rows.append(part)
        for p in plan.alone:
            self.alone.append((p, gradient_or_none(p)))
        parts = self.rows
        self.gradient = parts[0].values if len(parts) == 1 else _NOTHING
        if len(parts) > 1:
            self.gradient = np.concatenate([part.values for part in parts], None)

    def _read(self, plan: Plan, some_rows: bool, sources: Sources) -> None:
        """Everything by itself; gradients are there when the sources have been read."""
        tables = [entry.parameter for entry in plan.tables]
        for p in [*tables, *plan.alone]:
            if p.has_gradient():
                self.alone.append((p, from_sources(p, sources)))
            elif not some_rows or not isinstance(p, Lookup):
                self.alone.append((p, None))

    def square(self) -> float:
        """The sum of the squares of the gradients."""
        total = square(self.gradient.reshape(-1)) if self.rows else 0.0
        for _, gradient in self.alone:
            if gradient is not None:
                total += gradient.norm() ** 2
        return total

    def apply(self, rule: Rule, lr: float, rate: Any, scale: float, count: int) -> None:
        """Update, and drop the gradients.

        Args:
            rule: The update rule.
            lr: Learning rate.
            rate: The rate of this update.
            scale: Factor on the gradients.
            count: Number of updates, this one included.
        """
        if self.rows:
            try:
                update_rows(rule, self.rows, self.gradient, rate, scale, count)
            finally:
                finish([part.table.parameter for part in self.rows])
        for p, gradient in self.alone:
            try:
                rule.apply(p, gradient, lr, scale, count)
            finally:
                finish([p])


class Plan:
    """How the parameters of a collection are updated.

    Attributes:
        size: How many parameters and tables there were.
        vectors: The small parameters.
        alone: The others.
        tables: The tables.
        frozen: What is not updated.
    """

    __slots__ = ("alone", "frozen", "size", "tables", "vectors")

    def __init__(self, leaves: list[Parameter], rule: Rule) -> None:
        self.size = len(leaves)
        small: list[Parameter] = []
        self.alone: list[Parameter] = []
        self.tables: list[TableRows] = []
        self.frozen: list[Parameter] = []
        for p in leaves:
            if not p.trainable:
                self.frozen.append(p)
            elif isinstance(p, Lookup):
                self.tables.append(TableRows(p, rule))
            elif p.values.size > small_size(p.values) or not rule.together or p.viewed():
                # where somebody holds a view of the values, they must stay where they are
                self.alone.append(p)
            elif p.values.size:
                small.append(p)
        parts = cut(small, chunk_size(small[0].values)) if small else ()
        self.vectors = [Vector(small[part], rule) for part in parts]

    def read(self, size: int, sources: Sources | None) -> bool:
        """Bring the gradients of the small parameters together.

        Args:
            size: How many parameters and tables there are.
            sources: On a GPU, what they are to be brought together by.

        Returns:
            Whether the plan still holds; if not, nothing is to be made of it.
        """
        if size != self.size:
            return False
        for p in self.frozen:
            if p.trainable:
                return False
        for p in self.alone:
            if not p.trainable:
                return False
        for entry in self.tables:
            if not entry.parameter.trainable:
                return False
        for vector in self.vectors:
            gradients = gradients_of(vector.members, sources is None)
            if gradients is None:
                return False
            if sources is None:
                join(gradients, vector.chunk.gradient)
            else:
                join_sources(vector.parameters, vector.chunk.gradient, sources)
        return True


def square(gradient: Array) -> float:
    """The sum of the squares of a flat array; infinite or NaN where an element is."""
    result = float(gradient.dot(gradient))
    if 1e-30 < result < 1e30:
        return result
    return norm(gradient) ** 2  # squares leave the range of float32


def gradient_or_none(p: Parameter) -> Gradient | None:
    """The gradient of a parameter; None if it has none."""
    return gradient_of(p) if p.has_gradient() else None
