"""One question asked for many keys at once, within one operation."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from aiodataloader import DataLoader

from domain.errors import Overloaded

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_BATCH: Final = 500


Begin = Callable[[], Awaitable[object]]
"""Learns what may be used of all that is remembered; waits the first time only."""
Recall = Callable[[Sequence[K]], Mapping[K, V]]
"""Gives what is remembered of some keys, at once."""


class Loader(Generic[K, V]):
    """Answers from what the operation has read, then from what `remembered` gives, and asks for the rest in one batch.

    What is known costs no wait. `fetch` gives a mapping; a key that it leaves out has the value `missing`. What a
    caller gets is shielded: a caller that is cancelled takes nothing from another who waits for the same key. An error
    is told to all who wait and forgotten.
    """

    def __init__(
        self,
        begin: Begin,
        remembered: Recall[K, V],
        fetch: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]],
        *,
        missing: V,
    ) -> None:
        self._begin = begin
        self._remembered = remembered
        self._fetch = fetch
        self._missing = missing
        self._known: dict[K, V] = {}

    @functools.cached_property
    def _loader(self) -> DataLoader[K, V]:
        return DataLoader(self._batch, max_batch_size=MAX_BATCH)

    async def load(self, key: K) -> V:
        """Give the value of one key."""
        [value] = await self.load_many([key])
        return value

    async def load_many(self, keys: Sequence[K]) -> list[V]:
        """Give the values of many keys, in their order; the first error is raised."""
        await self._begin()
        lacking = self._lacking(keys)
        if lacking:
            await asyncio.gather(*map(self._load_one, dict.fromkeys(lacking)))
        return [self._known[key] for key in keys]

    def recall(self, keys: Sequence[K]) -> list[V] | None:
        """Give the values of many keys at once, or None where one of them is not known; only after `begin`."""
        return None if self._lacking(keys) else [self._known[key] for key in keys]

    def _lacking(self, keys: Sequence[K]) -> list[K]:
        known = self._known
        unknown = [key for key in keys if key not in known]
        if unknown:
            known.update(self._remembered(unknown))
            unknown = [key for key in unknown if key not in known]
        return unknown

    async def _load_one(self, key: K) -> None:
        try:
            asked = self._loader.load(key)
            asked.add_done_callback(_note)
            value = await asyncio.shield(asked)
        except Exception:
            self._loader.clear(key)
            raise
        self._known.setdefault(key, value)

    async def _batch(self, keys: list[K]) -> list[V]:
        try:
            found = await self._fetch(keys)
        except asyncio.CancelledError as error:  # would leave everybody who waits hanging
            raise Overloaded(retryAfter=1) from error
        return [found.get(key, self._missing) for key in keys]


def _note(asked: asyncio.Future[V]) -> None:
    """Look at an error that nobody may be left to be told of: whoever asked may have been cancelled."""
    if not asked.cancelled():
        asked.exception()
