"""How long notifications are kept: from the lowest number on, in batches; whose turn it is, and what is left."""

import dataclasses
import datetime as dt
from typing import Final

from storage.cells import Cell, Connection
from storage.database import Database
from storage.notifications import KEPT, uncount


@dataclasses.dataclass(frozen=True, slots=True)
class Retention:
    """What leaves: whatever is older than `most`, and of those with more than `kept` what is older than `least`.

    `least` is longer than facts may be fed again: while its row is there, nobody is told of one twice.
    """

    most: dt.timedelta = dt.timedelta(days=90)
    least: dt.timedelta = dt.timedelta(days=2)
    kept: int = KEPT
    look_again_after: dt.timedelta = dt.timedelta(hours=1)


_OLD: Final = """
SELECT DISTINCT owner_id FROM (SELECT owner_id FROM notification_groups WHERE burst < $1 ORDER BY burst LIMIT $2) AS old
"""

_MANY: Final = "SELECT owner_id FROM notification_trims WHERE due_at <= $1 ORDER BY due_at LIMIT $2"

# As whoever adds a notification does: first the row of counters, then rows, then groups.
_LOCK: Final = "SELECT notifications FROM user_counts WHERE user_id = $1 FOR NO KEY UPDATE"

_DELETE: Final = """
WITH oldest AS (
    SELECT sequence FROM notifications WHERE owner_id = $1 ORDER BY sequence LIMIT $2
)
DELETE FROM notifications n
USING oldest o
WHERE n.owner_id = $1 AND n.sequence = o.sequence AND (n.burst < $3 OR (n.burst < $4 AND n.sequence <= $5))
RETURNING n.filtered, n.burst, n.kind, n.sequence, n.read_at, n.withdrawn
"""

# A burst is a stretch of numbers: below that of the lowest number left, groups are empty.
_DELETE_GROUPS: Final = """
DELETE FROM notification_groups
WHERE owner_id = $1
  AND burst < coalesce((SELECT burst FROM notifications WHERE owner_id = $1 ORDER BY sequence LIMIT 1), $2)
"""

_FORGET: Final = "DELETE FROM notification_trims WHERE owner_id = $1"

_LATER: Final = "UPDATE notification_trims SET due_at = $2 WHERE owner_id = $1"

_OLDEST: Final = "SELECT sequence FROM notifications WHERE owner_id = $1 ORDER BY sequence LIMIT 1"


async def fetch_owners_to_trim(cell: Cell, retention: Retention, now: dt.datetime, limit: int) -> list[int]:
    """Fetch who of a cell has notifications that may be due to leave, at most `limit` for either reason."""
    old = await cell.fetch(_OLD, _burst_of(now - retention.most), limit)
    many = await cell.fetch(_MANY, now, limit)
    return sorted({row["owner_id"] for row in (*old, *many)})


async def trim_notifications(
    database: Database, owner_id: int, retention: Retention, now: dt.datetime, *, limit: int
) -> int:
    """Let at most `limit` of an owner's notifications go; gives how many went. May be repeated."""

    async def work(connection: Connection) -> int:
        rows = await connection.fetch(_LOCK, owner_id)
        head = rows[0]["notifications"] if rows else 0
        most, least = _burst_of(now - retention.most), _burst_of(now - retention.least)
        gone = await connection.fetch(_DELETE, owner_id, limit, most, least, head - retention.kept)
        await uncount(connection, owner_id, [row for row in gone if not row["withdrawn"]], gone=True)
        await connection.execute(_DELETE_GROUPS, owner_id, most)
        if len(gone) < limit:
            await _settle(connection, owner_id, head, retention, now)
        return len(gone)

    return await database.shards.home(owner_id).transact(work)


async def _settle(connection: Connection, owner_id: int, head: int, retention: Retention, now: dt.datetime) -> None:
    """Forget an owner who has few enough; whoever has too many that are too young is looked at later."""
    oldest = await connection.fetch(_OLDEST, owner_id)
    if oldest and oldest[0]["sequence"] <= head - retention.kept:
        await connection.execute(_LATER, owner_id, now + retention.look_again_after)
    else:
        await connection.execute(_FORGET, owner_id)


def _burst_of(moment: dt.datetime) -> int:
    return int(moment.timestamp())
