"""Names of people who are purged: nobody takes them, and nothing says whose they were or what they are."""

from typing import Final

from storage.cells import Connection
from storage.database import Database

_RELEASE: Final = "DELETE FROM usernames WHERE name_key = $1 AND user_id = $2 RETURNING true"

_HOLD: Final = "INSERT INTO held_names (name_digest) VALUES ($1) ON CONFLICT (name_digest) DO NOTHING"

_IS_HELD: Final = "SELECT FROM held_names WHERE name_digest = $1"


async def hold_name(database: Database, user_id: int, name_key: str) -> int:
    """Take a name from a person and keep it from everybody; gives 1, or 0 where it was not the person's."""

    async def work(connection: Connection) -> int:
        released = await connection.fetch(_RELEASE, name_key, user_id)
        if released:
            await connection.execute(_HOLD, _digest(database, name_key))
        return len(released)

    return await database.shards.directory.transact(work)


async def is_held(database: Database, connection: Connection, name_key: str) -> bool:
    """Tell whether a name is kept back, after claiming it in the same transaction: it waits for whoever holds it."""
    return bool(await connection.fetch(_IS_HELD, _digest(database, name_key)))


def _digest(database: Database, name_key: str) -> bytes | None:
    return database.digests.of(["name", name_key])
