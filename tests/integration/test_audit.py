"""The audit log: every deed has its row, nobody changes one unseen, and its actor reads the own trail."""

import asyncio
import dataclasses
import datetime as dt
import itertools
import os
import random
import re
import secrets
import sys
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest
from msgspec import structs

from domain import acting
from domain.digests import Digests
from domain.events import EventType
from domain.ids import OpaqueIds
from domain.pages import PageRequest
from domain.transitions import block, follow
from domain.users import UserState
from embedded import Addresses
from events.upkeep import Pace, Upkeep
from resolvers.audit import fetch_trail
from resolvers.visibility import meet_one
from storage.audit import Sealer, fetch_lag, seal_new, verify
from storage.audit.__main__ import report
from storage.cells import Cell, open_cells
from storage.database import Database
from storage.departures import depart
from storage.migrate import migrate
from storage.mutes import Mute, change_mute
from storage.pairs import change_pair
from storage.users import NewUser, change_user, create_user
from tests.conftest import KEY, MakePerson, Person

BYTES = 100 if os.environ.get("PROVE") == "long" else 3
FOLLOW = follow(target_is_private=False)
BLOCK = block(until=None)
SEALER = Sealer(secrets.token_bytes(32))


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class Own:
    """A database of a test's own, which it may spoil."""

    dsn: str
    database: Database
    people: list[int]

    @property
    def cell(self) -> Cell:
        return self.database.shards.cells[0]

    async def spoil(self, *statements: str) -> None:
        """Do what only whoever owns the tables can: change what is append-only."""
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute("SET session_replication_role = replica")
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def act(self, times: int) -> None:
        for turn in range(times):
            for other_id in self.people[1:]:
                deed = FOLLOW if turn % 2 == 0 else BLOCK
                await change_pair(self.database, self.people[0], other_id, deed, now())


@pytest.fixture
async def own(addresses: Addresses) -> AsyncIterator[Own]:
    base, name = addresses.postgres_dsns[0], f"audit_{uuid.uuid4().hex}"
    owner = await asyncpg.connect(base)
    await owner.execute(f'CREATE DATABASE "{name}"')
    dsn = base.replace("/kith_0", f"/{name}")
    try:
        await migrate([dsn], lambda _line: None)
        async with open_cells([dsn]) as shards:
            database = Database(shards, OpaqueIds(KEY), digests=Digests(KEY))
            people = [await create_user(database, NewUser(f"own{n}"), cell=0, now=now()) for n in range(6)]
            yield Own(dsn, database, people)
    finally:
        await owner.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await owner.close()


async def rows_of(database: Database, person: Person) -> list[asyncpg.Record]:
    statement = "SELECT * FROM audit_logs WHERE actor_id = $1 ORDER BY id"
    return await database.shards.home(person.id).fetch(statement, person.id)


async def test_a_row_says_in_which_session_and_what_was_there_before_and_after(
    database: Database, make_person: MakePerson
) -> None:
    one, other = await make_person(), await make_person()
    with acting.in_session("a session"):
        await change_pair(database, one.id, other.id, FOLLOW, now())
        await change_mute(database, one.id, other.id, Mute(None))
    await change_user(database, one.id, lambda user: structs.replace(user, bio="new"), event=EventType.USER_UPDATED)
    followed, muted, updated = await rows_of(database, one)
    assert (followed["session"], muted["session"], updated["session"]) == ("a session", "a session", None)
    digests = database.digests
    assert (muted["before"], muted["after"]) == (None, digests.of(Mute(None)))
    assert updated["before"] != updated["after"]
    assert all(len(row["after"]) == 16 for row in (followed, muted, updated))


def test_digests_are_of_a_key_and_of_all_that_a_record_says() -> None:
    one = Digests(KEY)
    assert one.of({"a": {3, 1, 2}}) == one.of({"a": {2, 3, 1}})
    assert one.of({"a": 1}) != one.of({"a": 2})
    assert one.of({"a": 1}) != Digests(bytes(32)).of({"a": 1})
    assert one.of(None) is None


async def test_what_was_sealed_holds_and_writers_go_on_meanwhile(own: Own) -> None:
    await own.act(2)
    assert await seal_new(own.cell, SEALER, limit=4) == 4
    assert await fetch_lag(own.cell) > 0
    assert await seal_new(own.cell, SEALER) == 6
    assert (await seal_new(own.cell, SEALER), await fetch_lag(own.cell)) == (0, 0)
    finding = await verify(own.cell, SEALER)
    assert (finding.rows, finding.fault) == (10, None)
    assert finding.newest is not None
    assert finding.newest.number == 2


async def test_rows_of_a_transaction_that_goes_on_are_sealed_once_it_is_over(own: Own) -> None:
    late = await asyncpg.connect(own.dsn)
    try:
        async with late.transaction():
            await late.execute("INSERT INTO audit_logs (actor_id, action) VALUES ($1, 'late')", own.people[0])
            await own.act(1)
            assert await seal_new(own.cell, SEALER) == 0
        assert await seal_new(own.cell, SEALER) == 6
    finally:
        await late.close()


CHANGES = (
    "action = action || ' '",
    "at = at + interval '1 microsecond'",
    "target_id = target_id # 1",
    "version = version + 1",
    "session = 'x'",
    "after = set_byte(after, 3, get_byte(after, 3) # 1)",
    "before = set_byte(before, 15, get_byte(before, 15) # 128)",
)
SPOIL = "UPDATE audit_logs SET {} WHERE id = 7"


async def test_one_row_that_is_changed_is_named_whatever_is_changed_in_it(own: Own) -> None:
    await own.act(2)
    await seal_new(own.cell, SEALER, limit=4)
    await seal_new(own.cell, SEALER)
    await own.spoil("CREATE TABLE kept AS SELECT * FROM audit_logs WHERE id = 7")
    for change in CHANGES:
        await own.spoil(SPOIL.format(change))
        finding = await verify(own.cell, SEALER)
        assert finding.fault is not None, change
        assert finding.fault.startswith(f"row 7 of actor {own.people[0]} was changed (sealed by seal 2")
        assert finding.rows == 4
        assert "cell 3: WRONG: row 7" in report(3, finding)[-1]
        await own.spoil(
            "DELETE FROM audit_logs WHERE id = 7",
            "INSERT INTO audit_logs OVERRIDING SYSTEM VALUE SELECT * FROM kept",
        )
    assert (await verify(own.cell, SEALER)).fault is None


def one_byte(chance: random.Random) -> str:
    """Give a statement that changes one byte of one row or seal, by chance."""
    bit, byte = 1 << chance.randrange(8), chance.randrange(16)
    of_row = {
        "actor_id": f"actor_id # {bit << 8 * chance.randrange(7)}",
        "target_id": f"target_id # {bit << 8 * chance.randrange(7)}",
        "version": f"version # {bit << 8 * chance.randrange(7)}",
        "at": f"at + interval '{bit << 8 * chance.randrange(4)} microseconds'",
        "action": f"overlay(action PLACING '!' FROM {chance.randint(1, 12)} FOR 1)",
        "session": f"overlay(session PLACING '!' FROM {chance.randint(1, 9)} FOR 1)",
        "before": f"set_byte(before, {byte}, get_byte(before, {byte}) # {bit})",
        "after": f"set_byte(after, {byte}, get_byte(after, {byte}) # {bit})",
    }
    of_seal = {
        name: f"set_byte({name}, {byte}, get_byte({name}, {byte}) # {bit})" for name in ("leaves", "root", "signature")
    } | {"row_id": f"row_id # {bit}"}
    table, key, columns = chance.choice([("audit_logs", "id", of_row)] * 3 + [("audit_seals", "number", of_seal)])
    column, row = chance.choice(sorted(columns)), chance.randint(1, ROWS[table])
    return CHANGE.format(table=table, column=column, value=columns[column], key=key, row=row)


ROWS = {"audit_logs": 10, "audit_seals": 3}
CHANGE = "UPDATE {table} SET {column} = {value} WHERE {key} = {row}"
KEEP = "CREATE TABLE kept_{0} AS SELECT * FROM {0}"
BRING_BACK = ("DELETE FROM {0}", "INSERT INTO {0} OVERRIDING SYSTEM VALUE SELECT * FROM kept_{0}")


async def test_one_byte_that_whoever_owns_the_tables_changes_is_always_found(own: Own) -> None:
    seed, found = random.randrange(1 << 32), 0
    chance = random.Random(seed)
    with acting.in_session("a session"):
        await own.act(2)
    for _ in range(ROWS["audit_seals"]):
        await seal_new(own.cell, SEALER, limit=4)
    back = [statement.format(table) for table in ROWS for statement in BRING_BACK]
    await own.spoil(*map(KEEP.format, ROWS))
    for _ in range(BYTES):
        change = one_byte(chance)
        await own.spoil(change)
        assert (await verify(own.cell, SEALER)).fault is not None, f"{change}, from seed {seed}"
        await own.spoil(*back)
        found += 1
    assert (await verify(own.cell, SEALER)).fault is None
    sys.stdout.write(f"\n{found} of {BYTES} changes of one byte found, from seed {seed}\n")


async def test_a_row_that_is_missing_or_added_is_named(own: Own) -> None:
    await own.act(2)
    await seal_new(own.cell, SEALER)
    await own.spoil("CREATE TABLE kept AS SELECT * FROM audit_logs WHERE id = 5", "DELETE FROM audit_logs WHERE id = 5")
    assert str((await verify(own.cell, SEALER)).fault).startswith(f"row 6 of actor {own.people[0]} stands where")
    await own.spoil(
        "INSERT INTO audit_logs OVERRIDING SYSTEM VALUE SELECT * FROM kept",
        "INSERT INTO audit_logs (actor_id, action, transaction_id) "
        "SELECT actor_id, 'forged', transaction_id FROM audit_logs WHERE id = 5",
    )
    assert "was added" in str((await verify(own.cell, SEALER)).fault)
    await own.spoil("DELETE FROM audit_logs WHERE action = 'forged'", "DELETE FROM audit_logs WHERE id = 10")
    assert str((await verify(own.cell, SEALER)).fault).startswith("the last rows are missing")


async def test_seals_cannot_be_forged_left_out_or_cut_off(own: Own) -> None:
    await own.act(2)
    for _ in range(3):
        await seal_new(own.cell, SEALER, limit=4)
    good = await verify(own.cell, SEALER)
    assert good.newest is not None
    assert (await verify(own.cell, Sealer(bytes(32)))).fault is not None
    known = good.newest.number, good.newest.root
    assert (await verify(own.cell, SEALER, known=known)).fault is None
    assert (await verify(own.cell, SEALER, known=(known[0], bytes(32)))).fault is not None
    await own.spoil("CREATE TABLE cut AS SELECT * FROM audit_seals", "DELETE FROM audit_seals WHERE number = 3")
    assert (await verify(own.cell, SEALER)).fault is None
    assert "not there any more" in str((await verify(own.cell, SEALER, known=known)).fault)
    await own.spoil(
        "INSERT INTO audit_seals SELECT * FROM cut WHERE number = 3", "DELETE FROM audit_seals WHERE number = 2"
    )
    assert "seal 3 is not what was sealed" in str((await verify(own.cell, SEALER)).fault)


async def test_of_many_who_seal_at_once_each_row_is_sealed_once(own: Own) -> None:
    await own.act(1)
    sealed = await asyncio.gather(*(seal_new(own.cell, SEALER) for _ in range(6)))
    assert sum(sealed) == 5
    assert (await verify(own.cell, SEALER)).rows == 5


@pytest.fixture
async def service_dsn(own: Own) -> AsyncIterator[str]:
    """Give the address by which a process that serves reaches the database of a test's own."""
    name = f"web_{uuid.uuid4().hex}"
    owner = await asyncpg.connect(own.dsn)
    await owner.execute(f"CREATE ROLE {name} LOGIN IN ROLE kith_service")
    try:
        yield re.sub("//[^@/]*@", f"//{name}@", own.dsn)
    finally:
        await owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", name)
        await owner.execute(f"DROP ROLE {name}")
        await owner.close()


async def test_neither_the_service_nor_the_owner_changes_what_is_append_only(own: Own, service_dsn: str) -> None:
    await own.act(1)
    await seal_new(own.cell, SEALER)
    for dsn, refused in ((service_dsn, asyncpg.InsufficientPrivilegeError), (own.dsn, asyncpg.RaiseError)):
        connection = await asyncpg.connect(dsn)
        try:
            for table, statement in itertools.product(
                ("audit_logs", "audit_seals"), ("UPDATE {} SET actor_id = 1", "DELETE FROM {}", "TRUNCATE {}")
            ):
                with pytest.raises(refused):
                    await connection.execute(statement.format(table))
        finally:
            await connection.close()


async def test_the_role_of_the_service_may_do_all_that_the_service_does(own: Own, service_dsn: str) -> None:
    async with open_cells([service_dsn]) as shards:
        database = dataclasses.replace(own.database, shards=shards)
        cell = shards.cells[0]
        added = await create_user(database, NewUser("added"), cell=0, now=now())
        await change_pair(database, own.people[0], added, FOLLOW, now())
        await change_mute(database, own.people[0], added, Mute(None))
        await Upkeep(database, cell, Pace(), SEALER).go_over()
        await cell.fetch("SELECT make_outbox_days(2), drop_outbox_days('1 day'), drop_outbox_strays('1 day')")
        [row] = await cell.fetch("SELECT count(*) AS facts FROM outbox")
        assert row["facts"] == 9
        assert (await verify(cell, SEALER)).rows == 2


async def trail_of(person: Person, size: int, cursor: str | None = None, *, backward: bool = False) -> list[str]:
    context = person.context
    owner = await meet_one(context, person.id)
    assert owner is not None
    page = await fetch_trail(context, owner, PageRequest(size, cursor, backward))
    return [f"{node.action} {node.target.user.id if node.target else ''}" for node in page.nodes]


async def test_people_read_what_they_did_but_to_whom_they_cannot_meet(
    database: Database, make_person: MakePerson
) -> None:
    me, friend, foe, gone, blocked = [await make_person() for _ in range(5)]
    for other in (friend, foe, gone, blocked):
        await change_pair(database, me.id, other.id, FOLLOW, now())
    await change_pair(database, me.id, blocked.id, BLOCK, now())
    followed = [f"follow.created {other.id}" for other in (blocked, gone, foe, friend)]
    assert await trail_of(me, 10) == [f"user.blocked {blocked.id}", *followed]
    await change_pair(database, foe.id, me.id, BLOCK, now())
    await depart(database, gone.id, UserState.DELETED, event=EventType.USER_DELETED)
    await change_pair(database, blocked.id, me.id, BLOCK, now())
    mine = [f"user.blocked {blocked.id}", f"follow.created {blocked.id}", f"follow.created {friend.id}"]
    assert await trail_of(me, 10) == mine
    assert await trail_of(me, 3) == mine
    assert await trail_of(me, 2) == mine[:2]
    assert await trail_of(me, 2, backward=True) == mine[1:]
    assert await trail_of(friend, 10) == []


async def test_a_page_of_the_trail_goes_on_where_it_stopped(database: Database, make_person: MakePerson) -> None:
    me = await make_person()
    for _ in range(3):
        await change_pair(database, me.id, (await make_person()).id, FOLLOW, now())
    context = me.context
    owner = await meet_one(context, me.id)
    assert owner is not None
    first = await fetch_trail(context, owner, PageRequest(2, None, backward=False))
    assert (len(first.edges), first.page_info.has_next_page) == (2, True)
    rest = await fetch_trail(context, owner, PageRequest(2, first.page_info.end_cursor, backward=False))
    assert (len(rest.edges), rest.page_info.has_next_page) == (1, False)
    assert {edge.cursor for edge in first.edges}.isdisjoint(edge.cursor for edge in rest.edges)
