"""An outbox that came back by a dump into another cluster of PostgreSQL, where transactions have lower numbers.

Positions and rows of before lie above every snapshot there: nothing would be published, nothing would seem to wait, and
days would be dropped. So everything that is retained is taken for new; whoever had it knows it by its id.
"""

from typing import Final

import asyncpg

# No number that a cluster has given out lies above its present snapshot.
_IS_FOREIGN: Final = """
SELECT EXISTS (
    SELECT FROM relay_positions p
    CROSS JOIN (SELECT pg_snapshot_xmax(pg_current_snapshot()) AS next) s
    WHERE p.low > s.next OR p.high > s.next
       OR EXISTS (SELECT FROM outbox o WHERE o.partition = p.partition AND o.transaction_id > s.next)
)
"""

_RENUMBER: Final = "UPDATE outbox SET transaction_id = pg_current_xact_id()"

# Without holders: whoever leads still saves positions of before no more.
_START_OVER: Final = """
UPDATE relay_positions SET low = '0', high = '0', sequence = 0, holder = NULL, lease_until = '-infinity'
"""


async def start_over_if_restored(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Have what is retained published again where it was written in another cluster; tells whether it was."""
    async with connection.transaction():
        if not await connection.fetchval(_IS_FOREIGN):
            return False
        await connection.execute(_START_OVER)
        await connection.execute(_RENUMBER)
        return True
