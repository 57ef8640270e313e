"""What is remembered in Redis: values with the version of their row, or with the epoch under which they were read.

A versioned value is replaced only by one of a higher version; a stamped one is stored only while its owner's epoch is
still the one that was seen before the database was read, and is used only under that epoch. A fill that comes late
therefore never hides a change.
"""

import dataclasses
import random
import struct
from collections.abc import Sequence
from typing import Any, Final

from storage.epochs import EPOCH_LIVES_S, epoch_key, new_epoch
from storage.redis_client import Redis

_HEAD: Final = 8
_JITTER: Final = 0.1
_WORD_LIVES_S: Final = 60

_WRITE_NEWER: Final = """
local held = redis.call('GETRANGE', KEYS[1], 0, 7)
if #held == 8 and held > ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
return 1
"""

_WRITE_UNDER_EPOCH: Final = f"""
local epoch = redis.call('GET', KEYS[1])
if not epoch then
    if ARGV[1] ~= '' then return 0 end
    epoch = ARGV[2]
    redis.call('SET', KEYS[1], epoch, 'EX', {EPOCH_LIVES_S})
elseif epoch ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[2], epoch .. ARGV[3], 'PX', ARGV[4])
return 1
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Versioned:
    """A value to store: its key, the version of its row, its bytes, and how long it is kept (seconds)."""

    key: str
    version: int
    value: bytes
    ttl: float


@dataclasses.dataclass(frozen=True, slots=True)
class Stamped:
    """A value to store under its owner's epoch, as seen (None: there was none) before the value was read."""

    key: str
    owner_id: int
    epoch: bytes | None
    value: bytes
    ttl: float


async def read_versioned(redis: Redis, keys: Sequence[str]) -> list[bytes | None]:
    """Read many values in one round trip, None where there is none; raises CacheUnavailable."""

    async def work(client: Any) -> list[bytes | None]:
        pipeline: Any = client.pipeline(transaction=False)
        for key in keys:
            pipeline.get(key)
        return [found[_HEAD:] if found is not None else None for found in await pipeline.execute()]

    return await redis.run(work)


async def read_stamped(redis: Redis, keys: Sequence[tuple[int, str]]) -> list[tuple[bytes | None, bytes | None]]:
    """Read the epochs of owners and the values that hold under them, in one round trip; raises CacheUnavailable.

    Each key comes with its owner, and gives the owner's epoch and the value, None where there is none.
    """

    async def work(client: Any) -> list[bytes | None]:
        pipeline: Any = client.pipeline(transaction=False)
        for owner_id, key in keys:
            pipeline.get(epoch_key(owner_id)).get(key)
        answers: list[bytes | None] = await pipeline.execute()
        return answers

    answers = await redis.run(work)
    return [_under(epoch, found) for epoch, found in zip(answers[::2], answers[1::2], strict=True)]


def _under(epoch: bytes | None, found: bytes | None) -> tuple[bytes | None, bytes | None]:
    holds = epoch is not None and found is not None and found[:_HEAD] == epoch
    return epoch, found[_HEAD:] if holds and found is not None else None


async def write_newer(redis: Redis, entries: Sequence[Versioned]) -> None:
    """Store values whose versions are not below those that are there; raises CacheUnavailable."""

    async def work(client: Any) -> None:
        pipeline: Any = client.pipeline(transaction=False)
        for entry in entries:
            head = struct.pack(">Q", entry.version)
            pipeline.eval(_WRITE_NEWER, 1, entry.key, head, entry.value, _milliseconds(entry.ttl))
        await pipeline.execute()

    await redis.run(work)


async def write_under_epoch(redis: Redis, entries: Sequence[Stamped]) -> None:
    """Store values whose owners' epochs are still those that were seen; raises CacheUnavailable."""

    async def work(client: Any) -> None:
        pipeline: Any = client.pipeline(transaction=False)
        for entry in entries:
            seen, life = entry.epoch or b"", _milliseconds(entry.ttl)
            keys = (epoch_key(entry.owner_id), entry.key)
            pipeline.eval(_WRITE_UNDER_EPOCH, 2, *keys, seen, new_epoch(), entry.value, life)
        await pipeline.execute()

    await redis.run(work)


def _milliseconds(ttl: float) -> int:
    """Spread ends, so that what was stored together is not missed together."""
    return int(ttl * 1000 * random.uniform(1 - _JITTER, 1))  # noqa: S311 - no secret


async def leave_word(redis: Redis, key: str, version: int) -> None:
    """Note for a minute that a version was told; raises CacheUnavailable."""
    await redis.run(lambda client: client.set(key, version, ex=_WORD_LIVES_S))


async def read_word(redis: Redis, key: str) -> int:
    """Give the version that was told lately, 0 where none is known of; raises CacheUnavailable."""
    return int(await redis.run(lambda client: client.get(key)) or 0)
