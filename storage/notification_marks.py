"""Reading notifications: marks on groups, so that a hundred thousand are read as quickly as one.

The owner's row of counters is locked first, as by whoever adds a notification: a mark stands between two numbers.
"""

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Final

from domain.notifications import GroupKey
from storage.cells import Connection, Record
from storage.database import Database
from storage.notifications import uncount

COUNTED_UP_TO: Final = 10_000
"""How many that came after a mark, in its own group, are counted; beyond that they are told by their numbers."""

_LOCK: Final = """
SELECT notifications, notifications_burst FROM user_counts WHERE user_id = $1 FOR NO KEY UPDATE
"""

# A burst that its owner has read is over: what comes next is news, and not one more in a group that was read.
_END_BURST: Final = "UPDATE user_counts SET notifications_burst = notifications_burst + 1 WHERE user_id = $1"

_BURST_AT: Final = """
SELECT burst FROM notifications WHERE owner_id = $1 AND sequence <= $2 ORDER BY sequence DESC LIMIT 1
"""

_READ_BEFORE: Final = """
UPDATE notification_groups SET unread = 0, read_to = $3, read_at = $4
WHERE owner_id = $1 AND burst < $2 AND unread > 0
RETURNING burst
"""

# Locked before they are counted: whatever is withdrawn meanwhile counts itself out afterwards, by the new mark.
_LOCK_GROUPS: Final = """
SELECT filtered, burst, kind FROM notification_groups
WHERE owner_id = $1 AND burst = $2 AND unread > 0 AND read_to < $3
ORDER BY filtered, kind
FOR UPDATE
"""

_READ_WITHIN: Final = """
UPDATE notification_groups g
SET read_to = $3, read_at = $4, unread = (
    SELECT CASE WHEN count(*) > $6 THEN least(g.unread, $5 - $3) ELSE count(*) END
    FROM (
        SELECT FROM notifications n
        WHERE n.owner_id = $1 AND n.filtered = g.filtered AND n.burst = g.burst AND n.kind = g.kind
          AND NOT n.withdrawn AND n.read_at IS NULL AND n.sequence > $3
        LIMIT $6 + 1
    ) AS later
)
WHERE g.owner_id = $1 AND g.burst = $2 AND g.unread > 0 AND g.read_to < $3
"""

_READ_GROUP: Final = """
UPDATE notification_groups SET unread = 0, read_to = $5, read_at = $6
WHERE owner_id = $1 AND filtered = $2 AND burst = $3 AND kind = $4 AND unread > 0
RETURNING burst
"""

_READ_ROWS: Final = """
UPDATE notifications n SET read_at = $3
FROM notification_groups g
WHERE n.owner_id = $1 AND n.sequence = ANY($2::bigint[]) AND NOT n.withdrawn AND n.read_at IS NULL
  AND g.owner_id = $1 AND g.filtered = n.filtered AND g.burst = n.burst AND g.kind = n.kind AND n.sequence > g.read_to
RETURNING n.filtered, n.burst, n.kind, n.sequence, NULL::timestamptz AS read_at
"""


@dataclasses.dataclass(frozen=True, slots=True)
class _Head:
    """The owner's latest number, and the burst that the next notification would join."""

    sequence: int
    burst: int


async def read_up_to(database: Database, owner_id: int, sequence: int, now: dt.datetime) -> bool:
    """Mark all up to a number as read; False where it was so already."""

    async def work(connection: Connection) -> bool:
        head = await _lock(connection, owner_id)
        rows = await connection.fetch(_BURST_AT, owner_id, sequence)
        if head is None or not rows:
            return False
        burst = rows[0]["burst"]
        before = await connection.fetch(_READ_BEFORE, owner_id, burst, sequence, now)
        within = await connection.fetch(_LOCK_GROUPS, owner_id, burst, sequence)
        if within:
            await connection.execute(_READ_WITHIN, owner_id, burst, sequence, now, head.sequence, COUNTED_UP_TO)
            await _end_burst(connection, owner_id, head, within)
        return bool(before or within)

    return await database.shards.home(owner_id).transact(work)


async def read_these(
    database: Database, owner_id: int, sequences: Sequence[int], groups: Sequence[GroupKey], now: dt.datetime
) -> bool:
    """Mark some notifications and whole groups as read; False where it was so already."""

    async def work(connection: Connection) -> bool:
        head = await _lock(connection, owner_id)
        if head is None:
            return False
        rows = await connection.fetch(_READ_ROWS, owner_id, sequences, now) if sequences else []
        await uncount(connection, owner_id, rows, gone=False)
        ended: list[Record] = []
        for key in sorted(groups, key=lambda key: (key.filtered, key.burst, key.kind)):
            place = (key.filtered, key.burst, key.kind)
            ended += await connection.fetch(_READ_GROUP, owner_id, *place, head.sequence, now)
        await _end_burst(connection, owner_id, head, ended)
        return bool(rows or ended)

    return await database.shards.home(owner_id).transact(work)


async def _lock(connection: Connection, owner_id: int) -> _Head | None:
    rows = await connection.fetch(_LOCK, owner_id)
    return _Head(rows[0]["notifications"], rows[0]["notifications_burst"]) if rows else None


async def _end_burst(connection: Connection, owner_id: int, head: _Head, read: Sequence[Record]) -> None:
    if any(row["burst"] == head.burst for row in read):
        await connection.execute(_END_BURST, owner_id)
