"""What a change does about everything that is remembered of it, before it answers: in Redis and in this process."""

import asyncio
import contextlib
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

from domain import deadlines
from domain.relationships import Relationship
from storage.cells import Cell, ShardMap
from storage.channels import Notice, give_notice
from storage.entries import Versioned, read_word, word, write_newer
from storage.epochs import Changed, Succession, announcement, epoch_key, new_epoch, profile_epoch_key, renewals
from storage.exchanges import Command
from storage.generations import LEASE_S, Generations
from storage.redis_client import CacheUnavailable, Redis
from storage.untold import Untold

NAME_TTL_S: Final = 30.0
ATTEMPTS: Final = 3
_MARGIN_S: Final = 0.3


class Freshness(Protocol):
    """Is told of every change after its commit, and returns when no read that starts later can miss it."""

    async def pair_changed(
        self, one_id: int, other_id: int, *, stricter: bool, version: int = 0, pair: Relationship | None = None
    ) -> None:
        """Take note that what two people are to each other may have changed; `stricter` where somebody sees less.

        `pair` is what the one is to the other now, where nothing else has changed of what either is to others.
        """

    async def user_changed(self, user_id: int, *, stricter: bool, version: int = 0) -> None:
        """Take note of a profile's or policy's new version; `stricter` where somebody may see less."""

    async def pair_heard(self, one_id: int, other_id: int, version: int) -> None:
        """Take note of what an event tells, unless that has been done: its maker may have died before."""

    async def user_heard(self, user_id: int, version: int) -> None:
        """Take note of what an event tells, unless that has been done: its maker may have died before."""

    async def name_claimed(self, name_key: str, user_id: int) -> None:
        """Take note of a name's new owner."""

    async def name_released(self, name_key: str) -> None:
        """Take note that a name leads to nobody."""

    async def tokens_revoked(self, user_id: int) -> None:
        """Take note that tokens of a person count no more; who does not hear of it reads it a few seconds later."""


class NothingRemembered:
    """The freshness of a world in which no process remembers anything."""

    async def pair_changed(
        self, one_id: int, other_id: int, *, stricter: bool, version: int = 0, pair: Relationship | None = None
    ) -> None:
        """Do nothing."""

    async def pair_heard(self, one_id: int, other_id: int, version: int) -> None:
        """Do nothing."""

    async def user_heard(self, user_id: int, version: int) -> None:
        """Do nothing."""

    async def user_changed(self, user_id: int, *, stricter: bool, version: int = 0) -> None:
        """Do nothing."""

    async def name_claimed(self, name_key: str, user_id: int) -> None:
        """Do nothing."""

    async def name_released(self, name_key: str) -> None:
        """Do nothing."""

    async def tokens_revoked(self, user_id: int) -> None:
        """Do nothing."""


def _word_of_pair(one_id: int, other_id: int) -> str:
    low, high = sorted((one_id, other_id))
    return f"told:{{{low}}}{high}"


def _word_of_user(user_id: int) -> str:
    return f"told:{{{user_id}}}"


def name_entry_key(generation: int, name_key: str) -> str:
    """Name the key under which a name's owner is remembered: by a digest, a name is not to be read off a key."""
    return f"name{generation}:{{{hashlib.blake2b(name_key.encode(), digest_size=16).hexdigest()}}}"


def encode_name(user_id: int | None) -> bytes:
    """Write a name's owner as it is remembered; a free name is no bytes."""
    return user_id.to_bytes(8) if user_id is not None else b""


@dataclasses.dataclass(frozen=True, slots=True)
class Remembered:
    """Tells Redis of each change, and this process through `forget`.

    Where Redis does not confirm, a new generation begins; a change by which somebody sees less then also waits until
    no process can use what it remembered before.
    """

    redis: Redis
    shards: ShardMap
    generations: Generations
    forget: Changed
    forget_name: Callable[[str], None]
    succeed: Callable[[Succession], None] = lambda _succession: None
    """Is told what of a viewer's side need not be forgotten."""
    untold: Untold = dataclasses.field(default_factory=Untold)

    async def pair_changed(
        self, one_id: int, other_id: int, *, stricter: bool, version: int = 0, pair: Relationship | None = None
    ) -> None:
        """Give both people new epochs, list them as changed, and leave word of the version that was told."""
        people = (one_id, other_id)
        told = word(_word_of_pair(*people), version)
        renewed = await self._tell(people, map(epoch_key, people), told, waits=stricter)
        if pair is not None:
            for user_id, another_id, side in ((one_id, other_id, pair), (other_id, one_id, pair.mirrored())):
                before, after = renewed.get(epoch_key(user_id), (None, b""))
                if before is not None:
                    self.succeed(Succession(user_id, before, after, another_id, side))

    async def pair_heard(self, one_id: int, other_id: int, version: int) -> None:
        """Give both people new epochs, unless word was left that it was done."""
        with contextlib.suppress(CacheUnavailable):
            if await read_word(self.redis, _word_of_pair(one_id, other_id)) >= version:
                return
        await self.pair_changed(one_id, other_id, stricter=False, version=version)

    async def user_heard(self, user_id: int, version: int) -> None:
        """End what is remembered of a profile, unless word was left that it was done."""
        with contextlib.suppress(CacheUnavailable):
            if await read_word(self.redis, _word_of_user(user_id)) >= version:
                return
        await self.user_changed(user_id, stricter=False, version=version)

    async def user_changed(self, user_id: int, *, stricter: bool, version: int = 0) -> None:
        """Give the profile a new epoch, list the person as changed, and leave word of the version that was told.

        The new profile is not written there: nothing would keep it from being the older of two.
        """
        told = word(_word_of_user(user_id), version)
        await self._tell((user_id,), [profile_epoch_key(user_id)], told, waits=stricter)

    async def name_claimed(self, name_key: str, user_id: int) -> None:
        """Write the name over its having been free."""
        await self._write_name(name_key, user_id, version=1)

    async def name_released(self, name_key: str) -> None:
        """Write over the name's holder that there is none; a name that is taken back is found some seconds later."""
        await self._write_name(name_key, None, version=2)

    async def _write_name(self, name_key: str, user_id: int | None, *, version: int) -> None:
        generation = self.generations.of(self.shards.directory.number)
        # Redis that is away holds nothing back: what it remembers of names ends by itself in half a minute.
        with contextlib.suppress(CacheUnavailable):
            if generation is not None:
                key = name_entry_key(generation, name_key)
                await write_newer(self.redis, [Versioned(key, version, encode_name(user_id), NAME_TTL_S)])
        self.forget_name(name_key)

    async def tokens_revoked(self, user_id: int) -> None:
        """Call every process that checks tokens."""
        with deadlines.under(None):
            await give_notice(self.redis, Notice(revoked_of=user_id))

    async def _tell(
        self, people: Sequence[int], epochs: Iterable[str], told: Sequence[Command], *, waits: bool
    ) -> Mapping[str, tuple[bytes | None, bytes]]:
        """Renew epochs, then list people as changed, and leave word of it for whoever would do it again.

        In this order: whoever hears of the change must not find in Redis once more what was there before.
        Gives the epochs by key, the one before and the new one, as far as Redis has confirmed them.
        """
        keys, renewed = sorted(set(epochs)), dict[str, tuple[bytes | None, bytes]]()

        async def work() -> None:
            after = {key: new_epoch() for key in keys}  # an attempt that comes late brings back none of another's
            answers = await self.redis.in_order(renewals(after), announcement(people), told)
            renewed.update(zip(keys, zip(answers, after.values(), strict=False), strict=False))

        with deadlines.under(None):  # it has been committed: what was remembered must go, whatever the time
            await self._insist(people, work, waits=waits)
        return renewed

    async def _insist(self, people: Sequence[int], work: Callable[[], Awaitable[None]], *, waits: bool) -> None:
        try:
            if await _is_done(work):
                self.untold.told()
            else:
                self.untold.another()
                await self._begin_generation(people, waits=waits)
        finally:
            self.forget(people)

    async def _begin_generation(self, people: Collection[int], *, waits: bool) -> None:
        cells: dict[Cell, None] = dict.fromkeys(map(self.shards.home, people))
        await asyncio.gather(*(self.generations.begin(cell) for cell in cells))
        if waits:
            await asyncio.sleep(LEASE_S + _MARGIN_S)


async def _is_done(work: Callable[[], Awaitable[None]]) -> bool:
    """Try a few times, and tell whether Redis confirmed it."""
    for _ in range(ATTEMPTS):
        with contextlib.suppress(CacheUnavailable):
            await work()
            return True
    return False


@contextlib.asynccontextmanager
async def open_freshness(shards: ShardMap, redis: Redis) -> AsyncIterator[Remembered]:
    """Open the freshness of a process that remembers nothing itself, and tells the others of what it changes."""
    generations = Generations(shards, lost=lambda: None)
    async with generations.watched():
        yield Remembered(redis, shards, generations, forget=lambda _ids: None, forget_name=lambda _key: None)
