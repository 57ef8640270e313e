"""Departing: a person who is deleted or suspended is hidden at once, and the person's follows are withdrawn.

They are archived and ended one pair at a time, as by the person, so that every list and count is soon what it would be
had the person never been there. A departure that is interrupted is gone on with by upkeep.
"""

import dataclasses
import datetime as dt
from typing import Final

from domain.events import EventType
from domain.transitions import sever
from domain.users import User, UserState
from storage.cells import Cell, Connection, Record
from storage.database import Database
from storage.pairs import change_pair
from storage.users import change_user

BATCH: Final = 200

_NOTE: Final = "INSERT INTO departures (user_id) VALUES ($1) ON CONFLICT (user_id) DO NOTHING"

_FORGET: Final = "DELETE FROM departures WHERE user_id = $1"

_DUE: Final = "SELECT user_id FROM departures ORDER BY departed_at LIMIT $1"

_EDGES: Final = """
SELECT other_id, follows, follows_at, followed_by, followed_by_at
FROM relationships
WHERE owner_id = $1 AND (follows <> 0 OR followed_by <> 0)
ORDER BY other_id
LIMIT $2
"""

_ARCHIVE: Final = """
INSERT INTO archived_edges (user_id, other_id, follows, follows_at, followed_by, followed_by_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (user_id, other_id) DO NOTHING
"""


async def depart(database: Database, user_id: int, state: UserState, *, event: EventType) -> User | None:
    """Make a person deleted or suspended, and withdraw the follows; None where the person is gone already."""

    async def note(connection: Connection, _before: User, _after: User) -> None:
        await connection.execute(_NOTE, user_id)

    def change(user: User) -> User:
        return dataclasses.replace(user, state=state)

    user = await change_user(database, user_id, change, event=event, within=note)
    if user is not None:
        while await withdraw_follows(database, user_id, limit=BATCH) == BATCH:
            pass
    return user


async def fetch_departing(cell: Cell, limit: int) -> list[int]:
    """Fetch whose follows are still to be withdrawn, the oldest first."""
    return [row["user_id"] for row in await cell.fetch(_DUE, limit)]


async def withdraw_follows(database: Database, user_id: int, *, limit: int) -> int:
    """Archive and end at most `limit` follows and requests of a person who is gone; gives how many. May be repeated."""
    cell = database.shards.home(user_id)
    rows = await cell.fetch(_EDGES, user_id, limit)
    for row in rows:
        await _archive(cell, user_id, row)
        await change_pair(database, user_id, row["other_id"], sever(), dt.datetime.now(dt.UTC))
    if len(rows) < limit:
        await cell.fetch(_FORGET, user_id)
    return len(rows)


async def _archive(cell: Cell, user_id: int, row: Record) -> None:
    edge = (row["other_id"], row["follows"], row["follows_at"], row["followed_by"], row["followed_by_at"])
    await cell.fetch(_ARCHIVE, user_id, *edge)
