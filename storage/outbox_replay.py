"""What the outbox retains, read once more: in order per key, for as long as it is kept."""

import dataclasses
import datetime as dt
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from domain.users import UserState
from storage.cells import Cell, Connection
from storage.database import Database
from storage.outbox import OutboxRow
from storage.outbox_reading import outbox_row

BATCH: Final = 500
READ_TIMEOUT_S: Final = 600.0

_SETTINGS: Final = """
SET LOCAL statement_timeout = '10min';
SET LOCAL idle_in_transaction_session_timeout = '2min'
"""

# A person is in a fact as its key or as a value of its payload.
_READ: Final = """
SELECT sequence, id, aggregatetype, aggregateid, type, payload::text AS payload, created_at, traceparent
FROM outbox
WHERE ($1::timestamptz IS NULL OR created_at >= $1)
  AND ($2::text IS NULL OR aggregatetype = $2)
  AND ($3::text IS NULL OR aggregateid = $3
       OR EXISTS (SELECT FROM jsonb_each_text(payload) AS field WHERE field.value = $3))
ORDER BY sequence
"""

_STATES: Final = "SELECT id, state FROM users WHERE id = ANY($1::bigint[])"

Take = Callable[[list[OutboxRow]], Awaitable[None]]


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """Which facts are wanted: since a time, of a stream, about a person (an opaque id); None is any."""

    since: dt.datetime | None = None
    stream: str | None = None
    person: str | None = None


async def read_retained(cell: Cell, wish: Wish, take: Take) -> None:
    """Give what a cell's outbox retains to `take`, in order and in batches; from the start where a connection is lost.

    Raises:
        Overloaded: the cell does not answer.
    """

    async def work(connection: Connection) -> None:
        await connection.execute(_SETTINGS)
        cursor = await connection.cursor(_READ, wish.since, wish.stream, wish.person, timeout=READ_TIMEOUT_S)
        while records := await cursor.fetch(BATCH, timeout=READ_TIMEOUT_S):
            await take([outbox_row(record) for record in records])

    await cell.transact(work)


async def fetch_states(database: Database, user_ids: Iterable[int]) -> dict[int, UserState]:
    """Fetch how people stand; whoever is not there any more is left out."""
    rows = await database.shards.fetch_by_home(_STATES, sorted(set(user_ids)))
    return {row["id"]: UserState(row["state"]) for row in rows}
