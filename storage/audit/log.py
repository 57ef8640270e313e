"""Rows of the audit log: written in the transaction of the fact and never changed, read by whoever acted."""

import dataclasses
import datetime as dt
from typing import Final

from domain import acting
from domain.pages import Position
from storage.cells import Connection
from storage.database import Database
from storage.repeats import record_effect

_WRITE: Final = """
INSERT INTO audit_logs (actor_id, action, target_id, version, session, before, after)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""

_PAGE: Final = """
SELECT id, at, action, target_id, session
FROM audit_logs
WHERE actor_id = $1 AND id {beyond} $2
ORDER BY id {order}
LIMIT $3
"""
_PAGE_DOWN: Final = _PAGE.format(beyond="<", order="DESC")
_PAGE_UP: Final = _PAGE.format(beyond=">", order="ASC")
_LAST: Final = (1 << 63) - 1

AuditRow = tuple[int, str, int | None, int, str | None, bytes | None, bytes | None]


@dataclasses.dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something that a person did: when, to whom if to anybody, and in which session if in one."""

    id: int
    at: dt.datetime
    action: str
    target_id: int | None
    session: str | None

    @property
    def position(self) -> Position:
        """Give its place in its actor's trail."""
        return Position(self.id, 0)


async def write_audit(
    database: Database,
    connection: Connection,
    actor_id: int,
    action: str,
    *,
    target_id: int | None,
    version: int,
    before: object,
    after: object,
) -> None:
    """Write what an actor did, the version that came of it, and digests of what was there before and after.

    Raises:
        AlreadyDone: it was done by an earlier run of the same named mutation.
    """
    await record_effect(connection, action, target_id)
    await connection.execute(_WRITE, *audit_row(database, actor_id, action, target_id, version, before, after))


def audit_row(  # noqa: PLR0917 - one row
    database: Database, actor_id: int, action: str, target_id: int | None, version: int, before: object, after: object
) -> AuditRow:
    """Give the columns of a row in their order: actor, action, target, version, session, and the two digests."""
    digests = database.digests
    return actor_id, action, target_id, version, acting.current_session(), digests.of(before), digests.of(after)


async def fetch_entries(
    database: Database, actor_id: int, beyond: Position | None, *, downward: bool, limit: int
) -> list[AuditEntry]:
    """Fetch what an actor did, from the newest down or from the oldest up, beyond a place if there is one."""
    start = beyond.major if beyond is not None else (_LAST if downward else 0)
    rows = await database.shards.home(actor_id).fetch(_PAGE_DOWN if downward else _PAGE_UP, actor_id, start, limit)
    return [AuditEntry(**row) for row in rows]
