"""People with a canary in every field and a relation of every kind, and the search everywhere for what is left."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import random
import secrets
import uuid
from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import RedisError

from domain.consents import ConsentPurpose, Decision
from domain.notifications import NotificationKind
from domain.personal import PersonalDetails
from domain.transitions import Transition, block, follow
from domain.users import ProfileLink
from storage.cells import Cell, Connection
from storage.consents import add_consent
from storage.database import Database
from storage.erasures import KEPT
from storage.exports import finish_export, request_export
from storage.master_keys import LocalMasterKeys
from storage.mutes import Mute, change_mute
from storage.notifications import NewNotification, add_notification
from storage.pairs import change_pair
from storage.personal import change_details
from storage.redis_client import Redis
from storage.users import NewUser, create_user
from storage.vault import Vault

_TABLES: Final = """
SELECT c.oid::regclass::text AS name
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY 1
"""
_TRACES: Final = """
SELECT count(*) AS found FROM {table} AS r WHERE r::text LIKE ANY ($1::text[])
"""
VAULT: Final = Vault(LocalMasterKeys({1: bytes(32)}))
TRIES: Final = 100
PAUSE_S: Final = 0.1
_FOLLOW: Final = follow(target_is_private=False)
_ASK: Final = follow(target_is_private=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Traced:
    """Somebody who leaves traces; `canary` stands in every field that holds a text."""

    id: int
    name: str
    canary: str
    phone: str = ""

    @property
    def marks(self) -> tuple[str, ...]:
        """Give what nothing may hold any more."""
        return (self.canary, self.phone) if self.phone else (self.canary,)


async def make_traced(database: Database, cell: int) -> Traced:
    """Make somebody with a canary in every personal field."""
    canary = f"canary{secrets.token_hex(6)}"
    new = NewUser(
        canary,
        display_name=f"{canary} name",
        bio=f"{canary} bio",
        avatar_url=f"https://{canary}.example/avatar",
        pronouns=f"{canary} pronouns",
        location=f"{canary} location",
        links=(ProfileLink(f"{canary} link", f"https://{canary}.example"),),
    )
    user_id = await create_user(database, new, cell=cell, now=dt.datetime.now(dt.UTC))
    return Traced(user_id, canary, canary, f"+49{random.randrange(10**12):012}")


async def leave_traces(database: Database, person: Traced, others: Sequence[int]) -> None:
    """Relate a person to five others in every way there is."""
    mutual, fan, asker, blocked, muted = others
    for one, other, transition in (
        (person.id, mutual, _FOLLOW),
        (mutual, person.id, _FOLLOW),
        (fan, person.id, _FOLLOW),
        (asker, person.id, _ASK),
        (person.id, asker, _ASK),
        (person.id, blocked, block(until=None)),
    ):
        await _act(database, one, other, transition)
    await change_mute(database, person.id, muted, Mute(None))
    await change_mute(database, mutual, person.id, Mute(None))
    for owner, actor in ((mutual, person.id), (person.id, fan)):
        now = dt.datetime.now(dt.UTC)
        new = NewNotification(owner, uuid.uuid4(), NotificationKind.FOLLOW, actor, now)
        assert await add_notification(database, new) is not None
    await _leave_rows(database, person)
    await _leave_what_is_encrypted(database, person)


async def _leave_what_is_encrypted(database: Database, person: Traced) -> None:
    """Give a phone number, a date of birth and an address, agree to something, and have an archive of it all."""
    now, details = (
        dt.datetime.now(dt.UTC),
        PersonalDetails(person.phone, dt.date(1990, 2, 28), f"{person.canary}@example.org"),
    )

    async def give(connection: Connection) -> None:
        await change_details(connection, VAULT, person.id, lambda _before: details)

    await database.shards.home(person.id).transact(give)
    await add_consent(database, person.id, Decision(ConsentPurpose.MARKETING, True, person.canary), now)
    export = await request_export(database, person.id, now)
    assert export is not None
    await finish_export(database, VAULT, export, " ".join(person.marks).encode(), now)


_AT_HOME: Final = (
    """
    INSERT INTO notification_preferences (owner_id, followed, strangers, new_accounts, new_account_days, version)
    VALUES ($1, 1, 2, 3, 30, 1)
    """,
    "INSERT INTO notification_trims (owner_id) VALUES ($1)",
    "INSERT INTO user_count_slots (user_id, slot, followers) VALUES ($1, 1, 0)",
    "INSERT INTO request_resolutions (owner_id, accept) VALUES ($1, true)",
    "INSERT INTO inbox (owner_id, consumer, event_id) VALUES ($1, 'proof', gen_random_uuid())",
    "INSERT INTO username_changes (user_id, changed_at) VALUES ($1, now())",
)
_MARKED_AT_HOME: Final = (
    "INSERT INTO revocations (user_id, kind, name, revoked_at, ends_at) VALUES ($1, 2, $2, now(), now())",
    """
    INSERT INTO repeats (user_id, name, asked, runner, runs_until, answer, expires_at)
    VALUES ($1, '\\x00', '\\x00', gen_random_uuid(), now(), convert_to($2, 'UTF8'), now())
    """,
    "INSERT INTO repeat_effects (user_id, name, field, expires_at) VALUES ($1, convert_to($2, 'UTF8'), 1, now())",
)
_IMPORTED: Final = "INSERT INTO imported_users (old_id, source, user_id, run, line) VALUES ($2, 'old', $1, 'run', 1)"
_RELEASED: Final = """
INSERT INTO released_names (name_digest, user_id, held_until) VALUES (uuid_send(gen_random_uuid()), $1, now())
"""


async def _leave_rows(database: Database, person: Traced) -> None:
    """Leave a row in each table to which it takes more than there is here to get one."""
    home = database.shards.home(person.id)
    for statement in _AT_HOME:
        await home.fetch(statement, person.id)
    for statement in _MARKED_AT_HOME:
        await home.fetch(statement, person.id, person.canary)
    await database.shards.directory.fetch(_IMPORTED, person.id, person.canary)
    await database.shards.directory.fetch(_RELEASED, person.id)


async def _act(database: Database, one: int, other: int, transition: Transition) -> None:
    assert await change_pair(database, one, other, transition, dt.datetime.now(dt.UTC)) is not None


async def fetch_tables(cell: Cell) -> list[str]:
    """Fetch the names of all tables, parts of tables left out."""
    return [row["name"] for row in await cell.fetch(_TABLES)]


async def find_traces(database: Database, people: Sequence[Traced]) -> dict[str, int]:
    """Count the rows of every table of every cell that hold a canary, or an id where no table may keep one."""
    marks = [mark for person in people for mark in person.marks]
    canaries = [f"%{form}%" for mark in marks for form in (mark, mark.encode().hex())]
    ids = [f"%{person.id}%" for person in people]
    found: dict[str, int] = {}
    for cell in database.shards.cells:
        for table in await fetch_tables(cell):
            wanted = canaries if table in KEPT or table == "users" else canaries + ids
            rows = await cell.fetch(_TRACES.format(table=table), wanted)
            found[table] = found.get(table, 0) + rows[0]["found"]
    return {table: rows for table, rows in found.items() if rows}


async def find_in_redis(redis: Redis, people: Sequence[Traced]) -> list[str]:
    """Name the keys of Redis that hold a canary, or that are a person's own."""
    marks = [mark.encode() for person in people for mark in (*person.marks, f"{{{person.id}}}")]

    async def work(client: Any) -> list[str]:
        found = []
        async for key in client.scan_iter(count=1000):
            value = await client.dump(key) or b""
            if any(mark in key or mark in value for mark in marks):
                found.append(key.decode())
        return found

    # With the client itself: looking through everything takes longer than a call of the service may. It waits no longer
    # for an answer than the service does, though, and a busy machine is asked again.
    for _ in range(TRIES):
        with contextlib.suppress(RedisError):
            return await work(redis.client)
        await asyncio.sleep(PAUSE_S)
    return await work(redis.client)
