"""Taking another name: claimed in the directory, taken by the profile at its home, and confirmed in the directory.

The profile is the truth. What is left undone in between is finished or taken back by upkeep, from what it says.
"""

import contextlib
import datetime as dt
import functools
from typing import Final

from msgspec.structs import replace

from domain.errors import DeadlineExceeded, KithError, Overloaded
from domain.events import EventType
from domain.renaming import DEFAULT_QUOTA, RenameQuota
from domain.usernames import username_key
from domain.users import User
from storage.cells import Connection
from storage.database import Database
from storage.names import HELD_FOR, Claim, claim, confirm, fetch_lapsed, fetch_pending, forget_held, let_go, unclaim
from storage.users import change_user, fetch_users
from storage.wholly import wholly

PENDING_FOR: Final = dt.timedelta(minutes=1)
"""How long a claim may go without its profile before upkeep looks what became of it."""

_CHANGES: Final = "SELECT changed_at FROM username_changes WHERE user_id = $1 AND changed_at > $2 ORDER BY changed_at"

_NOTE: Final = "INSERT INTO username_changes (user_id, changed_at) VALUES ($1, $2) ON CONFLICT DO NOTHING"

_FORGET: Final = "DELETE FROM username_changes WHERE user_id = $1 AND changed_at <= $2"


class RenamedTooOften(KithError):
    """The name was changed too often; `allowed_at` is when it may be changed again."""

    def __init__(self, allowed_at: dt.datetime) -> None:
        super().__init__()
        self.allowed_at = allowed_at


async def change_username(
    database: Database,
    user_id: int,
    username: str,
    *,
    now: dt.datetime,
    keep_former: bool = True,
    quota: RenameQuota = DEFAULT_QUOTA,
) -> User | None:
    """Give somebody another name, written as it is given; None where the person is gone. The same name changes nothing.

    The former name goes on leading to the person, unless `keep_former` is off; either way nobody else may have it for
    90 days. Another way to write the same name, in case or width, is no other name: it is not counted.

    Raises:
        UsernameTaken: somebody else has this name or one that looks like it, or gave it up not long ago.
        RenamedTooOften: the quota is used up.
    """
    wanted = Claim(username_key(username) or username, user_id, now)

    async def rename() -> User | None:
        directory = database.shards.directory
        await directory.transact(lambda connection: claim(database, connection, wanted, pending=True))
        try:
            user = await _take(database, wanted, username, quota)
        except RenamedTooOften:
            await directory.transact(lambda connection: unclaim(connection, wanted))
            raise
        if user is None:
            await directory.transact(lambda connection: unclaim(connection, wanted))
            return None
        await _confirm(database, wanted, user.version)
        if not keep_former:
            await let_former_go(database, user_id, now=now)
        return user

    return await wholly(rename())


async def let_former_go(database: Database, user_id: int, *, now: dt.datetime) -> None:
    """Let somebody's former names lead nowhere any more; nobody else may have them for 90 days."""
    until = now + HELD_FOR
    keys = await database.shards.directory.transact(
        lambda connection: let_go(connection, database, user_id, superseded_by=now, held_until=until)
    )
    for key in keys:
        await database.freshness.name_released(key)


async def fetch_changes(database: Database, user_id: int, after: dt.datetime) -> list[dt.datetime]:
    """Fetch when somebody took another name, after a moment."""
    rows = await database.shards.home(user_id).fetch(_CHANGES, user_id, after)
    return [row["changed_at"] for row in rows]


async def settle_claims(database: Database, now: dt.datetime, *, limit: int) -> int:
    """Finish or take back claims that were left alone, by what the profiles say; gives how many."""
    directory = database.shards.directory
    pending = await fetch_pending(directory, now - PENDING_FOR, limit)
    people = await fetch_users(database, sorted({claimed.user_id for claimed in pending}))
    for claimed in pending:
        user = people.get(claimed.user_id)
        if user is not None and username_key(user.username) == claimed.key:
            await _confirm(database, claimed, user.version)
        else:
            await directory.transact(functools.partial(unclaim, claimed=claimed))
            await database.freshness.name_released(claimed.key)
    return len(pending)


async def let_lapsed_go(database: Database, now: dt.datetime, *, limit: int) -> int:
    """Let go of names that were given up long ago: from now on anybody may have them; gives of how many people."""
    directory = database.shards.directory
    people = await fetch_lapsed(directory, now - HELD_FOR, limit)
    for user_id in people:
        lapsed = functools.partial(
            let_go, database=database, user_id=user_id, superseded_by=now - HELD_FOR, held_until=now
        )
        for key in await directory.transact(lapsed):
            await database.freshness.name_released(key)
    await forget_held(directory, now)
    return len(people)


async def _take(database: Database, wanted: Claim, username: str, quota: RenameQuota) -> User | None:
    async def note(connection: Connection, before: User, _after: User) -> None:
        if username_key(before.username) == wanted.key:
            return
        await connection.execute(_FORGET, wanted.user_id, wanted.at - quota.within)
        rows = await connection.fetch(_CHANGES, wanted.user_id, wanted.at - quota.within)
        allowed_at = quota.allowed_at([row["changed_at"] for row in rows])
        if allowed_at is not None and allowed_at > wanted.at:
            raise RenamedTooOften(allowed_at)
        await connection.execute(_NOTE, wanted.user_id, wanted.at)

    def change(user: User) -> User:
        return replace(user, username=username)

    return await change_user(database, wanted.user_id, change, event=EventType.USER_USERNAME_CHANGED, within=note)


async def _confirm(database: Database, claimed: Claim, version: int) -> None:
    """Have the directory know what a profile has; where it does not answer, upkeep does so later."""
    with contextlib.suppress(Overloaded, DeadlineExceeded):
        await database.shards.directory.transact(functools.partial(confirm, claimed=claimed, version=version))
    await database.freshness.name_claimed(claimed.key, claimed.user_id)
