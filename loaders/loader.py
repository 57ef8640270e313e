"""One question asked for many keys at once."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from aiodataloader import DataLoader

from domain.errors import Overloaded

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_BATCH: Final = 500


class Loader(Generic[K, V]):
    """Joins the keys that are asked for in one tick of the loop into batches, and asks for each key once.

    `fetch` gives a mapping; a key that it leaves out has the value `missing`. What a caller gets is shielded: a caller
    that is cancelled takes nothing from another who waits for the same key. An error is told to all who wait and
    forgotten.
    """

    def __init__(self, fetch: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], *, missing: V) -> None:
        self._fetch = fetch
        self._missing = missing
        self._loader: DataLoader[K, V] = DataLoader(self._batch, max_batch_size=MAX_BATCH)

    async def load(self, key: K) -> V:
        """Give the value of one key."""
        try:
            return await asyncio.shield(self._loader.load(key))
        except Exception:
            self._loader.clear(key)
            raise

    async def load_many(self, keys: Sequence[K]) -> list[V]:
        """Give the values of many keys, in their order; the first error is raised."""
        return list(await asyncio.gather(*map(self.load, keys)))

    def prime(self, key: K, value: V) -> None:
        """Remember a value that another question brought along."""
        self._loader.prime(key, value)

    async def _batch(self, keys: list[K]) -> list[V]:
        try:
            found = await self._fetch(keys)
        except asyncio.CancelledError as error:  # would leave everybody who waits hanging
            raise Overloaded(retryAfter=1) from error
        return [found.get(key, self._missing) for key in keys]
