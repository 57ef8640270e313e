"""The relationship table, read: what a viewer is to many."""

from collections.abc import Iterable, Sequence
from typing import Final

from domain.relationships import STRANGERS, FollowState, Relationship
from storage.cells import Connection, Record
from storage.database import Database
from storage.limits import Priority

# After the other's id the columns are in the order of the fields: `_by_other` takes them as they come.
_FETCH: Final = """
SELECT other_id, follows, follows_at, followed_by, followed_by_at, blocks, blocks_until, blocks_since, blocked_by,
       blocked_by_until, blocked_by_since, mutes, mutes_until, version, follows_version, followed_by_version
FROM relationships
WHERE owner_id = $1 AND other_id = ANY($2::bigint[])
"""

# The lock holds off whoever changes the pair until what rests on its state is committed.
_FETCH_HELD: Final = """
SELECT follows, follows_at, followed_by, followed_by_at, blocks, blocks_until, blocked_by, blocked_by_until,
       blocks_since, blocked_by_since, mutes, mutes_until, version, follows_version, followed_by_version
FROM relationships
WHERE owner_id = $1 AND other_id = $2
FOR SHARE
"""

_FETCH_SIDE: Final = """
SELECT other_id, follows, follows_at, followed_by, followed_by_at, blocks, blocks_until, blocks_since, blocked_by,
       blocked_by_until, blocked_by_since, mutes, mutes_until, version, follows_version, followed_by_version
FROM relationships
WHERE owner_id = $1
LIMIT $2
"""

_STATES: Final = tuple(FollowState)


async def fetch_relationships(database: Database, viewer_id: int, other_ids: Sequence[int]) -> dict[int, Relationship]:
    """Fetch the viewer's side of many pairs in one statement on the viewer's cell; strangers are left out."""
    cell = database.shards.home(viewer_id)
    rows = await cell.fetch(_FETCH, viewer_id, other_ids, priority=Priority.FACT)
    return _by_other(rows)


async def hold_relationship(connection: Connection, owner_id: int, other_id: int) -> Relationship:
    """Fetch the owner's side of a pair, and keep it as it is until the transaction ends."""
    rows = await connection.fetch(_FETCH_HELD, owner_id, other_id)
    return relationship_of(rows[0]) if rows else STRANGERS


async def fetch_side(database: Database, viewer_id: int, limit: int) -> dict[int, Relationship]:
    """Fetch the viewer's side of all pairs there are, at most `limit`, by the other's id."""
    rows = await database.shards.home(viewer_id).fetch(_FETCH_SIDE, viewer_id, limit, priority=Priority.FACT)
    return _by_other(rows)


async def fetch_truth(database: Database, one_id: int, other_id: int) -> Relationship:
    """Fetch the deciding row of a pair, seen from its higher id."""
    low, high = sorted((one_id, other_id))
    found = await fetch_relationships(database, low, [high])
    return found.get(high, Relationship()).mirrored()


def _by_other(rows: Iterable[Record]) -> dict[int, Relationship]:
    """Read whole rows, by the other's id: there may be hundreds for a viewer who comes for the first time."""
    return {
        other_id: Relationship(_STATES[follows], follows_at, _STATES[followed_by], *others)
        for other_id, follows, follows_at, followed_by, *others in (row.values() for row in rows)
    }


def relationship_of(row: Record) -> Relationship:
    """Read one row."""
    return Relationship(
        follows=FollowState(row["follows"]),
        follows_at=row["follows_at"],
        followed_by=FollowState(row["followed_by"]),
        followed_by_at=row["followed_by_at"],
        blocks=row["blocks"],
        blocks_until=row["blocks_until"],
        blocked_by=row["blocked_by"],
        blocked_by_until=row["blocked_by_until"],
        blocks_since=row["blocks_since"],
        blocked_by_since=row["blocked_by_since"],
        mutes=row["mutes"],
        mutes_until=row["mutes_until"],
        version=row["version"],
        follows_version=row["follows_version"],
        followed_by_version=row["followed_by_version"],
    )
