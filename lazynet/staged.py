"""Operations that compute all batches of a kind in one workspace.

A fused function keeps what backward needs in arrays over all rows of its kind, so that the gradient
of a weight is one product without gathering anything. The executor knows such operations only by
this interface: a workspace for each evaluation, a call for each batch, one more at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

from lazynet.kinds import Array, Call, Kind, Op

FEW = 4
"""Rows below which weights are multiplied with as they lie."""


class Inner(NamedTuple):
    """One operation inside a staged one, as it runs by itself on one example.

    Attributes:
        kind: What it is.
        line: The line that recorded it.
        step: Which step of a sequence; -1 outside sequences.
        call: Its call.
        args: What it gets, with a row axis except where `call.shared`.
        names: What each of them is.
        results: What it made.
        sources, targets: Numbers of arguments and results among all values of the replay.
        flows: Whether a gradient flows through it.
    """

    kind: Kind
    line: str
    step: int
    call: Call
    args: list[Array]
    names: list[str]
    results: list[Array]
    sources: list[int]
    targets: list[int]
    flows: bool


class InnerError(Exception):
    """An operation inside a staged one failed in a replay; the cause is chained."""

    def __init__(self, kind: Kind, line: str, step: int) -> None:
        super().__init__(kind, line, step)
        self.kind = kind
        self.line = line
        self.step = step


class Replay:
    """A staged operation run on one example, one inner operation after the other.

    Attributes:
        outputs: Once it is through, the numbers of the results: for each its rows in order.
        arguments: By the number of a value, which argument it is.
        shared: Numbers of values without row axis.
    """

    outputs: list[list[int]]
    arguments: dict[int, int]
    shared: set[int]

    def run(self) -> Iterator[Inner]:
        """Run it.

        Raises:
            InnerError: If an inner operation fails.
        """
        raise TypeError(f"{type(self).__name__} defines no run")


class Staged(Op):
    """An operation with a workspace for each kind and evaluation.

    Row arguments come as ``(rows, width)``; those that every row of a batch shares (see
    `Argument.mode`) are values of parameters or computed from them alone.
    """

    staged: ClassVar[bool] = True
    shares = True
    payload = "staged"

    def assemble(self, parts: list[Any], counts: Array | None) -> Any:
        """The payloads of a batch, in whatever form the op wants.

        Args:
            parts: What each node carries.
            counts: Rows of each node; None where each has one.
        """
        return None

    def renewed(self, payload: Any) -> Any:
        """The payload of one node with a new random key in place of the one it has, if any."""
        return payload

    def replay(self, args: list[Array], payload: Any, row: int) -> Replay | None:
        """What runs the operations inside by themselves, to find the one that is to blame.

        Args:
            args: Values of the arguments for one example; of sequences all rows.
            payload: What the node carries.
            row: Which row of the node's batch; 0 for a single one.

        Returns:
            None if there is nothing inside.
        """
        return None

    def failed_inside(self, error: BaseException) -> tuple[Kind, str] | None:
        """Which operation inside an exception comes from, and its line; None if that is unknown."""
        return None

    def on_device(self) -> Staged:
        """The operation that takes this one's place on a GPU."""
        return self

    def ahead(self, payload: Any, segments: Array | None, rows: int) -> Any:
        """What runs on a GPU get as the payload: host arrays in it, however nested, go up at once.

        Args:
            payload: Of `assemble`.
            segments: As in `run`.
            rows: Rows of the batch.
        """
        return payload

    def workspace(
        self,
        rows: int,
        largest: int,
        shared: Sequence[Array | None],
        outputs: list[Array],
        versions: Any = None,
    ) -> Any:
        """What all batches of the kind use.

        Args:
            rows: Rows of all batches together.
            largest: Rows of the largest.
            shared: Per argument the value that all rows share, or None.
            outputs: For each result the rows of all batches, ``(rows, width)``.
            versions: What tells these shared values from all others; None if nothing does.
        """
        raise TypeError(f"{type(self).__name__} defines no workspace")

    def target(self, work: Any, position: int, start: int, stop: int) -> Array | None:
        """Where the rows of an argument are to be gathered; None: anywhere."""
        return None

    def run(
        self,
        work: Any,
        start: int,
        stop: int,
        args: list[Any],
        payload: Any,
        segments: Array | None,
    ) -> None:
        """Compute rows start:stop of the kind.

        Args:
            work: The workspace.
            start: First row.
            stop: After the last.
            args: Per argument ``(rows, width)``, or None where shared.
            payload: Of `assemble`.
            segments: For segmented ops, where each node's rows begin.
        """
        raise TypeError(f"{type(self).__name__} defines no run")

    def backspace(self, work: Any, needs: Sequence[bool], seeds: list[Array]) -> Any:
        """What all batches of one backward use.

        Args:
            work: The workspace of forward.
            needs: Per argument, whether it is shared and needs a gradient.
            seeds: For each result the cotangents of the rows of all batches.
        """
        raise TypeError(f"{type(self).__name__} defines no backspace")

    def foresee(
        self,
        back: Any,
        start: int,
        stop: int,
        needs: Sequence[bool],
        selected: Array | None,
        segments: Array | None,
    ) -> None:
        """On a GPU: what `reverse` will be called with, in the order of its calls."""

    def foreseen(self, back: Any) -> list[Array]:
        """Index arrays that `reverse` and `finish` will use, after all calls of `foresee`."""
        return []

    def reverse(
        self,
        back: Any,
        start: int,
        stop: int,
        args: list[Any],
        needs: Sequence[bool],
        selected: Array | None,
        segments: Array | None,
    ) -> list[Array | None]:
        """Gradients of the row arguments of a batch.

        Args:
            back: Of `backspace`.
            start: First row of the batch.
            stop: After the last.
            args: What forward saw.
            needs: Per argument, whether it has rows and needs a gradient.
            selected: Which rows of the batch take part; None: all. Of a segmented op, which nodes.
            segments: As in `run`.

        Returns:
            Per argument ``(rows taking part, width)``, or None.
        """
        raise TypeError(f"{type(self).__name__} defines no reverse")

    def finish(self, back: Any) -> list[Any]:
        """Gradients of the shared arguments from all rows that took part; None for the others."""
        raise TypeError(f"{type(self).__name__} defines no finish")


__all__ = ["Inner", "InnerError", "Replay", "Staged"]
