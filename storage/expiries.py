"""What time has ended: blocks, mutes and requests to be cleared, with the events that tell of it."""

import datetime as dt
from typing import Final

from domain.transitions import expire
from storage.cells import Cell
from storage.database import Database
from storage.mutes import Unmute, change_mute
from storage.pairs import change_pair

_BLOCKS: Final = """
SELECT owner_id, other_id FROM relationships
WHERE blocks AND blocks_until IS NOT NULL AND blocks_until <= $1
ORDER BY blocks_until
LIMIT $2
"""

_REQUESTS: Final = """
SELECT owner_id, other_id FROM relationships WHERE follows = 1 AND follows_at < $1 ORDER BY follows_at LIMIT $2
"""

_MUTES: Final = """
SELECT owner_id, other_id FROM relationships
WHERE mutes AND mutes_until IS NOT NULL AND mutes_until <= $1
ORDER BY mutes_until
LIMIT $2
"""


async def clear_ended(
    database: Database, cell: Cell, now: dt.datetime, *, requests_live: dt.timedelta, limit: int
) -> int:
    """Clear at most `limit` of each kind in a cell; gives how many pairs were looked at. May be repeated."""
    cutoff = now - requests_live
    pairs = [*await cell.fetch(_BLOCKS, now, limit), *await cell.fetch(_REQUESTS, cutoff, limit)]
    for row in pairs:
        await change_pair(database, row["owner_id"], row["other_id"], expire(requests_before=cutoff), now)
    mutes = await cell.fetch(_MUTES, now, limit)
    for row in mutes:
        await change_mute(database, row["owner_id"], row["other_id"], Unmute(ended_by=now))
    return len(pairs) + len(mutes)
