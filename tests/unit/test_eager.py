"""Coroutines that are run at once: in contexts of their own, as tasks only where they wait, told of beats by calls."""

import asyncio
import collections
import contextlib
from collections.abc import Coroutine, Iterator
from time import sleep
from typing import Any

import pytest

from domain import deadlines
from storage import epochs
from storage.epochs import Beat
from transport.eager import Eager, until


def run(coroutine: Coroutine[Any, Any, None]) -> Eager:
    """Run one at the loop's next turn, as the loop does what a socket hears."""
    eager = Eager(coroutine, asyncio.get_running_loop())
    asyncio.get_running_loop().call_soon(eager)
    return eager


async def turns(number: int = 3) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


@contextlib.contextmanager
def told_of_failures() -> Iterator[list[type[BaseException]]]:
    """Give the kinds of what the loop is told went wrong."""
    failures: list[type[BaseException]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, told: failures.append(type(told["exception"])))
    yield failures
    loop.set_exception_handler(None)


async def test_what_waits_for_a_beat_alone_is_no_task_and_goes_on_in_the_order_of_asking() -> None:
    beat, said, before = Beat(), list[str](), asyncio.all_tasks()

    async def answer(name: str) -> None:
        said.append(f"{name} begins")
        await until(beat)
        said.append(f"{name} ends")

    for name in ("one", "two"):
        run(answer(name))
    await turns()
    assert asyncio.all_tasks() <= before
    beat.end(alive=True)
    await turns()
    assert said == ["one begins", "two begins", "one ends", "two ends"]
    assert beat.epoch_of(None) == b""


async def test_a_task_waits_for_a_beat_too_and_may_stop() -> None:
    beat = Beat()
    waits, stops = (asyncio.create_task(_wait(beat)) for _ in range(2))
    await turns()
    stops.cancel()
    beat.end(alive=False)
    await waits
    with pytest.raises(asyncio.CancelledError):
        await stops
    assert beat.epoch_of(None) is None


async def _wait(beat: Beat) -> None:
    await until(beat)


async def test_what_has_to_wait_for_anything_else_goes_on_as_a_task_in_the_same_context() -> None:
    future, ended, before = asyncio.get_running_loop().create_future(), asyncio.Event(), asyncio.all_tasks()

    async def answer() -> None:
        with deadlines.within(50.0):
            deadline = deadlines.current()
            assert await future == "told"
            assert deadlines.current() == deadline is not None
        assert deadlines.current() is None
        assert isinstance(asyncio.current_task(), asyncio.Task)
        ended.set()

    run(answer())
    await turns()
    assert len(asyncio.all_tasks() - before) == 1
    assert deadlines.current() is None
    future.set_result("told")
    await asyncio.wait_for(ended.wait(), 5)


@pytest.mark.parametrize("is_beat", [True, False])
async def test_a_time_limit_that_began_before_there_was_a_task_holds(*, is_beat: bool) -> None:
    seen = asyncio.get_running_loop().create_future()

    async def answer() -> None:
        try:
            async with asyncio.timeout(0.01):
                await (until(Beat()) if is_beat else asyncio.Event().wait())
        except TimeoutError:
            await until(ended)
            seen.set_result("too late")

    ended = Beat()
    run(answer())
    await asyncio.sleep(0.1)
    ended.end(alive=True)
    assert await asyncio.wait_for(seen, 5) == "too late"


@pytest.mark.parametrize("is_beat", [True, False])
async def test_what_is_cancelled_ends_where_it_waits_and_no_beat_wakes_it(*, is_beat: bool) -> None:
    beat, said = Beat(), list[str]()

    async def answer() -> None:
        try:
            await (until(beat) if is_beat else asyncio.Event().wait())
            said.append("went on")
        finally:
            said.append("let go")

    eager = run(answer())
    await turns()
    assert eager.cancel()
    await turns(5)
    with told_of_failures() as failures:
        beat.end(alive=True)
        await turns(5)
    assert said == ["let go"]
    assert failures == []
    assert not eager.cancel()


async def test_what_fails_is_told_to_the_loop_and_keeps_nobody_else_from_being_called() -> None:
    beat, said = Beat(), list[str]()

    async def fails() -> None:
        await until(beat)
        raise LookupError

    async def goes_on() -> None:
        await until(beat)
        said.append("went on")

    run(fails())
    run(goes_on())
    await turns()
    with told_of_failures() as failures:
        beat.end(alive=True)
        await turns(5)
    assert said == ["went on"]
    assert failures == [LookupError]


async def _longest_wait_of_others(beat: Beat, calls: int) -> int:
    """Give how many calls were made in one turn of the loop at most."""
    made, in_a_turn = 0, collections.deque[int]()

    def compute() -> None:
        nonlocal made
        sleep(0.001)
        made += 1

    for _ in range(calls):
        beat.call(compute)
    beat.end(alive=True)
    while made < calls:
        before = made
        await asyncio.sleep(0)
        in_a_turn.append(made - before)
    return max(in_a_turn)


async def test_a_crowd_that_waits_for_one_beat_lets_others_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await _longest_wait_of_others(Beat(), 100) <= 2 * epochs.AT_ONCE
    monkeypatch.setattr(epochs, "TURN_S", 60.0)
    assert await _longest_wait_of_others(Beat(), 100) == 100, "the guard is off: nobody else has a turn"
