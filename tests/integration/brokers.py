"""A broker of its own for a test, with the topics, and ways to write to it and to read all that it holds."""

import asyncio
import contextlib
import struct
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from unittest import mock

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from domain.events import TOPICS
from embedded import Part, Services
from events.broker import PARTITIONS, ensure_topics, mark_life, open_admin
from events.reading import Record
from tests.proxies import lead_to, proxied


@contextlib.asynccontextmanager
async def open_broker(folder: Path) -> AsyncIterator[Services]:
    """Run a broker that no other test's facts are in."""
    folder = folder / f"b-{uuid.uuid4().hex[:6]}"
    async with Services(folder, parts=frozenset({Part.BROKER}), report=lambda _line: None) as services:
        await begin_life(services.addresses.kafka_bootstrap)
        yield services


async def begin_life(bootstrap: str) -> None:
    """Make the topics and mark a life, as the relay does."""
    async with open_admin(bootstrap) as admin:
        await ensure_topics(admin)
        await mark_life(admin, uuid.uuid4())


@contextlib.asynccontextmanager
async def open_writer(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    """Open a producer that may send what no relay would."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=4_000_000)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


class NoText(str):
    """The name of a header that is not UTF-8."""

    __slots__ = ()

    def encode(self, *_form: str) -> bytes:
        """Give bytes that are no text."""
        return b"\xff\xfe"


@contextlib.asynccontextmanager
async def open_careless_writer(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    """Open a producer that may send even what readers' libraries cannot take, as with `NoText`."""
    with contextlib.ExitStack() as stack:
        for module in ("message_accumulator", "producer"):
            name = f"aiokafka.producer.{module}.DefaultRecordBatchBuilder"
            stack.enter_context(mock.patch(name, _DefaultRecordBatchBuilderPy))
        async with open_writer(bootstrap) as producer:
            yield producer


async def read_all(bootstrap: str) -> list[Record]:
    """Read every record, partition by partition in order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for topic in TOPICS for number in range(PARTITIONS)])
        records: list[Record] = []
        while batches := await consumer.getmany(timeout_ms=1500):
            for batch in batches.values():
                records += batch
        return records
    finally:
        await consumer.stop()


class Way:
    """A way of one client to the broker: a proxy that can be frozen, with everything that goes over it."""

    def __init__(self, bootstrap: str) -> None:
        self._host, port = bootstrap.split(":")
        self._port = int(port)
        self._passing = asyncio.Event()
        self._passing.set()
        self.bootstrap = ""

    def freeze(self) -> None:
        """Hold everything back from now on, whichever way it goes."""
        self._passing.clear()

    def thaw(self) -> None:
        """Let it go on."""
        self._passing.set()

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator["Way"]:
        """Listen until the context closes."""
        async with proxied(self._serve) as port:
            self.bootstrap = f"127.0.0.1:{port}"
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._passing.wait()
        await lead_to(f"{self._host}:{self._port}", reader, writer, ask=self._pass, answer=self._pass)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass messages on; where the broker names its address, it is this one."""
        _, _, port = self.bootstrap.partition(":")
        here, there = struct.pack(">i", int(port)), struct.pack(">i", self._port)
        while True:
            size = await reader.readexactly(4)
            message = await reader.readexactly(int.from_bytes(size))
            await self._passing.wait()
            host = self._host.encode()
            writer.write(size + message.replace(host + there, host + here))
            await writer.drain()
