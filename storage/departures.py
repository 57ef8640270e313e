"""Departing: a person who is deleted or suspended is hidden at once, and the person's follows are withdrawn.

They are archived and ended one pair at a time, as by the person, so that every list and count is soon what it would be
had the person never been there. Whoever comes back has them brought back (`returns.py`). Either is begun at once and
gone on with by upkeep, which looks again for a while after: a follow may have been on its way.
"""

import datetime as dt
from typing import Final

from msgspec.structs import replace

from domain.departures import ArchivedEdges, archived
from domain.events import EventType
from domain.relationships import Relationship
from domain.transitions import sever
from domain.users import User, UserState
from storage.archives import write_archived
from storage.cells import Cell, Connection
from storage.database import Database
from storage.pairs import Within as WithinPair
from storage.pairs import change_pair
from storage.returns import bring_follows_back
from storage.users import Within, change_user, fetch_state, fetch_users

BATCH: Final = 200
LINGERS: Final = dt.timedelta(minutes=1)
"""Longer than any mutation that met the person before may take."""

_NOTE: Final = """
INSERT INTO departures (user_id) VALUES ($1)
ON CONFLICT (user_id) DO UPDATE SET departed_at = excluded.departed_at
"""

_FORGET: Final = "DELETE FROM departures WHERE user_id = $1 AND departed_at <= $2"

_DUE: Final = "SELECT user_id FROM departures ORDER BY departed_at LIMIT $1"

_EDGES: Final = """
SELECT other_id FROM relationships
WHERE owner_id = $1 AND (follows <> 0 OR followed_by <> 0)
ORDER BY other_id
LIMIT $2
"""


async def depart(
    database: Database, user_id: int, state: UserState, *, event: EventType, within: Within | None = None
) -> User | None:
    """Make a person deleted or suspended, and withdraw the first of the follows; None where the person is gone already.

    `within` runs in the transaction of the change, as in `change_user`.
    """

    async def note(connection: Connection, before: User, after: User) -> None:
        await note_departure(connection, user_id)
        if within is not None:
            await within(connection, before, after)

    def change(user: User) -> User:
        return replace(user, state=state)

    user = await change_user(database, user_id, change, event=event, within=note)
    if user is not None:
        await withdraw_follows(database, user_id, limit=BATCH)
    return user


async def note_departure(connection: Connection, user_id: int) -> None:
    """Have upkeep bring a person's follows in line with whether the person is here."""
    await connection.execute(_NOTE, user_id)


async def fetch_departing(cell: Cell, limit: int) -> list[int]:
    """Fetch whose follows are to be looked after, the oldest first."""
    return [row["user_id"] for row in await cell.fetch(_DUE, limit)]


async def settle_follows(database: Database, user_id: int, now: dt.datetime, *, limit: int) -> int:
    """Withdraw or bring back at most `limit` of a person's follows, by whether the person is here; gives how many."""
    if await fetch_state(database, user_id) is UserState.ACTIVE:
        done = await bring_follows_back(database, user_id, now, limit=limit)
    else:
        done = await withdraw_follows(database, user_id, limit=limit)
    if done < limit:
        await database.shards.home(user_id).fetch(_FORGET, user_id, now - LINGERS)
    return done


async def withdraw_follows(database: Database, user_id: int, *, limit: int) -> int:
    """Archive and end at most `limit` follows and requests of a person who is gone; gives how many. May be repeated."""
    rows = await database.shards.home(user_id).fetch(_EDGES, user_id, limit)
    people = await fetch_users(database, [user_id, *(row["other_id"] for row in rows)]) if rows else {}
    if user_id in people and people[user_id].state is UserState.ACTIVE:
        return 0  # back again: whatever was begun before ends here
    for row in rows:
        other_id = row["other_id"]
        archiving = _archiving(user_id, other_id, people)
        await change_pair(database, user_id, other_id, sever(), dt.datetime.now(dt.UTC), within=archiving)
    return len(rows)


def _archiving(user_id: int, other_id: int, people: dict[int, User]) -> WithinPair:
    was_private, other_was_private = (_is_private(people, one) for one in (user_id, other_id))

    async def archive(connection: Connection, before: Relationship, after: Relationship) -> None:
        edges: ArchivedEdges = archived(
            before, after.version, was_private=was_private, other_was_private=other_was_private
        )
        await write_archived(connection, user_id, other_id, edges)

    return archive


def _is_private(people: dict[int, User], user_id: int) -> bool:
    return user_id not in people or people[user_id].policy.is_private
