"""A finding: one reason why a run has more batches than it could have, in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lazynet.inspect.runs import BATCH_SECONDS, Run
from lazynet.kinds import Kind

FEWEST: Final = 3
"""Batches that a finding has to save."""
SHARE: Final = 0.05
"""And which share of the time."""


@dataclass(frozen=True)
class Finding:
    """One reason why there are more batches than there could be.

    Attributes:
        reason: "parameters", "attributes", "shapes", "dtypes", "recurrence", "running sum",
            "tree", "order", "function", "constants", "evaluations" or "no_autobatch".
        text: What was found, with source lines.
        remedy: What to do about it.
        lines: The source lines, ``file:line``, those that cost most first.
        batches: How many batches the remedy saves.
        seconds: Estimate of the time it saves, forward.
    """

    reason: str
    text: str
    remedy: str
    lines: tuple[str, ...]
    batches: int
    seconds: float


def worth(run: Run, batches: int) -> bool:
    """Whether to save so many batches of a run matters."""
    return batches >= FEWEST and batches * BATCH_SECONDS >= SHARE * run.seconds


def called(kind: Kind) -> str:
    """The operation as text: its name and the shapes it works on."""
    shapes = [str(t.shape) for t in kind.args] or [str(kind.type.shape)]
    if len(shapes) > 4:
        shapes = [*shapes[:3], "..."]
    return f"{kind.op.name} of {', '.join(shapes)}"


def some(texts: Iterable[str], limit: int = 3) -> str:
    """The first few distinct texts."""
    distinct = list(dict.fromkeys(texts))
    return ", ".join(distinct[:limit]) + (", ..." if len(distinct) > limit else "")
