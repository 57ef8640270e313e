"""Latencies at a steady rate, whatever becomes of the requests before: `python -m benchmarks.load [--rate N] …`.

Requests are due at random moments of a mean rate. A latency counts from the moment a request was due, so that one that
had to wait because the server was slow with others is as late as its client found it. Without `--rate` the highest rate
is looked for at which none fails and 99 of 100 of each kind are answered within 100 ms; then come the runs, and what
each kind costs by itself. Runs are shorter than asked for where they would not fit into `--minutes`.
"""

import argparse
import asyncio
import collections
import dataclasses
import random
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import asyncpg
import orjson
import psutil
import redis.asyncio as aioredis
import uvloop

from benchmarks.lines import Lines, post
from benchmarks.requests import used
from embedded.lock import running as running_in
from tests.acceptance.main_job import MainJob, running

CONNECTIONS: Final = 32
BOUND_S: Final = 0.1
GIVE_UP_S: Final = 5.0
_FIRST_RATE: Final = 20.0
_STEP: Final = 1.5
_LOOK_S: Final = 4.0
_HALVINGS: Final = 2
_REHEARSAL: Final = 0.1
"""Of a run: at a rate that does not hold for so long it is not begun."""
_LESS: Final = 0.85
_BESIDE_MIN: Final = 2.5
"""What everything beside the runs takes."""
QUERIES: Final = {
    "profile": '{ user(username: "star") { id username displayName bio avatarUrl createdAt followersCount '
    "followingCount isPrivate viewerIsFollowing } }",
    "page of 50": '{ user(username: "star") { followers(first: 50) { edges { cursor node { id username displayName '
    "bio avatarUrl followersCount viewerIsFollowing } } } } }",
    "two levels": '{ user(username: "star") { followers(first: 10) { edges { node { username '
    "followers(first: 10) { edges { node { username followersCount } } } } } } } }",
    "follow": "mutation($u: ID!) { followUser(input: {userId: $u}) { userErrors { code } } }",
    "unfollow": "mutation($u: ID!) { unfollowUser(input: {userId: $u}) { userErrors { code } } }",
}
MIX: Final = {"profile": 70, "page of 50": 20, "two levels": 5, "follow": 3, "unfollow": 2}
_VIEWERS: Final = ("ana", "eve", "star", "new", "bo")
_CODE: Final = re.compile(r'"code":\s*"(\w+)"')
_TOLD: Final = 10
"""How many ways to fail are told of."""


@dataclasses.dataclass(slots=True)
class Outcome:
    """How the requests of a run ended: latencies in seconds by kind, and how many had no good answer, by why."""

    latencies: dict[str, list[float]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    failed: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    @property
    def all(self) -> list[float]:
        """Give the latencies of all kinds."""
        return [latency for latencies in self.latencies.values() for latency in latencies]

    @property
    def held(self) -> bool:
        """Tell whether none failed, and 99 of 100 of each kind were in time."""
        return not self.failed and all(_quantile(kind, 0.99) <= BOUND_S for kind in self.latencies.values())


class Load:
    """Sends requests of a main job's named people."""

    def __init__(self, job: MainJob, subject: str) -> None:
        self._lines = Lines(job.port)
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._random = random.Random(1)  # noqa: S311 - a run is to be repeatable
        self._requests = {
            (kind, name): post(query, token, {"u": subject} if "$u" in query else {})
            for kind, query in QUERIES.items()
            for name, token in job.tokens.items()
        }

    async def run(self, mix: Mapping[str, int], rate: float, number: int) -> Outcome:
        """Send a number of requests at a rate."""
        outcome, tasks = Outcome(), set[asyncio.Task[None]]()
        kinds = self._random.choices(list(mix), weights=list(mix.values()), k=number)
        due = time.perf_counter()
        for kind in kinds:
            due += self._random.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(self._send(kind, due, outcome))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(tasks)
        return outcome

    async def _send(self, kind: str, due: float, outcome: Outcome) -> None:
        request = self._requests[kind, self._random.choice(_VIEWERS)]
        try:
            async with asyncio.timeout(GIVE_UP_S), self._places:
                status, body = await self._lines.exchange(request)
            failure = "" if status == b"200" and b'"errors"' not in body else f"{status.decode()} {_codes(body)}"
        except OSError as error:
            failure = type(error).__name__
        outcome.latencies[kind].append(time.perf_counter() - due)
        if failure:
            outcome.failed[f"{kind} {failure}"] += 1

    def close(self) -> None:
        """Hang up."""
        self._lines.close()


def _codes(body: bytes) -> str:
    """Name the codes of the errors in an answer."""
    return ", ".join(sorted(set(_CODE.findall(body.decode(errors="replace")))))


async def _subject(job: MainJob) -> str:
    """Give the id of somebody whom the viewers can follow."""
    lines = Lines(job.port)
    _, body = await lines.exchange(post('{ user(username: "cy") { id } }', job.tokens["eve"]))
    lines.close()
    identity: str = orjson.loads(body)["data"]["user"]["id"]
    return identity


async def _highest_rate(load: Load) -> float:
    """Find the highest rate at which 99 of 100 are answered in time: in steps, then by halves."""
    rate = _FIRST_RATE
    while await _is_in_time(load, rate * _STEP):
        rate *= _STEP
    low, high = rate, rate * _STEP
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if await _is_in_time(load, middle) else (low, middle)
    return low


async def _is_in_time(load: Load, rate: float) -> bool:
    outcome = await load.run(MIX, rate, int(rate * _LOOK_S))
    return not outcome.failed and _quantile(outcome.all, 0.99) <= BOUND_S


async def _rehearsed(load: Load, rate: float, requests: int) -> float:
    """Give the rate, or the next lower one, that holds for a part of a run."""
    while not (await load.run(MIX, rate, int(requests * _REHEARSAL))).held and rate > _FIRST_RATE:
        rate *= _LESS
    return rate


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def measure_load(
    folder: Path, *, rate: float | None, requests: int, runs: int, minutes: float = 12.0
) -> list[tuple[str, str]]:
    """Give the rate, the latencies of each kind over the runs, and what each kind costs."""
    async with running(folder) as job:
        load = Load(job, await _subject(job))
        try:
            await load.run(MIX, _FIRST_RATE, int(_FIRST_RATE * _LOOK_S))
            rate = rate or await _rehearsed(load, await _highest_rate(load), requests)
            number = min(requests, int((minutes - _BESIDE_MIN) * 60 * rate / runs))
            before = await _spent(job)
            outcomes = [await load.run(MIX, rate, number) for _ in range(runs)]
            whole = _figures(before, await _spent(job), number * runs)
            costs = [await _cost(job, load, kind, rate / 2) for kind in QUERIES]
        finally:
            load.close()
    held = sum(outcome.held for outcome in outcomes)
    rows = [(f"open loop: requests per second; of {runs} runs of {number} held", f"{rate:.0f}; {held}")]
    rows += [(f"  {kind}: P50, P99, P99.9, worst of the runs", _latencies(kind, outcomes)) for kind in QUERIES]
    failed = sum((outcome.failed for outcome in outcomes), collections.Counter[str]())
    rows += [("  without a good answer", str(failed.total()))]
    rows += [(f"    {failure}", str(number)) for failure, number in failed.most_common(_TOLD)]
    return [*rows, (f"  all of them: {_MEANT}", whole), *costs]


def _latencies(kind: str, outcomes: list[Outcome]) -> str:
    runs = [outcome.latencies[kind] for outcome in outcomes if outcome.latencies[kind]]
    worst = [max(_quantile(run, share) for run in runs) * 1000 for share in (0.5, 0.99, 0.999)]
    return ", ".join(f"{figure:.1f}" for figure in worst) + " ms"


_MEANT: Final = "CPU of the server per 1,000; transactions and Redis round trips of all processes per request"


async def _cost(job: MainJob, load: Load, kind: str, rate: float) -> tuple[str, str]:
    """Send one kind for a while; what the processes behind do meanwhile is counted with it."""
    number = max(20, int(rate * _LOOK_S))
    before = await _spent(job)
    await load.run({kind: 1}, rate, number)
    return f"  {kind}: the same", _figures(before, await _spent(job), number)


Spent = tuple[float, int, int]


def _figures(before: Spent, after: Spent, number: int) -> str:
    seconds, transactions, trips = (now - then for now, then in zip(after, before, strict=True))
    return f"{seconds * 1000 / number:.2f} s, {transactions / number:.1f}, {trips / number:.1f}"


async def _spent(job: MainJob) -> Spent:
    """Give the CPU seconds of the server, how many transactions the database has ended, and how often Redis was read
    from: what is sent in one go counts once.
    """
    addresses = running_in(job.data_dir)
    if addresses is None:
        raise RuntimeError("the main job has ended")
    connection = await asyncpg.connect(addresses.postgres_dsns[0])
    client = aioredis.from_url(addresses.redis_url)
    try:
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        ended = await connection.fetchval("SELECT sum(xact_commit + xact_rollback)::bigint FROM pg_stat_database")
        trips = int((await client.info("stats"))["total_reads_processed"])
        return used(psutil.Process(job.children()["web"])), int(ended), trips
    finally:
        await connection.close()
        await client.aclose()


async def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--rate", type=float, help="requests per second; by default the highest that holds")
    parser.add_argument("--requests", type=int, default=60_000, help="of each run (60000)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=12.0, help="that all of it takes at most, about (12)")
    given = parser.parse_args()
    asked = {"rate": given.rate, "requests": given.requests, "runs": given.runs, "minutes": given.minutes}
    with tempfile.TemporaryDirectory(prefix="kb-", ignore_cleanup_errors=True) as folder:
        base = Path(folder) / "load"
        for name, figure in await measure_load(base, **asked):
            sys.stdout.write(f"{name:100} {figure:>24}\n")


if __name__ == "__main__":
    uvloop.run(_main())
