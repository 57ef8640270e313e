"""Another service's view: everything that the topics hold, read again from the start when the broker lost it."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from domain.events import TOPICS
from events.clients import start_client, stop_consumer
from events.groups import expect_same_life, wait_for_topics
from events.records import read_record

LOOK_EVERY_S: Final = 0.5
PATIENCE_S: Final = 10.0
AWAY: Final = (KafkaError, OSError, TimeoutError)


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """One event, at its first coming: its type, the number that orders it, and what it says."""

    type: str
    sequence: int
    about: Any


@dataclasses.dataclass(slots=True)
class Sink:
    """Collects events by key, each once, in the order in which they first came."""

    bootstrap: str
    by_key: dict[str, list[Heard]] = dataclasses.field(default_factory=dict)
    records: int = 0
    lives: int = 0
    _ids: set[str] = dataclasses.field(default_factory=set)

    @property
    def repeats(self) -> int:
        """Count the records whose event had come before."""
        return self.records - len(self._ids)

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            with contextlib.suppress(*AWAY):
                await self._read()
            await asyncio.sleep(0.1)

    async def _read(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            marks = await wait_for_topics(self.bootstrap, TOPICS)
        async with self._open() as consumer:
            self.lives += 1
            while True:
                # A client that was frozen with its broker may wait for ever: whoever waits too long starts again.
                async with asyncio.timeout(PATIENCE_S):
                    batches = await consumer.getmany(timeout_ms=int(LOOK_EVERY_S * 1000))
                    await expect_same_life(consumer, marks)
                for records in batches.values():
                    for record in records:
                        self.take(record.key, record.headers, record.value)

    def take(self, key: bytes, headers: Any, value: bytes) -> None:
        """Take one record."""
        event, attributes = read_record(key, headers, value), dict(headers)
        identity = attributes["ce_id"].decode()
        self.records += 1
        if event is None or identity in self._ids:
            return
        self._ids.add(identity)
        heard = Heard(event.type.value, int(attributes["ce_sequence"]), event.payload)
        self.by_key.setdefault(event.key, []).append(heard)

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            *TOPICS,
            bootstrap_servers=self.bootstrap,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            request_timeout_ms=5000,
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                await start_client(consumer)
            yield consumer
        finally:
            await stop_consumer(consumer)
