"""Coming back: the archived follows that nothing has forbidden since are in force again, counts and all.

What a block, a change of privacy or the other's purge has forbidden is let go of. Where the other is gone as well, the
edges become the other's to bring back.
"""

import datetime as dt

from domain.transitions import resume
from domain.users import User, UserState
from storage.archives import Archived, drop_archived, fetch_archived, hand_over
from storage.cells import Cell
from storage.database import Database
from storage.pairs import change_pair
from storage.users import fetch_state, fetch_users


async def bring_follows_back(database: Database, user_id: int, now: dt.datetime, *, limit: int) -> int:
    """Deal with at most `limit` archived pairs of a person who is back; gives how many there were. May be repeated."""
    dealt = 0
    for cell in database.shards.cells:
        rows = await fetch_archived(cell, user_id, limit - dealt)
        people = await fetch_users(database, [user_id, *(row.other_id for row in rows)]) if rows else {}
        if rows and people[user_id].state is not UserState.ACTIVE:
            return 0  # gone again
        for row in rows:
            await _deal_with(database, cell, row, people, now)
        dealt += len(rows)
    return dealt


async def _deal_with(database: Database, cell: Cell, row: Archived, users: dict[int, User], now: dt.datetime) -> None:
    other = users.get(row.other_id)
    if other is None or other.state is UserState.PURGED:
        await drop_archived(cell, row.user_id, row.other_id)
    elif other.state is not UserState.ACTIVE:
        await _leave_to_other(database, cell, row, now)
    else:
        is_private = users[row.user_id].policy.is_private
        edges = row.edges.allowed(is_private=is_private, other_is_private=other.policy.is_private)
        if not edges.is_empty:
            await change_pair(database, row.user_id, row.other_id, resume(edges), now)
        await drop_archived(cell, row.user_id, row.other_id)


async def _leave_to_other(database: Database, cell: Cell, row: Archived, now: dt.datetime) -> None:
    """Leave the edges to the other; who came back in the same moment may have looked for them already."""
    await hand_over(cell, row)
    if await fetch_state(database, row.other_id) is UserState.ACTIVE:
        await bring_follows_back(database, row.other_id, now, limit=1000)
