"""The edges of those who are gone, each in the cell whose row decides about the pair."""

import dataclasses
from typing import Final

from domain.departures import ArchivedEdges
from domain.relationships import FollowState
from storage.cells import Cell, Connection, Record

# What an earlier departure archived is kept beside this where at most a follow has come between, and no block can have.
_WRITE: Final = """
INSERT INTO archived_edges AS a (user_id, other_id, follows, follows_at, followed_by, followed_by_at, version,
                                 was_private, other_was_private)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (user_id, other_id) DO UPDATE
SET follows = CASE WHEN $7 - a.version <= 2 THEN greatest(a.follows, $3) ELSE $3 END,
    follows_at = CASE WHEN $7 - a.version <= 2 THEN coalesce($4, a.follows_at) ELSE $4 END,
    followed_by = CASE WHEN $7 - a.version <= 2 THEN greatest(a.followed_by, $5) ELSE $5 END,
    followed_by_at = CASE WHEN $7 - a.version <= 2 THEN coalesce($6, a.followed_by_at) ELSE $6 END,
    version = $7, was_private = $8, other_was_private = $9
"""

_FETCH: Final = """
SELECT other_id, follows, follows_at, followed_by, followed_by_at, version, was_private, other_was_private
FROM archived_edges
WHERE user_id = $1
ORDER BY other_id
LIMIT $2
"""

_DROP: Final = "DELETE FROM archived_edges WHERE user_id = $1 AND other_id = $2 RETURNING true"


@dataclasses.dataclass(frozen=True, slots=True)
class Archived:
    """One row: whose it is, and what was between the two."""

    user_id: int
    other_id: int
    edges: ArchivedEdges


async def write_archived(connection: Connection, user_id: int, other_id: int, edges: ArchivedEdges) -> None:
    """Archive the edges of a pair, in the transaction that cuts them."""
    await connection.execute(
        _WRITE,
        user_id,
        other_id,
        edges.follows,
        edges.follows_at,
        edges.followed_by,
        edges.followed_by_at,
        edges.version,
        edges.was_private,
        edges.other_was_private,
    )


async def fetch_archived(cell: Cell, user_id: int, limit: int) -> list[Archived]:
    """Fetch what a cell has archived of a person, at most `limit`."""
    return [Archived(user_id, row["other_id"], _edges_of(row)) for row in await cell.fetch(_FETCH, user_id, limit)]


async def drop_archived(cell: Cell, user_id: int, other_id: int) -> None:
    """Let archived edges go."""
    await cell.fetch(_DROP, user_id, other_id)


async def hand_over(cell: Cell, archived: Archived) -> None:
    """Leave the edges to the other, who is gone too, for that one's return."""

    async def work(connection: Connection) -> None:
        if await connection.fetch(_DROP, archived.user_id, archived.other_id):
            await write_archived(connection, archived.other_id, archived.user_id, archived.edges.mirrored())

    await cell.transact(work)


def _edges_of(row: Record) -> ArchivedEdges:
    return ArchivedEdges(
        follows=FollowState(row["follows"]),
        follows_at=row["follows_at"],
        followed_by=FollowState(row["followed_by"]),
        followed_by_at=row["followed_by_at"],
        version=row["version"],
        was_private=row["was_private"],
        other_was_private=row["other_was_private"],
    )
