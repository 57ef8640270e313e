"""The consumer: reads facts and has their effects, each once: `python -m events.consumer`.

Records of a partition are worked on in order, partitions side by side. An offset is committed after the effect, so
that a crash repeats records; every effect knows the events it has had. What fails for now is tried again and holds up
its partition; what can never be read is counted and passed over.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeAlias

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from events.broker import fetch_topics, marks_among, open_admin
from events.handlers import Handlers
from events.metrics import CONSUMED, CONSUMER_FAILURES, CONSUMER_LAG, UNREADABLE
from events.process import Process, backoffs, run_process
from events.records import ReceivedEvent, UnreadableRecord, read_record
from storage.redis_client import open_redis

GROUP: Final = "kith"
READ_TOPICS: Final = ("social.v1",)
BATCH: Final = 200
POLL_MS: Final = 500
LOOK_AT_BROKER_EVERY_S: Final = 1.0
SESSION_TIMEOUT_MS: Final = 10_000
DEVELOPMENT_SESSION_TIMEOUT_MS: Final = 2000  # the embedded broker holds a group's first join back for half of it
FETCH_WAIT_MS: Final = 20  # the embedded broker waits by partition: at 500 a record took 140 ms, at 20 it takes 3
STOP_TIMEOUT_S: Final = 3.0
STEADY_AFTER_S: Final = 10.0
_LOG: Final = logging.getLogger(__name__)

Record: TypeAlias = ConsumerRecord  # of bytes and bytes; the library's types are not there to be checked
Handle = Callable[[ReceivedEvent], Awaitable[None]]


class BrokerLost(Exception):
    """The broker has begun a new life; what it holds now is read from the start."""


class Consumer:
    """Reads the topics of one group and hands each fact to `handle`."""

    def __init__(self, bootstrap: str, handle: Handle, *, session_timeout_ms: int = SESSION_TIMEOUT_MS) -> None:
        self._bootstrap = bootstrap
        self._handle = handle
        self._session_timeout_ms = session_timeout_ms

    async def run(self) -> None:
        """Consume until cancelled; whatever fails is tried again, after a growing pause."""
        pauses = backoffs()
        while True:
            started = time.monotonic()
            try:
                await self._consume()
            except Exception as error:  # noqa: BLE001 - whatever an effect raises holds its partition up, and is tried again
                CONSUMER_FAILURES.labels(type(error).__name__).inc()
                _LOG.warning("the consumer pauses: %s", type(error).__name__)
            if time.monotonic() - started > STEADY_AFTER_S:
                pauses = backoffs()
            await asyncio.sleep(next(pauses))

    async def _consume(self) -> None:
        marks = await _wait_for_topics(self._bootstrap)
        async with _open_consumer(self._bootstrap, self._session_timeout_ms) as consumer:
            looked_at = time.monotonic()
            while True:
                batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=BATCH)
                await asyncio.gather(*(self._work_off(consumer, *batch) for batch in batches.items()))
                if time.monotonic() - looked_at > LOOK_AT_BROKER_EVERY_S:
                    looked_at = time.monotonic()
                    await _expect_same_life(consumer, marks)
                    CONSUMER_LAG.set(await _lag(consumer))

    async def _work_off(self, consumer: AIOKafkaConsumer, partition: TopicPartition, records: list[Record]) -> None:
        for record in records:
            await self._work_on(record)
        await consumer.commit({partition: records[-1].offset + 1})

    async def _work_on(self, record: Record) -> None:
        """Have one record's effect; while a cell is away the partition waits, and nothing is skipped."""
        try:
            event = read_record(record.key, record.headers, record.value)
        except UnreadableRecord as error:
            UNREADABLE.inc()
            _LOG.error("unreadable record at %s/%d/%d: %s", record.topic, record.partition, record.offset, error)
            return
        if event is not None:
            await self._handle(event)
            CONSUMED.labels(event.type.value).inc()


async def _wait_for_topics(bootstrap: str) -> frozenset[str]:
    """Wait until the relay has made the topics: a consumer that came first would make the broker make others."""
    async with open_admin(bootstrap) as admin:
        while not (marks := marks_among(topics := await fetch_topics(admin))) or not topics.issuperset(READ_TOPICS):
            await asyncio.sleep(0.1)
    return marks


async def _expect_same_life(consumer: AIOKafkaConsumer, marks: frozenset[str]) -> None:
    if not marks_among(await consumer.topics()) >= marks:
        raise BrokerLost


@contextlib.asynccontextmanager
async def _open_consumer(bootstrap: str, session_timeout_ms: int) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        *READ_TOPICS,
        bootstrap_servers=bootstrap,
        group_id=GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=FETCH_WAIT_MS,
        session_timeout_ms=session_timeout_ms,
        heartbeat_interval_ms=session_timeout_ms // 4,
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        with contextlib.suppress(TimeoutError, KafkaError):
            await asyncio.wait_for(consumer.stop(), STOP_TIMEOUT_S)


async def _lag(consumer: AIOKafkaConsumer) -> int:
    """Count the records that wait, from what the last fetch said of each partition's end."""
    lag = 0
    for partition in consumer.assignment():
        end = consumer.highwater(partition)
        lag += max(0, end - await consumer.position(partition)) if end is not None else 0
    return lag


async def _main(process: Process) -> None:
    async with open_redis(process.addresses.redis_url) as redis:
        handlers = Handlers(process.database, redis)
        timeout = SESSION_TIMEOUT_MS if process.settings.is_production else DEVELOPMENT_SESSION_TIMEOUT_MS
        await Consumer(process.addresses.kafka_bootstrap, handlers.handle, session_timeout_ms=timeout).run()


if __name__ == "__main__":
    run_process(_main)
