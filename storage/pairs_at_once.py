"""A change of a pair in one statement, which is a transaction of its own; for cells that are plain PostgreSQL.

It says what the pair was when the change was decided, and does nothing where that is so no longer. Everything else
comes of the row that decides: nothing is counted, told or numbered before that row is locked. The locks are taken in
the order of `storage.pairs`, one part waiting for the rows of the one before: both rows, both counters, slots, each
time the lower id first.

What holds no longer is told no more by a function that the statement calls at its end: the statement itself sees only
what was there when it began, and may have waited for the lock of whoever was just writing it down.
"""

import dataclasses
import random
from collections.abc import Sequence
from typing import Final

import asyncpg

from domain.errors import KithError
from domain.events import Event
from domain.notifications import ended_kinds
from domain.relationships import CountChange, Relationship, count_change
from storage import outbox
from storage.audit import AuditRow
from storage.cells import Cell
from storage.counters import DEFAULT_THRESHOLD, SLOTS

_COLUMNS: Final = """(owner_id, other_id, follows, follows_at, followed_by, followed_by_at, blocks, blocks_until,
                      blocked_by, blocked_by_until, version, blocks_since, blocked_by_since, follows_version,
                      followed_by_version, updated_at)"""

_TAKEN_OVER: Final = """
    follows = excluded.follows, follows_at = excluded.follows_at, followed_by = excluded.followed_by,
    followed_by_at = excluded.followed_by_at, blocks = excluded.blocks, blocks_until = excluded.blocks_until,
    blocked_by = excluded.blocked_by, blocked_by_until = excluded.blocked_by_until, version = excluded.version,
    blocks_since = excluded.blocks_since, blocked_by_since = excluded.blocked_by_since,
    follows_version = excluded.follows_version, followed_by_version = excluded.followed_by_version,
    updated_at = excluded.updated_at
"""

# Two people who were nothing to each other may have a row all the same, where the one has muted the other.
_BEGIN: Final = f"""
    INSERT INTO relationships AS r {_COLUMNS}
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, now())
    ON CONFLICT (owner_id, other_id) DO UPDATE SET {_TAKEN_OVER}
    WHERE r.version = $37
    RETURNING r.owner_id
"""  # noqa: S608 - of constants

_GO_ON: Final = """
    UPDATE relationships AS r
    SET follows = $3, follows_at = $4, followed_by = $5, followed_by_at = $6, blocks = $7, blocks_until = $8,
        blocked_by = $9, blocked_by_until = $10, version = $11, blocks_since = $12, blocked_by_since = $13,
        follows_version = $14, followed_by_version = $15, updated_at = now()
    WHERE r.owner_id = $1 AND r.other_id = $2 AND r.version = $37
    RETURNING r.owner_id
"""

# A counter that would pass what nobody is refused for becomes NULL, which it may not be: the whole statement fails.
_MOVE: Final = """{name} AS (
    UPDATE user_counts AS c
    SET followers = c.followers + {followers}::bigint,
        following = CASE WHEN {following}::bigint <= 0 OR c.following + {following} <= $34::bigint
                         THEN c.following + {following} END,
        slotted = c.slotted OR c.followers + {followers} >= $35::bigint
    FROM {after}
    WHERE c.user_id = {user} AND ({followers} <> 0 OR {following} <> 0) AND ({following} <> 0 OR NOT c.slotted)
    RETURNING c.user_id
)"""

_REST: Final = f"""
), mirrored AS (
    INSERT INTO relationships AS r {_COLUMNS}
    SELECT $2, $1, $5, $6, $3, $4, $9, $10, $7, $8, $11, $13, $12, $15, $14, now() FROM decided WHERE $16::boolean
    ON CONFLICT (owner_id, other_id) DO UPDATE SET {_TAKEN_OVER}
    RETURNING r.owner_id
), audited AS (
    INSERT INTO audit_logs (actor_id, action, target_id, version, session, before, after)
    SELECT $17::bigint, $18::text, $19::bigint, $20::bigint, $21::text, $22::bytea, $23::bytea
    FROM decided WHERE $17 IS NOT NULL
), told AS (
    INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, traceparent)
    SELECT e.id, e.aggregatetype, e.aggregateid, e.type, e.payload::jsonb, $29::text
    FROM decided, unnest($24::uuid[], $25::text[], $26::text[], $27::text[], $28::text[])
         WITH ORDINALITY AS e (id, aggregatetype, aggregateid, type, payload, position)
    ORDER BY e.position
), written AS (
    SELECT count(m.owner_id) AS rows FROM decided d LEFT JOIN mirrored m ON true GROUP BY d.owner_id
), {_MOVE.format(name="moved", user="$1", followers="$30", following="$31", after="written")}, moved_here AS (
    SELECT count(m.user_id) AS rows FROM written w LEFT JOIN moved m ON true GROUP BY w.rows
), {_MOVE.format(name="moved_other", user="$2", followers="$32", following="$33", after="moved_here")}, moved_both AS (
    SELECT h.rows AS here, count(m.user_id) AS there FROM moved_here h LEFT JOIN moved_other m ON true GROUP BY h.rows
), spread AS (
    INSERT INTO user_count_slots AS s (user_id, slot, followers)
    SELECT n.user_id, $36::smallint, n.followers
    FROM moved_both b, LATERAL (VALUES ($1, $30, b.here), ($2, $32, b.there)) AS n (user_id, followers, moved)
    WHERE n.followers <> 0 AND n.moved = 0
    ON CONFLICT (user_id, slot) DO UPDATE SET followers = s.followers + excluded.followers
    RETURNING s.user_id
"""  # noqa: S608 - of constants

_END: Final = """
)
SELECT owner_id FROM decided
"""

# Once all else is done, as a CTE is read to its end: the function sees what was told by whoever held the locks before.
_END_WITHDRAWING: Final = """
), done AS (
    SELECT count(*) AS slots FROM spread
)
SELECT d.owner_id, withdraw_told($1, $2, $38::smallint[], $39::smallint[]) FROM decided d, done
"""

_STATEMENTS: Final = {
    (begins, withdraws): f"WITH decided AS ({first}{_REST}{end}"
    for begins, first in ((True, _BEGIN), (False, _GO_ON))
    for withdraws, end in ((True, _END_WITHDRAWING), (False, _END))
}
"""By whether the two were nothing to each other before, and whether anything ends that either may have been told."""

_NOTHING: Final = CountChange(0, 0)
_NO_LIMIT: Final = (1 << 63) - 1
_NO_AUDIT: Final = (None,) * 7


@dataclasses.dataclass(frozen=True, slots=True)
class PairWrite:
    """All that a change writes in one cell; `before` is what decided, and `after` a later version of it."""

    owner_id: int
    other_id: int
    before: Relationship
    after: Relationship
    is_whole: bool
    """Whether both people live in the cell: then the other's row and counters are written, too."""
    audit: AuditRow | None = None
    events: Sequence[Event] = ()
    most: int | None = None
    """How many people one may follow afterwards who follows one more; None where that is no matter."""


class OnlyUnderLock(KithError):
    """Only under the lock of the pair can be told what an action does."""


async def write_at_once(cell: Cell, pair: PairWrite) -> bool:
    """Write a change; False where nothing is written: the pair was not as it was thought to be.

    Raises:
        OnlyUnderLock: whoever follows one more follows more than `most`; nothing was done.
        Overloaded: the cell does not answer in time, or the outcome is not known.
        DeadlineExceeded: the request has no time left; nothing was done.
    """
    ended = ended_kinds(pair.before, pair.after)
    ended_there = ended_kinds(pair.before.mirrored(), pair.after.mirrored()) if pair.is_whole else []
    withdraws = bool(ended or ended_there)
    statement = _STATEMENTS[pair.before.version == 0, withdraws]
    try:
        return bool(await cell.commit(statement, *_arguments(pair), *((ended, ended_there) if withdraws else ())))
    except asyncpg.NotNullViolationError as error:
        raise OnlyUnderLock from error


def _arguments(pair: PairWrite) -> tuple[object, ...]:
    after = pair.after
    here = count_change(pair.before, after)
    there = count_change(pair.before.mirrored(), after.mirrored()) if pair.is_whole else _NOTHING
    return (
        *row_of(pair.owner_id, pair.other_id, after),
        pair.is_whole,
        *(pair.audit or _NO_AUDIT),
        *outbox.columns(pair.events),
        *(here.followers, here.following, there.followers, there.following),
        _NO_LIMIT if pair.most is None else pair.most,
        DEFAULT_THRESHOLD.enter,
        random.randrange(SLOTS),  # noqa: S311 - no secret: it spreads writers
        pair.before.version,
    )


def row_of(owner_id: int, other_id: int, side: Relationship) -> tuple[object, ...]:
    """Give the columns of one side of a pair, in the order in which both ways of writing it name them."""
    return (
        *(owner_id, other_id),
        *(side.follows, side.follows_at, side.followed_by, side.followed_by_at),
        *(side.blocks, side.blocks_until, side.blocked_by, side.blocked_by_until, side.version),
        *(side.blocks_since, side.blocked_by_since, side.follows_version, side.followed_by_version),
    )
