"""Memory of the updates: what is remembered per parameter, flat buffers of small parameters, and
scratch arrays.

An update of a small parameter takes less time than the calls that make it. Small parameters that
have had equally many updates are therefore updated together, as one vector: a `Chunk`. Its slots
are flat arrays of which the slots of each parameter are views; values and gradients, which belong
to the parameters, are copied in and out while they are in a core's cache.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazynet.backend import module_of, to_host, where_it_lies
from lazynet.kinds import Array
from lazynet.parameters import Parameter

BLOCK_BYTES = 1 << 18
"""Size of the part of an array that is updated at a time: with the same part of the gradient, of
the slots and of the scratch arrays it stays in a core's cache, and no update needs memory in
proportion to a large parameter."""

GPU_CHUNK = 1 << 24
"""Elements of a chunk on a GPU, where each update is a fixed number of launches, however large."""

SUM, GRADIENT, DECAY = -1, -2, -3
"""Numbers of the scratch arrays of `Gradient` and `Optimizer`; rules count theirs from 0."""

SMALLEST_SCALE = 1e-6
"""Of `State.scales`: quotients stay within the range of float32."""


def block_size(dtype: np.dtype[Any]) -> int:
    """Elements of a block."""
    return BLOCK_BYTES // dtype.itemsize


def chunk_size(like: Array) -> int:
    """Elements of a chunk of parameters like this one."""
    return block_size(like.dtype) if type(like) is np.ndarray else GPU_CHUNK


@dataclass(eq=False)
class State:
    """What an optimiser remembers of one parameter.

    Attributes:
        updates: How many updates the parameter has had.
        slots: Arrays shaped like the parameter's values, by name. Those of `scales` hold quotients.
        chunk: The flat buffers that the slots are views of, if any.
        moved: Of a table with row gradients, for each row whether a slot may be other than zero;
            None where that is not known.
        scales: Factors that slots of a table are still to be multiplied by. All rows decay in a
            step, though few have a gradient: it is the factor that decays, and no array.
    """

    updates: int
    slots: dict[str, Array]
    chunk: Chunk | None = None
    moved: Array | None = None
    scales: dict[str, float] = field(default_factory=dict)

    def decay(self, factors: dict[str, float]) -> None:
        """Multiply slots by factors."""
        for slot, factor in factors.items():
            self.scales[slot] = self.scales.get(slot, 1.0) * factor
            if self.scales[slot] < SMALLEST_SCALE:
                self._settle(slot)

    def settle(self) -> None:
        """Have the slots hold their values."""
        for slot in list(self.scales):
            self._settle(slot)

    def _settle(self, slot: str) -> None:
        self.slots[slot] *= self.scales.pop(slot)

    def copies(self) -> dict[str, Array]:
        """The values of the slots, on the host."""
        found = {}
        for slot, array in self.slots.items():
            with where_it_lies(array):
                scaled = array * self.scales[slot] if slot in self.scales else array.copy()
                found[slot] = to_host(scaled)
        return found


class Chunk:
    """Flat buffers of some small parameters of one dtype.

    On a GPU the parameters' values are parts of `x`, and nothing is copied.

    Attributes:
        states: Those of the parameters, in order.
        slots: One flat array for each name; the slots of `states` become views of them.
        x: Flat values, while they are updated.
        gradient: Flat gradient.
    """

    __slots__ = ("gradient", "slots", "states", "x", "x_parts")

    def __init__(self, parameters: list[Parameter], states: list[State]) -> None:
        dtype = parameters[0].values.dtype
        cuts = np.cumsum([0, *(p.values.size for p in parameters)]).tolist()
        self.states = states
        make = module_of(parameters[0].values).empty
        self.x = make(cuts[-1], dtype)
        self.gradient = make(cuts[-1], dtype)
        places = list(zip(cuts, cuts[1:], [p.values.shape for p in parameters]))
        self.x_parts = [self.x[a:b].reshape(shape) for a, b, shape in places]
        self.slots = {
            name: np.concatenate([state.slots[name] for state in states], axis=None)
            for name in states[0].slots
        }
        for state, (a, b, shape) in zip(states, places):
            state.slots = {name: flat[a:b].reshape(shape) for name, flat in self.slots.items()}
            state.chunk = self

    def read(self, parameters: list[Parameter]) -> None:
        """Copy the parameters' values to `x`."""
        if type(self.x) is not np.ndarray:
            for p, part in zip(parameters, self.x_parts):
                if p.values is not part:
                    p.share(part)
            return
        np.concatenate([p.values for p in parameters], axis=None, out=self.x)

    def write(self, parameters: list[Parameter]) -> None:
        """Copy `x` to the parameters' values."""
        if type(self.x) is not np.ndarray:
            return
        for p, part in zip(parameters, self.x_parts):
            p.values[...] = part


def chunk_of(parameters: list[Parameter], states: list[State]) -> Chunk:
    """The flat buffers of just these parameters, made anew where they were last in others."""
    known = states[0].chunk
    if known is None or known.states != states or any(s.chunk is not known for s in states):
        return Chunk(parameters, states)
    return known


def cut(parameters: list[Parameter], limit: int) -> Iterator[slice]:
    """Cut a list of parameters into runs of at most `limit` elements (or of one parameter)."""
    start = size = 0
    for i, p in enumerate(parameters):
        size += p.values.size
        if size > limit and i > start:
            yield slice(start, i)
            start, size = i, p.values.size
    yield slice(start, len(parameters))


class _Buffers(threading.local):
    """Each thread's scratch memory, by number and dtype."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, Any], Array] = {}


_buffers = _Buffers()


def scratch(like: Array, number: int) -> Array:
    """An array shaped like another one, holding anything.

    It is this thread's scratch array of that number: the next call with it overwrites it.
    """
    if type(like) is not np.ndarray:
        return np.empty_like(like)  # CuPy keeps memory by itself
    key = number, like.dtype
    buffer = _buffers.known.get(key)
    if buffer is None or buffer.size < like.size:
        if like.size > block_size(like.dtype):
            return np.empty_like(like)  # not worth keeping
        buffer = _buffers.known[key] = np.empty(block_size(like.dtype), like.dtype)
    return buffer[: like.size].reshape(like.shape)
