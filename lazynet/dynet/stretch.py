"""`Stretch`: the part of a computation graph that an expression was recorded in."""

from __future__ import annotations


class Stretch:
    """Part of a computation graph, from its start or a checkpoint to the next one.

    Attributes:
        version: Of the graph (`cg_version`).
        alive: Whether its expressions may be used.
        immediate: Whether expressions are computed when they are recorded.
        validate: Whether values are checked for NaN and infinity when they are.
        direct: Whether it is the one that its thread records in now, and nothing is to be computed
            at once: what is made of its expressions belongs to it without further ado.
    """

    __slots__ = ("alive", "direct", "immediate", "validate", "version")

    def __init__(self, version: int, immediate: bool = False, validate: bool = False) -> None:
        self.version = version
        self.alive = True
        self.immediate = immediate
        self.validate = validate
        self.direct = not immediate

    def end(self) -> None:
        """Its expressions may not be used any more."""
        self.alive = False
        self.direct = False

    def next(self) -> Stretch:
        """The stretch of the same graph that follows it."""
        self.direct = False
        return Stretch(self.version, self.immediate, self.validate)


ALWAYS = Stretch(-1)
"""Of parameters, which belong to no graph."""
ALWAYS.direct = False

__all__ = ["ALWAYS", "Stretch"]
