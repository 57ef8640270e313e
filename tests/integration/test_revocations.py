"""What is revoked is refused by every process before long, with Redis and without."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from domain.errors import Overloaded
from domain.revocations import Credentials, Revocation, RevocationKind
from embedded import Addresses
from resolvers import revocations as watched
from resolvers.presence import Presence
from resolvers.revocations import Revocations
from storage.channels import Listeners
from storage.database import Database
from storage.revocations import forget_ended, revoke
from tests.conftest import MakePerson, Person, eventually

WITHIN_S = 30.0
NOW = float(int(time.time()))  # as tokens have it: cells hold microseconds, and would round the rest
DAY_S = 86_400.0


def token(person: Person, *, session: str | None = None, token_id: str = "", issued_at: float = NOW) -> Credentials:
    return Credentials(person.id, token_id, issued_at, session)


def session_of(person: Person, name: str, *, ends_at: float = NOW + DAY_S) -> Revocation:
    return Revocation(person.id, RevocationKind.SESSION, name, NOW, ends_at)


@pytest.fixture
async def notified(
    database: Database, addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Revocations]:
    """Watch by calls through Redis alone."""
    monkeypatch.setattr(watched, "POLL_EVERY_S", 3600.0)
    async with Listeners(addresses.redis_url) as listeners, Revocations(database, listeners).watching() as known:
        yield known


@pytest.fixture
async def alone(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Revocations]:
    """Watch without Redis: nobody answers at this address."""
    monkeypatch.setattr(watched, "POLL_EVERY_S", 0.05)
    async with Listeners("redis://127.0.0.1:1") as listeners, Revocations(database, listeners).watching() as known:
        yield known


async def refused(known: Revocations, credentials: Credentials) -> None:
    async def is_refused() -> bool:
        return known.cover(credentials)

    await eventually(is_refused, within=WITHIN_S)


async def test_a_session_is_refused_and_no_other(
    notified: Revocations, database: Database, make_person: MakePerson
) -> None:
    person, other = await make_person(), await make_person()
    await revoke(database, session_of(person, "one"))
    await refused(notified, token(person, session="one"))
    left = [token(person, session="two"), token(person), token(other, session="one"), token(person, token_id="one")]
    assert not any(map(notified.cover, left))


async def test_a_token_is_refused_by_its_own_id(
    notified: Revocations, database: Database, make_person: MakePerson
) -> None:
    person = await make_person()
    await revoke(database, Revocation(person.id, RevocationKind.TOKEN, "this", NOW, NOW + DAY_S))
    await refused(notified, token(person, token_id="this"))
    assert not notified.cover(token(person, token_id="that", session="this"))


async def test_all_that_was_issued_before_is_refused_and_nothing_later(
    notified: Revocations, database: Database, make_person: MakePerson
) -> None:
    person, other = await make_person(), await make_person()
    await revoke(database, Revocation(person.id, RevocationKind.EARLIER, "", NOW, NOW + DAY_S))
    await refused(notified, token(person, issued_at=NOW - 1))
    assert not notified.cover(token(person, issued_at=NOW))
    assert not notified.cover(token(other, issued_at=NOW - 1))
    await revoke(database, Revocation(person.id, RevocationKind.EARLIER, "", NOW - 60, NOW + DAY_S - 60))
    await revoke(database, session_of(other, "s"))
    await refused(notified, token(other, session="s"))
    assert notified.cover(token(person, issued_at=NOW - 1)), "an earlier moment takes nothing back"


async def test_without_redis_it_is_read_all_the_same(
    alone: Revocations, database: Database, make_person: MakePerson
) -> None:
    person = await make_person()
    await revoke(database, session_of(person, "one"))
    await refused(alone, token(person, session="one"))


async def test_a_row_that_is_committed_late_is_not_missed(
    alone: Revocations, database: Database, make_person: MakePerson
) -> None:
    slow, quick = await make_person(cell=0), await make_person(cell=0)
    cell = database.shards.home(slow.id)
    await revoke(database, session_of(quick, "s"))
    await refused(alone, token(quick, session="s"))
    late = "INSERT INTO revocations VALUES ($1, 1, 's', now(), now() + interval '1 hour', now() - interval '10 s')"
    await cell.fetch(late, slow.id)
    await refused(alone, token(slow, session="s"))


async def test_whoever_starts_later_knows_what_was_revoked_before(
    database: Database, addresses: Addresses, make_person: MakePerson
) -> None:
    person = await make_person()
    await revoke(database, session_of(person, "one"))
    async with Listeners(addresses.redis_url) as listeners, Revocations(database, listeners).watching() as known:
        await refused(known, token(person, session="one"))


async def test_cells_that_do_not_answer_end_no_watch(
    alone: Revocations, database: Database, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, asked = await make_person(), asyncio.Event()

    async def fail(*_arguments: object) -> None:
        asked.set()
        raise Overloaded

    with monkeypatch.context() as patch:
        patch.setattr(watched, "fetch_revocations", fail)
        async with asyncio.timeout(WITHIN_S):
            await asked.wait()
    await revoke(database, session_of(person, "one"))
    await refused(alone, token(person, session="one"))


async def test_what_has_ended_is_forgotten(database: Database, make_person: MakePerson) -> None:
    over, kept = await make_person(cell=0), await make_person(cell=0)
    await revoke(database, session_of(over, "s", ends_at=NOW - 7200))
    await revoke(database, session_of(kept, "s"))
    cell = database.shards.home(over.id)
    [row] = await cell.fetch("SELECT now() - interval '1 hour' AS moment")
    await forget_ended(cell, row["moment"])
    rows = await cell.fetch("SELECT user_id FROM revocations WHERE user_id = ANY($1::bigint[])", [over.id, kept.id])
    assert [row["user_id"] for row in rows] == [kept.id]


@contextlib.contextmanager
def connected(presence: Presence, credentials: Credentials) -> Iterator[Callable[[], bool]]:
    over = asyncio.Event()
    with presence.present(credentials, over.set):
        yield over.is_set


async def test_connections_end_with_the_token_that_opened_them(database: Database, make_person: MakePerson) -> None:
    person, other = await make_person(), await make_person()
    presence = Presence(database, Listeners("redis://127.0.0.1:1"))
    with (
        connected(presence, token(person, session="s")) as of_session,
        connected(presence, token(person, issued_at=NOW - 1)) as earlier,
        connected(presence, token(person, issued_at=NOW + 1)) as later,
        connected(presence, token(other, session="s")) as of_another,
    ):
        presence.end(session_of(person, "s"))
        assert [ended() for ended in (of_session, earlier, later, of_another)] == [True, False, False, False]
        presence.end(Revocation(person.id, RevocationKind.EARLIER, "", NOW, NOW + DAY_S))
        assert [ended() for ended in (earlier, later, of_another)] == [True, False, False]
