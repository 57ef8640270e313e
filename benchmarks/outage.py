"""What readers see while Redis is killed and frozen: `python -m benchmarks.outage`.

At 100 requests a second over HTTP, each compared with what is known to be true; and then a crowd of 500 who ask for one
person at once while Redis is away. The database is watched all the while: how much of it runs at once, and how many
transactions there are.
"""

import asyncio
import dataclasses
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import asyncpg
import uvloop

from benchmarks.lines import Lines, post
from embedded.lock import running as running_in
from tests.acceptance.main_job import MainJob, running

RATE: Final = 100
FIRST_S: Final = 1.0
AFTER_S: Final = 5.0
CROWD: Final = 500
GIVE_UP_S: Final = 10.0
_LOOK_S: Final = 0.01
_TOLD_AFTER_S: Final = 1.5
_QUERY: Final = (
    '{ user(username: "star") { id username displayName bio avatarUrl createdAt isPrivate viewerIsFollowing } }'
)
_ACTIVE: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'kith' AND state = 'active' AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_ENDED: Final = "SELECT sum(xact_commit + xact_rollback)::bigint FROM pg_stat_database"


@dataclasses.dataclass(slots=True)
class Seen:
    """What readers were answered, and what the database did meanwhile."""

    latencies: list[float] = dataclasses.field(default_factory=list)
    wrong: int = 0
    refused: int = 0
    failed: int = 0
    at_once: int = 0
    ended: int = 0

    def told(self) -> str:
        """Give the figures in one line."""
        times = sorted(self.latencies) or [0.0]
        p99 = times[min(len(times) - 1, int(0.99 * len(times)))]
        return (
            f"{len(self.latencies)}, {self.wrong}, {self.refused}, {self.failed}; "
            f"{times[len(times) // 2] * 1000:.0f} ms, {p99 * 1000:.0f} ms"
        )


class Readers:
    """Clients that ask for one person, and know what is true of that person."""

    def __init__(self, job: MainJob) -> None:
        self._lines = Lines(job.port)
        self._requests = [post(_QUERY, token) for token in job.tokens.values()]
        self._true: dict[bytes, bytes] = {}

    async def learn(self) -> None:
        """Ask once for each viewer while all is well: everything later is compared with that."""
        self._true = {request: (await self._lines.exchange(request))[1] for request in self._requests}

    async def crowd(self, seen: Seen, number: int) -> None:
        """Have so many ask at once."""
        await asyncio.gather(*(self._ask(seen) for _ in range(number)))

    async def steadily(self, seen: Seen, seconds: float) -> None:
        """Ask at a steady rate, whatever becomes of the requests before."""
        began, tasks = time.perf_counter(), set[asyncio.Task[None]]()
        for number in range(int(seconds * RATE)):
            await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            tasks.add(asyncio.create_task(self._ask(seen)))
        await asyncio.wait(tasks)

    async def _ask(self, seen: Seen) -> None:
        request, began = random.choice(self._requests), time.perf_counter()  # noqa: S311 - no secret
        try:
            async with asyncio.timeout(GIVE_UP_S):
                status, body = await self._lines.exchange(request)
        except (OSError, TimeoutError):
            seen.failed += 1
            return
        seen.latencies.append(time.perf_counter() - began)
        seen.refused += status != b"200"
        seen.wrong += status == b"200" and body != self._true[request]

    def close(self) -> None:
        """Hang up."""
        self._lines.close()


async def measure_outage(folder: Path) -> list[tuple[str, str]]:
    """Give what readers saw, by what was done to Redis."""
    rows = []
    async with running(folder) as job:
        readers = Readers(job)
        addresses = running_in(job.data_dir)
        if addresses is None:
            raise RuntimeError("the main job has ended")
        connection = await asyncpg.connect(addresses.postgres_dsns[0])
        try:
            await readers.learn()
            for name, work in _phases(job, readers).items():
                seen = await _watched(connection, work)
                rows.append((name, seen.told()))
                rows.append(("  of the database: most at once, transactions in all", f"{seen.at_once}, {seen.ended}"))
        finally:
            await connection.close()
            readers.close()
    return [("readers: answered, wrong, refused, no answer; median, P99", ""), *rows]


def _phases(job: MainJob, readers: Readers) -> dict[str, Callable[[Seen], Awaitable[None]]]:
    def redis(number: signal.Signals) -> None:
        os.kill(job.children()["Valkey"], number)

    async def killed(seen: Seen) -> None:
        redis(signal.SIGKILL)
        await readers.steadily(seen, FIRST_S)

    async def frozen(seen: Seen) -> None:
        redis(signal.SIGSTOP)
        await readers.steadily(seen, FIRST_S)

    async def on(seen: Seen) -> None:
        await readers.steadily(seen, AFTER_S)

    async def thawed(seen: Seen) -> None:
        redis(signal.SIGCONT)
        await readers.steadily(seen, AFTER_S)

    async def crowd(seen: Seen) -> None:
        await readers.crowd(seen, CROWD)

    async def frozen_crowd(seen: Seen) -> None:
        redis(signal.SIGSTOP)
        try:
            await readers.crowd(seen, CROWD)
        finally:
            redis(signal.SIGCONT)

    return {
        "all is well": on,
        "killed: the first second": killed,
        "killed: the 5 s after": on,
        "frozen: the first second": frozen,
        "frozen: the 5 s after": on,
        "thawed: 5 s": thawed,
        "500 at once, all well": crowd,
        "500 at once, just frozen": frozen_crowd,
    }


async def _watched(connection: "asyncpg.Connection[asyncpg.Record]", work: Callable[[Seen], Awaitable[None]]) -> Seen:
    """Have something done, and look at the database meanwhile."""
    seen = Seen()

    async def look() -> None:
        while True:
            seen.at_once = max(seen.at_once, await connection.fetchval(_ACTIVE))
            looks.append(1)
            await asyncio.sleep(_LOOK_S)

    looks: list[int] = []
    before = await _ended(connection)
    looking = asyncio.create_task(look())
    try:
        await work(seen)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    seen.ended = await _ended(connection) - before - len(looks)
    return seen


async def _ended(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    """Count the transactions that have ended: sessions tell of theirs a second later."""
    await asyncio.sleep(_TOLD_AFTER_S)
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    return int(await connection.fetchval(_ENDED))


async def _main() -> None:
    with tempfile.TemporaryDirectory(prefix="kb-", ignore_cleanup_errors=True) as folder:
        for name, figure in await measure_outage(Path(folder) / "outage"):
            sys.stdout.write(f"{name:60} {figure:>34}\n")


if __name__ == "__main__":
    uvloop.run(_main())
