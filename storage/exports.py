"""Exports: one a person, and what is read for it, batch by batch."""

import asyncio
import base64
import datetime as dt
import struct
import uuid
from collections.abc import AsyncIterator, Collection
from typing import Final

from domain.exports import ANEW_AFTER, FILES, KEPT, Export
from storage.cells import Cell, Record
from storage.database import Database
from storage.master_keys import Unreadable
from storage.vault import Vault, WrappedKey

BATCH: Final = 500
_PLACE: Final = ("exports", "archive")
_LONGEST_HEAD: Final = 1024
_HEAD: Final = struct.Struct(">IH")
"""Before an archive: the version of the master key, and the length of the archive's own key as wrapped by it."""

# One at a time: whoever asks again gets the one under way, or the one that is still new.
_REQUEST: Final = """
INSERT INTO exports AS e (user_id, id, requested_at, files) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id) DO UPDATE
SET id = $2, requested_at = $3, files_done = 0, files = $4, archive = NULL, expires_at = NULL
WHERE e.expires_at IS NOT NULL AND e.requested_at <= $5
"""

_FETCH: Final = "SELECT id, requested_at, files_done, files, expires_at FROM exports WHERE user_id = $1"

_OPEN: Final = """
SELECT user_id FROM exports
WHERE archive IS NULL AND NOT user_id = ANY($2::bigint[])
ORDER BY requested_at
LIMIT $1
"""

_COUNT_OPEN: Final = "SELECT count(*) AS open FROM exports WHERE archive IS NULL"

_PROGRESS: Final = "UPDATE exports SET files_done = $3 WHERE user_id = $1 AND id = $2"

_FINISH: Final = """
UPDATE exports SET archive = $3, expires_at = $4, files_done = files WHERE user_id = $1 AND id = $2
"""

_ARCHIVE: Final = """
SELECT archive FROM exports WHERE user_id = $1 AND id = $2 AND archive IS NOT NULL AND expires_at > $3
"""

_DROP: Final = "DELETE FROM exports WHERE user_id = $1"

_EXPIRE: Final = "DELETE FROM exports WHERE expires_at <= $1"

# The archive may be large, what stands before it is not.
_HEADS: Final = """
SELECT user_id, id, substring(archive FROM 1 FOR $3) AS head
FROM exports
WHERE archive IS NOT NULL AND user_id > $1
ORDER BY user_id
LIMIT $2
"""

_REPLACE_HEAD: Final = """
UPDATE exports
SET archive = $4 || substring(archive FROM length($3::bytea) + 1)
WHERE user_id = $1 AND id = $2 AND substring(archive FROM 1 FOR length($3::bytea)) = $3
"""

_SIDES: Final = """
SELECT other_id, follows, follows_at, followed_by, followed_by_at, blocks, blocks_until, mutes, mutes_until
FROM relationships
WHERE owner_id = $1 AND other_id > $2
ORDER BY other_id
LIMIT $3
"""


async def request_export(database: Database, user_id: int, now: dt.datetime) -> Export | None:
    """Ask for an export; gives the one that is under way or ready."""
    home = database.shards.home(user_id)
    await home.fetch(_REQUEST, user_id, uuid.uuid4(), now, len(FILES), now - ANEW_AFTER)
    return await fetch_export(database, user_id)


async def fetch_export(database: Database, user_id: int) -> Export | None:
    """Fetch how far a person's export has come; None where there is none."""
    rows = await database.shards.home(user_id).fetch(_FETCH, user_id)
    return Export(user_id=user_id, **rows[0]) if rows else None


async def fetch_open(cell: Cell, limit: int, *, but: Collection[int] = ()) -> list[int]:
    """Fetch whose exports are to be made, the oldest first; some are passed over."""
    return [row["user_id"] for row in await cell.fetch(_OPEN, limit, list(but))]


async def count_open(cell: Cell) -> int:
    """Count the exports that are to be made, or under way."""
    return int((await cell.fetch(_COUNT_OPEN))[0]["open"])


async def note_progress(database: Database, export: Export, files_done: int) -> None:
    """Note how many files are done."""
    await database.shards.home(export.user_id).fetch(_PROGRESS, export.user_id, export.id, files_done)


async def drop_export(database: Database, user_id: int) -> None:
    """Let the export of somebody go who is gone."""
    await database.shards.home(user_id).fetch(_DROP, user_id)


async def finish_export(database: Database, vault: Vault, export: Export, archive: bytes, now: dt.datetime) -> None:
    """Keep the archive of an export, under a key of its own, for as long as it can be fetched."""
    key = await vault.make(export.user_id)
    opened = await vault.open(key)
    sealed = await asyncio.to_thread(lambda: opened.encrypt(*_PLACE, base64.b64encode(archive).decode()))
    stored = _head_of(key) + sealed
    await database.shards.home(export.user_id).fetch(_FINISH, export.user_id, export.id, stored, now + KEPT)


def _head_of(key: WrappedKey) -> bytes:
    return _HEAD.pack(key.master_version, len(key.wrapped)) + key.wrapped


def _read_head(user_id: int, stored: bytes) -> WrappedKey:
    version, length = _HEAD.unpack_from(stored)
    return WrappedKey(user_id, stored[_HEAD.size : _HEAD.size + length], version)


async def rewrap_archives(cell: Cell, vault: Vault) -> tuple[int, int]:
    """Wrap the keys of a cell's archives anew, where an older master key has wrapped them; archives stay as they are.

    Gives how many there were, and how many could not be opened. May be repeated, and left at any point.
    """
    newest, done, unreadable, last = await vault.newest(), 0, 0, 0
    while rows := await cell.fetch(_HEADS, last, BATCH, _LONGEST_HEAD):
        for row in rows:
            key = _read_head(row["user_id"], row["head"])
            if key.master_version >= newest:
                continue
            try:
                fresh = await vault.rewrap(key)
            except Unreadable:
                unreadable += 1
                continue
            await cell.fetch(_REPLACE_HEAD, row["user_id"], row["id"], _head_of(key), _head_of(fresh))
            done += 1
        last = rows[-1]["user_id"]
    return done, unreadable


async def fetch_archive(
    database: Database, vault: Vault, user_id: int, export_id: uuid.UUID, now: dt.datetime
) -> bytes | None:
    """Fetch an archive; None where it is not ready, has expired, or is another's.

    Raises:
        Unreadable: it was changed, or its master key is not configured.
    """
    rows = await database.shards.home(user_id).fetch(_ARCHIVE, user_id, export_id, now)
    if not rows:
        return None
    stored = bytes(rows[0]["archive"])
    key = _read_head(user_id, stored)
    sealed = stored[len(_head_of(key)) :]
    opened = await vault.open(key)
    return await asyncio.to_thread(lambda: base64.b64decode(opened.decrypt(*_PLACE, sealed)))


async def expire_exports(cell: Cell, now: dt.datetime) -> None:
    """Delete archives whose time is over."""
    await cell.fetch(_EXPIRE, now)


async def read_sides(database: Database, user_id: int) -> AsyncIterator[list[Record]]:
    """Read everything that a person is to others, in batches; whether others block the person is not read."""
    home, last = database.shards.home(user_id), 0
    while rows := await home.fetch(_SIDES, user_id, last, BATCH):
        yield rows
        last = rows[-1]["other_id"]
