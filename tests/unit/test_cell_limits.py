"""The limit in front of a cell: who gets a place, who waits, who is refused, and how it follows the database."""

import asyncio
import contextlib
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from domain import deadlines
from domain.errors import DeadlineExceeded, Overloaded
from storage.limits import CROWD, Limit, Priority, wanted_by

SHOWN: Final = """
import asyncio
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
from storage.limits import Limit, Priority

registry = CollectorRegistry()
MultiProcessCollector(registry)

def show():
    print(registry.get_sample_value("kith_cell_in_flight", {"dependency": "a test"}))

async def work():
    with await Limit("a test", 3).enter(Priority.FACT):
        show()
    show()

asyncio.run(work())
"""


@contextlib.asynccontextmanager
async def held(limit: Limit, *priorities: Priority) -> AsyncIterator[None]:
    """Hold a place for each of these."""
    with contextlib.ExitStack() as stack:
        for priority in priorities:
            stack.enter_context(await limit.enter(priority))
        yield


async def pass_through(limit: Limit, priority: Priority, order: list[Priority] | None = None) -> None:
    with await limit.enter(priority):
        await asyncio.sleep(0)
        if order is not None:
            order.append(priority)


def is_whole(limit: Limit) -> bool:
    return (limit.in_flight, limit.queued, limit._mutations) == (0, 0, 0)


async def test_no_more_than_the_limit_are_let_in_at_once() -> None:
    limit, most = Limit("a test", 3), 0

    async def work() -> None:
        nonlocal most
        with await limit.enter(Priority.FACT):
            most = max(most, limit.in_flight)
            await asyncio.sleep(0)

    await asyncio.gather(*(work() for _ in range(12)))
    assert most == 3
    assert is_whole(limit)


async def test_the_most_urgent_of_those_who_wait_is_let_in_first() -> None:
    limit, order = Limit("a test", 1, places=100), list[Priority]()
    async with held(limit, Priority.FACT):
        coming = [Priority.COUNT, Priority.LIST, Priority.PROFILE, Priority.FACT, Priority.MUTATION, Priority.FACT]
        waiting = [asyncio.create_task(pass_through(limit, priority, order)) for priority in coming]
        while limit.queued < len(coming):
            await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert order == sorted(coming)


async def test_the_fuller_the_queue_the_more_it_takes_to_be_let_in() -> None:
    limit = Limit("a test", 1, places=10)
    async with held(limit, Priority.FACT):
        let_in = dict.fromkeys(Priority, 0)
        waiting = []
        for priority in sorted(Priority, reverse=True):
            while True:
                task = asyncio.create_task(pass_through(limit, priority))
                await asyncio.sleep(0)
                if task.done():
                    assert isinstance(task.exception(), Overloaded)
                    break
                waiting.append(task)
                let_in[priority] += 1
    await asyncio.gather(*waiting)
    assert list(let_in.values()) == [2, 2, 2, 2, 2]
    assert is_whole(limit)


async def asking(limit: Limit, priority: Priority, number: int = 1) -> list[asyncio.Task[None]]:
    """Have some ask for a place: they wait then, or have been refused."""
    tasks = [asyncio.create_task(pass_through(limit, priority)) for _ in range(number)]
    await asyncio.sleep(0)
    return tasks


async def test_a_crowd_waits_beyond_the_queue_where_the_database_is_soon_done_with_it() -> None:
    limit = Limit("a test", 1, places=2, longest_wait=600)
    await pass_through(limit, Priority.FACT)
    async with held(limit, Priority.FACT):
        crowd = await asking(limit, Priority.FACT, 50) + await asking(limit, Priority.COUNT, 50)
        assert limit.queued == 100
        [change] = await asking(limit, Priority.MUTATION)
        assert isinstance(change.exception(), Overloaded)
    await asyncio.gather(*crowd)
    assert is_whole(limit)


async def test_what_is_worth_less_waits_for_less_beyond_the_queue() -> None:
    limit = Limit("a test", 1, places=2, longest_wait=600)
    let_in = []
    async with held(limit, Priority.FACT):
        limit._takes, limit._moved = 10.0, asyncio.get_running_loop().time()
        asked = []
        for priority in (Priority.COUNT, Priority.LIST, Priority.PROFILE, Priority.FACT):
            asked += await asking(limit, priority, 60)
            let_in.append(limit.queued)
    await asyncio.gather(*asked, return_exceptions=True)
    assert let_in == [pytest.approx(600 / 10 * share, abs=1) for share in (0.2, 0.4, 0.6, 1.0)]
    assert is_whole(limit)


async def test_nobody_waits_beyond_the_queue_of_a_database_that_is_done_with_nothing() -> None:
    limit = Limit("a test", 1, places=2, longest_wait=600)
    await pass_through(limit, Priority.FACT)
    async with held(limit, Priority.FACT):
        limit._moved -= 3600
        asked = await asking(limit, Priority.FACT, 3)
        refused = [task.done() for task in asked]
    await asyncio.gather(*asked, return_exceptions=True)
    assert refused == [False, False, True]


async def test_what_a_crowd_waits_for_is_let_in_as_what_is_most_urgent() -> None:
    limit = Limit("a test", 1, places=2, longest_wait=600)
    async with held(limit, Priority.FACT):
        asked = await asking(limit, Priority.FACT)
        for number in (CROWD - 1, CROWD):
            with wanted_by(number):
                asked += await asking(limit, Priority.LIST)
        refused = [task.done() for task in asked]
    await asyncio.gather(*asked, return_exceptions=True)
    assert refused == [False, True, False]


async def test_a_refusal_says_when_to_come_again() -> None:
    limit = Limit("a test", 1, places=0)
    async with held(limit, Priority.FACT):
        with pytest.raises(Overloaded) as refused:
            await pass_through(limit, Priority.FACT)
    assert refused.value.extensions == {"retryAfter": 1}


async def test_mutations_that_wait_for_each_other_leave_room_for_reads() -> None:
    limit = Limit("a test", 4)
    async with held(limit, *[Priority.MUTATION] * 3):
        waiting = asyncio.create_task(pass_through(limit, Priority.MUTATION))
        await asyncio.sleep(0)
        assert limit.queued == 1
        await pass_through(limit, Priority.COUNT)
        assert not waiting.done()
    await waiting
    assert is_whole(limit)


async def test_whoever_waits_too_long_is_refused() -> None:
    limit = Limit("a test", 1, longest_wait=0.01)
    async with held(limit, Priority.FACT):
        with pytest.raises(Overloaded):
            await pass_through(limit, Priority.FACT)
    assert is_whole(limit)


async def test_nobody_waits_beyond_the_deadline_of_the_request() -> None:
    limit = Limit("a test", 1, longest_wait=60)
    async with held(limit, Priority.FACT):
        with deadlines.within(0.01), pytest.raises(DeadlineExceeded):
            await pass_through(limit, Priority.FACT)
    assert is_whole(limit)


async def test_whoever_is_cancelled_while_waiting_or_just_called_in_leaves_no_trace() -> None:
    limit = Limit("a test", 1, places=1000)
    for turn in range(50):
        async with held(limit, Priority.FACT):
            waiting = [asyncio.create_task(pass_through(limit, Priority.FACT)) for _ in range(10)]
            await asyncio.sleep(0)
            for task in waiting[turn % 3 :: 3]:
                task.cancel()
        for task in waiting[::2]:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert is_whole(limit)


async def test_it_shrinks_while_reads_are_slow_and_grows_back_when_it_is_reached() -> None:
    limit = Limit("a test", 10, slow=0.001, window=0.0, places=1000)
    async with asyncio.timeout(60):
        while limit.limit > 2:
            with await limit.enter(Priority.PROFILE):
                await asyncio.sleep(0.002)
    limit._slow = 60.0
    for _ in range(40):
        await asyncio.gather(*(pass_through(limit, Priority.PROFILE) for _ in range(50)))
    assert limit.limit == 10


async def test_a_read_that_comes_late_because_this_process_is_late_shrinks_nothing() -> None:
    limit = Limit("a test", 10, slow=0.001, window=0.0)
    with await limit.enter(Priority.PROFILE):
        time.sleep(0.05)  # noqa: ASYNC251 - this is what a process that gets no time looks like
        await asyncio.sleep(0.001)
    assert limit.limit == 10


async def test_a_mutation_that_waits_for_a_lock_shrinks_nothing_and_a_failure_does() -> None:
    limit = Limit("a test", 10, slow=0.001, window=0.0)
    with await limit.enter(Priority.MUTATION):
        await asyncio.sleep(0.002)
    assert limit.limit == 10
    with contextlib.suppress(ConnectionError), await limit.enter(Priority.MUTATION, ConnectionError):
        raise ConnectionError
    assert limit.limit == 9


async def test_what_a_cell_works_on_shows_to_whoever_reads_the_figures_of_all_processes(tmp_path: Path) -> None:
    """Processes leave their figures in files: what is only computed when it is asked for would be missing there."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SHOWN), env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}, stdout=PIPE
    )
    output, _ = await process.communicate()
    assert output.decode().split() == ["1.0", "0.0"]
