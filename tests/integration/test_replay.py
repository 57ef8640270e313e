"""Facts sent once more: those that are wanted, under their ids, in order per key, and none about the gone."""

import contextlib
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from unittest import mock

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from domain.events import EventType
from domain.users import UserState
from events.publisher import Publisher
from events.reading import Record
from events.records import read_record
from events.replay import find_person, replay
from resolvers import blocks, follows
from storage import outbox_quarantine
from storage.cells import Cell
from storage.database import Database
from storage.departures import depart
from storage.outbox import OutboxRow
from storage.outbox_quarantine import Held, Refusal
from storage.outbox_reading import fetch_of_keys
from storage.outbox_replay import Wish
from tests.conftest import MakePerson, Person
from tests.integration.brokers import open_broker, read_all

DAY = dt.timedelta(days=1)
LAST = 2**63 - 1


@pytest.fixture
async def broker(short_folder: Path) -> AsyncIterator[str]:
    async with open_broker(short_folder) as services:
        yield services.addresses.kafka_bootstrap


def quiet(_line: str) -> None:
    pass


def told(records: list[Record], *people: Person) -> list[str]:
    """Give the names of the facts under these people's keys."""
    keys = {person.opaque_id.encode() for person in people}
    return [dict(record.headers)["ce_type"].decode() for record in records if record.key in keys]


def ids_of(records: list[Record]) -> list[uuid.UUID]:
    events = [read_record(record.key, record.headers, record.value) for record in records]
    return [event.id for event in events if event is not None]


async def back_and_forth(one: Person, other: Person, times: int) -> None:
    for _ in range(times):
        await follows.follow(one.context, other.opaque_id)
        await follows.unfollow(one.context, other.opaque_id)


async def test_facts_about_a_person_come_again_in_order_and_under_their_ids(
    database: Database, broker: str, make_person: MakePerson
) -> None:
    ana, bo, eve = [await make_person() for _ in range(3)]
    await back_and_forth(ana, bo, 4)
    await follows.follow(eve.context, bo.opaque_id)
    wish = Wish(person=await find_person(database, ana.name))
    run = await replay(database, broker, wish, quiet, dry_run=False)
    first = await read_all(broker)
    social = [record for record in first if record.topic == "social.v1"]
    assert told(social, ana) == ["follow.created", "follow.removed"] * 4
    assert told([record for record in first if record.topic == "users.v1"], ana) == ["user.created"]
    assert told(first, eve) == [], "a fact that has nothing to do with the person"
    assert run.sent.total() == len(first) == 9
    await replay(database, broker, wish, quiet, dry_run=False)
    again = await read_all(broker)
    assert sorted(ids_of(again)) == sorted([*ids_of(first), *ids_of(first)])


async def test_a_dry_run_counts_and_sends_nothing(database: Database, broker: str, make_person: MakePerson) -> None:
    ana = await make_person()
    said: list[str] = []
    wish = Wish(person=ana.opaque_id)
    run = await replay(database, broker, wish, said.append, dry_run=True)
    assert run.sent == {"user.created": 1}
    assert any("user.created: 1" in line for line in said)
    assert await read_all(broker) == []


async def test_a_time_and_a_topic_choose_too(database: Database, broker: str, make_person: MakePerson) -> None:
    ana, bo = await make_person(), await make_person()
    await follows.follow(ana.context, bo.opaque_id)
    [row] = await database.shards.directory.fetch("SELECT now() AS now")
    since: dt.datetime = row["now"]
    await follows.unfollow(ana.context, bo.opaque_id)
    run = await replay(database, broker, Wish(since=since, person=ana.opaque_id), quiet, dry_run=True)
    assert run.sent == {"follow.removed": 1}
    run = await replay(database, broker, Wish(stream="users", person=ana.opaque_id), quiet, dry_run=True)
    assert run.sent == {"user.created": 1}


async def test_facts_about_the_gone_are_left_out_but_for_their_going(
    database: Database, broker: str, make_person: MakePerson
) -> None:
    ana, gone, erased, suspended = [await make_person() for _ in range(4)]
    for other in (gone, erased, suspended):
        await follows.follow(other.context, ana.opaque_id)
    await blocks.block(ana.context, gone.opaque_id, expires_at=None)
    await depart(database, gone.id, UserState.DELETED, event=EventType.USER_DELETED)
    await depart(database, suspended.id, UserState.SUSPENDED, event=EventType.USER_UPDATED)
    await database.shards.home(erased.id).fetch("DELETE FROM users WHERE id = $1", erased.id)
    for person in (ana, gone, erased, suspended):
        await replay(database, broker, Wish(person=person.opaque_id), quiet, dry_run=False)
    records = await read_all(broker)
    about = [record for record in records if erased.opaque_id.encode() in (record.value or b"")]
    assert told(about, ana, erased) == []
    about = [record for record in records if gone.opaque_id.encode() in (record.value or b"")]
    assert set(told(about, ana, gone)) == {"user.deleted"}
    assert "follow.created" in told(records, suspended)


async def test_a_key_ends_where_a_fact_cannot_be_sent_and_the_others_go_on(
    database: Database, broker: str, make_person: MakePerson
) -> None:
    ana, bo = await make_person(), await make_person()
    await back_and_forth(ana, bo, 1)
    await back_and_forth(bo, ana, 1)
    send = Publisher._send

    async def failing(publisher: Publisher, row: OutboxRow) -> object:
        if row.key == ana.opaque_id and row.type == "follow.created":
            raise MessageSizeTooLargeError
        return await send(publisher, row)

    with mock.patch.object(Publisher, "_send", failing):
        run = await replay(database, broker, Wish(stream="social", person=bo.opaque_id), quiet, dry_run=False)
    records = await read_all(broker)
    assert told(records, ana) == []
    assert told(records, bo) == ["follow.created", "follow.removed"]
    assert run.left_out.total() == 2


async def test_what_was_given_up_is_left_out_alone_and_what_waits_in_quarantine_with_all_behind_it(
    database: Database, broker: str, make_person: MakePerson
) -> None:
    given_up, waiting, other = [await make_person() for _ in range(3)]
    async with contextlib.AsyncExitStack() as stack:
        for person in (given_up, waiting):
            await back_and_forth(person, other, 1)
            cell, held = await hold_first_follow(database, person)
            stack.push_async_callback(outbox_quarantine.free, cell, held)
            if person is given_up:
                assert await outbox_quarantine.skip(cell, held)
                await outbox_quarantine.free(cell, held)
        run = await replay(database, broker, Wish(stream="social", person=other.opaque_id), quiet, dry_run=False)
    records = await read_all(broker)
    assert told(records, given_up) == ["follow.removed"]
    assert told(records, waiting) == []
    assert run.left_out.total() == 3


async def hold_first_follow(database: Database, person: Person) -> tuple[Cell, Held]:
    """Put a person's key into quarantine at the first follow."""
    for cell in database.shards.cells:
        rows = await fetch_of_keys(cell, [person.opaque_id], after=0, until=LAST, retention=DAY, limit=9)
        for row in rows:
            if row.type == "follow.created":
                await outbox_quarantine.hold(cell, [Refusal(row, "Reason")])
                held = await outbox_quarantine.find_held(cell, person.opaque_id)
                assert held is not None
                return cell, held
    raise AssertionError


async def test_nobody_is_found_by_a_name_that_nobody_has(database: Database) -> None:
    assert await find_person(database, "nobody.at.all.of.this.name") is None
