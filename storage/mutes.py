"""Mutes: the owner's own side of a pair, decided in the owner's cell and never shown to the other."""

import dataclasses
import datetime as dt
from typing import Final

from domain.events import Event, EventType, MutePayload
from domain.ids import NodeType
from storage import outbox
from storage.audit import write_audit
from storage.cells import Connection
from storage.database import Database
from storage.repeats import AlreadyDone
from storage.wholly import wholly

# Nothing is written, and no row comes back, where the mute is already as asked for.
_SET: Final = """
INSERT INTO relationships AS r (owner_id, other_id, mutes, mutes_until, mutes_since)
VALUES ($1, $2, true, $3, now())
ON CONFLICT (owner_id, other_id) DO UPDATE
SET mutes = true, mutes_until = $3, mutes_since = coalesce(r.mutes_since, excluded.mutes_since)
WHERE NOT r.mutes OR r.mutes_until IS DISTINCT FROM $3
RETURNING r.version
"""

_CLEAR: Final = """
UPDATE relationships SET mutes = false, mutes_until = NULL, mutes_since = NULL
WHERE owner_id = $1 AND other_id = $2 AND mutes AND ($3::timestamptz IS NULL OR mutes_until <= $3)
RETURNING version
"""


_HELD: Final = """
SELECT mutes_until FROM relationships WHERE owner_id = $1 AND other_id = $2 AND mutes FOR NO KEY UPDATE
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Mute:
    """Set a mute until a time, or for good (None)."""

    until: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class Unmute:
    """Lift a mute; with a time, only one that has ended by then."""

    ended_by: dt.datetime | None = None


async def change_mute(database: Database, owner_id: int, other_id: int, change: Mute | Unmute) -> bool:
    """Set or lift a mute with its audit row and event; False where it is as asked for already."""

    async def work(connection: Connection) -> bool:
        held = await connection.fetch(_HELD, owner_id, other_id)
        before = Mute(held[0]["mutes_until"]) if held else None
        if isinstance(change, Mute):
            rows = await connection.fetch(_SET, owner_id, other_id, change.until)
        else:
            rows = await connection.fetch(_CLEAR, owner_id, other_id, change.ended_by)
        if rows:
            event = _event(database, owner_id, other_id, change)
            version = rows[0]["version"]
            await write_audit(
                database,
                connection,
                owner_id,
                event.type.value,
                target_id=other_id,
                version=version,
                before=before,
                after=change if isinstance(change, Mute) else None,
            )
            await outbox.append(connection, [event])
        return bool(rows)

    async def change_and_tell() -> bool:
        try:
            changed = await database.shards.home(owner_id).transact(work)
        except AlreadyDone:
            changed = False
        await database.freshness.pair_changed(owner_id, owner_id, stricter=False)
        return changed

    return await wholly(change_and_tell())


def _event(database: Database, owner_id: int, other_id: int, change: Mute | Unmute) -> Event:
    muter = database.ids.encode(NodeType.USER, owner_id)
    muted = database.ids.encode(NodeType.USER, other_id)
    until = change.until if isinstance(change, Mute) else None
    event_type = EventType.USER_MUTED if isinstance(change, Mute) else EventType.USER_UNMUTED
    return Event(event_type, muter, MutePayload(muter_id=muter, muted_id=muted, expires_at=until))
