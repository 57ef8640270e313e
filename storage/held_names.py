"""Names of people who are purged: nobody takes them, and nothing says whose they were or what they are."""

from collections.abc import Sequence
from typing import Final

from domain.usernames import username_skeleton
from storage.cells import Cell, Connection
from storage.database import Database

_RELEASE: Final = "DELETE FROM usernames WHERE user_id = $1 RETURNING name_key"

_FREE_SKELETONS: Final = "DELETE FROM username_skeletons WHERE user_id = $1"

# What the person had let go of before goes on being kept back for its time, for nobody.
_FORGET_HOLDER: Final = "UPDATE released_names SET user_id = 0 WHERE user_id = $1"

_HOLD: Final = "INSERT INTO held_names (name_digest) VALUES ($1) ON CONFLICT (name_digest) DO NOTHING"

_IS_HELD: Final = "SELECT FROM held_names WHERE name_digest = $1"

_FETCH_HELD: Final = "SELECT name_digest FROM held_names WHERE name_digest = ANY($1::bytea[])"


async def hold_names(database: Database, user_id: int) -> int:
    """Take all names from a person and keep them, and what looks like them, from everybody; gives how many."""

    async def work(connection: Connection) -> int:
        released = [row["name_key"] for row in await connection.fetch(_RELEASE, user_id)]
        for skeleton in sorted(set(map(username_skeleton, released))):
            await connection.execute(_HOLD, digest_of(database, skeleton))
        await connection.execute(_FREE_SKELETONS, user_id)
        await connection.execute(_FORGET_HOLDER, user_id)
        return len(released)

    return await database.shards.directory.transact(work)


async def is_held(database: Database, connection: Connection, skeleton: str) -> bool:
    """Tell whether a skeleton's names are kept back; asked after taking it in the same transaction."""
    return bool(await connection.fetch(_IS_HELD, digest_of(database, skeleton)))


async def fetch_held(directory: Cell, digests: Sequence[bytes]) -> set[bytes]:
    """Fetch which of some digests are of names that are kept back."""
    return {row["name_digest"] for row in await directory.fetch(_FETCH_HELD, digests)}


def digest_of(database: Database, skeleton: str) -> bytes:
    """Give the keyed digest that stands for all names of a skeleton."""
    return database.digests.of(["name", skeleton]) or b""
