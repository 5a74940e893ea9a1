"""A round: what coroutines wait for, computed in one batched run."""

from __future__ import annotations

from typing import Any

from lazynet.collect import collect
from lazynet.errors import DeviceError, LazynetError, OutOfMemoryError
from lazynet.execute import evaluated
from lazynet.graph import Expression
from lazynet.modes import MODES, Modes
from lazynet.placement import device_for
from lazynet.reading import values
from lazynet.together.example import Example


def answer_all(examples: list[Example]) -> None:
    """Compute what these examples wait for: each gets its answer, or what is raised in it.

    Raises:
        OutOfMemoryError: If that is too much at once.
    """
    modes = MODES.get()
    apart: dict[tuple[bool, str], list[Example]] = {}
    for example in examples:
        own = example.context.get(MODES, modes)
        if own is not modes and _differs(own, modes):
            apart.setdefault((own.autobatch, own.device), []).append(example)
    if not apart:
        _answer(examples)
        return
    others = {example.index for group in apart.values() for example in group}
    same = [example for example in examples if example.index not in others]
    if same:
        _answer(same)
    for group in apart.values():  # as its modes say: those of the first are those of all
        group[0].context.copy().run(_answer, group)


def _differs(a: Modes, b: Modes) -> bool:
    """Whether evaluations come out otherwise."""
    return a.autobatch != b.autobatch or a.device != b.device


def _answer(examples: list[Example]) -> None:
    roots: list[Expression] = []
    for example in examples:
        request = example.request
        if isinstance(request, Expression):
            roots.append(request)
        else:
            roots += request.expressions
    try:
        found = values(roots)
    except OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"a round of {len(examples)} examples: {error} (limit= has fewer alive at a time)"
        ) from error
    except LazynetError as error:
        if len(examples) == 1:
            examples[0].failure = error
            return
        # The others go on. Where one fails in a thousand, that takes ten evaluations or twenty.
        for part in _parts(examples, error):
            _answer(part)
        return
    start = 0
    for example in examples:
        request = example.request
        if isinstance(request, Expression):
            example.answer = found[start]
            start += 1
        else:
            stop = start + len(request.expressions)
            example.answer = found[start:stop]
            start = stop


def _parts(examples: list[Example], error: LazynetError) -> list[list[Example]]:
    """What to compute apart: the examples of each device, or else one half and the other."""
    if isinstance(error, DeviceError):
        groups: dict[Any, list[Example]] = {}
        for example in examples:
            groups.setdefault(_device(example), []).append(example)
        if len(groups) > 1:
            return list(groups.values())
    middle = len(examples) // 2
    return [examples[:middle], examples[middle:]]


def _device(example: Example) -> Any:
    """Where what it waits for is computed; an example of several devices is a group by itself."""
    request = example.request
    expressions = [request] if isinstance(request, Expression) else request.expressions
    pending = [x for x in expressions if not evaluated(x)]
    try:
        return device_for(collect(pending)) if pending else ""
    except DeviceError:
        return example.index


__all__ = ["answer_all"]
