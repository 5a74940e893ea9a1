"""`ln.detect_anomaly`: the first node that is NaN or infinite, found batch by batch.

NaN always counts. An infinity counts where it arises: what was infinite before is taken as meant,
so that masks of -inf may be added to scores. See `detect_anomaly` for the whole rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from lazynet.backend import module_of
from lazynet.cells import readable
from lazynet.culprit import (
    Given,
    carried_by,
    described,
    given_to,
    line_of,
    name_of,
    names_of,
    node_of_row,
    on_host,
    replay_of,
)
from lazynet.errors import AnomalyError, SettingError
from lazynet.evaluation import Evaluation
from lazynet.kinds import FLOATS, Array, Kind
from lazynet.layout import SAME, SHARED, Step
from lazynet.leaves import Input
from lazynet.modes import MODES, in_force
from lazynet.staged import Inner, Replay

NAN, INFINITIES = 1, 2
"""What counts: values of `Modes.anomaly`."""


_CARRIED = {"float": "number", "int": "index", "ints": "numbers"}


@contextmanager
def detect_anomaly(infinities: bool = True) -> Iterator[None]:
    """Stop at the first value or gradient that is NaN or infinite, and say where it comes from.

    What is evaluated and differentiated inside the block is checked batch by batch, on a GPU too.
    The error names the first node in the order of computation with its line (`ln.debug` is on, so
    record inside the block as well), its arguments with what they hold, and parameters by name.
    Of a fused function or a scan it names the operation inside, and the step of the sequence.
    This is slow: it is for looking, not for training.

    What counts:

    * NaN, always: in inputs and parameters that are used, in values, in gradients.
    * An infinity where it arises, such as log(0), 1/0 or an overflow of exp: in a result all of
      whose arguments are finite. What comes of infinite arguments is taken as meant, until it is
      NaN: that way masks of -inf can be added to scores.
    * +inf in an input or parameter; -inf there is taken for such a mask. Results that are infinite
      by definition (the classes that `ln.restricted_log_softmax` excludes) do not count.
    * In backward every infinity.

    Inside fused functions and scans only what reaches their results and gradients is seen; under
    `ln.no_fuse` everything is.

    Args:
        infinities: False looks for NaN only.

    Raises:
        AnomalyError: From `value`, `values` or `backward`. Nothing is evaluated then, and no
            gradient changed.

    >>> import lazynet as ln
    >>> with ln.detect_anomaly():
    ...     y = ln.log(ln.constant([1.0, -1.0]))
    ...     y.value()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    lazynet.errors.AnomalyError: log((2,)) made NaN...
    """
    if not isinstance(infinities, bool):
        raise SettingError(f"detect_anomaly: got infinities={infinities!r}; it is True or False")
    modes = MODES.get().copy()
    modes.debug = True
    modes.anomaly = INFINITIES if infinities else NAN
    with in_force(modes):
        yield


def unsound(array: Any, level: int) -> bool:
    """Whether an array holds what may count."""
    if array.dtype not in FLOATS:
        return False
    m = module_of(array)
    if level == NAN:
        return bool(m.isnan(array).any())
    return not bool(m.isfinite(array).all())


def unsound_rows(array: Array, level: int) -> Array:
    """Per row, the same."""
    rows = array.reshape(len(array), -1)
    bad: Any = np.isnan(rows) if level == NAN else ~np.isfinite(rows)
    found: Array = bad.any(axis=1)
    return found


def check_batch(evaluation: Evaluation, step: Step, level: int) -> None:
    """Raise if the results of a batch hold an anomaly."""
    results = [evaluation.arenas[a][b:e] for a, b, e, _ in step.outputs]
    if not any([unsound(result, level) for result in results]):
        return
    hosts = [on_host(evaluation, r) for r in results if r.dtype in FLOATS]
    nans = np.zeros(step.rows, bool)
    infinite = np.zeros(step.rows, bool)
    for host in hosts:
        rows = host.reshape(step.rows, -1)
        nans |= np.isnan(rows).any(axis=1)
        counts: Any = np.isposinf(rows) if isinstance(step.op, Input) else np.isinf(rows)
        infinite |= counts.any(axis=1)
    if level == NAN or step.op.infinite:
        infinite[:] = False
    elif infinite.any():
        infinite &= ~_of_infinities(evaluation, step)
    counted = np.flatnonzero(nans | infinite)
    if len(counted):
        raise _report(evaluation, step, int(counted[0]), level)


def _of_infinities(evaluation: Evaluation, step: Step) -> Array:
    """Per row of the result, whether an argument of it is infinite."""
    found = np.zeros(step.rows, bool)
    for argument in step.args:
        value = on_host(evaluation, evaluation.fetch(argument, True, step.rows))
        if value.dtype not in FLOATS:
            continue
        if argument.mode in (SHARED, SAME):
            found |= bool(np.isinf(value).any())
            continue
        rows = np.isinf(value.reshape(len(value), -1)).any(axis=1)
        if step.segments is None:
            found |= rows
            continue
        count = len(step.segments) - 1
        if not argument.per_node:
            total = np.concatenate([[0], np.cumsum(rows)])
            rows = total[step.segments[1:]] > total[step.segments[:-1]]
        if step.rows != count:
            sizes = np.diff(step.segments) if step.counts is None else step.counts
            rows = np.repeat(rows, sizes)
        found |= rows
    return found


def check_shared(evaluation: Evaluation, number: int, kind: Kind, args: list[int]) -> None:
    """Raise if a value computed from parameters alone holds an anomaly."""
    level = MODES.get().anomaly
    value = evaluation.shared[number]
    if not level or not unsound(value, level):
        return
    given = [
        Given(name_of(evaluation, a), np.array(on_host(evaluation, evaluation.shared[a])))
        for a in args
    ]
    host = on_host(evaluation, value)
    infinite = any([np.isinf(g.value).any() for g in given])
    if not np.isnan(host).any() and (infinite or kind.op.infinite):
        return
    raise AnomalyError(text_of(str(kind), line_of(evaluation, number, kind), [host], given, ""))


def _report(evaluation: Evaluation, step: Step, row: int, level: int) -> AnomalyError:
    node, within = node_of_row(step, row)
    number = int(step.nodes[node])
    where = line_of(evaluation, number, step.kind)
    single = int(evaluation.layout.rows[number]) == -1
    results = [
        on_host(evaluation, evaluation.arenas[a][b + row : b + row + 1]).reshape(shape)
        for a, b, _, shape in step.outputs
    ]
    if isinstance(step.op, Input):
        at = "" if single else f", row {within} of its rows"
        return AnomalyError(
            f"an input holds {bad_word(results)}, {where}{at}: {described(results[0])}; look at "
            "the data that it was made from (-inf alone would be taken for a mask)"
        )
    carried = carried_by(evaluation, number)
    inner = first_inside(evaluation, step, node, within, carried, level)
    if inner is not None:
        outer = inside(inner, step, node, where)
        given = inner_given(evaluation, step, node, inner)
        line = f"line {readable(inner.line)}"
        return AnomalyError(
            text_of(str(inner.kind), line, [r[0] for r in inner.results], given, outer)
        )
    given = given_to(evaluation, step, node, within)
    notes = [place_of(step, node)] if len(step.nodes) > 1 else []
    if not single:
        notes.append(f"row {within} of its result")
    if carried is not None and step.op.payload in _CARRIED:
        notes.append(f"with the {_CARRIED[step.op.payload]} {carried}")
    if step.op.staged:
        notes.append("no operation inside does so when it is run by itself")
    return AnomalyError(text_of(str(step.kind), where, results, given, ", ".join(notes)))


def place_of(step: Step, node: int) -> str:
    """Which node of its batch it is."""
    return f"number {node} of the {len(step.nodes)} nodes in its batch, from 0"


def inside(inner: Inner, step: Step, node: int, where: str) -> str:
    """Where an operation of a fused function or a scan stands."""
    at = f"at step {inner.step} of the sequence, from 0, " if inner.step >= 0 else ""
    place = f", {place_of(step, node)}" if len(step.nodes) > 1 else ""
    return f"{at}inside {step.op.name}, {where}{place}"


def inner_given(evaluation: Evaluation, step: Step, node: int, inner: Inner) -> list[Given]:
    """The arguments of an operation inside, by what the arguments of the whole are."""
    outside = names_of(evaluation, step, node)
    plain = [False] * len(inner.args) if inner.kind.op.nary else inner.call.shared
    found = []
    for name, array, shared in zip(inner.names, inner.args, plain):
        head, comma, tail = name.partition(",")
        word, _, position = head.partition(" ")
        if word == "argument" and position.isdigit() and int(position) < len(outside):
            name = f"{outside[int(position)]}{comma}{tail}"
        found.append(Given(name, array if shared else array[0]))
    return found


def first_inside(
    evaluation: Evaluation, step: Step, node: int, row: int, carried: Any, level: int
) -> Inner | None:
    """The first operation inside a fused function or scan whose result holds an anomaly."""
    replay: Replay | None = replay_of(evaluation, step, node, row, carried)
    if replay is None:
        return None
    with np.errstate(all="ignore"):
        for inner in replay.run():
            for result in inner.results:
                if not unsound(result, level):
                    continue
                if np.isnan(result).any():
                    return inner
                before = any([a.dtype in FLOATS and np.isinf(a).any() for a in inner.args])
                if not before and not inner.kind.op.infinite:
                    return inner
    return None


def text_of(what: str, where: str, results: list[Array], given: list[Given], outer: str) -> str:
    """The message about an operation that made an anomaly."""
    of_floats = [g for g in given if g.value.dtype in FLOATS]
    bad = [g for g in of_floats if not np.isfinite(g.value).all()]
    word = bad_word(results)
    if not bad:
        verdict = f"made {word} of finite arguments"
    else:
        verdict = f"made {word} of arguments that are not finite ({bad[0].name})"
    lines = [f"{what} {verdict}, {where}{f' ({outer})' if outer else ''}"]
    lines += [f"  result: {described(result)}" for result in results]
    lines += [f"  {g.name}: {described(g.value)}" for g in given]
    return "\n".join(lines)


def bad_word(arrays: Sequence[Array]) -> str:
    """What an array holds that is not finite."""
    for array in arrays:
        if array.dtype in FLOATS and np.isnan(array).any():
            return "NaN"
    for array in arrays:
        if array.dtype in FLOATS and np.isposinf(array).any():
            return "inf"
    return "-inf"


__all__ = [
    "bad_word",
    "check_batch",
    "check_shared",
    "detect_anomaly",
    "inner_given",
    "inside",
    "place_of",
    "text_of",
    "unsound",
    "unsound_rows",
]
