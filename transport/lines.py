"""Connections that stay: how many there may be, who speaks on each, and why each ends.

A WebSocket and an event stream are both a line. Whatever ends a line from outside (the caps, the expiry of the token,
a revocation, the drain) says so in one place, and the door closes the connection in the words of its protocol.
"""

import asyncio
import collections
import contextlib
import dataclasses
import random
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Final, TypeVar

import orjson

from resolvers.presence import Presence
from transport.access import ANONYMOUS, Caller
from transport.addresses import network_of
from transport.metrics import CLOSINGS, SOCKETS

K = TypeVar("K")
WRITE_BUFFER_BYTES: Final = 32 * 1024
KERNEL_BUFFER_BYTES: Final = 128 * 1024
TAKEN_WITHIN_S: Final = 15.0
"""How long the other side's system may leave what was sent untaken (RFC 5482, where the system knows it)."""
RETRY_AFTER_MS: Final = (500, 5000)
"""Between these a drained client is asked to wait, so that not all come back at once."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """Why a line ends: a WebSocket close code with its reason, at most 123 bytes."""

    code: int
    reason: str

    def reason_bytes(self) -> bytes:
        """Give the reason as it fits into a close frame."""
        return self.reason.encode()[:123].decode("utf-8", "ignore").encode()


FORBIDDEN: Final = Ending(4403, "Forbidden")
TOO_MANY: Final = Ending(4429, "Too many connections")
TOO_SLOW: Final = Ending(1013, "Reading too slowly")
UNANSWERED: Final = Ending(1013, "No answer to a ping")
PEER_GONE: Final = Ending(1000, "")
DEAF: Final = (TOO_SLOW, UNANSWERED)
"""Ends of lines whose other side takes nothing, not even the reason."""


@dataclasses.dataclass(frozen=True, slots=True)
class Caps:
    """How many lines there may be in this process and of those from one address, where None is no cap; and how many by
    one person in all processes together.
    """

    total: int = 10_000
    per_user: int = 20
    per_address: int | None = None


class Line:
    """One connection that stays."""

    def __init__(self) -> None:
        self.caller: Caller = ANONYMOUS
        self.ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    def end(self, ending: Ending) -> None:
        """End the line; the first reason counts."""
        if not self.ending.done():
            self.ending.set_result(ending)

    def cut_off(self) -> None:
        """End the line of somebody who may not speak any more."""
        self.end(FORBIDDEN)


class Lines:
    """All lines of this process."""

    def __init__(self, presence: Presence, caps: Caps) -> None:
        self._presence = presence
        self._caps = caps
        self._open: set[Line] = set()
        self._by_address: collections.Counter[str] = collections.Counter()
        self._by_user: collections.Counter[int] = collections.Counter()
        self._draining = False

    @contextlib.contextmanager
    def open(self, transport: str, address: str) -> Iterator[Line]:
        """Open a line until the context closes; one too many is over from the start."""
        line = Line()
        self._open.add(line)
        network = network_of(address)
        with _counted(self._by_address, network), SOCKETS.labels(transport).track_inprogress():
            self._admit(line, network)
            try:
                yield line
            finally:
                self._open.discard(line)
                line.end(PEER_GONE)
                ending = line.ending.result()
                CLOSINGS.labels(transport, "peer" if ending is PEER_GONE else str(ending.code)).inc()

    @contextlib.asynccontextmanager
    async def spoken_for(self, line: Line, caller: Caller) -> AsyncIterator[None]:
        """Let a line speak for a caller until the context closes, as long as the caller's token and account hold."""
        line.caller = caller
        if caller.credentials is None:
            yield
            return
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(self._presence.present(caller.credentials, line.cut_off))
            if caller.expires_at is not None:
                loop = asyncio.get_running_loop()
                timer = loop.call_later(max(0.0, caller.expires_at - time.time()), line.cut_off)
                stack.callback(timer.cancel)
            if not await self._has_room(caller.credentials.user_id, stack):
                line.end(TOO_MANY)
            yield

    async def _has_room(self, user_id: int, stack: contextlib.AsyncExitStack) -> bool:
        """Count one more of a person's lines, here and everywhere; here alone where nobody can tell of the others."""
        stack.enter_context(_counted(self._by_user, user_id))
        if self._by_user[user_id] > self._caps.per_user:
            return False
        return await stack.enter_async_context(self._presence.counted(user_id, self._caps.per_user))

    async def drain(self, within: float) -> None:
        """End all lines with a hint when to come back, and those that are opened meanwhile; wait for them to close."""
        self._draining = True
        for line in list(self._open):
            line.end(_going_away())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self._open:
                    await asyncio.sleep(0.02)

    def _admit(self, line: Line, network: str) -> None:
        cap = self._caps.per_address
        if self._draining:
            line.end(_going_away())
        elif len(self._open) > self._caps.total or (cap is not None and self._by_address[network] > cap):
            line.end(TOO_MANY)


def bound_buffers(transport: asyncio.BaseTransport | None) -> None:
    """Keep what waits for one client small, in this process and in the kernel, which would take megabytes; and not for
    long: a client whose side takes nothing more, or is not there any more, is let go without waiting for room to fill.
    """
    if isinstance(transport, asyncio.WriteTransport):
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER_BYTES)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(TAKEN_WITHIN_S * 1000))


def _going_away() -> Ending:
    wait = random.randint(*RETRY_AFTER_MS)  # noqa: S311 - it spreads load, and hides nothing
    return Ending(1001, orjson.dumps({"retryAfterMs": wait}).decode())


@contextlib.contextmanager
def _counted(counts: "collections.Counter[K]", key: K) -> Iterator[None]:
    counts[key] += 1
    try:
        yield
    finally:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]
