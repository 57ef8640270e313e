"""HTTP connections: how many there may be, and how all of them come to an end."""

import asyncio
import collections
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from prometheus_client import Gauge

from transport.answers import Form
from transport.connection import Answering, Connection

CONNECTIONS: Final = Gauge("kith_connections", "Open connections of any kind.", multiprocess_mode="livesum")
_LOOK_S: Final = 0.02
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Early = Callable[[bytes], bytes | None]
"""Gives the answer to what is refused before it is parsed."""
Short = Callable[[bytes, Connection], Answering | None]
"""Gives what answers a request without its being parsed; None where it is to be parsed."""


@dataclasses.dataclass(frozen=True, slots=True)
class ConnectionCaps:
    """How many connections there may be in this process, and of those from one address; None is no cap."""

    total: int = 12_000
    per_address: int | None = None


class Connections:
    """All connections of this process: makes them, and sees them off."""

    def __init__(
        self,
        server: web.Server,
        caps: ConnectionCaps,
        *,
        draining: asyncio.Event,
        early: Early,
        short: Short,
        form: Form,
    ) -> None:
        self._server = server
        self.early = early
        self.short = short
        self.form = form
        self._caps = caps
        self._open: set[Connection] = set()
        self._by_address: collections.Counter[str] = collections.Counter()
        self._draining = draining
        self.is_draining = draining.is_set
        """Tells whether each answer is the last of its connection."""
        server.request_handler = self._last(server.request_handler)

    def __call__(self) -> Connection:
        """Make what speaks on a new connection."""
        return Connection(self, self._server)

    def admit(self, connection: Connection) -> str | None:
        """Count a connection in, or say which cap keeps it out."""
        address = connection.network
        if len(self._open) >= self._caps.total:
            return "total"
        if self._caps.per_address is not None and self._by_address[address] >= self._caps.per_address:
            return "address"
        self._open.add(connection)
        self._by_address[address] += 1
        CONNECTIONS.inc()
        return None

    def dismiss(self, connection: Connection) -> None:
        """Count a connection out, if it was counted in."""
        if connection in self._open:
            self._open.discard(connection)
            CONNECTIONS.dec()
            self._by_address[connection.network] -= 1
            if not self._by_address[connection.network]:
                del self._by_address[connection.network]

    async def idle_gone(self) -> None:
        """Wait until no connection is idle: a client that may be about to send a request is given the time for it.

        An idle connection that is closed while a request is on its way makes that request fail.
        """
        await asyncio.sleep(_LOOK_S)  # so that those who came last have come round to waiting
        while any(connection.is_idle for connection in self._open):
            await asyncio.sleep(_LOOK_S)

    def _last(self, handler: Handler) -> Handler:
        """Wrap the application: give what it lets through its form, and close what is drained."""

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                return self.form.answer(error.status, error.reason).response()
            if self._draining.is_set() and not response.prepared:
                response.force_close()
            connection = request.protocol
            if isinstance(connection, Connection):
                connection.goes_on = connection.plain is not None and response.keep_alive is not False
            return response

        return handle
