"""Notifications as rows: numbered per owner in the order of commit, one per event."""

import dataclasses
import datetime as dt
import uuid
from typing import Final

from domain.errors import KithError
from domain.notifications import Notification, NotificationKind
from storage.cells import Connection, Record
from storage.database import Database

# The counter's row lock makes the order of numbers the order of commits: a reader behind a number misses nothing.
_NEXT: Final = """
UPDATE user_counts SET notifications = notifications + 1 WHERE user_id = $1 RETURNING notifications
"""

_INSERT: Final = """
INSERT INTO notifications (owner_id, sequence, event_id, kind, actor_id, created_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (owner_id, event_id) DO NOTHING
RETURNING sequence
"""

_IS_TOLD: Final = "SELECT FROM notifications WHERE owner_id = $1 AND event_id = $2"

_FETCH_AFTER: Final = """
SELECT owner_id, sequence, event_id, kind, actor_id, created_at, read_at
FROM notifications
WHERE owner_id = $1 AND sequence > $2
ORDER BY sequence
LIMIT $3
"""

_FETCH_HEAD: Final = "SELECT notifications FROM user_counts WHERE user_id = $1"

# Numbers are given out without gaps and leave from the lowest on.
_FETCH_FLOOR: Final = """
SELECT coalesce((SELECT min(n.sequence) FROM notifications n WHERE n.owner_id = c.user_id), c.notifications + 1) - 1
       AS floor
FROM user_counts c
WHERE c.user_id = $1
"""


@dataclasses.dataclass(frozen=True, slots=True)
class NewNotification:
    """What a consumer wants a person to be told."""

    owner_id: int
    event_id: uuid.UUID
    kind: NotificationKind
    actor_id: int
    created_at: dt.datetime


class _AlreadyTold(KithError):
    """Roll back: this event has had its effect, or its owner is gone."""


async def add_notification(database: Database, new: NewNotification) -> bool:
    """Store a notification once per event; False when it was there before or the owner is gone."""

    async def work(connection: Connection) -> bool:
        rows = await connection.fetch(_NEXT, new.owner_id)
        sequence = rows[0]["notifications"] if rows else None
        if sequence is None or not await _insert(connection, new, sequence):
            raise _AlreadyTold
        return True

    try:
        return await database.shards.home(new.owner_id).transact(work)
    except _AlreadyTold:
        return False


async def is_told(database: Database, owner_id: int, event_id: uuid.UUID) -> bool:
    """Tell whether an event has had its effect: the cheap look before the work, for events that are fed again."""
    return bool(await database.shards.home(owner_id).fetch(_IS_TOLD, owner_id, event_id))


async def _insert(connection: Connection, new: NewNotification, sequence: int) -> bool:
    rows = await connection.fetch(_INSERT, new.owner_id, sequence, new.event_id, new.kind, new.actor_id, new.created_at)
    return bool(rows)


async def fetch_after(database: Database, owner_id: int, sequence: int, limit: int) -> list[Notification]:
    """Fetch the owner's notifications after a number, oldest first, at most `limit`."""
    rows = await database.shards.home(owner_id).fetch(_FETCH_AFTER, owner_id, sequence, limit)
    return [_notification(row) for row in rows]


async def fetch_head(database: Database, owner_id: int) -> int:
    """Fetch the number of the owner's latest notification; 0 where there is none."""
    rows = await database.shards.home(owner_id).fetch(_FETCH_HEAD, owner_id)
    return int(rows[0]["notifications"]) if rows else 0


async def fetch_floor(database: Database, owner_id: int) -> int:
    """Fetch the number of the owner's latest notification that is kept no more; 0 where all are.

    Whoever wants what came after a lower number than this cannot have it whole.
    """
    rows = await database.shards.home(owner_id).fetch(_FETCH_FLOOR, owner_id)
    return int(rows[0]["floor"]) if rows else 0


def _notification(row: Record) -> Notification:
    return Notification(
        owner_id=row["owner_id"],
        sequence=row["sequence"],
        event_id=row["event_id"],
        kind=NotificationKind(row["kind"]),
        actor_id=row["actor_id"],
        created_at=row["created_at"],
        read_at=row["read_at"],
    )
