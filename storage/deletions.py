"""Deleting one's own account, and taking that back."""

import contextlib
import dataclasses
import datetime as dt
from typing import Final

from msgspec.structs import replace

from domain.departures import GRACE
from domain.errors import DeadlineExceeded, KithError, Overloaded
from domain.events import EventType
from domain.users import User, UserState
from storage.cells import Connection
from storage.database import Database
from storage.departures import BATCH, depart, note_departure
from storage.returns import bring_follows_back
from storage.users import change_user

_NOTE: Final = """
INSERT INTO deletions (user_id, deleted_at, restorable_until) VALUES ($1, $2, $3)
ON CONFLICT (user_id) DO UPDATE
SET deleted_at = excluded.deleted_at, restorable_until = excluded.restorable_until, purging = false
"""

_GO: Final = "UPDATE users SET state = 3 WHERE id = $1 AND state IN (2, 3) RETURNING true"

_FETCH: Final = """
SELECT d.deleted_at, d.restorable_until, u.version
FROM deletions d
JOIN users u ON u.id = d.user_id
WHERE d.user_id = $1 AND u.state = 3 AND NOT d.purging
"""

_TAKE_BACK: Final = """
DELETE FROM deletions WHERE user_id = $1 AND restorable_until > $2 AND NOT purging RETURNING true
"""

_HANDED_TO_UPKEEP: Final = (Overloaded, DeadlineExceeded)


@dataclasses.dataclass(frozen=True, slots=True)
class Deletion:
    """When an account was deleted, until when that can be undone, and the version of the profile since."""

    deleted_at: dt.datetime
    restorable_until: dt.datetime
    version: int


class NotRestorable(KithError):
    """The time in which the deletion could be undone is over."""


async def delete_account(database: Database, user_id: int, now: dt.datetime) -> Deletion | None:
    """Delete a person's account; one that is deleted stays as it is, and None tells of one that is gone otherwise."""

    async def note(connection: Connection, _before: User, _after: User) -> None:
        await connection.execute(_NOTE, user_id, now, now + GRACE)

    with contextlib.suppress(*_HANDED_TO_UPKEEP):  # of the follows; whether the account is deleted is read below
        await depart(database, user_id, UserState.DELETED, event=EventType.USER_DELETED, within=note)
    return await fetch_deletion(database, user_id)


async def fetch_deletion(database: Database, user_id: int) -> Deletion | None:
    """Fetch the deletion of an account that can still be undone, or could until lately."""
    rows = await database.shards.home(user_id).fetch(_FETCH, user_id)
    return Deletion(rows[0]["deleted_at"], rows[0]["restorable_until"], rows[0]["version"]) if rows else None


async def make_due(database: Database, user_id: int, at: dt.datetime) -> None:
    """Have a deleted, or suspended, person purged: it can be undone no more, as of a time."""

    async def work(connection: Connection) -> None:
        if await connection.fetch(_GO, user_id):
            await connection.execute(_NOTE, user_id, at, at)

    await database.shards.home(user_id).transact(work)


async def restore_account(database: Database, user_id: int, now: dt.datetime) -> User | None:
    """Bring a deleted account back; None where there is none to bring back.

    The first of the follows come back at once, the others soon after.
    """

    async def take_back(connection: Connection, _before: User, _after: User) -> None:
        if not await connection.fetch(_TAKE_BACK, user_id, now):
            raise NotRestorable
        await note_departure(connection, user_id)

    def change(user: User) -> User:
        return replace(user, state=UserState.ACTIVE)

    deleted = frozenset({UserState.DELETED})
    try:
        user = await change_user(
            database, user_id, change, event=EventType.USER_RESTORED, within=take_back, among=deleted
        )
    except NotRestorable:
        return None
    if user is not None:
        with contextlib.suppress(*_HANDED_TO_UPKEEP):
            await bring_follows_back(database, user_id, now, limit=BATCH)
    return user
