"""Accounts: one for each person who can sign in."""

import dataclasses
import datetime as dt
import enum
from typing import Final
from uuid import UUID

from identity.database import Connection, Record
from identity.emails import SealedEmail

TABLE: Final = "accounts"


class AccountState(enum.StrEnum):
    """Whether somebody may sign in; what was erased is only there so that its id is not given again."""

    ACTIVE = "ACTIVE"
    BLOCKED = "BLOCKED"
    ERASED = "ERASED"


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """Somebody who can sign in; `subject` is the id by which clients of the user service know the person."""

    id: UUID
    subject: str
    email_digest: bytes = dataclasses.field(repr=False)
    email: SealedEmail = dataclasses.field(repr=False)
    password_hash: str | None = dataclasses.field(default=None, repr=False)
    email_verified_at: dt.datetime | None = None
    state: AccountState = AccountState.ACTIVE

    @property
    def may_sign_in(self) -> bool:
        """Tell whether the account is neither blocked nor erased."""
        return self.state is AccountState.ACTIVE


_COLUMNS: Final = """
    id, state, subject, email_digest, email_box, wrapped_key, master_version, email_verified_at, password_hash
"""
_INSERT: Final = f"INSERT INTO accounts ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"  # noqa: S608
_BY_ID: Final = f"SELECT {_COLUMNS} FROM accounts WHERE id = $1 AND state <> 'ERASED'"  # noqa: S608
_BY_EMAIL: Final = f"SELECT {_COLUMNS} FROM accounts WHERE email_digest = $1 AND state <> 'ERASED'"  # noqa: S608
_BY_SUBJECT: Final = f"SELECT {_COLUMNS} FROM accounts WHERE subject = $1 AND state <> 'ERASED'"  # noqa: S608
_SET_PASSWORD: Final = """
    UPDATE accounts SET password_hash = $2, updated_at = now()
    WHERE id = $1 AND state = 'ACTIVE' AND ($3::text IS NULL OR password_hash = $3)
"""  # noqa: S105 - a statement
_SET_EMAIL: Final = """
    UPDATE accounts SET email_digest = $2, email_box = $3, email_verified_at = $4, updated_at = now()
    WHERE id = $1 AND state = 'ACTIVE'
"""


async def insert_account(connection: Connection, account: Account) -> None:
    """Write a new account; raises asyncpg.UniqueViolationError where the address or the subject has one."""
    email = account.email
    await connection.execute(
        _INSERT,
        account.id,
        account.state,
        account.subject,
        account.email_digest,
        email.box,
        email.wrapped_key,
        email.master_version,
        account.email_verified_at,
        account.password_hash,
    )


async def fetch_account(connection: Connection, account_id: UUID) -> Account | None:
    """Read an account that was not erased."""
    return _read(await connection.fetchrow(_BY_ID, account_id))


async def fetch_account_by_email(connection: Connection, digest: bytes) -> Account | None:
    """Read the account of an address, by its digest."""
    return _read(await connection.fetchrow(_BY_EMAIL, digest))


async def fetch_account_by_subject(connection: Connection, subject: str) -> Account | None:
    """Read the account of a person, by the id that clients know."""
    return _read(await connection.fetchrow(_BY_SUBJECT, subject))


async def set_password_hash(
    connection: Connection, account_id: UUID, fresh: str, *, expected: str | None = None
) -> bool:
    """Change the password; False where it is not the `expected` one any more."""
    return (await connection.execute(_SET_PASSWORD, account_id, fresh, expected)).endswith("1")


async def set_email(connection: Connection, account_id: UUID, digest: bytes, box: bytes, now: dt.datetime) -> None:
    """Change the address, encrypted under the account's key; raises UniqueViolationError where another has it."""
    await connection.execute(_SET_EMAIL, account_id, digest, box, now)


def _read(row: Record | None) -> Account | None:
    if row is None:
        return None
    return Account(
        row["id"],
        row["subject"],
        row["email_digest"],
        SealedEmail(row["email_box"], row["wrapped_key"], row["master_version"]),
        row["password_hash"],
        row["email_verified_at"],
        AccountState(row["state"]),
    )
