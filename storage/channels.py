"""Calls between processes through Redis: one channel per user, subscribed only while somebody listens, and one for all.

A wake-up carries nothing: whoever is woken reads the database. A call that gets lost costs one polling interval of the
listener, never a notification. On the channel for all, whoever ends a session or changes what a person may do says so.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

import redis.asyncio as aioredis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from storage.redis_client import NO_RETRY, CacheUnavailable, Redis, node_urls

_LOG: Final = logging.getLogger(__name__)
_COMMAND_TIMEOUT_S: Final = 0.25
_PING_EVERY_S: Final = 5.0
_RECONNECT_AFTER_S: Final = 0.5
_PREFIX: Final = "notifications:"
_NOTICES: Final = "sessions"


async def wake(redis: Redis, user_id: int) -> None:
    """Wake whoever listens for a user; a Redis that is away is a late wake-up, not an error."""
    try:
        await redis.run(lambda client: client.publish(_channel(user_id), b""))
    except CacheUnavailable:
        _LOG.info("a listener was not woken")


@dataclasses.dataclass(frozen=True, slots=True)
class Notice:
    """Word to every process: end the connections of a session, look whether a person may still have any, or read which
    tokens of a person are revoked. One that names nobody stands for what may have gone unheard.
    """

    session: str | None = None
    user_id: int | None = None
    revoked_of: int | None = None

    @property
    def is_gap(self) -> bool:
        """Tell whether anything may have been said that was not heard."""
        return self == Notice()


async def give_notice(redis: Redis, notice: Notice) -> None:
    """Tell every process; a person's state is looked at every second as well, so that this only makes it sooner."""
    said = {"session": notice.session, "user": notice.user_id, "revoked": notice.revoked_of}
    words = next(f"{kind} {value}" for kind, value in said.items() if value is not None)
    try:
        await redis.run(lambda client: client.publish(_NOTICES, words))
    except CacheUnavailable:
        _LOG.info("a notice was not given")


def _read_notice(data: object) -> Notice | None:
    kind, _, value = data.decode("utf-8", "replace").partition(" ") if isinstance(data, bytes) else ("", "", "")
    if kind == "session" and value:
        return Notice(session=value)
    if kind not in ("user", "revoked") or not (value.isascii() and value.isdigit()):
        return None
    return Notice(user_id=int(value)) if kind == "user" else Notice(revoked_of=int(value))


def _channel(user_id: int) -> str:
    return f"{_PREFIX}{{{user_id}}}"


class Listeners:
    """This process's side of the channels: one connection, one subscription per user, any number of listeners."""

    def __init__(self, url: str) -> None:
        # Any node of a cluster tells what was published at another; the next is tried when one is lost.
        self._urls = itertools.cycle(node_urls(url))
        self._bells: dict[str, set[asyncio.Event]] = {}
        self.on_notice: set[Callable[[Notice], None]] = set()
        self._pubsub: PubSub | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Listeners":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_details: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def listen(self, user_id: int) -> AsyncIterator[asyncio.Event]:
        """Give an event that is set whenever the user may have something new, and after every reconnection."""
        channel, bell = _channel(user_id), asyncio.Event()
        first = channel not in self._bells
        self._bells.setdefault(channel, set()).add(bell)
        try:
            if first:
                await self._tell("subscribe", channel)
            yield bell
        finally:
            self._bells[channel].discard(bell)
            if not self._bells[channel]:
                del self._bells[channel]
                await asyncio.shield(self._tell("unsubscribe", channel))

    @property
    def channels(self) -> int:
        """Count the users that are listened for."""
        return len(self._bells)

    async def _tell(self, verb: str, channel: str) -> None:
        pubsub = self._pubsub
        if pubsub is None:
            return  # `_connect_and_read` subscribes to whatever is wanted by then
        try:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(_COMMAND_TIMEOUT_S):
                    await getattr(pubsub, verb)(channel)
        finally:
            if pubsub is not self._pubsub:  # given up meanwhile: the command may have opened it anew
                await pubsub.connection_pool.disconnect()

    async def _run(self) -> None:
        while True:
            try:
                await self._connect_and_read()
            except (RedisError, OSError, TimeoutError) as error:
                _LOG.warning("lost the notification channels (%s), reconnecting", type(error).__name__)
            await asyncio.sleep(_RECONNECT_AFTER_S)

    async def _connect_and_read(self) -> None:
        # Reading a channel blocks for as long as nothing happens: this client has no timeout, and pings instead.
        client = aioredis.from_url(
            next(self._urls), socket_timeout=None, socket_connect_timeout=_COMMAND_TIMEOUT_S, retry=NO_RETRY
        )
        async with client, client.pubsub() as pubsub:
            await pubsub.subscribe(_NOTICES, *self._bells)
            self._pubsub = pubsub
            try:
                self._ring_all()
                self._pass_on(Notice())
                await self._read(pubsub)
            finally:
                self._pubsub = None

    async def _read(self, pubsub: PubSub) -> None:
        silent = False
        while True:
            message = await pubsub.get_message(timeout=_PING_EVERY_S)
            if message is not None:
                silent = False
                self._hear(message)
            elif silent:
                raise TimeoutError
            else:
                silent = True
                await pubsub.ping()

    def _hear(self, message: dict[str, object]) -> None:
        if message["type"] == "message" and message["channel"] == _NOTICES.encode():
            notice = _read_notice(message["data"])
            if notice is not None:
                self._pass_on(notice)
        else:
            self._ring(message)

    def _pass_on(self, notice: Notice) -> None:
        for hear in list(self.on_notice):
            hear(notice)

    def _ring(self, message: dict[str, object]) -> None:
        # The confirmation of a subscription rings too: whatever happened before it went unheard.
        if message["type"] in ("message", "subscribe") and isinstance(message["channel"], bytes):
            for bell in self._bells.get(message["channel"].decode(), ()):
                bell.set()

    def _ring_all(self) -> None:
        for bells in self._bells.values():
            for bell in bells:
                bell.set()
