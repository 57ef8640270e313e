"""Reading through: memory, then Redis, then the cells; one fetch at a time for each key and process.

What a loop tick asks for is joined into one batch per cell, whoever asks. Each caller waits by itself: a caller that
is cancelled takes nothing from the others. An error is told to all who wait for its batch, and forgotten.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar

import msgspec

from domain import deadlines
from domain.errors import Overloaded
from domain.ids import cell_of
from loaders.kinds import Kind
from loaders.memory import Held, Memory
from loaders.metrics import READ
from storage.entries import Stamped, Versioned, read_stamped, read_versioned, write_newer, write_under_epoch
from storage.generations import Generations
from storage.redis_client import CacheUnavailable, Redis

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_BATCH: Final = 500
IN_FLIGHT: Final = 2
"""Batches under way at once per cell: what is asked for meanwhile is joined into the next."""
HOT: Final = 3
REFRESH_BEFORE_S: Final = 0.4
"""A value that was asked for HOT times is read again this long before it is forgotten, while nobody waits."""
FILLS: Final = 64
FILL_WITHIN_S: Final = 1.0
"""A value is stored only so soon after it was asked for: a later one might meet a key whose newer value was evicted."""

Fetch = Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]
_Place = tuple[int, bool]
"""A cell, and whether it is asked directly."""


class _Batch(Generic[K, V]):
    """Keys that are asked for together, and what came of it."""

    __slots__ = ("deadline", "direct", "done", "fetch", "found", "keys")

    def __init__(self, fetch: Fetch[K, V], *, direct: bool, deadline: float | None = None) -> None:
        self.keys: list[K] = []
        self.found: Mapping[K, V] = {}
        self.fetch = fetch
        self.direct = direct
        self.deadline = deadline  # of whoever waits alone; where others may join there is none, and each has his own
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class ReadThrough(Generic[K, V]):
    """All facts of one kind that this process reads."""

    def __init__(
        self, kind: Kind[K, V], fetch: Fetch[K, V], memory: Memory, redis: Redis, generations: Generations
    ) -> None:
        self.kind = kind
        self._fetch = fetch
        self._memory = memory
        self._redis = redis
        self._generations = generations
        self._flying: dict[K, _Batch[K, V]] = {}
        self._waiting: dict[_Place, _Batch[K, V]] = {}
        self._active: dict[_Place, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._fills: set[asyncio.Task[None]] = set()

    def probe(self, key: K) -> Held | None:
        """Give what memory holds, at once."""
        held = self._memory.get((self.kind.name, key))
        if held is not None and held.hits >= HOT and self._is_to_be_refreshed(key, held):
            self._ask([key], direct=False)
        return held

    def _is_to_be_refreshed(self, key: K, held: Held) -> bool:
        due = held.until - time.monotonic() < REFRESH_BEFORE_S
        return due and self.kind.shared and key not in self._flying

    async def load(self, keys: Sequence[K], *, direct: bool, fetch: Fetch[K, V] | None = None) -> dict[K, V]:
        """Give the values of keys; `direct` asks the cells alone, and joins nothing that is under way.

        `fetch` takes the place of the usual one for a kind that is not shared.

        Raises:
            Overloaded: a cell does not answer.
            DeadlineExceeded: the request has no time left.
        """
        if self.kind.shared:
            batches = self._ask(keys, direct=direct)
        else:
            batches = self._ask_alone(keys, fetch or self._fetch, direct=direct)
        for batch in batches.values():
            if not batch.done.done():
                async with deadlines.heeded():
                    await asyncio.shield(batch.done)
            batch.done.result()
        return {key: batches[key].found.get(key, self.kind.missing) for key in keys}

    def remember(self, key: K, value: V, *, born: float) -> None:
        """Take over what another question brought along."""
        self._memory.put((self.kind.name, key), value, size=64, born=born)

    def forget(self, key: K) -> None:
        """Forget a key, and let nobody else wait for what is under way."""
        self._memory.drop((self.kind.name, key))
        self._flying.pop(key, None)

    def forget_flying(self) -> None:
        """Let nobody else wait for anything that is under way."""
        self._flying.clear()

    async def settle(self) -> None:
        """Wait for all that is under way."""
        while self._tasks or self._fills:
            await asyncio.gather(*self._tasks, *self._fills, return_exceptions=True)

    def _ask(self, keys: Sequence[K], *, direct: bool) -> dict[K, _Batch[K, V]]:
        """Find, or open, the batch of each key."""
        batches = {}
        for key in keys:
            batch = self._flying.get(key) if not direct else None
            if batch is None:
                batch = self._join(key, direct=direct)
            batches[key] = batch
        return batches

    def _ask_alone(self, keys: Sequence[K], fetch: Fetch[K, V], *, direct: bool) -> dict[K, _Batch[K, V]]:
        """Open batches that nobody else joins, one per cell."""
        opened: dict[int, _Batch[K, V]] = {}
        batches = {}
        for key in keys:
            cell = cell_of(self.kind.owner_of(key))
            if cell not in opened:
                opened[cell] = _Batch(fetch, direct=direct, deadline=deadlines.current())
            opened[cell].keys.append(key)
            batches[key] = opened[cell]
        for cell, batch in opened.items():
            self._start((cell, direct), batch)
        return batches

    def _join(self, key: K, *, direct: bool) -> _Batch[K, V]:
        place = (cell_of(self.kind.owner_of(key)), direct)
        batch = self._waiting.get(place)
        if batch is None or len(batch.keys) >= MAX_BATCH:
            batch = self._waiting[place] = _Batch(self._fetch, direct=direct)
            asyncio.get_running_loop().call_soon(self._start_waiting, place, batch)
        batch.keys.append(key)
        if not direct:
            self._flying[key] = batch
        return batch

    def _start_waiting(self, place: _Place, batch: _Batch[K, V]) -> None:
        """Start a batch at the end of its tick, or leave it to whichever batch of its cell ends next."""
        is_open = self._waiting.get(place) is batch
        if is_open and self._active.get(place, 0) >= IN_FLIGHT:
            return
        if is_open:
            del self._waiting[place]
        self._start(place, batch)

    def _start(self, place: _Place, batch: _Batch[K, V]) -> None:
        self._active[place] = self._active.get(place, 0) + 1
        with deadlines.under(batch.deadline):
            task = asyncio.create_task(self._run(place, batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, place: _Place, batch: _Batch[K, V]) -> None:
        born = time.monotonic()
        try:
            generation = None if batch.direct else self._generations.of(place[0])
            batch.found = await (self._read(batch, generation, born) if generation else batch.fetch(batch.keys))
        except BaseException as error:  # noqa: BLE001 - told to whoever waits; nobody may be left waiting
            batch.done.set_exception(error if isinstance(error, Exception) else Overloaded(retryAfter=1))
            batch.done.exception()  # it may be that nobody waits any more
        else:
            if generation is not None and self._generations.of(place[0]) == generation:
                self._keep(batch, born)
            batch.done.set_result(None)
        finally:
            self._end(place, batch)

    def _end(self, place: _Place, batch: _Batch[K, V]) -> None:
        for key in batch.keys:
            if self._flying.get(key) is batch:
                del self._flying[key]
        self._active[place] -= 1
        following = self._waiting.get(place)
        if following is not None:
            self._start_waiting(place, following)

    def _keep(self, batch: _Batch[K, V], born: float) -> None:
        """Remember what was read, unless it was forgotten meanwhile: what is under way may then be of before."""
        for key in batch.keys:
            if not self.kind.shared or self._flying.get(key) is batch:
                value = batch.found.get(key, self.kind.missing)
                self._memory.put((self.kind.name, key), value, size=self._size(value), born=born)

    def _size(self, value: V) -> int:
        return len(self.kind.encode(value)) if value is not None else 0

    async def _read(self, batch: _Batch[K, V], generation: int, born: float) -> Mapping[K, V]:
        """Read from Redis, and what it lacks from the cells; a Redis that fails is a miss."""
        keys = batch.keys
        names = {key: self.kind.key(generation, key) for key in keys}
        try:
            found, epochs = await self._read_redis(names)
        except CacheUnavailable:
            READ.labels(self.kind.name, "redis_failed").inc(len(keys))
            return await batch.fetch(keys)
        lacking = [key for key in keys if key not in found]
        READ.labels(self.kind.name, "redis").inc(len(found))
        if not lacking:
            return found
        READ.labels(self.kind.name, "cells").inc(len(lacking))
        fetched = await batch.fetch(lacking)
        values = {key: fetched.get(key, self.kind.missing) for key in lacking}
        if len(self._fills) < FILLS and time.monotonic() - born < FILL_WITHIN_S:
            self._store({key: (names[key], value) for key, value in values.items()}, epochs)
        return {**found, **values}

    def _store(self, values: Mapping[K, tuple[str, V]], epochs: Mapping[K, bytes | None]) -> None:
        """Store what was fetched, while nobody waits for it."""
        fill = asyncio.create_task(self._fill(values, epochs))
        self._fills.add(fill)
        fill.add_done_callback(self._fills.discard)

    async def _read_redis(self, names: Mapping[K, str]) -> tuple[dict[K, V], dict[K, bytes | None]]:
        if self.kind.version_of is not None:
            stored = await read_versioned(self._redis, list(names.values()))
            return self._decoded(zip(names, stored, strict=True)), {}
        pairs = await read_stamped(self._redis, [(self.kind.owner_of(key), name) for key, name in names.items()])
        epochs = {key: epoch for key, (epoch, _) in zip(names, pairs, strict=True)}
        return self._decoded((key, value) for key, (_, value) in zip(names, pairs, strict=True)), epochs

    def _decoded(self, stored: Iterable[tuple[K, bytes | None]]) -> dict[K, V]:
        found: dict[K, V] = {}
        for key, value in stored:
            if value is None:
                continue
            try:
                found[key] = self.kind.decode(value)
            except (msgspec.MsgspecError, ValueError, OverflowError):
                READ.labels(self.kind.name, "unreadable").inc()  # of another version of Kith: a miss
        return found

    async def _fill(self, values: Mapping[K, tuple[str, V]], epochs: Mapping[K, bytes | None]) -> None:
        kind = self.kind
        try:
            if kind.version_of is not None:
                versioned = [
                    Versioned(name, kind.version_of(value), kind.encode(value), self._ttl(value))
                    for name, value in values.values()
                ]
                await write_newer(self._redis, versioned)
            else:
                stamped = [
                    Stamped(name, kind.owner_of(key), epochs[key], kind.encode(value), self._ttl(value))
                    for key, (name, value) in values.items()
                ]
                await write_under_epoch(self._redis, stamped)
        except CacheUnavailable:
            READ.labels(kind.name, "not_stored").inc(len(values))

    def _ttl(self, value: V) -> float:
        return self.kind.missing_ttl if value == self.kind.missing else self.kind.ttl
