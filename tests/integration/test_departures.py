"""Departing: hidden at once, follows archived and withdrawn, whatever interrupts it."""

import datetime as dt

import pytest

from domain.events import EventType
from domain.users import UserState
from events.upkeep import Pace, Upkeep
from resolvers import follows, people
from storage import departures
from storage.archives import fetch_archived
from storage.database import Database
from storage.departures import depart, fetch_departing, withdraw_follows
from tests.conftest import MakePerson, Person


async def figures(viewer: Person, person: Person) -> tuple[int, int]:
    [found] = await people.fetch_by_ids(viewer.context, [person.opaque_id])
    assert found is not None
    [counts] = await people.fetch_counts(viewer.context, [found])
    assert counts is not None
    return counts.followers, counts.following


async def test_whoever_goes_is_hidden_and_counted_nowhere(database: Database, make_person: MakePerson) -> None:
    ana, bo, cy = await make_person(), await make_person(), await make_person()
    for one, other in ((ana, bo), (bo, ana), (bo, cy), (cy, ana)):
        await follows.follow(one.context, other.opaque_id)
    assert await depart(database, bo.id, UserState.DELETED, event=EventType.USER_DELETED) is not None
    assert await people.fetch_by_ids(ana.context, [bo.opaque_id]) == [None]
    assert await figures(ana, ana) == (1, 0)
    assert await figures(ana, cy) == (0, 1)
    archived = [row for cell in database.shards.cells for row in await fetch_archived(cell, bo.id, 10)]
    assert {row.other_id for row in archived} == {ana.id, cy.id}
    assert await depart(database, bo.id, UserState.DELETED, event=EventType.USER_DELETED) is None


async def test_a_departure_that_was_interrupted_is_gone_on_with(
    database: Database, make_person: MakePerson, monkeypatch: pytest.MonkeyPatch
) -> None:
    star = await make_person()
    fans = [await make_person() for _ in range(5)]
    for fan in fans:
        await follows.follow(fan.context, star.opaque_id)

    async def stopped(*_arguments: object, **_options: object) -> int:
        return 0

    with monkeypatch.context() as patched:
        patched.setattr(departures, "withdraw_follows", stopped)
        await depart(database, star.id, UserState.SUSPENDED, event=EventType.USER_UPDATED)
    cell = database.shards.home(star.id)
    assert star.id in await fetch_departing(cell, 1000)
    assert await withdraw_follows(database, star.id, limit=2) == 2
    upkeep = Upkeep(database, cell, Pace())
    await upkeep.go_over()
    assert star.id in await fetch_departing(cell, 1000), "a follow may still be on its way"
    monkeypatch.setattr(departures, "LINGERS", dt.timedelta())
    await upkeep.go_over()
    assert star.id not in await fetch_departing(cell, 1000)
    assert {await figures(fan, fan) for fan in fans} == {(0, 0)}
