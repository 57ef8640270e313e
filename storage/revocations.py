"""Revocations: a row at the person's home for each, which every web process reads before long.

Whoever writes one also calls the processes through Redis, so that they read at once; a call that gets lost costs one
polling interval.
"""

import datetime as dt
from typing import Final

from domain.events import Event, EventType, SessionPayload
from domain.ids import NodeType
from domain.revocations import Revocation, RevocationKind
from storage import outbox
from storage.audit import write_audit
from storage.cells import Cell, Connection
from storage.database import Database
from storage.limits import Priority
from storage.repeats import is_done
from storage.wholly import wholly

REVOKED: Final = "session.revoked"
"""The action of the audit row."""

LATE_S: Final = 20.0
"""How much later than its `recorded_at` a row may come to be seen: longer than any transaction lives."""

_WRITE: Final = """
INSERT INTO revocations (user_id, kind, name, revoked_at, ends_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (user_id, kind, name) DO UPDATE
SET revoked_at = greatest(revocations.revoked_at, EXCLUDED.revoked_at),
    ends_at = greatest(revocations.ends_at, EXCLUDED.ends_at),
    recorded_at = EXCLUDED.recorded_at
WHERE revocations.revoked_at < EXCLUDED.revoked_at OR revocations.ends_at < EXCLUDED.ends_at
RETURNING true
"""

_FETCH: Final = """
SELECT user_id, kind, name, revoked_at, ends_at, recorded_at
FROM revocations
WHERE recorded_at > $1 AND ends_at > now()
ORDER BY recorded_at
"""

_FORGET: Final = "DELETE FROM revocations WHERE ends_at < $1"


async def revoke(database: Database, revocation: Revocation) -> None:
    """Write a revocation, and tell other services of it; a repeat may only extend it, and the same again is nothing."""
    user_id, opaque_id = revocation.user_id, database.ids.encode(NodeType.USER, revocation.user_id)
    is_session = revocation.kind is RevocationKind.SESSION
    payload = SessionPayload(
        user_id=opaque_id, session_id=revocation.name if is_session else None, revoked_at=_moment(revocation.revoked_at)
    )

    async def work(connection: Connection) -> None:
        if await is_done(connection, REVOKED, None):
            return
        times = (_moment(revocation.revoked_at), _moment(revocation.ends_at))
        if not await connection.fetch(_WRITE, user_id, revocation.kind.value, revocation.name, *times):
            return
        await write_audit(
            database, connection, user_id, REVOKED, target_id=None, version=1, before=None, after=revocation
        )
        if revocation.kind is not RevocationKind.TOKEN:
            event = Event(type=EventType.SESSION_REVOKED, actor_id=opaque_id, payload=payload)
            await outbox.append(connection, [event])

    async def revoke_and_tell() -> None:
        await database.shards.home(user_id).transact(work)
        await database.freshness.tokens_revoked(user_id)

    await wholly(revoke_and_tell())


async def fetch_revocations(cell: Cell, after: dt.datetime) -> tuple[list[Revocation], dt.datetime]:
    """Fetch what was revoked after a moment, and up to when that is all: the moment to ask with next.

    A transaction that is under way writes a row of an earlier moment: some are therefore fetched again.
    """
    rows = await cell.fetch(_FETCH, after, priority=Priority.FACT)
    found = [
        Revocation(
            row["user_id"],
            RevocationKind(row["kind"]),
            row["name"],
            row["revoked_at"].timestamp(),
            row["ends_at"].timestamp(),
        )
        for row in rows
    ]
    newest = rows[-1]["recorded_at"] - dt.timedelta(seconds=LATE_S) if rows else after
    return found, max(after, newest)


async def forget_ended(cell: Cell, before: dt.datetime) -> None:
    """Remove what ended before a moment."""
    await cell.fetch(_FORGET, before)


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)
