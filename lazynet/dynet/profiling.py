"""`--dynet-profiling`: where the time of a program went, by operation, printed to stderr."""

from __future__ import annotations

import atexit
import sys

from lazynet.kinds import Kind
from lazynet.timing import TIMING, Timer


def switch(level: int) -> None:
    """Time everything from now on (level 1; 2 or more: and list the batches), or stop doing so.

    What was timed is printed when it stops, or else when the program ends.
    """
    atexit.unregister(report)
    report()
    TIMING.timer = None
    if level > 0:
        TIMING.timer = Timer(trace=level > 1)
        atexit.register(report)


def report() -> None:
    """Print what was timed, the most expensive operation last, and begin anew."""
    timer = TIMING.timer
    if timer is None or not timer.seconds:
        return
    TIMING.timer = Timer(trace=timer.trace is not None)
    lines = []
    for direction, kind, rows in timer.trace or ():
        lines.append(f"{direction} BatchSize:{rows} {_short(kind)}")
    total = sum(timer.seconds.values())
    lines.append("Timing Info: seconds, share, batches, rows")
    for key, seconds in sorted(timer.seconds.items(), key=lambda entry: entry[1]):
        direction, kind = key
        share = 100 * seconds / total if total else 0.0
        lines.append(
            f"{seconds:11.4g}  {share:5.1f}%  {timer.batches[key]:7d}  {timer.rows[key]:9d}  "
            f"{direction} {_short(kind)}"
        )
    lines.append(f"{total:11.4g}  100.0%  (total time)")
    print("\n".join(lines), file=sys.stderr)


def _short(kind: Kind) -> str:
    text = str(kind)
    return text if len(text) <= 100 else f"{text[:97]}..."
