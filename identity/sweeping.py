"""What has ended and nothing asks for any more is removed, hour by hour, some rows at a time."""

import asyncio
import datetime as dt
import logging
from contextlib import AbstractAsyncContextManager
from typing import Final

from identity import families, sessions
from identity.database import Database, Unavailable
from identity.parts import Parts
from identity.tasks import running

EVERY_S: Final = 3600.0
BATCH: Final = 1000
KEPT: Final = dt.timedelta(days=30)
"""How long what ended is still there, for whoever looks into what happened."""
USED_KEPT: Final = dt.timedelta(days=7)
"""For how long a refresh token that was used ends its family when it comes again; later it is only refused."""
CODES_KEPT: Final = dt.timedelta(days=1)
_LOG: Final = logging.getLogger(__name__)

_SWEEPS: Final = (
    (
        """
        DELETE FROM authorization_codes WHERE digest IN
            (SELECT digest FROM authorization_codes WHERE created_at < $1 LIMIT $2)
        """,
        CODES_KEPT,
    ),
    (
        "DELETE FROM refresh_tokens WHERE digest IN (SELECT digest FROM refresh_tokens WHERE used_at < $1 LIMIT $2)",
        USED_KEPT,
    ),
    ("DELETE FROM families WHERE id IN (SELECT id FROM families WHERE ended_at < $1 LIMIT $2)", KEPT),
    (
        "DELETE FROM families WHERE id IN (SELECT id FROM families WHERE created_at < $1 LIMIT $2)",
        families.LONGEST + KEPT,
    ),
    (
        """
        DELETE FROM sessions WHERE id IN (
            SELECT id FROM sessions s WHERE (ended_at < $1 OR seen_at < $1)
            AND NOT EXISTS (SELECT FROM families f WHERE f.session_id = s.id) LIMIT $2
        )
        """,
        max(KEPT, sessions.IDLE),
    ),
)


def sweeping(parts: Parts) -> AbstractAsyncContextManager[None]:
    """Sweep from time to time, until the context closes."""
    return running(_go_on(parts))


async def sweep(database: Database, now: dt.datetime) -> int:
    """Remove what has ended long enough before a time; gives how many rows."""
    count = 0
    for statement, kept in _SWEEPS:
        removed = BATCH
        while removed == BATCH:
            async with database.connection() as connection:
                removed = int((await connection.execute(statement, now - kept, BATCH)).split()[-1])
            count += removed
    return count


async def _go_on(parts: Parts) -> None:
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            await sweep(parts.database, parts.clock())
        except Unavailable:
            _LOG.warning("what has ended could not be removed: the database is away")
        except Exception:  # noqa: BLE001 - what fails this hour may not in the next
            _LOG.exception("what has ended could not be removed")
