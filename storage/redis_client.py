"""Redis, single or a cluster, behind one door that answers fast or says fast that it cannot.

The clients' own defaults wait for minutes when a server is frozen: here a call takes 50 ms, and none is repeated behind
the caller's back. A crowd waits for its turn beside that: its calls are late because they are many, not because Redis
is.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import redis.asyncio as aioredis
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    NoScriptError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
)
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import TimeoutError as SocketTimeout

from domain import deadlines
from domain.errors import DeadlineExceeded
from storage.breakers import Breaker, BreakerOpen, Undecided
from storage.exchanges import Command, Crowded, Exchanges, Interrupted, Limits
from storage.lives import Lives
from storage.metrics import REDIS_FAILURES
from storage.timeouts import AnswerWithin

_LOG: Final = logging.getLogger(__name__)
T = TypeVar("T")
Client = aioredis.Redis | aioredis.RedisCluster

CALL_TIMEOUT_S: Final = 0.05
CLUSTER: Final = "+cluster://"
TURN_TIMEOUT_S: Final = 0.2
"""How long a call waits for those before it; once Redis is given up, nobody does."""
_FAIR_S: Final = CALL_TIMEOUT_S / 2
_MAX_CALLS: Final = 16
# The pools of a cluster raise at once when they are empty: calls stay below, with room for what the client does itself.
_MAX_CONNECTIONS: Final = 24
_DEFAULT_PORT: Final = 6379
_REFRESH_EVERY_S: Final = 0.5
_REFRESH_TIMEOUT_S: Final = 2.0
NO_RETRY: Final = Retry(NoBackoff(), 0)
_SOCKETS: Final[dict[str, Any]] = {
    "retry": NO_RETRY,
    "socket_timeout": CALL_TIMEOUT_S,
    "socket_connect_timeout": CALL_TIMEOUT_S,
}
_AWAY: Final = (ConnectionLost, SocketTimeout, ClusterDownError, RedisClusterException, ReadOnlyError, OSError)
"""What says that Redis cannot serve; builtin timeouts are among the OSErrors."""


class CacheUnavailable(Exception):
    """Redis gave no answer: it is away, late, refused for now, or answered with an error."""


class ScriptUnknown(CacheUnavailable):
    """A script was called by a name that Redis does not know; nothing is wrong with either."""


class Redis:
    """A client, and the one way to use it."""

    def __init__(self, url: str) -> None:
        self.is_cluster = CLUSTER in url
        self._breaker = Breaker("redis")
        self._calls = asyncio.Semaphore(_MAX_CALLS)
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed = -_REFRESH_EVERY_S
        self._is_closed = False
        self.lives = Lives()
        self.client: Client = (make_cluster if self.is_cluster else _make_single)(url, self.lives)
        self._exchanges: Exchanges | None = None
        if isinstance(self.client, aioredis.Redis):
            self._exchanges = Exchanges(self.client.connection_pool, self._breaker, _AWAY, self._unavailable, _limits)

    @property
    def is_open(self) -> bool:
        """Tell whether calls are refused at once: Redis has failed repeatedly, or its nodes are being learnt."""
        return self._is_closed or self._refreshing is not None or self._breaker.is_open

    async def run(self, call: Callable[[Any], Awaitable[T]]) -> T:
        """Make one call, a command or a pipeline, with the client; it uses one connection at a time.

        Takes 50 ms at most once it is its turn, or what the request has left; nothing is repeated.

        Raises:
            CacheUnavailable: there is no answer; a call that was sent may have had its effect.
        """
        try:
            return await self._call(call)
        except (*_AWAY, RedisError, Undecided, DeadlineExceeded) as error:
            raise self._unavailable(error) from error

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands at once and give what Redis sends back, most of it as it comes.

        On the way of every request, and so not on the client's way where that can be had.

        Raises:
            CacheUnavailable: as `run` does.
        """
        if not commands:
            return []
        if self._exchanges is not None:
            return await self._exchanges.ask(commands)
        return await self.run(lambda client: _send_to_nodes(client, commands))

    def ask(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Send commands as `exchange` does, one at least, and give what is done when the answers are there.

        Whoever does not wait for it any more may leave it alone.
        """
        if self._exchanges is not None:
            asked = self._exchanges.ask(commands)
        else:
            asked = asyncio.ensure_future(self.exchange(commands))
        asked.add_done_callback(_look_at)
        return asked

    async def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read values at once, None where there is none; raises CacheUnavailable."""
        if self.is_cluster or not keys:
            return await self.exchange([("GET", key) for key in keys])
        [found] = await self.exchange([("MGET", *keys)])
        return list(found)

    def _unavailable(self, error: BaseException) -> CacheUnavailable:
        """Count what went wrong, and give what is told to callers."""
        if isinstance(error, NoScriptError):
            return ScriptUnknown()
        kind = _kind_of(error)
        REDIS_FAILURES.labels(kind).inc()
        if kind in ("lost", "late"):
            self._refresh()
        told = CacheUnavailable()
        told.__cause__ = error
        return told

    async def in_order(self, *steps: Sequence[Command]) -> list[Any]:
        """Have commands done, those of a step after all of the step before, and give all answers.

        One server does them as they come; of several each does its own. Raises CacheUnavailable as `run` does.
        """
        if not self.is_cluster:
            return await self.exchange(list(itertools.chain(*steps)))
        return [answer for step in steps for answer in await self.exchange(step)]

    async def _call(self, call: Callable[[Any], Awaitable[T]]) -> T:
        if self.is_open:
            raise BreakerOpen
        await self._enter()
        try:
            if self.is_open:  # it was given up meanwhile
                raise BreakerOpen
            with self._breaker.passing(*_AWAY):
                return await self._answer(call, deadlines.left(CALL_TIMEOUT_S))
        finally:
            self._calls.release()

    async def _enter(self) -> None:
        """Wait for a turn; raises what says that there is none in time."""
        seconds = deadlines.left(TURN_TIMEOUT_S)
        if not self._calls.locked():
            await self._calls.acquire()
            return
        try:
            async with AnswerWithin(seconds):
                await self._calls.acquire()
        except TimeoutError:
            raise Crowded from None

    async def _answer(self, call: Callable[[Any], Awaitable[T]], seconds: float) -> T:
        try:
            async with AnswerWithin(seconds):
                return await call(self.client)
        except TimeoutError:
            if seconds < _FAIR_S:  # nor has one whose request was short of time
                raise DeadlineExceeded from None
            raise

    def _refresh(self) -> None:
        """Learn anew which node of a cluster holds what, beside the calls: that takes longer than a call may."""
        now = monotonic()
        if self.is_cluster and self._refreshing is None and now - self._refreshed >= _REFRESH_EVERY_S:
            self._refreshed = now
            self._refreshing = asyncio.create_task(self._relearn())

    async def _relearn(self) -> None:
        try:
            async with asyncio.timeout(_REFRESH_TIMEOUT_S):
                await self.client.aclose()
                await self.client.initialize()
        except (*_AWAY, RedisError) as error:
            _LOG.warning("the Redis cluster could not be asked for its nodes: %s", type(error).__name__)
        finally:
            self._refreshing = None

    async def ping(self) -> None:
        """Ask for a sign of life; raises CacheUnavailable."""
        await self.run(lambda client: client.ping())

    async def aclose(self) -> None:
        """Refuse further calls, wait for those under way, and close all connections.

        A call that went on beside the closing would open a connection that nobody closes any more.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait({self._refreshing})
        if self._exchanges is not None:
            await self._exchanges.aclose()
        for _ in range(_MAX_CALLS):
            await self._calls.acquire()
        with contextlib.suppress(*_AWAY, RedisError):  # one that was slow to close is closed all the same
            await self.client.aclose()


def _look_at(asked: asyncio.Future[list[Any]]) -> None:
    if not asked.cancelled():
        asked.exception()


def _limits() -> Limits:
    return Limits(CALL_TIMEOUT_S, TURN_TIMEOUT_S)


async def _send_to_nodes(client: aioredis.RedisCluster, commands: Sequence[Command]) -> list[Any]:
    pipeline: Any = client.pipeline()
    for command in commands:
        pipeline.execute_command(*command, get=True)  # the answer to SET … GET as it is
    answers: list[Any] = await pipeline.execute()
    return answers


@contextlib.asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[Redis]:
    """Open Redis at a redis://, rediss:// or unix:// address, or a cluster at `redis+cluster://host:port,host:port`.

    Nothing is asked of it yet: a Redis that is away at the start is one that is away.
    """
    opened = Redis(url)
    try:
        yield opened
    finally:
        await opened.aclose()


def _make_single(url: str, lives: Lives) -> Client:
    pool = aioredis.BlockingConnectionPool.from_url(
        url, max_connections=_MAX_CONNECTIONS, timeout=CALL_TIMEOUT_S, redis_connect_func=lives.greet, **_SOCKETS
    )
    return aioredis.Redis.from_pool(pool)


def make_cluster(url: str, lives: Lives | None = None) -> aioredis.RedisCluster:
    """Make a cluster's client: it starts from any of the nodes named, and serves what is left while one is away."""
    first, *others = node_urls(url)
    nodes = [ClusterNode(parts.hostname or "", parts.port or _DEFAULT_PORT) for parts in map(urlsplit, others)]
    client = aioredis.RedisCluster.from_url(
        first, startup_nodes=nodes, require_full_coverage=False, max_connections=_MAX_CONNECTIONS, **_SOCKETS
    )
    if lives is not None:
        # No option of the client's: what its nodes make their connections with, those named here and those found later.
        for options in (client.connection_kwargs, *(node.connection_kwargs for node in client.startup_nodes)):
            options["redis_connect_func"] = lives.greet
    return client


def node_urls(url: str) -> list[str]:
    """Give the address of each node that a cluster's address names; any other address is given as it is."""
    if CLUSTER not in url:
        return [url]
    parts = urlsplit(url.replace(CLUSTER, "://", 1))
    login, at, hosts = parts.netloc.rpartition("@")
    return [parts._replace(netloc=f"{login}{at}{host}").geturl() for host in hosts.split(",")]


def _kind_of(error: BaseException) -> str:
    match error:
        case BreakerOpen():
            return "refused"
        case Crowded():
            return "crowded"
        case Interrupted():
            return "lost"
        case SocketTimeout() | TimeoutError() | DeadlineExceeded():
            return "late"
        case ConnectionLost() | ClusterDownError() | RedisClusterException() | ReadOnlyError() | OSError():
            return "lost"
        case _:
            _LOG.warning("Redis answered with an error: %s", type(error).__name__)
            return "error"
