"""Purge workers killed by SIGKILL at random moments: every purge is completed, and nothing of anybody is left."""

import asyncio
import base64
import contextlib
import datetime as dt
import os
import random
import secrets
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from domain.certificates import CertificateSigner
from domain.digests import Digests
from domain.ids import NodeType, OpaqueIds
from embedded import Addresses
from storage.cells import open_cells
from storage.database import Database
from storage.deletions import delete_account
from storage.redis_client import Redis
from storage.users import NewUser, create_user
from tests.proof.erasure.traces import Traced, find_in_redis, find_traces, leave_traces, make_traced
from tests.proof.leaks.service import patiently

LONG = os.environ.get("PROVE") == "long"
PEOPLE = int(os.environ.get("PURGES", "1000")) if LONG else 3
LIFE_S = (0.02, 0.7) if LONG else (0.5, 3.0)
"""For how long a worker may work, by chance, before it is killed; longer once one got nowhere: the machine is busy."""
AT_ONCE = 4
LOOKED_FOR = 10
"""People at once: each row is compared with all that is theirs, in the time that a statement has."""
_UNDER_WAY = """
SELECT user_id FROM deletions WHERE user_id = ANY($1::bigint[])
UNION ALL
SELECT user_id FROM purges WHERE user_id = ANY($1::bigint[])
"""
ROOT = Path(__file__).parents[3]


async def test_purges_killed_at_random_are_all_completed_and_leave_nothing(
    addresses: Addresses, redis: Redis, tmp_path: Path
) -> None:
    seed, key = random.randrange(1 << 32), secrets.token_bytes(32)
    chance = random.Random(seed)
    async with open_cells(addresses.postgres_dsns[1:]) as shards:
        database = Database(shards, OpaqueIds(key), digests=Digests(key))
        others = [await bystander(database, number) for number in range(10)]
        people = await make_people(database, others, chance)
        kills = await kill_until_done(database, people, addresses, (key, tmp_path), chance)
        sys.stdout.write(f"\n{PEOPLE} purges, workers killed {kills} times, from seed {seed}\n")
        signer = CertificateSigner(key)
        documents = await asyncio.to_thread(lambda: [path.read_text() for path in tmp_path.glob("*.json")])
        purged = {signer.read(document).user_id for document in documents}
        assert {database.ids.encode(NodeType.USER, person.id) for person in people} <= purged
        for start in range(0, PEOPLE, LOOKED_FOR):
            batch = people[start : start + LOOKED_FOR]
            assert await patiently(partial(find_traces, database, batch)) == {}
            left = await find_in_redis(redis, batch)
            assert [name for name in left if not name.startswith("told:")] == []


async def bystander(database: Database, number: int) -> int:
    name = f"by.{number}.{secrets.token_hex(4)}"
    return await create_user(database, NewUser(name), cell=number % 2, now=dt.datetime.now(dt.UTC))


async def traced(database: Database, number: int, others: list[int]) -> Traced:
    person = await make_traced(database, number % 2)
    await leave_traces(database, person, others)
    assert await patiently(lambda: delete_account(database, person.id, dt.datetime.now(dt.UTC)))
    return person


async def make_people(database: Database, others: list[int], chance: random.Random) -> list[Traced]:
    """Make everybody who is to be purged, a few at once."""
    people: list[Traced] = []
    for start in range(0, PEOPLE, AT_ONCE):
        batch = range(start, min(start + AT_ONCE, PEOPLE))
        people += await asyncio.gather(*(traced(database, number, chance.sample(others, 5)) for number in batch))
    return people


async def fetch_under_way(database: Database, people: list[Traced]) -> int:
    """Count whose purge is to begin or under way."""
    ids = [person.id for person in people]
    return sum([len(await cell.fetch(_UNDER_WAY, ids)) for cell in database.shards.cells])


async def kill_until_done(
    database: Database, people: list[Traced], addresses: Addresses, told: tuple[bytes, Path], chance: random.Random
) -> int:
    """Run workers one after the other, each killed after a while, until everybody is purged."""
    key, folder = told
    arguments = (base64.b64encode(key).decode(), addresses.redis_url, str(folder), *addresses.postgres_dsns[1:])
    kills, longer = 0, 1.0
    while (left := await fetch_under_way(database, people)) > 0:
        await live(arguments, chance.uniform(*LIFE_S) * longer)
        # Its lease would have to run out first: the next worker need not wait for that here.
        for cell in database.shards.cells:
            await cell.fetch("DELETE FROM leases WHERE name = 'purge'")
        kills += 1
        if await fetch_under_way(database, people) == left:
            longer *= 2
    return kills


async def live(arguments: Sequence[str], seconds: float) -> None:
    """Run a worker, and kill it so long after it has begun."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.proof.erasure.mortal_purger", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    assert await worker.stdout.readline() == b"purging\n"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await worker.wait()
            pytest.fail("a worker ended by itself")
    worker.kill()
    await worker.wait()
