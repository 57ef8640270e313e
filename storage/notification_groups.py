"""Groups of notifications, read: pages of them, their latest members, their members page by page, and what is unread.

Groups are counted as their members come and go, so that none of this looks at more rows than it gives. `without` are
the people whom a block hides from the owner: what they did is withdrawn with the block, and left out here until it is.
"""

import dataclasses
from collections.abc import Sequence
from typing import Final

from domain.notifications import GroupKey, Notification, NotificationGroup, NotificationKind
from domain.pages import Position
from storage.cells import Record
from storage.database import Database
from storage.notifications import notification_of

_FIRST: Final = Position(0, 0)
_LAST: Final = Position((1 << 63) - 1, (1 << 15) - 1)

_PAGE: Final = """
SELECT g.filtered, g.burst, g.kind, g.total - coalesce(h.total, 0) AS total,
       g.unread - coalesce(h.unread, 0) AS unread
FROM notification_groups g
LEFT JOIN (
    SELECT n.burst, n.kind, count(*) AS total,
           count(*) FILTER (WHERE n.read_at IS NULL AND n.sequence > o.read_to) AS unread
    FROM notifications n
    JOIN notification_groups o
      ON o.owner_id = n.owner_id AND o.filtered = n.filtered AND o.burst = n.burst AND o.kind = n.kind
    WHERE n.owner_id = $1 AND n.filtered = $2 AND n.actor_id = ANY($3::bigint[]) AND NOT n.withdrawn
    GROUP BY n.burst, n.kind
) h ON h.burst = g.burst AND h.kind = g.kind
WHERE g.owner_id = $1 AND g.filtered = $2 AND g.kind = ANY($4::smallint[])
  AND (g.burst, g.kind) {beyond} ($5, $6::smallint)
  AND g.total > coalesce(h.total, 0) AND (NOT $7 OR g.unread > coalesce(h.unread, 0))
ORDER BY g.burst {order}, g.kind {order}
LIMIT $8
"""

_BY_KEY: Final = """
SELECT g.filtered, g.burst, g.kind, g.total - coalesce(h.total, 0) AS total,
       g.unread - coalesce(h.unread, 0) AS unread
FROM unnest($2::boolean[], $3::bigint[], $4::smallint[]) AS k (filtered, burst, kind)
JOIN notification_groups g ON g.owner_id = $1 AND g.filtered = k.filtered AND g.burst = k.burst AND g.kind = k.kind
LEFT JOIN (
    SELECT n.filtered, n.burst, n.kind, count(*) AS total,
           count(*) FILTER (WHERE n.read_at IS NULL AND n.sequence > o.read_to) AS unread
    FROM notifications n
    JOIN notification_groups o
      ON o.owner_id = n.owner_id AND o.filtered = n.filtered AND o.burst = n.burst AND o.kind = n.kind
    WHERE n.owner_id = $1 AND n.actor_id = ANY($5::bigint[]) AND NOT n.withdrawn
    GROUP BY n.filtered, n.burst, n.kind
) h ON h.filtered = g.filtered AND h.burst = g.burst AND h.kind = g.kind
WHERE g.total > coalesce(h.total, 0)
"""

_MEMBERS: Final = """
SELECT k.filtered, k.burst, n.owner_id, n.sequence, n.event_id, n.kind, n.actor_id, n.created_at,
       coalesce(n.read_at, CASE WHEN n.sequence <= k.read_to THEN k.read_at END) AS read_at
FROM (
    SELECT g.owner_id, g.filtered, g.burst, g.kind, g.read_to, g.read_at
    FROM unnest($2::boolean[], $3::bigint[], $4::smallint[]) AS a (filtered, burst, kind)
    JOIN notification_groups g ON g.owner_id = $1 AND g.filtered = a.filtered AND g.burst = a.burst AND g.kind = a.kind
) k
CROSS JOIN LATERAL (
    SELECT owner_id, sequence, event_id, kind, actor_id, created_at, read_at
    FROM notifications
    WHERE owner_id = $1 AND filtered = k.filtered AND burst = k.burst AND kind = k.kind AND NOT withdrawn
      AND sequence {beyond} $5 AND actor_id <> ALL($6::bigint[])
    ORDER BY sequence {order}
    LIMIT $7
) n
ORDER BY n.sequence {order}
"""

_DOWN: Final = {"beyond": "<", "order": "DESC"}
_UP: Final = {"beyond": ">", "order": "ASC"}
_PAGE_DOWN: Final = _PAGE.format_map(_DOWN)
_PAGE_UP: Final = _PAGE.format_map(_UP)
_MEMBERS_DOWN: Final = _MEMBERS.format_map(_DOWN)
_MEMBERS_UP: Final = _MEMBERS.format_map(_UP)

_UNREAD: Final = """
SELECT (SELECT coalesce(sum(g.unread), 0) FROM notification_groups g WHERE g.owner_id = $1 AND NOT g.filtered)
       - (SELECT count(*)
          FROM notifications n
          JOIN notification_groups o
            ON o.owner_id = n.owner_id AND o.filtered = n.filtered AND o.burst = n.burst AND o.kind = n.kind
          WHERE n.owner_id = $1 AND n.actor_id = ANY($2::bigint[]) AND NOT n.withdrawn AND NOT n.filtered
            AND n.read_at IS NULL AND n.sequence > o.read_to) AS unread
"""

_KEYS: Final = """
SELECT DISTINCT filtered, burst, kind FROM notifications
WHERE owner_id = $1 AND sequence = ANY($2::bigint[]) AND NOT withdrawn
"""


@dataclasses.dataclass(frozen=True, slots=True)
class GroupSpan:
    """Which groups: `limit` strictly beyond a place, from new to old or from old to new."""

    kinds: Sequence[NotificationKind]
    filtered: bool
    unread_only: bool
    beyond: Position | None
    downward: bool
    limit: int


async def fetch_groups(
    database: Database, owner_id: int, span: GroupSpan, without: Sequence[int]
) -> list[NotificationGroup]:
    """Fetch a page of groups in reading order; a place is (burst, kind)."""
    start = span.beyond or (_LAST if span.downward else _FIRST)
    statement = _PAGE_DOWN if span.downward else _PAGE_UP
    rows = await database.shards.home(owner_id).fetch(
        statement,
        owner_id,
        span.filtered,
        without,
        span.kinds,
        start.major,
        start.minor,
        span.unread_only,
        span.limit,
    )
    return [_group_of(row) for row in rows]


async def fetch_groups_by_key(
    database: Database, owner_id: int, keys: Sequence[GroupKey], without: Sequence[int]
) -> list[NotificationGroup]:
    """Fetch some groups, the newest first; those that hold nothing any more are left out."""
    if not keys:
        return []
    rows = await database.shards.home(owner_id).fetch(_BY_KEY, owner_id, *_columns(keys), without)
    return sorted(map(_group_of, rows), key=lambda group: (group.key.burst, group.key.kind), reverse=True)


async def fetch_members(
    database: Database,
    owner_id: int,
    keys: Sequence[GroupKey],
    *,
    beyond: int | None,
    downward: bool,
    limit: int,
    without: Sequence[int],
) -> dict[GroupKey, list[Notification]]:
    """Fetch at most `limit` notifications of each group strictly beyond a number, in reading order: one statement."""
    members: dict[GroupKey, list[Notification]] = {key: [] for key in keys}
    if not keys:
        return members
    start = beyond if beyond is not None else _LAST.major if downward else 0
    rows = await database.shards.home(owner_id).fetch(
        _MEMBERS_DOWN if downward else _MEMBERS_UP, owner_id, *_columns(keys), start, without, limit
    )
    for row in rows:
        members[_key_of(row)].append(notification_of(row))
    return members


async def fetch_unread(database: Database, owner_id: int, without: Sequence[int]) -> int:
    """Count what the owner has not read of all that is not kept apart."""
    rows = await database.shards.home(owner_id).fetch(_UNREAD, owner_id, without)
    return int(rows[0]["unread"])


async def fetch_keys(database: Database, owner_id: int, sequences: Sequence[int]) -> set[GroupKey]:
    """Fetch the groups to which some notifications belong; those that are withdrawn belong to none."""
    if not sequences:
        return set()
    rows = await database.shards.home(owner_id).fetch(_KEYS, owner_id, sequences)
    return set(map(_key_of, rows))


def _columns(keys: Sequence[GroupKey]) -> tuple[list[bool], list[int], list[int]]:
    return [key.filtered for key in keys], [key.burst for key in keys], [key.kind for key in keys]


def _key_of(row: Record) -> GroupKey:
    return GroupKey(row["filtered"], row["burst"], NotificationKind(row["kind"]))


def _group_of(row: Record) -> NotificationGroup:
    return NotificationGroup(_key_of(row), row["total"], row["unread"])
