"""Follows on one account against follows on many, in turn, in one run: `python -m tests.proof.races.throughput`.

Sixteen clients with a connection each, in as many processes as `--processes` says, follow with people who follow
nobody yet. Medians of rounds are compared, since these machines are noisy.
"""

import argparse
import asyncio
import concurrent.futures
import dataclasses
import datetime as dt
import multiprocessing
import secrets
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from domain.ids import OpaqueIds, new_id
from domain.transitions import follow
from storage import counters
from storage.cells import ShardMap, open_cells
from storage.database import Database
from storage.migrate import migrate
from storage.pairs import change_pair
from tests.services import open_services

CLIENTS: Final = 16
MANY: Final = 400
MANY_ACCOUNTS: Final = "many accounts"
LEAD_S: Final = 0.7
KEY: Final = secrets.token_bytes(32)
_WAITING: Final = """
SELECT count(*) AS number FROM pg_stat_activity WHERE application_name = 'kith' AND wait_event_type = 'Lock'
"""
_FOLLOW: Final = follow(target_is_private=False)

Work = Sequence[tuple[int, int]]
"""Who is to follow whom."""


@dataclasses.dataclass(frozen=True, slots=True)
class Round:
    """The part of a round that one process does, from a common start on (monotonic seconds)."""

    dsn: str
    key: bytes
    clients: Sequence[Work]
    start: float


def work_in_process(part: Round) -> tuple[float, float]:
    """Do a process's part of a round; gives when its first follow began and its last one ended."""
    return asyncio.run(_work(part))


async def _work(part: Round) -> tuple[float, float]:
    async with open_cells([part.dsn], connections=len(part.clients)) as shards:
        database = Database(shards, OpaqueIds(part.key))
        await asyncio.gather(*(shards.directory.ping() for _ in part.clients))
        await asyncio.sleep(max(0.0, part.start - time.monotonic()))
        began = time.monotonic()
        await asyncio.gather(*(_client(database, work) for work in part.clients))
        return began, time.monotonic()


async def _client(database: Database, work: Work) -> None:
    for follower, followee in work:
        await change_pair(database, follower, followee, _FOLLOW, dt.datetime.now(dt.UTC))


async def make_people(shards: ShardMap, size: int, *, year: int = 2025) -> list[int]:
    """Make people of a year who have counters and nothing else."""
    january = int(dt.datetime(year, 1, 1, tzinfo=dt.UTC).timestamp()) * 1000
    ids = [new_id(0, at_ms=january + secrets.randbelow(10**10)) for _ in range(size)]
    statement = "INSERT INTO user_counts (user_id) SELECT unnest($1::bigint[]) ON CONFLICT DO NOTHING"
    await shards.directory.fetch(statement, ids)
    return ids


async def set_slotted(shards: ShardMap, user_id: int, *, slotted: bool) -> None:
    """Put a person above or below the threshold, as far as new follows are concerned."""
    await shards.directory.fetch("UPDATE user_counts SET slotted = $2 WHERE user_id = $1", user_id, slotted)


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """Follows per second of each round, how often a connection was seen waiting for a lock, and wrong counters."""

    rates: dict[str, list[float]]
    lock_waits: Counter[str]
    wrong: int

    def ratio(self, name: str) -> float:
        """Compare the median rate with that over many accounts."""
        return statistics.median(self.rates[name]) / statistics.median(self.rates[MANY_ACCOUNTS])


class Measurement:
    """The rounds of one run."""

    def __init__(self, dsn: str, shards: ShardMap, pool: concurrent.futures.Executor, processes: int) -> None:
        self._dsn = dsn
        self._shards = shards
        self._pool = pool
        self._processes = processes
        self._seen = 0

    async def round(self, targets: Sequence[int], size: int) -> tuple[float, int]:
        """Do `size` follows of new people on the targets in turn; gives follows per second, and waits for locks."""
        fans = await make_people(self._shards, size)
        pairs = [(fan, targets[number % len(targets)]) for number, fan in enumerate(fans)]
        clients = [pairs[number::CLIENTS] for number in range(CLIENTS)]
        start = time.monotonic() + LEAD_S
        parts = [Round(self._dsn, KEY, clients[number :: self._processes], start) for number in range(self._processes)]
        loop = asyncio.get_running_loop()
        watching = asyncio.create_task(self._watch())
        spans = await asyncio.gather(*(loop.run_in_executor(self._pool, work_in_process, part) for part in parts))
        watching.cancel()
        return size / (max(end for _, end in spans) - min(began for began, _ in spans)), self._seen

    async def _watch(self) -> None:
        """Count again and again how many connections wait for a lock."""
        self._seen = 0
        while True:
            [row] = await self._shards.directory.fetch(_WAITING)
            self._seen += row["number"]
            await asyncio.sleep(0.02)


async def measure(dsn: str, pool: concurrent.futures.Executor, *, rounds: int, size: int, processes: int = 2) -> Result:
    """Compare one account, with slots and without, with many accounts, in turn."""
    async with open_cells([dsn], connections=4) as shards:
        measurement = Measurement(dsn, shards, pool, processes)
        # Older than whoever follows, as they mostly are: their rows are then the first that a follow locks.
        star, plain, *many = await make_people(shards, MANY + 2, year=2021)
        await set_slotted(shards, star, slotted=True)
        targets = {MANY_ACCOUNTS: many, "one account, slots": [star], "one account, no slots": [plain]}
        result = Result({name: [] for name in targets}, Counter(), 0)
        for number in range(rounds + 1):
            for name, chosen in targets.items():
                rate, waits = await measurement.round(chosen, size if number else CLIENTS * 2)
                if number:  # the first round only warms up
                    result.rates[name].append(rate)
                    result.lock_waits[name] += waits
            await counters.fold_slots(shards.directory, counters.Threshold(enter=1, leave=0))
        samples = await counters.sample(shards.directory, [star, plain, *many])
    return dataclasses.replace(result, wrong=sum(not one.is_right for one in samples))


def report(result: Result) -> None:
    """Print the table."""
    for name, rates in result.rates.items():
        shown = " ".join(f"{rate:.0f}" for rate in rates)
        line = f"{name:22} {statistics.median(rates):5.0f} follows/s, {result.ratio(name):.2f} of many accounts"
        sys.stdout.write(f"{line}, seen waiting for a lock {result.lock_waits[name]} times   ({shown})\n")
    sys.stdout.write(f"counters that are wrong: {result.wrong}\n")


async def _main(arguments: argparse.Namespace) -> None:
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="kr-", ignore_cleanup_errors=True) as folder,
        concurrent.futures.ProcessPoolExecutor(arguments.processes, mp_context=context) as pool,
    ):
        async with open_services(Path(folder) / "parts", cells=1) as addresses:
            [dsn] = addresses.postgres_dsns
            await migrate([dsn], lambda _line: None)
            report(
                await measure(dsn, pool, rounds=arguments.rounds, size=arguments.size, processes=arguments.processes)
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compare follows on one account with follows on many.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=600, help="follows per round")
    parser.add_argument("--processes", type=int, default=2)
    asyncio.run(_main(parser.parse_args()))
