"""Everything that this process remembers, and how it learns that it must forget."""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

from domain.digests import Digests
from domain.ids import OpaqueIds, cell_of
from domain.relationships import ListKind, Relationship
from domain.tallies import Blocks, Tally
from domain.users import User
from loaders import hidden_edges
from loaders.answers import Answers
from loaders.fills import Fills
from loaders.hidden_edges import HiddenEdgesOfViewers
from loaders.kinds import (
    BLOCKS,
    BLOCKS_AT_MOST,
    HEAD,
    HEADS,
    NAMES,
    PAIRS,
    SIDE,
    SIDES,
    TALLIES,
    USERS,
    Head,
    PairKey,
    Side,
    SideKey,
)
from loaders.memory import Memory
from loaders.metrics import DIRECT, MEMORY_OFF
from loaders.read_through import ReadThrough
from storage import list_heads, lists, relationships, tallies, users
from storage.cells import ShardMap
from storage.database import Database
from storage.epochs import Pulse, Succession
from storage.freshness import Remembered
from storage.generations import LOOK_EVERY_S, Generations
from storage.list_entries import PLACE_BYTES
from storage.redis_client import CacheUnavailable, Redis
from storage.replicas import Replicas

_MEGABYTE: Final = 1024 * 1024
_SMALL_ENTRY: Final = 700


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """How much this process may remember, in entries and bytes."""

    entries: int
    size: int

    @classmethod
    def within(cls, megabytes: int) -> "Bounds":
        """Give the bounds of so much memory: as many entries as there is room for the small ones."""
        size = megabytes * _MEGABYTE
        return cls(size // _SMALL_ENTRY, size)


SILENCE_S: Final = 5.0
"""How long the broadcast of changes may be unheard before memory is no longer used."""
_LOG: Final = logging.getLogger(__name__)
DEFAULT_BOUNDS: Final = Bounds.within(128)


class Caches:
    """One reader per kind of fact over one memory, and the database whose changes they hear of."""

    def __init__(
        self,
        shards: ShardMap,
        ids: OpaqueIds,
        redis: Redis,
        bounds: Bounds = DEFAULT_BOUNDS,
        *,
        replicas: Replicas | None = None,
        digests: Digests | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.redis = redis
        self.generations = Generations(shards, self.forget_all, clock)
        self.memory = Memory(entries=bounds.entries, size=bounds.size, trust=self.generations, clock=clock)
        self.pulse = Pulse(redis, self.forget, self.forget_all)
        freshness = Remembered(redis, shards, self.generations, self.forget, self.forget_name, self._succeed)
        self.database = Database(shards, ids, freshness, replicas or Replicas(), digests or Digests.of_nobody())
        self._fills = Fills(redis)
        shared = (self.memory, self._fills, self.generations)
        self.users = ReadThrough(USERS, self._fetch_users, *shared, clock=clock)
        self.names = ReadThrough(NAMES, self._fetch_names, *shared, clock=clock)
        self.tallies = ReadThrough(TALLIES, self._fetch_tallies, *shared, clock=clock)
        self.followers = ReadThrough(HEADS[ListKind.FOLLOWERS], self._fetch_followers, *shared, clock=clock)
        self.following = ReadThrough(HEADS[ListKind.FOLLOWING], self._fetch_following, *shared, clock=clock)
        self.sides = ReadThrough(SIDES, self._fetch_sides, *shared, clock=clock)
        self.pairs = ReadThrough(PAIRS, self._fetch_pairs, *shared, clock=clock)
        self.blocks = ReadThrough(BLOCKS, self._fetch_blocks, *shared, clock=clock)
        self.answers = Answers()
        cells = [cell.number for cell in shards.cells]
        self.hidden_edges = HiddenEdgesOfViewers(
            self._fetch_neighbours, cells, self.memory, self.generations, clock=clock
        )
        self._all: tuple[ReadThrough[Any, Any], ...] = (
            self.users, self.names, self.tallies, self.followers, self.following, self.sides, self.pairs, self.blocks,
        )  # fmt: skip
        self._of_pairs = (self.tallies, self.followers, self.following)

    async def begin(self, viewer_id: int | None) -> bytes | None:
        """Begin an operation: give the viewer's epoch, or None where nothing that is remembered may be used.

        The generation of the viewer's cell is part of it: what depends on the viewer's side is remembered in the cells
        of others too, where a change that could not be told to Redis begins no generation.
        """
        return self.heed(viewer_id, await self.pulse.read(viewer_id))

    def heed(self, viewer_id: int | None, epoch: bytes | None) -> bytes | None:
        """Give what an operation may use, as `begin` does, of what the pulse has read."""
        if epoch and viewer_id is not None:
            generation = self.generations.of(cell_of(viewer_id))
            epoch = epoch + generation.to_bytes(8) if generation is not None else None
        if epoch is None:
            DIRECT.inc()
        return epoch

    @property
    def readers(self) -> Mapping[str, ReadThrough[Any, Any]]:
        """Give the reader of each kind, by its name."""
        return {reader.kind.name: reader for reader in self._all}

    def remembered(self) -> list[tuple[str, Any, Any]]:
        """Give the kind, key and value of everything that would be used now, names where a person confirms them."""
        usable = [*self.memory.usable(), *((hidden_edges.NAME, key, it) for key, it in self.hidden_edges.kept())]
        return [entry for entry in usable if entry[0] != NAMES.name or self._is_confirmed(*entry[1:])]

    def _is_confirmed(self, name_key: str, user_id: int | None) -> bool:
        person = self.users.recall_one(user_id) if user_id is not None else None
        return user_id is None or (person is not None and person.has_name(name_key))

    def forget(self, people: Sequence[int]) -> None:
        """Forget the profile of one person, or what a pair is in the figures and lists of both.

        What two are to each other is under their epochs.
        """
        for reader in (self.users,) if len(people) == 1 else self._of_pairs:
            for user_id in people:
                reader.forget(user_id)
        if len(people) > 1:
            self.hidden_edges.note(*people)

    def forget_below(self, user_id: int, version: int) -> None:
        """Forget a profile that is older than a version."""
        held = self.memory.get((USERS.name, user_id))
        if held is None or held.value is None or held.value.version < version:
            self.users.forget(user_id)

    def forget_name(self, name_key: str) -> None:
        """Forget whose a name is."""
        self.names.forget(name_key)

    def _succeed(self, succession: Succession) -> None:
        """Keep a side that this process has changed: of what was told since its epoch began there is only that change.

        Whoever else has written into it has not told so yet, and is about to renew the epoch once more.
        """
        user_id, before, after, other_id, pair = succession
        generation = self.generations.of(cell_of(user_id))
        if generation is not None:
            old, new = (SideKey(user_id, epoch + generation.to_bytes(8)) for epoch in (before, after))
            self.sides.succeed(old, new, lambda side: side.with_pair(other_id, pair))

    def forget_all(self) -> None:
        """Forget everything, and what is under way."""
        self.memory.clear()
        self.hidden_edges.forget_all()
        for reader in self._all:
            reader.forget_flying()

    def meet(self, life: str) -> None:
        """Rely on nothing that another Redis server was told, until the cells have said that they know this one."""
        self.pulse.restart()
        self.generations.meet(life)

    @contextlib.asynccontextmanager
    async def trusting(self, silent_for: Callable[[], float]) -> AsyncIterator[None]:
        """Use memory only while this process hears of changes; `silent_for` tells for how long it has not (seconds)."""

        async def watch() -> None:
            while True:
                is_off = silent_for() > SILENCE_S
                if is_off != self.memory.is_off:
                    _LOG.warning(
                        "memory is %s: changes have been unheard for %.1f s", "off" if is_off else "on", silent_for()
                    )
                self.memory.is_off = is_off
                MEMORY_OFF.set(is_off)
                await asyncio.sleep(LOOK_EVERY_S)

        task = asyncio.create_task(watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def settle(self) -> None:
        """Wait for everything that is under way."""
        await self.pulse.close()
        for reader in self._all:
            await reader.settle()
        await self._fills.settle()

    async def _fetch_users(self, user_ids: Sequence[int]) -> Mapping[int, User | None]:
        with self.tallies.brought_along(user_ids) as brought:
            found = await tallies.fetch_people(self.database, user_ids)
            brought.keep({user_id: tally for user_id, (_, tally) in found.items()})
        return {user_id: user for user_id, (user, _) in found.items()}

    async def _fetch_names(self, keys: Sequence[str]) -> Mapping[str, int | None]:
        return {**await users.fetch_ids_by_name(self.database, keys)}

    async def _fetch_tallies(self, user_ids: Sequence[int]) -> Mapping[int, Tally]:
        return {**await tallies.fetch_tallies(self.database, user_ids)}

    async def _fetch_neighbours(self, user_ids: Sequence[int]) -> Mapping[int, Tally]:
        return await tallies.fetch_neighbours(self.database, user_ids)

    async def _fetch_followers(self, owner_ids: Sequence[int]) -> Mapping[int, Head]:
        return await self._fetch_heads(ListKind.FOLLOWERS, owner_ids)

    async def _fetch_following(self, owner_ids: Sequence[int]) -> Mapping[int, Head]:
        return await self._fetch_heads(ListKind.FOLLOWING, owner_ids)

    async def _fetch_heads(self, kind: ListKind, owner_ids: Sequence[int]) -> Mapping[int, Head]:
        found = await list_heads.fetch_heads(self.database, kind, owner_ids, HEAD)
        return {owner_id: Head(places, len(places) < HEAD * PLACE_BYTES) for owner_id, places in found.items()}

    async def _fetch_sides(self, keys: Sequence[SideKey]) -> Mapping[SideKey, Side]:
        return {key: await self._fetch_side(key.viewer_id) for key in keys}

    async def _fetch_side(self, viewer_id: int) -> Side:
        pairs = await relationships.fetch_side(self.database, viewer_id, SIDE + 1)
        return Side(pairs, complete=True) if len(pairs) <= SIDE else Side({}, complete=False)

    async def _fetch_pairs(self, keys: Sequence[PairKey]) -> Mapping[PairKey, Relationship]:
        others = {key.other_id: key for key in keys}  # all of one viewer: nobody else's are in one batch
        found = await relationships.fetch_relationships(self.database, keys[0].viewer_id, list(others))
        return {others[other_id]: pair for other_id, pair in found.items()}

    async def _fetch_blocks(self, keys: Sequence[SideKey]) -> Mapping[SideKey, Blocks]:
        return {key: await self._fetch_blocks_of(key.viewer_id) for key in keys}

    async def _fetch_blocks_of(self, viewer_id: int) -> Blocks:
        pairs = await lists.fetch_blocks(self.database, viewer_id, BLOCKS_AT_MOST + 1)
        return Blocks.among(pairs) if len(pairs) <= BLOCKS_AT_MOST else Blocks(None)


@contextlib.asynccontextmanager
async def open_caches(
    shards: ShardMap,
    ids: OpaqueIds,
    redis: Redis,
    bounds: Bounds = DEFAULT_BOUNDS,
    *,
    replicas: Replicas | None = None,
    digests: Digests | None = None,
) -> AsyncIterator[Caches]:
    """Open the caches, and keep watch over the generations of the cells, and over the servers behind Redis."""
    caches = Caches(shards, ids, redis, bounds, replicas=replicas, digests=digests)
    async with caches.generations.watched():
        try:
            with redis.lives.told_to(caches.meet):
                with contextlib.suppress(CacheUnavailable):
                    await redis.ping()
                await caches.generations.met()
                yield caches
        finally:
            await caches.settle()
