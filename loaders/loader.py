"""One question asked for many keys at once, within one operation."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from domain.errors import Overloaded

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_BATCH: Final = 500


Begin = Callable[[], Awaitable[object] | None]
"""Learns what may be used of all that is remembered; what it gives the first time has to be awaited."""
Recall = Callable[[Sequence[K], dict[K, V]], None]
"""Puts what is remembered of some keys into a mapping, at once."""


class _Batch(Generic[K]):
    """Keys that are asked for together."""

    __slots__ = ("done", "keys")

    def __init__(self) -> None:
        self.keys: list[K] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Loader(Generic[K, V]):
    """Answers from what the operation has read, then from what `remembered` gives, and asks for the rest in one batch.

    What is known costs no wait. `fetch` gives a mapping; a key that it leaves out has the value `missing`. What a
    caller gets is shielded: a caller that is cancelled takes nothing from another who waits for the same key. An error
    is told to all who wait and forgotten.
    """

    __slots__ = ("_begin", "_fetch", "_flying", "_known", "_missing", "_next", "_remembered", "_tasks")

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
        self._flying: dict[K, _Batch[K]] = {}
        self._next: _Batch[K] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def load(self, key: K) -> V:
        """Give the value of one key."""
        [value] = await self.load_many([key])
        return value

    async def load_many(self, keys: Sequence[K]) -> list[V]:
        """Give the values of many keys, in their order; the first error is raised."""
        waiting = self._begin()
        if waiting is not None:
            await waiting
        values = self.recall(keys)
        if values is not None:
            return values
        known = self._known
        for batch in self._ask([key for key in keys if key not in known]):
            await asyncio.shield(batch.done)
        return [known[key] for key in keys]

    def recall(self, keys: Sequence[K]) -> list[V] | None:
        """Give the values of many keys at once, or None where one of them is not known; only after `begin`."""
        known = self._known
        lacking = list(itertools.filterfalse(known.__contains__, keys)) if known else keys
        if lacking:
            self._remembered(lacking, known)
        try:
            return list(map(known.__getitem__, keys))
        except KeyError:
            return None

    def _ask(self, keys: Iterable[K]) -> list[_Batch[K]]:
        """Give the batches that keys are in; what is not under way goes into the one that starts next."""
        asked: dict[int, _Batch[K]] = {}
        for key in keys:
            batch = self._flying.get(key)
            if batch is None:
                batch = self._flying[key] = self._open()
                batch.keys.append(key)
            asked[id(batch)] = batch
        return list(asked.values())

    def _open(self) -> _Batch[K]:
        batch = self._next
        if batch is None or len(batch.keys) >= MAX_BATCH:
            batch = self._next = _Batch()
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._start, batch)  # fields beside this one, in tasks of theirs, may join
        return batch

    def _start(self, batch: _Batch[K]) -> None:
        if self._next is batch:
            self._next = None
        task = asyncio.create_task(self._run(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: _Batch[K]) -> None:
        try:
            found = await self._fetch(batch.keys)
        except BaseException as error:  # noqa: BLE001 - told to whoever waits; nobody may be left waiting
            batch.done.set_exception(error if isinstance(error, Exception) else Overloaded(retryAfter=1))
            batch.done.exception()  # whoever asked may have been cancelled
        else:
            for key in batch.keys:
                self._known.setdefault(key, found.get(key, self._missing))
            batch.done.set_result(None)
        finally:
            for key in batch.keys:
                del self._flying[key]
