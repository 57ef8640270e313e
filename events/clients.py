"""Starting and stopping clients of the broker, cleanly whenever one is cancelled."""

import asyncio
import contextlib
from typing import Final, Protocol

from aiokafka import AIOKafkaConsumer
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


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer, within 6 s and whatever state it is in; never fails.

    The library raises the cancellation of a task of its own where a request has just failed, as when a broker that was
    frozen goes on. Let out, that would end whoever stops the consumer; and the connections would stay open.
    """
    if not await _is_stopped(asyncio.ensure_future(consumer.stop())):
        await _is_stopped(asyncio.ensure_future(consumer._client.close()))  # noqa: SLF001 - nothing else closes them


async def _is_stopped(stopping: asyncio.Future[None]) -> bool:
    try:
        await asyncio.wait({stopping}, timeout=TIMEOUT_S)
    finally:
        stopping.cancel()
    return stopping.done() and not stopping.cancelled() and stopping.exception() is None
