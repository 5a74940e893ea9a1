"""Why nodes were not batched: what is found in each run, and in all of them together."""

from __future__ import annotations

from lazynet.inspect.differences import differences
from lazynet.inspect.finding import SHARE, Finding
from lazynet.inspect.runs import BATCH_SECONDS, EVALUATION_SECONDS, History, Run
from lazynet.inspect.source import short
from lazynet.inspect.structure import constants, cycles, functions, order
from lazynet.plan import plural
from lazynet.together.record import LAST

_LOOKED_INTO = 3
"""Runs that are looked into, those of most batches."""
_FEWEST_EVALUATIONS = 4
_FEW_ROWS = 2
"""Rows of a batch up to which evaluations in a row are told of: with more, examples share them."""


def findings_of(history: History) -> list[Finding]:
    """All reasons found, those that cost most first."""
    total = history.seconds
    largest = sorted(history.runs, key=lambda run: -run.batches)[:_LOOKED_INTO]
    found = _evaluations(history)
    known: dict[tuple[str, tuple[str, ...]], Finding] = {}
    for run in largest:
        for f in _of_run(run):
            key = (f.reason, f.lines)
            first = known.get(key)
            if first is not None:  # of the same program: the larger run tells it
                f = Finding(
                    *(first.reason, first.text, first.remedy, first.lines),
                    first.batches + f.batches,
                    first.seconds + f.seconds,
                )
            known[key] = f
    found += known.values()
    return sorted(
        [f for f in found if f.seconds >= SHARE * total], key=lambda f: (-f.seconds, -f.batches)
    )


def _of_run(run: Run) -> list[Finding]:
    if not run.autobatch:
        return [_no_autobatch(run)]
    steps = cycles(run)
    return [*steps, *functions(run), *constants(run), *differences(run), *order(run)]


def _no_autobatch(run: Run) -> Finding:
    after = run.batches_if([])
    saved = run.batches - after
    return Finding(
        "no_autobatch",
        f"Under ln.no_autobatch(): {plural(run.batches, 'node')}, one at a time.",
        f"Leave it out except to check results: the same graph takes {plural(after, 'batch')}.",
        (),
        saved,
        saved * BATCH_SECONDS,
    )


def _evaluations(history: History) -> list[Finding]:
    """Values asked for again and again."""
    runs = history.runs
    if len(runs) < _FEWEST_EVALUATIONS:
        return []
    most: dict[int, int] = {}
    done = runs[:-1] if history.planned else runs
    for depth, run in zip(history.depths, done):
        most[depth] = max(most.get(depth, 0), run.batches)
    saved = sum(run.batches for run in done) - sum(most.values())
    seconds = saved * BATCH_SECONDS
    nodes = sum(run.nodes for run in done) / len(done)
    typical = sorted(done, key=lambda run: run.nodes)[len(done) // 2]
    asked = sorted({run.line for run in done if run.line})
    if asked:
        where = f"at {', '.join(f'`{short(a)}`' for a in asked[:3])} a value is asked for"
        lines = tuple(asked)
    else:
        code = int(typical.part.code[typical.last()]) if len(typical.part.code) else -1
        line = typical.line_of(code) if code >= 0 else "unknown line"
        name = typical.kinds[code].op.name if code >= 0 else "a parameter"
        where = (
            f"the value of {name} (`{short(line)}`; under ln.debug() this names the line that "
            "asks) is asked for"
        )
        lines = (line,)
    text = (
        f"{len(done):,} evaluations of {plural(round(nodes), 'node')} each: {where} again and "
        "again, and nodes recorded later cannot join those batches."
    )
    rounds = len(most)
    if rounds == 1:
        seconds += (len(done) - 1) * EVALUATION_SECONDS
        remedy = (
            "None reads what another computed: record all first, then ask once, ln.values([...]) "
            "or the .value() of their sum. Where a value decides what comes next, make each "
            "example a coroutine that says `await x`, for ln.run_together."
        )
    elif saved > 0:
        seconds += (len(done) - rounds) * EVALUATION_SECONDS
        remedy = (
            f"Each needs others before it, {rounds} deep: make each example a coroutine that says "
            "`await x`, and ln.run_together computes a step of all of them at once; or ask for the "
            "values of all in one ln.values([...])."
        )
        record = LAST.record
        alone = 0 if record is None else sum(record.alone.values())
        if len(done) <= 2 * alone <= 4 * len(done):
            remedy += f" In the last ln.run_together, {alone:,} evaluations were by .value()."
    elif sum(int(run.rows.sum()) for run in done) > _FEW_ROWS * sum(run.batches for run in done):
        return []
    else:
        seconds += (len(done) - 1) * EVALUATION_SECONDS
        remedy = (
            "Each needs the one before it. Where a value is only printed or stored, ask for all "
            "at the end, ln.values([...]); where it decides what comes next, take several "
            "examples at a time, ln.run_together."
        )
    return [Finding("evaluations", text, remedy, lines, saved, seconds)]
