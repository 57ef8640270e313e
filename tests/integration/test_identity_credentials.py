"""What is kept of factors and mails: used once, whoever asks at once, and readable by nobody who has the rows alone."""

import asyncio
import datetime as dt
import os
import secrets
import uuid
from email import message_from_bytes
from typing import Final

import pytest
from aiosmtplib import SMTPServerDisconnected

from identity import letters, mails, passkeys, recovery_codes, smtp, totp
from identity.accounts import TABLE, Account, insert_account
from identity.database import Connection, Database
from identity.emails import Emails
from storage.master_keys import LocalMasterKeys
from storage.vault import Vault

VAULT: Final = Vault(LocalMasterKeys({1: b"m" * 32}))
EMAILS: Final = Emails(VAULT, b"e" * 32)
LINK: Final = "https://id.example.org/recovery/secret-token"
MINUTE: Final = dt.timedelta(minutes=1)


async def make_account(identity: Database) -> uuid.UUID:
    account_id, address = uuid.uuid4(), f"{secrets.token_hex(8)}@example.org"
    sealed = await EMAILS.seal(TABLE, account_id, address)
    account = Account(account_id, secrets.token_urlsafe(12), EMAILS.digest(address), sealed)
    async with identity.transaction() as connection:
        await insert_account(connection, account)
    return account_id


async def test_a_step_of_the_clock_opens_once_however_many_ask_at_once(identity: Database) -> None:
    account, now = await make_account(identity), dt.datetime.now(dt.UTC)
    async with identity.transaction() as connection:
        await totp.offer(connection, account, b"box 1")
        await totp.offer(connection, account, b"box 2")
        assert await totp.fetch_secret(connection, account, confirmed=True) is None
        assert await totp.fetch_secret(connection, account, confirmed=False) == b"box 2"
        assert await totp.confirm(connection, account, 100, now)
        assert not await totp.confirm(connection, account, 200, now)
        await totp.offer(connection, account, b"box 3")
        assert await totp.fetch_secret(connection, account, confirmed=True) == b"box 2"

    async def use(step: int) -> bool:
        async with identity.transaction() as connection:
            return await totp.use(connection, account, step)

    assert not await use(100)
    assert sum(await asyncio.gather(*(use(101) for _ in range(10)))) == 1
    assert not await use(101)
    assert await use(102)
    async with identity.transaction() as connection:
        assert await totp.remove(connection, account)
        assert not await totp.remove(connection, account)


async def test_a_recovery_code_opens_once_and_no_other_account(identity: Database) -> None:
    account, other, now = await make_account(identity), await make_account(identity), dt.datetime.now(dt.UTC)
    codes = recovery_codes.new_codes()
    async with identity.transaction() as connection:
        await recovery_codes.replace_codes(connection, account, codes)
        assert not await recovery_codes.use_code(connection, other, codes[0], now)

    async def use() -> bool:
        async with identity.transaction() as connection:
            return await recovery_codes.use_code(connection, account, codes[0], now)

    assert sum(await asyncio.gather(*(use() for _ in range(10)))) == 1
    async with identity.transaction() as connection:
        assert await recovery_codes.count_left(connection, account) == recovery_codes.COUNT - 1
        await recovery_codes.replace_codes(connection, account, recovery_codes.new_codes())
        assert not await recovery_codes.use_code(connection, account, codes[1], now)


async def test_a_challenge_is_used_once_and_forgotten_when_it_has_ended(identity: Database) -> None:
    challenge, now = secrets.token_bytes(56), dt.datetime.now(dt.UTC)

    async def use() -> bool:
        async with identity.transaction() as connection:
            return await passkeys.use_challenge(connection, challenge, now)

    assert sum(await asyncio.gather(*(use() for _ in range(10)))) == 1
    async with identity.transaction() as connection:
        await passkeys.use_challenge(connection, b"another", now + dt.timedelta(seconds=passkeys.CHALLENGE_S + 1))
        assert await passkeys.use_challenge(connection, challenge, now)


async def test_an_account_has_ten_passkeys_and_a_count_never_goes_back(identity: Database) -> None:
    account, now = await make_account(identity), dt.datetime.now(dt.UTC)
    made = [passkeys.Passkey(secrets.token_bytes(16), account, b"key", 3) for _ in range(11)]
    async with identity.transaction() as connection:
        assert [await passkeys.add_passkey(connection, each) for each in made] == [True] * 10 + [False]
        assert not await passkeys.add_passkey(connection, made[0])
        assert await passkeys.note_use(connection, made[0], 5, now)
        assert not await passkeys.note_use(connection, made[0], 5, now)
        kept = await passkeys.fetch_passkey(connection, made[0].credential_id)
        assert kept is not None
        assert (kept.sign_count, kept.used_at) == (5, now)
        assert not await passkeys.remove_passkey(connection, await make_account(identity), made[0].credential_id)
        assert await passkeys.remove_passkey(connection, account, made[0].credential_id)
        assert len(await passkeys.fetch_passkeys(connection, account)) == 9


class PostOffice:
    """Takes mails for a test, unless it is closed."""

    def __init__(self, identity: Database, *, keeps: bool = False) -> None:
        self.sent: list[mails.Mail] = []
        self.is_closed = False
        self.outbox = mails.Outbox(identity, VAULT, self.take, asyncio.Event(), keeps)

    async def take(self, mail: mails.Mail) -> None:
        if self.is_closed:
            raise mails.Undeliverable
        self.sent.append(mail)


async def queue(identity: Database, letter: letters.Letter) -> None:
    async with identity.transaction() as connection:
        await connection.execute("DELETE FROM mails")
        await mails.queue_mail(connection, EMAILS, letter)


async def rows(connection: Connection) -> str:
    return str([tuple(row.values()) for row in await connection.fetch("SELECT * FROM mails")])


async def test_a_mail_is_sent_once_and_its_key_destroyed(identity: Database) -> None:
    await queue(identity, letters.recover("ana@example.org", LINK))
    now = dt.datetime.now(dt.UTC) + MINUTE
    async with identity.connection() as connection:
        held = await rows(connection)
    assert "ana@example.org" not in held
    assert "secret-token" not in held
    office = PostOffice(identity)
    assert sorted(await asyncio.gather(*(office.outbox.send_due(now) for _ in range(3)))) == [0, 0, 1]
    assert [mail.letter.to for mail in office.sent] == ["ana@example.org"]
    assert LINK in office.sent[0].letter.text
    assert await office.outbox.send_due(now + dt.timedelta(hours=1)) == 0
    async with identity.connection() as connection:
        assert await mails.fetch_latest(connection, VAULT, 10) == []
        assert await connection.fetchval("SELECT count(*) FROM mails WHERE wrapped_key IS NULL AND box IS NULL") == 1


async def test_a_mail_that_is_not_taken_is_tried_ever_less_often_and_given_up(identity: Database) -> None:
    await queue(identity, letters.recover("ana@example.org", LINK))
    office, now = PostOffice(identity), dt.datetime.now(dt.UTC) + MINUTE
    office.is_closed = True
    assert await office.outbox.send_due(now) == 1
    assert await office.outbox.send_due(now + dt.timedelta(seconds=59)) == 0
    for _ in range(mails.MOST_TRIES - 2):
        now += dt.timedelta(hours=4)
        assert await office.outbox.send_due(now) == 1
    office.is_closed = False
    now += dt.timedelta(hours=4)
    assert await office.outbox.send_due(now) == 1
    assert len(office.sent) == 1
    await queue(identity, letters.recover("bo@example.org", LINK))
    office.is_closed = True
    for _ in range(mails.MOST_TRIES):
        assert await office.outbox.send_due(now) == 1
        now += dt.timedelta(hours=4)
    assert await office.outbox.send_due(now) == 0


async def test_a_mail_whose_key_is_gone_holds_up_no_other(identity: Database) -> None:
    await queue(identity, letters.recover("ana@example.org", LINK))
    async with identity.transaction() as connection:
        await connection.execute(
            "UPDATE mails SET wrapped_key = repeat('x', 60)::bytea, due_at = due_at - interval '1 hour'"
        )
        await mails.queue_mail(connection, EMAILS, letters.recover("bo@example.org", LINK))
    office, now = PostOffice(identity), dt.datetime.now(dt.UTC) + MINUTE
    assert (await office.outbox.send_due(now), await office.outbox.send_due(now)) == (2, 0)
    assert [mail.letter.to for mail in office.sent] == ["bo@example.org"]


async def test_mails_of_development_can_be_read_on(identity: Database) -> None:
    await queue(identity, letters.recover("ana@example.org", LINK))
    office, now = PostOffice(identity, keeps=True), dt.datetime.now(dt.UTC) + MINUTE
    assert (await office.outbox.send_due(now), await office.outbox.send_due(now)) == (1, 0)
    async with identity.connection() as connection:
        (read,) = await mails.fetch_latest(connection, VAULT, 10)
    assert LINK in read.letter.text


async def test_a_mail_goes_to_a_server_by_smtp_and_what_it_refuses_is_put_off() -> None:
    said: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        async for line in reader:
            said.append(line)
            if line.upper().startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                said.append(await reader.readuntil(b"\r\n.\r\n"))
            refuses = b"refused@" in line and line.upper().startswith(b"RCPT")
            writer.write(b"550 no such box\r\n" if refuses else b"250 ok\r\n")
            if line.upper().startswith(b"QUIT"):
                break
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    send = smtp.by_smtp(f"smtp://127.0.0.1:{port}", "Kith <no-reply@example.org>")
    letter = letters.recover("ana@example.org", LINK)
    mail = mails.Mail(uuid.uuid4(), letter, 1, dt.datetime.now(dt.UTC))
    await send(mail)
    message = message_from_bytes(next(each for each in said if b"Subject:" in each))
    assert (message["To"], message["From"]) == ("ana@example.org", "Kith <no-reply@example.org>")
    assert message["Message-ID"] == f"<{mail.id}@example.org>"
    assert LINK in message.get_payload(decode=True).decode()  # type: ignore[union-attr] # it has one part
    for address in ("refused@example.org", "ana@example.org\r\nBcc: eve@example.org"):
        with pytest.raises(mails.Undeliverable):
            await send(mails.Mail(mail.id, letters.recover(address, LINK), 1, mail.created_at))
    server.close()
    await server.wait_closed()
    with pytest.raises(mails.Undeliverable) as refused:
        await send(mail)
    assert not isinstance(refused.value.__cause__, SMTPServerDisconnected)


async def test_in_development_a_mail_is_shown_on_the_terminal_while_somebody_looks() -> None:
    mail = mails.Mail(uuid.uuid4(), letters.recover("ana@example.org", LINK), 1, dt.datetime.now(dt.UTC))
    looks, console = os.pipe()
    await smtp.to_console(console)(mail)
    shown = os.read(looks, 4096).decode()
    assert "mail to ana@example.org" in shown
    assert LINK in shown
    os.close(looks)
    await smtp.to_console(console)(mail)
    os.close(console)
