"""What an account that goes public decides about those who wait, and carrying it out in batches."""

import datetime as dt
from typing import Final

from domain.relationships import WaitingRequests
from domain.transitions import accept, reject
from storage.cells import Cell, Connection
from storage.database import Database
from storage.pairs import change_pair

_DECIDE: Final = """
INSERT INTO request_resolutions (owner_id, accept) VALUES ($1, $2)
ON CONFLICT (owner_id) DO UPDATE SET accept = excluded.accept, decided_at = excluded.decided_at
"""

_FORGET: Final = "DELETE FROM request_resolutions WHERE owner_id = $1"

# Not at once: a request that read the policy just before the account went public may still be on its way.
_FORGET_DONE: Final = """
DELETE FROM request_resolutions
WHERE owner_id = $1 AND decided_at = $2 AND decided_at < now() - interval '1 minute'
"""

_FETCH: Final = "SELECT accept, decided_at FROM request_resolutions WHERE owner_id = $1"

_FETCH_DUE: Final = "SELECT owner_id FROM request_resolutions ORDER BY decided_at LIMIT $1"

_WAITING: Final = """
SELECT other_id FROM relationships
WHERE owner_id = $1 AND followed_by = 1
ORDER BY followed_by_at, other_id
LIMIT $2
"""


async def decide_requests(connection: Connection, owner_id: int, choice: WaitingRequests | None) -> None:
    """Note what is to become of those who wait, in the transaction that makes the account public; None forgets it."""
    if choice is None:
        await connection.execute(_FORGET, owner_id)
    else:
        await connection.execute(_DECIDE, owner_id, choice is WaitingRequests.ACCEPT)


async def fetch_due_owners(cell: Cell, limit: int) -> list[int]:
    """Fetch whose decisions are not carried out yet, the oldest first."""
    return [row["owner_id"] for row in await cell.fetch(_FETCH_DUE, limit)]


async def settle_requests_of(database: Database, owner_id: int, now: dt.datetime, *, limit: int) -> int:
    """Carry the owner's decision out for at most `limit` who wait; gives how many there were.

    May be repeated and run by several at once: a request that is settled already changes nothing.
    """
    cell = database.shards.home(owner_id)
    rows = await cell.fetch(_FETCH, owner_id)
    if not rows:
        return 0
    transition = accept() if rows[0]["accept"] else reject()
    waiting = await cell.fetch(_WAITING, owner_id, limit)
    for row in waiting:
        await change_pair(database, owner_id, row["other_id"], transition, now)
    if len(waiting) < limit:
        await cell.fetch(_FORGET_DONE, owner_id, rows[0]["decided_at"])
    return len(waiting)
