"""Calls between processes through Redis: one channel per user, subscribed only while somebody listens, and one for all.

A wake-up carries nothing: whoever is woken reads the database. A call that gets lost costs one polling interval of the
listener, never a notification. A user's channel is sharded (Redis 7 or Valkey): a cluster keeps its calls to the node
that has the user's keys, instead of telling all nodes of each. On the channel for all, which any node passes on to all,
whoever ends a session or changes what a person may do says so.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

from storage.channel_nodes import ChannelNodes
from storage.receivers import EVERYWHERE, SHARDED, Receiver
from storage.redis_client import CacheUnavailable, Redis, node_urls

_LOG: Final = logging.getLogger(__name__)
_PLACE_AGAIN_AFTER_S: Final = 0.5
_PREFIX: Final = "notifications:"
_NOTICES: Final = "sessions"


async def wake(redis: Redis, user_id: int) -> None:
    """Wake whoever listens for a user; a Redis that is away is a late wake-up, not an error."""
    try:
        await redis.run(lambda client: client.spublish(_channel(user_id), b""))
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


def _read_notice(data: bytes) -> Notice | None:
    kind, _, value = data.decode("utf-8", "replace").partition(" ")
    if kind == "session" and value:
        return Notice(session=value)
    if kind not in ("user", "revoked") or not (value.isascii() and value.isdigit()):
        return None
    return Notice(user_id=int(value)) if kind == "user" else Notice(revoked_of=int(value))


def _channel(user_id: int) -> str:
    return f"{_PREFIX}{{{user_id}}}"


class Listeners:
    """This process's side of the channels: a connection to each node where somebody is listened for, and one for all.

    A user's channel is subscribed once, however many listen, and follows its slot when that moves to another node.
    """

    def __init__(self, url: str) -> None:
        self._bells: dict[str, set[asyncio.Event]] = {}
        self.on_notice: set[Callable[[Notice], None]] = set()
        self._nodes = ChannelNodes(url)
        self._astray = asyncio.Event()
        self._notices = Receiver(itertools.cycle(node_urls(url)), EVERYWHERE, self._hear_notice, self._astray.set)
        self._receivers: dict[str, Receiver] = {}
        self._placing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Listeners":
        self._notices.start()
        self._astray.set()
        self._placing = asyncio.create_task(self._place())
        return self

    async def __aexit__(self, *_details: object) -> None:
        if self._placing is not None:
            self._placing.cancel()
            await asyncio.gather(self._placing, return_exceptions=True)
        for receiver in [self._notices, *self._receivers.values()]:
            await receiver.close()
        await self._nodes.aclose()

    @contextlib.asynccontextmanager
    async def listen(self, user_id: int) -> AsyncIterator[asyncio.Event]:
        """Give an event that is set whenever the user may have something new, and after every reconnection."""
        channel, bell = _channel(user_id), asyncio.Event()
        first = channel not in self._bells
        self._bells.setdefault(channel, set()).add(bell)
        try:
            if first:
                await self._join(channel)
            yield bell
        finally:
            self._bells[channel].discard(bell)
            if not self._bells[channel]:
                del self._bells[channel]
                await asyncio.shield(self._leave(channel))

    @property
    def channels(self) -> int:
        """Count the users that are listened for."""
        return len(self._bells)

    async def _join(self, channel: str) -> None:
        """Ask for a channel at its node, unless that is done already, and nowhere else."""
        address = self._nodes.address_of(channel)
        if address is None:
            self._astray.set()
            return
        receiver = self._receivers.get(address) or self._open(address)
        if channel not in receiver.channels:
            await receiver.add(channel)
            await self._leave(channel, but=receiver)

    async def _leave(self, channel: str, *, but: Receiver | None = None) -> None:
        for receiver in list(self._receivers.values()):
            if receiver is not but and channel in receiver.channels:
                await receiver.remove(channel)

    def _open(self, address: str) -> Receiver:
        receiver = Receiver(itertools.repeat(address), SHARDED, self._ring, self._astray.set)
        self._receivers[address] = receiver
        receiver.start()
        return receiver

    async def _place(self) -> None:
        """Find the node of each channel anew whenever one may have moved."""
        while True:
            await self._astray.wait()
            self._astray.clear()
            await self._nodes.learn()
            await self._notices.add(_NOTICES)
            for channel in list(self._bells):
                if channel in self._bells:  # others may have left it meanwhile
                    await self._join(channel)
            await self._close_idle()
            await asyncio.sleep(_PLACE_AGAIN_AFTER_S)

    async def _close_idle(self) -> None:
        """Close connections on which nothing is listened for: their nodes may be gone for good."""
        idle = [address for address, receiver in self._receivers.items() if not receiver.channels]
        for receiver in [self._receivers.pop(address) for address in idle]:
            await receiver.close()

    def _hear_notice(self, _channel: str, said: bytes | None) -> None:
        notice = Notice() if said is None else _read_notice(said)
        if notice is not None:
            for hear in list(self.on_notice):
                hear(notice)

    def _ring(self, channel: str, _said: bytes | None) -> None:
        for bell in self._bells.get(channel, ()):
            bell.set()
