"""Every process hears of every fact from now on, and knows when it may have missed one, or has heard nothing."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from domain.events import TOPICS, EventType, UserPayload
from embedded import Addresses, Part, Services
from events import contract
from events.broadcast import Broadcast
from events.broker import ensure_topics, open_admin
from events.clients import stop_consumer
from events.records import ReceivedEvent
from tests.conftest import eventually
from tests.integration.brokers import begin_life, open_broker, open_writer

WITHIN_S = 40.0


@dataclasses.dataclass(slots=True)
class Process:
    """What one process hears."""

    versions: list[int] = dataclasses.field(default_factory=list)
    gaps: int = 0
    broadcast: Broadcast | None = None

    def on_change(self, event: ReceivedEvent) -> None:
        assert isinstance(event.payload, UserPayload)
        self.versions.append(event.payload.user_version)

    def on_gap(self) -> None:
        self.gaps += 1

    @contextlib.asynccontextmanager
    async def hearing(self, services: Services) -> AsyncIterator[Broadcast]:
        self.broadcast = Broadcast(
            services.addresses.kafka_bootstrap, on_change=self.on_change, on_gap=self.on_gap, topics=("users.v1",)
        )
        async with self.broadcast.listening():
            await eventually(self.began, within=WITHIN_S)
            yield self.broadcast

    async def began(self) -> bool:
        return self.gaps > 0

    async def heard(self, version: int) -> None:
        async def has() -> bool:
            return version in self.versions

        await eventually(has, within=WITHIN_S)


@pytest.fixture
async def broker(short_folder: Path) -> AsyncIterator[Services]:
    async with open_broker(short_folder) as services:
        yield services


async def send(producer: AIOKafkaProducer, version: int, *, type_: str = "user.updated", partition: int = 0) -> None:
    headers = contract.example_headers(EventType.USER_UPDATED) | {"ce_id": str(uuid.uuid4()), "ce_type": type_}
    value = b'{"version": 1, "userId": "%s", "userVersion": %d}' % (contract.ACTOR.encode(), version)
    encoded = [(name, text.encode()) for name, text in headers.items()]
    await producer.send_and_wait("users.v1", value, key=contract.ACTOR.encode(), headers=encoded, partition=partition)


async def test_every_process_hears_what_comes_after_it_began_and_forgets_once_before(broker: Services) -> None:
    one, other = Process(), Process()
    async with open_writer(broker.addresses.kafka_bootstrap) as producer:
        await send(producer, 1)
        async with one.hearing(broker), other.hearing(broker):
            for version in range(2, 12):
                await send(producer, version, partition=version % 6)
            for process in (one, other):
                for version in range(2, 12):
                    await process.heard(version)
        assert (one.gaps, other.gaps) == (1, 1), "only that it began"


async def test_a_record_that_is_no_fact_is_passed_over_and_one_from_later_is_a_gap(broker: Services) -> None:
    process = Process()
    async with open_writer(broker.addresses.kafka_bootstrap) as producer, process.hearing(broker):
        await producer.send_and_wait("users.v1", b"nothing", partition=0)
        await send(producer, 2)
        await process.heard(2)
        assert process.gaps == 1
        await send(producer, 3, type_="user.reincarnated")
        await send(producer, 4)
        await process.heard(4)
        assert process.gaps == 2


async def test_a_jump_of_the_offset_is_a_gap(broker: Services) -> None:
    process = Process()
    async with open_writer(broker.addresses.kafka_bootstrap) as producer, process.hearing(broker) as broadcast:
        await send(producer, 1)
        await process.heard(1)
        broadcast._next[TopicPartition("users.v1", 0)] -= 1  # as if the record that is expected had been removed
        await send(producer, 2)
        await process.heard(2)
        assert process.gaps == 2


async def test_a_new_life_of_the_broker_is_a_gap_and_what_comes_then_is_heard(broker: Services) -> None:
    process = Process()
    async with process.hearing(broker):
        pid = broker.pid(Part.BROKER)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        async def is_back() -> bool:
            return broker.pid(Part.BROKER) not in (None, pid)

        async def begins() -> bool:
            with contextlib.suppress(KafkaError):
                await begin_life(broker.addresses.kafka_bootstrap)
                return True
            return False

        await eventually(is_back, within=WITHIN_S)
        await eventually(begins, within=WITHIN_S)

        async def has_noticed() -> bool:
            return process.gaps >= 2

        await eventually(has_noticed, within=WITHIN_S)
        async with open_writer(broker.addresses.kafka_bootstrap) as producer:
            await send(producer, 7)
            await process.heard(7)


async def test_silence_grows_while_the_broker_is_frozen_and_ends_when_it_goes_on(broker: Services) -> None:
    process = Process()
    async with open_writer(broker.addresses.kafka_bootstrap) as producer, process.hearing(broker) as broadcast:
        await send(producer, 1)
        await process.heard(1)

        async def is_current() -> bool:
            return broadcast.silent_for < 1.0

        await eventually(is_current, within=WITHIN_S)
        pid = broker.pid(Part.BROKER)
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:

            async def is_silent() -> bool:
                return broadcast.silent_for > 2.0

            await eventually(is_silent, within=WITHIN_S)
        finally:
            os.kill(pid, signal.SIGCONT)
        await send(producer, 2)
        await process.heard(2)
        await eventually(is_current, within=WITHIN_S)
        assert process.versions[-1] == 2


async def test_a_consumer_stops_quietly_and_whole_while_its_requests_fail(addresses: Addresses) -> None:
    ready = asyncio.Event()

    async def fail(*_request: object) -> None:
        ready.set()
        raise KafkaConnectionError

    async with open_admin(addresses.kafka_bootstrap) as admin:
        await ensure_topics(admin)
    before = asyncio.all_tasks()
    consumer = AIOKafkaConsumer(*TOPICS, bootstrap_servers=addresses.kafka_bootstrap, retry_backoff_ms=60_000)
    await consumer.start()
    for place in consumer.assignment():
        await consumer.position(place)
    consumer._client.send = fail  # as by a broker that is away: the next request waits to be repeated
    await asyncio.wait_for(ready.wait(), WITHIN_S)
    await stop_consumer(consumer)

    async def is_nothing_left() -> bool:
        return asyncio.all_tasks() == before

    await eventually(is_nothing_left, within=WITHIN_S)
