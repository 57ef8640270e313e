"""Notifications as rows: numbered per owner in the order of commit, one per event, counted in groups."""

import dataclasses
import datetime as dt
import itertools
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from domain.errors import KithError
from domain.notification_preferences import NotificationTreatment
from domain.notifications import Notification, NotificationKind
from domain.relationships import Relationship
from storage.cells import Connection, Record
from storage.database import Database
from storage.inbox import pass_over
from storage.relationships import hold_relationship

CONSUMER: Final = "notifications"
"""The name in the inbox, where it stands what an owner did not want to be told."""

KEPT: Final = 10_000
"""How many of the latest numbers of each owner are kept whatever their age."""

_NOTE_EVERY: Final = 500
_DAY_S: Final = 86_400

# The counter's row lock makes the order of numbers the order of commits: a reader behind a number misses nothing.
_NEXT: Final = """
UPDATE user_counts
SET notifications = notifications + 1, notifications_burst = greatest(notifications_burst, $2)
WHERE user_id = $1
RETURNING notifications, notifications_burst
"""

_INSERT: Final = """
INSERT INTO notifications (owner_id, sequence, event_id, kind, actor_id, created_at, burst, filtered)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (owner_id, event_id) DO NOTHING
RETURNING sequence
"""

_COUNT: Final = """
INSERT INTO notification_groups AS g (owner_id, filtered, burst, kind, total, unread)
VALUES ($1, $2, $3, $4, 1, 1)
ON CONFLICT (owner_id, filtered, burst, kind) DO UPDATE SET total = g.total + 1, unread = g.unread + 1
"""

_NOTE_TRIM: Final = "INSERT INTO notification_trims (owner_id) VALUES ($1) ON CONFLICT (owner_id) DO NOTHING"

_IS_DEALT_WITH: Final = """
SELECT FROM notifications WHERE owner_id = $1 AND event_id = $2
UNION ALL
SELECT FROM inbox WHERE owner_id = $1 AND consumer = $3 AND event_id = $2
"""

_WITHDRAW: Final = """
UPDATE notifications SET withdrawn = true
WHERE owner_id = $1 AND actor_id = $2 AND kind = ANY($3::smallint[]) AND NOT withdrawn
RETURNING filtered, burst, kind, sequence, read_at
"""

# `read_to` is that of the locked row: whoever reads the group up to a number meanwhile is before us or behind us.
_UNCOUNT: Final = """
UPDATE notification_groups
SET total = total - $5,
    unread = unread - (SELECT count(*) FROM unnest($6::bigint[]) AS lost (sequence) WHERE lost.sequence > read_to)
WHERE owner_id = $1 AND filtered = $2 AND burst = $3 AND kind = $4
"""

_FETCH_AFTER: Final = """
SELECT n.owner_id, n.sequence, n.event_id, n.kind, n.actor_id, n.created_at,
       coalesce(n.read_at, CASE WHEN n.sequence <= g.read_to THEN g.read_at END) AS read_at
FROM notifications n
LEFT JOIN notification_groups g
  ON g.owner_id = n.owner_id AND g.filtered = n.filtered AND g.burst = n.burst AND g.kind = n.kind
WHERE n.owner_id = $1 AND n.sequence > $2 AND NOT n.withdrawn AND NOT n.filtered
ORDER BY n.sequence
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


Decide = Callable[[Relationship], NotificationTreatment | None]
"""What becomes of a notification, by the owner's side of the pair as it is when the row is written.

None where it tells what is not so any more, and never will be: that need not be remembered.
"""


class _NotTold(KithError):
    """Roll back: this event has had its effect, tells what is not so, or its owner is gone."""


def accept(_side: Relationship) -> NotificationTreatment:
    """Keep a notification whatever the two people are to each other."""
    return NotificationTreatment.ACCEPT


async def add_notification(
    database: Database, new: NewNotification, decide: Decide = accept
) -> NotificationTreatment | None:
    """Store a notification once per event; None when it was there before, is not so, or the owner is gone.

    The pair is held until the commit: whatever ends what is told here either is seen by `decide`, or finds the row.
    What the owner does not want is dropped for good: the event may come again when other wishes hold.
    """

    async def work(connection: Connection) -> NotificationTreatment:
        treatment = decide(await hold_relationship(connection, new.owner_id, new.actor_id))
        if treatment is None:
            raise _NotTold
        if treatment is NotificationTreatment.DROP:
            await pass_over(connection, new.owner_id, CONSUMER, new.event_id)
            return treatment
        await _write(connection, new, filtered=treatment is NotificationTreatment.FILTER)
        return treatment

    try:
        return await database.shards.home(new.owner_id).transact(work)
    except _NotTold:
        return None


async def is_dealt_with(database: Database, owner_id: int, event_id: uuid.UUID) -> bool:
    """Tell whether an event was told or dropped: the cheap look before the work, for events that are fed again."""
    return bool(await database.shards.home(owner_id).fetch(_IS_DEALT_WITH, owner_id, event_id, CONSUMER))


async def _write(connection: Connection, new: NewNotification, *, filtered: bool) -> None:
    """Write a row under the owner's next number, in place of what was told of the same thing before."""
    rows = await connection.fetch(_NEXT, new.owner_id, _day_of(dt.datetime.now(dt.UTC)))
    if not rows:
        raise _NotTold
    sequence, burst = rows[0]["notifications"], rows[0]["notifications_burst"]
    await withdraw(connection, new.owner_id, new.actor_id, [new.kind])
    row = (new.owner_id, sequence, new.event_id, new.kind, new.actor_id, new.created_at, burst, filtered)
    if not await connection.fetch(_INSERT, *row):
        raise _NotTold
    await connection.execute(_COUNT, new.owner_id, filtered, burst, new.kind)
    if sequence > KEPT and sequence % _NOTE_EVERY == 0:
        await connection.execute(_NOTE_TRIM, new.owner_id)


def _day_of(moment: dt.datetime) -> int:
    return int(moment.timestamp()) // _DAY_S * _DAY_S


async def withdraw(connection: Connection, owner_id: int, actor_id: int, kinds: Sequence[NotificationKind]) -> None:
    """Tell the owner no more what holds no longer, in the transaction that ends it."""
    if kinds:
        rows = await connection.fetch(_WITHDRAW, owner_id, actor_id, kinds)
        await uncount(connection, owner_id, rows, gone=True)


async def uncount(connection: Connection, owner_id: int, rows: Iterable[Record], *, gone: bool) -> None:
    """Count some rows as unread no more, and where they are gone not at all; groups are locked in their order."""
    in_order = sorted(rows, key=_key_of)
    for (filtered, burst, kind), members in itertools.groupby(in_order, key=_key_of):
        of_group = list(members)
        unread = [row["sequence"] for row in of_group if row["read_at"] is None]
        await connection.execute(_UNCOUNT, owner_id, filtered, burst, kind, len(of_group) if gone else 0, unread)


def _key_of(row: Record) -> tuple[bool, int, int]:
    return row["filtered"], row["burst"], row["kind"]


async def fetch_after(database: Database, owner_id: int, sequence: int, limit: int) -> list[Notification]:
    """Fetch what the owner is told live after a number, oldest first, at most `limit`."""
    rows = await database.shards.home(owner_id).fetch(_FETCH_AFTER, owner_id, sequence, limit)
    return [notification_of(row) for row in rows]


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


def notification_of(row: Record) -> Notification:
    """Read one row."""
    return Notification(
        owner_id=row["owner_id"],
        sequence=row["sequence"],
        event_id=row["event_id"],
        kind=NotificationKind(row["kind"]),
        actor_id=row["actor_id"],
        created_at=row["created_at"],
        read_at=row["read_at"],
    )
