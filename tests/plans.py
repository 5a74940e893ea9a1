"""Prints a digest of every plan: two builds of the package that print the same plan the same."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from test_schedule import EVERY_WORKLOAD

from lazynet import kinds
from lazynet.collect import collect
from lazynet.layout import Layout, lay_out
from lazynet.schedule import schedule


def digest(roots: list[Any]) -> str:
    """Graph, batches, order, rows and index arrays."""
    graph = collect(roots)
    plan = schedule(graph)
    layout: Layout = lay_out(graph, plan)
    parts: list[Any] = [*graph.arrays(), graph.roots, plan.order, plan.bounds, plan.shared]
    parts += [plan.lower_bound(), layout.first, layout.arena, layout.arenas]
    for step in layout.steps:
        parts += [str(step.kind), step.nodes, step.outputs, step.segments, step.shared]
        for a in step.args:
            parts += [a.mode, a.arena, a.start, a.stop, a.index]
    text = "\n".join(str(p.tolist() if isinstance(p, np.ndarray) else p) for p in parts)
    return f"{len(plan.bounds) - 1} batches, {hashlib.sha256(text.encode()).hexdigest()}"


def main() -> None:
    print("#", kinds.__file__)
    for name, build in EVERY_WORKLOAD.items():
        print(name, digest(build()))


if __name__ == "__main__":
    main()
