"""The relay: publishes the outbox of every cell, in commit order per key: `python -m events.relay`.

One process leads per cell, by a lease that it renews as it works; another takes over when the lease has run out. The
position is saved after the broker has acknowledged, so that a crash repeats facts and never loses one.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
import uuid
from collections.abc import AsyncIterator
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from domain.errors import Overloaded
from events.broker import ensure_topics, fetch_topics, mark_life, mark_of, open_admin, open_producer
from events.metrics import OUTBOX_AGE, RELAY_FAILURES, RELAY_LEADS, RELAYED
from events.process import Process, backoffs, run_process
from events.records import headers_of, topic_of
from storage import outbox
from storage.cells import Cell
from storage.outbox import OutboxRow, Position

LEASE: Final = dt.timedelta(seconds=4)
BATCH: Final = 500
POLL_EVERY_S: Final = 1.0
HORIZON_EVERY_S: Final = 0.01
RETENTION: Final = dt.timedelta(hours=24)
_LOG: Final = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another relay leads this cell."""


class Relay:
    """Publishes one cell's outbox."""

    def __init__(self, cell: Cell, dsn: str, bootstrap: str) -> None:
        self._cell = cell
        self._dsn = dsn
        self._bootstrap = bootstrap
        self._holder = uuid.uuid4()
        self._bell = asyncio.Event()

    async def run(self) -> None:
        """Lead whenever nobody else does, until cancelled; whatever fails is tried again, after a growing pause."""
        pauses = backoffs()
        async with _listening(self._dsn, self._bell):
            while True:
                try:
                    await self._lead_once()
                    pauses = backoffs()
                except (KafkaError, Overloaded, LeaseLost, OSError, TimeoutError) as error:
                    RELAY_FAILURES.labels(type(error).__name__).inc()
                    _LOG.warning("the relay of cell %d pauses: %s", self._cell.number, type(error).__name__)
                    await asyncio.sleep(next(pauses))

    async def _lead_once(self) -> None:
        position = await outbox.claim(self._cell, self._holder, LEASE)
        if position is None:
            await asyncio.sleep(POLL_EVERY_S)
            return
        async with open_admin(self._bootstrap) as admin:
            position = await self._greet_broker(admin, position)
            async with open_producer(self._bootstrap) as producer:
                await self._lead(admin, producer, position)

    async def _greet_broker(self, admin: AIOKafkaAdminClient, position: Position) -> Position:
        """Go back to what the outbox retains where the broker does not know the life that was fed."""
        if position.broker is not None and mark_of(position.broker) in await fetch_topics(admin):
            return position
        position = await outbox.rewind(self._cell, RETENTION, uuid.uuid4())
        _LOG.info("cell %d feeds a new life of the broker", self._cell.number)
        await ensure_topics(admin)
        await self._save(position)
        await mark_life(admin, position.broker or uuid.uuid4())
        return position

    async def _lead(self, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, position: Position) -> None:
        RELAY_LEADS.labels(self._cell.number).set(1)
        try:
            while True:
                position = await self._turn(admin, producer, position)
        finally:
            RELAY_LEADS.labels(self._cell.number).set(0)
            with contextlib.suppress(Overloaded):
                await outbox.release(self._cell, self._holder)

    async def _turn(self, admin: AIOKafkaAdminClient, producer: AIOKafkaProducer, position: Position) -> Position:
        """Publish the next batch; at the end of an interval open the next one, or wait for the bell."""
        self._bell.clear()
        rows = await outbox.fetch_batch(self._cell, position, BATCH)
        if rows:
            await _publish(producer, rows)
            await self._expect_same_life(admin, position)
            position = dataclasses.replace(position, sequence=rows[-1].sequence)
            await self._save(position)
        if len(rows) < BATCH:
            position = await self._next_interval(admin, position)
        return position

    async def _next_interval(self, admin: AIOKafkaAdminClient, position: Position) -> Position:
        following, waiting = await outbox.next_interval(self._cell, position)
        if following.low != following.high:
            return following
        try:
            await asyncio.wait_for(self._bell.wait(), HORIZON_EVERY_S if waiting else POLL_EVERY_S)
        except TimeoutError:
            if not waiting:
                await self._keep_alive(admin, following)
        return following

    async def _keep_alive(self, admin: AIOKafkaAdminClient, position: Position) -> None:
        """Renew the lease and look at the broker while nothing happens."""
        await self._expect_same_life(admin, position)
        await self._save(position)
        OUTBOX_AGE.labels(self._cell.number).set(await outbox.fetch_age(self._cell, position))

    async def _expect_same_life(self, admin: AIOKafkaAdminClient, position: Position) -> None:
        if position.broker is None or mark_of(position.broker) not in await fetch_topics(admin):
            raise KafkaError("the broker has begun a new life")

    async def _save(self, position: Position) -> None:
        if not await outbox.save(self._cell, self._holder, position, LEASE):
            raise LeaseLost


async def _publish(producer: AIOKafkaProducer, rows: list[OutboxRow]) -> None:
    """Send rows in order, and wait until the broker has all of them."""
    sent = [
        await producer.send(topic_of(row), row.payload, key=row.key.encode(), headers=headers_of(row)) for row in rows
    ]
    await asyncio.gather(*sent)
    RELAYED.inc(len(rows))


@contextlib.asynccontextmanager
async def _listening(dsn: str, bell: asyncio.Event) -> AsyncIterator[None]:
    """Have the bell rung by NOTIFY; while there is no connection, polling has to do."""

    async def listen_on() -> None:
        for pause in backoffs():
            await outbox.listen(dsn, bell)
            await asyncio.sleep(pause)

    task = asyncio.create_task(listen_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _main(process: Process) -> None:
    relays = [
        Relay(cell, dsn, process.addresses.kafka_bootstrap)
        for cell, dsn in zip(process.database.shards.cells, process.addresses.postgres_dsns, strict=True)
    ]
    async with asyncio.TaskGroup() as group:
        for relay in relays:
            group.create_task(relay.run())


if __name__ == "__main__":
    run_process(_main)
