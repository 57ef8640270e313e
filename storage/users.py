"""People: profiles with their policies and counters, and the registry of names."""

import contextlib
import dataclasses
import datetime as dt
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import asyncpg
from msgspec.structs import replace

from domain.errors import Conflict, KithError, Overloaded
from domain.events import Event, EventType, UserPayload
from domain.ids import NodeType, new_id
from domain.policies import DEFAULT_POLICY, PrivacyPolicy, read_policy, write_policy
from domain.usernames import username_key
from domain.users import ProfileLink, User, UserState
from storage import outbox
from storage.audit import write_audit
from storage.cells import Connection, Record
from storage.database import Database
from storage.limits import Priority
from storage.names import Claim, claim, confirm, unclaim
from storage.repeats import is_done
from storage.wholly import wholly

_FETCH: Final = """
SELECT u.id, u.username, u.display_name, u.bio, u.avatar_url, u.pronouns, u.location, u.links::text AS links, u.policy,
       u.state, u.version, u.created_at
FROM users u
WHERE u.id = ANY($1::bigint[])
"""

_FETCH_IDS: Final = "SELECT name_key, user_id FROM usernames WHERE name_key = ANY($1::text[])"

_FETCH_ACTIVE: Final = "SELECT id FROM users WHERE id = ANY($1::bigint[]) AND state = 1"

_FETCH_STATE: Final = "SELECT state FROM users WHERE id = $1"

_FETCH_STATES: Final = "SELECT id, state FROM users WHERE id = ANY($1::bigint[])"

_FETCH_LOCKED: Final = """
SELECT id, username, display_name, bio, avatar_url, pronouns, location, links::text AS links, policy, state, version,
       created_at
FROM users
WHERE id = $1
FOR NO KEY UPDATE
"""

_UPDATE: Final = """
UPDATE users
SET display_name = $2, bio = $3, avatar_url = $4, pronouns = $5, location = $6, links = $7::jsonb, policy = $8,
    state = $9, version = $10, username = $11, updated_at = now()
WHERE id = $1
"""

_INSERT: Final = """
INSERT INTO users (id, username, display_name, bio, avatar_url, pronouns, location, links, policy, created_at,
                   updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9, $10, $10)
"""

_INSERT_COUNTS: Final = "INSERT INTO user_counts (user_id) VALUES ($1)"


_STATES: Final = {int(state): state for state in UserState}
_ID_ATTEMPTS: Final = 4
_NO_LINKS: Final = "[]"


async def fetch_users(database: Database, user_ids: Sequence[int]) -> dict[int, User]:
    """Fetch profiles, one statement per cell; whoever does not exist is left out."""
    rows = await database.shards.fetch_by_home(_FETCH, user_ids)
    return {row["id"]: read_user(database, row) for row in rows}


async def fetch_ids_by_name(database: Database, keys: Sequence[str]) -> dict[str, int]:
    """Fetch who holds the names with these keys, in one statement on the directory cell."""
    rows = await database.shards.directory.fetch(_FETCH_IDS, keys)
    return {row["name_key"]: row["user_id"] for row in rows}


async def fetch_state(database: Database, user_id: int) -> UserState | None:
    """Fetch the state of one person; None for an id that nobody ever had."""
    rows = await database.shards.home(user_id).fetch(_FETCH_STATE, user_id, priority=Priority.FACT)
    return UserState(rows[0]["state"]) if rows else None


async def fetch_states(database: Database, user_ids: Sequence[int]) -> dict[int, UserState]:
    """Fetch the states of people, in one statement per cell; ids that nobody ever had are left out."""
    rows = await database.shards.fetch_by_home(_FETCH_STATES, user_ids, priority=Priority.FACT)
    return {row["id"]: UserState(row["state"]) for row in rows}


async def fetch_active(database: Database, user_ids: Sequence[int]) -> set[int]:
    """Fetch which of some people may act, in one statement per cell: whoever is not among them is gone or suspended."""
    return {row["id"] for row in await database.shards.fetch_by_home(_FETCH_ACTIVE, user_ids, priority=Priority.FACT)}


Within = Callable[[Connection, User, User], Awaitable[None]]
Beside = Callable[[Connection], Awaitable[tuple[object, object] | None]]
"""Changes what is kept beside the profile; gives what was there before and after, or None where nothing changes."""


async def change_user(
    database: Database,
    user_id: int,
    change: Callable[[User], User],
    *,
    event: EventType,
    expected_version: int | None = None,
    within: Within | None = None,
    beside: Beside | None = None,
    among: frozenset[UserState] = frozenset({UserState.ACTIVE}),
) -> User | None:
    """Apply a change to a profile under its lock; None where the person is gone. No difference writes nothing.

    Gone is whoever is in no state of `among`.

    `within` runs in the same transaction where something changes, with the connection and the profile before and after;
    `beside` runs in it first, whether or not the profile itself changes.

    Raises:
        Conflict: the profile is not at `expected_version`; `currentVersion` says where it is.
    """

    async def work(connection: Connection) -> User | None:
        rows = await connection.fetch(_FETCH_LOCKED, user_id)
        before = read_user(database, rows[0]) if rows else None
        if before is None or before.state not in among:
            return None
        if await is_done(connection, event.value, None):
            return before
        if expected_version not in (None, before.version):
            raise Conflict(currentVersion=before.version)
        after, aside = change(before), await beside(connection) if beside is not None else None
        if after == before and aside is None:
            return before
        if within is not None:
            await within(connection, before, after)
        return await _write_next(database, connection, before, after, event, aside or (None, None))

    async def change_and_tell() -> User | None:
        user = await database.shards.home(user_id).transact(work)
        if user is not None:
            # Also where nothing changed: it may be the repeat of a change whose news got lost.
            await database.freshness.user_changed(user.id, stricter=True, version=user.version)
        return user

    return await wholly(change_and_tell())


async def _write_next(  # noqa: PLR0917 - one row and all that is written with it
    database: Database,
    connection: Connection,
    before: User,
    after: User,
    event: EventType,
    aside: tuple[object, object],
) -> User:
    after = replace(after, version=after.version + 1)
    await connection.execute(_UPDATE, *_columns(after))
    await write_audit(
        database,
        connection,
        after.id,
        event.value,
        target_id=None,
        version=after.version,
        before=(*_columns(before), aside[0]),
        after=(*_columns(after), aside[1]),
    )
    await outbox.append(connection, [_event(database, event, after.id, after.version)])
    return after


def _columns(user: User) -> tuple[object, ...]:
    return (
        user.id,
        user.display_name,
        user.bio,
        user.avatar_url,
        user.pronouns,
        user.location,
        _links_document(user.links),
        write_policy(user.policy),
        user.state,
        user.version,
        user.username,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class NewUser:
    """What a person starts with; `username` is kept as it is written."""

    username: str
    display_name: str | None = None
    bio: str | None = None
    avatar_url: str | None = None
    pronouns: str | None = None
    location: str | None = None
    links: tuple[ProfileLink, ...] = ()
    policy: PrivacyPolicy = DEFAULT_POLICY


async def create_user(database: Database, new: NewUser, *, cell: int, now: dt.datetime) -> int:
    """Create a person whose home is `cell` and give the id; the name is claimed first, in the directory cell.

    Raises:
        UsernameTaken: somebody holds this name or one that looks the same.
    """
    for _ in range(_ID_ATTEMPTS):
        with contextlib.suppress(IdTaken):
            return await _create(database, new, cell=cell, now=now)
    return await _create(database, new, cell=cell, now=now)


async def _create(database: Database, new: NewUser, *, cell: int, now: dt.datetime) -> int:
    user_id = new_id(cell)
    wanted = Claim(username_key(new.username) or new.username, user_id, now)
    home, directory = database.shards.home(user_id), database.shards.directory

    async def insert(connection: Connection) -> None:
        if home is directory:
            await claim(database, connection, wanted, pending=False)
        await insert_user(database, connection, user_id, new, now)

    if home is directory:
        await home.transact(insert)
    else:
        await _create_elsewhere(database, wanted, insert)
    await database.freshness.name_claimed(wanted.key, user_id)
    return user_id


async def _create_elsewhere(database: Database, wanted: Claim, insert: Callable[[Connection], Awaitable[None]]) -> None:
    """Create a person in another cell than that of names; whatever is left undone, upkeep finishes or takes back."""
    directory = database.shards.directory
    await directory.transact(lambda connection: claim(database, connection, wanted, pending=True))
    try:
        await database.shards.home(wanted.user_id).transact(insert)
    except IdTaken:
        await directory.transact(lambda connection: unclaim(connection, wanted))
        raise
    with contextlib.suppress(Overloaded):
        await directory.transact(lambda connection: confirm(connection, wanted, 1))


class IdTaken(KithError):
    """Two people of a cell were created in one millisecond with the same 12 random bits: try another id."""


async def insert_user(database: Database, connection: Connection, user_id: int, new: NewUser, now: dt.datetime) -> None:
    """Write a new person with counters and the fact, in the caller's transaction; raises IdTaken."""
    person = (user_id, new.username, new.display_name, new.bio, new.avatar_url, new.pronouns, new.location)
    try:
        await connection.execute(_INSERT, *person, _links_document(new.links), write_policy(new.policy), now)
    except asyncpg.UniqueViolationError as error:
        raise IdTaken from error
    await connection.execute(_INSERT_COUNTS, user_id)
    await outbox.append(connection, [_event(database, EventType.USER_CREATED, user_id, 1)])


def _event(database: Database, event: EventType, user_id: int, version: int) -> Event:
    opaque = database.ids.encode(NodeType.USER, user_id)
    return Event(type=event, actor_id=opaque, payload=UserPayload(user_id=opaque, user_version=version))


def read_user(database: Database, row: Record) -> User:
    """Read one row."""
    return User(
        id=row["id"],
        opaque_id=database.ids.encode(NodeType.USER, row["id"]),
        username=row["username"],
        display_name=row["display_name"],
        bio=row["bio"],
        avatar_url=row["avatar_url"],
        pronouns=row["pronouns"],
        location=row["location"],
        links=_links_of(row["links"]),
        policy=read_policy(row["policy"]),
        state=_STATES[row["state"]],
        version=row["version"],
        created_at=row["created_at"],
    )


def _links_of(document: str) -> tuple[ProfileLink, ...]:
    """Read the links of a profile: most have none, and then nothing is parsed."""
    if document == _NO_LINKS:
        return ()
    return tuple(ProfileLink(label=link["label"], url=link["url"]) for link in json.loads(document))


def _links_document(links: Sequence[ProfileLink]) -> str:
    return json.dumps([dataclasses.asdict(link) for link in links])
