"""The outbox: facts wait here, written in their own transaction, until the relay has published them.

Rows are read in intervals of transaction ids below the snapshot horizon, each interval by `sequence`. A row's sequence
is taken while its transaction holds the lock that orders its key, and a transaction below the horizon has everything
it waited for below the horizon too, so that the events of a key leave in the order of their commits and none is
overtaken by a cursor.
"""

import asyncio
import dataclasses
import datetime as dt
import logging
import uuid
from collections.abc import Sequence
from typing import Final

import asyncpg

from domain.errors import Overloaded
from domain.events import Event, encode_payload
from storage.cells import Cell, Connection, Record

CHANNEL: Final = "outbox"
_LOG: Final = logging.getLogger(__name__)

_APPEND: Final = """
INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload)
SELECT e.id, e.aggregatetype, e.aggregateid, e.type, e.payload::jsonb
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[])
     WITH ORDINALITY AS e (id, aggregatetype, aggregateid, type, payload, position)
ORDER BY e.position
"""

_CLAIM: Final = """
UPDATE relay_positions
SET holder = $1, lease_until = now() + $2::interval
WHERE name = 'outbox' AND (holder = $1 OR lease_until < now())
RETURNING low::text, high::text, sequence, broker
"""

_RELEASE: Final = """
UPDATE relay_positions SET lease_until = '-infinity' WHERE name = 'outbox' AND holder = $1
"""

_SAVE: Final = """
UPDATE relay_positions
SET low = $2::text::xid8, high = $3::text::xid8, sequence = $4, broker = $5, lease_until = now() + $6::interval
WHERE name = 'outbox' AND holder = $1 AND lease_until > now()
RETURNING true
"""

# `waiting` tells of rows that are committed and not below the horizon yet: some older transaction is still running.
_HORIZON: Final = """
SELECT h.horizon::text AS horizon, EXISTS (SELECT FROM outbox WHERE transaction_id >= h.horizon) AS waiting
FROM (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS horizon) h
"""

# No higher than the horizon: a transaction that still runs may be older than the oldest row that shows.
_RETAINED: Final = """
SELECT least(min(transaction_id), pg_snapshot_xmin(pg_current_snapshot()))::text AS low
FROM outbox
WHERE created_at >= now() - $1::interval
"""

_BATCH: Final = """
SELECT sequence, id, aggregatetype, aggregateid, type, payload::text AS payload, created_at, traceparent
FROM outbox
WHERE transaction_id >= $1::text::xid8 AND transaction_id < $2::text::xid8 AND sequence > $3
ORDER BY sequence
LIMIT $4
"""

_AGE: Final = """
SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS age
FROM outbox
WHERE transaction_id >= $2::text::xid8 OR (transaction_id >= $1::text::xid8 AND sequence > $3)
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Position:
    """How far the relay has come; transaction ids as decimal text, since they exceed a bigint."""

    low: str
    high: str
    sequence: int
    broker: uuid.UUID | None


@dataclasses.dataclass(frozen=True, slots=True)
class OutboxRow:
    """One fact as it waits in the outbox."""

    sequence: int
    id: uuid.UUID
    stream: str
    key: str
    type: str
    payload: bytes
    created_at: dt.datetime
    traceparent: str | None


async def append(connection: Connection, events: Sequence[Event]) -> None:
    """Write events, in order, in the caller's transaction."""
    if not events:
        return
    await connection.execute(
        _APPEND,
        [event.id for event in events],
        [event.stream for event in events],
        [event.actor_id for event in events],
        [event.type.value for event in events],
        [encode_payload(event.payload).decode() for event in events],
    )


async def claim(cell: Cell, holder: uuid.UUID, lease: dt.timedelta) -> Position | None:
    """Take or keep the relay's lease; None while somebody else holds it."""
    rows = await cell.fetch(_CLAIM, holder, lease)
    return _position(rows[0]) if rows else None


async def release(cell: Cell, holder: uuid.UUID) -> None:
    """Give the lease back, so that the next holder need not wait for its end."""
    await cell.fetch(_RELEASE, holder)


async def save(cell: Cell, holder: uuid.UUID, position: Position, lease: dt.timedelta) -> bool:
    """Store how far the holder has come; False when the lease was lost meanwhile, and nothing is stored."""
    rows = await cell.fetch(_SAVE, holder, position.low, position.high, position.sequence, position.broker, lease)
    return bool(rows)


async def next_interval(cell: Cell, position: Position) -> tuple[Position, bool]:
    """Open the interval from the end of the last one to the snapshot horizon.

    Gives also whether rows wait beyond the horizon, which will move without anybody ringing the bell.
    """
    [row] = await cell.fetch(_HORIZON)
    return dataclasses.replace(position, low=position.high, high=row["horizon"], sequence=0), row["waiting"]


async def rewind(cell: Cell, retention: dt.timedelta, broker: uuid.UUID) -> Position:
    """Give the position from which a broker that has lost everything is fed again, under its new name."""
    [row] = await cell.fetch(_RETAINED, retention)
    return Position(low=row["low"], high=row["low"], sequence=0, broker=broker)


async def fetch_batch(cell: Cell, position: Position, limit: int) -> list[OutboxRow]:
    """Fetch the rows of the interval that follow the position, at most `limit`."""
    rows = await cell.fetch(_BATCH, position.low, position.high, position.sequence, limit)
    return [_outbox_row(row) for row in rows]


async def fetch_age(cell: Cell, position: Position) -> float:
    """Measure the age in seconds of the oldest row that is not published."""
    [row] = await cell.fetch(_AGE, position.low, position.high, position.sequence)
    return float(row["age"])


def _position(row: Record) -> Position:
    return Position(row["low"], row["high"], row["sequence"], row["broker"])


def _outbox_row(row: Record) -> OutboxRow:
    return OutboxRow(
        sequence=row["sequence"],
        id=row["id"],
        stream=row["aggregatetype"],
        key=row["aggregateid"],
        type=row["type"],
        payload=row["payload"].encode(),
        created_at=row["created_at"],
        traceparent=row["traceparent"],
    )


class Bell:
    """Wakes the relay after a commit, outside the fact's transaction; a ring that gets lost costs one polling interval.

    Rings that come while one is under way are joined into the next.
    """

    def __init__(self) -> None:
        self._ringing: dict[int, asyncio.Task[None]] = {}
        self._again: set[int] = set()

    def ring(self, cell: Cell) -> None:
        """Wake the relay of a cell soon; never waits, never fails."""
        if cell.number in self._ringing:
            self._again.add(cell.number)
            return
        self._ringing[cell.number] = asyncio.create_task(self._ring(cell))

    async def _ring(self, cell: Cell) -> None:
        try:
            await cell.fetch("SELECT pg_notify('outbox', '')")
        except (Overloaded, asyncpg.PostgresError) as error:
            _LOG.info("the relay was not woken: %s", type(error).__name__)
        finally:
            del self._ringing[cell.number]
            if cell.number in self._again:
                self._again.discard(cell.number)
                self.ring(cell)

    async def close(self) -> None:
        """Let the last rings finish."""
        while self._ringing:
            await asyncio.gather(*self._ringing.values(), return_exceptions=True)


async def listen(dsn: str, bell: asyncio.Event) -> None:
    """Set the bell at every ring, on a connection of its own, until the connection ends; never fails."""
    closed = asyncio.Event()
    try:
        connection = await asyncpg.connect(dsn, timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        _LOG.info("no bell for the relay: %s", type(error).__name__)
        return
    try:
        connection.add_termination_listener(lambda _connection: closed.set())
        await connection.add_listener(CHANNEL, lambda *_details: bell.set())
        bell.set()  # whatever was rung before went unheard
        await closed.wait()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        _LOG.info("the bell of the relay is lost: %s", type(error).__name__)
    finally:
        connection.terminate()
