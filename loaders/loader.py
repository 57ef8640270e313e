"""One question asked for many keys at once, within one operation."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from loaders.asker import Asker
from loaders.batches import MAX_BATCH, Batch, start_soon

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Reader(Protocol[K, V]):
    """Reads one kind of fact."""

    @property
    def missing(self) -> V:
        """Give the value of a key that a batch leaves out."""

    def recall(self, keys: Sequence[K]) -> list[V] | None:
        """Give what is remembered of all keys, at once; None where `gather` has to look at them one by one."""

    def gather(self, keys: Sequence[K], found: dict[K, V]) -> None:
        """Put what is remembered of some keys into a mapping, at once."""

    def ask(self, keys: Sequence[K], *, direct: bool) -> Mapping[K, Batch[K, V]]:
        """Give the batch that each key is in; `direct` uses nothing that is remembered anywhere."""


class Source(Protocol[K, V]):
    """Reads one kind of fact for one operation, and whatever that takes."""

    @property
    def missing(self) -> V:
        """Give the value of a key that `load` leaves out."""

    def recall(self, keys: Sequence[K]) -> list[V] | None:
        """Give what is remembered of all keys, at once; None where `gather` has to look at them one by one."""

    def gather(self, keys: Sequence[K], found: dict[K, V]) -> None:
        """Put what is remembered of some keys into a mapping, at once."""

    async def load(self, keys: Sequence[K], *, direct: bool) -> Mapping[K, V]:
        """Give the values of keys; `direct` uses nothing that is remembered anywhere."""


class Apart(msgspec.Struct, Generic[K, V]):
    """Reads from a source in batches of one operation alone, under its deadline."""

    _source: Source[K, V]
    _next: Batch[K, V] | None = None
    _tasks: set[asyncio.Task[None]] = set()

    @property
    def missing(self) -> V:
        """Give the value of a key that a batch leaves out."""
        return self._source.missing

    def recall(self, keys: Sequence[K]) -> list[V] | None:
        """Give what is remembered of all keys."""
        return self._source.recall(keys)

    def gather(self, keys: Sequence[K], found: dict[K, V]) -> None:
        """Put what is remembered of some keys into a mapping."""
        self._source.gather(keys, found)

    def ask(self, keys: Sequence[K], *, direct: bool) -> dict[K, Batch[K, V]]:
        """Give the batch that each key is in, which starts soon."""
        return {key: self._join(key, direct=direct) for key in keys}

    def _join(self, key: K, *, direct: bool) -> Batch[K, V]:
        batch = self._next
        if batch is None or len(batch.asked) >= MAX_BATCH:
            batch = self._next = Batch(direct=direct)
            start_soon(self._start, batch)
        batch.ask(key)
        return batch

    def _start(self, batch: Batch[K, V]) -> None:
        if self._next is batch:
            self._next = None
        task = asyncio.create_task(self._run(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: Batch[K, V]) -> None:
        try:
            batch.succeed(await self._source.load(list(batch.asked), direct=batch.direct))
        except BaseException as error:  # noqa: BLE001 - told to whoever waits; nobody may be left waiting
            batch.fail(error)


class Unremembered(Generic[K, V]):
    """Reads what is remembered nowhere, or remembered in another way."""

    __slots__ = ("_fetch", "missing")

    def __init__(self, fetch: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], missing: V) -> None:
        self._fetch = fetch
        self.missing = missing

    def recall(self, keys: Sequence[K]) -> list[V] | None:
        """Remember nothing."""
        return None if keys else []

    def gather(self, keys: Sequence[K], found: dict[K, V]) -> None:
        """Remember nothing."""

    async def load(self, keys: Sequence[K], *, direct: bool) -> Mapping[K, V]:
        """Give the values of keys."""
        del direct
        return await self._fetch(keys)


class Loader(msgspec.Struct, Generic[K, V]):
    """Answers from what the operation has read, then from what is remembered, and asks for the rest in one batch.

    What is known costs no wait. A caller that is cancelled takes nothing from another who waits for the same key. An
    error is told to all who wait and forgotten.
    """

    _asker: Asker
    _reader: Reader[K, V]
    _known: dict[K, V] = {}
    _asked: dict[K, Batch[K, V]] = {}
    _recalled: tuple[Sequence[K], Sequence[V]] | None = None
    """Keys and values that were recalled at once, until others are asked for: most are never looked at again."""

    async def load(self, key: K) -> V:
        """Give the value of one key."""
        [value] = await self.load_many([key])
        return value

    async def load_many(self, keys: Sequence[K]) -> Sequence[V]:
        """Give the values of many keys, in their order; the first error is raised."""
        waiting = self._asker.begin()
        if waiting is not None:
            await waiting
        values = self.recall(keys)
        if values is not None:
            return values
        known, missing = self._known, self._reader.missing
        batches = self._ask([key for key in dict.fromkeys(keys) if key not in known])
        for batch in dict.fromkeys(batches.values()):
            await batch.wait()
        self._learn()
        for key, batch in batches.items():
            known.setdefault(key, batch.found.get(key, missing))
            self._asked.pop(key, None)
        return [known[key] for key in keys]

    def _ask(self, keys: Sequence[K]) -> dict[K, Batch[K, V]]:
        """Give the batch that each key is in; one that others of the operation wait for is not asked for again."""
        asked = self._asked
        fresh = [key for key in keys if key not in asked or asked[key].has_failed]
        if fresh:
            asked.update(self._reader.ask(fresh, direct=self._asker.epoch is None))
        return {key: asked[key] for key in keys}

    def recall(self, keys: Sequence[K]) -> Sequence[V] | None:
        """Give the values of many keys at once, or None where one of them is not known."""
        if self._recalled is not None:
            if self._recalled[0] == keys:
                return self._recalled[1]
            self._learn()
        known, unknown = self._known, keys
        if known and not known.keys().isdisjoint(keys):
            values = _all_of(known, keys)
            if values is not None:
                return values
            unknown = list(itertools.filterfalse(known.__contains__, keys))
        if self._asker.epoch is None:
            return None if keys else []
        values = self._reader.recall(unknown)
        if values is None:
            self._reader.gather(unknown, known)
            return _all_of(known, keys)
        self._recalled = unknown, values
        if unknown is keys:
            return values
        self._learn()
        return _all_of(known, keys)

    def _learn(self) -> None:
        """Know what was recalled: what an operation has read of a key stays the same."""
        if self._recalled is not None:
            self._known.update(zip(*self._recalled, strict=True))
            self._recalled = None


def _all_of(known: Mapping[K, V], keys: Sequence[K]) -> list[V] | None:
    try:
        return list(map(known.__getitem__, keys))
    except KeyError:
        return None
