"""The outbox's parts by day (UTC): made ahead, and dropped whole when they are old and published."""

import datetime as dt
from typing import Final

from storage.cells import Cell

DAYS_AHEAD: Final = 2

_MAKE: Final = "SELECT make_outbox_days($1) AS made"
_DROP: Final = "SELECT drop_outbox_days($1::interval) + drop_outbox_strays($1::interval)::int AS dropped"
_STRAYS: Final = "SELECT count(*) AS rows FROM (SELECT FROM outbox_strays LIMIT 10000) s"


async def make_days(cell: Cell) -> int:
    """Make the parts of today and the days that follow; gives how many were missing."""
    [row] = await cell.fetch(_MAKE, DAYS_AHEAD)
    return int(row["made"])


async def drop_days(cell: Cell, retention: dt.timedelta) -> int:
    """Drop the parts that are older than the retention and published whole; gives how many.

    One whose writers are in the way is left to the next time.
    """
    [row] = await cell.fetch(_DROP, retention)
    return int(row["dropped"])


async def count_strays(cell: Cell) -> int:
    """Count the rows of days that no part was made for, up to 10,000."""
    [row] = await cell.fetch(_STRAYS)
    return int(row["rows"])
