"""`run_together_async`: the same rounds inside an asyncio program. Every coroutine is a task."""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Iterable
from contextvars import copy_context
from typing import Any, Literal, TypeVar, overload

from lazynet.graph import Expression
from lazynet.together.example import Example, Intake
from lazynet.together.record import LAST
from lazynet.together.request import Several
from lazynet.together.rounds import answer_all

T = TypeVar("T")


@overload
async def run_together_async(
    coroutines: Iterable[Awaitable[T]],
    limit: int | None = None,
    on_error: Literal["raise"] = "raise",
) -> list[T]: ...


@overload
async def run_together_async(
    coroutines: Iterable[Awaitable[T]],
    limit: int | None = None,
    *,
    on_error: Literal["return"],
) -> list[T | Exception]: ...


@overload
async def run_together_async(
    coroutines: Iterable[Awaitable[Any]], limit: int | None = None, *, on_error: str
) -> list[Any]: ...


async def run_together_async(
    coroutines: Iterable[Awaitable[Any]],
    limit: int | None = None,
    on_error: str = "raise",
) -> list[Any]:
    """`ln.run_together` for asyncio programs: coroutines may await anything else as well.

    A round takes place when no coroutine can go on without it: all wait for expressions, or for
    something else (``asyncio.sleep``, a socket). Nobody waits for the latter; they join later.

    Args:
        coroutines: Coroutines, or anything else that can be awaited; taken one by one as there is
            room for them. Each runs as a task of its own.
        limit: How many are alive at a time at most: as one ends, the next begins. Default: all.
        on_error: "raise": the first exception cancels the others and is raised, naming the example.
            "return": it stands in place of the result.

    Returns:
        What they return, in the order in which they were given.

    Raises:
        ExampleError: If a coroutine fails; as in `run_together`.
        ArgumentError: If something is no coroutine.
        GraphError: If one was awaited before.

    >>> import asyncio
    >>> import lazynet as ln
    >>> async def fetch_and_add(x):
    ...     await asyncio.sleep(0.001)
    ...     return await (ln.constant(x) + 1)
    >>> async def main():
    ...     return await ln.run_together_async(fetch_and_add(x) for x in range(3))
    >>> asyncio.run(main())
    [1.0, 2.0, 3.0]
    """
    return await _Run(Intake("run_together_async", coroutines, limit, on_error)).results()


class _Run:
    """Sees to it that tasks which wait for expressions get them.

    Attributes:
        ready: How many examples are running, or can go on by themselves.
        waiting: Those that wait for expressions, with the future that tells them to go on.
    """

    def __init__(self, intake: Intake) -> None:
        import asyncio

        self.loop = asyncio.get_running_loop()
        self.intake = intake
        self.ready = 0
        self.waiting: list[tuple[Example, asyncio.Future[None]]] = []
        self.called = False
        self.stopped = False
        self.done: asyncio.Future[None] = self.loop.create_future()
        self.tasks: set[asyncio.Task[None]] = set()

    async def results(self) -> list[Any]:
        """Run everything; whatever happens, all tasks have ended afterwards."""
        import asyncio

        LAST.record = self.intake.record
        try:
            self._begin()
            if self.tasks:
                await self.done
        finally:
            self.stopped = True
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            if self.done.done() and not self.done.cancelled():
                self.done.exception()  # seen, also where a cancellation came first
            self.intake.close()
        return self.intake.results

    def _begin(self) -> None:
        """Start as many coroutines as there is room for."""
        while not self.stopped:
            example = self.intake.take()
            if example is None:
                break
            self.ready += 1
            task = self.intake.context.run(self.loop.create_task, self._drive(example))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        if not self.intake.alive:
            self._stop(None)

    def _stop(self, error: BaseException | None) -> None:
        self.stopped = True
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        elif isinstance(error, Exception):
            self.done.set_exception(error)
        else:
            self.done.cancel()

    async def _drive(self, example: Example) -> None:
        """The task of one coroutine."""
        try:
            try:
                result = await _Steps(self, example)
            except Exception as error:
                self.intake.failed(example, error)
            else:
                self.intake.ended(example, result)
            self.idle()
            self._begin()
        except BaseException as error:
            self.intake.alive.pop(example.index, None)
            self._stop(error)
            if not isinstance(error, Exception):
                raise

    def idle(self) -> None:
        """An example that could go on no longer can: if it was the last one, a round is due."""
        self.ready -= 1
        if not self.ready and self.waiting and not self.called:
            self.called = True  # later: what is ready elsewhere comes first, and may join
            self.loop.call_soon(self._round, context=self.intake.context)

    def _round(self) -> None:
        """Compute what is waited for."""
        self.called = False
        if self.ready:
            return
        going = [(example, future) for example, future in self.waiting if not future.done()]
        self.waiting = []
        try:
            self.intake.record.round(len(going))
            answer_all([example for example, _ in going])
        except BaseException as error:
            self._stop(error)
            if not isinstance(error, Exception):
                raise
            return
        for _, future in going:
            future.set_result(None)


class _Steps:
    """The steps of one coroutine, inside its task."""

    def __init__(self, run: _Run, example: Example) -> None:
        self.run = run
        self.example = example

    def __await__(self) -> Generator[Any, Any, Any]:
        run, example = self.run, self.example
        while True:
            try:
                request = example.step(_here)
            except StopIteration as end:
                return end.value
            if isinstance(request, (Expression, Several)):
                yield from self._wait(request)
                continue
            waits = request is not None  # None is asyncio.sleep(0): it goes on by itself
            if waits:
                run.idle()
            try:
                example.answer = yield request
            except BaseException as error:
                example.failure = error
            finally:
                if waits:
                    run.ready += 1

    def _wait(self, request: Any) -> Generator[Any, Any, None]:
        """Wait for a round."""
        run, example = self.run, self.example
        future = run.loop.create_future()
        example.request = request
        example.context = copy_context()
        run.waiting.append((example, future))
        run.idle()
        try:
            yield from future
        except BaseException as error:  # it was cancelled, which its coroutine may look after
            example.failure = error
        finally:
            run.ready += 1


def _here(function: Any, argument: Any) -> Any:
    """Call it in this context, which is the task's own."""
    return function(argument)


__all__ = ["run_together_async"]
