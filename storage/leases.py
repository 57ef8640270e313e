"""Leases: which process does a job of a cell now."""

import datetime as dt
import uuid
from typing import Final

from storage.cells import Cell

_CLAIM: Final = """
INSERT INTO leases AS l (name, holder, lease_until) VALUES ($1, $2, now() + $3::interval)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
WHERE l.holder = excluded.holder OR l.lease_until < excluded.lease_until - $3::interval
RETURNING true
"""

_RELEASE: Final = "DELETE FROM leases WHERE name = $1 AND holder = $2"


async def claim(cell: Cell, name: str, holder: uuid.UUID, lease: dt.timedelta) -> bool:
    """Take or keep a lease; False while somebody else holds it."""
    return bool(await cell.fetch(_CLAIM, name, holder, lease))


async def release(cell: Cell, name: str, holder: uuid.UUID) -> None:
    """Give a lease back, so that the next holder need not wait for its end."""
    await cell.fetch(_RELEASE, name, holder)
