"""A Redis that comes back with a part of what it knew: nothing that it was told before is believed."""

import contextlib
import datetime as dt
import os
import signal
from collections.abc import AsyncIterator

import pytest

from domain.ids import OpaqueIds
from domain.transitions import block
from loaders import Caches, Loaders, open_caches
from storage.cells import ShardMap
from storage.generations import fetch_generation
from storage.lives import Lives
from storage.pairs import change_pair
from storage.redis_client import CacheUnavailable, Redis, open_redis
from tests.clusters import tell
from tests.conftest import KEY, MakePerson, Person, eventually
from tests.integration.test_pairs import now
from tests.valkey import Server


@contextlib.asynccontextmanager
async def a_process(shards: ShardMap, server: Server) -> AsyncIterator[Caches]:
    """Run caches over a Valkey of the test's own, and have them know the generations."""
    async with open_redis(server.url) as redis:
        await eventually(lambda: answers(redis))
        async with open_caches(shards, OpaqueIds(KEY), redis) as caches:
            await eventually(lambda: remembers(caches))
            yield caches


async def answers(redis: Redis) -> bool:
    with contextlib.suppress(CacheUnavailable):
        await redis.ping()
        return True
    return False


async def remembers(caches: Caches) -> bool:
    return all(caches.generations.of(cell.number) is not None for cell in caches.database.shards.cells)


async def is_blocked(caches: Caches, viewer: Person, other: Person) -> bool:
    _, [pair] = await Loaders(caches, viewer.id, dt.datetime.now(dt.UTC)).fetch_people([other.id])
    await caches.settle()
    return pair.blocked_by


async def come_back_older(caches: Caches, server: Server, viewer: Person, other: Person) -> None:
    """Have a block be told to Redis, and Redis come back with a snapshot from before it."""
    assert not await is_blocked(caches, viewer, other)
    await tell(server, "SAVE")
    await change_pair(caches.database, other.id, viewer.id, block(until=None), now())
    assert await is_blocked(caches, viewer, other)
    server.send(signal.SIGKILL)
    server.start()


async def test_a_redis_that_comes_back_older_hides_no_block(
    shards: ShardMap, server: Server, make_person: MakePerson
) -> None:
    viewer, other = await make_person(), await make_person()
    async with a_process(shards, server) as caches:
        await come_back_older(caches, server, viewer, other)
        async with a_process(shards, server) as later:
            assert await is_blocked(later, viewer, other)
        await eventually(lambda: answers(caches.redis), within=30)
        assert await is_blocked(caches, viewer, other)


@pytest.mark.skipif(os.environ.get("PROVE") != "long", reason="a machine that is slow reads past its Redis")
async def test_without_a_look_at_who_answers_the_block_would_be_hidden(
    shards: ShardMap, server: Server, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, other = await make_person(), await make_person()
    monkeypatch.setattr(Lives, "_meet", lambda _self, _life: None)
    async with a_process(shards, server) as caches:
        await come_back_older(caches, server, viewer, other)
        async with a_process(shards, server) as later:
            assert not await is_blocked(later, viewer, other)


async def test_a_server_that_is_known_begins_no_generation_for_another_process(
    shards: ShardMap, server: Server
) -> None:
    async with a_process(shards, server):
        before = [await fetch_generation(cell) for cell in shards.cells]
        async with a_process(shards, server):
            assert [await fetch_generation(cell) for cell in shards.cells] == before
        server.send(signal.SIGKILL)
        server.start()
        async with a_process(shards, server):
            assert [await fetch_generation(cell) for cell in shards.cells] == [number + 1 for number in before]
