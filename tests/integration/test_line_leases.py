"""Connections of one person in several processes: counted together, given back, and free when a process has died.

Where Redis is late everybody has room, so that a refusal is waited for.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest

from embedded import Addresses
from storage.line_leases import LineLeases
from storage.redis_client import Redis, open_redis
from tests.conftest import eventually

MOST: Final = 2
SHORT_S: Final = 0.5
LONG_S: Final = 90.0
WITHIN_S: Final = 60.0
_PEOPLE: Final = itertools.count(10**15)


@pytest.fixture
def person() -> int:
    return next(_PEOPLE)


@pytest.fixture
async def one(redis: Redis) -> AsyncIterator[LineLeases]:
    async with LineLeases(redis, LONG_S).renewing() as leases:
        yield leases


@pytest.fixture
async def other(redis: Redis) -> AsyncIterator[LineLeases]:
    async with LineLeases(redis, LONG_S).renewing() as leases:
        yield leases


async def has_room(leases: LineLeases, person: int) -> bool:
    async with leases.held(person, MOST) as found:
        return found


async def test_two_processes_count_together_and_what_ends_in_one_is_free_in_the_other(
    one: LineLeases, other: LineLeases, person: int
) -> None:
    async with one.held(person, MOST) as first:
        async with other.held(person, MOST) as second:
            assert (first, second) == (True, True)
            await eventually(lambda: is_full(one, person, MOST), within=WITHIN_S)
            await eventually(lambda: is_full(other, person, MOST), within=WITHIN_S)
            assert await has_room(other, person + 10**9)
        await eventually(lambda: has_room(one, person), within=WITHIN_S)


async def test_leases_are_renewed_for_as_long_as_they_are_held(redis: Redis, other: LineLeases, person: int) -> None:
    async with LineLeases(redis, SHORT_S).renewing() as one, one.held(person, 1) as held:
        assert held
        await asyncio.sleep(3 * SHORT_S)
        await eventually(lambda: is_full(other, person), within=WITHIN_S)


async def is_full(leases: LineLeases, person: int, most: int = 1) -> bool:
    async with leases.held(person, most) as found:
        return not found


async def test_what_redis_forgot_is_counted_again(redis: Redis, other: LineLeases, person: int) -> None:
    async with LineLeases(redis, SHORT_S).renewing() as one, one.held(person, 1):
        await redis.run(lambda client: client.delete(f"lines:{{{person}}}"))
        await eventually(lambda: is_full(other, person), within=WITHIN_S)


async def test_what_a_dead_process_held_is_free_when_its_leases_run_out(
    redis: Redis, other: LineLeases, person: int
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        dead = LineLeases(redis, SHORT_S)  # renews nothing
        for _ in range(MOST):
            assert await stack.enter_async_context(dead.held(person, MOST))
        await eventually(lambda: has_room(other, person), within=WITHIN_S)


async def test_one_that_is_cancelled_while_it_asks_holds_nothing(
    addresses: Addresses, other: LineLeases, person: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_redis(addresses.redis_url) as asked, LineLeases(asked, LONG_S).renewing() as one:

        async def run(call: Callable[[Any], Awaitable[object]]) -> None:
            await Redis.run(asked, call)
            raise asyncio.CancelledError

        monkeypatch.setattr(asked, "run", run)
        for _ in range(MOST):
            with pytest.raises(asyncio.CancelledError):
                await has_room(one, person)
        await eventually(lambda: has_room(other, person), within=WITHIN_S)


async def test_without_redis_everybody_has_room(person: int) -> None:
    async with open_redis("redis://127.0.0.1:1") as away, LineLeases(away).renewing() as leases:
        async with contextlib.AsyncExitStack() as stack:
            found = [await stack.enter_async_context(leases.held(person, MOST)) for _ in range(MOST + 1)]
        assert found == [True] * (MOST + 1)
