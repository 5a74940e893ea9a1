"""Where the time goes: while a `Timer` is set, every batch that is computed is timed.

Chains of batches are then computed one batch after the other, so that each gets its own time.
"""

from __future__ import annotations

from time import perf_counter
from typing import Final

from lazynet.kinds import Kind

FORWARD: Final = "FWD"
BACKWARD: Final = "BWD"
SHARED_GRADIENTS: Final = "BWD shared"
"""Gradients of what a batch shares, such as weights: all batches of a kind at once."""


class Timer:
    """Seconds by direction and kind, over all evaluations and threads while it is set.

    Attributes:
        seconds: Totals by (direction, kind).
        batches: How many batches each stands for.
        rows: And how many rows.
        trace: Where each batch goes as it runs: a list of (direction, kind, rows), or None.
    """

    def __init__(self, trace: bool = False) -> None:
        self.seconds: dict[tuple[str, Kind], float] = {}
        self.batches: dict[tuple[str, Kind], int] = {}
        self.rows: dict[tuple[str, Kind], int] = {}
        self.trace: list[tuple[str, Kind, int]] | None = [] if trace else None

    def add(self, direction: str, kind: Kind, rows: int, seconds: float) -> None:
        """Count a batch. Called under the lock of evaluations."""
        key = (direction, kind)
        self.seconds[key] = self.seconds.get(key, 0.0) + seconds
        self.batches[key] = self.batches.get(key, 0) + 1
        self.rows[key] = self.rows.get(key, 0) + rows
        if self.trace is not None:
            self.trace.append((direction, kind, rows))


class Timing:
    """Holds the timer in force."""

    timer: Timer | None = None

    def now(self) -> float:
        """When a batch begins; 0 without a timer."""
        return 0.0 if self.timer is None else perf_counter()

    def add(self, direction: str, kind: Kind, rows: int, began: float) -> None:
        """Count a batch that began then."""
        if self.timer is not None and began:
            self.timer.add(direction, kind, rows, perf_counter() - began)


TIMING: Final = Timing()
