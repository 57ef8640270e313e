"""How many connections each person has, in all processes together: leases in Redis, renewed for as long as they last.

A process that dies renews nothing, and what it held is free again when its leases run out. Where Redis does not answer
everybody has room, and the count of each process by itself is what is left.
"""

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Final

from domain import deadlines
from storage.redis_client import CacheUnavailable, Redis

LEASE_S: Final = 30.0
_RENEWALS: Final = 3
"""How often a lease is renewed before it would run out."""
_AT_ONCE: Final = 100
_LOG: Final = logging.getLogger(__name__)

# Redis's own clock, so that those of the processes need not agree. KEYS: the person's leases by when they run out.
_NOW: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""
_TAKE: Final = (
    _NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""
)
_RENEW: Final = (
    _NOW
    + """
for place = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[place]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""
)


class LineLeases:
    """The leases that this process holds."""

    def __init__(self, redis: Redis, lease: float = LEASE_S) -> None:
        self._redis = redis
        self._lease_ms = round(lease * 1000)
        self._renew_every = lease / _RENEWALS
        self._process = secrets.token_hex(8)
        self._numbers = itertools.count()
        self._held: dict[int, set[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def renewing(self) -> AsyncIterator["LineLeases"]:
        """Renew what is held until the context closes."""
        renewing = asyncio.create_task(self._renew_again_and_again())
        try:
            yield self
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, *self._tasks, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def held(self, user_id: int, most: int) -> AsyncIterator[bool]:
        """Hold one of the `most` connections that a person may have; False where all of them are held."""
        name = f"{self._process}:{next(self._numbers)}"
        self._held.setdefault(user_id, set()).add(name)
        try:
            has_room = await self._take(user_id, most, name)
            if not has_room:
                self._let_go(user_id, name)
            yield has_room
        finally:
            if name in self._held.get(user_id, ()):
                self._let_go(user_id, name)
                self._start(self._give_back(user_id, name))

    def _let_go(self, user_id: int, name: str) -> None:
        self._held[user_id].discard(name)
        if not self._held[user_id]:
            del self._held[user_id]

    async def _take(self, user_id: int, most: int, name: str) -> bool:
        key, lease = _key(user_id), self._lease_ms
        try:
            return bool(await self._redis.run(lambda client: client.eval(_TAKE, 1, key, lease, most, name)))
        except CacheUnavailable:
            return True

    async def _give_back(self, user_id: int, *names: str) -> None:
        """Free leases at once; one that Redis does not hear of runs out by itself."""
        with contextlib.suppress(CacheUnavailable):
            await self._redis.run(lambda client: client.zrem(_key(user_id), *names))

    async def _renew_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(self._renew_every)
            held = {user_id: sorted(names) for user_id, names in self._held.items()}
            for some in _cut(held):
                await self._renew(some)

    async def _renew(self, held: Mapping[int, Sequence[str]]) -> None:
        try:
            await self._redis.run(lambda client: _renew(client, held, self._lease_ms))
        except CacheUnavailable:
            _LOG.info("leases of connections were not renewed")
        for user_id, names in held.items():
            gone = [name for name in names if name not in self._held.get(user_id, ())]
            if gone:  # given back while they were renewed, and perhaps before it
                await self._give_back(user_id, *gone)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        with deadlines.under(None):
            task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _key(user_id: int) -> str:
    return f"lines:{{{user_id}}}"


def _cut(held: Mapping[int, Sequence[str]]) -> Iterator[Mapping[int, Sequence[str]]]:
    users = iter(held)
    while some := list(itertools.islice(users, _AT_ONCE)):
        yield {user_id: held[user_id] for user_id in some}


async def _renew(client: Any, held: Mapping[int, Sequence[str]], lease_ms: int) -> None:
    pipeline: Any = client.pipeline(transaction=False)
    for user_id, names in held.items():
        pipeline.eval(_RENEW, 1, _key(user_id), lease_ms, *names)
    await pipeline.execute()
