"""What is raised where a batch fails: which operation, and the line that recorded it."""

from __future__ import annotations

from lazynet.backend import device_is_full
from lazynet.collect import Graph
from lazynet.errors import EvaluationError, LazynetError, OutOfMemoryError
from lazynet.kinds import Kind


def failure(error: Exception, kind: Kind, rows: int, graph: Graph, node: int) -> Exception:
    """The error that says which operation failed, and where it was recorded."""
    where = (
        f"first recorded at {kind.line} (under ln.debug() this is the line of the very expression)"
    )
    for tape, indices, numbers in graph.tapes:
        if tape.lines:
            for i, number in zip(indices, numbers):
                if number == node and int(i) in tape.lines:
                    where = f"recorded at {tape.lines[int(i)]}"
    text = f"{kind} x {rows} rows, {where}: {error}"
    if isinstance(error, LazynetError):
        return type(error)(text)
    if isinstance(error, MemoryError):
        if hasattr(error, "_size"):  # CuPy's
            text = f"{kind} x {rows} rows, {where}: {device_is_full(error)}"
            return OutOfMemoryError(text)
        return OutOfMemoryError(f"{text}; evaluate fewer examples at a time")
    return EvaluationError(text)
