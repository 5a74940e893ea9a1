"""`ln.profile`: where the time of a block went, by phase and by operation."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager
from html import escape
from time import perf_counter
from types import TracebackType
from typing import Any, NamedTuple

from lazynet.cells import readable
from lazynet.errors import SettingError
from lazynet.inspect.output import path_of, write
from lazynet.inspect.report import align, framed, html_table, wrapped
from lazynet.inspect.words import shapes_text
from lazynet.inspect.work import flops_of
from lazynet.kinds import Kind
from lazynet.modes import MODES, in_force
from lazynet.plan import plural
from lazynet.recorder import (
    BACKWARD,
    FORWARD,
    PHASES,
    UPDATE,
    Recorder,
    Total,
)

_NAMES = list(PHASES)
_MOST_NAMES = 4


class Phase(NamedTuple):
    """A phase of a profile.

    Attributes:
        name: One of "record", "collect", "schedule", "layout", "memory", "forward", "backward",
            "weights", "update", "waiting", "profiler"; `what` says what it is.
        seconds: All the time spent in it.
        bytes: What its batches read and wrote, estimated from the sizes of arguments and results;
            for "memory" the size of the arrays made, for "update" without arrays of the rule's own.
        what: What it is.
    """

    name: str
    seconds: float
    bytes: int
    what: str


class KindTime(NamedTuple):
    """What all batches of a kind, or of several that ran as one function, took in one phase.

    Attributes:
        op: Name of the operation; of several joined by " + ".
        shapes: Shapes of one example's arguments (inputs: of the result); empty for several.
        phase: "forward", "backward" or "weights".
        seconds: Time.
        batches: Number of batches.
        units: Number of functions that they ran as.
        rows: Rows of all batches.
        bytes: What they read and wrote, estimated.
        copied: Bytes of arguments that were gathered (forward only).
        flops: Floating-point operations of matrix products; 0 where there are none.
        line: Source line that first recorded the kind.
    """

    op: str
    shapes: tuple[tuple[int, ...], ...]
    phase: str
    seconds: float
    batches: int
    units: int
    rows: int
    bytes: int
    copied: int
    flops: int
    line: str


class Profile:
    """What `ln.profile` returns: a context manager, and the figures of what ran inside.

    Attributes:
        evaluations, backwards, updates: How many there were.
        gathered, sliced: How many arguments of batches were copied together row by row, and how
            many were read where they lie.
        gathered_bytes, sliced_bytes: Their sizes.
    """

    def __init__(self, wait: bool) -> None:
        self._wait = wait
        self._recorder: Recorder | None = None
        self._mode: AbstractContextManager[None] | None = None
        self._error = ""

    def __enter__(self) -> Profile:
        if self._recorder is not None:
            raise SettingError(
                "profile: this profile was used before, and its figures belong to that block; "
                "write `with ln.profile() as p:` for each block"
            )
        modes = MODES.get().copy()
        self._recorder = modes.profile = Recorder(self._wait, modes.profile)
        self._mode = in_force(modes)
        self._mode.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._mode is not None
        self._mode.__exit__(None, None, None)
        self._figures.close()
        if kind is not None:
            self._error = kind.__name__

    @property
    def _figures(self) -> Recorder:
        if self._recorder is None:
            raise SettingError("profile: nothing has run yet; write `with ln.profile() as p:`")
        return self._recorder

    # Data

    @property
    def seconds(self) -> float:
        """Time from the beginning of the block to its end, or to now."""
        recorder = self._figures
        return (recorder.ended or perf_counter()) - recorder.began

    @property
    def evaluations(self) -> int:
        return self._figures.calls[FORWARD]

    @property
    def backwards(self) -> int:
        return self._figures.calls[BACKWARD]

    @property
    def updates(self) -> int:
        return self._figures.calls[UPDATE]

    @property
    def batches(self) -> int:
        """Number of batches computed forward."""
        totals = self._figures.totals.items()
        return sum(total.batches for (phase, _), total in totals if phase == FORWARD)

    @property
    def gathered(self) -> int:
        return self._figures.copies[0]

    @property
    def gathered_bytes(self) -> int:
        return self._figures.copies[1]

    @property
    def sliced(self) -> int:
        return self._figures.avoided[0]

    @property
    def sliced_bytes(self) -> int:
        return self._figures.avoided[1]

    @property
    def phases(self) -> list[Phase]:
        """All phases in order; their seconds add up to those of the block."""
        r = self._figures
        return [
            Phase(name, r.seconds[k], r.bytes[k], PHASES[name]) for k, name in enumerate(_NAMES)
        ]

    @property
    def kinds(self) -> list[KindTime]:
        """Time by phase and operation, longest first."""
        found: dict[Any, KindTime] = {}
        for (phase, kinds), total in self._figures.totals.items():
            new = _kind_time(phase, kinds, total)
            key = (new.phase, new.op, new.shapes, new.line)
            known = found.get(key)
            if known is not None:
                figures = [getattr(known, f) + getattr(new, f) for f in _SUMMED]
                new = known._replace(**dict(zip(_SUMMED, figures)))
            found[key] = new
        return sorted(found.values(), key=lambda entry: -entry.seconds)

    # Looking at it

    def __repr__(self) -> str:
        if self._recorder is None:
            return "<Profile: nothing has run yet>"
        return (
            f"<Profile: {1e3 * self.seconds:.1f} ms, {plural(self.evaluations, 'evaluation')}, "
            f"{plural(self.backwards, 'backward')}; print it, or see .phases and .kinds>"
        )

    def __str__(self) -> str:
        return self.table()

    def table(self, limit: int = 20) -> str:
        """The figures as text: phases, and the operations that took longest.

        Args:
            limit: Most operations; the others are added up in one line.

        Returns:
            Lines of at most 100 characters; `Profile.kinds` has names and shapes in full.

        Raises:
            SettingError: If the limit is no number of operations.
        """
        if not isinstance(limit, int) or limit < 0:
            raise SettingError(
                f"table: got limit={limit!r}; it is a number of operations, such as 20"
            )
        sections = [self._heading(), align(*self._phase_rows(), _LEFT)]
        if self.kinds:
            rows = self._kind_rows(limit)
            sections += [self._caption(limit), align(*rows, _LEFT, ("operation", "line"))]
        notes = [line for note in self._notes() for line in wrapped(note)]
        return "\n\n".join([*sections, "\n".join(notes)]).rstrip()

    def _repr_html_(self) -> str:
        """What Jupyter shows."""
        parts = [f"<p><b>{escape(self._heading())}</b></p>"]
        parts.append(html_table(*self._phase_rows(), _LEFT))
        if self.kinds:
            parts.append(f"<p>{escape(self._caption(20))}</p>")
            parts.append(html_table(*self._kind_rows(20), _LEFT))
        parts += [f"<p class='quiet'>{escape(note)}</p>" for note in self._notes()]
        return framed(parts)

    def _heading(self) -> str:
        device = self._figures.device
        where = ", on the CPU" if device == "cpu" else f", on {device}"
        where = where if self.evaluations else ""
        ended = f"; the block ended with {self._error}" if self._error else ""
        return (
            f"{_ms(self.seconds)} ms in {plural(self.evaluations, 'evaluation')}, "
            f"{plural(self.backwards, 'backward')} and {plural(self.updates, 'update')}{where}"
            f"{ended}"
        )

    def _phase_rows(self) -> tuple[list[str], list[list[str]]]:
        whole = max(self.seconds, 1e-12)
        rows = [
            [p.name, _ms(p.seconds), _share(p.seconds, whole), _mb(p.bytes), p.what]
            for p in self.phases
            if p.seconds >= 5e-7 and (p.name != "waiting" or p.seconds > 0.01 * whole)
        ]
        return ["phase", "ms", "share", "MB", "what it is"], rows

    def _caption(self, limit: int) -> str:
        kinds = self.kinds
        shown = min(limit, len(kinds))
        each = f"The {shown} of {len(kinds)} that took longest" if shown < len(kinds) else "All"
        return f"By operation ({plural(self.batches, 'batch')} forward). {each}:"

    def _kind_rows(self, limit: int) -> tuple[list[str], list[list[str]]]:
        head = ["ms", "phase", "batches", "rows/batch", "MB", "gathered", "GFLOP/s"]
        kinds = self.kinds
        rows = [
            [
                _ms(k.seconds),
                k.phase,
                f"{k.batches:,}",
                f"{k.rows / max(1, k.batches):,.1f}",
                _mb(k.bytes),
                _mb(k.copied),
                _speed(k),
                f"{k.op} {shapes_text(k.shapes)}" if k.shapes else k.op,
                os.path.basename(readable(k.line)),
            ]
            for k in kinds[:limit]
        ]
        rest = kinds[limit:]
        if rest:
            seconds = sum(k.seconds for k in rest)
            row = [_ms(seconds), "", f"{sum(k.batches for k in rest):,}"]
            rows.append([*row, "", "", "", "", f"{len(rest)} others", ""])
        columns = [*head, "operation", "line"]
        used = [c for c in range(len(columns)) if any(row[c] for row in rows)]
        return [columns[c] for c in used], [[row[c] for c in used] for row in rows]

    def _notes(self) -> list[str]:
        recorder = self._figures
        if not self.evaluations:
            return [
                "Nothing was computed in the block. Expressions are computed when a value or a "
                "gradient is asked for: call .value(), ln.values or .backward() inside it."
            ]
        notes = [
            f"Arguments of batches: {self.gathered:,} gathered row by row "
            f"({_size(self.gathered_bytes)} copied), {self.sliced:,} read where they lie "
            f"({_size(self.sliced_bytes)} not copied).",
            "MB: what batches read and wrote, from the sizes of their arguments and results. "
            "GFLOP/s: of matrix products alone. Line: where the first node of a kind was recorded.",
        ]
        if any(k.units < k.batches for k in self.kinds):
            notes.append("Several operations joined by + ran as one function.")
        if recorder.device != "cpu" and not recorder.wait:
            notes.append(
                f"Times on {recorder.device} are those of launches: the GPU computes later, and "
                "asking for a value waits for it (in `record`). ln.profile(wait=True) waits after "
                "every batch instead."
            )
        return notes

    def save_trace(self, path: Any) -> None:
        """Write what ran, and when, as a file for ui.perfetto.dev or chrome://tracing.

        One slice for each phase, and in it one for each batch (or for several that ran as one
        function), with shapes, rows, bytes and source lines. Source: Chrome's Trace Event Format.

        Args:
            path: Of a JSON file.

        Raises:
            ArgumentError: If it is no path.
            FileError: If the file cannot be written.
        """
        target = path_of(path, "save_trace", "trace.json")
        recorder = self._figures
        events: list[dict[str, Any]] = [
            _metadata("process_name", "lazynet"),
            _metadata("thread_name", f"evaluations ({recorder.device})"),
        ]
        for entry in sorted(recorder.slices, key=lambda s: (s.began, -s.ended)):
            name = _NAMES[entry.phase]
            if entry.kinds:
                arguments: dict[str, Any] = {
                    "source": "; ".join(dict.fromkeys(readable(kind.line) for kind in entry.kinds)),
                    "shapes": ", ".join(map(str, _shapes_of(entry.kinds))),
                    "batches": len(entry.kinds),
                    "rows": entry.rows,
                    "MB": entry.bytes / 1e6,
                    "MB gathered": entry.copied / 1e6,
                }
            else:
                arguments = {"what": PHASES[name]}
            events.append(
                {
                    "name": _name(entry.kinds) if entry.kinds else name,
                    "cat": name if entry.kinds else "phase",
                    "ph": "X",
                    "pid": 1,
                    "tid": 1,
                    "ts": 1e6 * (entry.began - recorder.began),
                    "dur": 1e6 * (entry.ended - entry.began),
                    "args": arguments,
                }
            )
        trace: dict[str, Any] = {"traceEvents": events, "displayTimeUnit": "ms"}
        if recorder.dropped:
            trace["otherData"] = {"slices left out at the end": recorder.dropped}
        write(target, json.dumps(trace).encode(), "save_trace")


_SUMMED = ("seconds", "batches", "units", "rows", "bytes", "copied", "flops")


def profile(wait: bool = False) -> Profile:
    """Time what this thread computes inside a ``with`` block, by phase and by operation.

    Everything runs as it does without. What other threads compute is not counted; waiting for
    them is a phase of its own. Blocks may be nested: the outer one counts what the inner one does.
    The first steps of a process import and compile things: let a few go by before you look.

    Args:
        wait: Wait for a GPU after every batch, so that times there are those of the work and not
            those of its launch. The whole takes longer then.

    Returns:
        The profile: print it, or see `Profile.table`, `Profile.phases`, `Profile.kinds` and
        `Profile.save_trace`; in Jupyter it shows itself.

    >>> import lazynet as ln
    >>> x = ln.Model(seed=0).parameter(3, init="ones")
    >>> with ln.profile() as p:
    ...     ln.sum([(x * k).sum() for k in range(4)]).backward()
    >>> p.evaluations, p.backwards, p.batches
    (1, 1, 3)
    >>> [phase.name for phase in p.phases if phase.name.startswith("f")]
    ['forward']
    """
    if not isinstance(wait, bool):
        raise SettingError(f"profile: got wait={wait!r}; it must be True or False")
    return Profile(wait)


def _kind_time(phase: int, kinds: tuple[Kind, ...], total: Total) -> KindTime:
    each = total.rows / max(1, total.batches)
    flops = sum([flops_of(kind) for kind in kinds]) * each * total.units
    return KindTime(
        _name(kinds),
        _shapes_of(kinds),
        _NAMES[phase],
        total.seconds,
        total.batches,
        total.units,
        total.rows,
        total.bytes,
        total.copied,
        round(flops),
        kinds[0].line,
    )


def _name(kinds: tuple[Kind, ...]) -> str:
    names = list(dict.fromkeys([kind.op.name for kind in kinds]))
    more = f" + {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return " + ".join(names[:_MOST_NAMES]) + more


def _shapes_of(kinds: tuple[Kind, ...]) -> tuple[tuple[int, ...], ...]:
    if len(kinds) > 1:
        return ()
    return tuple([t.shape for t in kinds[0].args]) or (kinds[0].type.shape,)


def _metadata(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "ph": "M", "pid": 1, "tid": 1, "args": {"name": value}}


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.2f}" if seconds < 0.1 else f"{1e3 * seconds:,.1f}"


def _share(seconds: float, whole: float) -> str:
    return f"{100 * seconds / whole:.1f}%"


def _speed(k: KindTime) -> str:
    speed = k.flops / max(k.seconds, 1e-9) / 1e9
    return f"{speed:.1f}" if speed >= 0.05 else ""


def _mb(size: int) -> str:
    return f"{size / 1e6:,.2f}" if size else ""


def _size(size: int) -> str:
    if size < 1e6:
        return f"{size / 1e3:,.1f} kB"
    return f"{size / 1e6:,.1f} MB" if size < 1e9 else f"{size / 1e9:,.1f} GB"


_LEFT = ("phase", "what it is", "operation", "line")
"""Columns that are text."""


__all__ = ["KindTime", "Phase", "Profile", "profile"]
