"""The ledger of consents: rows are added, each with its audit row, and never changed; they go when their owner goes."""

import datetime as dt
from collections.abc import Sequence
from typing import Final

from domain.consents import Consent, ConsentPurpose, ConsentSource, Decision
from domain.events import DataSharingPayload, Event, EventType
from domain.ids import NodeType
from domain.pages import Position
from storage import outbox
from storage.audit import write_audit
from storage.cells import Connection, Record
from storage.database import Database
from storage.repeats import is_done

GRANTED: Final = "consent.granted"
WITHDRAWN: Final = "consent.withdrawn"
"""The actions of the audit rows."""

# Whoever is gone, or going, leaves nothing behind any more: a purge finds no row that came after it.
_LOCK: Final = "SELECT true FROM users WHERE id = $1 AND state = 1 FOR NO KEY UPDATE"

_COLUMNS: Final = "number, purpose, granted, version, source, at"

_NEWEST: Final = f"""
SELECT {_COLUMNS} FROM consents WHERE owner_id = $1 AND purpose = $2 ORDER BY number DESC LIMIT 1
"""  # noqa: S608 - the columns are ours

_SIGNAL: Final = "SELECT true FROM consents WHERE owner_id = $1 AND source = $2"

_LAST: Final = "SELECT coalesce(max(number), 0) AS number FROM consents WHERE owner_id = $1"

_ADD: Final = """
INSERT INTO consents (owner_id, number, purpose, granted, version, source, at) VALUES ($1, $2, $3, $4, $5, $6, $7)
"""

_PAGE: Final = """
SELECT number, purpose, granted, version, source, at
FROM consents
WHERE owner_id = $1 AND number {beyond} $2
ORDER BY number {order}
LIMIT $3
"""
_PAGE_DOWN: Final = _PAGE.format(beyond="<", order="DESC")
_PAGE_UP: Final = _PAGE.format(beyond=">", order="ASC")
_END: Final = (1 << 63) - 1


async def add_consent(database: Database, owner_id: int, decision: Decision, now: dt.datetime) -> Consent | None:
    """Add a decision; the one that is in force already stays as it is. None where the owner is not there."""

    async def work(connection: Connection) -> Consent | None:
        if not await connection.fetch(_LOCK, owner_id):
            return None
        before = _first(await connection.fetch(_NEWEST, owner_id, decision.purpose))
        if before is not None and _says_the_same(before.decision, decision):
            return before
        if before is not None and await is_done(connection, _action(decision), None):
            return before
        return await _add(database, connection, owner_id, decision, now)

    return await database.shards.home(owner_id).transact(work)


async def add_signal(database: Database, owner_id: int, now: dt.datetime) -> bool:
    """Store that the owner's browser opts out of sharing, once for good; tells whether this was the time."""
    home = database.shards.home(owner_id)
    if await home.fetch(_SIGNAL, owner_id, ConsentSource.GLOBAL_PRIVACY_CONTROL):
        return False
    decision = Decision(ConsentPurpose.DATA_SHARING, granted=False, source=ConsentSource.GLOBAL_PRIVACY_CONTROL)

    async def work(connection: Connection) -> bool:
        there = await connection.fetch(_LOCK, owner_id)
        if not there or await connection.fetch(_SIGNAL, owner_id, decision.source):
            return False
        await _add(database, connection, owner_id, decision, now)
        return True

    return await home.transact(work)


async def _add(
    database: Database, connection: Connection, owner_id: int, decision: Decision, now: dt.datetime
) -> Consent:
    before = _first(await connection.fetch(_NEWEST, owner_id, decision.purpose))
    number = (await connection.fetch(_LAST, owner_id))[0]["number"] + 1
    row = (decision.purpose, decision.granted, decision.version, decision.source)
    await connection.execute(_ADD, owner_id, number, *row, now)
    await write_audit(
        database, connection, owner_id, _action(decision), target_id=None, version=number, before=before, after=decision
    )
    if decision.purpose is ConsentPurpose.DATA_SHARING:
        await _tell(database, connection, owner_id, decision, number)
    return Consent(number, decision, now)


def _action(decision: Decision) -> str:
    return GRANTED if decision.granted else WITHDRAWN


async def _tell(database: Database, connection: Connection, owner_id: int, decision: Decision, number: int) -> None:
    """Tell whoever shares data what holds from now on."""
    opaque = database.ids.encode(NodeType.USER, owner_id)
    payload = DataSharingPayload(user_id=opaque, opted_out=not decision.granted, consent_number=number)
    event = Event(type=EventType.DATA_SHARING_UPDATED, actor_id=opaque, payload=payload)
    await outbox.append(connection, [event])


async def fetch_newest(database: Database, owner_id: int, purpose: ConsentPurpose) -> Consent | None:
    """Fetch the decision about a purpose that is in force."""
    return _first(await database.shards.home(owner_id).fetch(_NEWEST, owner_id, purpose))


async def fetch_consents(
    database: Database, owner_id: int, beyond: Position | None, *, downward: bool, limit: int
) -> list[Consent]:
    """Fetch decisions, from the newest down or from the oldest up, beyond a place if there is one."""
    start = beyond.major if beyond is not None else (_END if downward else 0)
    statement = _PAGE_DOWN if downward else _PAGE_UP
    return [_read(row) for row in await database.shards.home(owner_id).fetch(statement, owner_id, start, limit)]


def _says_the_same(before: Decision, decision: Decision) -> bool:
    return (before.granted, before.version) == (decision.granted, decision.version)


def _first(rows: Sequence[Record]) -> Consent | None:
    return _read(rows[0]) if rows else None


def _read(row: Record) -> Consent:
    purpose, source = ConsentPurpose(row["purpose"]), ConsentSource(row["source"])
    return Consent(row["number"], Decision(purpose, row["granted"], row["version"], source), row["at"])
