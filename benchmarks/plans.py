"""What executing a document costs by a plan, next to other executors over the same facts: `python -m benchmarks.plans`.

Everything is remembered, so that nobody waits for anything. The contestants take turns; the figures are CPU time, and a
ratio is the median of the ratios within the rounds.
"""

import asyncio
import gc
import statistics
import sys
import tempfile
from pathlib import Path
from time import process_time
from typing import Final

from benchmarks.contestants import Contestant, contestants
from benchmarks.warm_world import warm_world

YOUNG: Final = 20_000
"""How many new objects make the collector look at them, for all contestants: as our server sets it."""
ROUNDS: Final = 9
TURN_S: Final = 0.04
"""How long each contestant's turn takes, about."""

QUERIES: Final = {
    "three scalars": "{ me { id username followersCount } }",
    "ten guarded fields": '{ user(username: "ana") { bio pronouns location createdAt followersCount followingCount '
    "about: bio place: location since: createdAt called: pronouns } }",
    "a page of 50 with 400 leaves": '{ user(username: "star") { followers(first: 50) { edges { cursor node '
    "{ id username displayName avatarUrl bio followersCount viewerIsFollowing } } "
    "pageInfo { hasNextPage endCursor } } } }",
}


async def measure_plans(folder: Path) -> list[tuple[str, str]]:
    """Give the CPU time of each query by our plans, and how many times as much each other executor takes."""
    async with warm_world(folder) as (backend, people):
        others = contestants(backend, people["eve"])
        gc.freeze()
        gc.set_threshold(YOUNG)
        return [row for name, query in QUERIES.items() for row in await _compare(name, query, others)]


async def _compare(name: str, query: str, others: list[Contestant]) -> list[tuple[str, str]]:
    await _check(query, others)
    numbers = [await _how_many(query, contestant) for contestant in others]
    rounds = [
        [await _turn(query, contestant, number) for contestant, number in zip(others, numbers, strict=True)]
        for _ in range(ROUNDS)
    ]
    ours = statistics.median(costs[0] for costs in rounds) * 1e6
    rows = [(f"{name}: {others[0].name}", f"{ours:.1f} µs")]
    for place, contestant in enumerate(others[1:], start=1):
        ratio = statistics.median(costs[place] / costs[0] for costs in rounds)
        rows.append((f"{name}: {contestant.name}", f"{ratio:.0f}x"))
    return rows


async def _check(query: str, others: list[Contestant]) -> None:
    """Run the query often enough to be planned and remembered; fails where two give different data."""
    answers = [[await contestant.run(query) for _ in range(3)][-1] for contestant in others]
    for contestant, answer in zip(others, answers, strict=True):
        if answer is None or answer != answers[0]:
            raise RuntimeError(f"{contestant.name} gives other data")


async def _how_many(query: str, contestant: Contestant) -> int:
    return max(1, int(TURN_S / await _turn(query, contestant, 3)))


async def _turn(query: str, contestant: Contestant, number: int) -> float:
    run = contestant.run
    began = process_time()
    for _ in range(number):
        await run(query)
    return (process_time() - began) / number


async def _main() -> None:
    with tempfile.TemporaryDirectory(prefix="kb-", ignore_cleanup_errors=True) as folder:
        for name, figure in await measure_plans(Path(folder) / "plans"):
            sys.stdout.write(f"{name:88} {figure:>10}\n")


if __name__ == "__main__":
    asyncio.run(_main())
