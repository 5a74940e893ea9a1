"""On which device a graph is computed, and what has to be copied there beforehand.

Parameters decide: a graph is computed where its parameters lie. Constants have no device of their
own; what depends on constants alone is computed where `ln.use_device` says. Index arrays, payloads
and inputs of an evaluation on a GPU go there in one transfer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lazynet.backend import CPU, device_of
from lazynet.cells import readable
from lazynet.collect import Graph
from lazynet.errors import DeviceError
from lazynet.evaluation import Evaluation
from lazynet.gathers import gathers_of
from lazynet.kinds import Array
from lazynet.layout import TAKE, Layout, Step
from lazynet.leaves import Input
from lazynet.modes import MODES
from lazynet.payloads import assemble


def device_for(graph: Graph) -> str:
    """The device of a graph.

    Raises:
        DeviceError: If what it is computed from lies on several.
    """
    found: dict[str, str] = {}
    for leaf in graph.leaves.values():
        found.setdefault(device_of(leaf.values), f"parameter {leaf.name!r}")
    for kind in graph.kinds:
        if isinstance(kind.op, Input) and kind.op.device != CPU:
            found.setdefault(kind.op.device, f"an input (line {readable(kind.line)})")
    for evaluation, number in graph.externals:
        if evaluation.placed():
            kind = evaluation.layout.kinds[int(evaluation.layout.code[number])]
            found.setdefault(evaluation.device, f"the value of {kind} (line {readable(kind.line)})")
    if len(found) > 1:
        listing = ", ".join(f"{what} on {device!r}" for device, what in found.items())
        last = graph.kinds[-1]
        raise DeviceError(
            f"evaluation of {last} (line {readable(last.line)}): it depends on {listing}; "
            "one evaluation is computed on one device; make the models on the same device, or hand "
            "values over as arrays: ln.constant(x.value())"
        )
    return next(iter(found), MODES.get().device)


def prepare(
    evaluation: Evaluation, graph: Graph, locate: Any, rows: list[Array | None]
) -> dict[int, Any]:
    """Copy to the GPU, at once, what forward and backward of an evaluation will refer to.

    Args:
        evaluation: The evaluation.
        graph: Its graph.
        locate: What nodes carry (`payloads_of`).
        rows: Per link, the rows of earlier evaluations that come from the host, or None.

    Returns:
        The payload of each batch that has one, and the numbers of each batch of inputs.
    """
    prepared: dict[int, Any] = {}
    layout = evaluation.layout
    for k, step in enumerate(layout.steps):
        if isinstance(step.op, Input):
            parts = locate(step.nodes)
            prepared[k] = np.concatenate(parts) if step.op.device == CPU else list(parts)
        elif step.op.staged:
            staged: Any = step.op
            op = staged.on_device()
            payload = op.assemble(locate(step.nodes), step.counts)
            prepared[k] = op.ahead(payload, step.segments, step.rows)
        elif step.op.payload is not None:
            prepared[k] = assemble(step.op.payload, locate(step.nodes), step)
    sent = [*_arrays(list(prepared.values())), *_arrays(list(evaluation.cuts.values()))]
    for link, theirs in zip(evaluation.links, rows):
        sent += [link.ours, link.theirs] if theirs is None else [link.ours, theirs]
    evaluation.mirror.upload([*sent, *_indices(layout)])
    return prepared


def _indices(layout: Layout) -> Iterator[Array]:
    for step in layout.steps:
        yield from _of_step(step)
    yield from layout.rebatched.values()
    if layout.gathers is None:
        layout.gathers = gathers_of(layout)
    yield from layout.gathers.values()


def _of_step(step: Step) -> Iterator[Array]:
    for argument in step.args:
        if argument.mode == TAKE:
            assert argument.index is not None
            yield argument.index
    if step.segments is not None:
        yield step.segments


def _arrays(x: Any) -> Iterator[Array]:
    """The host arrays in nested containers."""
    if isinstance(x, np.ndarray):
        yield x
    elif isinstance(x, dict):
        for value in x.values():
            yield from _arrays(value)
    elif isinstance(x, (list, tuple)):
        for value in x:
            yield from _arrays(value)
