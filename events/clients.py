"""Starting, asking and stopping clients of the broker, cleanly whenever one is cancelled."""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Final, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

TIMEOUT_S: Final = 3.0
PATIENCE_S: Final = 60.0
"""Longer than a client takes for anything that it may be asked to do while a broker answers."""

T = TypeVar("T")


class ClientFailed(Exception):
    """A client has given up by itself; another one may do better."""


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


async def ask(work: Awaitable[T]) -> T:
    """Have a client do something, and bear with it for a minute.

    One that was frozen with its broker may wait for ever; and where a request fails, one may raise the cancellation of
    a task of its own, which would end whoever asks as if he had been told to stop.

    Raises:
        TimeoutError: it has not ended.
        ClientFailed: it was cancelled, and we were not.
    """
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await work
    except asyncio.CancelledError:
        own = asyncio.current_task()
        if own is None or own.cancelling():
            raise
        raise ClientFailed from None


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
