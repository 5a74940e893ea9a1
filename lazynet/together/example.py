"""One coroutine of several that run together, and where they come from."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterable, Callable, Coroutine, Generator, Iterable, Iterator
from contextvars import Context, copy_context
from functools import partial
from itertools import islice
from operator import index as as_index
from operator import length_hint
from types import CoroutineType
from typing import Any

from lazynet.errors import ArgumentError, GraphError, SettingError, example_error
from lazynet.execute import last_serial
from lazynet.graph import Expression
from lazynet.randomness import Stream, current_stream, swap_stream
from lazynet.together.record import Record
from lazynet.together.request import CLOSING, STATE, STEPPING


class Example:
    """A coroutine with the context and the random numbers of its own.

    Attributes:
        index: Position among the coroutines that were given.
        coroutine: The coroutine.
        context: Its context variables, modes among them.
        stream: Where its random numbers come from.
        request: What it waits for.
        answer: The value(s) of that, once they are known.
        failure: What to raise in it instead.
        alone: How many evaluations it asked for by `.value()`.
    """

    __slots__ = (
        "alone",
        "answer",
        "context",
        "coroutine",
        "failure",
        "index",
        "request",
        "send",
        "stream",
    )

    def __init__(self, index: int, coroutine: Any, context: Context, stream: Stream) -> None:
        self.index = index
        self.coroutine = coroutine
        self.send: Callable[[Any], Any] = coroutine.send
        self.context = context
        self.stream = stream
        self.request: Any = None
        self.answer: Any = None
        self.failure: BaseException | None = None
        self.alone = 0

    def step(self, enter: Callable[..., Any]) -> Any:
        """Run the coroutine until it waits; returns what for.

        Args:
            enter: Calls a function with arguments in the coroutine's context.

        Raises:
            StopIteration: If it has ended; holds its result.
            BaseException: Whatever it raises.
        """
        answer, failure = self.answer, self.failure
        self.answer = self.failure = None
        outer = swap_stream(self.stream)
        state = STATE.now
        STATE.now = STEPPING
        before = last_serial()
        try:
            if failure is None:
                return enter(self.send, answer)
            return enter(self.coroutine.throw, failure)
        finally:
            self.alone += last_serial() - before - 1
            STATE.now = state
            self.stream = swap_stream(outer)  # another one after ln.seed
            del failure

    def close(self) -> None:
        """End a coroutine that waits, or that has not begun; its ``finally`` blocks run."""
        outer = swap_stream(self.stream)
        state = STATE.now
        STATE.now = CLOSING
        try:
            self.context.run(self.coroutine.close)
        finally:
            STATE.now = state
            swap_stream(outer)

    def refuse(self, request: Any, role: str) -> None:
        """Have an exception raised where it awaits what needs an event loop."""
        what = "asyncio.sleep(0), or the like" if request is None else repr(request)
        self.failure = GraphError(
            f"await {what}: without an event loop a coroutine can await expressions and "
            f"ln.values_async only; use {role}_async in an asyncio program, which lets everything "
            "else through"
        )

    def named(self, error: Exception, role: str) -> Exception:
        """The exception that names this example."""
        text = f"{role}: example {self.index}: {type(error).__name__}: {error}"
        if isinstance(error, RuntimeError) and "no running event loop" in str(error):
            text += "; what needs an event loop can be awaited under ln.run_together_async only"
        return example_error(text, self.index, error)


class Intake:
    """The coroutines to be run, taken one by one, and their results.

    Attributes:
        role: The public function, for messages.
        limit: Most coroutines alive at a time.
        returns: Whether exceptions are returned in place of results.
        results: In the order of the coroutines; None of those that have not ended.
        alive: Examples that have begun and not ended, by index.
        record: What the run came to.
    """

    def __init__(self, role: str, coroutines: Any, limit: Any, on_error: Any) -> None:
        self.role = role
        self.results: list[Any] = []
        self.alive: dict[int, Example] = {}
        self.record = Record()
        self.iterator: Iterator[Any] = iter(())
        self.taken_all = False
        try:
            self.limit = _limit(role, limit)
            self.returns = _on_error(role, on_error)
            self.iterator = iter(_iterable(role, coroutines))
        except BaseException:
            _discard(coroutines)
            raise
        self.stream = current_stream().spawn()
        self.context = copy_context()

    def take(self) -> Example | None:
        """The next coroutine, if there is one and room for it."""
        if self.taken_all or len(self.alive) >= self.limit:
            return None
        try:
            item = next(self.iterator)
        except StopIteration:
            self.taken_all = True
            return None
        index = len(self.results)
        self.results.append(None)
        coroutine = _coroutine(self.role, item, index)
        example = Example(index, coroutine, self.context.copy(), self.stream.branch(index))
        self.alive[index] = example
        return example

    def ended(self, example: Example, result: Any) -> None:
        """Note the result of an example."""
        self.results[example.index] = result
        self._leave(example)

    def failed(self, example: Example, error: Exception) -> None:
        """Note the exception of an example.

        Raises:
            Exception: One that names it, where that is not to be returned.
        """
        self._leave(example)
        if not self.returns:
            raise example.named(error, self.role) from error
        self.results[example.index] = error

    def _leave(self, example: Example) -> None:
        del self.alive[example.index]
        self.record.ended(example.index, example.alone)

    def close(self) -> None:
        """End what has begun, and leave nothing of the rest un-awaited, whatever fails."""
        reason = failure = sys.exc_info()[1]
        closings: list[Callable[[], None]] = [example.close for example in self.alive.values()]
        self.alive = {}
        if not self.taken_all:
            self.taken_all = True
            closings.append(partial(_discard, self.iterator))
        for close in closings:
            try:
                close()
            except BaseException as error:
                last = error
                while last.__context__ and not isinstance(last.__context__, GeneratorExit):
                    last = last.__context__
                last.__context__ = failure  # not that it was closed, but what went before
                failure = error
        if failure is not None and failure is not reason:
            context = failure.__context__
            try:
                raise failure
            finally:
                failure.__context__ = context


def _limit(role: str, limit: Any) -> float:
    if limit is None:
        return float("inf")
    try:
        number = as_index(limit)
    except TypeError:
        number = 0
    if number < 1 or isinstance(limit, bool):
        raise SettingError(
            f"{role}: got limit = {limit!r}; it is the most coroutines alive at a time, a whole "
            "number from 1; leave it out to have all at once"
        )
    return number


def _on_error(role: str, on_error: Any) -> bool:
    if on_error not in ("raise", "return"):
        raise SettingError(
            f'{role}: got on_error = {on_error!r}; it must be "raise" (the first exception ends '
            'all) or "return" (it stands in place of the result)'
        )
    return bool(on_error == "return")


def _iterable(role: str, coroutines: Any) -> Iterable[Any]:
    if isinstance(coroutines, Iterable) and not isinstance(coroutines, (Expression, str)):
        return coroutines
    remedy = "pass a list of them, or a generator"
    if isinstance(coroutines, Coroutine):
        remedy = "for a single one write [coroutine]"
    elif isinstance(coroutines, AsyncIterable):
        remedy = "an asynchronous generator cannot be taken from here; collect a list first"
    raise ArgumentError(f"{role}: got {coroutines!r}; it takes several coroutines; {remedy}")


def _coroutine(role: str, item: Any, index: int) -> Any:
    """The coroutine that an item is, or stands for."""
    if isinstance(item, CoroutineType):
        state = inspect.getcoroutinestate(item)
        if state != inspect.CORO_CREATED:
            how = "has ended" if state == inspect.CORO_CLOSED else "was awaited already and goes on"
            raise GraphError(
                f"{role}: example {index}, {item!r}, {how}; a coroutine runs once; call the "
                f"function again: {item.__name__}(...)"
            )
        return item
    if isinstance(item, Coroutine):
        return item
    if hasattr(type(item), "__await__"):
        return _awaiting(item)
    remedy = "write async def for the function that takes one example, and call it"
    if inspect.iscoroutinefunction(item):
        remedy = f"call it: {item.__name__}(...)"
    elif isinstance(item, AsyncIterable):
        remedy = "iterate over it in a coroutine: async for x in ..."
    raise ArgumentError(f"{role}: example {index} is {item!r}, which is no coroutine; {remedy}")


async def _awaiting(item: Any) -> Any:
    return await item


def _discard(rest: Any) -> None:
    """Close coroutines that have not begun: a generator of them, or what is left of a list."""
    if isinstance(rest, (Generator, Coroutine)):
        rest.close()
    elif isinstance(rest, Iterable):
        for item in islice(rest, length_hint(rest)):  # 0 for what would be made as it is taken
            if isinstance(item, Coroutine):
                item.close()


__all__ = ["Example", "Intake"]
