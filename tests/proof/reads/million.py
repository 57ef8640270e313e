"""Reads a million people through a process's memory, and prints what the process took: run by test_bounds."""

import argparse
import asyncio
import datetime as dt
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from unittest import mock

from domain.ids import OpaqueIds
from domain.policies import DEFAULT_POLICY
from domain.tallies import Tally
from domain.users import Counts, User, UserState
from loaders import Bounds, Loaders, open_caches
from storage import tallies
from storage.cells import open_cells
from storage.database import Database
from storage.redis_client import open_redis
from tests.conftest import KEY

THEN: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
AT_ONCE: Final = 500
FIRST: Final = 1 << 40


async def made_up(_database: Database, user_ids: Sequence[int]) -> dict[int, tuple[User, Tally]]:
    """Make up profiles in the place of a table with a million of them."""
    return {user_id: (_user(user_id), Tally(Counts(user_id % 1000, 7), None, None, bytes(8))) for user_id in user_ids}


def _user(user_id: int) -> User:
    text = f"somebody whose number is {user_id}"
    texts = (text, text * 3, None, None, None)
    return User(user_id, f"{user_id:022d}", f"n{user_id}", *texts, (), DEFAULT_POLICY, UserState.ACTIVE, 1, THEN)


def resident() -> int:
    """Give the bytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def read(arguments: argparse.Namespace) -> Mapping[str, int]:
    """Read everybody twice, in pages: whom memory would not keep the first time it keeps the second."""
    async with (
        open_cells(arguments.dsns) as shards,
        open_redis(arguments.redis) as redis,
        open_caches(shards, OpaqueIds(KEY), redis, Bounds.within(arguments.megabytes)) as caches,
    ):
        await asyncio.gather(*map(caches.generations.look, shards.cells))
        if arguments.forever:  # nothing goes by itself: what the bound does is all that is left
            caches.memory._clock = lambda: 0.0
        before = most = resident()
        entries = 0
        for at in range(0, arguments.keys, AT_ONCE):
            page = [(FIRST + number) << 22 for number in range(at, at + AT_ONCE)]
            for _ in range(2):
                await Loaders(caches, None, THEN).users.load_many(page)
            most, entries = max(most, resident()), max(entries, caches.memory.entries)
        return {"before": before, "most": most, "entries": entries, "held": caches.memory.size}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dsns", nargs="+", required=True)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--keys", type=int, required=True)
    parser.add_argument("--megabytes", type=int, required=True)
    parser.add_argument("--forever", action="store_true")
    with mock.patch.object(tallies, "fetch_people", made_up):
        sys.stdout.write(json.dumps(asyncio.run(read(parser.parse_args()))))


if __name__ == "__main__":
    main()
