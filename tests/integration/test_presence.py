"""Who is gone loses every connection, with Redis and without; a session that ends loses its own."""

import asyncio
import contextlib
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from domain.errors import Overloaded
from domain.events import EventType, UserPayload
from domain.revocations import Credentials
from domain.users import UserState
from embedded import Addresses
from events.handlers import Handlers
from events.records import ReceivedEvent
from resolvers import presence as watched
from resolvers.presence import Presence
from storage.channels import Listeners, Notice, give_notice
from storage.database import Database
from storage.departures import depart
from storage.redis_client import CacheUnavailable, Redis
from tests.conftest import MakePerson, Person, eventually

CUT_OFF_WITHIN_S = 4.0


class Connection:
    """Something that can be cut off."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def ends(self) -> None:
        async with asyncio.timeout(CUT_OFF_WITHIN_S):
            await self.over.wait()


@contextlib.contextmanager
def connected(presence: Presence, person: Person, session: str | None = None) -> Iterator[Connection]:
    connection = Connection()
    with presence.present(Credentials(person.id, "t", 0.0, session), connection.over.set):
        yield connection


@pytest.fixture
async def alone(database: Database) -> AsyncIterator[Presence]:
    """Watch without Redis: nobody answers at this address, and only the look every second is left."""
    async with Listeners("redis://127.0.0.1:1") as listeners, Presence(database, listeners).watching() as presence:
        yield presence


@pytest.fixture
async def notified(
    database: Database, addresses: Addresses, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Presence]:
    """Watch by notices alone."""
    monkeypatch.setattr(watched, "LOOK_EVERY_S", 3600.0)
    async with Listeners(addresses.redis_url) as listeners, Presence(database, listeners).watching() as presence:

        async def is_heard() -> bool:
            with contextlib.suppress(CacheUnavailable):  # a busy machine may take longer than a call may
                return bool(await redis.run(lambda client: client.publish("sessions", "")))
            return False

        await eventually(is_heard)
        yield presence


@pytest.mark.parametrize("state", [UserState.DELETED, UserState.SUSPENDED])
async def test_without_redis_whoever_goes_is_cut_off(
    alone: Presence, database: Database, make_person: MakePerson, state: UserState
) -> None:
    goes, stays = await make_person(), await make_person()
    with connected(alone, goes) as one, connected(alone, goes, "s") as other, connected(alone, stays) as left:
        await depart(database, goes.id, state, event=EventType.USER_DELETED)
        await one.ends()
        await other.ends()
        assert not left.over.is_set()


async def test_a_notice_about_a_person_is_looked_into(
    notified: Presence, database: Database, redis: Redis, make_person: MakePerson
) -> None:
    goes, stays = await make_person(), await make_person()
    with connected(notified, goes) as one, connected(notified, stays) as left:
        await depart(database, goes.id, UserState.SUSPENDED, event=EventType.USER_UPDATED)
        await give_notice(redis, Notice(user_id=stays.id))
        await give_notice(redis, Notice(user_id=goes.id))
        await one.ends()
        assert not left.over.is_set()


async def test_the_fact_that_somebody_changed_is_a_notice(
    notified: Presence, database: Database, redis: Redis, make_person: MakePerson
) -> None:
    goes, stays = await make_person(), await make_person()
    handlers = Handlers(database, redis)
    with connected(notified, goes) as one, connected(notified, stays) as left:
        await depart(database, goes.id, UserState.SUSPENDED, event=EventType.USER_UPDATED)
        for person in (stays, goes):
            await handlers.handle(fact(person))
        await one.ends()
        assert not left.over.is_set()


def fact(person: Person) -> ReceivedEvent:
    payload = UserPayload(user_id=person.opaque_id, user_version=2)
    return ReceivedEvent(uuid.uuid4(), EventType.USER_UPDATED, dt.datetime.now(dt.UTC), person.opaque_id, payload)


async def test_a_session_that_ends_loses_its_own_connections(
    notified: Presence, redis: Redis, make_person: MakePerson
) -> None:
    person = await make_person()
    with connected(notified, person, "this one") as one, connected(notified, person, "another") as left:
        await give_notice(redis, Notice(session="this one"))
        await one.ends()
        assert not left.over.is_set()


@pytest.mark.parametrize("words", ["", "user", "user x", "user -1", "user ²", "session ", "x 1", "\xff"])
async def test_words_that_are_no_notice_are_passed_over(
    notified: Presence, redis: Redis, make_person: MakePerson, words: str
) -> None:
    person = await make_person()
    with connected(notified, person, "s") as connection:
        await redis.run(lambda client: client.publish("sessions", words.encode("latin-1")))
        await give_notice(redis, Notice(session="s"))
        await connection.ends()


async def test_cells_that_do_not_answer_cut_nobody_off(
    alone: Presence, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, asked = await make_person(), asyncio.Event()

    async def fail(*_arguments: object) -> set[int]:
        asked.set()
        raise Overloaded

    monkeypatch.setattr(watched, "fetch_active", fail)
    with connected(alone, person) as connection:
        async with asyncio.timeout(60):
            await asked.wait()
            asked.clear()
            await asked.wait()
        assert not connection.over.is_set()
