"""The purge: nothing is left in any store, whatever interrupts it; and the certificate that says so."""

import datetime as dt
import os
import random
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from domain.certificates import CertificateSigner, NotGenuine
from domain.departures import GRACE
from domain.errors import KithError
from domain.ids import NodeType
from domain.relationships import ListKind
from domain.users import UserState
from events.purging import Purger, Turns
from loaders.kinds import BLOCKS, HEADS, SIDES, TALLIES, USERS, SideKey
from resolvers import people
from storage.cells import Cell
from storage.counters import sample
from storage.database import Database
from storage.deletions import delete_account, restore_account
from storage.departures import settle_follows
from storage.erasures import BY_THE_PURGE, KEPT, STORES
from storage.generations import fetch_generation
from storage.names import UsernameTaken
from storage.purges import OWN, Purges, acknowledge, fetch_certificates_of
from storage.purges.__main__ import check, reapply
from storage.redis_client import Redis
from storage.redis_erasure import REMEMBERED, remembered_keys
from storage.users import NewUser, create_user, fetch_state
from tests.conftest import MakePerson
from tests.proof.erasure.traces import Traced, fetch_tables, find_in_redis, find_traces, leave_traces, make_traced

LONG = os.environ.get("PROVE") == "long"
SIGNER = CertificateSigner(secrets.token_bytes(32))
LONG_AGO = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
"""Before everybody else whom a test has left behind: those who have waited longest come first."""


class Killed(KithError):
    """The worker dies here."""


@pytest.fixture
def purges(database: Database, redis: Redis) -> Purges:
    return Purges(database, redis, SIGNER)


def later() -> dt.datetime:
    return dt.datetime.now(dt.UTC) + GRACE + dt.timedelta(days=1)


async def purge(purges: Purges, user_id: int) -> None:
    """Purge one person as the worker does, up to the acknowledgement."""
    assert await purges.begin(user_id, later())
    await purges.erase(user_id, later())
    await acknowledge(purges.database, user_id, OWN)


async def traced_and_deleted(database: Database, make_person: MakePerson, number: int) -> tuple[Traced, list[int]]:
    person = await make_traced(database, number % len(database.shards.cells))
    others = [(await make_person()).id for _ in range(5)]
    await leave_traces(database, person, others)
    assert await delete_account(database, person.id, dt.datetime.now(dt.UTC))
    return person, others


async def test_every_table_is_erased_or_kept_for_a_reason(database: Database) -> None:
    decided = [*(table for store in STORES for table in store.tables), *BY_THE_PURGE, *KEPT]
    for cell in database.shards.cells:
        assert sorted(decided) == await fetch_tables(cell), "decide about the table in storage/erasures.py"


def test_every_kind_of_fact_about_one_person_is_erased_in_redis() -> None:
    kinds = [USERS.key(3, 7), TALLIES.key(3, 7), *(HEADS[kind].key(3, 7) for kind in HEADS)]
    assert sorted(remembered_keys(3, 7)) == sorted(
        [*kinds, *(kind.key(3, SideKey(7, b"")) for kind in (SIDES, BLOCKS))]
    )
    assert {ListKind.FOLLOWERS.value, ListKind.FOLLOWING.value} <= set(REMEMBERED)


async def test_a_purge_leaves_nothing_but_a_tombstone_and_a_certificate(
    database: Database, redis: Redis, purges: Purges, make_person: MakePerson
) -> None:
    person, others = await traced_and_deleted(database, make_person, 0)
    onlooker = await make_person()
    opaque = database.ids.encode(NodeType.USER, person.id)
    assert set(await find_traces(database, [person])) >= {"users", *(name for store in STORES for name in store.tables)}
    await purge(purges, person.id)
    assert await people.fetch_by_ids(onlooker.context, [opaque]) == [None]
    document = await purges.certify(person.id, later())
    assert document is not None
    await purges.forget(person.id)
    assert await find_traces(database, [person]) == {}
    assert await fetch_state(database, person.id) is UserState.PURGED
    left = await find_in_redis(redis, [person])
    assert [key for key in left if not key.startswith("told:")] == [], "that a pair was told of is kept for minutes"
    certificate = SIGNER.read(document)
    assert certificate.user_id == opaque
    rows = {store.store: store.rows for store in certificate.stores}
    assert rows["relations"] >= 2 * len(others)
    assert (rows["profile"], rows["name"], rows["counters"], rows["preferences"]) == (1, 1, 1, 1)
    assert (rows["personal details"], rows["ledger of consents"], rows["export and its archive"]) == (1, 1, 1)
    assert person.canary not in document
    assert str(person.id) not in document
    for other in others:
        [figures] = await sample(database.shards.home(other), [other])
        assert figures.is_right
    with pytest.raises(UsernameTaken):
        await create_user(database, NewUser(person.name.upper()), cell=0, now=dt.datetime.now(dt.UTC))


async def test_what_a_former_generation_remembers_is_erased_as_well(
    database: Database, redis: Redis, purges: Purges, make_person: MakePerson
) -> None:
    person, _ = await traced_and_deleted(database, make_person, 0)
    generation = await fetch_generation(database.shards.home(person.id))
    former = remembered_keys(generation - 1, person.id)[0]
    await redis.client.set(former, person.canary, ex=600)
    assert former in await find_in_redis(redis, [person])
    await purge(purges, person.id)
    assert former not in await find_in_redis(redis, [person])
    assert await purges.certify(person.id, later()) is not None
    await purges.forget(person.id)


async def test_a_certificate_that_was_changed_is_not_genuine(
    database: Database, purges: Purges, make_person: MakePerson, tmp_path: Path
) -> None:
    person, _ = await traced_and_deleted(database, make_person, 1)
    await purge(purges, person.id)
    document = await purges.certify(person.id, later())
    assert document is not None
    said: list[str] = []
    assert await check(database, SIGNER, str(SIGNER.read(document).id), said.append) == 0
    assert "is genuine" in said[0]
    forged = tmp_path / "forged.json"
    forged.write_text(document.replace('"rows": 1', '"rows": 2', 1))
    assert await check(database, SIGNER, str(forged), said.append) == 1
    with pytest.raises(NotGenuine):
        CertificateSigner(bytes(32)).read(document)


async def test_nobody_is_purged_before_the_time_and_nobody_comes_back_once_it_has_begun(
    database: Database, purges: Purges, make_person: MakePerson
) -> None:
    early, back, late = [await make_person() for _ in range(3)]
    now = dt.datetime.now(dt.UTC)
    for person in (early, back, late):
        await delete_account(database, person.id, now)
    assert not await purges.begin(early.id, now + GRACE - dt.timedelta(seconds=1))
    assert await restore_account(database, back.id, now)
    assert not await purges.begin(back.id, later())
    assert await purges.begin(late.id, later())
    assert await restore_account(database, late.id, now) is None


async def test_the_certificate_waits_for_every_consumer(
    database: Database, redis: Redis, make_person: MakePerson, tmp_path: Path
) -> None:
    person = await make_person()
    await delete_account(database, person.id, dt.datetime.now(dt.UTC))
    slow = Purges(database, redis, SIGNER, (OWN, "search"))
    purger = Purger(slow, database.shards.home(person.id), clock=later, folder=tmp_path)
    await purger.take_turn()
    await acknowledge(database, person.id, OWN)
    await purger.take_turn()
    assert await fetch_certificates_of(database, person.id) == []
    await acknowledge(database, person.id, "search")
    await purger.take_turn()
    [document] = await fetch_certificates_of(database, person.id)
    assert SIGNER.read(document).acknowledged_by == (OWN, "search")
    assert (tmp_path / f"{SIGNER.read(document).id}.json").read_text() == document
    await database.shards.home(person.id).fetch("DELETE FROM leases WHERE name = 'purge'")


async def test_whom_a_restored_backup_brings_back_is_purged_again(
    database: Database, redis: Redis, make_person: MakePerson, tmp_path: Path
) -> None:
    person, _ = await traced_and_deleted(database, make_person, 0)
    home = database.shards.home(person.id)
    backup = await home.fetch("SELECT * FROM users WHERE id = $1", person.id)
    purges = Purges(database, redis, SIGNER)
    await purge(purges, person.id)
    document = await purges.certify(person.id, later())
    assert document is not None
    await purges.forget(person.id)
    (tmp_path / "one.json").write_text(document)
    (tmp_path / "forged.json").write_text(document.replace('"version": 1', '"version": 2'))
    await home.fetch("UPDATE users SET bio = $2, state = 1 WHERE id = $1", person.id, backup[0]["bio"])
    said: list[str] = []
    assert await reapply(database, SIGNER, tmp_path, said.append) == 1
    assert said[0].startswith("WRONG: forged.json")
    await purge(purges, person.id)
    assert await purges.certify(person.id, later()) is not None
    await purges.forget(person.id)
    assert await find_traces(database, [person]) == {}
    assert len(await fetch_certificates_of(database, person.id)) == 2


async def test_a_worker_that_dies_anywhere_leaves_nothing_that_the_next_does_not_end(
    database: Database, purges: Purges, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = random.randrange(1 << 32)
    sys.stdout.write(f"\npurges killed from seed {seed}\n")
    chance = random.Random(seed)
    for number in range(20 if LONG else 1):
        person, others = await traced_and_deleted(database, make_person, number)
        assert await purges.begin(person.id, later())
        kills = 0
        while not await finishes(purges, person.id, chance.randint(10, 150), monkeypatch):
            kills += 1
            assert kills < 200
        await acknowledge(database, person.id, OWN)
        assert await purges.certify(person.id, later()) is not None
        await purges.forget(person.id)
        assert await find_traces(database, [person]) == {}
        await expect_right(database, others)


async def finishes(purges: Purges, user_id: int, statements: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Erase, and die after some statements; a statement has its effect or has not, by chance of the number."""
    fetch, left = Cell.fetch, statements

    async def dying(cell: Cell, statement: str, *arguments: object, **options: object) -> object:
        nonlocal left
        left -= 1
        if left == 0 and statements % 2:
            raise Killed
        rows = await fetch(cell, statement, *arguments, **options)  # type: ignore[arg-type] # as the caller gives them
        if left == 0:
            raise Killed
        return rows

    with monkeypatch.context() as patched:
        patched.setattr(Cell, "fetch", dying)
        try:
            await purges.erase(user_id, later())
        except Killed:
            return False
    return True


async def expect_right(database: Database, user_ids: Sequence[int]) -> None:
    for user_id in user_ids:
        [figures] = await sample(database.shards.home(user_id), [user_id])
        assert figures.is_right
        assert await settle_follows(database, user_id, dt.datetime.now(dt.UTC), limit=10) == 0


async def test_what_comes_late_is_found_before_the_certificate(
    database: Database, purges: Purges, make_person: MakePerson
) -> None:
    person = await make_person()
    await delete_account(database, person.id, dt.datetime.now(dt.UTC))
    await purge(purges, person.id)
    late = "INSERT INTO relationships (owner_id, other_id, version) VALUES ($1, $2, 1)"
    await database.shards.home(person.id).fetch(late, person.id, 1)
    assert await purges.certify(person.id, later()) is None
    assert await purges.certify(person.id, later()) is not None


async def test_a_purge_that_fails_for_one_person_goes_on_with_the_others(
    database: Database, redis: Redis, make_person: MakePerson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned, other = await make_person(), await make_person()
    for person in (poisoned, other):
        await delete_account(database, person.id, LONG_AGO)
    erase = Purges.erase

    async def fails(purges: Purges, user_id: int, now: dt.datetime) -> None:
        if user_id == poisoned.id:
            raise ValueError(poisoned.name)
        await erase(purges, user_id, now)

    monkeypatch.setattr(Purges, "erase", fails)
    for cell in database.shards.cells:
        purger = Purger(Purges(database, redis, SIGNER), cell, folder=tmp_path, turns=Turns(people=2))
        await purger.take_turn()
        assert set(purger._one_by_one.put_off) <= {poisoned.id}
    assert await fetch_state(database, other.id) is UserState.PURGED
    assert await fetch_state(database, poisoned.id) is UserState.DELETED
    monkeypatch.setattr(Purges, "erase", erase)
    await Purger(Purges(database, redis, SIGNER), database.shards.home(poisoned.id), turns=Turns(people=1)).take_turn()
    assert await fetch_state(database, poisoned.id) is UserState.PURGED
