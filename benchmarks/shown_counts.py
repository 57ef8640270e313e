"""What the counts of popular people cost for many viewers: `python -m benchmarks shown-counts`.

Viewers and those whom they look at are drawn by a Zipf law, as are the followed; now and then somebody follows or
unfollows. The same draws are played with and without what is kept of whom the hidden know, each in a process that
remembers nothing yet, on the same cell and Redis.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import random
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from time import process_time
from typing import Final
from unittest import mock

import asyncpg

from domain.hidden_edges import HiddenEdges
from domain.ids import OpaqueIds
from domain.policies import DEFAULT_POLICY, write_policy
from domain.tallies import Blocked
from domain.transitions import follow, unfollow
from embedded import Addresses, Part, Services
from loaders import Caches, Loaders, open_caches
from loaders.hidden_edges import HiddenEdgesOfViewers
from storage.cells import Cell, Record, open_cells
from storage.migrate import migrate
from storage.pairs import change_pair
from storage.redis_client import open_redis
from storage.tallies import NEIGHBOURS

PEOPLE: Final = 20_000
FOLLOWS: Final = 400_000
VIEWERS: Final = 1_000
REQUESTS: Final = 6_000
AT_ONCE: Final = 16
WRITES: Final = 0.02
PAGE: Final = 20
_SKEW: Final = 3.0
_TAKEN_OFF: Final = "FILTER"
"""What is only in the statement that takes the hidden off counts."""
_FILL: Final = (
    "SELECT setseed(0.5)",
    f"""
    INSERT INTO users (id, username, policy, created_at, updated_at)
    SELECT n::bigint << 22, 'p' || n, '{write_policy(DEFAULT_POLICY)}', now(), now() FROM generate_series(1, {PEOPLE}) n
    """,  # noqa: S608 - of constants
    f"""
    CREATE TEMP TABLE drawn AS SELECT DISTINCT fan, idol FROM (
        SELECT (1 + floor({PEOPLE} * random()))::bigint << 22 AS fan,
               (1 + floor({PEOPLE} * random() ^ {_SKEW}))::bigint << 22 AS idol
        FROM generate_series(1, {FOLLOWS})
    ) d WHERE fan <> idol
    """,  # noqa: S608 - of constants
    f"""
    CREATE TEMP TABLE foes AS SELECT DISTINCT (1 + floor({PEOPLE} * random()))::bigint << 22 AS one,
        (1 + floor({PEOPLE} * random()))::bigint << 22 AS other FROM generate_series(1, {PEOPLE})
    """,  # noqa: S608 - of constants
    "DELETE FROM drawn d USING foes f WHERE d.fan = f.one AND d.idol = f.other",
    "DELETE FROM drawn d USING foes f WHERE d.fan = f.other AND d.idol = f.one",
    """
    INSERT INTO relationships (owner_id, other_id, follows, followed_by, follows_at, followed_by_at, blocks,
                               blocked_by, version)
    SELECT owner, other, max(follows), max(followed), now(), now(), bool_or(blocks), bool_or(blocked), 1 FROM (
        SELECT fan AS owner, idol AS other, 2 AS follows, 0 AS followed, false AS blocks, false AS blocked FROM drawn
        UNION ALL SELECT idol, fan, 0, 2, false, false FROM drawn
        UNION ALL SELECT one, other, 0, 0, true, false FROM foes WHERE one <> other
        UNION ALL SELECT other, one, 0, 0, false, true FROM foes WHERE one <> other
    ) sides GROUP BY owner, other
    """,
    """
    ANALYZE relationships;
    INSERT INTO user_counts (user_id, followers, following)
    SELECT u.id, (SELECT count(*) FROM relationships r WHERE r.owner_id = u.id AND r.followed_by = 2),
           (SELECT count(*) FROM relationships r WHERE r.owner_id = u.id AND r.follows = 2) FROM users u
    """,
    "ANALYZE",
)


class _NothingKept(HiddenEdgesOfViewers):
    """Leaves it all to the cells."""

    async def fetch(self, viewer_id: int, blocked: Blocked) -> HiddenEdges:
        del viewer_id
        return HiddenEdges(blocked)


@dataclasses.dataclass(slots=True)
class _Spent:
    statements: int = 0
    of_hidden: int = 0
    seconds: float = 0.0


async def measure_shown_counts(folder: Path) -> list[tuple[str, str]]:
    """Give statements, and CPU of this process, after a first third that is not counted."""
    parts = frozenset({Part.POSTGRES, Part.VALKEY})
    rows: list[tuple[str, str]] = []
    async with Services(folder, cells=1, parts=parts, report=lambda _line: None) as services:
        await migrate(services.addresses.postgres_dsns, lambda _line: None)
        await _fill(services.addresses.postgres_dsns[0])
        for name, kind in (("kept", HiddenEdgesOfViewers), ("left to the cells", _NothingKept)):
            spent = await _play(services.addresses, kind)
            label, thousands = f"counts of popular people, whom the hidden know {name}", REQUESTS * 2 / 3 / 1000
            rows += [
                (f"{label}: statements per 1,000", f"{spent.statements / thousands:.0f}"),
                (f"{label}: of these for blocks", f"{spent.of_hidden / thousands:.0f}"),
                (f"{label}: CPU per request", f"{spent.seconds / thousands * 1000:.0f} µs"),
            ]
    return rows


async def _fill(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    for statement in _FILL:
        await connection.execute(statement)
    await connection.close()


async def _play(addresses: Addresses, kind: type[HiddenEdgesOfViewers]) -> _Spent:
    drawing = random.Random(1)  # noqa: S311 - a run is to be repeatable
    spent = _Spent()
    with mock.patch("loaders.caches.HiddenEdgesOfViewers", kind), _counting(spent):
        async with _opened(addresses) as caches:
            await _requests(caches, drawing, REQUESTS // 3)
            spent.statements, spent.of_hidden, began = 0, 0, process_time()
            await _requests(caches, drawing, REQUESTS * 2 // 3)
            spent.seconds = process_time() - began
    return spent


@contextlib.asynccontextmanager
async def _opened(addresses: Addresses) -> AsyncIterator[Caches]:
    async with (
        open_cells(addresses.postgres_dsns) as shards,
        open_redis(addresses.redis_url) as redis,
        open_caches(shards, OpaqueIds(secrets.token_bytes(32)), redis) as caches,
    ):
        await caches.generations.begin(shards.cells[0])  # so that Redis remembers nothing, either
        yield caches


@contextlib.contextmanager
def _counting(spent: _Spent) -> Iterator[None]:
    fetch = Cell.fetch

    async def counting(self: Cell, statement: str, *arguments: object, **how: object) -> Sequence[Record]:
        spent.statements += 1
        spent.of_hidden += _TAKEN_OFF in statement or NEIGHBOURS in arguments
        return await fetch(self, statement, *arguments, **how)  # type: ignore[arg-type]

    with mock.patch.object(Cell, "fetch", counting):
        yield


async def _requests(caches: Caches, drawing: random.Random, number: int) -> None:
    drawn = iter([_draw(drawing) for _ in range(number)])

    async def ask() -> None:
        for viewer_id, owner_ids, is_write in drawn:
            if is_write and viewer_id != owner_ids[0]:
                transition = follow(target_is_private=False) if drawing.random() < 1 / 2 else unfollow()
                await change_pair(caches.database, viewer_id, owner_ids[0], transition, dt.datetime.now(dt.UTC))
            else:
                loaders = Loaders(caches, viewer_id, dt.datetime.now(dt.UTC))
                await loaders.fetch_people(owner_ids)
                await loaders.counts.load_many(owner_ids)

    await asyncio.gather(*(ask() for _ in range(AT_ONCE)))


def _draw(drawing: random.Random) -> tuple[int, list[int], bool]:
    """Draw a viewer, one or a page of those who are looked at, and whether the first is followed or unfollowed."""
    size = PAGE if drawing.random() < 1 / 4 else 1
    owner_ids = [(1 + int(PEOPLE * drawing.random() ** _SKEW)) << 22 for _ in range(size)]
    viewer_id = (1 + int(VIEWERS * drawing.random() ** 2)) * (PEOPLE // VIEWERS) << 22
    return viewer_id, [*dict.fromkeys(owner_ids)], drawing.random() < WRITES
