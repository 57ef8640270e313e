"""What is remembered, in Redis and in processes, compared with what the cells say.

Once nothing changes any more, an entry that would be used and differs is a fault. What ended by its epoch or its
generation is used by nobody, and passed over.
"""

import asyncio
import collections
import contextlib
import dataclasses
import datetime as dt
import functools
import itertools
import re
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from domain.hidden_edges import HiddenEdges
from domain.ids import cell_of
from domain.tallies import Blocked
from domain.usernames import username_key
from loaders import hidden_edges
from loaders.caches import Caches
from loaders.inspection import Line, fingerprint
from loaders.kinds import BLOCKS, NAMES, PAIRS, SIDES, Kind, PairKey, SideKey
from storage import lists, tallies
from storage.entries import read_stamped, read_versioned, scan
from storage.redis_client import CacheUnavailable, Redis

T = TypeVar("T")
PAGE: Final = 100
PAUSES_S: Final = (0.1, 0.5, 1.0, 2.0, 2.0)
"""After which a Redis is asked again that was late: nobody waits for this."""
_ENTRY: Final = re.compile(rb"([a-z]+)([0-9]+):\{([0-9a-f]+)\}(.*)")


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A value that would be used, by where it is remembered."""

    where: str
    kind: str
    key: Hashable
    digest: str


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """How many entries were compared, by place, and those that the database contradicts."""

    compared: Mapping[str, int]
    stale: frozenset[Entry]


async def compare(caches: Caches, redis: Redis, processes: Mapping[str, Sequence[Line]]) -> Report:
    """Compare Redis, and what processes say that they remember; `caches` are the checker's own.

    Raises:
        Overloaded: a cell does not answer.
        CacheUnavailable: nor does Redis.
    """
    await asyncio.gather(*map(caches.generations.look, caches.database.shards.cells))
    entries = await _in_redis(caches, redis)
    for where, lines in processes.items():
        entries += [entry for line in lines if (entry := await _in_memory(caches, where, line)) is not None]
    stale: set[Entry] = set()
    for kind, group in _by_kind(entries).items():
        truth = await _truth(caches, kind, {entry.key for entry in group})
        stale |= {entry for entry in group if truth[entry.key] != entry.digest}
    return Report(collections.Counter(entry.where for entry in entries), frozenset(stale))


async def _insist(ask: Callable[[], Awaitable[T]]) -> T:
    for pause in PAUSES_S:
        with contextlib.suppress(CacheUnavailable):
            return await ask()
        await asyncio.sleep(pause)
    return await ask()


async def _begin(caches: Caches, viewer_id: int) -> bytes:
    async def begin() -> bytes:
        epoch = await caches.begin(viewer_id)
        if epoch is None:
            raise CacheUnavailable
        return epoch

    return await _insist(begin)


def _by_kind(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    grouped: dict[str, list[Entry]] = {}
    for entry in entries:
        grouped.setdefault(entry.kind, []).append(entry)
    return grouped


async def _in_memory(caches: Caches, where: str, line: Line) -> Entry | None:
    key: Any = tuple(line.key) if isinstance(line.key, list | tuple) else line.key
    match line.kind:
        case SIDES.name | BLOCKS.name:
            key = SideKey(key[0], bytes.fromhex(key[1]))
        case PAIRS.name:
            key = PairKey(key[0], bytes.fromhex(key[1]), key[2])
        case hidden_edges.NAME:
            key = (key[0], bytes.fromhex(key[1]), *key[2:])
            if (await _fetch_blocked(caches, key[0])).digest() != key[1]:
                return None
    if isinstance(key, SideKey | PairKey) and await _begin(caches, key.viewer_id) != key.epoch:
        return None
    return Entry(where, line.kind, key, line.digest)


async def _fetch_blocked(caches: Caches, viewer_id: int) -> Blocked:
    return Blocked(await lists.fetch_blocked_ids(caches.database, viewer_id, dt.datetime.now(dt.UTC)))


async def _in_redis(caches: Caches, redis: Redis) -> list[Entry]:
    async def list_names() -> list[bytes]:
        return [name async for name in scan(redis)]

    names = await _insist(list_names)
    found = [match for name in names if (match := _ENTRY.fullmatch(name)) and match[1].decode() in caches.readers]
    pages = (found[at : at + PAGE] for at in range(0, len(found), PAGE))
    return [entry for page in pages for entry in await _read(caches, redis, page)]


async def _read(caches: Caches, redis: Redis, page: Sequence[re.Match[bytes]]) -> list[Entry]:
    """Read the entries of a page of keys that hold under their epochs and generations."""
    entries: list[Entry] = []
    for kind_name, found in itertools.groupby(sorted(page, key=lambda match: match[1]), lambda match: match[1]):
        kind = caches.readers[kind_name.decode()].kind
        current = [match for match in found if _is_current(caches, kind, match)]
        if kind.name == NAMES.name:
            entries += await _read_names(caches, redis, [match[0].decode() for match in current])
        elif kind.epoch_of is not None:
            keys = [_key(kind, match) for match in current]
            names = [(kind.epoch_of(key), match[0].decode()) for key, match in zip(keys, current, strict=True)]
            stored = await _insist(functools.partial(read_stamped, redis, names)) if names else []
            entries += [
                Entry("redis", kind.name, key, fingerprint(kind.decode(value)))
                for key, (_, value) in zip(keys, stored, strict=True)
                if value is not None
            ]
    return entries


def _is_current(caches: Caches, kind: Kind[Any, Any], match: re.Match[bytes]) -> bool:
    cell = 0 if kind.name == NAMES.name else cell_of(int(match[3]))
    return caches.generations.of(cell) == int(match[2])


def _key(kind: Kind[Any, Any], match: re.Match[bytes]) -> Any:
    owner, rest = int(match[3]), match[4].decode()
    if kind.name in (SIDES.name, BLOCKS.name):
        return SideKey(owner, b"")
    if kind.name == PAIRS.name:
        return PairKey(owner, b"", int(rest))
    return owner


async def _read_names(caches: Caches, redis: Redis, names: Sequence[str]) -> list[Entry]:
    """Read whose names are remembered. That one is free is remembered for 2 s, and cannot be told from a digest."""
    stored = await _insist(functools.partial(read_versioned, redis, names)) if names else []
    owners = {name: NAMES.decode(value) for name, value in zip(names, stored, strict=True) if value}
    users = await caches.users.load([owner for owner in owners.values() if owner is not None], direct=True)
    generation = caches.generations.of(0) or 0
    entries = []
    for name, owner in owners.items():
        user = users[owner] if owner is not None else None
        key = username_key(user.username) if user is not None else None
        known = key is not None and NAMES.key(generation, key) == name
        entries.append(Entry("redis", NAMES.name, key if known else name, fingerprint(owner)))
    return entries


async def _truth(caches: Caches, kind: str, keys: Iterable[Any]) -> dict[Any, str]:
    """Read values from the cells alone, as digests. What is a viewer's own is asked for one viewer at a time."""
    if kind == hidden_edges.NAME:
        return {key: fingerprint(await _fetch_edges(caches, *key)) for key in keys}
    truth: dict[Any, str] = {}
    for page in _pages(keys, of_viewers=kind == PAIRS.name):
        found = await caches.readers[kind].load(page, direct=True)
        truth.update({key: fingerprint(value) for key, value in found.items()})
    return truth


async def _fetch_edges(caches: Caches, viewer_id: int, _digest: bytes, *changed: int) -> HiddenEdges:
    edges = HiddenEdges(await _fetch_blocked(caches, viewer_id))
    edges.fill(await tallies.fetch_neighbours(caches.database, edges.blocked.ids))
    edges.changed.update(changed)
    return edges


def _pages(keys: Iterable[Any], *, of_viewers: bool) -> list[list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for key in keys:
        groups.setdefault(key.viewer_id if of_viewers else None, []).append(key)
    return [group[at : at + PAGE] for group in groups.values() for at in range(0, len(group), PAGE)]
