"""What is remembered in Redis: values with the version of their row, or with the epoch under which they were read.

A versioned value is replaced only by one of a higher version: enough for what soon ends by itself, for the higher one
may be lost before a late fill comes. A stamped value is stored only while its epoch is still the one that was seen
before the database was read, and is used only under that epoch: no late fill hides a change, whatever was lost.
"""

import dataclasses
import random
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Final

from redis.exceptions import RedisError

from storage.epochs import EPOCH_LIVES_S, new_epoch
from storage.exchanges import Command
from storage.redis_client import CacheUnavailable, Redis

_HEAD: Final = 8
_JITTER: Final = 0.1
_CLAIM_MS: Final = 100
_WORD_LIVES_S: Final = 60
_SCANNED: Final = 500

_WRITE_NEWER: Final = """
local held = redis.call('GETRANGE', KEYS[1], 0, 7)
if #held == 8 and held > ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
return 1
"""

_WRITE_UNDER_EPOCH: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
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
    """A value to store under an epoch, as seen before the value was read."""

    key: str
    epoch_key: str
    epoch: bytes
    value: bytes
    ttl: float


async def read_versioned(redis: Redis, keys: Sequence[str]) -> list[bytes | None]:
    """Read many values in one round trip, None where there is none; raises CacheUnavailable."""
    answers = await redis.exchange([("GET", key) for key in keys])
    return [found[_HEAD:] if found is not None else None for found in answers]


async def read_stamped(redis: Redis, keys: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes | None]]:
    """Read values with the epochs that they must be under, in one round trip; raises CacheUnavailable.

    Takes the keys of an epoch and a value, and gives the epoch and the value, None where there is none. An epoch that
    is not there begins: what is read afterwards must have one to be stored under.
    """
    proposed = [new_epoch() for _ in keys]
    commands: list[Command] = []
    for (epoch, key), begun in zip(keys, proposed, strict=True):
        commands += [("SET", epoch, begun, "NX", "GET", "EX", EPOCH_LIVES_S), ("GET", key)]
    answers = await redis.exchange(commands)
    epochs = [found or begun for found, begun in zip(answers[::2], proposed, strict=True)]
    return [_under(epoch, found) for epoch, found in zip(epochs, answers[1::2], strict=True)]


def _under(epoch: bytes, found: bytes | None) -> tuple[bytes, bytes | None]:
    return epoch, found[_HEAD:] if found is not None and found[:_HEAD] == epoch else None


async def write_newer(redis: Redis, entries: Sequence[Versioned]) -> None:
    """Store values whose versions are not below those that are there; raises CacheUnavailable."""
    await redis.exchange(
        [
            (
                "EVAL",
                _WRITE_NEWER,
                1,
                entry.key,
                struct.pack(">Q", entry.version),
                entry.value,
                _milliseconds(entry.ttl),
            )
            for entry in entries
        ]
    )


async def write_under_epoch(redis: Redis, entries: Sequence[Stamped]) -> None:
    """Store values whose epochs are still those that were seen; raises CacheUnavailable."""
    await redis.exchange(
        [
            ("EVAL", _WRITE_UNDER_EPOCH, 2, one.epoch_key, one.key, one.epoch, one.value, _milliseconds(one.ttl))
            for one in entries
        ]
    )


async def claim_fills(redis: Redis, keys: Sequence[str]) -> frozenset[str]:
    """Claim, for 100 ms, the filling of keys among all processes; gives those claimed; raises CacheUnavailable."""
    answers = await redis.exchange([("SET", f"fill:{key}", b"", "NX", "PX", _CLAIM_MS) for key in keys])
    return frozenset(key for key, claimed in zip(keys, answers, strict=True) if claimed)


async def scan(redis: Redis) -> AsyncIterator[bytes]:
    """Give every key, for tools: all the time they were there, or else perhaps; raises CacheUnavailable."""
    try:
        async for key in redis.client.scan_iter(count=_SCANNED):
            yield key
    except (RedisError, OSError) as error:
        raise CacheUnavailable from error


def _milliseconds(ttl: float) -> int:
    """Spread ends, so that what was stored together is not missed together."""
    return int(ttl * 1000 * random.uniform(1 - _JITTER, 1))  # noqa: S311 - no secret


def word(key: str, version: int) -> list[Command]:
    """Give the command that notes for a minute that a version was told; none where there is no version."""
    return [("SET", key, version, "EX", _WORD_LIVES_S)] if version else []


async def read_word(redis: Redis, key: str) -> int:
    """Give the version that was told lately, 0 where none is known of; raises CacheUnavailable."""
    return int(await redis.run(lambda client: client.get(key)) or 0)
