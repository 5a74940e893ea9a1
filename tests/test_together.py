"""`ln.run_together`: rounds, order, limits, failures, contexts, random numbers, memory."""

from __future__ import annotations

import asyncio
import gc
import pickle
import threading
import traceback
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import lazynet as ln
from lazynet.randomness import get_state
from lazynet.tape import tape_count
from lazynet.together.record import LAST, Record

Runner = Callable[..., list[Any]]


def in_asyncio(coroutines: Any, **options: Any) -> list[Any]:
    async def main() -> list[Any]:
        return await ln.run_together_async(coroutines, **options)

    return asyncio.run(main())


@pytest.fixture(params=[ln.run_together, in_asyncio], ids=["own", "asyncio"])
def run(request: pytest.FixtureRequest) -> Runner:
    """Runs a test with the scheduler that needs no event loop, and inside asyncio."""
    runner: Runner = request.param
    return runner


def record() -> Record:
    found = LAST.record
    assert found is not None
    return found


async def halvings(x: Any) -> int:
    """How often a vector is halved until no element is above 1."""
    x = ln.constant(x)
    count = 0
    while await ln.max(x) > 1:
        x = x / 2
        count += 1
    return count


async def double(x: float) -> float:
    found: float = await (ln.constant(x) * 2)
    return found


NUMBERS = [1.0, 100.0, 3.0, 0.0, 17.0]
HALVINGS = [0, 7, 2, 0, 5]


@pytest.mark.parametrize("limit", [None, 1, 2, 3, 5, 100])
def test_results_come_in_the_order_of_the_input(run: Runner, limit: int | None) -> None:
    assert run((halvings([x]) for x in NUMBERS), limit=limit) == HALVINGS


@pytest.mark.parametrize(("limit", "rounds"), [(None, 8), (2, 11), (1, 19)])
def test_batches_stay_full(run: Runner, limit: int | None, rounds: int) -> None:
    """19 waits, 8 of them of one example; of two alive, the others take 1 + 3 + 1 + 6 beside it."""
    run([halvings([x]) for x in NUMBERS], limit=limit)
    assert (record().rounds, record().waiting, record().examples) == (rounds, 19, 5)


def test_one_round_is_one_evaluation(run: Runner) -> None:
    seen = []

    async def one(x: float) -> Any:
        y = ln.exp(ln.constant([x]))
        value = await y
        seen.append(y.tape.location(y.index)[0])
        return value

    run(one(x) for x in NUMBERS)
    assert len(set(map(id, seen))) == 1
    assert [len(step.nodes) for step in seen[0].layout.steps] == [5, 5]


def test_values_of_every_form(run: Runner) -> None:
    model = ln.Model(seed=0)
    p = model.parameter(2, init=np.array([1.0, 2.0], np.float32))

    async def one() -> Any:
        scalar = await ln.sum(p)
        batch = await ln.constant([[1.0], [2.0]], batched=True) * 3
        parameter = await p
        several = await ln.values_async(ln.sum(p), p, p[1], 4, [5.0])
        known = p * 2
        known.value()
        return scalar, batch, parameter, several, await known, await ln.values_async()

    scalar, batch, parameter, several, known, nothing = run([one()])[0]
    assert type(scalar) is float
    assert scalar == 3
    assert batch.tolist() == [[3.0], [6.0]]
    assert parameter.tolist() == [1.0, 2.0]
    parameter[:] = 0  # an array of one's own
    assert p.value().tolist() == [1.0, 2.0]
    assert [np.asarray(v).tolist() for v in several] == [3.0, [1.0, 2.0], 2.0, 4.0, [5.0]]
    assert known.tolist() == [2.0, 4.0]
    assert nothing == []


def test_values_equal_those_of_one_at_a_time(run: Runner) -> None:
    model = ln.Model(seed=1)
    lstm = ln.nn.LSTM(model, 3, 4)
    table = model.lookup(5, 3)
    head = ln.nn.Linear(model, 4, 5)

    async def follow(word: int, steps: int, looks: bool) -> list[int]:
        state, found = None, []
        with ln.no_grad():
            for _ in range(steps):
                y, state = lstm.step(table[word], state)
                scores = head(y)
                word = int(np.argmax(scores.value() if looks else await scores))
                found.append(word)
        return found

    work = [(k % 5, 1 + 3 * k % 7) for k in range(9)]
    expected = [ln.run_together([follow(*w, True)])[0] for w in work]
    assert run(follow(*w, False) for w in work) == expected


def test_awaiting_in_nested_coroutines_and_async_generators(run: Runner) -> None:
    async def doubled(x: float) -> float:
        return await double(x)

    async def powers(x: float, n: int) -> AsyncIterator[float]:
        for _ in range(n):
            x = await doubled(x)
            yield x

    async def total(x: float, n: int) -> float:
        return sum([y async for y in powers(x, n)])

    assert run([total(1.0, 3), total(5.0, 1), total(2.0, 4)]) == [14.0, 10.0, 60.0]
    assert record().rounds == 4


def test_what_can_be_awaited_is_taken_too(run: Runner) -> None:
    assert run([ln.constant(2.0) + 1, double(2.0)]) == [3.0, 4.0]


def test_a_run_inside_a_run() -> None:
    async def outer(x: float) -> Any:
        inner = ln.run_together(double(x + k) for k in range(2))
        return inner, await double(x)

    assert ln.run_together(outer(x) for x in (1.0, 5.0)) == [
        ([2.0, 4.0], 2.0),
        ([10.0, 12.0], 10.0),
    ]


def test_two_threads() -> None:
    found: dict[int, Any] = {}

    def work(k: int) -> None:
        found[k] = ln.run_together(halvings([x]) for x in NUMBERS * 5)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == {0: HALVINGS * 5, 1: HALVINGS * 5}


def test_nothing_to_run(run: Runner) -> None:
    assert run([]) == []
    assert run(iter(())) == []


def test_coroutines_that_never_wait(run: Runner) -> None:
    async def at_once(k: int) -> int:
        return k

    assert run((at_once(k) for k in range(3)), limit=1) == [0, 1, 2]
    assert record().rounds == 0


def test_coroutines_are_taken_as_there_is_room(run: Runner) -> None:
    alive = most = 0

    async def one() -> None:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        for _ in range(3):
            await (ln.constant(1.0) + 1)
        alive -= 1

    made = []

    def all_of_them() -> Iterator[Coroutine[Any, Any, None]]:
        for k in range(10):
            made.append((k, alive))
            yield one()

    run(all_of_them(), limit=4)
    assert most == 4
    assert [k for k, _ in made] == list(range(10))
    assert all(n < 4 for _, n in made)


# Values computed otherwise


def test_plain_value_works_and_is_noted(run: Runner) -> None:
    async def one(k: int) -> float:
        x = ln.constant(float(k)) + 1
        return (x.value() if k == 1 else await x) + await (x * 10)

    assert run(one(k) for k in range(3)) == [11.0, 22.0, 33.0]
    assert record().alone == {1: 1}


def test_modes_of_a_coroutine_hold_while_it_waits(run: Runner) -> None:
    model = ln.Model(seed=0)
    p = model.parameter((), init=3.0)

    async def one(marked: bool) -> Any:
        if marked:
            with ln.no_grad(), ln.training(False):
                await (p * 2)
                x = p * 1
                assert not ln.is_training()
        else:
            await (p * 3)
            x = p * 1
            assert ln.is_training()
        return x

    marked, free = run([one(True), one(False)])
    ln.sum([marked, free, p * 0]).backward()
    assert p.gradient() == 1  # of `free` alone


def test_rounds_heed_no_autobatch(run: Runner) -> None:
    async def one(k: int) -> Any:
        x = ln.exp(ln.constant([float(k)]))
        if k % 2:
            with ln.no_autobatch():
                await x
        else:
            await x
        return x.tape.location(x.index)[0]

    even, odd, even2, odd2 = run(one(k) for k in range(4))
    assert even is even2
    assert odd is odd2
    assert [len(s.nodes) for s in even.layout.steps] == [2, 2]
    assert [len(s.nodes) for s in odd.layout.steps] == [1, 1, 1, 1]


def test_context_variables_are_copies(run: Runner) -> None:
    name: ContextVar[str] = ContextVar("name", default="none")

    async def one(own: str) -> tuple[str, str]:
        before = name.get()
        name.set(own)
        await double(1.0)
        return before, name.get()

    token = name.set("outer")
    try:
        assert run([one("a"), one("b"), one("c")], limit=2) == [
            ("outer", "a"), ("outer", "b"), ("outer", "c"),
        ]  # fmt: skip
        assert name.get() == "outer"
    finally:
        name.reset(token)


async def draws(k: int) -> list[float]:
    """As many random numbers as its position says."""
    found = []
    for _ in range(k + 1):
        found += (await ln.uniform(2)).tolist()
    return found


def test_random_numbers_depend_on_the_position_alone(run: Runner) -> None:
    found = []
    for count, limit in ((5, None), (5, 1), (5, 2), (3, None)):
        ln.seed(7)
        found.append(run((draws(k) for k in range(count)), limit=limit))
    assert found[0] == found[1] == found[2]
    assert found[3] == found[0][:3]
    assert len({x for numbers in found[0] for x in numbers}) == 30
    ln.seed(8)
    assert run([draws(0)])[0] != found[0][0]


def test_one_run_takes_one_key_of_the_thread(run: Runner) -> None:
    before = get_state()
    run(draws(k) for k in range(3))
    after = get_state()
    assert after == {**before, "count": before["count"] + 1}
    ln.seed(0)
    first = run([draws(0)])
    assert run([draws(0)]) != first


def test_a_seed_inside_stays_inside(run: Runner) -> None:
    async def seeded() -> Any:
        ln.seed(3)
        await ln.uniform(1)
        return (await ln.uniform(1)).tolist()

    before = get_state()["seed"]
    first, second = run([seeded(), seeded()])
    assert first == second
    assert get_state()["seed"] == before


def test_dropout_equals_that_of_one_at_a_time(run: Runner) -> None:
    async def one(k: int) -> Any:
        x = ln.dropout(ln.constant(np.ones(8)), 0.5)
        y = ln.dropout(x if k % 2 else ln.constant(await x), 0.5)
        return (await y).tolist()

    ln.seed(1)
    together = run(one(k) for k in range(4))
    ln.seed(1)
    assert run((one(k) for k in range(4)), limit=1) == together


# Training


def agents(model: ln.Model) -> tuple[Callable[..., Any], Any]:
    cell = ln.nn.RNN(model, 4, 4)
    head = ln.nn.Linear(model, 4, 3)
    table = model.lookup(3, 4)

    async def agent(k: int, losses: list[Any]) -> list[int]:
        state, action, actions = None, k % 3, []
        for t in range(2 + k):
            y, state = cell.step(table[action], state)
            scores = head(y)
            losses.append(ln.cross_entropy(scores, (k + t) % 3))
            action = int(np.argmax(await scores))
            actions.append(action)
        return actions

    return agent, head


def test_losses_of_all_rounds_are_one_batch(run: Runner) -> None:
    model = ln.Model(seed=2)
    agent, _ = agents(model)
    losses: list[Any] = []
    run(agent(k, losses) for k in range(4))
    assert len(losses) == 2 + 3 + 4 + 5
    assert not any("not evaluated" not in repr(loss) for loss in losses)
    batches = ln.plan(ln.sum(losses)).batches
    assert [(b.op, b.nodes) for b in batches] == [("cross_entropy", 14), ("sum_list", 1)]


def test_gradients_equal_those_of_a_graph_without_rounds(run: Runner) -> None:
    gradients = []
    for rounds in (True, False):
        model = ln.Model(seed=2, dtype="float64")
        agent, _ = agents(model)
        losses: list[Any] = []
        if rounds:
            actions = run(agent(k, losses) for k in range(4))
        else:
            cell, head, table = ln.nn.RNN(model, 4, 4), None, None
            model = ln.Model(seed=2, dtype="float64")
            cell = ln.nn.RNN(model, 4, 4)
            head = ln.nn.Linear(model, 4, 3)
            table = model.lookup(3, 4)
            for k, chosen in enumerate(actions):
                state, action = None, k % 3
                for t, following in enumerate(chosen):
                    y, state = cell.step(table[action], state)
                    losses.append(ln.cross_entropy(head(y), (k + t) % 3))
                    action = following
        ln.mean(losses).backward()
        gradients.append([np.array(p.gradient()) for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


# Memory


def test_a_long_decode_holds_steady_memory(run: Runner) -> None:
    model = ln.Model(seed=0)
    W = model.parameter((8, 8))
    held: list[tuple[int, int]] = []

    async def follow(k: int) -> None:
        h = ln.constant(np.full(8, k + 1.0, np.float32))
        with ln.no_grad():
            for n in range(1500):
                h = ln.tanh(W @ h)
                await ln.sum(h)
                if k == 0 and n in (300, 1499):
                    gc.collect()
                    held.append((tracemalloc.get_traced_memory()[0], tape_count()))

    tracemalloc.start()
    try:
        run(follow(k) for k in range(3))
    finally:
        tracemalloc.stop()
    (early, early_tapes), (late, late_tapes) = held
    assert late_tapes == early_tapes
    assert late < early + 20_000  # 1,200 rounds of at least 10 numbers each


def test_rounds_that_are_let_go_are_freed(run: Runner) -> None:
    before = tape_count()

    async def follow() -> Any:
        x = ln.constant([1.0])
        for _ in range(5):
            x = ln.tanh(x)
            await x
        return x

    with ln.no_grad():
        (kept,) = run([follow()])
    assert tape_count() == before + 1
    del kept
    assert tape_count() == before


# Failures


class OwnError(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{why} ({code})")
        self.code = code


async def failing(error: BaseException, after: int = 1) -> None:
    for _ in range(after):
        await double(1.0)
    raise error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"), KeyError("k"), OwnError(3, "bad"), FileNotFoundError(2, "gone", "f"),
        UnicodeDecodeError("ascii", b"x", 0, 1, "why"), ln.ShapeError("shapes"), StopIteration(1),
        ZeroDivisionError(),
    ],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
@pytest.mark.parametrize("after", [0, 2])
def test_an_exception_names_its_example(run: Runner, error: Exception, after: int) -> None:
    kind = RuntimeError if isinstance(error, StopIteration) else type(error)  # as Python has it
    with pytest.raises(kind, match="example 1: " + kind.__name__) as caught:
        run([halvings([9.0]), failing(error, after), halvings([90.0])])
    found = caught.value
    assert isinstance(found, ln.ExampleError)
    assert found.index == 1
    cause = found.__cause__
    assert cause is error or isinstance(cause.__cause__, StopIteration)
    origin = cause if cause is error else cause.__cause__
    lines = [frame.line for frame in traceback.extract_tb(origin.__traceback__)]
    assert "raise error" in lines
    if isinstance(error, OwnError):
        assert found.code == 3
        with pytest.raises(AttributeError):
            found.codes  # noqa: B018
    if isinstance(error, OSError):
        assert found.filename == "f"


def test_an_example_error_is_pickled_and_nests() -> None:
    async def outer() -> Any:
        return ln.run_together([double(1.0), failing(ValueError("deep"))])

    with pytest.raises(ValueError, match="example 0: ExampleError: run_together: example 1") as c:
        ln.run_together([outer()])
    copy = pickle.loads(pickle.dumps(c.value))
    assert str(copy) == str(c.value)
    assert copy.index == 0
    assert isinstance(copy, ValueError)


def test_exceptions_in_place_of_results(run: Runner) -> None:
    errors = [ValueError("first"), OwnError(1, "second")]
    found = run(
        [failing(errors[0]), halvings([9.0]), failing(errors[1], 0), double(2.0)],
        on_error="return",
        limit=2,
    )
    assert found == [errors[0], 4, errors[1], 4.0]
    assert errors[0].__traceback__ is not None


def test_all_others_are_closed(run: Runner) -> None:
    log: list[str] = []

    async def one(name: str) -> None:
        try:
            while True:
                await double(1.0)
        finally:
            log.append(f"{name} {ln.is_training()}")

    async def in_mode(name: str) -> None:
        with ln.training(False):
            await one(name)

    def endless() -> Iterator[Coroutine[Any, Any, None]]:
        try:
            yield one("a")
            yield failing(ValueError("no"), 3)
            while True:
                yield in_mode("b")
        finally:
            log.append("generator")

    with pytest.raises(ValueError, match="example 1"):
        run(endless(), limit=3)
    assert sorted(log) == ["a True", "b False", "generator"]


@pytest.mark.parametrize("form", [list, tuple, iter, set], ids=lambda f: f.__name__)
def test_those_that_have_not_begun_are_closed(run: Runner, form: Any) -> None:
    coroutines = [failing(ValueError("no"), 0) for _ in range(4)]
    with pytest.raises(ValueError, match="example 0"):
        run(form(coroutines), limit=1)
    for c in coroutines:  # pytest turns "was never awaited" into an error
        with pytest.raises(RuntimeError, match="cannot reuse"):
            c.send(None)


def test_a_failing_generator_ends_all(run: Runner) -> None:
    closed = []

    async def one() -> None:
        try:
            await double(1.0)
            await double(1.0)
        finally:
            closed.append(True)

    def broken() -> Iterator[Coroutine[Any, Any, None]]:
        yield one()
        raise OSError("the file ended")

    with pytest.raises(OSError, match="the file ended") as caught:
        run(broken())
    assert not isinstance(caught.value, ln.ExampleError)
    assert closed in ([True], [])  # in asyncio it may not have begun


def test_an_exception_while_closing_is_raised_with_the_first_as_context() -> None:
    async def stubborn() -> None:
        try:
            await double(1.0)
            await double(1.0)
        finally:
            raise OwnError(1, "while closing")

    with pytest.raises(OwnError, match="while closing") as caught:
        ln.run_together([stubborn(), failing(ValueError("first")), stubborn()])
    chain, error = [], caught.value.__context__
    while error is not None:
        chain.append(type(error).__name__)
        error = error.__context__
    assert chain == ["OwnError", "ExampleError", "ValueError"]


def test_while_closing_values_are_computed_at_once() -> None:
    seen = []

    async def one() -> None:
        try:
            await double(1.0)
            await double(1.0)
        finally:
            seen.append(await double(21.0))
            seen.append(await ln.values_async(ln.constant(1.0) + 1))

    with pytest.raises(ValueError, match="first"):
        ln.run_together([one(), failing(ValueError("first"))])
    assert seen == [42.0, [2.0]]


def test_an_exception_may_be_handled_inside(run: Runner) -> None:
    @ln.fuse
    def twice(x: Any) -> Any:
        return x + x

    async def one(bad: bool) -> Any:
        x = ln.constant([1.0])
        try:
            return (await (Refusing()(x) if bad else twice(x))).tolist()
        except ln.EvaluationError as error:
            return str(error.__cause__)

    assert run(one(k == 3) for k in range(7)) == [[2.0]] * 3 + ["refused"] + [[2.0]] * 3


@dataclass(frozen=True)
class Refusing(ln.Op):
    """y = x, but never computed"""

    def shape(self, x: Any) -> Any:
        return x

    def forward(self, call: Any, x: Any) -> Any:
        raise ValueError("refused")


def test_a_failing_evaluation_fails_its_example_only(run: Runner) -> None:
    async def refused() -> Any:
        return await Refusing()(ln.constant([1.0]))

    found = run([double(1.0), refused(), double(3.0)], on_error="return")
    assert found[::2] == [2.0, 6.0]
    assert isinstance(found[1], ln.EvaluationError)
    lines = [frame.line for frame in traceback.extract_tb(found[1].__traceback__)]
    assert "return await Refusing()(ln.constant([1.0]))" in lines
    with pytest.raises(ln.EvaluationError, match="example 1: EvaluationError"):
        run([double(1.0), refused(), double(3.0)])


def test_too_much_memory_ends_all(run: Runner) -> None:
    async def huge() -> Any:
        return await (ln.constant(1.0) + ln.broadcast_to(ln.constant(0.0), (1 << 47,)))

    with pytest.raises(ln.OutOfMemoryError, match=r"round of 2 examples: .*limit="):
        run([huge(), double(1.0)])


@pytest.mark.parametrize("on_error", ["raise", "return"])
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_in_a_coroutine(interrupt: type[BaseException], on_error: str) -> None:
    closed = []

    async def one() -> None:
        try:
            while True:
                await double(1.0)
        finally:
            closed.append(True)

    with pytest.raises(interrupt):
        ln.run_together([one(), failing(interrupt(), 2), one()], limit=2, on_error=on_error)
    assert len(closed) == 1
    assert ln.run_together([double(1.0)]) == [2.0]


def test_ctrl_c_in_an_evaluation() -> None:
    @dataclass(frozen=True)
    class Interrupted(Refusing):
        """y = x, interrupted"""

        def forward(self, call: Any, x: Any) -> Any:
            raise KeyboardInterrupt

    closed = []

    async def one(op: Any) -> None:
        try:
            await op(ln.constant([1.0]))
        finally:
            closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        ln.run_together([one(Interrupted()), one(ln.exp)])
    assert closed == [True, True]
    assert ln.run_together([double(1.0)]) == [2.0]


def test_ctrl_c_in_asyncio() -> None:
    closed = []

    async def one() -> None:
        try:
            while True:
                await double(1.0)
        finally:
            closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        in_asyncio([one(), failing(KeyboardInterrupt(), 2), one()])
    assert closed == [True, True]


def test_cancelling_the_whole() -> None:
    closed = []

    async def one() -> None:
        try:
            while True:
                await double(1.0)
                await asyncio.sleep(0)
        finally:
            closed.append(await double(1.0))

    async def main() -> None:
        task = asyncio.ensure_future(ln.run_together_async([one(), one(), one()], limit=2))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert closed == [2.0, 2.0]


# Bad input


def test_an_event_loop_is_not_there() -> None:
    class Foreign:
        def __await__(self) -> Iterator[Any]:
            yield "something"

    async def awaits(what: Callable[[], Any]) -> None:
        await double(1.0)
        await what()

    for what, text in (
        (lambda: asyncio.sleep(0), "await asyncio.sleep(0), or the like: without an event loop"),
        (lambda: asyncio.sleep(1), "no running event loop; .*run_together_async"),
        (Foreign, "await 'something': .*run_together_async"),
    ):
        with pytest.raises(RuntimeError, match=text.replace("(0)", r"\(0\)")) as caught:
            ln.run_together([double(1.0), awaits(what)])
        lines = [frame.line for frame in traceback.extract_tb(caught.value.__cause__.__traceback__)]
        assert "await what()" in lines


def test_an_asyncio_program_that_forgets_to_await() -> None:
    async def sleeper() -> None:
        await asyncio.sleep(1)

    async def main() -> None:
        ln.run_together([sleeper()])

    with pytest.raises(ln.GraphError, match="await <Future pending>: without an event loop"):
        asyncio.run(main())


def test_foreign_awaitables_pass_through() -> None:
    order = []

    async def one(k: int) -> float:
        await asyncio.sleep(0.02 * (k == 1))
        x = await double(float(k))
        order.append(k)
        await asyncio.sleep(0)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(1), 0.001)
        return await double(x)

    assert in_asyncio(one(k) for k in range(3)) == [0.0, 4.0, 8.0]
    assert order == [0, 2, 1]  # nobody waited for the one that slept


def test_other_tasks_go_on_beside() -> None:
    async def ticks(found: list[int]) -> None:
        while True:
            found.append(1)
            await asyncio.sleep(0)

    async def main() -> int:
        found: list[int] = []
        task = asyncio.ensure_future(ticks(found))
        await ln.run_together_async(halvings([x]) for x in NUMBERS)
        task.cancel()
        return len(found)

    assert asyncio.run(main()) >= 8


def test_two_runs_at_once_in_asyncio() -> None:
    async def main() -> list[list[int]]:
        runs = [ln.run_together_async(halvings([x]) for x in NUMBERS) for _ in range(2)]
        return list(await asyncio.gather(*runs))

    assert asyncio.run(main()) == [HALVINGS, HALVINGS]


def test_awaiting_where_nobody_runs_it() -> None:
    for coroutine in (double(1.0), ln.values_async(ln.constant(1.0)), ln.values_async()):
        with pytest.raises(ln.GraphError, match=r"no ln.run_together runs this coroutine"):
            coroutine.send(None)
    with pytest.raises(ln.GraphError, match=r"ln.run_together\(\[...\]\)"):
        asyncio.run(double(1.0))


def test_awaiting_in_a_fused_function() -> None:
    @ln.fuse
    def f(x: Any) -> Any:
        (x * 2).__await__().send(None)
        return x

    async def one() -> None:
        f(ln.constant([1.0]))

    with pytest.raises(ln.FuseError, match="example 0: FuseError"):
        ln.run_together([one()])


def test_no_coroutine(run: Runner) -> None:
    async def generator() -> AsyncIterator[int]:
        yield 1

    for item, remedy in (
        (3, "write async def"),
        (double, r"call it: double\(...\)"),
        (generator(), "async for"),
        ("text", "write async def"),
    ):
        rest = double(1.0)
        with pytest.raises(ln.ArgumentError, match=f"example 1 is .*no coroutine; .*{remedy}"):
            run([halvings([9.0]), item, rest], on_error="return")


def test_no_coroutines(run: Runner) -> None:
    async def generator() -> AsyncIterator[int]:
        yield 1

    for given, remedy in (
        (3, "pass a list"),
        (double(1.0), r"write \[coroutine\]"),
        (generator(), "collect a list"),
        (ln.constant([1.0]), "pass a list"),
    ):
        with pytest.raises(ln.ArgumentError, match=f"takes several coroutines; .*{remedy}"):
            run(given)


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": -1}, {"limit": 1.5}, {"limit": True}])
def test_bad_limits(run: Runner, options: Any) -> None:
    with pytest.raises(ln.SettingError, match="got limit = "):
        run([double(1.0)], **options)


def test_a_bad_on_error(run: Runner) -> None:
    with pytest.raises(ln.SettingError, match=r'got on_error = "?.ignore.*must be "raise"'):
        run((double(1.0) for _ in range(2)), on_error="ignore")


def test_a_coroutine_that_was_awaited(run: Runner) -> None:
    ended = double(1.0)
    assert run([ended]) == [2.0]
    with pytest.raises(ln.GraphError, match=r"example 1, .* has ended; .*double\(...\)"):
        run([halvings([9.0]), ended])


def test_a_coroutine_given_twice() -> None:
    twice = halvings([9.0])
    with pytest.raises(ln.GraphError, match=r"example 1, .* was awaited already and goes on"):
        ln.run_together([twice, twice])


def test_a_coroutine_awaited_twice_inside(run: Runner) -> None:
    async def one() -> None:
        inner = double(1.0)
        await inner
        await inner

    with pytest.raises(RuntimeError, match=r"example 0: .*cannot reuse already awaited"):
        run([one()])


def test_a_list_in_place_of_several(run: Runner) -> None:
    async def one() -> None:
        x = ln.constant(1.0)
        await ln.values_async([x, x])

    with pytest.raises(ln.ArgumentError, match=r"write values_async\(\*xs\)"):
        run([one()])


# Devices


def test_on_each_device(device: str) -> None:
    model = ln.Model(seed=0)
    agent, _ = agents(model)
    losses: list[Any] = []
    actions = ln.run_together(agent(k, losses) for k in range(4))
    loss = ln.mean(losses)
    loss.backward()
    with ln.use_device("cpu"):
        reference = ln.Model(seed=0)
        agent, _ = agents(reference)
        losses = []
        assert ln.run_together(agent(k, losses) for k in range(4)) == actions
        expected = ln.mean(losses)
        expected.backward()
    assert loss.value() == pytest.approx(expected.value(), rel=1e-5)
    for p, q in zip(model.parameters(), reference.parameters(), strict=True):
        np.testing.assert_allclose(p.gradient(), q.gradient(), rtol=1e-4, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
def test_expressions_of_two_devices() -> None:
    models = [ln.Model(seed=0, device=d) for d in ("cpu", "cuda")]
    ps = [m.parameter(3) for m in models]

    async def one(k: int) -> Any:
        return (await ln.sum(ps[k % 2] * float(k))), ln.sum(ps[k % 2])

    async def both() -> Any:
        return await ln.values_async(ln.sum(ps[0]), ln.sum(ps[1]))

    async def mixed() -> Any:
        return await ln.sum(ps[0] + ps[1])

    found = ln.run_together([one(0), one(1), both(), one(2), mixed(), one(3)], on_error="return")
    assert isinstance(found[2], ln.DeviceError)
    assert isinstance(found[4], ln.DeviceError)
    assert "computed on one device" in str(found[4])
    sums = [p.value().sum() for p in ps]
    for k, place in ((0, 0), (1, 1), (2, 3), (3, 5)):
        assert found[place][0] == pytest.approx(k * float(sums[k % 2]), abs=1e-6)


def test_expressions_of_two_devices_by_mode() -> None:
    async def one(k: int) -> float:
        with ln.use_device("cpu"):
            found: float = await (ln.constant(float(k)) + 1)
        return found

    assert ln.run_together(one(k) for k in range(3)) == [1.0, 2.0, 3.0]
