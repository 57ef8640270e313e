"""Keys whose next row the broker refuses for good: it and those after it are held back until somebody decides."""

import dataclasses
import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from typing import Final

from storage.cells import Cell, Connection, Record
from storage.outbox import OutboxRow

_HOLD: Final = """
INSERT INTO outbox_quarantine AS q (aggregateid, partition, sequence, event_id, type, reason)
SELECT o.aggregateid, o.partition, o.sequence, o.id, o.type, r.reason
FROM unnest($1::text[], $2::bigint[], $3::text[]) AS r (aggregateid, sequence, reason)
JOIN outbox o ON o.aggregateid = r.aggregateid AND o.sequence = r.sequence
ON CONFLICT (aggregateid) DO UPDATE
SET sequence = excluded.sequence, event_id = excluded.event_id, type = excluded.type, reason = excluded.reason,
    retry = false
"""

_FETCH: Final = """
SELECT aggregateid, partition, sequence, event_id, type, reason, since, retry
FROM outbox_quarantine
WHERE partition = ANY($1::smallint[])
ORDER BY since, aggregateid
"""

_FETCH_SKIPPED: Final = "SELECT sequence FROM outbox_skipped WHERE partition = ANY($1::smallint[])"

_FETCH_ALL: Final = """
SELECT aggregateid, partition, sequence, event_id, type, reason, since, retry
FROM outbox_quarantine
ORDER BY since, aggregateid
LIMIT $1
"""

_FIND: Final = """
SELECT aggregateid, partition, sequence, event_id, type, reason, since, retry
FROM outbox_quarantine
WHERE aggregateid = $1 OR event_id::text = $1
"""

_COUNT: Final = "SELECT count(*) AS rows FROM outbox WHERE aggregateid = $1 AND sequence >= $2"
_SIZE: Final = """
SELECT octet_length(payload::text) AS bytes, left(payload::text, $3) AS start
FROM outbox
WHERE aggregateid = $1 AND sequence = $2
"""

_RETRY: Final = """
UPDATE outbox_quarantine SET retry = true WHERE aggregateid = $1 AND sequence = $2 RETURNING sequence
"""

_SKIP: Final = """
INSERT INTO outbox_skipped (sequence, partition, aggregateid, event_id)
SELECT sequence, partition, aggregateid, event_id
FROM outbox_quarantine
WHERE aggregateid = $1 AND sequence = $2
ON CONFLICT (sequence) DO NOTHING
"""

_FREE: Final = "DELETE FROM outbox_quarantine WHERE aggregateid = $1 AND sequence = $2"


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A row that the broker will never take, and the name of its reason."""

    row: OutboxRow
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """A key in quarantine, with the row that it waits at; `retry` once somebody has decided that it shall go on."""

    key: str
    partition: int
    sequence: int
    event_id: uuid.UUID
    type: str
    reason: str
    since: dt.datetime
    retry: bool


@dataclasses.dataclass(frozen=True, slots=True)
class HeldRows:
    """How many rows of a key wait, and of the first its size and the beginning of its payload."""

    count: int
    size: int
    start: str


async def hold(cell: Cell, refusals: Sequence[Refusal]) -> None:
    """Put keys into quarantine, each from its refused row on."""
    rows = [refusal.row for refusal in refusals]
    reasons = [refusal.reason for refusal in refusals]
    await cell.fetch(_HOLD, [row.key for row in rows], [row.sequence for row in rows], reasons)


async def fetch_held(cell: Cell, partitions: Collection[int]) -> list[Held]:
    """Fetch the keys in quarantine of some partitions, the oldest first."""
    return [_held(row) for row in await cell.fetch(_FETCH, list(partitions))]


async def fetch_skipped(cell: Cell, partitions: Collection[int]) -> frozenset[int]:
    """Fetch the numbers of the rows that were given up."""
    return frozenset(row["sequence"] for row in await cell.fetch(_FETCH_SKIPPED, list(partitions)))


async def fetch_all_held(cell: Cell, limit: int) -> list[Held]:
    """Fetch all keys in quarantine, the oldest first, at most `limit`."""
    return [_held(row) for row in await cell.fetch(_FETCH_ALL, limit)]


async def find_held(cell: Cell, name: str) -> Held | None:
    """Find a key in quarantine by itself, or by the id of the event that it waits at."""
    rows = await cell.fetch(_FIND, name)
    return _held(rows[0]) if rows else None


async def fetch_rows_of(cell: Cell, held: Held, *, characters: int) -> HeldRows:
    """Look at what waits of a key."""
    [count] = await cell.fetch(_COUNT, held.key, held.sequence)
    [first] = await cell.fetch(_SIZE, held.key, held.sequence, characters)
    return HeldRows(count["rows"], first["bytes"], first["start"])


async def retry(cell: Cell, held: Held) -> bool:
    """Have the relay try again from the row that a key waits at; False when the key has moved on meanwhile."""
    return bool(await cell.fetch(_RETRY, held.key, held.sequence))


async def skip(cell: Cell, held: Held) -> bool:
    """Give up the row that a key waits at, for ever, and have the relay go on behind it; False as for `retry`."""

    async def work(connection: Connection) -> bool:
        await connection.execute(_SKIP, held.key, held.sequence)
        return bool(await connection.fetch(_RETRY, held.key, held.sequence))

    return await cell.transact(work)


async def free(cell: Cell, held: Held) -> None:
    """Let a key out, whose rows are published."""
    await cell.fetch(_FREE, held.key, held.sequence)


def _held(row: Record) -> Held:
    return Held(
        key=row["aggregateid"],
        partition=row["partition"],
        sequence=row["sequence"],
        event_id=row["event_id"],
        type=row["type"],
        reason=row["reason"],
        since=row["since"],
        retry=row["retry"],
    )
