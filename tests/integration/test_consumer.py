"""The consumer, whatever it is sent: effects once, what cannot be done set aside, nothing given up for an outage."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from aiokafka import AIOKafkaProducer

from domain.errors import Overloaded
from domain.events import EventType
from domain.ids import new_id
from events import effects
from events.consumer import Consumer
from events.dead_letters import Post
from events.effects import Handle, Subscription
from events.letters import Letters
from events.metrics import CONSUMER_LAG, CONSUMER_PARTITIONS, DEAD_LETTERS
from events.records import ReceivedEvent, headers_of
from storage.cells import Cell, Connection
from storage.database import Database
from storage.dead_letters import Letter, fetch_letters
from storage.inbox import forget_had, have_once
from storage.outbox import OutboxRow
from storage.redis_client import CacheUnavailable
from tests.conftest import eventually
from tests.integration.brokers import NoText, open_broker, open_careless_writer, open_writer

ROOT = Path(__file__).parents[2]
TOPIC = "users.v1"
KEY = "nF3vWq0cQmyb6eJ1t0sGZA"
WITHIN_S = 30.0


@pytest.fixture
async def broker(short_folder: Path) -> AsyncIterator[str]:
    async with open_broker(short_folder) as services:
        yield services.addresses.kafka_bootstrap


@dataclasses.dataclass(slots=True)
class Sender:
    """Somebody who may write to the broker: the relay, or whoever pretends to be."""

    producer: AIOKafkaProducer

    async def send(self, number: int, **changes: Any) -> uuid.UUID:
        """Send the fact that a profile is at version `number`, with what is changed of it; gives its id."""
        payload = {"version": 1, "userId": KEY, "userVersion": number} | changes.pop("payload", {})
        row = OutboxRow(
            sequence=number,
            id=changes.pop("id", uuid.uuid4()),
            stream="users",
            key=KEY,
            type=changes.pop("type", EventType.USER_UPDATED.value),
            payload=json.dumps(payload).encode(),
            created_at=dt.datetime.now(dt.UTC),
            traceparent=None,
        )
        headers = changes.get("headers", headers_of(row))
        key, value = changes.get("key", KEY.encode()), changes.get("value", row.payload)
        await self.producer.send_and_wait(TOPIC, value, key=key, headers=headers, partition=changes.get("partition", 0))
        return row.id


@pytest.fixture
async def sender(broker: str) -> AsyncIterator[Sender]:
    async with open_writer(broker) as producer:
        yield Sender(producer)


@dataclasses.dataclass(slots=True)
class Group:
    """A group of its own for each test, which no other test's dead letters are in."""

    name: str
    broker: str
    database: Database

    @contextlib.asynccontextmanager
    async def reading(self, handle: Handle) -> AsyncIterator[None]:
        subscription = Subscription(self.name, (TOPIC,), handle)
        letters = Letters(self.database, self.name)
        consumer = Consumer(self.broker, subscription, letters, session_timeout_ms=2000)
        task = asyncio.create_task(consumer.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def letters(self) -> list[Letter]:
        found = await fetch_letters(self.database.shards.directory, 10_000)
        return [letter for letter in found if letter.consumer == self.name]


@pytest.fixture
def group(broker: str, database: Database) -> Group:
    return Group(f"group {uuid.uuid4()}", broker, database)


@dataclasses.dataclass(slots=True)
class Seen:
    """Which versions of a profile a handler was told of, in order; some may make it fail."""

    versions: list[int] = dataclasses.field(default_factory=list)
    fail: Callable[[int], Exception | None] = lambda _version: None
    tries: int = 0

    async def handle(self, event: ReceivedEvent) -> None:
        version: int = event.payload.user_version  # type: ignore[union-attr] # only such facts are sent here
        error = self.fail(version)
        if error is not None:
            self.tries += 1
            raise error
        self.versions.append(version)

    def reach(self, version: int) -> Callable[[], Awaitable[bool]]:
        async def reached() -> bool:
            return version in self.versions

        return reached


FORGERIES: dict[str, dict[str, Any]] = {
    "without headers": {"headers": []},
    "with a header of bytes": {"headers": [("ce_type", b"\xff"), ("\x00", b"")]},
    "of wrong types": {"payload": {"userVersion": "x"}},
    "of a megabyte": {"payload": {"x": "x" * 1_000_000}},
    "under another key": {"key": b"elsewhere"},
    "without a key": {"key": None},
    "without a value": {"value": None},
    "of no JSON": {"value": b"\x00\x01"},
}


async def test_forged_records_become_dead_letters_and_the_partition_goes_on(
    sender: Sender, group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    await sender.send(1)
    for forgery in FORGERIES.values():
        await sender.send(2, **dict(forgery))
    await sender.send(3)
    seen = Seen()
    async with group.reading(seen.handle):
        await eventually(seen.reach(3), within=WITHIN_S)
    assert seen.versions == [1, 3]
    letters = await group.letters()
    assert len(letters) == len(FORGERIES)
    assert [letter.is_whole for letter in letters].count(False) == 1, "a megabyte is not kept"
    said = [record.getMessage() for record in caplog.records if "dead letter" in record.getMessage()]
    assert len(said) == len(FORGERIES)
    assert not any("xxx" in line or KEY in line for line in said)


async def test_a_record_that_the_library_cannot_read_is_passed_over_and_its_place_kept(
    broker: str, group: Group
) -> None:
    seen = Seen()
    async with open_careless_writer(broker) as producer:
        sender = Sender(producer)
        for number in range(1, 4):
            await sender.send(number)
            await sender.send(number, headers=[(NoText("x"), b"")])
        await sender.send(4, partition=1)
        await sender.send(5)
    async with group.reading(seen.handle):
        for number in range(1, 6):
            await eventually(seen.reach(number), within=WITHIN_S)
    assert sorted(seen.versions) == [1, 2, 3, 4, 5]
    letters = await group.letters()
    assert [(letter.partition, letter.offset) for letter in letters] == [(0, 1), (0, 3), (0, 5)]
    assert not any(letter.is_whole for letter in letters)


async def test_a_fact_of_a_later_type_or_version_passes_without_a_letter(sender: Sender, group: Group) -> None:
    await sender.send(1, type="user.reincarnated")
    await sender.send(2, payload={"version": 2, "userVersion": ["another form"]})
    await sender.send(3)
    seen = Seen()
    async with group.reading(seen.handle):
        await eventually(seen.reach(3), within=WITHIN_S)
    assert seen.versions == [3]
    assert await group.letters() == []


async def test_a_fact_on_which_the_handler_always_fails_holds_its_partition_up_for_a_while_only(
    sender: Sender, group: Group
) -> None:
    for number in (1, 2, 3):
        await sender.send(number)
    await sender.send(4, partition=1)
    seen = Seen(fail=lambda version: ZeroDivisionError() if version == 2 else None)
    async with group.reading(seen.handle):
        await eventually(seen.reach(4), within=WITHIN_S)
        await eventually(seen.reach(3), within=WITHIN_S)
    assert seen.tries == effects.FAULTS
    assert [version for version in seen.versions if version != 4] == [1, 3]
    [letter] = await group.letters()
    assert (letter.reason, letter.partition, letter.offset) == ("ZeroDivisionError", 0, 1)


async def test_a_partition_that_is_held_up_does_not_hold_up_the_others(sender: Sender, group: Group) -> None:
    await sender.send(1)
    await sender.send(2, partition=1)
    away = asyncio.Event()
    seen = Seen(fail=lambda version: Overloaded() if version == 1 and not away.is_set() else None)
    async with group.reading(seen.handle):
        await eventually(seen.reach(2), within=WITHIN_S)
        assert seen.versions == [2]
        away.set()
        await eventually(seen.reach(1), within=WITHIN_S)
    assert await group.letters() == []


@pytest.mark.parametrize(
    "error", [Overloaded(), CacheUnavailable(), OSError(), TimeoutError()], ids=lambda error: type(error).__name__
)
async def test_an_outage_never_makes_a_dead_letter(sender: Sender, group: Group, error: Exception) -> None:
    await sender.send(1)
    tries = effects.FAULTS + 2
    seen = Seen()
    seen.fail = lambda _version: error if seen.tries < tries else None
    with quick_pauses():
        async with group.reading(seen.handle):
            await eventually(seen.reach(1), within=WITHIN_S)
    assert seen.tries == tries
    assert await group.letters() == []


async def test_what_looks_like_a_fault_while_a_cell_is_away_makes_no_dead_letter(sender: Sender, group: Group) -> None:
    await sender.send(1)
    tries, pings = effects.FAULTS + 4, Cell.ping
    seen = Seen()
    seen.fail = lambda _version: RuntimeError("the driver's") if seen.tries < tries else None

    async def ping(cell: Cell) -> None:
        if seen.tries < tries:
            raise Overloaded
        await pings(cell)

    with quick_pauses(), mock.patch.object(Cell, "ping", ping):
        async with group.reading(seen.handle):
            await eventually(seen.reach(1), within=WITHIN_S)
    assert await group.letters() == []


async def test_a_handler_that_fails_on_everything_stands_still_instead_of_burying_all(
    sender: Sender, group: Group, caplog: pytest.LogCaptureFixture
) -> None:
    most = effects.FAULTY_IN_A_ROW
    for number in range(1, most + 3):
        await sender.send(number)
    mended = asyncio.Event()
    seen = Seen(fail=lambda _version: None if mended.is_set() else KeyError())

    async def stands_still() -> bool:
        return any("stands still" in record.getMessage() for record in caplog.records)

    with quick_pauses():
        async with group.reading(seen.handle):
            await eventually(stands_still, within=WITHIN_S)
            assert len(await group.letters()) == most
            mended.set()
            await eventually(seen.reach(most + 2), within=WITHIN_S)
    assert seen.versions == [most + 1, most + 2]


@contextlib.contextmanager
def quick_pauses() -> Any:
    """Try again at once, so that a test need not wait for a pause that grows."""

    def pauses() -> Any:
        while True:
            yield 0.01

    with mock.patch("events.holds.backoffs", pauses):
        yield


async def test_a_letter_can_be_looked_at_tried_again_and_dropped(sender: Sender, group: Group) -> None:
    await sender.send(1)
    await sender.send(2, headers=[])
    broken = Seen(fail=lambda _version: ZeroDivisionError())
    with quick_pauses():
        async with group.reading(broken.handle):

            async def two() -> bool:
                return len(await group.letters()) == 2

            await eventually(two, within=WITHIN_S)
    faulty, unreadable = await group.letters()
    said: list[str] = []
    mended = Seen()
    post = Post(group.database, {group.name: mended.handle}, said.append)
    await post.show()
    mine = [line for line in said if group.name in line]
    assert [str(faulty.id) in mine[0], "user.updated" in mine[0], "unknown" in mine[1]] == [True] * 3
    assert not any(KEY in line for line in mine)
    ids = [faulty.id, unreadable.id]
    assert await post.each(ids, post.retry) is False
    assert mended.versions == [1]
    assert await group.letters() == [unreadable]
    assert await post.each([unreadable.id], post.drop)
    assert await group.letters() == []
    assert await post.each(ids, post.drop) is False, "they are not there"


async def test_a_record_that_comes_again_makes_one_letter(sender: Sender, group: Group) -> None:
    for _ in range(3):
        await sender.send(2, headers=[])
    await sender.send(3)
    seen = Seen()
    async with group.reading(seen.handle):
        await eventually(seen.reach(3), within=WITHIN_S)
    assert len(await group.letters()) == 1


async def test_lag_partitions_and_letters_are_told_by_group(sender: Sender, group: Group) -> None:
    await sender.send(1)
    for number in range(2, 7):
        await sender.send(number)
    away = asyncio.Event()
    seen = Seen(fail=lambda version: Overloaded() if version == 2 and not away.is_set() else None)

    async def shows(lag: int) -> bool:
        told = CONSUMER_LAG.labels(group.name, TOPIC, 0)._value.get()
        return bool(told == lag) and CONSUMER_PARTITIONS.labels(group.name)._value.get() == 6

    async with group.reading(seen.handle):
        await eventually(lambda: shows(5), within=WITHIN_S)
        away.set()
        await eventually(lambda: shows(0), within=WITHIN_S)
        assert DEAD_LETTERS.labels(group.name)._value.get() == 0
    assert CONSUMER_PARTITIONS.labels(group.name)._value.get() == 0


async def test_an_effect_with_its_inbox_row_happens_once_or_not_at_all(database: Database) -> None:
    owner, event = new_id(0), uuid.uuid4()
    had: list[int] = []

    async def effect(_connection: Connection) -> None:
        had.append(1)

    async def failing(connection: Connection) -> None:
        await effect(connection)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await have_once(database, owner, "one", event, failing)
    assert await have_once(database, owner, "one", event, effect) is True
    assert await have_once(database, owner, "one", event, effect) is False
    assert await have_once(database, owner, "another", event, effect) is True
    for cell in database.shards.cells:
        await forget_had(cell, dt.datetime.now(dt.UTC) - dt.timedelta(days=1))
    assert await have_once(database, owner, "one", event, effect) is False
    await forget_had(database.shards.home(owner), dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1))
    assert await have_once(database, owner, "one", event, effect) is True


@pytest.mark.parametrize("with_inbox", [True, False], ids=["inbox", "no inbox"])
async def test_a_consumer_killed_between_effect_and_commit_has_no_effect_twice(
    sender: Sender, group: Group, dsns: tuple[str, ...], *, with_inbox: bool
) -> None:
    """Two processes die after their twelfth effect, a third does the rest; without the inbox there are repeats."""
    if len(dsns) > 1:
        pytest.skip("the processes know one cell")
    cell = group.database.shards.directory
    await cell.fetch("CREATE TABLE effects (event_id uuid NOT NULL)")
    sent = {await sender.send(number, partition=number % 3) for number in range(1, 41)}
    program = [sys.executable, "-m", "tests.integration.mortal_consumer", group.broker, group.name, dsns[0]]
    statuses = []
    for dies_after in ("12", "12", "never"):
        inbox = "inbox" if with_inbox else "none"
        process = await asyncio.create_subprocess_exec(*program, inbox, dies_after, cwd=ROOT)
        statuses.append(await wait_or_stop(process, cell, len(sent)))
    rows = [row["event_id"] for row in await cell.fetch("SELECT event_id FROM effects")]
    await cell.fetch("DROP TABLE effects")
    assert statuses == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert set(rows) == sent
    assert (len(rows) == len(sent)) is with_inbox


async def wait_or_stop(process: asyncio.subprocess.Process, cell: Cell, enough: int) -> int:
    """Wait until it is killed, or tell it to stop when all effects are there."""
    ended = asyncio.ensure_future(process.wait())
    async with asyncio.timeout(60):
        while not ended.done():
            [row] = await cell.fetch("SELECT count(DISTINCT event_id) AS had FROM effects")
            if row["had"] == enough:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGTERM)
                break
            await asyncio.wait({ended}, timeout=0.1)
        return await ended
