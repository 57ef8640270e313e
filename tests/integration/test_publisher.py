"""The producer on a broker that has idempotence and enforces sizes: what it refuses, and what comes after."""

import asyncio
import datetime as dt
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from unittest import mock

import noida_db
import pytest
from aiokafka.errors import KafkaError, RequestTimedOutError

from embedded import Addresses
from events import broker as broker_module
from events import publisher as publisher_module
from events.broker import ensure_topics, open_admin, open_producer
from events.held_keys import HeldKeys
from events.metrics import RELAY_IDEMPOTENT
from events.publisher import Publisher
from storage.cells import Cell
from storage.outbox import OutboxRow
from storage.outbox_quarantine import fetch_all_held
from storage.outbox_reading import fetch_of_keys
from tests.conftest import eventually
from tests.integration.brokers import open_broker, read_all
from tests.integration.outboxes import append, open_cell

PROGRAM: Final = Path(noida_db.__file__).with_name("noida-db")
LARGE: Final = """
INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload)
VALUES (gen_random_uuid(), 'users', $1, 'user.updated', jsonb_build_object('userId', repeat('x', 1500000)))
"""
"""More than a broker takes by default, and less than the producer of these tests would send."""


@pytest.fixture
async def cell(addresses: Addresses) -> AsyncIterator[tuple[Cell, str]]:
    async with open_cell(addresses) as opened:
        yield opened


@pytest.fixture
async def bootstrap(tmp_path: Path) -> AsyncIterator[str]:
    """Run a broker with idempotent producers, which the embedded one lacks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            "start",
            "--only",
            "kafka",
            "--kafka-port",
            str(port),
            "--data-dir",
            tmp_path,
            stdout=log,
            stderr=log,
        )
    try:
        await eventually(lambda: answers(port))
        async with open_admin(f"127.0.0.1:{port}") as admin:
            await ensure_topics(admin)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def rows_of(cell: Cell, *keys: str) -> list[OutboxRow]:
    return await fetch_of_keys(cell, keys, after=0, until=1000, retention=dt.timedelta(days=1), limit=1000)


async def test_the_producer_is_idempotent_where_the_broker_can(bootstrap: str, addresses: Addresses) -> None:
    async with open_producer(bootstrap) as producer:
        assert producer._txn_manager.has_pid()
        assert RELAY_IDEMPOTENT._value.get() == 1
    async with open_producer(addresses.kafka_bootstrap) as producer:
        assert producer._txn_manager is None
        assert RELAY_IDEMPOTENT._value.get() == 0


async def test_what_only_the_broker_refuses_holds_its_key_before_anything_of_it_has_followed(
    cell: tuple[Cell, str], bootstrap: str
) -> None:
    own, _ = cell
    await append(own, "ana", 1)
    await own.fetch(LARGE, "ana")
    await append(own, "ana", 1, first=1)
    held = HeldKeys(own)
    rows = await rows_of(own, "ana")
    async with open_producer(bootstrap, max_bytes=3_000_000) as producer:
        publisher = Publisher(producer, passes=held.passes, refuse=held.refuse, alone=set())
        assert await publisher.publish(rows) == 1
    [waiting] = await fetch_all_held(own, 10)
    assert (waiting.key, waiting.sequence, waiting.reason) == ("ana", rows[1].sequence, "MessageSizeTooLargeError")


async def test_a_producer_that_has_lost_its_sequence_is_given_up_and_another_goes_on(
    cell: tuple[Cell, str], bootstrap: str
) -> None:
    own, _ = cell
    await own.fetch(LARGE, "ana")
    await append(own, "ana", 1)
    for n in range(30):
        await append(own, f"bo{n}", 1)
    held = HeldKeys(own)
    rows = sorted(await rows_of(own, "ana", *(f"bo{n}" for n in range(30))), key=lambda row: row.sequence)
    with pytest.raises(KafkaError, match="OutOfOrderSequenceNumber"):
        async with open_producer(bootstrap, max_bytes=3_000_000) as producer:
            await Publisher(producer, passes=held.passes, refuse=held.refuse, alone=set()).publish(rows)
    async with open_producer(bootstrap, max_bytes=3_000_000) as producer:
        assert await Publisher(producer, passes=held.passes, refuse=held.refuse, alone=set()).publish(rows) == 30


MANY: Final = """
INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload)
SELECT gen_random_uuid(), 'users', $1, 'user.updated', jsonb_build_object('userId', repeat('x', $3))
FROM generate_series(1, $2)
"""


async def test_nothing_of_a_key_arrives_behind_a_row_that_was_lost_on_its_way(
    cell: tuple[Cell, str], short_folder: Path
) -> None:
    """The one request that is lost is given up by the client, which goes on with what it has."""
    own, _ = cell
    await own.fetch(MANY, "ana", 150, 20)
    held, lost = HeldKeys(own), 0
    async with open_broker(short_folder) as services, open_producer(services.addresses.kafka_bootstrap) as producer:
        send = producer.client.send

        async def lose(node: int, request: Any, **options: Any) -> Any:
            nonlocal lost
            if type(request).__name__.startswith("Produce") and not lost:
                lost += 1
                raise RequestTimedOutError
            return await send(node, request, **options)

        publisher = Publisher(producer, passes=held.passes, refuse=held.refuse, alone=set())
        with (
            mock.patch.object(producer.client, "send", lose),
            mock.patch.object(producer._message_accumulator, "_batch_ttl", 0),
            pytest.raises(KafkaError),
        ):
            await publisher.publish(await rows_of(own, "ana"))
        await producer.flush()
        assert (lost, await read_all(services.addresses.kafka_bootstrap)) == (1, [])


async def test_rows_that_the_broker_refuses_only_together_are_sent_one_by_one(
    cell: tuple[Cell, str], bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, _ = cell
    monkeypatch.setattr(broker_module, "BATCH_BYTES", 3_000_000)
    monkeypatch.setattr(publisher_module, "FLIGHT_BYTES", 3_000_000)
    await own.fetch(MANY, "ana", 120, 10_000)
    rows, held, alone = await rows_of(own, "ana"), HeldKeys(own), set[int]()
    with pytest.raises(KafkaError, match="together"):
        async with open_producer(bootstrap, max_bytes=3_000_000) as producer:
            await Publisher(producer, passes=held.passes, refuse=held.refuse, alone=alone).publish(rows)
    assert alone == {row.sequence for row in rows}
    async with open_producer(bootstrap, max_bytes=3_000_000) as producer:
        assert await Publisher(producer, passes=held.passes, refuse=held.refuse, alone=alone).publish(rows) == 120
    assert (alone, await fetch_all_held(own, 10)) == (set(), [])
