"""Accepting connections: many in a turn of the loop, where libuv's own servers take one.

A loop whose turns are long would otherwise leave clients waiting for many turns, which count in what they see of the
answer, until the kernel drops what they send, and they try again after seconds.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final

AT_ONCE: Final = 64
"""How many connections are taken in one turn of the loop: with what each costs, two or three milliseconds."""
HANDSHAKE_TIMEOUT_S: Final = 10.0
REST_S: Final = 1.0
"""How long none are taken where there is no descriptor or memory for another."""
_FULL: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Accepting:
    """Takes the connections of a listening socket, which it then owns, until it is closed."""

    def __init__(
        self, listener: socket.socket, make: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make = make
        self._tls = tls
        self._timeout = HANDSHAKE_TIMEOUT_S if tls is not None else None
        self._resting: asyncio.TimerHandle | None = None
        self._connecting: set[asyncio.Task[None]] = set()
        listener.settimeout(0)
        self._begin()

    def close(self) -> None:
        """Take no more."""
        if self._resting is not None:
            self._resting.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    async def settled(self) -> None:
        """Wait for those that were taken and do not speak yet; they are given up where that is cancelled."""
        try:
            if self._connecting:
                await asyncio.wait(self._connecting)
        finally:
            for task in self._connecting:
                task.cancel()

    def _begin(self) -> None:
        self._resting = None
        self._loop.add_reader(self._listener, self._take)

    def _take(self) -> None:
        for _ in range(AT_ONCE):
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                self._rest()
                return
            accepted.settimeout(0)
            task = self._loop.create_task(self._connect(accepted))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def _rest(self) -> None:
        self._loop.remove_reader(self._listener)
        self._resting = self._loop.call_later(REST_S, self._begin)

    async def _connect(self, accepted: socket.socket) -> None:
        with contextlib.suppress(OSError):  # one that ended, or whose handshake failed or took too long
            await self._loop.connect_accepted_socket(
                self._make, accepted, ssl=self._tls, ssl_handshake_timeout=self._timeout
            )
