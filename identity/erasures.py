"""What the auth service keeps of a person, and how it is erased when the person is purged.

Every table is erased here or kept for a reason that is given here; a test holds every migration to it.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from identity.commands import forget_commands
from identity.database import Connection
from identity.events import write_event

_LOCK: Final = "SELECT id, email_digest FROM accounts WHERE subject = $1 FOR UPDATE"

# The data key goes with it: what copies and backups hold is noise from then on.
_BURY: Final = """
UPDATE accounts
SET state = 'ERASED', subject = NULL, email_digest = NULL, email_box = NULL, wrapped_key = NULL, master_version = NULL,
    email_verified_at = NULL, password_hash = NULL, updated_at = $2
WHERE id = $1
"""
_SIGN_UPS: Final = "DELETE FROM sign_ups WHERE id = $1 OR email_digest = $2"
_MAILS: Final = "DELETE FROM mails WHERE recipient = $1"
_ENDINGS: Final = "DELETE FROM endings WHERE subject = $1"
_OF_ACCOUNT: Final = "DELETE FROM {table} WHERE account_id = $1"

OF_ACCOUNT: Final[Sequence[str]] = (
    "authorization_codes",
    "families",
    "sessions",
    "totp_factors",
    "recovery_codes",
    "passkeys",
    "half_sign_ins",
    "mail_links",
)
"""Tables whose rows of the account go; refresh tokens go with their families."""
BY_NAME: Final = ("accounts", "sign_ups", "commands", "endings", "mails", "refresh_tokens")
"""Tables with a statement of their own."""

KEPT: Final[Mapping[str, str]] = {
    "identity_events": "ids and kinds alone, append-only: what was done stays provable",
    "signing_keys": "nothing of people",
    "used_challenges": "digests of random numbers",
    "schema_migrations": "nothing of people",
}
"""Tables that keep what they have, and why that may be."""


async def erase_account(connection: Connection, subject: str, now: dt.datetime) -> bool:
    """Erase the account of a person, in a transaction; may be repeated. False where there is none (any more)."""
    row = await connection.fetchrow(_LOCK, subject)
    await connection.execute(_ENDINGS, subject)
    if row is None:
        return False
    await _erase_rows(connection, row["id"], row["email_digest"])
    await connection.execute(_BURY, row["id"], now)
    await write_event(connection, "account.erased", account=row["id"])
    return True


async def _erase_rows(connection: Connection, account_id: UUID, email_digest: bytes) -> None:
    for table in OF_ACCOUNT:
        await connection.execute(_OF_ACCOUNT.format(table=table), account_id)
    await connection.execute(_SIGN_UPS, account_id, email_digest)
    await connection.execute(_MAILS, email_digest)
    await forget_commands(connection, account_id)
