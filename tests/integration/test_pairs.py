"""The pair under races: one lock decides, both rows agree, counters are exact. On one cell and on two."""

import asyncio
import datetime as dt
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest

from domain.errors import Overloaded
from domain.events import EventType
from domain.relationships import FollowState, Relationship
from domain.transitions import Change, block, follow, unfollow
from storage import pairs as module
from storage.cells import Cell, Connection
from storage.database import Database
from storage.pairs import apply_side, change_pair
from storage.relationships import fetch_relationships
from storage.tallies import fetch_tallies
from tests.conftest import MakePerson, Person, eventually

ROUNDS = 30


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


async def sides(database: Database, one: Person, other: Person) -> tuple[Relationship, Relationship]:
    ours = await fetch_relationships(database, one.id, [other.id])
    theirs = await fetch_relationships(database, other.id, [one.id])
    return ours.get(other.id, Relationship()), theirs.get(one.id, Relationship())


async def counts(database: Database, person: Person) -> tuple[int, int]:
    figures = (await fetch_tallies(database, [person.id]))[person.id].counts
    return figures.followers, figures.following


async def test_follow_racing_block_never_leaves_both(database: Database, make_person: MakePerson) -> None:
    for _ in range(ROUNDS):
        ana, bo = await make_person(), await make_person()
        await asyncio.gather(
            change_pair(database, ana.id, bo.id, follow(target_is_private=False), now()),
            change_pair(database, bo.id, ana.id, block(until=None), now()),
            change_pair(database, bo.id, ana.id, follow(target_is_private=False), now()),
        )
        ours, theirs = await sides(database, ana, bo)
        assert ours == theirs.mirrored()
        assert ours.blocked_by
        assert (ours.follows, ours.followed_by) == (FollowState.NONE, FollowState.NONE)
        assert await counts(database, ana) == await counts(database, bo) == (0, 0)


async def test_without_the_lock_the_race_goes_wrong(
    database: Database, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    """See the guard fail once: the same race decided on what was read before, as a plain check-then-write does."""
    if len(database.shards.cells) > 1:
        pytest.skip("one cell shows it")

    async def read_only(connection: object, owner_id: int, other_id: int) -> Relationship:
        del connection
        found = await fetch_relationships(database, owner_id, [other_id])
        await asyncio.sleep(0.002)
        return found.get(other_id, Relationship())

    monkeypatch.setattr(module, "_lock", read_only)
    wrong = 0
    for _ in range(ROUNDS):
        ana, bo = await make_person(), await make_person()
        await asyncio.gather(
            change_pair(database, ana.id, bo.id, follow(target_is_private=False), now()),
            change_pair(database, ana.id, bo.id, follow(target_is_private=False), now()),
            change_pair(database, bo.id, ana.id, block(until=None), now()),
        )
        ours, theirs = await sides(database, ana, bo)
        wrong += (await counts(database, bo))[0] != int(theirs.followed_by is FollowState.ACTIVE) or not ours.blocked_by
    assert wrong > 0


async def test_a_change_that_changes_nothing_writes_nothing(database: Database, make_person: MakePerson) -> None:
    ana, bo = await make_person(), await make_person()
    change = await change_pair(database, ana.id, bo.id, unfollow(), now())
    assert change is not None
    assert change.events == ()
    for cell in database.shards.cells:
        rows = await cell.fetch("SELECT FROM relationships WHERE owner_id = ANY($1::bigint[])", [ana.id, bo.id])
        assert rows == []


async def test_a_crowd_following_one_person_is_counted_exactly(database: Database, make_person: MakePerson) -> None:
    star = await make_person()
    crowd = [await make_person() for _ in range(16)]
    await asyncio.gather(
        *(change_pair(database, fan.id, star.id, follow(target_is_private=False), now()) for fan in crowd * 2)
    )
    await asyncio.gather(*(change_pair(database, fan.id, star.id, unfollow(), now()) for fan in crowd[:6]))
    assert await counts(database, star) == (10, 0)


async def test_a_ring_of_people_following_each_other_at_once_does_not_lock_up(
    database: Database, make_person: MakePerson
) -> None:
    ring = [await make_person() for _ in range(8)]
    for _ in range(5):
        pairs = [(ring[i], ring[(i + step) % len(ring)]) for i in range(len(ring)) for step in (1, 2, 3)]
        transition = follow(target_is_private=False)
        await asyncio.gather(*(change_pair(database, a.id, b.id, transition, now()) for a, b in pairs))
        await asyncio.gather(*(change_pair(database, a.id, b.id, unfollow(), now()) for a, b in pairs))
    assert {await counts(database, person) for person in ring} == {(0, 0)}


async def test_an_old_or_repeated_side_is_not_applied(database: Database, make_person: MakePerson) -> None:
    low, high = sorted([await make_person(), await make_person()], key=lambda person: person.id)
    change = await change_pair(database, low.id, high.id, follow(target_is_private=False), now())
    assert change is not None
    side = change.after.mirrored()
    assert not await apply_side(database, high.id, low.id, side)
    assert not await apply_side(database, high.id, low.id, msgspec.structs.replace(side, version=0))
    assert await counts(database, high) == (1, 0)


async def test_a_change_at_once_that_is_cut_off_says_so_and_may_simply_be_repeated(
    database: Database, make_person: MakePerson
) -> None:
    ana, bo = await make_person(cell=0), await make_person(cell=0)
    cell, held, let_go = database.shards.directory, asyncio.Event(), asyncio.Event()

    async def hold(connection: Connection) -> None:
        await module._lock(connection, *sorted((ana.id, bo.id)))
        held.set()
        await let_go.wait()

    def act() -> Coroutine[Any, Any, Change | None]:
        transition = follow(target_is_private=False)
        return change_pair(database, ana.id, bo.id, transition, now(), known=Relationship())

    holding = asyncio.create_task(cell.transact(hold))
    await held.wait()
    changing = asyncio.create_task(act())
    try:
        await eventually(lambda: cut_off(cell, changing))
        with pytest.raises(Overloaded):
            await changing
    finally:
        let_go.set()
        await holding
    assert (await sides(database, ana, bo))[0].follows is FollowState.NONE
    change = await act()
    assert change is not None
    assert [event.type for event in change.events] == [EventType.FOLLOW_CREATED]
    assert (await counts(database, ana), await counts(database, bo)) == ((0, 1), (1, 0))


async def cut_off(cell: Cell, changing: asyncio.Task[Any]) -> bool:
    """End the connection on which a change waits for a lock; True where there was one, or nothing waits any more."""
    ended = await cell.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'WITH decided%'"
    )
    return bool(ended) or changing.done()
