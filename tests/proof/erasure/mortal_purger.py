"""A purge worker in a process of its own, which acknowledges what it erases: to be killed at any time.

It says once that it begins.
"""

import asyncio
import base64
import datetime as dt
import sys
from pathlib import Path

from domain.certificates import CertificateSigner
from domain.digests import Digests
from domain.ids import OpaqueIds
from events.purging import Purger, Turns, wall_clock
from storage.cells import Cell, open_cells
from storage.database import Database
from storage.freshness import open_freshness
from storage.purges import OWN, Purges, acknowledge
from storage.redis_client import open_redis

_WAITING = """
SELECT p.user_id FROM purges p
WHERE p.purged_at IS NOT NULL AND NOT EXISTS (SELECT FROM acknowledgements a WHERE a.user_id = p.user_id)
"""


async def main(key: str, redis_url: str, folder: str, *dsns: str) -> None:
    """Purge whoever is due, as of a month ahead, until it is killed."""
    seed = base64.b64decode(key)
    async with (
        open_cells(dsns, connections=6) as shards,
        open_redis(redis_url) as redis,
        open_freshness(shards, redis) as freshness,
        asyncio.TaskGroup() as group,
    ):
        database = Database(shards, OpaqueIds(seed), freshness, digests=Digests(seed))
        purges = Purges(database, redis, CertificateSigner(seed))
        for cell in shards.cells:
            purger = Purger(purges, cell, clock=ahead, folder=Path(folder), turns=Turns(every=0.02))
            group.create_task(purger.run())
            group.create_task(acknowledge_all(database, cell))
        sys.stdout.write("purging\n")
        sys.stdout.flush()


def ahead() -> dt.datetime:
    return wall_clock() + dt.timedelta(days=31)


async def acknowledge_all(database: Database, cell: Cell) -> None:
    while True:
        for row in await cell.fetch(_WAITING):
            await acknowledge(database, row["user_id"], OWN)
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
