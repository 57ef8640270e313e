"""Starting and stopping clients of the broker, cleanly whenever one is cancelled."""

import asyncio
import contextlib
from typing import Final, Protocol

from aiokafka.errors import KafkaError

TIMEOUT_S: Final = 3.0


class Startable(Protocol):
    """A client of the library's."""

    async def start(self) -> None:
        """Connect."""


async def start_client(client: Startable) -> None:
    """Start a client; when cancelled, first let the attempt end: one given up half-way leaves its connection open."""
    starting = asyncio.ensure_future(client.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            await asyncio.wait_for(starting, TIMEOUT_S)
        raise
