"""Reading as a member of a group: the client, the wait for the topics, and what is told of the partitions one has."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError

from events.broker import fetch_topics, marks_among, open_admin
from events.clients import ask, start_client, stop_consumer
from events.lives import BrokerLost, confirm_connections
from events.metrics import CONSUMER_LAG, CONSUMER_PARTITIONS
from events.security import client_options

FETCH_WAIT_MS: Final = 20  # the embedded broker waits by partition: at 500 a record took 140 ms, at 20 it takes 3
UNHURRIED_FETCH_WAIT_MS: Final = 500  # each look costs it a millisecond of CPU


@contextlib.asynccontextmanager
async def open_member(
    bootstrap: str,
    group: str,
    topics: tuple[str, ...],
    session_timeout_ms: int,
    marks: frozenset[str],
    *,
    hurry: bool = True,
) -> AsyncIterator[AIOKafkaConsumer]:
    """Join a group in the life of the broker that has these marks; leaves it in the end, if the broker can hear.

    In another life no position is committed: a commit raises BrokerLost there.
    The client's own request timeout stays: joining may take longer than any shorter one.
    """
    consumer = AIOKafkaConsumer(
        *topics,
        **client_options(bootstrap),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=FETCH_WAIT_MS if hurry else UNHURRIED_FETCH_WAIT_MS,
        session_timeout_ms=session_timeout_ms,
        heartbeat_interval_ms=session_timeout_ms // 4,
    )
    confirm_connections(consumer, functools.partial(expect_same_life, consumer, marks))
    try:
        await ask(start_client(consumer))
        yield consumer
    finally:
        await stop_consumer(consumer)


async def wait_for_topics(bootstrap: str, topics: tuple[str, ...]) -> frozenset[str]:
    """Wait until the relay has made the topics, and give the marks of the broker's life.

    Whoever read before would make the broker make topics of another shape.
    """
    pause = 0.05
    async with open_admin(bootstrap) as admin:
        while not (marks := marks_among(found := await fetch_topics(admin))) or not found.issuperset(topics):
            pause = min(pause * 2, 1.0)
            await asyncio.sleep(pause)
    return marks


async def expect_same_life(consumer: AIOKafkaConsumer, marks: frozenset[str]) -> None:
    """Make sure that the broker has not begun a new life.

    Raises:
        BrokerLost: it has.
    """
    if not marks_among(await ask(consumer.topics())) >= marks:
        raise BrokerLost


class Measures:
    """What is told of one group's partitions in this process."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._told: set[TopicPartition] = set()

    async def take(self, consumer: AIOKafkaConsumer) -> None:
        """Tell which partitions are read here, and how many records wait in each."""
        assigned = set(consumer.assignment())
        self._begin(assigned)
        for partition in assigned:
            self._tell_lag(partition, await _lag(consumer, partition))

    def end(self) -> None:
        """Tell that nothing is read any more."""
        self._begin(set())

    def _begin(self, assigned: set[TopicPartition]) -> None:
        CONSUMER_PARTITIONS.labels(self._group).set(len(assigned))
        for lost in self._told - assigned:
            self._tell_lag(lost, 0)
        self._told = assigned

    def _tell_lag(self, partition: TopicPartition, lag: int) -> None:
        CONSUMER_LAG.labels(self._group, partition.topic, partition.partition).set(lag)


async def _lag(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int:
    """Count the records that wait, by what the last fetch said of the partition's end."""
    end = consumer.highwater(partition) if partition in consumer.assignment() else None
    if end is not None:
        with contextlib.suppress(IllegalStateError):  # somebody else reads it now
            return max(0, int(end) - int(await consumer.position(partition)))
    return 0
