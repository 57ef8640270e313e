"""The relay on a real broker: order per key with two of them, take-over, quarantine, and brokers that fail."""

import asyncio
import collections
import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Iterable
from pathlib import Path
from time import monotonic
from typing import Final

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from embedded import Addresses, Part, Services
from events import broker as broker_module
from events import leadership, refeed
from events.clients import start_client, stop_consumer
from events.leadership import Leadership
from events.metrics import RELAYED
from events.quarantine import list_held, retry, show, skip
from events.relay import Relay
from events.session import Session
from storage import outbox_quarantine
from storage.cells import Cell, ShardMap
from storage.outbox import Bell
from storage.outbox_quarantine import Refusal
from storage.outbox_reading import fetch_of_keys
from tests.conftest import eventually
from tests.integration.brokers import Way, begin_life, read_all
from tests.integration.outboxes import PARTITIONS, append, open_cell, partition_of

ROOT: Final = Path(__file__).resolve().parents[2]
KEYS: Final = 50
TAKE_OVER_WITHIN_S: Final = 60.0
FROZEN_S: Final = float(os.environ.get("KITH_FROZEN_S", "8"))
"""Longer than any request to the broker may take."""
DAY: Final = dt.timedelta(days=1)
LEND: Final = """
UPDATE relay_positions SET holder = gen_random_uuid(), lease_until = $2::text::timestamptz
WHERE partition = ANY($1::smallint[])
"""
POISON: Final = """
INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload)
VALUES ($2, 'users', $1, 'user.updated', jsonb_build_object('version', 1, 'userId', repeat('x', $3), 'userVersion', 0))
"""


@dataclasses.dataclass(slots=True)
class Sink:
    """A consumer that notes every record, by key, and passes over those it has had."""

    bootstrap: str
    seen: set[uuid.UUID] = dataclasses.field(default_factory=set)
    versions: dict[str, list[int]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    repeated: int = 0

    async def run(self) -> None:
        """Read the broker's present life from the start, and the next one when it is gone, until cancelled."""
        while True:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                await self._read_one_life()
            await asyncio.sleep(0.1)

    async def _read_one_life(self) -> None:
        async with broker_module.open_admin(self.bootstrap) as admin:
            while "users.v1" not in (topics := await broker_module.fetch_topics(admin)):
                await asyncio.sleep(0.05)
            marks = broker_module.marks_among(topics)
            consumer = AIOKafkaConsumer(
                "users.v1", bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=20
            )
            try:
                await start_client(consumer)
                while broker_module.marks_among(await broker_module.fetch_topics(admin)) >= marks:
                    for records in (await consumer.getmany(timeout_ms=100)).values():
                        for record in records:
                            self._note(record.key, record.headers, record.value)
            finally:
                await stop_consumer(consumer)

    def _note(self, key: bytes, headers: list[tuple[str, bytes]], value: bytes) -> None:
        event_id = uuid.UUID(dict(headers)["ce_id"].decode())
        if event_id in self.seen:
            self.repeated += 1
            return
        self.seen.add(event_id)
        self.versions[key.decode()].append(json.loads(value)["userVersion"])

    async def has(self, count: int, *, within: float = 40.0) -> None:
        """Wait for that many different events."""

        async def enough() -> bool:
            return len(self.seen) >= count

        await eventually(enough, within=within)

    async def has_version(self, key: str, version: int) -> None:
        """Wait for one event."""

        async def arrived() -> bool:
            return version in self.versions[key]

        await eventually(arrived, within=40)

    def forget(self) -> None:
        """Be a consumer that has not had anything yet."""
        self.seen.clear()
        self.versions.clear()

    def violations(self) -> int:
        """Count the events that came after a later one of their key."""
        return sum(sum(one > other for one, other in itertools.pairwise(own)) for own in self.versions.values())


@dataclasses.dataclass(slots=True)
class World:
    """An empty cell, a broker of its own, and a sink."""

    cell: Cell
    dsn: str
    broker: Services
    sink: Sink

    @property
    def bootstrap(self) -> str:
        return self.broker.addresses.kafka_bootstrap

    def kill_broker(self) -> None:
        """Have the broker lose everything; it is started again by itself."""
        pid = self.broker.pid(Part.BROKER)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    def relay(self) -> Relay:
        return Relay(self.cell, self.dsn, self.bootstrap)


@pytest.fixture
async def world(addresses: Addresses, short_folder: Path) -> AsyncIterator[World]:
    folder = short_folder / f"b{uuid.uuid4().hex[:6]}"
    async with (
        open_cell(addresses) as (cell, dsn),
        Services(folder, parts=frozenset({Part.BROKER}), report=lambda _line: None) as services,
    ):
        sink = Sink(services.addresses.kafka_bootstrap)
        async with running(sink.run()):
            yield World(cell, dsn, services, sink)


@contextlib.asynccontextmanager
async def running(*works: Awaitable[None]) -> AsyncIterator[None]:
    """Run something beside the test."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            assert not task.done(), task.exception()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def holders(cell: Cell) -> dict[int, uuid.UUID]:
    """Give who leads each partition now."""
    rows = await cell.fetch("SELECT partition, holder FROM relay_positions WHERE lease_until > now()")
    return {row["partition"]: row["holder"] for row in rows}


@contextlib.asynccontextmanager
async def relay_process(world: World, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a relay as a process of its own, as production does."""
    environment = {
        "PATH": os.environ["PATH"],
        "KITH_POSTGRES_DSNS": world.dsn,
        "KITH_REDIS_URL": "redis://127.0.0.1:1",
        "KITH_KAFKA_BOOTSTRAP": world.bootstrap,
        "KITH_DATA_DIR": str(log.parent),
    }
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "events.relay", cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def two_lead(world: World) -> None:
    """Wait until two relays have half of the partitions each."""

    async def shared() -> bool:
        counts = collections.Counter((await holders(world.cell)).values())
        return sorted(counts.values()) == [4, 4]

    await eventually(shared, within=40)


async def write_all(world: World, keys: Iterable[str], number: int) -> None:
    """Write events of many keys side by side, each key's in order, and ring the bell for each."""
    bell, writers = Bell(), asyncio.Semaphore(8)

    async def write(key: str) -> None:
        for version in range(number):
            async with writers:
                await append(world.cell, key, 1, first=version)
            bell.ring(world.cell)

    await asyncio.gather(*(write(key) for key in keys))
    await bell.close()


async def test_two_relays_share_the_keys_and_one_that_is_killed_is_replaced_without_loss_or_disorder(
    world: World, tmp_path: Path
) -> None:
    keys, number = [f"key{n}" for n in range(KEYS)], 20
    async with relay_process(world, tmp_path / "one.log") as one, relay_process(world, tmp_path / "two.log"):
        await two_lead(world)
        led = await holders(world.cell)
        writing = asyncio.create_task(write_all(world, keys, number))
        await world.sink.has(KEYS * number // 4)
        one.kill()
        killed = monotonic()

        async def one_leads() -> bool:
            now = await holders(world.cell)
            return len(now) == len(PARTITIONS) and len(set(now.values())) == 1

        await eventually(one_leads, within=TAKE_OVER_WITHIN_S)
        taken_over = monotonic() - killed
        await writing
        await world.sink.has(KEYS * number)
    sys.stdout.write(f"\ntake-over {taken_over:.1f} s, {world.sink.repeated} repeated of {KEYS * number}\n")
    assert len(set(led.values())) == 2
    assert world.sink.violations() == 0
    assert {key: own for key, own in world.sink.versions.items() if own != list(range(number))} == {}


async def test_a_relay_that_alone_cannot_reach_the_broker_leaves_its_partitions_to_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "SILENT_S", 1.0)
    keys = [f"key{n}" for n in range(KEYS)]
    async with Way(world.bootstrap).opened() as way:
        cut_off = Relay(world.cell, world.dsn, way.bootstrap)
        async with running(cut_off.run(), world.relay().run()):
            await two_lead(world)
            await write_all(world, keys, 1)
            await world.sink.has(KEYS)
            way.freeze()
            for version in (1, 2):
                for key in keys:
                    await append(world.cell, key, 1, first=version)
            await world.sink.has(3 * KEYS)  # it is cut off still
            way.thaw()
    assert world.sink.violations() == 0
    assert {key: own for key, own in world.sink.versions.items() if own != [0, 1, 2]} == {}


async def test_a_row_that_the_broker_refuses_holds_its_key_and_nothing_else_until_somebody_decides(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    poison = uuid.uuid4()
    operated = ShardMap((world.cell,))
    async with running(world.relay().run()):
        await append(world.cell, "ana", 2)
        await world.cell.fetch(POISON, "ana", poison, 1_500_000)
        await append(world.cell, "ana", 2, first=2)
        for n in range(20):
            await append(world.cell, f"other{n}", 1)
        await world.sink.has(22)
        assert world.sink.versions["ana"] == [0, 1]

        assert await list_held(operated) == 0
        assert "ana  waits since" in capsys.readouterr().out
        assert await show(operated, str(poison)) == 0
        assert "3 events of the key wait; the first has 15000" in capsys.readouterr().out

        assert await retry(operated, "ana") == 0
        await decided(world.cell)
        assert world.sink.versions["ana"] == [0, 1]

        assert await skip(operated, "ana") == 0
        await append(world.cell, "ana", 1, first=4)
        await world.sink.has(25)
        assert world.sink.versions["ana"] == [0, 1, 2, 3, 4]
        assert await retry(operated, "ana") == 1
        assert poison not in world.sink.seen


async def test_a_partition_that_is_taken_while_another_is_got_to_know_keeps_what_is_held_back_in_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(world.cell, "ana", 3)
    [refused, *_] = await fetch_of_keys(world.cell, ["ana"], after=0, until=99, retention=DAY, limit=1)
    await outbox_quarantine.hold(world.cell, [Refusal(refused, "Reason")])
    its_own = await partition_of(world.cell, "ana")
    other = (its_own + 1) % len(PARTITIONS)
    leading = Leadership(world.cell)

    async def lend(*numbers: int, to_others: bool) -> None:
        until = "infinity" if to_others else "-infinity"
        await world.cell.fetch(LEND, list(numbers), until)

    await lend(its_own, other, to_others=True)
    await leading.tend()
    ensure_topics = broker_module.ensure_topics

    async def take_meanwhile(admin: AIOKafkaAdminClient) -> None:
        await ensure_topics(admin)
        await lend(its_own, to_others=False)
        await leading.tend()

    async with (
        broker_module.open_admin(world.bootstrap) as admin,
        broker_module.open_producer(world.bootstrap) as producer,
    ):
        session = Session(world.cell, leading, admin, producer, alone=set())
        await session.turn()
        await lend(other, to_others=False)
        await leading.tend()
        assert its_own not in leading.led
        monkeypatch.setattr("events.session.ensure_topics", take_meanwhile)
        relayed = RELAYED._value.get()
        await session.turn()
        await session.turn()
    assert its_own in leading.led
    assert RELAYED._value.get() == relayed


async def test_what_was_meant_for_a_broker_that_lost_its_disk_is_not_given_to_its_next_life(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another relay may have made the topics again before this one looks: its fact would come before those lost."""
    monkeypatch.setattr("events.session.LOOK_EVERY_S", 3600)
    leading = Leadership(world.cell)
    await append(world.cell, "ana", 1)
    async with (
        broker_module.open_admin(world.bootstrap) as admin,
        broker_module.open_producer(world.bootstrap) as producer,
    ):
        await leading.tend()
        session = Session(world.cell, leading, admin, producer, alone=set())
        await session.turn()
        killed = world.broker.pid(Part.BROKER)
        world.kill_broker()

        async def lives_again() -> bool:
            if world.broker.pid(Part.BROKER) in (None, killed):
                return False
            with contextlib.suppress(KafkaError):
                await begin_life(world.bootstrap)
                return True
            return False

        await eventually(lives_again)
        await append(world.cell, "ana", 1, first=1)
        with pytest.raises(KafkaError):
            await session.turn()
    assert await read_all(world.bootstrap) == []


async def decided(cell: Cell) -> None:
    """Wait until the relay has done what was asked for."""

    async def done() -> bool:
        return not any(held.retry for held in await outbox_quarantine.fetch_all_held(cell, 10))

    await eventually(done)


async def test_a_broker_that_lost_its_disk_is_fed_beside_what_is_new_and_each_key_in_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refeed, "EVENTS_PER_S", 20)
    crowd = [f"key{n}" for n in range(40)]
    async with running(world.relay().run()):
        await append(world.cell, "ana", 3)
        await write_all(world, crowd, 20)
        await world.sink.has(803)
        world.sink.forget()
        world.kill_broker()
        await append(world.cell, "ana", 2, first=3)
        await world.sink.has_version("ana", 4)
        fed_before = len(world.sink.seen)
        monkeypatch.setattr(refeed, "EVENTS_PER_S", 10_000)
        await world.sink.has(805)
    assert world.sink.versions["ana"] == [0, 1, 2, 3, 4]
    assert world.sink.violations() == 0
    assert fed_before < 400


async def test_rows_that_wait_while_the_broker_is_away_and_those_it_lost_all_arrive_in_order(world: World) -> None:
    async with running(world.relay().run()):
        await write_all(world, ["ana", "bo"], 10)
        await world.sink.has(20)
        for start in (10, 20, 30):
            world.kill_broker()
            await append(world.cell, "ana", 10, first=start)
            await append(world.cell, "bo", 10, first=start)
            await world.sink.has(2 * (start + 10))
    assert world.sink.versions == {"ana": list(range(40)), "bo": list(range(40))}


async def test_a_relay_that_starts_after_the_broker_was_lost_sends_what_waited_and_what_was_lost(world: World) -> None:
    async with running(world.relay().run()):
        await append(world.cell, "ana", 5)
        await world.sink.has(5)
    world.kill_broker()
    world.sink.forget()
    await append(world.cell, "ana", 5, first=5)
    async with running(world.relay().run()):
        await world.sink.has(10)
    assert world.sink.versions["ana"] == list(range(10))


async def test_a_frozen_broker_stops_no_writer_and_the_relay_goes_on_by_itself(world: World) -> None:
    async with running(world.relay().run()):
        await append(world.cell, "ana", 5)
        await world.sink.has(5)
        pid = world.broker.pid(Part.BROKER)
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            await append(world.cell, "ana", 50, first=5)
            await asyncio.sleep(FROZEN_S)
        finally:
            os.kill(pid, signal.SIGCONT)
        await world.sink.has(55)
    assert world.sink.versions["ana"] == list(range(55))
