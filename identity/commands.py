"""What the user service is to be asked: rows written in the transaction of the fact, each taken by one courier.

Families of tokens that ended are such rows too (`endings.py`), in a table of their own.
"""

import dataclasses
import datetime as dt
import enum
from typing import Final
from uuid import UUID

from identity.database import Connection, Record

LEASE: Final = dt.timedelta(seconds=30)
"""How long whoever has taken a row is left alone with it; longer than delivering it may take."""
_FIRST_WAIT: Final = dt.timedelta(milliseconds=250)
_LONGEST_WAIT: Final = dt.timedelta(minutes=1)
_MOST_DOUBLINGS: Final = 10


class CommandKind(enum.StrEnum):
    """What is asked for."""

    CREATE = "CREATE"
    TAKE_BACK = "TAKE_BACK"
    EMAIL = "EMAIL"


class Queue(enum.Enum):
    """A table of what waits."""

    COMMANDS = "commands"
    ENDINGS = "endings"


_QUEUE: Final = "INSERT INTO commands (kind, subject_id) VALUES ($1, $2)"
_TAKE: Final = """
UPDATE {table} SET tries = tries + 1, due_at = $1 + $3
WHERE id IN (SELECT id FROM {table} WHERE due_at <= $1 ORDER BY due_at, id LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING *
"""
_FINISH: Final = "DELETE FROM {table} WHERE id = $1"
_PUT_OFF: Final = "UPDATE {table} SET due_at = $2 WHERE id = $1"
_OLDEST: Final = "SELECT min(created_at) FROM {table}"
_FORGET: Final = "DELETE FROM commands WHERE subject_id = $1"


@dataclasses.dataclass(frozen=True, slots=True)
class Waiting:
    """A row that was taken: its queue, its id, how often it was tried with this time, and what it says."""

    queue: Queue
    id: int
    tries: int
    row: Record = dataclasses.field(repr=False)


async def queue_command(connection: Connection, kind: CommandKind, subject_id: UUID) -> None:
    """Have the user service asked for something once this transaction has committed."""
    await connection.execute(_QUEUE, kind, subject_id)


async def take(connection: Connection, queue: Queue, now: dt.datetime, limit: int) -> list[Waiting]:
    """Take what is due; nobody else takes it until the lease is over."""
    rows = await connection.fetch(_TAKE.format(table=queue.value), now, limit, LEASE)
    return [Waiting(queue, row["id"], row["tries"], row) for row in rows]


async def finish(connection: Connection, waiting: Waiting) -> None:
    """Note that it was done; best in the transaction of what came of it."""
    await connection.execute(_FINISH.format(table=waiting.queue.value), waiting.id)


async def put_off(connection: Connection, waiting: Waiting, now: dt.datetime) -> None:
    """Have it tried again, after a wait that grows."""
    wait = min(_FIRST_WAIT * 2 ** min(waiting.tries, _MOST_DOUBLINGS), _LONGEST_WAIT)
    await connection.execute(_PUT_OFF.format(table=waiting.queue.value), waiting.id, now + wait)


async def forget_commands(connection: Connection, subject_id: UUID) -> None:
    """Remove what was to be asked about an account that is erased."""
    await connection.execute(_FORGET, subject_id)


async def fetch_oldest(connection: Connection, queue: Queue) -> dt.datetime | None:
    """Fetch since when the oldest row waits."""
    found: dt.datetime | None = await connection.fetchval(_OLDEST.format(table=queue.value))
    return found
