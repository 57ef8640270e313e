"""Reading as if nothing were remembered."""

import asyncio

from loaders import Caches


async def make_cold(caches: Caches) -> None:
    """Make this process and Redis forget: what is asked next is read from the cells."""
    await caches.settle()
    await asyncio.gather(*(caches.generations.begin(cell) for cell in caches.database.shards.cells))


def is_watch(statement: str) -> bool:
    """Tell whether a statement is one of those that keep watch, whoever asks what."""
    return "cache_generations" in statement or "FROM revocations" in statement
