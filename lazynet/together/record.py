"""What the last run of coroutines came to: how full its rounds were, and what did not batch."""

from __future__ import annotations

import threading


class Record:
    """Figures of one run.

    Attributes:
        examples: Coroutines that ended.
        rounds: Evaluations of what coroutines waited for.
        waiting: Coroutines that waited, summed over the rounds.
        alone: For each example that computed values by itself (`.value()` in a coroutine), how
            often: those evaluations were not batched with other examples.
    """

    __slots__ = ("alone", "examples", "rounds", "waiting")

    def __init__(self) -> None:
        self.examples = 0
        self.rounds = 0
        self.waiting = 0
        self.alone: dict[int, int] = {}

    def ended(self, index: int, alone: int) -> None:
        """Note that an example ended."""
        self.examples += 1
        if alone:
            self.alone[index] = alone

    def round(self, waiting: int) -> None:
        """Note a round."""
        self.rounds += 1
        self.waiting += waiting


class _Last(threading.local):
    record: Record | None = None


LAST = _Last()
"""Holds the record of the run that this thread began last."""


__all__ = ["LAST", "Record"]
