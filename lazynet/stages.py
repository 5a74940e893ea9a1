"""Staged kinds of an evaluation: which batches use one workspace."""

from __future__ import annotations

from typing import Any

from lazynet.kinds import Array
from lazynet.layout import SHARED, Layout, Step


class Stage:
    """A staged kind in one evaluation.

    Attributes:
        work: The op's workspace.
        rows, largest: Rows of all batches, and of the largest.
        filled: Rows computed so far.
        spans: For each result its arena, and first and last row there.
        shared: Per argument, the node whose value all rows share, or -1.
        results: Where `work` has its results.
    """

    __slots__ = ("filled", "largest", "results", "rows", "shared", "spans", "work")

    def __init__(self, step: Step) -> None:
        self.work: Any = None
        self.results: list[Array] = []
        self.rows = 0
        self.largest = 0
        self.filled = 0
        self.spans = [(arena, start, start) for arena, start, _, _ in step.outputs]
        self.shared = [a.start if a.mode == SHARED else -1 for a in step.args]

    def add(self, step: Step) -> None:
        """Count a batch."""
        self.rows += step.rows
        self.largest = max(self.largest, step.rows)
        self.spans = [(a, first, o[2]) for (a, first, _), o in zip(self.spans, step.outputs)]

    def fresh(self) -> Stage:
        """The same batches, of which none has run."""
        stage: Stage = Stage.__new__(Stage)
        stage.work, stage.results = None, []
        stage.rows, stage.largest, stage.filled = self.rows, self.largest, 0
        stage.spans, stage.shared = self.spans, self.shared
        return stage

    def slices(self, arenas: list[Array]) -> list[Array]:
        """The rows of all batches, for each result, in arenas laid out like the evaluation's."""
        return [arenas[arena][start:stop] for arena, start, stop in self.spans]


def stage_key(step: Step) -> Any:
    """What batches have in common that use one workspace."""
    return (step.kind, tuple([a.start for a in step.args if a.mode == SHARED]))


def stages_of(layout: Layout) -> dict[Any, Stage]:
    """The staged kinds of a layout."""
    known: dict[Any, Stage] | None = layout.stages
    if known is None:
        known = layout.stages = {}
        for step in layout.steps:
            if step.op.staged:
                key = stage_key(step)
                stage = known.get(key)
                if stage is None:
                    stage = known[key] = Stage(step)
                stage.add(step)
    return {key: stage.fresh() for key, stage in known.items()}
