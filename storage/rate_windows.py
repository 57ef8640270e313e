"""How often something was done lately: sliding windows of the library `limits`, in Redis or else in this process."""

import asyncio
import datetime as dt
import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, SlidingWindowCounterSupport, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.storage import RedisStorage

from domain.rate_limits import Rate, Standing
from storage.exchanges import Command
from storage.redis_client import CacheUnavailable, Redis, ScriptUnknown
from storage.scripts import Script

T = TypeVar("T")

_NAMESPACE: Final = "rate"
_REMEMBERED: Final = 10_000
_ACQUIRE: Final = Script(RedisStorage.SCRIPT_ACQUIRE_SLIDING_WINDOW.decode())


class _Shared(Storage, SlidingWindowCounterSupport):
    """Windows in Redis, through its one door; the scripts are the library's, its own clients would wait for minutes."""

    STORAGE_SCHEME = None

    def __init__(self, redis: Redis) -> None:
        super().__init__()
        self._redis = redis

    @property
    def base_exceptions(self) -> type[Exception]:
        """Name what it raises where Redis does not answer."""
        return CacheUnavailable

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a counter that lives for `expiry` seconds from its first addition on."""

        async def work(client: Any) -> int:
            pipeline: Any = client.pipeline(transaction=False)
            pipeline.incrby(key, amount).expire(key, expiry, nx=True)
            return int((await pipeline.execute())[0])

        return await self._redis.run(work)

    async def get(self, key: str) -> int:
        """Read a counter."""
        return int(await self._redis.run(lambda client: client.get(key)) or 0)

    async def get_expiry(self, key: str) -> float:
        """Tell when a counter ends (seconds since 1970)."""
        milliseconds: int = await self._redis.run(lambda client: client.pttl(key))
        return time.time() + max(0, milliseconds) / 1000

    async def check(self) -> bool:
        """Tell whether Redis answers."""
        await self._redis.ping()
        return True

    async def reset(self) -> int | None:
        """Clear nothing: other processes count here as well."""
        return None

    async def clear(self, key: str) -> None:
        """Remove a counter."""
        await self._redis.run(lambda client: client.delete(key))

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count, unless that would be too many."""
        script, keys = _ACQUIRE.text, _keys(key)
        return bool(await self._redis.run(lambda client: client.eval(script, 2, *keys, limit, expiry, amount)))

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Read the previous window and this one: what they count, and how many seconds each is kept."""
        script, keys = RedisStorage.SCRIPT_SLIDING_WINDOW, _keys(key)
        before, before_ms, now, now_ms = await self._redis.run(lambda client: client.eval(script, 2, *keys, expiry))
        lives = max(0, now_ms) / 1000  # this one is kept for as long again as it is counted
        return int(before or 0), max(0, before_ms) / 1000, int(now or 0), max(0.0, lives - expiry)

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Remove both windows."""
        del expiry
        await self._redis.run(lambda client: client.delete(*_keys(key)))


def _keys(key: str) -> tuple[str, str]:
    """Name the previous window and this one; both lie in one slot of a cluster."""
    return f"{{{key}}}/before", f"{{{key}}}/now"


class Hits(NamedTuple):
    """What is being counted: in which windows, by which calls of the script, and the answers to them."""

    named: Sequence[tuple[RateLimitItemPerSecond, Sequence[str]]]
    calls: Sequence[Command]
    asked: asyncio.Future[list[Any]] | None


class RateWindows:
    """Counts what is done; where Redis does not answer, what is done in this process."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._shared = SlidingWindowCounterRateLimiter(_Shared(redis))
        self._memory = MemoryStorage()
        self._own = SlidingWindowCounterRateLimiter(self._memory)

    async def hit(self, rate: Rate, *names: str) -> bool:
        """Count once more, by what the names say; False where that is too often, and then it is not counted."""
        [is_within] = await self.hits(self.begin([(rate, names)]))
        return is_within

    def begin(self, limits: Sequence[tuple[Rate, Sequence[str]]]) -> Hits:
        """Count once more in each of some windows, in one look at Redis; `hits` waits for what came of it."""
        named = [(_item(rate), names) for rate, names in limits]
        calls = [_call(rate, tuple(names)) for rate, names in limits]
        # Of several servers some may know the script: asked once more, those would count twice.
        how, script = ("EVAL", _ACQUIRE.text) if self._redis.is_cluster else ("EVALSHA", _ACQUIRE.digest)
        return Hits(named, calls, self._redis.ask([(how, script, *call) for call in calls]) if calls else None)

    async def hits(self, begun: Hits) -> list[bool]:
        """Tell in which windows there was room; see `hit`."""
        try:
            return list(map(bool, await self._answers(begun)))
        except CacheUnavailable:
            await self._make_room()
            return [await self._own.hit(item, *names) for item, names in begun.named]

    async def _answers(self, begun: Hits) -> list[Any]:
        if begun.asked is None:
            return []
        try:
            return await begun.asked
        except ScriptUnknown:
            return await self._redis.exchange([("EVAL", _ACQUIRE.text, *call) for call in begun.calls])

    async def look(self, rate: Rate, *names: str) -> Standing:
        """Tell how much of a rate is used up, counting nothing."""
        stats = await self._with(lambda limiter: limiter.get_window_stats(_item(rate), *names))
        resets_at = dt.datetime.fromtimestamp(stats.reset_time, dt.UTC)
        return Standing(rate.amount, rate.amount - stats.remaining, resets_at, rate.seconds)

    async def close(self) -> None:
        """Wait for what the library does beside the requests."""
        if self._memory.timer is not None:
            await self._memory.timer

    async def _with(self, ask: Callable[[SlidingWindowCounterRateLimiter], Awaitable[T]]) -> T:
        try:
            return await ask(self._shared)
        except CacheUnavailable:
            await self._make_room()
            return await ask(self._own)

    async def _make_room(self) -> None:
        if len(self._memory.storage) > _REMEMBERED:
            await self._memory.reset()


@functools.lru_cache(maxsize=_REMEMBERED)
def _call(rate: Rate, names: tuple[str, ...]) -> Command:
    """Give what the script is called with; who acts once acts again, and the library takes its time to name a key."""
    item = _item(rate)
    return 2, *_keys(item.key_for(*names)), item.amount, item.get_expiry(), 1


@functools.cache
def _item(rate: Rate) -> RateLimitItemPerSecond:
    return RateLimitItemPerSecond(rate.amount, rate.seconds, namespace=_NAMESPACE)
