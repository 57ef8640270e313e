"""What the auth service holds about a person is in the person's export: all of it, opened, and nothing that lets in."""

import asyncio
import base64
import contextlib
import dataclasses
import datetime as dt
import io
import json
import secrets
import zipfile
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from aiohttp import ClientSession, ClientTimeout, web

from domain import holdings
from domain.errors import Overloaded
from domain.exports import Export
from domain.signed_requests import HEADER, Request
from events.export_worker import ExportWorker
from identity.erasures import BY_NAME, OF_ACCOUNT
from identity.families import begin_family, new_family
from identity.holdings import LEFT_OUT, SHOWN
from identity.internal import MAX_QUESTION_BYTES, make_internal_app
from identity.letters import confirm_email
from identity.mail_links import LinkPurpose, MailLink, make_link
from identity.mails import queue_mail
from identity.parts import Parts
from identity.passkeys import Passkey, add_passkey, name_of
from identity.recovery_codes import new_codes, replace_codes, use_code
from identity.sessions import begin_session
from identity.totp import confirm, offer
from storage.auth_service import AuthService
from storage.database import Database
from storage.exports import drop_export, fetch_archive, fetch_export, request_export
from storage.signed_client import Failed, SignedClient
from storage.vault import WrappedKey
from tests.conftest import MakePerson, Person, eventually
from tests.integration.test_exports import export_of
from tests.oidc import Browser, sign_up

ISSUER: Final = "https://auth.example"
AGENT: Final = "Kith for lamps/7"
LONG_AGO: Final = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
_MORE_SESSIONS: Final = """
INSERT INTO sessions (id, digest, account_id, methods, agent, created_at, authenticated_at, seen_at, ended_at)
SELECT gen_random_uuid(), sha256(n::text::bytea || $2), $1, '{pwd}', $3 || n, now(), now(), now(), now()
FROM generate_series(1, $4::int) n
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Door:
    """The auth service's own port, and the user service's way to it."""

    parts: Parts
    url: str
    session: ClientSession

    @property
    def accounts(self) -> AuthService:
        return AuthService(ISSUER, SignedClient(self.session, self.url, self.parts.keys.commands))

    async def post(self, path: str, body: bytes, signature: str | None) -> int:
        headers = {HEADER: signature} if signature is not None else {}
        async with self.session.post(self.url + path, data=body, headers=headers) as response:
            assert response.headers["Cache-Control"] == "no-store"
            return int(response.status)


@pytest.fixture
async def door(identity_parts: Parts) -> AsyncIterator[Door]:
    runner = web.AppRunner(make_internal_app(identity_parts), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with ClientSession() as session:
            yield Door(identity_parts, f"http://127.0.0.1:{runner.addresses[0][1]}", session)
    finally:
        await runner.cleanup()


async def live(parts: Parts, browser: Browser) -> tuple[bytes, list[str]]:
    """Use everything that the auth service offers; gives a passkey's id, and what nobody is ever to see."""
    now, account, box_key = dt.datetime.now(dt.UTC), browser.account_id, secrets.token_bytes(32)
    codes, credential, public_key = new_codes(), secrets.token_bytes(16), secrets.token_bytes(64)
    async with parts.database.transaction() as connection:
        row = await connection.fetchrow("SELECT wrapped_key, master_version FROM accounts WHERE id = $1", account)
        assert row is not None
        key = await parts.vault.open(WrappedKey(account.int, row["wrapped_key"], row["master_version"]))
        await connection.execute("UPDATE accounts SET password_hash = $2 WHERE id = $1", account, "$argon2id$canary")
        await offer(connection, account, box_key)
        await confirm(connection, account, 1, now)
        await replace_codes(connection, account, codes)
        await use_code(connection, account, codes[0], now)
        await add_passkey(connection, Passkey(credential, account, public_key, 0))
        new_email = MailLink(
            account, secrets.token_bytes(32), key.encrypt("mail_links", "email_box", "new@example.org")
        )
        link = await make_link(connection, LinkPurpose.EMAIL, new_email, now)
        await queue_mail(connection, parts.emails, confirm_email(browser.email, f"https://auth.example/{link}"))
        family = new_family(account, browser.subject, "graphiql", "openid kith:read", now)
        token = await begin_family(connection, family, browser.session_id, now)
        _, secret = await begin_session(connection, account, methods=["pwd", "otp"], agent=AGENT, now=now)
        digests = await connection.fetch("SELECT digest FROM sessions WHERE account_id = $1", account)
    hidden = [box_key, public_key, row["wrapped_key"], *(row["digest"] for row in digests)]
    spelled = [text for each in hidden for text in (each.hex(), base64.b64encode(each).decode())]
    return credential, ["$argon2id$", *codes, link, token, secret, browser.secret, *spelled]


async def test_the_archive_says_what_the_auth_service_holds_and_nothing_that_lets_in(
    database: Database, make_person: MakePerson, door: Door
) -> None:
    ana, other = await make_person(), await make_person()
    browser = await sign_up(door.parts, ana.opaque_id, "a password of ana's")
    bystander = await sign_up(door.parts, other.opaque_id)
    credential, never = await live(door.parts, browser)
    found = await export_of(database, ana, door.accounts)
    account = found["account"]["account"]
    assert found["account"]["heldBy"] == ISSUER
    assert (account["email"], account["newEmail"]) == (browser.email, "new@example.org")
    assert (account["hasPassword"], account["recoveryCodesLeft"], account["isBlocked"]) == (True, 9, False)
    assert account["codesByClockSince"] is not None
    assert [key["id"] for key in account["passkeys"]] == [name_of(credential)]
    assert [mail["kind"] for mail in account["mails"]] == ["EMAIL_CHANGE"]
    assert {entry["browser"] for entry in found["sign-ins"]} == {"x", AGENT}
    assert [entry["application"] for entry in found["applications"]] == ["graphiql"]
    assert "session.began" in {entry["action"] for entry in found["account-actions"]}
    text = json.dumps(found)
    assert [secret for secret in (*never, bystander.email, str(browser.account_id)) if secret in text] == []


async def test_however_many_sign_ins_there_are_all_of_them_are_there(
    database: Database, make_person: MakePerson, door: Door
) -> None:
    ana, many = await make_person(), 2 * holdings.PAGE + 3
    browser = await sign_up(door.parts, ana.opaque_id)
    async with door.parts.database.connection() as connection:
        await connection.execute(_MORE_SESSIONS, browser.account_id, secrets.token_bytes(8), "browser ", many)
    found = await export_of(database, ana, door.accounts)
    assert len({entry["browser"] for entry in found["sign-ins"]}) == len(found["sign-ins"]) == many + 1


def test_every_table_of_people_is_shown_to_its_person_or_left_out_for_a_reason() -> None:
    tables = {*OF_ACCOUNT, *BY_NAME, "identity_events"}
    assert sorted([*SHOWN, *LEFT_OUT]) == sorted(tables), "decide about the table in identity/holdings.py"


async def waiting(database: Database, person: Person) -> Export:
    assert await request_export(database, person.id, LONG_AGO) is not None
    found = await fetch_export(database, person.id)
    assert found is not None
    return found


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """Give an address at which connections are taken, and nothing is answered."""
    done = asyncio.Event()

    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        done.set()


@pytest.mark.parametrize("how", ["away", "silent"])
async def test_an_export_waits_for_the_auth_service_and_is_whole_then(
    database: Database, make_person: MakePerson, door: Door, how: str
) -> None:
    ana = await make_person()
    browser = await sign_up(door.parts, ana.opaque_id)
    await waiting(database, ana)
    cell, vault = database.shards.home(ana.id), ana.backend.vault
    async with silent() as url, ClientSession(timeout=ClientTimeout(total=0.2)) as session:
        client = SignedClient(session, url if how == "silent" else "http://127.0.0.1:1", bytes(32))
        with pytest.raises(Overloaded):
            await ExportWorker(database, vault, AuthService(ISSUER, client), cell).take_turn()
    assert (await waiting(database, ana)).expires_at is None
    worker = ExportWorker(database, vault, door.accounts, cell)

    async def is_made() -> bool:
        await worker.take_turn()
        return (await waiting(database, ana)).progress == 1

    await eventually(is_made)
    ready = await waiting(database, ana)
    archive = await fetch_archive(database, vault, ana.id, ready.id, dt.datetime.now(dt.UTC))
    assert archive is not None
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        assert json.loads(files.read("account.json"))["account"]["email"] == browser.email


async def test_what_the_auth_service_fails_at_holds_up_nobody_elses_export(
    database: Database, make_person: MakePerson, door: Door
) -> None:
    broken, other = await make_person(cell=0), await make_person(cell=0)
    browser = await sign_up(door.parts, broken.opaque_id)
    await sign_up(door.parts, other.opaque_id)
    async with door.parts.database.connection() as connection:
        await connection.execute("UPDATE accounts SET email_box = '\\x00' WHERE id = $1", browser.account_id)
    with pytest.raises(Failed):
        await door.accounts.fetch_account(broken.opaque_id)
    for person in (broken, other):
        await waiting(database, person)
    worker = ExportWorker(database, other.backend.vault, door.accounts, database.shards.cells[0])

    async def is_made() -> bool:
        await worker.take_turn()
        found = await fetch_export(database, other.id)
        return found is not None and found.progress == 1

    await eventually(is_made)
    assert (await waiting(database, broken)).progress == 0
    await drop_export(database, broken.id)


async def test_where_another_provider_holds_the_accounts_the_archive_says_whose_they_are(
    database: Database, make_person: MakePerson, door: Door
) -> None:
    ana, without = await make_person(), await make_person()
    found = await export_of(database, ana)
    assert found["account"] == {"heldBy": ISSUER, "account": None}
    assert (found["sign-ins"], found["applications"], found["account-actions"]) == ([], [], [])
    assert (await export_of(database, without, door.accounts))["account"]["account"] is None


async def test_nobody_is_told_anything_without_our_signature(door: Door, make_person: MakePerson) -> None:
    subject = (await make_person()).opaque_id
    await sign_up(door.parts, subject)
    body, at = json.dumps({"userId": subject}).encode(), door.parts.clock().timestamp()
    key = door.parts.keys.commands

    def signed(path: str, content: bytes = body, by: bytes = key, when: float = at) -> str:
        return Request("POST", path, content).sign(by, when)

    for path in (holdings.ACCOUNT, holdings.SIGN_INS, holdings.APPLICATIONS, holdings.ACTIONS):
        assert await door.post(path, body, signed(path)) == 200
        for wrong in (
            None,
            "",
            signed("/other"),
            signed(path, b"{}"),
            signed(path, by=bytes(32)),
            signed(path, when=0),
        ):
            assert await door.post(path, body, wrong) == 401
    bad: list[Any] = [
        "",
        "{}",
        '{"userId": 7}',
        json.dumps({"userId": subject, "after": "é"}),
        "x" * MAX_QUESTION_BYTES,
    ]
    for content in (text.encode() for text in bad):
        assert await door.post(holdings.SIGN_INS, content, signed(holdings.SIGN_INS, content)) == 400
    assert await door.post("/sign-in", b"", signed("/sign-in", b"")) == 404, "there is no page at this door"
