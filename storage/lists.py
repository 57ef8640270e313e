"""Follower and following lists: keyset pages of many owners, one statement per cell, and whom a block hides of them."""

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Final

from domain.pages import Position
from domain.relationships import FollowOrder, ListKind, Relationship
from storage.cells import Record
from storage.database import Database
from storage.limits import Priority
from storage.list_entries import UNIX_EPOCH, place_of
from storage.own_lists import OWN_STATEMENTS
from storage.replicas import Positions


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """Which rows of a list: `limit` strictly beyond a position, read from new to old or from old to new."""

    beyond: Position | None
    downward: bool
    limit: int
    without: Sequence[int] = ()


_FIRST: Final = Position(0, 0)
_LAST: Final = Position(253_370_764_800_000_000, (1 << 63) - 1)  # the year 9999

# The table of users leads, so that Citus can push the whole statement down to the shards of the owners.
_FOLLOWERS_DOWN: Final = """
SELECT u.id AS owner_id, r.other_id, r.since
FROM users u
CROSS JOIN LATERAL (
    SELECT other_id, followed_by_at AS since
    FROM relationships
    WHERE owner_id = u.id AND followed_by = 2 AND (followed_by_at, other_id) < ($2, $3::bigint)
      AND other_id <> ALL($5::bigint[])
    ORDER BY followed_by_at DESC, other_id DESC
    LIMIT $4
) r
WHERE u.id = ANY($1::bigint[])
"""

_FOLLOWERS_UP: Final = """
SELECT u.id AS owner_id, r.other_id, r.since
FROM users u
CROSS JOIN LATERAL (
    SELECT other_id, followed_by_at AS since
    FROM relationships
    WHERE owner_id = u.id AND followed_by = 2 AND (followed_by_at, other_id) > ($2, $3::bigint)
      AND other_id <> ALL($5::bigint[])
    ORDER BY followed_by_at, other_id
    LIMIT $4
) r
WHERE u.id = ANY($1::bigint[])
"""

_FOLLOWING_DOWN: Final = """
SELECT u.id AS owner_id, r.other_id, r.since
FROM users u
CROSS JOIN LATERAL (
    SELECT other_id, follows_at AS since
    FROM relationships
    WHERE owner_id = u.id AND follows = 2 AND (follows_at, other_id) < ($2, $3::bigint)
      AND other_id <> ALL($5::bigint[])
    ORDER BY follows_at DESC, other_id DESC
    LIMIT $4
) r
WHERE u.id = ANY($1::bigint[])
"""

_FOLLOWING_UP: Final = """
SELECT u.id AS owner_id, r.other_id, r.since
FROM users u
CROSS JOIN LATERAL (
    SELECT other_id, follows_at AS since
    FROM relationships
    WHERE owner_id = u.id AND follows = 2 AND (follows_at, other_id) > ($2, $3::bigint)
      AND other_id <> ALL($5::bigint[])
    ORDER BY follows_at, other_id
    LIMIT $4
) r
WHERE u.id = ANY($1::bigint[])
"""

# $6 holds whom the viewer follows: what is left are the followers whom both know.
_MUTUAL_DOWN: Final = """
SELECT u.id AS owner_id, r.other_id, r.since
FROM users u
CROSS JOIN LATERAL (
    SELECT other_id, followed_by_at AS since
    FROM relationships
    WHERE owner_id = u.id AND followed_by = 2 AND other_id = ANY($6::bigint[])
      AND (followed_by_at, other_id) < ($2, $3::bigint)
      AND other_id <> ALL($5::bigint[])
    ORDER BY followed_by_at DESC, other_id DESC
    LIMIT $4
) r
WHERE u.id = ANY($1::bigint[])
"""

_MUTUAL_UP: Final = """
SELECT u.id AS owner_id, r.other_id, r.since
FROM users u
CROSS JOIN LATERAL (
    SELECT other_id, followed_by_at AS since
    FROM relationships
    WHERE owner_id = u.id AND followed_by = 2 AND other_id = ANY($6::bigint[])
      AND (followed_by_at, other_id) > ($2, $3::bigint)
      AND other_id <> ALL($5::bigint[])
    ORDER BY followed_by_at, other_id
    LIMIT $4
) r
WHERE u.id = ANY($1::bigint[])
"""

_STATEMENTS: Final = {
    (ListKind.FOLLOWERS, True): _FOLLOWERS_DOWN,
    (ListKind.FOLLOWERS, False): _FOLLOWERS_UP,
    (ListKind.FOLLOWING, True): _FOLLOWING_DOWN,
    (ListKind.FOLLOWING, False): _FOLLOWING_UP,
    (ListKind.MUTUAL, True): _MUTUAL_DOWN,
    (ListKind.MUTUAL, False): _MUTUAL_UP,
    **OWN_STATEMENTS,
}

ON_REPLICAS: Final = frozenset({_FOLLOWERS_DOWN, _FOLLOWERS_UP, _FOLLOWING_DOWN, _FOLLOWING_UP})
"""What a replica may answer: who is in a list. Everybody in it is met at the gate, which reads the cells."""

# More than anybody may follow, unless the limits are set wider: what is beyond is left out of what both know.
_MOST_FOLLOWED: Final = 10_000

_FOLLOWED: Final = """
SELECT other_id FROM relationships WHERE owner_id = $1 AND follows = 2 ORDER BY follows_at DESC, other_id DESC LIMIT $2
"""

_BLOCK_FIELDS: Final = ("blocks", "blocks_until", "blocked_by", "blocked_by_until")

_BLOCKED: Final = """
SELECT other_id
FROM relationships
WHERE owner_id = $1
  AND ((blocks AND (blocks_until IS NULL OR blocks_until > $2))
       OR (blocked_by AND (blocked_by_until IS NULL OR blocked_by_until > $2)))
"""

_BLOCKS: Final = """
SELECT other_id, blocks, blocks_until, blocked_by, blocked_by_until
FROM relationships
WHERE owner_id = $1 AND (blocks OR blocked_by)
LIMIT $2
"""


def is_downward(order: FollowOrder, *, backward: bool) -> bool:
    """Tell whether rows are read from new to old: newest first, or oldest first read backward."""
    return (order is FollowOrder.NEWEST_FIRST) != backward


async def fetch_list(
    database: Database,
    kind: ListKind,
    owner_ids: Sequence[int],
    span: Span,
    among: Sequence[int] | None = None,
    *,
    positions: Positions | None = None,
) -> dict[int, bytes]:
    """Fetch the packed rows of each owner's list in a span, in reading order; of MUTUAL those `among` the ids given.

    Whoever is in `span.without` is left out before rows are counted: a page is as long as if they were not there.
    With `positions` replicas that have come so far may be asked, and what they tell must not be remembered.
    """
    start = span.beyond or (_LAST if span.downward else _FIRST)
    since = UNIX_EPOCH + dt.timedelta(microseconds=start.major)
    statement = _STATEMENTS[kind, span.downward]
    further = () if among is None else (among,)
    arguments = (since, start.minor, span.limit, span.without, *further)
    if positions is not None and statement in ON_REPLICAS:
        rows = await database.replicas.fetch_by_home(
            database.shards, statement, owner_ids, *arguments, positions=positions, priority=Priority.LIST
        )
    else:
        rows = await database.shards.fetch_by_home(statement, owner_ids, *arguments, priority=Priority.LIST)
    places: dict[int, list[bytes]] = {owner_id: [] for owner_id in owner_ids}
    for row in rows:
        places[row["owner_id"]].append(place_of(row["other_id"], row["since"]))
    return {owner_id: b"".join(sorted(its, reverse=span.downward)) for owner_id, its in places.items()}


async def fetch_followed_ids(database: Database, viewer_id: int) -> list[int]:
    """Fetch whom the viewer follows, the latest 10,000 at most."""
    rows = await database.shards.home(viewer_id).fetch(_FOLLOWED, viewer_id, _MOST_FOLLOWED, priority=Priority.LIST)
    return [row["other_id"] for row in rows]


async def fetch_blocked_ids(database: Database, viewer_id: int, now: dt.datetime) -> list[int]:
    """Fetch everybody whom a block, either way, hides from the viewer."""
    cell = database.shards.home(viewer_id)
    rows: list[Record] = await cell.fetch(_BLOCKED, viewer_id, now, priority=Priority.FACT)
    return [row["other_id"] for row in rows]


async def fetch_blocks(database: Database, viewer_id: int, limit: int) -> dict[int, Relationship]:
    """Fetch the blocks of the viewer, both ways, and nothing else of their pairs; at most `limit`."""
    rows = await database.shards.home(viewer_id).fetch(_BLOCKS, viewer_id, limit, priority=Priority.FACT)
    return {row["other_id"]: Relationship(**{name: row[name] for name in _BLOCK_FIELDS}) for row in rows}
