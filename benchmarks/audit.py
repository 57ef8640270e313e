"""What the audit log costs a follow: rounds with it and without it, in turn, in one run.

With it means the row of every follow in its transaction, and its seal, as upkeep makes it; without it neither.
"""

import asyncio
import datetime as dt
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from unittest import mock

from domain.digests import Digests
from domain.ids import OpaqueIds, new_id
from domain.transitions import follow
from storage.audit import Sealer, seal_new, write_audit
from storage.cells import ShardMap, open_cells
from storage.database import Database
from storage.migrate import migrate
from storage.pairs import change_pair
from tests.services import open_services

CLIENTS: Final = 8
ROUNDS: Final = 10
FOLLOWS: Final = 800
MANY: Final = 400
_FOLLOW: Final = follow(target_is_private=False)
_PEOPLE: Final = "INSERT INTO user_counts (user_id) SELECT unnest($1::bigint[]) ON CONFLICT DO NOTHING"
_ROWS: Final = "SELECT count(*) AS number FROM audit_logs"


async def measure_audit(folder: Path) -> list[tuple[str, str]]:
    """Give follows per second with and without the audit log, and the ratio of the medians."""
    async with _opened(folder) as database:
        rates: dict[bool, list[float]] = {True: [], False: []}
        for number in range(2 * (ROUNDS + 1)):
            audited = number % 2 == 0
            rate = await _round(database, audited=audited)
            if number > 1:  # the first of each only warms up
                rates[audited].append(rate)
    ratios = [with_it / without for with_it, without in zip(rates[True], rates[False], strict=True)]
    return [
        ("follows a second with the audit log, median", f"{statistics.median(rates[True]):.0f}"),
        ("follows a second without it, median", f"{statistics.median(rates[False]):.0f}"),
        ("with it, next to without it: median of ratios", f"{statistics.median(ratios):.3f}"),
    ]


@asynccontextmanager
async def _opened(folder: Path) -> AsyncIterator[Database]:
    key = secrets.token_bytes(32)
    async with open_services(folder, cells=1) as addresses:
        await migrate(addresses.postgres_dsns, lambda _line: None)
        async with open_cells(addresses.postgres_dsns, connections=CLIENTS + 2) as shards:
            yield Database(shards, OpaqueIds(key), digests=Digests(key))


async def _round(database: Database, *, audited: bool) -> float:
    """Do some follows between people who are new to each other; gives follows per second."""
    people = await _make_people(database.shards, FOLLOWS + MANY)
    work = [(people[number], people[FOLLOWS + number % MANY]) for number in range(FOLLOWS)]
    before = await _count(database)
    with mock.patch("storage.pairs.write_audit", write_audit if audited else _nothing):
        began = time.perf_counter()
        await asyncio.gather(*(_client(database, work[number::CLIENTS]) for number in range(CLIENTS)))
        if audited:
            while await seal_new(database.shards.directory, Sealer(bytes(32))):
                pass
        seconds = time.perf_counter() - began
    if await _count(database) - before != (FOLLOWS if audited else 0):
        raise AssertionError("each follow has an audit row, or none has")
    return FOLLOWS / seconds


async def _count(database: Database) -> int:
    return int((await database.shards.directory.fetch(_ROWS))[0]["number"])


async def _client(database: Database, work: Sequence[tuple[int, int]]) -> None:
    for follower, followee in work:
        await change_pair(database, follower, followee, _FOLLOW, dt.datetime.now(dt.UTC))


async def _nothing(*_arguments: object, **_options: object) -> None:
    """Write no audit row."""


async def _make_people(shards: ShardMap, number: int) -> list[int]:
    january = int(dt.datetime(2025, 1, 1, tzinfo=dt.UTC).timestamp()) * 1000
    ids = [new_id(0, at_ms=january + secrets.randbelow(10**10)) for _ in range(number)]
    await shards.directory.fetch(_PEOPLE, ids)
    return ids
