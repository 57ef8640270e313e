"""The search finds what it is to find: each eraser switched off in turn leaves something, and is found out."""

import datetime as dt
import os
import secrets
import uuid
from collections.abc import Sequence
from typing import Final

import pytest

from domain.departures import GRACE
from identity import erasures
from identity.accounts import TABLE, Account, insert_account
from identity.commands import CommandKind, queue_command
from identity.database import Connection
from identity.letters import recover
from identity.mails import queue_mail
from identity.parts import Parts
from identity.sessions import begin_session
from identity.sign_ups import NewSignUp, begin_sign_up
from storage.database import Database
from storage.deletions import delete_account
from storage.erasures import STORES, Store
from storage.purges import OWN, Purges, acknowledge, purging
from storage.redis_client import Redis
from tests.conftest import MakePerson
from tests.proof.erasure.test_purges import SIGNER, later
from tests.proof.erasure.traces import Traced, find_traces, leave_traces, make_traced

LONG = os.environ.get("PROVE") == "long"
SWITCHED: Final = [store for store in STORES if store.tables]
_NOW: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


async def leave_redis(_database: Database, _redis: Redis, _user_id: int) -> int:
    """Erase nothing in Redis, which a busy machine may keep waiting: its keys are looked at elsewhere."""
    return 0


async def purge_without(purges: Purges, person: Traced, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Purge somebody with the eraser of one store switched off."""
    with monkeypatch.context() as patched:
        patched.setattr(purging, "STORES", [one for one in STORES if one is not store])
        assert await purges.begin(person.id, later())
        await purges.erase(person.id, later())


@pytest.mark.skipif(not LONG, reason="purges somebody for each table: make prove")
async def test_what_an_eraser_that_is_switched_off_leaves_is_found_and_no_certificate_is_given(
    database: Database, redis: Redis, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    purges = Purges(database, redis, SIGNER)
    monkeypatch.setattr(purging, "erase_in_redis", leave_redis)
    for number, store in enumerate(SWITCHED):
        person = await make_traced(database, number % len(database.shards.cells))
        await leave_traces(database, person, [(await make_person()).id for _ in range(5)])
        assert await delete_account(database, person.id, later() - GRACE - dt.timedelta(days=1))
        await purge_without(purges, person, store, monkeypatch)
        found = await find_traces(database, [person])
        assert set(found) & set(store.tables), f"{store.name} was switched off, and nothing was found"
        await acknowledge(database, person.id, OWN)
        assert await purges.certify(person.id, later()) is None, f"{store.name} is looked through again"
        assert await purges.certify(person.id, later()) is not None
        await purges.forget(person.id)
        assert await find_traces(database, [person]) == {}


_ROWS: Final[Sequence[str]] = (
    "INSERT INTO totp_factors (account_id, secret_box) VALUES ($1, sha256($2))",
    "INSERT INTO recovery_codes (account_id, digest) VALUES ($1, sha256($2))",
    "INSERT INTO passkeys (credential_id, account_id, public_key, sign_count) VALUES (sha256($2), $1, $2, 0)",
    "INSERT INTO half_sign_ins (digest, account_id, ends_at) VALUES (sha256($2), $1, now())",
    "INSERT INTO mail_links (digest, purpose, account_id, ends_at) VALUES (sha256($2), 'RECOVERY', $1, now())",
    "INSERT INTO endings (subject, session, ended_at) SELECT subject, $2::text, now() FROM accounts WHERE id = $1",
    """
    INSERT INTO families (id, account_id, session_id, client_id, scope, authenticated_at, created_at)
    SELECT gen_random_uuid(), $1, s.id, 'proof', $2::text, now(), now() FROM sessions s WHERE s.account_id = $1
    """,
    """
    INSERT INTO refresh_tokens (digest, family_id, generation, created_at)
    SELECT sha256($2), f.id, 0, now() FROM families f WHERE f.account_id = $1
    """,
    """
    INSERT INTO authorization_codes (digest, account_id, session_id, client_id, redirect_uri, scope, code_challenge,
                                     authenticated_at, created_at)
    SELECT sha256($2), $1, s.id, 'proof', 'proof', 'proof', 'proof', now(), now()
    FROM sessions s WHERE s.account_id = $1
    """,
)
OF_ACCOUNT: Final = tuple(erasures.OF_ACCOUNT)
_OF_ACCOUNT: Final = "SELECT count(*) FROM {table} WHERE account_id = $1"
_ELSEWHERE: Final = {
    "accounts": "SELECT count(*) FROM accounts WHERE subject = $1 OR password_hash LIKE '%' || $1 || '%'",
    "sign_ups": "SELECT count(*) FROM sign_ups WHERE password_hash LIKE '%' || $1 || '%'",
    "endings": "SELECT count(*) FROM endings WHERE subject = $1",
}


async def leave_account(parts: Parts, connection: Connection, name: str) -> uuid.UUID:
    """Leave an account with a row in every table, under a name that stands for the subject and all that is secret."""
    account_id, address = uuid.uuid4(), f"{name}@example.org"
    sealed = await parts.emails.seal(TABLE, account_id, address)
    await insert_account(connection, Account(account_id, name, parts.emails.digest(address), sealed, f"{name} hash"))
    await begin_session(connection, account_id, methods=["pwd"], agent=f"{name} browser", now=_NOW)
    new = NewSignUp(address, name, f"{name} hash")
    await begin_sign_up(connection, parts.emails, new, parts.url, dt.datetime.now(dt.UTC))
    await queue_mail(connection, parts.emails, recover(address, "https://example.org"))
    await queue_command(connection, CommandKind.EMAIL, account_id)
    for row in _ROWS:
        marker: object = name if "$2::text" in row else name.encode()
        await connection.execute(row, account_id, marker)
    return account_id


async def find_rows(connection: Connection, account_id: uuid.UUID, name: str, digest: bytes) -> dict[str, int]:
    """Count what is left of an account in every table that is erased."""
    found: dict[str, int] = {}
    for table in OF_ACCOUNT:
        found[table] = await connection.fetchval(_OF_ACCOUNT.format(table=table), account_id)
    for table, statement in _ELSEWHERE.items():
        found[table] = await connection.fetchval(statement, name)
    found["mails"] = await connection.fetchval("SELECT count(*) FROM mails WHERE recipient = $1", digest)
    found["commands"] = await connection.fetchval("SELECT count(*) FROM commands WHERE subject_id = $1", account_id)
    found["refresh_tokens"] = await connection.fetchval(
        "SELECT count(*) FROM refresh_tokens WHERE digest = sha256($1)", name.encode()
    )
    return {table: rows for table, rows in found.items() if rows}


async def erase_within(connection: Connection, account_id: uuid.UUID, name: str, digest: bytes) -> dict[str, int]:
    """Erase an account, find what is left, and take the erasure back."""
    undone = connection.transaction()
    await undone.start()
    try:
        assert await erasures.erase_account(connection, name, _NOW)
        return await find_rows(connection, account_id, name, digest)
    finally:
        await undone.rollback()


async def forget_nothing(_connection: Connection, _subject_id: uuid.UUID) -> None:
    """Forget no commands."""


SESSIONS_TAKE_ALONG: Final = ("families", "authorization_codes")
"""Tables whose rows go with those of the sessions, too: no eraser of theirs alone can leave anything."""
OFF: Final[dict[str, tuple[str, object]]] = {
    **{
        table: ("OF_ACCOUNT", tuple(one for one in OF_ACCOUNT if one != table))
        for table in OF_ACCOUNT
        if table not in SESSIONS_TAKE_ALONG
    },
    "accounts": ("_BURY", f"{erasures._BURY} AND $1 IS NULL"),
    "sign_ups": ("_SIGN_UPS", f"{erasures._SIGN_UPS.replace('WHERE', 'WHERE false AND (')})"),
    "mails": ("_MAILS", f"{erasures._MAILS} AND false"),
    "endings": ("_ENDINGS", f"{erasures._ENDINGS} AND false"),
    "commands": ("forget_commands", forget_nothing),
}


async def test_what_an_eraser_of_the_auth_service_that_is_switched_off_leaves_is_found(
    identity_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"canary{secrets.token_hex(6)}"
    digest = identity_parts.emails.digest(f"{name}@example.org")
    async with identity_parts.database.connection() as connection:
        undone = connection.transaction()
        await undone.start()
        try:
            account_id = await leave_account(identity_parts, connection, name)
            there = await find_rows(connection, account_id, name, digest)
            assert set(there) == {*OF_ACCOUNT, *erasures.BY_NAME}, "the search finds what there is"
            assert await erase_within(connection, account_id, name, digest) == {}
            for table, (eraser, without) in OFF.items():
                with monkeypatch.context() as patched:
                    patched.setattr(erasures, eraser, without)
                    assert table in await erase_within(connection, account_id, name, digest)
        finally:
            await undone.rollback()
