"""The registry of names, in the directory cell: who holds a name, who held it, and who may have it.

A claim takes the row of the name's skeleton first: of any number who claim names that look alike, one has it.
"""

import dataclasses
import datetime as dt
from collections.abc import Collection, Sequence
from typing import Final

from domain.errors import KithError
from domain.usernames import username_skeleton
from storage.cells import Cell, Connection
from storage.database import Database
from storage.held_names import digest_of, fetch_held, is_held

HELD_FOR: Final = dt.timedelta(days=90)
"""How long a name that was given up leads to its last holder, or if not, is kept from everybody else."""

_TAKE_SKELETON: Final = """
INSERT INTO username_skeletons (skeleton, user_id) VALUES ($1, $2) ON CONFLICT (skeleton) DO NOTHING
"""

_OWNER_OF_SKELETON: Final = "SELECT user_id FROM username_skeletons WHERE skeleton = $1 FOR UPDATE"

_HELD: Final = "SELECT user_id FROM released_names WHERE name_digest = $1 AND held_until > $2"

_TAKE_BACK: Final = "DELETE FROM released_names WHERE name_digest = $1"

_CLAIM: Final = """
INSERT INTO usernames (name_key, user_id, claimed_at, pending)
VALUES ($1, $2, $3, $4)
ON CONFLICT (name_key) DO UPDATE SET pending = EXCLUDED.pending, claimed_at = EXCLUDED.claimed_at
WHERE usernames.user_id = EXCLUDED.user_id AND (usernames.pending OR usernames.superseded_at IS NOT NULL)
"""

_HOLDER: Final = "SELECT user_id FROM usernames WHERE name_key = $1"

_CONFIRM: Final = """
UPDATE usernames
SET pending = false, superseded_at = NULL, version = $3
WHERE name_key = $1 AND user_id = $2 AND version < $3
"""

_SUPERSEDE: Final = """
UPDATE usernames
SET superseded_at = $4, version = $3
WHERE user_id = $2 AND name_key <> $1 AND NOT pending AND superseded_at IS NULL AND version < $3
"""

_LET_GO: Final = """
DELETE FROM usernames WHERE user_id = $1 AND NOT pending AND superseded_at <= $2 RETURNING name_key
"""

_UNCLAIM: Final = """
DELETE FROM usernames
WHERE name_key = $1 AND user_id = $2 AND pending AND claimed_at = $3 AND superseded_at IS NULL
RETURNING name_key
"""

_UNCLAIM_FORMER: Final = """
UPDATE usernames
SET pending = false
WHERE name_key = $1 AND user_id = $2 AND pending AND claimed_at = $3 AND superseded_at IS NOT NULL
"""

_NAMES_OF: Final = "SELECT name_key FROM usernames WHERE user_id = $1"

_FREE: Final = "DELETE FROM username_skeletons WHERE skeleton = ANY($1::text[]) AND user_id = $2"

_HOLD: Final = """
INSERT INTO released_names (name_digest, user_id, held_until)
VALUES ($1, $2, $3)
ON CONFLICT (name_digest) DO UPDATE SET user_id = EXCLUDED.user_id, held_until = EXCLUDED.held_until
"""

_FORGET_HELD: Final = "DELETE FROM released_names WHERE held_until < $1"

_PENDING: Final = """
SELECT name_key, user_id, claimed_at FROM usernames WHERE pending AND claimed_at < $1 ORDER BY claimed_at LIMIT $2
"""

_LAPSED: Final = "SELECT DISTINCT user_id FROM usernames WHERE NOT pending AND superseded_at <= $1 LIMIT $2"

_SKELETONS_TAKEN: Final = """
SELECT skeleton FROM username_skeletons WHERE skeleton = ANY($1::text[]) AND user_id <> $2
"""

_NAMES_TAKEN: Final = "SELECT name_key FROM usernames WHERE name_key = ANY($1::text[]) AND user_id <> $2"

_RELEASED: Final = """
SELECT name_digest FROM released_names WHERE name_digest = ANY($1::bytea[]) AND held_until > $2 AND user_id <> $3
"""


class UsernameTaken(KithError):
    """This name is not available; choose another."""


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """A name that somebody takes, or takes back, and when."""

    key: str
    user_id: int
    at: dt.datetime


async def claim(database: Database, connection: Connection, wanted: Claim, *, pending: bool) -> None:
    """Take a name for somebody; whoever has it already keeps it. `pending` where a profile is still to follow.

    Raises:
        UsernameTaken: somebody else has this name or one that looks like it, or gave it up not long ago.
    """
    key, user_id, skeleton = wanted.key, wanted.user_id, username_skeleton(wanted.key)
    name_digest = digest_of(database, skeleton)
    await connection.execute(_TAKE_SKELETON, skeleton, user_id)
    # A skeleton that is let go of at this moment is locked: what holds the name back is seen after it.
    owner = await connection.fetchval(_OWNER_OF_SKELETON, skeleton)
    held_by = await connection.fetchval(_HELD, name_digest, wanted.at)
    if owner != user_id or held_by not in (None, user_id) or await is_held(database, connection, skeleton):
        raise UsernameTaken
    if held_by is not None:
        await connection.execute(_TAKE_BACK, name_digest)
    await connection.execute(_CLAIM, key, user_id, wanted.at, pending)
    if await connection.fetchval(_HOLDER, key) != user_id:
        raise UsernameTaken


async def confirm(connection: Connection, claimed: Claim, version: int) -> None:
    """Note that a profile of this version has the name; its holder's other names are former ones from now on."""
    await connection.execute(_CONFIRM, claimed.key, claimed.user_id, version)
    await connection.execute(_SUPERSEDE, claimed.key, claimed.user_id, version, claimed.at)


async def unclaim(connection: Connection, claimed: Claim) -> None:
    """Take back a claim that no profile has followed, unless it was made anew meanwhile."""
    row = (claimed.key, claimed.user_id, claimed.at)
    if await connection.fetch(_UNCLAIM, *row):
        await _free(connection, [claimed.key], claimed.user_id)
    await connection.execute(_UNCLAIM_FORMER, *row)


async def let_go(
    connection: Connection, database: Database, user_id: int, *, superseded_by: dt.datetime, held_until: dt.datetime
) -> list[str]:
    """Remove somebody's former names, and keep them from others until a time; gives their keys."""
    keys = [row["name_key"] for row in await connection.fetch(_LET_GO, user_id, superseded_by)]
    for skeleton in await _free(connection, keys, user_id):
        await connection.execute(_HOLD, digest_of(database, skeleton), user_id, held_until)
    return keys


async def _free(connection: Connection, keys: Collection[str], user_id: int) -> set[str]:
    """Free the skeletons of names that are gone, but for those that another name of the same person has."""
    left = {username_skeleton(row["name_key"]) for row in await connection.fetch(_NAMES_OF, user_id)}
    freed = {username_skeleton(key) for key in keys} - left
    await connection.execute(_FREE, sorted(freed), user_id)
    return freed


async def fetch_unavailable(database: Database, keys: Sequence[str], user_id: int, now: dt.datetime) -> set[str]:
    """Fetch which of some names this person could not have, whatever the reason: somebody has them, or had them."""
    directory, skeletons = database.shards.directory, {key: username_skeleton(key) for key in keys}
    digests = {key: digest_of(database, skeleton) for key, skeleton in skeletons.items()}
    taken = {row["skeleton"] for row in await directory.fetch(_SKELETONS_TAKEN, list(skeletons.values()), user_id)}
    names = {row["name_key"] for row in await directory.fetch(_NAMES_TAKEN, list(keys), user_id)}
    released = {row["name_digest"] for row in await directory.fetch(_RELEASED, list(digests.values()), now, user_id)}
    held = released | await fetch_held(directory, list(digests.values()))
    return {key for key in keys if skeletons[key] in taken or key in names or digests[key] in held}


async def fetch_pending(directory: Cell, before: dt.datetime, limit: int) -> list[Claim]:
    """Fetch claims that were made before a moment and that no profile has followed yet."""
    rows = await directory.fetch(_PENDING, before, limit)
    return [Claim(row["name_key"], row["user_id"], row["claimed_at"]) for row in rows]


async def fetch_lapsed(directory: Cell, before: dt.datetime, limit: int) -> list[int]:
    """Fetch who has former names that were given up before a moment."""
    return [row["user_id"] for row in await directory.fetch(_LAPSED, before, limit)]


async def forget_held(directory: Cell, now: dt.datetime) -> None:
    """Remove what is held back no longer."""
    await directory.fetch(_FORGET_HELD, now)
