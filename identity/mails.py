"""The outbox of mails: a letter is written with the fact that it tells of, encrypted, and sent by a task beside.

A mail may come twice (the process died between sending and writing that down), and never not at all: what cannot be
sent is tried again, ever less often, for about a day. Once a mail is sent, the key of what it said is destroyed.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from identity.database import Connection, Database, Record, Unavailable
from identity.emails import Emails
from identity.letters import Letter, LetterKind
from identity.metrics import MAILS
from identity.tasks import running
from storage.master_keys import Unreadable
from storage.vault import Vault, WrappedKey

TABLE: Final = "mails"
COLUMN: Final = "box"
BATCH: Final = 10
MOST_TRIES: Final = 12
LEASE: Final = dt.timedelta(minutes=2)
_FIRST_WAIT: Final = dt.timedelta(seconds=30)
_LONGEST_WAIT: Final = dt.timedelta(hours=4)
KEPT: Final = dt.timedelta(days=7)
POLL_S: Final = 5.0
SEND_TIMEOUT_S: Final = 30.0
_LOG: Final = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Mail:
    """A letter on its way."""

    id: uuid.UUID
    letter: Letter
    tries: int
    created_at: dt.datetime


class Undeliverable(Exception):
    """A mail was not taken this time; the cause is in the context, and may name an address."""


Send = Callable[[Mail], Awaitable[None]]
"""Hands a mail on to whoever brings it; raises Undeliverable."""

_QUEUE: Final = """
    INSERT INTO mails (id, kind, recipient, box, wrapped_key, master_version) VALUES ($1, $2, $3, $4, $5, $6)
"""
_TAKE: Final = """
    UPDATE mails SET tries = tries + 1, due_at = $1 + $3
    WHERE id IN (
        SELECT id FROM mails WHERE sent_at IS NULL AND given_up_at IS NULL AND due_at <= $1
        ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
    )
    RETURNING id, box, wrapped_key, master_version, tries, created_at
"""
_SENT: Final = "UPDATE mails SET sent_at = $2, box = NULL, wrapped_key = NULL WHERE id = $1"
_SHOWN: Final = "UPDATE mails SET sent_at = $2 WHERE id = $1"
_LATER: Final = "UPDATE mails SET due_at = $2 WHERE id = $1"
_GIVE_UP: Final = "UPDATE mails SET given_up_at = $2, box = NULL, wrapped_key = NULL WHERE id = $1"
_FORGET: Final = "DELETE FROM mails WHERE created_at < $1 AND (sent_at IS NOT NULL OR given_up_at IS NOT NULL)"
_LATEST: Final = """
    SELECT id, box, wrapped_key, master_version, tries, created_at FROM mails
    WHERE box IS NOT NULL ORDER BY created_at DESC LIMIT $1
"""


async def queue_mail(connection: Connection, emails: Emails, letter: Letter) -> None:
    """Write a letter in the transaction of what it tells; ring the bell once that has committed."""
    mail_id = uuid.uuid4()
    wrapped = await emails.vault.make(mail_id.int)
    content = msgspec.json.encode(dataclasses.asdict(letter)).decode()
    box = (await emails.vault.open(wrapped)).encrypt(TABLE, COLUMN, content)
    recipient = emails.digest(letter.to)
    await connection.execute(_QUEUE, mail_id, letter.kind, recipient, box, wrapped.wrapped, wrapped.master_version)
    MAILS.labels(letter.kind, "queued").inc()


async def fetch_latest(connection: Connection, vault: Vault, count: int) -> list[Mail]:
    """Read the latest mails that can still be read, newest first: those of development, and those not sent yet."""
    found = []
    for row in await connection.fetch(_LATEST, count):
        with contextlib.suppress(Unreadable):
            found.append(await _read(row, vault))
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Outbox:
    """Sends what waits, through `send`; what was sent can be read on where `keeps` (in development alone)."""

    database: Database
    vault: Vault
    send: Send
    bell: asyncio.Event
    keeps: bool = False

    async def work(self) -> None:
        """Send what is due, whenever the bell rings and every few seconds, until cancelled."""
        while True:
            self.bell.clear()
            try:
                while await self.send_due(dt.datetime.now(dt.UTC)) == BATCH:
                    pass
            except Unavailable:
                _LOG.warning("mails wait: the database does not answer")
            except Exception:  # noqa: BLE001 - mails go on, whatever is wrong with one
                _LOG.exception("mails wait")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.bell.wait(), POLL_S)

    async def send_due(self, now: dt.datetime) -> int:
        """Send a batch of what is due; gives how many were tried. Two processes never send the same at once."""
        async with self.database.transaction() as connection:
            await connection.execute(_FORGET, now - KEPT)
            rows = await connection.fetch(_TAKE, now, BATCH, LEASE)
        for row in rows:
            try:
                mail = await _read(row, self.vault)
            except Unreadable:
                _LOG.error("a mail cannot be read, and is given up")
                await self._write(_GIVE_UP, row["id"], now)
            else:
                await self._send_one(mail, now)
        return len(rows)

    async def _send_one(self, mail: Mail, now: dt.datetime) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self.send(mail)
        except (Undeliverable, TimeoutError):
            await self._failed(mail, now)
            return
        MAILS.labels(mail.letter.kind, "sent").inc()
        await self._write(_SHOWN if self.keeps else _SENT, mail.id, now)

    async def _failed(self, mail: Mail, now: dt.datetime) -> None:
        if mail.tries >= MOST_TRIES:
            MAILS.labels(mail.letter.kind, "given up").inc()
            _LOG.error("a mail was given up after %d tries", mail.tries)
            await self._write(_GIVE_UP, mail.id, now)
            return
        MAILS.labels(mail.letter.kind, "put off").inc()
        await self._write(_LATER, mail.id, now + min(_FIRST_WAIT * 2**mail.tries, _LONGEST_WAIT))

    async def _write(self, statement: str, mail_id: uuid.UUID, moment: dt.datetime) -> None:
        async with self.database.connection() as connection:
            await connection.execute(statement, mail_id, moment)


def sending(outboxes: Sequence[Outbox]) -> contextlib.AbstractAsyncContextManager[None]:
    """Work outboxes off for as long as the context is open."""
    return running(*(outbox.work() for outbox in outboxes))


async def _read(row: Record, vault: Vault) -> Mail:
    opened = await vault.open(WrappedKey(row["id"].int, row["wrapped_key"], row["master_version"]))
    content = msgspec.json.decode(opened.decrypt(TABLE, COLUMN, row["box"]))
    letter = Letter(LetterKind(content["kind"]), content["to"], content["subject"], content["text"])
    return Mail(row["id"], letter, row["tries"], row["created_at"])
