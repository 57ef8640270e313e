"""What is remembered in Redis: values with the version of their row, or with the epoch under which they were read.

A versioned value is replaced only by one of a higher version: enough for what soon ends by itself, for the higher one
may be lost before a late fill comes. A stamped value is stored only while its epoch is still the one that was seen
before the database was read, and is used only under that epoch: no late fill hides a change, whatever was lost.
"""

import random
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

from redis.exceptions import RedisError

from storage.epochs import EPOCH_LIVES_S, new_epoch
from storage.exchanges import Command
from storage.redis_client import CacheUnavailable, Redis
from storage.scripts import Call, Script, call_for_each

_HEAD: Final = 8
_JITTER: Final = 0.1
_CLAIM_MS: Final = 100
_WORD_LIVES_S: Final = 60
_SCANNED: Final = 500
FEW: Final = 8
"""How many epochs are begun where they may be missing, before anything is known of them: a round trip costs more."""

_WRITE_NEWER: Final = Script(
    """
for at = 1, #KEYS do
  local version = ARGV[at * 3 - 2]
  local held = redis.call('GETRANGE', KEYS[at], 0, 7)
  if #held ~= 8 or held <= version then
    redis.call('SET', KEYS[at], version .. ARGV[at * 3 - 1], 'PX', ARGV[at * 3])
  end
end
"""
)

_WRITE_UNDER_EPOCH: Final = Script(
    """
for at = 1, #KEYS / 2 do
  local epoch = ARGV[at * 3 - 2]
  if redis.call('GET', KEYS[at * 2 - 1]) == epoch then
    redis.call('SET', KEYS[at * 2], epoch .. ARGV[at * 3 - 1], 'PX', ARGV[at * 3])
  end
end
"""
)


class Versioned(NamedTuple):
    """A value to store: its key, the version of its row, its bytes, and how long it is kept (seconds)."""

    key: str
    version: int
    value: bytes
    ttl: float


class Stamped(NamedTuple):
    """A value to store under an epoch, as seen before the value was read."""

    key: str
    epoch_key: str
    epoch: bytes
    value: bytes
    ttl: float


async def read_versioned(redis: Redis, keys: Sequence[str]) -> list[bytes | None]:
    """Read many values in one round trip, None where there is none; raises CacheUnavailable."""
    return [found[_HEAD:] if found is not None else None for found in await redis.read(keys)]


async def read_stamped(redis: Redis, keys: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes | None]]:
    """Read values with the epochs that they must be under; raises CacheUnavailable.

    Takes the keys of an epoch and a value, and gives the epoch and the value, None where there is none. An epoch that
    is not there begins, as what is read afterwards must have one to be stored under. It takes one round trip; of many
    epochs most will be there, and a second one begins the others.
    """
    if len(keys) <= FEW:
        epochs, found = await _begin_and_read(redis, [epoch for epoch, _ in keys], [key for _, key in keys])
    else:
        names = list(dict.fromkeys([epoch for epoch, _ in keys]))
        known = await redis.read([*names, *[key for _, key in keys]])
        epochs = {name: epoch for name, epoch in zip(names, known, strict=False) if epoch is not None}
        found = known[len(names) :]
        if lacking := [name for name in names if name not in epochs]:
            epochs |= (await _begin_and_read(redis, lacking, ()))[0]
    return [_under(epochs[name], value) for (name, _), value in zip(keys, found, strict=True)]


async def _begin_and_read(
    redis: Redis, names: Sequence[str], keys: Sequence[str]
) -> tuple[dict[str, bytes], list[bytes | None]]:
    """Give epochs, which begin unless they are there or somebody else begins them, and then what is there of keys."""
    begun = dict.fromkeys(names, new_epoch())  # one for all: an epoch is only compared with others of the same person
    begin: list[Command] = [("SET", name, epoch, "NX", "GET", "EX", EPOCH_LIVES_S) for name, epoch in begun.items()]
    answers = await redis.exchange([*begin, *(("GET", key) for key in keys)])
    held = {name: epoch for name, epoch in zip(begun, answers, strict=False) if epoch is not None}
    return {**begun, **held}, answers[len(begun) :]


def _under(epoch: bytes, found: bytes | None) -> tuple[bytes, bytes | None]:
    return epoch, found[_HEAD:] if found is not None and found[:_HEAD] == epoch else None


async def write_newer(redis: Redis, entries: Sequence[Versioned]) -> None:
    """Store values whose versions are not below those that are there; raises CacheUnavailable."""
    await write(redis, (), entries)


async def write_under_epoch(redis: Redis, entries: Sequence[Stamped]) -> None:
    """Store values whose epochs are still those that were seen; raises CacheUnavailable."""
    await write(redis, entries, ())


async def write(redis: Redis, stamped: Sequence[Stamped], versioned: Sequence[Versioned]) -> None:
    """Store values of both sorts in one round trip; raises CacheUnavailable."""
    under_epoch: list[Call] = [
        ((one.epoch_key, one.key), (one.epoch, one.value, _milliseconds(one.ttl))) for one in stamped
    ]
    newer: list[Call] = [
        ((one.key,), (struct.pack(">Q", one.version), one.value, _milliseconds(one.ttl))) for one in versioned
    ]
    await call_for_each(redis, (_WRITE_UNDER_EPOCH, under_epoch), (_WRITE_NEWER, newer))


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
    return int(ttl * 1000 * (1 - _JITTER * random.random()))  # noqa: S311 - no secret


def word(key: str, version: int) -> list[Command]:
    """Give the command that notes for a minute that a version was told; none where there is no version."""
    return [("SET", key, version, "EX", _WORD_LIVES_S)] if version else []


async def read_word(redis: Redis, key: str) -> int:
    """Give the version that was told lately, 0 where none is known of; raises CacheUnavailable."""
    [held] = await redis.read([key])
    return int(held or 0)
