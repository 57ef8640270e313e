"""Clients that ask without a break while servers are replaced, and count what goes wrong."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from time import monotonic
from typing import Final

import aiohttp

from tests.acceptance.main_job import MainJob, until

KEEPING: Final = 3
OPENING: Final = 1
WITHIN_S: Final = 120.0
IDLE_S: Final = 1.0
"""A client that was itself away for longer may find its connection closed, as idle ones are at any time."""


@dataclasses.dataclass(slots=True)
class Steady:
    """What became of the requests so far."""

    answered: int = 0
    slowest: float = 0.0
    failures: list[str] = dataclasses.field(default_factory=list)

    async def more(self, count: int) -> None:
        """Wait until that many more requests have been answered."""
        then = self.answered
        await until(lambda: self.answered >= then + count, WITHIN_S)

    async def ask(self, job: MainJob, query: str, *, keep: bool) -> None:
        """Ask for ever, on one connection or on a new one each time."""
        connector = aiohttp.TCPConnector(limit=1, force_close=not keep)
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            answered = monotonic()
            while True:
                began = monotonic()
                try:
                    async with session.post(job.url, json={"query": query}) as response:
                        body = await response.json(content_type=None)
                    if response.status != 200 or "errors" in body:
                        self.failures.append(f"{response.status} {body}")
                except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                    if began - answered < IDLE_S:
                        self.failures.append(repr(error))
                answered = monotonic()
                self.answered += 1
                self.slowest = max(self.slowest, answered - began)


@contextlib.asynccontextmanager
async def asking(job: MainJob, query: str) -> AsyncIterator[Steady]:
    """Ask from several clients until the context closes."""
    steady = Steady()
    tasks = [asyncio.create_task(steady.ask(job, query, keep=number < KEEPING)) for number in range(KEEPING + OPENING)]
    try:
        yield steady
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
