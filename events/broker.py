"""The broker: its topics, and its lives.

A broker that comes back empty, as one that keeps everything in memory does, has begun a new life. Each life is marked
by a topic with a random name: whoever finds the mark of the life he knew gone starts over, the relay by feeding again
what the outbox retains, consumers by reading from the start.
"""

import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    TopicAlreadyExistsError,
    UnknownError,
    UnsupportedVersionError,
    for_code,
)

from domain.events import ACKNOWLEDGEMENTS, TOPICS
from events.clients import start_client
from events.metrics import RELAY_IDEMPOTENT
from events.security import client_options

PARTITIONS: Final = 6
REQUEST_TIMEOUT_MS: Final = 5000
MAX_SEND_BYTES: Final = 1_000_000
BATCH_BYTES: Final = 200_000  # far below what brokers take at once by default, 1 MiB
_NOT_IDEMPOTENT: Final = (UnknownError, UnsupportedVersionError, IncompatibleBrokerVersion)
_LOG: Final = logging.getLogger(__name__)
_MARK: Final = "kith.life."
_REPLICAS: Final = 3


@contextlib.asynccontextmanager
async def open_admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Open a client that looks at topics and makes them."""
    admin = AIOKafkaAdminClient(**client_options(bootstrap), request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await start_client(admin)
        yield admin
    finally:
        await admin.close()


@contextlib.asynccontextmanager
async def open_producer(bootstrap: str, *, max_bytes: int = MAX_SEND_BYTES) -> AsyncIterator[AIOKafkaProducer]:
    """Open a producer that keeps order per partition and waits for all replicas; idempotent where the broker can."""
    producer = await _start_producer(bootstrap, max_bytes)
    try:
        yield producer
    finally:
        await producer.stop()  # what is still on its way runs out within the request's timeout


async def _start_producer(bootstrap: str, max_bytes: int) -> AIOKafkaProducer:
    """Start a producer; without idempotence a send that timed out is repeated, for consumers to tell by its id."""
    try:
        producer = await _started(bootstrap, max_bytes, idempotent=True)
    except _NOT_IDEMPOTENT as error:
        RELAY_IDEMPOTENT.set(0)
        _LOG.info("the broker has no idempotent producers (%s)", type(error).__name__)
        return await _started(bootstrap, max_bytes, idempotent=False)
    RELAY_IDEMPOTENT.set(1)
    return producer


async def _started(bootstrap: str, max_bytes: int, *, idempotent: bool) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(
        **client_options(bootstrap),
        acks="all",
        enable_idempotence=idempotent,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        max_request_size=max_bytes,
        max_batch_size=BATCH_BYTES,
        linger_ms=0,
    )
    try:
        await start_client(producer)
    except BaseException:
        await producer.stop()
        raise
    return producer


def mark_of(life: uuid.UUID) -> str:
    """Name the topic that marks a life of the broker."""
    return f"{_MARK}{life}"


def marks_among(topics: set[str]) -> frozenset[str]:
    """Pick the marks out of all topics."""
    return frozenset(topic for topic in topics if topic.startswith(_MARK))


async def fetch_topics(admin: AIOKafkaAdminClient) -> set[str]:
    """List all topics."""
    return set(await admin.list_topics())


async def ensure_topics(admin: AIOKafkaAdminClient) -> None:
    """Make the topics of the contract, and the one on which erasures are acknowledged, where they are missing."""
    found = await fetch_topics(admin)
    await _create(admin, sorted(set(TOPICS) - found), PARTITIONS)
    await _create(admin, sorted({ACKNOWLEDGEMENTS} - found), 1)


async def mark_life(admin: AIOKafkaAdminClient, life: uuid.UUID) -> None:
    """Mark the broker's present life."""
    await _create(admin, [mark_of(life)], 1)


async def _create(admin: AIOKafkaAdminClient, names: Sequence[str], partitions: int) -> None:
    """Make topics on three brokers, or on as many as there are."""
    if not names:
        return
    cluster = await admin.describe_cluster()
    replicas = min(_REPLICAS, len(cluster["brokers"]))
    response = await admin.create_topics([NewTopic(name, partitions, replicas) for name in names])
    for _topic, code, *_message in response.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            raise for_code(code)
