"""The relay: publishes the outbox of every cell, in commit order per key: `python -m events.relay`.

Any number of processes share the partitions of a cell, one leading each, by a lease. A position is saved after the
broker has acknowledged, so that a crash repeats facts and never loses one. Two that publish the same partition, one
with a lease that has run out, repeat facts in order: whoever passes over what he has had sees them in order still.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Final

from aiokafka.errors import KafkaError

from domain.errors import Overloaded
from events.broker import fetch_topics, open_admin, open_producer
from events.leadership import Leadership, LeaseLost
from events.metrics import RELAY_FAILURES
from events.process import Process, backoffs, run_process
from events.reach import Reach
from events.session import Session
from storage import outbox
from storage.cells import Cell

TURN_TIMEOUT_S: Final = 30.0
_LOG: Final = logging.getLogger(__name__)


class Relay:
    """Publishes one cell's outbox, as far as this process leads it."""

    def __init__(self, cell: Cell, dsn: str, bootstrap: str) -> None:
        self._cell = cell
        self._dsn = dsn
        self._bootstrap = bootstrap
        self._reach = Reach()
        self._leadership = Leadership(cell, self._reach)
        self._bell = asyncio.Event()
        self._alone: set[int] = set()
        self._pauses = backoffs()

    async def run(self) -> None:
        """Lead and publish until cancelled; whatever fails is tried again, after a growing pause."""
        async with _listening(self._dsn, self._bell), asyncio.TaskGroup() as group:
            group.create_task(self._leadership.run())
            group.create_task(self._publish())

    async def _publish(self) -> None:
        while True:
            await self._leadership.leads.wait()
            try:
                if self._leadership.is_aside:
                    await self._look_for_broker()
                else:
                    await self._publish_led()
            except (KafkaError, Overloaded, LeaseLost, OSError, TimeoutError) as error:
                RELAY_FAILURES.labels(type(error).__name__).inc()
                _LOG.warning("the relay of cell %d pauses: %s", self._cell.number, type(error).__name__)
                await asyncio.sleep(next(self._pauses))

    async def _publish_led(self) -> None:
        """Publish what is led, until nothing is."""
        self._reach.ask()
        async with open_admin(self._bootstrap) as admin, open_producer(self._bootstrap) as producer:
            self._reach.answered()
            session = Session(self._cell, self._leadership, admin, producer, alone=self._alone, reach=self._reach)
            while self._leadership.led:
                await self._turn(session)
                self._pauses = backoffs()

    async def _look_for_broker(self) -> None:
        """Come back where the broker can be reached, or nobody else is left to try."""
        self._reach.ask()
        try:
            async with open_admin(self._bootstrap) as admin, asyncio.timeout(TURN_TIMEOUT_S):
                await fetch_topics(admin)
            self._reach.answered()
        except (KafkaError, OSError, TimeoutError):
            if not await self._leadership.is_alone():
                raise
        self._pauses = backoffs()
        self._leadership.come_back()

    async def _turn(self, session: Session) -> None:
        """Publish what there is, and wait for the bell."""
        self._bell.clear()
        async with asyncio.timeout(TURN_TIMEOUT_S):
            pause = await session.turn()
        if pause:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._bell.wait(), pause)


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
