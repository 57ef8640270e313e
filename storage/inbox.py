"""The inbox: effects in a cell that happen once per fact, however often the fact comes.

An effect that keeps the fact's id in its own row, as a notification does, or that goes by a version, as the other
side of a pair does, needs no row here.
"""

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

from domain.errors import KithError
from storage.cells import Cell, Connection
from storage.database import Database

KEPT: Final = dt.timedelta(days=30)
"""How long it is known which facts were had: longer than any broker or outbox keeps them."""

_TAKE: Final = """
INSERT INTO inbox (owner_id, consumer, event_id) VALUES ($1, $2, $3)
ON CONFLICT (owner_id, consumer, event_id) DO NOTHING
RETURNING true
"""

# Whoever is purged has no row of counters any more, and is to leave none here; it goes before the inbox does.
_LET_GO: Final = """
INSERT INTO inbox (owner_id, consumer, event_id)
SELECT c.user_id, $2, $3 FROM user_counts c WHERE c.user_id = $1 FOR KEY SHARE
ON CONFLICT (owner_id, consumer, event_id) DO NOTHING
"""

_FORGET: Final = "DELETE FROM inbox WHERE had_at < $1"

Effect = Callable[[Connection], Awaitable[None]]


class _AlreadyHad(KithError):
    """Roll back: this fact has had its effect."""


async def have_once(database: Database, owner_id: int, consumer: str, event_id: uuid.UUID, effect: Effect) -> bool:
    """Have an effect in the owner's cell, in one transaction with the inbox's row; False where it was had before.

    Raises:
        Overloaded: the cell does not answer; the effect may or may not have happened, and may be asked for again.
    """

    async def work(connection: Connection) -> bool:
        if not await connection.fetch(_TAKE, owner_id, consumer, event_id):
            raise _AlreadyHad
        await effect(connection)
        return True

    try:
        return await database.shards.home(owner_id).transact(work)
    except _AlreadyHad:
        return False


async def pass_over(connection: Connection, owner_id: int, consumer: str, event_id: uuid.UUID) -> None:
    """Take a fact for had, in the caller's transaction, that is not to have an effect: now, or when it comes again."""
    await connection.execute(_LET_GO, owner_id, consumer, event_id)


async def forget_had(cell: Cell, before: dt.datetime) -> None:
    """Forget facts that were had before a time."""
    await cell.fetch(_FORGET, before)
