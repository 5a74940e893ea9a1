"""Nodes that depend on one another (recurrences, trees, running sums), and what could be one."""

from __future__ import annotations

from typing import Final

import numpy as np

from lazynet.agenda import Part
from lazynet.components import ranked
from lazynet.fuse.fused import Fused
from lazynet.inspect.differences import by_shape
from lazynet.inspect.finding import FEWEST, Finding, some, worth
from lazynet.inspect.runs import BATCH_SECONDS, Run, is_given
from lazynet.inspect.source import function_at, short, span
from lazynet.kinds import Array
from lazynet.ops.linalg import Affine, Einsum, Matmul
from lazynet.plan import plural
from lazynet.schedule import Cycle

_STEP_SECONDS: Final = 3e-6
"""What a step of a scan costs besides its arithmetic."""
_FEWEST_STEPS: Final = 4
_REGULAR: Final = 1.1
"""Steps that are all alike take at most so many times the batches of the lower bound."""
_FEWEST_MERGED: Final = 5
"""Batches that a fused function has to save."""
_LISTS: Final = {"add": "ln.sum", "maximum": "ln.max", "minimum": "ln.min"}
"""What takes a list of any length, by what takes two."""


# One after another


def cycles(run: Run) -> list[Finding]:
    """Steps that follow one another: recurrences, trees, sums made term by term."""
    found = []
    for cycle in run.cycles:
        batches = len(np.unique(run.batch[cycle.nodes]))
        if worth(run, batches - 1):
            finding = _cycle(run, cycle, batches)
            if finding is not None:
                found.append(finding)
    return found


def _cycle(run: Run, cycle: Cycle, batches: int) -> Finding | None:
    codes = np.unique(run.part.code[cycle.nodes])
    ordered = [int(c) for c in codes[np.argsort(-run.kind_seconds[codes], kind="stable")]]
    name = run.kinds[ordered[0]].op.name
    if len(ordered) == 1 and name in _LISTS:
        return _running_sum(run, ordered[0], batches)
    inner = run.part.pick(_mask(len(run.part.nodes), cycle.nodes))
    strands = _strands(run, inner, cycle)
    if max(strands) < _FEWEST_STEPS:
        return None
    if batches > _REGULAR * cycle.bound:
        return None  # paths differ: `order` tells of it
    rows = float(run.rows[cycle.nodes].sum()) / batches
    if _branches(run, inner, cycle):
        return _tree(run, ordered, strands, batches, rows)
    return _recurrence(run, ordered, strands, batches, rows)


def _running_sum(run: Run, code: int, batches: int) -> Finding:
    name, line = run.kinds[code].op.name, run.line_of(code)
    return Finding(
        "running sum",
        f"`{short(line)}`: {int(run.kind_nodes[code]):,} {name} one after another, each on the "
        f"result of the one before: {plural(batches, 'batch')}.",
        f"Collect the terms in a list: {_LISTS[name]}(terms) is one node.",
        (line,),
        batches - 1,
        (batches - 1) * BATCH_SECONDS,
    )


def _recurrence(
    run: Run, codes: list[int], strands: list[int], batches: int, rows: float
) -> Finding:
    lines = place_of(run, codes)
    steps = sum(strands)
    shapes = by_shape(run, codes)
    split = run.batches - run.batches_if(shapes) if shapes else 0
    saved = batches - split - len(strands)  # what other shapes cost is told of them
    several = f" in {len(strands)} recurrences" if len(strands) > 1 else ""
    text = (
        f"`{span(lines)}`: {_what(run, codes)} step after step{several}, since each step needs the "
        f"one before: up to {max(strands)} steps, {plural(batches, 'batch')} of {rows:.1f} rows."
    )
    remedy = (
        "If it is a recurrence, ln.scan(cell, xs, init), or a layer such as ln.nn.LSTM or "
        "ln.nn.GRU called with the whole sequence, makes it one node."
    )
    if len(codes) > 1 and steps < batches and not shapes:
        remedy += f" A step under @ln.fuse alone leaves {plural(steps, 'batch')}."
    seconds = saved * BATCH_SECONDS - steps * _STEP_SECONDS
    return Finding("recurrence", text, remedy, lines, saved, seconds)


def _tree(
    run: Run, codes: list[int], strands: list[int], batches: int, rows: float
) -> Finding | None:
    lines = place_of(run, codes)
    steps = sum(strands)
    saved = batches - steps
    if len(codes) == 1 or saved < FEWEST:
        return None
    text = (
        f"`{span(lines)}`: {_what(run, codes)} at each level of a tree, {max(strands)} levels: "
        f"{plural(batches, 'batch')} of {rows:.1f} rows."
    )
    remedy = (
        "Put what is recorded for one node of the tree into a function under @ln.fuse, or use "
        f"ln.nn.NaryTreeLSTM or ln.nn.ChildSumTreeLSTM: one batch a level, {steps} in all."
    )
    return Finding("tree", text, remedy, lines, saved, saved * BATCH_SECONDS)


def _what(run: Run, codes: list[int]) -> str:
    names = _names(run, codes)
    return f"{len(codes)} kinds ({names}) run" if len(codes) > 1 else f"{names} runs"


def has_parameters(run: Run, code: int) -> bool:
    """Whether a kind reads parameters: then it belongs to one model, and its line is sure."""
    return any(t.shared for t in run.kinds[code].args)


def place_of(run: Run, codes: list[int]) -> tuple[str, ...]:
    """The lines of kinds that belong together: in the functions of those that read parameters.

    A kind such as tanh of 50 may have been recorded first by another program.
    """
    sure = [c for c in codes if has_parameters(run, c)] or codes
    functions = {function_at(run.line_of(c)) for c in sure}
    lines = [run.line_of(c) for c in codes]
    return tuple(dict.fromkeys(line for line in lines if function_at(line) in functions))


def _names(run: Run, codes: list[int]) -> str:
    return some(run.kinds[c].op.name for c in codes)


def _strands(run: Run, inner: Part, cycle: Cycle) -> list[int]:
    """Steps of each recurrence: kinds with parameters that lead back to themselves by themselves.

    What has no parameters, such as tanh, welds recurrences together that have nothing in common.
    """
    codes: list[int] = inner.code.tolist()
    highest: dict[int, int] = {}
    for c, level in zip(codes, cycle.level.tolist()):
        highest[c] = max(highest.get(c, 0), level)
    own = sorted(c for c in highest if has_parameters(run, c))
    if not own:
        return [max(highest.values())]
    place = {c: k for k, c in enumerate(own)}
    below = [0] * len(own)  # by kind, as bits: kinds that are the next ones with parameters below
    seen = [0] * len(codes)
    sources: list[int] = inner.src.tolist()
    ends: list[int] = np.cumsum(np.bincount(inner.dst, minlength=len(codes))).tolist()
    begin = 0
    for i, c in enumerate(codes):
        bits = 0
        for a in sources[begin : ends[i]]:
            bits |= seen[a]
        begin = ends[i]
        k = place.get(c)
        if k is None:
            seen[i] = bits
        else:
            below[k] |= bits
            seen[i] = 1 << k
    size = len(own)
    edges = [a * size + b for a in range(size) for b in range(size) if below[b] >> a & 1]
    rank, cyclic = ranked(size, np.array(edges, np.int64))
    steps = np.zeros(len(cyclic), np.int64)
    np.maximum.at(steps, rank, [highest[c] for c in own])
    found: list[int] = steps[cyclic].tolist()
    return found or [1]


def _branches(run: Run, inner: Part, cycle: Cycle) -> bool:
    """Whether it is a tree: some node rests on two of one kind that are equally far up."""
    highest: dict[int, int] = {}
    for c, level in zip(inner.code.tolist(), cycle.level.tolist()):
        highest[c] = max(highest.get(c, 0), level)

    def rank(c: int) -> tuple[bool, int, int]:
        return has_parameters(run, c), highest[c], -c

    key = max(highest, key=rank)
    n = len(inner.nodes)
    nearest = [-1] * n  # the node of that kind above which a node stands
    level_at = [0] * n
    own: list[int] = cycle.level.tolist()
    codes: list[int] = inner.code.tolist()
    sources: list[int] = inner.src.tolist()
    ends: list[int] = np.cumsum(np.bincount(inner.dst, minlength=n)).tolist()
    begin = 0
    for i in range(n):
        for a in sources[begin : ends[i]]:
            if level_at[a] > level_at[i]:
                level_at[i], nearest[i] = level_at[a], nearest[a]
            elif level_at[a] == level_at[i] and nearest[a] != nearest[i]:
                return True
        begin = ends[i]
        if codes[i] == key:
            level_at[i], nearest[i] = own[i], i
    return False


def _mask(n: int, chosen: Array) -> Array:
    mask = np.zeros(n, bool)
    mask[chosen] = True
    return mask


# One node for several operations


def functions(run: Run) -> list[Finding]:
    """Operations of one function of the user's, each as often as the others: one fused node."""
    inside = np.zeros(len(run.kinds), bool)
    for group in by_shape(run, np.flatnonzero(run.kind_nodes).tolist()):
        inside[group] = True
    for cycle in run.cycles:
        inside[run.part.code[cycle.nodes]] = True
    groups: dict[tuple[tuple[str, int, str], int], list[int]] = {}
    for c in np.flatnonzero(run.kind_nodes).tolist():
        op = run.kinds[c].op
        if inside[c] or is_given(run.kinds[c]) or op.nary or op.segmented or isinstance(op, Fused):
            continue
        if run.kind_nodes[c] > 1:
            key = (function_at(run.line_of(c)), int(run.kind_nodes[c]))
            groups.setdefault(key, []).append(c)
    found = []
    for ((_, _, name), calls), codes in groups.items():
        saved = int(run.kind_batches[codes].sum()) - 1
        if saved >= _FEWEST_MERGED and worth(run, saved) and _closed(run, codes):
            found.append(_function(run, name, calls, codes, saved))
    return found


def _function(run: Run, name: str, calls: int, codes: list[int], saved: int) -> Finding:
    lines = tuple(sorted({run.line_of(c) for c in codes}))
    where = f"`{span(lines)}`" + (f" in {name}" if name else "")
    return Finding(
        "function",
        f"{where}: {len(codes)} operations ({_names(run, codes)}) are recorded {calls:,} times "
        f"each, one after another: {plural(saved + 1, 'batch')}.",
        "As a function under @ln.fuse they are one node, and one batch.",
        lines,
        saved,
        saved * BATCH_SECONDS,
    )


def _closed(run: Run, codes: list[int]) -> bool:
    """Whether these kinds hang together, and no path leaves them and comes back."""
    part = run.part
    own = np.isin(part.code, codes)
    inner = own[part.src] & own[part.dst]
    linked = np.unique(np.concatenate([part.code[part.src[inner]], part.code[part.dst[inner]]]))
    if len(linked) < len(codes):
        return False
    ours: list[bool] = own.tolist()
    left = [False] * len(ours)
    for a, b in zip(part.src.tolist(), part.dst.tolist()):  # sorted by the end: a is done
        if ours[b]:
            if left[a] and not ours[a]:
                return False
        elif ours[a] or left[a]:
            left[b] = True
    return True


# The same constant again and again


def constants(run: Run) -> list[Finding]:
    """Products with a constant matrix that every example makes anew."""
    part = run.part
    given = np.array([is_given(k) and len(k.type.shape) > 1 for k in run.kinds], bool)[part.code]
    edges = np.flatnonzero(given[part.src])
    sources, users = part.src[edges], part.code[part.dst[edges]]
    found = []
    for c in np.unique(users).tolist():
        kind = run.kinds[c]
        if not isinstance(kind.op, (Matmul, Affine, Einsum)):
            continue
        nodes = np.unique(sources[users == c])
        if len(nodes) < FEWEST or 2 * len(nodes) < run.kind_nodes[c]:
            continue
        some_of_them = nodes[:: max(1, len(nodes) // 16)].tolist()
        first = run.constant(some_of_them[0])
        if not all(np.array_equal(first, run.constant(i)) for i in some_of_them[1:]):
            continue
        code = int(part.code[nodes[0]])
        line = run.line_of(code)
        shape = run.kinds[code].type.shape
        seconds = run.kind_seconds[code] + run.kind_seconds[c] / 2 - 2 * BATCH_SECONDS
        found.append(
            Finding(
                "constants",
                f"`{short(run.line_of(c))}`: {int(run.kind_nodes[c]):,} {kind.op.name} with a "
                f"constant of shape {shape} each (`{short(line)}`), all of the same values: "
                f"{len(nodes):,} copies, and as many small products.",
                "Make the constant once, before the loop: then all rows are one product.",
                (run.line_of(c), line),
                0,
                float(seconds),
            )
        )
    return found


# Kinds that wait for one another


def order(run: Run) -> list[Finding]:
    """Kinds that run in more batches than their longest path has nodes."""
    excess = run.kind_batches - run.kind_bounds
    total = int(excess[run.kind_nodes > 0].sum())
    if not worth(run, total):
        return []
    late = int(np.argmax(excess))
    other = _waits_for(run, late)
    if other < 0:
        return []

    def told(c: int) -> str:
        return (
            f"{run.kinds[c].op.name} (`{short(run.line_of(c))}`) in {run.kind_batches[c]} batches "
            f"where its longest path has {run.kind_bounds[c]}"
        )

    text = (
        f"Order: {told(late)}. Some of its nodes wait for {run.kinds[other].op.name} "
        f"(`{short(run.line_of(other))}`, {run.kind_batches[other]} batches, longest path "
        f"{run.kind_bounds[other]}) and others must run before it, so one of the two runs in parts."
    )
    remedy = (
        "If both belong to one step, make it one function under @ln.fuse, so that it is one kind; "
        "else there is nothing to do: the paths through these examples differ."
    )
    lines = (run.line_of(late), run.line_of(other))
    return [Finding("order", text, remedy, lines, total, total * BATCH_SECONDS)]


def _waits_for(run: Run, code: int) -> int:
    """The kind whose nodes lie most often between two batches of this kind; -1 if none."""
    part = run.part
    batches = np.unique(run.batch[part.code == code])
    into = np.flatnonzero(part.code[part.dst] == code)
    place = np.searchsorted(batches, run.batch[part.dst[into]])
    before = np.where(place > 0, batches[place - 1], -1)
    late = into[(before >= 0) & (run.batch[part.src[into]] > before)]
    kinds = part.code[part.src[late]]
    kinds = kinds[kinds != code]
    if not len(kinds):
        return -1
    counts = np.bincount(kinds, minlength=len(run.kinds))
    split = run.kind_batches > run.kind_bounds
    return int(np.argmax(np.where(split, counts, 0) if counts[split].any() else counts))
