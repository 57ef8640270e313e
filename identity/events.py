"""What was done to accounts, factors and sessions: rows that are only added, in the transaction of the fact."""

from typing import Final
from uuid import UUID

from identity.database import Connection

_WRITE: Final = "INSERT INTO identity_events (kind, account_id, session_id, object_id) VALUES ($1, $2, $3, $4)"


async def write_event(
    connection: Connection,
    kind: str,
    *,
    account: UUID | None = None,
    session: UUID | None = None,
    what: str | None = None,
) -> None:
    """Write down that something was done: a kind such as `session.ended`, and ids; nothing personal, no secret."""
    await connection.execute(_WRITE, kind, account, session, what)
