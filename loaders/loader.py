"""One question asked for many keys at once, within one operation."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from domain.errors import Overloaded
from loaders.asker import Asker

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_BATCH: Final = 500


class Reader(Protocol[K, V]):
    """Reads one kind of fact."""

    @property
    def missing(self) -> V:
        """Give the value of a key that `load` leaves out."""

    def recall(self, keys: Sequence[K], found: dict[K, V]) -> None:
        """Put what is remembered of some keys into a mapping, at once."""

    async def load(self, keys: Sequence[K], *, direct: bool) -> Mapping[K, V]:
        """Give the values of keys; `direct` uses nothing that is remembered anywhere."""


class Unremembered(Generic[K, V]):
    """Reads what is remembered nowhere, or remembered in another way."""

    __slots__ = ("_fetch", "missing")

    def __init__(self, fetch: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], missing: V) -> None:
        self._fetch = fetch
        self.missing = missing

    def recall(self, keys: Sequence[K], found: dict[K, V]) -> None:
        """Remember nothing."""

    async def load(self, keys: Sequence[K], *, direct: bool) -> Mapping[K, V]:
        """Give the values of keys."""
        del direct
        return await self._fetch(keys)


class _Batch(Generic[K]):
    """Keys that are asked for together."""

    __slots__ = ("done", "keys")

    def __init__(self) -> None:
        self.keys: list[K] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class _Flight(Generic[K, V]):
    """What a loader has asked for and not got yet; begun when something is not remembered."""

    def __init__(self, asker: Asker, reader: Reader[K, V], known: dict[K, V]) -> None:
        self._asker = asker
        self._reader = reader
        self._known = known
        self._flying: dict[K, _Batch[K]] = {}
        self._next: _Batch[K] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, keys: Iterable[K]) -> list[_Batch[K]]:
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
        reader = self._reader
        try:
            found = await reader.load(batch.keys, direct=self._asker.epoch is None)
        except BaseException as error:  # noqa: BLE001 - told to whoever waits; nobody may be left waiting
            batch.done.set_exception(error if isinstance(error, Exception) else Overloaded(retryAfter=1))
            batch.done.exception()  # whoever asked may have been cancelled
        else:
            for key in batch.keys:
                self._known.setdefault(key, found.get(key, reader.missing))
            batch.done.set_result(None)
        finally:
            for key in batch.keys:
                del self._flying[key]


class Loader(msgspec.Struct, Generic[K, V]):
    """Answers from what the operation has read, then from what is remembered, and asks for the rest in one batch.

    What is known costs no wait. What a caller gets is shielded: a caller that is cancelled takes nothing from another
    who waits for the same key. An error is told to all who wait and forgotten.
    """

    _asker: Asker
    _reader: Reader[K, V]
    _known: dict[K, V] = {}
    _flight: _Flight[K, V] | None = None

    async def load(self, key: K) -> V:
        """Give the value of one key."""
        [value] = await self.load_many([key])
        return value

    async def load_many(self, keys: Sequence[K]) -> list[V]:
        """Give the values of many keys, in their order; the first error is raised."""
        waiting = self._asker.begin()
        if waiting is not None:
            await waiting
        values = self.recall(keys)
        if values is not None:
            return values
        known = self._known
        if self._flight is None:
            self._flight = _Flight(self._asker, self._reader, known)
        for batch in self._flight.ask([key for key in keys if key not in known]):
            await asyncio.shield(batch.done)
        return [known[key] for key in keys]

    def recall(self, keys: Sequence[K]) -> list[V] | None:
        """Give the values of many keys at once, or None where one of them is not known."""
        known = self._known
        values = _all_of(known, keys) if known else None
        if values is not None or self._asker.epoch is None:
            return values
        self._reader.recall(list(itertools.filterfalse(known.__contains__, keys)) if known else keys, known)
        return _all_of(known, keys)


def _all_of(known: Mapping[K, V], keys: Sequence[K]) -> list[V] | None:
    try:
        return list(map(known.__getitem__, keys))
    except KeyError:
        return None
