"""What the auth service holds about a person, read for the person's own export.

Every table that is erased with a person is read here, or left out for a reason that is given here.
"""

import uuid
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from domain.holdings import (
    PAGE,
    Account,
    AccountAction,
    AccountHeld,
    ActionsHeld,
    Application,
    ApplicationsHeld,
    MailHeld,
    PasskeyHeld,
    SignIn,
    SignInsHeld,
)
from identity.accounts import TABLE, AccountState
from identity.database import Connection, Record
from identity.parts import Parts
from identity.passkeys import fetch_passkeys, name_of
from identity.recovery_codes import count_left
from storage.vault import WrappedKey

SHOWN: Final = (
    "accounts",
    "families",
    "identity_events",
    "mail_links",
    "mails",
    "passkeys",
    "recovery_codes",
    "sessions",
    "totp_factors",
)
"""Tables of which the export says what they hold."""
LEFT_OUT: Final[Mapping[str, str]] = {
    "authorization_codes": "good for a minute; the sign-in that comes of one is shown",
    "commands": "the address on its way to the user service, which shows it",
    "endings": "ends of applications on their way to the user service; they are shown with these",
    "half_sign_ins": "a password that was shown some minutes ago, without a second factor",
    "refresh_tokens": "digests alone; the application that they are of is shown",
    "sign_ups": "nothing personal once the account is made",
}
"""Tables that it leaves out, and why."""

_EMAIL_BOX: Final = "email_box"
_ACCOUNT: Final = """
SELECT id, state, email_digest, email_box, wrapped_key, master_version, email_verified_at, password_hash IS NOT NULL
       AS has_password, created_at
FROM accounts WHERE subject = $1 AND state <> 'ERASED'
"""
_ID: Final = "SELECT id FROM accounts WHERE subject = $1 AND state <> 'ERASED'"
_NEW_EMAIL: Final = "SELECT email_box FROM mail_links WHERE account_id = $1 AND purpose = 'EMAIL'"
_CODES_SINCE: Final = "SELECT confirmed_at FROM totp_factors WHERE account_id = $1"
_MAILS: Final = "SELECT kind, created_at, sent_at FROM mails WHERE recipient = $1 ORDER BY created_at LIMIT $2"
_SESSIONS: Final = """
SELECT id, agent, methods, created_at, authenticated_at, seen_at, ended_at FROM sessions
WHERE account_id = $1 AND id > $2 ORDER BY id LIMIT $3
"""
_FAMILIES: Final = """
SELECT id, client_id, scope, created_at, ended_at FROM families
WHERE account_id = $1 AND id > $2 ORDER BY id LIMIT $3
"""
_EVENTS: Final = "SELECT id, at, kind FROM identity_events WHERE account_id = $1 AND id > $2 ORDER BY id LIMIT $3"
_BEGINNING: Final = UUID(int=0)


async def fetch_account_held(parts: Parts, subject: str) -> AccountHeld:
    """Read the account of a person, opened for its owner."""
    async with parts.database.connection() as connection:
        row = await connection.fetchrow(_ACCOUNT, subject)
        return AccountHeld(account=await _read_account(parts, connection, row) if row is not None else None)


async def _read_account(parts: Parts, connection: Connection, row: Record) -> Account:
    key = await parts.vault.open(WrappedKey(row["id"].int, row["wrapped_key"], row["master_version"]))
    new_email = await connection.fetchval(_NEW_EMAIL, row["id"])
    return Account(
        email=key.decrypt(TABLE, _EMAIL_BOX, row["email_box"]),
        email_verified_at=row["email_verified_at"],
        new_email=key.decrypt("mail_links", _EMAIL_BOX, new_email) if new_email is not None else None,
        made_at=row["created_at"],
        is_blocked=row["state"] == AccountState.BLOCKED,
        has_password=row["has_password"],
        codes_by_clock_since=await connection.fetchval(_CODES_SINCE, row["id"]),
        recovery_codes_left=await count_left(connection, row["id"]),
        passkeys=await _read_passkeys(connection, row["id"]),
        mails=await _read_mails(connection, row["email_digest"]),
    )


async def _read_passkeys(connection: Connection, account_id: UUID) -> list[PasskeyHeld]:
    return [
        PasskeyHeld(id=name_of(key.credential_id), made_at=key.created_at, used_at=key.used_at)
        for key in await fetch_passkeys(connection, account_id)
        if key.created_at is not None
    ]


async def _read_mails(connection: Connection, recipient: bytes) -> list[MailHeld]:
    return [
        MailHeld(kind=row["kind"], written_at=row["created_at"], sent_at=row["sent_at"])
        for row in await connection.fetch(_MAILS, recipient, PAGE)
    ]


async def fetch_sign_ins_held(parts: Parts, subject: str, after: str | None) -> SignInsHeld:
    """Read a page of the browsers that a person signed in with; raises ValueError where `after` is no place."""
    rows = await _page(parts, subject, _SESSIONS, uuid.UUID(after) if after is not None else _BEGINNING)
    entries = [
        SignIn(
            browser=row["agent"],
            methods=list(row["methods"]),
            began_at=row["created_at"],
            proved_at=row["authenticated_at"],
            seen_at=row["seen_at"],
            ended_at=row["ended_at"],
        )
        for row in rows
    ]
    return SignInsHeld(entries=entries, last=rows[-1]["id"] if rows else None)


async def fetch_applications_held(parts: Parts, subject: str, after: str | None) -> ApplicationsHeld:
    """Read a page of the applications that a person signed in to; raises ValueError where `after` is no place."""
    rows = await _page(parts, subject, _FAMILIES, uuid.UUID(after) if after is not None else _BEGINNING)
    entries = [
        Application(
            application=row["client_id"],
            scope=row["scope"],
            began_at=row["created_at"],
            ended_at=row["ended_at"],
        )
        for row in rows
    ]
    return ApplicationsHeld(entries=entries, last=rows[-1]["id"] if rows else None)


async def fetch_actions_held(parts: Parts, subject: str, after: str | None) -> ActionsHeld:
    """Read a page of what was done to an account; raises ValueError where `after` is no place."""
    rows = await _page(parts, subject, _EVENTS, int(after) if after is not None else 0)
    entries = [AccountAction(at=row["at"], action=row["kind"]) for row in rows]
    return ActionsHeld(entries=entries, last=rows[-1]["id"] if rows else None)


async def _page(parts: Parts, subject: str, statement: str, after: UUID | int) -> list[Record]:
    async with parts.database.connection() as connection:
        account_id = await connection.fetchval(_ID, subject)
        if account_id is None:
            return []
        rows: list[Record] = await connection.fetch(statement, account_id, after, PAGE)
        return rows
