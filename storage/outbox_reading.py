"""Reading the outbox: what is new below the snapshot horizon, the rest of an interval, and what was published before.

Rows are read in intervals of transaction ids, each from the end of the last one to the present horizon, and within one
by `sequence`. Where a committed transaction beyond the horizon has a row that comes before one of the same key below
it, the interval is not opened yet: the horizon will pass both.
"""

import dataclasses
import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from storage.cells import Cell, Record
from storage.outbox import OutboxRow

_MOST_COUNTED: Final = 10_000

# The planner knows no values, and would take a walk over all rows for short: ORDER BY names the index to go along, IS
# TRUE leaves one of two out, and OFFSET 0 has the innermost look done once for each of a few rows.
_FETCH_NEW: Final = """
WITH intervals AS MATERIALIZED (
    SELECT p.partition, p.low, h.horizon, b.first,
           (SELECT l.transaction_id FROM outbox l
            WHERE l.partition = p.partition
            ORDER BY l.transaction_id DESC
            LIMIT 1) >= h.horizon AS waiting,
           EXISTS (SELECT FROM (SELECT l.aggregateid, l.sequence FROM outbox l
                                WHERE l.partition = p.partition AND l.transaction_id >= h.horizon
                                  AND l.sequence < b.last
                                ORDER BY l.transaction_id, l.sequence
                                OFFSET 0) late
                   WHERE EXISTS (SELECT FROM outbox early
                                 WHERE early.aggregateid = late.aggregateid AND early.sequence > late.sequence
                                   AND (early.transaction_id >= p.low AND early.transaction_id < h.horizon) IS TRUE
                                 OFFSET 0)) AS held_back
    FROM (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS horizon) h
    CROSS JOIN (SELECT i.partition, i.low::xid8 AS low FROM unnest($1::smallint[], $2::text[]) AS i (partition, low)) p
    CROSS JOIN LATERAL (
        SELECT min(e.sequence) AS first, max(e.sequence) AS last
        FROM (SELECT n.sequence FROM outbox n
              WHERE n.partition = p.partition AND n.transaction_id >= p.low AND n.transaction_id < h.horizon
              ORDER BY n.transaction_id, n.sequence
              OFFSET 0) e
    ) b
)
SELECT i.partition, CASE WHEN i.held_back THEN i.low ELSE i.horizon END::text AS high, i.waiting,
       o.sequence, o.id, o.aggregatetype, o.aggregateid, o.type, o.payload::text AS payload, o.created_at, o.traceparent
FROM intervals i
LEFT JOIN LATERAL (
    SELECT * FROM outbox b
    WHERE b.partition = i.partition AND b.sequence >= i.first AND NOT i.held_back
      AND (b.transaction_id >= i.low AND b.transaction_id < i.horizon) IS TRUE
    ORDER BY b.sequence
    LIMIT $3
) o ON true
ORDER BY i.partition, o.sequence
"""

_FETCH_REST: Final = """
SELECT o.sequence, o.id, o.aggregatetype, o.aggregateid, o.type, o.payload::text AS payload, o.created_at,
       o.traceparent, p.partition
FROM unnest($1::smallint[], $2::text[], $3::text[], $4::bigint[]) AS p (partition, low, high, sequence)
CROSS JOIN LATERAL (
    SELECT * FROM outbox b
    WHERE b.partition = p.partition AND b.sequence > p.sequence
      AND (b.transaction_id >= p.low::xid8 AND b.transaction_id < p.high::xid8) IS TRUE
    ORDER BY b.sequence
    LIMIT $5
) o
ORDER BY p.partition, o.sequence
"""

_FETCH_OF_KEYS: Final = """
SELECT sequence, id, aggregatetype, aggregateid, type, payload::text AS payload, created_at, traceparent
FROM outbox
WHERE aggregateid = ANY($1::text[]) AND sequence > $2 AND sequence <= $3 AND created_at >= now() - $4::interval
ORDER BY sequence
LIMIT $5
"""

_FETCH_LATEST_KEYS: Final = """
SELECT o.sequence, o.aggregateid,
       NOT EXISTS (SELECT FROM outbox later
                   WHERE later.aggregateid = o.aggregateid AND later.sequence > o.sequence
                     AND later.sequence <= $3) AS latest
FROM outbox o
WHERE o.partition = $1 AND o.sequence < $2 AND o.created_at >= now() - $4::interval
ORDER BY o.sequence DESC
LIMIT $5
"""

_FETCH_BACKLOG: Final = """
SELECT p.partition, count(o.created_at) AS rows,
       coalesce(extract(epoch FROM now() - min(o.created_at)), 0)::float8 AS age
FROM unnest($1::smallint[], $2::text[], $3::text[], $4::bigint[]) AS p (partition, low, high, sequence)
LEFT JOIN LATERAL (
    SELECT b.created_at FROM outbox b
    WHERE b.partition = p.partition AND b.transaction_id >= p.low::xid8
      AND (b.transaction_id >= p.high::xid8 OR b.sequence > p.sequence)
    ORDER BY b.transaction_id
    LIMIT $5
) o ON true
GROUP BY p.partition
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Position:
    """How far a partition is published; transaction ids as decimal text, since they exceed a bigint.

    All below `low`, and of the interval [low, high) what is numbered up to `sequence`; equal where no interval is open.
    """

    low: str
    high: str
    sequence: int

    @property
    def is_open(self) -> bool:
        """Tell whether an interval has been begun and not finished."""
        return self.low != self.high


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """The next rows of some partitions, where each stands once they are published, and whether there is more.

    `waiting` tells of rows that are committed and not below the horizon yet: some older transaction is still running.
    """

    rows: Mapping[int, Sequence[OutboxRow]]
    after: Mapping[int, Position]
    more: bool
    waiting: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Backlog:
    """How many rows of a partition wait, counted up to 10,000, and the age of the oldest in seconds."""

    rows: int
    age: float


async def fetch_batch(cell: Cell, positions: Mapping[int, Position], limit: int) -> Batch:
    """Fetch what follows positions, at most `limit` rows a partition: the rest of open intervals, or what is new."""
    begun = {number: position for number, position in positions.items() if position.is_open}
    idle = {number: position for number, position in positions.items() if not position.is_open}
    rest = await _fetch_rest(cell, begun, limit) if begun else Batch({}, {}, more=False, waiting=False)
    new = await _fetch_new(cell, idle, limit) if idle else Batch({}, {}, more=False, waiting=False)
    return Batch(
        rows={**rest.rows, **new.rows},
        after={**rest.after, **new.after},
        more=bool(begun) or new.more,
        waiting=new.waiting,
    )


async def _fetch_new(cell: Cell, positions: Mapping[int, Position], limit: int) -> Batch:
    lows = [position.low for position in positions.values()]
    records = await cell.fetch(_FETCH_NEW, list(positions), lows, limit)
    rows, after = {}, {}
    for number, own in _by_partition(records, positions).items():
        rows[number] = [outbox_row(record) for record in own if record["sequence"] is not None]
        after[number] = _after(positions[number].low, own[0]["high"], rows[number], limit)
    more = any(position.is_open for position in after.values())
    return Batch(rows, after, more=more, waiting=any(record["waiting"] for record in records))


async def _fetch_rest(cell: Cell, positions: Mapping[int, Position], limit: int) -> Batch:
    records = await cell.fetch(_FETCH_REST, *_columns(positions), limit)
    rows, after = {}, {}
    for number, own in _by_partition(records, positions).items():
        rows[number] = [outbox_row(record) for record in own]
        after[number] = _after(positions[number].low, positions[number].high, rows[number], limit)
    return Batch(rows, after, more=True, waiting=False)


def _after(low: str, high: str, rows: Sequence[OutboxRow], limit: int) -> Position:
    """Give the position behind the rows; fewer than the limit end the interval."""
    return Position(low, high, rows[-1].sequence) if len(rows) == limit else Position(high, high, 0)


def _by_partition(records: Sequence[Record], numbers: Collection[int]) -> dict[int, list[Record]]:
    grouped: dict[int, list[Record]] = {number: [] for number in numbers}
    for record in records:
        grouped[record["partition"]].append(record)
    return grouped


async def fetch_of_keys(
    cell: Cell, keys: Collection[str], *, after: int, until: int, retention: dt.timedelta, limit: int
) -> list[OutboxRow]:
    """Fetch the retained rows of keys by number, published or not: those above `after`, up to `until`."""
    records = await cell.fetch(_FETCH_OF_KEYS, list(keys), after, until, retention, limit)
    return [outbox_row(record) for record in records]


async def fetch_latest_keys(
    cell: Cell, partition: int, *, before: int, until: int, retention: dt.timedelta, limit: int
) -> tuple[list[str], int]:
    """Go down a partition's retained rows from below `before`.

    Gives the keys whose last row up to `until` was among the next `limit`, and the number to go on from; 0 at the end.
    """
    records = await cell.fetch(_FETCH_LATEST_KEYS, partition, before, until, retention, limit)
    keys = [record["aggregateid"] for record in records if record["latest"]]
    return keys, records[-1]["sequence"] if len(records) == limit else 0


async def fetch_backlog(cell: Cell, positions: Mapping[int, Position]) -> dict[int, Backlog]:
    """Measure what is not published yet."""
    records = await cell.fetch(_FETCH_BACKLOG, *_columns(positions), _MOST_COUNTED)
    return {record["partition"]: Backlog(record["rows"], record["age"]) for record in records}


def _columns(positions: Mapping[int, Position]) -> tuple[list[int], list[str], list[str], list[int]]:
    own = positions.values()
    return list(positions), [p.low for p in own], [p.high for p in own], [p.sequence for p in own]


def outbox_row(record: Record) -> OutboxRow:
    """Read the columns that a row is published from."""
    return OutboxRow(
        sequence=record["sequence"],
        id=record["id"],
        stream=record["aggregatetype"],
        key=record["aggregateid"],
        type=record["type"],
        payload=record["payload"].encode(),
        created_at=record["created_at"],
        traceparent=record["traceparent"],
    )
