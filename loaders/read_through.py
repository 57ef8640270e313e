"""Reading through: memory, then Redis, then the cells; one fetch at a time for each key and process.

What a loop tick asks for is joined into one batch per cell, whoever asks; what is a viewer's own, per viewer. Each
caller waits by itself: a caller that is cancelled or in a hurry takes nothing from the others. An error is told to all
who wait for its batch, and forgotten. What a crowd waits for is urgent.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Generic, TypeVar

from domain.ids import cell_of
from loaders.batches import Batch, Batches, Place
from loaders.fills import Fills
from loaders.kinds import Kind
from loaders.memory import ENTRY_OVERHEAD, LIFE_S, Held, Memory
from loaders.memory import Place as MemoryPlace
from loaders.metrics import reads
from loaders.stored import Stored
from storage.generations import Generations
from storage.limits import CROWD, wanted_by
from storage.redis_client import CacheUnavailable

K = TypeVar("K", bound=Hashable)
N = TypeVar("N", bound=Hashable)
V = TypeVar("V")

Fetch = Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]

ANOTHER_FILLS_S: Final = 0.015
"""A key that a crowd waits for, or that is hot, is likely asked for in other processes too: one of them fetches it."""
JOINED_WITHIN_S: Final = 2.0
"""How long what is under way is waited for by whoever asks later."""
FILL_WITHIN_S: Final = 1.0
"""A value with a version is stored only so soon after it was asked for: its newer one might be gone again."""


class Brought(Generic[K, V]):
    """What another question brings along: remembered unless it was to be forgotten while that was asked.

    `is_sure` tells whether the generation that the question began in is still known for sure.
    """

    def __init__(
        self, memory: Memory, kind: Kind[K, V], keys: Sequence[K], born: float, is_sure: Callable[[], bool]
    ) -> None:
        self._memory = memory
        self._kind = kind
        self._wanted = set(keys)
        self._born = born
        self._is_sure = is_sure

    def keep(self, values: Mapping[K, V]) -> None:
        """Remember values."""
        if not self._is_sure():
            return
        wanted = {key: values[key] for key in self._wanted.intersection(values)}
        _put(self._memory, self._kind, wanted, self._born)

    def forget(self, key: K) -> None:
        """Remember nothing of a key."""
        self._wanted.discard(key)

    def forget_all(self) -> None:
        """Remember nothing."""
        self._wanted.clear()


class ReadThrough(Generic[K, V]):
    """All facts of one kind that this process reads."""

    def __init__(
        self,
        kind: Kind[K, V],
        fetch: Fetch[K, V],
        memory: Memory,
        fills: Fills,
        generations: Generations,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.kind = kind
        self.missing = kind.missing
        self._name = kind.name
        self._place_of = kind.place_of
        self._fetch = fetch
        self._memory = memory
        self._stored = Stored(kind, fills)
        self._generations = generations
        self._clock = clock
        self._batches: Batches[K, V] = Batches(self._run)
        self._flying: dict[K, Batch[K, V]] = {}
        self._brought: list[Brought[K, V]] = []
        self.recall: Callable[[Iterable[K]], list[V] | None] = functools.partial(memory.recall, kind.name)
        """Gives what memory holds of all keys; None where `gather` has to look at them one by one."""

    def gather(self, keys: Sequence[K], found: dict[K, V]) -> None:
        """Put what memory holds of some keys into `found`; what is hot and soon forgotten is read again meanwhile."""
        self.gather_as(keys, keys, found)

    def gather_as(self, names: Sequence[N], keys: Iterable[K], found: dict[N, V]) -> None:
        """Put what memory holds of some keys into `found`, each under the name that it has there."""
        ending = self._memory.gather(self._name, keys, names, found)
        if ending:
            self._renew(ending)

    def _renew(self, ending: Sequence[K]) -> None:
        if self.kind.shared:
            self.ask([key for key in ending if key not in self._flying], direct=False, times=CROWD)

    def recall_one(self, key: K) -> V | None:
        """Give what memory holds of one key, for kinds whose value is never None."""
        place_of = self._place_of
        held = self._memory.get((self._name, key if place_of is None else place_of(key)))
        value: V | None = held.value if held is not None and held.key == key else None
        return value

    def succeed(self, before: K, after: K, change: Callable[[V], V | None]) -> None:
        """Keep what memory holds of a key under the one that comes after it, changed; None is not kept."""
        held = self._memory.get(_place(self.kind, before))
        if held is None or held.key != before:
            return
        value = change(held.value)
        if value is not None:
            self._memory.put_all(self._name, [_held(self.kind, after, value, held.until)])

    async def load(self, keys: Sequence[K], *, direct: bool) -> dict[K, V]:
        """Give the values of keys; `direct` asks the cells alone, and joins nothing that is under way.

        Raises:
            Overloaded: a cell does not answer.
            DeadlineExceeded: nor has it until the caller's deadline.
        """
        batches = self.ask(keys, direct=direct)
        for batch in batches.values():
            await batch.wait()
        return {key: batches[key].found.get(key, self.kind.missing) for key in keys}

    @contextlib.contextmanager
    def brought_along(self, keys: Sequence[K]) -> Iterator[Brought[K, V]]:
        """Ask another question of one cell, whose answer brings the values of these keys along."""
        cell = cell_of(self.kind.owner_of(keys[0]))
        generation = self._generations.of(cell)

        def is_sure() -> bool:
            return generation is not None and self._generations.of(cell) == generation

        brought = Brought(self._memory, self.kind, keys, self._clock(), is_sure)
        self._brought.append(brought)
        try:
            yield brought
        finally:
            self._brought.remove(brought)

    def forget(self, key: K) -> None:
        """Forget a key, and let nobody else wait for what is under way."""
        self._memory.drop(_place(self.kind, key))
        self._flying.pop(key, None)
        for brought in self._brought:
            brought.forget(key)

    def forget_flying(self) -> None:
        """Let nobody else wait for anything that is under way."""
        self._flying.clear()
        for brought in self._brought:
            brought.forget_all()

    async def settle(self) -> None:
        """Wait for all that is under way."""
        await self._batches.settle()

    def ask(self, keys: Sequence[K], *, direct: bool, times: int = 1) -> dict[K, Batch[K, V]]:
        """Give the batch of each key, one that is under way or that starts next; `direct` as in `load`."""
        batches, flying = {}, self._flying
        now = self._clock()
        for key in keys:
            batch = flying.get(key) if not direct else None
            if batch is None or not batch.may_be_joined_at(now):
                batch = self._batches.join(self._place(key, direct=direct))
                if not direct:
                    flying[key] = batch
            batch.ask(key, times)
            batches[key] = batch
        return batches

    def _place(self, key: K, *, direct: bool) -> Place:
        viewer_of = self.kind.viewer_of
        return cell_of(self.kind.owner_of(key)), direct, viewer_of(key) if viewer_of is not None else 0

    async def _run(self, place: Place, batch: Batch[K, V]) -> None:
        """Answer a batch, and remember the answer for as long as the generation is known for sure."""
        cell, born = place[0], self._clock()
        generation = None if batch.direct else self._generations.of(cell)
        known_until = self._generations.known_until(cell) if generation is not None else born
        batch.until = min(born + JOINED_WITHIN_S, known_until)
        keys = list(batch.asked)
        try:
            with wanted_by(max(batch.asked.values())):
                batch.succeed(await (self._fetch(keys) if generation is None else self._read(batch, generation, born)))
        except BaseException as error:  # noqa: BLE001 - told to whoever waits; nobody may be left waiting
            batch.fail(error)
        else:
            if generation is not None and self._generations.of(cell) == generation:
                self._keep(batch, born)
        finally:
            for key in keys:
                if self._flying.get(key) is batch:
                    del self._flying[key]

    def _keep(self, batch: Batch[K, V], born: float) -> None:
        """Remember what was read, unless it was forgotten meanwhile: what is under way may then be of before."""
        found, missing, flying = batch.found, self.missing, self._flying
        values = {key: found.get(key, missing) for key in batch.asked if flying.get(key) is batch}
        _put(self._memory, self.kind, values, born)

    async def _read(self, batch: Batch[K, V], generation: int, born: float) -> Mapping[K, V]:
        """Read from Redis, and what it lacks from the cells; a Redis that fails is a miss."""
        names = {key: self.kind.key(generation, key) for key in batch.asked}
        try:
            found, epochs = await self._stored.read(names)
            lacking = [key for key in names if key not in found]
            if others := await self._filled_by_others(batch, names, lacking):
                await asyncio.sleep(ANOTHER_FILLS_S)
                again, later = await self._stored.read({key: names[key] for key in others})
                found, epochs = {**found, **again}, {**epochs, **later}
        except CacheUnavailable:
            reads(self.kind.name, "redis_failed").inc(len(names))
            return await self._fetch(list(names))
        if self._generations.of(cell_of(self.kind.owner_of(next(iter(names))))) != generation:
            return await self._fetch(list(names))  # what was read may be from before it began
        lacking = [key for key in lacking if key not in found]
        reads(self.kind.name, "redis").inc(len(found))
        reads(self.kind.name, "cells").inc(len(lacking))
        return {**found, **(await self._fetch_lacking(lacking, names, epochs, born) if lacking else {})}

    async def _filled_by_others(self, batch: Batch[K, V], names: Mapping[K, str], lacking: Sequence[K]) -> list[K]:
        """Claim the keys that a crowd waits for, and give those that another process is filling."""
        crowded = [key for key in lacking if self.kind.shared and batch.asked[key] >= CROWD]
        if not crowded:
            return []
        claimed = await self._stored.claim([names[key] for key in crowded])
        return [key for key in crowded if names[key] not in claimed]

    async def _fetch_lacking(
        self,
        lacking: Sequence[K],
        names: Mapping[K, str],
        epochs: Mapping[K, bytes],
        born: float,
    ) -> Mapping[K, V]:
        fetched = await self._fetch(lacking)
        values = {key: fetched.get(key, self.kind.missing) for key in lacking}
        if self.kind.epoch_of is not None or self._clock() - born < FILL_WITHIN_S:
            self._stored.fill(names, values, epochs)
        return values


def _put(memory: Memory, kind: Kind[K, V], values: Mapping[K, V], born: float) -> None:
    ttl_of = kind.ttl_of
    memory.put_all(
        kind.name, [_held(kind, key, value, born + min(LIFE_S, ttl_of(value))) for key, value in values.items()]
    )


def _held(kind: Kind[K, V], key: K, value: V, until: float) -> Held:
    _, place = _place(kind, key)
    return Held(kind.name, place, key, value, until, kind.weigh(value) + ENTRY_OVERHEAD)


def _place(kind: Kind[K, V], key: K) -> MemoryPlace:
    return kind.name, key if kind.place_of is None else kind.place_of(key)
