"""The outbox: facts wait here, written in their own transaction, until the relay has published them.

A row's sequence is taken while its transaction holds the lock that orders its key: that is the order in which the
events of a key leave. How nothing is overtaken on the way: `outbox_reading.py`.
"""

import asyncio
import dataclasses
import datetime as dt
import logging
import uuid
from collections.abc import Sequence
from typing import Final

import asyncpg

from domain import traces
from domain.errors import Overloaded
from domain.events import Event, encode_payload
from storage.cells import Cell, Connection

CHANNEL: Final = "outbox"
PARTITIONS: Final = range(8)
"""By a hash of the key, as the table computes it; each has a relay's position of its own."""
RETENTION: Final = dt.timedelta(hours=24)
"""How far back a broker that has lost its disk is fed again, and for how long rows are kept at least."""

_LOG: Final = logging.getLogger(__name__)

_APPEND: Final = """
INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, traceparent)
SELECT e.id, e.aggregatetype, e.aggregateid, e.type, e.payload::jsonb, $6::text
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[])
     WITH ORDINALITY AS e (id, aggregatetype, aggregateid, type, payload, position)
ORDER BY e.position
"""


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
    """Write events, in order and with the trace at hand, in the caller's transaction."""
    if events:
        await connection.execute(_APPEND, *columns(events))


def columns(events: Sequence[Event]) -> tuple[object, ...]:
    """Give what rows are made of, in order: five lists, and the trace at hand."""
    trace = traces.current()
    return (
        [event.id for event in events],
        [event.stream for event in events],
        [event.actor_id for event in events],
        [event.type.value for event in events],
        [encode_payload(event.payload).decode() for event in events],
        None if trace is None else trace.parent,
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
