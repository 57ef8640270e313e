"""A connection on which channels are read: made again for as long as it is wanted, with every channel wanted then."""

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

import redis.asyncio as aioredis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError, ResponseError

from storage.redis_client import NO_RETRY

_LOG: Final = logging.getLogger(__name__)
_COMMAND_TIMEOUT_S: Final = 0.25
_PING_EVERY_S: Final = 5.0
_RECONNECT_AFTER_S: Final = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Verbs:
    """The words of one kind of channel: to ask for it and to leave it, as they are confirmed as well; and its calls."""

    subscribe: str
    unsubscribe: str
    call: str


EVERYWHERE: Final = Verbs("subscribe", "unsubscribe", "message")
"""Channels that every node of a cluster passes on to every other."""
SHARDED: Final = Verbs("ssubscribe", "sunsubscribe", "smessage")
"""Channels that live at the node of their slot, and nowhere else."""


class Receiver:
    """Reads channels of one kind at one node, or at any of several: the next is tried when one is lost.

    `hear` gets the name of a channel and what was said; nothing was said where the channel has only now been joined:
    whatever happened before went unheard. `on_loss` is told when channels could not be had, or not any longer.
    """

    def __init__(
        self,
        addresses: Iterator[str],
        verbs: Verbs,
        hear: Callable[[str, bytes | None], None],
        on_loss: Callable[[], None] = lambda: None,
    ) -> None:
        self._addresses = addresses
        self._verbs = verbs
        self._hear = hear
        self._on_loss = on_loss
        self._pubsub: PubSub | None = None
        self.channels: set[str] = set()
        """Those that are wanted here."""
        self._joined: set[str] = set()
        self._reading: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Read until it is closed."""
        self._reading = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Read no more, and let go of the connection."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def add(self, channel: str) -> None:
        """Want a channel, unless it is wanted already."""
        if channel not in self.channels:
            self.channels.add(channel)
            await self._tell(self._verbs.subscribe, channel)

    async def remove(self, channel: str) -> None:
        """Want a channel no more."""
        self.channels.discard(channel)
        self._joined.discard(channel)
        await self._tell(self._verbs.unsubscribe, channel)

    async def _run(self) -> None:
        while True:
            try:
                await self._connect_and_read()
            except (RedisError, OSError, TimeoutError) as error:
                _LOG.warning("lost a node's channels (%s), connecting again", type(error).__name__)
            self._on_loss()
            await asyncio.sleep(_RECONNECT_AFTER_S)

    async def _tell(self, verb: str, channel: str) -> None:
        pubsub = self._pubsub
        if pubsub is None:
            return  # `_connect_and_read` joins whatever is wanted by then
        try:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(_COMMAND_TIMEOUT_S):
                    await getattr(pubsub, verb)(channel)
        finally:
            if pubsub is not self._pubsub:  # given up meanwhile: the command may have opened it anew
                await pubsub.connection_pool.disconnect()

    async def _connect_and_read(self) -> None:
        # Reading a channel blocks for as long as nothing happens: this client has no timeout, and pings instead.
        client = aioredis.from_url(
            next(self._addresses), socket_timeout=None, socket_connect_timeout=_COMMAND_TIMEOUT_S, retry=NO_RETRY
        )
        async with client, client.pubsub() as pubsub:
            await pubsub.connect()
            self._joined.clear()
            self._pubsub = pubsub
            try:
                for channel in list(self.channels):  # one by one: a cluster refuses channels of several slots at once
                    await getattr(pubsub, self._verbs.subscribe)(channel)
                await self._read(pubsub)
            finally:
                self._pubsub = None

    async def _read(self, pubsub: PubSub) -> None:
        silent = False
        while True:
            try:
                message = await pubsub.get_message(timeout=_PING_EVERY_S)
            except ResponseError as error:
                self._give_up_unjoined(error)
                continue
            if message is not None:
                silent = False
                self._take(message)
            elif silent:
                raise TimeoutError
            else:
                silent = True
                await pubsub.ping()

    def _give_up_unjoined(self, error: ResponseError) -> None:
        """Leave what was refused, as by a node that has the slot no more, to whoever knows a better place for it.

        The refusal does not name the channel: all that are not joined yet are asked for again, which does no harm.
        """
        _LOG.info("a channel was refused: %s", type(error).__name__)
        self.channels &= self._joined
        self._on_loss()

    def _take(self, message: dict[str, Any]) -> None:
        if not isinstance(message["channel"], bytes):
            return
        kind, channel = message["type"], message["channel"].decode("utf-8", "replace")
        if kind == self._verbs.call:
            self._hear(channel, message["data"])
        elif kind == self._verbs.subscribe and channel in self.channels:
            self._joined.add(channel)
            self._hear(channel, None)
        elif kind == self._verbs.unsubscribe and channel in self._joined:  # not by us: its slot has moved
            self._joined.discard(channel)
            self.channels.discard(channel)
            self._on_loss()
