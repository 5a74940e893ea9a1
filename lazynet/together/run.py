"""`run_together`: coroutines in rounds, without an event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any, Literal, TypeVar, overload

from lazynet.graph import Expression
from lazynet.together.example import Example, Intake
from lazynet.together.record import LAST
from lazynet.together.request import Several
from lazynet.together.rounds import answer_all

T = TypeVar("T")


@overload
def run_together(
    coroutines: Iterable[Awaitable[T]],
    limit: int | None = None,
    on_error: Literal["raise"] = "raise",
) -> list[T]: ...


@overload
def run_together(
    coroutines: Iterable[Awaitable[T]],
    limit: int | None = None,
    *,
    on_error: Literal["return"],
) -> list[T | Exception]: ...


@overload
def run_together(
    coroutines: Iterable[Awaitable[Any]], limit: int | None = None, *, on_error: str
) -> list[Any]: ...


def run_together(
    coroutines: Iterable[Awaitable[Any]],
    limit: int | None = None,
    on_error: str = "raise",
) -> list[Any]:
    """Run coroutines, one for each example; what all of them wait for is computed in batches.

    Inside, ``await expression`` gives what ``expression.value()`` gives, and ``await
    ln.values_async(a, b)`` several at once. A coroutine that gets there waits; when all wait, what
    they wait for is computed in one run, and all go on. So a program that looks at values -
    decoding, a parser that follows its own predictions, sampling - batches across examples too.
    Nothing else is computed in these rounds: losses recorded on the way are one batch when
    `backward` asks for them.

    Every coroutine has modes (``with ln.no_grad():``), other context variables and random numbers
    of its own. Its random numbers depend on `ln.seed` and on its position alone. ``.value()`` works
    too, but runs by itself.

    Args:
        coroutines: Coroutines, or anything else that can be awaited; taken one by one as there is
            room for them.
        limit: How many are alive at a time at most: as one ends, the next begins. Default: all.
        on_error: "raise": the first exception ends all and is raised, naming the example. "return":
            it stands in place of the result.

    Returns:
        What they return, in the order in which they were given.

    Raises:
        ExampleError: If a coroutine fails, which is of the class of what it raised too:
            ``except ValueError`` catches a ValueError. `index` says which one it was.
        ArgumentError: If something is no coroutine.
        GraphError: If one was awaited before. In a coroutine: where it awaits something else, such
            as ``asyncio.sleep``; see `run_together_async`.

    >>> import lazynet as ln
    >>> async def halve_until_small(x):
    ...     steps = 0
    ...     while await ln.max(x) > 1:
    ...         x = x / 2
    ...         steps += 1
    ...     return steps
    >>> ln.run_together(halve_until_small(ln.constant(x)) for x in ([1.0, 8.0], [3.0], [0.5]))
    [3, 2, 0]
    """
    return _Run(Intake("run_together", coroutines, limit, on_error)).results()


class _Run:
    """The scheduler: rounds of everyone who waits, until nobody does."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.waiting: list[Example] = []

    def results(self) -> list[Any]:
        """Run everything; whatever happens, nothing is left that has begun and not ended."""
        intake = self.intake
        LAST.record = intake.record
        try:
            self._begin()
            while self.waiting:
                going, self.waiting = self.waiting, []
                intake.record.round(len(going))
                answer_all(going)
                for example in going:
                    if not self._run(example):
                        self._begin()
        finally:
            self.waiting = []
            intake.close()
        return intake.results

    def _begin(self) -> None:
        """Start as many coroutines as there is room for."""
        while True:
            example = self.intake.take()
            if example is None:
                return
            self._run(example)

    def _run(self, example: Example) -> bool:
        """Run one until it waits for expressions (True) or ends."""
        intake = self.intake
        enter = example.context.run
        try:
            request = example.step(enter)
            while not isinstance(request, (Expression, Several)):
                example.refuse(request, intake.role)
                request = example.step(enter)
        except StopIteration as end:
            intake.ended(example, end.value)
            return False
        except Exception as error:
            intake.failed(example, error)
            return False
        except BaseException:
            del intake.alive[example.index]  # it has ended
            raise
        example.request = request
        self.waiting.append(example)
        return True


__all__ = ["run_together"]
