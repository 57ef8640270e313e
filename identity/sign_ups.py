"""Signing up: an address is confirmed, the user service makes the person, and then the account is there, or none of it.

Each step is one transaction, which also writes what is to be asked next (`commands.py`). Nothing here tells anybody but
the owner of the mailbox whether an address has an account.
"""

import dataclasses
import datetime as dt
import enum
import uuid
from typing import Final
from uuid import UUID

import asyncpg

from domain.sign_ups import CreateUser, Refusal, SignedUp
from identity.accounts import TABLE as ACCOUNTS
from identity.accounts import Account, fetch_account_by_email, insert_account
from identity.commands import CommandKind, queue_command
from identity.database import Connection, Record
from identity.emails import Emails, SealedEmail
from identity.events import write_event
from identity.letters import confirm_sign_up, sign_up_known
from identity.mails import queue_mail
from identity.secret_values import digest, new_secret
from storage.vault import WrappedKey

TABLE: Final = "sign_ups"
CONFIRM_PATH: Final = "/sign-up/confirm"
LIVES: Final = dt.timedelta(hours=24)
FIRST_EMAIL: Final = 1
"""The version of the address with which a person is made; those of later addresses are higher."""
_MAX_TOKEN: Final = 100


class SignUpState(enum.StrEnum):
    """How far a sign-up has come."""

    WAITING = "WAITING"
    ASKED = "ASKED"
    REFUSED = "REFUSED"
    DONE = "DONE"


@dataclasses.dataclass(frozen=True, slots=True)
class SignUp:
    """A sign-up as its page shows it; `refusal` says why another name is needed."""

    id: UUID
    state: SignUpState
    refusal: Refusal | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class NewSignUp:
    """What somebody signs up with; the name as it is written, the password as a hash."""

    email: str = dataclasses.field(repr=False)
    username: str = dataclasses.field(repr=False)
    password_hash: str = dataclasses.field(repr=False)


_BEGIN: Final = """
INSERT INTO sign_ups (id, state, digest, attempt, email_digest, email_box, username_box, wrapped_key, master_version,
                      password_hash, created_at, ends_at)
VALUES ($1, 'WAITING', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
_BY_TOKEN: Final = "SELECT * FROM sign_ups WHERE digest = $1 AND (ends_at > $2 OR state = 'ASKED') FOR UPDATE"  # noqa: S105
_BY_ID: Final = "SELECT * FROM sign_ups WHERE id = $1 AND state = 'ASKED'"
_LOCKED: Final = "SELECT * FROM sign_ups WHERE id = $1 AND state = 'ASKED' AND attempt = $2 FOR UPDATE"
_CONFIRM: Final = "UPDATE sign_ups SET state = 'ASKED' WHERE id = $1 AND state = 'WAITING'"
_ASK_AGAIN: Final = """
UPDATE sign_ups SET state = 'ASKED', attempt = $2, username_box = $3, refusal = NULL WHERE id = $1 AND state = 'REFUSED'
"""
_REFUSE: Final = "UPDATE sign_ups SET state = 'REFUSED', refusal = $2 WHERE id = $1"
_END: Final = """
UPDATE sign_ups
SET state = 'DONE', email_digest = NULL, email_box = NULL, username_box = NULL, wrapped_key = NULL,
    password_hash = NULL, refusal = NULL
WHERE id = $1
"""
_GIVE_WAY: Final = "DELETE FROM sign_ups WHERE email_digest = $1 AND state = 'REFUSED' AND id <> $2"
_DROP: Final = "DELETE FROM sign_ups WHERE id = $1"
_FORGET: Final = "DELETE FROM sign_ups WHERE ends_at < $1 AND state <> 'ASKED'"


async def begin_sign_up(connection: Connection, emails: Emails, new: NewSignUp, url: str, now: dt.datetime) -> None:
    """Write a sign-up and a mail with its link, in a transaction; to an address with an account, a mail that says so.

    The same is written either way: from a sign-up of an address with an account nobody has the link.
    """
    await connection.execute(_FORGET, now)
    token, sign_up_id = new_secret(), uuid.uuid4()
    sealed = await emails.seal(TABLE, sign_up_id, new.email)
    username_box = await _seal_name(emails, sign_up_id, sealed, new.username)
    key = (sealed.wrapped_key, sealed.master_version)
    email_digest = emails.digest(new.email)
    row = (sign_up_id, digest(token), uuid.uuid4(), email_digest, sealed.box, username_box, *key)
    await connection.execute(_BEGIN, *row, new.password_hash, now, now + LIVES)
    known = await fetch_account_by_email(connection, email_digest) is not None
    letter = (
        sign_up_known(new.email, url) if known else confirm_sign_up(new.email, f"{url}{CONFIRM_PATH}?token={token}")
    )
    await queue_mail(connection, emails, letter)


async def confirm_email(connection: Connection, token: str, now: dt.datetime) -> SignUp | None:
    """Use the link of a mail: have the person asked for, once. In a transaction.

    Gives how far the sign-up is, the same however often the link is opened; None where it leads nowhere (any more),
    also where the address has got an account meanwhile.
    """
    row = await _fetch_by_token(connection, token, now)
    if row is None or row["state"] != SignUpState.WAITING:
        return _shown(row)
    await connection.execute(_GIVE_WAY, row["email_digest"], row["id"])
    try:
        async with connection.transaction():
            await connection.execute(_CONFIRM, row["id"])
    except asyncpg.UniqueViolationError:  # another sign-up with this address is being made an account
        return None
    # Looked at after the address is ours among the sign-ups: whoever had it before has an account by now.
    if await fetch_account_by_email(connection, row["email_digest"]) is not None:
        await connection.execute(_DROP, row["id"])
        return None
    await queue_command(connection, CommandKind.CREATE, row["id"])
    await write_event(connection, "sign_up.confirmed", what=str(row["id"]))
    return SignUp(row["id"], SignUpState.ASKED)


async def fetch_sign_up(connection: Connection, token: str, now: dt.datetime) -> SignUp | None:
    """Read how far the sign-up of a link is."""
    return _shown(await _fetch_by_token(connection, token, now))


async def choose_name(connection: Connection, emails: Emails, token: str, username: str, now: dt.datetime) -> bool:
    """Ask again with another name, where the one before was refused; False where there is nothing to ask."""
    row = await _fetch_by_token(connection, token, now)
    if row is None or row["state"] != SignUpState.REFUSED:
        return False
    username_box = await _seal_name(emails, row["id"], _sealed(row), username)
    await connection.execute(_ASK_AGAIN, row["id"], uuid.uuid4(), username_box)
    await queue_command(connection, CommandKind.CREATE, row["id"])
    return True


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """What the user service is asked for a sign-up, under which id."""

    sign_up_id: UUID
    attempt: UUID
    command: CreateUser


async def fetch_asked(connection: Connection, emails: Emails, sign_up_id: UUID) -> Asked | None:
    """Read what is to be asked; None where that is over."""
    row = await connection.fetchrow(_BY_ID, sign_up_id)
    if row is None:
        return None
    sealed = _sealed(row)
    email = await emails.open(TABLE, sign_up_id, sealed)
    username = await _open_name(emails, sign_up_id, sealed, row["username_box"])
    return Asked(sign_up_id, row["attempt"], CreateUser(username=username, email=email, email_version=FIRST_EMAIL))


async def settle(connection: Connection, emails: Emails, asked: Asked, answer: SignedUp, now: dt.datetime) -> None:
    """Have the answer of the user service its effect, once and in a transaction: an account, or another name is needed.

    Whoever has taken the address for another account meanwhile keeps it: then the person is taken back.
    """
    row = await connection.fetchrow(_LOCKED, asked.sign_up_id, asked.attempt)
    if row is None:
        return
    if answer.user_id is None:
        await connection.execute(_REFUSE, asked.sign_up_id, answer.refusal)
        return
    account = await _account_of(emails, row, asked, answer.user_id, now)
    try:
        async with connection.transaction():
            await insert_account(connection, account)
    except asyncpg.UniqueViolationError:
        await queue_command(connection, CommandKind.TAKE_BACK, asked.attempt)
        await connection.execute(_DROP, asked.sign_up_id)
        await write_event(connection, "sign_up.taken_back", what=str(asked.sign_up_id))
        return
    await connection.execute(_END, asked.sign_up_id)
    await write_event(connection, "account.created", account=account.id)


async def _account_of(emails: Emails, row: Record, asked: Asked, subject: str, now: dt.datetime) -> Account:
    sealed = await emails.seal(ACCOUNTS, asked.sign_up_id, asked.command.email)
    return Account(asked.sign_up_id, subject, row["email_digest"], sealed, row["password_hash"], now)


async def _fetch_by_token(connection: Connection, token: str, now: dt.datetime) -> Record | None:
    return await connection.fetchrow(_BY_TOKEN, digest(token), now) if len(token) <= _MAX_TOKEN else None


def _shown(row: Record | None) -> SignUp | None:
    if row is None:
        return None
    return SignUp(row["id"], SignUpState(row["state"]), Refusal(row["refusal"]) if row["refusal"] else None)


def _sealed(row: Record) -> SealedEmail:
    return SealedEmail(row["email_box"], row["wrapped_key"], row["master_version"])


async def _seal_name(emails: Emails, sign_up_id: UUID, sealed: SealedEmail, username: str) -> bytes:
    return (await emails.vault.open(_key(sign_up_id, sealed))).encrypt(TABLE, "username_box", username)


async def _open_name(emails: Emails, sign_up_id: UUID, sealed: SealedEmail, box: bytes) -> str:
    return (await emails.vault.open(_key(sign_up_id, sealed))).decrypt(TABLE, "username_box", box)


def _key(sign_up_id: UUID, sealed: SealedEmail) -> WrappedKey:
    return WrappedKey(sign_up_id.int, sealed.wrapped_key, sealed.master_version)
