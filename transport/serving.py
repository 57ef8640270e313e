"""Serving an application on listening sockets until told to stop, and then so that no request fails.

A listening socket may be shared with other processes: what one of them does not accept, another does, and while there
is none it waits.
"""

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import Sequence
from typing import Final, cast

from aiohttp import web

from transport.accepting import Accepting
from transport.answers import Form
from transport.connection import Answering, Connection
from transport.connections import ConnectionCaps, Connections, Early, Short
from transport.health import DRAINING

IDLE_S: Final = 2.0
"""How long a connection without a request is kept while draining, for the request that may be on its way."""
SHUTDOWN_S: Final = 5.0
OTHER_DESCRIPTORS: Final = 500
"""What a process has open beside its clients' connections: databases, Redis, brokers, files."""


def _parse_everything(_data: bytes) -> None:
    """Refuse nothing before it is parsed: the application has no limit of its own."""


def _parse_all(_data: bytes, _connection: Connection) -> Answering | None:
    """Answer nothing that was not parsed."""


class Serving:
    """An application on its sockets."""

    def __init__(
        self,
        app: web.Application,
        *,
        caps: ConnectionCaps,
        form: Form,
        early: Early = _parse_everything,
        short: Short = _parse_all,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._app = app
        self._caps = caps
        self._form = form
        self._early = early
        self._short = short
        self._tls = tls
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        self._connections: Connections | None = None
        self._accepting: list[Accepting] = []

    async def start(self, listeners: Sequence[socket.socket]) -> None:
        """Accept connections from now on, of sockets that listen already; they are closed when it stops."""
        await self._runner.setup()
        server = cast("web.Server", self._runner.server)
        self._connections = Connections(
            server,
            self._caps,
            draining=self._app[DRAINING],
            early=self._early,
            short=self._short,
            form=self._form,
        )
        self._accepting = [Accepting(listener, self._connections, self._tls) for listener in listeners]

    async def stop(self, *, notice: float = 0.0) -> None:
        """Drain: each answer is the last of its connection, lines are asked to come back, what runs may finish.

        For `notice` seconds connections are accepted still, while `/readyz` tells a balancer to send no more.
        """
        self._app[DRAINING].set()
        await asyncio.sleep(notice)
        for accepting in self._accepting:
            accepting.close()
        await asyncio.gather(self._app.shutdown(), self._quiet())
        await self._runner.cleanup()

    async def _quiet(self) -> None:
        """Wait, for a while, until nobody may be about to send a request."""
        accepting, self._accepting = self._accepting, []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_S):
                await asyncio.gather(*(one.settled() for one in accepting))
                if self._connections is not None:
                    await self._connections.idle_gone()


def want_descriptors(connections: int) -> None:
    """Raise this process's limit of descriptors as far as it may: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_DESCRIPTORS
    if resource.RLIM_INFINITY != soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
