"""Sign-up as one thing in two services: an account and its person, or neither, whatever dies at whatever step."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import functools
import itertools
import re
import secrets
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiokafka import AIOKafkaConsumer

from domain.events import ACKNOWLEDGEMENTS, Event, EventType, UserPayload
from domain.ids import NodeType
from domain.users import UserState
from events.acknowledgements import Acknowledged, read_acknowledgement
from events.records import ReceivedEvent, headers_of
from identity import accounts
from identity.commands import LEASE
from identity.courier import Courier
from identity.database import Database as IdentityDatabase
from identity.departures import NAME, Departures, acknowledgement, have_effect
from identity.endings import tell_ended
from identity.erasures import BY_NAME, KEPT, OF_ACCOUNT
from identity.mails import fetch_latest
from identity.parts import Parts
from identity.reconciler import Reconciler
from identity.sessions import begin_session, fetch_sessions
from identity.sign_ups import (
    NewSignUp,
    SignUpState,
    begin_sign_up,
    choose_name,
    confirm_email,
    fetch_asked,
    fetch_sign_up,
)
from identity.tasks import running
from identity.user_service import UserService
from resolvers.context import Backend
from storage.master_keys import Unreadable
from storage.outbox import OutboxRow
from storage.personal import fetch_details
from storage.signed_client import NotReached, SignedClient
from storage.users import fetch_state
from tests.conftest import MakePerson, eventually
from tests.integration.brokers import open_broker, open_writer
from transport.internal import make_internal_app

HASH = "$argon2id$not-a-hash"
MOST_ROUNDS = 30
_TOKEN = re.compile(r"token=([A-Za-z0-9_-]+)")
_PEOPLE = "SELECT id FROM users WHERE username = ANY($1::text[]) AND state = 1"
_TABLES = """
SELECT c.oid::regclass::text AS name FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1
"""
_ROWS = "SELECT r::text FROM {table} AS r"


class Killed(Exception):
    """The process dies here."""


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def fresh(stem: str = "su") -> str:
    return f"{stem}{secrets.token_hex(6)}"


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """Both services, with the courier between them."""

    parts: Parts
    backend: Backend
    users: UserService
    courier: Courier

    async def begin(self, name: str, email: str | None = None) -> str:
        """Sign up, and give the token of the link in the mail."""
        new = NewSignUp(email or f"{name}@example.org", name, HASH)
        async with self.parts.database.transaction() as connection:
            await begin_sign_up(connection, self.parts.emails, new, self.parts.url, now())
            [mail] = await fetch_latest(connection, self.parts.vault, 1)
        found = _TOKEN.search(mail.letter.text)
        return found.group(1) if found else ""

    async def confirm(self, token: str) -> SignUpState | None:
        async with self.parts.database.transaction() as connection:
            sign_up = await confirm_email(connection, token, now())
        return sign_up.state if sign_up is not None else None

    async def state(self, token: str) -> SignUpState | None:
        async with self.parts.database.transaction() as connection:
            sign_up = await fetch_sign_up(connection, token, now())
        return sign_up.state if sign_up is not None else None

    async def deliver(self) -> None:
        """Deliver until nothing is due, also what a courier that died has taken."""
        at = now() + LEASE * 2
        for _ in range(MOST_ROUNDS):
            if not await self.courier.deliver_due(at):
                return
            at += dt.timedelta(minutes=5)
        pytest.fail("something is never delivered")

    async def subjects(self, *emails: str) -> list[str]:
        """Give the people to whom the accounts of some addresses belong."""
        digests = [self.parts.emails.digest(email) for email in emails]
        async with self.parts.database.connection() as connection:
            rows = await connection.fetch("SELECT subject FROM accounts WHERE email_digest = ANY($1)", digests)
        return sorted(row["subject"] for row in rows)

    async def people(self, *names: str) -> list[str]:
        """Give the ids of people by name, as clients know them."""
        shards, ids = self.backend.database.shards, self.backend.database.ids
        rows = [row["id"] for cell in shards.cells for row in await cell.fetch(_PEOPLE, list(names))]
        return sorted(ids.encode(NodeType.USER, user_id) for user_id in rows)

    async def attempts(self, *names: str) -> set[uuid.UUID]:
        """Give the ids under which the people of some names were made."""
        ids = [self.backend.database.ids.decode(NodeType.USER, subject) for subject in await self.people(*names)]
        made = "SELECT id FROM sign_ups WHERE user_id = ANY($1)"
        return {row["id"] for row in await self.backend.database.shards.directory.fetch(made, ids)}

    async def make_person_alone(self, token: str) -> None:
        """Have the person of a confirmed sign-up made, and let the answer get lost."""
        async with self.parts.database.transaction() as connection:
            sign_up = await fetch_sign_up(connection, token, now())
            assert sign_up is not None
            asked = await fetch_asked(connection, self.parts.emails, sign_up.id)
        assert asked is not None
        assert (await self.users.create_user(asked.attempt, asked.command)).user_id is not None

    async def expect_one_thing(self, name: str) -> None:
        """Make sure that there is one account with its person."""
        [subject] = await self.subjects(f"{name}@example.org")
        assert await self.people(name) == [subject]


@pytest.fixture
async def world(identity_parts: Parts, backend: Backend) -> AsyncIterator[World]:
    app = make_internal_app(backend, identity_parts.keys.commands)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with ClientSession() as session:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            users = UserService(SignedClient(session, url, identity_parts.keys.commands))
            courier = Courier(identity_parts.database, identity_parts.emails, users)
            yield World(identity_parts, backend, users, courier)
    finally:
        await runner.cleanup()


async def test_who_confirms_the_address_has_an_account_and_a_person_with_it(world: World) -> None:
    name = fresh()
    token = await world.begin(name)
    await world.deliver()
    assert await world.people(name) == []
    assert await world.confirm(token) is SignUpState.ASKED
    await world.deliver()
    assert await world.confirm(token) is await world.state(token) is SignUpState.DONE
    await world.expect_one_thing(name)
    [subject] = await world.people(name)
    user_id = world.backend.database.ids.decode(NodeType.USER, subject) or 0
    details = await fetch_details(world.backend.database, world.backend.vault, [user_id])
    assert details[user_id].email == f"{name}@example.org"


async def test_a_link_that_is_none_leads_nowhere(world: World) -> None:
    for token in ("", "x", secrets.token_urlsafe(32), "x" * 1000):
        assert await world.confirm(token) is await world.state(token) is None


@contextlib.contextmanager
def dying_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Die at a step: before or after a transaction of the auth service, or with the command unsent or unanswered."""
    steps = itertools.count(1)
    transaction, send = IdentityDatabase.transaction, SignedClient._send

    def reach() -> None:
        if next(steps) == step:
            raise Killed

    @contextlib.asynccontextmanager
    async def transact(database: IdentityDatabase) -> AsyncIterator[Any]:
        reach()
        async with transaction(database) as connection:
            yield connection
            reach()
        reach()

    async def sending(client: SignedClient, *arguments: Any) -> Any:
        reach()
        answer = await send(client, *arguments)
        reach()
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(IdentityDatabase, "transaction", transact)
        patched.setattr(SignedClient, "_send", sending)
        yield


async def test_whatever_step_it_dies_at_the_next_courier_ends_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a second courier, an account or a person would be alone from some of these steps on."""
    await world.deliver()
    for step in itertools.count(1):
        name, died = fresh(), False
        token = await world.begin(name)
        with dying_at(step, monkeypatch):
            try:
                await world.confirm(token)
                await world.courier.deliver_due(now())
            except Killed:
                died = True
        await world.confirm(token)
        await world.deliver()
        await world.expect_one_thing(name)
        if not died:
            break
    assert step >= 10


async def test_a_connection_that_is_cut_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    name, send, cuts = fresh(), SignedClient._send, 3

    async def cut(client: SignedClient, *arguments: Any) -> Any:
        nonlocal cuts
        cuts -= 1
        answer = await send(client, *arguments)
        if cuts >= 0:
            raise ConnectionResetError
        return answer

    monkeypatch.setattr(SignedClient, "_send", cut)
    await world.confirm(await world.begin(name))
    await world.deliver()
    assert cuts < 0
    await world.expect_one_thing(name)


async def test_a_name_that_is_refused_leaves_the_account_to_another_name(world: World, make_person: MakePerson) -> None:
    taken, email = await make_person(), f"{fresh()}@example.org"
    token = await world.begin(taken.name, email)
    await world.confirm(token)
    await world.deliver()
    assert (await world.state(token), await world.subjects(email)) == (SignUpState.REFUSED, [])
    name = fresh()
    for expected in (True, False):
        async with world.parts.database.transaction() as connection:
            assert await choose_name(connection, world.parts.emails, token, name, now()) is expected
    await world.deliver()
    assert await world.state(token) is SignUpState.DONE
    assert await world.subjects(email) == await world.people(name)
    assert len(await world.people(name)) == 1


async def test_who_never_comes_back_after_a_refusal_keeps_the_address_from_nobody(
    world: World, make_person: MakePerson
) -> None:
    taken, name = await make_person(), fresh()
    await world.confirm(await world.begin(taken.name, f"{name}@example.org"))
    await world.deliver()
    assert await world.confirm(await world.begin(name)) is SignUpState.ASKED
    await world.deliver()
    await world.expect_one_thing(name)


async def test_of_many_sign_ups_with_one_address_one_becomes_an_account(world: World) -> None:
    email = f"{fresh()}@example.org"
    names = [fresh() for _ in range(8)]
    tokens = [await world.begin(name, email) for name in names]
    await asyncio.gather(*map(world.confirm, tokens))
    await asyncio.gather(*(world.deliver() for _ in range(3)))
    late = await asyncio.gather(*map(world.confirm, tokens))
    assert sorted(map(str, late)) == ["DONE", *["None"] * (len(names) - 1)]
    [subject] = await world.subjects(email)
    assert await world.people(*names) == [subject]


async def test_of_many_sign_ups_with_names_that_look_alike_one_becomes_an_account(world: World) -> None:
    stem = fresh("a")
    names = [f"{stem}{one}{two}x" for one in "l1i" for two in "o0O"]
    emails = [f"{stem}{number}@example.org" for number in range(len(names))]
    tokens = [await world.begin(name, email) for name, email in zip(names, emails, strict=True)]
    await asyncio.gather(*map(world.confirm, tokens))
    await asyncio.gather(*(world.deliver() for _ in range(3)))
    states = [await world.state(token) for token in tokens]
    assert sorted(map(str, states)) == ["DONE", *["REFUSED"] * (len(names) - 1)]
    subjects = await world.subjects(*emails)
    assert len(subjects) == 1
    assert subjects == await world.people(*names)


async def test_an_address_that_another_account_has_taken_meanwhile_takes_the_person_back(world: World) -> None:
    name, other = fresh(), fresh()
    token = await world.begin(name)
    await world.confirm(token)
    await world.confirm(await world.begin(other))
    rows = "SELECT id FROM accounts WHERE email_digest = $1"
    changes = "UPDATE accounts SET email_digest = $2 WHERE id = $1"
    async with world.parts.database.transaction() as connection:
        # The other's account is there before the courier asks for the first: it takes its address at that moment.
        await connection.execute("UPDATE commands SET due_at = now() + interval '1 day' WHERE subject_id = "
                                 "(SELECT id FROM sign_ups WHERE email_digest = $1)",
                                 world.parts.emails.digest(f"{name}@example.org"))  # fmt: skip
    await world.courier.deliver_due(now())
    async with world.parts.database.transaction() as connection:
        account = await connection.fetchval(rows, world.parts.emails.digest(f"{other}@example.org"))
        await connection.execute(changes, account, world.parts.emails.digest(f"{name}@example.org"))
        await connection.execute("UPDATE commands SET due_at = now()")
    await world.deliver()
    assert await world.state(token) is None
    assert await world.people(name) == []
    assert len(await world.people(other)) == 1


async def test_an_address_with_an_account_gets_a_mail_that_says_so_and_no_link(world: World) -> None:
    name = fresh()
    await world.confirm(await world.begin(name))
    await world.deliver()
    assert await world.begin(fresh(), f"{name}@EXAMPLE.org") == ""
    await world.expect_one_thing(name)


async def test_another_address_of_an_account_reaches_the_person(world: World) -> None:
    name = fresh()
    await world.confirm(await world.begin(name))
    await world.deliver()
    [subject] = await world.people(name)
    email, emails = f"{fresh()}@example.org", world.parts.emails
    async with world.parts.database.transaction() as connection:
        account = await accounts.fetch_account_by_subject(connection, subject)
        assert account is not None
        sealed = await emails.seal(accounts.TABLE, account.id, email)
        await connection.execute(
            "UPDATE accounts SET email_digest = $2, email_box = $3, wrapped_key = $4 WHERE id = $1",
            account.id,
            emails.digest(email),
            sealed.box,
            sealed.wrapped_key,
        )
    await world.deliver()
    user_id = world.backend.database.ids.decode(NodeType.USER, subject) or 0
    details = await fetch_details(world.backend.database, world.backend.vault, [user_id])
    assert details[user_id].email == email


async def test_the_end_of_a_session_reaches_the_user_service(world: World, make_person: MakePerson) -> None:
    me, session = await make_person(), str(uuid.uuid4())
    async with world.parts.database.transaction() as connection:
        await tell_ended(connection, subject=me.opaque_id, session=session, at=now())
    await world.deliver()
    home = world.backend.database.shards.home(me.id)
    assert await home.fetch("SELECT FROM revocations WHERE user_id = $1 AND name = $2", me.id, session)


async def test_a_sign_up_that_was_left_alone_is_asked_for_again(world: World) -> None:
    name = fresh()
    await world.confirm(await world.begin(name))
    async with world.parts.database.transaction() as connection:
        await connection.execute("DELETE FROM commands")
    await world.deliver()
    assert await world.people(name) == []
    await Reconciler(world.parts.database, world.users).look_around(now())
    await world.deliver()
    await world.expect_one_thing(name)


async def test_an_account_whose_person_nobody_knows_is_counted_and_left_alone(world: World) -> None:
    reconciler = Reconciler(world.parts.database, world.users)
    before = await reconciler.look_around(now())
    account_id, email = uuid.uuid4(), f"{fresh()}@example.org"
    sealed = await world.parts.emails.seal(accounts.TABLE, account_id, email)
    alone = accounts.Account(account_id, secrets.token_urlsafe(12), world.parts.emails.digest(email), sealed)
    async with world.parts.database.transaction() as connection:
        await accounts.insert_account(connection, alone)
    assert await reconciler.look_around(now()) == before + 1
    assert await world.subjects(email) == [alone.subject]


async def test_a_user_service_that_is_away_is_waited_for(world: World) -> None:
    async with ClientSession() as session:
        away = UserService(SignedClient(session, "http://127.0.0.1:1", bytes(32)))
        with pytest.raises(NotReached):
            await away.take_back(uuid.uuid4())
        name = fresh()
        await world.confirm(await world.begin(name))
        assert await dataclasses.replace(world.courier, users=away).deliver_due(now()) >= 1
    await world.deliver()
    await world.expect_one_thing(name)


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """A fact of the user service about somebody, as it comes from the broker."""

    subject: str

    def event(self, kind: EventType, at: dt.datetime) -> ReceivedEvent:
        payload = UserPayload(user_id=self.subject, user_version=2)
        return ReceivedEvent(uuid.uuid4(), kind, at, self.subject, payload)


async def signed_up(world: World, name: str) -> tuple[str, uuid.UUID]:
    await world.confirm(await world.begin(name))
    await world.deliver()
    [subject] = await world.people(name)
    async with world.parts.database.connection() as connection:
        account = await accounts.fetch_account_by_subject(connection, subject)
    assert account is not None
    return subject, account.id


async def test_who_is_deleted_has_no_session_left_but_one_that_began_to_come_back(world: World) -> None:
    subject, account_id = await signed_up(world, fresh())
    begin = functools.partial(begin_session, account_id=account_id, methods=["pwd"], agent="test")
    gone_at = now()
    async with world.parts.database.transaction() as connection:
        await begin(connection, now=gone_at - dt.timedelta(hours=1))
        back, _ = await begin(connection, now=gone_at + dt.timedelta(minutes=1))
        for _ in range(2):
            await have_effect(connection, Told(subject).event(EventType.USER_DELETED, gone_at), now())
        left = await fetch_sessions(connection, account_id, now())
    assert [session.id for session in left] == [back.id]


async def dumped(world: World) -> str:
    """Give every row of the auth service's database, as text and what is binary in hexadecimal."""
    rows: list[str] = []
    async with world.parts.database.connection() as connection:
        for [table] in await connection.fetch(_TABLES):
            rows += [row[0] for row in await connection.fetch(_ROWS.format(table=table))]
    return "\n".join(rows)


def traces_of(canary: str, dump: str) -> bool:
    return canary in dump or canary.encode().hex() in dump


async def test_who_is_purged_leaves_nothing_here(world: World, caplog: pytest.LogCaptureFixture) -> None:
    name = fresh("canary")
    subject, account_id = await signed_up(world, name)
    async with world.parts.database.transaction() as connection:
        await begin_session(connection, account_id, methods=["pwd"], agent=f"{name} browser", now=now())
        await connection.execute("UPDATE accounts SET password_hash = $2 WHERE id = $1", account_id, f"{name} hash")
    assert subject in await dumped(world)
    assert traces_of(name, await dumped(world))
    for _ in range(2):
        async with world.parts.database.transaction() as connection:
            await have_effect(connection, Told(subject).event(EventType.USER_PURGED, now()), now())
    dump = await dumped(world)
    assert not traces_of(name, dump)
    assert subject not in dump
    assert name not in caplog.text
    assert await world.subjects(f"{name}@example.org") == []


async def test_every_table_is_erased_or_kept_for_a_reason(identity: IdentityDatabase) -> None:
    async with identity.connection() as connection:
        tables = [row["name"] for row in await connection.fetch(_TABLES)]
    assert sorted([*OF_ACCOUNT, *BY_NAME, *KEPT]) == tables, "decide about the table in identity/erasures.py"


async def test_an_address_opens_for_its_own_account_and_in_its_own_place_alone(identity_parts: Parts) -> None:
    emails, one, other = identity_parts.emails, uuid.uuid4(), uuid.uuid4()
    mine, theirs = [await emails.seal(accounts.TABLE, owner, f"{owner}@example.org") for owner in (one, other)]
    swapped = dataclasses.replace(mine, box=theirs.box)
    for table, owner, sealed in (
        (accounts.TABLE, one, swapped),
        (accounts.TABLE, other, mine),
        ("sign_ups", one, mine),
        (accounts.TABLE, one, dataclasses.replace(mine, wrapped_key=theirs.wrapped_key)),
        (accounts.TABLE, one, dataclasses.replace(mine, master_version=2)),
    ):
        with pytest.raises(Unreadable):
            await emails.open(table, owner, sealed)


async def test_the_acknowledgement_of_a_purge_is_one_that_the_user_service_reads() -> None:
    subject = secrets.token_urlsafe(16)
    event = Event(EventType.USER_PURGED, subject, UserPayload(user_id=subject, user_version=3))
    payload = f'{{"userId":"{subject}","userVersion":3,"version":1}}'.encode()
    row = OutboxRow(1, event.id, "users", subject, event.type.value, payload, now(), None)
    read = read_acknowledgement(subject.encode(), acknowledgement(headers_of(row)), payload)
    assert isinstance(read, Acknowledged)
    assert read.consumer == NAME


async def read_acknowledgements(bootstrap: str) -> list[Acknowledged]:
    """Read what other services have acknowledged."""
    consumer = AIOKafkaConsumer(ACKNOWLEDGEMENTS, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        batches = await consumer.getmany(timeout_ms=1500)
        records = [record for batch in batches.values() for record in batch]
    finally:
        await consumer.stop()
    read = [read_acknowledgement(record.key, record.headers, record.value) for record in records]
    return [event for event in read if isinstance(event, Acknowledged)]


async def test_a_purge_that_the_broker_tells_of_is_had_and_acknowledged(
    identity_parts: Parts, short_folder: Path
) -> None:
    account_id, email, subject = uuid.uuid4(), f"{fresh()}@example.org", secrets.token_urlsafe(16)
    sealed = await identity_parts.emails.seal(accounts.TABLE, account_id, email)
    account = accounts.Account(account_id, subject, identity_parts.emails.digest(email), sealed)
    async with identity_parts.database.transaction() as connection:
        await accounts.insert_account(connection, account)
    payload = f'{{"userId":"{subject}","userVersion":3,"version":1}}'.encode()
    row = OutboxRow(1, uuid.uuid4(), "users", subject, EventType.USER_PURGED.value, payload, now(), None)
    async with open_broker(short_folder) as services:
        bootstrap = services.addresses.kafka_bootstrap
        async with open_writer(bootstrap) as producer:
            await producer.send_and_wait("users.v1", b"no fact", key=b"x", headers=[])
            await producer.send_and_wait("users.v1", payload, key=subject.encode(), headers=headers_of(row))
        async with running(Departures(identity_parts.database, bootstrap, 2000).work()):

            async def is_acknowledged() -> bool:
                found = await read_acknowledgements(bootstrap)
                return [(event.id, event.consumer) for event in found] == [(row.id, NAME)]

            await eventually(is_acknowledged, within=60)
    async with identity_parts.database.connection() as connection:
        assert await accounts.fetch_account(connection, account_id) is None


async def test_people_without_an_account_are_found_and_left_alone(world: World) -> None:
    reconciler = Reconciler(world.parts.database, world.users)
    name, under_way, taken_back = fresh(), fresh(), fresh()
    await world.confirm(await world.begin(name))
    await world.deliver()
    for other in (under_way, taken_back):
        token = await world.begin(other)
        await world.confirm(token)
        await world.make_person_alone(token)
    [attempt] = await world.attempts(taken_back)
    before = await reconciler.find_people_alone()
    assert before.isdisjoint(await world.attempts(name, under_way, taken_back)), "something is on its way to them"
    async with world.parts.database.connection() as connection:
        await connection.execute("DELETE FROM sign_ups WHERE attempt = $1", attempt)
        await connection.execute("DELETE FROM accounts WHERE subject = ANY($1)", await world.people(name))
    assert await reconciler.find_people_alone() == before | {attempt, *await world.attempts(name)}
    assert len(await world.people(name, taken_back)) == 2
    await world.users.take_back(attempt)
    await world.deliver()
    assert await reconciler.find_people_alone() == before | await world.attempts(name)
    await world.expect_one_thing(under_way)


async def test_the_person_of_a_purged_account_is_found_by_the_reconciler_too(world: World) -> None:
    name = fresh()
    subject, _ = await signed_up(world, name)
    user_id = world.backend.database.ids.decode(NodeType.USER, subject) or 0
    home = world.backend.database.shards.home(user_id)
    await home.fetch("UPDATE users SET state = 4 WHERE id = $1", user_id)
    assert await fetch_state(world.backend.database, user_id) is UserState.PURGED
    await Reconciler(world.parts.database, world.users).look_around(now())
    assert await world.subjects(f"{name}@example.org") == []
