"""Requests whose callers go away at any point of them take no place and no connection with them.

`PROVE=long` cancels 2,000.
"""

import asyncio
import contextlib
import os
import random
import sys
from pathlib import Path

import redis.asyncio as aioredis

from domain.errors import Overloaded
from embedded import Addresses
from storage.redis_client import _MAX_CALLS
from tests.conftest import eventually
from tests.proof.reads.worlds import PEOPLE, Process, World, open_world, read

REQUESTS = 2_000 if os.environ.get("PROVE") == "long" else 200
SEED = 20_261_124
PATIENCE_S = 0.5
WITHIN_S = 60.0


async def cancel_some(world: World, rng: random.Random) -> int:
    """Begin many reads, cancel each at some point, and count those that were not done."""
    cancelled = 0

    async def one(number: int) -> None:
        nonlocal cancelled
        process, viewer = world.processes[number % 2], world.people[number % PEOPLE]
        try:
            async with asyncio.timeout(rng.uniform(0, PATIENCE_S)):
                with contextlib.suppress(Overloaded):
                    await read(process, viewer, world.people)
        except TimeoutError:
            cancelled += 1

    await asyncio.gather(*map(one, range(REQUESTS)))
    return cancelled


def is_whole(process: Process) -> bool:
    """Tell whether nothing is taken: no place in front of a cell or of Redis, no connection but those it keeps."""
    client = process.redis.client
    assert isinstance(client, aioredis.Redis)
    exchanges = process.redis._exchanges
    places = [cell.guard.limit for cell in process.database.shards.cells]
    pools = [cell.loans.pool for cell in process.database.shards.cells]
    return (
        all(limit.in_flight == 0 and limit.queued == 0 for limit in places)
        and all(pool.get_idle_size() == pool.get_size() for pool in pools)
        and process.redis._calls._value == _MAX_CALLS
        and client.connection_pool._in_use_connections == set()
        and exchanges is not None
        and (exchanges._wire is None or not exchanges._wire.flying)
        and not exchanges._waiting
    )


async def test_cancelled_requests_leave_the_pools_whole(addresses: Addresses, short_folder: Path) -> None:
    async with open_world(addresses.postgres_dsns[1:], short_folder, SEED) as world:
        cancelled = await cancel_some(world, random.Random(SEED))
        assert cancelled > 0
        for process in world.processes:
            await process.caches.settle()

            async def whole(process: Process = process) -> bool:
                return is_whole(process)

            await eventually(whole, within=WITHIN_S)
    sys.stdout.write(f"{REQUESTS} requests, {cancelled} cancelled: pools whole\n")
